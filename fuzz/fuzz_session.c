/*
 * A script for one connection: what the owner of a session does, and what a stranger sends it.
 * Whatever comes: states in their order, each request one end, memory within the limits, nothing
 * after the end.
 *
 * First byte: who the other is (guest, member), which side dialed.  Then steps: a byte that says
 * what, and its operands.
 */
#include "base/mem.h"
#include "base/reader.h"
#include "fuzz/fuzz.h"
#include "session/session.h"

enum { OWNERS = 64 };

struct script {
	/* other: an honest one, whose words the script may send as well */
	struct session *s, *other;
	struct reader r;
	uint64_t now;
	bool guest, closed;
	enum session_state state;
	unsigned open[OWNERS]; /* owner -> ends still due */
	size_t n;
	uint32_t streams[OWNERS];
	struct {
		uint32_t stream;
		uint16_t type;
	} asked[256]; /* requests of the other, to be answered */
	size_t n_asked;
};

static void
check_state(struct script *c)
{
	static const unsigned may[] = { [SESSION_GREETING] = 0x13,
		[SESSION_JUDGING] = 0x1e,
		[SESSION_GUEST] = 0x1c,
		[SESSION_READY] = 0x18,
		[SESSION_CLOSED] = 0x10 };
	enum session_state now = session_state(c->s);

	/* Two steps may lie between two looks. */
	unsigned two = 0;
	for (unsigned i = 0; i < lengthof(may); i++)
		if ((may[c->state] >> i & 1) != 0)
			two |= may[i];
	fuzz_require((two >> now & 1) != 0);
	fuzz_require(!c->guest || now != SESSION_READY);
	fuzz_require(session_queued(c->s) <= LIMIT_OUTPUT_MAX);
	c->state = now;
}

static void
on_own(struct script *c, const struct session_event *ev)
{
	size_t i = (size_t)((unsigned *)ev->owner - c->open);

	fuzz_require(i < c->n && c->open[i] == 1);
	c->open[i] -= ev->end;
	fuzz_require(ev->kind != SESSION_EV_LOST || c->closed);
}

static void
drain(struct script *c)
{
	struct session_event ev;

	for (session_next(c->s, &ev); ev.kind != SESSION_EV_NONE; session_next(c->s, &ev)) {
		check_state(c);
		fuzz_require(!c->closed || ev.kind == SESSION_EV_LOST);
		switch (ev.kind) {
		case SESSION_EV_HELLO:
			if (c->guest)
				session_admit_guest(c->s);
			else
				session_admit(c->s);
			break;
		case SESSION_EV_REQUEST:
			fuzz_require(!c->guest || ev.message.type == FRAME_JOIN);
			fuzz_require(session_is_wanted(c->s, ev.message.stream));
			c->asked[c->n_asked % lengthof(c->asked)].stream = ev.message.stream;
			c->asked[c->n_asked++ % lengthof(c->asked)].type = ev.message.type;
			break;
		case SESSION_EV_ANSWER:
		case SESSION_EV_RAW:
		case SESSION_EV_LOST:
			on_own(c, &ev);
			block_free(ev.block);
			break;
		case SESSION_EV_CANCEL:
			fuzz_require(!session_is_wanted(c->s, ev.stream));
			break;
		case SESSION_EV_CLOSED:
			c->closed = true;
			break;
		default:
			break;
		}
	}
	check_state(c);
}

static void
feed(struct script *c, struct bytes b)
{
	size_t n;

	do {
		n = session_feed(c->s, b, c->now);
		b = bytes_slice(b, n, b.len - n);
		drain(c);
	} while (n > 0 && b.len > 0);
}

/* A frame whose header is good and whose payload is the script's. */
static void
feed_frame(struct script *c)
{
	uint8_t head[LIMIT_FRAME_HEADER];
	struct frame_header h = {
		.type = reader_u8(&c->r), .flags = reader_u8(&c->r) & 3, .stream = reader_u8(&c->r)
	};
	struct bytes payload = reader_take(&c->r, reader_u8(&c->r));

	h.length = (uint32_t)payload.len;
	frame_header_encode(&h, head);
	feed(c, BYTES_OF(head));
	if (payload.len > 0)
		feed(c, payload);
}

static void
request(struct script *c)
{
	static uint8_t ids[4 * HASH_ID_BYTES] = {
		HASH_SHA256, [33] = HASH_SHA256, [66] = HASH_SHA256, [99] = HASH_SHA256
	};
	uint8_t what = reader_u8(&c->r);
	struct message m = { .type = FRAME_LEAVE };

	if (c->n == OWNERS)
		return;
	if (what % 3 == 1) {
		m.type = FRAME_GET_NODES;
		m.get_nodes =
		    (struct msg_get_nodes){ { HASH_SHA256, { 0 } }, { HASH_SHA256, { 0 } },
			    BYTES(ids, (1 + what % 4u) * HASH_ID_BYTES), HASH_TREE };
	} else if (what % 3 == 2) {
		m.type = FRAME_GET_UNITS;
		m.get_units =
		    (struct msg_get_units){ { HASH_SHA256, { 0 } }, { HASH_SHA256, { 0 } },
			    UNIT_MIN, what, what / 2 % 2, what % 2, { { 0, 3 } } };
	}
	if (session_request(c->s, &m, &c->open[c->n], &c->streams[c->n], NULL) != OK)
		return;
	c->open[c->n++] = 1;
}

static void
answer_raw(struct script *c, uint16_t type, uint32_t stream, uint8_t how)
{
	struct block *b = block_new(BLOCK_ROOM);

	b->len = 20;
	memset(b->bytes, 0, b->len);
	session_send_raw(c->s, type, how >= 128 ? FRAME_END : 0, stream, b);
}

static void
answer(struct script *c)
{
	uint8_t which = reader_u8(&c->r), how = reader_u8(&c->r);
	struct error e = { .code = ERR_DENIED };

	if (c->n_asked == 0)
		return;
	size_t i = which % min_of(c->n_asked, lengthof(c->asked));
	uint32_t stream = c->asked[i].stream;
	uint16_t type = c->asked[i].type;
	if (type == FRAME_GET_NODES && how % 2 == 0)
		answer_raw(c, FRAME_NODE, stream, how);
	else if (type == FRAME_GET_UNITS && how % 2 == 0)
		answer_raw(c, FRAME_DATA, stream, how);
	else if (type == FRAME_LEAVE && how % 2 == 0)
		session_answer_ok(c->s, stream);
	else
		(void)session_answer_error(c->s, stream, &e, 0);
}

static void
step(struct script *c)
{
	size_t i;

	switch (reader_u8(&c->r) % 12) {
	case 0:
	case 1:
		feed_frame(c);
		break;
	case 2:
		feed(c, reader_take(&c->r, min_of((size_t)reader_u8(&c->r), reader_left(&c->r))));
		break;
	case 3:
		request(c);
		break;
	case 4:
		i = reader_u8(&c->r);
		if (i < c->n) {
			session_cancel(c->s, c->streams[i]);
			c->open[i] = 0; /* no more events */
		}
		break;
	case 5:
		answer(c);
		break;
	case 6:
		session_sent(c->s, min_of((size_t)reader_u16(&c->r), session_output(c->s).len));
		break;
	case 7:
		c->now += reader_u16(&c->r);
		(void)session_tick(c->s, c->now);
		break;
	case 8:
		session_paused(c->s, (reader_u8(&c->r) & 1) != 0, c->now);
		break;
	case 9: { /* what an honest one would say */
		struct bytes b = session_output(c->other);
		feed(c, b);
		session_sent(c->other, b.len);
		break;
	}
	case 10:
		if (reader_u8(&c->r) < 8)
			session_close(c->s, NULL);
		break;
	default:
		break;
	}
	drain(c);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct message m = { .type = FRAME_HELLO,
		.hello = { 1, 1, .software = BYTES_LIT("fuzz") } };
	struct script c = { .r = reader_over(BYTES(data, size)), .now = 1000 };
	struct buf hello = BUF(LIMIT_FRAME_GUEST);
	struct error e;
	uint8_t kind = reader_u8(&c.r);

	fuzz_require(message_encode(&m, &hello, &e) == OK);
	c.guest = (kind & 1) != 0;
	c.s = session_new(&(struct session_opts){ (kind & 2) != 0, buf_bytes(&hello), c.now });
	c.other = session_new(&(struct session_opts){ (kind & 2) == 0, buf_bytes(&hello), c.now });
	if ((kind & 4) != 0) /* most scripts are about what comes after the greeting */
		feed(&c, buf_bytes(&hello));
	while (reader_left(&c.r) > 0)
		step(&c);
	session_abort(c.s, NULL);
	drain(&c);
	fuzz_require(c.closed && session_queued(c.s) == 0);
	for (size_t i = 0; i < c.n; i++)
		fuzz_require(c.open[i] == 0);
	session_free(c.s);
	session_free(c.other);
	buf_clear(&hello);
	return 0;
}
