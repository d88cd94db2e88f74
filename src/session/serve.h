/*
 * serve: the sending side of GET_UNITS: cuts what was asked for into DATA frames, as the receiver's
 * check wants them.
 *
 * One frame holds leaves of one run, in order, as many as fit LIMIT_DATA_RAW; ahead of them the
 * leaf list of each chunk of two leaves or more that this answer had not come to yet.  It says what
 * to read and where it belongs; reading is the owner's, who may then have it packed.
 *
 * Pure.
 */
#pragma once

#include "manifest/unit_map.h"
#include "proto/message.h"
#include "session/block.h"

enum { SERVE_PIECES = 256 }; /* pieces of one frame: more tiny chunks go into the next */

struct serve {
	struct unit unit;
	uint32_t number;      /* of the unit */
	const uint32_t *lens; /* borrowed: length of chunk unit.first_chunk + i */
	uint32_t n_runs, run;
	struct leaf_run runs[LIMIT_UNIT_RUNS];
	uint32_t next, chunk, leaf; /* leaf of the unit to go on with, as chunk and leaf in it */
	uint32_t listed;            /* chunk whose list went last; UINT32_MAX none */
};
struct serve_piece {
	uint32_t chunk; /* index in the sequence */
	uint32_t first_leaf, n_leaves;
	uint32_t len; /* bytes of these leaves */
	uint32_t at;  /* where they go in the frame's payload */
	/* where the chunk's leaf list goes (32 bytes each); 0: it is not wanted */
	uint32_t list_at;
};
struct serve_frame {
	struct data_prefix prefix; /* frame_data_encode to the beginning of the payload */
	uint32_t payload;          /* bytes of it all */
	bool end;                  /* FRAME_END */
	uint32_t n_pieces;
	struct serve_piece pieces[SERVE_PIECES];
};

/* ERR_NOTFOUND: leaves that unit U does not have.  Copies M's runs. */
enum err serve_init(struct serve *s, const struct unit *u, const struct msg_get_units *m,
    const uint32_t *lens, struct error *e) must_check;
/* The next frame; false: that was all. */
bool serve_next(struct serve *s, struct serve_frame *ret);

/* B with its leaves packed, when that saves at least 5 % of them (codec_pack); else NULL.  B, the
 * whole payload of a DATA frame, stays the caller's.  It burns: for a job. */
struct block *serve_pack(const struct block *b);
