/*
 * places: chunks read back from the user's own files.
 *
 * A place is a hint; the bytes are proof.  The file is opened beneath its root, the chunk read and
 * hashed against its id: a file that changed underneath is noticed and forgotten, never served as
 * the old chunk.  Leaf lists of the last chunks are cached, so that parts of a big chunk are served
 * by hashing only those leaves.
 *
 * Threads  any.  Blocking  always.
 */
#pragma once

#include "engine/state.h"

struct places;
struct places *places_new(struct state *s);
void places_free(struct places *p);
/* Leaves FIRST .. FIRST + N - 1 of CHUNK (LEN bytes) to TO, verified; from directories of SHARE
 * only, or (NULL) from any.  ERR_NOTFOUND: no place holds these bytes now; the text names the file
 * that changed, if one did. RET_LEAVES may be NULL. */
enum err places_get_leaves(struct places *p, const struct hash_id *share,
    const struct hash_id *chunk, uint32_t len, uint32_t first, uint32_t n, uint8_t *to,
    uint32_t *ret_len, struct leaf_list *ret_leaves, struct error *e) must_check;
/* Closes files that were opened more than a second ago: who serves nothing shall keep nobody from
 * unmounting a disk or getting back the room of a deleted file.  Call it now and then. */
void places_trim(struct places *p);
/* Is a place of CHUNK known (nothing is read)?  SHARE as above. */
bool places_may_have(struct places *p, const struct hash_id *share, const struct hash_id *chunk);
