/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Device sessions: from the first open of a function's device file to its last close.
 *
 * Clients map BAR pages of the device file, and the pages they then share are those of the file's
 * page cache. For the model to see the same bytes this process maps the same file, at places where
 * the BAR's policy lets clients map it; elsewhere its image stays the function's own memfd. Filling
 * and writing back those pages is the FUSE threads' work, from and to the memfd.
 *
 * A thread that touches such a page may wait for a FUSE thread. What the kernel does under this
 * process's address space lock must not, because a FUSE thread may be waiting for that lock:
 *  - mmap of a direct-io file drops its cached pages. A new inode number for each session makes
 *    sure that there are none.
 *  - munmap waits until dirty pages are written back. The last client is gone by then, the model
 *    uses the memfd again, and msync (which holds no lock while it waits) has cleaned the pages.
 */
#include <errno.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "door/dev/priv.h"

struct pending *pending_find(struct door_dev *d, pid_t tid)
{
	struct pending *p;

	pthread_mutex_lock(&d->lock);
	for (p = d->pending; p && p->tid != tid; p = p->next)
		;
	pthread_mutex_unlock(&d->lock);
	/* It stays while the thread named in it waits for our answer. */
	return p;
}

/*
 * Opens the session's file from this thread: bound to @obj, or (NULL) for our own mapping. *@taken:
 * the open file owns @obj now, also if its opening failed in the end.
 */
static int open_file(struct session *s, struct vfio_obj *obj, bool *taken)
{
	struct door_dev *d = s->func->door;
	struct pending p = {
		.tid = (pid_t)syscall(SYS_gettid),
		.session = s,
		.obj = obj,
	};
	struct pending **link;
	int fd;

	pthread_mutex_lock(&d->lock);
	p.next = d->pending;
	d->pending = &p;
	pthread_mutex_unlock(&d->lock);

	fd = openat(d->root_fd, ".dev/device", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		fd = -errno;

	pthread_mutex_lock(&d->lock);
	for (link = &d->pending; *link != &p; link = &(*link)->next)
		;
	*link = p.next;
	pthread_mutex_unlock(&d->lock);
	*taken = p.taken;
	return fd;
}

/* ------------------------------------------------------------------ functions */

/* That of @f, new if there is none. */
struct door_func *door_func_get(struct door_dev *d, struct pcif *f)
{
	struct door_func *func, *fresh = calloc(1, sizeof(*fresh));

	pthread_mutex_lock(&d->lock);
	for (func = d->funcs; func && func->f != f; func = func->next)
		;
	if (!func && fresh) {
		func = fresh;
		fresh = NULL;
		func->f = pcif_get(f);
		func->door = d;
		pthread_mutex_init(&func->lock, NULL);
		func->next = d->funcs;
		d->funcs = func;
	}
	if (func)
		door_func_ref(func);
	pthread_mutex_unlock(&d->lock);
	free(fresh);
	return func;
}

struct door_func *door_func_ref(struct door_func *func)
{
	atomic_fetch_add(&func->refs, 1);
	return func;
}

void door_func_put(struct door_func *func)
{
	struct door_dev *d = func->door;
	struct door_func **at;
	bool last;

	pthread_mutex_lock(&d->lock);
	last = atomic_fetch_sub(&func->refs, 1) == 1;
	if (last) {
		for (at = &d->funcs; *at != func; at = &(*at)->next)
			;
		*at = func->next;
	}
	pthread_mutex_unlock(&d->lock);
	if (!last)
		return;
	pthread_mutex_destroy(&func->lock);
	/* Which may end the function, where it has left the machine. */
	pcif_put(func->f);
	free(func);
}

/* Not with its function's lock, but where there is another reference on that. */
void session_put(struct session *s)
{
	if (atomic_fetch_sub(&s->refs, 1) != 1)
		return;
	door_func_put(s->func);
	free(s);
}

/* ------------------------------------------------------------------ sessions */

static void unmap_images(struct session *s)
{
	const struct pcif_desc *desc = pcif_desc(s->func->f);
	unsigned bar;

	for (bar = 0; bar < PCIF_NUM_BARS; bar++) {
		if (!s->image[bar])
			continue;
		pcif_bar_set_image(s->func->f, bar, NULL);
		/* Fails if the connection is gone; then the pages are lost with it. */
		(void)msync(s->image[bar], desc->bars[bar].size, MS_SYNC);
		munmap(s->image[bar], desc->bars[bar].size);
		s->image[bar] = NULL;
	}
}

/* The BAR's memfd, with the file's pages in the places that clients may map. */
static int map_image(struct session *s, int fd, unsigned bar)
{
	const struct pcif_bar *b = &pcif_desc(s->func->f)->bars[bar];
	uint64_t offset;
	int memfd = pcif_bar_memfd(s->func->f, bar, &offset);
	uint8_t *image;
	unsigned i;

	image = mmap(NULL, b->size, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, (off_t)offset);
	if (image == MAP_FAILED)
		return -errno;
	for (i = 0; i < b->n_areas; i++) {
		const struct pcif_bar_area *a = &b->areas[i];
		off_t at = (off_t)(((uint64_t)bar << VFIO_REGION_SHIFT) + a->offset);

		if (a->policy == PCIF_PAGE_TRAP)
			continue;
		if (mmap(image + a->offset, a->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
			 fd, at) == MAP_FAILED) {
			int r = -errno;

			munmap(image, b->size);
			return r;
		}
	}
	s->image[bar] = image;
	pcif_bar_set_image(s->func->f, bar, image);
	return 0;
}

static bool bar_is_shared(const struct pcif_bar *b)
{
	unsigned i;

	if (b->type != PCIF_BAR_MEM32 && b->type != PCIF_BAR_MEM64)
		return false;
	for (i = 0; i < b->n_areas; i++)
		if (b->areas[i].policy != PCIF_PAGE_TRAP)
			return true;
	return false;
}

static int map_images(struct session *s)
{
	const struct pcif_desc *desc = pcif_desc(s->func->f);
	AUTO_CLOSE int fd = -1;
	unsigned bar;
	bool taken;
	int r;

	for (bar = 0; bar < PCIF_NUM_BARS; bar++) {
		if (!bar_is_shared(&desc->bars[bar]))
			continue;
		if (fd < 0) {
			r = open_file(s, NULL, &taken);
			if (r < 0)
				return r;
			fd = r;
		}
		r = map_image(s, fd, bar);
		if (r) {
			unmap_images(s);
			return r;
		}
	}
	return 0;
}

/* Called with door_func.lock held. */
static int session_begin(struct door_func *func)
{
	struct door_dev *d = func->door;
	struct session *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return -ENOMEM;
	s->func = door_func_ref(func);
	atomic_init(&s->refs, 1);
	pthread_mutex_lock(&d->lock);
	s->nodeid = NODE_ID(NODE_SESSION, ++d->next_session);
	pthread_mutex_unlock(&d->lock);
	r = map_images(s);
	if (r) {
		session_put(s);
		return r;
	}
	func->session = s;
	/* Not at a client's first fault, which we may never see: a page that the machine touched
	 * before is in the page cache. */
	pcif_set_shared(func->f, true);
	return 0;
}

/* Called with door_func.lock held, when the last client's file is gone. */
static void session_end(struct door_func *func)
{
	struct session *s = func->session;

	func->session = NULL;
	pcif_set_shared(func->f, false);
	unmap_images(s);
	session_put(s);
}

/**
 * session_open() - makes a descriptor of a device object.
 * @obj: consumed, on failure too
 * @fd: owned by the caller; its last close, wherever it went, puts @obj
 * Returns 0 or -errno.
 */
int session_open(struct door_dev *d, struct vfio_obj *obj, int *fd)
{
	struct door_func *func = door_func_get(d, vfio_device_function(obj));
	bool taken = false;
	int r = -ENOMEM;

	if (func) {
		pthread_mutex_lock(&func->lock);
		r = func->session ? 0 : session_begin(func);
		if (!r) {
			func->session->clients++;
			r = open_file(func->session, obj, &taken);
			if (r < 0 && !taken && !--func->session->clients)
				session_end(func);
		}
		pthread_mutex_unlock(&func->lock);
		door_func_put(func);
	}
	if (r < 0) {
		if (!taken)
			vfio_obj_put(obj);
		return r;
	}
	*fd = r;
	return 0;
}

/* A client's device file is gone. */
void session_client_gone(struct session *s)
{
	struct door_func *func = s->func;

	pthread_mutex_lock(&func->lock);
	if (!--s->clients)
		session_end(func);
	pthread_mutex_unlock(&func->lock);
}
