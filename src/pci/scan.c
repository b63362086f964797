/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who looks at the register tables that lie on SHARED pages.
 *
 * A store by mmap cannot be trapped, so somebody must look, for each function that clients can
 * reach such pages of. Functions are looked at in one of two ways. *At rest*: one thread of the
 * machine, the watcher, looks whether a store has come to any of them, every millisecond at first
 * and every four after about a second without one; with very many functions less often, so that it
 * never takes more than half a percent of a core. *Hot*: a function for which a store has come is
 * handed to a thread of its own, a worker, which takes it in, runs the hooks, and looks without a
 * rest as long as more stores come; after some milliseconds without one the function is at rest
 * again and the worker free for another. So a function at rest costs no thread, and what a hook
 * does, or what it waits for (memory of a client, which may be slow on purpose), holds up no other
 * function: the watcher runs no hooks. There are as many workers as functions have been hot at
 * once; all but a few end when they have nothing to do. Where no thread can be had, functions wait
 * for the workers there are.
 *
 * Hooks are guarded by the function's register lock, which a scan holds throughout. So who has
 * taken that lock, and then parks the scanning or says that nothing is shared, knows that no hook
 * runs from a scan and that no scan touches an image afterwards. It parks for a reset: between the
 * tables' reset and the end of the model's, no hook may see a model that is half reset.
 *
 * scan_pool.lock guards who is at rest, waiting or hot. It is taken after a register lock or alone,
 * and nothing is waited for under it; the watcher lets go of it while it looks.
 */
#include <errno.h>
#include <sched.h>
#include <time.h>

#include "priv.h"

#define REST_FIRST_NS 1000u
#define REST_SHORT_NS 1000000u
#define REST_MAX_NS 4000000u
#define REST_CROWDED_NS 64000000u /* the longest that very many functions can make it */
#define COST_SHARE 250u		  /* the watcher rests that many times as long as it looks */
#define SPARE_WORKERS 2u	  /* that wait for a function to become hot */
#define STUBBORN 3u		  /* looks in a row that found the lock taken */

/* A thread that serves one function after the other. Under the pool's lock. */
struct scan_worker {
	struct scan_worker *next; /* in pool.idle or pool.ended */
	pthread_t thread;
	pthread_cond_t wake;
	struct scan_pool *pool;
	struct pcif *f; /* what it serves, or is to serve next */
};

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

static void wait_ns(pthread_cond_t *cond, pthread_mutex_t *lock, uint64_t ns)
{
	uint64_t end = time_mono_ns() + ns;
	struct timespec t = { .tv_sec = (time_t)(end / 1000000000),
			      .tv_nsec = (long)(end % 1000000000) };

	pthread_cond_timedwait(cond, lock, &t);
}

static void cond_init(pthread_cond_t *cond)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(cond, &attr);
	pthread_condattr_destroy(&attr);
}

/* ------------------------------------------------------------------ who is where; with pool.lock
 */

static void list_add(struct scan_list *list, struct pcif *f)
{
	f->scan.at = list->n;
	list->f[list->n++] = f;
}

/* The last one takes its place. */
static void list_remove(struct scan_list *list, struct pcif *f)
{
	struct pcif *last = list->f[--list->n];

	list->f[f->scan.at] = last;
	last->scan.at = f->scan.at;
}

static int list_reserve(struct scan_list *list, unsigned n)
{
	struct pcif **more;

	if (n <= list->room)
		return 0;
	more = realloc(list->f, 2 * n * sizeof(*more));
	if (!more)
		return -ENOMEM;
	list->f = more;
	list->room = 2 * n;
	return 0;
}

static void set_place(struct scan_pool *p, struct pcif *f, enum scan_place place)
{
	if (f->scan.place == SCAN_REST)
		list_remove(&p->rest, f);
	else if (f->scan.place == SCAN_WAITING)
		list_remove(&p->waiting, f);
	f->scan.place = place;
	if (place == SCAN_REST)
		list_add(&p->rest, f);
	else if (place == SCAN_WAITING)
		list_add(&p->waiting, f);
	pthread_cond_broadcast(&p->changed);
}

/* More stores may be expected. */
static void watch_closely(struct scan_pool *p)
{
	p->rest_ns = 0;
	pthread_cond_signal(&p->wake);
}

/* ------------------------------------------------------------------ workers */

/* Until there has been nothing for a while. */
static void serve(struct pcif *f)
{
	uint64_t rest_ns = 0;

	pcif_lock(f);
	while (!atomic_load(&f->scan.quit) && atomic_load(&f->shared_on) &&
	       rest_ns < REST_SHORT_NS) {
		if (f->scan.parked) {
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
			wait_ns(&f->scan.wake, &f->reg, rest_ns);
		}
	}
	pcif_unlock(f);
}

/* Something for @w to do, for which it waits if it is needed. False: it is to end. */
static bool next_function(struct scan_worker *w)
{
	struct scan_pool *p = w->pool;

	if (p->waiting.n) {
		w->f = p->waiting.f[0];
		set_place(p, w->f, SCAN_HOT);
		return true;
	}
	if (p->n_idle >= SPARE_WORKERS)
		return false;
	w->next = p->idle;
	p->idle = w;
	p->n_idle++;
	while (!w->f && !p->quit)
		pthread_cond_wait(&w->wake, &p->lock);
	return w->f;
}

static void *worker_main(void *data)
{
	struct scan_worker *w = data;
	struct scan_pool *p = w->pool;

	pthread_mutex_lock(&p->lock);
	while (w->f || next_function(w)) {
		struct pcif *f = w->f;

		pthread_mutex_unlock(&p->lock);
		serve(f);
		pthread_mutex_lock(&p->lock);
		w->f = NULL;
		/* Who switches it on or off now waits for the lock, or finds it here. */
		set_place(p, f,
			  atomic_load(&f->shared_on) && !atomic_load(&f->scan.quit) ? SCAN_REST
										    : SCAN_OFF);
		watch_closely(p);
	}
	w->next = p->ended;
	p->ended = w;
	pthread_cond_broadcast(&p->changed);
	pthread_cond_signal(&p->wake); /* the watcher joins it */
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

/* With pool.lock, which is let go of to join threads that have ended. */
static void reap(struct scan_pool *p)
{
	while (p->ended) {
		struct scan_worker *w = p->ended;

		p->ended = w->next;
		pthread_mutex_unlock(&p->lock);
		pthread_join(w->thread, NULL);
		pthread_cond_destroy(&w->wake);
		free(w);
		pthread_mutex_lock(&p->lock);
		p->n_workers--;
	}
}

static int worker_start(struct scan_pool *p)
{
	struct scan_worker *w = calloc(1, sizeof(*w));
	int rc;

	if (!w)
		return -ENOMEM;
	w->pool = p;
	pthread_cond_init(&w->wake, NULL);
	rc = thread_start(&w->thread, 0, worker_main, w);
	if (rc) {
		pthread_cond_destroy(&w->wake);
		free(w);
	} else {
		p->n_workers++;
	}
	return rc;
}

/* A store has come to @f, which is at rest. */
static void make_hot(struct scan_pool *p, struct pcif *f)
{
	struct scan_worker *w = p->idle;

	if (!w) {
		/* A new one takes it from there, or whoever is free first. */
		set_place(p, f, SCAN_WAITING);
		if (worker_start(p) && log_limit_ok(&p->no_thread))
			log_warn("%s: no thread to serve it alone: it waits for others", f->name);
		return;
	}
	p->idle = w->next;
	p->n_idle--;
	w->f = f;
	set_place(p, f, SCAN_HOT);
	pthread_cond_signal(&w->wake);
}

/* ------------------------------------------------------------------ the watcher */

/* Is there something to take in? Without pool.lock. */
static bool look(struct pcif *f)
{
	bool seen = false;

	/* Who has the lock does something for this function; but not for ever in our place. */
	if (pthread_mutex_trylock(&f->reg))
		return ++f->scan.missed >= STUBBORN;
	f->scan.missed = 0;
	for (unsigned i = 0; i < PCIF_NUM_BARS && !seen; i++)
		seen = f->regs[i] && !f->scan.parked && atomic_load(&f->shared_on) &&
		       regs_peek(f->regs[i]);
	pcif_unlock(f);
	return seen;
}

static void round_of_looks(struct scan_pool *p)
{
	for (unsigned i = 0; i < p->rest.n && !p->quit; i++) {
		struct pcif *f = p->rest.f[i];
		bool seen;

		p->looking = f;
		pthread_mutex_unlock(&p->lock);
		seen = look(f);
		pthread_mutex_lock(&p->lock);
		p->looking = NULL;
		if (p->leaving)
			pthread_cond_broadcast(&p->changed);
		if (!seen || i >= p->rest.n || p->rest.f[i] != f)
			continue;
		make_hot(p, f);
		p->rest_ns = 0;
		i--;
	}
}

static void *watcher_main(void *data)
{
	struct scan_pool *p = data;
	uint64_t before = 0;

	pthread_mutex_lock(&p->lock);
	while (!p->quit) {
		uint64_t now, cost;

		if (p->ended) {
			reap(p); /* the lock was free meanwhile */
			continue;
		}
		if (!p->rest.n) {
			pthread_cond_wait(&p->wake, &p->lock);
			continue;
		}
		round_of_looks(p);
		/* Since the last round, going to sleep and waking up included. */
		now = time_thread_cpu_ns();
		cost = now - before;
		before = now;
		p->rest_ns = longer(MAX(p->rest_ns, REST_SHORT_NS));
		wait_ns(&p->wake, &p->lock,
			MAX(p->rest_ns, MIN(cost * COST_SHARE, REST_CROWDED_NS)));
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

/* ------------------------------------------------------------------ the machine's part */

void scan_pool_init(struct scan_pool *p)
{
	pthread_mutex_init(&p->lock, NULL);
	cond_init(&p->wake);
	pthread_cond_init(&p->changed, NULL);
}

/* No function is left. */
void scan_pool_fini(struct scan_pool *p)
{
	pthread_mutex_lock(&p->lock);
	p->quit = true;
	pthread_cond_signal(&p->wake);
	for (struct scan_worker *w = p->idle; w; w = w->next)
		pthread_cond_signal(&w->wake);
	pthread_mutex_unlock(&p->lock);
	if (p->started)
		pthread_join(p->watcher, NULL);
	pthread_mutex_lock(&p->lock);
	for (reap(p); p->n_workers; reap(p))
		pthread_cond_wait(&p->changed, &p->lock);
	pthread_mutex_unlock(&p->lock);
	free(p->rest.f);
	free(p->waiting.f);
	pthread_cond_destroy(&p->changed);
	pthread_cond_destroy(&p->wake);
	pthread_mutex_destroy(&p->lock);
}

/* With pool.lock. */
static int pool_start(struct scan_pool *p)
{
	int rc = 0;

	if (p->started)
		return 0;
	/* One that stays, however short of threads we may be later. */
	if (!p->n_workers)
		rc = worker_start(p);
	if (!rc)
		rc = thread_start(&p->watcher, KIB(256), watcher_main, p);
	p->started = !rc;
	return rc;
}

/* ------------------------------------------------------------------ a function's part */

void scan_init(struct pcif *f)
{
	cond_init(&f->scan.wake);
	f->scan.parked = true;
}

void scan_fini(struct pcif *f)
{
	pthread_cond_destroy(&f->scan.wake);
}

/* @f is looked at from now on, while its pages are shared and it is not parked. -ENOMEM, -EAGAIN.
 */
int scan_join(struct pcif *f)
{
	struct scan_pool *p = &f->m->scan;
	int rc;

	pthread_mutex_lock(&p->lock);
	rc = list_reserve(&p->rest, p->n_functions + 1);
	if (!rc)
		rc = list_reserve(&p->waiting, p->n_functions + 1);
	if (!rc)
		rc = pool_start(p);
	if (!rc)
		p->n_functions++;
	f->scan.joined = !rc;
	pthread_mutex_unlock(&p->lock);
	return rc;
}

/* No hook runs from a scan after it; may be called again. */
void scan_stop(struct pcif *f)
{
	struct scan_pool *p = &f->m->scan;

	if (!f->scan.joined)
		return;
	pcif_lock(f);
	atomic_store(&f->scan.quit, true);
	pthread_cond_signal(&f->scan.wake);
	pcif_unlock(f);
	pthread_mutex_lock(&p->lock);
	if (f->scan.place != SCAN_HOT)
		set_place(p, f, SCAN_OFF);
	p->leaving++;
	while (f->scan.place == SCAN_HOT || p->looking == f)
		pthread_cond_wait(&p->changed, &p->lock);
	p->leaving--;
	p->n_functions--;
	pthread_mutex_unlock(&p->lock);
	f->scan.joined = false;
}

void scan_park(struct pcif *f, bool parked)
{
	pcif_lock(f);
	f->scan.parked = parked;
	pthread_cond_signal(&f->scan.wake);
	pcif_unlock(f);
}

void scan_set_shared(struct pcif *f, bool on)
{
	struct scan_pool *p = &f->m->scan;

	pcif_lock(f);
	atomic_store(&f->shared_on, on);
	pthread_cond_signal(&f->scan.wake);
	pcif_unlock(f);
	if (!f->scan.joined)
		return;
	pthread_mutex_lock(&p->lock);
	if (f->scan.place != SCAN_HOT)
		set_place(p, f, on ? SCAN_REST : SCAN_OFF);
	if (on)
		watch_closely(p);
	pthread_mutex_unlock(&p->lock);
}
