/*
 * Bytes from others: what the plan misses is downloaded into the staged files.
 */
#include "base/log.h"
#include "engine/engine_get_private.h"

static void
add_sources(struct get *g)
{
	struct download_source here[GET_SOURCES_SHOWN];
	size_t n = download_sources(g->download, here, GET_SOURCES_SHOWN);

	for (size_t i = 0; i < n; i++) {
		size_t at = 0;
		while (
		    at < g->n_sources && !device_id_equal(&g->sources[at].device, &here[i].device))
			at++;
		if (at == GET_SOURCES_SHOWN)
			continue;
		if (at == g->n_sources)
			g->sources[g->n_sources++] =
			    (struct download_source){ .device = here[i].device };
		g->sources[at].bytes += here[i].bytes;
	}
}

static void
download_closed(void *ctx)
{
	engine_job_end(&((struct get *)ctx)->job);
}

void
engine_get_fetch_stop(struct get *g)
{
	if (g->download == NULL)
		return;
	g->fetched += download_bytes(g->download);
	add_sources(g);
	download_close(g->download, download_closed, g);
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

void
engine_get_fetch(struct get *g)
{
	struct engine *en = g->job.engine;
	const struct download_opts o = {
		.loop = en->loop,
		.map = g->map,
		.share = g->commit.share,
		.snapshot = g->commit.id,
		.sink = dest_sink(g->dest),
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

bool
engine_get_fetch_is_on(const struct get *g)
{
	return g->download != NULL;
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

uint64_t
engine_get_fetch_bytes(const struct get *g)
{
	return g->fetched + (g->download != NULL ? download_bytes(g->download) : 0);
}

void
engine_get_fetch_progress(const struct get *g, uint64_t left, struct buf *record)
{
	struct download_source now[GET_SOURCES_SHOWN];
	uint64_t sources = 0;

	if (g->download == NULL)
		return;
	uint64_t rate = download_rate(g->download);
	size_t n = download_sources(g->download, now, GET_SOURCES_SHOWN);
	for (size_t i = 0; i < n; i++)
		sources += now[i].connected && now[i].rate > 0;
	record_rate(record, "rate", rate);
	if (rate > 0)
		record_duration(record, "eta", left * 1000 / rate);
	record_int(record, "sources", sources);
}
