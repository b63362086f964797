/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Data between client memory and the disk.
 *
 * A memory disk is copied from and to directly. For a file, the client's pages are pinned and
 * handed to the kernel (one copy, page cache to client); memory that cannot be pinned goes through
 * a buffer of our own, a window at a time.
 *
 * Runs on the worker or on a pool thread; touches the request, the scratch of its thread, the disk
 * and client memory only.
 */
#include <errno.h>

#include "device/nvme/priv.h"

int nvmed_scratch_bounce(struct nvmed_scratch *s)
{
	if (!s->bounce)
		s->bounce = malloc(2 * NVMED_BOUNCE_SIZE);
	if (!s->bounce)
		return -ENOMEM;
	s->bounce2 = s->bounce + NVMED_BOUNCE_SIZE;
	return 0;
}

void nvmed_scratch_fini(struct nvmed_scratch *s)
{
	free(s->bounce);
	s->bounce = s->bounce2 = NULL;
}

static int list_fetch(void *data, uint64_t iova, void *buf, size_t size)
{
	struct nvmed_ctrl *c = data;

	return pcif_dma_read(c->f, iova, buf, size);
}

uint16_t nvmed_data_map(struct nvmed_req *req, struct nvmed_scratch *s, uint32_t size)
{
	uint16_t status;

	if (req->cmd.flags & NVMED_SQE_PSDT)
		return nvmed_fail(req, NVMED_INVALID_FIELD, 1);
	status = nvmed_prp_walk(le64_get(req->cmd.prp1), le64_get(req->cmd.prp2), size,
				req->page_shift, list_fetch, req->ctrl, s->runs, &s->n_runs);
	if (status == NVMED_INVALID_PRP_OFFSET)
		return nvmed_fail(req, status,
				  le64_get(req->cmd.prp1) & 3 ? offsetof(struct nvmed_sqe, prp1)
							      : offsetof(struct nvmed_sqe, prp2));
	return status;
}

uint16_t nvmed_data_copy(struct nvmed_req *req, struct nvmed_scratch *s, uint32_t skip, void *buf,
			 uint32_t size, bool to_host)
{
	struct pcif *f = req->ctrl->f;
	uint8_t *at = buf;

	for (unsigned i = 0; i < s->n_runs && size; i++) {
		struct nvmed_run run = s->runs[i];
		uint32_t now;
		int ret;

		if (skip >= run.size) {
			skip -= run.size;
			continue;
		}
		now = MIN(run.size - skip, size);
		ret = to_host ? pcif_dma_write(f, run.iova + skip, at, now)
			      : pcif_dma_read(f, run.iova + skip, at, now);
		if (ret)
			return NVMED_DATA_TRANSFER_ERROR;
		at += now;
		size -= now;
		skip = 0;
	}
	return NVMED_OK;
}

uint16_t nvmed_data_to_host(struct nvmed_req *req, struct nvmed_scratch *s, void *buf,
			    uint32_t size)
{
	uint16_t status = nvmed_data_map(req, s, size);

	return status ? status : nvmed_data_copy(req, s, 0, buf, size, true);
}

uint16_t nvmed_data_from_host(struct nvmed_req *req, struct nvmed_scratch *s, void *buf,
			      uint32_t size)
{
	uint16_t status = nvmed_data_map(req, s, size);

	return status ? status : nvmed_data_copy(req, s, 0, buf, size, false);
}

/* What went wrong with the disk, in the words of the specification. */
uint16_t nvmed_disk_status(struct nvmed_ctrl *c, int err, bool write)
{
	static struct log_limit limit;

	switch (err) {
	case 0:
		return NVMED_OK;
	case -EAGAIN:
		return NVMED_RETRY_SLOW;
	case -EFAULT: /* client memory under the pins is gone */
		return NVMED_DATA_TRANSFER_ERROR;
	case -ENOMEM:
		return NVMED_INTERNAL_ERROR;
	}
	if (log_limit_ok(&limit))
		log_warn("%s: nvme: %s of the disk failed: %s", pcif_name(c->f),
			 write ? "writing" : "reading", strerror(-err));
	if (err == -ENOSPC || err == -EDQUOT || err == -EFBIG)
		return NVMED_CAPACITY_EXCEEDED | NVMED_STATUS_DNR;
	atomic_fetch_add(&c->stats.media_errors, 1);
	return write ? NVMED_WRITE_FAULT : NVMED_READ_ERROR;
}

/* The rest of the command from byte @done on, through our own buffer. */
static uint16_t disk_bounce(struct nvmed_req *req, struct nvmed_scratch *s, uint64_t offset,
			    uint32_t done, uint32_t size, bool to_host, bool durable)
{
	struct nvmed_ctrl *c = req->ctrl;
	struct nvmed_disk *d = c->disk;

	if (nvmed_scratch_bounce(s))
		return NVMED_INTERNAL_ERROR;
	while (done < size) {
		uint32_t now = MIN(size - done, NVMED_BOUNCE_SIZE);
		struct iovec iov = { s->bounce, now };
		uint16_t status = NVMED_OK;
		int ret;

		if (!to_host)
			status = nvmed_data_copy(req, s, done, s->bounce, now, false);
		if (status)
			return status;
		ret = to_host ? d->ops->readv(d, &iov, 1, offset + done, req->nowait)
			      : d->ops->writev(d, &iov, 1, offset + done, req->nowait, durable);
		if (ret)
			return nvmed_disk_status(c, ret, !to_host);
		if (to_host)
			status = nvmed_data_copy(req, s, done, s->bounce, now, true);
		if (status)
			return status;
		done += now;
	}
	return NVMED_OK;
}

static uint16_t disk_memory(struct nvmed_req *req, struct nvmed_scratch *s, uint64_t offset,
			    bool to_host)
{
	struct nvmed_ctrl *c = req->ctrl;
	uint8_t *at = c->disk->memory + offset;

	for (unsigned i = 0; i < s->n_runs; at += s->runs[i++].size) {
		int ret = to_host ? pcif_dma_write(c->f, s->runs[i].iova, at, s->runs[i].size)
				  : pcif_dma_read(c->f, s->runs[i].iova, at, s->runs[i].size);

		if (ret)
			return NVMED_DATA_TRANSFER_ERROR;
	}
	return NVMED_OK;
}

static void unpin_all(struct nvmed_scratch *s, unsigned n)
{
	while (n)
		pcif_dma_unpin(&s->pins[--n]);
}

/*
 * Pins runs from *@run on, as many as fit. 0 and the numbers; -EFAULT; -EOPNOTSUPP if the first one
 * cannot be pinned.
 */
static int pin_window(struct nvmed_req *req, struct nvmed_scratch *s, bool to_host, unsigned run,
		      unsigned *n_pins, unsigned *n_iov, uint32_t *bytes)
{
	unsigned access = to_host ? IOMMU_WRITE : IOMMU_READ;
	unsigned pins = 0, iovs = 0;
	uint32_t total = 0;

	for (; run < s->n_runs && pins < NVMED_PINS; run++, pins++) {
		struct iommu_pin *pin = &s->pins[pins];
		int ret = pcif_dma_pin(req->ctrl->f, s->runs[run].iova, s->runs[run].size, access,
				       pin);

		if (ret == -EFAULT || (ret && !pins)) {
			unpin_all(s, pins);
			return ret;
		}
		if (ret)
			break;
		memcpy(&s->iov[iovs], pin->iov, pin->n_iov * sizeof(pin->iov[0]));
		iovs += pin->n_iov;
		total += s->runs[run].size;
	}
	*n_pins = pins;
	*n_iov = iovs;
	*bytes = total;
	return 0;
}

uint16_t nvmed_data_disk(struct nvmed_req *req, struct nvmed_scratch *s, uint64_t offset,
			 uint32_t size, bool to_host, bool durable)
{
	struct nvmed_ctrl *c = req->ctrl;
	struct nvmed_disk *d = c->disk;
	uint32_t done = 0;
	unsigned run = 0;
	uint16_t status = nvmed_data_map(req, s, size);

	if (status)
		return status;
	if (d->memory)
		return disk_memory(req, s, offset, to_host);
	while (run < s->n_runs) {
		unsigned pins, iovs;
		uint32_t bytes;
		int ret = pin_window(req, s, to_host, run, &pins, &iovs, &bytes);

		if (ret == -EFAULT)
			return NVMED_DATA_TRANSFER_ERROR;
		if (ret)
			return disk_bounce(req, s, offset, done, size, to_host, durable);
		ret = to_host ? d->ops->readv(d, s->iov, iovs, offset + done, req->nowait)
			      : d->ops->writev(d, s->iov, iovs, offset + done, req->nowait,
					       durable);
		unpin_all(s, pins);
		if (ret)
			return nvmed_disk_status(c, ret, !to_host);
		run += pins;
		done += bytes;
	}
	return NVMED_OK;
}
