/*
 * What it costs to publish: a first scan of many small files and of one large one, beside reading
 * and hashing the same bytes once; and a scan of the unchanged tree, beside find -printf.  CPU time
 * is that of all threads, so on a busy machine the ratios of CPU time are what counts.  usage:
 * bench_scan [DIR]   (the trees are made and removed in DIR)
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/rng.h"
#include "engine/scan.h"
#include "platform/clock.h"
#include "platform/fs.h"

enum {
	FILES = 100 * 1000,
	PER_DIR = 100,
	SMALL = 10 * 1000,
	LARGE_MIB = 1024,
};

struct watch {
	double cpu, wall;
};

static double
cpu_s(int who)
{
	struct rusage u;

	(void)getrusage(who, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static struct watch
now(void)
{
	return (struct watch){ cpu_s(RUSAGE_SELF) + cpu_s(RUSAGE_CHILDREN),
		(double)clock_mono_ns() / 1e9 };
}

static struct watch
say(const char *what, struct watch from, double files, double bytes)
{
	struct watch t = now();

	t.cpu -= from.cpu;
	t.wall -= from.wall;
	printf("%-28s %7.2f s %7.2f s of CPU", what, t.wall, t.cpu);
	if (files > 0)
		printf(" %9.0f files/s", files / t.wall);
	if (bytes > 0)
		printf(
		    " %6.2f GB/s %6.2f GB/s per core", bytes / t.wall / 1e9, bytes / t.cpu / 1e9);
	printf("\n");
	return t;
}

static void
need(enum err r, const struct error *e)
{
	if (r == OK)
		return;
	fprintf(stderr, "%s (%s)\n", e->text, e->where);
	exit(1);
}

static void
write_file(int dir, const char *name, struct rng *g, uint8_t *room, size_t block, size_t blocks)
{
	struct error e;
	int fd = -1;

	need(fs_create(dir, fs_rel(name), &fd, &e), &e);
	for (size_t i = 0; i < blocks; i++) {
		rng_fill(g, room, block);
		need(fs_write_at(fd, i * block, BYTES(room, block), &e), &e);
	}
	(void)close(fd);
}

static void
make_small(int dir)
{
	auto_free uint8_t *room = mem_alloc(SMALL);
	char name[64];
	struct error e;
	struct rng g;

	rng_seed(&g, 1);
	need(fs_mkdirs(dir, REL("small"), 0755, &e), &e);
	for (unsigned i = 0; i < FILES; i++) {
		if (i % PER_DIR == 0) {
			snprintf(name, sizeof name, "small/d%04u", i / PER_DIR);
			need(fs_mkdirs(dir, fs_rel(name), 0755, &e), &e);
		}
		snprintf(name, sizeof name, "small/d%04u/file_%06u.dat", i / PER_DIR, i);
		write_file(dir, name, &g, room, SMALL, 1);
	}
}

static void
make_large(int dir)
{
	enum { MIB = 1 << 20 };
	auto_free uint8_t *room = mem_alloc(MIB);
	struct error e;
	struct rng g;

	rng_seed(&g, 2);
	need(fs_mkdirs(dir, REL("large"), 0755, &e), &e);
	write_file(dir, "large/file", &g, room, MIB, LARGE_MIB);
}

/* Every byte beneath DIR read once and hashed once, by one thread: the least there is to do. */
static void
hash_all(int dir, uint8_t *room, size_t n)
{
	struct fs_list list = { 0 };
	uint8_t hash[HASH_BYTES];
	struct fs_stat st;
	struct error e;

	need(fs_list_dir(dir, &list, &e), &e);
	for (size_t i = 0; i < list.n; i++) {
		struct relpath p = fs_rel(list.names + list.at[i]);
		int fd = -1;
		need(fs_stat_at(dir, p, &st, &e), &e);
		if (st.type == FS_DIR) {
			need(fs_open_dir(dir, p, &fd, &e), &e);
			hash_all(fd, room, n);
		} else {
			need(fs_open_read(dir, p, &fd, &e), &e);
			for (uint64_t at = 0; at < st.size; at += n) {
				size_t got;
				need(fs_read_at(fd, at, room, n, &got, &e), &e);
				hash_sha256(BYTES(room, got), BYTES(NULL, 0), hash);
			}
		}
		(void)close(fd);
	}
	fs_list_clear(&list);
}

struct node {
	char *path;
	struct state *state;
	struct chunk_store *nodes;
	struct root root;
	struct commit base;
	bool published;
};

static struct scan_result
scan(struct node *n)
{
	struct scan_result r;
	struct error e;
	struct scan_opts o = {
		.path = n->path, .state = n->state, .nodes = n->nodes, .root = &n->root, .seq = 1
	};

	o.base = n->published ? &n->base : NULL;
	need(scan_run(&o, &r, &e), &e);
	n->root.content = n->base.content = r.content;
	n->base.causal = r.causal;
	n->published = true;
	return r;
}

static void
measure(const char *dir, int fd, const char *what, bool many)
{
	auto_free char *db = str_printf("%s/%s.db", dir, what),
		       *nodes = str_printf("%s/%s.nodes", dir, what);
	auto_free char *find =
	    str_printf("find %s/%s -printf '%%s %%T@ %%C@ %%i %%p\\n' >/dev/null", dir, what);
	auto_free uint8_t *room = mem_alloc(1 << 20);
	struct node n = { .path = str_printf("%s/%s", dir, what) };
	struct hash_id share = { .alg = HASH_SHA256 };
	struct error e;
	int tree;

	need(state_open(db, &n.state, &e), &e);
	need(chunk_store_open(nodes, &(struct chunk_store_opts){ 0 }, &n.nodes, &e), &e);
	need(state_root_get(n.state, ROOT_PUBLISH, &share, what, n.path, "", &n.root, &e), &e);
	need(fs_open_dir(fd, fs_rel(what), &tree, &e), &e);
	printf("%s\n", many ? "100,000 files of 10 kB, 100 a directory" : "one file of 1 GiB");
	hash_all(tree, room, 1 << 20); /* into the page cache */
	struct watch from = now();
	hash_all(tree, room, 1 << 20);
	double bytes = many ? (double)FILES * SMALL : (double)LARGE_MIB * (1 << 20),
	       files = many ? FILES : 0;
	struct watch plain = say("  read and hash, one thread", from, files, bytes);
	from = now();
	struct scan_result r = scan(&n);
	struct watch first = say("  first scan", from, files, bytes);
	printf("  CPU against read and hash    %6.2f\n", first.cpu / plain.cpu);
	for (int i = 0; many && i < 2; i++) {
		from = now();
		if (system(find) != 0)
			exit(1);
		struct watch found = say("  find -printf", from, files, 0);
		from = now();
		r = scan(&n);
		struct watch again = say("  scan, unchanged", from, files, 0);
		printf("  %llu files read; against find: clock %.2f, CPU %.2f\n",
		    (unsigned long long)r.files_read, again.wall / found.wall,
		    again.cpu / found.cpu);
	}
	(void)close(tree);
	root_clear(&n.root);
	chunk_store_close(n.nodes);
	state_close(n.state);
	free(n.path);
}

int
main(int argc, char **argv)
{
	auto_free char *dir = str_printf("%s/weft-bench-XXXXXX", argc > 1 ? argv[1] : "/tmp");
	struct error e;
	int fd, above;

	if (mkdtemp(dir) == NULL) {
		perror(dir);
		return 1;
	}
	need(fs_open_root(dir, &fd, &e), &e);
	make_small(fd);
	make_large(fd);
	measure(dir, fd, "small", true);
	measure(dir, fd, "large", false);
	struct rusage u;
	(void)getrusage(RUSAGE_SELF, &u);
	printf("most memory resident %14.1f MiB\n", (double)u.ru_maxrss / 1024);
	(void)close(fd);
	need(fs_open_root(argc > 1 ? argv[1] : "/tmp", &above, &e), &e);
	need(fs_remove_tree(above, fs_rel(strrchr(dir, '/') + 1), &e), &e);
	(void)close(above);
	return 0;
}
