/*
 * download: brings the missing leaves of one snapshot from peers into a sink: transfer's shell.
 *
 * Requests units as transfer says, checks each DATA frame in a job against the map, hands verified
 * leaves to the sink, flushes at least once a second of work, counts bytes by source.  Stops
 * reading from peers while more than DOWNLOAD_BACKLOG bytes wait for the disk.
 *
 * A source that goes may come back, and its statistics go on.  One that sent wrong bytes
 * TRANSFER_WRONG_MAX times is dropped for good, also when it connects again.  Without any source a
 * download waits; when the last one that is connected has refused or lied it ends.
 *
 * Memory   DOWNLOAD_BACKLOG and what the connections have read at once; pages of the map are given
 *          back with each flush.
 * Threads  the loop's; sink calls say where they run.
 */
#pragma once

#include "engine/requester.h"
#include "engine/snapshot_map.h"
#include "session/transfer.h"

enum { DOWNLOAD_BACKLOG = 8 * 1024 * 1024, DOWNLOAD_FLUSH_MS = 1000 };

struct sink {
	/* As transfer_opts.missing.  On the loop: memory only. */
	uint32_t (*missing)(void *ctx, uint32_t unit, struct leaf_run *runs, uint32_t *ret_bytes);
	/* Takes verified leaves of one frame, in a job; jobs of different units run at once. */
	enum err (*take)(void *ctx, const struct transfer_leaf *leaf, struct error *e);
	/* Makes durable what was taken before this call, in a job; nothing else of this sink but
	 * take runs beside it. */
	enum err (*flush)(void *ctx, struct error *e);
	void *ctx;
};
struct download_source { /* statistics of one peer */
	struct device_id device;
	uint64_t bytes, rate; /* verified; bytes a second of the last seconds */
	bool connected;
};
struct download_opts {
	struct loop *loop;
	struct snapshot_map *map; /* kept */
	struct hash_id share, snapshot;
	struct sink sink;
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
size_t download_sources(const struct download *d, struct download_source *out, size_t max);
uint64_t download_rate(const struct download *d); /* bytes a second */
