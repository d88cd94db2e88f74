/*
 * Who takes part in the swarm of which snapshot: the tracker's shell.  Members say so themselves
 * (ENTER, NEWS, EXIT), as far as they may; those who want something are told where the others can
 * be reached (MEMBERS), and who cannot reach one of them has it asked to dial (DIAL, CALL).
 */
#include <stdio.h>

#include "base/log.h"
#include "crypto/random.h"
#include "proto/invite.h"
#include "server/server_internal.h"

/* -- where somebody can be reached -- */

static void
add_address(struct link *l, const char *text)
{
	struct message_list list = { buf_bytes(&l->addresses), l->n_addresses };
	struct bytes known;

	if (l->n_addresses == LIMIT_ADDRESSES)
		return;
	while (message_list_next(&list, &known)) {
		if (bytes_equal(known, bytes_str(text)))
			return;
	}
	message_list_add(&l->addresses, bytes_str(text));
	l->n_addresses++;
}

/* It may not know the address that it is seen at; the port is the one that it listens on. */
static void
add_observed(struct link *l, uint16_t port)
{
	char host[LIMIT_ADDRESS_TEXT + 1], text[LIMIT_ADDRESS_TEXT + 16];
	uint16_t from;

	if (!invite_address_parse(conn_peer_address(peer_conn(l->peer)), host, &from))
		return;
	snprintf(text, sizeof text, strchr(host, ':') != NULL ? "[%s]:%u" : "%s:%u", host, port);
	if (strlen(text) <= LIMIT_ADDRESS_TEXT)
		add_address(l, text);
}

void
server_swarm_hello(struct link *l, const struct msg_hello *h)
{
	struct message_list list = h->addresses;
	struct bytes b;
	uint16_t first = 0;

	l->addresses = BUF(LIMIT_ADDRESSES * (LIMIT_ADDRESS_TEXT + sizeof(uint32_t)));
	while (l->n_addresses + 1 < LIMIT_ADDRESSES && message_list_next(&list, &b)) {
		char text[LIMIT_ADDRESS_TEXT + 1], host[LIMIT_ADDRESS_TEXT + 1];
		uint16_t port;
		snprintf(text, sizeof text, "%.*s", (int)b.len, (const char *)b.at);
		if (!invite_address_parse(text, host, &port))
			continue;
		first = first == 0 ? port : first;
		add_address(l, text);
	}
	if (first != 0)
		add_observed(l, first);
}

/* -- MEMBERS -- */

struct list {
	struct buf raw;
	uint32_t n;
};

static void
list_clear(struct list *l)
{
	buf_clear(&l->raw);
}

static bool
has_room(const struct list *l)
{
	return l->n < LIMIT_MEMBERS && l->raw.len < LIMIT_FRAME_MESSAGE / 2;
}

static void
list_add(struct list *l, const struct row_member *row)
{
	auto_buf struct buf raw = BUF(LIMIT_MEMBER_ROW);

	row_member_encode(row, &raw);
	message_list_add(&l->raw, buf_bytes(&raw));
	l->n++;
}

void
server_swarm_push(struct link *l, const struct message *m)
{
	struct error e;

	if (session_send(peer_session(l->peer), m, &e) != OK)
		log_debug("tell connection %llu: %s", (unsigned long long)l->number, e.text);
	peer_flush(l->peer);
}

static void
add_row(struct server *s, const struct tracker_entry *x, struct list *rows)
{
	const struct link *l = server_peer_link(s, x->link);
	const struct registry_device *d =
	    l != NULL ? registry_device(s->registry, &l->device) : NULL;

	if (d == NULL)
		return;
	list_add(rows, &(struct row_member){
			   .id = d->id,
			   .name = bytes_str(d->name),
			   .site = bytes_str(d->site),
			   .addresses = { buf_bytes(&l->addresses), l->n_addresses },
			   .rank = x->rank,
			   .gateways = x->gateways,
			   .alone = d->placed.alone,
		       });
}

/* Where we are ourselves: the last resort has a place, too. */
static void
add_own_row(struct server *s, struct list *rows)
{
	const struct registry_device *d = registry_device(s->registry, device_key_id(s->home->key));

	if (d != NULL)
		list_add(rows, &(struct row_member){
				   .id = d->id,
				   .name = bytes_str(d->name),
				   .site = bytes_str(d->site),
			       });
}

/* As many messages as its rows need; the first says that these are all. */
static void
tell(struct server *s, const struct tracker_told *x)
{
	struct link *l = server_peer_link(s, x->to->link);
	struct message m = { .type = FRAME_MEMBERS,
		.members = {
		    .share = *x->to->share, .snapshot = *x->to->snapshot, .whole = x->whole } };
	size_t came = 0, left = 0;
	bool self = x->self, own = x->whole;

	if (l == NULL || !l->member)
		return;
	if (self)
		server_node_place(s, x->to);
	do {
		auto_(list_clear) struct list rows = { .raw = BUF(LIMIT_FRAME_MESSAGE / 2 +
								  LIMIT_MEMBER_ROW + 4) };
		size_t n_left = min_of(x->n_left - left, (size_t)LIMIT_MEMBERS);
		if (self)
			add_row(s, x->to, &rows);
		if (own)
			add_own_row(s, &rows);
		self = own = false;
		while (came < x->n_came && has_room(&rows))
			add_row(s, x->came[came++], &rows);
		m.members.rows = (struct message_list){ buf_bytes(&rows.raw), rows.n };
		m.members.left = BYTES(x->left + left, n_left * DEVICE_ID_BYTES);
		left += n_left;
		server_swarm_push(l, &m);
		m.members.whole = 0;
	} while (came < x->n_came || left < x->n_left);
}

static void
tell_all(void *ctx)
{
	struct server *s = ctx;
	uint64_t now = loop_now_ms(s->loop), at;
	struct tracker_told x;

	array_each (in, &s->entered) {
		const struct tracker_entry *entry = tracker_find(s->tracker, in->link, in->job);
		if (entry != NULL)
			server_node_enter(s, entry);
	}
	s->entered.len = 0;
	while (tracker_next(s->tracker, now, &x))
		tell(s, &x);
	at = tracker_wakes(s->tracker);
	if (at != UINT64_MAX)
		timer_start(s->tell_later, at > now ? at - now : 0);
}

/* Not at once: a member that holds everything says that with the NEWS right after its ENTER, and is
 * then told of nobody. */
static void
changed(struct server *s)
{
	if (!s->closing)
		task_start(&s->tell);
}

/* -- what they say -- */

/* What JOB stood for has ended for it. */
static void
leave(struct link *l, uint32_t job)
{
	struct server *s = l->server;
	const struct tracker_entry *x = tracker_find(s->tracker, l->number, job);

	if (x == NULL)
		return;
	server_node_leave(l, x->snapshot);
	tracker_exit(s->tracker, l->number, job, loop_now_ms(s->loop));
	changed(s);
}

static struct tracker_who
who_enters(const struct link *l, const struct msg_enter *m)
{
	const struct registry *r = l->server->registry;
	const struct registry_share *sh = registry_share(r, &m->share);
	const struct registry_snapshot *sn =
	    sh != NULL ? registry_snapshot(sh, &m->snapshot) : NULL;
	const struct registry_device *d = registry_device(r, &l->device);

	return (struct tracker_who){ .device = l->device,
		.site = d != NULL ? server_site_number(d) : 0,
		.author = sn != NULL && device_id_equal(&sn->author, &l->device) };
}

static void
on_enter(struct link *l, const struct msg_enter *m)
{
	struct server *s = l->server;
	struct error e;
	enum err r = rules_enter(s->registry, &l->device, m, &e);

	leave(l, m->job);
	if (r == OK) {
		const struct tracker_who who = who_enters(l, m);
		r = tracker_enter(s->tracker, l->number, &who, m, loop_now_ms(s->loop), &e);
	}
	if (r != OK) {
		log_debug("connection %llu enters: %s", (unsigned long long)l->number, e.text);
		return;
	}
	server_node_leave(l, &m->snapshot); /* as which it was in before */
	array_reserve(&s->entered, s->entered.len + 1);
	s->entered.at[s->entered.len].link = l->number;
	s->entered.at[s->entered.len++].job = m->job;
	changed(s);
}

/* NEWS, OFFER and DECLINE: of a job that has just ended they are late, not wrong. */
static void
on_talk(struct link *l, uint32_t job, const struct message *m)
{
	const struct tracker_entry *x = tracker_find(l->server->tracker, l->number, job);
	struct error e;
	enum err r = OK;

	if (x == NULL)
		return;
	if (m->type == FRAME_NEWS)
		r = tracker_news(
		    l->server->tracker, l->number, &m->news, loop_now_ms(l->server->loop), &e);
	if (r == OK)
		r = server_node_message(l, x->snapshot, m, &e);
	if (r != OK)
		peer_close(l->peer, &e);
}

/* Has it asked too often?  Each time takes SERVER_DIAL_MS of a credit of SERVER_DIALS times. */
static bool
may_dial(struct link *l, uint64_t now_ms)
{
	const uint64_t credit = (uint64_t)SERVER_DIALS * SERVER_DIAL_MS;

	if (l->dial_ms > now_ms + credit - SERVER_DIAL_MS)
		return false;
	l->dial_ms = max_of(l->dial_ms, now_ms) + SERVER_DIAL_MS;
	return true;
}

/* Only those who take part in the same snapshot are told of each other; without an address there is
 * nothing to tell. */
static void
on_dial(struct link *l, const struct msg_dial *m)
{
	struct server *s = l->server;
	struct message call = { .type = FRAME_CALL,
		.call = { .device = l->device,
		    .addresses = { buf_bytes(&l->addresses), l->n_addresses } } };

	if (l->n_addresses == 0 || !may_dial(l, loop_now_ms(s->loop)))
		return;
	struct link *to = server_peer_link(s, tracker_meets(s->tracker, l->number, &m->device));
	if (to != NULL && to->member)
		server_swarm_push(to, &call);
}

/* To all who take part in something: a row of ours is all there is to say. */
static void
tell_own_place(void *ctx, const struct tracker_entry *x)
{
	struct server *s = ctx;
	struct link *l = server_peer_link(s, x->link);
	auto_(list_clear) struct list rows = { .raw = BUF(2 * LIMIT_MEMBER_ROW) };
	struct message m = { .type = FRAME_MEMBERS,
		.members = { .share = *x->share, .snapshot = *x->snapshot } };

	if (l == NULL || !l->member)
		return;
	add_own_row(s, &rows);
	m.members.rows = (struct message_list){ buf_bytes(&rows.raw), rows.n };
	server_swarm_push(l, &m);
}

void
server_swarm_line(struct server *s, const char *site, const struct schedule_rates *rates)
{
	/* Where one way has no limit, nobody knows what that way is worth. */
	uint64_t rate = rates->up != 0 && rates->down != 0 ? max_of(rates->up, rates->down) : 0;

	if (s->closing)
		return;
	tracker_line(s->tracker, server_site_number_of(site), rate, loop_now_ms(s->loop));
	changed(s);
}

void
server_swarm_place(struct server *s, const struct registry_device *d)
{
	if (s->closing)
		return;
	tracker_place(s->tracker, &d->id, server_site_number(d), loop_now_ms(s->loop));
	if (device_id_equal(&d->id, device_key_id(s->home->key))) {
		tracker_each(s->tracker, tell_own_place, s);
		server_node_moved(s);
	}
	changed(s);
}

void
server_swarm_message(struct link *l, const struct message *m)
{
	switch (m->type) {
	case FRAME_ENTER:
		on_enter(l, &m->enter);
		break;
	case FRAME_NEWS:
		on_talk(l, m->news.job, m);
		break;
	case FRAME_OFFER:
		on_talk(l, m->offer.job, m);
		break;
	case FRAME_DECLINE:
		on_talk(l, m->decline.job, m);
		break;
	case FRAME_EXIT:
		leave(l, m->exit.job);
		break;
	case FRAME_PLACED:
		server_site_placed(l, &m->placed);
		break;
	case FRAME_DIAL:
		on_dial(l, &m->dial);
		break;
	default:
		break;
	}
}

void
server_swarm_link_gone(struct link *l)
{
	struct server *s = l->server;

	server_node_link_gone(l);
	tracker_gone(s->tracker, l->number, loop_now_ms(s->loop));
	changed(s);
}

struct link *
server_swarm_link(struct server *s, const struct device_id *device, const struct hash_id *share,
    const struct hash_id *snapshot)
{
	return server_peer_link(s, tracker_link_of(s->tracker, device, share, snapshot));
}

/* -- rights -- */

static bool
may_stay(void *ctx, const struct tracker_entry *x)
{
	struct server *s = ctx;
	struct link *l = server_peer_link(s, x->link);
	struct registry_share *sh = registry_share(s->registry, x->share);
	const struct registry_snapshot *sn = sh != NULL ? registry_snapshot(sh, x->snapshot) : NULL;
	const struct msg_enter m = { .share = *x->share,
		.snapshot = *x->snapshot,
		.unit_size = sn != NULL ? sn->unit_size : 0,
		.units = x->units };

	if (l != NULL && l->member && sn != NULL &&
	    rules_enter(s->registry, &l->device, &m, NULL) == OK)
		return true;
	if (l != NULL)
		server_node_leave(l, x->snapshot);
	return false;
}

void
server_swarm_judge(struct server *s, const struct hash_id *share)
{
	if (s->tracker == NULL)
		return;
	tracker_judge(s->tracker, share, NULL, may_stay, s, loop_now_ms(s->loop));
	server_node_judge(s);
	changed(s);
}

/* -- life -- */

void
server_swarm_open(struct server *s)
{
	uint64_t seed;

	random_fill(&seed, sizeof seed);
	s->tracker = tracker_new(seed);
	task_init(&s->tell, s->loop, tell_all, s);
	s->tell_later = timer_new(s->loop, tell_all, s);
}

void
server_swarm_close(struct server *s)
{
	if (s->tracker == NULL)
		return;
	task_cancel(&s->tell);
	timer_close(s->tell_later);
	s->tell_later = NULL;
}
