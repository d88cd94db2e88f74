/*
 * test_authority_world: an authority, its members and what it may say, for the tests of authority.
 *
 * Every test runs twice: with an authority key that is nothing else (a server's), and with one that
 * is also a member's device key (a founder's).
 */
#pragma once

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

static inline struct device_key *
new_key(void)
{
	struct device_key *k = NULL;

	assert_ok(device_key_generate(&k, &unit_error));
	return k;
}

static inline int
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

static inline int
make_server(void **state)
{
	return make_world(state, false);
}

static inline int
make_founder(void **state)
{
	return make_world(state, true);
}

static inline int
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

static inline struct bytes
bytes_of(const struct said *x)
{
	return BYTES(x->at, x->len);
}

static inline struct said
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

static inline struct said
authority_says(const struct world *w, size_t i)
{
	return say(w->key[i], (struct statement){ .kind = STATEMENT_AUTHORITY,
				  .key = *device_key_public(w->key[i]),
				  .recovery = *device_key_public(w->recovery[i]) });
}

/* key[TO] follows key[FROM], signed by BY */
static inline struct said
successor(
    const struct world *w, size_t from, size_t to, const struct device_key *by, uint64_t epoch)
{
	return say(by, (struct statement){ .kind = STATEMENT_SUCCESSOR,
			   .authority = *device_key_id(w->key[from]),
			   .epoch = epoch,
			   .key = *device_key_public(w->key[to]),
			   .recovery = *device_key_public(w->recovery[to]) });
}

static inline struct said
member(const struct device_key *by, const struct device_key *who, uint64_t epoch)
{
	return say(by, (struct statement){ .kind = STATEMENT_MEMBER,
			   .epoch = epoch,
			   .device = *device_key_id(who),
			   .name = "laptop" });
}

static inline struct said
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

static inline struct said
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

static inline struct said
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

static inline struct said
share(const struct device_key *by, const char *name, uint64_t epoch)
{
	struct statement s = {
		.kind = STATEMENT_SHARE, .epoch = epoch, .policy = POLICY_HYBRID, .nonce = { 1 }
	};

	snprintf(s.name, sizeof s.name, "%s", name);
	return say(by, s);
}

static inline struct said
policy(const struct device_key *by, struct hash_id about, enum share_policy p, uint64_t epoch)
{
	return say(by, (struct statement){
			   .kind = STATEMENT_POLICY, .epoch = epoch, .share = about, .policy = p });
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

static inline void
assert_member(const struct world *w, size_t device, bool want)
{
	const struct device_id *id = device_key_id(w->device[device]);

	assert_err(want ? OK : ERR_DENIED, authority_check_member(w->a, id, NOW, &unit_error));
	assert_int_equal(authority_member(w->a, id).len > 0, want);
}

static inline void
assert_rights(const struct world *w, size_t device, size_t share_no, uint32_t rights)
{
	const struct device_id *id = device_key_id(w->device[device]);

	for (uint32_t r = RIGHT_READ; r <= RIGHT_ADMIN; r <<= 1)
		assert_err((rights & r) != 0 ? OK : ERR_DENIED,
		    authority_check_grant(w->a, id, &w->share[share_no], r, NOW, &unit_error));
}

/* A row of the tests: with either kind of key. */
#define BOTH(test)                                                                                 \
	{ #test " [server]", test, make_server, free_world, NULL },                                \
	{                                                                                          \
#test " [founder]", test, make_founder, free_world, NULL                           \
	}
