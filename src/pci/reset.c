/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Function-level reset, and what configuration space lets a function do at the IOMMU.
 *
 * A reset goes in an order in which nothing can slip through: decode and bus master off; wait for
 * DMA and register accesses in flight; the model; then the bytes. Only "ctl" is held while waiting,
 * so the model's threads can finish what they are at.
 *
 * PCI Express Base 4.0 section 6.6.2: registers go to their reset values, BARs included, save
 * sticky ones. The platform's own idea of a BAR's address (pcif_bar_address()) is not a register.
 */
#include "priv.h"

void reset_apply_gate(struct pcif *f)
{
	iommu_port_set_enabled(f->port, atomic_load(&f->gate) & GATE_BM);
}

void reset_locked(struct pcif *f)
{
	const uint32_t on = PCI_COMMAND_MEMORY | PCI_COMMAND_IO | PCI_COMMAND_MASTER;

	irq_hold(f, true);
	pthread_mutex_lock(&f->cfg);
	f->config.value[PCI_COMMAND] &= (uint8_t)~on;
	f->resetting = true; /* a VF decodes whatever its command register says */
	config_update_gate(f);
	pthread_mutex_unlock(&f->cfg);
	reset_apply_gate(f);
	/* A hook that was running when decode went off is over once the lock was ours. */
	pthread_mutex_lock(&f->reg);
	pthread_mutex_unlock(&f->reg);

	model_reset(f);

	pthread_rwlock_wrlock(&f->irq.conn);
	pthread_mutex_lock(&f->cfg);
	config_reset_bytes(&f->config);
	f->resetting = false;
	irq_reset(f);
	pthread_mutex_unlock(&f->cfg);
	pthread_rwlock_unlock(&f->irq.conn);
	reset_apply_gate(f);
	irq_hold(f, false);
	atomic_fetch_add(&f->resets, 1);
	/* VF Enable is clear now. */
	if (f->sriov)
		sriov_sync(f);
}

void reset_notify(struct pcif *f)
{
	if (f->m->reset_cb)
		f->m->reset_cb(f->m->reset_data, f);
}

/**
 * pcif_reset() - function-level reset, done when it returns: no DMA in flight, model and registers
 * at their power-on state, BARs 0, everything in the command register off. Where interrupts go
 * stays, and the enable bits of that are set again. A caller that wants more of the configuration
 * back saves it before with pcif_config_read(), and writes it afterwards, command register last.
 * Any thread, but not from a model's hooks or with the register lock held.
 */
void pcif_reset(struct pcif *f)
{
	/* Who has the lock may be in a sink. */
	irq_hold(f, true);
	pthread_mutex_lock(&f->ctl);
	reset_locked(f);
	pthread_mutex_unlock(&f->ctl);
	irq_hold(f, false);
	reset_notify(f);
	if (f->bridge)
		path_sync(f->m, f);
}

uint64_t pcif_reset_count(const struct pcif *f)
{
	return atomic_load(&f->resets);
}
