#include "engine/test_dest_world.h"

#include <pthread.h>

#include "engine/dest_private.h"
#include "engine/dest_table.h"

/* -- helpers -- */

/* Something of everything that is staged differently: beneath a new directory and not, of one leaf,
 * of many, twice, and with holes. */
static struct snap
some_tree(struct world *w)
{
	struct snap s = { 0 };

	snap_text(&s, "small", "hello");
	snap_random(&s, "big", 1, 3 << 20, 0);
	snap_random(&s, "new/deep/big", 2, 2 << 20, 0);
	snap_random(&s, "new/copy", 1, 3 << 20, 0);
	snap_text(&s, "new/small", "hello there");
	snap_random(&s, "sparse", 3, 4 << 20, 4);
	snap_build(w, &s);
	return s;
}

static enum err
serve(struct world *w, uint32_t chunk, uint32_t first, uint32_t n, uint8_t *to)
{
	const struct snapshot_map_chunk *m = snapshot_map_chunk(w->map, chunk);
	const struct buf *b = map_ptr(&w->chunks, hash_id_bytes(&m->id));
	struct leaf_list list;
	uint32_t len = 0, wanted = 0;
	enum err r = dest_get_leaves(w->d, chunk, first, n, to, &len, &list, &w->e);

	if (r != OK)
		return r;
	for (uint32_t i = 0; i < n; i++)
		wanted += chunk_id_leaf_len(m->len, first + i);
	assert_int_equal(len, wanted);
	assert_memory_equal(to, b->at + (size_t)first * CHUNK_LEAF, len);
	assert_true(chunk_id_leaves_match(&m->id, m->len, &list));
	return OK;
}

/* Every leaf by itself, and every chunk at once. */
static void
assert_all_served(struct world *w)
{
	auto_free uint8_t *to = mem_alloc(CHUNK_MAX);

	for (uint32_t i = 0; i < snapshot_map_chunks(w->map); i++) {
		uint32_t n = chunk_id_leaf_count(snapshot_map_chunk(w->map, i)->len);
		for (uint32_t leaf = 0; leaf < n; leaf++)
			check_ok(serve(w, i, leaf, 1, to), w->e);
		check_ok(serve(w, i, 0, n, to), w->e);
	}
}

/* A chunk of several leaves, of which the first is at OFFSET of PATH. */
static uint32_t
chunk_of(struct world *w, const char *path, uint64_t *ret_offset)
{
	for (uint32_t i = 0; i < snapshot_map_chunks(w->map); i++) {
		const struct dest_chunk *c = dest_chunk(w->d, i);
		if (c->file == DEST_NONE || c->list == DEST_NONE ||
		    strcmp(dest_file_path(w->d, dest_file(w->d, c->file)).text, path) != 0)
			continue;
		*ret_offset = c->offset;
		return i;
	}
	unit_fail("no chunk in %s", path);
	return DEST_NONE;
}

static void
flip(const char *path, uint64_t at)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	uint8_t x;

	if (fd < 0)
		unit_fail("%s: %s", path, strerror(errno));
	assert_int_equal(pread(fd, &x, 1, (off_t)at), 1);
	x ^= 1;
	assert_int_equal(pwrite(fd, &x, 1, (off_t)at), 1);
	close(fd);
}

static char *
staged(struct world *w, uint32_t chunk)
{
	auto_buf struct buf text = BUF(DEST_PATH_MAX);

	dest_stage_path(w->d, dest_chunk(w->d, chunk)->file, &text);
	return str_printf("%s/.weft/stage-%lld/%s", w->dest, (long long)w->job, buf_text(&text));
}

/* -- tests -- */

static void
what_was_taken_is_served_before_it_is_flushed(void **state)
{
	struct world *w = *state;
	auto_snap struct snap s = some_tree(w);
	auto_free uint8_t *to = mem_alloc(CHUNK_MAX);
	struct sink sink;

	check_ok(world_plan(w, &s), w->e);
	sink = dest_sink(w->d);
	for (uint32_t i = 0; i < snapshot_map_chunks(w->map); i++) {
		uint32_t n = chunk_id_leaf_count(snapshot_map_chunk(w->map, i)->len);
		for (uint32_t leaf = n; leaf-- > 0;) {
			assert_int_equal(serve(w, i, leaf, 1, to), ERR_NOTFOUND);
			check_ok(world_feed_leaf(w, &sink, i, leaf), w->e);
			check_ok(serve(w, i, leaf, 1, to), w->e);
			if (leaf > 0)
				assert_int_equal(serve(w, i, leaf - 1, 2, to), ERR_NOTFOUND);
		}
	}
	assert_all_served(w);
}

static void
what_was_put_into_place_is_served_from_there(void **state)
{
	struct world *w = *state;
	auto_snap struct snap s = some_tree(w);
	auto_snap struct snap next = snap_copy(&s);

	world_receive(w, &s);
	check_ok(world_switch(w), w->e);
	assert_all_served(w);
	world_end(w);
	/* One that replaces another, and one that comes into a directory that is there. */
	snap_random(&next, "big", 11, 3 << 20, 0);
	snap_random(&next, "new/more", 12, 1 << 20, 0);
	snap_build(w, &next);
	world_receive(w, &next);
	check_ok(world_switch(w), w->e);
	auto_free uint8_t *to = mem_alloc(CHUNK_MAX);
	uint64_t offset;
	check_ok(serve(w, chunk_of(w, "big", &offset), 0, 2, to), w->e);
	check_ok(serve(w, chunk_of(w, "new/more", &offset), 0, 2, to), w->e);
}

static void
what_was_copied_here_is_served_too(void **state)
{
	struct world *w = *state;
	auto_snap struct snap s = some_tree(w);
	auto_snap struct snap moved = { 0 };

	world_get(w, &s);
	snap_random(&moved, "elsewhere", 1, 3 << 20, 0);
	snap_build(w, &moved);
	check_ok(world_plan(w, &moved), w->e);
	check_ok(dest_copy_local(w->d, NULL, &w->e), w->e);
	assert_all_served(w);
}

/* A newer snapshot takes over what was staged of the one before, from beside it. */
static void
what_an_earlier_one_has_staged_is_taken_over(void **state)
{
	struct world *w = *state;
	auto_snap struct snap s = { 0 };
	auto_snap struct snap next = { 0 };
	auto_free char *other = str_printf("%s/other", w->home);
	struct snapshot_map *map;
	uint64_t offset;

	snap_random(&s, "big", 1, 3 << 20, 0);
	snap_random(&s, "gone", 2, 1 << 20, 0);
	snap_build(w, &s);
	snap_text(&next, "first", "other numbers");
	snap_random(&next, "moved/big", 1, 3 << 20, 0);
	snap_build(w, &next);
	check_ok(world_plan(w, &s), w->e);
	w->feed_max = 3 << 20;
	(void)!world_bring(w);
	w->feed_max = UINT64_MAX;
	uint32_t bad = chunk_of(w, "big", &offset);
	auto_free char *path = staged(w, bad);
	flip(path, offset);
	struct dest *earlier = w->d;
	int job_dir = w->job_dir;
	map = w->map;
	w->d = NULL;
	w->map = NULL;
	w->round = 1;
	assert_int_equal(mkdir(other, 0700), 0);
	w->job_dir = open(other, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	check_ok(world_plan(w, &next), w->e);
	check_ok(dest_copy_local(w->d, earlier, &w->e), w->e);
	dest_close(earlier);
	snapshot_map_free(map);
	check_ok(dest_discard(w->dest, w->job, 0, job_dir, &w->e), w->e);
	close(job_dir);
	check_ok(world_feed(w), w->e);
	assert_in_range(w->fed, 13, CHUNK_MAX + 13); /* the one that is damaged, and what is new */
	check_ok(world_switch(w), w->e);
	dest_close(w->d);
	w->d = NULL;
	check_ok(dest_discard(w->dest, w->job, 1, w->job_dir, &w->e), w->e);
	w->round = 0;
	world_assert_is(w, &next, 0);
	assert_false(world_has(w, ".weft"));
}

static void
a_flipped_byte_is_noticed_and_fetched_again(void **state)
{
	struct world *w = *state;
	auto_snap struct snap s = some_tree(w);
	auto_free uint8_t *to = mem_alloc(CHUNK_MAX);
	uint64_t offset;

	world_receive(w, &s);
	uint32_t chunk = chunk_of(w, "big", &offset);
	auto_free char *path = staged(w, chunk);
	flip(path, offset + CHUNK_LEAF + 5);
	check_ok(serve(w, chunk, 0, 1, to), w->e); /* the leaf before it */
	assert_int_equal(serve(w, chunk, 1, 1, to), ERR_NOTFOUND);
	assert_non_null(strstr(w->e.text, "big: what was received has been changed"));
	check_err(world_switch(w), ERR_AGAIN, w->e);
	w->fed = 0;
	check_ok(world_feed(w), w->e);
	assert_int_equal(w->fed, chunk_id_leaf_len(snapshot_map_chunk(w->map, chunk)->len, 1));
	check_ok(serve(w, chunk, 1, 1, to), w->e);
	check_ok(world_switch(w), w->e);
	world_assert_is(w, &s, 0);
}

static void
a_damaged_list_serves_nothing(void **state)
{
	struct world *w = *state;
	auto_snap struct snap s = some_tree(w);
	auto_free uint8_t *to = mem_alloc(CHUNK_MAX);
	uint64_t offset;

	world_receive(w, &s);
	uint32_t chunk = chunk_of(w, "big", &offset);
	uint8_t *list = big_array_at(&w->d->plan.lists, dest_chunk(w->d, chunk)->list);
	list[HASH_BYTES] ^= 1;
	assert_int_equal(serve(w, chunk, 0, 1, to), ERR_NOTFOUND);
	list[HASH_BYTES] ^= 1;
	check_ok(serve(w, chunk, 0, 1, to), w->e);
	dest_chunk(w->d, chunk)->has_list = 0;
	assert_int_equal(serve(w, chunk, 0, 1, to), ERR_NOTFOUND);
}

static void
a_removed_file_serves_nothing(void **state)
{
	struct world *w = *state;
	auto_snap struct snap s = some_tree(w);
	auto_free uint8_t *to = mem_alloc(CHUNK_MAX);
	uint64_t offset;

	world_receive(w, &s);
	uint32_t chunk = chunk_of(w, "big", &offset);
	auto_free char *path = staged(w, chunk);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(serve(w, chunk, 0, 1, to), ERR_NOTFOUND);
}

static void
what_is_asked_wrongly_is_refused(void **state)
{
	struct world *w = *state;
	auto_snap struct snap s = some_tree(w);
	uint8_t to[16];
	uint32_t len;

	world_receive(w, &s);
	uint32_t n = (uint32_t)snapshot_map_chunks(w->map);
	uint32_t leaves = chunk_id_leaf_count(snapshot_map_chunk(w->map, 0)->len);
	check_err(dest_get_leaves(w->d, n, 0, 1, to, &len, NULL, &w->e), ERR_LIMIT, w->e);
	check_err(dest_get_leaves(w->d, 0, 0, 0, to, &len, NULL, &w->e), ERR_LIMIT, w->e);
	check_err(dest_get_leaves(w->d, 0, leaves, 1, to, &len, NULL, &w->e), ERR_LIMIT, w->e);
	check_err(dest_get_leaves(w->d, 0, UINT32_MAX, 2, to, &len, NULL, &w->e), ERR_LIMIT, w->e);
}

/* The process has died: what is read again brings its lists along; what the switch had begun is
 * served from where it is. */
static void
a_restart_serves_on(void **state)
{
	struct world *w = *state;
	auto_snap struct snap s = some_tree(w);

	world_receive(w, &s);
	world_restart(w);
	check_ok(world_plan(w, &s), w->e);
	assert_all_served(w);
	check_ok(dest_finish(w->d, &w->e), w->e);
	check_ok(dest_store_write(w->d, DEST_PLACING, &w->e), w->e);
	check_ok(dest_place(w->d, &w->e), w->e);
	world_restart(w);
	check_ok(world_plan(w, &s), w->e);
	assert_int_equal(w->d->phase, DEST_PLACING);
	assert_all_served(w);
}

static void
a_unit_of_another_part_is_partial(void **state)
{
	struct world *w = *state;
	auto_snap struct snap s = { 0 };
	uint32_t partial = 0, n;

	snap_random(&s, "a/big", 1, 3 << 20, 0);
	snap_random(&s, "b/big", 2, 3 << 20, 0);
	snap_build(w, &s);
	check_ok(world_plan(w, &s), w->e);
	n = (uint32_t)snapshot_map_units(w->map);
	for (uint32_t i = 0; i < n; i++)
		partial += dest_is_partial(w->d, i);
	assert_int_equal(partial, 0);
	world_end(w);
	w->subpath = "b";
	check_ok(world_plan(w, &s), w->e);
	for (uint32_t i = 0; i < n; i++)
		partial += dest_is_partial(w->d, i);
	assert_in_range(partial, n / 2 - 1, n / 2 + 1);
	assert_true(dest_is_partial(w->d, 0));
	assert_false(dest_is_partial(w->d, n - 1));
}

/* What stays as it is, is here; what was the user's is not ours to give. */
static void
a_file_that_stays_is_partial_only_if_it_was_the_users(void **state)
{
	struct world *w = *state;
	auto_snap struct snap s = { 0 };

	snap_random(&s, "big", 1, 1 << 20, 0);
	snap_build(w, &s);
	world_get(w, &s);
	check_ok(world_plan(w, &s), w->e);
	for (uint32_t i = 0; i < snapshot_map_units(w->map); i++)
		assert_false(dest_is_partial(w->d, i));
	world_end(w);
	/* As it would be without us. */
	check_ok(state_root_del(w->state, w->root.id, &w->e), w->e);
	w->root.snapshot = (struct hash_id){ 0 };
	check_ok(world_plan(w, &s), w->e);
	assert_int_equal(w->sum.files_adopted, 1);
	for (uint32_t i = 0; i < snapshot_map_units(w->map); i++)
		assert_true(dest_is_partial(w->d, i));
}

/* -- several threads -- */

struct guest {
	struct world *w;
	const atomic_bool *stop;
	uint64_t seed, served;
	bool wrong;
};

static void *
read_on(void *arg)
{
	struct guest *r = arg;
	auto_free uint8_t *to = mem_alloc(CHUNK_MAX);
	struct rng g;

	rng_seed(&g, r->seed);
	while (!*r->stop) {
		uint32_t i = (uint32_t)rng_below(&g, snapshot_map_chunks(r->w->map)), len;
		const struct snapshot_map_chunk *m = snapshot_map_chunk(r->w->map, i);
		uint32_t count = chunk_id_leaf_count(m->len);
		uint32_t first = (uint32_t)rng_below(&g, count);
		uint32_t n = 1 + (uint32_t)rng_below(&g, count - first);
		const struct buf *b = map_ptr(&r->w->chunks, hash_id_bytes(&m->id));
		if (dest_get_leaves(r->w->d, i, first, n, to, &len, NULL, NULL) != OK)
			continue;
		r->served++;
		r->wrong |= memcmp(to, b->at + (size_t)first * CHUNK_LEAF, len) != 0;
	}
	return NULL;
}

static void
it_is_served_beside_taking_and_switching(void **state)
{
	enum { READERS = 3 };
	struct world *w = *state;
	auto_snap struct snap s = some_tree(w);
	auto_snap struct snap next = snap_copy(&s);
	struct guest readers[READERS];
	pthread_t threads[READERS];
	atomic_bool stop = false;

	world_get(w, &s);
	snap_random(&next, "big", 11, 3 << 20, 0);
	snap_random(&next, "new/deep/big", 12, 2 << 20, 0);
	snap_random(&next, "other/big", 13, 2 << 20, 0);
	snap_text(&next, "small", "hello again");
	snap_build(w, &next);
	check_ok(world_plan(w, &next), w->e);
	for (size_t i = 0; i < READERS; i++) {
		readers[i] = (struct guest){ .w = w, .stop = &stop, .seed = i };
		assert_int_equal(pthread_create(&threads[i], NULL, read_on, &readers[i]), 0);
	}
	enum err r = world_bring(w);
	if (r == OK)
		r = world_switch(w);
	stop = true;
	for (size_t i = 0; i < READERS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	check_ok(r, w->e);
	for (size_t i = 0; i < READERS; i++)
		assert_false(readers[i].wrong);
	world_assert_is(w, &next, 0);
}

/* -- the table -- */

static enum err
ask_table(struct world *w, struct dest_table *t, const struct hash_id *share,
    const struct hash_id *snapshot, uint32_t chunk, uint8_t *to)
{
	const struct source_leaves which = {
		.share = share, .snapshot = snapshot, .map = w->map, .chunk = chunk, .n = 1
	};
	uint32_t len;

	return dest_table_get_leaves(t, &which, to, &len, NULL, &w->e);
}

static void
the_table_gives_under_its_share_and_snapshot_only(void **state)
{
	struct world *w = *state;
	auto_snap struct snap s = some_tree(w);
	auto_free uint8_t *to = mem_alloc(CHUNK_LEAF);
	struct dest_table *t = dest_table_new();
	struct hash_id share = w->root.share, other = share;

	other.bytes[0] ^= 1;
	world_receive(w, &s);
	check_err(ask_table(w, t, &share, &s.id, 0, to), ERR_NOTFOUND, w->e);
	dest_table_add(t, &share, &s.id, w->d);
	check_ok(ask_table(w, t, &share, &s.id, 0, to), w->e);
	check_err(ask_table(w, t, &other, &s.id, 0, to), ERR_NOTFOUND, w->e);
	check_err(ask_table(w, t, &share, &other, 0, to), ERR_NOTFOUND, w->e);
	dest_table_remove(t, w->d);
	check_err(ask_table(w, t, &share, &s.id, 0, to), ERR_NOTFOUND, w->e);
	dest_table_remove(t, w->d);
	dest_table_free(t);
}

struct asker {
	struct world *w;
	struct dest_table *t;
	const struct snap *s;
	atomic_uint served;
};

static void *
ask_on(void *arg)
{
	struct asker *a = arg;
	auto_free uint8_t *to = mem_alloc(CHUNK_LEAF);
	const struct source_leaves which = {
		.share = &a->w->root.share, .snapshot = &a->s->id, .map = a->w->map, .n = 1
	};
	uint32_t len;

	while (dest_table_get_leaves(a->t, &which, to, &len, NULL, NULL) == OK)
		a->served++;
	return NULL;
}

/* It is closed while somebody reads; the sanitizers would see a reader that is left. */
static void
removing_waits_for_who_reads(void **state)
{
	struct world *w = *state;
	auto_snap struct snap s = some_tree(w);
	struct asker a = { .w = w, .t = dest_table_new(), .s = &s };
	pthread_t thread;

	for (int i = 0; i < 20; i++) {
		world_receive(w, &s);
		dest_table_add(a.t, &w->root.share, &s.id, w->d);
		a.served = 0;
		assert_int_equal(pthread_create(&thread, NULL, ask_on, &a), 0);
		while (a.served == 0)
			usleep(100);
		dest_table_remove(a.t, w->d);
		dest_close(w->d);
		w->d = NULL;
		assert_int_equal(pthread_join(thread, NULL), 0);
	}
	dest_table_free(a.t);
}

int
main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)
	const struct CMUnitTest tests[] = {
		T(what_was_taken_is_served_before_it_is_flushed),
		T(what_was_put_into_place_is_served_from_there),
		T(what_was_copied_here_is_served_too),
		T(what_an_earlier_one_has_staged_is_taken_over),
		T(a_flipped_byte_is_noticed_and_fetched_again),
		T(a_damaged_list_serves_nothing),
		T(a_removed_file_serves_nothing),
		T(what_is_asked_wrongly_is_refused),
		T(a_restart_serves_on),
		T(a_unit_of_another_part_is_partial),
		T(a_file_that_stays_is_partial_only_if_it_was_the_users),
		T(it_is_served_beside_taking_and_switching),
		T(the_table_gives_under_its_share_and_snapshot_only),
		T(removing_waits_for_who_reads),
	};

	return world_run(tests);
}
