/*
 * A digest costs one init, a few updates and one final on a context that the thread already has;
 * the algorithm is looked up by name once in a process.  That leaves about 50 ns above the bare
 * hash, for the 100 bytes of state that OpenSSL takes and gives back each time (its older interface
 * does not, but is going away).
 */
#include "crypto/hash.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"

enum { ALG_LAST = HASH_SHA512_256 };

static const char *const alg_name[ALG_LAST + 1] = {
	[HASH_SHA256] = "SHA2-256",
	[HASH_SHA512_256] = "SHA2-512/256",
};

/* Fetched once, then constant. */
static EVP_MD *md[ALG_LAST + 1];
static pthread_once_t fetched = PTHREAD_ONCE_INIT;
static pthread_key_t at_thread_end;

static _Thread_local EVP_MD_CTX *thread_ctx[ALG_LAST + 1];

/* With SHA-256 and memory at hand nothing here can fail; without, nothing could be trusted. */
static void
must(bool ok)
{
	if (!ok) {
		log_error("a hash function failed");
		abort();
	}
}

static void
free_ctx(void *ctxs)
{
	EVP_MD_CTX **ctx = ctxs;

	for (size_t i = 0; i <= ALG_LAST; i++) {
		EVP_MD_CTX_free(ctx[i]);
		ctx[i] = NULL;
	}
}

static void
fetch(void)
{
	must(pthread_key_create(&at_thread_end, free_ctx) == 0);
	for (size_t i = 1; i <= ALG_LAST; i++)
		must((md[i] = EVP_MD_fetch(NULL, alg_name[i], NULL)) != NULL);
}

static EVP_MD_CTX *
new_ctx(enum hash_alg alg)
{
	pthread_once(&fetched, fetch);
	must(hash_alg_known((uint8_t)alg));
	must((thread_ctx[alg] = EVP_MD_CTX_new()) != NULL);
	must(pthread_setspecific(at_thread_end, thread_ctx) == 0);
	return thread_ctx[alg];
}

static inline EVP_MD_CTX *
start(enum hash_alg alg)
{
	EVP_MD_CTX *ctx = (unsigned)alg <= ALG_LAST ? thread_ctx[alg] : NULL;

	if (ctx == NULL)
		ctx = new_ctx(alg);
	must(EVP_DigestInit_ex2(ctx, md[alg], NULL) == 1);
	return ctx;
}

static inline void
more(EVP_MD_CTX *ctx, struct bytes b)
{
	if (b.len > 0)
		must(EVP_DigestUpdate(ctx, b.at, b.len) == 1);
}

static inline void
finish(EVP_MD_CTX *ctx, uint8_t out[static HASH_BYTES])
{
	must(EVP_DigestFinal_ex(ctx, out, NULL) == 1);
}

bool
hash_alg_known(uint8_t alg)
{
	return alg >= 1 && alg <= ALG_LAST;
}

void
hash_id_encode(struct buf *to, const struct hash_id *id)
{
	buf_add_bytes(to, hash_id_bytes(id));
}

struct hash_id
hash_id_decode(struct reader *r)
{
	struct hash_id id = { .alg = reader_u8(r) };

	reader_copy(r, id.bytes, HASH_BYTES);
	if (!hash_alg_known(id.alg))
		r->bad = true;
	return r->bad ? (struct hash_id){ 0 } : id;
}

const char *
hash_id_format(const struct hash_id *id, char out[static HASH_ID_TEXT])
{
	return text_base32(hash_id_bytes(id), out);
}

bool
hash_id_parse(const char *text, struct hash_id *ret)
{
	uint8_t raw[HASH_ID_BYTES];

	if (!text_parse_base32(text, raw, sizeof raw) || !hash_alg_known(raw[0]))
		return false;
	memcpy(ret, raw, sizeof raw);
	return true;
}

const char *
hash_id_short(const struct hash_id *id, char out[static 11])
{
	char all[HASH_ID_TEXT];

	hash_id_format(id, all);
	memcpy(out, all, 10);
	out[10] = 0;
	return out;
}

void
hash_object(enum hash_alg alg, enum hash_kind kind, struct bytes a, struct hash_id *ret)
{
	hash_object2(alg, kind, a, BYTES(NULL, 0), ret);
}

void
hash_object2(
    enum hash_alg alg, enum hash_kind kind, struct bytes a, struct bytes b, struct hash_id *ret)
{
	uint8_t prefix = (uint8_t)kind;
	EVP_MD_CTX *ctx = start(alg);

	more(ctx, BYTES(&prefix, 1));
	more(ctx, a);
	more(ctx, b);
	finish(ctx, ret->bytes);
	ret->alg = (uint8_t)alg;
}

void
hash_leaf(enum hash_alg alg, struct bytes leaf, uint8_t out[static HASH_BYTES])
{
	uint8_t prefix = HASH_LEAF;
	EVP_MD_CTX *ctx = start(alg);

	more(ctx, BYTES(&prefix, 1));
	more(ctx, leaf);
	finish(ctx, out);
}

void
hash_sha256(struct bytes a, struct bytes b, uint8_t out[static HASH_BYTES])
{
	EVP_MD_CTX *ctx = start(HASH_SHA256);

	more(ctx, a);
	more(ctx, b);
	finish(ctx, out);
}

void
hash_hmac_sha256(struct bytes key, struct bytes data, uint8_t out[static HASH_BYTES])
{
	/* An empty key is legal, but not as a NULL pointer. */
	const void *k = key.len > 0 ? key.at : (const uint8_t *)"";

	must(key.len <= INT_MAX);
	must(HMAC(EVP_sha256(), k, (int)key.len, data.at, data.len, out, NULL) != NULL);
}

bool
hash_secret_equal(struct bytes a, struct bytes b)
{
	return a.len == b.len && (a.len == 0 || CRYPTO_memcmp(a.at, b.at, a.len) == 0);
}
