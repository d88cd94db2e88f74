/*
 * The kernel's own header: the C library's knows only the first half of struct tcp_info, and the
 * two cannot be included together.
 */
#include "platform/tcp_line.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

bool
tcp_line_measure(int fd, struct tcp_line *ret)
{
	struct tcp_info i = { 0 };
	socklen_t len = sizeof i, name_len = TCP_LINE_NAME - 1;

	memset(ret, 0, sizeof *ret);
	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &i, &len) != 0)
		return false;
	ret->rtt_us = i.tcpi_rtt;
	/* The kernel says ~0 before the first sample. */
	ret->rtt_min_us = i.tcpi_min_rtt == UINT32_MAX ? 0 : i.tcpi_min_rtt;
	ret->delivery_rate = i.tcpi_delivery_rate;
	ret->is_app_limited = i.tcpi_delivery_rate_app_limited;
	ret->window = (uint64_t)i.tcpi_snd_cwnd * i.tcpi_snd_mss;
	ret->in_flight = (uint64_t)i.tcpi_unacked * i.tcpi_snd_mss;
	ret->unsent = i.tcpi_notsent_bytes;
	ret->sent = i.tcpi_bytes_sent;
	ret->resent = i.tcpi_bytes_retrans;
	ret->busy_us = i.tcpi_busy_time;
	ret->receiver_us = i.tcpi_rwnd_limited;
	ret->buffer_us = i.tcpi_sndbuf_limited;
	(void)getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, ret->control, &name_len);
	return true;
}

bool
tcp_line_control(int fd, const char *control)
{
	return setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, control, (socklen_t)strlen(control)) ==
	       0;
}

void
tcp_line_ahead(int fd, uint32_t bytes)
{
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &bytes, sizeof bytes);
}

void
tcp_line_at_once(int fd)
{
	const int on = 1;

	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}
