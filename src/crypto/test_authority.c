/* What an authority says about members, rights, heads and shares, one by one. */
#include "crypto/test_authority_world.h"

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
	/* everybody's on one share */
	struct said all = revocation(w->key[0], w->device[1], &w->share[0], 3);
	memset(&all.s.device, 0, sizeof all.s.device);
	all = say(w->key[0], all.s);
	takes(w->a, grant(w->key[0], w->device[2], w->share[0], RIGHT_READ, 3), true);
	takes(w->a, all, true);
	assert_rights(w, 1, 0, 0);
	assert_rights(w, 1, 1, RIGHT_READ);
	assert_rights(w, 2, 0, RIGHT_READ); /* at its epoch */
	assert_member(w, 1, true);
	refuses(w->a, grant(w->key[0], w->device[1], w->share[0], RIGHT_READ, 2), "at epoch 3");
	takes(w->a, grant(w->key[0], w->device[1], w->share[0], RIGHT_READ, 3), true);
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
malformed_bytes_are_refused_before_anything_else(void **state)
{
	struct world *w = *state;
	static const uint8_t huge[STATEMENT_MAX + 1];

	assert_err(ERR_PROTO, authority_accept(w->a, BYTES(NULL, 0), NULL, &unit_error));
	assert_err(ERR_PROTO, authority_accept(w->a, BYTES_LIT("statement"), NULL, &unit_error));
	assert_err(ERR_LIMIT, authority_accept(w->a, BYTES(huge, sizeof huge), NULL, &unit_error));
	assert_null(authority_key(w->a));
}

static void
the_newest_word_on_a_policy_counts(void **state)
{
	struct world *w = *state;
	struct said x = share(w->key[0], "plans", 1);
	struct hash_id id = statement_share_id(bytes_of(&x));
	struct said second = policy(w->key[0], id, POLICY_CENTRAL, 1), third = second;

	third.s.policy = POLICY_HYBRID;
	third.s.issued_s++;
	third = say(w->key[0], third.s);
	takes(w->a, authority_says(w, 0), true);
	assert_int_equal(authority_policy(w->a, &id), 0);
	refuses(w->a, policy(w->stranger, id, POLICY_HYBRID, 9), "not this authority's");
	takes(w->a, x, true);
	assert_int_equal(authority_policy(w->a, &id), POLICY_HYBRID);
	assert_int_equal(authority_policy_statement(w->a, &id).len, 0);
	takes(w->a, second, true);
	assert_int_equal(authority_policy(w->a, &id), POLICY_CENTRAL);
	takes(w->a, third, true);
	takes(w->a, second, false);
	takes(w->a, x, false);
	assert_int_equal(authority_policy(w->a, &id), POLICY_HYBRID);
	assert_true(bytes_equal(authority_policy_statement(w->a, &id), bytes_of(&third)));
	assert_int_equal(authority_policy(w->a, &w->share[0]), 0);
	/* a stamp makes it the newest, a higher epoch does too; revocations do not touch it */
	struct statement s = second.s;
	s.epoch = 0;
	authority_stamp(w->a, &s, NOW);
	takes(w->a, say(w->key[0], s), true);
	assert_int_equal(authority_policy(w->a, &id), POLICY_CENTRAL);
	takes(w->a, policy(w->key[0], id, POLICY_HYBRID, 2), true);
	takes(w->a, revocation(w->key[0], w->device[1], &id, 7), true);
	assert_int_equal(authority_policy(w->a, &id), POLICY_HYBRID);
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
	size_t n[STATEMENT_POLICY + 1] = { 0 }, all[STATEMENT_POLICY + 1] = { 0 };

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
		BOTH(the_newest_word_on_a_policy_counts),
		BOTH(malformed_bytes_are_refused_before_anything_else),
		BOTH(each_shows_what_is_in_force_of_the_kind_asked_for),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
