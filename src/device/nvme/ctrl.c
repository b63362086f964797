/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The controller as a PCI function: options, registers, enabling, shutdown and resets.
 *
 * Register hooks run under pci's register lock and only leave notes; nvmed_ctrl_registers() acts on
 * them, on the worker. CC.EN going to 0 is remembered by its hook, so that a host that writes 0 and
 * 1 in a hurry gets its reset. Commands in progress are waited for; nothing is posted after.
 *
 * Follows NVM Express 1.4, sections 3.1, 7.3 and 7.6.
 */
#include <errno.h>

#include "device/nvme/priv.h"

/* ------------------------------------------------------------------ registers */

#define CAP_LOW ((NVMED_MAX_ENTRIES - 1) | BIT(16) /* CQR */ | 60u << 24 /* TO: 30 s */)
#define CAP_HIGH (BIT(4) /* NSSRS */ | BIT(5) /* NVM command set */ | NVMED_MPS_MAX << 20)

static void hook_cc(void *state, unsigned index, uint32_t value)
{
	struct nvmed_ctrl *c = state;

	if (!(value & NVMED_CC_EN))
		atomic_store(&c->en_fell, true);
	atomic_store(&c->regs_noted, true);
	nvmed_kick(c);
}

static void hook_intms(void *state, unsigned index, uint32_t value)
{
	struct nvmed_ctrl *c = state;

	atomic_fetch_or(&c->intm, value);
	atomic_store(&c->intm_noted, true);
	nvmed_kick(c);
}

static void hook_intmc(void *state, unsigned index, uint32_t value)
{
	struct nvmed_ctrl *c = state;

	atomic_fetch_and(&c->intm, ~value);
	atomic_store(&c->intm_noted, true);
	nvmed_kick(c);
}

static uint32_t read_intm(void *state, unsigned index)
{
	return ((struct nvmed_ctrl *)state)->intm;
}

static void hook_nssr(void *state, unsigned index, uint32_t value)
{
	struct nvmed_ctrl *c = state;

	if (value != NVMED_NSSR_MAGIC)
		return;
	atomic_store(&c->nssr, true);
	nvmed_kick(c);
}

/* Of CSTS the host can only clear NSSRO. */
static void hook_csts(void *state, unsigned index, uint32_t value)
{
	struct nvmed_ctrl *c = state;

	atomic_store(&c->nssro, value & NVMED_CSTS_NSSRO);
}

static const struct pcif_reg registers[] = {
	[NVMED_R_CAPL] = { "CAP", NVMED_REG_CAP, PCIF_REG_STATUS, .reset = CAP_LOW },
	[NVMED_R_CAPH] = { "CAP+4", NVMED_REG_CAP + 4, PCIF_REG_STATUS, .reset = CAP_HIGH },
	[NVMED_R_VS] = { "VS", NVMED_REG_VS, PCIF_REG_STATUS, .reset = NVMED_VERSION },
	[NVMED_R_INTMS] = { "INTMS", NVMED_REG_INTMS, PCIF_REG_MAILBOX, .write = hook_intms,
			    .read = read_intm },
	[NVMED_R_INTMC] = { "INTMC", NVMED_REG_INTMC, PCIF_REG_MAILBOX, .write = hook_intmc,
			    .read = read_intm },
	[NVMED_R_CC] = { "CC", NVMED_REG_CC, PCIF_REG_PLAIN, .wmask = NVMED_CC_WMASK,
			 .write = hook_cc },
	[NVMED_R_CSTS] = { "CSTS", NVMED_REG_CSTS, PCIF_REG_PLAIN, .w1c = NVMED_CSTS_NSSRO,
			   .write = hook_csts },
	[NVMED_R_NSSR] = { "NSSR", NVMED_REG_NSSR, PCIF_REG_MAILBOX, .write = hook_nssr },
	[NVMED_R_AQA] = { "AQA", NVMED_REG_AQA, PCIF_REG_PLAIN, .wmask = 0x0fff0fff },
	[NVMED_R_ASQL] = { "ASQ", NVMED_REG_ASQ, PCIF_REG_PLAIN, .wmask = 0xfffff000 },
	[NVMED_R_ASQH] = { "ASQ+4", NVMED_REG_ASQ + 4, PCIF_REG_PLAIN, .wmask = 0xffffffff },
	[NVMED_R_ACQL] = { "ACQ", NVMED_REG_ACQ, PCIF_REG_PLAIN, .wmask = 0xfffff000 },
	[NVMED_R_ACQH] = { "ACQ+4", NVMED_REG_ACQ + 4, PCIF_REG_PLAIN, .wmask = 0xffffffff },
};
_Static_assert(ARRAY_SIZE(registers) == NVMED_R_COUNT, "a row per register");

void nvmed_ctrl_publish(struct nvmed_ctrl *c)
{
	uint32_t csts = c->shst;

	if (c->state == NVMED_ENABLED)
		csts |= NVMED_CSTS_RDY;
	if (c->state == NVMED_FAILED || c->fatal)
		csts |= NVMED_CSTS_CFS;
	pcif_lock(c->f);
	pcif_regs_set(c->regs, NVMED_R_CSTS, 0, csts | c->nssro);
	pcif_unlock(c->f);
}

void nvmed_ctrl_fatal(struct nvmed_ctrl *c, const char *why)
{
	static struct log_limit limit;

	if (log_limit_ok(&limit))
		log_debug("%s: nvme: controller fatal status: %s", pcif_name(c->f), why);
	c->fatal = true;
	nvmed_ctrl_publish(c);
}

/* ------------------------------------------------------------------ enable and disable */

static uint64_t get64(struct nvmed_ctrl *c, unsigned low)
{
	return pcif_regs_get(c->regs, low, 0) | (uint64_t)pcif_regs_get(c->regs, low + 1, 0) << 32;
}

static void start(struct nvmed_ctrl *c)
{
	uint32_t cc, aqa, sqs, cqs;
	uint64_t asq, acq, page;

	pcif_lock(c->f);
	/* By mmap the other registers were stored before CC, but may not have been seen yet. */
	if (c->shared && c->mmio == NVMED_MMIO_SHARED)
		pcif_regs_scan(c->regs);
	cc = pcif_regs_get(c->regs, NVMED_R_CC, 0);
	aqa = pcif_regs_get(c->regs, NVMED_R_AQA, 0);
	asq = get64(c, NVMED_R_ASQL);
	acq = get64(c, NVMED_R_ACQL);
	pcif_unlock(c->f);

	sqs = (aqa & 0xfff) + 1;
	cqs = (aqa >> 16 & 0xfff) + 1;
	page = BIT64(12 + NVMED_CC_MPS(cc));
	c->shst = 0;
	if (NVMED_CC_CSS(cc) || NVMED_CC_AMS(cc) || NVMED_CC_MPS(cc) > NVMED_MPS_MAX || sqs < 2 ||
	    cqs < 2 || (asq & (page - 1)) || (acq & (page - 1))) {
		log_debug("%s: nvme: cannot enable: CC %08x AQA %08x", pcif_name(c->f), cc, aqa);
		c->state = NVMED_FAILED;
		nvmed_ctrl_publish(c);
		return;
	}
	c->page_shift = 12 + NVMED_CC_MPS(cc);
	nvmed_queue_reset(c);
	nvmed_queue_open_cq(c, 0, acq, cqs, true, 0);
	nvmed_queue_open_sq(c, 0, asq, sqs, &c->cq[0]);
	c->state = NVMED_ENABLED;
	nvmed_ctrl_publish(c);
}

static void clear_controller(struct nvmed_ctrl *c)
{
	nvmed_queue_reset(c);
	nvmed_feature_reset(c);
	c->n_events = 0;
	memset(c->event_masked, 0, sizeof(c->event_masked));
	c->fatal = false;
	c->shst = 0;
	c->shutdown_submitted = false;
	c->state = NVMED_DISABLED;
}

/* Waits for what runs, drops everything. */
static void drain(struct nvmed_ctrl *c)
{
	bool any = false;

	c->state = NVMED_STOPPING;
	nvmed_req_cancel(c);
	nvmed_pool_drain(c);
	nvmed_reap(c, &any);
}

static void reset_registers(struct nvmed_ctrl *c, uint32_t nssro)
{
	pcif_lock(c->f);
	pcif_regs_reset(c->regs);
	atomic_store(&c->intm, 0);
	atomic_store(&c->regs_noted, false);
	atomic_store(&c->en_fell, false);
	atomic_store(&c->nssr, false);
	atomic_store(&c->nssro, nssro);
	pcif_unlock(c->f);
}

static void shutdown_check(struct nvmed_ctrl *c, uint32_t cc)
{
	bool wanted = NVMED_CC_SHN(cc) == 1 || NVMED_CC_SHN(cc) == 2;

	if (c->state == NVMED_STOPPING)
		return;
	if (!wanted && c->shst == NVMED_CSTS_SHST_DONE && c->state == NVMED_DISABLED) {
		c->shst = 0;
		nvmed_ctrl_publish(c);
	}
	if (wanted && !c->shst) {
		c->shst = NVMED_CSTS_SHST_BUSY;
		nvmed_ctrl_publish(c);
	}
	/* Commands first, then the flush that makes them durable. */
	if (c->shst == NVMED_CSTS_SHST_BUSY && !c->slow_inflight && !c->shutdown_submitted) {
		c->shutdown_submitted = true;
		c->shutdown_req =
			(struct nvmed_req){ .ctrl = c, .command = &nvmed_shutdown_command };
		c->slow_inflight++;
		nvmed_pool_submit(c, &c->shutdown_req);
	}
}

bool nvmed_ctrl_registers(struct nvmed_ctrl *c)
{
	enum nvmed_state before = c->state;
	uint32_t cc;
	bool fell;

	if (atomic_exchange(&c->nssr, false)) {
		drain(c);
		clear_controller(c);
		reset_registers(c, NVMED_CSTS_NSSRO);
		nvmed_ctrl_publish(c);
		return true;
	}
	/* Together under the lock of the hooks: a fall seen belongs to a value before @cc. */
	pcif_lock(c->f);
	cc = pcif_regs_get(c->regs, NVMED_R_CC, 0);
	fell = atomic_exchange(&c->en_fell, false);
	atomic_store(&c->regs_noted, false);
	pcif_unlock(c->f);

	if ((c->state == NVMED_ENABLED || c->state == NVMED_FAILED) &&
	    (fell || !(cc & NVMED_CC_EN))) {
		c->state = NVMED_STOPPING;
		nvmed_req_cancel(c);
	}
	if (c->state == NVMED_STOPPING && !c->slow_inflight) {
		clear_controller(c);
		nvmed_ctrl_publish(c);
	}
	if (c->state == NVMED_DISABLED && (cc & NVMED_CC_EN))
		start(c);
	shutdown_check(c, cc);
	return c->state != before;
}

/* ------------------------------------------------------------------ options */

static int open_disk(struct nvmed_ctrl *c, const struct pcif_params *params,
		     struct pcif_reply_error *err)
{
	static const char *const switches[] = { "off", "on", NULL };
	static const char *const sizes[] = { "512", "4096", NULL };
	const char *file = pcif_param(params, "disk"), *mem = pcif_param(params, "mem");
	unsigned large = 0, readonly = 0, block;
	int ret = pcif_param_choice(params, "block", sizes, &large, err);

	if (!ret)
		ret = pcif_param_choice(params, "readonly", switches, &readonly, err);
	if (ret)
		return ret;
	c->block_shift = large ? 12 : 9;
	block = BIT(c->block_shift);
	if (!file == !mem)
		return pcif_error(err, -EINVAL,
				  "give disk=FILE (a raw image) or mem=SIZE (for example mem=1G)%s",
				  file ? ", not both" : "");
	if (file)
		return nvmed_disk_open_file(file, block, readonly, &c->disk, err);
	ret = nvmed_disk_open_memory("mem", mem, block, &c->disk, err);
	if (!ret)
		c->disk->readonly = readonly;
	return ret;
}

static int parse_options(struct nvmed_ctrl *c, const struct pcif_params *params,
			 struct pcif_reply_error *err)
{
	static const char *const modes[] = { "shared", "doorbell", "trap", NULL };
	const char *serial = pcif_param(params, "serial");
	unsigned mode = NVMED_MMIO_SHARED;
	int ret;

	c->n_queues = 16;
	ret = pcif_param_number(params, "queues", 1, NVMED_MAX_QUEUES - 1, &c->n_queues, err);
	if (!ret)
		ret = pcif_param_choice(params, "mmio", modes, &mode, err);
	if (ret)
		return ret;
	c->mmio = mode;
	c->n_vectors = c->n_queues + 1;
	if (serial && (!*serial || strlen(serial) > 20))
		return pcif_error(err, -EINVAL, "serial=%s: give 1 to 20 characters", serial);
	for (const char *p = serial; p && *p; p++)
		if (*p < 0x20 || *p > 0x7e)
			return pcif_error(err, -EINVAL, "serial: give printable ASCII characters");
	ret = open_disk(c, params, err);
	if (ret)
		return ret;
	nvmed_identify_init(c, serial);
	return nvmed_vfs_parse(c, params, err);
}

/* ------------------------------------------------------------------ the model */

/* What a VF has as well; its identity and BARs come from the PF. */
static void describe_common(const struct nvmed_ctrl *c, struct pcif_desc *desc)
{
	desc->msix_vectors = c->n_vectors;
	desc->msix_bar = 4;
	desc->msix_table_offset = 0;
	desc->msix_pba_offset = KIB(4);
	desc->aer = true;
	memcpy(&desc->dsn, c->uuid, sizeof(desc->dsn));
}

static void describe(const struct nvmed_ctrl *c, struct pcif_desc *desc)
{
	struct pcif_bar *bar = &desc->bars[0];

	desc->vendor = 0x1234;
	desc->device = NVMED_DEVICE;
	desc->subsystem_vendor = 0x1234;
	desc->subsystem_device = NVMED_DEVICE;
	desc->class_code = 0x010802;
	desc->revision = 1;
	bar->type = PCIF_BAR_MEM64;
	bar->size = KIB(16);
	if (c->mmio == NVMED_MMIO_SHARED)
		bar->areas[bar->n_areas++] = (struct pcif_bar_area){ 0, KIB(16), PCIF_PAGE_SHARED };
	else if (c->mmio == NVMED_MMIO_DOORBELL)
		bar->areas[bar->n_areas++] =
			(struct pcif_bar_area){ NVMED_DOORBELLS, KIB(12), PCIF_PAGE_SHARED };
	desc->bars[4].type = PCIF_BAR_MEM64;
	desc->bars[4].size = KIB(8);
	desc->msi_vectors = 32;
	desc->intx_pin = 1;
	desc->pcie = true;
	desc->pm = true;
	describe_common(c, desc);
	nvmed_vfs_describe(c, desc);
}

static void nvme_destroy(void *state)
{
	struct nvmed_ctrl *c = state;
	bool any;

	if (!c)
		return;
	nvmed_worker_stop(c);
	nvmed_req_cancel(c);
	nvmed_pool_drain(c);
	nvmed_reap(c, &any);
	nvmed_pool_fini(&c->pool);
	nvmed_scratch_fini(&c->scratch);
	if (!c->pf)
		nvmed_disk_free(c->disk);
	nvmed_vfs_free(c->vfs);
	pcif_regs_free(c->regs);
	pthread_cond_destroy(&c->wake);
	pthread_mutex_destroy(&c->wake_lock);
	pthread_cond_destroy(&c->resumed);
	pthread_mutex_destroy(&c->lock);
	free(c->reqs);
	free(c);
}

static struct nvmed_ctrl *ctrl_alloc(struct pcif *f, bool manual)
{
	struct nvmed_ctrl *c = calloc(1, sizeof(*c));
	pthread_condattr_t attr;

	if (!c)
		return NULL;
	c->f = f;
	c->manual = manual;
	c->reqs = calloc(NVMED_REQUESTS, sizeof(*c->reqs));
	if (!c->reqs) {
		free(c);
		return NULL;
	}
	c->created_ns = time_mono_ns();
	c->power_cycles = 1;
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->resumed, NULL);
	pthread_mutex_init(&c->wake_lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&c->wake, &attr);
	pthread_condattr_destroy(&attr);
	nvmed_pool_init(&c->pool);
	return c;
}

/* The options are known: registers, and the worker. */
static int ctrl_start(struct nvmed_ctrl *c, struct pcif_reply_error *err)
{
	int ret = pcif_regs_new(c->f, 0, registers, ARRAY_SIZE(registers), c, &c->regs);

	if (ret)
		return pcif_error(err, ret, "cannot make registers: %s", strerror(-ret));
	clear_controller(c);
	ret = nvmed_worker_start(c);
	return ret ? pcif_error(err, ret, "cannot start a thread: %s", strerror(-ret)) : 0;
}

int nvmed_create(struct pcif *f, const struct pcif_params *params, struct pcif_desc *desc,
		 bool manual, struct nvmed_ctrl **ctrl, struct pcif_reply_error *err)
{
	struct nvmed_ctrl *c = ctrl_alloc(f, manual);
	int ret = guard_init();

	if (!c || ret) {
		nvme_destroy(c);
		return pcif_error(err, c ? ret : -ENOMEM, "cannot make an NVMe controller: %s",
				  strerror(c ? -ret : ENOMEM));
	}
	ret = parse_options(c, params, err);
	if (!ret) {
		describe(c, desc);
		ret = ctrl_start(c, err);
	}
	if (ret) {
		nvme_destroy(c);
		return ret;
	}
	*ctrl = c;
	return 0;
}

static int nvme_create_vf(struct pcif *f, void *pf_state, unsigned index, struct pcif_desc *desc,
			  void **state, struct pcif_reply_error *err)
{
	struct nvmed_ctrl *pf = pf_state, *c = ctrl_alloc(f, pf->manual);
	int ret;

	if (!c)
		return pcif_error(err, -ENOMEM, "out of memory");
	nvmed_vf_inherit(c, pf, index);
	describe_common(c, desc);
	ret = ctrl_start(c, err);
	if (ret) {
		nvme_destroy(c);
		return ret;
	}
	*state = c;
	return 0;
}

static int nvme_create(struct pcif *f, const struct pcif_params *params, struct pcif_desc *desc,
		       void **state, struct pcif_reply_error *err)
{
	struct nvmed_ctrl *c;
	int ret = nvmed_create(f, params, desc, false, &c, err);

	if (!ret)
		*state = c;
	return ret;
}

static uint64_t nvme_bar_read(void *state, unsigned bar, uint64_t offset, unsigned size)
{
	struct nvmed_ctrl *c = state;

	if (bar)
		return 0;
	if (offset < NVMED_DOORBELLS)
		return pcif_regs_read(c->regs, offset, size);
	return nvmed_doorbell_read(c, offset);
}

static void nvme_bar_write(void *state, unsigned bar, uint64_t offset, unsigned size,
			   uint64_t value)
{
	struct nvmed_ctrl *c = state;

	if (bar)
		return;
	if (offset < NVMED_DOORBELLS) {
		pcif_regs_write(c->regs, offset, size, value);
		return;
	}
	/* Doorbells are 32 bits; what narrower accesses mean is undefined (3.1), so nothing. */
	if (size == 8)
		nvmed_doorbell_write(c, offset + 4, value >> 32);
	if (size >= 4)
		nvmed_doorbell_write(c, offset, (uint32_t)value);
}

static void nvme_reset(void *state)
{
	struct nvmed_ctrl *c = state;

	nvmed_pause(c);
	drain(c);
	c->image = pcif_bar_image(c->f, 0);
	clear_controller(c);
	reset_registers(c, 0);
	nvmed_resume(c);
}

static void nvme_shared(void *state, bool on)
{
	struct nvmed_ctrl *c = state;

	nvmed_pause(c);
	c->image = pcif_bar_image(c->f, 0);
	c->shared = on && c->mmio != NVMED_MMIO_TRAP;
	nvmed_resume(c);
}

static const struct pcif_option options[] = {
	{ "disk", "FILE  raw image, or block device, that holds the data" },
	{ "mem", "SIZE  memory instead of a file, e.g. 1G; gone when the machine ends" },
	{ "readonly", "on|off  refuse writes (default off)" },
	{ "block", "512|4096  bytes of a logical block (default 512)" },
	{ "queues", "N  I/O queue pairs, 1 to 64 (default 16)" },
	{ "mmio", "shared|doorbell|trap  what clients may mmap (default shared: all of BAR 0)" },
	{ "serial", "TEXT  serial number, up to 20 characters" },
	{ "vfs", "N  virtual functions that it can have, up to 256 (default 0)" },
	{ "vf_mem", "SIZE  memory of each VF's namespace, e.g. 1G" },
	{ "vf_disk", "FILE  or images, with %d for the VF's number: vf-%d.img" },
	{ "vf_queues", "N  I/O queue pairs of each VF, 1 to 64 (default 4)" },
	{ "vf_iops", "N  I/O commands a second that each VF may start (default: no limit)" },
	{ "vf_bandwidth", "SIZE  bytes a second that each VF may move, e.g. 100M" },
	{ NULL },
};

const struct pcif_model device_nvme = {
	.name = "nvme",
	.summary = "NVMe 1.4 controller with one namespace on an image file or memory",
	.options = options,
	.create = nvme_create,
	.create_vf = nvme_create_vf,
	.destroy = nvme_destroy,
	.bar_read = nvme_bar_read,
	.bar_write = nvme_bar_write,
	.reset = nvme_reset,
	.shared = nvme_shared,
};
