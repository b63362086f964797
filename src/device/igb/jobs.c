/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a batch has to move, moved in one go: in order, in one guarded call, but where a page of a
 * driver's is gone: the rest goes on.
 *
 * A descriptor is stored after the memory that it tells of. Those that share a line of the cache
 * are stored one after the other, because a driver that waits for the first takes the line away.
 */
#include "device/igb/dma.h"

/* Looked at after a jump out of the guarded call, too. */
struct run {
	struct igb_job *volatile job;  /* whose memory is moved next */
	struct igb_job *volatile desc; /* whose descriptor is stored next; up to @job */
	struct igb_job *end;
	volatile bool storing;
};

static void store_desc(const struct igb_job *j)
{
	if (j->low)
		__atomic_store_n(&j->desc[0], htole64(j->lo), __ATOMIC_RELAXED);
	__atomic_store_n(&j->desc[1], htole64(j->hi), __ATOMIC_RELEASE);
}

static void store_done(const struct igb_job *j)
{
	for (uint64_t bits = j->lo; bits; bits &= bits - 1)
		__atomic_store_n(&j->desc[2 * __builtin_ctzll(bits) + 1], htole64(j->hi),
				 __ATOMIC_RELEASE);
}

static void move(const struct igb_job *j)
{
	if (j->kind == IGB_JOB_DONE)
		store_done(j);
	if (j->size)
		igb_copy(j->to, j->from, j->size);
	if (j->tail_size)
		memcpy((uint8_t *)j->to + j->size, j->tail, j->tail_size);
}

static bool line_ends(const struct igb_job *j)
{
	return j->desc && ((uintptr_t)j->desc & 63) == 48;
}

static void run_jobs(void *data)
{
	struct run *r = data;

	for (;;) {
		struct igb_job *j = r->job;

		if (j == r->end || r->storing) {
			r->storing = true;
			for (; r->desc < j; r->desc++)
				if (r->desc->desc && r->desc->kind != IGB_JOB_DONE)
					store_desc(r->desc);
			r->storing = false;
		}
		if (j == r->end)
			return;
		move(j);
		r->job = j + 1;
		r->storing = line_ends(j);
	}
}

static void clear(void *data)
{
	const struct igb_job *j = data;

	if (j->kind == IGB_JOB_READ)
		memset(j->to, 0, j->size);
	else if (j->tail_size)
		memset((uint8_t *)j->to + j->size, 0, j->tail_size);
}

/* Past what cannot be done. What was in the buffer before is somebody else's, or another frame's.
 */
static void skip(struct run *r)
{
	if (r->storing) {
		r->desc++;
		return;
	}
	(void)guard_call(clear, r->job);
	r->job++;
}

static void mark(struct igb_fn *fn, unsigned span, const void *at, uint64_t size)
{
	struct iommu_span *s = &fn->spans[span];

	if (size && iommu_span_logged(s))
		iommu_span_mark(s, s->first + (uint64_t)((const uint8_t *)at - s->host), size);
}

/* The dirty log is told after the data is there. */
static void log_jobs(struct igb_fn *fn)
{
	for (unsigned i = 0; i < fn->n_jobs; i++) {
		const struct igb_job *j = &fn->jobs[i];
		uint64_t descs = 1;

		if (j->kind == IGB_JOB_DONE)
			descs = 64 - (uint64_t)__builtin_clzll(j->lo);
		else if (j->kind == IGB_JOB_WRITE)
			mark(fn, j->span, j->to, (uint64_t)j->size + j->tail_size);
		if (j->desc)
			mark(fn, j->desc_span, j->desc, 16 * descs);
	}
}

void igb_dma_flush(struct igb_fn *fn)
{
	struct run r = { .job = fn->jobs, .desc = fn->jobs, .end = fn->jobs + fn->n_jobs };
	bool logged = false;

	if (!fn->n_jobs)
		return;
	while (guard_call(run_jobs, &r))
		skip(&r);
	for (unsigned i = 0; i < fn->n_spans; i++)
		logged |= iommu_span_logged(&fn->spans[i]);
	if (logged)
		log_jobs(fn);
	fn->n_jobs = 0;
}
