/*
 * bench_net: what it costs to move raw blocks of 64 KiB from peer to peer over loopback: frames,
 * TLS, sockets, without disks and hashes.  The sender is a process of its own.  usage: bench_net
 * [GIB]
 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "bench/must.h"
#include "net/listener.h"
#include "peer/test_side.h"
#include "platform/clock.h"

struct party {
	struct loop *loop;
	struct listener *listener;
	struct device_key *key;
	struct tls_ctx *tls;
	struct side side;
	uint64_t start_ns, cpu_ns;
	char cipher[80];
};

static uint64_t
cpu_ns(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (uint64_t)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000000 +
	       (uint64_t)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1000;
}

static void
party_open(struct party *p)
{
	struct error e = { 0 };

	must(loop_new(0, &p->loop, &e), &e);
	must(device_key_generate(&p->key, &e), &e);
	must(tls_ctx_new(p->key, &p->tls, &e), &e);
	p->side.ctx = p;
	p->side.blank = true;
}

static void
party_close(struct party *p)
{
	loop_free(p->loop);
	tls_ctx_free(p->tls);
	device_key_free(p->key);
}

/* -- the sender -- */

static void
on_sender_closed(struct side *s)
{
	struct party *p = s->ctx;

	p->cpu_ns = cpu_ns() - p->cpu_ns;
	listener_close(p->listener);
	loop_stop(p->loop);
}

static void
on_conn(void *ctx, struct conn *c)
{
	struct party *p = ctx;

	p->cpu_ns = cpu_ns();
	side_open(&p->side, p->loop, c, false);
}

/* Says its port, serves one connection, says the CPU time it took. */
static void
run_sender(int to)
{
	struct party p = { .side.on_closed = on_sender_closed };
	struct error e = { 0 };
	uint16_t port;

	party_open(&p);
	must(listener_open(p.loop, "127.0.0.1:0", p.tls, 1, on_conn, &p, &p.listener, &e), &e);
	port = listener_port(p.listener);
	if (write(to, &port, sizeof port) != (ssize_t)sizeof port)
		exit(1);
	loop_run(p.loop);
	if (write(to, &p.cpu_ns, sizeof p.cpu_ns) != (ssize_t)sizeof p.cpu_ns)
		exit(1);
	party_close(&p);
	exit(0);
}

/* -- the receiver -- */

static void
on_admitted(struct side *s)
{
	struct party *p = s->ctx;

	p->cpu_ns = cpu_ns();
	p->start_ns = clock_mono_ns();
	const struct tls *t = conn_tls(peer_conn(s->peer));
	snprintf(p->cipher, sizeof p->cipher, "%s, %s", tls_group(t), tls_cipher(t));
}

static void
on_raw(struct side *s)
{
	if (s->units_come == s->units_wanted)
		peer_close(s->peer, NULL);
}

static void
on_receiver_closed(struct side *s)
{
	struct party *p = s->ctx;

	p->start_ns = clock_mono_ns() - p->start_ns;
	p->cpu_ns = cpu_ns() - p->cpu_ns;
	must(s->has_why ? s->why.code : OK, &s->why);
	loop_stop(p->loop);
}

static void
read_all(int from, void *to, size_t n)
{
	if (read(from, to, n) != (ssize_t)n) {
		fprintf(stderr, "the sender has ended early\n");
		exit(1);
	}
}

int
main(int argc, char **argv)
{
	double gib = argc > 1 ? strtod(argv[1], NULL) : 4.0;
	struct party p = { .side = { .on_admitted = on_admitted,
			       .on_raw = on_raw,
			       .on_closed = on_receiver_closed } };
	uint64_t sender_ns = 0;
	char address[32];
	const char *addresses[] = { address };
	uint16_t port = 0;
	int fds[2];

	signal(SIGPIPE, SIG_IGN);
	if (pipe(fds) != 0)
		return 1;
	pid_t child = fork();
	if (child == 0)
		run_sender(fds[1]);
	close(fds[1]);
	party_open(&p);
	read_all(fds[0], &port, sizeof port);
	snprintf(address, sizeof address, "127.0.0.1:%u", port);
	p.side.units_wanted =
	    max_of((uint32_t)(gib * 1073741824 / (SIDE_LEAVES * LIMIT_DATA_RAW)), 1u);
	side_open(&p.side, p.loop, conn_dial(p.loop, p.tls, NULL, addresses, 1, NULL, NULL), true);
	loop_run(p.loop);
	read_all(fds[0], &sender_ns, sizeof sender_ns);
	waitpid(child, NULL, 0);

	double bytes = (double)p.side.raw_bytes;
	printf("peer to peer, %s: %.2f GB/s wall; CPU a byte: sender %.3f ns, receiver %.3f ns\n",
	    p.cipher, bytes / (double)p.start_ns, (double)sender_ns / bytes,
	    (double)p.cpu_ns / bytes);
	party_close(&p);
	return 0;
}
