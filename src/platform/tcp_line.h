/*
 * tcp_line: what the kernel knows of one TCP connection's way, and how it is to send on it.
 *
 * Threads  any.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum { TCP_LINE_NAME = 16 }; /* of a congestion control */

struct tcp_line {
	uint64_t rtt_us;             /* of late; 0: not known yet */
	uint64_t rtt_min_us;         /* the shortest of some minutes; 0: not known yet */
	uint64_t delivery_rate;      /* bytes a second that arrived there, as last measured */
	bool is_app_limited;         /* ... and we had no more to send: the line may carry more */
	uint64_t window;             /* bytes that may be under way */
	uint64_t in_flight;          /* bytes under way */
	uint64_t unsent;             /* bytes that the kernel has and did not send yet */
	uint64_t sent, resent;       /* bytes ever sent, and of them for the second time */
	uint64_t busy_us;            /* time with something to send; of it, waiting ... */
	uint64_t receiver_us;        /* ... for the receiver's window */
	uint64_t buffer_us;          /* ... for us to give it more, as its buffer is small */
	char control[TCP_LINE_NAME]; /* "bbr" */
};
/* False: FD is no TCP connection.  An old kernel leaves what it does not know 0. */
bool tcp_line_measure(int fd, struct tcp_line *ret);
/* Sends as CONTROL does from now on.  False: the kernel does not have it, or it is not for us. */
bool tcp_line_control(int fd, const char *control);
/* The kernel is ready for more (POLLOUT) only when it has less than BYTES that it did not send. */
void tcp_line_ahead(int fd, uint32_t bytes);
/* Nothing waits for more to come: our writes are whole batches. */
void tcp_line_at_once(int fd);
