#include "proto/message.h"

#include "base/mem.h"
#include "base/reader.h"
#include "crypto/statement.h"
#include "manifest/commit.h"

_Static_assert((int)COMMIT_MAX + 4 * (int)STATEMENT_MAX <= (int)LIMIT_FRAME_MESSAGE,
    "a SNAPSHOT with the largest commit fits");
_Static_assert((int)COMMIT_LABEL_MAX <= (int)LIMIT_SELECTOR, "a label is a selector");
_Static_assert((int)STATEMENT_NAME_MAX == (int)LIMIT_NAME, "one rule for names");

/* NAME and OFFSET of a row. */
#define AT(type, member) #member, offsetof(struct type, member)
#define REQ              FIELD_REQUIRED
#define OPT              FIELD_OPTIONAL
#define ANY32            0, UINT32_MAX
#define ANY64            0, UINT64_MAX
#define STATEMENT        1, STATEMENT_MAX

static const struct field hello_fields[] = {
	{ 1, FIELD_U16, REQ, AT(msg_hello, version_min), 1, UINT16_MAX },
	{ 2, FIELD_U16, REQ, AT(msg_hello, version_max), 1, UINT16_MAX },
	{ 3, FIELD_TEXT, REQ, AT(msg_hello, software), 1, LIMIT_NAME },
	{ 4, FIELD_U64, OPT, AT(msg_hello, wall_ms), 0, INT64_MAX },
	{ 5, FIELD_U64, OPT, AT(msg_hello, epoch), ANY64 },
	{ 6, FIELD_BYTES, OPT, AT(msg_hello, authority), STATEMENT },
	{ 7, FIELD_BYTES, OPT, AT(msg_hello, member), STATEMENT },
	{ 8, FIELD_ADDRESSES, OPT, AT(msg_hello, addresses), 0, LIMIT_ADDRESSES,
	    LIMIT_ADDRESS_TEXT },
	{ 9, FIELD_TEXT, OPT, AT(msg_hello, observed), 1, LIMIT_ADDRESS_TEXT },
	{ 10, FIELD_U64, OPT, AT(msg_hello, features), ANY64 },
	{ 11, FIELD_LIST, OPT, AT(msg_hello, successors), 0, LIMIT_SUCCESSORS, STATEMENT_MAX },
	{ 12, FIELD_U8, OPT, AT(msg_hello, lane), 1, LIMIT_LANES },
};
static const struct field join_fields[] = {
	{ 1, FIELD_FIXED, REQ, AT(msg_join, invite), 8, 8 },
	{ 2, FIELD_FIXED, REQ, AT(msg_join, proof), 32, 32 },
	{ 3, FIELD_NAME, REQ, AT(msg_join, name), 1, LIMIT_NAME },
	{ 4, FIELD_NAME, OPT, AT(msg_join, site), 1, LIMIT_NAME },
};
static const struct field joined_fields[] = {
	{ 1, FIELD_NAME, OPT, AT(msg_joined, server_name), 1, LIMIT_NAME },
	{ 2, FIELD_LIST, REQ, AT(msg_joined, statements), 0, LIMIT_STATEMENTS, STATEMENT_MAX },
};
static const struct field error_fields[] = {
	{ 1, FIELD_ERR, REQ, AT(msg_error, code), 0, UINT16_MAX },
	{ 2, FIELD_TEXT, OPT, AT(msg_error, text), 1, LIMIT_TEXT },
	{ 3, FIELD_U32, OPT, AT(msg_error, retry_ms), 1, LIMIT_RETRY_MS },
	{ 4, FIELD_U32, OPT, AT(msg_error, unit), ANY32 },
};
static const struct field ping_fields[] = {
	{ 1, FIELD_U64, REQ, AT(msg_ping, token), ANY64 },
};
static const struct field bye_fields[] = {
	{ 1, FIELD_TEXT, OPT, AT(msg_bye, text), 1, LIMIT_TEXT },
};
static const struct field statements_fields[] = {
	{ 1, FIELD_LIST, REQ, AT(msg_statements, statements), 0, LIMIT_STATEMENTS, STATEMENT_MAX },
};
static const struct field create_share_fields[] = {
	{ 1, FIELD_NAME, REQ, AT(msg_create_share, name), 1, LIMIT_NAME },
	{ 2, FIELD_U8, OPT, AT(msg_create_share, policy), 0, UINT8_MAX },
};
static const struct field resolve_fields[] = {
	{ 1, FIELD_NAME, REQ, AT(msg_resolve, share), 1, LIMIT_NAME },
	{ 2, FIELD_TEXT, OPT, AT(msg_resolve, selector), 1, LIMIT_SELECTOR },
	{ 3, FIELD_U8, OPT, AT(msg_resolve, for_write), 0, 1 },
};
static const struct field snapshot_fields[] = {
	{ 1, FIELD_BYTES, REQ, AT(msg_snapshot, share_statement), STATEMENT },
	{ 2, FIELD_BYTES, OPT, AT(msg_snapshot, grant), STATEMENT },
	{ 3, FIELD_BYTES, OPT, AT(msg_snapshot, head), STATEMENT },
	{ 4, FIELD_BYTES, OPT, AT(msg_snapshot, commit), 1, COMMIT_MAX },
	{ 5, FIELD_U8, OPT, AT(msg_snapshot, state), SNAPSHOT_NONE, SNAPSHOT_WITHDRAWN },
	{ 6, FIELD_U64, OPT, AT(msg_snapshot, number), ANY64 },
	{ 7, FIELD_U32, OPT, AT(msg_snapshot, unit_size), UNIT_MIN, UNIT_MAX },
};
static const struct field announce_fields[] = {
	{ 1, FIELD_HASH, REQ, AT(msg_announce, share) },
	{ 2, FIELD_BYTES, REQ, AT(msg_announce, commit), 1, COMMIT_MAX },
};
static const struct field progress_fields[] = {
	{ 1, FIELD_HASH, REQ, AT(msg_progress, share) },
	{ 2, FIELD_HASH, REQ, AT(msg_progress, snapshot) },
	{ 3, FIELD_U8, REQ, AT(msg_progress, state), SNAPSHOT_ANNOUNCED, SNAPSHOT_WITHDRAWN },
	{ 4, FIELD_U64, OPT, AT(msg_progress, number), ANY64 },
	{ 5, FIELD_U64, OPT, AT(msg_progress, held_bytes), 0, LIMIT_JOB_BYTES },
	{ 6, FIELD_U64, OPT, AT(msg_progress, total_bytes), 0, LIMIT_JOB_BYTES },
	{ 7, FIELD_BYTES, OPT, AT(msg_progress, head), STATEMENT },
	{ 8, FIELD_TEXT, OPT, AT(msg_progress, text), 1, LIMIT_TEXT },
};
static const struct field query_fields[] = {
	{ 1, FIELD_U8, REQ, AT(msg_query, kind), 1, UINT8_MAX },
	{ 2, FIELD_NAME, OPT, AT(msg_query, share), 1, LIMIT_NAME },
	{ 3, FIELD_BYTES, OPT, AT(msg_query, after), 1, LIMIT_CURSOR },
};
static const struct field rows_fields[] = {
	{ 1, FIELD_U8, REQ, AT(msg_rows, kind), 1, UINT8_MAX },
	{ 2, FIELD_LIST, OPT, AT(msg_rows, rows), 0, LIMIT_ROWS, LIMIT_ROW },
	{ 3, FIELD_BYTES, OPT, AT(msg_rows, next), 1, LIMIT_CURSOR },
};
static const struct field get_nodes_fields[] = {
	{ 1, FIELD_HASH, REQ, AT(msg_get_nodes, share) },
	{ 2, FIELD_HASH, REQ, AT(msg_get_nodes, snapshot) },
	{ 3, FIELD_U8, REQ, AT(msg_get_nodes, kind), HASH_TREE, HASH_COMMIT },
	{ 4, FIELD_IDS, REQ, AT(msg_get_nodes, ids), 1, LIMIT_NODE_IDS },
};
static const struct field get_units_fields[] = {
	{ 1, FIELD_HASH, REQ, AT(msg_get_units, share) },
	{ 2, FIELD_HASH, REQ, AT(msg_get_units, snapshot) },
	{ 3, FIELD_U32, REQ, AT(msg_get_units, unit_size), UNIT_MIN, UNIT_MAX },
	{ 4, FIELD_U32, REQ, AT(msg_get_units, unit), ANY32 },
	{ 5, FIELD_RUNS, OPT, "runs", offsetof(struct msg_get_units, n_runs), 0, LIMIT_UNIT_RUNS },
	{ 6, FIELD_U8, OPT, AT(msg_get_units, codecs), 0, UINT8_MAX },
};
static const struct field report_fields[] = {
	{ 1, FIELD_HASH, REQ, AT(msg_report, share) },
	{ 2, FIELD_HASH, REQ, AT(msg_report, snapshot) },
	{ 3, FIELD_U32, REQ, AT(msg_report, unit), ANY32 },
	{ 4, FIELD_FIXED, REQ, AT(msg_report, who), DEVICE_ID_BYTES, DEVICE_ID_BYTES },
};

static const struct field enter_fields[] = {
	{ 1, FIELD_U32, REQ, AT(msg_enter, job), 1, UINT32_MAX },
	{ 2, FIELD_HASH, REQ, AT(msg_enter, share) },
	{ 3, FIELD_HASH, REQ, AT(msg_enter, snapshot) },
	{ 4, FIELD_U32, REQ, AT(msg_enter, unit_size), UNIT_MIN, UNIT_MAX },
	{ 5, FIELD_U32, REQ, AT(msg_enter, units), ANY32 },
	{ 6, FIELD_U8, OPT, AT(msg_enter, last_resort), 0, 1 },
	{ 7, FIELD_BYTES, OPT, AT(msg_enter, grant), STATEMENT },
};
static const struct field news_fields[] = {
	{ 1, FIELD_U32, REQ, AT(msg_news, job), 1, UINT32_MAX },
	{ 2, FIELD_U32, OPT, AT(msg_news, inbound), ANY32 },
	{ 3, FIELD_U8, OPT, AT(msg_news, starving), 0, 1 },
	{ 4, FIELD_UNITS, OPT, AT(msg_news, have), 1, LIMIT_NEWS_RUNS },
	{ 5, FIELD_UNITS, OPT, AT(msg_news, await), 1, LIMIT_NEWS_RUNS },
	{ 6, FIELD_UNITS, OPT, AT(msg_news, drop), 1, LIMIT_NEWS_RUNS },
	{ 7, FIELD_UNITS, OPT, AT(msg_news, skip), 1, LIMIT_NEWS_RUNS },
	{ 8, FIELD_U64, OPT, AT(msg_news, rate), ANY64 },
	{ 9, FIELD_UNITS, OPT, AT(msg_news, left), 1, LIMIT_NEWS_RUNS },
	{ 10, FIELD_U64, OPT, AT(msg_news, from_afar), ANY64 },
};
static const struct field exit_fields[] = {
	{ 1, FIELD_U32, REQ, AT(msg_exit, job), 1, UINT32_MAX },
};
static const struct field members_fields[] = {
	{ 1, FIELD_HASH, REQ, AT(msg_members, share) },
	{ 2, FIELD_HASH, REQ, AT(msg_members, snapshot) },
	{ 3, FIELD_U8, OPT, AT(msg_members, whole), 0, 1 },
	{ 4, FIELD_LIST, OPT, AT(msg_members, rows), 0, LIMIT_MEMBERS, LIMIT_MEMBER_ROW },
	{ 5, FIELD_BYTES, OPT, AT(msg_members, left), DEVICE_ID_BYTES,
	    LIMIT_MEMBERS *DEVICE_ID_BYTES },
};
static const struct field offer_fields[] = {
	{ 1, FIELD_U32, REQ, AT(msg_offer, job), 1, UINT32_MAX },
	{ 2, FIELD_U32, REQ, AT(msg_offer, unit), ANY32 },
};
static const struct field decline_fields[] = {
	{ 1, FIELD_U32, REQ, AT(msg_decline, job), 1, UINT32_MAX },
	{ 2, FIELD_U32, REQ, AT(msg_decline, unit), ANY32 },
	{ 3, FIELD_U8, REQ, AT(msg_decline, reason), 1, UINT8_MAX },
	{ 4, FIELD_U32, OPT, AT(msg_decline, retry_ms), 1, LIMIT_RETRY_MS },
};
static const struct field near_fields[] = {
	{ 1, FIELD_U8, OPT, AT(msg_near, near), 0, 1 },
};
static const struct field placed_fields[] = {
	{ 1, FIELD_NAME, REQ, AT(msg_placed, site), 1, LIMIT_NAME },
	{ 2, FIELD_U8, OPT, AT(msg_placed, believed), 0, 1 },
	{ 3, FIELD_U32, OPT, AT(msg_placed, rtt_us), ANY32 },
	{ 4, FIELD_U8, OPT, AT(msg_placed, mates), 0, UINT8_MAX },
	{ 5, FIELD_U8, OPT, AT(msg_placed, near), 0, UINT8_MAX },
};
static const struct field demand_fields[] = {
	{ 1, FIELD_U32, REQ, AT(msg_demand, number), 1, UINT32_MAX },
	{ 2, FIELD_U32, OPT, AT(msg_demand, acked), ANY32 },
	{ 3, FIELD_U64, OPT, AT(msg_demand, want_up), ANY64 },
	{ 4, FIELD_U64, OPT, AT(msg_demand, want_down), ANY64 },
	{ 5, FIELD_U64, OPT, AT(msg_demand, floor_up), ANY64 },
	{ 6, FIELD_U64, OPT, AT(msg_demand, floor_down), ANY64 },
	{ 7, FIELD_U16, OPT, AT(msg_demand, zone), 0, LIMIT_ZONE },
};
static const struct field lease_fields[] = {
	{ 1, FIELD_U32, OPT, AT(msg_lease, number), ANY32 },
	{ 2, FIELD_U64, OPT, AT(msg_lease, rate_up), ANY64 },
	{ 3, FIELD_U64, OPT, AT(msg_lease, rate_down), ANY64 },
	{ 4, FIELD_U64, OPT, AT(msg_lease, floor_up), ANY64 },
	{ 5, FIELD_U64, OPT, AT(msg_lease, floor_down), ANY64 },
};
static const struct field dial_fields[] = {
	{ 1, FIELD_FIXED, REQ, AT(msg_dial, device), DEVICE_ID_BYTES, DEVICE_ID_BYTES },
};
static const struct field call_fields[] = {
	{ 1, FIELD_FIXED, REQ, AT(msg_call, device), DEVICE_ID_BYTES, DEVICE_ID_BYTES },
	{ 2, FIELD_ADDRESSES, REQ, AT(msg_call, addresses), 0, LIMIT_ADDRESSES,
	    LIMIT_ADDRESS_TEXT },
};

static enum err
check_hello(const void *message, struct error *e)
{
	const struct msg_hello *m = message;

	if (m->version_min > m->version_max)
		return fail(
		    e, ERR_PROTO, "HELLO with versions %u to %u", m->version_min, m->version_max);
	return OK;
}

/* A number is what a snapshot got when it became the head, and only then a HEAD statement can be
 * there (of one that was the head long ago it need not be). */
static enum err
check_state(uint8_t state, struct bytes head, uint64_t number, struct error *e)
{
	bool is_head = state == SNAPSHOT_HEAD;

	if ((head.len > 0 && !is_head) || (number > 0) != is_head)
		return fail(e, ERR_PROTO,
		    "snapshot in state %u with %zu bytes of head and number %llu", state, head.len,
		    (unsigned long long)number);
	return OK;
}

static enum err
check_unit_size(uint32_t unit_size, struct error *e)
{
	if ((unit_size & (unit_size - 1)) != 0)
		return fail(e, ERR_PROTO, "units of %u bytes: no power of two", unit_size);
	return OK;
}

static enum err
check_snapshot(const void *message, struct error *e)
{
	const struct msg_snapshot *m = message;
	enum err r = check_state(m->state, m->head, m->number, e);

	if (r == OK && (m->commit.len > 0) != (m->state != SNAPSHOT_NONE))
		r = fail(e, ERR_PROTO, "snapshot in state %u with %zu bytes of commit", m->state,
		    m->commit.len);
	if (r == OK)
		r = check_unit_size(m->unit_size, e);
	return r;
}

static enum err
check_progress(const void *message, struct error *e)
{
	const struct msg_progress *m = message;

	if (m->held_bytes > m->total_bytes)
		return fail(e, ERR_PROTO, "progress beyond the end");
	return check_state(m->state, m->head, m->number, e);
}

static enum err
check_query(const void *message, struct error *e)
{
	const struct msg_query *m = message;

	if (m->kind == QUERY_SNAPSHOTS && m->share.len == 0)
		return fail(e, ERR_PROTO, "query for snapshots of no share");
	return OK;
}

static enum err
check_get_units(const void *message, struct error *e)
{
	return check_unit_size(((const struct msg_get_units *)message)->unit_size, e);
}

static enum err
check_enter(const void *message, struct error *e)
{
	return check_unit_size(((const struct msg_enter *)message)->unit_size, e);
}

static enum err
check_members(const void *message, struct error *e)
{
	const struct msg_members *m = message;

	if (m->left.len % DEVICE_ID_BYTES != 0)
		return fail(e, ERR_PROTO, "%zu bytes of device ids", m->left.len);
	return OK;
}

static enum err
check_placed(const void *message, struct error *e)
{
	const struct msg_placed *m = message;

	if (m->near > m->mates)
		return fail(e, ERR_PROTO, "near to %u of %u", m->near, m->mates);
	return OK;
}

#define TABLE(name)                                                                                \
	{                                                                                          \
		.at = name##_fields, .n = lengthof(name##_fields),                                 \
		.size = sizeof(struct msg_##name)                                                  \
	}
#define TABLE_CHECKED(name)                                                                        \
	{                                                                                          \
		.at = name##_fields, .n = lengthof(name##_fields),                                 \
		.size = sizeof(struct msg_##name), .check = check_##name                           \
	}

static const struct fields tables[] = {
	[FRAME_HELLO] = TABLE_CHECKED(hello),
	[FRAME_JOIN] = TABLE(join),
	[FRAME_JOINED] = TABLE(joined),
	[FRAME_ERROR] = TABLE(error),
	[FRAME_PING] = TABLE(ping),
	[FRAME_PONG] = TABLE(ping),
	[FRAME_BYE] = TABLE(bye),
	[FRAME_STATEMENTS] = TABLE(statements),
	[FRAME_CREATE_SHARE] = TABLE(create_share),
	[FRAME_RESOLVE] = TABLE(resolve),
	[FRAME_SNAPSHOT] = TABLE_CHECKED(snapshot),
	[FRAME_ANNOUNCE] = TABLE(announce),
	[FRAME_PROGRESS] = TABLE_CHECKED(progress),
	[FRAME_QUERY] = TABLE_CHECKED(query),
	[FRAME_ROWS] = TABLE(rows),
	[FRAME_GET_NODES] = TABLE(get_nodes),
	[FRAME_GET_UNITS] = TABLE_CHECKED(get_units),
	[FRAME_REPORT] = TABLE(report),
	[FRAME_ENTER] = TABLE_CHECKED(enter),
	[FRAME_NEWS] = TABLE(news),
	[FRAME_EXIT] = TABLE(exit),
	[FRAME_MEMBERS] = TABLE_CHECKED(members),
	[FRAME_OFFER] = TABLE(offer),
	[FRAME_DECLINE] = TABLE(decline),
	[FRAME_NEAR] = TABLE(near),
	[FRAME_PLACED] = TABLE_CHECKED(placed),
	[FRAME_DEMAND] = TABLE(demand),
	[FRAME_LEASE] = TABLE(lease),
	[FRAME_DIAL] = TABLE(dial),
	[FRAME_CALL] = TABLE(call),
	/* LEAVE, OK and CANCEL have no fields: their rows are zero. */
};

const struct fields *
message_fields(uint16_t type)
{
	static const struct fields none = { 0 };

	if (frame_type_name(type) == NULL || frame_type_is_raw(type))
		return NULL;
	return type < lengthof(tables) ? &tables[type] : &none;
}

bool
message_list_next(struct message_list *l, struct bytes *ret)
{
	struct reader r = reader_over(l->raw);
	struct bytes item = reader_take(&r, reader_u32(&r));

	if (r.bad || l->n == 0)
		return false;
	l->raw = reader_rest(&r);
	l->n--;
	*ret = item;
	return true;
}

/* A number in groups of seven bits, the lowest first, the eighth bit says that another follows. */
static void
put_varint(struct buf *b, uint32_t v)
{
	for (; v >= 0x80; v >>= 7)
		buf_u8(b, (uint8_t)(v | 0x80));
	buf_u8(b, (uint8_t)v);
}

static bool
take_varint(struct reader *r, uint32_t *ret)
{
	uint64_t v = 0;

	for (unsigned shift = 0; shift < 35; shift += 7) {
		uint8_t byte = reader_u8(r);
		v |= (uint64_t)(byte & 0x7f) << shift;
		if (byte < 0x80) {
			*ret = (uint32_t)v;
			return !r->bad && v <= UINT32_MAX && (byte != 0 || shift == 0);
		}
	}
	return false;
}

bool
message_units_next(struct bytes *b, uint32_t *first, uint32_t *n)
{
	struct reader r = reader_over(*b);
	uint32_t gap, more;

	/* *FIRST and *N are those of the run before; both 0 at the beginning */
	if (b->len == 0 || !take_varint(&r, &gap) || !take_varint(&r, &more))
		return false;
	uint64_t from = (uint64_t)*first + *n + gap;
	if (from + more >= UINT32_MAX)
		return false;
	*first = (uint32_t)from;
	*n = more + 1;
	*b = reader_rest(&r);
	return true;
}

void
message_units_add(struct buf *b, uint32_t *next, uint32_t first, uint32_t n)
{
	put_varint(b, first - *next);
	put_varint(b, n - 1);
	*next = first + n;
}

void
message_list_add(struct buf *raw, struct bytes item)
{
	/* Room for both or for none. */
	if (buf_reserve(raw, 4 + item.len) == NULL)
		return;
	buf_u32(raw, (uint32_t)item.len);
	buf_add_bytes(raw, item);
}

enum err
message_decode(
    const struct frame_header *h, struct bytes payload, struct message *ret, struct error *e)
{
	const struct fields *f = message_fields(h->type);
	struct message m = { .type = h->type, .flags = h->flags, .stream = h->stream };
	enum err r;

	if (f == NULL)
		return fail(
		    e, ERR_NOTFOUND, "frame type %u is no message that is known here", h->type);
	r = fields_decode(f, payload, &m.hello, e);
	if (r == OK)
		r = fields_check(f, &m.hello, e);
	if (r != OK)
		return error_wrap(e, r, "%s", frame_type_name(h->type));
	*ret = m;
	return OK;
}

enum err
message_encode(const struct message *m, struct buf *out, struct error *e)
{
	const struct fields *f = message_fields(m->type);
	struct error why;
	size_t from = out->len;
	bool was_full = out->full;

	if (f == NULL)
		return fail(e, ERR_BUG, "frame type %u is no message", m->type);
	if (fields_check(f, &m->hello, &why) != OK)
		return fail(e, ERR_BUG, "%s: %s", frame_type_name(m->type), why.text);
	out->full = false;
	if (buf_reserve(out, LIMIT_FRAME_HEADER) != NULL) {
		buf_grown(out, LIMIT_FRAME_HEADER);
		fields_encode(f, &m->hello, out);
	}
	size_t len = out->len - from - (out->full ? 0 : LIMIT_FRAME_HEADER);
	if (out->full || len > LIMIT_FRAME_MESSAGE) {
		out->len = from;
		out->full = was_full;
		return fail(e, ERR_LIMIT, "%s of %zu bytes or more does not fit",
		    frame_type_name(m->type), len);
	}
	const struct frame_header h = { .length = (uint32_t)len,
		.type = m->type,
		.stream = m->stream,
		.flags = (uint16_t)(m->flags | (frame_type_ends(m->type) ? FRAME_END : 0)) };
	frame_header_encode(&h, out->at + from);
	out->full = was_full;
	return OK;
}

struct hash_id
message_node_id(const struct msg_get_nodes *m, uint32_t i, bool *ret_ok)
{
	struct reader r = { 0 };

	*ret_ok = (uint64_t)i * HASH_ID_BYTES < m->ids.len;
	if (!*ret_ok)
		return (struct hash_id){ 0 };
	r = reader_over(bytes_slice(m->ids, (size_t)i * HASH_ID_BYTES, HASH_ID_BYTES));
	return hash_id_decode(&r);
}
