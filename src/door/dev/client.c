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
 * kernel knows by itself is asked (AT_STATX_DONT_SYNC), until the file is known to be ours. If it
 * is, it must not come into the table that our threads share (own.c), so the looker takes it.
 */
#include <errno.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>

#include "door/dev/priv.h"

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

/* ------------------------------------------------------------------ files of ours among them */

struct look {
	pid_t tid;
	const uint64_t *notification;
	const int *numbers;
	unsigned n; /* at most FDPASS_MAX */
	struct vfio_fd *fds;
	struct handle **handles;
	bool sent[FDPASS_MAX];
};

/*
 * Consumes @fd, on the looker's thread. Returns what to pass on, or -errno. A file of ours is not
 * passed on: it is *@h, or stands for nothing (a file of the view), as our root does as well.
 */
static int look_behind(struct door_dev *d, int fd, struct handle **h)
{
	struct handle *found = NULL;
	struct statx st;
	uint64_t fh;

	if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, 0, &st) ||
	    st.stx_dev_major != d->dev_major || st.stx_dev_minor != d->dev_minor)
		return fd;
	if (S_ISREG(st.stx_mode) && !table_ioctl(fd, DOOR_IOC_HANDLE, &fh))
		found = handle_get(d, fh);
	table_close(fd);
	if (found && found->obj) {
		*h = found;
		return -ENOENT;
	}
	if (found)
		handle_put(d, found);
	fd = fcntl(d->root_fd, F_DUPFD_CLOEXEC, 0);
	return fd < 0 ? -errno : fd;
}

/* On the looker's thread. */
static int look(struct door_dev *d, void *data)
{
	struct look *l = data;
	TABLE_AUTO_CLOSE int pidfd = client_pidfd(l->tid);
	uint64_t id = l->notification ? *l->notification : 0;
	int send[FDPASS_MAX];
	unsigned i, n = 0;
	int r = 0;

	if (pidfd < 0)
		return pidfd;
	/* Only now is it sure that the number was not somebody else's meanwhile. */
	if (l->notification && ioctl(d->listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &id))
		return -ESRCH;
	for (i = 0; i < l->n; i++) {
		int fd;

		if (l->numbers[i] == -1)
			continue;
		fd = client_getfd(pidfd, l->numbers[i]);
		if (fd >= 0)
			fd = look_behind(d, fd, &l->handles[i]);
		l->sent[i] = fd >= 0;
		if (fd >= 0)
			send[n++] = fd;
		else if (!l->handles[i])
			l->fds[i].error = fd;
	}
	if (n)
		r = fdpass_send(d->look_sock[1], send, n, "", 1);
	while (n)
		table_close(send[--n]);
	return r;
}

/* What the looker has sent. @r: what it returned. */
static void look_receive(struct door_dev *d, struct look *l, int r)
{
	int got[FDPASS_MAX];
	unsigned i, n = 0, k = 0;
	size_t size;
	char byte;

	for (i = 0; i < l->n; i++)
		n += l->sent[i];
	if (n && !r)
		r = fdpass_recv(d->look_sock[0], got, &n, &byte, 1, &size);
	if (r)
		n = 0;
	for (i = 0; i < l->n; i++) {
		if (l->handles[i])
			l->fds[i].obj = l->handles[i]->obj;
		else if (l->sent[i] && k < n)
			l->fds[i].fd = got[k++];
		else if (l->sent[i])
			l->fds[i].error = r ? r : -EMFILE; /* of ours */
		else if (r && l->numbers[i] != -1 && !l->fds[i].error)
			l->fds[i].error = r;
	}
}

/**
 * client_look() - descriptors of a client, as what they are to us.
 * @notification: NULL, or what the thread must still be waiting for once it was found
 * @numbers: in the client; -1 is none
 * @fds: @n of them, without a descriptor or an error; error is set, or fd (the caller's to close),
 * or obj, where it is a file of ours with an object. The others of ours have a descriptor that
 * stands for nothing: they must not be in our table (own.c).
 * @handles: @n NULLs; a reference where there is an obj
 * Returns 0, or the -errno why the client could not be looked into (-ESRCH: it does not wait any
 * more), which is the error of each of @fds then.
 */
int client_look(struct door_dev *d, pid_t tid, const uint64_t *notification, const int *numbers,
		unsigned n, struct vfio_fd *fds, struct handle **handles)
{
	unsigned done;
	int r = 0;

	for (done = 0; done < n; done += FDPASS_MAX) {
		struct look l = {
			.tid = tid,
			.notification = notification,
			.numbers = numbers + done,
			.n = MIN(n - done, (unsigned)FDPASS_MAX),
			.fds = fds + done,
			.handles = handles + done,
		};

		pthread_mutex_lock(&d->look_lock);
		r = own_call(&d->looker, look, &l);
		look_receive(d, &l, r);
		pthread_mutex_unlock(&d->look_lock);
	}
	return r;
}
