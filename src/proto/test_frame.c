#include "tests/unit.h"

#include "base/mem.h"
#include "proto/frame.h"

static const struct {
	const char *name;
	uint16_t number;
} types[] = {
#define X(name, number) { #name, number },
	FRAME_TYPES(X)
#undef X
};

static enum err
recode(struct frame_header h, bool guest, struct frame_header *ret)
{
	uint8_t raw[LIMIT_FRAME_HEADER];

	frame_header_encode(&h, raw);
	return frame_header_decode(raw, guest, ret, &unit_error);
}

/* The flags that a frame of TYPE must have. */
static uint16_t
flags_of(uint16_t type)
{
	return frame_type_ends(type) ? FRAME_END : 0;
}

static void
every_type_has_its_name_and_no_other_number_has_one(void **state)
{
	size_t n = 0;

	(void)state;
	for (uint32_t i = 0; i <= UINT16_MAX; i++)
		n += frame_type_name((uint16_t)i) != NULL;
	assert_int_equal(n, lengthof(types));
	for (size_t i = 0; i < lengthof(types); i++)
		assert_string_equal(frame_type_name(types[i].number), types[i].name);
}

static void
a_header_is_twelve_little_endian_bytes(void **state)
{
	static const uint8_t want[LIMIT_FRAME_HEADER] = { 0x04, 0x03, 0x01, 0, 0x43, 0, 0x01, 0,
		0x0d, 0x0c, 0x0b, 0x0a };
	const struct frame_header h = {
		.length = 0x010304, .type = FRAME_DATA, .flags = FRAME_END, .stream = 0x0a0b0c0d
	};
	uint8_t raw[LIMIT_FRAME_HEADER];

	(void)state;
	frame_header_encode(&h, raw);
	assert_memory_equal(raw, want, sizeof want);
}

static void
every_type_is_accepted_up_to_its_limit_and_not_beyond(void **state)
{
	struct frame_header got;

	(void)state;
	for (size_t i = 0; i < lengthof(types); i++) {
		struct frame_header h = {
			.type = types[i].number, .flags = flags_of(types[i].number), .stream = 7
		};
		uint32_t most = h.type == FRAME_NODE ? FRAME_NODE_PREFIX + LIMIT_NODE_RAW
				: h.type == FRAME_DATA
				    ? LIMIT_DATA_PREFIX + LIMIT_DATA_LISTS + LIMIT_DATA_RAW
				    : LIMIT_FRAME_MESSAGE;
		h.length = most;
		assert_ok(recode(h, false, &got));
		assert_memory_equal(&got, &h, sizeof h);
		h.length = most + 1;
		assert_err(ERR_LIMIT, recode(h, false, &got));
		h.length = UINT32_MAX;
		assert_err(ERR_LIMIT, recode(h, false, &got));
	}
}

static void
a_guest_may_say_less(void **state)
{
	struct frame_header h = { .type = FRAME_HELLO, .length = LIMIT_FRAME_GUEST }, got;

	(void)state;
	assert_ok(recode(h, true, &got));
	h.length++;
	assert_err(ERR_LIMIT, recode(h, true, &got));
	assert_ok(recode(h, false, &got));
}

static void
unknown_types_pass_to_be_skipped(void **state)
{
	struct frame_header h = { .type = 999, .flags = 0xffff, .length = LIMIT_FRAME_MESSAGE },
			    got;

	(void)state;
	assert_ok(recode(h, false, &got));
	h.length++;
	assert_err(ERR_LIMIT, recode(h, false, &got));
}

static void
flags_that_a_type_does_not_have_are_refused(void **state)
{
	struct frame_header got;

	(void)state;
	for (size_t i = 0; i < lengthof(types); i++) {
		struct frame_header h = { .type = types[i].number, .length = 16 };
		for (uint32_t flags = 0; flags < 16; flags++) {
			bool ends = frame_type_ends(h.type);
			uint32_t may = h.type == FRAME_NODE           ? FRAME_END | FRAME_MISSING
				       : h.type == FRAME_DATA || ends ? FRAME_END
								      : 0;
			bool ok = (flags & ~may) == 0 && (!ends || flags == FRAME_END);
			h.flags = (uint16_t)flags;
			assert_err(ok ? OK : ERR_PROTO, recode(h, false, &got));
		}
	}
}

static void
raw_frames_without_room_for_their_prefix_are_refused(void **state)
{
	struct frame_header h = { .type = FRAME_DATA, .length = LIMIT_DATA_PREFIX }, got;

	(void)state;
	assert_err(ERR_PROTO, recode(h, false, &got));
	h.length++;
	assert_ok(recode(h, false, &got));
	h = (struct frame_header){ .type = FRAME_NODE, .length = FRAME_NODE_PREFIX - 1 };
	assert_err(ERR_PROTO, recode(h, false, &got));
	h.length++;
	assert_ok(recode(h, false, &got));
}

/* A DATA payload with prefix P, and LEN bytes behind it. */
static enum err
data(const struct data_prefix *p, size_t len)
{
	static uint8_t payload[2 * LIMIT_DATA_RAW];
	struct bytes lists, leaves;
	struct data_prefix got;

	frame_data_encode(p, payload);
	enum err r = frame_data_decode(
	    BYTES(payload, LIMIT_DATA_PREFIX + len), &got, &lists, &leaves, &unit_error);
	if (r == OK) {
		assert_int_equal(got.unit, p->unit);
		assert_int_equal(got.first_leaf, p->first_leaf);
		assert_int_equal(got.n_leaves, p->n_leaves);
		assert_int_equal(got.codec, p->codec);
		assert_ptr_equal(lists.at, payload + LIMIT_DATA_PREFIX);
		assert_int_equal(lists.len, p->lists_bytes);
		assert_ptr_equal(leaves.at, lists.at + lists.len);
		assert_int_equal(lists.len + leaves.len, len);
	}
	return r;
}

static void
data_is_split_into_lists_and_leaves_or_refused(void **state)
{
	static const struct {
		struct data_prefix p;
		size_t len;
		enum err want;
	} cases[] = {
		{ { 9, 3, 1, 0, DATA_RAW }, 1, OK },
		{ { UINT32_MAX, 0, 1, 512, DATA_RAW }, 512 + LIMIT_DATA_RAW, OK },
		{ { 9, 1023, 1, 1024, DATA_RAW }, 1024 + 1, OK },
		{ { 9, 0, 1024, 0, DATA_RAW }, 1024, OK },
		/* beyond the leaves that a unit can have */
		{ { 9, 1, 1024, 0, DATA_RAW }, 1024, ERR_PROTO },
		{ { 9, 0, 2000, 0, DATA_RAW }, 2000, ERR_PROTO },
		{ { 9, 0, 2000, 0, DATA_ZSTD }, 2000, ERR_PROTO },
		{ { 9, 65535, 65535, 0, DATA_RAW }, 65535, ERR_PROTO },
		{ { 9, 0, 0, 0, DATA_RAW }, 10, ERR_PROTO }, /* no leaf */
		{ { 9, 0, 0, 0, DATA_ZSTD }, 10, ERR_PROTO },
		/* leaves of less than a byte; but packed they may be */
		{ { 9, 0, 11, 0, DATA_RAW }, 10, ERR_PROTO },
		{ { 9, 0, 11, 0, DATA_ZSTD }, 10, OK },
		/* a codec that there is not */
		{ { 9, 0, 1, 0, 2 }, 10, ERR_PROTO },
		{ { 9, 0, 1, 0, 0x100 }, 10, ERR_PROTO },
		{ { 9, 0, 1, 31, DATA_RAW }, 100, ERR_PROTO }, /* a list is whole hashes */
		{ { 9, 0, 1, 1056, DATA_RAW }, 2000, ERR_PROTO },
		{ { 9, 0, 1, 64, DATA_RAW }, 64, ERR_PROTO }, /* no leaf behind the lists */
		{ { 9, 0, 1, 64, DATA_ZSTD }, 64, ERR_PROTO },
		{ { 9, 0, 1, 64, DATA_RAW }, 40, ERR_PROTO },
		{ { 9, 0, 1, 0, DATA_RAW }, LIMIT_DATA_RAW + 1, ERR_PROTO },
		{ { 9, 0, 1, 0, DATA_ZSTD }, LIMIT_DATA_RAW + 1, ERR_PROTO },
	};

	(void)state;
	for (size_t i = 0; i < lengthof(cases); i++)
		assert_err(cases[i].want, data(&cases[i].p, cases[i].len));
}

static void
a_node_is_split_from_its_index(void **state)
{
	uint8_t payload[FRAME_NODE_PREFIX + 3] = { 0, 0, 0, 0, 'a', 'b', 'c' };
	struct bytes node;
	uint16_t index;

	(void)state;
	frame_node_encode(0x1234, payload);
	assert_ok(frame_node_decode(BYTES_OF(payload), &index, &node, &unit_error));
	assert_int_equal(index, 0x1234);
	assert_true(bytes_equal(node, BYTES_LIT("abc")));
	assert_ok(frame_node_decode(BYTES(payload, FRAME_NODE_PREFIX), &index, &node, &unit_error));
	assert_int_equal(node.len, 0);
	assert_err(ERR_PROTO, frame_node_decode(BYTES(payload, 3), &index, &node, &unit_error));
	payload[2] = 1;
	assert_err(ERR_PROTO, frame_node_decode(BYTES_OF(payload), &index, &node, &unit_error));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_type_has_its_name_and_no_other_number_has_one),
		cmocka_unit_test(a_header_is_twelve_little_endian_bytes),
		cmocka_unit_test(every_type_is_accepted_up_to_its_limit_and_not_beyond),
		cmocka_unit_test(a_guest_may_say_less),
		cmocka_unit_test(unknown_types_pass_to_be_skipped),
		cmocka_unit_test(flags_that_a_type_does_not_have_are_refused),
		cmocka_unit_test(raw_frames_without_room_for_their_prefix_are_refused),
		cmocka_unit_test(data_is_split_into_lists_and_leaves_or_refused),
		cmocka_unit_test(a_node_is_split_from_its_index),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
