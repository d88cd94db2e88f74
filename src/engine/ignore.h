/*
 * ignore: .weftignore with gitignore's rules: comments, blank lines, escapes, trailing blanks, '!'
 * negation, leading and inner '/', trailing '/' for directories, '*', '?', '[...]', '**'; one file
 * per directory, deeper ones win; what lies under an ignored directory cannot be brought back.
 * Names are bytes.  .weft* is reserved and never published (relpath_is_reserved).
 *
 * Pure: text in, verdicts out.  Matching is linear in pattern and path (no exponential
 * backtracking).
 */
#pragma once

#include "base/bytes.h"
#include "base/error.h"

enum { IGNORE_FILE_MAX = 1024 * 1024, IGNORE_RULES_MAX = 10000, IGNORE_PATTERN_MAX = 4096 };

struct ignore_rules; /* of one .weftignore */
/* ERR_LIMIT for too many or too long lines (the text names the line); odd patterns match nothing,
 * as in git. */
enum err ignore_rules_parse(
    struct bytes text, struct ignore_rules **ret, struct error *e) must_check;
void ignore_rules_free(struct ignore_rules *r);
enum ignore_verdict { IGNORE_UNDECIDED, IGNORE_YES, IGNORE_NO /* brought back by '!' */ };
/* PATH is relative to the directory of the rules' file. */
enum ignore_verdict ignore_rules_match(
    const struct ignore_rules *r, struct bytes path, bool is_dir);
