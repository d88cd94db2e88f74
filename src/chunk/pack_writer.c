#include "chunk/pack_writer.h"

#include <assert.h>

#include "base/log.h"
#include "base/mem.h"
#include "chunk/pack_set.h"
#include "crypto/random.h"
#include "platform/fs.h"

void
pack_writer_init(struct pack_writer *w)
{
	*w = (struct pack_writer){ .fd = -1, .ahead = BUF(PACK_WRITER_AHEAD) };
}

void
pack_writer_clear(struct pack_writer *w)
{
	cleanup_close(&w->fd);
	buf_clear(&w->ahead);
	pack_writer_init(w);
}

enum err
pack_writer_create(struct pack_writer *w, int dir, uint64_t number, struct error *e)
{
	auto_fd int fd = -1;
	char name[PACK_SET_NAME];
	struct relpath p = pack_set_name(number, name);
	struct pack_head h = { .number = number };
	uint8_t head[PACK_HEAD];

	assert(w->fd < 0 && w->ahead.len == 0);
	random_fill(h.salt, sizeof h.salt);
	pack_head_encode(&h, head);
	enum err r = fs_create(dir, p, &fd, e);
	if (r != OK)
		return r;
	r = fs_write_at(fd, 0, BYTES_OF(head), e);
	if (r != OK) {
		/* If it stays, the next recovery removes it. */
		if (fs_unlink(dir, p, NULL) != OK)
			log_debug("%s could not be removed again", name);
		return r;
	}
	w->fd = take_fd(fd);
	w->head = h;
	w->written = sizeof head;
	return OK;
}

enum err
pack_writer_resume(struct pack_writer *w, int dir, uint64_t number, uint64_t size, struct error *e)
{
	auto_fd int fd = -1;
	char name[PACK_SET_NAME];
	struct pack_head h = { 0 };
	uint8_t head[PACK_HEAD];

	assert(w->fd < 0 && w->ahead.len == 0 && size >= PACK_HEAD);
	enum err r = fs_open_write(dir, pack_set_name(number, name), &fd, e);
	if (r == OK)
		r = fs_read_exact(fd, 0, head, sizeof head, e);
	if (r == OK)
		r = pack_head_decode(BYTES_OF(head), &h, e);
	if (r == OK)
		r = fs_truncate(fd, size, e);
	if (r != OK)
		return r;
	w->fd = take_fd(fd);
	w->head = h;
	w->written = size;
	return OK;
}

enum err
pack_writer_flush(struct pack_writer *w, struct error *e)
{
	if (w->ahead.len == 0)
		return OK;
	enum err r = fs_write_at(w->fd, w->written, buf_bytes(&w->ahead), e);
	if (r != OK)
		return r;
	w->written += w->ahead.len;
	buf_reset(&w->ahead);
	return OK;
}

/* A record too big to be worth copying goes straight to the file; the heads first, behind what is
 * gathered. */
static enum err
append_big(struct pack_writer *w, struct bytes heads, struct bytes packed, struct error *e)
{
	enum err r = pack_writer_flush(w, e);

	if (r == OK)
		r = fs_write_at(w->fd, w->written, heads, e);
	if (r == OK)
		r = fs_write_at(w->fd, w->written + heads.len, packed, e);
	if (r == OK)
		w->written += heads.len + packed.len;
	return r;
}

enum err
pack_writer_append(struct pack_writer *w, const struct pack_record *r,
    const struct leaf_list *leaves, struct bytes packed, uint64_t *ret_off, struct error *e)
{
	uint8_t heads[PACK_RECORD_HEAD + CHUNK_LEAVES_MAX * HASH_BYTES];
	size_t n = pack_record_body(r);
	enum err err = OK;

	assert(w->fd >= 0 && pack_record_sane(r) && packed.len == r->packed_len);
	pack_record_encode(&w->head, r, heads);
	if (n > PACK_RECORD_HEAD)
		memcpy(heads + PACK_RECORD_HEAD, leaves->hash, n - PACK_RECORD_HEAD);
	uint64_t off = pack_writer_end(w);
	if (n + packed.len > PACK_WRITER_AHEAD / 4) {
		err = append_big(w, BYTES(heads, n), packed, e);
	} else {
		if (w->ahead.len + n + packed.len > w->ahead.max)
			err = pack_writer_flush(w, e);
		if (err == OK) {
			buf_add(&w->ahead, heads, n);
			buf_add_bytes(&w->ahead, packed);
		}
	}
	if (err == OK)
		*ret_off = off;
	return err;
}

bool
pack_writer_peek(const struct pack_writer *w, uint64_t off, void *to, size_t n)
{
	/* wraps, to what is far too large, for what is in the file */
	uint64_t at = off - w->written;

	if (at > w->ahead.len || n > w->ahead.len - at)
		return false;
	memcpy(to, w->ahead.at + at, n);
	return true;
}

int
pack_writer_finish(struct pack_writer *w)
{
	assert(w->ahead.len == 0);
	w->written = 0;
	return take_fd(w->fd);
}
