/* SPDX-License-Identifier: BSD-3-Clause */
/* Scope cleanup, checked ranges, time, whole files. */
#include <errno.h>
#include <fcntl.h>
#include <time.h>

#include "base/base.h"

void base_cleanup_free(void *p)
{
	free(*(void **)p);
}

void base_cleanup_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

void base_cleanup_file(FILE **f)
{
	if (*f)
		fclose(*f);
}

int range_last(uint64_t first, uint64_t size, uint64_t *last)
{
	if (!size || first + (size - 1) < first)
		return -EOVERFLOW;
	*last = first + (size - 1);
	return 0;
}

static uint64_t time_get_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

uint64_t time_mono_ns(void)
{
	return time_get_ns(CLOCK_MONOTONIC);
}

uint64_t time_real_ns(void)
{
	return time_get_ns(CLOCK_REALTIME);
}

uint64_t time_thread_cpu_ns(void)
{
	return time_get_ns(CLOCK_THREAD_CPUTIME_ID);
}

int file_read_all(const char *path, size_t max, char **text, size_t *size)
{
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
	AUTO_FREE char *buf = NULL;
	size_t cap = 0, n = 0;

	if (fd < 0)
		return -errno;
	for (;;) {
		ssize_t k;

		if (n == cap) {
			char *bigger;

			cap = cap ? cap * 2 : 4096;
			bigger = realloc(buf, cap + 1);
			if (!bigger)
				return -ENOMEM;
			buf = bigger;
		}
		k = read(fd, buf + n, cap - n);
		if (k < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		if (!k)
			break;
		n += (size_t)k;
		if (n > max)
			return -EFBIG;
	}
	buf[n] = 0;
	*text = buf;
	buf = NULL;
	*size = n;
	return 0;
}

int fd_write_all(int fd, const void *data, size_t size)
{
	const char *p = data;

	while (size) {
		ssize_t k = write(fd, p, size);

		if (k < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		p += k;
		size -= (size_t)k;
	}
	return 0;
}

int fd_pread_all(int fd, void *data, size_t size, uint64_t offset)
{
	char *p = data;

	while (size) {
		ssize_t k = pread(fd, p, size, (off_t)offset);

		if (k < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		if (!k)
			return -ENODATA;
		p += k;
		size -= (size_t)k;
		offset += (uint64_t)k;
	}
	return 0;
}

int fd_pwrite_all(int fd, const void *data, size_t size, uint64_t offset)
{
	const char *p = data;

	while (size) {
		ssize_t k = pwrite(fd, p, size, (off_t)offset);

		if (k < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		p += k;
		size -= (size_t)k;
		offset += (uint64_t)k;
	}
	return 0;
}
