/* serve and transfer_check are mirrors: what one cuts the other accepts, and nothing else. */
#include "tests/unit.h"

#include "base/array.h"
#include "base/bitset.h"
#include "base/rng.h"
#include "session/block.h"
#include "session/serve.h"
#include "session/transfer.h"

/* Chunks and the units over them. */
struct content {
	ARRAY(struct hash_id) ids;
	ARRAY(uint32_t) lens;
	ARRAY(struct leaf_list) lists;
	ARRAY(uint8_t *) bytes;
	ARRAY(struct unit) units;
};

static void
add_chunk(struct content *c, struct rng *rng, uint32_t len)
{
	uint8_t *bytes = mem_alloc(len);
	struct leaf_list list;
	struct hash_id id;

	rng_fill(rng, bytes, len);
	chunk_id_of(HASH_DEFAULT, BYTES(bytes, len), &list, &id);
	array_push(&c->ids, id);
	array_push(&c->lens, len);
	array_push(&c->lists, list);
	array_push(&c->bytes, bytes);
}

static void
cut_units(struct content *c, uint32_t unit_size)
{
	struct unit out[CHUNK_LEAVES_MAX + 1];
	struct unit_cutter cutter;
	size_t n;

	unit_cutter_init(&cutter, unit_size);
	for (size_t i = 0; i < c->lens.len; i++) {
		n = unit_cutter_add(&cutter, c->lens.at[i], out);
		for (size_t k = 0; k < n; k++)
			array_push(&c->units, out[k]);
	}
	n = unit_cutter_end(&cutter, out);
	if (n == 1)
		array_push(&c->units, out[0]);
}

static void
content_init(struct content *c, uint64_t seed, unsigned chunks, uint32_t unit_size)
{
	struct rng rng;

	rng_seed(&rng, seed);
	*c = (struct content){ 0 };
	for (unsigned i = 0; i < chunks; i++) {
		static const uint32_t special[] = { 1, CHUNK_LEAF - 1, CHUNK_LEAF, CHUNK_LEAF + 1,
			2 * CHUNK_LEAF, CHUNK_MAX };
		uint64_t kind = rng_below(&rng, 4);
		add_chunk(c, &rng,
		    kind == 0   ? special[rng_below(&rng, lengthof(special))]
		    : kind == 1 ? 1 + (uint32_t)rng_below(&rng, 300 * 1024)
				: 1 + (uint32_t)rng_below(&rng, 3000));
	}
	cut_units(c, unit_size);
}

static void
content_clear(struct content *c)
{
	array_each (b, &c->bytes)
		free(*b);
	array_clear(&c->ids);
	array_clear(&c->lens);
	array_clear(&c->lists);
	array_clear(&c->bytes);
	array_clear(&c->units);
}

static uint32_t
chunks_of(const struct content *c, const struct unit *u)
{
	struct unit_pieces p = unit_pieces_of(*u);
	uint32_t chunk, n = 0;

	for (; unit_pieces_more(&p, &chunk); n++)
		(void)unit_pieces_next(&p, c->lens.at[chunk]);
	return n;
}

static void
check_init(struct transfer_check *k, const struct content *c, uint32_t unit)
{
	const struct unit *u = &c->units.at[unit];

	transfer_check_init(
	    k, u, &c->ids.at[u->first_chunk], &c->lens.at[u->first_chunk], chunks_of(c, u));
}

/* What a server does with a frame. */
static void
fill(const struct content *c, const struct serve_frame *f, struct block *b)
{
	frame_data_encode(&f->prefix, b->bytes);
	for (uint32_t i = 0; i < f->n_pieces; i++) {
		const struct serve_piece *p = &f->pieces[i];
		memcpy(b->bytes + p->at, c->bytes.at[p->chunk] + (size_t)p->first_leaf * CHUNK_LEAF,
		    p->len);
		if (p->list_at != 0)
			memcpy(b->bytes + p->list_at, c->lists.at[p->chunk].hash,
			    c->lists.at[p->chunk].n * (size_t)HASH_BYTES);
	}
	b->len = f->payload;
	assert_true(b->len <= b->room);
}

/* The leaves told, one after the other. */
struct told {
	const struct content *c;
	uint32_t n;
	uint64_t bytes;
	ARRAY(uint64_t) which; /* chunk << 8 | leaf */
};

static enum err
on_leaf(void *ctx, const struct transfer_leaf *leaf, struct error *e)
{
	struct told *t = ctx;

	(void)e;
	assert_true(leaf->chunk < t->c->ids.len);
	assert_int_equal(leaf->n_leaves, chunk_id_leaf_count(t->c->lens.at[leaf->chunk]));
	assert_int_equal(
	    leaf->bytes.len, chunk_id_leaf_len(t->c->lens.at[leaf->chunk], leaf->leaf));
	assert_memory_equal(leaf->bytes.at,
	    t->c->bytes.at[leaf->chunk] + (size_t)leaf->leaf * CHUNK_LEAF, leaf->bytes.len);
	assert_int_equal(leaf->list != NULL, leaf->n_leaves > 1);
	if (leaf->list != NULL)
		assert_memory_equal(leaf->list->hash, t->c->lists.at[leaf->chunk].hash,
		    leaf->n_leaves * HASH_BYTES);
	array_push(&t->which, (uint64_t)leaf->chunk << 8 | leaf->leaf);
	t->n++;
	t->bytes += leaf->bytes.len;
	return OK;
}

static struct message
request_of(uint32_t unit, struct bitset *have, uint32_t n_leaves)
{
	struct message m = { .type = FRAME_GET_UNITS, .get_units = { .unit = unit } };

	m.get_units.n_runs = transfer_runs(have, 0, n_leaves, m.get_units.runs);
	return m;
}

static uint64_t
bytes_of_leaves(const struct content *c, const struct unit *u, const struct msg_get_units *m)
{
	struct unit_pieces p = unit_pieces_of(*u);
	uint64_t sum = 0;
	uint32_t chunk;

	while (unit_pieces_more(&p, &chunk)) {
		struct unit_piece piece = unit_pieces_next(&p, c->lens.at[chunk]);
		for (uint32_t i = 0; i < piece.n_leaves; i++)
			for (uint32_t r = 0; r < m->n_runs; r++)
				if (piece.unit_leaf + i >= m->runs[r].first &&
				    piece.unit_leaf + i < (uint32_t)m->runs[r].first + m->runs[r].n)
					sum += chunk_id_leaf_len(
					    c->lens.at[chunk], piece.first_leaf + i);
	}
	return sum;
}

static void
what_is_served_is_accepted_whole_and_in_runs(void **state)
{
	static const uint32_t sizes[] = { UNIT_MIN, 256 * 1024, UNIT_MAX };
	struct serve_frame f;
	struct rng rng;

	(void)state;
	rng_seed(&rng, 77);
	for (unsigned seed = 0; seed < 9; seed++) {
		struct content c;
		content_init(&c, seed, 60, sizes[seed % 3]);
		for (uint32_t unit = 0; unit < c.units.len; unit++) {
			const struct unit *u = &c.units.at[unit];
			struct transfer_check check;
			struct serve s;
			struct bitset have;
			struct told told = { .c = &c };
			bitset_init(&have, u->n_leaves);
			if (unit % 3 > 0) /* all, half, or a few are missing */
				for (size_t i = 0; i < u->n_leaves; i++)
					if (rng_below(&rng, unit % 3 == 1 ? 2 : 8) > 0)
						bitset_set(&have, i);
			struct message m = request_of(unit, &have, u->n_leaves);
			/* nothing missing reads as "all of it" */
			bool all = m.get_units.n_runs == 0;
			uint32_t want = 0;
			for (uint32_t i = 0; i < m.get_units.n_runs; i++)
				want += m.get_units.runs[i].n;
			check_init(&check, &c, unit);
			assert_ok(serve_init(
			    &s, u, &m.get_units, &c.lens.at[u->first_chunk], &unit_error));
			bool ended = false;
			while (serve_next(&s, &f)) {
				struct block *b = block_new(BLOCK_ROOM);
				assert_false(ended);
				fill(&c, &f, b);
				assert_ok(transfer_check_data(
				    &check, BYTES(b->bytes, b->len), on_leaf, &told, &unit_error));
				ended = f.end;
				block_free(b);
			}
			assert_true(ended);
			assert_int_equal(told.n, all ? u->n_leaves : want);
			assert_int_equal(
			    told.bytes, all ? u->bytes : bytes_of_leaves(&c, u, &m.get_units));
			for (size_t i = 1; i < told.which.len; i++)
				assert_true(told.which.at[i] > told.which.at[i - 1]);
			array_clear(&told.which);
			bitset_clear(&have);
		}
		content_clear(&c);
	}
}

static void
frames_are_as_full_as_they_can_be(void **state)
{
	struct content c = { 0 };
	struct rng rng;
	struct serve_frame f;
	struct serve s;
	const struct msg_get_units all = { 0 };
	unsigned frames = 0;

	(void)state;
	rng_seed(&rng, 1);
	for (unsigned i = 0; i < 100; i++)
		add_chunk(&c, &rng, 10000);
	cut_units(&c, UNIT_MAX);
	assert_int_equal(c.units.len, 1);
	assert_ok(serve_init(&s, &c.units.at[0], &all, c.lens.at, &unit_error));
	for (; serve_next(&s, &f); frames++)
		assert_int_equal(f.n_pieces, f.end ? 4 : 6);
	assert_int_equal(frames, 17);
	content_clear(&c);
}

static void
leaves_that_a_unit_does_not_have_are_not_served(void **state)
{
	struct content c;
	struct serve s;
	struct msg_get_units m = { .n_runs = 1 };

	(void)state;
	content_init(&c, 3, 10, UNIT_MIN);
	const struct unit *u = &c.units.at[0];
	m.runs[0] = (struct leaf_run){ 0, u->n_leaves };
	assert_ok(serve_init(&s, u, &m, c.lens.at, &unit_error));
	m.runs[0].n++;
	assert_err(ERR_NOTFOUND, serve_init(&s, u, &m, c.lens.at, &unit_error));
	m.runs[0] = (struct leaf_run){ u->n_leaves, 1 };
	assert_err(ERR_NOTFOUND, serve_init(&s, u, &m, c.lens.at, &unit_error));
	content_clear(&c);
}

/* -- lies -- */

/* Chunks of 3 leaves, 1 leaf, 2 leaves; a unit of all; its frames. */
struct lie {
	struct content c;
	struct transfer_check check;
	struct block *frames[8];
	unsigned n;
	struct told told;
};

static void
lie_init(struct lie *l)
{
	const struct msg_get_units all = { 0 };
	struct serve_frame f;
	struct serve s;
	struct rng rng;

	*l = (struct lie){ 0 };
	rng_seed(&rng, 12);
	add_chunk(&l->c, &rng, 2 * CHUNK_LEAF + 1000);
	add_chunk(&l->c, &rng, 500);
	add_chunk(&l->c, &rng, CHUNK_LEAF + 700);
	cut_units(&l->c, UNIT_MAX);
	assert_int_equal(l->c.units.len, 1);
	assert_ok(serve_init(&s, &l->c.units.at[0], &all, l->c.lens.at, &unit_error));
	while (serve_next(&s, &f)) {
		l->frames[l->n] = block_new(BLOCK_ROOM);
		fill(&l->c, &f, l->frames[l->n++]);
	}
	assert_int_equal(l->n, 5);
	check_init(&l->check, &l->c, 0);
	l->told.c = &l->c;
}

static void
lie_clear(struct lie *l)
{
	for (unsigned i = 0; i < l->n; i++)
		block_free(l->frames[i]);
	array_clear(&l->told.which);
	content_clear(&l->c);
}

static enum err
take(struct lie *l, unsigned frame)
{
	return transfer_check_data(&l->check, BYTES(l->frames[frame]->bytes, l->frames[frame]->len),
	    on_leaf, &l->told, &unit_error);
}

static void
any_flipped_bit_is_found(void **state)
{
	struct rng rng;

	(void)state;
	rng_seed(&rng, 2);
	for (unsigned round = 0; round < 600; round++) {
		struct lie l;
		lie_init(&l);
		unsigned frame = (unsigned)rng_below(&rng, l.n);
		struct block *b = l.frames[frame];
		/* Often in the prefix and the lists. */
		size_t at = rng_below(&rng, round % 2 == 0 ? b->len : min_of(b->len, 120u));
		b->bytes[at] ^= (uint8_t)(1 << rng_below(&rng, 8));
		enum err r = OK;
		uint32_t before = 0;
		for (unsigned i = 0; i <= frame && r == OK; i++) {
			before = l.told.n;
			r = take(&l, i);
		}
		/* The number of the unit is the session's to compare. */
		if (at < 4) {
			assert_int_equal(r, OK);
		} else {
			assert_true(r == ERR_CORRUPT || r == ERR_PROTO);
			assert_true(l.told.n < before + 3);
		}
		lie_clear(&l);
	}
}

static void
bytes_too_few_or_too_many_are_found(void **state)
{
	(void)state;
	for (unsigned frame = 0; frame < 5; frame++) {
		for (int d = -3; d <= 3; d++) {
			struct lie l;
			lie_init(&l);
			for (unsigned i = 0; i < frame; i++)
				assert_ok(take(&l, i));
			l.frames[frame]->len = (uint32_t)((int)l.frames[frame]->len + d);
			if (d == 0)
				assert_ok(take(&l, frame));
			else
				assert_err(ERR_PROTO, take(&l, frame));
			lie_clear(&l);
		}
	}
}

static void
a_leaf_without_its_list_is_refused(void **state)
{
	struct lie l;

	(void)state;
	lie_init(&l);
	/* The second leaf, on a stream that has not seen the list. */
	assert_err(ERR_PROTO, take(&l, 1));
	assert_int_equal(l.told.n, 0);
	lie_clear(&l);
}

static void
a_list_that_is_held_or_not_needed_is_refused(void **state)
{
	struct lie l;

	(void)state;
	lie_init(&l);
	assert_ok(take(&l, 0));
	assert_err(ERR_PROTO, take(&l, 0)); /* the list again */
	lie_clear(&l);
}

static void
a_list_of_another_chunk_is_refused(void **state)
{
	struct lie l;

	(void)state;
	lie_init(&l);
	memcpy(l.frames[0]->bytes + LIMIT_DATA_PREFIX, l.c.lists.at[2].hash, 2 * HASH_BYTES);
	assert_err(ERR_CORRUPT, take(&l, 0));
	assert_int_equal(l.told.n, 0);
	lie_clear(&l);
}

static void
leaves_of_another_place_are_refused(void **state)
{
	struct lie l;
	struct data_prefix p = { .first_leaf = 1, .n_leaves = 1 };

	(void)state;
	lie_init(&l);
	assert_ok(take(&l, 0));
	/* The third leaf, said to be the second. */
	frame_data_encode(&p, l.frames[2]->bytes);
	assert_true(take(&l, 2) != OK);
	assert_int_equal(l.told.n, 1);
	/* Beyond the unit. */
	p = (struct data_prefix){ .first_leaf = l.c.units.at[0].n_leaves, .n_leaves = 1 };
	frame_data_encode(&p, l.frames[2]->bytes);
	assert_err(ERR_PROTO, take(&l, 2));
	lie_clear(&l);
}

static void
leaves_behind_the_end_of_a_unit_are_refused(void **state)
{
	struct content c = { 0 };
	struct transfer_check check;
	struct rng rng;
	struct told told = { .c = &c };
	struct block *b = block_new(BLOCK_ROOM);
	const struct data_prefix p = {
		.first_leaf = 1, .n_leaves = 1, .lists_bytes = 3 * HASH_BYTES
	};

	(void)state;
	rng_seed(&rng, 4);
	add_chunk(&c, &rng, 3 * CHUNK_LEAF);
	cut_units(&c, UNIT_MIN); /* a unit a leaf */
	check_init(&check, &c, 0);
	/* The second leaf, right in every way but that it is of the next unit. */
	frame_data_encode(&p, b->bytes);
	memcpy(b->bytes + LIMIT_DATA_PREFIX, c.lists.at[0].hash, p.lists_bytes);
	memcpy(
	    b->bytes + LIMIT_DATA_PREFIX + p.lists_bytes, c.bytes.at[0] + CHUNK_LEAF, CHUNK_LEAF);
	b->len = LIMIT_DATA_PREFIX + p.lists_bytes + CHUNK_LEAF;
	assert_err(ERR_PROTO,
	    transfer_check_data(&check, BYTES(b->bytes, b->len), on_leaf, &told, &unit_error));
	assert_int_equal(told.n, 0);
	block_free(b);
	content_clear(&c);
}

static enum err
full_disk(void *ctx, const struct transfer_leaf *leaf, struct error *e)
{
	(void)leaf;
	++*(unsigned *)ctx;
	return fail(e, ERR_NOSPACE, "the disk is full");
}

static void
an_error_of_the_taker_is_passed_on(void **state)
{
	struct lie l;
	unsigned calls = 0;

	(void)state;
	lie_init(&l);
	assert_err(
	    ERR_NOSPACE, transfer_check_data(&l.check, BYTES(l.frames[0]->bytes, l.frames[0]->len),
			     full_disk, &calls, &unit_error));
	assert_int_equal(calls, 1);
	lie_clear(&l);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_served_is_accepted_whole_and_in_runs),
		cmocka_unit_test(frames_are_as_full_as_they_can_be),
		cmocka_unit_test(leaves_that_a_unit_does_not_have_are_not_served),
		cmocka_unit_test(any_flipped_bit_is_found),
		cmocka_unit_test(bytes_too_few_or_too_many_are_found),
		cmocka_unit_test(a_leaf_without_its_list_is_refused),
		cmocka_unit_test(a_list_that_is_held_or_not_needed_is_refused),
		cmocka_unit_test(a_list_of_another_chunk_is_refused),
		cmocka_unit_test(leaves_of_another_place_are_refused),
		cmocka_unit_test(leaves_behind_the_end_of_a_unit_are_refused),
		cmocka_unit_test(an_error_of_the_taker_is_passed_on),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
