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
