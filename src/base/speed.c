#include "base/speed.h"

enum { SECOND_MS = 1000, FORGET = 40 /* seconds without anything leave nothing of any rate */ };

/* Half of the old rate smooths that of the second which has ended. */
static void
fold(struct speed *s, uint64_t now_ms)
{
	uint64_t seconds = (now_ms - s->from_ms) / SECOND_MS;

	if (s->from_ms == 0 || seconds == 0)
		return;
	s->rate = (s->rate + (s->total - s->from_total)) / 2;
	s->rate = seconds > FORGET ? 0 : s->rate >> (seconds - 1);
	s->from_ms += seconds * SECOND_MS;
	s->from_total = s->total;
}

void
speed_add(struct speed *s, uint64_t n, uint64_t now_ms)
{
	fold(s, now_ms);
	if (s->from_ms == 0)
		s->from_ms = now_ms > 0 ? now_ms : 1;
	s->total += n;
}

uint64_t
speed_now(const struct speed *s, uint64_t now_ms)
{
	struct speed folded = *s;

	fold(&folded, now_ms);
	return folded.rate;
}
