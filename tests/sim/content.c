#include "tests/sim/content.h"

#include <stdio.h>

#include "base/mem.h"
#include "chunk/chunker.h"

enum { FILE_MAX = 8 * 1024 * 1024 };

static void
must(enum err r, const struct error *e)
{
	if (r == OK)
		return;
	fprintf(stderr, "building content: %s (%s)\n", e->text, e->where);
	abort();
}

/* What goes on while a tree is built. */
struct builder {
	struct content *c;
	struct rng *rng;
	uint64_t left;     /* bytes of files still to be made */
	struct map chunks; /* id -> struct store_chunk, before they have their order */
};

static uint64_t
dice(struct builder *b, uint64_t n)
{
	return rng_below(b->rng, n);
}

static void
keep_chunk(struct builder *b, struct bytes data, struct hash_id *ret)
{
	struct leaf_list leaves;
	bool is_new;

	chunk_id_of(HASH_DEFAULT, data, &leaves, ret);
	struct map_slot *slot = map_put(&b->chunks, hash_id_bytes(ret), &is_new);
	if (!is_new)
		return;
	struct store_chunk *c = mem_new(struct store_chunk);
	*c = (struct store_chunk){ .id = *ret,
		.len = (uint32_t)data.len,
		.bytes = mem_dup(data.at, data.len),
		.leaves = leaves };
	slot->ptr = c;
}

static void
add_data(struct builder *b, struct tree_file_builder *f, struct bytes data)
{
	struct error e;

	while (data.len > 0) {
		struct tree_item item = { .len = chunker_cut(data, true) };
		keep_chunk(b, bytes_slice(data, 0, item.len), &item.id);
		must(tree_file_builder_add(f, &item, &e), &e);
		data = bytes_slice(data, item.len, data.len - item.len);
	}
}

static uint64_t
any_size(struct builder *b)
{
	switch (dice(b, 8)) {
	case 0:
		return 0;
	case 1:
		return TREE_HOLE_BLOCK * (1 + dice(b, 3));
	case 2:
		return 100 * 1024 + dice(b, 400 * 1024);
	case 3:
		return 1024 * 1024 + dice(b, 2 * 1024 * 1024);
	default:
		return 1 + dice(b, 20000);
	}
}

/* Random bytes, those of an earlier file, or some with a hole in them. */
static void
fill_file(struct builder *b, struct tree_file_builder *f, struct buf *bytes)
{
	uint64_t n = min_of(any_size(b), b->left);
	size_t files = b->c->files.len, twin = files > 0 ? dice(b, files) : 0;

	if (files > 0 && dice(b, 6) == 0 && b->c->files.at[twin].bytes.len <= b->left) {
		buf_add_bytes(bytes, buf_bytes(&b->c->files.at[twin].bytes));
	} else {
		rng_fill(b->rng, buf_reserve(bytes, n), n);
		buf_grown(bytes, n);
	}
	b->left -= bytes->len;
	if (dice(b, 8) != 0 || bytes->len % TREE_HOLE_BLOCK != 0 || b->left == 0) {
		add_data(b, f, buf_bytes(bytes));
		return;
	}
	struct tree_item hole = { .len = TREE_HOLE_BLOCK * (1 + dice(b, 10)) };
	struct error e;
	size_t before = bytes->len;
	if (before > 0)
		add_data(b, f, buf_bytes(bytes));
	must(tree_file_builder_add(f, &hole, &e), &e);
	memset(buf_reserve(bytes, hole.len), 0, hole.len);
	buf_grown(bytes, hole.len);
	uint64_t tail = 1 + dice(b, 5000);
	rng_fill(b->rng, buf_reserve(bytes, tail), tail);
	buf_grown(bytes, tail);
	add_data(b, f, bytes_slice(buf_bytes(bytes), before + hole.len, tail));
}

static void
add_entry(struct prolly_builder *to, const struct tree_entry *en)
{
	auto_buf struct buf value = BUF(NODE_ENTRY_MAX);
	struct error e;

	must(tree_entry_encode(en, &value, &e), &e);
	must(prolly_builder_add(to, en->name, buf_bytes(&value), &e), &e);
}

static void
add_file(struct builder *b, struct prolly_builder *to, const char *path, struct tree_entry *en)
{
	auto_(tree_file_builder_free_p) struct tree_file_builder *f =
	    tree_file_builder_new(HASH_DEFAULT, store_sink(&b->c->store));
	struct content_file file = { .path = str_dup(path), .bytes = BUF(FILE_MAX) };
	struct error e;

	en->type = TREE_FILE;
	en->mode = 0644;
	en->mtime_ns = 1700000000000000000 + (int64_t)dice(b, 1000000000);
	fill_file(b, f, &file.bytes);
	must(tree_file_builder_finish(f, en, &e), &e);
	add_entry(to, en);
	array_push(&b->c->files, file);
}

static void
add_link(struct prolly_builder *to, struct tree_entry *en)
{
	en->type = TREE_SYMLINK;
	en->mode = 0777;
	en->target = BYTES_LIT("some/where");
	en->size = en->target.len;
	add_entry(to, en);
}

/* Fills a directory; *RET_ENTRIES and *RET_BYTES beneath it. */
static struct hash_id
add_dir(
    struct builder *b, const char *path, unsigned depth, uint64_t *ret_entries, uint64_t *ret_bytes)
{
	auto_(prolly_builder_free_p) struct prolly_builder *to =
	    prolly_builder_new(HASH_TREE, HASH_DEFAULT, store_sink(&b->c->store));
	unsigned n =
	    depth == 0 ? 6 + (unsigned)dice(b, 10) : (unsigned)dice(b, dice(b, 10) == 0 ? 600 : 8);
	struct hash_id root;
	struct error e;

	*ret_entries = *ret_bytes = 0;
	for (unsigned i = 0; i < n; i++) {
		char name[16];
		auto_free char *inner = NULL;
		struct tree_entry en = { 0 };
		snprintf(name, sizeof name, "%04u-%llx", i, (unsigned long long)dice(b, 4096));
		inner = path[0] == '\0' ? str_dup(name) : str_printf("%s/%s", path, name);
		en.name = bytes_str(name);
		uint64_t kind = dice(b, 10);
		if (kind == 0) {
			add_link(to, &en);
		} else if (kind <= 2 && depth < 3) {
			en.type = TREE_DIR;
			en.mode = 0755;
			en.root = add_dir(b, inner, depth + 1, &en.entries, &en.size);
			add_entry(to, &en);
		} else {
			add_file(b, to, inner, &en);
		}
		*ret_entries += 1 + en.entries;
		*ret_bytes += en.type == TREE_SYMLINK ? 0 : en.size;
	}
	must(prolly_builder_finish(to, &root, &e), &e);
	return root;
}

/* Puts the chunks into their places in the store. */
static void
settle_chunks(struct builder *b)
{
	struct store *s = &b->c->store;

	for (size_t i = 0; i < s->chunks.len; i++) {
		struct store_chunk *c = map_ptr(&b->chunks, hash_id_bytes(&s->chunks.at[i].id));
		s->chunks.at[i].bytes = c->bytes;
		s->chunks.at[i].leaves = c->leaves;
		b->c->commit.chunk_bytes += c->len;
		c->bytes = NULL;
	}
	for (size_t i = 0; i < s->have.n; i++)
		bitset_set(&s->have, i);
	map_each (it, &b->chunks) {
		free(((struct store_chunk *)it->ptr)->bytes);
		free(it->ptr);
	}
	map_clear(&b->chunks);
}

void
content_build(struct content *c, struct rng *rng, uint64_t bytes, uint32_t unit_size,
    const struct device_key *key)
{
	struct builder b = { .c = c, .rng = rng, .left = bytes };
	auto_(prolly_builder_free_p) struct prolly_builder *causal = NULL;
	struct error e;

	*c = (struct content){ .commit_bytes = BUF(COMMIT_MAX), .unit_size = unit_size };
	causal = prolly_builder_new(HASH_CAUSAL, HASH_DEFAULT, store_sink(&c->store));
	c->commit.content = add_dir(&b, "", 0, &c->commit.entries, &c->commit.bytes);
	must(prolly_builder_finish(causal, &c->commit.causal, &e), &e);
	must(store_map(&c->store, &c->commit.content, unit_size, &e), &e);
	settle_chunks(&b);
	c->commit.chunks = c->store.chunks.len;
	c->share = (struct hash_id){ .alg = HASH_DEFAULT, .bytes = { 's' } };
	c->commit.share = c->share;
	c->commit.policy = c->share;
	c->commit.epoch = 1;
	c->commit.seq = 1;
	c->commit.hlc = (uint64_t)1700000000000 << 16;
	must(commit_sign(&c->commit, key, &c->commit_bytes, &e), &e);
	c->snapshot = c->commit.id;
}

void
content_clear(struct content *c)
{
	store_clear(&c->store);
	array_each (f, &c->files) {
		free(f->path);
		buf_clear(&f->bytes);
	}
	array_clear(&c->files);
	commit_clear(&c->commit);
	buf_clear(&c->commit_bytes);
}

static bool
is_file_equal(const struct content_file *f, struct store *s, const struct tree_entry *en)
{
	auto_(tree_items_free_p) struct tree_items *it = tree_items_new(store_source(s), en);
	static const uint8_t zeros[TREE_HOLE_BLOCK];
	struct tree_item item;
	struct error e;
	size_t at = 0;

	while (tree_items_next(it, &item, &e) == OK) {
		const struct store_chunk *c =
		    hash_id_is_none(&item.id) ? NULL : store_chunk(s, &item.id);
		if (item.len > f->bytes.len - at || (c == NULL && !hash_id_is_none(&item.id)))
			return false;
		if (c != NULL && memcmp(c->bytes, f->bytes.at + at, item.len) != 0)
			return false;
		for (uint64_t i = 0; c == NULL && i < item.len; i += TREE_HOLE_BLOCK)
			if (memcmp(zeros, f->bytes.at + at + i,
				min_of(item.len - i, sizeof zeros)) != 0)
				return false;
		at += item.len;
	}
	return at == f->bytes.len;
}

bool
content_is_in(const struct content *c, struct store *s)
{
	auto_(tree_walk_free_p) struct tree_walk *w =
	    tree_walk_new(store_source(s), &c->commit.content);
	struct tree_entry en;
	struct relpath path;
	struct error e = { 0 };
	enum tree_step step;
	size_t at = 0;

	while (tree_walk_next(w, &step, &path, &en, &e) == OK) {
		if (en.type != TREE_FILE)
			continue;
		if (at == c->files.len || strcmp(c->files.at[at].path, path.text) != 0 ||
		    !is_file_equal(&c->files.at[at], s, &en)) {
			fprintf(stderr, "file %s differs\n", path.text);
			return false;
		}
		at++;
	}
	if (at != c->files.len)
		fprintf(stderr, "%zu files instead of %zu: %s\n", at, c->files.len, e.text);
	return at == c->files.len;
}
