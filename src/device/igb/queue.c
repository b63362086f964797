/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What receive and transmit queues have in common: their registers, and the way to the memory of
 * the driver.
 */
#include <errno.h>

#include "device/igb/dma.h"

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

/* Memory that lies in several mappings. */
static int dma_pieces(struct igb_fn *fn, uint64_t iova, void *buf, size_t size, bool write)
{
	struct iommu_pin pin;
	struct move m = { &pin, buf, write };
	int ret = pcif_dma_pin(fn->f, iova, size, write ? IOMMU_WRITE : IOMMU_READ, &pin);

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

/* ------------------------------------------------------------------ spans */

int igb_dma_new_span(struct igb_fn *fn, uint64_t iova, size_t size, unsigned access,
		     struct iommu_span **span)
{
	int ret;

	if (fn->n_spans == IGB_SPANS) {
		if (fn->tails)
			return -EOPNOTSUPP;
		igb_dma_flush(fn);
		iommu_span_put(&fn->spans[--fn->n_spans]);
	}
	ret = pcif_dma_span(fn->f, iova, size, access, &fn->spans[fn->n_spans]);
	if (!ret)
		*span = &fn->spans[fn->n_spans++];
	return ret;
}

void igb_dma_done(struct igb_fn *fn)
{
	igb_dma_flush(fn);
	while (fn->n_spans)
		iommu_span_put(&fn->spans[--fn->n_spans]);
}

/* A slow function is served by its own thread, which may wait. */
int igb_dma_read(struct igb_fn *fn, uint64_t iova, void *buf, size_t size)
{
	struct iommu_span *s;
	int ret;

	if (fn->may_wait)
		return pcif_dma_read(fn->f, iova, buf, size);
	ret = igb_dma_span(fn, iova, size, IOMMU_READ, &s);
	if (ret == -EOPNOTSUPP)
		return dma_pieces(fn, iova, buf, size, false);
	if (ret)
		return ret;
	s->n_read += size;
	return guard_copy(buf, s->host + (iova - s->first), size);
}

int igb_dma_write(struct igb_fn *fn, uint64_t iova, const void *buf, size_t size)
{
	struct iommu_span *s;
	int ret;

	if (fn->may_wait)
		return pcif_dma_write(fn->f, iova, buf, size);
	ret = igb_dma_span(fn, iova, size, IOMMU_WRITE, &s);
	if (ret == -EOPNOTSUPP)
		return dma_pieces(fn, iova, (void *)buf, size, true);
	if (ret)
		return ret;
	ret = guard_copy(s->host + (iova - s->first), buf, size);
	iommu_span_wrote(s, iova, size);
	return ret;
}

int igb_dma_store_now(struct igb_fn *fn, const struct igb_desc *d)
{
	le64 wire;
	int ret = 0;

	if (d->low) {
		wire = le64_make(d->lo);
		ret = igb_dma_write(fn, d->iova, &wire, sizeof(wire));
	}
	wire = le64_make(d->hi);
	return ret ? ret : igb_dma_write(fn, d->iova + 8, &wire, sizeof(wire));
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

/* A head after a batch. Drivers store tails to the same cache line all the time, and look at heads
 * hardly ever. */
void igb_set_head(struct igb_fn *fn, unsigned reg, unsigned queue, uint32_t value)
{
	pcif_regs_set_later(fn->regs, reg, queue, value);
	if (!fn->vf && queue < 4)
		pcif_regs_set_later(fn->regs, IGB_R_ALIAS + reg - IGB_R_RDBAL, queue, value);
}

/* The queue is as new: nothing of an earlier ring or packet is left. */
static void tx_reset(struct igb_fn *fn, unsigned queue)
{
	free(fn->tx[queue].packet);
	fn->tx[queue] = (struct igb_txq){ .reset = fn->tx[queue].reset + 1 };
	igb_set_queue_reg(fn, IGB_R_TDH, queue, 0);
}

static void rx_reset(struct igb_fn *fn, unsigned queue)
{
	fn->rx[queue].n = 0;
	fn->rx[queue].head = 0;
	igb_set_queue_reg(fn, IGB_R_RDH, queue, 0);
}

void igb_queue_reset(struct igb_fn *fn, unsigned queue)
{
	tx_reset(fn, queue);
	rx_reset(fn, queue);
	fn->tx_on[queue] = fn->rx_on[queue] = false;
	igb_rx_changed(fn, queue);
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
	igb_rx_changed(fn, queue);
	if (rx_on)
		netup_listen(fn->card->uplink);
	if (tx_on)
		fn->tx_pending |= BIT(queue);
	if (!fn->in_worker && (tx_on || fn->backlog.used))
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

/* Takes in the tails that a driver stored by mmap; their hooks do the rest. True: there were some.
 */
bool igb_scan_tails(struct igb_fn *fn)
{
	unsigned n = pcif_regs_scan_array(fn->regs, IGB_R_TDT, 0, fn->n_queues);

	if (!fn->vf)
		n += pcif_regs_scan_array(fn->regs, IGB_R_ALIAS + IGB_R_TDT - IGB_R_RDBAL, 0, 4);
	return n;
}
