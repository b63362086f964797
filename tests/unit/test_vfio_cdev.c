/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Devices' own files: binding, attaching, who excludes whom, ownership of groups, tokens, hot
 * resets. Rules B3 to B5, B9, B10 of docs/rules.md.
 */
#include "iommufd_fixture.h"

#define UUID "\x2a\xb7\x49\x24\xc3\x35\x45\xf4\x9b\x16\x85\x69\xe5\xb0\x82\x58"

static uint32_t group_flags_of(struct fixture *x)
{
	struct vfio_group_status st = { .argsz = sizeof(st) };

	assert_int_equal(call(x, x->group, VFIO_GROUP_GET_STATUS, &st, sizeof(st)), 0);
	return st.flags;
}

static void indexes(void **state)
{
	struct fixture *x = *state;
	struct vfio_cdev c, again;
	unsigned n = 0;

	for (unsigned from = 0; vfio_cdev_next(x->v, from, &c); from = c.index + 1) {
		assert_int_equal(c.index, n++);
		assert_true(vfio_cdev_present(x->v, c.id));
	}
	assert_int_equal(n, 4);
	/* The lowest that is free, and never the same id. */
	assert_true(vfio_cdev_of(x->v, x->plain, &c));
	assert_int_equal(bus_unbind(x->bus, NULL, pcif_bdf(x->plain), NULL), 0);
	assert_false(vfio_cdev_of(x->v, x->plain, &again));
	assert_false(vfio_cdev_present(x->v, c.id));
	assert_int_equal(vfio_open_cdev(x->v, c.id, 0, &x->dev), -ENODEV);
	assert_int_equal(bus_bind(x->bus, VFIO_PCI_DRIVER, pcif_bdf(x->plain), NULL), 0);
	assert_true(vfio_cdev_of(x->v, x->plain, &again));
	assert_int_equal(again.index, c.index);
	assert_true(again.id != c.id);
}

/* Before it is bound a device's file does nothing. */
static void unbound(void **state)
{
	struct fixture *x = *state;
	static const uint32_t requests[] = {
		VFIO_DEVICE_GET_INFO,	       VFIO_DEVICE_RESET,   VFIO_DEVICE_ATTACH_IOMMUFD_PT,
		VFIO_DEVICE_DETACH_IOMMUFD_PT, VFIO_DEVICE_FEATURE, 0x3bff
	};
	struct vfio_obj *dev = open_cdev(x, FULL);
	uint32_t block[16] = { sizeof(block) };

	for (unsigned i = 0; i < ARRAY_SIZE(requests); i++)
		assert_int_equal(call_fds(x, dev, requests[i], block, sizeof(block), NULL, 0),
				 -EINVAL);
	assert_int_equal(vfio_device_read(dev, block, 4, region(7, 0)), -EINVAL);
	assert_int_equal(vfio_device_read(dev, block, 0, region(7, 0)), -EINVAL);
	assert_int_equal(vfio_device_write(dev, block, 4, region(0, 0)), -EINVAL);
	assert_false(vfio_device_bound(dev));
	assert_false(vfio_function_open(x->v, x->full));
	assert_int_equal(x->events[VFIO_EVENT_OPEN], 0);
	vfio_obj_put(dev);
	assert_int_equal(x->events[VFIO_EVENT_CLOSE], 0);
}

static void bind_checks(void **state)
{
	struct fixture *x = *state;
	struct vfio_obj *f = open_iommufd(x), *dev = open_cdev(x, FULL), *two = open_cdev(x, FULL);
	struct {
		struct abi_bind_iommufd b;
		uint64_t more;
	} big = { .b = { .argsz = 15, .iommufd = 5 } };
	struct vfio_fd fd = { .fd = -1, .obj = f }, bad = { .fd = -1, .error = -EBADF };
	uint32_t devid;

	assert_int_equal(call_fds(x, dev, VFIO_DEVICE_BIND_IOMMUFD, &big, 16, &fd, 1), -EINVAL);
	big.b.argsz = 32;
	big.more = 1;
	assert_int_equal(call_fds(x, dev, VFIO_DEVICE_BIND_IOMMUFD, &big, 32, &fd, 1), -E2BIG);
	big.more = 0;
	big.b.flags = 2;
	assert_int_equal(call_fds(x, dev, VFIO_DEVICE_BIND_IOMMUFD, &big, 32, &fd, 1), -EINVAL);
	big.b.flags = 0;
	big.b.iommufd = -1;
	assert_int_equal(call_fds(x, dev, VFIO_DEVICE_BIND_IOMMUFD, &big, 32, &fd, 1), -EINVAL);
	big.b.iommufd = 5;
	assert_int_equal(call_fds(x, dev, VFIO_DEVICE_BIND_IOMMUFD, &big, 32, &bad, 1), -EBADF);
	assert_int_equal(bind_cdev(x, dev, NULL, &devid), -EBADFD);
	assert_int_equal(bind_cdev(x, dev, dev, &devid), -EBADFD);
	/* A token that nothing asks for, and one that is not there. */
	big.b.flags = BIND_IOMMUFD_TOKEN;
	assert_int_equal(call_fds(x, dev, VFIO_DEVICE_BIND_IOMMUFD, &big, 32, &fd, 1), -EINVAL);
	big.b.token_uuid_ptr = MIB(2);
	assert_int_equal(call_fds(x, dev, VFIO_DEVICE_BIND_IOMMUFD, &big, 32, &fd, 1), -EFAULT);
	big.b.flags = 0;
	big.b.argsz = 16; /* as older clients have it */
	assert_int_equal(call_fds(x, dev, VFIO_DEVICE_BIND_IOMMUFD, &big, 16, &fd, 1), 0);
	assert_int_equal(x->reply, 16);
	assert_int_equal(big.b.out_devid, 1);
	assert_int_equal(x->events[VFIO_EVENT_OPEN], 1);
	/* Once, by whichever file. */
	assert_int_equal(bind_cdev(x, dev, f, &devid), -EINVAL);
	assert_int_equal(bind_cdev(x, two, f, &devid), -EINVAL);
	vfio_obj_put(dev);
	assert_int_equal(x->events[VFIO_EVENT_CLOSE], 1);
	assert_int_equal(bind_cdev(x, two, f, &devid), 0);
	/* The iommufd stays while a device is bound to it. */
	vfio_obj_put(f);
	uint32_t block[16] = { 16 };

	assert_int_equal(call(x, two, VFIO_DEVICE_GET_INFO, block, sizeof(block)), 0);
	vfio_obj_put(two);
}

/* B5: a group's file and its devices' own. */
static void group_or_device(void **state)
{
	struct fixture *x = *state;
	struct vfio_obj *f = open_iommufd(x), *dev = open_cdev(x, PLAIN);
	uint32_t devid;

	assert_int_equal(vfio_open_group(x->v, pcif_group(x->plain), &x->group), 0);
	assert_int_equal(bind_cdev(x, dev, f, &devid), -EBUSY);
	vfio_obj_put(x->group);
	assert_int_equal(bind_cdev(x, dev, f, &devid), 0);
	assert_int_equal(vfio_open_group(x->v, pcif_group(x->plain), &x->group), -EBUSY);
	x->group = NULL;
	vfio_obj_put(dev);
	assert_int_equal(vfio_open_group(x->v, pcif_group(x->plain), &x->group), 0);
	/* What is opened through a group can not be bound, and has nothing to be attached to. */
	assert_int_equal(set_container(x, x->group, f), 0);
	assert_int_equal(get_device(x, PLAIN, &x->dev), 0);
	assert_int_equal(bind_cdev(x, x->dev, f, &devid), -EINVAL);
	devid = 1;
	assert_int_equal(attach(x, x->dev, &devid), -ENOTTY);
	assert_int_equal(detach(x, x->dev), -ENOTTY);
	vfio_obj_put(f);
}

/* B3: devices of one group belong to one iommufd. */
static void ownership(void **state)
{
	struct fixture *x = *state;
	struct vfio_obj *f = open_iommufd(x), *g = open_iommufd(x);
	struct vfio_obj *one = open_cdev(x, PLAIN), *two = open_cdev(x, PLAIN2);
	uint32_t devid;

	assert_int_equal(bind_cdev(x, one, f, &devid), 0);
	assert_int_equal(bind_cdev(x, two, g, &devid), -EPERM);
	assert_false(bus_group_viable(x->bus, pcif_group(x->plain)));
	assert_int_equal(bind_cdev(x, two, f, &devid), 0);
	assert_int_equal(devid, 2);
	vfio_obj_put(one);
	assert_false(bus_group_viable(x->bus, pcif_group(x->plain)));
	one = open_cdev(x, PLAIN);
	assert_int_equal(bind_cdev(x, one, g, &devid), -EPERM);
	vfio_obj_put(two);
	assert_true(bus_group_viable(x->bus, pcif_group(x->plain)));
	assert_int_equal(bind_cdev(x, one, g, &devid), 0);
	vfio_obj_put(one);
	/* The host has one of them. */
	assert_int_equal(bus_unbind(x->bus, NULL, pcif_bdf(find(x, PLAIN2)), NULL), 0);
	assert_int_equal(bus_override_set(x->bus, find(x, PLAIN2), "nvme"), 0);
	assert_int_equal(bus_bind(x->bus, "nvme", pcif_bdf(find(x, PLAIN2)), NULL), 0);
	one = open_cdev(x, PLAIN);
	assert_int_equal(bind_cdev(x, one, f, &devid), -EPERM);
	/* A group with an iommufd is claimed by its first device only. */
	assert_int_equal(vfio_open_group(x->v, pcif_group(x->plain), &x->group), 0);
	assert_int_equal(group_flags_of(x), 0);
	assert_int_equal(set_container(x, x->group, f), 0);
	assert_int_equal(group_flags_of(x), 3);
	assert_int_equal(get_device(x, PLAIN, &x->dev), -EPERM);
	x->dev = NULL;
	assert_int_equal(call_value(x, x->group, VFIO_GROUP_UNSET_CONTAINER, 0), 0);
	vfio_obj_put(one);
	vfio_obj_put(f);
	vfio_obj_put(g);
}

static void attach_checks(void **state)
{
	struct fixture *x = *state;
	struct vfio_obj *f = open_iommufd(x), *dev = open_bound(x, FULL, f);
	struct abi_attach_iommufd_pt a = { .argsz = 11 };
	struct abi_detach_iommufd_pt d = { .argsz = 7 };
	uint32_t devid = last_devid, id = ioas(x, f), other = ioas(x, f), pt = id, first;
	uint64_t iova = 0, removed;

	assert_int_equal(call(x, dev, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &a, 12), -EINVAL);
	a = (struct abi_attach_iommufd_pt){ 12, 2, id, 0 };
	assert_int_equal(call(x, dev, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &a, 12), -EINVAL);
	a.flags = ATTACH_IOMMUFD_PASID;
	assert_int_equal(call(x, dev, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &a, 12), -EINVAL);
	a.argsz = 16;
	assert_int_equal(call(x, dev, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &a, 16), -EINVAL);
	a.pt_id = 99;
	assert_int_equal(call(x, dev, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &a, 16), -ENOENT);
	pt = 99;
	assert_int_equal(attach(x, dev, &pt), -ENOENT);
	pt = devid;
	assert_int_equal(attach(x, dev, &pt), -EINVAL);
	assert_int_equal(detach(x, dev), 0);

	assert_null(vfio_function_space(x->v, x->full));
	pt = id;
	assert_int_equal(attach(x, dev, &pt), 0);
	first = pt;
	assert_int_equal(first, 4);
	assert_int_equal(x->events[VFIO_EVENT_ATTACH], 1);
	pt = id;
	assert_int_equal(attach(x, dev, &pt), 0);
	assert_int_equal(pt, first);
	/* Another one instead: the device sees that. */
	assert_int_equal(map(x, f, other, 7, 0, 4096, &iova), 0);
	uint16_t cmd = 6;
	uint8_t byte = 0x77;

	assert_int_equal(vfio_device_write(dev, &cmd, 2, region(7, PCI_COMMAND)), 2);
	assert_int_equal(pcif_dma_write(x->full, 0, &byte, 1), -EFAULT);
	pt = other;
	assert_int_equal(attach(x, dev, &pt), 0);
	assert_true(pt != first);
	assert_int_equal(pcif_dma_write(x->full, 0, &byte, 1), 0);
	assert_int_equal(x->ram[0], 0x77);
	assert_int_equal(destroy(x, f, id), 0);
	assert_int_equal(destroy(x, f, other), -EBUSY);
	assert_int_equal(call(x, dev, VFIO_DEVICE_DETACH_IOMMUFD_PT, &d, 8), -EINVAL);
	d = (struct abi_detach_iommufd_pt){ 8, 2, 0 };
	assert_int_equal(call(x, dev, VFIO_DEVICE_DETACH_IOMMUFD_PT, &d, 8), -EINVAL);
	d.flags = ATTACH_IOMMUFD_PASID;
	assert_int_equal(call(x, dev, VFIO_DEVICE_DETACH_IOMMUFD_PT, &d, 8), -EINVAL);
	d.argsz = 12;
	assert_int_equal(call(x, dev, VFIO_DEVICE_DETACH_IOMMUFD_PT, &d, 12), 0);
	assert_int_equal(pcif_dma_write(x->full, 0, &byte, 1), 0);
	assert_int_equal(detach(x, dev), 0);
	assert_int_equal(detach(x, dev), 0);
	assert_int_equal(x->events[VFIO_EVENT_DETACH], 1);
	assert_int_equal(pcif_dma_write(x->full, 0, &byte, 1), -EFAULT);
	assert_int_equal(unmap(x, f, other, 0, UINT64_MAX, &removed), 0);
	assert_int_equal(removed, 4096);
	assert_int_equal(destroy(x, f, other), 0);
	vfio_obj_put(dev);
	vfio_obj_put(f);
}

/* Functions of a group share a page table. */
static void group_attach(void **state)
{
	struct fixture *x = *state;
	struct vfio_obj *f = open_iommufd(x), *one = open_bound(x, PLAIN, f),
			*two = open_bound(x, PLAIN2, f);
	uint32_t id = ioas(x, f), other = ioas(x, f), pt = id, pt2 = other;
	struct iommu_space *a, *b;

	assert_int_equal(attach(x, one, &pt), 0);
	assert_int_equal(attach(x, two, &pt2), -EINVAL);
	pt2 = id;
	assert_int_equal(attach(x, two, &pt2), 0);
	assert_int_equal(pt, pt2);
	/* Who moves takes the others along. */
	pt2 = other;
	assert_int_equal(attach(x, two, &pt2), 0);
	assert_int_equal(destroy(x, f, id), 0);
	a = vfio_function_space(x->v, x->plain);
	b = vfio_function_space(x->v, find(x, PLAIN2));
	assert_non_null(a);
	assert_ptr_equal(a, b);
	iommu_space_put(a);
	iommu_space_put(b);
	assert_int_equal(detach(x, two), 0);
	a = vfio_function_space(x->v, find(x, PLAIN2));
	assert_non_null(a);
	iommu_space_put(a);
	vfio_obj_put(one);
	assert_null(vfio_function_space(x->v, x->plain));
	vfio_obj_put(two);
	vfio_obj_put(f);
}

/* A driver that is to be unbound waits for files that are not bound, too. */
static void unbinding_waits(void **state)
{
	struct fixture *x = *state;
	struct vfio_obj *dev = open_cdev(x, FULL);
	atomic_bool cancel = true;

	assert_int_equal(bus_unbind(x->bus, NULL, pcif_bdf(x->full), &cancel), -EINTR);
	vfio_obj_put(dev);
	assert_int_equal(bus_unbind(x->bus, NULL, pcif_bdf(x->full), NULL), 0);
}

static int bind_token(struct fixture *x, struct vfio_obj *dev, struct vfio_obj *f, const char *uuid)
{
	struct abi_bind_iommufd b = { .argsz = sizeof(b), .iommufd = 5 };
	struct vfio_fd fd = { .fd = -1, .obj = f };

	if (uuid) {
		memcpy(x->ram, uuid, 16);
		b.flags = BIND_IOMMUFD_TOKEN;
	}
	return call_fds(x, dev, VFIO_DEVICE_BIND_IOMMUFD, &b, sizeof(b), &fd, 1);
}

static void tokens_of_files(void **state)
{
	struct fixture *x = *state;
	struct vfio_obj *f = open_iommufd(x), *pf = open_cdev(x, PF), *vf;

	assert_int_equal(bind_token(x, pf, f, UUID), 0);
	assert_int_equal(bus_sriov_set(x->bus, x->pf, 1, NULL), 0);
	vf = open_cdev(x, VF0);
	/* Before the iommufd is looked at. */
	assert_int_equal(bind_token(x, vf, NULL, NULL), -EACCES);
	assert_int_equal(bind_token(x, vf, f, "0123456789abcdef"), -EACCES);
	assert_int_equal(bind_token(x, vf, f, UUID), 0);
	/* With a VF in use, the PF asks for it too. */
	vfio_obj_put(pf);
	pf = open_cdev(x, PF);
	assert_int_equal(bind_token(x, pf, f, NULL), -EACCES);
	assert_int_equal(bind_token(x, pf, f, UUID), 0);
	vfio_obj_put(vf);
	vfio_obj_put(pf);
	vfio_obj_put(f);
}

static int reset_info(struct fixture *x, struct vfio_obj *dev, uint32_t *flags, uint32_t ids[2])
{
	struct {
		struct vfio_pci_hot_reset_info head;
		struct vfio_pci_dependent_device dev[4];
	} i = { .head = { .argsz = sizeof(i) } };
	int ret = call(x, dev, VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, &i, sizeof(i));

	if (ret)
		return ret;
	assert_int_equal(i.head.count, 2);
	*flags = i.head.flags;
	ids[0] = i.dev[0].group_id;
	ids[1] = i.dev[1].group_id;
	return 0;
}

static void hot_reset_by_number(void **state)
{
	struct fixture *x = *state;
	struct vfio_obj *f = open_iommufd(x), *one = open_bound(x, PLAIN, f), *two;
	struct vfio_pci_hot_reset h = { .argsz = sizeof(h) };
	struct model *m = pcif_state(x->plain), *m2 = pcif_state(find(x, PLAIN2));
	unsigned resets, resets2;
	uint32_t flags, ids[2];

	/* The other function is of a group that is ours. */
	assert_int_equal(reset_info(x, one, &flags, ids), 0);
	assert_int_equal(flags, 3);
	assert_int_equal(ids[0], 1);
	assert_int_equal(ids[1], 0);
	two = open_bound(x, PLAIN2, f);
	assert_int_equal(reset_info(x, one, &flags, ids), 0);
	assert_int_equal(ids[1], 2);
	resets = m->resets;
	resets2 = m2->resets;
	assert_int_equal(call(x, one, VFIO_DEVICE_PCI_HOT_RESET, &h, sizeof(h)), 0);
	assert_int_equal(m->resets, resets + 1);
	assert_int_equal(m2->resets, resets2 + 1);
	/* No list of groups. */
	struct {
		struct vfio_pci_hot_reset h;
		int32_t fd;
	} list = { { .argsz = sizeof(list), .count = 1 }, 1 };

	assert_int_equal(call(x, one, VFIO_DEVICE_PCI_HOT_RESET, &list, sizeof(list)), -EINVAL);
	vfio_obj_put(two);
	/* The host has it now: nobody's. */
	assert_int_equal(bus_unbind(x->bus, NULL, pcif_bdf(find(x, PLAIN2)), NULL), 0);
	assert_int_equal(reset_info(x, one, &flags, ids), 0);
	assert_int_equal(flags, 1);
	assert_int_equal(ids[1], UINT32_MAX);
	assert_int_equal(call(x, one, VFIO_DEVICE_PCI_HOT_RESET, &h, sizeof(h)), -EINVAL);
	vfio_obj_put(one);
	vfio_obj_put(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(indexes, setup, teardown),
		cmocka_unit_test_setup_teardown(unbound, setup, teardown),
		cmocka_unit_test_setup_teardown(bind_checks, setup, teardown),
		cmocka_unit_test_setup_teardown(group_or_device, setup, teardown),
		cmocka_unit_test_setup_teardown(ownership, setup, teardown),
		cmocka_unit_test_setup_teardown(attach_checks, setup, teardown),
		cmocka_unit_test_setup_teardown(group_attach, setup, teardown),
		cmocka_unit_test_setup_teardown(unbinding_waits, setup, teardown),
		cmocka_unit_test_setup_teardown(tokens_of_files, setup, teardown),
		cmocka_unit_test_setup_teardown(hot_reset_by_number, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
