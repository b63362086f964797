/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Addresses: what firmware does at boot. Each BAR gets an address, naturally aligned, inside a
 * window that the root port above forwards; the windows of all ports of the machine lie one after
 * the other in three ranges, so that no address is used twice.
 *
 * 64-bit BARs that are prefetchable (or too large for the space below 4 GiB) go to the prefetchable
 * window, all other memory to the 32-bit one. PCI-to-PCI Bridge Architecture 1.2 section 3.2.5.
 */
#include <errno.h>

#include "priv.h"

struct window {
	const char *name;
	uint64_t next, last; /* of the range that is still free */
	uint64_t granule;    /* what a bridge can express */
};

enum window_kind { WINDOW_IO, WINDOW_MEM, WINDOW_PREF, WINDOW_KINDS };

static enum window_kind bar_window(const struct pcif_bar *bar)
{
	if (bar->type == PCIF_BAR_IO)
		return WINDOW_IO;
	if (bar->type == PCIF_BAR_MEM64 && (bar->prefetchable || bar->size >= MIB(256)))
		return WINDOW_PREF;
	return WINDOW_MEM;
}

/* What asks for addresses: a function's BARs, then those that all its VFs have at a place. */
#define SLOTS (2 * PCIF_NUM_BARS)

static const struct pcif_bar *slot_bar(const struct pcif *f, unsigned slot)
{
	return slot < PCIF_NUM_BARS ? &f->desc.bars[slot]
				    : &f->desc.sriov.bars[slot - PCIF_NUM_BARS];
}

/* A multiple of the BAR's size, to which it is aligned. */
static uint64_t slot_size(const struct pcif *f, unsigned slot)
{
	return slot_bar(f, slot)->size * (slot < PCIF_NUM_BARS ? 1 : f->desc.sriov.total_vfs);
}

static bool slot_belongs(const struct pcif *f, unsigned slot, enum window_kind kind)
{
	const struct pcif_bar *bar = slot_bar(f, slot);

	return bar->type != PCIF_BAR_NONE && slot_size(f, slot) && bar_window(bar) == kind;
}

static uint64_t largest_bar(const struct pcim *m, const struct pcif *port, enum window_kind kind)
{
	uint64_t size = 0;

	for (unsigned i = 0; i < m->n_functions; i++)
		for (unsigned s = 0; s < SLOTS; s++)
			if (m->functions[i]->parent == port &&
			    slot_belongs(m->functions[i], s, kind))
				size = MAX(size, slot_bar(m->functions[i], s)->size);
	return size;
}

static void set_bar(struct pcif *f, unsigned slot, uint64_t address)
{
	unsigned bar = slot, at = PCI_BASE_ADDRESS_0 + 4 * bar;
	uint32_t type;

	if (slot >= PCIF_NUM_BARS) {
		sriov_set_bar(f, slot - PCIF_NUM_BARS, address);
		return;
	}
	type = config_peek(&f->config, at, 4);
	f->bar_address[bar] = address;
	config_poke(&f->config, at, 4, (uint32_t)address | type);
	if (f->desc.bars[bar].type == PCIF_BAR_MEM64)
		config_poke(&f->config, at + 4, 4, (uint32_t)(address >> 32));
}

static void set_port_window(struct pcif *port, enum window_kind kind, uint64_t first, uint64_t last)
{
	struct config_space *c = &port->config;

	switch (kind) {
	case WINDOW_IO:
		config_preset(c, PCI_IO_BASE, 1, ((uint32_t)(first >> 8) & 0xf0) | 1);
		config_preset(c, PCI_IO_LIMIT, 1, ((uint32_t)(last >> 8) & 0xf0) | 1);
		config_preset(c, PCI_IO_BASE_UPPER16, 2, (uint32_t)(first >> 16));
		config_preset(c, PCI_IO_LIMIT_UPPER16, 2, (uint32_t)(last >> 16));
		break;
	case WINDOW_MEM:
		config_preset(c, PCI_MEMORY_BASE, 2, (uint32_t)(first >> 16) & 0xfff0);
		config_preset(c, PCI_MEMORY_LIMIT, 2, (uint32_t)(last >> 16) & 0xfff0);
		break;
	default:
		config_preset(c, PCI_PREF_MEMORY_BASE, 2, ((uint32_t)(first >> 16) & 0xfff0) | 1);
		config_preset(c, PCI_PREF_MEMORY_LIMIT, 2, ((uint32_t)(last >> 16) & 0xfff0) | 1);
		config_preset(c, PCI_PREF_BASE_UPPER32, 4, (uint32_t)(first >> 32));
		config_preset(c, PCI_PREF_LIMIT_UPPER32, 4, (uint32_t)(last >> 32));
		break;
	}
}

/* VFs may go without: they cannot be enabled then. */
static int place(struct pcif *f, unsigned slot, const struct window *w, uint64_t *at)
{
	uint64_t size = slot_size(f, slot);
	bool vf = slot >= PCIF_NUM_BARS;

	if (*at <= w->last && size - 1 <= w->last - *at) {
		set_bar(f, slot, *at);
		*at += size;
		return 0;
	}
	log_info("%s: no %s space left for %s %u of %llu bytes", f->name, w->name,
		 vf ? "VF BAR" : "BAR", slot % PCIF_NUM_BARS, (unsigned long long)size);
	return vf ? 0 : -ENOSPC;
}

/* Largest first leaves no holes: every BAR then begins aligned where the one before ended. */
static int assign_below(struct pcim *m, struct pcif *port, enum window_kind kind, struct window *w)
{
	uint64_t size = largest_bar(m, port, kind), first, at;
	int rc;

	if (!size)
		return 0;
	first = at = ALIGN_UP(w->next, MAX(size, w->granule));
	for (; size; size /= 2) {
		for (unsigned i = 0; i < m->n_functions; i++) {
			struct pcif *f = m->functions[i];

			for (unsigned s = 0; s < SLOTS; s++) {
				if (f->parent != port || !slot_belongs(f, s, kind) ||
				    slot_bar(f, s)->size != size)
					continue;
				rc = place(f, s, w, &at);
				if (rc)
					return rc;
			}
		}
	}
	if (at == first) /* for VFs that found no room */
		return 0;
	w->next = ALIGN_UP(at, w->granule);
	set_port_window(port, kind, first, w->next - 1);
	return 0;
}

/**
 * windows_assign() - addresses for every BAR of @m, windows for every port.
 * -ENOSPC if they do not fit.
 */
int windows_assign(struct pcim *m)
{
	/*
	 * Memory: below 4 GiB, clear of the interrupt controllers and the message window. I/O: a
	 * port cannot forward less than 4 KiB, so 64 KiB would do for 15 of them; its 32-bit form
	 * is enough for as many as there can be.
	 */
	struct window windows[WINDOW_KINDS] = {
		[WINDOW_IO] = { "I/O", 0x1000, 0xffffff, KIB(4) },
		[WINDOW_MEM] = { "32-bit memory", 0x80000000, 0xfbffffff, MIB(1) },
		[WINDOW_PREF] = { "prefetchable memory", 0x380000000000, 0x3fffffffffff, MIB(1) },
	};

	for (unsigned i = 0; i < m->n_functions; i++) {
		if (!m->functions[i]->bridge)
			continue;
		for (unsigned k = 0; k < WINDOW_KINDS; k++) {
			int rc = assign_below(m, m->functions[i], (enum window_kind)k, &windows[k]);

			if (rc)
				return rc;
		}
	}
	return 0;
}
