/*
 * test_tls_pair: two ends of TLS in memory, and bytes carried between them in pieces.
 */
#pragma once

#include "tests/unit.h"

#include "base/mem.h"
#include "crypto/test_device.h"

enum { STEPS_MAX = 10000 };

struct side {
	struct device_key *key;
	struct tls_ctx *ctx;
	struct tls *tls;
};

struct pair {
	struct side client, server;
	size_t step; /* bytes handed over at once */
};

static inline void
open_side(struct side *s)
{
	test_device(&s->key, &s->ctx);
}

static inline void
close_side(struct side *s)
{
	tls_free(s->tls);
	tls_ctx_free(s->ctx);
	device_key_free(s->key);
}

static inline void
dial(struct pair *p)
{
	tls_free(p->client.tls);
	tls_free(p->server.tls);
	p->client.tls = tls_new_client(p->client.ctx, device_key_id(p->server.key));
	p->server.tls = tls_new_server(p->server.ctx);
}

static inline int
open_pair(void **state)
{
	struct pair *p = mem_new(struct pair);

	open_side(&p->client);
	open_side(&p->server);
	p->step = SIZE_MAX;
	dial(p);
	*state = p;
	return 0;
}

static inline int
close_pair(void **state)
{
	struct pair *p = *state;

	close_side(&p->client);
	close_side(&p->server);
	free(p);
	return 0;
}

/* Hands FROM's output to TO, at most STEP bytes, as a socket would: the bytes are gone afterwards.
 */
static inline bool
carry(struct tls *from, struct tls *to, size_t step)
{
	struct bytes out = tls_output(from);
	size_t n = min_of(out.len, step);

	if (n == 0)
		return false;
	auto_free uint8_t *block = mem_dup(out.at, n);
	tls_sent(from, n);
	tls_feed(to, BYTES(block, n));
	if (!tls_is_ready(to))
		(void)!tls_handshake(to, NULL);
	tls_keep(to);
	memset(block, 0xee, n);
	return true;
}

/* Handshakes until nothing moves any more; returns what each side says. */
static inline void
shake(struct pair *p, enum err *ret_client, enum err *ret_server, struct error *client_e,
    struct error *server_e)
{
	int steps = 0;

	(void)!tls_handshake(p->client.tls, NULL);
	while (carry(p->client.tls, p->server.tls, p->step) ||
	       carry(p->server.tls, p->client.tls, p->step))
		assert_true(++steps < STEPS_MAX);
	*ret_client = tls_handshake(p->client.tls, client_e);
	*ret_server = tls_handshake(p->server.tls, server_e);
}

static inline void
connect_pair(struct pair *p)
{
	enum err c, s;
	struct error ce = { 0 }, se = { 0 };

	shake(p, &c, &s, &ce, &se);
	if (c != OK || s != OK)
		unit_fail("client: %s, server: %s", ce.text, se.text);
}

/* All that arrived at T, appended to TO; what ended it. */
static inline enum err
drain(struct tls *t, struct buf *to)
{
	uint8_t block[20000];
	size_t n = 0;
	enum err r;

	while ((r = tls_read(t, block, sizeof block, &n, &unit_error)) == OK)
		assert_true(buf_add(to, block, n));
	return r;
}
