#include "tests/sim/world.h"

#include "base/mem.h"

/* Now and then, and at least every so often. */
static bool
is_time_to_lie(struct server *s)
{
	if (rng_below(&s->w->sim.rng, 4) != 0)
		return false;
	s->lies++;
	return true;
}

static const struct store *
store_of(const struct server_conn *c)
{
	return &c->server->w->content.store;
}

static void
drop_job(struct server_conn *c, size_t i)
{
	free(c->jobs.at[i]);
	memmove(&c->jobs.at[i], &c->jobs.at[i + 1], (c->jobs.len - i - 1) * sizeof c->jobs.at[0]);
	c->jobs.len--;
}

static void
refuse(struct server_conn *c, uint32_t stream, enum err code, uint32_t retry_ms)
{
	const struct message m = { .type = FRAME_ERROR,
		.stream = stream,
		.error = { .code = (uint16_t)code, .retry_ms = retry_ms } };
	struct error e;

	WORLD_REQUIRE(c->server->w, session_send(c->shell.session, &m, &e) == OK);
}

/* -- requests -- */

static void
on_resolve(struct server_conn *c, uint32_t stream)
{
	struct world *w = c->server->w;
	struct message m = { .type = FRAME_SNAPSHOT,
		.stream = stream,
		.snapshot = { .share_statement = BYTES_LIT("share"),
		    .state = SNAPSHOT_ANNOUNCED,
		    .unit_size = w->content.unit_size } };
	struct buf forged = BUF(COMMIT_MAX);
	struct error e;

	m.snapshot.commit = buf_bytes(&w->content.commit_bytes);
	if (c->server->lie == LIE_COMMIT) {
		struct commit other = w->content.commit;
		other.vv.v.at = NULL;
		other.vv.v.len = other.vv.v.room = 0;
		if (commit_sign(&other, w->stranger, &forged, &e) != OK)
			abort();
		version_vector_clear(&other.vv);
		m.snapshot.commit = buf_bytes(&forged);
		c->server->lies++;
	}
	WORLD_REQUIRE(w, session_send(c->shell.session, &m, &e) == OK);
	buf_clear(&forged);
}

static void
add_job(struct server_conn *c, const struct server_job *job)
{
	array_push(&c->jobs, mem_dup(job, sizeof *job));
}

static void
on_get_nodes(struct server_conn *c, const struct message *m)
{
	struct server_job job = { .stream = m->stream, .node_kind = m->get_nodes.kind };
	bool ok;

	for (uint32_t i = 0;; i++) {
		struct hash_id id = message_node_id(&m->get_nodes, i, &ok);
		if (!ok)
			break;
		job.nodes[job.n_nodes++] = id;
	}
	add_job(c, &job);
}

static void
on_get_units(struct server_conn *c, const struct message *m)
{
	const struct store *st = store_of(c);
	struct server *s = c->server;
	struct server_job job = { .stream = m->stream, .units = true };
	struct error e;

	if (s->lie == LIE_LATER || (s->w->sim.now_us < s->whole_us && m->get_units.unit % 2 == 1)) {
		refuse(c, m->stream, ERR_AGAIN, 400);
		return;
	}
	if (s->lie == LIE_MISSING || m->get_units.unit >= st->units.len ||
	    m->get_units.unit_size != s->w->content.unit_size) {
		refuse(c, m->stream, ERR_NOTFOUND, 0);
		return;
	}
	const struct unit *u = &st->units.at[m->get_units.unit];
	if (serve_init(&job.serve, u, &m->get_units, &st->lens.at[u->first_chunk], &e) == OK)
		add_job(c, &job);
	else
		refuse(c, m->stream, e.code, 0);
}

static void
on_request(struct server_conn *c, const struct message *m)
{
	WORLD_REQUIRE(c->server->w, c->member);
	if (c->server->lie == LIE_NOTHING && m->type != FRAME_RESOLVE)
		return;
	if (m->type == FRAME_RESOLVE)
		on_resolve(c, m->stream);
	else if (m->type == FRAME_GET_NODES)
		on_get_nodes(c, m);
	else if (m->type == FRAME_GET_UNITS)
		on_get_units(c, m);
	else
		refuse(c, m->stream, ERR_DENIED, 0);
}

static void
on_cancel(struct server_conn *c, uint32_t stream)
{
	for (size_t i = 0; i < c->jobs.len; i++) {
		if (c->jobs.at[i]->stream == stream) {
			drop_job(c, i);
			return;
		}
	}
}

static void
on_event(void *owner, struct shell *sh, struct session_event *ev)
{
	struct server_conn *c = owner;

	switch (ev->kind) {
	case SESSION_EV_HELLO:
		if (c->member)
			session_admit(sh->session);
		else
			session_admit_guest(sh->session);
		break;
	case SESSION_EV_REQUEST:
		on_request(c, &ev->message);
		break;
	case SESSION_EV_CANCEL:
		on_cancel(c, ev->stream);
		break;
	default:
		break;
	}
	shell_flush(sh);
}

/* -- answers -- */

static void
send_node(struct server_conn *c, struct server_job *job)
{
	struct bytes node = store_node(store_of(c), job->node_kind, &job->nodes[job->next_node]);
	struct block *b = block_new(BLOCK_NODE_ROOM);
	uint16_t flags = job->next_node + 1 == job->n_nodes ? FRAME_END : 0;
	enum lie lie = c->server->lie;

	frame_node_encode(job->next_node, b->bytes);
	if (node.at == NULL || lie == LIE_MISSING) {
		flags |= FRAME_MISSING;
		node = BYTES(NULL, 0);
	}
	if (node.len > 0)
		memcpy(b->bytes + FRAME_NODE_PREFIX, node.at, node.len);
	b->len = FRAME_NODE_PREFIX + (uint32_t)node.len;
	if (lie == LIE_NODES && node.len > 0 && is_time_to_lie(c->server))
		b->bytes[FRAME_NODE_PREFIX + rng_below(&c->server->w->sim.rng, node.len)] ^= 1;
	job->next_node++;
	session_send_raw(c->shell.session, FRAME_NODE, flags, job->stream, b);
}

/* Spoils a good DATA frame; the flags that it is to be sent with. */
static uint16_t
spoil(struct server_conn *c, const struct serve_frame *f, struct block *b, uint16_t flags)
{
	struct server *s = c->server;
	struct data_prefix p = f->prefix;
	uint32_t lists = LIMIT_DATA_PREFIX, leaves = LIMIT_DATA_PREFIX + (uint32_t)p.lists_bytes;

	switch (s->lie) {
	case LIE_BYTES:
		if (is_time_to_lie(s))
			b->bytes[leaves + rng_below(&s->w->sim.rng, b->len - leaves)] ^= 0x10;
		break;
	case LIE_LISTS:
		if (p.lists_bytes > 0 && is_time_to_lie(s))
			b->bytes[lists + rng_below(&s->w->sim.rng, p.lists_bytes)] ^= 0x10;
		break;
	case LIE_MORE:
		if (!is_time_to_lie(s))
			break;
		p.n_leaves++;
		frame_data_encode(&p, b->bytes);
		b->bytes[b->len < b->room ? b->len++ : b->len - 1] = 0;
		break;
	case LIE_SHORT:
		if (!f->end && is_time_to_lie(s))
			flags |= FRAME_END;
		break;
	case LIE_ORDER:
		if (!is_time_to_lie(s))
			break;
		p.first_leaf++;
		frame_data_encode(&p, b->bytes);
		break;
	default:
		break;
	}
	return flags;
}

/* False: that was the last frame. */
static bool
send_data(struct server_conn *c, struct server_job *job)
{
	const struct store *st = store_of(c);
	struct serve_frame f;

	if (!serve_next(&job->serve, &f))
		return false;
	struct block *b = block_new(BLOCK_ROOM);
	frame_data_encode(&f.prefix, b->bytes);
	for (uint32_t i = 0; i < f.n_pieces; i++) {
		const struct serve_piece *p = &f.pieces[i];
		const struct store_chunk *k = &st->chunks.at[p->chunk];
		memcpy(b->bytes + p->at, k->bytes + (size_t)p->first_leaf * CHUNK_LEAF, p->len);
		if (p->list_at != 0)
			memcpy(b->bytes + p->list_at, k->leaves.hash,
			    (size_t)k->leaves.n * HASH_BYTES);
	}
	b->len = f.payload;
	uint16_t flags = spoil(c, &f, b, f.end ? FRAME_END : 0);
	session_send_raw(c->shell.session, FRAME_DATA, flags, job->stream, b);
	return (flags & FRAME_END) == 0;
}

/* What no session of ours would send. */
static void
disturb(struct server_conn *c)
{
	struct rng *rng = &c->server->w->sim.rng;
	uint8_t junk[300];
	size_t n = sizeof junk;

	if (session_queued(c->shell.session) > 0 || !is_time_to_lie(c->server))
		return;
	rng_fill(rng, junk, sizeof junk);
	if (c->server->lie == LIE_OUT_OF_TURN) {
		static const uint16_t types[] = { FRAME_HELLO, FRAME_OK, FRAME_DATA, FRAME_NODE,
			FRAME_JOINED, FRAME_ROWS, FRAME_CANCEL };
		const struct frame_header h = { .length = 50,
			.type = types[rng_below(rng, lengthof(types))],
			.stream = 99999 };
		frame_header_encode(&h, junk);
		n = LIMIT_FRAME_HEADER + h.length;
	}
	(void)wire_write(c->shell.wire, 1, BYTES(junk, n));
}

static void
on_writable(void *owner, struct shell *sh)
{
	struct server_conn *c = owner;
	enum lie lie = c->server->lie;

	if ((lie == LIE_GARBAGE || lie == LIE_OUT_OF_TURN) && c->jobs.len > 0)
		disturb(c);
	while (c->jobs.len > 0 && session_queued(sh->session) < LIMIT_OUTPUT_QUEUE) {
		struct server_job *job = c->jobs.at[0];
		bool more = true;
		if (job->units)
			more = send_data(c, job);
		else
			send_node(c, job);
		if (!more || (!job->units && job->next_node == job->n_nodes))
			drop_job(c, 0);
	}
}

static void
on_closed(void *owner, struct shell *sh, const struct error *why)
{
	struct server_conn *c = owner;

	(void)sh;
	(void)why;
	c->closed = true;
	while (c->jobs.len > 0)
		drop_job(c, c->jobs.len - 1);
}

static const struct shell_events events = { on_event, on_writable, on_closed };

struct server *
server_new(struct world *w, uint32_t node, enum lie lie)
{
	struct server *s = mem_new(struct server);

	*s = (struct server){ .w = w, .node = node, .lie = lie };
	array_push(&w->servers, s);
	return s;
}

void
server_free(struct server *s)
{
	array_each (at, &s->conns) {
		struct server_conn *c = *at;
		shell_clear(&c->shell);
		while (c->jobs.len > 0)
			drop_job(c, c->jobs.len - 1);
		array_clear(&c->jobs);
		free(c);
	}
	array_clear(&s->conns);
	free(s);
}

struct server_conn *
server_accept(struct server *s, bool member)
{
	struct server_conn *c = mem_new(struct server_conn);

	*c = (struct server_conn){ .server = s, .member = member };
	shell_init(&c->shell, &s->w->sim, 1, &events, c);
	array_push(&s->conns, c);
	return c;
}

void
server_restart(struct server *s)
{
	array_each (at, &s->conns) {
		struct server_conn *c = *at;
		if (!c->closed && c->shell.wire != NULL)
			wire_reset(c->shell.wire);
	}
}
