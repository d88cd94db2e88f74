#include "cmd/options.h"

#include <assert.h>
#include <errno.h>

#include "base/mem.h"
#include "base/text.h"
#include "cmd/value.h"

enum { SHOWN = 80 };

struct parser {
	int argc, at;
	char *const *argv;
	bool plain; /* "--" was seen */
	const char *words[COMMAND_ARGS_MAX + 1];
	size_t n_words;
	struct options *o;
};

static const char *
safe(const char *s, char out[static SHOWN])
{
	return text_escape(bytes_str(s), out, SHOWN);
}

static enum err
add_value(struct options *o, const char *name, const char *value, struct error *e)
{
	if (o->n_values == CONTROL_ARGS_MAX)
		return fail(e, ERR_USAGE, "more than %d options", CONTROL_ARGS_MAX);
	o->values[o->n_values++] = (struct options_value){ name, value };
	return OK;
}

const char *
options_get(const struct options *o, const char *name)
{
	for (size_t i = 0; i < o->n_values; i++)
		if (strcmp(o->values[i].name, name) == 0)
			return o->values[i].value;
	return NULL;
}

/* What every command has; false if O is not of that kind. */
static bool
take_common(struct options *o, const struct command_option *option, const char *value)
{
	if (!command_is_common(option))
		return false;
	if (strcmp(option->name, "home") == 0)
		o->home = value;
	o->json |= strcmp(option->name, "json") == 0;
	o->quiet |= strcmp(option->name, "quiet") == 0;
	o->verbose |= strcmp(option->name, "verbose") == 0;
	o->help |= strcmp(option->name, "help") == 0;
	return true;
}

static enum err
unknown_option(struct parser *p, const char *name, struct error *e)
{
	char shown[SHOWN];
	const char *near = command_nearest_option(p->o->command, name);

	if (near != NULL)
		return fail(e, ERR_USAGE, "unknown option --%s; did you mean --%s?",
		    safe(name, shown), near);
	return fail(e, ERR_USAGE, "unknown option --%s", safe(name, shown));
}

static enum err
take_option(
    struct parser *p, const struct command_option *option, const char *value, struct error *e)
{
	if (option->value == NULL && value != NULL)
		return fail(e, ERR_USAGE, "--%s takes no value", option->name);
	if (option->value != NULL && value == NULL) {
		if (p->at == p->argc)
			return fail(
			    e, ERR_USAGE, "--%s needs a value: %s", option->name, option->value);
		value = p->argv[p->at++];
	}
	if (option->value != NULL) {
		enum err r = value_check(option->value, value, e);
		if (r != OK)
			return error_wrap(e, r, "--%s", option->name);
	}
	if (take_common(p->o, option, value))
		return OK;
	if (option->how != COMMAND_MANY && options_get(p->o, option->name) != NULL)
		return fail(e, ERR_USAGE, "--%s is given twice", option->name);
	return add_value(p->o, option->name, value != NULL ? value : "1", e);
}

/* "--name", "--name=value"; without a verb yet only what every command has. */
static enum err
take_long(struct parser *p, const char *word, struct error *e)
{
	char name[32];
	size_t n = strcspn(word, "=");

	if (n >= sizeof name)
		return unknown_option(p, word, e);
	memcpy(name, word, n);
	name[n] = '\0';
	const struct command_option *option = command_option_find(p->o->command, name);
	if (option == NULL)
		return unknown_option(p, name, e);
	return take_option(p, option, word[n] == '=' ? word + n + 1 : NULL, e);
}

static enum err
take_short(struct parser *p, const char *letters, struct error *e)
{
	char shown[SHOWN];

	for (const char *at = letters; *at != '\0'; at++) {
		const struct command_option *o = NULL;
		while ((o = command_option_next(p->o->command, o)) != NULL && o->letter != *at) {
		}
		if (o == NULL)
			return fail(e, ERR_USAGE, "unknown option -%s",
			    text_escape(BYTES(at, 1), shown, sizeof shown));
		(void)take_common(p->o, o, NULL);
	}
	return OK;
}

static enum err
take_word(struct parser *p, const char *word, struct error *e)
{
	char shown[SHOWN];

	if (p->n_words == COMMAND_ARGS_MAX)
		return fail(e, ERR_USAGE, "too many arguments: '%s'", safe(word, shown));
	p->words[p->n_words++] = word;
	return OK;
}

/* One word of the command line, whatever it is. */
static enum err
take(struct parser *p, struct error *e)
{
	const char *word = p->argv[p->at++];

	if (p->plain || word[0] != '-' || word[1] == '\0')
		return take_word(p, word, e);
	if (word[1] != '-')
		return take_short(p, word + 1, e);
	if (word[2] != '\0')
		return take_long(p, word + 2, e);
	p->plain = true;
	return OK;
}

/*
 * The verb is the first word that is no option.  What stands before it belongs to no command yet:
 * `status` stands in, so only its options, which every command has, are known there.
 */
static enum err
find_verb(struct parser *p, struct error *e)
{
	char shown[SHOWN];

	p->o->command = command_find("status");
	while (p->at < p->argc && p->argv[p->at][0] == '-') {
		if (strcmp(p->argv[p->at], "--version") == 0) {
			p->o->command = command_find("version");
			p->at++;
			return OK;
		}
		enum err r = take(p, e);
		if (r != OK)
			return r;
	}
	if (p->at == p->argc) {
		if (p->o->help)
			p->o->command = command_find("help");
		p->o->help = false;
		return OK;
	}
	const char *verb = p->argv[p->at++];
	p->o->command = command_find(verb);
	if (p->o->command != NULL)
		return OK;
	const char *near = command_nearest_verb(verb);
	if (near != NULL)
		return fail(e, ERR_USAGE, "unknown command '%s'; did you mean %s?",
		    safe(verb, shown), near);
	return fail(
	    e, ERR_USAGE, "unknown command '%s'; `weft help` lists them", safe(verb, shown));
}

/* "photos@3" to both of its names. */
static enum err
take_split(struct options *o, const struct command_arg *a, const char *word, struct error *e)
{
	const char *at = strchr(word, '@');

	if (at == NULL) {
		enum err r = value_check("SHARE", word, e);
		return r != OK ? r : add_value(o, a->name, word, e);
	}
	if (at[1] == '\0')
		return fail(e, ERR_USAGE, "nothing behind the '@' in %s", a->shown);
	o->split = str_printf("%.*s", (int)(at - word), word);
	enum err r = value_check("SHARE", o->split, e);
	if (r == OK)
		r = add_value(o, a->name, o->split, e);
	return r != OK ? r : add_value(o, a->second, at + 1, e);
}

static enum err
take_argument(struct options *o, const struct command_arg *a, const char *word, struct error *e)
{
	char upper[sizeof a->name];
	size_t i = 0;

	if (a->second[0] != '\0')
		return take_split(o, a, word, e);
	for (; a->name[i] != '\0'; i++)
		upper[i] = a->name[i] >= 'a' && a->name[i] <= 'z' ? (char)(a->name[i] & ~0x20)
								  : a->name[i];
	upper[i] = '\0';
	enum err r = value_check(a->choices[0] != '\0' ? a->choices : upper, word, e);
	return r != OK ? r : add_value(o, a->name, word, e);
}

/* Gives the words their names. */
static enum err
match_words(struct parser *p, struct error *e)
{
	struct options *o = p->o;
	char shown[SHOWN];
	size_t used = 0;

	o->n_args = command_args(o->command, o->args);
	for (size_t i = 0; i < o->n_args; i++) {
		const struct command_arg *a = &o->args[i];
		if (a->unless[0] != '\0' && options_get(o, a->unless) != NULL)
			continue;
		if (used == p->n_words) {
			if (a->optional)
				continue;
			return fail(e, ERR_USAGE, "%s is missing", a->shown);
		}
		enum err r = take_argument(o, a, p->words[used++], e);
		if (r != OK)
			return r;
	}
	if (used < p->n_words)
		return fail(e, ERR_USAGE, "too many arguments: '%s'", safe(p->words[used], shown));
	return OK;
}

static enum err
check_needed(const struct options *o, struct error *e)
{
	const struct command_option *option = NULL;

	while ((option = command_option_next(o->command, option)) != NULL)
		if (option->how == COMMAND_NEEDED && options_get(o, option->name) == NULL)
			return fail(
			    e, ERR_USAGE, "--%s %s is missing", option->name, option->value);
	return OK;
}

static enum err
parse_rest(struct parser *p, struct error *e)
{
	enum err r = OK;

	while (r == OK && p->at < p->argc)
		r = take(p, e);
	if (r != OK || p->o->help)
		return r;
	r = match_words(p, e);
	return r != OK ? r : check_needed(p->o, e);
}

enum err
options_parse(int argc, char *const *argv, struct options *ret, struct error *e)
{
	struct parser p = { .argc = argc, .argv = argv, .at = 1, .o = ret };

	*ret = (struct options){ 0 };
	enum err r = find_verb(&p, e);
	if (r == OK) {
		r = parse_rest(&p, e);
		if (r != OK)
			(void)error_wrap(e, r, "%s", ret->command->verb);
	}
	if (r != OK)
		options_clear(ret);
	return r;
}

void
options_clear(struct options *o)
{
	free(o->split);
	*o = (struct options){ 0 };
}

/* The daemon has another working directory, and one place is to have one name: `dir`, `./dir` and
 * `dir/` are the same.  What `..` leads to only the disk knows. */
static enum err
add_absolute(const char *path, struct buf *store, struct error *e)
{
	size_t from = store->len;

	if (path[0] != '/') {
		auto_free char *cwd = getcwd(NULL, 0);
		if (cwd == NULL)
			return fail_sys(e, errno, "find the working directory");
		buf_add_bytes(store, bytes_str(strcmp(cwd, "/") == 0 ? "" : cwd));
	}
	for (size_t n; *path != '\0'; path += n) {
		n = strcspn(path, "/");
		if (n > 1 || (n == 1 && path[0] != '.')) {
			buf_u8(store, '/');
			buf_add(store, path, n);
		}
		n += path[n] == '/';
	}
	if (store->len == from)
		buf_u8(store, '/');
	return OK;
}

/* publish PATH and get DEST are places on this machine; what --path and verify name lies within the
 * share. */
static bool
is_local_path(const struct options *o, const char *name)
{
	return strcmp(name, "dest") == 0 ||
	       (strcmp(name, "path") == 0 && strcmp(o->command->verb, "publish") == 0);
}

enum err
options_request(
    const struct options *o, struct buf *store, struct control_request *ret, struct error *e)
{
	size_t from[CONTROL_ARGS_MAX];

	*ret = (struct control_request){ 0 };
	assert(strlen(o->command->verb) < sizeof ret->verb);
	memcpy(ret->verb, o->command->verb, strlen(o->command->verb));
	for (size_t i = 0; i < o->n_values; i++) {
		from[i] = store->len;
		enum err r = OK;
		if (is_local_path(o, o->values[i].name))
			r = add_absolute(o->values[i].value, store, e);
		else
			buf_add_bytes(store, bytes_str(o->values[i].value));
		if (r != OK)
			return r;
		buf_u8(store, 0);
	}
	if (store->full)
		return fail(e, ERR_USAGE, "the arguments are too long");
	for (size_t i = 0; i < o->n_values; i++) {
		enum err r = control_request_add(
		    ret, o->values[i].name, (const char *)store->at + from[i], e);
		if (r != OK)
			return r;
	}
	return OK;
}
