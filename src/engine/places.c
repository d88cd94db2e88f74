/*
 * A place is looked up, its file opened beneath its root, its bytes read and hashed.  Directories of roots and the last big files
 * are kept open; leaf lists of the last chunks are kept, so that a part of a big chunk is proved by hashing that part alone.
 *
 * The stat is not what decides: a file whose times were touched but whose bytes are the chunk may be served, one whose times
 * were put back and whose bytes are others may not.  Callers are jobs of the pool, so the short lists are behind a lock that is not
 * held while the disk is read.
 */
#include "engine/places.h"

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/text.h"

enum { PLACES_MAX = 16, ROOTS_OPEN = 32, FILES_OPEN = 32, LISTS_KEPT = 512, SHOWN = 160 };

/* An open directory or file, by the number of its root or file in state. */
struct kept_fd {
	int64_t id;
	int fd;
	unsigned users;
	uint64_t used;
};
struct kept_list {
	struct hash_id chunk;
	struct leaf_list list;
	uint64_t used;
};

struct places {
	struct state *state;
	pthread_mutex_t lock;
	struct kept_fd roots[ROOTS_OPEN], files[FILES_OPEN];
	struct kept_list *lists; /* LISTS_KEPT, made when first needed */
	uint64_t clock;
};

struct places *
places_new(struct state *s)
{
	struct places *p = mem_new(struct places);

	p->state = s;
	pthread_mutex_init(&p->lock, NULL);
	for (size_t i = 0; i < ROOTS_OPEN; i++)
		p->roots[i].fd = -1;
	for (size_t i = 0; i < FILES_OPEN; i++)
		p->files[i].fd = -1;
	return p;
}

static void
close_kept(struct kept_fd *k, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (k[i].fd >= 0)
			(void)close(k[i].fd);
	}
}

void
places_free(struct places *p)
{
	if (p == NULL)
		return;
	close_kept(p->roots, ROOTS_OPEN);
	close_kept(p->files, FILES_OPEN);
	pthread_mutex_destroy(&p->lock);
	free(p->lists);
	free(p);
}

/* -- descriptors that are kept -- */

/* The descriptor of ID, in use until give_back; -1 when it is not kept. */
static int
borrow(struct places *p, struct kept_fd *k, size_t n, int64_t id)
{
	int fd = -1;

	pthread_mutex_lock(&p->lock);
	for (size_t i = 0; i < n && fd < 0; i++) {
		if (k[i].fd < 0 || k[i].id != id)
			continue;
		k[i].users++;
		k[i].used = ++p->clock;
		fd = k[i].fd;
	}
	pthread_mutex_unlock(&p->lock);
	return fd;
}

/* Puts FD, in use, into the place of the one that nobody uses for longest; when all are in use it is not kept. */
static void
keep(struct places *p, struct kept_fd *k, size_t n, int64_t id, int fd)
{
	struct kept_fd *best = NULL;

	pthread_mutex_lock(&p->lock);
	for (size_t i = 0; i < n; i++) {
		if (k[i].users > 0)
			continue;
		if (best == NULL || k[i].fd < 0 || (best->fd >= 0 && k[i].used < best->used))
			best = &k[i];
	}
	if (best != NULL) {
		if (best->fd >= 0)
			(void)close(best->fd);
		*best = (struct kept_fd){ .id = id, .fd = fd, .users = 1, .used = ++p->clock };
	}
	pthread_mutex_unlock(&p->lock);
}

/* STALE: it no longer leads to what it should, and is closed when nobody uses it. */
static void
give_back(struct places *p, struct kept_fd *k, size_t n, int fd, bool stale)
{
	bool found = false;

	pthread_mutex_lock(&p->lock);
	for (size_t i = 0; i < n && !found; i++) {
		if (k[i].fd != fd || k[i].users == 0)
			continue;
		found = true;
		if (stale)
			k[i].id = 0;
		if (--k[i].users == 0 && k[i].id == 0) {
			(void)close(fd);
			k[i].fd = -1;
		}
	}
	pthread_mutex_unlock(&p->lock);
	if (!found)
		(void)close(fd);
}

/* -- opening -- */

/* A root that is a file was published alone: the directory is the one it is in, and its name is the root's. */
static enum err
open_single(const struct root *root, int *ret_fd, struct error *e)
{
	auto_free char *real = realpath(root->path, NULL);
	auto_fd int dir = -1;
	char *slash = real != NULL ? strrchr(real, '/') : NULL;
	struct relpath name;

	if (slash == NULL)
		return fail(e, ERR_NOTFOUND, "%s is gone", root->path);
	enum err r = relpath_parse(slash + 1, strlen(slash + 1), &name, e);
	*slash = 0;
	if (r == OK)
		r = fs_open_root(slash == real ? "/" : real, &dir, e);
	return r == OK ? fs_open_read(dir, name, ret_fd, e) : r;
}

static enum err
open_root(struct places *p, int64_t id, int *ret_fd, struct root *root, struct error *e)
{
	int fd = borrow(p, p->roots, ROOTS_OPEN, id);

	if (fd >= 0) {
		*ret_fd = fd;
		return OK;
	}
	enum err r = state_root_by_id(p->state, id, root, e);
	if (r == OK)
		r = fs_open_root(root->path, &fd, e);
	if (r != OK)
		return r;
	keep(p, p->roots, ROOTS_OPEN, id, fd);
	*ret_fd = fd;
	return OK;
}

/* The file of PL, in use; SHOWN names it for people. */
static enum err
open_file(struct places *p, const struct state_place *pl, int *ret_fd, char shown[static SHOWN], struct error *e)
{
	auto_buf struct buf text = BUF(RELPATH_MAX);
	struct root root = { 0 };
	struct relpath path;
	int64_t root_id;
	int dir = -1, fd = borrow(p, p->files, FILES_OPEN, pl->file);

	shown[0] = 0;
	if (fd >= 0) {
		*ret_fd = fd;
		return OK;
	}
	enum err r = state_file_path(p->state, pl->file, &root_id, &text, NULL, e);
	if (r == OK)
		r = relpath_parse(buf_text(&text), text.len, &path, e);
	if (r != OK)
		return r;
	text_escape(buf_bytes(&text), shown, SHOWN);
	r = open_root(p, root_id, &dir, &root, e);
	if (r == OK) {
		r = fs_open_read(dir, path, &fd, e);
		give_back(p, p->roots, ROOTS_OPEN, dir, r == ERR_NOTFOUND);
	} else if (root.path != NULL) {
		r = open_single(&root, &fd, e);
	}
	root_clear(&root);
	if (r != OK)
		return r;
	keep(p, p->files, FILES_OPEN, pl->file, fd);
	*ret_fd = fd;
	return OK;
}

/* -- leaf lists that are kept -- */

static size_t
list_slot(const struct hash_id *chunk)
{
	uint16_t x;

	memcpy(&x, chunk->bytes, sizeof x);
	return x % LISTS_KEPT;
}

static bool
find_list(struct places *p, const struct hash_id *chunk, struct leaf_list *ret)
{
	bool found = false;

	pthread_mutex_lock(&p->lock);
	if (p->lists != NULL && hash_id_equal(&p->lists[list_slot(chunk)].chunk, chunk)) {
		*ret = p->lists[list_slot(chunk)].list;
		found = true;
	}
	pthread_mutex_unlock(&p->lock);
	return found;
}

static void
keep_list(struct places *p, const struct hash_id *chunk, const struct leaf_list *list)
{
	pthread_mutex_lock(&p->lock);
	if (p->lists == NULL)
		p->lists = mem_array(struct kept_list, LISTS_KEPT);
	p->lists[list_slot(chunk)] = (struct kept_list){ .chunk = *chunk, .list = *list };
	pthread_mutex_unlock(&p->lock);
}

/* -- reading -- */

struct wanted {
	const struct hash_id *chunk;
	uint32_t len, first, n;
	uint8_t *to;
	uint32_t bytes; /* of the wanted leaves */
};

/* Only the wanted leaves, against a list that is proved. */
static enum err
read_part(int fd, uint64_t at, const struct wanted *w, const struct leaf_list *list, bool *ret_match, struct error *e)
{
	enum err r = fs_read_exact(fd, at + (uint64_t)w->first * CHUNK_LEAF, w->to, w->bytes, e);
	uint32_t off = 0;

	*ret_match = r == OK;
	for (uint32_t i = 0; r == OK && i < w->n; i++) {
		uint8_t hash[HASH_BYTES];
		uint32_t n = chunk_id_leaf_len(w->len, w->first + i);
		hash_leaf((enum hash_alg)w->chunk->alg, BYTES(w->to + off, n), hash);
		if (memcmp(hash, list->hash[w->first + i], HASH_BYTES) != 0)
			*ret_match = false;
		off += n;
	}
	return r;
}

/* The whole chunk, which proves itself; when all of it is wanted it is read to where it is wanted. */
static enum err
read_whole(int fd, uint64_t at, const struct wanted *w, struct leaf_list *list, bool *ret_match, struct error *e)
{
	auto_free uint8_t *room = w->bytes == w->len ? NULL : mem_alloc(w->len);
	uint8_t *to = room != NULL ? room : w->to;
	struct hash_id id;

	enum err r = fs_read_exact(fd, at, to, w->len, e);
	if (r != OK)
		return r;
	chunk_id_of((enum hash_alg)w->chunk->alg, BYTES(to, w->len), list, &id);
	*ret_match = hash_id_equal(&id, w->chunk);
	if (*ret_match && room != NULL)
		memcpy(w->to, room + (size_t)w->first * CHUNK_LEAF, w->bytes);
	return OK;
}

static enum err
read_place(struct places *p, const struct state_place *pl, const struct wanted *w, struct leaf_list *list, bool *ret_match,
    char shown[static SHOWN], struct error *e)
{
	int fd;
	enum err r = open_file(p, pl, &fd, shown, e);

	if (r != OK)
		return r;
	bool has_list = find_list(p, w->chunk, list);
	r = has_list ? read_part(fd, pl->offset, w, list, ret_match, e) : read_whole(fd, pl->offset, w, list, ret_match, e);
	give_back(p, p->files, FILES_OPEN, fd, r != OK || !*ret_match);
	if (r == OK && *ret_match && !has_list && list->n > 1)
		keep_list(p, w->chunk, list);
	return r;
}

enum err
places_get_leaves(struct places *p, const struct hash_id *chunk, uint32_t len, uint32_t first, uint32_t n, uint8_t *to,
    uint32_t *ret_len, struct leaf_list *ret_leaves, struct error *e)
{
	struct state_place found[PLACES_MAX];
	struct wanted w = { .chunk = chunk, .len = len, .first = first, .n = n, .to = to };
	char shown[SHOWN], changed[SHOWN] = "";
	struct leaf_list list;
	size_t n_found = 0;

	if (len == 0 || len > CHUNK_MAX || n == 0 || first + n > chunk_id_leaf_count(len))
		return fail(e, ERR_LIMIT, "leaves that a chunk of %u bytes does not have", len);
	for (uint32_t i = 0; i < n; i++)
		w.bytes += chunk_id_leaf_len(len, first + i);
	enum err r = state_places(p->state, chunk, found, PLACES_MAX, &n_found, e);
	if (r != OK)
		return r;
	for (size_t i = 0; i < n_found; i++) {
		bool match = false;
		r = read_place(p, &found[i], &w, &list, &match, shown, NULL);
		if (r == OK && match) {
			*ret_len = w.bytes;
			if (ret_leaves != NULL)
				*ret_leaves = list;
			return OK;
		}
		if (shown[0] != 0)
			memcpy(changed, shown, sizeof changed);
	}
	if (changed[0] != 0)
		return fail(e, ERR_NOTFOUND, "%s was changed or removed since it was published", changed);
	return fail(e, ERR_NOTFOUND, "no file here holds these bytes any more");
}

bool
places_may_have(struct places *p, const struct hash_id *chunk)
{
	struct state_place found[1];
	size_t n = 0;

	return state_places(p->state, chunk, found, 1, &n, NULL) == OK && n > 0;
}
