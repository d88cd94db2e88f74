#include "base/array.h"
#include "base/map.h"
#include "manifest/tree_iter.h"
#include "manifest/tree_path.h"

/* Directories whose nodes stay in memory; those further up are read again when the walk comes back
 * to them.  Real trees never get there, and a hostile one cannot make us hold 512 times all levels.
 */
enum { WARM_MAX = 16 };

/* Directories that a walk remembers have at least so many entries beneath: so it remembers few (of
 * 10 million files some ten thousand), and what it forgets is short. */
enum { KNOWN_LEAST = 256 };

/* How much there is beneath a directory, and how far down it goes. */
struct extent {
	uint64_t entries, bytes;
	size_t height;  /* names in the deepest path */
	size_t longest; /* bytes of the longest one */
};

struct level {
	struct tree_iter *entries;
	struct tree_entry dir; /* name: borrowed from the path */
	size_t path_len;
	struct extent seen; /* of what dir declares */
	bool partial;       /* something beneath was skipped */
};

struct tree_walk {
	struct node_source source;
	ARRAY(struct level) levels;
	bool into;  /* the entry given last is a directory to go into */
	bool exact; /* the totals of the whole are declared too */
	bool once;
	struct map known; /* root of a directory to its struct extent, when once */
	struct tree_entry last;
	struct tree_path path;
};

static void
push(struct tree_walk *w, const struct tree_entry *dir)
{
	struct level l = {
		.entries = tree_iter_new(w->source, &dir->root),
		.dir = *dir,
		.path_len = w->path.len,
	};

	l.dir.name = BYTES(w->path.text + w->path.len - dir->name.len, dir->name.len);
	array_push(&w->levels, l);
	if (w->levels.len > WARM_MAX)
		tree_iter_park(w->levels.at[w->levels.len - 1 - WARM_MAX].entries);
}

struct tree_walk *
tree_walk_new(struct node_source source, const struct hash_id *root)
{
	struct tree_walk *w = mem_new(struct tree_walk);

	w->source = source;
	push(w, &(struct tree_entry){ .type = TREE_DIR,
		    .root = *root,
		    .size = TREE_TOTAL_MAX,
		    .entries = TREE_ENTRIES_MAX });
	return w;
}

void
tree_walk_expect(struct tree_walk *w, uint64_t entries, uint64_t bytes)
{
	w->levels.at[0].dir.entries = entries;
	w->levels.at[0].dir.size = bytes;
	w->exact = true;
}

void
tree_walk_once(struct tree_walk *w)
{
	w->once = true;
}

void
tree_walk_free(struct tree_walk *w)
{
	if (w == NULL)
		return;
	map_each (slot, &w->known)
		free(slot->ptr);
	map_clear(&w->known);
	array_each (l, &w->levels)
		tree_iter_free(l->entries);
	array_clear(&w->levels);
	free(w);
}

/* What a directory declares is a bound from its first entry on, so a lie ends the walk early. */
static enum err
count(struct level *l, const struct tree_entry *en, struct error *e)
{
	uint64_t entries = 1 + (en->type == TREE_DIR ? en->entries : 0);
	uint64_t bytes = en->type == TREE_SYMLINK ? 0 : en->size;

	if (entries > l->dir.entries - l->seen.entries || bytes > l->dir.size - l->seen.bytes)
		return fail(e, ERR_PROTO, "more beneath a directory than it declares");
	l->seen.entries += entries;
	l->seen.bytes += bytes;
	return OK;
}

/* An entry with NAME bytes of name and so much beneath it reaches so far below L. */
static void
reach(struct level *l, size_t name, const struct extent *beneath)
{
	size_t path = beneath->height > 0 ? name + 1 + beneath->longest : name;

	l->seen.height = max_of(l->seen.height, 1 + beneath->height);
	l->seen.longest = max_of(l->seen.longest, path);
}

/* The directory has been walked elsewhere: would it pass here too? */
static enum err
check_known(const struct tree_walk *w, const struct tree_entry *en, const struct extent *known,
    struct error *e)
{
	if (en->entries != known->entries || en->size != known->bytes)
		return fail(e, ERR_PROTO, "a directory declares other totals than elsewhere");
	if (w->levels.len + known->height > RELPATH_DEPTH_MAX ||
	    w->path.len + 1 + known->longest > RELPATH_MAX)
		return fail(e, ERR_PROTO, "paths beneath it are too deep or too long here");
	return OK;
}

static enum err
enter(struct tree_walk *w, struct level *top, struct tree_entry *en, struct error *e)
{
	static const struct extent nothing = { 0 };
	const struct extent *known = NULL;
	enum err r = tree_path_push(&w->path, en->name, w->levels.len, e);

	if (r == OK)
		r = count(top, en, e);
	if (r == OK && w->once && en->type == TREE_DIR)
		known = map_ptr(&w->known, hash_id_bytes(&en->root));
	if (known != NULL)
		r = check_known(w, en, known, e);
	if (r == OK)
		reach(top, en->name.len, known != NULL ? known : &nothing);
	w->into = r == OK && en->type == TREE_DIR && known == NULL;
	w->last = *en;
	return r;
}

/* What has been found beneath the directory that ends counts for the one above, and is
 * remembered. */
static void
tell_above(struct tree_walk *w, const struct level *top)
{
	struct level *above = &w->levels.at[w->levels.len - 2];

	above->partial |= top->partial;
	reach(above, top->dir.name.len, &top->seen);
	if (!w->once || top->partial || top->seen.entries < KNOWN_LEAST)
		return;
	struct map_slot *slot = map_put(&w->known, hash_id_bytes(&top->dir.root), NULL);
	if (slot->ptr == NULL)
		slot->ptr = mem_dup(&top->seen, sizeof top->seen);
}

/* ERR_NOTFOUND when it is the root that ends. */
static enum err
leave(struct tree_walk *w, struct level *top, struct tree_entry *ret, struct error *e)
{
	bool root = w->levels.len == 1;

	if ((!root || w->exact) &&
	    (top->seen.entries != top->dir.entries || top->seen.bytes != top->dir.size))
		return fail(e, ERR_PROTO, "less beneath a directory than it declares");
	if (root)
		return ERR_NOTFOUND;
	tell_above(w, top);
	*ret = top->dir;
	tree_iter_free(top->entries);
	w->levels.len--;
	return OK;
}

enum err
tree_walk_next(struct tree_walk *w, enum tree_step *ret_step, struct relpath *ret_path,
    struct tree_entry *ret, struct error *e)
{
	struct tree_entry en;
	enum tree_step step = TREE_ENTER;

	if (w->into)
		push(w, &w->last);
	w->into = false;
	struct level *top = &w->levels.at[w->levels.len - 1];
	tree_path_cut(&w->path, top->path_len);

	enum err r = tree_iter_next(top->entries, &en, e);
	if (r == OK) {
		r = enter(w, top, &en, e);
	} else if (r == ERR_NOTFOUND) {
		step = TREE_LEAVE;
		r = leave(w, top, &en, e);
		if (r == ERR_NOTFOUND)
			return r;
	}
	if (r != OK)
		return tree_path_wrap(&w->path, r, e);
	*ret_step = step;
	*ret_path = tree_path_view(&w->path);
	*ret = en;
	return OK;
}

void
tree_walk_skip(struct tree_walk *w)
{
	w->levels.at[w->levels.len - 1].partial |= w->into;
	w->into = false;
}

void
tree_walk_totals(const struct tree_walk *w, uint64_t *ret_entries, uint64_t *ret_bytes)
{
	*ret_entries = w->levels.at[0].seen.entries;
	*ret_bytes = w->levels.at[0].seen.bytes;
}
