#include "base/mem.h"
#include "session/session_private.h"

static void
time_out(struct session *s, const char *what)
{
	struct error e;

	fail(&e, ERR_OFFLINE, "%s", what);
	session_close(s, &e);
}

static uint64_t
ping_interval(const struct session *s)
{
	return s->ours.n_units > 0 ? LIMIT_PING_BUSY_MS : LIMIT_PING_MS;
}

/* When the next ping is due: after silence; while units are awaited in any case, for the round-trip
 * time. */
static uint64_t
ping_due(const struct session *s)
{
	uint64_t from = s->last_ping_ms;

	if (s->ping_token == 0 || (s->probe && !s->awaits_pong))
		return s->entered_ms;
	if (s->ours.n_units == 0)
		from = max_of(from, s->last_in_ms);
	return from + ping_interval(s);
}

static void
ping(struct session *s)
{
	s->missed_pings = s->ping_token > 0 && !s->heard && !s->paused ? s->missed_pings + 1 : 0;
	if (s->missed_pings >= LIMIT_DEAD_PINGS) {
		time_out(s, "the other side has fallen silent");
		return;
	}
	const struct message m = { .type = FRAME_PING, .ping = { ++s->ping_token } };
	s->last_ping_ms = s->now_ms;
	s->awaits_pong = true;
	s->probe = false;
	s->heard = false;
	(void)session_queue(s, &m, NULL);
}

/* When a request must have come to its end, or further.  Units have rules of their own, with
 * whoever asks for them. */
static uint64_t
call_due(const struct session *s, const struct call *call)
{
	uint64_t since = max_of(call->since_ms, s->resumed_ms);

	if (call->cancelled)
		return since + LIMIT_CANCEL_MS;
	if (call->type == FRAME_GET_UNITS)
		return UINT64_MAX;
	if (call->type == FRAME_GET_NODES) /* it waits in line with what else we asked for */
		since = max_of(since, s->last_block_ms);
	return since + LIMIT_ANSWER_MS;
}

static uint64_t
tick_ready(struct session *s)
{
	uint64_t due = ping_due(s);

	if (s->now_ms >= due) {
		ping(s);
		due = ping_due(s);
	}
	for (size_t i = 0; s->state == SESSION_READY && !s->paused && i < s->ours.open.len; i++) {
		uint64_t by = call_due(s, &s->ours.open.at[i]);
		if (s->now_ms >= by)
			time_out(s, "the other side does not answer");
		due = min_of(due, by);
	}
	return due;
}

/* Last words are sent in their time or not at all. */
static uint64_t
tick_closed(struct session *s)
{
	uint64_t due = s->entered_ms + LIMIT_CLOSE_MS;

	if (s->now_ms >= due)
		output_clear(&s->out);
	return s->out.queued > 0 ? due : UINT64_MAX;
}

/* Of the frame that has begun. */
static uint64_t
frame_due(const struct session *s)
{
	return input_is_within(&s->in) && !s->paused ? s->in.begun_ms + LIMIT_FRAME_MS : UINT64_MAX;
}

static uint64_t
tick_early(struct session *s)
{
	bool greeting = s->state == SESSION_GREETING;
	uint64_t due =
	    greeting ? s->opened_ms + LIMIT_HANDSHAKE_MS : s->entered_ms + LIMIT_GUEST_MS;

	if (s->now_ms >= due)
		time_out(s, greeting ? "no greeting within the time for it"
				     : "no membership within the time for it");
	return due;
}

uint64_t
session_tick(struct session *s, uint64_t now_ms)
{
	uint64_t due = UINT64_MAX;

	s->now_ms = now_ms;
	if (s->state == SESSION_READY)
		due = tick_ready(s);
	else if (s->state != SESSION_CLOSED)
		due = tick_early(s);
	if (s->state != SESSION_CLOSED && now_ms >= frame_due(s))
		time_out(s, "a frame takes too long");
	return s->state == SESSION_CLOSED ? tick_closed(s) : min_of(due, frame_due(s));
}
