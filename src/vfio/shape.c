/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The requests: which there are on which kind of object, how their argument looks, who handles
 * them. Numbers overlap between the kinds (0x3b70 is three different requests).
 * docs/abi-coverage.md has a row for each.
 */
#include "vfio/priv.h"

#define SET_IRQS_MAX (sizeof(struct vfio_irq_set) + PCIF_MAX_VECTORS * sizeof(int32_t))
/* A bus segment holds at most 256 buses of 256 functions; a list longer than this is not asked. */
#define HOT_RESET_INFO_MAX                                                                         \
	(sizeof(struct vfio_pci_hot_reset_info) + 1024 * sizeof(struct vfio_pci_dependent_device))
#define HOT_RESET_MAX (sizeof(struct vfio_pci_hot_reset) + 1024 * sizeof(int32_t))

#define ROW(kind, request, arg, min, max, handler)                                                 \
	{                                                                                          \
		VFIO_KIND_##kind, request, { #request, VFIO_ARG_##arg, min, max, 0 }, handler      \
	}

/* A client of a later kernel may say more: this much, in all. */
#define EXTENDED_MAX 4096u
#define EXTENSIBLE(kind, request, min, known, handler)                                             \
	{                                                                                          \
		VFIO_KIND_##kind, request, { #request, VFIO_ARG_ARGSZ, min, EXTENDED_MAX, known }, \
			handler                                                                    \
	}

static const struct request requests[] = {
	ROW(CONTAINER, VFIO_GET_API_VERSION, NONE, 0, 0, container_get_api_version),
	ROW(CONTAINER, VFIO_CHECK_EXTENSION, VALUE, 0, 0, container_check_extension),
	ROW(CONTAINER, VFIO_SET_IOMMU, VALUE, 0, 0, container_set_iommu),
	ROW(CONTAINER, VFIO_IOMMU_GET_INFO, ARGSZ, 16, 256, type1_get_info),
	ROW(CONTAINER, VFIO_IOMMU_MAP_DMA, ARGSZ, 32, 32, type1_map_dma),
	ROW(CONTAINER, VFIO_IOMMU_UNMAP_DMA, ARGSZ, 24, 48, type1_unmap_dma),
	ROW(CONTAINER, VFIO_IOMMU_ENABLE, NONE, 0, 0, container_no_backend_request),
	ROW(CONTAINER, VFIO_IOMMU_DISABLE, NONE, 0, 0, container_no_backend_request),
	ROW(CONTAINER, VFIO_IOMMU_DIRTY_PAGES, ARGSZ, 8, 48, type1_dirty_pages),

	ROW(GROUP, VFIO_GROUP_GET_STATUS, ARGSZ, 8, 8, group_get_status),
	ROW(GROUP, VFIO_GROUP_SET_CONTAINER, INT, 4, 4, group_set_container),
	ROW(GROUP, VFIO_GROUP_UNSET_CONTAINER, NONE, 0, 0, group_unset_container),
	ROW(GROUP, VFIO_GROUP_GET_DEVICE_FD, STRING, 1, 4096, group_get_device_fd),

	ROW(DEVICE, VFIO_DEVICE_GET_INFO, ARGSZ, 16, DEVICE_INFO_SIZE, device_get_info),
	ROW(DEVICE, VFIO_DEVICE_GET_REGION_INFO, ARGSZ, 32, 256, device_get_region_info),
	ROW(DEVICE, VFIO_DEVICE_GET_IRQ_INFO, ARGSZ, 16, 16, device_get_irq_info),
	ROW(DEVICE, VFIO_DEVICE_SET_IRQS, ARGSZ, 20, SET_IRQS_MAX, device_set_irqs),
	ROW(DEVICE, VFIO_DEVICE_RESET, NONE, 0, 0, device_reset),
	ROW(DEVICE, VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, ARGSZ, 12, HOT_RESET_INFO_MAX,
	    device_get_hot_reset_info),
	ROW(DEVICE, VFIO_DEVICE_PCI_HOT_RESET, ARGSZ, 12, HOT_RESET_MAX, device_hot_reset),
	ROW(DEVICE, VFIO_DEVICE_IOEVENTFD, ARGSZ, 28, 32, device_ioeventfd),
	ROW(DEVICE, VFIO_DEVICE_FEATURE, ARGSZ, 8, 64, device_feature),
	EXTENSIBLE(DEVICE, VFIO_DEVICE_BIND_IOMMUFD, 16, 24, device_bind_iommufd),
	ROW(DEVICE, VFIO_DEVICE_ATTACH_IOMMUFD_PT, ARGSZ, 12, 16, device_attach_pt),
	ROW(DEVICE, VFIO_DEVICE_DETACH_IOMMUFD_PT, ARGSZ, 8, 12, device_detach_pt),

	EXTENSIBLE(IOMMUFD, IOMMU_DESTROY, 8, 8, iommufd_destroy),
	EXTENSIBLE(IOMMUFD, IOMMU_IOAS_ALLOC, 12, 12, ioas_alloc),
	EXTENSIBLE(IOMMUFD, IOMMU_IOAS_ALLOW_IOVAS, 24, 24, ioas_allow_iovas),
	EXTENSIBLE(IOMMUFD, IOMMU_IOAS_COPY, 40, 40, ioas_copy),
	EXTENSIBLE(IOMMUFD, IOMMU_IOAS_IOVA_RANGES, 32, 32, ioas_iova_ranges),
	EXTENSIBLE(IOMMUFD, IOMMU_IOAS_MAP, 40, 40, ioas_map_memory),
	EXTENSIBLE(IOMMUFD, IOMMU_IOAS_UNMAP, 24, 24, ioas_unmap_iova),
	EXTENSIBLE(IOMMUFD, IOMMU_OPTION, 24, 24, iommufd_option),
	EXTENSIBLE(IOMMUFD, IOMMU_VFIO_IOAS, 12, 12, iommufd_vfio_ioas),
	EXTENSIBLE(IOMMUFD, IOMMU_HWPT_ALLOC, 24, 48, hwpt_alloc),
	EXTENSIBLE(IOMMUFD, IOMMU_GET_HW_INFO, 32, 40, hwpt_hw_info),
	EXTENSIBLE(IOMMUFD, IOMMU_HWPT_SET_DIRTY_TRACKING, 16, 16, hwpt_set_dirty_tracking),
	EXTENSIBLE(IOMMUFD, IOMMU_HWPT_GET_DIRTY_BITMAP, 48, 48, hwpt_get_dirty_bitmap),
	EXTENSIBLE(IOMMUFD, IOMMU_HWPT_INVALIDATE, 32, 32, hwpt_invalidate),
	EXTENSIBLE(IOMMUFD, IOMMU_FAULT_QUEUE_ALLOC, 16, 16, iommufd_not_offered),
	EXTENSIBLE(IOMMUFD, IOMMU_IOAS_MAP_FILE, 40, 40, ioas_map_file),
	EXTENSIBLE(IOMMUFD, IOMMU_VIOMMU_ALLOC, 24, 40, iommufd_not_offered),
	EXTENSIBLE(IOMMUFD, IOMMU_VDEVICE_ALLOC, 24, 24, iommufd_not_offered),
	EXTENSIBLE(IOMMUFD, IOMMU_IOAS_CHANGE_PROCESS, 8, 8, iommufd_not_offered),
	EXTENSIBLE(IOMMUFD, IOMMU_VEVENTQ_ALLOC, 32, 32, iommufd_not_offered),
	EXTENSIBLE(IOMMUFD, IOMMU_HW_QUEUE_ALLOC, 40, 40, iommufd_not_offered),
	/* In the place of a container. */
	ROW(IOMMUFD, VFIO_GET_API_VERSION, NONE, 0, 0, container_get_api_version),
	ROW(IOMMUFD, VFIO_CHECK_EXTENSION, VALUE, 0, 0, compat_check_extension),
	ROW(IOMMUFD, VFIO_SET_IOMMU, VALUE, 0, 0, compat_set_iommu),
	ROW(IOMMUFD, VFIO_IOMMU_GET_INFO, ARGSZ, 16, 256, compat_get_info),
	ROW(IOMMUFD, VFIO_IOMMU_MAP_DMA, ARGSZ, 32, 32, compat_map_dma),
	ROW(IOMMUFD, VFIO_IOMMU_UNMAP_DMA, ARGSZ, 24, 24, compat_unmap_dma),
};

const struct request *request_find(enum vfio_kind kind, uint32_t request)
{
	for (size_t i = 0; i < ARRAY_SIZE(requests); i++)
		if (requests[i].kind == kind && requests[i].request == request)
			return &requests[i];
	return NULL;
}

const struct vfio_shape *vfio_shape(enum vfio_kind kind, uint32_t request)
{
	const struct request *r = request_find(kind, request);

	return r ? &r->shape : NULL;
}

static size_t irq_set_size(const struct vfio_irq_set *set)
{
	size_t unit = 0;

	if (set->flags & VFIO_IRQ_SET_DATA_EVENTFD)
		unit = sizeof(int32_t);
	else if (set->flags & VFIO_IRQ_SET_DATA_BOOL)
		unit = sizeof(uint8_t);
	return MIN(set->argsz, sizeof(*set) + set->count * unit);
}

size_t vfio_call_takes(enum vfio_kind kind, uint32_t request, const void *head)
{
	const struct vfio_shape *shape = vfio_shape(kind, request);
	struct vfio_pci_hot_reset hot;
	struct vfio_irq_set set;
	uint32_t argsz;
	size_t size;

	memcpy(&argsz, head, sizeof(argsz));
	size = argsz;
	if (kind != VFIO_KIND_DEVICE && request == VFIO_IOMMU_GET_INFO)
		size = 0;
	if (kind == VFIO_KIND_DEVICE) {
		switch (request) {
		case VFIO_DEVICE_GET_INFO:
		case VFIO_DEVICE_GET_REGION_INFO:
		case VFIO_DEVICE_GET_PCI_HOT_RESET_INFO:
			size = 0;
			break;
		case VFIO_DEVICE_SET_IRQS:
			memcpy(&set, head, sizeof(set));
			size = irq_set_size(&set);
			break;
		case VFIO_DEVICE_PCI_HOT_RESET:
			/* The list is as long as its count says. */
			memcpy(&hot, head, sizeof(hot));
			size = sizeof(hot) + (size_t)hot.count * sizeof(int32_t);
			break;
		}
	}
	return MIN(MAX(size, (size_t)shape->min), (size_t)shape->max);
}

static unsigned irq_fds(const void *data, size_t size, size_t *offset)
{
	struct vfio_irq_set set;

	if (size < sizeof(set))
		return 0;
	memcpy(&set, data, sizeof(set));
	if ((set.flags & VFIO_IRQ_SET_DATA_TYPE_MASK) != VFIO_IRQ_SET_DATA_EVENTFD)
		return 0;
	*offset = sizeof(set);
	return MIN((size_t)set.count, (size - sizeof(set)) / sizeof(int32_t));
}

static unsigned hot_reset_fds(const void *data, size_t size, size_t *offset)
{
	struct vfio_pci_hot_reset h;

	if (size < sizeof(h))
		return 0;
	memcpy(&h, data, sizeof(h));
	*offset = sizeof(h);
	return MIN((size_t)h.count, (size - sizeof(h)) / sizeof(int32_t));
}

static unsigned feature_fds(const void *data, size_t size, size_t *offset)
{
	struct vfio_device_feature h;

	if (size < sizeof(h) + sizeof(int32_t))
		return 0;
	memcpy(&h, data, sizeof(h));
	if ((h.flags & VFIO_DEVICE_FEATURE_MASK) != VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP)
		return 0;
	if (h.flags & VFIO_DEVICE_FEATURE_PROBE)
		return 0;
	*offset = sizeof(h);
	return 1;
}

unsigned vfio_call_fds(enum vfio_kind kind, uint32_t request, const void *data, size_t size,
		       size_t *offset)
{
	if (kind == VFIO_KIND_GROUP && request == VFIO_GROUP_SET_CONTAINER) {
		*offset = 0;
		return size >= sizeof(int32_t);
	}
	if (kind == VFIO_KIND_IOMMUFD && request == IOMMU_IOAS_MAP_FILE) {
		*offset = offsetof(struct abi_ioas_map, fd);
		return size >= *offset + sizeof(int32_t);
	}
	if (kind != VFIO_KIND_DEVICE)
		return 0;
	switch (request) {
	case VFIO_DEVICE_BIND_IOMMUFD:
		*offset = offsetof(struct abi_bind_iommufd, iommufd);
		return size >= *offset + sizeof(int32_t);
	case VFIO_DEVICE_SET_IRQS:
		return irq_fds(data, size, offset);
	case VFIO_DEVICE_PCI_HOT_RESET:
		return hot_reset_fds(data, size, offset);
	case VFIO_DEVICE_FEATURE:
		return feature_fds(data, size, offset);
	case VFIO_DEVICE_IOEVENTFD:
		*offset = offsetof(struct vfio_device_ioeventfd, fd);
		return size >= *offset + sizeof(int32_t);
	default:
		return 0;
	}
}

bool vfio_call_memory(enum vfio_kind kind, uint32_t request)
{
	return kind == VFIO_KIND_CONTAINER || kind == VFIO_KIND_IOMMUFD ||
	       (kind == VFIO_KIND_DEVICE && request == VFIO_DEVICE_BIND_IOMMUFD);
}
