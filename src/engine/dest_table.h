/*
 * dest_table: the snapshots that are being received here, so that what has come of them is given to
 * others.
 *
 * Threads  add on the loop, get_leaves anywhere, remove anywhere: it waits for those who read.
 */
#pragma once

#include "engine/dest.h"
#include "engine/source.h"

struct dest_table;
struct dest_table *dest_table_new(void);
void dest_table_free(struct dest_table *t); /* empty by then; NULL is fine */
/* Keeps D until dest_table_remove. */
void dest_table_add(struct dest_table *t, const struct hash_id *share,
    const struct hash_id *snapshot, struct dest *d);
/* Before D is closed; when this returns nobody reads from it.  Fine when it is not in. */
void dest_table_remove(struct dest_table *t, const struct dest *d);
/* As source.get_leaves, from whoever receives that snapshot of that share and has these leaves;
 * ERR_NOTFOUND. */
enum err dest_table_get_leaves(struct dest_table *t, const struct source_leaves *which, uint8_t *to,
    uint32_t *ret_len, struct leaf_list *ret_leaves, struct error *e) must_check;
