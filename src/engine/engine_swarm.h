/*
 * engine_swarm: which snapshots this agent takes part in, and with whom.
 *
 * A snapshot of a hybrid share that is being received, was published or received here is an entry.
 * It has a swarm_node while somebody may need it: from the moment that its map is open until nobody
 * has needed it for a minute; those that are held whole are made again when somebody asks.
 *
 * With the server and with members the same is said (ENTER, NEWS, OFFER ...).  What a member says
 * counts only while it may read the share and the share's policy is hybrid, by the authority's word
 * as it is known here; whatever may have changed that has it judged again.  The server's word needs
 * no grant.
 *
 * Threads  the loop's.
 */
#pragma once

#include "engine/engine_internal.h"
#include "engine/swarm_node.h"

struct engine_swarm;
void engine_swarm_open(struct engine *en);
void engine_swarm_close(struct engine *en); /* engine_part_closed when all is freed */
void engine_swarm_free(struct engine *en);
void engine_swarm_tick(struct engine *en);

/* -- connections: engine_link, engine_mesh -- */
/* D NULL: the server. */
void engine_swarm_ready(struct engine *en, struct peer *p, struct mesh_device *d);
void engine_swarm_gone(struct engine *en, struct peer *p); /* before P is freed */
/* ENTER, NEWS, EXIT, OFFER, DECLINE; of the server also MEMBERS and CALL. */
void engine_swarm_push(struct engine *en, struct peer *p, const struct message *m);
/* Who may have what of us: for the responders of all connections. */
struct responder_policy engine_swarm_policy(struct engine *en);
/* A statement has come: rights or policies may have changed. */
void engine_swarm_judge(struct engine *en);
/* Our own grant for SHARE is a new one: it is shown again. */
void engine_swarm_granted(struct engine *en, const struct hash_id *share);
/* DEVICE may not read SHARE any more: the server's word that it takes part is void. */
void engine_swarm_unlist(
    struct engine *en, const struct device_id *device, const struct hash_id *share);
/* The membership is over. */
void engine_swarm_forget(struct engine *en);

/* -- jobs -- */
/* By the newest word of the authority: its bytes come from the swarm, not from the server alone. */
bool engine_swarm_is_hybrid(const struct engine *en, const struct hash_id *share);
struct engine_swarm_who {
	struct hash_id share, snapshot;
	uint32_t unit_size;
};
/* A get has begun: others are looked for, so that nodes and then units can be asked of them. */
void engine_swarm_enter(struct engine *en, const struct engine_swarm_who *w);
/* Whom to ask for nodes: the server, while it is there; NULL: nobody now. */
struct peer *engine_swarm_nodes_from(struct engine *en, const struct hash_id *snapshot);
/* Units are taken as T says, from the moment that the map is open.  After engine_swarm_enter; the
 * nodes are here and recorded under the share.  ERR_AGAIN through on_done, too: the share is not
 * hybrid any more.  False: somebody takes already. */
bool engine_swarm_take(
    struct engine *en, const struct hash_id *snapshot, const struct swarm_node_taker *t);
/* As swarm_node_stop. */
void engine_swarm_stop(struct engine *en, const struct hash_id *snapshot, bool forget,
    void (*on_stopped)(void *ctx), void *ctx);
/* The get of engine_swarm_enter is over or pauses.  HELD: what it took can be read as long as we
 * run (it is in place). */
void engine_swarm_leave(struct engine *en, const struct hash_id *snapshot, bool held);
/* It was published here and announced: all of it is given from now on. */
void engine_swarm_publish(struct engine *en, const struct engine_swarm_who *w);
/* It will not become the head. */
void engine_swarm_withdrawn(struct engine *en, const struct hash_id *snapshot);
/* What is held whole has changed: a directory was published or received into. */
void engine_swarm_roots(struct engine *en);

/* -- for people -- */
/* Is P a gateway of its site in any swarm? */
bool engine_swarm_site_is_gateway(struct engine *en, const struct peer *p);
/* Why D is near or not; nothing where there is nothing to say. */
void engine_swarm_site_why_peer(struct engine *en, const struct mesh_device *d, struct buf *out);
/* Fields of a record: where we are, where the server is. */
void engine_swarm_site_status(struct engine *en, struct buf *record);
void engine_swarm_site_server(struct engine *en, struct buf *record);
/* NULL: not taken part in, or nothing is known yet. */
const struct swarm_node *engine_swarm_node(struct engine *en, const struct hash_id *snapshot);
