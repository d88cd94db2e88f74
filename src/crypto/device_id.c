#include "crypto/device_key.h"

#include <stdio.h>

#include "base/text.h"
#include "crypto/hash.h"

enum { GROUP = 13, GROUPS = 4, PLAIN = GROUP * GROUPS };

const char *
device_id_format(const struct device_id *id, char out[static DEVICE_ID_TEXT])
{
	char plain[PLAIN + 1];

	text_base32(BYTES(id->bytes, DEVICE_ID_BYTES), plain);
	snprintf(out, DEVICE_ID_TEXT, "%.13s-%.13s-%.13s-%.13s", plain, plain + GROUP,
	    plain + 2 * GROUP, plain + 3 * GROUP);
	return out;
}

const char *
device_id_short(const struct device_id *id, char out[static DEVICE_ID_SHORT])
{
	char plain[PLAIN + 1];

	text_base32(BYTES(id->bytes, DEVICE_ID_BYTES), plain);
	memcpy(out, plain, DEVICE_ID_SHORT - 1);
	out[DEVICE_ID_SHORT - 1] = 0;
	return out;
}

bool
device_id_parse(const char *text, struct device_id *ret)
{
	struct device_id id;

	if (!text_parse_base32(text, id.bytes, sizeof id.bytes))
		return false;
	*ret = id;
	return true;
}

struct device_id
device_id_of(const struct public_key *k)
{
	struct device_id id;

	hash_sha256(BYTES(&k->alg, 1), BYTES(k->bytes, k->len), id.bytes);
	return id;
}
