#include "chunk/pack_set.h"

#include <inttypes.h>
#include <pthread.h>

#include "base/text.h"

/* descriptors kept open; more are opened and closed as they are used */
enum { OPEN_MAX_KEPT = 32 };

struct kept {
	uint64_t number, used; /* used: when last given, in gives */
	int fd;                /* -1: the slot is free */
	unsigned holders;
	bool removed;
};

struct pack_set {
	int dir;
	pthread_mutex_t lock;
	uint64_t gives;
	struct kept kept[OPEN_MAX_KEPT];
};

struct pack_set *
pack_set_new(int dir)
{
	struct pack_set *s = mem_new(struct pack_set);

	s->dir = dir;
	pthread_mutex_init(&s->lock, NULL);
	for (size_t i = 0; i < lengthof(s->kept); i++)
		s->kept[i].fd = -1;
	return s;
}

static void
kept_close(struct kept *k)
{
	cleanup_close(&k->fd);
	*k = (struct kept){ .fd = -1 };
}

void
pack_set_free(struct pack_set *s)
{
	if (s == NULL)
		return;
	for (size_t i = 0; i < lengthof(s->kept); i++)
		kept_close(&s->kept[i]);
	cleanup_close(&s->dir);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

int
pack_set_dir(const struct pack_set *s)
{
	return s->dir;
}

struct relpath
pack_set_name(uint64_t number, char out[static PACK_SET_NAME])
{
	snprintf(out, PACK_SET_NAME, "%016" PRIx64 ".pack", number);
	return fs_rel(out);
}

/* -- descriptors: a slot is reused when nobody holds it, the one unused for longest first -- */

static struct kept *
find(struct pack_set *s, uint64_t number)
{
	for (struct kept *k = s->kept; k < s->kept + lengthof(s->kept); k++)
		if (k->fd >= 0 && k->number == number && !k->removed)
			return k;
	return NULL;
}

static struct kept *
slot_for_new(struct pack_set *s)
{
	struct kept *best = NULL;

	for (struct kept *k = s->kept; k < s->kept + lengthof(s->kept); k++)
		if (k->holders == 0 && (best == NULL || k->used < best->used))
			best = k;
	return best;
}

static int
hold(struct pack_set *s, struct kept *k)
{
	k->holders++;
	k->used = ++s->gives;
	return k->fd;
}

enum err
pack_set_get(struct pack_set *s, uint64_t number, int *ret_fd, struct error *e)
{
	char name[PACK_SET_NAME];
	int fd = -1;

	pthread_mutex_lock(&s->lock);
	struct kept *k = find(s, number);
	if (k != NULL)
		fd = hold(s, k);
	pthread_mutex_unlock(&s->lock);
	if (fd < 0) {
		enum err r = fs_open_read(s->dir, pack_set_name(number, name), &fd, e);
		if (r != OK)
			return r;
		pthread_mutex_lock(&s->lock);
		k = find(s, number) == NULL ? slot_for_new(s) : NULL;
		if (k != NULL) {
			kept_close(k);
			k->number = number;
			k->fd = fd;
			(void)hold(s, k);
		}
		pthread_mutex_unlock(&s->lock);
	}
	*ret_fd = fd;
	return OK;
}

void
pack_set_put(struct pack_set *s, uint64_t number, int fd)
{
	pthread_mutex_lock(&s->lock);
	for (struct kept *k = s->kept; k < s->kept + lengthof(s->kept); k++) {
		if (k->fd != fd || k->number != number)
			continue;
		if (--k->holders == 0 && k->removed)
			kept_close(k);
		fd = -1;
		break;
	}
	pthread_mutex_unlock(&s->lock);
	cleanup_close(&fd);
}

enum err
pack_set_remove(struct pack_set *s, uint64_t number, struct error *e)
{
	char name[PACK_SET_NAME];

	pthread_mutex_lock(&s->lock);
	struct kept *k = find(s, number);
	if (k != NULL && k->holders > 0)
		k->removed = true;
	else if (k != NULL)
		kept_close(k);
	pthread_mutex_unlock(&s->lock);
	enum err r = fs_unlink(s->dir, pack_set_name(number, name), e);
	return r == ERR_NOTFOUND ? OK : r;
}

/* -- names -- */

static bool
parse_name(const char *name, uint64_t *ret)
{
	uint8_t b[8];
	char digits[2 * sizeof b + 1];
	uint64_t v = 0;

	if (strlen(name) != 2 * sizeof b + strlen(".pack") ||
	    strcmp(name + 2 * sizeof b, ".pack") != 0)
		return false;
	memcpy(digits, name, 2 * sizeof b);
	digits[2 * sizeof b] = '\0';
	if (!text_parse_hex(digits, b, sizeof b))
		return false;
	for (size_t i = 0; i < sizeof b; i++)
		v = v << 8 | b[i];
	*ret = v;
	return true;
}

enum err
pack_set_list(struct pack_set *s, struct pack_set_list *ret, struct error *e)
{
	struct fs_list names = { 0 };
	struct pack_set_list l = { 0 };
	struct fs_stat st;

	/* The order of names is the order of numbers. */
	enum err r = fs_list_dir(s->dir, &names, e);
	for (size_t i = 0; r == OK && i < names.n; i++) {
		const char *name = names.names + names.at[i];
		struct pack_set_file f = { 0 };
		if (!parse_name(name, &f.number))
			continue;
		r = fs_stat_at(s->dir, fs_rel(name), &st, e);
		f.size = r == OK ? st.size : 0;
		if (r == OK && st.type == FS_FILE)
			array_push(&l.files, f);
	}
	fs_list_clear(&names);
	if (r != OK) {
		array_clear(&l.files);
		return r;
	}
	*ret = l;
	return OK;
}
