/* must: what a benchmark does about an error: it says so and ends. */
#pragma once

#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"

static inline void
must(enum err r, const struct error *e)
{
	if (r == OK)
		return;
	fprintf(stderr, "%s (%s)\n", e->text, e->where);
	exit(1);
}
