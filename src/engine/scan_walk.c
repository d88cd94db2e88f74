/* The directories, in name order, with what state knows about their files beside them. */
#include <errno.h>

#include "base/mem.h"
#include "engine/scan_private.h"

struct level {
	struct scan_dir *dir;
	size_t next;           /* in its list */
	state_file_array rows; /* some of what state knows, in the same order */
	size_t row;
	bool no_more_rows;
	bool told; /* the item that enters it is out */
};

struct scan_walk {
	struct scan *s;
	ARRAY(struct level) levels;
	struct buf room; /* for paths */
};

static enum err
push(struct scan_walk *w, struct scan_dir *d, struct error *e)
{
	struct level l = { .dir = d };
	int64_t id = 0;
	struct error why = { 0 };
	enum err r =
	    state_dir_find(w->s->o->state, w->s->o->root->id, d->path, &id, &d->ino_known, &why);

	if (r != OK && r != ERR_NOTFOUND) {
		if (e != NULL)
			*e = why;
		return r;
	}
	d->id = id;
	l.no_more_rows = r == ERR_NOTFOUND;
	array_push(&w->levels, l);
	if (w->levels.len > SCAN_DIRS_OPEN)
		scan_dir_park(w->levels.at[w->levels.len - 1 - SCAN_DIRS_OPEN].dir);
	return OK;
}

struct scan_walk *
scan_walk_new(struct scan *s)
{
	struct scan_walk *w = mem_new(struct scan_walk);

	w->s = s;
	return w;
}

static void
pop(struct scan_walk *w)
{
	struct level l = array_pop(&w->levels);

	array_clear(&l.rows);
	scan_dir_unref(w->s, l.dir);
}

void
scan_walk_free(struct scan_walk *w)
{
	if (w == NULL)
		return;
	while (w->levels.len > 0)
		pop(w);
	array_clear(&w->levels);
	buf_clear(&w->room);
	free(w);
}

/* -- rows of state beside the names -- */

static enum err
more_rows(struct scan_walk *w, struct level *l, struct error *e)
{
	struct bytes after = { NULL, 0 };
	char last[RELPATH_NAME_MAX + 1];

	if (l->rows.len > 0) {
		const struct state_file *f = &l->rows.at[l->rows.len - 1];
		memcpy(last, f->name, f->name_len);
		after = BYTES(last, f->name_len);
	}
	l->rows.len = l->row = 0;
	enum err r = state_files_after(w->s->o->state, l->dir->id, after, SCAN_ROWS, &l->rows, e);
	l->no_more_rows = l->rows.len < SCAN_ROWS;
	return r;
}

/* The file of this row is not there any more, or is no file that we publish. */
static enum err
row_is_gone(struct scan_walk *w, struct level *l, const struct state_file *row, struct error *e)
{
	scan_moves_gone(&w->s->moves, row->ino, false, scan_dir_child(l->dir, row->name, &w->room));
	return scan_batch_del(w->s->batch, row->id, e);
}

/* The row of NAME, or NULL; NULL for a name asks for none and says goodbye to all that are left. */
static enum err
row_of(struct scan_walk *w, struct level *l, const char *name, const struct state_file **ret,
    struct error *e)
{
	enum err r = OK;

	*ret = NULL;
	while (r == OK) {
		if (l->row == l->rows.len) {
			if (l->no_more_rows)
				return OK;
			r = more_rows(w, l, e);
			continue;
		}
		const struct state_file *row = &l->rows.at[l->row];
		int c = name != NULL ? strcmp(row->name, name) : -1;
		if (c > 0)
			return OK;
		l->row++;
		if (c == 0) {
			*ret = row;
			return OK;
		}
		r = row_is_gone(w, l, row, e);
	}
	return r;
}

/* -- what a name stands for -- */

enum verdict { SKIPPED, YIELDED };

static void
note(
    struct scan_walk *w, const struct level *l, const char *name, enum err r, const struct error *e)
{
	auto_free char *why = scan_file_why(r, e);

	scan_note(w->s, l->dir, name, why);
}

static enum err
enter_dir(struct scan_walk *w, struct level *l, const char *name, struct error *e)
{
	struct scan_dir *d = NULL;
	struct error why = { 0 };
	enum err r = scan_dir_open(w->s, l->dir, name, &d, &why);

	if (r == ERR_USAGE) {
		if (e != NULL)
			*e = why;
		return r;
	}
	if (r != OK) {
		note(w, l, name, r, &why);
		return OK;
	}
	if (scan_dir_is_home(d)) {
		scan_note(w->s, l->dir, name, "is a home of weft, which is not published");
		scan_dir_unref(w->s, d);
		return OK;
	}
	r = push(w, d, e); /* from here on L is no good */
	if (r != OK)
		scan_dir_unref(w->s, d);
	return r;
}

static enum verdict
read_link(struct scan_walk *w, const struct level *l, const char *name, struct scan_item *ret)
{
	auto_buf struct buf target = BUF(TREE_LINK_MAX);
	struct error why = { 0 };
	int fd;
	enum err r = scan_dir_fd(w->s, l->dir, &fd, &why);

	if (r == OK)
		r = fs_readlink(fd, (struct relpath){ name, strlen(name) }, &target, &why);
	if (r == OK && target.len == 0)
		r = fail(&why, ERR_IO, "a link to nothing");
	if (r != OK) {
		note(w, l, name, r, &why);
		return SKIPPED;
	}
	*ret = (struct scan_item){ .kind = SCAN_LINK, .name = str_dup(name) };
	ret->target = str_dup(buf_text(&target));
	return YIELDED;
}

/* A file that state knows: is it still the one? */
static void
same_or_read(const struct scan *s, const struct state_file *row, const struct fs_stat *st,
    struct scan_item *ret)
{
	bool same = st->size == row->size && st->mtime_ns == row->mtime_ns &&
		    st->ctime_ns == row->ctime_ns && st->ino == row->ino;

	ret->row = row->id;
	ret->st = *st;
	ret->content = row->content;
	if (same && row->content != 0 && !hash_id_is_none(&s->old))
		ret->kind = SCAN_SAME;
}

/* *TYPE may be unknown (0) before, and is not afterwards. */
static enum err
stat_name(struct scan_walk *w, const struct level *l, const char *name, enum fs_type *type,
    struct fs_stat *st, struct error *e)
{
	int fd;
	enum err r = scan_dir_fd(w->s, l->dir, &fd, e);

	if (r == OK)
		r = fs_stat_at(fd, (struct relpath){ name, strlen(name) }, st, e);
	if (r == OK)
		*type = st->type;
	return r;
}

/* A name that is a file, or was one when the directory was listed; *ST is filled if its type is. */
static enum err
look_at_file(struct scan_walk *w, struct level *l, const char *name, struct fs_stat *st,
    struct scan_item *ret, enum verdict *ret_verdict, struct error *e)
{
	const struct state_file *row;
	enum fs_type type = FS_FILE;
	struct error why = { 0 };
	enum err r = row_of(w, l, scan_name_in(l->dir, name), &row, e);

	if (r != OK)
		return r;
	*ret_verdict = YIELDED;
	if (row != NULL && st->type == 0)
		r = stat_name(w, l, name, &type, st, &why);
	if (r == OK && type == FS_FILE) {
		*ret = (struct scan_item){ .kind = SCAN_READ, .name = str_dup(name) };
		if (row != NULL) /* else whoever reads it asks for its stat anyway */
			same_or_read(w->s, row, st, ret);
		return OK;
	}
	*ret_verdict = SKIPPED;
	if (r == OK)
		scan_note(w->s, l->dir, name, "changed while the directory was read");
	else
		note(w, l, name, r, &why);
	return scan_batch_del(w->s->batch, row->id, e);
}

/* A name of L: yields an item, pushes a level, or does nothing. */
static enum err
look_at(struct scan_walk *w, struct level *l, const char *name, enum fs_type type,
    struct scan_item *ret, enum verdict *ret_verdict, struct error *e)
{
	struct error why = { 0 };
	struct fs_stat st = { 0 };

	*ret_verdict = SKIPPED;
	if (relpath_is_reserved(bytes_str(name)) && l->dir->as == NULL)
		return OK;
	enum err r = type == 0 ? stat_name(w, l, name, &type, &st, &why) : OK;
	if (r != OK) {
		note(w, l, name, r, &why);
		return OK;
	}
	if (scan_dir_ignores(l->dir, name, type == FS_DIR, &w->room))
		return OK;
	switch (type) {
	case FS_FILE:
		return look_at_file(w, l, name, &st, ret, ret_verdict, e);
	case FS_DIR:
		return enter_dir(w, l, name, e);
	case FS_SYMLINK:
		*ret_verdict = read_link(w, l, name, ret);
		return OK;
	default:
		scan_note(w->s, l->dir, name, "is no file, directory or link");
		return OK;
	}
}

static enum err
leave(struct scan_walk *w, struct level *l, struct scan_item *ret, struct error *e)
{
	const struct state_file *none;
	enum err r = row_of(w, l, NULL, &none, e);

	if (r != OK)
		return r;
	*ret = (struct scan_item){
		.kind = SCAN_LEAVE, .dir = scan_dir_ref(l->dir), .name = str_dup(l->dir->name)
	};
	scan_dir_leave(w->s, l->dir);
	pop(w);
	return OK;
}

/* A directory that cannot be read to its end is published as far as it can be, which is said. */
static enum err
turn_page(struct scan_walk *w, struct level *l, struct error *e)
{
	struct scan_dir *d = l->dir;
	struct error why = { 0 };
	enum err r = scan_dir_turn_page(w->s, d, &why);

	l->next = 0;
	if (r != OK && d->parent == NULL) {
		if (e != NULL)
			*e = why;
		return r;
	}
	if (r != OK) {
		auto_free char *text = scan_file_why(r, &why);
		scan_note(w->s, d->parent, d->name, text);
	}
	return OK;
}

enum err
scan_walk_begin(struct scan_walk *w, struct scan_dir *root, struct error *e)
{
	enum err r = push(w, root, e);

	if (r == OK)
		scan_dir_ref(root);
	return r;
}

enum err
scan_walk_next(struct scan_walk *w, struct scan_item *ret, struct error *e)
{
	while (w->levels.len > 0) {
		struct level *l = &w->levels.at[w->levels.len - 1];
		enum verdict verdict;
		if (scan_canceled(w->s))
			return fail(e, ERR_CANCELED, "the scan of %s was canceled", w->s->o->path);
		if (!l->told) {
			l->told = true;
			*ret = (struct scan_item){ .kind = SCAN_ENTER,
				.dir = scan_dir_ref(l->dir),
				.name = str_dup(l->dir->name) };
			return OK;
		}
		if (l->next == l->dir->list.n && l->dir->list.more) {
			enum err r = turn_page(w, l, e);
			if (r != OK)
				return r;
			continue;
		}
		if (l->next == l->dir->list.n)
			return leave(w, l, ret, e);
		size_t i = l->next++;
		struct scan_dir *d = l->dir;
		enum err r = look_at(w, l, d->list.names + d->list.at[i],
		    (enum fs_type)d->list.type[i], ret, &verdict, e);
		if (r != OK)
			return r;
		if (verdict == YIELDED) {
			ret->dir = scan_dir_ref(d);
			return OK;
		}
	}
	return ERR_NOTFOUND;
}
