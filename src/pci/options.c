/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Keys that functions of any model have, because they are about their place in a machine and not
 * about what they do. They change the description that the model gave, before anything is built.
 */
#include <errno.h>

#include "priv.h"

static const char *const switches[] = { "off", "on", NULL };

const struct pcif_option pcif_keys[] = {
	{ "acs", "on|off  access control services (default: on for root and downstream ports)" },
	{ "conventional", "on|off  without PCI Express, as for a slot of conventional PCI" },
	{ "numa_node", "N  node of memory and processors that it is near to (default: none)" },
	{ "dma_alias", "DD.F  address of its bus that its DMA may carry instead of its own" },
	{ NULL, NULL },
};

static int apply_conventional(struct pcif *f, const struct pcif_params *params,
			      struct pcif_reply_error *err)
{
	struct pcif_desc *d = &f->desc;
	unsigned on = false;
	int rc = pcif_param_choice(params, "conventional", switches, &on, err);

	if (rc || !on || !d->pcie)
		return rc;
	if (f->bridge)
		return pcif_error(err, -EINVAL,
				  "conventional=on: a %s is PCI Express; use the model pci-bridge",
				  pcif_type_name(f));
	if (d->sriov.total_vfs)
		return pcif_error(err, -EINVAL,
				  "conventional=on: virtual functions need PCI "
				  "Express; leave one of the two out");
	/* Extended capabilities have no place in 256 bytes. */
	d->pcie = d->aer = d->acs = false;
	d->dsn = 0;
	return 0;
}

static int apply_acs(struct pcif *f, const struct pcif_params *params, struct pcif_reply_error *err)
{
	unsigned on = f->desc.acs;
	int rc = pcif_param_choice(params, "acs", switches, &on, err);

	if (rc)
		return rc;
	/* Conventional PCI has no such services, and there are none that would isolate what is
	 * below. */
	if (on && (!f->desc.pcie || f->desc.kind == PCIF_PCIE_TO_PCI_BRIDGE))
		return pcif_error(err, -EINVAL, "acs=on: a %s has no access control services",
				  pcif_type_name(f));
	f->desc.acs = on;
	return 0;
}

static int apply_alias(struct pcif *f, const struct pcif_params *params,
		       struct pcif_reply_error *err)
{
	const char *text = pcif_param(params, "dma_alias");
	char full[] = "00:DD.F";
	struct pci_bdf bdf;

	if (!text)
		return 0;
	if (strlen(text) == 4)
		memcpy(full + 3, text, 4);
	if (pcif_bdf_parse(full, &bdf))
		return pcif_error(err, -EINVAL,
				  "dma_alias=%.16s: give device and function, for example 00.1",
				  text);
	f->alias_devfn = bdf.dev << 3 | bdf.fn;
	return 0;
}

int options_apply(struct pcif *f, const struct pcif_params *params, struct pcif_reply_error *err)
{
	unsigned node = 0;
	int rc = apply_conventional(f, params, err);

	if (!rc)
		rc = apply_acs(f, params, err);
	if (!rc)
		rc = apply_alias(f, params, err);
	if (!rc)
		rc = pcif_param_number(params, "numa_node", 0, 1023, &node, err);
	if (!rc && pcif_param(params, "numa_node"))
		f->numa_node = (int)node;
	return rc;
}
