/*
 * error: what went wrong, for the caller (a code), for a human (a text) and for us (the origin).
 *
 * A function that can fail returns enum err and takes struct error *e last; e may be NULL when the
 * code alone is enough.  On success e is untouched; on failure the outputs are untouched.
 * Nothing here allocates, so a lack of memory can be reported too.
 *
 * Threads    any; a struct error belongs to one caller.
 */
#pragma once

#include <stddef.h>

#define must_check __attribute__((warn_unused_result))

/* Add a code only when some caller branches on it: name, exit status and advice hang on it. */
#define ERR_CODES(X)                                                                               \
	X(AGAIN)    /* not now; retry when told */                                                 \
	X(NOTFOUND) /* the thing asked for is not here */                                          \
	X(EXISTS)   /* it is already here */                                                       \
	X(DENIED)   /* identity or permission says no */                                           \
	X(CONFLICT) /* both sides changed it */                                                    \
	X(CORRUPT)  /* bytes do not match their checksum */                                        \
	X(PROTO)    /* a message breaks the protocol or a format */                                \
	X(LIMIT)    /* a stated limit would be exceeded */                                         \
	X(USAGE)    /* the command line or the configuration is wrong */                           \
	X(OFFLINE)  /* the other side cannot be reached */                                         \
	X(NOSPACE)  /* the disk is full; go on when there is room */                               \
	X(IO)       /* the OS refused; error.sys says why */                                       \
	X(CANCELED) /* we stopped it ourselves */                                                  \
	X(BUG)      /* we broke our own rule; give up on this one thing */

enum err {
	OK = 0,
#define X(name) ERR_##name,
	ERR_CODES(X) ERR_COUNT
#undef X
};

enum { ERROR_TEXT = 400 };

struct error {
	enum err code;
	int sys;               /* errno, 0 if none */
	const char *where;     /* "src/chunk/chunk_store.c:88", the origin */
	char text[ERROR_TEXT]; /* for a human, outermost context first, no full stop */
};

#define ERROR_STR_(x) #x
#define ERROR_STR(x)  ERROR_STR_(x)
#define HERE          __FILE__ ":" ERROR_STR(__LINE__)

/* Fill *E if not NULL, and return the code: `return fail(e, ERR_PROTO, "%zu bytes", n);` */
#define fail(e, code, ...) error_set((e), (code), 0, HERE, __VA_ARGS__)
/* The OS said no: SYS is an errno value.  ENOSPC and EDQUOT become ERR_NOSPACE, ENOENT
 * ERR_NOTFOUND, EEXIST ERR_EXISTS, all else ERR_IO.  The text gets ": " and the message of SYS
 * appended. */
#define fail_sys(e, sys, ...) error_set_sys((e), (sys), HERE, __VA_ARGS__)

enum err error_set(struct error *e, enum err code, int sys, const char *where, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
enum err error_set_sys(struct error *e, int sys, const char *where, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* Puts context in front of the text: "store chunk ab12: write: no space left".  Returns CODE. */
enum err error_wrap(struct error *e, enum err code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Static lower-case name, "notfound"; "?" for a number that is no code. */
const char *error_name(enum err code);

/*
 * The invariant of one connection or job: false reports loudly and the caller gives up on
 * that one thing: `if (!expect(x)) return fail(e, ERR_BUG, ...)`.  assert() is for memory safety
 * only.
 */
#define expect(cond) (__builtin_expect(!!(cond), 1) || (error_unexpected(#cond, HERE), 0))
void error_unexpected(const char *cond, const char *where);
