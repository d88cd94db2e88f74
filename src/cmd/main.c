/*
 * weft: one program.  Takes the command line apart, runs what is to be done here, and asks the
 * daemon for the rest.
 */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "cmd/call.h"
#include "cmd/cmd.h"
#include "cmd/help.h"
#include "platform/userdirs.h"

struct local {
	const char *verb;
	int (*run)(const struct options *o, const char *home);
	bool needs_home;
};

/* How a LOCAL command is run; NULL for the daemon's. */
static const struct local *
find_local(const struct command *c)
{
	static const struct local commands[] = {
		{ "agent", cmd_agent, true },
		{ "server", cmd_server, true },
		{ "join", cmd_join, true },
		{ "doctor", cmd_doctor, true },
		{ "version", cmd_version, false },
		{ "help", cmd_help, false },
	};

	for (size_t i = 0; i < lengthof(commands); i++)
		if (strcmp(commands[i].verb, c->verb) == 0)
			return &commands[i];
	return NULL;
}

static int
print_help(const struct command *c)
{
	auto_buf struct buf out = BUF(HELP_MAX);

	help_command(c, &out);
	fputs(buf_text(&out), stdout);
	return EXIT_DONE;
}

static int
run(const struct options *o)
{
	const struct local *local = find_local(o->command);
	auto_free char *home = NULL;
	struct error e = { 0 };

	if (o->help)
		return print_help(o->command);
	if ((local == NULL || local->needs_home) && userdirs_home(o->home, &home, &e) != OK) {
		fprintf(stderr, "weft: %s\n", e.text);
		return EXIT_FAILED;
	}
	return local != NULL ? local->run(o, home) : call_daemon(o, home);
}

int
main(int argc, char **argv)
{
	struct options o;
	struct error e = { 0 };
	int status;

	if (options_parse(argc, argv, &o, &e) != OK) {
		fprintf(stderr, "weft: %s\n", e.text);
		return EXIT_USAGE;
	}
	status = run(&o);
	options_clear(&o);
	/* What could not be written was not said: a full disk behind `weft shares >list` is an
	 * error. */
	if ((fflush(stdout) != 0 || ferror(stdout)) && status == EXIT_DONE) {
		fprintf(stderr, "weft: cannot write to standard output\n");
		status = EXIT_FAILED;
	}
	return status;
}
