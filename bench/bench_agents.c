/*
 * bench_agents: N devices that join a real server and stay connected, silent, until standard input
 * ends; bench/run.py looks at what the server's process has become meanwhile.  Each has a key of
 * its own and joins with INVITE, which must allow N uses; then it dials again, as a member does.
 * Prints one line when all are there; then, with `watch`, one for each revocation that comes to one
 * of them: the monotonic time in ns.  usage: bench_agents INVITE N [watch]
 */
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "bench/must.h"
#include "crypto/statement.h"
#include "peer/peer.h"
#include "platform/clock.h"
#include "proto/invite.h"

enum { AT_ONCE = 32 /* calls under way */, LOOK_MS = 100 };

struct crowd;

struct agent {
	struct peer *peer;
	struct crowd *crowd;
	struct device_key *key;
	struct tls_ctx *tls;
	bool member;
};

struct crowd {
	struct loop *loop;
	struct timer *timer;
	struct invite invite;
	const char *addresses[LIMIT_ADDRESSES];
	struct agent *agents;
	uint32_t n, opened, connected, closed;
	uint64_t began_ns;
	bool watch, ending;
};

static void call_more(struct crowd *c);
static void dial(struct agent *a);

/* -- one agent -- */

static void
ask_to_join(struct agent *a)
{
	struct message m = { .type = FRAME_JOIN };
	struct peer *p = a->peer;
	uint8_t exporter[32];
	char name[32];
	struct error e;

	snprintf(name, sizeof name, "idle%" PRIu32, (uint32_t)(a - a->crowd->agents));
	must(tls_export(conn_tls_mut(peer_conn(p)), "weft join", exporter, &e), &e);
	m.join.name = bytes_str(name);
	memcpy(m.join.invite, a->crowd->invite.id, sizeof m.join.invite);
	invite_proof(a->crowd->invite.secret, exporter, a->crowd->invite.id, device_key_id(a->key),
	    m.join.proof);
	must(session_request(peer_session(p), &m, a, NULL, &e), &e);
	peer_flush(p);
}

static void
on_statements(struct message_list list)
{
	struct statement st;
	struct bytes b;

	while (message_list_next(&list, &b)) {
		if (statement_decode(b, &st, NULL) != OK || st.kind != STATEMENT_REVOKE)
			continue;
		printf("%" PRIu64 "\n", clock_mono_ns());
		fflush(stdout);
	}
}

static void
on_event(void *owner, struct peer *p, struct session_event *ev)
{
	struct agent *a = owner;

	if (ev->kind == SESSION_EV_HELLO) {
		session_admit(peer_session(p));
		if (!a->member) {
			ask_to_join(a);
			return;
		}
		a->crowd->connected++;
		call_more(a->crowd);
	} else if (ev->kind == SESSION_EV_ANSWER && ev->message.type == FRAME_JOINED) {
		a->member = true;
		peer_close(p, NULL);
	} else if (ev->kind == SESSION_EV_PUSH && a->crowd->watch &&
		   ev->message.type == FRAME_STATEMENTS) {
		on_statements(ev->message.statements.statements);
	} else if (ev->kind == SESSION_EV_ANSWER) {
		fprintf(stderr, "the server refused a device: %.*s\n",
		    (int)ev->message.error.text.len, (const char *)ev->message.error.text.at);
		exit(1);
	}
}

static void
on_closed(void *owner, struct peer *p, const struct error *why)
{
	struct agent *a = owner;
	struct crowd *c = a->crowd;
	(void)p;

	if (!c->ending) {
		if (why != NULL)
			must(why->code, why);
		dial(a); /* it has joined: once more, as a member */
		return;
	}
	if (++c->closed == c->n)
		loop_stop(c->loop);
}

static const struct peer_events events = { .on_event = on_event, .on_closed = on_closed };

static void
dial(struct agent *a)
{
	const struct message m = { .type = FRAME_HELLO,
		.hello = { .version_min = LIMIT_VERSION_MIN,
		    .version_max = LIMIT_VERSION_MAX,
		    .software = BYTES_LIT("weft bench"),
		    .wall_ms = (uint64_t)(clock_wall_ns() / 1000000) } };
	auto_buf struct buf hello = BUF(LIMIT_FRAME_GUEST);
	struct crowd *c = a->crowd;
	struct error e;

	must(message_encode(&m, &hello, &e), &e);
	a->peer = peer_new(c->loop,
	    conn_dial(c->loop, a->tls, &c->invite.server, c->addresses, c->invite.n_addresses, NULL,
		NULL),
	    true, buf_bytes(&hello), &events, a);
}

/* -- all of them -- */

static void
call_more(struct crowd *c)
{
	while (c->opened < c->n && c->opened < c->connected + AT_ONCE) {
		struct agent *a = &c->agents[c->opened++];
		struct error e;
		a->crowd = c;
		must(device_key_generate(&a->key, &e), &e);
		must(tls_ctx_new(a->key, &a->tls, &e), &e);
		dial(a);
	}
	if (c->connected < c->n)
		return;
	printf("%" PRIu32 " connected in %.1f s\n", c->n,
	    (double)(clock_mono_ns() - c->began_ns) / 1e9);
	fflush(stdout);
	timer_start(c->timer, LOOK_MS);
}

static void
look_for_end(void *ctx)
{
	struct crowd *c = ctx;
	struct pollfd in = { .fd = 0, .events = POLLIN };
	char byte;

	if (poll(&in, 1, 0) == 0 || read(0, &byte, 1) > 0) {
		timer_start(c->timer, LOOK_MS);
		return;
	}
	c->ending = true;
	timer_close(c->timer);
	for (uint32_t i = 0; i < c->n; i++)
		peer_close(c->agents[i].peer, NULL);
}

static void
raise_files(uint32_t n)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &files);
	}
	if (files.rlim_cur < n + 64u) {
		fprintf(stderr,
		    "%" PRIu32 " connections need more open files than ulimit -Hn allows\n", n);
		exit(1);
	}
}

int
main(int argc, char **argv)
{
	struct crowd c = { .n = argc >= 3 ? (uint32_t)strtoul(argv[2], NULL, 10) : 0,
		.watch = argc == 4 && strcmp(argv[3], "watch") == 0 };
	struct error e;

	if (c.n == 0) {
		fprintf(stderr, "usage: bench_agents INVITE N [watch]\n");
		return 2;
	}
	raise_files(c.n);
	must(invite_parse(argv[1], &c.invite, &e), &e);
	for (uint8_t i = 0; i < c.invite.n_addresses; i++)
		c.addresses[i] = c.invite.addresses[i];
	must(loop_new(0, &c.loop, &e), &e);
	c.timer = timer_new(c.loop, look_for_end, &c);
	c.agents = mem_array(struct agent, c.n);
	memset(c.agents, 0, c.n * sizeof *c.agents);
	c.began_ns = clock_mono_ns();
	call_more(&c);
	loop_run(c.loop);
	loop_free(c.loop);
	for (uint32_t i = 0; i < c.n; i++) {
		tls_ctx_free(c.agents[i].tls);
		device_key_free(c.agents[i].key);
	}
	free(c.agents);
	return 0;
}
