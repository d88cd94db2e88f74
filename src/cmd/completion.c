#include "cmd/completion.h"

#include <string.h>

#include "cmd/command.h"

static void
begin_table(struct buf *out, const char *name)
{
	buf_addf(out, "declare -gA _weft_%s=(\n", name);
}

static void
add_options(struct buf *out, const struct command *c, bool common)
{
	const struct command_option *o = NULL;
	const char *blank = "";

	buf_addf(out, "\t[%s]='", common ? "-" : c->verb);
	while ((o = command_option_next(c, o)) != NULL) {
		if (command_is_common(o) != common)
			continue;
		buf_addf(out, "%s--%s", blank, o->name);
		blank = " ";
	}
	buf_addf(out, "'\n");
}

static void
add_values(struct buf *out, const struct command *c, bool common)
{
	const struct command_option *o = NULL;
	const char *blank = "";

	buf_addf(out, "\t[%s]='", common ? "-" : c->verb);
	while ((o = command_option_next(c, o)) != NULL) {
		if (command_is_common(o) != common || o->value == NULL)
			continue;
		buf_addf(out, "%s--%s=%s", blank, o->name, o->value);
		blank = " ";
	}
	buf_addf(out, "'\n");
}

/* Brackets have done their duty; "SHARE[@SNAPSHOT]" is completed as SHARE, "DEVICE|--all" as
 * DEVICE. */
static void
add_arguments(struct buf *out, const struct command *c)
{
	struct command_arg args[COMMAND_ARGS_MAX];
	size_t n = command_args(c, args);

	buf_addf(out, "\t[%s]='", c->verb);
	for (size_t i = 0; i < n; i++) {
		buf_addf(out, "%s", i > 0 ? " " : "");
		for (const char *at = args[i].name; args[i].choices[0] == '\0' && *at != '\0'; at++)
			buf_u8(out, (uint8_t)(*at & ~0x20));
		buf_addf(out, "%s", args[i].choices);
	}
	buf_addf(out, "'\n");
}

static void
add_table(struct buf *out, const char *name,
    void (*add)(struct buf *out, const struct command *c, bool common))
{
	const struct command *c = NULL;

	begin_table(out, name);
	while ((c = command_next(c)) != NULL)
		add(out, c, false);
	add(out, command_find("help"), true);
	buf_addf(out, ")\n");
}

void
completion_write(struct buf *out)
{
	const struct command *c = NULL;
	const char *blank = "";

	buf_addf(out, "# bash completion for weft, made from its table of commands; do not edit.\n"
		      "# shellcheck shell=bash disable=SC2207,SC2206\n\n_weft_verbs='");
	while ((c = command_next(c)) != NULL) {
		buf_addf(out, "%s%s", blank, c->verb);
		blank = " ";
	}
	buf_addf(out, "'\n");
	add_table(out, "options", add_options);
	add_table(out, "values", add_values);
	begin_table(out, "arguments");
	while ((c = command_next(c)) != NULL)
		add_arguments(out, c);
	buf_addf(out, ")\n\n");
}
