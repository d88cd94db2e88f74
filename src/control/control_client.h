/*
 * control_client: the command line's end: one call, blocking, without a loop (plain socket and
 * poll), so that the command line starts in a millisecond.
 */
#pragma once

#include "control/control_message.h"

/* What may happen during a call; each may be NULL.  Records are well-formed (record_check). */
struct control_client_events {
	void (*on_row)(void *ctx, struct bytes record);
	void (*on_progress)(void *ctx, struct bytes record);
	void (*on_note)(void *ctx, const char *text);
	/* Called about every 200 ms of waiting and after an interrupted wait; true: give up
	 * (detach). */
	bool (*on_idle)(void *ctx);
	void *ctx;
};

/*
 * Asks the daemon whose socket is SOCKET_PATH and waits for its answer.  Always sets *RET_STATUS,
 * the exit status. ERR_OFFLINE with EXIT_NO_DAEMON when no daemon listens there; ERR_IO when it
 * ended before it answered; ERR_CANCELED when on_idle said so; else what the daemon answered, with
 * its text in E and its exit status in *RET_STATUS.
 */
enum err control_client_call(const char *socket_path, const struct control_request *r,
    const struct control_client_events *ev, int *ret_status, struct error *e) must_check;

/* True when a daemon listens at SOCKET_PATH. */
bool control_client_is_there(const char *socket_path);
