/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fault injection by the linker: `ld --wrap=NAME` sends every call of NAME that our own objects
 * make to __wrap_NAME here, which counts it, and fails instead of calling __real_NAME when its turn
 * has come. So it works below every sanitizer, and the C library's own calls are left alone.
 *
 * A program names the call by inject_arm(), or its starter by UVFIO_FAULT=KIND:N in the
 * environment (KIND is "memory" or "system"); then a line on standard error tells of the fault. A
 * process made by fork() goes on counting on its own.
 *
 * The list of names is in meson.build too.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <unistd.h>

#include "inject.h"

static _Atomic int armed = INJECT_NONE;
static _Atomic unsigned long left; /* calls until the one that fails, that one included */
static const char *_Atomic fired;
static bool tell;

/* ------------------------------------------------------------------ what fails, and when */

static void tell_fault(const char *name, void *caller)
{
	Dl_info info = { .dli_fbase = NULL };
	char line[128];
	int n;

	if (!tell)
		return;
	dladdr(caller, &info);
	n = snprintf(line, sizeof(line), "fault: %s at 0x%zx\n", name,
		     (size_t)((char *)caller - (char *)info.dli_fbase - 1));
	if (write(STDERR_FILENO, line, (size_t)n) < 0)
		return;
}

static bool hit(enum inject_kind kind, const char *name, void *caller)
{
	if (atomic_load(&armed) != (int)kind || atomic_fetch_sub(&left, 1) != 1)
		return false;
	atomic_store(&armed, INJECT_NONE);
	atomic_store(&fired, name);
	tell_fault(name, caller);
	return true;
}

void inject_arm(enum inject_kind kind, unsigned long n)
{
	atomic_store(&armed, INJECT_NONE);
	atomic_store(&fired, NULL);
	atomic_store(&left, n);
	atomic_store(&armed, (int)kind);
}

void inject_disarm(void)
{
	atomic_store(&armed, INJECT_NONE);
}

bool inject_fired(const char **name)
{
	const char *f = atomic_load(&fired);

	if (f && name)
		*name = f;
	return f;
}

/* Fails here, or calls the real one. */
#define MEMORY(name, failure, ...)                                                                 \
	do {                                                                                       \
		if (hit(INJECT_MEMORY, #name, __builtin_return_address(0))) {                      \
			errno = ENOMEM;                                                            \
			return failure;                                                            \
		}                                                                                  \
		return __real_##name(__VA_ARGS__);                                                 \
	} while (0)
#define SYSTEM(name, error, failure, ...)                                                          \
	do {                                                                                       \
		if (hit(INJECT_SYSTEM, #name, __builtin_return_address(0))) {                      \
			errno = (error);                                                           \
			return failure;                                                            \
		}                                                                                  \
		return __real_##name(__VA_ARGS__);                                                 \
	} while (0)
#define WRAP(type, name, args)                                                                     \
	type __real_##name args;                                                                   \
	type __wrap_##name args;                                                                   \
	type __wrap_##name args

/* ------------------------------------------------------------------ memory */

WRAP(void *, malloc, (size_t size))
{
	MEMORY(malloc, NULL, size);
}

WRAP(void *, calloc, (size_t n, size_t size))
{
	MEMORY(calloc, NULL, n, size);
}

WRAP(void *, realloc, (void *p, size_t size))
{
	MEMORY(realloc, NULL, p, size);
}

WRAP(void *, aligned_alloc, (size_t align, size_t size))
{
	MEMORY(aligned_alloc, NULL, align, size);
}

WRAP(char *, strdup, (const char *s))
{
	MEMORY(strdup, NULL, s);
}

WRAP(char *, strndup, (const char *s, size_t n))
{
	MEMORY(strndup, NULL, s, n);
}

WRAP(int, vasprintf, (char **out, const char *fmt, va_list ap))
{
	MEMORY(vasprintf, -1, out, fmt, ap);
}

/* Has no form with a list of its own name; vasprintf is what it is. */
int __wrap_asprintf(char **out, const char *fmt, ...);
int __wrap_asprintf(char **out, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = __wrap_vasprintf(out, fmt, ap);
	va_end(ap);
	return n;
}

/* ------------------------------------------------------------------ system calls */

WRAP(int, open64, (const char *path, int flags, mode_t mode))
{
	SYSTEM(open64, EMFILE, -1, path, flags, mode);
}

WRAP(int, openat64, (int dir, const char *path, int flags, mode_t mode))
{
	SYSTEM(openat64, ENFILE, -1, dir, path, flags, mode);
}

WRAP(void *, mmap64, (void *at, size_t size, int prot, int flags, int fd, off_t offset))
{
	SYSTEM(mmap64, ENOMEM, MAP_FAILED, at, size, prot, flags, fd, offset);
}

WRAP(ssize_t, pread64, (int fd, void *buf, size_t size, off_t offset))
{
	SYSTEM(pread64, EIO, -1, fd, buf, size, offset);
}

WRAP(ssize_t, pwrite64, (int fd, const void *buf, size_t size, off_t offset))
{
	SYSTEM(pwrite64, ENOSPC, -1, fd, buf, size, offset);
}

WRAP(ssize_t, preadv64v2, (int fd, const struct iovec *iov, int n, off_t offset, int flags))
{
	SYSTEM(preadv64v2, EIO, -1, fd, iov, n, offset, flags);
}

WRAP(ssize_t, pwritev64v2, (int fd, const struct iovec *iov, int n, off_t offset, int flags))
{
	SYSTEM(pwritev64v2, ENOSPC, -1, fd, iov, n, offset, flags);
}

WRAP(int, ftruncate64, (int fd, off_t size))
{
	SYSTEM(ftruncate64, ENOSPC, -1, fd, size);
}

WRAP(int, fallocate64, (int fd, int mode, off_t offset, off_t size))
{
	SYSTEM(fallocate64, ENOSPC, -1, fd, mode, offset, size);
}

WRAP(int, fdatasync, (int fd))
{
	SYSTEM(fdatasync, EIO, -1, fd);
}

WRAP(int, fstat64, (int fd, struct stat *st))
{
	SYSTEM(fstat64, ENOMEM, -1, fd, st);
}

WRAP(int, madvise, (void *at, size_t size, int advice))
{
	SYSTEM(madvise, ENOMEM, -1, at, size, advice);
}

WRAP(int, memfd_create, (const char *name, unsigned flags))
{
	SYSTEM(memfd_create, EMFILE, -1, name, flags);
}

WRAP(int, eventfd, (unsigned value, int flags))
{
	SYSTEM(eventfd, EMFILE, -1, value, flags);
}

WRAP(int, epoll_create1, (int flags))
{
	SYSTEM(epoll_create1, EMFILE, -1, flags);
}

WRAP(int, epoll_ctl, (int ep, int op, int fd, struct epoll_event *event))
{
	/* What frees does not fail for want of anything. */
	if (op != EPOLL_CTL_ADD)
		return __real_epoll_ctl(ep, op, fd, event);
	SYSTEM(epoll_ctl, ENOSPC, -1, ep, op, fd, event);
}

WRAP(int, timerfd_create, (int clock, int flags))
{
	SYSTEM(timerfd_create, EMFILE, -1, clock, flags);
}

WRAP(int, socket, (int domain, int type, int protocol))
{
	SYSTEM(socket, EMFILE, -1, domain, type, protocol);
}

WRAP(int, socketpair, (int domain, int type, int protocol, int fds[2]))
{
	SYSTEM(socketpair, EMFILE, -1, domain, type, protocol, fds);
}

WRAP(int, pipe2, (int fds[2], int flags))
{
	SYSTEM(pipe2, EMFILE, -1, fds, flags);
}

WRAP(int, accept4, (int fd, struct sockaddr *address, socklen_t *size, int flags))
{
	SYSTEM(accept4, EMFILE, -1, fd, address, size, flags);
}

WRAP(ssize_t, sendmsg, (int fd, const struct msghdr *msg, int flags))
{
	SYSTEM(sendmsg, ENOBUFS, -1, fd, msg, flags);
}

WRAP(ssize_t, recvmsg, (int fd, struct msghdr *msg, int flags))
{
	SYSTEM(recvmsg, ENOMEM, -1, fd, msg, flags);
}

WRAP(pid_t, fork, (void))
{
	SYSTEM(fork, EAGAIN, -1);
}

WRAP(int, ioctl, (int fd, unsigned long request, void *arg))
{
	SYSTEM(ioctl, ENOMEM, -1, fd, request, arg);
}

WRAP(int, fcntl64, (int fd, int cmd, long arg))
{
	if (cmd != F_DUPFD_CLOEXEC)
		return __real_fcntl64(fd, cmd, arg);
	SYSTEM(fcntl64, EMFILE, -1, fd, cmd, arg);
}

/* pidfd_open, pidfd_getfd, kcmp, seccomp, statx. */
WRAP(long, syscall, (long nr, long a, long b, long c, long d, long e, long f))
{
	/* It frees, and the watcher, which would fail with its parent, relies on it. */
	if (nr == SYS_close_range)
		return __real_syscall(nr, a, b, c, d, e, f);
	SYSTEM(syscall, EMFILE, -1, nr, a, b, c, d, e, f);
}

WRAP(ssize_t, process_vm_readv,
     (pid_t pid, const struct iovec *to, unsigned long n_to, const struct iovec *from,
      unsigned long n_from, unsigned long flags))
{
	SYSTEM(process_vm_readv, ENOMEM, -1, pid, to, n_to, from, n_from, flags);
}

WRAP(ssize_t, process_vm_writev,
     (pid_t pid, const struct iovec *from, unsigned long n_from, const struct iovec *to,
      unsigned long n_to, unsigned long flags))
{
	SYSTEM(process_vm_writev, ENOMEM, -1, pid, from, n_from, to, n_to, flags);
}

WRAP(int, mount,
     (const char *from, const char *to, const char *type, unsigned long flags, const void *data))
{
	SYSTEM(mount, ENOMEM, -1, from, to, type, flags, data);
}

WRAP(int, umount2, (const char *path, int flags))
{
	SYSTEM(umount2, ENOMEM, -1, path, flags);
}

WRAP(int, unshare, (int flags))
{
	SYSTEM(unshare, ENOMEM, -1, flags);
}

/* These return what the others put into errno. */
WRAP(int, pthread_create,
     (pthread_t * thread, const pthread_attr_t *attr, void *(*fn)(void *), void *arg))
{
	SYSTEM(pthread_create, EAGAIN, EAGAIN, thread, attr, fn, arg);
}

WRAP(int, pthread_key_create, (pthread_key_t * key, void (*destroy)(void *)))
{
	SYSTEM(pthread_key_create, EAGAIN, EAGAIN, key, destroy);
}

/* ------------------------------------------------------------------ from the environment */

static __attribute__((constructor)) void inject_from_environment(void)
{
	const char *text = getenv("UVFIO_FAULT");
	enum inject_kind kind = INJECT_NONE;

	/* The library that reads machine files would else be left out. */
	json_set_alloc_funcs(__wrap_malloc, free);
	if (!text)
		return;
	tell = true;
	if (!strncmp(text, "memory:", 7))
		kind = INJECT_MEMORY;
	else if (!strncmp(text, "system:", 7))
		kind = INJECT_SYSTEM;
	if (kind)
		inject_arm(kind, strtoul(text + 7, NULL, 10));
}
