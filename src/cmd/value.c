#include "cmd/value.h"

#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "crypto/statement.h"
#include "net/rate.h"
#include "net/schedule.h"

enum { SHOWN = 80 };

/* WORD is not for what VALUE is: the value, harmless and short, for the message. */
static enum err
bad(const char *value, const char *expected, struct error *e)
{
	char shown[SHOWN];

	return fail(e, ERR_USAGE, "'%s' is not %s",
	    text_escape(bytes_str(value), shown, sizeof shown), expected);
}

static enum err
check_number(const char *value, struct error *e)
{
	uint64_t n = 0;

	return text_parse_u64(value, 1000000000, &n) && n > 0 ? OK
							      : bad(value, "a number from 1", e);
}

static enum err
check_ms(const char *value, struct error *e)
{
	uint64_t n = 0;

	return text_parse_u64(value, 1000, &n) ? OK
					       : bad(value, "a number of milliseconds to 1000", e);
}

static enum err
check_time(const char *value, struct error *e)
{
	uint64_t s = 0;

	return text_parse_duration(value, &s) && s > 0
		   ? OK
		   : bad(value, "a time such as 30m, 24h or 7d", e);
}

static enum err
check_rate(const char *value, struct error *e)
{
	uint64_t n = 0;

	return text_parse_rate(value, &n) && n >= RATE_MIN && n <= RATE_MAX
		   ? OK
		   : bad(value, "a rate from 128kbit, such as 50Mbit or 6.25MB", e);
}

static enum err
check_rate_or_off(const char *value, struct error *e)
{
	return strcmp(value, "off") == 0 ? OK : check_rate(value, e);
}

static enum err
check_schedule(const char *value, struct error *e)
{
	struct schedule s;

	return strcmp(value, "none") == 0 ? OK : schedule_parse(value, &s, e);
}

static enum err
check_name(const char *value, struct error *e)
{
	return statement_name_ok(value)
		   ? OK
		   : bad(value, "a name: 1 to 64 bytes without '/' and '@'", e);
}

/* A port at AT, and nothing behind. */
static bool
is_port(const char *at, uint64_t least)
{
	uint64_t port = 0;

	return text_parse_u64(at, UINT16_MAX, &port) && port >= least;
}

/* A host name, an IPv4 address or, in brackets, an IPv6 address. */
static bool
is_host(const char *at, size_t n)
{
	static const char letters[] =
	    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._";
	static const char v6_letters[] = "0123456789abcdefABCDEF:.%";
	bool v6 = n > 2 && at[0] == '[' && at[n - 1] == ']';

	if (v6)
		return strspn(at + 1, v6_letters) >= n - 2;
	return n > 0 && n < 128 && strspn(at, letters) >= n;
}

/* Where the port of "host:port" begins, NULL when there is none: a ':' behind the bracket, or the
 * only one. */
static const char *
port_of(const char *value)
{
	const char *bracket = strrchr(value, ']');
	const char *colon = strrchr(bracket != NULL ? bracket : value, ':');

	return colon;
}

static enum err
check_listen(const char *value, struct error *e)
{
	const char *colon = port_of(value);
	bool ok;

	if (colon == NULL)
		ok = is_port(value, 0);
	else
		ok = is_port(colon + 1, 0) &&
		     (colon == value || is_host(value, (size_t)(colon - value)));
	return ok ? OK : bad(value, "ADDR:PORT, :PORT or PORT", e);
}

static enum err
check_advertise(const char *value, struct error *e)
{
	const char *colon = port_of(value);
	size_t host = colon == NULL ? strlen(value) : (size_t)(colon - value);
	bool ok = is_host(value, host) && (colon == NULL || is_port(colon + 1, 1));

	return ok ? OK : bad(value, "HOST or HOST:PORT", e);
}

/* VALUE is one of the words between the bars of CHOICES. */
static bool
is_choice(const char *choices, const char *value)
{
	size_t n = strlen(value);

	for (const char *at = choices;; at++) {
		size_t len = strcspn(at, "|");
		if (len == n && n > 0 && memcmp(at, value, n) == 0)
			return true;
		at += len;
		if (*at == '\0')
			return false;
	}
}

static enum err
check_choice(const char *choices, const char *value, struct error *e)
{
	char expected[80];

	if (is_choice(choices, value))
		return OK;
	snprintf(expected, sizeof expected, "one of %s", choices);
	return bad(value, expected, e);
}

/* "photos:read" */
static enum err
check_pair(const char *word, const char *value, struct error *e)
{
	const char *colon = strrchr(value, ':');
	const char *choices = strchr(word, ':') + 1;
	char name[STATEMENT_NAME_MAX + 1], expected[80];
	size_t n = colon == NULL ? sizeof name : (size_t)(colon - value);

	if (n < sizeof name) {
		memcpy(name, value, n);
		name[n] = '\0';
		if (statement_name_ok(name) && is_choice(choices, colon + 1))
			return OK;
	}
	snprintf(expected, sizeof expected, "%s", word);
	return bad(value, expected, e);
}

enum err
value_check(const char *word, const char *value, struct error *e)
{
	static const struct {
		const char *word;
		enum err (*check)(const char *value, struct error *e);
	} kinds[] = {
		{ "N", check_number },
		{ "JOB", check_number },
		{ "MS", check_ms },
		{ "TIME", check_time },
		{ "RATE", check_rate },
		{ "RATE|off", check_rate_or_off },
		{ "SCHEDULE", check_schedule },
		{ "SHARE", check_name },
		{ "NAME", check_name },
		{ "SITE", check_name },
		{ "GROUP", check_name },
		{ "LABEL", check_name },
		{ "ADDR:PORT", check_listen },
		{ "HOST[:PORT]", check_advertise },
	};

	if (*value == '\0')
		return fail(e, ERR_USAGE, "%s is empty", word);
	for (size_t i = 0; i < lengthof(kinds); i++)
		if (strcmp(kinds[i].word, word) == 0)
			return kinds[i].check(value, e);
	if (strchr(word, '|') == NULL)
		return OK;
	return strchr(word, ':') != NULL ? check_pair(word, value, e)
					 : check_choice(word, value, e);
}
