/*
 * How it works.  `input` cuts what comes into frames; each header is judged by `rules` (who may say
 * what, when) before any memory is given to its payload.  A whole frame waits until session_next
 * takes it through decode and check and turns it into at most one event.  `calls` knows what is
 * open in each direction, `output` what is to be sent.
 */
#include "session/session.h"

#include <assert.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "session/rules.h"
#include "session/session_private.h"

#define TO(s) (1u << SESSION_##s)
static const unsigned may_enter[] = {
	/* row: from, bits: to */
	[SESSION_GREETING] = TO(JUDGING) | TO(CLOSED),
	[SESSION_JUDGING] = TO(GUEST) | TO(READY) | TO(CLOSED),
	[SESSION_GUEST] = TO(READY) | TO(CLOSED),
	[SESSION_READY] = TO(CLOSED),
	[SESSION_CLOSED] = 0,
};

static const char *
state_name(enum session_state state)
{
	static const char *const names[] = {
#define X(name) [SESSION_##name] = #name,
		SESSION_STATES(X)
#undef X
	};
	return names[state];
}

static void
enter(struct session *s, enum session_state next)
{
	assert((may_enter[s->state] & (1u << next)) != 0);
	log_debug("session: %s -> %s", state_name(s->state), state_name(next));
	s->state = next;
	s->entered_ms = s->now_ms;
}

struct session *
session_new(const struct session_opts *o)
{
	struct session *s = mem_new(struct session);

	s->dialer = o->dialer;
	s->now_ms = s->opened_ms = s->entered_ms = s->last_in_ms = o->now_ms;
	input_init(&s->in);
	/* Twice, as what went lies before the rest for a while; and one more, so that none is
	 * refused before `queue` sees it. */
	output_init(&s->out, 2 * LIMIT_OUTPUT_MAX + LIMIT_FRAME_HEADER + LIMIT_FRAME_MESSAGE);
	output_frame(&s->out, o->hello);
	return s;
}

void
session_free(struct session *s)
{
	if (s == NULL)
		return;
	output_clear(&s->out);
	calls_clear(&s->ours);
	calls_clear(&s->theirs);
	input_clear(&s->in);
	free(s);
}

/* -- ending -- */

static void
end(struct session *s, const struct error *why)
{
	s->why = why != NULL ? *why : (struct error){ .code = OK };
	input_done(&s->in);
	calls_clear(&s->theirs);
	output_drop_all(&s->out);
	enter(s, SESSION_CLOSED);
}

void
session_abort(struct session *s, const struct error *why)
{
	if (s->state != SESSION_CLOSED)
		end(s, why);
	output_clear(&s->out);
}

/* What goes out as text is plain, and fits. */
static struct bytes
plain_text(const char *text, char out[static LIMIT_TEXT])
{
	return bytes_str(text_escape(bytes_str(text), out, LIMIT_TEXT));
}

void
session_close(struct session *s, const struct error *why)
{
	struct message m = { .type = FRAME_BYE };
	char text[LIMIT_TEXT];
	struct error e;

	if (s->state == SESSION_CLOSED)
		return;
	if (why != NULL && why->code != OK) {
		m.type = FRAME_ERROR;
		m.error = (struct msg_error){ .code = (uint16_t)why->code,
			.text = plain_text(why->text, text) };
	}
	end(s, why);
	if (output_message(&s->out, &m, &e) != OK)
		output_clear(&s->out);
}

/* Messages are queued whether or not they are read: one who asks on and on without reading is let
 * go. */
enum err
session_queue(struct session *s, const struct message *m, struct error *e)
{
	struct error mine;
	enum err r = output_message(&s->out, m, e != NULL ? e : &mine);

	if (r == OK && s->out.queued > LIMIT_OUTPUT_MAX) {
		r = fail(&mine, ERR_LIMIT, "the other side does not read: %zu bytes wait for it",
		    s->out.queued);
		session_abort(s, &mine);
		if (e != NULL)
			*e = mine;
	}
	return r;
}

/* -- input: bytes to frames -- */

static bool
is_theirs(const struct session *s, uint32_t stream)
{
	return stream != 0 && (stream % 2 == 1) != s->dialer;
}

/* A request of a kind that came after us: said so, not held against them. */
static void
refuse_unknown(struct session *s, const struct frame_header *h)
{
	struct message m = { .type = FRAME_ERROR, .stream = h->stream };

	if (!is_theirs(s, h->stream) || h->stream <= s->theirs.last_stream)
		return;
	s->theirs.last_stream = h->stream;
	m.error = (struct msg_error){ .code = ERR_NOTFOUND,
		.text = BYTES_LIT("this kind of request is not known here") };
	(void)session_queue(s, &m, NULL);
}

static enum err
judge_request(struct session *s, const struct frame_header *h, struct error *e)
{
	const char *name = frame_type_name(h->type);

	if (!is_theirs(s, h->stream) || h->stream <= s->theirs.last_stream)
		return fail(e, ERR_PROTO, "%s on stream %u", name, h->stream);
	if (s->state == SESSION_GUEST && s->theirs.open.len >= LIMIT_GUEST_CALLS)
		return fail(e, ERR_LIMIT, "%s while another is under way", name);
	if (s->state == SESSION_GUEST && ++s->tries > LIMIT_GUEST_TRIES)
		return fail(e, ERR_LIMIT, "%s for the %uth time", name, s->tries);
	return calls_room(&s->theirs, h->type, e);
}

static enum err
judge_answer(struct session *s, const struct frame_header *h, struct error *e)
{
	const struct call *call = calls_find(&s->ours, h->stream);
	const char *name = frame_type_name(h->type);

	if (call == NULL)
		return fail(
		    e, ERR_PROTO, "%s on stream %u, where nothing was asked", name, h->stream);
	if (h->type != FRAME_ERROR && h->type != rules_answer(call->type))
		return fail(e, ERR_PROTO, "%s in answer to %s", name, frame_type_name(call->type));
	return OK;
}

/* Is this frame allowed here and now? */
static enum err
judge(struct session *s, const struct frame_header *h, struct error *e)
{
	enum rules_role role = rules_role(h->type);

	if (role == ROLE_UNKNOWN && s->state == SESSION_READY) {
		refuse_unknown(s, h);
		return OK;
	}
	if (role == ROLE_UNKNOWN || !rules_may(h->type, s->state))
		return fail(e, ERR_PROTO, "frame %s (%u) is out of turn in %s",
		    role == ROLE_UNKNOWN ? "unknown" : frame_type_name(h->type), h->type,
		    state_name(s->state));
	if (role == ROLE_REQUEST)
		return judge_request(s, h, e);
	if (role == ROLE_ANSWER || (role == ROLE_ERROR && h->stream != 0))
		return judge_answer(s, h, e);
	if (role == ROLE_CANCEL ? !is_theirs(s, h->stream) || h->stream > s->theirs.last_stream
				: h->stream != 0)
		return fail(e, ERR_PROTO, "%s on stream %u", frame_type_name(h->type), h->stream);
	return OK;
}

static void
begin_payload(struct session *s)
{
	struct frame_header h;
	struct error e;
	enum err r = frame_header_decode(s->in.head, s->state != SESSION_READY, &h, &e);

	if (r == OK)
		r = judge(s, &h, &e);
	if (r != OK)
		session_close(s, &e);
	else if (s->state != SESSION_CLOSED)
		input_accept(&s->in, &h,
		    rules_role(h.type) == ROLE_UNKNOWN ? INPUT_SKIP
		    : frame_type_is_raw(h.type)        ? INPUT_BLOCK
						       : INPUT_MESSAGE);
}

uint8_t *
session_space(struct session *s, size_t *ret_n)
{
	*ret_n = 0;
	if (s->state == SESSION_CLOSED || s->state == SESSION_JUDGING)
		return NULL;
	return input_space(&s->in, ret_n);
}

void
session_received(struct session *s, size_t n, uint64_t now_ms)
{
	s->now_ms = s->last_in_ms = now_ms;
	s->heard = s->heard || n > 0;
	s->bytes_in += n;
	if (s->state != SESSION_CLOSED && n > 0 && input_received(&s->in, n, now_ms))
		begin_payload(s);
}

size_t
session_feed(struct session *s, struct bytes b, uint64_t now_ms)
{
	size_t at = 0, room;

	while (at < b.len) {
		uint8_t *to = session_space(s, &room);
		if (room == 0)
			break;
		room = min_of(room, b.len - at);
		memcpy(to, b.at + at, room);
		session_received(s, room, now_ms);
		at += room;
	}
	return at;
}

/* -- frames to events -- */

static enum err
on_hello(struct session *s, const struct message *m, struct session_event *ev, struct error *e)
{
	const struct msg_hello *h = &m->hello;
	int version = min_of(LIMIT_VERSION_MAX, (int)h->version_max);

	if (version < h->version_min || version < LIMIT_VERSION_MIN)
		return fail(e, ERR_PROTO,
		    "no common version: one side speaks weft/1 versions %d to %d, the other %u to "
		    "%u",
		    LIMIT_VERSION_MIN, LIMIT_VERSION_MAX, h->version_min, h->version_max);
	s->version = (uint16_t)version;
	ev->kind = SESSION_EV_HELLO;
	enter(s, SESSION_JUDGING);
	return OK;
}

static void
on_ping(struct session *s, uint64_t token)
{
	struct message m = { .type = FRAME_PONG, .ping = { token } };

	/* Who pings and does not read gets bytes enough without. */
	if (s->out.queued < LIMIT_OUTPUT_QUEUE)
		(void)session_queue(s, &m, NULL);
}

static void
on_pong(struct session *s, uint64_t token)
{
	if (token != s->ping_token || !s->awaits_pong)
		return;
	uint32_t rtt = (uint32_t)min_of(s->now_ms - s->last_ping_ms, (uint64_t)LIMIT_PING_MS);
	rtt = max_of(rtt, 1u);
	s->rtt_ms8 = s->rtt_ms8 == 0 ? rtt * 8 : s->rtt_ms8 - s->rtt_ms8 / 8 + rtt;
	s->rtt_min_ms = s->rtt_min_ms == 0 ? rtt : min_of(s->rtt_min_ms, rtt);
	s->awaits_pong = false;
}

static void
on_bye(struct session *s, struct session_event *ev)
{
	ev->kind = SESSION_EV_PUSH;
	session_abort(s, NULL);
}

static void
on_fatal(struct session *s, const struct msg_error *m)
{
	char text[ERROR_TEXT];
	struct error why;

	fail(&why, m->code, "the other side ended the connection: %s",
	    m->text.len > 0 ? text_escape(m->text, text, sizeof text - 64) : error_name(m->code));
	session_abort(s, &why);
}

static void
on_request(struct session *s, const struct message *m, struct session_event *ev)
{
	calls_open(&s->theirs, m, NULL);
	ev->kind = SESSION_EV_REQUEST;
}

static void
on_answer(struct session *s, const struct frame_header *h, struct session_event *ev)
{
	struct call *call = calls_find(&s->ours, h->stream);

	if (!expect(call != NULL)) /* it was there when the header came */
		return;
	if (!call->cancelled) {
		ev->kind = SESSION_EV_ANSWER;
		ev->owner = call->owner;
		ev->end = (h->flags & FRAME_END) != 0;
	}
	if ((h->flags & FRAME_END) != 0)
		calls_close(&s->ours, call);
}

static void
on_cancel(struct session *s, uint32_t stream, struct session_event *ev)
{
	struct message m = { .type = FRAME_ERROR, .stream = stream };
	struct call *call = calls_find(&s->theirs, stream);

	if (call == NULL) /* our answer and their CANCEL have crossed */
		return;
	calls_close(&s->theirs, call);
	output_drop(&s->out, stream);
	m.error = (struct msg_error){ .code = ERR_CANCELED };
	(void)session_queue(s, &m, NULL);
	ev->kind = SESSION_EV_CANCEL;
}

static enum err
on_message(struct session *s, struct session_event *ev, struct error *e)
{
	struct message *m = &ev->message;
	enum err r = message_decode(&s->in.header, buf_bytes(&s->in.payload), m, e);

	if (r != OK)
		return r;
	switch (rules_role(m->type)) {
	case ROLE_REQUEST:
		on_request(s, m, ev);
		break;
	case ROLE_ANSWER:
		on_answer(s, &s->in.header, ev);
		break;
	case ROLE_CANCEL:
		on_cancel(s, m->stream, ev);
		break;
	case ROLE_PUSH:
		ev->kind = SESSION_EV_PUSH;
		break;
	case ROLE_ERROR:
		if (m->stream == 0)
			on_fatal(s, &m->error);
		else
			on_answer(s, &s->in.header, ev);
		break;
	case ROLE_CONTROL:
		if (m->type == FRAME_HELLO)
			return on_hello(s, m, ev, e);
		if (m->type == FRAME_PING)
			on_ping(s, m->ping.token);
		else if (m->type == FRAME_PONG)
			on_pong(s, m->ping.token);
		else
			on_bye(s, ev);
		break;
	case ROLE_UNKNOWN:
		break;
	}
	return OK;
}

static enum err
take_block(struct session *s, struct call *call, struct block *b, struct error *e)
{
	const struct frame_header *h = &s->in.header;
	struct bytes payload = BYTES(b->bytes, b->len);

	return h->type == FRAME_NODE
		   ? calls_take_node(call, payload, h->flags, e)
		   : calls_take_data(call, payload, (h->flags & FRAME_END) != 0, e);
}

static enum err
on_block(struct session *s, struct session_event *ev, struct error *e)
{
	auto_(block_free_p) struct block *b = take_ptr(s->in.block);
	struct call *call = calls_find(&s->ours, s->in.header.stream);
	bool last = (s->in.header.flags & FRAME_END) != 0;

	s->last_block_ms = s->now_ms;
	if (!expect(call != NULL)) /* it was there when the header came */
		return OK;
	if (!call->cancelled) {
		enum err r = take_block(s, call, b, e);
		if (r != OK)
			return r;
		ev->kind = SESSION_EV_RAW;
		ev->header = s->in.header;
		ev->owner = call->owner;
		ev->end = last;
		ev->block = take_ptr(b);
	}
	if (last)
		calls_close(&s->ours, call);
	return OK;
}

/* The frame that is whole; at most one event. */
static void
take_frame(struct session *s, struct session_event *ev)
{
	struct error e;
	enum err r = OK;

	ev->stream = s->in.header.stream;
	if (s->in.mode == INPUT_MESSAGE)
		r = on_message(s, ev, &e);
	else if (s->in.mode == INPUT_BLOCK)
		r = on_block(s, ev, &e);
	input_done(&s->in);
	if (r != OK) {
		ev->kind = SESSION_EV_NONE;
		session_close(s, &e);
	}
}

static void
next_after_close(struct session *s, struct session_event *ev)
{
	if (!s->told_closed) {
		s->told_closed = true;
		ev->kind = SESSION_EV_CLOSED;
		ev->error = s->why;
		return;
	}
	while (s->ours.open.len > 0 && ev->kind == SESSION_EV_NONE) {
		struct call *call = &s->ours.open.at[s->ours.open.len - 1];
		if (!call->cancelled) {
			ev->kind = SESSION_EV_LOST;
			ev->stream = call->stream;
			ev->owner = call->owner;
			ev->end = true;
		}
		calls_close(&s->ours, call);
	}
}

void
session_next(struct session *s, struct session_event *ev)
{
	*ev = (struct session_event){ .kind = SESSION_EV_NONE };
	input_forget(&s->in); /* the message given last is no longer borrowed */
	while (s->in.ready && ev->kind == SESSION_EV_NONE)
		take_frame(s, ev);
	if (ev->kind == SESSION_EV_NONE && s->state == SESSION_CLOSED)
		next_after_close(s, ev);
}

/* -- output -- */

struct bytes
session_output(struct session *s)
{
	return output_front(&s->out);
}

void
session_sent(struct session *s, size_t n)
{
	s->bytes_out += n;
	output_sent(&s->out, n);
}

bool
session_output_is_message(const struct session *s)
{
	return output_is_message(&s->out);
}

bool
session_output_has_begun(const struct session *s)
{
	return output_has_begun(&s->out);
}

size_t
session_queued(const struct session *s)
{
	return s->out.queued;
}

void
session_admit(struct session *s)
{
	if (s->state == SESSION_CLOSED || s->state == SESSION_READY)
		return;
	if (!expect(s->state == SESSION_JUDGING || s->state == SESSION_GUEST))
		return;
	enter(s, SESSION_READY);
	s->last_in_ms = s->now_ms;
}

void
session_admit_guest(struct session *s)
{
	if (s->state == SESSION_CLOSED)
		return;
	if (expect(s->state == SESSION_JUDGING))
		enter(s, SESSION_GUEST);
}

uint16_t
session_version(const struct session *s)
{
	return s->version;
}

enum err
session_request(
    struct session *s, struct message *m, void *owner, uint32_t *ret_stream, struct error *e)
{
	uint32_t stream = s->ours.last_stream == 0 ? (s->dialer ? 1 : 2) : s->ours.last_stream + 2;

	if (rules_role(m->type) != ROLE_REQUEST)
		return fail(e, ERR_BUG, "frame type %u is no request", m->type);
	if (s->state != SESSION_READY)
		return fail(e, ERR_OFFLINE, "the connection is not ready");
	if (s->ours.last_stream > UINT32_MAX - 2)
		return fail(
		    e, ERR_OFFLINE, "the connection has used up its streams: open a new one");
	enum err r = calls_room(&s->ours, m->type, e);
	if (r != OK)
		return r;
	m->stream = stream;
	r = session_queue(s, m, e);
	if (r != OK)
		return r;
	calls_open(&s->ours, m, owner)->since_ms = s->now_ms;
	if (ret_stream != NULL)
		*ret_stream = stream;
	return OK;
}

void
session_cancel(struct session *s, uint32_t stream)
{
	struct message m = { .type = FRAME_CANCEL, .stream = stream };
	struct call *call = calls_find(&s->ours, stream);

	if (call == NULL || call->cancelled)
		return;
	call->cancelled = true;
	call->since_ms = s->now_ms;
	if (s->state == SESSION_READY)
		(void)session_queue(s, &m, NULL);
}

enum err
session_send(struct session *s, const struct message *m, struct error *e)
{
	enum rules_role role = rules_role(m->type);
	bool answer = role == ROLE_ANSWER || (role == ROLE_ERROR && m->stream != 0);

	if (!answer && (role != ROLE_PUSH || m->stream != 0))
		return fail(e, ERR_BUG, "frame type %u on stream %u is neither answer nor push",
		    m->type, m->stream);
	if (s->state != SESSION_READY && !(answer && s->state == SESSION_GUEST))
		return fail(e, ERR_OFFLINE, "the connection is not ready");
	struct call *call = answer ? calls_find(&s->theirs, m->stream) : NULL;
	if (answer && call == NULL)
		return fail(e, ERR_CANCELED, "nobody waits on stream %u", m->stream);
	if (role == ROLE_ANSWER && rules_answer(call->type) != m->type)
		return fail(e, ERR_BUG, "%s in answer to %s", frame_type_name(m->type),
		    frame_type_name(call->type));
	enum err r = session_queue(s, m, e);
	if (r == OK && answer)
		calls_close(&s->theirs, call);
	return r;
}

enum err
session_answer_error(struct session *s, uint32_t stream, const struct error *why, uint32_t unit)
{
	struct message m = { .type = FRAME_ERROR, .stream = stream };
	char text[LIMIT_TEXT];

	if (!session_is_wanted(s, stream))
		return OK;
	m.error = (struct msg_error){
		.code = (uint16_t)why->code, .text = plain_text(why->text, text), .unit = unit
	};
	return session_send(s, &m, NULL);
}

void
session_answer_ok(struct session *s, uint32_t stream)
{
	const struct message m = { .type = FRAME_OK, .stream = stream };
	struct error e;

	if (session_is_wanted(s, stream) && session_send(s, &m, &e) != OK)
		log_debug("session: %s", e.text);
}

uint64_t
session_send_raw(struct session *s, uint16_t type, uint16_t flags, uint32_t stream, struct block *b)
{
	struct call *call = calls_find(&s->theirs, stream);
	const struct frame_header h = {
		.length = b->len, .type = type, .flags = flags, .stream = stream
	};

	if (s->state != SESSION_READY || call == NULL ||
	    !expect(rules_answer(call->type) == type)) {
		block_free(b);
		return 0;
	}
	frame_header_encode(&h, b->header);
	uint64_t number = output_block(&s->out, stream, b);
	if ((flags & FRAME_END) != 0)
		calls_close(&s->theirs, call);
	return number;
}

uint64_t
session_raw_gone(const struct session *s)
{
	return output_gone(&s->out);
}

bool
session_is_wanted(const struct session *s, uint32_t stream)
{
	return calls_find(&s->theirs, stream) != NULL;
}

/* -- time -- */

void
session_paused(struct session *s, bool paused, uint64_t now_ms)
{
	if (s->paused && !paused)
		s->last_in_ms = s->in.begun_ms = s->resumed_ms = now_ms;
	s->paused = paused;
	s->now_ms = now_ms;
}

enum session_state
session_state(const struct session *s)
{
	return s->state;
}

uint32_t
session_rtt_ms(const struct session *s)
{
	return (s->rtt_ms8 + 7) / 8;
}

uint32_t
session_rtt_min_ms(const struct session *s)
{
	return s->rtt_min_ms;
}

void
session_probe(struct session *s)
{
	s->probe = true;
}

uint32_t
session_asking(const struct session *s)
{
	return (uint32_t)s->ours.open.len;
}

uint64_t
session_bytes_in(const struct session *s)
{
	return s->bytes_in;
}

uint64_t
session_bytes_out(const struct session *s)
{
	return s->bytes_out;
}
