/*
 * control_server: the daemon's end of the control socket.
 *
 * Each connection carries one call.  A handler answers at once or later, from the loop: rows,
 * notes, progress, and in the end control_call_done exactly once.  When the command line goes away
 * first, on_gone is told (detach) and the call's remaining output is dropped; control_call_done is
 * still due.
 *
 * Rows are never dropped while somebody reads.  A handler with many of them (a listing of a big
 * share) asks control_call_is_full and goes on in on_room; one that does not is cut off at
 * CONTROL_QUEUE_MAX, as if the command line had gone away.
 *
 * Threads  the loop's.
 */
#pragma once

#include "control/control_message.h"
#include "loop/loop.h"

struct control_server;
struct control_call;

enum {
	CONTROL_CALLS_MAX = 256,         /* at once; most wait for a transfer */
	CONTROL_REQUEST_MS = 10 * 1000,  /* from connecting to the whole request */
	CONTROL_QUEUE_HIGH = 256 * 1024, /* unsent bytes of a call: "full" */
	CONTROL_QUEUE_MAX = 32 * 1024 * 1024,
};

/* R is borrowed until the handler returns. */
typedef void control_handler(void *ctx, struct control_call *call, const struct control_request *r);
/* The socket is SOCKET_PATH, 0600.  ERR_EXISTS when another daemon listens there. */
enum err control_server_open(struct loop *l, const char *socket_path, control_handler *on_call,
    void *ctx, struct control_server **ret, struct error *e) must_check;
/* No handler is called after this.  Calls that are still open are cut off: on_gone, and
 * control_call_done stays due. */
void control_server_close(struct control_server *s); /* NULL is fine */

void control_call_row(struct control_call *c, struct bytes record);
/* dropped when the reader is slow */
void control_call_progress(struct control_call *c, struct bytes record);
void control_call_note(struct control_call *c, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* STATUS -1: from the code (control_exit_status).  E is NULL for OK. Frees C. */
void control_call_done(struct control_call *c, const struct error *e, int status);
/* The command line went away (or was cut off).  NULL: no longer wanted. */
void control_call_on_gone(struct control_call *c, void (*on_gone)(void *ctx), void *ctx);
/* More than CONTROL_QUEUE_HIGH bytes wait to be read; ON_ROOM is told, once each time, when they
 * have been. */
bool control_call_is_full(const struct control_call *c);
void control_call_on_room(struct control_call *c, void (*on_room)(void *ctx), void *ctx);
