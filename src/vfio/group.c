/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Groups: /dev/vfio/N. Source: drivers/vfio/group.c.
 *
 * Every function of a group is bound to vfio-pci (or, if it is a bridge, to pcieport), so a group
 * is always viable.
 */
#include "vfio/priv.h"

static struct group *obj_group(struct vfio_obj *obj)
{
	return container_of(obj, struct group_file, obj)->group;
}

/* Source: vfio_group_ioctl_get_status(). */
int group_get_status(struct vfio_obj *obj, struct vfio_call *call)
{
	struct vfio_group_status st;

	memcpy(&st, call->data, sizeof(st));
	st.flags = VFIO_GROUP_FLAGS_VIABLE;
	pthread_mutex_lock(&obj->v->lock);
	if (obj_group(obj)->container)
		st.flags |= VFIO_GROUP_FLAGS_CONTAINER_SET;
	pthread_mutex_unlock(&obj->v->lock);
	memcpy(call->data, &st, sizeof(st));
	call->reply_size = sizeof(st);
	return 0;
}

/* Source: vfio_group_ioctl_set_container(), vfio_container_attach_group(). */
int group_set_container(struct vfio_obj *obj, struct vfio_call *call)
{
	struct group *g = obj_group(obj);
	struct container *c;
	int ret = 0;

	if (!call->n_fds)
		return -EBADF;
	if (call->fds[0].error)
		return call->fds[0].error;
	if (call->fds[0].fd < 0 && !call->fds[0].obj)
		return -EBADF;
	pthread_mutex_lock(&obj->v->lock);
	if (g->container) {
		ret = -EINVAL;
	} else if (!call->fds[0].obj || call->fds[0].obj->kind != VFIO_KIND_CONTAINER ||
		   call->fds[0].obj->v != obj->v) {
		ret = -EBADFD;
	} else {
		c = container_of(call->fds[0].obj, struct container, obj);
		g->container = c;
		c->refs++;
		c->n_groups++;
		if (c->type)
			container_attach_group(c, g);
	}
	pthread_mutex_unlock(&obj->v->lock);
	return ret;
}

/* Source: vfio_group_detach_container(). With vfio.lock. */
static void group_leave(struct group *g)
{
	struct container *c = g->container;
	struct iommu_space *space = NULL;

	if (c->type)
		container_detach_group(c, g);
	g->container = NULL;
	if (!--c->n_groups && c->type) {
		space = c->space;
		c->space = NULL;
		c->type = 0;
	}
	iommu_space_put(space);
	container_put(c);
}

/* Source: vfio_group_ioctl_unset_container(). */
int group_unset_container(struct vfio_obj *obj, struct vfio_call *call)
{
	struct group *g = obj_group(obj);
	int ret = 0;

	pthread_mutex_lock(&obj->v->lock);
	if (!g->container)
		ret = -EINVAL;
	else if (g->devices)
		ret = -EBUSY;
	else
		group_leave(g);
	pthread_mutex_unlock(&obj->v->lock);
	return ret;
}

/* Source: vfio_group_fops_release(). */
void group_put(struct vfio *v, struct group *g)
{
	if (--g->refs)
		return;
	if (g->container)
		group_leave(g);
}

/*
 * The name of a device: its address, then nothing, or blanks and options. The only option there
 * is, the VF token, belongs to functions with SR-IOV; given for another it is refused, as is
 * anything else. Source: vfio_pci_core_match(), vfio_pci_validate_vf_token().
 * Returns 1 if @name means @f, 0 if not, -EINVAL.
 */
static int group_name_match(struct pcif *f, const char *name)
{
	const char *bdf = pcif_name(f);
	size_t n = strlen(bdf);

	if (strncmp(name, bdf, n))
		return 0;
	name += n;
	if (*name && *name != ' ')
		return 0;
	while (*name == ' ')
		name++;
	return *name ? -EINVAL : 1;
}

static int group_find_device(struct vfio *v, struct group *g, const char *name, struct vdev **out)
{
	for (unsigned i = 0; i < v->n_devices; i++) {
		struct vdev *d = &v->devices[i];
		int ret;

		if (d->group != g)
			continue;
		ret = group_name_match(d->f, name);
		if (ret < 0)
			return ret;
		if (ret) {
			*out = d;
			return 0;
		}
	}
	return -ENODEV;
}

/* Source: vfio_group_ioctl_get_device_fd(), vfio_df_group_open(). */
int group_get_device_fd(struct vfio_obj *obj, struct vfio_call *call)
{
	struct group *g = obj_group(obj);
	struct vfio *v = obj->v;
	struct device_file *file;
	struct vdev *d;
	int ret;

	/* The name comes first: a wrong one is told from a group that is not ready. */
	ret = group_find_device(v, g, call->data, &d);
	if (ret)
		return ret;
	file = calloc(1, sizeof(*file));
	if (!file)
		return -ENOMEM;
	file->obj = (struct vfio_obj){ VFIO_KIND_DEVICE, v };
	file->d = d;
	pthread_mutex_lock(&v->lock);
	if (!g->container || !g->container->type) {
		ret = -EINVAL;
	} else {
		/* From here on the group can not leave its container. */
		g->refs++;
		g->devices++;
	}
	pthread_mutex_unlock(&v->lock);
	if (ret) {
		free(file);
		return ret;
	}
	/* Opening resets the device, which may wait for its I/O: not under the machine's lock. */
	ret = vdev_open(d);
	if (ret) {
		pthread_mutex_lock(&v->lock);
		g->devices--;
		group_put(v, g);
		pthread_mutex_unlock(&v->lock);
		free(file);
		return ret;
	}
	call->new_obj = &file->obj;
	return 0;
}
