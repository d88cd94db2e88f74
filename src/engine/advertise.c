#include "engine/advertise.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "net/listener.h"
#include "proto/invite.h"

_Static_assert(LISTENER_ADDRESS == LIMIT_ADDRESS_TEXT + 1, "what a listener gives is an address");

static void
put(advertise_text out, const char *host, uint16_t port)
{
	snprintf(out, sizeof(advertise_text), strchr(host, ':') != NULL ? "[%s]:%u" : "%s:%u", host,
	    port);
}

/* Listening on one address means that no other leads here. */
static bool
put_listen(const char *listen, uint16_t port, advertise_text out)
{
	static const char *const any[] = { "", "*", "0.0.0.0", "::" };
	char text[LIMIT_ADDRESS_TEXT + 1], host[LIMIT_ADDRESS_TEXT + 1];
	size_t len = listen != NULL ? strlen(listen) : 0;
	uint16_t p;

	if (len == 0 || len > LIMIT_ADDRESS_TEXT)
		return false;
	memcpy(text, listen, len + 1);
	if (len > 2 && strcmp(text + len - 2, ":0") == 0) /* any port, which is no address */
		text[len - 2] = '\0';
	if (!invite_address_parse(text, host, &p))
		return false;
	for (size_t i = 0; i < lengthof(any); i++) {
		if (strcmp(host, any[i]) == 0)
			return false;
	}
	put(out, host, port);
	return true;
}

/* A host without a port means the port we listen on, not the default one. */
static enum err
put_given(const char *text, uint16_t port, advertise_text out, struct error *e)
{
	char host[LIMIT_ADDRESS_TEXT + 1];
	uint16_t p = 0;

	if (!invite_address_parse(text, host, &p))
		return fail(e, ERR_USAGE, "--advertise %s: expected HOST or HOST:PORT", text);
	bool has_port = text[0] == '[' ? strstr(text, "]:") != NULL : strchr(text, ':') != NULL;
	put(out, host, has_port ? p : port);
	return OK;
}

enum err
advertise_addresses(const char *listen, uint16_t port, const char *const *given, size_t n,
    advertise_text *out, size_t max, size_t *ret_n, struct error *e)
{
	if (n == 0 && put_listen(listen, port, out[0])) {
		*ret_n = 1;
		return OK;
	}
	if (n == 0) {
		*ret_n = listener_own_addresses(port, out, max);
		return OK;
	}
	n = min_of(n, max);
	for (size_t i = 0; i < n; i++) {
		enum err r = put_given(given[i], port, out[i], e);
		if (r != OK)
			return r;
	}
	*ret_n = n;
	return OK;
}
