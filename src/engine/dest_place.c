/*
 * Entries into place, one after the other in manifest order.  A new directory goes as one, with all
 * that is in it; only where somebody made it meanwhile, or where a mount lies between, does what is
 * in it go by itself.
 *
 * Nothing is renamed over what is not the file that the plan saw: what the user did meanwhile
 * stays, and is named.  The old file and the new one exchange their names, and the old one goes
 * when another look says that it is still what it was; else they change back.  So nothing that
 * comes between the look and the rename is lost (but where the filesystem cannot exchange).  Where
 * nothing stood, the kernel looks and renames in one step.
 *
 * After a crash the same is done again: what is in place already is known by its inode.
 */
#include <errno.h>
#include <stdio.h>

#include "base/mem.h"
#include "engine/dest_private.h"

struct placer {
	struct dest *d;
	struct dest_cursor at;
	struct buf staged; /* text of the staged path */
};

/* One entry on its way. */
struct spot {
	uint32_t i;
	struct dest_file *f;
	struct relpath path;   /* in DEST */
	struct relpath staged; /* in the stage */
	int dir;               /* its directory */
	struct relpath name;   /* in that */
};

static enum err
find_spot(struct placer *p, uint32_t i, struct spot *s, struct error *e)
{
	struct dest *d = p->d;

	s->i = i;
	s->f = dest_file(d, i);
	s->path = dest_file_path(d, s->f);
	s->name = dest_name_of(s->path);
	s->staged = dest_stage_path(d, i, &p->staged);
	return dest_cursor_at(&p->at, s->f->dir, &s->dir, e);
}

/* -- what stands there -- */

enum room { ROOM_FREE, ROOM_OLD /* what the plan saw: may be replaced */, ROOM_TAKEN };

/* What has to give way gives way. */
static enum err
make_room(struct dest *d, const struct spot *s, enum room *ret, struct error *e)
{
	struct fs_stat st;
	enum dest_why why = DEST_WHY_LATE;
	enum err r = fs_stat_at(s->dir, s->name, &st, e);

	*ret = ROOM_FREE;
	if (r != OK)
		return r == ERR_NOTFOUND ? OK : r;
	bool is_dir = st.type == FS_DIR;
	bool is_old = s->f->action == DEST_REPLACE &&
		      (is_dir ? st.ino == s->f->was.ino : dest_stat_equal(&s->f->was, &st));
	if (is_old && !is_dir && s->f->type == TREE_DIR) {
		bool changed;
		r = dest_remove(d, s->dir, s->name, &s->f->was, &changed, e);
		if (r != OK || !changed)
			return r;
	} else if (is_old && !is_dir) {
		*ret = ROOM_OLD;
		return OK;
	}
	if (is_old && is_dir && fs_rmdir(s->dir, s->name, NULL) == OK)
		return OK;
	if (s->f->action == DEST_DISPLACE || d->o.overwrite)
		return dest_trash(d, s->path, e);
	if (is_old && is_dir)
		why = DEST_WHY_DIR; /* what is in it is not all ours */
	dest_note(d, s->path, why, NULL);
	*ret = ROOM_TAKEN;
	return OK;
}

/* -- files and symlinks -- */

/* After the rename its ctime is another one; should the user have been quicker, it is the user's.
 */
static void
see_placed(const struct spot *s)
{
	struct fs_stat st;

	if (fs_stat_at(s->dir, s->name, &st, NULL) == OK && dest_stat_moved(&s->f->is, &st)) {
		s->f->is = dest_stat_of(&st);
		s->f->is_done = 1;
	}
}

/* A mount lies between: a hidden copy beside the target, flushed, then renamed. */
static enum err
copy_across(struct dest *d, const struct spot *s, struct relpath hidden, struct error *e)
{
	auto_fd int in = -1;
	auto_fd int out = -1;
	enum err r = fs_open_read(d->stage, s->staged, &in, e);

	if (r == OK)
		r = fs_create(s->dir, hidden, &out, e);
	if (r == OK)
		r = fs_copy_range(in, 0, out, 0, s->f->size, e);
	if (r == OK)
		r = dest_stage_dress(d, s->i, out, e);
	return r == OK ? fs_sync(out, e) : r;
}

static enum err
move_across(struct dest *d, const struct spot *s, enum room room, struct error *e)
{
	struct bytes target = BYTES(big_array_at(&d->plan.paths, s->f->target), s->f->target_len);
	char text[48];
	struct fs_stat st;

	snprintf(text, sizeof text, DEST_META "-%lld.part", (long long)d->o.job);
	struct relpath hidden = fs_rel(text);
	(void)!fs_unlink(s->dir, hidden, NULL);
	enum err r = s->f->type == TREE_SYMLINK ? fs_symlink(s->dir, hidden, target, e)
						: copy_across(d, s, hidden, e);
	if (r == OK)
		r = fs_stat_at(s->dir, hidden, &st, e);
	if (r == OK) {
		s->f->is = dest_stat_of(&st);
		r = room == ROOM_OLD ? fs_rename(s->dir, hidden, s->dir, s->name, e)
				     : fs_rename_new(s->dir, hidden, s->dir, s->name, e);
	}
	if (r != OK) {
		(void)!fs_unlink(s->dir, hidden, NULL);
		return r;
	}
	(void)!fs_unlink(d->stage, s->staged, NULL);
	return OK;
}

/* After an exchange: what stood there is in the stage now, and goes; or, should it have changed
 * since the plan saw it, goes back: ERR_EXISTS. */
static enum err
settle(struct dest *d, const struct spot *s, struct error *e)
{
	struct fs_stat st;
	struct error why;
	enum err r = fs_stat_at(d->stage, s->staged, &st, &why);

	if (r == ERR_NOTFOUND)
		return OK;
	if (r == OK && !dest_stat_moved(&s->f->was, &st)) {
		r = fs_exchange(d->stage, s->staged, s->dir, s->name, &why);
		if (r == OK)
			return fail(e, ERR_EXISTS, "changed in the last moment");
		if (why.sys == EXDEV) /* it never was there: ours, of which a copy went across */
			r = OK;
	}
	if (r == OK)
		r = fs_unlink(d->stage, s->staged, &why);
	return r == OK ? OK : dest_fail(e, &why);
}

static enum err
move_over(struct dest *d, const struct spot *s, struct error *e)
{
	struct error why;
	enum err r = fs_exchange(d->stage, s->staged, s->dir, s->name, &why);

	if (r == OK)
		return settle(d, s, e);
	if (r == ERR_NOTFOUND) /* what stood there has gone, or what was staged has */
		return fs_rename_new(d->stage, s->staged, s->dir, s->name, e);
	if (why.sys == EINVAL || why.sys == ENOSYS)
		return fs_rename(d->stage, s->staged, s->dir, s->name, e);
	return dest_fail(e, &why);
}

static enum err
move(struct dest *d, const struct spot *s, enum room room, struct error *e)
{
	struct error why;
	enum err r = room == ROOM_OLD ? move_over(d, s, &why)
				      : fs_rename_new(d->stage, s->staged, s->dir, s->name, &why);

	if (r != OK && why.sys == EXDEV)
		r = move_across(d, s, room, &why);
	return r == OK ? OK : dest_fail(e, &why);
}

/* Placing was begun before.  *RET_OVER: nothing is left to be done for this one. */
static enum err
look_again(struct dest *d, const struct spot *s, bool *ret_over, struct error *e)
{
	struct fs_stat st;
	struct error why;

	*ret_over = true;
	s->f->is_done = 0;
	if (fs_stat_at(s->dir, s->name, &st, NULL) == OK && dest_stat_moved(&s->f->is, &st)) {
		enum err settled = settle(d, s, e);
		dest_cursor_touch(d, s->f->dir);
		if (settled == ERR_EXISTS) {
			dest_note(d, s->path, DEST_WHY_LATE, NULL);
			return OK;
		}
		s->f->is = dest_stat_of(&st);
		s->f->is_done = 1;
		return settled;
	}
	enum err r = fs_stat_at(d->stage, s->staged, &st, &why);
	if (r == OK)
		*ret_over = false;
	else if (r == ERR_NOTFOUND)
		dest_note(d, s->path, DEST_WHY_LOST, NULL);
	else
		return dest_fail(e, &why);
	return OK;
}

static enum err
place_staged(struct dest *d, const struct spot *s, struct error *e)
{
	enum room room = ROOM_FREE;
	struct error why;
	enum err r = OK;
	bool over = false;

	if (d->again)
		r = look_again(d, s, &over, e);
	if (r != OK || over)
		return r;
	if (s->f->action != DEST_MAKE)
		r = make_room(d, s, &room, e);
	if (r != OK || room == ROOM_TAKEN)
		return r;
	dest_cursor_touch(d, s->f->dir);
	r = move(d, s, room, &why);
	if (r == ERR_EXISTS && d->o.overwrite) {
		r = make_room(d, s, &room, &why);
		if (r == OK && room != ROOM_TAKEN)
			r = move(d, s, room, &why);
	}
	if (r == ERR_EXISTS)
		dest_note(d, s->path, DEST_WHY_LATE, NULL);
	else if (r == ERR_NOTFOUND)
		dest_note(d, s->path, DEST_WHY_LOST, NULL);
	else if (r != OK)
		return dest_fail(e, &why);
	else
		see_placed(s);
	return OK;
}

/* Content as wanted: mode and time, if it is still the file that the plan saw. */
static enum err
set(struct dest *d, const struct spot *s, struct error *e)
{
	struct dest_file *f = s->f;
	struct fs_stat st;
	enum err r = fs_stat_at(s->dir, s->name, &st, e);

	if (r == OK && f->is_done && dest_stat_equal(&f->is, &st))
		return OK;
	f->is_done = 0;
	/* A crash may have come between setting it and saying so. */
	bool is_set = r == OK && d->again && f->was.ino == st.ino && f->was.size == st.size &&
		      f->mtime_ns == st.mtime_ns && f->mode == (st.mode & 0777);
	if (r == ERR_NOTFOUND || (r == OK && !is_set && !dest_stat_equal(&f->was, &st))) {
		dest_note(d, s->path, DEST_WHY_LATE, NULL);
		return OK;
	}
	if (r == OK && !is_set)
		r = fs_set_mode_at(s->dir, s->name, f->mode, e);
	if (r == OK && !is_set)
		r = fs_set_times_at(s->dir, s->name, f->mtime_ns, e);
	if (r == OK)
		r = fs_stat_at(s->dir, s->name, &st, e);
	if (r != OK)
		return r;
	f->is = dest_stat_of(&st);
	f->is_done = 1;
	return OK;
}

/* -- directories -- */

/* All that came with a directory is in place. */
static void
came_along(struct dest *d, uint32_t i)
{
	for (uint32_t k = i; k < dest_file(d, i)->end; k++) {
		dest_file(d, k)->is_done = 1;
		dest_trim(d, k);
	}
}

enum dir { DIR_MADE, DIR_WHOLE /* all that is in it came along */, DIR_BLOCKED };

static enum err
place_dir(struct dest *d, const struct spot *s, enum dir *ret, struct error *e)
{
	enum room room = ROOM_FREE;
	struct fs_stat st;
	enum err r = fs_stat_at(s->dir, s->name, &st, e);
	bool is_there = r == OK && st.type == FS_DIR;

	*ret = DIR_MADE;
	if (r == OK && !is_there)
		r = make_room(d, s, &room, e);
	if (r != OK && r != ERR_NOTFOUND)
		return r;
	if (room == ROOM_TAKEN) {
		*ret = DIR_BLOCKED;
		return OK;
	}
	dest_cursor_touch(d, s->f->dir);
	s->f->is_done = 1;
	if (is_there)
		return OK;
	if (s->i == s->f->top && fs_rename_new(d->stage, s->staged, s->dir, s->name, NULL) == OK) {
		*ret = DIR_WHOLE;
		return OK;
	}
	r = fs_mkdir(s->dir, s->name, 0700, e);
	return r == ERR_EXISTS ? OK : r;
}

/* -- all of them -- */

/* *NEXT: the number to go on with. */
static enum err
place_one(struct placer *p, uint32_t i, uint64_t *next, struct error *e)
{
	struct dest *d = p->d;
	struct dest_file *f = dest_file(d, i);
	struct spot s;
	enum dir dir;

	if (f->action == DEST_SKIP)
		*next = f->end;
	if (!dest_is_new(f) && !(f->action == DEST_SET && f->type != TREE_DIR))
		return OK;
	enum err r = find_spot(p, i, &s, e);
	if (r == OK && f->type != TREE_DIR)
		return f->action == DEST_SET ? set(d, &s, e) : place_staged(d, &s, e);
	if (r == OK)
		r = place_dir(d, &s, &dir, e);
	if (r != OK || dir == DIR_MADE)
		return r;
	if (dir == DIR_WHOLE)
		came_along(d, i);
	else
		f->action = DEST_SKIP;
	*next = f->end;
	return OK;
}

/* Where a directory cannot be entered nothing that is in it can be placed: it is named once. */
static void
note_refusal(struct placer *p, uint32_t i, const struct error *why, uint64_t *next)
{
	struct dest *d = p->d;
	const struct dest_file *f = dest_file(d, i);
	int fd;

	if (f->dir != DEST_NONE && dest_cursor_at(&p->at, f->dir, &fd, NULL) != OK)
		f = dest_file(d, f->dir);
	dest_note(d, dest_file_path(d, f), DEST_WHY_CANNOT, why->text);
	*next = f->end;
}

static enum err
place_all(struct placer *p, struct error *e)
{
	struct dest *d = p->d;
	enum err r = OK;

	for (uint64_t i = 0, next; r == OK && i < d->plan.files.n; i = next) {
		struct error why = { 0 };
		next = i + 1;
		r = place_one(p, (uint32_t)i, &next, &why);
		if (r != OK && why.sys == EACCES && dest_cursor_open_up(d, dest_file(d, i)->dir))
			r = place_one(p, (uint32_t)i, &next, &why);
		if (r != OK && !dest_is_refusal(&why))
			return dest_fail(e, &why);
		if (r != OK)
			note_refusal(p, (uint32_t)i, &why, &next);
		r = OK;
		dest_trim(d, i);
	}
	return OK;
}

enum err
dest_place(struct dest *d, struct error *e)
{
	struct placer p = {
		.d = d, .at = { .d = d, .fd = -1, .may_make = true }, .staged = BUF(DEST_PATH_MAX)
	};
	enum err r = place_all(&p, e);

	dest_cursor_close(&p.at);
	buf_clear(&p.staged);
	return r;
}
