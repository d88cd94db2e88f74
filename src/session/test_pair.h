/*
 * pair: two sessions against each other in memory.  Events of each side go to a list (and a hook,
 * while what they borrow is there).
 */
#pragma once

#include "base/array.h"
#include "base/rng.h"
#include "session/session.h"

struct seen { /* of an event, what outlives it */
	enum session_event_kind kind;
	uint16_t type, flags;
	uint32_t stream;
	bool end;
	void *owner;
	enum err code;       /* ERROR, CLOSED */
	struct block *block; /* RAW; freed with the list */
};
struct side {
	struct session *s;
	ARRAY(struct seen) seen;
	void (*hook)(struct side *me, const struct session_event *ev);
	void *ctx;
};
struct pair {
	struct side a, b; /* a dialed */
	uint64_t now_ms;
	struct rng *split; /* cut what is moved at random when not NULL */
	size_t step;       /* at most so many bytes at a time; 0: all */
};

static inline struct buf
pair_hello(uint16_t version_min, uint16_t version_max)
{
	const struct message m = { .type = FRAME_HELLO,
		.hello = { .version_min = version_min,
		    .version_max = version_max,
		    .software = BYTES_LIT("weft test") } };
	struct buf out = BUF(LIMIT_FRAME_GUEST);
	struct error e;

	if (message_encode(&m, &out, &e) != OK)
		abort();
	return out;
}

static inline struct session *
pair_session(bool dialer, uint64_t now_ms)
{
	struct buf hello = pair_hello(LIMIT_VERSION_MIN, LIMIT_VERSION_MAX);
	struct session *s = session_new(&(struct session_opts){
	    .dialer = dialer, .hello = buf_bytes(&hello), .now_ms = now_ms });

	buf_clear(&hello);
	return s;
}

static inline void
side_drain(struct side *me)
{
	struct session_event ev;

	for (session_next(me->s, &ev); ev.kind != SESSION_EV_NONE; session_next(me->s, &ev)) {
		bool message = ev.kind != SESSION_EV_RAW && ev.kind != SESSION_EV_CLOSED &&
			       ev.kind != SESSION_EV_LOST;
		struct seen seen = { .kind = ev.kind,
			.type = message ? ev.message.type : ev.header.type,
			.stream = ev.stream,
			.flags = ev.header.flags,
			.end = ev.end,
			.owner = ev.owner,
			.block = ev.block,
			.code = ev.kind == SESSION_EV_CLOSED ? ev.error.code
				: message && ev.message.type == FRAME_ERROR
				    ? (enum err)ev.message.error.code
				    : OK };
		array_push(&me->seen, seen);
		if (me->hook != NULL)
			me->hook(me, &ev);
	}
}

static inline void
side_forget(struct side *me)
{
	array_each (e, &me->seen)
		block_free(e->block);
	array_clear(&me->seen);
}

static inline void
side_clear(struct side *me)
{
	side_forget(me);
	session_free(me->s);
	me->s = NULL;
}

static inline size_t
side_count(const struct side *me, enum session_event_kind kind)
{
	size_t n = 0;

	for (size_t i = 0; i < me->seen.len; i++)
		n += me->seen.at[i].kind == kind;
	return n;
}

/* The last event of a kind; NULL if there was none. */
static inline const struct seen *
side_last(const struct side *me, enum session_event_kind kind)
{
	for (size_t i = me->seen.len; i-- > 0;)
		if (me->seen.at[i].kind == kind)
			return &me->seen.at[i];
	return NULL;
}

/* Feeds all of B, draining events on the way; returns how much was taken. */
static inline size_t
side_feed(struct side *me, struct bytes b, uint64_t now_ms)
{
	size_t at = 0, n;

	do {
		n = session_feed(me->s, bytes_slice(b, at, b.len - at), now_ms);
		at += n;
		side_drain(me);
	} while (n > 0 && at < b.len);
	return at;
}

/* Moves what FROM has to send to TO; false when nothing moved. */
static inline bool
pair_move(struct pair *p, struct side *from, struct side *to)
{
	struct bytes b = session_output(from->s);

	if (p->step > 0)
		b.len = min_of(b.len, p->step);
	if (p->split != NULL && b.len > 0)
		b.len = 1 + rng_below(p->split, b.len);
	size_t n = b.len > 0 ? side_feed(to, b, p->now_ms) : 0;
	if (session_state(to->s) == SESSION_CLOSED)
		n = b.len; /* nobody there */
	if (n > 0)
		session_sent(from->s, n);
	return n > 0;
}

static inline void
pair_run(struct pair *p)
{
	side_drain(&p->a);
	side_drain(&p->b);
	for (bool moved = true; moved;) {
		moved = pair_move(p, &p->a, &p->b);
		moved = pair_move(p, &p->b, &p->a) || moved;
	}
}

static inline void
pair_init(struct pair *p)
{
	*p = (struct pair){ .now_ms = 1000 };
	p->a.s = pair_session(true, p->now_ms);
	p->b.s = pair_session(false, p->now_ms);
}

/* Greeted and admitted on both sides; lists empty. */
static inline void
pair_ready(struct pair *p)
{
	pair_init(p);
	pair_run(p);
	session_admit(p->a.s);
	session_admit(p->b.s);
	pair_run(p);
	side_forget(&p->a);
	side_forget(&p->b);
}

static inline void
pair_clear(struct pair *p)
{
	side_clear(&p->a);
	side_clear(&p->b);
}

/* -- frames by hand -- */

/* A frame with any header and payload. */
static inline size_t
side_feed_frame(struct side *me, uint16_t type, uint16_t flags, uint32_t stream,
    struct bytes payload, uint64_t now_ms)
{
	uint8_t head[LIMIT_FRAME_HEADER];
	const struct frame_header h = {
		.length = (uint32_t)payload.len, .type = type, .flags = flags, .stream = stream
	};

	frame_header_encode(&h, head);
	size_t n = side_feed(me, BYTES_OF(head), now_ms);
	return n + side_feed(me, payload, now_ms);
}

static inline void
side_feed_message(struct side *me, const struct message *m, uint64_t now_ms)
{
	struct buf out = BUF(LIMIT_FRAME_HEADER + LIMIT_FRAME_MESSAGE);
	struct error e;

	if (message_encode(m, &out, &e) != OK)
		abort();
	side_feed(me, buf_bytes(&out), now_ms);
	buf_clear(&out);
}

static inline struct block *
pair_data(uint32_t unit, uint32_t first, uint32_t n, size_t bytes)
{
	struct block *b = block_new(BLOCK_ROOM);
	const struct data_prefix p = {
		.unit = unit, .first_leaf = (uint16_t)first, .n_leaves = (uint16_t)n
	};

	frame_data_encode(&p, b->bytes);
	memset(b->bytes + LIMIT_DATA_PREFIX, (int)first, bytes);
	b->len = LIMIT_DATA_PREFIX + (uint32_t)bytes;
	return b;
}

static inline struct block *
pair_node(uint32_t index, size_t bytes)
{
	struct block *b = block_new(BLOCK_NODE_ROOM);

	frame_node_encode((uint16_t)index, b->bytes);
	memset(b->bytes + FRAME_NODE_PREFIX, (int)index, bytes);
	b->len = FRAME_NODE_PREFIX + (uint32_t)bytes;
	return b;
}

static inline struct message
pair_get_units(uint32_t unit, uint32_t first, uint32_t n)
{
	struct message m = { .type = FRAME_GET_UNITS };

	m.get_units = (struct msg_get_units){ .share = { HASH_SHA256, { 1 } },
		.snapshot = { HASH_SHA256, { 2 } },
		.unit_size = UNIT_MIN,
		.unit = unit };
	if (n > 0) {
		m.get_units.n_runs = 1;
		m.get_units.runs[0] = (struct leaf_run){ (uint16_t)first, (uint16_t)n };
	}
	return m;
}

static inline struct message
pair_get_nodes(uint32_t n)
{
	static uint8_t ids[LIMIT_NODE_IDS * HASH_ID_BYTES];
	struct message m = { .type = FRAME_GET_NODES };

	for (size_t i = 0; i < sizeof ids; i += HASH_ID_BYTES)
		ids[i] = HASH_SHA256;
	m.get_nodes = (struct msg_get_nodes){ .share = { HASH_SHA256, { 1 } },
		.snapshot = { HASH_SHA256, { 2 } },
		.ids = BYTES(ids, (size_t)n * HASH_ID_BYTES),
		.kind = HASH_TREE };
	return m;
}

static const uint16_t requests[] = { FRAME_JOIN, FRAME_LEAVE, FRAME_CREATE_SHARE, FRAME_RESOLVE,
	FRAME_ANNOUNCE, FRAME_QUERY, FRAME_GET_NODES, FRAME_GET_UNITS };
static const uint16_t answers[] = { FRAME_JOINED, FRAME_OK, FRAME_SNAPSHOT, FRAME_SNAPSHOT,
	FRAME_OK, FRAME_ROWS, FRAME_NODE, FRAME_DATA };
static const uint16_t pushes[] = { FRAME_STATEMENTS, FRAME_PROGRESS, FRAME_REPORT, FRAME_ENTER,
	FRAME_NEWS, FRAME_EXIT, FRAME_MEMBERS, FRAME_OFFER, FRAME_DECLINE, FRAME_NEAR, FRAME_PLACED,
	FRAME_DEMAND, FRAME_LEASE, FRAME_DIAL, FRAME_CALL };

static inline void
assert_closed(const struct side *side, enum err code)
{
	const struct seen *closed = side_last(side, SESSION_EV_CLOSED);

	assert_int_equal(session_state(side->s), SESSION_CLOSED);
	assert_non_null(closed);
	assert_int_equal(side_count(side, SESSION_EV_CLOSED), 1);
	if (closed->code != code)
		unit_fail("closed with %s, not %s", error_name(closed->code), error_name(code));
}

static inline uint32_t
ask(struct side *side, struct message m, void *owner)
{
	uint32_t stream = 0;

	assert_ok(session_request(side->s, &m, owner, &stream, &unit_error));
	return stream;
}

/* What B does: answers everything with what fits. */
static inline void
answer_all(struct side *me, const struct session_event *ev)
{
	struct any any;

	if (ev->kind != SESSION_EV_REQUEST)
		return;
	uint32_t stream = ev->message.stream;
	size_t i = 0;
	while (requests[i] != ev->message.type)
		i++;
	assert_true(session_is_wanted(me->s, stream));
	if (answers[i] == FRAME_NODE) {
		uint32_t n = (uint32_t)(ev->message.get_nodes.ids.len / HASH_ID_BYTES);
		for (uint32_t k = 0; k < n; k++)
			session_send_raw(me->s, FRAME_NODE,
			    (uint16_t)((k + 1 == n ? FRAME_END : 0) |
				       (k % 3 == 2 ? FRAME_MISSING : 0)),
			    stream, pair_node(k, k % 3 == 2 ? 0 : 100));
	} else if (answers[i] == FRAME_DATA) {
		for (uint32_t k = 0; k < 4; k++)
			session_send_raw(me->s, FRAME_DATA, k == 3 ? FRAME_END : 0, stream,
			    pair_data(ev->message.get_units.unit, 10 + k, 1, LIMIT_DATA_RAW));
	} else {
		any_init(&any, stream);
		struct message m = any_message(&any, answers[i]);
		m.stream = stream;
		assert_ok(session_send(me->s, &m, &unit_error));
		any_clear(&any);
	}
	assert_false(session_is_wanted(me->s, stream));
}

static inline void
set_state(struct pair *p, enum session_state want)
{
	pair_init(p);
	if (want == SESSION_GREETING)
		return;
	struct buf hello = pair_hello(1, 1);
	side_feed(&p->b, buf_bytes(&hello), p->now_ms);
	buf_clear(&hello);
	if (want == SESSION_GUEST)
		session_admit_guest(p->b.s);
	else
		session_admit(p->b.s);
	side_forget(&p->b);
}
