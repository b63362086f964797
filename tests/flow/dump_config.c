/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Prints the configuration space of a machine's functions as "lspci -xxxx" does, so that lspci
 * itself can read and judge it: a device with every capability, one with the fewest, their ports,
 * and a tree with every kind of bridge.
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
	if (pcif_param(params, "vfs"))
		desc->sriov = (struct pcif_sriov){
			.total_vfs = 75,
			.vf_device = 0x5008,
			.first_offset = 128,
			.stride = 2,
			.bars = { { PCIF_BAR_MEM64, true, 0x4000 },
				  [4] = { PCIF_BAR_MEM32, false, 0x1000 } },
		};
	return 0;
}

static int dc_create_vf(struct pcif *f, void *pf_state, unsigned index, struct pcif_desc *desc,
			void **state, struct pcif_reply_error *err)
{
	desc->msix_vectors = 3;
	desc->msix_pba_offset = 0x1000;
	desc->aer = true;
	return 0;
}

static void dc_reset(void *state) {}

static const struct pcif_model dc_model = {
	.name = "dump", .create = dc_create, .create_vf = dc_create_vf, .reset = dc_reset
};

/* The ids of a VF are not in its hardware: a host takes them from elsewhere. */
static uint8_t byte(struct pcif *f, unsigned at)
{
	uint32_t id = pcif_desc(f)->vendor | (uint32_t)pcif_desc(f)->device << 16;

	return at < 4 && pcif_is_vf(f) ? (uint8_t)(id >> 8 * at)
				       : (uint8_t)pcif_config_read(f, at, 1);
}

static void dump(struct pcif *f)
{
	printf("%s 0000: ffff:ffff\n", pcif_name(f));
	for (unsigned at = 0; at < pcif_config_size(f); at += 16) {
		printf("%02x:", at);
		for (unsigned i = 0; i < 16; i++)
			printf(" %02x", byte(f, at + i));
		printf("\n");
	}
	printf("\n");
}

/* Addresses, what is there, its parameters. What has a bus below gets the next number. */
static const struct place {
	struct pci_bdf bdf;
	const char *model; /* of a bridge; NULL: a device */
	const char *key, *value;
} tree[] = {
	{ { 0, 0, 0, 0 }, NULL, "conventional", "on" },
	{ { 0, 0, 1, 0 }, "root-port", "slot", "5" },
	{ { 0, 0, 2, 0 }, NULL, NULL, NULL },
	{ { 0, 0, 3, 0 }, NULL, "acs", "on" },
	{ { 0, 0, 3, 1 }, NULL, "acs", "on" },
	{ { 0, 1, 0, 0 }, "upstream-port", NULL, NULL },
	{ { 0, 2, 0, 0 }, "downstream-port", "acs", "off" },
	{ { 0, 3, 0, 0 }, NULL, NULL, NULL },
	{ { 0, 2, 1, 0 }, "downstream-port", "slot", "6" },
	{ { 0, 4, 0, 0 }, "pcie-to-pci-bridge", NULL, NULL },
	{ { 0, 5, 1, 0 }, NULL, "conventional", "on" },
	{ { 0, 0, 0x1e, 0 }, "pci-bridge", NULL, NULL },
	{ { 0, 6, 0, 0 }, NULL, "conventional", "on" },
};

static const struct pcif_model *model_of(const char *name)
{
	for (unsigned i = 0; name && pcim_bridge_models[i]; i++)
		if (!strcmp(pcim_bridge_models[i]->name, name))
			return pcim_bridge_models[i];
	return &dc_model;
}

static int add_tree(struct pcim *m)
{
	if (pcim_add_root_bus(m, 0, 0, -1, NULL))
		return -1;
	for (unsigned i = 0; i < sizeof(tree) / sizeof(tree[0]); i++) {
		const struct place *p = &tree[i];
		struct pcif_params *params;
		struct pcif *f;
		uint8_t bus;
		int rc;

		if (pcim_params_new(&params))
			return -1;
		rc = p->key ? pcim_params_set(params, p->key, p->value) : 0;
		if (!rc)
			rc = pcim_add_on_bus(m, p->bdf, model_of(p->model), params, NULL, &f);
		if (!rc && p->model)
			rc = pcim_open_bus(f, 0, NULL, &bus);
		pcim_params_free(params);
		if (rc)
			return -1;
	}
	return 0;
}

int main(void)
{
	const struct pci_bdf pf = { 0, 0x70, 0, 0 };
	struct pcif_params *plain, *vfs;
	struct pcim *m;

	if (pcim_new(&m) || pcim_params_new(&plain) || pcim_params_set(plain, "plain", "1") ||
	    pcim_params_new(&vfs) || pcim_params_set(vfs, "vfs", "1") ||
	    pcim_add(m, pf, &dc_model, vfs, NULL) || add_tree(m) ||
	    pcim_add(m, (struct pci_bdf){ 0, 0x65, 0, 0 }, &dc_model, NULL, NULL) ||
	    pcim_add(m, (struct pci_bdf){ 0, 0x66, 0, 0 }, &dc_model, plain, NULL) ||
	    pcim_enumerate(m) || pcim_sriov_enable(pcim_find(m, pf), 3))
		return 1;
	for (unsigned i = 0; i < pcim_count(m); i++) {
		struct pcif *f = pcim_function(m, i);

		if (!pcif_is_bridge(f))
			pcif_config_write(f, 4, 2, 7);
		dump(f);
	}
	pcim_params_free(plain);
	pcim_params_free(vfs);
	pcim_free(m);
	return 0;
}
