/*
 * listener_bind: sockets that have their address: what a listener listens on.
 */
#pragma once

#include "base/error.h"
#include "net/local.h"

/* TEXT as listener_open takes it; errors as there.  Asks the resolver for a name, which may
 * block. */
enum err listener_bind(const char *text, int *ret_fd, struct error *e) must_check;
/* Of mode 0600 from its first moment.  PATH is the name of AT for people. */
enum err listener_bind_local(
    const struct local *at, const char *path, int *ret_fd, struct error *e) must_check;
