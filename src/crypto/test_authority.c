/*
 * Every test runs twice: with an authority key that is nothing else (a server's), and with one that
 * is also a member's device key (a founder's).
 */
#include "tests/unit.h"

#include <inttypes.h>

#include "base/array.h"
#include "base/mem.h"
#include "base/rng.h"
#include "crypto/authority.h"

enum { DEVICES = 3, SHARES = 2, SUCCESSORS = 3, NOW = 1700000000, HOUR = 3600 };

struct world {
	bool is_device;
	struct device_key *key[1 + SUCCESSORS]; /* the authority's, and those that may follow */
	struct device_key *recovery[1 + SUCCESSORS]; /* named by key[i]'s statement */
	struct device_key *device[DEVICES], *stranger;
	struct authority *a;
	struct hash_id share[SHARES];
};

static struct device_key *
new_key(void)
{
	struct device_key *k = NULL;

	assert_ok(device_key_generate(&k, &unit_error));
	return k;
}

static int
make_world(void **state, bool is_device)
{
	struct world *w = mem_new(struct world);

	w->is_device = is_device;
	for (size_t i = 0; i <= SUCCESSORS; i++) {
		w->key[i] = new_key();
		w->recovery[i] = new_key();
	}
	for (size_t i = 0; i < DEVICES; i++)
		w->device[i] = is_device && i == 0 ? w->key[0] : new_key();
	w->stranger = new_key();
	for (size_t i = 0; i < SHARES; i++)
		hash_object(HASH_DEFAULT, HASH_SHARE, BYTES_OF(i), &w->share[i]);
	w->a = authority_new(device_key_id(w->key[0]));
	*state = w;
	return 0;
}

static int
make_server(void **state)
{
	return make_world(state, false);
}

static int
make_founder(void **state)
{
	return make_world(state, true);
}

static int
free_world(void **state)
{
	struct world *w = *state;

	for (size_t i = 0; i <= SUCCESSORS; i++) {
		device_key_free(w->key[i]);
		device_key_free(w->recovery[i]);
	}
	for (size_t i = w->is_device; i < DEVICES; i++)
		device_key_free(w->device[i]);
	device_key_free(w->stranger);
	authority_free(w->a);
	free(w);
	return 0;
}

/* statements, shortly */

struct said {
	uint8_t at[STATEMENT_MAX];
	size_t len;
	struct statement s;
	const struct device_key *by;
};

static struct bytes
bytes_of(const struct said *x)
{
	return BYTES(x->at, x->len);
}

static struct said
say(const struct device_key *by, struct statement s)
{
	auto_buf struct buf b = BUF(STATEMENT_MAX);
	struct said x = { .by = by };

	if (s.issued_s == 0)
		s.issued_s = NOW;
	assert_ok(statement_sign(&s, by, &b, &unit_error));
	memcpy(x.at, b.at, b.len);
	x.len = b.len;
	x.s = s;
	return x;
}

static struct said
authority_says(const struct world *w, size_t i)
{
	return say(w->key[i], (struct statement){ .kind = STATEMENT_AUTHORITY,
				  .key = *device_key_public(w->key[i]),
				  .recovery = *device_key_public(w->recovery[i]) });
}

/* key[TO] follows key[FROM], signed by BY */
static struct said
successor(
    const struct world *w, size_t from, size_t to, const struct device_key *by, uint64_t epoch)
{
	return say(by, (struct statement){ .kind = STATEMENT_SUCCESSOR,
			   .authority = *device_key_id(w->key[from]),
			   .epoch = epoch,
			   .key = *device_key_public(w->key[to]),
			   .recovery = *device_key_public(w->recovery[to]) });
}

static struct said
member(const struct device_key *by, const struct device_key *who, uint64_t epoch)
{
	return say(by, (struct statement){ .kind = STATEMENT_MEMBER,
			   .epoch = epoch,
			   .device = *device_key_id(who),
			   .name = "laptop" });
}

static struct said
grant(const struct device_key *by, const struct device_key *who, struct hash_id share,
    uint32_t rights, uint64_t epoch)
{
	return say(by, (struct statement){ .kind = STATEMENT_GRANT,
			   .epoch = epoch,
			   .device = *device_key_id(who),
			   .share = share,
			   .rights = rights,
			   .expires_s = NOW + 24 * HOUR });
}

static struct said
revocation(const struct device_key *by, const struct device_key *who, const struct hash_id *share,
    uint64_t epoch)
{
	struct statement s = {
		.kind = STATEMENT_REVOKE, .epoch = epoch, .device = *device_key_id(who)
	};

	if (share != NULL)
		s.share = *share;
	return say(by, s);
}

static struct said
head(const struct device_key *by, struct hash_id share, uint64_t number, uint64_t epoch)
{
	struct statement s = {
		.kind = STATEMENT_HEAD, .epoch = epoch, .share = share, .number = number
	};

	hash_object(HASH_DEFAULT, HASH_COMMIT, BYTES_OF(number), &s.commit);
	if (number > 1)
		hash_object(HASH_DEFAULT, HASH_STATEMENT, BYTES_OF(number), &s.previous);
	return say(by, s);
}

static struct said
share(const struct device_key *by, const char *name, uint64_t epoch)
{
	struct statement s = {
		.kind = STATEMENT_SHARE, .epoch = epoch, .policy = POLICY_HYBRID, .nonce = { 1 }
	};

	snprintf(s.name, sizeof s.name, "%s", name);
	return say(by, s);
}

/* X is taken, and is news or not. */
#define takes(a, x, is_news)                                                                       \
	do {                                                                                       \
		bool got_news = !(is_news);                                                        \
		struct said taken = (x);                                                           \
		assert_ok(authority_accept((a), bytes_of(&taken), &got_news, &unit_error));        \
		assert_int_equal(got_news, (is_news));                                             \
	} while (0)
/* X is refused, with TEXT in the reason. */
#define refuses(a, x, reason)                                                                      \
	do {                                                                                       \
		struct said taken = (x);                                                           \
		assert_err(                                                                        \
		    ERR_DENIED, authority_accept((a), bytes_of(&taken), NULL, &unit_error));       \
		if (strstr(unit_error.text, (reason)) == NULL)                                     \
			unit_fail("'%s' says nothing of '%s'", unit_error.text, (reason));         \
	} while (0)

static void
assert_member(const struct world *w, size_t device, bool want)
{
	const struct device_id *id = device_key_id(w->device[device]);

	assert_err(want ? OK : ERR_DENIED, authority_check_member(w->a, id, NOW, &unit_error));
	assert_int_equal(authority_member(w->a, id).len > 0, want);
}

static void
assert_rights(const struct world *w, size_t device, size_t share_no, uint32_t rights)
{
	const struct device_id *id = device_key_id(w->device[device]);

	for (uint32_t r = RIGHT_READ; r <= RIGHT_ADMIN; r <<= 1)
		assert_err((rights & r) != 0 ? OK : ERR_DENIED,
		    authority_check_grant(w->a, id, &w->share[share_no], r, NOW, &unit_error));
}

/* one by one */

static void
trust_begins_with_the_pinned_key_only(void **state)
{
	struct world *w = *state;

	assert_null(authority_key(w->a));
	assert_int_equal(authority_statement(w->a).len, 0);
	refuses(w->a, member(w->key[0], w->device[1], 1), "not known yet");
	refuses(w->a, authority_says(w, 1), "another authority");
	struct said first = authority_says(w, 0);
	takes(w->a, first, true);
	takes(w->a, first, false);
	assert_true(bytes_equal(authority_statement(w->a), bytes_of(&first)));
	assert_memory_equal(
	    authority_key(w->a), device_key_public(w->key[0]), sizeof(struct public_key));
	assert_true(device_id_equal(authority_id(w->a), device_key_id(w->key[0])));
	refuses(w->a, member(w->stranger, w->device[1], 1), "not this authority's");
	refuses(w->a, authority_says(w, 1), "another authority");
	/* a statement in the authority's name that it did not sign */
	struct said forged = member(w->stranger, w->device[1], 1);
	memcpy(forged.at + 2, device_key_id(w->key[0]), DEVICE_ID_BYTES);
	refuses(w->a, forged, "does not match");
	assert_member(w, 1, false);
}

static void
a_thief_of_the_key_cannot_name_another_recovery_key(void **state)
{
	struct world *w = *state;
	struct statement s = { .kind = STATEMENT_AUTHORITY,
		.key = *device_key_public(w->key[0]),
		.recovery = *device_key_public(w->stranger) };

	takes(w->a, authority_says(w, 0), true);
	refuses(w->a, say(w->key[0], s), "another recovery key");
	s.recovery = (struct public_key){ 0 };
	refuses(w->a, say(w->key[0], s), "another recovery key");
	/* the same, signed again, is nothing new */
	takes(w->a, authority_says(w, 0), false);
}

static void
a_member_is_one_until_its_time_is_over(void **state)
{
	struct world *w = *state;
	struct said m = member(w->key[0], w->device[1], 1);
	struct statement s = m.s;
	const struct device_id *id = device_key_id(w->device[1]);

	takes(w->a, authority_says(w, 0), true);
	assert_member(w, 1, false);
	takes(w->a, m, true);
	takes(w->a, m, false);
	assert_member(w, 1, true);
	assert_member(w, 2, false);
	assert_true(bytes_equal(authority_member(w->a, id), bytes_of(&m)));
	assert_ok(authority_check_member(w->a, id, STATEMENT_TIME_MAX, &unit_error));
	s.issued_s++;
	s.expires_s = NOW + HOUR;
	takes(w->a, say(w->key[0], s), true);
	assert_ok(authority_check_member(w->a, id, NOW + HOUR - 1, &unit_error));
	assert_err(ERR_DENIED, authority_check_member(w->a, id, NOW + HOUR, &unit_error));
	assert_non_null(strstr(unit_error.text, "expired"));
}

static void
rights_include_the_lesser_ones_and_stay_with_their_share(void **state)
{
	struct world *w = *state;

	takes(w->a, authority_says(w, 0), true);
	takes(w->a, grant(w->key[0], w->device[0], w->share[0], RIGHT_READ, 1), true);
	takes(w->a, grant(w->key[0], w->device[1], w->share[0], RIGHT_WRITE, 1), true);
	takes(w->a, grant(w->key[0], w->device[2], w->share[0], RIGHT_ADMIN, 1), true);
	assert_rights(w, 0, 0, RIGHT_READ);
	assert_rights(w, 1, 0, RIGHT_READ | RIGHT_WRITE);
	assert_rights(w, 2, 0, RIGHT_READ | RIGHT_WRITE | RIGHT_ADMIN);
	for (size_t i = 0; i < DEVICES; i++)
		assert_rights(w, i, 1, 0);
	const struct device_id *id = device_key_id(w->device[0]);
	assert_err(ERR_DENIED, authority_check_grant(w->a, id, &w->share[0], RIGHT_READ,
				   NOW + 24 * HOUR, &unit_error));
}

static void
the_newer_of_two_grants_counts_in_either_order(void **state)
{
	struct world *w = *state;
	struct said wide = grant(w->key[0], w->device[1], w->share[0], RIGHT_WRITE, 1);
	struct statement s = wide.s;

	s.rights = RIGHT_READ;
	s.issued_s++;
	struct said narrow = say(w->key[0], s);
	takes(w->a, authority_says(w, 0), true);
	takes(w->a, wide, true);
	assert_rights(w, 1, 0, RIGHT_READ | RIGHT_WRITE);
	takes(w->a, narrow, true);
	assert_rights(w, 1, 0, RIGHT_READ);
	takes(w->a, wide, false);
	assert_rights(w, 1, 0, RIGHT_READ);
	/* a higher epoch is newer than a later time */
	s.epoch = 2;
	s.rights = RIGHT_ADMIN;
	s.issued_s = NOW - HOUR;
	takes(w->a, say(w->key[0], s), true);
	assert_rights(w, 1, 0, RIGHT_READ | RIGHT_WRITE | RIGHT_ADMIN);
	/* what is newer but over counts: it does not fall back to the older one */
	s.epoch = 3;
	s.expires_s = NOW - 1;
	takes(w->a, say(w->key[0], s), true);
	assert_rights(w, 1, 0, 0);
}

static void
what_is_stamped_counts_whatever_the_clock_says(void **state)
{
	struct world *w = *state;
	static const int64_t clock[] = { NOW, NOW, NOW, NOW - 48 * HOUR, NOW + 1, NOW + HOUR };

	takes(w->a, authority_says(w, 0), true);
	takes(w->a, revocation(w->key[0], w->device[2], NULL, 4), true);
	for (size_t i = 0; i < lengthof(clock); i++) {
		struct statement s = grant(w->key[0], w->device[1], w->share[0], RIGHT_READ, 1).s;
		s.epoch = 0;
		s.rights = 1u << i % 3;
		s.expires_s = clock[i] + HOUR;
		authority_stamp(w->a, &s, clock[i]);
		assert_int_equal(s.epoch, 4);
		assert_int_equal(s.expires_s - s.issued_s, HOUR);
		assert_true(s.issued_s >= clock[i]);
		takes(w->a, say(w->key[0], s), true);
	}
	/* what nothing is known of is issued now; a given epoch stays */
	struct statement other = revocation(w->key[0], w->device[0], NULL, 5).s;
	authority_stamp(w->a, &other, NOW - HOUR);
	assert_int_equal(other.issued_s, NOW - HOUR);
	assert_int_equal(other.epoch, 5);
}

static void
a_revocation_ends_what_is_older_and_nothing_else(void **state)
{
	struct world *w = *state;
	struct said m1 = member(w->key[0], w->device[1], 1),
		    g1 = grant(w->key[0], w->device[1], w->share[0], RIGHT_READ, 1);

	takes(w->a, authority_says(w, 0), true);
	takes(w->a, m1, true);
	takes(w->a, g1, true);
	takes(w->a, grant(w->key[0], w->device[1], w->share[1], RIGHT_READ, 1), true);
	takes(w->a, member(w->key[0], w->device[2], 1), true);
	/* one grant */
	takes(w->a, revocation(w->key[0], w->device[1], &w->share[0], 2), true);
	assert_int_equal(authority_epoch(w->a), 2);
	assert_rights(w, 1, 0, 0);
	assert_rights(w, 1, 1, RIGHT_READ);
	assert_member(w, 1, true);
	refuses(w->a, g1, "revoked at epoch 2");
	takes(w->a, grant(w->key[0], w->device[1], w->share[0], RIGHT_READ, 2), true);
	assert_rights(w, 1, 0, RIGHT_READ);
	/* the membership, and with it all grants */
	takes(w->a, revocation(w->key[0], w->device[1], NULL, 5), true);
	assert_member(w, 1, false);
	assert_rights(w, 1, 0, 0);
	assert_rights(w, 1, 1, 0);
	assert_member(w, 2, true);
	refuses(w->a, m1, "revoked at epoch 5");
	assert_err(ERR_DENIED,
	    authority_check_member(w->a, device_key_id(w->device[1]), NOW, &unit_error));
	assert_non_null(strstr(unit_error.text, "revoked"));
	/* an older revocation changes nothing; at its epoch the device may come back */
	takes(w->a, revocation(w->key[0], w->device[1], NULL, 4), false);
	takes(w->a, member(w->key[0], w->device[1], 5), true);
	assert_member(w, 1, true);
	assert_int_equal(authority_epoch(w->a), 5);
}

static void
a_revocation_that_comes_first_holds(void **state)
{
	struct world *w = *state;

	takes(w->a, authority_says(w, 0), true);
	takes(w->a, revocation(w->key[0], w->device[1], NULL, 3), true);
	refuses(w->a, member(w->key[0], w->device[1], 2), "revoked");
	refuses(w->a, grant(w->key[0], w->device[1], w->share[0], RIGHT_READ, 2), "revoked");
	takes(w->a, member(w->key[0], w->device[1], 3), true);
	assert_member(w, 1, true);
}

static void
the_head_with_the_highest_number_counts(void **state)
{
	struct world *w = *state;
	struct statement s;

	takes(w->a, authority_says(w, 0), true);
	assert_false(authority_head(w->a, &w->share[0], &s));
	takes(w->a, head(w->key[0], w->share[0], 2, 1), true);
	takes(w->a, head(w->key[0], w->share[0], 1, 1), false);
	takes(w->a, head(w->key[0], w->share[1], 9, 1), true);
	assert_true(authority_head(w->a, &w->share[0], &s));
	assert_int_equal(s.number, 2);
	takes(w->a, head(w->key[0], w->share[0], 3, 2), true);
	assert_true(authority_head(w->a, &w->share[0], &s));
	assert_int_equal(s.number, 3);
	/* by number, not by its bytes or by the time */
	struct said late = head(w->key[0], w->share[1], 255, 1);
	late.s.issued_s++;
	takes(w->a, head(w->key[0], w->share[1], 256, 1), true);
	takes(w->a, say(w->key[0], late.s), false);
	assert_true(authority_head(w->a, &w->share[1], &s));
	assert_int_equal(s.number, 256);
}

static void
a_share_is_found_by_the_hash_of_its_body(void **state)
{
	struct world *w = *state;
	struct said x = share(w->key[0], "plans", 1);
	struct hash_id id = statement_share_id(bytes_of(&x));

	takes(w->a, authority_says(w, 0), true);
	assert_int_equal(authority_share(w->a, &id).len, 0);
	takes(w->a, x, true);
	assert_true(bytes_equal(authority_share(w->a, &id), bytes_of(&x)));
	assert_int_equal(authority_share(w->a, &w->share[0]).len, 0);
}

static void
a_promotion_keeps_what_was_and_refuses_what_the_old_key_says_later(void **state)
{
	struct world *w = *state;

	takes(w->a, authority_says(w, 0), true);
	takes(w->a, member(w->key[0], w->device[1], 3), true);
	takes(w->a, grant(w->key[0], w->device[1], w->share[0], RIGHT_WRITE, 3), true);
	takes(w->a, member(w->key[0], w->device[2], 5), true);
	refuses(w->a, member(w->key[1], w->device[2], 4), "not this authority's");
	takes(w->a, successor(w, 0, 1, w->key[0], 4), true);
	assert_memory_equal(
	    authority_key(w->a), device_key_public(w->key[1]), sizeof(struct public_key));
	assert_true(device_id_equal(authority_id(w->a), device_key_id(w->key[0])));
	assert_member(w, 1, true);
	assert_rights(w, 1, 0, RIGHT_WRITE | RIGHT_READ);
	assert_member(w, 2, false); /* said for an epoch that is the new key's */
	refuses(w->a, member(w->key[0], w->device[2], 4), "replaced at 4");
	refuses(w->a, revocation(w->key[0], w->device[1], NULL, 9), "replaced at 4");
	refuses(w->a, head(w->key[0], w->share[0], 1, 4), "replaced at 4");
	refuses(w->a, share(w->key[0], "late", 4), "replaced at 4");
	refuses(w->a, member(w->key[1], w->device[2], 3), "holds from 4");
	takes(w->a, member(w->key[1], w->device[2], 4), true);
	assert_member(w, 2, true);
	takes(w->a, revocation(w->key[1], w->device[1], NULL, 5), true);
	assert_member(w, 1, false);
	/* its own statement may be shown around too */
	takes(w->a, authority_says(w, 1), false);
	assert_int_equal(authority_epoch(w->a), 5);
}

static void
the_recovery_key_moves_trust_and_can_do_nothing_else(void **state)
{
	struct world *w = *state;
	struct said s = share(w->key[0], "plans", 2);
	struct hash_id id = statement_share_id(bytes_of(&s));
	struct statement h;

	takes(w->a, authority_says(w, 0), true);
	takes(w->a, member(w->key[0], w->device[1], 2), true);
	takes(w->a, grant(w->key[0], w->device[1], w->share[0], RIGHT_READ, 2), true);
	takes(w->a, head(w->key[0], w->share[0], 1, 2), true);
	takes(w->a, s, true);
	refuses(w->a, member(w->recovery[0], w->device[2], 3), "not this authority's");
	refuses(w->a, successor(w, 0, 1, w->stranger, 3), "does not match");
	refuses(w->a, successor(w, 0, 1, w->recovery[1], 3), "does not match");
	takes(w->a, successor(w, 0, 1, w->recovery[0], 3), true);
	assert_memory_equal(
	    authority_key(w->a), device_key_public(w->key[1]), sizeof(struct public_key));
	/* what the lost key said may be a thief's, dated back: only the shares stay */
	assert_member(w, 1, false);
	assert_rights(w, 1, 0, 0);
	assert_false(authority_head(w->a, &w->share[0], &h));
	assert_true(authority_share(w->a, &id).len > 0);
	refuses(w->a, member(w->key[0], w->device[2], 1), "lost");
	refuses(w->a, member(w->key[0], w->device[2], 3), "replaced at 3");
	takes(w->a, share(w->key[0], "older", 1), true);
	takes(w->a, member(w->key[1], w->device[1], 3), true);
	assert_member(w, 1, true);
}

static void
the_recovery_key_overrules_a_thief_who_handed_the_key_on(void **state)
{
	struct world *w = *state;

	takes(w->a, authority_says(w, 0), true);
	takes(w->a, successor(w, 0, 1, w->key[0], 2), true); /* the thief's */
	takes(w->a, member(w->key[1], w->device[2], 100), true);
	takes(w->a, successor(w, 1, 2, w->key[1], 200), true);
	assert_int_equal(authority_epoch(w->a), 200);
	takes(w->a, successor(w, 0, 3, w->recovery[0], 7), true);
	assert_memory_equal(
	    authority_key(w->a), device_key_public(w->key[3]), sizeof(struct public_key));
	assert_int_equal(authority_epoch(w->a), 7);
	assert_member(w, 2, false);
	refuses(w->a, successor(w, 0, 1, w->key[0], 2), "already been replaced");
	refuses(w->a, member(w->key[1], w->device[2], 100), "not this authority's");
	refuses(w->a, successor(w, 1, 2, w->key[1], 200), "not this authority's");
	takes(w->a, member(w->key[3], w->device[2], 7), true);
	assert_member(w, 2, true);
}

static void
trust_passes_along_several_successors(void **state)
{
	struct world *w = *state;

	takes(w->a, authority_says(w, 0), true);
	refuses(w->a, successor(w, 1, 2, w->key[1], 20), "not this authority's");
	takes(w->a, successor(w, 0, 1, w->key[0], 10), true);
	takes(w->a, successor(w, 1, 2, w->recovery[1], 20), true);
	takes(w->a, successor(w, 2, 3, w->key[2], 30), true);
	assert_memory_equal(
	    authority_key(w->a), device_key_public(w->key[3]), sizeof(struct public_key));
	refuses(w->a, member(w->key[0], w->device[1], 5), "lost");
	refuses(w->a, member(w->key[1], w->device[1], 15), "lost");
	takes(w->a, member(w->key[2], w->device[1], 25), true);
	takes(w->a, member(w->key[3], w->device[2], 30), true);
	assert_member(w, 1, true);
	assert_member(w, 2, true);
	refuses(w->a, successor(w, 3, 1, w->key[3], 40), "brings back");
	refuses(w->a, successor(w, 3, 0, w->recovery[3], 40), "brings back");
	/* a recovery key is of no use once its key has a successor by recovery, nor that of an
	 * earlier key */
	refuses(w->a, successor(w, 3, 1, w->recovery[0], 40), "brings back");
	struct said late = say(w->recovery[2], (struct statement){ .kind = STATEMENT_SUCCESSOR,
						   .epoch = 40,
						   .authority = *device_key_id(w->key[3]),
						   .key = *device_key_public(w->stranger) });
	refuses(w->a, late, "does not match");
}

static void
a_key_is_replaced_once_and_not_before_its_time(void **state)
{
	struct world *w = *state;
	struct said first = successor(w, 0, 1, w->key[0], 10);

	takes(w->a, authority_says(w, 0), true);
	refuses(w->a, successor(w, 0, 1, w->key[0], 0), "before that key's first epoch");
	takes(w->a, first, true);
	takes(w->a, first, false);
	refuses(w->a, successor(w, 0, 2, w->key[0], 11), "already been replaced");
	refuses(w->a, successor(w, 1, 2, w->key[1], 10), "before that key's first epoch");
	/* of two the lower epoch counts, whichever came first */
	takes(w->a, successor(w, 0, 2, w->key[0], 9), true);
	assert_memory_equal(
	    authority_key(w->a), device_key_public(w->key[2]), sizeof(struct public_key));
	refuses(w->a, first, "already been replaced");
}

static void
without_a_recovery_key_there_is_no_recovery(void **state)
{
	struct world *w = *state;
	struct said bare = say(w->key[0], (struct statement){ .kind = STATEMENT_AUTHORITY,
					      .key = *device_key_public(w->key[0]) });

	takes(w->a, bare, true);
	refuses(w->a, successor(w, 0, 1, w->recovery[0], 3), "does not match");
	takes(w->a, successor(w, 0, 1, w->key[0], 3), true);
}

static void
there_is_an_end_to_successions(void **state)
{
	struct world *w = *state;
	struct device_key *last = w->key[0];
	ARRAY(struct device_key *) made = { 0 };
	enum err r = OK;

	takes(w->a, authority_says(w, 0), true);
	for (uint64_t i = 1; i < 100 && r == OK; i++) {
		struct device_key *next = new_key();
		struct said x = say(last,
		    (struct statement){
			.kind = STATEMENT_SUCCESSOR, .epoch = i, .key = *device_key_public(next) });
		r = authority_accept(w->a, bytes_of(&x), NULL, NULL);
		array_push(&made, next);
		last = next;
	}
	assert_int_equal(r, ERR_LIMIT);
	assert_int_equal(made.len, 64);
	array_each (k, &made)
		device_key_free(*k);
	array_clear(&made);
}

static void
malformed_bytes_are_refused_before_anything_else(void **state)
{
	struct world *w = *state;
	static const uint8_t huge[STATEMENT_MAX + 1];

	assert_err(ERR_PROTO, authority_accept(w->a, BYTES(NULL, 0), NULL, &unit_error));
	assert_err(ERR_PROTO, authority_accept(w->a, BYTES_LIT("statement"), NULL, &unit_error));
	assert_err(ERR_LIMIT, authority_accept(w->a, BYTES(huge, sizeof huge), NULL, &unit_error));
	assert_null(authority_key(w->a));
}

/* any set in any order */

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

	switch (rng_below(r, 10)) {
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

static void
count_statement(void *ctx, struct bytes b, const struct statement *s)
{
	size_t *by_kind = ctx;

	assert_true(b.len > 0);
	by_kind[s->kind]++;
}

static void
each_shows_what_is_in_force_of_the_kind_asked_for(void **state)
{
	struct world *w = *state;
	size_t n[STATEMENT_SUCCESSOR + 1] = { 0 }, all[STATEMENT_SUCCESSOR + 1] = { 0 };

	takes(w->a, authority_says(w, 0), true);
	takes(w->a, member(w->key[0], w->device[1], 1), true);
	takes(w->a, member(w->key[0], w->device[2], 1), true);
	takes(w->a, grant(w->key[0], w->device[1], w->share[0], RIGHT_READ, 1), true);
	takes(w->a, grant(w->key[0], w->device[2], w->share[0], RIGHT_READ, 1), true);
	takes(w->a, revocation(w->key[0], w->device[2], NULL, 2), true);
	authority_each(w->a, STATEMENT_MEMBER, count_statement, n);
	assert_int_equal(n[STATEMENT_MEMBER], 1);
	assert_int_equal(n[STATEMENT_GRANT] + n[STATEMENT_REVOKE] + n[STATEMENT_AUTHORITY], 0);
	authority_each(w->a, 0, count_statement, all);
	assert_int_equal(all[STATEMENT_AUTHORITY], 1);
	assert_int_equal(all[STATEMENT_MEMBER], 1);
	assert_int_equal(all[STATEMENT_GRANT], 1);
	assert_int_equal(all[STATEMENT_REVOKE], 1);
}

int
main(void)
{
#define BOTH(test)                                                                                 \
	{ #test " [server]", test, make_server, free_world, NULL },                                \
	{                                                                                          \
#test " [founder]", test, make_founder, free_world, NULL                           \
	}
	const struct CMUnitTest tests[] = {
		BOTH(trust_begins_with_the_pinned_key_only),
		BOTH(a_thief_of_the_key_cannot_name_another_recovery_key),
		BOTH(a_member_is_one_until_its_time_is_over),
		BOTH(rights_include_the_lesser_ones_and_stay_with_their_share),
		BOTH(the_newer_of_two_grants_counts_in_either_order),
		BOTH(what_is_stamped_counts_whatever_the_clock_says),
		BOTH(a_revocation_ends_what_is_older_and_nothing_else),
		BOTH(a_revocation_that_comes_first_holds),
		BOTH(the_head_with_the_highest_number_counts),
		BOTH(a_share_is_found_by_the_hash_of_its_body),
		BOTH(a_promotion_keeps_what_was_and_refuses_what_the_old_key_says_later),
		BOTH(the_recovery_key_moves_trust_and_can_do_nothing_else),
		BOTH(the_recovery_key_overrules_a_thief_who_handed_the_key_on),
		BOTH(trust_passes_along_several_successors),
		BOTH(a_key_is_replaced_once_and_not_before_its_time),
		BOTH(without_a_recovery_key_there_is_no_recovery),
		BOTH(there_is_an_end_to_successions),
		BOTH(malformed_bytes_are_refused_before_anything_else),
		BOTH(any_order_ends_in_what_the_rules_say),
		BOTH(while_the_keys_stay_one_round_is_enough),
		BOTH(what_is_persisted_restores_the_state),
		BOTH(each_shows_what_is_in_force_of_the_kind_asked_for),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
