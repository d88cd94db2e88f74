/*
 * Our own part in swarms.  Of what is announced in a hybrid share we are one receiver among others
 * (server_intake_step.c has the sink), and give on what has come; of what we keep we give what
 * nobody else does, the last resort.
 *
 * A node of a kept snapshot begins when somebody wants it, and ends when nobody has for a minute.
 * Whoever wants something is in it, and of those who hold everything some: more of them tell us
 * nothing that we have to know.  They hear of it by our ENTER and EXIT.
 */
#include "base/log.h"
#include "base/mem.h"
#include "crypto/random.h"
#include "server/server_internal.h"

enum { SEEDS = 64, IDLE_MS = 60 * 1000 };

struct server_node {
	struct server *server;
	struct hash_id share, snapshot;
	uint32_t job;
	struct snapshot_map *map;
	struct swarm_node *swarm; /* NULL: the map is being opened */
	bool receiving, closing;
	ARRAY(uint64_t) seeds; /* connections of those who held everything when they came in */
	uint64_t idle_ms;      /* since when nobody wants it; 0: somebody does */
	void (*on_closed)(void *ctx); /* of who received */
	void *on_closed_ctx;
};

/* -- those who take part -- */

static void
say_enter(const struct server_node *n, struct link *l)
{
	const struct message m = { .type = FRAME_ENTER,
		.enter = { .job = n->job,
		    .share = n->share,
		    .snapshot = n->snapshot,
		    .unit_size = swarm_node_unit_size(n->swarm),
		    .units = swarm_node_units(n->swarm),
		    .last_resort = 1 } };

	server_swarm_push(l, &m);
}

static uint64_t
own_site(const struct server *s)
{
	const struct registry_device *d = registry_device(s->registry, device_key_id(s->home->key));

	return d != NULL ? server_site_number(d) : 0;
}

/* Near is who bears our label and believes it: as that one sees it, too. */
static struct swarm_peer_opts
opts_of(const struct server *s, const struct link *l, const struct tracker_entry *x)
{
	return (struct swarm_peer_opts){
		.place = { .site = x->site,
		    .node = swarm_node_number(&l->device),
		    .rank = x->rank,
		    .gateways = x->gateways },
		.far = x->site != own_site(s),
	};
}

static void
place_self(struct server_node *n)
{
	const struct server *s = n->server;
	const struct swarm_place self = { .site = own_site(s),
		.node = swarm_node_number(device_key_id(s->home->key)) };

	swarm_node_place(n->swarm, &self);
}

static void
place(struct server_node *n, const struct tracker_entry *x)
{
	struct link *l = server_peer_link(n->server, x->link);

	if (l == NULL || !l->member || !swarm_node_has(n->swarm, l->peer))
		return;
	const struct swarm_peer_opts o = opts_of(n->server, l, x);
	swarm_node_peer_place(n->swarm, l->peer, &o.place, o.far);
}

/* One who has said other units than the manifest makes is none of ours; one without a manifest says
 * so again once it has it. */
static void
admit(struct server_node *n, const struct tracker_entry *x)
{
	struct link *l = server_peer_link(n->server, x->link);

	if (l == NULL || !l->member || x->units != swarm_node_units(n->swarm) ||
	    (x->whole && n->seeds.len >= SEEDS))
		return;
	if (x->whole)
		array_push(&n->seeds, x->link);
	const struct swarm_peer_opts o = opts_of(n->server, l, x);
	swarm_node_enter(n->swarm, l->peer, &o);
	say_enter(n, l);
}

static void
admit_all(struct server_node *n)
{
	const struct tracker_entry *x;

	for (size_t i = 0; (x = tracker_at(n->server->tracker, &n->share, &n->snapshot, i)) != NULL;
	     i++)
		admit(n, x);
}

static void
dismiss(struct server_node *n, struct link *l)
{
	for (size_t i = 0; i < n->seeds.len; i++) {
		if (n->seeds.at[i] == l->number) {
			array_swap_out(&n->seeds, i);
			break;
		}
	}
	if (n->swarm != NULL)
		swarm_node_leave(n->swarm, l->peer);
}

/* -- life -- */

static struct server_node *
find(struct server *s, const struct hash_id *snapshot)
{
	return map_ptr(&s->nodes, hash_id_bytes(snapshot));
}

static void
node_free(struct server_node *n)
{
	struct server *s = n->server;

	snapshot_map_free(n->map);
	array_clear(&n->seeds);
	if (n->on_closed != NULL)
		n->on_closed(n->on_closed_ctx);
	free(n);
	s->jobs--;
	server_closed_part(s);
}

static void
on_swarm_closed(void *ctx)
{
	node_free(ctx);
}

static void
say_exit(const struct server_node *n)
{
	const struct message m = { .type = FRAME_EXIT, .exit = { .job = n->job } };

	map_each (slot, &n->server->links) {
		struct link *l = slot->ptr;
		if (l->member && swarm_node_has(n->swarm, l->peer))
			server_swarm_push(l, &m);
	}
}

static void
node_close(struct server_node *n)
{
	if (n->closing)
		return;
	n->closing = true;
	map_del(&n->server->nodes, hash_id_bytes(&n->snapshot));
	if (n->swarm == NULL)
		return; /* when its map has been opened */
	say_exit(n);
	swarm_node_close(n->swarm, on_swarm_closed, n);
}

static void
on_liar(void *ctx, struct peer *p, uint32_t unit)
{
	struct server_node *n = ctx;

	server_peer_liar(n->server, p, unit);
}

static struct server_node *
node_new(struct server *s, const struct hash_id *share, const struct hash_id *snapshot)
{
	struct server_node *n = mem_new(struct server_node);

	n->server = s;
	n->share = *share;
	n->snapshot = *snapshot;
	n->job = ++s->last_job;
	s->jobs++;
	map_put(&s->nodes, hash_id_bytes(snapshot), NULL)->ptr = n;
	return n;
}

static void
node_begin(struct server_node *n, struct snapshot_map *map)
{
	uint64_t seed;

	random_fill(&seed, sizeof seed);
	n->map = map;
	const struct swarm_node_opts o = {
		.loop = n->server->loop,
		.map = map,
		.share = n->share,
		.snapshot = n->snapshot,
		.job = n->job,
		.last_resort = true,
		.seed = seed,
		.on_liar = on_liar,
		.ctx = n,
	};
	n->swarm = swarm_node_new(&o);
	place_self(n);
}

/* -- of what is kept -- */

struct open_job {
	struct server_job job;
	struct server_node *node;
	struct snapshot_map *map;
};

static enum err
work_open(struct server_job *job, struct server *s, struct error *e)
{
	struct open_job *j = (struct open_job *)job;
	struct hash_id content;
	uint32_t unit_size = 0;
	enum err r = registry_share_content(
	    s->reader, &j->node->share, &j->node->snapshot, &content, &unit_size, e);

	return r == OK ? snapshot_map_open(s->maps_dir, server_source_nodes(s), &content, unit_size,
			     NULL, &j->map, e)
		       : r;
}

static void
done_open(struct server_job *job, struct server *s, enum err r, const struct error *e)
{
	struct open_job *j = (struct open_job *)job;
	struct server_node *n = j->node;

	if (r == OK && !n->closing) {
		node_begin(n, take_ptr(j->map));
		swarm_node_hold_all(n->swarm);
		admit_all(n);
	} else {
		if (r != OK)
			log_error("give a snapshot to others: %s", e->text);
		if (r == ERR_CORRUPT || r == ERR_NOTFOUND)
			server_intake_damaged(s, &n->share, &n->snapshot, e);
		node_close(n);
		node_free(n);
	}
	snapshot_map_free(j->map);
	free(j);
}

/* Somebody may want what we keep. */
static void
consider(struct server *s, const struct hash_id *share, const struct hash_id *snapshot)
{
	const struct registry_share *sh = registry_share(s->registry, share);
	const struct registry_snapshot *sn = sh != NULL ? registry_snapshot(sh, snapshot) : NULL;

	if (s->closing || sn == NULL || sn->state != SNAPSHOT_HEAD ||
	    tracker_count(s->tracker, share, snapshot).wanting == 0)
		return;
	struct open_job *j = mem_new(struct open_job);
	j->job = (struct server_job){ .work = work_open, .done = done_open };
	j->node = node_new(s, share, snapshot);
	server_job(s, &j->job);
}

/* -- of what is announced -- */

struct swarm_node *
server_node_receive(struct server *s, const struct hash_id *share, const struct hash_id *snapshot,
    struct snapshot_map *map)
{
	struct server_node *n = find(s, snapshot);

	if (n == NULL) {
		n = node_new(s, share, snapshot);
		node_begin(n, map);
		n->receiving = true;
		admit_all(n);
	} else {
		snapshot_map_free(map);
	}
	return n->swarm;
}

void
server_node_received(struct server *s, const struct hash_id *snapshot)
{
	struct server_node *n = find(s, snapshot);

	if (n != NULL)
		n->receiving = false;
}

void
server_node_end(
    struct server *s, const struct hash_id *snapshot, void (*on_closed)(void *ctx), void *ctx)
{
	struct server_node *n = find(s, snapshot);

	if (n == NULL) {
		loop_post(s->loop, on_closed, ctx);
		return;
	}
	n->on_closed = on_closed;
	n->on_closed_ctx = ctx;
	node_close(n);
}

/* -- what happens -- */

void
server_node_enter(struct server *s, const struct tracker_entry *x)
{
	struct server_node *n = find(s, x->snapshot);

	if (n == NULL)
		consider(s, x->share, x->snapshot);
	else if (n->swarm != NULL)
		admit(n, x);
}

void
server_node_place(struct server *s, const struct tracker_entry *x)
{
	struct server_node *n = find(s, x->snapshot);

	if (n != NULL && n->swarm != NULL)
		place(n, x);
}

void
server_node_moved(struct server *s)
{
	map_each (slot, &s->nodes) {
		struct server_node *n = slot->ptr;
		const struct tracker_entry *x;
		if (n->swarm == NULL)
			continue;
		place_self(n);
		for (size_t i = 0; (x = tracker_at(s->tracker, &n->share, &n->snapshot, i)) != NULL;
		     i++)
			place(n, x);
	}
}

void
server_node_leave(struct link *l, const struct hash_id *snapshot)
{
	struct server_node *n = find(l->server, snapshot);

	if (n != NULL)
		dismiss(n, l);
}

void
server_node_link_gone(struct link *l)
{
	map_each (slot, &l->server->nodes)
		dismiss(slot->ptr, l);
}

enum err
server_node_message(
    struct link *l, const struct hash_id *snapshot, const struct message *m, struct error *e)
{
	struct server_node *n = find(l->server, snapshot);

	return n != NULL && n->swarm != NULL ? swarm_node_message(n->swarm, l->peer, m, e) : OK;
}

/* Is its snapshot still one to be given? */
static bool
is_given(const struct server_node *n)
{
	const struct registry_share *sh = registry_share(n->server->registry, &n->share);
	const struct registry_snapshot *sn =
	    sh != NULL ? registry_snapshot(sh, &n->snapshot) : NULL;

	return sn != NULL && sn->state == SNAPSHOT_HEAD && rules_is_hybrid(n->server->registry, sh);
}

void
server_node_judge(struct server *s)
{
	ARRAY(struct server_node *) over = { 0 };

	map_each (slot, &s->nodes) {
		struct server_node *n = slot->ptr;
		if (!n->receiving && !is_given(n) && !server_intake_has_manifest(s, &n->snapshot))
			array_push(&over, n);
	}
	array_each (n, &over)
		node_close(*n);
	array_clear(&over);
}

void
server_node_tick(struct server *s)
{
	uint64_t now = loop_now_ms(s->loop);
	ARRAY(struct server_node *) over = { 0 };

	map_each (slot, &s->nodes) {
		struct server_node *n = slot->ptr;
		if (n->receiving || tracker_count(s->tracker, &n->share, &n->snapshot).wanting > 0)
			n->idle_ms = 0;
		else if (n->idle_ms == 0)
			n->idle_ms = now;
		else if (now - n->idle_ms >= IDLE_MS)
			array_push(&over, n);
	}
	array_each (n, &over)
		node_close(*n);
	array_clear(&over);
}

void
server_node_close_all(struct server *s)
{
	ARRAY(struct server_node *) all = { 0 };

	map_each (slot, &s->nodes)
		array_push(&all, slot->ptr);
	array_each (n, &all)
		node_close(*n);
	array_clear(&all);
}

/* -- giving -- */

bool
server_node_holds(struct server *s, const struct hash_id *snapshot, uint32_t unit)
{
	struct server_node *n = find(s, snapshot);

	return n != NULL && n->swarm != NULL && unit < swarm_node_units(n->swarm) &&
	       swarm_node_holds(n->swarm, unit);
}

void
server_node_wanted(struct link *l, const struct hash_id *snapshot, uint32_t unit)
{
	struct server_node *n = find(l->server, snapshot);

	if (n != NULL && n->swarm != NULL)
		(void)swarm_node_wanted(n->swarm, l->peer, unit);
}

void
server_node_answered(struct link *l, const struct hash_id *snapshot, uint32_t unit,
    const struct responder_sent *sent)
{
	struct server_node *n = find(l->server, snapshot);

	if (n != NULL && n->swarm != NULL)
		swarm_node_answered(n->swarm, l->peer, unit, sent);
}

void
server_node_blocked(struct link *l, bool blocked)
{
	map_each (slot, &l->server->nodes) {
		struct server_node *n = slot->ptr;
		if (n->swarm != NULL)
			swarm_node_blocked(n->swarm, l->peer, blocked);
	}
}

void
server_node_lost(struct server *s, const struct hash_id *snapshot, uint32_t unit)
{
	struct server_node *n = find(s, snapshot);

	if (n != NULL && n->swarm != NULL && unit < swarm_node_units(n->swarm))
		swarm_node_lose(n->swarm, unit);
}

void
server_node_restart(struct server *s, const struct hash_id *snapshot)
{
	struct server_node *n = find(s, snapshot);

	if (n == NULL)
		return;
	const struct hash_id share = n->share;
	node_close(n);
	consider(s, &share, snapshot);
}

bool
server_node_nowhere(const struct link *author, const struct hash_id *snapshot, uint32_t *ret_unit)
{
	struct server_node *n = find(author->server, snapshot);

	return n != NULL && n->swarm != NULL && swarm_node_has(n->swarm, author->peer) &&
	       swarm_node_first_nowhere(n->swarm, ret_unit);
}

const struct swarm_node *
server_node_of(
    struct server *s, const struct hash_id *share, struct hash_id *ret_snapshot, bool *ret_receives)
{
	const struct server_node *best = NULL;

	map_each (slot, &s->nodes) {
		const struct server_node *n = slot->ptr;
		if (n->swarm != NULL && hash_id_equal(&n->share, share) &&
		    (best == NULL || n->receiving))
			best = n;
	}
	if (best == NULL)
		return NULL;
	*ret_snapshot = best->snapshot;
	*ret_receives = best->receiving;
	return best->swarm;
}
