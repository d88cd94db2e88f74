/*
 * options: the command line taken apart, as control/commands.def says.
 *
 * Long options take their value after '=' or as the next word; -q, -v and -h may stand together;
 * "--" ends them. Options and arguments may stand in any order, also before the verb those that
 * every command has.
 */
#pragma once

#include "base/error.h"
#include "cmd/command.h"
#include "control/control_message.h"

struct options_value {
	const char *name;  /* of the argument or option: points into the table or into `args` */
	const char *value; /* points into argv or at `split`; "1" for a switch */
};
struct options {
	const struct command *command; /* never NULL after a successful parse */
	bool help, json, quiet, verbose;
	const char *home;                              /* NULL: not given */
	struct options_value values[CONTROL_ARGS_MAX]; /* arguments and the command's options */
	size_t n_values;
	struct command_arg args[COMMAND_ARGS_MAX]; /* of the command: what the names point at */
	size_t n_args;
	char *split; /* the part before the '@' of SHARE@SNAPSHOT */
};

/*
 * ERR_USAGE: one line, which begins with the verb where that is known ("publish: ...") and names
 * what was probably meant. Without a verb the command is status; --version is the command version;
 * --help without a verb, help. With --help what is missing is not missed. *RET borrows from ARGV
 * and from itself: a copy lives no longer than it.  It is empty after a failure.
 */
enum err options_parse(
    int argc, char *const *argv, struct options *ret, struct error *e) must_check;
void options_clear(struct options *o);
/* The first value of that name, or NULL. */
const char *options_get(const struct options *o, const char *name);
/* All values as arguments of a request; those named PATH and DEST made absolute. STORE holds the
 * texts. */
enum err options_request(const struct options *o, struct buf *store, struct control_request *ret,
    struct error *e) must_check;
