/*
 * version_vector: device -> highest sequence number seen.  Sorted by device id, no zero counts: one
 * encoding (docs/format-commit.md).
 *
 * Pure.  Zero is the empty vector.
 */
#pragma once

#include "base/array.h"
#include "crypto/device_key.h"

enum { VERSION_VECTOR_MAX = 2048 }; /* devices that ever wrote to one share */

struct version_vector {
	ARRAY(struct {
		struct device_id device;
		uint64_t seq;
	})
	v;
};
void version_vector_clear(struct version_vector *vv);
/* 0 if absent */
uint64_t version_vector_get(const struct version_vector *vv, const struct device_id *d);
/* to the larger */
void version_vector_raise(struct version_vector *vv, const struct device_id *d, uint64_t seq);
void version_vector_copy(struct version_vector *to, const struct version_vector *from);
/* To the larger of both; may grow beyond VERSION_VECTOR_MAX, which no commit takes. */
void version_vector_merge(struct version_vector *to, const struct version_vector *from);
/* Has A seen everything that B has? */
bool version_vector_covers(const struct version_vector *a, const struct version_vector *b);
bool version_vector_equal(const struct version_vector *a, const struct version_vector *b);
void version_vector_encode(const struct version_vector *vv, struct buf *out);
/* What is first in R.  *RET: version_vector_clear. */
enum err version_vector_decode(
    struct reader *r, struct version_vector *ret, struct error *e) must_check;
