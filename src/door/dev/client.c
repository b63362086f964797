/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The caller of a request: its memory and its descriptors.
 *
 * A request names the thread that made it. That thread waits for our answer (FUSE lets not even
 * SIGKILL end the wait once we have the request, and a seccomp notification is checked for being
 * alive after the process was opened), so the number means what it meant when the kernel wrote it.
 *
 * A descriptor that a client names is looked at with care: it may be a file of a file system that
 * the client serves itself, on which nearly every call would wait for the client. Only what the
 * kernel knows by itself is asked (AT_STATX_DONT_SYNC), until the file is known to be ours.
 */
#include <errno.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>

#include "door/dev/priv.h"

bool client_is_self(pid_t tid)
{
	return tid > 0 && !syscall(SYS_tgkill, getpid(), tid, 0);
}

/* 0 or -EFAULT (-EPERM if the process may not be looked into). */
static int transfer(pid_t tid, uint64_t addr, void *buf, size_t size, bool to_client)
{
	struct iovec here = { buf, size };
	struct iovec there = { (void *)(uintptr_t)addr, size };
	ssize_t n;

	if (!size)
		return 0;
	if (tid <= 0)
		return -EPERM;
	n = to_client ? process_vm_writev(tid, &here, 1, &there, 1, 0)
		      : process_vm_readv(tid, &here, 1, &there, 1, 0);
	if (n == (ssize_t)size)
		return 0;
	return n < 0 && errno == EPERM ? -EPERM : -EFAULT;
}

int client_read(pid_t tid, uint64_t addr, void *buf, size_t size)
{
	return transfer(tid, addr, buf, size, false);
}

int client_write(pid_t tid, uint64_t addr, const void *buf, size_t size)
{
	return transfer(tid, addr, (void *)buf, size, true);
}

/**
 * client_read_string() - a NUL-terminated string of at most @max bytes with its NUL.
 * It may end at the end of a page with nothing behind it, so no page is asked for before the one
 * in front of it turned out to hold no end. Returns 0, -EFAULT, -EPERM, -EINVAL (too long; what
 * Linux's strndup_user() gives).
 */
int client_read_string(pid_t tid, uint64_t addr, char *buf, size_t max)
{
	size_t done = 0;

	while (done < max) {
		size_t n = UVF_PAGE_SIZE - (size_t)((addr + done) & (UVF_PAGE_SIZE - 1));
		int r;

		n = MIN(n, max - done);
		r = client_read(tid, addr + done, buf + done, n);
		if (r)
			return r;
		if (memchr(buf + done, 0, n))
			return 0;
		done += n;
	}
	return -EINVAL;
}

/* "Tgid:" of /proc/TID/status. */
static pid_t thread_group(pid_t tid)
{
	AUTO_FREE char *text = NULL;
	char path[40];
	const char *p;
	size_t size;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)tid);
	if (file_read_all(path, KIB(64), &text, &size))
		return -1;
	p = strstr(text, "\nTgid:");
	return p ? (pid_t)strtol(p + 6, NULL, 10) : -1;
}

/* A descriptor of the process of @tid for client_getfd(), owned by the caller, or -errno. */
int client_pidfd(pid_t tid)
{
	int fd;

	if (tid <= 0)
		return -EPERM;
	fd = (int)syscall(SYS_pidfd_open, tid, PIDFD_THREAD);
	if (fd < 0 && errno == EINVAL) /* before Linux 6.9 */
		fd = (int)syscall(SYS_pidfd_open, thread_group(tid), 0);
	return fd < 0 ? -errno : fd;
}

/* A duplicate, close-on-exec, of the client's descriptor @number. -EBADF, -EPERM, -EMFILE. */
int client_getfd(int pidfd, int number)
{
	int fd = (int)syscall(SYS_pidfd_getfd, pidfd, number, 0);

	return fd < 0 ? -errno : fd;
}

struct handle *client_handle(struct door_dev *d, int fd)
{
	struct statx st;
	uint64_t fh;

	if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, 0, &st))
		return NULL;
	if (st.stx_dev_major != d->dev_major || st.stx_dev_minor != d->dev_minor)
		return NULL;
	if (!S_ISREG(st.stx_mode) || ioctl(fd, DOOR_IOC_HANDLE, &fh))
		return NULL;
	return handle_get(d, fh);
}
