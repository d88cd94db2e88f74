/*
 * control_server: the daemon's end of the control socket.
 *
 * Each connection carries one call.  A handler answers at once or later, from the loop: rows, notes, progress, and
 * in the end control_call_done exactly once.  When the command line goes away first, on_gone is told (detach) and the
 * call's remaining output is dropped; control_call_done is still due.
 *
 * Threads  the loop's.
 */
#pragma once

#include "control/control_message.h"
#include "loop/loop.h"

struct control_server;
struct control_call;

typedef void control_handler(void *ctx, struct control_call *call, const struct control_request *r);
enum err control_server_open(struct loop *l, const char *socket_path, control_handler *on_call, void *ctx,
    struct control_server **ret, struct error *e) must_check;
void control_server_close(struct control_server *s);

void control_call_row(struct control_call *c, struct bytes record);
void control_call_progress(struct control_call *c, struct bytes record); /* dropped when the reader is slow */
void control_call_note(struct control_call *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* STATUS -1: from the code (control_exit_status).  E is NULL for OK. Frees C. */
void control_call_done(struct control_call *c, const struct error *e, int status);
void control_call_on_gone(struct control_call *c, void (*on_gone)(void *ctx), void *ctx);
