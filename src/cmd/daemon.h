/*
 * daemon: what `weft agent` and `weft server` have in common: home, keys, loop, engine (and
 * server), control socket, readiness, a clean stop.
 */
#pragma once

#include "cmd/options.h"

struct server;

struct daemon_opts {
	const struct options *o;
	const char *home;
	enum command_who who;
	/* A server is open; FIRST: it has just been made.  NULL for an agent. */
	void (*on_server)(struct server *s, const char *home, bool first);
};
/* Runs until SIGINT or SIGTERM; prints what went wrong; returns the exit status. */
int daemon_run(const struct daemon_opts *opts);
