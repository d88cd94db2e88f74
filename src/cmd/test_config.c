#include "tests/check.h"

#include "base/buf.h"
#include "cmd/config.h"

static void
lines_become_values(void **state)
{
	static const char text[] = "# a comment\n"
				   "\n"
				   "listen = 127.0.0.1:7470\n"
				   "\tname=server one ; and why\r\n"
				   "advertise = a.example\n"
				   "  advertise = b.example:443\n"
				   "log-level = debug";
	struct config c = { 0 };
	struct error e = { 0 };
	const char *all[CONFIG_MANY_MAX];

	(void)state;
	check_ok(config_parse(&c, "weft.conf", bytes_str(text), COMMAND_FOR_SERVER, &e), e);
	assert_string_equal(config_get(&c, "listen"), "127.0.0.1:7470");
	assert_string_equal(config_get(&c, "name"), "server one");
	assert_null(config_get(&c, "site"));
	assert_int_equal(config_get_all(&c, "advertise", all), 2);
	assert_string_equal(all[0], "a.example");
	assert_string_equal(all[1], "b.example:443");
	assert_int_equal(config_log_level(&c), LOG_LEVEL_DEBUG);
	config_clear(&c);
}

static void
an_error_names_file_and_line(void **state)
{
	static const struct {
		struct bytes text;
		const char *says;
	} cases[] = {
		{ BYTES_LIT("lisen = 1\n"),
		    "weft.conf:1: unknown key 'lisen'; did you mean listen?" },
		{ BYTES_LIT("\n\nxyzzy = 1\n"), "weft.conf:3: unknown key 'xyzzy'" },
		{ BYTES_LIT("name = a\nname = b\n"), "weft.conf:2: name is given twice" },
		{ BYTES_LIT("name = a\n\n threads = many\n"),
		    "weft.conf:3: threads: 'many' is not a number from 1" },
		{ BYTES_LIT("name = a\nlisten\n"), "weft.conf:2: not of the form 'key = value'" },
		{ BYTES_LIT("name =\n"), "weft.conf:1: name: NAME is empty" },
		{ BYTES_LIT("[server]\nname = a\n"),
		    "weft.conf:2: there are no sections in this file" },
		{ BYTES_LIT("[server\n"), "weft.conf:1: not of the form" },
		{ BYTES_LIT("log-level = loud\n"),
		    "weft.conf:1: log-level: 'loud' is not one of error|warn|info|debug" },
		{ BYTES_LIT("name = a\n\0\n"), "weft.conf:2: NUL bytes" },
		{ BYTES_LIT("listen\nname = /\n"),
		    "weft.conf:1: not of the form" }, /* the first one counts */
		{ BYTES_LIT("name = /\nlisten\n"), "weft.conf:1: name: '/' is not a name" },
		{ BYTES_LIT("name = "
			    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
			    "aaaaaaaaaaaaaa"
			    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
			    "aaaaaaaaaaaaaaaaaaaaa"
			    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
		    "weft.conf:1: the line is longer than 190 bytes" },
	};

	(void)state;
	for (size_t i = 0; i < lengthof(cases); i++) {
		struct config c = { 0 };
		struct error e = { 0 };
		check_err(config_parse(&c, "weft.conf", cases[i].text, COMMAND_FOR_SERVER, &e),
		    ERR_USAGE, e);
		check_says(e.text, cases[i].says);
		config_clear(&c);
	}
}

static void
the_command_line_counts_more_than_the_file(void **state)
{
	struct config c = { 0 };
	struct error e = { 0 };
	const char *all[CONFIG_MANY_MAX];
	const struct command_option *key = command_key_find("advertise");

	(void)state;
	check_ok(config_parse(&c, "f", BYTES_LIT("advertise = a\nname = n\nadvertise = b\n"),
		     COMMAND_FOR_SERVER, &e),
	    e);
	config_override(&c, key, "x", true);
	config_override(&c, key, "y", false);
	assert_int_equal(config_get_all(&c, "advertise", all), 2);
	assert_string_equal(all[0], "x");
	assert_string_equal(all[1], "y");
	assert_string_equal(config_get(&c, "name"), "n");
	config_clear(&c);
}

static void
too_many_values_of_one_key_are_refused(void **state)
{
	auto_buf struct buf text = BUF(4096);
	struct config c = { 0 };
	struct error e = { 0 };

	(void)state;
	for (int i = 0; i < CONFIG_MANY_MAX; i++)
		buf_addf(&text, "advertise = a\n");
	check_ok(config_parse(&c, "f", buf_bytes(&text), COMMAND_FOR_SERVER, &e), e);
	config_clear(&c);
	buf_addf(&text, "advertise = a\n");
	check_err(config_parse(&c, "f", buf_bytes(&text), COMMAND_FOR_SERVER, &e), ERR_USAGE, e);
	check_says(e.text, "f:17: advertise is given more than 16 times");
	config_clear(&c);
}

static void
a_file_that_is_not_there_is_empty_and_a_huge_one_is_refused(void **state)
{
	struct check_dir d = check_dir_make();
	struct config c = { 0 };
	struct error e = { 0 };
	auto_free char *big = mem_zalloc(CONFIG_FILE_MAX + 1);

	(void)state;
	check_ok(config_read(&c, d.path, COMMAND_FOR_BOTH, &e), e);
	assert_int_equal(c.values.len, 0);
	check_put(&d, CONFIG_FILE, "name = n\n", 9);
	check_ok(config_read(&c, d.path, COMMAND_FOR_AGENT, &e), e);
	assert_string_equal(config_get(&c, "name"), "n");
	config_clear(&c);
	memset(big, '\n', CONFIG_FILE_MAX + 1);
	check_put(&d, CONFIG_FILE, big, CONFIG_FILE_MAX + 1);
	check_err(config_read(&c, d.path, COMMAND_FOR_AGENT, &e), ERR_USAGE, e);
	config_clear(&c);
	check_dir_remove(&d);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines_become_values),
		cmocka_unit_test(an_error_names_file_and_line),
		cmocka_unit_test(the_command_line_counts_more_than_the_file),
		cmocka_unit_test(too_many_values_of_one_key_are_refused),
		cmocka_unit_test(a_file_that_is_not_there_is_empty_and_a_huge_one_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
