/*
 * call: one command that the daemon answers: request, progress, rows, exit status.
 */
#pragma once

#include "cmd/options.h"

/* Sends what O says to the daemon of HOME and prints the answer; returns the exit status. */
int call_daemon(const struct options *o, const char *home);
/* The same, but ERR_OFFLINE, with nothing printed, when no daemon runs. */
enum err call_try(const struct options *o, const char *home, int *ret_status) must_check;
