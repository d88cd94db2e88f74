#include "platform/clock.h"

#include <time.h>

static int64_t
read_ns(clockid_t id)
{
	struct timespec t = { 0 };

	(void)clock_gettime(id, &t); /* cannot fail for the clocks we ask */
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

uint64_t
clock_mono_ns(void)
{
	return (uint64_t)read_ns(CLOCK_MONOTONIC);
}

uint64_t
clock_mono_ms(void)
{
	return clock_mono_ns() / 1000000;
}

uint64_t
clock_cpu_ns(void)
{
	return (uint64_t)read_ns(CLOCK_PROCESS_CPUTIME_ID);
}

uint64_t
clock_thread_cpu_ns(void)
{
	return (uint64_t)read_ns(CLOCK_THREAD_CPUTIME_ID);
}

int64_t
clock_wall_ns(void)
{
	return read_ns(CLOCK_REALTIME);
}

int
clock_offset_min(int64_t wall_ns)
{
	time_t t = (time_t)(wall_ns / 1000000000);
	struct tm tm;

	return localtime_r(&t, &tm) != NULL ? (int)(tm.tm_gmtoff / 60) : 0;
}
