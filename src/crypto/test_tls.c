/* Two ends of ours: what one sends the other reads, whatever the line does to it. */
#include "crypto/test_tls_pair.h"

#include <openssl/crypto.h>

#include "base/rng.h"
#include "crypto/random.h"
#include "tests/seeded.h"

/* who */

static void
both_sides_know_each_other_after_the_handshake(void **state)
{
	struct pair *p = *state;

	assert_false(tls_is_ready(p->client.tls));
	connect_pair(p);
	assert_true(tls_is_ready(p->client.tls));
	assert_true(tls_is_ready(p->server.tls));
	assert_true(device_id_equal(tls_peer_id(p->client.tls), device_key_id(p->server.key)));
	assert_true(device_id_equal(tls_peer_id(p->server.tls), device_key_id(p->client.key)));
	assert_memory_equal(tls_peer_key(p->server.tls), device_key_public(p->client.key),
	    sizeof(struct public_key));
	assert_string_equal(tls_cipher(p->client.tls), "TLS_AES_128_GCM_SHA256");
	assert_string_equal(tls_group(p->client.tls), tls_group(p->server.tls));
	assert_non_null(strstr(tls_group(p->client.tls), "25519"));
}

static void
a_client_may_not_care_who_answers(void **state)
{
	struct pair *p = *state;

	tls_free(p->client.tls);
	p->client.tls = tls_new_client(p->client.ctx, NULL);
	connect_pair(p);
	assert_true(device_id_equal(tls_peer_id(p->client.tls), device_key_id(p->server.key)));
}

static void
another_server_than_expected_is_denied(void **state)
{
	struct pair *p = *state;
	enum err c, s;
	struct error ce, se;

	tls_free(p->client.tls);
	p->client.tls = tls_new_client(p->client.ctx, device_key_id(p->client.key));
	shake(p, &c, &s, &ce, &se);
	assert_int_equal(c, ERR_DENIED);
	assert_non_null(strstr(ce.text, "who answers is"));
	assert_int_equal(s, ERR_PROTO); /* the alert */
	assert_false(tls_is_ready(p->client.tls));
	assert_false(tls_is_ready(p->server.tls));
	/* and stays so */
	assert_err(ERR_DENIED, tls_handshake(p->client.tls, &unit_error));
	assert_err(ERR_DENIED, tls_write(p->client.tls, BYTES_LIT("x"), &unit_error));
}

/* bytes */

static void
bytes_arrive_in_order_both_ways(void **state)
{
	struct pair *p = *state;
	auto_buf struct buf got = BUF(1000);

	connect_pair(p);
	assert_ok(tls_write(p->client.tls, BYTES_LIT("one "), &unit_error));
	assert_ok(tls_write(p->client.tls, BYTES_LIT("two"), &unit_error));
	assert_ok(tls_write(p->server.tls, BYTES_LIT("three"), &unit_error));
	assert_ok(tls_write(p->server.tls, BYTES(NULL, 0), &unit_error));
	carry(p->client.tls, p->server.tls, SIZE_MAX);
	assert_int_equal(drain(p->server.tls, &got), ERR_AGAIN);
	assert_string_equal(buf_text(&got), "one two");
	buf_reset(&got);
	carry(p->server.tls, p->client.tls, SIZE_MAX);
	assert_int_equal(drain(p->client.tls, &got), ERR_AGAIN);
	assert_string_equal(buf_text(&got), "three");
}

static void
bytes_may_come_one_by_one(void **state)
{
	struct pair *p = *state;
	auto_buf struct buf got = BUF(100000);
	uint8_t plain[17000];

	p->step = 1;
	connect_pair(p);
	random_fill(plain, sizeof plain);
	assert_ok(tls_write(p->client.tls, BYTES(plain, sizeof plain), &unit_error));
	while (carry(p->client.tls, p->server.tls, 1))
		assert_int_equal(drain(p->server.tls, &got), ERR_AGAIN);
	assert_true(bytes_equal(buf_bytes(&got), BYTES(plain, sizeof plain)));
}

/* Byte AT of the stream of SEED. */
static uint8_t
pattern(uint64_t seed, uint64_t at)
{
	return (uint8_t)(((at + seed) * 0x9e3779b97f4a7c15u) >> 56);
}

struct stream {
	struct tls *from, *to;
	uint64_t seed;
	size_t n, written, got;
};

static void
stream_write(struct stream *s, struct rng *dice)
{
	static uint8_t plain[TLS_WRITE_MAX];
	size_t may = min_of(s->n - s->written, tls_write_room(s->from));
	size_t part = min_of(rng_below(dice, TLS_WRITE_MAX) + 1, may);

	for (size_t i = 0; i < part; i++)
		plain[i] = pattern(s->seed, s->written + i);
	assert_ok(tls_write(s->from, BYTES(plain, part), &unit_error));
	s->written += part;
	assert_true(tls_output(s->from).len <= TLS_OUT_MAX);
}

static void
stream_read(struct stream *s, struct rng *dice)
{
	static uint8_t plain[100000];
	size_t n = 0;

	while (tls_read(s->to, plain, rng_below(dice, sizeof plain) + 1, &n, &unit_error) == OK) {
		for (size_t i = 0; i < n; i++)
			if (plain[i] != pattern(s->seed, s->got + i))
				unit_fail("byte %zu differs", s->got + i);
		s->got += n;
		if (rng_below(dice, 4) == 0)
			return; /* enough for now; the rest is kept */
	}
	assert_int_equal(unit_error.code, ERR_AGAIN);
}

static void
much_goes_both_ways_in_pieces_of_any_size(void **state)
{
	struct pair *p = *state;
	struct rng dice;
	enum { MUCH = 6 << 20, SEED = 7 };

	connect_pair(p);
	rng_seed(&dice, SEED);
	struct stream up = { p->client.tls, p->server.tls, .seed = 1, .n = MUCH };
	struct stream down = { p->server.tls, p->client.tls, .seed = 2, .n = MUCH / 2 };
	for (int steps = 0; up.got < up.n || down.got < down.n; steps++) {
		assert_true(steps < STEPS_MAX);
		stream_write(&up, &dice);
		stream_write(&down, &dice);
		carry(up.from, up.to, rng_below(&dice, 200000));
		carry(down.from, down.to, rng_below(&dice, 200000));
		stream_read(&up, &dice);
		stream_read(&down, &dice);
	}
	assert_int_equal(up.got, up.n);
	assert_int_equal(down.got, down.n);
	assert_int_equal(tls_fed_left(up.to), 0);
}

static void
a_write_is_taken_whole_or_not_at_all(void **state)
{
	struct pair *p = *state;
	static uint8_t block[TLS_WRITE_MAX];
	auto_buf struct buf got = BUF(1 << 20);
	size_t sent = 0;

	connect_pair(p);
	assert_int_equal(tls_write_room(p->client.tls), TLS_WRITE_MAX);
	while (tls_write_room(p->client.tls) >= 50000) {
		assert_ok(tls_write(p->client.tls, BYTES(block, 50000), &unit_error));
		sent += 50000;
	}
	size_t room = tls_write_room(p->client.tls), pending = tls_output(p->client.tls).len;
	assert_err(ERR_AGAIN, tls_write(p->client.tls, BYTES(block, 50000), &unit_error));
	assert_err(ERR_AGAIN, tls_write(p->client.tls, BYTES(block, room + 1), &unit_error));
	assert_int_equal(tls_output(p->client.tls).len, pending);
	assert_ok(tls_write(p->client.tls, BYTES(block, room), &unit_error));
	sent += room;
	assert_true(tls_output(p->client.tls).len <= TLS_OUT_MAX);
	assert_in_range(tls_write_room(p->client.tls), 0, 30);
	while (carry(p->client.tls, p->server.tls, 100000))
		assert_int_equal(drain(p->server.tls, &got), ERR_AGAIN);
	assert_int_equal(got.len, sent);
	assert_int_equal(tls_output(p->client.tls).len, 0);
	assert_null(tls_output(p->client.tls).at);
	assert_int_equal(tls_write_room(p->client.tls), TLS_WRITE_MAX);
}

static void
what_is_fed_while_something_is_left_comes_after_it(void **state)
{
	struct pair *p = *state;
	uint8_t one = 0;
	size_t n = 0;
	auto_buf struct buf got = BUF(1000);

	connect_pair(p);
	for (char c = 'a'; c <= 'd'; c++) {
		assert_ok(tls_write(p->client.tls, BYTES(&c, 1), &unit_error));
		carry(p->client.tls, p->server.tls, SIZE_MAX);
		if (c == 'a')
			assert_true(tls_fed_left(p->server.tls) > 0);
	}
	assert_ok(tls_read(p->server.tls, &one, 1, &n, &unit_error));
	assert_int_equal(one, 'a');
	assert_true(tls_fed_left(p->server.tls) > 0);
	assert_int_equal(drain(p->server.tls, &got), ERR_AGAIN);
	assert_string_equal(buf_text(&got), "bcd");
	assert_int_equal(tls_fed_left(p->server.tls), 0);
}

/* lies */

static void
a_changed_byte_ends_the_connection_for_good(void **state)
{
	struct pair *p = *state;
	uint8_t block[100];
	size_t n = 0;

	for (size_t at = 0; at < 32; at += 3) {
		dial(p);
		connect_pair(p);
		assert_ok(tls_write(p->client.tls, BYTES_LIT("0123456789"), &unit_error));
		struct bytes out = tls_output(p->client.tls);
		assert_true(at < out.len);
		auto_free uint8_t *bad = mem_dup(out.at, out.len);
		bad[at] ^= 1;
		tls_feed(p->server.tls, BYTES(bad, out.len));
		enum err r = tls_read(p->server.tls, block, sizeof block, &n, &unit_error);
		/* a longer record is not complete yet; everything else is known at once */
		if (at != 3 && at != 4)
			assert_int_equal(r, ERR_PROTO);
		if (r == ERR_PROTO) {
			assert_true(tls_output(p->server.tls).len > 0); /* the alert */
			assert_err(ERR_PROTO,
			    tls_read(p->server.tls, block, sizeof block, &n, &unit_error));
			assert_err(
			    ERR_PROTO, tls_write(p->server.tls, BYTES_LIT("x"), &unit_error));
		}
		tls_keep(p->server.tls);
	}
}

static void
good_bytes_before_a_bad_record_are_read_first(void **state)
{
	struct pair *p = *state;
	uint8_t block[100];
	size_t n = 0;

	connect_pair(p);
	assert_ok(tls_write(p->client.tls, BYTES_LIT("good"), &unit_error));
	size_t first = tls_output(p->client.tls).len;
	assert_ok(tls_write(p->client.tls, BYTES_LIT("bad"), &unit_error));
	struct bytes out = tls_output(p->client.tls);
	auto_free uint8_t *copy = mem_dup(out.at, out.len);
	copy[first + 8] ^= 1;
	tls_feed(p->server.tls, BYTES(copy, out.len));
	assert_ok(tls_read(p->server.tls, block, sizeof block, &n, &unit_error));
	assert_int_equal(n, 4);
	assert_err(ERR_PROTO, tls_read(p->server.tls, block, sizeof block, &n, &unit_error));
	tls_keep(p->server.tls);
}

static void
garbage_is_refused_by_both_sides(void **state)
{
	struct pair *p = *state;

	for (uint64_t seed = 1; seed <= 200; seed++) {
		uint8_t junk[600];
		seeded_fill(seed, junk, sizeof junk);
		if (seed % 2 == 0) /* so that it looks like a record */
			memcpy(junk, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11);
		dial(p);
		(void)!tls_handshake(p->client.tls, NULL);
		struct tls *t = seed % 4 < 2 ? p->client.tls : p->server.tls;
		tls_feed(t, BYTES(junk, sizeof junk));
		enum err e = tls_handshake(t, &unit_error);
		if (e != ERR_PROTO)
			unit_fail("seed %d: %s", (int)seed, error_name(e));
		tls_keep(t);
	}
}

static void
a_handshake_cut_anywhere_waits_for_more(void **state)
{
	struct pair *p = *state;

	(void)!tls_handshake(p->client.tls, NULL);
	struct bytes hello = tls_output(p->client.tls);
	for (size_t n = 0; n < hello.len; n++) {
		struct tls *t = tls_new_server(p->server.ctx);
		tls_feed(t, BYTES(hello.at, n));
		assert_err(ERR_AGAIN, tls_handshake(t, &unit_error));
		assert_int_equal(tls_fed_left(t), 0);
		assert_int_equal(tls_output(t).len, 0);
		tls_free(t);
	}
}

/* ends */

static void
a_close_is_told_from_a_line_that_was_cut(void **state)
{
	struct pair *p = *state;
	auto_buf struct buf got = BUF(100);

	connect_pair(p);
	assert_ok(tls_write(p->client.tls, BYTES_LIT("last words"), &unit_error));
	carry(p->client.tls, p->server.tls, SIZE_MAX);
	/* if the line ends now, something is missing */
	assert_int_equal(drain(p->server.tls, &got), ERR_AGAIN);
	tls_shutdown(p->client.tls);
	assert_true(tls_output(p->client.tls).len > 0);
	carry(p->client.tls, p->server.tls, SIZE_MAX);
	assert_int_equal(drain(p->server.tls, &got), ERR_NOTFOUND);
	assert_int_equal(drain(p->server.tls, &got), ERR_NOTFOUND);
	assert_string_equal(buf_text(&got), "last words");
	/* the other direction is still open */
	buf_reset(&got);
	assert_ok(tls_write(p->server.tls, BYTES_LIT("farewell"), &unit_error));
	tls_shutdown(p->server.tls);
	carry(p->server.tls, p->client.tls, SIZE_MAX);
	assert_int_equal(drain(p->client.tls, &got), ERR_NOTFOUND);
	assert_string_equal(buf_text(&got), "farewell");
}

static void
a_close_in_the_handshake_is_a_failure(void **state)
{
	struct pair *p = *state;
	static const uint8_t close_notify[] = { 0x15, 3, 3, 0, 2, 1, 0 };

	(void)!tls_handshake(p->client.tls, NULL);
	carry(p->client.tls, p->server.tls, SIZE_MAX);
	tls_feed(p->server.tls, BYTES_OF(close_notify));
	assert_err(ERR_PROTO, tls_handshake(p->server.tls, &unit_error));
	assert_err(ERR_PROTO, tls_handshake(p->server.tls, &unit_error));
	tls_keep(p->server.tls);
}

static void
a_shutdown_before_the_handshake_says_nothing(void **state)
{
	struct pair *p = *state;

	tls_shutdown(p->server.tls);
	assert_int_equal(tls_output(p->server.tls).len, 0);
}

/* binding */

static void
exported_bytes_belong_to_one_connection_and_label(void **state)
{
	struct pair *p = *state;
	uint8_t c[32], s[32], other[32];

	connect_pair(p);
	assert_ok(tls_export(p->client.tls, "EXPORTER-weft-test", c, &unit_error));
	assert_ok(tls_export(p->server.tls, "EXPORTER-weft-test", s, &unit_error));
	assert_memory_equal(c, s, sizeof c);
	assert_ok(tls_export(p->client.tls, "EXPORTER-weft-tes", other, &unit_error));
	assert_memory_not_equal(c, other, sizeof c);
	dial(p);
	connect_pair(p);
	assert_ok(tls_export(p->client.tls, "EXPORTER-weft-test", other, &unit_error));
	assert_memory_not_equal(c, other, sizeof c);
}

static void
misuse_is_reported_as_our_own_fault(void **state)
{
	struct pair *p = *state;
	static uint8_t block[TLS_WRITE_MAX + 1];
	uint8_t out[32];
	size_t n = 0;

	assert_err(ERR_BUG, tls_read(p->client.tls, out, sizeof out, &n, &unit_error));
	assert_err(ERR_BUG, tls_write(p->client.tls, BYTES_LIT("x"), &unit_error));
	assert_err(ERR_BUG, tls_export(p->client.tls, "x", out, &unit_error));
	connect_pair(p);
	assert_err(ERR_BUG, tls_write(p->client.tls, BYTES(block, sizeof block), &unit_error));
}

/* memory */

static _Thread_local size_t live;

static void *
count_malloc(size_t n, const char *file, int line)
{
	(void)file;
	(void)line;
	size_t *p = malloc(n + 16);
	if (p == NULL)
		return NULL;
	*p = n;
	live += n;
	return p + 2;
}

static void
count_free(void *ptr, const char *file, int line)
{
	(void)file;
	(void)line;
	if (ptr == NULL)
		return;
	size_t *p = (size_t *)ptr - 2;
	live -= *p;
	free(p);
}

static void *
count_realloc(void *ptr, size_t n, const char *file, int line)
{
	if (ptr == NULL)
		return count_malloc(n, file, line);
	void *to = count_malloc(n, file, line);
	if (to != NULL) {
		memcpy(to, ptr, min_of(n, ((size_t *)ptr)[-2]));
		count_free(ptr, file, line);
	}
	return to;
}

static void
an_idle_connection_takes_little_memory(void **state)
{
	struct pair *p = *state;
	static uint8_t block[TLS_WRITE_MAX];
	auto_buf struct buf got = BUF(TLS_WRITE_MAX);

	connect_pair(p); /* what OpenSSL makes once is there now */
	tls_free(take_ptr(p->client.tls));
	tls_free(take_ptr(p->server.tls));
	size_t before = live;
	dial(p);
	connect_pair(p);
	assert_ok(tls_write(p->client.tls, BYTES(block, sizeof block), &unit_error));
	carry(p->client.tls, p->server.tls, SIZE_MAX);
	assert_int_equal(drain(p->server.tls, &got), ERR_AGAIN);
	size_t pair = live - before;
	print_message("an idle pair takes %zu bytes, both ends together\n", pair);
	assert_in_range(pair, 1, 40 * 1024);
}

int
main(void)
{
	CRYPTO_set_mem_functions(count_malloc, count_realloc, count_free);
#define PAIR(test) cmocka_unit_test_setup_teardown(test, open_pair, close_pair)
	const struct CMUnitTest tests[] = {
		PAIR(both_sides_know_each_other_after_the_handshake),
		PAIR(a_client_may_not_care_who_answers),
		PAIR(another_server_than_expected_is_denied),
		PAIR(bytes_arrive_in_order_both_ways),
		PAIR(bytes_may_come_one_by_one),
		PAIR(much_goes_both_ways_in_pieces_of_any_size),
		PAIR(a_write_is_taken_whole_or_not_at_all),
		PAIR(what_is_fed_while_something_is_left_comes_after_it),
		PAIR(a_changed_byte_ends_the_connection_for_good),
		PAIR(good_bytes_before_a_bad_record_are_read_first),
		PAIR(garbage_is_refused_by_both_sides),
		PAIR(a_handshake_cut_anywhere_waits_for_more),
		PAIR(a_close_is_told_from_a_line_that_was_cut),
		PAIR(a_close_in_the_handshake_is_a_failure),
		PAIR(a_shutdown_before_the_handshake_says_nothing),
		PAIR(exported_bytes_belong_to_one_connection_and_label),
		PAIR(misuse_is_reported_as_our_own_fault),
		PAIR(an_idle_connection_takes_little_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
