#include "engine/bottleneck.h"

#include <stdio.h>

/* So near to a limit that the limit it is. */
static bool
is_at(uint64_t rate, uint64_t limit)
{
	return limit > 0 && rate >= limit - limit / 8;
}

static void
say_giving(const struct bottleneck_facts *f, char *out)
{
	const char *what = "nothing: all of it is here, and nobody else lacks any";

	if (f->lacking > 0 && is_at(f->rate_out, f->up_limit))
		what = "this machine's limit for sending (up-limit)";
	else if (f->lacking > 0 && f->out > 0 && f->out >= f->slots)
		what = "this machine's uplink";
	else if (f->lacking > 0)
		what = "the receivers: all of it is here, and they take it as they can";
	snprintf(out, BOTTLENECK_TEXT, "%s", what);
}

static void
say_nowhere(const struct bottleneck_facts *f, char *out)
{
	snprintf(out, BOTTLENECK_TEXT, "no one here has %u of its units", f->nowhere);
}

const char *
bottleneck_say(const struct bottleneck_facts *f, char out[static BOTTLENECK_TEXT])
{
	const char *what = "the sources' uplinks";

	if (f->waits) {
		snprintf(out, BOTTLENECK_TEXT, "%s", f->waiting);
		return out;
	}
	if (f->missing == 0 || !f->takes) {
		say_giving(f, out);
		return out;
	}
	if (f->is_behind)
		what = "the disk";
	else if (is_at(f->rate_in, f->down_limit))
		what = "this machine's limit for receiving (down-limit)";
	else if (f->peers == 0)
		what = "nobody who has it can be reached";
	else if (f->awaited == 0 && f->nowhere > 0) {
		say_nowhere(f, out);
		return out;
	} else if (f->peers == 1 && f->has_server)
		what = "only the server is left";
	else if (f->starving)
		what = "the sources: they offer nothing to this machine";
	snprintf(out, BOTTLENECK_TEXT, "%s", what);
	return out;
}
