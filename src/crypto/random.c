#include "crypto/random.h"

#include <openssl/rand.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"

void
random_fill(void *to, size_t n)
{
	for (uint8_t *at = to; n > 0;) {
		size_t part = min_of(n, (size_t)1 << 20); /* RAND_bytes counts in int */
		if (RAND_bytes(at, (int)part) != 1) {
			log_error("the system has no randomness");
			abort();
		}
		at += part;
		n -= part;
	}
}

uint64_t
random_u64(void)
{
	uint64_t v;

	random_fill(&v, sizeof v);
	return v;
}
