/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The VFIO files: open, read, write, ioctl, close, and the pages of device files that clients map.
 * What a request (ioctl) needs of its caller is call.c's: no bytes travel for _IO, only the bare
 * pointer (Linux fs/fuse/ioctl.c).
 *
 * Reads and writes of a device file are of two kinds, which the kernel marks: trapped accesses of a
 * client's pread and pwrite carry a lock owner (fs/fuse/file.c, fuse_send_read()), page fills have
 * none; write-back carries FUSE_WRITE_CACHE. Pages come from and go to the function's memfd.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <time.h>

#include "door/dev/priv.h"

#define DOOR_BIND_REQUEST _IO(VFIO_TYPE, VFIO_BASE + 18) /* VFIO_DEVICE_BIND_IOMMUFD */

/* ------------------------------------------------------------------ open and close */

/* close(2) asks us nothing, nor writes pages back (whose pages are others' as well). */
#define OPEN_FLAGS (FOPEN_DIRECT_IO | FOPEN_NOFLUSH)

static int open_group(struct door_dev *d, uint64_t nodeid, struct handle *h)
{
	unsigned group;
	int r = fs_group_open(d, nodeid, &group);

	if (r)
		return r;
	fuse_step_aside(d);
	r = vfio_open_group(d->vfio, group, &h->obj);
	if (r == -EBUSY) {
		handles_settle(d, -1);
		r = vfio_open_group(d->vfio, group, &h->obj);
	}
	if (r)
		return r;
	h->group = (int)group;
	vfio_group_set_client(h->obj, d->client);
	return 0;
}

/* One that is not bound yet. */
static int open_cdev(struct door_dev *d, uint64_t nodeid, struct handle *h)
{
	int r = handle_take_node(d, h, nodeid);

	return r ? r : vfio_open_cdev(d->vfio, CDEV_OF_NODE(nodeid), d->client, &h->obj);
}

/* The modes bind root as well. Source: kernfs_fop_open(). */
static int open_view(struct fuse_req *r, struct handle *h)
{
	const struct fuse_open_in *in = r->arg;
	unsigned how = in->flags & O_ACCMODE;
	int err = view_open(r->door->view, NODE_NUMBER(r->h->nodeid), &h->node);

	if (err)
		return err;
	if ((how != O_RDONLY && !(h->node->mode & 0222)) ||
	    (how != O_WRONLY && !(h->node->mode & 0444)))
		return -EACCES;
	return 0;
}

/* What lies behind a new handle. 0 or -errno. */
static int open_behind(struct fuse_req *r, struct handle *h)
{
	struct door_dev *d = r->door;

	switch (NODE_CLASS(r->h->nodeid)) {
	case NODE_FIXED:
		if (r->h->nodeid == NODE_IOMMU)
			return vfio_open_iommufd(d->vfio, &h->obj);
		if (r->h->nodeid != NODE_CONTAINER)
			return -ENOENT;
		return vfio_open_container(d->vfio, &h->obj);
	case NODE_GROUP:
		return open_group(d, r->h->nodeid, h);
	case NODE_CDEV:
		return open_cdev(d, r->h->nodeid, h);
	case NODE_VIEW:
		return open_view(r, h);
	}
	return -ENOENT;
}

/*
 * As with the kernel's VFIO a device file is not opened by name, nor again through /proc/PID/fd,
 * but by our opener, who has prepared everything. It may be the reader that runs this: no
 * allocation, nothing that waits.
 */
static void open_device(struct fuse_req *r)
{
	struct door_dev *d = r->door;
	/* Others may have pages of the file mapped, and those are the truth. */
	struct fuse_open_out out = {
		.open_flags = OPEN_FLAGS | FOPEN_KEEP_CACHE | FOPEN_PARALLEL_DIRECT_WRITES,
	};

	if (!own_is(&d->opener, r->h) || opening_reach(d, r->h->nodeid, &out.fh)) {
		fuse_reply(r, -ENXIO);
		return;
	}
	/* If it is not accepted the opener undoes it. */
	fuse_reply_data(r, &out, sizeof(out));
}

void file_open(struct fuse_req *r)
{
	bool view = NODE_CLASS(r->h->nodeid) == NODE_VIEW;
	struct fuse_open_out out = { .open_flags = OPEN_FLAGS };
	struct handle *h;
	int err;

	/* A device's own file is opened by name; we open it once more, to map its pages. */
	if (NODE_CLASS(r->h->nodeid) == NODE_SESSION ||
	    (NODE_CLASS(r->h->nodeid) == NODE_CDEV && own_is(&r->door->opener, r->h))) {
		open_device(r);
		return;
	}
	err = handles_new(r->door, view ? HANDLE_VIEW : HANDLE_VFIO, &h, &out.fh);
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
	if (!view)
		out.open_flags |= FOPEN_PARALLEL_DIRECT_WRITES;
	if (NODE_CLASS(r->h->nodeid) == NODE_CDEV)
		out.open_flags |= FOPEN_KEEP_CACHE;
	/* Not accepted: nobody will ever send its RELEASE. */
	if (fuse_reply_data(r, &out, sizeof(out)))
		handle_close(r->door, h);
}

/*
 * RELEASE has just been read, on the reader's thread. The kernel waits for no answer, but keeps
 * account of it, and holds other things up while too many are missing.
 */
void file_release_read(struct fuse_req *r)
{
	const struct fuse_release_in *in = r->arg;
	struct handle *h = handle_get(r->door, in->fh);

	if (h) {
		if (h->kind == HANDLE_VFIO)
			leaving_begin(&h->leaving);
		fuse_put_handle(r->worker, h);
	}
	fuse_reply(r, 0);
}

/* It has been answered. */
void file_release(struct fuse_req *r)
{
	const struct fuse_release_in *in = r->arg;
	struct handle *h = handle_get(r->door, in->fh);

	if (!h)
		return;
	/* The end of a device's session waits for our own pages to be written back. */
	if (h->kind == HANDLE_VFIO)
		fuse_step_aside(r->door);
	handle_close(r->door, h);
	handle_put(r->door, h);
}

/* ------------------------------------------------------------------ pages */

/*
 * The page path. Other threads of this process may be waiting for it, with any lock held: no lock,
 * no allocation, only system calls on the memfd and memory that is populated.
 */
static void page_fill(struct fuse_req *r, struct session *s, const struct fuse_read_in *in)
{
	struct pcif *f = s->func->f;
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
	struct session *s;
	ssize_t n = -EINVAL; /* containers and groups have no data */

	if (!h) {
		fuse_reply(r, -EBADF);
		return;
	}
	s = atomic_load(&h->session);
	if (s && !(in->read_flags & FUSE_READ_LOCKOWNER)) {
		page_fill(r, s, in);
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
	fuse_put_handle(r->worker, h);
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
			fuse_put_handle(r->worker, h);
		return;
	}
	if (h->session && in->write_flags & FUSE_WRITE_CACHE) {
		page_write_back(r, h, in);
	} else if (h->kind == HANDLE_VIEW) {
		fs_view_write(r, h, in);
	} else {
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
	fuse_put_handle(r->worker, h);
}

/* ------------------------------------------------------------------ ioctl */

/* The private request by which we recognise a file of ours among a client's descriptors. */
static void reply_handle(struct fuse_req *r, const struct fuse_ioctl_in *in)
{
	struct {
		struct fuse_ioctl_out head;
		uint64_t fh;
	} out = { .fh = in->fh };

	if (own_is(&r->door->looker, r->h))
		fuse_reply_data(r, &out, sizeof(out));
	else
		fuse_reply(r, -ENOTTY);
}

/* It needs the filter, which gave it to somebody else (notify.c); not under the filter are only
 * programs that entered these namespaces from outside. */
static bool needs_filter(const struct vfio_obj *obj, uint32_t request)
{
	return vfio_obj_kind(obj) == VFIO_KIND_GROUP && request == VFIO_GROUP_GET_DEVICE_FD;
}

/*
 * Binding opens the device: its pages are shared from then on. Who has it open still, or another
 * device of its group for another iommufd, may be on his way out; EBUSY is call_run()'s own affair.
 */
static int bind_device(struct door_call *c, struct handle *h)
{
	int r = call_run(c);

	if (r == -EINVAL || r == -EPERM) {
		fuse_step_aside(c->door);
		handles_settle(c->door, -1);
		r = call_run(c);
	}
	if (!r)
		r = session_bind(c->door, h);
	return r;
}

/* Arguments are copied behind the place of the answer's header. */
#define CALL_DATA_OFFSET 64u

void file_ioctl(struct fuse_req *r)
{
	const struct fuse_ioctl_in *in = r->arg;
	struct fuse_ioctl_out out = { 0 };
	struct door_call c = {
		.door = r->door,
		.tid = (pid_t)r->h->pid,
		.request = in->cmd,
		.arg = in->arg,
		.buffer = r->worker->out + CALL_DATA_OFFSET,
		.buffer_size = FUSE_MAX_DATA,
		.waits = fuse_step_aside,
	};
	struct handle *h;
	int ret = -ENOTTY;

	if (in->cmd == DOOR_IOC_HANDLE) {
		reply_handle(r, in);
		return;
	}
	h = handle_get(r->door, in->fh);
	/* 32-bit programs as well: blocks are laid out alike (Linux compat_ptr_ioctl()). */
	if (h && h->kind == HANDLE_VFIO) {
		c.obj = h->obj;
		if (needs_filter(h->obj, in->cmd))
			ret = -EPERM;
		else if (in->cmd == DOOR_BIND_REQUEST && h->cdev_node)
			ret = bind_device(&c, h);
		else
			ret = call_run(&c);
	}
	if (ret < 0) {
		fuse_reply(r, ret);
	} else {
		out.result = ret;
		fuse_reply_data(r, &out, sizeof(out));
	}
	if (h)
		handle_put(r->door, h);
}
