/*
 * local: the socket file of a daemon.  A path that is longer than sun_path (108 bytes) is reached
 * through an open descriptor of its directory, so a home may lie as deep as it likes.
 */
#pragma once

#include <sys/socket.h>
#include <sys/un.h>

#include "base/error.h"

struct local {
	struct sockaddr_un at;
	int dir; /* what AT goes through: open until local_clear; -1 when not needed */
};
#define LOCAL_NONE ((struct local){ .dir = -1 })

enum err local_open(struct local *ret, const char *path, struct error *e) must_check;
void local_clear(struct local *l);
