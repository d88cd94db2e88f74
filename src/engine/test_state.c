#include "tests/check.h"

#include <pthread.h>

#include "base/mem.h"
#include "base/rng.h"
#include "engine/state.h"
#include "platform/clock.h"

struct place {
	struct check_dir dir;
	char *path;
	struct state *s;
};

static struct error e;

static int
setup(void **state)
{
	struct place *p = mem_new(struct place);

	p->dir = check_dir_make();
	p->path = str_printf("%s/state.db", p->dir.path);
	check_ok(state_open(p->path, &p->s, &e), e);
	*state = p;
	return 0;
}

static int
teardown(void **state)
{
	struct place *p = *state;

	state_close(p->s);
	check_dir_remove(&p->dir);
	free(p->path);
	free(p);
	return 0;
}

static void
reopen(struct place *p)
{
	state_close(p->s);
	p->s = NULL;
	check_ok(state_open(p->path, &p->s, &e), e);
}

static struct hash_id
any_id(uint64_t n)
{
	struct hash_id id;

	hash_object(HASH_DEFAULT, HASH_CHUNK, BYTES_OF(n), &id);
	return id;
}

static struct state_file
any_file(const char *name, uint64_t n)
{
	struct state_file f = {
		.size = n, .ino = n + 1, .mtime_ns = (int64_t)n - 5, .ctime_ns = INT64_MAX, .gen = 1
	};

	f.name_len = (uint32_t)strlen(name);
	memcpy(f.name, name, f.name_len + 1);
	return f;
}

static void
assert_file(const struct state_file *is, const struct state_file *want)
{
	assert_string_equal(is->name, want->name);
	assert_int_equal(is->name_len, want->name_len);
	assert_int_equal(is->id, want->id);
	assert_int_equal(is->size, want->size);
	assert_int_equal(is->ino, want->ino);
	assert_int_equal(is->mtime_ns, want->mtime_ns);
	assert_int_equal(is->ctime_ns, want->ctime_ns);
	assert_int_equal(is->gen, want->gen);
	assert_int_equal(is->ours, want->ours);
	assert_int_equal(is->content, want->content);
}

static struct root
any_root(struct state *s, const char *path)
{
	struct hash_id share = any_id(7);
	struct root root;

	check_ok(state_root_get(s, ROOT_PUBLISH, &share, "games", path, "", &root, &e), e);
	return root;
}

static int64_t
any_dir(struct state *s, int64_t root, const char *path)
{
	struct relpath p = { path, strlen(path) };
	int64_t id = 0;

	e = (struct error){ 0 };
	check_ok(state_dir_id(s, root, p, &id, &e), e);
	assert_int_equal(e.code, OK);
	return id;
}

static size_t
places_of(struct state *s, uint64_t chunk, struct state_place *ret)
{
	struct hash_id id = any_id(chunk);
	size_t n = 99;

	check_ok(state_places(s, NULL, &id, ret, 4, &n, &e), e);
	return n;
}

static void
settings_are_kept_and_deleted(void **state)
{
	struct place *p = *state;
	auto_buf struct buf b = BUF(16);

	check_err(state_get(p->s, "name", &b, &e), ERR_NOTFOUND, e);
	check_says(e.text, "name");
	check_ok(state_set(p->s, "name", BYTES("a\0b", 3), &e), e);
	check_ok(state_set(p->s, "name", BYTES("c\0d", 3), &e), e);
	reopen(p);
	check_ok(state_get(p->s, "name", &b, &e), e);
	assert_true(bytes_equal(buf_bytes(&b), BYTES("c\0d", 3)));
	check_ok(state_set(p->s, "name", BYTES_LIT("far too long for 16"), &e), e);
	check_err(state_get(p->s, "name", &b, &e), ERR_LIMIT, e);
	check_ok(state_set(p->s, "name", BYTES(NULL, 0), &e), e);
	check_err(state_get(p->s, "name", &b, &e), ERR_NOTFOUND, e);
}

static enum err
count_statement(void *ctx, struct bytes b, struct error *err)
{
	size_t *n = ctx;

	(void)err;
	*n += b.len;
	return OK;
}

static enum err
refuse_statement(void *ctx, struct bytes b, struct error *err)
{
	(void)ctx;
	(void)b;
	return fail(err, ERR_DENIED, "not this one");
}

static void
statements_come_back_until_they_are_deleted(void **state)
{
	struct place *p = *state;
	struct hash_id one = any_id(1), two = any_id(2);
	size_t n = 0;

	check_ok(state_statement_put(p->s, BYTES_LIT("first"), &one, &e), e);
	check_ok(state_statement_put(p->s, BYTES_LIT("first"), &one, &e), e);
	check_ok(state_statement_put(p->s, BYTES_LIT("the second"), &two, &e), e);
	check_ok(state_statements(p->s, count_statement, &n, &e), e);
	assert_int_equal(n, 15);
	check_err(state_statements(p->s, refuse_statement, NULL, &e), ERR_DENIED, e);
	check_ok(state_statement_del(p->s, &one, &e), e);
	n = 0;
	check_ok(state_statements(p->s, count_statement, &n, &e), e);
	assert_int_equal(n, 10);
}

static enum err
count_root(void *ctx, const struct root *r, struct error *err)
{
	size_t *n = ctx;

	(void)err;
	assert_string_equal(r->share_name, "games");
	*n += 1;
	return OK;
}

static void
a_root_is_one_for_kind_share_and_path(void **state)
{
	struct place *p = *state;
	struct hash_id share = any_id(7);
	auto_(root_clear) struct root a = any_root(p->s, "/a"), b = any_root(p->s, "/b"),
				      again = any_root(p->s, "/a");
	auto_(root_clear) struct root get = { 0 };
	size_t n = 0;

	assert_true(hash_id_is_none(&a.snapshot) && hash_id_is_none(&a.content));
	assert_int_equal(a.id, again.id);
	assert_int_not_equal(a.id, b.id);
	check_ok(state_root_get(p->s, ROOT_GET, &share, "games", "/a", "x/y", &get, &e), e);
	assert_int_not_equal(get.id, a.id);
	a.content = any_id(8);
	a.snapshot = any_id(9);
	a.time_ns = -12;
	check_ok(state_root_update(p->s, &a, &e), e);
	reopen(p);
	root_clear(&again);
	again = any_root(p->s, "/a");
	assert_true(hash_id_equal(&again.content, &a.content) &&
		    hash_id_equal(&again.snapshot, &a.snapshot));
	assert_true(hash_id_equal(&again.share, &share));
	assert_int_equal(again.time_ns, -12);
	assert_string_equal(again.path, "/a");
	assert_string_equal(again.subpath, "");
	root_clear(&again);
	check_ok(state_root_by_id(p->s, get.id, &again, &e), e);
	assert_string_equal(again.subpath, "x/y");
	assert_int_equal(again.kind, ROOT_GET);
	check_ok(state_roots(p->s, count_root, &n, &e), e);
	assert_int_equal(n, 3);
	struct root none;
	check_err(state_root_by_id(p->s, 1000, &none, &e), ERR_NOTFOUND, e);
}

static void
files_come_in_name_order_and_in_parts(void **state)
{
	struct place *p = *state;
	auto_(root_clear) struct root root = any_root(p->s, "/a");
	int64_t dir = any_dir(p->s, root.id, ""), other = any_dir(p->s, root.id, "sub");
	static const char *const names[] = { "b", "a", "\xff", "a.b", "B", "a/" };
	static const char *const sorted[] = { "B", "a", "a.b", "b", "\xff" };
	struct state_file f, found;
	state_file_array all = { 0 }, part = { 0 };

	for (size_t i = 0; i < 5; i++) {
		f = any_file(names[i], i);
		f.ours = i == 2;
		f.content = UINT64_MAX - i;
		check_ok(state_file_put(p->s, dir, &f, &e), e);
		check_ok(state_file_find(p->s, dir, BYTES(f.name, f.name_len), &found, &e), e);
		assert_file(&found, &f);
		check_ok(state_file_put(p->s, other, &f, &e), e);
	}
	check_ok(state_files(p->s, dir, &all, &e), e);
	assert_int_equal(all.len, 5);
	for (size_t i = 0; i < 5; i++)
		assert_string_equal(all.at[i].name, sorted[i]);
	for (size_t i = 0; i < 5; i += 2) {
		struct bytes after =
		    i > 0 ? BYTES(all.at[i - 1].name, all.at[i - 1].name_len) : BYTES(NULL, 0);
		part.len = 0;
		check_ok(state_files_after(p->s, dir, after, 2, &part, &e), e);
		assert_int_equal(part.len, min_of(5 - i, (size_t)2));
		for (size_t k = 0; k < part.len; k++)
			assert_file(&part.at[k], &all.at[i + k]);
	}
	check_err(state_file_find(p->s, dir, BYTES_LIT("no"), &found, &e), ERR_NOTFOUND, e);
	array_clear(&all);
	array_clear(&part);
}

static void
a_file_put_again_keeps_its_id_and_loses_its_places(void **state)
{
	struct place *p = *state;
	auto_(root_clear) struct root root = any_root(p->s, "/a");
	int64_t dir = any_dir(p->s, root.id, "x");
	struct state_file f = any_file("f", 1), g = any_file("g", 2), found;
	struct state_place at[4];
	struct hash_id chunk = any_id(1);

	check_ok(state_file_put(p->s, dir, &f, &e), e);
	check_ok(state_file_put(p->s, dir, &g, &e), e);
	int64_t id = f.id;
	check_ok(state_place_add(p->s, &chunk, f.id, 70000, &e), e);
	check_ok(state_place_add(p->s, &chunk, f.id, 70000, &e), e);
	check_ok(state_place_add(p->s, &chunk, g.id, UINT64_MAX >> 2, &e), e);
	assert_int_equal(places_of(p->s, 1, at), 2);
	assert_int_equal(places_of(p->s, 2, at), 0);
	f.size = 77;
	check_ok(state_file_set(p->s, &f, &e), e);
	assert_int_equal(places_of(p->s, 1, at), 2);
	check_ok(state_file_put(p->s, dir, &f, &e), e);
	assert_int_equal(f.id, id);
	assert_int_equal(places_of(p->s, 1, at), 1);
	assert_int_equal(at[0].file, g.id);
	assert_int_equal(at[0].offset, UINT64_MAX >> 2);
	check_ok(state_file_find(p->s, dir, BYTES_LIT("f"), &found, &e), e);
	assert_file(&found, &f);
	struct state_file other = g;
	other.ctime_ns--;
	check_ok(state_file_del_if(p->s, &other, &e), e);
	assert_int_equal(places_of(p->s, 1, at), 1);
	check_ok(state_file_del_if(p->s, &g, &e), e);
	assert_int_equal(places_of(p->s, 1, at), 0);
	check_err(state_file_find(p->s, dir, BYTES_LIT("g"), &found, &e), ERR_NOTFOUND, e);
	reopen(p);
	struct state_file h = any_file("h", 3);
	check_ok(state_file_put(p->s, dir, &h, &e), e);
	assert_int_not_equal(h.id, f.id);
	check_ok(state_place_add(p->s, &chunk, f.id, 0, &e), e);
	check_ok(state_file_del(p->s, f.id, &e), e);
	assert_int_equal(places_of(p->s, 1, at), 0);
}

static void
a_file_tells_its_path(void **state)
{
	struct place *p = *state;
	auto_(root_clear) struct root root = any_root(p->s, "/a");
	static const char *const dirs[] = { "", "x", "x/y" }, *const paths[] = { "f", "x/f",
		"x/y/f" };
	auto_buf struct buf b = BUF(RELPATH_MAX), small = BUF(3);
	struct state_file f, found;
	int64_t of = 0;

	for (size_t i = 0; i < 3; i++) {
		f = any_file("f", i);
		check_ok(state_file_put(p->s, any_dir(p->s, root.id, dirs[i]), &f, &e), e);
		buf_reset(&b);
		check_ok(state_file_path(p->s, f.id, &of, &b, &found, &e), e);
		assert_string_equal(buf_text(&b), paths[i]);
		assert_int_equal(of, root.id);
		assert_file(&found, &f);
	}
	check_err(state_file_path(p->s, f.id, &of, &small, NULL, &e), ERR_LIMIT, e);
	assert_int_equal(small.len, 0);
	check_err(state_file_path(p->s, 12345, &of, &b, NULL, &e), ERR_NOTFOUND, e);
}

struct dirs {
	size_t n;
	uint64_t inos;
	size_t bytes;
};

static enum err
count_dir(void *ctx, int64_t id, struct relpath path, uint64_t ino, struct error *err)
{
	struct dirs *d = ctx;

	(void)err;
	assert_true(id > 0);
	d->n++;
	d->inos += ino;
	d->bytes += path.len;
	return OK;
}

static void
directories_are_found_by_path_and_go_with_their_files(void **state)
{
	struct place *p = *state;
	auto_(root_clear) struct root root = any_root(p->s, "/a"), other = any_root(p->s, "/b");
	int64_t x = any_dir(p->s, root.id, "x"), y = any_dir(p->s, root.id, "x/y"), found = 0;
	struct state_file f = any_file("f", 1);
	struct state_place at[4];
	struct hash_id chunk = any_id(1);
	struct dirs dirs = { 0 };
	uint64_t ino = 1;

	any_dir(p->s, other.id, "x");
	assert_int_equal(any_dir(p->s, root.id, "x"), x);
	check_ok(state_dir_set_ino(p->s, y, 1ull << 63 | 5, &e), e);
	check_ok(state_dir_find(p->s, root.id, REL("x/y"), &found, &ino, &e), e);
	assert_int_equal(found, y);
	assert_int_equal(ino, 1ull << 63 | 5);
	check_err(state_dir_find(p->s, root.id, REL("y"), &found, &ino, &e), ERR_NOTFOUND, e);
	check_ok(state_file_put(p->s, y, &f, &e), e);
	check_ok(state_place_add(p->s, &chunk, f.id, 0, &e), e);
	check_ok(state_dirs(p->s, root.id, count_dir, &dirs, &e), e);
	assert_int_equal(dirs.n, 2);
	assert_int_equal(dirs.inos, 1ull << 63 | 5);
	assert_int_equal(dirs.bytes, 4);
	check_ok(state_dir_del(p->s, y, &e), e);
	assert_int_equal(places_of(p->s, 1, at), 0);
	check_err(state_dir_find(p->s, root.id, REL("x/y"), &found, NULL, &e), ERR_NOTFOUND, e);
	check_ok(state_dir_find(p->s, root.id, REL("x"), &found, NULL, &e), e);
}

static void
expiry_and_deletion_leave_other_roots_alone(void **state)
{
	struct place *p = *state;
	struct root roots[2] = { any_root(p->s, "/a"), any_root(p->s, "/b") };
	struct state_file f;
	struct state_place at[4];
	int64_t ids[2][2];

	for (size_t i = 0; i < 2; i++)
		for (size_t k = 0; k < 2; k++) {
			struct hash_id chunk = any_id(k);
			f = any_file(k > 0 ? "new" : "old", k);
			f.gen = 5 + k;
			check_ok(state_file_put(
				     p->s, any_dir(p->s, roots[i].id, k > 0 ? "n" : "o"), &f, &e),
			    e);
			check_ok(state_place_add(p->s, &chunk, f.id, 0, &e), e);
			ids[i][k] = f.id;
		}
	check_ok(state_files_expire(p->s, roots[0].id, 6, &e), e);
	assert_int_equal(places_of(p->s, 0, at), 1);
	assert_int_equal(at[0].file, ids[1][0]);
	assert_int_equal(places_of(p->s, 1, at), 2);
	check_ok(state_file_touch(p->s, ids[1][0], 9, &e), e);
	check_ok(state_files_expire(p->s, roots[1].id, 9, &e), e);
	assert_int_equal(places_of(p->s, 0, at), 1);
	assert_int_equal(places_of(p->s, 1, at), 1);
	check_ok(state_root_del(p->s, roots[0].id, &e), e);
	assert_int_equal(places_of(p->s, 1, at), 0);
	assert_int_equal(places_of(p->s, 0, at), 1);
	root_clear(&roots[0]);
	root_clear(&roots[1]);
}

static void
a_share_has_the_nodes_it_was_given(void **state)
{
	struct place *p = *state;
	struct hash_id a = any_id(1), b = any_id(2), node = any_id(3), none = any_id(4);

	check_ok(state_share_node_add(p->s, &a, &node, &e), e);
	check_ok(state_share_node_add(p->s, &a, &node, &e), e);
	assert_true(state_share_has_node(p->s, &a, &node));
	assert_false(state_share_has_node(p->s, &a, &none));
	assert_false(state_share_has_node(p->s, &b, &node));
	check_ok(state_share_node_add(p->s, &b, &node, &e), e);
	check_ok(state_share_del(p->s, &a, &e), e);
	assert_false(state_share_has_node(p->s, &a, &node));
	assert_true(state_share_has_node(p->s, &b, &node));
}

static enum err
count_job(void *ctx, const struct job_row *j, struct error *err)
{
	size_t *n = ctx;

	(void)err;
	*n += (size_t)j->id;
	return OK;
}

static void
jobs_come_back_as_they_were_put(void **state)
{
	struct place *p = *state;
	struct job_row j = { .kind = ROOT_GET,
		.state = JOB_WAITING,
		.root = 3,
		.share = any_id(1),
		.spec = BUF(100),
		.created_ns = 5,
		.updated_ns = 6,
		.bytes_done = 1ull << 62,
		.bytes_total = 8,
		.text = "waits" };
	auto_(job_row_clear) struct job_row found = { 0 };
	size_t n = 0;

	buf_addf(&j.spec, "what was asked");
	check_ok(state_job_put(p->s, &j, &e), e);
	assert_true(j.id > 0);
	int64_t id = j.id;
	j.state = JOB_DONE;
	check_ok(state_job_put(p->s, &j, &e), e);
	assert_int_equal(j.id, id);
	reopen(p);
	check_ok(state_job_get(p->s, id, &found, &e), e);
	assert_int_equal(found.kind, ROOT_GET);
	assert_int_equal(found.state, JOB_DONE);
	assert_int_equal(found.root, 3);
	assert_true(hash_id_equal(&found.share, &j.share) && hash_id_is_none(&found.snapshot));
	assert_true(bytes_equal(buf_bytes(&found.spec), buf_bytes(&j.spec)));
	assert_int_equal(found.created_ns, 5);
	assert_int_equal(found.updated_ns, 6);
	assert_int_equal(found.bytes_done, 1ull << 62);
	assert_int_equal(found.bytes_total, 8);
	assert_string_equal(found.text, "waits");
	check_ok(state_job_del(p->s, id, &e), e);
	j.id = 0;
	check_ok(state_job_put(p->s, &j, &e), e);
	assert_int_equal(j.id, id + 1);
	check_ok(state_jobs(p->s, count_job, &n, &e), e);
	assert_int_equal(n, id + 1);
	struct job_row none;
	check_err(state_job_get(p->s, id, &none, &e), ERR_NOTFOUND, e);
	job_row_clear(&j);
}

static void
what_is_rolled_back_was_never_there(void **state)
{
	struct place *p = *state;
	auto_buf struct buf b = BUF(16);
	struct state_place at[4];
	auto_(root_clear) struct root root = any_root(p->s, "/a");
	int64_t dir = any_dir(p->s, root.id, "");
	struct state_file f = any_file("f", 1);
	struct hash_id chunk = any_id(1);

	check_ok(state_begin(p->s, &e), e);
	check_ok(state_set(p->s, "k", BYTES_LIT("v"), &e), e);
	check_ok(state_file_put(p->s, dir, &f, &e), e);
	check_ok(state_place_add(p->s, &chunk, f.id, 0, &e), e);
	state_rollback(p->s);
	check_err(state_get(p->s, "k", &b, &e), ERR_NOTFOUND, e);
	assert_int_equal(places_of(p->s, 1, at), 0);
}

static void *
look_from_elsewhere(void *arg)
{
	struct place *p = arg;
	struct state_place at[4];

	return places_of(p->s, 1, at) > 0 ? p : NULL;
}

static void *
ask_elsewhere(struct place *p)
{
	pthread_t t;
	void *seen = NULL;

	assert_int_equal(pthread_create(&t, NULL, look_from_elsewhere, p), 0);
	assert_int_equal(pthread_join(t, &seen), 0);
	return seen;
}

static void
who_serves_does_not_wait_for_who_writes(void **state)
{
	struct place *p = *state;
	struct state_place at[4];
	auto_(root_clear) struct root root = any_root(p->s, "/a");
	struct state_file f = any_file("f", 1);
	struct hash_id chunk = any_id(1);

	check_ok(state_begin(p->s, &e), e);
	check_ok(state_file_put(p->s, any_dir(p->s, root.id, ""), &f, &e), e);
	check_ok(state_place_add(p->s, &chunk, f.id, 0, &e), e);
	assert_int_equal(places_of(p->s, 1, at), 1);
	assert_null(ask_elsewhere(p));
	check_ok(state_commit(p->s, &e), e);
	assert_int_equal(places_of(p->s, 1, at), 1);
	assert_non_null(ask_elsewhere(p));
}

/* Names as trees have them, ten files a directory, one chunk a file. */
static void
add_small_file(struct state *s, int64_t root, uint64_t i, int64_t *dir)
{
	char text[64];
	struct hash_id chunk = any_id(i);

	if (i % 10 == 0) {
		snprintf(text, sizeof text, "project/module-%03u/source/part-%04u",
		    (unsigned)(i / 1000), (unsigned)(i / 10));
		*dir = any_dir(s, root, text);
	}
	snprintf(text, sizeof text, "component_%06u.c", (unsigned)i);
	struct state_file f = any_file(text, 10240 + i % 1000);
	f.ino = 20000000 + i;
	f.mtime_ns = 1700000000123456789 + (int64_t)i;
	f.ctime_ns = 1720000000123456789 + (int64_t)i;
	f.content = 0x123456789abcdef0 + i;
	check_ok(state_file_put(s, *dir, &f, &e), e);
	check_ok(state_place_add(s, &chunk, f.id, 0, &e), e);
}

static void
a_small_file_costs_less_than_256_bytes(void **state)
{
	enum { N = 100000 };
	struct place *p = *state;
	auto_(root_clear) struct root root = any_root(p->s, "/home/somebody/data");
	uint64_t from = clock_mono_ms();
	struct stat st;
	int64_t dir = 0;

	check_ok(state_begin(p->s, &e), e);
	for (uint64_t i = 0; i < N; i++)
		add_small_file(p->s, root.id, i, &dir);
	check_ok(state_commit(p->s, &e), e);
	uint64_t ms = clock_mono_ms() - from;
	state_close(p->s);
	p->s = NULL;
	assert_int_equal(fstatat(p->dir.fd, "state.db", &st, 0), 0);
	print_message("%d files: %.1f bytes each, %llu ms\n", N, (double)st.st_size / N,
	    (unsigned long long)ms);
	assert_true(st.st_size < 256 * N);
	assert_int_not_equal(fstatat(p->dir.fd, "state.db-wal", &st, 0), 0);
}

/* -- members -- */

struct seen_members {
	unsigned n;
	struct state_member last;
	struct hash_id share;
};

static enum err
see_member(void *ctx, const struct state_member *m, const struct hash_id *share, struct error *err)
{
	struct seen_members *seen = ctx;
	(void)err;

	seen->n++;
	seen->last = *m;
	seen->share = *share;
	return OK;
}

static struct state_member
any_member(uint16_t n)
{
	struct state_member m = { .seen_ns = 1000 + n };

	memcpy(m.device.bytes, &n, sizeof n);
	snprintf(m.name, sizeof m.name, "m%u", n);
	snprintf(m.addresses, sizeof m.addresses, "10.0.0.1:%u\n[::1]:2", n);
	return m;
}

static void
members_are_found_again_for_each_share_and_the_oldest_make_way(void **state)
{
	struct place *p = *state;
	struct hash_id a = any_id(1), b = any_id(2);
	struct state_member m = any_member(7);
	struct seen_members seen = { 0 };

	check_ok(state_member_put(p->s, &m, &a, &e), e);
	check_ok(state_member_put(p->s, &m, &a, &e), e);
	snprintf(m.site, sizeof m.site, "wing");
	check_ok(state_member_put(p->s, &m, &b, &e), e);
	reopen(p);
	check_ok(state_members(p->s, see_member, &seen, &e), e);
	assert_int_equal(seen.n, 2);
	assert_string_equal(seen.last.site, "wing");
	assert_string_equal(seen.last.addresses, "10.0.0.1:7\n[::1]:2");
	check_ok(state_begin(p->s, &e), e);
	for (uint16_t i = 0; i < STATE_MEMBERS_MAX; i++) {
		m = any_member((uint16_t)(100 + i));
		check_ok(state_member_put(p->s, &m, &a, &e), e);
	}
	check_ok(state_commit(p->s, &e), e);
	seen.n = 0;
	check_ok(state_members(p->s, see_member, &seen, &e), e);
	assert_int_equal(
	    seen.n, STATE_MEMBERS_MAX); /* the first, seen earliest, is not among them */
	assert_true(hash_id_equal(&seen.share, &a));
	check_ok(state_member_del(p->s, &m.device, &e), e);
	seen.n = 0;
	check_ok(state_members(p->s, see_member, &seen, &e), e);
	assert_int_equal(seen.n, STATE_MEMBERS_MAX - 1);
}

static void
a_snapshot_is_known_as_long_as_something_stands_for_it(void **state)
{
	struct place *p = *state;
	struct hash_id share = any_id(1), of_root = any_id(2), of_job = any_id(3), none = any_id(4);
	struct state_snapshot info = { .unit_size = 1 << 20 }, got;
	auto_(root_clear) struct root root = { 0 };
	struct job_row job = { .kind = ROOT_GET, .state = JOB_RUNNING, .snapshot = of_job };

	check_err(state_snapshot_get(p->s, &none, &got, &e), ERR_NOTFOUND, e);
	check_ok(state_root_get(p->s, ROOT_GET, &share, "s", "/d", "", &root, &e), e);
	root.snapshot = of_root;
	check_ok(state_root_update(p->s, &root, &e), e);
	check_ok(state_job_put(p->s, &job, &e), e);
	check_ok(state_snapshot_put(p->s, &of_root, &info, &e), e);
	check_ok(state_snapshot_put(p->s, &of_job, &info, &e), e);
	check_ok(state_snapshot_put(p->s, &none, &info, &e), e);
	info.number = 7;
	check_ok(state_snapshot_put(p->s, &of_root, &info, &e), e);
	info.number = 0; /* what became the head stays it */
	check_ok(state_snapshot_put(p->s, &of_root, &info, &e), e);
	check_ok(state_snapshot_prune(p->s, &e), e);
	reopen(p);
	check_ok(state_snapshot_get(p->s, &of_root, &got, &e), e);
	assert_int_equal(got.unit_size, 1 << 20);
	assert_int_equal(got.number, 7);
	check_ok(state_snapshot_get(p->s, &of_job, &got, &e), e);
	assert_int_equal(got.number, 0);
	check_err(state_snapshot_get(p->s, &none, &got, &e), ERR_NOTFOUND, e);
	info.unit_size = 12345;
	check_ok(state_snapshot_put(p->s, &none, &info, &e), e);
	check_err(state_snapshot_get(p->s, &none, &got, &e), ERR_CORRUPT, e);
}

int
main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(settings_are_kept_and_deleted),
		T(statements_come_back_until_they_are_deleted),
		T(a_root_is_one_for_kind_share_and_path),
		T(files_come_in_name_order_and_in_parts),
		T(a_file_put_again_keeps_its_id_and_loses_its_places),
		T(a_file_tells_its_path),
		T(directories_are_found_by_path_and_go_with_their_files),
		T(expiry_and_deletion_leave_other_roots_alone),
		T(a_share_has_the_nodes_it_was_given),
		T(jobs_come_back_as_they_were_put),
		T(what_is_rolled_back_was_never_there),
		T(who_serves_does_not_wait_for_who_writes),
		T(a_small_file_costs_less_than_256_bytes),
		T(a_snapshot_is_known_as_long_as_something_stands_for_it),
		T(members_are_found_again_for_each_share_and_the_oldest_make_way),
	};
#undef T

	return cmocka_run_group_tests(tests, NULL, NULL);
}
