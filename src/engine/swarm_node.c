/*
 * Whatever happens is told to swarm at once; what it answers is asked for once, by a task at the
 * end of the turn.  Only a connection that takes bytes again is answered in the middle of a turn:
 * it may be full again at its end.
 */
#include "engine/swarm_node.h"

#include "base/log.h"
#include "base/mem.h"
#include "engine/swarm_node_private.h"

static void on_pump(void *ctx);
static void on_wake(void *ctx);
static void free_posted(void *arg);

uint64_t
swarm_node_now_ms(const struct swarm_node *n)
{
	return n->o.now_ms != NULL ? n->o.now_ms(n->o.ctx) : loop_now_ms(n->o.loop);
}

static uint64_t
now_us(const struct swarm_node *n)
{
	return swarm_node_now_ms(n) * 1000;
}

/* -- talking -- */

static void
send(void *ctx, uint64_t peer, const struct message *m)
{
	struct swarm_node *n = ctx;
	struct node_peer *np = swarm_node_find_id(n, peer);
	struct message mine = *m;
	struct error e;

	if (np == NULL)
		return;
	if (m->type == FRAME_NEWS)
		mine.news.from_afar = n->far_in;
	if (session_send(peer_session(np->peer), &mine, &e) != OK)
		log_debug("swarm: %s", e.text); /* it is ending */
	peer_flush(np->peer);
}

static void
set_wake(struct swarm_node *n)
{
	uint64_t now = now_us(n), at = swarm_wakes(n->swarm, now);

	if (at == UINT64_MAX)
		timer_stop(n->wake);
	else
		timer_start(n->wake, at > now ? (at - now + 999) / 1000 : 0);
}

static void
on_pump(void *ctx)
{
	struct swarm_node *n = ctx;

	swarm_tick(n->swarm, now_us(n));
	swarm_node_taker_before(n);
	swarm_talk_pump(n->talk, now_us(n));
	set_wake(n);
	swarm_node_taker_after(n);
}

static void
on_wake(void *ctx)
{
	swarm_node_pump(ctx);
}

void
swarm_node_pump(struct swarm_node *n)
{
	if (!n->closing)
		task_start(&n->pump);
}

/* -- life -- */

struct swarm_node *
swarm_node_new(const struct swarm_node_opts *o)
{
	struct swarm_node *n = mem_new(struct swarm_node);
	const struct swarm_opts so = { .n_units = (uint32_t)snapshot_map_units(o->map),
		.unit_size = snapshot_map_unit_size(o->map),
		.origin = o->origin,
		.last_resort = o->last_resort,
		.seed = o->seed };

	n->o = *o;
	n->swarm = swarm_new(&so);
	swarm_pause(n->swarm, true); /* until there is a taker */
	const struct swarm_talk_opts to = { .swarm = n->swarm,
		.job = o->job,
		.send = send,
		.take = swarm_node_taker_take,
		.drop = swarm_node_taker_drop,
		.ctx = n };
	n->talk = swarm_talk_new(&to);
	n->wake = timer_new(o->loop, on_wake, n);
	task_init(&n->pump, o->loop, on_pump, n);
	return n;
}

void
swarm_node_free_closed(struct swarm_node *n)
{
	if (!n->closing || n->posted || n->takers > 0)
		return;
	swarm_talk_free(n->talk);
	swarm_free(n->swarm);
	swarm_node_peers_free(n);
	if (n->on_closed != NULL)
		n->on_closed(n->on_closed_ctx);
	free(n);
}

static void
free_posted(void *arg)
{
	struct swarm_node *n = arg;

	n->posted = false;
	swarm_node_free_closed(n);
}

void
swarm_node_close(struct swarm_node *n, void (*on_closed)(void *ctx), void *ctx)
{
	if (n == NULL || n->closing)
		return;
	swarm_node_taker_stop(n, NULL, NULL);
	n->closing = n->posted = true;
	n->on_closed = on_closed;
	n->on_closed_ctx = ctx;
	task_cancel(&n->pump);
	timer_close(n->wake);
	loop_post(n->o.loop, free_posted, n);
}

/* -- this node -- */

void
swarm_node_hold_all(struct swarm_node *n)
{
	for (uint32_t u = 0; u < swarm_units(n->swarm); u++)
		swarm_hold(n->swarm, u);
	swarm_node_pump(n);
}

bool
swarm_node_take(struct swarm_node *n, const struct swarm_node_taker *t)
{
	if (n->closing || !swarm_node_taker_start(n, t))
		return false;
	array_each (np, &n->peers)
		swarm_node_taker_peer_add(n, *np);
	swarm_node_pump(n);
	return true;
}

void
swarm_node_stop(struct swarm_node *n, bool forget, void (*on_stopped)(void *ctx), void *ctx)
{
	if (n->taker != NULL)
		swarm_node_taker_stop(n, on_stopped, ctx);
	else if (on_stopped != NULL)
		loop_post(n->o.loop, on_stopped, ctx);
	for (uint32_t u = 0; forget && u < swarm_units(n->swarm); u++)
		swarm_lose(n->swarm, u);
	swarm_node_pump(n);
}

bool
swarm_node_is_taking(const struct swarm_node *n)
{
	return n->taker != NULL;
}

void
swarm_node_lose(struct swarm_node *n, uint32_t unit)
{
	swarm_lose(n->swarm, unit);
	swarm_node_taker_lost(n, unit);
	swarm_node_pump(n);
}

void
swarm_node_regain(struct swarm_node *n, uint32_t unit)
{
	swarm_hold(n->swarm, unit);
	swarm_node_pump(n);
}

bool
swarm_node_holds(const struct swarm_node *n, uint32_t unit)
{
	return swarm_holds(n->swarm, unit);
}

bool
swarm_node_is_complete(const struct swarm_node *n)
{
	return swarm_is_complete(n->swarm);
}

bool
swarm_node_first_nowhere(const struct swarm_node *n, uint32_t *ret_unit)
{
	return swarm_first_nowhere(n->swarm, ret_unit);
}

uint32_t
swarm_node_job(const struct swarm_node *n)
{
	return n->o.job;
}

uint32_t
swarm_node_units(const struct swarm_node *n)
{
	return swarm_units(n->swarm);
}

uint32_t
swarm_node_unit_size(const struct swarm_node *n)
{
	return snapshot_map_unit_size(n->o.map);
}

/* -- what members say -- */

enum err
swarm_node_message(struct swarm_node *n, struct peer *p, const struct message *m, struct error *e)
{
	struct node_peer *np = swarm_node_find(n, p);
	enum err r = OK;

	if (np == NULL || np->banned || n->closing)
		return OK;
	if (m->type == FRAME_NEWS) /* one who comes back begins anew */
		np->from_afar = max_of(np->from_afar, m->news.from_afar);
	r = swarm_talk_message(n->talk, np->id, m, now_us(n), e);
	swarm_node_pump(n);
	return r;
}

/* -- what the responder tells -- */

bool
swarm_node_wanted(struct swarm_node *n, struct peer *p, uint32_t unit)
{
	struct node_peer *np = swarm_node_find(n, p);

	if (np == NULL || unit >= swarm_units(n->swarm) ||
	    !swarm_talk_wanted(n->talk, np->id, unit, now_us(n)))
		return false;
	swarm_node_pump(n);
	if (swarm_holds(n->swarm, unit))
		return true;
	swarm_withdrawn(n->swarm, np->id, unit, 0, now_us(n)); /* it was lost after the offer */
	return false;
}

void
swarm_node_answered(
    struct swarm_node *n, struct peer *p, uint32_t unit, const struct responder_sent *sent)
{
	struct node_peer *np = swarm_node_find(n, p);

	if (np == NULL || n->closing)
		return;
	speed_add(&n->out, sent->bytes, swarm_node_now_ms(n));
	speed_add(&np->out, sent->bytes, swarm_node_now_ms(n));
	n->wire_out += sent->wire;
	np->wire_out += sent->wire;
	n->far_out += swarm_node_is_far(n, np) ? sent->bytes : 0;
	if (sent->whole)
		swarm_sent(n->swarm, np->id, unit, sent->bytes, now_us(n));
	else
		swarm_withdrawn(n->swarm, np->id, unit, sent->bytes, now_us(n));
	swarm_node_pump(n);
}

void
swarm_node_blocked(struct swarm_node *n, struct peer *p, bool blocked)
{
	struct node_peer *np = swarm_node_find(n, p);

	if (np == NULL || n->closing)
		return;
	swarm_peer_blocked(n->swarm, np->id, blocked, now_us(n));
	if (!blocked)
		swarm_talk_pump(n->talk, now_us(n));
	swarm_node_pump(n);
}
