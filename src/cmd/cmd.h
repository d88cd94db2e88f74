/*
 * cmd: the commands that run in this process, one file each (cmd_NAME.c).  HOME is the node's
 * directory, absolute.  Each prints what it has to say and returns its exit status.
 */
#pragma once

#include "cmd/options.h"

int cmd_agent(const struct options *o, const char *home);
int cmd_server(const struct options *o, const char *home);
int cmd_join(const struct options *o, const char *home);
int cmd_doctor(const struct options *o, const char *home);
int cmd_version(const struct options *o, const char *home);
int cmd_help(const struct options *o, const char *home);
