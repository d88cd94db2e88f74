#include "manifest/commit.h"

#include "base/mem.h"
#include "base/text.h"
#include "manifest/unit_map.h"

enum { COMMIT_VERSION = 1 };
static const char domain[] = "weft commit 1";

void
commit_clear(struct commit *c)
{
	version_vector_clear(&c->vv);
	*c = (struct commit){ 0 };
}

static enum err
check_label(const char *label, struct error *e)
{
	struct bytes left = bytes_str(label);

	while (left.len > 0) {
		uint32_t c = 0;
		size_t n = text_utf8(left, &c);
		if (n == 0 || c < 0x20 || (c >= 0x7f && c < 0xa0))
			return fail(e, ERR_PROTO, "label of a commit is not plain UTF-8 text");
		left = bytes_slice(left, n, left.len - n);
	}
	return OK;
}

static enum err
check_totals(const struct commit *c, struct error *e)
{
	if (c->entries > TREE_ENTRIES_MAX || c->bytes > TREE_TOTAL_MAX ||
	    c->chunks > UNIT_CHUNKS_MAX)
		return fail(e, ERR_PROTO, "absurd size of a commit");
	/* A chunk has bytes, not more than CHUNK_MAX, and is in a file; no product overflows within
	 * the limits. */
	if (c->chunk_bytes < c->chunks || c->chunk_bytes > c->chunks * CHUNK_MAX ||
	    c->chunk_bytes > c->bytes)
		return fail(e, ERR_PROTO, "sizes of a commit contradict each other");
	if (c->entries == 0 && c->bytes > 0)
		return fail(e, ERR_PROTO, "commit with bytes and no entries");
	return OK;
}

static enum err
check_history(const struct commit *c, struct error *e)
{
	struct device_id author = device_id_of(&c->author);

	if (c->n_parents > COMMIT_PARENTS_MAX)
		return fail(e, ERR_PROTO, "commit with %u parents", c->n_parents);
	for (uint32_t i = 1; i < c->n_parents; i++)
		if (bytes_compare(
			hash_id_bytes(&c->parents[i - 1]), hash_id_bytes(&c->parents[i])) >= 0)
			return fail(e, ERR_PROTO, "parents of a commit are out of order");
	if (c->vv.v.len > VERSION_VECTOR_MAX)
		return fail(e, ERR_LIMIT, "more than %d devices have written to this share",
		    VERSION_VECTOR_MAX);
	if (c->seq == 0 || version_vector_get(&c->vv, &author) != c->seq)
		return fail(e, ERR_PROTO, "commit's number is not that of its author");
	return OK;
}

static enum err
check(const struct commit *c, struct error *e)
{
	if (c->content.alg != c->causal.alg)
		return fail(e, ERR_PROTO, "trees of a commit are of two algorithms");
	enum err r = check_totals(c, e);
	if (r == OK)
		r = check_history(c, e);
	return r == OK ? check_label(c->label, e) : r;
}

static void
put_body(const struct commit *c, struct buf *to)
{
	buf_u8(to, COMMIT_VERSION);
	hash_id_encode(to, &c->share);
	hash_id_encode(to, &c->policy);
	buf_varint(to, c->epoch);
	hash_id_encode(to, &c->content);
	hash_id_encode(to, &c->causal);
	buf_varint(to, c->entries);
	buf_varint(to, c->bytes);
	buf_varint(to, c->chunks);
	buf_varint(to, c->chunk_bytes);
	buf_u8(to, (uint8_t)c->n_parents);
	for (uint32_t i = 0; i < c->n_parents; i++)
		hash_id_encode(to, &c->parents[i]);
	version_vector_encode(&c->vv, to);
	public_key_encode(to, &c->author);
	buf_varint(to, c->seq);
	buf_u64(to, c->hlc);
	buf_u8(to, (uint8_t)strlen(c->label));
	buf_add_bytes(to, bytes_str(c->label));
}

void
commit_encode(const struct commit *c, struct buf *out)
{
	put_body(c, out);
	signature_encode(out, &c->signature);
}

static void
name(struct commit *c, struct bytes b)
{
	hash_object((enum hash_alg)c->content.alg, HASH_COMMIT, b, &c->id);
}

enum err
commit_sign(struct commit *c, const struct device_key *key, struct buf *out, struct error *e)
{
	auto_buf struct buf b = BUF(COMMIT_MAX);

	c->author = *device_key_public(key);
	version_vector_raise(&c->vv, device_key_id(key), c->seq);
	enum err r = check(c, e);
	if (r != OK)
		return r;
	put_body(c, &b);
	r = device_key_sign(key, domain, buf_bytes(&b), &c->signature, e);
	if (r != OK)
		return r;
	signature_encode(&b, &c->signature);
	if (b.full || !buf_add_bytes(out, buf_bytes(&b)))
		return fail(e, ERR_LIMIT, "commit of more than %d bytes", COMMIT_MAX);
	name(c, buf_bytes(&b));
	return OK;
}

static void
read_parents(struct reader *r, struct commit *c)
{
	uint8_t n = reader_u8(r);

	if (n > COMMIT_PARENTS_MAX) {
		r->bad = true;
		return;
	}
	while (c->n_parents < n && !r->bad)
		c->parents[c->n_parents++] = hash_id_decode(r);
}

static void
read_label(struct reader *r, struct commit *c)
{
	struct bytes label = reader_take(r, reader_u8(r));

	if (label.len > COMMIT_LABEL_MAX ||
	    (label.len > 0 && memchr(label.at, 0, label.len) != NULL))
		r->bad = true;
	else if (label.len > 0)
		memcpy(c->label, label.at, label.len);
}

static enum err
read_commit(struct reader *r, struct commit *c, struct error *e)
{
	uint8_t version = reader_u8(r);

	if (version != COMMIT_VERSION)
		return fail(e, ERR_PROTO, "commit of format %u: this program knows %d", version,
		    COMMIT_VERSION);
	c->share = hash_id_decode(r);
	c->policy = hash_id_decode(r);
	c->epoch = reader_varint(r);
	c->content = hash_id_decode(r);
	c->causal = hash_id_decode(r);
	c->entries = reader_varint(r);
	c->bytes = reader_varint(r);
	c->chunks = reader_varint(r);
	c->chunk_bytes = reader_varint(r);
	read_parents(r, c);
	enum err err = version_vector_decode(r, &c->vv, e);
	if (err != OK)
		return err;
	c->author = public_key_decode(r);
	c->seq = reader_varint(r);
	c->hlc = reader_u64(r);
	read_label(r, c);
	c->signature = signature_decode(r);
	return reader_done(r) ? OK
			      : fail(e, ERR_PROTO, "commit is malformed, cut short or too long");
}

enum err
commit_decode(struct bytes b, struct commit *ret, struct error *e)
{
	auto_(commit_clear) struct commit c = { 0 };
	struct reader r = reader_over(b);

	if (b.len > COMMIT_MAX)
		return fail(e, ERR_PROTO, "commit of %zu bytes", b.len);
	enum err err = read_commit(&r, &c, e);
	if (err == OK)
		err = check(&c, e);
	if (err != OK)
		return err;
	name(&c, b);
	*ret = c;
	c = (struct commit){ 0 };
	return OK;
}

/* The signature stands at the end, behind its algorithm and its length. */
enum err
commit_verify(struct bytes b, const struct commit *c, struct error *e)
{
	size_t tail = 2 + (size_t)c->signature.len;

	if (b.len < tail)
		return fail(e, ERR_PROTO, "commit is cut short");
	return signature_verify(
	    &c->author, domain, bytes_slice(b, 0, b.len - tail), &c->signature, e);
}
