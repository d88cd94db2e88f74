#include "engine/bottleneck.h"

#include <stdio.h>

enum cause {
	NOTHING,
	PAUSED,
	WAITS,
	DISK,
	CPU,
	LIMIT_IN,
	LIMIT_OUT,
	UNREACHABLE,
	NOWHERE,
	SERVER_ALONE,
	CENTRAL,
	STARVING,
	LINE,
	ORIGIN,
	SOURCES,
	UPLINK,
	RECEIVERS,
};

static const struct {
	const char *cause, *text, *advice;
} says[] = {
	[NOTHING] = { "nothing", "nothing: all of it is here, and nobody else lacks any", "" },
	[PAUSED] = { "paused", "it is paused", "let it go on: weft resume JOB" },
	[WAITS] = { "waits", NULL, "" },
	[DISK] = { "disk", "the disk",
	    "a faster disk, or fewer transfers onto it at the same time" },
	[CPU] = { "cpu", "the processor of this machine",
	    "fewer transfers at the same time, or a faster machine" },
	[UNREACHABLE] = { "unreachable", "nobody who has it can be reached",
	    "see who should be there and why not: weft peers" },
	[NOWHERE] = { "nowhere", NULL,
	    "start a machine that has them: the publisher, or the server" },
	[SERVER_ALONE] = { "server", "only the server is left",
	    "more machines that have it, within reach of this one (weft peers)" },
	[CENTRAL] = { "central",
	    "the line between this machine and the server: the share is central",
	    "let the others give it, too: weft policy SHARE hybrid, on the server" },
	[STARVING] = { "starving", "the sources: they offer nothing to this machine",
	    "see what they are busy with: weft why SHARE, there" },
	[LINE] = { "line", "the line into this site: nobody in it has more than this machine",
	    "a faster line, or a higher limit of it: weft limit --site SITE, on the server" },
	[ORIGIN] = { "origin", "the uplink of the only machine that has more of it",
	    "a faster uplink there, or a higher limit: weft limit, there" },
	[SOURCES] = { "sources", "the sources' uplinks",
	    "more machines that have it, or higher limits on them: weft limit, there" },
	[UPLINK] = { "uplink", "this machine's uplink",
	    "a faster line here; meanwhile the receivers help each other" },
	[RECEIVERS] = { "receivers",
	    "the receivers: all of it is here, and they take it as they can", "" },
};

static const struct {
	const char *what, *advice;
} limits[2][4] = {
	{
	    [BOTTLENECK_BY_START] = { "this machine's limit for receiving (down-limit)",
		"start it with a higher down-limit (weft.conf)" },
	    [BOTTLENECK_BY_SETTING] = { "this machine's limit for receiving (weft limit)",
		"raise it: weft limit --down RATE" },
	    [BOTTLENECK_BY_SCHEDULE] = { "this machine's schedule for receiving at this hour",
		"change it: weft limit --schedule, or --off" },
	    [BOTTLENECK_BY_LINE] = { "this machine's share of its site's line, receiving",
		"raise the line's limit: weft limit --site SITE --down RATE, on the server" },
	},
	{
	    [BOTTLENECK_BY_START] = { "this machine's limit for sending (up-limit)",
		"start it with a higher up-limit (weft.conf)" },
	    [BOTTLENECK_BY_SETTING] = { "this machine's limit for sending (weft limit)",
		"raise it: weft limit --up RATE" },
	    [BOTTLENECK_BY_SCHEDULE] = { "this machine's schedule for sending at this hour",
		"change it: weft limit --schedule, or --off" },
	    [BOTTLENECK_BY_LINE] = { "this machine's share of its site's line, sending",
		"raise the line's limit: weft limit --site SITE --up RATE, on the server" },
	},
};

/* So near to a limit that the limit it is. */
static bool
is_at(uint64_t rate, const struct bottleneck_limit *l)
{
	return l->rate > 0 && rate >= l->rate - l->rate / 8;
}

static enum cause
giving(const struct bottleneck_facts *f)
{
	if (f->lacking == 0)
		return NOTHING;
	if (is_at(f->rate_out, &f->up))
		return LIMIT_OUT;
	if (f->is_busy)
		return CPU;
	if (f->central)
		return CENTRAL;
	return f->out > 0 && f->out >= f->slots ? UPLINK : RECEIVERS;
}

/* Of those who have more, who is it that does not keep up? */
static enum cause
of_sources(const struct bottleneck_facts *f)
{
	if (f->peers == 1 && f->has_server)
		return SERVER_ALONE;
	if (f->starving)
		return STARVING;
	if (f->near > 0 && f->near_ahead == 0 && f->ahead > 0)
		return LINE;
	return f->ahead == 1 && f->peers > 1 ? ORIGIN : SOURCES;
}

static enum cause
taking(const struct bottleneck_facts *f)
{
	if (f->is_behind)
		return DISK;
	if (is_at(f->rate_in, &f->down))
		return LIMIT_IN;
	if (f->is_busy)
		return CPU;
	if (f->central)
		return CENTRAL;
	if (f->peers == 0)
		return UNREACHABLE;
	if (f->awaited == 0 && f->nowhere > 0)
		return NOWHERE;
	return of_sources(f);
}

static enum cause
judge(const struct bottleneck_facts *f)
{
	if (f->paused)
		return PAUSED;
	if (f->waits)
		return WAITS;
	return f->takes && f->missing > 0 ? taking(f) : giving(f);
}

static void
say_limit(bool is_out, enum bottleneck_by by, struct bottleneck *ret)
{
	ret->cause = "limit";
	snprintf(ret->text, sizeof ret->text, "%s", limits[is_out][by].what);
	ret->advice = limits[is_out][by].advice;
}

void
bottleneck_judge(const struct bottleneck_facts *f, struct bottleneck *ret)
{
	enum cause c = judge(f);

	if (c == LIMIT_IN || c == LIMIT_OUT) {
		say_limit(c == LIMIT_OUT, c == LIMIT_OUT ? f->up.by : f->down.by, ret);
		return;
	}
	ret->cause = says[c].cause;
	ret->advice = says[c].advice;
	if (c == NOWHERE)
		snprintf(
		    ret->text, sizeof ret->text, "no one here has %u of its units", f->nowhere);
	else
		snprintf(ret->text, sizeof ret->text, "%s", c == WAITS ? f->waiting : says[c].text);
}
