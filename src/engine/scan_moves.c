#include "base/mem.h"
#include "engine/scan_private.h"

void
scan_moves_clear(struct scan_moves *m)
{
	array_each (v, &m->v)
		free(v->path);
	array_clear(&m->v);
}

void
scan_moves_gone(struct scan_moves *m, uint64_t ino, bool is_dir, struct relpath path)
{
	/* Beyond some number of them, what has moved passes for deleted and made anew. */
	if (m->off || m->v.len == SCAN_MOVES_MAX || path.len == 0)
		return;
	struct scan_move v = {
		.ino = ino, .is_dir = is_dir, .path = mem_dup(path.text, path.len + 1)
	};
	array_push(&m->v, v);
	m->sorted = false;
}

static int
compare(const void *a, const void *b)
{
	const struct scan_move *x = a, *y = b;

	return (x->ino > y->ino) - (x->ino < y->ino);
}

struct scan_move *
scan_moves_find(struct scan_moves *m, uint64_t ino, bool is_dir)
{
	size_t from = 0, to = m->v.len;

	if (!m->sorted && m->v.len > 0)
		qsort(m->v.at, m->v.len, sizeof *m->v.at, compare);
	m->sorted = true;
	while (from < to) {
		size_t middle = from + (to - from) / 2;
		if (m->v.at[middle].ino < ino)
			from = middle + 1;
		else
			to = middle;
	}
	for (; from < m->v.len && m->v.at[from].ino == ino; from++)
		if (m->v.at[from].is_dir == is_dir && !m->v.at[from].used)
			return &m->v.at[from];
	return NULL;
}

/* -- directories that are gone -- */

struct gone_dir {
	int64_t id;
	uint64_t ino;
	char *path;
};
enum {
	GONE_AT_ONCE = 65536, /* kept in memory */
	DROP_AT_ONCE = 256,   /* of one transaction */
};
struct gone {
	struct scan *s;
	ARRAY(struct gone_dir) dirs;
};

static void
gone_clear(struct gone *g)
{
	array_each (d, &g->dirs)
		free(d->path);
	array_clear(&g->dirs);
}

static int
compare_ids(const void *a, const void *b)
{
	const int64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static enum err
on_dir(void *ctx, int64_t id, struct relpath path, uint64_t ino, struct error *e)
{
	struct gone *g = ctx;

	(void)e;
	if (g->dirs.len == GONE_AT_ONCE ||
	    bsearch(&id, g->s->seen.at, g->s->seen.len, sizeof id, compare_ids) != NULL)
		return OK;
	struct gone_dir d = { .id = id, .ino = ino, .path = mem_dup(path.text, path.len + 1) };
	array_push(&g->dirs, d);
	return OK;
}

static enum err
remember_files(struct scan *s, const struct gone_dir *d, struct buf *path, struct error *e)
{
	state_file_array files = { 0 };
	char last[RELPATH_NAME_MAX + 1] = "";
	enum err r;

	do {
		files.len = 0;
		r = state_files_after(s->o->state, d->id, bytes_str(last), SCAN_ROWS, &files, e);
		for (size_t i = 0; r == OK && i < files.len; i++) {
			buf_reset(path);
			buf_addf(
			    path, "%s%s%s", d->path, *d->path != '\0' ? "/" : "", files.at[i].name);
			scan_moves_gone(&s->moves, files.at[i].ino, false,
			    (struct relpath){ buf_text(path), path->len });
		}
		if (files.len > 0)
			memcpy(last, files.at[files.len - 1].name, sizeof last);
	} while (r == OK && files.len == SCAN_ROWS && s->moves.v.len < SCAN_MOVES_MAX);
	array_clear(&files);
	return r;
}

static enum err
drop(struct scan *s, const struct gone_dir *d, struct buf *path, struct error *e)
{
	enum err r = OK;

	scan_moves_gone(&s->moves, d->ino, true, (struct relpath){ d->path, strlen(d->path) });
	if (!s->moves.off && s->moves.v.len < SCAN_MOVES_MAX)
		r = remember_files(s, d, path, e);
	return r == OK ? state_dir_del(s->o->state, d->id, e) : r;
}

static enum err
drop_some(struct scan *s, const struct gone_dir *dirs, size_t n, struct buf *path, struct error *e)
{
	enum err r = state_begin(s->o->state, e);

	if (r != OK)
		return r;
	for (size_t i = 0; r == OK && i < n; i++)
		r = drop(s, &dirs[i], path, e);
	if (r == OK)
		return state_commit(s->o->state, e);
	state_rollback(s->o->state);
	return r;
}

enum err
scan_moves_expire(struct scan *s, struct error *e)
{
	auto_buf struct buf path = BUF(RELPATH_MAX + RELPATH_NAME_MAX + 1);
	enum err r;
	bool all;

	if (s->seen.len > 0)
		qsort(s->seen.at, s->seen.len, sizeof *s->seen.at, compare_ids);
	do {
		auto_(gone_clear) struct gone g = { .s = s };
		r = state_dirs(s->o->state, s->o->root->id, on_dir, &g, e);
		all = g.dirs.len < GONE_AT_ONCE;
		for (size_t i = 0; r == OK && i < g.dirs.len; i += DROP_AT_ONCE)
			r = drop_some(s, &g.dirs.at[i],
			    min_of(g.dirs.len - i, (size_t)DROP_AT_ONCE), &path, e);
	} while (r == OK && !all);
	return r;
}
