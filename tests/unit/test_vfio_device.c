/* SPDX-License-Identifier: BSD-3-Clause */
/* Devices: information, regions, resets, ioeventfds, features. */
#include "vfio_fixture.h"

/* ------------------------------------------------------------------ information */

static void device_info(void **state)
{
	struct fixture *x = *state;
	uint32_t info[6] = { 15 };

	open_device(x, FULL);
	assert_int_equal(call(x, x->dev, VFIO_DEVICE_GET_INFO, info, 16), -EINVAL);
	for (uint32_t size = 16; size <= 32; size += 4) {
		memset(info, 0xff, sizeof(info));
		info[0] = size;
		assert_int_equal(call(x, x->dev, VFIO_DEVICE_GET_INFO, info, MIN(size, 24u)), 0);
		assert_int_equal(x->reply, MIN(size, 24u));
		assert_int_equal(info[0], size);
		assert_int_equal(info[1], VFIO_DEVICE_FLAGS_PCI | VFIO_DEVICE_FLAGS_RESET);
		assert_int_equal(info[2], 9);
		assert_int_equal(info[3], 5);
		if (size >= 20)
			assert_int_equal(info[4], 0);
	}
	info[0] = 24;
	assert_int_equal(call(x, x->dev, 0x3b76, info, 24), -EINVAL);
	assert_int_equal(call_value(x, x->dev, 0x3b77, 0), -ENOTTY);
	assert_int_equal(call_value(x, x->dev, VFIO_DEVICE_QUERY_GFX_PLANE, 0), -ENOTTY);
}

static void device_without_reset(void **state)
{
	struct fixture *x = *state;
	uint32_t info[4] = { 16 };

	open_device(x, PLAIN);
	assert_int_equal(call(x, x->dev, VFIO_DEVICE_GET_INFO, info, 16), 0);
	assert_int_equal(info[1], VFIO_DEVICE_FLAGS_PCI);
	assert_int_equal(call_value(x, x->dev, VFIO_DEVICE_RESET, 0), -EINVAL);
}

/*
 * Neither function of this bus can be reset by itself: what the last client left goes with a reset
 * of the bus, once nobody has any of them.
 */
static void bus_reset_at_close(void **state)
{
	struct fixture *x = *state;
	struct pcif *other = find(x, PLAIN2);
	struct vfio_obj *second = NULL;

	open_device(x, PLAIN);
	assert_int_equal(pcif_group(other), pcif_group(x->plain));
	assert_int_equal(get_device(x, PLAIN2, &second), 0);
	assert_int_equal(pcif_reset_count(x->plain), 0);
	config_put(x, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	vfio_obj_put(x->dev);
	x->dev = NULL;
	assert_int_equal(pcif_reset_count(x->plain), 0);
	vfio_obj_put(second);
	assert_int_equal(pcif_reset_count(x->plain), 1);
	assert_int_equal(pcif_reset_count(other), 1);
	assert_int_equal(pcif_reset_count(x->full), 0);
	/* Once more only after somebody had one. */
	assert_int_equal(get_device(x, PLAIN2, &x->dev), 0);
	assert_int_equal(pcif_reset_count(other), 1);
	vfio_obj_put(x->dev);
	x->dev = NULL;
	assert_int_equal(pcif_reset_count(x->plain), 2);
	assert_int_equal(pcif_reset_count(other), 2);
	assert_int_not_equal(pcif_config_read(other, PCI_BASE_ADDRESS_0, 4), 0);
}

struct region_reply {
	struct vfio_region_info info;
	uint8_t caps[128];
};

static void region_info(void **state)
{
	struct fixture *x = *state;
	static const struct {
		uint32_t index;
		uint64_t size;
		uint32_t flags, argsz;
	} rows[] = {
		{ 0, KIB(16), 0xf, 32 + 32 + 8 },
		{ 1, 32, 3, 32 },
		{ 2, KIB(64), 7, 32 },
		{ 3, 0, 0, 32 },
		{ 4, 4096, 3, 32 },
		{ 5, 0, 0, 32 },
		{ 6, 0, 0, 32 },
		{ 7, 4096, 3, 32 },
	};
	struct region_reply r;
	const struct vfio_region_info_cap_sparse_mmap *sparse;
	const struct vfio_info_cap_header *h;

	open_device(x, FULL);
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		memset(&r, 0, sizeof(r));
		r.info.argsz = 32;
		r.info.index = rows[i].index;
		assert_int_equal(call(x, x->dev, VFIO_DEVICE_GET_REGION_INFO, &r, 32), 0);
		assert_int_equal(x->reply, 32);
		assert_int_equal(r.info.size, rows[i].size);
		assert_int_equal(r.info.flags, rows[i].flags);
		assert_int_equal(r.info.argsz, rows[i].argsz);
		assert_int_equal(r.info.offset, region(rows[i].index, 0));
		assert_int_equal(r.info.cap_offset, 0);
	}
	for (uint32_t index = 8; index < 12; index++) {
		r.info = (struct vfio_region_info){ .argsz = 32, .index = index };
		assert_int_equal(call(x, x->dev, VFIO_DEVICE_GET_REGION_INFO, &r, 32), -EINVAL);
	}
	r.info = (struct vfio_region_info){ .argsz = 31 };
	assert_int_equal(call(x, x->dev, VFIO_DEVICE_GET_REGION_INFO, &r, 32), -EINVAL);

	r.info = (struct vfio_region_info){ .argsz = sizeof(r) };
	assert_int_equal(call(x, x->dev, VFIO_DEVICE_GET_REGION_INFO, &r, sizeof(r)), 0);
	assert_int_equal(r.info.cap_offset, 32);
	assert_int_equal(r.info.argsz, sizeof(r));
	sparse = (void *)((uint8_t *)&r + 32);
	assert_int_equal(sparse->header.id, VFIO_REGION_INFO_CAP_SPARSE_MMAP);
	assert_int_equal(sparse->header.version, 1);
	assert_int_equal(sparse->nr_areas, 1);
	assert_int_equal(sparse->areas[0].offset, 0x1000);
	assert_int_equal(sparse->areas[0].size, 0x2000);
	h = (void *)((uint8_t *)&r + sparse->header.next);
	assert_int_equal(h->id, VFIO_REGION_INFO_CAP_MSIX_MAPPABLE);
	assert_int_equal(h->next, 0);
}

/* ------------------------------------------------------------------ access */

static ssize_t rd(struct fixture *x, unsigned index, uint64_t at, void *buf, size_t n)
{
	return vfio_device_read(x->dev, buf, n, region(index, at));
}

static void region_access(void **state)
{
	struct fixture *x = *state;
	uint64_t v = 0;

	open_device(x, FULL);
	assert_int_equal(rd(x, 0, 0x10, &v, 4), 4);
	assert_int_equal(v, 0x04030211);
	assert_int_equal(rd(x, 0, 0x10, &v, 0), 0);
	assert_int_equal(rd(x, 0, KIB(16) - 4, &v, 8), 4);
	assert_int_equal(rd(x, 0, KIB(16), &v, 8), -EINVAL);
	assert_int_equal(rd(x, 1, 0, &v, 4), 4);
	assert_int_equal(rd(x, 1, 32, &v, 4), -EINVAL);
	assert_int_equal(rd(x, 3, 0, &v, 4), -EINVAL);
	assert_int_equal(rd(x, 5, 0, &v, 4), -EINVAL);
	assert_int_equal(rd(x, 6, 0, &v, 4), -EINVAL);
	assert_int_equal(rd(x, 8, 0, &v, 4), -EINVAL);
	assert_int_equal(rd(x, 9, 0, &v, 4), -EINVAL);
	assert_int_equal(vfio_device_read(x->dev, &v, 4, ~0ull), -EINVAL);
	assert_int_equal(vfio_device_write(x->dev, &v, 4, region(6, 0)), -EINVAL);
	assert_int_equal(vfio_device_write(x->dev, &v, 4, region(8, 0)), -EINVAL);
	assert_int_equal(vfio_device_write(x->dev, &v, 4, region(0, KIB(16))), -EINVAL);
	v = 0x11223344;
	assert_int_equal(vfio_device_write(x->dev, &v, 4, region(2, 0x100)), 4);
	v = 0;
	assert_int_equal(rd(x, 2, 0x100, &v, 4), 4);
	assert_int_equal(v, 0x11223344);
	/* The MSI-X table reads ones and drops writes; the pending bits are what they are. */
	v = 0;
	assert_int_equal(vfio_device_write(x->dev, &v, 8, region(0, 0x3000)), 8);
	assert_int_equal(rd(x, 0, 0x3000, &v, 8), 8);
	assert_true(v == ~0ull);
	pcif_irq_raise(x->full, 3);
	assert_int_equal(rd(x, 0, 0x3800, &v, 8), 8);
	assert_int_equal(v, 8);
	assert_int_equal(vfio_device_write(x->dev, &(uint64_t){ 0 }, 8, region(0, 0x3800)), 8);
	assert_int_equal(rd(x, 0, 0x3800, &v, 4), 4);
	assert_int_equal(v, 8);
	/* Configuration space is taken whole or not at all. */
	assert_int_equal(rd(x, 7, 4096, &v, 1), -EFAULT);
	assert_int_equal(rd(x, 7, 4094, &v, 4), -EFAULT);
	assert_int_equal(rd(x, 7, 4092, &v, 4), 4);
	assert_int_equal(vfio_device_write(x->dev, &v, 4, region(7, 4094)), -EFAULT);
	/* Memory and I/O decoding off. */
	config_put(x, PCI_COMMAND, 2, PCI_COMMAND_IO);
	assert_int_equal(rd(x, 0, 0, &v, 4), -EIO);
	assert_int_equal(vfio_device_write(x->dev, &v, 4, region(0, 0)), -EIO);
	assert_int_equal(rd(x, 2, 0, &v, 4), -EIO);
	assert_int_equal(rd(x, 0, 0x3800, &v, 4), -EIO);
	assert_int_equal(rd(x, 1, 0, &v, 4), 4);
	/* Of the table the function is not asked. */
	assert_int_equal(rd(x, 0, 0x3000, &v, 8), 8);
	assert_true(v == ~0ull);
	assert_int_equal(rd(x, 0, 0x2ffc, &v, 8), -EIO);
	config_put(x, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	assert_int_equal(rd(x, 0, 0, &v, 4), 4);
	/* A port that nobody decodes reads ones. */
	v = 0;
	assert_int_equal(vfio_device_write(x->dev, &v, 4, region(1, 0)), 4);
	assert_int_equal(rd(x, 1, 0, &v, 4), 4);
	assert_int_equal(v, 0xffffffff);
	assert_int_equal(rd(x, 1, 32, &v, 4), -EINVAL);
	/* Nothing asked is nothing said, wherever. */
	assert_int_equal(rd(x, 9, 0, &v, 0), 0);
}

static void pages(void **state)
{
	struct fixture *x = *state;
	int fd;
	uint64_t at, base;

	assert_int_equal(vfio_function_page(x->full, region(0, 0), &fd, &at), -EFAULT);
	assert_int_equal(vfio_function_page(x->full, region(0, 0x3000), &fd, &at), -EFAULT);
	assert_int_equal(vfio_function_page(x->full, region(0, 0x1004), &fd, &at), -EFAULT);
	assert_int_equal(vfio_function_page(x->full, region(0, 0x4000), &fd, &at), -EFAULT);
	assert_int_equal(vfio_function_page(x->full, region(1, 0), &fd, &at), -EFAULT);
	assert_int_equal(vfio_function_page(x->full, region(3, 0), &fd, &at), -EFAULT);
	assert_int_equal(vfio_function_page(x->full, region(7, 0), &fd, &at), -EFAULT);
	assert_int_equal(vfio_function_page(x->full, ~0ull << 12, &fd, &at), -EFAULT);
	assert_int_equal(vfio_function_page(x->full, region(0, 0x1000), &fd, &at), 0);
	assert_int_equal(fd, pcif_bar_memfd(x->full, 0, &base));
	assert_int_equal(at, base + 0x1000);
	assert_int_equal(vfio_function_page(x->full, region(2, 0xf000), &fd, &at), 0);
	assert_int_equal(fd, pcif_bar_memfd(x->full, 2, &base));
	assert_int_equal(at, base + 0xf000);
}

/* ------------------------------------------------------------------ reset */

static void reset(void **state)
{
	struct fixture *x = *state;
	uint64_t before;
	uint32_t bar;

	before = pcif_reset_count(x->full);
	open_device(x, FULL);
	assert_int_equal(pcif_reset_count(x->full), before + 1);
	bar = pcif_config_read(x->full, PCI_BASE_ADDRESS_0, 4);
	assert_int_not_equal(bar, 0);
	config_put(x, PCI_COMMAND, 2, 6);
	assert_int_equal(call_value(x, x->dev, VFIO_DEVICE_RESET, 0), 0);
	assert_int_equal(pcif_reset_count(x->full), before + 2);
	assert_int_equal(config_get(x, PCI_COMMAND, 2), 6);
	assert_int_equal(pcif_config_read(x->full, PCI_BASE_ADDRESS_0, 4), bar);
	/* Closing: bus master off, one reset more, the addresses as they were. */
	vfio_obj_put(x->dev);
	x->dev = NULL;
	assert_int_equal(pcif_reset_count(x->full), before + 3);
	assert_int_equal(pcif_config_read(x->full, PCI_COMMAND, 2) & PCI_COMMAND_MASTER, 0);
	assert_int_equal(pcif_config_read(x->full, PCI_BASE_ADDRESS_0, 4), bar);
}

struct hot_info {
	struct vfio_pci_hot_reset_info h;
	struct vfio_pci_dependent_device devs[4];
};

static void hot_reset_info(void **state)
{
	struct fixture *x = *state;
	struct hot_info r = { .h = { .argsz = 11 } };

	open_device(x, FULL);
	assert_int_equal(call(x, x->dev, VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, &r, 12), -EINVAL);
	r.h.argsz = 12;
	assert_int_equal(call(x, x->dev, VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, &r, 12), -ENOSPC);
	assert_int_equal(r.h.count, 1);
	assert_int_equal(x->reply, 12);
	r.h.argsz = sizeof(r);
	assert_int_equal(call(x, x->dev, VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, &r, sizeof(r)), 0);
	assert_int_equal(x->reply, 20);
	assert_int_equal(r.h.count, 1);
	assert_int_equal(r.devs[0].group_id, pcif_group(x->full));
	assert_int_equal(r.devs[0].bus, 0x65);
	assert_int_equal(r.devs[0].devfn, 0);
}

static int hot_reset(struct fixture *x, uint32_t flags, uint32_t count, struct vfio_obj **objs,
		     unsigned n)
{
	struct {
		struct vfio_pci_hot_reset h;
		int32_t fds[4];
	} r = { { 12 + 4 * n, flags, count } };
	struct vfio_fd fds[4];

	for (unsigned i = 0; i < n; i++)
		fds[i] = (struct vfio_fd){ .fd = -1, .obj = objs[i] };
	return call_fds(x, x->dev, VFIO_DEVICE_PCI_HOT_RESET, &r, 12 + 4 * n, fds, n);
}

static void hot_reset_rules(void **state)
{
	struct fixture *x = *state;
	uint64_t before;
	struct vfio_obj *wrong, *none = NULL, *many[2];

	open_device(x, FULL);
	before = pcif_reset_count(x->full);
	assert_int_equal(vfio_open_group(x->v, pcif_group(x->plain), &wrong), 0);
	many[0] = many[1] = x->group;
	assert_int_equal(hot_reset(x, 0, 0, NULL, 0), -EINVAL);
	assert_int_equal(hot_reset(x, 1, 1, &x->group, 1), -EINVAL);
	assert_int_equal(hot_reset(x, 0, 2, many, 2), -EINVAL);
	assert_int_equal(hot_reset(x, 0, 2, NULL, 0), -EINVAL);
	assert_int_equal(hot_reset(x, 0, 1, NULL, 0), -EFAULT);
	assert_int_equal(hot_reset(x, 0, 1, &x->container, 1), -EINVAL);
	assert_int_equal(hot_reset(x, 0, 1, &wrong, 1), -EINVAL);
	assert_int_equal(hot_reset(x, 0, 1, &none, 1), -EBADF);
	assert_int_equal(pcif_reset_count(x->full), before);
	config_put(x, PCI_COMMAND, 2, 6);
	assert_int_equal(hot_reset(x, 0, 1, &x->group, 1), 0);
	assert_int_equal(pcif_reset_count(x->full), before + 1);
	assert_int_equal(config_get(x, PCI_COMMAND, 2), 6);
	vfio_obj_put(wrong);
}

/* ------------------------------------------------------------------ ioeventfd */

static int ioeventfd(struct fixture *x, uint32_t flags, uint64_t offset, uint64_t data, int32_t fd)
{
	struct vfio_device_ioeventfd io = { sizeof(io), flags, offset, data, fd };

	return call(x, x->dev, VFIO_DEVICE_IOEVENTFD, &io, sizeof(io));
}

static void ioeventfds(void **state)
{
	struct fixture *x = *state;
	int32_t fd = new_eventfd();
	uint64_t one = 1;
	uint32_t v = 0;

	open_device(x, FULL);
	assert_int_equal(ioeventfd(x, 0, region(2, 0), 1, fd), -EINVAL);
	assert_int_equal(ioeventfd(x, 3, region(2, 0), 1, fd), -EINVAL);
	assert_int_equal(ioeventfd(x, 0x10, region(2, 0), 1, fd), -EINVAL);
	assert_int_equal(ioeventfd(x, 4, region(2, 0), 1, -2), -EINVAL);
	assert_int_equal(ioeventfd(x, 4, region(6, 0), 1, fd), -EINVAL);
	assert_int_equal(ioeventfd(x, 4, region(5, 0), 1, fd), -EINVAL);
	assert_int_equal(ioeventfd(x, 4, ~0ull, 1, fd), -EINVAL);
	assert_int_equal(ioeventfd(x, 4, region(2, KIB(64) - 2), 1, fd), -EINVAL);
	assert_int_equal(ioeventfd(x, 8, region(0, 0x2ffc), 1, fd), -EINVAL);
	assert_int_equal(ioeventfd(x, 4, region(0, 0x309c), 1, fd), -EINVAL);
	assert_int_equal(ioeventfd(x, 4, region(2, 0), 1, -1), -ENODEV);
	assert_int_equal(ioeventfd(x, 4, region(2, 0), 1, 9999), -EBADF);
	assert_int_equal(ioeventfd(x, 4, region(2, 0x40), 0xabcd1234, fd), 0);
	assert_int_equal(ioeventfd(x, 4, region(2, 0x40), 0xabcd1234, fd), -EEXIST);
	assert_int_equal(write(fd, &one, 8), 8);
	for (unsigned i = 0; i < 20000 && v != 0xabcd1234; i++) {
		assert_int_equal(rd(x, 2, 0x40, &v, 4), 4);
		usleep(1000);
	}
	assert_int_equal(v, 0xabcd1234);
	assert_int_equal(ioeventfd(x, 4, region(2, 0x40), 0xabcd1234, -1), 0);
	assert_int_equal(ioeventfd(x, 4, region(2, 0x40), 0xabcd1234, -1), -ENODEV);
	assert_int_equal(ioeventfd(x, 8, region(0, 0), 7, fd), 0); /* for close */
	close(fd);
}

/* ------------------------------------------------------------------ features */

static int feature(struct fixture *x, uint32_t flags, uint32_t argsz, int32_t fd)
{
	struct {
		struct vfio_device_feature h;
		int32_t fd;
		uint32_t reserved;
	} r = { { argsz, flags }, fd, 0 };

	return call(x, x->dev, VFIO_DEVICE_FEATURE, &r, MIN(MAX(argsz, 8u), 16u));
}

#define GET VFIO_DEVICE_FEATURE_GET
#define SET VFIO_DEVICE_FEATURE_SET
#define PROBE VFIO_DEVICE_FEATURE_PROBE

static void features(void **state)
{
	struct fixture *x = *state;
	static const uint32_t absent[] = { 0, 1, 2, 6, 7, 8, 9, 10, 11, 13, 14, 0xffff };
	struct vfio_device_feature head = { .argsz = 16 };
	int32_t fd = new_eventfd();
	uint32_t v;

	open_device(x, FULL);
	for (unsigned i = 0; i < ARRAY_SIZE(absent); i++) {
		assert_int_equal(feature(x, absent[i] | GET, 8, -1), -ENOTTY);
		assert_int_equal(feature(x, absent[i] | SET, 8, -1), -ENOTTY);
		assert_int_equal(feature(x, absent[i] | PROBE | SET, 8, -1), -ENOTTY);
	}
	assert_int_equal(feature(x, 12 | SET, 8, -1), -EINVAL);
	assert_int_equal(feature(x, 12 | PROBE | GET, 8, -1), -EINVAL);
	assert_int_equal(feature(x, 3 | SET, 7, -1), -EINVAL);
	assert_int_equal(feature(x, 3 | SET | 0x80000, 8, -1), -EINVAL);
	assert_int_equal(feature(x, 3 | GET | SET, 8, -1), -EINVAL);
	assert_int_equal(feature(x, 3 | PROBE | GET | SET, 8, -1), -EINVAL);
	assert_int_equal(feature(x, 3, 8, -1), -EINVAL);
	assert_int_equal(feature(x, 3 | GET, 8, -1), -EINVAL);
	for (uint32_t i = 3; i <= 5; i++) {
		assert_int_equal(feature(x, i | PROBE, 8, -1), 0);
		assert_int_equal(feature(x, i | PROBE | SET, 8, -1), 0);
		assert_int_equal(feature(x, i | PROBE | GET, 8, -1), -EINVAL);
	}
	assert_int_equal(feature(x, 3 | SET, 8, -1), 0);
	assert_int_equal(feature(x, 3 | SET, 8, -1), -EINVAL);
	assert_int_equal(rd(x, 0, 0, &v, 4), 4);
	assert_int_equal(feature(x, 3 | SET, 8, -1), -EINVAL);
	assert_int_equal(feature(x, 5 | SET, 8, -1), 0);
	assert_int_equal(feature(x, 5 | SET, 8, -1), 0);
	/* With wakeup: the first access says so and ends it. */
	assert_int_equal(feature(x, 4 | SET, 12, fd), -EINVAL);
	head.flags = 4 | SET;
	assert_int_equal(call(x, x->dev, VFIO_DEVICE_FEATURE, &head, 8), -EFAULT);
	assert_int_equal(feature(x, 4 | SET, 16, -1), -EINVAL);
	assert_int_equal(feature(x, 4 | SET, 16, 9999), -EBADF);
	assert_int_equal(feature(x, 4 | SET, 16, fd), 0);
	assert_int_equal(counter(fd), 0);
	assert_int_equal(rd(x, 0, 0, &v, 4), 4);
	assert_int_equal(rd(x, 0, 0, &v, 4), 4);
	assert_int_equal(counter(fd), 1);
	/* So does any request, whatever comes of it; this one sends the device to sleep again. */
	assert_int_equal(feature(x, 4 | SET, 16, fd), 0);
	assert_int_equal(feature(x, 4 | SET, 16, fd), 0);
	assert_int_equal(counter(fd), 1);
	assert_int_equal(call_value(x, x->dev, 0x3bff, 0), -ENOTTY);
	assert_int_equal(counter(fd), 1);
	assert_int_equal(feature(x, 3 | SET, 8, -1), 0);
	assert_int_equal(call_value(x, x->dev, 0x3bff, 0), -ENOTTY);
	assert_int_equal(feature(x, 4 | SET, 16, fd), -EINVAL);
	assert_int_equal(feature(x, 5 | SET, 8, -1), 0);
	assert_int_equal(feature(x, 4 | SET, 16, fd), 0);
	assert_int_equal(counter(fd), 0);
	assert_int_equal(feature(x, 5 | SET, 8, -1), 0);
	assert_int_equal(counter(fd), 1);
	assert_int_equal(feature(x, 4 | SET, 16, fd), 0);
	close(fd);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(device_info),
		T(device_without_reset),
		T(bus_reset_at_close),
		T(region_info),
		T(region_access),
		T(pages),
		T(reset),
		T(hot_reset_info),
		T(hot_reset_rules),
		T(ioeventfds),
		T(features),
	};

	return cmocka_run_group_tests_name("vfio_device", tests, NULL, NULL);
}
