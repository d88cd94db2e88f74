/*
 * fuzz: what every target shares.
 *
 * A target is one file, fuzz_NAME.c, with one function that takes any bytes, holds nothing
 * afterwards and aborts when a property is broken.  With -Dfuzzers=true (clang) it becomes a
 * libFuzzer program; always, with any compiler, fuzz_NAME_replay runs it over fuzz/corpus/NAME as
 * an ordinary test.  Add a line to meson.build.
 *
 * Inputs that once broke something are kept in the corpus, named after what they broke.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The property that this target is about. */
#define fuzz_require(cond)                                                                         \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			fprintf(stderr, "%s:%d: broken: %s\n", __FILE__, __LINE__, #cond);         \
			abort();                                                                   \
		}                                                                                  \
	} while (0)
