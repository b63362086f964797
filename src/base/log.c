/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Log lines: one write each, so that lines of several threads and processes never mix.
 */
#include <errno.h>
#include <stdarg.h>

#include "base/base.h"

static _Atomic int log_level_now = LOG_WARN;
static _Atomic int log_fd = STDERR_FILENO;

void log_set_level(enum log_level level)
{
	atomic_store_explicit(&log_level_now, (int)level, memory_order_relaxed);
}

enum log_level log_get_level(void)
{
	return (enum log_level)atomic_load_explicit(&log_level_now, memory_order_relaxed);
}

void log_set_fd(int fd)
{
	atomic_store_explicit(&log_fd, fd, memory_order_relaxed);
}

void log_line(enum log_level level, const char *fmt, ...)
{
	static const char *const prefix[] = { "error: ", "warning: ", "", "debug: " };
	char line[1024];
	int saved = errno, n;
	size_t len;
	va_list args;

	if (level > log_get_level())
		return;
	len = (size_t)snprintf(line, sizeof(line), "uvfio: %s", prefix[level]);
	va_start(args, fmt);
	n = vsnprintf(line + len, sizeof(line) - len - 1, fmt, args);
	va_end(args);
	if (n > 0)
		len = MIN(len + (size_t)n, sizeof(line) - 2);
	line[len++] = '\n';
	fd_write_all(atomic_load_explicit(&log_fd, memory_order_relaxed), line, len);
	errno = saved;
}

bool log_limit_ok(struct log_limit *l)
{
	const uint64_t window_ns = 10ull * 1000000000ull;
	const uint32_t lines = 10;
	uint64_t now = time_mono_ns();
	uint64_t start = atomic_load_explicit(&l->window_ns, memory_order_relaxed);

	/* Threads that race for a new window may let a few lines more through; that is harmless. */
	if ((!start || now - start > window_ns) &&
	    atomic_compare_exchange_strong(&l->window_ns, &start, now))
		atomic_store_explicit(&l->count, 0, memory_order_relaxed);
	return atomic_fetch_add_explicit(&l->count, 1, memory_order_relaxed) < lines;
}
