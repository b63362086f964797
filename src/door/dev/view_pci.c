/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The files of a PCI function's directory. One table for every function, one more for bridges, PCI
 * Express functions and endpoints; whatever can be read in configuration space is read there.
 *
 * Source: drivers/pci/pci-sysfs.c, drivers/pci/pci.c (reset_method), drivers/base/core.c (uevent).
 */
#include <errno.h>
#include <linux/pci_regs.h>

#include "door/dev/view_priv.h"

static struct view_fn *fn_of(struct view_node *node)
{
	return node->data;
}

static uint32_t config(struct view_node *node, unsigned offset, unsigned size)
{
	return pcif_config_read(fn_of(node)->f, offset, size);
}

/* ------------------------------------------------------------------ identity */

static int read_vendor(struct view_node *node, char **buf, size_t *size)
{
	return view_say(buf, size, "0x%04x\n", config(node, PCI_VENDOR_ID, 2));
}

static int read_device(struct view_node *node, char **buf, size_t *size)
{
	return view_say(buf, size, "0x%04x\n", config(node, PCI_DEVICE_ID, 2));
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
	return view_say(buf, size, "0x%04x\n", subsystem(fn_of(node), 0));
}

static int read_subsystem_device(struct view_node *node, char **buf, size_t *size)
{
	return view_say(buf, size, "0x%04x\n", subsystem(fn_of(node), 2));
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
	uint32_t ids = pcif_config_read(fn->f, PCI_VENDOR_ID, 4);
	uint32_t class_code = pcif_config_read(fn->f, PCI_CLASS_REVISION, 4) >> 8;

	snprintf(out, 96, "pci:v%08Xd%08Xsv%08Xsd%08Xbc%02Xsc%02Xi%02X", ids & 0xffff, ids >> 16,
		 subsystem(fn, 0), subsystem(fn, 2), class_code >> 16, class_code >> 8 & 0xff,
		 class_code & 0xff);
}

static int read_modalias(struct view_node *node, char **buf, size_t *size)
{
	char alias[96];

	modalias(fn_of(node), alias);
	return view_say(buf, size, "%s\n", alias);
}

static int read_uevent(struct view_node *node, char **buf, size_t *size)
{
	struct view_fn *fn = fn_of(node);
	char alias[96];

	modalias(fn, alias);
	return view_say(buf, size,
			"DRIVER=%s\nPCI_CLASS=%04X\nPCI_ID=%04X:%04X\nPCI_SUBSYS_ID=%04X:%04X\n"
			"PCI_SLOT_NAME=%s\nMODALIAS=%s\n",
			fn->driver->name, config(node, PCI_CLASS_REVISION, 4) >> 8,
			config(node, PCI_VENDOR_ID, 2), config(node, PCI_DEVICE_ID, 2),
			subsystem(fn, 0), subsystem(fn, 2), fn->name, alias);
}

/* ------------------------------------------------------------------ place */

static int read_irq(struct view_node *node, char **buf, size_t *size)
{
	uint32_t line = config(node, PCI_INTERRUPT_LINE, 1);

	/* 255 stands for "not connected". */
	if (!config(node, PCI_INTERRUPT_PIN, 1) || line == 0xff)
		line = 0;
	return view_say(buf, size, "%u\n", line);
}

static int read_numa_node(struct view_node *node, char **buf, size_t *size)
{
	return view_say(buf, size, "-1\n");
}

static int write_numa_node(struct view_node *node, const char *buf, size_t size)
{
	AUTO_FREE char *word = NULL;
	int r = view_word(buf, size, &word);

	/* The platform has no NUMA nodes, so that "none" is the only value. */
	if (!r && strcmp(word, "-1"))
		r = -EINVAL;
	return r;
}

static int read_local_cpus(struct view_node *node, char **buf, size_t *size)
{
	return view_say(buf, size, "%s", fn_of(node)->view->cpu_mask);
}

static int read_local_cpulist(struct view_node *node, char **buf, size_t *size)
{
	return view_say(buf, size, "%s", fn_of(node)->view->cpu_list);
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

static struct resource bar_resource(struct pcif *f, unsigned bar)
{
	const struct pcif_bar *b = &pcif_desc(f)->bars[bar];
	struct resource r = { 0 };

	if (b->type == PCIF_BAR_NONE || !b->size)
		return r;
	r.first = pcif_bar_address(f, bar);
	r.last = r.first + b->size - 1;
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
	struct pcif *f = fn_of(node)->f;
	bool bridge = pcif_is_bridge(f);
	unsigned lines = bridge ? 17 : 13;
	char text[17 * 57 + 1];
	size_t n = 0;

	for (unsigned i = 0; i < lines; i++) {
		struct resource r = { 0 };

		if (i < PCIF_NUM_BARS && !bridge)
			r = bar_resource(f, i);
		else if (i >= 13 && i < 16)
			r = window_resource(f, i - 13);
		n += (size_t)snprintf(text + n, sizeof(text) - n, "0x%016llx 0x%016llx 0x%016llx\n",
				      (unsigned long long)r.first, (unsigned long long)r.last,
				      (unsigned long long)r.flags);
	}
	return view_say(buf, size, "%s", text);
}

/*
 * BARs can be mapped by a driver's own program through these files on a real host. Here they are
 * reached through VFIO only; read() and write() fail as Linux's do for memory.
 */
static ssize_t pread_bar(struct view_node *node, void *buf, size_t size, uint64_t offset)
{
	return -EIO;
}

static ssize_t pwrite_bar(struct view_node *node, const void *buf, size_t size, uint64_t offset)
{
	return -EIO;
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
	uint64_t end = pcif_config_size(fn_of(node)->f);

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
		pcif_config_write(fn_of(node)->f, (unsigned)(offset + done), (unsigned)n,
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
	return config(node, pcif_find_cap(fn_of(node)->f, PCI_CAP_ID_EXP) + offset, size);
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

/* ------------------------------------------------------------------ state */

/* The enable count: drivers of ports keep theirs enabled, vfio-pci while it is open. */
static int read_enable(struct view_node *node, char **buf, size_t *size)
{
	struct view_fn *fn = fn_of(node);
	bool on = pcif_is_bridge(fn->f) || vfio_function_open(fn->view->vfio, fn->f);

	return view_say(buf, size, "%u\n", on);
}

/* Only a function without a driver may be enabled by hand. */
static int write_enable(struct view_node *node, const char *buf, size_t size)
{
	unsigned long value;
	int r = view_number(buf, size, &value);

	return r ? r : -EBUSY;
}

static int read_power_state(struct view_node *node, char **buf, size_t *size)
{
	static const char *const names[] = { "D0", "D1", "D2", "D3hot" };
	unsigned cap = pcif_find_cap(fn_of(node)->f, PCI_CAP_ID_PM), state = 0;

	if (cap)
		state = config(node, cap + PCI_PM_CTRL, 2) & PCI_PM_CTRL_STATE_MASK;
	return view_say(buf, size, "%s\n", names[state]);
}

static int read_zero(struct view_node *node, char **buf, size_t *size)
{
	return view_say(buf, size, "0\n");
}

/* vfio-pci never asks for more than the default. */
static int read_dma_mask_bits(struct view_node *node, char **buf, size_t *size)
{
	return view_say(buf, size, "32\n");
}

static int read_msi_bus(struct view_node *node, char **buf, size_t *size)
{
	return view_say(buf, size, "1\n");
}

static int write_msi_bus(struct view_node *node, const char *buf, size_t size)
{
	unsigned long value;
	int r = view_number(buf, size, &value);

	if (r)
		return r;
	return value ? 0 : -EOPNOTSUPP; /* message signalled interrupts can not be forbidden */
}

static int read_bool(struct view_node *node, char **buf, size_t *size, const bool *flag)
{
	struct view *v = fn_of(node)->view;
	bool on;

	pthread_mutex_lock(&v->lock);
	on = *flag;
	pthread_mutex_unlock(&v->lock);
	return view_say(buf, size, "%u\n", on);
}

static int write_bool(struct view_node *node, const char *buf, size_t size, bool *flag)
{
	struct view *v = fn_of(node)->view;
	unsigned long value;
	int r = view_number(buf, size, &value);

	if (r)
		return r;
	pthread_mutex_lock(&v->lock);
	*flag = value;
	pthread_mutex_unlock(&v->lock);
	return 0;
}

static int read_parity(struct view_node *node, char **buf, size_t *size)
{
	return read_bool(node, buf, size, &fn_of(node)->broken_parity);
}

static int write_parity(struct view_node *node, const char *buf, size_t size)
{
	return write_bool(node, buf, size, &fn_of(node)->broken_parity);
}

static int read_d3cold(struct view_node *node, char **buf, size_t *size)
{
	return read_bool(node, buf, size, &fn_of(node)->d3cold_allowed);
}

static int write_d3cold(struct view_node *node, const char *buf, size_t size)
{
	return write_bool(node, buf, size, &fn_of(node)->d3cold_allowed);
}

static int write_remove(struct view_node *node, const char *buf, size_t size)
{
	unsigned long value;
	int r = view_number(buf, size, &value);

	if (r)
		return r;
	return value ? -EOPNOTSUPP : 0; /* the machine's tree never changes */
}

/* ------------------------------------------------------------------ driver_override */

/* Takes effect at the next match, and every function has its driver already. */
static int write_driver_override(struct view_node *node, const char *buf, size_t size)
{
	struct view_fn *fn = fn_of(node);
	char *word, *old;
	int r;

	if (size >= VIEW_TEXT_MAX - 1)
		return -EINVAL;
	r = view_word(buf, size, &word);
	if (r)
		return r;
	if (!word[0]) {
		free(word);
		word = NULL;
	}
	pthread_mutex_lock(&fn->view->lock);
	old = fn->driver_override;
	fn->driver_override = word;
	pthread_mutex_unlock(&fn->view->lock);
	free(old);
	return 0;
}

static int read_driver_override(struct view_node *node, char **buf, size_t *size)
{
	struct view_fn *fn = fn_of(node);
	int r;

	pthread_mutex_lock(&fn->view->lock);
	r = view_say(buf, size, "%s\n", fn->driver_override ? fn->driver_override : "(null)");
	pthread_mutex_unlock(&fn->view->lock);
	return r;
}

/* ------------------------------------------------------------------ reset */

/* In the order in which Linux tries them. */
enum { RESET_FLR, RESET_PM, RESET_BUS, NUM_RESETS };
static const char *const reset_names[NUM_RESETS] = { "flr", "pm", "bus" };

/* A bus reset would hit whatever else is there, so it serves a function that is alone on its bus.
 */
static bool alone_on_bus(const struct view_fn *fn)
{
	struct pci_bdf bdf = pcif_bdf(fn->f);

	for (unsigned i = 0; i < pcim_count(fn->view->pci); i++) {
		struct pcif *other = pcim_function(fn->view->pci, i);

		if (other != fn->f && pcif_bdf(other).domain == bdf.domain &&
		    pcif_bdf(other).bus == bdf.bus)
			return false;
	}
	return true;
}

/* The methods that work, as bits. Bridges have none: nothing resets a port alone. */
static unsigned reset_supported(const struct view_fn *fn)
{
	unsigned exp = pcif_find_cap(fn->f, PCI_CAP_ID_EXP);
	unsigned pm = pcif_find_cap(fn->f, PCI_CAP_ID_PM), methods = 0;

	if (pcif_is_bridge(fn->f))
		return 0;
	if (exp && pcif_config_read(fn->f, exp + PCI_EXP_DEVCAP, 4) & PCI_EXP_DEVCAP_FLR)
		methods |= BIT(RESET_FLR);
	if (pm && !(pcif_config_read(fn->f, pm + PCI_PM_CTRL, 2) & PCI_PM_CTRL_NO_SOFT_RESET))
		methods |= BIT(RESET_PM);
	if (pcif_parent(fn->f) && alone_on_bus(fn))
		methods |= BIT(RESET_BUS);
	return methods;
}

static unsigned reset_methods_get(struct view_fn *fn)
{
	unsigned methods;

	pthread_mutex_lock(&fn->view->lock);
	methods = fn->reset_methods;
	pthread_mutex_unlock(&fn->view->lock);
	return methods;
}

static int read_reset_method(struct view_node *node, char **buf, size_t *size)
{
	unsigned methods = reset_methods_get(fn_of(node));
	char text[32] = "";

	for (unsigned i = 0; i < NUM_RESETS; i++) {
		size_t n = strlen(text);

		if (methods & BIT(i))
			snprintf(text + n, sizeof(text) - n, "%s%s", n ? " " : "", reset_names[i]);
	}
	return view_say(buf, size, "%s%s", text, text[0] ? "\n" : "");
}

/* Methods of the list in @word; "default" is all that work. */
static int parse_methods(char *word, unsigned supported, unsigned *methods)
{
	unsigned chosen = 0;
	char *name;

	if (!strcmp(word, "default")) {
		*methods = supported;
		return 0;
	}
	while ((name = strsep(&word, " "))) {
		unsigned i = 0;

		if (!*name)
			continue;
		while (i < NUM_RESETS && strcmp(reset_names[i], name))
			i++;
		if (i == NUM_RESETS || !(supported & BIT(i)))
			return -EINVAL;
		chosen |= BIT(i);
	}
	*methods = chosen;
	return 0;
}

static int write_reset_method(struct view_node *node, const char *buf, size_t size)
{
	struct view_fn *fn = fn_of(node);
	AUTO_FREE char *word = NULL;
	unsigned methods;
	int r = view_word(buf, size, &word);

	if (!r)
		r = parse_methods(word, reset_supported(fn), &methods);
	if (r)
		return r;
	pthread_mutex_lock(&fn->view->lock);
	fn->reset_methods = methods;
	pthread_mutex_unlock(&fn->view->lock);
	return 0;
}

/*
 * Every method ends in the same reset of the function. What the platform and a client had set up is
 * put back, as pci_dev_save_and_disable() and pci_dev_restore() do around it: COMMAND, which lets
 * accesses and DMA through, last. Message interrupts are put back by pci itself.
 */
static void fn_reset(struct view_fn *fn)
{
	unsigned exp = pcif_find_cap(fn->f, PCI_CAP_ID_EXP);
	uint32_t header[16], devctl = 0, devctl2 = 0, command;

	for (unsigned i = 0; i < ARRAY_SIZE(header); i++)
		header[i] = pcif_config_read(fn->f, 4 * i, 4);
	command = pcif_config_read(fn->f, PCI_COMMAND, 2);
	if (exp) {
		devctl = pcif_config_read(fn->f, exp + PCI_EXP_DEVCTL, 2);
		devctl2 = pcif_config_read(fn->f, exp + PCI_EXP_DEVCTL2, 2);
	}
	pcif_reset(fn->f);
	if (exp) {
		pcif_config_write(fn->f, exp + PCI_EXP_DEVCTL, 2,
				  devctl & ~(uint32_t)PCI_EXP_DEVCTL_BCR_FLR);
		pcif_config_write(fn->f, exp + PCI_EXP_DEVCTL2, 2, devctl2);
	}
	/* From the interrupt line down to the cache line size; what is before is COMMAND's. */
	for (unsigned i = ARRAY_SIZE(header) - 1; i >= 3; i--)
		pcif_config_write(fn->f, 4 * i, 4, header[i]);
	pcif_config_write(fn->f, PCI_COMMAND, 2, command);
}

static int write_reset(struct view_node *node, const char *buf, size_t size)
{
	struct view_fn *fn = fn_of(node);
	unsigned long value;

	if (view_number(buf, size, &value) || value != 1)
		return -EINVAL;
	if (!reset_methods_get(fn))
		return -ENOTTY;
	fn_reset(fn);
	return 0;
}

/* ------------------------------------------------------------------ tables */

static const struct view_attr common_attrs[] = {
	{ "ari_enabled", 0444, read_zero, NULL },
	{ "broken_parity_status", 0644, read_parity, write_parity },
	{ "class", 0444, read_class, NULL },
	{ "consistent_dma_mask_bits", 0444, read_dma_mask_bits, NULL },
	{ "d3cold_allowed", 0644, read_d3cold, write_d3cold },
	{ "device", 0444, read_device, NULL },
	{ "dma_mask_bits", 0444, read_dma_mask_bits, NULL },
	{ "driver_override", 0644, read_driver_override, write_driver_override },
	{ "enable", 0644, read_enable, write_enable },
	{ "irq", 0444, read_irq, NULL },
	{ "local_cpulist", 0444, read_local_cpulist, NULL },
	{ "local_cpus", 0444, read_local_cpus, NULL },
	{ "modalias", 0444, read_modalias, NULL },
	{ "msi_bus", 0644, read_msi_bus, write_msi_bus },
	{ "numa_node", 0644, read_numa_node, write_numa_node },
	{ "power_state", 0444, read_power_state, NULL },
	{ "remove", 0220, NULL, write_remove },
	{ "rescan", 0200, NULL, view_write_rescan },
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

static const struct view_attr reset_attrs[] = {
	{ "reset", 0200, NULL, write_reset },
	{ "reset_method", 0644, read_reset_method, write_reset_method },
};

static void fn_binary_files(struct view_fn *fn)
{
	struct view *v = fn->view;
	struct view_node *file = view_file(v, fn->dir, "config", 0644, fn);

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
		file = view_file(v, fn->dir, name, 0600, fn);
		if (file) {
			file->size = r.last - r.first + 1;
			file->pread = pread_bar;
			file->pwrite = pwrite_bar;
		}
	}
}

static void fn_links(struct view_fn *fn)
{
	AUTO_FREE char *driver = view_printf(fn->view, "bus/pci/drivers/%s", fn->driver->name);
	AUTO_FREE char *group = view_printf(fn->view, "kernel/iommu_groups/%u", pcif_group(fn->f));

	view_link_path(fn->view, fn->dir, "driver", fn->path, driver);
	view_link_path(fn->view, fn->dir, "iommu_group", fn->path, group);
	view_link_path(fn->view, fn->dir, "subsystem", fn->path, "bus/pci");
}

void view_fn_init(struct view_fn *fn)
{
	fn->d3cold_allowed = true;
	fn->reset_methods = reset_supported(fn);
	if (pcif_is_bridge(fn->f))
		return;
	/* How endpoints came to vfio-pci, whose table names no device of its own. */
	fn->driver_override = strdup(fn->driver->name);
	if (!fn->driver_override)
		fn->view->failed = true;
}

/* @fn has its directory and path; those of the functions below come later. */
void view_fn_files(struct view_fn *fn)
{
	struct view *v = fn->view;

	view_attrs(v, fn->dir, common_attrs, ARRAY_SIZE(common_attrs), fn);
	if (pcif_find_cap(fn->f, PCI_CAP_ID_EXP))
		view_attrs(v, fn->dir, express_attrs, ARRAY_SIZE(express_attrs), fn);
	if (fn->reset_methods)
		view_attrs(v, fn->dir, reset_attrs, ARRAY_SIZE(reset_attrs), fn);
	fn_binary_files(fn);
	fn_links(fn);
	view_power(v, fn->dir);
	if (pcif_is_bridge(fn->f)) {
		uint8_t secondary, subordinate;

		view_attrs(v, fn->dir, bridge_attrs, ARRAY_SIZE(bridge_attrs), fn);
		pcif_bridge_buses(fn->f, &secondary, &subordinate);
		view_pci_bus(v, fn->dir, fn->path, pcif_bdf(fn->f).domain, secondary);
	}
}
