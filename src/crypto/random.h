/*
 * random: secrets.  Aborts when the system has no randomness: there is nothing safe to do without.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

void random_fill(void *to, size_t n);
uint64_t random_u64(void);
