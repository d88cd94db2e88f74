/*
 * any: random messages that keep every rule, made from the tables themselves.  For tests of proto
 * and session.
 */
#pragma once

#include "base/mem.h"
#include "base/rng.h"
#include "proto/message.h"

/* Where the bytes of one random message lie. */
struct any {
	struct rng rng;
	struct buf pools[16]; /* one a field, so that none moves while the message borrows it */
	size_t used;
};

static inline void
any_init(struct any *a, uint64_t seed)
{
	*a = (struct any){ 0 };
	rng_seed(&a->rng, seed);
	for (size_t i = 0; i < lengthof(a->pools); i++)
		a->pools[i] = BUF(LIMIT_FRAME_MESSAGE);
}

static inline void
any_clear(struct any *a)
{
	for (size_t i = 0; i < lengthof(a->pools); i++)
		buf_clear(&a->pools[i]);
}

static inline uint64_t
any_between(struct any *a, uint64_t min, uint64_t max)
{
	/* Often at the ends, where mistakes are. */
	switch (rng_below(&a->rng, 4)) {
	case 0:
		return min;
	case 1:
		return max;
	default:
		return max - min == UINT64_MAX ? rng_u64(&a->rng)
					       : min + rng_below(&a->rng, max - min + 1);
	}
}

static inline struct bytes
any_chars(struct any *a, struct buf *to, size_t n)
{
	static const char chars[] = "abcdefghijklmnopqrstuvwxyz0123456789";
	size_t from = to->len;

	for (size_t i = 0; i < n; i++)
		buf_u8(to, (uint8_t)chars[rng_below(&a->rng, sizeof chars - 1)]);
	return BYTES(to->at + from, n);
}

static inline struct hash_id
any_hash(struct any *a)
{
	struct hash_id id = { .alg = HASH_SHA256 };

	rng_fill(&a->rng, id.bytes, sizeof id.bytes);
	return id;
}

static inline struct message_list
any_list(struct any *a, const struct field *f, struct buf *pool)
{
	auto_buf struct buf item = BUF(LIMIT_FRAME_MESSAGE);
	uint64_t n = any_between(a, 0, min_of(f->max, (uint64_t)20));
	uint64_t most = min_of(f->item, f->kind == FIELD_ADDRESSES ? 60u : 2048u);

	for (uint64_t i = 0; i < n; i++) {
		buf_reset(&item);
		any_chars(a, &item, any_between(a, 1, most));
		if (f->kind == FIELD_ADDRESSES)
			buf_addf(&item, ".example:%u", (unsigned)any_between(a, 1, 65535));
		message_list_add(pool, buf_bytes(&item));
	}
	return (struct message_list){ buf_bytes(pool), (uint32_t)n };
}

static inline void
any_runs(struct any *a, const struct field *f, void *at)
{
	struct leaf_run *runs = (struct leaf_run *)((uint32_t *)at + 1);
	uint32_t n = (uint32_t)any_between(a, 0, f->max), next = 0;

	for (uint32_t i = 0; i < n; i++) {
		next += (uint32_t)rng_below(&a->rng, 8);
		runs[i] =
		    (struct leaf_run){ (uint16_t)next, (uint16_t)(1 + rng_below(&a->rng, 8)) };
		next += runs[i].n;
	}
	*(uint32_t *)at = n;
}

static inline struct bytes
any_units(struct any *a, const struct field *f, struct buf *pool)
{
	uint32_t n = (uint32_t)any_between(a, 1, f->max), next = 0;

	for (uint32_t i = 0; i < n; i++) {
		uint32_t first =
		    next + (uint32_t)rng_below(&a->rng, rng_below(&a->rng, 2) ? 200 : 100000);
		message_units_add(pool, &next, first, 1 + (uint32_t)rng_below(&a->rng, 3000));
	}
	return buf_bytes(pool);
}

static inline void
any_field(struct any *a, const struct field *f, void *at)
{
	struct buf *pool = &a->pools[a->used++];
	struct hash_id id;

	buf_reset(pool);
	switch (f->kind) {
	case FIELD_U8:
		*(uint8_t *)at = (uint8_t)any_between(a, f->min, f->max);
		break;
	case FIELD_U16:
		*(uint16_t *)at = (uint16_t)any_between(a, f->min, f->max);
		break;
	case FIELD_ERR:
		*(uint16_t *)at = (uint16_t)(1 + rng_below(&a->rng, ERR_COUNT - 1));
		break;
	case FIELD_U32:
		*(uint32_t *)at = (uint32_t)any_between(a, f->min, f->max);
		break;
	case FIELD_U64:
		*(uint64_t *)at = any_between(a, f->min, f->max);
		break;
	case FIELD_FIXED:
		rng_fill(&a->rng, at, f->min);
		break;
	case FIELD_HASH:
		id = any_hash(a);
		memcpy(at, &id, sizeof id);
		break;
	case FIELD_BYTES:
	case FIELD_TEXT:
	case FIELD_NAME:
		*(struct bytes *)at =
		    any_chars(a, pool, any_between(a, max_of(f->min, (uint64_t)1), f->max));
		break;
	case FIELD_LIST:
	case FIELD_ADDRESSES:
		*(struct message_list *)at = any_list(a, f, pool);
		break;
	case FIELD_IDS:
		for (uint64_t n = any_between(a, f->min, f->max); n > 0; n--) {
			id = any_hash(a);
			buf_add_bytes(pool, hash_id_bytes(&id));
		}
		*(struct bytes *)at = buf_bytes(pool);
		break;
	case FIELD_UNITS:
		*(struct bytes *)at = any_units(a, f, pool);
		break;
	case FIELD_RUNS:
		any_runs(a, f, at);
		break;
	}
}

static inline void
any_state(struct bytes *head, uint64_t *number, uint8_t state)
{
	if (state != SNAPSHOT_HEAD) {
		*head = BYTES(NULL, 0);
		*number = 0;
	} else if (*number == 0) {
		*number = 1;
	}
}

/* The rules between fields. */
static inline void
any_settle(struct message *m)
{
	switch (m->type) {
	case FRAME_HELLO:
		if (m->hello.version_min > m->hello.version_max)
			m->hello.version_min = m->hello.version_max;
		break;
	case FRAME_SNAPSHOT:
		any_state(&m->snapshot.head, &m->snapshot.number, m->snapshot.state);
		if (m->snapshot.state == SNAPSHOT_NONE)
			m->snapshot.commit = BYTES(NULL, 0);
		else if (m->snapshot.commit.len == 0)
			m->snapshot.commit = BYTES_LIT("commit");
		m->snapshot.unit_size = UNIT_MIN;
		break;
	case FRAME_PROGRESS:
		any_state(&m->progress.head, &m->progress.number, m->progress.state);
		if (m->progress.held_bytes > m->progress.total_bytes)
			m->progress.held_bytes = m->progress.total_bytes;
		break;
	case FRAME_QUERY:
		if (m->query.kind == QUERY_SNAPSHOTS && m->query.share.len == 0)
			m->query.share = BYTES_LIT("docs");
		break;
	case FRAME_GET_UNITS:
		m->get_units.unit_size = UNIT_MAX;
		break;
	case FRAME_ENTER:
		m->enter.unit_size = UNIT_MIN;
		break;
	case FRAME_PLACED:
		if (m->placed.near > m->placed.mates)
			m->placed.near = m->placed.mates;
		break;
	case FRAME_MEMBERS:
		m->members.left.len -= m->members.left.len % DEVICE_ID_BYTES;
		break;
	default:
		break;
	}
}

/* Borrows A until the next one. */
static inline struct message
any_message(struct any *a, uint16_t type)
{
	const struct fields *f = message_fields(type);
	struct message m = { .type = type, .stream = (uint32_t)rng_u64(&a->rng) };

	a->used = 0;
	for (size_t i = 0; i < f->n; i++)
		if (f->at[i].required || rng_below(&a->rng, 3) > 0)
			any_field(a, &f->at[i], (uint8_t *)&m.hello + f->at[i].offset);
	any_settle(&m);
	return m;
}
