#include "tests/check.h"

#include <stdbool.h>

#include "base/mem.h"
#include "cmd/value.h"

static void
values_are_what_their_word_says(void **state)
{
	static const struct {
		const char *word, *value;
		bool ok;
	} cases[] = {
		{ "N", "1", true },
		{ "N", "0", false },
		{ "N", "-1", false },
		{ "N", "1x", false },
		{ "N", "", false },
		{ "N", "99999999999", false },
		{ "MS", "0", true },
		{ "MS", "1000", true },
		{ "MS", "1001", false },
		{ "MS", "5ms", false },
		{ "JOB", "12", true },
		{ "JOB", "a", false },
		{ "TIME", "24h", true },
		{ "TIME", "30m", true },
		{ "TIME", "0s", false },
		{ "TIME", "h", false },
		{ "RATE", "50Mbit", true },
		{ "RATE", "6.25MB/s", true },
		{ "RATE", "128kbit", true },
		{ "RATE", "127kbit", false },
		{ "RATE", "8000Gbit", true },
		{ "RATE", "9000Gbit", false },
		{ "RATE", "50", false },
		{ "RATE", "fast", false },
		{ "RATE|off", "off", true },
		{ "RATE|off", "8Mbit", true },
		{ "RATE|off", "on", false },
		{ "SCHEDULE", "mon-fri 08-18 20Mbit; sat-sun off", true },
		{ "SCHEDULE", "none", true },
		{ "SCHEDULE", "mon-fri 08-18 20", false },
		{ "SHARE", "photos", true },
		{ "SHARE", "a b", true },
		{ "SHARE", "a/b", false },
		{ "SHARE", "a@b", false },
		{ "SHARE", "a\nb", false },
		{ "NAME", "\xc3\xa9", true },
		{ "NAME", "\xff", false },
		{ "ADDR:PORT", "7470", true },
		{ "ADDR:PORT", ":7470", true },
		{ "ADDR:PORT", "0", true },
		{ "ADDR:PORT", "127.0.0.1:7470", true },
		{ "ADDR:PORT", "[::1]:7470", true },
		{ "ADDR:PORT", "host.example:1", true },
		{ "ADDR:PORT", "host", false },
		{ "ADDR:PORT", "host:", false },
		{ "ADDR:PORT", "host:65536", false },
		{ "ADDR:PORT", "[]:1", false },
		{ "ADDR:PORT", "a b:1", false },
		{ "ADDR:PORT", "a/b:1", false },
		{ "HOST[:PORT]", "host", true },
		{ "HOST[:PORT]", "host:1", true },
		{ "HOST[:PORT]", "host:0", false },
		{ "HOST[:PORT]", "[::1]", true },
		{ "HOST[:PORT]", "[::1]:9", true },
		{ "HOST[:PORT]", "::1", false },
		{ "HOST[:PORT]", ":9", false },
		{ "HOST[:PORT]", "a,b", false },
		{ "read|write", "read", true },
		{ "read|write", "write", true },
		{ "read|write", "rea", false },
		{ "read|write", "read|write", false },
		{ "read|write", "", false },
		{ "error|warn|info|debug", "debug", true },
		{ "error|warn|info|debug", "trace", false },
		{ "SHARE:read|write", "a:read", true },
		{ "SHARE:read|write", "a:b:write", true },
		{ "SHARE:read|write", "a", false },
		{ "SHARE:read|write", "a:", false },
		{ "SHARE:read|write", ":read", false },
		{ "SHARE:read|write", "a/b:read", false },
		{ "PATH", "anything at all", true },
		{ "PATH", "", false },
	};

	(void)state;
	for (size_t i = 0; i < lengthof(cases); i++) {
		struct error e = { 0 };
		enum err r = value_check(cases[i].word, cases[i].value, &e);
		if ((r == OK) != cases[i].ok)
			print_error("%s '%s': %s\n", cases[i].word, cases[i].value,
			    r == OK ? "accepted" : e.text);
		assert_int_equal(r, cases[i].ok ? OK : ERR_USAGE);
	}
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(values_are_what_their_word_says),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
