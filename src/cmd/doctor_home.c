/* What `weft doctor` can say about the home without opening it: nothing is made, locked or changed.
 */
#include "cmd/doctor.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "base/text.h"
#include "engine/home.h"
#include "platform/fs.h"

enum { FORMAT_MAX = 64, ADVICE_MAX = 512 };

static const char format_word[] = "weft home ";
static const uint64_t room_fail = 64 << 20, room_warn = UINT64_C(1) << 30;

static bool
check_owner(struct doctor *d)
{
	char advice[ADVICE_MAX];
	struct stat st;

	if (stat(d->home, &st) != 0) {
		bool is_new = errno == ENOENT;
		doctor_say(d, "home", is_new ? DOCTOR_WARN : DOCTOR_FAIL,
		    is_new ? "`weft join INVITE` or `weft server` makes it"
			   : "see who owns the directories above it",
		    "%s: %s", d->home, is_new ? "does not exist yet" : strerror(errno));
		return false;
	}
	if (!S_ISDIR(st.st_mode)) {
		doctor_say(d, "home", DOCTOR_FAIL, "name another with --home or WEFT_HOME",
		    "%s is not a directory", d->home);
		return false;
	}
	if (st.st_uid != geteuid()) {
		doctor_say(d, "home", DOCTOR_FAIL, "run weft as that user, or name another home",
		    "%s belongs to user %u", d->home, (unsigned)st.st_uid);
		return false;
	}
	if ((st.st_mode & 077) != 0) {
		snprintf(advice, sizeof advice, "chmod 700 %s", d->home);
		doctor_say(d, "home", DOCTOR_FAIL, advice, "others may look into %s (mode %03o)",
		    d->home, (unsigned)st.st_mode & 0777);
		return false;
	}
	return true;
}

static bool
check_format(struct doctor *d, int dir)
{
	auto_buf struct buf text = BUF(FORMAT_MAX);
	struct error e = { 0 };
	uint64_t format = 0;
	enum err r = fs_read_file(dir, REL("format"), &text, &e);

	if (r == ERR_NOTFOUND) {
		doctor_say(d, "home", DOCTOR_WARN, "`weft join INVITE` or `weft server` makes it",
		    "%s is empty", d->home);
		return false;
	}
	if (r != OK) {
		doctor_say(d, "home", DOCTOR_FAIL, "restore the home, or join anew with another",
		    "%s", e.text);
		return false;
	}
	char *line = (char *)(uintptr_t)buf_text(&text);
	line[strcspn(line, "\n")] = '\0';
	bool ok = strncmp(line, format_word, strlen(format_word)) == 0 &&
		  text_parse_u64(line + strlen(format_word), UINT32_MAX, &format);
	if (!ok || format > HOME_FORMAT) {
		doctor_say(d, "home", DOCTOR_FAIL,
		    ok ? "install the newer weft again" : "restore the file `format`", "%s %s",
		    d->home,
		    ok ? "was made by a newer weft" : "has a format file that says nothing");
		return false;
	}
	doctor_say(
	    d, "home", DOCTOR_OK, NULL, "%s, format %llu", d->home, (unsigned long long)format);
	return true;
}

static void
check_config(struct doctor *d)
{
	struct error e = { 0 };

	if (config_read(&d->config, d->home, COMMAND_FOR_BOTH, &e) != OK)
		doctor_say(
		    d, "config", DOCTOR_FAIL, "`man weft.conf` lists the keys", "%s", e.text);
	else if (d->config.values.len > 0)
		doctor_say(
		    d, "config", DOCTOR_OK, NULL, "%s sets %zu", CONFIG_FILE, d->config.values.len);
	else
		doctor_say(d, "config", DOCTOR_OK, NULL, "no %s that says anything", CONFIG_FILE);
}

static void
check_room(struct doctor *d, int dir)
{
	uint64_t room = 0, total = 0;
	char a[TEXT_SIZE], b[TEXT_SIZE];
	struct error e = { 0 };

	if (fs_space(dir, &room, &total, &e) != OK) {
		doctor_say(d, "disk", DOCTOR_FAIL, NULL, "%s", e.text);
		return;
	}
	enum doctor_state state = room < room_fail   ? DOCTOR_FAIL
				  : room < room_warn ? DOCTOR_WARN
						     : DOCTOR_OK;
	doctor_say(d, "disk", state,
	    state == DOCTOR_OK ? NULL : "make room: transfers pause when the disk is full",
	    "%s of %s free", text_size(room, a), text_size(total, b));
}

/* Databases and locks on a disk that several machines share come to harm. */
static void
check_kind(struct doctor *d, int dir)
{
	static const struct {
		uint32_t magic;
		const char *name;
	} remote[] = {
		{ 0x6969, "NFS" },
		{ 0xff534d42, "CIFS" },
		{ 0xfe534d42, "SMB" },
		{ 0x517b, "SMB" },
		{ 0x01021997, "9P" },
		{ 0x00c36400, "Ceph" },
		{ 0x65735546, "FUSE" },
	};
	struct statfs fs;

	if (fstatfs(dir, &fs) != 0)
		return;
	for (size_t i = 0; i < sizeof remote / sizeof remote[0]; i++) {
		if ((uint32_t)fs.f_type != remote[i].magic)
			continue;
		doctor_say(d, "filesystem", DOCTOR_WARN,
		    "put the home on a local disk (--home DIR)",
		    "the home lies on %s: its database may be slow or come to harm",
		    remote[i].name);
		return;
	}
	doctor_say(d, "filesystem", DOCTOR_OK, NULL, "the home lies on a local disk");
}

/* In a file without a name, which leaves nothing behind. */
static void
check_features(struct doctor *d, int dir)
{
	auto_fd int fd = openat(dir, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd < 0) {
		if (errno != EOPNOTSUPP && errno != EISDIR)
			doctor_say(d, "filesystem", DOCTOR_FAIL,
			    "see that it is mounted for writing", "cannot write to the home: %s",
			    strerror(errno));
		return;
	}
	if (fallocate(fd, 0, 0, 65536) != 0)
		doctor_say(d, "filesystem", DOCTOR_WARN, NULL,
		    "cannot reserve room (%s): a full disk shows only while files are written",
		    strerror(errno));
	if (ftruncate(fd, 1 << 20) == 0 && lseek(fd, 65536, SEEK_HOLE) < 0)
		doctor_say(d, "filesystem", DOCTOR_WARN, NULL,
		    "tells no holes: sparse files are read whole");
}

void
doctor_home(struct doctor *d)
{
	if (!check_owner(d))
		return;
	auto_fd int dir = open(d->home, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0) {
		doctor_say(d, "home", DOCTOR_FAIL, NULL, "%s: %s", d->home, strerror(errno));
		return;
	}
	d->home_is_good = check_format(d, dir);
	check_config(d);
	check_room(d, dir);
	check_kind(d, dir);
	check_features(d, dir);
}
