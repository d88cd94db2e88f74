/*
 * manual: the pages weft(1) and weft.conf(5), in the man macros, from the tables and the prose.
 */
#pragma once

#include "base/buf.h"

enum { MANUAL_MAX = 256 * 1024 };

void manual_write(struct buf *out);
void manual_write_config(struct buf *out);
