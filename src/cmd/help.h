/*
 * help: what `weft help` and --help print, at most HELP_COLUMNS wide.
 */
#pragma once

#include "base/buf.h"
#include "cmd/command.h"

enum { HELP_COLUMNS = 80, HELP_MAX = 64 * 1024 };

void help_all(struct buf *out);
void help_command(const struct command *c, struct buf *out);
/* "weft publish PATH --share SHARE [--label LABEL] ..." in one line, without the options of every
 * command. */
void help_usage(const struct command *c, struct buf *out);
/* The paragraphs about C, each ended by a newline; "" if there are none. */
const char *help_prose(const struct command *c);
/* Words of TEXT in lines of at most COLUMNS, all indented; what is in brackets stays together. Ends
 * with a newline. */
void help_wrap(struct buf *out, const char *text, size_t n, unsigned indent, unsigned columns);
