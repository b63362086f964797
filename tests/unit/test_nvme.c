/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The NVMe controller, driven as a host drives it. Each behaviour is tried on a manual controller
 * (exact) and the moving ones on a threaded one, trapped and by mmap.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "nvme_client.h"

#define DNR NVMED_STATUS_DNR
#define DATA (RAM_IOVA + QUEUE_AREA)
#define UNMAPPED 0x200000000ull

static unsigned count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static uint64_t rng_state = 1;

static uint32_t rng(uint32_t below)
{
	rng_state ^= rng_state << 13;
	rng_state ^= rng_state >> 7;
	rng_state ^= rng_state << 17;
	return (uint32_t)(rng_state >> 32) % below;
}

static struct client *open_client(const char *options, bool manual)
{
	struct pcif_reply_error err = { 0 };
	struct client *cl = client_new(options, manual, &err);

	if (!cl)
		fail_msg("%s: %s", options, err.text);
	return cl;
}

static char image_path[64];

static void make_image(uint64_t size)
{
	int fd;

	snprintf(image_path, sizeof(image_path), "/tmp/uvf-nvme-XXXXXX");
	fd = mkstemp(image_path);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, size), 0);
	close(fd);
}

static struct nvmed_sqe rw_cmd(uint8_t opcode, uint64_t lba, uint32_t blocks, uint64_t prp1,
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

/* ------------------------------------------------------------------ PRP walk */

struct list_memory {
	uint64_t iova;
	le64 entries[1024];
};

static int list_fetch(void *data, uint64_t iova, void *buf, size_t size)
{
	struct list_memory *m = data;

	if (iova < m->iova || iova + size > m->iova + sizeof(m->entries))
		return -EFAULT;
	memcpy(buf, (char *)m->entries + (iova - m->iova), size);
	return 0;
}

static void prp_shapes(void **state)
{
	static struct list_memory m = { .iova = 0x100000 };
	static const struct {
		uint64_t prp1, prp2;
		uint32_t size;
		uint16_t status;
		unsigned runs;
	} t[] = {
		{ 0x1000, 0, 512, NVMED_OK, 1 },
		{ 0x1e00, 0, 512, NVMED_OK, 1 },
		{ 0x1e04, 0x3000, 512, NVMED_OK, 2 },
		{ 0x1e00, 0x2000, 1024, NVMED_OK, 1 }, /* neighbours merge */
		{ 0x1e02, 0x3000, 512, NVMED_INVALID_PRP_OFFSET, 0 },
		{ 0x1e00, 0x3004, 1024, NVMED_INVALID_PRP_OFFSET, 0 },
		{ 0x1000, 0x3000, 8192, NVMED_OK, 2 },
		{ 0x1000, 0x100000, 12288, NVMED_OK, 3 },
		{ 0x1800, 0x100000, 12288, NVMED_OK, 4 },
		{ 0x1000, 0x100004, 12288, NVMED_INVALID_PRP_OFFSET, 0 },
		{ 0x1000, 0x500000, 12288, NVMED_DATA_TRANSFER_ERROR, 0 },
		{ 0x1000, 0x100ff0, 16384, NVMED_OK, 4 }, /* chained at the page's end */
		{ 0x1000, 0x100ff8, 16384, NVMED_OK, 4 }, /* only the chain on the first page */
		{ 0xfffffffffffff000, 0x0, 4096, NVMED_OK, 1 },
		{ 0x1000, 0x100000, NVMED_MAX_TRANSFER, NVMED_OK, 256 },
	};
	struct nvmed_run runs[NVMED_MAX_RUNS];

	for (unsigned i = 0; i < ARRAY_SIZE(t); i++) {
		uint32_t total = 0;
		unsigned n = 0;

		for (unsigned k = 0; k < 1024; k++)
			m.entries[k] = le64_make(0x10000000 + k * 0x2000ull);
		if ((t[i].prp2 & 0xfff) == 0xff0)
			m.entries[511] = le64_make(0x101000);
		if ((t[i].prp2 & 0xfff) == 0xff8)
			m.entries[511] = le64_make(0x101000);
		assert_int_equal(nvmed_prp_walk(t[i].prp1, t[i].prp2, t[i].size, 12, list_fetch, &m,
						runs, &n),
				 t[i].status);
		if (t[i].status)
			continue;
		assert_int_equal(n, t[i].runs);
		for (unsigned k = 0; k < n; k++)
			total += runs[k].size;
		assert_int_equal(total, t[i].size);
	}
	/* A bad entry, and a bad chain. */
	unsigned n;

	m.entries[1] = le64_make(0x10002008);
	assert_int_equal(nvmed_prp_walk(0x1000, 0x100000, 16384, 12, list_fetch, &m, runs, &n),
			 NVMED_INVALID_PRP_OFFSET);
	m.entries[511] = le64_make(0x101008);
	assert_int_equal(nvmed_prp_walk(0x1000, 0x100ff8, 16384, 12, list_fetch, &m, runs, &n),
			 NVMED_INVALID_PRP_OFFSET);
}

/* ------------------------------------------------------------------ identify */

static void identify(void **state)
{
	unsigned fds = count_fds();
	struct client *cl = open_client("mem=64M,serial=TEST 1,queues=3", true);
	struct nvmed_sqe cmd = { .opcode = NVMED_ADMIN_IDENTIFY,
				 .prp1 = le64_make(DATA + 2048),
				 .prp2 = le64_make(DATA + 4096) };
	struct nvmed_id_ctrl *id = client_ptr(cl, DATA + 2048);
	struct nvmed_id_ns *ns = client_ptr(cl, DATA + 2048);
	le32 *list = client_ptr(cl, DATA + 2048);

	assert_int_equal(client_read32(cl, NVMED_REG_VS), 0x10400);
	assert_int_equal(client_read32(cl, NVMED_REG_CAP) & 0xffff, 1023);
	assert_int_equal(client_read32(cl, NVMED_REG_CSTS), 0);
	assert_true(client_enable(cl, 32));
	cmd.cdw10 = le32_make(1);
	assert_int_equal(client_do(cl, 0, cmd, NULL), 0);
	assert_memory_equal(id->sn, "TEST 1              ", 20);
	assert_int_equal(id->mdts, 8);
	assert_int_equal(le32_get(id->nn), 1);
	assert_int_equal(id->sqes, 0x66);
	assert_int_equal(le32_get(id->ver), 0x10400);
	assert_memory_equal(id->subnqn, "nqn.2014-08.org.nvmexpress:uuid:", 32);
	cmd.nsid = le32_make(1);
	cmd.cdw10 = le32_make(0);
	assert_int_equal(client_do(cl, 0, cmd, NULL), 0);
	assert_int_equal(le64_get(ns->nsze), MIB(64) / 512);
	assert_int_equal(ns->lbaf[0].lbads, 9);
	cmd.cdw10 = le32_make(3);
	assert_int_equal(client_do(cl, 0, cmd, NULL), 0);
	assert_int_equal(le32_get(list[0]) & 0xffff, 0x0801);
	cmd.cdw10 = le32_make(2);
	assert_int_equal(client_do(cl, 0, cmd, NULL), 0);
	assert_int_equal(le32_get(list[0]), 0);
	cmd.nsid = le32_make(0);
	assert_int_equal(client_do(cl, 0, cmd, NULL), 0);
	assert_int_equal(le32_get(list[0]), 1);
	assert_int_equal(cl->irqs[0], 5);
	client_free(cl);
	assert_int_equal(count_fds(), fds);
}

/* ------------------------------------------------------------------ data */

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

static void make_shape(struct client *cl, struct shape *sh, uint32_t size)
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

static void shape_copy(struct client *cl, const struct shape *sh, uint8_t *buf, bool to_client)
{
	uint32_t done = 0;

	for (unsigned i = 0; done < sh->size; i++) {
		uint32_t n = i ? MIN(sh->size - done, 4096u) : sh->first;
		uint8_t *p = client_ptr(cl, i ? sh->pages[i] : sh->prp1);

		memcpy(to_client ? p : buf + done, to_client ? buf + done : p, n);
		done += n;
	}
}

static void random_io(struct client *cl, unsigned id, unsigned shift, uint64_t disk_size,
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

static void queue_full(void **state);

static void io_on(const char *options, bool manual, bool by_mmap, unsigned shift, unsigned rounds)
{
	unsigned fds = count_fds();
	struct client *cl = open_client(options, manual);

	if (by_mmap)
		client_map_bar(cl);
	assert_true(client_enable(cl, 32));
	assert_int_equal(client_create_queue(cl, 1, 64), 0);
	random_io(cl, 1, shift, MIB(8), rounds);
	assert_true(client_disable(cl));
	client_free(cl);
	assert_int_equal(count_fds(), fds);
}

static void io_memory(void **state)
{
	io_on("mem=8M", true, false, 9, 300);
	io_on("mem=8M,block=4096", true, true, 12, 100);
	io_on("mem=8M", false, false, 9, 100);
	io_on("mem=8M", false, true, 9, 100);
	io_on("mem=8M,mmio=doorbell", false, true, 9, 50);
	io_on("mem=8M,mmio=trap", false, true, 9, 50);
}

static void io_file(void **state)
{
	char options[128];

	for (unsigned i = 0; i < 4; i++) {
		make_image(MIB(8) + 100);
		snprintf(options, sizeof(options), "disk=%s,block=%u", image_path,
			 i & 1 ? 4096 : 512);
		io_on(options, !(i & 2), i & 1, i & 1 ? 12 : 9, 100);
		unlink(image_path);
	}
}

/* Memory that cannot be pinned: everything is copied through the kernel. */
static void io_copied(void **state)
{
	struct iommu_mem *mem;

	/* Descriptors of a process are shared and cached: have them before any are counted. */
	assert_int_equal(iommu_mem_process(getpid(), &mem), 0);
	client_anonymous = true;
	io_memory(state);
	io_file(state);
	queue_full(state);
	client_anonymous = false;
	iommu_mem_put(mem);
}

/* ------------------------------------------------------------------ statuses */

#define CMD(op, ...)                                                                               \
	{                                                                                          \
		.opcode = (op), __VA_ARGS__                                                        \
	}
#define L32(v)                                                                                     \
	{                                                                                          \
		.raw = (v)                                                                         \
	}
#define L64(v)                                                                                     \
	{                                                                                          \
		.raw = (v)                                                                         \
	}

static const struct {
	struct nvmed_sqe cmd;
	uint16_t status;
} admin_errors[] = {
	{ CMD(0x7f), NVMED_INVALID_OPCODE | DNR },
	{ CMD(0x06, .flags = 1, .cdw10 = L32(1)), NVMED_INVALID_FIELD | DNR },
	{ CMD(0x06, .flags = 0x40, .cdw10 = L32(1)), NVMED_INVALID_FIELD | DNR },
	{ CMD(0x06, .cdw10 = L32(0x55)), NVMED_INVALID_FIELD | DNR },
	{ CMD(0x06, .nsid = L32(2), .cdw10 = L32(0)), NVMED_INVALID_NAMESPACE | DNR },
	{ CMD(0x06, .nsid = L32(~0u), .cdw10 = L32(2)), NVMED_INVALID_NAMESPACE | DNR },
	{ CMD(0x06, .cdw10 = L32(1), .prp1 = L64(DATA + 1)), NVMED_INVALID_PRP_OFFSET | DNR },
	{ CMD(0x06, .cdw10 = L32(1), .prp1 = L64(DATA + 8), .prp2 = L64(DATA + 4100)),
	  NVMED_INVALID_PRP_OFFSET | DNR },
	{ CMD(0x06, .cdw10 = L32(1), .prp1 = L64(UNMAPPED)), NVMED_DATA_TRANSFER_ERROR },
	{ CMD(0x02, .cdw10 = L32(0x70)), NVMED_INVALID_LOG_PAGE | DNR },
	{ CMD(0x02, .cdw10 = L32(2), .nsid = L32(1)), NVMED_INVALID_FIELD | DNR },
	{ CMD(0x02, .cdw10 = L32(2), .cdw12 = L32(512)), NVMED_INVALID_FIELD | DNR },
	{ CMD(0x02, .cdw10 = L32(2), .cdw12 = L32(2)), NVMED_INVALID_FIELD | DNR },
	/* create completion queue: id, size, flags, address, vector */
	{ CMD(0x05, .cdw10 = L32(0xf0000), .cdw11 = L32(1)), NVMED_INVALID_QUEUE_ID | DNR },
	{ CMD(0x05, .cdw10 = L32(0xf0011), .cdw11 = L32(1)), NVMED_INVALID_QUEUE_ID | DNR },
	{ CMD(0x05, .cdw10 = L32(2), .cdw11 = L32(1)), NVMED_INVALID_QUEUE_SIZE | DNR },
	{ CMD(0x05, .cdw10 = L32(0x4000002), .cdw11 = L32(1)), NVMED_INVALID_QUEUE_SIZE | DNR },
	{ CMD(0x05, .cdw10 = L32(0xf0002)), NVMED_INVALID_FIELD | DNR },
	{ CMD(0x05, .cdw10 = L32(0xf0002), .cdw11 = L32(1), .prp1 = L64(DATA + 16)),
	  NVMED_INVALID_PRP_OFFSET | DNR },
	{ CMD(0x05, .cdw10 = L32(0xf0002), .cdw11 = L32(17 << 16 | 1)),
	  NVMED_INVALID_VECTOR | DNR },
	{ CMD(0x05, .cdw10 = L32(0xf0001), .cdw11 = L32(1)),
	  NVMED_INVALID_QUEUE_ID | DNR }, /* exists */
	/* create submission queue */
	{ CMD(0x01, .cdw10 = L32(0xf0002), .cdw11 = L32(1)), NVMED_INVALID_QUEUE_ID | DNR },
	{ CMD(0x01, .cdw10 = L32(0xf0002), .cdw11 = L32(5 << 16 | 1)), NVMED_CQ_INVALID | DNR },
	{ CMD(0x01, .cdw10 = L32(0xf0001), .cdw11 = L32(1 << 16 | 1)),
	  NVMED_INVALID_QUEUE_ID | DNR },
	/* delete */
	{ CMD(0x00, .cdw10 = L32(0)), NVMED_INVALID_QUEUE_ID | DNR },
	{ CMD(0x00, .cdw10 = L32(5)), NVMED_INVALID_QUEUE_ID | DNR },
	{ CMD(0x04, .cdw10 = L32(5)), NVMED_INVALID_QUEUE_ID | DNR },
	{ CMD(0x04, .cdw10 = L32(1)), NVMED_INVALID_QUEUE_DELETION | DNR },
	/* features */
	{ CMD(0x09, .cdw10 = L32(0x00)), NVMED_INVALID_FIELD | DNR },
	{ CMD(0x09, .cdw10 = L32(0x7f)), NVMED_INVALID_FIELD | DNR },
	{ CMD(0x09, .cdw10 = L32(0x80000006)), NVMED_FEATURE_NOT_SAVEABLE | DNR },
	{ CMD(0x09, .cdw10 = L32(7), .cdw11 = L32(0xffff)), NVMED_INVALID_FIELD | DNR },
	{ CMD(0x09, .cdw10 = L32(7), .cdw11 = L32(1)), NVMED_COMMAND_SEQUENCE | DNR },
	{ CMD(0x09, .cdw10 = L32(2), .cdw11 = L32(3)), NVMED_INVALID_FIELD | DNR },
	{ CMD(0x09, .cdw10 = L32(5), .cdw11 = L32(0x10000)), NVMED_INVALID_FIELD | DNR },
	{ CMD(0x09, .cdw10 = L32(9), .cdw11 = L32(17)), NVMED_INVALID_FIELD | DNR },
	{ CMD(0x09, .nsid = L32(7), .cdw10 = L32(6)), NVMED_INVALID_NAMESPACE | DNR },
	{ CMD(0x0a, .cdw10 = L32(0x7f)), NVMED_INVALID_FIELD | DNR },
	{ CMD(0x0a, .cdw10 = L32(0x406)), NVMED_INVALID_FIELD | DNR },
	{ CMD(0x08, .cdw10 = L32(9)), NVMED_INVALID_FIELD | DNR },
	{ CMD(0x08, .cdw10 = L32(0x50001)), NVMED_OK },
};

static void statuses_admin(void **state)
{
	struct client *cl = open_client("mem=8M", true);
	struct nvmed_sqe cmd = { .opcode = NVMED_ADMIN_GET_LOG,
				 .prp1 = le64_make(DATA),
				 .cdw10 = le32_make(NVMED_LOG_ERROR | 1023 << 16) };
	struct nvmed_error_entry *log = client_ptr(cl, DATA);

	assert_true(client_enable(cl, 32));
	assert_int_equal(client_create_queue(cl, 1, 64), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(admin_errors); i++) {
		uint16_t status = client_do(cl, 0, admin_errors[i].cmd, NULL);

		if (status != admin_errors[i].status)
			fail_msg("row %u: status %x, not %x", i, status, admin_errors[i].status);
	}
	/* Each error left an entry; the newest is first. */
	assert_int_equal(client_do(cl, 0, cmd, NULL), 0);
	assert_int_equal(le64_get(log[0].count), ARRAY_SIZE(admin_errors) - 1);
	assert_int_equal(le16_get(log[0].status) >> 1 & 0x7ff, NVMED_INVALID_FIELD);
	assert_int_equal(le16_get(log[0].location), offsetof(struct nvmed_sqe, cdw10));
	client_free(cl);
}

static void statuses_io(void **state)
{
	struct client *cl = open_client("mem=8M", true);
	struct client *ro = open_client("mem=8M,readonly=on", true);
	uint64_t end = MIB(8) / 512;
	struct nvmed_dsm_range *range = client_ptr(cl, DATA + 8192);
	struct {
		struct nvmed_sqe cmd;
		uint16_t status;
	} t[] = {
		{ CMD(0x55, .nsid = L32(1)), NVMED_INVALID_OPCODE | DNR },
		{ CMD(0x02, .nsid = L32(0)), NVMED_INVALID_NAMESPACE | DNR },
		{ CMD(0x02, .nsid = L32(~0u)), NVMED_INVALID_NAMESPACE | DNR },
		{ CMD(0x00, .nsid = L32(~0u)), NVMED_OK },
		{ CMD(0x00, .nsid = L32(1)), NVMED_OK },
		{ CMD(0x00, .nsid = L32(2)), NVMED_INVALID_NAMESPACE | DNR },
		{ CMD(0x02, .flags = 0x80, .nsid = L32(1)), NVMED_INVALID_FIELD | DNR },
		{ rw_cmd(0x02, end, 1, DATA, 0), NVMED_LBA_OUT_OF_RANGE | DNR },
		{ rw_cmd(0x02, end - 1, 2, DATA, 0), NVMED_LBA_OUT_OF_RANGE | DNR },
		{ rw_cmd(0x02, UINT64_MAX, 2, DATA, 0), NVMED_LBA_OUT_OF_RANGE | DNR },
		{ rw_cmd(0x01, end - 1, 1, DATA, 0), NVMED_OK },
		{ rw_cmd(0x02, 0, 2049, DATA, DATA), NVMED_INVALID_FIELD | DNR },
		{ rw_cmd(0x02, 0, 1, DATA + 2, 0), NVMED_INVALID_PRP_OFFSET | DNR },
		{ rw_cmd(0x02, 0, 1, UNMAPPED, 0), NVMED_DATA_TRANSFER_ERROR },
		{ rw_cmd(0x01, 0, 1, UNMAPPED, 0), NVMED_DATA_TRANSFER_ERROR },
		{ rw_cmd(0x02, 0, 64, DATA, UNMAPPED), NVMED_DATA_TRANSFER_ERROR },
		{ rw_cmd(0x02, 0, 1, RAM_IOVA + RAM_SIZE - 4, RAM_IOVA), NVMED_OK },
		{ rw_cmd(0x02, 0, 1, RAM_IOVA + RAM_SIZE - 4, UNMAPPED),
		  NVMED_DATA_TRANSFER_ERROR },
		{ rw_cmd(0x05, 0, 1, DATA, 0), NVMED_COMPARE_FAILURE | DNR },
		{ rw_cmd(0x05, 100, 1, DATA + 4096, 0), NVMED_OK },
		{ rw_cmd(0x0c, 0, 16384, 0, 0), NVMED_OK },
		{ rw_cmd(0x0c, 1, 16384, 0, 0), NVMED_LBA_OUT_OF_RANGE | DNR },
		{ rw_cmd(0x08, 1, 16384, 0, 0), NVMED_LBA_OUT_OF_RANGE | DNR },
		{ CMD(0x09, .nsid = L32(1), .prp1 = L64(DATA + 8192), .cdw11 = L32(4)), NVMED_OK },
		{ CMD(0x09, .nsid = L32(1), .prp1 = L64(DATA + 8192), .cdw10 = L32(1),
		      .cdw11 = L32(4)),
		  NVMED_LBA_OUT_OF_RANGE | DNR },
	};

	range[0] = (struct nvmed_dsm_range){ .blocks = le32_make(8) };
	range[1] = (struct nvmed_dsm_range){ .blocks = le32_make(8), .lba = le64_make(end - 7) };
	assert_true(client_enable(cl, 32) && client_enable(ro, 32));
	assert_int_equal(client_create_queue(cl, 1, 64), 0);
	assert_int_equal(client_create_queue(ro, 1, 64), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(t); i++) {
		uint16_t status;

		memset(client_ptr(cl, DATA), 0xa5, 512);
		memset(client_ptr(cl, DATA + 4096), 0, 512);
		status = client_do(cl, 1, t[i].cmd, NULL);
		if (status != t[i].status)
			fail_msg("row %u: status %x, not %x", i, status, t[i].status);
	}
	for (unsigned op = 0; op < 256; op++) {
		uint16_t status = client_do(ro, 1, rw_cmd(op, 0, 1, DATA, 0), NULL);
		bool writes = op == 0x01 || op == 0x08 || op == 0x09;

		assert_int_equal(status == (NVMED_NS_WRITE_PROTECTED | DNR), writes);
	}
	client_free(cl);
	client_free(ro);
}

/* Write Zeroes and deallocation, on both kinds of disk, with ends that cut pages. */
static void zeroes(void **state)
{
	char options[128];

	make_image(MIB(8));
	snprintf(options, sizeof(options), "disk=%s", image_path);
	for (unsigned i = 0; i < 6; i++) {
		struct client *cl = open_client(i & 1 ? options : "mem=8M", true);
		struct nvmed_dsm_range *range = client_ptr(cl, DATA + 8192);
		struct nvmed_sqe cmd = rw_cmd(NVMED_IO_WRITE_ZEROES, 3, 90, 0, 0);
		uint8_t *p = client_ptr(cl, DATA);

		assert_true(client_enable(cl, 32));
		assert_int_equal(client_create_queue(cl, 1, 64), 0);
		memset(p, 0x77, 4096);
		for (unsigned lba = 0; lba < 128; lba += 8)
			assert_int_equal(
				client_do(cl, 1, rw_cmd(NVMED_IO_WRITE, lba, 8, DATA, 0), NULL), 0);
		if (i / 2 == 1)
			cmd.cdw12.raw |= htole32(NVMED_WZ_DEAC | NVMED_RW_FUA);
		if (i / 2 == 2) {
			range[0] = (struct nvmed_dsm_range){ .blocks = le32_make(90),
							     .lba = le64_make(3) };
			cmd = (struct nvmed_sqe){ .opcode = NVMED_IO_DSM,
						  .nsid = le32_make(1),
						  .prp1 = le64_make(DATA + 8192),
						  .cdw11 = le32_make(NVMED_DSM_AD) };
		}
		assert_int_equal(client_do(cl, 1, cmd, NULL), 0);
		for (unsigned lba = 0; lba < 128; lba++) {
			uint8_t want = lba < 3 || lba >= 93 ? 0x77 : 0;

			assert_int_equal(
				client_do(cl, 1, rw_cmd(NVMED_IO_READ, lba, 1, DATA, 0), NULL), 0);
			assert_int_equal(p[0], want);
			assert_int_equal(p[511], want);
		}
		client_free(cl);
	}
	unlink(image_path);
}

/* ------------------------------------------------------------------ queues */

static void queue_full(void **state)
{
	struct client *cl = open_client("mem=8M", true);
	struct nvmed_cqe cqe;
	unsigned got = 0, cid = 0;

	assert_true(client_enable(cl, 32));
	assert_int_equal(client_create_queue(cl, 1, 8), 0);
	/* A completion queue of 8 has room for 7; the host does not move its head. */
	for (unsigned round = 0; round < 40; round++) {
		for (unsigned i = 0; i < 7; i++)
			client_queue_cmd(cl, 1, rw_cmd(NVMED_IO_READ, 0, 1, DATA, 0));
		client_ring(cl, 1);
		client_pump(cl);
		/* The first round's completions stay in the ring while the second is submitted. */
		if (round == 0)
			continue;
		while (client_poll(cl, 1, &cqe)) {
			assert_int_equal(le16_get(cqe.cid), cid++ & 0xffff);
			got++;
		}
		assert_int_equal(got, 7 * round);
		client_ack(cl, 1);
		client_pump(cl);
	}
	while (client_poll(cl, 1, &cqe))
		got++;
	assert_int_equal(got, 7 * 40);
	client_free(cl);
}

static void many_queues(void **state)
{
	struct client *cl = open_client("mem=8M,queues=64", false);
	struct nvmed_sqe cmd = { .opcode = NVMED_ADMIN_SET_FEATURES,
				 .cdw10 = le32_make(7),
				 .cdw11 = le32_make(0x00ff00ff) };
	uint32_t dw0;

	client_map_bar(cl);
	assert_true(client_enable(cl, 64));
	assert_int_equal(client_do(cl, 0, cmd, &dw0), 0);
	assert_int_equal(dw0, 63 << 16 | 63);
	for (unsigned id = 1; id <= 64; id++)
		assert_int_equal(client_create_queue(cl, id, 16), 0);
	for (unsigned round = 0; round < 4; round++) {
		for (unsigned id = 1; id <= 64; id++) {
			for (unsigned i = 0; i < 10; i++)
				client_queue_cmd(cl, id, rw_cmd(NVMED_IO_READ, i, 1, DATA, 0));
			client_ring(cl, id);
		}
		for (unsigned id = 1; id <= 64; id++)
			for (unsigned i = 0; i < 10; i++) {
				struct nvmed_cqe cqe;

				assert_true(client_wait(cl, id, &cqe));
				assert_int_equal(le16_get(cqe.status) >> 1, 0);
				assert_int_equal(le16_get(cqe.sq_id), id);
			}
	}
	for (unsigned id = 1; id <= 64; id++)
		assert_true(cl->irqs[id] > 0);
	for (unsigned id = 1; id <= 64; id++) {
		cmd = (struct nvmed_sqe){ .opcode = NVMED_ADMIN_DELETE_SQ, .cdw10 = le32_make(id) };
		assert_int_equal(client_do(cl, 0, cmd, NULL), 0);
		cmd.opcode = NVMED_ADMIN_DELETE_CQ;
		assert_int_equal(client_do(cl, 0, cmd, NULL), 0);
	}
	client_free(cl);
}

/* What a queue has in progress completes before its deletion does; then it can be made again. */
static void delete_busy(void **state)
{
	struct nvmed_sqe cmd = { .opcode = NVMED_ADMIN_DELETE_SQ, .cdw10 = le32_make(1) };
	char options[128];
	struct client *cl;

	make_image(MIB(8));
	snprintf(options, sizeof(options), "disk=%s", image_path);
	cl = open_client(options, false);
	assert_true(client_enable(cl, 32));
	for (unsigned round = 0; round < 20; round++) {
		struct nvmed_cqe cqe;
		unsigned done = 0;

		assert_int_equal(client_create_queue(cl, 1, 64), 0);
		for (unsigned i = 0; i < 50; i++)
			client_queue_cmd(cl, 1,
					 rw_cmd(i & 1 ? NVMED_IO_WRITE : NVMED_IO_FLUSH, i, 8, DATA,
						DATA + 4096));
		client_ring(cl, 1);
		cmd.opcode = NVMED_ADMIN_DELETE_SQ;
		assert_int_equal(client_do(cl, 0, cmd, NULL), 0);
		cmd.opcode = NVMED_ADMIN_DELETE_CQ;
		assert_int_equal(client_do(cl, 0, cmd, NULL), 0);
		while (client_poll(cl, 1, &cqe)) {
			assert_int_equal(le16_get(cqe.status) >> 1, 0);
			done++;
		}
		assert_true(done <= 50);
		memset(client_ptr(cl, cl->q[1].cq), 0xee, 64 * 16);
		sched_yield();
		assert_int_equal(*(uint8_t *)client_ptr(cl, cl->q[1].cq), 0xee);
	}
	client_free(cl);
	unlink(image_path);
}

/* ------------------------------------------------------------------ events, errors, resets */

static void events(void **state)
{
	struct client *cl = open_client("mem=8M", true);
	struct nvmed_sqe aer = { .opcode = NVMED_ADMIN_ASYNC_EVENT };
	struct nvmed_sqe log = { .opcode = NVMED_ADMIN_GET_LOG,
				 .prp1 = le64_make(DATA),
				 .cdw10 = le32_make(NVMED_LOG_ERROR | 15 << 16) };
	struct nvmed_sqe cmd;
	struct nvmed_cqe cqe;

	assert_true(client_enable(cl, 32));
	assert_int_equal(client_create_queue(cl, 1, 8), 0);
	for (unsigned i = 0; i < 4; i++)
		client_queue_cmd(cl, 0, aer);
	client_ring(cl, 0);
	client_pump(cl);
	assert_false(client_poll(cl, 0, &cqe));
	assert_int_equal(client_do(cl, 0, aer, NULL), NVMED_AER_LIMIT | DNR);

	client_write32(cl, NVMED_DOORBELLS + 8, 8); /* beyond the queue */
	assert_true(client_wait(cl, 0, &cqe));
	assert_int_equal(le32_get(cqe.dw0), 0x10100);
	client_write32(cl, NVMED_DOORBELLS + 12, 3);	/* head past the tail: masked now */
	client_write32(cl, NVMED_DOORBELLS + 8 * 9, 1); /* no such queue */
	client_write32(cl, KIB(16) - 4, 1);
	client_pump(cl);
	assert_false(client_poll(cl, 0, &cqe));
	assert_int_equal(client_do(cl, 0, log, NULL), 0);
	client_write32(cl, NVMED_DOORBELLS + 8 * 9, 2);
	assert_true(client_wait(cl, 0, &cqe));
	assert_int_equal(le32_get(cqe.dw0), 0x10000);

	/* A threshold under the temperature, with the warning enabled. */
	cmd = (struct nvmed_sqe){ .opcode = NVMED_ADMIN_SET_FEATURES,
				  .cdw10 = le32_make(0x0b),
				  .cdw11 = le32_make(2) };
	assert_int_equal(client_do(cl, 0, cmd, NULL), 0);
	cmd.cdw10 = le32_make(4);
	cmd.cdw11 = le32_make(300);
	client_queue_cmd(cl, 0, cmd);
	client_ring(cl, 0);
	assert_true(client_wait(cl, 0, &cqe) && client_wait(cl, 0, &cqe));
	assert_int_equal(le32_get(cqe.dw0), 0x20101);

	/* The fourth is aborted. */
	cmd = (struct nvmed_sqe){ .opcode = NVMED_ADMIN_ABORT, .cdw10 = le32_make(3 << 16) };
	for (unsigned cid = 2; cid < 5; cid++) {
		cmd.cdw10 = le32_make((cid + 2u) << 16);
		client_queue_cmd(cl, 0, cmd);
	}
	client_ring(cl, 0);
	unsigned aborted = 0;

	while (client_wait(cl, 0, &cqe)) {
		aborted += (le16_get(cqe.status) >> 1 & 0x7ff) == NVMED_ABORT_REQUESTED;
		if (aborted)
			break;
	}
	assert_int_equal(aborted, 1);
	client_free(cl);
}

static void fatal(void **state)
{
	struct client *cl = open_client("mem=8M", true);

	/* Wrong ways to enable: fatal status, gone with EN. */
	static const uint32_t bad_cc[] = { 1 | 1 << 4, 1 | 5 << 7, 1 | 1 << 11 };

	for (unsigned i = 0; i < ARRAY_SIZE(bad_cc); i++) {
		client_write32(cl, NVMED_REG_AQA, 31 << 16 | 31);
		client_write32(cl, NVMED_REG_CC, bad_cc[i]);
		assert_true(client_wait_csts(cl, 3, NVMED_CSTS_CFS));
		assert_true(client_disable(cl));
		assert_int_equal(client_read32(cl, NVMED_REG_CSTS), 0);
	}
	client_write32(cl, NVMED_REG_AQA, 0);
	client_write32(cl, NVMED_REG_CC, 1);
	assert_true(client_wait_csts(cl, 3, NVMED_CSTS_CFS));
	assert_true(client_disable(cl));

	/* Queues that cannot be read, and cannot be written. */
	for (unsigned i = 0; i < 2; i++) {
		client_write32(cl, NVMED_REG_AQA, 31 << 16 | 31);
		client_write64(cl, NVMED_REG_ASQ, i ? DATA : UNMAPPED);
		client_write64(cl, NVMED_REG_ACQ, i ? UNMAPPED : DATA);
		client_write32(cl, NVMED_REG_CC, 1);
		assert_true(client_wait_csts(cl, 1, 1));
		client_write32(cl, NVMED_DOORBELLS, 1);
		assert_true(client_wait_csts(cl, NVMED_CSTS_CFS, NVMED_CSTS_CFS));
		assert_true(client_disable(cl));
		assert_int_equal(client_read32(cl, NVMED_REG_CSTS), 0);
	}
	assert_true(client_enable(cl, 32));
	assert_int_equal(client_create_queue(cl, 1, 8), 0);

	/* Subsystem reset. */
	client_write32(cl, NVMED_REG_NSSR, 1);
	client_pump(cl);
	assert_int_equal(client_read32(cl, NVMED_REG_CSTS), NVMED_CSTS_RDY);
	client_write32(cl, NVMED_REG_NSSR, NVMED_NSSR_MAGIC);
	assert_true(client_wait_csts(cl, 31, NVMED_CSTS_NSSRO));
	assert_int_equal(client_read32(cl, NVMED_REG_CC), 0);
	assert_int_equal(client_read32(cl, NVMED_REG_AQA), 0);
	client_free(cl);
}

static void shutdown(void **state)
{
	for (unsigned by_mmap = 0; by_mmap < 2; by_mmap++) {
		char options[128];
		struct client *cl;

		make_image(MIB(8));
		snprintf(options, sizeof(options), "disk=%s", image_path);
		cl = open_client(options, false);
		if (by_mmap)
			client_map_bar(cl);
		for (unsigned i = 0; i < 3; i++) {
			assert_true(client_enable(cl, 32));
			assert_int_equal(client_create_queue(cl, 1, 8), 0);
			client_write32(cl, NVMED_REG_CC, 6 << 16 | 4 << 20 | 1 << 14 | 1);
			assert_true(
				client_wait_csts(cl, NVMED_CSTS_SHST_MASK, NVMED_CSTS_SHST_DONE));
			assert_true(client_disable(cl));
			assert_true(client_wait_csts(cl, NVMED_CSTS_SHST_MASK, 0));
		}
		client_free(cl);
		unlink(image_path);
	}
}

/* Resets of each kind with commands in flight; afterwards it works, and nothing is posted late. */
static void resets(void **state)
{
	char options[128];
	struct client *cl;

	make_image(MIB(8));
	snprintf(options, sizeof(options), "disk=%s", image_path);
	cl = open_client(options, false);
	for (unsigned round = 0; round < 60; round++) {
		uint8_t *cq;

		assert_true(client_enable(cl, 32));
		assert_int_equal(client_create_queue(cl, 1, 64), 0);
		for (unsigned i = 0; i < 40; i++) {
			unsigned op = rng(4) == 0 ? NVMED_IO_FLUSH
				      : rng(2)	  ? NVMED_IO_WRITE
						  : NVMED_IO_READ;

			client_queue_cmd(cl, 1, rw_cmd(op, rng(1000), 16, DATA, DATA + 4096));
		}
		client_ring(cl, 1);
		for (unsigned i = rng(2000); i; i--)
			sched_yield();
		switch (round % 3) {
		case 0:
			pcif_reset(cl->f);
			pcif_config_write(cl->f, 4, 2, 6);
			break;
		case 1:
			assert_true(client_disable(cl));
			break;
		case 2:
			client_write32(cl, NVMED_REG_NSSR, NVMED_NSSR_MAGIC);
			assert_true(client_wait_csts(cl, NVMED_CSTS_NSSRO, NVMED_CSTS_NSSRO));
			break;
		}
		assert_int_equal(client_read32(cl, NVMED_REG_CSTS) & NVMED_CSTS_RDY, 0);
		cq = client_ptr(cl, cl->q[1].cq);
		memset(cq, 0xee, 64 * 16);
		sched_yield();
		for (unsigned i = 0; i < 64 * 16; i++)
			assert_int_equal(cq[i], 0xee);
	}
	client_free(cl);
	unlink(image_path);
}

/* ------------------------------------------------------------------ interrupts */

static void intx(void **state)
{
	struct client *cl = open_client("mem=8M", true);
	struct nvmed_cqe cqe;

	client_irq(cl, PCIF_IRQ_INTX);
	assert_true(client_enable(cl, 32));
	client_queue_cmd(cl, 0, (struct nvmed_sqe){ .opcode = 0x7f });
	client_ring(cl, 0);
	client_pump(cl);
	assert_true(pcif_intx_level(cl->f));
	client_write32(cl, NVMED_REG_INTMS, 1);
	client_pump(cl);
	assert_false(pcif_intx_level(cl->f));
	assert_int_equal(client_read32(cl, NVMED_REG_INTMC), 1);
	client_write32(cl, NVMED_REG_INTMC, 1);
	client_pump(cl);
	assert_true(pcif_intx_level(cl->f));
	assert_true(client_poll(cl, 0, &cqe));
	client_ack(cl, 0);
	client_pump(cl);
	assert_false(pcif_intx_level(cl->f));
	assert_int_equal(cl->pins, 2);

	/* MSI with the vector masked: one message when it is unmasked. */
	client_irq(cl, PCIF_IRQ_MSI);
	client_write32(cl, NVMED_REG_INTMS, 1);
	assert_int_equal(client_do(cl, 0, (struct nvmed_sqe){ .opcode = 0x7f }, NULL),
			 NVMED_INVALID_OPCODE | DNR);
	assert_int_equal(cl->irqs[0], 0);
	client_write32(cl, NVMED_REG_INTMC, 1);
	client_pump(cl);
	assert_int_equal(cl->irqs[0], 1);
	client_free(cl);
}

/* ------------------------------------------------------------------ features */

static uint32_t feature(struct client *cl, unsigned fid, unsigned select, uint32_t dw11)
{
	struct nvmed_sqe cmd = { .opcode = NVMED_ADMIN_GET_FEATURES,
				 .cdw10 = le32_make(fid | select << 8),
				 .cdw11 = le32_make(dw11) };
	uint32_t dw0 = 0xdeadbeef;

	assert_int_equal(client_do(cl, 0, cmd, &dw0), 0);
	return dw0;
}

static void features(void **state)
{
	char options[128];
	struct client *cl;
	struct nvmed_sqe cmd = { .opcode = NVMED_ADMIN_SET_FEATURES, .cdw10 = le32_make(6) };

	make_image(MIB(8));
	snprintf(options, sizeof(options), "disk=%s,queues=2", image_path);
	cl = open_client(options, true);
	assert_true(client_enable(cl, 32));
	assert_int_equal(feature(cl, 6, 0, 0), 1);
	assert_int_equal(feature(cl, 6, 3, 0), 4);
	assert_int_equal(feature(cl, 7, 0, 0), 1 << 16 | 1);
	assert_int_equal(feature(cl, 4, 0, 0), 343);
	assert_int_equal(feature(cl, 4, 0, 1 << 20), 0);
	assert_int_equal(feature(cl, 9, 0, 2), 2);
	/* Write cache off: writes are durable by themselves, and still correct. */
	assert_int_equal(client_do(cl, 0, cmd, NULL), 0);
	assert_int_equal(feature(cl, 6, 0, 0), 0);
	assert_int_equal(feature(cl, 6, 1, 0), 1);
	assert_int_equal(client_create_queue(cl, 1, 64), 0);
	random_io(cl, 1, 9, MIB(8), 30);
	cmd = (struct nvmed_sqe){ .opcode = NVMED_ADMIN_GET_LOG,
				  .prp1 = le64_make(DATA),
				  .nsid = le32_make(~0u),
				  .cdw10 = le32_make(NVMED_LOG_SMART | 127 << 16) };
	assert_int_equal(client_do(cl, 0, cmd, NULL), 0);
	struct nvmed_smart *smart = client_ptr(cl, DATA);

	assert_true(le64_get(smart->host_writes[0]) > 0);
	assert_true(le64_get(smart->data_units_written[0]) > 0);
	assert_int_equal(smart->temperature[0] | smart->temperature[1] << 8, NVMED_TEMPERATURE);
	for (unsigned lid = 3; lid <= 5; lid += 2) {
		cmd.cdw10 = le32_make(lid | 127 << 16);
		assert_int_equal(client_do(cl, 0, cmd, NULL), 0);
	}
	assert_int_equal(le32_get(((le32 *)smart)[NVMED_ADMIN_IDENTIFY]), 1);
	assert_true(client_disable(cl));
	assert_true(client_enable(cl, 32));
	assert_int_equal(feature(cl, 6, 0, 0), 1);
	client_free(cl);
	unlink(image_path);
}

/* ------------------------------------------------------------------ options */

static void expect_error(const char *options, const char *word)
{
	unsigned fds = count_fds();
	struct pcif_reply_error err = { 0 };
	struct client *cl = client_new(options, false, &err);

	assert_null(cl);
	if (!strstr(err.text, word))
		fail_msg("%s: \"%s\" lacks \"%s\"", options, err.text, word);
	assert_int_equal(count_fds(), fds);
}

static void bad_options(void **state)
{
	char text[160];
	struct client *cl;

	expect_error("queues=4", "disk=FILE");
	expect_error("mem=8M,disk=/tmp/x", "not both");
	expect_error("disk=/nonexistent/file", "No such file");
	expect_error("disk=/dev/null", "neither");
	expect_error("mem=0", "mem=1G");
	expect_error("mem=8Q", "mem=1G");
	expect_error("mem=99999999999T", "mem=1G");
	expect_error("mem=8M,queues=65", "1 to 64");
	expect_error("mem=8M,queues=x", "1 to 64");
	expect_error("mem=8M,block=1024", "512 or 4096");
	expect_error("mem=8M,mmio=maybe", "shared, doorbell, trap");
	expect_error("mem=8M,serial=123456789012345678901", "1 to 20");
	make_image(100);
	snprintf(text, sizeof(text), "disk=%s", image_path);
	expect_error(text, "truncate");
	assert_int_equal(truncate(image_path, 65536), 0);
	cl = open_client(text, false);
	expect_error(text, "locked");
	client_free(cl);
	cl = open_client(text, false);
	client_free(cl);
	unlink(image_path);
}

/* What Flush acknowledged is in the file, whatever happens to the function then. */
static void flush(void **state)
{
	char options[128];
	struct client *cl;
	uint8_t buf[4096];
	int fd;

	make_image(MIB(8));
	snprintf(options, sizeof(options), "disk=%s", image_path);
	cl = open_client(options, false);
	assert_true(client_enable(cl, 32));
	assert_int_equal(client_create_queue(cl, 1, 64), 0);
	memset(client_ptr(cl, DATA), 0x3c, 4096);
	assert_int_equal(client_do(cl, 1, rw_cmd(NVMED_IO_WRITE, 8, 8, DATA, 0), NULL), 0);
	assert_int_equal(client_do(cl, 1, rw_cmd(NVMED_IO_FLUSH, 0, 1, 0, 0), NULL), 0);
	pcif_reset(cl->f);
	fd = open(image_path, O_RDONLY | O_CLOEXEC);
	assert_int_equal(pread(fd, buf, sizeof(buf), 4096), sizeof(buf));
	close(fd);
	for (unsigned i = 0; i < sizeof(buf); i++)
		assert_int_equal(buf[i], 0x3c);
	client_free(cl);
	unlink(image_path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(prp_shapes),  cmocka_unit_test(identify),
		cmocka_unit_test(io_memory),   cmocka_unit_test(io_file),
		cmocka_unit_test(io_copied),   cmocka_unit_test(statuses_admin),
		cmocka_unit_test(statuses_io), cmocka_unit_test(zeroes),
		cmocka_unit_test(queue_full),  cmocka_unit_test(many_queues),
		cmocka_unit_test(delete_busy), cmocka_unit_test(events),
		cmocka_unit_test(fatal),       cmocka_unit_test(shutdown),
		cmocka_unit_test(resets),      cmocka_unit_test(intx),
		cmocka_unit_test(features),    cmocka_unit_test(bad_options),
		cmocka_unit_test(flush),
	};

	return cmocka_run_group_tests_name("nvme", tests, NULL, NULL);
}
