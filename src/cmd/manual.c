#include "cmd/manual.h"

#include "cmd/command.h"
#include "cmd/config.h"
#include "cmd/help.h"

/* Of the last change to what the page says. */
#define MANUAL_DATE "2026-11-20"

static const struct {
	const char *page, *title, *text;
} sections[] = {
#define PROSE(verb, text)
#define SECTION(page, title, text) { page, title, text },
#include "cmd/prose.def"
#undef PROSE
#undef SECTION
};

/* Roff's own characters made plain; what is in backquotes becomes bold; a line does not begin with
 * a request. */
static void
add_text(struct buf *out, const char *text, size_t n)
{
	bool bold = false;

	for (size_t i = 0; i < n; i++) {
		switch (text[i]) {
		case '\\':
			buf_addf(out, "\\e");
			break;
		case '-':
			buf_addf(out, "\\-");
			break;
		case '`':
			bold = !bold;
			buf_addf(out, bold ? "\\fB" : "\\fR");
			break;
		case '.':
		case '\'':
			if (out->len > 0 && out->at[out->len - 1] == '\n')
				buf_addf(out, "\\&");
			buf_u8(out, (uint8_t)text[i]);
			break;
		default:
			buf_u8(out, (uint8_t)text[i]);
		}
	}
}

static void
add_line(struct buf *out, const char *text)
{
	add_text(out, text, strlen(text));
	buf_u8(out, '\n');
}

static void
add_paragraphs(struct buf *out, const char *text, const char *macro)
{
	while (*text != '\0') {
		size_t n = strcspn(text, "\n");
		buf_addf(out, "%s", macro);
		add_text(out, text, n);
		buf_u8(out, '\n');
		text += n + (text[n] == '\n');
		macro = ".PP\n";
	}
}

static void
add_option(struct buf *out, const struct command_option *o, const char *dashes)
{
	buf_addf(out, ".TP\n\\fB");
	if (o->letter != 0)
		buf_addf(out, "\\-%c\\fR, \\fB", o->letter);
	add_text(out, dashes, strlen(dashes));
	add_text(out, o->name, strlen(o->name));
	buf_addf(out, "\\fR");
	if (o->value != NULL) {
		buf_addf(out, *dashes != '\0' ? " \\fI" : " = \\fI");
		add_text(out, o->value, strlen(o->value));
		buf_addf(out, "\\fR");
	}
	buf_u8(out, '\n');
	add_line(out, o->help);
}

/* "weft publish PATH ...": capitals are for the reader to fill in. */
static void
add_usage(struct buf *out, const struct command *c)
{
	auto_buf struct buf usage = BUF(HELP_MAX);

	help_usage(c, &usage);
	add_line(out, buf_text(&usage));
}

static void
add_command(struct buf *out, const struct command *c)
{
	const struct command_option *o = NULL;
	const char *prose = help_prose(c);

	buf_addf(out, ".SS \"");
	add_usage(out, c);
	out->len--; /* the newline */
	buf_addf(out, "\"\n");
	buf_u8(out, (uint8_t)(c->summary[0] & ~0x20));
	add_text(out, c->summary + 1, strlen(c->summary) - 1);
	buf_addf(out, ".\n");
	add_paragraphs(out, prose, ".PP\n");
	while ((o = command_option_next(c, o)) != NULL)
		if (!command_is_common(o))
			add_option(out, o, "--");
}

static void
add_section(struct buf *out, const char *page, const char *title)
{
	for (size_t i = 0; i < sizeof sections / sizeof sections[0]; i++) {
		if (strcmp(sections[i].page, page) != 0 || strcmp(sections[i].title, title) != 0)
			continue;
		buf_addf(out, ".SH \"%s\"\n", title);
		add_paragraphs(out, sections[i].text, "");
	}
}

static void
add_options(struct buf *out)
{
	const struct command_option *o = NULL;

	buf_addf(out, ".SH OPTIONS\nEvery command has these:\n");
	while ((o = command_option_next(command_find("help"), o)) != NULL)
		add_option(out, o, "--");
}

static void
add_head(struct buf *out, const char *title, const char *part, const char *name, const char *what)
{
	buf_addf(out, ".\\\" Made from the table of commands; do not edit.\n");
	buf_addf(out, ".TH %s \"%s\" \"weft %s\" \"%s\"\n", title, MANUAL_DATE, WEFT_VERSION, part);
	buf_addf(out, ".SH NAME\n%s \\- %s\n", name, what);
}

void
manual_write_config(struct buf *out)
{
	const struct command_option *o = NULL;

	add_head(out, "WEFT.CONF 5", "File Formats", CONFIG_FILE,
	    "configuration of a weft server or agent");
	add_section(out, "weft.conf", "DESCRIPTION");
	buf_addf(out, ".SH KEYS\n");
	while ((o = command_key_next(o)) != NULL) {
		add_option(out, o, "");
		if (o->who != COMMAND_FOR_BOTH || o->how == COMMAND_MANY)
			buf_addf(out, ".br\n");
		if (o->who != COMMAND_FOR_BOTH)
			add_line(out, o->who == COMMAND_FOR_SERVER ? "Of a server only."
								   : "Of an agent only.");
		if (o->how == COMMAND_MANY)
			add_line(out, "May be given several times.");
	}
	buf_addf(out, ".SH \"SEE ALSO\"\n.BR weft (1)\n");
}

void
manual_write(struct buf *out)
{
	const struct command *c = NULL;

	add_head(out, "WEFT 1", "User Commands", "weft",
	    "distribute folders to many machines, verified");
	buf_addf(out, ".SH SYNOPSIS\n\\fBweft\\fR [\\fICOMMAND\\fR [\\fIARGUMENT\\fR]...]\n");
	add_section(out, "weft", "DESCRIPTION");
	buf_addf(out, ".SH COMMANDS\n");
	while ((c = command_next(c)) != NULL)
		add_command(out, c);
	add_options(out);
	add_section(out, "weft", "FILES");
	add_section(out, "weft", "ENVIRONMENT");
	add_section(out, "weft", "EXIT STATUS");
	add_section(out, "weft", "EXAMPLES");
	buf_addf(out, ".SH \"SEE ALSO\"\n.BR weft.conf (5)\n");
}
