/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What receive and transmit queues have in common: their registers, and the way to the memory of
 * the driver.
 */
#include <errno.h>

#include "device/igb/priv.h"

/* ------------------------------------------------------------------ memory */

struct move {
	const struct iommu_pin *pin;
	uint8_t *buf;
	bool write;
};

static void move_pieces(void *data)
{
	struct move *m = data;
	uint8_t *at = m->buf;

	for (unsigned i = 0; i < m->pin->n_iov; i++) {
		void *base = m->pin->iov[i].iov_base;
		size_t size = m->pin->iov[i].iov_len;

		if (m->write)
			memcpy(base, at, size);
		else
			memcpy(at, base, size);
		at += size;
	}
}

/* A slow function is served by its own thread, which may wait. */
static int dma(struct igb_fn *fn, uint64_t iova, void *buf, size_t size, bool write)
{
	unsigned access = write ? IOMMU_WRITE : IOMMU_READ;
	struct iommu_pin pin;
	struct move m = { &pin, buf, write };
	int ret;

	if (fn->may_wait)
		return write ? pcif_dma_write(fn->f, iova, buf, size)
			     : pcif_dma_read(fn->f, iova, buf, size);
	ret = pcif_dma_pin(fn->f, iova, size, access, &pin);
	if (ret == -EOPNOTSUPP) {
		igb_make_slow(fn);
		return -EAGAIN;
	}
	if (ret)
		return ret;
	ret = guard_call(move_pieces, &m);
	pcif_dma_unpin(&pin);
	return ret;
}

int igb_dma_read(struct igb_fn *fn, uint64_t iova, void *buf, size_t size)
{
	return dma(fn, iova, buf, size, false);
}

int igb_dma_write(struct igb_fn *fn, uint64_t iova, const void *buf, size_t size)
{
	return dma(fn, iova, (void *)buf, size, true);
}

struct word {
	uint64_t *p, value;
};

static void store_word(void *data)
{
	struct word *w = data;

	__atomic_store_n(w->p, htole64(w->value), __ATOMIC_RELEASE);
}

int igb_dma_write64(struct igb_fn *fn, uint64_t iova, uint64_t value)
{
	struct iommu_pin pin;
	struct word w = { .value = value };
	le64 wire = le64_make(value);
	int ret;

	if (fn->may_wait || iova % 8)
		return dma(fn, iova, &wire, sizeof(wire), true);
	ret = pcif_dma_pin(fn->f, iova, sizeof(wire), IOMMU_WRITE, &pin);
	if (ret == -EOPNOTSUPP)
		return dma(fn, iova, &wire, sizeof(wire), true);
	if (ret)
		return ret;
	w.p = pin.iov[0].iov_base;
	ret = guard_call(store_word, &w);
	pcif_dma_unpin(&pin);
	return ret;
}

/* ------------------------------------------------------------------ registers */

/* Of the ring whose low half of the base is register @low; *@entries 0: there is none. */
uint64_t igb_ring(struct igb_fn *fn, unsigned low, unsigned queue, uint32_t *entries)
{
	*entries = (igb_get(fn, low + 2, queue) & 0xfff80) / 16;
	return (uint64_t)igb_get(fn, low + 1, queue) << 32 | igb_get(fn, low, queue);
}

void igb_set_queue_reg(struct igb_fn *fn, unsigned reg, unsigned queue, uint32_t value)
{
	igb_set(fn, reg, queue, value);
	if (!fn->vf && queue < 4)
		igb_set(fn, IGB_R_ALIAS + reg - IGB_R_RDBAL, queue, value);
}

/* The queue is as new: nothing of an earlier ring or packet is left. */
static void tx_reset(struct igb_fn *fn, unsigned queue)
{
	free(fn->tx[queue].packet);
	fn->tx[queue] = (struct igb_txq){ 0 };
	igb_set_queue_reg(fn, IGB_R_TDH, queue, 0);
}

static void rx_reset(struct igb_fn *fn, unsigned queue)
{
	fn->rx[queue].n = 0;
	igb_set_queue_reg(fn, IGB_R_RDH, queue, 0);
}

void igb_queue_reset(struct igb_fn *fn, unsigned queue)
{
	tx_reset(fn, queue);
	rx_reset(fn, queue);
	fn->tx_on[queue] = fn->rx_on[queue] = false;
}

static void queue_changed(struct igb_fn *fn, unsigned queue)
{
	bool tx_on = igb_get(fn, IGB_R_TXDCTL, queue) & IGB_QUEUE_ENABLE;
	bool rx_on = igb_get(fn, IGB_R_RXDCTL, queue) & IGB_QUEUE_ENABLE;

	if (tx_on != fn->tx_on[queue])
		tx_reset(fn, queue);
	if (rx_on != fn->rx_on[queue])
		rx_reset(fn, queue);
	fn->tx_on[queue] = tx_on;
	fn->rx_on[queue] = rx_on;
	if (tx_on)
		fn->tx_pending |= BIT(queue);
	if (!fn->in_worker && tx_on)
		igb_kick(fn);
}

void igb_write_queue(void *state, unsigned index, uint32_t value)
{
	struct igb_fn *fn = state;

	for (unsigned i = 0; !fn->vf && index < 4 && i < IGB_QUEUE_REGS; i++)
		igb_set(fn, IGB_R_ALIAS + i, index, igb_get(fn, IGB_R_RDBAL + i, index));
	queue_changed(fn, index);
}

/* Queues 0 to 3 are at a second place too; what is written there counts. */
void igb_write_alias(void *state, unsigned index, uint32_t value)
{
	struct igb_fn *fn = state;

	for (unsigned i = 0; i < IGB_QUEUE_REGS; i++)
		igb_set(fn, IGB_R_RDBAL + i, index, igb_get(fn, IGB_R_ALIAS + i, index));
	queue_changed(fn, index);
}

/* Takes in the tails that a driver stored by mmap; their hooks do the rest. */
void igb_scan_tails(struct igb_fn *fn)
{
	pcif_regs_scan_array(fn->regs, IGB_R_TDT, 0, fn->n_queues);
	if (!fn->vf)
		pcif_regs_scan_array(fn->regs, IGB_R_ALIAS + IGB_R_TDT - IGB_R_RDBAL, 0, 4);
}
