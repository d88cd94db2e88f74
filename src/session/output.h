/*
 * output: what a session has to send: messages first, then blocks, in pieces that are contiguous.
 *
 * A message goes ahead of all blocks but those of its own stream.  A piece that has begun is
 * finished before anything else, so frames are never torn.
 */
#pragma once

#include "proto/message.h"
#include "session/block.h"

struct output_piece;
struct output {
	struct buf urgent; /* whole frames */
	size_t urgent_sent;
	struct output_piece *first, *last;
	size_t first_sent; /* bytes of the first piece that went */
	size_t queued;     /* bytes not sent, of all */
	uint64_t blocks;   /* how many were ever taken: the number of the last one */
};

void output_init(struct output *o, size_t max);
void output_clear(struct output *o); /* drops everything; ready for reuse */
/* message_encode */
enum err output_message(struct output *o, const struct message *m, struct error *e) must_check;
void output_frame(struct output *o, struct bytes frame); /* encoded already; copied */
/* takes B, whose header is set; returns its number, counted from 1 */
uint64_t output_block(struct output *o, uint32_t stream, struct block *b);
/* Blocks up to this number were sent whole, or dropped. */
uint64_t output_gone(const struct output *o);
/* Drops the blocks of STREAM, or of all, that have not begun. */
void output_drop(struct output *o, uint32_t stream);
void output_drop_all(struct output *o);
/* borrowed until the next call; empty: nothing */
struct bytes output_front(const struct output *o);
void output_sent(struct output *o, size_t n);
bool output_is_message(const struct output *o); /* the front is */
bool output_has_begun(const struct output *o);  /* some of the front has gone */
