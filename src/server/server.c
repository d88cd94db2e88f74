#include "server/server.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "crypto/random.h"
#include "engine/advertise.h"
#include "net/listener.h"
#include "server/server_internal.h"

enum { FILES_KEPT = 256 }; /* open files that are no connections */

static const char RECOVERY_FILE[] = "recovery.key";

static void on_tick(void *ctx);
static void on_conn(void *ctx, struct conn *c);

/* -- the first start -- */

/* The recovery key is written to a file of its own, for the administrator to carry away, and
 * forgotten here. */
static enum err
make_recovery_key(struct server *s, struct public_key *ret, struct error *e)
{
	auto_(device_key_free_p) struct device_key *key = NULL;
	auto_buf struct buf pem = BUF(4096);
	enum err r = device_key_generate(&key, e);

	if (r == OK)
		r = device_key_to_pem(key, &pem, e);
	if (r == OK)
		r = fs_write_file(s->home->dir, REL(RECOVERY_FILE), buf_bytes(&pem), 0600, e);
	if (r == OK)
		*ret = *device_key_public(key);
	if (pem.at != NULL)
		mem_wipe(pem.at, pem.len);
	return r;
}

/* The authority declares itself, and the server's own device becomes its first member. */
static enum err
found(struct server *s, struct error *e)
{
	auto_buf struct buf authority = BUF(STATEMENT_MAX), member = BUF(STATEMENT_MAX);
	struct statement a = {
		.kind = STATEMENT_AUTHORITY, .key = *device_key_public(s->home->key), .epoch = 1
	};
	struct statement m = {
		.kind = STATEMENT_MEMBER, .device = *device_key_id(s->home->key), .epoch = 1
	};
	struct registry_device self = {
		.id = m.device, .joined_ms = server_now_ms(), .seen_ms = server_now_ms()
	};
	struct db *db = s->registry->db;

	enum err r = make_recovery_key(s, &a.recovery, e);
	if (r == OK)
		r = server_sign(s, &a, &authority, e);
	snprintf(m.name, sizeof m.name, "%s", s->name);
	snprintf(self.name, sizeof self.name, "%s", s->name);
	if (r == OK)
		r = server_sign(s, &m, &member, e);
	if (r == OK)
		r = db_begin(db, e);
	if (r != OK)
		return r;
	r = registry_store_statement(db, buf_bytes(&authority), &a, e);
	if (r == OK)
		r = registry_store_statement(db, buf_bytes(&member), &m, e);
	if (r == OK)
		r = registry_store_device(db, &self, e);
	if (r == OK)
		r = registry_store_collected(db, self.joined_ms, e);
	if (r != OK) {
		db_rollback(db);
		return r;
	}
	r = db_commit(db, e);
	if (r != OK)
		return r;
	registry_add_device(s->registry, &self);
	s->registry->collected_ms = self.joined_ms; /* there is nothing to collect yet */
	return r;
}

/* -- opening -- */

/* Our own device's word of where it is, which counts when its connection comes in. */
static void
say_site(struct server *s, const char *site)
{
	struct registry_device *d = registry_device(s->registry, device_key_id(s->home->key));

	if (d != NULL)
		snprintf(d->said, sizeof d->said, "%s", site != NULL ? site : "");
}

static enum err
open_parts(struct server *s, const char *site, bool *ret_first, struct error *e)
{
	auto_free char *db_path = home_path(s->home, "server.db");
	auto_free char *store_path = home_path(s->home, "store");
	struct chunk_store_opts store_opts = { .compress = true };
	enum err r;

	r = registry_open(db_path, device_key_id(s->home->key), &s->registry, ret_first, e);
	if (r == OK)
		r = db_open_reader(s->registry->db, &s->reader, e);
	if (r == OK)
		r = chunk_store_open(store_path, &store_opts, &s->store, e);
	if (r == OK)
		r = fs_mkdirs(s->home->dir, REL("server-maps"), 0700, e);
	if (r == OK)
		r = fs_open_dir(s->home->dir, REL("server-maps"), &s->maps_dir, e);
	if (r == OK && *ret_first)
		r = found(s, e);
	if (r == OK)
		say_site(s, site);
	if (r == OK && s->registry->rescued)
		r = server_rescue(s, e);
	return r;
}

static void
free_parts(struct server *s)
{
	server_line_close(s);
	server_source_free(s->source);
	tracker_free(s->tracker);
	map_clear(&s->nodes);
	array_clear(&s->entered);
	chunk_store_close(s->store);
	db_close(s->reader);
	registry_close(s->registry);
	if (s->maps_dir >= 0)
		(void)close(s->maps_dir);
	array_clear(&s->intakes);
	map_clear(&s->links);
	array_clear(&s->guests);
	free(s->recovery_path);
	free(s);
}

/* As many as the limit, or as files may be open, some of which the store and the database need. */
static size_t
max_connections(void)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_cur == RLIM_INFINITY)
		return LIMIT_CONNECTIONS;
	size_t left =
	    (size_t)files.rlim_cur - min_of((size_t)files.rlim_cur / 2, (size_t)FILES_KEPT);
	return min_of(left, (size_t)LIMIT_CONNECTIONS);
}

static enum err
start_listening(struct server *s, const struct server_opts *o, struct error *e)
{
	s->max_connections = max_connections();
	enum err r = listener_open(s->loop, o->listen != NULL ? o->listen : ":7470", s->tls,
	    s->max_connections + LIMIT_CONNECTIONS_REFUSED, on_conn, s, &s->listener, e);
	if (r == OK)
		listener_set_max(s->listener,
		    LIMIT_CONNECTIONS_PER_ADDRESS + LIMIT_CONNECTIONS_REFUSED, LISTENER_CALLERS);
	return r;
}

enum err
server_open(const struct server_opts *o, struct server **ret, bool *ret_first, struct error *e)
{
	struct server *s = mem_new(struct server);
	bool first = false;

	s->loop = o->loop;
	s->home = o->home;
	s->tls = o->tls;
	s->throttle = o->throttle;
	s->on_line = o->on_line;
	s->on_line_ctx = o->on_line_ctx;
	s->maps_dir = -1;
	s->recovery_path = home_path(s->home, RECOVERY_FILE);
	if (o->name != NULL)
		snprintf(s->name, sizeof s->name, "%s", o->name);
	else
		home_host_name(s->name, sizeof s->name);
	enum err r =
	    statement_name_ok(s->name)
		? open_parts(s, o->site, &first, e)
		: fail(e, ERR_USAGE,
		      "the name '%s' cannot be used: 1 to %d bytes of text without '/' and '@'",
		      s->name, STATEMENT_NAME_MAX);
	if (r == OK)
		r = server_line_open(s, e);
	if (r == OK)
		r = start_listening(s, o, e);
	if (r == OK)
		r = advertise_addresses(o->listen, listener_port(s->listener), o->advertise,
		    o->n_advertise, s->advertise, LIMIT_ADDRESSES, &s->n_advertise, e);
	if (r != OK) {
		listener_close(s->listener);
		free_parts(s);
		return r;
	}
	s->changes = job_queue_new(s->loop);
	s->source = server_source_new(s);
	server_swarm_open(s);
	s->tick = timer_new(s->loop, on_tick, s);
	timer_start(s->tick, SERVER_TICK_MS);
	s->renewed_ms = loop_now_ms(s->loop);
	server_intake_start_all(s);
	*ret = s;
	*ret_first = first;
	return OK;
}

static void
on_conn(void *ctx, struct conn *c)
{
	struct server *s = ctx;

	if (s->closing) {
		conn_close(c, NULL);
		return;
	}
	server_peer_accept(s, c);
}

static void
on_tick(void *ctx)
{
	struct server *s = ctx;
	uint64_t now = loop_now_ms(s->loop);

	if (now - s->renewed_ms >= SERVER_RENEW_MS) {
		s->renewed_ms = now;
		server_peer_renew(s);
	}
	server_node_tick(s);
	if (server_gc_is_late(s))
		server_gc_want(s);
	else
		server_gc_try(s);
	timer_start(s->tick, SERVER_TICK_MS);
}

/* -- closing: connections first, then what is under way, then the files -- */

void
server_closed_part(struct server *s)
{
	if (!s->closing || s->jobs > 0 || s->links.len > 0 || s->intakes.len > 0)
		return;
	void (*on_closed)(void *ctx) = s->on_closed;
	void *ctx = s->on_closed_ctx;
	s->closing = false; /* once */
	job_queue_free(s->changes);
	free_parts(s);
	on_closed(ctx);
}

static void
close_later(void *arg)
{
	struct server *s = arg;

	s->jobs--;
	server_closed_part(s);
}

void
server_close(struct server *s, void (*on_closed)(void *ctx), void *ctx)
{
	if (s->closing)
		return;
	s->closing = true;
	s->on_closed = on_closed;
	s->on_closed_ctx = ctx;
	listener_close(s->listener);
	timer_close(s->tick);
	server_swarm_close(s);
	server_intake_close_all(s);
	server_node_close_all(s);
	ARRAY(struct peer *) peers = { 0 };
	map_each (slot, &s->links)
		array_push(&peers, ((struct link *)slot->ptr)->peer);
	array_each (p, &peers)
		peer_close(*p, NULL);
	array_clear(&peers);
	s->jobs++; /* whatever closes before that, this comes last */
	loop_post(s->loop, close_later, s);
}

uint16_t
server_port(const struct server *s)
{
	return listener_port(s->listener);
}

const char *
server_recovery_path(const struct server *s)
{
	return s->recovery_path;
}

void
server_describe(struct server *s, struct buf *record)
{
	struct chunk_store_stats stats;
	uint64_t devices = 0, online = 0;

	map_each (slot, &s->registry->devices) {
		const struct registry_device *d = slot->ptr;
		devices += !d->ended;
		online += d->connections > 0;
	}
	if (s->n_advertise > 0)
		record_text(record, "listen", s->advertise[0]);
	record_int(record, "shares", s->registry->shares.len);
	record_int(record, "devices", devices);
	record_int(record, "online", online);
	if (chunk_store_stats(s->store, &stats, NULL) == OK)
		record_size(record, "store_bytes", stats.pack_bytes);
}
