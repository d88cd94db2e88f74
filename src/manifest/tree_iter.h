/*
 * tree_iter: what the walks over trees need of an iterator beyond manifest/tree.h.
 */
#pragma once

#include "manifest/tree.h"

/* Gives back the memory of nodes until the next call. */
void tree_iter_park(struct tree_iter *it);
