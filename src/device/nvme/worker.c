/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The worker: one thread per controller that repeats nvmed_step().
 *
 * Where clients can reach registers or doorbells by mmap, nothing tells us of a store: the worker
 * has to look. It looks all the time for a moment after there was work, since the next command of
 * a busy host follows within microseconds. Then it sleeps between two looks, longer the longer
 * there was nothing: a part of the time since the last work, so that the delay that a sleep adds
 * stays a part of the pause that the host itself made; after a long pause watch.c looks for it.
 * Where nothing is shared it just waits to be woken. docs/nvme.md has what was measured.
 *
 * Where others want the core, each look costs them: the host itself runs there. A host with many
 * commands at once loses nothing if they are fetched a few at a time, one that waits for a single
 * command loses all the time that we sleep. Which kind it is shows when it is made to wait: if it
 * still rings while earlier commands lie unfetched, sleeps may be longer.
 */
#include <errno.h>
#include <sched.h>
#include <sys/prctl.h>
#include <time.h>

#include "device/nvme/priv.h"

#define SPIN_NS 50000u	  /* keep looking that long after work */
#define YIELD_NS 5000u	  /* of that, before others on this core are let in */
#define CROWDED_NS 40000u /* a yield that takes longer means that others want the core */
#define CROWDED_FOR_NS 10000000u
#define TRY_EVERY_NS 10000000u /* and then it is tried how the host takes it to be held up: */
#define TRY_NS 100000u	       /* between two looks at */
#define TRY_LOOKS 5u	       /* most, until there are */
#define BATCH_LEAST 3u	       /* commands that wait */
#define BATCH_TRIES 8u	       /* tries in a row that have to fail until it is found not to gain */
#define BATCH_NS 200000u       /* sleep of a crowded worker whose host gains */
#define SLEEP_SHARE 8	       /* sleep a 1/n of the time since the last work */
#define SLEEP_MIN_NS 20000u    /* but at least, */
#define SLEEP_MAX_NS 1000000u  /* and at most this, */
#define LONG_NS 100000000u     /* and after so long a pause */
#define SLEEP_LONG_NS 4000000u
#define REGISTERS_NS 20000u /* registers other than doorbells are looked at that often */

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

bool nvmed_step(struct nvmed_ctrl *c, bool slow_scan)
{
	bool work = false;

	if (slow_scan || c->regs_noted || c->en_fell || c->nssr || c->state == NVMED_STOPPING ||
	    c->shst == NVMED_CSTS_SHST_BUSY) {
		if (c->shared && slow_scan && c->mmio == NVMED_MMIO_SHARED) {
			pcif_lock(c->f);
			work |= pcif_regs_scan(c->regs) > 0;
			pcif_unlock(c->f);
		}
		work |= nvmed_ctrl_registers(c);
	}
	work |= nvmed_doorbell_scan(c, slow_scan);
	nvmed_reap(c, &work);
	if (c->state == NVMED_ENABLED && !c->fatal) {
		work |= nvmed_queue_run(c);
		work |= nvmed_event_pump(c);
		work |= nvmed_cq_flush_all(c);
		/* Before it sleeps the pin must tell the truth: heads, masks and the kind of
		 * interrupt in use may have changed. */
		if (work || slow_scan || atomic_exchange(&c->intm_noted, false))
			nvmed_irq_update(c);
	}
	return work;
}

void nvmed_kick(struct nvmed_ctrl *c)
{
	if (c->manual)
		return;
	pthread_mutex_lock(&c->wake_lock);
	if (!c->kicked) {
		c->kicked = true;
		pthread_cond_signal(&c->wake);
	}
	pthread_mutex_unlock(&c->wake_lock);
}

/* Sleeps until woken or until @deadline_ns (0: no end). False: time to quit. */
static bool wait_kick(struct nvmed_ctrl *c, uint64_t deadline_ns)
{
	struct timespec ts = { deadline_ns / 1000000000u, deadline_ns % 1000000000u };
	bool quit;

	pthread_mutex_lock(&c->wake_lock);
	while (!c->kicked && !c->quit) {
		if (!deadline_ns)
			pthread_cond_wait(&c->wake, &c->wake_lock);
		else if (pthread_cond_timedwait(&c->wake, &c->wake_lock, &ts) == ETIMEDOUT)
			break;
	}
	c->kicked = false;
	quit = c->quit;
	pthread_mutex_unlock(&c->wake_lock);
	return !quit;
}

struct pace {
	uint64_t last_work;
	uint64_t crowded_until;
	uint64_t next_try;
	unsigned batch; /* not 0: the host gains from long sleeps */
};

static unsigned waiting(struct nvmed_ctrl *c)
{
	unsigned n;

	pthread_mutex_lock(&c->lock);
	n = atomic_load(&c->stop) ? 0 : nvmed_doorbell_count(c);
	pthread_mutex_unlock(&c->lock);
	return n;
}

/*
 * Does the host ring on while commands wait? It may have no core just now, so one that does not is
 * tried a few times more. False: time to quit.
 */
static bool try_batch(struct nvmed_ctrl *c, uint64_t now, struct pace *p)
{
	unsigned first = 0, n = 0, same = 0;

	p->next_try = now + TRY_EVERY_NS;
	for (unsigned i = 1; i <= TRY_LOOKS; i++) {
		unsigned before = n;

		if (!wait_kick(c, now + i * TRY_NS))
			return false;
		n = waiting(c);
		if (!n)
			return true;
		first = first ? first : n;
		if (n > first && n >= BATCH_LEAST) {
			p->batch = BATCH_TRIES;
			return true;
		}
		same = n == before ? same + 1 : 0;
		if (same == 2)
			break;
	}
	p->batch -= p->batch > 0;
	return true;
}

/* Somebody else looks for stores, until there is one. False: time to quit. */
static bool sleep_watched(struct nvmed_ctrl *c, uint64_t now)
{
	bool go;

	if (!nvmed_watch_add(c))
		return wait_kick(c, now + SLEEP_LONG_NS);
	go = wait_kick(c, 0);
	nvmed_watch_remove(c);
	return go;
}

/* What to do after a round without work. False: time to quit. */
static bool idle(struct nvmed_ctrl *c, bool polling, uint64_t now, uint64_t resume_ns,
		 struct pace *p)
{
	uint64_t since = now - p->last_work;
	uint64_t sleep_ns, least;

	/* There are commands, and a limit that they wait for. */
	if (resume_ns)
		return wait_kick(c, resume_ns);
	if (!polling)
		return wait_kick(c, 0);
	if (since < YIELD_NS && !(p->batch && now < p->crowded_until)) {
		cpu_relax();
		return true;
	}
	if (since < SPIN_NS && now >= p->crowded_until) {
		uint64_t after;

		/* If somebody took the core, yielding again would give a whole slice away again,
		 * while one who wakes from a short sleep is let in soon. */
		sched_yield();
		after = time_mono_ns();
		if (after - now > CROWDED_NS)
			p->crowded_until = after + CROWDED_FOR_NS;
		return true;
	}
	if (since > LONG_NS)
		return sleep_watched(c, now);
	if (now < p->crowded_until && now >= p->next_try)
		return try_batch(c, now, p);
	least = now < p->crowded_until && p->batch ? BATCH_NS : SLEEP_MIN_NS;
	sleep_ns = MIN(MAX(since / SLEEP_SHARE, least), SLEEP_MAX_NS);
	return wait_kick(c, now + sleep_ns);
}

static void *worker(void *data)
{
	struct nvmed_ctrl *c = data;
	struct pace pace = { .last_work = time_mono_ns() };
	uint64_t last_scan = 0, last = 0;
	bool go = true, busy = false;

	prctl(PR_SET_TIMERSLACK, 1);
	while (go) {
		uint64_t now = time_mono_ns();
		bool scan = now - last_scan >= REGISTERS_NS;
		bool work, polling;
		uint64_t n_io, resume_ns;

		pthread_mutex_lock(&c->lock);
		while (c->stop)
			pthread_cond_wait(&c->resumed, &c->lock);
		if (busy)
			c->busy_ns += now - last;
		n_io = c->n_io;
		work = nvmed_step(c, scan);
		/* Something was in progress in this round, or will be while we sleep. */
		busy = c->n_io != n_io || c->slow_inflight;
		resume_ns = c->limit.resume_ns;
		polling = c->shared && (c->mmio == NVMED_MMIO_SHARED || c->state == NVMED_ENABLED);
		pthread_mutex_unlock(&c->lock);
		if (scan)
			last_scan = now;
		last = now;
		if (work) {
			pace.last_work = time_mono_ns();
			pthread_mutex_lock(&c->wake_lock);
			go = !c->quit;
			pthread_mutex_unlock(&c->wake_lock);
		} else {
			go = idle(c, polling, now, resume_ns, &pace);
		}
	}
	return NULL;
}

int nvmed_worker_start(struct nvmed_ctrl *c)
{
	int ret = c->manual ? 0 : thread_start(&c->worker, KIB(256), worker, c);

	c->worker_started = !ret && !c->manual;
	return ret;
}

void nvmed_worker_stop(struct nvmed_ctrl *c)
{
	if (!c->worker_started)
		return;
	pthread_mutex_lock(&c->wake_lock);
	c->quit = true;
	pthread_cond_signal(&c->wake);
	pthread_mutex_unlock(&c->wake_lock);
	pthread_join(c->worker, NULL);
	c->worker_started = false;
}

void nvmed_pause(struct nvmed_ctrl *c)
{
	/* A busy worker would take a plain mutex again at once and never let us in. */
	atomic_fetch_add(&c->stop, 1);
	nvmed_watch_remove(c);
	pthread_mutex_lock(&c->lock);
}

void nvmed_resume(struct nvmed_ctrl *c)
{
	atomic_fetch_sub(&c->stop, 1);
	pthread_cond_broadcast(&c->resumed);
	pthread_mutex_unlock(&c->lock);
	nvmed_kick(c);
}
