/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Requests about an IOAS: the checks of what a client gave. Source: drivers/iommu/iommufd/ioas.c.
 */
#include "vfio/priv.h"

/* A list of ranges is copied as a whole. */
#define ALLOW_MAX 65536u

static struct iommu_mem *client_memory(const struct vfio_call *call)
{
	return call->client ? call->client->mem : NULL;
}

/* Source: iommufd_ioas_alloc_ioctl(). */
int ioas_alloc(struct vfio_obj *obj, struct vfio_call *call)
{
	struct abi_ioas_alloc *cmd = call->data;
	struct ioas *s;
	int ret;

	if (cmd->flags)
		return -EOPNOTSUPP;
	ret = ioas_new(&s);
	if (ret)
		return ret;
	pthread_mutex_lock(&obj->v->lock);
	ret = iofd_add(obj_iommufd(obj), &s->obj);
	if (!ret)
		cmd->out_ioas_id = s->obj.id;
	pthread_mutex_unlock(&obj->v->lock);
	if (ret) {
		ioas_put(s);
		return ret;
	}
	call->reply_size = sizeof(*cmd);
	return 0;
}

/* Source: iommufd_ioas_iova_ranges(). */
int ioas_iova_ranges(struct vfio_obj *obj, struct vfio_call *call)
{
	struct abi_iova_ranges *cmd = call->data;
	struct abi_iova_range ranges[3];
	uint32_t room = cmd->num_iovas;
	struct ioas *s;
	int ret = 0;

	if (cmd->reserved)
		return -EOPNOTSUPP;
	s = ioas_get(obj_iommufd(obj), cmd->ioas_id);
	if (!s)
		return -ENOENT;
	cmd->num_iovas = ioas_ranges(s, ranges, &cmd->out_iova_alignment);
	ioas_put(s);
	if (room) {
		if (!client_memory(call))
			return -EFAULT;
		ret = iommu_mem_write(client_memory(call), cmd->allowed_iovas, ranges,
				      MIN(room, cmd->num_iovas) * sizeof(ranges[0]));
	}
	if (ret)
		return ret;
	call->reply_size = sizeof(*cmd);
	return cmd->num_iovas > room ? -EMSGSIZE : 0;
}

/* Source: iommufd_ioas_allow_iovas(). */
int ioas_allow_iovas(struct vfio_obj *obj, struct vfio_call *call)
{
	const struct abi_iova_ranges *cmd = call->data;
	AUTO_FREE struct abi_iova_range *ranges = NULL;
	struct ioas *s;
	int ret = 0;

	if (cmd->reserved)
		return -EOPNOTSUPP;
	s = ioas_get(obj_iommufd(obj), cmd->ioas_id);
	if (!s)
		return -ENOENT;
	if (cmd->num_iovas > ALLOW_MAX)
		ret = -ENOMEM;
	if (!ret && cmd->num_iovas) {
		ranges = calloc(cmd->num_iovas, sizeof(*ranges));
		if (!ranges)
			ret = -ENOMEM;
		else if (!client_memory(call))
			ret = -EFAULT;
		else
			ret = iommu_mem_read(client_memory(call), cmd->allowed_iovas, ranges,
					     cmd->num_iovas * sizeof(*ranges));
	}
	if (!ret)
		ret = ioas_allow(s, ranges, cmd->num_iovas);
	ioas_put(s);
	return ret;
}

/* What MAP, MAP_FILE and COPY have in common, in this order. */
static int check_map(uint32_t flags, uint64_t iova, uint64_t length, uint64_t other, unsigned *perm)
{
	if (flags & ~(IOAS_MAP_FIXED_IOVA | IOAS_MAP_WRITEABLE | IOAS_MAP_READABLE))
		return -EOPNOTSUPP;
	if (iova == UINT64_MAX || length == UINT64_MAX || other == UINT64_MAX)
		return -EOVERFLOW;
	*perm = (flags & IOAS_MAP_WRITEABLE ? IOMMU_WRITE : 0) |
		(flags & IOAS_MAP_READABLE ? IOMMU_READ : 0);
	return *perm ? 0 : -EINVAL;
}

/* Source: iommufd_ioas_map(), iopt_map_user_pages(). */
int ioas_map_memory(struct vfio_obj *obj, struct vfio_call *call)
{
	struct abi_ioas_map *cmd = call->data;
	struct ioas_source from = {
		.mem = client_memory(call),
		.vaddr = cmd->from,
		.length = cmd->length,
	};
	struct ioas *s;
	uint64_t last;
	unsigned perm;
	int ret;

	if (cmd->fd)
		return -EOPNOTSUPP;
	ret = check_map(cmd->flags, cmd->iova, cmd->length, 0, &perm);
	if (ret)
		return ret;
	s = ioas_get(obj_iommufd(obj), cmd->ioas_id);
	if (!s)
		return -ENOENT;
	from.writable = perm & IOMMU_WRITE;
	if (!cmd->length)
		ret = -EINVAL;
	else if (range_last(cmd->from, cmd->length, &last))
		ret = -EOVERFLOW;
	else if (!from.mem)
		ret = -EFAULT;
	else
		ret = ioas_map(s, &from, 1, perm, cmd->flags & IOAS_MAP_FIXED_IOVA, &cmd->iova);
	ioas_put(s);
	if (!ret)
		call->reply_size = sizeof(*cmd);
	return ret;
}

/* Source: iommufd_ioas_map_file(), iopt_alloc_file_pages(). */
int ioas_map_file(struct vfio_obj *obj, struct vfio_call *call)
{
	struct abi_ioas_map *cmd = call->data;
	struct ioas_source from = { .vaddr = cmd->from, .length = cmd->length };
	struct ioas *s;
	uint64_t last;
	unsigned perm;
	int ret = check_map(cmd->flags, cmd->iova, cmd->length, 0, &perm);

	if (ret)
		return ret;
	s = ioas_get(obj_iommufd(obj), cmd->ioas_id);
	if (!s)
		return -ENOENT;
	from.writable = perm & IOMMU_WRITE;
	if (!call->n_fds || (call->fds[0].fd < 0 && !call->fds[0].obj))
		ret = -EBADF;
	else if (!cmd->length || call->fds[0].fd < 0)
		ret = -EINVAL;
	else if (range_last(cmd->from, cmd->length, &last))
		ret = -EOVERFLOW;
	else
		ret = iommu_mem_file(call->fds[0].fd, &from.mem);
	if (!ret)
		ret = ioas_map(s, &from, 1, perm, cmd->flags & IOAS_MAP_FIXED_IOVA, &cmd->iova);
	iommu_mem_put(from.mem);
	ioas_put(s);
	if (!ret)
		call->reply_size = sizeof(*cmd);
	return ret;
}

/* Source: iommufd_ioas_copy(). */
int ioas_copy(struct vfio_obj *obj, struct vfio_call *call)
{
	struct abi_ioas_copy *cmd = call->data;
	struct ioas_source *from = NULL;
	struct ioas *s, *to;
	unsigned perm, n = 0;
	uint64_t last;
	int ret = check_map(cmd->flags, cmd->dst_iova, cmd->length, cmd->src_iova, &perm);

	if (ret)
		return ret;
	s = ioas_get(obj_iommufd(obj), cmd->src_ioas_id);
	if (!s)
		return -ENOENT;
	if (!cmd->length)
		ret = -EINVAL;
	else if (range_last(cmd->src_iova, cmd->length, &last))
		ret = -EOVERFLOW;
	else
		ret = ioas_look(s, cmd->src_iova, last, &from, &n);
	ioas_put(s);
	if (ret)
		return ret;
	to = ioas_get(obj_iommufd(obj), cmd->dst_ioas_id);
	ret = to ? ioas_map(to, from, n, perm, cmd->flags & IOAS_MAP_FIXED_IOVA, &cmd->dst_iova)
		 : -ENOENT;
	ioas_put(to);
	while (n)
		iommu_mem_put(from[--n].mem);
	free(from);
	if (!ret)
		call->reply_size = sizeof(*cmd);
	return ret;
}

/* Source: iommufd_ioas_unmap(). */
int ioas_unmap_iova(struct vfio_obj *obj, struct vfio_call *call)
{
	struct abi_ioas_unmap *cmd = call->data;
	bool all = !cmd->iova && cmd->length == UINT64_MAX;
	uint64_t last = UINT64_MAX, removed;
	struct ioas *s = ioas_get(obj_iommufd(obj), cmd->ioas_id);
	int ret = 0;

	if (!s)
		return -ENOENT;
	if (!all) {
		if (cmd->iova == UINT64_MAX || cmd->length == UINT64_MAX)
			ret = -EOVERFLOW;
		else if (!cmd->length)
			ret = -EINVAL;
		else
			ret = range_last(cmd->iova, cmd->length, &last);
	}
	if (!ret)
		ret = ioas_unmap(s, cmd->iova, last, &removed);
	if (!ret && !removed && !all)
		ret = -ENOENT;
	ioas_put(s);
	if (ret)
		return ret;
	cmd->length = removed;
	call->reply_size = sizeof(*cmd);
	return 0;
}
