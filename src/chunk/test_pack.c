#include "tests/check.h"

#include "base/mem.h"
#include "chunk/pack.h"
#include "chunk/pack_set.h"
#include "chunk/pack_walk.h"
#include "chunk/pack_writer.h"

static const struct pack_head salted = { .number = 0x1122334455667788, .salt = "sixteen bytes..." };

static struct pack_record
a_record(void)
{
	struct pack_record r = {
		.kind = HASH_CHUNK, .codec = CODEC_ZSTD, .raw_len = 70000, .packed_len = 300
	};

	chunk_id_of(HASH_DEFAULT, BYTES_LIT("any"), NULL, &r.id);
	return r;
}

/* -- bytes -- */

static void
a_head_comes_back_and_no_byte_of_it_may_differ(void **state)
{
	(void)state;
	uint8_t b[PACK_HEAD];
	struct pack_head h;
	struct error e = { 0 };

	pack_head_encode(&salted, b);
	check_ok(pack_head_decode(BYTES_OF(b), &h, &e), e);
	assert_memory_equal(&h, &salted, sizeof h);
	for (size_t i = 0; i < sizeof b; i++) {
		b[i] ^= 0x80;
		check_err(pack_head_decode(BYTES_OF(b), &h, &e), ERR_CORRUPT, e);
		b[i] ^= 0x80;
	}
	check_err(pack_head_decode(BYTES(b, sizeof b - 1), &h, &e), ERR_CORRUPT, e);
}

static void
a_record_head_comes_back_and_no_byte_of_it_may_differ(void **state)
{
	(void)state;
	uint8_t b[PACK_RECORD_HEAD];
	struct pack_record want = a_record(), rec;
	struct pack_head other = salted;
	struct error e = { 0 };

	pack_record_encode(&salted, &want, b);
	check_ok(pack_record_decode(&salted, BYTES_OF(b), &rec, &e), e);
	assert_true(hash_id_equal(&rec.id, &want.id));
	assert_int_equal(rec.kind, want.kind);
	assert_int_equal(rec.codec, want.codec);
	assert_int_equal(rec.raw_len, want.raw_len);
	assert_int_equal(rec.packed_len, want.packed_len);
	assert_int_equal(pack_record_len(&rec), 56 + 2 * 32 + 300);
	for (size_t i = 0; i < sizeof b; i++) {
		b[i] ^= 1;
		check_err(pack_record_decode(&salted, BYTES_OF(b), &rec, &e), ERR_CORRUPT, e);
		b[i] ^= 1;
	}
	other.salt[0] ^= 1;
	check_err(pack_record_decode(&other, BYTES_OF(b), &rec, &e), ERR_CORRUPT, e);
}

static void
a_record_cannot_state_what_cannot_be(void **state)
{
	(void)state;
	static const struct {
		uint8_t kind, codec;
		uint32_t raw, packed;
		bool sane;
	} cases[] = {
		{ HASH_CHUNK, CODEC_RAW, 1, 1, true },
		{ HASH_CHUNK, CODEC_RAW, CHUNK_MAX, CHUNK_MAX, true },
		{ HASH_CHUNK, CODEC_RAW, CHUNK_MAX + 1, CHUNK_MAX + 1, false },
		{ HASH_CHUNK, CODEC_RAW, 0, 0, false },
		{ HASH_CHUNK, CODEC_RAW, 10, 9, false },
		{ HASH_CHUNK, CODEC_ZSTD, 10, 9, true },
		{ HASH_CHUNK, CODEC_ZSTD, 10, 10, false },
		{ HASH_CHUNK, CODEC_ZSTD, 10, 0, false },
		{ HASH_CHUNK, 2, 10, 9, false },
		{ HASH_TREE, CODEC_RAW, PACK_NODE_MAX, PACK_NODE_MAX, true },
		{ HASH_TREE, CODEC_RAW, PACK_NODE_MAX + 1, PACK_NODE_MAX + 1, false },
		{ HASH_STATEMENT, CODEC_ZSTD, 100, 50, true },
		{ HASH_LEAF, CODEC_RAW, 10, 10, false },
		{ HASH_SHARE, CODEC_RAW, 10, 10, false },
		{ UINT8_MAX, CODEC_RAW, 10, 10, false },
	};
	uint8_t b[PACK_RECORD_HEAD];

	for (size_t i = 0; i < lengthof(cases); i++) {
		struct pack_record rec = a_record();
		rec.kind = cases[i].kind;
		rec.codec = cases[i].codec;
		rec.raw_len = cases[i].raw;
		rec.packed_len = cases[i].packed;
		assert_int_equal(pack_record_sane(&rec), cases[i].sane);
		pack_record_encode(&salted, &rec, b);
		assert_int_equal(
		    pack_record_decode(&salted, BYTES_OF(b), &rec, NULL) == OK, cases[i].sane);
	}
	struct pack_record rec = a_record();
	rec.id.alg = 0;
	assert_false(pack_record_sane(&rec));
}

/* -- files -- */

enum { OBJECTS = 30 };

struct file {
	struct check_dir dir;
	struct pack_writer w;
	int fd;
	uint64_t off[OBJECTS + 1]; /* and the end */
};

static struct bytes
object(unsigned i, uint8_t *to)
{
	size_t n = i % 10 == 9 ? 700 * 1000 : 100 + i * 50;

	memset(to, (int)i, n);
	return BYTES(to, n);
}

static int
setup(void **state)
{
	struct file *f = mem_new(struct file);
	auto_free uint8_t *b = mem_alloc(CHUNK_MAX);
	struct error e = { 0 };

	f->dir = check_dir_make_fast();
	pack_writer_init(&f->w);
	check_ok(pack_writer_create(&f->w, f->dir.fd, 5, &e), e);
	for (unsigned i = 0; i < OBJECTS; i++) {
		struct bytes raw = object(i, b);
		struct pack_record rec = { .kind = HASH_CHUNK,
			.raw_len = (uint32_t)raw.len,
			.packed_len = (uint32_t)raw.len };
		struct leaf_list l;
		chunk_id_of(HASH_DEFAULT, raw, &l, &rec.id);
		check_ok(pack_writer_append(&f->w, &rec, &l, raw, &f->off[i], &e), e);
	}
	f->off[OBJECTS] = pack_writer_end(&f->w);
	check_ok(pack_writer_flush(&f->w, &e), e);
	f->fd = openat(f->dir.fd, "0000000000000005.pack", O_RDWR | O_CLOEXEC);
	assert_true(f->fd >= 0);
	*state = f;
	return 0;
}

static int
teardown(void **state)
{
	struct file *f = *state;

	close(f->fd);
	pack_writer_clear(&f->w);
	check_dir_remove(&f->dir);
	free(f);
	return 0;
}

/* Walks the file: each record met is the one that was written there.  Says which were met. */
static unsigned
walk(struct file *f, bool met[static OBJECTS], uint64_t *ret_lost)
{
	auto_free uint8_t *want = mem_alloc(CHUNK_MAX), *is = mem_alloc(CHUNK_MAX);
	struct pack_walk w = { 0 };
	struct pack_record rec;
	struct leaf_list l;
	struct error e = { 0 };
	unsigned n = 0, i = 0;
	uint64_t off = 0;

	memset(met, 0, OBJECTS * sizeof *met);
	check_ok(pack_walk_init(&w, f->fd, 5, 0, UINT64_MAX, &e), e);
	for (;;) {
		enum err r = pack_walk_next(&w, &rec, &off, &e);
		if (r == ERR_NOTFOUND)
			break;
		check_ok(r, e);
		while (i < OBJECTS && f->off[i] < off)
			i++;
		assert_int_equal(off, f->off[i]);
		assert_int_equal(rec.raw_len, object(i, want).len);
		check_ok(pack_walk_read(f->fd, &rec, off, &l, is, &e), e);
		check_ok(pack_record_verify(&rec, &l, is, &e), e);
		assert_memory_equal(is, want, rec.raw_len);
		met[i] = true;
		n++;
	}
	*ret_lost = w.lost;
	return n;
}

static void
flip(int fd, uint64_t off)
{
	uint8_t b;

	assert_int_equal(pread(fd, &b, 1, (off_t)off), 1);
	b ^= 1;
	assert_int_equal(pwrite(fd, &b, 1, (off_t)off), 1);
}

static void
a_walk_meets_every_record(void **state)
{
	struct file *f = *state;
	bool met[OBJECTS];
	uint64_t lost = 1;

	assert_int_equal(walk(f, met, &lost), OBJECTS);
	assert_int_equal(lost, 0);
}

/* Also when the next good record lies far behind: 9 and 19 are 700 KB. */
static void
a_damaged_head_costs_one_record(void **state)
{
	struct file *f = *state;
	bool met[OBJECTS];
	uint64_t lost = 0;

	for (unsigned i = 0; i < OBJECTS; i++) {
		flip(f->fd, f->off[i] + i);
		assert_int_equal(walk(f, met, &lost), OBJECTS - 1);
		assert_false(met[i]);
		assert_int_equal(lost, f->off[i + 1] - f->off[i]);
		flip(f->fd, f->off[i] + i);
	}
}

static void
a_cut_file_ends_with_its_last_whole_record(void **state)
{
	struct file *f = *state;
	bool met[OBJECTS];
	uint64_t lost = 0;

	for (unsigned i = OBJECTS; i-- > 0;) {
		assert_int_equal(ftruncate(f->fd, (off_t)f->off[i + 1] - 1), 0);
		assert_int_equal(walk(f, met, &lost), i);
		assert_int_equal(lost, f->off[i + 1] - 1 - f->off[i]);
		assert_int_equal(ftruncate(f->fd, (off_t)f->off[i] + 10), 0);
		assert_int_equal(walk(f, met, &lost), i);
		assert_int_equal(lost, 10);
	}
}

static void
a_pack_under_another_number_is_refused(void **state)
{
	struct file *f = *state;
	struct pack_walk w = { 0 };
	struct error e = { 0 };

	check_err(pack_walk_init(&w, f->fd, 6, 0, UINT64_MAX, &e), ERR_CORRUPT, e);
	assert_int_equal(ftruncate(f->fd, PACK_HEAD - 1), 0);
	check_err(pack_walk_init(&w, f->fd, 5, 0, UINT64_MAX, &e), ERR_CORRUPT, e);
}

static void
what_is_gathered_can_be_read_before_it_is_written(void **state)
{
	struct file *f = *state;
	struct pack_record rec = { .kind = HASH_TREE, .raw_len = 5, .packed_len = 5 };
	uint64_t off = 0;
	uint8_t is[5];
	struct error e = { 0 };

	hash_object(HASH_DEFAULT, HASH_TREE, BYTES_LIT("hello"), &rec.id);
	check_ok(pack_writer_append(&f->w, &rec, NULL, BYTES_LIT("hello"), &off, &e), e);
	assert_int_equal(off, f->off[OBJECTS]);
	assert_int_equal(pread(f->fd, is, sizeof is, (off_t)off), 0);
	assert_true(pack_writer_peek(&f->w, off + PACK_RECORD_HEAD, is, sizeof is));
	assert_memory_equal(is, "hello", sizeof is);
	assert_false(pack_writer_peek(&f->w, off + PACK_RECORD_HEAD + 1, is, sizeof is));
	assert_false(pack_writer_peek(&f->w, f->off[0], is, sizeof is));
	check_ok(pack_writer_flush(&f->w, &e), e);
	assert_false(pack_writer_peek(&f->w, off + PACK_RECORD_HEAD, is, sizeof is));
	assert_int_equal(pread(f->fd, is, sizeof is, (off_t)off + PACK_RECORD_HEAD), sizeof is);
	assert_memory_equal(is, "hello", sizeof is);
}

/* -- the set of files -- */

static void
more_packs_than_descriptors_kept_are_read(void **state)
{
	(void)state;
	struct check_dir d = check_dir_make_fast();
	struct pack_set *s = pack_set_new(dup(d.fd));
	struct pack_set_list l = { 0 };
	struct error e = { 0 };
	int held[100], again = -1;
	char name[PACK_SET_NAME], byte;

	for (uint64_t i = 0; i < 100; i++) {
		uint8_t content = (uint8_t)i;
		check_put(&d, pack_set_name(i + 1, name).text, &content, 1);
	}
	check_put(&d, "0000000000000zzz.pack", "x", 1);
	check_put(&d, "0000000000000001.pack2", "x", 1);
	for (unsigned round = 0; round < 2; round++) {
		for (uint64_t i = 0; i < 100; i++)
			check_ok(pack_set_get(s, i + 1, &held[i], &e), e);
		for (uint64_t i = 0; i < 100; i++) {
			assert_int_equal(pread(held[i], &byte, 1, 0), 1);
			assert_int_equal(byte, i);
			pack_set_put(s, i + 1, held[i]);
		}
	}
	check_ok(pack_set_list(s, &l, &e), e);
	assert_int_equal(l.files.len, 100);
	for (uint64_t i = 0; i < 100; i++)
		assert_true(l.files.at[i].number == i + 1 && l.files.at[i].size == 1);
	array_clear(&l.files);

	/* Who holds a removed pack reads on; nobody else finds it. */
	check_ok(pack_set_get(s, 7, &held[0], &e), e);
	check_ok(pack_set_remove(s, 7, &e), e);
	assert_int_equal(pread(held[0], &byte, 1, 0), 1);
	check_err(pack_set_get(s, 7, &again, &e), ERR_NOTFOUND, e);
	pack_set_put(s, 7, held[0]);
	check_ok(pack_set_remove(s, 7, &e), e);
	pack_set_free(s);
	check_dir_remove(&d);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_head_comes_back_and_no_byte_of_it_may_differ),
		cmocka_unit_test(a_record_head_comes_back_and_no_byte_of_it_may_differ),
		cmocka_unit_test(a_record_cannot_state_what_cannot_be),
		cmocka_unit_test_setup_teardown(a_walk_meets_every_record, setup, teardown),
		cmocka_unit_test_setup_teardown(a_damaged_head_costs_one_record, setup, teardown),
		cmocka_unit_test_setup_teardown(
		    a_cut_file_ends_with_its_last_whole_record, setup, teardown),
		cmocka_unit_test_setup_teardown(
		    a_pack_under_another_number_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(
		    what_is_gathered_can_be_read_before_it_is_written, setup, teardown),
		cmocka_unit_test(more_packs_than_descriptors_kept_are_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
