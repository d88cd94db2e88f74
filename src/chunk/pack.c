#include "chunk/pack.h"

#include "base/reader.h"

#define HEAD_MAGIC   "weftpack"
#define RECORD_MAGIC "wobj"

/* leading bytes of a SHA-256 */
enum { CHECK = 8 };

static uint8_t *
put_le(uint8_t *to, uint64_t v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		to[i] = (uint8_t)(v >> 8 * i);
	return to + n;
}

static uint8_t *
put(uint8_t *to, const void *from, size_t n)
{
	memcpy(to, from, n);
	return to + n;
}

/* The check that ends a head: over the bytes before it, keyed with the salt of the pack. */
static void
check_of(const uint8_t *salt, const uint8_t *head, size_t n, uint8_t out[static CHECK])
{
	uint8_t full[HASH_BYTES];

	hash_sha256(BYTES(salt, PACK_SALT), BYTES(head, n), full);
	memcpy(out, full, CHECK);
}

static bool
check_holds(const uint8_t *salt, const uint8_t *head, size_t n)
{
	uint8_t is[CHECK];

	check_of(salt, head, n, is);
	return memcmp(is, head + n, CHECK) == 0;
}

/* -- the head of a file -- */

void
pack_head_encode(const struct pack_head *h, uint8_t out[static PACK_HEAD])
{
	uint8_t *to = put(out, HEAD_MAGIC, 8);

	to = put_le(to, PACK_VERSION, 4);
	to = put_le(to, 0, 4);
	to = put_le(to, h->number, 8);
	to = put(to, h->salt, PACK_SALT);
	check_of(h->salt, out, (size_t)(to - out), to);
}

enum err
pack_head_decode(struct bytes b, struct pack_head *ret, struct error *e)
{
	struct reader r = reader_over(b);
	struct pack_head h = { 0 };

	if (b.len != PACK_HEAD || memcmp(reader_take(&r, 8).at, HEAD_MAGIC, 8) != 0)
		return fail(e, ERR_CORRUPT, "no pack: the first bytes are wrong");
	uint32_t version = reader_u32(&r);
	uint32_t zero = reader_u32(&r);
	h.number = reader_u64(&r);
	reader_copy(&r, h.salt, PACK_SALT);
	bool holds = check_holds(h.salt, b.at, PACK_HEAD - CHECK);
	if (holds && version > PACK_VERSION)
		return fail(e, ERR_LIMIT, "pack of version %u, made by a newer weft", version);
	if (!holds || version == 0 || zero != 0)
		return fail(e, ERR_CORRUPT, "the head of the pack is damaged");
	*ret = h;
	return OK;
}

/* -- the head of a record -- */

bool
pack_kind_known(unsigned kind)
{
	return kind >= HASH_CHUNK && kind <= HASH_STATEMENT;
}

bool
pack_record_sane(const struct pack_record *r)
{
	uint32_t max = r->kind == HASH_CHUNK ? (uint32_t)CHUNK_MAX : (uint32_t)PACK_NODE_MAX;

	if (!hash_alg_known(r->id.alg) || !pack_kind_known(r->kind) || r->raw_len == 0 ||
	    r->raw_len > max)
		return false;
	if (r->codec == CODEC_RAW)
		return r->packed_len == r->raw_len;
	return r->codec == CODEC_ZSTD && r->packed_len > 0 && r->packed_len < r->raw_len;
}

void
pack_record_encode(
    const struct pack_head *h, const struct pack_record *r, uint8_t out[static PACK_RECORD_HEAD])
{
	uint8_t *to = put(out, RECORD_MAGIC, 4);

	to = put(to, &r->id, HASH_ID_BYTES);
	to = put_le(to, r->kind, 1);
	to = put_le(to, r->codec, 1);
	to = put_le(to, 0, 1);
	to = put_le(to, r->raw_len, 4);
	to = put_le(to, r->packed_len, 4);
	check_of(h->salt, out, (size_t)(to - out), to);
}

enum err
pack_record_decode(
    const struct pack_head *h, struct bytes b, struct pack_record *ret, struct error *e)
{
	struct reader r = reader_over(b);
	struct pack_record rec = { 0 };

	if (b.len != PACK_RECORD_HEAD || memcmp(reader_take(&r, 4).at, RECORD_MAGIC, 4) != 0)
		return fail(e, ERR_CORRUPT, "no record here");
	if (!check_holds(h->salt, b.at, PACK_RECORD_HEAD - CHECK))
		return fail(e, ERR_CORRUPT, "the head of the record is damaged");
	rec.id = hash_id_decode(&r);
	rec.kind = reader_u8(&r);
	rec.codec = reader_u8(&r);
	uint8_t zero = reader_u8(&r);
	rec.raw_len = reader_u32(&r);
	rec.packed_len = reader_u32(&r);
	if (r.bad || zero != 0 || !pack_record_sane(&rec))
		return fail(e, ERR_CORRUPT, "the head of the record states what cannot be");
	*ret = rec;
	return OK;
}

/* -- content -- */

static enum err
verify_chunk(
    const struct pack_record *r, const struct leaf_list *l, const uint8_t *raw, struct error *e)
{
	uint8_t is[HASH_BYTES];

	if (!chunk_id_leaves_match(&r->id, r->raw_len, l))
		return fail(e, ERR_CORRUPT, "the leaf list does not match its name");
	for (uint32_t i = 0; i < l->n; i++) {
		size_t n = chunk_id_leaf_len(r->raw_len, i);
		hash_leaf(r->id.alg, BYTES(raw + (size_t)i * CHUNK_LEAF, n), is);
		if (memcmp(is, l->hash[i], HASH_BYTES) != 0)
			return fail(e, ERR_CORRUPT, "leaf %u does not match its hash", i);
	}
	return OK;
}

enum err
pack_record_verify(const struct pack_record *r, const struct leaf_list *leaves, const uint8_t *raw,
    struct error *e)
{
	struct hash_id is;

	if (r->kind == HASH_CHUNK)
		return verify_chunk(r, leaves, raw, e);
	hash_object(r->id.alg, r->kind, BYTES(raw, r->raw_len), &is);
	if (!hash_id_equal(&is, &r->id))
		return fail(e, ERR_CORRUPT, "the content does not match its name");
	return OK;
}
