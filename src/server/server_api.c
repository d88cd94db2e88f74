/*
 * Commands of the administrator: whoever may open the server's control socket administers it.
 */
#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "crypto/random.h"
#include "server/server_internal.h"

typedef enum err api_handler(
    struct server *s, struct control_call *call, const struct control_request *r, struct error *e);

/* -- revocations -- */

/* Ends access of DEVICE to SH, or, SH NULL, its membership: signed, appended to OUT. */
static enum err
sign_revoke(struct server *s, const struct registry_share *sh, const struct device_id *device,
    struct statement *st, struct buf *out, struct error *e)
{
	*st = (struct statement){ .kind = STATEMENT_REVOKE,
		.device = *device,
		.epoch = authority_epoch(s->registry->authority) + 1 };
	if (sh != NULL)
		st->share = sh->id;
	return server_sign(s, st, out, e);
}

/* -- invite -- */

struct invite_change {
	struct change change;
	struct registry_invite invite;
	struct control_call *call;
	void (*on_done)(void *ctx, enum err r, const struct error *e, const char *text);
	void *ctx;
};

static enum err
store_invite(struct change *c, struct server *s, struct error *e)
{
	return registry_store_invite(s->registry->db, &((struct invite_change *)c)->invite, e);
}

static enum err
invite_text(struct server *s, const struct registry_invite *in, struct buf *out, struct error *e)
{
	struct invite v = { .server = *device_key_id(s->home->key) };

	memcpy(v.id, in->id, sizeof v.id);
	memcpy(v.secret, in->secret, sizeof v.secret);
	for (size_t i = 0; i < s->n_advertise; i++)
		memcpy(v.addresses[v.n_addresses++], s->advertise[i], sizeof v.addresses[0]);
	enum err r = invite_format(&v, out, e);
	mem_wipe(&v, sizeof v);
	return r;
}

static void
tell_invite(struct invite_change *v, struct server *s, const struct buf *text)
{
	auto_buf struct buf row = BUF(RECORD_MAX);

	record_bytes(&row, "invite", buf_bytes(text));
	record_int(&row, "uses", v->invite.uses);
	if (v->invite.expires_s != 0)
		record_time(&row, "expires", v->invite.expires_s * 1000000000);
	record_text(&row, "server", s->name);
	control_call_row(v->call, buf_bytes(&row));
	control_call_done(v->call, NULL, -1);
}

static void
apply_invite(struct change *c, struct server *s, enum err r, const struct error *e)
{
	struct invite_change *v = (struct invite_change *)c;
	auto_buf struct buf text = BUF(INVITE_TEXT_MAX);
	struct error own;

	if (r == OK) {
		r = invite_text(s, &v->invite, &text, &own);
		e = &own;
	}
	if (r == OK)
		registry_add_invite(s->registry, &v->invite); /* takes the grants */
	else
		array_clear(&v->invite.grants);
	if (v->on_done != NULL)
		v->on_done(v->ctx, r, r == OK ? NULL : e, buf_text(&text));
	else if (r == OK)
		tell_invite(v, s, &text);
	else
		control_call_done(v->call, e, -1);
	if (text.at != NULL)
		mem_wipe(text.at, text.len);
	mem_wipe(v->invite.secret, sizeof v->invite.secret);
	free(v);
}

static struct invite_change *
new_invite(void)
{
	struct invite_change *v = mem_new(struct invite_change);

	v->change = (struct change){ .store = store_invite, .apply = apply_invite };
	random_fill(v->invite.id, sizeof v->invite.id);
	random_fill(v->invite.secret, sizeof v->invite.secret);
	v->invite.uses = 1;
	v->invite.expires_s = server_now_s() + SERVER_INVITE_SECONDS;
	return v;
}

void
server_invite(struct server *s,
    void (*on_done)(void *ctx, enum err r, const struct error *e, const char *text), void *ctx)
{
	struct invite_change *v = new_invite();

	v->on_done = on_done;
	v->ctx = ctx;
	server_change(s, &v->change);
}

static enum err
parse_rights(const char *text, uint32_t *ret, struct error *e)
{
	if (strcmp(text, "read") == 0)
		*ret = RIGHT_READ;
	else if (strcmp(text, "write") == 0)
		*ret = RIGHT_READ | RIGHT_WRITE;
	else
		return fail(e, ERR_USAGE, "rights are 'read' or 'write', not '%s'", text);
	return OK;
}

static enum err
find_share(struct server *s, const char *name, struct registry_share **ret, struct error *e)
{
	*ret = registry_share_named(s->registry, bytes_str(name));
	if (*ret == NULL)
		return fail(
		    e, ERR_NOTFOUND, "no such share: %s (a share is created by publishing)", name);
	return OK;
}

/* "NAME:read": the share may have colons of its own, so the last one counts. */
static enum err
add_invited_share(struct server *s, struct registry_invite *in, const char *text, struct error *e)
{
	const char *colon = strrchr(text, ':');
	char name[STATEMENT_NAME_MAX + 1];
	struct registry_share *sh = NULL;
	uint32_t rights = 0;

	if (colon == NULL || (size_t)(colon - text) >= sizeof name)
		return fail(e, ERR_USAGE, "--share %s: expected NAME:read or NAME:write", text);
	memcpy(name, text, (size_t)(colon - text));
	name[colon - text] = 0;
	enum err r = parse_rights(colon + 1, &rights, e);
	if (r == OK)
		r = find_share(s, name, &sh, e);
	if (r != OK)
		return r;
	array_reserve(&in->grants, in->grants.len + 1);
	in->grants.at[in->grants.len].share = sh->num;
	in->grants.at[in->grants.len++].rights = rights;
	return OK;
}

static enum err
invite_options(
    struct server *s, struct registry_invite *in, const struct control_request *r, struct error *e)
{
	const char *uses = control_arg(r, "uses"), *expires = control_arg(r, "expires");
	const char *site = control_arg(r, "site"), *group = control_arg(r, "group");
	uint64_t seconds;

	if (uses != NULL && (!text_parse_u64(uses, 1000000, &in->uses) || in->uses == 0))
		return fail(e, ERR_USAGE, "--uses %s: expected a number from 1 to 1000000", uses);
	if (expires != NULL) {
		if (!text_parse_duration(expires, &seconds) || seconds == 0)
			return fail(e, ERR_USAGE,
			    "--expires %s: expected a time like 30m, 24h or 7d", expires);
		in->expires_s = server_now_s() + (int64_t)seconds;
	}
	if (site != NULL && !statement_name_ok(site))
		return fail(e, ERR_USAGE, "--site %s: not a usable name", site);
	if (group != NULL && !statement_name_ok(group))
		return fail(e, ERR_USAGE, "--group %s: not a usable name", group);
	snprintf(in->site, sizeof in->site, "%s", site != NULL ? site : "");
	snprintf(in->group, sizeof in->group, "%s", group != NULL ? group : "");
	for (uint32_t i = 0; i < r->n_args; i++) {
		const struct control_arg *a = &r->args[i];
		if (!bytes_equal(a->name, BYTES_LIT("share")))
			continue;
		enum err err = add_invited_share(s, in, (const char *)a->value.at, e);
		if (err != OK)
			return err;
	}
	return OK;
}

static enum err
api_invite(
    struct server *s, struct control_call *call, const struct control_request *r, struct error *e)
{
	struct invite_change *v = new_invite();
	enum err err = invite_options(s, &v->invite, r, e);

	if (err != OK) {
		array_clear(&v->invite.grants);
		free(v);
		return err;
	}
	v->call = call;
	server_change(s, &v->change);
	return OK;
}

/* -- grant, ungrant -- */

struct access_change {
	struct change change;
	int64_t share;
	struct registry_access access;
	struct control_call *call;
	struct statement revoked;
	struct buf revoke; /* empty: nothing is taken away */
};

static enum err
store_access(struct change *c, struct server *s, struct error *e)
{
	struct access_change *a = (struct access_change *)c;
	enum err r = registry_store_access(s->registry->db, a->share, &a->access, e);

	return r == OK && a->revoke.len > 0 ? registry_store_statement(s->registry->db,
						  buf_bytes(&a->revoke), &a->revoked, e)
					    : r;
}

static void
push_grant(struct server *s, const struct registry_share *sh, const struct registry_access *a)
{
	map_each (slot, &s->links) {
		struct link *l = slot->ptr;
		auto_buf struct buf grant = BUF(STATEMENT_MAX);
		if (!l->member || (!a->all && !device_id_equal(&l->device, &a->device)))
			continue;
		uint32_t rights = rules_rights(s->registry, sh, &l->device);
		if (rights == 0 || server_peer_grant(s, sh, &l->device, rights, &grant, NULL) != OK)
			continue;
		server_peer_push(l, buf_bytes(&sh->statement));
		server_peer_push(l, buf_bytes(&grant));
	}
}

static void
apply_access(struct change *c, struct server *s, enum err r, const struct error *e)
{
	struct access_change *a = (struct access_change *)c;
	struct registry_share *sh = registry_share_num(s->registry, a->share);

	if (r == OK && sh != NULL) {
		registry_set_access(sh, &a->access); /* from now on */
		push_grant(s, sh, &a->access);       /* first: who keeps something is not to stop */
		if (a->revoke.len > 0)
			server_peer_push_all(s, buf_bytes(&a->revoke));
		server_intake_judge(s);
		server_swarm_judge(s, &sh->id);
	}
	control_call_done(a->call, r == OK ? NULL : e, -1);
	buf_clear(&a->revoke);
	free(a);
}

/* Whose access to which share R is about. */
static enum err
find_access(struct server *s, const struct control_request *r, struct registry_share **sh,
    struct registry_access *a, struct error *e)
{
	enum err err = find_share(s, control_arg(r, "share"), sh, e);
	const char *device = control_arg(r, "device");
	struct registry_device *d = NULL;

	if (err != OK)
		return err;
	a->all = control_flag(r, "all");
	if (a->all == (device != NULL))
		return fail(e, ERR_USAGE, "name one device, or --all");
	if (a->all)
		return OK;
	err = registry_find_device(s->registry, device, &d, e);
	if (err == OK)
		a->device = d->id;
	return err;
}

static struct access_change *
new_access(
    struct control_call *call, const struct registry_share *sh, const struct registry_access *a)
{
	struct access_change *c = mem_new(struct access_change);

	c->change = (struct change){ .store = store_access, .apply = apply_access };
	c->share = sh->num;
	c->access = *a;
	c->call = call;
	c->revoke = BUF(STATEMENT_MAX);
	return c;
}

static enum err
api_grant(
    struct server *s, struct control_call *call, const struct control_request *r, struct error *e)
{
	struct registry_share *sh = NULL;
	struct registry_access a = { 0 };
	enum err err = find_access(s, r, &sh, &a, e);

	if (err == OK)
		err = parse_rights(control_arg(r, "rights"), &a.rights, e);
	if (err == OK)
		server_change(s, &new_access(call, sh, &a)->change);
	return err;
}

static enum err
api_ungrant(
    struct server *s, struct control_call *call, const struct control_request *r, struct error *e)
{
	struct registry_share *sh = NULL;
	struct registry_access a = { 0 };
	enum err err = find_access(s, r, &sh, &a, e);

	if (err != OK)
		return err;
	if (registry_access(sh, a.all ? NULL : &a.device) == NULL)
		return fail(e, ERR_NOTFOUND, "%s was not granted to %s", sh->name,
		    a.all ? "everybody" : control_arg(r, "device"));
	struct access_change *c = new_access(call, sh, &a); /* rights 0: to be taken away */
	/* Everybody's is one statement, however many they are; who keeps access by an entry of its
	 * own gets a new grant. */
	err = sign_revoke(s, sh, &a.device, &c->revoked, &c->revoke, e);
	if (err != OK)
		log_error("revoke access to %s: %s", sh->name, e->text);
	server_change(s, &c->change);
	return OK;
}

/* -- rm -- */

struct rm_change {
	struct change change;
	int64_t share;
	struct hash_id policy;
	bool whole;
	ARRAY(struct hash_id) snapshots;
	struct control_call *call;
};

static enum err
store_rm(struct change *c, struct server *s, struct error *e)
{
	struct rm_change *m = (struct rm_change *)c;
	enum err r = OK;

	if (m->whole)
		r = registry_store_share_drop(s->registry->db, m->share, &m->policy, e);
	array_each (id, &m->snapshots) {
		if (r == OK)
			r = registry_store_snapshot_drop(s->registry->db, id, e);
		if (r == OK)
			r = registry_store_share_stale(s->registry->db, m->share, e);
	}
	/* Its space comes back also when we die before the collection. */
	return r == OK ? registry_store_collected(s->registry->db, 0, e) : r;
}

static void
apply_rm(struct change *c, struct server *s, enum err r, const struct error *e)
{
	struct rm_change *m = (struct rm_change *)c;
	struct registry_share *sh = registry_share_num(s->registry, m->share);

	const struct hash_id id = sh != NULL ? sh->id : (struct hash_id){ 0 };
	if (r == OK && sh != NULL && m->whole) {
		registry_drop_share(s->registry, sh);
	} else if (r == OK && sh != NULL) {
		array_each (sn_id, &m->snapshots) {
			struct registry_snapshot *sn = registry_snapshot(sh, sn_id);
			if (sn != NULL)
				registry_drop_snapshot(sh, sn);
			sh->stale++;
		}
	}
	if (r == OK) {
		server_swarm_judge(s, &id);
		s->registry->collected_ms = 0;
		server_gc_want(s);
	}
	control_call_done(m->call, r == OK ? NULL : e, -1);
	array_clear(&m->snapshots);
	free(m);
}

static void
tell_rm(struct control_call *call, const struct registry_share *sh, const struct rm_change *m,
    const char *selector, uint64_t bytes, bool dry_run)
{
	auto_buf struct buf row = BUF(RECORD_MAX);

	record_text(&row, "share", sh->name);
	if (selector != NULL)
		record_text(&row, "snapshot", selector);
	record_int(&row, "snapshots", m->whole ? sh->snapshots.len : m->snapshots.len);
	record_size(&row, "bytes", bytes);
	record_bool(&row, "dry_run", dry_run);
	control_call_row(call, buf_bytes(&row));
}

static enum err
rm_one(struct server *s, struct registry_share *sh, const char *selector, struct rm_change *m,
    uint64_t *ret_bytes, struct error *e)
{
	struct registry_snapshot *sn = NULL;
	enum err r = registry_select(sh, bytes_str(selector), &sn, e);

	if (r != OK)
		return r;
	if (sn == sh->head)
		return fail(e, ERR_CONFLICT,
		    "%s@%s is the current snapshot: publish another one first, or remove the whole "
		    "share with `weft rm %s`",
		    sh->name, selector, sh->name);
	if (server_intake_is_final(s, &sn->id))
		return fail(e, ERR_AGAIN, "%s@%s is just becoming the current snapshot: try again",
		    sh->name, selector);
	*ret_bytes = sn->bytes;
	array_push(&m->snapshots, sn->id);
	return OK;
}

static enum err
api_rm(
    struct server *s, struct control_call *call, const struct control_request *r, struct error *e)
{
	const char *selector = control_arg(r, "snapshot");
	struct registry_share *sh = NULL;
	struct rm_change *m = mem_new(struct rm_change);
	enum err err = find_share(s, control_arg(r, "share"), &sh, e);

	m->change = (struct change){ .store = store_rm, .apply = apply_rm };
	m->call = call;
	bool dry_run = control_flag(r, "dry-run");
	uint64_t bytes = 0;
	if (err == OK && selector != NULL)
		err = rm_one(s, sh, selector, m, &bytes, e);
	if (err == OK && selector == NULL) {
		m->whole = true;
		array_each (sn, &sh->snapshots)
			bytes += (*sn)->state == SNAPSHOT_HEAD ? (*sn)->bytes : 0;
	}
	if (err == OK)
		tell_rm(call, sh, m, selector, bytes, dry_run);
	if (err != OK || dry_run) {
		array_clear(&m->snapshots);
		free(m);
		if (err == OK)
			control_call_done(call, NULL, -1);
		return err;
	}
	m->share = sh->num;
	m->policy = sh->policy_id;
	for (size_t i = 0; m->whole && i < sh->snapshots.len; i++)
		server_intake_withdraw(s, &sh->snapshots.at[i]->id, "the share is being removed");
	array_each (id, &m->snapshots)
		server_intake_withdraw(s, id, "it is being removed");
	server_change(s, &m->change);
	return OK;
}

/* -- leave -- */

static enum err
api_leave(
    struct server *s, struct control_call *call, const struct control_request *r, struct error *e)
{
	const char *device = control_arg(r, "device");
	struct registry_device *d = NULL;

	if (device == NULL)
		return fail(e, ERR_USAGE,
		    "a server cannot leave itself (`weft leave DEVICE` ends another's membership)");
	enum err err = registry_find_device(s->registry, device, &d, e);
	return err == OK ? server_join_end(s, d, call, e) : err;
}

/* -- verify: what the store keeps; what lies in directories of this machine is the agent's -- */

static enum err
api_verify(
    struct server *s, struct control_call *call, const struct control_request *r, struct error *e)
{
	struct registry_share *sh = NULL;
	enum err err = find_share(s, control_arg(r, "share"), &sh, e);

	if (err == OK)
		server_gc_verify(s, sh, call);
	return err;
}

/* -- the table -- */

static const struct {
	const char *verb;
	api_handler *handler;
} verbs[] = {
	{ "invite", api_invite },
	{ "grant", api_grant },
	{ "ungrant", api_ungrant },
	{ "leave", api_leave },
	{ "rm", api_rm },
	{ "policy", server_policy_call },
	{ "limit", server_line_call },
	{ "site", server_site_call },
	{ "verify", api_verify },
};

bool
server_has_verb(const char *verb)
{
	for (size_t i = 0; i < lengthof(verbs); i++) {
		if (strcmp(verbs[i].verb, verb) == 0)
			return true;
	}
	return false;
}

void
server_call(struct server *s, struct control_call *call, const struct control_request *r)
{
	struct error e;

	for (size_t i = 0; i < lengthof(verbs); i++) {
		if (strcmp(verbs[i].verb, r->verb) != 0)
			continue;
		if (verbs[i].handler(s, call, r, &e) != OK)
			control_call_done(call, &e, -1);
		return;
	}
	(void)fail(&e, ERR_USAGE, "the server has no command '%s'", r->verb);
	control_call_done(call, &e, -1);
}
