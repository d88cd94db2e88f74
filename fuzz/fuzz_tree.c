/*
 * Trees of hostile nodes: walks, comparisons and searches end, whatever the nodes say of each
 * other.
 *
 * The input is nodes, each behind its length (u16).  An id names the node whose number is its first
 * byte, so that inputs can point at nodes without finding hashes: even cycles, which real ids
 * cannot make.
 */
#include "base/mem.h"
#include "fuzz/fuzz.h"
#include "manifest/causal.h"
#include "manifest/tree.h"

enum { NODES = 32, STEPS = 3000 };

struct input {
	size_t n;
	struct bytes nodes[NODES];
	size_t steps;
};

static enum err
get(void *ctx, enum hash_kind kind, const struct hash_id *id, struct buf *out, struct error *e)
{
	const struct input *in = ctx;

	(void)kind;
	if (id->bytes[0] >= in->n)
		return fail(e, ERR_NOTFOUND, "no such node");
	buf_add_bytes(out, in->nodes[id->bytes[0]]);
	return OK;
}

static struct hash_id
id_of(uint8_t n)
{
	return (struct hash_id){ .alg = HASH_SHA256, .bytes = { n } };
}

static void
read_items(struct node_source source, struct input *in, const struct tree_entry *en)
{
	auto_(tree_items_free_p) struct tree_items *it = tree_items_new(source, en);
	struct tree_item item;
	uint64_t bytes = 0;
	enum err r;

	while ((r = tree_items_next(it, &item, NULL)) == OK && in->steps++ < STEPS)
		bytes += item.len;
	fuzz_require(r != ERR_NOTFOUND || bytes == en->size);
	fuzz_require(bytes <= en->size);
}

static void
walk(struct node_source source, struct input *in)
{
	struct hash_id root = id_of(0);
	auto_(tree_walk_free_p) struct tree_walk *w = tree_walk_new(source, &root);
	enum tree_step step;
	struct relpath path, parsed;
	struct tree_entry en;
	uint64_t entered = 0, entries, bytes;
	enum err r;

	while ((r = tree_walk_next(w, &step, &path, &en, NULL)) == OK && in->steps++ < STEPS) {
		fuzz_require(relpath_parse(path.text, path.len, &parsed, NULL) == OK);
		entered += step == TREE_ENTER;
		if (step == TREE_ENTER && en.type == TREE_FILE)
			read_items(source, in, &en);
	}
	tree_walk_totals(w, &entries, &bytes);
	fuzz_require(r != ERR_NOTFOUND || entries == entered);
}

static enum err
on_change(void *ctx, struct relpath path, const struct tree_entry *old,
    const struct tree_entry *new, struct error *e)
{
	struct input *in = ctx;
	struct relpath parsed;

	fuzz_require(old != NULL || new != NULL);
	fuzz_require(relpath_parse(path.text, path.len, &parsed, NULL) == OK);
	return in->steps++ < STEPS ? OK : fail(e, ERR_LIMIT, "enough");
}

static void
search(struct node_source source, const struct hash_id *root)
{
	static const char *const paths[] = { "a", "b/a", "dir/dir/dir", "zz" };
	struct tree_item items[TREE_INLINE_ITEMS];
	struct tree_entry en;
	auto_buf struct buf value = BUF(NODE_ENTRY_MAX);

	for (size_t i = 0; i < lengthof(paths); i++) {
		struct relpath path;
		fuzz_require(relpath_parse(paths[i], strlen(paths[i]), &path, NULL) == OK);
		(void)!tree_find_path(source, root, path, &value, items, &en, NULL);
	}
}

static void
causal(struct node_source source, struct input *in)
{
	struct hash_id root = id_of(0);
	auto_(causal_iter_free_p) struct causal_iter *it = causal_iter_new(source, &root);
	struct causal_entry en;

	while (causal_iter_next(it, &en, NULL) == OK && in->steps++ < STEPS)
		fuzz_require(en.content.seq > 0 && en.name_dot.seq > 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { 0 };
	struct node_source source = { get, &in };
	struct hash_id first = id_of(0), second = id_of(1);
	struct reader r = reader_over(BYTES(data, size));

	while (in.n < NODES && reader_left(&r) > 2) {
		size_t len = reader_u16(&r);
		in.nodes[in.n++] = reader_take(&r, min_of(len, reader_left(&r)));
	}
	walk(source, &in);
	in.steps = 0;
	(void)!tree_diff(source, &first, &second, on_change, &in, NULL);
	search(source, &first);
	in.steps = 0;
	causal(source, &in);
	return 0;
}
