#include "engine/home.h"

#include <limits.h>
#include <stdio.h>

#include "base/mem.h"
#include "base/text.h"
#include "crypto/statement.h"

enum {
	HOME_MODE = 0700,
	KEY_MAX = 4096, /* bytes of device.key */
	FORMAT_MAX = 64,
	SHOWN = 200,
};

static const char format_word[] = "weft home ";

/* Opens the longest beginning of PATH that exists; *RET_LEFT points at what is missing, "" when
 * nothing is. */
static enum err
open_what_exists(const char *path, int *ret_fd, const char **ret_left, struct error *e)
{
	auto_free char *part = str_dup(path);
	size_t end = strlen(part);

	for (;;) {
		part[end] = '\0';
		enum err r = fs_open_root(end > 0 ? part : "/", ret_fd, e);
		if (r == OK)
			*ret_left = path + end;
		if (r != ERR_NOTFOUND || end == 0)
			return r;
		while (end > 0 && part[end - 1] == '/')
			end--;
		while (end > 0 && part[end - 1] != '/')
			end--;
		while (end > 0 && part[end - 1] == '/')
			end--;
	}
}

/* LEFT as a relpath in BUF: without slashes around it or doubled in it. */
static enum err
relpath_of(const char *left, struct buf *text, struct relpath *ret, struct error *e)
{
	for (; *left != '\0'; left++) {
		if (*left == '/' && (text->len == 0 || left[1] == '/' || left[1] == '\0'))
			continue;
		buf_u8(text, (uint8_t)*left);
	}
	if (text->full)
		return fail(e, ERR_LIMIT, "its path is longer than %d bytes", RELPATH_MAX);
	return relpath_parse(buf_text(text), text->len, ret, e);
}

static enum err
open_dir(const char *path, int *ret_fd, struct error *e)
{
	auto_buf struct buf text = BUF(RELPATH_MAX);
	struct relpath missing = { 0 };
	struct fs_stat st;
	const char *left;
	int base_ = -1, fd_ = -1;
	enum err r = open_what_exists(path, &base_, &left, e);
	auto_fd int base = base_;

	if (r == OK)
		r = relpath_of(left, &text, &missing, e);
	if (r == OK && missing.len > 0)
		r = fs_mkdirs(base, missing, HOME_MODE, e);
	if (r == OK)
		r = fs_open_dir(base, missing, &fd_, e);
	auto_fd int fd = fd_;
	if (r == OK)
		r = fs_stat_fd(fd, &st, e);
	if (r != OK)
		return r;
	if ((st.mode & 077) != 0)
		return fail(e, ERR_DENIED, "others may look into it (mode %03o); run: chmod 700 %s",
		    st.mode & 0777, path);
	*ret_fd = take_fd(fd);
	return OK;
}

/* What the format file says: "weft home N" and a newline. */
static enum err
parse_format(struct bytes text, uint64_t *ret, struct error *e)
{
	char number[FORMAT_MAX + 1] = "";
	size_t word = sizeof format_word - 1;

	if (text.len > word + 1 && text.at[text.len - 1] == '\n' &&
	    bytes_equal(bytes_slice(text, 0, word), BYTES_LIT(format_word)))
		memcpy(number, text.at + word, text.len - word - 1);
	if (!text_parse_u64(number, UINT32_MAX, ret) || *ret == 0)
		return fail(e, ERR_CORRUPT, "its format file does not say what it is");
	return OK;
}

/* Older formats will be brought forward here, one step at a time, each ending with the format
 * file. */
static enum err
check_format(int dir, bool *ret_is_new, struct error *e)
{
	auto_buf struct buf text = BUF(FORMAT_MAX);
	uint64_t format = 0;
	enum err r = fs_read_file(dir, REL("format"), &text, e);

	*ret_is_new = r == ERR_NOTFOUND;
	if (r == ERR_NOTFOUND)
		return OK;
	if (r == OK)
		r = parse_format(buf_bytes(&text), &format, e);
	if (r == OK && format > HOME_FORMAT)
		r = fail(e, ERR_LIMIT,
		    "it was made by a newer weft (format %llu, this one knows %d)",
		    (unsigned long long)format, HOME_FORMAT);
	return r;
}

static enum err
write_format(int dir, struct error *e)
{
	auto_buf struct buf text = BUF(FORMAT_MAX);

	buf_addf(&text, "%s%d\n", format_word, HOME_FORMAT);
	return fs_write_file(dir, REL("format"), buf_bytes(&text), 0600, e);
}

static enum err
make_key(int dir, struct device_key **ret, struct error *e)
{
	auto_(device_key_free_p) struct device_key *key = NULL;
	auto_buf struct buf pem = BUF(KEY_MAX);
	enum err r = device_key_generate(&key, e);

	if (r == OK)
		r = device_key_to_pem(key, &pem, e);
	if (r == OK)
		r = fs_write_file(dir, REL("device.key"), buf_bytes(&pem), 0600, e);
	if (pem.at != NULL)
		mem_wipe(pem.at, pem.room);
	if (r == OK)
		*ret = take_ptr(key);
	return r;
}

/* Only a new home gets a new key: whoever loses one is another device from then on, and must know
 * it. */
static enum err
load_key(int dir, bool is_new, struct device_key **ret, struct error *e)
{
	auto_buf struct buf pem = BUF(KEY_MAX);
	enum err r = fs_read_file(dir, REL("device.key"), &pem, e);

	if (r == ERR_NOTFOUND && is_new)
		return make_key(dir, ret, e);
	if (r == ERR_NOTFOUND)
		return fail(e, ERR_CORRUPT,
		    "its device.key is gone; bring it back from a backup, or begin with another "
		    "home");
	if (r == OK)
		r = device_key_from_pem(buf_bytes(&pem), ret, e);
	if (r == ERR_CORRUPT)
		error_wrap(e, r, "its device.key is damaged; bring it back from a backup");
	if (pem.at != NULL)
		mem_wipe(pem.at, pem.room);
	return r;
}

static enum err
make_dirs(int dir, struct error *e)
{
	static const char *const names[] = { "nodes", "maps", "jobs" };
	enum err r = OK;

	for (size_t i = 0; r == OK && i < lengthof(names); i++)
		r = fs_mkdirs(dir, fs_rel(names[i]), HOME_MODE, e);
	return r;
}

/* The format file is written last: where it is, the rest was there once. */
static enum err
open_home(struct home *h, struct error *e)
{
	bool is_new = false;
	enum err r = open_dir(h->path, &h->dir, e);

	if (r == OK)
		r = fs_lock(h->dir, REL("lock"), &h->lock, e);
	if (r == OK)
		r = check_format(h->dir, &is_new, e);
	if (r == OK)
		r = load_key(h->dir, is_new, &h->key, e);
	if (r == OK)
		r = make_dirs(h->dir, e);
	if (r == OK && is_new)
		r = write_format(h->dir, e);
	return r;
}

enum err
home_open(const char *path, struct home **ret, struct error *e)
{
	char shown[SHOWN];

	if (path[0] != '/')
		return fail(e, ERR_USAGE, "home %s: the path must be absolute",
		    text_escape(bytes_str(path), shown, sizeof shown));
	struct home *h = mem_new(struct home);
	*h = (struct home){ .path = str_dup(path), .dir = -1, .lock = -1 };
	struct error why; /* on the way to success some files are not there */
	enum err r = open_home(h, &why);
	if (r != OK) {
		home_close(h);
		if (e != NULL)
			*e = why;
		return error_wrap(
		    e, r, "home %s", text_escape(bytes_str(path), shown, sizeof shown));
	}
	*ret = h;
	return OK;
}

void
home_close(struct home *h)
{
	if (h == NULL)
		return;
	device_key_free(h->key);
	cleanup_close(&h->lock);
	cleanup_close(&h->dir);
	free(h->path);
	free(h);
}

char *
home_path(const struct home *h, const char *name)
{
	return str_printf("%s/%s", h->path, name);
}

char *
home_socket_path(const char *path)
{
	return str_printf("%s/control.sock", path);
}

void
home_host_name(char *out, size_t n)
{
	char host[HOST_NAME_MAX + 1] = "";

	if (gethostname(host, sizeof host - 1) != 0 || !statement_name_ok(host))
		snprintf(host, sizeof host, "device");
	snprintf(out, n, "%s", host);
}
