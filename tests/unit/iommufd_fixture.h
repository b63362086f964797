/* SPDX-License-Identifier: BSD-3-Clause */
/* What the tests of iommufds and of devices' own files share: short ways to make their requests. */
#ifndef UVFIO_TEST_IOMMUFD_FIXTURE_H
#define UVFIO_TEST_IOMMUFD_FIXTURE_H

#include "vfio_fixture.h"

/* The layouts are the product's own: no header of Debian 12 has them. */
#include "vfio/compat.h"

#define PAGE UVF_PAGE_SIZE
#define R IOAS_MAP_READABLE
#define W IOAS_MAP_WRITEABLE
#define FIXED IOAS_MAP_FIXED_IOVA

static inline struct vfio_obj *open_iommufd(struct fixture *x)
{
	struct vfio_obj *f;

	assert_int_equal(vfio_open_iommufd(x->v, &f), 0);
	return f;
}

static inline uint32_t ioas(struct fixture *x, struct vfio_obj *f)
{
	struct abi_ioas_alloc cmd = { .size = sizeof(cmd) };

	assert_int_equal(call(x, f, IOMMU_IOAS_ALLOC, &cmd, sizeof(cmd)), 0);
	return cmd.out_ioas_id;
}

static inline int destroy(struct fixture *x, struct vfio_obj *f, uint32_t id)
{
	struct abi_destroy cmd = { sizeof(cmd), id };

	return call(x, f, IOMMU_DESTROY, &cmd, sizeof(cmd));
}

static inline int map(struct fixture *x, struct vfio_obj *f, uint32_t id, uint32_t flags,
		      uint64_t va, uint64_t length, uint64_t *iova)
{
	struct abi_ioas_map m = { sizeof(m), flags, id, 0, va, length, *iova };
	int ret = call(x, f, IOMMU_IOAS_MAP, &m, sizeof(m));

	if (!ret)
		*iova = m.iova;
	return ret;
}

static inline int unmap(struct fixture *x, struct vfio_obj *f, uint32_t id, uint64_t iova,
			uint64_t length, uint64_t *removed)
{
	struct abi_ioas_unmap u = { sizeof(u), id, iova, length };
	int ret = call(x, f, IOMMU_IOAS_UNMAP, &u, sizeof(u));

	if (!ret)
		*removed = u.length;
	return ret;
}

static inline int allow_pairs(struct fixture *x, struct vfio_obj *f, uint32_t id, unsigned n,
			      const uint64_t *pairs)
{
	struct abi_iova_ranges cmd = { .size = 24, .ioas_id = id, .num_iovas = n };

	memcpy(x->ram, pairs, n * sizeof(struct abi_iova_range));
	return call(x, f, IOMMU_IOAS_ALLOW_IOVAS, &cmd, 24);
}
/* @n pairs follow. */
#define allow(x, f, id, n, ...) allow_pairs(x, f, id, n, (const uint64_t[2 * n + 1]){ __VA_ARGS__ })

static inline uint32_t new_hwpt(struct fixture *x, struct vfio_obj *f, uint32_t devid, uint32_t id,
				uint32_t flags)
{
	struct abi_hwpt_alloc cmd = {
		.size = sizeof(cmd), .flags = flags, .dev_id = devid, .pt_id = id
	};

	assert_int_equal(call(x, f, IOMMU_HWPT_ALLOC, &cmd, sizeof(cmd)), 0);
	return cmd.out_hwpt_id;
}

static inline struct vfio_obj *open_cdev(struct fixture *x, const char *bdf)
{
	struct vfio_cdev c;
	struct vfio_obj *dev;

	assert_true(vfio_cdev_of(x->v, find(x, bdf), &c));
	assert_int_equal(vfio_open_cdev(x->v, c.id, 1, &dev), 0);
	return dev;
}

/* @f: NULL: a descriptor that is nothing of ours. */
static inline int bind_cdev(struct fixture *x, struct vfio_obj *dev, struct vfio_obj *f,
			    uint32_t *devid)
{
	struct abi_bind_iommufd b = { .argsz = sizeof(b), .iommufd = 5 };
	struct vfio_fd fd = { .fd = f ? -1 : 1, .obj = f };
	int ret = call_fds(x, dev, VFIO_DEVICE_BIND_IOMMUFD, &b, sizeof(b), &fd, 1);

	if (!ret)
		*devid = b.out_devid;
	return ret;
}

static uint32_t last_devid;

static inline struct vfio_obj *open_bound(struct fixture *x, const char *bdf, struct vfio_obj *f)
{
	struct vfio_obj *dev = open_cdev(x, bdf);

	assert_int_equal(bind_cdev(x, dev, f, &last_devid), 0);
	return dev;
}

/* Of the device that was bound last. */
static inline uint32_t devid_of(struct fixture *x, const char *bdf)
{
	return last_devid;
}

static inline int attach(struct fixture *x, struct vfio_obj *dev, uint32_t *pt)
{
	struct abi_attach_iommufd_pt a = { .argsz = 12, .pt_id = *pt };
	int ret = call(x, dev, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &a, 12);

	*pt = a.pt_id;
	return ret;
}

static inline int detach(struct fixture *x, struct vfio_obj *dev)
{
	struct abi_detach_iommufd_pt d = { .argsz = 8 };

	return call(x, dev, VFIO_DEVICE_DETACH_IOMMUFD_PT, &d, 8);
}

/* DMA of the device, by what is mapped. */
static inline bool dma(struct fixture *x, const char *bdf, uint64_t iova, uint8_t value)
{
	uint8_t *page = x->ram + 8 * PAGE;

	*page = 0;
	if (pcif_dma_write(find(x, bdf), iova, &value, 1))
		return false;
	return true;
}

static inline void master(struct vfio_obj *dev)
{
	uint16_t cmd = 6;

	assert_int_equal(
		vfio_device_write(dev, &cmd, 2, region(VFIO_PCI_CONFIG_REGION_INDEX, PCI_COMMAND)),
		2);
}

#endif
