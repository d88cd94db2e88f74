/*
 * bench_conns: what an idle connection costs the one who is connected to: resident bytes of the
 * serving process for each of N peers that have greeted and are silent.  The N callers are another
 * process.  usage: bench_conns [N]
 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "net/listener.h"
#include "peer/test_side.h"
#include "platform/clock.h"

enum { AT_ONCE = 32 /* calls under way */, IDLE_MS = 1500 };

struct crowd {
	struct loop *loop;
	struct listener *listener;
	struct device_key *key;
	struct tls_ctx *tls;
	struct side *sides;
	uint32_t n, opened, admitted, closed;
	uint64_t rss_before, rss_after, ns;
	struct timer *timer;
	char address[32];
};

static void
must(enum err r, const struct error *e)
{
	if (r == OK)
		return;
	fprintf(stderr, "%s (%s)\n", e->text, e->where);
	exit(1);
}

static uint64_t
resident(void)
{
	uint64_t all, rss = 0;
	FILE *f = fopen("/proc/self/statm", "re");

	if (f == NULL || fscanf(f, "%" SCNu64 " %" SCNu64, &all, &rss) != 2)
		exit(1);
	fclose(f);
	return rss * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void
crowd_open(struct crowd *c, uint32_t n, void (*on_time)(void *ctx))
{
	struct error e = { 0 };

	c->n = n;
	c->sides = mem_array(struct side, n);
	memset(c->sides, 0,
	    n * sizeof *c->sides); /* the test's own memory is there before it is counted */
	must(loop_new(0, &c->loop, &e), &e);
	must(device_key_generate(&c->key, &e), &e);
	must(tls_ctx_new(c->key, &c->tls, &e), &e);
	c->timer = timer_new(c->loop, on_time, c);
}

static void
crowd_close(struct crowd *c)
{
	loop_free(c->loop);
	tls_ctx_free(c->tls);
	device_key_free(c->key);
	free(c->sides);
}

static void
on_side_closed(struct side *s)
{
	struct crowd *c = s->ctx;

	if (s->has_why && c->admitted < c->n)
		must(s->why.code, &s->why);
	if (++c->closed < c->n)
		return;
	timer_close(c->timer);
	listener_close(c->listener);
	loop_stop(c->loop);
}

/* -- the serving side -- */

static void
on_all_idle(void *ctx)
{
	struct crowd *c = ctx;

	c->rss_after = resident();
	for (uint32_t i = 0; i < c->n; i++)
		peer_close(c->sides[i].peer, NULL);
}

static void
on_served(struct side *s)
{
	struct crowd *c = s->ctx;

	if (++c->admitted == c->n)
		timer_start(c->timer, IDLE_MS);
}

static void
on_conn(void *ctx, struct conn *conn)
{
	struct crowd *c = ctx;
	struct side *s = &c->sides[c->opened++];

	s->ctx = c;
	s->on_admitted = on_served;
	s->on_closed = on_side_closed;
	side_open(s, c->loop, conn, false);
}

static void
serve(int to, uint32_t n)
{
	struct crowd c = { 0 };
	struct error e = { 0 };
	uint16_t port;

	crowd_open(&c, n, on_all_idle);
	must(listener_open(c.loop, "127.0.0.1:0", c.tls, n, on_conn, &c, &c.listener, &e), &e);
	port = listener_port(c.listener);
	(void)loop_receive_buffer(c.loop);
	memset(loop_receive_buffer(c.loop), 0, LOOP_RECEIVE);
	c.rss_before = resident();
	if (write(to, &port, sizeof port) != (ssize_t)sizeof port)
		exit(1);
	loop_run(c.loop);
	uint64_t cost = c.rss_after - c.rss_before;
	if (write(to, &cost, sizeof cost) != (ssize_t)sizeof cost)
		exit(1);
	crowd_close(&c);
	exit(0);
}

/* -- the calling side -- */

static void call_more(struct crowd *c);

static void
on_called(struct side *s)
{
	struct crowd *c = s->ctx;

	if (++c->admitted == c->n)
		c->ns = clock_mono_ns() - c->ns;
	call_more(c);
}

static void
call_more(struct crowd *c)
{
	const char *addresses[] = { c->address };

	while (c->opened < c->n && c->opened < c->admitted + AT_ONCE) {
		struct side *s = &c->sides[c->opened++];
		s->ctx = c;
		s->on_admitted = on_called;
		s->on_closed = on_side_closed;
		side_open(
		    s, c->loop, conn_dial(c->loop, c->tls, NULL, addresses, 1, NULL, NULL), true);
	}
}

static void
nothing(void *ctx)
{
	(void)ctx;
}

static void
read_all(int from, void *to, size_t n)
{
	if (read(from, to, n) != (ssize_t)n) {
		fprintf(stderr, "the serving process has ended early\n");
		exit(1);
	}
}

int
main(int argc, char **argv)
{
	uint32_t n = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 2000;
	struct crowd c = { 0 };
	uint64_t cost = 0;
	uint16_t port = 0;
	int fds[2];

	if (n == 0 || pipe(fds) != 0)
		return 2;
	pid_t child = fork();
	if (child == 0)
		serve(fds[1], n);
	close(fds[1]);
	crowd_open(&c, n, nothing);
	read_all(fds[0], &port, sizeof port);
	snprintf(c.address, sizeof c.address, "127.0.0.1:%u", port);
	c.ns = clock_mono_ns();
	call_more(&c);
	loop_run(c.loop);
	read_all(fds[0], &cost, sizeof cost);
	waitpid(child, NULL, 0);
	printf("%u idle connections: %.1f KiB each on the serving side; %.0f connections/s, both "
	       "sides on this machine\n",
	    n, (double)cost / n / 1024, n / ((double)c.ns / 1e9));
	crowd_close(&c);
	return 0;
}
