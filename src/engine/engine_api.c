/*
 * Commands that ask and list.  What is here is answered at once; what the server knows is asked of
 * it, page by page.
 */
#include <stdio.h>

#include "base/mem.h"
#include "base/text.h"
#include "engine/engine_internal.h"
#include "engine/engine_swarm.h"
#include "platform/clock.h"

/* -- lists from the server -- */

enum { CONNECTING_MS = 5 * 1000, CONNECTING_LOOK_MS = 50 };

struct listing {
	struct engine_ask ask; /* first */
	struct timer *look;    /* the daemon has just started: is it connected now? */
	uint64_t until_ms;
	struct engine *en;
	struct control_call *call;
	uint8_t kind;
	char share[STATEMENT_NAME_MAX + 1];
};

static void ask_page(struct listing *l, struct bytes after);

static const char *
rights_text(uint32_t rights)
{
	return rights & RIGHT_ADMIN ? "admin" : rights & RIGHT_WRITE ? "write" : "read";
}

static void
share_row(struct bytes b, struct buf *out)
{
	struct row_share r;
	char id[HASH_ID_TEXT];

	if (row_share_decode(b, &r, NULL) != OK)
		return;
	record_bytes(out, "share", r.name);
	record_text(out, "rights", rights_text(r.rights));
	record_text(out, "policy", statement_policy_name(r.policy));
	if (r.number > 0) {
		record_int(out, "snapshot", r.number);
		record_int(out, "entries", r.entries);
		record_size(out, "bytes", r.bytes);
		record_time(out, "time", (int64_t)r.time_ms * 1000000);
	}
	record_text(out, "id", hash_id_format(&r.share, id));
}

static void
snapshot_row(struct bytes b, struct buf *out)
{
	static const char *const states[] = { [SNAPSHOT_ANNOUNCED] = "announced",
		[SNAPSHOT_HEAD] = "kept",
		[SNAPSHOT_WITHDRAWN] = "withdrawn" };
	struct row_snapshot r;
	char id[HASH_ID_TEXT];

	if (row_snapshot_decode(b, &r, NULL) != OK)
		return;
	if (r.number > 0)
		record_int(out, "snapshot", r.number);
	record_text(out, "state",
	    r.state < lengthof(states) && states[r.state] != NULL ? states[r.state] : "?");
	record_bytes(out, "label", r.label);
	record_int(out, "entries", r.entries);
	record_size(out, "bytes", r.bytes);
	record_time(out, "time", (int64_t)r.time_ms * 1000000);
	record_bytes(out, "author", r.author_name);
	record_text(out, "id", hash_id_format(&r.id, id));
}

static void
device_row(struct bytes b, struct buf *out)
{
	static const char *const words[] = {
		[SITE_SAID] = "own", [SITE_SUBNET] = "subnet", [SITE_ADMIN] = "admin"
	};
	struct row_device r;
	char id[DEVICE_ID_TEXT];

	if (row_device_decode(b, &r, NULL) != OK)
		return;
	record_bytes(out, "name", r.name);
	record_text(out, "device", device_id_format(&r.id, id));
	record_bytes(out, "site", r.site);
	record_bool(out, "online", r.online);
	record_bytes(out, "address", r.address);
	record_time(out, "seen", (int64_t)r.seen_ms * 1000000);
	record_bytes(out, "version", r.software);
	record_time(out, "joined", (int64_t)r.joined_ms * 1000000);
	if (r.reported > 0)
		record_int(out, "reported", r.reported);
	if (r.site_from < lengthof(words) && words[r.site_from] != NULL)
		record_text(out, "site_from", words[r.site_from]);
	if (r.alone)
		record_bool(out, "alone", true);
}

static void
on_page(struct engine_ask *a, const struct message *m, const struct error *e)
{
	struct listing *l = (struct listing *)a;
	struct error own;
	struct bytes row;

	if (m == NULL || m->type != FRAME_ROWS) {
		if (m != NULL) {
			(void)fail(&own, ERR_PROTO, "the server answered with something else");
			e = &own;
		}
		control_call_done(l->call, e, -1);
		free(l);
		return;
	}
	struct message_list rows = m->rows.rows;
	while (message_list_next(&rows, &row)) {
		auto_buf struct buf out = BUF(RECORD_MAX);
		if (l->kind == QUERY_SHARES)
			share_row(row, &out);
		else if (l->kind == QUERY_SNAPSHOTS)
			snapshot_row(row, &out);
		else
			device_row(row, &out);
		if (out.len > 0)
			control_call_row(l->call, buf_bytes(&out));
	}
	if (m->rows.next.len > 0) {
		ask_page(l, m->rows.next);
		return;
	}
	control_call_done(l->call, NULL, -1);
	free(l);
}

static void
ask_page(struct listing *l, struct bytes after)
{
	struct message m = { .type = FRAME_QUERY };
	struct error e;

	m.query =
	    (struct msg_query){ .kind = l->kind, .share = bytes_str(l->share), .after = after };
	if (engine_link_ask(l->en, &l->ask, &m, &e) == OK)
		return;
	control_call_done(l->call, &e, -1);
	free(l);
}

static bool
is_connecting(const struct engine *en)
{
	return en->joined && !en->closing && !en->link.ready && en->link.why[0] == 0;
}

/* A question right after the start waits for the first connection, or for why there is none. */
static void
ask_first(void *ctx)
{
	struct listing *l = ctx;
	struct engine *en = l->en;

	if (is_connecting(en) && loop_now_ms(en->loop) < l->until_ms) {
		timer_start(l->look, CONNECTING_LOOK_MS);
		return;
	}
	timer_close(l->look);
	en->pending--;
	ask_page(l, (struct bytes){ NULL, 0 });
	engine_part_closed(en);
}

static void
list(struct engine *en, struct control_call *call, uint8_t kind, const char *share)
{
	struct listing *l = mem_new(struct listing);

	*l = (struct listing){ .ask.on_answer = on_page, .en = en, .call = call, .kind = kind };
	snprintf(l->share, sizeof l->share, "%s", share != NULL ? share : "");
	l->until_ms = loop_now_ms(en->loop) + CONNECTING_MS;
	l->look = timer_new(en->loop, ask_first, l);
	en->pending++;
	ask_first(l);
}

/* -- jobs -- */

static const char *
state_text(const struct engine_job *j)
{
	if (j->want == WANT_PAUSE || j->row.state == JOB_PAUSED)
		return "paused";
	return j->waiting ? "waiting" : "running";
}

static void
job_row(struct engine_job *j, const char *list_name, struct buf *out)
{
	auto_buf struct buf progress = BUF(RECORD_MAX);
	static const char *const copied[] = { "done", "total", "rate", "eta", "sources",
		"bytes_moved", "bytes_wire" };
	auto_free char *share = NULL;
	auto_free char *path = NULL;
	struct record_field f;

	if (list_name != NULL)
		record_text(out, "list", list_name);
	record_int(out, "job", (uint64_t)j->row.id);
	record_text(out, "kind", j->kind->name);
	engine_job_spec_names(&j->row, &share, &path);
	record_text(out, "share", share);
	record_bytes(out, "path", bytes_str(path));
	record_text(out, "state", state_text(j));
	j->kind->progress(j, &progress);
	for (size_t i = 0; i < lengthof(copied); i++) {
		if (!record_find(buf_bytes(&progress), copied[i], &f))
			continue;
		if (f.type == RECORD_SIZE)
			record_size(out, copied[i], f.num);
		else if (f.type == RECORD_RATE)
			record_rate(out, copied[i], f.num);
		else if (f.type == RECORD_DURATION)
			record_duration(out, copied[i], f.num);
		else
			record_int(out, copied[i], f.num);
	}
	if (j->row.text[0] != 0)
		record_text(out, "text", j->row.text);
}

static void
send_jobs(struct engine *en, struct control_call *call, const char *list_name)
{
	array_each (j, &en->jobs) {
		auto_buf struct buf out = BUF(RECORD_MAX);
		if ((*j)->over)
			continue;
		job_row(*j, list_name, &out);
		control_call_row(call, buf_bytes(&out));
	}
}

static void
send_ended(struct engine *en, struct control_call *call)
{
	array_each (row, &en->ended) {
		auto_buf struct buf out = BUF(RECORD_MAX);
		auto_free char *share = NULL;
		auto_free char *path = NULL;
		engine_job_spec_names(row, &share, &path);
		record_int(&out, "job", (uint64_t)row->id);
		record_text(&out, "kind", row->kind == ROOT_PUBLISH ? "publish" : "get");
		record_text(&out, "share", share);
		record_bytes(&out, "path", bytes_str(path));
		record_text(&out, "state", row->state == JOB_DONE ? "done" : "failed");
		record_size(&out, "total", row->bytes_total);
		record_time(&out, "time", row->updated_ns);
		if (row->text[0] != 0)
			record_text(&out, "text", row->text);
		control_call_row(call, buf_bytes(&out));
	}
}

/* -- status -- */

static void
clock_fields(const struct engine *en, struct buf *out)
{
	int64_t off = en->link.clock_off_ms;

	if (!en->link.clock_known)
		return;
	record_duration(out, "clock_off", (uint64_t)(off < 0 ? -off : off));
	record_bool(out, "clock_ahead", off > 0);
}

static void
send_status(struct engine *en, struct control_call *call)
{
	auto_buf struct buf out = BUF(RECORD_MAX);
	char id[DEVICE_ID_TEXT];
	uint64_t free_bytes, total;

	record_text(&out, "role", en->o.is_server ? "server" : "agent");
	record_text(&out, "name", en->name);
	record_text(&out, "device", device_id_format(device_key_id(en->home->key), id));
	engine_swarm_site_status(en, &out);
	record_text(&out, "home", en->home->path);
	record_text(&out, "version", WEFT_VERSION);
	if (engine_port(en) != 0) {
		char port[8];
		snprintf(port, sizeof port, "%u", engine_port(en));
		record_text(&out, "listen", port);
	}
	if (en->joined && !en->o.is_server) {
		record_text(&out, "server", en->server_name);
		record_text(&out, "server_device", device_id_format(&en->server, id));
		if (en->link.ready)
			record_text(&out, "server_address", en->link.address);
		record_bool(&out, "connected", en->link.ready);
		if (en->link.ready)
			record_time(&out, "since", (int64_t)en->link.since_ms * 1000000);
		else
			record_text(&out, "why", en->link.why);
		clock_fields(en, &out);
	}
	if (en->o.describe != NULL)
		en->o.describe(en->o.describe_ctx, &out);
	if (fs_space(en->home->dir, &free_bytes, &total, NULL) == OK)
		record_size(&out, "free_bytes", free_bytes);
	control_call_row(call, buf_bytes(&out));
	send_jobs(en, call, "jobs");
	control_call_done(call, NULL, -1);
}

/* -- the table -- */

static const char *const verbs[] = { "leave", "publish", "get", "pause", "resume", "cancel",
	"shares", "snapshots", "devices", "jobs", "status", "verify", "peers", "why", "limit" };

bool
engine_has_verb(const char *verb)
{
	for (size_t i = 0; i < lengthof(verbs); i++) {
		if (strcmp(verbs[i], verb) == 0)
			return true;
	}
	return false;
}

void
engine_call(struct engine *en, struct control_call *call, const struct control_request *r)
{
	const char *verb = r->verb;
	struct error e;

	if (strcmp(verb, "publish") == 0) {
		engine_publish(en, call, r);
	} else if (strcmp(verb, "get") == 0) {
		engine_get(en, call, r);
	} else if (strcmp(verb, "pause") == 0 || strcmp(verb, "resume") == 0 ||
		   strcmp(verb, "cancel") == 0) {
		engine_job_control(en, call, r);
	} else if (strcmp(verb, "shares") == 0) {
		list(en, call, QUERY_SHARES, NULL);
	} else if (strcmp(verb, "snapshots") == 0) {
		list(en, call, QUERY_SNAPSHOTS, control_arg(r, "share"));
	} else if (strcmp(verb, "devices") == 0) {
		list(en, call, QUERY_DEVICES, NULL);
	} else if (strcmp(verb, "jobs") == 0) {
		send_ended(en, call);
		send_jobs(en, call, NULL);
		control_call_done(call, NULL, -1);
	} else if (strcmp(verb, "status") == 0) {
		send_status(en, call);
	} else if (strcmp(verb, "peers") == 0) {
		engine_peers(en, call);
	} else if (strcmp(verb, "why") == 0) {
		engine_why(en, call, r);
	} else if (strcmp(verb, "limit") == 0) {
		engine_limit(en, call, r);
	} else if (strcmp(verb, "verify") == 0) {
		engine_verify(en, call, r);
	} else if (strcmp(verb, "leave") == 0 && control_arg(r, "device") != NULL) {
		(void)fail(&e, ERR_USAGE,
		    "only the server ends another device's membership: `weft leave DEVICE` on its "
		    "machine and home");
		control_call_done(call, &e, -1);
	} else if (strcmp(verb, "leave") == 0) {
		engine_join_leave(en, call);
	} else {
		(void)fail(&e, ERR_USAGE, "the agent has no command '%s'", verb);
		control_call_done(call, &e, -1);
	}
}
