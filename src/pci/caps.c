/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What configuration space starts from: the standard header and each capability, as tables of
 * fields {offset, width, value, writable, write-1-to-clear, sticky}. A builder picks the tables
 * that a description asks for, fills in the few values that depend on it, and chains them.
 *
 * PCI Local Bus 3.0 sections 6.1, 6.2 and 6.8; PCI Express Base 4.0 chapter 7; PCI-to-PCI Bridge
 * Architecture 1.2 section 3.2; PCI Power Management 1.2 section 3.2.
 */
#include <errno.h>

#include "priv.h"

#define LINK_SPEED 3u /* 8 GT/s */
#define LINK_WIDTH 4u

static const struct config_field pm_fields[] = {
	/* Version 3 of the capability, D1 and D2 and PME not supported. */
	{ PCI_PM_PMC, 2, 0x0003, 0, 0, 0 },
	/* The state bits are written by write_power_state(). */
	{ PCI_PM_CTRL, 2, 0x0000, 0, 0, 0 },
};

static const struct config_field pcie_fields[] = {
	/* Role-based error reporting, extended tags, payload up to 256 bytes. */
	{ PCI_EXP_DEVCAP, 4, 0x00008021, 0, 0, 0 },
	/* Relaxed ordering, no snoop, 512-byte reads; the payload size outlives an FLR. */
	{ PCI_EXP_DEVCTL, 2, 0x2810, 0x79ff, 0, 0x00e0 },
	{ PCI_EXP_DEVSTA, 2, 0, 0, 0x000f, 0x000f },
	/* Completion timeout ranges A to D and disable. */
	{ PCI_EXP_DEVCAP2, 4, 0x0000001f, 0, 0, 0 },
	{ PCI_EXP_DEVCTL2, 2, 0, 0x001f, 0, 0 },
};

/* Of all that has a link, that is, what is not integrated into the root complex. */
static const struct config_field pcie_link_fields[] = {
	{ PCI_EXP_LNKCAP, 4, 0x00400000 | LINK_WIDTH << 4 | LINK_SPEED, 0, 0, 0 },
	{ PCI_EXP_LNKCTL, 2, 0, 0x00cb, 0, 0x00cb },
	{ PCI_EXP_LNKSTA, 2, 0x1000 | LINK_WIDTH << 4 | LINK_SPEED, 0, 0, 0 },
	/* 2.5, 5 and 8 GT/s. */
	{ PCI_EXP_LNKCAP2, 4, 0x0000000e, 0, 0, 0 },
	{ PCI_EXP_LNKCTL2, 2, LINK_SPEED, 0x000f, 0, 0x000f },
	/* Equalization complete, all phases. */
	{ PCI_EXP_LNKSTA2, 2, 0x001e, 0, 0, 0 },
};

/* Root and downstream ports. */
static const struct config_field pcie_port_fields[] = {
	/* Data link layer active reporting, and active. */
	{ PCI_EXP_LNKCAP, 4, 0x00500000 | LINK_WIDTH << 4 | LINK_SPEED, 0, 0, 0 },
	{ PCI_EXP_LNKCTL, 2, 0, 0x00d3, 0, 0x00d3 },
	{ PCI_EXP_LNKSTA, 2, 0x3000 | LINK_WIDTH << 4 | LINK_SPEED, 0, 0, 0 },
	/* Also forwards to functions 8 to 255 of a device. */
	{ PCI_EXP_DEVCAP2, 4, 0x0000001f | PCI_EXP_DEVCAP2_ARI, 0, 0, 0 },
	{ PCI_EXP_DEVCTL2, 2, 0, 0x001f | PCI_EXP_DEVCTL2_ARI, 0, 0 },
};

static const struct config_field pcie_root_fields[] = {
	{ PCI_EXP_RTCTL, 2, 0, 0x000f, 0, 0 },
	{ PCI_EXP_RTSTA, 4, 0, 0, PCI_EXP_RTSTA_PME, 0 },
};

/* Of a VF: what concerns the link and the size of requests is its PF's to set. */
static const struct config_field pcie_vf_fields[] = {
	{ PCI_EXP_DEVCAP, 4, 0x00008021 | PCI_EXP_DEVCAP_FLR, 0, 0, 0 },
	{ PCI_EXP_DEVSTA, 2, 0, 0, 0x000f, 0x000f },
	{ PCI_EXP_LNKCAP, 4, 0x00400000 | LINK_WIDTH << 4 | LINK_SPEED, 0, 0, 0 },
	{ PCI_EXP_DEVCAP2, 4, 0x0000001f, 0, 0, 0 },
	{ PCI_EXP_LNKCAP2, 4, 0x0000000e, 0, 0, 0 },
};

/* Where the FLR bit would be, configuration retry enable. */
static const struct config_field pcie_to_pci_fields[] = {
	{ PCI_EXP_DEVCTL, 2, 0x2810, 0xf9ff, 0, 0x00e0 },
};

static const struct config_field aer_fields[] = {
	{ PCI_ERR_UNCOR_STATUS, 4, 0, 0, 0x007ff030, 0x007ff030 },
	{ PCI_ERR_UNCOR_MASK, 4, 0x00400000, 0x007ff030, 0, 0x007ff030 },
	{ PCI_ERR_UNCOR_SEVER, 4, 0x00462030, 0x007ff030, 0, 0x007ff030 },
	{ PCI_ERR_COR_STATUS, 4, 0, 0, 0x0000f1c1, 0x0000f1c1 },
	{ PCI_ERR_COR_MASK, 4, 0x0000e000, 0x0000f1c1, 0, 0x0000f1c1 },
	/* ECRC generation and check: capable, off. */
	{ PCI_ERR_CAP, 4, 0x000000a0, 0x00000140, 0, 0x00000140 },
};

static const struct config_field aer_root_fields[] = {
	{ PCI_ERR_ROOT_COMMAND, 4, 0, 0x00000007, 0, 0 },
	{ PCI_ERR_ROOT_STATUS, 4, 0, 0, 0x0000007f, 0x0000007f },
};

/* Source validation, request and completion redirect, upstream forwarding: there and switched on,
 * as Linux does where it has an IOMMU. */
static const struct config_field acs_port_fields[] = {
	{ PCI_ACS_CAP, 2, 0x001d, 0, 0, 0 },
	{ PCI_ACS_CTRL, 2, 0x001d, 0x001d, 0, 0 },
};

/* Between functions of one device there is nothing to validate or forward: redirects only. */
static const struct config_field acs_device_fields[] = {
	{ PCI_ACS_CAP, 2, 0x000c, 0, 0, 0 },
	{ PCI_ACS_CTRL, 2, 0x000c, 0x000c, 0, 0 },
};

/* All of them VFs at all times: no migration. The rest comes from the description. */
static const struct config_field sriov_fields[] = {
	{ PCI_SRIOV_CTRL, 2, 0, PCI_SRIOV_CTRL_VFE | PCI_SRIOV_CTRL_MSE, 0, 0 },
	{ PCI_SRIOV_NUM_VF, 2, 0, 0xffff, 0, 0 },
	/* What may be written: see sriov_written(). */
	{ PCI_SRIOV_SUP_PGSIZE, 4, 0x00000553, 0, 0, 0 },
	{ PCI_SRIOV_SYS_PGSIZE, 4, 0x00000001, 0x00000553, 0, 0 },
};

static const struct config_field bridge_fields[] = {
	{ PCI_PRIMARY_BUS, 1, 0, 0xff, 0, 0 },
	{ PCI_SECONDARY_BUS, 1, 0, 0xff, 0, 0 },
	{ PCI_SUBORDINATE_BUS, 1, 0, 0xff, 0, 0 },
	{ PCI_IO_BASE, 1, 0xf1, 0xf0, 0, 0 },
	{ PCI_IO_LIMIT, 1, 0x01, 0xf0, 0, 0 },
	{ PCI_IO_BASE_UPPER16, 2, 0, 0xffff, 0, 0 },
	{ PCI_IO_LIMIT_UPPER16, 2, 0, 0xffff, 0, 0 },
	{ PCI_SEC_STATUS, 2, 0, 0, 0xf900, 0 },
	{ PCI_MEMORY_BASE, 2, 0xfff0, 0xfff0, 0, 0 },
	{ PCI_MEMORY_LIMIT, 2, 0, 0xfff0, 0, 0 },
	{ PCI_PREF_MEMORY_BASE, 2, 0xfff1, 0xfff0, 0, 0 },
	{ PCI_PREF_MEMORY_LIMIT, 2, 0x0001, 0xfff0, 0, 0 },
	{ PCI_PREF_BASE_UPPER32, 4, 0, 0xffffffff, 0, 0 },
	{ PCI_PREF_LIMIT_UPPER32, 4, 0, 0xffffffff, 0, 0 },
	{ PCI_BRIDGE_CONTROL, 2, 0, 0x0043, 0, 0 },
};

/* What bridges have besides whose other side is conventional PCI: timers, master abort mode. */
static const struct config_field pci_side_fields[] = {
	{ PCI_SEC_LATENCY_TIMER, 1, 0, 0xf8, 0, 0 },
	{ PCI_BRIDGE_CONTROL, 2, 0, 0x0a63, 0x0400, 0 },
};

static bool is_port(const struct pcif *f)
{
	return f->desc.kind == PCIF_ROOT_PORT || f->desc.kind == PCIF_DOWNSTREAM_PORT;
}

static bool leads_to_pci(const struct pcif *f)
{
	return f->desc.kind == PCIF_PCIE_TO_PCI_BRIDGE || f->desc.kind == PCIF_PCI_BRIDGE;
}

static void add_fields(struct config_space *c, unsigned base, const struct config_field *fields,
		       size_t n)
{
	for (size_t i = 0; i < n; i++)
		config_field_add(c, base, &fields[i]);
}

static void add(struct config_space *c, unsigned offset, uint8_t width, uint32_t value,
		uint32_t wmask)
{
	struct config_field field = { (uint16_t)offset, width, value, wmask, 0, 0 };

	config_field_add(c, 0, &field);
}

/* ------------------------------------------------------------------ standard header */

/* Registers for @bars from @base on. */
static void build_bars(struct config_space *c, unsigned base, const struct pcif_bar bars[])
{
	for (unsigned i = 0; i < PCIF_NUM_BARS; i++) {
		const struct pcif_bar *bar = &bars[i];
		unsigned at = base + 4 * i;
		uint64_t mask = ~(bar->size - 1);
		uint32_t type = bar->prefetchable ? PCI_BASE_ADDRESS_MEM_PREFETCH : 0;

		switch (bar->type) {
		case PCIF_BAR_NONE:
			break;
		case PCIF_BAR_IO:
			add(c, at, 4, PCI_BASE_ADDRESS_SPACE_IO, (uint32_t)mask & ~3u);
			break;
		case PCIF_BAR_MEM64:
			add(c, at + 4, 4, 0, (uint32_t)(mask >> 32));
			type |= PCI_BASE_ADDRESS_MEM_TYPE_64;
			__attribute__((fallthrough));
		case PCIF_BAR_MEM32:
			add(c, at, 4, type, (uint32_t)mask & ~0xfu);
			break;
		}
	}
}

static bool has_bars(const struct pcif_desc *d, bool io)
{
	for (unsigned i = 0; i < PCIF_NUM_BARS; i++)
		if (d->bars[i].type != PCIF_BAR_NONE && (d->bars[i].type == PCIF_BAR_IO) == io)
			return true;
	return false;
}

static void build_header(struct pcif *f)
{
	const struct pcif_desc *d = &f->desc;
	struct config_space *c = &f->config;
	uint16_t command = PCI_COMMAND_MASTER | PCI_COMMAND_PARITY | PCI_COMMAND_SERR |
			   PCI_COMMAND_INTX_DISABLE;
	bool vf = f->pf;
	struct config_field status = { PCI_STATUS, 2, 0, 0, 0xf900, 0 };

	if (f->bridge || has_bars(d, true))
		command |= PCI_COMMAND_IO;
	if (f->bridge || has_bars(d, false))
		command |= PCI_COMMAND_MEMORY;
	/* A VF is not to be found by a scan; it shares what it has in common with its PF. */
	add(c, PCI_VENDOR_ID, 2, vf ? 0xffff : d->vendor, 0);
	add(c, PCI_DEVICE_ID, 2, vf ? 0xffff : d->device, 0);
	add(c, PCI_COMMAND, 2, 0, vf ? PCI_COMMAND_MASTER : command);
	config_field_add(c, 0, &status);
	add(c, PCI_CLASS_REVISION, 4, d->class_code << 8 | d->revision, 0);
	add(c, PCI_CACHE_LINE_SIZE, 1, 0, vf ? 0 : 0xff);
	add(c, PCI_LATENCY_TIMER, 1, 0, d->pcie ? 0 : 0xf8);
	add(c, PCI_HEADER_TYPE, 1, f->bridge ? PCI_HEADER_TYPE_BRIDGE : 0, 0);
	add(c, PCI_INTERRUPT_LINE, 1, 0, vf ? 0 : 0xff);
	add(c, PCI_INTERRUPT_PIN, 1, d->intx_pin, 0);
	if (f->bridge) {
		add_fields(c, 0, bridge_fields, ARRAY_SIZE(bridge_fields));
		if (leads_to_pci(f))
			add_fields(c, 0, pci_side_fields, ARRAY_SIZE(pci_side_fields));
		return;
	}
	if (!vf)
		build_bars(c, PCI_BASE_ADDRESS_0, d->bars);
	add(c, PCI_SUBSYSTEM_VENDOR_ID, 2, d->subsystem_vendor, 0);
	add(c, PCI_SUBSYSTEM_ID, 2, d->subsystem_device, 0);
}

/* ------------------------------------------------------------------ capabilities */

/* Puts capability @id at @at in front of the list. */
static void chain(struct config_space *c, unsigned at, uint8_t id)
{
	config_preset(c, at, 1, id);
	config_preset(c, at + 1, 1, c->value[PCI_CAPABILITY_LIST]);
	config_preset(c, PCI_CAPABILITY_LIST, 1, at);
	config_preset(c, PCI_STATUS, 2, config_peek(c, PCI_STATUS, 2) | PCI_STATUS_CAP_LIST);
}

/* Appends extended capability @id; the first one must be at 0x100. */
static void chain_ext(struct config_space *c, unsigned *last, unsigned at, uint16_t id,
		      unsigned version)
{
	config_preset(c, at, 4, id | version << 16);
	if (*last)
		config_preset(c, *last, 4, config_peek(c, *last, 4) | at << 20);
	*last = at;
}

static unsigned log2_of(unsigned v)
{
	return 31u - (unsigned)__builtin_clz(v);
}

static void build_msi(struct pcif *f)
{
	struct config_space *c = &f->config;
	unsigned n = f->desc.msi_vectors;
	uint32_t lines = n == 32 ? UINT32_MAX : BIT(n) - 1;

	add(c, CAP_MSI + PCI_MSI_FLAGS, 2,
	    PCI_MSI_FLAGS_64BIT | PCI_MSI_FLAGS_MASKBIT | log2_of(n) << 1,
	    PCI_MSI_FLAGS_ENABLE | PCI_MSI_FLAGS_QSIZE);
	add(c, CAP_MSI + PCI_MSI_ADDRESS_LO, 4, 0, ~3u);
	add(c, CAP_MSI + PCI_MSI_ADDRESS_HI, 4, 0, UINT32_MAX);
	add(c, CAP_MSI + PCI_MSI_DATA_64, 2, 0, 0xffff);
	add(c, CAP_MSI + PCI_MSI_MASK_64, 4, 0, lines);
	chain(c, CAP_MSI, PCI_CAP_ID_MSI);
	f->cap_msi = CAP_MSI;
}

static void build_msix(struct pcif *f)
{
	const struct pcif_desc *d = &f->desc;
	struct config_space *c = &f->config;

	add(c, CAP_MSIX + PCI_MSIX_FLAGS, 2, d->msix_vectors - 1,
	    PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
	add(c, CAP_MSIX + PCI_MSIX_TABLE, 4, d->msix_table_offset | d->msix_bar, 0);
	add(c, CAP_MSIX + PCI_MSIX_PBA, 4, d->msix_pba_offset | d->msix_bar, 0);
	chain(c, CAP_MSIX, PCI_CAP_ID_MSIX);
	f->cap_msix = CAP_MSIX;
}

static unsigned express_type(const struct pcif *f)
{
	static const uint8_t bridges[] = {
		[PCIF_ROOT_PORT] = PCI_EXP_TYPE_ROOT_PORT,
		[PCIF_UPSTREAM_PORT] = PCI_EXP_TYPE_UPSTREAM,
		[PCIF_DOWNSTREAM_PORT] = PCI_EXP_TYPE_DOWNSTREAM,
		[PCIF_PCIE_TO_PCI_BRIDGE] = PCI_EXP_TYPE_PCI_BRIDGE,
	};

	if (f->bridge)
		return bridges[f->desc.kind];
	return f->on_root_bus ? PCI_EXP_TYPE_RC_END : PCI_EXP_TYPE_ENDPOINT;
}

static void build_slot(struct pcif *f)
{
	struct config_space *c = &f->config;

	config_preset(c, CAP_PCIE + PCI_EXP_FLAGS, 2,
		      config_peek(c, CAP_PCIE + PCI_EXP_FLAGS, 2) | PCI_EXP_FLAGS_SLOT);
	add(c, CAP_PCIE + PCI_EXP_SLTCAP, 4, (uint32_t)f->desc.slot << 19 | PCI_EXP_SLTCAP_NCCS, 0);
	/* Both indicators, which it has not, are off. */
	add(c, CAP_PCIE + PCI_EXP_SLTCTL, 2, 0x03c0, 0);
}

static void build_pcie(struct pcif *f)
{
	struct config_space *c = &f->config;
	unsigned type = express_type(f);

	if (f->pf)
		add_fields(c, CAP_PCIE, pcie_vf_fields, ARRAY_SIZE(pcie_vf_fields));
	else
		add_fields(c, CAP_PCIE, pcie_fields, ARRAY_SIZE(pcie_fields));
	if (!f->pf && type != PCI_EXP_TYPE_RC_END)
		add_fields(c, CAP_PCIE, pcie_link_fields, ARRAY_SIZE(pcie_link_fields));
	if (is_port(f))
		add_fields(c, CAP_PCIE, pcie_port_fields, ARRAY_SIZE(pcie_port_fields));
	if (type == PCI_EXP_TYPE_ROOT_PORT)
		add_fields(c, CAP_PCIE, pcie_root_fields, ARRAY_SIZE(pcie_root_fields));
	if (type == PCI_EXP_TYPE_PCI_BRIDGE)
		add_fields(c, CAP_PCIE, pcie_to_pci_fields, ARRAY_SIZE(pcie_to_pci_fields));
	if (!f->bridge && !f->pf)
		config_preset(c, CAP_PCIE + PCI_EXP_DEVCAP, 4,
			      config_peek(c, CAP_PCIE + PCI_EXP_DEVCAP, 4) | PCI_EXP_DEVCAP_FLR);
	add(c, CAP_PCIE + PCI_EXP_FLAGS, 2, 2 | type << 4, 0);
	if (f->desc.slot)
		build_slot(f);
	chain(c, CAP_PCIE, PCI_CAP_ID_EXP);
	f->cap_pcie = CAP_PCIE;
}

static void build_sriov(struct pcif *f)
{
	const struct pcif_sriov *s = &f->desc.sriov;
	struct config_space *c = &f->config;

	add_fields(c, CAP_SRIOV, sriov_fields, ARRAY_SIZE(sriov_fields));
	add(c, CAP_SRIOV + PCI_SRIOV_INITIAL_VF, 2, s->total_vfs, 0);
	add(c, CAP_SRIOV + PCI_SRIOV_TOTAL_VF, 2, s->total_vfs, 0);
	/* No PF depends on another. */
	add(c, CAP_SRIOV + PCI_SRIOV_FUNC_LINK, 1, (unsigned)f->bdf.dev << 3 | f->bdf.fn, 0);
	add(c, CAP_SRIOV + PCI_SRIOV_VF_OFFSET, 2, f->sriov->first_offset, 0);
	add(c, CAP_SRIOV + PCI_SRIOV_VF_STRIDE, 2, f->sriov->stride, 0);
	add(c, CAP_SRIOV + PCI_SRIOV_VF_DID, 2, s->vf_device, 0);
	build_bars(c, CAP_SRIOV + PCI_SRIOV_BAR, s->bars);
}

static void build_extended(struct pcif *f)
{
	const struct pcif_desc *d = &f->desc;
	struct config_space *c = &f->config;
	unsigned last = 0;

	if (!d->aer) /* an empty head keeps the list in its place */
		chain_ext(c, &last, CAP_AER, 0, 0);
	if (d->aer) {
		add_fields(c, CAP_AER, aer_fields, ARRAY_SIZE(aer_fields));
		if (d->kind == PCIF_ROOT_PORT)
			add_fields(c, CAP_AER, aer_root_fields, ARRAY_SIZE(aer_root_fields));
		chain_ext(c, &last, CAP_AER, PCI_EXT_CAP_ID_ERR, 2);
	}
	if (d->dsn) {
		add(c, CAP_DSN + 4, 4, (uint32_t)d->dsn, 0);
		add(c, CAP_DSN + 8, 4, (uint32_t)(d->dsn >> 32), 0);
		chain_ext(c, &last, CAP_DSN, PCI_EXT_CAP_ID_DSN, 1);
	}
	if (d->acs) {
		if (is_port(f))
			add_fields(c, CAP_ACS, acs_port_fields, ARRAY_SIZE(acs_port_fields));
		else
			add_fields(c, CAP_ACS, acs_device_fields, ARRAY_SIZE(acs_device_fields));
		chain_ext(c, &last, CAP_ACS, PCI_EXT_CAP_ID_ACS, 1);
	}
	/* Next function: filled in where there is one. */
	if (f->sriov || f->pf)
		chain_ext(c, &last, CAP_ARI, PCI_EXT_CAP_ID_ARI, 1);
	if (f->sriov) {
		build_sriov(f);
		chain_ext(c, &last, CAP_SRIOV, PCI_EXT_CAP_ID_SRIOV, 1);
	}
}

/* Builds the whole space of @f from its checked description. Nobody else sees @f yet. */
void caps_build(struct pcif *f)
{
	const struct pcif_desc *d = &f->desc;

	f->config.size = d->pcie ? PCIF_CONFIG_SIZE : 256;
	build_header(f);
	/* Each goes in front, so the list reads PM, MSI, PCI Express, MSI-X. */
	if (d->msix_vectors)
		build_msix(f);
	if (d->pcie)
		build_pcie(f);
	if (d->msi_vectors)
		build_msi(f);
	if (d->pm) {
		add_fields(&f->config, CAP_PM, pm_fields, ARRAY_SIZE(pm_fields));
		/* A port that forgot its windows at D0 would cut off what is below. */
		if (f->bridge)
			config_preset(&f->config, CAP_PM + PCI_PM_CTRL, 2,
				      PCI_PM_CTRL_NO_SOFT_RESET);
		chain(&f->config, CAP_PM, PCI_CAP_ID_PM);
		f->cap_pm = CAP_PM;
	}
	if (d->pcie)
		build_extended(f);
	config_update_gate(f);
}

void caps_set_multifunction(struct pcif *f)
{
	config_preset(&f->config, PCI_HEADER_TYPE, 1,
		      f->config.value[PCI_HEADER_TYPE] | PCI_HEADER_TYPE_MULTI_FUNC);
}

/* As a host does where what is below has ARI; the port keeps it in a reset. */
void caps_set_ari_forwarding(struct pcif *f)
{
	config_preset(&f->config, CAP_PCIE + PCI_EXP_DEVCTL2, 2, PCI_EXP_DEVCTL2_ARI);
}

/* A port's number, and whether something is at the other end of its link. */
void caps_set_link(struct pcif *f, uint8_t port_number, bool up)
{
	struct config_space *c = &f->config;

	if (!f->cap_pcie)
		return;
	config_preset(c, CAP_PCIE + PCI_EXP_LNKCAP + 3, 1, port_number);
	if (f->desc.slot && up)
		config_preset(c, CAP_PCIE + PCI_EXP_SLTSTA, 2, PCI_EXP_SLTSTA_PDS);
	/* What is never trained has no width yet. */
	if (is_port(f) && !up) {
		config_preset(c, CAP_PCIE + PCI_EXP_LNKSTA, 2, 0x1001);
		config_preset(c, CAP_PCIE + PCI_EXP_LNKSTA2, 2, 0);
	}
}

static bool power_of_two(uint64_t v)
{
	return v && !(v & (v - 1));
}

static int check_msix(const struct pcif_desc *d, struct pcif_reply_error *err)
{
	const struct pcif_bar *bar;
	uint64_t table_size = 16ull * d->msix_vectors, pba_size;

	if (!d->msix_vectors)
		return 0;
	pba_size = ALIGN_UP(d->msix_vectors, 64) / 8;
	if (d->msix_vectors > PCIF_MAX_VECTORS || d->msix_bar >= PCIF_NUM_BARS)
		return pcif_error(err, -EINVAL, "MSI-X: more than %u vectors, or no such BAR",
				  PCIF_MAX_VECTORS);
	bar = &d->bars[d->msix_bar];
	if ((bar->type != PCIF_BAR_MEM32 && bar->type != PCIF_BAR_MEM64) ||
	    d->msix_table_offset % 8 || d->msix_pba_offset % 8 ||
	    d->msix_table_offset + table_size > bar->size ||
	    d->msix_pba_offset + pba_size > bar->size)
		return pcif_error(err, -EINVAL, "MSI-X: table or PBA not inside BAR %u",
				  d->msix_bar);
	if (ranges_overlap(d->msix_table_offset, d->msix_table_offset + table_size - 1,
			   d->msix_pba_offset, d->msix_pba_offset + pba_size - 1))
		return pcif_error(err, -EINVAL, "MSI-X: table and PBA overlap");
	for (unsigned i = 0; i < bar->n_areas; i++) {
		const struct pcif_bar_area *a = &bar->areas[i];
		uint64_t last = a->offset + a->size - 1;

		if (a->policy != PCIF_PAGE_TRAP &&
		    (ranges_overlap(a->offset, last, d->msix_table_offset,
				    d->msix_table_offset + table_size - 1) ||
		     ranges_overlap(a->offset, last, d->msix_pba_offset,
				    d->msix_pba_offset + pba_size - 1)))
			return pcif_error(err, -EINVAL, "MSI-X: table or PBA in a mappable page");
	}
	return 0;
}

static int check_kind(const struct pcif_desc *d, struct pcif_reply_error *err)
{
	if (d->kind > PCIF_PCI_BRIDGE)
		return pcif_error(err, -EINVAL, "no such kind of function");
	if (d->kind == PCIF_ENDPOINT)
		return 0;
	if (d->pcie != (d->kind != PCIF_PCI_BRIDGE))
		return pcif_error(err, -EINVAL, "ports have PCI Express, conventional bridges not");
	if (has_bars(d, true) || has_bars(d, false) || d->msix_vectors)
		return pcif_error(err, -EINVAL, "bridges have no BARs");
	return 0;
}

/* -EINVAL with a text if a model's description cannot be a function. */
int caps_check(const struct pcif *f, struct pcif_reply_error *err)
{
	const struct pcif_desc *d = &f->desc;
	int rc = bar_check(d->bars, err);

	if (!rc)
		rc = f->pf ? sriov_check_vf(f, err) : sriov_check(d, err);
	if (!rc && d->sriov.total_vfs && !f->model->create_vf)
		rc = pcif_error(err, -EINVAL, "SR-IOV: the model makes no VFs");

	if (!rc)
		rc = check_kind(d, err);
	if (rc)
		return rc;
	if (d->class_code > 0xffffff || d->intx_pin > 4)
		return pcif_error(err, -EINVAL, "class code or interrupt pin out of range");
	if (d->msi_vectors && (!power_of_two(d->msi_vectors) || d->msi_vectors > 32))
		return pcif_error(err, -EINVAL, "MSI: %u vectors, not a power of two up to 32",
				  d->msi_vectors);
	if (!d->pcie && (d->aer || d->dsn || d->acs))
		return pcif_error(err, -EINVAL, "AER, ACS and serial number need PCI Express");
	return check_msix(d, err);
}
