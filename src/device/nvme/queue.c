/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Queues: doorbells in, commands fetched and given to their handlers, completions posted, host
 * interrupted.
 *
 * A command is only fetched when its completion queue has an entry for it that nobody else is
 * promised, so a full completion queue holds commands back and a completion always has its place.
 * Everything here runs under nvmed_ctrl.lock, save the two functions for trapped doorbells.
 *
 * Follows NVM Express 1.4, sections 3.1.24, 3.1.25, 4.1 and 7.5.
 */
#include <errno.h>

#include "device/nvme/priv.h"

/* ------------------------------------------------------------------ requests */

static struct nvmed_req *req_get(struct nvmed_ctrl *c)
{
	struct nvmed_req *req = c->free_reqs;

	c->free_reqs = req->next;
	c->n_free--;
	req->next = NULL;
	return req;
}

void nvmed_req_free(struct nvmed_req *req)
{
	struct nvmed_ctrl *c = req->ctrl;

	if (req == &c->shutdown_req)
		return;
	req->next = c->free_reqs;
	c->free_reqs = req;
	c->n_free++;
}

void nvmed_req_cancel(struct nvmed_ctrl *c)
{
	struct nvmed_req *list = nvmed_pool_cancel(c), *next;

	for (; list; list = next) {
		next = list->next;
		c->slow_inflight--;
		nvmed_req_free(list);
	}
}

void nvmed_reap(struct nvmed_ctrl *c, bool *any)
{
	struct nvmed_req *list, *next;

	if (!c->slow_inflight)
		return;
	list = nvmed_pool_reap(c);
	*any |= list != NULL;
	for (; list; list = next) {
		next = list->next;
		c->slow_inflight--;
		nvmed_complete(list, list->status);
	}
}

uint16_t nvmed_fail(struct nvmed_req *req, uint16_t status, unsigned byte)
{
	req->location = byte;
	return status | NVMED_STATUS_DNR;
}

/* ------------------------------------------------------------------ open and close */

static void doorbell_clear(struct nvmed_ctrl *c, unsigned i)
{
	atomic_store(&c->db_note[i], 0);
	c->db_seen[i] = 0;
	if (c->image && c->mmio != NVMED_MMIO_TRAP)
		pcif_image_store32(c->image + NVMED_DOORBELLS + 4 * i, 0);
}

static void update_last(struct nvmed_ctrl *c)
{
	c->last_queue = 0;
	for (unsigned i = 1; i <= c->n_queues; i++)
		if (c->sq[i].live || c->cq[i].live)
			c->last_queue = i;
}

void nvmed_queue_open_cq(struct nvmed_ctrl *c, unsigned id, uint64_t base, uint32_t size, bool ien,
			 uint16_t vector)
{
	c->cq[id] = (struct nvmed_cq){
		.live = true,
		.ien = ien,
		.phase = true,
		.id = id,
		.vector = vector,
		.size = size,
		.base = base,
	};
	doorbell_clear(c, 2 * id + 1);
	update_last(c);
}

void nvmed_queue_open_sq(struct nvmed_ctrl *c, unsigned id, uint64_t base, uint32_t size,
			 struct nvmed_cq *cq)
{
	c->sq[id] = (struct nvmed_sq){
		.live = true,
		.id = id,
		.size = size,
		.base = base,
		.cq = cq,
	};
	cq->sqs++;
	doorbell_clear(c, 2 * id);
	update_last(c);
}

void nvmed_queue_close_sq(struct nvmed_ctrl *c, struct nvmed_sq *sq)
{
	sq->live = false;
	sq->cq->sqs--;
	update_last(c);
}

void nvmed_queue_close_cq(struct nvmed_ctrl *c, struct nvmed_cq *cq)
{
	cq->live = false;
	update_last(c);
}

void nvmed_queue_reset(struct nvmed_ctrl *c)
{
	memset(c->sq, 0, sizeof(c->sq));
	memset(c->cq, 0, sizeof(c->cq));
	c->last_queue = 0;
	c->next_sq = 0;
	c->n_aer = 0;
	c->free_reqs = NULL;
	c->n_free = 0;
	for (unsigned i = 0; i < NVMED_REQUESTS; i++) {
		c->reqs[i].ctrl = c;
		nvmed_req_free(&c->reqs[i]);
	}
	for (unsigned i = 0; i < 2 * (c->n_queues + 1); i++)
		doorbell_clear(c, i);
	atomic_store(&c->db_noted, false);
	atomic_store(&c->db_invalid, false);
	c->msi_held = 0;
	if (c->intx)
		pcif_intx_set(c->f, false);
	c->intx = false;
}

/* ------------------------------------------------------------------ doorbells */

void nvmed_doorbell_write(struct nvmed_ctrl *c, uint64_t offset, uint32_t value)
{
	uint64_t i = (offset - NVMED_DOORBELLS) / 4;
	uint8_t *image = c->mmio == NVMED_MMIO_TRAP ? NULL : pcif_bar_image(c->f, 0);

	if (i < 2 * (c->n_queues + 1)) {
		/* In the order in which the client made them: what it stored by mmap before gives
		 * way, what it stores after stays. */
		if (image)
			(void)pcif_image_store32(image + offset, value);
		atomic_store(&c->db_note[i], value | BIT64(32));
	} else {
		atomic_store(&c->db_invalid, true);
	}
	atomic_store(&c->db_noted, true);
	nvmed_kick(c);
}

uint32_t nvmed_doorbell_read(struct nvmed_ctrl *c, uint64_t offset)
{
	/* Vendor specific by 3.1.24; a constant keeps hosts from relying on it. */
	return 0;
}

static uint32_t ring_distance(uint32_t from, uint32_t to, uint32_t size)
{
	return to >= from ? to - from : to + size - from;
}

/* The event sends the host to the error log, so it finds an entry there. */
static void doorbell_error(struct nvmed_ctrl *c, unsigned info)
{
	if (nvmed_event(c, NVMED_EVENT_ERROR, info, NVMED_LOG_ERROR))
		nvmed_log_error(c, NULL,
				info == NVMED_EVENT_INVALID_DOORBELL ? NVMED_INVALID_QUEUE_ID
								     : NVMED_INVALID_FIELD);
}

static void doorbell_sq(struct nvmed_ctrl *c, struct nvmed_sq *sq, uint32_t tail)
{
	if (!sq->live) {
		doorbell_error(c, NVMED_EVENT_INVALID_DOORBELL);
		return;
	}
	/* A tail may only move on: commands once handed over stay so. From a queue whose host has
	 * lost count no further command is taken until it is made anew. */
	if (tail >= sq->size ||
	    ring_distance(sq->head, tail, sq->size) < ring_distance(sq->head, sq->tail, sq->size)) {
		doorbell_error(c, NVMED_EVENT_INVALID_VALUE);
		sq->stopped = true;
		return;
	}
	sq->tail = tail;
}

static void doorbell_cq(struct nvmed_ctrl *c, struct nvmed_cq *cq, uint32_t head)
{
	if (!cq->live) {
		doorbell_error(c, NVMED_EVENT_INVALID_DOORBELL);
		return;
	}
	if (head >= cq->size ||
	    ring_distance(cq->head, head, cq->size) > ring_distance(cq->head, cq->tail, cq->size)) {
		doorbell_error(c, NVMED_EVENT_INVALID_VALUE);
		return;
	}
	cq->head = head;
}

static void doorbell(struct nvmed_ctrl *c, unsigned i, uint32_t value)
{
	if (c->state != NVMED_ENABLED)
		return;
	if (i & 1)
		doorbell_cq(c, &c->cq[i / 2], value);
	else
		doorbell_sq(c, &c->sq[i / 2], value);
}

static bool scan_notes(struct nvmed_ctrl *c)
{
	if (!atomic_load_explicit(&c->db_noted, memory_order_relaxed))
		return false;
	atomic_store(&c->db_noted, false);
	if (atomic_exchange(&c->db_invalid, false) && c->state == NVMED_ENABLED)
		doorbell_error(c, NVMED_EVENT_INVALID_DOORBELL);
	for (unsigned i = 0; i < 2 * (c->n_queues + 1); i++) {
		uint64_t note = atomic_exchange(&c->db_note[i], 0);

		if (!note)
			continue;
		c->db_seen[i] = (uint32_t)note;
		doorbell(c, i, (uint32_t)note);
	}
	return true;
}

struct db_scan {
	const uint32_t *image, *seen;
	unsigned n, n_found;
	uint8_t found[2 * NVMED_MAX_QUEUES];
	uint32_t value[2 * NVMED_MAX_QUEUES];
};

/* Runs guarded, once for all of them: the guard costs more than a look. */
static void db_scan(void *data)
{
	struct db_scan *s = data;

	for (unsigned i = 0; i < s->n; i++) {
		uint32_t value = __atomic_load_n(&s->image[i], __ATOMIC_ACQUIRE);

		if (value == s->seen[i])
			continue;
		s->found[s->n_found] = i;
		s->value[s->n_found++] = value;
	}
}

bool nvmed_doorbell_scan(struct nvmed_ctrl *c, bool all)
{
	struct db_scan s;
	bool work = scan_notes(c);

	if (!c->shared || c->state != NVMED_ENABLED)
		return work;
	s.image = (const uint32_t *)(c->image + NVMED_DOORBELLS);
	s.seen = c->db_seen;
	s.n = 2 * ((all ? c->n_queues : c->last_queue) + 1);
	s.n_found = 0;
	if (guard_call(db_scan, &s))
		return work;
	for (unsigned i = 0; i < s.n_found; i++) {
		c->db_seen[s.found[i]] = s.value[i];
		doorbell(c, s.found[i], s.value[i]);
	}
	return work || s.n_found;
}

struct db_count {
	const struct nvmed_ctrl *c;
	unsigned n;
};

static void db_count(void *data)
{
	struct db_count *d = data;
	const uint32_t *image = (const uint32_t *)(d->c->image + NVMED_DOORBELLS);

	for (unsigned i = 0; i <= d->c->last_queue; i++) {
		const struct nvmed_sq *sq = &d->c->sq[i];
		uint32_t tail = __atomic_load_n(&image[2 * i], __ATOMIC_RELAXED);

		if (sq->live && tail < sq->size)
			d->n += (tail + sq->size - sq->head) % sq->size;
	}
}

unsigned nvmed_doorbell_count(const struct nvmed_ctrl *c)
{
	struct db_count d = { .c = c };

	if (!c->shared || c->state != NVMED_ENABLED || guard_call(db_count, &d))
		return 0;
	return d.n;
}

/* ------------------------------------------------------------------ completions */

struct cqe_store {
	const struct nvmed_cqe *src;
	void *dst;
	unsigned n;
};

/* The half with the phase goes last: a host that sees it must see the rest. */
static void cqe_store(void *data)
{
	struct cqe_store *st = data;
	_Atomic uint64_t *dst = st->dst;

	for (unsigned i = 0; i < st->n; i++) {
		uint64_t half[2];

		memcpy(half, &st->src[i], sizeof(half));
		atomic_store_explicit(&dst[2 * i], half[0], memory_order_relaxed);
		atomic_store_explicit(&dst[2 * i + 1], half[1], memory_order_release);
	}
}

static int cqe_write(struct nvmed_ctrl *c, uint64_t iova, const struct nvmed_cqe *cqe, unsigned n)
{
	struct nvmed_cqe copy[NVMED_BATCH], first;
	struct iommu_pin pin;
	int ret = pcif_dma_pin(c->f, iova, n * sizeof(*cqe), IOMMU_WRITE, &pin);

	if (!ret) {
		struct cqe_store st = { cqe, pin.iov[0].iov_base, n };
		bool plain = pin.n_iov == 1 && !((uintptr_t)st.dst & 7);

		if (plain)
			ret = guard_call(cqe_store, &st);
		pcif_dma_unpin(&pin);
		if (plain)
			return ret;
	} else if (ret == -EFAULT) {
		return ret;
	}
	/*
	 * Two copies, of which the kernel may make the bytes visible in any order: all entries, the
	 * first one with the phase that it has now; then the first one's half with its new phase.
	 * Hosts take entries in order, so they see none before that.
	 */
	first = *cqe;
	first.status.raw ^= htole16(1);
	memcpy(copy, cqe, n * sizeof(*cqe));
	copy[0] = first;
	ret = pcif_dma_write(c->f, iova, copy, n * sizeof(*cqe));
	return ret ? ret : pcif_dma_write(c->f, iova + 8, (const char *)cqe + 8, 8);
}

static void irq_raise(struct nvmed_ctrl *c, struct nvmed_cq *cq)
{
	enum pcif_irq_mode mode = pcif_irq_mode(c->f);

	if (!cq->ien)
		return;
	if (mode == PCIF_IRQ_MSI && (c->intm & BIT(cq->vector & 31)))
		c->msi_held |= BIT(cq->vector & 31);
	else if (mode != PCIF_IRQ_INTX)
		pcif_irq_raise(c->f, cq->vector);
}

static void cq_flush(struct nvmed_ctrl *c, struct nvmed_cq *cq)
{
	unsigned at = 0;

	while (at < cq->n_out && !c->fatal) {
		unsigned n = MIN(cq->n_out - at, cq->size - cq->tail);

		for (unsigned i = at; i < at + n; i++)
			cq->out[i].status = le16_make(le16_get(cq->out[i].status) | cq->phase);
		if (cqe_write(c, cq->base + cq->tail * sizeof(cq->out[0]), &cq->out[at], n)) {
			nvmed_ctrl_fatal(c, "completion queue is not writable");
			break;
		}
		cq->tail += n;
		if (cq->tail == cq->size) {
			cq->tail = 0;
			cq->phase = !cq->phase;
		}
		at += n;
	}
	cq->reserved -= cq->n_out;
	cq->n_out = 0;
	if (at)
		irq_raise(c, cq);
}

bool nvmed_cq_flush_all(struct nvmed_ctrl *c)
{
	bool any = false;

	for (unsigned i = 0; i <= c->last_queue; i++) {
		if (!c->cq[i].n_out)
			continue;
		cq_flush(c, &c->cq[i]);
		any = true;
	}
	return any;
}

bool nvmed_cq_has_room(const struct nvmed_cq *cq)
{
	return ring_distance(cq->head, cq->tail, cq->size) + cq->reserved < cq->size - 1;
}

static unsigned cq_room(const struct nvmed_cq *cq)
{
	unsigned used = ring_distance(cq->head, cq->tail, cq->size) + cq->reserved;

	return used < cq->size - 1 ? cq->size - 1 - used : 0;
}

void nvmed_complete(struct nvmed_req *req, uint16_t status)
{
	struct nvmed_ctrl *c = req->ctrl;
	struct nvmed_sq *sq = req->sq;
	struct nvmed_req *deleter;
	struct nvmed_cq *cq;

	if (!sq) { /* everything is durable: the shutdown is complete */
		c->shutdown_submitted = false;
		if (c->shst == NVMED_CSTS_SHST_BUSY)
			c->shst = NVMED_CSTS_SHST_DONE;
		nvmed_ctrl_publish(c);
		return;
	}
	if (c->state != NVMED_ENABLED || c->fatal) {
		nvmed_req_free(req);
		return;
	}
	cq = sq->cq;
	if (status) {
		status |= NVMED_STATUS_MORE;
		nvmed_log_error(c, req, status);
	}
	cq->out[cq->n_out++] = (struct nvmed_cqe){
		.dw0 = le32_make(req->dw0),
		.sq_head = le16_make(sq->head),
		.sq_id = le16_make(sq->id),
		.cid = req->cmd.cid,
		.status = le16_make(status << 1),
	};
	sq->inflight--;
	deleter = sq->inflight ? NULL : sq->deleter;
	nvmed_req_free(req);
	if (cq->n_out == ARRAY_SIZE(cq->out))
		cq_flush(c, cq);
	if (deleter) {
		sq->deleter = NULL;
		nvmed_queue_close_sq(c, sq);
		nvmed_complete(deleter, NVMED_OK);
	}
}

/* ------------------------------------------------------------------ interrupts by pin, and masks
 */

void nvmed_irq_update(struct nvmed_ctrl *c)
{
	enum pcif_irq_mode mode = pcif_irq_mode(c->f);
	uint32_t mask = c->intm, go;
	bool level = false;

	if (mode == PCIF_IRQ_INTX || mode == PCIF_IRQ_NONE)
		for (unsigned i = 0; i <= c->last_queue; i++) {
			struct nvmed_cq *cq = &c->cq[i];

			level |= cq->live && cq->ien && cq->head != cq->tail &&
				 !(mask & BIT(cq->vector & 31));
		}
	if (level != c->intx) {
		c->intx = level;
		pcif_intx_set(c->f, level);
	}
	go = c->msi_held & ~mask;
	c->msi_held &= mask;
	for (unsigned v = 0; go && mode == PCIF_IRQ_MSI; v++, go >>= 1)
		if (go & 1)
			pcif_irq_raise(c->f, v);
}

/* ------------------------------------------------------------------ commands */

static bool goes_to_pool(struct nvmed_req *req)
{
	struct nvmed_ctrl *c = req->ctrl;
	uint32_t dw12 = le32_get(req->cmd.cdw12);

	if (!c->disk->slow)
		return false;
	if (req->command->flags & NVMED_CMD_SLOW)
		return true;
	if (!(req->command->flags & NVMED_CMD_DATA))
		return false;
	return ((dw12 & 0xffff) + 1) << c->block_shift > KIB(128) || (dw12 & NVMED_RW_FUA) ||
	       ((req->command->flags & NVMED_CMD_WRITES) && !c->vwc);
}

static uint16_t check_command(struct nvmed_req *req)
{
	uint32_t nsid = le32_get(req->cmd.nsid);
	unsigned flags = req->command->flags;

	if (!req->command->run)
		return nvmed_fail(req, NVMED_INVALID_OPCODE, 0);
	/* Neither fused operations nor scatter gather lists are offered. */
	if (req->cmd.flags & (NVMED_SQE_FUSE | NVMED_SQE_PSDT))
		return nvmed_fail(req, NVMED_INVALID_FIELD, 1);
	if ((flags & NVMED_CMD_NS) && nsid != 1 &&
	    !((flags & NVMED_CMD_NS_ALL) && nsid == UINT32_MAX))
		return nvmed_fail(req, NVMED_INVALID_NAMESPACE, offsetof(struct nvmed_sqe, nsid));
	if ((flags & NVMED_CMD_WRITES) && req->ctrl->disk->readonly)
		return nvmed_fail(req, NVMED_NS_WRITE_PROTECTED, 0);
	return NVMED_OK;
}

static void submit(struct nvmed_req *req)
{
	req->ctrl->slow_inflight++;
	nvmed_pool_submit(req->ctrl, req);
}

static void dispatch(struct nvmed_req *req)
{
	struct nvmed_ctrl *c = req->ctrl;
	uint16_t status;

	req->command = req->sq->id ? &nvmed_io_commands[req->cmd.opcode]
				   : &nvmed_admin_commands[req->cmd.opcode];
	req->location = 0xffff;
	req->dw0 = 0;
	req->page_shift = c->page_shift;
	req->nowait = c->disk->slow;
	status = check_command(req);
	if (!status) {
		if (goes_to_pool(req)) {
			submit(req);
			return;
		}
		status = req->command->run(req, &c->scratch);
	}
	if (status == NVMED_RETRY_SLOW)
		submit(req);
	else if (status != NVMED_PENDING)
		nvmed_complete(req, status);
}

/* Of an I/O command, between the host and the namespace. */
static uint64_t data_bytes(const struct nvmed_req *req)
{
	if (!(nvmed_io_commands[req->cmd.opcode].flags & NVMED_CMD_LBA))
		return 0;
	return ((uint64_t)(le32_get(req->cmd.cdw12) & 0xffff) + 1) << req->ctrl->block_shift;
}

static bool sq_run(struct nvmed_ctrl *c, struct nvmed_sq *sq)
{
	struct nvmed_sqe batch[NVMED_BATCH];
	unsigned kept = sq->id ? NVMED_ADMIN_REQUESTS : 0;
	unsigned n;

	if (!sq->live || sq->head == sq->tail || sq->deleter || sq->stopped)
		return false;
	n = MIN(ring_distance(sq->head, sq->tail, sq->size), sq->size - sq->head);
	n = MIN(n, cq_room(sq->cq));
	n = MIN(n, c->n_free > kept ? c->n_free - kept : 0);
	n = MIN(n, sq->inflight < NVMED_SQ_INFLIGHT ? NVMED_SQ_INFLIGHT - sq->inflight : 0);
	n = MIN(n, NVMED_BATCH);
	if (n && sq->id)
		n = nvmed_limit_allows(c, n);
	if (!n)
		return false;
	if (pcif_dma_read(c->f, sq->base + sq->head * sizeof(batch[0]), batch,
			  n * sizeof(batch[0]))) {
		nvmed_ctrl_fatal(c, "submission queue is not readable");
		return true;
	}
	for (unsigned i = 0; i < n; i++) {
		struct nvmed_req *req;

		/* What it cost is known by now: those behind it may have to wait. */
		if (i && sq->id && !nvmed_limit_allows(c, 1))
			break;
		req = req_get(c);
		sq->cq->reserved++;
		sq->inflight++;
		c->n_io += sq->id != 0;
		req->sq = sq;
		req->cmd = batch[i];
		if (++sq->head == sq->size)
			sq->head = 0;
		if (sq->id)
			nvmed_limit_spend(c, data_bytes(req));
		dispatch(req);
	}
	return true;
}

bool nvmed_queue_run(struct nvmed_ctrl *c)
{
	unsigned n = c->last_queue + 1;
	bool any = false;

	if (c->shst)
		return false;
	c->limit.resume_ns = 0;
	for (unsigned i = 0; i < n && !c->fatal; i++)
		any |= sq_run(c, &c->sq[(c->next_sq + i) % n]);
	c->next_sq = (c->next_sq + 1) % n;
	return any;
}
