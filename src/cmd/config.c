/*
 * inih takes the lines apart.  Its reader is ours: it counts lines, so that a value's error can
 * name its line; it refuses lines that inih would cut in two; and it drops leading blanks, which
 * inih would read as "the value goes on".
 */
#include "cmd/config.h"

#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <stdarg.h>

#include "base/text.h"
#include "cmd/value.h"
#include "platform/fault.h"

enum { LINE_MAX_BYTES = 190, SHOWN = 80 }; /* inih's buffer is 200 */

struct parse {
	struct config *config;
	const char *file;
	struct bytes rest;
	int line;     /* that was read last */
	int bad_line; /* of the complaint */
	enum command_who who;
	enum err r;
	struct error *e;
};

void
config_clear(struct config *c)
{
	array_each (v, &c->values)
		free(v->value);
	array_clear(&c->values);
}

const char *
config_get(const struct config *c, const char *key)
{
	array_each (v, &c->values)
		if (strcmp(v->key->name, key) == 0)
			return v->value;
	return NULL;
}

size_t
config_get_all(const struct config *c, const char *key, const char *ret[static CONFIG_MANY_MAX])
{
	size_t n = 0;

	array_each (v, &c->values)
		if (n < CONFIG_MANY_MAX && strcmp(v->key->name, key) == 0)
			ret[n++] = v->value;
	return n;
}

enum log_level
config_log_level(const struct config *c)
{
	static const char *const names[] = { "error", "warn", "info", "debug" };
	const char *level = config_get(c, "log-level");

	for (size_t i = 0; level != NULL && i < lengthof(names); i++)
		if (strcmp(level, names[i]) == 0)
			return (enum log_level)i;
	return LOG_LEVEL_INFO;
}

static void
add(struct config *c, const struct command_option *key, const char *value)
{
	array_push(&c->values, ((struct config_value){ key, str_dup(value) }));
}

void
config_override(
    struct config *c, const struct command_option *key, const char *value, bool is_first)
{
	size_t kept = 0;

	array_each (v, &c->values) {
		if (is_first && v->key == key)
			free(v->value);
		else
			c->values.at[kept++] = *v;
	}
	c->values.len = kept;
	add(c, key, value);
}

/* The first error counts: inih goes on after one. */
__attribute__((format(printf, 2, 3))) static void
complain(struct parse *p, const char *fmt, ...)
{
	char text[ERROR_TEXT];
	va_list ap;

	if (p->r != OK)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	p->bad_line = p->line;
	p->r = fail(p->e, ERR_USAGE, "%s:%d: %s", p->file, p->line, text);
}

static void
unknown_key(struct parse *p, const char *name)
{
	char shown[SHOWN];
	const char *near = command_nearest_key(name);

	text_escape(bytes_str(name), shown, sizeof shown);
	if (near != NULL)
		complain(p, "unknown key '%s'; did you mean %s?", shown, near);
	else
		complain(p, "unknown key '%s'; `man weft.conf` lists them", shown);
}

static int
on_pair(void *ctx, const char *section, const char *name, const char *value)
{
	struct parse *p = ctx;
	const struct command_option *key = command_key_find(name);
	const char *all[CONFIG_MANY_MAX];
	struct error why = { 0 };

	if (*section != '\0')
		complain(p, "there are no sections in this file");
	else if (key == NULL)
		unknown_key(p, name);
	else if ((key->who & p->who) == 0)
		complain(p, "%s is a key of `weft %s`", name,
		    p->who == COMMAND_FOR_AGENT ? "server" : "agent");
	else if (key->how != COMMAND_MANY && config_get(p->config, name) != NULL)
		complain(p, "%s is given twice", name);
	else if (config_get_all(p->config, name, all) == CONFIG_MANY_MAX)
		complain(p, "%s is given more than %d times", name, CONFIG_MANY_MAX);
	else if (value_check(key->value, value, &why) != OK)
		complain(p, "%s: %s", name, why.text);
	else
		add(p->config, key, value);
	return p->r == OK;
}

/* fgets(3) over the text. */
static char *
read_line(char *to, int room, void *stream)
{
	struct parse *p = stream;
	struct bytes line = p->rest;

	if (p->rest.len == 0 || p->r != OK)
		return NULL;
	p->line++;
	const uint8_t *end = memchr(line.at, '\n', line.len);
	line.len = end != NULL ? (size_t)(end - line.at) : line.len;
	p->rest =
	    bytes_slice(p->rest, line.len + (end != NULL), p->rest.len - line.len - (end != NULL));
	while (line.len > 0 && (line.at[0] == ' ' || line.at[0] == '\t'))
		line = bytes_slice(line, 1, line.len - 1);
	if (line.len > 0 && memchr(line.at, '\0', line.len) != NULL) {
		complain(p, "NUL bytes: this is no text");
		return NULL;
	}
	if (line.len > LINE_MAX_BYTES || line.len + 1 > (size_t)room) {
		complain(p, "the line is longer than %d bytes", LINE_MAX_BYTES);
		return NULL;
	}
	if (line.len > 0)
		memcpy(to, line.at, line.len);
	to[line.len] = '\0';
	return to;
}

enum err
config_parse(
    struct config *c, const char *file, struct bytes text, enum command_who who, struct error *e)
{
	struct parse p = { .config = c, .file = file, .rest = text, .who = who, .e = e };

	int line = ini_parse_stream(read_line, &p, on_pair, &p);
	/* inih tells the first line that is no pair, and goes on after it: ours may be a later one.
	 */
	if (line != 0 && (p.r == OK || line < p.bad_line))
		return fail(e, ERR_USAGE, "%s:%d: not of the form 'key = value'", file, line);
	return p.r;
}

static enum err
read_whole(const char *path, struct buf *ret, struct error *e)
{
	auto_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	int sys = fault_point("open weft.conf");

	if (fd < 0 || sys != 0)
		return fail_sys(e, fd < 0 ? errno : sys, "read %s", path);
	for (;;) {
		uint8_t *to = buf_reserve(ret, 4096);
		if (to == NULL)
			return fail(
			    e, ERR_USAGE, "%s: longer than %d KiB", path, CONFIG_FILE_MAX / 1024);
		ssize_t n = read(fd, to, 4096);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fail_sys(e, errno, "read %s", path);
		if (n == 0)
			return OK;
		buf_grown(ret, (size_t)n);
	}
}

enum err
config_read(struct config *c, const char *home, enum command_who who, struct error *e)
{
	auto_free char *path = str_printf("%s/%s", home, CONFIG_FILE);
	auto_buf struct buf text = BUF(CONFIG_FILE_MAX);
	struct error why = { 0 };
	enum err r = read_whole(path, &text, &why);

	if (r == ERR_NOTFOUND)
		return OK;
	if (r != OK) {
		if (e != NULL)
			*e = why;
		return r;
	}
	return config_parse(c, path, buf_bytes(&text), who, e);
}
