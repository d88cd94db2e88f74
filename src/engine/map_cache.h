/*
 * map_cache: the snapshot maps in use and the last few that were, opened once for everybody who
 * serves from them.
 *
 * A map that must be built takes as long as its snapshot is large; those who want the same one wait
 * for it, nobody else does, so map_cache_put may be called on the loop.
 *
 * Memory   pages of a map are given back with each map_cache_put.
 * Threads  any.
 */
#pragma once

#include "engine/snapshot_map.h"

struct map_cache;
/* Keeps DIR (a descriptor) and SOURCE. */
struct map_cache *map_cache_new(int dir, struct node_source source);
void map_cache_free(struct map_cache *c); /* nobody uses a map any more; NULL is fine */
/* The map of CONTENT with UNIT_SIZE; borrowed until map_cache_put.  Blocking. */
enum err map_cache_get(struct map_cache *c, const struct hash_id *content, uint32_t unit_size,
    struct snapshot_map **ret, struct error *e) must_check;
void map_cache_put(struct map_cache *c, struct snapshot_map *m);
