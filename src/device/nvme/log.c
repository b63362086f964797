/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Get Log Page, and the error log's entries. Pages are built when asked for, from what really
 * happened; counters begin with the machine. Runs on the worker.
 *
 * Follows NVM Express 1.4, section 5.14.
 */
#include "device/nvme/priv.h"

#define DW10 offsetof(struct nvmed_sqe, cdw10)

void nvmed_log_error(struct nvmed_ctrl *c, const struct nvmed_req *req, uint16_t status)
{
	struct nvmed_error_entry *e = &c->errors[c->n_errors % NVMED_ERROR_ENTRIES];

	c->n_errors++;
	*e = (struct nvmed_error_entry){
		.count = le64_make(c->n_errors),
		.sqid = le16_make(0xffff),
		.cid = le16_make(0xffff),
		.status = le16_make(status << 1),
		.location = le16_make(0xffff),
	};
	if (!req)
		return;
	e->sqid = le16_make(req->sq->id);
	e->cid = req->cmd.cid;
	e->location = le16_make(req->location);
	e->nsid = req->cmd.nsid;
	if (req->command->flags & NVMED_CMD_LBA)
		e->lba = le64_make(le32_get(req->cmd.cdw10) | (uint64_t)le32_get(req->cmd.cdw11)
								      << 32);
}

uint8_t nvmed_critical_warning(const struct nvmed_ctrl *c)
{
	bool warn = false;

	for (unsigned i = 0; i <= NVMED_SENSORS; i++)
		warn |= NVMED_TEMPERATURE >= c->threshold[i].at[NVMED_OVER] ||
			NVMED_TEMPERATURE <= c->threshold[i].at[NVMED_UNDER];
	return warn ? BIT(1) : 0;
}

/* Newest first; entries that never were read as zero. */
static void fill_errors(struct nvmed_ctrl *c, void *page)
{
	struct nvmed_error_entry *out = page;

	for (unsigned i = 0; i < NVMED_ERROR_ENTRIES && i < c->n_errors; i++)
		out[i] = c->errors[(c->n_errors - 1 - i) % NVMED_ERROR_ENTRIES];
}

/* Thousands of 512-byte units, rounded up. */
static le64 data_units(uint64_t blocks)
{
	return le64_make((blocks + 999) / 1000);
}

static void fill_smart(struct nvmed_ctrl *c, void *page)
{
	struct nvmed_smart *out = page;
	uint64_t second = 1000000000u;
	uint64_t on = (time_mono_ns() - c->created_ns) / second;

	out->critical_warning = nvmed_critical_warning(c);
	out->temperature[0] = NVMED_TEMPERATURE & 0xff;
	out->temperature[1] = NVMED_TEMPERATURE >> 8;
	out->spare = 100;
	out->spare_threshold = 10;
	out->data_units_read[0] = data_units(c->stats.read_blocks);
	out->data_units_written[0] = data_units(c->stats.written_blocks);
	out->host_reads[0] = le64_make(c->stats.reads);
	out->host_writes[0] = le64_make(c->stats.writes);
	out->busy_minutes[0] = le64_make(c->busy_ns / second / 60);
	out->power_cycles[0] = le64_make(c->power_cycles);
	out->power_on_hours[0] = le64_make(on / 3600);
	out->media_errors[0] = le64_make(c->stats.media_errors);
	out->error_entries[0] = le64_make(c->n_errors);
	out->sensors[0] = le16_make(NVMED_TEMPERATURE);
}

static void fill_firmware(struct nvmed_ctrl *c, void *page)
{
	struct nvmed_firmware_log *out = page;

	out->active = 1;
	memset(out->slot[0], ' ', sizeof(out->slot[0]));
	memcpy(out->slot[0], UVFIO_VERSION, MIN(strlen(UVFIO_VERSION), sizeof(out->slot[0])));
}

static void fill_effects(struct nvmed_ctrl *c, void *page)
{
	struct nvmed_effects_log *out = page;

	for (unsigned i = 0; i < 256; i++) {
		out->admin[i] = le32_make(nvmed_admin_commands[i].effects);
		out->io[i] = le32_make(nvmed_io_commands[i].effects);
	}
}

struct log_page {
	uint8_t lid;
	uint32_t size;
	int event; /* type of asynchronous event that reading it acknowledges, or -1 */
	void (*fill)(struct nvmed_ctrl *c, void *page);
};

static const struct log_page pages[] = {
	{ NVMED_LOG_ERROR, NVMED_ERROR_ENTRIES * sizeof(struct nvmed_error_entry),
	  NVMED_EVENT_ERROR, fill_errors },
	{ NVMED_LOG_SMART, sizeof(struct nvmed_smart), NVMED_EVENT_SMART, fill_smart },
	{ NVMED_LOG_FIRMWARE, sizeof(struct nvmed_firmware_log), -1, fill_firmware },
	{ NVMED_LOG_EFFECTS, sizeof(struct nvmed_effects_log), -1, fill_effects },
};

static const struct log_page *find_page(uint8_t lid)
{
	for (unsigned i = 0; i < ARRAY_SIZE(pages); i++)
		if (pages[i].lid == lid)
			return &pages[i];
	return NULL;
}

uint16_t nvmed_get_log(struct nvmed_req *req, struct nvmed_scratch *s)
{
	struct nvmed_ctrl *c = req->ctrl;
	uint32_t dw10 = le32_get(req->cmd.cdw10), nsid = le32_get(req->cmd.nsid);
	uint64_t dwords = (dw10 >> 16 | (uint64_t)(le32_get(req->cmd.cdw11) & 0xffff) << 16) + 1;
	uint64_t offset = le32_get(req->cmd.cdw12) | (uint64_t)le32_get(req->cmd.cdw13) << 32;
	const struct log_page *page = find_page(dw10 & 0xff);
	uint8_t buf[4096];
	uint64_t size = dwords * 4;
	uint16_t status;

	if (!page)
		return nvmed_fail(req, NVMED_INVALID_LOG_PAGE, DW10);
	/* Pages are of the controller; ours are not kept per namespace. */
	if (nsid != 0 && nsid != UINT32_MAX)
		return nvmed_fail(req, nsid == 1 ? NVMED_INVALID_FIELD : NVMED_INVALID_NAMESPACE,
				  offsetof(struct nvmed_sqe, nsid));
	if ((offset & 3) || offset >= page->size)
		return nvmed_fail(req, NVMED_INVALID_FIELD, offsetof(struct nvmed_sqe, cdw12));
	if (size > NVMED_MAX_TRANSFER)
		return nvmed_fail(req, NVMED_INVALID_FIELD, DW10 + 2);
	memset(buf, 0, sizeof(buf));
	page->fill(c, buf);
	/* More than the page has is the host's affair: what lies past its end stays untouched. */
	status = nvmed_data_to_host(req, s, buf + offset, MIN(size, page->size - offset));
	if (!status && page->event >= 0 && !(dw10 & BIT(15)))
		nvmed_event_clear(c, page->event);
	return status;
}
