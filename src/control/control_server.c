#include "base/mem.h"
#include "control/control_private.h"
#include "net/listener.h"

static void
on_conn(void *ctx, struct conn *conn)
{
	control_call_open(ctx, conn);
}

enum err
control_server_open(struct loop *l, const char *socket_path, control_handler *on_call, void *ctx,
    struct control_server **ret, struct error *e)
{
	auto_free struct control_server *s = mem_new(struct control_server);

	*s = (struct control_server){ .loop = l, .on_call = on_call, .ctx = ctx };
	enum err r =
	    listener_open_local(l, socket_path, CONTROL_CALLS_MAX, on_conn, s, &s->listener, e);
	if (r != OK)
		return r;
	*ret = take_ptr(s);
	return OK;
}

void
control_server_close(struct control_server *s)
{
	if (s == NULL)
		return;
	listener_close(s->listener);
	for (struct control_call *c = s->calls; c != NULL;)
		c = control_call_leave(c);
	free(s);
}
