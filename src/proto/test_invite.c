#include "tests/unit.h"

#include "base/mem.h"
#include "base/rng.h"
#include "base/text.h"
#include "crypto/hash.h"
#include "proto/invite.h"

static struct invite
example(void)
{
	struct invite in = { .n_addresses = 3,
		.addresses = { "weft.example.org:7470", "10.1.2.3", "[2001:db8::1]:9000" } };
	struct rng rng;

	rng_seed(&rng, 5);
	rng_fill(&rng, in.server.bytes, sizeof in.server.bytes);
	rng_fill(&rng, in.id, sizeof in.id);
	rng_fill(&rng, in.secret, sizeof in.secret);
	return in;
}

static char *
text_of(const struct invite *in)
{
	struct buf out = BUF(INVITE_TEXT_MAX);

	assert_ok(invite_format(in, &out, &unit_error));
	char *text = str_dup(buf_text(&out));
	buf_clear(&out);
	return text;
}

static void
an_invite_survives_its_text(void **state)
{
	const struct invite in = example();
	struct invite got;

	(void)state;
	char *text = text_of(&in);
	assert_memory_equal(text, "weft1-", 6);
	assert_ok(invite_parse(text, &got, &unit_error));
	assert_memory_equal(&got, &in, sizeof in);
	free(text);
}

static void
pasting_may_change_case_and_add_blanks(void **state)
{
	const struct invite in = example();
	struct buf odd = BUF(2 * INVITE_TEXT_MAX);
	struct invite got;

	(void)state;
	char *text = text_of(&in);
	buf_addf(&odd, " \n");
	for (size_t i = 0; text[i] != '\0'; i++) {
		bool lower = text[i] >= 'a' && text[i] <= 'z';
		buf_u8(&odd, (uint8_t)(lower ? text[i] - 'a' + 'A' : text[i]));
		if (i > 10 && i % 30 == 0)
			buf_addf(&odd, "\r\n");
	}
	buf_addf(&odd, "\n");
	assert_ok(invite_parse(buf_text(&odd), &got, &unit_error));
	assert_memory_equal(&got, &in, sizeof in);
	buf_clear(&odd);
	free(text);
}

static void
any_one_character_mistyped_is_told_as_such(void **state)
{
	const struct invite in = example();
	char *text = text_of(&in);
	struct invite got;

	(void)state;
	for (size_t i = strlen("weft1-"); text[i] != '\0'; i++) {
		char was = text[i];
		text[i] = was == 'q' ? 'x' : 'q';
		assert_err(ERR_USAGE, invite_parse(text, &got, &unit_error));
		assert_non_null(strstr(unit_error.text, "mistyped or cut off"));
		text[i] = was;
	}
	free(text);
}

static void
an_invite_cut_off_anywhere_is_told_as_such(void **state)
{
	const struct invite in = example();
	char *text = text_of(&in);
	struct invite got;

	(void)state;
	for (size_t n = strlen(text) - 1; n >= strlen("weft1-"); n--) {
		text[n] = '\0';
		assert_err(ERR_USAGE, invite_parse(text, &got, &unit_error));
		assert_non_null(strstr(unit_error.text, "mistyped or cut off"));
	}
	free(text);
}

static void
what_is_no_invite_is_told_as_such(void **state)
{
	static const char *const bad[] = { "", "weft", "weft1", "hello", "https://example.org/",
		"weftx-aaaa" };
	struct invite got;

	(void)state;
	for (size_t i = 0; i < lengthof(bad); i++) {
		assert_err(ERR_USAGE, invite_parse(bad[i], &got, &unit_error));
		assert_non_null(strstr(unit_error.text, "not an invite"));
	}
}

static void
a_newer_invite_is_told_as_such(void **state)
{
	struct buf raw = BUF(100);
	uint8_t sum[HASH_BYTES];
	char text[300];
	struct invite got;

	(void)state;
	assert_err(ERR_USAGE, invite_parse("weft2-abcdef", &got, &unit_error));
	assert_non_null(strstr(unit_error.text, "newer weft"));
	/* Our prefix, a later version, and the sum of it. */
	buf_addf(&raw, "\2what comes next");
	hash_sha256(buf_bytes(&raw), BYTES(NULL, 0), sum);
	buf_add(&raw, sum, 4);
	memcpy(text, "weft1-", 6);
	text_base32(buf_bytes(&raw), text + 6);
	assert_err(ERR_USAGE, invite_parse(text, &got, &unit_error));
	assert_non_null(strstr(unit_error.text, "newer weft"));
	buf_clear(&raw);
}

static void
the_largest_invite_fits_and_a_larger_text_is_refused(void **state)
{
	struct invite in = example(), got;
	static char endless[3 * INVITE_TEXT_MAX];

	(void)state;
	in.n_addresses = LIMIT_ADDRESSES;
	for (unsigned i = 0; i < LIMIT_ADDRESSES; i++)
		memset(in.addresses[i], 'a', LIMIT_ADDRESS_TEXT);
	char *text = text_of(&in);
	assert_true(strlen(text) < INVITE_TEXT_MAX);
	assert_ok(invite_parse(text, &got, &unit_error));
	assert_memory_equal(&got, &in, sizeof in);
	free(text);
	memset(endless, 'a', sizeof endless - 1);
	memcpy(endless, "weft1-", 6);
	assert_err(ERR_USAGE, invite_parse(endless, &got, &unit_error));
}

static void
an_invite_without_addresses_or_with_bad_ones_is_not_made(void **state)
{
	struct invite in = example();
	struct buf out = BUF(INVITE_TEXT_MAX);

	(void)state;
	in.n_addresses = 0;
	assert_err(ERR_LIMIT, invite_format(&in, &out, &unit_error));
	in.n_addresses = LIMIT_ADDRESSES + 1;
	assert_err(ERR_LIMIT, invite_format(&in, &out, &unit_error));
	in = example();
	memcpy(in.addresses[1], "no host", 8);
	assert_err(ERR_USAGE, invite_format(&in, &out, &unit_error));
	assert_int_equal(out.len, 0);
	buf_clear(&out);
}

static void
addresses_are_split_or_refused(void **state)
{
	static const struct {
		const char *text, *host;
		uint16_t port;
	} good[] = {
		{ "host", "host", DEFAULT_PORT },
		{ "host:1", "host", 1 },
		{ "a-b.example.org:65535", "a-b.example.org", 65535 },
		{ "1.2.3.4:7470", "1.2.3.4", 7470 },
		{ "[::1]:7470", "::1", 7470 },
		{ "[fe80::1%eth0]:80", "fe80::1%eth0", 80 },
		{ "[2001:db8::1]", "2001:db8::1", DEFAULT_PORT },
		{ "2001:db8::1", "2001:db8::1", DEFAULT_PORT },
		{ "::ffff:1.2.3.4", "::ffff:1.2.3.4", DEFAULT_PORT },
	};
	static const char *const bad[] = { "", ":", ":80", "host:", "host:0", "host:65536",
		"host:-1", "host:80x", "a b", "-x", ".x", "[::1", "[::1]x", "[::1]:", "[host]:80",
		"[]", "::g", "fe80::1%", "x/y", "\xc3\xa4" };
	char host[LIMIT_ADDRESS_TEXT + 1], longest[LIMIT_ADDRESS_TEXT + 2] = { 0 };
	uint16_t port;

	(void)state;
	for (size_t i = 0; i < lengthof(good); i++) {
		assert_true(invite_address_parse(good[i].text, host, &port));
		assert_string_equal(host, good[i].host);
		assert_int_equal(port, good[i].port);
	}
	for (size_t i = 0; i < lengthof(bad); i++)
		if (invite_address_parse(bad[i], host, &port))
			unit_fail("\"%s\" passed as host %s", bad[i], host);
	memset(longest, 'a', LIMIT_ADDRESS_TEXT);
	assert_true(invite_address_parse(longest, host, &port));
	longest[LIMIT_ADDRESS_TEXT] = 'a';
	assert_false(invite_address_parse(longest, host, &port));
}

static void
a_proof_depends_on_all_it_covers(void **state)
{
	const struct invite in = example();
	uint8_t exporter[32] = { 1 }, other[32] = { 2 }, a[32], b[32],
		secret[INVITE_SECRET_BYTES] = { 0 }, id[INVITE_ID_BYTES] = { 0 };
	struct device_id device = { { 5 } }, device2 = { { 6 } };

	(void)state;
	invite_proof(in.secret, exporter, in.id, &device, a);
	invite_proof(in.secret, exporter, in.id, &device, b);
	assert_memory_equal(a, b, sizeof a);
	invite_proof(in.secret, other, in.id, &device, b);
	assert_memory_not_equal(a, b, sizeof a);
	invite_proof(in.secret, exporter, id, &device, b);
	assert_memory_not_equal(a, b, sizeof a);
	invite_proof(in.secret, exporter, in.id, &device2, b);
	assert_memory_not_equal(a, b, sizeof a);
	invite_proof(secret, exporter, in.id, &device, b);
	assert_memory_not_equal(a, b, sizeof a);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_invite_survives_its_text),
		cmocka_unit_test(pasting_may_change_case_and_add_blanks),
		cmocka_unit_test(any_one_character_mistyped_is_told_as_such),
		cmocka_unit_test(an_invite_cut_off_anywhere_is_told_as_such),
		cmocka_unit_test(what_is_no_invite_is_told_as_such),
		cmocka_unit_test(a_newer_invite_is_told_as_such),
		cmocka_unit_test(the_largest_invite_fits_and_a_larger_text_is_refused),
		cmocka_unit_test(an_invite_without_addresses_or_with_bad_ones_is_not_made),
		cmocka_unit_test(addresses_are_split_or_refused),
		cmocka_unit_test(a_proof_depends_on_all_it_covers),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
