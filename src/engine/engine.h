/*
 * engine: an agent: its home, its link to the server, its jobs, and the answers to the command
 * line.
 *
 * Threads  the loop's.
 */
#pragma once

#include "control/control_server.h"
#include "engine/home.h"
#include "loop/loop.h"
#include "net/conn.h"
#include "net/schedule.h"
#include "net/throttle.h"

struct engine;
struct engine_opts {
	struct loop *loop;
	struct home *home;       /* kept */
	struct tls_ctx *tls;     /* kept */
	const char *name, *site; /* NULL: the host's name; none */
	/* NULL: 7470 or any free port; "none": no listening (a server listens itself) */
	const char *listen;
	/* HOST[:PORT] at which others reach it; none: this machine's addresses */
	const char *const *advertise;
	size_t n_advertise;
	struct throttle *throttle; /* kept; NULL: neither limited nor counted */
	/* Who bears our label is to be within so much for it to be believed; 0: it is believed. */
	uint32_t near_rtt_us;
	bool is_server;              /* our upstream is ourselves, through loopback */
	const char *const *upstream; /* is_server: addresses; else from the joined state */
	size_t n_upstream;
	/* May be NULL: adds to the record of `status` what else runs in this process (a server). */
	void (*describe)(void *ctx, struct buf *record);
	void *describe_ctx;
};
/* Opens state and stores, resumes jobs, connects (and reconnects, 0.2 s to 30 s apart). */
enum err engine_open(const struct engine_opts *o, struct engine **ret, struct error *e) must_check;
/* Stops: jobs keep their place.  ON_CLOSED from the loop when everything is closed. */
void engine_close(struct engine *en, void (*on_closed)(void *ctx), void *ctx);
/* Verbs: leave publish get pause resume cancel shares snapshots devices jobs status verify
 * peers why limit. */
bool engine_has_verb(const char *verb);
void engine_call(struct engine *en, struct control_call *call, const struct control_request *r);
/* Enrols with the server of an invite; also without listening or a daemon (weft join).  ON_DONE
 * once, from the loop. */
void engine_join(struct engine *en, const char *invite, const char *name, const char *site,
    void (*on_done)(void *ctx, enum err r, const struct error *e, const char *server_name),
    void *ctx);
/* A server's share of its site's line, which it gives itself. */
void engine_line(struct engine *en, const struct schedule_rates *share);
uint16_t engine_port(const struct engine *en);
