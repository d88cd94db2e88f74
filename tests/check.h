/*
 * check: what unit tests share.  To be included before everything else, as cmocka's `fail` and ours
 * in base/error.h have the same name, and ours is the one that tests mean.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#undef fail

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"

/* check_ok(fs_read(..., &e), e): a failure prints the error with its origin. */
#define check_ok(call, e)                                                                          \
	do {                                                                                       \
		if ((call) != OK) {                                                                \
			print_error("%s: %s (from %s)\n", #call, (e).text, (e).where);             \
			_fail(__FILE__, __LINE__);                                                 \
		}                                                                                  \
	} while (0)

/* check_err(fs_read(..., &e), ERR_IO, e): exactly this code, which E must carry as well. */
#define check_err(call, want, e)                                                                   \
	do {                                                                                       \
		enum err check_got = (call);                                                       \
		if (check_got != (want)) {                                                         \
			print_error("%s gave %s, not %s\n", #call, error_name(check_got),          \
			    error_name(want));                                                     \
			if (check_got != OK)                                                       \
				print_error("%s (from %s)\n", (e).text, (e).where);                \
			_fail(__FILE__, __LINE__);                                                 \
		}                                                                                  \
		assert_int_equal((e).code, check_got);                                             \
	} while (0)

#define check_text(text, want) assert_string_equal((text), (want))
/* TEXT contains PART. */
#define check_says(text, part)                                                                     \
	do {                                                                                       \
		if (strstr((text), (part)) == NULL) {                                              \
			print_error("\"%s\" does not say \"%s\"\n", (text), (part));               \
			_fail(__FILE__, __LINE__);                                                 \
		}                                                                                  \
	} while (0)

/* A directory of one test; PATH is good as long as the struct. */
struct check_dir {
	char path[64];
	int fd;
};

static inline struct check_dir
check_dir_in(const char *parent)
{
	struct check_dir d = { .fd = -1 };

	snprintf(d.path, sizeof d.path, "%.40s/weft-test-XXXXXX", parent);
	if (mkdtemp(d.path) == NULL)
		print_error("cannot make %s: %s\n", d.path, strerror(errno));
	d.fd = open(d.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(d.fd >= 0);
	return d;
}

static inline struct check_dir
check_dir_make(void)
{
	const char *tmp = getenv("TMPDIR");

	return check_dir_in(tmp != NULL ? tmp : "/tmp");
}

/* In memory where that is possible: for tests that flush a thousand times. */
static inline struct check_dir
check_dir_make_fast(void)
{
	return access("/dev/shm", W_OK) == 0 ? check_dir_in("/dev/shm") : check_dir_make();
}

static inline int
check_remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st;
	(void)type;
	(void)at;
	return remove(path);
}

static inline void
check_dir_remove(struct check_dir *d)
{
	(void)close(d->fd);
	(void)nftw(d->path, check_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* For a test that wants nothing but a directory of its own: *STATE is its struct check_dir. */
static inline int
check_dir_give(void **state, struct check_dir made)
{
	struct check_dir *d = malloc(sizeof *d);

	assert_non_null(d);
	*d = made;
	*state = d;
	return 0;
}

static inline int
check_dir_setup(void **state)
{
	return check_dir_give(state, check_dir_make());
}

static inline int
check_dir_setup_fast(void **state)
{
	return check_dir_give(state, check_dir_make_fast());
}

static inline int
check_dir_teardown(void **state)
{
	check_dir_remove(*state);
	free(*state);
	return 0;
}

#define check_dir_test(f) cmocka_unit_test_setup_teardown((f), check_dir_setup, check_dir_teardown)

/* Puts TEXT into the file NAME of D. */
static inline void
check_put(const struct check_dir *d, const char *name, const void *text, size_t n)
{
	int fd = openat(d->fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, n), n);
	assert_int_equal(close(fd), 0);
}
