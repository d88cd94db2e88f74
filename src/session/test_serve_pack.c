/* What a giver packs its receiver unpacks to exactly the leaves; anything else it refuses. */
#include "tests/unit.h"

#include <stdlib.h>

#include "base/mem.h"
#include "chunk/codec.h"
#include "session/block.h"
#include "session/serve.h"
#include "session/transfer.h"

enum { CHUNKS = 6, FIRST = 3, UNIT = 9 };

/* Chunks of many leaves, of two, and small ones that share a frame. */
static const uint32_t lens[CHUNKS] = { 2 * CHUNK_LEAF + 777, 5, 4000, 1, CHUNK_LEAF + 1, 9000 };

struct fixture {
	uint8_t *bytes[CHUNKS];
	struct hash_id ids[CHUNKS];
	struct leaf_list lists[CHUNKS];
	struct unit unit;
	struct transfer_check check;
	struct block *frames[16];
	unsigned n;
	uint64_t told; /* bytes */
};

static void
add_chunk(struct fixture *f, unsigned i, bool shrinks)
{
	uint32_t x = i + 1;

	f->bytes[i] = mem_alloc(lens[i]);
	for (uint32_t k = 0; k < lens[i]; k++) {
		x = x * 1664525 + 1013904223;
		f->bytes[i][k] = shrinks ? (uint8_t)('a' + (k / 32 + i) % 16) : (uint8_t)(x >> 24);
	}
	chunk_id_of(HASH_DEFAULT, BYTES(f->bytes[i], lens[i]), &f->lists[i], &f->ids[i]);
	f->unit.n_leaves = (uint16_t)(f->unit.n_leaves + chunk_id_leaf_count(lens[i]));
	f->unit.bytes += lens[i];
}

static struct block *
fill(const struct fixture *f, const struct serve_frame *s)
{
	struct block *b = block_new(s->payload);

	frame_data_encode(&s->prefix, b->bytes);
	for (uint32_t i = 0; i < s->n_pieces; i++) {
		const struct serve_piece *p = &s->pieces[i];
		unsigned c = p->chunk - FIRST;
		memcpy(b->bytes + p->at, f->bytes[c] + (size_t)p->first_leaf * CHUNK_LEAF, p->len);
		if (p->list_at != 0)
			memcpy(b->bytes + p->list_at, f->lists[c].hash,
			    f->lists[c].n * (size_t)HASH_BYTES);
	}
	b->len = s->payload;
	return b;
}

/* The frames of a whole unit. */
static void
start(struct fixture *f, bool shrinks)
{
	const struct msg_get_units all = { .unit = UNIT };
	struct serve_frame frame;
	struct serve s;

	*f = (struct fixture){ .unit = { .first_chunk = FIRST } };
	for (unsigned i = 0; i < CHUNKS; i++)
		add_chunk(f, i, shrinks);
	assert_ok(serve_init(&s, &f->unit, &all, lens, &unit_error));
	while (serve_next(&s, &frame))
		f->frames[f->n++] = fill(f, &frame);
	transfer_check_init(&f->check, &f->unit, f->ids, lens, CHUNKS);
}

static void
clear(struct fixture *f)
{
	for (unsigned i = 0; i < CHUNKS; i++)
		free(f->bytes[i]);
	for (unsigned i = 0; i < f->n; i++)
		block_free(f->frames[i]);
}

static enum err
on_leaf(void *ctx, const struct transfer_leaf *leaf, struct error *e)
{
	struct fixture *f = ctx;
	unsigned c = leaf->chunk - FIRST;
	(void)e;

	assert_in_range(c, 0, CHUNKS - 1);
	assert_int_equal(leaf->bytes.len, chunk_id_leaf_len(lens[c], leaf->leaf));
	assert_memory_equal(
	    leaf->bytes.at, f->bytes[c] + (size_t)leaf->leaf * CHUNK_LEAF, leaf->bytes.len);
	f->told += leaf->bytes.len;
	return OK;
}

static enum err
take(struct fixture *f, struct bytes payload)
{
	return transfer_check_data(&f->check, payload, on_leaf, f, &unit_error);
}

static struct bytes
bytes_of(const struct block *b)
{
	return BYTES(b->bytes, b->len);
}

/* The first frame, with LEAVES in place of what it has. */
static struct block *
forge(const struct fixture *f, struct bytes leaves)
{
	struct bytes lists, had;
	struct data_prefix p;

	assert_ok(frame_data_decode(bytes_of(f->frames[0]), &p, &lists, &had, &unit_error));
	struct block *b = block_new(BLOCK_ROOM);
	p.codec = DATA_ZSTD;
	frame_data_encode(&p, b->bytes);
	memcpy(b->bytes + LIMIT_DATA_PREFIX, lists.at, lists.len);
	memcpy(b->bytes + LIMIT_DATA_PREFIX + lists.len, leaves.at, leaves.len);
	b->len = (uint32_t)(LIMIT_DATA_PREFIX + lists.len + leaves.len);
	return b;
}

static void
what_is_packed_comes_whole_and_is_counted_as_it_came(void **state)
{
	struct fixture f;
	uint64_t wire = 0;

	(void)state;
	start(&f, true);
	for (unsigned i = 0; i < f.n; i++) {
		auto_(block_free_p) struct block *b = serve_pack(f.frames[i]);
		const struct block *sent = b != NULL ? b : f.frames[i]; /* a leaf of 1 byte */
		struct bytes lists, leaves;
		struct data_prefix p;
		assert_ok(frame_data_decode(bytes_of(sent), &p, &lists, &leaves, &unit_error));
		assert_ok(take(&f, bytes_of(sent)));
		wire += leaves.len;
	}
	assert_int_equal(f.told, f.unit.bytes);
	assert_int_equal(f.check.wire, wire);
	assert_true(wire < f.unit.bytes / 10);
	clear(&f);
}

static void
what_does_not_shrink_is_not_packed(void **state)
{
	struct fixture f;

	(void)state;
	start(&f, false);
	for (unsigned i = 0; i < f.n; i++) {
		assert_null(serve_pack(f.frames[i]));
		assert_ok(take(&f, bytes_of(f.frames[i])));
	}
	assert_int_equal(f.check.wire, f.unit.bytes);
	clear(&f);
}

static struct block *
pack_first(const struct fixture *f)
{
	struct block *b = serve_pack(f->frames[0]);

	assert_non_null(b);
	return b;
}

static void
more_or_less_than_the_leaves_is_refused_and_nothing_of_it_told(void **state)
{
	static uint8_t zeros[8 * 1024 * 1024];
	static const size_t sizes[] = { 1, CHUNK_LEAF - 1, CHUNK_LEAF + 1, sizeof zeros };
	auto_buf struct buf packed = BUF(LIMIT_DATA_RAW);
	struct fixture f;

	(void)state;
	start(&f, true);
	for (size_t i = 0; i < lengthof(sizes); i++) {
		zeros[0] = 'x';
		if (codec_pack(BYTES(zeros, sizes[i]), &packed) != CODEC_ZSTD)
			continue; /* one byte */
		auto_(block_free_p) struct block *b = forge(&f, buf_bytes(&packed));
		assert_err(ERR_CORRUPT, take(&f, bytes_of(b)));
	}
	assert_int_equal(f.told, 0);
	assert_int_equal(f.check.wire, 0);
	clear(&f);
}

static void
leaves_that_are_no_frame_of_zstd_are_refused(void **state)
{
	struct fixture f;

	(void)state;
	start(&f, true);
	auto_(block_free_p) struct block *b = forge(&f, BYTES(f.bytes[0], 500));
	assert_err(ERR_CORRUPT, take(&f, bytes_of(b)));
	assert_int_equal(f.told, 0);
	clear(&f);
}

static void
wrong_leaves_are_found_behind_their_packing(void **state)
{
	auto_buf struct buf packed = BUF(LIMIT_DATA_RAW);
	struct fixture f;

	(void)state;
	start(&f, true);
	uint8_t *wrong = mem_dup(f.bytes[0], CHUNK_LEAF);
	wrong[777] ^= 1;
	assert_int_equal(codec_pack(BYTES(wrong, CHUNK_LEAF), &packed), CODEC_ZSTD);
	auto_(block_free_p) struct block *b = forge(&f, buf_bytes(&packed));
	assert_err(ERR_CORRUPT, take(&f, bytes_of(b)));
	assert_int_equal(f.told, 0);
	free(wrong);
	clear(&f);
}

static void
a_torn_frame_is_refused_wherever_it_is_torn(void **state)
{
	struct fixture f;

	(void)state;
	start(&f, true);
	auto_(block_free_p) struct block *b = pack_first(&f);
	for (uint32_t len = 0; len < b->len; len++) {
		enum err r = take(&f, BYTES(b->bytes, len));
		assert_true(r == ERR_CORRUPT || r == ERR_PROTO);
	}
	assert_int_equal(f.told, 0);
	assert_ok(take(&f, bytes_of(b)));
	clear(&f);
}

/* The bits that say nothing, as those of a checksum that is not there, may be any. */
static void
a_flipped_bit_is_refused_or_changes_nothing(void **state)
{
	struct fixture f;

	(void)state;
	start(&f, true);
	auto_(block_free_p) struct block *b = pack_first(&f);
	for (uint32_t bit = 4 * 8; bit < b->len * 8; bit++) { /* the unit is the session's */
		transfer_check_init(&f.check, &f.unit, f.ids, lens, CHUNKS);
		b->bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		enum err r = take(&f, bytes_of(b)); /* on_leaf compares */
		assert_true(r == OK || r == ERR_CORRUPT || r == ERR_PROTO);
		b->bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	clear(&f);
}

static void
more_leaves_than_a_frame_holds_are_refused_before_anything_is_unpacked(void **state)
{
	static const struct {
		uint16_t first, n;
	} cases[] = { { 0, 2 }, { 0, 9 }, { 8, 1 + 1 }, { 0, 1024 } };
	struct fixture f;
	struct bytes lists, leaves;
	struct data_prefix p;

	(void)state;
	start(&f, true);
	auto_(block_free_p) struct block *b = pack_first(&f);
	assert_ok(frame_data_decode(bytes_of(b), &p, &lists, &leaves, &unit_error));
	for (size_t i = 0; i < lengthof(cases); i++) {
		p.first_leaf = cases[i].first;
		p.n_leaves = cases[i].n;
		frame_data_encode(&p, b->bytes);
		assert_err(ERR_PROTO, take(&f, bytes_of(b)));
	}
	/* ... nor those of chunks that the unit has and we were not told of. */
	f.check.n_chunks = 0;
	p.first_leaf = 0;
	p.n_leaves = 1;
	frame_data_encode(&p, b->bytes);
	assert_err(ERR_PROTO, take(&f, bytes_of(b)));
	assert_int_equal(f.told, 0);
	clear(&f);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_packed_comes_whole_and_is_counted_as_it_came),
		cmocka_unit_test(what_does_not_shrink_is_not_packed),
		cmocka_unit_test(more_or_less_than_the_leaves_is_refused_and_nothing_of_it_told),
		cmocka_unit_test(leaves_that_are_no_frame_of_zstd_are_refused),
		cmocka_unit_test(wrong_leaves_are_found_behind_their_packing),
		cmocka_unit_test(a_torn_frame_is_refused_wherever_it_is_torn),
		cmocka_unit_test(a_flipped_bit_is_refused_or_changes_nothing),
		cmocka_unit_test(
		    more_leaves_than_a_frame_holds_are_refused_before_anything_is_unpacked),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
