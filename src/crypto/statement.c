/*
 * Each kind has a row in `kinds`: its name, and the fields that its body has after the common head,
 * in order. Encoding, decoding and checking walk the same list, so they cannot disagree about the
 * layout.
 */
#include "crypto/statement.h"

#include "base/mem.h"
#include "base/text.h"

static const char domain[] = "weft statement 1";

enum {
	VERSION = 1,
	FIELDS_MAX = 4,
};

enum field {
	END,
	DEVICE, /* 32 bytes */
	SHARE,  /* id */
	SHARE_OR_NONE,
	RIGHTS,   /* u32 */
	POLICY,   /* u8 */
	NAME,     /* u8 length, bytes */
	SITE,     /* the same, may be empty */
	NONCE,    /* 16 bytes */
	KEY,      /* public key */
	RECOVERY, /* public key, or the byte 0 */
	NUMBER,   /* u64 */
	COMMIT,   /* id */
	PREVIOUS, /* id or the byte 0 */
};

static const struct {
	const char *name;
	enum field fields[FIELDS_MAX + 1];
} kinds[] = {
	[STATEMENT_AUTHORITY] = { "authority", { KEY, RECOVERY } },
	[STATEMENT_SHARE] = { "share", { NONCE, POLICY, NAME } },
	[STATEMENT_MEMBER] = { "member", { DEVICE, NAME, SITE } },
	[STATEMENT_GRANT] = { "grant", { DEVICE, SHARE, RIGHTS } },
	[STATEMENT_REVOKE] = { "revoke", { DEVICE, SHARE_OR_NONE } },
	[STATEMENT_HEAD] = { "head", { SHARE, NUMBER, COMMIT, PREVIOUS } },
	[STATEMENT_SUCCESSOR] = { "successor", { KEY, RECOVERY } },
	[STATEMENT_POLICY] = { "policy", { SHARE, POLICY } },
};

static const enum field *
fields_of(enum statement_kind kind)
{
	return (unsigned)kind >= 1 && (unsigned)kind < lengthof(kinds) ? kinds[kind].fields : NULL;
}

const char *
statement_kind_name(enum statement_kind kind)
{
	return fields_of(kind) != NULL ? kinds[kind].name : "?";
}

static const char *const policies[] = {
	[POLICY_CENTRAL] = "central",
	[POLICY_HYBRID] = "hybrid",
	[POLICY_SERVERLESS] = "serverless",
};

const char *
statement_policy_name(enum share_policy policy)
{
	unsigned i = policy;

	return i >= POLICY_CENTRAL && i < lengthof(policies) ? policies[i] : "?";
}

bool
statement_policy_parse(const char *text, enum share_policy *ret)
{
	for (unsigned i = POLICY_CENTRAL; i < lengthof(policies); i++) {
		if (strcmp(policies[i], text) == 0) {
			*ret = (enum share_policy)i;
			return true;
		}
	}
	return false;
}

/* encode */

static void
put_text(struct buf *to, const char *s)
{
	size_t n = strlen(s);

	buf_u8(to, (uint8_t)n);
	buf_add(to, s, n);
}

static void
put_id_or_none(struct buf *to, const struct hash_id *id)
{
	if (hash_id_is_none(id))
		buf_u8(to, 0);
	else
		hash_id_encode(to, id);
}

static void
put_key_or_none(struct buf *to, const struct public_key *k)
{
	if (k->alg == 0)
		buf_u8(to, 0);
	else
		public_key_encode(to, k);
}

static void
put_field(struct buf *to, enum field f, const struct statement *s)
{
	switch (f) {
	case END:
		break;
	case DEVICE:
		buf_add(to, s->device.bytes, DEVICE_ID_BYTES);
		break;
	case SHARE:
		hash_id_encode(to, &s->share);
		break;
	case SHARE_OR_NONE:
		put_id_or_none(to, &s->share);
		break;
	case RIGHTS:
		buf_u32(to, s->rights);
		break;
	case POLICY:
		buf_u8(to, (uint8_t)s->policy);
		break;
	case NAME:
		put_text(to, s->name);
		break;
	case SITE:
		put_text(to, s->site);
		break;
	case NONCE:
		buf_add(to, s->nonce, sizeof s->nonce);
		break;
	case KEY:
		public_key_encode(to, &s->key);
		break;
	case RECOVERY:
		put_key_or_none(to, &s->recovery);
		break;
	case NUMBER:
		buf_u64(to, s->number);
		break;
	case COMMIT:
		hash_id_encode(to, &s->commit);
		break;
	case PREVIOUS:
		put_id_or_none(to, &s->previous);
		break;
	}
}

static void
put_body(struct buf *to, const struct statement *s)
{
	buf_u8(to, VERSION);
	buf_u8(to, (uint8_t)s->kind);
	buf_add(to, s->authority.bytes, DEVICE_ID_BYTES);
	buf_u64(to, s->epoch);
	buf_u64(to, (uint64_t)s->issued_s);
	buf_u64(to, (uint64_t)s->expires_s);
	for (const enum field *f = fields_of(s->kind); *f != END; f++)
		put_field(to, *f, s);
}

/* decode */

static void
take_text(struct reader *r, char to[static STATEMENT_NAME_MAX + 1])
{
	uint8_t n = reader_u8(r);

	if (n > STATEMENT_NAME_MAX) {
		r->bad = true;
		return;
	}
	reader_copy(r, to, n);
	if (memchr(to, 0, n) != NULL)
		r->bad = true;
}

/* Is the next byte the 0 that stands for "none"?  Then it is taken. */
static bool
take_none(struct reader *r)
{
	if (reader_left(r) == 0 || *r->at != 0)
		return false;
	reader_u8(r);
	return true;
}

static void
take_field(struct reader *r, enum field f, struct statement *s)
{
	switch (f) {
	case END:
		break;
	case DEVICE:
		reader_copy(r, s->device.bytes, DEVICE_ID_BYTES);
		break;
	case SHARE:
		s->share = hash_id_decode(r);
		break;
	case SHARE_OR_NONE:
		if (!take_none(r))
			s->share = hash_id_decode(r);
		break;
	case RIGHTS:
		s->rights = reader_u32(r);
		break;
	case POLICY:
		s->policy = reader_u8(r);
		break;
	case NAME:
		take_text(r, s->name);
		break;
	case SITE:
		take_text(r, s->site);
		break;
	case NONCE:
		reader_copy(r, s->nonce, sizeof s->nonce);
		break;
	case KEY:
		s->key = public_key_decode(r);
		break;
	case RECOVERY:
		if (!take_none(r))
			s->recovery = public_key_decode(r);
		break;
	case NUMBER:
		s->number = reader_u64(r);
		break;
	case COMMIT:
		s->commit = hash_id_decode(r);
		break;
	case PREVIOUS:
		if (!take_none(r))
			s->previous = hash_id_decode(r);
		break;
	}
}

static void
take_body(struct reader *r, struct statement *s)
{
	if (reader_u8(r) != VERSION)
		r->bad = true;
	s->kind = reader_u8(r);
	reader_copy(r, s->authority.bytes, DEVICE_ID_BYTES);
	s->epoch = reader_u64(r);
	s->issued_s = (int64_t)reader_u64(r);
	s->expires_s = (int64_t)reader_u64(r);
	const enum field *f = fields_of(s->kind);
	if (f == NULL) {
		r->bad = true;
		return;
	}
	for (; *f != END; f++)
		take_field(r, *f, s);
}

/* check */

static bool
is_control(const uint8_t *c)
{
	return *c < 0x20 || *c == 0x7f || (c[0] == 0xc2 && c[1] < 0xa0); /* C0, DEL, C1 */
}

bool
statement_name_ok(const char *name)
{
	size_t n = strnlen(name, STATEMENT_NAME_MAX + 1);

	if (n == 0 || n > STATEMENT_NAME_MAX || !text_is_utf8(BYTES(name, n)))
		return false;
	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return false;
	for (const uint8_t *c = (const uint8_t *)name; *c != 0; c++)
		if (is_control(c) || *c == '/' || *c == '@')
			return false;
	return true;
}

static bool
is_zero(struct bytes b)
{
	for (size_t i = 0; i < b.len; i++)
		if (b.at[i] != 0)
			return false;
	return true;
}

bool
statement_is_for_all(const struct statement *s)
{
	return s->kind == STATEMENT_REVOKE && is_zero(BYTES_OF(s->device)) &&
	       !hash_id_is_none(&s->share);
}

/* What is wrong with field F of S, or NULL. */
static const char *
field_wrong(enum field f, const struct statement *s)
{
	const uint32_t all_rights = RIGHT_READ | RIGHT_WRITE | RIGHT_ADMIN;

	switch (f) {
	case DEVICE: /* everybody loses a share, nobody is everybody otherwise */
		return is_zero(BYTES_OF(s->device)) && !statement_is_for_all(s) ? "no device"
										: NULL;
	case SHARE:
		return hash_alg_known(s->share.alg) ? NULL : "no share";
	case RIGHTS:
		return s->rights != 0 && (s->rights & ~all_rights) == 0 ? NULL : "no such rights";
	case POLICY:
		return s->policy >= POLICY_CENTRAL && s->policy <= POLICY_SERVERLESS
			   ? NULL
			   : "no such policy";
	case NAME:
		return statement_name_ok(s->name) ? NULL : "not a name";
	case SITE:
		return s->site[0] == 0 || statement_name_ok(s->site) ? NULL : "not a site name";
	case KEY:
		return s->key.alg == KEY_P256 ? NULL : "no key";
	case RECOVERY:
		return memcmp(&s->recovery, &s->key, sizeof s->key) != 0
			   ? NULL
			   : "a key cannot be its own recovery key";
	case NUMBER:
		return s->number >= 1 && s->number <= INT64_MAX ? NULL : "number out of range";
	case COMMIT:
		return hash_alg_known(s->commit.alg) ? NULL : "no commit";
	case PREVIOUS:
		return hash_id_is_none(&s->previous) == (s->number == 1)
			   ? NULL
			   : "only the first has none before it";
	case END:
	case SHARE_OR_NONE:
	case NONCE:
		break;
	}
	return NULL;
}

/* The key that an authority or its successor states: the authority's own, or another. */
static const char *
key_wrong(const struct statement *s)
{
	struct device_id id = device_id_of(&s->key);
	bool own = device_id_equal(&id, &s->authority);

	if (s->kind == STATEMENT_AUTHORITY)
		return own ? NULL : "the key is not the authority's";
	if (s->kind == STATEMENT_SUCCESSOR)
		return own ? "a key cannot succeed itself" : NULL;
	return NULL;
}

static const char *
head_wrong(const struct statement *s)
{
	bool may_expire = s->kind == STATEMENT_MEMBER || s->kind == STATEMENT_GRANT;

	if (s->epoch > INT64_MAX)
		return "epoch out of range";
	if (s->issued_s < 0 || s->issued_s > STATEMENT_TIME_MAX)
		return "time of issue out of range";
	if (s->expires_s == 0)
		return NULL;
	if (!may_expire)
		return "it cannot expire";
	return s->expires_s > s->issued_s && s->expires_s <= STATEMENT_TIME_MAX
		   ? NULL
		   : "expiry out of range";
}

static enum err
check(const struct statement *s, struct error *e)
{
	const enum field *f = fields_of(s->kind);

	if (f == NULL)
		return fail(e, ERR_PROTO, "statement of unknown kind %u", (unsigned)s->kind);
	const char *wrong = head_wrong(s);
	for (; wrong == NULL && *f != END; f++)
		wrong = field_wrong(*f, s);
	if (wrong == NULL)
		wrong = key_wrong(s);
	if (wrong != NULL)
		return fail(e, ERR_PROTO, "%s statement: %s", kinds[s->kind].name, wrong);
	return OK;
}

enum err
statement_decode(struct bytes b, struct statement *ret, struct error *e)
{
	struct statement s = { 0 };
	struct reader r = reader_over(b);

	if (b.len > STATEMENT_MAX)
		return fail(e, ERR_LIMIT, "statement of %zu bytes, limit %d", b.len, STATEMENT_MAX);
	take_body(&r, &s);
	s.signature = signature_decode(&r);
	if (!reader_done(&r))
		return fail(e, ERR_PROTO, "malformed statement of %zu bytes", b.len);
	enum err code = check(&s, e);
	if (code != OK)
		return code;
	hash_object(HASH_DEFAULT, HASH_STATEMENT, b, &s.id);
	*ret = s;
	return OK;
}

/* sign and verify */

/* All of B but the signature at its end. */
static struct bytes
body_of(struct bytes b, const struct signature *sig)
{
	size_t tail = 2 + (size_t)sig->len;

	return BYTES(b.at, b.len > tail ? b.len - tail : 0);
}

void
statement_encode(struct buf *to, const struct statement *s)
{
	put_body(to, s);
	signature_encode(to, &s->signature);
}

enum err
statement_sign(struct statement *s, const struct device_key *key, struct buf *out, struct error *e)
{
	struct statement mine = *s;
	auto_buf struct buf b = BUF(STATEMENT_MAX);

	/* A successor may be signed by the recovery key, which speaks for the authority that is
	 * named. */
	if (s->kind != STATEMENT_SUCCESSOR || is_zero(BYTES_OF(s->authority)))
		mine.authority = *device_key_id(key);
	enum err r = check(&mine, e);
	if (r != OK)
		return r;
	put_body(&b, &mine);
	r = device_key_sign(key, domain, buf_bytes(&b), &mine.signature, e);
	if (r != OK)
		return r;
	signature_encode(&b, &mine.signature);
	if (b.full || !buf_add_bytes(out, buf_bytes(&b)))
		return fail(e, ERR_LIMIT, "%s statement of %zu bytes does not fit",
		    kinds[s->kind].name, b.len);
	hash_object(HASH_DEFAULT, HASH_STATEMENT, buf_bytes(&b), &mine.id);
	*s = mine;
	return OK;
}

enum err
statement_verify(
    struct bytes b, const struct statement *s, const struct public_key *key, struct error *e)
{
	enum err r = signature_verify(key, domain, body_of(b, &s->signature), &s->signature, e);

	return r == OK ? OK : error_wrap(e, r, "%s statement", statement_kind_name(s->kind));
}

struct hash_id
statement_share_id(struct bytes b)
{
	struct statement s = { 0 };
	struct hash_id id = { 0 };

	if (statement_decode(b, &s, NULL) == OK && s.kind == STATEMENT_SHARE)
		hash_object(HASH_DEFAULT, HASH_SHARE, body_of(b, &s.signature), &id);
	return id;
}
