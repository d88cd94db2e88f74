#include "proto/frame.h"

#include "base/mem.h"
#include "base/reader.h"
#include "crypto/hash.h"
#include "manifest/node.h"
#include "manifest/unit_map.h"

_Static_assert((int)LIMIT_NODE_RAW == (int)NODE_MAX, "a NODE frame holds any node");

struct frame_rule {
	const char *name;
	bool raw, ends;
	uint16_t may, must;   /* flags */
	uint32_t least, most; /* payload */
};

#define TLV .most = LIMIT_FRAME_MESSAGE
static const struct frame_rule rules[] = {
	[FRAME_HELLO] = { .name = "HELLO", TLV },
	[FRAME_JOIN] = { .name = "JOIN", TLV },
	[FRAME_JOINED] = { .name = "JOINED", TLV, .ends = true, .must = FRAME_END },
	[FRAME_ERROR] = { .name = "ERROR", TLV, .ends = true, .must = FRAME_END },
	[FRAME_PING] = { .name = "PING", TLV },
	[FRAME_PONG] = { .name = "PONG", TLV },
	[FRAME_BYE] = { .name = "BYE", TLV },
	[FRAME_LEAVE] = { .name = "LEAVE", TLV },
	[FRAME_OK] = { .name = "OK", TLV, .ends = true, .must = FRAME_END },
	[FRAME_STATEMENTS] = { .name = "STATEMENTS", TLV },
	[FRAME_CREATE_SHARE] = { .name = "CREATE_SHARE", TLV },
	[FRAME_RESOLVE] = { .name = "RESOLVE", TLV },
	[FRAME_SNAPSHOT] = { .name = "SNAPSHOT", TLV, .ends = true, .must = FRAME_END },
	[FRAME_ANNOUNCE] = { .name = "ANNOUNCE", TLV },
	[FRAME_PROGRESS] = { .name = "PROGRESS", TLV },
	[FRAME_QUERY] = { .name = "QUERY", TLV },
	[FRAME_ROWS] = { .name = "ROWS", TLV, .ends = true, .must = FRAME_END },
	[FRAME_GET_NODES] = { .name = "GET_NODES", TLV },
	[FRAME_NODE] = { .name = "NODE",
	    .raw = true,
	    .may = FRAME_END | FRAME_MISSING,
	    .least = FRAME_NODE_PREFIX,
	    .most = FRAME_NODE_PREFIX + LIMIT_NODE_RAW },
	[FRAME_GET_UNITS] = { .name = "GET_UNITS", TLV },
	[FRAME_DATA] = { .name = "DATA",
	    .raw = true,
	    .may = FRAME_END,
	    .least = LIMIT_DATA_PREFIX + 1,
	    .most = LIMIT_DATA_PREFIX + LIMIT_DATA_LISTS + LIMIT_DATA_RAW },
	[FRAME_CANCEL] = { .name = "CANCEL", TLV },
	[FRAME_REPORT] = { .name = "REPORT", TLV },
	[FRAME_ENTER] = { .name = "ENTER", TLV },
	[FRAME_NEWS] = { .name = "NEWS", TLV },
	[FRAME_EXIT] = { .name = "EXIT", TLV },
	[FRAME_MEMBERS] = { .name = "MEMBERS", TLV },
	[FRAME_OFFER] = { .name = "OFFER", TLV },
	[FRAME_DECLINE] = { .name = "DECLINE", TLV },
	[FRAME_NEAR] = { .name = "NEAR", TLV },
	[FRAME_PLACED] = { .name = "PLACED", TLV },
	[FRAME_DEMAND] = { .name = "DEMAND", TLV },
	[FRAME_LEASE] = { .name = "LEASE", TLV },
	[FRAME_DIAL] = { .name = "DIAL", TLV },
	[FRAME_CALL] = { .name = "CALL", TLV },
};
#undef TLV

/* NULL for an unknown type. */
static const struct frame_rule *
rule_of(uint16_t type)
{
	return type < lengthof(rules) && rules[type].name != NULL ? &rules[type] : NULL;
}

const char *
frame_type_name(uint16_t type)
{
	const struct frame_rule *r = rule_of(type);

	return r != NULL ? r->name : NULL;
}

bool
frame_type_is_raw(uint16_t type)
{
	const struct frame_rule *r = rule_of(type);

	return r != NULL && r->raw;
}

bool
frame_type_ends(uint16_t type)
{
	const struct frame_rule *r = rule_of(type);

	return r != NULL && r->ends;
}

static void
put_le(uint8_t *to, uint32_t v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		to[i] = (uint8_t)(v >> (8 * i));
}

void
frame_header_encode(const struct frame_header *h, uint8_t out[static LIMIT_FRAME_HEADER])
{
	put_le(out, h->length, 4);
	put_le(out + 4, h->type, 2);
	put_le(out + 6, h->flags, 2);
	put_le(out + 8, h->stream, 4);
}

enum err
frame_header_decode(const uint8_t in[static LIMIT_FRAME_HEADER], bool guest,
    struct frame_header *ret, struct error *e)
{
	struct reader r = reader_over(BYTES(in, LIMIT_FRAME_HEADER));
	struct frame_header h = { .length = reader_u32(&r) };

	h.type = reader_u16(&r);
	h.flags = reader_u16(&r);
	h.stream = reader_u32(&r);

	static const struct frame_rule unknown = { "unknown", .may = UINT16_MAX,
		.most = LIMIT_FRAME_MESSAGE };
	const struct frame_rule *rule = rule_of(h.type) != NULL ? rule_of(h.type) : &unknown;
	uint32_t most = guest ? min_of(rule->most, (uint32_t)LIMIT_FRAME_GUEST) : rule->most;
	if (h.length > most)
		return fail(e, ERR_LIMIT, "frame %s (%u) of %u bytes, limit %u", rule->name, h.type,
		    h.length, most);
	if (h.length < rule->least)
		return fail(
		    e, ERR_PROTO, "frame %s of %u bytes is cut short", rule->name, h.length);
	if ((h.flags & ~(rule->may | rule->must)) != 0 || (h.flags & rule->must) != rule->must)
		return fail(e, ERR_PROTO, "frame %s with flags %#x", rule->name, h.flags);
	*ret = h;
	return OK;
}

void
frame_data_encode(const struct data_prefix *p, uint8_t out[static LIMIT_DATA_PREFIX])
{
	put_le(out, p->unit, 4);
	put_le(out + 4, p->first_leaf, 2);
	put_le(out + 6, p->n_leaves, 2);
	put_le(out + 8, p->lists_bytes, 2);
	put_le(out + 10, p->codec, 2);
}

enum err
frame_data_decode(struct bytes payload, struct data_prefix *ret, struct bytes *ret_lists,
    struct bytes *ret_leaves, struct error *e)
{
	struct reader r = reader_over(payload);
	struct data_prefix p = { .unit = reader_u32(&r) };

	p.first_leaf = reader_u16(&r);
	p.n_leaves = reader_u16(&r);
	p.lists_bytes = reader_u16(&r);
	p.codec = reader_u16(&r);
	struct bytes lists = reader_take(&r, p.lists_bytes);
	struct bytes leaves = reader_rest(&r);
	if (r.bad || p.codec > DATA_ZSTD)
		return fail(e, ERR_PROTO, "DATA frame with a broken prefix");
	if (p.lists_bytes > LIMIT_DATA_LISTS || p.lists_bytes % HASH_BYTES != 0)
		return fail(e, ERR_PROTO, "DATA frame with %u bytes of leaf lists", p.lists_bytes);
	if (leaves.len == 0 || leaves.len > LIMIT_DATA_RAW)
		return fail(e, ERR_PROTO, "DATA frame with %zu bytes of leaves", leaves.len);
	/* A leaf is at least one byte, before it is packed. */
	if (p.n_leaves == 0 || (p.codec == DATA_RAW && p.n_leaves > leaves.len) ||
	    p.first_leaf + p.n_leaves > UNIT_LEAVES_MAX)
		return fail(e, ERR_PROTO, "DATA frame with leaves %u+%u", p.first_leaf, p.n_leaves);
	*ret = p;
	*ret_lists = lists;
	*ret_leaves = leaves;
	return OK;
}

void
frame_node_encode(uint16_t index, uint8_t out[static FRAME_NODE_PREFIX])
{
	put_le(out, index, 2);
	put_le(out + 2, 0, 2);
}

enum err
frame_node_decode(
    struct bytes payload, uint16_t *ret_index, struct bytes *ret_node, struct error *e)
{
	struct reader r = reader_over(payload);
	uint16_t index = reader_u16(&r);
	uint16_t zero = reader_u16(&r);
	struct bytes node = reader_rest(&r);

	if (r.bad || zero != 0)
		return fail(e, ERR_PROTO, "NODE frame with a broken prefix");
	if (node.len > LIMIT_NODE_RAW)
		return fail(e, ERR_PROTO, "NODE frame with a node of %zu bytes", node.len);
	*ret_index = index;
	*ret_node = node;
	return OK;
}
