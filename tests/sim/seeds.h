/* seeds: which worlds a simulation runs through. */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

struct seeds {
	uint64_t first, count;
};

/* NULL: OTHERWISE. */
static inline uint64_t
seeds_number(const char *text, uint64_t otherwise)
{
	uint64_t n = otherwise;

	if (text != NULL && !text_parse_u64(text, UINT64_MAX, &n)) {
		fprintf(stderr, "%s is no number\n", text);
		exit(2);
	}
	return n;
}

/* As the command line says (FIRST COUNT); the one of WEFT_SIM_SEED; else FEW, or, with WEFT_LONG=1,
 * MANY. */
static inline struct seeds
seeds_wanted(int argc, char **argv, uint64_t few, uint64_t many)
{
	const char *one = getenv("WEFT_SIM_SEED"), *is_long = getenv("WEFT_LONG");
	uint64_t count = is_long != NULL && strcmp(is_long, "1") == 0 ? many : few;

	return (struct seeds){
		.first = seeds_number(one, seeds_number(argc > 1 ? argv[1] : NULL, 1)),
		.count = one != NULL ? 1 : seeds_number(argc > 2 ? argv[2] : NULL, count),
	};
}
