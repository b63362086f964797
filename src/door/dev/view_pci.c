/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The files of a PCI function's directory that say what it is: identity, place, resources,
 * configuration space, links. Whatever can be read in configuration space is read there.
 * view_state.c has those by which it can be told something.
 *
 * Source: drivers/pci/pci-sysfs.c, drivers/base/core.c (uevent).
 */
#include <errno.h>
#include <linux/pci_regs.h>

#include "door/dev/view_priv.h"

static uint32_t config(struct view_node *node, unsigned offset, unsigned size)
{
	return pcif_config_read(view_fn_of(node)->f, offset, size);
}

/* ------------------------------------------------------------------ identity */

/* Not from configuration space, where VFs have none (SR-IOV 1.1, section 3.4.1.1). */
static int read_vendor(struct view_node *node, char **buf, size_t *size)
{
	return view_say(buf, size, "0x%04x\n", pcif_desc(view_fn_of(node)->f)->vendor);
}

static int read_device(struct view_node *node, char **buf, size_t *size)
{
	return view_say(buf, size, "0x%04x\n", pcif_desc(view_fn_of(node)->f)->device);
}

/* Bridges keep theirs in a capability (PCI-to-PCI Bridge Architecture 1.2, section 3.2.5.13). */
static uint32_t subsystem(struct view_fn *fn, unsigned offset)
{
	unsigned cap;

	if (!pcif_is_bridge(fn->f))
		return pcif_config_read(fn->f, PCI_SUBSYSTEM_VENDOR_ID + offset, 2);
	cap = pcif_find_cap(fn->f, PCI_CAP_ID_SSVID);
	return cap ? pcif_config_read(fn->f, cap + PCI_SSVID_VENDOR_ID + offset, 2) : 0;
}

static int read_subsystem_vendor(struct view_node *node, char **buf, size_t *size)
{
	return view_say(buf, size, "0x%04x\n", subsystem(view_fn_of(node), 0));
}

static int read_subsystem_device(struct view_node *node, char **buf, size_t *size)
{
	return view_say(buf, size, "0x%04x\n", subsystem(view_fn_of(node), 2));
}

static int read_class(struct view_node *node, char **buf, size_t *size)
{
	return view_say(buf, size, "0x%06x\n", config(node, PCI_CLASS_REVISION, 4) >> 8);
}

static int read_revision(struct view_node *node, char **buf, size_t *size)
{
	return view_say(buf, size, "0x%02x\n", config(node, PCI_REVISION_ID, 1));
}

static void modalias(struct view_fn *fn, char out[96])
{
	const struct pcif_desc *d = pcif_desc(fn->f);
	uint32_t class_code = pcif_config_read(fn->f, PCI_CLASS_REVISION, 4) >> 8;

	snprintf(out, 96, "pci:v%08Xd%08Xsv%08Xsd%08Xbc%02Xsc%02Xi%02X", d->vendor, d->device,
		 subsystem(fn, 0), subsystem(fn, 2), class_code >> 16, class_code >> 8 & 0xff,
		 class_code & 0xff);
}

static int read_modalias(struct view_node *node, char **buf, size_t *size)
{
	char alias[96];

	modalias(view_fn_of(node), alias);
	return view_say(buf, size, "%s\n", alias);
}

static int read_uevent(struct view_node *node, char **buf, size_t *size)
{
	struct view_fn *fn = view_fn_of(node);
	const struct bus_driver *d = bus_driver_of(fn->view->bus, fn->f);
	const struct pcif_desc *desc = pcif_desc(fn->f);
	char alias[96];

	modalias(fn, alias);
	return view_say(buf, size,
			"%s%s%sPCI_CLASS=%04X\nPCI_ID=%04X:%04X\nPCI_SUBSYS_ID=%04X:%04X\n"
			"PCI_SLOT_NAME=%s\nMODALIAS=%s\n",
			d ? "DRIVER=" : "", d ? d->name : "", d ? "\n" : "",
			config(node, PCI_CLASS_REVISION, 4) >> 8, desc->vendor, desc->device,
			subsystem(fn, 0), subsystem(fn, 2), fn->name, alias);
}

/* ------------------------------------------------------------------ place */

static int read_numa_node(struct view_node *node, char **buf, size_t *size)
{
	return view_say(buf, size, "%d\n", pcif_numa_node(view_fn_of(node)->f));
}

/* The machine says where it is; nobody else. */
static int write_numa_node(struct view_node *node, const char *buf, size_t size)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", pcif_numa_node(view_fn_of(node)->f));
	return view_same(buf, size, text) ? 0 : -EINVAL;
}

static int read_local_cpus(struct view_node *node, char **buf, size_t *size)
{
	return view_say(buf, size, "%s", view_fn_of(node)->view->cpu_mask);
}

static int read_local_cpulist(struct view_node *node, char **buf, size_t *size)
{
	return view_say(buf, size, "%s", view_fn_of(node)->view->cpu_list);
}

/* ------------------------------------------------------------------ resources */

struct resource {
	uint64_t first, last, flags;
};

#define RES_IO 0x100u
#define RES_MEM 0x200u
#define RES_PREFETCH 0x2000u
#define RES_SIZEALIGN 0x40000u
#define RES_MEM_64 0x100000u

static struct resource memory_or_io(const struct pcif_bar *b, uint64_t first, uint64_t size)
{
	struct resource r = { 0 };

	if (b->type == PCIF_BAR_NONE || !size)
		return r;
	r.first = first;
	r.last = r.first + size - 1;
	r.flags = RES_SIZEALIGN;
	if (b->type == PCIF_BAR_IO) {
		r.flags |= RES_IO | PCI_BASE_ADDRESS_SPACE_IO;
		return r;
	}
	r.flags |= RES_MEM;
	if (b->type == PCIF_BAR_MEM64)
		r.flags |= RES_MEM_64 | PCI_BASE_ADDRESS_MEM_TYPE_64;
	if (b->prefetchable)
		r.flags |= RES_PREFETCH | PCI_BASE_ADDRESS_MEM_PREFETCH;
	return r;
}

static struct resource bar_resource(struct pcif *f, unsigned bar)
{
	const struct pcif_bar *b = &pcif_desc(f)->bars[bar];

	return memory_or_io(b, pcif_bar_address(f, bar), b->size);
}

/* The BARs of all VFs that there could be, one after the other. */
static struct resource vf_resource(struct pcif *f, unsigned bar)
{
	const struct pcif_sriov *s = &pcif_desc(f)->sriov;
	uint64_t first = s->total_vfs ? pcif_vf_bar_address(f, bar) : 0;

	if (!first)
		return (struct resource){ 0 };
	return memory_or_io(&s->bars[bar], first, s->bars[bar].size * s->total_vfs);
}

/* Windows 0 to 2 of a bridge: I/O, memory, prefetchable memory. */
static struct resource window_resource(struct pcif *f, unsigned window)
{
	struct resource r = { 0 };
	uint32_t v;

	if (window == 0) {
		v = pcif_config_read(f, PCI_IO_BASE, 2);
		r.first = (v & 0xf0) << 8;
		r.last = (v & 0xf000) | 0xfff;
		r.flags = RES_IO | (v & PCI_IO_RANGE_TYPE_MASK);
		if ((v & PCI_IO_RANGE_TYPE_MASK) == PCI_IO_RANGE_TYPE_32) {
			r.first |= pcif_config_read(f, PCI_IO_BASE_UPPER16, 2) << 16;
			r.last |= pcif_config_read(f, PCI_IO_LIMIT_UPPER16, 2) << 16;
		}
	} else if (window == 1) {
		v = pcif_config_read(f, PCI_MEMORY_BASE, 4);
		r.first = (uint64_t)(v & 0xfff0) << 16;
		r.last = (v & 0xfff00000) | 0xfffff;
		r.flags = RES_MEM;
	} else {
		v = pcif_config_read(f, PCI_PREF_MEMORY_BASE, 4);
		r.first = (uint64_t)(v & 0xfff0) << 16;
		r.last = (v & 0xfff00000) | 0xfffff;
		r.flags = RES_MEM | RES_PREFETCH | (v & PCI_PREF_RANGE_TYPE_MASK);
		if ((v & PCI_PREF_RANGE_TYPE_MASK) == PCI_PREF_RANGE_TYPE_64) {
			r.first |= (uint64_t)pcif_config_read(f, PCI_PREF_BASE_UPPER32, 4) << 32;
			r.last |= (uint64_t)pcif_config_read(f, PCI_PREF_LIMIT_UPPER32, 4) << 32;
			r.flags |= RES_MEM_64;
		}
	}
	/* A base above the limit closes the window; and I/O at 0 was never set up. */
	if (r.first > r.last || (window == 0 && !r.first))
		return (struct resource){ 0 };
	return r;
}

/*
 * A line for each resource: 6 BARs, the ROM, 6 BARs of virtual functions; bridges have 4 windows
 * more.
 */
static int read_resource(struct view_node *node, char **buf, size_t *size)
{
	struct pcif *f = view_fn_of(node)->f;
	bool bridge = pcif_is_bridge(f);
	unsigned lines = bridge ? 17 : 13;
	char text[17 * 57 + 1];
	size_t n = 0;

	for (unsigned i = 0; i < lines; i++) {
		struct resource r = { 0 };

		if (i < PCIF_NUM_BARS && !bridge)
			r = bar_resource(f, i);
		else if (i >= 7 && i < 7 + PCIF_NUM_BARS)
			r = vf_resource(f, i - 7);
		else if (i >= 13 && i < 16)
			r = window_resource(f, i - 13);
		n += (size_t)snprintf(text + n, sizeof(text) - n, "0x%016llx 0x%016llx 0x%016llx\n",
				      (unsigned long long)r.first, (unsigned long long)r.last,
				      (unsigned long long)r.flags);
	}
	return view_say(buf, size, "%s", text);
}

/*
 * Memory BARs can be mapped by a driver's own program through these files on a real host. Here they
 * are reached through VFIO only; read() and write() fail as Linux's do for memory. Source:
 * pci_resource_io().
 */
static ssize_t bar_io(struct view_node *node, void *buf, size_t size, uint64_t offset, bool write)
{
	unsigned bar = (unsigned)(uintptr_t)node->data;
	struct pcif *f = view_fn_of(node)->f;
	int r;

	if (pcif_desc(f)->bars[bar].type != PCIF_BAR_IO)
		return -EIO;
	if (offset >= node->size)
		return 0;
	if (size > node->size - offset || (size != 1 && size != 2 && size != 4))
		return -EINVAL;
	r = write ? pcif_bar_write(f, bar, offset, buf, size, false)
		  : pcif_bar_read(f, bar, offset, buf, size, false);
	return r ? r : (ssize_t)size;
}

static ssize_t pread_bar(struct view_node *node, void *buf, size_t size, uint64_t offset)
{
	return bar_io(node, buf, size, offset, false);
}

static ssize_t pwrite_bar(struct view_node *node, const void *buf, size_t size, uint64_t offset)
{
	return bar_io(node, (void *)(uintptr_t)buf, size, offset, true);
}

/* ------------------------------------------------------------------ configuration space */

/* The largest aligned piece at @offset, at most 4 bytes. */
static unsigned piece(uint64_t offset, size_t left)
{
	if (!(offset & 3) && left >= 4)
		return 4;
	return !(offset & 1) && left >= 2 ? 2 : 1;
}

static size_t config_clip(struct view_node *node, size_t size, uint64_t offset)
{
	uint64_t end = pcif_config_size(view_fn_of(node)->f);

	return offset >= end ? 0 : (size_t)MIN((uint64_t)size, end - offset);
}

static ssize_t pread_config(struct view_node *node, void *buf, size_t size, uint64_t offset)
{
	uint8_t *p = buf;

	size = config_clip(node, size, offset);
	for (size_t done = 0, n; done < size; done += n) {
		le32 v;

		n = piece(offset + done, size - done);
		v = le32_make(config(node, (unsigned)(offset + done), (unsigned)n));
		memcpy(p + done, &v, n);
	}
	return (ssize_t)size;
}

static ssize_t pwrite_config(struct view_node *node, const void *buf, size_t size, uint64_t offset)
{
	const uint8_t *p = buf;

	size = config_clip(node, size, offset);
	for (size_t done = 0, n; done < size; done += n) {
		le32 v = { 0 };

		n = piece(offset + done, size - done);
		memcpy(&v, p + done, n);
		pcif_config_write(view_fn_of(node)->f, (unsigned)(offset + done), (unsigned)n,
				  le32_get(v));
	}
	return (ssize_t)size;
}

/* ------------------------------------------------------------------ PCI Express */

/* Of the value in a link register; names as Linux's pci_speed_string() gives them. */
static const char *speed_name(unsigned speed)
{
	static const char *const names[] = {
		"Unknown",	  "2.5 GT/s PCIe",  "5.0 GT/s PCIe",  "8.0 GT/s PCIe",
		"16.0 GT/s PCIe", "32.0 GT/s PCIe", "64.0 GT/s PCIe",
	};

	return names[speed < ARRAY_SIZE(names) ? speed : 0];
}

static uint32_t express(struct view_node *node, unsigned offset, unsigned size)
{
	return config(node, pcif_find_cap(view_fn_of(node)->f, PCI_CAP_ID_EXP) + offset, size);
}

static int read_max_speed(struct view_node *node, char **buf, size_t *size)
{
	return view_say(buf, size, "%s\n",
			speed_name(express(node, PCI_EXP_LNKCAP, 4) & PCI_EXP_LNKCAP_SLS));
}

static int read_max_width(struct view_node *node, char **buf, size_t *size)
{
	return view_say(buf, size, "%u\n",
			(express(node, PCI_EXP_LNKCAP, 4) & PCI_EXP_LNKCAP_MLW) >> 4);
}

static int read_current_speed(struct view_node *node, char **buf, size_t *size)
{
	return view_say(buf, size, "%s\n",
			speed_name(express(node, PCI_EXP_LNKSTA, 2) & PCI_EXP_LNKSTA_CLS));
}

static int read_current_width(struct view_node *node, char **buf, size_t *size)
{
	return view_say(buf, size, "%u\n",
			(express(node, PCI_EXP_LNKSTA, 2) & PCI_EXP_LNKSTA_NLW) >> 4);
}

/* ------------------------------------------------------------------ bridges */

static int read_secondary(struct view_node *node, char **buf, size_t *size)
{
	return view_say(buf, size, "%u\n", config(node, PCI_SECONDARY_BUS, 1));
}

static int read_subordinate(struct view_node *node, char **buf, size_t *size)
{
	return view_say(buf, size, "%u\n", config(node, PCI_SUBORDINATE_BUS, 1));
}

/* ------------------------------------------------------------------ tables */

/* Whether the port above lets function numbers be as many as 256. Source: pci_ari_enabled(). */
static int read_ari(struct view_node *node, char **buf, size_t *size)
{
	struct pcif *f = view_fn_of(node)->f, *above = pcif_parent(f);
	uint8_t secondary, subordinate;
	unsigned exp;
	bool on = false;

	if (above) {
		pcif_bridge_buses(above, &secondary, &subordinate);
		exp = pcif_find_cap(above, PCI_CAP_ID_EXP);
		on = exp && pcif_bdf(f).bus == secondary &&
		     pcif_config_read(above, exp + PCI_EXP_DEVCTL2, 2) & PCI_EXP_DEVCTL2_ARI;
	}
	return view_say(buf, size, "%u\n", on);
}

static const struct view_attr common_attrs[] = {
	{ "ari_enabled", 0444, read_ari, NULL },
	{ "class", 0444, read_class, NULL },
	{ "device", 0444, read_device, NULL },
	{ "local_cpulist", 0444, read_local_cpulist, NULL },
	{ "local_cpus", 0444, read_local_cpus, NULL },
	{ "modalias", 0444, read_modalias, NULL },
	{ "numa_node", 0644, read_numa_node, write_numa_node },
	{ "resource", 0444, read_resource, NULL },
	{ "revision", 0444, read_revision, NULL },
	{ "subsystem_device", 0444, read_subsystem_device, NULL },
	{ "subsystem_vendor", 0444, read_subsystem_vendor, NULL },
	{ "uevent", 0644, read_uevent, view_write_uevent },
	{ "vendor", 0444, read_vendor, NULL },
};

static const struct view_attr express_attrs[] = {
	{ "current_link_speed", 0444, read_current_speed, NULL },
	{ "current_link_width", 0444, read_current_width, NULL },
	{ "max_link_speed", 0444, read_max_speed, NULL },
	{ "max_link_width", 0444, read_max_width, NULL },
};

static const struct view_attr bridge_attrs[] = {
	{ "secondary_bus_number", 0444, read_secondary, NULL },
	{ "subordinate_bus_number", 0444, read_subordinate, NULL },
};

static void binary_files(struct view_fn *fn)
{
	struct view *v = fn->view;
	struct view_node *file = view_file(v, fn->dir, "config", 0644, NULL);

	if (file) {
		file->size = pcif_config_size(fn->f);
		file->pread = pread_config;
		file->pwrite = pwrite_config;
	}
	for (unsigned bar = 0; bar < PCIF_NUM_BARS && !pcif_is_bridge(fn->f); bar++) {
		struct resource r = bar_resource(fn->f, bar);
		char name[16];

		if (!r.flags)
			continue;
		snprintf(name, sizeof(name), "resource%u", bar);
		file = view_file(v, fn->dir, name, 0600, (void *)(uintptr_t)bar);
		if (file) {
			file->size = r.last - r.first + 1;
			file->pread = pread_bar;
			file->pwrite = pwrite_bar;
		}
	}
}

void view_fn_files(struct view_fn *fn)
{
	struct view *v = fn->view;

	view_attrs(v, fn->dir, common_attrs, ARRAY_SIZE(common_attrs), NULL);
	if (pcif_find_cap(fn->f, PCI_CAP_ID_EXP))
		view_attrs(v, fn->dir, express_attrs, ARRAY_SIZE(express_attrs), NULL);
	if (pcif_is_bridge(fn->f))
		view_attrs(v, fn->dir, bridge_attrs, ARRAY_SIZE(bridge_attrs), NULL);
	binary_files(fn);
	view_link_path(v, fn->dir, "subsystem", fn->path, "bus/pci");
}
