#include "server/registry.h"

#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"

static struct bytes
key_device(const struct device_id *id)
{
	return BYTES(id->bytes, DEVICE_ID_BYTES);
}

struct registry_device *
registry_device_known(const struct registry *r, const struct device_id *id)
{
	return map_ptr(&r->devices, key_device(id));
}

struct registry_device *
registry_device(const struct registry *r, const struct device_id *id)
{
	struct registry_device *d = registry_device_known(r, id);

	return d != NULL && !d->ended ? d : NULL;
}

/* TEXT is the beginning of ID, written in any case and in any grouping. */
static bool
begins_id(const struct device_id *id, const char *text)
{
	char all[DEVICE_ID_TEXT];
	const char *at = device_id_format(id, all);
	size_t n = 0;

	for (; *text != '\0'; text++) {
		if (*text == '-' || *text == ' ')
			continue;
		at += *at == '-';
		char c = *text >= 'A' && *text <= 'Z' ? (char)(*text - 'A' + 'a') : *text;
		if (*at++ != c)
			return false;
		n++;
	}
	return n >= DEVICE_ID_SHORT - 1;
}

enum err
registry_find_device(
    const struct registry *r, const char *text, struct registry_device **ret, struct error *e)
{
	struct registry_device *found = NULL;
	size_t n = 0;

	map_each (slot, &r->devices) {
		struct registry_device *d = slot->ptr;
		if (!d->ended && (begins_id(&d->id, text) || strcmp(d->name, text) == 0)) {
			found = d;
			n++;
		}
	}
	if (n == 0)
		return fail(
		    e, ERR_NOTFOUND, "no such device: %s (`weft devices` lists them)", text);
	if (n > 1)
		return fail(
		    e, ERR_CONFLICT, "%zu devices are called %s: use the device id", n, text);
	*ret = found;
	return OK;
}

struct registry_share *
registry_share(const struct registry *r, const struct hash_id *id)
{
	return map_ptr(&r->shares, hash_id_bytes(id));
}

struct registry_share *
registry_share_named(const struct registry *r, struct bytes name)
{
	return map_ptr(&r->names, name);
}

struct registry_share *
registry_share_num(const struct registry *r, int64_t num)
{
	map_each (slot, &r->shares) {
		struct registry_share *s = slot->ptr;
		if (s->num == num)
			return s;
	}
	return NULL;
}

struct registry_snapshot *
registry_snapshot(const struct registry_share *s, const struct hash_id *id)
{
	array_each (sn, &s->snapshots) {
		if (hash_id_equal(&(*sn)->id, id))
			return *sn;
	}
	return NULL;
}

static bool
selector_fits(const struct registry_snapshot *sn, const char *text, uint64_t number, bool is_number)
{
	char id[HASH_ID_TEXT];

	if (is_number && sn->number == number)
		return true;
	if (strlen(text) >= 6 && strncmp(hash_id_format(&sn->id, id), text, strlen(text)) == 0)
		return true;
	return sn->label[0] != 0 && strcmp(sn->label, text) == 0;
}

static struct registry_snapshot *
newest_announced(const struct registry_share *s)
{
	for (size_t i = s->snapshots.len; i-- > 0;) {
		if (s->snapshots.at[i]->state == SNAPSHOT_ANNOUNCED)
			return s->snapshots.at[i];
	}
	return NULL;
}

enum err
registry_select(const struct registry_share *s, struct bytes selector,
    struct registry_snapshot **ret, struct error *e)
{
	char text[LIMIT_SELECTOR + 1];
	uint64_t number = 0;

	if (selector.len == 0) {
		struct registry_snapshot *sn = s->head != NULL ? s->head : newest_announced(s);
		if (sn == NULL)
			return fail(e, ERR_NOTFOUND, "%s has no complete snapshot yet", s->name);
		*ret = sn;
		return OK;
	}
	if (selector.len >= sizeof text)
		return fail(e, ERR_NOTFOUND, "no such snapshot of %s", s->name);
	memcpy(text, selector.at, selector.len);
	text[selector.len] = 0;
	bool is_number = text_parse_u64(text, UINT64_MAX, &number) && number > 0;
	/* The newest that fits; a complete one before one that is only announced. */
	struct registry_snapshot *announced = NULL;
	for (size_t i = s->snapshots.len; i-- > 0;) {
		struct registry_snapshot *sn = s->snapshots.at[i];
		if (sn->state == SNAPSHOT_WITHDRAWN || !selector_fits(sn, text, number, is_number))
			continue;
		if (sn->state == SNAPSHOT_HEAD) {
			*ret = sn;
			return OK;
		}
		if (announced == NULL)
			announced = sn;
	}
	if (announced != NULL) {
		*ret = announced;
		return OK;
	}
	char shown[LIMIT_SELECTOR + 1];
	return fail(e, ERR_NOTFOUND, "%s has no snapshot %s (`weft snapshots %s` lists them)",
	    s->name, text_escape(selector, shown, sizeof shown), s->name);
}

uint64_t
registry_readers(const struct registry *r, const struct registry_share *s)
{
	return registry_access(s, NULL) != NULL ? r->devices.len : s->access.len;
}

struct registry_device *
registry_add_device(struct registry *r, const struct registry_device *d)
{
	struct map_slot *slot = map_put(&r->devices, key_device(&d->id), NULL);
	struct registry_device *mine = slot->ptr;
	const struct registry_device was = mine != NULL ? *mine : (struct registry_device){ 0 };

	if (mine == NULL)
		slot->ptr = mine = mem_new(struct registry_device);
	*mine = *d;
	mine->connections = was.connections;
	mine->reported = was.reported;
	mine->placed =
	    strcmp(mine->site, was.site) == 0 ? was.placed : (struct registry_placed){ 0 };
	return mine;
}

const char *
registry_site_of(const struct registry *r, const char *address)
{
	const struct registry_subnet *best = NULL;
	char host[LIMIT_ADDRESS_TEXT + 1];
	uint8_t bytes[SUBNET_ADDRESS];
	uint16_t port;

	if (!invite_address_parse(address, host, &port) || !subnet_address(host, bytes))
		return NULL;
	array_each (x, &r->subnets) {
		if (subnet_has(&x->net, bytes) && (best == NULL || x->net.bits > best->net.bits))
			best = x;
	}
	return best != NULL ? best->site : NULL;
}

void
registry_set_subnet(struct registry *r, const struct registry_subnet *net)
{
	size_t i = 0;

	while (i < r->subnets.len && !subnet_equal(&r->subnets.at[i].net, &net->net))
		i++;
	if (net->site[0] == 0) {
		if (i < r->subnets.len)
			array_swap_out(&r->subnets, i);
	} else if (i < r->subnets.len) {
		r->subnets.at[i] = *net;
	} else {
		array_push(&r->subnets, *net);
	}
}

struct registry_share *
registry_add_share(
    struct registry *r, int64_t num, struct bytes statement, const struct statement *st)
{
	struct registry_share *s = mem_new(struct registry_share);

	s->num = num;
	s->id = statement_share_id(statement);
	s->policy_id = st->id;
	snprintf(s->name, sizeof s->name, "%s", st->name);
	s->statement = BUF(STATEMENT_MAX);
	s->head_statement = BUF(STATEMENT_MAX);
	buf_add_bytes(&s->statement, statement);
	map_put(&r->shares, hash_id_bytes(&s->id), NULL)->ptr = s;
	map_put(&r->names, bytes_str(s->name), NULL)->ptr = s;
	return s;
}

static void
share_free(struct registry_share *s)
{
	array_each (sn, &s->snapshots)
		free(*sn);
	array_clear(&s->snapshots);
	array_clear(&s->access);
	map_clear(&s->access_of);
	buf_clear(&s->statement);
	buf_clear(&s->head_statement);
	free(s);
}

void
registry_drop_share(struct registry *r, struct registry_share *s)
{
	map_del(&r->names, bytes_str(s->name));
	map_del(&r->shares, hash_id_bytes(&s->id));
	share_free(s);
}

struct registry_snapshot *
registry_add_snapshot(struct registry_share *s, const struct registry_snapshot *sn)
{
	struct registry_snapshot *mine = registry_snapshot(s, &sn->id);

	if (mine == NULL) {
		mine = mem_new(struct registry_snapshot);
		array_push(&s->snapshots, mine);
	}
	*mine = *sn;
	if (mine->state == SNAPSHOT_HEAD && (s->head == NULL || mine->number >= s->head->number))
		s->head = mine;
	return mine;
}

void
registry_drop_snapshot(struct registry_share *s, struct registry_snapshot *sn)
{
	for (size_t i = 0; i < s->snapshots.len; i++) {
		if (s->snapshots.at[i] != sn)
			continue;
		memmove(&s->snapshots.at[i], &s->snapshots.at[i + 1],
		    (s->snapshots.len - i - 1) * sizeof *s->snapshots.at);
		s->snapshots.len--;
		break;
	}
	if (s->head == sn)
		s->head = NULL;
	free(sn);
}

static const struct device_id everybody = { 0 };

const struct registry_access *
registry_access(const struct registry_share *s, const struct device_id *device)
{
	const struct map_slot *slot =
	    map_find(&s->access_of, key_device(device != NULL ? device : &everybody));

	return slot != NULL ? &s->access.at[slot->num] : NULL;
}

static void
drop_access(struct registry_share *s, const struct device_id *device)
{
	const struct map_slot *slot = map_find(&s->access_of, key_device(device));

	if (slot == NULL)
		return;
	size_t i = slot->num;
	map_del(&s->access_of, key_device(device));
	array_swap_out(&s->access, i);
	if (i < s->access.len) /* the last one is there now */
		map_put(&s->access_of, key_device(&s->access.at[i].device), NULL)->num = i;
}

void
registry_set_access(struct registry_share *s, const struct registry_access *a)
{
	bool is_new;

	if (a->rights == 0) {
		drop_access(s, &a->device);
		return;
	}
	struct map_slot *slot = map_put(&s->access_of, key_device(&a->device), &is_new);
	if (is_new) {
		slot->num = s->access.len;
		array_push(&s->access, *a);
	}
	s->access.at[slot->num].rights = a->rights;
}

void
registry_end_access(struct registry *r, const struct device_id *device)
{
	const struct registry_access none = { .device = *device };

	map_each (slot, &r->shares)
		registry_set_access(slot->ptr, &none);
}

struct registry_invite *
registry_add_invite(struct registry *r, const struct registry_invite *in)
{
	struct registry_invite *mine = mem_dup(in, sizeof *in);

	map_put(&r->invites, BYTES(in->id, INVITE_ID_BYTES), NULL)->ptr = mine;
	return mine;
}

static void
invite_free(struct registry_invite *in)
{
	if (in == NULL)
		return;
	mem_wipe(in->secret, sizeof in->secret);
	array_clear(&in->grants);
	free(in);
}

void
registry_drop_invite(struct registry *r, const uint8_t id[static INVITE_ID_BYTES])
{
	invite_free(map_ptr(&r->invites, BYTES(id, INVITE_ID_BYTES)));
	map_del(&r->invites, BYTES(id, INVITE_ID_BYTES));
}

void
registry_close(struct registry *r)
{
	if (r == NULL)
		return;
	map_each (d, &r->devices)
		free(d->ptr);
	map_each (s, &r->shares)
		share_free(s->ptr);
	map_each (i, &r->invites)
		invite_free(i->ptr);
	map_clear(&r->devices);
	map_clear(&r->shares);
	map_clear(&r->names);
	map_clear(&r->invites);
	array_clear(&r->subnets);
	authority_free(r->authority); /* NULL when opening failed early */
	db_close(r->db);
	free(r);
}
