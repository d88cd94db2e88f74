/*
 * notify: the service manager's readiness datagram (sd_notify(3) protocol).  Without NOTIFY_SOCKET
 * nothing happens.
 */
#pragma once

void notify_state(const char *state); /* "READY=1", "STOPPING=1", "STATUS=..." */
