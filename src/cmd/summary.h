/*
 * summary: what a command did, in a few lines for people: get, publish and their like.
 */
#pragma once

#include <stdio.h>

#include "cmd/rows.h"

/* Prints to OUT what RECORD (the command's object) and LISTS (rows with `list`) say; false when
 * VERB has no words of its own. */
bool summary_print(FILE *out, const char *verb, struct bytes record, const struct rows *lists);
