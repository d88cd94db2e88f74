/*
 * control_message: what goes over the local control socket between the command line and the daemon.
 *
 * Frames: length of the body u32 | kind u8 | body.  The command line sends one REQUEST; the daemon
 * answers any number of ROW, PROGRESS and NOTE and exactly one DONE.  The command line closing the
 * connection detaches: jobs go on. The socket is outside too: malformed input is an error for that
 * connection, never for the daemon.
 *
 * REQUEST: version u8 | verb length u8, verb | count u8 | per argument: name length u8, name |
 * value length u32, value.
 *
 * Pure.
 */
#pragma once

#include "control/record.h"

/* The socket's name in the home. */
#define CONTROL_SOCKET "control.sock"

enum control_kind {
	CONTROL_REQUEST = 1,
	CONTROL_ROW = 2,      /* data: record */
	CONTROL_PROGRESS = 3, /* record: job, phase, done, total (sizes), files_done, files_total,
				 rate, eta, sources */
	/* record: text: a line for people on stderr (a skipped file, a file in the way) */
	CONTROL_NOTE = 4,
	CONTROL_DONE = 5, /* record: code (enum err), text, status (exit status) */
};
enum {
	CONTROL_VERSION = 1,
	/* body: the longest request is 64 arguments of paths of 4 KiB */
	CONTROL_FRAME_MAX = 256 * 1024,
	CONTROL_ARGS_MAX = 64,
	CONTROL_HEADER = 5,
	CONTROL_NAME_MAX = 31, /* verb, and name of an argument: a-z, 0-9, '-' */
};

/* A request: the verb and its arguments by name ("path", "share", "label", "no-wait" = "1" ...).  A
 * repeatable option is several arguments of one name. */
struct control_arg {
	struct bytes name, value;
};
struct control_request {
	char verb[CONTROL_NAME_MAX + 1];
	struct control_arg args[CONTROL_ARGS_MAX];
	uint32_t n_args;
};
/* Appends; NAME and VALUE are kept and NUL-terminated.  ERR_LIMIT beyond CONTROL_ARGS_MAX or the
 * frame. */
enum err control_request_add(
    struct control_request *r, const char *name, const char *value, struct error *e) must_check;
/* Value of an argument (the first of that name) as NUL-terminated text (no NUL inside: checked), or
 * NULL. */
const char *control_arg(const struct control_request *r, const char *name);
/* The same from argument *AT on, which moves past it: for what may be given several times,
 * beginning with 0. */
const char *control_arg_next(const struct control_request *r, const char *name, uint32_t *at);
bool control_flag(const struct control_request *r, const char *name);

void control_frame(struct buf *out, enum control_kind kind, struct bytes body);
/* The first frame of IN: *RET_BODY borrows from it, *RET_USED bytes are to be dropped afterwards.
 * ERR_AGAIN: more bytes needed; ERR_PROTO, ERR_LIMIT. */
enum err control_frame_next(struct bytes in, enum control_kind *ret_kind, struct bytes *ret_body,
    size_t *ret_used, struct error *e) must_check;
void control_request_encode(const struct control_request *r, struct buf *body);
/* *RET borrows from STORE (max at least 2 * CONTROL_FRAME_MAX), which gets NUL-terminated copies.
 * ERR_PROTO; ERR_USAGE when it was made by another version. */
enum err control_request_decode(
    struct bytes body, struct buf *store, struct control_request *ret, struct error *e) must_check;
/* DONE: how the call ended.  E is NULL for OK. */
void control_done_encode(const struct error *e, int status, struct buf *body);
/* Fills *RET and *RET_STATUS with what BODY says; ERR_PROTO when it is not to be understood. */
enum err control_done_decode(
    struct bytes body, struct error *ret, int *ret_status, struct error *e) must_check;
/* Text that the daemon composed for people (a note, an error): hostile bytes in it are escaped
 * already, so the backslash stays; what cannot be seen or moves a cursor becomes '?'.  "" if
 * absent.  Returns OUT, cut to N > 0 bytes. */
const char *control_text(struct bytes record, const char *name, char *out, size_t n);

/* Exit statuses of the command line. */
enum {
	EXIT_DONE = 0,
	EXIT_FAILED = 1,
	EXIT_USAGE = 2,
	EXIT_NO_DAEMON = 3,
	EXIT_DENIED = 4,
	EXIT_CONFLICTS = 5, /* done, with conflicts or skipped files */
	EXIT_INTERRUPTED = 130,
};
/* Exit status for a code.  ERR_OFFLINE is a failure: a server that does not answer; that no daemon
 * runs is known to the command line alone. */
int control_exit_status(enum err code);
