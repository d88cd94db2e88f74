/*
 * conn_impl: how a listener makes a conn of a wire that is up.
 */
#pragma once

#include "net/conn.h"
#include "net/wire.h"

/* Takes W.  ON_GONE(ctx) when the conn is freed, after on_closed. */
struct conn *conn_adopt(struct loop *l, struct wire *w, void (*on_gone)(void *ctx), void *ctx);
bool conn_has_owner(const struct conn *c);
