/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * guestio: the program inside the guest that moves data and checks it.
 *
 * A static helper of the guest tests and of make run; the guest has busybox and this, nothing else.
 * Disk contents are a function of (sector, generation, seed), so that whoever knows the generation
 * of a sector can tell whether it is right without keeping a copy of the data.
 *
 *   guestio verify DEV THREADS OPERATIONS MAX_BYTES SEED   random reads and writes, each checked
 *   guestio bench DEV read|write THREADS SECONDS           4 KiB random I/O, one per thread at a
 * time guestio flushlog DEV                                   numbered records, each told once on
 * disk guestio stamp DEV OFFSET BYTES SEED                    writes a pattern that depends on the
 * seed
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define SECTOR 512u
#define BLOCK 4096u
#define MAX_THREADS 64

struct worker {
	pthread_t thread;
	const char *path;
	uint64_t first, sectors; /* this worker's slice of the disk */
	uint64_t operations, done, bytes;
	uint64_t max_sectors;
	uint64_t state; /* of the random numbers */
	uint64_t seed;
	uint64_t slowest_ns;
	uint8_t *generation; /* one per sector of the slice, 0: never written */
	double seconds;
	bool write;
	char error[160];
};

static uint64_t random_next(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15ull);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* What a sector holds in its n-th generation. */
static void fill_sector(void *to, uint64_t sector, unsigned generation, uint64_t seed)
{
	uint64_t state = seed ^ (sector << 8) ^ generation;
	uint64_t word[SECTOR / sizeof(uint64_t)];

	for (size_t i = 0; i < SECTOR / sizeof(uint64_t); i++)
		word[i] = random_next(&state);
	memcpy(to, word, SECTOR);
}

static void *aligned(size_t size)
{
	void *p = NULL;

	if (posix_memalign(&p, BLOCK, size)) {
		fprintf(stderr, "guestio: out of memory\n");
		exit(1);
	}
	return p;
}

static uint64_t disk_size(int fd)
{
	uint64_t size = 0;

	if (ioctl(fd, BLKGETSIZE64, &size))
		size = (uint64_t)lseek(fd, 0, SEEK_END);
	return size;
}

static int open_disk(const char *path)
{
	int fd = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);

	if (fd < 0) {
		fprintf(stderr, "guestio: %s: %s\n", path, strerror(errno));
		exit(1);
	}
	return fd;
}

/* ------------------------------------------------------------------ verify */

static int check_range(struct worker *w, int fd, uint8_t *buf, uint64_t at, uint64_t count)
{
	uint8_t want[SECTOR];
	ssize_t n = pread(fd, buf, count * SECTOR, (off_t)((w->first + at) * SECTOR));

	if (n != (ssize_t)(count * SECTOR)) {
		snprintf(w->error, sizeof(w->error), "read at sector %" PRIu64 ": %s",
			 w->first + at, n < 0 ? strerror(errno) : "short");
		return -1;
	}
	for (uint64_t i = 0; i < count; i++) {
		if (!w->generation[at + i])
			continue; /* what was there before is nobody's */
		fill_sector(want, w->first + at + i, w->generation[at + i], w->seed);
		if (!memcmp(want, buf + i * SECTOR, SECTOR))
			continue;
		snprintf(w->error, sizeof(w->error), "sector %" PRIu64 " generation %u is wrong",
			 w->first + at + i, w->generation[at + i]);
		return -1;
	}
	return 0;
}

static int write_range(struct worker *w, int fd, uint8_t *buf, uint64_t at, uint64_t count)
{
	ssize_t n;

	for (uint64_t i = 0; i < count; i++) {
		uint8_t generation = (uint8_t)(w->generation[at + i] % 255 + 1);

		w->generation[at + i] = generation;
		fill_sector(buf + i * SECTOR, w->first + at + i, generation, w->seed);
	}
	n = pwrite(fd, buf, count * SECTOR, (off_t)((w->first + at) * SECTOR));
	if (n == (ssize_t)(count * SECTOR))
		return 0;
	snprintf(w->error, sizeof(w->error), "write at sector %" PRIu64 ": %s", w->first + at,
		 n < 0 ? strerror(errno) : "short");
	return -1;
}

static void *verify_thread(void *arg)
{
	struct worker *w = arg;
	uint64_t size = w->max_sectors * SECTOR;
	uint8_t *raw = aligned(size + BLOCK);
	int fd = open_disk(w->path);

	for (uint64_t i = 0; i < w->operations && !w->error[0]; i++) {
		uint64_t count = 1 + random_next(&w->state) % w->max_sectors;
		uint64_t at = random_next(&w->state) % (w->sectors - count + 1);
		/* The buffer starts at every sector of a page: PRP lists of every shape. */
		uint8_t *buf = raw + random_next(&w->state) % (BLOCK / SECTOR) * SECTOR;
		int rc = random_next(&w->state) & 1 ? write_range(w, fd, buf, at, count)
						    : check_range(w, fd, buf, at, count);
		if (rc)
			break;
		w->done++;
		w->bytes += count * SECTOR;
	}
	for (uint64_t at = 0; at < w->sectors && !w->error[0]; at += w->max_sectors) {
		uint64_t left = w->sectors - at;

		if (check_range(w, fd, raw, at, left < w->max_sectors ? left : w->max_sectors))
			break;
	}
	close(fd);
	free(raw);
	return NULL;
}

static int cmd_verify(const char *path, unsigned threads, uint64_t operations, uint64_t max_bytes,
		      uint64_t seed)
{
	static struct worker w[MAX_THREADS];
	uint64_t done = 0, bytes = 0, sectors;
	int fd = open_disk(path), bad = 0;

	sectors = disk_size(fd) / SECTOR / threads;
	close(fd);
	for (unsigned i = 0; i < threads; i++) {
		w[i] = (struct worker){ .path = path,
					.first = i * sectors,
					.sectors = sectors,
					.operations = operations / threads,
					.max_sectors = max_bytes / SECTOR,
					.state = seed * 1000 + i,
					.seed = seed };
		w[i].generation = calloc(sectors, 1);
		if (!w[i].generation || !w[i].max_sectors || w[i].max_sectors > sectors) {
			printf("@@verify bad arguments\n");
			return 1;
		}
		pthread_create(&w[i].thread, NULL, verify_thread, &w[i]);
	}
	for (unsigned i = 0; i < threads; i++) {
		pthread_join(w[i].thread, NULL);
		done += w[i].done;
		bytes += w[i].bytes;
		if (w[i].error[0] && !bad++)
			printf("@@verify FAIL thread %u: %s\n", i, w[i].error);
	}
	if (!bad)
		printf("@@verify ok %" PRIu64 " operations %" PRIu64 " bytes\n", done, bytes);
	return bad != 0;
}

/* ------------------------------------------------------------------ bench */

static void *bench_thread(void *arg)
{
	struct worker *w = arg;
	uint8_t *buf = aligned(BLOCK);
	uint64_t end = now_ns() + (uint64_t)(w->seconds * 1e9);
	uint64_t blocks = w->sectors * SECTOR / BLOCK, before, took;
	int fd = open_disk(w->path);

	memset(buf, 0x5a, BLOCK);
	while ((before = now_ns()) < end) {
		off_t at = (off_t)(random_next(&w->state) % blocks * BLOCK);
		ssize_t n = w->write ? pwrite(fd, buf, BLOCK, at) : pread(fd, buf, BLOCK, at);

		if (n != BLOCK) {
			snprintf(w->error, sizeof(w->error), "%s",
				 n < 0 ? strerror(errno) : "short transfer");
			break;
		}
		took = now_ns() - before;
		if (took > w->slowest_ns)
			w->slowest_ns = took;
		w->done++;
	}
	close(fd);
	free(buf);
	return NULL;
}

static int cmd_bench(const char *path, bool write, unsigned threads, double seconds)
{
	static struct worker w[MAX_THREADS];
	uint64_t done = 0, slowest = 0, sectors, before;
	int fd = open_disk(path);
	double took;

	sectors = disk_size(fd) / SECTOR;
	close(fd);
	before = now_ns();
	for (unsigned i = 0; i < threads; i++) {
		w[i] = (struct worker){ .path = path,
					.sectors = sectors,
					.state = i + 1,
					.write = write,
					.seconds = seconds };
		pthread_create(&w[i].thread, NULL, bench_thread, &w[i]);
	}
	for (unsigned i = 0; i < threads; i++) {
		pthread_join(w[i].thread, NULL);
		done += w[i].done;
		if (w[i].slowest_ns > slowest)
			slowest = w[i].slowest_ns;
		if (w[i].error[0]) {
			printf("@@bench%u FAIL %s\n", threads, w[i].error);
			return 1;
		}
	}
	took = (double)(now_ns() - before) / 1e9;
	printf("@@bench%u %.0f iops %.1f us mean %.1f us slowest\n", threads, (double)done / took,
	       done ? took * 1e6 * threads / (double)done : 0.0, (double)slowest / 1e3);
	return 0;
}

static int cmd_seq(const char *path, bool write, uint64_t first, uint64_t count)
{
	const size_t chunk = 1u << 20;
	uint8_t *buf = aligned(chunk);
	int fd = open_disk(path), rc = 0;
	uint64_t before = now_ns();

	memset(buf, 0xa5, chunk);
	for (uint64_t i = first; i < first + count && !rc; i++) {
		ssize_t n = write ? pwrite(fd, buf, chunk, (off_t)(i * chunk))
				  : pread(fd, buf, chunk, (off_t)(i * chunk));

		rc = n != (ssize_t)chunk;
	}
	if (write && !rc)
		rc = fsync(fd);
	if (rc)
		printf("@@seq%s FAIL %s\n", write ? "write" : "read", strerror(errno));
	else
		printf("@@seq%s %.0f MiB/s\n", write ? "write" : "read",
		       (double)count * 1e9 / (double)(now_ns() - before));
	close(fd);
	free(buf);
	return rc != 0;
}

/* ------------------------------------------------------------------ flushlog, stamp */

/*
 * Record n fills block n of the disk; after the fsync that covers it, n is told on the console. The
 * host kills the machine at any moment: every record up to the last number told must be in the
 * image.
 */
static int cmd_flushlog(const char *path)
{
	uint8_t *buf = aligned(BLOCK);
	int fd = open_disk(path);
	uint64_t blocks = disk_size(fd) / BLOCK;

	for (uint64_t n = 1; n < blocks; n++) {
		for (unsigned i = 0; i < BLOCK / SECTOR; i++)
			fill_sector(buf + i * SECTOR, n * (BLOCK / SECTOR) + i, 1, 7);
		if (pwrite(fd, buf, BLOCK, (off_t)(n * BLOCK)) != BLOCK) {
			printf("@@flushlog FAIL write %s\n", strerror(errno));
			return 1;
		}
		if (n % 4)
			continue;
		if (fsync(fd)) {
			printf("@@flushlog FAIL fsync %s\n", strerror(errno));
			return 1;
		}
		printf("@@flushed %" PRIu64 "\n", n);
		fflush(stdout);
	}
	printf("@@flushlog wrapped\n");
	return 0;
}

static int cmd_stamp(const char *path, uint64_t offset, uint64_t bytes, uint64_t seed)
{
	uint8_t *buf = aligned(BLOCK);
	int fd = open_disk(path);

	for (uint64_t at = offset; at < offset + bytes; at += BLOCK) {
		for (unsigned i = 0; i < BLOCK / SECTOR; i++)
			fill_sector(buf + i * SECTOR, at / SECTOR + i, 1, seed);
		if (pwrite(fd, buf, BLOCK, (off_t)at) != BLOCK) {
			printf("@@stamp FAIL %s\n", strerror(errno));
			return 1;
		}
	}
	if (fsync(fd)) {
		printf("@@stamp FAIL fsync %s\n", strerror(errno));
		return 1;
	}
	printf("@@stamp ok\n");
	return 0;
}

static uint64_t number(const char *text)
{
	return strtoull(text, NULL, 0);
}

int main(int argc, char **argv)
{
	unsigned threads;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc == 7 && !strcmp(argv[1], "verify")) {
		threads = (unsigned)number(argv[3]);
		if (threads && threads <= MAX_THREADS)
			return cmd_verify(argv[2], threads, number(argv[4]), number(argv[5]),
					  number(argv[6]));
	}
	if (argc == 6 && !strcmp(argv[1], "bench")) {
		threads = (unsigned)number(argv[4]);
		if (threads && threads <= MAX_THREADS)
			return cmd_bench(argv[2], !strcmp(argv[3], "write"), threads,
					 atof(argv[5]));
	}
	if (argc == 6 && !strcmp(argv[1], "seq"))
		return cmd_seq(argv[2], !strcmp(argv[3], "write"), number(argv[4]),
			       number(argv[5]));
	if (argc == 3 && !strcmp(argv[1], "flushlog"))
		return cmd_flushlog(argv[2]);
	if (argc == 6 && !strcmp(argv[1], "stamp"))
		return cmd_stamp(argv[2], number(argv[3]), number(argv[4]), number(argv[5]));
	fprintf(stderr, "usage: guestio verify DEV THREADS OPERATIONS MAX_BYTES SEED\n"
			"       guestio bench DEV read|write THREADS SECONDS\n"
			"       guestio seq DEV read|write FIRST_MIB MIB\n"
			"       guestio flushlog DEV\n"
			"       guestio stamp DEV OFFSET BYTES SEED\n");
	return 2;
}
