/*
 * check_old_kernel: makes the kernel forget what is newer than Linux 3.x or missing on some
 * filesystems, so that the ways around are tested where they are not needed: openat2, renameat2
 * with flags, copy_file_range, fallocate, O_TMPFILE, SEEK_DATA.
 */
#pragma once

#include "tests/check.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#define OLD_ARG(n)    (offsetof(struct seccomp_data, args) + 8 * (n)) /* low half, little-endian */
#define OLD_LOAD(at)  BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (at))
#define OLD_ERRNO(n)  BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (n))
#define OLD_ALLOW     BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
#define OLD_IF(nr, n) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (nr), 0, (n)) /* else pass over N */

/* The tests of NAME, a literal; OLD is what check_old_kernel said. */
#define check_old_kernel_run(old, name, tests)                                                     \
	cmocka_run_group_tests_name((old) ? name " on an old kernel" : name, (tests), NULL, NULL)

/* Call first in main.  True when the kernel is an old one from now on, as the argument "old-kernel"
 * asks. */
static inline bool
check_old_kernel(int argc, char **argv)
{
	struct sock_filter code[] = {
		OLD_LOAD(offsetof(struct seccomp_data, nr)),
		OLD_IF(SYS_openat2, 1),
		OLD_ERRNO(ENOSYS),
		OLD_IF(SYS_copy_file_range, 1),
		OLD_ERRNO(ENOSYS),
		OLD_IF(SYS_fallocate, 1),
		OLD_ERRNO(EOPNOTSUPP),
		OLD_IF(SYS_renameat2, 4),
		OLD_LOAD(OLD_ARG(4)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1),
		OLD_ALLOW,
		OLD_ERRNO(EINVAL),
		OLD_IF(SYS_openat, 4),
		OLD_LOAD(OLD_ARG(2)),
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, O_TMPFILE & ~O_DIRECTORY, 0, 1),
		OLD_ERRNO(EOPNOTSUPP),
		OLD_ALLOW,
		OLD_IF(SYS_lseek, 3),
		OLD_LOAD(OLD_ARG(2)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SEEK_DATA, 0, 1),
		OLD_ERRNO(EINVAL),
		OLD_ALLOW,
	};
	struct sock_fprog program = { .len = sizeof code / sizeof code[0], .filter = code };

	if (argc < 2 || strcmp(argv[1], "old-kernel") != 0)
		return false;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
		print_message("skipped: no seccomp here (%s)\n", strerror(errno));
		exit(77);
	}
	return true;
}
