/*
 * A place is looked up, its file opened beneath its root, its bytes read and hashed.  Roots and
 * files stay open for a moment, as who asks for one chunk of a file soon asks for the next; leaf
 * lists of the last chunks are kept longer, so that a part of a big chunk is proved by hashing that
 * part alone.
 *
 * The stat is not what decides: a file whose times were touched but whose bytes are the chunk may
 * be served, one whose times were put back and whose bytes are others may not.  A file that does
 * not hold what state says is forgotten, so that the next scan reads it again, whatever its times
 * say; but only if what state says is what it said before we looked, as a scan may be at work.
 *
 * Callers are jobs of the pool, so the short lists are behind a lock that is not held while the
 * disk is read.
 */
#include "engine/places.h"

#include <errno.h>
#include <pthread.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "platform/clock.h"

enum {
	PLACES_MAX = 16,
	FILES_OPEN = 32,
	ROOTS_OPEN = 8,
	KEEP_MS = 1000, /* a descriptor; then the path is asked again */
	LISTS_KEPT = 512,
	SHOWN = 160,
};

/* An open directory or file, by the number of its root or file in state. */
struct kept_fd {
	int64_t id; /* 0: to be closed */
	int fd;     /* -1: none */
	unsigned users;
	uint64_t opened_ms;
};
struct kept_fds {
	struct kept_fd *at;
	size_t n;
};
struct kept_list {
	struct hash_id chunk;
	struct leaf_list list;
};

struct places {
	struct state *state;
	pthread_mutex_t lock;
	struct kept_fd root[ROOTS_OPEN], file[FILES_OPEN];
	struct kept_fds roots, files;
	struct kept_list *lists; /* LISTS_KEPT, made when first needed */
};

static void
kept_init(struct kept_fds *k, struct kept_fd *at, size_t n)
{
	*k = (struct kept_fds){ at, n };
	for (size_t i = 0; i < n; i++)
		at[i].fd = -1;
}

struct places *
places_new(struct state *s)
{
	struct places *p = mem_new(struct places);

	p->state = s;
	pthread_mutex_init(&p->lock, NULL);
	kept_init(&p->roots, p->root, ROOTS_OPEN);
	kept_init(&p->files, p->file, FILES_OPEN);
	return p;
}

/* -- descriptors that are kept; with the lock -- */

static void
drop(struct kept_fd *k)
{
	k->id = 0;
	if (k->users > 0)
		return;
	cleanup_close(&k->fd);
	k->fd = -1;
}

static void
drop_all(struct kept_fds *k, uint64_t opened_before_ms)
{
	for (size_t i = 0; i < k->n; i++)
		if (k->at[i].fd >= 0 && k->at[i].opened_ms < opened_before_ms)
			drop(&k->at[i]);
}

void
places_free(struct places *p)
{
	if (p == NULL)
		return;
	drop_all(&p->files, UINT64_MAX);
	drop_all(&p->roots, UINT64_MAX);
	pthread_mutex_destroy(&p->lock);
	free(p->lists);
	free(p);
}

void
places_trim(struct places *p)
{
	uint64_t now = clock_mono_ms();

	pthread_mutex_lock(&p->lock);
	drop_all(&p->files, now - KEEP_MS);
	drop_all(&p->roots, now - KEEP_MS);
	pthread_mutex_unlock(&p->lock);
}

/* -- and without -- */

/* The descriptor of ID, in use until give_back; -1 when it is not kept. */
static int
borrow(struct places *p, struct kept_fds *k, int64_t id)
{
	uint64_t now = clock_mono_ms();
	int fd = -1;

	pthread_mutex_lock(&p->lock);
	drop_all(k, now > KEEP_MS ? now - KEEP_MS : 0);
	for (size_t i = 0; i < k->n && fd < 0; i++) {
		if (k->at[i].fd < 0 || k->at[i].id != id)
			continue;
		k->at[i].users++;
		fd = k->at[i].fd;
	}
	pthread_mutex_unlock(&p->lock);
	return fd;
}

/* Keeps FD, in use, in place of the oldest that nobody uses; if all are used, it goes with
 * give_back. */
static void
keep(struct places *p, struct kept_fds *k, int64_t id, int fd)
{
	struct kept_fd *best = NULL;

	pthread_mutex_lock(&p->lock);
	for (size_t i = 0; i < k->n; i++) {
		struct kept_fd *it = &k->at[i];
		if (it->users > 0)
			continue;
		if (best == NULL || it->fd < 0 ||
		    (best->fd >= 0 && it->opened_ms < best->opened_ms))
			best = it;
	}
	if (best != NULL) {
		drop(best);
		*best = (struct kept_fd){
			.id = id, .fd = fd, .users = 1, .opened_ms = clock_mono_ms()
		};
	}
	pthread_mutex_unlock(&p->lock);
}

/* STALE: it does not lead where it should, and nobody shall borrow it again. */
static void
give_back(struct places *p, struct kept_fds *k, int fd, bool stale)
{
	bool found = false;

	pthread_mutex_lock(&p->lock);
	for (size_t i = 0; i < k->n && !found; i++) {
		struct kept_fd *it = &k->at[i];
		if (it->fd != fd || it->users == 0)
			continue;
		found = true;
		it->users--;
		if (stale || it->id == 0)
			drop(it);
	}
	pthread_mutex_unlock(&p->lock);
	if (!found)
		cleanup_close(&fd);
}

/* -- opening -- */

/* A root that is a file was published alone: it is opened where it really lies. */
static enum err
open_single(const char *path, int *ret_fd, struct error *e)
{
	auto_free char *real = realpath(path, NULL);
	struct relpath name;
	int dir_ = -1;

	if (real == NULL)
		return fail_sys(e, errno, "find %s", path);
	char *slash = strrchr(real, '/');
	enum err r = relpath_parse(slash + 1, strlen(slash + 1), &name, e);
	*slash = '\0';
	if (r == OK)
		r = fs_open_root(slash == real ? "/" : real, &dir_, e);
	auto_fd int dir = dir_;
	return r == OK ? fs_open_read(dir, name, ret_fd, e) : r;
}

/* The root's directory, in use; or, where the root is a file, *RET_IS_FILE and that file, which is
 * not kept. */
static enum err
open_root(struct places *p, int64_t id, bool fresh, int *ret_fd, bool *ret_is_file, struct error *e)
{
	struct error why = { 0 };
	struct root root = { 0 };
	int fd = fresh ? -1 : borrow(p, &p->roots, id);

	*ret_is_file = false;
	if (fd >= 0) {
		*ret_fd = fd;
		return OK;
	}
	enum err r = state_root_by_id(p->state, id, &root, &why);
	if (r == OK) {
		r = fs_open_root(root.path, &fd, &why);
		*ret_is_file = r != OK && why.sys == ENOTDIR;
		if (*ret_is_file)
			r = open_single(root.path, &fd, &why);
	}
	root_clear(&root);
	if (r != OK) {
		if (e != NULL)
			*e = why;
		return r;
	}
	if (!*ret_is_file)
		keep(p, &p->roots, id, fd);
	*ret_fd = fd;
	return OK;
}

/* One place that is looked at. */
struct look {
	struct state_place place;
	bool fresh; /* nothing that is kept will do */
	bool kept;  /* the descriptor is one that was */
	int fd;
	struct state_file as; /* what state says; unless kept */
	char shown[SHOWN];    /* its path, for people; unless kept */
	bool gone; /* there is no such file, as opposed to one that cannot be opened now */
};

/* Did opening beneath the root fail because that path leads to no file any more? */
static bool
is_gone(enum err r, const struct error *e)
{
	return r == ERR_NOTFOUND || e->sys == ENOTDIR || e->sys == ELOOP || e->sys == EISDIR ||
	       (r == ERR_IO && e->sys == 0);
}

static enum err
open_beneath(struct places *p, struct look *l, int64_t root, struct relpath path, struct error *e)
{
	bool is_file;
	int dir = -1;
	enum err r = open_root(p, root, l->fresh, &dir, &is_file, e);

	if (r != OK)
		return r;
	if (is_file) {
		l->fd = dir;
		return OK;
	}
	struct error why = { 0 };
	r = fs_open_read(dir, path, &l->fd, &why);
	l->gone = r != OK && is_gone(r, &why);
	give_back(p, &p->roots, dir, l->gone);
	if (r != OK && e != NULL)
		*e = why;
	return r;
}

static enum err
open_file(struct places *p, struct look *l, struct error *e)
{
	auto_buf struct buf text = BUF(RELPATH_MAX + 1);
	struct relpath path = { 0 };
	int64_t root;

	l->gone = false;
	l->fd = l->fresh ? -1 : borrow(p, &p->files, l->place.file);
	l->kept = l->fd >= 0;
	if (l->kept)
		return OK;
	enum err r = state_file_path(p->state, l->place.file, &root, &text, &l->as, e);
	if (r == OK)
		r = relpath_parse(buf_text(&text), text.len, &path, e);
	if (r != OK)
		return r;
	text_escape(buf_bytes(&text), l->shown, SHOWN);
	r = open_beneath(p, l, root, path, e);
	if (r == OK)
		keep(p, &p->files, l->place.file, l->fd);
	return r;
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
	struct leaf_list list;
};

/* Only the wanted leaves, against a list that is proved.  ERR_CORRUPT: other bytes, or none. */
static enum err
read_part(int fd, uint64_t at, const struct wanted *w, struct error *e)
{
	enum err r = fs_read_exact(fd, at + (uint64_t)w->first * CHUNK_LEAF, w->to, w->bytes, e);
	uint32_t off = 0;

	for (uint32_t i = 0; r == OK && i < w->n; i++) {
		uint8_t hash[HASH_BYTES];
		uint32_t n = chunk_id_leaf_len(w->len, w->first + i);
		hash_leaf((enum hash_alg)w->chunk->alg, BYTES(w->to + off, n), hash);
		if (memcmp(hash, w->list.hash[w->first + i], HASH_BYTES) != 0)
			r = fail(e, ERR_CORRUPT, "leaf %u is another one", w->first + i);
		off += n;
	}
	return r;
}

/* The whole chunk, which proves itself; when all of it is wanted it is read to where it is
 * wanted. */
static enum err
read_whole(int fd, uint64_t at, struct wanted *w, struct error *e)
{
	auto_free uint8_t *room = w->bytes == w->len ? NULL : mem_alloc(w->len);
	uint8_t *to = room != NULL ? room : w->to;
	struct hash_id id;

	enum err r = fs_read_exact(fd, at, to, w->len, e);
	if (r != OK)
		return r;
	chunk_id_of((enum hash_alg)w->chunk->alg, BYTES(to, w->len), &w->list, &id);
	if (!hash_id_equal(&id, w->chunk))
		return fail(e, ERR_CORRUPT, "the chunk is another one");
	if (room != NULL)
		memcpy(w->to, room + (size_t)w->first * CHUNK_LEAF, w->bytes);
	return OK;
}

static enum err
read_place(struct places *p, struct look *l, struct wanted *w, struct error *e)
{
	enum err r = open_file(p, l, e);

	if (r != OK)
		return r;
	bool has_list = find_list(p, w->chunk, &w->list);
	r = has_list ? read_part(l->fd, l->place.offset, w, e)
		     : read_whole(l->fd, l->place.offset, w, e);
	give_back(p, &p->files, l->fd, r != OK);
	if (r == OK && !has_list && w->list.n > 1)
		keep_list(p, w->chunk, &w->list);
	return r;
}

/* From a descriptor that was kept, or, if that one does not hold it, from what the path leads to
 * now. */
static enum err
look_there(struct places *p, struct look *l, struct wanted *w, struct error *e)
{
	enum err r = read_place(p, l, w, e);

	if (r != OK && (l->kept || l->gone)) {
		l->fresh = true;
		r = read_place(p, l, w, e);
	}
	return r;
}

/* True when the file is not what state says, which is then forgotten. */
static bool
forget_if_changed(struct places *p, const struct look *l, enum err r)
{
	if (r != ERR_CORRUPT && !l->gone)
		return false;
	if (state_file_del_if(p->state, &l->as, NULL) != OK)
		log_debug("%s has changed, and is still in state", l->shown);
	return true;
}

enum err
places_get_leaves(struct places *p, const struct hash_id *share, const struct hash_id *chunk,
    uint32_t len, uint32_t first, uint32_t n, uint8_t *to, uint32_t *ret_len,
    struct leaf_list *ret_leaves, struct error *e)
{
	struct state_place found[PLACES_MAX];
	struct wanted w = { .chunk = chunk, .len = len, .first = first, .n = n, .to = to };
	struct error why = { 0 };
	char changed[SHOWN] = "";
	size_t n_found = 0;

	if (!hash_alg_known(chunk->alg) || len == 0 || len > CHUNK_MAX || n == 0 ||
	    n > chunk_id_leaf_count(len) || first > chunk_id_leaf_count(len) - n)
		return fail(e, ERR_LIMIT, "leaves that a chunk of %u bytes does not have", len);
	for (uint32_t i = 0; i < n; i++)
		w.bytes += chunk_id_leaf_len(len, first + i);
	enum err r = state_places(p->state, share, chunk, found, PLACES_MAX, &n_found, e);
	if (r != OK)
		return r;
	for (size_t i = 0; i < n_found; i++) {
		struct look l = { .place = found[i] };
		r = look_there(p, &l, &w, &why);
		if (r == OK) {
			*ret_len = w.bytes;
			if (ret_leaves != NULL)
				*ret_leaves = w.list;
			return OK;
		}
		if (forget_if_changed(p, &l, r))
			memcpy(changed, l.shown, sizeof changed);
	}
	if (changed[0] != '\0')
		return fail(
		    e, ERR_NOTFOUND, "%s was changed or removed since it was published", changed);
	if (why.code != OK)
		return fail(e, ERR_NOTFOUND, "no file here gives these bytes now: %s", why.text);
	return fail(e, ERR_NOTFOUND, "no file here holds these bytes any more");
}

bool
places_may_have(struct places *p, const struct hash_id *share, const struct hash_id *chunk)
{
	struct state_place found;
	size_t n = 0;

	return state_places(p->state, share, chunk, &found, 1, &n, NULL) == OK && n > 0;
}
