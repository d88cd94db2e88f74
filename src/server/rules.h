/*
 * rules: who may do what.  Pure: looks at the registry's memory, answers, changes nothing.
 *
 * Members see what they were given.  Who has no right on a share gets the same answer as if it did
 * not exist: "no such share".  Write includes read.  Whoever creates a share may write it.
 */
#pragma once

#include "server/registry.h"

/* Rights of DEVICE on S now: its own entry, or everybody's, or both together; 0 for who is no
 * member. */
uint32_t rules_rights(
    const struct registry *r, const struct registry_share *s, const struct device_id *device);
/* *RET is the share when DEVICE has RIGHTS on it.  ERR_NOTFOUND "no such share" when it may not
 * even read it, ERR_DENIED when it may read but not this. */
enum err rules_share(const struct registry *r, struct bytes name, const struct device_id *device,
    uint32_t rights, struct registry_share **ret, struct error *e) must_check;
enum err rules_share_id(const struct registry *r, const struct hash_id *id,
    const struct device_id *device, uint32_t rights, struct registry_share **ret,
    struct error *e) must_check;
/* Shares that a device may write to, for itself and not as everybody: it creates no more then. */
enum { RULES_SHARES_MAX = 256 };
enum err rules_create(
    const struct registry *r, const struct device_id *device, struct error *e) must_check;
/* May members answer for its bytes? */
bool rules_is_hybrid(const struct registry *r, const struct registry_share *s);
/* May this commit of AUTHOR be announced in S?  Its signature has been checked.  ERR_CONFLICT: it
 * is not built upon the head (the text says what to do), ERR_PROTO: its numbers do not fit,
 * ERR_DENIED: not the author's to write. */
enum err rules_announce(const struct registry *r, const struct registry_share *s,
    const struct commit *c, const struct device_id *author, uint64_t head_seq,
    struct error *e) must_check;
/* More units than a snapshot of SN's bytes, chunks and unit size can have are none. */
uint64_t rules_units_max(const struct registry_snapshot *sn);
/* May DEVICE take part in the swarm of a snapshot, as it says in M?  It may read the share, whose
 * policy lets members answer for bytes, and cuts the snapshot as we do. */
enum err rules_enter(const struct registry *r, const struct device_id *device,
    const struct msg_enter *m, struct error *e) must_check;
/* Clocks: ERR_DENIED with what to do when they are too far apart. */
enum err rules_clock(int64_t ours_ms, int64_t theirs_ms, struct error *e) must_check;
/* An invite as found (NULL: none): ERR_DENIED says used, expired, or unknown. */
enum err rules_invite(const struct registry_invite *in, int64_t now_s, struct error *e) must_check;
