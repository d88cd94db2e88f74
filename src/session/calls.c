#include "session/calls.h"

void
calls_clear(struct calls *c)
{
	array_each (call, &c->open)
		free(call->runs);
	array_clear(&c->open);
	*c = (struct calls){ .last_stream = c->last_stream };
}

static uint32_t *
counter_of(struct calls *c, uint16_t type)
{
	return type == FRAME_GET_UNITS   ? &c->n_units
	       : type == FRAME_GET_NODES ? &c->n_nodes
					 : &c->n_others;
}

enum err
calls_room(const struct calls *c, uint16_t type, struct error *e)
{
	uint32_t n = type == FRAME_GET_UNITS   ? c->n_units
		     : type == FRAME_GET_NODES ? c->n_nodes
					       : c->n_others;
	uint32_t most = type == FRAME_GET_UNITS   ? LIMIT_UNITS_OPEN
			: type == FRAME_GET_NODES ? LIMIT_NODES_OPEN
						  : LIMIT_CALLS_OPEN;

	if (n >= most || c->open.len >= LIMIT_STREAMS)
		return fail(e, ERR_LIMIT, "%u requests %s are open, limit %u", n,
		    frame_type_name(type), most);
	return OK;
}

static void
expect_leaves(struct call *call, const struct msg_get_units *m)
{
	call->unit = m->unit;
	call->codecs = m->codecs;
	call->n_runs = m->n_runs;
	if (m->n_runs > 0)
		call->runs = mem_dup(m->runs, m->n_runs * sizeof m->runs[0]);
	call->at = m->n_runs > 0 ? m->runs[0].first : 0;
	call->end = m->n_runs > 0 ? (uint32_t)m->runs[0].first + m->runs[0].n : UNIT_LEAVES_MAX;
}

struct call *
calls_open(struct calls *c, const struct message *m, void *owner)
{
	struct call call = { .stream = m->stream, .type = m->type, .owner = owner };

	if (m->type == FRAME_GET_UNITS)
		expect_leaves(&call, &m->get_units);
	else if (m->type == FRAME_GET_NODES)
		call.end = (uint32_t)(m->get_nodes.ids.len / HASH_ID_BYTES);
	array_push(&c->open, call);
	c->last_stream = m->stream;
	++*counter_of(c, m->type);
	return &c->open.at[c->open.len - 1];
}

struct call *
calls_find(const struct calls *c, uint32_t stream)
{
	for (size_t i = 0; i < c->open.len; i++)
		if (c->open.at[i].stream == stream)
			return &c->open.at[i];
	return NULL;
}

void
calls_close(struct calls *c, struct call *call)
{
	--*counter_of(c, call->type);
	free(call->runs);
	array_swap_out(&c->open, (size_t)(call - c->open.at));
	if (c->open.len == 0)
		array_clear(&c->open);
}

enum err
calls_take_node(struct call *call, struct bytes payload, uint16_t flags, struct error *e)
{
	bool end = (flags & FRAME_END) != 0, missing = (flags & FRAME_MISSING) != 0;
	struct bytes node;
	uint16_t index;
	enum err r = frame_node_decode(payload, &index, &node, e);

	if (r != OK)
		return r;
	if (missing != (node.len == 0))
		return fail(e, ERR_PROTO, "NODE frame with %zu bytes of node and flags %#x",
		    node.len, flags);
	if (index != call->at || end != (call->at + 1 == call->end))
		return fail(e, ERR_PROTO, "NODE %u%s where %u of %u is due", index,
		    end ? " as the last" : "", call->at, call->end);
	call->at++;
	return OK;
}

enum err
calls_take_data(struct call *call, struct bytes payload, bool end, struct error *e)
{
	struct bytes lists, leaves;
	struct data_prefix p;
	enum err r = frame_data_decode(payload, &p, &lists, &leaves, e);

	if (r != OK)
		return r;
	if (p.unit != call->unit || p.first_leaf != call->at ||
	    p.first_leaf + p.n_leaves > (int)call->end)
		return fail(e, ERR_PROTO,
		    "DATA of unit %u leaves %u+%u where unit %u leaf %u is due", p.unit,
		    p.first_leaf, p.n_leaves, call->unit, call->at);
	if (p.codec == DATA_ZSTD && (call->codecs & GET_UNITS_ZSTD) == 0)
		return fail(
		    e, ERR_PROTO, "DATA of unit %u is packed, and nobody asked for that", p.unit);
	call->at += p.n_leaves;
	if (call->runs == NULL) /* how many leaves the unit has is not known here */
		return OK;
	if (call->at == call->end && call->run + 1 < call->n_runs) {
		call->run++;
		call->at = call->runs[call->run].first;
		call->end = (uint32_t)call->at + call->runs[call->run].n;
		if (!end)
			return OK;
	}
	if (end != (call->at == call->end))
		return fail(e, ERR_PROTO, "DATA of unit %u %s leaf %u", p.unit,
		    end ? "ends before" : "goes on after", call->at);
	return OK;
}
