/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Kernel interfaces that are younger than the headers we build with. Whether the running kernel
 * has them is found out at run time.
 * Source: include/uapi/linux/fs.h (PROCMAP_QUERY, Linux 6.11), linux/pidfd.h (PIDFD_THREAD, 6.9).
 */
#ifndef UVFIO_IOMMU_COMPAT_H
#define UVFIO_IOMMU_COMPAT_H

#include <assert.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdint.h>
#include <sys/ioctl.h>

/* Asks a /proc/PID/maps descriptor for one VMA. */
struct compat_procmap_query {
	uint64_t size;
	uint64_t query_flags;
	uint64_t query_addr;
	uint64_t vma_start;
	uint64_t vma_end; /* exclusive */
	uint64_t vma_flags;
	uint64_t vma_page_size;
	uint64_t vma_offset;
	uint64_t inode;
	uint32_t dev_major;
	uint32_t dev_minor;
	uint32_t vma_name_size;
	uint32_t build_id_size;
	uint64_t vma_name_addr;
	uint64_t build_id_addr;
};
static_assert(sizeof(struct compat_procmap_query) == 104, "layout of the kernel");

#define COMPAT_PROCMAP_QUERY _IOWR('f', 17, struct compat_procmap_query)
#define COMPAT_PROCMAP_READABLE 0x01u
#define COMPAT_PROCMAP_WRITABLE 0x02u
#define COMPAT_PROCMAP_SHARED 0x08u
#define COMPAT_PROCMAP_COVERING_OR_NEXT 0x10u

#define COMPAT_PIDFD_THREAD O_EXCL

#ifndef MFD_HUGE_SHIFT
#define MFD_HUGE_SHIFT 26
#endif

#endif
