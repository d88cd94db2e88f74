/*
 * Members that took part in swarms of our shares, and where they were: what the server said last,
 * kept for the time in which it does not.
 *
 * In memory it is a map from device and share to the time at which that was last written down; the
 * addresses are mesh's.
 */
#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "engine/engine_internal.h"
#include "engine/engine_swarm.h"
#include "platform/clock.h"

enum { KNOWN_MAX = 4 * STATE_MEMBERS_MAX, KEEP_AGAIN_MS = 10 * 60 * 1000 };

struct known_key {
	struct device_id device;
	struct hash_id share;
};

/* -- on the disk -- */

struct keep_member {
	struct engine_work work;
	struct state_member member;
	struct hash_id share;
	bool forget;
};

static enum err
work_keep(struct engine_work *w, struct error *e)
{
	struct keep_member *k = (struct keep_member *)w;

	return k->forget ? state_member_del(w->engine->state, &k->member.device, e)
			 : state_member_put(w->engine->state, &k->member, &k->share, e);
}

static void
done_keep(struct engine_work *w, enum err r, const struct error *e)
{
	if (r != OK)
		log_error("keep where a member is: %s", e->text);
	free(w);
}

static void
add_addresses(struct state_member *m, struct message_list list)
{
	size_t n = 0;
	struct bytes b;

	while (message_list_next(&list, &b)) {
		if (n + b.len + 2 > sizeof m->addresses)
			return;
		memcpy(m->addresses + n, b.at, b.len);
		n += b.len;
		m->addresses[n++] = '\n';
		m->addresses[n] = '\0';
	}
}

static void
keep_member(struct engine *en, const struct row_member *row, const struct hash_id *share)
{
	struct keep_member *k = mem_new(struct keep_member);

	k->work = (struct engine_work){ .work = work_keep, .done = done_keep };
	k->share = *share;
	k->member.device = row->id;
	k->member.seen_ns = clock_wall_ns();
	snprintf(k->member.name, sizeof k->member.name, "%.*s", (int)row->name.len,
	    (const char *)row->name.at);
	snprintf(k->member.site, sizeof k->member.site, "%.*s", (int)row->site.len,
	    (const char *)row->site.at);
	add_addresses(&k->member, row->addresses);
	engine_write(en, &k->work);
}

/* -- who is known -- */

static struct map_slot *
find_known(struct engine *en, const struct device_id *device, const struct hash_id *share)
{
	const struct known_key key = { *device, *share };

	return map_find(&en->known, BYTES_OF(key));
}

/* Anybody: they are kept on the disk by the time at which they were seen. */
static void
forget_one(struct engine *en)
{
	map_each (slot, &en->known) {
		struct known_key key;
		memcpy(&key, slot->key, sizeof key);
		(void)map_del(&en->known, BYTES_OF(key));
		return;
	}
}

static struct map_slot *
make_known(struct engine *en, const struct device_id *device, const struct hash_id *share)
{
	const struct known_key key = { *device, *share };
	struct map_slot *slot = find_known(en, device, share);

	if (slot != NULL)
		return slot;
	if (en->known.len >= KNOWN_MAX)
		forget_one(en);
	return map_put(&en->known, BYTES_OF(key), NULL);
}

/* -- what is said of them -- */

struct mesh_device *
engine_known_member(struct engine *en, const struct row_member *row, const struct hash_id *share)
{
	const struct mesh_where w = { row->id, row->name, row->site, row->addresses };
	struct mesh_device *d = en->mesh != NULL ? mesh_know(en->mesh, &w) : NULL;
	uint64_t now = loop_now_ms(en->loop);

	if (d == NULL || device_id_equal(&row->id, &en->server))
		return NULL;
	struct map_slot *k = make_known(en, &row->id, share);
	if (k->num == 0 || now - k->num > KEEP_AGAIN_MS) {
		k->num = max_of(now, (uint64_t)1);
		keep_member(en, row, share);
	}
	return d;
}

bool
engine_known_has(struct engine *en, const struct device_id *device, const struct hash_id *share)
{
	return find_known(en, device, share) != NULL;
}

/* It is not told any more of what it may not read; by a new grant it comes in again. */
void
engine_known_ungranted(
    struct engine *en, const struct device_id *device, const struct hash_id *share)
{
	const struct known_key key = { *device, *share };

	(void)map_del(&en->known, BYTES_OF(key));
	engine_swarm_unlist(en, device, share);
}

struct find_ungrant {
	const struct device_id *device;
	const struct hash_id *share;
	bool found;
};

static void
find_ungrant(void *ctx, struct bytes b, const struct statement *st)
{
	struct find_ungrant *x = ctx;
	(void)b;

	x->found |= device_id_equal(&st->device, x->device) && hash_id_equal(&st->share, x->share);
}

/* Its right has been taken away, and not given again as far as we know. */
static bool
is_ungranted(struct engine *en, const struct device_id *device, const struct hash_id *share)
{
	struct find_ungrant x = { device, share, false };

	if (en->authority != NULL)
		authority_each(en->authority, STATEMENT_REVOKE, find_ungrant, &x);
	return x.found && authority_check_grant(en->authority, device, share, RIGHT_READ,
			      clock_wall_ns() / 1000000000, NULL) != OK;
}

void
engine_known_forget(struct engine *en, const struct device_id *device)
{
	ARRAY(struct known_key) theirs = { 0 };
	struct keep_member *k;

	map_each (slot, &en->known) {
		struct known_key key;
		memcpy(&key, slot->key, sizeof key);
		if (device_id_equal(&key.device, device))
			array_push(&theirs, key);
	}
	array_each (key, &theirs)
		(void)map_del(&en->known, BYTES_OF(*key));
	bool was_known = theirs.len > 0;
	array_clear(&theirs);
	if (!was_known)
		return;
	k = mem_new(struct keep_member);
	k->work = (struct engine_work){ .work = work_keep, .done = done_keep };
	k->member.device = *device;
	k->forget = true;
	engine_write(en, &k->work);
}

/* -- after a start -- */

static enum err
load_member(void *ctx, const struct state_member *m, const struct hash_id *share, struct error *e)
{
	struct engine *en = ctx;
	auto_buf struct buf raw = BUF(STATE_MEMBER_ADDRESSES + 4 * LIMIT_ADDRESSES);
	struct mesh_where w = { m->device, bytes_str(m->name), bytes_str(m->site),
		{ { NULL, 0 }, 0 } };
	const char *at = m->addresses;
	(void)e;

	while (*at != '\0' && w.addresses.n < LIMIT_ADDRESSES) {
		size_t n = strcspn(at, "\n");
		if (n > 0) {
			message_list_add(&raw, BYTES(at, n));
			w.addresses.n++;
		}
		at += n + (at[n] == '\n');
	}
	w.addresses.raw = buf_bytes(&raw);
	if (mesh_know(en->mesh, &w) != NULL && !is_ungranted(en, &m->device, share))
		(void)make_known(en, &m->device, share);
	return OK;
}

void
engine_known_load(struct engine *en)
{
	struct error e;

	if (state_members(en->state, load_member, en, &e) != OK)
		log_warn("where other members are is not known: %s", e.text);
}
