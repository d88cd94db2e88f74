/*
 * config: weft.conf in the home, and the options of `weft server` and `weft agent` that say the
 * same.
 *
 * Lines of `key = value`; '#' and ';' begin a comment; no sections.  The keys are those of
 * control/commands.def.  An unknown key, a value of the wrong form or a key that is given twice is
 * an error that names file and line: whoever wrote the line meant something by it.
 */
#pragma once

#include "base/array.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/log.h"
#include "cmd/command.h"

#define CONFIG_FILE "weft.conf"
enum { CONFIG_FILE_MAX = 64 * 1024, CONFIG_MANY_MAX = 16 /* values of one key */ };

struct config_value {
	const struct command_option *key;
	char *value;
};
struct config {
	ARRAY(struct config_value) values;
};
void config_clear(struct config *c);
/* TEXT as the content of a file that is called FILE in errors (ERR_USAGE: "FILE:3: ...").  WHO
 * reads it: a key of the other kind of daemon is an error too. */
enum err config_parse(struct config *c, const char *file, struct bytes text, enum command_who who,
    struct error *e) must_check;
/* The file in HOME (an absolute path); that there is none is fine. */
enum err config_read(
    struct config *c, const char *home, enum command_who who, struct error *e) must_check;
/* From the command line: replaces what the file said of KEY; further values of a key that may have
 * many are added. */
void config_override(
    struct config *c, const struct command_option *key, const char *value, bool is_first);
/* The first value, NULL if there is none. */
const char *config_get(const struct config *c, const char *key);
/* All of them; at most CONFIG_MANY_MAX; how many. */
size_t config_get_all(
    const struct config *c, const char *key, const char *ret[static CONFIG_MANY_MAX]);
enum log_level config_log_level(const struct config *c);
