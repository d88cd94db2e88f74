/*
 * manual: the page weft(1), in the man macros, from the tables and the prose.
 */
#pragma once

#include "base/buf.h"

enum { MANUAL_MAX = 256 * 1024 };

void manual_write(struct buf *out);
