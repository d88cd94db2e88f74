/* Who speaks for an authority after its first key: promotion, recovery, thieves. */
#include "crypto/test_authority_world.h"

static void
a_policy_outlasts_a_promotion_and_not_a_recovery(void **state)
{
	struct world *w = *state;
	struct said x = share(w->key[0], "plans", 1);
	struct hash_id id = statement_share_id(bytes_of(&x));

	takes(w->a, authority_says(w, 0), true);
	takes(w->a, x, true);
	takes(w->a, policy(w->key[0], id, POLICY_CENTRAL, 2), true);
	takes(w->a, successor(w, 0, 1, w->key[0], 3), true);
	assert_int_equal(authority_policy(w->a, &id), POLICY_CENTRAL);
	refuses(w->a, policy(w->key[0], id, POLICY_HYBRID, 3), "replaced at 3");
	takes(w->a, successor(w, 1, 2, w->recovery[1], 4), true);
	/* what the lost key said is void; what the share began with is not */
	assert_int_equal(authority_policy(w->a, &id), POLICY_HYBRID);
	assert_int_equal(authority_policy_statement(w->a, &id).len, 0);
	takes(w->a, policy(w->key[2], id, POLICY_CENTRAL, 4), true);
	assert_int_equal(authority_policy(w->a, &id), POLICY_CENTRAL);
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

int
main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(a_policy_outlasts_a_promotion_and_not_a_recovery),
		BOTH(a_promotion_keeps_what_was_and_refuses_what_the_old_key_says_later),
		BOTH(the_recovery_key_moves_trust_and_can_do_nothing_else),
		BOTH(the_recovery_key_overrules_a_thief_who_handed_the_key_on),
		BOTH(trust_passes_along_several_successors),
		BOTH(a_key_is_replaced_once_and_not_before_its_time),
		BOTH(without_a_recovery_key_there_is_no_recovery),
		BOTH(there_is_an_end_to_successions),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
