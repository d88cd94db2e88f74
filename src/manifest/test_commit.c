#include "manifest/test_nodes.h"

#include "manifest/commit.h"

struct fixture {
	struct device_key *key;
	struct commit c;
	struct buf b; /* C, signed */
};

static int
set_up(void **state)
{
	struct fixture *f = mem_new(struct fixture);
	struct device_id other = { { 7 } };

	assert_ok(device_key_generate(&f->key, &unit_error));
	f->b = BUF(COMMIT_MAX);
	f->c = (struct commit){
		.share = any_id(1),
		.policy = any_id(2),
		.epoch = 3,
		.content = any_id(4),
		.causal = any_id(5),
		.entries = 10,
		.bytes = 5000,
		.chunks = 3,
		.chunk_bytes = 4000,
		.seq = 12,
		.hlc = (uint64_t)1700000000000 << 16,
		.label = "Version 1.2 \xc3\xbc",
		.n_parents = 2,
		.parents = { any_id(6), any_id(7) },
	};
	if (memcmp(&f->c.parents[0], &f->c.parents[1], sizeof f->c.parents[0]) > 0) {
		struct hash_id first = f->c.parents[1];
		f->c.parents[1] = f->c.parents[0];
		f->c.parents[0] = first;
	}
	version_vector_raise(&f->c.vv, &other, 99);
	assert_ok(commit_sign(&f->c, f->key, &f->b, &unit_error));
	*state = f;
	return 0;
}

static int
tear_down(void **state)
{
	struct fixture *f = *state;

	commit_clear(&f->c);
	buf_clear(&f->b);
	device_key_free(f->key);
	free(f);
	return 0;
}

static void
a_commit_comes_back_and_its_signature_holds(void **state)
{
	struct fixture *f = *state;
	auto_(commit_clear) struct commit c = { 0 };

	assert_ok(commit_decode(buf_bytes(&f->b), &c, &unit_error));
	assert_ok(commit_verify(buf_bytes(&f->b), &c, &unit_error));
	assert_true(hash_id_equal(&c.id, &f->c.id));
	assert_true(hash_id_equal(&c.share, &f->c.share));
	assert_true(hash_id_equal(&c.policy, &f->c.policy));
	assert_true(hash_id_equal(&c.content, &f->c.content));
	assert_true(hash_id_equal(&c.causal, &f->c.causal));
	assert_int_equal(c.epoch, 3);
	assert_int_equal(c.entries, 10);
	assert_int_equal(c.bytes, 5000);
	assert_int_equal(c.chunks, 3);
	assert_int_equal(c.chunk_bytes, 4000);
	assert_int_equal(c.n_parents, 2);
	assert_memory_equal(c.parents, f->c.parents, 2 * sizeof c.parents[0]);
	assert_true(version_vector_equal(&c.vv, &f->c.vv));
	assert_int_equal(version_vector_get(&c.vv, device_key_id(f->key)), 12);
	assert_int_equal(c.seq, 12);
	assert_int_equal(c.hlc, f->c.hlc);
	assert_string_equal(c.label, f->c.label);
	struct hash_id id;
	hash_object(HASH_DEFAULT, HASH_COMMIT, buf_bytes(&f->b), &id);
	assert_true(hash_id_equal(&c.id, &id));
}

static void
a_change_of_any_byte_is_refused_or_breaks_the_signature(void **state)
{
	struct fixture *f = *state;
	struct rng rng;
	size_t decoded = 0;

	rng_seed(&rng, any_seed());
	for (size_t at = 0; at < f->b.len; at++) {
		auto_free uint8_t *bad = mem_dup(f->b.at, f->b.len);
		auto_(commit_clear) struct commit c = { 0 };
		bad[at] ^= (uint8_t)(1 << rng_below(&rng, 8));
		enum err r = commit_decode(BYTES(bad, f->b.len), &c, NULL);
		assert_true(r == OK || r == ERR_PROTO);
		if (r != OK)
			continue;
		decoded++;
		assert_false(hash_id_equal(&c.id, &f->c.id));
		assert_int_equal(commit_verify(BYTES(bad, f->b.len), &c, NULL), ERR_DENIED);
	}
	assert_true(decoded > 100); /* ids and signatures may be anything */
}

static void
a_commit_cut_short_or_with_a_tail_is_refused(void **state)
{
	struct fixture *f = *state;
	auto_(commit_clear) struct commit c = { 0 };

	for (size_t n = 0; n < f->b.len; n++)
		assert_err(ERR_PROTO, commit_decode(BYTES(f->b.at, n), &c, &unit_error));
	buf_u8(&f->b, 0);
	assert_err(ERR_PROTO, commit_decode(buf_bytes(&f->b), &c, &unit_error));
	assert_int_equal(c.vv.v.len, 0);
}

static void
random_mutations_never_crash_and_have_one_encoding(void **state)
{
	struct fixture *f = *state;
	struct rng rng;
	size_t decoded = 0;

	rng_seed(&rng, any_seed());
	for (int i = 0; i < 20000; i++) {
		auto_(commit_clear) struct commit c = { 0 };
		auto_buf struct buf bad = BUF(2000);
		size_t keep = rng_below(&rng, f->b.len), drop = rng_below(&rng, 4),
		       add = rng_below(&rng, 4);
		uint8_t noise[4];
		rng_fill(&rng, noise, sizeof noise);
		buf_add(&bad, f->b.at, keep);
		buf_add(&bad, noise, add);
		if (keep + drop < f->b.len)
			buf_add(&bad, f->b.at + keep + drop, f->b.len - keep - drop);
		enum err r = commit_decode(buf_bytes(&bad), &c, NULL);
		assert_true(r == OK || r == ERR_PROTO);
		if (r != OK)
			continue;
		auto_buf struct buf again = BUF(COMMIT_MAX);
		commit_encode(&c, &again);
		assert_true(bytes_equal(buf_bytes(&again), buf_bytes(&bad)));
		decoded++;
	}
	assert_true(decoded > 100);
}

static void
commits_that_break_a_rule_are_neither_made_nor_read(void **state)
{
	struct fixture *f = *state;
	auto_buf struct buf b = BUF(COMMIT_MAX);

#define REFUSED(change)                                                                            \
	do {                                                                                       \
		struct commit x = f->c;                                                            \
		x.vv = (struct version_vector){ 0 };                                               \
		version_vector_copy(&x.vv, &f->c.vv);                                              \
		change;                                                                            \
		assert_err(ERR_PROTO, commit_sign(&x, f->key, &b, &unit_error));                   \
		commit_clear(&x);                                                                  \
	} while (0)
	REFUSED(x.seq = 0);
	REFUSED(x.seq = 11); /* the vector has seen 12 */
	REFUSED(x.entries = TREE_ENTRIES_MAX + 1);
	REFUSED(x.bytes = TREE_TOTAL_MAX + 1);
	REFUSED(x.chunks = UINT64_MAX);
	REFUSED(x.chunk_bytes = 5001);
	REFUSED(x.chunk_bytes = 2);
	REFUSED((x.bytes = 1 << 30, x.chunk_bytes = 3 * CHUNK_MAX + 1));
	REFUSED(x.chunks = 0);
	REFUSED(x.entries = 0);
	REFUSED(x.n_parents = COMMIT_PARENTS_MAX + 1);
	REFUSED(x.parents[1] = x.parents[0]);
	REFUSED((x.parents[1] = f->c.parents[0], x.parents[0] = f->c.parents[1]));
	REFUSED(x.causal.alg = HASH_SHA512_256);
	REFUSED(x.label[3] = '\n');
	REFUSED(x.label[3] = 0x7f);
	REFUSED(x.label[3] = (char)0xff);
	REFUSED(memcpy(x.label, "\xc2\x85", 3));
#undef REFUSED
	assert_int_equal(b.len, 0);
}

static void
more_parents_than_there_is_room_for_are_refused(void **state)
{
	struct fixture *f = *state;
	auto_(commit_clear) struct commit back = { 0 };
	auto_buf struct buf good = BUF(COMMIT_MAX), bad = BUF(COMMIT_MAX);
	struct hash_id parent = { .alg = HASH_SHA256 };
	enum { AT = 1 + 4 * HASH_ID_BYTES + 1 + 1 + 2 + 1 + 2 }; /* of their number */

	for (f->c.n_parents = 0; f->c.n_parents < COMMIT_PARENTS_MAX; f->c.n_parents++) {
		parent.bytes[0]++;
		f->c.parents[f->c.n_parents] = parent;
	}
	assert_ok(commit_sign(&f->c, f->key, &good, &unit_error));
	assert_ok(commit_decode(buf_bytes(&good), &back, &unit_error));
	commit_clear(&back);
	assert_int_equal(good.at[AT], COMMIT_PARENTS_MAX);
	size_t head = AT + 1 + COMMIT_PARENTS_MAX * HASH_ID_BYTES;
	buf_add(&bad, good.at, head);
	bad.at[AT]++;
	parent.bytes[0]++;
	hash_id_encode(&bad, &parent);
	buf_add(&bad, good.at + head, good.len - head);
	assert_err(ERR_PROTO, commit_decode(buf_bytes(&bad), &back, &unit_error));
}

/* The label is what stands before the signature: put another in its place. */
static enum err
decode_with_label(struct fixture *f, struct bytes label)
{
	auto_(commit_clear) struct commit back = { 0 };
	auto_buf struct buf b = BUF(COMMIT_MAX);
	size_t tail = 2 + (size_t)f->c.signature.len,
	       head = f->b.len - tail - strlen(f->c.label) - 1;

	buf_add(&b, f->b.at, head);
	buf_u8(&b, (uint8_t)label.len);
	buf_add_bytes(&b, label);
	buf_add(&b, f->b.at + f->b.len - tail, tail);
	return commit_decode(buf_bytes(&b), &back, &unit_error);
}

static void
labels_that_are_too_long_or_no_text_are_refused(void **state)
{
	struct fixture *f = *state;
	char label[COMMIT_LABEL_MAX + 1];

	memset(label, 'l', sizeof label);
	assert_ok(decode_with_label(f, BYTES(label, COMMIT_LABEL_MAX)));
	assert_err(ERR_PROTO, decode_with_label(f, BYTES(label, COMMIT_LABEL_MAX + 1)));
	assert_ok(decode_with_label(f, BYTES_LIT("")));
	assert_err(ERR_PROTO, decode_with_label(f, BYTES_LIT("a\0b")));
	assert_err(ERR_PROTO, decode_with_label(f, BYTES_LIT("a\tb")));
	assert_err(ERR_PROTO, decode_with_label(f, BYTES_LIT("a\xc3")));
	assert_err(ERR_PROTO, commit_verify(BYTES(f->b.at, 10), &f->c, &unit_error));
}

static void
the_widest_commit_fits(void **state)
{
	struct fixture *f = *state;
	struct commit c = f->c;
	auto_(commit_clear) struct commit back = { 0 };
	auto_buf struct buf b = BUF(COMMIT_MAX);

	c.vv = (struct version_vector){ 0 };
	for (uint32_t i = 1; i < VERSION_VECTOR_MAX; i++) {
		struct device_id d = { { (uint8_t)(i >> 8), (uint8_t)i } };
		version_vector_raise(&c.vv, &d, UINT64_MAX);
	}
	memset(c.label, 'l', COMMIT_LABEL_MAX);
	assert_ok(commit_sign(&c, f->key, &b, &unit_error));
	assert_ok(commit_decode(buf_bytes(&b), &back, &unit_error));
	assert_int_equal(back.vv.v.len, VERSION_VECTOR_MAX);
	assert_int_equal(strlen(back.label), COMMIT_LABEL_MAX);

	struct device_id one_more = { { 0xff, 1 } };
	version_vector_raise(&c.vv, &one_more, 1);
	b.len = 0;
	assert_err(ERR_LIMIT, commit_sign(&c, f->key, &b, &unit_error));
	assert_int_equal(b.len, 0);
	version_vector_clear(&c.vv);
	auto_buf struct buf narrow = BUF(100);
	assert_err(ERR_LIMIT, commit_sign(&f->c, f->key, &narrow, &unit_error));
	assert_int_equal(narrow.len, 0);
}

static void
a_signature_of_another_device_or_domain_is_denied(void **state)
{
	struct fixture *f = *state;
	auto_(device_key_free_p) struct device_key *other = NULL;
	auto_(commit_clear) struct commit c = { 0 };
	auto_buf struct buf b = BUF(COMMIT_MAX);

	assert_ok(commit_decode(buf_bytes(&f->b), &c, &unit_error));
	size_t body = f->b.len - 2 - c.signature.len;
	assert_ok(device_key_generate(&other, &unit_error));
	for (int i = 0; i < 2; i++) {
		auto_(commit_clear) struct commit forged = { 0 };
		struct signature s;
		buf_reset(&b);
		buf_add(&b, f->b.at, body);
		assert_ok(device_key_sign(i == 0 ? other : f->key,
		    i == 0 ? "weft commit 1" : "weft statement 1", buf_bytes(&b), &s, &unit_error));
		signature_encode(&b, &s);
		assert_ok(commit_decode(buf_bytes(&b), &forged, &unit_error));
		assert_err(ERR_DENIED, commit_verify(buf_bytes(&b), &forged, &unit_error));
	}
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(a_commit_comes_back_and_its_signature_holds),
		TEST(a_change_of_any_byte_is_refused_or_breaks_the_signature),
		TEST(a_commit_cut_short_or_with_a_tail_is_refused),
		TEST(random_mutations_never_crash_and_have_one_encoding),
		TEST(commits_that_break_a_rule_are_neither_made_nor_read),
		TEST(more_parents_than_there_is_room_for_are_refused),
		TEST(labels_that_are_too_long_or_no_text_are_refused),
		TEST(the_widest_commit_fits),
		TEST(a_signature_of_another_device_or_domain_is_denied),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
