/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What newer versions of linux/vfio.h define and Debian 12's (Linux 6.1) does not, and the sizes of
 * the ABI's structures as Linux 7.3 has them. Source: include/uapi/linux/vfio.h.
 */
#ifndef UVFIO_VFIO_COMPAT_H
#define UVFIO_VFIO_COMPAT_H

#include <linux/vfio.h>

#include "base/base.h"

#ifndef VFIO_DEVICE_BIND_IOMMUFD
#define VFIO_DEVICE_BIND_IOMMUFD _IO(VFIO_TYPE, VFIO_BASE + 18)
#define VFIO_DEVICE_ATTACH_IOMMUFD_PT _IO(VFIO_TYPE, VFIO_BASE + 19)
#define VFIO_DEVICE_DETACH_IOMMUFD_PT _IO(VFIO_TYPE, VFIO_BASE + 20)
#endif

#define BIND_IOMMUFD_TOKEN BIT(0)
#define ATTACH_IOMMUFD_PASID BIT(0)

/* Linux 7.3's, under names that no header has. */
struct abi_bind_iommufd {
	uint32_t argsz, flags;
	int32_t iommufd;
	uint32_t out_devid;
	uint64_t token_uuid_ptr; /* Linux 6.18 and later */
};
struct abi_attach_iommufd_pt {
	uint32_t argsz, flags;
	uint32_t pt_id;
	uint32_t pasid;
};
struct abi_detach_iommufd_pt {
	uint32_t argsz, flags;
	uint32_t pasid;
};

/* Of devices that are not opened through their group (Linux 6.6 and later). */
#define HOT_RESET_FLAG_DEV_ID BIT(0)
#define HOT_RESET_FLAG_DEV_ID_OWNED BIT(1)
#define HOT_RESET_DEVID_OWNED 0u
#define HOT_RESET_DEVID_NOT_OWNED UINT32_MAX

#ifndef VFIO_DEVICE_FEATURE_MIG_DATA_SIZE
#define VFIO_DEVICE_FEATURE_MIG_DATA_SIZE 9
#endif
/* Index numbers that no header of Debian 12 names. */
#define FEATURE_BUS_MASTER 10
#define FEATURE_DMA_BUF 11
#define FEATURE_MIG_PRECOPY_INFO_V2 12

/*
 * Linux 7.3 pads these two to a multiple of 8, older headers do not: work with these sizes and
 * never with sizeof.
 */
#define DEVICE_INFO_SIZE 24u
#define IOMMU_INFO_SIZE 24u

/* Capability chains are aligned to this (vfio_info_cap_add() since Linux 6.6). */
#define INFO_CAP_ALIGN 8u

/* ------------------------------------------------------------------ iommufd
 *
 * Debian 12 has no linux/iommufd.h. The first word of each structure is its size, and the ends are
 * open: see vfio_shape.known.
 */
#ifndef IOMMU_DESTROY
#define IOMMU_DESTROY _IO(VFIO_TYPE, 0x80)
#define IOMMU_IOAS_ALLOC _IO(VFIO_TYPE, 0x81)
#define IOMMU_IOAS_ALLOW_IOVAS _IO(VFIO_TYPE, 0x82)
#define IOMMU_IOAS_COPY _IO(VFIO_TYPE, 0x83)
#define IOMMU_IOAS_IOVA_RANGES _IO(VFIO_TYPE, 0x84)
#define IOMMU_IOAS_MAP _IO(VFIO_TYPE, 0x85)
#define IOMMU_IOAS_UNMAP _IO(VFIO_TYPE, 0x86)
#define IOMMU_OPTION _IO(VFIO_TYPE, 0x87)
#define IOMMU_VFIO_IOAS _IO(VFIO_TYPE, 0x88)
#define IOMMU_HWPT_ALLOC _IO(VFIO_TYPE, 0x89)
#define IOMMU_GET_HW_INFO _IO(VFIO_TYPE, 0x8a)
#define IOMMU_HWPT_SET_DIRTY_TRACKING _IO(VFIO_TYPE, 0x8b)
#define IOMMU_HWPT_GET_DIRTY_BITMAP _IO(VFIO_TYPE, 0x8c)
#define IOMMU_HWPT_INVALIDATE _IO(VFIO_TYPE, 0x8d)
#define IOMMU_FAULT_QUEUE_ALLOC _IO(VFIO_TYPE, 0x8e)
#define IOMMU_IOAS_MAP_FILE _IO(VFIO_TYPE, 0x8f)
#define IOMMU_VIOMMU_ALLOC _IO(VFIO_TYPE, 0x90)
#define IOMMU_VDEVICE_ALLOC _IO(VFIO_TYPE, 0x91)
#define IOMMU_IOAS_CHANGE_PROCESS _IO(VFIO_TYPE, 0x92)
#define IOMMU_VEVENTQ_ALLOC _IO(VFIO_TYPE, 0x93)
#define IOMMU_HW_QUEUE_ALLOC _IO(VFIO_TYPE, 0x94)
#endif

#define IOAS_MAP_FIXED_IOVA BIT(0)
#define IOAS_MAP_WRITEABLE BIT(1)
#define IOAS_MAP_READABLE BIT(2)
#define HWPT_ALLOC_DIRTY_TRACKING BIT(1)
#define HW_INFO_INPUT_TYPE BIT(0)
#define HW_CAP_DIRTY_TRACKING BIT(0)
#define HW_CAP_PCI_ATS_NOT_SUPPORTED BIT(3)
#define HWPT_DIRTY_TRACKING_ENABLE BIT(0)
#define HWPT_GET_DIRTY_NO_CLEAR BIT(0)
enum { OPTION_RLIMIT_MODE, OPTION_HUGE_PAGES };
enum { OPTION_SET, OPTION_GET };
enum { VFIO_IOAS_GET, VFIO_IOAS_SET, VFIO_IOAS_CLEAR };

struct abi_destroy {
	uint32_t size, id;
};
struct abi_ioas_alloc {
	uint32_t size, flags, out_ioas_id;
};
struct abi_iova_range {
	uint64_t start, last;
};
struct abi_iova_ranges { /* both of RANGES and ALLOW */
	uint32_t size, ioas_id, num_iovas, reserved;
	uint64_t allowed_iovas;
	uint64_t out_iova_alignment; /* not of ALLOW */
};
struct abi_ioas_map {
	uint32_t size, flags, ioas_id;
	int32_t fd; /* of MAP: reserved */
	uint64_t from, length, iova;
};
struct abi_ioas_copy {
	uint32_t size, flags, dst_ioas_id, src_ioas_id;
	uint64_t length, dst_iova, src_iova;
};
struct abi_ioas_unmap {
	uint32_t size, ioas_id;
	uint64_t iova, length;
};
struct abi_option {
	uint32_t size, option_id;
	uint16_t op, reserved;
	uint32_t object_id;
	uint64_t val64;
};
struct abi_vfio_ioas {
	uint32_t size, ioas_id;
	uint16_t op, reserved;
};
struct abi_hwpt_alloc {
	uint32_t size, flags, dev_id, pt_id, out_hwpt_id, reserved, data_type, data_len;
	uint64_t data_uptr;
	uint32_t fault_id, reserved2;
};
struct abi_hw_info {
	uint32_t size, flags, dev_id, data_len;
	uint64_t data_uptr;
	uint32_t data_type;
	uint8_t out_max_pasid_log2, reserved[3];
	uint64_t out_capabilities;
};
struct abi_dirty_tracking {
	uint32_t size, flags, hwpt_id, reserved;
};
struct abi_dirty_bitmap {
	uint32_t size, hwpt_id, flags, reserved;
	uint64_t iova, length, page_size, data;
};
struct abi_hwpt_invalidate {
	uint32_t size, hwpt_id;
	uint64_t data_uptr;
	uint32_t data_type, entry_len, entry_num, reserved;
};
struct abi_change_process {
	uint32_t size, reserved;
};

_Static_assert(sizeof(struct abi_iova_ranges) == 32, "ABI");
_Static_assert(sizeof(struct abi_ioas_map) == 40, "ABI");
_Static_assert(sizeof(struct abi_ioas_copy) == 40, "ABI");
_Static_assert(sizeof(struct abi_ioas_unmap) == 24, "ABI");
_Static_assert(sizeof(struct abi_option) == 24, "ABI");
_Static_assert(sizeof(struct abi_vfio_ioas) == 12, "ABI");
_Static_assert(sizeof(struct abi_hwpt_alloc) == 48, "ABI");
_Static_assert(sizeof(struct abi_hw_info) == 40, "ABI");
_Static_assert(sizeof(struct abi_dirty_bitmap) == 48, "ABI");
_Static_assert(sizeof(struct abi_hwpt_invalidate) == 32, "ABI");
_Static_assert(sizeof(struct abi_bind_iommufd) == 24, "ABI");

_Static_assert(sizeof(struct vfio_group_status) == 8, "ABI");
_Static_assert(sizeof(struct vfio_region_info) == 32, "ABI");
_Static_assert(sizeof(struct vfio_irq_info) == 16, "ABI");
_Static_assert(sizeof(struct vfio_irq_set) == 20, "ABI");
_Static_assert(sizeof(struct vfio_pci_hot_reset_info) == 12, "ABI");
_Static_assert(sizeof(struct vfio_pci_dependent_device) == 8, "ABI");
_Static_assert(sizeof(struct vfio_pci_hot_reset) == 12, "ABI");
_Static_assert(sizeof(struct vfio_device_ioeventfd) == 32, "ABI");
_Static_assert(sizeof(struct vfio_device_feature) == 8, "ABI");
_Static_assert(sizeof(struct vfio_iommu_type1_dma_map) == 32, "ABI");
_Static_assert(sizeof(struct vfio_iommu_type1_dma_unmap) == 24, "ABI");
_Static_assert(sizeof(struct vfio_iommu_type1_dirty_bitmap) == 8, "ABI");
_Static_assert(sizeof(struct vfio_iommu_type1_dirty_bitmap_get) == 40, "ABI");
_Static_assert(sizeof(struct vfio_bitmap) == 24, "ABI");
_Static_assert(sizeof(struct vfio_info_cap_header) == 8, "ABI");
_Static_assert(sizeof(struct vfio_iommu_type1_info_cap_migration) == 32, "ABI");
_Static_assert(offsetof(struct vfio_iommu_type1_info, cap_offset) == 16, "ABI");
_Static_assert(offsetof(struct vfio_device_info, cap_offset) == 16, "ABI");

#endif
