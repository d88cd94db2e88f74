/*
 * A script of what peers say and of what happens here, in any order, for one swarm and its
 * swarm_talk.  Whatever comes: nothing is asked for twice or that is here, nothing is offered that
 * is not, what the swarm counts is what is true, peers end up knowing what we hold, and time moves
 * on.
 */
#include "base/mem.h"
#include "base/reader.h"
#include "fuzz/fuzz.h"
#include "session/swarm_talk.h"
#include "swarm/swarm_private.h"

enum {
	PEERS = 4,
	UNITS_MAX = 150,
	JOB = 7,
	STEP_US_MAX = 4 * 1000 * 1000,
	TELL_ROUNDS = 4 + SWARM_LOG_MAX / (SWARM_RUNS_MAX / 4), /* as many changes each as fit */
};

enum told { TOLD_NOTHING, TOLD_HAVE, TOLD_AWAIT, TOLD_DROP, TOLD_SKIP };
struct other {
	bool here, charged_out;
	bool asked[UNITS_MAX];       /* of it, and not over */
	bool failed[UNITS_MAX];      /* could not be asked: to be told */
	uint64_t offered[UNITS_MAX]; /* to it, when, and not answered; 0 not */
	uint8_t told[UNITS_MAX];     /* enum told */
};
struct script {
	struct reader r;
	struct swarm *swarm;
	struct swarm_talk *talk;
	uint32_t n;
	uint64_t now_us;
	bool gives_only, skipped[UNITS_MAX];
	struct other others[PEERS];
	struct buf wire; /* of one message */
};

/* -- what swarm_talk does -- */

static void
hear_units(struct script *s, struct other *o, struct bytes list, enum told told)
{
	uint32_t first = 0, n = 0;

	while (message_units_next(&list, &first, &n)) {
		fuzz_require(first < s->n && n <= s->n - first);
		memset(o->told + first, told, n);
	}
	fuzz_require(list.len == 0);
}

/* What is sent can be read by whoever gets it. */
static void
on_send(void *ctx, uint64_t peer, const struct message *m)
{
	struct script *s = ctx;
	struct other *o = &s->others[peer];
	struct frame_header h;
	struct message got;
	struct error e;

	fuzz_require(peer < PEERS && o->here);
	buf_reset(&s->wire);
	fuzz_require(message_encode(m, &s->wire, &e) == OK);
	fuzz_require(frame_header_decode(s->wire.at, false, &h, &e) == OK);
	fuzz_require(
	    message_decode(&h, bytes_slice(buf_bytes(&s->wire), LIMIT_FRAME_HEADER, h.length), &got,
		&e) == OK);
	if (got.type == FRAME_NEWS) {
		fuzz_require(got.news.job == JOB && !o->charged_out);
		hear_units(s, o, got.news.have, TOLD_HAVE);
		hear_units(s, o, got.news.await, TOLD_AWAIT);
		hear_units(s, o, got.news.drop, TOLD_DROP);
		hear_units(s, o, got.news.skip, TOLD_SKIP);
	} else if (got.type == FRAME_OFFER) {
		fuzz_require(got.offer.job == JOB && got.offer.unit < s->n && !o->charged_out);
		fuzz_require(swarm_holds(s->swarm, got.offer.unit));
		/* One without an answer ends. */
		uint64_t *at = &o->offered[got.offer.unit];
		fuzz_require(*at == 0 || s->now_us >= *at + SWARM_OFFER_US);
		*at = s->now_us;
	} else {
		fuzz_require(got.type == FRAME_DECLINE && got.decline.job == JOB);
	}
}

static void
on_take(void *ctx, uint64_t peer, uint32_t unit)
{
	struct script *s = ctx;

	fuzz_require(peer < PEERS && s->others[peer].here && !s->others[peer].charged_out);
	fuzz_require(unit < s->n && !swarm_holds(s->swarm, unit) && !s->skipped[unit]);
	for (unsigned i = 0; i < PEERS; i++)
		fuzz_require(!s->others[i].asked[unit]);
	s->others[peer].asked[unit] = true;
	s->others[peer].failed[unit] = reader_u8(&s->r) % 8 == 1;
}

static void
on_drop(void *ctx, uint64_t peer, uint32_t unit)
{
	struct script *s = ctx;

	fuzz_require(peer < PEERS && unit < s->n && s->others[peer].asked[unit]);
	s->others[peer].asked[unit] = s->others[peer].failed[unit] = false;
}

/* -- what must be so -- */

static void
check_units(const struct script *s)
{
	for (uint32_t u = 0; u < s->n; u++) {
		uint32_t copies = 0;
		for (size_t i = 0; i < s->swarm->peers.len; i++) {
			const struct swarm_peer *p = s->swarm->peers.at[i];
			bool have = bitset_has(&p->have, u), pend = bitset_has(&p->pend, u);
			fuzz_require(!have || !pend);
			fuzz_require(!p->banned || (!have && !pend));
			copies += have || pend;
		}
		fuzz_require(s->swarm->copies[u] == copies);
		fuzz_require(
		    bitset_has(&s->swarm->lone, u) == (swarm_holds(s->swarm, u) && copies == 0));
	}
}

static void
check_flights(const struct script *s)
{
	uint32_t trusted = 0;

	for (size_t i = 0; i < s->swarm->peers.len; i++) {
		const struct swarm_peer *p = s->swarm->peers.at[i];
		const struct other *o = &s->others[p->id];
		uint32_t asked = 0;
		for (size_t k = 0; k < p->flights.len; k++) {
			fuzz_require(o->asked[p->flights.at[k].unit]);
			trusted += !p->flights.at[k].suspect;
		}
		for (uint32_t u = 0; u < s->n; u++)
			asked += o->asked[u];
		fuzz_require(asked == p->flights.len);
		fuzz_require(p->slots.len <= SWARM_INBOUND + SWARM_SLOTS_MAX);
	}
	fuzz_require(swarm_awaited(s->swarm) == trusted);
	fuzz_require(s->swarm->near_log.units.len <= SWARM_LOG_MAX);
	fuzz_require(swarm_slots(s->swarm) > 0 && swarm_slots(s->swarm) <= SWARM_SLOTS_MAX);
}

/* Those who listen long enough know what is here. */
static void
check_told(struct script *s)
{
	for (unsigned i = 0; i < TELL_ROUNDS && swarm_wakes(s->swarm, s->now_us) != UINT64_MAX;
	     i++) {
		s->now_us += SWARM_BATCH_MAX_US;
		swarm_tick(s->swarm, s->now_us);
		swarm_talk_pump(s->talk, s->now_us);
	}
	for (unsigned i = 0; i < PEERS; i++) {
		const struct other *o = &s->others[i];
		for (uint32_t u = 0; o->here && !o->charged_out && u < s->n; u++)
			fuzz_require((o->told[u] == TOLD_HAVE) == swarm_holds(s->swarm, u));
	}
}

/* -- the script -- */

static uint32_t
any_unit(struct script *s)
{
	return reader_u8(&s->r) % s->n;
}

static void
come(struct script *s, unsigned i)
{
	struct other *o = &s->others[i];

	*o = (struct other){ .here = true };
	swarm_peer_add(s->swarm, i,
	    &(struct swarm_peer_opts){ .last_resort = reader_u8(&s->r) % 4 == 1 }, s->now_us);
}

static void
leave(struct script *s, unsigned i)
{
	swarm_peer_gone(s->swarm, i, s->now_us);
	s->others[i] = (struct other){ 0 };
}

/* Bytes as they are: most break a rule and come to nothing. */
static void
hear_bytes(struct script *s, unsigned i)
{
	static const uint16_t types[] = { FRAME_NEWS, FRAME_OFFER, FRAME_DECLINE, FRAME_EXIT };
	uint16_t type = types[reader_u8(&s->r) % lengthof(types)];
	size_t len = min_of((size_t)reader_u8(&s->r), reader_left(&s->r));
	struct bytes payload = reader_take(&s->r, len);
	const struct frame_header h = { .length = (uint32_t)payload.len, .type = type };
	struct message m;
	struct error e;

	if (message_decode(&h, payload, &m, &e) != OK)
		return;
	if (type == FRAME_DECLINE && m.decline.unit < s->n)
		s->others[i].offered[m.decline.unit] = 0;
	(void)!swarm_talk_message(s->talk, i, &m, s->now_us, &e);
}

static void
hear_news(struct script *s, unsigned i)
{
	struct message m = { .type = FRAME_NEWS, .news.job = 1 };
	struct bytes *const lists[] = { &m.news.have, &m.news.await, &m.news.drop, &m.news.skip };
	struct buf bufs[4];
	struct error e;

	m.news.inbound = reader_u8(&s->r);
	m.news.starving = m.news.inbound & 1;
	for (unsigned k = 0; k < 4; k++) {
		uint32_t next = 0, first;
		bufs[k] = BUF(1 << 12);
		for (uint8_t runs = reader_u8(&s->r) % 4; runs > 0; runs--) {
			first = next + reader_u8(&s->r) % 32;
			message_units_add(&bufs[k], &next, first, 1 + reader_u8(&s->r) % 32);
		}
		*lists[k] = buf_bytes(&bufs[k]);
	}
	enum err r = swarm_talk_message(s->talk, i, &m, s->now_us, &e);
	fuzz_require(r == OK || r == ERR_PROTO);
	for (unsigned k = 0; k < 4; k++)
		buf_clear(&bufs[k]);
}

static void
hear_offer(struct script *s, unsigned i)
{
	struct message m = { .type = FRAME_OFFER };
	struct error e;

	m.offer = (struct msg_offer){ .job = 1, .unit = reader_u8(&s->r) };
	enum err r = swarm_talk_message(s->talk, i, &m, s->now_us, &e);
	fuzz_require(r == (m.offer.unit < s->n ? OK : ERR_PROTO));
}

static void
hear_decline(struct script *s, unsigned i)
{
	struct message m = { .type = FRAME_DECLINE };
	struct error e;

	m.decline = (struct msg_decline){ .job = 1,
		.unit = any_unit(s),
		.reason = 1 + reader_u8(&s->r) % 4,
		.retry_ms = reader_u8(&s->r) * (uint32_t)20 };
	s->others[i].offered[m.decline.unit] = 0;
	fuzz_require(swarm_talk_message(s->talk, i, &m, s->now_us, &e) == OK);
}

/* It takes what it was offered, or what it was not; and how that went. */
static void
serve(struct script *s, unsigned i)
{
	uint32_t unit = any_unit(s);
	bool offered = s->others[i].offered[unit] != 0;
	bool wanted = swarm_talk_wanted(s->talk, i, unit, s->now_us);

	fuzz_require(!wanted || offered);
	fuzz_require(!wanted || !swarm_talk_wanted(s->talk, i, unit, s->now_us));
	s->others[i].offered[unit] = 0;
	s->now_us += reader_u16(&s->r);
	if (reader_u8(&s->r) % 4 != 0)
		swarm_sent(s->swarm, i, unit, reader_u16(&s->r), s->now_us);
	else
		swarm_withdrawn(s->swarm, i, unit, reader_u16(&s->r), s->now_us);
}

static void
end(struct script *s, unsigned i, uint32_t unit, bool whole)
{
	swarm_ended(s->swarm, i, unit, whole, s->now_us);
	if (whole && s->others[i].asked[unit])
		s->skipped[unit] = false;
	s->others[i].asked[unit] = s->others[i].failed[unit] = false;
}

static void
receive(struct script *s, unsigned i)
{
	uint32_t unit = any_unit(s);
	uint8_t how = reader_u8(&s->r);

	if (how % 2 != 0)
		swarm_got(s->swarm, i, unit, how, s->now_us);
	if (how % 4 > 1)
		end(s, i, unit, how % 8 > 3);
}

static void
charge(struct script *s, unsigned i)
{
	if (!swarm_charge(s->swarm, i))
		return;
	fuzz_require(!s->others[i].charged_out);
	s->others[i].charged_out = true;
}

/* What is here changes for other reasons; COUNT times, so that logs fill. */
static void
churn(struct script *s)
{
	uint32_t unit = any_unit(s), count = 1u << reader_u8(&s->r) % 14;

	while (count-- > 0) {
		if (swarm_holds(s->swarm, unit)) {
			swarm_lose(s->swarm, unit);
		} else {
			swarm_hold(s->swarm, unit);
			s->skipped[unit] = false;
		}
	}
}

static void
pass_time(struct script *s)
{
	s->now_us += reader_u32(&s->r) % STEP_US_MAX;
	swarm_tick(s->swarm, s->now_us);
	swarm_talk_pump(s->talk, s->now_us);
	fuzz_require(swarm_wakes(s->swarm, s->now_us) > s->now_us);
}

static void
act(struct script *s)
{
	uint8_t what = reader_u8(&s->r);
	unsigned i = what / 16 % PEERS;
	uint32_t unit;

	/* Who has not come says nothing: that is the owner's business. */
	if (!s->others[i].here)
		come(s, i);
	switch (what % 16) {
	case 0:
	case 1:
		if (reader_u8(&s->r) % 4 == 0)
			leave(s, i);
		break;
	case 2:
		hear_bytes(s, i);
		break;
	case 3:
	case 4:
		hear_news(s, i);
		break;
	case 5:
	case 6:
		hear_offer(s, i);
		break;
	case 7:
		hear_decline(s, i);
		break;
	case 8:
	case 9:
		serve(s, i);
		break;
	case 10:
	case 11:
		receive(s, i);
		break;
	case 12:
		if (reader_u8(&s->r) % 4 == 0)
			charge(s, i);
		else
			swarm_peer_blocked(s->swarm, i, reader_u8(&s->r) % 2 != 0, s->now_us);
		break;
	case 13:
		churn(s);
		break;
	case 14:
		unit = any_unit(s);
		swarm_pause(s->swarm, reader_u8(&s->r) % 4 == 1);
		if (!swarm_holds(s->swarm, unit)) {
			swarm_skip(s->swarm, unit);
			s->skipped[unit] = true;
		}
		break;
	default:
		pass_time(s);
		break;
	}
	/* Not from within the call, as the header says. */
	for (unsigned k = 0; k < PEERS; k++)
		for (uint32_t u = 0; u < s->n; u++)
			if (s->others[k].failed[u])
				end(s, k, u, false);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct script s = {
		.r = reader_over(BYTES(data, size)), .wire = BUF(1 << 18), .now_us = 1
	};
	uint8_t how = reader_u8(&s.r);

	s.n = 1 + reader_u8(&s.r) % UNITS_MAX;
	s.gives_only = how % 8 == 7;
	s.swarm = swarm_new(&(struct swarm_opts){ .n_units = s.n,
	    .unit_size = 1 << 16,
	    .origin = (how & 8) != 0,
	    .last_resort = (how & 16) != 0,
	    .seed = how });
	s.talk = swarm_talk_new(&(struct swarm_talk_opts){ .swarm = s.swarm,
	    .job = JOB,
	    .send = on_send,
	    .take = s.gives_only ? NULL : on_take,
	    .drop = on_drop,
	    .ctx = &s });
	for (uint32_t u = 0; (how & 32) != 0 && u < s.n; u++)
		swarm_hold(s.swarm, u);
	while (reader_left(&s.r) > 0) {
		act(&s);
		swarm_talk_pump(s.talk, s.now_us);
		check_units(&s);
		check_flights(&s);
	}
	check_told(&s);
	swarm_talk_free(s.talk);
	swarm_free(s.swarm);
	buf_clear(&s.wire);
	return 0;
}
