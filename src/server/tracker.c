/* Who takes part: connections, snapshots, and what is said of them. */
#include <assert.h>

#include "server/tracker_private.h"
#include "swarm/swarm_rank.h"

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

	array_remove(&d->links, l);
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

struct entry *
tracker_entry_of(const struct device *d, const struct swarm_of *s)
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

void
tracker_changed(struct tracker *t, struct swarm_of *s, uint64_t now_ms)
{
	if (s->due_ms != 0)
		return;
	s->due_ms = now_ms + TRACKER_BATCH_MS;
	array_push(&t->changed, s);
}

void
tracker_unchanged(struct tracker *t, struct swarm_of *s)
{
	array_remove(&t->changed, s);
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
unsee(struct seen *seen)
{
	seen->x->n_seen--;
}

void
tracker_unsee(struct entry *x, bool all)
{
	size_t kept = 0;

	array_each (seen, &x->view) {
		if (all || seen->x->x.site == x->x.site)
			unsee(seen);
		else
			x->view.at[kept++] = *seen;
	}
	x->view.len = kept;
}

static void
entry_free(struct tracker *t, struct entry *x)
{
	device_unref(t, x->device);
	bitset_clear(&x->done);
	array_clear(&x->view);
	free(x);
}

static void
swarm_free(struct swarm_of *s)
{
	array_each (site, &s->sites)
		tracker_site_free(*site);
	array_clear(&s->sites);
	map_clear(&s->site_of);
	array_clear(&s->wanting);
	array_clear(&s->whole);
	array_clear(&s->gone);
	free(s);
}

void
tracker_free_gone(struct tracker *t, struct swarm_of *s)
{
	size_t kept = 0;

	array_each (x, &s->gone) {
		if ((*x)->n_seen == 0)
			entry_free(t, *x);
		else
			s->gone.at[kept++] = *x;
	}
	s->gone.len = kept;
	if (s->wanting.len + s->whole.len > 0)
		return;
	assert(kept == 0);
	tracker_unchanged(t, s);
	map_del(&t->swarms, BYTES_OF(s->key));
	swarm_free(s);
}

static void
wants_nothing(struct entry *x)
{
	x->link->wanted -= x->done.n;
	bitset_clear(&x->done);
}

static void
link_remove(struct entry *x)
{
	struct link *l = x->link;

	array_swap_out(&l->entries, x->in_link);
	if (x->in_link < l->entries.len)
		l->entries.at[x->in_link]->in_link = x->in_link;
}

/* Its connection may have no other: the caller frees that. */
static void
entry_leave(struct tracker *t, struct entry *x, uint64_t now_ms)
{
	struct swarm_of *s = x->swarm;

	wants_nothing(x);
	tracker_unsee(x, true);
	list_remove(x->x.whole ? &s->whole : &s->wanting, x);
	link_remove(x);
	tracker_site_leave(x);
	if (x->fresh)
		array_remove(&t->fresh, x);
	x->link = NULL;
	array_push(&s->gone, x);
	if (s->wanting.len + s->whole.len > 0)
		tracker_changed(t, s, now_ms);
	else
		tracker_free_gone(t, s);
}

static void
leave(struct tracker *t, struct entry *x, uint64_t now_ms)
{
	struct link *l = x->link;

	entry_leave(t, x, now_ms);
	if (l->entries.len == 0)
		link_free(t, l);
}

/* X takes part over L. */
static void
entry_add(struct tracker *t, struct entry *x, struct link *l)
{
	struct swarm_of *s = x->swarm;

	x->device = device_ref(t, &l->device->id);
	x->link = l;
	x->in_link = (uint32_t)l->entries.len;
	array_push(&l->entries, x);
	list_add(x->x.whole ? &s->whole : &s->wanting, x);
	tracker_site_join(t, x);
}

/* It has yet to be told, and others of it. */
static void
entry_is_new(struct tracker *t, struct entry *x, uint64_t now_ms)
{
	x->fresh = true;
	array_push(&t->fresh, x);
	tracker_changed(t, x->swarm, now_ms);
}

enum err
tracker_enter(struct tracker *t, uint64_t link, const struct tracker_who *who,
    const struct msg_enter *m, uint64_t now_ms, struct error *e)
{
	struct link *l = link_get(t, link, &who->device);
	struct swarm_of *s = swarm_get(t, &m->share, &m->snapshot);
	struct entry *same = entry_of_job(l, m->job), *here = entry_in(l, s);
	struct entry *x = mem_new(struct entry);

	x->x = (struct tracker_entry){ .link = link,
		.share = &s->key.share,
		.snapshot = &s->key.snapshot,
		.job = m->job,
		.units = m->units,
		.author = who->author,
		.site = who->site };
	x->swarm = s;
	entry_add(t, x, l);
	if (same != NULL)
		entry_leave(t, same, now_ms);
	if (here != NULL && here != same)
		entry_leave(t, here, now_ms);
	if (l->entries.len > TRACKER_JOBS_MAX) {
		leave(t, x, now_ms);
		return fail(e, ERR_LIMIT, "takes part in more than %d snapshots", TRACKER_JOBS_MAX);
	}
	entry_is_new(t, x, now_ms);
	return OK;
}

/* Who has X in view finds another in its stead, somewhere else. */
static void
entry_move(struct tracker *t, struct entry *x, uint64_t site, uint64_t now_ms)
{
	struct entry *y = mem_new(struct entry);
	struct link *l = x->link;

	y->x = x->x;
	y->x.site = site;
	y->x.rank = y->x.gateways = 0;
	y->swarm = x->swarm;
	y->skips = x->skips;
	y->done = x->done;
	x->done = (struct bitset){ 0 };
	entry_add(t, y, l);
	entry_leave(t, x, now_ms);
	entry_is_new(t, y, now_ms);
}

void
tracker_place(struct tracker *t, const struct device_id *device, uint64_t site, uint64_t now_ms)
{
	struct device *d = map_ptr(&t->devices, BYTES_OF(*device));
	entry_array movers = { 0 };

	if (d == NULL)
		return;
	array_each (l, &d->links) {
		array_each (x, &(*l)->entries) {
			if ((*x)->x.site != site)
				array_push(&movers, *x);
		}
	}
	array_each (x, &movers)
		entry_move(t, *x, site, now_ms);
	array_clear(&movers);
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

/* Of its own site it is told no more. */
static void
becomes_whole(struct entry *x)
{
	wants_nothing(x);
	tracker_unsee(x, false);
	list_remove(&x->swarm->wanting, x);
	tracker_site_whole(x);
	x->x.whole = true;
	list_add(&x->swarm->whole, x);
}

static enum err
make_bits(struct entry *x, struct error *e)
{
	if (x->done.n > 0)
		return OK;
	if (x->link->wanted + x->x.units > TRACKER_UNITS_MAX)
		return fail(e, ERR_LIMIT, "wants more than %d units at once", TRACKER_UNITS_MAX);
	bitset_init(&x->done, x->x.units);
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
			(void)(done ? bitset_set(&x->done, i) : bitset_unset(&x->done, i));
	}
	return OK;
}

/* D's uplink was seen to do RATE: its weight follows, in a while. */
static void
hear_rate(struct tracker *t, struct device *d, uint64_t rate, uint64_t now_ms)
{
	uint64_t weight = swarm_rank_weight(d->weight, rate);

	if (rate != 0 && d->weigh_ms == 0)
		d->weigh_ms = now_ms + TRACKER_WEIGH_MS;
	if (rate == 0 || now_ms < d->weigh_ms || weight == d->weight)
		return;
	d->weight = weight;
	d->weigh_ms = now_ms + TRACKER_WEIGH_MS;
	array_each (l, &d->links) {
		array_each (x, &(*l)->entries) {
			tracker_site_weighs(*x);
			tracker_changed(t, (*x)->swarm, now_ms);
		}
	}
}

static enum err
take_news(struct entry *x, const struct msg_news *m, struct error *e)
{
	enum err r = take_list(x, m->drop, false, e);

	if (r == OK)
		r = take_list(x, m->await, false, e);
	if (r == OK)
		r = take_list(x, m->have, true, e);
	if (r == OK)
		r = take_list(x, m->skip, true, e);
	if (r == OK && !x->x.whole && x->x.units > 0 && x->done.count == x->x.units)
		becomes_whole(x);
	return r;
}

enum err
tracker_news(
    struct tracker *t, uint64_t link, const struct msg_news *m, uint64_t now_ms, struct error *e)
{
	struct link *l = link_find(t, link);
	struct entry *x = l != NULL ? entry_of_job(l, m->job) : NULL;

	if (x == NULL)
		return OK;
	enum err r = take_news(x, m, e);
	if (r != OK)
		return r;
	if (m->skip.len > 0 && !x->skips) {
		x->skips = true;
		tracker_site_weighs(x);
		tracker_changed(t, x->swarm, now_ms);
	}
	hear_rate(t, l->device, m->rate, now_ms);
	return OK;
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

void
tracker_each(
    const struct tracker *t, void (*on_entry)(void *ctx, const struct tracker_entry *x), void *ctx)
{
	map_each (slot, &t->links) {
		const struct link *l = slot->ptr;
		array_each (x, &l->entries)
			on_entry(ctx, &(*x)->x);
	}
}

uint64_t
tracker_link_of(const struct tracker *t, const struct device_id *device,
    const struct hash_id *share, const struct hash_id *snapshot)
{
	const struct device *d = map_ptr(&t->devices, BYTES_OF(*device));
	const struct swarm_of *s = swarm_find(t, share, snapshot);
	const struct entry *x = d != NULL && s != NULL ? tracker_entry_of(d, s) : NULL;

	return x != NULL ? x->x.link : 0;
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
	a->len = 0;
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
		swarm_free(s);
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
	map_clear(&t->lines);
	array_clear(&t->fresh);
	array_clear(&t->changed);
	array_clear(&t->queue);
	array_clear(&t->came);
	array_clear(&t->left);
	free(t);
}
