#include "platform/heap.h"

#include <malloc.h>

#ifdef __GLIBC__

enum {
	KEPT_MAX = 4 * 1024 * 1024, /* free bytes at the top of the heap */
	LARGE_FROM = 1024 * 1024,   /* allocations that get a mapping of their own */
};

void
heap_keep_for_reuse(void)
{
	(void)mallopt(M_TRIM_THRESHOLD, KEPT_MAX);
	(void)mallopt(M_MMAP_THRESHOLD, LARGE_FROM);
}

#else

/* Others keep what was freed by themselves. */
void
heap_keep_for_reuse(void)
{
}

#endif
