#include "manifest/causal.h"

#include "base/mem.h"
#include "manifest/tree.h"

int
causal_dot_compare(const struct dot *a, const struct dot *b)
{
	int c = memcmp(&a->device, &b->device, sizeof a->device);

	return c != 0 ? c : (a->seq > b->seq) - (a->seq < b->seq);
}

static enum err
check_siblings(const struct causal_entry *en, struct error *e)
{
	struct tree_item items[TREE_INLINE_ITEMS];
	struct tree_entry value;

	if (en->n_siblings > CAUSAL_SIBLINGS_MAX)
		return fail(e, ERR_PROTO, "%u siblings of one entry", en->n_siblings);
	if (en->n_siblings > 0 && !hash_id_is_none(&en->dir))
		return fail(e, ERR_PROTO, "a directory with siblings");
	for (uint32_t i = 0; i < en->n_siblings; i++) {
		const struct dot *dot = &en->siblings[i].dot;
		if (dot->seq == 0 || causal_dot_compare(dot, &en->content) == 0)
			return fail(e, ERR_PROTO, "a sibling without a dot of its own");
		if (i > 0 && causal_dot_compare(&en->siblings[i - 1].dot, dot) >= 0)
			return fail(e, ERR_PROTO, "siblings out of order");
		enum err r = tree_entry_decode(en->name, en->siblings[i].value, items, &value, e);
		if (r != OK)
			return error_wrap(e, r, "sibling");
		if (value.type == TREE_DIR)
			return fail(e, ERR_PROTO, "a directory as a sibling");
	}
	return OK;
}

static enum err
check(const struct causal_entry *en, struct error *e)
{
	enum err r = tree_entry_name(en->name, e);

	if (r != OK)
		return r;
	if (en->content.seq == 0 || en->name_dot.seq == 0)
		return fail(e, ERR_PROTO, "a dot with number 0");
	return check_siblings(en, e);
}

static void
put_dot(struct buf *to, const struct dot *d)
{
	buf_add(to, &d->device, sizeof d->device);
	buf_varint(to, d->seq);
}

static uint8_t
parts_of(const struct causal_entry *en)
{
	return (
	    uint8_t)((causal_dot_compare(&en->content, &en->name_dot) != 0 ? CAUSAL_PART_NAME_DOT
									   : 0) |
		     (hash_id_is_none(&en->dir) ? 0 : CAUSAL_PART_DIR) |
		     (en->n_siblings > 0 ? CAUSAL_PART_SIBLINGS : 0));
}

enum err
causal_entry_encode(const struct causal_entry *en, struct buf *out, struct error *e)
{
	size_t before = out->len;
	enum err r = check(en, e);

	if (r != OK)
		return r;
	uint8_t parts = parts_of(en);
	buf_add(out, en->id, sizeof en->id);
	buf_u8(out, parts);
	put_dot(out, &en->content);
	if (parts & CAUSAL_PART_NAME_DOT)
		put_dot(out, &en->name_dot);
	if (parts & CAUSAL_PART_DIR)
		hash_id_encode(out, &en->dir);
	if (parts & CAUSAL_PART_SIBLINGS)
		buf_u8(out, (uint8_t)en->n_siblings);
	for (uint32_t i = 0; i < en->n_siblings; i++) {
		put_dot(out, &en->siblings[i].dot);
		buf_varint(out, en->siblings[i].value.len);
		buf_add_bytes(out, en->siblings[i].value);
	}
	if (out->full || out->len - before > CAUSAL_VALUE_MAX) {
		out->len = before;
		return fail(e, ERR_LIMIT, "no room for %u siblings of one entry", en->n_siblings);
	}
	return OK;
}

static struct dot
read_dot(struct reader *r)
{
	struct dot d;

	reader_copy(r, &d.device, sizeof d.device);
	d.seq = reader_varint(r);
	return d;
}

static void
read_siblings(struct reader *r, struct causal_entry *en)
{
	uint8_t n = reader_u8(r);

	if (n < 1 || n > CAUSAL_SIBLINGS_MAX)
		r->bad = true;
	while (en->n_siblings < n && !r->bad) {
		uint32_t i = en->n_siblings++;
		en->siblings[i].dot = read_dot(r);
		en->siblings[i].value =
		    reader_take(r, min_of(reader_varint(r), (uint64_t)SIZE_MAX));
	}
}

enum err
causal_entry_decode(
    struct bytes name, struct bytes value, struct causal_entry *ret, struct error *e)
{
	struct reader r = reader_over(value);
	struct causal_entry en = { .name = name };

	reader_copy(&r, en.id, sizeof en.id);
	uint8_t parts = reader_u8(&r);
	en.content = read_dot(&r);
	en.name_dot = parts & CAUSAL_PART_NAME_DOT ? read_dot(&r) : en.content;
	if (parts & CAUSAL_PART_DIR)
		en.dir = hash_id_decode(&r);
	if (parts & CAUSAL_PART_SIBLINGS)
		read_siblings(&r, &en);
	if (!reader_done(&r) || value.len > CAUSAL_VALUE_MAX)
		return fail(e, ERR_PROTO, "causal entry is cut short or too long");
	if (parts != parts_of(&en))
		return fail(e, ERR_PROTO, "causal entry has parts it should not have");

	enum err err = check(&en, e);
	if (err == OK)
		*ret = en;
	return err;
}

bool
causal_entry_is_of(const struct causal_entry *en, uint8_t alg)
{
	struct tree_item items[TREE_INLINE_ITEMS];
	struct tree_entry value;

	if (!hash_id_is_none(&en->dir) && en->dir.alg != alg)
		return false;
	for (uint32_t i = 0; i < en->n_siblings; i++)
		if (tree_entry_decode(en->name, en->siblings[i].value, items, &value, NULL) != OK ||
		    !tree_entry_is_of(&value, alg))
			return false;
	return true;
}

struct causal_iter {
	struct prolly_iter *nodes;
	uint8_t alg;
};

struct causal_iter *
causal_iter_new(struct node_source source, const struct hash_id *root)
{
	struct causal_iter *it = mem_new(struct causal_iter);

	it->nodes = prolly_iter_new(HASH_CAUSAL, source, root);
	it->alg = root->alg;
	return it;
}

void
causal_iter_free(struct causal_iter *it)
{
	if (it == NULL)
		return;
	prolly_iter_free(it->nodes);
	free(it);
}

enum err
causal_iter_next(struct causal_iter *it, struct causal_entry *ret, struct error *e)
{
	struct bytes name, value;
	enum err r = prolly_iter_next(it->nodes, &name, &value, e);

	if (r != OK)
		return r;
	struct causal_entry en;
	r = causal_entry_decode(name, value, &en, e);
	if (r != OK)
		return r;
	if (!causal_entry_is_of(&en, it->alg))
		return fail(
		    e, ERR_PROTO, "causal tree of algorithm %u with an id of another", it->alg);
	*ret = en;
	return OK;
}
