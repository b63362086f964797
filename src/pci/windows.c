/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Addresses: what firmware does at boot. Each BAR gets an address, naturally aligned, inside a
 * window that every bridge above forwards; what is on the root buses of the machine lies one after
 * the other in three ranges, so that no address is used twice.
 *
 * From the leaves to the root, each bus is measured: what it holds, in order of alignment, so that
 * there are few holes, is the window of the bridge above, which is one of the things on that
 * bridge's bus. Then, from the root to the leaves, the same is done again with real addresses.
 *
 * 64-bit BARs that are prefetchable (or too large for the space below 4 GiB) go to the prefetchable
 * window, all other memory to the 32-bit one. PCI-to-PCI Bridge Architecture 1.2 section 3.2.5.
 */
#include <errno.h>

#include "priv.h"

enum window_kind { WINDOW_IO, WINDOW_MEM, WINDOW_PREF, WINDOW_KINDS };

/*
 * Memory: below 4 GiB, clear of the interrupt controllers and the message window. I/O: a bridge
 * cannot forward less than 4 KiB, so 64 KiB would do for 15 of them; the 32-bit form is enough for
 * as many as there can be.
 */
static const struct window_range {
	const char *name;
	uint64_t first, last;
	uint64_t granule; /* what a bridge can express */
} ranges[WINDOW_KINDS] = {
	[WINDOW_IO] = { "I/O", 0x1000, 0xffffff, KIB(4) },
	[WINDOW_MEM] = { "32-bit memory", 0x80000000, 0xfbffffff, MIB(1) },
	[WINDOW_PREF] = { "prefetchable memory", 0x380000000000, 0x3fffffffffff, MIB(1) },
};

/* What asks for addresses: a function's BARs, then those that all its VFs have at a place. */
#define SLOTS (2 * PCIF_NUM_BARS)

/* What wants room on a bus. */
struct item {
	struct pcif *f;
	unsigned at; /* in the tree's list */
	int slot;    /* -1: the window of a bridge */
	uint64_t size, align;
};

/* A bridge's window; size 0: nothing below wants any. */
struct window {
	uint64_t base, size, align;
};

struct layout {
	struct pcim *m;
	enum window_kind kind;
	struct window *windows; /* one for each function, of bridges */
	bool *no_vfs;		/* one for each function: there is no room for its VFs */
	struct item *items;	/* of the bus that is looked at; room for all there can be */
	unsigned n;
	bool place; /* the second time */
};

static enum window_kind bar_window(const struct pcif_bar *bar)
{
	if (bar->type == PCIF_BAR_IO)
		return WINDOW_IO;
	if (bar->type == PCIF_BAR_MEM64 && (bar->prefetchable || bar->size >= MIB(256)))
		return WINDOW_PREF;
	return WINDOW_MEM;
}

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

static void set_bar(struct pcif *f, unsigned bar, uint64_t address)
{
	unsigned at = PCI_BASE_ADDRESS_0 + 4 * bar;
	uint32_t type;

	if (bar >= PCIF_NUM_BARS) {
		sriov_set_bar(f, bar - PCIF_NUM_BARS, address);
		return;
	}
	type = config_peek(&f->config, at, 4);
	f->bar_address[bar] = address;
	config_poke(&f->config, at, 4, (uint32_t)address | type);
	if (f->desc.bars[bar].type == PCIF_BAR_MEM64)
		config_poke(&f->config, at + 4, 4, (uint32_t)(address >> 32));
}

static void set_bridge_window(struct pcif *f, enum window_kind kind, uint64_t first, uint64_t last)
{
	struct config_space *c = &f->config;

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

/* ------------------------------------------------------------------ one bus */

static bool slot_belongs(const struct layout *l, unsigned i, unsigned slot)
{
	const struct pcif *f = l->m->functions[i];
	const struct pcif_bar *bar = slot_bar(f, slot);

	if (slot >= PCIF_NUM_BARS && l->no_vfs[i])
		return false;
	return bar->type != PCIF_BAR_NONE && slot_size(f, slot) && bar_window(bar) == l->kind;
}

static void add_items(struct layout *l, unsigned i)
{
	struct pcif *f = l->m->functions[i];
	const struct window *w = &l->windows[i];

	if (f->bridge && w->size)
		l->items[l->n++] = (struct item){ f, i, -1, w->size, w->align };
	for (unsigned s = 0; s < SLOTS; s++)
		if (slot_belongs(l, i, s))
			l->items[l->n++] = (struct item){ f, i, (int)s, slot_size(f, s),
							  slot_bar(f, s)->size };
}

/* The largest alignment first; else as they came, which is in order of address. */
static int item_compare(const void *a, const void *b)
{
	const struct item *x = a, *y = b;

	if (x->align != y->align)
		return x->align > y->align ? -1 : 1;
	return x->at != y->at ? (int)x->at - (int)y->at : x->slot - y->slot;
}

static void collect(struct layout *l, const struct pcif *bridge, const struct root_bus *root)
{
	l->n = 0;
	for (unsigned i = 0; i < l->m->n_functions; i++) {
		const struct pcif *f = l->m->functions[i];

		if (root ? f->on_root_bus && f->bdf.domain == root->domain &&
				    f->bdf.bus == root->first
			 : f->parent == bridge)
			add_items(l, i);
	}
	qsort(l->items, l->n, sizeof(*l->items), item_compare);
}

static void no_room(const struct layout *l, const struct item *item)
{
	const char *range = ranges[l->kind].name;

	if (item->slot < 0)
		log_info("%s: no %s space is left for the %llu bytes below it", item->f->name,
			 range, (unsigned long long)item->size);
	else
		log_info("%s: no %s space is left for %s %u of %llu bytes", item->f->name, range,
			 item->slot < PCIF_NUM_BARS ? "BAR" : "VF BAR",
			 (unsigned)item->slot % PCIF_NUM_BARS, (unsigned long long)item->size);
}

/* Lays the items out from @at on; the end of the last one. Nothing goes past @last. */
static int lay_out(struct layout *l, uint64_t at, uint64_t last, uint64_t *end)
{
	for (unsigned i = 0; i < l->n; i++) {
		const struct item *item = &l->items[i];

		at = ALIGN_UP(at, item->align);
		if (at > last || item->size - 1 > last - at) {
			no_room(l, item);
			return -ENOSPC;
		}
		if (l->place && item->slot >= 0)
			set_bar(item->f, (unsigned)item->slot, at);
		else if (l->place)
			l->windows[item->at].base = at;
		at += item->size;
	}
	*end = at;
	return 0;
}

/* ------------------------------------------------------------------ the tree */

static int measure(struct layout *l, unsigned i)
{
	const uint64_t granule = ranges[l->kind].granule;
	struct window *w = &l->windows[i];
	uint64_t end = 0;
	int rc;

	*w = (struct window){ 0 };
	collect(l, l->m->functions[i], NULL);
	rc = lay_out(l, 0, UINT64_MAX / 2, &end);
	if (rc || !l->n)
		return rc;
	w->size = ALIGN_UP(end, granule);
	w->align = MAX(l->items[0].align, granule);
	return 0;
}

static int place_below(struct layout *l, unsigned i)
{
	const struct window *w = &l->windows[i];
	uint64_t end;

	if (!w->size)
		return 0;
	set_bridge_window(l->m->functions[i], l->kind, w->base, w->base + w->size - 1);
	collect(l, l->m->functions[i], NULL);
	return lay_out(l, w->base, w->base + w->size - 1, &end);
}

/* What is below a bridge comes behind it in the list. */
static int measure_all(struct layout *l)
{
	int rc = 0;

	l->place = false;
	for (unsigned i = l->m->n_functions; i-- > 0 && !rc;)
		if (l->m->functions[i]->bridge)
			rc = measure(l, i);
	return rc;
}

static int lay_out_roots(struct layout *l)
{
	uint64_t next = ranges[l->kind].first;
	int rc = 0;

	for (unsigned i = 0; i < l->m->n_roots && !rc; i++) {
		collect(l, NULL, &l->m->roots[i]);
		rc = lay_out(l, next, ranges[l->kind].last, &next);
		next = ALIGN_UP(next, ranges[l->kind].granule);
	}
	return rc;
}

/* VFs may go without, they cannot be enabled then: those that ask for most are the first. */
static bool drop_vfs(struct layout *l)
{
	uint64_t most = 0;
	unsigned who = 0;

	for (unsigned i = 0; i < l->m->n_functions; i++) {
		uint64_t size = 0;

		for (unsigned s = PCIF_NUM_BARS; s < SLOTS; s++)
			if (slot_belongs(l, i, s))
				size += slot_size(l->m->functions[i], s);
		if (size > most) {
			most = size;
			who = i;
		}
	}
	if (!most)
		return false;
	log_warn("%s: no %s space is left for its VFs, which cannot be enabled",
		 l->m->functions[who]->name, ranges[l->kind].name);
	return l->no_vfs[who] = true;
}

static int assign(struct layout *l)
{
	int rc;

	do {
		rc = measure_all(l);
		if (!rc)
			rc = lay_out_roots(l);
	} while (rc == -ENOSPC && drop_vfs(l));
	l->place = true;
	if (!rc)
		rc = lay_out_roots(l);
	for (unsigned i = 0; i < l->m->n_functions && !rc; i++)
		if (l->m->functions[i]->bridge)
			rc = place_below(l, i);
	return rc;
}

/**
 * windows_assign() - addresses for every BAR of @m, windows for every bridge.
 * -ENOSPC if they do not fit; -ENOMEM.
 */
int windows_assign(struct pcim *m)
{
	struct layout l = {
		.m = m,
		.windows = calloc(m->n_functions + 1, sizeof(*l.windows)),
		.no_vfs = calloc(m->n_functions + 1, sizeof(*l.no_vfs)),
		.items = calloc((size_t)m->n_functions * SLOTS + 1, sizeof(*l.items)),
	};
	int rc = l.windows && l.no_vfs && l.items ? 0 : -ENOMEM;

	for (unsigned k = 0; k < WINDOW_KINDS && !rc; k++) {
		l.kind = (enum window_kind)k;
		rc = assign(&l);
	}
	free(l.windows);
	free(l.no_vfs);
	free(l.items);
	return rc;
}
