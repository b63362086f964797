/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Devices that are opened by themselves, /dev/vfio/devices/vfioX. A file is useless until it is
 * bound to an iommufd, which opens the device; one file can be. A group and its devices' own files
 * exclude each other. Source: drivers/vfio/device_cdev.c.
 */
#include "vfio/priv.h"

static struct device_file *obj_file(struct vfio_obj *obj)
{
	return container_of(obj, struct device_file, obj);
}

/* ------------------------------------------------------------------ which there are */

bool vfio_cdev_next(struct vfio *v, unsigned from, struct vfio_cdev *cdev)
{
	bool found = false;

	pthread_mutex_lock(&v->lock);
	for (struct vdev *d = v->devices; d; d = d->next) {
		if (d->index < from || (found && d->index >= cdev->index))
			continue;
		*cdev = (struct vfio_cdev){ .index = d->index, .id = d->id };
		found = true;
	}
	pthread_mutex_unlock(&v->lock);
	return found;
}

bool vfio_cdev_of(struct vfio *v, struct pcif *f, struct vfio_cdev *cdev)
{
	struct vdev *d = vfio_find_device(v, f);

	if (!d)
		return false;
	*cdev = (struct vfio_cdev){ .index = d->index, .id = d->id };
	vdev_put(d);
	return true;
}

bool vfio_cdev_present(struct vfio *v, uint64_t id)
{
	bool present = false;

	pthread_mutex_lock(&v->lock);
	for (struct vdev *d = v->devices; d && !present; d = d->next)
		present = d->id == id;
	pthread_mutex_unlock(&v->lock);
	return present;
}

/* Source: vfio_device_fops_cdev_open(). */
int vfio_open_cdev(struct vfio *v, uint64_t id, unsigned client, struct vfio_obj **obj)
{
	struct device_file *file = calloc(1, sizeof(*file));
	struct vdev *d;

	if (!file)
		return -ENOMEM;
	file->obj = (struct vfio_obj){ VFIO_KIND_DEVICE, v };
	file->cdev = true;
	file->client = client;
	pthread_mutex_lock(&v->lock);
	for (d = v->devices; d && d->id != id; d = d->next)
		;
	if (d && !d->leaving) {
		d->refs++;
		d->files++;
		file->d = d;
	}
	pthread_mutex_unlock(&v->lock);
	if (!file->d) {
		free(file);
		return -ENODEV;
	}
	*obj = &file->obj;
	return 0;
}

/* ------------------------------------------------------------------ binding */

/* With vfio.lock. Source: vfio_df_ioctl_bind_iommufd(), from vfio_device_block_group() on. */
static int bind_begin(struct device_file *file, const uint8_t *uuid, int token,
		      const struct vfio_fd *fd)
{
	struct vdev *d = file->d;
	struct group *g = d->group;
	int ret;

	if (g->refs)
		return -EBUSY;
	if (file->bound)
		return -EINVAL;
	ret = token ? token : token_check(d, uuid);
	if (ret)
		return ret;
	if (!fd)
		return -EBADF;
	if (fd->error)
		return fd->error;
	if (!fd->obj || fd->obj->kind != VFIO_KIND_IOMMUFD || fd->obj->v != d->v)
		return fd->fd < 0 && !fd->obj ? -EBADF : -EBADFD;
	if (d->users)
		return -EINVAL;
	ret = device_bind(d, obj_iommufd(fd->obj));
	if (ret)
		return ret;
	g->cdevs++;
	vdev_user_added(d);
	return 0;
}

static void bind_end(struct vdev *d)
{
	d->group->cdevs--;
	vdev_user_gone(d);
}

int device_bind_iommufd(struct vfio_obj *obj, struct vfio_call *call)
{
	struct device_file *file = obj_file(obj);
	struct abi_bind_iommufd *cmd = call->data;
	struct vdev *d = file->d;
	uint8_t uuid[TOKEN_SIZE];
	int ret, token = 0;

	if (cmd->flags & ~BIND_IOMMUFD_TOKEN || cmd->iommufd < 0)
		return -EINVAL;
	if (!file->cdev)
		return -EINVAL;
	if (cmd->flags & BIND_IOMMUFD_TOKEN)
		token = call->client && call->client->mem
				? iommu_mem_read(call->client->mem, cmd->token_uuid_ptr, uuid,
						 sizeof(uuid))
				: -EFAULT;
	pthread_mutex_lock(&obj->v->lock);
	ret = bind_begin(file, cmd->flags & BIND_IOMMUFD_TOKEN ? uuid : NULL, token,
			 call->n_fds ? &call->fds[0] : NULL);
	if (!ret)
		cmd->out_devid = d->devid->id;
	pthread_mutex_unlock(&obj->v->lock);
	if (ret)
		return ret;
	/* Which resets it, hence not under the machine's lock. */
	ret = vdev_open(d, file->client);
	if (ret) {
		pthread_mutex_lock(&obj->v->lock);
		bind_end(d);
		pthread_mutex_unlock(&obj->v->lock);
		return ret;
	}
	file->bound = true;
	call->reply_size = offsetof(struct abi_bind_iommufd, token_uuid_ptr);
	return 0;
}

/* Source: vfio_df_unbind_iommufd(). */
void cdev_close(struct device_file *file)
{
	struct vfio *v = file->obj.v;

	if (file->bound)
		vdev_close(file->d);
	pthread_mutex_lock(&v->lock);
	if (file->bound)
		bind_end(file->d);
	vdev_file_gone(file->d);
	pthread_mutex_unlock(&v->lock);
}

bool vfio_device_bound(const struct vfio_obj *obj)
{
	const struct device_file *file = container_of(obj, const struct device_file, obj);

	return !file->cdev || file->bound;
}

/* ------------------------------------------------------------------ attaching */

/* Source: vfio_df_ioctl_attach_pt(), vfio_iommufd_physical_attach_ioas(). */
int device_attach_pt(struct vfio_obj *obj, struct vfio_call *call)
{
	struct device_file *file = obj_file(obj);
	struct abi_attach_iommufd_pt cmd = { 0 };
	struct vdev *d = file->d;
	int ret;

	memcpy(&cmd, call->data, MIN(call->size, sizeof(cmd)));
	if (cmd.flags & ~ATTACH_IOMMUFD_PASID ||
	    (cmd.flags && (cmd.argsz < sizeof(cmd) || call->size < sizeof(cmd))))
		return -EINVAL;
	pthread_mutex_lock(&obj->v->lock);
	if (cmd.flags) /* No device of ours has address spaces of its own for processes. */
		ret = iofd_known(d->iommufd, cmd.pt_id) ? -EINVAL : -ENOENT;
	else
		ret = device_attach(d, &cmd.pt_id, file->client);
	pthread_mutex_unlock(&obj->v->lock);
	if (ret)
		return ret;
	call->reply_size = offsetof(struct abi_attach_iommufd_pt, pasid);
	memcpy(call->data, &cmd, call->reply_size);
	return 0;
}

/* Source: vfio_df_ioctl_detach_pt(). */
int device_detach_pt(struct vfio_obj *obj, struct vfio_call *call)
{
	struct device_file *file = obj_file(obj);
	struct abi_detach_iommufd_pt cmd = { 0 };

	memcpy(&cmd, call->data, MIN(call->size, sizeof(cmd)));
	if (cmd.flags & ~ATTACH_IOMMUFD_PASID || (cmd.flags && cmd.argsz < sizeof(cmd)))
		return -EINVAL;
	pthread_mutex_lock(&obj->v->lock);
	if (!cmd.flags)
		device_detach(file->d);
	pthread_mutex_unlock(&obj->v->lock);
	return 0;
}
