/*
 * causal_pack: the devices of one leaf of a causal tree.  A dot names its device in 32 bytes;
 * within a leaf it is written out where it is first used and is one byte from then on
 * (docs/format-commit.md).
 *
 * So the value of an entry has two forms: plain, as causal_entry_encode writes it, and packed, as
 * it lies in a node.
 *
 * Pure.
 */
#pragma once

#include "manifest/causal.h"

struct causal_pack;

struct causal_pack *causal_pack_new(void);
void causal_pack_free(struct causal_pack *p);
DEFINE_FREE_P(causal_pack)
/* Forgets the devices: a new leaf begins. */
void causal_pack_reset(struct causal_pack *p);
/* The leaf has as many devices as it may begin another entry with: it ends here. */
bool causal_pack_is_full(const struct causal_pack *p);
/* The other form of a value, borrowed until the next call.  A value that is not one marks R bad. */
struct bytes causal_pack_close(struct causal_pack *p, struct bytes plain, struct reader *r);
struct bytes causal_pack_open(struct causal_pack *p, struct bytes packed, struct reader *r);
