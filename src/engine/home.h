/*
 * home: the directory of one node: who it is and what it keeps.
 *
 *   format          "weft home 1": version of the layout; older ones are upgraded forward,
 *                   newer ones refused
 *   lock            held by the one process that uses the home
 *   device.key      private key, 0600; made at first open, never sent
 *   control.sock    the daemon's control socket, 0600
 *   state.db        engine/state
 *   nodes/          chunk_store of manifest nodes and commits
 *   maps/           snapshot maps: may be deleted, are made again
 *   jobs/N/         what job N needs to go on after a restart
 *   server.db, store/   of a server
 *
 * The directory is 0700; looser permissions are an error that says which chmod to run.
 */
#pragma once

#include "crypto/device_key.h"
#include "platform/fs.h"

enum { HOME_FORMAT = 1 };

struct home {
	char *path; /* absolute */
	int dir;    /* descriptor of it */
	int lock;
	struct device_key *key;
};
/* Makes what is missing.  ERR_AGAIN: another process uses this home (the text names its pid where
 * known); ERR_LIMIT: made by a newer weft. Gives *RET; home_close. */
enum err home_open(const char *path, struct home **ret, struct error *e) must_check;
void home_close(struct home *h);
char *home_path(const struct home *h, const char *name); /* "PATH/name"; gives, free() */
char *home_socket_path(const char *path); /* gives; for the command line, without opening */
/* What this machine is called when nobody says: its host name if that can be a device's name, else
 * "device". */
void home_host_name(char *out, size_t n);
