/* SPDX-License-Identifier: BSD-3-Clause */
/* What the tests of the NVMe controller share: images, commands, random reads and writes. */
#ifndef UVFIO_TESTS_NVME_TEST_H
#define UVFIO_TESTS_NVME_TEST_H

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "fds.h"
#include "nvme_client.h"

#define DNR NVMED_STATUS_DNR
#define DATA (RAM_IOVA + QUEUE_AREA)
#define UNMAPPED 0x200000000ull

static uint64_t rng_state = 1;

static inline uint32_t rng(uint32_t below)
{
	rng_state ^= rng_state << 13;
	rng_state ^= rng_state >> 7;
	rng_state ^= rng_state << 17;
	return (uint32_t)(rng_state >> 32) % below;
}

static inline struct client *open_client(const char *options, bool manual)
{
	struct pcif_reply_error err = { 0 };
	struct client *cl = client_new(options, manual, &err);

	if (!cl)
		fail_msg("%s: %s", options, err.text);
	return cl;
}

static char image_path[64];

static inline void make_image(uint64_t size)
{
	int fd;

	snprintf(image_path, sizeof(image_path), "/tmp/uvf-nvme-XXXXXX");
	fd = mkstemp(image_path);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, size), 0);
	close(fd);
}

static inline struct nvmed_sqe rw_cmd(uint8_t opcode, uint64_t lba, uint32_t blocks, uint64_t prp1,
				      uint64_t prp2)
{
	return (struct nvmed_sqe){
		.opcode = opcode,
		.nsid = le32_make(1),
		.prp1 = le64_make(prp1),
		.prp2 = le64_make(prp2),
		.cdw10 = le32_make((uint32_t)lba),
		.cdw11 = le32_make(lba >> 32),
		.cdw12 = le32_make(blocks - 1),
	};
}

/*
 * Pages of the data area in random order, PRP1 at a random offset, the list (chained if long) at
 * the end of a page now and then. Returns PRP1; *prp2.
 */
struct shape {
	uint64_t prp1, prp2;
	uint64_t pages[NVMED_MAX_RUNS];
	uint32_t first; /* bytes on the first page */
	uint32_t size;
};

static inline void make_shape(struct client *cl, struct shape *sh, uint32_t size)
{
	uint64_t area = DATA + KIB(64); /* lists before it */
	unsigned n_pages = (RAM_SIZE - QUEUE_AREA - KIB(64)) / 4096, start = rng(n_pages);
	uint32_t offset = rng(3) ? 0 : rng(1024) * 4, needed, at, left;
	le64 *list = client_ptr(cl, DATA);

	sh->size = size;
	sh->first = MIN(4096 - offset, size);
	needed = (size - sh->first + 4095) / 4096;
	for (unsigned i = 0; i <= needed; i++)
		sh->pages[i] = area + (uint64_t)(start + i) % n_pages * 4096;
	if (rng(2)) /* scatter: swap neighbours at random */
		for (unsigned i = 0; i + 1 <= needed; i++) {
			unsigned k = i + rng(needed + 1 - i);
			uint64_t tmp = sh->pages[i];

			sh->pages[i] = sh->pages[k];
			sh->pages[k] = tmp;
		}
	sh->prp1 = sh->pages[0] + offset;
	sh->prp2 = needed == 1 ? sh->pages[1] : 0;
	if (needed < 2)
		return;
	at = rng(2) ? 0 : 512 - 1 - rng(8);
	sh->prp2 = DATA + at * 8;
	left = needed;
	for (unsigned i = 1; left; at++) {
		if (at % 512 == 511 && left > 1) {
			/* The next page of the list is not the next page of memory. */
			list[at] = le64_make(DATA + (at / 512 + 2) * 4096);
			at = (at / 512 + 2) * 512 - 1;
			continue;
		}
		list[at] = le64_make(sh->pages[i++]);
		left--;
	}
}

static inline void shape_copy(struct client *cl, const struct shape *sh, uint8_t *buf,
			      bool to_client)
{
	uint32_t done = 0;

	for (unsigned i = 0; done < sh->size; i++) {
		uint32_t n = i ? MIN(sh->size - done, 4096u) : sh->first;
		uint8_t *p = client_ptr(cl, i ? sh->pages[i] : sh->prp1);

		memcpy(to_client ? p : buf + done, to_client ? buf + done : p, n);
		done += n;
	}
}

static inline void random_io(struct client *cl, unsigned id, unsigned shift, uint64_t disk_size,
			     unsigned rounds)
{
	uint8_t *shadow = calloc(1, disk_size), *buf = malloc(MIB(1));
	struct shape sh;

	for (unsigned r = 0; r < rounds; r++) {
		uint32_t max = MIB(1) >> shift;
		uint32_t blocks = 1 + (rng(3) ? rng(32) % max : rng(max));
		uint64_t lba = rng((disk_size >> shift) - blocks + 1);
		uint32_t size = blocks << shift;
		struct nvmed_sqe cmd;

		make_shape(cl, &sh, size);
		if (rng(2)) {
			for (uint32_t i = 0; i < size; i++)
				buf[i] = rng_state >> (i & 31) ^ i;
			memcpy(shadow + (lba << shift), buf, size);
			shape_copy(cl, &sh, buf, true);
			cmd = rw_cmd(NVMED_IO_WRITE, lba, blocks, sh.prp1, sh.prp2);
			if (!rng(8))
				cmd.cdw12.raw |= htole32(NVMED_RW_FUA);
			assert_int_equal(client_do(cl, id, cmd, NULL), 0);
		} else {
			cmd = rw_cmd(NVMED_IO_READ, lba, blocks, sh.prp1, sh.prp2);
			assert_int_equal(client_do(cl, id, cmd, NULL), 0);
			shape_copy(cl, &sh, buf, false);
			assert_memory_equal(buf, shadow + (lba << shift), size);
		}
	}
	free(shadow);
	free(buf);
}

#endif
