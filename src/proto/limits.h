/*
 * limits: every number of weft/1 that a peer could push against, with its reason.  docs/protocol.md
 * lists them.
 */
#pragma once

#include <stdint.h>

enum {
	LIMIT_VERSION_MIN = 1, /* protocol versions we speak */
	LIMIT_VERSION_MAX = 1,

	/* -- frames -- */
	LIMIT_FRAME_HEADER = 12,
	LIMIT_FRAME_GUEST = 8 * 1024, /* payload before membership: HELLO and JOIN fit in 4 KiB */
	/* a TLV payload: the largest is a commit (96 KiB) with its statements */
	LIMIT_FRAME_MESSAGE = 128 * 1024,
	LIMIT_DATA_RAW = 64 * 1024, /* leaf bytes of one DATA frame: one leaf */
	LIMIT_DATA_PREFIX = 12,
	LIMIT_DATA_LISTS = 1024,    /* leaf lists ahead of them: two chunks begun */
	LIMIT_NODE_RAW = 80 * 1024, /* NODE_MAX */

	/* -- requests open at once, per connection and direction -- */
	LIMIT_STREAMS = 128,      /* open requests; more is a broken peer */
	LIMIT_CALLS_OPEN = 32,    /* of those, requests but GET_NODES and GET_UNITS */
	LIMIT_GUEST_CALLS = 1,    /* JOIN */
	LIMIT_NODE_IDS = 256,     /* node ids of one GET_NODES: 8 KiB */
	LIMIT_NODES_OPEN = 16,    /* GET_NODES streams */
	LIMIT_UNIT_RUNS = 64,     /* runs of leaves of one GET_UNITS */
	LIMIT_UNITS_OPEN = 64,    /* GET_UNITS streams: one unit each */
	LIMIT_STATEMENTS = 64,    /* statements of one STATEMENTS message */
	LIMIT_ROWS = 256,         /* rows of one ROWS message */
	LIMIT_ROW = 1024,         /* bytes of one row */
	LIMIT_CURSOR = 128,       /* where the next ROWS goes on */
	LIMIT_ADDRESSES = 16,     /* addresses a node may advertise */
	LIMIT_ADDRESS_TEXT = 128, /* "host:port" or "[v6]:port" */
	LIMIT_LANES = 7,          /* connections of one pair for units, beside the main one */
	LIMIT_SUCCESSORS = 16,    /* keys of an authority after its first: HELLO tells them */
	LIMIT_TEXT = 512,         /* an error's or reason's text */
	LIMIT_NAME = 64,          /* STATEMENT_NAME_MAX */
	LIMIT_MEMBERS = 64,       /* rows of one MEMBERS */
	LIMIT_MEMBER_ROW = 2560,  /* bytes of one: names and LIMIT_ADDRESSES addresses */
	LIMIT_NEWS_RUNS = 1024,   /* runs of one list of a NEWS */
	LIMIT_SELECTOR = 128,     /* snapshot number, id, prefix of an id, or label */

	/* -- queues and time, per connection -- */
	LIMIT_OUTPUT_QUEUE = 1024 * 1024, /* bytes queued towards a peer before we stop producing */
	/* ... before we give up on it: it asks and does not read; above all that LIMIT_CALLS_OPEN
	 * messages and a full queue can come to */
	LIMIT_OUTPUT_MAX = 8 * 1024 * 1024,
	LIMIT_HANDSHAKE_MS = 10 * 1000, /* TCP accept to HELLO done */
	LIMIT_GUEST_MS = 20 * 1000,     /* HELLO done to joined */
	LIMIT_FRAME_MS = 120 * 1000,    /* first to last byte of a frame: 64 KiB at 5 kbit/s */
	LIMIT_CANCEL_MS = 120 * 1000,   /* CANCEL to the end of its stream */
	/* request to answer; GET_NODES: without a block of any answer; GET_UNITS has
	 * LIMIT_UNIT_STALL_MS */
	LIMIT_ANSWER_MS = 60 * 1000,
	LIMIT_CLOSE_MS = 5 * 1000,    /* for the last words to be sent */
	LIMIT_ZONE = 2 * 24 * 60,     /* of DEMAND: 24 hours ahead of UTC, plus 24 hours */
	LIMIT_RETRY_MS = 3600 * 1000, /* largest "try again in" that is believed */
	LIMIT_PING_MS = 10 * 1000,    /* silence until we ping (1 s while units are awaited) */
	LIMIT_PING_BUSY_MS = 1000,
	LIMIT_DEAD_PINGS = 3, /* unanswered pings until the connection is dead */
	/* no byte of a requested unit: it is asked for again elsewhere */
	LIMIT_UNIT_STALL_MS = 30 * 1000,

	LIMIT_CLOCK_WARN_S = 300, /* difference of clocks that is told to people */
	/* ... at which grants would seem expired or not yet issued */
	LIMIT_CLOCK_REFUSE_S = 12 * 3600,

	/* -- the server -- */
	LIMIT_CONNECTIONS = 20000,
	LIMIT_CONNECTIONS_GUEST = 256,        /* not yet members, all together */
	LIMIT_CONNECTIONS_PER_ADDRESS = 4096, /* an office behind one NAT address */
	LIMIT_CONNECTIONS_PER_DEVICE = 16,    /* one, and some whose death is not noticed yet */
	LIMIT_CONNECTIONS_REFUSED = 64,       /* beyond those: they are told why, and closed */
	LIMIT_GUEST_TRIES = 8,                /* JOINs of one guest: typing errors */
};
#define LIMIT_JOB_BYTES ((uint64_t)1 << 50)
