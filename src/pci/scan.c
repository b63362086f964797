/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Register tables that a function's description names (struct pcif_bar), and the thread that scans
 * those on SHARED pages.
 *
 * A store by mmap cannot be trapped, so somebody must look. While clients can reach SHARED pages,
 * the thread looks without a rest as long as stores come in, then rests longer and longer: soon a
 * millisecond, and four after about a second without a store, which costs some half percent of a
 * core at worst. While no client can reach them the thread sleeps for good, and a function with no
 * such table has none.
 *
 * Everything of it is guarded by the function's register lock, which a scan holds throughout. So
 * who has taken that lock, and then parks the scanner or says that nothing is shared, knows that no
 * hook runs from a scan and that no scan touches an image afterwards. It parks for a reset: between
 * the tables' reset and the end of the model's, no hook may see a model that is half reset.
 */
#include <errno.h>
#include <sched.h>
#include <time.h>

#include "priv.h"

#define REST_FIRST_NS 1000
#define REST_SHORT_NS 1000000
#define REST_MAX_NS 4000000

static bool scan_tables(struct pcif *f)
{
	unsigned changes = 0;

	for (unsigned i = 0; i < PCIF_NUM_BARS; i++)
		if (f->regs[i])
			changes += pcif_regs_scan(f->regs[i]);
	return changes;
}

/* A quarter longer each time, and hardly longer once it is a millisecond. */
static uint64_t longer(uint64_t ns)
{
	ns += ns < REST_SHORT_NS ? ns / 4 + REST_FIRST_NS : ns / 256;
	return MIN(ns, REST_MAX_NS);
}

/* With the register lock held; gives it away meanwhile. */
static void rest(struct pcif *f, uint64_t ns)
{
	uint64_t end = time_mono_ns() + ns;
	struct timespec t = { .tv_sec = (time_t)(end / 1000000000),
			      .tv_nsec = (long)(end % 1000000000) };

	pthread_cond_timedwait(&f->scan.wake, &f->reg, &t);
}

static void *scanner(void *data)
{
	struct pcif *f = data;
	uint64_t rest_ns = 0;

	pcif_lock(f);
	while (!f->scan.quit) {
		if (f->scan.parked || !atomic_load(&f->shared_on)) {
			rest_ns = 0;
			pthread_cond_wait(&f->scan.wake, &f->reg);
		} else if (scan_tables(f)) {
			rest_ns = 0;
			/* Others want the lock too. */
			pcif_unlock(f);
			sched_yield();
			pcif_lock(f);
		} else {
			rest_ns = longer(rest_ns);
			rest(f, rest_ns);
		}
	}
	pcif_unlock(f);
	return NULL;
}

void scan_init(struct pcif *f)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&f->scan.wake, &attr);
	pthread_condattr_destroy(&attr);
	f->scan.parked = true;
}

void scan_fini(struct pcif *f)
{
	pthread_cond_destroy(&f->scan.wake);
}

static void scan_park(struct pcif *f, bool parked)
{
	pcif_lock(f);
	f->scan.parked = parked;
	pthread_cond_signal(&f->scan.wake);
	pcif_unlock(f);
}

void scan_set_shared(struct pcif *f, bool on)
{
	pcif_lock(f);
	atomic_store(&f->shared_on, on);
	pthread_cond_signal(&f->scan.wake);
	pcif_unlock(f);
}

/* No hook runs from a scan after it; may be called again. */
void scan_stop(struct pcif *f)
{
	if (!f->scan.running)
		return;
	pcif_lock(f);
	f->scan.quit = true;
	pthread_cond_signal(&f->scan.wake);
	pcif_unlock(f);
	pthread_join(f->scan.thread, NULL);
	f->scan.running = false;
}

/* ------------------------------------------------------------------ tables */

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
 * Makes the tables of @f, whose state is there, and the scanner if one is needed (parked). On
 * failure tables_free() is still the caller's to do. -EINVAL: see pcif_regs_new(), or a register
 * past its BAR's end; -ENOMEM; -EAGAIN: no thread.
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
	rc = thread_start(&f->scan.thread, 0, scanner, f);
	if (rc)
		return pcif_error(err, rc, "%s: no thread: %s", f->name, strerror(-rc));
	f->scan.running = true;
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
