#include "tests/check.h"

#include "base/mem.h"
#include "control/control_message.h"

static struct control_request
request(void)
{
	struct control_request r = { .verb = "get" };

	assert_int_equal(control_request_add(&r, "share", "photos", NULL), OK);
	assert_int_equal(control_request_add(&r, "dest", "/tmp/x", NULL), OK);
	assert_int_equal(control_request_add(&r, "no-wait", "1", NULL), OK);
	assert_int_equal(control_request_add(&r, "share", "second", NULL), OK);
	return r;
}

static void
a_request_comes_back_as_it_was(void **state)
{
	auto_buf struct buf body = BUF(CONTROL_FRAME_MAX), store = BUF(2 * CONTROL_FRAME_MAX);
	struct control_request in = request(), out;
	uint32_t at = 0;

	(void)state;
	control_request_encode(&in, &body);
	assert_int_equal(control_request_decode(buf_bytes(&body), &store, &out, NULL), OK);
	assert_string_equal(out.verb, "get");
	assert_int_equal(out.n_args, 4);
	assert_string_equal(control_arg(&out, "dest"), "/tmp/x");
	assert_true(control_flag(&out, "no-wait"));
	assert_false(control_flag(&out, "overwrite"));
	assert_null(control_arg(&out, "sha"));
	assert_string_equal(control_arg_next(&out, "share", &at), "photos");
	assert_string_equal(control_arg_next(&out, "share", &at), "second");
	assert_null(control_arg_next(&out, "share", &at));
}

static void
a_request_takes_no_more_than_fits(void **state)
{
	struct control_request r = { .verb = "x" };
	auto_free char *big = mem_alloc(CONTROL_FRAME_MAX);
	auto_buf struct buf body = BUF(CONTROL_FRAME_MAX);

	(void)state;
	memset(big, 'a', CONTROL_FRAME_MAX - 1);
	big[CONTROL_FRAME_MAX - 1] = '\0';
	assert_int_equal(control_request_add(&r, "path", big, NULL), ERR_LIMIT);
	big[CONTROL_FRAME_MAX - 100] = '\0';
	assert_int_equal(control_request_add(&r, "path", big, NULL), OK);
	assert_int_equal(control_request_add(&r, "path", big, NULL), ERR_LIMIT);
	control_request_encode(&r, &body);
	assert_false(body.full);

	r.n_args = 0;
	for (unsigned i = 0; i < CONTROL_ARGS_MAX; i++)
		assert_int_equal(control_request_add(&r, "a", "", NULL), OK);
	assert_int_equal(control_request_add(&r, "a", "", NULL), ERR_LIMIT);
}

static void
malformed_requests_are_refused(void **state)
{
	static const struct {
		struct bytes bytes;
		enum err want;
	} cases[] = {
		{ BYTES_LIT(""), ERR_PROTO },
		{ BYTES_LIT("\1"), ERR_PROTO },
		{ BYTES_LIT("\2\3get\0"), ERR_USAGE }, /* another version */
		{ BYTES_LIT("\1\3get\0"), OK },
		{ BYTES_LIT("\1\0\0"), ERR_PROTO }, /* no verb */
		{ BYTES_LIT("\1\3GET\0"), ERR_PROTO },
		{ BYTES_LIT("\1\3get\0x"), ERR_PROTO }, /* too long */
		{ BYTES_LIT("\1\3get\1"), ERR_PROTO },  /* too short */
		{ BYTES_LIT("\1\3get\1\1a\1\0\0\0b"), OK },
		{ BYTES_LIT("\1\3get\1\1a\1\0\0\0\0"), ERR_PROTO }, /* NUL inside */
		{ BYTES_LIT("\1\3get\1\0\1\0\0\0b"), ERR_PROTO },   /* no name */
		{ BYTES_LIT("\1\3get\1\1a\xff\xff\xff\xff"
			    "b"),
		    ERR_PROTO },                         /* longer than there is */
		{ BYTES_LIT("\1\3get\101"), ERR_PROTO }, /* 65 arguments */
		/* a verb of 32 */
		{ BYTES_LIT("\1\40aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\0"), ERR_PROTO },
	};

	(void)state;
	for (size_t i = 0; i < lengthof(cases); i++) {
		auto_buf struct buf store = BUF(2 * CONTROL_FRAME_MAX);
		struct control_request out;
		print_message("case %zu\n", i);
		assert_int_equal(
		    control_request_decode(cases[i].bytes, &store, &out, NULL), cases[i].want);
	}
}

static void
a_wrong_byte_never_reaches_beyond_the_request(void **state)
{
	auto_buf struct buf body = BUF(CONTROL_FRAME_MAX);
	struct control_request in = request();

	(void)state;
	control_request_encode(&in, &body);
	for (size_t i = 0; i < body.len * 8; i++) {
		auto_free uint8_t *odd = mem_dup(body.at, body.len);
		auto_buf struct buf store = BUF(2 * CONTROL_FRAME_MAX);
		struct control_request out;
		odd[i / 8] ^= (uint8_t)(1u << i % 8);
		if (control_request_decode(BYTES(odd, body.len), &store, &out, NULL) == OK) {
			auto_buf struct buf again = BUF(CONTROL_FRAME_MAX);
			control_request_encode(&out, &again);
			assert_true(bytes_equal(buf_bytes(&again), BYTES(odd, body.len)));
		}
	}
}

static void
frames_are_cut_wherever_the_bytes_break(void **state)
{
	auto_buf struct buf out = BUF(1024);
	enum control_kind kind;
	struct bytes body;
	size_t used;

	(void)state;
	control_frame(&out, CONTROL_ROW, BYTES_LIT("abc"));
	size_t first = out.len;
	control_frame(&out, CONTROL_DONE, BYTES_LIT(""));
	for (size_t n = 0; n < first; n++)
		assert_int_equal(
		    control_frame_next(BYTES(out.at, n), &kind, &body, &used, NULL), ERR_AGAIN);
	for (size_t n = first; n <= out.len; n++) {
		assert_int_equal(
		    control_frame_next(BYTES(out.at, n), &kind, &body, &used, NULL), OK);
		assert_int_equal(kind, CONTROL_ROW);
		assert_true(bytes_equal(body, BYTES_LIT("abc")));
		assert_int_equal(used, first);
	}
	assert_int_equal(control_frame_next(bytes_slice(buf_bytes(&out), first, out.len - first),
			     &kind, &body, &used, NULL),
	    OK);
	assert_int_equal(kind, CONTROL_DONE);
	assert_int_equal(body.len, 0);
}

static void
frames_of_unknown_kind_or_size_end_the_connection(void **state)
{
	static const struct {
		struct bytes bytes;
		enum err want;
	} cases[] = {
		{ BYTES_LIT("\0\0\0\0\0"), ERR_PROTO },
		{ BYTES_LIT("\0\0\0\0\6"), ERR_PROTO },
		{ BYTES_LIT("\0\0\4\0\1"), ERR_AGAIN },
		{ BYTES_LIT("\1\0\4\0\1"), ERR_LIMIT },
		{ BYTES_LIT("\xff\xff\xff\xff\1"), ERR_LIMIT },
	};
	enum control_kind kind;
	struct bytes body;
	size_t used;

	(void)state;
	for (size_t i = 0; i < lengthof(cases); i++)
		assert_int_equal(
		    control_frame_next(cases[i].bytes, &kind, &body, &used, NULL), cases[i].want);
}

static void
the_end_of_a_call_carries_code_text_and_status(void **state)
{
	auto_buf struct buf body = BUF(RECORD_MAX);
	struct error in = { 0 }, out;
	int status = -1;

	(void)state;
	control_done_encode(NULL, -1, &body);
	assert_int_equal(control_done_decode(buf_bytes(&body), &out, &status, NULL), OK);
	assert_int_equal(out.code, OK);
	assert_int_equal(status, EXIT_DONE);

	buf_reset(&body);
	(void)fail(&in, ERR_DENIED, "no such share: a\\x1bb\x1b\xc2\x9b\xff");
	control_done_encode(&in, -1, &body);
	assert_int_equal(control_done_decode(buf_bytes(&body), &out, &status, NULL), OK);
	assert_int_equal(out.code, ERR_DENIED);
	assert_string_equal(out.text, "no such share: a\\x1bb???");
	assert_int_equal(status, EXIT_DENIED);

	buf_reset(&body);
	control_done_encode(NULL, EXIT_CONFLICTS, &body);
	assert_int_equal(control_done_decode(buf_bytes(&body), &out, &status, NULL), OK);
	assert_int_equal(out.code, OK);
	assert_int_equal(status, EXIT_CONFLICTS);

	buf_reset(&body);
	record_int(&body, "code", ERR_COUNT);
	assert_int_equal(control_done_decode(buf_bytes(&body), &out, &status, NULL), ERR_PROTO);
}

static void
each_code_has_its_exit_status(void **state)
{
	static const struct {
		enum err code;
		int status;
	} cases[] = {
		{ OK, 0 },
		{ ERR_IO, 1 },
		{ ERR_NOTFOUND, 1 },
		{ ERR_USAGE, 2 },
		{ ERR_OFFLINE, 1 },
		{ ERR_DENIED, 4 },
		{ ERR_CONFLICT, 1 },
		{ ERR_CANCELED, 130 },
		{ ERR_BUG, 1 },
	};

	(void)state;
	for (size_t i = 0; i < lengthof(cases); i++)
		assert_int_equal(control_exit_status(cases[i].code), cases[i].status);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_request_comes_back_as_it_was),
		cmocka_unit_test(a_request_takes_no_more_than_fits),
		cmocka_unit_test(malformed_requests_are_refused),
		cmocka_unit_test(a_wrong_byte_never_reaches_beyond_the_request),
		cmocka_unit_test(frames_are_cut_wherever_the_bytes_break),
		cmocka_unit_test(frames_of_unknown_kind_or_size_end_the_connection),
		cmocka_unit_test(the_end_of_a_call_carries_code_text_and_status),
		cmocka_unit_test(each_code_has_its_exit_status),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
