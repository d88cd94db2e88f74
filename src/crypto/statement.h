/*
 * statement: what an authority says: who is a member, who may do what, what is current, what has
 * ended.
 *
 * One canonical encoding, signed under the domain "weft statement 1": version, kind, authority id,
 * epoch, times, then the fields of the kind in order (docs/format-statement.md).  A statement is
 * checked by anybody who knows the authority's public key, without asking the authority.
 * Statements are kept and passed on as the bytes received, never re-encoded.
 *
 * The epoch is a counter of the authority that grows with each revocation.  A revocation at epoch n
 * voids every membership or grant of its subject with an epoch below n.
 *
 * Pure but for the key: no clock (times are handed in), no files.
 * Errors     ERR_PROTO malformed, ERR_DENIED not signed by the authority or void, ERR_LIMIT.
 */
#pragma once

#include "base/buf.h"
#include "base/error.h"
#include "crypto/device_key.h"
#include "crypto/hash.h"

enum statement_kind {
	/* self-signed: this key exists, this recovery key may replace it */
	STATEMENT_AUTHORITY = 1,
	STATEMENT_SHARE = 2,  /* first statement of a share; the share id is the hash of its body */
	STATEMENT_MEMBER = 3, /* a device is a member */
	STATEMENT_GRANT = 4,  /* a device has rights on a share */
	STATEMENT_REVOKE = 5, /* end of a membership (share none) or of a grant */
	STATEMENT_HEAD = 6,   /* sequencer: commit N of this share is ... */
	/* "from now on, key X": by the authority (promotion) or its recovery key */
	STATEMENT_SUCCESSOR = 7,
	STATEMENT_POLICY = 8, /* from now on, who may answer for a share's bytes */
};

enum statement_rights { RIGHT_READ = 1, RIGHT_WRITE = 2, RIGHT_ADMIN = 4 };
enum share_policy { POLICY_CENTRAL = 1, POLICY_HYBRID = 2, POLICY_SERVERLESS = 3 };

enum {
	STATEMENT_MAX = 2048, /* bytes encoded, all kinds */
	/* share, device and site names: 1..64 bytes UTF-8, no control characters, no '/' or '@',
	 * not "." or ".." */
	STATEMENT_NAME_MAX = 64,
	STATEMENT_GRANT_SECONDS = 24 * 3600, /* default life of a grant, renewed while connected */
};
#define STATEMENT_TIME_MAX 253402300799 /* end of the year 9999: what any calendar can show */

struct statement {
	enum statement_kind kind;
	struct device_id authority; /* id of the key that signs */
	uint64_t epoch;
	int64_t issued_s, expires_s; /* unix seconds; expires 0: never */
	/* By kind; unused ones are zero. */
	struct device_id device;           /* MEMBER, GRANT, REVOKE: subject */
	struct hash_id share;              /* GRANT, REVOKE, HEAD, POLICY */
	uint32_t rights;                   /* GRANT */
	enum share_policy policy;          /* SHARE: the first one; POLICY: the new one */
	char name[STATEMENT_NAME_MAX + 1]; /* SHARE: its name; MEMBER: device name */
	char site[STATEMENT_NAME_MAX + 1]; /* MEMBER; may be empty */
	uint8_t nonce[16];                 /* SHARE: so that two shares of one name differ */
	struct public_key key;             /* AUTHORITY: own; SUCCESSOR: the new one */
	struct public_key recovery;        /* AUTHORITY, SUCCESSOR; may be none (zero) */
	uint64_t number;                   /* HEAD: n */
	/* HEAD: commit id; statement id before this one (none for n = 1) */
	struct hash_id commit, previous;
	/* after decoding */
	struct signature signature;
	struct hash_id id; /* hash of the whole bytes */
};

bool statement_name_ok(const char *name);                    /* the rule of STATEMENT_NAME_MAX */
const char *statement_kind_name(enum statement_kind kind);   /* "grant" */
const char *statement_policy_name(enum share_policy policy); /* "hybrid"; "?" for no such one */
/* False: no such policy. */
bool statement_policy_parse(const char *text, enum share_policy *ret) must_check;
/* A revocation of everybody's grants on a share: its device is zero. */
bool statement_is_for_all(const struct statement *s);
/* Checks S's fields, encodes and signs with KEY, whose id becomes S->authority; only in a SUCCESSOR
 * an authority that is given (not zero) stays, as KEY may be the recovery key.  Appends the bytes
 * to OUT and fills S->id, signature.  Of two statements about one subject at one epoch the later
 * issued counts: authority_stamp sees to that. */
enum err statement_sign(
    struct statement *s, const struct device_key *key, struct buf *out, struct error *e) must_check;
/* Bytes to fields; every rule but the signature.  Accepts exactly the canonical encoding. */
enum err statement_decode(struct bytes b, struct statement *ret, struct error *e) must_check;
/* The signature over B (as decoded to S) is KEY's. */
enum err statement_verify(struct bytes b, const struct statement *s, const struct public_key *key,
    struct error *e) must_check;
/* The bytes that S was decoded from. */
void statement_encode(struct buf *to, const struct statement *s);
/* The share id that a SHARE statement's bytes name; none if they are no such statement. */
struct hash_id statement_share_id(struct bytes b);
