/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Register tables that a function's description names (struct pcif_bar): made with it, reset with
 * it. What registers are is in regs.c, who looks at those on SHARED pages in scan.c.
 */
#include <errno.h>

#include "priv.h"

static bool inside(const struct pcif_bar *b)
{
	for (unsigned i = 0; i < b->n_regs; i++) {
		const struct pcif_reg *r = &b->regs[i];
		uint64_t n = r->count ? r->count : 1;

		if (r->offset + (n - 1) * r->stride + 4 > b->size)
			return false;
	}
	return true;
}

static bool has_shared(const struct pcif_bar *b)
{
	for (unsigned i = 0; i < b->n_areas; i++)
		if (b->areas[i].policy == PCIF_PAGE_SHARED)
			return true;
	return false;
}

/*
 * Makes the tables of @f, whose state is there, and has them scanned if one lies on SHARED pages
 * (parked). On failure tables_free() is still the caller's to do. -EINVAL: see pcif_regs_new(), or
 * a register past its BAR's end; -ENOMEM; -EAGAIN: no thread.
 */
int tables_new(struct pcif *f, struct pcif_reply_error *err)
{
	bool shared = false;
	int rc;

	for (unsigned i = 0; i < PCIF_NUM_BARS; i++) {
		const struct pcif_bar *b = &f->desc.bars[i];

		if (b->type == PCIF_BAR_NONE || !b->regs)
			continue;
		rc = inside(b)
			     ? pcif_regs_new(f, i, b->regs, b->n_regs,
					     b->regs_state ? b->regs_state : f->state, &f->regs[i])
			     : -EINVAL;
		if (rc)
			return pcif_error(err, rc, "%s: register table of BAR %u: %s", f->name, i,
					  strerror(-rc));
		shared |= has_shared(b);
	}
	if (!shared)
		return 0;
	rc = scan_join(f);
	if (rc)
		return pcif_error(err, rc, "%s: no scan of its pages: %s", f->name, strerror(-rc));
	return 0;
}

/* NULL members are fine; the scanner has stopped and the model's threads have ended. */
void tables_free(struct pcif *f)
{
	for (unsigned i = 0; i < PCIF_NUM_BARS; i++) {
		pcif_regs_free(f->regs[i]);
		f->regs[i] = NULL;
	}
}

/* The model's part of a reset, and around it that of its tables. No lock that a hook takes held. */
void model_reset(struct pcif *f)
{
	scan_park(f, true);
	pcif_lock(f);
	for (unsigned i = 0; i < PCIF_NUM_BARS; i++)
		if (f->regs[i])
			pcif_regs_reset(f->regs[i]);
	pcif_unlock(f);
	if (f->model->reset)
		f->model->reset(f->state);
	scan_park(f, false);
}

struct pcif_regs *pcif_bar_regs(struct pcif *f, unsigned bar)
{
	return bar < PCIF_NUM_BARS ? f->regs[bar] : NULL;
}
