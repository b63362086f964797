/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A small NVMe driver for tests: a machine with one nvme function, an address space over a buffer,
 * and the host's side of queues. Commands are waited for; how long that may take is a safety net,
 * not a part of any test.
 *
 * A manual controller has no threads: client_pump() runs the worker's steps.
 */
#ifndef UVFIO_TESTS_NVME_CLIENT_H
#define UVFIO_TESTS_NVME_CLIENT_H

#include <sched.h>
#include <sys/mman.h>

#include "device/nvme/priv.h"

#define RAM_SIZE MIB(16)
#define RAM_IOVA 0x10000000ull
#define QUEUE_AREA MIB(4) /* queues live below, data above */

struct client_queue {
	uint64_t sq, cq; /* IOVA */
	uint32_t size, cq_size;
	uint32_t tail, head;
	bool phase;
	uint16_t cid;
};

struct client {
	struct pcim *m;
	struct pcif *f;
	struct nvmed_ctrl *ctrl;
	struct nvmed_ctrl *c; /* the same, manual only */
	struct pcif_params *params;
	struct iommu_space *space;
	struct iommu_mem *mem;
	uint8_t *ram;	 /* the client's own mapping */
	uint8_t *device; /* where the device's accesses end */
	int ram_fd;
	uint32_t *bar; /* the client's mapping of BAR 0, or NULL: trapped */
	struct client_queue q[NVMED_MAX_QUEUES];
	_Atomic unsigned irqs[NVMED_MAX_QUEUES];
	_Atomic unsigned pins; /* rising edges of INTx */
};

static struct nvmed_ctrl *client_last; /* made by the last create */
static bool client_manual;	       /* how the next one is made, and where */
static struct pci_bdf client_bdf = { 0, 0x65, 0, 0 };
/* The next client's memory is anonymous: the device reaches it through the kernel, by copying. */
static bool client_anonymous;

static int client_create(struct pcif *f, const struct pcif_params *params, struct pcif_desc *desc,
			 void **state, struct pcif_reply_error *err)
{
	int ret = nvmed_create(f, params, desc, client_manual, &client_last, err);

	if (!ret)
		*state = client_last;
	return ret;
}

static inline void client_on_message(void *data, unsigned vector)
{
	struct client *cl = data;

	if (vector < NVMED_MAX_QUEUES)
		cl->irqs[vector]++;
}

static inline void client_on_intx(void *data)
{
	((struct client *)data)->pins++;
}

static inline void client_irq_some(struct client *cl, enum pcif_irq_mode mode, unsigned vectors)
{
	struct pcif_irq_sink sink = { client_on_message, client_on_intx, cl };

	pcif_irq_connect(cl->f, mode, vectors, mode == PCIF_IRQ_NONE ? NULL : &sink);
}

static inline void client_irq(struct client *cl, enum pcif_irq_mode mode)
{
	client_irq_some(cl, mode, NVMED_MAX_QUEUES);
}

static inline void client_ram(struct client *cl)
{
	int prot = PROT_READ | PROT_WRITE;

	if (client_anonymous) {
		cl->ram = mmap(NULL, RAM_SIZE, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		cl->device = cl->ram;
		if (iommu_mem_process(getpid(), &cl->mem))
			abort();
		return;
	}
	cl->ram_fd = memfd_create("ram", MFD_CLOEXEC);
	if (ftruncate(cl->ram_fd, RAM_SIZE))
		abort();
	cl->ram = mmap(NULL, RAM_SIZE, prot, MAP_SHARED, cl->ram_fd, 0);
	cl->device = mmap(NULL, RAM_SIZE, prot, MAP_SHARED, cl->ram_fd, 0);
	iommu_mem_buffer(cl->device, RAM_SIZE, &cl->mem);
}

/* @options: "key=value,key=value". NULL on failure, the reason in @err. */
static inline struct client *client_new(const char *options, bool manual,
					struct pcif_reply_error *err)
{
	static struct pcif_model model;
	struct pci_bdf bdf = client_bdf;
	struct client *cl = calloc(1, sizeof(*cl));
	char *copy = strdup(options), *save = NULL;

	cl->ram_fd = -1;
	model = device_nvme;
	model.create = client_create;
	client_manual = manual;
	pcim_params_new(&cl->params);
	for (char *p = strtok_r(copy, ",", &save); p; p = strtok_r(NULL, ",", &save)) {
		char *eq = strchr(p, '=');

		*eq = 0;
		pcim_params_set(cl->params, p, eq + 1);
	}
	free(copy);
	pcim_new(&cl->m);
	if (pcim_add(cl->m, bdf, &model, cl->params, err) || pcim_enumerate(cl->m)) {
		pcim_free(cl->m);
		pcim_params_free(cl->params);
		free(cl);
		return NULL;
	}
	cl->f = pcim_find(cl->m, bdf);
	cl->ctrl = client_last;
	cl->c = manual ? client_last : NULL;
	client_ram(cl);
	iommu_space_new(&cl->space);
	if (iommu_space_map(cl->space, RAM_IOVA, RAM_SIZE, IOMMU_READ | IOMMU_WRITE, cl->mem,
			    (uintptr_t)cl->device))
		abort();
	iommu_port_attach(pcif_iommu_port(cl->f), cl->space);
	pcif_config_write(cl->f, 4, 2, 6);
	client_irq(cl, PCIF_IRQ_MSIX);
	return cl;
}

static inline void client_free(struct client *cl)
{
	if (cl->bar) {
		pcif_set_shared(cl->f, false);
		munmap(cl->bar, KIB(16));
	}
	pcif_irq_connect(cl->f, PCIF_IRQ_NONE, 0, NULL);
	iommu_port_attach(pcif_iommu_port(cl->f), NULL);
	iommu_space_put(cl->space);
	iommu_mem_put(cl->mem);
	pcim_free(cl->m);
	pcim_params_free(cl->params);
	munmap(cl->ram, RAM_SIZE);
	if (cl->ram_fd >= 0) {
		munmap(cl->device, RAM_SIZE);
		close(cl->ram_fd);
	}
	free(cl);
}

/* From here on by loads and stores, where the function lets us. */
static inline void client_map_bar(struct client *cl)
{
	uint64_t offset;
	int fd = pcif_bar_memfd(cl->f, 0, &offset);

	if (fd < 0) /* mmio=trap */
		return;
	cl->bar = mmap(NULL, KIB(16), PROT_READ | PROT_WRITE, MAP_SHARED, fd, offset);
	pcif_set_shared(cl->f, true);
}

static inline bool client_by_mmap(struct client *cl, uint32_t offset)
{
	return cl->bar && pcif_bar_policy(cl->f, 0, offset) == PCIF_PAGE_SHARED;
}

static inline uint32_t client_read32(struct client *cl, uint32_t offset)
{
	uint32_t v = 0;

	if (client_by_mmap(cl, offset))
		return __atomic_load_n(&cl->bar[offset / 4], __ATOMIC_ACQUIRE);
	pcif_bar_read(cl->f, 0, offset, &v, 4, true);
	return v;
}

static inline void client_write32(struct client *cl, uint32_t offset, uint32_t v)
{
	if (client_by_mmap(cl, offset))
		__atomic_store_n(&cl->bar[offset / 4], v, __ATOMIC_RELEASE);
	else
		pcif_bar_write(cl->f, 0, offset, &v, 4, true);
}

static inline void client_write64(struct client *cl, uint32_t offset, uint64_t v)
{
	client_write32(cl, offset, (uint32_t)v);
	client_write32(cl, offset + 4, v >> 32);
}

/* Lets a manual controller work until there is nothing left; else lets others run. */
static inline void client_pump(struct client *cl)
{
	if (!cl->c) {
		sched_yield();
		return;
	}
	nvmed_pause(cl->c);
	for (unsigned i = 0; i < 10000 && nvmed_step(cl->c, true); i++)
		;
	nvmed_resume(cl->c);
}

static inline bool client_wait_csts(struct client *cl, uint32_t mask, uint32_t value)
{
	uint64_t end = time_mono_ns() + (cl->c ? 0 : 30000000000ull);

	do {
		client_pump(cl);
		if ((client_read32(cl, NVMED_REG_CSTS) & mask) == value)
			return true;
	} while (time_mono_ns() < end);
	return false;
}

static inline uint64_t client_iova(struct client *cl, void *p)
{
	return RAM_IOVA + ((uint8_t *)p - cl->ram);
}

static inline void *client_ptr(struct client *cl, uint64_t iova)
{
	return cl->ram + (iova - RAM_IOVA);
}

static inline void client_queue_init(struct client *cl, unsigned id, uint32_t size)
{
	struct client_queue *q = &cl->q[id];
	uint64_t slot = RAM_IOVA + id * 2 * KIB(24);

	memset(q, 0, sizeof(*q));
	q->sq = slot;
	q->cq = slot + KIB(24);
	if (size > 256) { /* big ones at the end of the area, one at a time */
		q->sq = RAM_IOVA + QUEUE_AREA - KIB(128);
		q->cq = q->sq + KIB(64);
	}
	q->size = q->cq_size = size;
	q->phase = true;
	memset(client_ptr(cl, q->cq), 0, size * sizeof(struct nvmed_cqe));
}

static inline bool client_enable(struct client *cl, uint32_t entries)
{
	client_queue_init(cl, 0, entries);
	client_write32(cl, NVMED_REG_AQA, (entries - 1) << 16 | (entries - 1));
	client_write64(cl, NVMED_REG_ASQ, cl->q[0].sq);
	client_write64(cl, NVMED_REG_ACQ, cl->q[0].cq);
	client_write32(cl, NVMED_REG_CC, 6 << 16 | 4 << 20 | NVMED_CC_EN);
	return client_wait_csts(cl, NVMED_CSTS_RDY | NVMED_CSTS_CFS, NVMED_CSTS_RDY);
}

static inline bool client_disable(struct client *cl)
{
	client_write32(cl, NVMED_REG_CC, 6 << 16 | 4 << 20);
	return client_wait_csts(cl, NVMED_CSTS_RDY, 0);
}

/* Puts a command into the queue, without ringing. Returns its identifier. */
static inline uint16_t client_queue_cmd(struct client *cl, unsigned id, struct nvmed_sqe cmd)
{
	struct client_queue *q = &cl->q[id];
	struct nvmed_sqe *ring = client_ptr(cl, q->sq);

	cmd.cid = le16_make(q->cid);
	ring[q->tail] = cmd;
	q->tail = (q->tail + 1) % q->size;
	return q->cid++;
}

static inline void client_ring(struct client *cl, unsigned id)
{
	client_write32(cl, NVMED_DOORBELLS + 8 * id, cl->q[id].tail);
}

/* Takes the next completion if there is one; without telling the device. */
static inline bool client_poll(struct client *cl, unsigned id, struct nvmed_cqe *cqe)
{
	struct client_queue *q = &cl->q[id];
	struct nvmed_cqe *at = (struct nvmed_cqe *)client_ptr(cl, q->cq) + q->head;
	uint16_t status = __atomic_load_n(&at->status.raw, __ATOMIC_ACQUIRE);

	if ((le16toh(status) & 1) != q->phase)
		return false;
	*cqe = *at;
	if (++q->head == q->cq_size) {
		q->head = 0;
		q->phase = !q->phase;
	}
	return true;
}

static inline void client_ack(struct client *cl, unsigned id)
{
	client_write32(cl, NVMED_DOORBELLS + 8 * id + 4, cl->q[id].head);
}

static inline bool client_wait(struct client *cl, unsigned id, struct nvmed_cqe *cqe)
{
	uint64_t end = time_mono_ns() + (cl->c ? 0 : 30000000000ull);

	do {
		client_pump(cl);
		if (client_poll(cl, id, cqe)) {
			client_ack(cl, id);
			return true;
		}
	} while (time_mono_ns() < end);
	return false;
}

/* One command there and back: status without the More bit; FFFFh if it never came. */
static inline uint16_t client_do(struct client *cl, unsigned id, struct nvmed_sqe cmd,
				 uint32_t *dw0)
{
	uint16_t cid = client_queue_cmd(cl, id, cmd);
	struct nvmed_cqe cqe;

	client_ring(cl, id);
	if (!client_wait(cl, id, &cqe) || le16_get(cqe.cid) != cid)
		return 0xffff;
	if (dw0)
		*dw0 = le32_get(cqe.dw0);
	return le16_get(cqe.status) >> 1 & ~NVMED_STATUS_MORE;
}

static inline uint16_t client_create_queue(struct client *cl, unsigned id, uint32_t size)
{
	struct nvmed_sqe cmd = { .opcode = NVMED_ADMIN_CREATE_CQ };
	uint16_t status;

	client_queue_init(cl, id, size);
	cmd.prp1 = le64_make(cl->q[id].cq);
	cmd.cdw10 = le32_make(id | (size - 1) << 16);
	cmd.cdw11 = le32_make(id << 16 | 3);
	status = client_do(cl, 0, cmd, NULL);
	if (status)
		return status;
	cmd.opcode = NVMED_ADMIN_CREATE_SQ;
	cmd.prp1 = le64_make(cl->q[id].sq);
	cmd.cdw11 = le32_make(id << 16 | 1);
	return client_do(cl, 0, cmd, NULL);
}

/*
 * A driver of VF @index of @pf's controller, with memory of its own, enabled, with I/O queue 1 of
 * @entries. NULL: there is no such VF, or it does not work.
 */
static inline struct client *client_vf(struct client *pf, unsigned index, uint32_t entries)
{
	struct pcif *f = pcim_vf(pf->f, index);
	struct client *cl = f ? calloc(1, sizeof(*cl)) : NULL;

	if (!cl)
		return NULL;
	cl->ram_fd = -1;
	cl->m = pf->m;
	cl->f = f;
	cl->ctrl = pcif_state(f);
	cl->c = pf->c ? cl->ctrl : NULL;
	client_ram(cl);
	if (iommu_space_new(&cl->space) ||
	    iommu_space_map(cl->space, RAM_IOVA, RAM_SIZE, IOMMU_READ | IOMMU_WRITE, cl->mem,
			    (uintptr_t)cl->device))
		abort();
	iommu_port_attach(pcif_iommu_port(f), cl->space);
	pcif_config_write(f, 4, 2, 6);
	client_irq(cl, PCIF_IRQ_MSIX);
	if (!client_enable(cl, 32) || client_create_queue(cl, 1, entries))
		return NULL;
	return cl;
}

static inline void client_vf_free(struct client *cl)
{
	if (cl->bar) {
		pcif_set_shared(cl->f, false);
		munmap(cl->bar, KIB(16));
	}
	pcif_irq_connect(cl->f, PCIF_IRQ_NONE, 0, NULL);
	iommu_port_attach(pcif_iommu_port(cl->f), NULL);
	iommu_space_put(cl->space);
	iommu_mem_put(cl->mem);
	pcif_put(cl->f);
	munmap(cl->ram, RAM_SIZE);
	if (cl->ram_fd >= 0) {
		munmap(cl->device, RAM_SIZE);
		close(cl->ram_fd);
	}
	free(cl);
}

#endif
