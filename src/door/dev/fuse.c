/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The FUSE server's threads and its side of the protocol (linux/fuse.h; Linux fs/fuse/dev.c).
 *
 * One thread reads requests and answers them. More than that are not let near the descriptor
 * without need: the kernel would hand requests to them in turn, and a trapped access takes a
 * quarter longer where each is answered by another thread than the one before.
 *
 * But somebody must be reading whenever the answer to a request has to wait: threads of this
 * process touch pages of our own files, and whoever waits for such a page waits for a reader. So
 * there are spare threads, parked, and
 *  - who knows that it will wait (a close, a reset, a request that looks at other files) sends a
 *    spare thread to read first: fuse_step_aside();
 *  - who does not know is watched: while there are requests, the helper thread looks every
 *    millisecond, and where nobody reads and nothing moved since the last look it sends one.
 * Whoever is done and finds somebody reading parks, or ends if enough are parked. The helper sleeps
 * while there are no requests. It alone starts threads, because that takes the address space lock,
 * whose holder may be waiting for a page. When no more can be started, the last reader only does
 * what cannot wait (the page path, bookkeeping) and puts everything else into a list for those who
 * come free.
 *
 * For the same reason a thread's buffers are populated from the start, and are shared memory so
 * that a fork elsewhere does not make them copy-on-write.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

#include "door/dev/priv.h"

/* ------------------------------------------------------------------ answers */

static int send_out(struct fuse_req *r, int error, size_t size)
{
	struct fuse_out_header *out = (struct fuse_out_header *)r->worker->out;
	ssize_t n;

	out->len = (uint32_t)(sizeof(*out) + size);
	out->error = error;
	out->unique = r->h->unique;
	n = write(r->door->fuse_fd, out, out->len);
	return n < 0 ? -errno : 0;
}

int fuse_reply(struct fuse_req *r, int error)
{
	return send_out(r, error, 0);
}

int fuse_reply_out(struct fuse_req *r, size_t size)
{
	return send_out(r, 0, size);
}

int fuse_reply_data(struct fuse_req *r, const void *data, size_t size)
{
	memcpy(fuse_out(r), data, size);
	return send_out(r, 0, size);
}

/* ------------------------------------------------------------------ requests */

static void op_nothing(struct fuse_req *r)
{
	/* FORGET and INTERRUPT have no answer: node ids are never reused, and no request of ours
	 * waits for anything that an interrupt could end. */
}

static void op_ok(struct fuse_req *r)
{
	fuse_reply(r, 0);
}

static void op_opendir(struct fuse_req *r)
{
	struct fuse_open_out out = { 0 };

	fuse_reply_data(r, &out, sizeof(out));
}

/* What is not here is -ENOSYS: the kernel does not ask again, or has a default of its own. */
static const struct fuse_op {
	void (*run)(struct fuse_req *r);
	size_t min; /* bytes of arguments */
} ops[] = {
	[FUSE_LOOKUP] = { fs_lookup, 1 },
	[FUSE_FORGET] = { op_nothing, 0 },
	[FUSE_BATCH_FORGET] = { op_nothing, 0 },
	[FUSE_INTERRUPT] = { op_nothing, 0 },
	[FUSE_GETATTR] = { fs_getattr, sizeof(struct fuse_getattr_in) },
	[FUSE_SETATTR] = { fs_setattr, sizeof(struct fuse_setattr_in) },
	[FUSE_READLINK] = { fs_readlink, 0 },
	[FUSE_OPENDIR] = { op_opendir, sizeof(struct fuse_open_in) },
	[FUSE_READDIR] = { fs_readdir, sizeof(struct fuse_read_in) },
	[FUSE_RELEASEDIR] = { op_ok, 0 },
	[FUSE_STATFS] = { fs_statfs, 0 },
	[FUSE_OPEN] = { file_open, sizeof(struct fuse_open_in) },
	[FUSE_READ] = { file_read, sizeof(struct fuse_read_in) },
	[FUSE_WRITE] = { file_write, sizeof(struct fuse_write_in) },
	[FUSE_FLUSH] = { file_flush, sizeof(struct fuse_flush_in) },
	[FUSE_RELEASE] = { file_release, sizeof(struct fuse_release_in) },
	[FUSE_IOCTL] = { file_ioctl, sizeof(struct fuse_ioctl_in) },
	[FUSE_DESTROY] = { op_ok, 0 },
};

/* Will the request be answered without waiting for anything? */
static bool is_quick(const struct fuse_in_header *h, const void *arg, size_t size)
{
	bool device = NODE_CLASS(h->nodeid) == NODE_SESSION;

	switch (h->opcode) {
	case FUSE_READ:
		return device && size >= sizeof(struct fuse_read_in) &&
		       !(((const struct fuse_read_in *)arg)->read_flags & FUSE_READ_LOCKOWNER);
	case FUSE_WRITE:
		return device && size >= sizeof(struct fuse_write_in) &&
		       ((const struct fuse_write_in *)arg)->write_flags & FUSE_WRITE_CACHE;
	case FUSE_OPEN:
	case FUSE_GETATTR:
		return device;
	case FUSE_LOOKUP:
		return h->nodeid == NODE_DEV_DIR || h->nodeid == NODE_ROOT;
	case FUSE_IOCTL:
		return size >= sizeof(struct fuse_ioctl_in) &&
		       ((const struct fuse_ioctl_in *)arg)->cmd == DOOR_IOC_HANDLE;
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
	case FUSE_INTERRUPT:
	case FUSE_FLUSH:
		return true;
	default:
		return h->opcode >= ARRAY_SIZE(ops) || !ops[h->opcode].run;
	}
}

static void run(struct fuse_worker *w, const void *data, size_t size)
{
	const struct fuse_in_header *h = data;
	struct fuse_req r = {
		.door = w->door,
		.worker = w,
		.h = h,
		.arg = h + 1,
		.arg_size = size - sizeof(*h),
	};
	const struct fuse_op *op = h->opcode < ARRAY_SIZE(ops) ? &ops[h->opcode] : NULL;

	if (!op || !op->run)
		fuse_reply(&r, -ENOSYS);
	else if (r.arg_size < op->min)
		fuse_reply(&r, -EINVAL);
	else
		op->run(&r);
}

/* ------------------------------------------------------------------ threads */

static void *map_buffer(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static void worker_free(struct fuse_worker *w)
{
	if (w->in)
		munmap(w->in, FUSE_IN_SIZE);
	if (w->out)
		munmap(w->out, FUSE_OUT_SIZE);
	free(w);
}

static struct fuse_worker *worker_new(struct door_dev *d)
{
	struct fuse_worker *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	w->door = d;
	w->in = map_buffer(FUSE_IN_SIZE);
	w->out = map_buffer(FUSE_OUT_SIZE);
	if (!w->in || !w->out) {
		worker_free(w);
		return NULL;
	}
	return w;
}

/*
 * door_thread() - a thread that takes no signal of the process's (only faults of its own), so that
 * the handlers of the command line run where they expect to. @thread: NULL starts it detached.
 */
int door_thread(void *(*fn)(void *), void *data, pthread_t *thread)
{
	sigset_t block, old;
	pthread_attr_t attr;
	pthread_t t;
	int r;

	sigfillset(&block);
	sigdelset(&block, SIGBUS);
	sigdelset(&block, SIGSEGV);
	sigdelset(&block, SIGILL);
	sigdelset(&block, SIGFPE);
	pthread_sigmask(SIG_SETMASK, &block, &old);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, KIB(128));
	if (!thread)
		pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	r = -pthread_create(thread ? thread : &t, &attr, fn, data);
	pthread_attr_destroy(&attr);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return r;
}

static struct deferred *deferred_take(struct door_dev *d)
{
	struct deferred *q;

	if (!atomic_load_explicit(&d->n_deferred, memory_order_relaxed))
		return NULL;
	pthread_mutex_lock(&d->lock);
	q = d->deferred;
	if (q) {
		d->deferred = q->next;
		if (!d->deferred)
			d->deferred_tail = &d->deferred;
		atomic_fetch_sub(&d->n_deferred, 1);
	}
	pthread_mutex_unlock(&d->lock);
	return q;
}

/* The last reader's way to get rid of a request that may have to wait. */
static void deferred_put(struct fuse_worker *w, const void *data, size_t size)
{
	struct door_dev *d = w->door;
	struct deferred *q = malloc(sizeof(*q) + size);

	if (!q) {
		const struct fuse_in_header *h = data;
		struct fuse_req r = { .door = d, .worker = w, .h = h };

		fuse_reply(&r, -ENOMEM);
		return;
	}
	q->next = NULL;
	q->size = size;
	memcpy(q->data, data, size);
	pthread_mutex_lock(&d->lock);
	*d->deferred_tail = q;
	d->deferred_tail = &q->next;
	atomic_fetch_add(&d->n_deferred, 1);
	pthread_mutex_unlock(&d->lock);
}

static void run_deferred(struct fuse_worker *w)
{
	struct deferred *q;

	while ((q = deferred_take(w->door))) {
		run(w, q->data, q->size);
		free(q);
	}
}

/* Sends a parked thread to read. */
static bool unpark(struct door_dev *d)
{
	uint32_t n = atomic_load(&d->parked);

	do {
		if (!n)
			return false;
	} while (!atomic_compare_exchange_weak(&d->parked, &n, n - 1));
	atomic_fetch_add(&d->readers, 1);
	sem_post(&d->spare);
	return true;
}

static void wake_helper(struct door_dev *d)
{
	uint64_t one = 1;

	(void)!write(d->helper_event, &one, sizeof(one));
}

/* The calling thread's request may take its time: lets somebody else read meanwhile. */
void fuse_step_aside(struct door_dev *d)
{
	if (atomic_load(&d->readers))
		return;
	if (!unpark(d) || !atomic_load(&d->parked))
		wake_helper(d); /* to start the next spare one */
}

/* One request. Returns false where somebody else reads. */
static bool serve(struct fuse_worker *w, size_t size)
{
	struct door_dev *d = w->door;
	const struct fuse_in_header *h = (const struct fuse_in_header *)w->in;
	bool last;

	atomic_store_explicit(&d->moves, atomic_load_explicit(&d->moves, memory_order_relaxed) + 1,
			      memory_order_relaxed);
	last = atomic_fetch_sub(&d->readers, 1) == 1;
	if (!atomic_load(&d->watching))
		wake_helper(d);
	if (last && atomic_load_explicit(&d->exhausted, memory_order_relaxed) &&
	    !atomic_load(&d->parked) && !is_quick(h, h + 1, size - sizeof(*h)))
		deferred_put(w, w->in, size);
	else
		run(w, w->in, size);
	run_deferred(w);
	if (!atomic_fetch_add(&d->readers, 1))
		return true;
	atomic_fetch_sub(&d->readers, 1);
	return false;
}

/* Waits to be sent to read. Returns false where the thread is to end. */
static bool park(struct door_dev *d)
{
	while (sem_wait(&d->spare))
		;
	return !atomic_load(&d->stopping);
}

/* Called as the thread's last deed that touches the door. */
static void worker_ends(struct door_dev *d)
{
	pthread_mutex_lock(&d->lock);
	/* The last one closes the connection, so that whoever still waits for an answer gets one.
	 */
	if (!--d->n_threads && d->pool_stop)
		close(fd_steal(&d->fuse_fd));
	pthread_mutex_unlock(&d->lock);
}

/* Until somebody else does. Returns false at the end of the connection. */
static bool read_requests(struct fuse_worker *w)
{
	struct door_dev *d = w->door;

	while (!atomic_load(&d->stopping)) {
		ssize_t n = read(d->fuse_fd, w->in, FUSE_IN_SIZE);

		/* ENOENT: the request was taken back before we had it. */
		if (n < 0 && (errno == EINTR || errno == ENOENT || errno == EAGAIN))
			continue;
		if (n < 0)
			break;
		if ((size_t)n >= sizeof(struct fuse_in_header) && !serve(w, (size_t)n))
			return true;
	}
	atomic_fetch_sub(&d->readers, 1);
	return false;
}

static void *worker_main(void *data)
{
	struct fuse_worker *w = data;
	struct door_dev *d = w->door;

	while (park(d) && read_requests(w))
		if (atomic_fetch_add(&d->parked, 1) >= POOL_KEEP) {
			atomic_fetch_sub(&d->parked, 1);
			break;
		}
	run_deferred(w); /* put aside in the belief that this thread would look */
	worker_free(w);
	worker_ends(d);
	return NULL;
}

static int add_worker(struct door_dev *d)
{
	struct fuse_worker *w;
	bool full;
	int r;

	pthread_mutex_lock(&d->lock);
	full = d->n_threads >= POOL_MAX || d->pool_stop;
	if (!full)
		d->n_threads++;
	pthread_mutex_unlock(&d->lock);
	atomic_store(&d->exhausted, full);
	if (full)
		return -EAGAIN;
	w = worker_new(d);
	r = w ? door_thread(worker_main, w, NULL) : -ENOMEM;
	if (r) {
		pthread_mutex_lock(&d->lock);
		d->n_threads--;
		pthread_mutex_unlock(&d->lock);
		if (w)
			worker_free(w);
		atomic_store(&d->exhausted, true);
	}
	return r;
}

/*
 * Sees to it that somebody reads, and that somebody is parked. Whoever waits for a page may be
 * waiting for this thread, so it takes no lock but door_dev.lock.
 */
static void *helper_main(void *data)
{
	struct door_dev *d = data;
	struct pollfd event = { .fd = d->helper_event, .events = POLLIN };
	uint32_t seen = 0;
	unsigned still = 0;
	uint64_t n;

	while (!atomic_load(&d->stopping)) {
		uint32_t moves = atomic_load_explicit(&d->moves, memory_order_relaxed);

		still = moves == seen ? still + 1 : 0;
		seen = moves;
		if (still && !atomic_load(&d->readers))
			unpark(d);
		while (!atomic_load(&d->parked) && !add_worker(d))
			atomic_fetch_add(&d->parked, 1);
		/* Either this sees that nobody reads, or who left reading sees that nobody looks.
		 */
		atomic_store(&d->watching, still < HELPER_STILL_MAX);
		if (poll(&event, 1,
			 atomic_load(&d->readers) && still >= HELPER_STILL_MAX ? -1 : 1) > 0) {
			(void)!read(d->helper_event, &n, sizeof(n));
			still = 0;
		}
	}
	return NULL;
}

/* Tells models of clients that map their pages. */
static void *sharer_main(void *data)
{
	struct door_dev *d = data;
	uint64_t n;

	while (!atomic_load(&d->stopping)) {
		if (read(d->sharer_event, &n, sizeof(n)) < 0 && errno != EINTR)
			break;
		session_start_shared(d);
	}
	return NULL;
}

/* ------------------------------------------------------------------ start and end */

/**
 * fuse_handshake() - answers INIT, the first request, on the calling thread.
 * Returns 0, -EOPNOTSUPP with @err: the kernel cannot share direct-io files, or -errno.
 */
int fuse_handshake(struct door_dev *d, struct door_error *err)
{
	struct fuse_worker *w = worker_new(d);
	const struct fuse_in_header *h;
	const struct fuse_init_in *in;
	struct fuse_init_out out = { 0 };
	struct fuse_req r = { .door = d, .worker = w };
	ssize_t n;
	int ret = 0;

	if (!w)
		return -ENOMEM;
	do
		n = read(d->fuse_fd, w->in, FUSE_IN_SIZE);
	while (n < 0 && (errno == EINTR || errno == EAGAIN));
	h = r.h = (const struct fuse_in_header *)w->in;
	in = (const struct fuse_init_in *)(h + 1);
	if (n < 0) {
		ret = -errno;
	} else if ((size_t)n < sizeof(*h) + offsetof(struct fuse_init_in, unused) ||
		   h->opcode != FUSE_INIT || in->major != FUSE_KERNEL_VERSION) {
		ret = explain_old_kernel(err, "an old FUSE protocol");
	} else if (!(in->flags & FUSE_INIT_EXT) ||
		   !(in->flags2 & (uint32_t)(FUSE_DIRECT_IO_ALLOW_MMAP >> 32))) {
		fuse_reply(&r, -EPROTO);
		ret = explain_old_kernel(err, "no FUSE_DIRECT_IO_ALLOW_MMAP");
	} else {
		out.major = FUSE_KERNEL_VERSION;
		out.minor = MIN(in->minor, (uint32_t)FUSE_KERNEL_MINOR_VERSION);
		out.flags = FUSE_INIT_EXT | FUSE_BIG_WRITES | FUSE_MAX_PAGES | FUSE_PARALLEL_DIROPS;
		out.flags2 = (uint32_t)(FUSE_DIRECT_IO_ALLOW_MMAP >> 32);
		out.max_readahead = 0; /* one page a fault: neighbours may not be mappable */
		out.max_background = 1024;
		out.congestion_threshold = 768;
		out.max_write = FUSE_MAX_DATA;
		out.max_pages = FUSE_MAX_DATA / UVF_PAGE_SIZE;
		out.time_gran = 1;
		ret = fuse_reply_data(&r, &out, sizeof(out));
	}
	worker_free(w);
	return ret;
}

int fuse_pool_init(struct door_dev *d)
{
	d->deferred_tail = &d->deferred;
	sem_init(&d->spare, 0, 0);
	d->helper_event = eventfd(0, EFD_CLOEXEC);
	d->sharer_event = eventfd(0, EFD_CLOEXEC);
	return d->helper_event < 0 || d->sharer_event < 0 ? -errno : 0;
}

int fuse_pool_start(struct door_dev *d)
{
	unsigned i;
	int r;

	for (i = 0; i < POOL_START; i++) {
		r = add_worker(d);
		if (r)
			return r;
		atomic_fetch_add(&d->parked, 1);
	}
	unpark(d);
	r = door_thread(helper_main, d, &d->helper);
	d->helper_started = !r;
	if (!r)
		r = door_thread(sharer_main, d, &d->sharer);
	d->sharer_started = !r;
	return r;
}

/*
 * Ends the threads. If the connection is over they find out by themselves; if it is not (nobody had
 * the right to end it), a reader is woken by a request, so make some: each reader that gets one
 * ends, and the last one closes the connection, which answers what nobody read.
 */
void fuse_pool_stop(struct door_dev *d)
{
	uint64_t one = 1;
	struct statx st;
	unsigned i;
	bool done;

	atomic_store(&d->stopping, true);
	if (d->helper_started) {
		(void)!write(d->helper_event, &one, sizeof(one));
		pthread_join(d->helper, NULL);
		d->helper_started = false;
	}
	if (d->sharer_started) {
		(void)!write(d->sharer_event, &one, sizeof(one));
		pthread_join(d->sharer, NULL);
		d->sharer_started = false;
	}
	pthread_mutex_lock(&d->lock);
	d->pool_stop = true;
	done = !d->n_threads;
	pthread_mutex_unlock(&d->lock);
	for (i = 0; i < POOL_MAX; i++)
		sem_post(&d->spare);
	while (!done) {
		struct timespec moment = { .tv_nsec = 1000000 };

		if (statx(d->root_fd, "", AT_EMPTY_PATH | AT_STATX_FORCE_SYNC, STATX_BASIC_STATS,
			  &st))
			nanosleep(&moment, NULL); /* the connection is gone; they notice */
		pthread_mutex_lock(&d->lock);
		done = !d->n_threads;
		pthread_mutex_unlock(&d->lock);
	}
	while (d->deferred) {
		struct deferred *q = d->deferred;

		d->deferred = q->next;
		free(q);
	}
	d->deferred_tail = &d->deferred;
}
