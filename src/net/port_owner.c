#include "net/port_owner.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/text.h"

enum {
	TCP_LISTENING = 0x0A,
	SCAN_MAX = 100000 /* lines or entries looked at: bounds a lookup that only informs */
};

/* The inode of the listening socket at PORT in a table of /proc/net; 0 when it is not there. */
static uint64_t
inode_in(const char *table, uint16_t port)
{
	char line[512];
	uint64_t inode = 0;
	FILE *f = fopen(table, "re");

	if (f == NULL)
		return 0;
	for (int i = 0; i < SCAN_MAX && inode == 0 && fgets(line, sizeof line, f) != NULL; i++) {
		unsigned local, state;
		uint64_t found;
		/* sl local:port remote:port state queues timer retransmits uid timeout inode */
		if (sscanf(line,
			" %*d: %*[0-9A-Fa-f]:%x %*[0-9A-Fa-f]:%*x %x %*s %*s %*s %*u %*u %" SCNu64,
			&local, &state, &found) == 3 &&
		    local == port && state == TCP_LISTENING)
			inode = found;
	}
	(void)fclose(f);
	return inode;
}

/* Has process PID a descriptor of the socket INODE? */
static bool
holds(const char *pid, uint64_t inode)
{
	char path[300], want[40], is[40];
	bool found = false;

	snprintf(want, sizeof want, "socket:[%" PRIu64 "]", inode);
	snprintf(path, sizeof path, "/proc/%s/fd", pid);
	DIR *d = opendir(path);
	if (d == NULL)
		return false;
	struct dirent *entry;
	for (int i = 0; i < SCAN_MAX && !found && (entry = readdir(d)) != NULL; i++) {
		ssize_t n = readlinkat(dirfd(d), entry->d_name, is, sizeof is - 1);
		if (n > 0) {
			is[n] = '\0';
			found = strcmp(is, want) == 0;
		}
	}
	(void)closedir(d);
	return found;
}

static void
describe(const char *pid, char out[PORT_OWNER_TEXT])
{
	char path[300], name[17] = "", shown[32];

	snprintf(path, sizeof path, "/proc/%s/comm", pid);
	FILE *f = fopen(path, "re");
	if (f != NULL) {
		if (fgets(name, sizeof name, f) == NULL)
			name[0] = '\0';
		(void)fclose(f);
	}
	name[strcspn(name, "\n")] = '\0';
	snprintf(out, PORT_OWNER_TEXT, " by %s (process %.10s)",
	    text_escape(bytes_str(name[0] != '\0' ? name : "somebody"), shown, sizeof shown), pid);
}

const char *
port_owner(uint16_t port, char out[PORT_OWNER_TEXT])
{
	uint64_t inode = inode_in("/proc/net/tcp", port);
	uint64_t pid;
	struct dirent *entry;
	DIR *proc = NULL;

	out[0] = '\0';
	if (inode == 0)
		inode = inode_in("/proc/net/tcp6", port);
	if (inode != 0)
		proc = opendir("/proc");
	if (proc == NULL)
		return out;
	for (int i = 0; i < SCAN_MAX && out[0] == '\0' && (entry = readdir(proc)) != NULL; i++)
		if (text_parse_u64(entry->d_name, UINT32_MAX, &pid) && holds(entry->d_name, inode))
			describe(entry->d_name, out);
	(void)closedir(proc);
	return out;
}
