/*
 * The rules.  They look at nothing but the set of statements.
 *
 * Keys.  Trust begins with the pinned key and its AUTHORITY statement, of which the first one seen
 * counts: it names the recovery key, and whoever steals the key must not be able to name another.
 * A SUCCESSOR names the next key, from its epoch on.  It is signed by the key that it replaces, or
 * by that key's recovery key.  Of several successors of one key the one by the recovery key counts,
 * then the lowest epoch, then the lower bytes: a thief who gets hold of the key and hands it on is
 * overruled by the recovery key, and a key that has already been replaced cannot be replaced again.
 * So the keys form a chain.
 *
 * Void is
 * - what is signed by a key outside the chain,
 * - what a key signed outside its epochs: from its own SUCCESSOR's to before the next one's,
 * - what came before a SUCCESSOR by a recovery key, other than SHARE statements.  The old key may
 *   be in a thief's hands, who can date anything back; the new key signs again what it stands for.
 *   A share's name and nonce give nobody anything, and its id is their hash.  (After a promotion,
 *   signed by the old key itself, all stays.)
 * - a membership or grant below the epoch of a revocation of its device, or of that device or of
 *   everybody on that share.
 *
 * Of what is not void about one subject (a device, a device on a share, a share's head or policy)
 * the newest counts, by epoch, number (of a head), time of issue, expiry, bytes; one that is newer
 * but has expired counts too.
 *
 * How order does not matter.  We keep only the newest of each subject, and what is void may be
 * forgotten.  As long as the chain stays as it is, any order of feeding ends in the same state.  A
 * SUCCESSOR that arrives late makes statements void that had pushed out older ones, and makes
 * statements good that were refused: whoever feeds the set once more has the state that the rules
 * say.  Peers show each other their statements whenever they meet, so that happens by itself.
 */
#include "crypto/authority.h"

#include <inttypes.h>

#include "base/array.h"
#include "base/map.h"

enum { CHAIN_MAX = 64 }; /* successions; only the keys of the chain can make them */

/* A statement that is kept: what is asked of it, and its bytes. */
struct held {
	uint64_t epoch, number;
	int64_t issued_s, expires_s;
	uint32_t rights;
	enum share_policy policy;
	uint32_t len;
	uint8_t bytes[];
};

/* What a statement is about; bytes without padding, the key of the map. */
struct subject {
	uint8_t kind;
	struct device_id device;
	struct hash_id share;
};
_Static_assert(
    sizeof(struct subject) == 1 + DEVICE_ID_BYTES + HASH_ID_BYTES, "a map key has no padding");

struct link {
	struct device_id id;
	struct public_key key, recovery;
	uint64_t from; /* its epochs begin here */
	bool by_recovery;
	struct held *said; /* the AUTHORITY or SUCCESSOR statement */
};

struct authority {
	struct device_id id;
	ARRAY(struct link) chain; /* empty until the AUTHORITY statement */
	struct map held;          /* struct subject -> struct held */
	uint64_t epoch;
};

struct authority *
authority_new(const struct device_id *id)
{
	struct authority *a = mem_new(struct authority);

	a->id = *id;
	return a;
}

void
authority_free(struct authority *a)
{
	if (a == NULL)
		return;
	map_each (slot, &a->held)
		free(slot->ptr);
	map_clear(&a->held);
	array_each (l, &a->chain)
		free(l->said);
	array_clear(&a->chain);
	free(a);
}

/* statements kept */

static struct held *
held_new(struct bytes b, const struct statement *s)
{
	struct held *h = mem_alloc(sizeof *h + b.len);

	*h = (struct held){
		.epoch = s->epoch,
		.number = s->number,
		.issued_s = s->issued_s,
		.expires_s = s->expires_s,
		.rights = s->rights,
		.policy = s->policy,
		.len = (uint32_t)b.len,
	};
	memcpy(h->bytes, b.at, b.len);
	return h;
}

static struct bytes
held_bytes(const struct held *h)
{
	return h != NULL ? BYTES(h->bytes, h->len) : BYTES(NULL, 0);
}

#define ORDER(a, b) ((a) < (b) ? -1 : (a) > (b))

static bool
is_newer(const struct held *a, const struct held *b)
{
	int c = ORDER(a->epoch, b->epoch);

	c = c != 0 ? c : ORDER(a->number, b->number);
	c = c != 0 ? c : ORDER(a->issued_s, b->issued_s);
	c = c != 0 ? c : ORDER(a->expires_s, b->expires_s);
	c = c != 0 ? c : bytes_compare(held_bytes(a), held_bytes(b));
	return c > 0;
}

/* We decoded these bytes before we kept them. */
static struct statement
decoded(const struct held *h)
{
	struct statement s = { 0 };

	(void)expect(statement_decode(held_bytes(h), &s, NULL) == OK);
	return s;
}

/* Who signed it: decoding checked that version and kind come first, then the key's id. */
static struct device_id
signer_of(const struct held *h)
{
	struct reader r = reader_over(held_bytes(h));
	struct device_id id;

	reader_take(&r, 2);
	reader_copy(&r, id.bytes, sizeof id.bytes);
	return id;
}

static struct subject
subject(enum statement_kind kind, const struct device_id *device, const struct hash_id *share)
{
	struct subject about = { .kind = (uint8_t)kind };

	if (device != NULL)
		about.device = *device;
	if (share != NULL)
		about.share = *share;
	return about;
}

static struct subject
subject_of(struct bytes b, const struct statement *s)
{
	struct hash_id share = s->kind == STATEMENT_SHARE ? statement_share_id(b) : s->share;

	return subject(s->kind, &s->device, &share);
}

/* what is void */

/* Index of the key in the chain, or its length. */
static size_t
link_of(const struct authority *a, const struct device_id *id)
{
	size_t i = 0;

	while (i < a->chain.len && !device_id_equal(&a->chain.at[i].id, id))
		i++;
	return i;
}

/* H's signer holds, or held, for its epoch. */
static enum err
check_signer(const struct authority *a, const struct held *h, bool is_share, struct error *e)
{
	struct device_id signer = signer_of(h);
	size_t i = link_of(a, &signer);
	uint64_t epoch = h->epoch;

	if (i == a->chain.len)
		return fail(e, ERR_DENIED, "signed by a key that is not this authority's");
	if (epoch < a->chain.at[i].from)
		return fail(e, ERR_DENIED,
		    "signed for epoch %" PRIu64 ", but the key holds from %" PRIu64, epoch,
		    a->chain.at[i].from);
	if (i + 1 < a->chain.len && epoch >= a->chain.at[i + 1].from)
		return fail(e, ERR_DENIED,
		    "signed for epoch %" PRIu64 ", but the key was replaced at %" PRIu64, epoch,
		    a->chain.at[i + 1].from);
	for (size_t j = i + 1; j < a->chain.len && !is_share; j++)
		if (a->chain.at[j].by_recovery)
			return fail(e, ERR_DENIED, "signed by a key that was lost");
	return OK;
}

/* The epoch below which DEVICE has nothing on SHARE (none: no membership). */
static uint64_t
revoked_below(
    const struct authority *a, const struct device_id *device, const struct hash_id *share)
{
	struct subject about = subject(STATEMENT_REVOKE, device, share);
	const struct held *h = map_ptr(&a->held, BYTES_OF(about));

	return h != NULL && check_signer(a, h, false, NULL) == OK ? h->epoch : 0;
}

static enum err
check_revoked(
    const struct authority *a, const struct subject *about, uint64_t epoch, struct error *e)
{
	static const struct hash_id none;
	uint64_t below = revoked_below(a, &about->device, &none);

	if (about->kind == STATEMENT_GRANT) {
		static const struct device_id everybody;
		uint64_t own = revoked_below(a, &about->device, &about->share);
		uint64_t all = revoked_below(a, &everybody, &about->share);
		below = max_of(below, own);
		below = max_of(below, all);
	}
	if (epoch < below)
		return fail(e, ERR_DENIED, "revoked at epoch %" PRIu64, below);
	return OK;
}

/* OK while H, which is about ABOUT, is not void. */
static enum err
check_in_force(
    const struct authority *a, const struct subject *about, const struct held *h, struct error *e)
{
	enum err r = check_signer(a, h, about->kind == STATEMENT_SHARE, e);

	if (r == OK && (about->kind == STATEMENT_MEMBER || about->kind == STATEMENT_GRANT))
		r = check_revoked(a, about, h->epoch, e);
	return r;
}

/* The statement in force about something, or NULL. */
static const struct held *
in_force(const struct authority *a, enum statement_kind kind, const struct device_id *device,
    const struct hash_id *share, struct error *e)
{
	struct subject about = subject(kind, device, share);
	const struct held *h = map_ptr(&a->held, BYTES_OF(about));

	if (h == NULL) {
		(void)fail(e, ERR_DENIED, "none known");
		return NULL;
	}
	return check_in_force(a, &about, h, e) == OK ? h : NULL;
}

/* taking in */

static void
see_epoch(struct authority *a, uint64_t epoch)
{
	a->epoch = max_of(a->epoch, epoch);
}

/* Once more from the start: the chain has changed, and what was seen may be void. */
static void
see_all_epochs(struct authority *a)
{
	a->epoch = 0;
	array_each (l, &a->chain)
		see_epoch(a, l->said->epoch);
	map_each (slot, &a->held) {
		const struct held *h = slot->ptr;
		struct subject about;
		memcpy(&about, slot->key, sizeof about);
		if (check_in_force(a, &about, h, NULL) == OK)
			see_epoch(a, h->epoch);
	}
}

static void
push_link(struct authority *a, struct bytes b, const struct statement *s, bool by_recovery)
{
	struct link l = {
		.id = device_id_of(&s->key),
		.key = s->key,
		.recovery = s->recovery,
		.from = s->kind == STATEMENT_SUCCESSOR ? s->epoch : 0,
		.by_recovery = by_recovery,
		.said = held_new(b, s),
	};

	array_push(&a->chain, l);
	see_all_epochs(a);
}

static enum err
accept_authority(
    struct authority *a, struct bytes b, const struct statement *s, bool *ret_news, struct error *e)
{
	size_t i = link_of(a, &s->authority);

	if (a->chain.len == 0 ? !device_id_equal(&s->authority, &a->id) : i == a->chain.len)
		return fail(e, ERR_DENIED, "of another authority");
	enum err r = statement_verify(b, s, &s->key, e);
	if (r != OK)
		return r;
	/* A successor's own AUTHORITY statement tells us nothing: its SUCCESSOR named key and
	 * recovery key. */
	if (i == 0 && a->chain.len > 0 &&
	    memcmp(&s->recovery, &a->chain.at[0].recovery, sizeof s->recovery) != 0)
		return fail(e, ERR_DENIED, "names another recovery key than it did first");
	*ret_news = a->chain.len == 0;
	if (a->chain.len == 0)
		push_link(a, b, s, false);
	return OK;
}

/* Does the SUCCESSOR (B, S) count rather than the one that made L? */
static bool
overrules(struct bytes b, const struct statement *s, bool by_recovery, const struct link *l)
{
	if (by_recovery != l->by_recovery)
		return by_recovery;
	if (s->epoch != l->from)
		return s->epoch < l->from;
	return bytes_compare(b, held_bytes(l->said)) < 0;
}

/* Whose signature a SUCCESSOR of L bears: the recovery key's or L's own. */
static enum err
verify_successor(struct bytes b, const struct statement *s, const struct link *l,
    bool *ret_by_recovery, struct error *e)
{
	*ret_by_recovery = l->recovery.alg != 0 && statement_verify(b, s, &l->recovery, NULL) == OK;
	return *ret_by_recovery ? OK : statement_verify(b, s, &l->key, e);
}

static void
cut_chain(struct authority *a, size_t len)
{
	while (a->chain.len > len)
		free(array_pop(&a->chain).said);
}

static enum err
accept_successor(
    struct authority *a, struct bytes b, const struct statement *s, bool *ret_news, struct error *e)
{
	size_t i = link_of(a, &s->authority);
	struct device_id next = device_id_of(&s->key);
	bool by_recovery;

	if (i == a->chain.len)
		return fail(e, ERR_DENIED, "succeeds a key that is not this authority's");
	const struct link *was = i + 1 < a->chain.len ? &a->chain.at[i + 1] : NULL;
	*ret_news = false;
	if (was != NULL && bytes_equal(b, held_bytes(was->said)))
		return OK;
	if (link_of(a, &next) <= i)
		return fail(e, ERR_DENIED, "brings back a key that was replaced");
	if (s->epoch <= a->chain.at[i].from)
		return fail(e, ERR_DENIED, "succeeds a key before that key's first epoch");
	if (i + 1 == CHAIN_MAX)
		return fail(e, ERR_LIMIT, "more than %d successions", CHAIN_MAX);
	enum err r = verify_successor(b, s, &a->chain.at[i], &by_recovery, e);
	if (r != OK)
		return r;
	if (was != NULL && !overrules(b, s, by_recovery, was))
		return fail(e, ERR_DENIED, "the key has already been replaced");
	cut_chain(a, i + 1);
	push_link(a, b, s, by_recovery);
	*ret_news = true;
	return OK;
}

static enum err
accept_other(
    struct authority *a, struct bytes b, const struct statement *s, bool *ret_news, struct error *e)
{
	struct subject about = subject_of(b, s);
	struct held *was = map_ptr(&a->held, BYTES_OF(about));
	auto_free struct held *h = held_new(b, s);

	enum err r = check_in_force(a, &about, h, e);
	if (r != OK)
		return r;
	*ret_news = false;
	if (was != NULL && bytes_equal(b, held_bytes(was)))
		return OK;
	r = statement_verify(b, s, &a->chain.at[link_of(a, &s->authority)].key, e);
	if (r != OK)
		return r;
	if (was != NULL && !is_newer(h, was) && check_in_force(a, &about, was, NULL) == OK)
		return OK;
	free(was);
	map_put(&a->held, BYTES_OF(about), NULL)->ptr = take_ptr(h);
	see_epoch(a, s->epoch);
	*ret_news = true;
	return OK;
}

enum err
authority_accept(struct authority *a, struct bytes statement, bool *ret_news, struct error *e)
{
	struct statement s = { 0 };
	bool news = false;
	enum err r = statement_decode(statement, &s, e);

	if (r != OK)
		return r;
	if (s.kind == STATEMENT_AUTHORITY)
		r = accept_authority(a, statement, &s, &news, e);
	else if (a->chain.len == 0)
		r = fail(e, ERR_DENIED, "the authority's own statement is not known yet");
	else if (s.kind == STATEMENT_SUCCESSOR)
		r = accept_successor(a, statement, &s, &news, e);
	else
		r = accept_other(a, statement, &s, &news, e);
	if (r != OK)
		return error_wrap(e, r, "%s statement", statement_kind_name(s.kind));
	if (ret_news != NULL)
		*ret_news = news;
	return OK;
}

void
authority_stamp(const struct authority *a, struct statement *s, int64_t now_s)
{
	struct subject about = subject(s->kind, &s->device, &s->share);
	const struct held *h = map_ptr(&a->held, BYTES_OF(about));
	int64_t issued_s = now_s;

	s->epoch = max_of(s->epoch, a->epoch);
	if (h != NULL && h->epoch == s->epoch && h->issued_s >= now_s)
		issued_s = h->issued_s + 1;
	if (s->expires_s != 0)
		s->expires_s += issued_s - now_s;
	s->issued_s = issued_s;
}

/* asking */

const struct device_id *
authority_id(const struct authority *a)
{
	return &a->id;
}

const struct public_key *
authority_key(const struct authority *a)
{
	return a->chain.len > 0 ? &a->chain.at[a->chain.len - 1].key : NULL;
}

uint64_t
authority_epoch(const struct authority *a)
{
	return a->epoch;
}

static enum err
check_expiry(const struct held *h, int64_t now_s, struct error *e)
{
	if (h->expires_s != 0 && now_s >= h->expires_s)
		return fail(e, ERR_DENIED, "expired %" PRId64 " s ago", now_s - h->expires_s);
	return OK;
}

enum err
authority_check_member(
    const struct authority *a, const struct device_id *device, int64_t now_s, struct error *e)
{
	const struct held *h = in_force(a, STATEMENT_MEMBER, device, NULL, e);
	enum err r = h != NULL ? check_expiry(h, now_s, e) : ERR_DENIED;
	char id[DEVICE_ID_SHORT];

	return r == OK ? OK : error_wrap(e, r, "membership of %s", device_id_short(device, id));
}

/* The rights that come with RIGHTS. */
static uint32_t
closure(uint32_t rights)
{
	if ((rights & RIGHT_ADMIN) != 0)
		return RIGHT_ADMIN | RIGHT_WRITE | RIGHT_READ;
	if ((rights & RIGHT_WRITE) != 0)
		return RIGHT_WRITE | RIGHT_READ;
	return rights;
}

enum err
authority_check_grant(const struct authority *a, const struct device_id *device,
    const struct hash_id *share, uint32_t rights, int64_t now_s, struct error *e)
{
	const struct held *h = in_force(a, STATEMENT_GRANT, device, share, e);
	enum err r = h != NULL ? check_expiry(h, now_s, e) : ERR_DENIED;
	char id[DEVICE_ID_SHORT];

	if (r == OK && (rights & ~closure(h->rights)) != 0)
		r = fail(e, ERR_DENIED, "it has fewer rights");
	return r == OK ? OK : error_wrap(e, r, "grant of %s", device_id_short(device, id));
}

bool
authority_head(const struct authority *a, const struct hash_id *share, struct statement *ret)
{
	const struct held *h = in_force(a, STATEMENT_HEAD, NULL, share, NULL);

	if (h != NULL)
		*ret = decoded(h);
	return h != NULL;
}

enum share_policy
authority_policy(const struct authority *a, const struct hash_id *share)
{
	const struct held *h = in_force(a, STATEMENT_POLICY, NULL, share, NULL);

	if (h == NULL)
		h = in_force(a, STATEMENT_SHARE, NULL, share, NULL);
	return h != NULL ? h->policy : 0;
}

void
authority_each(const struct authority *a, enum statement_kind kind,
    void (*on_statement)(void *ctx, struct bytes bytes, const struct statement *s), void *ctx)
{
	array_each (l, &a->chain) {
		struct statement s = decoded(l->said);
		if (kind == 0 || kind == s.kind)
			on_statement(ctx, held_bytes(l->said), &s);
	}
	map_each (slot, &a->held) {
		const struct held *h = slot->ptr;
		struct subject about;
		memcpy(&about, slot->key, sizeof about);
		if ((kind != 0 && kind != about.kind) || check_in_force(a, &about, h, NULL) != OK)
			continue;
		struct statement s = decoded(h);
		on_statement(ctx, held_bytes(h), &s);
	}
}

struct bytes
authority_statement(const struct authority *a)
{
	return held_bytes(a->chain.len > 0 ? a->chain.at[0].said : NULL);
}

struct bytes
authority_member(const struct authority *a, const struct device_id *device)
{
	return held_bytes(in_force(a, STATEMENT_MEMBER, device, NULL, NULL));
}

struct bytes
authority_grant(
    const struct authority *a, const struct device_id *device, const struct hash_id *share)
{
	return held_bytes(in_force(a, STATEMENT_GRANT, device, share, NULL));
}

struct bytes
authority_share(const struct authority *a, const struct hash_id *share)
{
	return held_bytes(in_force(a, STATEMENT_SHARE, NULL, share, NULL));
}

struct bytes
authority_policy_statement(const struct authority *a, const struct hash_id *share)
{
	return held_bytes(in_force(a, STATEMENT_POLICY, NULL, share, NULL));
}
