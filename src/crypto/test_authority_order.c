/* Any set of statements in any order, against a model that knows the rules and no order. */
#include "crypto/test_authority_world.h"

enum { SET = 36, ROUNDS_MAX = 16, SETS = 40 };

struct set {
	struct said at[SET];
	size_t len;
};

static struct said
random_statement(const struct world *w, struct rng *r)
{
	const struct device_key *by = w->key[rng_below(r, 1 + SUCCESSORS)];
	const struct device_key *who = w->device[rng_below(r, DEVICES)];
	const struct hash_id *about = &w->share[rng_below(r, SHARES)];
	uint64_t epoch = rng_below(r, 12);
	uint32_t rights = 1u << rng_below(r, 3);

	switch (rng_below(r, 11)) {
	case 10:
		return policy(by, *about, 1 + (enum share_policy)rng_below(r, 3), epoch);
	case 0:
		return share(by, rng_below(r, 2) == 0 ? "plans" : "photos", epoch);
	case 1:
	case 2:
		return head(by, *about, 1 + rng_below(r, 4), epoch);
	case 3:
	case 4:
		return member(by, who, epoch);
	case 5:
	case 6:
	case 7:
		return grant(by, who, *about, rights, epoch);
	default:
		return revocation(by, who, rng_below(r, 2) == 0 ? NULL : about, epoch);
	}
}

static struct said
random_successor(const struct world *w, struct rng *r)
{
	size_t from = rng_below(r, SUCCESSORS), to = 1 + rng_below(r, SUCCESSORS);
	const struct device_key *by = rng_below(r, 2) == 0 ? w->key[from] : w->recovery[from];

	if (to == from)
		to = from + 1;
	return successor(w, from, to, by, 1 + rng_below(r, 12));
}

static void
make_set(const struct world *w, struct rng *r, struct set *ret)
{
	size_t successors = rng_below(r, 5);

	ret->len = 0;
	ret->at[ret->len++] = authority_says(w, 0);
	while (ret->len <= successors)
		ret->at[ret->len++] = random_successor(w, r);
	while (ret->len < SET)
		ret->at[ret->len++] = random_statement(w, r);
}

/* The rules once more, over the whole set at once and without any state. */
struct model {
	const struct set *set;
	const struct said *chain[1 + SUCCESSORS]; /* AUTHORITY, then the SUCCESSORs that count */
	size_t links;
};

static bool
said_by(const struct said *x, const struct public_key *k)
{
	return memcmp(device_key_public(x->by), k, sizeof *k) == 0;
}

static bool
model_by_recovery(const struct model *m, size_t link)
{
	return link > 0 && said_by(m->chain[link], &m->chain[link - 1]->s.recovery);
}

static bool
model_may_follow(const struct model *m, const struct said *x)
{
	const struct said *last = m->chain[m->links - 1];
	struct device_id id = device_id_of(&last->s.key);

	if (x->s.kind != STATEMENT_SUCCESSOR || !device_id_equal(&x->s.authority, &id))
		return false;
	if (!said_by(x, &last->s.key) && !said_by(x, &last->s.recovery))
		return false;
	if (x->s.epoch <= (m->links > 1 ? last->s.epoch : 0))
		return false;
	for (size_t i = 0; i < m->links; i++)
		if (memcmp(&m->chain[i]->s.key, &x->s.key, sizeof x->s.key) == 0)
			return false;
	return true;
}

static bool
model_follows_rather(const struct model *m, const struct said *x, const struct said *y)
{
	const struct public_key *recovery = &m->chain[m->links - 1]->s.recovery;

	if (y == NULL || said_by(x, recovery) != said_by(y, recovery))
		return y == NULL || said_by(x, recovery);
	if (x->s.epoch != y->s.epoch)
		return x->s.epoch < y->s.epoch;
	return bytes_compare(bytes_of(x), bytes_of(y)) < 0;
}

static struct model
model_of(const struct set *set)
{
	struct model m = { .set = set, .chain = { &set->at[0] }, .links = 1 };

	for (const struct said *next = &set->at[0]; next != NULL && m.links <= SUCCESSORS;) {
		next = NULL;
		for (size_t i = 0; i < set->len; i++)
			if (model_may_follow(&m, &set->at[i]) &&
			    model_follows_rather(&m, &set->at[i], next))
				next = &set->at[i];
		if (next != NULL)
			m.chain[m.links++] = next;
	}
	return m;
}

static bool
model_signer_holds(const struct model *m, const struct said *x)
{
	size_t i = 0;
	bool recovered = false;

	while (i < m->links && !said_by(x, &m->chain[i]->s.key))
		i++;
	if (i == m->links)
		return false;
	for (size_t j = i + 1; j < m->links; j++)
		recovered = recovered || model_by_recovery(m, j);
	return (i == 0 || x->s.epoch >= m->chain[i]->s.epoch) &&
	       (i + 1 == m->links || x->s.epoch < m->chain[i + 1]->s.epoch) &&
	       (!recovered || x->s.kind == STATEMENT_SHARE);
}

static bool
model_is_revoked(const struct model *m, const struct said *x)
{
	for (size_t i = 0; i < m->set->len; i++) {
		const struct said *y = &m->set->at[i];
		bool whole = hash_id_is_none(&y->s.share);
		bool same = x->s.kind == STATEMENT_GRANT && hash_id_equal(&y->s.share, &x->s.share);
		if (y->s.kind == STATEMENT_REVOKE && device_id_equal(&y->s.device, &x->s.device) &&
		    (whole || same) && y->s.epoch > x->s.epoch && model_signer_holds(m, y))
			return true;
	}
	return false;
}

static bool
model_in_force(const struct model *m, const struct said *x)
{
	bool revocable = x->s.kind == STATEMENT_MEMBER || x->s.kind == STATEMENT_GRANT;

	return x->s.kind != STATEMENT_SUCCESSOR && x->s.kind != STATEMENT_AUTHORITY &&
	       model_signer_holds(m, x) && !(revocable && model_is_revoked(m, x));
}

static bool
model_is_newer(const struct said *x, const struct said *y)
{
	if (y == NULL || x->s.epoch != y->s.epoch)
		return y == NULL || x->s.epoch > y->s.epoch;
	if (x->s.number != y->s.number)
		return x->s.number > y->s.number;
	return bytes_compare(bytes_of(x), bytes_of(y)) > 0; /* all times of the set are the same */
}

static const struct said *
model_find(const struct model *m, enum statement_kind kind, const struct device_id *device,
    const struct hash_id *about)
{
	const struct said *best = NULL;

	for (size_t i = 0; i < m->set->len; i++) {
		const struct said *x = &m->set->at[i];
		struct hash_id id =
		    kind == STATEMENT_SHARE ? statement_share_id(bytes_of(x)) : x->s.share;
		if (x->s.kind == kind &&
		    (device == NULL || device_id_equal(&x->s.device, device)) &&
		    (about == NULL || hash_id_equal(&id, about)) && model_in_force(m, x) &&
		    model_is_newer(x, best))
			best = x;
	}
	return best;
}

static uint64_t
model_epoch(const struct model *m)
{
	uint64_t epoch = m->chain[m->links - 1]->s.epoch;

	for (size_t i = 0; i < m->set->len; i++)
		if (model_in_force(m, &m->set->at[i]))
			epoch = max_of(epoch, m->set->at[i].s.epoch);
	return epoch;
}

#define agrees(cond)                                                                               \
	do {                                                                                       \
		if (!(cond))                                                                       \
			unit_fail("seed %" PRIu64 ": %s", seed, #cond);                            \
	} while (0)

static bool
same_bytes(struct bytes got, const struct said *want)
{
	return bytes_equal(got, want != NULL ? bytes_of(want) : BYTES(NULL, 0));
}

static void
assert_agrees(
    const struct world *w, const struct authority *a, const struct model *m, uint64_t seed)
{
	agrees(memcmp(authority_key(a), &m->chain[m->links - 1]->s.key,
		   sizeof(struct public_key)) == 0);
	agrees(authority_epoch(a) == model_epoch(m));
	for (size_t i = 0; i < DEVICES; i++) {
		const struct device_id *id = device_key_id(w->device[i]);
		const struct said *x = model_find(m, STATEMENT_MEMBER, id, NULL);
		agrees(same_bytes(authority_member(a, id), x));
		agrees((authority_check_member(a, id, NOW, NULL) == OK) == (x != NULL));
		for (size_t j = 0; j < SHARES; j++) {
			x = model_find(m, STATEMENT_GRANT, id, &w->share[j]);
			agrees(same_bytes(authority_grant(a, id, &w->share[j]), x));
			for (uint32_t rights = 1; rights <= RIGHT_ADMIN; rights <<= 1)
				agrees((authority_check_grant(a, id, &w->share[j], rights, NOW,
					    NULL) == OK) == (x != NULL && x->s.rights >= rights));
		}
	}
	for (size_t j = 0; j < SHARES; j++) {
		struct statement s = { 0 };
		const struct said *x = model_find(m, STATEMENT_HEAD, NULL, &w->share[j]);
		agrees(authority_head(a, &w->share[j], &s) == (x != NULL));
		agrees(x == NULL || hash_id_equal(&s.id, &x->s.id));
		x = model_find(m, STATEMENT_POLICY, NULL, &w->share[j]);
		agrees(same_bytes(authority_policy_statement(a, &w->share[j]), x));
		agrees(authority_policy(a, &w->share[j]) == (x != NULL ? x->s.policy : 0));
	}
	for (size_t i = 0; i < m->set->len; i++) {
		struct hash_id id = statement_share_id(bytes_of(&m->set->at[i]));
		if (!hash_id_is_none(&id))
			agrees(same_bytes(
			    authority_share(a, &id), model_find(m, STATEMENT_SHARE, NULL, &id)));
	}
}

static void
shuffle(struct rng *r, size_t order[], size_t n)
{
	for (size_t i = 0; i < n; i++)
		order[i] = i;
	for (size_t i = n; i > 1; i--) {
		size_t j = rng_below(r, i), t = order[i - 1];
		order[i - 1] = order[j];
		order[j] = t;
	}
}

/* Feeds SET in a random order; true if anything was news. */
static bool
feed(struct authority *a, const struct set *set, struct rng *r)
{
	size_t order[SET];
	bool any = false;

	shuffle(r, order, set->len);
	for (size_t i = 0; i < set->len; i++) {
		bool news = false;
		(void)!authority_accept(a, bytes_of(&set->at[order[i]]), &news, NULL);
		any = any || news;
	}
	return any;
}

static void
any_order_ends_in_what_the_rules_say(void **state)
{
	struct world *w = *state;
	struct set *set = mem_new(struct set);

	for (uint64_t seed = 1; seed <= SETS; seed++) {
		struct rng r;
		rng_seed(&r, seed);
		make_set(w, &r, set);
		struct model m = model_of(set);
		for (int order = 0; order < 2; order++) {
			auto_(authority_free_p) struct authority *a =
			    authority_new(device_key_id(w->key[0]));
			int rounds = 0;
			while (feed(a, set, &r))
				agrees(++rounds < ROUNDS_MAX);
			assert_agrees(w, a, &m, seed);
		}
	}
	free(set);
}

static void
while_the_keys_stay_one_round_is_enough(void **state)
{
	struct world *w = *state;
	struct set *set = mem_new(struct set);

	for (uint64_t seed = 1001; seed <= 1000 + SETS; seed++) {
		struct rng r;
		auto_(authority_free_p) struct authority *a =
		    authority_new(device_key_id(w->key[0]));
		rng_seed(&r, seed);
		make_set(w, &r, set);
		struct model m = model_of(set);
		for (size_t i = 0; i < m.links; i++)
			agrees(authority_accept(a, bytes_of(m.chain[i]), NULL, NULL) == OK);
		feed(a, set, &r);
		assert_agrees(w, a, &m, seed);
		agrees(!feed(a, set, &r));
	}
	free(set);
}

struct copying {
	struct authority *to;
	size_t n;
	bool taken;
};

static void
copy_statement(void *ctx, struct bytes b, const struct statement *s)
{
	struct copying *c = ctx;
	bool news = false;

	(void)s;
	c->taken = c->taken && authority_accept(c->to, b, &news, NULL) == OK && news;
	c->n++;
}

static void
what_is_persisted_restores_the_state(void **state)
{
	struct world *w = *state;
	struct set *set = mem_new(struct set);

	for (uint64_t seed = 2001; seed <= 2000 + SETS; seed++) {
		struct rng r;
		auto_(authority_free_p) struct authority *a =
		    authority_new(device_key_id(w->key[0]));
		auto_(authority_free_p) struct authority *b =
		    authority_new(device_key_id(w->key[0]));
		struct copying c = { .to = b, .taken = true };
		rng_seed(&r, seed);
		make_set(w, &r, set);
		struct model m = model_of(set);
		for (int rounds = 0; feed(a, set, &r);)
			agrees(++rounds < ROUNDS_MAX);
		authority_each(a, 0, copy_statement, &c);
		agrees(c.taken);
		assert_agrees(w, b, &m, seed);
	}
	free(set);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(any_order_ends_in_what_the_rules_say),
		BOTH(while_the_keys_stay_one_round_is_enough),
		BOTH(what_is_persisted_restores_the_state),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
