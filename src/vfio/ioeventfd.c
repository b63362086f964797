/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * VFIO_DEVICE_IOEVENTFD: an eventfd of the client makes us write a fixed value to a BAR.
 * Source: vfio_pci_ioeventfd(), vfio_pci_ioctl_ioeventfd().
 */
#include "vfio/priv.h"

/* On the watcher's thread. */
static void ioeventfd_fire(void *data)
{
	struct ioeventfd *e = data;
	uint64_t v = htole64(e->data);

	/* The device may not decode now: then the write is lost, as it would be on a bus. */
	(void)pcif_bar_write(e->d->f, e->bar, e->offset, &v, e->size, true);
}

static void ioeventfd_free(struct ioeventfd *e)
{
	watch_remove(e->d->v->watcher, e->watch);
	free(e);
}

void ioeventfd_teardown(struct vdev *d)
{
	while (d->ioeventfds) {
		struct ioeventfd *e = d->ioeventfds;

		d->ioeventfds = e->next;
		ioeventfd_free(e);
	}
	d->n_ioeventfds = 0;
}

static struct ioeventfd **ioeventfd_find(struct vdev *d, const struct ioeventfd *want)
{
	struct ioeventfd **e;

	for (e = &d->ioeventfds; *e; e = &(*e)->next)
		if ((*e)->bar == want->bar && (*e)->offset == want->offset &&
		    (*e)->data == want->data && (*e)->size == want->size)
			break;
	return e;
}

static int ioeventfd_check(struct vdev *d, const struct ioeventfd *e)
{
	const struct pcif_desc *desc = pcif_desc(d->f);
	uint64_t table_last;

	if (e->bar > VFIO_PCI_BAR5_REGION_INDEX || desc->bars[e->bar].type == PCIF_BAR_NONE)
		return -EINVAL;
	if (e->size > desc->bars[e->bar].size || e->offset > desc->bars[e->bar].size - e->size)
		return -EINVAL;
	if (desc->msix_vectors && desc->msix_bar == e->bar) {
		table_last = desc->msix_table_offset + desc->msix_vectors * 16ull - 1;
		if (ranges_overlap(e->offset, e->offset + e->size - 1, desc->msix_table_offset,
				   table_last))
			return -EINVAL;
	}
	return 0;
}

static int ioeventfd_add(struct vdev *d, const struct ioeventfd *want, const struct vfio_fd *vfd)
{
	struct ioeventfd *e;
	int fd, ret;

	if (d->n_ioeventfds >= IOEVENTFD_MAX)
		return -ENOSPC;
	ret = eventfd_take(vfd, &fd);
	if (ret)
		return ret;
	e = malloc(sizeof(*e));
	if (!e) {
		close(fd);
		return -ENOMEM;
	}
	*e = *want;
	ret = watch_add(d->v->watcher, fd, ioeventfd_fire, e, &e->watch);
	if (ret) {
		free(e);
		return ret;
	}
	e->next = d->ioeventfds;
	d->ioeventfds = e;
	d->n_ioeventfds++;
	return 0;
}

int device_ioeventfd(struct vfio_obj *obj, struct vfio_call *call)
{
	struct vdev *d = obj_device(obj);
	struct vfio_device_ioeventfd io = { 0 };
	struct ioeventfd want, **there;
	int ret = 0;

	memcpy(&io, call->data, MIN(call->size, sizeof(io)));
	/* One bit, whose value is the number of bytes. */
	if (io.flags & ~VFIO_DEVICE_IOEVENTFD_SIZE_MASK || !io.flags || io.flags & (io.flags - 1) ||
	    io.fd < -1)
		return -EINVAL;
	want = (struct ioeventfd){
		.d = d,
		.bar = MIN(io.offset >> VFIO_REGION_SHIFT, 255u),
		.offset = io.offset & (BIT64(VFIO_REGION_SHIFT) - 1),
		.data = io.data,
		.size = io.flags,
	};
	ret = ioeventfd_check(d, &want);
	if (ret)
		return ret;
	pthread_mutex_lock(&d->lock);
	there = ioeventfd_find(d, &want);
	if (*there && io.fd >= 0) {
		ret = -EEXIST;
	} else if (*there) {
		struct ioeventfd *e = *there;

		*there = e->next;
		d->n_ioeventfds--;
		ioeventfd_free(e);
	} else if (io.fd < 0) {
		ret = -ENODEV;
	} else {
		ret = ioeventfd_add(d, &want, call->n_fds ? &call->fds[0] : NULL);
	}
	pthread_mutex_unlock(&d->lock);
	return ret;
}
