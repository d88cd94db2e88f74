/*
 * Ids wait on a stack (depth first keeps it short).  One job at a time takes a batch: nodes that arrived are checked and kept, ids
 * from the stack are looked up; both give children, which go on the stack, and ids that are not here, which are asked for.  When
 * nothing waits and nothing is under way, the whole tree is walked once and checked against what the commit declares.
 */
#include "engine/fetch_nodes.h"

#include "base/array.h"
#include "base/mem.h"

enum { IDS_PER_REQUEST = 64, REQUESTS_MAX = 8, BATCH_IDS = 512, ARRIVED_MAX = 256 };

struct node_ref {
	uint8_t kind;
	struct hash_id id;
};
typedef ARRAY(struct node_ref) ref_array;

struct arrived {
	struct node_ref ref;
	struct block *block; /* NODE payload */
};

struct node_request {
	struct requester requester;
	struct fetch_nodes *fetch;
	uint32_t stream, n, got;
	struct node_ref refs[IDS_PER_REQUEST];
	struct node_request *next;
};

/* Ids met already, by their first 8 bytes: a subtree that stands in many places is walked once. */
struct seen {
	uint64_t *slots;
	size_t len, room;
};

struct fetch_nodes {
	struct fetch_nodes_opts o;
	struct hash_id share, snapshot, content, causal;
	uint64_t entries, bytes;
	struct peer *peer;
	ref_array todo, want;
	ARRAY(struct arrived) arrived;
	struct seen seen;
	struct node_request *requests;
	unsigned n_requests;
	bool busy, checked, over, closing;
	uint64_t n_nodes, n_bytes;
	void (*on_closed)(void *ctx);
	void *on_closed_ctx;
};

/* One batch on its way through a job. */
struct batch {
	struct fetch_nodes *f;
	ref_array look_up, children, missing;
	ARRAY(struct arrived) arrived;
};

static void pump(struct fetch_nodes *f);
static void on_event(struct requester *r, struct peer *p, struct session_event *ev);
static enum err work_batch(void *ctx, struct error *e);
static void on_batch(void *ctx, enum err r, const struct error *e);
static enum err work_check(void *ctx, struct error *e);
static void on_check(void *ctx, enum err r, const struct error *e);

/* -- seen -- */

static bool
insert(struct seen *s, uint64_t key)
{
	size_t i = key * 0x9e3779b97f4a7c15 >> 32 & (s->room - 1);

	while (s->slots[i] != 0 && s->slots[i] != key)
		i = (i + 1) & (s->room - 1);
	if (s->slots[i] == key)
		return false;
	s->slots[i] = key;
	s->len++;
	return true;
}

static bool
is_new(struct seen *s, const struct node_ref *ref)
{
	uint64_t key;

	memcpy(&key, ref->id.bytes, sizeof key);
	key += ref->kind; /* one id under two kinds is two nodes: the second will not hash */
	key += key == 0;
	if ((s->len + 1) * 2 > s->room) {
		struct seen bigger = { .room = max_of(s->room * 2, (size_t)1024) };
		bigger.slots = mem_array(uint64_t, bigger.room);
		for (size_t i = 0; i < s->room; i++) {
			if (s->slots[i] != 0)
				insert(&bigger, s->slots[i]);
		}
		free(s->slots);
		*s = bigger;
	}
	return insert(s, key);
}

/* -- a batch, in a job -- */

static enum err
add_child(void *ctx, enum hash_kind kind, const struct hash_id *id, struct error *e)
{
	struct batch *b = ctx;
	(void)e;

	array_push(&b->children, ((struct node_ref){ (uint8_t)kind, *id }));
	return OK;
}

/* What our own disk says is never about the source. */
static enum err
of_disk(enum err r)
{
	return r == ERR_CORRUPT || r == ERR_PROTO ? ERR_IO : r;
}

static enum err
own_node(struct batch *b, const struct node_ref *ref, struct bytes node, struct error *e)
{
	struct fetch_nodes *f = b->f;
	enum err r = node_children((enum hash_kind)ref->kind, node, add_child, b, e);

	if (r == OK && f->o.on_node != NULL)
		r = of_disk(f->o.on_node(f->o.ctx, (enum hash_kind)ref->kind, &ref->id, e));
	return r;
}

static enum err
keep_arrived(struct batch *b, const struct arrived *a, struct error *e)
{
	struct fetch_nodes *f = b->f;
	struct bytes node;
	struct hash_id id;
	uint16_t index;

	enum err r = frame_node_decode(BYTES(a->block->bytes, a->block->len), &index, &node, e);
	if (r != OK)
		return r;
	hash_object((enum hash_alg)a->ref.id.alg, (enum hash_kind)a->ref.kind, node, &id);
	if (!hash_id_equal(&id, &a->ref.id))
		return fail(e, ERR_CORRUPT, "a node of the manifest does not match its name");
	r = own_node(b, &a->ref, node, e);
	if (r == OK)
		r = of_disk(chunk_store_put_node(f->o.nodes, (enum hash_alg)id.alg, (enum hash_kind)a->ref.kind, node, NULL,
		    e));
	return r;
}

static enum err
look_up(struct batch *b, const struct node_ref *ref, struct error *e)
{
	struct fetch_nodes *f = b->f;
	auto_buf struct buf node = BUF(CHUNK_STORE_NODE_MAX);

	bool usable = chunk_store_has(f->o.nodes, &ref->id) &&
	    (f->o.may_reuse == NULL || f->o.may_reuse(f->o.ctx, &ref->id));
	if (!usable || chunk_store_get_node(f->o.nodes, &ref->id, &node, NULL) != OK) {
		array_push(&b->missing, *ref); /* also what is here but damaged: it is replaced */
		return OK;
	}
	return own_node(b, ref, buf_bytes(&node), e);
}

static enum err
work_batch(void *ctx, struct error *e)
{
	struct batch *b = ctx;
	enum err r = OK;

	array_each (a, &b->arrived) {
		if (r == OK)
			r = keep_arrived(b, a, e);
	}
	array_each (ref, &b->look_up) {
		if (r == OK)
			r = look_up(b, ref, e);
	}
	return r;
}

static void
batch_free(struct batch *b)
{
	array_each (a, &b->arrived)
		block_free(a->block);
	array_clear(&b->arrived);
	array_clear(&b->look_up);
	array_clear(&b->children);
	array_clear(&b->missing);
	free(b);
}

/* -- ending -- */

static void
free_all(struct fetch_nodes *f)
{
	array_each (a, &f->arrived)
		block_free(a->block);
	array_clear(&f->arrived);
	array_clear(&f->todo);
	array_clear(&f->want);
	free(f->seen.slots);
	if (f->on_closed != NULL)
		f->on_closed(f->on_closed_ctx);
	free(f);
}

static void
free_posted(void *arg)
{
	free_all(arg);
}

static void
drop_requests(struct fetch_nodes *f)
{
	while (f->requests != NULL) {
		struct node_request *q = f->requests;
		f->requests = q->next;
		if (f->peer != NULL)
			session_cancel(peer_session(f->peer), q->stream);
		free(q);
	}
	f->n_requests = 0;
	if (f->peer != NULL)
		peer_flush(f->peer);
}

void
fetch_nodes_close(struct fetch_nodes *f, void (*on_closed)(void *ctx), void *ctx)
{
	if (f == NULL || f->closing)
		return;
	f->closing = true;
	f->on_closed = on_closed;
	f->on_closed_ctx = ctx;
	drop_requests(f);
	f->peer = NULL;
	if (!f->busy) {
		f->busy = true;
		loop_post(f->o.loop, free_posted, f);
	}
}

static void
finish(struct fetch_nodes *f, enum err r, const struct error *e)
{
	if (f->over)
		return;
	f->over = true;
	drop_requests(f);
	f->o.on_done(f->o.ctx, r, e);
}

/* -- the final check -- */

static enum err
get_node(void *ctx, enum hash_kind kind, const struct hash_id *id, struct buf *out, struct error *e)
{
	struct fetch_nodes *f = ctx;
	(void)kind;

	return chunk_store_get_node(f->o.nodes, id, out, e);
}

static enum err
work_check(void *ctx, struct error *e)
{
	struct fetch_nodes *f = ctx;
	struct node_source source = { .get = get_node, .ctx = f };
	auto_(tree_walk_free_p) struct tree_walk *w = tree_walk_new(source, &f->content);
	uint64_t entries = 0, bytes = 0;
	enum tree_step step;
	struct relpath path;
	struct tree_entry en;
	enum err r;

	/* Once: a stranger's tree takes the time of its nodes, not of what they multiply to. */
	tree_walk_once(w);
	while ((r = tree_walk_next(w, &step, &path, &en, e)) == OK) {
	}
	if (r != ERR_NOTFOUND)
		return r;
	tree_walk_totals(w, &entries, &bytes);
	if (entries != f->entries || bytes != f->bytes)
		return fail(e, ERR_PROTO, "the snapshot declares other totals than its tree has");
	return of_disk(chunk_store_commit(f->o.nodes, e));
}

static void
on_check(void *ctx, enum err r, const struct error *e)
{
	struct fetch_nodes *f = ctx;

	f->busy = false;
	if (f->closing)
		free_all(f);
	else
		finish(f, r, r == OK ? NULL : e);
}

/* -- the pump, on the loop -- */

static void
take_refs(ref_array *from, ref_array *to, size_t max)
{
	size_t n = min_of(from->len, max);

	array_reserve(to, to->len + n);
	for (size_t i = 0; i < n; i++)
		to->at[to->len++] = from->at[--from->len];
}

static void
start_batch(struct fetch_nodes *f)
{
	struct batch *b = mem_new(struct batch);

	b->f = f;
	memcpy(&b->arrived, &f->arrived, sizeof b->arrived);
	memset(&f->arrived, 0, sizeof f->arrived);
	take_refs(&f->todo, &b->look_up, BATCH_IDS);
	f->busy = true;
	job_run(f->o.loop, work_batch, on_batch, b);
}

static void
on_batch(void *ctx, enum err r, const struct error *e)
{
	struct batch *b = ctx;
	struct fetch_nodes *f = b->f;

	f->busy = false;
	if (f->closing) {
		batch_free(b);
		free_all(f);
		return;
	}
	array_each (a, &b->arrived)
		f->n_bytes += a->block->len;
	f->n_nodes += b->arrived.len;
	array_each (ref, &b->children) {
		if (is_new(&f->seen, ref))
			array_push(&f->todo, *ref);
	}
	array_each (ref, &b->missing)
		array_push(&f->want, *ref);
	batch_free(b);
	if (r != OK) {
		finish(f, r, e);
		return;
	}
	if (f->o.on_progress != NULL)
		f->o.on_progress(f->o.ctx, f->n_nodes, f->n_bytes);
	pump(f);
}

/* One request asks for nodes of one kind. */
static enum err
send_request(struct fetch_nodes *f, struct error *e)
{
	struct node_request *q = mem_new(struct node_request);
	auto_buf struct buf ids = BUF(LIMIT_FRAME_MESSAGE);
	uint8_t kind = f->want.at[f->want.len - 1].kind;
	struct message m = { .type = FRAME_GET_NODES };

	q->requester.on_event = on_event;
	q->fetch = f;
	while (q->n < IDS_PER_REQUEST && f->want.len > 0 && f->want.at[f->want.len - 1].kind == kind) {
		q->refs[q->n] = array_pop(&f->want);
		hash_id_encode(&ids, &q->refs[q->n++].id);
	}
	m.get_nodes = (struct msg_get_nodes){
		.share = f->share, .snapshot = f->snapshot, .ids = buf_bytes(&ids), .kind = kind
	};
	enum err r = session_request(peer_session(f->peer), &m, &q->requester, &q->stream, e);
	if (r != OK) {
		while (q->n > 0)
			array_push(&f->want, q->refs[--q->n]);
		free(q);
		return r;
	}
	q->next = f->requests;
	f->requests = q;
	f->n_requests++;
	return OK;
}

static void
pump(struct fetch_nodes *f)
{
	struct error e;

	if (f->closing || f->over)
		return;
	if (!f->busy && (f->arrived.len > 0 || f->todo.len > 0))
		start_batch(f);
	while (f->peer != NULL && f->want.len > 0 && f->n_requests < REQUESTS_MAX && f->arrived.len < ARRIVED_MAX) {
		if (send_request(f, &e) != OK)
			break;
	}
	if (f->peer != NULL)
		peer_flush(f->peer);
	if (f->busy || f->todo.len > 0 || f->want.len > 0 || f->arrived.len > 0 || f->n_requests > 0 || f->checked)
		return;
	f->checked = true;
	f->busy = true;
	job_run(f->o.loop, work_check, on_check, f);
}

static void
remove_request(struct fetch_nodes *f, struct node_request *q)
{
	for (struct node_request **at = &f->requests; *at != NULL; at = &(*at)->next) {
		if (*at == q) {
			*at = q->next;
			break;
		}
	}
	f->n_requests--;
	free(q);
}

/* What a request did not bring is wanted again. */
static void
lose_request(struct fetch_nodes *f, struct node_request *q)
{
	for (uint32_t i = q->got; i < q->n; i++)
		array_push(&f->want, q->refs[i]);
	remove_request(f, q);
}

static void
on_node(struct fetch_nodes *f, struct node_request *q, struct session_event *ev)
{
	struct error e;

	if ((ev->header.flags & FRAME_MISSING) || q->got >= q->n) {
		block_free(ev->block);
		(void)fail(&e, ERR_CORRUPT, "the source no longer has the whole manifest of this snapshot");
		if (ev->end)
			remove_request(f, q); /* else more of it may come, until finish cancels it */
		finish(f, ERR_CORRUPT, &e);
		return;
	}
	array_push(&f->arrived, ((struct arrived){ q->refs[q->got], ev->block }));
	q->got++;
	if (!ev->end)
		return;
	if (q->got < q->n)
		lose_request(f, q);
	else
		remove_request(f, q);
}

static void
on_event(struct requester *r, struct peer *p, struct session_event *ev)
{
	struct node_request *q = (struct node_request *)r;
	struct fetch_nodes *f = q->fetch;
	struct error e;
	(void)p;

	if (ev->kind == SESSION_EV_RAW) {
		on_node(f, q, ev);
	} else if (ev->kind == SESSION_EV_LOST) {
		lose_request(f, q);
		f->peer = NULL;
	} else {
		const struct msg_error *m = &ev->message.error;
		(void)fail(&e, ev->message.type == FRAME_ERROR ? (enum err)m->code : ERR_PROTO, "%.*s",
		    ev->message.type == FRAME_ERROR ? (int)m->text.len : 0, (const char *)m->text.at);
		remove_request(f, q);
		finish(f, e.code, &e);
	}
	pump(f);
}

struct fetch_nodes *
fetch_nodes_start(const struct fetch_nodes_opts *o, struct peer *peer)
{
	struct fetch_nodes *f = mem_new(struct fetch_nodes);
	const struct commit *c = o->commit;

	f->o = *o;
	f->o.commit = NULL;
	f->share = c->share;
	f->snapshot = c->id;
	f->content = c->content;
	f->causal = c->causal;
	f->entries = c->entries;
	f->bytes = c->bytes;
	f->peer = peer;
	struct node_ref roots[] = { { HASH_CAUSAL, c->causal }, { HASH_TREE, c->content } };
	for (size_t i = 0; i < lengthof(roots); i++) {
		if (is_new(&f->seen, &roots[i]))
			array_push(&f->todo, roots[i]);
	}
	pump(f);
	return f;
}

void
fetch_nodes_peer(struct fetch_nodes *f, struct peer *peer)
{
	if (f == NULL || f->closing)
		return;
	/* Requests of the one that went come back as LOST, or have already. */
	f->peer = peer;
	pump(f);
}
