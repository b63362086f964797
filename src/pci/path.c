/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What bridges let through. A bridge whose bus master bit is clear forwards no request towards the
 * root, one without memory or I/O decode none of that kind away from it, and one that is not in D0
 * nothing at all, configuration requests included: what is below reads as ones.
 *
 * Each function keeps what all the bridges above it let through (pcif.path), and its gate is
 * computed with that. Whoever changed a bridge calls path_sync() when he has let go of its locks;
 * one at a time works from the bridge down, so that each function is set from what its bridge has
 * by then.
 *
 * Addresses of windows are not looked at: BARs are reached by number here, not by address.
 * PCI-to-PCI Bridge Architecture 1.2 section 3.2.4.3, PCI Power Management 1.2 section 4.2.
 */
#include "priv.h"

static uint8_t forwards(struct pcif *bridge)
{
	const struct config_space *c = &bridge->config;
	uint8_t path = PATH_UP;
	uint32_t command;

	pthread_mutex_lock(&bridge->cfg);
	command = config_peek(c, PCI_COMMAND, 2);
	if (command & PCI_COMMAND_MEMORY)
		path |= PATH_MEM;
	if (command & PCI_COMMAND_IO)
		path |= PATH_IO;
	if (command & PCI_COMMAND_MASTER)
		path |= PATH_BM;
	if (bridge->cap_pm && c->value[bridge->cap_pm + PCI_PM_CTRL] & PCI_PM_CTRL_STATE_MASK)
		path = 0;
	path &= bridge->path;
	pthread_mutex_unlock(&bridge->cfg);
	return path & PATH_UP ? path : 0;
}

static void set_path(struct pcif *f, uint8_t path)
{
	bool changed, was_off;

	pthread_mutex_lock(&f->ctl);
	pthread_mutex_lock(&f->cfg);
	changed = f->path != path;
	was_off = atomic_load(&f->gate) & GATE_INTX_OFF;
	f->path = path;
	if (changed)
		config_update_gate(f);
	pthread_mutex_unlock(&f->cfg);
	if (changed) {
		reset_apply_gate(f);
		irq_replay(f, was_off);
	}
	pthread_mutex_unlock(&f->ctl);
}

bool path_is_below(const struct pcif *f, const struct pcif *bridge)
{
	do
		f = f->parent;
	while (f && f != bridge);
	return f;
}

void path_sync(struct pcim *m, const struct pcif *bridge)
{
	struct pcim_list list;

	pthread_mutex_lock(&m->path);
	if (pcim_list(m, &list))
		log_error("out of memory: what is below a bridge does not follow it");
	for (unsigned i = 0; i < list.n; i++) {
		struct pcif *f = list.f[i];

		if (f->parent && (!bridge || path_is_below(f, bridge)))
			set_path(f, forwards(f->parent));
	}
	pcim_list_free(&list);
	pthread_mutex_unlock(&m->path);
}
