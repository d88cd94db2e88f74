/*
 * clock: the only clocks.  Pure code is told the time.
 */
#pragma once

#include <stdint.h>

uint64_t clock_mono_ns(void); /* CLOCK_MONOTONIC */
uint64_t clock_mono_ms(void);
uint64_t clock_cpu_ns(void);           /* that this process has had */
uint64_t clock_thread_cpu_ns(void);    /* ... and the calling thread */
int64_t clock_wall_ns(void);           /* CLOCK_REALTIME since 1970, UTC */
int clock_offset_min(int64_t wall_ns); /* minutes that local time is ahead of UTC then */
