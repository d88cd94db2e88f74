/*
 * Lists of units travel as runs: between struct swarm_run, as swarm has them, and the varints of
 * NEWS.  What a peer sends was checked by message_decode; that its units exist is checked here.
 */
#include "session/swarm_talk.h"

#include "base/mem.h"

enum {
	RETRY_BUSY_MS = 100, /* of a decline for want of room: units come and go quickly */
	RETRY_DISTRUST_MS = 5000,
	LIST_BYTES = LIMIT_NEWS_RUNS * 10, /* two numbers of at most five bytes each */
};

struct swarm_talk {
	struct swarm_talk_opts o;
	struct swarm *swarm;
	struct buf lists[5]; /* of the news that is being sent */
};

struct swarm_talk *
swarm_talk_new(const struct swarm_talk_opts *o)
{
	struct swarm_talk *t = mem_new(struct swarm_talk);

	t->o = *o;
	t->swarm = o->swarm;
	for (size_t i = 0; i < lengthof(t->lists); i++)
		t->lists[i] = BUF(LIST_BYTES);
	return t;
}

void
swarm_talk_free(struct swarm_talk *t)
{
	if (t == NULL)
		return;
	for (size_t i = 0; i < lengthof(t->lists); i++)
		buf_clear(&t->lists[i]);
	free(t);
}

/* -- hearing -- */

/* The runs of LIST, at *AT, which moves on behind them. */
static const struct swarm_run *
read_runs(struct bytes list, struct swarm_run **at, uint32_t *ret_n)
{
	struct swarm_run *runs = *at;
	uint32_t first = 0, n = 0;

	while (message_units_next(&list, &first, &n))
		*(*at)++ = (struct swarm_run){ first, n };
	*ret_n = (uint32_t)(*at - runs);
	return runs;
}

static uint32_t
count_runs(struct bytes list)
{
	uint32_t first = 0, n = 0, count = 0;

	while (message_units_next(&list, &first, &n))
		count++;
	return count;
}

static enum err
hear_news(
    struct swarm_talk *t, uint64_t peer, const struct msg_news *m, uint64_t now_us, struct error *e)
{
	uint32_t all = count_runs(m->have) + count_runs(m->await) + count_runs(m->drop) +
		       count_runs(m->skip) + count_runs(m->left);
	auto_free struct swarm_run *runs = mem_array(struct swarm_run, all);
	struct swarm_news news = {
		.inbound = m->inbound, .starving = m->starving != 0, .rate = m->rate
	};
	struct swarm_run *at = runs;

	news.have = read_runs(m->have, &at, &news.n_have);
	news.await = read_runs(m->await, &at, &news.n_await);
	news.drop = read_runs(m->drop, &at, &news.n_drop);
	news.skip = read_runs(m->skip, &at, &news.n_skip);
	news.left = read_runs(m->left, &at, &news.n_left);
	if (!swarm_peer_news(t->swarm, peer, &news, now_us))
		return fail(e, ERR_PROTO, "news of units that the snapshot does not have");
	return OK;
}

static void
decline(struct swarm_talk *t, uint64_t peer, uint32_t unit, enum swarm_verdict why)
{
	static const struct {
		uint8_t reason;
		uint32_t retry_ms;
	} words[] = {
		[SWARM_HELD] = { DECLINE_HELD, 0 },
		[SWARM_BUSY] = { DECLINE_BUSY, RETRY_BUSY_MS },
		[SWARM_ELSEWHERE] = { DECLINE_ELSEWHERE, 0 },
		[SWARM_DISTRUST] = { DECLINE_DISTRUST, RETRY_DISTRUST_MS },
	};
	struct message m = { .type = FRAME_DECLINE };

	m.decline = (struct msg_decline){
		.job = t->o.job,
		.unit = unit,
		.reason = words[why].reason,
		.retry_ms = words[why].retry_ms,
	};
	t->o.send(t->o.ctx, peer, &m);
}

static void
hear_offer(struct swarm_talk *t, uint64_t peer, uint32_t unit, uint64_t now_us)
{
	struct swarm_answer a = { .verdict = SWARM_HELD };

	if (t->o.take != NULL)
		a = swarm_offered(t->swarm, peer, unit, now_us);
	if (a.verdict != SWARM_ACCEPT) {
		decline(t, peer, unit, a.verdict);
		return;
	}
	if (a.replaces)
		t->o.drop(t->o.ctx, a.old_peer, unit);
	t->o.take(t->o.ctx, peer, unit);
}

static void
hear_decline(struct swarm_talk *t, uint64_t peer, const struct msg_decline *m, uint64_t now_us)
{
	uint64_t retry_ms = m->retry_ms > 0 ? m->retry_ms : RETRY_BUSY_MS;
	enum swarm_verdict why = m->reason == DECLINE_HELD        ? SWARM_HELD
				 : m->reason == DECLINE_ELSEWHERE ? SWARM_ELSEWHERE
								  : SWARM_BUSY;

	swarm_declined(t->swarm, peer, m->unit, why, retry_ms * 1000, now_us);
}

enum err
swarm_talk_message(
    struct swarm_talk *t, uint64_t peer, const struct message *m, uint64_t now_us, struct error *e)
{
	uint32_t n = swarm_units(t->swarm);

	if (m->type == FRAME_NEWS)
		return hear_news(t, peer, &m->news, now_us, e);
	if (m->type == FRAME_OFFER && m->offer.unit < n)
		hear_offer(t, peer, m->offer.unit, now_us);
	else if (m->type == FRAME_DECLINE && m->decline.unit < n)
		hear_decline(t, peer, &m->decline, now_us);
	else
		return fail(e, ERR_PROTO, "a %s that the snapshot has no unit for",
		    m->type == FRAME_OFFER ? "offer" : "message");
	return OK;
}

bool
swarm_talk_wanted(struct swarm_talk *t, uint64_t peer, uint32_t unit, uint64_t now_us)
{
	return swarm_accepted(t->swarm, peer, unit, now_us);
}

/* -- speaking -- */

static struct bytes
write_runs(struct buf *to, const struct swarm_run *runs, uint32_t n)
{
	uint32_t next = 0;

	buf_reset(to);
	for (uint32_t i = 0; i < n; i++)
		message_units_add(to, &next, runs[i].first, runs[i].n);
	return buf_bytes(to);
}

static void
say_news(struct swarm_talk *t, uint64_t peer, const struct swarm_news *news)
{
	struct message m = { .type = FRAME_NEWS };

	m.news = (struct msg_news){
		.job = t->o.job,
		.inbound = news->inbound,
		.starving = news->starving,
		.rate = news->rate,
		.have = write_runs(&t->lists[0], news->have, news->n_have),
		.await = write_runs(&t->lists[1], news->await, news->n_await),
		.drop = write_runs(&t->lists[2], news->drop, news->n_drop),
		.skip = write_runs(&t->lists[3], news->skip, news->n_skip),
		.left = write_runs(&t->lists[4], news->left, news->n_left),
	};
	t->o.send(t->o.ctx, peer, &m);
}

static void
say_offer(struct swarm_talk *t, const struct swarm_offer *offer)
{
	struct message m = { .type = FRAME_OFFER };

	m.offer = (struct msg_offer){ .job = t->o.job, .unit = offer->unit };
	t->o.send(t->o.ctx, offer->peer, &m);
}

void
swarm_talk_pump(struct swarm_talk *t, uint64_t now_us)
{
	struct swarm_offer offer;
	struct swarm_news news;
	uint64_t peer;

	while (swarm_offer(t->swarm, now_us, &offer))
		say_offer(t, &offer);
	for (size_t i = 0; swarm_peer_at(t->swarm, i, &peer); i++) {
		while (swarm_tell(t->swarm, peer, now_us, &news))
			say_news(t, peer, &news);
	}
}
