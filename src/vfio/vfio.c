/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * VFIO of one machine: its groups and devices, the opening and closing of files, and the way of a
 * request to its handler. What a request means is in the file of the object that it is made on.
 */
#include "vfio/priv.h"

struct vdev *vfio_find_device(struct vfio *v, const struct pcif *f)
{
	struct vdev *d;

	pthread_mutex_lock(&v->lock);
	for (d = v->devices; d && d->f != f; d = d->next)
		;
	if (d)
		d->refs++;
	pthread_mutex_unlock(&v->lock);
	return d;
}

void vdev_put(struct vdev *d)
{
	struct vfio *v;
	bool last;

	if (!d)
		return;
	v = d->v;
	pthread_mutex_lock(&v->lock);
	last = !--d->refs;
	pthread_mutex_unlock(&v->lock);
	if (!last)
		return;
	vdev_fini(d);
	free(d);
}

struct group *vfio_find_group(struct vfio *v, unsigned number)
{
	struct group *g;

	for (g = v->groups; g && g->number != number; g = g->next)
		;
	return g;
}

void vfio_tell(struct vfio *v, enum vfio_event_type type, unsigned group, unsigned client,
	       struct pcif *f)
{
	if (v->event)
		v->event(v->event_data, type, group, client, f);
}

int vfio_new(struct bus *bus, struct vfio **out)
{
	struct vfio *v = calloc(1, sizeof(*v));
	pthread_condattr_t mono;
	int ret;

	if (!v)
		return -ENOMEM;
	v->bus = bus;
	atomic_init(&v->sriov, true);
	pthread_mutex_init(&v->lock, NULL);
	pthread_condattr_init(&mono);
	pthread_condattr_setclock(&mono, CLOCK_MONOTONIC);
	pthread_cond_init(&v->closed, &mono);
	pthread_condattr_destroy(&mono);
	ret = watcher_new(&v->watcher);
	if (!ret)
		ret = bus_driver_add(bus, &vfio_pci_driver, v);
	if (ret) {
		vfio_free(v);
		return ret;
	}
	*out = v;
	return 0;
}

void vfio_free(struct vfio *v)
{
	if (!v)
		return;
	watcher_free(v->watcher);
	pthread_cond_destroy(&v->closed);
	pthread_mutex_destroy(&v->lock);
	free(v);
}

struct bus *vfio_bus(const struct vfio *v)
{
	return v->bus;
}

void vfio_set_sriov(struct vfio *v, bool on)
{
	atomic_store(&v->sriov, on);
}

bool vfio_sriov(const struct vfio *v)
{
	return atomic_load(&v->sriov);
}

void vfio_set_event_cb(struct vfio *v, vfio_event_cb cb, void *data)
{
	v->event = cb;
	v->event_data = data;
}

bool vfio_group_present(struct vfio *v, unsigned group)
{
	bool present;

	pthread_mutex_lock(&v->lock);
	present = vfio_find_group(v, group) != NULL;
	pthread_mutex_unlock(&v->lock);
	return present;
}

bool vfio_group_next(struct vfio *v, unsigned from, unsigned *group)
{
	bool found = false;

	pthread_mutex_lock(&v->lock);
	for (struct group *g = v->groups; g; g = g->next) {
		if (g->number < from || (found && g->number >= *group))
			continue;
		*group = g->number;
		found = true;
	}
	pthread_mutex_unlock(&v->lock);
	return found;
}

/* ------------------------------------------------------------------ opening and closing */

/* Source: vfio_fops_open(). */
int vfio_open_container(struct vfio *v, struct vfio_obj **obj)
{
	struct container *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	c->obj = (struct vfio_obj){ VFIO_KIND_CONTAINER, v };
	c->refs = 1;
	*obj = &c->obj;
	return 0;
}

/* Source: vfio_group_fops_open(): one opener at a time. */
int vfio_open_group(struct vfio *v, unsigned group, struct vfio_obj **obj)
{
	struct group_file *file;
	int ret = 0;

	file = calloc(1, sizeof(*file));
	if (!file)
		return -ENOMEM;
	file->obj = (struct vfio_obj){ VFIO_KIND_GROUP, v };
	pthread_mutex_lock(&v->lock);
	file->group = vfio_find_group(v, group);
	if (!file->group)
		ret = -ENODEV;
	else if (file->group->refs || file->group->cdevs)
		ret = -EBUSY;
	else
		file->group->refs = 1;
	pthread_mutex_unlock(&v->lock);
	if (ret) {
		free(file);
		return ret;
	}
	*obj = &file->obj;
	return 0;
}

void vdev_file_gone(struct vdev *d)
{
	d->files--;
	pthread_cond_broadcast(&d->v->closed);
}

void vdev_user_added(struct vdev *d)
{
	if (!d->users++)
		token_use(d, 1);
}

void vdev_user_gone(struct vdev *d)
{
	if (--d->users)
		return;
	token_use(d, -1);
	if (d->iommufd)
		device_unbind(d);
}

static void device_file_free(struct device_file *file)
{
	struct vfio *v = file->obj.v;
	struct vdev *d = file->d;

	if (file->cdev) {
		cdev_close(file);
	} else {
		vdev_close(d);
		pthread_mutex_lock(&v->lock);
		d->group->devices--;
		vdev_user_gone(d);
		group_put(v, d->group);
		vdev_file_gone(d);
		pthread_mutex_unlock(&v->lock);
	}
	vdev_put(d);
	free(file);
}

void vfio_obj_put(struct vfio_obj *obj)
{
	struct vfio *v;

	if (!obj)
		return;
	v = obj->v;
	switch (obj->kind) {
	case VFIO_KIND_CONTAINER:
		pthread_mutex_lock(&v->lock);
		container_put(container_of(obj, struct container, obj));
		pthread_mutex_unlock(&v->lock);
		break;
	case VFIO_KIND_GROUP:
		pthread_mutex_lock(&v->lock);
		group_put(v, container_of(obj, struct group_file, obj)->group);
		pthread_mutex_unlock(&v->lock);
		free(container_of(obj, struct group_file, obj));
		break;
	case VFIO_KIND_IOMMUFD:
		pthread_mutex_lock(&v->lock);
		iommufd_put(obj_iommufd(obj));
		pthread_mutex_unlock(&v->lock);
		break;
	case VFIO_KIND_DEVICE:
		device_file_free(container_of(obj, struct device_file, obj));
		break;
	}
}

enum vfio_kind vfio_obj_kind(const struct vfio_obj *obj)
{
	return obj->kind;
}

struct pcif *vfio_device_function(const struct vfio_obj *obj)
{
	return container_of(obj, const struct device_file, obj)->d->f;
}

/* ------------------------------------------------------------------ requests */

/*
 * Blocks whose end is open: what the client did not fill in is 0, and what we do not know has to
 * be. Source: copy_struct_from_user(), iommufd_fops_ioctl().
 */
static int call_extensible(const struct request *r, struct vfio_obj *obj, struct vfio_call *call)
{
	const struct vfio_shape *shape = &r->shape;
	struct vfio_call inner = *call;
	uint64_t block[8] = { 0 };
	uint32_t size;
	int ret;

	if (!call->data || call->size < sizeof(size))
		return -EFAULT;
	memcpy(&size, call->data, sizeof(size));
	if (size < shape->min)
		return -EINVAL;
	if (call->size < MIN(size, shape->max))
		return -EFAULT;
	if (size > shape->max)
		return -E2BIG;
	for (uint32_t i = shape->known; i < size; i++)
		if (((const uint8_t *)call->data)[i])
			return -E2BIG;
	size = MIN(size, shape->known);
	memcpy(block, call->data, size);
	inner.data = block;
	inner.size = shape->known;
	ret = r->handler(obj, &inner);
	call->reply_size = MIN(inner.reply_size, (size_t)size);
	memcpy(call->data, block, call->reply_size);
	return ret;
}

/* Whatever the block says. Source: vfio_device_fops_unl_ioctl(). */
static int device_admits(struct vfio_obj *obj, uint32_t request)
{
	bool pt = request == VFIO_DEVICE_ATTACH_IOMMUFD_PT ||
		  request == VFIO_DEVICE_DETACH_IOMMUFD_PT;

	if (request == VFIO_DEVICE_BIND_IOMMUFD)
		return 0;
	if (!vfio_device_bound(obj))
		return -EINVAL;
	vdev_awake(obj_device(obj));
	return pt && !container_of(obj, struct device_file, obj)->cdev ? -ENOTTY : 0;
}

int vfio_call(struct vfio_obj *obj, struct vfio_call *call)
{
	const struct request *r = request_find(obj->kind, call->request);
	uint32_t argsz;
	int ret;

	call->reply_size = 0;
	call->new_obj = NULL;
	if (obj->kind == VFIO_KIND_DEVICE) {
		ret = device_admits(obj, call->request);
		if (ret)
			return ret;
	}
	if (!r) {
		/* Without a back end a container refuses what only a back end could know. */
		if (obj->kind == VFIO_KIND_CONTAINER)
			return container_no_backend_request(obj, call);
		return -ENOTTY;
	}
	switch (r->shape.arg) {
	case VFIO_ARG_ARGSZ:
		if (r->shape.known)
			return call_extensible(r, obj, call);
		/* A back end is asked before anybody looks at the block. */
		ret = obj->kind == VFIO_KIND_CONTAINER ? container_admits(obj, call->request) : 0;
		if (ret)
			return ret;
		/* The handlers read @min bytes unasked. Linux could not have copied them either. */
		if (!call->data || call->size < r->shape.min)
			return -EFAULT;
		memcpy(&argsz, call->data, sizeof(argsz));
		if (argsz < r->shape.min)
			return -EINVAL;
		break;
	case VFIO_ARG_STRING:
		if (!call->data)
			return -EFAULT;
		if (!memchr(call->data, 0, call->size))
			return -EINVAL;
		break;
	case VFIO_ARG_INT:
		if (!call->data || call->size < sizeof(int32_t))
			return -EFAULT;
		break;
	case VFIO_ARG_NONE:
	case VFIO_ARG_VALUE:
		break;
	}
	return r->handler(obj, call);
}

/* ------------------------------------------------------------------ for watching */

void vfio_device_request(struct vfio *v, struct pcif *f)
{
	struct vdev *d = vfio_find_device(v, f);

	if (d)
		wire_signal(&d->req);
	vdev_put(d);
}

struct iommu_space *vfio_function_space(struct vfio *v, struct pcif *f)
{
	return iommu_port_space(pcif_iommu_port(f));
}

bool vfio_function_open(struct vfio *v, struct pcif *f)
{
	struct vdev *d = vfio_find_device(v, f);
	bool open = d && d->open;

	vdev_put(d);
	return open;
}
