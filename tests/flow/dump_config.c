/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Prints the configuration space of a machine's functions as "lspci -xxxx" does, so that lspci
 * itself can read and judge it: a device with every capability, one with the fewest, their ports.
 */
#include "pci/pci.h"

static int dc_create(struct pcif *f, const struct pcif_params *params, struct pcif_desc *desc,
		     void **state, struct pcif_reply_error *err)
{
	*desc = (struct pcif_desc){
		.vendor = 0x1234,
		.device = 0x5004,
		.class_code = 0x010802,
		.bars = { { .type = PCIF_BAR_MEM64, .size = 0x4000 } },
		.pcie = true,
	};
	if (!pcif_param(params, "plain")) {
		desc->subsystem_vendor = 0x1234;
		desc->subsystem_device = 1;
		desc->bars[2] = (struct pcif_bar){ PCIF_BAR_MEM64, true, MIB(64) };
		desc->bars[4] = (struct pcif_bar){ PCIF_BAR_MEM32, false, 0x1000 };
		desc->bars[5] = (struct pcif_bar){ PCIF_BAR_IO, false, 64 };
		desc->intx_pin = 1;
		desc->msi_vectors = 16;
		desc->msix_vectors = 33;
		desc->msix_table_offset = 0x2000;
		desc->msix_pba_offset = 0x3000;
		desc->pm = desc->aer = true;
		desc->dsn = 0x1122334455667788;
	}
	return 0;
}

static void dc_reset(void *state) {}

static const struct pcif_model dc_model = { .name = "dump",
					    .create = dc_create,
					    .reset = dc_reset };

static void dump(struct pcif *f)
{
	printf("%s 0000: ffff:ffff\n", pcif_name(f));
	for (unsigned at = 0; at < pcif_config_size(f); at += 16) {
		printf("%02x:", at);
		for (unsigned i = 0; i < 16; i++)
			printf(" %02x", pcif_config_read(f, at + i, 1));
		printf("\n");
	}
	printf("\n");
}

int main(void)
{
	struct pcif_params *plain;
	struct pcim *m;

	if (pcim_new(&m) || pcim_params_new(&plain) || pcim_params_set(plain, "plain", "1") ||
	    pcim_add(m, (struct pci_bdf){ 0, 0x65, 0, 0 }, &dc_model, NULL, NULL) ||
	    pcim_add(m, (struct pci_bdf){ 0, 0x66, 0, 0 }, &dc_model, plain, NULL) ||
	    pcim_enumerate(m))
		return 1;
	for (unsigned i = 0; i < pcim_count(m); i++) {
		struct pcif *f = pcim_function(m, i);

		if (!pcif_is_bridge(f))
			pcif_config_write(f, 4, 2, 7);
		dump(f);
	}
	pcim_params_free(plain);
	pcim_free(m);
	return 0;
}
