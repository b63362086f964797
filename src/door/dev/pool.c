/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The threads of the FUSE server.
 *
 * One thread reads requests and answers them. More than that are not let near the descriptor
 * without need: the kernel would hand requests to them in turn, and a trapped access takes a
 * quarter longer where each is answered by another thread than the one before.
 *
 * But somebody must be reading whenever the answer to a request has to wait: threads of this
 * process touch pages of our own files, and whoever waits for such a page waits for a reader. So
 * there are spare threads, parked, and
 *  - who knows that it will wait (a close, a reset, a request that looks at other files) sends a
 *    parked thread to read first: fuse_step_aside();
 *  - who does not know is watched: while there are requests, the guard looks every millisecond, and
 *    where nobody reads and nothing moved since the last look it sends one;
 *  - while nobody is parked, the reader does at once what cannot wait (the page path, bookkeeping)
 *    and puts everything else into a list for those who come free or are started.
 *
 * A page fault may hold the address space lock while it waits, so nothing that the reader or the
 * guard do needs that lock: no allocation, no start of a thread, no memory that is touched for the
 * first time. Threads are started by the spawner, which may have to wait. The buffers are populated
 * from the start, and are shared memory so that a fork elsewhere does not make them copy-on-write.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

#include "door/dev/priv.h"

/* ------------------------------------------------------------------ threads and buffers */

static void *map_buffer(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

void fuse_worker_free(struct fuse_worker *w)
{
	if (w->in)
		munmap(w->in, FUSE_IN_SIZE);
	if (w->out)
		munmap(w->out, FUSE_OUT_SIZE);
	free(w);
}

struct fuse_worker *fuse_worker_new(struct door_dev *d)
{
	struct fuse_worker *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	w->door = d;
	w->in = map_buffer(FUSE_IN_SIZE);
	w->out = map_buffer(FUSE_OUT_SIZE);
	if (!w->in || !w->out) {
		fuse_worker_free(w);
		return NULL;
	}
	return w;
}

/* One of the door's threads; they need little stack. @thread: NULL starts it detached. */
int door_thread(void *(*fn)(void *), void *data, pthread_t *thread)
{
	return thread_start(thread, KIB(128), fn, data);
}

void helper_wake(struct helper *h)
{
	uint64_t one = 1;

	(void)!write(h->event, &one, sizeof(one));
}

/* Waits to be woken, at most @timeout_ms (-1: as long as it takes). */
static bool helper_wait(struct helper *h, int timeout_ms)
{
	struct pollfd p = { .fd = h->event, .events = POLLIN };
	uint64_t n;

	if (poll(&p, 1, timeout_ms) <= 0)
		return false;
	(void)!read(h->event, &n, sizeof(n));
	return true;
}

/* ------------------------------------------------------------------ requests put aside */

static struct deferred *deferred_take(struct door_dev *d)
{
	struct deferred *q;

	if (!atomic_load(&d->n_deferred))
		return NULL;
	pthread_mutex_lock(&d->pool_lock);
	q = d->deferred;
	if (q) {
		d->deferred = q->next;
		if (!d->deferred)
			d->deferred_tail = &d->deferred;
		atomic_fetch_sub(&d->n_deferred, 1);
	}
	pthread_mutex_unlock(&d->pool_lock);
	return q;
}

static void deferred_free(struct door_dev *d, struct deferred *q)
{
	if (q < d->slots || q >= d->slots + DEFERRED_SLOTS) {
		free(q);
		return;
	}
	pthread_mutex_lock(&d->pool_lock);
	q->next = d->free_slots;
	d->free_slots = q;
	pthread_mutex_unlock(&d->pool_lock);
}

/* A slot, or (a long write; more clients than slots) memory of the heap's. */
static struct deferred *deferred_new(struct door_dev *d, size_t size)
{
	struct deferred *q = NULL;

	if (size <= sizeof(q->space)) {
		pthread_mutex_lock(&d->pool_lock);
		q = d->free_slots;
		if (q)
			d->free_slots = q->next;
		pthread_mutex_unlock(&d->pool_lock);
		if (q)
			q->data = q->space;
	}
	if (!q) {
		q = malloc(sizeof(*q) + size);
		if (q)
			q->data = (uint8_t *)(q + 1);
	}
	return q;
}

static void deferred_add(struct door_dev *d, struct deferred *q)
{
	q->next = NULL;
	pthread_mutex_lock(&d->pool_lock);
	*d->deferred_tail = q;
	d->deferred_tail = &q->next;
	atomic_fetch_add(&d->n_deferred, 1);
	pthread_mutex_unlock(&d->pool_lock);
	helper_wake(&d->spawner);
}

static void deferred_put(struct fuse_worker *w, const void *data, size_t size)
{
	struct door_dev *d = w->door;
	struct deferred *q = deferred_new(d, size);

	if (!q) {
		const struct fuse_in_header *h = data;
		struct fuse_req r = { .door = d, .worker = w, .h = h };

		fuse_reply(&r, -ENOMEM);
		return;
	}
	q->put = NULL;
	q->size = size;
	memcpy(q->data, data, size);
	deferred_add(d, q);
}

/* At the end of the door nobody may read any more: fuse_pool_stop() deals with what is left. */
static void run_deferred(struct fuse_worker *w)
{
	struct deferred *q;

	w->quick = false;
	while (!atomic_load(&w->door->stopping) && (q = deferred_take(w->door))) {
		if (q->put)
			handle_put(w->door, q->put);
		else
			fuse_run(w, q->data, q->size);
		deferred_free(w->door, q);
	}
}

/*
 * Puts a handle at the end of a request. With the last reference a device's session may end, and
 * that waits for our own pages to be written back: nothing for the only reader.
 */
void fuse_put_handle(struct fuse_worker *w, struct handle *h)
{
	struct deferred *q;

	if (!w->quick) {
		handle_put(w->door, h);
		return;
	}
	if (handle_put_not_last(h))
		return;
	q = deferred_new(w->door, 0);
	if (!q) {
		handle_put(w->door, h);
		return;
	}
	q->put = h;
	deferred_add(w->door, q);
	helper_wake(&w->door->guard);
}

/* ------------------------------------------------------------------ reading in turn */

/* At most one thread reads. */
static bool start_reading(struct door_dev *d)
{
	bool no = false;

	return atomic_compare_exchange_strong(&d->reading, &no, true);
}

/* Sends a parked thread to read, or to do what was put aside. */
static bool unpark(struct door_dev *d)
{
	uint32_t n = atomic_load(&d->parked);

	do {
		if (!n)
			return false;
	} while (!atomic_compare_exchange_weak(&d->parked, &n, n - 1));
	sem_post(&d->spare);
	if (n == 1)
		helper_wake(&d->spawner);
	return true;
}

/* The calling thread's request may take its time: lets somebody else read meanwhile. */
void fuse_step_aside(struct door_dev *d)
{
	if (!atomic_load(&d->reading))
		unpark(d);
}

/*
 * One request. Returns false where somebody else reads by now.
 *
 * The order matters: first this thread is no reader any more, then it looks whether somebody is
 * parked. Who was sent off in between either found nobody reading, and reads, or counts as not
 * parked here.
 */
static bool serve(struct fuse_worker *w, size_t size)
{
	struct door_dev *d = w->door;
	const struct fuse_in_header *h = (const struct fuse_in_header *)w->in;

	w->quick = true;
	if (h->opcode == FUSE_RELEASE && size >= sizeof(*h) + sizeof(struct fuse_release_in)) {
		struct fuse_req r = { .door = d, .worker = w, .h = h, .arg = h + 1 };

		file_release_read(&r);
	}
	if (fuse_is_quick(d, h, h + 1, size - sizeof(*h))) {
		fuse_run(w, w->in, size);
		return true;
	}
	w->quick = false;
	atomic_fetch_add_explicit(&d->moves, 1, memory_order_relaxed);
	atomic_store(&d->reading, false);
	if (!atomic_load(&d->parked) && start_reading(d)) {
		deferred_put(w, w->in, size);
		if (!atomic_load(&d->watching))
			helper_wake(&d->guard);
		return true;
	}
	if (!atomic_load(&d->watching))
		helper_wake(&d->guard);
	fuse_run(w, w->in, size);
	run_deferred(w);
	return start_reading(d);
}

/* Called by who reads, until somebody else does. Returns false at the end of the connection. */
static bool read_requests(struct fuse_worker *w)
{
	struct door_dev *d = w->door;

	while (!atomic_load(&d->stopping)) {
		ssize_t n = read(d->fuse_fd, w->in, FUSE_IN_SIZE);

		/* ENOENT: the request was taken back before we had it. */
		if (n < 0 && (errno == EINTR || errno == ENOENT || errno == EAGAIN))
			continue;
		if (n < 0) {
			atomic_store(&d->ended, true);
			break;
		}
		if ((size_t)n >= sizeof(struct fuse_in_header) && !serve(w, (size_t)n))
			return true;
	}
	atomic_store(&d->reading, false);
	return false;
}

/* Called as the thread's last deed that touches the door. */
static void worker_ends(struct door_dev *d)
{
	pthread_mutex_lock(&d->pool_lock);
	/* The last one closes the connection, so that whoever still waits for an answer gets one.
	 */
	if (!--d->n_threads && d->pool_stop)
		close(fd_steal(&d->fuse_fd));
	pthread_mutex_unlock(&d->pool_lock);
}

static void *worker_main(void *data)
{
	struct fuse_worker *w = data;
	struct door_dev *d = w->door;

	/* It starts out parked: who started it counts it as soon as it is there. */
	for (;;) {
		while (sem_wait(&d->spare))
			;
		if (atomic_load(&d->stopping))
			break;
		if (start_reading(d)) {
			if (!read_requests(w))
				break;
		} else {
			run_deferred(w);
		}
		if (atomic_fetch_add(&d->parked, 1) >= POOL_KEEP) {
			atomic_fetch_sub(&d->parked, 1);
			break;
		}
	}
	run_deferred(w);
	fuse_worker_free(w);
	worker_ends(d);
	return NULL;
}

/* ------------------------------------------------------------------ helpers */

/* Sees to it that somebody reads, and that what was put aside is done. Waits for nothing. */
static void *guard_main(void *data)
{
	struct door_dev *d = data;
	uint32_t seen = 0;
	unsigned still = 0;

	while (!atomic_load(&d->stopping)) {
		uint32_t moves = atomic_load_explicit(&d->moves, memory_order_relaxed);
		bool idle;

		still = moves == seen ? still + 1 : 0;
		seen = moves;
		if (!atomic_load(&d->ended) &&
		    ((still && !atomic_load(&d->reading)) || atomic_load(&d->n_deferred)))
			unpark(d);
		/* Either this sees that nobody reads, or who left reading sees that nobody looks.
		 */
		atomic_store(&d->watching, still < GUARD_STILL_MAX);
		idle = still >= GUARD_STILL_MAX && !atomic_load(&d->n_deferred) &&
		       (atomic_load(&d->reading) || atomic_load(&d->ended));
		if (helper_wait(&d->guard, idle ? -1 : 1))
			still = 0;
	}
	return NULL;
}

/* 0; -EAGAIN: no more are allowed. */
static int add_worker(struct door_dev *d)
{
	struct fuse_worker *w;
	bool full;
	int r;

	pthread_mutex_lock(&d->pool_lock);
	full = d->n_threads >= POOL_MAX || d->pool_stop;
	if (!full)
		d->n_threads++;
	pthread_mutex_unlock(&d->pool_lock);
	if (full)
		return -EAGAIN;
	w = fuse_worker_new(d);
	r = w ? door_thread(worker_main, w, NULL) : -ENOMEM;
	if (!r) {
		atomic_fetch_add(&d->parked, 1);
		return 0;
	}
	pthread_mutex_lock(&d->pool_lock);
	d->n_threads--;
	pthread_mutex_unlock(&d->pool_lock);
	if (w)
		fuse_worker_free(w);
	return r;
}

/* Keeps somebody parked, and as many as there is work for. */
static void *spawner_main(void *data)
{
	struct door_dev *d = data;

	while (!atomic_load(&d->stopping)) {
		while (!atomic_load(&d->ended) &&
		       (!atomic_load(&d->parked) ||
			atomic_load(&d->n_deferred) > atomic_load(&d->parked)))
			if (add_worker(d))
				break; /* those at work look at the list when they are done */
		helper_wait(&d->spawner, -1);
	}
	return NULL;
}

static int helper_start(struct door_dev *d, struct helper *h, void *(*fn)(void *))
{
	int r = door_thread(fn, d, &h->thread);

	h->started = !r;
	return r;
}

static void helper_stop(struct helper *h)
{
	if (!h->started)
		return;
	helper_wake(h);
	pthread_join(h->thread, NULL);
	h->started = false;
}

/* ------------------------------------------------------------------ start and end */

int fuse_pool_init(struct door_dev *d)
{
	struct helper *helpers[] = { &d->guard, &d->spawner };
	unsigned i;

	pthread_mutex_init(&d->pool_lock, NULL);
	sem_init(&d->spare, 0, 0);
	d->deferred_tail = &d->deferred;
	d->slots = map_buffer(DEFERRED_SLOTS * sizeof(*d->slots));
	if (!d->slots)
		return -ENOMEM;
	for (i = 0; i < DEFERRED_SLOTS; i++) {
		d->slots[i].next = d->free_slots;
		d->free_slots = &d->slots[i];
	}
	for (i = 0; i < ARRAY_SIZE(helpers); i++) {
		helpers[i]->event = eventfd(0, EFD_CLOEXEC);
		if (helpers[i]->event < 0)
			return -errno;
	}
	return 0;
}

/* After fuse_pool_stop(), or a fuse_pool_init() that failed or was all. */
void fuse_pool_fini(struct door_dev *d)
{
	struct helper *helpers[] = { &d->guard, &d->spawner };
	unsigned i;

	for (i = 0; i < ARRAY_SIZE(helpers); i++)
		if (helpers[i]->event >= 0)
			close(fd_steal(&helpers[i]->event));
	if (d->slots)
		munmap(d->slots, DEFERRED_SLOTS * sizeof(*d->slots));
	d->slots = NULL;
}

/*
 * Nobody reads before all that can fail is done: who waits for a request can be woken only by one,
 * and there may be nobody yet who could make it. The guard comes last, as it sends to read.
 */
int fuse_pool_start(struct door_dev *d)
{
	unsigned i;
	int r = 0;

	for (i = 0; i < POOL_START && !r; i++)
		r = add_worker(d);
	if (!r)
		r = helper_start(d, &d->spawner, spawner_main);
	if (!r)
		r = helper_start(d, &d->guard, guard_main);
	if (!r)
		unpark(d);
	return r;
}

/*
 * Ends the threads. If the connection is over they find out by themselves; if it is not (nobody had
 * the right to end it), a reader is woken by a request, so make some: each reader that gets one
 * ends, and the last one closes the connection, which answers what nobody read.
 */
void fuse_pool_stop(struct door_dev *d)
{
	struct timespec moment = { .tv_nsec = 1000000 };
	unsigned i;
	bool done;

	atomic_store(&d->stopping, true);
	helper_stop(&d->spawner);
	pthread_mutex_lock(&d->pool_lock);
	d->pool_stop = true;
	done = !d->n_threads;
	pthread_mutex_unlock(&d->pool_lock);
	for (i = 0; i < POOL_MAX; i++)
		sem_post(&d->spare);
	while (!done) {
		if (own_ask_root(d))
			nanosleep(&moment, NULL); /* the connection is gone; they notice */
		pthread_mutex_lock(&d->pool_lock);
		done = !d->n_threads;
		pthread_mutex_unlock(&d->pool_lock);
	}
	helper_stop(&d->guard);
	/* The connection is closed: requests have their answer, and nothing waits for a reader. */
	while (d->deferred) {
		struct deferred *q = d->deferred;

		d->deferred = q->next;
		if (q->put)
			handle_put(d, q->put);
		deferred_free(d, q);
	}
	d->deferred_tail = &d->deferred;
}
