#include "tests/unit.h"

#include "proto/test_any.h"

enum { ROUNDS = 300 };

static enum err
decode(struct bytes frame, struct message *ret)
{
	struct frame_header h;
	enum err r = frame_header_decode(frame.at, false, &h, &unit_error);

	assert_int_equal(r, OK);
	assert_int_equal(h.length, frame.len - LIMIT_FRAME_HEADER);
	return message_decode(
	    &h, bytes_slice(frame, LIMIT_FRAME_HEADER, h.length), ret, &unit_error);
}

/* Are the fields of two messages equal?  Borrowed ones by what they point at. */
static bool
is_equal(const struct fields *f, const void *a, const void *b)
{
	struct buf x = BUF(LIMIT_FRAME_MESSAGE), y = BUF(LIMIT_FRAME_MESSAGE);

	for (size_t i = 0; i < f->n; i++) {
		const struct fields one = { &f->at[i], 1, f->size, NULL };
		fields_encode(&one, a, &x);
		fields_encode(&one, b, &y);
	}
	bool same = bytes_equal(buf_bytes(&x), buf_bytes(&y));
	buf_clear(&x);
	buf_clear(&y);
	return same;
}

static void
every_message_survives_encoding_and_decoding(void **state)
{
	struct any a;
	struct buf out = BUF(1 << 20), again = BUF(1 << 20);

	(void)state;
	any_init(&a, 1);
	for (uint16_t type = 0; type < 128; type++) {
		const struct fields *f = message_fields(type);
		for (unsigned i = 0; f != NULL && i < ROUNDS; i++) {
			struct message m = any_message(&a, type), got;
			buf_reset(&out);
			buf_reset(&again);
			assert_ok(message_encode(&m, &out, &unit_error));
			assert_ok(decode(buf_bytes(&out), &got));
			assert_int_equal(got.type, type);
			assert_int_equal(got.stream, m.stream);
			assert_true(is_equal(f, &m.hello, &got.hello));
			assert_ok(message_encode(&got, &again, &unit_error));
			assert_true(bytes_equal(buf_bytes(&out), buf_bytes(&again)));
		}
	}
	any_clear(&a);
	buf_clear(&out);
	buf_clear(&again);
}

static void
raw_and_unknown_frames_are_no_messages(void **state)
{
	struct message m = { .type = FRAME_DATA };
	struct buf out = BUF(100);
	struct frame_header h = { .type = FRAME_DATA };

	(void)state;
	assert_null(message_fields(FRAME_NODE));
	assert_null(message_fields(1000));
	assert_err(ERR_BUG, message_encode(&m, &out, &unit_error));
	assert_err(ERR_NOTFOUND, message_decode(&h, BYTES(NULL, 0), &m, &unit_error));
	h.type = 1000;
	assert_err(ERR_NOTFOUND, message_decode(&h, BYTES(NULL, 0), &m, &unit_error));
	assert_int_equal(out.len, 0);
	buf_clear(&out);
}

/* -- shapes: payloads written by hand -- */

static struct buf payload;

static void
put(uint32_t tag, struct bytes value)
{
	buf_u16(&payload, (uint16_t)tag);
	buf_u32(&payload, (uint32_t)value.len);
	buf_add_bytes(&payload, value);
}

static enum err
take(uint16_t type, struct message *ret)
{
	struct frame_header h = { .type = type, .length = (uint32_t)payload.len };
	enum err r = message_decode(&h, buf_bytes(&payload), ret, &unit_error);

	return r;
}

static int
fresh_payload(void **state)
{
	(void)state;
	buf_clear(&payload);
	payload = BUF(LIMIT_FRAME_MESSAGE);
	return 0;
}

static int
drop_payload(void **state)
{
	(void)state;
	buf_clear(&payload);
	return 0;
}

static void
fields_that_are_not_known_are_skipped(void **state)
{
	struct message m;

	(void)state;
	put(1, BYTES_LIT("docs"));
	put(700, BYTES_LIT("from the future"));
	put(0x7fff, BYTES(NULL, 0));
	assert_ok(take(FRAME_RESOLVE, &m));
	assert_true(bytes_equal(m.resolve.share, BYTES_LIT("docs")));
	assert_int_equal(m.resolve.selector.len, 0);
}

static void
a_field_that_must_be_understood_is_refused(void **state)
{
	struct message m;

	(void)state;
	put(1, BYTES_LIT("docs"));
	put(0x8004, BYTES_LIT("x"));
	assert_err(ERR_PROTO, take(FRAME_RESOLVE, &m));
	assert_non_null(strstr(unit_error.text, "newer"));
}

static void
tags_that_do_not_ascend_are_refused(void **state)
{
	struct message m;

	(void)state;
	put(2, BYTES_LIT("head"));
	put(1, BYTES_LIT("docs"));
	assert_err(ERR_PROTO, take(FRAME_RESOLVE, &m));
	buf_reset(&payload);
	put(1, BYTES_LIT("docs"));
	put(1, BYTES_LIT("docs"));
	assert_err(ERR_PROTO, take(FRAME_RESOLVE, &m));
	buf_reset(&payload);
	put(1, BYTES_LIT("docs"));
	put(900, BYTES_LIT(""));
	put(900, BYTES_LIT(""));
	assert_err(ERR_PROTO, take(FRAME_RESOLVE, &m));
}

static void
a_field_that_is_required_is_missed(void **state)
{
	struct message m;

	(void)state;
	assert_err(ERR_PROTO, take(FRAME_PING, &m));
	put(2, BYTES_LIT("head"));
	assert_err(ERR_PROTO, take(FRAME_RESOLVE, &m));
	assert_non_null(strstr(unit_error.text, "share"));
}

static void
a_payload_cut_anywhere_is_refused(void **state)
{
	struct any a;
	struct buf out = BUF(1 << 20);

	(void)state;
	any_init(&a, 2);
	for (uint16_t type = 0; type < 128; type++) {
		if (message_fields(type) == NULL || message_fields(type)->n == 0)
			continue;
		struct message m = any_message(&a, type), got;
		buf_reset(&out);
		assert_ok(message_encode(&m, &out, &unit_error));
		struct bytes whole =
		    bytes_slice(buf_bytes(&out), LIMIT_FRAME_HEADER, out.len - LIMIT_FRAME_HEADER);
		struct frame_header h = { .type = type };
		for (size_t n = 0; n < whole.len; n += 1 + n / 50) {
			h.length = (uint32_t)n;
			enum err r =
			    message_decode(&h, bytes_slice(whole, 0, n), &got, &unit_error);
			/* At the end of a field that is not the last it may be a whole message with
			 * less in it. */
			if (r == OK)
				assert_false(is_equal(message_fields(type), &m.hello, &got.hello));
			else
				assert_int_equal(r, ERR_PROTO);
		}
	}
	any_clear(&a);
	buf_clear(&out);
}

static void
a_field_of_the_wrong_width_is_refused(void **state)
{
	struct message m;

	(void)state;
	for (size_t n = 0; n < 12; n++) {
		buf_reset(&payload);
		put(1, BYTES("\1\0\0\0\0\0\0\0\0\0\0\0", n));
		assert_err(n == 8 ? OK : ERR_PROTO, take(FRAME_PING, &m));
	}
}

/* -- values: a good message with one thing wrong -- */

/* Encoding refuses it as a bug of ours; decoding the same bytes as the other side's. */
static void
assert_refused(enum err want, const struct message *m)
{
	struct buf out = BUF(LIMIT_FRAME_MESSAGE);
	const struct fields *f = message_fields(m->type);
	struct frame_header h = { .type = m->type };
	struct message got;

	assert_err(ERR_BUG, message_encode(m, &out, &unit_error));
	assert_int_equal(out.len, 0);
	fields_encode(f, &m->hello, &out);
	h.length = (uint32_t)out.len;
	assert_err(want, message_decode(&h, buf_bytes(&out), &got, &unit_error));
	buf_clear(&out);
}

static void
numbers_out_of_range_are_refused(void **state)
{
	struct message hello = { .type = FRAME_HELLO,
		.hello = { .version_min = 2, .version_max = 1, .software = BYTES_LIT("x") } };
	struct message resolve = { .type = FRAME_RESOLVE,
		.resolve = { .share = BYTES_LIT("docs"), .for_write = 2 } };

	(void)state;
	assert_refused(ERR_PROTO, &hello);
	hello.hello.version_min = 0;
	assert_refused(ERR_PROTO, &hello);
	assert_refused(ERR_PROTO, &resolve);
	hello.hello.version_min = 1;
	hello.hello.wall_ms = UINT64_MAX;
	assert_refused(ERR_PROTO, &hello);
}

static void
texts_with_control_characters_and_broken_utf8_are_refused(void **state)
{
	static const char *const bad[] = { "a\nb", "\x1b[31m", "a\x7f", "\xc3", "\xc0\x80",
		"\xc2\x85", "\xed\xa0\x80" };
	struct message m = { .type = FRAME_BYE };

	(void)state;
	for (size_t i = 0; i < lengthof(bad); i++) {
		m.bye.text = bytes_str(bad[i]);
		assert_refused(ERR_PROTO, &m);
	}
}

static void
names_that_are_none_are_refused(void **state)
{
	static const char *const bad[] = { "a/b", "a@b", "a\tb" };
	struct message m = { .type = FRAME_CREATE_SHARE };
	char longest[LIMIT_NAME + 1];

	(void)state;
	for (size_t i = 0; i < lengthof(bad); i++) {
		m.create_share.name = bytes_str(bad[i]);
		assert_refused(ERR_PROTO, &m);
	}
	m.create_share.name = BYTES("a\0b", 3);
	assert_refused(ERR_PROTO, &m);
	m.create_share.name = BYTES(longest, 0);
	assert_refused(ERR_LIMIT, &m);
	memset(longest, 'n', sizeof longest);
	m.create_share.name = BYTES_OF(longest);
	assert_refused(ERR_LIMIT, &m);
}

static void
lists_are_bounded_in_number_and_size(void **state)
{
	struct buf raw = BUF(LIMIT_FRAME_MESSAGE);
	struct message m = { .type = FRAME_STATEMENTS };
	static uint8_t large[2049];

	(void)state;
	for (unsigned i = 0; i <= LIMIT_STATEMENTS; i++)
		message_list_add(&raw, BYTES_LIT("s"));
	m.statements.statements = (struct message_list){ buf_bytes(&raw), LIMIT_STATEMENTS + 1 };
	assert_refused(ERR_LIMIT, &m);
	buf_reset(&raw);
	message_list_add(&raw, BYTES_OF(large));
	m.statements.statements = (struct message_list){ buf_bytes(&raw), 1 };
	assert_refused(ERR_LIMIT, &m);
	buf_reset(&raw);
	message_list_add(&raw, BYTES(large, 0));
	m.statements.statements = (struct message_list){ buf_bytes(&raw), 1 };
	assert_refused(ERR_LIMIT, &m);
	buf_clear(&raw);
}

static void
a_list_whose_last_item_is_cut_is_refused(void **state)
{
	struct message m;

	(void)state;
	put(1, BYTES("\x05\0\0\0abcd", 8));
	assert_err(ERR_PROTO, take(FRAME_STATEMENTS, &m));
	buf_reset(&payload);
	put(1, BYTES("\x04\0\0\0abcd\0\0", 10));
	assert_err(ERR_PROTO, take(FRAME_STATEMENTS, &m));
	buf_reset(&payload);
	put(1, BYTES("\x04\0\0\0abcd", 8));
	assert_ok(take(FRAME_STATEMENTS, &m));
	assert_int_equal(m.statements.statements.n, 1);
}

static void
a_list_is_walked_item_by_item(void **state)
{
	struct buf raw = BUF(100);
	struct bytes item;

	(void)state;
	message_list_add(&raw, BYTES_LIT("one"));
	message_list_add(&raw, BYTES_LIT("two"));
	struct message_list l = { buf_bytes(&raw), 2 };
	assert_true(message_list_next(&l, &item));
	assert_true(bytes_equal(item, BYTES_LIT("one")));
	assert_true(message_list_next(&l, &item));
	assert_true(bytes_equal(item, BYTES_LIT("two")));
	assert_false(message_list_next(&l, &item));
	/* No room for all of an item: none of it. */
	size_t before = raw.len;
	static uint8_t large[100];
	message_list_add(&raw, BYTES_OF(large));
	assert_int_equal(raw.len, before);
	assert_true(raw.full);
	buf_clear(&raw);
}

static void
addresses_that_are_none_are_refused(void **state)
{
	struct buf raw = BUF(100);
	struct message m = { .type = FRAME_HELLO, .hello = { 1, 1, .software = BYTES_LIT("x") } };

	(void)state;
	message_list_add(&raw, BYTES_LIT("host:7470"));
	message_list_add(&raw, BYTES_LIT("host:port"));
	m.hello.addresses = (struct message_list){ buf_bytes(&raw), 2 };
	assert_refused(ERR_PROTO, &m);
	buf_clear(&raw);
}

static void
leaf_runs_ascend_and_do_not_overlap(void **state)
{
	static const struct {
		struct leaf_run runs[2];
		enum err want;
	} bad[] = {
		{ { { 0, 0 }, { 5, 1 } }, ERR_PROTO },
		{ { { 0, 3 }, { 2, 1 } }, ERR_PROTO },
		{ { { 9, 3 }, { 2, 1 } }, ERR_PROTO },
		{ { { 9, 3 }, { 9, 3 } }, ERR_PROTO },
		{ { { 0, 1 }, { 1000, 25 } }, ERR_LIMIT },
		{ { { 0, 1 }, { 65535, 65535 } }, ERR_LIMIT },
	};
	struct message m = { .type = FRAME_GET_UNITS };
	struct buf out = BUF(1000);

	(void)state;
	m.get_units = (struct msg_get_units){ .share = { HASH_SHA256, { 1 } },
		.snapshot = { HASH_SHA256, { 2 } },
		.unit_size = UNIT_MIN,
		.n_runs = 2 };
	for (size_t i = 0; i < lengthof(bad); i++) {
		memcpy(m.get_units.runs, bad[i].runs, sizeof bad[i].runs);
		assert_refused(bad[i].want, &m);
	}
	m.get_units.runs[0] = (struct leaf_run){ 0, 1 };
	m.get_units.runs[1] = (struct leaf_run){ 1, 1023 };
	assert_ok(message_encode(&m, &out, &unit_error));
	m.get_units.unit_size = 100000;
	assert_refused(ERR_PROTO, &m);
	buf_clear(&out);
}

static void
too_many_runs_on_the_wire_are_refused(void **state)
{
	struct message m;
	struct buf runs = BUF(1000);
	struct hash_id id = { HASH_SHA256, { 1 } };

	(void)state;
	for (unsigned i = 0; i <= LIMIT_UNIT_RUNS; i++) {
		buf_u16(&runs, (uint16_t)(2 * i));
		buf_u16(&runs, 1);
	}
	for (unsigned drop = 0; drop < 2; drop++) {
		buf_reset(&payload);
		put(1, hash_id_bytes(&id));
		put(2, hash_id_bytes(&id));
		put(3, BYTES("\0\0\1\0", 4));
		put(4, BYTES("\0\0\0\0", 4));
		put(5, BYTES(runs.at, runs.len - 4 * drop));
		assert_err(drop == 0 ? ERR_PROTO : OK, take(FRAME_GET_UNITS, &m));
	}
	assert_int_equal(m.get_units.n_runs, LIMIT_UNIT_RUNS);
	buf_clear(&runs);
}

static void
ids_are_whole_and_of_a_known_algorithm(void **state)
{
	static uint8_t ids[(LIMIT_NODE_IDS + 1) * HASH_ID_BYTES];
	struct message m = { .type = FRAME_GET_NODES };
	struct buf out = BUF(100000);
	bool ok;

	(void)state;
	for (size_t i = 0; i < sizeof ids; i += HASH_ID_BYTES)
		ids[i] = HASH_SHA256;
	ids[HASH_ID_BYTES + 1] = 77;
	m.get_nodes = (struct msg_get_nodes){ .share = { HASH_SHA256, { 1 } },
		.snapshot = { HASH_SHA256, { 2 } },
		.ids = BYTES(ids, 2 * HASH_ID_BYTES),
		.kind = HASH_TREE };
	assert_ok(message_encode(&m, &out, &unit_error));
	assert_int_equal(message_node_id(&m.get_nodes, 1, &ok).bytes[0], 77);
	assert_true(ok);
	message_node_id(&m.get_nodes, 2, &ok);
	assert_false(ok);
	m.get_nodes.kind = HASH_CHUNK;
	assert_refused(ERR_PROTO, &m);
	m.get_nodes.kind = HASH_STATEMENT;
	assert_refused(ERR_PROTO, &m);
	m.get_nodes.kind = HASH_COMMIT;
	m.get_nodes.ids = BYTES_OF(ids);
	assert_refused(ERR_LIMIT, &m);
	m.get_nodes.ids = BYTES(ids, 0);
	assert_refused(ERR_LIMIT, &m);
	m.get_nodes.ids = BYTES(ids, HASH_ID_BYTES);
	ids[0] = 0;
	assert_refused(ERR_PROTO, &m);
	buf_clear(&out);
}

static void
what_a_snapshot_says_agrees_with_its_state(void **state)
{
	const struct message good = { .type = FRAME_SNAPSHOT,
		.snapshot = { .share_statement = BYTES_LIT("s"),
		    .head = BYTES_LIT("h"),
		    .commit = BYTES_LIT("c"),
		    .state = SNAPSHOT_HEAD,
		    .number = 3,
		    .unit_size = UNIT_MIN } };
	struct buf out = BUF(1000);
	struct message m = good;

	(void)state;
	assert_ok(message_encode(&m, &out, &unit_error));
	m.snapshot.state = SNAPSHOT_ANNOUNCED;
	assert_refused(ERR_PROTO, &m);
	m = good;
	m.snapshot.commit = BYTES(NULL, 0);
	assert_refused(ERR_PROTO, &m);
	m = good;
	m.snapshot.head = BYTES(NULL, 0); /* it was the head long ago */
	assert_ok(message_encode(&m, &out, &unit_error));
	m = good;
	m.snapshot.number = 0;
	assert_refused(ERR_PROTO, &m);
	m = good;
	m.snapshot.unit_size = UNIT_MIN + 1;
	assert_refused(ERR_PROTO, &m);
	m = good;
	m.snapshot.state = 4;
	assert_refused(ERR_PROTO, &m);
	buf_clear(&out);
}

static void
fields_that_contradict_each_other_are_refused(void **state)
{
	const struct message beyond = { .type = FRAME_PROGRESS,
		.progress = { { HASH_SHA256, { 1 } }, { HASH_SHA256, { 2 } }, SNAPSHOT_ANNOUNCED, 0,
		    .held_bytes = 2, .total_bytes = 1 } };
	const struct message of_none = { .type = FRAME_QUERY,
		.query = { .kind = QUERY_SNAPSHOTS } };

	(void)state;
	assert_refused(ERR_PROTO, &beyond);
	assert_refused(ERR_PROTO, &of_none);
}

static void
error_codes_have_numbers_of_their_own(void **state)
{
	struct message m;

	(void)state;
	put(1, BYTES("\4\0", 2));
	assert_ok(take(FRAME_ERROR, &m));
	assert_int_equal(m.error.code, ERR_DENIED);
	buf_reset(&payload);
	put(1, BYTES("\xff\xff", 2)); /* from the future */
	assert_ok(take(FRAME_ERROR, &m));
	assert_int_equal(m.error.code, ERR_BUG);
	buf_reset(&payload);
	put(1, BYTES("\0\0", 2)); /* no error is no error */
	assert_err(ERR_PROTO, take(FRAME_ERROR, &m));
}

static void
a_message_that_does_not_fit_leaves_the_buffer_as_it_was(void **state)
{
	struct buf out = BUF(40);
	const struct message ping = { .type = FRAME_PING };
	const struct message bye = { .type = FRAME_BYE, .bye = { BYTES_LIT("see you later") } };

	(void)state;
	assert_ok(message_encode(&ping, &out, &unit_error));
	size_t len = out.len;
	assert_err(ERR_LIMIT, message_encode(&bye, &out, &unit_error));
	assert_int_equal(out.len, len);
	assert_false(out.full);
	buf_clear(&out);
}

static void
a_payload_beyond_the_limit_is_not_encoded(void **state)
{
	struct buf out = BUF(1 << 20), raw = BUF(1 << 20);
	static uint8_t statement[2048];
	struct message m = { .type = FRAME_STATEMENTS };

	(void)state;
	for (unsigned i = 0; i < LIMIT_STATEMENTS; i++)
		message_list_add(&raw, BYTES_OF(statement));
	m.statements.statements = (struct message_list){ buf_bytes(&raw), LIMIT_STATEMENTS };
	assert_err(ERR_LIMIT, message_encode(&m, &out, &unit_error));
	assert_int_equal(out.len, 0);
	buf_clear(&out);
	buf_clear(&raw);
}

static void
whole_answers_end_their_stream(void **state)
{
	const struct message ok = { .type = FRAME_OK, .stream = 4 };
	struct buf out = BUF(100);
	struct frame_header h;

	(void)state;
	assert_ok(message_encode(&ok, &out, &unit_error));
	assert_ok(frame_header_decode(out.at, false, &h, &unit_error));
	assert_int_equal(h.flags, FRAME_END);
	buf_clear(&out);
}

static void
rows_survive_and_bad_ones_are_refused(void **state)
{
	struct row_share share = { .share = { HASH_SHA256, { 9 } },
		.name = BYTES_LIT("docs"),
		.rights = 3,
		.policy = 2,
		.number = 5,
		.entries = 1000,
		.bytes = 1 << 20,
		.time_ms = 1700000000000 },
			 share2;
	struct row_snapshot snap = { .id = { HASH_SHA256, { 8 } },
		.number = 4,
		.state = SNAPSHOT_HEAD,
		.label = BYTES_LIT("v 1.0"),
		.author_name = BYTES_LIT("ann"),
		.author = { { 3 } } },
			    snap2;
	struct row_device dev = { .id = { { 7 } },
		.name = BYTES_LIT("pc"),
		.online = 1,
		.address = BYTES_LIT("10.0.0.1:7470"),
		.reported = 3,
		.site_from = SITE_SUBNET,
		.alone = 1 },
			  dev2;
	struct buf out = BUF(LIMIT_ROW);

	(void)state;
	row_share_encode(&share, &out);
	assert_ok(row_share_decode(buf_bytes(&out), &share2, &unit_error));
	assert_true(is_equal(row_fields(QUERY_SHARES), &share, &share2));
	assert_err(ERR_PROTO, row_device_decode(buf_bytes(&out), &dev2, &unit_error));
	buf_reset(&out);
	row_snapshot_encode(&snap, &out);
	assert_ok(row_snapshot_decode(buf_bytes(&out), &snap2, &unit_error));
	assert_true(is_equal(row_fields(QUERY_SNAPSHOTS), &snap, &snap2));
	buf_reset(&out);
	row_device_encode(&dev, &out);
	assert_ok(row_device_decode(buf_bytes(&out), &dev2, &unit_error));
	assert_true(is_equal(row_fields(QUERY_DEVICES), &dev, &dev2));
	buf_reset(&out);
	dev.online = 2;
	row_device_encode(&dev, &out);
	assert_err(ERR_PROTO, row_device_decode(buf_bytes(&out), &dev2, &unit_error));
	assert_null(row_fields(99));
	buf_clear(&out);
}

static void
nobody_is_near_to_more_than_were_asked(void **state)
{
	struct message m = { .type = FRAME_PLACED,
		.placed = { .site = BYTES_LIT("hq"), .mates = 3, .near = 4 } };

	(void)state;
	assert_refused(ERR_PROTO, &m);
	m.placed.near = 3;
	assert_ok(fields_check(message_fields(FRAME_PLACED), &m.placed, &unit_error));
}

static void
members_survive_as_rows(void **state)
{
	static const char address[] = "10.0.0.1:7470";
	struct buf addresses = BUF(LIMIT_ROW), out = BUF(LIMIT_MEMBER_ROW);
	struct row_member row = { .id = { { 9 } },
		.name = BYTES_LIT("pc"),
		.site = BYTES_LIT("hq"),
		.rank = 3,
		.gateways = 6,
		.alone = 1 },
			  row2;
	struct bytes first;

	(void)state;
	message_list_add(&addresses, bytes_str(address));
	row.addresses = (struct message_list){ buf_bytes(&addresses), 1 };
	row_member_encode(&row, &out);
	assert_ok(row_member_decode(buf_bytes(&out), &row2, &unit_error));
	assert_true(is_equal(row_member_fields(), &row, &row2));
	assert_true(message_list_next(&row2.addresses, &first));
	assert_true(bytes_equal(first, bytes_str(address)));
	assert_err(ERR_PROTO, row_member_decode(BYTES_LIT("\1"), &row2, &unit_error));
	buf_clear(&addresses);
	buf_clear(&out);
}

static void
units_are_told_as_runs(void **state)
{
	static const uint32_t runs[][2] = { { 0, 1 }, { 1, 5 }, { 200, 1 }, { 70000, 20000 },
		{ UINT32_MAX - 10, 10 } };
	struct buf out = BUF(LIMIT_ROW);
	uint32_t next = 0, first = 0, n = 0;

	(void)state;
	for (size_t i = 0; i < lengthof(runs); i++)
		message_units_add(&out, &next, runs[i][0], runs[i][1]);
	struct bytes b = buf_bytes(&out);
	for (size_t i = 0; i < lengthof(runs); i++) {
		assert_true(message_units_next(&b, &first, &n));
		assert_int_equal(first, runs[i][0]);
		assert_int_equal(n, runs[i][1]);
	}
	assert_false(message_units_next(&b, &first, &n));
	assert_int_equal(b.len, 0);
	buf_clear(&out);
}

static void
lists_of_units_that_are_none_are_refused(void **state)
{
	static const struct {
		enum err r;
		struct bytes units;
	} cases[] = {
		{ OK, BYTES_LIT("\0\0") },
		{ OK, BYTES_LIT("\x80\1\0") },
		{ ERR_PROTO, BYTES_LIT("\0") }, /* cut */
		{ ERR_PROTO, BYTES_LIT("\0\0\5") },
		{ ERR_PROTO, BYTES_LIT("\0\x80") },
		{ ERR_PROTO, BYTES_LIT("\x80\0\0") },               /* longer than it needs be */
		{ ERR_PROTO, BYTES_LIT("\xff\xff\xff\xff\x7f\0") }, /* more than 32 bits */
		{ ERR_PROTO, BYTES_LIT("\xff\xff\xff\xff\xff\1\0") },
		{ ERR_PROTO, BYTES_LIT("\xff\xff\xff\xff\x0f\0") }, /* ends beyond the last unit */
		{ ERR_PROTO, BYTES_LIT("\0\xff\xff\xff\xff\x0f") },
		{ ERR_PROTO, BYTES_LIT("\xfe\xff\xff\xff\x0f\0\0\0") },
	};
	struct buf raw = BUF(LIMIT_FRAME_MESSAGE);
	struct message m = { .type = FRAME_NEWS, .news = { .job = 1 } };

	(void)state;
	for (size_t i = 0; i < lengthof(cases); i++) {
		m.news.have = cases[i].units;
		assert_int_equal(
		    fields_check(message_fields(FRAME_NEWS), &m.news, &unit_error), cases[i].r);
	}
	for (unsigned i = 0; i < LIMIT_NEWS_RUNS; i++)
		buf_add(&raw, "\1\0", 2);
	m.news.have = buf_bytes(&raw);
	assert_ok(fields_check(message_fields(FRAME_NEWS), &m.news, &unit_error));
	buf_add(&raw, "\1\0", 2);
	m.news.have = buf_bytes(&raw);
	assert_err(ERR_LIMIT, fields_check(message_fields(FRAME_NEWS), &m.news, &unit_error));
	buf_clear(&raw);
}

#define handmade(f) cmocka_unit_test_setup_teardown(f, fresh_payload, drop_payload)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nobody_is_near_to_more_than_were_asked),
		cmocka_unit_test(members_survive_as_rows),
		cmocka_unit_test(units_are_told_as_runs),
		cmocka_unit_test(lists_of_units_that_are_none_are_refused),
		cmocka_unit_test(every_message_survives_encoding_and_decoding),
		cmocka_unit_test(raw_and_unknown_frames_are_no_messages),
		handmade(fields_that_are_not_known_are_skipped),
		handmade(a_field_that_must_be_understood_is_refused),
		handmade(tags_that_do_not_ascend_are_refused),
		handmade(a_field_that_is_required_is_missed),
		cmocka_unit_test(a_payload_cut_anywhere_is_refused),
		handmade(a_field_of_the_wrong_width_is_refused),
		cmocka_unit_test(numbers_out_of_range_are_refused),
		cmocka_unit_test(texts_with_control_characters_and_broken_utf8_are_refused),
		cmocka_unit_test(names_that_are_none_are_refused),
		cmocka_unit_test(lists_are_bounded_in_number_and_size),
		handmade(a_list_whose_last_item_is_cut_is_refused),
		cmocka_unit_test(a_list_is_walked_item_by_item),
		cmocka_unit_test(addresses_that_are_none_are_refused),
		cmocka_unit_test(leaf_runs_ascend_and_do_not_overlap),
		handmade(too_many_runs_on_the_wire_are_refused),
		cmocka_unit_test(ids_are_whole_and_of_a_known_algorithm),
		cmocka_unit_test(what_a_snapshot_says_agrees_with_its_state),
		cmocka_unit_test(fields_that_contradict_each_other_are_refused),
		handmade(error_codes_have_numbers_of_their_own),
		cmocka_unit_test(a_message_that_does_not_fit_leaves_the_buffer_as_it_was),
		cmocka_unit_test(a_payload_beyond_the_limit_is_not_encoded),
		cmocka_unit_test(whole_answers_end_their_stream),
		cmocka_unit_test(rows_survive_and_bad_ones_are_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
