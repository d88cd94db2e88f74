/*
 * DATA frames against a unit: only leaves that match are told, in their places; and serve, asked
 * for any runs, gives frames that are accepted.
 */
#include "base/mem.h"
#include "base/reader.h"
#include "fuzz/fuzz.h"
#include "session/block.h"
#include "session/serve.h"
#include "session/transfer.h"

enum { CHUNKS = 5, FIRST = 7 };

/* Fixed content: chunks of many leaves, of one, of two. */
static const uint32_t lens[CHUNKS] = { 3 * CHUNK_LEAF + 17, 5, CHUNK_LEAF + 1, 1, 2 * CHUNK_LEAF };

struct content {
	struct hash_id ids[CHUNKS];
	struct leaf_list lists[CHUNKS];
	uint8_t *bytes[CHUNKS];
	struct unit unit;
};

static struct content
make_content(void)
{
	struct content c = { .unit = { .first_chunk = FIRST, .first_leaf = 1 } };

	for (unsigned i = 0; i < CHUNKS; i++) {
		c.bytes[i] = mem_alloc(lens[i]);
		memset(c.bytes[i], (int)i + 1, lens[i]);
		chunk_id_of(HASH_DEFAULT, BYTES(c.bytes[i], lens[i]), &c.lists[i], &c.ids[i]);
		c.unit.n_leaves =
		    (uint16_t)(c.unit.n_leaves + chunk_id_leaf_count(lens[i]) - (i == 0));
		c.unit.bytes += lens[i] - (i == 0 ? CHUNK_LEAF : 0);
	}
	return c;
}

static enum err
on_leaf(void *ctx, const struct transfer_leaf *leaf, struct error *e)
{
	const struct content *c = ctx;
	uint32_t i = leaf->chunk - FIRST;

	(void)e;
	fuzz_require(i < CHUNKS && leaf->leaf < leaf->n_leaves &&
		     leaf->n_leaves == chunk_id_leaf_count(lens[i]));
	fuzz_require(leaf->bytes.len == chunk_id_leaf_len(lens[i], leaf->leaf));
	fuzz_require(memcmp(leaf->bytes.at, c->bytes[i] + (size_t)leaf->leaf * CHUNK_LEAF,
			 leaf->bytes.len) == 0);
	return OK;
}

static void
fill(const struct content *c, const struct serve_frame *f, struct block *b)
{
	frame_data_encode(&f->prefix, b->bytes);
	for (uint32_t k = 0; k < f->n_pieces; k++) {
		const struct serve_piece *p = &f->pieces[k];
		uint32_t i = p->chunk - FIRST;
		fuzz_require(i < CHUNKS && p->at + p->len <= f->payload && f->payload <= b->room);
		memcpy(b->bytes + p->at, c->bytes[i] + (size_t)p->first_leaf * CHUNK_LEAF, p->len);
		if (p->list_at != 0)
			memcpy(b->bytes + p->list_at, c->lists[i].hash,
			    (size_t)c->lists[i].n * HASH_BYTES);
	}
	b->len = f->payload;
}

/* B, or in its place what it is packed to. */
static struct block *
pack(struct block *b)
{
	struct block *packed = serve_pack(b);

	if (packed == NULL)
		return b;
	fuzz_require(packed->len < b->len);
	block_free(b);
	return packed;
}

/* The frames of any runs; each is packed and spoiled if the script says so, and then either refused
 * or told truly. */
static void
serve_all(struct content *c, struct reader *r)
{
	struct msg_get_units m = { .n_runs = reader_u8(r) % 4 };
	struct transfer_check check;
	struct serve_frame f;
	struct serve s;
	struct error e;
	uint32_t at = 0;

	for (uint32_t i = 0; i < m.n_runs; i++) {
		m.runs[i] = (struct leaf_run){ (uint16_t)(at + reader_u8(r) % 4),
			(uint16_t)(1 + reader_u8(r) % 4) };
		at = (uint32_t)m.runs[i].first + m.runs[i].n;
	}
	if (serve_init(&s, &c->unit, &m, lens, &e) != OK)
		return;
	transfer_check_init(&check, &c->unit, c->ids, lens, CHUNKS);
	bool packs = reader_u8(r) % 2 == 1, spoiled = false;
	while (serve_next(&s, &f)) {
		struct block *b = block_new(BLOCK_ROOM);
		fill(c, &f, b);
		b = packs ? pack(b) : b;
		uint8_t what = reader_u8(r);
		if (what != 0) { /* a byte anywhere, or the length */
			uint32_t where = reader_u32(r) % b->len;
			b->bytes[where] ^= what;
			b->len = what == 255 ? where : b->len;
			spoiled = true;
		}
		enum err rc = transfer_check_data(&check, BYTES(b->bytes, b->len), on_leaf, c, &e);
		fuzz_require(rc == OK || spoiled);
		fuzz_require(rc == OK || rc == ERR_CORRUPT || rc == ERR_PROTO);
		block_free(b);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct content c = make_content();
	struct reader r = reader_over(BYTES(data, size));
	struct transfer_check check;
	struct error e;

	if (reader_u8(&r) % 2 == 0) {
		serve_all(&c, &r);
	} else { /* anything at all, as one frame after the other */
		transfer_check_init(&check, &c.unit, c.ids, lens, CHUNKS);
		while (reader_left(&r) > 0) {
			struct bytes payload =
			    reader_take(&r, min_of((size_t)reader_u16(&r), reader_left(&r)));
			(void)!transfer_check_data(&check, payload, on_leaf, &c, &e);
		}
	}
	for (unsigned i = 0; i < CHUNKS; i++)
		free(c.bytes[i]);
	return 0;
}
