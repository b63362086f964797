/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Admin commands that are about queues, and asynchronous events. All run on the worker.
 *
 * Follows NVM Express 1.4, sections 5.1 to 5.6.
 */
#include "device/nvme/priv.h"

#define DW10 offsetof(struct nvmed_sqe, cdw10)
#define DW11 offsetof(struct nvmed_sqe, cdw11)
#define PRP1 offsetof(struct nvmed_sqe, prp1)

/* What both Create commands ask of the size, the place and the entry size. */
static uint16_t check_create(struct nvmed_req *req, unsigned entry_shift, uint32_t *size)
{
	struct nvmed_ctrl *c = req->ctrl;

	*size = (le32_get(req->cmd.cdw10) >> 16) + 1;
	if (*size < 2 || *size > NVMED_MAX_ENTRIES)
		return nvmed_fail(req, NVMED_INVALID_QUEUE_SIZE, DW10 + 2);
	/* CAP.CQR: queues are physically contiguous. */
	if (!(le32_get(req->cmd.cdw11) & BIT(0)))
		return nvmed_fail(req, NVMED_INVALID_FIELD, DW11);
	if (le64_get(req->cmd.prp1) & (BIT64(c->page_shift) - 1))
		return nvmed_fail(req, NVMED_INVALID_PRP_OFFSET, PRP1);
	return NVMED_OK;
}

static uint32_t read_cc(struct nvmed_ctrl *c)
{
	uint32_t cc;

	pcif_lock(c->f);
	cc = pcif_regs_get(c->regs, NVMED_R_CC, 0);
	pcif_unlock(c->f);
	return cc;
}

static uint16_t create_cq(struct nvmed_req *req, struct nvmed_scratch *s)
{
	struct nvmed_ctrl *c = req->ctrl;
	uint16_t id = le32_get(req->cmd.cdw10) & 0xffff;
	uint32_t dw11 = le32_get(req->cmd.cdw11), size;
	uint16_t vector = dw11 >> 16;
	uint16_t status;

	if (!id || id > c->n_queues || c->cq[id].live)
		return nvmed_fail(req, NVMED_INVALID_QUEUE_ID, DW10);
	status = check_create(req, 4, &size);
	if (status)
		return status;
	if (NVMED_CC_IOCQES(read_cc(c)) != 4)
		return nvmed_fail(req, NVMED_INVALID_QUEUE_SIZE, DW10 + 2);
	/* Of MSI the host may have less than it could; the number stays as long as MSI is on. */
	if (vector >= c->n_vectors ||
	    (pcif_irq_mode(c->f) == PCIF_IRQ_MSI && vector >= pcif_irq_vectors(c->f)))
		return nvmed_fail(req, NVMED_INVALID_VECTOR, DW11 + 2);
	nvmed_queue_open_cq(c, id, le64_get(req->cmd.prp1), size, dw11 & BIT(1), vector);
	return NVMED_OK;
}

static uint16_t create_sq(struct nvmed_req *req, struct nvmed_scratch *s)
{
	struct nvmed_ctrl *c = req->ctrl;
	uint16_t id = le32_get(req->cmd.cdw10) & 0xffff;
	uint16_t cqid = le32_get(req->cmd.cdw11) >> 16;
	uint32_t size;
	uint16_t status;

	if (!id || id > c->n_queues || c->sq[id].live)
		return nvmed_fail(req, NVMED_INVALID_QUEUE_ID, DW10);
	status = check_create(req, 6, &size);
	if (status)
		return status;
	if (NVMED_CC_IOSQES(read_cc(c)) != 6)
		return nvmed_fail(req, NVMED_INVALID_QUEUE_SIZE, DW10 + 2);
	if (!cqid || cqid > c->n_queues)
		return nvmed_fail(req, NVMED_INVALID_QUEUE_ID, DW11 + 2);
	if (!c->cq[cqid].live)
		return nvmed_fail(req, NVMED_CQ_INVALID, DW11 + 2);
	nvmed_queue_open_sq(c, id, le64_get(req->cmd.prp1), size, &c->cq[cqid]);
	return NVMED_OK;
}

static uint16_t delete_sq(struct nvmed_req *req, struct nvmed_scratch *s)
{
	struct nvmed_ctrl *c = req->ctrl;
	uint16_t id = le32_get(req->cmd.cdw10) & 0xffff;
	struct nvmed_sq *sq;

	if (!id || id > c->n_queues || !c->sq[id].live || c->sq[id].deleter)
		return nvmed_fail(req, NVMED_INVALID_QUEUE_ID, DW10);
	sq = &c->sq[id];
	if (sq->inflight) {
		sq->deleter = req;
		return NVMED_PENDING;
	}
	nvmed_queue_close_sq(c, sq);
	return NVMED_OK;
}

static uint16_t delete_cq(struct nvmed_req *req, struct nvmed_scratch *s)
{
	struct nvmed_ctrl *c = req->ctrl;
	uint16_t id = le32_get(req->cmd.cdw10) & 0xffff;

	if (!id || id > c->n_queues || !c->cq[id].live)
		return nvmed_fail(req, NVMED_INVALID_QUEUE_ID, DW10);
	if (c->cq[id].sqs)
		return nvmed_fail(req, NVMED_INVALID_QUEUE_DELETION, DW10);
	/* What its deleted queues completed is still to be posted. */
	nvmed_cq_flush_all(c);
	nvmed_queue_close_cq(c, &c->cq[id]);
	return NVMED_OK;
}

/* Dword 0, bit 0: 0 if the command was aborted. */
static uint16_t admin_abort(struct nvmed_req *req, struct nvmed_scratch *s)
{
	struct nvmed_ctrl *c = req->ctrl;
	uint16_t sqid = le32_get(req->cmd.cdw10) & 0xffff;
	uint16_t cid = le32_get(req->cmd.cdw10) >> 16;
	struct nvmed_req *victim;

	req->dw0 = 1;
	if (sqid > c->n_queues || !c->sq[sqid].live)
		return nvmed_fail(req, NVMED_INVALID_FIELD, DW10);
	victim = nvmed_pool_take(c, &c->sq[sqid], cid);
	if (victim)
		c->slow_inflight--;
	for (unsigned i = 0; !sqid && !victim && i < c->n_aer; i++) {
		if (le16_get(c->aer[i]->cmd.cid) != cid || !nvmed_cq_has_room(&c->cq[0]))
			continue;
		victim = c->aer[i];
		c->aer[i] = c->aer[--c->n_aer];
		c->cq[0].reserved++;
	}
	if (victim) {
		req->dw0 = 0;
		nvmed_complete(victim, NVMED_ABORT_REQUESTED);
	}
	return NVMED_OK;
}

/* ------------------------------------------------------------------ asynchronous events */

static uint16_t async_event(struct nvmed_req *req, struct nvmed_scratch *s)
{
	struct nvmed_ctrl *c = req->ctrl;

	if (c->n_aer == NVMED_MAX_AER)
		return nvmed_fail(req, NVMED_AER_LIMIT, 0);
	c->aer[c->n_aer++] = req;
	/* It may wait for ever; its place in the completion queue is looked for when needed. */
	c->cq[0].reserved--;
	return NVMED_PENDING;
}

bool nvmed_event(struct nvmed_ctrl *c, unsigned type, unsigned info, unsigned log)
{
	for (unsigned i = 0; i < c->n_events; i++)
		if (c->events[i].type == type && c->events[i].info == info)
			return false;
	if (c->n_events < ARRAY_SIZE(c->events))
		c->events[c->n_events++] = (struct nvmed_event){ type, info, log };
	return true;
}

/* The host has read the log page: the next event of @type is news again. */
void nvmed_event_clear(struct nvmed_ctrl *c, unsigned type)
{
	unsigned kept = 0;

	c->event_masked[type] = false;
	for (unsigned i = 0; i < c->n_events; i++)
		if (c->events[i].type != type)
			c->events[kept++] = c->events[i];
	c->n_events = kept;
}

bool nvmed_event_pump(struct nvmed_ctrl *c)
{
	bool any = false;

	for (unsigned i = 0; i < c->n_events && c->n_aer && nvmed_cq_has_room(&c->cq[0]);) {
		struct nvmed_event ev = c->events[i];
		struct nvmed_req *req;

		if (c->event_masked[ev.type]) {
			i++;
			continue;
		}
		c->n_events--;
		memmove(&c->events[i], &c->events[i + 1], (c->n_events - i) * sizeof(c->events[0]));
		req = c->aer[0];
		c->n_aer--;
		memmove(&c->aer[0], &c->aer[1], c->n_aer * sizeof(c->aer[0]));
		c->event_masked[ev.type] = true;
		c->cq[0].reserved++;
		req->dw0 = ev.type | ev.info << 8 | (uint32_t)ev.log << 16;
		nvmed_complete(req, NVMED_OK);
		any = true;
	}
	return any;
}

const struct nvmed_command nvmed_admin_commands[256] = {
	[NVMED_ADMIN_DELETE_SQ] = { "Delete I/O Submission Queue", delete_sq, 0,
				    NVMED_EFFECT_SUPPORTED },
	[NVMED_ADMIN_CREATE_SQ] = { "Create I/O Submission Queue", create_sq, 0,
				    NVMED_EFFECT_SUPPORTED },
	[NVMED_ADMIN_GET_LOG] = { "Get Log Page", nvmed_get_log, 0, NVMED_EFFECT_SUPPORTED },
	[NVMED_ADMIN_DELETE_CQ] = { "Delete I/O Completion Queue", delete_cq, 0,
				    NVMED_EFFECT_SUPPORTED },
	[NVMED_ADMIN_CREATE_CQ] = { "Create I/O Completion Queue", create_cq, 0,
				    NVMED_EFFECT_SUPPORTED },
	[NVMED_ADMIN_IDENTIFY] = { "Identify", nvmed_identify, 0, NVMED_EFFECT_SUPPORTED },
	[NVMED_ADMIN_ABORT] = { "Abort", admin_abort, 0, NVMED_EFFECT_SUPPORTED },
	[NVMED_ADMIN_SET_FEATURES] = { "Set Features", nvmed_set_features, 0,
				       NVMED_EFFECT_SUPPORTED },
	[NVMED_ADMIN_GET_FEATURES] = { "Get Features", nvmed_get_features, 0,
				       NVMED_EFFECT_SUPPORTED },
	[NVMED_ADMIN_ASYNC_EVENT] = { "Asynchronous Event Request", async_event, 0,
				      NVMED_EFFECT_SUPPORTED },
};
