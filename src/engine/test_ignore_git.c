/* Whole scans against git itself: what it would add is what we publish. */
#include "engine/test_scan_world.h"

#include <sys/wait.h>

#include "base/map.h"
#include "platform/clock.h"

enum { TREES = 50 };

static void
append(char *out, size_t n, const char *text)
{
	size_t len = strlen(out);

	snprintf(out + len, n - len, "%s", text);
}

static void
random_pattern(struct rng *g, char *out, size_t n)
{
	static const char *const parts[] = { "a", "b", "c", "ab", "a.o", "*", "?", "*.o", "a*",
		"*b", "**", "**", "[ab]", "[!a]", "[a-c]*", "\\a", "[[:alpha:]]", "a**", "[", "a\\",
		"[]a]", " ", "a ", "\\ " };
	size_t segments = 1 + rng_below(g, 3);

	out[0] = '\0';
	append(out, n, rng_below(g, 4) == 0 ? "!" : "");
	append(out, n, rng_below(g, 4) == 0 ? "/" : "");
	for (size_t i = 0; i < segments; i++) {
		append(out, n, i > 0 ? "/" : "");
		append(out, n, parts[rng_below(g, lengthof(parts))]);
		append(out, n, rng_below(g, 4) == 0 ? parts[rng_below(g, lengthof(parts))] : "");
	}
	append(out, n, rng_below(g, 4) == 0 ? "/" : "");
	append(out, n, rng_below(g, 16) == 0 ? "\r" : "");
}

static void
put_rules(const struct world *w, struct rng *g, const char *dir)
{
	char path[128], pattern[128];
	auto_buf struct buf text = BUF(8192);

	for (uint64_t i = 1 + rng_below(g, 4); i > 0; i--) {
		random_pattern(g, pattern, sizeof pattern);
		buf_addf(&text, "%s\n", pattern);
	}
	if (rng_below(g, 4) == 0)
		text.len--; /* no newline at the end */
	snprintf(path, sizeof path, "%s.weftignore", dir);
	put_at(w->fd, path, text.at, text.len);
}

static void
random_tree(const struct world *w, struct rng *g, const char *dir, int depth)
{
	static const char *const names[] = { "a", "b", "c", "ab", "ba", "a.o", "b.o", "abc", " a",
		"a ", "A", "\xc3\xa4" };
	char path[128];

	if (depth == 3 || rng_below(g, 4) == 0)
		put_rules(w, g, dir);
	for (size_t i = 0; i < lengthof(names); i++) {
		snprintf(path, sizeof path, "%s%s", dir, names[i]);
		switch (rng_below(g, 4)) {
		case 0:
			put_text(w, path, "x");
			break;
		case 1:
			if (depth == 0)
				break;
			make_dir_at(w, path);
			append(path, sizeof path, "/");
			random_tree(w, g, path, depth - 1);
			break;
		case 2:
			if (rng_below(g, 4) == 0)
				assert_int_equal(symlinkat("a", w->fd, path), 0);
			break;
		}
	}
}

/* Every file and link of the tree we made. */
static void
our_paths(struct node *n, const struct hash_id *content, struct map *out)
{
	auto_(tree_walk_free_p) struct tree_walk *walk = tree_walk_new(world_source(n), content);
	enum tree_step step;
	struct relpath path;
	struct tree_entry en;

	while (tree_walk_next(walk, &step, &path, &en, &world_error) == OK)
		if (step == TREE_ENTER && en.type != TREE_DIR)
			map_put(out, BYTES(path.text, path.len), NULL);
}

static bool
is_our_own(const char *path)
{
	const char *slash = strrchr(path, '/');

	return strncmp(slash != NULL ? slash + 1 : path, ".weft", 5) == 0;
}

static void
git_paths(const struct world *w, struct map *out)
{
	auto_free char *command =
	    str_printf("git -c core.quotepath=off --git-dir=%s/git --work-tree=%s ls-files -o -z"
		       " --exclude-per-directory=.weftignore",
		w->dir.path, w->path);
	auto_free char *here = getcwd(NULL, 0);
	char path[4096];
	size_t n = 0;
	int c;

	assert_int_equal(chdir(w->path), 0);
	FILE *f = popen(command, "re");
	while ((c = getc(f)) != EOF) {
		assert_true(n < sizeof path);
		path[n++] = (char)c;
		if (c != '\0')
			continue;
		if (!is_our_own(path))
			map_put(out, BYTES(path, n - 1), NULL);
		n = 0;
	}
	assert_int_equal(pclose(f), 0);
	assert_int_equal(chdir(here), 0);
}

static void
show_rules(const struct world *w)
{
	auto_free char *command = str_printf(
	    "cd %s && find . -name .weftignore -printf '%%p:\\n' -exec cat -A {} ';'", w->path);

	(void)!system(command);
}

static void
assert_same_paths(const struct world *w, const struct map *ours, const struct map *gits)
{
	size_t wrong = 0;

	map_each (it, ours)
		if (map_find(gits, BYTES(it->key, it->key_len)) == NULL && ++wrong)
			print_error(
			    "git leaves out %.*s\n", (int)it->key_len, (const char *)it->key);
	map_each (it, gits)
		if (map_find(ours, BYTES(it->key, it->key_len)) == NULL && ++wrong)
			print_error("we leave out %.*s\n", (int)it->key_len, (const char *)it->key);
	if (wrong > 0)
		show_rules(w);
	assert_int_equal(wrong, 0);
}

static void
empty(const struct world *w)
{
	auto_(fs_list_clear) struct fs_list list = { 0 };

	check_ok(fs_list_dir(w->fd, &list, &world_error), world_error);
	for (size_t i = 0; i < list.n; i++)
		check_ok(fs_remove_tree(w->fd, fs_rel(list.names + list.at[i]), &world_error),
		    world_error);
}

static void
what_is_published_is_what_git_would_add(void **state)
{
	uint64_t seed = clock_mono_ns();
	size_t files = 0;
	struct rng g;

	(void)state;
	if (system("git --version >/dev/null 2>&1") != 0) {
		print_message("git is not installed: nothing to compare with\n");
		skip();
	}
	print_message("seed %llu\n", (unsigned long long)seed);
	rng_seed(&g, seed);
	struct world w;
	world_open(&w);
	auto_free char *init = str_printf("git init -q --bare %s/git 2>/dev/null", w.dir.path);
	assert_int_equal(system(init), 0);
	for (int i = 0; i < TREES; i++) {
		struct map ours = { 0 }, gits = { 0 };
		empty(&w);
		random_tree(&w, &g, "", 3);
		struct hash_id content = world_scan(&w, &w.node).content;
		our_paths(&w.node, &content, &ours);
		git_paths(&w, &gits);
		assert_same_paths(&w, &ours, &gits);
		files += ours.len;
		map_clear(&ours);
		map_clear(&gits);
	}
	world_close(&w);
	assert_true(files > TREES); /* not everything was left out */
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_published_is_what_git_would_add),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
