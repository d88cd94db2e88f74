#include "tests/unit.h"

#include <string.h>

#include "base/mem.h"
#include "net/address.h"
#include "net/listener.h"

static void
text_is_split_at_the_port(void **state)
{
	static const struct {
		const char *text, *host;
		uint16_t port;
	} good[] = {
		{ "1.2.3.4:7470", "1.2.3.4", 7470 },
		{ "[::1]:80", "::1", 80 },
		{ "[fe80::1%eth0]:65535", "fe80::1%eth0", 65535 },
		{ "files.example:0", "files.example", 0 },
		{ ":7470", "", 7470 },
		{ "[]:1", "", 1 },
	};
	char host[ADDRESS_HOST];
	uint16_t port;

	(void)state;
	for (size_t i = 0; i < lengthof(good); i++) {
		assert_ok(address_split(good[i].text, host, &port, &unit_error));
		assert_string_equal(host, good[i].host);
		assert_int_equal(port, good[i].port);
	}
}

static void
what_is_no_address_is_a_usage_error(void **state)
{
	static const char *const bad[] = { "", "host", "host:", "host:x", "host:65536", "host:-1",
		"::1:80", "[::1]", "[::1]80", "[::1:80", "::1", "1.2.3.4:80:80", "a:1 " };
	char host[ADDRESS_HOST], name[ADDRESS_HOST + 10];
	uint16_t port;

	(void)state;
	for (size_t i = 0; i < lengthof(bad); i++)
		assert_err(ERR_USAGE, address_split(bad[i], host, &port, &unit_error));
	memset(name, 'a', sizeof name);
	memcpy(name + ADDRESS_HOST, ":1", 3);
	assert_err(ERR_USAGE, address_split(name, host, &port, &unit_error));
	assert_ok(address_split(name + 1, host, &port, &unit_error));
	assert_int_equal(strlen(host), ADDRESS_HOST - 1);
}

static void
numbers_come_back_as_they_were(void **state)
{
	static const struct {
		const char *host, *shown;
	} cases[] = {
		{ "127.0.0.1", "127.0.0.1:7" },
		{ "::1", "[::1]:7" },
		{ "2001:db8::0:1", "[2001:db8::1]:7" },
		{ "::ffff:10.0.0.1", "10.0.0.1:7" },
	};
	char text[ADDRESS_TEXT];
	struct address a;

	(void)state;
	for (size_t i = 0; i < lengthof(cases); i++) {
		assert_true(address_parse_host(cases[i].host, 7, &a));
		assert_string_equal(address_format(&a, text), cases[i].shown);
		assert_int_equal(address_port(&a), 7);
	}
	assert_false(address_parse_host("files.example", 7, &a));
	assert_false(address_parse_host("", 7, &a));
	assert_false(address_parse_host("1.2.3.4.5", 7, &a));
}

static void
a_scope_is_kept(void **state)
{
	char text[ADDRESS_TEXT];
	struct address a;

	(void)state;
	assert_true(address_parse_host("fe80::1%lo", 7, &a));
	assert_true(a.at.v6.sin6_scope_id != 0);
	assert_string_equal(address_format(&a, text), "[fe80::1%1]:7");
}

static void
own_addresses_can_be_read_back(void **state)
{
	char own[8][LISTENER_ADDRESS], host[ADDRESS_HOST];
	uint16_t port;
	struct address a;

	(void)state;
	size_t n = listener_own_addresses(7470, own, lengthof(own));
	assert_in_range(n, 1, lengthof(own));
	for (size_t i = 0; i < n; i++) {
		assert_ok(address_split(own[i], host, &port, &unit_error));
		assert_true(address_parse_host(host, port, &a));
		assert_int_equal(port, 7470);
		assert_null(strstr(own[i], "fe80:"));
	}
	assert_int_equal(listener_own_addresses(7470, own, 1), 1);
	assert_int_equal(listener_own_addresses(7470, own, 0), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(text_is_split_at_the_port),
		cmocka_unit_test(what_is_no_address_is_a_usage_error),
		cmocka_unit_test(numbers_come_back_as_they_were),
		cmocka_unit_test(a_scope_is_kept),
		cmocka_unit_test(own_addresses_can_be_read_back),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
