/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The root port that pcim_enumerate() puts above each bus: a function like any other, with a model
 * that does nothing. See docs/pci.md for its ids.
 */
#include "priv.h"

static int port_create(struct pcif *f, const struct pcif_params *params, struct pcif_desc *desc,
		       void **state, struct pcif_reply_error *err)
{
	*desc = (struct pcif_desc){
		.vendor = PORT_VENDOR,
		.device = PORT_DEVICE,
		.class_code = 0x060400,
		.revision = 1,
		.intx_pin = 1,
		.msi_vectors = 1,
		.pcie = true,
		.pm = true,
		.aer = true,
	};
	*state = NULL;
	return 0;
}

static void port_reset(void *state) {}

const struct pcif_model port_model = {
	.name = "port",
	.summary = "PCI Express root port",
	.create = port_create,
	.reset = port_reset,
};
