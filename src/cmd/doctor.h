/*
 * doctor: the checks of `weft doctor` that need no daemon.  Each says one or more lines; none
 * changes anything.
 */
#pragma once

#include "cmd/config.h"
#include "cmd/render.h"

enum doctor_state { DOCTOR_OK, DOCTOR_WARN, DOCTOR_FAIL };
struct doctor {
	const char *home;
	struct render *render;
	enum doctor_state worst;
	bool home_is_good; /* it is there, ours, and of a format that we know */
	struct config config;
};

/* One line: CHECK, what was found (FMT) and, ADVICE not NULL, what to do. */
void doctor_say(struct doctor *d, const char *check, enum doctor_state state, const char *advice,
    const char *fmt, ...) __attribute__((format(printf, 5, 6)));
/* A line that the daemon said. */
void doctor_row(struct doctor *d, struct bytes record);

/* The home and what it lies on: permissions, format, configuration, room, features of its
 * filesystem. */
void doctor_home(struct doctor *d);
/* This machine: kernel, limits, clock. */
void doctor_machine(struct doctor *d);
/* Port and server; for when no daemon runs, as it takes the home. */
void doctor_network(struct doctor *d);
