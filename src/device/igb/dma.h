/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The way to the memory of a driver that goes for every frame: mappings that a batch has touched
 * are held (spans), and what is to be moved is noted (jobs) and moved in one go. The rest, and what
 * is not to be had this way, is in queue.c. All under the function's lock.
 */
#ifndef UVFIO_DEVICE_IGB_DMA_H
#define UVFIO_DEVICE_IGB_DMA_H

#include <errno.h>

#include "device/igb/priv.h"

/* Makes a span of what is not in one yet. 0, -EFAULT; -EOPNOTSUPP: it cannot be held. */
int igb_dma_new_span(struct igb_fn *fn, uint64_t iova, size_t size, unsigned access,
		     struct iommu_span **span);

/* The span in which the bytes are, held until the batch is done. */
static inline int igb_dma_span(struct igb_fn *fn, uint64_t iova, size_t size, unsigned access,
			       struct iommu_span **span)
{
	struct iommu_span *s = fn->spans, *end = s + fn->n_spans;

	if (fn->may_wait)
		return -EOPNOTSUPP;
	for (; s < end; s++)
		if (iova >= s->first && iova <= s->last && s->last - iova >= size - 1 &&
		    s->perm & access) {
			*span = s;
			return 0;
		}
	return igb_dma_new_span(fn, iova, size, access, span);
}

static inline uint8_t *igb_dma_at(const struct iommu_span *s, uint64_t iova)
{
	return s->host + (iova - s->first);
}

static inline struct igb_job *igb_dma_job(struct igb_fn *fn, const struct iommu_span *s)
{
	struct igb_job *j;

	if (fn->n_jobs == IGB_JOBS)
		igb_dma_flush(fn);
	j = &fn->jobs[fn->n_jobs++];
	j->span = (uint8_t)(s - fn->spans);
	return j;
}

static inline int igb_dma_read_later(struct igb_fn *fn, uint64_t iova, void *buf, size_t size)
{
	struct iommu_span *s;
	struct igb_job *j;
	int ret = igb_dma_span(fn, iova, size, IOMMU_READ, &s);

	if (ret == -EOPNOTSUPP)
		return igb_dma_read(fn, iova, buf, size);
	if (ret)
		return ret;
	s->n_read += size;
	j = igb_dma_job(fn, s);
	j->to = buf;
	j->from = igb_dma_at(s, iova);
	j->size = (uint32_t)size;
	j->kind = IGB_JOB_READ;
	return 0;
}

/* @kind: IGB_JOB_WRITE, or IGB_JOB_TAIL where @buf is memory of a driver. */
static inline int igb_dma_write_later(struct igb_fn *fn, uint64_t iova, const void *buf,
				      size_t size, uint8_t kind)
{
	struct iommu_span *s;
	struct igb_job *j;
	int ret = igb_dma_span(fn, iova, size, IOMMU_WRITE, &s);

	if (ret == -EOPNOTSUPP)
		return igb_dma_write(fn, iova, buf, size);
	if (ret)
		return ret;
	s->n_written += size;
	j = igb_dma_job(fn, s);
	j->to = igb_dma_at(s, iova);
	j->from = buf;
	j->size = (uint32_t)size;
	j->kind = kind;
	return 0;
}

/* @iova: of the descriptor; rings are aligned. @lo NULL: that half stays. */
static inline int igb_dma_store(struct igb_fn *fn, uint64_t iova, const uint64_t *lo, uint64_t hi)
{
	struct iommu_span *s;
	struct igb_job *j;
	int ret = igb_dma_span(fn, iova, 16, IOMMU_WRITE, &s);

	if (ret == -EOPNOTSUPP)
		return igb_dma_store_now(fn, iova, lo, hi);
	if (ret)
		return ret;
	s->n_written += 16;
	j = igb_dma_job(fn, s);
	j->to = igb_dma_at(s, iova);
	j->lo = lo ? *lo : 0;
	j->hi = hi;
	j->size = 16;
	j->kind = lo ? IGB_JOB_DESC : IGB_JOB_DESC_HIGH;
	return 0;
}

/* Brings the beginning of a buffer that is soon read or written, and that is in the cache of the
 * processor that the driver runs on, while others are worked on. Touches nothing. */
static inline void igb_dma_prefetch(const struct igb_fn *fn, uint64_t iova, bool write)
{
	for (unsigned i = 0; i < fn->n_spans; i++) {
		const struct iommu_span *s = &fn->spans[i];

		if (iova < s->first || iova > s->last)
			continue;
		if (write)
			__builtin_prefetch(igb_dma_at(s, iova), 1);
		else
			__builtin_prefetch(igb_dma_at(s, iova), 0);
		return;
	}
}

#endif
