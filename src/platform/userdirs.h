/*
 * userdirs: where things of this user lie.
 */
#pragma once

#include "base/error.h"

/* The home of this node: HOME_FLAG if not NULL, else $WEFT_HOME, else /var/lib/weft for root, else
 * $XDG_STATE_HOME/weft or ~/.local/state/weft.  Gives an absolute path; free() it. */
enum err userdirs_home(const char *home_flag, char **ret, struct error *e) must_check;
