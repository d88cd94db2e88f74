/*
 * Two walks in manifest order, advanced in step.  Manifest order of paths is bytewise with '/'
 * before every other byte: a directory comes before what is in it, and all of that before its next
 * sibling.
 */
#include "base/log.h"
#include "base/mem.h"
#include "engine/dest_private.h"

struct side {
	struct tree_walk *walk; /* NULL: nothing (more) */
	struct relpath path;
	struct tree_entry entry;
	const char *only;
	bool here; /* path and entry hold the next one */
};

struct dest_merge {
	struct side old, new;
	bool used_old, used_new; /* given by the last call */
};

static int
compare_paths(struct relpath a, struct relpath b)
{
	size_t n = min_of(a.len, b.len);

	for (size_t i = 0; i < n; i++) {
		unsigned char x = (unsigned char)a.text[i], y = (unsigned char)b.text[i];
		if (x == y)
			continue;
		if (x == '/' || y == '/')
			return x == '/' ? -1 : 1;
		return x < y ? -1 : 1;
	}
	return (a.len > b.len) - (a.len < b.len);
}

/* Of the root's entries, all but ONLY are passed over. */
static bool
is_wanted(const struct side *s)
{
	size_t n;

	if (s->only == NULL)
		return true;
	n = strlen(s->only);
	return s->path.len >= n && memcmp(s->path.text, s->only, n) == 0 &&
	       (s->path.len == n || s->path.text[n] == '/');
}

static enum err
advance(struct side *s, struct error *e)
{
	enum tree_step step;

	while (s->walk != NULL && !s->here) {
		enum err r = tree_walk_next(s->walk, &step, &s->path, &s->entry, e);
		if (r == ERR_NOTFOUND) {
			tree_walk_free(s->walk);
			s->walk = NULL;
		} else if (r != OK) {
			return r;
		} else if (step == TREE_ENTER && is_wanted(s)) {
			s->here = true;
		} else if (step == TREE_ENTER && s->entry.type == TREE_DIR) {
			tree_walk_skip(s->walk);
		}
	}
	return OK;
}

/* What the previous snapshot was helps, but nothing depends on it: without it, what is ours and
 * unchanged is known by state, and what is no longer wanted stays. */
static void
forget_if_lost(struct side *s)
{
	struct error why;

	if (advance(s, &why) == OK)
		return;
	log_warn("the previous snapshot of a directory cannot be read: %s", why.text);
	tree_walk_free(s->walk);
	s->walk = NULL;
	s->here = false;
}

struct dest_merge *
dest_merge_new(struct node_source nodes, const struct hash_id *old, const struct hash_id *new,
    const char *only)
{
	struct dest_merge *m = mem_new(struct dest_merge);

	if (old != NULL && !hash_id_is_none(old))
		m->old.walk = tree_walk_new(nodes, old);
	m->new.walk = tree_walk_new(nodes, new);
	m->old.only = m->new.only = only;
	return m;
}

void
dest_merge_free(struct dest_merge *m)
{
	if (m == NULL)
		return;
	tree_walk_free(m->old.walk);
	tree_walk_free(m->new.walk);
	free(m);
}

enum err
dest_merge_next(struct dest_merge *m, struct dest_pair *ret, struct error *e)
{
	if (m->used_old)
		m->old.here = false;
	if (m->used_new)
		m->new.here = false;
	forget_if_lost(&m->old);
	enum err r = advance(&m->new, e);
	if (r != OK)
		return r;
	if (!m->old.here && !m->new.here)
		return ERR_NOTFOUND;
	int c = !m->old.here ? 1 : !m->new.here ? -1 : compare_paths(m->old.path, m->new.path);
	m->used_old = c <= 0;
	m->used_new = c >= 0;
	*ret = (struct dest_pair){
		.path = c <= 0 ? m->old.path : m->new.path,
		.old = c <= 0 ? &m->old.entry : NULL,
		.new = c >= 0 ? &m->new.entry : NULL,
	};
	return OK;
}
