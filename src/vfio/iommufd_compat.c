/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An iommufd as the container of a group: VFIO's own requests on /dev/iommu. They are about one
 * IOAS, which comes into being when the first group is set to the iommufd. Source:
 * drivers/iommu/iommufd/vfio_compat.c.
 */
#include "vfio/priv.h"

#define PAGE_SIZES 0x40201000ull

/* Source: iommufd_vfio_check_extension(), iommufd_vfio_cc_iommu(). */
int compat_check_extension(struct vfio_obj *obj, struct vfio_call *call)
{
	struct ioas *s;

	switch (call->value) {
	case VFIO_TYPE1_IOMMU:
	case VFIO_TYPE1v2_IOMMU:
	case VFIO_UNMAP_ALL:
		return 1;
	case VFIO_DMA_CC_IOMMU:
		s = ioas_get_vfio(obj_iommufd(obj));
		ioas_put(s);
		return s ? 1 : -ENODEV;
	default:
		return 0;
	}
}

/* Source: iommufd_vfio_set_iommu(). */
int compat_set_iommu(struct vfio_obj *obj, struct vfio_call *call)
{
	struct ioas *s;
	int ret = 0;

	if (call->value != VFIO_TYPE1_IOMMU && call->value != VFIO_TYPE1v2_IOMMU)
		return -EINVAL;
	s = ioas_get_vfio(obj_iommufd(obj));
	if (!s)
		return -ENODEV;
	/* Version 1 takes out what is in the middle of a mapping. */
	if (call->value == VFIO_TYPE1_IOMMU)
		ret = ioas_small_pages(s, true);
	ioas_put(s);
	return ret;
}

static int fill_chain(const struct abi_iova_range *ranges, unsigned n, struct chain *chain)
{
	struct vfio_iommu_type1_info_dma_avail *avail;
	struct vfio_iommu_type1_info_cap_iova_range *cap;

	avail = chain_add(chain, VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL, 1, sizeof(*avail));
	cap = chain_add(chain, VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE, 1,
			sizeof(*cap) + n * sizeof(cap->iova_ranges[0]));
	if (!avail || !cap)
		return -ENOMEM;
	avail->avail = UINT32_MAX;
	cap->nr_iovas = n;
	for (unsigned i = 0; i < n; i++) {
		cap->iova_ranges[i].start = ranges[i].start;
		cap->iova_ranges[i].end = ranges[i].last;
	}
	return 0;
}

/* Source: iommufd_vfio_iommu_get_info(), iommufd_get_pagesizes(). */
int compat_get_info(struct vfio_obj *obj, struct vfio_call *call)
{
	struct vfio_iommu_type1_info info = { 0 };
	struct ioas *s = ioas_get_vfio(obj_iommufd(obj));
	uint8_t head[IOMMU_INFO_SIZE] = { 0 };
	struct abi_iova_range ranges[3];
	struct chain chain = { .size = 0 };
	uint64_t alignment;
	uint32_t argsz;
	size_t more, size;
	unsigned n;
	int ret;

	if (!s)
		return -ENODEV;
	n = ioas_ranges(s, ranges, &alignment);
	ioas_put(s);
	ret = fill_chain(ranges, n, &chain);
	if (ret)
		return ret;
	memcpy(&argsz, call->data, sizeof(argsz));
	info.argsz = argsz;
	info.flags = VFIO_IOMMU_INFO_PGSIZES | VFIO_IOMMU_INFO_CAPS;
	/* No page table: every size that is at least a page. */
	info.iova_pgsizes = n == 1 && ranges[0].last == UINT64_MAX ? ~(uint64_t)(UVF_PAGE_SIZE - 1)
								   : PAGE_SIZES;
	more = chain_reply(&chain, call->data, call->size, IOMMU_INFO_SIZE, &info.argsz,
			   &info.cap_offset);
	info.argsz = IOMMU_INFO_SIZE + chain.size; /* also where there is more room */
	memcpy(head, &info, MIN(sizeof(info), sizeof(head)));
	size = MIN(MIN((size_t)argsz, call->size), sizeof(head));
	memcpy(call->data, head, size);
	call->reply_size = size + more;
	return 0;
}

/* Source: iommufd_vfio_map_dma(). */
int compat_map_dma(struct vfio_obj *obj, struct vfio_call *call)
{
	struct vfio_iommu_type1_dma_map map;
	struct ioas_source from = { 0 };
	unsigned perm = 0;
	uint64_t last;
	struct ioas *s;
	int ret;

	memcpy(&map, call->data, sizeof(map));
	if (map.flags & ~(VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE))
		return -EINVAL;
	s = ioas_get_vfio(obj_iommufd(obj));
	if (!s)
		return -ENODEV;
	if (map.flags & VFIO_DMA_MAP_FLAG_READ)
		perm |= IOMMU_READ;
	if (map.flags & VFIO_DMA_MAP_FLAG_WRITE)
		perm |= IOMMU_WRITE;
	from.mem = call->client ? call->client->mem : NULL;
	from.vaddr = map.vaddr;
	from.length = map.size;
	from.writable = perm & IOMMU_WRITE;
	if (!map.size || !perm)
		ret = -EINVAL;
	else if (range_last(map.vaddr, map.size, &last))
		ret = -EOVERFLOW;
	else if (!from.mem)
		ret = -EFAULT;
	else
		ret = ioas_map(s, &from, 1, perm, true, (uint64_t[]){ map.iova });
	ioas_put(s);
	return ret;
}

/* Of version 1: both ends may lie inside of a mapping. */
static int cut_ends(struct ioas *s, uint64_t first, uint64_t last)
{
	int ret = last == UINT64_MAX ? 0 : ioas_cut(s, last + 1);

	if (!ret && first)
		ret = ioas_cut(s, first);
	return ret;
}

/* Source: iommufd_vfio_unmap_dma(). */
int compat_unmap_dma(struct vfio_obj *obj, struct vfio_call *call)
{
	struct vfio_iommu_type1_dma_unmap u;
	uint64_t last = UINT64_MAX, removed = 0;
	struct ioas *s;
	bool all, small;
	int ret = 0;

	memcpy(&u, call->data, sizeof(u));
	if (u.flags & ~VFIO_DMA_UNMAP_FLAG_ALL)
		return -EINVAL;
	s = ioas_get_vfio(obj_iommufd(obj));
	if (!s)
		return -ENODEV;
	all = u.flags & VFIO_DMA_UNMAP_FLAG_ALL;
	(void)ioas_has_pages(s, &small);
	if (all ? u.iova || u.size : !u.size)
		ret = -EINVAL;
	else if (!all)
		ret = range_last(u.iova, u.size, &last);
	if (!ret && small && !all)
		ret = cut_ends(s, u.iova, last);
	if (ret)
		goto out;
	ret = ioas_unmap(s, u.iova, last, &removed);
	/* On failure as well: what went before that. */
	u.size = removed;
	memcpy(call->data, &u, sizeof(u));
	call->reply_size = sizeof(u);
out:
	ioas_put(s);
	return ret;
}
