/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The way to the memory of a driver that goes for every frame: mappings that a batch has touched
 * are held (spans), and what is to be moved is noted (jobs) and moved in one go (jobs.c). The rest,
 * and what is not to be had this way, is in queue.c. All under the function's lock.
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

/* For headers and small frames, of which there are many. */
static inline void igb_copy(void *to, const void *from, size_t size)
{
	uint8_t *t = to;
	const uint8_t *f = from;

	if (size > 128 || size < 16) {
		memcpy(to, from, size);
		return;
	}
	/* Pieces of a fixed size, from both ends; they may meet. */
	if (size > 64) {
		memcpy(t, f, 64);
		memcpy(t + size - 64, f + size - 64, 64);
	} else if (size > 32) {
		memcpy(t, f, 32);
		memcpy(t + size - 32, f + size - 32, 32);
	} else {
		memcpy(t, f, 16);
		memcpy(t + size - 16, f + size - 16, 16);
	}
}

static inline struct igb_job *igb_dma_job(struct igb_fn *fn, uint8_t kind)
{
	struct igb_job *j;

	if (fn->n_jobs == IGB_JOBS)
		igb_dma_flush(fn);
	j = &fn->jobs[fn->n_jobs++];
	j->size = j->tail_size = 0;
	j->kind = kind;
	j->desc = NULL;
	return j;
}

static inline uint8_t igb_dma_index(const struct igb_fn *fn, const struct iommu_span *s)
{
	return (uint8_t)(s - fn->spans);
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
	j = igb_dma_job(fn, IGB_JOB_READ);
	j->to = buf;
	j->from = igb_dma_at(s, iova);
	j->size = (uint32_t)size;
	return 0;
}

static inline int igb_dma_write_later(struct igb_fn *fn, uint64_t iova, const void *buf,
				      size_t size)
{
	struct iommu_span *s;
	struct igb_job *j;
	int ret = igb_dma_span(fn, iova, size, IOMMU_WRITE, &s);

	if (ret == -EOPNOTSUPP)
		return igb_dma_write(fn, iova, buf, size);
	if (ret)
		return ret;
	s->n_written += size;
	j = igb_dma_job(fn, IGB_JOB_WRITE);
	j->span = igb_dma_index(fn, s);
	j->to = igb_dma_at(s, iova);
	j->from = buf;
	j->size = (uint32_t)size;
	return 0;
}

struct igb_desc {      /* as it is written back */
	uint64_t iova; /* of it; rings are aligned */
	uint64_t lo, hi;
	bool low; /* @lo is written, too */
};

static inline void igb_dma_set_desc(const struct igb_fn *fn, struct igb_job *j,
				    struct iommu_span *s, const struct igb_desc *d)
{
	s->n_written += 16;
	j->desc_span = igb_dma_index(fn, s);
	j->desc = (uint64_t *)(void *)igb_dma_at(s, d->iova);
	j->lo = d->lo;
	j->hi = d->hi;
	j->low = d->low;
}

static inline int igb_dma_store(struct igb_fn *fn, const struct igb_desc *d)
{
	struct iommu_span *s;
	int ret = igb_dma_span(fn, d->iova, 16, IOMMU_WRITE, &s);

	if (ret == -EOPNOTSUPP)
		return igb_dma_store_now(fn, d);
	if (!ret)
		igb_dma_set_desc(fn, igb_dma_job(fn, IGB_JOB_WRITE), s, d);
	return ret;
}

/* A frame into a buffer, with the descriptor that says so. -EOPNOTSUPP: by pieces. */
static inline int igb_dma_frame(struct igb_fn *fn, uint64_t iova, const struct igb_frame *frame,
				const struct igb_desc *d)
{
	struct iommu_span *ring, *s;
	struct igb_job *j;
	int ret = igb_dma_span(fn, d->iova, 16, IOMMU_WRITE, &ring);

	if (!ret)
		ret = igb_dma_span(fn, iova, frame->len, IOMMU_WRITE, &s);
	if (ret)
		return ret;
	/* The second may have taken the place of the first. */
	if (d->iova < ring->first || d->iova > ring->last)
		return -EOPNOTSUPP;
	s->n_written += frame->len;
	j = igb_dma_job(fn, IGB_JOB_WRITE);
	j->span = igb_dma_index(fn, s);
	j->to = igb_dma_at(s, iova);
	j->from = frame->data;
	j->size = frame->tail ? IGB_HEAD : frame->len;
	j->tail = frame->tail;
	j->tail_size = frame->len - j->size;
	igb_dma_set_desc(fn, j, ring, d);
	return 0;
}

/* The half with the status, of the descriptors from @iova on that have a bit in @bits. */
static inline int igb_dma_report(struct igb_fn *fn, uint64_t iova, uint64_t bits, uint64_t hi)
{
	struct iommu_span *s;
	struct igb_job *j;
	int ret =
		igb_dma_span(fn, iova, 16 * (64 - (size_t)__builtin_clzll(bits)), IOMMU_WRITE, &s);

	if (ret)
		return ret;
	s->n_written += 16 * (uint64_t)__builtin_popcountll(bits);
	j = igb_dma_job(fn, IGB_JOB_DONE);
	j->desc_span = igb_dma_index(fn, s);
	j->desc = (uint64_t *)(void *)igb_dma_at(s, iova);
	j->lo = bits;
	j->hi = hi;
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
