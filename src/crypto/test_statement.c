/* usage: test_statement FILE   (tests/vectors/statement.txt) */
#include "tests/unit.h"

#include "base/mem.h"
#include "base/text.h"
#include "crypto/random.h"
#include "crypto/statement.h"

#define KINDS STATEMENT_POLICY

static struct device_key *keys[3]; /* authority, recovery, other */
static const char *vectors;

static int
make_keys(void **state)
{
	(void)state;
	for (size_t i = 0; i < lengthof(keys); i++)
		assert_ok(device_key_generate(&keys[i], &unit_error));
	return 0;
}

static int
free_keys(void **state)
{
	(void)state;
	for (size_t i = 0; i < lengthof(keys); i++)
		device_key_free(keys[i]);
	return 0;
}

/* A good statement of each kind, unsigned. */
static struct statement
example(enum statement_kind kind)
{
	struct statement s = { .kind = kind, .epoch = 7, .issued_s = 1700000000 };

	switch (kind) {
	case STATEMENT_AUTHORITY:
		s.key = *device_key_public(keys[0]);
		s.recovery = *device_key_public(keys[1]);
		break;
	case STATEMENT_SUCCESSOR:
		s.key = *device_key_public(keys[2]);
		s.recovery = *device_key_public(keys[1]);
		break;
	case STATEMENT_SHARE:
		random_fill(s.nonce, sizeof s.nonce);
		s.policy = POLICY_HYBRID;
		snprintf(s.name, sizeof s.name, "plans");
		break;
	case STATEMENT_MEMBER:
		s.device = *device_key_id(keys[2]);
		s.expires_s = 1800000000;
		snprintf(s.name, sizeof s.name, "b\xc3\xbcro 7");
		snprintf(s.site, sizeof s.site, "Oslo");
		break;
	case STATEMENT_GRANT:
		s.device = *device_key_id(keys[2]);
		s.expires_s = 1700000000 + STATEMENT_GRANT_SECONDS;
		hash_object(HASH_DEFAULT, HASH_SHARE, BYTES_LIT("x"), &s.share);
		s.rights = RIGHT_READ | RIGHT_WRITE;
		break;
	case STATEMENT_REVOKE:
		s.device = *device_key_id(keys[2]);
		break;
	case STATEMENT_HEAD:
		hash_object(HASH_DEFAULT, HASH_SHARE, BYTES_LIT("x"), &s.share);
		hash_object(HASH_DEFAULT, HASH_COMMIT, BYTES_LIT("y"), &s.commit);
		hash_object(HASH_DEFAULT, HASH_STATEMENT, BYTES_LIT("z"), &s.previous);
		s.number = 5;
		break;
	case STATEMENT_POLICY:
		hash_object(HASH_DEFAULT, HASH_SHARE, BYTES_LIT("x"), &s.share);
		s.policy = POLICY_CENTRAL;
		break;
	}
	return s;
}

static void
every_kind_decodes_to_what_was_signed(void **state)
{
	(void)state;
	for (unsigned kind = 1; kind <= KINDS; kind++) {
		auto_buf struct buf b = BUF(STATEMENT_MAX), again = BUF(STATEMENT_MAX);
		struct statement s = example(kind), back;
		assert_ok(statement_sign(&s, keys[0], &b, &unit_error));
		assert_true(device_id_equal(&s.authority, device_key_id(keys[0])));
		assert_ok(statement_decode(buf_bytes(&b), &back, &unit_error));
		assert_memory_equal(&back, &s, sizeof s);
		assert_ok(statement_verify(
		    buf_bytes(&b), &back, device_key_public(keys[0]), &unit_error));
		statement_encode(&again, &back);
		assert_true(bytes_equal(buf_bytes(&b), buf_bytes(&again)));
		struct hash_id id;
		hash_object(HASH_DEFAULT, HASH_STATEMENT, buf_bytes(&b), &id);
		assert_true(hash_id_equal(&id, &back.id));
		assert_string_not_equal(statement_kind_name(kind), "?");
	}
}

/* The layout, byte by byte, as docs/format-statement.md has it. */
static void
a_grant_has_the_layout_of_the_format_document(void **state)
{
	(void)state;
	auto_buf struct buf b = BUF(STATEMENT_MAX), want = BUF(STATEMENT_MAX);
	struct statement s = example(STATEMENT_GRANT);

	assert_ok(statement_sign(&s, keys[0], &b, &unit_error));
	buf_u8(&want, 1);
	buf_u8(&want, 4);
	buf_add(&want, device_key_id(keys[0]), 32);
	buf_u64(&want, 7);
	buf_u64(&want, 1700000000);
	buf_u64(&want, 1700086400);
	buf_add(&want, device_key_id(keys[2]), 32);
	hash_id_encode(&want, &s.share);
	buf_u32(&want, 3);
	assert_int_equal(b.len, want.len + 66);
	assert_memory_equal(b.at, want.at, want.len);
}

static void
a_policy_has_the_layout_of_the_format_document(void **state)
{
	(void)state;
	auto_buf struct buf b = BUF(STATEMENT_MAX), want = BUF(STATEMENT_MAX);
	struct statement s = example(STATEMENT_POLICY);

	assert_ok(statement_sign(&s, keys[0], &b, &unit_error));
	buf_u8(&want, 1);
	buf_u8(&want, 8);
	buf_add(&want, device_key_id(keys[0]), 32);
	buf_u64(&want, 7);
	buf_u64(&want, 1700000000);
	buf_u64(&want, 0);
	hash_id_encode(&want, &s.share);
	buf_u8(&want, 1);
	assert_int_equal(b.len, want.len + 66);
	assert_memory_equal(b.at, want.at, want.len);
}

static void
no_truncation_and_no_extension_decodes(void **state)
{
	(void)state;
	for (unsigned kind = 1; kind <= KINDS; kind++) {
		auto_buf struct buf b = BUF(STATEMENT_MAX + 1);
		struct statement s = example(kind), back = { 0 }, zero = { 0 };
		assert_ok(statement_sign(&s, keys[0], &b, &unit_error));
		for (size_t n = 0; n < b.len; n++) {
			auto_free uint8_t *exact = mem_dup(b.at, n);
			assert_err(
			    ERR_PROTO, statement_decode(BYTES(exact, n), &back, &unit_error));
		}
		buf_u8(&b, 0);
		assert_err(ERR_PROTO, statement_decode(buf_bytes(&b), &back, &unit_error));
		while (b.len <= STATEMENT_MAX)
			buf_u8(&b, 0);
		assert_err(ERR_LIMIT, statement_decode(buf_bytes(&b), &back, &unit_error));
		assert_memory_equal(&back, &zero, sizeof back);
	}
}

static void
no_changed_byte_goes_unnoticed(void **state)
{
	(void)state;
	for (unsigned kind = 1; kind <= KINDS; kind++) {
		auto_buf struct buf b = BUF(STATEMENT_MAX);
		struct statement s = example(kind), back;
		assert_ok(statement_sign(&s, keys[0], &b, &unit_error));
		for (size_t i = 0; i < b.len; i++) {
			b.at[i] ^= (uint8_t)(1u << i % 8);
			if (statement_decode(buf_bytes(&b), &back, NULL) == OK)
				assert_err(
				    ERR_DENIED, statement_verify(buf_bytes(&b), &back,
						    device_key_public(keys[0]), &unit_error));
			b.at[i] ^= (uint8_t)(1u << i % 8);
		}
	}
}

static void
only_the_signer_verifies(void **state)
{
	(void)state;
	auto_buf struct buf b = BUF(STATEMENT_MAX);
	struct statement s = example(STATEMENT_MEMBER);

	assert_ok(statement_sign(&s, keys[0], &b, &unit_error));
	assert_err(ERR_DENIED,
	    statement_verify(buf_bytes(&b), &s, device_key_public(keys[2]), &unit_error));
	struct public_key none = { 0 };
	assert_err(ERR_DENIED, statement_verify(buf_bytes(&b), &s, &none, &unit_error));
}

static void
a_recovery_key_signs_in_the_name_of_the_authority(void **state)
{
	(void)state;
	auto_buf struct buf b = BUF(STATEMENT_MAX);
	struct statement s = example(STATEMENT_SUCCESSOR);

	s.authority = *device_key_id(keys[0]);
	assert_ok(statement_sign(&s, keys[1], &b, &unit_error));
	assert_true(device_id_equal(&s.authority, device_key_id(keys[0])));
	assert_ok(statement_verify(buf_bytes(&b), &s, device_key_public(keys[1]), &unit_error));
	/* everything else it signs is in its own name */
	struct statement grant = example(STATEMENT_GRANT);
	grant.authority = *device_key_id(keys[0]);
	assert_ok(statement_sign(&grant, keys[1], &b, &unit_error));
	assert_true(device_id_equal(&grant.authority, device_key_id(keys[1])));
}

/* What is wrong in each case, set by a function of its number. */
static const char *
spoil(struct statement *s, int i)
{
	switch (i) {
#define CASE(n, k, what, ...)                                                                      \
	case n:                                                                                    \
		*s = example(k);                                                                   \
		__VA_ARGS__;                                                                       \
		return what
		CASE(0, STATEMENT_GRANT, "kind", s->kind = 0);
		CASE(1, STATEMENT_GRANT, "kind", s->kind = KINDS + 1);
		CASE(2, STATEMENT_GRANT, "epoch", s->epoch = UINT64_MAX);
		CASE(3, STATEMENT_GRANT, "time of issue", s->issued_s = -1);
		CASE(4, STATEMENT_GRANT, "time of issue", s->issued_s = STATEMENT_TIME_MAX + 1);
		CASE(5, STATEMENT_GRANT, "expiry", s->expires_s = s->issued_s);
		CASE(6, STATEMENT_GRANT, "expiry", s->expires_s = -1);
		CASE(7, STATEMENT_GRANT, "expiry", s->expires_s = STATEMENT_TIME_MAX + 1);
		CASE(8, STATEMENT_REVOKE, "expire", s->expires_s = 1800000000);
		CASE(9, STATEMENT_HEAD, "expire", s->expires_s = 1800000000);
		CASE(10, STATEMENT_AUTHORITY, "expire", s->expires_s = 1800000000);
		CASE(11, STATEMENT_GRANT, "rights", s->rights = 0);
		CASE(12, STATEMENT_GRANT, "rights", s->rights = 8);
		CASE(13, STATEMENT_GRANT, "share", s->share.alg = 0);
		CASE(14, STATEMENT_GRANT, "device", memset(&s->device, 0, sizeof s->device));
		CASE(15, STATEMENT_MEMBER, "device", memset(&s->device, 0, sizeof s->device));
		CASE(16, STATEMENT_MEMBER, "name", s->name[0] = 0);
		CASE(17, STATEMENT_MEMBER, "site", s->site[0] = '/');
		CASE(18, STATEMENT_SHARE, "name", s->name[1] = '@');
		CASE(19, STATEMENT_SHARE, "policy", s->policy = 0);
		CASE(20, STATEMENT_SHARE, "policy", s->policy = 4);
		CASE(21, STATEMENT_HEAD, "number", s->number = 0);
		CASE(22, STATEMENT_HEAD, "number", s->number = UINT64_MAX);
		CASE(23, STATEMENT_HEAD, "before", s->number = 1);
		CASE(24, STATEMENT_HEAD, "before", s->previous = (struct hash_id){ 0 });
		CASE(25, STATEMENT_HEAD, "commit", s->commit = (struct hash_id){ 0 });
		CASE(26, STATEMENT_AUTHORITY, "own recovery", s->recovery = s->key);
		CASE(27, STATEMENT_AUTHORITY, "not the authority",
		    s->key = *device_key_public(keys[2]));
		CASE(28, STATEMENT_SUCCESSOR, "succeed itself",
		    s->key = *device_key_public(keys[0]));
		CASE(29, STATEMENT_SUCCESSOR, "no key", s->key = (struct public_key){ 0 });
		CASE(30, STATEMENT_POLICY, "expire", s->expires_s = 1800000000);
		CASE(31, STATEMENT_POLICY, "share", s->share.alg = 0);
		CASE(32, STATEMENT_POLICY, "policy", s->policy = 0);
		CASE(33, STATEMENT_POLICY, "policy", s->policy = 4);
#undef CASE
	default:
		return NULL;
	}
}

static void
fields_against_the_rules_are_neither_signed_nor_decoded(void **state)
{
	(void)state;
	struct statement s, back;
	const char *what;

	for (int i = 0; (what = spoil(&s, i)) != NULL; i++) {
		auto_buf struct buf b = BUF(STATEMENT_MAX);
		assert_err(ERR_PROTO, statement_sign(&s, keys[0], &b, &unit_error));
		if (strstr(unit_error.text, what) == NULL)
			unit_fail("case %d: '%s' says nothing of '%s'", i, unit_error.text, what);
		assert_int_equal(b.len, 0);
		if (s.kind < 1 || s.kind > KINDS)
			continue;
		/* the same fields in bytes, with a well-formed signature */
		struct signature sig;
		assert_ok(device_key_sign(keys[0], "any", BYTES(NULL, 0), &sig, &unit_error));
		s.signature = sig;
		s.authority = *device_key_id(keys[0]);
		statement_encode(&b, &s);
		assert_err(ERR_PROTO, statement_decode(buf_bytes(&b), &back, &unit_error));
	}
}

static void
policies_have_names_both_ways(void **state)
{
	(void)state;
	enum share_policy p = POLICY_CENTRAL;

	assert_string_equal(statement_policy_name(POLICY_CENTRAL), "central");
	assert_string_equal(statement_policy_name(0), "?");
	assert_string_equal(statement_policy_name(POLICY_SERVERLESS + 1), "?");
	assert_true(statement_policy_parse("hybrid", &p));
	assert_int_equal(p, POLICY_HYBRID);
	assert_true(statement_policy_parse("serverless", &p));
	assert_int_equal(p, POLICY_SERVERLESS);
	assert_false(statement_policy_parse("Central", &p));
	assert_false(statement_policy_parse("", &p));
	assert_int_equal(p, POLICY_SERVERLESS);
}

static void
names_are_short_printable_and_no_paths(void **state)
{
	(void)state;
	static const char *const good[] = { "a", "plans 2026", "b\xc3\xbcro", "...", "-x", "a.b",
		"\xe6\x97\xa5" };
	static const char *const bad[] = { "", ".", "..", "a/b", "a@b", "a\nb", "\x7f", "\x1b[2J",
		"\xc2\x85", "\xff", "\xc3", "\xed\xa0\x80" };
	char name[STATEMENT_NAME_MAX + 2];

	for (size_t i = 0; i < lengthof(good); i++)
		if (!statement_name_ok(good[i]))
			unit_fail("'%s' is refused", good[i]);
	for (size_t i = 0; i < lengthof(bad); i++)
		if (statement_name_ok(bad[i]))
			unit_fail("bad name %zu is accepted", i);
	memset(name, 'n', sizeof name);
	name[STATEMENT_NAME_MAX] = 0;
	assert_true(statement_name_ok(name));
	name[STATEMENT_NAME_MAX] = 'n';
	name[STATEMENT_NAME_MAX + 1] = 0;
	assert_false(statement_name_ok(name));
}

static void
a_name_with_a_nul_in_its_bytes_is_malformed(void **state)
{
	(void)state;
	auto_buf struct buf b = BUF(STATEMENT_MAX);
	struct statement s = example(STATEMENT_SHARE), back;

	assert_ok(statement_sign(&s, keys[0], &b, &unit_error));
	uint8_t *at = memmem(b.at, b.len, "plans", 5);
	assert_non_null(at);
	at[2] = 0;
	assert_err(ERR_PROTO, statement_decode(buf_bytes(&b), &back, &unit_error));
}

static void
a_share_is_named_by_its_body_and_not_by_its_signature(void **state)
{
	(void)state;
	auto_buf struct buf a = BUF(STATEMENT_MAX), b = BUF(STATEMENT_MAX), c = BUF(STATEMENT_MAX);
	struct statement s = example(STATEMENT_SHARE), t = example(STATEMENT_SHARE), other;
	struct hash_id want;

	t = s;
	assert_ok(statement_sign(&s, keys[0], &a, &unit_error));
	assert_ok(statement_sign(&t, keys[0], &b, &unit_error));
	assert_false(bytes_equal(buf_bytes(&a), buf_bytes(&b))); /* ECDSA draws a nonce */
	struct hash_id id = statement_share_id(buf_bytes(&a)),
		       twin = statement_share_id(buf_bytes(&b));
	assert_true(hash_id_equal(&id, &twin));
	hash_object(HASH_DEFAULT, HASH_SHARE, BYTES(a.at, a.len - 66), &want);
	assert_true(hash_id_equal(&id, &want));
	other = example(STATEMENT_SHARE); /* another nonce */
	assert_ok(statement_sign(&other, keys[0], &c, &unit_error));
	twin = statement_share_id(buf_bytes(&c));
	assert_false(hash_id_equal(&id, &twin));
	struct statement grant = example(STATEMENT_GRANT);
	buf_reset(&c);
	assert_ok(statement_sign(&grant, keys[0], &c, &unit_error));
	twin = statement_share_id(buf_bytes(&c));
	assert_true(hash_id_is_none(&twin));
	twin = statement_share_id(BYTES(NULL, 0));
	assert_true(hash_id_is_none(&twin));
}

static void
the_longest_statement_fits_and_a_full_buffer_is_said(void **state)
{
	(void)state;
	auto_buf struct buf b = BUF(STATEMENT_MAX), small = BUF(100);
	struct statement s = example(STATEMENT_MEMBER);

	memset(s.name, 'n', STATEMENT_NAME_MAX);
	memset(s.site, 's', STATEMENT_NAME_MAX);
	assert_err(ERR_LIMIT, statement_sign(&s, keys[0], &small, &unit_error));
	assert_int_equal(small.len, 0);
	assert_ok(statement_sign(&s, keys[0], &b, &unit_error));
	assert_ok(statement_decode(buf_bytes(&b), &s, &unit_error));
}

/* One line: a kind, the statement's id and its bytes, in hex. */
static void
check_vector(const char *line, struct public_key *key, unsigned *seen)
{
	char kind[20], id[2 * HASH_ID_BYTES + 1], hex[2 * STATEMENT_MAX + 1], is[sizeof id];
	uint8_t bytes[STATEMENT_MAX];
	auto_buf struct buf again = BUF(STATEMENT_MAX);
	struct statement s;

	assert_int_equal(sscanf(line, "%19s %66s %4096s", kind, id, hex), 3);
	struct bytes b = BYTES(bytes, strlen(hex) / 2);
	assert_true(text_parse_hex(hex, bytes, b.len));
	assert_ok(statement_decode(b, &s, &unit_error));
	assert_string_equal(statement_kind_name(s.kind), kind);
	assert_string_equal(text_hex(hash_id_bytes(&s.id), is), id);
	if (s.kind == STATEMENT_AUTHORITY)
		*key = s.key;
	assert_ok(statement_verify(b, &s, key, &unit_error));
	statement_encode(&again, &s);
	assert_true(bytes_equal(buf_bytes(&again), b));
	*seen |= 1u << s.kind;
}

static void
published_vectors_hold(void **state)
{
	(void)state;
	char line[2 * STATEMENT_MAX + 200];
	FILE *f = fopen(vectors, "r");
	struct public_key key = { 0 };
	unsigned seen = 0;

	assert_non_null(f);
	while (fgets(line, sizeof line, f) != NULL)
		if (line[0] != '#')
			check_vector(line, &key, &seen);
	fclose(f);
	assert_int_equal(seen, (2u << KINDS) - 2); /* every kind */
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_kind_decodes_to_what_was_signed),
		cmocka_unit_test(a_grant_has_the_layout_of_the_format_document),
		cmocka_unit_test(a_policy_has_the_layout_of_the_format_document),
		cmocka_unit_test(no_truncation_and_no_extension_decodes),
		cmocka_unit_test(no_changed_byte_goes_unnoticed),
		cmocka_unit_test(only_the_signer_verifies),
		cmocka_unit_test(a_recovery_key_signs_in_the_name_of_the_authority),
		cmocka_unit_test(fields_against_the_rules_are_neither_signed_nor_decoded),
		cmocka_unit_test(policies_have_names_both_ways),
		cmocka_unit_test(names_are_short_printable_and_no_paths),
		cmocka_unit_test(a_name_with_a_nul_in_its_bytes_is_malformed),
		cmocka_unit_test(a_share_is_named_by_its_body_and_not_by_its_signature),
		cmocka_unit_test(the_longest_statement_fits_and_a_full_buffer_is_said),
		cmocka_unit_test(published_vectors_hold),
	};
	if (argc != 2)
		return 2;
	vectors = argv[1];
	return cmocka_run_group_tests(tests, make_keys, free_keys);
}
