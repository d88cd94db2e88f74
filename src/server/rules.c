#include "server/rules.h"

#include <stdlib.h>

#include "base/text.h"

static uint32_t
rights_of(const struct registry_access *a)
{
	return a != NULL ? a->rights : 0;
}

uint32_t
rules_rights(
    const struct registry *r, const struct registry_share *s, const struct device_id *device)
{
	if (registry_device(r, device) == NULL)
		return 0;
	uint32_t rights =
	    rights_of(registry_access(s, NULL)) | rights_of(registry_access(s, device));
	if (rights & RIGHT_ADMIN)
		rights |= RIGHT_WRITE;
	if (rights & RIGHT_WRITE)
		rights |= RIGHT_READ;
	return rights;
}

static enum err
judge(const struct registry *r, struct registry_share *s, struct bytes name,
    const struct device_id *device, uint32_t rights, struct registry_share **ret, struct error *e)
{
	char shown[LIMIT_NAME + 1];
	uint32_t have = s != NULL ? rules_rights(r, s, device) : 0;

	text_escape(name, shown, sizeof shown);
	if ((have & RIGHT_READ) == 0)
		return fail(e, ERR_NOTFOUND,
		    "no such share: %s (`weft shares` lists those you may see)", shown);
	if ((have & rights) != rights)
		return fail(e, ERR_DENIED,
		    "%s is read-only for this device; ask the server's administrator for "
		    "`weft grant %s DEVICE write`",
		    shown, shown);
	*ret = s;
	return OK;
}

enum err
rules_share(const struct registry *r, struct bytes name, const struct device_id *device,
    uint32_t rights, struct registry_share **ret, struct error *e)
{
	return judge(r, registry_share_named(r, name), name, device, rights, ret, e);
}

enum err
rules_share_id(const struct registry *r, const struct hash_id *id, const struct device_id *device,
    uint32_t rights, struct registry_share **ret, struct error *e)
{
	struct registry_share *s = registry_share(r, id);
	char text[11];

	/* A stranger to the share learns its name from nothing but his own id for it. */
	bool may_see = s != NULL && (rules_rights(r, s, device) & RIGHT_READ) != 0;
	return judge(
	    r, s, bytes_str(may_see ? s->name : hash_id_short(id, text)), device, rights, ret, e);
}

enum err
rules_create(const struct registry *r, const struct device_id *device, struct error *e)
{
	unsigned n = 0;

	map_each (slot, &r->shares)
		n += (rights_of(registry_access(slot->ptr, device)) & RIGHT_WRITE) != 0;
	if (n >= RULES_SHARES_MAX)
		return fail(e, ERR_LIMIT,
		    "this device may write to %u shares, and creates no more from %d on; ask the "
		    "server's administrator to remove some (`weft rm SHARE`)",
		    n, RULES_SHARES_MAX);
	return OK;
}

bool
rules_is_hybrid(const struct registry *r, const struct registry_share *s)
{
	return authority_policy(r->authority, &s->id) == POLICY_HYBRID;
}

enum err
rules_announce(const struct registry *r, const struct registry_share *s, const struct commit *c,
    const struct device_id *author, uint64_t head_seq, struct error *e)
{
	struct device_id signer = device_id_of(&c->author);

	if (!device_id_equal(&signer, author))
		return fail(e, ERR_DENIED,
		    "the snapshot is signed by another device than the one that announces it");
	if ((rules_rights(r, s, author) & RIGHT_WRITE) == 0)
		return fail(e, ERR_DENIED, "%s is read-only for this device", s->name);
	if (!hash_id_equal(&c->share, &s->id) || !hash_id_equal(&c->policy, &s->policy_id))
		return fail(
		    e, ERR_PROTO, "the snapshot names another share or policy than %s", s->name);
	if (c->epoch > authority_epoch(r->authority))
		return fail(e, ERR_PROTO, "the snapshot names an epoch that has not begun");
	if (s->head == NULL ? c->n_parents != 0
			    : c->n_parents != 1 || !hash_id_equal(&c->parents[0], &s->head->id))
		return fail(e, ERR_CONFLICT,
		    "%s has moved on meanwhile: the snapshot is not built upon its head", s->name);
	if (c->seq != head_seq + 1 || version_vector_get(&c->vv, author) != c->seq)
		return fail(e, ERR_CONFLICT,
		    "sequence %llu of this device does not follow %llu in %s",
		    (unsigned long long)c->seq, (unsigned long long)head_seq, s->name);
	return OK;
}

/* Two units that follow each other are more than one unit size, or the first has all the leaves
 * that a unit may have. */
uint64_t
rules_units_max(const struct registry_snapshot *sn)
{
	uint64_t leaves = sn->chunk_bytes / CHUNK_LEAF + sn->chunks;

	return 2 * sn->chunk_bytes / sn->unit_size + leaves / UNIT_LEAVES_MAX + 1;
}

enum err
rules_enter(const struct registry *r, const struct device_id *device, const struct msg_enter *m,
    struct error *e)
{
	struct registry_share *s = NULL;
	enum err err = rules_share_id(r, &m->share, device, RIGHT_READ, &s, e);

	if (err != OK)
		return err;
	if (!rules_is_hybrid(r, s))
		return fail(e, ERR_DENIED, "the bytes of %s come from its server", s->name);
	const struct registry_snapshot *sn = registry_snapshot(s, &m->snapshot);
	if (sn == NULL || sn->state == SNAPSHOT_WITHDRAWN)
		return fail(e, ERR_NOTFOUND, "%s has no such snapshot", s->name);
	if (m->unit_size != sn->unit_size || m->units > rules_units_max(sn))
		return fail(e, ERR_PROTO, "%u units of %u bytes are not those of the snapshot",
		    m->units, m->unit_size);
	return OK;
}

enum err
rules_clock(int64_t ours_ms, int64_t theirs_ms, struct error *e)
{
	int64_t off = theirs_ms - ours_ms;
	char how[TEXT_DURATION];

	if (llabs(off) <= (int64_t)LIMIT_CLOCK_REFUSE_S * 1000)
		return OK;
	text_duration((uint64_t)llabs(off), how);
	return fail(e, ERR_DENIED,
	    "this machine's clock is %s %s the server's: set it, then try again", how,
	    off > 0 ? "ahead of" : "behind");
}

enum err
rules_invite(const struct registry_invite *in, int64_t now_s, struct error *e)
{
	if (in == NULL || in->uses == 0)
		return fail(e, ERR_DENIED,
		    "this invite is unknown or already used: ask for a new one (`weft invite` on "
		    "the server)");
	if (in->expires_s != 0 && now_s >= in->expires_s)
		return fail(e, ERR_DENIED,
		    "this invite has expired: ask for a new one (`weft invite` on the server)");
	return OK;
}
