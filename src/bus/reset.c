/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Resetting a function as the host does it: by which methods, and with its configuration put back.
 *
 * Every method ends in the same reset of the function (pcif_reset()); which of them there are, and
 * which of those are to be tried, is what clients see and choose. Source: drivers/pci/pci.c,
 * pci_init_reset_methods(), pci_reset_function(), pci_save_state(), pci_restore_state().
 */
#include <linux/pci_regs.h>

#include "bus/priv.h"

const char *const bus_reset_names[BUS_RESETS] = { "flr", "af_flr", "pm", "bus" };

/* ------------------------------------------------------------------ methods */

struct neighbours {
	const struct pcif *f;
	bool alone;
};

static void look_at_neighbour(void *data, struct pcif *f)
{
	struct neighbours *n = data;
	struct pci_bdf me = pcif_bdf(n->f), it = pcif_bdf(f);

	if (f != n->f && it.domain == me.domain && it.bus == me.bus)
		n->alone = false;
}

/*
 * A bus reset hits whatever is on the bus, so it serves who is alone there, and only on a bus that
 * a bridge leads to. Source: pci_parent_bus_reset().
 */
static bool bus_can_be_reset(struct bus *b, const struct pcif *f)
{
	struct neighbours n = { .f = f, .alone = true };
	uint8_t secondary, subordinate;

	if (pcif_is_bridge(f) || !pcif_parent(f))
		return false;
	pcif_bridge_buses(pcif_parent(f), &secondary, &subordinate);
	if (pcif_bdf(f).bus != secondary)
		return false;
	pcim_for_each(b->pci, look_at_neighbour, &n);
	return n.alone;
}

unsigned bus_resets_supported(struct bus *b, struct pcif *f)
{
	unsigned exp = pcif_find_cap(f, PCI_CAP_ID_EXP), pm = pcif_find_cap(f, PCI_CAP_ID_PM);
	unsigned af = pcif_find_cap(f, PCI_CAP_ID_AF), methods = 0;
	const uint32_t af_need = PCI_AF_CAP_FLR | PCI_AF_CAP_TP;

	if (pcif_is_bridge(f))
		return 0;
	if (exp && pcif_config_read(f, exp + PCI_EXP_DEVCAP, 4) & PCI_EXP_DEVCAP_FLR)
		methods |= BIT(BUS_RESET_FLR);
	if (af && (pcif_config_read(f, af + PCI_AF_CAP, 1) & af_need) == af_need)
		methods |= BIT(BUS_RESET_AF_FLR);
	if (pm && !(pcif_config_read(f, pm + PCI_PM_CTRL, 2) & PCI_PM_CTRL_NO_SOFT_RESET))
		methods |= BIT(BUS_RESET_PM);
	if (bus_can_be_reset(b, f))
		methods |= BIT(BUS_RESET_BUS);
	return methods;
}

void bus_resets(struct bus *b, struct pcif *f, struct bus_resets *resets)
{
	unsigned supported = bus_resets_supported(b, f);
	struct bus_dev *dev = dev_get(b, f);
	bool chosen = false;

	*resets = (struct bus_resets){ 0 };
	if (!dev)
		return;
	pthread_mutex_lock(&b->lock);
	if (dev->resets_chosen) {
		*resets = dev->resets;
		chosen = true;
	}
	pthread_mutex_unlock(&b->lock);
	dev_put(b, dev);
	for (unsigned i = 0; i < BUS_RESETS && !chosen; i++)
		if (supported & BIT(i))
			resets->method[resets->n++] = (uint8_t)i;
}

bool bus_can_reset(struct bus *b, struct pcif *f)
{
	unsigned supported = bus_resets_supported(b, f);
	struct bus_resets resets;

	bus_resets(b, f, &resets);
	for (unsigned i = 0; i < resets.n; i++)
		if (supported & BIT(resets.method[i]))
			return true;
	return false;
}

int bus_resets_choose(struct bus *b, struct pcif *f, const struct bus_resets *resets)
{
	struct bus_dev *dev = dev_get(b, f);

	if (!dev)
		return -ENODEV;
	pthread_mutex_lock(&b->lock);
	dev->resets_chosen = resets;
	if (resets)
		dev->resets = *resets;
	pthread_mutex_unlock(&b->lock);
	dev_put(b, dev);
	return 0;
}

int bus_reset(struct bus *b, struct pcif *f, const atomic_bool *cancel)
{
	struct bus_dev *dev = dev_get(b, f);
	uint8_t saved[PCIF_CONFIG_SIZE];
	unsigned pm;
	int rc;

	if (!dev)
		return -ENODEV;
	rc = dev_lock(dev, cancel);
	if (rc) {
		dev_put(b, dev);
		return rc;
	}
	if (bus_can_reset(b, f)) {
		bus_config_save(f, saved);
		pm = pcif_find_cap(f, PCI_CAP_ID_PM);
		if (pm)
			pcif_config_write(f, pm + PCI_PM_CTRL, 2,
					  pcif_config_read(f, pm + PCI_PM_CTRL, 2) &
						  ~(uint32_t)PCI_PM_CTRL_STATE_MASK);
		pcif_reset(f);
		bus_config_restore(f, saved);
	} else {
		rc = -ENOTTY;
	}
	dev_unlock(dev);
	dev_put(b, dev);
	return rc;
}

/* ------------------------------------------------------------------ saved configuration */

void bus_config_save(struct pcif *f, uint8_t saved[PCIF_CONFIG_SIZE])
{
	unsigned size = pcif_config_size(f);

	for (unsigned at = 0; at < size; at += 4) {
		uint32_t v = htole32(pcif_config_read(f, at, 4));

		memcpy(saved + at, &v, 4);
	}
}

struct field {
	uint8_t offset, size;
};

static void put_back(struct pcif *f, const uint8_t *saved, unsigned at, unsigned n)
{
	uint32_t v = 0;

	for (unsigned i = 0; i < n; i++)
		v |= (uint32_t)saved[at + i] << (8 * i);
	pcif_config_write(f, at, n, v);
}

static void restore_cap(struct pcif *f, const uint8_t *saved, unsigned cap,
			const struct field *fields, unsigned n)
{
	for (unsigned i = 0; cap && i < n; i++)
		put_back(f, saved, cap + fields[i].offset, fields[i].size);
}

void bus_config_restore(struct pcif *f, const uint8_t saved[PCIF_CONFIG_SIZE])
{
	static const struct field header[] = {
		{ PCI_CACHE_LINE_SIZE, 1 }, { PCI_LATENCY_TIMER, 1 },  { PCI_BASE_ADDRESS_0, 4 },
		{ PCI_BASE_ADDRESS_1, 4 },  { PCI_BASE_ADDRESS_2, 4 }, { PCI_BASE_ADDRESS_3, 4 },
		{ PCI_BASE_ADDRESS_4, 4 },  { PCI_BASE_ADDRESS_5, 4 }, { PCI_ROM_ADDRESS, 4 },
		{ PCI_INTERRUPT_LINE, 1 },
	};
	static const struct field exp[] = {
		{ PCI_EXP_DEVCTL, 2 },
		{ PCI_EXP_LNKCTL, 2 },
		{ PCI_EXP_DEVCTL2, 2 },
		{ PCI_EXP_LNKCTL2, 2 },
	};
	static const struct field aer[] = {
		{ PCI_ERR_UNCOR_MASK, 4 },
		{ PCI_ERR_UNCOR_SEVER, 4 },
		{ PCI_ERR_COR_MASK, 4 },
		{ PCI_ERR_CAP, 4 },
	};
	static const struct field acs[] = { { PCI_ACS_CTRL, 2 } };
	unsigned msi = pcif_find_cap(f, PCI_CAP_ID_MSI);

	for (size_t i = 0; i < ARRAY_SIZE(header); i++)
		put_back(f, saved, header[i].offset, header[i].size);
	restore_cap(f, saved, pcif_find_cap(f, PCI_CAP_ID_EXP), exp, ARRAY_SIZE(exp));
	if (pcif_config_size(f) > PCI_CFG_SPACE_SIZE) {
		restore_cap(f, saved, pcif_find_ext_cap(f, PCI_EXT_CAP_ID_ERR), aer,
			    ARRAY_SIZE(aer));
		restore_cap(f, saved, pcif_find_ext_cap(f, PCI_EXT_CAP_ID_ACS), acs,
			    ARRAY_SIZE(acs));
	}
	if (msi) {
		bool wide = saved[msi + PCI_MSI_FLAGS] & PCI_MSI_FLAGS_64BIT;

		put_back(f, saved, msi + PCI_MSI_FLAGS, 2);
		if (saved[msi + PCI_MSI_FLAGS + 1] & PCI_MSI_FLAGS_MASKBIT >> 8)
			put_back(f, saved, msi + (wide ? PCI_MSI_MASK_64 : PCI_MSI_MASK_32), 4);
	}
	/* Last: with the bus master bit the device may start to work. */
	put_back(f, saved, PCI_COMMAND, 2);
	/* VFs are as the host has them, not as they were when @saved was made. */
	pcif_sriov_restore(f);
}
