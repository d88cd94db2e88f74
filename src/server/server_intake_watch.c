/*
 * What an intake watches for while it takes from the swarm.
 *
 * A unit that its author does not hold, although it is here and takes part, nor anybody else who is
 * connected: nobody has it any more.  Who offered it may have said so to somebody else; so the
 * author is asked for it, and what it answers is why the snapshot is withdrawn.  While the author
 * is away nothing is lost: it may come back.
 *
 * An author that is here and takes no part: it will offer nothing, and sends all when it is asked.
 */
#include "base/log.h"
#include "base/mem.h"
#include "server/server_intake.h"

enum { LOOK_MS = 1000, LOST_MS = 10 * 1000, ABSENT_MS = 2000 };

struct lost_ask {
	struct requester requester; /* first */
	struct intake *intake;      /* NULL: it has ended */
};

static void on_look(void *ctx);
static void on_answer(struct requester *r, struct peer *p, struct session_event *ev);

void
server_intake_watch(struct intake *k)
{
	k->nowhere_ms = k->absent_ms = 0;
	k->watch = timer_new(k->server->loop, on_look, k);
	timer_start(k->watch, LOOK_MS);
}

void
server_intake_watch_end(struct intake *k)
{
	timer_close(k->watch);
	k->watch = NULL;
	if (k->ask != NULL)
		k->ask->intake = NULL;
	k->ask = NULL;
}

static void
ask(struct intake *k, struct link *author, uint32_t unit)
{
	struct lost_ask *a = mem_new(struct lost_ask);
	const struct registry_snapshot *sn = server_intake_snapshot(k);
	struct message m = { .type = FRAME_GET_UNITS,
		.get_units = { .share = k->commit.share,
		    .snapshot = k->snapshot,
		    .unit_size = sn->unit_size,
		    .unit = unit } };

	*a = (struct lost_ask){ { on_answer }, k };
	if (session_request(peer_session(author->peer), &m, &a->requester, NULL, NULL) != OK) {
		free(a);
		return;
	}
	k->ask = a;
	peer_flush(author->peer);
}

/* Has it been so for LONG_MS?  *SINCE is 0 while it is not. */
static bool
lasts(const struct intake *k, bool is, uint64_t *since, uint64_t long_ms)
{
	uint64_t now = loop_now_ms(k->server->loop);

	if (!is)
		*since = 0;
	else if (*since == 0)
		*since = now;
	return is && now - *since >= long_ms;
}

static void
on_look(void *ctx)
{
	struct intake *k = ctx;
	struct link *author =
	    server_swarm_link(k->server, &k->author, &k->commit.share, &k->snapshot);
	uint32_t unit;

	timer_start(k->watch, LOOK_MS);
	bool is_absent = author == NULL && server_peer_of(k->server, &k->author) != NULL;
	bool is_nowhere = author != NULL && server_node_nowhere(author, &k->snapshot, &unit);
	if (lasts(k, is_absent, &k->absent_ms, ABSENT_MS)) {
		k->alone = true;
		server_intake_again(k);
	} else if (lasts(k, is_nowhere, &k->nowhere_ms, LOST_MS) && k->ask == NULL &&
		   server_intake_snapshot(k) != NULL) {
		ask(k, author, unit);
	}
}

/* It has it after all, or is busy: the time begins anew. */
static void
on_answer(struct requester *r, struct peer *p, struct session_event *ev)
{
	struct lost_ask *a = (struct lost_ask *)r;
	struct intake *k = a->intake;
	(void)p;

	if (ev->kind == SESSION_EV_RAW)
		block_free(ev->block);
	if (!ev->end && ev->kind != SESSION_EV_LOST)
		return;
	bool is_refused = ev->kind == SESSION_EV_ANSWER && ev->message.type == FRAME_ERROR &&
			  ev->message.error.code != ERR_AGAIN;
	free(a);
	if (k == NULL)
		return;
	k->ask = NULL;
	k->nowhere_ms = 0;
	if (!is_refused)
		return;
	auto_free char *why = str_printf(
	    "%.*s", (int)ev->message.error.text.len, (const char *)ev->message.error.text.at);
	server_intake_withdraw(k->server, &k->snapshot, why);
}
