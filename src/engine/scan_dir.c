#include "base/mem.h"
#include "engine/scan_private.h"

static const char rules_name[] = ".weftignore";

static size_t
depth_of(const struct scan_dir *d)
{
	size_t n = 0;

	for (; d != NULL; d = d->parent)
		n++;
	return n;
}

struct scan_dir *
scan_dir_ref(struct scan_dir *d)
{
	d->refs++;
	return d;
}

static void
drop_list(struct scan *s, struct scan_dir *d)
{
	s->listed -= d->list.len;
	fs_list_clear(&d->list);
}

void
scan_dir_unref(struct scan *s, struct scan_dir *d)
{
	/* As deep as RELPATH_DEPTH_MAX, and without recursion. */
	while (d != NULL && --d->refs == 0) {
		struct scan_dir *parent = d->parent;
		if (d->id != 0)
			array_push(&s->seen, d->id);
		cleanup_close(&d->fd);
		ignore_rules_free(d->rules);
		drop_list(s, d);
		free((char *)d->path.text);
		free(d);
		d = parent;
	}
}

struct relpath
scan_dir_child(const struct scan_dir *d, const char *name, struct buf *to)
{
	if (to->max == 0)
		*to = BUF(RELPATH_MAX + RELPATH_NAME_MAX + 1);
	buf_reset(to);
	buf_add(to, d->path.text, d->path.len);
	if (d->path.len > 0)
		buf_u8(to, '/');
	buf_add(to, name, strlen(name));
	return (struct relpath){ buf_text(to), to->len };
}

static struct scan_dir *
make(struct scan_dir *parent, struct relpath path)
{
	struct scan_dir *d = mem_new(struct scan_dir);
	char *text = mem_dup(path.text, path.len + 1);
	const char *slash = memrchr(text, '/', path.len);

	*d = (struct scan_dir){ .parent = parent, .refs = 1, .fd = -1, .path = { text, path.len } };
	d->name = slash != NULL ? slash + 1 : text;
	if (parent != NULL)
		scan_dir_ref(parent);
	return d;
}

static size_t
find_name(const struct fs_list *l, const char *name)
{
	size_t from = 0, to = l->n;

	while (from < to) {
		size_t middle = from + (to - from) / 2;
		int c = strcmp(l->names + l->at[middle], name);
		if (c == 0)
			return middle;
		if (c < 0)
			from = middle + 1;
		else
			to = middle;
	}
	return l->n;
}

/* Of a directory that was just opened. */
static bool
has(const struct scan_dir *d, const char *name, enum fs_type *ret_type)
{
	struct fs_stat st;

	if (!d->list.more && find_name(&d->list, name) == d->list.n)
		return false;
	if (fs_stat_at(d->fd, fs_rel(name), &st, NULL) != OK)
		return false;
	*ret_type = st.type;
	return true;
}

bool
scan_dir_is_home(const struct scan_dir *d)
{
	static const char word[] = "weft home ";
	auto_buf struct buf text = BUF(64);
	enum fs_type type;

	if (!has(d, "device.key", &type) || !has(d, "format", &type))
		return false;
	return fs_read_file(d->fd, REL("format"), &text, NULL) == OK &&
	       text.len >= sizeof word - 1 && memcmp(text.at, word, sizeof word - 1) == 0;
}

static enum err
read_rules(struct scan_dir *d, struct error *e)
{
	auto_buf struct buf text = BUF(IGNORE_FILE_MAX), path = { 0 };
	enum fs_type type;

	d->has_rules = d->parent != NULL && d->parent->has_rules;
	if (!has(d, rules_name, &type) || type == FS_DIR)
		return OK;
	struct error why = { 0 };
	enum err r = fs_read_file(d->fd, fs_rel(rules_name), &text, &why);
	if (r == ERR_IO)
		return error_set(e, r, why.sys, why.where, "%s", why.text); /* its path is in it */
	if (r == OK)
		r = ignore_rules_parse(buf_bytes(&text), &d->rules, &why);
	if (r != OK)
		return fail(
		    e, ERR_USAGE, "%s: %s", scan_dir_child(d, rules_name, &path).text, why.text);
	d->has_rules = true;
	return OK;
}

/* Directories within one another may each have any number of names: together they stay within
 * SCAN_LIST_ALL, for each takes half of what is left. */
static enum err
list(struct scan *s, struct scan_dir *d, int fd, const char *after, struct error *e)
{
	struct fs_list page = { 0 };
	size_t left = SCAN_LIST_ALL - min_of(s->listed, (size_t)SCAN_LIST_ALL);
	size_t max = s->o->list_max > 0 ? s->o->list_max : max_of(left / 2, (size_t)SCAN_LIST_MIN);
	enum err r = fs_list_page(fd, after, max, &page, e);

	if (r != OK)
		return r;
	d->list = page;
	s->listed += page.len;
	return OK;
}

enum err
scan_dir_turn_page(struct scan *s, struct scan_dir *d, struct error *e)
{
	auto_free char *last = str_dup(fs_list_last(&d->list));
	int fd;
	enum err r = scan_dir_fd(s, d, &fd, e);

	drop_list(s, d);
	return r == OK ? list(s, d, fd, last, e) : r;
}

/* Takes FD. */
static enum err
fill(struct scan *s, struct scan_dir *d, int fd, struct error *e)
{
	d->fd = fd;
	enum err r = fs_stat_fd(fd, &d->st, e);
	if (r == OK)
		r = list(s, d, fd, NULL, e);
	return r == OK ? read_rules(d, e) : r;
}

enum err
scan_dir_open(struct scan *s, struct scan_dir *parent, const char *name, struct scan_dir **ret,
    struct error *e)
{
	auto_buf struct buf path = { 0 };
	struct relpath p = scan_dir_child(parent, name, &path);
	int at, fd = -1;

	if (p.len > RELPATH_MAX || depth_of(parent) >= RELPATH_DEPTH_MAX)
		return fail(e, ERR_LIMIT, "lies too deep");
	enum err r = scan_dir_fd(s, parent, &at, e);
	if (r == OK)
		r = fs_open_dir(at, (struct relpath){ name, strlen(name) }, &fd, e);
	if (r != OK)
		return r;
	struct scan_dir *d = make(parent, p);
	r = fill(s, d, fd, e);
	if (r != OK) {
		scan_dir_unref(s, d);
		return r;
	}
	*ret = d;
	return OK;
}

/* The list that has one name. */
static void
list_only(struct fs_list *l, const char *name)
{
	*l = (struct fs_list){ .names = str_dup(name), .at = mem_array(uint32_t, 1), .n = 1 };
	l->type = mem_alloc(1);
	l->type[0] = FS_FILE;
}

enum err
scan_dir_open_root(struct scan *s, int fd, const char *only, const char *as, struct scan_dir **ret,
    struct error *e)
{
	struct scan_dir *d = make(NULL, (struct relpath){ "", 0 });
	enum err r = fill(s, d, fd, e);

	if (r == OK && scan_dir_is_home(d))
		r = fail(e, ERR_DENIED, "%s is a home of weft, which is not published", s->o->path);
	if (r != OK) {
		scan_dir_unref(s, d);
		return r;
	}
	if (only != NULL) {
		drop_list(s, d);
		list_only(&d->list, only);
		ignore_rules_free(d->rules);
		d->rules = NULL;
		d->has_rules = false;
		d->as = as;
	}
	*ret = d;
	return OK;
}

enum err
scan_dir_fd(struct scan *s, struct scan_dir *d, int *ret_fd, struct error *e)
{
	struct fs_stat st;
	int fd_ = -1;

	if (d->fd < 0) {
		enum err r = fs_open_dir(s->root_fd, d->path, &fd_, e);
		auto_fd int fd = fd_;
		if (r == OK)
			r = fs_stat_fd(fd, &st, e);
		if (r == OK && (st.ino != d->st.ino || st.dev != d->st.dev))
			r = fail(e, ERR_NOTFOUND, "%s is another directory now", d->path.text);
		if (r != OK)
			return r;
		d->fd = take_fd(fd);
		d->parked = false;
	}
	*ret_fd = d->fd;
	return OK;
}

void
scan_dir_rest(struct scan_dir *d)
{
	if (d->parent != NULL && d->jobs == 0 && (d->left || d->parked)) {
		cleanup_close(&d->fd);
		d->fd = -1;
	}
}

void
scan_dir_leave(struct scan *s, struct scan_dir *d)
{
	d->left = true;
	drop_list(s, d);
	s->pinned += d->jobs > 0;
	scan_dir_rest(d);
}

void
scan_dir_park(struct scan_dir *d)
{
	d->parked = true;
	scan_dir_rest(d);
}

enum err
scan_dir_begin(struct scan *s, struct scan_dir *d, int *ret_fd, struct error *e)
{
	enum err r = scan_dir_fd(s, d, ret_fd, e);

	if (r == OK && d->jobs++ == 0 && d->left)
		s->pinned++;
	return r;
}

void
scan_dir_end(struct scan *s, struct scan_dir *d)
{
	if (--d->jobs == 0 && d->left)
		s->pinned--;
	scan_dir_rest(d);
}

bool
scan_dir_ignores(const struct scan_dir *d, const char *name, bool is_dir, struct buf *room)
{
	if (!d->has_rules)
		return false;
	struct relpath path = scan_dir_child(d, name, room);
	for (; d != NULL && d->has_rules; d = d->parent) {
		if (d->rules == NULL)
			continue;
		size_t from = d->path.len > 0 ? d->path.len + 1 : 0;
		enum ignore_verdict v =
		    ignore_rules_match(d->rules, BYTES(path.text + from, path.len - from), is_dir);
		if (v != IGNORE_UNDECIDED)
			return v == IGNORE_YES;
	}
	return false;
}
