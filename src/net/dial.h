/*
 * dial: calls several addresses of one node until one answers, in the manner of RFC 8305.
 *
 * Names are looked up all at once.  The addresses are called in the given order, each
 * DIAL_STAGGER_MS after the one before or as soon as that has failed, and all go on until the first
 * has its TLS handshake done with the expected device: an address where somebody else answers costs
 * nothing but its turn.
 */
#pragma once

#include "net/wire.h"

enum {
	DIAL_STAGGER_MS = 250,
	DIAL_TARGETS = 32, /* addresses called, all names together; those beyond are not */
};

struct dial;
struct dial_opts {
	struct tls_ctx *tls;            /* NULL: in clear */
	const struct device_id *expect; /* NULL: anybody.  Copied */
	uint64_t limit_ms;              /* for all of it */
};

/* ON_DONE comes once, not before the return: a wire that is up and is the caller's now, or why
 * there is none.  The dial frees itself. */
typedef void dial_done(void *ctx, struct wire *w, const struct error *why);
struct dial *dial_start(struct loop *l, const struct dial_opts *o, const char *const *addresses,
    size_t n, dial_done *on_done, void *ctx);
/* The socket file PATH, in clear. */
struct dial *dial_start_local(
    struct loop *l, const char *path, uint64_t limit_ms, dial_done *on_done, void *ctx);
void dial_cancel(struct dial *d); /* no callback after this; NULL is fine */
