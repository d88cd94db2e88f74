/*
 * node_cut: where a node ends.  It follows from the node's own bytes and the key of its last entry
 * alone, so that the same entries fall into the same nodes whatever the history, and a change moves
 * only the boundaries beside it.
 *
 * Pure.
 */
#pragma once

#include <stdbool.h>

#include "base/bytes.h"

/*
 * Does an entry of ENTRY bytes, with which the node at LEVEL has SIZE bytes, end it?  The chance is
 * proportional to ENTRY, so nodes are of about one size whatever the entries are.  No KEY: only the
 * size decides.
 */
bool node_cut(uint8_t level, struct bytes key, size_t entry, size_t size);
