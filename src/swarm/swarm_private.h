/* What the parts of swarm share; not for others. */
#pragma once

#include "base/array.h"
#include "base/bitset.h"
#include "base/rng.h"
#include "swarm/swarm.h"

struct swarm_slot { /* a unit on its way out */
	uint32_t unit;
	bool accepted;
	bool dropped;        /* it has said since that it does not await it: it will cancel */
	bool sent;           /* afar: under way, until its site says that it is there */
	uint64_t since_us;   /* offered, then accepted, then sent */
	uint64_t offered_us; /* first of these */
};
struct swarm_flight { /* a unit on its way in */
	uint32_t unit;
	bool far; /* from afar */
	bool suspect;
	bool slow;         /* let go, since others would be quicker: it is awaited no more */
	bool silent;       /* for long: swarm_silent is to name it */
	bool named;        /* and did */
	uint64_t last_us;  /* a byte of it, or its acceptance */
	uint64_t began_us; /* its acceptance */
	unsigned replaced; /* how often it was taken from somebody silent: patience doubles */
	uint64_t bytes;
};

struct swarm_log { /* units of which something changed */
	ARRAY(uint32_t) units;
	uint64_t base; /* number of its first entry */
};
/* Another site, as its members tell that are connected to this node. */
struct swarm_window {      /* of what is under way to other sites */
	uint64_t bytes;    /* that may be */
	uint64_t queue_us; /* that units wait in queues, smoothed */
};
struct swarm_site {
	uint64_t id;
	ARRAY(struct swarm_peer *) peers; /* the best candidates first */
	uint8_t *claims; /* how many of them say that it holds or awaits each unit */
	uint32_t known;  /* units with a claim */
	bool barren;     /* as of a peer */
	struct swarm_window window;
	uint64_t trip_least_us, trips_since_us;
};
struct swarm_refusal { /* of a unit that is for another gateway, or so it seemed */
	uint32_t unit;
	uint64_t peer; /* that refused; here: not used */
	uint64_t at_us;
};

struct swarm_peer {
	uint64_t id;
	struct swarm_place place;
	bool far;
	struct swarm_site *site; /* of a far one */
	struct bitset have, pend;
	struct bitset skip;     /* no bits until it says that it does not want some */
	uint32_t inbound;       /* as it said, and what we have offered it since */
	uint64_t rate;          /* of its uplink, as it said */
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
	uint64_t told;      /* entries of the log */
	uint64_t told_left; /* ... of left_log */
	uint64_t told_us;
	uint32_t full_at; /* next unit of telling everything; n_units: that is over */
	bool urgent;      /* something besides the log has changed */
	struct swarm_stats stats;
};

struct swarm_ref {
	uint64_t id;
	struct swarm_peer *peer;
};
struct swarm {
	struct swarm_opts o;
	struct rng rng;
	struct bitset have, pend, skip;
	struct bitset lone; /* held here, and by no peer held or awaited */
	uint16_t *copies;   /* near peers that hold or await each unit */
	uint16_t *holders;  /* near peers that hold it */
	ARRAY(struct swarm_peer *) peers;
	ARRAY(struct swarm_ref) index; /* the same by their numbers, ascending */
	uint32_t last_resorts;         /* among them */
	uint32_t flights;              /* of all of them */
	uint64_t timer_us;    /* nothing of a peer waits for a time before this one; 0: look */
	uint32_t inbound;     /* flights from near peers that are not suspect */
	uint32_t inbound_far; /* ... from far ones */
	uint64_t down_bytes, down_since_us, down_rate; /* bytes a second that came at best */
	bool paused;
	bool resumed; /* after a pause; swarm_tick has not noted the time yet */
	/* the uplink */
	uint32_t depth;   /* slots */
	uint32_t allowed; /* of them, as other swarms want some, too */
	bool wants;
	uint64_t last_sent_us;
	uint64_t busy_us, busy_bytes; /* since the last sample */
	uint64_t rate;
	uint64_t rtt_us; /* smoothed over all peers */
	/* the origin, once each unit has been sent */
	bool passed;
	uint64_t lean_us; /* until when it leaves to others what several of them have */
	/* sites */
	struct swarm_place self;
	bool gateway;             /* this node is one of its site's */
	ARRAY(uint64_t) gateways; /* of this site: their node numbers, this one's included */
	ARRAY(struct swarm_peer *) fellows; /* the others of them */
	ARRAY(struct swarm_site *) sites;
	struct swarm_peer *resort; /* the last resort, when it is near */
	/* What is NULL or empty is so until there is another site. */
	uint16_t *abroad;     /* other sites known to hold or await each unit */
	struct bitset left;   /* on its way to a first other site, as a gateway of this one said */
	struct bitset inside; /* in this site, known of at no other and not left for one */
	uint64_t inside_us;   /* when this node last had one of them to give */
	bool is_home;         /* there was one */
	uint64_t passed_us;   /* when there was none any more; 0: there is, or never was */
	uint8_t *site_state;  /* enum swarm_state of each unit in this site, as was logged */
	bool export_idle;     /* nothing was under way to other sites */
	uint64_t
	    export_retry_us; /* when a site may take what it could not have until now; 0: none */
	ARRAY(struct swarm_refusal) refused;   /* by us */
	ARRAY(struct swarm_refusal) elsewhere; /* by others */
	struct swarm_window export_window;
	/* news */
	struct swarm_log near_log, far_log;
	struct swarm_log left_log;    /* units that left this site from here first */
	ARRAY(struct swarm_run) runs; /* of what swarm_tell has told last */
	uint64_t fed_us;              /* the last offer or bytes of a peer that is no last resort */
	bool starving;
};

struct swarm_peer *swarm_peer_find(const struct swarm *s, uint64_t peer);
/* It holds or awaits UNIT from now on, or neither. */
void swarm_peer_mark(struct swarm *s, struct swarm_peer *p, uint32_t unit, bool have, bool pend);
/* Something of a peer waits for AT_US. */
static inline void
swarm_timer(struct swarm *s, uint64_t at_us)
{
	s->timer_us = min_of(s->timer_us, at_us);
}
void swarm_retry(struct swarm *s);               /* those drawn in vain may be drawn again */
void swarm_note(struct swarm *s, uint32_t unit); /* something of UNIT changed here: to be told */
void swarm_log_add(struct swarm *s, struct swarm_log *log, bool far, uint32_t unit);
/* Does P hear of our site?  The last resort keeps count of nodes, wherever it is. */
static inline bool
swarm_peer_hears_site(const struct swarm_peer *p)
{
	return p->far && !p->last_resort;
}
static inline struct swarm_log *
swarm_log_for(struct swarm *s, const struct swarm_peer *p)
{
	return swarm_peer_hears_site(p) ? &s->far_log : &s->near_log;
}
static inline uint64_t
swarm_log_end(const struct swarm_log *log)
{
	return log->base + log->units.len;
}
struct swarm_slot *swarm_slot_find(struct swarm_peer *p, uint32_t unit);
void swarm_slot_open(struct swarm *s, struct swarm_peer *p, uint32_t unit, uint64_t now_us);
void swarm_slot_end(struct swarm_peer *p, struct swarm_slot *slot);

/* -- swarm_site.c -- */

enum swarm_state { SWARM_STATE_DROP, SWARM_STATE_SKIP, SWARM_STATE_AWAIT, SWARM_STATE_HAVE };
enum swarm_state swarm_site_state(const struct swarm *s, uint32_t unit);
/* UNIT has been let out of this site. */
void swarm_site_let_out(struct swarm *s, uint32_t unit);
/* Something of UNIT changed at this node or a near peer. */
void swarm_site_note(struct swarm *s, uint32_t unit);
void swarm_site_join(struct swarm *s, struct swarm_peer *p); /* a far peer has come */
void swarm_site_part(struct swarm *s, struct swarm_peer *p);
void swarm_site_claim(struct swarm *s, struct swarm_peer *p, uint32_t unit);
void swarm_site_unclaim(struct swarm *s, struct swarm_peer *p, uint32_t unit);
void swarm_site_elect(struct swarm *s); /* a near candidate has come, gone or changed */
bool swarm_site_is_mine(const struct swarm *s, uint32_t unit); /* to take from afar */
void swarm_site_free(struct swarm_site *site);
bool swarm_site_is_gateway(const struct swarm_peer *p); /* P, far, of its site */
/* Is it for this node to export UNIT to SITE, of those gateways here that hold it? */
bool swarm_site_is_exporter(const struct swarm *s, const struct swarm_site *site, uint32_t unit);
/* The gateway of SITE that takes UNIT; NULL: none is there. */
struct swarm_peer *swarm_site_responsible(const struct swarm_site *site, uint32_t unit);

/* -- swarm_export.c -- */

/* Is the origin to feed its site rather than others? */
bool swarm_export_is_lean(const struct swarm *s);
bool swarm_export(struct swarm *s, uint64_t now_us, struct swarm_offer *ret);
/* SLOT's unit is at P's site. */
void swarm_export_arrived(
    struct swarm *s, struct swarm_peer *p, struct swarm_slot *slot, uint64_t now_us);
void swarm_export_tick(struct swarm *s, uint64_t now_us);
uint64_t swarm_export_wakes(const struct swarm *s);
void swarm_export_elsewhere(struct swarm *s, struct swarm_peer *p, uint32_t unit, uint64_t now_us);
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
