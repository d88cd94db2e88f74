/*
 * weft doctor: what can be checked from here, and what the daemon says about its server; without a
 * daemon the port and the server are tried from here.
 */
#include "base/text.h"
#include "cmd/cell.h"
#include "cmd/cmd.h"
#include "cmd/doctor.h"
#include "control/control_client.h"
#include "proto/limits.h"

/* This clock and the server's: grants would seem expired, or not yet issued. */
static void
check_clocks(struct doctor *d, struct bytes record)
{
	uint64_t off_ms = record_num(record, "clock_off");
	bool ahead = record_num(record, "clock_ahead") != 0;
	struct record_field f;
	char how[TEXT_DURATION];

	if (!record_find(record, "clock_off", &f))
		return;
	enum doctor_state state = DOCTOR_OK;
	if (off_ms > (uint64_t)LIMIT_CLOCK_REFUSE_S * 1000)
		state = DOCTOR_FAIL;
	else if (off_ms > (uint64_t)LIMIT_CLOCK_WARN_S * 1000)
		state = DOCTOR_WARN;
	text_duration(off_ms, how);
	if (state == DOCTOR_OK)
		doctor_say(d, "clock", state, NULL, "within %s of the server's", how);
	else
		doctor_say(d, "clock", state,
		    "let NTP keep both (timedatectl set-ntp true): the server refuses who is "
		    "half a day off",
		    "%s %s the server's", how, ahead ? "ahead of" : "behind");
}

/* What a daemon's status says about its server. */
static void
on_row(void *ctx, struct bytes record)
{
	struct doctor *d = ctx;
	char server[CELL_MAX], address[CELL_MAX], why[CELL_MAX];
	struct record_field f;

	if (record_find(record, "list", &f) || strcmp(cell_of(record, "role", why), "server") == 0)
		return;
	cell_of(record, "server", server);
	cell_of(record, "server_address", address);
	cell_of(record, "why", why);
	if (!record_find(record, "connected", &f))
		doctor_say(d, "server", DOCTOR_WARN, "`weft join INVITE`",
		    "this machine has joined no server");
	else if (f.num != 0)
		doctor_say(d, "server", DOCTOR_OK, NULL, "connected to %s at %s", server, address);
	else
		doctor_say(d, "server", DOCTOR_FAIL,
		    "is the server running, and does its firewall let the port through? Is this "
		    "machine's clock right?",
		    "not connected to %s%s%s", server, why[0] != '\0' ? ": " : "", why);
	check_clocks(d, record);
}

static void
ask_daemon(struct doctor *d)
{
	auto_free char *path = str_printf("%s/%s", d->home, CONTROL_SOCKET);
	const struct control_client_events events = { .on_row = on_row, .ctx = d };
	const struct control_request request = { .verb = "status" };
	struct error e = { 0 };
	int status = 0;
	enum err r = control_client_call(path, &request, &events, &status, &e);

	if (r == OK) {
		doctor_say(d, "daemon", DOCTOR_OK, NULL, "runs and answers");
	} else if (r == ERR_OFFLINE && status == EXIT_NO_DAEMON) {
		doctor_say(d, "daemon", DOCTOR_WARN,
		    "`weft agent`, or the service: systemctl start weft-agent",
		    "none is running for this home");
		if (d->home_is_good)
			doctor_network(d);
	} else {
		doctor_say(d, "daemon", DOCTOR_FAIL, "restart it, and see its log", "%s", e.text);
	}
}

int
cmd_doctor(const struct options *o, const char *home)
{
	struct render render;
	struct doctor d = { .home = home, .render = &render };

	render_init(&render, o->command->verb, stdout);
	render.json = o->json;
	render.quiet = o->quiet;
	render.color = render_may_color(stdout);
	doctor_home(&d);
	doctor_machine(&d);
	ask_daemon(&d);
	render_end(&render, true);
	render_clear(&render);
	config_clear(&d.config);
	return d.worst == DOCTOR_FAIL ? EXIT_FAILED : EXIT_DONE;
}
