/*
 * server: the spine: an authority, the directory of devices, shares and snapshots, and the store of
 * every byte.
 *
 * Threads  the loop's.
 */
#pragma once

#include "control/control_server.h"
#include "engine/home.h"
#include "net/conn.h"
#include "net/schedule.h"
#include "net/throttle.h"

struct server;
struct server_opts {
	struct loop *loop;
	struct home *home;            /* kept */
	struct tls_ctx *tls;          /* kept */
	const char *name;             /* NULL: the host's name */
	const char *site;             /* where it says that it is; NULL: at none */
	const char *listen;           /* NULL: port 7470 on all interfaces; in use is an error */
	const char *const *advertise; /* HOST[:PORT]; none: this machine's addresses */
	size_t n_advertise;
	struct throttle *throttle; /* kept; NULL: neither limited nor counted */
	/* May be NULL: from now on this much may cross the line of its own site. */
	void (*on_line)(void *ctx, const struct schedule_rates *share);
	void *on_line_ctx;
};
/* The first start creates server.db, store, authority and recovery key; *RET_FIRST says so. */
enum err server_open(
    const struct server_opts *o, struct server **ret, bool *ret_first, struct error *e) must_check;
/* Gives the authority of the server in HOME a new key, which becomes the home's device key, as the
 * recovery key in FILE may. Before anything has HOME open; blocking. ERR_NOTFOUND: no server's home
 * or no such file; ERR_DENIED: another recovery key. After any failure and any crash it may be done
 * again. */
enum err server_recover(const char *home, const char *file, struct error *e) must_check;
void server_close(struct server *s, void (*on_closed)(void *ctx), void *ctx);
uint16_t server_port(const struct server *s);
/* Path of the recovery key file made at the first start. */
const char *server_recovery_path(const struct server *s);
/* A one-use invite as text, for the first start. Gives through ON_DONE, from the loop; TEXT is
 * borrowed. */
void server_invite(struct server *s,
    void (*on_done)(void *ctx, enum err r, const struct error *e, const char *text), void *ctx);
/* Adds to the record of `status` what a server knows besides: devices, who is connected, the
 * store. */
void server_describe(struct server *s, struct buf *record);
/* Verbs: invite grant ungrant leave rm policy site, limit of a site, and verify of what the store
 * keeps. */
/* `weft why SHARE`, of a share in whose swarm the server takes part now.  False: it does not, and
 * nothing was answered. */
bool server_why(struct server *s, struct control_call *call, const struct control_request *r);
bool server_has_verb(const char *verb);
void server_call(struct server *s, struct control_call *call, const struct control_request *r);
