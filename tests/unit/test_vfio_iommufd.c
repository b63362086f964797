/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * iommufds: objects and their numbers, what may be mapped where, copies, files, page tables.
 */
#include "iommufd_fixture.h"

static void blocks(void **state)
{
	struct fixture *x = *state;
	struct {
		struct abi_ioas_alloc cmd;
		uint8_t more[5000];
	} big = { .cmd = { .size = sizeof(big.cmd) } };
	struct vfio_obj *f = open_iommufd(x);

	big.cmd.size = 11;
	assert_int_equal(call(x, f, IOMMU_IOAS_ALLOC, &big, 12), -EINVAL);
	big.cmd.size = 12;
	assert_int_equal(call(x, f, IOMMU_IOAS_ALLOC, &big, 11), -EFAULT);
	assert_int_equal(call(x, f, IOMMU_IOAS_ALLOC, NULL, 0), -EFAULT);
	big.cmd.size = 40;
	assert_int_equal(call(x, f, IOMMU_IOAS_ALLOC, &big, 39), -EFAULT);
	assert_int_equal(call(x, f, IOMMU_IOAS_ALLOC, &big, 40), 0);
	assert_int_equal(x->reply, 12);
	big.more[27] = 1;
	assert_int_equal(call(x, f, IOMMU_IOAS_ALLOC, &big, 40), -E2BIG);
	big.more[27] = 0;
	big.cmd.size = 4097;
	assert_int_equal(call(x, f, IOMMU_IOAS_ALLOC, &big, 4096), -E2BIG);
	/* Fields that an older client has not are 0, and are not written. */
	struct abi_hw_info info = { .size = 32, .dev_id = 77 };

	assert_int_equal(call(x, f, IOMMU_GET_HW_INFO, &info, 32), -ENOENT);
	assert_int_equal(call_value(x, f, 0x3b95, 0), -ENOTTY);
	assert_int_equal(call_value(x, f, 0x3b79, 0), -ENOTTY);
	assert_int_equal(call_value(x, f, VFIO_IOMMU_DIRTY_PAGES, 0), -ENOTTY);
	vfio_obj_put(f);
}

static void numbers(void **state)
{
	struct fixture *x = *state;
	struct vfio_obj *f = open_iommufd(x), *g = open_iommufd(x);

	for (uint32_t i = 1; i < 40; i++)
		assert_int_equal(ioas(x, f), i);
	assert_int_equal(destroy(x, f, 0), -ENOENT);
	assert_int_equal(destroy(x, f, 40), -ENOENT);
	assert_int_equal(destroy(x, f, UINT32_MAX), -ENOENT);
	assert_int_equal(destroy(x, f, 7), 0);
	assert_int_equal(destroy(x, f, 7), -ENOENT);
	assert_int_equal(destroy(x, f, 3), 0);
	/* The lowest that is free. */
	assert_int_equal(ioas(x, f), 3);
	assert_int_equal(ioas(x, f), 7);
	assert_int_equal(ioas(x, f), 40);
	/* Each iommufd has its own. */
	assert_int_equal(ioas(x, g), 1);

	struct abi_ioas_alloc cmd = { .size = sizeof(cmd), .flags = 1 };

	assert_int_equal(call(x, f, IOMMU_IOAS_ALLOC, &cmd, sizeof(cmd)), -EOPNOTSUPP);
	vfio_obj_put(f);
	vfio_obj_put(g);
}

static void ranges(void **state)
{
	struct fixture *x = *state;
	struct vfio_obj *f = open_iommufd(x);
	struct abi_iova_range *r = (void *)x->ram;
	struct abi_iova_ranges cmd = { .size = sizeof(cmd), .ioas_id = ioas(x, f) };

	assert_int_equal(call(x, f, IOMMU_IOAS_IOVA_RANGES, &cmd, sizeof(cmd)), -EMSGSIZE);
	assert_int_equal(cmd.num_iovas, 1);
	assert_int_equal(cmd.out_iova_alignment, 1);
	assert_int_equal(call(x, f, IOMMU_IOAS_IOVA_RANGES, &cmd, sizeof(cmd)), 0);
	assert_int_equal(r[0].start, 0);
	assert_true(r[0].last == UINT64_MAX);
	cmd.allowed_iovas = MIB(1);
	assert_int_equal(call(x, f, IOMMU_IOAS_IOVA_RANGES, &cmd, sizeof(cmd)), -EFAULT);
	cmd.reserved = 1;
	assert_int_equal(call(x, f, IOMMU_IOAS_IOVA_RANGES, &cmd, sizeof(cmd)), -EOPNOTSUPP);
	cmd.reserved = 0;
	cmd.ioas_id = 9;
	assert_int_equal(call(x, f, IOMMU_IOAS_IOVA_RANGES, &cmd, sizeof(cmd)), -ENOENT);

	/* A page table, then a device, narrow it. */
	uint32_t id = 1, hwpt;
	struct vfio_obj *dev = open_bound(x, FULL, f);

	hwpt = new_hwpt(x, f, devid_of(x, FULL), id, 0);
	cmd = (struct abi_iova_ranges){ .size = sizeof(cmd), .ioas_id = id, .num_iovas = 4 };
	assert_int_equal(call(x, f, IOMMU_IOAS_IOVA_RANGES, &cmd, sizeof(cmd)), 0);
	assert_int_equal(cmd.num_iovas, 1);
	assert_int_equal(cmd.out_iova_alignment, PAGE);
	assert_true(r[0].last == BIT64(48) - 1);
	assert_int_equal(attach(x, dev, &hwpt), 0);
	cmd.num_iovas = 4;
	assert_int_equal(call(x, f, IOMMU_IOAS_IOVA_RANGES, &cmd, sizeof(cmd)), 0);
	assert_int_equal(cmd.num_iovas, 2);
	assert_true(r[0].last == 0xfedfffff && r[1].start == 0xfef00000);
	cmd.num_iovas = 1;
	assert_int_equal(call(x, f, IOMMU_IOAS_IOVA_RANGES, &cmd, sizeof(cmd)), -EMSGSIZE);
	vfio_obj_put(dev);
	cmd.num_iovas = 4;
	assert_int_equal(call(x, f, IOMMU_IOAS_IOVA_RANGES, &cmd, sizeof(cmd)), 0);
	assert_int_equal(cmd.num_iovas, 1);
	assert_int_equal(destroy(x, f, hwpt), 0);
	cmd.num_iovas = 4;
	assert_int_equal(call(x, f, IOMMU_IOAS_IOVA_RANGES, &cmd, sizeof(cmd)), 0);
	assert_true(r[0].last == UINT64_MAX);
	vfio_obj_put(f);
}

static void map_checks_of_ioas(void **state)
{
	struct fixture *x = *state;
	struct vfio_obj *f = open_iommufd(x), *dev = open_bound(x, FULL, f);
	uint32_t id = ioas(x, f), pt = id;
	const struct {
		uint32_t flags, reserved, id;
		uint64_t va, length, iova;
		int ret;
	} t[] = {
		{ 8 | R, 0, id, 0, PAGE, 0, -EOPNOTSUPP },
		{ R, 1, id, 0, PAGE, 0, -EOPNOTSUPP },
		{ FIXED, 0, id, 0, PAGE, 0, -EINVAL },
		{ FIXED | R, 0, id, 0, PAGE, UINT64_MAX, -EOVERFLOW },
		{ FIXED | R, 0, id, 0, UINT64_MAX, 0, -EOVERFLOW },
		{ FIXED | R, 0, 99, 0, PAGE, 0, -ENOENT },
		{ FIXED | R, 0, id, 0, 0, 0, -EINVAL },
		{ FIXED | R, 0, id, UINT64_MAX - 10, PAGE, 0, -EOVERFLOW },
		{ FIXED | R, 0, id, 0, PAGE, -(uint64_t)PAGE + 1, -EINVAL },
		{ FIXED | R, 0, id, 0, 2 * PAGE, -(uint64_t)PAGE, -EOVERFLOW },
		{ FIXED | R, 0, id, 0, PAGE, 1, -EINVAL },
		{ FIXED | R, 0, id, 1, PAGE, 0, -EINVAL },
		{ FIXED | R, 0, id, 0, PAGE + 1, 0, -EINVAL },
		{ FIXED | R, 0, id, 0, PAGE, 0xfee00000, -EINVAL },
		{ FIXED | R, 0, id, 0, 2 * PAGE, 0xfedff000, -EINVAL },
		{ FIXED | R, 0, id, 0, PAGE, BIT64(48), -EINVAL },
		{ FIXED | R, 0, id, MIB(2), PAGE, 0, -EFAULT },
		{ FIXED | R, 0, id, 0, 4 * PAGE, 0, 0 },
		{ FIXED | R, 0, id, 0, PAGE, PAGE, -EEXIST },
		{ FIXED | R, 0, id, 0, PAGE, 3 * PAGE, -EEXIST },
		{ FIXED | W, 0, id, 0, PAGE, 4 * PAGE, 0 },
		{ R, 0, id, 0, BIT64(63), 0, -EOVERFLOW },
		{ R, 0, id, 0, BIT64(50), 0, -ENOSPC },
	};

	assert_int_equal(attach(x, dev, &pt), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(t); i++) {
		struct abi_ioas_map m = { sizeof(m), t[i].flags,  t[i].id,  (int32_t)t[i].reserved,
					  t[i].va,   t[i].length, t[i].iova };
		int ret = call(x, f, IOMMU_IOAS_MAP, &m, sizeof(m));

		if (ret != t[i].ret)
			fail_msg("row %u: %d, not %d", i, ret, t[i].ret);
	}
	vfio_obj_put(dev);
	vfio_obj_put(f);
}

/* An address is chosen: the lowest with room, aligned as memory and length let it be. */
static void chosen_addresses(void **state)
{
	struct fixture *x = *state;
	struct vfio_obj *f = open_iommufd(x), *dev = open_bound(x, FULL, f);
	uint32_t id = ioas(x, f), pt = id;
	uint64_t iova = 77, removed;

	assert_int_equal(attach(x, dev, &pt), 0);
	assert_int_equal(map(x, f, id, R | W, 0, PAGE, &iova), 0);
	assert_int_equal(iova, PAGE);
	assert_int_equal(map(x, f, id, R | W, PAGE, PAGE, &iova), 0);
	assert_int_equal(iova, 2 * PAGE);
	/* Four pages at an address that is good for them. */
	assert_int_equal(map(x, f, id, R, 4 * PAGE, 4 * PAGE, &iova), 0);
	assert_int_equal(iova, 4 * PAGE);
	/* The hole in front of it, and one that was made. */
	assert_int_equal(map(x, f, id, R, PAGE, PAGE, &iova), 0);
	assert_int_equal(iova, 3 * PAGE);
	assert_int_equal(unmap(x, f, id, PAGE, PAGE, &removed), 0);
	assert_int_equal(map(x, f, id, R, 3 * PAGE, PAGE, &iova), 0);
	assert_int_equal(iova, PAGE);
	/* The window of interrupts is stepped over. */
	assert_int_equal(allow(x, f, id, 2, 0xfedff000, 0xfedfffff, 0xfef00000, 0xffffffff), 0);
	assert_int_equal(map(x, f, id, R, PAGE, PAGE, &iova), 0);
	assert_int_equal(iova, 0xfedff000);
	assert_int_equal(map(x, f, id, R, PAGE, PAGE, &iova), 0);
	assert_int_equal(iova, 0xfef00000);
	assert_int_equal(allow(x, f, id, 1, 0xfef00000, 0xfef00fff), 0);
	assert_int_equal(map(x, f, id, R, PAGE, PAGE, &iova), -ENOSPC);
	/* Fixed addresses are not bound to it. */
	iova = MIB(16);
	assert_int_equal(map(x, f, id, R | FIXED, PAGE, PAGE, &iova), 0);
	assert_int_equal(allow(x, f, id, 0, 0), 0);
	assert_int_equal(map(x, f, id, R, PAGE, PAGE, &iova), 0);
	assert_int_equal(iova, 8 * PAGE);
	vfio_obj_put(dev);
	vfio_obj_put(f);
}

static void allow_checks(void **state)
{
	struct fixture *x = *state;
	struct vfio_obj *f = open_iommufd(x), *dev = open_bound(x, FULL, f);
	uint32_t id = ioas(x, f), pt = id;

	assert_int_equal(allow(x, f, 99, 0, 0), -ENOENT);
	assert_int_equal(allow(x, f, id, 1, 5, 5), -EINVAL);
	assert_int_equal(allow(x, f, id, 1, 6, 5), -EINVAL);
	assert_int_equal(allow(x, f, id, 2, 0, 10, 10, 20), -EINVAL);
	/* What is allowed is in the way of a device that would take it away. */
	assert_int_equal(allow(x, f, id, 1, 0, BIT64(48)), 0);
	assert_int_equal(attach(x, dev, &pt), -EADDRINUSE);
	assert_int_equal(allow(x, f, id, 1, 0xfee00000, 0xfee00fff), 0);
	pt = id;
	assert_int_equal(attach(x, dev, &pt), -EADDRINUSE);
	assert_int_equal(allow(x, f, id, 1, 0, 0xfedfffff), 0);
	pt = id;
	assert_int_equal(attach(x, dev, &pt), 0);
	assert_int_equal(allow(x, f, id, 1, 0, 0xfee00000), -EADDRINUSE);
	vfio_obj_put(dev);
	vfio_obj_put(f);
}

/* Without a device anything may be mapped, and is in the way of one then. */
static void bare_areas(void **state)
{
	struct fixture *x = *state;
	static const uint64_t places[] = { 1, BIT64(60), 0xfee00000 };
	struct vfio_obj *f = open_iommufd(x), *dev = open_bound(x, FULL, f);
	uint32_t id = ioas(x, f), pt;
	uint64_t removed;

	for (unsigned i = 0; i < ARRAY_SIZE(places); i++) {
		uint64_t iova = places[i];

		pt = id;
		assert_int_equal(map(x, f, id, R | FIXED, 0, PAGE, &iova), 0);
		assert_int_equal(map(x, f, id, R | FIXED, 0, PAGE, &iova), -EEXIST);
		assert_int_equal(attach(x, dev, &pt), -EADDRINUSE);
		assert_int_equal(unmap(x, f, id, iova + 1, PAGE, &removed), -ENOENT);
		assert_int_equal(unmap(x, f, id, iova, PAGE, &removed), 0);
		assert_int_equal(removed, PAGE);
	}
	pt = id;
	assert_int_equal(attach(x, dev, &pt), 0);
	vfio_obj_put(dev);
	vfio_obj_put(f);
}

static void unmap_checks(void **state)
{
	struct fixture *x = *state;
	struct vfio_obj *f = open_iommufd(x);
	uint32_t id = ioas(x, f);
	uint64_t removed = 5;

	assert_int_equal(unmap(x, f, 99, 0, PAGE, &removed), -ENOENT);
	assert_int_equal(unmap(x, f, id, 0, 0, &removed), -EINVAL);
	assert_int_equal(unmap(x, f, id, UINT64_MAX, PAGE, &removed), -EOVERFLOW);
	assert_int_equal(unmap(x, f, id, PAGE, UINT64_MAX, &removed), -EOVERFLOW);
	assert_int_equal(unmap(x, f, id, PAGE, -(uint64_t)PAGE + 1, &removed), -EOVERFLOW);
	assert_int_equal(unmap(x, f, id, 0, PAGE, &removed), -ENOENT);
	assert_int_equal(unmap(x, f, id, 0, UINT64_MAX, &removed), 0);
	assert_int_equal(removed, 0);
	for (uint64_t iova = 0; iova < 8 * PAGE; iova += 2 * PAGE)
		assert_int_equal(map(x, f, id, R | FIXED, 0, 2 * PAGE, &iova), 0);
	/* Never a part of one; what lies before that is gone. */
	assert_int_equal(unmap(x, f, id, 0, PAGE, &removed), -ENOENT);
	assert_int_equal(unmap(x, f, id, PAGE, PAGE, &removed), -ENOENT);
	assert_int_equal(unmap(x, f, id, 0, 3 * PAGE, &removed), -ENOENT);
	assert_int_equal(unmap(x, f, id, 0, 2 * PAGE, &removed), -ENOENT);
	assert_int_equal(unmap(x, f, id, 2 * PAGE, 4 * PAGE, &removed), 0);
	assert_int_equal(removed, 4 * PAGE);
	assert_int_equal(unmap(x, f, id, 0, UINT64_MAX, &removed), 0);
	assert_int_equal(removed, 2 * PAGE);
	vfio_obj_put(f);
}

static void copies(void **state)
{
	struct fixture *x = *state;
	struct vfio_obj *f = open_iommufd(x), *dev = open_bound(x, FULL, f);
	uint32_t from = ioas(x, f), to = ioas(x, f), pt = to;
	uint64_t iova = 0, removed;
	struct abi_ioas_copy c = { sizeof(c), FIXED | R | W, to, from, 3 * PAGE, MIB(1), PAGE };

	assert_int_equal(map(x, f, from, R | W | FIXED, 8 * PAGE, 2 * PAGE, &iova), 0);
	iova = 2 * PAGE;
	assert_int_equal(map(x, f, from, R | W | FIXED, 16 * PAGE, 2 * PAGE, &iova), 0);
	assert_int_equal(attach(x, dev, &pt), 0);
	master(dev);
	assert_int_equal(call(x, f, IOMMU_IOAS_COPY, &c, sizeof(c)), 0);
	assert_true(dma(x, FULL, MIB(1), 0x11));
	assert_int_equal(x->ram[9 * PAGE], 0x11);
	assert_true(dma(x, FULL, MIB(1) + 2 * PAGE, 0x22));
	assert_int_equal(x->ram[17 * PAGE], 0x22);
	/* It lives by itself. */
	assert_int_equal(unmap(x, f, from, 0, UINT64_MAX, &removed), 0);
	assert_true(dma(x, FULL, MIB(1), 0x33));
	assert_int_equal(call(x, f, IOMMU_IOAS_COPY, &c, sizeof(c)), -ENOENT);
	/* What goes is as it came: in two pieces. */
	assert_int_equal(unmap(x, f, to, MIB(1), PAGE, &removed), 0);
	assert_int_equal(unmap(x, f, to, MIB(1) + PAGE, PAGE, &removed), -ENOENT);
	assert_int_equal(unmap(x, f, to, MIB(1) + PAGE, 2 * PAGE, &removed), 0);

	/* Nobody may write by a copy what he could not. */
	iova = 0;
	assert_int_equal(map(x, f, from, R | FIXED, 0, PAGE, &iova), 0);
	c = (struct abi_ioas_copy){ sizeof(c), R | W, to, from, PAGE, 0, 0 };
	assert_int_equal(call(x, f, IOMMU_IOAS_COPY, &c, sizeof(c)), -EPERM);
	c.flags = R;
	assert_int_equal(call(x, f, IOMMU_IOAS_COPY, &c, sizeof(c)), 0);
	assert_int_equal(c.dst_iova, PAGE);
	c.length = 2 * PAGE;
	assert_int_equal(call(x, f, IOMMU_IOAS_COPY, &c, sizeof(c)), -ENOENT);
	c.length = 0;
	assert_int_equal(call(x, f, IOMMU_IOAS_COPY, &c, sizeof(c)), -EINVAL);
	c.length = UINT64_MAX;
	assert_int_equal(call(x, f, IOMMU_IOAS_COPY, &c, sizeof(c)), -EOVERFLOW);
	c.length = PAGE;
	c.flags = 0;
	assert_int_equal(call(x, f, IOMMU_IOAS_COPY, &c, sizeof(c)), -EINVAL);
	c.flags = R;
	c.dst_ioas_id = 99;
	assert_int_equal(call(x, f, IOMMU_IOAS_COPY, &c, sizeof(c)), -ENOENT);
	vfio_obj_put(dev);
	vfio_obj_put(f);
}

static void files(void **state)
{
	struct fixture *x = *state;
	struct vfio_obj *f = open_iommufd(x), *dev = open_bound(x, FULL, f);
	int fd = memfd_create("test", MFD_CLOEXEC), null = open("/dev/null", O_RDWR | O_CLOEXEC);
	uint32_t id = ioas(x, f), pt = id;
	struct abi_ioas_map m = { sizeof(m), R | W, id, fd, PAGE, PAGE, 0 };
	uint8_t byte = 0;

	assert_int_equal(ftruncate(fd, 2 * PAGE), 0);
	assert_int_equal(attach(x, dev, &pt), 0);
	master(dev);
	assert_int_equal(call(x, f, IOMMU_IOAS_MAP_FILE, &m, sizeof(m)), 0);
	assert_int_equal(m.iova, PAGE);
	assert_true(dma(x, FULL, m.iova + 5, 0x5a));
	assert_int_equal(pread(fd, &byte, 1, PAGE + 5), 1);
	assert_int_equal(byte, 0x5a);
	m.length = 2 * PAGE; /* past its end */
	assert_int_equal(call(x, f, IOMMU_IOAS_MAP_FILE, &m, sizeof(m)), -EINVAL);
	m.length = PAGE;
	m.fd = null;
	assert_int_equal(call(x, f, IOMMU_IOAS_MAP_FILE, &m, sizeof(m)), -EINVAL);
	m.fd = 9999;
	assert_int_equal(call(x, f, IOMMU_IOAS_MAP_FILE, &m, sizeof(m)), -EBADF);
	m.fd = -1;
	assert_int_equal(call(x, f, IOMMU_IOAS_MAP_FILE, &m, sizeof(m)), -EBADF);
	/* The client may close its own. */
	close(fd);
	assert_true(dma(x, FULL, PAGE, 1));
	close(null);
	vfio_obj_put(dev);
	vfio_obj_put(f);
}

static void options(void **state)
{
	struct fixture *x = *state;
	struct vfio_obj *f = open_iommufd(x);
	struct abi_option o = {
		.size = sizeof(o), .option_id = OPTION_RLIMIT_MODE, .op = OPTION_GET, .val64 = 9
	};
	struct abi_change_process change = { .size = sizeof(change) };
	uint64_t iova = 1;
	uint32_t id;

	assert_int_equal(call(x, f, IOMMU_OPTION, &o, sizeof(o)), 0);
	assert_int_equal(o.val64, 0);
	o.op = OPTION_SET;
	o.val64 = 2;
	assert_int_equal(call(x, f, IOMMU_OPTION, &o, sizeof(o)), -EINVAL);
	o.val64 = 1;
	assert_int_equal(call(x, f, IOMMU_OPTION, &o, sizeof(o)), 0);
	o.op = OPTION_GET;
	o.val64 = 0;
	assert_int_equal(call(x, f, IOMMU_OPTION, &o, sizeof(o)), 0);
	assert_int_equal(o.val64, 1);
	o.object_id = 1;
	assert_int_equal(call(x, f, IOMMU_OPTION, &o, sizeof(o)), -EOPNOTSUPP);
	id = ioas(x, f);
	o = (struct abi_option){ .size = sizeof(o) };
	assert_int_equal(call(x, f, IOMMU_OPTION, &o, sizeof(o)), -EBUSY);
	o.op = 2;
	assert_int_equal(call(x, f, IOMMU_OPTION, &o, sizeof(o)), -EOPNOTSUPP);

	o = (struct abi_option){ .size = sizeof(o),
				 .option_id = OPTION_HUGE_PAGES,
				 .op = OPTION_GET };
	assert_int_equal(call(x, f, IOMMU_OPTION, &o, sizeof(o)), -ENOENT);
	o.object_id = id;
	assert_int_equal(call(x, f, IOMMU_OPTION, &o, sizeof(o)), 0);
	assert_int_equal(o.val64, 1);
	assert_int_equal(map(x, f, id, R | FIXED, 0, PAGE, &iova), 0);
	o.op = OPTION_SET;
	o.val64 = 0;
	assert_int_equal(call(x, f, IOMMU_OPTION, &o, sizeof(o)), -EADDRINUSE);
	assert_int_equal(call(x, f, IOMMU_IOAS_CHANGE_PROCESS, &change, sizeof(change)), -EINVAL);
	assert_int_equal(unmap(x, f, id, 0, UINT64_MAX, &iova), 0);
	assert_int_equal(call(x, f, IOMMU_IOAS_CHANGE_PROCESS, &change, sizeof(change)), 0);
	assert_int_equal(call(x, f, IOMMU_OPTION, &o, sizeof(o)), 0);
	/* Pages are the least then. */
	iova = 1;
	assert_int_equal(map(x, f, id, R | FIXED, 0, PAGE, &iova), -EINVAL);
	o.val64 = 2;
	assert_int_equal(call(x, f, IOMMU_OPTION, &o, sizeof(o)), -EINVAL);
	o.option_id = 2;
	assert_int_equal(call(x, f, IOMMU_OPTION, &o, sizeof(o)), -EOPNOTSUPP);
	o.reserved = 1;
	assert_int_equal(call(x, f, IOMMU_OPTION, &o, sizeof(o)), -EOPNOTSUPP);
	vfio_obj_put(f);
}

static void hwpts(void **state)
{
	struct fixture *x = *state;
	struct vfio_obj *f = open_iommufd(x), *dev = open_bound(x, FULL, f);
	uint32_t devid = devid_of(x, FULL), id = ioas(x, f), pt = id, h;
	const struct {
		struct abi_hwpt_alloc cmd;
		int ret;
	} t[] = {
		{ { 48, 0, 99, id }, -ENOENT },
		{ { 48, 0, id, id }, -ENOENT },
		{ { 48, 0, devid, 99 }, -EINVAL },
		{ { 48, 0, devid, devid }, -EINVAL },
		{ { 48, 0, devid, id, 0, 1 }, -EOPNOTSUPP },
		{ { 48, 0, devid, id, 0, 0, 1 }, -EINVAL },
		{ { 48, 0, devid, id, 0, 0, 0, 8 }, -EINVAL },
		{ { 48, 0, devid, id, 0, 0, 1, 8 }, -EOPNOTSUPP },
		{ { 48, 1, devid, id }, -EOPNOTSUPP },
		{ { 48, 4, devid, id }, -EOPNOTSUPP },
		{ { 48, 8, devid, id }, -EOPNOTSUPP },
		{ { 48, 2, devid, id }, 0 },
		{ { 24, 0, devid, id }, 0 },
		{ { 23, 0, devid, id }, -EINVAL },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(t); i++) {
		struct abi_hwpt_alloc cmd = t[i].cmd;
		int ret = call(x, f, IOMMU_HWPT_ALLOC, &cmd, sizeof(cmd));

		if (ret != t[i].ret)
			fail_msg("row %u: %d, not %d", i, ret, t[i].ret);
	}
	assert_int_equal(destroy(x, f, id), -EBUSY);
	assert_int_equal(destroy(x, f, devid), -EBUSY);
	/* One that comes by attaching goes with it. */
	assert_int_equal(attach(x, dev, &pt), 0);
	assert_int_equal(pt, 5);
	assert_int_equal(destroy(x, f, pt), -EBUSY);
	h = 3;
	assert_int_equal(attach(x, dev, &h), 0);
	assert_int_equal(h, 3);
	assert_int_equal(destroy(x, f, pt), -ENOENT);
	assert_int_equal(destroy(x, f, 3), -EBUSY);
	assert_int_equal(detach(x, dev), 0);
	assert_int_equal(destroy(x, f, 3), 0);
	assert_int_equal(destroy(x, f, 4), 0);
	assert_int_equal(destroy(x, f, id), 0);

	struct abi_hwpt_invalidate inv = { .size = sizeof(inv),
					   .hwpt_id = devid,
					   .entry_num = 3,
					   .entry_len = 8,
					   .data_uptr = 4 };

	assert_int_equal(call(x, f, IOMMU_HWPT_INVALIDATE, &inv, sizeof(inv)), -EINVAL);
	assert_int_equal(inv.entry_num, 0);
	inv.hwpt_id = 99;
	assert_int_equal(call(x, f, IOMMU_HWPT_INVALIDATE, &inv, sizeof(inv)), -ENOENT);
	inv.entry_num = 1;
	inv.entry_len = 0;
	assert_int_equal(call(x, f, IOMMU_HWPT_INVALIDATE, &inv, sizeof(inv)), -EINVAL);
	vfio_obj_put(dev);
	vfio_obj_put(f);
}

static void hw_info(void **state)
{
	struct fixture *x = *state;
	struct vfio_obj *f = open_iommufd(x), *dev = open_bound(x, FULL, f);
	struct abi_hw_info i = { .size = sizeof(i), .dev_id = devid_of(x, FULL), .data_len = 8 };

	memset(x->ram, 0xff, 16);
	assert_int_equal(call(x, f, IOMMU_GET_HW_INFO, &i, sizeof(i)), 0);
	assert_int_equal(i.data_type, 0);
	assert_int_equal(i.data_len, 0);
	assert_int_equal(i.out_capabilities, 9);
	assert_int_equal(x->ram[7], 0);
	assert_int_equal(x->ram[8], 0xff);
	i.data_len = 8;
	i.data_uptr = MIB(1) - 4;
	assert_int_equal(call(x, f, IOMMU_GET_HW_INFO, &i, sizeof(i)), -EFAULT);
	i.flags = 1;
	i.data_type = 1;
	assert_int_equal(call(x, f, IOMMU_GET_HW_INFO, &i, sizeof(i)), -EOPNOTSUPP);
	i.flags = 2;
	assert_int_equal(call(x, f, IOMMU_GET_HW_INFO, &i, sizeof(i)), -EOPNOTSUPP);
	vfio_obj_put(dev);
	vfio_obj_put(f);
}

static void not_offered(void **state)
{
	struct fixture *x = *state;
	static const uint32_t requests[] = { IOMMU_FAULT_QUEUE_ALLOC, IOMMU_VIOMMU_ALLOC,
					     IOMMU_VDEVICE_ALLOC, IOMMU_VEVENTQ_ALLOC,
					     IOMMU_HW_QUEUE_ALLOC };
	struct vfio_obj *f = open_iommufd(x);

	for (unsigned i = 0; i < ARRAY_SIZE(requests); i++) {
		uint32_t block[10] = { sizeof(block) };

		assert_int_equal(call(x, f, requests[i], block, sizeof(block)), -EOPNOTSUPP);
	}
	vfio_obj_put(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(blocks, setup, teardown),
		cmocka_unit_test_setup_teardown(numbers, setup, teardown),
		cmocka_unit_test_setup_teardown(ranges, setup, teardown),
		cmocka_unit_test_setup_teardown(map_checks_of_ioas, setup, teardown),
		cmocka_unit_test_setup_teardown(chosen_addresses, setup, teardown),
		cmocka_unit_test_setup_teardown(allow_checks, setup, teardown),
		cmocka_unit_test_setup_teardown(bare_areas, setup, teardown),
		cmocka_unit_test_setup_teardown(unmap_checks, setup, teardown),
		cmocka_unit_test_setup_teardown(copies, setup, teardown),
		cmocka_unit_test_setup_teardown(files, setup, teardown),
		cmocka_unit_test_setup_teardown(options, setup, teardown),
		cmocka_unit_test_setup_teardown(hwpts, setup, teardown),
		cmocka_unit_test_setup_teardown(hw_info, setup, teardown),
		cmocka_unit_test_setup_teardown(not_offered, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
