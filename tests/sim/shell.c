#include "tests/sim/shell.h"

#include "base/mem.h"

static void
drain(struct shell *sh)
{
	struct session_event ev;

	for (session_next(sh->session, &ev); ev.kind != SESSION_EV_NONE;
	     session_next(sh->session, &ev)) {
		if (ev.kind == SESSION_EV_CLOSED)
			sh->why = ev.error;
		else
			sh->ev->on_event(sh->owner, sh, &ev);
	}
}

static void
schedule_tick(struct shell *sh)
{
	uint64_t next = session_tick(sh->session, sim_now_ms(sh->sim));

	if (next == UINT64_MAX)
		sim_cancel(sh->sim, &sh->tick);
	else
		sim_at(sh->sim, &sh->tick, next * SIM_MS);
}

static void
drip(struct shell *sh)
{
	struct bytes b = session_output(sh->session);
	uint64_t next_us = sh->dripped_us + SIM_S;

	if (b.len == 0)
		return;
	if (sh->sim->now_us >= next_us) {
		session_sent(sh->session, wire_write(sh->wire, sh->side, bytes_slice(b, 0, 1)));
		sh->dripped_us = sh->sim->now_us;
		next_us = sh->dripped_us + SIM_S;
	}
	sim_at(sh->sim, &sh->work, next_us);
}

static void
send_out(struct shell *sh)
{
	if (sh->drips) {
		drip(sh);
		return;
	}
	for (;;) {
		struct bytes b = session_output(sh->session);
		size_t n = b.len > 0 ? wire_write(sh->wire, sh->side, b) : 0;
		if (n == 0)
			return;
		session_sent(sh->session, n);
	}
}

/* Sends, lets the owner produce, and tells the end. */
static void
on_work(struct sim *s, struct sim_event *ev)
{
	struct shell *sh = container_of(ev, struct shell, work);

	(void)s;
	if (sh->told_closed)
		return;
	size_t before;
	do {
		sh->most_queued = max_of(sh->most_queued, session_queued(sh->session));
		send_out(sh);
		before = session_queued(sh->session);
		if (session_state(sh->session) == SESSION_READY && before < LIMIT_OUTPUT_QUEUE / 2)
			sh->ev->on_writable(sh->owner, sh);
	} while (session_queued(sh->session) > before);
	drain(sh);
	schedule_tick(sh);
	if (session_state(sh->session) != SESSION_CLOSED || session_queued(sh->session) > 0)
		return;
	sh->told_closed = true;
	sim_cancel(sh->sim, &sh->tick);
	wire_close(sh->wire, sh->side);
	sh->ev->on_closed(sh->owner, sh, &sh->why);
}

void
shell_flush(struct shell *sh)
{
	if (sh->session != NULL && !sh->told_closed && !sim_is_scheduled(&sh->work))
		sim_at(sh->sim, &sh->work, sh->sim->now_us);
}

static void
on_tick(struct sim *s, struct sim_event *ev)
{
	struct shell *sh = container_of(ev, struct shell, tick);

	(void)s;
	schedule_tick(sh);
	drain(sh);
	shell_flush(sh);
}

void
shell_init(
    struct shell *sh, struct sim *s, unsigned side, const struct shell_events *ev, void *owner)
{
	*sh = (struct shell){ .sim = s, .side = side, .ev = ev, .owner = owner };
	sh->tick.fn = on_tick;
	sh->work.fn = on_work;
}

void
shell_clear(struct shell *sh)
{
	sim_cancel(sh->sim, &sh->tick);
	sim_cancel(sh->sim, &sh->work);
	session_free(sh->session);
	sh->session = NULL;
}

void
shell_close(struct shell *sh, const struct error *why)
{
	if (sh->session == NULL)
		return;
	session_close(sh->session, why);
	shell_flush(sh);
}

/* -- the wire's side -- */

static void
on_open(void *ctx, struct wire *w)
{
	struct shell *sh = ctx;
	const struct message m = { .type = FRAME_HELLO,
		.hello = {
		    LIMIT_VERSION_MIN, LIMIT_VERSION_MAX, .software = BYTES_LIT("weft sim") } };
	struct buf hello = BUF(LIMIT_FRAME_GUEST);
	struct error e;

	sh->wire = w;
	if (message_encode(&m, &hello, &e) != OK)
		abort();
	sh->session = session_new(&(struct session_opts){
	    .dialer = sh->side == 0, .hello = buf_bytes(&hello), .now_ms = sim_now_ms(sh->sim) });
	buf_clear(&hello);
	shell_flush(sh);
}

static void
on_bytes(void *ctx, struct wire *w, struct bytes b)
{
	struct shell *sh = ctx;
	size_t n;

	(void)w;
	do {
		n = session_feed(sh->session, b, sim_now_ms(sh->sim));
		b = bytes_slice(b, n, b.len - n);
		drain(sh);
	} while (b.len > 0 && session_state(sh->session) != SESSION_CLOSED);
	shell_flush(sh);
}

static void
on_room(void *ctx, struct wire *w)
{
	(void)w;
	shell_flush(ctx);
}

static void
on_lost(void *ctx, struct wire *w)
{
	struct shell *sh = ctx;
	struct error why;

	sh->wire = w;
	fail(&why, ERR_OFFLINE, "the connection broke");
	if (sh->session == NULL) { /* never open */
		sh->why = why;
		sh->told_closed = true;
		sh->ev->on_closed(sh->owner, sh, &sh->why);
		return;
	}
	session_abort(sh->session, &why);
	shell_flush(sh);
}

const struct wire_side_events shell_wire_events = { on_open, on_bytes, on_room, on_lost };
