#include "tests/sim/world.h"

#include "base/mem.h"

enum { STEP_MS = 900, ROUNDS = 70, PINGS = 2500, CANCELS = 50, FRAME_MAX = 512 };

static void
put(struct attacker *a, struct bytes b)
{
	(void)wire_write(a->wire, 0, b);
}

static void
put_message(struct attacker *a, const struct message *m)
{
	struct buf out = BUF(LIMIT_FRAME_HEADER + LIMIT_FRAME_MESSAGE);
	struct error e;

	if (message_encode(m, &out, &e) != OK)
		abort();
	put(a, buf_bytes(&out));
	buf_clear(&out);
}

static void
put_hello(struct attacker *a)
{
	const struct message m = { .type = FRAME_HELLO,
		.hello = { 1, 1, .software = BYTES_LIT("not weft") } };

	put_message(a, &m);
}

static void
put_request(struct attacker *a, uint32_t unit)
{
	struct message m = { .type = FRAME_GET_UNITS, .stream = a->stream };

	a->stream += 2;
	m.get_units = (struct msg_get_units){ .share = a->w->content.share,
		.snapshot = a->w->content.snapshot,
		.unit_size = a->w->content.unit_size,
		.unit = unit };
	put_message(a, &m);
}

static void
begin(struct attacker *a)
{
	const struct frame_header huge = {
		.length = UINT32_MAX, .type = FRAME_RESOLVE, .stream = 1
	};
	uint8_t bytes[600];

	if (a->attack != ATTACK_DRIP && a->attack != ATTACK_SILENT)
		put_hello(a);
	switch (a->attack) {
	case ATTACK_FLOOD:
		for (uint32_t i = 0; i < LIMIT_UNITS_OPEN + 1; i++)
			put_request(a, 0);
		break;
	case ATTACK_UNREAD:
		wire_stop_reading(a->wire, 0);
		for (uint32_t i = 0; i < LIMIT_UNITS_OPEN; i++)
			put_request(a, (uint32_t)(i % a->w->content.store.units.len));
		break;
	case ATTACK_PINGS:
	case ATTACK_CANCELS:
		wire_stop_reading(a->wire, 0);
		break;
	case ATTACK_GARBAGE:
		rng_fill(&a->w->sim.rng, bytes, sizeof bytes);
		put(a, BYTES_OF(bytes));
		break;
	case ATTACK_HUGE:
		frame_header_encode(&huge, bytes);
		put(a, BYTES(bytes, LIMIT_FRAME_HEADER));
		break;
	case ATTACK_GUEST:
		put_request(a, 0);
		break;
	default:
		break;
	}
}

/* Whole frames, as far as the line takes them. */
static void
pester(struct attacker *a)
{
	struct message m = { .type = a->attack == ATTACK_PINGS ? FRAME_PING : FRAME_CANCEL };
	unsigned n = a->attack == ATTACK_PINGS ? PINGS : CANCELS;

	for (unsigned i = 0; i < n && wire_room(a->wire, 0) >= 2 * FRAME_MAX; i++) {
		if (m.type == FRAME_PING)
			m.ping.token = i;
		else
			m.stream = a->stream;
		if (m.type == FRAME_CANCEL)
			put_request(a, 0);
		put_message(a, &m);
	}
	a->rounds++;
}

static void
drip(struct attacker *a)
{
	const struct frame_header h = { .length = 100, .type = FRAME_HELLO };
	uint8_t head[LIMIT_FRAME_HEADER];

	if (a->stream < LIMIT_FRAME_HEADER) { /* of the greeting that never ends */
		frame_header_encode(&h, head);
		put(a, BYTES(head + a->stream, 1));
		a->stream++;
	} else {
		put(a, BYTES("\0", 1));
	}
}

static void
on_step(struct sim *s, struct sim_event *ev)
{
	struct attacker *a = container_of(ev, struct attacker, step);

	if (a->lost || a->rounds == ROUNDS)
		return;
	if (a->attack == ATTACK_DRIP)
		drip(a);
	else
		pester(a);
	sim_at(s, ev, s->now_us + STEP_MS * SIM_MS);
}

static void
on_open(void *ctx, struct wire *w)
{
	struct attacker *a = ctx;

	a->wire = w;
	begin(a);
	if (a->attack == ATTACK_DRIP)
		a->stream = 0;
	if (a->attack == ATTACK_DRIP || a->attack == ATTACK_PINGS || a->attack == ATTACK_CANCELS)
		sim_at(&a->w->sim, &a->step, a->w->sim.now_us);
}

static void
on_bytes(void *ctx, struct wire *w, struct bytes b)
{
	(void)ctx;
	(void)w;
	(void)b;
}

static void
on_room(void *ctx, struct wire *w)
{
	(void)ctx;
	(void)w;
}

static void
on_lost(void *ctx, struct wire *w)
{
	(void)w;
	((struct attacker *)ctx)->lost = true;
}

static const struct wire_side_events events = { on_open, on_bytes, on_room, on_lost };

struct attacker *
attacker_new(struct world *w, uint32_t node, enum attack attack, struct server *s)
{
	struct attacker *a = mem_new(struct attacker);

	*a = (struct attacker){ .w = w, .node = node, .attack = attack, .server = s, .stream = 1 };
	a->step.fn = on_step;
	a->conn = server_accept(s, attack != ATTACK_GUEST);
	a->wire = wire_dial(&w->sim, &(struct wire_opts){ .from = node,
					 .to = s->node,
					 .window = 1 << 20,
					 .events = { &events, &shell_wire_events },
					 .ctx = { a, &a->conn->shell } });
	array_push(&w->wires, a->wire);
	array_push(&w->attackers, a);
	return a;
}

void
attacker_free(struct attacker *a)
{
	sim_cancel(&a->w->sim, &a->step);
	free(a);
}
