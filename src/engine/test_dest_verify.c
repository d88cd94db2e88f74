/* weft verify: what is named, and what is nobody's business. */
#include "engine/test_dest_world.h"

struct found {
	char text[4096]; /* "path: what\n", in the order of the snapshot */
	uint64_t files, bytes, n;
};

static void
on_difference(void *ctx, struct relpath path, const char *what)
{
	struct found *f = ctx;
	size_t n = strlen(f->text);

	snprintf(f->text + n, sizeof f->text - n, "%s: %s\n", path.text, what);
}

static enum err
verify(struct world *w, const char *path, struct found *ret)
{
	const struct dest_verify_opts o = {
		.root = &w->root,
		.nodes = nodes_source(&w->nodes),
		.path = { path, strlen(path) },
		.cancel = &w->cancel,
		.on_difference = on_difference,
		.ctx = ret,
	};

	*ret = (struct found){ 0 };
	w->e = (struct error){ 0 };
	return dest_verify(&o, &ret->files, &ret->bytes, &ret->n, &w->e);
}

static void
assert_differs(struct world *w, const char *path, const char *want)
{
	struct found f;
	uint64_t lines = 0;

	check_ok(verify(w, path, &f), w->e);
	check_text(f.text, want);
	for (const char *p = f.text; (p = strchr(p, '\n')) != NULL; p++)
		lines++;
	assert_int_equal(f.n, lines);
}

static struct snap
received(struct world *w)
{
	struct snap s = { 0 };

	snap_put(&s, "a=one", "d/b=two", "d/e/c=three", "d/link->b");
	snap_random(&s, "holes", 1, 3 << 20, 4);
	snap_dir(&s, "z");
	snap_build(w, &s);
	world_get(w, &s);
	return s;
}

static void
what_was_received_is_as_it_was(void **state)
{
	struct world *w = *state;
	auto_snap struct snap s = received(w);
	struct found f;

	check_ok(verify(w, "", &f), w->e);
	check_text(f.text, "");
	assert_int_equal(f.files, 4);
	assert_int_equal(f.bytes, 3 + 3 + 5 + (3 << 20));
	assert_int_equal(f.n, 0);
}

static void
what_the_user_put_beside_it_is_no_difference(void **state)
{
	struct world *w = *state;
	auto_snap struct snap s = received(w);

	user_makes(w, "mine=x", "d/mine=x", "z/mine/", "d/e/mine->/etc");
	assert_differs(w, "", "");
}

static void
each_difference_is_named(void **state)
{
	struct world *w = *state;
	auto_snap struct snap s = received(w);
	auto_free char *b = world_path(w, "d/b");

	user_puts_secretly(w, "a", "eno");
	assert_int_equal(truncate(b, 2), 0);
	user_chmod(w, "d/e/c", 0600);
	user_chmod(w, "z", 0700);
	user_remove(w, "d/link");
	user_link(w, "d/link", "c");
	user_touch(w, "holes", NULL);
	assert_differs(w, "",
	    "a: content differs\n"
	    "d/b: time differs\nd/b: size differs\n"
	    "d/e/c: mode differs\n"
	    "d/link: target differs\n"
	    "holes: time differs\n"
	    "z: mode differs\n");
	assert_differs(w, "d/e", "d/e/c: mode differs\n");
	assert_differs(w, "d/link", "d/link: target differs\n");
}

/* One byte where there should be none. */
static void
a_byte_in_a_hole_is_a_difference(void **state)
{
	struct world *w = *state;
	auto_snap struct snap s = { 0 };
	uint8_t *bytes = mem_array(uint8_t, 1 << 20);

	bytes[0] = 1;
	snap_add(&s, "sparse", TREE_FILE, bytes, 1 << 20);
	free(bytes);
	snap_build(w, &s);
	world_get(w, &s);
	assert_differs(w, "", "");
	auto_free char *path = world_path(w, "sparse");
	auto_fd int fd = open(path, O_RDWR | O_CLOEXEC);
	assert_int_equal(pwrite(fd, "x", 1, 777777), 1);
	assert_differs(w, "sparse", "sparse: time differs\nsparse: content differs\n");
}

static void
what_is_missing_or_of_another_type_does_not_end_it(void **state)
{
	struct world *w = *state;
	auto_snap struct snap s = received(w);

	user_remove(w, "a");
	user_mkdir(w, "a");
	user_remove(w, "d");
	user_put(w, "d", "a file");
	user_remove(w, "holes");
	user_link(w, "holes", "d");
	user_remove(w, "z");
	assert_differs(w, "",
	    "a: another type of file\n"
	    "d: another type of file\n"
	    "d/b: missing\nd/e: missing\nd/e/c: missing\nd/link: missing\n"
	    "holes: another type of file\n"
	    "z: missing\n");
	/* Nor is a symlink followed. */
	user_remove(w, "d");
	auto_free char *out = str_printf("%s/out", w->dir.path);
	assert_int_equal(mkdir(out, 0755), 0);
	user_link(w, "d", out);
	assert_differs(w, "d",
	    "d: another type of file\n"
	    "d/b: missing\nd/e: missing\nd/e/c: missing\nd/link: missing\n");
}

static void
what_may_not_be_read_is_named_and_the_rest_goes_on(void **state)
{
	struct world *w = *state;
	struct found f;

	if (geteuid() == 0)
		skip();
	auto_snap struct snap s = received(w);
	user_chmod(w, "d/b", 0);
	user_chmod(w, "d/e", 0);
	check_ok(verify(w, "", &f), w->e);
	user_chmod(w, "d/e", 0755);
	assert_int_equal(f.n, 4);
	assert_non_null(strstr(f.text, "d/b: mode differs\nd/b: open "));
	assert_non_null(strstr(f.text, "d/e: mode differs\nd/e/c: stat "));
	assert_int_equal(f.files, 3);
}

static void
what_the_snapshot_does_not_have_cannot_be_verified(void **state)
{
	struct world *w = *state;
	auto_snap struct snap s = received(w);
	struct found f;

	user_put(w, "mine", "x");
	check_err(verify(w, "mine", &f), ERR_NOTFOUND, w->e);
	check_says(w->e.text, "mine is not in the snapshot");
	check_err(verify(w, "d/b/x", &f), ERR_NOTFOUND, w->e);
	user_remove(w, "");
	assert_differs(w, "", ": missing\n");
}

static void
it_can_be_stopped(void **state)
{
	struct world *w = *state;
	auto_snap struct snap s = received(w);
	struct found f;

	w->cancel = true;
	check_err(verify(w, "", &f), ERR_CANCELED, w->e);
	w->cancel = false;
}

int
main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)
	const struct CMUnitTest tests[] = {
		T(what_was_received_is_as_it_was),
		T(what_the_user_put_beside_it_is_no_difference),
		T(each_difference_is_named),
		T(a_byte_in_a_hole_is_a_difference),
		T(what_is_missing_or_of_another_type_does_not_end_it),
		T(what_may_not_be_read_is_named_and_the_rest_goes_on),
		T(what_the_snapshot_does_not_have_cannot_be_verified),
		T(it_can_be_stopped),
	};
	return world_run(tests);
}
