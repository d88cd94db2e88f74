/*
 * download: brings the missing leaves of one snapshot from peers that hold all of it into a sink:
 * transfer's shell.
 *
 * Requests units as transfer says, through unit_fetch, which checks them and hands verified leaves
 * to the sink; counts bytes by source.  Stops reading from peers while more than DOWNLOAD_BACKLOG
 * bytes wait for the disk.
 *
 * A source that goes may come back, and its statistics go on.  One that sent wrong bytes
 * TRANSFER_WRONG_MAX times is dropped for good, also when it connects again.  Without any source a
 * download waits; when the last one that is connected has refused or lied it ends.
 *
 * Memory   unit_fetch's.  Threads  the loop's; sink calls say where they run.
 */
#pragma once

#include "engine/unit_fetch.h"

enum { DOWNLOAD_BACKLOG = UNIT_FETCH_BACKLOG };

struct download_source { /* statistics of one peer */
	struct device_id device;
	uint64_t bytes, rate; /* verified; bytes a second of the last seconds */
	uint64_t wire;        /* what those took on the wire */
	bool connected;
};
struct download_opts {
	struct loop *loop;
	struct snapshot_map *map; /* kept */
	struct hash_id share, snapshot;
	struct sink sink;
	struct rate *gate;              /* of unit_fetch */
	void (*on_progress)(void *ctx); /* now and then; may be NULL */
	/* A peer sent wrong bytes and was dropped for this download.  May be NULL. */
	void (*on_liar)(void *ctx, struct peer *p, uint32_t unit);
	/* OK: everything is here and flushed.  ERR_NOSPACE, ERR_IO: the sink failed; the download
	 * has stopped and may be started anew.  When no connected source could do better: what the
	 * last one said (ERR_NOTFOUND, ERR_DENIED, ...; never ERR_NOSPACE), ERR_CORRUPT when it
	 * was a liar.  Once; not after close. */
	void (*on_done)(void *ctx, enum err r, const struct error *e);
	/* What time it is for stalls and retries.  NULL: the loop's; a test moves its own. */
	uint64_t (*now_ms)(void *ctx);
	void *ctx;
};
struct download;
struct download *download_start(const struct download_opts *o);
void download_peer_add(struct download *d, struct peer *p); /* READY */
/* Before P is freed.  Its requests end here. */
void download_peer_gone(struct download *d, struct peer *p);
void download_peers_gone(struct download *d); /* all of them */
/* Frees later, when its jobs are done: then ON_CLOSED (may be NULL), from the loop; the sink is
 * used until then. */
void download_close(struct download *d, void (*on_closed)(void *ctx), void *ctx);
uint64_t download_bytes(const struct download *d); /* verified and taken so far */
uint64_t download_wire(const struct download *d);  /* what those took on the wire */
size_t download_sources(const struct download *d, struct download_source *out, size_t max);
uint64_t download_rate(const struct download *d); /* bytes a second */
