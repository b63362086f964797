/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Configuration space of one function, as its hardware has it: bytes, and for each byte the bits
 * that a write changes, that writing 1 clears, that a reset restores. Capabilities are tables of
 * fields (caps.c) poured into these bytes, so an access never needs to know what it touches. Only
 * writes that do more than change bytes (bus master, power state, function-level reset, interrupt
 * gates) are looked at afterwards.
 *
 * PCI Local Bus 3.0 section 6.2, PCI Express Base 4.0 sections 6.6.2 and 7.5, PCI Power Management
 * 1.2 section 3.2. How VFIO shows this space to a client is not known here (src/vfio).
 */
#include <errno.h>

#include "priv.h"

/* Room for the rules of @c. 0 or -ENOMEM. */
int config_init(struct config_space *c)
{
	c->rules = calloc(1, sizeof(*c->rules));
	if (!c->rules)
		return -ENOMEM;
	atomic_init(&c->rules->refs, 1);
	return 0;
}

/* NULL is fine. */
void config_rules_put(struct config_rules *rules)
{
	if (rules && atomic_fetch_sub(&rules->refs, 1) == 1)
		free(rules);
}

/*
 * Lets @c use *@shared, if these are the same as its own; the first one that asks gives its own
 * there. One thread at a time; nothing changes the rules of @c afterwards.
 */
void config_share(struct config_space *c, struct config_rules **shared)
{
	struct config_rules *rules = *shared;

	if (!rules) {
		atomic_fetch_add(&c->rules->refs, 1);
		*shared = c->rules;
		return;
	}
	if (memcmp(c->rules->wmask, rules->wmask, sizeof(rules->wmask)) ||
	    memcmp(c->rules->w1c, rules->w1c, sizeof(rules->w1c)) ||
	    memcmp(c->rules->reset, rules->reset, sizeof(rules->reset)) ||
	    memcmp(c->rules->sticky, rules->sticky, sizeof(rules->sticky)))
		return;
	atomic_fetch_add(&rules->refs, 1);
	config_rules_put(c->rules);
	c->rules = rules;
}

uint32_t config_peek(const struct config_space *c, unsigned offset, unsigned size)
{
	uint32_t v = 0;

	for (unsigned i = 0; i < size; i++)
		v |= (uint32_t)c->value[offset + i] << (8 * i);
	return v;
}

/* Stores without regard to masks. */
void config_poke(struct config_space *c, unsigned offset, unsigned size, uint32_t value)
{
	for (unsigned i = 0; i < size; i++)
		c->value[offset + i] = (uint8_t)(value >> (8 * i));
}

void config_field_add(struct config_space *c, unsigned base, const struct config_field *field)
{
	for (unsigned i = 0; i < field->width; i++) {
		unsigned at = base + field->offset + i;

		c->value[at] = (uint8_t)(field->value >> (8 * i));
		c->rules->reset[at] = c->value[at];
		c->rules->wmask[at] = (uint8_t)(field->wmask >> (8 * i));
		c->rules->w1c[at] = (uint8_t)(field->w1c >> (8 * i));
		c->rules->sticky[at] = (uint8_t)(field->sticky >> (8 * i));
	}
}

/* A value that platform or builder gives; it is there again after a reset as well. */
void config_preset(struct config_space *c, unsigned offset, unsigned size, uint32_t value)
{
	config_poke(c, offset, size, value);
	for (unsigned i = 0; i < size; i++)
		c->rules->reset[offset + i] = c->value[offset + i];
}

void config_reset_bytes(struct config_space *c)
{
	for (unsigned i = 0; i < PCIF_CONFIG_SIZE; i++)
		c->value[i] = (c->value[i] & c->rules->sticky[i]) |
			      (c->rules->reset[i] & ~c->rules->sticky[i]);
}

/* cfg held. */
void config_update_gate(struct pcif *f)
{
	const struct config_space *c = &f->config;
	uint32_t command = config_peek(c, PCI_COMMAND, 2), gate = 0;
	bool d0 = !f->cap_pm || !(c->value[f->cap_pm + PCI_PM_CTRL] & PCI_PM_CTRL_STATE_MASK);

	/* A VF's decode is its PF's to switch. */
	if (d0 && (f->pf || (command & PCI_COMMAND_MEMORY)))
		gate |= GATE_MEM;
	if (d0 && (command & PCI_COMMAND_IO))
		gate |= GATE_IO;
	if (d0 && (command & PCI_COMMAND_MASTER) && !f->vf_off && (f->path & PATH_BM))
		gate |= GATE_BM;
	if (f->vf_off || f->vf_mem_off || f->resetting || !(f->path & PATH_MEM))
		gate |= GATE_SILENT;
	if (!(f->path & PATH_IO))
		gate |= GATE_SILENT_IO;
	if (!d0 || !(f->path & PATH_UP) || (command & PCI_COMMAND_INTX_DISABLE))
		gate |= GATE_INTX_OFF;
	if (f->cap_msi) {
		if (c->value[f->cap_msi + PCI_MSI_FLAGS] & PCI_MSI_FLAGS_ENABLE)
			gate |= GATE_MSI;
		atomic_store(&f->irq.msi_mask, config_peek(c, f->cap_msi + PCI_MSI_MASK_64, 4));
	}
	if (f->cap_msix) {
		uint32_t flags = config_peek(c, f->cap_msix + PCI_MSIX_FLAGS, 2);

		if (flags & PCI_MSIX_FLAGS_ENABLE)
			gate |= GATE_MSIX;
		if (flags & PCI_MSIX_FLAGS_MASKALL)
			gate |= GATE_MSIX_MASKED;
	}
	atomic_store(&f->gate, gate);
}

/* Nobody answers configuration requests. cfg held. */
static bool is_gone(const struct pcif *f)
{
	return f->vf_off || !(f->path & PATH_UP);
}

/* Registers whose value lives elsewhere are copied in before a read. cfg held. */
static void config_refresh(struct pcif *f)
{
	struct config_space *c = &f->config;

	c->value[PCI_STATUS] &= (uint8_t)~PCI_STATUS_INTERRUPT;
	if (atomic_load(&f->irq.level))
		c->value[PCI_STATUS] |= PCI_STATUS_INTERRUPT;
	if (f->cap_msi)
		config_poke(c, f->cap_msi + PCI_MSI_PENDING_64, 4,
			    atomic_load(&f->irq.msi_pending));
}

unsigned pcif_config_size(const struct pcif *f)
{
	return f->config.size;
}

/**
 * pcif_config_read() - @size 1, 2 or 4 bytes at @offset.
 * All ones (in @size bytes) past the end of the space, and for any other size or alignment. Any
 * thread; may be called with the register lock held.
 */
uint32_t pcif_config_read(struct pcif *f, unsigned offset, unsigned size)
{
	uint32_t v;

	if (size != 1 && size != 2 && size != 4)
		return UINT32_MAX;
	if (offset % size || offset >= f->config.size)
		return size == 4 ? UINT32_MAX : BIT(8 * size) - 1;
	pthread_mutex_lock(&f->cfg);
	config_refresh(f);
	v = is_gone(f) ? UINT32_MAX >> (32 - 8 * size) : config_peek(&f->config, offset, size);
	pthread_mutex_unlock(&f->cfg);
	return v;
}

static bool covers(unsigned offset, unsigned size, unsigned byte)
{
	return offset <= byte && byte < offset + size;
}

/*
 * The power state field takes only states that the function has: D0 and D3hot. Returns whether the
 * function must be reset because it came back from D3hot (PM 1.2 section 3.2.4 and 5.4). cfg held.
 */
static bool write_power_state(struct pcif *f, uint8_t old, uint8_t value)
{
	uint8_t *pmcsr = &f->config.value[f->cap_pm + PCI_PM_CTRL];
	uint8_t from = old & PCI_PM_CTRL_STATE_MASK, to = value & PCI_PM_CTRL_STATE_MASK;

	if (to != 0 && to != 3)
		to = from;
	*pmcsr = (uint8_t)((*pmcsr & ~PCI_PM_CTRL_STATE_MASK) | to);
	return from == 3 && to == 0 && !(*pmcsr & PCI_PM_CTRL_NO_SOFT_RESET);
}

/* Changes the bytes and finds what else the write means. cfg held. */
static void write_bytes(struct pcif *f, unsigned offset, unsigned size, uint32_t value,
			struct config_effects *fx)
{
	struct config_space *c = &f->config;
	uint8_t before[PCI_EXT_CAP_SRIOV_SIZEOF];

	if (f->sriov)
		memcpy(before, c->value + CAP_SRIOV, sizeof(before));
	for (unsigned i = 0; i < size; i++) {
		unsigned at = offset + i;
		uint8_t old = c->value[at], v = (uint8_t)(value >> (8 * i));

		c->value[at] = (uint8_t)((old & ~c->rules->wmask[at]) | (v & c->rules->wmask[at]));
		c->value[at] &= (uint8_t) ~(v & c->rules->w1c[at]);
		if (f->cap_pm && at == (unsigned)f->cap_pm + PCI_PM_CTRL)
			fx->reset |= write_power_state(f, old, v);
		/* Initiate FLR is the top bit of the control register; it never reads as set. */
		if (f->cap_pcie && !f->bridge && at == f->cap_pcie + PCI_EXP_DEVCTL + 1u &&
		    (v & (PCI_EXP_DEVCTL_BCR_FLR >> 8)))
			fx->reset = true;
		if (f->bridge && at == PCI_BRIDGE_CONTROL && (v & PCI_BRIDGE_CTL_BUS_RESET) &&
		    !(old & PCI_BRIDGE_CTL_BUS_RESET))
			fx->bus_reset = true;
	}
	fx->gate = ranges_overlap(offset, offset + size - 1, PCI_COMMAND, PCI_COMMAND + 1);
	if (f->cap_pm && covers(offset, size, f->cap_pm + PCI_PM_CTRL))
		fx->gate = true;
	if (f->cap_msi && ranges_overlap(offset, offset + size - 1, f->cap_msi, f->cap_msi + 23u))
		fx->gate = true;
	if (f->cap_msix && ranges_overlap(offset, offset + size - 1, f->cap_msix, f->cap_msix + 3u))
		fx->gate = true;
	if (f->sriov && ranges_overlap(offset, offset + size - 1, CAP_SRIOV,
				       CAP_SRIOV + PCI_EXT_CAP_SRIOV_SIZEOF - 1))
		fx->sriov = sriov_written(f, before);
}

/* Everything below @bridge, at any depth, gets what a hot reset of its bus does to it, the last
 * first. Nothing held. */
static void reset_below(struct pcif *bridge)
{
	struct pcim_list list;

	if (pcim_list(bridge->m, &list))
		return;
	/* VFs go with their PFs. */
	for (unsigned i = list.n; i-- > 0;)
		if (!list.f[i]->pf && path_is_below(list.f[i], bridge))
			pcif_reset(list.f[i]);
	pcim_list_free(&list);
}

/**
 * pcif_config_write() - @size 1, 2 or 4 bytes at @offset, with everything that the write means:
 * when it returns, a cleared bus master bit has stopped DMA, a function-level reset is done.
 * Dropped past the end of the space, and for any other size or alignment. Any thread, but not from
 * a model's hooks or with the register lock held: it may wait for both.
 */
void pcif_config_write(struct pcif *f, unsigned offset, unsigned size, uint32_t value)
{
	struct config_effects fx = { 0 };
	bool was_off;

	if ((size != 1 && size != 2 && size != 4) || offset % size || offset >= f->config.size)
		return;
	pthread_mutex_lock(&f->ctl);
	pthread_mutex_lock(&f->cfg);
	if (is_gone(f)) {
		pthread_mutex_unlock(&f->cfg);
		pthread_mutex_unlock(&f->ctl);
		return;
	}
	was_off = atomic_load(&f->gate) & GATE_INTX_OFF;
	write_bytes(f, offset, size, value, &fx);
	/* After D3hot the gates open by the reset's values, not for a moment by the old ones. */
	if (fx.gate && !fx.reset)
		config_update_gate(f);
	pthread_mutex_unlock(&f->cfg);
	if (fx.reset) {
		reset_locked(f);
	} else if (fx.gate) {
		reset_apply_gate(f);
		irq_replay(f, was_off);
	}
	if (fx.sriov && !fx.reset)
		sriov_sync(f);
	pthread_mutex_unlock(&f->ctl);
	if (fx.reset)
		reset_notify(f);
	if (fx.gate && f->bridge)
		path_sync(f->m, f);
	if (fx.bus_reset)
		reset_below(f);
}

/**
 * pcif_find_cap() - offset of capability @id (PCI_CAP_ID_*), 0 if absent. Any thread.
 */
unsigned pcif_find_cap(struct pcif *f, uint8_t id)
{
	unsigned at = pcif_config_read(f, PCI_CAPABILITY_LIST, 1);

	/* The list is ours and ends; the bound only makes that plain. */
	for (unsigned n = 0; at >= 0x40 && n < 48; n++) {
		if (pcif_config_read(f, at, 1) == id)
			return at;
		at = pcif_config_read(f, at + 1, 1);
	}
	return 0;
}

unsigned pcif_find_ext_cap(struct pcif *f, uint16_t id)
{
	unsigned at = 0x100;

	if (f->config.size <= 256)
		return 0;
	for (unsigned n = 0; at >= 0x100 && n < 1024; n++) {
		uint32_t header = pcif_config_read(f, at, 4);

		if (header && PCI_EXT_CAP_ID(header) == id)
			return at;
		at = PCI_EXT_CAP_NEXT(header);
	}
	return 0;
}
