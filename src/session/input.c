#include "session/input.h"

#include <assert.h>

#include "base/mem.h"

enum { STEP = 4096 }; /* payload memory given ahead of what came */

void
input_init(struct input *in)
{
	*in = (struct input){ .payload = BUF(LIMIT_FRAME_MESSAGE) };
}

void
input_clear(struct input *in)
{
	block_free(in->block);
	buf_clear(&in->payload);
	input_init(in);
}

uint8_t *
input_space(struct input *in, size_t *ret_n)
{
	size_t left = in->header.length - in->got;

	*ret_n = 0;
	if (in->ready)
		return NULL;
	switch (in->mode) {
	case INPUT_HEADER:
		*ret_n = LIMIT_FRAME_HEADER - in->got;
		return in->head + in->got;
	case INPUT_BLOCK:
		*ret_n = left;
		return in->block->bytes + in->got;
	case INPUT_SKIP: /* the same place again and again */
		*ret_n = min_of(left, (size_t)STEP);
		return buf_reserve(&in->payload, *ret_n);
	case INPUT_MESSAGE:
		/* Memory grows with what came, not with what the header says will come. */
		*ret_n = min_of(left, max_of(in->got, (size_t)STEP));
		return buf_reserve(&in->payload, *ret_n);
	}
	return NULL;
}

bool
input_received(struct input *in, size_t n, uint64_t now_ms)
{
	assert(!in->ready);
	if (in->mode == INPUT_HEADER && in->got == 0)
		in->begun_ms = now_ms;
	in->got += n;
	if (in->mode == INPUT_HEADER) {
		assert(in->got <= LIMIT_FRAME_HEADER);
		return in->got == LIMIT_FRAME_HEADER;
	}
	assert(in->got <= in->header.length);
	if (in->mode == INPUT_MESSAGE)
		buf_grown(&in->payload, n);
	in->ready = in->got == in->header.length;
	return false;
}

void
input_accept(struct input *in, const struct frame_header *h, enum input_mode mode)
{
	in->header = *h;
	in->mode = mode;
	in->got = 0;
	in->ready = h->length == 0;
	buf_reset(&in->payload);
	if (mode == INPUT_BLOCK) {
		in->block = block_new(h->length);
		in->block->len = h->length;
	}
}

void
input_done(struct input *in)
{
	block_free(in->block);
	in->block = NULL;
	in->mode = INPUT_HEADER;
	in->got = 0;
	in->ready = false;
}

void
input_forget(struct input *in)
{
	if (in->mode == INPUT_HEADER)
		buf_clear(&in->payload);
}

bool
input_is_within(const struct input *in)
{
	return !in->ready && (in->mode != INPUT_HEADER || in->got > 0);
}
