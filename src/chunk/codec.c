/*
 * Level 1: on headers and libraries it packs 10 % smaller than -1 and takes 10 % longer; 3 gains
 * another 6 % and takes up to twice as long.  What zstd cannot shrink at all it passes over at
 * 4 GB/s, but media and archives with a little slack cost it the full price for a gain below our
 * 5 %, so big input is tried on a sample first (at the same level: the faster ones do not pack what
 * has no repeats and only few different bytes).
 */
#include "chunk/codec.h"

#include <pthread.h>
#include <zstd.h>

#include "base/mem.h"
#include "chunk/chunk_id.h"

enum {
	LEVEL = 1,
	TRIAL_FROM = 64 * 1024, /* smaller input is packed without asking */
	TRIAL_SLICE = 2 * 1024, /* four of them, spread evenly */
	TRIAL_SLICES = 4,
};

/* What is left when 1 part in SHARE has been saved. */
static size_t
without(size_t n, size_t share)
{
	return n - (n + share - 1) / share;
}

/* -- contexts: one pair a thread, made when first needed, freed with the thread -- */

struct contexts {
	ZSTD_CCtx *pack;
	ZSTD_DCtx *unpack;
};

static pthread_key_t contexts_key;
static pthread_once_t contexts_once = PTHREAD_ONCE_INIT;

static void
contexts_free(void *p)
{
	struct contexts *c = p;

	ZSTD_freeCCtx(c->pack);
	ZSTD_freeDCtx(c->unpack);
	free(c);
}

static void
contexts_make_key(void)
{
	if (pthread_key_create(&contexts_key, contexts_free) != 0)
		abort();
}

static struct contexts *
contexts_mine(void)
{
	(void)pthread_once(&contexts_once, contexts_make_key);
	struct contexts *c = pthread_getspecific(contexts_key);
	if (c != NULL)
		return c;
	c = mem_new(struct contexts);
	c->pack = ZSTD_createCCtx();
	c->unpack = ZSTD_createDCtx();
	if (c->pack == NULL || c->unpack == NULL || pthread_setspecific(contexts_key, c) != 0)
		abort();
	/* Sizes are kept beside the bytes, and the name of the object is its checksum. */
	(void)ZSTD_CCtx_setParameter(c->pack, ZSTD_c_contentSizeFlag, 0);
	(void)ZSTD_CCtx_setParameter(c->pack, ZSTD_c_compressionLevel, LEVEL);
	return c;
}

/* -- packing -- */

/* Packed size of B in TO, or 0 when it does not fit into N bytes: the saving asked for is the room
 * not given. */
static size_t
squeeze(struct bytes b, uint8_t *to, size_t n)
{
	size_t used = ZSTD_compress2(contexts_mine()->pack, to, n, b.at, b.len);

	return ZSTD_isError(used) ? 0 : used;
}

static bool
looks_packable(struct bytes b)
{
	uint8_t sample[TRIAL_SLICES * TRIAL_SLICE], out[sizeof sample];
	size_t step = (b.len - TRIAL_SLICE) / (TRIAL_SLICES - 1);

	for (size_t i = 0; i < TRIAL_SLICES; i++)
		memcpy(sample + i * TRIAL_SLICE, b.at + i * step, TRIAL_SLICE);
	/* A sample packs worse than the whole: ask for less of it. */
	return squeeze(BYTES_OF(sample), out, without(sizeof sample, 40)) > 0;
}

enum codec
codec_pack(struct bytes b, struct buf *out)
{
	buf_reset(out);
	if (b.len == 0 || (b.len >= TRIAL_FROM && !looks_packable(b)))
		return CODEC_RAW;
	size_t room = min_of(without(b.len, 20), out->max);
	uint8_t *to = buf_reserve(out, room);
	if (to == NULL)
		return CODEC_RAW;
	size_t used = squeeze(b, to, room);
	buf_grown(out, used);
	return used > 0 ? CODEC_ZSTD : CODEC_RAW;
}

enum err
codec_unpack(enum codec c, struct bytes packed, void *to, size_t n, struct error *e)
{
	if (c == CODEC_RAW) {
		if (packed.len != n)
			return fail(e, ERR_CORRUPT,
			    "raw content of %zu bytes where %zu were stated", packed.len, n);
		if (n > 0)
			memcpy(to, packed.at, n);
		return OK;
	}
	if (c != CODEC_ZSTD)
		return fail(e, ERR_CORRUPT, "unknown codec %d", (int)c);
	size_t got = ZSTD_decompressDCtx(contexts_mine()->unpack, to, n, packed.at, packed.len);
	if (ZSTD_isError(got))
		return fail(e, ERR_CORRUPT, "zstd: %s", ZSTD_getErrorName(got));
	if (got != n)
		return fail(
		    e, ERR_CORRUPT, "zstd content of %zu bytes where %zu were stated", got, n);
	return OK;
}
