/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Passing descriptors over UNIX sockets (SCM_RIGHTS, unix(7)), and how many there may be.
 */
#include <errno.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "base/base.h"

union fdpass_control {
	struct cmsghdr align;
	char buf[CMSG_SPACE(sizeof(int) * FDPASS_MAX)];
};

int fdpass_send(int sock, const int *fds, unsigned n_fds, const void *data, size_t size)
{
	union fdpass_control control = { 0 };
	struct iovec iov = { (void *)data, size };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n;

	if (n_fds > FDPASS_MAX || !size)
		return -EINVAL;
	if (n_fds) {
		struct cmsghdr *c;

		msg.msg_control = control.buf;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
		memcpy(CMSG_DATA(c), fds, sizeof(int) * n_fds);
	}
	do {
		/* Past the thread sanitizer, to which a number is one descriptor in the whole
		 * process: who calls this may have a table of its own (src/door/dev/own.c). */
		n = syscall(SYS_sendmsg, sock, &msg, MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	return (size_t)n == size ? 0 : -EMSGSIZE;
}

/* Moves the descriptors of one control message to @fds, closing what does not fit. */
static void fdpass_take(struct cmsghdr *c, int *fds, unsigned max, unsigned *n)
{
	size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

	for (size_t i = 0; i < count; i++) {
		int fd;

		memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
		if (*n < max)
			fds[(*n)++] = fd;
		else
			close(fd);
	}
}

int fdpass_recv(int sock, int *fds, unsigned *n_fds, void *data, size_t size, size_t *got)
{
	union fdpass_control control;
	struct iovec iov = { data, size };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.buf,
		.msg_controllen = sizeof(control.buf),
	};
	unsigned count = 0;
	ssize_t n;

	do {
		n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c))
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
			fdpass_take(c, fds, *n_fds, &count);
	*n_fds = count;
	*got = (size_t)n;
	return 0;
}

/* ------------------------------------------------------------------ limit */

static struct rlimit limit_before;
static bool limit_raised;

void fd_limit_raise(void)
{
	struct rlimit now;

	if (limit_raised || getrlimit(RLIMIT_NOFILE, &limit_before))
		return;
	now = limit_before;
	now.rlim_cur = MAX(now.rlim_cur, MIN(now.rlim_max, (rlim_t)65536));
	limit_raised = !setrlimit(RLIMIT_NOFILE, &now);
}

void fd_limit_restore(void)
{
	if (limit_raised)
		(void)setrlimit(RLIMIT_NOFILE, &limit_before);
}
