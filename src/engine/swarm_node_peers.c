/*
 * Those who take part or did, found by connection, by number and by device; and what people are
 * told of them.
 */
#include "base/log.h"
#include "base/mem.h"
#include "engine/swarm_node_private.h"

/* -- finding -- */

struct node_peer *
swarm_node_find(const struct swarm_node *n, const struct peer *p)
{
	return map_ptr(&n->by_peer, BYTES_OF(p));
}

struct node_peer *
swarm_node_find_sender(struct swarm_node *n, uint64_t id)
{
	return map_ptr(&n->by_id, BYTES_OF(id));
}

struct node_peer *
swarm_node_find_id(struct swarm_node *n, uint64_t id)
{
	struct node_peer *np = swarm_node_find_sender(n, id);

	return np != NULL && np->peer != NULL ? np : NULL;
}

bool
swarm_node_has(const struct swarm_node *n, const struct peer *p)
{
	return swarm_node_find(n, p) != NULL;
}

/* -- coming -- */

static struct node_peer *
peer_make(struct swarm_node *n, const struct device_id *device)
{
	struct node_peer *np = mem_new(struct node_peer);
	struct map_slot *slot = map_put(&n->by_device, BYTES_OF(*device), NULL);

	np->device = *device;
	np->at = n->peers.len;
	np->same = slot->ptr;
	slot->ptr = np;
	array_push(&n->peers, np);
	return np;
}

/* The state of a device that has left, or a new one; NULL: it is not wanted. */
static struct node_peer *
state_for(struct swarm_node *n, const struct device_id *device)
{
	struct node_peer *mine = NULL;

	for (struct node_peer *np = map_ptr(&n->by_device, BYTES_OF(*device)); np != NULL;
	     np = np->same) {
		if (np->banned)
			return NULL;
		if (np->peer == NULL)
			mine = np; /* back again: its statistics go on */
	}
	return mine != NULL ? mine : peer_make(n, device);
}

static void
set_connection(struct swarm_node *n, struct node_peer *np, struct peer *p)
{
	n->gone -= np->id != 0;
	(void)map_del(&n->by_id, BYTES_OF(np->id));
	np->id = ++n->next_id;
	np->peer = p;
	map_put(&n->by_id, BYTES_OF(np->id), NULL)->ptr = np;
	map_put(&n->by_peer, BYTES_OF(p), NULL)->ptr = np;
}

void
swarm_node_enter(struct swarm_node *n, struct peer *p, const struct swarm_peer_opts *o)
{
	struct node_peer *np;

	swarm_node_leave(n, p);
	if (n->closing || (np = state_for(n, peer_device(p))) == NULL)
		return;
	set_connection(n, np, p);
	np->o = *o;
	swarm_peer_add(n->swarm, np->id, o, swarm_node_now_ms(n) * 1000);
	swarm_node_taker_peer_add(n, np);
	swarm_node_pump(n);
}

/* -- where they are -- */

uint64_t
swarm_node_number(const struct device_id *device)
{
	uint64_t n = 0;

	for (size_t i = 0; i < sizeof n; i++)
		n = n << 8 | device->bytes[i];
	return n;
}

static bool
is_same(const struct swarm_place *a, const struct swarm_place *b)
{
	return a->site == b->site && a->node == b->node && a->rank == b->rank &&
	       a->gateways == b->gateways;
}

void
swarm_node_place(struct swarm_node *n, const struct swarm_place *self)
{
	if (n->closing || is_same(&n->self, self))
		return;
	n->self = *self;
	swarm_place(n->swarm, self, swarm_node_now_ms(n) * 1000);
	swarm_node_pump(n);
}

void
swarm_node_peer_place(
    struct swarm_node *n, struct peer *p, const struct swarm_place *place, bool far)
{
	struct node_peer *np = swarm_node_find(n, p);

	if (np == NULL || n->closing || (np->o.far == far && is_same(&np->o.place, place)))
		return;
	np->o.place = *place;
	np->o.far = far;
	swarm_peer_place(n->swarm, np->id, place, far, swarm_node_now_ms(n) * 1000);
	swarm_node_pump(n);
}

bool
swarm_node_peer_is_gateway(const struct swarm_node *n, const struct peer *p)
{
	const struct node_peer *np = swarm_node_find(n, p);
	struct swarm_stats stats;

	return np != NULL && swarm_peer_stats(n->swarm, np->id, &stats) && stats.gateway;
}

bool
swarm_node_is_gateway(const struct swarm_node *n)
{
	return swarm_is_gateway(n->swarm);
}

bool
swarm_node_is_far(const struct swarm_node *n, const struct node_peer *np)
{
	struct swarm_stats stats;

	return swarm_peer_stats(n->swarm, np->id, &stats) && stats.far;
}

/* -- leaving -- */

/* Of two who have left, is the memory of A worth less? */
static bool
is_lesser(const struct node_peer *a, const struct node_peer *b)
{
	if (a->banned != b->banned)
		return b->banned;
	return a->in.total + a->out.total < b->in.total + b->out.total;
}

static void
unlink_device(struct swarm_node *n, struct node_peer *np)
{
	struct map_slot *slot = map_find(&n->by_device, BYTES_OF(np->device));

	if (slot->ptr == np && np->same == NULL) {
		(void)map_del(&n->by_device, BYTES_OF(np->device));
		return;
	}
	if (slot->ptr == np)
		slot->ptr = np->same;
	for (struct node_peer *other = slot->ptr; other != NULL; other = other->same) {
		if (other->same == np)
			other->same = np->same;
	}
}

static void
forget(struct swarm_node *n, struct node_peer *np)
{
	unlink_device(n, np);
	(void)map_del(&n->by_id, BYTES_OF(np->id));
	array_swap_out(&n->peers, np->at);
	if (np->at < n->peers.len)
		n->peers.at[np->at]->at = np->at;
	n->gone--;
	free(np);
}

/* Those who have left are remembered up to a number. */
static void
forget_some(struct swarm_node *n)
{
	struct node_peer *least = NULL;

	if (n->gone <= SWARM_NODE_GONE_MAX)
		return;
	array_each (np, &n->peers) {
		if ((*np)->peer == NULL && (least == NULL || is_lesser(*np, least)))
			least = *np;
	}
	forget(n, least);
}

void
swarm_node_leave(struct swarm_node *n, struct peer *p)
{
	struct node_peer *np = swarm_node_find(n, p);
	uint64_t now_us = swarm_node_now_ms(n) * 1000;

	if (np == NULL || n->closing)
		return;
	(void)swarm_peer_stats(n->swarm, np->id, &np->last);
	swarm_peer_gone(n->swarm, np->id, now_us);
	swarm_node_taker_peer_gone(n, np);
	(void)map_del(&n->by_peer, BYTES_OF(p));
	np->peer = NULL;
	n->gone++;
	forget_some(n);
	swarm_node_pump(n);
}

void
swarm_node_peers_free(struct swarm_node *n)
{
	array_each (np, &n->peers)
		free(*np);
	array_clear(&n->peers);
	map_clear(&n->by_peer);
	map_clear(&n->by_id);
	map_clear(&n->by_device);
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
		.last_resort = np->o.last_resort,
		.far = np->o.far,
		.banned = np->banned,
		.bytes_in = np->in.total,
		.bytes_out = np->out.total,
		.wire_in = np->wire_in,
		.wire_out = np->wire_out,
		.from_afar = np->from_afar,
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
		all[len++] = show(n, *np);
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
		.wire_in = n->wire_in,
		.wire_out = n->wire_out,
		.far_in = n->far_in,
		.far_out = n->far_out,
		.content = snapshot_map_bytes(n->o.map),
		.rate_in = speed_now(&n->in, now),
		.rate_out = speed_now(&n->out, now),
		.paused = swarm_node_taker_is_behind(n),
		.starving = swarm_is_starving(n->swarm),
	};
	array_each (np, &n->peers) {
		if ((*np)->peer == NULL)
			continue;
		ret->peers++;
		if (swarm_peer_stats(n->swarm, (*np)->id, &stats))
			ret->seeds += stats.held == ret->units;
	}
}
