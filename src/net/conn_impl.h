/*
 * conn_impl: how a listener makes a conn of a wire that is up.
 */
#pragma once

#include "net/conn.h"
#include "net/wire.h"

/* Takes W; keeps SIBLINGS (conn_siblings).  ON_GONE(ctx) when the conn is freed, after
 * on_closed. */
struct conn *conn_adopt(
    struct loop *l, struct wire *w, const size_t *siblings, void (*on_gone)(void *ctx), void *ctx);
bool conn_has_owner(const struct conn *c);
