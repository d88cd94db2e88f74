/*
 * Other members: how they are greeted, and what they tell of the authority.
 *
 * Both sides show their membership and check the other's against the authority they share; who is
 * no member of it is sent away.  Who has seen less of the authority's revocations is told them, and
 * whoever hears of a new one tells everybody else: an end reaches all who are connected, also while
 * the server is away.
 */
#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "engine/engine_internal.h"
#include "engine/engine_swarm.h"
#include "engine/lane_plan.h"
#include "engine/nearness.h"
#include "net/listener.h"
#include "platform/clock.h"

/* -- what HELLO shows -- */

struct statement_list {
	struct buf raw;
	uint32_t n;
};

static void
add_statement(void *ctx, struct bytes b, const struct statement *st)
{
	struct statement_list *l = ctx;
	(void)st;

	message_list_add(&l->raw, b);
	l->n++;
}

enum err
engine_mesh_hello(
    struct engine *en, const char *observed, uint8_t lane, struct buf *out, struct error *e)
{
	auto_buf struct buf addresses = BUF(LIMIT_ADDRESSES * (LIMIT_ADDRESS_TEXT + 4));
	auto_buf struct buf raw = BUF(LIMIT_FRAME_GUEST / 2);
	struct statement_list successors = { .raw = raw };
	struct message m = { .type = FRAME_HELLO };

	m.hello = (struct msg_hello){
		.version_min = LIMIT_VERSION_MIN,
		.version_max = LIMIT_VERSION_MAX,
		.software = BYTES_LIT("weft " WEFT_VERSION),
		.wall_ms = (uint64_t)(clock_wall_ns() / 1000000),
		.observed = bytes_str(observed),
		.features = HELLO_LANES,
		.lane = lane,
	};
	for (size_t i = 0; i < en->n_advertise; i++)
		message_list_add(&addresses, bytes_str(en->advertise[i]));
	m.hello.addresses =
	    (struct message_list){ buf_bytes(&addresses), (uint32_t)en->n_advertise };
	if (en->authority != NULL) {
		authority_each(en->authority, STATEMENT_SUCCESSOR, add_statement, &successors);
		m.hello.epoch = authority_epoch(en->authority);
		m.hello.authority = authority_statement(en->authority);
		m.hello.member = authority_member(en->authority, device_key_id(en->home->key));
		if (!successors.raw.full) /* else they say nothing without the rest */
			m.hello.successors =
			    (struct message_list){ buf_bytes(&successors.raw), successors.n };
	}
	enum err r = message_encode(&m, out, e);
	raw = successors.raw;
	return r;
}

static enum err
hello(void *ctx, const char *observed, uint8_t lane, struct buf *out, struct error *e)
{
	struct engine *en = ctx;

	if (!en->joined || en->link.given_up)
		return fail(e, ERR_DENIED, "this machine belongs to no server");
	return engine_mesh_hello(en, observed, lane, out, e);
}

/* -- judging the other's -- */

static enum err
check_clock(uint64_t theirs_ms, struct error *e)
{
	int64_t off_ms = clock_wall_ns() / 1000000 - (int64_t)theirs_ms;
	uint64_t by = (uint64_t)(off_ms < 0 ? -off_ms : off_ms);
	char how[TEXT_DURATION];

	if (by <= (uint64_t)LIMIT_CLOCK_REFUSE_S * 1000)
		return OK;
	return fail(e, ERR_DENIED, "our clocks are %s apart: set them, then try again",
	    text_duration(by, how));
}

/* What does not hold is left out: what counts is what is in force in the end. */
static void
take_chain(struct engine *en, const struct msg_hello *h)
{
	struct message_list successors = h->successors;
	struct bytes b;

	if (h->authority.len > 0)
		(void)!engine_link_statement(en, h->authority, NULL);
	while (message_list_next(&successors, &b))
		(void)!engine_link_statement(en, b, NULL);
}

/* -- revocations -- */

struct send_revokes {
	struct peer *to;
	uint64_t after;
	struct statement_list list;
};

static void
send_batch(struct send_revokes *x)
{
	struct message m = { .type = FRAME_STATEMENTS,
		.statements.statements = { buf_bytes(&x->list.raw), x->list.n } };
	struct error e;

	if (x->list.n > 0 && session_send(peer_session(x->to), &m, &e) != OK)
		log_debug("send statements: %s", e.text);
	buf_reset(&x->list.raw);
	x->list.n = 0;
}

static void
add_revoke(void *ctx, struct bytes b, const struct statement *st)
{
	struct send_revokes *x = ctx;

	if (st->epoch <= x->after)
		return;
	add_statement(&x->list, b, st);
	if (x->list.n == LIMIT_STATEMENTS || x->list.raw.len > LIMIT_FRAME_MESSAGE / 2)
		send_batch(x);
}

/* All that have an epoch above AFTER, which the other knows. */
static void
send_revokes(struct engine *en, struct peer *to, uint64_t after)
{
	struct send_revokes x = { .to = to, .after = after, .list.raw = BUF(LIMIT_FRAME_MESSAGE) };

	authority_each(en->authority, STATEMENT_REVOKE, add_revoke, &x);
	send_batch(&x);
	buf_clear(&x.list.raw);
	peer_flush(to);
}

/* Who was a member is shown the statement that ended that, and nothing else. */
struct find_end {
	const struct device_id *device;
	struct bytes found;
};

static void
find_end(void *ctx, struct bytes b, const struct statement *st)
{
	struct find_end *x = ctx;

	if (hash_id_is_none(&st->share) && device_id_equal(&st->device, x->device))
		x->found = b;
}

static void
send_end(struct engine *en, struct peer *to)
{
	struct find_end x = { .device = peer_device(to) };
	struct send_revokes send = { .to = to, .list.raw = BUF(STATEMENT_MAX + 4) };

	authority_each(en->authority, STATEMENT_REVOKE, find_end, &x);
	if (x.found.len == 0)
		return;
	session_admit(peer_session(to)); /* it is closed in the same turn */
	add_statement(&send.list, x.found, NULL);
	send_batch(&send);
	buf_clear(&send.list.raw);
}

static enum err
greeted(void *ctx, struct peer *p, const struct msg_hello *h, struct error *e)
{
	struct engine *en = ctx;
	enum err r = check_clock(h->wall_ms, e);

	if (r == OK && (en->authority == NULL || en->closing))
		r = fail(e, ERR_DENIED, "this machine belongs to no server");
	if (r != OK)
		return r;
	take_chain(en, h);
	/* It may be older than what we know of the device. */
	if (h->member.len > 0)
		(void)!authority_accept(en->authority, h->member, NULL, NULL);
	if (authority_check_member(
		en->authority, peer_device(p), clock_wall_ns() / 1000000000, NULL) == OK)
		return OK;
	send_end(en, p);
	return fail(e, ERR_DENIED, "you are no member of the server that this machine belongs to");
}

struct pass_on {
	struct bytes statement;
};

static void
pass_on(void *ctx, struct mesh_device *d)
{
	const struct pass_on *x = ctx;
	struct peer *p = mesh_device_peer(d);
	auto_buf struct buf raw = BUF(STATEMENT_MAX + 4);
	struct message m = { .type = FRAME_STATEMENTS };

	if (p == NULL)
		return;
	message_list_add(&raw, x->statement);
	m.statements.statements = (struct message_list){ buf_bytes(&raw), 1 };
	(void)!session_send(peer_session(p), &m, NULL);
	peer_flush(p);
}

void
engine_mesh_pass_on(struct engine *en, struct bytes statement)
{
	if (en->mesh != NULL)
		mesh_each(en->mesh, pass_on, &(struct pass_on){ statement });
}

void
engine_mesh_revoked(struct engine *en, const struct device_id *device)
{
	struct error e;

	(void)fail(&e, ERR_DENIED, "the membership of this device has ended");
	engine_known_forget(en, device);
	if (en->mesh != NULL)
		mesh_cut(en->mesh, device, &e);
}

void
engine_mesh_cut_all(struct engine *en, const char *why)
{
	struct error e;

	(void)fail(&e, ERR_DENIED, "%s", why);
	if (en->mesh != NULL)
		mesh_cut_all(en->mesh, &e);
}

/* Of a member's word counts what the authority said about the end of things, about its own key and
 * about policies; not, say, grants of others, of which a member could make us keep any number. */
static void
take_statement(struct engine *en, struct bytes b)
{
	struct statement st;
	struct error e;

	if (statement_decode(b, &st, NULL) != OK)
		return;
	bool wanted = st.kind == STATEMENT_REVOKE || st.kind == STATEMENT_SUCCESSOR ||
		      (st.kind == STATEMENT_POLICY && en->authority != NULL &&
			  authority_share(en->authority, &st.share).len > 0);
	if (wanted && engine_link_statement(en, b, &e) != OK && e.code != ERR_DENIED)
		log_warn("a statement from another member: %s", e.text);
}

/* -- connections -- */

/* Its membership says what it is called. */
static void
note_name(struct engine *en, const struct mesh_device *d)
{
	struct mesh_where w = { .device = *mesh_device_id(d) };
	struct bytes member = authority_member(en->authority, &w.device);
	struct statement st;

	if (member.len == 0 || statement_decode(member, &st, NULL) != OK)
		return;
	w.name = bytes_str(st.name);
	w.site = bytes_str(st.site);
	(void)mesh_know(en->mesh, &w);
}

static void
on_ready(void *ctx, struct mesh_device *d, struct peer *p)
{
	struct engine *en = ctx;

	note_name(en, d);
	log_debug("connected to %s at %s", mesh_device_name(d), conn_peer_address(peer_conn(p)));
	if (mesh_device_epoch(d) < authority_epoch(en->authority))
		send_revokes(en, p, mesh_device_epoch(d));
	engine_swarm_ready(en, p, d);
}

static void
on_gone(void *ctx, struct mesh_device *d, struct peer *p, const struct error *why)
{
	(void)d;
	(void)why;
	engine_swarm_gone(ctx, p);
}

static void
on_push(void *ctx, struct mesh_device *d, struct peer *p, const struct message *m)
{
	struct engine *en = ctx;
	(void)d;

	if (m->type != FRAME_STATEMENTS) {
		engine_swarm_push(en, p, m);
		return;
	}
	struct message_list list = m->statements.statements;
	struct bytes b;
	while (message_list_next(&list, &b))
		take_statement(en, b);
}

static void
on_unreachable(void *ctx, const struct device_id *device)
{
	struct engine *en = ctx;
	const struct message m = { .type = FRAME_DIAL, .dial.device = *device };

	if (!en->link.ready || session_send(peer_session(en->link.peer), &m, NULL) != OK)
		return;
	peer_flush(en->link.peer);
}

void
engine_mesh_called(struct engine *en, const struct msg_call *m)
{
	const struct mesh_where w = { .device = m->device, .addresses = m->addresses };
	struct mesh_device *d;

	if (en->mesh == NULL || en->authority == NULL)
		return;
	/* Its membership may be one that we have not seen: then its greeting shows it. */
	d = mesh_know(en->mesh, &w);
	if (d != NULL)
		mesh_called(en->mesh, d);
}

/* -- names -- */

const char *
engine_mesh_name(struct engine *en, const struct device_id *device)
{
	const struct mesh_device *d = en->mesh != NULL ? mesh_find(en->mesh, device) : NULL;

	if (device_id_equal(device, &en->server))
		return en->server_name;
	if (device_id_equal(device, device_key_id(en->home->key)))
		return en->name;
	return d != NULL ? mesh_device_name(d) : "";
}

/* -- life -- */

static void
on_conn(void *ctx, struct conn *c)
{
	struct engine *en = ctx;

	if (en->mesh != NULL && !en->closing)
		mesh_accept(en->mesh, c);
	else
		conn_close(c, NULL);
}

static enum err
start_listening(struct engine *en, struct error *e)
{
	const char *at = en->o.listen != NULL ? en->o.listen : ":7470";
	enum err r = listener_open(
	    en->loop, at, en->o.tls, MESH_VISITORS_MAX, on_conn, en, &en->listener, e);

	if (r == ERR_EXISTS && en->o.listen == NULL)
		r = listener_open(
		    en->loop, ":0", en->o.tls, MESH_VISITORS_MAX, on_conn, en, &en->listener, e);
	if (r != OK)
		return r;
	listener_set_max(en->listener, MESH_PER_ADDRESS, MESH_STRANGERS_MAX);
	return advertise_addresses(en->o.listen, listener_port(en->listener), en->o.advertise,
	    en->o.n_advertise, en->advertise, LIMIT_ADDRESSES, &en->n_advertise, e);
}

enum err
engine_mesh_listen(struct engine *en, struct error *e)
{
	/* A server listens itself, and needs nobody: its agent has all from it. */
	if (en->o.listen != NULL && strcmp(en->o.listen, "none") == 0)
		return OK;
	return start_listening(en, e);
}

void
engine_mesh_open(struct engine *en)
{
	struct mesh_opts o = {
		.loop = en->loop,
		.tls = en->o.tls,
		.throttle = en->o.throttle,
		.lanes_max = LIMIT_LANES,
		.lane_rtt_ms = LANE_PLAN_RTT_MS,
		.fast_rate = NEARNESS_SAME_RATE,
		.self = *device_key_id(en->home->key),
		.source = &en->source,
		.policy = engine_swarm_policy(en),
		.hello = hello,
		.greeted = greeted,
		.on_ready = on_ready,
		.on_gone = on_gone,
		.on_push = on_push,
		.on_unreachable = on_unreachable,
		.ctx = en,
	};

	if (en->listener == NULL)
		return;
	en->mesh = mesh_new(&o);
	engine_known_load(en);
}

static void
on_closed(void *ctx)
{
	struct engine *en = ctx;

	en->mesh = NULL;
	en->pending--;
	engine_part_closed(en);
}

void
engine_mesh_close(struct engine *en)
{
	listener_close(en->listener);
	en->listener = NULL;
	if (en->mesh == NULL)
		return;
	en->pending++;
	mesh_close(en->mesh, on_closed, en);
}
