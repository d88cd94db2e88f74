#include "cmd/view.h"

#include <string.h>

#include "base/mem.h"

static const struct {
	const char *verb;
	enum view_kind kind;
} views[] = {
#define VIEW(verb, kind) { #verb, VIEW_##kind },
#define LIST(verb, list)
#define COLUMN(verb, list, field, title)
#define SHORT(verb, list, field, title)
#include "cmd/views.def"
#undef VIEW
#undef LIST
#undef COLUMN
#undef SHORT
};

static const struct view_column columns[] = {
#define VIEW(verb, kind)
#define LIST(verb, list)
#define COLUMN(verb, list, field, title) { #verb, list, field, title, false },
#define SHORT(verb, list, field, title)  { #verb, list, field, title, true },
#include "cmd/views.def"
#undef VIEW
#undef LIST
#undef COLUMN
#undef SHORT
};

static const struct {
	const char *verb, *list;
} lists[] = {
#define VIEW(verb, kind)
#define LIST(verb, list) { #verb, list },
#define COLUMN(verb, list, field, title)
#define SHORT(verb, list, field, title)
#include "cmd/views.def"
#undef VIEW
#undef LIST
#undef COLUMN
#undef SHORT
};

enum view_kind
view_kind(const char *verb)
{
	for (size_t i = 0; i < lengthof(views); i++)
		if (strcmp(views[i].verb, verb) == 0)
			return views[i].kind;
	return VIEW_OBJECT;
}

bool
view_is_array(const char *verb)
{
	enum view_kind kind = view_kind(verb);

	return kind == VIEW_TABLE || kind == VIEW_CHECKS;
}

const struct view_column *
view_next(const char *verb, const char *list, const struct view_column *c)
{
	for (c = c == NULL ? columns : c + 1; c < columns + lengthof(columns); c++)
		if (strcmp(c->verb, verb) == 0 && strcmp(c->list, list) == 0)
			return c;
	return NULL;
}

const char *
view_list(const char *verb, size_t i)
{
	for (size_t at = 0; at < lengthof(lists); at++)
		if (strcmp(lists[at].verb, verb) == 0 && i-- == 0)
			return lists[at].list;
	return NULL;
}
