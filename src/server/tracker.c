/*
 * A participation (struct entry) is in three lists: of its snapshot's swarm, where those who want
 * something are apart from those who are whole, of its connection, and, when it has yet to be told
 * for the first time, of the fresh.
 *
 * Views point at entries.  One that leaves while others may have it in view stays, as gone, until
 * the swarm's next batch, which looks through all views once; so whoever goes costs the same
 * whether one goes or a thousand.
 */
#include "server/tracker.h"

#include "base/array.h"
#include "base/bitset.h"
#include "base/map.h"
#include "base/rng.h"

typedef ARRAY(struct entry *) entry_array;

struct device {
	struct device_id id;
	ARRAY(struct link *) links;
	uint32_t refs; /* connections, and entries also when they are gone */
};

struct link {
	uint64_t number;
	struct device *device;
	entry_array entries;
	uint64_t wanted; /* units that have bits */
};

struct key {
	struct hash_id share, snapshot;
};
_Static_assert(sizeof(struct key) == 2 * HASH_ID_BYTES, "a map key has no padding");

struct swarm_of {
	struct key key;
	entry_array wanting, whole, gone;
	uint64_t due_ms; /* of its next batch; 0: nothing has changed */
	uint64_t mark;
};

struct want {
	struct bitset done; /* units held or not wanted; of no bits until there are some */
	uint32_t n_view;    /* whom it was told of */
	struct entry *view[TRACKER_VIEW];
};

struct entry {
	struct tracker_entry x; /* first */
	struct swarm_of *swarm;
	struct device *device;
	struct link *link; /* NULL: gone */
	uint32_t in_swarm, in_link;
	bool fresh;
	struct want *want; /* NULL: it is whole, or gone */
};

struct tracker {
	struct rng rng;
	struct map devices; /* device_id -> struct device * */
	struct map links;   /* number -> struct link * */
	struct map swarms;  /* struct key -> struct swarm_of * */
	entry_array fresh;
	ARRAY(struct swarm_of *) changed; /* due_ms is set */
	uint64_t marks;
	/* where tracker_next is: in which swarm's batch, at which entry */
	struct swarm_of *telling;
	size_t at;
	uint64_t came[TRACKER_VIEW];
	struct device_id left[TRACKER_VIEW];
};

struct tracker *
tracker_new(uint64_t seed)
{
	struct tracker *t = mem_new(struct tracker);

	rng_seed(&t->rng, seed);
	return t;
}

/* -- devices and connections -- */

static struct device *
device_ref(struct tracker *t, const struct device_id *id)
{
	bool is_new;
	struct map_slot *slot = map_put(&t->devices, BYTES_OF(*id), &is_new);

	if (is_new) {
		struct device *d = mem_new(struct device);
		d->id = *id;
		slot->ptr = d;
	}
	((struct device *)slot->ptr)->refs++;
	return slot->ptr;
}

static void
device_unref(struct tracker *t, struct device *d)
{
	if (--d->refs > 0)
		return;
	map_del(&t->devices, BYTES_OF(d->id));
	array_clear(&d->links);
	free(d);
}

static struct link *
link_find(const struct tracker *t, uint64_t number)
{
	return map_ptr(&t->links, BYTES_OF(number));
}

static struct link *
link_get(struct tracker *t, uint64_t number, const struct device_id *device)
{
	struct link *l = link_find(t, number);

	if (l != NULL)
		return l;
	l = mem_new(struct link);
	l->number = number;
	l->device = device_ref(t, device);
	array_push(&l->device->links, l);
	map_put(&t->links, BYTES_OF(number), NULL)->ptr = l;
	return l;
}

static void
link_free(struct tracker *t, struct link *l)
{
	struct device *d = l->device;

	for (size_t i = 0; i < d->links.len; i++) {
		if (d->links.at[i] == l) {
			array_swap_out(&d->links, i);
			break;
		}
	}
	map_del(&t->links, BYTES_OF(l->number));
	array_clear(&l->entries);
	free(l);
	device_unref(t, d);
}

static struct entry *
entry_of_job(const struct link *l, uint32_t job)
{
	array_each (x, &l->entries) {
		if ((*x)->x.job == job)
			return *x;
	}
	return NULL;
}

static struct entry *
entry_in(const struct link *l, const struct swarm_of *s)
{
	array_each (x, &l->entries) {
		if ((*x)->swarm == s)
			return *x;
	}
	return NULL;
}

/* Another connection of D that takes part in S. */
static struct entry *
entry_of_device(const struct device *d, const struct swarm_of *s)
{
	array_each (l, &d->links) {
		struct entry *x = entry_in(*l, s);
		if (x != NULL)
			return x;
	}
	return NULL;
}

/* -- swarms -- */

static struct swarm_of *
swarm_find(const struct tracker *t, const struct hash_id *share, const struct hash_id *snapshot)
{
	const struct key key = { *share, *snapshot };

	return map_ptr(&t->swarms, BYTES_OF(key));
}

static struct swarm_of *
swarm_get(struct tracker *t, const struct hash_id *share, const struct hash_id *snapshot)
{
	const struct key key = { *share, *snapshot };
	bool is_new;
	struct map_slot *slot = map_put(&t->swarms, BYTES_OF(key), &is_new);

	if (is_new) {
		struct swarm_of *s = mem_new(struct swarm_of);
		s->key = key;
		slot->ptr = s;
	}
	return slot->ptr;
}

static void
swarm_changed(struct tracker *t, struct swarm_of *s, uint64_t now_ms)
{
	if (s->due_ms != 0)
		return;
	s->due_ms = now_ms + TRACKER_BATCH_MS;
	array_push(&t->changed, s);
}

static void
swarm_unchanged(struct tracker *t, struct swarm_of *s)
{
	for (size_t i = 0; i < t->changed.len; i++) {
		if (t->changed.at[i] == s) {
			array_swap_out(&t->changed, i);
			break;
		}
	}
	s->due_ms = 0;
}

static void
list_add(entry_array *a, struct entry *x)
{
	x->in_swarm = (uint32_t)a->len;
	array_push(a, x);
}

static void
list_remove(entry_array *a, const struct entry *x)
{
	array_swap_out(a, x->in_swarm);
	if (x->in_swarm < a->len)
		a->at[x->in_swarm]->in_swarm = x->in_swarm;
}

/* -- entries -- */

static void
entry_free(struct tracker *t, struct entry *x)
{
	device_unref(t, x->device);
	if (x->want != NULL)
		bitset_clear(&x->want->done);
	free(x->want);
	free(x);
}

static void
free_gone(struct tracker *t, struct swarm_of *s)
{
	array_each (x, &s->gone)
		entry_free(t, *x);
	s->gone.len = 0;
	if (s->wanting.len + s->whole.len > 0)
		return;
	swarm_unchanged(t, s);
	map_del(&t->swarms, BYTES_OF(s->key));
	array_clear(&s->wanting);
	array_clear(&s->whole);
	array_clear(&s->gone);
	free(s);
}

static void
wants_nothing(struct entry *x)
{
	if (x->want == NULL)
		return;
	x->link->wanted -= x->want->done.n;
	bitset_clear(&x->want->done);
	free(x->want);
	x->want = NULL;
}

/* Its connection may have no other: the caller frees that. */
static void
entry_leave(struct tracker *t, struct entry *x, uint64_t now_ms)
{
	struct swarm_of *s = x->swarm;
	struct link *l = x->link;

	wants_nothing(x);
	list_remove(x->x.whole ? &s->whole : &s->wanting, x);
	array_swap_out(&l->entries, x->in_link);
	if (x->in_link < l->entries.len)
		l->entries.at[x->in_link]->in_link = x->in_link;
	for (size_t i = 0; x->fresh && i < t->fresh.len; i++) {
		if (t->fresh.at[i] == x) {
			array_swap_out(&t->fresh, i);
			break;
		}
	}
	x->link = NULL;
	array_push(&s->gone, x);
	if (s->wanting.len > 0)
		swarm_changed(t, s, now_ms);
	else
		free_gone(t, s);
}

static void
leave(struct tracker *t, struct entry *x, uint64_t now_ms)
{
	struct link *l = x->link;

	entry_leave(t, x, now_ms);
	if (l->entries.len == 0)
		link_free(t, l);
}

enum err
tracker_enter(struct tracker *t, uint64_t link, const struct device_id *device,
    const struct msg_enter *m, uint64_t now_ms, struct error *e)
{
	struct link *l = link_get(t, link, device);
	struct swarm_of *s = swarm_get(t, &m->share, &m->snapshot);
	struct entry *same = entry_of_job(l, m->job), *here = entry_in(l, s);
	struct entry *x = mem_new(struct entry);

	x->x = (struct tracker_entry){ .link = link,
		.share = &s->key.share,
		.snapshot = &s->key.snapshot,
		.job = m->job,
		.units = m->units };
	x->swarm = s;
	x->want = mem_new(struct want);
	x->device = device_ref(t, device);
	x->link = l;
	x->in_link = (uint32_t)l->entries.len;
	array_push(&l->entries, x);
	list_add(&s->wanting, x);
	if (same != NULL)
		entry_leave(t, same, now_ms);
	if (here != NULL && here != same)
		entry_leave(t, here, now_ms);
	if (l->entries.len > TRACKER_JOBS_MAX) {
		leave(t, x, now_ms);
		return fail(e, ERR_LIMIT, "takes part in more than %d snapshots", TRACKER_JOBS_MAX);
	}
	x->fresh = true;
	array_push(&t->fresh, x);
	swarm_changed(t, s, now_ms);
	return OK;
}

const struct tracker_entry *
tracker_find(const struct tracker *t, uint64_t link, uint32_t job)
{
	const struct link *l = link_find(t, link);
	const struct entry *x = l != NULL ? entry_of_job(l, job) : NULL;

	return x != NULL ? &x->x : NULL;
}

void
tracker_exit(struct tracker *t, uint64_t link, uint32_t job, uint64_t now_ms)
{
	struct link *l = link_find(t, link);
	struct entry *x = l != NULL ? entry_of_job(l, job) : NULL;

	if (x != NULL)
		leave(t, x, now_ms);
}

void
tracker_gone(struct tracker *t, uint64_t link, uint64_t now_ms)
{
	struct link *l = link_find(t, link);

	if (l == NULL)
		return;
	while (l->entries.len > 0)
		entry_leave(t, l->entries.at[l->entries.len - 1], now_ms);
	link_free(t, l);
}

/* -- news -- */

static void
becomes_whole(struct entry *x)
{
	wants_nothing(x);
	list_remove(&x->swarm->wanting, x);
	x->x.whole = true;
	list_add(&x->swarm->whole, x);
}

static enum err
make_bits(struct entry *x, struct error *e)
{
	if (x->want->done.n > 0)
		return OK;
	if (x->link->wanted + x->x.units > TRACKER_UNITS_MAX)
		return fail(e, ERR_LIMIT, "wants more than %d units at once", TRACKER_UNITS_MAX);
	bitset_init(&x->want->done, x->x.units);
	x->link->wanted += x->x.units;
	return OK;
}

/* Units that are done now, or, not DONE, no longer. */
static enum err
take_list(struct entry *x, struct bytes list, bool done, struct error *e)
{
	uint32_t first = 0, n = 0;

	while (message_units_next(&list, &first, &n)) {
		if (n > x->x.units || first > x->x.units - n)
			return fail(e, ERR_PROTO, "news of a unit that the snapshot does not have");
		if (x->x.whole)
			continue;
		if (done && n == x->x.units) { /* at once, which needs no bits */
			becomes_whole(x);
			continue;
		}
		enum err r = make_bits(x, e);
		if (r != OK)
			return r;
		for (uint32_t i = first; i < first + n; i++)
			(void)(done ? bitset_set(&x->want->done, i)
				    : bitset_unset(&x->want->done, i));
	}
	return OK;
}

enum err
tracker_news(struct tracker *t, uint64_t link, const struct msg_news *m, struct error *e)
{
	struct link *l = link_find(t, link);
	struct entry *x = l != NULL ? entry_of_job(l, m->job) : NULL;

	if (x == NULL)
		return OK;
	enum err r = take_list(x, m->drop, false, e);
	if (r == OK)
		r = take_list(x, m->await, false, e);
	if (r == OK)
		r = take_list(x, m->have, true, e);
	if (r == OK)
		r = take_list(x, m->skip, true, e);
	if (r == OK && !x->x.whole && x->x.units > 0 && x->want->done.count == x->x.units)
		becomes_whole(x);
	return r;
}

/* -- rights -- */

static void
judge_list(const entry_array *from, bool (*may)(void *ctx, const struct tracker_entry *x),
    void *ctx, entry_array *ret_out)
{
	array_each (x, from) {
		if (!may(ctx, &(*x)->x))
			array_push(ret_out, *x);
	}
}

void
tracker_judge(struct tracker *t, const struct hash_id *share, const struct hash_id *snapshot,
    bool (*may)(void *ctx, const struct tracker_entry *x), void *ctx, uint64_t now_ms)
{
	entry_array out = { 0 };

	map_each (slot, &t->swarms) {
		const struct swarm_of *s = slot->ptr;
		if ((share != NULL && !hash_id_equal(share, &s->key.share)) ||
		    (snapshot != NULL && !hash_id_equal(snapshot, &s->key.snapshot)))
			continue;
		judge_list(&s->wanting, may, ctx, &out);
		judge_list(&s->whole, may, ctx, &out);
	}
	array_each (x, &out)
		leave(t, *x, now_ms);
	array_clear(&out);
}

/* -- views -- */

static bool
sees(const struct entry *viewer, const struct device *d)
{
	const struct want *w = viewer->want;

	if (viewer->device == d)
		return true;
	for (uint32_t i = 0; i < w->n_view; i++) {
		if (w->view[i]->device == d)
			return true;
	}
	return false;
}

static void
show(struct entry *viewer, struct entry *x)
{
	struct want *w = viewer->want;

	if (w->n_view < TRACKER_VIEW && !sees(viewer, x->device))
		w->view[w->n_view++] = x;
}

/* Adds to the view up to N of LIST: all, if there is room, else at random.  A view is small, so of
 * a long list a few tries are enough; of a short one those that it has already are met often. */
static void
show_some(struct tracker *t, struct entry *viewer, const entry_array *list, uint32_t n)
{
	const struct want *w = viewer->want;
	uint32_t end = min_of(w->n_view + n, (uint32_t)TRACKER_VIEW);

	if (list->len <= end - w->n_view) {
		array_each (x, list)
			show(viewer, *x);
		return;
	}
	for (uint32_t tries = 4 * TRACKER_VIEW; w->n_view < end && tries > 0; tries--)
		show(viewer, list->at[rng_below(&t->rng, list->len)]);
}

static void
fill_view(struct tracker *t, struct entry *viewer)
{
	const struct swarm_of *s = viewer->swarm;
	const struct want *w = viewer->want;
	uint32_t seeds = 0;

	for (uint32_t i = 0; i < w->n_view; i++)
		seeds += w->view[i]->x.whole;
	if (seeds < TRACKER_SEEDS)
		show_some(t, viewer, &s->whole, TRACKER_SEEDS - seeds);
	show_some(t, viewer, &s->wanting, TRACKER_VIEW);
	show_some(t, viewer, &s->whole, TRACKER_VIEW);
}

/* Takes out of the view who has gone; gives how many devices are told to have left. */
static size_t
clean_view(struct tracker *t, struct entry *viewer)
{
	struct want *w = viewer->want;
	uint32_t kept = 0;
	size_t n_left = 0;

	for (uint32_t i = 0; i < w->n_view; i++) {
		const struct device *d = w->view[i]->device;
		struct entry *x = w->view[i];
		if (x->link == NULL) /* by another connection it may still be there */
			x = entry_of_device(d, viewer->swarm);
		if (x != NULL)
			w->view[kept++] = x;
		else
			t->left[n_left++] = d->id;
	}
	w->n_view = kept;
	return n_left;
}

/* -- whom to tell -- */

/* What VIEWER is to be told now; false: nothing. */
static bool
tell(struct tracker *t, struct entry *viewer, bool whole, struct tracker_told *ret)
{
	const struct want *w = viewer->want;
	size_t n_left = clean_view(t, viewer);
	uint32_t had = w->n_view;

	fill_view(t, viewer);
	for (uint32_t i = had; i < w->n_view; i++)
		t->came[i - had] = w->view[i]->x.link;
	*ret = (struct tracker_told){
		.link = viewer->x.link,
		.share = viewer->x.share,
		.snapshot = viewer->x.snapshot,
		.whole = whole,
		.came = t->came,
		.left = t->left,
		.n_came = w->n_view - had,
		.n_left = n_left,
	};
	return whole || ret->n_came > 0 || n_left > 0;
}

static bool
next_fresh(struct tracker *t, struct tracker_told *ret)
{
	while (t->fresh.len > 0) {
		struct entry *x = array_pop(&t->fresh);
		x->fresh = false;
		if (!x->x.whole)
			return tell(t, x, true, ret);
	}
	return false;
}

static struct swarm_of *
next_due(struct tracker *t, uint64_t now_ms)
{
	array_each (s, &t->changed) {
		if ((*s)->due_ms <= now_ms)
			return *s;
	}
	return NULL;
}

bool
tracker_next(struct tracker *t, uint64_t now_ms, struct tracker_told *ret)
{
	if (next_fresh(t, ret))
		return true;
	for (;;) {
		if (t->telling == NULL) {
			t->telling = next_due(t, now_ms);
			t->at = 0;
		}
		struct swarm_of *s = t->telling;
		if (s == NULL)
			return false;
		while (t->at < s->wanting.len) {
			struct entry *x = s->wanting.at[t->at++];
			if (tell(t, x, false, ret))
				return true;
		}
		t->telling = NULL;
		swarm_unchanged(t, s);
		free_gone(t, s);
	}
}

uint64_t
tracker_wakes(const struct tracker *t)
{
	uint64_t at = UINT64_MAX;

	if (t->fresh.len > 0)
		return 0;
	array_each (s, &t->changed)
		at = min_of(at, (*s)->due_ms);
	return at;
}

/* -- looking -- */

struct tracker_count
tracker_count(const struct tracker *t, const struct hash_id *share, const struct hash_id *snapshot)
{
	const struct swarm_of *s = swarm_find(t, share, snapshot);

	return s != NULL ? (struct tracker_count){ s->wanting.len, s->whole.len }
			 : (struct tracker_count){ 0, 0 };
}

const struct tracker_entry *
tracker_at(
    const struct tracker *t, const struct hash_id *share, const struct hash_id *snapshot, size_t i)
{
	const struct swarm_of *s = swarm_find(t, share, snapshot);

	if (s == NULL)
		return NULL;
	if (i < s->wanting.len)
		return &s->wanting.at[i]->x;
	i -= s->wanting.len;
	return i < s->whole.len ? &s->whole.at[i]->x : NULL;
}

uint64_t
tracker_meets(struct tracker *t, uint64_t link, const struct device_id *device)
{
	const struct link *l = link_find(t, link);
	const struct device *d = map_ptr(&t->devices, BYTES_OF(*device));

	if (l == NULL || d == NULL || d == l->device)
		return 0;
	t->marks++;
	array_each (x, &l->entries)
		(*x)->swarm->mark = t->marks;
	array_each (other, &d->links) {
		array_each (x, &(*other)->entries) {
			if ((*x)->swarm->mark == t->marks)
				return (*other)->number;
		}
	}
	return 0;
}

static void
free_list(struct tracker *t, entry_array *a)
{
	array_each (x, a)
		entry_free(t, *x);
	array_clear(a);
}

void
tracker_free(struct tracker *t)
{
	if (t == NULL)
		return;
	map_each (slot, &t->swarms) {
		struct swarm_of *s = slot->ptr;
		free_list(t, &s->wanting);
		free_list(t, &s->whole);
		free_list(t, &s->gone);
		free(s);
	}
	map_each (slot, &t->links) {
		struct link *l = slot->ptr;
		struct device *d = l->device;
		array_clear(&l->entries);
		free(l);
		device_unref(t, d);
	}
	map_clear(&t->swarms);
	map_clear(&t->links);
	map_clear(&t->devices);
	array_clear(&t->fresh);
	array_clear(&t->changed);
	free(t);
}
