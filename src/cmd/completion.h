/*
 * completion: the tables of the script for bash, from the table of commands; packaging/weft.bash.in
 * is the rest of it.
 *
 * _weft_verbs; and for each verb, in associative arrays: _weft_options "--share --label",
 * _weft_values "--share=SHARE", _weft_arguments "SHARE DEST".  What every command has is under "-".
 * Words such as SHARE or PATH say how a value is completed.
 */
#pragma once

#include "base/buf.h"

enum { COMPLETION_MAX = 64 * 1024 };

void completion_write(struct buf *out);
