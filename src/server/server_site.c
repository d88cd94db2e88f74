/* Which member is at which site. */
#include "server/server_internal.h"

uint64_t
server_site_number(const struct registry_device *d)
{
	uint8_t h[HASH_BYTES];
	uint64_t n;

	hash_sha256(BYTES_LIT("site "), bytes_str(d->site), h);
	memcpy(&n, h, sizeof n);
	return n;
}
