/*
 * mesh: this node's connections to others that are no server of its: who they are, where they are,
 * dialling them, taking their calls, one connection with each.
 *
 * It moves no content and knows no rights: who may be admitted, what is answered and what is said
 * is its owner's (struct mesh_opts), who may be the engine or a test.  Whom to dial and which of
 * two connections stays is mesh_plan's.
 *
 * Of a device at most one connection is current at a time: on_ready begins it, on_gone ends it, and
 * pushes of others are dropped.  When a second one takes its place, on_gone of the old comes right
 * before on_ready of the new; what was under way on the old is to be asked for again.
 *
 * Memory   MESH_DEVICES_MAX devices; those that are not connected and not wanted go first.
 * Threads  the loop's.
 */
#pragma once

#include "crypto/statement.h"
#include "engine/mesh_plan.h"
#include "engine/responder.h"

struct mesh;
struct mesh_device; /* one remote device; as long as it is connected, wanted, or there is room */

enum {
	MESH_DEVICES_MAX = 1024,
	MESH_VISITORS_MAX = 256,  /* that dialed us, those not greeted yet included */
	MESH_STRANGERS_MAX = 64,  /* ... of these; when there are more the oldest makes way */
	MESH_PER_ADDRESS = 128,   /* from one address: an office behind one */
	MESH_IDLE_MS = 60 * 1000, /* a connection that nobody has used for so long ends */
	MESH_FAST_S = 3,          /* for which a connection must be fast to be taken for that */
};

struct mesh_opts {
	struct loop *loop;
	struct tls_ctx *tls; /* kept */
	struct device_id self;
	struct throttle *throttle; /* kept; NULL: no limit */
	uint32_t lanes_max;   /* beside one connection, at most LIMIT_LANES (engine/lane_plan) */
	uint32_t lane_rtt_ms; /* a line with a shorter round trip gets none */
	uint64_t fast_rate;   /* bytes a second; 0: nobody is */
	const struct source *source; /* kept: what responders answer from */
	struct responder_policy policy;
	/* Our HELLO to somebody who is seen at OBSERVED (""; not known), appended to OUT.  LANE as
	 * in struct msg_hello. */
	enum err (*hello)(
	    void *ctx, const char *observed, uint8_t lane, struct buf *out, struct error *e);
	/* P greets.  OK admits it, the error is our last word to it. */
	enum err (*greeted)(void *ctx, struct peer *p, const struct msg_hello *h, struct error *e);
	void (*on_ready)(void *ctx, struct mesh_device *d, struct peer *p);
	/* Not used any more from now on.  WHY NULL: in peace. */
	void (*on_gone)(void *ctx, struct mesh_device *d, struct peer *p, const struct error *why);
	void (*on_push)(void *ctx, struct mesh_device *d, struct peer *p, const struct message *m);
	/* As peer_events.on_writable, after the responder has had its turn.  May be NULL. */
	void (*on_writable)(void *ctx, struct mesh_device *d, struct peer *p);
	/* It was dialed in vain: somebody who reaches it may ask it to dial us. */
	void (*on_unreachable)(void *ctx, const struct device_id *device);
	void *ctx;
};
struct mesh *mesh_new(const struct mesh_opts *o);
/* Says goodbye to everybody; ON_CLOSED from the loop when all connections are gone. */
void mesh_close(struct mesh *m, void (*on_closed)(void *ctx), void *ctx);
/* Takes C, which is ready. */
void mesh_accept(struct mesh *m, struct conn *c);

/* -- who is where -- */

struct mesh_where {
	struct device_id device;
	struct bytes name, site; /* empty: not known */
	struct message_list addresses;
};
/* What is said of a device; what is known of it and not said stays.  NULL for ourselves. */
struct mesh_device *mesh_know(struct mesh *m, const struct mesh_where *w);
struct mesh_device *mesh_find(struct mesh *m, const struct device_id *device);
/* It is dialed until it is connected, and again. */
void mesh_want(struct mesh *m, struct mesh_device *d, bool wanted);
/* It asks for us: one attempt, if that is not too many. */
void mesh_called(struct mesh *m, struct mesh_device *d);
/* Its connection is of use now. */
void mesh_use(struct mesh *m, struct mesh_device *d);
/* Ends all connections with it, at once. */
void mesh_cut(struct mesh *m, const struct device_id *device, const struct error *why);
/* The same, and there are none any more while M lives: it lied. */
void mesh_ban(struct mesh *m, const struct device_id *device, const struct error *why);
void mesh_cut_all(struct mesh *m, const struct error *why);

const struct device_id *mesh_device_id(const struct mesh_device *d);
const char *mesh_device_name(const struct mesh_device *d); /* "": not known */
const char *mesh_device_site(const struct mesh_device *d);
uint64_t mesh_device_epoch(const struct mesh_device *d);    /* of its last HELLO */
struct peer *mesh_device_peer(const struct mesh_device *d); /* NULL: not connected */
/* The shortest round trip of its connection, by the kernel's and the session's word; 0: not known.
 * It only ever falls: whatever waits in a queue on the way adds to it. */
uint32_t mesh_device_rtt_us(const struct mesh_device *d);
/* Did its connection ever move FAST_RATE bytes a second or more, both ways together, for some
 * seconds? */
bool mesh_device_is_fast(const struct mesh_device *d);
/* Not connected, and dialed in vain more than once. */
bool mesh_device_is_failing(const struct mesh_device *d);
/* Soon its round trip will be known better. */
void mesh_probe(struct mesh_device *d);
/* Its connection does, or does not, stay inside our site: which limits it is under, and how the
 * socket sends (inside a site by its round trip).  Under limits as if far until it is said. */
void mesh_near(struct mesh_device *d, bool near);
/* What the owner keeps with it; it must be NULL again before the device can be forgotten. */
void **mesh_device_data(struct mesh_device *d);

/* ON_DEVICE may cut connections, not forget devices. */
void mesh_each(struct mesh *m, void (*on_device)(void *ctx, struct mesh_device *d), void *ctx);

/* -- for people -- */

enum mesh_state { MESH_CONNECTED, MESH_DIALING, MESH_WAITING, MESH_BANNED, MESH_KNOWN };
struct mesh_info {
	enum mesh_state state;
	bool dialed; /* by us */
	bool near;
	const char *address;   /* where it is, or was last reached or tried */
	const char *group;     /* of TLS: "X25519MLKEM768" */
	const char *why;       /* why the last connection or attempt ended; "" */
	uint64_t connected_ms; /* for how long */
	uint64_t retry_ms;     /* WAITING: until the next attempt */
	uint64_t bytes_in, bytes_out, rate_in, rate_out;
	uint32_t rtt_us; /* the shortest; 0: not known */
};
void mesh_info(const struct mesh *m, const struct mesh_device *d, struct mesh_info *ret);
