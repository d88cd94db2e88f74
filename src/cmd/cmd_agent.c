#include "cmd/cmd.h"
#include "cmd/daemon.h"

int
cmd_agent(const struct options *o, const char *home)
{
	const struct daemon_opts d = { .o = o, .home = home, .who = COMMAND_FOR_AGENT };

	return daemon_run(&d);
}
