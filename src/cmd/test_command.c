#include "tests/check.h"

#include "base/mem.h"
#include "cmd/command.h"
#include "control/control_message.h"

static void
every_row_of_the_table_is_sound(void **state)
{
	const struct command *c = NULL;

	(void)state;
	while ((c = command_next(c)) != NULL) {
		struct command_arg args[COMMAND_ARGS_MAX];
		const struct command_option *o = NULL;
		print_message("%s\n", c->verb);
		assert_true(strlen(c->verb) <= CONTROL_NAME_MAX);
		assert_true(strlen(c->summary) > 0 && strlen(c->summary) <= 80 - 27);
		assert_ptr_equal(command_find(c->verb), c);
		bool optional = false;
		for (size_t i = 0, n = command_args(c, args); i < n; i++) {
			assert_true(args[i].name[0] != '\0');
			assert_true(!optional || args[i].optional);
			optional = args[i].optional;
			if (args[i].unless[0] != '\0')
				assert_non_null(command_option_find(c, args[i].unless));
		}
		while ((o = command_option_next(c, o)) != NULL) {
			assert_true(strlen(o->name) <= CONTROL_NAME_MAX);
			assert_true(strlen(o->help) <= 80 - 27);
			assert_ptr_equal(command_option_find(c, o->name), o);
		}
	}
}

/* An option of a command that does not exist would never be seen. */
static void
every_option_belongs_to_a_command(void **state)
{
	static const char *const verbs[] = {
#define CMD(verb, arguments, where, summary)
#define OPT(verb, name, value, how, help) #verb,
#define KEY(name, value, how, who, help)
#include "control/commands.def"
#undef CMD
#undef OPT
#undef KEY
	};

	(void)state;
	for (size_t i = 0; i < lengthof(verbs); i++)
		assert_non_null(command_find(verbs[i]));
}

static void
words_of_arguments_are_read_as_their_grammar_says(void **state)
{
	struct command_arg a[COMMAND_ARGS_MAX];

	(void)state;
	assert_int_equal(command_args(command_find("get"), a), 2);
	assert_string_equal(a[0].name, "share");
	assert_string_equal(a[0].second, "snapshot");
	assert_string_equal(a[0].shown, "SHARE[@SNAPSHOT]");
	assert_false(a[0].optional);
	assert_string_equal(a[1].name, "dest");

	assert_int_equal(command_args(command_find("grant"), a), 3);
	assert_string_equal(a[1].name, "device");
	assert_string_equal(a[1].unless, "all");
	assert_string_equal(a[2].name, "rights");
	assert_string_equal(a[2].choices, "read|write");

	assert_int_equal(command_args(command_find("policy"), a), 2);
	assert_string_equal(a[1].name, "policy");
	assert_string_equal(a[1].choices, "central|hybrid");
	assert_true(a[1].optional);

	assert_int_equal(command_args(command_find("site"), a), 3);
	assert_string_equal(a[0].name, "action");
	assert_string_equal(a[1].name, "device");
	assert_string_equal(a[2].name, "site");
	assert_true(a[0].optional && a[1].optional && a[2].optional);

	assert_int_equal(command_args(command_find("help"), a), 1);
	assert_string_equal(a[0].name, "command");
	assert_true(a[0].optional);
	assert_int_equal(command_args(command_find("shares"), a), 0);
}

static void
keys_are_options_of_their_daemons_only(void **state)
{
	(void)state;
	assert_non_null(command_option_find(command_find("server"), "advertise"));
	assert_non_null(command_option_find(command_find("agent"), "advertise"));
	assert_null(command_option_find(command_find("publish"), "advertise"));
	assert_non_null(command_option_find(command_find("agent"), "listen"));
	assert_null(command_option_find(command_find("publish"), "listen"));
	assert_non_null(command_option_find(command_find("publish"), "json"));
}

static void
mistyped_words_find_what_was_meant(void **state)
{
	static const struct {
		const char *typed, *meant;
	} verbs[] = {
		{ "stauts", "status" },
		{ "publsh", "publish" },
		{ "snap", "snapshots" },
		{ "dev", "devices" },
		{ "pubilsh", "publish" },
		{ "Get", "get" },
		{ "xyzzy", NULL },
		{ "", NULL },
		{ "q", NULL },
		{ "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", NULL },
	};

	(void)state;
	for (size_t i = 0; i < lengthof(verbs); i++) {
		const char *got = command_nearest_verb(verbs[i].typed);
		print_message("%s: %s\n", verbs[i].typed, got != NULL ? got : "nothing");
		if (verbs[i].meant == NULL)
			assert_null(got);
		else
			assert_string_equal(got, verbs[i].meant);
	}
	assert_string_equal(command_nearest_option(command_find("publish"), "lable"), "label");
	assert_string_equal(command_nearest_key("listn"), "listen");
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_row_of_the_table_is_sound),
		cmocka_unit_test(every_option_belongs_to_a_command),
		cmocka_unit_test(words_of_arguments_are_read_as_their_grammar_says),
		cmocka_unit_test(keys_are_options_of_their_daemons_only),
		cmocka_unit_test(mistyped_words_find_what_was_meant),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
