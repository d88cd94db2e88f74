/* What the parts of swarm share; not for others. */
#pragma once

#include "base/array.h"
#include "base/bitset.h"
#include "base/rng.h"
#include "swarm/swarm.h"

struct swarm_slot { /* a unit on its way out */
	uint32_t unit;
	bool accepted;
	bool dropped;      /* it has said since that it does not await it: it will cancel */
	uint64_t since_us; /* offered, then accepted */
};
struct swarm_flight { /* a unit on its way in */
	uint32_t unit;
	bool suspect;
	bool silent;       /* for long: swarm_silent is to name it */
	bool named;        /* and did */
	uint64_t last_us;  /* a byte of it, or its acceptance */
	unsigned replaced; /* how often it was taken from somebody silent: patience doubles */
	uint64_t bytes;
};

struct swarm_peer {
	uint64_t id;
	struct bitset have, pend;
	struct bitset skip;     /* no bits until it says that it does not want some */
	uint32_t inbound;       /* as it said, and what we have offered it since */
	uint64_t not_before_us; /* it has no room */
	uint64_t blocked_us;    /* since when its connection takes nothing; 0: it does */
	bool heard;             /* it has told something of itself */
	bool barren;            /* drawn in vain: nothing for it until something changes */
	bool last_resort, starving;
	ARRAY(struct swarm_slot) slots;
	ARRAY(struct swarm_flight) flights;
	uint64_t last_in_us; /* a byte of any unit */
	uint64_t gap_us;     /* between the bytes that it brings, smoothed */
	/* trust */
	uint32_t broken;     /* in a row */
	uint64_t blamed_us;  /* when silence last counted as a broken promise; 0: never */
	uint64_t penance_us; /* until when its offers are declined */
	bool banned;
	/* what it was told */
	uint64_t told; /* entries of the log */
	uint64_t told_us;
	uint32_t full_at; /* next unit of telling everything; n_units: that is over */
	bool urgent;      /* something besides the log has changed */
	struct swarm_stats stats;
};

struct swarm {
	struct swarm_opts o;
	struct rng rng;
	struct bitset have, pend, skip;
	struct bitset lone; /* held here, and by no peer held or awaited */
	uint16_t *copies;   /* peers that hold or await each unit */
	ARRAY(struct swarm_peer *) peers;
	uint32_t inbound; /* flights that are not suspect */
	bool paused;
	bool resumed; /* after a pause; swarm_tick has not noted the time yet */
	/* the uplink */
	uint32_t depth; /* slots */
	uint64_t last_sent_us;
	uint64_t busy_us, busy_bytes; /* since the last sample */
	uint64_t rate;
	uint64_t rtt_us; /* smoothed over all peers */
	/* the origin, once each unit has been sent */
	bool passed;
	uint64_t lean_us; /* until when it leaves to others what several of them have */
	/* news */
	ARRAY(uint32_t) log;    /* units of which something changed */
	uint64_t log_base;      /* number of its first entry */
	struct swarm_run *runs; /* SWARM_RUNS_MAX, for swarm_tell */
	uint64_t fed_us;        /* the last offer or bytes of a peer that is no last resort */
	bool starving;
};

struct swarm_peer *swarm_peer_find(const struct swarm *s, uint64_t peer);
/* It holds or awaits UNIT from now on, or neither. */
void swarm_peer_mark(struct swarm *s, struct swarm_peer *p, uint32_t unit, bool have, bool pend);
void swarm_retry(struct swarm *s);               /* those drawn in vain may be drawn again */
void swarm_note(struct swarm *s, uint32_t unit); /* something of UNIT changed here: to be told */
void swarm_forget_slots(struct swarm *s, struct swarm_peer *p);
void swarm_forget_flights(struct swarm *s, struct swarm_peer *p);
void swarm_measure_depth(struct swarm *s);
uint64_t swarm_batch_us(const struct swarm *s);

static inline bool
swarm_peer_closed(const struct swarm_peer *p, uint32_t unit)
{
	return bitset_has(&p->have, unit) || bitset_has(&p->pend, unit) ||
	       bitset_has(&p->skip, unit);
}
/* Bits of word W that P lacks and wants. */
static inline uint64_t
swarm_peer_lacks(const struct swarm_peer *p, size_t w)
{
	uint64_t closed = p->have.words[w] | p->pend.words[w];

	return ~(p->skip.n > 0 ? closed | p->skip.words[w] : closed);
}
static inline uint32_t
swarm_peer_missing(const struct swarm_peer *p)
{
	return (uint32_t)(p->have.n - p->have.count - p->pend.count - p->skip.count);
}
