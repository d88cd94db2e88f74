/*
 * A new key for the authority. The recovery key, which was offline until now, names it (SUCCESSOR);
 * all that the old key said is void from then on but the shares' first statements, so the new key
 * signs members and heads again. Grants are made anew when they are asked for, revocations need no
 * successor: who is no member is not signed again.
 *
 * The new key is on the disk, under another name, before the database speaks of it, and takes its
 * place after that; so a crash in between is made good by doing it again.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "server/server_internal.h"

enum { KEY_MAX = 4096 };
static const char KEY_FILE[] = "device.key";
static const char NEXT_FILE[] = "device.key.next";

struct recovery {
	struct registry *registry;
	struct device_key *recovery, *next;
	struct device_id old; /* whose place NEXT takes */
	size_t members, heads;
};

/* -- keys -- */

static enum err
read_key(int dir, const char *name, struct device_key **ret, struct error *e)
{
	auto_buf struct buf pem = BUF(KEY_MAX);
	enum err r = fs_read_file(dir, (struct relpath){ name, strlen(name) }, &pem, e);

	if (r == OK)
		r = device_key_from_pem(buf_bytes(&pem), ret, e);
	if (pem.at != NULL)
		mem_wipe(pem.at, pem.room);
	return r;
}

/* Of a path as the user wrote it. */
static enum err
read_recovery_key(const char *file, struct device_key **ret, struct error *e)
{
	auto_free char *folder = str_dup(file);
	char *slash = strrchr(folder, '/');
	const char *name = slash != NULL ? file + (slash - folder) + 1 : file;
	int dir_ = -1;

	if (slash != NULL)
		slash[slash == folder] = '\0';
	enum err r = fs_open_root(slash != NULL ? folder : ".", &dir_, e);
	auto_fd int dir = dir_;
	if (r == OK)
		r = read_key(dir, name, ret, e);
	return r == OK ? OK : error_wrap(e, r, "recovery key %s", file);
}

/* The key that is to be the authority's: of an attempt that was cut off, or a new one. */
static enum err
next_key(int home, struct device_key **ret, struct error *e)
{
	auto_buf struct buf pem = BUF(KEY_MAX);
	enum err r = read_key(home, NEXT_FILE, ret, NULL);

	if (r == OK)
		return OK;
	r = device_key_generate(ret, e);
	if (r == OK)
		r = device_key_to_pem(*ret, &pem, e);
	if (r == OK)
		r = fs_write_file(home, (struct relpath){ NEXT_FILE, strlen(NEXT_FILE) },
		    buf_bytes(&pem), 0600, e);
	if (pem.at != NULL)
		mem_wipe(pem.at, pem.room);
	return r;
}

/* -- statements -- */

static enum err
sign_only(struct recovery *w, struct statement *st, const struct device_key *key, struct buf *out,
    struct error *e)
{
	struct authority *a = w->registry->authority;

	authority_stamp(a, st, server_now_s());
	enum err r = statement_sign(st, key, out, e);
	return r == OK ? authority_accept(a, buf_bytes(out), NULL, e) : r;
}

static enum err
sign(struct recovery *w, struct statement *st, const struct device_key *key, struct error *e)
{
	auto_buf struct buf b = BUF(STATEMENT_MAX);
	enum err r = sign_only(w, st, key, &b, e);

	return r == OK ? registry_store_statement(w->registry->db, buf_bytes(&b), st, e) : r;
}

static void
count(void *ctx, struct bytes b, const struct statement *st)
{
	(void)b;
	(void)st;
	++*(size_t *)ctx;
}

static enum err
sign_successor(struct recovery *w, struct error *e)
{
	struct authority *a = w->registry->authority;
	struct statement st = {
		.kind = STATEMENT_SUCCESSOR,
		.authority = w->old,
		.key = *device_key_public(w->next),
		.recovery = *device_key_public(w->recovery),
		.epoch = authority_epoch(a) + 1,
	};
	size_t n = 0;

	authority_each(a, STATEMENT_SUCCESSOR, count, &n);
	if (n >= LIMIT_SUCCESSORS)
		return fail(e, ERR_LIMIT,
		    "this authority has had %zu keys, more than a greeting can tell: begin with "
		    "another home",
		    n);
	enum err r = sign(w, &st, w->recovery, e);
	return r == ERR_DENIED ? fail(e, ERR_DENIED, "this is not the recovery key of this server")
			       : r;
}

/* The server's own device is another one now: it is the heir of the old one. */
static enum err
replace_own_device(struct recovery *w, struct error *e)
{
	struct registry *r = w->registry;
	const struct registry_device *old = registry_device(r, &w->old);
	struct registry_device own = { .joined_ms = server_now_ms() },
			       gone = { .id = w->old, .ended = true };

	if (old != NULL)
		own = gone = *old;
	gone.ended = true;
	own.id = *device_key_id(w->next);
	enum err err = registry_store_device(r->db, &gone, e);
	if (err == OK)
		err = registry_store_device(r->db, &own, e);
	if (err == OK)
		err = registry_store_device_moves(r->db, &w->old, &own.id, e);
	registry_add_device(r, &gone);
	registry_add_device(r, &own);
	return err;
}

static enum err
sign_members(struct recovery *w, struct error *e)
{
	enum err r = OK;

	map_each (slot, &w->registry->devices) {
		const struct registry_device *d = slot->ptr;
		struct statement st = { .kind = STATEMENT_MEMBER, .device = d->id };
		if (d->ended || r != OK)
			continue;
		snprintf(st.name, sizeof st.name, "%s", d->name);
		snprintf(st.site, sizeof st.site, "%s", d->site);
		r = sign(w, &st, w->next, e);
		w->members++;
	}
	return r;
}

/* -- heads -- */

struct head {
	struct registry_snapshot *sn;
	struct hash_id was, previous; /* its old statement, and the one before that */
};

static int
by_number(const void *a, const void *b)
{
	uint64_t x = ((const struct head *)a)->sn->number, y = ((const struct head *)b)->sn->number;

	return x < y ? -1 : x > y;
}

static enum err
old_head(struct recovery *w, struct registry_snapshot *sn, struct head *ret, struct error *e)
{
	auto_buf struct buf b = BUF(STATEMENT_MAX);
	struct statement st;
	enum err r = registry_store_statement_get(w->registry->db, &sn->head_statement, &b, e);

	if (r == OK)
		r = statement_decode(buf_bytes(&b), &st, e);
	if (r != OK)
		return error_wrap(e, ERR_CORRUPT, "server.db: the head statement of snapshot %llu",
		    (unsigned long long)sn->number);
	*ret = (struct head){ sn, sn->head_statement, st.previous };
	return OK;
}

/* In the order of their numbers, each naming the new statement of the one before it where that is
 * kept too. */
static enum err
sign_heads(struct recovery *w, const struct registry_share *sh, struct head *heads, size_t n,
    struct error *e)
{
	enum err r = OK;

	if (n > 1)
		qsort(heads, n, sizeof *heads, by_number);
	for (size_t i = 0; r == OK && i < n; i++) {
		struct registry_snapshot *sn = heads[i].sn;
		struct statement st = {
			.kind = STATEMENT_HEAD,
			.share = sh->id,
			.number = sn->number,
			.commit = sn->id,
			.previous = heads[i].previous,
		};
		if (i > 0 && hash_id_equal(&st.previous, &heads[i - 1].was))
			st.previous = heads[i - 1].sn->head_statement;
		r = sign(w, &st, w->next, e);
		sn->head_statement = st.id;
		if (r == OK)
			r = registry_store_snapshot_set(w->registry->db, sn, e);
		w->heads++;
	}
	return r;
}

/* -- policies -- */

struct policy {
	const struct registry_share *share;
	enum share_policy is;
};
typedef ARRAY(struct policy) policy_array;

/* Those of a statement of their own; what a share began with needs none. */
static void
collect_policies(struct recovery *w, policy_array *ret)
{
	const struct authority *a = w->registry->authority;

	map_each (slot, &w->registry->shares) {
		const struct registry_share *sh = slot->ptr;
		struct policy p = { sh, authority_policy(a, &sh->id) };
		if (authority_policy_statement(a, &sh->id).len > 0)
			array_push(ret, p);
	}
}

static enum err
sign_policies(struct recovery *w, const policy_array *policies, struct error *e)
{
	enum err r = OK;

	array_each (p, policies) {
		auto_buf struct buf b = BUF(STATEMENT_MAX);
		struct statement st = {
			.kind = STATEMENT_POLICY, .share = p->share->id, .policy = p->is
		};
		if (r == OK)
			r = sign_only(w, &st, w->next, &b, e);
		if (r == OK)
			r = registry_store_policy(w->registry->db, p->share->num, buf_bytes(&b), e);
	}
	return r;
}

/* -- all of it -- */

typedef ARRAY(struct head) head_array;

static enum err
collect_heads(struct recovery *w, const struct registry_share *sh, head_array *ret, struct error *e)
{
	enum err r = OK;

	array_each (sn, &sh->snapshots) {
		struct head h;
		if ((*sn)->state != SNAPSHOT_HEAD || r != OK)
			continue;
		r = old_head(w, *sn, &h, e);
		if (r == OK)
			array_push(ret, h);
	}
	return r;
}

/* All old ones are read before they are deleted. */
static enum err
sign_all_again(struct recovery *w, struct error *e)
{
	struct registry *reg = w->registry;
	size_t n = reg->shares.len, i = 0;
	auto_free head_array *heads = mem_array(head_array, n + 1);
	policy_array policies = { 0 };
	enum err r = OK;

	collect_policies(w, &policies);
	map_each (slot, &reg->shares) {
		if (r == OK)
			r = collect_heads(w, slot->ptr, &heads[i++], e);
	}
	if (r == OK)
		r = registry_store_statements_void(reg->db, e);
	if (r == OK)
		r = sign_successor(w, e);
	if (r == OK)
		r = replace_own_device(w, e);
	if (r == OK)
		r = sign_members(w, e);
	i = 0;
	map_each (slot, &reg->shares) {
		if (r == OK)
			r = sign_heads(w, slot->ptr, heads[i].at, heads[i].len, e);
		i++;
	}
	if (r == OK)
		r = sign_policies(w, &policies, e);
	for (i = 0; i < n; i++)
		array_clear(&heads[i]);
	array_clear(&policies);
	return r;
}

static enum err
change_authority(struct recovery *w, struct error *e)
{
	struct db *db = w->registry->db;
	enum err r = db_begin(db, e);

	if (r != OK)
		return r;
	r = sign_all_again(w, e);
	if (r == OK)
		return db_commit(db, e);
	db_rollback(db);
	return r;
}

static enum err
no_server(const char *home, struct error *e)
{
	return fail(
	    e, ERR_NOTFOUND, "%s is no server's home: there is no authority to recover", home);
}

static enum err
recover(struct recovery *w, int home, const char *path, const char *file, struct error *e)
{
	auto_free char *db = str_printf("%s/server.db", path);
	bool first;
	struct fs_stat st;

	if (fs_stat_at(home, REL("server.db"), &st, NULL) != OK)
		return no_server(path, e);
	enum err r = read_recovery_key(file, &w->recovery, e);
	if (r == OK)
		r = registry_open(db, NULL, &w->registry, &first, e);
	if (r == OK)
		r = next_key(home, &w->next, e);
	if (r != OK)
		return r;
	w->old = device_id_of(authority_key(w->registry->authority));
	if (!device_id_equal(&w->old, device_key_id(w->next))) /* else it was cut off after that */
		r = change_authority(w, e);
	return r == OK ? fs_rename(home, (struct relpath){ NEXT_FILE, strlen(NEXT_FILE) }, home,
			     (struct relpath){ KEY_FILE, strlen(KEY_FILE) }, e)
		       : r;
}

enum err
server_recover(const char *home, const char *file, struct error *e)
{
	struct recovery w = { 0 };
	int dir_ = -1;
	enum err r = fs_open_root(home, &dir_, e);
	auto_fd int dir = dir_;

	if (r == ERR_NOTFOUND)
		return no_server(home, e);
	if (r == OK)
		r = recover(&w, dir, home, file, e);
	if (r == OK)
		r = fs_sync(dir, e);
	if (r == OK)
		log_info("the authority has a new key: %zu members and %zu heads are signed again",
		    w.members, w.heads);
	registry_close(w.registry);
	device_key_free(w.recovery);
	device_key_free(w.next);
	return r;
}
