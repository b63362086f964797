/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ioat: registers, states and descriptors of Intel's CBDMA engine, version 3.3, with one channel.
 * Names are those of the chipset datasheets.
 */
#ifndef UVFIO_DEVICE_IOAT_H
#define UVFIO_DEVICE_IOAT_H

#include "base/base.h"

/* CHANSTS, low bits; above them is the address of the last completed descriptor. */
enum { IOAT_ACTIVE, IOAT_IDLE, IOAT_SUSPENDED, IOAT_HALTED, IOAT_ARMED };

/* CHANCMD, the low byte of its word; DMACOUNT is the high half. */
#define IOAT_CMD_SUSPEND 0x04u
#define IOAT_CMD_ABORT 0x08u
#define IOAT_CMD_RESUME 0x10u
#define IOAT_CMD_RESET 0x20u

/* CHANCTRL */
#define IOAT_CTRL_INT_REARM 0x01u
#define IOAT_CTRL_ERR_COMPLETION 0x04u
#define IOAT_CTRL_ERR_INT 0x10u

/* INTRCTRL, the high byte of word 0 */
#define IOAT_INTR_MASTER BIT(24)
#define IOAT_INTR_STATUS BIT(25)
#define IOAT_INTR_INT BIT(26)
#define IOAT_INTR_MSIX BIT(27)

/* CHANERR */
#define IOAT_ERR_NEXT_ADDR 0x0004u
#define IOAT_ERR_NEXT_ALIGN 0x0008u
#define IOAT_ERR_CHAIN_ADDR 0x0010u
#define IOAT_ERR_READ_DATA 0x0100u
#define IOAT_ERR_WRITE_DATA 0x0200u
#define IOAT_ERR_CONTROL 0x0400u
#define IOAT_ERR_LENGTH 0x0800u
#define IOAT_ERR_COMPLETION_ADDR 0x1000u

/* A transfer has at most 1 << XFERCAP bytes. */
#define IOAT_XFERCAP 20u

enum { IOAT_OP_COPY, IOAT_OP_FILL };

#define IOAT_DESC_INT BIT(0)
#define IOAT_DESC_COMPLETION BIT(3)
#define IOAT_DESC_NULL BIT(5)
#define IOAT_DESC_OP_SHIFT 24

struct ioat_desc {
	le32 size, control;
	le64 source; /* of a fill: the pattern */
	le64 destination;
	le64 next;
	le64 unused[4];
};

#endif
