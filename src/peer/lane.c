/* The main one and its lanes share one struct, which each of them points to. */
#include "peer/lane.h"

#include "base/array.h"
#include "base/mem.h"

struct lanes {
	struct peer *main;
	ARRAY(struct peer *) at;
	unsigned pauses; /* of the main one by lane_pause */
};

static struct lanes *
lanes_of(struct peer *main)
{
	struct lanes **l = peer_lanes(main);

	if (*l == NULL) {
		*l = mem_new(struct lanes);
		(*l)->main = main;
	}
	return *l;
}

void
lane_join(struct peer *main, struct peer *lane)
{
	struct lanes *l = lanes_of(main);

	if (!expect(*peer_lanes(lane) == NULL && l->main == main))
		return;
	*peer_lanes(lane) = l;
	array_push(&l->at, lane);
	for (unsigned i = 0; i < l->pauses; i++)
		peer_pause(lane, true);
}

static void
take_off(struct lanes *l, struct peer *lane)
{
	*peer_lanes(lane) = NULL;
	for (unsigned i = 0; i < l->pauses; i++)
		peer_pause(lane, false);
	for (size_t i = 0; i < l->at.len; i++) {
		if (l->at.at[i] == lane)
			array_swap_out(&l->at, i);
	}
}

static void
lanes_free(struct lanes *l)
{
	while (l->at.len > 0)
		take_off(l, l->at.at[0]);
	*peer_lanes(l->main) = NULL;
	array_clear(&l->at);
	free(l);
}

void
lane_leave(struct peer *p)
{
	struct lanes *l = *peer_lanes(p);

	if (l != NULL && l->main == p)
		lanes_free(l);
	else if (l != NULL)
		take_off(l, p);
}

struct peer *
lane_main(struct peer *p)
{
	struct lanes *l = *peer_lanes(p);

	return l != NULL ? l->main : p;
}

size_t
lane_count(struct peer *main)
{
	const struct lanes *l = *peer_lanes(main);

	return l != NULL ? l->at.len : 0;
}

struct peer *
lane_lightest(struct peer *main)
{
	struct lanes *l = *peer_lanes(main);
	struct peer *best = main;

	if (l == NULL)
		return main;
	array_each (p, &l->at) {
		if (session_asking(peer_session(*p)) < session_asking(peer_session(best)))
			best = *p;
	}
	return best;
}

void
lane_pause(struct peer *main, bool paused)
{
	struct lanes *l = lanes_of(main);

	if (!expect(paused || l->pauses > 0))
		return;
	l->pauses = paused ? l->pauses + 1 : l->pauses - 1;
	peer_pause(main, paused);
	array_each (p, &l->at)
		peer_pause(*p, paused);
}

static uint64_t
moved(struct peer *p)
{
	const struct session *s = peer_session(p);

	return session_bytes_in(s) + session_bytes_out(s);
}

uint64_t
lane_bytes(struct peer *main)
{
	const struct lanes *l = *peer_lanes(main);
	uint64_t n = moved(main);

	if (l == NULL)
		return n;
	array_each (p, &l->at)
		n += moved(*p);
	return n;
}
