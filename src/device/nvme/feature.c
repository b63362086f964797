/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Set Features and Get Features. No feature is saved: a controller reset brings the defaults back.
 * Runs on the worker.
 *
 * Follows NVM Express 1.4, section 5.21.
 */
#include "device/nvme/priv.h"

#define DW10 offsetof(struct nvmed_sqe, cdw10)
#define DW11 offsetof(struct nvmed_sqe, cdw11)
#define NSID offsetof(struct nvmed_sqe, nsid)

#define F_ARBITRATION 0x01
#define F_POWER 0x02
#define F_TEMPERATURE 0x04
#define F_ERROR_RECOVERY 0x05
#define F_WRITE_CACHE 0x06
#define F_QUEUES 0x07
#define F_COALESCING 0x08
#define F_VECTOR 0x09
#define F_ATOMICITY 0x0a
#define F_EVENTS 0x0b

#define TMPSEL_ALL 0xf

enum select { SELECT_CURRENT, SELECT_DEFAULT, SELECT_SAVED, SELECT_CAPABILITIES };

struct feature {
	const char *name; /* NULL: no such feature */
	uint32_t def;
	uint32_t mask; /* bits that are kept */
	bool per_namespace;
	void (*after)(struct nvmed_ctrl *c); /* the new value is in place */
	/* Checks and acts; NULL: the value is just kept. */
	uint16_t (*set)(struct nvmed_req *req, uint32_t *value);
	/* Computes the value, or the default; NULL: the one kept, or @def. */
	uint16_t (*get)(struct nvmed_req *req, bool def, uint32_t *value);
};

static uint16_t set_power(struct nvmed_req *req, uint32_t *value)
{
	/* There is one power state, 0. */
	return *value & 0x1f ? nvmed_fail(req, NVMED_INVALID_FIELD, DW11) : NVMED_OK;
}

/* TMPSEL and THSEL of dword 11. False: no such sensor, or no such threshold. */
static bool threshold_select(uint32_t dw11, unsigned *sensor, unsigned *type)
{
	*sensor = dw11 >> 16 & 0xf;
	*type = dw11 >> 20 & 3;
	return *type <= NVMED_UNDER;
}

static uint16_t set_temperature(struct nvmed_req *req, uint32_t *value)
{
	struct nvmed_ctrl *c = req->ctrl;
	unsigned sensor, type;

	if (!threshold_select(*value, &sensor, &type) ||
	    (sensor > NVMED_SENSORS && sensor != TMPSEL_ALL))
		return nvmed_fail(req, NVMED_INVALID_FIELD, DW11 + 2);
	for (unsigned i = 0; i <= NVMED_SENSORS; i++)
		if (i == sensor || sensor == TMPSEL_ALL)
			c->threshold[i].at[type] = *value & 0xffff;
	return NVMED_OK;
}

/* The composite temperature's is WCTEMP; a sensor's never warns. */
static uint16_t default_threshold(unsigned sensor, unsigned type)
{
	if (type == NVMED_UNDER)
		return 0;
	return sensor ? 0xffff : NVMED_WCTEMP;
}

static uint16_t get_temperature(struct nvmed_req *req, bool def, uint32_t *value)
{
	unsigned sensor, type;

	if (!threshold_select(le32_get(req->cmd.cdw11), &sensor, &type) || sensor > NVMED_SENSORS)
		return nvmed_fail(req, NVMED_INVALID_FIELD, DW11 + 2);
	*value = def ? default_threshold(sensor, type) : req->ctrl->threshold[sensor].at[type];
	return NVMED_OK;
}

/*
 * A warning that is enabled is reported once its threshold is crossed, and at once where it is
 * crossed already.
 */
static void report_warnings(struct nvmed_ctrl *c)
{
	if (nvmed_critical_warning(c) & c->features[F_EVENTS] & BIT(1))
		nvmed_event(c, NVMED_EVENT_SMART, NVMED_EVENT_TEMPERATURE, NVMED_LOG_SMART);
}

static uint16_t set_error_recovery(struct nvmed_req *req, uint32_t *value)
{
	/* DULBE needs a namespace that reports deallocated blocks as errors; ours does not. */
	return *value & BIT(16) ? nvmed_fail(req, NVMED_INVALID_FIELD, DW11) : NVMED_OK;
}

static uint16_t set_write_cache(struct nvmed_req *req, uint32_t *value)
{
	struct nvmed_ctrl *c = req->ctrl;

	/* What was cached before must not be all that is left volatile. */
	if (!(*value & 1) && c->vwc && !c->disk->readonly) {
		uint16_t status = nvmed_disk_status(c, c->disk->ops->sync(c->disk), true);

		if (status)
			return status;
	}
	atomic_store(&c->vwc, *value & 1);
	return NVMED_OK;
}

static uint16_t set_queues(struct nvmed_req *req, uint32_t *value)
{
	struct nvmed_ctrl *c = req->ctrl;
	uint32_t n = (c->n_queues - 1) | (c->n_queues - 1) << 16;

	if ((*value & 0xffff) == 0xffff || *value >> 16 == 0xffff)
		return nvmed_fail(req, NVMED_INVALID_FIELD, DW11);
	/* Only before any I/O queue exists. */
	if (c->last_queue)
		return nvmed_fail(req, NVMED_COMMAND_SEQUENCE, 0);
	*value = n;
	req->dw0 = n;
	return NVMED_OK;
}

static uint16_t get_queues(struct nvmed_req *req, bool def, uint32_t *value)
{
	uint32_t n = req->ctrl->n_queues - 1;

	*value = n | n << 16;
	return NVMED_OK;
}

static uint16_t set_vector(struct nvmed_req *req, uint32_t *value)
{
	struct nvmed_ctrl *c = req->ctrl;
	unsigned vector = *value & 0xffff;

	if (vector >= c->n_vectors)
		return nvmed_fail(req, NVMED_INVALID_FIELD, DW11);
	c->vector_config[vector] = *value >> 16 & 1;
	return NVMED_OK;
}

static uint16_t get_vector(struct nvmed_req *req, bool def, uint32_t *value)
{
	struct nvmed_ctrl *c = req->ctrl;
	unsigned vector = le32_get(req->cmd.cdw11) & 0xffff;

	if (vector >= c->n_vectors)
		return nvmed_fail(req, NVMED_INVALID_FIELD, DW11);
	*value = vector | (def ? 0 : (uint32_t)c->vector_config[vector] << 16);
	return NVMED_OK;
}

static const struct feature features[NVMED_FEATURES] = {
	[F_ARBITRATION] = { .name = "Arbitration", .def = 0x00000007, .mask = 0xffffff07 },
	[F_POWER] = { .name = "Power Management", .mask = 0xff, .set = set_power },
	[F_TEMPERATURE] = { .name = "Temperature Threshold",
			    .mask = 0x3fffff,
			    .set = set_temperature,
			    .get = get_temperature,
			    .after = report_warnings },
	[F_ERROR_RECOVERY] = { .name = "Error Recovery",
			       .mask = 0x1ffff,
			       .per_namespace = true,
			       .set = set_error_recovery },
	[F_WRITE_CACHE] = { .name = "Volatile Write Cache",
			    .def = 1,
			    .mask = 1,
			    .set = set_write_cache },
	[F_QUEUES] = { .name = "Number of Queues",
		       .mask = 0xffffffff,
		       .set = set_queues,
		       .get = get_queues },
	[F_COALESCING] = { .name = "Interrupt Coalescing", .mask = 0xffff },
	[F_VECTOR] = { .name = "Interrupt Vector Configuration",
		       .mask = 0x1ffff,
		       .set = set_vector,
		       .get = get_vector },
	[F_ATOMICITY] = { .name = "Write Atomicity Normal", .mask = 1 },
	/* Of the notices none is offered (OAES), so their bits stay 0. */
	[F_EVENTS] = { .name = "Asynchronous Event Configuration",
		       .mask = 0xff,
		       .after = report_warnings },
};

void nvmed_feature_reset(struct nvmed_ctrl *c)
{
	for (unsigned i = 0; i < NVMED_FEATURES; i++)
		c->features[i] = features[i].def;
	atomic_store(&c->vwc, true);
	for (unsigned i = 0; i <= NVMED_SENSORS; i++)
		for (unsigned type = NVMED_OVER; type <= NVMED_UNDER; type++)
			c->threshold[i].at[type] = default_threshold(i, type);
	memset(c->vector_config, 0, sizeof(c->vector_config));
}

/*
 * What NSID may be: of the namespace's features, the namespace, or for Set all of them; of the
 * controller's, none or all. The specification wants Feature Not Namespace Specific where Set names
 * one namespace for those; but QEMU's nvme:// driver does that to the write cache and gives up.
 */
static uint16_t check_nsid(struct nvmed_req *req, const struct feature *f, bool set)
{
	uint32_t nsid = le32_get(req->cmd.nsid);

	if (nsid == 1 ||
	    (f->per_namespace ? nsid == UINT32_MAX && set : !nsid || nsid == UINT32_MAX))
		return NVMED_OK;
	return nvmed_fail(req, NVMED_INVALID_NAMESPACE, NSID);
}

static uint16_t find_feature(struct nvmed_req *req, bool set, unsigned *fid)
{
	*fid = le32_get(req->cmd.cdw10) & 0xff;
	if (*fid >= NVMED_FEATURES || !features[*fid].name)
		return nvmed_fail(req, NVMED_INVALID_FIELD, DW10);
	return check_nsid(req, &features[*fid], set);
}

uint16_t nvmed_set_features(struct nvmed_req *req, struct nvmed_scratch *s)
{
	struct nvmed_ctrl *c = req->ctrl;
	uint32_t value = le32_get(req->cmd.cdw11);
	unsigned fid;
	uint16_t status = find_feature(req, true, &fid);

	if (status)
		return status;
	if (le32_get(req->cmd.cdw10) & BIT(31))
		return nvmed_fail(req, NVMED_FEATURE_NOT_SAVEABLE, DW10 + 3);
	value &= features[fid].mask;
	if (features[fid].set)
		status = features[fid].set(req, &value);
	if (status)
		return status;
	c->features[fid] = value;
	if (features[fid].after)
		features[fid].after(c);
	return NVMED_OK;
}

uint16_t nvmed_get_features(struct nvmed_req *req, struct nvmed_scratch *s)
{
	struct nvmed_ctrl *c = req->ctrl;
	enum select select = le32_get(req->cmd.cdw10) >> 8 & 7;
	/* Nothing is saved, so the saved value is the default. */
	bool def = select == SELECT_DEFAULT || select == SELECT_SAVED;
	uint32_t value;
	unsigned fid;
	uint16_t status = find_feature(req, false, &fid);

	if (status)
		return status;
	if (select > SELECT_CAPABILITIES)
		return nvmed_fail(req, NVMED_INVALID_FIELD, DW10 + 1);
	value = def ? features[fid].def : c->features[fid];
	if (select == SELECT_CAPABILITIES)
		value = BIT(2) | (features[fid].per_namespace ? BIT(1) : 0); /* changeable */
	else if (features[fid].get)
		status = features[fid].get(req, def, &value);
	if (!status)
		req->dw0 = value;
	return status;
}
