/*
 * advertise: the addresses that a node tells others to reach it at: those it was told to, or the
 * one that it listens on alone, or those of the machine's interfaces.
 *
 * Blocking  no, but for what the kernel takes to list interfaces.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "proto/limits.h"

typedef char advertise_text[LIMIT_ADDRESS_TEXT + 1];
/* LISTEN (NULL: everywhere) and PORT: where it listens.  GIVEN: N texts HOST or HOST:PORT; without
 * a port it is PORT.  At most MAX of OUT are filled.  ERR_USAGE: one of GIVEN is no address. */
enum err advertise_addresses(const char *listen, uint16_t port, const char *const *given, size_t n,
    advertise_text *out, size_t max, size_t *ret_n, struct error *e) must_check;
