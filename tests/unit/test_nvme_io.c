/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The NVMe controller's data and queues: PRPs of every shape, reads and writes against a shadow,
 * by each way in and on each kind of disk and memory; queues full, many, and deleted while busy.
 */
#include <sys/syscall.h>

#include "nvme_test.h"

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

/* ------------------------------------------------------------------ data */

static void io_on(const char *options, bool manual, bool by_mmap, unsigned shift, unsigned rounds)
{
	unsigned fds = open_fds();
	struct client *cl = open_client(options, manual);

	if (by_mmap)
		client_map_bar(cl);
	assert_true(client_enable(cl, 32));
	assert_int_equal(client_create_queue(cl, 1, 64), 0);
	random_io(cl, 1, shift, MIB(8), rounds);
	assert_true(client_disable(cl));
	client_free(cl);
	assert_int_equal(open_fds(), fds);
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

/* The C library's, for disk.c: as a file system or a block device with limits of its own. */
static unsigned zero_block; /* ranges are whole ones of these; 0: any */
static bool zero_refused;   /* not at all */

int fallocate(int fd, int mode, off_t offset, off_t len)
{
	if (zero_refused) {
		errno = EOPNOTSUPP;
		return -1;
	}
	if (zero_block && (offset | len) % zero_block) {
		errno = EINVAL;
		return -1;
	}
	return syscall(SYS_fallocate, fd, mode, offset, len);
}

/* Write Zeroes and deallocation, on both kinds of disk, with ends that cut pages. */
enum { ZEROES, ZEROES_DEALLOCATE, DEALLOCATE };

static struct nvmed_sqe zero_command(struct client *cl, unsigned how)
{
	struct nvmed_dsm_range *range = client_ptr(cl, DATA + 8192);
	struct nvmed_sqe cmd = rw_cmd(NVMED_IO_WRITE_ZEROES, 3, 90, 0, 0);

	if (how == ZEROES_DEALLOCATE)
		cmd.cdw12.raw |= htole32(NVMED_WZ_DEAC | NVMED_RW_FUA);
	if (how != DEALLOCATE)
		return cmd;
	*range = (struct nvmed_dsm_range){ .blocks = le32_make(90), .lba = le64_make(3) };
	return (struct nvmed_sqe){ .opcode = NVMED_IO_DSM,
				   .nsid = le32_make(1),
				   .prp1 = le64_make(DATA + 8192),
				   .cdw11 = le32_make(NVMED_DSM_AD) };
}

/* Blocks 3 to 92 are zero, or as many of them as deallocation can reach; the rest is untouched. */
static void zero_on(const char *options, unsigned how)
{
	struct client *cl = open_client(options, true);
	uint8_t *p = client_ptr(cl, DATA);

	assert_true(client_enable(cl, 32));
	assert_int_equal(client_create_queue(cl, 1, 64), 0);
	memset(p, 0x77, 4096);
	for (unsigned lba = 0; lba < 128; lba += 8)
		assert_int_equal(client_do(cl, 1, rw_cmd(NVMED_IO_WRITE, lba, 8, DATA, 0), NULL),
				 0);
	assert_int_equal(client_do(cl, 1, zero_command(cl, how), NULL), 0);
	for (unsigned lba = 0; lba < 128; lba++) {
		bool zero = lba >= 3 && lba < 93;

		if (how == DEALLOCATE && zero_block && (lba < 8 || lba >= 88))
			zero = false;
		if (how == DEALLOCATE && zero_refused)
			zero = false;
		assert_int_equal(client_do(cl, 1, rw_cmd(NVMED_IO_READ, lba, 1, DATA, 0), NULL), 0);
		assert_int_equal(p[0], zero ? 0 : 0x77);
		assert_int_equal(p[511], zero ? 0 : 0x77);
	}
	client_free(cl);
}

static void zeroes(void **state)
{
	char options[128];

	make_image(MIB(8));
	snprintf(options, sizeof(options), "disk=%s", image_path);
	for (unsigned how = ZEROES; how <= DEALLOCATE; how++) {
		zero_on("mem=8M", how);
		zero_on(options, how);
		zero_block = 4096;
		zero_on(options, how);
		zero_block = 0;
		zero_refused = true;
		zero_on(options, how);
		zero_refused = false;
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

/* An invalid tail: what was taken before completes, nothing is taken after; a new queue works. */
static void stopped_queue(void **state)
{
	static const uint32_t bad[] = { 8, 0xffff, 0x10000003 };
	struct nvmed_sqe read = rw_cmd(NVMED_IO_READ, 0, 1, DATA, 0);
	struct client *cl = open_client("mem=8M", true);
	struct nvmed_sqe cmd = { .cdw10 = le32_make(1) };
	struct nvmed_cqe cqe;

	assert_true(client_enable(cl, 32));
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(client_create_queue(cl, 1, 8), 0);
		for (unsigned k = 0; k < 3; k++)
			assert_int_equal(client_do(cl, 1, read, NULL), 0);
		client_write32(cl, NVMED_DOORBELLS + 8, bad[i]);
		client_pump(cl);
		client_queue_cmd(cl, 1, read);
		client_ring(cl, 1);
		client_pump(cl);
		assert_false(client_poll(cl, 1, &cqe));
		client_pump(cl);
		client_ring(cl, 1);
		client_pump(cl);
		assert_false(client_poll(cl, 1, &cqe));
		cmd.opcode = NVMED_ADMIN_DELETE_SQ;
		assert_int_equal(client_do(cl, 0, cmd, NULL), 0);
		cmd.opcode = NVMED_ADMIN_DELETE_CQ;
		assert_int_equal(client_do(cl, 0, cmd, NULL), 0);
	}
	assert_int_equal(client_create_queue(cl, 1, 8), 0);
	assert_int_equal(client_do(cl, 1, read, NULL), 0);

	/* The admin queue has its event still, and is made anew with the controller. */
	client_queue_cmd(cl, 0, (struct nvmed_sqe){ .opcode = NVMED_ADMIN_ASYNC_EVENT });
	client_ring(cl, 0);
	client_pump(cl);
	client_write32(cl, NVMED_DOORBELLS, 32);
	assert_true(client_wait(cl, 0, &cqe));
	assert_int_equal(le32_get(cqe.dw0), 0x10100);
	client_queue_cmd(cl, 0, (struct nvmed_sqe){ .opcode = 0x7f });
	client_ring(cl, 0);
	assert_false(client_wait(cl, 0, &cqe));
	assert_true(client_disable(cl));
	assert_true(client_enable(cl, 32));
	assert_int_equal(client_create_queue(cl, 1, 8), 0);
	assert_int_equal(client_do(cl, 1, read, NULL), 0);
	client_free(cl);
}

/* Doorbells by mmap and trapped, in any order: the last one counts, and none is an error. */
static void mixed_doorbells(void **state)
{
	struct client *cl = open_client("mem=8M", true);
	uint32_t *bar;

	client_map_bar(cl);
	bar = cl->bar;
	assert_true(client_enable(cl, 32));
	assert_int_equal(client_create_queue(cl, 1, 64), 0);
	for (unsigned round = 0; round < 200; round++) {
		unsigned n = 1 + rng(6);

		for (unsigned i = 0; i < n; i++) {
			client_queue_cmd(cl, 1, rw_cmd(NVMED_IO_READ, i, 1, DATA, 0));
			cl->bar = rng(2) ? bar : NULL;
			client_ring(cl, 1);
			if (!rng(3))
				client_pump(cl);
		}
		for (unsigned i = 0; i < n; i++) {
			struct nvmed_cqe cqe;

			client_pump(cl);
			assert_true(client_poll(cl, 1, &cqe));
			cl->bar = rng(2) ? bar : NULL;
			client_ack(cl, 1);
		}
	}
	assert_int_equal(cl->c->n_errors, 0);
	cl->bar = bar;
	client_free(cl);
}

/* Commands that are rung for and not fetched are counted, over the ring's end too; none is taken.
 */
static void doorbell_count(void **state)
{
	struct client *cl = open_client("mem=8M", true);

	client_map_bar(cl);
	assert_true(client_enable(cl, 32));
	assert_int_equal(client_create_queue(cl, 1, 8), 0);
	assert_int_equal(nvmed_doorbell_count(cl->c), 0);
	for (unsigned round = 0; round < 5; round++) {
		struct nvmed_cqe cqe;

		for (unsigned i = 0; i < 5; i++)
			client_queue_cmd(cl, 1, rw_cmd(NVMED_IO_READ, i, 1, DATA, 0));
		assert_int_equal(nvmed_doorbell_count(cl->c), 0);
		client_ring(cl, 1);
		assert_int_equal(nvmed_doorbell_count(cl->c), 5);
		assert_int_equal(nvmed_doorbell_count(cl->c), 5);
		client_pump(cl);
		assert_int_equal(nvmed_doorbell_count(cl->c), 0);
		for (unsigned i = 0; i < 5; i++)
			assert_true(client_poll(cl, 1, &cqe));
		client_ack(cl, 1);
	}
	/* A tail that no ring of this size has is an error to come, not a number of commands. */
	client_write32(cl, NVMED_DOORBELLS + 8, 8);
	assert_int_equal(nvmed_doorbell_count(cl->c), 0);
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

/* ------------------------------------------------------------------ memory that cannot be pinned
 */

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

/* ------------------------------------------------------------------ durability */

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
		cmocka_unit_test(prp_shapes),	 cmocka_unit_test(io_memory),
		cmocka_unit_test(io_file),	 cmocka_unit_test(io_copied),
		cmocka_unit_test(zeroes),	 cmocka_unit_test(queue_full),
		cmocka_unit_test(stopped_queue), cmocka_unit_test(mixed_doorbells),
		cmocka_unit_test(many_queues),	 cmocka_unit_test(delete_busy),
		cmocka_unit_test(flush),	 cmocka_unit_test(doorbell_count),
	};

	return cmocka_run_group_tests_name("nvme_io", tests, NULL, NULL);
}
