/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Words for the service manager: datagrams to the socket that NOTIFY_SOCKET names. Source:
 * sd_notify(3). Without that variable nothing happens.
 */
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "cli/priv.h"

/* What cannot be sent is nothing to fail for: the service manager has a timeout of its own. */
void sdnotify(const char *fmt, ...)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	AUTO_CLOSE int fd = -1;
	char text[256];
	socklen_t size;
	va_list args;

	if (!path || (*path != '/' && *path != '@') || strlen(path) >= sizeof(addr.sun_path))
		return;
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	memcpy(addr.sun_path, path, strlen(path));
	size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
	if (*path == '@') /* an abstract one */
		addr.sun_path[0] = 0;
	else
		size++;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || sendto(fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT,
			     (struct sockaddr *)&addr, size) < 0)
		log_debug("NOTIFY_SOCKET %s: %s", path, strerror(errno));
}
