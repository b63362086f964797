/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Device sessions: from the first open of a function's device file to its last close.
 *
 * Clients map BAR pages of the device file, and the pages they then share are those of the file's
 * page cache. For the model to see the same bytes this process maps the same file, at places where
 * the BAR's policy lets clients map it; elsewhere its image stays the function's own memfd. Filling
 * and writing back those pages is the FUSE threads' work, from and to the memfd.
 *
 * All that is done with the file is done on the opener's thread (own.c). A thread that touches a
 * page may wait for a FUSE thread. What the kernel does under this process's address space lock
 * must not: a FUSE thread may be waiting for that lock, and so does each thread that exits.
 *  - mmap of a direct-io file drops its cached pages. A new inode number for each session makes
 *    sure that there are none, and nobody touches one before the last mmap.
 *  - munmap waits until dirty pages are written back. The last client is gone by then, the model
 *    uses the memfd again, and msync (which holds no lock while it waits) has cleaned the pages.
 */
#include <errno.h>
#include <sys/mman.h>

#include "door/dev/priv.h"

/* ------------------------------------------------------------------ opening */

/* What the file will be: bound to @obj, or (NULL) for our own mapping. 0, -ENOMEM, -ENFILE. */
static int opening_init(struct opening *o, struct session *s, struct vfio_obj *obj)
{
	int r = handles_new(s->func->door, obj ? HANDLE_VFIO : HANDLE_OWN, &o->h, &o->fh);

	if (r)
		return r;
	o->session = s;
	atomic_fetch_add(&s->refs, 1);
	o->h->session = s;
	o->h->obj = obj;
	if (obj)
		o->h->leaving.group = (int)pcif_group(s->func->f);
	o->reached = false;
	return 0;
}

static void set_opening(struct door_dev *d, struct opening *o)
{
	pthread_mutex_lock(&d->opening_lock);
	d->opening = o;
	pthread_mutex_unlock(&d->opening_lock);
}

/* On the opener's thread: a descriptor, or -errno. */
static int open_file(struct door_dev *d, struct opening *o)
{
	int fd;

	set_opening(d, o);
	fd = openat(d->root_fd, ".dev/device", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		fd = -errno;
	/* Where the connection has ended, a FUSE thread may still have the request in its hands. It
	 * does not have @o: that may be gone when this returns. */
	set_opening(d, NULL);
	return fd;
}

/* On FUSE threads, the reader too. The inode of what the opener is at, or 0. */
uint64_t opening_node(struct door_dev *d)
{
	uint64_t nodeid;

	pthread_mutex_lock(&d->opening_lock);
	nodeid = d->opening ? d->opening->session->nodeid : 0;
	pthread_mutex_unlock(&d->opening_lock);
	return nodeid;
}

/* The same: the handle for the answer, or -ENXIO. */
int opening_reach(struct door_dev *d, uint64_t nodeid, uint64_t *fh)
{
	struct opening *o;
	int r = -ENXIO;

	pthread_mutex_lock(&d->opening_lock);
	o = d->opening;
	if (o && o->session->nodeid == nodeid) {
		*fh = o->fh;
		handle_publish(o->h);
		o->reached = true;
		r = 0;
	}
	pthread_mutex_unlock(&d->opening_lock);
	return r;
}

/* It came to nothing. The kernel may know of it all the same, and say that it is gone. */
static void opening_undo(struct door_dev *d, struct opening *o)
{
	struct handle *h;

	if (!o->reached)
		handle_publish(o->h);
	h = handle_get(d, o->fh);
	if (!h)
		return;
	handle_close(d, h);
	handle_put(d, h);
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

/* ------------------------------------------------------------------ mapping */

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

/* The BARs' own memory, over which the file's pages go. */
static int map_memfd(struct session *s)
{
	const struct pcif_desc *desc = pcif_desc(s->func->f);
	unsigned bar;

	for (bar = 0; bar < PCIF_NUM_BARS; bar++) {
		const struct pcif_bar *b = &desc->bars[bar];
		uint64_t offset;
		int memfd = pcif_bar_memfd(s->func->f, bar, &offset);
		void *p;

		if (!bar_is_shared(b))
			continue;
		p = mmap(NULL, b->size, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, (off_t)offset);
		if (p == MAP_FAILED)
			return -errno;
		s->image[bar] = p;
	}
	return 0;
}

/* On the opener's thread: the file's pages, in the places that clients may map. */
static int map_areas(const struct pcif_bar *b, unsigned bar, uint8_t *image, int fd)
{
	unsigned i;

	for (i = 0; i < b->n_areas; i++) {
		const struct pcif_bar_area *a = &b->areas[i];
		off_t at = (off_t)(((uint64_t)bar << VFIO_REGION_SHIFT) + a->offset);

		if (a->policy == PCIF_PAGE_TRAP)
			continue;
		if (table_map(image + a->offset, a->size, fd, at) == MAP_FAILED)
			return -errno;
		/* See fuse_handshake(): a fault on it can be killed. A hint is all that it is. */
		(void)madvise(image + a->offset, a->size, MADV_SEQUENTIAL);
	}
	return 0;
}

/* On the opener's thread. */
static int map_file(struct door_dev *d, void *data)
{
	struct session *s = data;
	const struct pcif_desc *desc = pcif_desc(s->func->f);
	struct opening o;
	unsigned bar;
	int fd, r;

	r = opening_init(&o, s, NULL);
	if (r)
		return r;
	fd = open_file(d, &o);
	if (fd < 0) {
		opening_undo(d, &o);
		return fd;
	}
	for (bar = 0; bar < PCIF_NUM_BARS && !r; bar++)
		if (s->image[bar])
			r = map_areas(&desc->bars[bar], bar, s->image[bar], fd);
	table_close(fd);
	return r;
}

/* On the opener's thread, when neither a client nor the model uses the pages any more. */
static int unmap_file(struct door_dev *d, void *data)
{
	struct session *s = data;
	const struct pcif_desc *desc = pcif_desc(s->func->f);
	unsigned bar;

	for (bar = 0; bar < PCIF_NUM_BARS; bar++) {
		if (!s->image[bar])
			continue;
		/* Fails if the connection is gone; then the pages are lost with it. */
		(void)msync(s->image[bar], desc->bars[bar].size, MS_SYNC);
		munmap(s->image[bar], desc->bars[bar].size);
		s->image[bar] = NULL;
	}
	return 0;
}

/* ------------------------------------------------------------------ begin and end */

static void use_images(struct session *s, bool use)
{
	unsigned bar;

	for (bar = 0; bar < PCIF_NUM_BARS; bar++)
		if (s->image[bar])
			pcif_bar_set_image(s->func->f, bar, use ? s->image[bar] : NULL);
}

static bool has_images(const struct session *s)
{
	unsigned bar;

	for (bar = 0; bar < PCIF_NUM_BARS; bar++)
		if (s->image[bar])
			return true;
	return false;
}

/* Called with door_func.lock held. @nodeid: of the file, if the client has it already; or 0. */
static int session_begin(struct door_func *func, uint64_t nodeid)
{
	struct door_dev *d = func->door;
	struct session *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return -ENOMEM;
	s->func = door_func_ref(func);
	atomic_init(&s->refs, 1);
	pthread_mutex_lock(&d->lock);
	s->nodeid = nodeid ? nodeid : NODE_ID(NODE_SESSION, ++d->next_session);
	pthread_mutex_unlock(&d->lock);
	r = map_memfd(s);
	if (!r && has_images(s))
		r = own_call(&d->opener, map_file, s);
	if (r) {
		own_call(&d->opener, unmap_file, s);
		session_put(s);
		return r;
	}
	/* Only now that nothing is left to be mapped: mmap would drop what the model touched. */
	use_images(s, true);
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
	use_images(s, false);
	own_call(&func->door->opener, unmap_file, s);
	session_put(s);
}

/* ------------------------------------------------------------------ device files */

struct giving {
	struct opening o;
	uint64_t notification;
	bool opened;
};

/*
 * On the opener's thread: the file, into the client, with the answer. That waits for the client's
 * thread to take it, which it does in the kernel.
 */
static int give(struct door_dev *d, void *data)
{
	struct giving *g = data;
	struct seccomp_notif_addfd add = {
		.id = g->notification,
		.flags = SECCOMP_ADDFD_FLAG_SEND,
		.newfd_flags = O_CLOEXEC,
	};
	int fd = open_file(d, &g->o);
	int r = 0;

	if (fd < 0)
		return fd;
	g->opened = true;
	add.srcfd = (uint32_t)fd;
	if (ioctl(d->listener, SECCOMP_IOCTL_NOTIF_ADDFD, &add) < 0)
		r = -errno; /* -EMFILE is the client's own; -ENOENT: it is gone */
	table_close(fd);
	return r;
}

/* Called with door_func.lock held. */
static int session_join(struct door_func *func, struct vfio_obj *obj, struct opening *o)
{
	int r = func->session ? 0 : session_begin(func, 0);

	if (r)
		return r;
	r = opening_init(o, func->session, obj);
	if (!r)
		func->session->clients++;
	else if (!func->session->clients)
		session_end(func);
	return r;
}

/**
 * session_give() - makes a device file and gives its client the descriptor.
 * @obj: consumed, on failure too; the last close of the descriptor, wherever it went, puts it
 * @notification: of the request, which it answers
 * Returns 0, or -errno: the request is still to be answered.
 */
int session_give(struct door_dev *d, struct vfio_obj *obj, uint64_t notification)
{
	struct door_func *func = door_func_get(d, vfio_device_function(obj));
	int group = (int)pcif_group(vfio_device_function(obj));
	struct giving g = { .notification = notification };
	int r = -ENOMEM;

	if (func) {
		pthread_mutex_lock(&func->lock);
		r = session_join(func, obj, &g.o);
		pthread_mutex_unlock(&func->lock);
		door_func_put(func);
	}
	if (r) {
		vfio_obj_put(obj);
		return r;
	}
	r = own_call(&d->opener, give, &g);
	/* Who finds us gone is to find the device closed. */
	if (r && g.opened)
		handles_settle(d, group);
	else if (r)
		opening_undo(d, &g.o);
	return r;
}

/*
 * A device's own file was bound: from now on it is a device file. It is the client's already, so
 * that its inode is the session's. Returns 0 or -errno.
 */
int session_bind(struct door_dev *d, struct handle *h)
{
	struct pcif *f = vfio_device_function(h->obj);
	struct door_func *func = door_func_get(d, f);
	int r;

	if (!func)
		return -ENOMEM;
	pthread_mutex_lock(&func->lock);
	/* Who had it open before has closed it, as it could not have been bound otherwise. */
	r = func->session ? -EBUSY : session_begin(func, h->cdev_node);
	if (!r) {
		atomic_fetch_add(&func->session->refs, 1);
		func->session->clients++;
		h->leaving.group = (int)pcif_group(f);
		atomic_store(&h->session, func->session);
	}
	pthread_mutex_unlock(&func->lock);
	door_func_put(func);
	return r;
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
