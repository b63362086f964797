/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The type1 back end: mappings of client memory for DMA, v1 and v2, and the dirty log.
 * Source: drivers/vfio/vfio_iommu_type1.c.
 *
 * Client memory is not pinned, so no limit on locked memory applies. None of these requests holds
 * the machine's lock while it works on the space, which has its own.
 */
#include "vfio/priv.h"

/* 4 KiB, 2 MiB and 1 GiB, as an x86 IOMMU says. */
#define PAGE_SIZES 0x40201000ull
/* Bytes of the longest bitmap. Source: DIRTY_BITMAP_SIZE_MAX. */
#define BITMAP_MAX BIT64(28)
#define MAP_LIMIT 65535u
/* No process has memory above, whatever its page tables are (access_ok()). */
#define USER_LAST (BIT64(56) - 1)

static int type1_fill_chain(struct iommu_space *space, struct chain *chain)
{
	struct vfio_iommu_type1_info_cap_migration *mig;
	struct vfio_iommu_type1_info_dma_avail *avail;
	struct vfio_iommu_type1_info_cap_iova_range *range;
	uint64_t first[8], last[8];
	unsigned n = MIN(iommu_space_ranges(space, first, last, 8), 8u);
	size_t used = iommu_space_count(space);

	mig = chain_add(chain, VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION, 1, sizeof(*mig));
	avail = chain_add(chain, VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL, 1, sizeof(*avail));
	range = chain_add(chain, VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE, 1,
			  sizeof(*range) + n * sizeof(range->iova_ranges[0]));
	if (!mig || !avail || !range)
		return -ENOMEM;
	mig->pgsize_bitmap = UVF_PAGE_SIZE;
	mig->max_dirty_bitmap_size = BITMAP_MAX;
	avail->avail = used < MAP_LIMIT ? MAP_LIMIT - used : 0;
	range->nr_iovas = n;
	for (unsigned i = 0; i < n; i++) {
		range->iova_ranges[i].start = first[i];
		range->iova_ranges[i].end = last[i];
	}
	return 0;
}

/* Source: vfio_iommu_type1_get_info(). */
int type1_get_info(struct vfio_obj *obj, struct vfio_call *call)
{
	struct vfio_iommu_type1_info info = { 0 };
	struct chain chain = { .size = 0 };
	struct iommu_space *space;
	uint8_t head[IOMMU_INFO_SIZE] = { 0 };
	uint32_t type, argsz;
	size_t n, more;
	int ret;

	ret = container_backend(obj, &space, &type);
	if (ret)
		return ret;
	ret = type1_fill_chain(space, &chain);
	iommu_space_put(space);
	if (ret)
		return ret;
	memcpy(&argsz, call->data, sizeof(argsz));
	info.argsz = argsz;
	info.flags = VFIO_IOMMU_INFO_PGSIZES | VFIO_IOMMU_INFO_CAPS;
	info.iova_pgsizes = PAGE_SIZES;
	more = chain_reply(&chain, call->data, call->size, IOMMU_INFO_SIZE, &info.argsz,
			   &info.cap_offset);
	memcpy(head, &info, MIN(sizeof(info), sizeof(head)));
	n = MIN(MIN((size_t)argsz, call->size), sizeof(head));
	memcpy(call->data, head, n);
	call->reply_size = n + more;
	return 0;
}

/* Source: vfio_iommu_type1_map_dma(), vfio_dma_do_map(). */
int type1_map_dma(struct vfio_obj *obj, struct vfio_call *call)
{
	const uint32_t known = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE;
	struct vfio_iommu_type1_dma_map map;
	struct iommu_space *space;
	unsigned perm = 0;
	uint64_t last;
	uint32_t type;
	int ret;

	ret = container_backend(obj, &space, &type);
	if (ret)
		return ret;
	memcpy(&map, call->data, sizeof(map));
	ret = -EINVAL;
	if (map.flags & ~known || !map.size)
		goto out;
	ret = -EOVERFLOW;
	if (range_last(map.iova, map.size, &last) || range_last(map.vaddr, map.size, &last))
		goto out;
	ret = -EINVAL;
	if (map.flags & VFIO_DMA_MAP_FLAG_READ)
		perm |= IOMMU_READ;
	if (map.flags & VFIO_DMA_MAP_FLAG_WRITE)
		perm |= IOMMU_WRITE;
	if (!perm || (map.iova | map.vaddr | map.size) & (UVF_PAGE_SIZE - 1))
		goto out;
	ret = -EFAULT;
	if (!call->client || !call->client->mem)
		goto out;
	ret = iommu_space_map(space, map.iova, map.size, perm, call->client->mem, map.vaddr);
out:
	iommu_space_put(space);
	return ret;
}

/* ------------------------------------------------------------------ bitmaps of dirty pages */

/*
 * May @bitmap take the pages of @size bytes? That its pages are those of the container is looked at
 * later. Source: verify_bitmap_size() and its callers.
 */
static int bitmap_check(const struct vfio_bitmap *bitmap, uint64_t size)
{
	uint64_t pages, last;

	if (!bitmap->pgsize)
		return -EINVAL;
	pages = size >> __builtin_ctzll(bitmap->pgsize);
	if (!pages || !bitmap->size || bitmap->size > BITMAP_MAX ||
	    bitmap->size < ALIGN_UP(pages, 64) / 8)
		return -EINVAL;
	if (range_last((uintptr_t)bitmap->data, bitmap->size, &last) || last > USER_LAST)
		return -EINVAL;
	return 0;
}

/* Sets bits [@first, @last] of a bitmap in client memory. Bits around them are kept. */
static int bitmap_set(struct iommu_mem *mem, uint64_t base, uint64_t first, uint64_t last)
{
	uint8_t ones[4096];
	uint64_t byte = first / 8, end = last / 8;

	memset(ones, 0xff, sizeof(ones));
	while (byte <= end) {
		uint8_t edge, mask = 0xff;
		uint64_t n;
		int ret;

		if (byte == first / 8)
			mask &= 0xff << (first % 8);
		if (byte == end)
			mask &= 0xff >> (7 - last % 8);
		if (mask == 0xff) {
			n = end - byte + (last % 8 == 7);
			n = MIN(MAX(n, 1u), sizeof(ones));
			ret = iommu_mem_write(mem, base + byte, ones, n);
		} else {
			n = 1;
			ret = iommu_mem_read(mem, base + byte, &edge, 1);
			edge |= mask;
			if (!ret)
				ret = iommu_mem_write(mem, base + byte, &edge, 1);
		}
		if (ret)
			return ret;
		byte += n;
	}
	return 0;
}

struct range_list {
	struct {
		uint64_t first, last;
	} * r;
	size_t n, room;
	uint64_t first, last; /* only mappings that lie inside */
	bool failed;
};

static void range_list_add(void *data, const struct iommu_mapping *m)
{
	struct range_list *l = data;

	if (m->first < l->first || m->last > l->last || l->failed)
		return;
	if (l->n == l->room) {
		size_t room = MAX(64u, l->room * 2);
		void *r = realloc(l->r, room * sizeof(*l->r));

		if (!r) {
			l->failed = true;
			return;
		}
		l->r = r;
		l->room = room;
	}
	l->r[l->n].first = m->first;
	l->r[l->n++].last = m->last;
}

/*
 * The bitmap of an unmap says that every page of what goes is dirty: so does Linux for devices
 * whose memory is pinned, and only so no write is lost that a device makes between the look at its
 * log and the end of the mapping. Source: update_user_bitmap().
 */
static int unmap_report(struct iommu_space *space, struct iommu_mem *mem, uint64_t iova,
			uint64_t last, const struct vfio_bitmap *bitmap)
{
	struct range_list l = { .first = iova, .last = last };
	int ret = 0;

	if (!mem)
		return -EFAULT;
	iommu_space_for_each(space, range_list_add, &l);
	if (l.failed)
		ret = -ENOMEM;
	for (size_t i = 0; i < l.n && !ret; i++)
		ret = bitmap_set(mem, (uintptr_t)bitmap->data,
				 (l.r[i].first - iova) / UVF_PAGE_SIZE,
				 (l.r[i].last - iova) / UVF_PAGE_SIZE);
	free(l.r);
	return ret;
}

static int unmap_check(const struct vfio_iommu_type1_dma_unmap *u, const struct vfio_call *call,
		       struct vfio_bitmap *bitmap)
{
	const uint32_t known = VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP | VFIO_DMA_UNMAP_FLAG_ALL;

	if (u->flags & ~known || u->flags == known)
		return -EINVAL;
	if (!(u->flags & VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP))
		return 0;
	if (u->argsz < sizeof(*u) + sizeof(*bitmap))
		return -EINVAL;
	if (call->size < sizeof(*u) + sizeof(*bitmap))
		return -EFAULT;
	memcpy(bitmap, (const uint8_t *)call->data + sizeof(*u), sizeof(*bitmap));
	return bitmap_check(bitmap, u->size);
}

/* Source: vfio_iommu_type1_unmap_dma(), vfio_dma_do_unmap(). */
int type1_unmap_dma(struct vfio_obj *obj, struct vfio_call *call)
{
	enum iommu_unmap_rule rule = IOMMU_UNMAP_EXACT;
	struct vfio_iommu_type1_dma_unmap u;
	struct vfio_bitmap bitmap = { 0 };
	struct iommu_space *space;
	uint64_t removed = 0, last;
	uint32_t type;
	int ret;

	ret = container_backend(obj, &space, &type);
	if (ret)
		return ret;
	memcpy(&u, call->data, sizeof(u));
	ret = unmap_check(&u, call, &bitmap);
	if (ret)
		goto out;
	ret = -EINVAL;
	if (u.flags & VFIO_DMA_UNMAP_FLAG_ALL) {
		if (u.iova || u.size)
			goto out;
		rule = IOMMU_UNMAP_ALL;
	} else {
		if (!u.size || (u.iova | u.size) & (UVF_PAGE_SIZE - 1))
			goto out;
		ret = range_last(u.iova, u.size, &last);
		if (ret)
			goto out;
		if (type == VFIO_TYPE1_IOMMU)
			rule = IOMMU_UNMAP_LEGACY;
	}
	if (u.flags & VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP) {
		ret = -EINVAL;
		if (!iommu_space_dirty_started(space) || bitmap.pgsize != UVF_PAGE_SIZE)
			goto out;
		ret = unmap_report(space, call->client ? call->client->mem : NULL, u.iova, last,
				   &bitmap);
		if (ret)
			goto out;
	}
	ret = iommu_space_unmap(space, rule, u.iova, u.size, &removed);
	if (ret)
		goto out;
	u.size = removed;
	memcpy(call->data, &u, sizeof(u));
	call->reply_size = sizeof(u);
out:
	iommu_space_put(space);
	return ret;
}

/* Source: vfio_iommu_type1_dirty_pages(), vfio_iova_dirty_bitmap(). */
static int dirty_get(struct iommu_space *space, const struct vfio_call *call, uint32_t argsz)
{
	struct vfio_iommu_type1_dirty_bitmap_get get;
	const size_t head = sizeof(struct vfio_iommu_type1_dirty_bitmap);
	uint64_t last, bytes, *words;
	int ret;

	if (argsz < head + sizeof(get))
		return -EINVAL;
	if (call->size < head + sizeof(get))
		return -EFAULT;
	memcpy(&get, (const uint8_t *)call->data + head, sizeof(get));
	if (!get.size)
		return -EINVAL;
	if (range_last(get.iova, get.size, &last))
		return -EOVERFLOW;
	ret = bitmap_check(&get.bitmap, get.size);
	if (ret)
		return ret;
	if (get.bitmap.pgsize != UVF_PAGE_SIZE || (get.iova | get.size) & (UVF_PAGE_SIZE - 1) ||
	    !iommu_space_dirty_started(space))
		return -EINVAL;
	if (!call->client || !call->client->mem)
		return -EFAULT;
	bytes = ALIGN_UP(get.size / UVF_PAGE_SIZE, 64) / 8;
	words = calloc(1, bytes);
	if (!words)
		return -ENOMEM;
	/* Before anything leaves the log: can the client take it? */
	ret = iommu_space_dirty_fetch(space, get.iova, get.size, NULL);
	if (!ret)
		ret = iommu_mem_write(call->client->mem, (uintptr_t)get.bitmap.data, words, bytes);
	if (!ret)
		ret = iommu_space_dirty_fetch(space, get.iova, get.size, words);
	if (!ret)
		ret = iommu_mem_write(call->client->mem, (uintptr_t)get.bitmap.data, words, bytes);
	free(words);
	return ret;
}

/* Version 2 only, which container_admits() sees to. */
int type1_dirty_pages(struct vfio_obj *obj, struct vfio_call *call)
{
	struct vfio_iommu_type1_dirty_bitmap d;
	struct iommu_space *space;
	uint32_t type;
	int ret;

	ret = container_backend(obj, &space, &type);
	if (ret)
		return ret;
	memcpy(&d, call->data, sizeof(d));
	switch (d.flags) {
	case VFIO_IOMMU_DIRTY_PAGES_FLAG_START:
		ret = iommu_space_dirty_start(space);
		break;
	case VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP:
		ret = iommu_space_dirty_stop(space);
		break;
	case VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP:
		ret = dirty_get(space, call, d.argsz);
		break;
	default:
		ret = -EINVAL;
	}
	iommu_space_put(space);
	return ret;
}
