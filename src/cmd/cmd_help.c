#include <stdio.h>

#include "base/text.h"
#include "cmd/cmd.h"
#include "cmd/help.h"

int
cmd_help(const struct options *o, const char *home)
{
	const char *verb = options_get(o, "command");
	auto_buf struct buf out = BUF(HELP_MAX);
	char shown[80];

	(void)home;
	if (verb == NULL) {
		help_all(&out);
	} else {
		const struct command *c = command_find(verb);
		const char *near = command_nearest_verb(verb);
		if (c == NULL) {
			fprintf(stderr, "weft: help: unknown command '%s'%s%s%s\n",
			    text_escape(bytes_str(verb), shown, sizeof shown),
			    near != NULL ? "; did you mean " : "", near != NULL ? near : "",
			    near != NULL ? "?" : "; `weft help` lists them");
			return EXIT_USAGE;
		}
		help_command(c, &out);
	}
	fputs(buf_text(&out), stdout);
	return EXIT_DONE;
}
