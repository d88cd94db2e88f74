/*
 * cleanup: release at the end of the scope, in reverse order of declaration.
 *
 * Declare and initialise on one line, always (NULL, -1, { 0 }).  Ownership leaves only through
 * take_ptr / take_fd.  Never on anything that contains a libuv handle: those close later.
 */
#pragma once

#include <stdlib.h>
#include <unistd.h>

#define auto_(fn) __attribute__((cleanup(fn)))
#define auto_free auto_(cleanup_free)  /* any heap pointer */
#define auto_fd   auto_(cleanup_close) /* int, -1 when empty */
#define auto_buf  auto_(buf_clear)     /* struct buf */

#define take_ptr(p)                                                                                \
	__extension__({                                                                            \
		__typeof__(p) *take_pp = &(p), take_p = *take_pp;                                  \
		*take_pp = NULL;                                                                   \
		take_p;                                                                            \
	})
#define take_fd(fd)                                                                                \
	__extension__({                                                                            \
		int *take_fdp = &(fd), take_f = *take_fdp;                                         \
		*take_fdp = -1;                                                                    \
		take_f;                                                                            \
	})

/* Defines foo_free_p for use with auto_(foo_free_p). */
#define DEFINE_FREE_P(type)                                                                        \
	static inline void type##_free_p(struct type **p)                                          \
	{                                                                                          \
		type##_free(*p);                                                                   \
	}
#define DEFINE_CLOSE_P(type)                                                                       \
	static inline void type##_close_p(struct type **p)                                         \
	{                                                                                          \
		type##_close(*p);                                                                  \
	}

static inline void
cleanup_free(void *p)
{
	free(*(void **)p);
}

static inline void
cleanup_close(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
}
