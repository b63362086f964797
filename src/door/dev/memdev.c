/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Device files where the kernel cannot share pages of files that FUSE serves directly (no
 * FUSE_DIRECT_IO_ALLOW_MMAP): a device file is a sparse memfd.
 *
 * Each session of a device (from its first open to its last close) has a memfd of its own, in which
 * a region's mappable pages lie at the region's file offset. Clients map it and need nobody for
 * that; the model's image of the BAR is our mapping of the same pages (pcif_bar_move_image()). What
 * else a client does with the file is seen by the command's filter and done in trap.c. A memfd of a
 * session that is over may live on with who has it mapped, and reaches nothing any more.
 *
 * Every open of the device is an open file of its own of that memfd, and has a lock that belongs to
 * it (fcntl F_OFD_SETLK), on a byte of its own: when the last reference to the open file is gone,
 * wherever it went, so is the lock. The reaper (reaper.c) says when there is reason to look; and
 * who is busy because of a device looks for himself (memdevs_reap()), since the lock goes before
 * close(2) returns to the client. A client can let its lock go or lock what it likes: it shortens
 * or lengthens its own session that way, until it ends.
 *
 * Source: Linux fs/file_table.c __fput(), fcntl_locking(2).
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>

#include "door/dev/priv.h"

/* A device whose close takes longer than that is busy. */
#define SETTLE_NS 5000000000ull

/* An open file of a client's. */
struct memfile {
	struct memfile *next;
	off_t byte;	      /* its lock */
	struct vfio_obj *obj; /* NULL: the session's */
};

/* Of all doors of the process: what a client of one closed may be awaited by one of another. */
static struct {
	pthread_mutex_t lock;	 /* innermost, short */
	pthread_cond_t cond;	 /* n_closing, or a door's mem_busy, has changed */
	struct memdev *open;	 /* sessions with files; under @lock */
	atomic_uint n_open;	 /* how many */
	unsigned n_closing;	 /* see memdevs_closing(); under @lock */
	_Atomic uint32_t rounds; /* numbers the looks at all sessions */
} mem = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.cond = PTHREAD_COND_INITIALIZER,
};

/* ------------------------------------------------------------------ who uses it */

static void put_obj(struct vfio_obj *obj)
{
	vfio_obj_put(obj);
	files_closed();
}

/* Called with mem.lock held. */
static void list_add(struct memdev *m)
{
	m->next = mem.open;
	mem.open = m;
	m->listed = true;
	m->refs++;
	atomic_fetch_add(&mem.n_open, 1);
}

/* Called with mem.lock held. */
static void list_remove(struct memdev *m)
{
	struct memdev **link = &mem.open;

	while (*link != m)
		link = &(*link)->next;
	*link = m->next;
	m->listed = false;
	atomic_fetch_sub(&mem.n_open, 1);
}

/* Whether there is a session with a file; one that is closing counts until it is told of. */
bool memdevs_any(void)
{
	return atomic_load(&mem.n_open);
}

/**
 * memdev_find() - the session of this door whose memfd a client's file is; a reference, or NULL.
 */
struct memdev *memdev_find(struct door_dev *d, uint32_t major, uint32_t minor, uint64_t ino)
{
	struct memdev *m;

	pthread_mutex_lock(&mem.lock);
	for (m = mem.open; m; m = m->next)
		if (m->ino == ino && m->major == major && m->minor == minor && m->func->door == d)
			break;
	if (m)
		m->refs++;
	pthread_mutex_unlock(&mem.lock);
	return m;
}

/* The door may not go as long as somebody works at its sessions. Called with mem.lock held. */
static void busy(struct door_dev *d, int more)
{
	d->mem_busy += (unsigned)more;
	if (!d->mem_busy)
		pthread_cond_broadcast(&mem.cond);
}

/* ------------------------------------------------------------------ begin and end */

static int make_pages(struct memdev *m)
{
	uint64_t base[PCIF_NUM_BARS];
	struct stat st;
	unsigned bar;
	int r;

	for (bar = 0; bar < PCIF_NUM_BARS; bar++)
		base[bar] = memdev_region_offset(bar);
	r = door_pages_begin(&m->pages, m->func->f, base, MEMDEV_SIZE);
	if (r)
		return r;
	if (fstat(m->pages.fd, &st)) {
		r = -errno;
		door_pages_end(&m->pages);
		return r;
	}
	m->ino = st.st_ino;
	m->major = major(st.st_dev);
	m->minor = minor(st.st_dev);
	return 0;
}

/* Called with func->lock held; nobody can find it any more. */
static void memdev_free(struct memdev *m)
{
	door_pages_end(&m->pages);
	if (m->obj)
		put_obj(m->obj);
	door_func_put(m->func);
	free(m);
}

/* Called with func->lock held. @obj: consumed on success. */
static int memdev_new(struct door_func *func, struct vfio_obj *obj)
{
	struct memdev *m = calloc(1, sizeof(*m));
	int r;

	if (!m)
		return -ENOMEM;
	m->func = func;
	r = make_pages(m);
	if (r) {
		free(m);
		return r;
	}
	door_func_ref(func);
	m->obj = obj;
	m->wd = reaper_watch(m->pages.fd);
	pthread_mutex_lock(&mem.lock);
	list_add(m);
	busy(func->door, 1);
	pthread_mutex_unlock(&mem.lock);
	func->mem = m;
	pcif_set_shared(func->f, true);
	return 0;
}

/* Called with func->lock held, when the last file is gone and no request is at work. */
static void memdev_end(struct memdev *m)
{
	struct door_func *func = m->func;

	func->mem = NULL;
	pcif_set_shared(func->f, false);
	reaper_unwatch(m->wd);
	/* The image is the function's own again when the close of the device resets it. */
	memdev_free(m);
}

/**
 * memdevs_closing() - something is on its way out: a session without files, a copy of ours of a
 * file that a client has by now; @done: and has arrived. Who is told "busy" meanwhile waits.
 */
void memdevs_closing(bool done)
{
	pthread_mutex_lock(&mem.lock);
	mem.n_closing += done ? -1u : 1u;
	pthread_cond_broadcast(&mem.cond);
	pthread_mutex_unlock(&mem.lock);
}

/* A session of @func had no reference left; but it may have been opened again, and ended by
 * somebody else. Consumes a reference on @func. */
static void end_if_over(struct door_func *func)
{
	struct door_dev *d = func->door;
	struct memdev *m;
	bool over;

	pthread_mutex_lock(&func->lock);
	m = func->mem;
	pthread_mutex_lock(&mem.lock);
	over = m && !m->refs;
	pthread_mutex_unlock(&mem.lock);
	if (over)
		memdev_end(m);
	pthread_mutex_unlock(&func->lock);
	if (over)
		memdevs_closing(true);
	door_func_put(func);
	/* The last touch of the door. */
	pthread_mutex_lock(&mem.lock);
	busy(d, over ? -2 : -1);
	pthread_mutex_unlock(&mem.lock);
}

/* The last reference after the last file ends the session, which may wait for the device. */
void memdev_put(struct memdev *m)
{
	struct door_func *func = m->func;
	bool last;

	pthread_mutex_lock(&mem.lock);
	last = !--m->refs;
	if (last) {
		busy(func->door, 1);
		door_func_ref(func);
	}
	pthread_mutex_unlock(&mem.lock);
	if (last)
		end_if_over(func);
}

/* ------------------------------------------------------------------ open files */

static int lock_byte(int fd, int cmd, struct flock *l, off_t byte)
{
	*l = (struct flock){ .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1 };
	return fcntl(fd, cmd, l) ? -errno : 0;
}

static bool is_gone(const struct memdev *m, const struct memfile *f)
{
	struct flock l;

	return !lock_byte(m->pages.fd, F_OFD_GETLK, &l, f->byte) && l.l_type == F_UNLCK;
}

/* Called with func->lock held. @obj: consumed on success; NULL: the session's. */
static int file_open_new(struct memdev *m, struct vfio_obj *obj, int *fd)
{
	struct memfile *f = malloc(sizeof(*f));
	struct flock l;
	char path[40];
	int r;

	if (!f)
		return -ENOMEM;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", m->pages.fd);
	*fd = open(path, O_RDWR | O_CLOEXEC);
	/* Who reads or writes at the file's own position, which nobody sees, is at its end: no
	 * bytes that look like the device's. */
	if (*fd >= 0)
		(void)lseek(*fd, 0, SEEK_END);
	r = *fd < 0 ? -errno : lock_byte(*fd, F_OFD_SETLK, &l, m->next_byte);
	if (r) {
		if (*fd >= 0)
			close(*fd);
		free(f);
		return r;
	}
	f->byte = m->next_byte++;
	f->obj = obj;
	f->next = m->files;
	m->files = f;
	return 0;
}

/* Called with func->lock held. Forgets files that are gone; true if there were some. */
static bool files_reap(struct memdev *m, bool all)
{
	struct memfile **link = &m->files, *f;
	bool any = false;

	while ((f = *link)) {
		if (!all && !is_gone(m, f)) {
			link = &f->next;
			continue;
		}
		*link = f->next;
		if (f->obj)
			put_obj(f->obj);
		free(f);
		any = true;
	}
	return any;
}

/*
 * Called with func->lock held. True: the list's reference is the caller's to put. Who does not find
 * it in the list any more must see that it is closing.
 */
static bool unlist_closed(struct memdev *m)
{
	if (!m->listed || m->files)
		return false;
	memdevs_closing(false);
	pthread_mutex_lock(&mem.lock);
	list_remove(m);
	pthread_mutex_unlock(&mem.lock);
	return true;
}

/* A request is still at work on a session that had no file left. Called with func->lock held. */
static void list_again(struct memdev *m)
{
	pthread_mutex_lock(&mem.lock);
	list_add(m);
	pthread_mutex_unlock(&mem.lock);
	memdevs_closing(true);
}

/* Called with func->lock held. */
static int open_locked(struct door_func *func, struct vfio_obj **obj, int *fd)
{
	struct vfio_obj *extra = NULL;
	int r;

	if (!func->mem) {
		r = memdev_new(func, *obj);
		if (r)
			return r;
		*obj = NULL;
	} else {
		extra = *obj;
		if (!func->mem->listed)
			list_again(func->mem);
	}
	r = file_open_new(func->mem, extra, fd);
	if (!r)
		*obj = NULL;
	return r;
}

/**
 * memdev_open() - makes a descriptor of a device object; as session_open().
 */
int memdev_open(struct door_dev *d, struct vfio_obj *obj, int *fd)
{
	struct door_func *func = door_func_get(d, vfio_device_function(obj));
	struct memdev *over = NULL;
	int r = -ENOMEM;

	files_opened();
	if (func) {
		pthread_mutex_lock(&func->lock);
		r = open_locked(func, &obj, fd);
		if (r && func->mem && unlist_closed(func->mem))
			over = func->mem;
		pthread_mutex_unlock(&func->lock);
	}
	if (over)
		memdev_put(over);
	if (func)
		door_func_put(func);
	if (r && obj)
		put_obj(obj);
	if (!r)
		reaper_hint();
	return r;
}

/* ------------------------------------------------------------------ closes */

/* One session that was not looked at in this round (or, with @dirty, that is to be looked at). */
static struct memdev *next_of_round(uint32_t round, bool dirty)
{
	struct memdev *m;

	pthread_mutex_lock(&mem.lock);
	for (m = mem.open; m; m = m->next)
		if (m->round != round && (!dirty || m->dirty))
			break;
	if (m) {
		m->round = round;
		m->refs++;
	}
	pthread_mutex_unlock(&mem.lock);
	return m;
}

static void *put_main(void *data)
{
	memdev_put(data);
	return NULL;
}

/* A device may take its time to end, and others are to be noticed meanwhile. */
static void put_elsewhere(struct memdev *m)
{
	if (door_thread(put_main, m, NULL))
		memdev_put(m);
}

/* Consumes a reference. */
static bool reap(struct memdev *m, bool elsewhere)
{
	struct door_func *func = m->func;
	bool any, over;

	pthread_mutex_lock(&func->lock);
	any = files_reap(m, false);
	over = unlist_closed(m);
	pthread_mutex_unlock(&func->lock);
	if (over) { /* the list's */
		pthread_mutex_lock(&mem.lock);
		m->refs--;
		pthread_mutex_unlock(&mem.lock);
	}
	if (over && elsewhere)
		put_elsewhere(m);
	else
		memdev_put(m);
	return any;
}

/**
 * memdevs_reap() - notices now what clients have closed. Returns true if there was something.
 */
bool memdevs_reap(void)
{
	struct memdev *m;
	uint32_t round;
	bool any = false;

	if (!memdevs_any())
		return false;
	round = atomic_fetch_add(&mem.rounds, 1) + 1;
	while ((m = next_of_round(round, false)))
		any |= reap(m, false);
	return any;
}

/* The same for sessions that are marked; @last: it is not expected of them any more. */
void memdevs_reap_marked(bool last)
{
	uint32_t round = atomic_fetch_add(&mem.rounds, 1) + 1;
	struct memdev *m;

	while ((m = next_of_round(round, true))) {
		if (last) {
			pthread_mutex_lock(&mem.lock);
			m->dirty = false;
			pthread_mutex_unlock(&mem.lock);
		}
		reap(m, true);
	}
}

/* Some file of the session with this watch was closed; -1: of all sessions. False: of none. */
bool memdevs_mark(int wd)
{
	struct memdev *m;
	bool any = false;

	pthread_mutex_lock(&mem.lock);
	for (m = mem.open; m; m = m->next)
		if (wd < 0 || m->wd == wd)
			m->dirty = any = true;
	pthread_mutex_unlock(&mem.lock);
	return any;
}

/**
 * memdevs_settle() - a device that was closed before is given back when this returns, unless
 * it takes longer than is decent.
 */
void memdevs_settle(void)
{
	uint64_t deadline = time_mono_ns() + SETTLE_NS;
	struct timespec ts = {
		.tv_sec = (time_t)(deadline / 1000000000u),
		.tv_nsec = (long)(deadline % 1000000000u),
	};
	bool again;
	int r = 0;

	do {
		memdevs_reap();
		pthread_mutex_lock(&mem.lock);
		again = mem.n_closing;
		while (mem.n_closing && !r)
			r = pthread_cond_clockwait(&mem.cond, &mem.lock, CLOCK_MONOTONIC, &ts);
		pthread_mutex_unlock(&mem.lock);
	} while (again && !r);
}

/* ------------------------------------------------------------------ start and end */

/* A file of that size may be more than the user's shell allows. After the fork: the command keeps
 * the limit that it had. */
static int raise_file_limit(struct door_error *err)
{
	struct rlimit lim;

	if (getrlimit(RLIMIT_FSIZE, &lim))
		return -errno;
	if (lim.rlim_cur >= MEMDEV_SIZE)
		return 0;
	lim.rlim_cur = lim.rlim_max;
	if (lim.rlim_max >= MEMDEV_SIZE && !setrlimit(RLIMIT_FSIZE, &lim))
		return 0;
	return explain_text(err, -EFBIG,
			    "device files are sparse files of 16 TiB on this kernel, and the limit "
			    "of file sizes forbids that: 'ulimit -f unlimited' where that is set");
}

/* For a door whose device files are memfds. */
int memdevs_start(struct door_dev *d, struct door_error *err)
{
	int r = raise_file_limit(err);

	if (r)
		return r;
	r = reaper_start();
	d->mem_started = !r;
	return r;
}

/* A function that was not stopped yet; a reference, or NULL. */
static struct door_func *stop_next(struct door_dev *d)
{
	struct door_func *func;

	pthread_mutex_lock(&d->lock);
	for (func = d->funcs; func && func->stopped; func = func->next)
		;
	if (func) {
		func->stopped = true;
		door_func_ref(func);
	}
	pthread_mutex_unlock(&d->lock);
	return func;
}

/* When no request is at work any more: what clients have open is closed as if they had. */
void memdevs_stop(struct door_dev *d)
{
	struct door_func *func;

	if (!d->mem_started)
		return;
	while ((func = stop_next(d))) {
		struct memdev *over = NULL;

		pthread_mutex_lock(&func->lock);
		if (func->mem) {
			files_reap(func->mem, true);
			if (unlist_closed(func->mem))
				over = func->mem;
		}
		pthread_mutex_unlock(&func->lock);
		if (over)
			memdev_put(over);
		door_func_put(func);
	}
	pthread_mutex_lock(&mem.lock);
	while (d->mem_busy)
		pthread_cond_wait(&mem.cond, &mem.lock);
	pthread_mutex_unlock(&mem.lock);
	reaper_stop();
	d->mem_started = false;
}
