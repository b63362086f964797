/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Containers: /dev/vfio/vfio. A container gathers groups that share one I/O address space; the
 * space exists from SET_IOMMU until the last group leaves, and its mappings with it.
 * Source: drivers/vfio/container.c.
 */
#include "vfio/priv.h"

static struct container *obj_container(struct vfio_obj *obj)
{
	return container_of(obj, struct container, obj);
}

/* Source: vfio_fops_unl_ioctl(). */
int container_get_api_version(struct vfio_obj *obj, struct vfio_call *call)
{
	return VFIO_API_VERSION;
}

/*
 * Source: vfio_ioctl_check_extension(), vfio_iommu_type1_check_extension(). UPDATE_VADDR is not
 * offered: it serves to hand a running virtual machine to another process.
 */
int container_check_extension(struct vfio_obj *obj, struct vfio_call *call)
{
	int ret;

	switch (call->value) {
	case VFIO_TYPE1_IOMMU:
	case VFIO_TYPE1v2_IOMMU:
	case VFIO_UNMAP_ALL:
		return 1;
	case VFIO_DMA_CC_IOMMU:
		/* Our DMA is by processor and hence coherent, once there is an IOMMU to say so. */
		pthread_mutex_lock(&obj->v->lock);
		ret = obj_container(obj)->type != 0;
		pthread_mutex_unlock(&obj->v->lock);
		return ret;
	default:
		return 0;
	}
}

void container_attach_group(struct container *c, struct group *g)
{
	bus_group_attach(c->obj.v->bus, g->number, c->space);
	vfio_tell(c->obj.v, VFIO_EVENT_ATTACH, g->number, g->client, NULL);
}

void container_detach_group(struct container *c, struct group *g)
{
	bus_group_attach(c->obj.v->bus, g->number, NULL);
	vfio_tell(c->obj.v, VFIO_EVENT_DETACH, g->number, g->client, NULL);
}

/* Source: vfio_ioctl_set_iommu(), vfio_iommu_type1_open(). */
int container_set_iommu(struct vfio_obj *obj, struct vfio_call *call)
{
	struct container *c = obj_container(obj);
	struct vfio *v = obj->v;
	int ret = -EINVAL;

	pthread_mutex_lock(&v->lock);
	if (!c->n_groups || c->type)
		goto out;
	/*
	 * Linux asks each back end with CHECK_EXTENSION first, so that a number which is an
	 * extension but no kind of IOMMU is refused by the back end itself, with another errno.
	 */
	if (call->value == VFIO_UNMAP_ALL)
		goto out;
	ret = -ENODEV;
	if (call->value != VFIO_TYPE1_IOMMU && call->value != VFIO_TYPE1v2_IOMMU)
		goto out;
	ret = iommu_space_new(&c->space);
	if (ret)
		goto out;
	c->type = call->value;
	for (struct group *g = v->groups; g; g = g->next)
		if (g->container == c)
			container_attach_group(c, g);
out:
	pthread_mutex_unlock(&v->lock);
	return ret;
}

/* Requests that only another back end knows. Source: vfio_fops_unl_ioctl(). */
int container_no_backend_request(struct vfio_obj *obj, struct vfio_call *call)
{
	int ret;

	pthread_mutex_lock(&obj->v->lock);
	ret = obj_container(obj)->type ? -ENOTTY : -EINVAL;
	pthread_mutex_unlock(&obj->v->lock);
	return ret;
}

/* Source: vfio_fops_unl_ioctl(), vfio_iommu_type1_dirty_pages(). */
int container_admits(struct vfio_obj *obj, uint32_t request)
{
	uint32_t type;

	pthread_mutex_lock(&obj->v->lock);
	type = obj_container(obj)->type;
	pthread_mutex_unlock(&obj->v->lock);
	if (!type)
		return -EINVAL;
	return request == VFIO_IOMMU_DIRTY_PAGES && type != VFIO_TYPE1v2_IOMMU ? -EACCES : 0;
}

int container_backend(struct vfio_obj *obj, struct iommu_space **space, uint32_t *type)
{
	struct container *c = obj_container(obj);
	int ret = -EINVAL;

	pthread_mutex_lock(&obj->v->lock);
	if (c->type) {
		*space = iommu_space_get(c->space);
		*type = c->type;
		ret = 0;
	}
	pthread_mutex_unlock(&obj->v->lock);
	return ret;
}

void container_put(struct container *c)
{
	if (--c->refs)
		return;
	/* Groups hold references, so the last of them has left and taken the space along. */
	free(c);
}
