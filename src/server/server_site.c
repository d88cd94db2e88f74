/*
 * Which member is at which site: its label, who gave it, and whether the member believes it.
 *
 * A label is the administrator's (by the invite or `weft site move`), else that of the subnet that
 * the member is seen in, else what it said when it joined.  A changed one is a new MEMBER
 * statement, and for all that it takes part in a new place.  The subnets are asked of who is
 * connected, as the address that somebody had once says little.
 *
 * A label that its bearer does not believe (PLACED) is kept and shown; for swarms that member is a
 * site of its own.
 */
#include <stdio.h>

#include "base/log.h"
#include "server/server_internal.h"

enum { BATCH = 64 }; /* labels of one change: that many signatures take 3 ms */

/* -- places in swarms -- */

uint64_t
server_site_number_of(const char *label)
{
	uint8_t h[HASH_BYTES];
	uint64_t n;

	hash_sha256(BYTES_LIT("site "), bytes_str(label), h);
	memcpy(&n, h, sizeof n);
	return n;
}

uint64_t
server_site_number(const struct registry_device *d)
{
	return d->placed.alone ? swarm_node_number(&d->id) : server_site_number_of(d->site);
}

void
server_site_placed(struct link *l, const struct msg_placed *m)
{
	struct server *s = l->server;
	struct registry_device *d = registry_device(s->registry, &l->device);

	if (d == NULL || !bytes_equal(m->site, bytes_str(d->site)))
		return;
	bool was = d->placed.alone;
	d->placed.alone = !m->believed;
	d->placed.rtt_us = m->rtt_us;
	d->placed.mates = m->mates;
	d->placed.near = m->near;
	if (was == d->placed.alone)
		return;
	log_info(m->believed ? "%s is at %s after all"
			     : "%s is not where its label says, at %s: it is a site of its own",
	    d->name, d->site);
	server_swarm_place(s, d);
}

/* -- labels -- */

void
server_site_label(const struct server *s, struct registry_device *d)
{
	const char *mapped = registry_site_of(s->registry, d->address);
	const char *label = d->assigned[0] != 0 ? d->assigned : mapped != NULL ? mapped : d->said;

	snprintf(d->site, sizeof d->site, "%s", label);
}

/* Of one that is away the label may be of a subnet that is mapped otherwise since. */
enum site_from
server_site_from(const struct server *s, const struct registry_device *d)
{
	const char *mapped = registry_site_of(s->registry, d->address);

	if (d->assigned[0] != 0)
		return SITE_ADMIN;
	if (d->site[0] == 0)
		return SITE_NONE;
	if (mapped != NULL && strcmp(mapped, d->site) == 0)
		return SITE_SUBNET;
	return strcmp(d->said, d->site) == 0 ? SITE_SAID : SITE_SUBNET;
}

const char *
server_site_from_name(enum site_from from)
{
	static const char *const names[] = {
		[SITE_SAID] = "own", [SITE_SUBNET] = "subnet", [SITE_ADMIN] = "admin"
	};

	return names[from];
}

/* -- changing them -- */

struct relabel {
	struct registry_device device; /* as it is to be */
	struct statement statement;
	struct buf member;
	struct hash_id before; /* the statement whose place it takes; none: there is none */
};

struct relabels {
	struct change change;
	ARRAY(struct relabel) all;
	struct control_call *call; /* whom to answer; NULL: nobody */
	bool rest;                 /* there may be more to do */
};

static enum err
store_relabels(struct change *c, struct server *s, struct error *e)
{
	struct relabels *v = (struct relabels *)c;
	struct db *db = s->registry->db;
	enum err r = OK;

	array_each (x, &v->all) {
		if (r == OK && !hash_id_is_none(&x->before))
			r = registry_store_statement_drop(db, &x->before, e);
		if (r == OK)
			r = registry_store_statement(db, buf_bytes(&x->member), &x->statement, e);
		if (r == OK)
			r = registry_store_device(db, &x->device, e);
	}
	return r;
}

/* What else has changed meanwhile (who it is, where it was seen) stays. */
static void
take_label(struct server *s, const struct relabel *x)
{
	struct registry_device *d = registry_device(s->registry, &x->device.id);

	if (d == NULL)
		return;
	struct registry_device now = *d;
	memcpy(now.site, x->device.site, sizeof now.site);
	memcpy(now.assigned, x->device.assigned, sizeof now.assigned);
	memcpy(now.said, x->device.said, sizeof now.said);
	d = registry_add_device(s->registry, &now);
	log_info(now.site[0] != 0 ? "device %s is at site %s" : "device %s is at no site", now.name,
	    now.site);
	map_each (slot, &s->links) {
		struct link *l = slot->ptr;
		if (l->member && device_id_equal(&l->device, &d->id))
			server_peer_push(l, buf_bytes(&x->member));
	}
	server_swarm_place(s, d);
}

static void
relabels_free(struct relabels *v)
{
	array_each (x, &v->all)
		buf_clear(&x->member);
	array_clear(&v->all);
	free(v);
}

static void
apply_relabels(struct change *c, struct server *s, enum err r, const struct error *e)
{
	struct relabels *v = (struct relabels *)c;

	if (r == OK) {
		array_each (x, &v->all)
			take_label(s, x);
	} else if (v->call == NULL) {
		log_warn("keep the sites of %zu devices: %s", v->all.len, e->text);
	}
	if (v->call != NULL)
		control_call_done(v->call, r == OK ? NULL : e, -1);
	if (r == OK && v->rest)
		server_site_settle(s);
	relabels_free(v);
}

static struct relabels *
relabels_new(struct control_call *call)
{
	struct relabels *v = mem_new(struct relabels);

	v->change = (struct change){ .store = store_relabels, .apply = apply_relabels };
	v->call = call;
	return v;
}

/* D, a copy, is to be as it is said here; its membership is signed anew when its label changes. */
static enum err
relabel(struct server *s, struct relabels *v, const struct registry_device *d, struct error *e)
{
	struct bytes before = authority_member(s->registry->authority, &d->id);
	struct relabel x = { .device = *d,
		.statement = { .kind = STATEMENT_MEMBER, .device = d->id },
		.member = BUF(STATEMENT_MAX) };
	struct statement was;

	if (before.len > 0 && statement_decode(before, &was, NULL) == OK)
		x.before = was.id;
	snprintf(x.statement.name, sizeof x.statement.name, "%s", d->name);
	snprintf(x.statement.site, sizeof x.statement.site, "%s", d->site);
	enum err r = server_sign(s, &x.statement, &x.member, e);
	if (r != OK) {
		buf_clear(&x.member);
		return r;
	}
	array_push(&v->all, x);
	return OK;
}

enum err
server_site_move(struct server *s, const struct registry_device *d, const char *site,
    struct control_call *call, struct error *e)
{
	struct relabels *v = relabels_new(call);
	struct registry_device to = *d;

	snprintf(to.assigned, sizeof to.assigned, "%s", site);
	server_site_label(s, &to);
	enum err r = relabel(s, v, &to, e);
	if (r == OK)
		server_change(s, &v->change);
	else
		relabels_free(v);
	return r;
}

/* One who is here and not where its label should say: its new row. */
static bool
is_due(const struct server *s, const struct registry_device *d, struct registry_device *ret)
{
	if (d->ended || d->connections == 0)
		return false;
	*ret = *d;
	server_site_label(s, ret);
	return strcmp(ret->site, d->site) != 0;
}

static void
start(struct server *s, struct relabels *v)
{
	if (v->all.len > 0)
		server_change(s, &v->change);
	else
		relabels_free(v);
}

void
server_site_settle(struct server *s)
{
	struct relabels *v = relabels_new(NULL);
	struct registry_device to;
	struct error e;

	map_each (slot, &s->registry->devices) {
		v->rest = v->all.len == BATCH;
		if (v->rest)
			break;
		if (is_due(s, slot->ptr, &to) && relabel(s, v, &to, &e) != OK)
			log_warn("sign the site of %s: %s", to.name, e.text);
	}
	start(s, v);
}

void
server_site_arrived(struct link *l)
{
	struct server *s = l->server;
	struct registry_device *d = registry_device(s->registry, &l->device), to;
	struct relabels *v;
	struct error e;

	if (d == NULL || !is_due(s, d, &to))
		return;
	v = relabels_new(NULL);
	if (relabel(s, v, &to, &e) != OK)
		log_warn("sign the site of %s: %s", to.name, e.text);
	start(s, v);
}

/* -- subnets -- */

struct subnet_change {
	struct change change;
	struct registry_subnet net;
	struct control_call *call;
};

static enum err
store_subnet(struct change *c, struct server *s, struct error *e)
{
	return registry_store_subnet(s->registry->db, &((struct subnet_change *)c)->net, e);
}

static void
apply_subnet(struct change *c, struct server *s, enum err r, const struct error *e)
{
	struct subnet_change *v = (struct subnet_change *)c;

	if (r == OK) {
		registry_set_subnet(s->registry, &v->net);
		server_site_settle(s);
	}
	control_call_done(v->call, r == OK ? NULL : e, -1);
	free(v);
}

void
server_site_map(struct server *s, const struct registry_subnet *net, struct control_call *call)
{
	struct subnet_change *v = mem_new(struct subnet_change);

	v->change = (struct change){ .store = store_subnet, .apply = apply_subnet };
	v->net = *net;
	v->call = call;
	server_change(s, &v->change);
}
