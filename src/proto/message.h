/*
 * message: the second and third gate: payloads of TLV frames to plain structs (decode), and their
 * rules (check).
 *
 * A field is tag u16 | length u32 | bytes.  Tags ascend strictly.  An unknown tag is skipped unless
 * its must-understand bit (0x8000) is set.  One table per message (message_fields) lists its
 * fields; decoder, printer, fuzz dictionary and docs/protocol.md follow it.  Lists of one kind are
 * one field with a fixed stride, or length-prefixed items.
 *
 * Decoded structs borrow the payload.  message_decode also checks: counts, ranges, names, texts
 * (UTF-8 without control characters), so what it gives may be used.
 *
 * Pure.  Errors  ERR_PROTO, ERR_LIMIT.
 */
#pragma once

#include "base/buf.h"
#include "crypto/device_key.h"
#include "crypto/hash.h"
#include "manifest/unit_map.h"
#include "proto/fields.h"
#include "proto/frame.h"

/* Error codes on the wire: for ever, whatever becomes of enum err.  One that we do not know is read
 * as ERR_BUG: give up on this one thing. */
#define MESSAGE_ERRORS(X)                                                                          \
	X(AGAIN, 1)                                                                                \
	X(NOTFOUND, 2)                                                                             \
	X(EXISTS, 3)                                                                               \
	X(DENIED, 4)                                                                               \
	X(CONFLICT, 5)                                                                             \
	X(CORRUPT, 6)                                                                              \
	X(PROTO, 7)                                                                                \
	X(LIMIT, 8)                                                                                \
	X(USAGE, 9)                                                                                \
	X(OFFLINE, 10)                                                                             \
	X(NOSPACE, 11)                                                                             \
	X(IO, 12)                                                                                  \
	X(CANCELED, 13)                                                                            \
	X(BUG, 14)

struct message_list { /* borrowed, length-prefixed (u32) items; message_list_next walks */
	struct bytes raw;
	uint32_t n; /* how many there are */
};
bool message_list_next(struct message_list *l, struct bytes *ret); /* consumes the front */

/* First on every connection, from both sides. */
struct msg_hello {
	uint16_t version_min, version_max;
	struct bytes software; /* "weft 0.1.0" */
	uint64_t wall_ms;      /* sender's clock */
	uint64_t epoch;        /* highest the sender has seen of its authority */
	/* AUTHORITY statement of the authority it belongs to; empty before joining */
	struct bytes authority;
	/* its MEMBER statement; empty before joining, and from the authority itself */
	struct bytes member;
	struct message_list addresses;  /* where it listens */
	struct bytes observed;          /* "the address I see you at" */
	uint64_t features;              /* enum hello_feature */
	struct message_list successors; /* SUCCESSOR statements after AUTHORITY, in order */
	uint8_t lane;                   /* not 0: a further connection, for units alone */
};
enum hello_feature { HELLO_LANES = 1 /* knows what a lane is */ };
/* Guest to server.  PROOF = HMAC-SHA-256(invite secret, exporter | invite id | device id). */
struct msg_join {
	uint8_t invite[8];
	uint8_t proof[32];
	struct bytes name, site;
};
/* Answer: everything the new member holds from now on. */
struct msg_joined {
	struct bytes server_name;
	struct message_list statements; /* AUTHORITY, MEMBER, then SHARE and GRANT as they come */
};
/* Answer "no", on the request's stream; on stream 0 the connection ends. */
struct msg_error {
	uint16_t code;     /* enum err */
	struct bytes text; /* for a human: what and what to do */
	uint32_t retry_ms; /* 0: do not */
	uint32_t unit;     /* GET_UNITS: which unit (else 0) */
};
struct msg_ping {
	uint64_t token;
}; /* PONG carries it back */
struct msg_bye {
	struct bytes text;
};
struct msg_statements {
	struct message_list statements;
};
struct msg_create_share {
	struct bytes name;
	uint8_t policy; /* enum share_policy; 0: as the server likes */
};                      /* answer: SNAPSHOT without a commit, or ERROR */
/* Which snapshot?  By share name, and number ("3"), id or its prefix, label, or "" for the head. */
struct msg_resolve {
	struct bytes share;
	struct bytes selector;
	uint8_t for_write; /* the caller wants to publish: the head to build upon */
};
enum snapshot_state {
	SNAPSHOT_NONE = 0,
	SNAPSHOT_ANNOUNCED = 1,
	SNAPSHOT_HEAD = 2 /* was or is the head: kept */,
	SNAPSHOT_WITHDRAWN = 3
};
struct msg_snapshot {
	struct bytes share_statement, grant; /* the caller's grant */
	/* HEAD statement of the snapshot; empty while announced, and maybe when it was the head
	 * long ago */
	struct bytes head;
	struct bytes commit; /* commit bytes; empty when the share has no snapshot yet */
	uint8_t state;       /* enum snapshot_state */
	uint64_t number;     /* n of the HEAD statement, 0 while announced */
	uint32_t unit_size;
};
struct msg_announce {
	struct hash_id share;
	struct bytes commit;
}; /* answer: OK, or ERROR (ERR_CONFLICT: no descendant of the head) */
/* Server to whoever announced or follows: how far its own copy is, and when it became the head. */
struct msg_progress {
	struct hash_id share, snapshot;
	uint8_t state;
	uint64_t number;
	uint64_t held_bytes, total_bytes;
	struct bytes head; /* HEAD statement once it is */
	struct bytes text; /* withdrawn: why */
};
enum query_kind { QUERY_SHARES = 1, QUERY_SNAPSHOTS = 2, QUERY_DEVICES = 3 };
struct msg_query {
	uint8_t kind;
	struct bytes share; /* SNAPSHOTS: name */
	struct bytes after; /* cursor of the last ROWS, empty at first */
};
struct msg_rows {
	uint8_t kind;
	struct message_list rows; /* each a row message below */
	struct bytes next;        /* cursor; empty: that was all */
};
struct row_share {
	struct hash_id share;
	struct bytes name;
	uint32_t rights; /* the caller's */
	uint8_t policy;
	uint64_t number, entries, bytes; /* of the head; 0 when none */
	uint64_t time_ms;                /* when it became the head */
};
struct row_snapshot {
	struct hash_id id;
	uint64_t number;
	uint8_t state;
	uint64_t entries, bytes, time_ms;
	struct bytes label, author_name;
	struct device_id author;
};
enum site_from { SITE_NONE = 0, SITE_SAID = 1, SITE_SUBNET = 2, SITE_ADMIN = 3 };
struct row_device {
	struct device_id id;
	struct bytes name, site;
	uint8_t online, is_server;
	uint64_t seen_ms, joined_ms;
	struct bytes address, software;
	uint32_t reported; /* how often its bytes were wrong, as REPORT says */
	uint8_t site_from; /* enum site_from: who said where it is; 0 nobody */
	uint8_t alone;     /* it does not believe that it is there */
};
struct msg_get_nodes {
	struct hash_id share, snapshot;
	struct bytes ids; /* LIMIT_NODE_IDS ids of HASH_ID_BYTES each; message_node_id */
	uint8_t kind;     /* enum hash_kind: TREE, FILE, CAUSAL or COMMIT (its parents) */
};                        /* answer: a NODE frame for each, in order; END on the last */
struct leaf_run {
	uint16_t first, n;
};
enum { GET_UNITS_ZSTD = 1 };
struct msg_get_units { /* one unit a stream */
	struct hash_id share, snapshot;
	uint32_t unit_size, unit;
	uint8_t codecs;  /* GET_UNITS_ZSTD: DATA_ZSTD is understood; other bits mean nothing yet */
	uint32_t n_runs; /* 0: all of it */
	/* ascending, disjoint; leaves counted within the unit */
	struct leaf_run runs[LIMIT_UNIT_RUNS];
}; /* answer: DATA frames in leaf order, END on the last; or ERROR */
/* The sender takes part in the swarm of a snapshot; from now on JOB, a number of its own choice,
 * stands for it in what it sends. */
struct msg_enter {
	uint32_t job;
	struct hash_id share, snapshot;
	uint32_t unit_size, units;
	uint8_t last_resort; /* it offers only what nobody else does */
	struct bytes grant;  /* the sender's, for the share; empty from the authority itself */
};
/* What has changed at the sender since its last NEWS of JOB; the first ones tell all.  Lists of
 * units: message_units_next. */
struct msg_news {
	uint32_t job;
	uint32_t inbound; /* units that it awaits now */
	uint8_t starving;
	uint64_t rate; /* of its uplink, bytes/s, as it saw it; 0 unknown */
	struct bytes have, await, drop, skip;
	struct bytes left;  /* let out of the site just now: between its gateways */
	uint64_t from_afar; /* bytes of content that it took over far connections */
};
struct msg_exit {
	uint32_t job;
};
/* Server to who takes part: the others.  Each row a row_member. */
struct msg_members {
	struct hash_id share, snapshot;
	uint8_t whole; /* all there are: forget others */
	struct message_list rows;
	struct bytes left; /* device ids, side by side */
};
struct row_member {
	struct device_id id;
	struct bytes name, site;
	struct message_list addresses;
	uint8_t rank;     /* candidate for gateway of its site, the best is 1; 0: none */
	uint8_t gateways; /* of its site: the first so many candidates that live */
	uint8_t alone;    /* its label is not believed: it is a site of its own */
};
struct msg_offer {
	uint32_t job, unit;
}; /* taken: GET_UNITS of this unit.  Else DECLINE */
enum decline_reason {
	DECLINE_HELD = 1,
	DECLINE_BUSY = 2,
	DECLINE_DISTRUST = 3,
	DECLINE_ELSEWHERE = 4,
};
struct msg_decline {
	uint32_t job, unit; /* the job of who declines */
	uint8_t reason;     /* unknown ones are taken for BUSY */
	uint32_t retry_ms;
};
struct msg_dial {
	struct device_id device;
}; /* to the server: it cannot be reached from here; ask it to dial me */
struct msg_call {
	struct device_id device;
	struct message_list addresses;
}; /* from the server: dial this one */
/* Does the sender hold the receiver to be in its own site?  Near are two who both say so. */
struct msg_near {
	uint8_t near;
};
/* To the server, when that changes: is the sender where its label says? */
struct msg_placed {
	struct bytes site; /* the label that was judged */
	uint8_t believed;
	uint32_t rtt_us;     /* within which half of the mates asked are */
	uint8_t mates, near; /* how many were asked, how many of them are near */
};
/* To the server: what the sender could move over its site's line, in bytes a second (net/lease). */
struct msg_demand {
	uint32_t number, acked;
	uint64_t want_up, want_down, floor_up, floor_down;
	uint16_t zone; /* its local time, in minutes ahead of UTC-24h; 0: not said */
};
/* From the server: what it may move. */
struct msg_lease {
	uint32_t number;
	uint64_t rate_up, rate_down, floor_up, floor_down;
};
struct msg_cancel {
	uint8_t unused;
};                  /* on the stream of the request that is no longer wanted; no answer */
struct msg_report { /* bytes from WHO did not match: the server checks its copy or counts it */
	struct hash_id share, snapshot;
	uint32_t unit;
	struct device_id who;
};
struct msg_join_leave {
	uint8_t unused;
}; /* LEAVE, OK */

struct message { /* any TLV frame, decoded */
	uint16_t type;
	uint16_t flags;
	uint32_t stream;
	union {
		struct msg_hello hello;
		struct msg_join join;
		struct msg_joined joined;
		struct msg_error error;
		struct msg_ping ping; /* PING, PONG */
		struct msg_bye bye;
		struct msg_statements statements;
		struct msg_create_share create_share;
		struct msg_resolve resolve;
		struct msg_snapshot snapshot;
		struct msg_announce announce;
		struct msg_progress progress;
		struct msg_query query;
		struct msg_rows rows;
		struct msg_get_nodes get_nodes;
		struct msg_get_units get_units;
		struct msg_report report;
		struct msg_enter enter;
		struct msg_news news;
		struct msg_exit exit;
		struct msg_members members;
		struct msg_offer offer;
		struct msg_decline decline;
		struct msg_dial dial;
		struct msg_call call;
		struct msg_near near;
		struct msg_placed placed;
		struct msg_demand demand;
		struct msg_lease lease;
	};
};

/* TYPE, FLAGS, STREAM from the header; PAYLOAD borrowed by *RET.  An unknown type is ERR_NOTFOUND:
 * skip it.  Both gates: what it gives may be used. */
enum err message_decode(const struct frame_header *h, struct bytes payload, struct message *ret,
    struct error *e) must_check;
/* Appends header and payload to OUT; FRAME_END is set where the type is a whole answer.  ERR_BUG
 * when M breaks a rule of its own table, ERR_LIMIT when it or OUT would be too large: OUT is then
 * as it was. */
enum err message_encode(const struct message *m, struct buf *out, struct error *e) must_check;
/* The table of a TLV frame; NULL for raw and unknown ones. */
const struct fields *message_fields(uint16_t type);

/* Walks a list of units of NEWS, as runs: consumes the front of B.  *FIRST and *N are the run
 * before, 0 and 0 at the beginning, and the next.  False: the end, or (B is not empty) no list. */
bool message_units_next(struct bytes *b, uint32_t *first, uint32_t *n);
/* Appends a run; they must be added in ascending order, and *NEXT be 0 before the first. */
void message_units_add(struct buf *b, uint32_t *next, uint32_t first, uint32_t n);

/* builds message_list.raw; a full RAW shows in its `full` */
void message_list_add(struct buf *raw, struct bytes item);
/* A row that breaks its table's rules is encoded all the same, and refused by whoever decodes it.
 */
const struct fields *row_fields(enum query_kind kind); /* NULL for an unknown one */
const struct fields *row_member_fields(void);
void row_share_encode(const struct row_share *r, struct buf *out);
void row_snapshot_encode(const struct row_snapshot *r, struct buf *out);
void row_device_encode(const struct row_device *r, struct buf *out);
void row_member_encode(const struct row_member *r, struct buf *out);
enum err row_share_decode(struct bytes b, struct row_share *ret, struct error *e) must_check;
enum err row_snapshot_decode(struct bytes b, struct row_snapshot *ret, struct error *e) must_check;
enum err row_device_decode(struct bytes b, struct row_device *ret, struct error *e) must_check;
enum err row_member_decode(struct bytes b, struct row_member *ret, struct error *e) must_check;
/* Id I of the request; *RET_OK is false beyond the last. */
struct hash_id message_node_id(const struct msg_get_nodes *m, uint32_t i, bool *ret_ok);
