/*
 * An announced snapshot on its way to become the head: its nodes, then its chunks, from its author;
 * then the HEAD statement.
 *
 * One step after the other, each begun by server_intake_next: LOADING the commit, NODES, OPENING
 * the map and the sink, CHUNKS, READY, then SEQUENCING. Without its author an intake waits where it
 * is and goes on when the author comes back. It begins anew after a restart, when a collection is
 * due (they exclude each other: what a collection is about to take away must not be counted as
 * here), and when its author may no longer read a share whose bytes it was to use; then it finds
 * what the store already holds.
 *
 * A repair is the same walk for a snapshot that is kept already: it fetches what the store lost and
 * ends without a statement.
 */
#include "server/server_intake.h"

#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"

static const char *const state_names[] = {
#define X(name) #name,
	INTAKE_STATES(X)
#undef X
};
#define TO(s) (1u << INTAKE_##s)
static const unsigned may_enter[] = {
	/* row: from, bits: to */
	[INTAKE_WAITING] = TO(LOADING) | TO(CLOSING),
	[INTAKE_LOADING] = TO(NODES) | TO(WAITING) | TO(CLOSING), /* back: the author went */
	[INTAKE_NODES] = TO(OPENING) | TO(CLOSING),
	[INTAKE_OPENING] = TO(CHUNKS) | TO(CLOSING),
	[INTAKE_CHUNKS] = TO(READY) | TO(CLOSING),
	[INTAKE_READY] = TO(SEQUENCING) | TO(CLOSING),
	[INTAKE_SEQUENCING] = TO(READY) | TO(CLOSING), /* back: it could not be stored */
	[INTAKE_CLOSING] = 0,
};

static void on_retry(void *ctx);

void
server_intake_enter(struct intake *k, enum intake_state next)
{
	if (!expect(may_enter[k->state] & (1u << next)))
		return;
	log_debug("intake of share %lld: %s -> %s", (long long)k->share, state_names[k->state],
	    state_names[next]);
	k->state = next;
}

struct registry_share *
server_intake_share(const struct intake *k)
{
	return registry_share_num(k->server->registry, k->share);
}

struct registry_snapshot *
server_intake_snapshot(const struct intake *k)
{
	struct registry_share *sh = server_intake_share(k);

	return sh != NULL ? registry_snapshot(sh, &k->snapshot) : NULL;
}

static struct intake *
find(struct server *s, const struct hash_id *snapshot)
{
	array_each (k, &s->intakes) {
		if ((*k)->state != INTAKE_CLOSING && hash_id_equal(&(*k)->snapshot, snapshot))
			return *k;
	}
	return NULL;
}

bool
server_intake_is_final(struct server *s, const struct hash_id *snapshot)
{
	struct intake *k = find(s, snapshot);

	return k != NULL && k->state == INTAKE_SEQUENCING;
}

bool
server_intake_has_manifest(struct server *s, const struct hash_id *snapshot)
{
	struct intake *k = find(s, snapshot);

	return k != NULL && !k->repair && k->state >= INTAKE_CHUNKS;
}

/* Of a hybrid share others may have what its author does not send any more. */
bool
server_intake_is_for_all(const struct intake *k)
{
	const struct registry_share *sh = server_intake_share(k);

	return !k->repair && sh != NULL && rules_is_hybrid(k->server->registry, sh);
}

/* -- its end -- */

static void
free_closed(struct intake *k)
{
	struct server *s = k->server;

	if (k->open > 0)
		return;
	for (size_t i = 0; i < s->intakes.len; i++) {
		if (s->intakes.at[i] == k) {
			array_swap_out(&s->intakes, i);
			break;
		}
	}
	if (k->sink != NULL)
		server_source_remove_sink(s->source, k->sink);
	server_sink_unref(k->sink);
	snapshot_map_free(k->map);
	snapshot_map_free(k->node_map);
	commit_clear(&k->commit);
	array_clear(&k->readable);
	array_clear(&k->nodes);
	free(k);
	server_gc_try(s);
	server_closed_part(s);
}

void
server_intake_part_closed(void *ctx)
{
	struct intake *k = ctx;

	k->open--;
	if (k->state == INTAKE_CLOSING)
		free_closed(k);
}

void
server_intake_end(struct intake *k)
{
	if (k->state == INTAKE_CLOSING)
		return;
	server_intake_enter(k, INTAKE_CLOSING);
	timer_close(k->retry);
	k->retry = NULL;
	if (k->fetch != NULL)
		fetch_nodes_close(k->fetch, server_intake_part_closed, k);
	if (k->download != NULL)
		download_close(k->download, server_intake_part_closed, k);
	if (k->taking)
		server_node_end(k->server, &k->snapshot, server_intake_part_closed, k);
	server_intake_watch_end(k);
	k->taking = false;
	k->fetch = NULL;
	k->download = NULL;
	k->open++; /* freed from the loop, never under whoever called */
	loop_post(k->server->loop, server_intake_part_closed, k);
}

void
server_intake_close_all(struct server *s)
{
	for (size_t i = 0; i < s->intakes.len; i++)
		server_intake_end(s->intakes.at[i]);
}

/* -- withdrawing -- */

struct withdraw_change {
	struct change change;
	struct registry_snapshot snapshot;
};

static enum err
store_withdraw(struct change *c, struct server *s, struct error *e)
{
	struct withdraw_change *w = (struct withdraw_change *)c;

	return registry_store_snapshot_set(s->registry->db, &w->snapshot, e);
}

static void
apply_withdraw(struct change *c, struct server *s, enum err r, const struct error *e)
{
	(void)s;
	if (r != OK)
		log_error("withdraw a snapshot: %s", e->text);
	free(c);
}

void
server_intake_withdraw(struct server *s, const struct hash_id *snapshot, const char *why)
{
	struct intake *k = find(s, snapshot);
	struct registry_share *sh = NULL;
	struct registry_snapshot *sn = NULL;

	map_each (slot, &s->registry->shares) {
		struct registry_snapshot *here = registry_snapshot(slot->ptr, snapshot);
		if (here != NULL) {
			sh = slot->ptr;
			sn = here;
		}
	}
	if (k != NULL && k->state == INTAKE_SEQUENCING)
		return; /* too late: that it is the head is signed and on its way to the disk */
	if (k != NULL)
		server_intake_end(k);
	if (sn == NULL || sn->state != SNAPSHOT_ANNOUNCED)
		return;
	sn->state = SNAPSHOT_WITHDRAWN;
	snprintf(sn->why, sizeof sn->why, "%s", why);
	log_warn("%s: an announced snapshot is withdrawn: %s", sh->name, why);
	server_peer_progress_all(s, sh, sn);
	server_swarm_judge(s, &sh->id);
	struct withdraw_change *w = mem_new(struct withdraw_change);
	*w = (struct withdraw_change){
		.change = { .store = store_withdraw, .apply = apply_withdraw }, .snapshot = *sn
	};
	server_change(s, &w->change);
}

/* -- what goes wrong -- */

/* The author sent what cannot be: an announcement ends with that, a repair is given up. */
static void
give_up(struct intake *k, const struct error *e)
{
	struct registry_share *sh = server_intake_share(k);

	if (!k->repair) {
		server_intake_withdraw(k->server, &k->snapshot, e->text);
		return;
	}
	log_error("%s: what the store lost could not be fetched again: %s",
	    sh != NULL ? sh->name : "?", e->text);
	server_intake_end(k);
}

/* The disk is full: the step is done again when there may be room. */
static void
wait_for_room(struct intake *k)
{
	struct registry_snapshot *sn = server_intake_snapshot(k);

	if (!k->told_full)
		log_error("the server's disk is full: intake waits; it goes on when there is room");
	k->told_full = true;
	k->retry = timer_new(k->server->loop, on_retry, k);
	timer_start(k->retry, SERVER_NOSPACE_RETRY_MS);
	if (sn != NULL && !k->repair) {
		snprintf(sn->why, sizeof sn->why,
		    "the server's disk is full; it goes on when there is room");
		server_peer_progress(k->server, server_intake_share(k), sn);
		sn->why[0] = 0;
	}
}

static void
on_retry(void *ctx)
{
	struct intake *k = ctx;

	timer_close(k->retry);
	k->retry = NULL;
	server_intake_next(k);
}

void
server_intake_failed(struct intake *k, enum err r, const struct error *e)
{
	if (r == ERR_NOSPACE)
		wait_for_room(k);
	else
		give_up(k, e);
}

/* -- the steps -- */

static void
finish(struct intake *k)
{
	if (!k->repair) {
		server_intake_head(k);
		return;
	}
	log_info("%s: the store is whole again", server_intake_share(k)->name);
	server_node_restart(k->server, &k->snapshot);
	server_intake_end(k);
}

void
server_intake_next(struct intake *k)
{
	struct server *s = k->server;
	struct link *l = server_peer_of(s, &k->author);
	struct peer *author = l != NULL ? l->peer : NULL;

	if (server_intake_snapshot(k) == NULL) { /* removed meanwhile */
		server_intake_end(k);
		return;
	}
	if (k->retry != NULL)
		return;
	switch (k->state) {
	case INTAKE_WAITING:
		if ((author == NULL && !server_intake_is_for_all(k)) || s->gc_running || s->gc_due)
			return;
		server_intake_enter(k, INTAKE_LOADING);
		server_intake_step_load(k);
		return;
	case INTAKE_LOADING:
		server_intake_step_load(k);
		return;
	case INTAKE_NODES:
		server_intake_step_nodes(k, author);
		return;
	case INTAKE_OPENING:
		server_intake_step_open(k);
		return;
	case INTAKE_CHUNKS:
		if (server_intake_is_for_all(k)) /* it can be resolved from now on */
			server_peer_progress_all(
			    s, server_intake_share(k), server_intake_snapshot(k));
		server_intake_step_chunks(k, author);
		return;
	case INTAKE_READY:
		finish(k);
		return;
	case INTAKE_SEQUENCING:
	case INTAKE_CLOSING:
		return;
	}
}

/* -- its beginning, and beginning anew -- */

static void
collect_readable(struct intake *k)
{
	struct registry *r = k->server->registry;

	map_each (slot, &r->shares) {
		struct registry_share *sh = slot->ptr;
		if (rules_rights(r, sh, &k->author) & RIGHT_READ)
			array_push(&k->readable, sh->num);
	}
}

/* As AS says: of which snapshot, and what is known of its author. */
static void
begin(struct server *s, const struct intake *as)
{
	struct intake *k = mem_new(struct intake);

	k->server = s;
	k->repair = as->repair;
	k->alone = as->alone;
	k->share = as->share;
	k->snapshot = as->snapshot;
	k->author = as->author;
	collect_readable(k);
	array_push(&s->intakes, k);
	server_intake_next(k);
}

void
server_intake_again(struct intake *k)
{
	server_intake_end(k);
	begin(k->server, k);
}

void
server_intake(struct server *s, struct registry_share *sh, struct registry_snapshot *sn)
{
	struct intake *k = find(s, &sn->id);

	if (s->closing)
		return;
	if (k == NULL)
		begin(s,
		    &(struct intake){ .share = sh->num, .snapshot = sn->id, .author = sn->author });
	else if (k->state == INTAKE_WAITING)
		server_intake_next(k);
}

bool
server_intake_repair(struct server *s, struct registry_share *sh, struct registry_snapshot *sn)
{
	if (s->closing || sn->state != SNAPSHOT_HEAD || find(s, &sn->id) != NULL)
		return false;
	begin(s, &(struct intake){
		     .repair = true, .share = sh->num, .snapshot = sn->id, .author = sn->author });
	return true;
}

void
server_intake_damaged(struct server *s, const struct hash_id *share, const struct hash_id *snapshot,
    const struct error *why)
{
	struct registry_share *sh = registry_share(s->registry, share);
	struct registry_snapshot *sn = sh != NULL ? registry_snapshot(sh, snapshot) : NULL;

	if (sn != NULL && server_intake_repair(s, sh, sn))
		log_error("store: %s; fetching it again from the publisher when it is connected",
		    why->text);
}

static void
wake_waiting(struct server *s, const struct device_id *author)
{
	for (size_t i = 0; i < s->intakes.len; i++) {
		struct intake *k = s->intakes.at[i];
		if (k->state == INTAKE_WAITING &&
		    (author == NULL || device_id_equal(&k->author, author)))
			server_intake_next(k);
	}
}

void
server_intake_resume(struct server *s)
{
	wake_waiting(s, NULL);
}

bool
server_intake_stand_back(struct server *s)
{
	bool all = true;

	for (size_t i = 0, n = s->intakes.len; i < n; i++) {
		struct intake *k = s->intakes.at[i];
		if (k->state == INTAKE_WAITING)
			continue;
		all = false;
		if (k->state != INTAKE_SEQUENCING && k->state != INTAKE_CLOSING)
			server_intake_again(k);
	}
	return all;
}

/* -- rights that were taken away -- */

static void
withdraw_lost(struct server *s)
{
	ARRAY(struct hash_id) lost = { 0 };

	map_each (slot, &s->registry->shares) {
		struct registry_share *sh = slot->ptr;
		array_each (sn, &sh->snapshots) {
			if ((*sn)->state == SNAPSHOT_ANNOUNCED &&
			    !(rules_rights(s->registry, sh, &(*sn)->author) & RIGHT_WRITE))
				array_push(&lost, (*sn)->id);
		}
	}
	array_each (id, &lost)
		server_intake_withdraw(s, id, "its device may not write to the share any more");
	array_clear(&lost);
}

static bool
still_reads_all(const struct intake *k)
{
	struct registry *r = k->server->registry;

	array_each (num, &k->readable) {
		struct registry_share *sh = registry_share_num(r, *num);
		if (sh != NULL && !(rules_rights(r, sh, &k->author) & RIGHT_READ))
			return false;
	}
	return true;
}

void
server_intake_judge(struct server *s)
{
	withdraw_lost(s);
	for (size_t i = 0, n = s->intakes.len; i < n; i++) {
		struct intake *k = s->intakes.at[i];
		if (k->state != INTAKE_SEQUENCING && k->state != INTAKE_CLOSING &&
		    (!still_reads_all(k) || (k->taking && !server_intake_is_for_all(k))))
			server_intake_again(k);
	}
}

/* -- who comes and goes -- */

static void
begin_announced_of(struct server *s, const struct device_id *author)
{
	map_each (slot, &s->registry->shares) {
		struct registry_share *sh = slot->ptr;
		array_each (sn, &sh->snapshots) {
			if ((*sn)->state == SNAPSHOT_ANNOUNCED &&
			    device_id_equal(&(*sn)->author, author))
				server_intake(s, sh, *sn);
		}
	}
}

void
server_intake_start_all(struct server *s)
{
	map_each (slot, &s->registry->shares) {
		struct registry_share *sh = slot->ptr;
		for (size_t i = 0; rules_is_hybrid(s->registry, sh) && i < sh->snapshots.len; i++) {
			if (sh->snapshots.at[i]->state == SNAPSHOT_ANNOUNCED)
				server_intake(s, sh, sh->snapshots.at[i]);
		}
	}
}

void
server_intake_link(struct server *s, struct link *l)
{
	array_each (kp, &s->intakes) {
		struct intake *k = *kp;
		if (!device_id_equal(&k->author, &l->device))
			continue;
		if (k->fetch != NULL)
			fetch_nodes_peer(k->fetch, l->peer);
		if (k->download != NULL)
			download_peer_add(k->download, l->peer);
	}
	begin_announced_of(s, &l->device);
	wake_waiting(s, &l->device); /* repairs */
}

void
server_intake_link_gone(struct server *s, struct link *l)
{
	struct link *other = server_peer_of(s, &l->device);

	array_each (kp, &s->intakes) {
		struct intake *k = *kp;
		if (!device_id_equal(&k->author, &l->device))
			continue;
		if (k->fetch != NULL)
			fetch_nodes_peer_gone(k->fetch, l->peer);
		if (k->fetch != NULL && other != NULL)
			fetch_nodes_peer(k->fetch, other->peer);
		if (k->download != NULL)
			download_peer_gone(k->download, l->peer);
	}
}
