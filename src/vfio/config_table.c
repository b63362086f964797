/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which bits of configuration space a client sees as they are, which ones VFIO keeps, and which
 * ones it may write: as data. What is not named here is read from the hardware and not writable.
 * A capability without a row is hidden from clients.
 * Source: drivers/vfio/pci/vfio_pci_config.c, the tables and init functions of its first half.
 */
#include <linux/pci_regs.h>

#include "vfio/priv.h"

#define ALL8 0xffu
#define ALL16 0xffffu
#define ALL32 0xffffffffu
#define NEXT                                                                                       \
	{                                                                                          \
		PCI_CAP_LIST_NEXT, 1, ALL8, 0                                                      \
	}
#define EXT_HEADER                                                                                 \
	{                                                                                          \
		0, 4, ALL32, 0                                                                     \
	}

const struct config_field config_header[] = {
	{ PCI_VENDOR_ID, 2, ALL16, 0 },
	{ PCI_DEVICE_ID, 2, ALL16, 0 },
	{ PCI_COMMAND, 2, PCI_COMMAND_INTX_DISABLE, ALL16 },
	{ PCI_STATUS, 2, PCI_STATUS_CAP_LIST, 0 },
	{ PCI_CACHE_LINE_SIZE, 1, 0, ALL8 },
	{ PCI_LATENCY_TIMER, 1, 0, ALL8 },
	{ PCI_BIST, 1, 0, ALL8 },
	/* What of a BAR is writable depends on its size: see vconfig_add_bars(). */
	{ PCI_BASE_ADDRESS_0, 4, ALL32, 0 },
	{ PCI_BASE_ADDRESS_1, 4, ALL32, 0 },
	{ PCI_BASE_ADDRESS_2, 4, ALL32, 0 },
	{ PCI_BASE_ADDRESS_3, 4, ALL32, 0 },
	{ PCI_BASE_ADDRESS_4, 4, ALL32, 0 },
	{ PCI_BASE_ADDRESS_5, 4, ALL32, 0 },
	{ PCI_ROM_ADDRESS, 4, ALL32, 0 },
	{ PCI_CAPABILITY_LIST, 1, ALL8, 0 },
	{ PCI_INTERRUPT_LINE, 1, ALL8, ALL8 },
	{ PCI_INTERRUPT_PIN, 1, ALL8, 0 },
	{ 0, 0, 0, 0 },
};

/* ------------------------------------------------------------------ lengths */

static unsigned msi_length(struct pcif *f, unsigned at)
{
	uint16_t flags = pcif_config_read(f, at + PCI_MSI_FLAGS, 2);
	unsigned n = 10;

	if (flags & PCI_MSI_FLAGS_64BIT)
		n += 4;
	if (flags & PCI_MSI_FLAGS_MASKBIT)
		n += 10;
	return n;
}

static unsigned exp_length(struct pcif *f, unsigned at)
{
	uint16_t flags = pcif_config_read(f, at + PCI_EXP_FLAGS, 2);
	unsigned version = flags & PCI_EXP_FLAGS_VERS, type = (flags & PCI_EXP_FLAGS_TYPE) >> 4;

	/* Functions inside the root complex have no link registers. */
	if (type == PCI_EXP_TYPE_RC_END)
		return version == 1 ? 0x0c : 0x2c;
	return version == 1 ? 0x14 : 0x3c;
}

static unsigned vendor_length(struct pcif *f, unsigned at)
{
	return pcif_config_read(f, at + PCI_CAP_FLAGS, 1);
}

static unsigned pcix_length(struct pcif *f, unsigned at)
{
	/* Version 0 of the command register's format has no ECC registers. */
	return pcif_config_read(f, at + PCI_X_CMD, 2) & 0x3000 ? 24 : 8;
}

static unsigned ht_length(struct pcif *f, unsigned at)
{
	return pcif_config_read(f, at + 3, 1) & HT_3BIT_CAP_MASK ? 8 : 28;
}

static unsigned sata_length(struct pcif *f, unsigned at)
{
	unsigned location = pcif_config_read(f, at + PCI_SATA_REGS, 1) & PCI_SATA_REGS_MASK;

	return location == PCI_SATA_REGS_INLINE ? PCI_SATA_SIZEOF_LONG : PCI_SATA_SIZEOF_SHORT;
}

/* The 12 upper bits of the dword after the header. */
static unsigned ext_own_length(struct pcif *f, unsigned at)
{
	return pcif_config_read(f, at + 4, 4) >> 20;
}

static unsigned acs_length(struct pcif *f, unsigned at)
{
	uint16_t cap = pcif_config_read(f, at + PCI_ACS_CAP, 2);
	unsigned bits = cap >> 8;

	if (!(cap & PCI_ACS_EC))
		return 8;
	return 8 + ALIGN_UP(bits ? bits : 256, 32) / 8;
}

static unsigned vc_length(struct pcif *f, unsigned at)
{
	unsigned extended = pcif_config_read(f, at + PCI_VC_PORT_CAP1, 4) & PCI_VC_CAP1_EVCC;

	return 0x10 + (extended + 1) * PCI_CAP_VC_PER_VC_SIZEOF;
}

static unsigned rebar_length(struct pcif *f, unsigned at)
{
	unsigned n = pcif_config_read(f, at + PCI_REBAR_CTRL, 4) >> 5 & 7;

	return 4 + n * 8;
}

static unsigned dpa_length(struct pcif *f, unsigned at)
{
	return PCI_DPA_BASE_SIZEOF + (pcif_config_read(f, at + PCI_DPA_CAP, 4) & 0x1f) + 1;
}

static unsigned tph_length(struct pcif *f, unsigned at)
{
	uint32_t cap = pcif_config_read(f, at + PCI_TPH_CAP, 4);

	/* The steering table sits here, in the MSI-X table, or nowhere. */
	if ((cap & PCI_TPH_CAP_LOC_MASK) != PCI_TPH_LOC_CAP)
		return PCI_TPH_BASE_SIZEOF;
	return ALIGN_UP(PCI_TPH_BASE_SIZEOF + ((cap >> 16 & 0x7ff) + 1) * 2, 4);
}

/* ------------------------------------------------------------------ capabilities */

#define AER_UNCOR 0x03fff031u
#define AER_COR 0x0000f1c1u

static const struct config_cap caps[] = {
	{ PCI_CAP_ID_PM,
	  "PM",
	  8,
	  NULL,
	  { NEXT,
	    { PCI_PM_PMC, 2, PCI_PM_CAP_PME_MASK, 0 },
	    { PCI_PM_CTRL, 4, PCI_PM_CTRL_PME_ENABLE | PCI_PM_CTRL_PME_STATUS,
	      ~(uint32_t)(PCI_PM_CTRL_STATE_MASK | PCI_PM_CTRL_PME_ENABLE |
			  PCI_PM_CTRL_PME_STATUS) } } },
	{ PCI_CAP_ID_AGP, "AGP", 12, NULL, { NEXT } },
	{ PCI_CAP_ID_VPD,
	  "VPD",
	  8,
	  NULL,
	  { NEXT, { PCI_VPD_ADDR, 2, ALL16, ALL16 }, { PCI_VPD_DATA, 4, ALL32, ALL32 } } },
	/* Address and data differ with the width: see vconfig_add_msi(). */
	{ PCI_CAP_ID_MSI,
	  "MSI",
	  0,
	  msi_length,
	  { NEXT,
	    { PCI_MSI_FLAGS, 1, ALL8, PCI_MSI_FLAGS_ENABLE | PCI_MSI_FLAGS_QSIZE },
	    { PCI_MSI_ADDRESS_LO, 4, ALL32, ~3u } } },
	{ PCI_CAP_ID_PCIX,
	  "PCI-X",
	  0,
	  pcix_length,
	  { NEXT, { PCI_X_CMD, 2, 0, ALL16 }, { PCI_X_ECC_CSR, 4, 0, ALL32 } } },
	{ PCI_CAP_ID_HT, "HyperTransport", 0, ht_length, { NEXT } },
	{ PCI_CAP_ID_VNDR, "vendor specific", 0, vendor_length, { NEXT }, .raw = true },
	{ PCI_CAP_ID_EXP,
	  "PCI Express",
	  0,
	  exp_length,
	  { NEXT,
	    { PCI_EXP_DEVCTL, 2,
	      PCI_EXP_DEVCTL_BCR_FLR | PCI_EXP_DEVCTL_PAYLOAD | PCI_EXP_DEVCTL_READRQ,
	      ALL16 & ~PCI_EXP_DEVCTL_PHANTOM },
	    { PCI_EXP_DEVCTL2, 2, 0, ALL16 & ~PCI_EXP_DEVCTL2_ARI } } },
	{ PCI_CAP_ID_MSIX, "MSI-X", 12, NULL, { NEXT } },
	{ PCI_CAP_ID_SATA, "SATA", 0, sata_length, { NEXT } },
	{ PCI_CAP_ID_AF,
	  "AF",
	  6,
	  NULL,
	  { NEXT, { PCI_AF_CTRL, 1, PCI_AF_CTRL_FLR, PCI_AF_CTRL_FLR } } },
};

static const struct config_cap ext_caps[] = {
	{ PCI_EXT_CAP_ID_ERR,
	  "AER",
	  0x2c,
	  NULL,
	  { EXT_HEADER,
	    { PCI_ERR_UNCOR_STATUS, 4, 0, AER_UNCOR },
	    { PCI_ERR_UNCOR_MASK, 4, 0, AER_UNCOR },
	    { PCI_ERR_UNCOR_SEVER, 4, 0, AER_UNCOR },
	    { PCI_ERR_COR_STATUS, 4, 0, AER_COR },
	    { PCI_ERR_COR_MASK, 4, 0, AER_COR },
	    { PCI_ERR_CAP, 4, 0, PCI_ERR_CAP_ECRC_GENE | PCI_ERR_CAP_ECRC_CHKE } } },
	{ PCI_EXT_CAP_ID_VC, "VC", 0, vc_length, { EXT_HEADER } },
	{ PCI_EXT_CAP_ID_VC9, "VC (MFVC present)", 0, vc_length, { EXT_HEADER } },
	{ PCI_EXT_CAP_ID_MFVC, "MFVC", 0, vc_length, { EXT_HEADER } },
	{ PCI_EXT_CAP_ID_DSN, "DSN", 12, NULL, { EXT_HEADER } },
	{ PCI_EXT_CAP_ID_PWR,
	  "power budget",
	  16,
	  NULL,
	  { EXT_HEADER, { PCI_PWR_DSR, 1, 0, ALL8 } } },
	{ PCI_EXT_CAP_ID_VNDR, "vendor specific", 0, ext_own_length, { EXT_HEADER }, .raw = true },
	{ PCI_EXT_CAP_ID_ACS, "ACS", 0, acs_length, { EXT_HEADER } },
	{ PCI_EXT_CAP_ID_ARI, "ARI", 8, NULL, { EXT_HEADER } },
	{ PCI_EXT_CAP_ID_ATS, "ATS", 8, NULL, { EXT_HEADER } },
	{ PCI_EXT_CAP_ID_SRIOV, "SR-IOV", 64, NULL, { EXT_HEADER } },
	{ PCI_EXT_CAP_ID_MCAST, "multicast", 40, NULL, { EXT_HEADER } },
	{ PCI_EXT_CAP_ID_PRI, "PRI", 16, NULL, { EXT_HEADER } },
	{ PCI_EXT_CAP_ID_REBAR, "REBAR", 0, rebar_length, { EXT_HEADER } },
	{ PCI_EXT_CAP_ID_DPA, "DPA", 0, dpa_length, { EXT_HEADER } },
	{ PCI_EXT_CAP_ID_TPH, "TPH", 0, tph_length, { EXT_HEADER } },
	{ PCI_EXT_CAP_ID_LTR, "LTR", 8, NULL, { EXT_HEADER } },
	{ PCI_EXT_CAP_ID_DVSEC, "DVSEC", 0, ext_own_length, { EXT_HEADER }, .raw = true },
};

const struct config_cap *config_find_cap(uint8_t id)
{
	for (size_t i = 0; i < ARRAY_SIZE(caps); i++)
		if (caps[i].id == id)
			return &caps[i];
	return NULL;
}

const struct config_cap *config_find_ext_cap(uint16_t id)
{
	for (size_t i = 0; i < ARRAY_SIZE(ext_caps); i++)
		if (ext_caps[i].id == id)
			return &ext_caps[i];
	return NULL;
}
