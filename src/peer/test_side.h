/*
 * test_side: one side of a pair of peers for tests and measurements.  It greets, admits the other,
 * answers requests (QUERY with an empty ROWS, GET_UNITS with leaves of a pattern, all else with an
 * error), asks for units if told so, and notes events.
 */
#pragma once

#include <string.h>

#include "base/mem.h"
#include "peer/peer.h"

enum { SIDE_LEAVES = 64, SIDE_UNITS_OPEN = 8 };

struct side {
	struct loop *loop;
	struct peer *peer;
	int hellos, requests, answers, ends, cancels, lost, pushes, writable, closed;
	bool has_why;
	struct error why;
	uint64_t raw_bytes; /* that came, right */
	uint32_t units_wanted, units_asked, units_come;
	size_t most_queued;
	bool late_verdict; /* does not admit by itself */
	bool never_answers;
	bool checks; /* every byte of the leaves, not only their place */
	bool blank;  /* neither fills leaves nor looks at them: for measurements */
	/* answering: streams with units to send, first come first served */
	struct {
		uint32_t stream, unit, leaf;
	} todo[LIMIT_UNITS_OPEN];
	uint32_t n_todo;
	void (*on_admitted)(struct side *s);
	void (*on_raw)(struct side *s);
	void (*on_closed)(struct side *s);
	void *ctx;
};

/* The HELLO frame of everybody. */
static inline struct bytes
side_hello(struct buf *b)
{
	const struct message m = { .type = FRAME_HELLO,
		.hello = {
		    .version_min = 1, .version_max = 1, .software = BYTES_LIT("weft test") } };
	struct error e;

	*b = BUF(LIMIT_FRAME_GUEST);
	if (message_encode(&m, b, &e) != OK)
		abort();
	return buf_bytes(b);
}

static inline enum err
side_ask(struct side *s, uint16_t type, uint32_t unit, struct error *e)
{
	static const struct hash_id some = { .alg = HASH_SHA256, .bytes = { 1 } };
	struct message m = { .type = type };

	if (type == FRAME_QUERY)
		m.query = (struct msg_query){ .kind = QUERY_SHARES };
	else
		m.get_units = (struct msg_get_units){ .share = some,
			.snapshot = some,
			.unit_size = SIDE_LEAVES * LIMIT_DATA_RAW,
			.unit = unit };
	enum err r = session_request(peer_session(s->peer), &m, s, NULL, e);
	peer_flush(s->peer);
	return r;
}

static inline void
side_ask_units(struct side *s)
{
	struct error e;

	while (
	    s->units_asked < s->units_wanted && s->units_asked < s->units_come + SIDE_UNITS_OPEN) {
		if (side_ask(s, FRAME_GET_UNITS, s->units_asked, &e) != OK)
			return;
		s->units_asked++;
	}
}

/* Any byte of a leaf follows from the unit and the leaf. */
static inline uint8_t
side_pattern(uint32_t unit, uint32_t leaf)
{
	return (uint8_t)(unit * 7 + leaf);
}

static inline void
side_send_leaf(struct side *s)
{
	struct block *b = block_new(LIMIT_DATA_PREFIX + LIMIT_DATA_RAW);
	const struct data_prefix p = {
		.unit = s->todo[0].unit, .first_leaf = (uint16_t)s->todo[0].leaf, .n_leaves = 1
	};
	bool last = ++s->todo[0].leaf == SIDE_LEAVES;

	b->len = b->room;
	frame_data_encode(&p, b->bytes);
	if (!s->blank)
		memset(b->bytes + LIMIT_DATA_PREFIX, side_pattern(p.unit, p.first_leaf),
		    LIMIT_DATA_RAW);
	session_send_raw(
	    peer_session(s->peer), FRAME_DATA, last ? FRAME_END : 0, s->todo[0].stream, b);
	if (last)
		memmove(&s->todo[0], &s->todo[1], --s->n_todo * sizeof s->todo[0]);
}

static inline void
side_produce(struct side *s)
{
	while (s->n_todo > 0 && peer_has_room(s->peer))
		side_send_leaf(s);
	s->most_queued = max_of(s->most_queued, session_queued(peer_session(s->peer)));
	peer_flush(s->peer);
}

static inline void
side_answer(struct side *s, const struct message *m)
{
	const struct error no = { .code = ERR_DENIED, .text = "not here", .where = HERE };
	struct session *session = peer_session(s->peer);

	s->requests++;
	if (s->never_answers)
		return;
	if (m->type == FRAME_GET_UNITS) {
		s->todo[s->n_todo].stream = m->stream;
		s->todo[s->n_todo].unit = m->get_units.unit;
		s->todo[s->n_todo++].leaf = 0;
		side_produce(s);
	} else if (m->type == FRAME_QUERY) {
		const struct message rows = { .type = FRAME_ROWS,
			.stream = m->stream,
			.flags = FRAME_END,
			.rows = { .kind = m->query.kind } };
		struct error e;
		if (session_send(session, &rows, &e) != OK)
			session_answer_error(session, m->stream, &e, 0);
	} else {
		session_answer_error(session, m->stream, &no, 0);
	}
}

static inline void
side_take(struct side *s, struct session_event *ev)
{
	struct bytes lists, leaves;
	struct data_prefix p;
	struct error e;

	if (frame_data_decode(BYTES(ev->block->bytes, ev->block->len), &p, &lists, &leaves, &e) !=
	    OK)
		abort();
	uint8_t want = side_pattern(p.unit, p.first_leaf);
	for (size_t i = s->blank ? leaves.len : 0; i < leaves.len; i += s->checks ? 1 : 4093)
		if (leaves.at[i] != want)
			abort();
	s->raw_bytes += leaves.len;
	block_free(ev->block);
	if (ev->end) {
		s->units_come++;
		side_ask_units(s);
	}
	if (s->on_raw != NULL)
		s->on_raw(s);
}

static inline void
side_admit(struct side *s)
{
	session_admit(peer_session(s->peer));
	peer_flush(s->peer);
	if (s->on_admitted != NULL)
		s->on_admitted(s);
	side_ask_units(s);
}

static inline void
side_on_event(void *owner, struct peer *p, struct session_event *ev)
{
	struct side *s = owner;

	(void)p;
	switch (ev->kind) {
	case SESSION_EV_HELLO:
		s->hellos++;
		if (!s->late_verdict)
			side_admit(s);
		break;
	case SESSION_EV_REQUEST:
		side_answer(s, &ev->message);
		break;
	case SESSION_EV_ANSWER:
		s->answers++;
		s->ends += ev->end;
		break;
	case SESSION_EV_RAW:
		side_take(s, ev);
		break;
	case SESSION_EV_CANCEL:
		s->cancels++;
		break;
	case SESSION_EV_PUSH:
		s->pushes++;
		break;
	case SESSION_EV_LOST:
		s->lost++;
		break;
	case SESSION_EV_NONE:
	case SESSION_EV_CLOSED:
		abort();
	}
}

static inline void
side_on_writable(void *owner, struct peer *p)
{
	struct side *s = owner;

	(void)p;
	s->writable++;
	side_produce(s);
}

static inline void
side_on_closed(void *owner, struct peer *p, const struct error *why)
{
	struct side *s = owner;

	(void)p;
	s->closed++;
	s->has_why = why != NULL;
	if (why != NULL)
		s->why = *why;
	s->peer = NULL;
	if (s->on_closed != NULL)
		s->on_closed(s);
}

static const struct peer_events side_events = { side_on_event, side_on_writable, side_on_closed };

/* Takes C. */
static inline void
side_open(struct side *s, struct loop *l, struct conn *c, bool dialer)
{
	struct buf hello;

	s->loop = l;
	s->peer = peer_new(l, c, dialer, side_hello(&hello), &side_events, s);
	buf_clear(&hello);
}
