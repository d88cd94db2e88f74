#include "session/transfer.h"

#include "base/mem.h"
#include "base/reader.h"
#include "chunk/codec.h"

void
transfer_check_init(struct transfer_check *c, const struct unit *u, const struct hash_id *chunks,
    const uint32_t *lens, uint32_t n_chunks)
{
	*c = (struct transfer_check){ .unit = *u,
		.chunks = chunks,
		.lens = lens,
		.n_chunks = n_chunks,
		.list_chunk = UINT32_MAX,
		.chunk = u->first_chunk,
		.leaf = u->first_leaf };
}

/* The frame's parts, and what they give. */
struct frame {
	struct reader lists, leaves;
	enum err (*on_leaf)(void *ctx, const struct transfer_leaf *leaf, struct error *e);
	void *ctx;
};

static uint32_t
len_of(const struct transfer_check *c, uint32_t chunk)
{
	uint32_t i = chunk - c->unit.first_chunk;

	return i < c->n_chunks ? c->lens[i] : 0;
}

static uint32_t
chunk_len(const struct transfer_check *c)
{
	return len_of(c, c->chunk);
}

/* Moves to leaf TO of the unit, forwards or from the start. */
static enum err
go_to(struct transfer_check *c, uint32_t to, struct error *e)
{
	if (to < c->next) {
		c->next = 0;
		c->chunk = c->unit.first_chunk;
		c->leaf = c->unit.first_leaf;
	}
	while (c->next < to) {
		uint32_t count = chunk_id_leaf_count(chunk_len(c));
		if (count <= c->leaf)
			return fail(e, ERR_PROTO, "leaf %u is beyond the chunks of its unit", to);
		uint32_t n = min_of(count - c->leaf, to - c->next);
		c->next += n;
		c->leaf += n;
		if (c->leaf == count) {
			c->chunk++;
			c->leaf = 0;
		}
	}
	return OK;
}

/* The list of the chunk at hand, from the frame unless it is held. */
static enum err
take_list(struct transfer_check *c, struct frame *f, const struct hash_id *id, uint32_t len,
    struct error *e)
{
	struct leaf_list list = { .n = chunk_id_leaf_count(len) };

	if (c->list_chunk == c->chunk)
		return OK;
	for (uint32_t i = 0; i < list.n; i++)
		reader_copy(&f->lists, list.hash[i], HASH_BYTES);
	if (f->lists.bad)
		return fail(e, ERR_PROTO, "the leaf list of chunk %u is not there", c->chunk);
	if (!chunk_id_leaves_match(id, len, &list))
		return fail(
		    e, ERR_CORRUPT, "the leaf list of chunk %u is not of that chunk", c->chunk);
	c->list = list;
	c->list_chunk = c->chunk;
	return OK;
}

static enum err
take_leaf(struct transfer_check *c, struct frame *f, struct error *e)
{
	uint32_t len = chunk_len(c), i = c->chunk - c->unit.first_chunk;

	if (len == 0)
		return fail(e, ERR_PROTO, "chunk %u is not of this unit", c->chunk);
	const struct hash_id *id = &c->chunks[i];
	struct transfer_leaf leaf = {
		.chunk = c->chunk, .leaf = c->leaf, .n_leaves = chunk_id_leaf_count(len)
	};
	leaf.bytes = reader_take(&f->leaves, chunk_id_leaf_len(len, c->leaf));
	if (f->leaves.bad)
		return fail(e, ERR_PROTO, "leaf %u of chunk %u is cut short", c->leaf, c->chunk);
	if (leaf.n_leaves == 1) {
		if (!chunk_id_matches(id, leaf.bytes))
			return fail(e, ERR_CORRUPT, "chunk %u does not match its id", c->chunk);
	} else {
		uint8_t hash[HASH_BYTES];
		enum err r = take_list(c, f, id, len, e);
		if (r != OK)
			return r;
		hash_leaf(id->alg, leaf.bytes, hash);
		if (memcmp(hash, c->list.hash[c->leaf], HASH_BYTES) != 0)
			return fail(e, ERR_CORRUPT, "leaf %u of chunk %u does not match its hash",
			    c->leaf, c->chunk);
		leaf.list = &c->list;
	}
	return f->on_leaf(f->ctx, &leaf, e);
}

/* How long the N leaves from the one at hand on are together; 0: they are not of this unit, or more
 * than a frame holds. */
static uint32_t
leaves_len(const struct transfer_check *c, uint32_t n)
{
	uint32_t chunk = c->chunk, leaf = c->leaf, sum = 0;

	for (uint32_t i = 0; i < n; i++) {
		uint32_t len = len_of(c, chunk);
		if (len == 0)
			return 0;
		sum += chunk_id_leaf_len(len, leaf);
		if (++leaf < chunk_id_leaf_count(len))
			continue;
		chunk++;
		leaf = 0;
	}
	return sum <= LIMIT_DATA_RAW ? sum : 0;
}

/* Gives *RET_BYTES, to be freed, which LEAVES then are of. */
static enum err
unpack(const struct transfer_check *c, const struct data_prefix *p, struct bytes *leaves,
    uint8_t **ret_bytes, struct error *e)
{
	uint32_t n = leaves_len(c, p->n_leaves);

	if (n == 0)
		return fail(e, ERR_PROTO, "packed leaves %u+%u are not of their unit",
		    p->first_leaf, p->n_leaves);
	*ret_bytes = mem_alloc(n);
	enum err r = codec_unpack(CODEC_ZSTD, *leaves, *ret_bytes, n, e);
	*leaves = BYTES(*ret_bytes, n);
	return r;
}

static enum err
take_leaves(struct transfer_check *c, struct frame *f, uint32_t n, struct error *e)
{
	enum err r = OK;

	for (uint32_t i = 0; r == OK && i < n; i++) {
		r = take_leaf(c, f, e);
		if (r == OK)
			r = go_to(c, c->next + 1, e);
	}
	if (r == OK && (!reader_done(&f->lists) || !reader_done(&f->leaves)))
		r = fail(e, ERR_PROTO, "DATA frame with more bytes than its leaves have");
	return r;
}

enum err
transfer_check_data(struct transfer_check *c, struct bytes payload,
    enum err (*on_leaf)(void *ctx, const struct transfer_leaf *leaf, struct error *e), void *ctx,
    struct error *e)
{
	auto_free uint8_t *unpacked = NULL;
	struct bytes lists, leaves;
	struct data_prefix p;
	enum err r = frame_data_decode(payload, &p, &lists, &leaves, e);

	if (r != OK)
		return r;
	if (p.first_leaf + p.n_leaves > c->unit.n_leaves)
		return fail(e, ERR_PROTO, "leaves %u+%u of a unit of %u", p.first_leaf, p.n_leaves,
		    c->unit.n_leaves);
	size_t came = leaves.len;
	r = go_to(c, p.first_leaf, e);
	if (r == OK && p.codec == DATA_ZSTD)
		r = unpack(c, &p, &leaves, &unpacked, e);
	if (r != OK)
		return r;
	struct frame f = { reader_over(lists), reader_over(leaves), on_leaf, ctx };
	r = take_leaves(c, &f, p.n_leaves, e);
	c->wire += r == OK ? came : 0;
	return r;
}
