/*
 * What one core does of TLS in memory: GB/s of writing and of reading, handshakes a second (both
 * sides), and of the hashes beside it.  Times are CPU times.  usage: bench_tls [SECONDS a line]
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "bench/must.h"
#include "crypto/hash.h"
#include "crypto/tls.h"

/* What this thread has used of a core; other work on the machine does not count. */
static uint64_t
cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

enum { FEED = 256 * 1024 };

struct end {
	struct device_key *key;
	struct tls_ctx *ctx;
	struct tls *tls;
};

static void
open_end(struct end *x)
{
	struct error e = { 0 };

	must(device_key_generate(&x->key, &e), &e);
	must(tls_ctx_new(x->key, &x->ctx, &e), &e);
}

static void
close_end(struct end *x)
{
	tls_free(x->tls);
	tls_ctx_free(x->ctx);
	device_key_free(x->key);
}

static void
carry(struct tls *from, struct tls *to)
{
	struct bytes out = tls_output(from);

	tls_feed(to, out);
	(void)!tls_handshake(to, NULL);
	tls_keep(to);
	tls_sent(from, out.len);
}

static void
shake(struct end *c, struct end *s)
{
	struct error e = { 0 };

	tls_free(c->tls);
	tls_free(s->tls);
	c->tls = tls_new_client(c->ctx, device_key_id(s->key));
	s->tls = tls_new_server(s->ctx);
	(void)!tls_handshake(c->tls, NULL);
	for (int i = 0; i < 2; i++) {
		carry(c->tls, s->tls);
		carry(s->tls, c->tls);
	}
	must(tls_handshake(c->tls, &e), &e);
	must(tls_handshake(s->tls, &e), &e);
}

static void
bench_handshake(struct end *c, struct end *s, uint64_t ns)
{
	uint64_t start = cpu_ns(), spent = 0;
	unsigned n = 0;

	for (; spent < ns; n++) {
		shake(c, s);
		spent = cpu_ns() - start;
	}
	printf("handshakes, both sides   %8.0f /s\n", n / ((double)spent / 1e9));
}

/* Fills the output buffer in blocks of BLOCK and empties it again on the other side, each half
 * timed. */
static void
bench_stream(struct end *c, struct end *s, size_t block, uint64_t ns)
{
	auto_free uint8_t *plain = mem_zalloc(block), *to = mem_zalloc(FEED);
	uint64_t writing = 0, reading = 0;
	uint64_t bytes = 0;
	struct error e = { 0 };

	while (writing + reading < ns) {
		uint64_t t0 = cpu_ns();
		while (tls_write_room(c->tls) >= block) {
			must(tls_write(c->tls, BYTES(plain, block), &e), &e);
			bytes += block;
		}
		uint64_t t1 = cpu_ns();
		tls_feed(s->tls, tls_output(c->tls));
		size_t n = 0;
		while (tls_read(s->tls, to, FEED, &n, &e) == OK)
			continue;
		uint64_t t2 = cpu_ns();
		tls_sent(c->tls, tls_output(c->tls).len);
		writing += t1 - t0 + cpu_ns() - t2;
		reading += t2 - t1;
	}
	printf("blocks of %4zu KiB   write %6.2f GB/s   read %6.2f GB/s\n", block / 1024,
	    (double)bytes / (double)writing, (double)bytes / (double)reading);
}

static void
bench_hash(size_t size, uint64_t ns)
{
	auto_free uint8_t *plain = mem_zalloc(size);
	uint64_t start = cpu_ns(), spent = 0;
	uint64_t n = 0;
	uint8_t out[HASH_BYTES];

	while (spent < ns) {
		for (int i = 0; i < 100; i++)
			hash_leaf(HASH_SHA256, BYTES(plain, size), out);
		n += 100;
		spent = cpu_ns() - start;
	}
	printf("leaf of %6zu bytes    %8.0f ns   %6.2f GB/s\n", size, (double)spent / (double)n,
	    (double)(n * size) / (double)spent);
}

int
main(int argc, char **argv)
{
	uint64_t ns = (uint64_t)((argc > 1 ? strtod(argv[1], NULL) : 1.0) * 1e9);
	struct end c = { 0 }, s = { 0 };

	open_end(&c);
	open_end(&s);
	bench_handshake(&c, &s, ns);
	printf("%s, %s\n", tls_group(c.tls), tls_cipher(c.tls));
	static const size_t blocks[] = { 4096, 16384, 65536, 131072 };
	for (size_t i = 0; i < lengthof(blocks); i++)
		bench_stream(&c, &s, blocks[i], ns);
	static const size_t leaves[] = { 32, 1024, 10240, 65536 };
	for (size_t i = 0; i < lengthof(leaves); i++)
		bench_hash(leaves[i], ns);
	close_end(&c);
	close_end(&s);
	return 0;
}
