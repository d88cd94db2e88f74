/*
 * control_private: what the server and its calls know of each other.
 */
#pragma once

#include "control/control_server.h"

struct conn;
struct listener;

struct control_server {
	struct loop *loop;
	struct listener *listener;
	control_handler *on_call;
	void *ctx;
	struct control_call *calls; /* whose connection is open */
};

/* A call for a connection that has just come in; it enters itself into the list of S. */
void control_call_open(struct control_server *s, struct conn *conn);
/* The server goes away: cuts C off, unless it is answered, which is still sent.  Returns the next
 * one. */
struct control_call *control_call_leave(struct control_call *c);
