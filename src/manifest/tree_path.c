#include "manifest/tree_path.h"

#include "base/text.h"

enum err
tree_path_push(struct tree_path *p, struct bytes name, size_t depth, struct error *e)
{
	bool slash = p->len > 0;

	if (depth > RELPATH_DEPTH_MAX)
		return fail(e, ERR_PROTO, "tree of more than %d directories within each other",
		    RELPATH_DEPTH_MAX);
	if (slash + name.len > RELPATH_MAX - p->len)
		return fail(e, ERR_PROTO, "path of more than %d bytes", RELPATH_MAX);
	if (slash)
		p->text[p->len++] = '/';
	memcpy(p->text + p->len, name.at, name.len);
	p->len += name.len;
	p->text[p->len] = 0;
	return OK;
}

void
tree_path_cut(struct tree_path *p, size_t len)
{
	p->len = len;
	p->text[len] = 0;
}

/* Made of checked names and of checked depth and length: what relpath_parse would give. */
struct relpath
tree_path_view(const struct tree_path *p)
{
	return (struct relpath){ .text = p->text, .len = p->len };
}

enum err
tree_path_wrap(const struct tree_path *p, enum err code, struct error *e)
{
	char shown[200];

	return error_wrap(
	    e, code, "tree at \"%s\"", text_escape(BYTES(p->text, p->len), shown, sizeof shown));
}
