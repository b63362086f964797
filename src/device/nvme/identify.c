/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Identify: who the controller and its namespace are. Identifiers are derived from the serial
 * number and stay the same in every run, so that a guest finds its disk by-id again. Hosts refuse a
 * second controller with the same ones, so functions that may show one image have each its own.
 *
 * Follows NVM Express 1.4, section 5.15.
 */
#include "device/nvme/priv.h"

#define DW10 offsetof(struct nvmed_sqe, cdw10)
#define NSID offsetof(struct nvmed_sqe, nsid)
#define CNTLID 1

/* FNV-1a, 64 bits. */
static uint64_t hash(const char *text, uint64_t seed)
{
	uint64_t h = 0xcbf29ce484222325ull ^ seed;

	for (; *text; text++)
		h = (h ^ (uint8_t)*text) * 0x100000001b3ull;
	return h;
}

uint64_t nvmed_identify_hash(const char *text)
{
	return hash(text, 0);
}

void nvmed_identify_init(struct nvmed_ctrl *c, const char *serial)
{
	uint64_t id = c->disk->id, half[2];

	/* Memory is named after the place it has; so is what several can have open. */
	if (!id || c->disk->readonly)
		id = hash(pcif_name(c->f), id);
	if (serial)
		snprintf(c->serial, sizeof(c->serial), "%s", serial);
	else
		snprintf(c->serial, sizeof(c->serial), "UVF%016llX", (unsigned long long)id);
	half[0] = htole64(hash(c->serial, 1));
	half[1] = htole64(hash(c->serial, 2));
	memcpy(c->uuid, half, sizeof(c->uuid));
	c->uuid[6] = (c->uuid[6] & 0x0f) | 0x80; /* RFC 9562: version 8, our own scheme */
	c->uuid[8] = (c->uuid[8] & 0x3f) | 0x80;
}

/* An EUI-64 with the local bit set: no vendor's. The NGUID begins with it the same way. */
static void make_eui64(const struct nvmed_ctrl *c, uint8_t out[8])
{
	memcpy(out, c->uuid + 8, 8);
	out[0] = 0x02;
}

static void make_nguid(const struct nvmed_ctrl *c, uint8_t out[16])
{
	memcpy(out, c->uuid, 16);
	make_eui64(c, out + 8);
}

static void put_text(char *out, size_t size, const char *text)
{
	memset(out, ' ', size);
	memcpy(out, text, MIN(size, strlen(text)));
}

static void fill_controller(struct nvmed_ctrl *c, void *page)
{
	const struct pcif_desc *desc = pcif_desc(c->f);
	const uint8_t *u = c->uuid;
	struct nvmed_id_ctrl *id = page;

	id->vid = le16_make(desc->vendor);
	id->ssvid = le16_make(desc->subsystem_vendor);
	put_text(id->sn, sizeof(id->sn), c->serial);
	put_text(id->mn, sizeof(id->mn), "uvfio NVMe Controller");
	put_text(id->fr, sizeof(id->fr), UVFIO_VERSION);
	id->rab = 4;
	id->mdts = NVMED_MDTS;
	id->cntlid = le16_make(CNTLID);
	id->ver = le32_make(NVMED_VERSION);
	id->rtd3r = le32_make(1000000);
	id->rtd3e = le32_make(30000000);
	id->cntrltype = 1; /* I/O controller */
	id->acl = 3;
	id->aerl = NVMED_MAX_AER - 1;
	id->frmw = BIT(0) | 1 << 1; /* one slot, read-only */
	id->lpa = BIT(1) | BIT(2);  /* effects page; offsets and 32-bit lengths */
	id->elpe = NVMED_ERROR_ENTRIES - 1;
	id->wctemp = le16_make(NVMED_WCTEMP);
	id->cctemp = le16_make(NVMED_CCTEMP);
	id->tnvmcap[0] = le64_make(c->disk->size);
	id->sqes = 0x66;
	id->cqes = 0x44;
	id->nn = le32_make(1);
	/* Compare, Dataset Management, Write Zeroes, save and select fields, Verify */
	id->oncs = le16_make(BIT(0) | BIT(2) | BIT(3) | BIT(4) | BIT(7));
	id->vwc = BIT(0) | 3 << 1; /* present; Flush of all namespaces is understood */
	snprintf(id->subnqn, sizeof(id->subnqn),
		 "nqn.2014-08.org.nvmexpress:uuid:%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-"
		 "%02x%02x%02x%02x%02x%02x",
		 u[0], u[1], u[2], u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10], u[11], u[12],
		 u[13], u[14], u[15]);
	id->psd[0].max_power = le16_make(100); /* 1 W, as a figure of speech */
}

static void fill_namespace(struct nvmed_ctrl *c, void *page)
{
	uint64_t blocks = c->disk->size >> c->block_shift;
	/* What the image prefers: whole pages of the page cache. */
	uint16_t granule = (UVF_PAGE_SIZE >> c->block_shift) - 1;
	struct nvmed_id_ns *id = page;

	id->nsze = le64_make(blocks);
	id->ncap = id->nsze;
	id->nuse = id->nsze;
	id->nsfeat = BIT(4);	 /* NPWG and so on are valid */
	id->dlfeat = 1 | BIT(3); /* deallocated blocks read 0; Write Zeroes may deallocate */
	id->nvmcap[0] = le64_make(c->disk->size);
	id->npwg = id->npwa = id->npdg = id->npda = le16_make(granule);
	id->nows = le16_make(granule);
	id->nsattr = c->disk->readonly ? BIT(0) : 0;
	make_nguid(c, id->nguid);
	make_eui64(c, id->eui64);
	id->lbaf[0].lbads = c->block_shift;
}

/* Namespace identification descriptors: type, length, two reserved bytes, value. */
static void fill_descriptors(struct nvmed_ctrl *c, void *page)
{
	uint8_t *p = page;

	p[0] = 1;
	p[1] = 8;
	make_eui64(c, p + 4);
	p += 4 + 8;
	p[0] = 2;
	p[1] = 16;
	make_nguid(c, p + 4);
	p += 4 + 16;
	p[0] = 3;
	p[1] = 16;
	memcpy(p + 4, c->uuid, 16);
}

/* Of the one controller, if it is not below @first: number of entries, identifiers. */
static void fill_controllers(void *page, uint16_t first)
{
	le16 *list = page;

	if (first > CNTLID)
		return;
	list[0] = le16_make(1);
	list[1] = le16_make(CNTLID);
}

uint16_t nvmed_identify(struct nvmed_req *req, struct nvmed_scratch *s)
{
	struct nvmed_ctrl *c = req->ctrl;
	uint32_t nsid = le32_get(req->cmd.nsid);
	uint32_t dw10 = le32_get(req->cmd.cdw10);
	uint8_t page[4096];

	memset(page, 0, sizeof(page));
	switch (dw10 & 0xff) {
	case 0x00: /* namespace */
	case 0x11: /* allocated namespace: the same, for each is attached */
		if (nsid != 1)
			return nvmed_fail(req, NVMED_INVALID_NAMESPACE, NSID);
		fill_namespace(c, page);
		break;
	case 0x01: /* controller */
		fill_controller(c, page);
		break;
	case 0x02: /* active namespaces above NSID */
	case 0x10: /* allocated ones */
		if (nsid >= UINT32_MAX - 1)
			return nvmed_fail(req, NVMED_INVALID_NAMESPACE, NSID);
		page[0] = nsid < 1;
		break;
	case 0x03: /* namespace identification descriptors */
		if (nsid != 1)
			return nvmed_fail(req, NVMED_INVALID_NAMESPACE, NSID);
		fill_descriptors(c, page);
		break;
	case 0x12: /* controllers that the namespace is attached to */
		if (nsid == UINT32_MAX)
			return nvmed_fail(req, NVMED_INVALID_FIELD, NSID);
		if (nsid != 1)
			return nvmed_fail(req, NVMED_INVALID_NAMESPACE, NSID);
		fill_controllers(page, dw10 >> 16);
		break;
	case 0x13: /* controllers of the subsystem */
		fill_controllers(page, dw10 >> 16);
		break;
	default:
		return nvmed_fail(req, NVMED_INVALID_FIELD, DW10);
	}
	return nvmed_data_to_host(req, s, page, sizeof(page));
}
