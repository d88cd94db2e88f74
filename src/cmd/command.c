#include "cmd/command.h"

#include <assert.h>
#include <string.h>

#include "base/mem.h"

#define LOCAL  COMMAND_LOCAL
#define DAEMON COMMAND_DAEMON
#define SERVER COMMAND_SERVER
#define ONCE   COMMAND_ONCE
#define NEEDED COMMAND_NEEDED
#define MANY   COMMAND_MANY

static const struct command commands[] = {
#define CMD(verb, arguments, where, summary) { #verb, arguments, summary, where },
#define OPT(verb, name, value, how, help)
#define KEY(name, value, how, who, help)
#include "control/commands.def"
#undef CMD
#undef OPT
};

static const struct command_option options[] = {
#define CMD(verb, arguments, where, summary)
#define OPT(verb, name, value, how, help) { #verb, name, 0, value, how, 0, help },
#include "control/commands.def"
#undef CMD
#undef OPT
#undef KEY
};

#undef SERVER
#define SERVER COMMAND_FOR_SERVER
#define AGENT  COMMAND_FOR_AGENT
#define BOTH   COMMAND_FOR_BOTH

static const struct command_option keys[] = {
#define CMD(verb, arguments, where, summary)
#define OPT(verb, name, value, how, help)
#define KEY(name, value, how, who, help) { NULL, name, 0, value, how, who, help },
#include "control/commands.def"
#undef CMD
#undef OPT
#undef KEY
};

static const struct command_option common[] = {
	{ NULL, "home", 0, "DIR", ONCE, 0, "the node's directory (see `weft help`)" },
	{ NULL, "json", 0, NULL, ONCE, 0, "print data as JSON" },
	{ NULL, "quiet", 'q', NULL, MANY, 0, "say less: only names in lists, no progress" },
	{ NULL, "verbose", 'v', NULL, MANY, 0, "say more" },
	{ NULL, "help", 'h', NULL, MANY, 0, "explain the command" },
};

const struct command *
command_next(const struct command *c)
{
	c = c == NULL ? commands : c + 1;
	return c < commands + lengthof(commands) ? c : NULL;
}

const struct command *
command_find(const char *verb)
{
	for (size_t i = 0; i < lengthof(commands); i++)
		if (strcmp(commands[i].verb, verb) == 0)
			return &commands[i];
	return NULL;
}

bool
command_is_key(const struct command_option *o)
{
	return o >= keys && o < keys + lengthof(keys);
}

bool
command_is_common(const struct command_option *o)
{
	return o >= common && o < common + lengthof(common);
}

static bool
applies(const struct command *c, const struct command_option *o)
{
	if (command_is_common(o))
		return true;
	if (command_is_key(o))
		return ((o->who & COMMAND_FOR_SERVER) != 0 && strcmp(c->verb, "server") == 0) ||
		       ((o->who & COMMAND_FOR_AGENT) != 0 && strcmp(c->verb, "agent") == 0);
	return strcmp(c->verb, o->verb) == 0;
}

/* The row after O of the three tables in a row: options, keys, common. */
static const struct command_option *
row_after(const struct command_option *o)
{
	if (o == NULL)
		return options;
	if (o == options + lengthof(options) - 1)
		return keys;
	if (o == keys + lengthof(keys) - 1)
		return common;
	return o == common + lengthof(common) - 1 ? NULL : o + 1;
}

const struct command_option *
command_option_next(const struct command *c, const struct command_option *o)
{
	do
		o = row_after(o);
	while (o != NULL && !applies(c, o));
	return o;
}

const struct command_option *
command_option_find(const struct command *c, const char *name)
{
	const struct command_option *o = NULL;

	while ((o = command_option_next(c, o)) != NULL)
		if (strcmp(o->name, name) == 0)
			return o;
	return NULL;
}

const struct command_option *
command_key_next(const struct command_option *o)
{
	o = o == NULL ? keys : o + 1;
	return o < keys + lengthof(keys) ? o : NULL;
}

const struct command_option *
command_key_find(const char *name)
{
	for (size_t i = 0; i < lengthof(keys); i++)
		if (strcmp(keys[i].name, name) == 0)
			return &keys[i];
	return NULL;
}

/* Copies N characters of FROM, in lower case. */
static void
copy_name(char *to, size_t room, const char *from, size_t n)
{
	assert(n < room);
	for (size_t i = 0; i < n; i++)
		to[i] = from[i] >= 'A' && from[i] <= 'Z' ? (char)(from[i] | 0x20) : from[i];
	to[n] = '\0';
}

/* What a choice is called in the request. */
static const char *
choice_name(const char *choices)
{
	if (strcmp(choices, "move|map|unmap") == 0)
		return "action";
	return strcmp(choices, "central|hybrid") == 0 ? "policy" : "rights";
}

/* The word W of N characters, as the comment of commands.def says. */
static void
read_word(struct command_arg *a, const char *w, size_t n)
{
	*a = (struct command_arg){ 0 };
	memcpy(a->shown, w, n);
	if (w[0] == '[') {
		a->optional = true;
		w++;
		n -= 2;
	}
	const char *at = memchr(w, '[', n), *bar = memchr(w, '|', n);
	if (bar != NULL && w[0] >= 'a') {
		copy_name(a->choices, sizeof a->choices, w, n);
		const char *name = choice_name(a->choices);
		copy_name(a->name, sizeof a->name, name, strlen(name));
		return;
	}
	if (bar != NULL && bar[1] == '-')
		copy_name(a->unless, sizeof a->unless, bar + 3, n - (size_t)(bar + 3 - w));
	if (at != NULL)
		copy_name(a->second, sizeof a->second, at + 2, n - (size_t)(at + 3 - w));
	if (at == NULL)
		at = bar != NULL ? bar : w + n;
	copy_name(a->name, sizeof a->name, w, (size_t)(at - w));
}

size_t
command_args(const struct command *c, struct command_arg ret[static COMMAND_ARGS_MAX])
{
	size_t n = 0;

	for (const char *at = c->arguments; *at != '\0';) {
		size_t len = strcspn(at, " ");
		assert(n < COMMAND_ARGS_MAX && len > 0 && len < sizeof ret->shown);
		read_word(&ret[n++], at, len);
		at += len;
		at += strspn(at, " ");
	}
	return n;
}

/* Edits (insert, delete, change, swap neighbours) from A to B; both are short. */
static unsigned
distance(const char *a, const char *b)
{
	enum { LONGEST = 24 };
	unsigned row[3][LONGEST + 1];
	size_t na = strlen(a), nb = strlen(b);

	if (na > LONGEST || nb > LONGEST)
		return LONGEST;
	for (size_t j = 0; j <= nb; j++)
		row[0][j] = (unsigned)j;
	for (size_t i = 1; i <= na; i++) {
		unsigned *now = row[i % 3], *last = row[(i - 1) % 3], *before = row[(i + 1) % 3];
		now[0] = (unsigned)i;
		for (size_t j = 1; j <= nb; j++) {
			unsigned d = last[j - 1] + (a[i - 1] != b[j - 1]);
			d = min_of(d, now[j - 1] + 1);
			d = min_of(d, last[j] + 1);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				d = min_of(d, before[j - 2] + 1);
			now[j] = d;
		}
	}
	return row[na % 3][nb];
}

struct nearest {
	const char *typed, *best;
	unsigned distance;
};

/* Near is a third of the letters wrong, or the beginning of the word. */
static void
consider(struct nearest *n, const char *name)
{
	size_t len = strlen(n->typed);
	unsigned d = distance(n->typed, name);

	if (len >= 2 && strncmp(n->typed, name, len) == 0)
		d = 1;
	if (d <= max_of(strlen(name), len) / 3 && d < n->distance) {
		n->distance = d;
		n->best = name;
	}
}

const char *
command_nearest_verb(const char *typed)
{
	struct nearest n = { .typed = typed, .distance = 4 };

	for (size_t i = 0; i < lengthof(commands); i++)
		consider(&n, commands[i].verb);
	return n.best;
}

const char *
command_nearest_option(const struct command *c, const char *typed)
{
	struct nearest n = { .typed = typed, .distance = 4 };
	const struct command_option *o = NULL;

	while ((o = command_option_next(c, o)) != NULL)
		consider(&n, o->name);
	return n.best;
}

const char *
command_nearest_key(const char *typed)
{
	struct nearest n = { .typed = typed, .distance = 4 };

	for (size_t i = 0; i < lengthof(keys); i++)
		consider(&n, keys[i].name);
	return n.best;
}
