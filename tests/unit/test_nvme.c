/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The NVMe controller, driven as a host drives it: what it says of itself, each status, events,
 * resets, interrupts, options. On a manual controller (exact) where nothing needs to move.
 */
#include "nvme_test.h"

/* ------------------------------------------------------------------ identify */

static void identify(void **state)
{
	unsigned fds = open_fds();
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
	assert_int_equal(open_fds(), fds);
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
	{ CMD(0x09, .nsid = L32(1), .cdw10 = L32(5), .cdw11 = L32(0x10000)),
	  NVMED_INVALID_FIELD | DNR },
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

/* Each page size: what is aligned to smaller ones is not aligned; lists have more entries. */
static void page_sizes(void **state)
{
	struct client *cl = open_client("mem=8M", true);

	for (unsigned mps = 0; mps < 5; mps++) {
		uint64_t page = KIB(4) << mps, prp2 = DATA + MIB(1) + (mps ? page / 2 : 8);
		struct nvmed_sqe cmd = { .opcode = NVMED_ADMIN_IDENTIFY,
					 .prp1 = le64_make(DATA + page - 2048),
					 .prp2 = le64_make(prp2),
					 .cdw10 = le32_make(1) };
		le64 *list = client_ptr(cl, DATA);

		for (unsigned id = 0; id < 2; id++) {
			client_queue_init(cl, id, 16);
			cl->q[id].sq = RAM_IOVA + KIB(128) * id;
			cl->q[id].cq = RAM_IOVA + KIB(128) * id + KIB(64);
		}
		memset(cl->ram, 0, KIB(256));
		client_write32(cl, NVMED_REG_AQA, 15 << 16 | 15);
		client_write64(cl, NVMED_REG_ASQ, cl->q[0].sq);
		client_write64(cl, NVMED_REG_ACQ, cl->q[0].cq);
		client_write32(cl, NVMED_REG_CC, 6 << 16 | 4 << 20 | mps << 7 | NVMED_CC_EN);
		assert_true(client_wait_csts(cl, 3, NVMED_CSTS_RDY));

		assert_int_equal(client_do(cl, 0, cmd, NULL), NVMED_INVALID_PRP_OFFSET | DNR);
		cmd.prp2 = le64_make(DATA + MIB(1));
		assert_int_equal(client_do(cl, 0, cmd, NULL), 0);
		/* Byte 2048 is the power of state 0. */
		assert_int_equal(*(uint8_t *)client_ptr(cl, DATA + MIB(1)), 100);

		cmd = (struct nvmed_sqe){ .opcode = NVMED_ADMIN_CREATE_CQ,
					  .prp1 = le64_make(cl->q[1].cq + page / 2),
					  .cdw10 = le32_make(15 << 16 | 1),
					  .cdw11 = le32_make(1) };
		assert_int_equal(client_do(cl, 0, cmd, NULL), NVMED_INVALID_PRP_OFFSET | DNR);
		cmd.prp1 = le64_make(cl->q[1].cq);
		assert_int_equal(client_do(cl, 0, cmd, NULL), 0);
		cmd.opcode = NVMED_ADMIN_CREATE_SQ;
		cmd.prp1 = le64_make(cl->q[1].sq);
		cmd.cdw11 = le32_make(1 << 16 | 1);
		assert_int_equal(client_do(cl, 0, cmd, NULL), 0);

		/* 1 MiB out of every other page. */
		for (unsigned i = 1; i < MIB(1) / page; i++) {
			list[i - 1] = le64_make(DATA + MIB(2) + 2 * i * page);
			memset(client_ptr(cl, DATA + MIB(2) + 2 * i * page), i, page);
		}
		memset(client_ptr(cl, DATA + MIB(2)), 0xdd, page);
		cmd = rw_cmd(NVMED_IO_WRITE, 0, 2048, DATA + MIB(2), DATA);
		assert_int_equal(client_do(cl, 1, cmd, NULL), 0);
		for (unsigned i = 0; i < MIB(1) / page; i++) {
			assert_int_equal(cl->c->disk->memory[i * page], i ? i & 0xff : 0xdd);
			assert_int_equal(cl->c->disk->memory[i * page + page - 1],
					 i ? i & 0xff : 0xdd);
		}
		assert_true(client_disable(cl));
	}
	client_free(cl);
}

/* CC: what counts when the controller is enabled, and what when a queue is made. */
static void configuration(void **state)
{
	const uint32_t sizes = 6 << 16 | 4 << 20;
	struct client *cl = open_client("mem=8M", true);

	assert_true(client_enable(cl, 32));
	/* Another page size, command set and arbitration; the ones before stay in force. */
	client_write32(cl, NVMED_REG_CC, sizes | 4 << 7 | 1 << 4 | 1 << 11 | NVMED_CC_EN);
	client_pump(cl);
	assert_int_equal(client_read32(cl, NVMED_REG_CSTS), NVMED_CSTS_RDY);
	assert_int_equal(client_create_queue(cl, 2, 8), 0);
	/* Entry sizes count for queues that are made from then on. */
	client_write32(cl, NVMED_REG_CC, 6 << 16 | 5 << 20 | NVMED_CC_EN);
	assert_int_equal(client_create_queue(cl, 1, 8), NVMED_INVALID_QUEUE_SIZE | DNR);
	client_write32(cl, NVMED_REG_CC, sizes | NVMED_CC_EN);
	assert_int_equal(client_create_queue(cl, 1, 8), 0);
	client_write32(cl, NVMED_REG_CC, 5 << 16 | 4 << 20 | NVMED_CC_EN);
	assert_int_equal(client_create_queue(cl, 3, 8), NVMED_INVALID_QUEUE_SIZE | DNR);
	client_free(cl);
}

/* CSTS: only NSSRO can be written, by writing 1 to it; it outlives resets by CC.EN. */
static void nssro(void **state)
{
	for (unsigned by_mmap = 0; by_mmap < 2; by_mmap++) {
		struct client *cl = open_client("mem=8M", true);

		if (by_mmap)
			client_map_bar(cl);
		client_write32(cl, NVMED_REG_NSSR, NVMED_NSSR_MAGIC);
		assert_true(client_wait_csts(cl, 31, NVMED_CSTS_NSSRO));
		assert_true(client_enable(cl, 32));
		assert_int_equal(client_read32(cl, NVMED_REG_CSTS),
				 NVMED_CSTS_NSSRO | NVMED_CSTS_RDY);
		assert_true(client_disable(cl));
		assert_true(client_enable(cl, 32));
		client_write32(cl, NVMED_REG_CSTS, ~NVMED_CSTS_NSSRO);
		client_pump(cl);
		assert_int_equal(client_read32(cl, NVMED_REG_CSTS),
				 NVMED_CSTS_NSSRO | NVMED_CSTS_RDY);
		client_write32(cl, NVMED_REG_CSTS, NVMED_CSTS_NSSRO);
		client_pump(cl);
		assert_int_equal(client_read32(cl, NVMED_REG_CSTS), NVMED_CSTS_RDY);
		assert_int_equal(client_create_queue(cl, 1, 8), 0);
		assert_true(client_disable(cl));
		assert_int_equal(client_read32(cl, NVMED_REG_CSTS), 0);
		/* A reset of the function is as power on. */
		client_write32(cl, NVMED_REG_NSSR, NVMED_NSSR_MAGIC);
		assert_true(client_wait_csts(cl, 31, NVMED_CSTS_NSSRO));
		pcif_reset(cl->f);
		pcif_config_write(cl->f, 4, 2, 6);
		assert_int_equal(client_read32(cl, NVMED_REG_CSTS), 0);
		client_free(cl);
	}
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

/* A vector for each queue; one that could never be sent is refused, not lost. */
static void vectors(void **state)
{
	static const struct {
		enum pcif_irq_mode mode;
		unsigned wired, valid;
	} t[] = {
		{ PCIF_IRQ_MSI, 1, 1 },	  { PCIF_IRQ_MSI, 4, 4 },    { PCIF_IRQ_MSI, 32, 32 },
		{ PCIF_IRQ_MSIX, 4, 41 }, { PCIF_IRQ_MSIX, 41, 41 },
	};
	struct nvmed_sqe cmd = { .opcode = NVMED_ADMIN_CREATE_CQ };
	struct client *cl = open_client("mem=8M,queues=40", true);

	for (unsigned i = 0; i < ARRAY_SIZE(t); i++) {
		client_irq_some(cl, t[i].mode, t[i].wired);
		assert_int_equal(pcif_irq_vectors(cl->f), t[i].wired);
		assert_true(client_enable(cl, 64));
		client_queue_init(cl, 1, 16);
		cmd.prp1 = le64_make(cl->q[1].cq);
		for (unsigned v = 0; v < 50; v++) {
			unsigned wired = v < t[i].wired;
			struct nvmed_sqe del = { .opcode = NVMED_ADMIN_DELETE_CQ,
						 .cdw10 = le32_make(1) };

			cmd.opcode = NVMED_ADMIN_CREATE_CQ;
			cmd.cdw10 = le32_make(15 << 16 | 1);
			cmd.cdw11 = le32_make(v << 16 | 3);
			if (v >= t[i].valid) {
				assert_int_equal(client_do(cl, 0, cmd, NULL),
						 NVMED_INVALID_VECTOR | DNR);
				continue;
			}
			client_queue_init(cl, 1, 16);
			assert_int_equal(client_do(cl, 0, cmd, NULL), 0);
			cmd.opcode = NVMED_ADMIN_CREATE_SQ;
			cmd.prp1 = le64_make(cl->q[1].sq);
			cmd.cdw11 = le32_make(1 << 16 | 1);
			assert_int_equal(client_do(cl, 0, cmd, NULL), 0);
			cmd.prp1 = le64_make(cl->q[1].cq);
			memset(cl->irqs, 0, sizeof(cl->irqs));
			assert_int_equal(client_do(cl, 1, rw_cmd(NVMED_IO_FLUSH, 0, 1, 0, 0), NULL),
					 0);
			for (unsigned k = 0; k < NVMED_MAX_QUEUES; k++)
				assert_int_equal(cl->irqs[k], k == v && wired);
			del.opcode = NVMED_ADMIN_DELETE_SQ;
			assert_int_equal(client_do(cl, 0, del, NULL), 0);
			del.opcode = NVMED_ADMIN_DELETE_CQ;
			assert_int_equal(client_do(cl, 0, del, NULL), 0);
		}
		assert_true(client_disable(cl));
	}
	client_free(cl);
}

/* ------------------------------------------------------------------ options */

static void expect_error(const char *options, const char *word)
{
	unsigned fds = open_fds();
	struct pcif_reply_error err = { 0 };
	struct client *cl = client_new(options, false, &err);

	assert_null(cl);
	if (!strstr(err.text, word))
		fail_msg("%s: \"%s\" lacks \"%s\"", options, err.text, word);
	assert_int_equal(open_fds(), fds);
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
	expect_error("mem=8M,block=1024", "block=512 or block=4096");
	expect_error("mem=8M,readonly=1", "readonly=off or readonly=on");
	expect_error("mem=8M,mmio=maybe", "mmio=shared or mmio=doorbell or mmio=trap");
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(identify),    cmocka_unit_test(statuses_admin),
		cmocka_unit_test(statuses_io), cmocka_unit_test(events),
		cmocka_unit_test(page_sizes),  cmocka_unit_test(configuration),
		cmocka_unit_test(fatal),       cmocka_unit_test(nssro),
		cmocka_unit_test(shutdown),    cmocka_unit_test(resets),
		cmocka_unit_test(intx),	       cmocka_unit_test(vectors),
		cmocka_unit_test(bad_options),
	};

	return cmocka_run_group_tests_name("nvme", tests, NULL, NULL);
}
