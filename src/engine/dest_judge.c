/*
 * What stands on the disk, and whose is it?
 *
 * "Ours" is what we wrote and the user has not touched: a file whose stat is the recorded one, a
 * symlink with the target of the previous snapshot, a directory that the previous snapshot had.  A
 * file that we wrote and that has another stat, but still the bytes of the previous snapshot,
 * counts as ours too: nothing of the user's is lost by it.  Everything else is the user's and
 * stays, unless its content is what is wanted (then it is adopted) or --overwrite was said (then it
 * goes to the trash).
 *
 * Of a snapshot that is only announced nothing is adopted: it would be given to others from then
 * on, and what names a file of the user's need not be by somebody who may see it.  The bytes are
 * received, and take the place of their like.
 *
 * Two things must say that a file of ours holds what is wanted before it is believed unread: the
 * print recorded with its stat, and the previous snapshot.
 */
#include <errno.h>

#include "engine/dest_private.h"

struct subject {
	struct dest_planner *p;
	const struct dest_pair *pair;
	struct dest_level *level;
	struct relpath name;            /* in level */
	struct fs_stat st;              /* of what stands there */
	const struct state_file *known; /* what we wrote under this name, or NULL */
};

static bool
is_ours(const struct subject *s)
{
	const struct state_file *k = s->known;

	return k != NULL && k->ours && s->st.type == FS_FILE && k->size == s->st.size &&
	       k->ino == s->st.ino && k->mtime_ns == s->st.mtime_ns &&
	       k->ctime_ns == s->st.ctime_ns;
}

static bool
same_content(const struct tree_entry *a, const struct tree_entry *b)
{
	if (a->type != b->type || a->size != b->size || a->n_items != b->n_items ||
	    !hash_id_equal(&a->root, &b->root))
		return false;
	for (uint32_t i = 0; i < a->n_items; i++) {
		if (a->items[i].len != b->items[i].len ||
		    !hash_id_equal(&a->items[i].id, &b->items[i].id))
			return false;
	}
	return true;
}

/* Reads the file: has it the bytes of EN? */
static enum err
holds(const struct subject *s, const struct tree_entry *en, bool *ret, struct error *e)
{
	struct dest *d = s->p->d;
	auto_fd int fd = -1;

	*ret = false;
	if (en == NULL || en->type != TREE_FILE || s->st.type != FS_FILE ||
	    s->st.size != en->size || fs_open_read(s->level->fd, s->name, &fd, NULL) != OK)
		return OK; /* what cannot be read stays in the way */
	return dest_content_is(d->o.nodes, fd, en, s->p->room, d->o.cancel, ret, e);
}

static bool
same_target(const struct subject *s, const struct tree_entry *en)
{
	auto_buf struct buf target = BUF(TREE_LINK_MAX);

	return en != NULL && en->type == TREE_SYMLINK && s->st.type == FS_SYMLINK &&
	       fs_readlink(s->level->fd, s->name, &target, NULL) == OK &&
	       bytes_equal(buf_bytes(&target), en->target);
}

static bool
was_our_dir(const struct subject *s)
{
	return s->st.type == FS_DIR && s->pair->old != NULL && s->pair->old->type == TREE_DIR;
}

static enum dest_action
set_or_keep(const struct subject *s)
{
	const struct tree_entry *en = s->pair->new;

	return (s->st.mode & 0777) == en->mode && s->st.mtime_ns == en->mtime_ns ? DEST_KEEP
										 : DEST_SET;
}

/* The user's. */
static void
in_way(const struct subject *s, struct dest_file *f)
{
	static const uint8_t whys[] = { [FS_FILE] = DEST_WHY_FILE,
		[FS_DIR] = DEST_WHY_DIR,
		[FS_SYMLINK] = DEST_WHY_SYMLINK,
		[FS_OTHER] = DEST_WHY_OTHER };

	if (s->p->d->o.overwrite) {
		f->action = DEST_DISPLACE;
		return;
	}
	f->action = DEST_SKIP;
	f->why = s->known != NULL && s->st.type == FS_FILE ? DEST_WHY_CHANGED : whys[s->st.type];
	dest_note(s->p->d, s->pair->path, (enum dest_why)f->why, NULL);
}

static void
replace_or_leave(const struct subject *s, struct dest_file *f, bool ours)
{
	if (ours || same_target(s, s->pair->old))
		f->action = DEST_REPLACE;
	else
		in_way(s, f);
}

/* What is ours and unchanged is told apart without being read. */
static bool
is_known_same(const struct subject *s)
{
	const struct dest_pair *pair = s->pair;

	return is_ours(s) && pair->old != NULL && same_content(pair->old, pair->new) &&
	       s->known->content == dest_content_print(pair->new);
}

/* Ours, and where the previous snapshot had the same mode and time, also a filesystem with coarser
 * times gets nothing to set. */
static enum dest_action
set_or_keep_ours(const struct subject *s)
{
	const struct tree_entry *old = s->pair->old, *new = s->pair->new;

	return old->mode == new->mode && old->mtime_ns == new->mtime_ns ? DEST_KEEP
									: set_or_keep(s);
}

static enum err
judge_file(const struct subject *s, struct dest_file *f, struct error *e)
{
	const struct dest_pair *pair = s->pair;
	bool ours = is_ours(s), same = false, old = false;
	enum err r = OK;

	if (is_known_same(s)) {
		f->action = set_or_keep_ours(s);
		return OK;
	}
	/* Of our own files only one that may be the wanted one is worth reading. */
	if (!ours || s->known->content == 0 || s->known->content == dest_content_print(pair->new))
		r = holds(s, pair->new, &same, e);
	if (r == OK && !same && !ours && s->known != NULL)
		r = holds(s, pair->old, &old, e);
	if (r != OK)
		return r;
	if (same && !s->p->d->o.share_only) {
		f->action = set_or_keep(s);
		f->adopted = 1;
	} else {
		replace_or_leave(s, f, ours || old || same);
	}
	return OK;
}

/* A symlink, or a directory whose mode and time are then looked at. */
static void
judge_other(const struct subject *s, struct dest_file *f)
{
	if (f->type == TREE_DIR && s->st.type == FS_DIR)
		f->action = set_or_keep(s);
	else if (f->type == TREE_SYMLINK && same_target(s, s->pair->new))
		f->action = DEST_KEEP;
	else
		replace_or_leave(s, f, is_ours(s));
}

/* *RET_THERE: something stands there. */
static enum err
look(struct dest_planner *p, const struct dest_pair *pair, struct subject *s, bool *ret_there,
    struct error *e)
{
	struct error why;

	*ret_there = false;
	*s = (struct subject){
		.p = p, .pair = pair, .level = dest_level_top(p), .name = dest_name_of(pair->path)
	};
	if (s->level->fd < 0)
		return OK;
	enum err r = dest_level_known(p, s->level, BYTES(s->name.text, s->name.len), &s->known, e);
	if (r != OK)
		return r;
	r = fs_stat_at(s->level->fd, s->name, &s->st, &why);
	if (r != OK && why.sys == EACCES && dest_level_open_up(s->level))
		r = fs_stat_at(s->level->fd, s->name, &s->st, &why);
	*ret_there = r == OK;
	return r == OK || r == ERR_NOTFOUND ? OK : dest_fail(e, &why);
}

enum err
dest_judge(
    struct dest_planner *p, const struct dest_pair *pair, struct dest_file *f, struct error *e)
{
	const struct dest_level *l = dest_level_top(p);
	struct subject s;
	bool there;

	f->action = l->blocked ? DEST_SKIP : DEST_MAKE;
	enum err r = look(p, pair, &s, &there, e);
	if (r != OK || !there)
		return r;
	f->was = dest_stat_of(&s.st);
	/* Goes when nothing of the user's is in it. */
	if (f->type != TREE_DIR && was_our_dir(&s))
		f->action = DEST_REPLACE;
	else if (f->type == TREE_FILE)
		return judge_file(&s, f, e);
	else
		judge_other(&s, f);
	return OK;
}

enum err
dest_judge_gone(struct dest_planner *p, const struct dest_pair *pair, struct dest_gone *g,
    bool *ret_ours, struct error *e)
{
	struct subject s;
	bool there;

	*ret_ours = false;
	enum err r = look(p, pair, &s, &there, e);
	if (r != OK || !there)
		return r;
	g->was = dest_stat_of(&s.st);
	g->mode = s.st.mode;
	g->row = s.known != NULL ? s.known->id : 0;
	g->type = s.st.type == FS_DIR       ? TREE_DIR
		  : s.st.type == FS_SYMLINK ? TREE_SYMLINK
					    : TREE_FILE;
	*ret_ours = is_ours(&s) || same_target(&s, pair->old) || was_our_dir(&s);
	if (*ret_ours || pair->new != NULL || s.known == NULL || s.st.type != FS_FILE)
		return OK;
	dest_note(p->d, pair->path, DEST_WHY_GONE, NULL);
	g->stays = 1;
	*ret_ours = true;
	return OK;
}
