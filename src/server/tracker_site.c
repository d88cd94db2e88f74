/* Sites of a swarm: who is there, who speaks for it, and to which other sites it is linked. */
#include "base/cleanup.h"
#include "server/tracker_private.h"
#include "swarm/swarm_rank.h"

/* Who skips units is ranked behind all others: keys are below that. */
#define SKIPS ((uint64_t)1 << 63)

/* -- ranking -- */

/* What stands for a device in places (swarm/swarm.h), the same everywhere. */
static uint64_t
node_number(const struct device *d)
{
	uint64_t n = 0;

	for (size_t i = 0; i < sizeof n; i++)
		n = n << 8 | d->id.bytes[i];
	return n;
}

static void
draw(struct entry *x)
{
	uint64_t weight = swarm_rank_weight(x->device->weight, 0);

	x->key = swarm_rank_key(x->x.site, node_number(x->device), weight) | (x->skips ? SKIPS : 0);
}

static bool
is_better(const struct entry *a, const struct entry *b)
{
	if (a->key != b->key)
		return a->key < b->key;
	return node_number(a->device) < node_number(b->device);
}

static size_t
best_place(const struct site *s, const struct entry *x)
{
	size_t i = 0;

	while (i < s->best.len && s->best.at[i] != x)
		i++;
	return i;
}

/* True when it has changed. */
static bool
set_rank(struct entry *x, uint8_t rank, uint8_t gateways)
{
	bool same = x->x.rank == rank && x->x.gateways == gateways;

	x->x.rank = rank;
	x->x.gateways = gateways;
	return !same;
}

static void
best_remove(struct site *s, struct entry *x)
{
	size_t i = best_place(s, x);

	if (i == s->best.len)
		return;
	memmove(s->best.at + i, s->best.at + i + 1, (s->best.len - i - 1) * sizeof *s->best.at);
	s->best.len--;
}

static void
best_remove_device(struct site *s, const struct device *d)
{
	array_each (x, &s->best) {
		if ((*x)->device == d) {
			set_rank(*x, 0, 0);
			best_remove(s, *x);
			return;
		}
	}
}

/* X takes its place among the best, if it has one, also from another connection of its device; the
 * last makes room. */
static void
best_add(struct site *s, struct entry *x)
{
	size_t i;

	best_remove_device(s, x->device);
	if (s->best.len == SWARM_RANK_MAX) {
		if (!is_better(x, s->best.at[s->best.len - 1]))
			return;
		set_rank(array_pop(&s->best), 0, 0);
	}
	array_push(&s->best, x);
	for (i = s->best.len - 1; i > 0 && is_better(x, s->best.at[i - 1]); i--)
		s->best.at[i] = s->best.at[i - 1];
	s->best.at[i] = x;
}

static size_t
n_members(const struct site *s)
{
	return s->wanting.len + s->whole.len;
}

static void
best_refill(struct site *s)
{
	while (s->best.len > 0)
		set_rank(array_pop(&s->best), 0, 0);
	array_each (x, &s->wanting)
		best_add(s, *x);
	array_each (x, &s->whole)
		best_add(s, *x);
}

static int
compare_weights(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* The median uplink of those that are known; 0: none is. */
static uint64_t
median_weight(const struct site *s)
{
	auto_free uint64_t *known = mem_array(uint64_t, n_members(s) + 1);
	size_t n = 0;

	array_each (x, &s->wanting) {
		if ((*x)->device->weight != 0)
			known[n++] = (*x)->device->weight;
	}
	array_each (x, &s->whole) {
		if ((*x)->device->weight != 0)
			known[n++] = (*x)->device->weight;
	}
	if (n == 0)
		return 0;
	qsort(known, n, sizeof *known, compare_weights);
	return known[n / 2];
}

static void
site_tells_others(struct site *s)
{
	s->near_due = true;
	array_each (other, &s->links)
		(*other)->far_due = true;
}

/* Ranks whom there is to rank at S.  WHOLE_LOOK: at all members, where that is of use. */
static void
settle(struct tracker *t, struct site *s, bool whole_look)
{
	struct map_slot *line = map_find(&t->lines, BYTES_OF(s->number));
	bool changed = false;

	if (!s->rank_due)
		return;
	s->rank_due = false;
	if (line != NULL && (whole_look || n_members(s) <= TRACKER_VIEW))
		s->median = median_weight(s);
	s->gateways = swarm_rank_gateways(line != NULL ? line->num : 0, s->median, n_members(s));
	s->candidates = swarm_rank_candidates(s->gateways, n_members(s));
	if (s->best.len < s->candidates)
		best_refill(s);
	s->candidates = (uint8_t)min_of((size_t)s->candidates, s->best.len);
	for (size_t i = 0; i < s->best.len; i++) {
		bool is = i < s->candidates;
		changed |= set_rank(s->best.at[i], is ? (uint8_t)(i + 1) : 0, is ? s->gateways : 0);
	}
	if (changed)
		site_tells_others(s);
}

/* -- links -- */

static bool
is_linked(const struct site *a, const struct site *b)
{
	const struct site *few = a->links.len < b->links.len ? a : b, *other = few == a ? b : a;

	array_each (x, &few->links) {
		if (*x == other)
			return true;
	}
	return false;
}

static void
link_sites(struct site *a, struct site *b)
{
	if (a == b || is_linked(a, b))
		return;
	array_push(&a->links, b);
	array_push(&b->links, a);
	a->far_due = b->far_due = true;
}

static void
unlink_site(struct site *s)
{
	array_each (other, &s->links) {
		array_remove(&(*other)->links, s);
		(*other)->far_due = (*other)->link_due = true;
	}
	array_clear(&s->links);
}

static void
link_due(struct tracker *t, struct site *s)
{
	const struct swarm_of *w = s->swarm;

	s->link_due = false;
	if (w->sites.len <= TRACKER_SITES) {
		array_each (other, &w->sites)
			link_sites(s, *other);
		return;
	}
	for (unsigned tries = 4 * TRACKER_LINKS; s->links.len < TRACKER_LINKS && tries > 0; tries--)
		link_sites(s, w->sites.at[rng_below(&t->rng, w->sites.len)]);
}

/* -- who is there -- */

static struct site *
site_get(struct swarm_of *w, uint64_t number)
{
	bool is_new;
	struct map_slot *slot = map_put(&w->site_of, BYTES_OF(number), &is_new);

	if (is_new) {
		struct site *s = mem_new(struct site);
		s->swarm = w;
		s->number = number;
		s->in_swarm = (uint32_t)w->sites.len;
		s->link_due = true;
		array_push(&w->sites, s);
		slot->ptr = s;
	}
	return slot->ptr;
}

void
tracker_site_free(struct site *s)
{
	array_clear(&s->wanting);
	array_clear(&s->whole);
	array_clear(&s->authors);
	array_clear(&s->best);
	array_clear(&s->links);
	free(s);
}

static void
site_end(struct site *s)
{
	struct swarm_of *w = s->swarm;

	unlink_site(s);
	map_del(&w->site_of, BYTES_OF(s->number));
	array_swap_out(&w->sites, s->in_swarm);
	if (s->in_swarm < w->sites.len)
		w->sites.at[s->in_swarm]->in_swarm = s->in_swarm;
	tracker_site_free(s);
}

static void
list_add(entry_array *a, struct entry *x)
{
	x->in_site = (uint32_t)a->len;
	array_push(a, x);
}

static void
list_remove(entry_array *a, const struct entry *x)
{
	array_swap_out(a, x->in_site);
	if (x->in_site < a->len)
		a->at[x->in_site]->in_site = x->in_site;
}

/* Does X belong among the best for sure?  Of those who are not there some may be better, but never
 * than the last who is. */
static void
may_be_best(struct site *s, struct entry *x)
{
	bool all = s->best.len + 1 >= n_members(s);

	if (all || (s->best.len > 0 && is_better(x, s->best.at[s->best.len - 1])))
		best_add(s, x);
	s->rank_due = true;
}

void
tracker_site_join(struct tracker *t, struct entry *x)
{
	struct site *s = site_get(x->swarm, x->x.site);

	x->site = s;
	list_add(x->x.whole ? &s->whole : &s->wanting, x);
	if (x->x.author)
		array_push(&s->authors, x);
	draw(x);
	may_be_best(s, x);
	s->near_due = true;
	if (x->x.author)
		site_tells_others(s);
	settle(t, s, false);
}

void
tracker_site_leave(struct entry *x)
{
	struct site *s = x->site;
	struct entry *other = tracker_entry_of(x->device, x->swarm);

	if (speaks(x))
		site_tells_others(s);
	list_remove(x->x.whole ? &s->whole : &s->wanting, x);
	array_remove(&s->authors, x);
	best_remove(s, x);
	if (other != NULL && other->site == s)
		may_be_best(s, other);
	s->rank_due = s->near_due = true;
	x->site = NULL;
	if (n_members(s) == 0)
		site_end(s);
}

void
tracker_site_whole(struct entry *x)
{
	list_remove(&x->site->wanting, x);
	list_add(&x->site->whole, x);
}

void
tracker_site_weighs(struct entry *x)
{
	struct site *s = x->site;

	best_remove(s, x);
	draw(x);
	may_be_best(s, x);
	if (best_place(s, x) == s->best.len && set_rank(x, 0, 0))
		site_tells_others(s);
}

/* -- a batch -- */

static void
queue_all(struct tracker *t, const entry_array *list)
{
	array_each (x, list)
		array_push(&t->queue, *x);
}

static void
queue_site(struct tracker *t, struct site *s)
{
	if (s->near_due) {
		queue_all(t, &s->wanting);
		queue_all(t, &s->whole);
	} else if (s->far_due) {
		for (size_t i = 0; i < s->candidates; i++)
			array_push(&t->queue, s->best.at[i]);
		array_each (x, &s->authors) {
			if ((*x)->x.rank == 0)
				array_push(&t->queue, *x);
		}
	}
	s->near_due = s->far_due = false;
}

void
tracker_site_batch(struct tracker *t, struct swarm_of *w)
{
	array_each (s, &w->sites) {
		settle(t, *s, true);
		if ((*s)->link_due)
			link_due(t, *s);
	}
	array_each (s, &w->sites)
		queue_site(t, *s);
}

/* -- what is known of sites -- */

void
tracker_line(struct tracker *t, uint64_t site, uint64_t rate, uint64_t now_ms)
{
	const struct map_slot *known = map_find(&t->lines, BYTES_OF(site));

	if ((known != NULL ? known->num : 0) == rate)
		return;
	if (rate == 0)
		map_del(&t->lines, BYTES_OF(site));
	else
		map_put(&t->lines, BYTES_OF(site), NULL)->num = rate;
	map_each (slot, &t->swarms) {
		struct swarm_of *w = slot->ptr;
		struct site *s = map_ptr(&w->site_of, BYTES_OF(site));
		if (s == NULL)
			continue;
		s->rank_due = true;
		tracker_changed(t, w, now_ms);
	}
}
