/* What those do who are not what they seem. */
#include "base/mem.h"
#include "tests/sim/mesh.h"

enum { ACT_MS = 300 };

static bool
one_in(struct link *l, uint64_t n)
{
	return rng_below(&l->me->w->sim.rng, n) == 0;
}

static bool
lies(struct link *l, uint64_t n)
{
	if (!one_in(l, n))
		return false;
	l->me->lies++;
	return true;
}

/* -- words -- */

static void
tell_other_numbers(struct link *l, struct message *m)
{
	static const uint8_t nobody[32];

	l->me->lies++;
	switch (rng_below(&l->me->w->sim.rng, 5)) {
	case 0:
		m->enter.units++;
		break;
	case 1:
		m->enter.unit_size *= 2;
		break;
	case 2:
		m->enter.snapshot.bytes[3] ^= 1;
		break;
	case 3:
		m->enter.share.bytes[3] ^= 1;
		break;
	default:
		m->enter.grant = BYTES_OF(nobody);
		break;
	}
}

/* NEWS of one run in a list at random; valid until the next call. */
static void
tell_run(struct link *l, struct message *m, uint32_t n)
{
	static uint8_t bytes[12];
	struct rng *rng = &l->me->w->sim.rng;
	struct bytes *const lists[] = { &m->news.have, &m->news.await, &m->news.drop,
		&m->news.skip };
	struct buf b = BUF(sizeof bytes);
	uint32_t next = 0, first = (uint32_t)rng_below(rng, n);

	l->me->lies++;
	message_units_add(&b, &next, first, 1 + (uint32_t)rng_below(rng, n - first));
	memcpy(bytes, b.at, b.len);
	*m = (struct message){ .type = FRAME_NEWS,
		.news = { .job = MESH_JOB + l->me->index,
		    .inbound = (uint32_t)rng_below(rng, 40),
		    .starving = (uint8_t)rng_below(rng, 2) } };
	*lists[rng_below(rng, 4)] = BYTES(bytes, b.len);
	buf_clear(&b);
}

static void
tell_all(struct link *l, struct message *m)
{
	static uint8_t bytes[12];
	struct buf b = BUF(sizeof bytes);
	uint32_t next = 0;

	l->me->lies++;
	message_units_add(&b, &next, 0, (uint32_t)l->me->store.units.len);
	memcpy(bytes, b.at, b.len);
	m->news.await = m->news.drop = m->news.skip = BYTES(NULL, 0);
	m->news.have = BYTES(bytes, b.len);
	buf_clear(&b);
}

bool
liar_speaks(struct link *l, struct message *m)
{
	uint32_t n = (uint32_t)l->me->store.units.len;

	if (l->me->lie == MESH_STRANGER && m->type == FRAME_ENTER)
		tell_other_numbers(l, m);
	if (l->me->lie == MESH_BRAG && m->type == FRAME_NEWS)
		tell_all(l, m);
	if (l->me->lie == MESH_GOSSIP && m->type == FRAME_NEWS)
		tell_run(l, m, n);
	if (l->me->lie == MESH_BEYOND && m->type == FRAME_NEWS && one_in(l, 4))
		tell_run(l, m, n + 1000);
	if (l->me->lie == MESH_BEYOND && m->type == FRAME_OFFER && lies(l, 4))
		m->offer.unit += n;
	return true;
}

/* -- deeds -- */

static void
say_nonsense(struct link *l)
{
	struct rng *rng = &l->me->w->sim.rng;
	uint32_t job = MESH_JOB + (uint32_t)rng_below(rng, MESH_MEMBERS);
	uint32_t unit = (uint32_t)rng_below(rng, l->me->store.units.len);
	struct message m = { .type = FRAME_EXIT, .exit.job = job };

	switch (rng_below(rng, 5)) {
	case 0:
		m.type = FRAME_OFFER;
		m.offer = (struct msg_offer){ job, unit };
		break;
	case 1:
		m.type = FRAME_DECLINE;
		m.decline = (struct msg_decline){ job, unit, DECLINE_BUSY, 3600000 };
		break;
	case 2:
		tell_run(l, &m, (uint32_t)l->me->store.units.len);
		break;
	case 3: /* as if it were the server */
		m.type = FRAME_MEMBERS;
		m.members = (struct msg_members){ .share = l->me->w->content.share,
			.snapshot = l->me->w->content.snapshot,
			.whole = 1 };
		break;
	default:
		break;
	}
	l->me->lies++;
	link_say(l, &m);
}

static void
refuse_everything(struct link *l)
{
	struct message m = { .type = FRAME_DECLINE };

	l->me->lies++;
	m.decline = (struct msg_decline){ MESH_JOB + l->me->index,
		(uint32_t)rng_below(&l->me->w->sim.rng, l->me->store.units.len), DECLINE_HELD, 0 };
	link_say(l, &m);
}

static void
ask_for_more(struct link *l)
{
	struct mesh_ask *a = mem_new(struct mesh_ask);
	struct rng *rng = &l->me->w->sim.rng;
	struct message m = { .type = FRAME_GET_UNITS,
		.get_units = { .share = l->me->w->content.share,
		    .snapshot = l->me->w->content.snapshot,
		    .unit_size = l->me->w->content.unit_size,
		    .unit = (uint32_t)rng_below(rng, l->me->store.units.len) } };
	const struct unit *u = &l->me->store.units.at[m.get_units.unit];
	struct error e;

	*a = (struct mesh_ask){ .link = l, .unit = m.get_units.unit };
	transfer_check_init(&a->check, u, &l->me->store.ids.at[u->first_chunk],
	    &l->me->store.lens.at[u->first_chunk], store_unit_chunks(&l->me->store, u));
	l->me->lies++;
	if (session_request(l->shell.session, &m, a, &a->stream, &e) != OK) {
		free(a);
		return;
	}
	if (one_in(l, 2)) {
		session_cancel(l->shell.session, a->stream);
		free(a);
		return;
	}
	array_push(&l->asks, a);
}

/* Bytes that no session of ours would send. */
static void
write_junk(struct link *l)
{
	static const uint16_t turns[] = { FRAME_HELLO, FRAME_OK, FRAME_DATA, FRAME_NODE,
		FRAME_JOINED, FRAME_ROWS, FRAME_CANCEL };
	struct rng *rng = &l->me->w->sim.rng;
	uint8_t junk[200];
	struct frame_header h = { .length = 50, .stream = 99998 };

	if (session_queued(l->shell.session) > 0)
		return; /* between frames */
	l->me->lies++;
	rng_fill(rng, junk, sizeof junk);
	h.type = l->me->lie == MESH_UNKNOWN ? 200 : turns[rng_below(rng, lengthof(turns))];
	h.stream = l->me->lie == MESH_UNKNOWN ? 0 : h.stream;
	if (l->me->lie != MESH_GARBAGE)
		frame_header_encode(&h, junk);
	(void)wire_write(l->shell.wire, l->shell.side,
	    BYTES(junk, l->me->lie == MESH_GARBAGE ? sizeof junk : LIMIT_FRAME_HEADER + h.length));
}

void
liar_acts(struct link *l)
{
	uint64_t now_us = l->me->w->sim.now_us;

	if (l->me->lie == MESH_NONE || !l->ready || !l->entered ||
	    now_us < l->last_say_us + ACT_MS * SIM_MS)
		return;
	l->last_say_us = now_us;
	switch (l->me->lie) {
	case MESH_GARBAGE:
	case MESH_TURN:
	case MESH_UNKNOWN:
		write_junk(l);
		break;
	case MESH_GOSSIP:
		say_nonsense(l);
		break;
	case MESH_GREEDY:
		ask_for_more(l);
		break;
	case MESH_REFUSER:
		refuse_everything(l);
		break;
	default:
		break;
	}
}

bool
liar_refuses(const struct link *l)
{
	return l->me->lie == MESH_BRAG;
}

uint16_t
liar_spoils(struct link *l, const struct serve_frame *f, struct block *b, uint16_t flags)
{
	struct data_prefix p = f->prefix;
	uint32_t lists = LIMIT_DATA_PREFIX, leaves = lists + p.lists_bytes;
	struct rng *rng = &l->me->w->sim.rng;

	switch (l->me->lie) {
	case MESH_BYTES:
		if (lies(l, 3))
			b->bytes[leaves + rng_below(rng, b->len - leaves)] ^= 0x10;
		break;
	case MESH_LISTS:
		if (p.lists_bytes > 0 && lies(l, 2))
			b->bytes[lists + rng_below(rng, p.lists_bytes)] ^= 0x10;
		break;
	case MESH_MORE:
		if (!lies(l, 3))
			break;
		p.n_leaves++;
		frame_data_encode(&p, b->bytes);
		b->bytes[b->len < b->room ? b->len++ : b->len - 1] = 0;
		break;
	case MESH_SHORT:
		if (!f->end && lies(l, 3))
			flags |= FRAME_END;
		break;
	case MESH_SLOW:
		l->me->lies++;
		l->shell.drips = true;
		break;
	default:
		break;
	}
	return flags;
}
