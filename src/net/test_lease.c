/*
 * Nodes of one site and their server, in virtual time: messages that take a while, connections that
 * break, a server that goes and comes back, nodes that join and want now more, now less.  Whatever
 * happens, in no five seconds do they move more than the line may carry.
 */
#include "tests/unit.h"

#include "base/mem.h"
#include "base/rng.h"
#include "net/lease.h"

enum {
	STEP_MS = 50,
	WINDOW = 5000 / STEP_MS,
	NODES_MAX = 200,
	MAIL_MAX = 4096,
	SEEDS = 150,
	RUN_MS = 120 * 1000,
};
#define LINE UINT64_C(2500000)

struct mail {
	uint64_t at_ms;
	uint32_t to, epoch;
	bool is_demand;
	struct lease_demand demand;
	struct lease lease;
};
struct node {
	struct lease_holder holder;
	bool is_up, is_connected;
	uint32_t epoch;            /* of its connection: mail of an older one is lost */
	uint64_t last_ms[2];       /* mail of one direction does not overtake */
	uint64_t want[LEASE_WAYS]; /* what it has to move */
	uint64_t moved;            /* in this step, up */
	uint64_t sum;
	bool is_told;     /* it has heard of the limit */
	uint64_t away_ms; /* without the server while that was there */
};
struct world {
	struct rng rng;
	uint64_t now_ms, delay_ms;
	struct lease_book *book; /* NULL: the server is away */
	struct node nodes[NODES_MAX];
	uint32_t n;
	struct mail mail[MAIL_MAX];
	uint32_t n_mail;
	uint64_t window[WINDOW], in_window, most; /* moved up, by step */
	uint64_t total;
	int at;
};
static const uint64_t limit[LEASE_WAYS] = { LINE, 2 * LINE };

/* -- the wire -- */

static void
post(struct world *w, struct mail m)
{
	struct node *n = &w->nodes[m.to];
	uint64_t *last = &n->last_ms[m.is_demand];

	m.at_ms =
	    max_of(w->now_ms + (w->delay_ms > 0 ? rng_below(&w->rng, w->delay_ms) : 0), *last);
	m.epoch = n->epoch;
	*last = m.at_ms;
	if (w->n_mail < MAIL_MAX)
		w->mail[w->n_mail++] = m;
}

static void
deliver(struct world *w, const struct mail *m)
{
	struct node *n = &w->nodes[m->to];
	struct lease l;

	if (m->epoch != n->epoch || !n->is_connected || w->book == NULL)
		return;
	if (!m->is_demand) {
		lease_holder_take(&n->holder, w->now_ms, &m->lease);
		n->is_told = true;
	} else if (lease_book_demand(w->book, m->to + 1, &m->demand, w->now_ms, &l)) {
		post(w, (struct mail){ .to = m->to, .lease = l });
	}
}

static void
deliver_all(struct world *w)
{
	for (uint32_t i = 0; i < w->n_mail;) {
		if (w->mail[i].at_ms > w->now_ms) {
			i++;
			continue;
		}
		struct mail m = w->mail[i];
		memmove(&w->mail[i], &w->mail[i + 1], (--w->n_mail - i) * sizeof m);
		deliver(w, &m);
	}
}

/* -- what happens to nodes -- */

static void
connect_node(struct world *w, uint32_t i)
{
	struct node *n = &w->nodes[i];

	if (w->book == NULL || n->is_connected || !n->is_up)
		return;
	n->is_connected = true;
	n->epoch++;
	n->last_ms[0] = n->last_ms[1] = 0;
	lease_holder_connected(&n->holder);
	lease_book_joined(w->book, i + 1, w->now_ms);
}

static void
disconnect_node(struct world *w, uint32_t i, bool in_peace)
{
	struct node *n = &w->nodes[i];

	if (!n->is_connected)
		return;
	n->is_connected = false;
	if (w->book != NULL)
		lease_book_left(w->book, i + 1, in_peace, w->now_ms);
}

static void
start_node(struct world *w, uint32_t i)
{
	struct node *n = &w->nodes[i];

	*n = (struct node){ .is_up = true, .epoch = n->epoch + 1 };
	lease_holder_init(&n->holder, NULL);
	n->want[0] = n->want[1] = LEASE_HUNGRY;
	connect_node(w, i);
}

static void
stop_node(struct world *w, uint32_t i)
{
	disconnect_node(w, i, true);
	w->nodes[i].is_up = false;
}

static void
server_goes(struct world *w)
{
	lease_book_free(w->book);
	w->book = NULL;
	w->n_mail = 0;
	for (uint32_t i = 0; i < w->n; i++)
		w->nodes[i].is_connected = false;
}

static void
server_comes(struct world *w)
{
	w->book = lease_book_new(limit, w->now_ms);
}

/* -- time -- */

static void
move(struct world *w)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < w->n; i++) {
		struct node *n = &w->nodes[i];
		uint64_t rates[LEASE_WAYS];
		lease_holder_rates(&n->holder, w->now_ms, rates);
		n->moved =
		    n->is_up && n->is_told ? min_of(rates[0], n->want[0]) * STEP_MS / 1000 : 0;
		n->sum += n->moved;
		sum += n->moved;
	}
	w->in_window += sum - w->window[w->at];
	w->window[w->at] = sum;
	w->at = (w->at + 1) % WINDOW;
	w->total += sum;
	w->most = max_of(w->most, w->in_window);
}

static void
ask(struct world *w)
{
	struct lease_demand d;

	for (uint32_t i = 0; i < w->n; i++) {
		struct node *n = &w->nodes[i];
		if (n->is_connected && lease_holder_demand(&n->holder, w->now_ms, n->want, &d))
			post(w, (struct mail){ .to = i, .is_demand = true, .demand = d });
	}
}

/* Nobody stays away for longer than the book waits. */
static void
bring_back(struct world *w)
{
	for (uint32_t i = 0; i < w->n && w->book != NULL; i++) {
		struct node *n = &w->nodes[i];
		n->away_ms = n->is_connected ? 0 : n->away_ms + STEP_MS;
		if (n->away_ms >= LEASE_STRANGERS_MS - 1000)
			connect_node(w, i);
	}
}

static void
step(struct world *w)
{
	bring_back(w);
	deliver_all(w);
	ask(w);
	move(w);
	w->now_ms += STEP_MS;
}

static void
run_for(struct world *w, uint64_t ms)
{
	for (uint64_t end = w->now_ms + ms; w->now_ms < end;)
		step(w);
}

static struct world *
world(uint64_t seed, uint32_t n)
{
	struct world *w = mem_new(struct world);

	rng_seed(&w->rng, seed);
	w->n = n;
	w->now_ms = 1000;
	w->book = lease_book_new(limit, 0);
	for (uint32_t i = 0; i < n; i++)
		start_node(w, i);
	return w;
}

static void
end(struct world *w)
{
	lease_book_free(w->book);
	free(w);
}

static void
check_line(const struct world *w, uint64_t seed)
{
	if (w->most > LINE * 5 * 105 / 100)
		unit_fail("seed %llu: %llu bytes in five seconds, %.3f of the line",
		    (unsigned long long)seed, (unsigned long long)w->most,
		    (double)w->most / (double)(LINE * 5));
}

/* -- properties -- */

/* One thing that happens. */
static void
mishap(struct world *w)
{
	uint32_t i = (uint32_t)rng_below(&w->rng, w->n);
	struct node *n = &w->nodes[i];

	switch (rng_below(&w->rng, 12)) {
	case 0:
		n->is_up ? stop_node(w, i) : start_node(w, i);
		break;
	case 1:
	case 2:
		disconnect_node(w, i, false);
		break;
	case 3:
		if (rng_below(&w->rng, 4) == 0) {
			if (w->book != NULL)
				server_goes(w);
			else
				server_comes(w);
		}
		break;
	case 4:
	case 5:
	case 6:
		for (uint32_t k = 0; k < w->n; k++)
			if (rng_below(&w->rng, 2) == 0)
				connect_node(w, k);
		break;
	default:
		n->want[0] = rng_below(&w->rng, 2) == 0 ? LEASE_HUNGRY : rng_below(&w->rng, LINE);
		break;
	}
}

static void
no_five_seconds_carry_more_than_the_line_may(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		struct world *w = world(seed, 1 + (uint32_t)(seed * 7 % 40));
		uint64_t often = 1 + rng_below(&w->rng, 40);
		w->delay_ms = rng_below(&w->rng, 1500);
		while (w->now_ms < RUN_MS) {
			step(w);
			if (rng_below(&w->rng, often) == 0)
				mishap(w);
		}
		check_line(w, seed);
		end(w);
	}
}

static void
two_hundred_that_want_all_share_it_evenly_and_use_it(void **state)
{
	struct world *w = world(1, 200);

	(void)state;
	w->delay_ms = 100;
	run_for(w, 10 * 1000);
	uint64_t before = w->total;
	for (uint32_t i = 0; i < w->n; i++)
		w->nodes[i].sum = 0;
	run_for(w, 20 * 1000);
	assert_in_range(w->total - before, LINE * 20 * 97 / 100, LINE * 20);
	for (uint32_t i = 0; i < w->n; i++)
		assert_in_range(
		    w->nodes[i].sum, LINE * 20 / 200 * 9 / 10, LINE * 20 / 200 * 11 / 10);
	check_line(w, 1);
	end(w);
}

static void
what_some_leave_is_shared_by_those_who_can_use_it(void **state)
{
	struct world *w = world(2, 20);

	(void)state;
	w->delay_ms = 50;
	for (uint32_t i = 0; i < w->n; i++)
		w->nodes[i].want[0] = i < 2 ? LEASE_HUNGRY : i < 10 ? LINE / 100 : 0;
	run_for(w, 10 * 1000);
	uint64_t before = w->total;
	w->nodes[0].sum = w->nodes[1].sum = w->nodes[2].sum = 0;
	run_for(w, 10 * 1000);
	/* but for what who wants nothing has to begin with */
	assert_true(w->total - before >= LINE * 10 * 95 / 100);
	assert_in_range(w->nodes[2].sum, LINE * 10 / 100 * 99 / 100, LINE * 10 / 100);
	assert_in_range(w->nodes[0].sum, w->nodes[1].sum * 98 / 100, w->nodes[1].sum * 102 / 100);
	assert_true(w->nodes[0].sum >= LINE * 10 * 43 / 100);
	end(w);
}

static void
one_that_begins_has_its_share_within_two_seconds(void **state)
{
	struct world *w = world(3, 4);

	(void)state;
	w->delay_ms = 50;
	w->nodes[0].want[0] = 0;
	run_for(w, 10 * 1000);
	w->nodes[0].want[0] = LEASE_HUNGRY;
	run_for(w, 2000);
	w->nodes[0].sum = 0;
	run_for(w, 1000);
	assert_true(w->nodes[0].sum >= LINE / 4 * 95 / 100);
	check_line(w, 3);
	end(w);
}

static void
without_the_server_each_goes_on_with_its_floor(void **state)
{
	struct world *w = world(4, 10);

	(void)state;
	for (uint32_t i = 1; i < w->n; i++)
		w->nodes[i].want[0] = 0;
	run_for(w, 10 * 1000);
	server_goes(w);
	for (uint32_t i = 1; i < w->n; i++)
		w->nodes[i].want[0] = LEASE_HUNGRY;
	run_for(w, 15 * 1000);
	for (uint32_t i = 0; i < w->n; i++)
		assert_in_range(w->nodes[i].moved, LINE / 10 * STEP_MS / 1000 * 99 / 100,
		    LINE / 10 * STEP_MS / 1000);
	/* and all of it again when it is back */
	server_comes(w);
	for (uint32_t i = 0; i < w->n; i++)
		connect_node(w, i);
	for (uint32_t i = 1; i < w->n; i++)
		w->nodes[i].want[0] = 0;
	run_for(w, 10 * 1000);
	assert_true(w->nodes[0].moved >= LINE * STEP_MS / 1000 * 95 / 100);
	check_line(w, 4);
	end(w);
}

static void
a_limit_that_comes_while_bytes_move_is_told_and_one_that_goes_too(void **state)
{
	struct lease_holder h;
	struct lease_book *b = lease_book_new(limit, 0);
	const uint64_t want[] = { LEASE_HUNGRY, 5 }, none[LEASE_WAYS] = { 0 };
	struct lease_demand d;
	struct lease l;
	uint64_t rates[LEASE_WAYS];

	(void)state;
	lease_holder_init(&h, NULL);
	assert_true(lease_holder_demand(&h, 1000, want, &d));
	assert_false(lease_holder_demand(&h, 9000, want, &d)); /* there was no answer */
	lease_holder_rates(&h, 9000, rates);
	assert_int_equal(rates[0], 0);
	assert_false(lease_book_call(b, 1, &l));
	lease_book_joined(b, 1, 9000);
	lease_book_joined(b, 2, 9000);
	assert_true(lease_book_call(b, 1, &l));
	lease_holder_take(&h, 9000, &l);
	lease_holder_rates(&h, 9000, rates);
	assert_int_equal(rates[0], LINE / 2);
	assert_int_equal(rates[1], LINE);
	assert_true(lease_holder_demand(&h, 9000, want, &d));
	assert_true(lease_book_demand(b, 1, &d, 9000, &l));
	assert_false(lease_book_demand(b, 1, &d, 9000, &l)); /* the same once more */
	lease_book_limit(b, none);
	assert_true(lease_book_call(b, 1, &l));
	lease_holder_take(&h, 9100, &l);
	assert_false(lease_holder_is_limited(&h));
	lease_holder_rates(&h, 9100, rates);
	assert_int_equal(rates[0], 0);
	lease_book_free(b);
}

static void
those_who_are_called_when_a_limit_comes_share_it(void **state)
{
	struct world *w = world(5, 3);
	struct lease l;

	(void)state;
	for (uint32_t i = 0; i < w->n; i++) {
		assert_true(lease_book_call(w->book, i + 1, &l));
		lease_holder_take(&w->nodes[i].holder, w->now_ms, &l);
		w->nodes[i].is_told = true;
	}
	run_for(w, 5 * 1000);
	for (uint32_t i = 0; i < w->n; i++)
		assert_true(w->nodes[i].moved >= LINE / 3 * STEP_MS / 1000 * 95 / 100);
	check_line(w, 5);
	end(w);
}

static void
what_is_known_from_before_holds_until_the_server_is_there(void **state)
{
	const uint64_t floor[] = { 1000, 0 };
	struct lease_holder h;
	uint64_t rates[LEASE_WAYS];

	(void)state;
	lease_holder_init(&h, floor);
	lease_holder_rates(&h, 0, rates);
	assert_int_equal(rates[0], 1000);
	assert_int_equal(rates[1], 0);
	assert_true(lease_holder_is_limited(&h));
}

static void
who_is_gone_without_a_word_is_forgotten_in_the_end(void **state)
{
	struct lease_book *b = lease_book_new(limit, 0);
	uint64_t out[LEASE_WAYS];

	(void)state;
	for (uint64_t i = 1; i <= 3; i++)
		lease_book_joined(b, i, 1000);
	lease_book_left(b, 1, true, 2000);
	lease_book_left(b, 2, false, 2000 + LEASE_FORGET_MS);
	lease_book_out(b, 2000 + LEASE_FORGET_MS, out);
	assert_int_equal(lease_book_members(b), 2);
	lease_book_out(b, 2000 + 2 * LEASE_FORGET_MS, out);
	assert_int_equal(lease_book_members(b), 1);
	lease_book_joined(b, 3, 3000);
	assert_int_equal(lease_book_members(b), 1);
	lease_book_free(b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_five_seconds_carry_more_than_the_line_may),
		cmocka_unit_test(two_hundred_that_want_all_share_it_evenly_and_use_it),
		cmocka_unit_test(what_some_leave_is_shared_by_those_who_can_use_it),
		cmocka_unit_test(one_that_begins_has_its_share_within_two_seconds),
		cmocka_unit_test(without_the_server_each_goes_on_with_its_floor),
		cmocka_unit_test(a_limit_that_comes_while_bytes_move_is_told_and_one_that_goes_too),
		cmocka_unit_test(those_who_are_called_when_a_limit_comes_share_it),
		cmocka_unit_test(what_is_known_from_before_holds_until_the_server_is_there),
		cmocka_unit_test(who_is_gone_without_a_word_is_forgotten_in_the_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
