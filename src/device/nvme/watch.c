/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Looking after controllers that have had nothing to do for a while.
 *
 * A worker whose host can store to shared pages has to look for stores itself. One that has been
 * idle for long hands that over and sleeps: a single thread, for all such controllers of the
 * process, looks at their doorbells and at the few registers by which a host begins, every four
 * milliseconds, and wakes whose have changed. So hundreds of idle virtual functions cost one thread
 * a few microseconds, not hundreds of threads a timer each. Where a look at all of them is dear,
 * since they are many or other work has taken the caches, it is had less often: the thread takes
 * less than half a percent of a core.
 *
 * What is compared with is what the worker had taken in when it handed over. nvmed_pause() takes
 * the controller out of the list first, so nobody looks at an image that is about to change.
 */
#include <time.h>

#include "device/nvme/priv.h"

#define LOOK_NS 4000000u
#define LOOK_CROWDED_NS 64000000u /* the longest that very many controllers can make it */
#define COST_SHARE 250u		  /* it rests that many times as long as it looks */

static struct {
	pthread_mutex_t lock; /* guards the rest, and each controller's watch */
	pthread_cond_t wake;
	struct nvmed_ctrl *first;
	bool started;
} watch = { .lock = PTHREAD_MUTEX_INITIALIZER };
static pthread_once_t once = PTHREAD_ONCE_INIT;

struct look {
	const struct nvmed_ctrl *c;
	bool changed;
};

static uint32_t word(const struct nvmed_ctrl *c, unsigned offset)
{
	return __atomic_load_n((const uint32_t *)(c->image + offset), __ATOMIC_RELAXED);
}

/* Guarded: the pages may go at any moment. */
static void look_at(void *data)
{
	struct look *l = data;
	const struct nvmed_ctrl *c = l->c;

	if (c->mmio == NVMED_MMIO_SHARED &&
	    (word(c, NVMED_REG_CC) != c->watch.cc || word(c, NVMED_REG_CSTS) != c->watch.csts ||
	     word(c, NVMED_REG_NSSR) || word(c, NVMED_REG_INTMS) || word(c, NVMED_REG_INTMC))) {
		l->changed = true;
		return;
	}
	for (unsigned i = 0; i < c->watch.n_doorbells && !l->changed; i++)
		l->changed = word(c, NVMED_DOORBELLS + 4 * i) != c->db_seen[i];
}

static void unlink_ctrl(struct nvmed_ctrl *c)
{
	struct nvmed_ctrl **at;

	for (at = &watch.first; *at != c; at = &(*at)->watch.next)
		;
	*at = c->watch.next;
	c->watch.on = false;
}

static void look_at_all(void)
{
	struct nvmed_ctrl *c, *next;

	for (c = watch.first; c; c = next) {
		struct look l = { .c = c };

		next = c->watch.next;
		if (!guard_call(look_at, &l) && !l.changed)
			continue;
		unlink_ctrl(c);
		nvmed_kick(c);
	}
}

static void *watch_main(void *data)
{
	struct timespec pause = { 0 };
	uint64_t before = 0;

	pthread_mutex_lock(&watch.lock);
	for (;;) {
		uint64_t now, share;

		while (!watch.first)
			pthread_cond_wait(&watch.wake, &watch.lock);
		look_at_all();
		pthread_mutex_unlock(&watch.lock);
		/* Since the last look, going to sleep and waking up included. */
		now = time_thread_cpu_ns();
		share = MIN((now - before) * COST_SHARE, LOOK_CROWDED_NS);
		before = now;
		pause.tv_nsec = (long)MAX(share, LOOK_NS);
		nanosleep(&pause, NULL);
		pthread_mutex_lock(&watch.lock);
	}
	return NULL;
}

/* The thread is the parent's. Nobody forks with threads of ours but to exec. */
static void init(void)
{
	pthread_cond_init(&watch.wake, NULL);
}

/**
 * nvmed_watch_add() - from the worker, which sleeps next; what it has not taken in is seen.
 * Returns false if there is no thread to be had: the worker looks by itself.
 */
bool nvmed_watch_add(struct nvmed_ctrl *c)
{
	uint32_t cc, csts;
	bool on;

	pthread_once(&once, init);
	pcif_lock(c->f);
	cc = pcif_regs_get(c->regs, NVMED_R_CC, 0);
	csts = pcif_regs_get(c->regs, NVMED_R_CSTS, 0);
	pcif_unlock(c->f);
	pthread_mutex_lock(&c->lock);
	pthread_mutex_lock(&watch.lock);
	if (!watch.started)
		watch.started = !thread_start(NULL, KIB(64), watch_main, NULL);
	on = watch.started && c->shared && c->image && !atomic_load(&c->stop);
	if (on && !c->watch.on) {
		c->watch.cc = cc;
		c->watch.csts = csts;
		c->watch.n_doorbells = c->state == NVMED_ENABLED ? 2 * (c->n_queues + 1) : 0;
		c->watch.next = watch.first;
		c->watch.on = true;
		watch.first = c;
		pthread_cond_signal(&watch.wake);
	}
	pthread_mutex_unlock(&watch.lock);
	pthread_mutex_unlock(&c->lock);
	return on;
}

/* When it returns nobody looks at the controller's pages any more. Any thread. */
void nvmed_watch_remove(struct nvmed_ctrl *c)
{
	pthread_mutex_lock(&watch.lock);
	if (c->watch.on)
		unlink_ctrl(c);
	pthread_mutex_unlock(&watch.lock);
}
