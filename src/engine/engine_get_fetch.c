/*
 * Bytes from others: what the plan misses is taken into the staged files; from the server alone if
 * the share is central, else from whoever takes part in the snapshot's swarm.
 *
 * A get takes part from the moment that it knows the snapshot, so that others are found while the
 * manifest comes.
 */
#include "base/log.h"
#include "base/mem.h"
#include "engine/engine_get_private.h"
#include "engine/engine_swarm.h"

static struct get_source *
find_source(struct get *g, const struct device_id *device)
{
	for (size_t i = 0; i < g->n_sources; i++) {
		if (device_id_equal(&g->sources[i].device, device))
			return &g->sources[i];
	}
	return NULL;
}

/* NULL: more gave than are shown. */
static struct get_source *
source_of(struct get *g, const struct device_id *device)
{
	struct get_source *s = find_source(g, device);

	if (s != NULL)
		return s;
	if (g->n_sources == GET_SOURCES_SHOWN)
		return NULL;
	g->sources[g->n_sources] = (struct get_source){ .device = *device };
	return &g->sources[g->n_sources++];
}

/* -- taking part -- */

void
engine_get_fetch_enter(struct get *g)
{
	struct engine *en = g->job.engine;
	const struct engine_swarm_who w = { g->commit.share, g->commit.id, g->unit_size };

	if (hash_id_equal(&g->entered, &g->commit.id) ||
	    !engine_swarm_is_hybrid(en, &g->commit.share))
		return;
	engine_get_fetch_leave(g, false);
	g->seen = (struct get_came){ 0 };
	for (size_t i = 0; i < g->n_sources; i++)
		g->sources[i].seen = (struct get_came){ 0 };
	g->entered = g->commit.id;
	engine_swarm_enter(en, &w);
}

void
engine_get_fetch_leave(struct get *g, bool held)
{
	const struct hash_id snapshot = g->entered;

	if (hash_id_is_none(&snapshot))
		return;
	g->entered = (struct hash_id){ 0 };
	engine_swarm_leave(g->job.engine, &snapshot, held);
}

/* -- from a swarm -- */

static void
add(struct get_came *sum, struct get_came c)
{
	sum->bytes += c.bytes;
	sum->wire += c.wire;
}

/* What of NOW is not in SEEN; a node that was made anew begins at 0 again. */
static struct get_came
since(struct get_came seen, struct get_came now)
{
	if (seen.bytes > now.bytes)
		return now;
	return (struct get_came){ now.bytes - seen.bytes, now.wire - seen.wire };
}

static struct get_came
taken(const struct get *g)
{
	const struct swarm_node *n = engine_swarm_node(g->job.engine, &g->entered);
	struct swarm_node_summary s;

	if (n == NULL)
		return (struct get_came){ 0 };
	swarm_node_summary(n, &s);
	return (struct get_came){ s.bytes_in, s.wire_in };
}

static void
count_peer(struct get *g, const struct swarm_node_peer *p)
{
	const struct get_came now = { p->bytes_in, p->wire_in };
	struct get_source *s = p->bytes_in > 0 ? source_of(g, &p->device) : NULL;

	if (s == NULL)
		return;
	add(&s->came, since(s->seen, now));
	s->seen = now;
}

static void
count_taken(struct get *g)
{
	const struct swarm_node *n = engine_swarm_node(g->job.engine, &g->entered);
	auto_free struct swarm_node_peer *peers =
	    mem_array(struct swarm_node_peer, 2 * SWARM_NODE_GONE_MAX);
	size_t len = n != NULL ? swarm_node_peers(n, peers, 2 * SWARM_NODE_GONE_MAX) : 0;
	struct get_came now = taken(g);

	add(&g->came, since(g->seen, now));
	g->seen = now;
	for (size_t i = 0; i < len; i++)
		count_peer(g, &peers[i]);
}

static void
stopped(void *ctx)
{
	engine_job_end(&((struct get *)ctx)->job);
}

static bool
is_partial(void *ctx, uint32_t unit)
{
	return dest_is_partial(((struct get *)ctx)->dest, unit);
}

static void
on_taken(void *ctx, enum err r, const struct error *e)
{
	struct get *g = ctx;

	count_taken(g);
	g->takes = false;
	if (r == OK)
		g->phase = GET_SWITCH;
	else if (r != ERR_AGAIN || engine_swarm_is_hybrid(g->job.engine, &g->commit.share))
		engine_get_work_failed(g, r, e);
	if (r == ERR_AGAIN) /* not from a swarm any more: the next step asks the server */
		engine_get_fetch_leave(g, false);
	engine_job_end(&g->job);
}

/* ... or puts it into place, where it can be copied from: two would fetch the same bytes twice, and
 * the second would take from the swarm what the first gives to it. */
static bool
is_received_by_another(const struct get *g)
{
	array_each (j, &g->job.engine->jobs) {
		const struct get *o = (const struct get *)*j;
		if (o != g && (*j)->kind == g->job.kind && !(*j)->over && !(*j)->waiting &&
		    hash_id_equal(&o->entered, &g->entered) && (o->takes || o->phase == GET_SWITCH))
			return true;
	}
	return false;
}

static void
take(struct get *g)
{
	const struct swarm_node_taker t = {
		.sink = dest_sink(g->dest),
		.gate = &g->job.gates[THROTTLE_DOWN],
		.is_partial = is_partial,
		.on_done = on_taken,
		.ctx = g,
	};

	engine_get_fetch_enter(g);
	if (is_received_by_another(g)) {
		g->is_second = true;
		engine_job_wait(
		    &g->job, ENGINE_AGAIN_RETRY_MS, "another job receives this snapshot");
		return;
	}
	if (g->is_second) {
		g->is_second = false;
		g->phase = GET_COPY;
		engine_get_dest_copy(g);
		return;
	}
	engine_job_begin(&g->job);
	g->takes = engine_swarm_take(g->job.engine, &g->entered, &t);
	if (g->takes)
		return;
	engine_job_wait(&g->job, ENGINE_AGAIN_RETRY_MS, "another job receives this snapshot");
	engine_job_end(&g->job);
}

/* -- from the server alone -- */

static struct get_came
downloaded(const struct get *g)
{
	return (struct get_came){ download_bytes(g->download), download_wire(g->download) };
}

static void
add_sources(struct get *g)
{
	struct download_source here[GET_SOURCES_SHOWN];
	size_t n = download_sources(g->download, here, GET_SOURCES_SHOWN);

	for (size_t i = 0; i < n; i++) {
		struct get_source *s = source_of(g, &here[i].device);
		if (s != NULL)
			add(&s->came, (struct get_came){ here[i].bytes, here[i].wire });
	}
}

void
engine_get_fetch_stop(struct get *g)
{
	if (g->takes) {
		count_taken(g);
		g->takes = false;
		engine_swarm_stop(g->job.engine, &g->entered, false, stopped, g);
	}
	if (g->download == NULL)
		return;
	add(&g->came, downloaded(g));
	add_sources(g);
	download_close(g->download, stopped, g);
	g->download = NULL;
}

static void
on_fetched(void *ctx, enum err r, const struct error *e)
{
	struct get *g = ctx;

	if (r == OK)
		g->phase = GET_SWITCH;
	else if (r == ERR_CORRUPT)
		engine_get_wait_repair(g);
	else
		engine_get_work_failed(g, r, e);
	engine_get_fetch_stop(g);
}

static void
on_liar(void *ctx, struct peer *p, uint32_t unit)
{
	struct get *g = ctx;
	struct message m = { .type = FRAME_REPORT };

	m.report = (struct msg_report){ .share = g->commit.share,
		.snapshot = g->commit.id,
		.unit = unit,
		.who = *peer_device(p) };
	log_warn(
	    "%s: wrong bytes three times in unit %u; the server is told and will repair its store",
	    g->share, unit);
	if (session_send(peer_session(p), &m, NULL) == OK)
		peer_flush(p);
}

static void
download(struct get *g)
{
	struct engine *en = g->job.engine;
	const struct download_opts o = {
		.loop = en->loop,
		.map = g->map,
		.share = g->commit.share,
		.snapshot = g->commit.id,
		.sink = dest_sink(g->dest),
		.gate = &g->job.gates[THROTTLE_DOWN],
		.on_liar = on_liar,
		.on_done = on_fetched,
		.ctx = g,
	};

	/* The server gives units of what is or was the head. */
	if (g->number == 0) {
		engine_job_wait(&g->job, 0, "waiting until the server has all of it");
		return;
	}
	engine_job_begin(&g->job);
	g->download = download_start(&o);
	if (en->link.ready)
		download_peer_add(g->download, en->link.peer);
}

void
engine_get_fetch(struct get *g)
{
	if (engine_swarm_is_hybrid(g->job.engine, &g->commit.share))
		take(g);
	else
		download(g);
}

bool
engine_get_fetch_waits(const struct get *g)
{
	const struct swarm_node *n = engine_swarm_node(g->job.engine, &g->entered);
	struct swarm_node_summary s;

	if (!g->takes || n == NULL)
		return g->download != NULL || g->takes;
	swarm_node_summary(n, &s);
	return s.peers == 0;
}

void
engine_get_fetch_link_ready(struct get *g)
{
	if (g->download != NULL)
		download_peer_add(g->download, g->job.engine->link.peer);
}

void
engine_get_fetch_link_gone(struct get *g)
{
	if (g->download != NULL)
		download_peers_gone(g->download);
}

struct get_came
engine_get_fetch_came(const struct get *g)
{
	struct get_came sum = g->came;

	if (g->takes)
		add(&sum, since(g->seen, taken(g)));
	else if (g->download != NULL)
		add(&sum, downloaded(g));
	return sum;
}

/* How many give something now. */
static uint64_t
givers(const struct get *g, uint64_t *ret_rate)
{
	const struct swarm_node *n = engine_swarm_node(g->job.engine, &g->entered);
	struct swarm_node_peer peers[GET_SOURCES_SHOWN];
	struct download_source now[GET_SOURCES_SHOWN];
	struct swarm_node_summary s;
	uint64_t sources = 0;

	*ret_rate = 0;
	if (g->download != NULL) {
		size_t len = download_sources(g->download, now, GET_SOURCES_SHOWN);
		for (size_t i = 0; i < len; i++)
			sources += now[i].connected && now[i].rate > 0;
		*ret_rate = download_rate(g->download);
	} else if (n != NULL) {
		size_t len = swarm_node_peers(n, peers, GET_SOURCES_SHOWN);
		for (size_t i = 0; i < len; i++)
			sources += peers[i].connected && peers[i].rate_in > 0;
		swarm_node_summary(n, &s);
		*ret_rate = s.rate_in;
	}
	return sources;
}

void
engine_get_fetch_progress(const struct get *g, uint64_t left, struct buf *record)
{
	struct get_came came = engine_get_fetch_came(g);
	uint64_t rate, sources = givers(g, &rate);

	if (came.bytes > 0) {
		record_size(record, "bytes_moved", came.bytes);
		record_size(record, "bytes_wire", came.wire);
	}
	if (g->download == NULL && !g->takes)
		return;
	record_rate(record, "rate", rate);
	if (rate > 0)
		record_duration(record, "eta", left * 1000 / rate);
	record_int(record, "sources", sources);
}
