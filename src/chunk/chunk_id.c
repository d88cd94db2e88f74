#include "chunk/chunk_id.h"

#include <assert.h>

void
chunk_id_of(
    enum hash_alg alg, struct bytes chunk, struct leaf_list *ret_leaves, struct hash_id *ret)
{
	struct leaf_list own, *l = ret_leaves != NULL ? ret_leaves : &own;

	assert(chunk.len > 0 && chunk.len <= CHUNK_MAX);
	l->n = chunk_id_leaf_count((uint32_t)chunk.len);
	for (uint32_t i = 0; i < l->n; i++) {
		size_t n = chunk_id_leaf_len((uint32_t)chunk.len, i);
		hash_leaf(alg, bytes_slice(chunk, (size_t)i * CHUNK_LEAF, n), l->hash[i]);
	}
	chunk_id_of_leaves(alg, (uint32_t)chunk.len, l, ret);
}

void
chunk_id_of_leaves(
    enum hash_alg alg, uint32_t chunk_len, const struct leaf_list *l, struct hash_id *ret)
{
	uint8_t len[8];

	assert(l->n <= CHUNK_LEAVES_MAX);
	for (unsigned i = 0; i < sizeof len; i++)
		len[i] = (uint8_t)((uint64_t)chunk_len >> 8 * i);
	hash_object2(
	    alg, HASH_CHUNK, BYTES_OF(len), BYTES(l->hash, (size_t)l->n * HASH_BYTES), ret);
}

bool
chunk_id_leaves_match(const struct hash_id *id, uint32_t chunk_len, const struct leaf_list *l)
{
	struct hash_id is;

	if (!hash_alg_known(id->alg) || chunk_len == 0 || chunk_len > CHUNK_MAX)
		return false;
	if (l->n != chunk_id_leaf_count(chunk_len))
		return false;
	chunk_id_of_leaves(id->alg, chunk_len, l, &is);
	return hash_id_equal(&is, id);
}

bool
chunk_id_matches(const struct hash_id *id, struct bytes chunk)
{
	struct hash_id is;

	if (!hash_alg_known(id->alg) || chunk.len == 0 || chunk.len > CHUNK_MAX)
		return false;
	chunk_id_of(id->alg, chunk, NULL, &is);
	return hash_id_equal(&is, id);
}
