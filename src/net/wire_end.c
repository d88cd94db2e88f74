#include "net/wire_end.h"

#include <assert.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"

static const char *const state_name[] = {
#define X(name) #name,
	WIRE_STATES(X)
#undef X
};

#define TO(s) (1u << WIRE_##s)
static const unsigned may_enter[] = {
	[WIRE_CONNECTING] = TO(SHAKING) | TO(OPEN) | TO(BROKEN) | TO(CLOSED),
	[WIRE_SHAKING] = TO(OPEN) | TO(BROKEN) | TO(CLOSED),
	[WIRE_OPEN] = TO(LEAVING) | TO(BROKEN) | TO(CLOSED),
	[WIRE_LEAVING] = TO(BROKEN) | TO(CLOSED),
	[WIRE_BROKEN] = TO(CLOSED),
	[WIRE_CLOSED] = 0,
};

void
wire_end_enter(struct wire *w, enum wire_state next)
{
	assert(may_enter[w->state] & (1u << next));
	log_debug("wire %d: %s -> %s", w->fd, state_name[w->state], state_name[next]);
	w->state = next;
}

enum err
wire_end_fail_lost(struct error *e, int sys)
{
	return error_set(e, ERR_OFFLINE, sys, HERE, "connection lost: %s", strerror(sys));
}

void
wire_end_with(struct wire *w, const struct error *why)
{
	if (w->state >= WIRE_BROKEN)
		return;
	wire_end_enter(w, WIRE_BROKEN);
	uv_poll_stop(&w->poll);
	w->polling = 0;
	w->clean = why == NULL;
	if (why != NULL && w->why == NULL)
		w->why = mem_dup(why, sizeof *why);
	task_start(&w->settle);
}

void
wire_end_lost(struct wire *w, int sys)
{
	struct error e = { 0 };

	(void)wire_end_fail_lost(&e, sys);
	wire_end_with(w, &e);
}

static void
on_deadline(void *ctx)
{
	struct wire *w = ctx;
	struct error e = { 0 };

	if (w->state == WIRE_LEAVING)
		(void)fail(&e, ERR_OFFLINE, "the other side took no more for %d s",
		    WIRE_GOODBYE_MS / 1000);
	else if (w->state == WIRE_OPEN)
		(void)fail(&e, ERR_OFFLINE, "connection lost"); /* mute: the first error is told */
	else
		(void)fail(&e, ERR_OFFLINE, "no answer in time to %s",
		    w->state == WIRE_CONNECTING ? "the call" : "the TLS handshake");
	wire_end_with(w, w->hung_up ? NULL : &e);
}

void
wire_end_set_deadline(struct wire *w, uint64_t ms)
{
	if (w->deadline == NULL)
		w->deadline = timer_new(w->loop, on_deadline, w);
	timer_start(w->deadline, ms);
}

void
wire_end_drop_deadline(struct wire *w)
{
	timer_close(w->deadline);
	w->deadline = NULL;
}

void
wire_end_mute(struct wire *w, int sys)
{
	struct error e = { 0 };

	(void)wire_end_fail_lost(&e, sys);
	if (w->state != WIRE_OPEN || w->paused) {
		wire_end_with(w, &e);
		return;
	}
	w->mute = true;
	w->why = mem_dup(&e, sizeof e);
	wire_end_set_deadline(w, WIRE_LAST_WORDS_MS);
}
