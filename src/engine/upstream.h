/*
 * upstream: the server that this node has joined, as its state remembers it: the settings
 * "server.id" (32 bytes), "server.name" and "server.addresses" ("host:port", one a line, the best
 * one first).
 *
 * Blocking  every call.
 */
#pragma once

#include "engine/state.h"
#include "proto/limits.h"

enum {
	UPSTREAM_ADDRESSES = 2 * LIMIT_ADDRESSES
}; /* of the invite, and as the server says itself */
struct upstream {
	struct device_id server;
	char name[STATEMENT_NAME_MAX + 1];
	size_t n;
	char addresses[UPSTREAM_ADDRESSES][LIMIT_ADDRESS_TEXT + 1];
};
/* ERR_NOTFOUND when this node has joined none; ERR_CORRUPT. */
enum err upstream_load(struct state *s, struct upstream *ret, struct error *e) must_check;
