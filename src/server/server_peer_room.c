/* How many connections there may be: of guests, of a device, of an address, of all. */
#include "net/listener.h"
#include "server/server_internal.h"

void
server_peer_no_guest(struct link *l)
{
	struct server *s = l->server;

	for (size_t i = 0; i < s->guests.len; i++) {
		if (s->guests.at[i] == l) {
			memmove(s->guests.at + i, s->guests.at + i + 1,
			    (s->guests.len - i - 1) * sizeof *s->guests.at);
			s->guests.len--;
			return;
		}
	}
}

/* A guest is one for a moment. When there are too many, the one that has been for longest makes
 * way: whoever sits here and does not join keeps nobody out. */
void
server_peer_guest(struct link *l)
{
	struct server *s = l->server;
	struct error e;

	if (s->guests.len == LIMIT_CONNECTIONS_GUEST) {
		struct link *oldest = s->guests.at[0];
		(void)fail(
		    &e, ERR_AGAIN, "too many machines are joining at once; try again in a minute");
		server_peer_no_guest(oldest);
		peer_close(oldest->peer, &e);
	}
	array_push(&s->guests, l);
	session_admit_guest(peer_session(l->peer));
}

/* A device needs one connection, and has more for as long as dead ones are not noticed: beyond
 * some, its oldest goes. */
void
server_peer_limit_device(struct link *l)
{
	struct link *oldest = NULL;
	unsigned n = 0;
	struct error e;

	map_each (slot, &l->server->links) {
		struct link *other = slot->ptr;
		if (!other->member || !device_id_equal(&other->device, &l->device))
			continue;
		n++;
		if (oldest == NULL || other->number < oldest->number)
			oldest = other;
	}
	if (n <= LIMIT_CONNECTIONS_PER_DEVICE)
		return;
	(void)fail(&e, ERR_AGAIN, "this device has more than %d connections",
	    LIMIT_CONNECTIONS_PER_DEVICE);
	oldest->member = false;
	server_swarm_link_gone(oldest);
	peer_close(oldest->peer, &e);
}

/* The listener lets a few more in than there may be, so that somebody can tell them. */
enum err
server_peer_check_room(const struct link *l, struct error *e)
{
	const struct server *s = l->server;

	if (s->closing)
		return fail(e, ERR_AGAIN, "this server is stopping");
	if (listener_connections(s->listener) > s->max_connections)
		return fail(e, ERR_AGAIN,
		    "this server has %zu connections, all that it can: try again later",
		    s->max_connections);
	if (conn_siblings(peer_conn(l->peer)) > LIMIT_CONNECTIONS_PER_ADDRESS)
		return fail(e, ERR_AGAIN,
		    "this server has %d connections from your address, all that it takes: try "
		    "again later",
		    LIMIT_CONNECTIONS_PER_ADDRESS);
	return OK;
}
