#include "engine/test_scan_world.h"

#include <pthread.h>

#include "engine/places.h"
#include "platform/clock.h"

enum { SIZE = 5 << 20 };

struct shelf {
	struct world world;
	struct places *places;
	uint8_t *bytes; /* of "f" */
	struct tree_item chunks[TREE_INLINE_ITEMS];
	size_t n;
};

/* A file of some chunks, scanned; and two small ones of the same content. */
static int
setup(void **state)
{
	struct shelf *s = mem_new(struct shelf);
	struct world *w = &s->world;

	world_open(w);
	s->bytes = seeded_bytes(1, SIZE);
	make_dir_at(w, "d");
	put_at(w->fd, "d/f", s->bytes, SIZE);
	put_text(w, "one", "twin");
	put_text(w, "two", "twin");
	let_it_age();
	world_scan(w, &w->node);
	for (size_t at = 0; at < SIZE; at += s->chunks[s->n++].len) {
		struct tree_item *c = &s->chunks[s->n];
		c->len = chunker_cut(BYTES(s->bytes + at, SIZE - at), true);
		chunk_id_of(HASH_DEFAULT, BYTES(s->bytes + at, c->len), NULL, &c->id);
	}
	s->places = places_new(w->node.state);
	*state = s;
	return 0;
}

static int
teardown(void **state)
{
	struct shelf *s = *state;

	places_free(s->places);
	world_close(&s->world);
	free(s->bytes);
	free(s);
	return 0;
}

/* Leaves FIRST .. of chunk I; OK only with the right bytes. */
static enum err
get(struct shelf *s, size_t i, uint32_t first, uint32_t n)
{
	auto_free uint8_t *to = mem_alloc(CHUNK_MAX);
	struct leaf_list list;
	uint32_t len = 0, want = 0;
	size_t at = 0;

	for (size_t k = 0; k < i; k++)
		at += s->chunks[k].len;
	for (uint32_t k = 0; k < n; k++)
		want += chunk_id_leaf_len((uint32_t)s->chunks[i].len, first + k);
	enum err r = places_get_leaves(s->places, NULL, &s->chunks[i].id,
	    (uint32_t)s->chunks[i].len, first, n, to, &len, &list, &world_error);
	if (r != OK)
		return r;
	assert_int_equal(len, want);
	assert_memory_equal(to, s->bytes + at + (size_t)first * CHUNK_LEAF, want);
	assert_true(chunk_id_leaves_match(&s->chunks[i].id, (uint32_t)s->chunks[i].len, &list));
	return OK;
}

static uint32_t
leaves_of(const struct shelf *s, size_t i)
{
	return chunk_id_leaf_count((uint32_t)s->chunks[i].len);
}

static void
assert_all_held(struct shelf *s)
{
	for (size_t i = 0; i < s->n; i++) {
		assert_true(places_may_have(s->places, NULL, &s->chunks[i].id));
		check_ok(get(s, i, 0, leaves_of(s, i)), world_error);
	}
}

static void
every_leaf_of_every_chunk_comes_back(void **state)
{
	struct shelf *s = *state;

	assert_true(s->n > 5);
	for (int round = 0; round < 2; round++) /* the second time with the lists that were kept */
		for (size_t i = 0; i < s->n; i++)
			for (uint32_t first = 0; first < leaves_of(s, i); first++)
				for (uint32_t n = 1; n <= leaves_of(s, i) - first; n += 3)
					check_ok(get(s, i, first, n), world_error);
	assert_all_held(s);
}

static void
leaves_that_are_not_there_are_refused(void **state)
{
	struct shelf *s = *state;
	uint8_t to[16];
	uint32_t len;
	struct hash_id none = s->chunks[0].id;

	check_err(get(s, 0, leaves_of(s, 0), 1), ERR_LIMIT, world_error);
	check_err(get(s, 0, 0, 0), ERR_LIMIT, world_error);
	check_err(get(s, 0, 1, UINT32_MAX), ERR_LIMIT, world_error);
	none.bytes[20] ^= 1; /* the same key */
	assert_int_equal(
	    places_get_leaves(s->places, NULL, &none, 16, 0, 1, to, &len, NULL, &world_error),
	    ERR_NOTFOUND);
	none.bytes[0] ^= 1;
	assert_int_equal(
	    places_get_leaves(s->places, NULL, &none, 16, 0, 1, to, &len, NULL, &world_error),
	    ERR_NOTFOUND);
	assert_false(places_may_have(s->places, NULL, &none));
	none.alg = 77;
	assert_int_equal(
	    places_get_leaves(s->places, NULL, &none, 16, 0, 1, to, &len, NULL, &world_error),
	    ERR_LIMIT);
	none.alg = 0;
	assert_int_equal(
	    places_get_leaves(s->places, NULL, &none, 16, 0, 1, to, &len, NULL, &world_error),
	    ERR_LIMIT);
}

/* -- files that change underneath -- */

static void
keep_times(const struct shelf *s, const struct stat *st)
{
	struct timespec times[2] = { st->st_atim, st->st_mtim };

	assert_int_equal(utimensat(s->world.fd, "d/f", times, 0), 0);
}

static void
flip_a_byte_and_put_the_time_back(struct shelf *s)
{
	struct stat st;
	int fd = openat(s->world.fd, "d/f", O_RDWR | O_CLOEXEC);
	uint8_t byte = s->bytes[3 << 20] ^ 1;

	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(pwrite(fd, &byte, 1, 3 << 20), 1);
	close(fd);
	keep_times(s, &st);
}

static void
cut_it_short(struct shelf *s)
{
	int fd = openat(s->world.fd, "d/f", O_RDWR | O_CLOEXEC);

	assert_int_equal(ftruncate(fd, 3 << 20), 0);
	close(fd);
}

static void
shift_it(struct shelf *s)
{
	int fd = openat(s->world.fd, "d/f", O_RDWR | O_TRUNC | O_CLOEXEC);

	assert_int_equal(write(fd, "x", 1), 1);
	assert_int_equal(write(fd, s->bytes, SIZE), SIZE);
	close(fd);
}

static void
replace_by_a_link(struct shelf *s)
{
	/* To the very bytes, but a link is not followed. */
	assert_int_equal(renameat(s->world.fd, "d/f", s->world.fd, "d/real"), 0);
	assert_int_equal(symlinkat("real", s->world.fd, "d/f"), 0);
}

static void
replace_its_directory_by_a_link(struct shelf *s)
{
	assert_int_equal(renameat(s->world.fd, "d", s->world.fd, "real"), 0);
	assert_int_equal(symlinkat("real", s->world.fd, "d"), 0);
}

static void
replace_by_a_fifo(struct shelf *s)
{
	assert_int_equal(unlinkat(s->world.fd, "d/f", 0), 0);
	assert_int_equal(mkfifoat(s->world.fd, "d/f", 0644), 0);
}

static void
replace_by_a_directory(struct shelf *s)
{
	assert_int_equal(unlinkat(s->world.fd, "d/f", 0), 0);
	assert_int_equal(mkdirat(s->world.fd, "d/f", 0755), 0);
}

static void
delete_it(struct shelf *s)
{
	assert_int_equal(unlinkat(s->world.fd, "d/f", 0), 0);
}

static void
replace_by_another(struct shelf *s)
{
	put_random(&s->world, "d/new", 99, SIZE, 0);
	assert_int_equal(renameat(s->world.fd, "d/new", s->world.fd, "d/f"), 0);
}

/* Descriptors that were kept live no longer than a moment. */
static void
let_kept_files_go(void)
{
	nanosleep(&(struct timespec){ .tv_sec = 1, .tv_nsec = 100000000 }, NULL);
}

/* A file that is gone by its name and still open may be served; so that the tests see the name. */
static void
forget_kept(struct shelf *s)
{
	places_free(s->places);
	s->places = places_new(s->world.node.state);
}

static void
a_file_that_changed_is_never_served_as_the_old_one(void **state)
{
	static void (*const changes[])(struct shelf *) = { flip_a_byte_and_put_the_time_back,
		cut_it_short, shift_it, replace_by_a_link, replace_its_directory_by_a_link,
		replace_by_a_fifo, replace_by_a_directory, delete_it, replace_by_another };
	/* These are seen through a descriptor that is kept; for the others their names must be
	 * asked again. */
	static const bool in_place[lengthof(changes)] = { true, true, true };

	for (size_t k = 0; k < lengthof(changes); k++)
		for (int warm = 0; warm < 2; warm++) {
			struct shelf *s = *state;
			if (warm)
				assert_all_held(s); /* the lists are kept now, and the file */
			changes[k](s);
			if (!warm)
				forget_kept(s);
			else if (in_place[k])
				places_trim(s->places);
			else
				let_kept_files_go();
			size_t lost = 0;
			for (size_t i = 0; i < s->n; i++) {
				/* which looks at the bytes */
				enum err r = get(s, i, 0, leaves_of(s, i));
				assert_true(r == OK || r == ERR_NOTFOUND);
				if (r == OK)
					continue;
				if (lost++ == 0)
					check_says(world_error.text, "d/f was changed or removed");
			}
			assert_true(lost > 0);
			/* It was forgotten, so the next scan reads it whatever its times say. */
			assert_false(places_may_have(s->places, NULL, &s->chunks[s->n - 1].id));
			struct scan_result r = world_scan(&s->world, &s->world.node);
			struct hash_id fresh = world_fresh(&s->world);
			assert_true(hash_id_equal(&r.content, &fresh));
			teardown(state);
			setup(state);
		}
}

static void
a_touched_file_is_served_and_one_with_more_at_its_end_too(void **state)
{
	struct shelf *s = *state;

	assert_int_equal(utimensat(s->world.fd, "d/f", NULL, 0), 0);
	int fd = openat(s->world.fd, "d/f", O_WRONLY | O_APPEND | O_CLOEXEC);
	assert_int_equal(write(fd, "more", 4), 4);
	close(fd);
	assert_all_held(s);
}

static void
another_file_of_the_same_content_stands_in(void **state)
{
	struct shelf *s = *state;
	struct hash_id id;
	uint8_t to[4];
	uint32_t len;

	chunk_id_of(HASH_DEFAULT, BYTES_LIT("twin"), NULL, &id);
	check_ok(places_get_leaves(s->places, NULL, &id, 4, 0, 1, to, &len, NULL, &world_error),
	    world_error);
	assert_int_equal(unlinkat(s->world.fd, "one", 0), 0);
	let_kept_files_go();
	check_ok(places_get_leaves(s->places, NULL, &id, 4, 0, 1, to, &len, NULL, &world_error),
	    world_error);
	assert_memory_equal(to, "twin", 4);
	put_text(&s->world, "two", "twig");
	check_err(places_get_leaves(s->places, NULL, &id, 4, 0, 1, to, &len, NULL, &world_error),
	    ERR_NOTFOUND, world_error);
}

static void
a_root_that_is_away_is_not_forgotten(void **state)
{
	struct shelf *s = *state;
	auto_free char *away = str_printf("%s/away", s->world.dir.path);

	assert_int_equal(rename(s->world.path, away), 0);
	check_err(get(s, 0, 0, 1), ERR_NOTFOUND, world_error);
	assert_int_equal(rename(away, s->world.path), 0);
	assert_all_held(s);
	/* Another directory in its place, and back: what is kept of the one is not taken for the
	 * other. */
	assert_int_equal(rename(s->world.path, away), 0);
	assert_int_equal(rename(away, s->world.path), 0);
	assert_all_held(s);
}

static void
a_file_published_alone_is_found(void **state)
{
	struct shelf *s = *state;
	struct world *w = &s->world;
	struct root root;
	struct scan_result r;
	auto_free char *path = str_printf("%s/link", w->path);

	put_text(w, "alone", "all by itself");
	assert_int_equal(symlinkat("alone", w->fd, "link"), 0);
	check_ok(state_root_get(w->node.state, ROOT_PUBLISH, &w->node.root.share, "x", path, "",
		     &root, &world_error),
	    world_error);
	root_clear(&w->node.root);
	w->node.root = root;
	w->node.has_base = false;
	check_ok(world_try(w, &w->node, path, &r, &world_error), world_error);
	struct hash_id id;
	uint8_t to[13];
	uint32_t len;
	chunk_id_of(HASH_DEFAULT, BYTES_LIT("all by itself"), NULL, &id);
	assert_true(places_may_have(s->places, NULL, &id));
	check_ok(places_get_leaves(s->places, NULL, &id, 13, 0, 1, to, &len, NULL, &world_error),
	    world_error);
	assert_memory_equal(to, "all by itself", 13);
	put_text(w, "alone", "all for nought");
	check_err(places_get_leaves(s->places, NULL, &id, 13, 0, 1, to, &len, NULL, &world_error),
	    ERR_NOTFOUND, world_error);
}

/* -- descriptors -- */

static size_t
open_descriptors(void)
{
	auto_(fs_list_clear) struct fs_list list = { 0 };
	int fd = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	check_ok(fs_list_dir(fd, &list, &world_error), world_error);
	close(fd);
	return list.n;
}

static void
nothing_is_held_open_for_long(void **state)
{
	struct shelf *s = *state;
	size_t before = open_descriptors();

	assert_all_held(s);
	assert_true(open_descriptors() > before);
	let_kept_files_go();
	places_trim(s->places);
	assert_int_equal(open_descriptors(), before);
}

static void
more_files_than_are_kept_open_are_served(void **state)
{
	struct shelf *s = *state;
	struct world *w = &s->world;
	enum { N = 200 };
	char name[32];

	for (unsigned i = 0; i < N; i++) {
		snprintf(name, sizeof name, "n%u", i);
		put_text(w, name, name);
	}
	world_scan(w, &w->node);
	size_t before = open_descriptors();
	for (unsigned k = 0; k < 3 * N; k++) {
		struct hash_id id;
		uint8_t to[32];
		uint32_t len;
		snprintf(name, sizeof name, "n%u", k * 7 % N);
		chunk_id_of(HASH_DEFAULT, bytes_str(name), NULL, &id);
		check_ok(places_get_leaves(s->places, NULL, &id, (uint32_t)strlen(name), 0, 1, to,
			     &len, NULL, &world_error),
		    world_error);
		assert_memory_equal(to, name, len);
	}
	assert_true(open_descriptors() - before <= 40);
}

/* -- many at once -- */

static void *
ask_and_ask(void *arg)
{
	struct shelf *s = arg;
	struct rng g;
	size_t wrong = 0;

	rng_seed(&g, (uint64_t)(uintptr_t)&g);
	for (int i = 0; i < 400; i++) {
		auto_free uint8_t *to = mem_alloc(CHUNK_MAX);
		size_t c = rng_below(&g, s->n), at = 0;
		uint32_t first = (uint32_t)rng_below(&g, leaves_of(s, c)), len = 0;
		for (size_t k = 0; k < c; k++)
			at += s->chunks[k].len;
		if (places_get_leaves(s->places, NULL, &s->chunks[c].id, (uint32_t)s->chunks[c].len,
			first, 1, to, &len, NULL, NULL) != OK ||
		    memcmp(to, s->bytes + at + (size_t)first * CHUNK_LEAF, len) != 0)
			wrong++;
		if (i % 50 == 0)
			places_trim(s->places);
	}
	return (void *)(uintptr_t)wrong;
}

static void
many_may_ask_at_once(void **state)
{
	struct shelf *s = *state;
	pthread_t t[4];
	void *wrong;

	for (size_t i = 0; i < lengthof(t); i++)
		assert_int_equal(pthread_create(&t[i], NULL, ask_and_ask, s), 0);
	for (size_t i = 0; i < lengthof(t); i++) {
		assert_int_equal(pthread_join(t[i], &wrong), 0);
		assert_null(wrong);
	}
}

int
main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(every_leaf_of_every_chunk_comes_back),
		T(leaves_that_are_not_there_are_refused),
		T(a_file_that_changed_is_never_served_as_the_old_one),
		T(a_touched_file_is_served_and_one_with_more_at_its_end_too),
		T(another_file_of_the_same_content_stands_in),
		T(a_root_that_is_away_is_not_forgotten),
		T(a_file_published_alone_is_found),
		T(nothing_is_held_open_for_long),
		T(more_files_than_are_kept_open_are_served),
		T(many_may_ask_at_once),
	};
#undef T

	return cmocka_run_group_tests(tests, NULL, NULL);
}
