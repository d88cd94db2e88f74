#include "swarm/swarm_share.h"

#include "base/mem.h"

static uint32_t
weight_of(const struct swarm_share_job *j)
{
	return max_of(j->weight, 1u);
}

/* More than it fills is of no use to a job that has nothing more to give. */
static bool
is_open(const struct swarm_share_job *j, bool background)
{
	return j->background == background && (j->wants || j->slots < j->used);
}

/* Whose share is the smallest for its weight. */
static struct swarm_share_job *
poorest(struct swarm_share_job *jobs, size_t n, bool background)
{
	struct swarm_share_job *best = NULL;

	for (size_t i = 0; i < n; i++) {
		struct swarm_share_job *j = &jobs[i];
		if (is_open(j, background) &&
		    (best == NULL || (uint64_t)j->slots * weight_of(best) <
					 (uint64_t)best->slots * weight_of(j)))
			best = j;
	}
	return best;
}

/* One slot after the other to the poorest; what is left of them. */
static uint32_t
share_class(struct swarm_share_job *jobs, size_t n, bool background, uint32_t slots)
{
	struct swarm_share_job *j;
	bool any = slots > 0;

	while (slots > 0 && (j = poorest(jobs, n, background)) != NULL) {
		j->slots++;
		slots--;
	}
	for (size_t i = 0; any && i < n; i++) {
		if (jobs[i].background == background && jobs[i].wants)
			jobs[i].slots = max_of(jobs[i].slots, 1u);
	}
	return slots;
}

void
swarm_share(struct swarm_share_job *jobs, size_t n, uint32_t slots)
{
	for (size_t i = 0; i < n; i++)
		jobs[i].slots = 0;
	slots = share_class(jobs, n, false, slots);
	(void)share_class(jobs, n, true, slots);
}
