/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The wire of NVM Express 1.4: register offsets and fields, queue entries, data structures, status
 * codes. Everything here is what a host reads or writes; nothing of the model's own state.
 *
 * Relies on the little-endian types of base. Section numbers are those of the NVM Express Base
 * Specification 1.4.
 */
#ifndef UVFIO_DEVICE_NVME_NVME_H
#define UVFIO_DEVICE_NVME_NVME_H

#include "base/base.h"

/* ------------------------------------------------------------------ registers (3.1) */

#define NVMED_REG_CAP 0x00
#define NVMED_REG_VS 0x08
#define NVMED_REG_INTMS 0x0c
#define NVMED_REG_INTMC 0x10
#define NVMED_REG_CC 0x14
#define NVMED_REG_CSTS 0x1c
#define NVMED_REG_NSSR 0x20
#define NVMED_REG_AQA 0x24
#define NVMED_REG_ASQ 0x28
#define NVMED_REG_ACQ 0x30
#define NVMED_DOORBELLS 0x1000

#define NVMED_VERSION 0x00010400u
#define NVMED_NSSR_MAGIC 0x4e564d65u /* "NVMe" */

#define NVMED_CC_EN BIT(0)
#define NVMED_CC_CSS(cc) ((cc) >> 4 & 7)
#define NVMED_CC_MPS(cc) ((cc) >> 7 & 15)
#define NVMED_CC_AMS(cc) ((cc) >> 11 & 7)
#define NVMED_CC_SHN(cc) ((cc) >> 14 & 3)
#define NVMED_CC_IOSQES(cc) ((cc) >> 16 & 15)
#define NVMED_CC_IOCQES(cc) ((cc) >> 20 & 15)
#define NVMED_CC_WMASK 0x00fffff1u

#define NVMED_CSTS_RDY BIT(0)
#define NVMED_CSTS_CFS BIT(1)
#define NVMED_CSTS_SHST_BUSY (1u << 2)
#define NVMED_CSTS_SHST_DONE (2u << 2)
#define NVMED_CSTS_SHST_MASK (3u << 2)
#define NVMED_CSTS_NSSRO BIT(4)

/* ------------------------------------------------------------------ queue entries (4.2, 4.6) */

#define NVMED_SQE_FUSE 0x03
#define NVMED_SQE_PSDT 0xc0

struct nvmed_sqe {
	uint8_t opcode;
	uint8_t flags;
	le16 cid;
	le32 nsid;
	le32 cdw2, cdw3;
	le64 mptr;
	le64 prp1, prp2;
	le32 cdw10, cdw11, cdw12, cdw13, cdw14, cdw15;
};
_Static_assert(sizeof(struct nvmed_sqe) == 64, "submission queue entry");

struct nvmed_cqe {
	le32 dw0, dw1;
	le16 sq_head, sq_id;
	le16 cid;
	le16 status; /* phase in bit 0 */
};
_Static_assert(sizeof(struct nvmed_cqe) == 16, "completion queue entry");

/* ------------------------------------------------------------------ status (4.6.1) */

#define NVMED_STATUS_MORE 0x2000u
#define NVMED_STATUS_DNR 0x4000u

enum nvmed_status {
	NVMED_OK = 0x000,
	NVMED_INVALID_OPCODE = 0x001,
	NVMED_INVALID_FIELD = 0x002,
	NVMED_DATA_TRANSFER_ERROR = 0x004,
	NVMED_INTERNAL_ERROR = 0x006,
	NVMED_ABORT_REQUESTED = 0x007,
	NVMED_INVALID_NAMESPACE = 0x00b,
	NVMED_COMMAND_SEQUENCE = 0x00c,
	NVMED_INVALID_PRP_OFFSET = 0x013,
	NVMED_NS_WRITE_PROTECTED = 0x020,
	NVMED_LBA_OUT_OF_RANGE = 0x080,
	NVMED_CAPACITY_EXCEEDED = 0x081,
	NVMED_CQ_INVALID = 0x100,
	NVMED_INVALID_QUEUE_ID = 0x101,
	NVMED_INVALID_QUEUE_SIZE = 0x102,
	NVMED_AER_LIMIT = 0x105,
	NVMED_INVALID_VECTOR = 0x108,
	NVMED_INVALID_LOG_PAGE = 0x109,
	NVMED_INVALID_QUEUE_DELETION = 0x10c,
	NVMED_FEATURE_NOT_SAVEABLE = 0x10d,
	NVMED_WRITE_FAULT = 0x280,
	NVMED_READ_ERROR = 0x281,
	NVMED_COMPARE_FAILURE = 0x285,
};

/* ------------------------------------------------------------------ opcodes (5, 6) */

enum nvmed_admin_opcode {
	NVMED_ADMIN_DELETE_SQ = 0x00,
	NVMED_ADMIN_CREATE_SQ = 0x01,
	NVMED_ADMIN_GET_LOG = 0x02,
	NVMED_ADMIN_DELETE_CQ = 0x04,
	NVMED_ADMIN_CREATE_CQ = 0x05,
	NVMED_ADMIN_IDENTIFY = 0x06,
	NVMED_ADMIN_ABORT = 0x08,
	NVMED_ADMIN_SET_FEATURES = 0x09,
	NVMED_ADMIN_GET_FEATURES = 0x0a,
	NVMED_ADMIN_ASYNC_EVENT = 0x0c,
};

enum nvmed_io_opcode {
	NVMED_IO_FLUSH = 0x00,
	NVMED_IO_WRITE = 0x01,
	NVMED_IO_READ = 0x02,
	NVMED_IO_COMPARE = 0x05,
	NVMED_IO_WRITE_ZEROES = 0x08,
	NVMED_IO_DSM = 0x09,
	NVMED_IO_VERIFY = 0x0c,
};

#define NVMED_RW_FUA BIT(30)
#define NVMED_WZ_DEAC BIT(25)
#define NVMED_DSM_AD BIT(2)

struct nvmed_dsm_range {
	le32 attributes;
	le32 blocks;
	le64 lba;
};
_Static_assert(sizeof(struct nvmed_dsm_range) == 16, "dataset management range");

/* ------------------------------------------------------------------ identify (5.15) */

struct nvmed_power_state {
	le16 max_power; /* centiwatts */
	uint8_t rsvd2, flags;
	le32 entry_latency, exit_latency; /* microseconds */
	uint8_t relative[4];
	uint8_t rsvd16[16];
};
_Static_assert(sizeof(struct nvmed_power_state) == 32, "power state descriptor");

struct nvmed_id_ctrl {
	le16 vid, ssvid;
	char sn[20];
	char mn[40];
	char fr[8];
	uint8_t rab;
	uint8_t ieee[3];
	uint8_t cmic;
	uint8_t mdts;
	le16 cntlid;
	le32 ver;
	le32 rtd3r, rtd3e;
	le32 oaes;
	le32 ctratt;
	le16 rrls;
	uint8_t rsvd102[9];
	uint8_t cntrltype;
	uint8_t fguid[16];
	le16 crdt[3];
	uint8_t rsvd134[122];
	le16 oacs;
	uint8_t acl, aerl;
	uint8_t frmw, lpa;
	uint8_t elpe, npss;
	uint8_t avscc, apsta;
	le16 wctemp, cctemp;
	le16 mtfa;
	le32 hmpre, hmmin;
	le64 tnvmcap[2], unvmcap[2];
	le32 rpmbs;
	le16 edstt;
	uint8_t dsto, fwug;
	le16 kas;
	le16 hctma, mntmt, mxtmt;
	le32 sanicap;
	le32 hmminds;
	le16 hmmaxd;
	le16 nsetidmax, endgidmax;
	uint8_t anatt, anacap;
	le32 anagrpmax, nanagrpid;
	le32 pels;
	uint8_t rsvd356[156];
	uint8_t sqes, cqes;
	le16 maxcmd;
	le32 nn;
	le16 oncs;
	le16 fuses;
	uint8_t fna, vwc;
	le16 awun, awupf;
	uint8_t nvscc, nwpc;
	le16 acwu;
	uint8_t rsvd534[2];
	le32 sgls;
	le32 mnan;
	uint8_t rsvd544[224];
	char subnqn[256];
	uint8_t rsvd1024[1024];
	struct nvmed_power_state psd[32];
	uint8_t vendor[1024];
} __attribute__((packed));
_Static_assert(sizeof(struct nvmed_id_ctrl) == 4096, "identify controller");
_Static_assert(offsetof(struct nvmed_id_ctrl, oacs) == 256, "identify controller: OACS");
_Static_assert(offsetof(struct nvmed_id_ctrl, sqes) == 512, "identify controller: SQES");
_Static_assert(offsetof(struct nvmed_id_ctrl, subnqn) == 768, "identify controller: SUBNQN");

struct nvmed_lba_format {
	le16 ms;
	uint8_t lbads, rp;
};

struct nvmed_id_ns {
	le64 nsze, ncap, nuse;
	uint8_t nsfeat, nlbaf, flbas, mc, dpc, dps, nmic, rescap, fpi, dlfeat;
	le16 nawun, nawupf, nacwu, nabsn, nabo, nabspf, noiob;
	le64 nvmcap[2];
	le16 npwg, npwa, npdg, npda, nows;
	uint8_t rsvd74[18];
	le32 anagrpid;
	uint8_t rsvd96[3];
	uint8_t nsattr;
	le16 nvmsetid, endgid;
	uint8_t nguid[16];
	uint8_t eui64[8];
	struct nvmed_lba_format lbaf[16];
	uint8_t rsvd192[192];
	uint8_t vendor[3712];
} __attribute__((packed));
_Static_assert(sizeof(struct nvmed_id_ns) == 4096, "identify namespace");
_Static_assert(offsetof(struct nvmed_id_ns, nguid) == 104, "identify namespace: NGUID");

/* ------------------------------------------------------------------ log pages (5.14) */

struct nvmed_error_entry {
	le64 count;
	le16 sqid, cid;
	le16 status; /* as in the completion, phase included */
	le16 location;
	le64 lba;
	le32 nsid;
	uint8_t vendor, trtype;
	uint8_t rsvd30[2];
	le64 specific;
	uint8_t rsvd40[24];
};
_Static_assert(sizeof(struct nvmed_error_entry) == 64, "error log entry");

struct nvmed_smart {
	uint8_t critical_warning;
	uint8_t temperature[2]; /* kelvin */
	uint8_t spare, spare_threshold, used;
	uint8_t endurance_warning;
	uint8_t rsvd7[25];
	le64 data_units_read[2], data_units_written[2];
	le64 host_reads[2], host_writes[2];
	le64 busy_minutes[2];
	le64 power_cycles[2];
	le64 power_on_hours[2];
	le64 unsafe_shutdowns[2];
	le64 media_errors[2];
	le64 error_entries[2];
	le32 warning_minutes, critical_minutes;
	le16 sensors[8];
	le32 thermal[4];
	uint8_t rsvd232[280];
};
_Static_assert(sizeof(struct nvmed_smart) == 512, "SMART log");

struct nvmed_firmware_log {
	uint8_t active;
	uint8_t rsvd1[7];
	char slot[7][8];
	uint8_t rsvd64[448];
};
_Static_assert(sizeof(struct nvmed_firmware_log) == 512, "firmware slot log");

struct nvmed_effects_log {
	le32 admin[256];
	le32 io[256];
	uint8_t rsvd[2048];
};
_Static_assert(sizeof(struct nvmed_effects_log) == 4096, "commands supported and effects log");

#define NVMED_EFFECT_SUPPORTED BIT(0)
#define NVMED_EFFECT_DATA BIT(1) /* logical block content changes */

/* ------------------------------------------------------------------ asynchronous events (5.2) */

enum nvmed_event_type { NVMED_EVENT_ERROR = 0, NVMED_EVENT_SMART = 1, NVMED_EVENT_TYPES };

#define NVMED_EVENT_INVALID_DOORBELL 0 /* write to invalid doorbell register */
#define NVMED_EVENT_INVALID_VALUE 1    /* invalid doorbell write value */
#define NVMED_EVENT_TEMPERATURE 1

#define NVMED_LOG_ERROR 1
#define NVMED_LOG_SMART 2
#define NVMED_LOG_FIRMWARE 3
#define NVMED_LOG_EFFECTS 5

#endif
