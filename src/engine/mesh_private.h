/*
 * mesh_private: what the files of mesh share with each other and with nobody else.
 *
 *   mesh.c       devices, whom to dial, the tick
 *   mesh_line.c  one connection, from accepting or dialling to its end
 *   mesh_lane.c  further connections of a pair (peer/lane)
 */
#pragma once

#include "base/array.h"
#include "engine/lane_plan.h"
#include "engine/mesh.h"
#include "peer/lane.h"

struct line { /* one connection */
	struct mesh *mesh;
	struct peer *peer;
	struct mesh_device *device; /* NULL: it has not greeted */
	bool dialed, ready, closing;
	uint8_t lane; /* not 0: a lane of the current one */
	bool blocked; /* it takes no bytes, as its responder says */
	uint64_t ready_ms;
	struct responder *responder;
	uint64_t bytes_in, bytes_out, rate_in, rate_out; /* as of the last look */
	uint32_t rtt_us;                                 /* the shortest; 0: not known yet */
	unsigned fast_looks;                             /* in a row, at which it was fast */
	bool near, fast;
};

struct mesh_device {
	struct device_id id;
	struct mesh_plan_device plan;
	char name[STATEMENT_NAME_MAX + 1], site[STATEMENT_NAME_MAX + 1];
	uint32_t n_addresses;
	char (*addresses)[LIMIT_ADDRESS_TEXT + 1];
	char address[LIMIT_ADDRESS_TEXT + 1]; /* that worked last, or was tried */
	char worked[LIMIT_ADDRESS_TEXT + 1];  /* by our dial: tried first */
	struct line *line;                    /* the current one */
	struct line *dial;                    /* ours that is under way */
	unsigned lines;                       /* all of it, those that are closing included */
	bool knows_lanes, blocked;            /* as it says; as the owner was told */
	struct lane_plan lanes;
	uint64_t lane_bytes, lane_rate; /* of all its connections, as of the last look */
	char group[24];
	uint64_t epoch;
	uint64_t used_ms, seen_ms;
	char why[ERROR_TEXT];
	void *data;
};

struct mesh {
	struct mesh_opts o;
	struct responder_policy policy; /* ours, before the owner's */
	struct mesh_plan plan;
	ARRAY(struct mesh_device *) devices;
	ARRAY(struct line *) lines; /* oldest first */
	struct timer *timer;
	uint64_t looked_ms; /* at rates and at who is idle */
	unsigned pending;   /* responders that are closing, and the end itself */
	bool closing;
	void (*on_closed)(void *ctx);
	void *on_closed_ctx;
};

struct mesh_device *mesh_device_make(struct mesh *m, const struct device_id *id); /* or finds */
void mesh_again(struct mesh *m); /* something changed: dial who is due, set the timer */
void mesh_closed_part(struct mesh *m);

void mesh_line_measure(struct line *l); /* how far it is */
void mesh_line_dial(struct mesh *m, struct mesh_device *d);
void mesh_line_dial_lane(struct mesh *m, struct mesh_device *d, uint8_t lane);
/* WHY NULL: in peace.  It is not current any more when this returns. */
void mesh_line_close(struct line *l, const struct error *why);

/* -- mesh_lane.c -- */

/* What responders ask and tell is about the main connection. */
struct responder_policy mesh_lane_policy(struct mesh *m);
/* L is ready: it joins the current one, or is ended. */
void mesh_lane_ready(struct line *l);
void mesh_lane_gone(struct line *l); /* it closes */
void mesh_lane_close_all(struct mesh *m, struct mesh_device *d);
/* MS after the last look: opens or closes lanes of D. */
void mesh_lane_look(struct mesh *m, struct mesh_device *d, uint64_t ms);
