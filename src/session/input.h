/*
 * input: cutting what comes in into frames: a header, then a payload into a buffer (messages), into
 * a block (DATA, NODE), or into nothing.  Who owns it judges the header before memory is given to
 * the payload.
 */
#pragma once

#include "session/block.h"

enum input_mode { INPUT_HEADER, INPUT_MESSAGE, INPUT_BLOCK, INPUT_SKIP };

struct input {
	enum input_mode mode;
	bool ready; /* a frame is whole: input_done takes it away */
	uint8_t head[LIMIT_FRAME_HEADER];
	struct frame_header header;
	size_t got;          /* bytes of head, or of payload */
	struct buf payload;  /* INPUT_MESSAGE */
	struct block *block; /* INPUT_BLOCK; may be taken once ready */
	uint64_t begun_ms;   /* first byte of the frame */
};

void input_init(struct input *in);
void input_clear(struct input *in);
uint8_t *input_space(struct input *in, size_t *ret_n); /* NULL and 0 when a frame is ready */
/* N bytes came to where input_space said.  True: the header is whole; input_accept or give up. */
bool input_received(struct input *in, size_t n, uint64_t now_ms);
void input_accept(struct input *in, const struct frame_header *h, enum input_mode mode);
void input_done(struct input *in);   /* the payload stays until the next frame or input_forget */
void input_forget(struct input *in); /* frees the payload of the frame before, if there is one */
bool input_is_within(const struct input *in); /* a frame has begun and is not whole */
