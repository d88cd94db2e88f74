#include "platform/relpath.h"

#include "base/text.h"

bool
relpath_is_name(struct bytes name)
{
	if (name.len < 1 || name.len > RELPATH_NAME_MAX)
		return false;
	if (memchr(name.at, '/', name.len) != NULL || memchr(name.at, '\0', name.len) != NULL)
		return false;
	return !bytes_equal(name, BYTES_LIT(".")) && !bytes_equal(name, BYTES_LIT(".."));
}

/* Says what is wrong in the words of the text itself: it is a stranger's, so it is escaped. */
static enum err
bad_path(const char *text, size_t len, const char *what, struct error *e)
{
	char shown[120];

	return fail(e, ERR_PROTO, "path \"%s\" %s",
	    text_escape(BYTES(text, len), shown, sizeof shown), what);
}

enum err
relpath_parse(const char *text, size_t len, struct relpath *ret, struct error *e)
{
	unsigned depth = 0;

	if (len > RELPATH_MAX)
		return bad_path(text, len, "is too long", e);
	for (size_t at = 0; at < len;) {
		const char *slash = memchr(text + at, '/', len - at);
		size_t end = slash != NULL ? (size_t)(slash - text) : len;
		if (!relpath_is_name(BYTES(text + at, end - at)))
			return bad_path(text, len, "has a name that is not allowed", e);
		if (++depth > RELPATH_DEPTH_MAX)
			return bad_path(text, len, "is too deep", e);
		if (end == len - 1)
			return bad_path(text, len, "ends with a slash", e);
		at = slash != NULL ? end + 1 : len;
	}
	*ret = (struct relpath){ .text = text, .len = len };
	return OK;
}

bool
relpath_is_reserved(struct bytes name)
{
	struct bytes ours = BYTES_LIT(".weft");

	return name.len >= ours.len && bytes_equal(BYTES(name.at, ours.len), ours);
}
