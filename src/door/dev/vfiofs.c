/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The VFIO files: open, read, write, ioctl, close, and the pages of device files that clients map.
 *
 * An ioctl number of VFIO says nothing of its argument, so the kernel hands us the bare pointer
 * (Linux fs/fuse/ioctl.c: no bytes travel for _IO). vfio_shape() tells what to copy; the request is
 * then carried out on the copy, and what it says back is written to the client.
 *
 * Reads and writes of a device file are of two kinds, which the kernel marks: trapped accesses of a
 * client's pread and pwrite carry a lock owner (fs/fuse/file.c, fuse_send_read()), page fills have
 * none; write-back carries FUSE_WRITE_CACHE. Pages come from and go to the function's memfd.
 */
#include <errno.h>
#include <linux/vfio.h>
#include <time.h>

#include "door/dev/priv.h"

/* ------------------------------------------------------------------ open and close */

static int open_group(struct door_dev *d, unsigned group, struct vfio_obj **obj)
{
	uint64_t deadline = time_mono_ns() + RELEASE_GRACE_NS;
	uint64_t seen;
	int r;

	fuse_step_aside(d);
	do {
		seen = handles_released(d);
		r = vfio_open_group(d->vfio, group, obj);
	} while (r == -EBUSY && handles_wait_released(d, seen, deadline));
	return r;
}

/* What lies behind a new handle. 0 or -errno. */
static int open_behind(struct fuse_req *r, struct handle *h)
{
	struct door_dev *d = r->door;
	struct pending *p;

	switch (NODE_CLASS(r->h->nodeid)) {
	case NODE_FIXED:
		if (r->h->nodeid != NODE_CONTAINER)
			return -ENOENT;
		return vfio_open_container(d->vfio, &h->obj);
	case NODE_GROUP:
		return open_group(d, NODE_NUMBER(r->h->nodeid), &h->obj);
	case NODE_VIEW:
		h->node = view_by_ino(d->view, NODE_NUMBER(r->h->nodeid));
		return h->node ? 0 : -ENOENT;
	default:
		/* As with the kernel's VFIO: a device file is not opened by name, nor again through
		 * /proc/PID/fd. */
		p = pending_find(d, (pid_t)r->h->pid);
		if (!p || p->session->nodeid != r->h->nodeid)
			return -ENXIO;
		atomic_fetch_add(&p->session->refs, 1);
		h->session = p->session;
		h->obj = p->obj;
		p->taken = true;
		return 0;
	}
}

static enum handle_kind kind_for(struct fuse_req *r)
{
	struct pending *p;

	if (NODE_CLASS(r->h->nodeid) == NODE_VIEW)
		return HANDLE_VIEW;
	if (NODE_CLASS(r->h->nodeid) != NODE_SESSION)
		return HANDLE_VFIO;
	p = pending_find(r->door, (pid_t)r->h->pid);
	return p && p->obj ? HANDLE_VFIO : HANDLE_OWN;
}

void file_open(struct fuse_req *r)
{
	struct fuse_open_out out = { .open_flags = FOPEN_DIRECT_IO };
	struct handle *h;
	int err;

	err = handles_new(r->door, kind_for(r), &h, &out.fh);
	if (err) {
		fuse_reply(r, err);
		return;
	}
	err = open_behind(r, h);
	handle_publish(h);
	if (err) {
		handle_close(r->door, h);
		fuse_reply(r, err);
		return;
	}
	if (h->kind == HANDLE_VIEW)
		out.open_flags |= FOPEN_NOFLUSH;
	else if (h->session)
		/* Others may have pages of the file mapped, and those are the truth. */
		out.open_flags |= FOPEN_KEEP_CACHE | FOPEN_PARALLEL_DIRECT_WRITES;
	else
		out.open_flags |= FOPEN_PARALLEL_DIRECT_WRITES;
	/* Not accepted: nobody will ever send its RELEASE. */
	if (fuse_reply_data(r, &out, sizeof(out)))
		handle_close(r->door, h);
}

void file_flush(struct fuse_req *r)
{
	const struct fuse_flush_in *in = r->arg;
	struct handle *h = handle_get(r->door, in->fh);

	if (h) {
		if (h->kind == HANDLE_VFIO)
			handle_flushed(r->door, h);
		handle_put(r->door, h);
	}
	fuse_reply(r, 0);
}

void file_release(struct fuse_req *r)
{
	const struct fuse_release_in *in = r->arg;
	struct handle *h = handle_get(r->door, in->fh);

	if (h) {
		/* The end of a device's session waits for our own pages to be written back. */
		if (h->kind == HANDLE_VFIO)
			fuse_step_aside(r->door);
		handle_close(r->door, h);
		handle_put(r->door, h);
	}
	fuse_reply(r, 0);
}

/* ------------------------------------------------------------------ pages */

/*
 * The page path. Other threads of this process may be waiting for it, with any lock held: no lock,
 * no allocation, only system calls on the memfd and memory that is populated.
 */
static void page_fill(struct fuse_req *r, struct handle *h, const struct fuse_read_in *in)
{
	struct pcif *f = h->session->func->f;
	uint64_t first = in->offset;
	uint64_t size = MIN(in->size, FUSE_MAX_DATA);
	uint64_t done = 0;

	while (done < size) {
		uint64_t at = first + done;
		uint64_t in_page = at & (UVF_PAGE_SIZE - 1);
		uint64_t n = MIN(size - done, UVF_PAGE_SIZE - in_page);
		uint64_t memfd_offset;
		int memfd;

		if (vfio_function_page(f, at - in_page, &memfd, &memfd_offset))
			break;
		if (fd_pread_all(memfd, (uint8_t *)fuse_out(r) + done, n, memfd_offset + in_page))
			break;
		done += n;
	}
	if (h->kind == HANDLE_VFIO)
		session_client_faulted(r->door, h->session);
	if (done < size)
		fuse_reply(r, -EIO); /* SIGBUS for who touched the page */
	else
		fuse_reply_out(r, size);
}

static void page_write_back(struct fuse_req *r, struct handle *h, const struct fuse_write_in *in)
{
	struct pcif *f = h->session->func->f;
	struct fuse_write_out out = { .size = in->size };
	uint64_t done = 0;

	while (done < in->size) {
		uint64_t at = in->offset + done;
		uint64_t in_page = at & (UVF_PAGE_SIZE - 1);
		uint64_t n = MIN(in->size - done, UVF_PAGE_SIZE - in_page);
		uint64_t memfd_offset;
		int memfd;

		if (vfio_function_page(f, at - in_page, &memfd, &memfd_offset) ||
		    fd_pwrite_all(memfd, (const uint8_t *)(in + 1) + done, n,
				  memfd_offset + in_page)) {
			fuse_reply(r, -EIO);
			return;
		}
		done += n;
	}
	fuse_reply_data(r, &out, sizeof(out));
}

/* ------------------------------------------------------------------ read and write */

static bool is_device(const struct handle *h)
{
	return h->kind == HANDLE_VFIO && h->session;
}

/*
 * Trapped accesses to a page that can be mapped as well: the model works on our own mapping of it,
 * and the kernel has just dropped the page (a direct write does that), so this thread will fault.
 */
static void expect_fault(struct fuse_req *r, struct handle *h, uint64_t offset)
{
	uint64_t memfd_offset;
	int memfd;

	if (!vfio_function_page(h->session->func->f, offset & ~(uint64_t)(UVF_PAGE_SIZE - 1),
				&memfd, &memfd_offset))
		fuse_step_aside(r->door);
}

void file_read(struct fuse_req *r)
{
	const struct fuse_read_in *in = r->arg;
	struct handle *h = handle_get(r->door, in->fh);
	ssize_t n = -EINVAL; /* containers and groups have no data */

	if (!h) {
		fuse_reply(r, -EBADF);
		return;
	}
	handle_used(r->door, h);
	if (h->session && !(in->read_flags & FUSE_READ_LOCKOWNER)) {
		page_fill(r, h, in);
	} else if (h->kind == HANDLE_VIEW) {
		fs_view_read(r, h, in);
	} else {
		if (is_device(h)) {
			expect_fault(r, h, in->offset);
			n = vfio_device_read(h->obj, fuse_out(r), MIN(in->size, FUSE_MAX_DATA),
					     in->offset);
		}
		if (n < 0)
			fuse_reply(r, (int)n);
		else
			fuse_reply_out(r, (size_t)n);
	}
	handle_put(r->door, h);
}

void file_write(struct fuse_req *r)
{
	const struct fuse_write_in *in = r->arg;
	struct fuse_write_out out = { 0 };
	struct handle *h = handle_get(r->door, in->fh);
	ssize_t n = -EINVAL;

	if (!h || in->size > r->arg_size - sizeof(*in)) {
		fuse_reply(r, -EBADF);
		if (h)
			handle_put(r->door, h);
		return;
	}
	if (h->session && in->write_flags & FUSE_WRITE_CACHE) {
		page_write_back(r, h, in);
	} else if (h->kind == HANDLE_VIEW) {
		fs_view_write(r, h, in);
	} else {
		handle_used(r->door, h);
		if (is_device(h)) {
			expect_fault(r, h, in->offset);
			n = vfio_device_write(h->obj, in + 1, in->size, in->offset);
		}
		out.size = n < 0 ? 0 : (uint32_t)n;
		if (n < 0)
			fuse_reply(r, (int)n);
		else
			fuse_reply_data(r, &out, sizeof(out));
	}
	handle_put(r->door, h);
}

/* ------------------------------------------------------------------ ioctl */

struct call {
	struct fuse_req *r;
	struct handle *h;
	pid_t tid;
	uint64_t arg; /* the client's pointer or number */
	struct vfio_call vc;
	struct vfio_client client;
	uint8_t *data;	    /* where the block is copied to */
	uint8_t asked[128]; /* what it said, where it is no longer than that */
	void *data_owned;   /* malloc'ed, where it did not fit the thread's buffer */
	bool wants_mem;	    /* client.mem is to be found with the first read */
	struct vfio_fd *fds;
	struct handle **handles;
};

/* Arguments are copied behind the place of the answer's header. */
#define CALL_DATA_OFFSET 64u
#define CALL_DATA_MAX (FUSE_MAX_DATA)

static int reserve(struct call *c, size_t size)
{
	if (size <= CALL_DATA_MAX) {
		c->data = (uint8_t *)c->r->worker->out + CALL_DATA_OFFSET;
		return 0;
	}
	c->data = c->data_owned = malloc(size);
	return c->data ? 0 : -ENOMEM;
}

static int call_read(struct call *c, uint64_t addr, void *buf, size_t size)
{
	if (c->wants_mem && !c->client.mem) {
		int r = iommu_mem_process_read(c->tid, addr, buf, size, &c->client.mem);

		if (!r || r == -EFAULT)
			return r;
		/* Its memory cannot be mapped then; that is vfio's to say where it matters. */
		c->wants_mem = false;
	}
	return c->client.mem ? iommu_mem_read(c->client.mem, addr, buf, size)
			     : client_read(c->tid, addr, buf, size);
}

static int call_write(struct call *c, uint64_t addr, const void *buf, size_t size)
{
	return c->client.mem ? iommu_mem_write(c->client.mem, addr, buf, size)
			     : client_write(c->tid, addr, buf, size);
}

/* The block as its first word says, between the shape's bounds; usually one system call. */
static int copy_argsz(struct call *c, const struct vfio_shape *shape)
{
	uint32_t min = MAX(shape->min, (uint32_t)sizeof(uint32_t));
	uint32_t argsz;
	size_t size;
	int r = reserve(c, shape->max);

	if (!r)
		r = call_read(c, c->arg, c->data, min);
	if (r)
		return r;
	memcpy(&argsz, c->data, sizeof(argsz));
	size = MIN(argsz, shape->max);
	if (size > min)
		r = call_read(c, c->arg + min, c->data + min, size - min);
	c->vc.data = c->data;
	c->vc.size = MAX(size, min);
	if (c->vc.size <= sizeof(c->asked))
		memcpy(c->asked, c->data, c->vc.size);
	return r;
}

/* An answer that says what the question said needs no copying, which costs a microsecond or two:
 * an UNMAP_DMA that removed what it was to remove. */
static bool nothing_to_say(const struct call *c)
{
	return c->vc.size <= sizeof(c->asked) && c->data == c->vc.data &&
	       !memcmp(c->asked, c->data, MIN(c->vc.reply_size, c->vc.size));
}

static int copy_in(struct call *c, const struct vfio_shape *shape)
{
	int r;

	switch (shape->arg) {
	case VFIO_ARG_NONE:
		return 0;
	case VFIO_ARG_VALUE:
		c->vc.value = c->arg;
		return 0;
	case VFIO_ARG_ARGSZ:
		return copy_argsz(c, shape);
	case VFIO_ARG_STRING:
		r = reserve(c, shape->max);
		if (!r)
			r = client_read_string(c->tid, c->arg, (char *)c->data, shape->max);
		c->vc.data = c->data;
		c->vc.size = r ? 0 : strlen((char *)c->data) + 1;
		return r;
	case VFIO_ARG_INT:
		r = reserve(c, sizeof(int));
		c->vc.data = c->data;
		c->vc.size = sizeof(int);
		return r ? r : client_read(c->tid, c->arg, c->data, sizeof(int));
	}
	return -ENOTTY;
}

/* Descriptors that the block names become ours for the call. */
static int resolve_fds(struct call *c)
{
	size_t offset;
	unsigned i;
	unsigned n = vfio_call_fds(vfio_obj_kind(c->h->obj), c->vc.request, c->vc.data, c->vc.size,
				   &offset);
	AUTO_CLOSE int pidfd = -1;

	if (!n)
		return 0;
	fuse_step_aside(c->r->door); /* to recognise a file of ours is a request to ourselves */
	c->fds = calloc(n, sizeof(*c->fds));
	c->handles = calloc(n, sizeof(struct handle *));
	if (!c->fds || !c->handles)
		return -ENOMEM;
	for (i = 0; i < n; i++)
		c->fds[i].fd = -1;
	c->vc.fds = c->fds;
	c->vc.n_fds = n;
	for (i = 0; i < n; i++) {
		int number;

		memcpy(&number, (uint8_t *)c->vc.data + offset + i * sizeof(int), sizeof(int));
		if (number == -1)
			continue;
		if (pidfd < 0)
			pidfd = client_pidfd(c->tid);
		if (pidfd < 0) {
			c->fds[i].error = pidfd;
			continue;
		}
		c->fds[i].fd = client_getfd(pidfd, number);
		if (c->fds[i].fd < 0) {
			c->fds[i].error = c->fds[i].fd;
			c->fds[i].fd = -1;
			continue;
		}
		c->handles[i] = client_handle(c->r->door, c->fds[i].fd);
		if (c->handles[i])
			c->fds[i].obj = c->handles[i]->obj;
	}
	return 0;
}

static void call_fini(struct call *c)
{
	unsigned i;

	for (i = 0; i < c->vc.n_fds; i++) {
		if (c->handles[i])
			handle_put(c->r->door, c->handles[i]);
		if (c->fds[i].fd >= 0)
			close(c->fds[i].fd);
	}
	free(c->fds);
	free(c->handles);
	free(c->data_owned);
	iommu_mem_put(c->client.mem);
}

/* A close that is still on its way to us must not make a request fail that came after it. */
static int call_patiently(struct call *c)
{
	struct door_dev *d = c->r->door;
	uint64_t deadline = 0;
	uint64_t seen;
	int r;

	for (;;) {
		if (!atomic_load_explicit(&d->n_flushed, memory_order_relaxed))
			return vfio_call(c->h->obj, &c->vc);
		seen = handles_released(d);
		r = vfio_call(c->h->obj, &c->vc);
		if (r != -EBUSY)
			return r;
		if (!deadline)
			deadline = time_mono_ns() + RELEASE_GRACE_NS;
		if (!handles_wait_released(d, seen, deadline))
			return r;
	}
}

static int call_vfio(struct call *c)
{
	enum vfio_kind kind = vfio_obj_kind(c->h->obj);
	const struct vfio_shape *shape = vfio_shape(kind, c->vc.request);
	int r, w;

	/* A container without a back end has an answer of its own to what it does not know. */
	if (!shape)
		return vfio_call(c->h->obj, &c->vc);
	/* It needs the filter, which gave it to somebody else (notify.c); not under the filter are
	 * only programs that entered these namespaces from outside. */
	if (kind == VFIO_KIND_GROUP && c->vc.request == VFIO_GROUP_GET_DEVICE_FD)
		return -EPERM;
	/* Requests to a container may map the caller's memory; their blocks come the same way. */
	c->wants_mem = kind == VFIO_KIND_CONTAINER && shape->arg == VFIO_ARG_ARGSZ;
	r = copy_in(c, shape);
	if (r)
		return r;
	r = resolve_fds(c);
	if (r)
		return r;
	if (kind != VFIO_KIND_CONTAINER && shape->arg == VFIO_ARG_NONE)
		fuse_step_aside(
			c->r->door); /* a reset, a group that leaves: they take their time */
	r = call_patiently(c);
	if (c->vc.reply_size && !(shape->arg == VFIO_ARG_ARGSZ && nothing_to_say(c))) {
		w = call_write(c, c->arg, c->vc.data, c->vc.reply_size);
		if (w && r >= 0)
			r = w;
	}
	return r;
}

/* The private request by which we recognise a file of ours among a client's descriptors. */
static void reply_handle(struct fuse_req *r, const struct fuse_ioctl_in *in)
{
	struct {
		struct fuse_ioctl_out head;
		uint64_t fh;
	} out = { .fh = in->fh };

	if (client_is_self((pid_t)r->h->pid))
		fuse_reply_data(r, &out, sizeof(out));
	else
		fuse_reply(r, -ENOTTY);
}

void file_ioctl(struct fuse_req *r)
{
	const struct fuse_ioctl_in *in = r->arg;
	struct fuse_ioctl_out out = { 0 };
	struct call c = {
		.r = r,
		.tid = (pid_t)r->h->pid,
		.arg = in->arg,
		.vc = { .request = in->cmd },
	};
	int ret = -ENOTTY;

	if (in->cmd == DOOR_IOC_HANDLE) {
		reply_handle(r, in);
		return;
	}
	c.h = handle_get(r->door, in->fh);
	c.vc.client = &c.client;
	/* 32-bit programs as well: blocks are laid out alike (Linux compat_ptr_ioctl()). */
	if (c.h && c.h->kind == HANDLE_VFIO) {
		handle_used(r->door, c.h);
		ret = call_vfio(&c);
		call_fini(&c);
	}
	if (ret < 0) {
		fuse_reply(r, ret);
	} else {
		out.result = ret;
		fuse_reply_data(r, &out, sizeof(out));
	}
	if (c.h)
		handle_put(r->door, c.h);
}
