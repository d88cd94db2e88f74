/* Whom a member is told of: what it has in view, and when it hears of a change. */
#include "server/tracker_private.h"

/* -- views -- */

static bool
is_near(const struct entry *viewer, const struct entry *x)
{
	return viewer->site == x->site;
}

/* It speaks for its site to others. */
static bool
exports(const struct entry *x)
{
	return speaks(x) && x->site->links.len > 0;
}

/* Is X one of those that VIEWER is told of?  The sites linked to its own are marked. */
static bool
belongs(const struct tracker *t, const struct entry *viewer, const struct entry *x)
{
	if (is_near(viewer, x))
		return !viewer->x.whole || (exports(viewer) && x->x.rank > 0);
	return speaks(viewer) && speaks(x) && x->site->mark == t->marks;
}

static void
tell_of(struct tracker *t, struct seen *seen)
{
	seen->rank = seen->x->x.rank;
	seen->gateways = seen->x->x.gateways;
	array_push(&t->came, &seen->x->x);
}

/* Into the view, unless its device is there: those that are have the mark. */
static void
show(struct tracker *t, struct entry *viewer, struct entry *x)
{
	struct seen seen = { .x = x };

	if (x->device->mark == t->marks)
		return;
	x->device->mark = t->marks;
	x->n_seen++;
	tell_of(t, &seen);
	array_push(&viewer->view, seen);
}

static void
show_all(struct tracker *t, struct entry *viewer, const entry_array *list)
{
	array_each (x, list)
		show(t, viewer, *x);
}

/* Adds to the view up to N of LIST: all, if they are no more, else at random.  A view is small, so
 * of a long list a few tries are enough; of a short one those that it has already are met often. */
static void
show_some(struct tracker *t, struct entry *viewer, const entry_array *list, size_t n)
{
	size_t end = viewer->view.len + n;

	if (list->len <= n) {
		show_all(t, viewer, list);
		return;
	}
	for (unsigned tries = 4 * TRACKER_VIEW; viewer->view.len < end && tries > 0; tries--)
		show(t, viewer, list->at[rng_below(&t->rng, list->len)]);
}

static void
show_speakers(struct tracker *t, struct entry *viewer, const struct site *s, bool authors)
{
	for (size_t i = 0; i < s->candidates; i++)
		show(t, viewer, s->best.at[i]);
	if (authors)
		show_all(t, viewer, &s->authors);
}

/* Of those in view, how many were drawn at random, and how many of its site hold everything. */
static void
count_near(const struct entry *viewer, size_t *ret_random, size_t *ret_seeds)
{
	*ret_random = *ret_seeds = 0;
	array_each (seen, &viewer->view) {
		*ret_random += is_near(viewer, seen->x) && seen->x->x.rank == 0;
		*ret_seeds += is_near(viewer, seen->x) && seen->x->x.whole;
	}
}

static void
fill_near(struct tracker *t, struct entry *viewer)
{
	const struct site *s = viewer->site;
	size_t n = 0, seeds = 0;

	if (s->wanting.len + s->whole.len <= TRACKER_VIEW + 1) {
		show_all(t, viewer, &s->wanting);
		show_all(t, viewer, &s->whole);
		return;
	}
	show_speakers(t, viewer, s, false);
	count_near(viewer, &n, &seeds);
	if (seeds < TRACKER_SEEDS && n < TRACKER_RANDOM)
		show_some(t, viewer, &s->whole, min_of(TRACKER_SEEDS - seeds, TRACKER_RANDOM - n));
	count_near(viewer, &n, &seeds);
	if (n < TRACKER_RANDOM)
		show_some(t, viewer, &s->wanting, TRACKER_RANDOM - n);
	count_near(viewer, &n, &seeds);
	if (n < TRACKER_RANDOM)
		show_some(t, viewer, &s->whole, TRACKER_RANDOM - n);
}

static void
fill_view(struct tracker *t, struct entry *viewer)
{
	if (!viewer->x.whole)
		fill_near(t, viewer);
	if (!exports(viewer))
		return;
	/* Who else does: they share the exports. */
	show_speakers(t, viewer, viewer->site, false);
	array_each (s, &viewer->site->links)
		show_speakers(t, viewer, *s, true);
}

/* What SEEN points at, now: by another connection it may be there, and elsewhere.  NULL: it has
 * gone. */
static struct entry *
look_again(const struct entry *viewer, const struct seen *seen)
{
	return seen->x->link != NULL ? seen->x : tracker_entry_of(seen->x->device, viewer->swarm);
}

/* Takes out of the view whom VIEWER is told of no longer, and marks the others. */
static void
clean_view(struct tracker *t, struct entry *viewer)
{
	size_t kept = 0;

	array_each (at, &viewer->view) {
		struct seen seen = *at;
		struct entry *x = look_again(viewer, at);
		bool moved = x != NULL && x->x.site != seen.x->x.site;
		seen.x->n_seen--;
		if (x == NULL || !belongs(t, viewer, x) || x->device->mark == t->marks) {
			array_push(&t->left, seen.x->device->id);
			continue;
		}
		x->device->mark = t->marks;
		x->n_seen++;
		seen.x = x;
		if (moved || seen.rank != x->x.rank || seen.gateways != x->x.gateways)
			tell_of(t, &seen);
		viewer->view.at[kept++] = seen;
	}
	viewer->view.len = kept;
}

/* -- whom to tell -- */

static void
mark_those_it_has(struct tracker *t, struct entry *viewer)
{
	t->marks++;
	viewer->device->mark = t->marks;
	if (speaks(viewer)) {
		array_each (s, &viewer->site->links)
			(*s)->mark = t->marks;
	}
}

static bool
is_self_news(struct entry *viewer)
{
	bool same = viewer->rank == viewer->x.rank && viewer->gateways == viewer->x.gateways;

	viewer->rank = viewer->x.rank;
	viewer->gateways = viewer->x.gateways;
	return !same;
}

/* What VIEWER is to be told now; false: nothing. */
static bool
tell(struct tracker *t, struct entry *viewer, bool first, struct tracker_told *ret)
{
	bool self = is_self_news(viewer);

	t->came.len = t->left.len = 0;
	mark_those_it_has(t, viewer);
	clean_view(t, viewer);
	fill_view(t, viewer);
	*ret = (struct tracker_told){
		.to = &viewer->x,
		.whole = first,
		.self = first || self,
		.came = t->came.at,
		.left = t->left.at,
		.n_came = t->came.len,
		.n_left = t->left.len,
	};
	return ret->self || ret->n_came > 0 || ret->n_left > 0;
}

static bool
next_fresh(struct tracker *t, struct tracker_told *ret)
{
	if (t->fresh.len == 0)
		return false;
	struct entry *x = array_pop(&t->fresh);
	x->fresh = false;
	return tell(t, x, true, ret);
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

static bool
next_queued(struct tracker *t, struct tracker_told *ret)
{
	while (t->queue.len > 0) {
		struct entry *x = array_pop(&t->queue);
		/* Most of those who hold everything need not be looked at. */
		bool idle = x->x.whole && !speaks(x) && x->view.len == 0 && x->rank == 0;
		if (!idle && tell(t, x, false, ret))
			return true;
	}
	return false;
}

bool
tracker_next(struct tracker *t, uint64_t now_ms, struct tracker_told *ret)
{
	if (next_fresh(t, ret))
		return true;
	for (;;) {
		if (next_queued(t, ret))
			return true;
		if (t->telling != NULL) {
			tracker_unchanged(t, t->telling);
			tracker_free_gone(t, t->telling);
		}
		t->telling = next_due(t, now_ms);
		if (t->telling == NULL)
			return false;
		tracker_site_batch(t, t->telling);
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
