#include "cmd/help.h"

#include <string.h>

enum { NAME_COLUMN = 2, VERB_COLUMN = 14, TEXT_COLUMN = 27, STEP_COLUMN = 36 };

static const struct {
	const char *verb, *text;
} prose[] = {
#define PROSE(verb, text) { #verb, text },
#define SECTION(page, title, text)
#include "cmd/prose.def"
#undef PROSE
#undef SECTION
};

const char *
help_prose(const struct command *c)
{
	for (size_t i = 0; i < sizeof prose / sizeof prose[0]; i++)
		if (strcmp(prose[i].verb, c->verb) == 0)
			return prose[i].text;
	return "";
}

/* Spaces up to COLUMN of the line that OUT ends with. */
static void
pad(struct buf *out, size_t *at, size_t column)
{
	for (; *at < column; ++*at)
		buf_u8(out, ' ');
}

/* Up to the next blank that is not within brackets: "[--label LABEL]" stays together. */
static size_t
word_length(const char *at, size_t n)
{
	size_t len = 0;

	for (int depth = 0; len < n && (at[len] != ' ' || depth > 0); len++)
		depth += (at[len] == '[') - (at[len] == ']');
	return len;
}

void
help_wrap(struct buf *out, const char *text, size_t n, unsigned indent, unsigned columns)
{
	size_t at = 0;

	for (size_t i = 0, len; i < n; i += len) {
		while (i < n && text[i] == ' ')
			i++;
		len = word_length(text + i, n - i);
		if (len == 0)
			break;
		if (at > indent && at + 1 + len > columns) {
			buf_u8(out, '\n');
			at = 0;
		} else if (at > indent) {
			buf_u8(out, ' ');
			at++;
		}
		pad(out, &at, indent);
		buf_add(out, text + i, len);
		at += len;
	}
	buf_u8(out, '\n');
}

/* HEAD, and from COLUMN on TEXT in lines, on the next line when HEAD is too long. */
static void
hang(struct buf *out, const char *head, const char *text, size_t n, unsigned column)
{
	auto_buf struct buf wrapped = BUF(HELP_MAX);
	size_t at = strlen(head);

	buf_addf(out, "%s", head);
	if (at > column - 1) {
		buf_u8(out, '\n');
		at = 0;
	}
	pad(out, &at, column);
	help_wrap(&wrapped, text, n, column, HELP_COLUMNS);
	buf_add(out, wrapped.at + column, wrapped.len - column);
}

static void
row(struct buf *out, const char *name, const char *text, unsigned column)
{
	char head[128];

	snprintf(head, sizeof head, "%*s%s", NAME_COLUMN, "", name);
	hang(out, head, text, strlen(text), column);
}

void
help_usage(const struct command *c, struct buf *out)
{
	const struct command_option *o = NULL;

	buf_addf(out, "weft %s%s%s", c->verb, *c->arguments != '\0' ? " " : "", c->arguments);
	while ((o = command_option_next(c, o)) != NULL) {
		bool needed = o->how == COMMAND_NEEDED;
		/* A switch that stands for an argument is in the arguments already. */
		if (command_is_common(o) || strstr(c->arguments, o->name) != NULL)
			continue;
		buf_addf(out, " %s--%s%s%s%s%s", needed ? "" : "[", o->name,
		    o->value != NULL ? " " : "", o->value != NULL ? o->value : "",
		    needed ? "" : "]", o->how == COMMAND_MANY ? "..." : "");
	}
}

static void
option_row(struct buf *out, const struct command_option *o)
{
	char name[96];

	snprintf(name, sizeof name, "%c%c%s--%s%s%s", o->letter != 0 ? '-' : ' ',
	    o->letter != 0 ? o->letter : ' ', o->letter != 0 ? ", " : "  ", o->name,
	    o->value != NULL ? " " : "", o->value != NULL ? o->value : "");
	row(out, name, o->help, TEXT_COLUMN);
}

static void
paragraphs(struct buf *out, const char *text)
{
	while (*text != '\0') {
		size_t n = strcspn(text, "\n");
		buf_u8(out, '\n');
		help_wrap(out, text, n, 0, HELP_COLUMNS);
		text += n + (text[n] == '\n');
	}
}

void
help_command(const struct command *c, struct buf *out)
{
	auto_buf struct buf usage = BUF(HELP_MAX);
	const struct command_option *o = NULL;

	help_usage(c, &usage);
	hang(out, "usage:", (const char *)usage.at, usage.len, strlen("usage: "));
	buf_addf(out, "\n%s\n", c->summary);
	paragraphs(out, help_prose(c));
	buf_addf(out, "\noptions:\n");
	while ((o = command_option_next(c, o)) != NULL)
		option_row(out, o);
}

void
help_all(struct buf *out)
{
	static const char after[] =
	    "`weft` alone is `weft status`. `weft help COMMAND` explains one. Every command has "
	    "--help, --home, "
	    "--json, -q and -v. The home, where a node keeps its keys and what it knows, is --home "
	    "DIR, else WEFT_HOME, "
	    "else /var/lib/weft for root and ~/.local/state/weft for everybody else.\n"
	    "exit status: 0 done, 1 failed, 2 usage, 3 no daemon runs, 4 denied, 5 done with "
	    "conflicts or skipped files, "
	    "130 interrupted\n";
	static const struct {
		const char *typed, *where;
	} steps[] = {
		{ "$ weft server", "on one machine: prints an invite" },
		{ "$ weft join INVITE", "on each other machine; then `weft agent`" },
		{ "$ weft publish DIR --share NAME", "where the files are" },
		{ "$ weft grant NAME --all read", "on the server" },
		{ "$ weft get NAME DIR", "on the others; later: only what changed" },
	};
	const struct command *c = NULL;

	buf_addf(out, "weft: distribute folders to many machines, verified\n\nusage: weft COMMAND "
		      "[ARGUMENT]...\n\n");
	while ((c = command_next(c)) != NULL)
		row(out, c->verb, c->summary, VERB_COLUMN);
	buf_addf(out, "\nfirst steps:\n");
	for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++)
		row(out, steps[i].typed, steps[i].where, STEP_COLUMN);
	paragraphs(out, after);
}
