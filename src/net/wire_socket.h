/*
 * wire_socket: the system calls of a wire, with their fault points.  Sockets do not block.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "base/bytes.h"
#include "net/line.h"

/* Up to N bytes; 0 is the end, -1 with errno. */
ssize_t wire_socket_receive(int fd, void *to, size_t n);
/* How many were taken, or -1 with errno. */
ssize_t wire_socket_send(int fd, struct bytes b);
bool wire_socket_would_block(int sys); /* errno SYS is no failure */
/* Of a connect() that has ended: errno, 0 for none. */
int wire_socket_error(int fd);
void wire_socket_tune(int fd);
void wire_socket_line(int fd, enum line_class class);
void wire_socket_buffers(int fd, size_t receive, size_t send); /* bytes; 0: as it is */
