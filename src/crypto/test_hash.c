#include "tests/unit.h"

#include <openssl/crypto.h>
#include <pthread.h>

#include "base/mem.h"
#include "base/text.h"
#include "crypto/hash.h"
#include "crypto/random.h"

static _Thread_local size_t allocations, largest, live;

static void *
count_malloc(size_t n, const char *file, int line)
{
	(void)file;
	(void)line;
	allocations++;
	live++;
	largest = max_of(largest, n);
	return malloc(n);
}

static void *
count_realloc(void *p, size_t n, const char *file, int line)
{
	(void)file;
	(void)line;
	allocations++;
	live += p == NULL;
	largest = max_of(largest, n);
	return realloc(p, n);
}

static void
count_free(void *p, const char *file, int line)
{
	(void)file;
	(void)line;
	live -= p != NULL;
	free(p);
}

static void
assert_hex(const uint8_t *got, const char *want)
{
	char hex[2 * HASH_BYTES + 1];

	assert_string_equal(text_hex(BYTES(got, HASH_BYTES), hex), want);
}

static void
sha256_agrees_with_the_standard(void **state)
{
	(void)state;
	uint8_t out[HASH_BYTES];

	hash_sha256(BYTES_LIT("a"), BYTES_LIT("bc"), out);
	assert_hex(out, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	hash_sha256(BYTES(NULL, 0), BYTES(NULL, 0), out);
	assert_hex(out, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

static void
hmac_agrees_with_rfc_4231(void **state)
{
	(void)state;
	uint8_t out[HASH_BYTES];

	hash_hmac_sha256(BYTES_LIT("Jefe"), BYTES_LIT("what do ya want for nothing?"), out);
	assert_hex(out, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
	hash_hmac_sha256(BYTES(NULL, 0), BYTES(NULL, 0), out);
	assert_hex(out, "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}

/* The published vectors of docs/format-ids.md: the object is the four bytes "weft". */
static const struct {
	enum hash_alg alg;
	enum hash_kind kind;
	const char *hex, *text;
} vectors[] = {
	{ HASH_SHA256, HASH_LEAF,
	    "8951238d92bda8d50ed6b7d0324be6ac8c15510bbf94ebbd80529ece0ffe8fb6",
	    "agevci4nsk62rvio2235amsl42wiyfkrbo7zj255qbjj5tqp72h3m" },
	{ HASH_SHA256, HASH_CHUNK,
	    "77dd3663ba5893bfed742114a69755a6d66271ae3f7ae4077e5123f2ec4147bc",
	    "af352ntdxjmjhp7noqqrjjuxkwtnmytrvy7xvzahpzish4xmifd3y" },
	{ HASH_SHA256, HASH_STATEMENT,
	    "6062d80dc709b8204cb3bd997dd166fff82222b3dc54902c145d0e8969ac368f",
	    "afqgfwany4e3qicmwo6zs7orm377qircwpofjebmcroq5cljvq3i6" },
	{ HASH_SHA512_256, HASH_LEAF,
	    "9bef8e76ad4bd3530e9304e3dd8960358f2337a9376532a211fb5b3e9cbf5738",
	    "akn67dtwvvf5guyosmcohxmjma2y6izxve3wkmvcch5vwpu4x5ltq" },
	{ HASH_SHA512_256, HASH_CHUNK,
	    "cd6fbee71742d85ea1861c58139ea3a39f5e03039a064f5c7a9093ceaba45613",
	    "algw7pxhc5bnqxvbqyofqe46uorz6xqdaonamt24pkijhtvlurlbg" },
};

static void
ids_are_those_of_the_format_document(void **state)
{
	(void)state;
	struct hash_id id, whole, back;
	char text[HASH_ID_TEXT];

	for (size_t i = 0; i < lengthof(vectors); i++) {
		hash_object(vectors[i].alg, vectors[i].kind, BYTES_LIT("weft"), &whole);
		assert_int_equal(whole.alg, vectors[i].alg);
		assert_hex(whole.bytes, vectors[i].hex);
		hash_object2(
		    vectors[i].alg, vectors[i].kind, BYTES_LIT("w"), BYTES_LIT("eft"), &id);
		assert_true(hash_id_equal(&id, &whole));
		assert_string_equal(hash_id_format(&id, text), vectors[i].text);
		assert_true(hash_id_parse(vectors[i].text, &back));
		assert_true(hash_id_equal(&id, &back));
		if (vectors[i].kind == HASH_LEAF) {
			uint8_t leaf[HASH_BYTES];
			hash_leaf(vectors[i].alg, BYTES_LIT("weft"), leaf);
			assert_hex(leaf, vectors[i].hex);
		}
	}
}

static void
every_kind_gives_another_id(void **state)
{
	(void)state;
	struct hash_id id[HASH_SIGNED + 1];

	for (unsigned i = 0; i <= HASH_SIGNED; i++) {
		hash_object(HASH_DEFAULT, i, BYTES_LIT("same bytes"), &id[i]);
		for (unsigned j = 0; j < i; j++)
			assert_false(hash_id_equal(&id[i], &id[j]));
	}
}

static void
the_short_form_begins_the_long_one(void **state)
{
	(void)state;
	struct hash_id id;
	char text[HASH_ID_TEXT], brief[11];

	hash_object(HASH_DEFAULT, HASH_LEAF, BYTES_LIT("weft"), &id);
	assert_int_equal(strlen(hash_id_short(&id, brief)), 10);
	assert_memory_equal(brief, hash_id_format(&id, text), 10);
}

static void
unknown_algorithms_are_refused(void **state)
{
	(void)state;
	struct hash_id id;
	auto_buf struct buf b = BUF(HASH_ID_BYTES);
	char text[HASH_ID_TEXT];

	hash_object(HASH_SHA512_256, HASH_LEAF, BYTES_LIT("x"), &id);
	hash_id_encode(&b, &id);
	assert_int_equal(b.len, HASH_ID_BYTES);
	for (unsigned alg = 0; alg < 256; alg++) {
		b.at[0] = (uint8_t)alg;
		struct reader r = reader_over(buf_bytes(&b));
		struct hash_id back = hash_id_decode(&r);
		assert_int_equal(reader_done(&r), alg == HASH_SHA256 || alg == HASH_SHA512_256);
		assert_int_equal(hash_id_is_none(&back), r.bad);
		text_base32(buf_bytes(&b), text);
		assert_int_equal(hash_id_parse(text, &back), !r.bad);
	}
	b.at[0] = HASH_SHA256;
	struct reader cut = reader_over(BYTES(b.at, b.len - 1));
	hash_id_decode(&cut);
	assert_true(cut.bad);
	assert_false(hash_id_parse("agevci4nsk62rvio2235amsl42wiyfkrbo7zj255qbjj5tqp72h3", &id));
	assert_false(hash_id_parse("", &id));
}

static void
hashing_takes_one_small_block_and_gives_it_back(void **state)
{
	(void)state;
	struct hash_id id;
	uint8_t out[HASH_BYTES];

	hash_object(HASH_SHA256, HASH_LEAF, BYTES_LIT("x"), &id);
	hash_object(HASH_SHA512_256, HASH_LEAF, BYTES_LIT("x"), &id);
	assert_true(allocations > 0);
	allocations = largest = 0;
	size_t before = live;
	for (int i = 0; i < 100; i++) {
		hash_object2(HASH_SHA256, HASH_CHUNK, BYTES_LIT("a"), BYTES_LIT("b"), &id);
		hash_object(HASH_SHA512_256, HASH_TREE, BYTES_LIT("a"), &id);
		hash_leaf(HASH_SHA256, BYTES_LIT("a"), out);
		hash_sha256(BYTES_LIT("a"), BYTES_LIT("b"), out);
	}
	assert_in_range(allocations, 0, 400);
	assert_in_range(largest, 0, 256);
	assert_int_equal(live, before);
}

static void *
hash_in_a_thread(void *arg)
{
	struct hash_id *id = arg;

	for (int i = 0; i < 1000; i++)
		hash_object(HASH_SHA256, HASH_LEAF, BYTES_LIT("weft"), id);
	return NULL;
}

static void
threads_do_not_disturb_each_other(void **state)
{
	(void)state;
	pthread_t t[4];
	struct hash_id id[lengthof(t)];

	for (size_t i = 0; i < lengthof(t); i++)
		assert_int_equal(pthread_create(&t[i], NULL, hash_in_a_thread, &id[i]), 0);
	for (size_t i = 0; i < lengthof(t); i++) {
		assert_int_equal(pthread_join(t[i], NULL), 0);
		assert_hex(id[i].bytes, vectors[0].hex);
	}
}

static void
secrets_are_compared_whole(void **state)
{
	(void)state;
	assert_true(hash_secret_equal(BYTES_LIT("secret"), BYTES_LIT("secret")));
	assert_false(hash_secret_equal(BYTES_LIT("secret"), BYTES_LIT("secreT")));
	assert_false(hash_secret_equal(BYTES_LIT("secret"), BYTES_LIT("secre")));
	assert_true(hash_secret_equal(BYTES(NULL, 0), BYTES(NULL, 0)));
}

static void
random_bytes_differ_and_fill_all_they_are_asked_to(void **state)
{
	(void)state;
	uint8_t a[64] = { 0 }, b[64] = { 0 };

	random_fill(a, sizeof a);
	random_fill(b, sizeof b - 16);
	assert_memory_not_equal(a, b, 48);
	for (size_t i = 48; i < sizeof b; i++)
		assert_int_equal(b[i], 0);
	assert_true(random_u64() != random_u64());
}

int
main(void)
{
	CRYPTO_set_mem_functions(count_malloc, count_realloc, count_free);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sha256_agrees_with_the_standard),
		cmocka_unit_test(hmac_agrees_with_rfc_4231),
		cmocka_unit_test(ids_are_those_of_the_format_document),
		cmocka_unit_test(every_kind_gives_another_id),
		cmocka_unit_test(the_short_form_begins_the_long_one),
		cmocka_unit_test(unknown_algorithms_are_refused),
		cmocka_unit_test(hashing_takes_one_small_block_and_gives_it_back),
		cmocka_unit_test(threads_do_not_disturb_each_other),
		cmocka_unit_test(secrets_are_compared_whole),
		cmocka_unit_test(random_bytes_differ_and_fill_all_they_are_asked_to),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
