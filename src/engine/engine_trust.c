/*
 * Whose word counts. The invite pins the key of a server; the server's authority may have begun
 * with another one, and may get a new one through its recovery key (SUCCESSOR). What we trust is
 * the chain from the first key; who has its last key is the server.
 *
 * A server shows the chain in its HELLO. But a server with a new key is a stranger to our TLS, and
 * nothing is said to strangers. So when somebody else answers in its place, we look once what his
 * HELLO says, with a key made for that moment: he learns nothing about us, and what he shows holds
 * or does not hold by itself.
 */
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "engine/engine_internal.h"

static struct device_id
server_of(const struct authority *a)
{
	const struct public_key *key = authority_key(a);

	return key != NULL ? device_id_of(key) : *authority_id(a);
}

/* -- what is kept -- */

static enum err
accept_kept(struct authority *a, struct bytes b, struct error *e)
{
	enum err r = authority_accept(a, b, NULL, e);

	return r == ERR_DENIED ? OK : r; /* superseded since */
}

struct load {
	struct authority *authority;
	enum statement_kind kind; /* 0: all but these two */
};

static enum err
load_one(void *ctx, struct bytes b, struct error *e)
{
	const struct load *l = ctx;
	struct statement st;

	if (statement_decode(b, &st, e) != OK)
		return ERR_CORRUPT;
	bool is_of_chain = st.kind == STATEMENT_AUTHORITY || st.kind == STATEMENT_SUCCESSOR;
	if (l->kind != 0 ? st.kind != l->kind : is_of_chain)
		return OK;
	return accept_kept(l->authority, b, e);
}

/* The first key, then its successors, each of which may be of the key that another names; then the
 * rest in any order. */
static enum err
load_statements(struct engine *en, struct error *e)
{
	struct load l = { en->authority, STATEMENT_AUTHORITY };
	struct device_id was, is = server_of(en->authority);
	enum err r = state_statements(en->state, load_one, &l, e);

	l.kind = STATEMENT_SUCCESSOR;
	do {
		was = is;
		if (r == OK)
			r = state_statements(en->state, load_one, &l, e);
		is = server_of(en->authority);
	} while (r == OK && !device_id_equal(&was, &is));
	l.kind = 0;
	return r == OK ? state_statements(en->state, load_one, &l, e) : r;
}

static void
see_own_end(void *ctx, struct bytes b, const struct statement *st)
{
	struct engine *en = ctx;
	const struct device_id *own = device_key_id(en->home->key);
	(void)b;

	if (hash_id_is_none(&st->share) && device_id_equal(&st->device, own) &&
	    authority_member(en->authority, own).len == 0)
		engine_link_ended(en);
}

enum err
engine_trust_load(struct engine *en, const struct device_id *server, struct error *e)
{
	auto_buf struct buf b = BUF(DEVICE_ID_BYTES);
	struct device_id root = *server;

	if (!en->o.is_server && state_get(en->state, ENGINE_KEY_AUTHORITY, &b, NULL) == OK &&
	    b.len == DEVICE_ID_BYTES)
		memcpy(root.bytes, b.at, b.len);
	en->authority = authority_new(&root);
	enum err r = load_statements(en, e);
	en->server = authority_key(en->authority) != NULL ? server_of(en->authority) : *server;
	/* Its end was told in an earlier run: what the server would say to that, too. */
	if (r == OK && !en->o.is_server)
		authority_each(en->authority, STATEMENT_REVOKE, see_own_end, en);
	return r;
}

/* -- joining -- */

enum err
engine_trust_joined(struct engine *en, const struct device_id *server,
    struct message_list statements, struct device_id *ret_root, struct error *e)
{
	auto_(authority_free_p) struct authority *a = NULL;
	struct statement first;
	struct bytes b;

	while (message_list_next(&statements, &b)) {
		enum err r = a == NULL ? statement_decode(b, &first, e) : OK;
		if (r == OK && a == NULL)
			a = authority_new(&first.authority);
		if (r == OK)
			r = authority_accept(a, b, NULL, e);
		if (r != OK)
			return error_wrap(e, ERR_PROTO, "the server's answer does not hold");
	}
	if (a == NULL || authority_member(a, device_key_id(en->home->key)).len == 0)
		return fail(e, ERR_PROTO, "the server answered without a membership");
	/* Whatever it began with: the key that the invite names speaks for it now. */
	struct device_id now = server_of(a);
	if (!device_id_equal(&now, server))
		return fail(e, ERR_PROTO, "the server's answer is of another authority");
	*ret_root = *authority_id(a);
	return OK;
}

/* -- greeting -- */

static enum err
take_chain(struct engine *en, const struct msg_hello *h, struct error *e)
{
	struct message_list successors = h->successors;
	struct bytes b;
	enum err r = h->authority.len > 0 ? engine_link_statement(en, h->authority, e) : OK;

	while (r == OK && message_list_next(&successors, &b))
		r = engine_link_statement(en, b, e);
	return r;
}

/* A server's own agent has no invite: its authority is the one of the server in the same process,
 * whose key it has. */
static void
follow_own_server(struct engine *en, const struct msg_hello *h)
{
	struct statement st;

	if (statement_decode(h->authority, &st, NULL) != OK ||
	    device_id_equal(&st.authority, authority_id(en->authority)))
		return;
	authority_free(en->authority);
	en->authority = authority_new(&st.authority);
}

enum err
engine_trust_hello(struct engine *en, struct peer *p, const struct msg_hello *h, struct error *e)
{
	if (en->o.is_server)
		follow_own_server(en, h);
	enum err r = take_chain(en, h, e);
	if (r != OK || authority_key(en->authority) == NULL)
		return r;
	struct device_id now = server_of(en->authority);
	return device_id_equal(&now, peer_device(p))
		   ? OK
		   : fail(e, ERR_DENIED, "the key of this server has been replaced");
}

/* -- a server with a new key -- */

struct trust_probe {
	struct engine *en;
	struct tls_ctx *tls;
	struct peer *peer;
};

struct keep_server {
	struct engine_work work;
	struct device_id server;
};

static enum err
work_keep(struct engine_work *w, struct error *e)
{
	return state_set(
	    w->engine->state, ENGINE_KEY_SERVER, BYTES_OF(((struct keep_server *)w)->server), e);
}

static void
done_keep(struct engine_work *w, enum err r, const struct error *e)
{
	if (r != OK)
		log_error("keep the server's new key: %s", e->text);
	free(w);
}

static void
follow(struct engine *en, const struct device_id *server)
{
	struct keep_server *k = mem_new(struct keep_server);
	char id[DEVICE_ID_TEXT];

	log_warn("%s has a new key, %s: the recovery key of its authority says so", en->server_name,
	    device_id_format(server, id));
	en->server = *server;
	*k = (struct keep_server){ .work = { .work = work_keep, .done = done_keep },
		.server = *server };
	engine_write(en, &k->work);
	engine_link_start(en);
}

static void
on_event(void *owner, struct peer *p, struct session_event *ev)
{
	struct trust_probe *t = owner;
	struct engine *en = t->en;
	struct error e;

	if (ev->kind == SESSION_EV_RAW)
		block_free(ev->block);
	if (ev->kind != SESSION_EV_HELLO)
		return;
	if (!en->closing && en->joined && take_chain(en, &ev->message.hello, &e) == OK) {
		struct device_id now = server_of(en->authority);
		if (device_id_equal(&now, peer_device(p)) && !device_id_equal(&now, &en->server))
			follow(en, &now);
	}
	peer_close(p, NULL);
}

static void
on_closed(void *owner, struct peer *p, const struct error *why)
{
	struct trust_probe *t = owner;
	struct engine *en = t->en;
	(void)p;
	(void)why;

	en->probe = NULL;
	tls_ctx_free(t->tls);
	free(t);
	en->pending--;
	engine_part_closed(en);
}

static const struct peer_events events = { .on_event = on_event, .on_closed = on_closed };

static enum err
nobodys_tls(struct tls_ctx **ret, struct error *e)
{
	auto_(device_key_free_p) struct device_key *key = NULL;
	enum err r = device_key_generate(&key, e);

	return r == OK ? tls_ctx_new(key, ret, e) : r;
}

void
engine_trust_probe(struct engine *en)
{
	const char *addresses[ENGINE_ADDRESSES_MAX];
	auto_buf struct buf hello = BUF(LIMIT_FRAME_MESSAGE);
	struct tls_ctx *tls = NULL;
	struct error e;

	if (en->probe != NULL || en->closing || !en->joined || en->o.is_server)
		return;
	enum err r = nobodys_tls(&tls, &e);
	if (r == OK)
		r = engine_link_hello(en, true, &hello, &e);
	if (r != OK) {
		log_error("look who answers for %s: %s", en->server_name, e.text);
		tls_ctx_free(tls);
		return;
	}
	for (size_t i = 0; i < en->n_addresses; i++)
		addresses[i] = en->addresses[i];
	struct trust_probe *t = mem_new(struct trust_probe);
	*t = (struct trust_probe){ .en = en, .tls = tls };
	en->probe = t;
	en->pending++;
	struct conn *c = conn_dial(en->loop, tls, NULL, addresses, en->n_addresses, NULL, NULL);
	t->peer = peer_new(en->loop, c, true, buf_bytes(&hello), &events, t);
}

void
engine_trust_close(struct engine *en)
{
	if (en->probe != NULL)
		peer_close(en->probe->peer, NULL);
}
