/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The vfio-user protocol, version 0.0, as it lies in messages: numbers of the host's byte order, no
 * padding but what is shown. Blocks that are those of linux/vfio.h are not repeated here.
 * Source: the protocol's specification, docs/interop/vfio-user.rst of QEMU.
 */
#ifndef UVFIO_DOOR_USER_WIRE_H
#define UVFIO_DOOR_USER_WIRE_H

#include <stdint.h>

/* Commands. From the client, save DMA_READ and DMA_WRITE. */
enum {
	USER_VERSION = 1,
	USER_DMA_MAP,
	USER_DMA_UNMAP,
	USER_GET_INFO,
	USER_GET_REGION_INFO,
	USER_GET_REGION_IO_FDS,
	USER_GET_IRQ_INFO,
	USER_SET_IRQS,
	USER_REGION_READ,
	USER_REGION_WRITE,
	USER_DMA_READ,
	USER_DMA_WRITE,
	USER_RESET,
	USER_REGION_WRITE_MULTI = 15,
	USER_FEATURE,
	USER_MIG_DATA_READ,
	USER_MIG_DATA_WRITE,
	USER_COMMANDS, /* one more than the last */
};

/* user_header.flags */
#define USER_TYPE 0xfu
#define USER_TYPE_COMMAND 0u
#define USER_TYPE_REPLY 1u
#define USER_NO_REPLY 0x10u
#define USER_ERROR 0x20u

struct user_header {
	uint16_t id, command;
	uint32_t size; /* of the message, this header included */
	uint32_t flags;
	uint32_t error; /* of a reply with USER_ERROR: an errno */
};

struct user_version {
	uint16_t major, minor;
	/* then JSON with a NUL, or nothing */
};

struct user_dma_map {
	uint32_t argsz, flags; /* as VFIO_DMA_MAP_FLAG_READ and _WRITE */
	uint64_t offset;       /* in the file that comes along, if one does */
	uint64_t address, size;
};

struct user_dma_unmap {
	uint32_t argsz, flags; /* as VFIO_DMA_UNMAP_FLAG_ALL */
	uint64_t address, size;
};

struct user_region_io {
	uint64_t offset;
	uint32_t region, count;
	/* then the data, of a write and of a read's reply */
};

struct user_write_multi {
	uint64_t count;
	struct user_single_write {
		uint64_t offset;
		uint32_t region, count;
		uint8_t data[8];
	} writes[];
};

struct user_dma {
	uint64_t address, count;
	/* then the data, of a write and of a read's reply */
};

struct user_region_io_fds {
	uint32_t argsz, flags, index, count;
};

#endif
