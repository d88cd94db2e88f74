/*
 * relpath: names and paths that cannot leave the directory they are used under.
 *
 * A name is 1..255 bytes, any but NUL and '/', and not "." or "..".  A relpath is one or more names
 * joined by '/', or empty for the root itself.  `struct relpath` comes only out of this parser, so
 * whoever takes one does not check again; a function that takes a peer's char pointer as a path
 * does not exist.
 *
 * Pure: no files.
 */
#pragma once

#include "base/bytes.h"
#include "base/error.h"

enum {
	RELPATH_NAME_MAX = 255,  /* NAME_MAX of Linux */
	RELPATH_MAX = 32768,     /* longer than PATH_MAX: we walk with openat */
	RELPATH_DEPTH_MAX = 512, /* directories deep; bounds every recursion over a tree */
};

struct relpath {
	const char *text; /* NUL-terminated, borrowed or owned as the holder says */
	size_t len;
};

bool relpath_is_name(struct bytes name);
/* Checks TEXT (LEN bytes followed by NUL).  Borrows it for the life of *RET.  ERR_PROTO. */
enum err relpath_parse(
    const char *text, size_t len, struct relpath *ret, struct error *e) must_check;
/* Of the kinds that are ours in a share: ".weft" and everything beginning with ".weft". */
bool relpath_is_reserved(struct bytes name);
