#include "session/block.h"

#include "base/mem.h"

_Static_assert(offsetof(struct block, bytes) == offsetof(struct block, header) + LIMIT_FRAME_HEADER,
    "header and payload are one piece");

struct block *
block_new(uint32_t room)
{
	struct block *b = mem_alloc(sizeof *b + room);

	b->len = 0;
	b->room = room;
	return b;
}

void
block_free(struct block *b)
{
	free(b);
}
