/*
 * port_owner: who listens on a port of this machine, as far as /proc tells: our own processes, and
 * for root all.
 */
#pragma once

#include <stdint.h>

enum { PORT_OWNER_TEXT = 64 };
/* " by weft (process 4711)", or "" when nobody can be named. */
const char *port_owner(uint16_t port, char out[PORT_OWNER_TEXT]);
