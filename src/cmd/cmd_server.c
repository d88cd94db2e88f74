/* weft server.  The first start says where the recovery key lies and hands out an invite: a new
 * user's next two steps. */
#include "base/log.h"
#include "base/mem.h"
#include "cmd/cmd.h"
#include "cmd/daemon.h"
#include "platform/fs.h"
#include "server/server.h"

#define INVITE_FILE "invite.txt"

/* Nobody watches: into a file that only its owner reads, as whoever has the text may join. */
static void
keep_invite(const char *home, const char *text)
{
	auto_free char *line = str_printf("%s\n", text);
	struct error e = { 0 };
	int dir_ = -1;
	enum err r = fs_open_root(home, &dir_, &e);
	auto_fd int dir = dir_;

	if (r == OK)
		r = fs_write_file(dir, REL(INVITE_FILE), bytes_str(line), 0600, &e);
	mem_wipe(line, strlen(line));
	if (r == OK)
		log_info("an invite for a first machine is in %s/%s: `weft join` takes it", home,
		    INVITE_FILE);
	else
		log_error("keep the first invite: %s; `weft invite` makes another", e.text);
}

static void
on_invite(void *ctx, enum err r, const struct error *e, const char *text)
{
	auto_free char *home = ctx;

	if (r != OK) {
		log_error("make the first invite: %s; `weft invite` makes another", e->text);
	} else if (isatty(STDOUT_FILENO)) {
		printf("\nOn a machine that is to join (once, within 24 hours):\n\n    weft join "
		       "%s\n\n",
		    text);
		fflush(stdout);
	} else {
		keep_invite(home, text);
	}
}

static void
on_server(struct server *s, const char *home, bool first)
{
	if (!first)
		return;
	log_info("the recovery key is %s: keep it elsewhere, offline; without it a lost server key "
		 "cannot be replaced",
	    server_recovery_path(s));
	server_invite(s, on_invite, str_dup(home));
}

int
cmd_server(const struct options *o, const char *home)
{
	const struct daemon_opts d = {
		.o = o, .home = home, .who = COMMAND_FOR_SERVER, .on_server = on_server
	};

	return daemon_run(&d);
}
