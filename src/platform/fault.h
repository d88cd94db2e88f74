/*
 * fault: numbered fault points.  Compiled in with -Dfaults=true, else nothing.
 *
 * Every call site that asks the OS, the database or the network for something passes a point.  The
 * environment says what happens there:
 *   WEFT_FAULT_LIST=FILE   append each point's "file:line what" to FILE when it is first passed
 *   WEFT_FAULT=file:line   the first pass of this point fails (":N" appended: the N-th pass)
 *   WEFT_FAULT_KIND=EIO|ENOSPC|short|crash   how (default EIO); crash is _exit(99), as kill -9 would
 */
#pragma once

#include "base/error.h"

#ifdef WEFT_FAULTS
/* 0, or the errno the call shall pretend to have met; -1: do half of it ("short"). */
int fault_hit(const char *where, const char *what);
#define fault_point(what) fault_hit(HERE, (what))
#else
#define fault_point(what) 0
#endif
