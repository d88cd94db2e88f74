/*
 * codec: chunk bytes packed for the store: raw, or zstd where it helps by at least 5 %.
 *
 * The unpacked size is always known from elsewhere and trusted over what the packed bytes say.
 *
 * Threads  any (zstd contexts are per thread).
 */
#pragma once

#include "base/buf.h"
#include "base/error.h"

enum codec { CODEC_RAW = 0, CODEC_ZSTD = 1 };

/*
 * Packs B into OUT (cleared first) if that saves at least 5 % and OUT has room, else leaves OUT
 * empty: returns which.  Gives up early on content that looks incompressible (a trial on a sample).
 */
enum codec codec_pack(struct bytes b, struct buf *out);
/* Exactly N bytes to TO, or ERR_CORRUPT. */
enum err codec_unpack(
    enum codec c, struct bytes packed, void *to, size_t n, struct error *e) must_check;
