/*
 * control_message: what goes over the local control socket between the command line and the daemon.
 *
 * Frames: length u32 | kind u8 | body.  The command line sends one REQUEST; the daemon answers any number of ROW,
 * PROGRESS and NOTE and exactly one DONE.  The command line closing the connection detaches: jobs go on.
 * The socket is outside too: malformed input is an error for that connection, never for the daemon.
 *
 * Pure.
 */
#pragma once

#include "control/record.h"

enum control_kind {
	CONTROL_REQUEST = 1,
	CONTROL_ROW = 2,      /* data: record */
	CONTROL_PROGRESS = 3, /* record: job, phase, done, total (sizes), files_done, files_total, rate, eta, sources */
	CONTROL_NOTE = 4,     /* record: text: a line for people on stderr (a skipped file, a file in the way) */
	CONTROL_DONE = 5,     /* record: code (enum err), text, status (exit status) */
};
enum { CONTROL_FRAME_MAX = 256 * 1024, CONTROL_ARGS_MAX = 64, CONTROL_HEADER = 5 };

/* A request: the verb and its arguments by name ("path", "share", "label", "no-wait" = "1" ...). */
struct control_arg {
	struct bytes name, value;
};
struct control_request {
	char verb[32];
	struct control_arg args[CONTROL_ARGS_MAX];
	uint32_t n_args;
};
/* Value of an argument as NUL-terminated text (no NUL inside: checked), or NULL. */
const char *control_arg(const struct control_request *r, const char *name);
bool control_flag(const struct control_request *r, const char *name);

void control_frame(struct buf *out, enum control_kind kind, struct bytes body);
/* Cuts the first frame off IN (IN->len shrinks through *RET_USED). ERR_AGAIN: more bytes needed; ERR_PROTO, ERR_LIMIT. */
enum err control_frame_next(struct bytes in, enum control_kind *ret_kind, struct bytes *ret_body, size_t *ret_used,
    struct error *e) must_check;
void control_request_encode(const struct control_request *r, struct buf *body);
/* *RET borrows from STORE, which gets NUL-terminated copies. */
enum err control_request_decode(struct bytes body, struct buf *store, struct control_request *ret, struct error *e) must_check;
/* Exit status of the command line for a code: 0 done, 1 failed, 2 usage, 3 no daemon, 4 denied, 5 conflicts or skipped. */
int control_exit_status(enum err code);
