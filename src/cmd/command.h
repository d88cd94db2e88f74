/*
 * command: the table of control/commands.def as data: commands, their options, the keys of
 * weft.conf.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum command_where { COMMAND_LOCAL, COMMAND_DAEMON, COMMAND_SERVER };
enum command_how { COMMAND_ONCE, COMMAND_NEEDED, COMMAND_MANY };
enum command_who { COMMAND_FOR_SERVER = 1, COMMAND_FOR_AGENT = 2, COMMAND_FOR_BOTH = 3 };

struct command {
	const char *verb, *arguments, *summary;
	enum command_where where;
};
struct command_option {
	const char *verb;  /* NULL: of every command, or a key of weft.conf */
	const char *name;  /* without the dashes */
	char letter;       /* its short form, or 0 */
	const char *value; /* what its value is called, NULL for a switch */
	enum command_how how;
	enum command_who who; /* of a key */
	const char *help;
};

/* Walk the table in its order: NULL is before the first, and after the last. */
const struct command *command_next(const struct command *c);
const struct command *command_find(const char *verb); /* NULL if there is none */
/* The options of C, those that every command has last. */
const struct command_option *command_option_next(
    const struct command *c, const struct command_option *o);
const struct command_option *command_option_find(const struct command *c, const char *name);
/* The keys of weft.conf. */
const struct command_option *command_key_next(const struct command_option *o);
const struct command_option *command_key_find(const char *name);
bool command_is_key(const struct command_option *o);
bool command_is_common(const struct command_option *o); /* of every command */

/* One word of command.arguments. */
struct command_arg {
	char name[24];    /* in the request: "share" */
	char second[24];  /* of what follows '@', or "" */
	char shown[32];   /* as written: "SHARE[@SNAPSHOT]" */
	char unless[24];  /* the option that stands for it, or "" */
	char choices[32]; /* "read|write", or "" */
	bool optional;
};
enum { COMMAND_ARGS_MAX = 4 };
/* The words of C's arguments; how many there are. */
size_t command_args(const struct command *c, struct command_arg ret[static COMMAND_ARGS_MAX]);

/* The verb, option or key nearest to what was mistyped, NULL when none is near. */
const char *command_nearest_verb(const char *typed);
const char *command_nearest_option(const struct command *c, const char *typed);
const char *command_nearest_key(const char *typed);
