/*
 * line: what lies between the two sides of a connection, and what follows from it.
 *
 * Near is a line inside a site: the queue that fills is our own or a neighbour's, many connections
 * share it, and what waits in it is late.  Far is anything else: it may be long, it may lose
 * packets, and few connections have it for themselves.
 *
 * Pure.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum line_class { LINE_UNKNOWN, LINE_NEAR, LINE_FAR };
