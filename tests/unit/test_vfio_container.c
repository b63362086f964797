/* SPDX-License-Identifier: BSD-3-Clause */
/* Containers, groups and type1: opening and closing in every order, map and unmap, dirty log. */
#include "vfio_fixture.h"

static void container_requests(void **state)
{
	struct fixture *x = *state;
	static const struct {
		uint64_t id;
		int before, after;
	} ext[] = {
		{ 1, 1, 1 }, { 2, 0, 0 }, { 3, 1, 1 }, { 4, 0, 1 },  { 5, 0, 0 }, { 6, 0, 0 },
		{ 7, 0, 0 }, { 8, 0, 0 }, { 9, 1, 1 }, { 10, 0, 0 }, { 0, 0, 0 }, { ~0ull, 0, 0 },
	};
	uint32_t info[64] = { sizeof(info) };

	assert_int_equal(vfio_open_container(x->v, &x->container), 0);
	assert_int_equal(call_value(x, x->container, VFIO_GET_API_VERSION, 0), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(ext); i++)
		assert_int_equal(call_value(x, x->container, VFIO_CHECK_EXTENSION, ext[i].id),
				 ext[i].before);
	/* Before there is a back end nothing else works. */
	assert_int_equal(call_value(x, x->container, VFIO_SET_IOMMU, VFIO_TYPE1_IOMMU), -EINVAL);
	assert_int_equal(call(x, x->container, VFIO_IOMMU_GET_INFO, info, sizeof(info)), -EINVAL);
	assert_int_equal(call(x, x->container, VFIO_IOMMU_MAP_DMA, info, sizeof(info)), -EINVAL);
	assert_int_equal(call(x, x->container, VFIO_IOMMU_MAP_DMA, NULL, 0), -EINVAL);
	assert_int_equal(call_value(x, x->container, VFIO_IOMMU_ENABLE, 0), -EINVAL);
	assert_int_equal(call_value(x, x->container, 0x3bff, 0), -EINVAL);

	assert_int_equal(vfio_open_group(x->v, pcif_group(x->full), &x->group), 0);
	assert_int_equal(set_container(x, x->group, x->container), 0);
	assert_int_equal(call_value(x, x->container, VFIO_SET_IOMMU, 2), -ENODEV);
	assert_int_equal(call_value(x, x->container, VFIO_SET_IOMMU, 6), -ENODEV);
	assert_int_equal(call_value(x, x->container, VFIO_SET_IOMMU, 8), -ENODEV);
	assert_int_equal(call_value(x, x->container, VFIO_SET_IOMMU, 10), -ENODEV);
	assert_int_equal(call_value(x, x->container, VFIO_SET_IOMMU, 9), -EINVAL);
	assert_int_equal(x->events[VFIO_EVENT_ATTACH], 0);
	assert_int_equal(call_value(x, x->container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU), 0);
	assert_int_equal(x->events[VFIO_EVENT_ATTACH], 1);
	assert_int_equal(call_value(x, x->container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU), -EINVAL);
	for (unsigned i = 0; i < ARRAY_SIZE(ext); i++)
		assert_int_equal(call_value(x, x->container, VFIO_CHECK_EXTENSION, ext[i].id),
				 ext[i].after);
	assert_int_equal(call_value(x, x->container, VFIO_IOMMU_ENABLE, 0), -ENOTTY);
	assert_int_equal(call_value(x, x->container, 0x3bff, 0), -ENOTTY);
	/* Numbers of other kinds. */
	assert_int_equal(call_value(x, x->group, VFIO_SET_IOMMU, 1), -ENOTTY);
	assert_null(vfio_shape(VFIO_KIND_GROUP, VFIO_SET_IOMMU));
	assert_null(vfio_shape(VFIO_KIND_DEVICE, VFIO_GROUP_GET_STATUS));
	assert_string_equal(vfio_shape(VFIO_KIND_DEVICE, 0x3b70)->name,
			    "VFIO_DEVICE_GET_PCI_HOT_RESET_INFO");
	assert_string_equal(vfio_shape(VFIO_KIND_CONTAINER, 0x3b70)->name, "VFIO_IOMMU_GET_INFO");
}

static uint32_t group_flags(struct fixture *x)
{
	struct vfio_group_status st = { .argsz = sizeof(st), .flags = 0xff };

	assert_int_equal(call(x, x->group, VFIO_GROUP_GET_STATUS, &st, sizeof(st)), 0);
	assert_int_equal(x->reply, 8);
	return st.flags;
}

static void group_requests(void **state)
{
	struct fixture *x = *state;
	struct vfio_group_status st = { .argsz = 7 };
	struct vfio_obj *second, *other;
	int32_t number = 3;
	struct vfio_fd fd = { .fd = -1, .error = -EBADF };

	assert_int_equal(vfio_open_group(x->v, 1000, &second), -ENODEV);
	assert_int_equal(vfio_open_group(x->v, pcif_group(pcif_parent(x->full)), &second), -ENODEV);
	assert_true(vfio_group_present(x->v, pcif_group(x->full)));
	assert_false(vfio_group_present(x->v, pcif_group(pcif_parent(x->full))));
	assert_int_equal(vfio_open_group(x->v, pcif_group(x->full), &x->group), 0);
	assert_int_equal(vfio_open_group(x->v, pcif_group(x->full), &second), -EBUSY);
	assert_int_equal(call(x, x->group, VFIO_GROUP_GET_STATUS, &st, sizeof(st)), -EINVAL);
	assert_int_equal(group_flags(x), VFIO_GROUP_FLAGS_VIABLE);
	assert_int_equal(call_value(x, x->group, VFIO_GROUP_UNSET_CONTAINER, 0), -EINVAL);

	assert_int_equal(vfio_open_container(x->v, &x->container), 0);
	assert_int_equal(call_fds(x, x->group, VFIO_GROUP_SET_CONTAINER, &number, 4, &fd, 1),
			 -EBADF);
	fd.error = 0;
	assert_int_equal(call_fds(x, x->group, VFIO_GROUP_SET_CONTAINER, &number, 4, &fd, 1),
			 -EBADF);
	fd.fd = 0;
	assert_int_equal(call_fds(x, x->group, VFIO_GROUP_SET_CONTAINER, &number, 4, &fd, 1),
			 -EBADFD);
	assert_int_equal(set_container(x, x->group, x->group), -EBADFD);
	assert_int_equal(set_container(x, x->group, x->container), 0);
	assert_int_equal(set_container(x, x->group, x->container), -EINVAL);
	assert_int_equal(group_flags(x), 3);
	assert_int_equal(vfio_open_container(x->v, &other), 0);
	assert_int_equal(set_container(x, x->group, other), -EINVAL);
	vfio_obj_put(other);
	assert_int_equal(call_value(x, x->group, VFIO_GROUP_UNSET_CONTAINER, 0), 0);
	assert_int_equal(group_flags(x), 1);
}

static void device_fd(void **state)
{
	struct fixture *x = *state;
	struct vfio_obj *dev = NULL, *dev2 = NULL, *g;
	static const struct {
		const char *name;
		int ret;
	} names[] = {
		{ "", -ENODEV },
		{ "0000:65:00", -ENODEV },
		{ "0000:65:00.0x", -ENODEV },
		{ "0000:65:00.01", -ENODEV },
		{ "65:00.0", -ENODEV },
		{ PLAIN, -ENODEV },
		{ FULL " vf_token=", -EINVAL },
		{ FULL " vf_token=2ab74924-c335-45f4-9b16-8569e5b08258", -EINVAL },
		{ FULL "  junk", -EINVAL },
		{ FULL "   ", 0 },
		{ FULL, 0 },
	};

	assert_int_equal(vfio_open_group(x->v, pcif_group(x->full), &x->group), 0);
	assert_int_equal(get_device(x, FULL, &dev), -EINVAL);
	assert_int_equal(get_device(x, PLAIN, &dev), -ENODEV);
	assert_int_equal(vfio_open_container(x->v, &x->container), 0);
	assert_int_equal(set_container(x, x->group, x->container), 0);
	assert_int_equal(get_device(x, FULL, &dev), -EINVAL);
	assert_int_equal(call_value(x, x->container, VFIO_SET_IOMMU, VFIO_TYPE1_IOMMU), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
		assert_int_equal(get_device(x, names[i].name, &dev), names[i].ret);
		if (!names[i].ret) {
			assert_int_equal(vfio_obj_kind(dev), VFIO_KIND_DEVICE);
			vfio_obj_put(dev);
		}
	}
	/* Not terminated. */
	char endless[8] = "0000:65:";

	assert_int_equal(call_fds(x, x->group, VFIO_GROUP_GET_DEVICE_FD, endless, 8, NULL, 0),
			 -EINVAL);
	/* Twice the same, and devices keep the group in its container and open. */
	assert_int_equal(get_device(x, FULL, &dev), 0);
	assert_true(vfio_function_open(x->v, x->full));
	assert_int_equal(get_device(x, FULL, &dev2), 0);
	assert_ptr_equal(vfio_device_function(dev2), x->full);
	assert_int_equal(call_value(x, x->group, VFIO_GROUP_UNSET_CONTAINER, 0), -EBUSY);
	vfio_obj_put(x->group);
	x->group = NULL;
	assert_int_equal(vfio_open_group(x->v, pcif_group(x->full), &g), -EBUSY);
	vfio_obj_put(x->container);
	x->container = NULL;
	vfio_obj_put(dev);
	assert_int_equal(vfio_open_group(x->v, pcif_group(x->full), &g), -EBUSY);
	assert_true(vfio_function_open(x->v, x->full));
	vfio_obj_put(dev2);
	assert_false(vfio_function_open(x->v, x->full));
	assert_null(vfio_function_space(x->v, x->full));
	assert_int_equal(x->events[VFIO_EVENT_ATTACH], 1);
	assert_int_equal(x->events[VFIO_EVENT_DETACH], 1);
	assert_int_equal(x->events[VFIO_EVENT_OPEN], 3);
	assert_int_equal(x->events[VFIO_EVENT_CLOSE], 3);
	assert_int_equal(vfio_open_group(x->v, pcif_group(x->full), &x->group), 0);
}

/* Container, group and device closed in each of the six orders. */
static void closing_orders(void **state)
{
	struct fixture *x = *state;
	static const uint8_t orders[6][3] = { { 0, 1, 2 }, { 0, 2, 1 }, { 1, 0, 2 },
					      { 1, 2, 0 }, { 2, 0, 1 }, { 2, 1, 0 } };

	for (unsigned i = 0; i < 6; i++) {
		open_device(x, FULL);
		struct vfio_obj *all[3] = { x->container, x->group, x->dev };

		for (unsigned k = 0; k < 3; k++)
			vfio_obj_put(all[orders[i][k]]);
		x->container = x->group = x->dev = NULL;
		assert_null(vfio_function_space(x->v, x->full));
	}
}

struct info_reply {
	uint32_t argsz, flags;
	uint64_t pgsizes;
	uint32_t cap_offset, pad;
	uint8_t caps[200];
};

static void iommu_info(void **state)
{
	struct fixture *x = *state;
	struct info_reply r = { .argsz = 15 };
	const struct vfio_info_cap_header *h;
	static const uint16_t ids[] = { 2, 3, 1 };

	open_container(x, FULL, VFIO_TYPE1v2_IOMMU);
	assert_int_equal(call(x, x->container, VFIO_IOMMU_GET_INFO, &r, 15), -EFAULT);
	assert_int_equal(call(x, x->container, VFIO_IOMMU_GET_INFO, &r, 16), -EINVAL);
	for (uint32_t size = 16; size < 120; size += 4) {
		memset(&r, 0x55, sizeof(r));
		r.argsz = size;
		assert_int_equal(call(x, x->container, VFIO_IOMMU_GET_INFO, &r, size), 0);
		assert_int_equal(r.argsz, 120);
		assert_int_equal(r.flags, 3);
		assert_int_equal(r.pgsizes, 0x40201000);
		assert_int_equal(x->reply, MIN(size, 24u));
		if (size >= 20)
			assert_int_equal(r.cap_offset, 0);
	}
	memset(&r, 0, sizeof(r));
	r.argsz = 120;
	assert_int_equal(call(x, x->container, VFIO_IOMMU_GET_INFO, &r, 120), 0);
	assert_int_equal(x->reply, 120);
	assert_int_equal(r.argsz, 120);
	assert_int_equal(r.cap_offset, 24);
	h = (void *)((uint8_t *)&r + r.cap_offset);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(h->id, ids[i]);
		assert_int_equal(h->version, 1);
		if (i == 1)
			assert_int_equal(((struct vfio_iommu_type1_info_dma_avail *)h)->avail,
					 65535);
		if (i == 2) {
			const struct vfio_iommu_type1_info_cap_iova_range *range = (void *)h;

			assert_int_equal(range->nr_iovas, 2);
			assert_int_equal(range->iova_ranges[0].start, 0);
			assert_int_equal(range->iova_ranges[0].end, 0xfedfffff);
			assert_int_equal(range->iova_ranges[1].start, 0xfef00000);
			assert_int_equal(range->iova_ranges[1].end, 0xffffffffffff);
			assert_int_equal(h->next, 0);
		}
		h = (void *)((uint8_t *)&r + h->next);
	}
	/* A block that claims more than came. */
	r.argsz = 4096;
	assert_int_equal(call(x, x->container, VFIO_IOMMU_GET_INFO, &r, 24), 0);
	assert_int_equal(x->reply, 24);
}

static int map(struct fixture *x, uint64_t iova, uint64_t vaddr, uint64_t size, uint32_t flags)
{
	struct vfio_iommu_type1_dma_map m = { sizeof(m), flags, vaddr, iova, size };

	return call(x, x->container, VFIO_IOMMU_MAP_DMA, &m, sizeof(m));
}

static int map_ram(struct fixture *x, uint64_t iova, uint64_t offset, uint64_t size)
{
	return map(x, iova, (uintptr_t)x->ram + offset, size, 3);
}

static int unmap(struct fixture *x, uint64_t iova, uint64_t size, uint32_t flags, uint64_t *removed)
{
	struct vfio_iommu_type1_dma_unmap u = { sizeof(u), flags, iova, size };
	int ret = call(x, x->container, VFIO_IOMMU_UNMAP_DMA, &u, sizeof(u));

	*removed = u.size;
	if (ret)
		assert_int_equal(x->reply, 0);
	return ret;
}

static void map_checks(void **state)
{
	struct fixture *x = *state;
	uint64_t ram;
	struct vfio_iommu_type1_dma_map short_map = { .argsz = 31, .flags = 3, .size = 4096 };
	static const struct {
		uint64_t iova, vaddr, size; /* vaddr is relative to the memory, unless huge */
		uint32_t flags;
		int ret;
	} rows[] = {
		{ 0, 0, 4096, 3, 0 },
		{ 0, 0, 4096, 3, -EEXIST },
		{ 0x1000, 0, 4096, 0x13, -EINVAL },
		{ 0x1000, 0, 4096, 7, -EINVAL },
		{ 0x1000, 0, 0, 3, -EINVAL },
		{ ~0ull - 4095, 0, 8192, 3, -EOVERFLOW },
		{ 0x1000, ~0ull - 4095, 8192, 3, -EOVERFLOW },
		{ 0x1000, 0, 4096, 0, -EINVAL },
		{ 0x1001, 0, 4096, 3, -EINVAL },
		{ 0x1000, 1, 4096, 3, -EINVAL },
		{ 0x1000, 0, 4097, 3, -EINVAL },
		{ 0xfee00000, 0, 4096, 3, -EINVAL },
		{ 0xfedff000, 0, 8192, 3, -EINVAL },
		{ 0x1000000000000, 0, 4096, 3, -EINVAL },
		{ 0xfedff000, 0, 4096, 1, 0 },
		{ 0xfef00000, 0, 4096, 2, 0 },
		{ 0x1000, MIB(1), 4096, 3, -EFAULT },
		{ 0x1000, MIB(1) - 4096, 8192, 3, -EFAULT },
	};

	open_container(x, FULL, VFIO_TYPE1v2_IOMMU);
	ram = (uintptr_t)x->ram;
	assert_int_equal(call(x, x->container, VFIO_IOMMU_MAP_DMA, &short_map, 32), -EINVAL);
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		uint64_t vaddr = rows[i].vaddr > MIB(2) ? rows[i].vaddr : ram + rows[i].vaddr;

		assert_int_equal(map(x, rows[i].iova, vaddr, rows[i].size, rows[i].flags),
				 rows[i].ret);
	}
	x->client.mem = NULL;
	assert_int_equal(map_ram(x, 0x5000, 0, 4096), -EFAULT);
	x->client.mem = x->mem;
}

static void unmap_v2(void **state)
{
	struct fixture *x = *state;
	struct vfio_iommu_type1_dma_unmap u = { .argsz = 23 };
	uint64_t n;

	open_container(x, FULL, VFIO_TYPE1v2_IOMMU);
	assert_int_equal(call(x, x->container, VFIO_IOMMU_UNMAP_DMA, &u, sizeof(u)), -EINVAL);
	assert_int_equal(map_ram(x, 0x10000, 0, 0x4000), 0);
	assert_int_equal(map_ram(x, 0x20000, 0, 0x4000), 0);
	assert_int_equal(unmap(x, 0x10000, 0x1000, 0, &n), -EINVAL);
	assert_int_equal(n, 0x1000); /* not rewritten */
	assert_int_equal(unmap(x, 0x11000, 0x10000, 0, &n), -EINVAL);
	assert_int_equal(unmap(x, 0x10001, 0x1000, 0, &n), -EINVAL);
	assert_int_equal(unmap(x, 0x10000, 0x1001, 0, &n), -EINVAL);
	assert_int_equal(unmap(x, 0x10000, 0, 0, &n), -EINVAL);
	assert_int_equal(unmap(x, ~0ull - 4095, 0x2000, 0, &n), -EOVERFLOW);
	assert_int_equal(unmap(x, 0x10000, 0x4000, 0x10, &n), -EINVAL);
	assert_int_equal(unmap(x, 0x10000, 0x4000, VFIO_DMA_UNMAP_FLAG_ALL, &n), -EINVAL);
	assert_int_equal(unmap(x, 0, 0, VFIO_DMA_UNMAP_FLAG_VADDR, &n), -EINVAL);
	assert_int_equal(unmap(x, 0, 0, VFIO_DMA_UNMAP_FLAG_ALL | 1, &n), -EINVAL);
	assert_int_equal(unmap(x, 0x30000, 0x1000, 0, &n), 0);
	assert_int_equal(n, 0);
	assert_int_equal(unmap(x, 0, 0x40000, 0, &n), 0);
	assert_int_equal(n, 0x8000);
	assert_int_equal(map_ram(x, 0x10000, 0, 0x4000), 0);
	assert_int_equal(unmap(x, 0, 0, VFIO_DMA_UNMAP_FLAG_ALL, &n), 0);
	assert_int_equal(n, 0x4000);
}

static void unmap_v1(void **state)
{
	struct fixture *x = *state;
	uint32_t dirty[12] = { sizeof(dirty), VFIO_IOMMU_DIRTY_PAGES_FLAG_START };
	uint64_t n;

	open_container(x, FULL, VFIO_TYPE1_IOMMU);
	assert_int_equal(map_ram(x, 0x10000, 0, 0x4000), 0);
	assert_int_equal(unmap(x, 0x12000, 0x1000, 0, &n), 0);
	assert_int_equal(n, 0);
	assert_int_equal(unmap(x, 0x10000, 0x1000, 0, &n), 0);
	assert_int_equal(n, 0x4000);
	assert_int_equal(call(x, x->container, VFIO_IOMMU_DIRTY_PAGES, dirty, sizeof(dirty)),
			 -EACCES);
	/* That comes before anything about the block. */
	dirty[0] = 7;
	assert_int_equal(call(x, x->container, VFIO_IOMMU_DIRTY_PAGES, dirty, sizeof(dirty)),
			 -EACCES);
	assert_int_equal(call(x, x->container, VFIO_IOMMU_DIRTY_PAGES, NULL, 0), -EACCES);
	assert_int_equal(call(x, x->container, VFIO_IOMMU_UNMAP_DMA, NULL, 0), -EFAULT);
}

/* The device moves bytes only through what is mapped, and nothing after the group has left. */
static void dma_follows_mappings(void **state)
{
	struct fixture *x = *state;
	struct vfio_obj *second;
	struct iommu_space *space;
	uint8_t buf[8] = { 1, 2, 3 };
	uint64_t n;

	open_device(x, FULL);
	assert_int_equal(map_ram(x, 0x10000, 0x3000, 0x1000), 0);
	assert_int_equal(pcif_dma_write(x->full, 0x10000, buf, 8), -EFAULT); /* no bus master */
	config_put(x, PCI_COMMAND, 2, PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY);
	assert_int_equal(pcif_dma_write(x->full, 0x10000, buf, 8), 0);
	assert_memory_equal(x->ram + 0x3000, buf, 8);
	assert_int_equal(pcif_dma_write(x->full, 0x10ffc, buf, 8), -EFAULT);
	space = vfio_function_space(x->v, x->full);
	assert_non_null(space);
	assert_int_equal(iommu_space_count(space), 1);
	iommu_space_put(space);

	/* A second group joins a container that has its IOMMU: same space at once. */
	assert_int_equal(vfio_open_group(x->v, pcif_group(x->plain), &second), 0);
	assert_int_equal(set_container(x, second, x->container), 0);
	space = vfio_function_space(x->v, x->plain);
	assert_non_null(space);
	iommu_space_put(space);
	vfio_obj_put(x->dev);
	x->dev = NULL;
	assert_int_equal(call_value(x, x->group, VFIO_GROUP_UNSET_CONTAINER, 0), 0);
	assert_null(vfio_function_space(x->v, x->full));
	assert_int_equal(unmap(x, 0x10000, 0x1000, 0, &n), 0);
	assert_int_equal(n, 0x1000);
	vfio_obj_put(second);
	/* The last group took the back end along. */
	assert_int_equal(unmap(x, 0x10000, 0x1000, 0, &n), -EINVAL);
	assert_int_equal(set_container(x, x->group, x->container), 0);
	assert_int_equal(call_value(x, x->container, VFIO_SET_IOMMU, VFIO_TYPE1_IOMMU), 0);
	assert_int_equal(unmap(x, 0x10000, 0x1000, 0, &n), 0);
	assert_int_equal(n, 0);
}

struct dirty_request {
	uint32_t argsz, flags;
	struct vfio_iommu_type1_dirty_bitmap_get get;
};

static int dirty(struct fixture *x, uint32_t flags, uint64_t iova, uint64_t size, uint64_t pgsize,
		 uint64_t bytes, uint64_t vaddr)
{
	struct dirty_request r = { sizeof(r), flags, { iova, size, { pgsize, bytes, NULL } } };

	memcpy(&r.get.bitmap.data, &vaddr, sizeof(vaddr));
	return call(x, x->container, VFIO_IOMMU_DIRTY_PAGES, &r, sizeof(r));
}

static void dirty_log(void **state)
{
	struct fixture *x = *state;
	uint8_t one = 1;
	uint64_t bits, at;
	struct vfio_iommu_type1_dirty_bitmap head = { 48, 4 };

	open_device(x, FULL);
	at = (uintptr_t)x->ram + 0x80000;
	config_put(x, PCI_COMMAND, 2, PCI_COMMAND_MASTER);
	assert_int_equal(map_ram(x, 0x10000, 0, 0x8000), 0);
	for (uint32_t flags = 0; flags < 16; flags++)
		if (flags & (flags - 1) || !flags || flags == 8)
			assert_int_equal(dirty(x, flags, 0x10000, 0x8000, 4096, 8, at), -EINVAL);
	assert_int_equal(dirty(x, 4, 0x10000, 0x8000, 4096, 8, at), -EINVAL);
	assert_int_equal(call(x, x->container, VFIO_IOMMU_DIRTY_PAGES, &head, 8), -EFAULT);
	assert_int_equal(dirty(x, 1, 0, 0, 0, 0, 0), 0);
	assert_int_equal(dirty(x, 1, 0, 0, 0, 0, 0), 0);
	assert_int_equal(pcif_dma_write(x->full, 0x12000, &one, 1), 0);
	assert_int_equal(pcif_dma_write(x->full, 0x17fff, &one, 1), 0);
	static const struct {
		uint64_t iova, size, pgsize, bytes;
	} bad[] = {
		{ 0x10000, 0, 4096, 8 },      { 0x10000, 0x8000, 8192, 8 },
		{ 0x10000, 0x8000, 0, 8 },    { 0x10000, 0x8000, 4096, 0 },
		{ 0x10000, 0x8000, 4096, 4 }, { 0x10000, 0x8000, 4096, BIT64(28) + 8 },
		{ 0x10001, 0x8000, 4096, 8 }, { 0x10000, 0x8001, 4096, 8 },
		{ 0x11000, 0x7000, 4096, 8 }, { ~0ull - 4095, 0, 4096, 8 },
	};
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(
			dirty(x, 4, bad[i].iova, bad[i].size, bad[i].pgsize, bad[i].bytes, at),
			-EINVAL);
	/* Wrapping comes before the bitmap, which no user's address may leave, before its size. */
	assert_int_equal(dirty(x, 4, ~0ull - 4095, 0x8000, 8192, 0, ~0ull), -EOVERFLOW);
	assert_int_equal(dirty(x, 4, 0x10000, 0x8000, 4096, 8, 1ull << 63), -EINVAL);
	assert_int_equal(dirty(x, 4, 0x10000, 0x8000, 4096, 8, ~0ull - 6), -EINVAL);
	/* So does a mapping that would be cut. */
	assert_int_equal(dirty(x, 4, 0x11000, 0x7000, 4096, 8, MIB(3)), -EINVAL);
	/* A bitmap that can not be written takes nothing out of the log. */
	assert_int_equal(dirty(x, 4, 0x10000, 0x8000, 4096, 8, MIB(3)), -EFAULT);
	assert_int_equal(dirty(x, 4, 0x10000, 0x8000, 4096, 8, at), 0);
	memcpy(&bits, x->ram + 0x80000, 8);
	assert_int_equal(bits, 0x84);
	assert_int_equal(dirty(x, 4, 0x10000, 0x8000, 4096, 8, at), 0);
	memcpy(&bits, x->ram + 0x80000, 8);
	assert_int_equal(bits, 0);
	assert_int_equal(dirty(x, 2, 0, 0, 0, 0, 0), 0);
	assert_int_equal(dirty(x, 2, 0, 0, 0, 0, 0), 0);
	assert_int_equal(dirty(x, 4, 0x10000, 0x8000, 4096, 8, at), -EINVAL);
}

static void unmap_with_bitmap(void **state)
{
	struct fixture *x = *state;
	struct {
		struct vfio_iommu_type1_dma_unmap u;
		struct vfio_bitmap b;
	} r = { { sizeof(r), VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP, 0x10000, 0x20000 },
		{ 4096, 8, NULL } };
	uint64_t bits = 0;

	open_container(x, FULL, VFIO_TYPE1v2_IOMMU);
	r.b.data = (void *)(x->ram + 0x80000);
	assert_int_equal(map_ram(x, 0x11000, 0, 0x2000), 0);
	assert_int_equal(map_ram(x, 0x18000, 0, 0xa000), 0);
	assert_int_equal(call(x, x->container, VFIO_IOMMU_UNMAP_DMA, &r, sizeof(r)), -EINVAL);
	assert_int_equal(dirty(x, 1, 0, 0, 0, 0, 0), 0);
	r.u.argsz = sizeof(r.u);
	assert_int_equal(call(x, x->container, VFIO_IOMMU_UNMAP_DMA, &r, sizeof(r)), -EINVAL);
	r.u.argsz = sizeof(r);
	assert_int_equal(call(x, x->container, VFIO_IOMMU_UNMAP_DMA, &r, sizeof(r.u)), -EFAULT);
	r.b.size = 4;
	assert_int_equal(call(x, x->container, VFIO_IOMMU_UNMAP_DMA, &r, sizeof(r)), -EINVAL);
	r.b.size = 8;
	/* The wrap comes before the page size, and that before what is cut. */
	r.u.iova = ~0ull - 4095;
	r.b.pgsize = 8192;
	assert_int_equal(call(x, x->container, VFIO_IOMMU_UNMAP_DMA, &r, sizeof(r)), -EOVERFLOW);
	r.u.iova = 0x10000;
	assert_int_equal(call(x, x->container, VFIO_IOMMU_UNMAP_DMA, &r, sizeof(r)), -EINVAL);
	r.b.pgsize = 4096;
	r.b.data = (void *)(1ull << 63);
	assert_int_equal(call(x, x->container, VFIO_IOMMU_UNMAP_DMA, &r, sizeof(r)), -EINVAL);
	r.b.data = (void *)(x->ram + 0x80000);
	x->ram[0x80000] = 0x80;
	assert_int_equal(call(x, x->container, VFIO_IOMMU_UNMAP_DMA, &r, sizeof(r)), 0);
	assert_int_equal(r.u.size, 0xc000);
	memcpy(&bits, x->ram + 0x80000, 8);
	assert_int_equal(bits, 0x3ff00 | 0x6 | 0x80);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(container_requests),	 T(group_requests), T(device_fd),	  T(closing_orders),
		T(iommu_info),		 T(map_checks),	    T(unmap_v2),	  T(unmap_v1),
		T(dma_follows_mappings), T(dirty_log),	    T(unmap_with_bitmap),
	};

	return cmocka_run_group_tests_name("vfio_container", tests, NULL, NULL);
}
