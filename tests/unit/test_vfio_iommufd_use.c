/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * iommufds in use: dirty bits, an iommufd in the place of a container, everything at once.
 */
#include "iommufd_fixture.h"

static int dirty_get(struct fixture *x, struct vfio_obj *f, uint32_t hwpt, uint32_t flags,
		     uint64_t iova, uint64_t length, uint64_t page_size)
{
	struct abi_dirty_bitmap b = { sizeof(b), hwpt, flags, 0, iova, length, page_size, 0 };

	memset(x->ram, 0, 64);
	return call(x, f, IOMMU_HWPT_GET_DIRTY_BITMAP, &b, sizeof(b));
}

static int tracking(struct fixture *x, struct vfio_obj *f, uint32_t hwpt, uint32_t flags)
{
	struct abi_dirty_tracking t = { sizeof(t), flags, hwpt, 0 };

	return call(x, f, IOMMU_HWPT_SET_DIRTY_TRACKING, &t, sizeof(t));
}

static void dirty_bits(void **state)
{
	struct fixture *x = *state;
	struct vfio_obj *f = open_iommufd(x), *dev = open_bound(x, FULL, f);
	uint32_t id = ioas(x, f), plain, h, pt;
	uint64_t *bits = (void *)x->ram, iova = MIB(1), at = 0;

	plain = new_hwpt(x, f, devid_of(x, FULL), id, 0);
	h = new_hwpt(x, f, devid_of(x, FULL), id, HWPT_ALLOC_DIRTY_TRACKING);
	assert_int_equal(tracking(x, f, 99, 1), -ENOENT);
	assert_int_equal(tracking(x, f, id, 1), -ENOENT);
	assert_int_equal(tracking(x, f, plain, 1), -EOPNOTSUPP);
	assert_int_equal(tracking(x, f, h, 2), -EOPNOTSUPP);
	pt = h;
	assert_int_equal(attach(x, dev, &pt), 0);
	master(dev);
	assert_int_equal(map(x, f, id, R | W | FIXED, MIB(1) / 2, 64 * PAGE, &iova), 0);
	iova += 64 * PAGE;
	assert_int_equal(map(x, f, id, R | W | FIXED, MIB(1) / 2, 64 * PAGE, &iova), 0);
	iova = MIB(1);
	/* Not yet. */
	assert_int_equal(dirty_get(x, f, h, 0, iova, 128 * PAGE, PAGE), 0);
	assert_int_equal(dirty_get(x, f, plain, 0, iova, PAGE, PAGE), -EOPNOTSUPP);
	assert_int_equal(tracking(x, f, h, 1), 0);
	assert_int_equal(pcif_dma_write(x->full, iova + 3 * PAGE, &at, 8), 0);
	assert_int_equal(pcif_dma_write(x->full, iova + 64 * PAGE - 4, &at, 8), 0);
	assert_int_equal(dirty_get(x, f, h, HWPT_GET_DIRTY_NO_CLEAR, iova, 128 * PAGE, PAGE), 0);
	assert_true(bits[0] == (1ull << 3 | 1ull << 63) && bits[1] == 1);
	/* A part of a mapping, and another grain. */
	assert_int_equal(dirty_get(x, f, h, 0, iova + 2 * PAGE, 2 * PAGE, PAGE), 0);
	assert_true(bits[0] == 2);
	assert_int_equal(dirty_get(x, f, h, 0, iova, 128 * PAGE, 64 * PAGE), 0);
	assert_true(bits[0] == 3);
	assert_int_equal(dirty_get(x, f, h, 0, iova, 128 * PAGE, PAGE), 0);
	assert_true(!bits[0] && !bits[1]);
	assert_int_equal(pcif_dma_write(x->full, iova + PAGE, &at, 8), 0);
	assert_int_equal(dirty_get(x, f, h, 0, iova, 2 * PAGE, 1024), 0);
	assert_true(bits[0] == 0xf0);
	/* What is there already stays. */
	struct abi_dirty_bitmap b = { sizeof(b), h, 0, 0, iova, PAGE, PAGE, 0 };

	bits[0] = 0x80;
	assert_int_equal(pcif_dma_write(x->full, iova, &at, 8), 0);
	assert_int_equal(call(x, f, IOMMU_HWPT_GET_DIRTY_BITMAP, &b, sizeof(b)), 0);
	assert_true(bits[0] == 0x81);
	/* Nothing is lost where it can not be told. */
	assert_int_equal(pcif_dma_write(x->full, iova, &at, 8), 0);
	b.data = MIB(2);
	assert_int_equal(call(x, f, IOMMU_HWPT_GET_DIRTY_BITMAP, &b, sizeof(b)), -EFAULT);
	/* It ends where nothing is mapped. */
	assert_int_equal(dirty_get(x, f, h, 0, iova, GIB(64), PAGE), 0);
	assert_true(bits[0] == 1);

	assert_int_equal(dirty_get(x, f, h, 0, iova + 1, PAGE, PAGE), -EINVAL);
	assert_int_equal(dirty_get(x, f, h, 0, iova, PAGE, 0), -EINVAL);
	assert_int_equal(dirty_get(x, f, h, 0, iova, PAGE, 2 * PAGE), -EINVAL);
	assert_int_equal(dirty_get(x, f, h, 0, iova, 0, PAGE), -EOVERFLOW);
	assert_int_equal(dirty_get(x, f, h, 2, iova, PAGE, PAGE), -EOPNOTSUPP);
	/* A new start has nothing of the old. */
	assert_int_equal(pcif_dma_write(x->full, iova, &at, 8), 0);
	assert_int_equal(tracking(x, f, h, 1), 0);
	assert_int_equal(dirty_get(x, f, h, 0, iova, PAGE, PAGE), 0);
	assert_true(!bits[0]);
	assert_int_equal(tracking(x, f, h, 0), 0);
	assert_int_equal(tracking(x, f, h, 0), 0);
	vfio_obj_put(dev);
	vfio_obj_put(f);
}

/* ------------------------------------------------------------------ in the place of a container */

static int compat_unmap(struct fixture *x, struct vfio_obj *f, uint64_t iova, uint64_t size,
			uint64_t *removed)
{
	struct vfio_iommu_type1_dma_unmap u = { .argsz = sizeof(u), .iova = iova, .size = size };
	int ret = call(x, f, VFIO_IOMMU_UNMAP_DMA, &u, sizeof(u));

	*removed = x->reply ? u.size : 77;
	return ret;
}

static int compat_map(struct fixture *x, struct vfio_obj *f, uint64_t iova, uint64_t size)
{
	struct vfio_iommu_type1_dma_map m = {
		.argsz = sizeof(m), .flags = 3, .iova = iova, .size = size
	};

	return call(x, f, VFIO_IOMMU_MAP_DMA, &m, sizeof(m));
}

static void as_container(void **state)
{
	struct fixture *x = *state;
	struct vfio_obj *f = open_iommufd(x);
	uint32_t info[32] = { sizeof(info) };
	uint64_t pgsizes, removed;
	struct abi_vfio_ioas v = { .size = sizeof(v) };

	assert_int_equal(call_value(x, f, VFIO_GET_API_VERSION, 0), 0);
	assert_int_equal(call_value(x, f, VFIO_CHECK_EXTENSION, 1), 1);
	assert_int_equal(call_value(x, f, VFIO_CHECK_EXTENSION, 3), 1);
	assert_int_equal(call_value(x, f, VFIO_CHECK_EXTENSION, 9), 1);
	assert_int_equal(call_value(x, f, VFIO_CHECK_EXTENSION, 10), 0);
	assert_int_equal(call_value(x, f, VFIO_CHECK_EXTENSION, 4), -ENODEV);
	assert_int_equal(call_value(x, f, VFIO_SET_IOMMU, 3), -ENODEV);
	assert_int_equal(call_value(x, f, VFIO_SET_IOMMU, 9), -EINVAL);
	assert_int_equal(call(x, f, VFIO_IOMMU_GET_INFO, info, sizeof(info)), -ENODEV);
	assert_int_equal(compat_map(x, f, 0, PAGE), -ENODEV);
	assert_int_equal(compat_unmap(x, f, 0, PAGE, &removed), -ENODEV);
	v.op = VFIO_IOAS_GET;
	assert_int_equal(call(x, f, IOMMU_VFIO_IOAS, &v, sizeof(v)), -ENODEV);

	assert_int_equal(vfio_open_group(x->v, pcif_group(x->full), &x->group), 0);
	assert_int_equal(set_container(x, x->group, f), 0);
	assert_int_equal(set_container(x, x->group, f), -EINVAL);
	assert_int_equal(call_value(x, f, VFIO_CHECK_EXTENSION, 4), 1);
	assert_int_equal(call(x, f, VFIO_IOMMU_GET_INFO, info, sizeof(info)), 0);
	memcpy(&pgsizes, info + 2, 8);
	assert_true(pgsizes == 0xfffffffffffff000);
	assert_int_equal(info[0], 72);
	/* Before SET_IOMMU, which may be repeated. */
	assert_int_equal(get_device(x, FULL, &x->dev), 0);
	assert_int_equal(call_value(x, f, VFIO_SET_IOMMU, 3), 0);
	assert_int_equal(call_value(x, f, VFIO_SET_IOMMU, 3), 0);
	info[0] = sizeof(info);
	assert_int_equal(call(x, f, VFIO_IOMMU_GET_INFO, info, sizeof(info)), 0);
	memcpy(&pgsizes, info + 2, 8);
	assert_true(pgsizes == 0x40201000);
	assert_int_equal(info[0], 88);
	assert_int_equal(info[1], 3);
	assert_int_equal(info[4], 24);
	assert_int_equal(info[6], 3 | 1 << 16);
	assert_int_equal(info[8], UINT32_MAX);
	info[0] = 24;
	assert_int_equal(call(x, f, VFIO_IOMMU_GET_INFO, info, sizeof(info)), 0);
	assert_int_equal(info[0], 88);

	assert_int_equal(compat_map(x, f, 0, 4 * PAGE), 0);
	assert_int_equal(compat_map(x, f, 0, PAGE), -EEXIST);
	master(x->dev);
	assert_true(dma(x, FULL, PAGE, 0x12));
	assert_int_equal(x->ram[PAGE], 0x12);
	assert_int_equal(compat_unmap(x, f, PAGE, PAGE, &removed), -ENOENT);
	assert_int_equal(removed, 0);
	assert_int_equal(compat_unmap(x, f, MIB(1), PAGE, &removed), 0);
	assert_int_equal(removed, 0);
	assert_int_equal(compat_unmap(x, f, MIB(1) + 1, 5, &removed), 0);
	assert_int_equal(compat_unmap(x, f, 0, 0, &removed), -EINVAL);

	/* The group may go while its device is open; all stays. */
	assert_int_equal(call_value(x, x->group, VFIO_GROUP_UNSET_CONTAINER, 0), 0);
	assert_int_equal(call_value(x, x->group, VFIO_GROUP_UNSET_CONTAINER, 0), -EINVAL);
	assert_true(dma(x, FULL, PAGE, 0x13));
	assert_int_equal(compat_unmap(x, f, 0, 4 * PAGE, &removed), 0);
	assert_int_equal(removed, 4 * PAGE);
	vfio_obj_put(x->dev);
	x->dev = NULL;
	assert_int_equal(x->events[VFIO_EVENT_ATTACH], 1);
	assert_int_equal(x->events[VFIO_EVENT_DETACH], 1);
	assert_int_equal(call(x, f, IOMMU_VFIO_IOAS, &v, sizeof(v)), 0);
	assert_int_equal(v.ioas_id, 1);
	vfio_obj_put(f);
}

/* Version 1 takes out just what is asked for. */
static void as_container_v1(void **state)
{
	struct fixture *x = *state;
	struct vfio_obj *f = open_iommufd(x);
	uint64_t removed;

	assert_int_equal(vfio_open_group(x->v, pcif_group(x->full), &x->group), 0);
	assert_int_equal(set_container(x, x->group, f), 0);
	assert_int_equal(call_value(x, f, VFIO_SET_IOMMU, 1), 0);
	assert_int_equal(get_device(x, FULL, &x->dev), 0);
	master(x->dev);
	assert_int_equal(compat_map(x, f, 0, 4 * PAGE), 0);
	assert_int_equal(compat_unmap(x, f, PAGE, PAGE, &removed), 0);
	assert_int_equal(removed, PAGE);
	assert_true(dma(x, FULL, 0, 1));
	assert_false(dma(x, FULL, PAGE, 1));
	assert_true(dma(x, FULL, 2 * PAGE, 0x44));
	assert_int_equal(x->ram[2 * PAGE], 0x44);
	assert_int_equal(compat_unmap(x, f, 0, 3 * PAGE, &removed), 0);
	assert_int_equal(removed, 2 * PAGE);
	assert_true(dma(x, FULL, 3 * PAGE, 1));
	vfio_obj_put(f);
}

static void vfio_ioas(void **state)
{
	struct fixture *x = *state;
	struct vfio_obj *f = open_iommufd(x), *dev = NULL;
	struct abi_vfio_ioas v = { .size = sizeof(v), .ioas_id = 5, .op = VFIO_IOAS_SET };
	uint32_t id = ioas(x, f);

	assert_int_equal(call(x, f, IOMMU_VFIO_IOAS, &v, sizeof(v)), -ENOENT);
	v.ioas_id = id;
	assert_int_equal(call(x, f, IOMMU_VFIO_IOAS, &v, sizeof(v)), 0);
	assert_int_equal(compat_map(x, f, 0, PAGE), 0);
	/* It is the one that a group takes. */
	assert_int_equal(vfio_open_group(x->v, pcif_group(x->full), &x->group), 0);
	assert_int_equal(set_container(x, x->group, f), 0);
	assert_int_equal(ioas(x, f), 2);
	v.op = VFIO_IOAS_CLEAR;
	assert_int_equal(call(x, f, IOMMU_VFIO_IOAS, &v, sizeof(v)), 0);
	assert_int_equal(get_device(x, FULL, &dev), -ENODEV);
	v.op = VFIO_IOAS_SET;
	assert_int_equal(call(x, f, IOMMU_VFIO_IOAS, &v, sizeof(v)), 0);
	assert_int_equal(destroy(x, f, id), 0);
	v.op = VFIO_IOAS_GET;
	assert_int_equal(call(x, f, IOMMU_VFIO_IOAS, &v, sizeof(v)), -ENODEV);
	v.op = 3;
	assert_int_equal(call(x, f, IOMMU_VFIO_IOAS, &v, sizeof(v)), -EOPNOTSUPP);
	vfio_obj_put(f);
}

/* ------------------------------------------------------------------ all at once */

struct crowd {
	struct fixture *x;
	struct vfio_obj *f, *dev;
	uint32_t ioas[2], devid;
	atomic_bool stop;
	_Atomic unsigned done[4];
};

static int quiet(struct crowd *c, struct vfio_obj *obj, uint32_t request, void *data, size_t size)
{
	return request_block(&c->x->client, obj, request, data, size, NULL, 0, NULL, NULL);
}

/* Maps and unmaps where others do, too. */
static void *crowd_map(void *data)
{
	struct crowd *c = data;

	for (unsigned i = 0; !c->stop; i++) {
		uint64_t iova = (i % 7) * 2 * PAGE;
		struct abi_ioas_map m = {
			sizeof(m), R | W | (i & 1 ? FIXED : 0), c->ioas[i % 2], 0, PAGE, 2 * PAGE,
			iova
		};
		struct abi_ioas_copy cp = { sizeof(cp), R, c->ioas[1], c->ioas[0], PAGE, 0, iova };
		struct abi_ioas_unmap u = { sizeof(u), c->ioas[i % 2], iova, 4 * PAGE };

		c->done[0] += !quiet(c, c->f, IOMMU_IOAS_MAP, &m, sizeof(m));
		(void)quiet(c, c->f, IOMMU_IOAS_COPY, &cp, sizeof(cp));
		if (i % 64 == 0) {
			u.iova = 0;
			u.length = UINT64_MAX;
		}
		c->done[1] += !quiet(c, c->f, IOMMU_IOAS_UNMAP, &u, sizeof(u));
	}
	return NULL;
}

static void *crowd_attach(void *data)
{
	struct crowd *c = data;

	for (unsigned i = 0; !c->stop; i++) {
		struct abi_attach_iommufd_pt a = { .argsz = 12, .pt_id = c->ioas[i % 2] };
		struct abi_detach_iommufd_pt d = { .argsz = 8 };
		struct abi_hwpt_alloc h = {
			.size = sizeof(h), .flags = 2, .dev_id = c->devid, .pt_id = c->ioas[i % 2]
		};

		c->done[2] += !quiet(c, c->dev, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &a, 12);
		if (!quiet(c, c->f, IOMMU_HWPT_ALLOC, &h, sizeof(h))) {
			struct abi_dirty_tracking t = { sizeof(t), i & 1, h.out_hwpt_id, 0 };
			struct abi_dirty_bitmap b = { sizeof(b), h.out_hwpt_id, 0,    0,
						      0,	 16 * PAGE,	PAGE, PAGE * 64 };
			struct abi_destroy gone = { sizeof(gone), h.out_hwpt_id };

			(void)quiet(c, c->f, IOMMU_HWPT_SET_DIRTY_TRACKING, &t, sizeof(t));
			(void)quiet(c, c->f, IOMMU_HWPT_GET_DIRTY_BITMAP, &b, sizeof(b));
			(void)quiet(c, c->f, IOMMU_DESTROY, &gone, sizeof(gone));
		}
		if (i % 3 == 0)
			(void)quiet(c, c->dev, VFIO_DEVICE_DETACH_IOMMUFD_PT, &d, 8);
	}
	return NULL;
}

static void *crowd_dma(void *data)
{
	struct crowd *c = data;
	uint8_t buf[64] = { 0 };

	for (uint64_t i = 0; !c->stop; i++)
		c->done[3] += !pcif_dma_write(c->x->full, i * 997 % (16 * PAGE), buf, sizeof(buf));
	return NULL;
}

static void all_at_once(void **state)
{
	struct fixture *x = *state;
	struct vfio_obj *f = open_iommufd(x);
	struct crowd c = { .x = x, .f = f, .dev = open_bound(x, FULL, f) };
	void *(*const run[])(void *) = { crowd_map, crowd_map, crowd_attach, crowd_dma };
	pthread_t threads[ARRAY_SIZE(run)];
	uint64_t until = time_mono_ns() + 300000000;

	c.devid = devid_of(x, FULL);
	c.ioas[0] = ioas(x, f);
	c.ioas[1] = ioas(x, f);
	master(c.dev);
	for (unsigned i = 0; i < ARRAY_SIZE(run); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, run[i], &c), 0);
	while (time_mono_ns() < until || !c.done[0] || !c.done[1] || !c.done[2])
		usleep(1000);
	c.stop = true;
	for (unsigned i = 0; i < ARRAY_SIZE(run); i++)
		pthread_join(threads[i], NULL);
	/* Nothing is busy, nothing is left that could not be taken away. */
	for (unsigned i = 0; i < 2; i++) {
		uint64_t removed;

		assert_int_equal(unmap(x, f, c.ioas[i], 0, UINT64_MAX, &removed), 0);
		assert_int_equal(unmap(x, f, c.ioas[i], 0, MIB(1), &removed), -ENOENT);
	}
	(void)detach(x, c.dev);
	assert_int_equal(destroy(x, f, c.ioas[0]), 0);
	assert_int_equal(destroy(x, f, c.ioas[1]), 0);
	assert_int_equal(ioas(x, f), 2);
	vfio_obj_put(c.dev);
	vfio_obj_put(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(dirty_bits, setup, teardown),
		cmocka_unit_test_setup_teardown(as_container, setup, teardown),
		cmocka_unit_test_setup_teardown(as_container_v1, setup, teardown),
		cmocka_unit_test_setup_teardown(vfio_ioas, setup, teardown),
		cmocka_unit_test_setup_teardown(all_at_once, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
