/* test_snap: snapshots made in memory: their entries, from which test_dest_world builds nodes. */
#pragma once

#include "tests/unit.h"

#include "base/array.h"
#include "crypto/hash.h"
#include "manifest/tree.h"
#include "tests/seeded.h"

struct item {
	char *path;
	enum tree_type type;
	uint32_t mode;
	int64_t mtime_ns;
	uint8_t *bytes; /* or a symlink's target */
	size_t len;
};
struct snap {
	ARRAY(struct item) items;
	struct hash_id content, id;
};

static inline void
snap_clear(struct snap *s)
{
	array_each (it, &s->items) {
		free(it->path);
		free(it->bytes);
	}
	array_clear(&s->items);
}

#define auto_snap auto_(snap_clear)

static inline struct item *
snap_find(struct snap *s, const char *path)
{
	array_each (it, &s->items) {
		if (strcmp(it->path, path) == 0)
			return it;
	}
	return NULL;
}

/* BYTES are copied.  What is above it is made too. */
static inline struct item *
snap_add(struct snap *s, const char *path, enum tree_type type, const void *bytes, size_t len)
{
	struct item it = {
		.path = str_dup(path), .type = type, .mode = type == TREE_FILE ? 0644 : 0755
	};
	char *slash = strrchr(it.path, '/');

	if (slash != NULL) {
		*slash = '\0';
		if (snap_find(s, it.path) == NULL)
			snap_add(s, it.path, TREE_DIR, NULL, 0);
		*slash = '/';
	}
	it.bytes = mem_alloc(len + 1);
	if (len > 0)
		memcpy(it.bytes, bytes, len);
	it.bytes[len] = '\0';
	it.len = len;
	it.mtime_ns = 1600000000123456789 + (int64_t)strlen(path) * 1000000007;
	struct item *old = snap_find(s, path);
	if (old != NULL) {
		free(old->path);
		free(old->bytes);
		*old = it;
		return old;
	}
	array_push(&s->items, it);
	return &s->items.at[s->items.len - 1];
}

static inline struct item *
snap_text(struct snap *s, const char *path, const char *text)
{
	struct item *it = snap_add(s, path, TREE_FILE, text, strlen(text));

	/* Another content has another time, as it would. */
	for (const char *c = text; *c != '\0'; c++)
		it->mtime_ns += *c * 1009;
	return it;
}

static inline struct item *
snap_dir(struct snap *s, const char *path)
{
	return snap_add(s, path, TREE_DIR, NULL, 0);
}

static inline struct item *
snap_link(struct snap *s, const char *path, const char *target)
{
	return snap_add(s, path, TREE_SYMLINK, target, strlen(target));
}

/* Entries in short: "path=text" is a file, "path->target" a symlink, "path/" a directory. */
struct entry_text {
	char path[64];
	enum tree_type type;
	const char *text; /* or the target */
};

static inline struct entry_text
entry_text(const char *s)
{
	size_t n = strcspn(s, "=>");
	struct entry_text en = { .type = s[n] == '='   ? TREE_FILE
					 : s[n] == '>' ? TREE_SYMLINK
						       : TREE_DIR };

	en.text = en.type == TREE_DIR ? "" : s + n + 1;
	n -= en.type != TREE_FILE;
	assert_in_range(n, 1, sizeof en.path - 1);
	memcpy(en.path, s, n);
	return en;
}

static inline void
snap_add_texts(struct snap *s, const char *const *entries)
{
	for (; *entries != NULL; entries++) {
		struct entry_text en = entry_text(*entries);
		if (en.type == TREE_FILE)
			snap_text(s, en.path, en.text);
		else if (en.type == TREE_SYMLINK)
			snap_link(s, en.path, en.text);
		else
			snap_dir(s, en.path);
	}
}

#define ENTRIES(...) ((const char *const[]){ __VA_ARGS__, NULL })
/* snap_put(&s, "dir/file=text", "link->target", "dir/") */
#define snap_put(s, ...) snap_add_texts((s), ENTRIES(__VA_ARGS__))

/* N bytes of SEED; each block of 64 KiB zero with a chance of ZEROES in 8. */
static inline struct item *
snap_random(struct snap *s, const char *path, uint64_t seed, size_t n, unsigned zeroes)
{
	auto_free uint8_t *bytes = seeded_with_holes(seed, n, TREE_HOLE_BLOCK, zeroes);
	struct item *it = snap_add(s, path, TREE_FILE, bytes, n);
	it->mtime_ns += (int64_t)seed * 1000003;
	return it;
}

static inline void
snap_remove(struct snap *s, const char *path)
{
	size_t n = strlen(path);

	for (size_t i = s->items.len; i-- > 0;) {
		struct item *it = &s->items.at[i];
		if (strncmp(it->path, path, n) != 0 || (it->path[n] != '\0' && it->path[n] != '/'))
			continue;
		free(it->path);
		free(it->bytes);
		array_swap_out(&s->items, i);
	}
}

/* The same entries, to be changed. */
static inline struct snap
snap_copy(const struct snap *of)
{
	struct snap s = { 0 };

	array_each (it, &of->items) {
		struct item c = *it;
		c.path = str_dup(it->path);
		c.bytes = mem_dup(it->bytes, it->len + 1);
		array_push(&s.items, c);
	}
	return s;
}
