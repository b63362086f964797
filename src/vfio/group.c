/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Groups: /dev/vfio/N. Source: drivers/vfio/group.c.
 *
 * A group is claimed from the host when it is set to a container, which the host refuses while a
 * driver of its own uses one of the functions. A group that lost its last function to the host is
 * nobody's: what is asked of its file is ENODEV.
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

	struct group *g = obj_group(obj);
	int ret = 0;

	memcpy(&st, call->data, sizeof(st));
	st.flags = 0;
	pthread_mutex_lock(&obj->v->lock);
	if (!g->bound)
		ret = -ENODEV;
	else if (g->container || g->iommufd)
		st.flags = VFIO_GROUP_FLAGS_VIABLE | VFIO_GROUP_FLAGS_CONTAINER_SET;
	else if (bus_group_viable(obj->v->bus, g->number))
		st.flags = VFIO_GROUP_FLAGS_VIABLE;
	pthread_mutex_unlock(&obj->v->lock);
	if (ret)
		return ret;
	memcpy(call->data, &st, sizeof(st));
	call->reply_size = sizeof(st);
	return 0;
}

/* Says at debug level why the host does not give a group away. */
static void tell_spoiler(struct vfio *v, unsigned group)
{
	const struct bus_driver *driver;
	struct pcif *f = bus_group_spoiler(v->bus, group, &driver);

	if (!f)
		return;
	log_debug("group %u is not viable: %s is bound to %s; unbind it, or bind it to vfio-pci",
		  group, pcif_name(f), driver->name);
	pcif_put(f);
}

/* Source: vfio_container_attach_group(). With vfio.lock. */
static int set_container(struct vfio *v, struct group *g, struct container *c)
{
	int ret = bus_group_claim(v->bus, g->number, g);

	if (ret)
		return ret;
	g->container = c;
	c->refs++;
	c->n_groups++;
	if (c->type)
		container_attach_group(c, g);
	return 0;
}

/* The group is claimed with its first device. With vfio.lock. */
static int set_iommufd(struct group *g, struct iommufd *f)
{
	int ret = iommufd_vfio_ioas_make(f);

	if (ret)
		return ret;
	g->iommufd = f;
	f->refs++;
	return 0;
}

/* Source: vfio_group_ioctl_set_container(). */
int group_set_container(struct vfio_obj *obj, struct vfio_call *call)
{
	struct group *g = obj_group(obj);
	struct vfio_obj *other;
	int ret = 0;

	if (!call->n_fds)
		return -EBADF;
	if (call->fds[0].error)
		return call->fds[0].error;
	if (call->fds[0].fd < 0 && !call->fds[0].obj)
		return -EBADF;
	other = call->fds[0].obj;
	if (other && (other->v != obj->v ||
		      (other->kind != VFIO_KIND_CONTAINER && other->kind != VFIO_KIND_IOMMUFD)))
		other = NULL;
	pthread_mutex_lock(&obj->v->lock);
	if (g->container || g->iommufd)
		ret = -EINVAL;
	else if (!other)
		ret = -EBADFD;
	else if (!g->bound)
		ret = -ENODEV;
	else if (other->kind == VFIO_KIND_CONTAINER)
		ret = set_container(obj->v, g, container_of(other, struct container, obj));
	else
		ret = set_iommufd(g, obj_iommufd(other));
	pthread_mutex_unlock(&obj->v->lock);
	if (ret == -EPERM)
		tell_spoiler(obj->v, g->number);
	return ret;
}

/* Source: vfio_group_detach_container(). With vfio.lock. */
void group_leave(struct vfio *v, struct group *g)
{
	struct container *c = g->container;
	struct iommu_space *space = NULL;

	if (g->iommufd) {
		iommufd_put(g->iommufd);
		g->iommufd = NULL;
	}
	if (!c)
		return;
	if (c->type)
		container_detach_group(c, g);
	bus_group_release(v->bus, g->number, g);
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
	if (!g->container && !g->iommufd)
		ret = -EINVAL;
	else if (g->container && g->devices)
		ret = -EBUSY;
	else
		group_leave(obj->v, g);
	pthread_mutex_unlock(&obj->v->lock);
	return ret;
}

/* Source: vfio_group_fops_release(). */
void group_put(struct vfio *v, struct group *g)
{
	if (--g->refs)
		return;
	group_leave(v, g);
	g->client = 0;
	if (!g->bound)
		free(g);
}

void vfio_group_set_client(struct vfio_obj *group, unsigned client)
{
	pthread_mutex_lock(&group->v->lock);
	obj_group(group)->client = client;
	pthread_mutex_unlock(&group->v->lock);
}

/* With vfio.lock. *@out is borrowed. */
static int group_find_device(struct vfio *v, struct group *g, const char *name, struct vdev **out)
{
	for (struct vdev *d = v->devices; d; d = d->next) {
		int ret;

		if (d->group != g || d->leaving)
			continue;
		ret = token_match(d, name);
		if (ret < 0)
			return ret;
		if (ret) {
			*out = d;
			return 0;
		}
	}
	return -ENODEV;
}

/*
 * A group with an iommufd brings its devices there as they are opened. With vfio.lock.
 * Source: vfio_df_open(), vfio_iommufd_compat_attach_ioas().
 */
static int enter_iommufd(struct vdev *d, struct iommufd *f, unsigned client)
{
	uint32_t pt_id;
	int ret;

	if (d->users)
		return 0;
	if (!f->vfio_ioas)
		return -ENODEV;
	pt_id = f->vfio_ioas->obj.id;
	ret = device_bind(d, f);
	if (ret)
		return ret;
	ret = device_attach(d, &pt_id, client);
	if (ret)
		device_unbind(d);
	return ret;
}

/* Source: vfio_group_ioctl_get_device_fd(), vfio_df_group_open(). */
int group_get_device_fd(struct vfio_obj *obj, struct vfio_call *call)
{
	struct group *g = obj_group(obj);
	struct vfio *v = obj->v;
	struct device_file *file;
	unsigned client;
	struct vdev *d;
	int ret;

	file = calloc(1, sizeof(*file));
	if (!file)
		return -ENOMEM;
	file->obj = (struct vfio_obj){ VFIO_KIND_DEVICE, v };
	pthread_mutex_lock(&v->lock);
	/* The name comes first: a wrong one is told from a group that is not ready. */
	ret = group_find_device(v, g, call->data, &d);
	if (!ret && !g->iommufd && (!g->container || !g->container->type))
		ret = -EINVAL;
	if (!ret && g->iommufd)
		ret = enter_iommufd(d, g->iommufd, g->client);
	if (!ret) {
		/* From here on the group can not leave its container, nor the device the group. */
		g->refs++;
		g->devices++;
		d->refs++;
		d->files++;
		vdev_user_added(d);
		file->d = d;
	}
	client = g->client;
	pthread_mutex_unlock(&v->lock);
	if (ret) {
		free(file);
		return ret;
	}
	/* Opening resets the device, which may wait for its I/O: not under the machine's lock. */
	ret = vdev_open(d, client);
	if (ret) {
		pthread_mutex_lock(&v->lock);
		g->devices--;
		vdev_user_gone(d);
		group_put(v, g);
		vdev_file_gone(d);
		pthread_mutex_unlock(&v->lock);
		vdev_put(d);
		free(file);
		return ret;
	}
	call->new_obj = &file->obj;
	return 0;
}
