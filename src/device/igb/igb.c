/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The model: a card's PF, and its VFs as the host makes them.
 */
#include <errno.h>

#include "device/igb/priv.h"

enum { BAR_REGS = 0, BAR_IO = 2, BAR_MSIX = 3 };
#define REGS_SIZE KIB(128)
#define VF_REGS_SIZE KIB(16)
#define IO_ADDR 0x0
#define IO_DATA 0x4

/* ------------------------------------------------------------------ ports */

/* A function that is there stays until it is put back. */
struct igb_fn *igb_port_get(struct igb_card *card, unsigned port)
{
	struct igb_fn *fn;

	pthread_mutex_lock(&card->ports_lock);
	fn = card->ports[port];
	if (fn)
		fn->refs++;
	pthread_mutex_unlock(&card->ports_lock);
	return fn;
}

void igb_port_put(struct igb_fn *fn)
{
	struct igb_card *card = fn->card;

	pthread_mutex_lock(&card->ports_lock);
	if (!--fn->refs)
		pthread_cond_broadcast(&card->ports_cond);
	pthread_mutex_unlock(&card->ports_lock);
}

void igb_ports_get(struct igb_card *card, struct igb_fn *fns[IGB_PORTS])
{
	pthread_mutex_lock(&card->ports_lock);
	for (unsigned port = 0; port < IGB_PORTS; port++) {
		fns[port] = card->ports[port];
		if (fns[port])
			fns[port]->refs++;
	}
	pthread_mutex_unlock(&card->ports_lock);
}

void igb_ports_put(struct igb_card *card, struct igb_fn *fns[IGB_PORTS])
{
	bool last = false;

	pthread_mutex_lock(&card->ports_lock);
	for (unsigned port = 0; port < IGB_PORTS; port++)
		if (fns[port] && !--fns[port]->refs)
			last = true;
	if (last)
		pthread_cond_broadcast(&card->ports_cond);
	pthread_mutex_unlock(&card->ports_lock);
}

/* From its first reset on, before which its registers are nobody's. */
static void plug(struct igb_fn *fn)
{
	pthread_mutex_lock(&fn->card->ports_lock);
	fn->plugged = true;
	fn->card->ports[fn->port] = fn;
	pthread_mutex_unlock(&fn->card->ports_lock);
}

/* When it returns nobody of the card has @fn any more. Another may have its place already. */
static void unplug(struct igb_fn *fn)
{
	struct igb_card *card = fn->card;

	pthread_mutex_lock(&card->ports_lock);
	if (card->ports[fn->port] == fn) {
		card->ports[fn->port] = NULL;
		pthread_rwlock_wrlock(&card->sw);
		card->filters[fn->port].on = false;
		pthread_rwlock_unlock(&card->sw);
	}
	while (fn->refs)
		pthread_cond_wait(&card->ports_cond, &card->ports_lock);
	pthread_mutex_unlock(&card->ports_lock);
}

/* ------------------------------------------------------------------ reset */

/* What CTRL.RST leaves alone: semaphores, and requests that the driver may have stored behind it
 * before we saw it. */
static bool outlives(const struct igb_fn *fn, unsigned reg)
{
	if (reg == IGB_R_VMBMEM)
		return true;
	if (fn->vf)
		return reg == IGB_R_V2PMAILBOX || reg == IGB_R_VFSTATS;
	return reg == IGB_R_EERD || reg == IGB_R_MDIC || reg == IGB_R_SWSM ||
	       reg == IGB_R_SW_FW_SYNC || reg == IGB_R_EECD;
}

static void soft_reset(struct igb_fn *fn)
{
	const struct pcif_reg *table = fn->vf ? igb_vf_regs : igb_pf_regs;
	unsigned n = fn->vf ? (unsigned)IGB_N_VF_REGS : (unsigned)IGB_N_PF_REGS;

	for (unsigned reg = 0; reg < n; reg++)
		for (unsigned i = 0; i < MAX(table[reg].count, 1u) && !outlives(fn, reg); i++)
			igb_set(fn, reg, i, table[reg].reset);
}

void igb_fn_reset(struct igb_fn *fn, bool soft)
{
	struct igb_card *card = fn->card;
	uint32_t low;

	if (soft)
		soft_reset(fn);
	else
		pcif_regs_reset(fn->regs);
	for (unsigned i = 0; i < fn->n_queues; i++)
		igb_queue_reset(fn, i);
	fn->tx_pending = 0;
	igb_irq_reset(fn);
	/* Drivers of VFs take differences, across their own resets too; a new owner begins with 0.
	 */
	if (!fn->vf || !soft)
		igb_stats_reset(fn);
	igb_backlog_clear(fn);
	if (fn->vf) {
		/* Drivers wait until reading has cleared it, which it cannot on a mapped page. */
		fn->v2p = card->mmio == IGB_MMIO_SHARED ? 0 : IGB_V2P_RSTD;
		if (!soft || fn->v2p)
			igb_set(fn, IGB_R_V2PMAILBOX, 0,
				igb_get(fn, IGB_R_V2PMAILBOX, 0) | fn->v2p);
		igb_policy_reset(fn);
		igb_filter_update(fn);
		return;
	}
	memcpy(&low, card->mac, 4);
	igb_set(fn, IGB_R_RAL, 0, le32toh(low));
	igb_set(fn, IGB_R_RAH, 0, IGB_RAH_AV | card->mac[5] << 8 | card->mac[4]);
	igb_clock_reset(card);
	if (!soft)
		igb_phy_reset(card);
	igb_link_update(fn);
	igb_filter_update(fn);
}

static void reset(void *state)
{
	struct igb_fn *fn = state;

	pcif_lock(fn->f);
	fn->slow = false;
	igb_fn_reset(fn, false);
	pcif_unlock(fn->f);
	if (fn->plugged)
		return;
	plug(fn);
	if (!fn->vf)
		igb_uplink_start(fn->card);
}

static void shared(void *state, bool on)
{
	struct igb_fn *fn = state;

	pcif_lock(fn->f);
	fn->shared = on && fn->card->mmio != IGB_MMIO_TRAP;
	pcif_unlock(fn->f);
	igb_kick(fn);
}

/* ------------------------------------------------------------------ BARs */

static uint64_t bar_read(void *state, unsigned bar, uint64_t offset, unsigned size)
{
	struct igb_fn *fn = state;

	if (bar == BAR_REGS)
		return pcif_regs_read(fn->regs, offset, size);
	if (bar != BAR_IO || size != 4)
		return 0;
	if (offset == IO_ADDR)
		return fn->io_addr;
	return offset == IO_DATA && fn->io_addr < REGS_SIZE
		       ? pcif_regs_read(fn->regs, fn->io_addr, 4)
		       : 0;
}

static void bar_write(void *state, unsigned bar, uint64_t offset, unsigned size, uint64_t value)
{
	struct igb_fn *fn = state;

	if (bar == BAR_REGS)
		pcif_regs_write(fn->regs, offset, size, value);
	if (bar != BAR_IO || size != 4)
		return;
	if (offset == IO_ADDR)
		fn->io_addr = (uint32_t)value & ~3u;
	else if (offset == IO_DATA && fn->io_addr < REGS_SIZE)
		pcif_regs_write(fn->regs, fn->io_addr, 4, value);
}

/* A PF's are those of all its VFs. */
static unsigned counters(void *state, struct pcif_counter *out)
{
	struct igb_fn *fn = state;

	out[0] = (struct pcif_counter){ "spoofed", fn->vf ? fn->spoofed : fn->card->spoofed };
	out[1] = (struct pcif_counter){ "muted", fn->vf ? fn->muted : fn->card->muted };
	out[2] = (struct pcif_counter){ "missed", fn->vf ? fn->missed : fn->card->missed };
	out[3] = (struct pcif_counter){ "discarded", fn->vf ? fn->discarded : fn->card->discarded };
	return 4;
}

/* Which pages clients may map: all; those of the queues; none. */
static void describe_pages(struct pcif_bar *bar, enum igb_mmio mmio, bool vf)
{
	static const struct pcif_bar_area queues[] = {
		{ 0x2000, 0x2000, PCIF_PAGE_SHARED }, /* queues 0 to 3, and all of a VF */
		{ 0xc000, 0x1000, PCIF_PAGE_SHARED },
		{ 0xe000, 0x1000, PCIF_PAGE_SHARED },
	};

	if (mmio == IGB_MMIO_SHARED) {
		bar->areas[0] = (struct pcif_bar_area){ 0, bar->size, PCIF_PAGE_SHARED };
		bar->n_areas = 1;
	} else if (mmio == IGB_MMIO_QUEUES) {
		memcpy(bar->areas, queues, sizeof(queues));
		bar->n_areas = vf ? 1 : ARRAY_SIZE(queues);
	}
}

/* ------------------------------------------------------------------ making and ending */

static void fn_free(struct igb_fn *fn)
{
	for (unsigned i = 0; i < IGB_QUEUES; i++)
		free(fn->tx[i].packet);
	free(fn->backlog.ring);
	pthread_mutex_destroy(&fn->backlog.lock);
	igb_worker_fini(&fn->worker);
	pcif_regs_free(fn->regs);
	free(fn);
}

static struct igb_fn *fn_new(struct igb_card *card, struct pcif *f, unsigned port)
{
	struct igb_fn *fn = calloc(1, sizeof(*fn));
	bool vf = port != IGB_PF_PORT;

	if (!fn)
		return NULL;
	fn->card = card;
	fn->f = f;
	fn->port = port;
	fn->vf = vf;
	fn->n_queues = vf ? IGB_VF_QUEUES : IGB_QUEUES;
	pthread_mutex_init(&fn->backlog.lock, NULL);
	igb_worker_init(&fn->worker, card, fn);
	if (pcif_regs_new(f, BAR_REGS, vf ? igb_vf_regs : igb_pf_regs,
			  vf ? (unsigned)IGB_N_VF_REGS : (unsigned)IGB_N_PF_REGS, fn, &fn->regs)) {
		fn_free(fn);
		return NULL;
	}
	return fn;
}

static void card_free(struct igb_card *card)
{
	igb_uplink_free(card);
	igb_worker_fini(&card->worker);
	pthread_mutex_destroy(&card->ports_lock);
	pthread_cond_destroy(&card->ports_cond);
	pthread_rwlock_destroy(&card->sw);
	free(card);
}

static void destroy(void *state)
{
	struct igb_fn *fn = state;
	struct igb_card *card = fn->card;
	bool vf = fn->vf;

	if (!vf) {
		igb_uplink_stop(card);
		igb_worker_stop(&card->worker);
	}
	unplug(fn);
	igb_worker_stop(&fn->worker);
	fn_free(fn);
	if (!vf)
		card_free(card);
}

/* ------------------------------------------------------------------ models */

static const struct pcif_desc igb_desc = {
	.vendor = IGB_VENDOR, .device = IGB_DEVICE, .subsystem_vendor = IGB_VENDOR,
	.subsystem_device = 0xa03c, /* Gigabit ET dual port server adapter */
	.class_code = 0x020000, .revision = 1,
	.bars = {
		[BAR_REGS] = { PCIF_BAR_MEM32, .size = REGS_SIZE },
		[BAR_IO] = { PCIF_BAR_IO, .size = 32 },
		[BAR_MSIX] = { PCIF_BAR_MEM32, .size = KIB(16) },
	},
	.intx_pin = 1, .msi_vectors = 1, .msix_vectors = IGB_VECTORS, .msix_bar = BAR_MSIX,
	.msix_table_offset = 0, .msix_pba_offset = 0x2000,
	.pcie = true, .pm = true, .aer = true,
	.sriov = {
		.vf_device = IGB_VF_DEVICE,
		.bars = {
			[BAR_REGS] = { PCIF_BAR_MEM64, .prefetchable = true, .size = VF_REGS_SIZE },
			[BAR_MSIX] = { PCIF_BAR_MEM64, .prefetchable = true, .size = KIB(16) },
		},
	},
};

static void describe(const struct igb_card *card, struct pcif_desc *desc)
{
	const uint8_t *m = card->mac;

	*desc = igb_desc;
	describe_pages(&desc->bars[BAR_REGS], card->mmio, false);
	describe_pages(&desc->sriov.bars[BAR_REGS], card->mmio, true);
	desc->sriov.total_vfs = (uint16_t)card->n_vfs;
	/* An EUI-64 of the MAC address. */
	desc->dsn = (uint64_t)m[0] << 56 | (uint64_t)m[1] << 48 | (uint64_t)m[2] << 40 |
		    0xfffeull << 24 | (uint32_t)m[3] << 16 | m[4] << 8 | m[5];
}

int igb_create(struct pcif *f, const struct pcif_params *params, struct pcif_desc *desc,
	       bool manual, struct igb_card **out, struct pcif_reply_error *err)
{
	struct igb_card *card = calloc(1, sizeof(*card));
	int ret;

	if (!card)
		return pcif_error(err, -ENOMEM, "out of memory");
	card->manual = manual;
	pthread_mutex_init(&card->ports_lock, NULL);
	pthread_cond_init(&card->ports_cond, NULL);
	pthread_rwlock_init(&card->sw, NULL);
	igb_worker_init(&card->worker, card, NULL);
	ret = igb_options_parse(card, f, params, err);
	if (ret)
		goto err_free;
	igb_nvm_init(card);
	describe(card, desc);
	card->pf = fn_new(card, f, IGB_PF_PORT);
	ret = card->pf ? igb_worker_start(&card->worker) : -ENOMEM;
	if (ret) {
		pcif_error(err, ret, "the network card's thread: %s", strerror(-ret));
		goto err_fn;
	}
	ret = igb_uplink_new(card, params, err);
	if (ret)
		goto err_worker;
	*out = card;
	return 0;

err_worker:
	igb_worker_stop(&card->worker);
err_fn:
	if (card->pf)
		fn_free(card->pf);
err_free:
	card_free(card);
	return ret;
}

static int create(struct pcif *f, const struct pcif_params *params, struct pcif_desc *desc,
		  void **state, struct pcif_reply_error *err)
{
	struct igb_card *card;
	int ret = igb_create(f, params, desc, false, &card, err);

	if (!ret)
		*state = card->pf;
	return ret;
}

static int create_vf(struct pcif *f, void *pf_state, unsigned index, struct pcif_desc *desc,
		     void **state, struct pcif_reply_error *err)
{
	struct igb_card *card = ((struct igb_fn *)pf_state)->card;
	struct igb_fn *fn = fn_new(card, f, index);

	if (!fn)
		return pcif_error(err, -ENOMEM, "out of memory");
	fn->policy = card->vf_policies[index];
	desc->msix_vectors = IGB_VF_VECTORS;
	desc->msix_bar = BAR_MSIX;
	desc->msix_table_offset = 0;
	desc->msix_pba_offset = 0x2000;
	desc->aer = true;
	*state = fn;
	return 0;
}

const struct pcif_model device_igb = {
	.name = "igb",
	.summary = "network card, Intel 82576, with virtual functions (see docs/igb.md)",
	.options = igb_options,
	.create = create,
	.create_vf = create_vf,
	.destroy = destroy,
	.bar_read = bar_read,
	.bar_write = bar_write,
	.reset = reset,
	.shared = shared,
	.counters = counters,
};
