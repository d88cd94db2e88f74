#include "engine/upstream.h"

#include <stdio.h>

enum { ADDRESSES_MAX = 16 * 1024 };

static bool
is_known(const struct upstream *u, const char *address, size_t n)
{
	for (size_t i = 0; i < u->n; i++)
		if (strlen(u->addresses[i]) == n && memcmp(u->addresses[i], address, n) == 0)
			return true;
	return false;
}

/* Lines that are empty, too long or a repetition are no addresses: the others may still do. */
static void
take_addresses(const char *text, struct upstream *u)
{
	while (*text != '\0' && u->n < UPSTREAM_ADDRESSES) {
		size_t n = strcspn(text, "\n");
		if (n > 0 && n <= LIMIT_ADDRESS_TEXT && !is_known(u, text, n)) {
			memcpy(u->addresses[u->n], text, n);
			u->addresses[u->n++][n] = '\0';
		}
		text += n + (text[n] == '\n');
	}
}

enum err
upstream_load(struct state *s, struct upstream *ret, struct error *e)
{
	auto_buf struct buf id = BUF(DEVICE_ID_BYTES), name = BUF(STATEMENT_NAME_MAX),
			    addresses = BUF(ADDRESSES_MAX);
	struct upstream u = { .n = 0 };
	enum err r = state_get(s, "server.id", &id, e);

	if (r == OK && id.len != DEVICE_ID_BYTES)
		r = fail(
		    e, ERR_CORRUPT, "state.db: the server's id does not make sense; join again");
	if (r != OK)
		return r;
	memcpy(u.server.bytes, id.at, DEVICE_ID_BYTES);
	if (state_get(s, "server.name", &name, NULL) == OK)
		snprintf(u.name, sizeof u.name, "%s", buf_text(&name));
	if (state_get(s, "server.addresses", &addresses, NULL) == OK)
		take_addresses(buf_text(&addresses), &u);
	*ret = u;
	return OK;
}
