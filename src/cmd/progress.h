/*
 * progress: how far a transfer is, on standard error: one line that is written anew on a terminal,
 * else a line every PROGRESS_PLAIN_MS.
 */
#pragma once

#include <stdio.h>

#include "base/bytes.h"

enum { PROGRESS_LINE_MAX = 512, PROGRESS_PLAIN_MS = 10 * 1000 };

struct progress {
	FILE *out;
	bool on_terminal, color;
	bool is_shown;    /* the line stands there */
	uint64_t next_ms; /* when a plain line is due */
};

void progress_init(struct progress *p, FILE *out, uint64_t now_ms);
/* RECORD is that of CONTROL_PROGRESS. */
void progress_update(struct progress *p, struct bytes record, uint64_t now_ms);
/* Takes the line away, before something else is printed and at the end. */
void progress_hide(struct progress *p);

/* Pure: the line for RECORD in at most COLUMNS columns (escapes for colours not counted).  Returns
 * OUT. */
const char *progress_line(
    struct bytes record, unsigned columns, bool color, char out[static PROGRESS_LINE_MAX]);
