#include "tests/unit.h"

#include "base/mem.h"
#include "server/subnet.h"

static void
networks_are_said_as_they_were_read(void **state)
{
	static const char *const pairs[][2] = {
		{ "10.1.0.0/16", "10.1.0.0/16" },
		{ "0.0.0.0/0", "0.0.0.0/0" },
		{ "192.168.1.7", "192.168.1.7/32" },
		{ "2001:db8::/32", "2001:db8::/32" },
		{ "2001:DB8:0::/33", "2001:db8::/33" },
		{ "::/0", "::/0" },
		{ "fe80::1", "fe80::1/128" },
		{ "::ffff:10.1.0.0/112", "10.1.0.0/16" },
	};
	char text[SUBNET_TEXT];

	(void)state;
	for (size_t i = 0; i < lengthof(pairs); i++) {
		struct subnet s, again;
		assert_ok(subnet_parse(pairs[i][0], &s, &unit_error));
		assert_string_equal(subnet_format(&s, text), pairs[i][1]);
		assert_ok(subnet_parse(text, &again, &unit_error));
		assert_true(subnet_equal(&s, &again));
	}
}

static void
what_is_no_network_is_refused_in_one_line(void **state)
{
	static const char *const bad[][2] = {
		{ "", "is no network" },
		{ "10.1.0/16", "is no network" },
		{ "10.1.0.256/32", "is no network" },
		{ "office", "is no network" },
		{ "fe80::1%eth0/64", "is no network" },
		{ "10.1.0.0/33", "is no number from 0 to 32" },
		{ "10.1.0.0/", "is no number from 0 to 32" },
		{ "10.1.0.0/-1", "is no number from 0 to 32" },
		{ "10.1.0.0/16/8", "is no number from 0 to 32" },
		{ "::/129", "is no number from 0 to 128" },
		{ "10.1.2.3/16", "is it 10.1.0.0/16?" },
		{ "2001:db8::1/32", "is it 2001:db8::/32?" },
		{ "1111111111111111111111111111111111111111111111111111111111111",
		    "is no network" },
		{ "1\n2", "is no network" },
	};
	struct subnet s;

	(void)state;
	for (size_t i = 0; i < lengthof(bad); i++) {
		assert_err(ERR_USAGE, subnet_parse(bad[i][0], &s, &unit_error));
		assert_non_null(strstr(unit_error.text, bad[i][1]));
		assert_null(strchr(unit_error.text, '\n'));
	}
}

static bool
has(const char *network, const char *host)
{
	struct subnet s;
	uint8_t address[SUBNET_ADDRESS];

	assert_ok(subnet_parse(network, &s, &unit_error));
	assert_true(subnet_address(host, address));
	return subnet_has(&s, address);
}

static void
an_address_is_in_it_however_it_is_said(void **state)
{
	uint8_t address[SUBNET_ADDRESS];

	(void)state;
	assert_true(has("10.1.0.0/16", "10.1.255.3"));
	assert_true(has("10.1.0.0/16", "::ffff:10.1.255.3"));
	assert_false(has("10.1.0.0/16", "10.2.0.0"));
	assert_true(has("10.1.2.0/23", "10.1.3.255"));
	assert_false(has("10.1.2.0/23", "10.1.4.0"));
	assert_true(has("0.0.0.0/0", "1.2.3.4"));
	assert_false(has("0.0.0.0/0", "::1"));
	assert_true(has("::/0", "1.2.3.4"));
	assert_true(has("2001:db8::/33", "2001:db8:7fff::1"));
	assert_false(has("2001:db8::/33", "2001:db8:8000::1"));
	assert_true(has("fe80::/10", "fe80::1%eth0"));
	assert_false(subnet_address("office", address));
	assert_false(subnet_address("10.0.0.1%eth0", address));
	assert_false(subnet_address("", address));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(networks_are_said_as_they_were_read),
		cmocka_unit_test(what_is_no_network_is_refused_in_one_line),
		cmocka_unit_test(an_address_is_in_it_however_it_is_said),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
