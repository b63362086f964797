/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who moves frames: one thread for a card, and one for each slow function.
 *
 * Where drivers store by mmap nothing tells of a store, so the card's thread looks: all the time
 * for a moment after there was work, then less and less often, as nvme's worker does; never less
 * than every four milliseconds, or sixteen where waking up is dear. Where nothing is mapped it
 * sleeps until it is woken.
 */
#include <errno.h>
#include <sched.h>
#include <sys/prctl.h>
#include <time.h>

#include "device/igb/priv.h"

#define SPIN_NS 50000u	  /* keep looking that long after work */
#define YIELD_NS 5000u	  /* of that, before others on this core are let in */
#define CROWDED_NS 40000u /* a yield that takes longer means that others want the core */
#define CROWDED_FOR_NS 10000000u
#define SLEEP_SHARE 8		    /* sleep a 1/n of the time since the last work, */
#define SLEEP_MIN_NS 20000u	    /* but at least */
#define SLEEP_MAX_NS 4000000u	    /* and at most this */
#define LONG_NS 100000000u	    /* after so long a pause */
#define LOOK_SHARE 200		    /* a look may take 1/n of the time until the next, */
#define SLEEP_LONG_NS 16000000u	    /* which is at most that */
#define REGISTERS_NS 20000u	    /* registers other than tails are looked at that often, */
#define IDLE_NS 10000000u	    /* and after so long without work, */
#define IDLE_REGISTERS_NS 20000000u /* where only those of queues are mapped, that often */

void igb_kick(struct igb_fn *fn)
{
	struct igb_worker *w = fn->slow && fn->worker.started ? &fn->worker : &fn->card->worker;

	if (fn->card->manual)
		return;
	pthread_mutex_lock(&w->lock);
	if (!w->kicked) {
		w->kicked = true;
		pthread_cond_signal(&w->wake);
	}
	pthread_mutex_unlock(&w->lock);
}

/* Its memory may make us wait: from now on it is served by a thread of its own. Under its lock. */
void igb_make_slow(struct igb_fn *fn)
{
	if (fn->slow)
		return;
	if (!fn->card->manual && !fn->worker.started && igb_worker_start(&fn->worker)) {
		/* No thread is to be had: the queues stand still until there is one. */
		return;
	}
	fn->slow = true;
	igb_kick(fn);
}

static void sooner(uint64_t *resume_ns, uint64_t at)
{
	if (at && (!*resume_ns || at < *resume_ns))
		*resume_ns = at;
}

/* Takes what the function sends; not more than a VF may. */
static bool transmit(struct igb_fn *fn, struct igb_batch *b, uint64_t *resume_ns)
{
	uint64_t now = fn->policy.rate ? time_mono_ns() : 0, wait = igb_policy_wait(fn, now);
	bool more;

	sooner(resume_ns, wait);
	if (wait)
		return false;
	b->limit = fn->policy.rate ? IGB_RATED_BATCH : IGB_BATCH;
	more = igb_tx(fn, b);
	igb_policy_pay(fn, now, b);
	return more;
}

/* The memory that tails are in stays until their frames are where they go. */
static void hold(struct igb_fn *fn, struct igb_batch *b)
{
	igb_dma_flush(fn);
	memcpy(b->spans, fn->spans, fn->n_spans * sizeof(fn->spans[0]));
	b->n_spans = fn->n_spans;
	fn->n_spans = 0;
	fn->tails = false;
}

/* The end of a turn under the lock. Descriptors are given back once nothing is left in their
 * buffers. */
static void leave(struct igb_fn *fn, struct igb_batch *b, uint64_t *resume_ns)
{
	if (!b->n_tails)
		igb_tx_done(fn, b);
	igb_dma_done(fn);
	igb_irq_update(fn);
	sooner(resume_ns, fn->irq_at);
	fn->in_worker = fn->may_wait = false;
	pcif_unlock(fn->f);
}

/* One look at a function. True: there was something to do. */
static bool serve(struct igb_worker *w, struct igb_fn *fn, bool scan, uint64_t *resume_ns)
{
	struct igb_batch *b = w->batch;
	bool work = false;

	pcif_lock(fn->f);
	if (fn->slow != (w->fn == fn) && !fn->card->manual) {
		pcif_unlock(fn->f);
		return false;
	}
	fn->in_worker = true;
	fn->may_wait = fn->slow;
	if (fn->shared && scan) {
		igb_stats_publish(fn);
		work = pcif_regs_scan(fn->regs);
	} else if (fn->shared && igb_scan_tails(fn)) {
		work = true;
		if (w->quiet)
			(void)pcif_regs_scan(fn->regs);
	}
	if (fn->backlog.used)
		work |= igb_backlog_run(fn);
	if (fn->tx_pending)
		work |= transmit(fn, b, resume_ns);
	work |= b->n;
	if (b->n_tails)
		hold(fn, b);
	leave(fn, b, resume_ns);
	if (b->n)
		igb_switch(fn->card, fn->port, b->frames, b->n, fn);
	if (b->n_tails) {
		b->n_tails = 0;
		pcif_lock(fn->f);
		fn->in_worker = true;
		fn->may_wait = w->fn == fn; /* who may have become slow meanwhile */
		leave(fn, b, resume_ns);
		while (b->n_spans)
			iommu_span_put(&b->spans[--b->n_spans]);
	}
	b->n = b->used = 0;
	return work;
}

/**
 * igb_step() - one look at all that @w serves.
 * @scan: at all registers that clients can map, not only at tails
 * @resume_ns: when an interrupt that waits is due; 0: none does
 */
bool igb_step(struct igb_worker *w, bool scan, uint64_t *resume_ns)
{
	struct igb_fn *fns[IGB_PORTS];
	bool work = false;

	*resume_ns = 0;
	if (w->fn)
		return serve(w, w->fn, scan, resume_ns);
	igb_ports_get(w->card, fns);
	for (unsigned port = 0; port < IGB_PORTS; port++)
		if (fns[port] && (!fns[port]->slow || w->card->manual))
			work |= serve(w, fns[port], scan, resume_ns);
	igb_ports_put(w->card, fns);
	return work;
}

/* ------------------------------------------------------------------ the thread */

static inline void cpu_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield" ::: "memory");
#else
	atomic_thread_fence(memory_order_seq_cst);
#endif
}

/* Sleeps until woken or until @deadline_ns (0: no end). False: time to quit. */
static bool wait_kick(struct igb_worker *w, uint64_t deadline_ns)
{
	struct timespec ts = { (time_t)(deadline_ns / 1000000000u),
			       (long)(deadline_ns % 1000000000u) };
	bool quit;

	pthread_mutex_lock(&w->lock);
	while (!w->kicked && !w->quit) {
		if (!deadline_ns)
			pthread_cond_wait(&w->wake, &w->lock);
		else if (pthread_cond_timedwait(&w->wake, &w->lock, &ts) == ETIMEDOUT)
			break;
	}
	w->kicked = false;
	quit = w->quit;
	pthread_mutex_unlock(&w->lock);
	return !quit;
}

static bool any_shared(struct igb_worker *w)
{
	bool any = false;

	if (w->fn)
		return w->fn->shared;
	pthread_mutex_lock(&w->card->ports_lock);
	for (unsigned i = 0; i < IGB_PORTS; i++)
		any |= w->card->ports[i] && w->card->ports[i]->shared && !w->card->ports[i]->slow;
	pthread_mutex_unlock(&w->card->ports_lock);
	return any;
}

struct pace {
	uint64_t last_work;
	uint64_t crowded_until;
	/* Of the thread, at the last sleep after a long pause; and what a look takes, a mean. */
	uint64_t cpu_ns, look_ns;
};

/* What a look costs, waking up for it included, is the host's to say: an idle card takes less than
 * a hundredth of a core. */
static uint64_t longest_sleep(struct pace *p, uint64_t since)
{
	struct timespec ts;
	uint64_t cost;

	if (since < LONG_NS || clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts))
		return SLEEP_MAX_NS;
	cost = (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec - p->cpu_ns;
	p->cpu_ns += cost;
	p->look_ns = (p->look_ns * 15 + MIN(cost, SLEEP_MAX_NS)) / 16;
	return MIN(MAX(p->look_ns * LOOK_SHARE, SLEEP_MAX_NS), SLEEP_LONG_NS);
}

/* What to do after a round without work. False: time to quit. */
static bool idle(struct igb_worker *w, uint64_t now, uint64_t resume_ns, struct pace *p)
{
	uint64_t since = now - p->last_work, until;

	if (!any_shared(w))
		return wait_kick(w, resume_ns);
	if (since < YIELD_NS) {
		cpu_relax();
		return true;
	}
	if (since < SPIN_NS && now >= p->crowded_until) {
		uint64_t after;

		sched_yield();
		after = time_mono_ns();
		if (after - now > CROWDED_NS)
			p->crowded_until = after + CROWDED_FOR_NS;
		return true;
	}
	until = now + MIN(MAX(since / SLEEP_SHARE, SLEEP_MIN_NS), longest_sleep(p, since));
	return wait_kick(w, resume_ns ? MIN(until, resume_ns) : until);
}

static bool quits(struct igb_worker *w)
{
	bool quit;

	pthread_mutex_lock(&w->lock);
	quit = w->quit;
	pthread_mutex_unlock(&w->lock);
	return quit;
}

static void *worker_main(void *data)
{
	struct igb_worker *w = data;
	struct pace pace = { .last_work = time_mono_ns() };
	uint64_t last_scan = 0, resume_ns;
	bool go = true;

	prctl(PR_SET_TIMERSLACK, 1);
	while (go) {
		uint64_t now = time_mono_ns();
		bool scan, work;

		/* Other registers of a queue mean nothing before its tail moves, and any trapped
		 * access takes them in too. */
		w->quiet = w->card->mmio == IGB_MMIO_QUEUES && now - pace.last_work > IDLE_NS;
		scan = now - last_scan >= (w->quiet ? IDLE_REGISTERS_NS : REGISTERS_NS);
		work = igb_step(w, scan, &resume_ns);

		if (scan)
			last_scan = now;
		if (work) {
			pace.last_work = time_mono_ns();
			go = !quits(w);
		} else {
			go = idle(w, now, resume_ns, &pace);
		}
	}
	return NULL;
}

int igb_worker_init(struct igb_worker *w, struct igb_card *card, struct igb_fn *fn)
{
	pthread_condattr_t attr;

	w->card = card;
	w->fn = fn;
	pthread_mutex_init(&w->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&w->wake, &attr);
	pthread_condattr_destroy(&attr);
	return 0;
}

int igb_worker_start(struct igb_worker *w)
{
	int ret;

	if (!w->batch)
		w->batch = malloc(sizeof(*w->batch));
	if (!w->batch)
		return -ENOMEM;
	w->batch->n = w->batch->used = 0;
	w->batch->n_tails = w->batch->n_spans = w->batch->n_done = 0;
	ret = w->card->manual ? 0 : thread_start(&w->thread, KIB(256), worker_main, w);
	w->started = !ret && !w->card->manual;
	return ret;
}

void igb_worker_stop(struct igb_worker *w)
{
	if (!w->started)
		return;
	pthread_mutex_lock(&w->lock);
	w->quit = true;
	pthread_cond_signal(&w->wake);
	pthread_mutex_unlock(&w->lock);
	pthread_join(w->thread, NULL);
	w->started = false;
}

void igb_worker_fini(struct igb_worker *w)
{
	free(w->batch);
	pthread_cond_destroy(&w->wake);
	pthread_mutex_destroy(&w->lock);
}
