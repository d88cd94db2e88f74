/*
 * content: a random directory tree, built as a snapshot: what is published in a simulated world,
 * and the truth that receivers are compared with.
 */
#pragma once

#include "base/rng.h"
#include "crypto/device_key.h"
#include "manifest/commit.h"
#include "tests/sim/store.h"

struct content_file {
	char *path;
	struct buf bytes; /* with holes written out */
};
struct content {
	struct store store; /* nodes and chunks, complete */
	ARRAY(struct content_file) files;
	struct hash_id share, snapshot;
	struct commit commit;
	struct buf commit_bytes;
	uint32_t unit_size;
};

/* About BYTES of files, signed by KEY. */
void content_build(struct content *c, struct rng *rng, uint64_t bytes, uint32_t unit_size,
    const struct device_key *key);
void content_clear(struct content *c);
/* Does S hold every file, byte for byte, and nothing else?  Says on stderr what differs. */
bool content_is_in(const struct content *c, struct store *s);
