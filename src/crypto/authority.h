/*
 * authority: the rules over statements of one authority: what is valid now, for whom.
 *
 * A share's authority is "a key that signs statements": the server's or a plain device's; nothing
 * here knows the difference.  A node keeps one struct authority per authority key it trusts (pinned
 * by id from an invite) and feeds it every statement it sees, from anybody, in any order; what does
 * not verify is refused.  The result does not depend on the order, if what was refused or forgotten
 * before the keys changed is fed again (authority.c says what the rules are, and why so).
 *
 * After a SUCCESSOR by the authority itself (promotion) all that it said before the successor's
 * epoch stays.  After one by the recovery key only the SHARE statements stay: the new key signs
 * memberships, grants and heads again.
 *
 * Pure: no clock (now_s is handed in), no files; the holder persists accepted bytes and feeds them
 * again.
 * Memory     about 350 bytes a statement kept; superseded ones are dropped.
 */
#pragma once

#include "crypto/statement.h"

struct authority;

/* Trusts the key with this id.  Its public key is learned from the AUTHORITY statement. */
struct authority *authority_new(const struct device_id *id);
void authority_free(struct authority *a);
DEFINE_FREE_P(authority)

/* Takes in one statement (bytes are copied if kept).  OK: accepted, *RET_NEWS (may be NULL) true
 * when it changed something worth persisting and passing on.  ERR_DENIED: not this authority's, or
 * void by a later revocation or succession; ERR_PROTO, ERR_LIMIT.  An AUTHORITY statement must come
 * first; a SUCCESSOR moves trust to its key. */
enum err authority_accept(
    struct authority *a, struct bytes statement, bool *ret_news, struct error *e) must_check;

/* For whoever signs: gives S, which is about to be signed, epoch and time of issue that make it
 * newer than what is known about its subject, also when two are signed within a second or the clock
 * was set back.  The epoch is at least authority_epoch, the time NOW_S or the next free second; an
 * expiry, counted from NOW_S, moves along. */
void authority_stamp(const struct authority *a, struct statement *s, int64_t now_s);

const struct device_id *authority_id(const struct authority *a); /* the id first trusted */
/* current key; NULL before the first */
const struct public_key *authority_key(const struct authority *a);
uint64_t authority_epoch(const struct authority *a); /* highest seen */
/* Is DEVICE a member at NOW_S?  ERR_DENIED says why not (unknown, expired, revoked). */
enum err authority_check_member(const struct authority *a, const struct device_id *device,
    int64_t now_s, struct error *e) must_check;
/* May DEVICE do RIGHTS on SHARE at NOW_S?  Write includes read, admin includes both.  ERR_DENIED.
 * Whether it is a member is another question; a revoked membership takes the grants with it, an
 * expired one does not. */
enum err authority_check_grant(const struct authority *a, const struct device_id *device,
    const struct hash_id *share, uint32_t rights, int64_t now_s, struct error *e) must_check;
/* Newest HEAD statement of SHARE; false if there is none. */
bool authority_head(const struct authority *a, const struct hash_id *share, struct statement *ret);
/* Who may answer for SHARE's bytes now: the newest POLICY statement in force, else what its SHARE
 * statement said; 0 when neither is known. */
enum share_policy authority_policy(const struct authority *a, const struct hash_id *share);
/* Bytes of the statements in force, to show to others or to persist.  AUTHORITY and SUCCESSORs come
 * first and in order, so that whoever is fed in this order takes all; the rest in no particular
 * order.  KIND 0 is all.  Borrowed until the next accept. */
void authority_each(const struct authority *a, enum statement_kind kind,
    void (*on_statement)(void *ctx, struct bytes bytes, const struct statement *s), void *ctx);
/* Bytes of the valid statement, or {NULL, 0}; borrowed until the next accept. */
struct bytes authority_statement(const struct authority *a);
struct bytes authority_member(const struct authority *a, const struct device_id *device);
struct bytes authority_grant(
    const struct authority *a, const struct device_id *device, const struct hash_id *share);
struct bytes authority_share(const struct authority *a, const struct hash_id *share);
struct bytes authority_policy_statement(const struct authority *a, const struct hash_id *share);
