/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The commands of the NVM command set.
 *
 * Handlers run on the worker, or on a pool thread: they touch their request, the disk, client
 * memory and atomic counters, nothing else of the controller.
 *
 * Follows NVM Express 1.4, section 6. Flush is fdatasync of the image: what it acknowledged is on
 * the medium. With the volatile write cache off every write is durable before its completion.
 */
#include <errno.h>

#include "device/nvme/priv.h"

struct extent {
	uint64_t lba, blocks;
	uint64_t offset; /* bytes */
	uint64_t size;
};

static uint16_t check_lba(struct nvmed_req *req, uint64_t lba, uint64_t blocks, struct extent *x)
{
	struct nvmed_ctrl *c = req->ctrl;
	uint64_t capacity = c->disk->size >> c->block_shift;

	*x = (struct extent){ 0 };
	if (lba >= capacity || blocks > capacity - lba)
		return nvmed_fail(req, NVMED_LBA_OUT_OF_RANGE, offsetof(struct nvmed_sqe, cdw10));
	*x = (struct extent){ lba, blocks, lba << c->block_shift, blocks << c->block_shift };
	return NVMED_OK;
}

/* SLBA and NLB of most commands. */
static uint16_t get_extent(struct nvmed_req *req, struct extent *x)
{
	uint64_t lba = le32_get(req->cmd.cdw10) | (uint64_t)le32_get(req->cmd.cdw11) << 32;

	return check_lba(req, lba, (le32_get(req->cmd.cdw12) & 0xffff) + 1, x);
}

static bool want_durable(struct nvmed_req *req)
{
	return (le32_get(req->cmd.cdw12) & NVMED_RW_FUA) || !req->ctrl->vwc;
}

/* Forced unit access of a command that reads: what it reads must not be lost later. */
static uint16_t read_durable(struct nvmed_req *req)
{
	struct nvmed_disk *d = req->ctrl->disk;

	if (!(le32_get(req->cmd.cdw12) & NVMED_RW_FUA) || d->readonly)
		return NVMED_OK;
	return nvmed_disk_status(req->ctrl, d->ops->sync(d), true);
}

/* What SMART counts as read commands, and as data read by the host. */
static void count_read(struct nvmed_ctrl *c, const struct extent *x, unsigned commands)
{
	atomic_fetch_add(&c->stats.reads, commands);
	atomic_fetch_add(&c->stats.read_blocks, x->size >> 9);
}

/* An extent whose data crosses the bus, so MDTS holds. */
static uint16_t get_transfer(struct nvmed_req *req, struct extent *x)
{
	uint16_t status = get_extent(req, x);

	if (!status && x->size > NVMED_MAX_TRANSFER)
		status = nvmed_fail(req, NVMED_INVALID_FIELD, offsetof(struct nvmed_sqe, cdw12));
	return status;
}

static uint16_t io_flush(struct nvmed_req *req, struct nvmed_scratch *s)
{
	struct nvmed_disk *d = req->ctrl->disk;

	return d->readonly ? NVMED_OK : nvmed_disk_status(req->ctrl, d->ops->sync(d), true);
}

static uint16_t io_read(struct nvmed_req *req, struct nvmed_scratch *s)
{
	struct extent x;
	uint16_t status = get_transfer(req, &x);

	if (!status)
		status = read_durable(req);
	if (!status)
		status = nvmed_data_disk(req, s, x.offset, x.size, true, false);
	if (!status)
		count_read(req->ctrl, &x, 1);
	return status;
}

static uint16_t io_write(struct nvmed_req *req, struct nvmed_scratch *s)
{
	struct nvmed_ctrl *c = req->ctrl;
	struct extent x;
	uint16_t status = get_transfer(req, &x);

	if (!status)
		status = nvmed_data_disk(req, s, x.offset, x.size, false, want_durable(req));
	if (!status) {
		atomic_fetch_add(&c->stats.writes, 1);
		atomic_fetch_add(&c->stats.written_blocks, x.size >> 9);
	}
	return status;
}

/* The disk's bytes, a window at a time; with @compare against the host's. */
static uint16_t read_through(struct nvmed_req *req, struct nvmed_scratch *s, const struct extent *x,
			     bool compare)
{
	struct nvmed_disk *d = req->ctrl->disk;
	uint64_t done = 0;
	uint16_t status = read_durable(req);

	if (status)
		return status;
	if (nvmed_scratch_bounce(s))
		return NVMED_INTERNAL_ERROR;
	while (done < x->size) {
		uint32_t now = MIN(x->size - done, NVMED_BOUNCE_SIZE);
		struct iovec iov = { s->bounce, now };
		int ret = d->ops->readv(d, &iov, 1, x->offset + done, false);

		status = nvmed_disk_status(req->ctrl, ret, false);
		if (!status && compare)
			status = nvmed_data_copy(req, s, done, s->bounce2, now, false);
		if (status)
			return status;
		if (compare && memcmp(s->bounce, s->bounce2, now))
			return NVMED_COMPARE_FAILURE | NVMED_STATUS_DNR;
		done += now;
	}
	return NVMED_OK;
}

static uint16_t io_compare(struct nvmed_req *req, struct nvmed_scratch *s)
{
	struct extent x;
	uint16_t status = get_transfer(req, &x);

	if (!status)
		status = nvmed_data_map(req, s, x.size);
	if (!status)
		status = read_through(req, s, &x, true);
	if (!status || status == (NVMED_COMPARE_FAILURE | NVMED_STATUS_DNR))
		count_read(req->ctrl, &x, 1);
	return status;
}

static uint16_t io_verify(struct nvmed_req *req, struct nvmed_scratch *s)
{
	struct extent x;
	uint16_t status = get_extent(req, &x);

	/* Memory has no medium that could be bad. */
	if (!status && !req->ctrl->disk->memory)
		status = read_through(req, s, &x, false);
	if (!status)
		count_read(req->ctrl, &x, 0);
	return status;
}

static uint16_t io_write_zeroes(struct nvmed_req *req, struct nvmed_scratch *s)
{
	struct nvmed_ctrl *c = req->ctrl;
	struct nvmed_disk *d = c->disk;
	struct extent x;
	uint16_t status = get_extent(req, &x);
	int ret;

	if (status)
		return status;
	ret = d->ops->zero(d, x.offset, x.size,
			   le32_get(req->cmd.cdw12) & NVMED_WZ_DEAC ? NVMED_ZERO_DEALLOCATE
								    : NVMED_ZERO);
	if (!ret && want_durable(req))
		ret = d->ops->sync(d);
	return nvmed_disk_status(c, ret, true);
}

static uint16_t io_dsm(struct nvmed_req *req, struct nvmed_scratch *s)
{
	struct nvmed_disk *d = req->ctrl->disk;
	struct nvmed_dsm_range ranges[256];
	unsigned n = (le32_get(req->cmd.cdw10) & 0xff) + 1;
	uint16_t status;

	status = nvmed_data_from_host(req, s, ranges, n * sizeof(ranges[0]));
	for (unsigned i = 0; i < n && !status; i++) {
		struct extent x;

		status = check_lba(req, le64_get(ranges[i].lba), le32_get(ranges[i].blocks), &x);
	}
	if (status || !(le32_get(req->cmd.cdw11) & NVMED_DSM_AD))
		return status;
	for (unsigned i = 0; i < n && !status; i++) {
		struct extent x;

		status = check_lba(req, le64_get(ranges[i].lba), le32_get(ranges[i].blocks), &x);
		if (!status && x.size)
			status = nvmed_disk_status(
				req->ctrl, d->ops->zero(d, x.offset, x.size, NVMED_DISCARD), true);
	}
	if (!status && !req->ctrl->vwc)
		status = nvmed_disk_status(req->ctrl, d->ops->sync(d), true);
	return status;
}

#define BLOCKS (NVMED_CMD_NS | NVMED_CMD_LBA)
#define READS NVMED_EFFECT_SUPPORTED
#define CHANGES (NVMED_EFFECT_SUPPORTED | NVMED_EFFECT_DATA)

const struct nvmed_command nvmed_io_commands[256] = {
	[NVMED_IO_FLUSH] = { "Flush", io_flush, NVMED_CMD_SLOW | NVMED_CMD_NS | NVMED_CMD_NS_ALL,
			     READS },
	[NVMED_IO_WRITE] = { "Write", io_write, NVMED_CMD_DATA | BLOCKS | NVMED_CMD_WRITES,
			     CHANGES },
	[NVMED_IO_READ] = { "Read", io_read, NVMED_CMD_DATA | BLOCKS, READS },
	[NVMED_IO_COMPARE] = { "Compare", io_compare, NVMED_CMD_SLOW | BLOCKS, READS },
	[NVMED_IO_WRITE_ZEROES] = { "Write Zeroes", io_write_zeroes,
				    NVMED_CMD_SLOW | BLOCKS | NVMED_CMD_WRITES, CHANGES },
	[NVMED_IO_DSM] = { "Dataset Management", io_dsm,
			   NVMED_CMD_SLOW | NVMED_CMD_NS | NVMED_CMD_WRITES, CHANGES },
	[NVMED_IO_VERIFY] = { "Verify", io_verify, NVMED_CMD_SLOW | BLOCKS, READS },
};

/* Our own command: makes everything durable before a shutdown is reported complete. */
const struct nvmed_command nvmed_shutdown_command = { "shutdown", io_flush, NVMED_CMD_SLOW, 0 };
