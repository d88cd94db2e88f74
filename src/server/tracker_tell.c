/* Whom a member is told of: what it has in view, and when it hears of a change. */
#include "server/tracker_private.h"

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
			x = tracker_entry_of(d, viewer->swarm);
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
		tracker_unchanged(t, s);
		tracker_free_gone(t, s);
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
