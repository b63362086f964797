/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One request of a client, whichever way it came: copies the argument block, makes the descriptors
 * in it ours, has vfio carry it out, and writes the answer back.
 *
 * An ioctl number of VFIO says nothing of its argument, so all that arrives is the bare pointer.
 * vfio_shape() tells what to copy.
 */
#include <errno.h>
#include <linux/vfio.h>
#include <time.h>

#include "door/dev/priv.h"

struct work {
	struct door_call *c;
	struct vfio_call vc;
	struct vfio_client client;
	uint8_t *data;	    /* where the block is copied to */
	size_t taken;	    /* bytes of the block that the client filled in */
	uint8_t asked[128]; /* what it said, where it is no longer than that */
	void *data_owned;   /* malloc'ed, where it did not fit the caller's buffer */
	bool wants_mem;	    /* client.mem is to be found with the first read */
	struct vfio_fd *fds;
	struct handle **handles;
};

/* What follows takes its time: others are served meanwhile. */
static void waits(struct work *w)
{
	w->c->waits(w->c->door);
}

/* ------------------------------------------------------------------ the block */

static int reserve(struct work *w, size_t size)
{
	if (size <= w->c->buffer_size) {
		w->data = w->c->buffer;
		return 0;
	}
	w->data = w->data_owned = malloc(size);
	return w->data ? 0 : -ENOMEM;
}

static int block_read(struct work *w, uint64_t addr, void *buf, size_t size)
{
	if (w->wants_mem && !w->client.mem) {
		int r = iommu_mem_process_read(w->c->tid, addr, buf, size, &w->client.mem);

		if (!r || r == -EFAULT)
			return r;
		/* Its memory cannot be mapped then; that is vfio's to say where it matters. */
		w->wants_mem = false;
	}
	return w->client.mem ? iommu_mem_read(w->client.mem, addr, buf, size)
			     : client_read(w->c->tid, addr, buf, size);
}

static int block_write(struct work *w)
{
	/* A notification can be taken back, and the thread's number may be another's then. */
	if (w->c->notif && !notify_alive(w->c->door, *w->c->notif))
		return -ESRCH;
	if (w->client.mem)
		return iommu_mem_write(w->client.mem, w->c->arg, w->vc.data, w->vc.reply_size);
	return client_write(w->c->tid, w->c->arg, w->vc.data, w->vc.reply_size);
}

/*
 * The block: room as its first word says, between the shape's bounds, filled as far as the request
 * takes it in; usually one system call.
 */
static int copy_argsz(struct work *w, const struct vfio_shape *shape)
{
	uint32_t min = MAX(shape->min, (uint32_t)sizeof(uint32_t));
	uint32_t argsz;
	size_t size;
	int r = reserve(w, shape->max);

	if (!r)
		r = block_read(w, w->c->arg, w->data, min);
	if (r)
		return r;
	memcpy(&argsz, w->data, sizeof(argsz));
	w->taken = vfio_call_takes(vfio_obj_kind(w->c->obj), w->vc.request, w->data);
	size = MAX(MIN(argsz, shape->max), w->taken);
	if (w->taken > min)
		r = block_read(w, w->c->arg + min, w->data + min, w->taken - min);
	/* Whatever the request meets before it would look at the rest is for vfio to say. */
	if (r == -EFAULT)
		w->taken = size = min;
	else if (r)
		return r;
	memset(w->data + w->taken, 0, size - w->taken);
	w->vc.data = w->data;
	w->vc.size = size;
	if (w->taken <= sizeof(w->asked))
		memcpy(w->asked, w->data, w->taken);
	return 0;
}

/* An answer that says what the question said needs no copying, which costs a microsecond or two:
 * an UNMAP_DMA that removed what it was to remove. */
static bool nothing_to_say(const struct work *w)
{
	return w->taken <= sizeof(w->asked) && w->vc.reply_size <= w->taken &&
	       !memcmp(w->asked, w->data, w->vc.reply_size);
}

static int copy_in(struct work *w, const struct vfio_shape *shape)
{
	int r;

	switch (shape->arg) {
	case VFIO_ARG_NONE:
		return 0;
	case VFIO_ARG_VALUE:
		w->vc.value = w->c->arg;
		return 0;
	case VFIO_ARG_ARGSZ:
		return copy_argsz(w, shape);
	case VFIO_ARG_STRING:
		r = reserve(w, shape->max);
		if (!r)
			r = client_read_string(w->c->tid, w->c->arg, (char *)w->data, shape->max);
		w->vc.data = w->data;
		w->vc.size = r ? 0 : strlen((char *)w->data) + 1;
		return r;
	case VFIO_ARG_INT:
		r = reserve(w, sizeof(int));
		w->vc.data = w->data;
		w->vc.size = sizeof(int);
		return r ? r : client_read(w->c->tid, w->c->arg, w->data, sizeof(int));
	}
	return -ENOTTY;
}

/* ------------------------------------------------------------------ descriptors */

/* Descriptors that the block names become ours for the call. */
static int resolve_fds(struct work *w)
{
	AUTO_FREE int *numbers = NULL;
	size_t offset;
	unsigned i;
	unsigned n = vfio_call_fds(vfio_obj_kind(w->c->obj), w->vc.request, w->vc.data, w->vc.size,
				   &offset);

	if (!n)
		return 0;
	waits(w); /* to recognise a file of ours is a request to ourselves */
	numbers = malloc(n * sizeof(*numbers));
	w->fds = calloc(n, sizeof(*w->fds));
	w->handles = calloc(n, sizeof(struct handle *));
	if (!numbers || !w->fds || !w->handles)
		return -ENOMEM;
	memcpy(numbers, (uint8_t *)w->vc.data + offset, n * sizeof(*numbers));
	for (i = 0; i < n; i++)
		w->fds[i].fd = -1;
	w->vc.fds = w->fds;
	w->vc.n_fds = n;
	/* What went wrong is with each of them: vfio's to say where it matters. */
	(void)client_look(w->c->door, w->c->tid, NULL, numbers, n, w->fds, w->handles);
	return 0;
}

static void work_fini(struct work *w)
{
	unsigned i;

	for (i = 0; i < w->vc.n_fds; i++) {
		if (w->handles[i])
			handle_put(w->c->door, w->handles[i]);
		if (w->fds[i].fd >= 0)
			close(w->fds[i].fd);
	}
	free(w->fds);
	free(w->handles);
	free(w->data_owned);
	iommu_mem_put(w->client.mem);
}

/* ------------------------------------------------------------------ offsets */

/* Region 0 lies elsewhere in files where offset 0 cannot be told from other files'. */
static void offset_in(struct work *w)
{
	uint8_t *field = (uint8_t *)w->vc.data + offsetof(struct vfio_device_ioeventfd, offset);
	uint64_t first = w->c->region0, offset;

	if (w->vc.request != VFIO_DEVICE_IOEVENTFD ||
	    w->vc.size < offsetof(struct vfio_device_ioeventfd, offset) + sizeof(offset))
		return;
	memcpy(&offset, field, sizeof(offset));
	if (offset >> VFIO_REGION_SHIFT == first >> VFIO_REGION_SHIFT)
		offset -= first;
	memcpy(field, &offset, sizeof(offset));
}

static void offset_out(struct work *w)
{
	struct vfio_region_info info;

	if (w->vc.request != VFIO_DEVICE_GET_REGION_INFO || w->vc.reply_size < sizeof(info))
		return;
	memcpy(&info, w->vc.data, sizeof(info));
	if (info.index == VFIO_PCI_BAR0_REGION_INDEX)
		info.offset += w->c->region0;
	memcpy(w->vc.data, &info, sizeof(info));
}

/* ------------------------------------------------------------------ the call */

/* A close that is still on its way to us must not make a request fail that came after it. */
static int call_settled(struct work *w)
{
	int r = vfio_call(w->c->obj, &w->vc);

	if (r != -EBUSY)
		return r;
	waits(w);
	handles_settle(w->c->door, -1);
	return vfio_call(w->c->obj, &w->vc);
}

static int call_shaped(struct work *w, const struct vfio_shape *shape)
{
	enum vfio_kind kind = vfio_obj_kind(w->c->obj);
	int r, err;

	/* Where the caller's memory may be mapped, or is to be read, the block comes the same way.
	 */
	w->wants_mem = shape->arg == VFIO_ARG_ARGSZ && vfio_call_memory(kind, w->vc.request);
	r = copy_in(w, shape);
	if (r == -EFAULT) {
		/* The same of the whole block. */
		w->vc.data = NULL;
		w->vc.size = r = 0;
	}
	if (!r)
		r = resolve_fds(w);
	if (r)
		return r;
	if (kind != VFIO_KIND_CONTAINER && shape->arg == VFIO_ARG_NONE)
		waits(w); /* a reset, a group that leaves: they take their time */
	if (w->c->region0)
		offset_in(w);
	r = call_settled(w);
	if (w->c->region0)
		offset_out(w);
	if (w->vc.reply_size && !(shape->arg == VFIO_ARG_ARGSZ && nothing_to_say(w))) {
		err = block_write(w);
		if (err && r >= 0)
			r = err;
	}
	return r;
}

/**
 * call_run() - carries out one request.
 * Returns 0 or a positive result, or -errno for the client.
 */
int call_run(struct door_call *c)
{
	const struct vfio_shape *shape = vfio_shape(vfio_obj_kind(c->obj), c->request);
	struct work w = { .c = c, .vc = { .request = c->request } };
	int r;

	w.vc.client = &w.client;
	/* A container without a back end has an answer of its own to what it does not know. */
	r = shape ? call_shaped(&w, shape) : vfio_call(c->obj, &w.vc);
	work_fini(&w);
	return r;
}
