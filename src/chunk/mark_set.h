/*
 * mark_set: the ids that a garbage collection keeps.  Eight bytes of each, in a file, so memory
 * stays small.
 *
 * Two ids that agree in eight bytes count as one: garbage may stay, nothing to be kept is lost.
 *
 * Threads    one at a time.
 * Blocking   it is mapped from a file.
 */
#pragma once

#include "crypto/hash.h"
#include "platform/big_array.h"

struct mark_set {
	struct big_array marks;
	uint64_t at; /* of the walk */
};

/* A nameless file in DIR. */
enum err mark_set_init(struct mark_set *m, int dir, struct error *e) must_check;
void mark_set_clear(struct mark_set *m); /* a zero struct is fine */
enum err mark_set_add(struct mark_set *m, const struct hash_id *id, struct error *e) must_check;
/* After this nothing may be added, and mark_set_has asked in the ascending order of ids. */
void mark_set_sort(struct mark_set *m);
bool mark_set_has(struct mark_set *m, const struct hash_id *id);
