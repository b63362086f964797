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

enum select { SELECT_CURRENT, SELECT_DEFAULT, SELECT_SAVED, SELECT_CAPABILITIES };

struct feature {
	const char *name;
	uint32_t def;
	uint32_t mask; /* bits that are kept */
	bool known;
	bool per_namespace;
	/* Checks and acts; NULL: the value is just kept. */
	uint16_t (*set)(struct nvmed_req *req, uint32_t *value);
	/* Computes the value; NULL: the one kept. */
	uint16_t (*get)(struct nvmed_req *req, uint32_t *value);
};

static uint16_t set_power(struct nvmed_req *req, uint32_t *value)
{
	/* There is one power state, 0. */
	return *value & 0x1f ? nvmed_fail(req, NVMED_INVALID_FIELD, DW11) : NVMED_OK;
}

/* Index into temp_threshold, or -1. */
static int threshold_index(uint32_t dw11, bool all_sensors)
{
	unsigned sensor = dw11 >> 16 & 0xf, type = dw11 >> 20 & 3;

	if (type > 1 || (sensor > 1 && !(all_sensors && sensor == 0xf)))
		return -1;
	return type;
}

static uint16_t set_temperature(struct nvmed_req *req, uint32_t *value)
{
	struct nvmed_ctrl *c = req->ctrl;
	int i = threshold_index(*value, true);

	if (i < 0)
		return nvmed_fail(req, NVMED_INVALID_FIELD, DW11);
	c->temp_threshold[i] = *value & 0xffff;
	if ((nvmed_critical_warning(c) & BIT(1)) && (c->features[F_EVENTS] & BIT(1)))
		nvmed_event(c, NVMED_EVENT_SMART, NVMED_EVENT_TEMPERATURE, NVMED_LOG_SMART);
	return NVMED_OK;
}

static uint16_t get_temperature(struct nvmed_req *req, uint32_t *value)
{
	int i = threshold_index(le32_get(req->cmd.cdw11), false);

	if (i < 0)
		return nvmed_fail(req, NVMED_INVALID_FIELD, DW11);
	*value = req->ctrl->temp_threshold[i];
	return NVMED_OK;
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

static uint16_t get_queues(struct nvmed_req *req, uint32_t *value)
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

static uint16_t get_vector(struct nvmed_req *req, uint32_t *value)
{
	struct nvmed_ctrl *c = req->ctrl;
	unsigned vector = le32_get(req->cmd.cdw11) & 0xffff;

	if (vector >= c->n_vectors)
		return nvmed_fail(req, NVMED_INVALID_FIELD, DW11);
	*value = vector | (uint32_t)c->vector_config[vector] << 16;
	return NVMED_OK;
}

static const struct feature features[NVMED_FEATURES] = {
	[F_ARBITRATION] = { "Arbitration", 0x00000007, 0xffffff07, true },
	[F_POWER] = { "Power Management", 0, 0xff, true, false, set_power },
	[F_TEMPERATURE] = { "Temperature Threshold", 343, 0xffffffff, true, false, set_temperature,
			    get_temperature },
	[F_ERROR_RECOVERY] = { "Error Recovery", 0, 0x1ffff, true, true, set_error_recovery },
	[F_WRITE_CACHE] = { "Volatile Write Cache", 1, 1, true, false, set_write_cache },
	[F_QUEUES] = { "Number of Queues", 0, 0xffffffff, true, false, set_queues, get_queues },
	[F_COALESCING] = { "Interrupt Coalescing", 0, 0xffff, true },
	[F_VECTOR] = { "Interrupt Vector Configuration", 0, 0x1ffff, true, false, set_vector,
		       get_vector },
	[F_ATOMICITY] = { "Write Atomicity Normal", 0, 1, true },
	[F_EVENTS] = { "Asynchronous Event Configuration", 0, 0xff, true },
};

void nvmed_feature_reset(struct nvmed_ctrl *c)
{
	for (unsigned i = 0; i < NVMED_FEATURES; i++)
		c->features[i] = features[i].def;
	atomic_store(&c->vwc, true);
	c->temp_threshold[0] = 343;
	c->temp_threshold[1] = 0;
	memset(c->vector_config, 0, sizeof(c->vector_config));
}

static uint16_t find_feature(struct nvmed_req *req, unsigned *fid)
{
	uint32_t nsid = le32_get(req->cmd.nsid);

	*fid = le32_get(req->cmd.cdw10) & 0xff;
	if (*fid >= NVMED_FEATURES || !features[*fid].known)
		return nvmed_fail(req, NVMED_INVALID_FIELD, DW10);
	if (nsid > 1 && nsid != UINT32_MAX)
		return nvmed_fail(req, NVMED_INVALID_NAMESPACE, NSID);
	return NVMED_OK;
}

uint16_t nvmed_set_features(struct nvmed_req *req, struct nvmed_scratch *s)
{
	struct nvmed_ctrl *c = req->ctrl;
	uint32_t value = le32_get(req->cmd.cdw11);
	unsigned fid;
	uint16_t status = find_feature(req, &fid);

	if (status)
		return status;
	if (le32_get(req->cmd.cdw10) & BIT(31))
		return nvmed_fail(req, NVMED_FEATURE_NOT_SAVEABLE, DW10 + 3);
	/* One namespace cannot have what is the controller's. Hosts do name it, so take that. */
	value &= features[fid].mask;
	if (features[fid].set)
		status = features[fid].set(req, &value);
	if (!status)
		c->features[fid] = value;
	return status;
}

uint16_t nvmed_get_features(struct nvmed_req *req, struct nvmed_scratch *s)
{
	struct nvmed_ctrl *c = req->ctrl;
	enum select select = le32_get(req->cmd.cdw10) >> 8 & 7;
	uint32_t value;
	unsigned fid;
	uint16_t status = find_feature(req, &fid);

	if (status)
		return status;
	value = c->features[fid];
	switch (select) {
	case SELECT_CURRENT:
		if (features[fid].get)
			status = features[fid].get(req, &value);
		break;
	case SELECT_DEFAULT:
	case SELECT_SAVED: /* nothing is saved: the default, says 5.21 */
		value = features[fid].def;
		if (fid == F_QUEUES)
			status = get_queues(req, &value);
		if (fid == F_TEMPERATURE && threshold_index(le32_get(req->cmd.cdw11), false) == 1)
			value = 0; /* "under" never warns */
		break;
	case SELECT_CAPABILITIES:
		value = BIT(2) | (features[fid].per_namespace ? BIT(1) : 0); /* changeable */
		break;
	default:
		return nvmed_fail(req, NVMED_INVALID_FIELD, DW10 + 1);
	}
	if (!status)
		req->dw0 = value;
	return status;
}
