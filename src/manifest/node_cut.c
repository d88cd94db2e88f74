#include "manifest/node_cut.h"

#include "manifest/node.h"

/* FNV-1a over the level and the key, then the finaliser of MurmurHash3: FNV alone leaves the high
 * bits of short keys poor.  Not keyed: whoever aims for boundaries gets a tree of small or of large
 * nodes, and both are in bounds. */
static uint32_t
mix(uint8_t level, struct bytes key)
{
	uint64_t h = 0xcbf29ce484222325;

	h = (h ^ level) * 0x100000001b3;
	for (size_t i = 0; i < key.len; i++)
		h = (h ^ key.at[i]) * 0x100000001b3;
	h = (h ^ h >> 33) * 0xff51afd7ed558ccd;
	h = (h ^ h >> 33) * 0xc4ceb9fe1a85ec53;
	h ^= h >> 33;
	return (uint32_t)(h >> 32);
}

bool
node_cut(uint8_t level, struct bytes key, size_t entry, size_t size)
{
	if (size >= NODE_CUT_MAX)
		return true;
	if (size < NODE_MIN || key.len == 0)
		return false;
	return (uint64_t)mix(level, key) * (NODE_TARGET - NODE_MIN) < (uint64_t)entry << 32;
}
