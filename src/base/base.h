/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * base: the ground that every other folder stands on. It knows nothing of PCI, IOMMUs or VFIO.
 *
 * Conventions of the whole project: functions return 0 or a negative errno; results come back
 * through the last parameters and are written only on success; ranges are [first, last], both
 * inclusive, so that a range may end at 2^64-1.
 */
#ifndef UVFIO_BASE_H
#define UVFIO_BASE_H

#include <endian.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define BIT(n) (1u << (n))
#define BIT64(n) (1ull << (n))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
#define ALIGN_UP(v, a) (((v) + (a)-1) & ~((uint64_t)(a)-1))
#define KIB(n) ((uint64_t)(n) << 10)
#define MIB(n) ((uint64_t)(n) << 20)
#define GIB(n) ((uint64_t)(n) << 30)
#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))

/* Page of the architectures we serve; sysconf agrees or the program refuses to start. */
#define UVF_PAGE_SIZE 4096u

/* ------------------------------------------------------------------ little-endian wire types */

typedef struct {
	uint16_t raw;
} le16;
typedef struct {
	uint32_t raw;
} le32;
typedef struct {
	uint64_t raw;
} le64;

static inline uint16_t le16_get(le16 v)
{
	return le16toh(v.raw);
}
static inline uint32_t le32_get(le32 v)
{
	return le32toh(v.raw);
}
static inline uint64_t le64_get(le64 v)
{
	return le64toh(v.raw);
}
static inline le16 le16_make(uint16_t v)
{
	return (le16){ htole16(v) };
}
static inline le32 le32_make(uint32_t v)
{
	return (le32){ htole32(v) };
}
static inline le64 le64_make(uint64_t v)
{
	return (le64){ htole64(v) };
}

/* ------------------------------------------------------------------ scope cleanup */

void base_cleanup_free(void *p);  /* @p: address of a malloc'ed pointer */
void base_cleanup_close(int *fd); /* closes if >= 0 */
void base_cleanup_file(FILE **f);

#define AUTO_FREE __attribute__((cleanup(base_cleanup_free)))
#define AUTO_CLOSE __attribute__((cleanup(base_cleanup_close)))
#define AUTO_FCLOSE __attribute__((cleanup(base_cleanup_file)))

/* Takes the value out of an AUTO_CLOSE variable, so that the scope's end does not close it. */
static inline int fd_steal(int *fd)
{
	int v = *fd;

	*fd = -1;
	return v;
}

/* ------------------------------------------------------------------ checked ranges */

/**
 * range_last() - last address of @size bytes from @first.
 * Returns 0, or -EOVERFLOW if @size is 0 or the range would pass 2^64-1.
 */
int range_last(uint64_t first, uint64_t size, uint64_t *last);

static inline bool ranges_overlap(uint64_t a_first, uint64_t a_last, uint64_t b_first,
				  uint64_t b_last)
{
	return a_first <= b_last && b_first <= a_last;
}

/* ------------------------------------------------------------------ log */

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* Lines go to standard error, or to the descriptor given. Thread-safe; one write per line. */
void log_set_level(enum log_level level);
enum log_level log_get_level(void);
void log_set_fd(int fd);
void log_line(enum log_level level, const char *fmt, ...) PRINTF_LIKE(2, 3);

#define log_error(...) log_line(LOG_ERROR, __VA_ARGS__)
#define log_warn(...) log_line(LOG_WARN, __VA_ARGS__)
#define log_info(...) log_line(LOG_INFO, __VA_ARGS__)
#define log_debug(...)                                                                             \
	do {                                                                                       \
		if (log_get_level() >= LOG_DEBUG)                                                  \
			log_line(LOG_DEBUG, __VA_ARGS__);                                          \
	} while (0)

/**
 * struct log_limit - at most 10 lines in 10 seconds; for lines that a client can cause.
 * Zero-initialised is ready. Thread-safe.
 */
struct log_limit {
	_Atomic uint64_t window_ns;
	_Atomic uint32_t count;
};
bool log_limit_ok(struct log_limit *l);

/* ------------------------------------------------------------------ time */

uint64_t time_mono_ns(void);	   /* CLOCK_MONOTONIC */
uint64_t time_real_ns(void);	   /* CLOCK_REALTIME */
uint64_t time_thread_cpu_ns(void); /* CLOCK_THREAD_CPUTIME_ID */

/* ------------------------------------------------------------------ files and descriptors */

/* Whole small file into a NUL-terminated malloc'ed buffer. -EFBIG past @max bytes. */
int file_read_all(const char *path, size_t max, char **text, size_t *size);
/* Whole buffer or a negative errno; retries EINTR and short counts. Reading past the end of the
 * file: -ENODATA. */
int fd_write_all(int fd, const void *data, size_t size);
int fd_pread_all(int fd, void *data, size_t size, uint64_t offset);
int fd_pwrite_all(int fd, const void *data, size_t size, uint64_t offset);

#define FDPASS_MAX 16
/**
 * fdpass_send() - sends @size >= 1 bytes and @n_fds descriptors (borrowed) over a UNIX socket.
 * fdpass_recv() - receives at most @size bytes and up to *@n_fds descriptors (close-on-exec, owned
 * by the caller); more than expected are closed. *@got is 0 at end of file.
 */
int fdpass_send(int sock, const int *fds, unsigned n_fds, const void *data, size_t size);
int fdpass_recv(int sock, int *fds, unsigned *n_fds, void *data, size_t size, size_t *got);

/*
 * fd_limit_raise() - lets this process have as many descriptors as its hard limit allows (at most
 * 65536): BARs, interrupts and clients take some each. fd_limit_restore() gives a forked child the
 * limit back that was there before the first raise. Before other threads are started.
 */
void fd_limit_raise(void);
void fd_limit_restore(void);

/* ------------------------------------------------------------------ event loop */

/*
 * One thread runs a loop; every callback runs on it. loop_post() and loop_stop() may be called
 * from any thread; the rest only on the loop's thread or before it runs.
 */
struct loop;
struct loop_source;

int loop_new(struct loop **loop);
void loop_free(struct loop *loop); /* frees every source still there; closes none of their fds */
int loop_run(struct loop *loop);   /* until loop_stop(); returns what that gave */
void loop_stop(struct loop *loop, int result);

/* @events: EPOLLIN and so on. @fd stays the caller's. */
int loop_fd_add(struct loop *loop, int fd, uint32_t events, void (*cb)(void *data, uint32_t events),
		void *data, struct loop_source **source);
int loop_fd_modify(struct loop_source *source, uint32_t events);
/* One-shot or periodic timer. */
int loop_timer_add(struct loop *loop, uint64_t first_ns, uint64_t period_ns,
		   void (*cb)(void *data, uint32_t events), void *data,
		   struct loop_source **source);
void loop_source_free(struct loop_source *source); /* NULL is fine; allowed inside its callback */
int loop_post(struct loop *loop, void (*cb)(void *data), void *data);

/* ------------------------------------------------------------------ threads */

int thread_start(pthread_t *thread, size_t stack, void *(*fn)(void *), void *data);

/* ------------------------------------------------------------------ guarded access */

/*
 * Memory that somebody else can take away while we touch it (a client's file that is truncated, a
 * connection that is aborted) raises SIGBUS. These calls turn that into -EFAULT.
 * guard_init() installs the handler once for the process; a SIGBUS outside of a guarded call keeps
 * its default action.
 */
int guard_init(void);
int guard_copy(void *dst, const void *src, size_t size); /* 0 or -EFAULT */
/* Runs @fn(@data); -EFAULT if it raised SIGBUS. @fn must hold no lock and own nothing. */
int guard_call(void (*fn)(void *data), void *data);

/* ------------------------------------------------------------------ ordered range map */

/*
 * Ranges that never overlap, in order of address; any number of them; logarithmic. The caller
 * embeds a node and locks. (AVL or red-black tree: src/base/rangemap.c.)
 */
struct range_node {
	struct range_node *left, *right, *parent;
	uint64_t first, last;
	int height;
};
struct range_map {
	struct range_node *root;
	size_t count;
};

/* -EEXIST if [first,last] of @node overlaps one that is there, else inserts. */
int range_map_insert(struct range_map *map, struct range_node *node);
void range_map_remove(struct range_map *map, struct range_node *node);
/* The range that holds @addr, or NULL. */
struct range_node *range_map_find(const struct range_map *map, uint64_t addr);
/* The first range, in order, that ends at or after @addr (it holds @addr or lies above), or NULL.
 */
struct range_node *range_map_lower(const struct range_map *map, uint64_t addr);
struct range_node *range_map_first(const struct range_map *map);
struct range_node *range_map_next(const struct range_node *node);

#endif
