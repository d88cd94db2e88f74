/* test_server_world: a server's registry and store without its network, and snapshots in them, for
 * the tests beside it. */
#pragma once

#include "tests/unit.h"

#include "base/mem.h"
#include "crypto/random.h"
#include "manifest/prolly.h"
#include "server/server_internal.h"
#include "tests/check_faults.h"

struct world {
	struct server server;
	struct home home;
	struct device_key *anna, *bert;
	char path[64];
};

/* What a world says went wrong; the scenarios of faults return it. */
#define world_step(r, call)                                                                        \
	do {                                                                                       \
		if ((r) == OK)                                                                     \
			(r) = (call);                                                              \
	} while (0)

static inline void
world_close(struct world *w)
{
	struct server *s = &w->server;

	job_queue_free(s->changes);
	loop_free(s->loop);
	chunk_store_close(s->store);
	db_close(s->reader);
	registry_close(s->registry);
	if (s->maps_dir > 0)
		(void)close(s->maps_dir);
	array_clear(&s->intakes);
	map_clear(&s->links);
	device_key_free(w->home.key);
	device_key_free(w->anna);
	device_key_free(w->bert);
	*w = (struct world){ 0 };
}

/* The same keys in every run: of the text in KEYS. */
static inline enum err
world_key(const struct world *w, const char *name, struct device_key **ret, struct error *e)
{
	auto_buf struct buf pem = BUF(4096);
	struct relpath p = { name, strlen(name) };

	if (fs_read_file(w->home.dir, p, &pem, NULL) == OK)
		return device_key_from_pem(buf_bytes(&pem), ret, e);
	enum err r = device_key_generate(ret, e);
	world_step(r, device_key_to_pem(*ret, &pem, e));
	world_step(r, fs_write_file(w->home.dir, p, buf_bytes(&pem), 0600, e));
	return r;
}

static inline enum err
world_found(struct world *w, struct error *e)
{
	struct server *s = &w->server;
	auto_buf struct buf b = BUF(STATEMENT_MAX);
	auto_(device_key_free_p) struct device_key *recovery = NULL;
	struct statement st = {
		.kind = STATEMENT_AUTHORITY, .key = *device_key_public(w->home.key), .epoch = 1
	};

	enum err r = world_key(w, "recovery.key", &recovery, e);
	if (r == OK)
		st.recovery = *device_key_public(recovery);
	world_step(r, server_sign(s, &st, &b, e));
	world_step(r, registry_store_statement(s->registry->db, buf_bytes(&b), &st, e));
	return r;
}

static inline enum err
world_open(struct world *w, int dir, struct error *e)
{
	struct server *s = &w->server;
	char db[80], store[80];
	bool first = false;

	*w = (struct world){ .home = { .dir = dir } };
	s->home = &w->home;
	s->maps_dir = -1;
	snprintf(db, sizeof db, "/proc/self/fd/%d/server.db", dir);
	snprintf(store, sizeof store, "/proc/self/fd/%d/store", dir);
	enum err r = world_key(w, "device.key", &w->home.key, e);
	world_step(r, world_key(w, "anna.key", &w->anna, e));
	world_step(r, world_key(w, "bert.key", &w->bert, e));
	world_step(r, registry_open(db, device_key_id(w->home.key), &s->registry, &first, e));
	world_step(r, db_open_reader(s->registry->db, &s->reader, e));
	world_step(r, chunk_store_open(store,
			  &(struct chunk_store_opts){ .pack_bytes = 256 * 1024 }, &s->store, e));
	world_step(r, fs_mkdirs(dir, REL("maps"), 0700, e));
	world_step(r, fs_open_dir(dir, REL("maps"), &s->maps_dir, e));
	if (r == OK && first)
		r = world_found(w, e);
	world_step(r, loop_new(0, &s->loop, e));
	if (r == OK)
		s->changes = job_queue_new(s->loop);
	return r;
}

static inline enum err
world_device(struct world *w, const struct device_key *key, const char *name, struct error *e)
{
	struct registry_device d = { .id = *device_key_id(key) };

	snprintf(d.name, sizeof d.name, "%s", name);
	enum err r = registry_store_device(w->server.registry->db, &d, e);
	if (r == OK)
		registry_add_device(w->server.registry, &d);
	return r;
}

/* A share that KEY may write, as CREATE_SHARE makes it. */
static inline enum err
world_share(struct world *w, const char *name, const struct device_key *key,
    struct registry_share **ret, struct error *e)
{
	struct registry *reg = w->server.registry;
	auto_buf struct buf b = BUF(STATEMENT_MAX);
	struct statement st = { .kind = STATEMENT_SHARE, .policy = POLICY_CENTRAL };
	struct registry_access a = { .device = *device_key_id(key),
		.rights = RIGHT_READ | RIGHT_WRITE };
	int64_t num = 0;

	snprintf(st.name, sizeof st.name, "%s", name);
	random_fill(st.nonce, sizeof st.nonce);
	enum err r = server_sign(&w->server, &st, &b, e);
	world_step(r, db_begin(reg->db, e));
	if (r != OK)
		return r;
	struct hash_id id = statement_share_id(buf_bytes(&b));
	world_step(r, registry_store_statement(reg->db, buf_bytes(&b), &st, e));
	world_step(r, registry_store_share(reg->db, &id, name, buf_bytes(&b), &num, e));
	world_step(r, registry_store_access(reg->db, num, &a, e));
	if (r != OK) {
		db_rollback(reg->db);
		return r;
	}
	r = db_commit(reg->db, e);
	if (r != OK)
		return r;
	*ret = registry_add_share(reg, num, buf_bytes(&b), &st);
	registry_set_access(*ret, &a);
	return OK;
}

/* Chunk number N: the same bytes for the same number, LEN of them. */
static inline void
world_bytes(uint64_t n, uint32_t len, uint8_t *to)
{
	for (uint32_t i = 0; i < len; i++)
		to[i] = (uint8_t)((n * 131 + i * 2654435761u) >> 13);
	memcpy(to, &n, min_of((size_t)len, sizeof n));
}

enum { WORLD_CHUNK = 20 * 1024 };

static inline struct hash_id
world_chunk_id(uint64_t n, uint32_t len)
{
	auto_free uint8_t *bytes = mem_alloc(CHUNK_MAX);
	struct leaf_list list;
	struct hash_id id;

	world_bytes(n, len, bytes);
	chunk_id_of(HASH_DEFAULT, BYTES(bytes, len), &list, &id);
	return id;
}

static inline enum err
world_put_chunk(struct world *w, uint64_t n, uint32_t len, struct error *e)
{
	auto_free uint8_t *bytes = mem_alloc(CHUNK_MAX);
	struct hash_id id = world_chunk_id(n, len);

	world_bytes(n, len, bytes);
	return chunk_store_put_chunk(w->server.store, &id, BYTES(bytes, len), NULL, false, e);
}

struct world_nodes {
	struct world *w;
	int64_t share; /* whose rows they get */
};

static inline enum err
world_put_node(
    void *ctx, enum hash_kind kind, struct bytes node, struct hash_id *ret, struct error *e)
{
	struct world_nodes *n = ctx;
	enum err r = chunk_store_put_node(n->w->server.store, HASH_DEFAULT, kind, node, ret, e);

	world_step(r, registry_store_share_node(n->w->server.registry->db, n->share, ret, e));
	return r;
}

/* The tree of N files, one chunk of LEN bytes each, numbers FIRST on. */
static inline enum err
world_tree(struct world_nodes *nodes, uint64_t first, size_t n, uint32_t len, struct hash_id *ret,
    struct error *e)
{
	const struct node_sink sink = { .put = world_put_node, .ctx = nodes };
	auto_(prolly_builder_free_p) struct prolly_builder *b =
	    prolly_builder_new(HASH_TREE, HASH_DEFAULT, sink);
	enum err r = OK;

	for (size_t i = 0; r == OK && i < n; i++) {
		auto_buf struct buf value = BUF(4096);
		char name[16];
		struct tree_item item = { .id = world_chunk_id(first + i, len), .len = len };
		struct tree_entry en = {
			.type = TREE_FILE, .mode = 0644, .size = len, .items = &item, .n_items = 1
		};
		snprintf(name, sizeof name, "f%06zu", i);
		en.name = bytes_str(name);
		world_step(r, tree_entry_encode(&en, &value, e));
		world_step(r, prolly_builder_add(b, en.name, buf_bytes(&value), e));
	}
	world_step(r, prolly_builder_finish(b, ret, e));
	return r;
}

static inline enum err
world_commit(struct world_nodes *nodes, const struct registry_share *sh,
    const struct device_key *author, struct commit *c, struct error *e)
{
	const struct node_sink sink = { .put = world_put_node, .ctx = nodes };
	auto_(prolly_builder_free_p) struct prolly_builder *causal =
	    prolly_builder_new(HASH_CAUSAL, HASH_DEFAULT, sink);
	auto_buf struct buf b = BUF(COMMIT_MAX);

	c->share = sh->id;
	c->policy = sh->policy_id;
	c->seq = sh->snapshots.len + 1;
	c->hlc = (uint64_t)server_now_ms() << 16;
	if (sh->head != NULL)
		c->parents[c->n_parents++] = sh->head->id;
	enum err r = prolly_builder_finish(causal, &c->causal, e);
	world_step(r, commit_sign(c, author, &b, e));
	struct hash_id id;
	world_step(r, world_put_node(nodes, HASH_COMMIT, buf_bytes(&b), &id, e));
	return r;
}

/* A snapshot of SH: N files of LEN bytes, chunks FIRST on; kept as the head with all its chunks,
 * or, ANNOUNCED, with none of them recorded. */
static inline enum err
world_snapshot(struct world *w, struct registry_share *sh, const struct device_key *author,
    uint64_t first, size_t n, uint32_t len, bool announced, struct registry_snapshot **ret,
    struct error *e)
{
	struct registry *reg = w->server.registry;
	struct world_nodes nodes = { w, sh->num };
	struct commit c = { .entries = n, .bytes = n * len, .chunks = n, .chunk_bytes = n * len };
	enum err r = world_tree(&nodes, first, n, len, &c.content, e);

	world_step(r, world_commit(&nodes, sh, author, &c, e));
	for (size_t i = 0; !announced && r == OK && i < n; i++) {
		struct hash_id id = world_chunk_id(first + i, len);
		world_step(r, world_put_chunk(w, first + i, len, e));
		world_step(r, registry_store_share_chunk(reg->db, sh->num, &id, e));
	}
	world_step(r, chunk_store_commit(w->server.store, e));
	struct registry_snapshot sn = {
		.id = c.id,
		.content = c.content,
		.state = announced ? SNAPSHOT_ANNOUNCED : SNAPSHOT_HEAD,
		.number = announced ? 0 : (sh->head != NULL ? sh->head->number : 0) + 1,
		.entries = n,
		.bytes = n * len,
		.chunks = n,
		.chunk_bytes = n * len,
		.announced_ms = server_now_ms(),
		.unit_size = UNIT_MIN,
		.author = *device_key_id(author),
	};
	world_step(r, registry_store_snapshot(reg->db, sh->num, &sn, e));
	if (r == OK)
		*ret = registry_add_snapshot(sh, &sn);
	commit_clear(&c);
	return r;
}

/* Removes SN as `weft rm` does. */
static inline enum err
world_rm(struct world *w, struct registry_share *sh, struct registry_snapshot *sn, struct error *e)
{
	struct registry *reg = w->server.registry;
	enum err r = db_begin(reg->db, e);

	if (r != OK)
		return r;
	world_step(r, registry_store_snapshot_drop(reg->db, &sn->id, e));
	world_step(r, registry_store_share_stale(reg->db, sh->num, e));
	world_step(r, registry_store_collected(reg->db, 0, e));
	if (r != OK) {
		db_rollback(reg->db);
		return r;
	}
	r = db_commit(reg->db, e);
	if (r != OK)
		return r;
	registry_drop_snapshot(sh, sn);
	sh->stale++;
	reg->collected_ms = 0;
	return OK;
}

struct world_wait {
	struct world *w;
	struct timer *timer;
};

static inline void
world_look(void *ctx)
{
	struct world_wait *x = ctx;

	if (x->w->server.jobs > 0) {
		timer_start(x->timer, 2);
		return;
	}
	timer_close(x->timer);
	loop_stop(x->w->server.loop);
}

/* Runs the loop until nothing is under way. */
static inline void
world_run(struct world *w)
{
	struct world_wait x = { .w = w };

	x.timer = timer_new(w->server.loop, world_look, &x);
	timer_start(x.timer, 2);
	loop_run(w->server.loop);
}

/* How many rows SQL counts, with one number as its parameter. */
static inline int64_t
world_count(struct world *w, const char *sql, int64_t n)
{
	auto_row struct db_row *row = NULL;

	assert_ok(db_query(w->server.registry->db, sql, &row, &unit_error, "i", n));
	assert_ok(db_row_next(row, &unit_error));
	return db_row_int(row, 0);
}

/* -- a test's own: in a directory that is made and removed with it -- */

/* With anna and bert as devices. */
static inline void
world_make(struct world *w, struct check_dir *dir)
{
	*dir = check_dir_make_fast();
	assert_ok(world_open(w, dir->fd, &unit_error));
	assert_ok(world_device(w, w->anna, "anna", &unit_error));
	assert_ok(world_device(w, w->bert, "bert", &unit_error));
}

static inline void
world_remove(struct world *w, struct check_dir *dir)
{
	world_close(w);
	check_dir_remove(dir);
}

static inline struct registry_share *
world_make_share(struct world *w, const char *name, const struct device_key *key)
{
	struct registry_share *sh;

	assert_ok(world_share(w, name, key, &sh, &unit_error));
	return sh;
}

/* As if the server had ended and started again; shares are elsewhere then. */
static inline void
world_reopen(struct world *w)
{
	int dir = w->home.dir;

	world_close(w);
	assert_ok(world_open(w, dir, &unit_error));
}

static inline struct registry_share *
world_share_named(const struct world *w, const char *name)
{
	return registry_share_named(w->server.registry, bytes_str(name));
}

/* Each call to the database failing once; to files: chunk/test_chunk_store_faults. */
static inline void
world_each_fault(check_scenario scenario)
{
#ifdef WEFT_FAULTS
	struct loop *first = NULL;

	/* libuv keeps what it needs for signals open for good: opened here, no scenario leaves it
	 * behind. */
	assert_ok(loop_new(0, &first, &unit_error));
	loop_free(first);
	check_each_fault(scenario, "src/db/", 3);
#else
	(void)scenario;
	skip();
#endif
}
