/*
 * chunker: content-defined cutting of a byte stream: FastCDC (Xia et al. 2016 and 2020) with a
 * 64-bit gear hash, minimum 64 KiB, average 256 KiB, maximum 1 MiB, normalisation level 2.  Table,
 * masks and test vectors are fixed in docs/format-chunk.md: the same bytes give the same chunks on
 * every machine, for ever.
 *
 * Pure; the result does not depend on how the stream is split into calls.
 */
#pragma once

#include <stdbool.h>

#include "base/bytes.h"

/*
 * How far to cut: the length of the first chunk of B, which starts at a chunk boundary.  AT_END
 * says that no byte follows B.  0 when B is too short to decide (only possible when
 * B.len < CHUNK_MAX and not AT_END, or when there is nothing).
 */
size_t chunker_cut(struct bytes b, bool at_end);
/* The gear table, 256 words, for docs and tests. */
const uint64_t *chunker_gear(void);
