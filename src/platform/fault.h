/*
 * fault: numbered fault points.  Compiled in with -Dfaults=true, else nothing.
 *
 * Every call site that asks the OS, the database or the network for something passes a point.  The
 * environment says what happens there:
 *   WEFT_FAULT_LIST=FILE   append each point's "file:line what" to FILE when it is first passed
 *   WEFT_FAULT=file:line   the first pass of this point fails (":N" appended: the N-th pass)
 *   WEFT_FAULT_KIND=EIO|ENOSPC|short|crash   how (default EIO); crash is _exit(99), like kill -9
 *   WEFT_FAULT_BOARD=FILE  FILE, a struct fault_board, is mapped: whoever writes into it steers
 *                          this process while it runs
 *
 * A point that many pass says little: what matters is who asked.  On a board a *site* is a point
 * together with the calls that led to it, named by a hash over their places in the program.
 *
 * Threads    any.
 */
#pragma once

#include <errno.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum { FAULT_SHORT = -1, FAULT_CRASH = -2, FAULT_SITES = 32 };

/* What a board says.  The file has at least this size; it is read at each point, so a change counts
 * at once. */
struct fault_board {
	uint64_t sites[FAULT_SITES]; /* the first pass of one of them fails; 0: no more */
	int32_t kind;                /* an errno, FAULT_SHORT or FAULT_CRASH */
	uint32_t fired;              /* set to 1 by the process when it has failed */
	/* 0: none.  Else sites are appended to FILE.sites when they are first passed in this
	 * round, as lines "round site file:line calls what": calls are the return addresses,
	 * innermost first, as hexadecimal offsets in the program with commas between. */
	uint32_t round;
};

#ifdef WEFT_FAULTS
/* 0, or the errno the call shall pretend to have met; -1: do half of it ("short"). */
int fault_hit(const char *where, const char *what);
#define fault_point(what) fault_hit(HERE, (what))
#else
#define fault_point(what) 0
#endif

/* CALL, which sets errno and returns -1 when it fails, or the failure that is asked for at this
 * line. */
#define fault_call(what, call)                                                                     \
	__extension__({                                                                            \
		int fault_is = fault_point(what);                                                  \
		fault_is > 0 ? (errno = fault_is, (__typeof__(call))-1) : (call);                  \
	})

/* Of N bytes, how many to ask for at a point that answered POINT. */
static inline size_t
fault_part(int point, size_t n)
{
	return point < 0 ? n - n / 2 : n;
}
