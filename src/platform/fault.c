#include "platform/fault.h"

#ifdef WEFT_FAULTS

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/map.h"
#include "base/text.h"

enum { SHORT = -1, CRASH = -2 };

/* What the environment asks for, read once; the rest counts passes and is guarded by the mutex. */
static struct {
	pthread_mutex_t lock;
	struct map seen;  /* places already listed */
	const char *list; /* file for the list, NULL: none */
	char place[200];  /* "src/x.c:12" that shall fail, "" when none */
	uint64_t pass;    /* which pass of it */
	uint64_t passes;
	int kind; /* errno, SHORT or CRASH */
} plan = { .lock = PTHREAD_MUTEX_INITIALIZER };
static pthread_once_t planned = PTHREAD_ONCE_INIT;

static int
kind_of(const char *name)
{
	static const struct {
		const char *name;
		int kind;
	} kinds[] = { { "EIO", EIO }, { "ENOSPC", ENOSPC }, { "short", SHORT },
		{ "crash", CRASH } };

	if (name == NULL)
		return EIO;
	for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
		if (strcmp(name, kinds[i].name) == 0)
			return kinds[i].kind;
	fprintf(stderr, "WEFT_FAULT_KIND=%s is none of EIO, ENOSPC, short, crash\n", name);
	abort();
}

/* "file:line" or "file:line:N" */
static void
read_plan(void)
{
	const char *fault = getenv("WEFT_FAULT");

	plan.list = getenv("WEFT_FAULT_LIST");
	if (fault == NULL || *fault == '\0')
		return;
	plan.kind = kind_of(getenv("WEFT_FAULT_KIND"));
	plan.pass = 1;
	const char *first = strchr(fault, ':'), *last = strrchr(fault, ':');
	size_t n = strlen(fault);
	if (first != last) {
		n = (size_t)(last - fault);
		if (!text_parse_u64(last + 1, UINT64_MAX, &plan.pass))
			first = NULL;
	}
	if (first == NULL || n >= sizeof plan.place) {
		fprintf(stderr, "WEFT_FAULT=%s is not FILE:LINE or FILE:LINE:PASS\n", fault);
		abort();
	}
	memcpy(plan.place, fault, n);
}

/* Appends in one write, so that several processes may share the list. */
static void
list_place(const char *where, const char *what)
{
	char line[400];
	bool is_new = false;

	map_put(&plan.seen, bytes_str(where), &is_new);
	if (!is_new)
		return;
	int n = snprintf(line, sizeof line, "%s %s\n", where, what);
	auto_fd int fd = open(plan.list, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (n > 0 && fd >= 0) {
		ssize_t ignored = write(fd, line, (size_t)n);
		(void)ignored;
	}
}

int
fault_hit(const char *where, const char *what)
{
	int hit = 0;

	pthread_once(&planned, read_plan);
	if (plan.list == NULL && plan.place[0] == '\0')
		return 0;
	pthread_mutex_lock(&plan.lock);
	if (plan.list != NULL)
		list_place(where, what);
	if (strcmp(plan.place, where) == 0 && ++plan.passes == plan.pass)
		hit = plan.kind;
	pthread_mutex_unlock(&plan.lock);
	if (hit == CRASH)
		_exit(99);
	return hit;
}

#else

/* Nothing is compiled in; a file of C wants one declaration. */
typedef int fault_nothing;

#endif
