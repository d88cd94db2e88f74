/* What `weft doctor` can say about the machine. */
#include "cmd/doctor.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/timex.h>

#include "base/text.h"
#include "platform/clock.h"

enum { FILES_WARN = 4096 };
/* No clock that is right shows a time before this program was written. */
static const int64_t written_ns = INT64_C(1767225600) * 1000000000; /* 2026-01-01 */

static void
check_files(struct doctor *d)
{
	struct rlimit n;

	if (getrlimit(RLIMIT_NOFILE, &n) != 0)
		return;
	bool few = n.rlim_max != RLIM_INFINITY && n.rlim_max < FILES_WARN;
	doctor_say(d, "limits", few ? DOCTOR_WARN : DOCTOR_OK,
	    few ? "raise LimitNOFILE of the service, or `ulimit -Hn`" : NULL,
	    few ? "%llu open files at most: a server needs one for each connection"
		: "%llu open files",
	    (unsigned long long)n.rlim_max);
}

static void
check_kernel(struct doctor *d)
{
	const struct open_how how = { .flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH };
	auto_fd int fd = (int)syscall(SYS_openat2, AT_FDCWD, ".", &how, sizeof how);

	if (fd >= 0 || (errno != ENOSYS && errno != EPERM))
		doctor_say(d, "kernel", DOCTOR_OK, NULL,
		    "opens paths beneath a directory in one step (openat2)");
	else
		doctor_say(d, "kernel", DOCTOR_WARN,
		    "Linux 5.6 or later, or a sandbox that allows openat2, is faster",
		    "has no openat2: paths are opened one directory at a time");
}

/* Grants and invites run out at a time: a clock that is far off ends or prolongs them. */
static void
check_clock(struct doctor *d)
{
	struct timex t = { .modes = 0 };
	char now[TEXT_TIME];
	int64_t ns = clock_wall_ns();

	text_time(ns, now);
	if (ns < written_ns)
		doctor_say(d, "clock", DOCTOR_FAIL,
		    "set it, and let NTP keep it (timedatectl set-ntp true)", "%s is in the past",
		    now);
	else if (adjtimex(&t) == TIME_ERROR || (t.status & STA_UNSYNC) != 0)
		doctor_say(d, "clock", DOCTOR_WARN, "let NTP keep it (timedatectl set-ntp true)",
		    "%s, but nothing keeps it right", now);
	else
		doctor_say(d, "clock", DOCTOR_OK, NULL, "%s, kept by NTP", now);
}

void
doctor_machine(struct doctor *d)
{
	check_kernel(d);
	check_files(d);
	check_clock(d);
}
