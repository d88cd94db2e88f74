#include "session/output.h"

#include <assert.h>

#include "base/mem.h"

enum { URGENT_KEPT = 512 }; /* memory that an idle connection may keep */

struct output_piece { /* a block, or a message that must not overtake one */
	struct output_piece *next;
	uint32_t stream;
	struct block *block;
	uint64_t number; /* of the block */
	struct buf message;
};

static size_t
piece_len(const struct output_piece *p)
{
	return p->block != NULL ? LIMIT_FRAME_HEADER + p->block->len : p->message.len;
}

static void
piece_free(struct output_piece *p)
{
	block_free(p->block);
	buf_clear(&p->message);
	free(p);
}

static struct output_piece *
piece_add(struct output *o, uint32_t stream)
{
	struct output_piece *p = mem_new(struct output_piece);

	p->stream = stream;
	if (o->last != NULL)
		o->last->next = p;
	else
		o->first = p;
	o->last = p;
	return p;
}

void
output_init(struct output *o, size_t max)
{
	*o = (struct output){ .urgent = BUF(max) };
}

void
output_clear(struct output *o)
{
	while (o->first != NULL) {
		struct output_piece *next = o->first->next;
		piece_free(o->first);
		o->first = next;
	}
	buf_clear(&o->urgent);
	output_init(o, o->urgent.max);
}

static bool
has_stream(const struct output *o, uint32_t stream)
{
	for (const struct output_piece *p = o->first; p != NULL; p = p->next)
		if (p->stream == stream)
			return true;
	return false;
}

/* Forgets what went when that is most of it, so that a buffer which is never quite empty stays
 * small. */
static void
make_room(struct output *o)
{
	if (o->urgent_sent <= o->urgent.len / 2)
		return;
	buf_drop_front(&o->urgent, o->urgent_sent);
	o->urgent_sent = 0;
}

enum err
output_message(struct output *o, const struct message *m, struct error *e)
{
	auto_buf struct buf behind = BUF(o->urgent.max);
	bool wait = m->stream != 0 && has_stream(o, m->stream);
	struct buf *to = wait ? &behind : &o->urgent;

	make_room(o);
	size_t before = to->len;
	enum err r = message_encode(m, to, e);
	if (r != OK)
		return r;
	o->queued += to->len - before;
	if (wait) {
		struct output_piece *p = piece_add(o, m->stream);
		p->message = behind;
		behind = BUF(0);
	}
	return OK;
}

void
output_frame(struct output *o, struct bytes frame)
{
	if (buf_add_bytes(&o->urgent, frame))
		o->queued += frame.len;
}

uint64_t
output_block(struct output *o, uint32_t stream, struct block *b)
{
	struct output_piece *p = piece_add(o, stream);

	p->block = b;
	p->number = ++o->blocks;
	o->queued += LIMIT_FRAME_HEADER + b->len;
	return p->number;
}

uint64_t
output_gone(const struct output *o)
{
	for (const struct output_piece *p = o->first; p != NULL; p = p->next) {
		if (p->block != NULL)
			return p->number - 1;
	}
	return o->blocks;
}

static void
drop(struct output *o, bool all, uint32_t stream)
{
	struct output_piece **at = &o->first;

	o->last = NULL;
	while (*at != NULL) {
		struct output_piece *p = *at;
		bool begun = p == o->first && o->first_sent > 0;
		if (!begun && p->block != NULL && (all || p->stream == stream)) {
			*at = p->next;
			o->queued -= piece_len(p);
			piece_free(p);
		} else {
			o->last = p;
			at = &p->next;
		}
	}
}

void
output_drop(struct output *o, uint32_t stream)
{
	drop(o, false, stream);
}

void
output_drop_all(struct output *o)
{
	drop(o, true, 0);
}

struct bytes
output_front(const struct output *o)
{
	if (o->urgent_sent < o->urgent.len && o->first_sent == 0)
		return BYTES(o->urgent.at + o->urgent_sent, o->urgent.len - o->urgent_sent);
	if (o->first == NULL)
		return BYTES(NULL, 0);
	const struct output_piece *p = o->first;
	const uint8_t *at = p->block != NULL ? p->block->header : p->message.at;
	return BYTES(at + o->first_sent, piece_len(p) - o->first_sent);
}

bool
output_is_message(const struct output *o)
{
	if (o->urgent_sent < o->urgent.len && o->first_sent == 0)
		return true;
	return o->first != NULL && o->first->block == NULL;
}

bool
output_has_begun(const struct output *o)
{
	return o->first_sent > 0;
}

static void
urgent_sent(struct output *o, size_t n)
{
	o->urgent_sent += n;
	if (o->urgent_sent < o->urgent.len)
		return;
	o->urgent_sent = 0;
	if (o->urgent.room > URGENT_KEPT)
		buf_clear(&o->urgent);
	else
		buf_reset(&o->urgent);
}

void
output_sent(struct output *o, size_t n)
{
	assert(n <= output_front(o).len);
	o->queued -= n;
	if (o->urgent_sent < o->urgent.len && o->first_sent == 0) {
		urgent_sent(o, n);
		return;
	}
	o->first_sent += n;
	if (o->first != NULL && o->first_sent == piece_len(o->first)) {
		struct output_piece *p = o->first;
		o->first = p->next;
		if (o->first == NULL)
			o->last = NULL;
		o->first_sent = 0;
		piece_free(p);
	}
}
