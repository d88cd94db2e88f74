/*
 * A checksum on each page of a database file.  SQLite notices damage to its own structure, but not
 * to what is stored in it: a right, a name, an offset with one bit changed looks as good as before.
 *
 * A layer between SQLite and its usual way to the disk.  The last bytes of each page are reserved
 * for us; they are filled in when a page is written to the database file, and checked when it is
 * read.  Pages in the log have the log's own checksums until they are moved.  A page of zeros is
 * one that was never written.
 *
 * Against damage, not against malice: the home is ours.
 */
#include <pthread.h>

#include "base/mem.h"
#include "db/db_private.h"

enum { PAGE_LEAST = 512, AT_RESERVED = 20 /* in the header: how many bytes of each page */ };

struct sum_file {
	sqlite3_file base; /* first: what SQLite sees */
	uint8_t *page;     /* the one being written */
	int room;
	_Alignas(8) char real[]; /* the file beneath */
};

static sqlite3_file *
real_of(sqlite3_file *f)
{
	return (sqlite3_file *)(void *)((struct sum_file *)f)->real;
}

/* -- the checksum -- */

static uint64_t
mix(uint64_t sum, const uint8_t *at)
{
	uint64_t word;

	memcpy(&word, at, sizeof word);
	sum = (sum ^ word) * 0x9e3779b97f4a7c15;
	return sum ^ sum >> 29;
}

/* Also of where the page lies: one in the place of another is damage. */
static uint64_t
sum_of(const uint8_t *page, size_t n, uint64_t at)
{
	uint64_t lane[4] = { at, 1, 2, 3 };

	for (size_t i = 0; i + DB_SUM_BYTES < n; i += 8)
		lane[i / 8 % 4] = mix(lane[i / 8 % 4], page + i);
	for (int i = 1; i < 4; i++)
		lane[0] = mix(lane[0], (const uint8_t *)&lane[i]);
	return lane[0];
}

static bool
is_zero(const uint8_t *page, size_t n)
{
	return page[0] == 0 && memcmp(page, page + 1, n - 1) == 0;
}

/* Reads and writes of anything else are of the header, which is part of the first page. */
static bool
is_page(int n, sqlite3_int64 at)
{
	return n >= PAGE_LEAST && (n & (n - 1)) == 0 && at % n == 0;
}

static bool
is_whole(const uint8_t *page, size_t n, uint64_t at)
{
	uint64_t sum = sum_of(page, n, at);

	if (at == 0 && page[AT_RESERVED] != DB_SUM_BYTES)
		return false;
	return memcmp(page + n - sizeof sum, &sum, sizeof sum) == 0 || is_zero(page, n);
}

static int
sum_read(sqlite3_file *f, void *to, int n, sqlite3_int64 at)
{
	int rc = real_of(f)->pMethods->xRead(real_of(f), to, n, at);

	if (rc != SQLITE_OK || !is_page(n, at) || is_whole(to, (size_t)n, (uint64_t)at))
		return rc;
	return at == 0 ? SQLITE_NOTADB : SQLITE_CORRUPT;
}

static int
sum_write(sqlite3_file *f, const void *from, int n, sqlite3_int64 at)
{
	struct sum_file *s = (struct sum_file *)(void *)f;
	sqlite3_file *real = real_of(f);

	if (!is_page(n, at))
		return real->pMethods->xWrite(real, from, n, at);
	if (s->room < n) {
		free(s->page);
		s->page = mem_alloc((size_t)n);
		s->room = n;
	}
	memcpy(s->page, from, (size_t)n);
	uint64_t sum = sum_of(s->page, (size_t)n, (uint64_t)at);
	memcpy(s->page + n - sizeof sum, &sum, sizeof sum);
	return real->pMethods->xWrite(real, s->page, n, at);
}

static int
sum_close(sqlite3_file *f)
{
	free(((struct sum_file *)(void *)f)->page);
	return real_of(f)->pMethods->xClose(real_of(f));
}

/* -- what passes through -- */

static int
sum_truncate(sqlite3_file *f, sqlite3_int64 size)
{
	return real_of(f)->pMethods->xTruncate(real_of(f), size);
}

static int
sum_sync(sqlite3_file *f, int flags)
{
	return real_of(f)->pMethods->xSync(real_of(f), flags);
}

static int
sum_size(sqlite3_file *f, sqlite3_int64 *ret)
{
	return real_of(f)->pMethods->xFileSize(real_of(f), ret);
}

static int
sum_lock(sqlite3_file *f, int how)
{
	return real_of(f)->pMethods->xLock(real_of(f), how);
}

static int
sum_unlock(sqlite3_file *f, int how)
{
	return real_of(f)->pMethods->xUnlock(real_of(f), how);
}

static int
sum_is_reserved(sqlite3_file *f, int *ret)
{
	return real_of(f)->pMethods->xCheckReservedLock(real_of(f), ret);
}

static int
sum_control(sqlite3_file *f, int op, void *arg)
{
	return real_of(f)->pMethods->xFileControl(real_of(f), op, arg);
}

static int
sum_sector(sqlite3_file *f)
{
	return real_of(f)->pMethods->xSectorSize(real_of(f));
}

static int
sum_traits(sqlite3_file *f)
{
	return real_of(f)->pMethods->xDeviceCharacteristics(real_of(f));
}

static int
sum_shm_map(sqlite3_file *f, int region, int size, int extend, void volatile **ret)
{
	return real_of(f)->pMethods->xShmMap(real_of(f), region, size, extend, ret);
}

static int
sum_shm_lock(sqlite3_file *f, int at, int n, int flags)
{
	return real_of(f)->pMethods->xShmLock(real_of(f), at, n, flags);
}

static void
sum_shm_barrier(sqlite3_file *f)
{
	real_of(f)->pMethods->xShmBarrier(real_of(f));
}

static int
sum_shm_unmap(sqlite3_file *f, int remove)
{
	return real_of(f)->pMethods->xShmUnmap(real_of(f), remove);
}

/* Version 2: no mapped pages, which would come past us. */
static const sqlite3_io_methods methods = {
	.iVersion = 2,
	.xClose = sum_close,
	.xRead = sum_read,
	.xWrite = sum_write,
	.xTruncate = sum_truncate,
	.xSync = sum_sync,
	.xFileSize = sum_size,
	.xLock = sum_lock,
	.xUnlock = sum_unlock,
	.xCheckReservedLock = sum_is_reserved,
	.xFileControl = sum_control,
	.xSectorSize = sum_sector,
	.xDeviceCharacteristics = sum_traits,
	.xShmMap = sum_shm_map,
	.xShmLock = sum_shm_lock,
	.xShmBarrier = sum_shm_barrier,
	.xShmUnmap = sum_shm_unmap,
};

/* -- opening -- */

static int
sum_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *f, int flags, int *ret_flags)
{
	struct sum_file *s = (struct sum_file *)(void *)f;
	sqlite3_vfs *real = vfs->pAppData;

	if (!(flags & SQLITE_OPEN_MAIN_DB)) /* the log, and what is thrown away */
		return real->xOpen(real, name, f, flags, ret_flags);
	*s = (struct sum_file){ 0 };
	int rc = real->xOpen(real, name, real_of(f), flags, ret_flags);
	if (rc == SQLITE_OK)
		f->pMethods = &methods;
	return rc;
}

/* SQLite keeps a list of such layers for the whole process; ours is put on it once. */
static sqlite3_vfs layer;

static void
put_on_list(void)
{
	sqlite3_vfs *real = sqlite3_vfs_find(NULL);

	layer = *real;
	layer.pNext = NULL;
	layer.zName = "weft";
	layer.szOsFile = (int)sizeof(struct sum_file) + real->szOsFile;
	layer.pAppData = real;
	layer.xOpen = sum_open;
	(void)sqlite3_vfs_register(&layer, 0);
}

const char *
db_sum_layer(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, put_on_list);
	return layer.zName;
}
