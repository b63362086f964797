/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The FUSE server's side of the protocol: the handshake, what each request is, and its answer. The
 * threads that do it are in pool.c, what requests mean in fs.c and vfiofs.c.
 *
 * The bare protocol (linux/fuse.h; Linux fs/fuse/dev.c), because the library of Debian 12 does not
 * know the flag that lets clients map direct-io files, and a trapped access has no time for layers.
 */
#include <errno.h>

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
	/* FORGET has no answer: node ids are never reused. */
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

/* Names come and go with the machine, by nobody's hand. The errors are those of Linux's sysfs. */
static void op_not_permitted(struct fuse_req *r)
{
	fuse_reply(r, -EPERM);
}

static void op_no_access(struct fuse_req *r)
{
	fuse_reply(r, -EACCES);
}

/* What is not here is -ENOSYS: the kernel does not ask again, or has a default of its own. */
static const struct fuse_op {
	void (*run)(struct fuse_req *r);
	size_t min; /* bytes of arguments */
} ops[] = {
	[FUSE_LOOKUP] = { fs_lookup, 1 },
	[FUSE_FORGET] = { op_nothing, 0 },
	[FUSE_BATCH_FORGET] = { op_nothing, 0 },
	[FUSE_INTERRUPT] = { act_interrupt, sizeof(struct fuse_interrupt_in) },
	[FUSE_GETATTR] = { fs_getattr, sizeof(struct fuse_getattr_in) },
	[FUSE_SETATTR] = { fs_setattr, sizeof(struct fuse_setattr_in) },
	[FUSE_READLINK] = { fs_readlink, 0 },
	[FUSE_SYMLINK] = { op_not_permitted, 0 },
	[FUSE_MKNOD] = { op_not_permitted, 0 },
	[FUSE_MKDIR] = { op_not_permitted, 0 },
	[FUSE_UNLINK] = { op_not_permitted, 0 },
	[FUSE_RMDIR] = { op_not_permitted, 0 },
	[FUSE_RENAME] = { op_not_permitted, 0 },
	[FUSE_RENAME2] = { op_not_permitted, 0 },
	[FUSE_LINK] = { op_not_permitted, 0 },
	[FUSE_CREATE] = { op_no_access, 0 },
	[FUSE_OPENDIR] = { op_opendir, sizeof(struct fuse_open_in) },
	[FUSE_READDIR] = { fs_readdir, sizeof(struct fuse_read_in) },
	[FUSE_RELEASEDIR] = { op_ok, 0 },
	[FUSE_STATFS] = { fs_statfs, 0 },
	[FUSE_OPEN] = { file_open, sizeof(struct fuse_open_in) },
	[FUSE_READ] = { file_read, sizeof(struct fuse_read_in) },
	[FUSE_WRITE] = { file_write, sizeof(struct fuse_write_in) },
	[FUSE_FLUSH] = { op_ok, 0 }, /* of kernels that know no FOPEN_NOFLUSH */
	[FUSE_RELEASE] = { file_release, sizeof(struct fuse_release_in) },
	[FUSE_IOCTL] = { file_ioctl, sizeof(struct fuse_ioctl_in) },
	[FUSE_DESTROY] = { op_ok, 0 },
};

/**
 * fuse_is_quick() - will the request be answered without waiting for anything?
 * No lock that is held across an allocation or a wait, no allocation.
 */
bool fuse_is_quick(struct door_dev *d, const struct fuse_in_header *h, const void *arg, size_t size)
{
	bool session = NODE_CLASS(h->nodeid) == NODE_SESSION;
	bool device = session || NODE_CLASS(h->nodeid) == NODE_CDEV;

	switch (h->opcode) {
	case FUSE_LOOKUP:
	case FUSE_OPEN:
		return own_is(&d->opener, h);
	case FUSE_READ:
		return device && size >= sizeof(struct fuse_read_in) &&
		       !(((const struct fuse_read_in *)arg)->read_flags & FUSE_READ_LOCKOWNER);
	case FUSE_WRITE:
		return device && size >= sizeof(struct fuse_write_in) &&
		       ((const struct fuse_write_in *)arg)->write_flags & FUSE_WRITE_CACHE;
	case FUSE_GETATTR:
		return session || own_is(&d->opener, h) || own_is(&d->looker, h);
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

void fuse_run(struct fuse_worker *w, const void *data, size_t size)
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

/* ------------------------------------------------------------------ the handshake */

/* Can clients map files that we serve directly? */
static bool shares_pages(const struct fuse_init_in *in)
{
	return in->flags & FUSE_INIT_EXT &&
	       in->flags2 & (uint32_t)(FUSE_DIRECT_IO_ALLOW_MMAP >> 32);
}

/* What device files are: what is wanted, or the best that there is. */
static int choose_devices(struct door_dev *d, const struct fuse_init_in *in, struct door_error *err)
{
	if (d->devices == DEVICES_FUSE && !shares_pages(in))
		return explain_old_kernel(err, "no FUSE_DIRECT_IO_ALLOW_MMAP",
					  "Linux 6.6, or no UVFIO_DOOR=fuse in the environment");
	if (d->devices == DEVICES_AUTO)
		d->devices = shares_pages(in) ? DEVICES_FUSE : DEVICES_MEMFD;
	return 0;
}

static int answer_init(struct fuse_req *r, const struct fuse_init_in *in)
{
	struct fuse_init_out out = {
		.major = FUSE_KERNEL_VERSION,
		.minor = MIN(in->minor, (uint32_t)FUSE_KERNEL_MINOR_VERSION),
		.flags = FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_MAX_PAGES | FUSE_PARALLEL_DIROPS,
		/* One page a fault: neighbours may not be mappable. Not none: who waits for a page
		 * that is read ahead can be killed, who reads it by himself can not. */
		.max_readahead = UVF_PAGE_SIZE,
		.max_background = 1024,
		.congestion_threshold = 768,
		.max_write = FUSE_MAX_DATA,
		.max_pages = FUSE_MAX_DATA / UVF_PAGE_SIZE,
		.time_gran = 1,
	};

	if (r->door->devices == DEVICES_FUSE) {
		out.flags |= FUSE_INIT_EXT;
		out.flags2 = (uint32_t)(FUSE_DIRECT_IO_ALLOW_MMAP >> 32);
	}
	return fuse_reply_data(r, &out, sizeof(out));
}

/* Until Linux 5.17 the message had no second word of flags; with this version it got its answer's
 * present size. */
#define INIT_IN_MIN (offsetof(struct fuse_init_in, flags) + sizeof(uint32_t))
#define INIT_MINOR_MIN 23u

/**
 * fuse_handshake() - answers INIT, the first request, on the calling thread.
 * d->devices: what is wanted; on success what it is.
 * Returns 0, -EOPNOTSUPP with @err: the kernel cannot do what is needed, or -errno.
 */
int fuse_handshake(struct door_dev *d, struct door_error *err)
{
	struct fuse_worker *w = fuse_worker_new(d);
	struct fuse_req r = { .door = d, .worker = w };
	struct fuse_init_in in = { 0 };
	ssize_t n;
	int ret;

	if (!w)
		return -ENOMEM;
	do
		n = read(d->fuse_fd, w->in, FUSE_IN_SIZE);
	while (n < 0 && (errno == EINTR || errno == EAGAIN));
	r.h = (const struct fuse_in_header *)w->in;
	if (n > (ssize_t)sizeof(*r.h))
		memcpy(&in, r.h + 1, MIN((size_t)n - sizeof(*r.h), sizeof(in)));
	if (n < 0) {
		ret = -errno;
	} else if ((size_t)n < sizeof(*r.h) + INIT_IN_MIN || r.h->opcode != FUSE_INIT ||
		   in.major != FUSE_KERNEL_VERSION || in.minor < INIT_MINOR_MIN) {
		ret = explain_old_kernel(err, "an old FUSE protocol", "Linux 5.10");
	} else {
		ret = choose_devices(d, &in, err);
		if (ret)
			fuse_reply(&r, -EPROTO);
		else
			ret = answer_init(&r, &in);
	}
	fuse_worker_free(w);
	return ret;
}
