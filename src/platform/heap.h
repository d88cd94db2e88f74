/*
 * heap: how the C library's allocator deals with memory that is free.
 */
#pragma once

/*
 * Buffers of up to some 100 KiB come and go with every batch of data that a process moves.  Given
 * back to the system each time, as glibc's defaults would have it, their pages are cleared and
 * mapped again and again: half of the CPU time of sending.  After this call a few MiB stay for
 * reuse.  Call it once, early.
 */
void heap_keep_for_reuse(void);
