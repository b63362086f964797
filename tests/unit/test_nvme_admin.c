/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the NVMe controller says of itself, field by field: identify structures, log pages and their
 * counters, features. On a manual controller.
 */
#include "nvme_test.h"

/* ------------------------------------------------------------------ identify */

static uint16_t identify(struct client *cl, uint32_t nsid, uint32_t dw10)
{
	struct nvmed_sqe cmd = { .opcode = NVMED_ADMIN_IDENTIFY,
				 .nsid = le32_make(nsid),
				 .prp1 = le64_make(DATA),
				 .cdw10 = le32_make(dw10) };

	memset(client_ptr(cl, DATA), 0xee, 4096);
	return client_do(cl, 0, cmd, NULL);
}

/* A field by the place that the specification gives it. */
struct field {
	unsigned at, size;
	uint64_t value;
};

/* These fields have these values, and every other byte, but for the texts, is 0. */
static void check_fields(const uint8_t *page, const struct field *f, unsigned n,
			 const struct field *text, unsigned n_text)
{
	uint8_t known[4096] = { 0 };

	for (unsigned i = 0; i < n; i++)
		for (unsigned b = 0; b < f[i].size; b++) {
			if (page[f[i].at + b] != (f[i].value >> 8 * b & 0xff))
				fail_msg("byte %u: %02x", f[i].at + b, page[f[i].at + b]);
			known[f[i].at + b] = 1;
		}
	for (unsigned i = 0; i < n_text; i++)
		memset(&known[text[i].at], 1, text[i].size);
	for (unsigned i = 0; i < 4096; i++)
		if (!known[i] && page[i])
			fail_msg("byte %u: %02x", i, page[i]);
}

static void identify_controller(void **state)
{
	static const struct field fields[] = {
		{ 0, 2, 0x1234 },    /* VID */
		{ 2, 2, 0x1234 },    /* SSVID */
		{ 72, 1, 4 },	     /* RAB */
		{ 77, 1, 8 },	     /* MDTS */
		{ 78, 2, 1 },	     /* CNTLID */
		{ 80, 4, 0x10400 },  /* VER */
		{ 84, 4, 1000000 },  /* RTD3R */
		{ 88, 4, 30000000 }, /* RTD3E */
		{ 111, 1, 1 },	     /* CNTRLTYPE */
		{ 258, 1, 3 },	     /* ACL */
		{ 259, 1, 3 },	     /* AERL */
		{ 260, 1, 3 },	     /* FRMW */
		{ 261, 1, 6 },	     /* LPA */
		{ 262, 1, 63 },	     /* ELPE */
		{ 266, 2, 343 },     /* WCTEMP */
		{ 268, 2, 353 },     /* CCTEMP */
		{ 280, 8, MIB(64) }, /* TNVMCAP */
		{ 512, 1, 0x66 },    /* SQES */
		{ 513, 1, 0x44 },    /* CQES */
		{ 516, 4, 1 },	     /* NN */
		{ 520, 2, 0x9d },    /* ONCS */
		{ 525, 1, 7 },	     /* VWC */
		{ 2048, 2, 100 },    /* PSD 0: MP */
	};
	static const struct field text[] = { { 4, 20 }, { 24, 40 }, { 64, 8 }, { 768, 256 } };
	struct client *cl = open_client("mem=64M,serial=TEST 1", true);
	uint8_t *page = client_ptr(cl, DATA);

	assert_true(client_enable(cl, 32));
	assert_int_equal(identify(cl, 0, 0x01), 0);
	check_fields(page, fields, ARRAY_SIZE(fields), text, ARRAY_SIZE(text));
	assert_memory_equal(page + 4, "TEST 1              ", 20);
	assert_memory_equal(page + 24, "uvfio NVMe Controller                   ", 40);
	for (unsigned i = 4; i < 72; i++)
		assert_true(page[i] >= 0x20 && page[i] <= 0x7e);
	assert_memory_equal(page + 768, "nqn.2014-08.org.nvmexpress:uuid:", 32);
	assert_int_equal(strlen((char *)page + 768), 32 + 36);
	client_free(cl);
}

static void identify_namespace(void **state)
{
	static const struct field fields[] = {
		{ 0, 8, 16384 },       /* NSZE */
		{ 8, 8, 16384 },       /* NCAP */
		{ 16, 8, 16384 },      /* NUSE */
		{ 24, 1, 0x10 },       /* NSFEAT */
		{ 33, 1, 9 },	       /* DLFEAT */
		{ 48, 8, MIB(64) },    /* NVMCAP */
		{ 99, 1, 1 },	       /* NSATTR */
		{ 128, 4, 12u << 16 }, /* LBAF 0 */
	};
	static const struct field text[] = { { 104, 16 }, { 120, 8 } };
	struct client *cl = open_client("mem=64M,block=4096,readonly=on,queues=3", true);
	uint8_t *page = client_ptr(cl, DATA), ids[24];
	const le32 *list = (const le32 *)page;

	assert_true(client_enable(cl, 32));
	for (unsigned cns = 0; cns <= 0x11; cns += 0x11) {
		assert_int_equal(identify(cl, 1, cns), 0);
		check_fields(page, fields, ARRAY_SIZE(fields), text, ARRAY_SIZE(text));
		assert_int_equal(identify(cl, 0, cns), NVMED_INVALID_NAMESPACE | DNR);
		assert_int_equal(identify(cl, 2, cns), NVMED_INVALID_NAMESPACE | DNR);
		assert_int_equal(identify(cl, ~0u, cns), NVMED_INVALID_NAMESPACE | DNR);
	}
	assert_int_equal(identify(cl, 1, 0x00), 0);
	memcpy(ids, page + 104, sizeof(ids));
	/* Local, and of one device. */
	assert_int_equal(ids[16] & 3, 2);

	/* Descriptors: EUI-64, NGUID, UUID, an end. */
	assert_int_equal(identify(cl, 1, 0x03), 0);
	assert_int_equal(le32_get(list[0]), 0x0801);
	assert_memory_equal(page + 4, ids + 16, 8);
	assert_int_equal(le32_get(list[3]), 0x1002);
	assert_memory_equal(page + 16, ids, 16);
	assert_int_equal(le32_get(list[8]), 0x1003);
	for (unsigned i = 52; i < 4096; i++)
		assert_int_equal(page[i], 0);
	assert_int_equal(identify(cl, 0, 0x03), NVMED_INVALID_NAMESPACE | DNR);
	assert_int_equal(identify(cl, ~0u, 0x03), NVMED_INVALID_NAMESPACE | DNR);
	client_free(cl);
}

/* Lists: namespaces above NSID, controllers from CNTID on. */
static void identify_lists(void **state)
{
	struct client *cl = open_client("mem=64M", true);
	const le32 *list = client_ptr(cl, DATA);
	const le16 *half = client_ptr(cl, DATA);

	assert_true(client_enable(cl, 32));
	for (unsigned cns = 0x02; cns <= 0x10; cns += 0x0e) {
		for (unsigned nsid = 0; nsid < 3; nsid++) {
			assert_int_equal(identify(cl, nsid, cns), 0);
			assert_int_equal(le32_get(list[0]), nsid == 0);
			for (unsigned i = 1; i < 1024; i++)
				assert_int_equal(le32_get(list[i]), 0);
		}
		assert_int_equal(identify(cl, 0xfffffffd, cns), 0);
		assert_int_equal(identify(cl, 0xfffffffe, cns), NVMED_INVALID_NAMESPACE | DNR);
		assert_int_equal(identify(cl, 0xffffffff, cns), NVMED_INVALID_NAMESPACE | DNR);
	}
	for (unsigned cns = 0x12; cns <= 0x13; cns++)
		for (unsigned cntid = 0; cntid < 3; cntid++) {
			assert_int_equal(identify(cl, 1, cns | cntid << 16), 0);
			assert_int_equal(le16_get(half[0]), cntid < 2);
			assert_int_equal(le16_get(half[1]), cntid < 2);
			for (unsigned i = 2; i < 2048; i++)
				assert_int_equal(le16_get(half[i]), 0);
		}
	assert_int_equal(identify(cl, ~0u, 0x12), NVMED_INVALID_FIELD | DNR);
	assert_int_equal(identify(cl, 2, 0x12), NVMED_INVALID_NAMESPACE | DNR);
	assert_int_equal(identify(cl, 0, 0x13), 0);
	for (unsigned cns = 0x04; cns < 0x100; cns++)
		if (cns < 0x10 || cns > 0x13)
			assert_int_equal(identify(cl, 1, cns), NVMED_INVALID_FIELD | DNR);
	client_free(cl);
}

static void read_name(const char *options, char name[256])
{
	struct client *cl = open_client(options, true);

	assert_true(client_enable(cl, 32));
	assert_int_equal(identify(cl, 0, 0x01), 0);
	memcpy(name, client_ptr(cl, DATA + 768), 256);
	client_free(cl);
}

/*
 * The same in each run; but functions that show one image read-only differ, for a host refuses
 * the second controller of a name.
 */
static void identity(void **state)
{
	char options[160], name[3][256];

	make_image(MIB(8));
	snprintf(options, sizeof(options), "disk=%s", image_path);
	client_bdf.bus = 0x66;
	read_name(options, name[0]);
	client_bdf.bus = 0x67;
	read_name(options, name[1]);
	assert_string_equal(name[0], name[1]);
	snprintf(options, sizeof(options), "disk=%s,readonly=on", image_path);
	client_bdf.bus = 0x66;
	read_name(options, name[0]);
	read_name(options, name[1]);
	assert_string_equal(name[0], name[1]);
	client_bdf.bus = 0x67;
	read_name(options, name[2]);
	assert_string_not_equal(name[0], name[2]);
	client_bdf.bus = 0x65;
	unlink(image_path);
}

/* ------------------------------------------------------------------ logs */

/* Reads the start of a log page to the data area. */
static void *get_log(struct client *cl, unsigned lid, uint32_t size)
{
	struct nvmed_sqe cmd = { .opcode = NVMED_ADMIN_GET_LOG,
				 .prp1 = le64_make(DATA),
				 .cdw10 = le32_make(lid | (size / 4 - 1) << 16) };

	assert_int_equal(client_do(cl, 0, cmd, NULL), 0);
	return client_ptr(cl, DATA);
}

/* A disk whose operations can be made to fail, or to take their time. */
static const struct nvmed_disk_ops *real_ops;
static int fake_error;
static _Atomic unsigned n_syncs;
static unsigned sync_ms;
static _Atomic bool sync_held;

static int fake_readv(struct nvmed_disk *d, struct iovec *iov, unsigned n, uint64_t offset,
		      bool nowait)
{
	return fake_error ? fake_error : real_ops->readv(d, iov, n, offset, nowait);
}

static int fake_writev(struct nvmed_disk *d, struct iovec *iov, unsigned n, uint64_t offset,
		       bool nowait, bool durable)
{
	return fake_error ? fake_error : real_ops->writev(d, iov, n, offset, nowait, durable);
}

static int fake_zero(struct nvmed_disk *d, uint64_t offset, uint64_t size, enum nvmed_zero how)
{
	return fake_error ? fake_error : real_ops->zero(d, offset, size, how);
}

static int fake_sync(struct nvmed_disk *d)
{
	n_syncs++;
	while (sync_held)
		usleep(1000);
	usleep(sync_ms * 1000);
	return fake_error;
}

static void fake_free(struct nvmed_disk *d)
{
	real_ops->free(d);
}

static const struct nvmed_disk_ops fake_ops = {
	.readv = fake_readv,
	.writev = fake_writev,
	.sync = fake_sync,
	.zero = fake_zero,
	.free = fake_free,
};

/* On an image, with one I/O queue. */
static struct client *open_fake(const char *more, bool manual)
{
	char options[128];
	struct client *cl;

	make_image(MIB(8));
	snprintf(options, sizeof(options), "disk=%s%s", image_path, more);
	cl = open_client(options, manual);
	unlink(image_path);
	real_ops = cl->ctrl->disk->ops;
	cl->ctrl->disk->ops = &fake_ops;
	fake_error = 0;
	sync_ms = 0;
	n_syncs = 0;
	assert_true(client_enable(cl, 32));
	assert_int_equal(client_create_queue(cl, 1, 64), 0);
	return cl;
}

/* What counts as what, in units of 512 bytes whatever the block is. */
static void smart_counters(void **state)
{
	struct client *cl = open_fake(",block=4096", true);
	struct nvmed_sqe cmd;
	struct nvmed_smart *smart;

	memset(client_ptr(cl, DATA), 0, 8192);
	/* Blocks that are read: 3 * 256 + 2 * 2 + 500, or 10176 units. */
	for (unsigned i = 0; i < 3; i++) {
		cmd = rw_cmd(NVMED_IO_READ, 0, 2, DATA, DATA + 4096);
		for (unsigned k = 0; k < 128; k++)
			assert_int_equal(client_do(cl, 1, cmd, NULL), 0);
	}
	cmd = rw_cmd(NVMED_IO_COMPARE, 0, 2, DATA, DATA + 4096);
	assert_int_equal(client_do(cl, 1, cmd, NULL), 0);
	memset(client_ptr(cl, DATA), 1, 1);
	assert_int_equal(client_do(cl, 1, cmd, NULL), NVMED_COMPARE_FAILURE | DNR);
	assert_int_equal(client_do(cl, 1, rw_cmd(NVMED_IO_VERIFY, 0, 500, 0, 0), NULL), 0);
	/* Written: 2 blocks. Zeroes and deallocation do not count. */
	cmd = rw_cmd(NVMED_IO_WRITE, 0, 2, DATA, DATA + 4096);
	assert_int_equal(client_do(cl, 1, cmd, NULL), 0);
	assert_int_equal(client_do(cl, 1, rw_cmd(NVMED_IO_WRITE_ZEROES, 0, 500, 0, 0), NULL), 0);
	/* What fails does not either. */
	assert_int_equal(client_do(cl, 1, rw_cmd(NVMED_IO_READ, ~0ull, 1, DATA, 0), NULL),
			 NVMED_LBA_OUT_OF_RANGE | DNR);
	smart = get_log(cl, NVMED_LOG_SMART, 512);
	assert_int_equal(le64_get(smart->host_reads[0]), 384 + 2);
	assert_int_equal(le64_get(smart->data_units_read[0]), 11);
	assert_int_equal(le64_get(smart->host_writes[0]), 1);
	assert_int_equal(le64_get(smart->data_units_written[0]), 1);
	assert_int_equal(le64_get(smart->error_entries[0]), 2);
	assert_int_equal(le64_get(smart->power_cycles[0]), 1);
	assert_int_equal(le64_get(smart->media_errors[0]), 0);
	client_free(cl);
}

/* Errors of the disk: each has its status, and the medium's are counted. */
static void media_errors(void **state)
{
	static const struct {
		int error;
		uint16_t read, write;
		unsigned media;
	} t[] = {
		{ -EIO, NVMED_READ_ERROR, NVMED_WRITE_FAULT, 6 },
		{ -ENODATA, NVMED_READ_ERROR, NVMED_WRITE_FAULT, 6 },
		{ -ENOSPC, NVMED_CAPACITY_EXCEEDED | DNR, NVMED_CAPACITY_EXCEEDED | DNR, 0 },
		{ -ENOMEM, NVMED_INTERNAL_ERROR, NVMED_INTERNAL_ERROR, 0 },
		{ -EFAULT, NVMED_DATA_TRANSFER_ERROR, NVMED_DATA_TRANSFER_ERROR, 0 },
	};
	struct client *cl = open_fake("", true);
	uint64_t media = 0, errors = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(t); i++) {
		struct nvmed_smart *smart;

		fake_error = t[i].error;
		for (unsigned op = 0; op < 0x10; op++) {
			bool reads = op == NVMED_IO_READ || op == NVMED_IO_COMPARE ||
				     op == NVMED_IO_VERIFY;
			bool writes = op == NVMED_IO_FLUSH || op == NVMED_IO_WRITE ||
				      op == NVMED_IO_WRITE_ZEROES;

			if (!reads && !writes)
				continue;
			assert_int_equal(client_do(cl, 1, rw_cmd(op, 8, 1, DATA, 0), NULL),
					 reads ? t[i].read : t[i].write);
		}
		media += t[i].media;
		errors += 6;
		smart = get_log(cl, NVMED_LOG_SMART, 512);
		assert_int_equal(le64_get(smart->media_errors[0]), media);
		assert_int_equal(le64_get(smart->error_entries[0]), errors);
	}
	client_free(cl);
}

/* Forced unit access makes a command that reads wait until that is durable. */
static void forced_unit_access(void **state)
{
	static const uint8_t ops[] = { NVMED_IO_READ, NVMED_IO_COMPARE, NVMED_IO_VERIFY,
				       NVMED_IO_WRITE_ZEROES };
	struct client *cl = open_fake("", true);

	memset(client_ptr(cl, DATA), 0, 512);
	for (unsigned i = 0; i < ARRAY_SIZE(ops); i++) {
		struct nvmed_sqe cmd = rw_cmd(ops[i], 0, 1, DATA, 0);

		n_syncs = 0;
		assert_int_equal(client_do(cl, 1, cmd, NULL), 0);
		assert_int_equal(n_syncs, 0);
		cmd.cdw12.raw |= htole32(NVMED_RW_FUA);
		assert_int_equal(client_do(cl, 1, cmd, NULL), 0);
		assert_int_equal(n_syncs, 1);
	}
	client_free(cl);
}

/* The controller is busy while a command is in progress, not once for each of them. */
static void busy_time(void **state)
{
	struct client *cl = open_fake("", false);
	uint64_t start = time_mono_ns(), busy;

	sync_ms = 30;
	for (unsigned i = 0; i < 3; i++)
		client_queue_cmd(cl, 1, rw_cmd(NVMED_IO_FLUSH, 0, 1, 0, 0));
	client_ring(cl, 1);
	for (unsigned i = 0; i < 3; i++) {
		struct nvmed_cqe cqe;

		assert_true(client_wait(cl, 1, &cqe));
	}
	nvmed_pause(cl->ctrl);
	busy = cl->ctrl->busy_ns;
	nvmed_resume(cl->ctrl);
	assert_true(busy >= 30000000);
	assert_true(busy <= time_mono_ns() - start);
	client_free(cl);
}

/*
 * Abort: of what waits for a thread and has not begun, Abort Requested; of what is under way, or
 * not there, nothing. The answer to the command comes before the answer to the Abort.
 */
static void abort_waiting(void **state)
{
	struct client *cl = open_fake("", false);
	struct nvmed_sqe abort_cmd = { .opcode = NVMED_ADMIN_ABORT };
	unsigned aborted = 0, flushed = 0;
	uint32_t dw0;

	sync_held = true;
	for (unsigned i = 0; i < 12; i++)
		client_queue_cmd(cl, 1, rw_cmd(NVMED_IO_FLUSH, 0, 1, 0, 0));
	client_ring(cl, 1);
	/* They are taken all at once; the last of them waits behind the others. */
	while (!n_syncs)
		sched_yield();
	abort_cmd.cdw10 = le32_make(1 | 11 << 16);
	assert_int_equal(client_do(cl, 0, abort_cmd, &dw0), 0);
	assert_int_equal(dw0, 0);
	assert_int_equal(client_do(cl, 0, abort_cmd, &dw0), 0);
	assert_int_equal(dw0, 1);
	sync_held = false;
	for (unsigned i = 0; i < 12; i++) {
		struct nvmed_cqe cqe = { 0 };
		uint16_t status;

		assert_true(client_wait(cl, 1, &cqe));
		status = le16_get(cqe.status) >> 1;
		if (le16_get(cqe.cid) == 11)
			aborted += status == (NVMED_ABORT_REQUESTED | NVMED_STATUS_MORE);
		else
			flushed += !status;
	}
	assert_int_equal(aborted, 1);
	assert_int_equal(flushed, 11);
	client_free(cl);
}

/* An entry's fields; entries that belong to no command. */
static void error_entries(void **state)
{
	struct client *cl = open_client("mem=8M", true);
	struct nvmed_error_entry *log;

	assert_true(client_enable(cl, 32));
	assert_int_equal(client_create_queue(cl, 1, 64), 0);
	client_do(cl, 1, rw_cmd(NVMED_IO_READ, 0x123456789abcull, 1, DATA, 0), NULL);
	log = get_log(cl, NVMED_LOG_ERROR, 128);
	assert_int_equal(le64_get(log[0].count), 1);
	assert_int_equal(le16_get(log[0].sqid), 1);
	assert_int_equal(le16_get(log[0].cid), 0);
	assert_int_equal(le16_get(log[0].status) >> 1,
			 NVMED_LBA_OUT_OF_RANGE | DNR | NVMED_STATUS_MORE);
	assert_int_equal(le16_get(log[0].location), 40);
	assert_int_equal(le64_get(log[0].lba), 0x123456789abcull);
	assert_int_equal(le32_get(log[0].nsid), 1);
	assert_int_equal(le64_get(log[1].count), 0);
	/* What a command without a logical block has in its place is none. */
	client_do(cl, 1, rw_cmd(0x55, 0x123456789abcull, 1, DATA, 0), NULL);
	log = get_log(cl, NVMED_LOG_ERROR, 64);
	assert_int_equal(le64_get(log[0].count), 2);
	assert_int_equal(le64_get(log[0].lba), 0);

	/* Which of the two PRP entries it was. */
	client_do(cl, 1, rw_cmd(NVMED_IO_READ, 0, 8, DATA + 1, DATA + 4096), NULL);
	client_do(cl, 1, rw_cmd(NVMED_IO_READ, 0, 16, DATA, DATA + 4100), NULL);
	client_do(cl, 1, rw_cmd(NVMED_IO_READ, 0, 17, DATA, DATA + 4100), NULL);
	log = get_log(cl, NVMED_LOG_ERROR, 192);
	assert_int_equal(le16_get(log[2].location), 24);
	assert_int_equal(le16_get(log[1].location), 32);
	assert_int_equal(le16_get(log[0].location), 32);

	/* The events of doorbells are about the error log, so it has them; once until it is read.
	 */
	for (unsigned i = 0; i < 3; i++)
		client_write32(cl, NVMED_DOORBELLS + 8, 64);
	client_pump(cl);
	client_write32(cl, NVMED_DOORBELLS + 8, 65);
	client_write32(cl, NVMED_DOORBELLS + 8 * 9, 1);
	client_pump(cl);
	log = get_log(cl, NVMED_LOG_ERROR, 192);
	assert_int_equal(le64_get(log[0].count), 7);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(le16_get(log[i].sqid), 0xffff);
		assert_int_equal(le16_get(log[i].cid), 0xffff);
		assert_int_equal(le16_get(log[i].location), 0xffff);
		assert_int_equal(le32_get(log[i].nsid), 0);
	}
	assert_int_equal(le16_get(log[0].status) >> 1, NVMED_INVALID_QUEUE_ID);
	assert_int_equal(le16_get(log[1].status) >> 1, NVMED_INVALID_FIELD);
	assert_int_equal(le64_get(log[2].count), 5);
	client_write32(cl, NVMED_DOORBELLS + 8, 66);
	client_pump(cl);
	log = get_log(cl, NVMED_LOG_ERROR, 64);
	assert_int_equal(le64_get(log[0].count), 8);
	client_free(cl);
}

/* ------------------------------------------------------------------ features */

static uint16_t set_feature(struct client *cl, uint32_t nsid, uint32_t dw10, uint32_t dw11)
{
	struct nvmed_sqe cmd = { .opcode = NVMED_ADMIN_SET_FEATURES,
				 .nsid = le32_make(nsid),
				 .cdw10 = le32_make(dw10),
				 .cdw11 = le32_make(dw11) };

	return client_do(cl, 0, cmd, NULL);
}

static uint16_t get_feature(struct client *cl, uint32_t nsid, uint32_t dw10, uint32_t dw11)
{
	struct nvmed_sqe cmd = { .opcode = NVMED_ADMIN_GET_FEATURES,
				 .nsid = le32_make(nsid),
				 .cdw10 = le32_make(dw10),
				 .cdw11 = le32_make(dw11) };

	return client_do(cl, 0, cmd, NULL);
}

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

/* Which namespace may be named where. */
static void feature_scope(void **state)
{
	struct client *cl = open_client("mem=8M", true);

	assert_true(client_enable(cl, 32));
	for (unsigned fid = 0; fid < 256; fid++) {
		bool known = fid && fid < 0x0c && fid != 3, ns = fid == 5;
		/* A value that each of them takes. */
		uint32_t v = fid == 4 ? 343 : 0;
		uint16_t bad = NVMED_INVALID_FIELD | DNR;

#define STATUS(fine, other) (!known ? bad : (fine) ? NVMED_OK : (other) | DNR)
		assert_int_equal(get_feature(cl, 0, fid, 0), STATUS(!ns, NVMED_INVALID_NAMESPACE));
		assert_int_equal(get_feature(cl, 1, fid, 0), STATUS(true, 0));
		assert_int_equal(get_feature(cl, 2, fid, 0),
				 STATUS(false, NVMED_INVALID_NAMESPACE));
		assert_int_equal(get_feature(cl, ~0u, fid, 0),
				 STATUS(!ns, NVMED_INVALID_NAMESPACE));
		assert_int_equal(set_feature(cl, 0, fid, v), STATUS(!ns, NVMED_INVALID_NAMESPACE));
		assert_int_equal(set_feature(cl, 1, fid, v), STATUS(true, 0));
		assert_int_equal(set_feature(cl, 2, fid, v),
				 STATUS(false, NVMED_INVALID_NAMESPACE));
		assert_int_equal(set_feature(cl, ~0u, fid, v), STATUS(true, 0));
		for (unsigned select = 1; select < 8; select++)
			assert_int_equal(get_feature(cl, 1, fid | select << 8, 0),
					 STATUS(select < 4, NVMED_INVALID_FIELD));
#undef STATUS
	}
	client_free(cl);
}

/* Each sensor has thresholds of its own, with defaults of their own. */
static void thresholds(void **state)
{
	struct client *cl = open_client("mem=8M", true);
	struct nvmed_sqe aer = { .opcode = NVMED_ADMIN_ASYNC_EVENT };
	struct nvmed_sqe log = { .opcode = NVMED_ADMIN_GET_LOG,
				 .prp1 = le64_make(DATA),
				 .cdw10 = le32_make(NVMED_LOG_SMART | 127 << 16) };
	struct nvmed_smart *smart = client_ptr(cl, DATA);
	const uint32_t sensor1 = 1 << 16, all = 15 << 16, under = 1 << 20;
	struct nvmed_cqe cqe;

	assert_true(client_enable(cl, 32));
	for (unsigned select = 0; select < 3; select++) {
		assert_int_equal(feature(cl, 4, select, 0), 343);
		assert_int_equal(feature(cl, 4, select, under), 0);
		assert_int_equal(feature(cl, 4, select, sensor1), 0xffff);
		assert_int_equal(feature(cl, 4, select, sensor1 | under), 0);
		assert_int_equal(get_feature(cl, 0, 4 | select << 8, 2 << 16),
				 NVMED_INVALID_FIELD | DNR);
		assert_int_equal(get_feature(cl, 0, 4 | select << 8, all),
				 NVMED_INVALID_FIELD | DNR);
		assert_int_equal(get_feature(cl, 0, 4 | select << 8, 2 << 20),
				 NVMED_INVALID_FIELD | DNR);
	}
	assert_int_equal(set_feature(cl, 0, 4, 2 << 16), NVMED_INVALID_FIELD | DNR);
	assert_int_equal(set_feature(cl, 0, 4, 3 << 20), NVMED_INVALID_FIELD | DNR);
	assert_int_equal(set_feature(cl, 0, 4, 350), 0);
	assert_int_equal(feature(cl, 4, 0, 0), 350);
	assert_int_equal(feature(cl, 4, 0, sensor1), 0xffff);
	assert_int_equal(set_feature(cl, 0, 4, sensor1 | 300), 0);
	assert_int_equal(feature(cl, 4, 0, 0), 350);
	assert_int_equal(feature(cl, 4, 0, sensor1), 300);
	assert_int_equal(feature(cl, 4, 1, sensor1), 0xffff);

	/* Crossed now, but nobody has asked to be told; whoever does is told at once. */
	assert_int_equal(client_do(cl, 0, log, NULL), 0);
	assert_int_equal(smart->critical_warning, BIT(1));
	client_queue_cmd(cl, 0, aer);
	client_ring(cl, 0);
	client_pump(cl);
	assert_false(client_poll(cl, 0, &cqe));
	client_queue_cmd(cl, 0,
			 (struct nvmed_sqe){ .opcode = NVMED_ADMIN_SET_FEATURES,
					     .cdw10 = le32_make(0x0b),
					     .cdw11 = le32_make(2) });
	client_ring(cl, 0);
	assert_true(client_wait(cl, 0, &cqe) && client_wait(cl, 0, &cqe));
	assert_int_equal(le32_get(cqe.dw0), 0x20101);

	assert_int_equal(set_feature(cl, 0, 4, all | 360), 0);
	assert_int_equal(feature(cl, 4, 0, 0), 360);
	assert_int_equal(feature(cl, 4, 0, sensor1), 360);
	assert_int_equal(client_do(cl, 0, log, NULL), 0);
	assert_int_equal(smart->critical_warning, 0);
	/* The default of a vector names the vector, as its value does. */
	assert_int_equal(set_feature(cl, 0, 9, 1 << 16 | 3), 0);
	assert_int_equal(feature(cl, 9, 0, 3), 1 << 16 | 3);
	assert_int_equal(feature(cl, 9, 1, 3), 3);
	assert_int_equal(get_feature(cl, 0, 9 | 1 << 8, 17), NVMED_INVALID_FIELD | DNR);
	client_free(cl);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(identify_controller),
		cmocka_unit_test(identify_namespace),
		cmocka_unit_test(identify_lists),
		cmocka_unit_test(identity),
		cmocka_unit_test(smart_counters),
		cmocka_unit_test(media_errors),
		cmocka_unit_test(forced_unit_access),
		cmocka_unit_test(busy_time),
		cmocka_unit_test(abort_waiting),
		cmocka_unit_test(error_entries),
		cmocka_unit_test(features),
		cmocka_unit_test(feature_scope),
		cmocka_unit_test(thresholds),
	};

	return cmocka_run_group_tests_name("nvme_admin", tests, NULL, NULL);
}
