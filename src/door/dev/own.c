/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What this process does as a client of its own file system: it opens device files for clients,
 * maps their pages for the models, and recognises files of its own among a client's descriptors.
 *
 * All of that waits for answers of our own FUSE threads, and the kernel lets nobody out of such a
 * wait before the answer or the end of the connection, not even by SIGKILL. A process that is
 * killed has nobody left who answers; the connection ends when the last table of descriptors that
 * holds /dev/fuse is gone, and a table lasts as long as a thread that shares it. It is worse with a
 * file of our own in such a table: the kernel closes it when the table goes, each close is a
 * request, and /dev/fuse is closed only behind it.
 *
 * So what can wait is done by two threads with tables of their own in which /dev/fuse is not:
 *  - the opener opens, maps, writes back and unmaps, and puts device files into clients
 * (session.c);
 *  - the looker takes descriptors out of clients. What is no file of ours it passes on (client.c).
 * Files of our own are never in any other table.
 *
 * Whoever calls them waits without being in the kernel's way. FUSE threads may all be waiting here
 * at once, so what these two ask for must be "quick" (fuse_is_quick()): the reader answers it.
 */
#include <errno.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "door/dev/priv.h"

struct own_job {
	struct own_job *next;
	int (*fn)(struct door_dev *d, void *data);
	void *data;
	int result;
	bool done;
};

/* ------------------------------------------------------------------ tables of descriptors */

/**
 * table_own() - gives the calling thread a table of descriptors of its own that holds only @keep.
 * The others' is left as it is. Returns 0 or -errno.
 */
int table_own(const int *keep, unsigned n)
{
	unsigned first = 0;

	if (unshare(CLONE_FILES))
		return -errno;
	for (;;) {
		unsigned next = UINT32_MAX, i;

		for (i = 0; i < n; i++)
			if ((unsigned)keep[i] >= first && (unsigned)keep[i] < next)
				next = (unsigned)keep[i];
		if (next == UINT32_MAX)
			return syscall(SYS_close_range, first, ~0u, 0u) ? -errno : 0;
		if (next > first && syscall(SYS_close_range, first, next - 1, 0u))
			return -errno;
		first = next + 1;
	}
}

/*
 * What threads with tables of their own do with descriptors that no other table has goes past the
 * C library. The thread sanitizer watches the library's calls, and to it a number is one descriptor
 * in the whole process: a close here would be a race with a read of the FUSE threads, whose
 * descriptor of the same number is another file, and would make it forget what orders their calls.
 */
void table_close(int fd)
{
	syscall(SYS_close, fd);
}

void table_cleanup_close(int *fd)
{
	if (*fd >= 0)
		table_close(*fd);
}

int table_ioctl(int fd, unsigned long cmd, void *arg)
{
	return (int)syscall(SYS_ioctl, fd, cmd, arg);
}

void *table_map(void *at, size_t size, int fd, off_t offset)
{
	return (void *)syscall(SYS_mmap, at, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
			       fd, offset);
}

/* ------------------------------------------------------------------ jobs */

static void *own_main(void *data)
{
	struct own_thread *t = data;

	t->error = table_own(t->keep, t->n_keep);
	atomic_store(&t->tid, (uint32_t)gettid());
	sem_post(&t->ready);
	if (t->error)
		return NULL;
	pthread_mutex_lock(&t->lock);
	for (;;) {
		struct own_job *j = t->jobs;

		if (j) {
			t->jobs = j->next;
			pthread_mutex_unlock(&t->lock);
			j->result = j->fn(t->door, j->data);
			pthread_mutex_lock(&t->lock);
			j->done = true;
			pthread_cond_broadcast(&t->done);
		} else if (t->stop) {
			break;
		} else {
			pthread_cond_wait(&t->wake, &t->lock);
		}
	}
	pthread_mutex_unlock(&t->lock);
	return NULL;
}

/**
 * own_call() - has @fn run on the thread @t, and waits for it.
 * Returns what it returned, or -ENODEV where the door never opened.
 */
int own_call(struct own_thread *t, int (*fn)(struct door_dev *d, void *data), void *data)
{
	struct own_job job = { .fn = fn, .data = data }, **link;

	if (!t->started)
		return -ENODEV;
	pthread_mutex_lock(&t->lock);
	for (link = &t->jobs; *link; link = &(*link)->next)
		;
	*link = &job;
	pthread_cond_signal(&t->wake);
	while (!job.done)
		pthread_cond_wait(&t->done, &t->lock);
	pthread_mutex_unlock(&t->lock);
	return job.result;
}

/* ------------------------------------------------------------------ order */

/* Doors that have these threads. Who has the lock may wait for them, that is for a reader. */
static struct {
	pthread_mutex_t lock;
	struct door_dev *first;
} doors = { .lock = PTHREAD_MUTEX_INITIALIZER };

static int nothing(struct door_dev *d, void *data)
{
	return 0;
}

static int ask_root(struct door_dev *d, void *data)
{
	struct statx st;

	return statx(d->root_fd, "", AT_EMPTY_PATH | AT_STATX_FORCE_SYNC, STATX_BASIC_STATS, &st)
		       ? -errno
		       : 0;
}

static int open_dev(struct door_dev *d, void *data)
{
	TABLE_AUTO_CLOSE int dir = openat(d->root_fd, ".dev", O_PATH | O_DIRECTORY | O_CLOEXEC);

	return dir < 0 ? -errno : 0;
}

/* Whether the opener may use the file system. 0 or -errno. */
int own_try(struct door_dev *d)
{
	return own_call(&d->opener, open_dev, NULL);
}

/* Makes a request of our own file system. Returns 0, or -errno: its connection is over. */
int own_ask_root(struct door_dev *d)
{
	return d->looker.started ? own_call(&d->looker, ask_root, NULL) : ask_root(d, NULL);
}

/**
 * own_sync() - when this returns, whatever clients of @d caused before has been read.
 * A release among it too, of a file that one of our two threads had in its hands meanwhile: they
 * have let go of it before, and requests are read in the order in which they came.
 */
void own_sync(struct door_dev *d)
{
	own_call(&d->opener, nothing, NULL);
	own_call(&d->looker, ask_root, NULL);
}

/* The same of all doors. */
void own_sync_all(void)
{
	struct door_dev *d;

	pthread_mutex_lock(&doors.lock);
	for (d = doors.first; d; d = d->own_next)
		own_sync(d);
	pthread_mutex_unlock(&doors.lock);
}

static void doors_add(struct door_dev *d)
{
	pthread_mutex_lock(&doors.lock);
	d->own_next = doors.first;
	doors.first = d;
	pthread_mutex_unlock(&doors.lock);
}

/* It may not be there. */
static void doors_remove(struct door_dev *d)
{
	struct door_dev **at;

	pthread_mutex_lock(&doors.lock);
	for (at = &doors.first; *at && *at != d; at = &(*at)->own_next)
		;
	if (*at)
		*at = d->own_next;
	pthread_mutex_unlock(&doors.lock);
}

/* ------------------------------------------------------------------ start and end */

/* A thread that cannot have a table of its own is none: it has ended, and nobody calls it. */
static int own_thread_start(struct door_dev *d, struct own_thread *t)
{
	int r;

	t->door = d;
	sem_init(&t->ready, 0, 0);
	r = door_thread(own_main, t, &t->thread);
	if (!r) {
		while (sem_wait(&t->ready))
			;
		r = t->error;
		if (r)
			pthread_join(t->thread, NULL);
		else
			t->started = true;
	}
	sem_destroy(&t->ready);
	return r;
}

static void own_thread_stop(struct own_thread *t)
{
	if (!t->started)
		return;
	pthread_mutex_lock(&t->lock);
	t->stop = true;
	pthread_cond_signal(&t->wake);
	pthread_mutex_unlock(&t->lock);
	pthread_join(t->thread, NULL);
	t->started = false;
}

void own_init(struct door_dev *d)
{
	struct own_thread *threads[] = { &d->opener, &d->looker };
	unsigned i;

	for (i = 0; i < ARRAY_SIZE(threads); i++) {
		pthread_mutex_init(&threads[i]->lock, NULL);
		pthread_cond_init(&threads[i]->wake, NULL);
		pthread_cond_init(&threads[i]->done, NULL);
	}
	pthread_mutex_init(&d->look_lock, NULL);
	d->look_sock[0] = d->look_sock[1] = -1;
}

/* When d->root_fd and d->listener are there, and no client yet. Also on failure own_stop() is to be
 * called. */
int own_start(struct door_dev *d)
{
	int r;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, d->look_sock))
		return -errno;
	d->opener.keep[0] = d->looker.keep[0] = d->root_fd;
	d->opener.keep[1] = d->looker.keep[1] = d->listener;
	d->looker.keep[2] = d->look_sock[1];
	d->opener.n_keep = 2;
	d->looker.n_keep = 3;
	r = own_thread_start(d, &d->opener);
	if (!r)
		r = own_thread_start(d, &d->looker);
	/* The number stays the looker's; here it can be anybody's. */
	close(d->look_sock[1]);
	if (!r)
		doors_add(d);
	return r;
}

/* After the end of the connection: nothing waits any more, and no session is left. */
void own_stop(struct door_dev *d)
{
	doors_remove(d);
	own_thread_stop(&d->opener);
	own_thread_stop(&d->looker);
	if (d->look_sock[0] >= 0)
		close(fd_steal(&d->look_sock[0]));
}

void own_fini(struct door_dev *d)
{
	struct own_thread *threads[] = { &d->opener, &d->looker };
	unsigned i;

	for (i = 0; i < ARRAY_SIZE(threads); i++) {
		pthread_mutex_destroy(&threads[i]->lock);
		pthread_cond_destroy(&threads[i]->wake);
		pthread_cond_destroy(&threads[i]->done);
	}
	pthread_mutex_destroy(&d->look_lock);
}
