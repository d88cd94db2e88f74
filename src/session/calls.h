/*
 * calls: the requests of one direction that are open: how many, which, and what their answers may
 * still bring.
 */
#pragma once

#include "base/array.h"
#include "proto/message.h"

struct call {
	uint32_t stream;
	uint16_t type;
	bool cancelled; /* by us: its answers are dropped until it ends */
	void *owner;
	uint64_t since_ms; /* asked, or cancelled, then */
	uint32_t unit;     /* GET_UNITS */
	uint8_t codecs;    /* of the same: what may come packed */
	uint32_t at, end;  /* next node index and their number; next leaf and the end of its run */
	uint32_t run, n_runs;
	struct leaf_run *runs; /* owned; NULL when all of the unit was asked for */
};
struct calls {
	ARRAY(struct call) open;
	uint32_t last_stream; /* highest ever opened */
	uint32_t n_units, n_nodes, n_others;
};

void calls_clear(struct calls *c);
/* May one more of TYPE be opened?  ERR_LIMIT. */
enum err calls_room(const struct calls *c, uint16_t type, struct error *e) must_check;
/* Borrowed until the next open or close. */
struct call *calls_open(struct calls *c, const struct message *m, void *owner);
struct call *calls_find(const struct calls *c, uint32_t stream); /* NULL: not open */
void calls_close(struct calls *c, struct call *call);
/* Is this NODE or DATA frame the next part of the answer?  Moves on; ERR_PROTO.  END as the frame
 * says. */
enum err calls_take_node(
    struct call *call, struct bytes payload, uint16_t flags, struct error *e) must_check;
enum err calls_take_data(
    struct call *call, struct bytes payload, bool end, struct error *e) must_check;
