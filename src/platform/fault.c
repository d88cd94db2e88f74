#include "platform/fault.h"

#ifdef WEFT_FAULTS

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/map.h"
#include "base/text.h"

enum { CALLS_MAX = 48, STACK_STEP = 1 << 20 };

/* The calls that led to a point, innermost first, as offsets in the program. */
struct calls {
	uintptr_t at[CALLS_MAX];
	size_t n;
	uint64_t site;
};

/* The program's text lies between them; the linker says so. */
extern const char __executable_start[], etext[];

/* What the environment asks for, read once; the rest counts passes and is guarded by the mutex. */
static struct {
	pthread_mutex_t lock;
	struct map seen;  /* places already listed */
	const char *list; /* file for the list, NULL: none */
	char place[200];  /* "src/x.c:12" that shall fail, "" when none */
	uint64_t pass;    /* which pass of it */
	uint64_t passes;
	int kind;                  /* errno, FAULT_SHORT or FAULT_CRASH */
	struct fault_board *board; /* NULL: none */
	char sites[PATH_MAX];      /* where the board's sites are listed */
	uint32_t round;            /* of what is in SEEN */
} plan = { .lock = PTHREAD_MUTEX_INITIALIZER };
static pthread_once_t planned = PTHREAD_ONCE_INIT;

static int
kind_of(const char *name)
{
	static const struct {
		const char *name;
		int kind;
	} kinds[] = { { "EIO", EIO }, { "ENOSPC", ENOSPC }, { "short", FAULT_SHORT },
		{ "crash", FAULT_CRASH } };

	if (name == NULL)
		return EIO;
	for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
		if (strcmp(name, kinds[i].name) == 0)
			return kinds[i].kind;
	fprintf(stderr, "WEFT_FAULT_KIND=%s is none of EIO, ENOSPC, short, crash\n", name);
	abort();
}

static void
map_board(const char *path)
{
	auto_fd int fd = open(path, O_RDWR | O_CLOEXEC);
	void *at = fd < 0
		       ? MAP_FAILED
		       : mmap(NULL, sizeof *plan.board, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	int n = snprintf(plan.sites, sizeof plan.sites, "%s.sites", path);

	if (at == MAP_FAILED || n < 0 || (size_t)n >= sizeof plan.sites) {
		fprintf(stderr, "WEFT_FAULT_BOARD=%s cannot be mapped\n", path);
		abort();
	}
	plan.board = at;
}

/* "file:line" or "file:line:N" */
static void
read_plan(void)
{
	const char *fault = getenv("WEFT_FAULT"), *board = getenv("WEFT_FAULT_BOARD");

	plan.list = getenv("WEFT_FAULT_LIST");
	if (board != NULL)
		map_board(board);
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

/* In one write, so that several processes may share the file. */
static void
append(const char *path, const char *line, int n)
{
	auto_fd int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

	if (n > 0 && fd >= 0) {
		ssize_t ignored = write(fd, line, (size_t)n);
		(void)ignored;
	}
}

static void
list_place(const char *where, const char *what)
{
	char line[400];
	bool is_new = false;

	map_put(&plan.seen, bytes_str(where), &is_new);
	if (is_new)
		append(plan.list, line, snprintf(line, sizeof line, "%s %s\n", where, what));
}

/*
 * Follows the frame pointers, which builds with fault points keep, from FRAME outwards.  Ends where
 * a library called us (a callback of libuv): nothing beyond is ours, and libraries keep no frame
 * pointers.
 */
static __attribute__((no_sanitize("address"))) void
walk_calls(void *frame, struct calls *c)
{
	const uintptr_t from = (uintptr_t)__executable_start, to = (uintptr_t)etext;

	c->n = 0;
	c->site = UINT64_C(0xcbf29ce484222325); /* FNV-1a */
	for (uintptr_t *f = frame; c->n < CALLS_MAX;) {
		uintptr_t *outer = (uintptr_t *)f[0], back = f[1];
		if (back < from || back >= to)
			return;
		c->at[c->n++] = back - from;
		c->site = (c->site ^ (back - from)) * UINT64_C(0x100000001b3);
		if (outer <= f || (size_t)((char *)outer - (char *)f) > STACK_STEP)
			return;
		f = outer;
	}
}

static void
list_site(const struct calls *c, const char *where, const char *what)
{
	char line[200 + CALLS_MAX * 17 + 200], calls[CALLS_MAX * 17 + 1] = "";
	size_t len = 0;
	bool is_new = false;

	if (plan.round != plan.board->round) {
		map_clear(&plan.seen);
		plan.round = plan.board->round;
	}
	map_put(&plan.seen, BYTES(&c->site, sizeof c->site), &is_new);
	if (!is_new)
		return;
	for (size_t i = 0; i < c->n; i++)
		len += (size_t)snprintf(
		    calls + len, sizeof calls - len, "%s%zx", i > 0 ? "," : "", (size_t)c->at[i]);
	int n = snprintf(line, sizeof line, "%u %016llx %s %s %s\n", plan.round,
	    (unsigned long long)c->site, where, calls, what);
	if (n > 0 && (size_t)n < sizeof line)
		append(plan.sites, line, n);
}

static bool
is_wanted(uint64_t site)
{
	for (size_t i = 0; i < FAULT_SITES && plan.board->sites[i] != 0; i++)
		if (plan.board->sites[i] == site)
			return true;
	return false;
}

/* What the board wants here.  Of processes that share one, and their threads, one fails. */
static int
ask_board(void *frame, const char *where, const char *what)
{
	_Atomic uint32_t *fired = (_Atomic uint32_t *)&plan.board->fired;
	struct calls c;
	uint32_t no = 0;

	walk_calls(frame, &c);
	if (plan.board->round != 0)
		list_site(&c, where, what);
	if (!is_wanted(c.site) || !atomic_compare_exchange_strong(fired, &no, 1))
		return 0;
	return plan.board->kind;
}

static bool
is_board_clean(void)
{
	const volatile struct fault_board *b = plan.board;

	return b == NULL || (b->round == 0 && (b->sites[0] == 0 || b->fired != 0));
}

int
fault_hit(const char *where, const char *what)
{
	int hit = 0, sys = errno; /* the point must not be noticed */

	pthread_once(&planned, read_plan);
	bool boring = is_board_clean();
	if (plan.list == NULL && plan.place[0] == '\0' && boring)
		return 0;
	pthread_mutex_lock(&plan.lock);
	if (plan.list != NULL)
		list_place(where, what);
	if (strcmp(plan.place, where) == 0 && ++plan.passes == plan.pass)
		hit = plan.kind;
	if (!boring && hit == 0)
		hit = ask_board(__builtin_frame_address(0), where, what);
	pthread_mutex_unlock(&plan.lock);
	if (hit == FAULT_CRASH)
		_exit(99);
	errno = sys;
	return hit;
}

#else

/* Nothing is compiled in; a file of C wants one declaration. */
typedef int fault_nothing;

#endif
