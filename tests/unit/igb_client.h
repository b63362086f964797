/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Small drivers of the 82576 for tests: a machine with one card, and for its PF and each VF an
 * address space over a buffer of its own, rings and buffers. The card is manual: card_pump() runs
 * the worker's steps.
 */
#ifndef UVFIO_TESTS_IGB_CLIENT_H
#define UVFIO_TESTS_IGB_CLIENT_H

#include <errno.h>
#include <sys/mman.h>

#include "device/igb/priv.h"

static inline void must(bool ok)
{
	if (!ok)
		abort();
}

#define NIC_RAM MIB(2)
#define NIC_IOVA 0x10000000ull
#define TX_RING 0x0
#define RX_RING 0x10000
#define TX_BUFS 0x20000
#define RX_BUFS 0x100000
#define RING 64u
#define BUF 2048u

struct nic {
	struct pcif *f;
	struct igb_fn *fn;
	struct iommu_space *space;
	struct iommu_mem *mem;
	uint8_t *ram;	 /* the driver's own mapping */
	uint8_t *device; /* where the card's accesses end; NULL: it reaches @ram through the kernel
			  */
	bool vf;
	uint32_t rx_base, tx_base; /* registers of queue 0 */
	uint32_t tx_tail, rx_next, rx_tail;
	unsigned irqs[25], pins;
	uint8_t mac[6];
};

struct card {
	struct pcim *m;
	struct igb_card *card;
	struct pcif_params *params;
	struct nic pf, vfs[IGB_VFS];
	unsigned n_vfs;
};

static struct igb_card *card_last;
static bool card_threads; /* the next card is not manual */

static int card_create(struct pcif *f, const struct pcif_params *params, struct pcif_desc *desc,
		       void **state, struct pcif_reply_error *err)
{
	int ret = igb_create(f, params, desc, !card_threads, &card_last, err);

	if (!ret)
		*state = card_last->pf;
	return ret;
}

static inline uint32_t reg_read(struct nic *n, uint32_t offset)
{
	uint32_t v = 0;

	must((pcif_bar_read(n->f, 0, offset, &v, 4, true)) == (0));
	return v;
}

static inline void reg_write(struct nic *n, uint32_t offset, uint32_t v)
{
	must((pcif_bar_write(n->f, 0, offset, &v, 4, true)) == (0));
}

static inline void card_pump(struct card *c)
{
	uint64_t resume;
	unsigned i = 0;

	while (igb_step(&c->card->worker, true, &resume))
		must(i++ < 10000);
}

static inline void nic_on_message(void *data, unsigned vector)
{
	((struct nic *)data)->irqs[vector]++;
}

static inline void nic_on_pin(void *data)
{
	((struct nic *)data)->pins++;
}

static inline void nic_irq(struct nic *n, enum pcif_irq_mode mode)
{
	struct pcif_irq_sink sink = { nic_on_message, nic_on_pin, n };

	pcif_irq_connect(n->f, mode, n->vf ? IGB_VF_VECTORS : IGB_VECTORS,
			 mode == PCIF_IRQ_NONE ? NULL : &sink);
}

static inline void nic_open(struct nic *n, struct pcif *f, bool vf)
{
	int ram;

	*n = (struct nic){ .f = f, .fn = pcif_state(f), .vf = vf };
	n->rx_base = vf ? 0x2800 : 0xc000;
	n->tx_base = vf ? 0x3800 : 0xe000;
	ram = memfd_create("ram", MFD_CLOEXEC);
	must(!ftruncate(ram, NIC_RAM));
	n->ram = mmap(NULL, NIC_RAM, PROT_READ | PROT_WRITE, MAP_SHARED, ram, 0);
	n->device = mmap(NULL, NIC_RAM, PROT_READ | PROT_WRITE, MAP_SHARED, ram, 0);
	close(ram);
	must(iommu_mem_buffer(n->device, NIC_RAM, &n->mem) == 0);
	must(iommu_space_new(&n->space) == 0);
	must(iommu_space_map(n->space, NIC_IOVA, NIC_RAM, IOMMU_READ | IOMMU_WRITE, n->mem,
			     (uintptr_t)n->device) == 0);
	iommu_port_attach(pcif_iommu_port(f), n->space);
	pcif_config_write(f, 4, 2, 6);
	nic_irq(n, PCIF_IRQ_MSIX);
}

/* From here on the device reaches the memory through the kernel, and may have to wait for it. */
static inline void nic_memory_of_process(struct nic *n)
{
	uint64_t removed;

	must(iommu_space_unmap(n->space, IOMMU_UNMAP_ALL, 0, 0, &removed) == 0);
	iommu_mem_put(n->mem);
	munmap(n->device, NIC_RAM);
	munmap(n->ram, NIC_RAM);
	n->device = NULL;
	n->ram = mmap(NULL, NIC_RAM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(iommu_mem_process(getpid(), &n->mem) == 0);
	must(iommu_space_map(n->space, NIC_IOVA, NIC_RAM, IOMMU_READ | IOMMU_WRITE, n->mem,
			     (uintptr_t)n->ram) == 0);
}

static inline void nic_close(struct nic *n)
{
	nic_irq(n, PCIF_IRQ_NONE);
	iommu_port_attach(pcif_iommu_port(n->f), NULL);
	iommu_space_put(n->space);
	iommu_mem_put(n->mem);
	munmap(n->ram, NIC_RAM);
	if (n->device)
		munmap(n->device, NIC_RAM);
}

static inline struct card *card_new(const char *options, unsigned vfs)
{
	static struct pcif_model model;
	struct pci_bdf bdf = { 0, 0x65, 0, 0 };
	struct pcif_reply_error err = { "" };
	struct card *c = calloc(1, sizeof(*c));
	char *copy = strdup(options), *save = NULL;

	model = device_igb;
	model.create = card_create;
	pcim_params_new(&c->params);
	for (char *p = strtok_r(copy, ",", &save); p; p = strtok_r(NULL, ",", &save)) {
		char *eq = strchr(p, '=');

		*eq = 0;
		pcim_params_set(c->params, p, eq + 1);
	}
	free(copy);
	pcim_new(&c->m);
	if (pcim_add(c->m, bdf, &model, c->params, &err) || pcim_enumerate(c->m))
		fprintf(stderr, "%s: %s\n", options, err.text), abort();
	c->card = card_last;
	nic_open(&c->pf, pcim_find(c->m, bdf), false);
	c->n_vfs = vfs;
	if (vfs)
		must((pcim_sriov_enable(c->pf.f, vfs)) == (0));
	for (unsigned i = 0; i < vfs; i++) {
		nic_open(&c->vfs[i], pcim_vf(c->pf.f, i), true);
		pcif_put(c->vfs[i].f);
	}
	return c;
}

static inline void card_free(struct card *c)
{
	for (unsigned i = 0; i < c->n_vfs; i++)
		nic_close(&c->vfs[i]);
	nic_close(&c->pf);
	if (c->n_vfs)
		pcim_sriov_disable(c->pf.f);
	pcim_free(c->m);
	pcim_params_free(c->params);
	free(c);
}

/* ------------------------------------------------------------------ queue 0 */

static inline struct igb_rx_desc *rx_ring(struct nic *n)
{
	return (struct igb_rx_desc *)(n->ram + RX_RING);
}

static inline struct igb_tx_desc *tx_ring(struct nic *n)
{
	return (struct igb_tx_desc *)(n->ram + TX_RING);
}

static inline void rx_fill(struct nic *n, unsigned i)
{
	rx_ring(n)[i] = (struct igb_rx_desc){
		.lo = le64_make(NIC_IOVA + RX_BUFS + (uint64_t)i * BUF),
		.hi = le64_make(0),
	};
}

static inline void rx_start(struct nic *n, uint32_t srrctl)
{
	for (unsigned i = 0; i < RING; i++)
		rx_fill(n, i);
	reg_write(n, n->rx_base + 0x0, (uint32_t)NIC_IOVA + RX_RING);
	reg_write(n, n->rx_base + 0x4, 0);
	reg_write(n, n->rx_base + 0x8, RING * 16);
	reg_write(n, n->rx_base + 0xc, srrctl);
	reg_write(n, n->rx_base + 0x28, IGB_QUEUE_ENABLE);
	n->rx_next = 0;
	n->rx_tail = RING - 1;
	reg_write(n, n->rx_base + 0x18, n->rx_tail);
}

static inline void tx_start(struct nic *n)
{
	reg_write(n, n->tx_base + 0x0, (uint32_t)NIC_IOVA + TX_RING);
	reg_write(n, n->tx_base + 0x4, 0);
	reg_write(n, n->tx_base + 0x8, RING * 16);
	reg_write(n, n->tx_base + 0x28, IGB_QUEUE_ENABLE);
	reg_write(n, n->tx_base + 0x18, 0);
	n->tx_tail = 0;
}

#define ONE_BUFFER (2u | IGB_DESC_ONE_BUFFER << 25) /* of 2 KiB */

/* PF: receives, sends, link up. VF: says hello to the PF's driver. */
static inline void nic_start(struct nic *n)
{
	if (n->vf) {
		must(n->fn->card->mmio == IGB_MMIO_SHARED || reg_read(n, 0xc40) & IGB_V2P_RSTD);
		reg_write(n, 0x800, IGB_MSG_RESET);
		reg_write(n, 0xc40, IGB_V2P_REQ);
		must((reg_read(n, 0x800)) == (IGB_MSG_RESET | IGB_MSG_ACK));
		must((reg_read(n, 0xc40)) == (IGB_V2P_PFSTS | IGB_V2P_PFACK));
		for (unsigned i = 0; i < 6; i++)
			n->mac[i] = (uint8_t)(reg_read(n, 0x804 + i / 4 * 4) >> 8 * (i % 4));
	} else {
		for (unsigned i = 0; i < 6; i++)
			n->mac[i] = (uint8_t)(reg_read(n, 0x5400 + i / 4 * 4) >> 8 * (i % 4));
		reg_write(n, 0x100, IGB_RCTL_EN | IGB_RCTL_BAM | IGB_RCTL_SECRC);
		reg_write(n, 0x400, IGB_TCTL_EN);
	}
	rx_start(n, ONE_BUFFER);
	tx_start(n);
}

static inline uint64_t tx_buf(struct nic *n, const void *data, uint32_t len)
{
	uint32_t at = TX_BUFS + n->tx_tail * BUF;

	memcpy(n->ram + at, data, len);
	return NIC_IOVA + at;
}

static inline void tx_desc(struct nic *n, uint64_t addr, uint32_t cmd, uint32_t olinfo)
{
	tx_ring(n)[n->tx_tail] =
		(struct igb_tx_desc){ le64_make(addr), le32_make(cmd), le32_make(olinfo) };
	n->tx_tail = (n->tx_tail + 1) % RING;
}

static inline void tx_context(struct nic *n, uint32_t lens, uint32_t type, uint32_t mss)
{
	struct igb_tx_context c = { le32_make(lens), le32_make(0),
				    le32_make(type | IGB_TXD_CONTEXT << 20 | IGB_TXD_DEXT),
				    le32_make(mss) };

	memcpy(&tx_ring(n)[n->tx_tail], &c, sizeof(c));
	n->tx_tail = (n->tx_tail + 1) % RING;
}

#define TX_DATA (IGB_TXD_DATA << 20 | IGB_TXD_DEXT | IGB_TXD_IFCS | IGB_TXD_RS)

static inline void tx_ring_bell(struct nic *n)
{
	reg_write(n, n->tx_base + 0x18, n->tx_tail);
}

/* One frame of one descriptor. */
static inline void nic_send(struct card *c, struct nic *n, const void *data, uint32_t len)
{
	tx_desc(n, tx_buf(n, data, len), TX_DATA | IGB_TXD_EOP | len, len << 14);
	tx_ring_bell(n);
	card_pump(c);
}

/* The next frame; its length, or 0: there is none. @status: of the last descriptor. */
static inline uint32_t nic_receive(struct nic *n, uint8_t *data, uint32_t *status)
{
	uint32_t len = 0, s = 0;

	do {
		uint64_t hi = le64_get(rx_ring(n)[n->rx_next].hi);
		uint32_t size = (uint32_t)(hi >> 32) & 0xffff;

		s = (uint32_t)hi;
		if (!(s & IGB_RXD_DD))
			return 0;
		memcpy(data + len, n->ram + RX_BUFS + n->rx_next * BUF, MIN(size, BUF));
		len += size;
		rx_fill(n, n->rx_next);
		n->rx_next = (n->rx_next + 1) % RING;
		n->rx_tail = (n->rx_tail + 1) % RING;
	} while (!(s & IGB_RXD_EOP));
	reg_write(n, n->rx_base + 0x18, n->rx_tail);
	if (status)
		*status = s;
	return len;
}

/* A frame of @len bytes with something in it. */
static inline void frame_make(uint8_t *data, uint32_t len, const uint8_t *to, const uint8_t *from,
			      uint16_t type)
{
	for (uint32_t i = 0; i < len; i++)
		data[i] = (uint8_t)(i * 7 + 3);
	memcpy(data, to, 6);
	memcpy(data + 6, from, 6);
	data[12] = (uint8_t)(type >> 8);
	data[13] = (uint8_t)type;
}

#endif
