/*
 * value: what an argument, an option's value or a line of weft.conf must look like, by the word
 * that stands for it in control/commands.def.  The daemon checks again: its socket is open to more
 * than this program.
 */
#pragma once

#include "base/error.h"

/*
 * N a number from 1, JOB the same, MS one from 0 to 1000, TIME "30m", RATE "50Mbit", SCHEDULE as
 * net/schedule.h has it or "none", SHARE NAME SITE GROUP LABEL a name,
 * ADDR:PORT HOST[:PORT] addresses, "a|b" one of these, SHARE:a|b a name and one of these;
 * everything else: not empty. ERR_USAGE says what is expected.
 */
enum err value_check(const char *word, const char *value, struct error *e) must_check;
