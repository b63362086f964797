/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Drivers of the host, by name and rule. There is no code behind them: a function that is bound to
 * one answers as a device in use by a host would, that is, it decodes and may do DMA.
 */
#include <linux/pci_regs.h>

#include "bus/priv.h"

static void set_command(struct pcif *f, uint16_t clear, uint16_t set)
{
	uint32_t command = pcif_config_read(f, PCI_COMMAND, 2);

	pcif_config_write(f, PCI_COMMAND, 2, (command & ~(uint32_t)clear) | set);
}

static int host_probe(void *data, struct pcif *f)
{
	set_command(f, 0, PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	return 0;
}

static int host_remove(void *data, struct pcif *f, const atomic_bool *cancel)
{
	set_command(f, PCI_COMMAND_MASTER, 0);
	return 0;
}

static int host_sriov_configure(void *data, struct pcif *pf, unsigned n, const atomic_bool *cancel)
{
	return n ? bus_sriov_enable(data, pf, n, NULL) : bus_sriov_disable(data, pf, cancel);
}

/* Its VFs do not outlive it; those of nvme do. Source: igb_remove(). */
static int igb_remove(void *data, struct pcif *f, const atomic_bool *cancel)
{
	int rc = bus_sriov_disable(data, f, cancel);

	return rc ? rc : host_remove(data, f, cancel);
}

/* Ports only: neither conventional bridges nor those between the two worlds have its services.
 * Source: pcie_portdrv_probe(). */
static int port_probe(void *data, struct pcif *f)
{
	unsigned exp = pcif_find_cap(f, PCI_CAP_ID_EXP), type;

	if (!exp)
		return -ENODEV;
	type = (pcif_config_read(f, exp + PCI_EXP_FLAGS, 2) & PCI_EXP_FLAGS_TYPE) >> 4;
	return type == PCI_EXP_TYPE_ROOT_PORT || type == PCI_EXP_TYPE_UPSTREAM ||
			       type == PCI_EXP_TYPE_DOWNSTREAM
		       ? 0
		       : -ENODEV;
}

#define CLASS(code)                                                                                \
	{                                                                                          \
		BUS_ANY, BUS_ANY, BUS_ANY, BUS_ANY, code, 0xffffff                                 \
	}
#define DEVICE(vendor, device)                                                                     \
	{                                                                                          \
		vendor, device, BUS_ANY, BUS_ANY, 0, 0                                             \
	}

static const struct bus_id port_ids[] = { CLASS(0x060400), CLASS(0x060401), { 0 } };
static const struct bus_id nvme_ids[] = { CLASS(0x010802), { 0 } };
static const struct bus_id igb_ids[] = { DEVICE(0x8086, 0x10c9), { 0 } };
static const struct bus_id igbvf_ids[] = { DEVICE(0x8086, 0x10ca), { 0 } };
static const struct bus_id ioat_ids[] = { DEVICE(0x8086, 0x2021), { 0 } };

static const struct bus_driver pcieport = {
	.name = "pcieport",
	.managed_dma = true,
	.ids = port_ids,
	.probe = port_probe,
};

static const struct bus_driver pci_stub = {
	.name = "pci-stub",
	.module = "pci_stub",
	.managed_dma = true,
};

static const struct bus_driver uio_pci_generic = {
	.name = "uio_pci_generic",
	.module = "uio_pci_generic",
	.probe = host_probe,
	.remove = host_remove,
};

static const struct bus_driver nvme = {
	.name = "nvme",
	.module = "nvme",
	.ids = nvme_ids,
	.probe = host_probe,
	.remove = host_remove,
	.sriov_configure = host_sriov_configure,
};

static const struct bus_driver igb = {
	.name = "igb",
	.module = "igb",
	.ids = igb_ids,
	.probe = host_probe,
	.remove = igb_remove,
	.sriov_configure = host_sriov_configure,
};

static const struct bus_driver igbvf = {
	.name = "igbvf",
	.module = "igbvf",
	.ids = igbvf_ids,
	.probe = host_probe,
	.remove = host_remove,
};

static const struct bus_driver ioatdma = {
	.name = "ioatdma",
	.module = "ioatdma",
	.ids = ioat_ids,
	.probe = host_probe,
	.remove = host_remove,
};

const struct bus_driver *const bus_host_drivers[] = {
	&pcieport, &pci_stub, &uio_pci_generic, &nvme, &igb, &igbvf, &ioatdma, NULL,
};
