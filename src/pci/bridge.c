/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Bridges: functions like any other, of models that do nothing. What they are is in their
 * description; caps.c makes the header and the capabilities that belong to each kind, build.c
 * knows where each may sit. See docs/pci.md for their ids.
 */
#include "priv.h"

static int create(const struct pcif_params *params, struct pcif_desc *desc,
		  const struct pcif_desc *what, struct pcif_reply_error *err)
{
	unsigned slot = 0;
	int rc = pcif_param_number(params, "slot", 1, 0x1fff, &slot, err);

	if (rc)
		return rc;
	*desc = *what;
	desc->slot = (uint16_t)slot;
	desc->vendor = BRIDGE_VENDOR;
	desc->class_code = 0x060400;
	desc->revision = 1;
	desc->pm = true;
	return 0;
}

static void reset(void *state) {}

static int root_port_create(struct pcif *f, const struct pcif_params *params,
			    struct pcif_desc *desc, void **state, struct pcif_reply_error *err)
{
	static const struct pcif_desc what = {
		.kind = PCIF_ROOT_PORT,
		.device = BRIDGE_ROOT_PORT,
		.intx_pin = 1,
		.msi_vectors = 1,
		.pcie = true,
		.aer = true,
		.acs = true,
	};

	return create(params, desc, &what, err);
}

static int upstream_create(struct pcif *f, const struct pcif_params *params, struct pcif_desc *desc,
			   void **state, struct pcif_reply_error *err)
{
	static const struct pcif_desc what = {
		.kind = PCIF_UPSTREAM_PORT,
		.device = BRIDGE_UPSTREAM_PORT,
		.intx_pin = 1,
		.msi_vectors = 1,
		.pcie = true,
		.aer = true,
	};

	return create(params, desc, &what, err);
}

static int downstream_create(struct pcif *f, const struct pcif_params *params,
			     struct pcif_desc *desc, void **state, struct pcif_reply_error *err)
{
	static const struct pcif_desc what = {
		.kind = PCIF_DOWNSTREAM_PORT,
		.device = BRIDGE_DOWNSTREAM_PORT,
		.intx_pin = 1,
		.msi_vectors = 1,
		.pcie = true,
		.aer = true,
		.acs = true,
	};

	return create(params, desc, &what, err);
}

static int pcie_to_pci_create(struct pcif *f, const struct pcif_params *params,
			      struct pcif_desc *desc, void **state, struct pcif_reply_error *err)
{
	static const struct pcif_desc what = {
		.kind = PCIF_PCIE_TO_PCI_BRIDGE,
		.device = BRIDGE_PCIE_TO_PCI,
		.msi_vectors = 1,
		.pcie = true,
		.aer = true,
	};

	return create(params, desc, &what, err);
}

static int pci_create(struct pcif *f, const struct pcif_params *params, struct pcif_desc *desc,
		      void **state, struct pcif_reply_error *err)
{
	static const struct pcif_desc what = {
		.kind = PCIF_PCI_BRIDGE,
		.device = BRIDGE_PCI,
	};

	return create(params, desc, &what, err);
}

static const struct pcif_option port_options[] = {
	{ "slot", "N  number of the slot that it leads to, 1 to 8191 (default: no slot)" },
	{ NULL, NULL },
};

const struct pcif_model bridge_root_port = {
	.name = "root-port",
	.summary = "PCI Express root port; sits on a root bus",
	.options = port_options,
	.create = root_port_create,
	.reset = reset,
};

static const struct pcif_model upstream_port = {
	.name = "upstream-port",
	.summary = "upstream port of a PCI Express switch; sits below a root or downstream port",
	.create = upstream_create,
	.reset = reset,
};

static const struct pcif_model downstream_port = {
	.name = "downstream-port",
	.summary = "downstream port of a PCI Express switch; sits below an upstream port",
	.options = port_options,
	.create = downstream_create,
	.reset = reset,
};

static const struct pcif_model pcie_to_pci_bridge = {
	.name = "pcie-to-pci-bridge",
	.summary = "leads from PCI Express to a conventional bus; sits below a port",
	.create = pcie_to_pci_create,
	.reset = reset,
};

static const struct pcif_model pci_bridge = {
	.name = "pci-bridge",
	.summary = "conventional PCI-to-PCI bridge; sits on a root bus or a conventional one",
	.create = pci_create,
	.reset = reset,
};

const struct pcif_model *const pcim_bridge_models[] = {
	&bridge_root_port, &upstream_port, &downstream_port, &pcie_to_pci_bridge, &pci_bridge, NULL,
};
