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
	struct error e;

	if (np == NULL)
		return;
	if (session_send(peer_session(np->peer), m, &e) != OK)
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
	array_clear(&n->peers);
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
		swarm_node_taker_peer_add(n, np);
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

/* -- those who take part -- */

struct node_peer *
swarm_node_find_id(struct swarm_node *n, uint64_t id)
{
	array_each (np, &n->peers) {
		if (np->peer != NULL && np->id == id)
			return np;
	}
	return NULL;
}

struct node_peer *
swarm_node_find_sender(struct swarm_node *n, uint64_t id)
{
	array_each (np, &n->peers) {
		if (np->id == id)
			return np;
	}
	return NULL;
}

static struct node_peer *
find(const struct swarm_node *n, const struct peer *p)
{
	array_each (np, &n->peers) {
		if (np->peer == p)
			return np;
	}
	return NULL;
}

/* The state of a device that has left, or a new one; NULL: it is not wanted. */
static struct node_peer *
state_for(struct swarm_node *n, const struct device_id *device)
{
	struct node_peer *mine = NULL;

	array_each (np, &n->peers) {
		if (!device_id_equal(&np->device, device))
			continue;
		if (np->banned)
			return NULL;
		if (np->peer == NULL)
			mine = np; /* back again: its statistics go on */
	}
	if (mine != NULL)
		return mine;
	array_push(&n->peers, ((struct node_peer){ .device = *device }));
	return &n->peers.at[n->peers.len - 1];
}

void
swarm_node_enter(struct swarm_node *n, struct peer *p, bool last_resort)
{
	struct node_peer *np;

	swarm_node_leave(n, p);
	np = state_for(n, peer_device(p));
	if (np == NULL || n->closing)
		return;
	np->id = ++n->next_id;
	np->peer = p;
	np->last_resort = last_resort;
	swarm_peer_add(n->swarm, np->id, last_resort, now_us(n));
	swarm_node_taker_peer_add(n, np);
	swarm_node_pump(n);
}

/* Of two who have left, is the memory of A worth less? */
static bool
is_lesser(const struct node_peer *a, const struct node_peer *b)
{
	if (a->banned != b->banned)
		return b->banned;
	return a->in.total + a->out.total < b->in.total + b->out.total;
}

/* Those who have left are remembered up to a number. */
static void
forget_some(struct swarm_node *n)
{
	struct node_peer *least = NULL;
	size_t gone = 0;

	array_each (np, &n->peers) {
		if (np->peer != NULL)
			continue;
		gone++;
		if (least == NULL || is_lesser(np, least))
			least = np;
	}
	if (gone > SWARM_NODE_GONE_MAX)
		array_swap_out(&n->peers, (size_t)(least - n->peers.at));
}

void
swarm_node_leave(struct swarm_node *n, struct peer *p)
{
	struct node_peer *np = find(n, p);

	if (np == NULL || n->closing)
		return;
	(void)swarm_peer_stats(n->swarm, np->id, &np->last);
	swarm_peer_gone(n->swarm, np->id, now_us(n));
	swarm_node_taker_peer_gone(n, np);
	np->peer = NULL;
	forget_some(n);
	swarm_node_pump(n);
}

bool
swarm_node_has(const struct swarm_node *n, const struct peer *p)
{
	return find(n, p) != NULL;
}

enum err
swarm_node_message(struct swarm_node *n, struct peer *p, const struct message *m, struct error *e)
{
	struct node_peer *np = find(n, p);
	enum err r = OK;

	if (np == NULL || np->banned || n->closing)
		return OK;
	r = swarm_talk_message(n->talk, np->id, m, now_us(n), e);
	swarm_node_pump(n);
	return r;
}

/* -- what the responder tells -- */

bool
swarm_node_wanted(struct swarm_node *n, struct peer *p, uint32_t unit)
{
	struct node_peer *np = find(n, p);

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
swarm_node_answered(struct swarm_node *n, struct peer *p, uint32_t unit, uint64_t bytes, bool whole)
{
	struct node_peer *np = find(n, p);

	if (np == NULL || n->closing)
		return;
	speed_add(&n->out, bytes, swarm_node_now_ms(n));
	speed_add(&np->out, bytes, swarm_node_now_ms(n));
	if (whole)
		swarm_sent(n->swarm, np->id, unit, bytes, now_us(n));
	else
		swarm_withdrawn(n->swarm, np->id, unit, bytes, now_us(n));
	swarm_node_pump(n);
}

void
swarm_node_blocked(struct swarm_node *n, struct peer *p, bool blocked)
{
	struct node_peer *np = find(n, p);

	if (np == NULL || n->closing)
		return;
	swarm_peer_blocked(n->swarm, np->id, blocked, now_us(n));
	if (!blocked)
		swarm_talk_pump(n->talk, now_us(n));
	swarm_node_pump(n);
}

/* -- for people -- */

static int
compare_busy(const void *a, const void *b)
{
	const struct swarm_node_peer *x = a, *y = b;
	uint64_t bx = x->bytes_in + x->bytes_out, by = y->bytes_in + y->bytes_out;

	return bx == by ? 0 : bx < by ? 1 : -1;
}

static struct swarm_node_peer
show(const struct swarm_node *n, const struct node_peer *np)
{
	uint64_t now = swarm_node_now_ms(n);
	struct swarm_node_peer row = { .device = np->device,
		.connected = np->peer != NULL,
		.last_resort = np->last_resort,
		.banned = np->banned,
		.bytes_in = np->in.total,
		.bytes_out = np->out.total,
		.rate_in = speed_now(&np->in, now),
		.rate_out = speed_now(&np->out, now),
		.stats = np->last };

	if (np->peer != NULL)
		(void)swarm_peer_stats(n->swarm, np->id, &row.stats);
	row.stats.wrong = np->wrong;
	return row;
}

size_t
swarm_node_peers(const struct swarm_node *n, struct swarm_node_peer *out, size_t max)
{
	auto_free struct swarm_node_peer *all = mem_array(struct swarm_node_peer, n->peers.len);
	size_t len = 0;

	array_each (np, &n->peers)
		all[len++] = show(n, np);
	qsort(all, len, sizeof *all, compare_busy);
	len = min_of(len, max);
	if (len > 0)
		memcpy(out, all, len * sizeof *all);
	return len;
}

void
swarm_node_summary(const struct swarm_node *n, struct swarm_node_summary *ret)
{
	uint64_t now = swarm_node_now_ms(n);
	struct swarm_stats stats;

	*ret = (struct swarm_node_summary){
		.units = swarm_units(n->swarm),
		.held = swarm_units_held(n->swarm),
		.awaited = swarm_awaited(n->swarm),
		.skipped = swarm_units_skipped(n->swarm),
		.nowhere = swarm_nowhere(n->swarm),
		.slots = swarm_slots(n->swarm),
		.out = swarm_giving(n->swarm),
		.bytes_in = n->in.total,
		.bytes_out = n->out.total,
		.rate_in = speed_now(&n->in, now),
		.rate_out = speed_now(&n->out, now),
		.paused = swarm_node_taker_is_behind(n),
		.starving = swarm_is_starving(n->swarm),
	};
	array_each (np, &n->peers) {
		if (np->peer == NULL)
			continue;
		ret->peers++;
		if (swarm_peer_stats(n->swarm, np->id, &stats))
			ret->seeds += stats.held == ret->units;
	}
}
