/*
 * Ids wait on two stacks: TODO, to be looked up here, and WANT, to be asked for.  One job at a time
 * takes a batch: nodes that arrived are checked and kept, ids from TODO are looked up; both give
 * children, which go on TODO, and ids that are not here, which go on WANT.  When nothing waits and
 * nothing is under way, the whole tree is walked once and checked against what the commit declares.
 *
 * Memory is bounded whatever the manifest: last in, first out keeps the stacks short, and never are
 * more nodes looked up or asked for than there is room for all the children they could have.
 */
#include "engine/fetch_nodes.h"

#include <stdatomic.h>

#include "base/array.h"
#include "base/mem.h"

enum {
	IDS_PER_REQUEST = 32,
	REQUESTS_MAX = 8,
	LOOK_UPS = 512,                                /* of one job */
	WAITING_MAX = 256 * 1024,                      /* ids on both stacks */
	CHILDREN_MAX = LIMIT_NODE_RAW / HASH_ID_BYTES, /* of one node */
	SEEN_MAX = 1024 * 1024,                        /* slots */
	COMMIT_BYTES = 1024 * 1024,
	COMMIT_MS = 1000,
	RETRY_MS = 200, /* when the connection has no stream for us */
	LOOK_EVERY = 4096,
};

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
	struct peer *peer; /* whom it was asked of */
	uint32_t stream, n, got;
	struct node_ref refs[IDS_PER_REQUEST];
	struct node_request *next;
};

/* Ids met already, by their first 8 bytes: a subtree that stands in many places is walked once.
 * When it is full it begins anew: then one that comes again is walked again, which costs time
 * alone. */
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
	size_t in_flight, in_batch; /* nodes asked for; being worked on */
	uint64_t visits, visits_max;
	uint64_t uncommitted, committed_ms;
	struct timer *retry;
	bool busy, checked, over, closing;
	atomic_bool stop; /* for the last check */
	uint64_t n_nodes, n_bytes;
	void (*on_closed)(void *ctx);
	void *on_closed_ctx;
};

/* One batch on its way through a job. */
struct batch {
	struct fetch_nodes *f;
	ref_array look_up, children, missing;
	ARRAY(struct arrived) arrived;
	bool commit;
};

static void pump(struct fetch_nodes *f);
static void on_event(struct requester *r, struct peer *p, struct session_event *ev);
static enum err work_batch(void *ctx, struct error *e);
static void on_batch(void *ctx, enum err r, const struct error *e);
static void on_retry(void *ctx);
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

static void
grow(struct seen *s)
{
	struct seen bigger = { .room = max_of(s->room * 2, (size_t)1024) };

	if (s->room == SEEN_MAX) {
		memset(s->slots, 0, s->room * sizeof s->slots[0]);
		s->len = 0;
		return;
	}
	bigger.slots = mem_array(uint64_t, bigger.room);
	for (size_t i = 0; i < s->room; i++) {
		if (s->slots[i] != 0)
			insert(&bigger, s->slots[i]);
	}
	free(s->slots);
	*s = bigger;
}

static bool
is_new(struct seen *s, const struct node_ref *ref)
{
	uint64_t key;

	memcpy(&key, ref->id.bytes, sizeof key);
	key += ref->kind; /* one id under two kinds is two nodes: the second will not hash */
	key += key == 0;
	if ((s->len + 1) * 2 > s->room)
		grow(s);
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
		r = of_disk(chunk_store_put_node(
		    f->o.nodes, (enum hash_alg)id.alg, (enum hash_kind)a->ref.kind, node, NULL, e));
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
	return r == OK && b->commit ? of_disk(chunk_store_commit(b->f->o.nodes, e)) : r;
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
		session_cancel(peer_session(q->peer), q->stream);
		peer_flush(q->peer);
		free(q);
	}
	f->n_requests = 0;
	f->in_flight = 0;
}

void
fetch_nodes_close(struct fetch_nodes *f, void (*on_closed)(void *ctx), void *ctx)
{
	if (f == NULL || f->closing)
		return;
	f->closing = true;
	f->stop = true;
	f->on_closed = on_closed;
	f->on_closed_ctx = ctx;
	drop_requests(f);
	f->peer = NULL;
	timer_close(f->retry);
	f->retry = NULL;
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
	timer_stop(f->retry);
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
	uint64_t entries = 0, bytes = 0, steps = 0;
	enum tree_step step;
	struct relpath path;
	struct tree_entry en;
	enum err r;

	/* Once: a stranger's tree takes the time of its nodes, not of what they multiply to. */
	tree_walk_once(w);
	while ((r = tree_walk_next(w, &step, &path, &en, e)) == OK) {
		if (++steps % LOOK_EVERY == 0 && f->stop)
			return fail(e, ERR_CANCELED, "the manifest was not checked to its end");
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

/* How many nodes may be under way, so that all their children have room; one always may, or a tree
 * that is deep could not be fetched to its end. */
static size_t
allowance(const struct fetch_nodes *f)
{
	size_t waiting = f->todo.len + f->want.len;
	size_t room = waiting < WAITING_MAX ? WAITING_MAX - waiting : 0;

	return max_of(room / CHILDREN_MAX, (size_t)1);
}

static size_t
under_way(const struct fetch_nodes *f)
{
	return f->in_flight + f->arrived.len + f->in_batch;
}

/* How many more nodes may be asked for: half of what may be under way, so that there is room to
 * look up what comes meanwhile. */
static size_t
may_ask(const struct fetch_nodes *f)
{
	size_t all = allowance(f), half = max_of(all / 2, (size_t)1),
	       mine = f->in_flight + f->arrived.len;

	return under_way(f) < all && mine < half ? min_of(half - mine, all - under_way(f)) : 0;
}

static size_t
may_look_up(const struct fetch_nodes *f)
{
	size_t all = allowance(f);

	return under_way(f) < all ? min_of(all - under_way(f), (size_t)LOOK_UPS) : 0;
}

static void
start_batch(struct fetch_nodes *f)
{
	uint64_t now = loop_now_ms(f->o.loop);
	struct batch *b = mem_new(struct batch);

	b->f = f;
	take_refs(&f->todo, &b->look_up, may_look_up(f));
	memcpy(&b->arrived, &f->arrived, sizeof b->arrived);
	memset(&f->arrived, 0, sizeof f->arrived);
	f->in_batch = b->arrived.len + b->look_up.len;
	b->commit = f->uncommitted >= COMMIT_BYTES ||
		    (f->uncommitted > 0 && now - f->committed_ms >= COMMIT_MS);
	if (b->commit) {
		f->uncommitted = 0;
		f->committed_ms = now;
	}
	f->busy = true;
	job_run(f->o.loop, work_batch, on_batch, b);
}

/* What batch B came to. */
static enum err
take_batch(struct fetch_nodes *f, struct batch *b, struct error *e)
{
	array_each (a, &b->arrived) {
		f->n_bytes += a->block->len;
		f->uncommitted += b->commit ? 0 : a->block->len;
	}
	f->n_nodes += b->arrived.len;
	f->visits += b->arrived.len + b->look_up.len - b->missing.len;
	array_each (ref, &b->children) {
		if (is_new(&f->seen, ref))
			array_push(&f->todo, *ref);
	}
	array_each (ref, &b->missing)
		array_push(&f->want, *ref);
	if (f->visits > f->visits_max)
		return fail(e, ERR_PROTO, "the manifest has more nodes than its entries can need");
	if (f->todo.len + f->want.len > WAITING_MAX)
		return fail(e, ERR_LIMIT, "the manifest is too wide and too deep at once");
	return OK;
}

static void
on_batch(void *ctx, enum err r, const struct error *e)
{
	struct batch *b = ctx;
	struct fetch_nodes *f = b->f;
	struct error why;

	f->busy = false;
	f->in_batch = 0;
	if (f->closing) {
		batch_free(b);
		free_all(f);
		return;
	}
	if (r == OK) {
		r = take_batch(f, b, &why);
		e = &why;
	}
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
send_request(struct fetch_nodes *f, size_t max, struct error *e)
{
	struct node_request *q = mem_new(struct node_request);
	auto_buf struct buf ids = BUF(LIMIT_FRAME_MESSAGE);
	uint8_t kind = f->want.at[f->want.len - 1].kind;
	struct message m = { .type = FRAME_GET_NODES };

	max = min_of(max, (size_t)IDS_PER_REQUEST);
	q->requester.on_event = on_event;
	q->fetch = f;
	q->peer = f->peer;
	while (q->n < max && f->want.len > 0 && f->want.at[f->want.len - 1].kind == kind) {
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
	f->in_flight += q->n;
	return OK;
}

/* Whoever shares the connection may have all its streams: no event of ours tells when one is free.
 */
static void
send_requests(struct fetch_nodes *f)
{
	struct error e;
	size_t n;

	while (f->peer != NULL && f->want.len > 0 && f->n_requests < REQUESTS_MAX &&
	       (n = may_ask(f)) > 0) {
		if (send_request(f, n, &e) == OK)
			continue;
		timer_start(f->retry, RETRY_MS);
		break;
	}
	if (f->peer != NULL)
		peer_flush(f->peer);
}

static void
on_retry(void *ctx)
{
	pump(ctx);
}

static void
pump(struct fetch_nodes *f)
{
	if (f->closing || f->over)
		return;
	if (!f->busy && (f->arrived.len > 0 || (f->todo.len > 0 && may_look_up(f) > 0)))
		start_batch(f);
	send_requests(f);
	if (f->busy || f->todo.len > 0 || f->want.len > 0 || under_way(f) > 0 || f->checked)
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
	f->in_flight -= q->n - q->got;
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
		(void)fail(&e, ERR_CORRUPT,
		    "the source no longer has the whole manifest of this snapshot");
		finish(f, ERR_CORRUPT, &e); /* cancels the rest of it too */
		return;
	}
	array_push(&f->arrived, ((struct arrived){ q->refs[q->got], ev->block }));
	q->got++;
	f->in_flight--;
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
	} else {
		const struct msg_error *m = &ev->message.error;
		(void)fail(&e, ev->message.type == FRAME_ERROR ? (enum err)m->code : ERR_PROTO,
		    "%.*s", ev->message.type == FRAME_ERROR ? (int)m->text.len : 0,
		    (const char *)m->text.at);
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
	/* A directory has a node, an entry one of its own at worst, and the nodes above no more
	 * than those below; all of it twice, and the chunk lists. */
	f->visits_max = 6 * f->entries + 4 * (f->bytes / CHUNK_MIN) + 1024;
	f->retry = timer_new(o->loop, on_retry, f);
	f->committed_ms = loop_now_ms(o->loop);
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
	f->peer = peer;
	pump(f);
}

void
fetch_nodes_peer_gone(struct fetch_nodes *f, struct peer *peer)
{
	if (f == NULL || f->closing)
		return;
	for (struct node_request *q = f->requests, *next; q != NULL; q = next) {
		next = q->next;
		if (q->peer != peer)
			continue;
		session_cancel(peer_session(peer), q->stream);
		lose_request(f, q);
	}
	if (f->peer == peer)
		f->peer = NULL;
	pump(f);
}

size_t
fetch_nodes_waiting(const struct fetch_nodes *f)
{
	return f->todo.len + f->want.len;
}
