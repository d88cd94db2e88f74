/* What the parts of responder share; not for others. */
#pragma once

#include "engine/responder.h"
#include "engine/shrink.h"
#include "session/serve.h"

enum {
	RESPONDER_ACTIVE_MAX = 2,
	RESPONDER_STEP_BYTES = RESPONDER_AHEAD / RESPONDER_ACTIVE_MAX,
	RESPONDER_STEP_FRAMES = 64,
};

struct responder_request {
	struct responder_request *next;
	uint32_t stream;
	struct responder_ask what;
	bool begun; /* its end is told */
	bool busy, cancelled, done;
	struct responder_sent sent;
	uint64_t last; /* number of the last block */
	/* nodes */
	enum hash_kind kind;
	struct hash_id *ids;
	uint32_t n_ids, at_id;
	/* units */
	struct msg_get_units ask;
	struct snapshot_map *map;
	uint32_t *lens; /* of the unit's chunks */
	struct serve serve;
	/* what the last step made, from at_frame on */
	struct block *frames[RESPONDER_STEP_FRAMES];
	uint16_t flags[RESPONDER_STEP_FRAMES];
	uint32_t saved[RESPONDER_STEP_FRAMES]; /* bytes, by packing */
	uint32_t n_frames, at_frame;
	struct error damage; /* code OK: everything could be read */
};

/* -- responder_read.c -- */

struct responder_read { /* a step: a job */
	struct responder *owner;
	const struct source *source;
	struct responder_request *q;
	bool packs; /* frames of units are to be packed, as long as they shrink */
	struct shrink_result packed;
	/* Leaves of a big chunk are read several at a time: it may be packed, and then it is
	 * unpacked whole for each reading. */
	struct responder_held {
		uint8_t *bytes; /* NULL: none yet */
		uint32_t chunk, from, n, used;
		struct leaf_list list;
	} held;
};
/* Makes the next frames of a request; CTX is a struct responder_read. */
enum err responder_read_step(void *ctx, struct error *e);
