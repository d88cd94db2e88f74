/*
 * block: raw bytes on their way in or out: the payload of a DATA or NODE frame.  One owner at a
 * time.
 *
 * The header of the frame lies before the payload, so both go out as one piece without being
 * copied.
 */
#pragma once

#include "base/cleanup.h"
#include "proto/frame.h"

struct block {
	uint32_t len, room;
	uint8_t header[LIMIT_FRAME_HEADER]; /* the session's */
	uint8_t bytes[];
};
enum {
	BLOCK_ROOM = LIMIT_DATA_PREFIX + LIMIT_DATA_LISTS + LIMIT_DATA_RAW,
	BLOCK_NODE_ROOM = FRAME_NODE_PREFIX + LIMIT_NODE_RAW,
};

struct block *block_new(uint32_t room); /* len 0, bytes not zeroed */
void block_free(struct block *b);
DEFINE_FREE_P(block)
