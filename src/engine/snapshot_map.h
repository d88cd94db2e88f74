/*
 * snapshot_map: a snapshot's distinct chunks in manifest order, and the units cut from them, on
 * disk.
 *
 * Made from the manifest alone, so it may be deleted at any time; kept in the home's maps/ under
 * the content root.  Serving and receiving both number chunks and units by it.
 *
 * Threads    several may open the same map at once, each has its own; one map may be read by any
 *            number (records do not move).
 * Memory     mapped; snapshot_map_trim gives pages back.
 */
#pragma once

#include <stdatomic.h>

#include "manifest/tree.h"
#include "manifest/unit_map.h"
#include "platform/big_array.h"

struct snapshot_map;
struct snapshot_map_chunk {
	struct hash_id id;
	uint8_t pad[3];
	uint32_t len;
};
/* Opens the map of CONTENT with UNIT_SIZE in directory DIR, building it from SOURCE when it is not
 * there or does not check out. UNIT_SIZE 0: chunks only.  CANCEL may be NULL. */
enum err snapshot_map_open(int dir, struct node_source source, const struct hash_id *content,
    uint32_t unit_size, const atomic_bool *cancel, struct snapshot_map **ret,
    struct error *e) must_check;
void snapshot_map_free(struct snapshot_map *m);
DEFINE_FREE_P(snapshot_map)
uint64_t snapshot_map_chunks(const struct snapshot_map *m);
uint64_t snapshot_map_bytes(const struct snapshot_map *m); /* of the distinct chunks */
const struct snapshot_map_chunk *snapshot_map_chunk(const struct snapshot_map *m, uint64_t i);
/* Index of chunk ID, or UINT32_MAX. */
uint32_t snapshot_map_find(const struct snapshot_map *m, const struct hash_id *id);
uint32_t snapshot_map_unit_size(const struct snapshot_map *m);
uint64_t snapshot_map_units(const struct snapshot_map *m);
struct unit snapshot_map_unit(const struct snapshot_map *m, uint64_t i);
void snapshot_map_trim(struct snapshot_map *m);
void snapshot_map_remove(int dir, const struct hash_id *content); /* the files of all unit sizes */
