#include "base/mem.h"

#include <string.h>

#include "base/log.h"

static void *
or_abort(void *p, size_t n)
{
	if (p == NULL) {
		log_error("out of memory: %zu bytes", n);
		abort();
	}
	return p;
}

void *
mem_zalloc(size_t n)
{
	return or_abort(calloc(1, n > 0 ? n : 1), n);
}

void *
mem_alloc(size_t n)
{
	return or_abort(malloc(n > 0 ? n : 1), n);
}

void *
mem_zalloc_array(size_t n, size_t size)
{
	return or_abort(calloc(n > 0 ? n : 1, size), n);
}

void *
mem_realloc(void *p, size_t n)
{
	return or_abort(realloc(p, n > 0 ? n : 1), n);
}

void *
mem_dup(const void *p, size_t n)
{
	void *copy = mem_alloc(n);

	if (n > 0)
		memcpy(copy, p, n);
	return copy;
}

enum err
mem_try(size_t n, void **ret, struct error *e)
{
	void *p = calloc(1, n > 0 ? n : 1);

	if (p == NULL)
		return fail(e, ERR_LIMIT, "no memory for %zu bytes", n);
	*ret = p;
	return OK;
}

void
mem_wipe(void *p, size_t n)
{
	explicit_bzero(p, n);
}
