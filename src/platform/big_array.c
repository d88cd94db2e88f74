#include "platform/big_array.h"

#include <assert.h>
#include <sys/mman.h>

#include "base/cleanup.h"
#include "base/mem.h"
#include "platform/fault.h"
#include "platform/fs.h"

enum {
	GROW_LEAST = 64 * 1024,       /* bytes */
	TRIM_EVERY = 8 * 1024 * 1024, /* bytes pushed */
	LAYOUT = 1,
};

/* The first bytes of the file; the rest of its page is zero. */
struct header {
	uint32_t magic;
	uint32_t layout;
	uint32_t record;
	uint32_t unused;
	uint64_t n;
};

static struct header *
header_of(const struct big_array *a)
{
	return (struct header *)(void *)a->map;
}

/* Bytes of a file with ROOM records, or 0 when no file can have as many. */
static uint64_t
file_size(uint32_t record, uint64_t room)
{
	uint64_t n;

	if (__builtin_mul_overflow(room, (uint64_t)record, &n) || n > INT64_MAX - BIG_ARRAY_HEADER)
		return 0;
	return n + BIG_ARRAY_HEADER;
}

/* Where blocks cannot be reserved, writing zeroes finds out whether they are there. */
static enum err
fill_with_zeroes(int fd, uint64_t from, uint64_t to, struct error *e)
{
	static const uint8_t zeroes[GROW_LEAST];
	enum err r = OK;

	while (r == OK && from < to) {
		size_t k = (size_t)min_of(to - from, (uint64_t)sizeof zeroes);
		r = fs_write_at(fd, from, BYTES(zeroes, k), e);
		from += k;
	}
	return r;
}

static enum err
extend_file(int fd, uint64_t from, uint64_t to, struct error *e)
{
	struct fs_stat st;
	enum err r = fs_allocate(fd, from, to - from, e);

	if (r == OK)
		r = fs_stat_fd(fd, &st, e);
	if (r == OK && st.size < to)
		r = fill_with_zeroes(fd, from, to, e);
	if (r != OK && fs_truncate(fd, from, NULL) != OK)
		return r; /* the file stays longer than it is used: no harm */
	return r;
}

/* The mapping as long as the file. */
static enum err
map_file(struct big_array *a, uint64_t size, struct error *e)
{
	void *map =
	    a->map == NULL
		? fault_call("mmap", mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, a->fd, 0))
		: fault_call("mremap", mremap(a->map, a->mapped, size, MREMAP_MAYMOVE));

	if (map == MAP_FAILED)
		return fail_sys(e, errno, "map %llu bytes of a file", (unsigned long long)size);
	a->map = map;
	a->mapped = size;
	a->room = (size - BIG_ARRAY_HEADER) / a->record;
	return OK;
}

static enum err
reserve(struct big_array *a, uint64_t room, struct error *e)
{
	uint64_t more = max_of(a->room / 4, (uint64_t)GROW_LEAST / a->record + 1);
	uint64_t size;

	if (room < a->room + more)
		room = a->room + more;
	size = file_size(a->record, room);
	if (size == 0)
		return fail(e, ERR_LIMIT, "no file holds %llu records", (unsigned long long)room);
	enum err r = extend_file(a->fd, a->map != NULL ? a->mapped : 0, size, e);
	if (r == OK)
		r = map_file(a, size, e);
	return r;
}

enum err
big_array_create(struct big_array *a, int dir, struct relpath p, uint32_t magic, uint32_t record,
    struct error *e)
{
	struct big_array made = { .fd = -1, .record = record, .magic = magic };
	struct error old = { 0 };
	enum err r = OK;

	assert(record > 0);
	if (p.len > 0) {
		r = fs_unlink(dir, p, &old);
		if (r == OK || r == ERR_NOTFOUND)
			r = fs_create(dir, p, &made.fd, e);
		else if (e != NULL)
			*e = old;
	} else {
		r = fs_create_unnamed(dir, &made.fd, e);
	}
	if (r != OK)
		return r;
	auto_fd int fd = made.fd;
	r = reserve(&made, 0, e);
	if (r != OK)
		return r;
	*header_of(&made) = (struct header){ .magic = magic, .layout = LAYOUT, .record = record };
	(void)take_fd(fd);
	*a = made;
	return OK;
}

/* Takes the file's word for nothing: what it says must fit what it is. */
static enum err
check_header(const struct big_array *a, struct error *e)
{
	const struct header *h = header_of(a);

	if (h->magic != a->magic || h->layout != LAYOUT || h->record != a->record)
		return fail(e, ERR_CORRUPT, "array file of another kind");
	if (h->n > a->room)
		return fail(e, ERR_CORRUPT, "array file says %llu records and has room for %llu",
		    (unsigned long long)h->n, (unsigned long long)a->room);
	return OK;
}

enum err
big_array_open(struct big_array *a, int dir, struct relpath p, uint32_t magic, uint32_t record,
    struct error *e)
{
	struct big_array made = { .fd = -1, .record = record, .magic = magic };
	struct fs_stat st;
	enum err r = fs_open_write(dir, p, &made.fd, e);

	assert(record > 0);
	if (r != OK)
		return r;
	auto_fd int fd = made.fd;
	r = fs_stat_fd(fd, &st, e);
	if (r == OK && st.size < BIG_ARRAY_HEADER)
		r = fail(e, ERR_CORRUPT, "array file of %llu bytes has no header",
		    (unsigned long long)st.size);
	if (r == OK)
		r = map_file(&made, st.size, e);
	if (r == OK)
		r = check_header(&made, e);
	if (r != OK) {
		if (made.map != NULL)
			munmap(made.map, made.mapped);
		return r;
	}
	made.n = header_of(&made)->n;
	(void)take_fd(fd);
	*a = made;
	return OK;
}

void
big_array_close(struct big_array *a)
{
	if (a->map != NULL) {
		munmap(a->map, a->mapped);
		cleanup_close(&a->fd);
	}
	*a = (struct big_array){ 0 };
}

enum err
big_array_push(struct big_array *a, const void *record, struct error *e)
{
	if (a->n == a->room) {
		enum err r = reserve(a, a->n + 1, e);
		if (r != OK)
			return r;
	}
	memcpy(big_array_at(a, a->n), record, a->record);
	a->n++;
	a->touched += a->record;
	if (a->touched >= TRIM_EVERY) {
		big_array_trim(a);
		a->touched = 0;
	}
	return OK;
}

enum err
big_array_resize(struct big_array *a, uint64_t n, struct error *e)
{
	uint64_t had = a->room;

	if (n > a->room) {
		enum err r = reserve(a, n, e);
		if (r != OK)
			return r;
	}
	/* Beyond the old room the file is new and zero; up to there lies what was cut off. */
	if (n > a->n && a->n < had)
		memset(big_array_at(a, a->n), 0, (min_of(n, had) - a->n) * a->record);
	a->n = n;
	return OK;
}

enum err
big_array_sync(struct big_array *a, struct error *e)
{
	enum err r = fs_sync(a->fd, e);

	if (r != OK)
		return r;
	/* The count follows the records onto the disk, so it never counts what is not there. */
	header_of(a)->n = a->n;
	return fs_sync(a->fd, e);
}

void
big_array_trim(struct big_array *a)
{
	/* Of a shared mapping this drops our view only: dirty pages stay the file's, and come back
	 * when touched. */
	(void)madvise(a->map, a->mapped, MADV_DONTNEED);
}
