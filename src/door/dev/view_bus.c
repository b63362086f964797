/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The PCI bus, its drivers and their modules, as /sys shows them: what is written here goes to the
 * bus, which answers as Linux does.
 *
 * Source: drivers/base/bus.c (bind_store, unbind_store, drivers_probe_store), drivers/pci/
 * pci-driver.c (new_id_store, remove_id_store), drivers/pci/pci-sysfs.c (rescan_store),
 * drivers/vfio/.
 */
#include <ctype.h>
#include <errno.h>

#include "door/dev/view_priv.h"

static struct view_driver *driver_of(struct view_node *node)
{
	return node->data;
}

/* The address that a client wrote, as the function's name has it and not otherwise. */
static bool written_bdf(const char *buf, size_t size, struct pci_bdf *bdf)
{
	AUTO_FREE char *word = NULL;
	char name[PCI_BDF_STRLEN];

	return !view_word(buf, size, &word) && !pcif_bdf_parse(word, bdf) &&
	       view_same(buf, size, pcif_bdf_format(*bdf, name));
}

/*
 * A client asks for an event (`udevadm trigger`). There is nobody to send one to: netlink events
 * come from the kernel only. The word is checked as kobject_synth_uevent() does.
 */
int view_write_uevent(struct view_node *node, const char *buf, size_t size)
{
	static const char *const actions[] = { "add",	 "remove",  "change", "move",
					       "online", "offline", "bind",   "unbind" };
	AUTO_FREE char *word = NULL;
	int r = view_word(buf, size, &word);

	if (r)
		return r;
	word[strcspn(word, " ")] = 0;
	for (size_t i = 0; i < ARRAY_SIZE(actions); i++)
		if (!strcmp(actions[i], word))
			return 0;
	return -EINVAL;
}

/* ------------------------------------------------------------------ identifiers */

/* A hexadecimal number behind spaces, with or without 0x. No sign: the kernel's %x knows none. */
static bool parse_hex(const char **at, unsigned long *value)
{
	const char *s = *at + strspn(*at, " \t\n\v\f\r");
	char *end;

	if (!isxdigit((unsigned char)*s))
		return false;
	*value = strtoul(s, &end, 16);
	*at = end;
	return true;
}

/*
 * "vendor device [subvendor [subdevice [class [mask [data]]]]]", hexadecimal: number of fields.
 * What stands behind them, or is no number, ends the list.
 */
static int parse_id(const char *buf, size_t size, struct bus_id *id, unsigned long *data)
{
	unsigned long field[7] = { 0, 0, BUS_ANY, BUS_ANY };
	AUTO_FREE char *text = strndup(buf, size);
	const char *at = text;
	int n = 0;

	if (!text)
		return -ENOMEM;
	while (n < (int)ARRAY_SIZE(field) && parse_hex(&at, &field[n]))
		n++;
	*id = (struct bus_id){ (uint32_t)field[0], (uint32_t)field[1], (uint32_t)field[2],
			       (uint32_t)field[3], (uint32_t)field[4], (uint32_t)field[5] };
	*data = field[6];
	return n < 2 ? -EINVAL : n;
}

static int act_new_id(struct view_node *node, const char *buf, size_t size,
		      const atomic_bool *cancel)
{
	const struct bus_driver *d = driver_of(node)->d;
	unsigned long data;
	struct bus_id id;
	int fields = parse_id(buf, size, &id, &data);

	if (fields < 0)
		return fields;
	/* Drivers with a table take data that is in it, and there it is 0 everywhere. */
	if (data && (d->ids || !strcmp(d->name, VFIO_PCI_DRIVER)))
		return -EINVAL;
	return bus_new_id(node->view->bus, d->name, &id, fields == 7, cancel);
}

static int write_remove_id(struct view_node *node, const char *buf, size_t size)
{
	unsigned long data;
	struct bus_id id;
	int r = parse_id(buf, size, &id, &data);

	return r < 0 ? r : bus_remove_id(node->view->bus, driver_of(node)->d->name, &id);
}

/* ------------------------------------------------------------------ drivers */

static int act_bind(struct view_node *node, const char *buf, size_t size, const atomic_bool *cancel)
{
	struct pci_bdf bdf;

	if (!written_bdf(buf, size, &bdf))
		return -ENODEV;
	return bus_bind(node->view->bus, driver_of(node)->d->name, bdf, cancel);
}

static int act_unbind(struct view_node *node, const char *buf, size_t size,
		      const atomic_bool *cancel)
{
	struct pci_bdf bdf;

	if (!written_bdf(buf, size, &bdf))
		return -ENODEV;
	return bus_unbind(node->view->bus, driver_of(node)->d->name, bdf, cancel);
}

static const struct view_attr driver_attrs[] = {
	{ "bind", 0200, NULL, NULL, act_bind },	      { "new_id", 0200, NULL, NULL, act_new_id },
	{ "remove_id", 0200, NULL, write_remove_id }, { "uevent", 0200, NULL, view_write_uevent },
	{ "unbind", 0200, NULL, NULL, act_unbind },
};

static void driver_build(struct view *v, struct view_node *drivers, struct view_driver *d)
{
	AUTO_FREE char *path = view_printf(v, "bus/pci/drivers/%s", d->d->name);
	AUTO_FREE char *module = NULL;

	d->dir = view_dir(v, drivers, d->d->name);
	view_attrs(v, d->dir, driver_attrs, ARRAY_SIZE(driver_attrs), d);
	if (!d->d->module)
		return;
	module = view_printf(v, "module/%s", d->d->module);
	view_link_path(v, d->dir, "module", path, module);
}

/* ------------------------------------------------------------------ the bus */

static int act_drivers_probe(struct view_node *node, const char *buf, size_t size,
			     const atomic_bool *cancel)
{
	struct pci_bdf bdf;

	if (!written_bdf(buf, size, &bdf))
		return -ENODEV;
	return bus_probe(node->view->bus, bdf, cancel);
}

static int rescan(struct view_node *node, const struct pci_bdf *on, const char *buf, size_t size,
		  const atomic_bool *cancel)
{
	unsigned long value;
	int r = view_number(buf, size, &value);

	if (r || !value)
		return r;
	r = bus_rescan(node->view->bus, on, cancel);
	return r < 0 ? r : 0;
}

static int act_rescan(struct view_node *node, const char *buf, size_t size,
		      const atomic_bool *cancel)
{
	return rescan(node, NULL, buf, size, cancel);
}

/* The bus that a function is on, not the one behind it. Source: dev_rescan_store(). */
int view_act_rescan_fn(struct view_node *node, const char *buf, size_t size,
		       const atomic_bool *cancel)
{
	struct pci_bdf bdf = pcif_bdf(view_fn_of(node)->f);

	return rescan(node, &bdf, buf, size, cancel);
}

/* Its number is in the node, which may outlive what is known of the bus. */
void *view_bus_number(unsigned domain, unsigned bus)
{
	return (void *)(uintptr_t)(domain << 8 | bus);
}

/* Source: bus_rescan_store(). */
int view_act_rescan_bus(struct view_node *node, const char *buf, size_t size,
			const atomic_bool *cancel)
{
	uintptr_t number = (uintptr_t)node->data;
	struct pci_bdf bdf = { .domain = (uint32_t)(number >> 8), .bus = (uint8_t)number };

	return rescan(node, &bdf, buf, size, cancel);
}

static int read_autoprobe(struct view_node *node, char **buf, size_t *size)
{
	return view_say(buf, size, "%u\n", bus_autoprobe(node->view->bus));
}

/* Everything but a leading 0 is yes. */
static int write_autoprobe(struct view_node *node, const char *buf, size_t size)
{
	bus_set_autoprobe(node->view->bus, !(size && buf[0] == '0'));
	return 0;
}

/* Boot-time placement of BARs: kept empty. */
static int read_alignment(struct view_node *node, char **buf, size_t *size)
{
	return view_say(buf, size, "%s", "");
}

static int write_alignment(struct view_node *node, const char *buf, size_t size)
{
	return view_same(buf, size, "") ? 0 : -EOPNOTSUPP;
}

static const struct view_attr bus_attrs[] = {
	{ "drivers_autoprobe", 0644, read_autoprobe, write_autoprobe },
	{ "drivers_probe", 0200, NULL, NULL, act_drivers_probe },
	{ "rescan", 0200, NULL, NULL, act_rescan },
	{ "resource_alignment", 0644, read_alignment, write_alignment },
	{ "uevent", 0200, NULL, view_write_uevent },
};

int view_bus_build(struct view *v, struct view_node *bus)
{
	struct view_node *drivers = view_dir(v, bus, "drivers");

	v->bus_devices = view_dir(v, bus, "devices");
	v->n_drivers = bus_driver_count(v->bus);
	v->drivers = calloc(v->n_drivers + 1, sizeof(*v->drivers));
	if (!v->drivers || v->failed)
		return -ENOMEM;
	for (unsigned i = 0; i < v->n_drivers; i++) {
		v->drivers[i] = (struct view_driver){ v, bus_driver_at(v->bus, i), NULL };
		driver_build(v, drivers, &v->drivers[i]);
	}
	view_dir(v, bus, "slots");
	view_attrs(v, bus, bus_attrs, ARRAY_SIZE(bus_attrs), NULL);
	return v->failed ? -ENOMEM : 0;
}

/* ------------------------------------------------------------------ modules */

static int read_enable_sriov(struct view_node *node, char **buf, size_t *size)
{
	return view_say(buf, size, "%c\n", vfio_sriov(node->view->vfio) ? 'Y' : 'N');
}

static int write_enable_sriov(struct view_node *node, const char *buf, size_t size)
{
	bool on;
	int r = view_bool(buf, size, &on);

	if (!r)
		vfio_set_sriov(node->view->vfio, on);
	return r;
}

/*
 * Values that describe how this VFIO behaves: idle functions stay in D0, interrupts count as
 * isolated without a waiver.
 */
static const struct module_param {
	const char *module, *name, *text;
} params[] = {
	{ "vfio", "enable_unsafe_noiommu_mode", "N\n" },
	{ "vfio_iommu_type1", "allow_unsafe_interrupts", "N\n" },
	{ "vfio_iommu_type1", "disable_hugepages", "N\n" },
	{ "vfio_iommu_type1", "dma_entry_limit", "65535\n" },
	{ "vfio_pci", "disable_denylist", "N\n" },
	{ "vfio_pci", "disable_idle_d3", "Y\n" },
	{ "vfio_pci", "disable_vga", "N\n" },
	{ "vfio_pci", "nointxmask", "N\n" },
};

/* Its name, what every module has, and its parameters. */
static struct view_node *module_build(struct view *v, struct view_node *parent, const char *name,
				      const struct view_attr *attrs, size_t n)
{
	struct view_node *dir = view_dir(v, parent, name), *sub = NULL;

	if (!dir)
		return NULL;
	view_dir(v, dir, "holders");
	view_text(v, dir, "initstate", 0444, "live\n");
	view_text(v, dir, "refcnt", 0444, "0\n");
	view_text(v, dir, "taint", 0444, "\n");
	for (unsigned p = 0; p < ARRAY_SIZE(params); p++) {
		if (strcmp(params[p].module, name))
			continue;
		if (!sub)
			sub = view_dir(v, dir, "parameters");
		view_text(v, sub, params[p].name, 0444, params[p].text);
	}
	view_attrs(v, sub, attrs, n, NULL);
	return dir;
}

void view_modules_build(struct view *v, struct view_node *module)
{
	static const char *const others[] = { "vfio", "vfio_iommu_type1", "vfio_pci_core" };
	static const struct view_attr enable_sriov[] = {
		{ "enable_sriov", 0644, read_enable_sriov, write_enable_sriov },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(others); i++)
		module_build(v, module, others[i], NULL, 0);
	for (unsigned i = 0; i < v->n_drivers; i++) {
		const struct bus_driver *d = v->drivers[i].d;
		AUTO_FREE char *link = NULL, *from = NULL, *to = NULL;
		struct view_node *dir;

		if (!d->module)
			continue;
		link = view_printf(v, "pci:%s", d->name);
		from = view_printf(v, "module/%s/drivers", d->module);
		to = view_printf(v, "bus/pci/drivers/%s", d->name);
		dir = module_build(v, module, d->module, enable_sriov,
				   strcmp(d->name, VFIO_PCI_DRIVER) ? 0 : 1);
		/* driverctl looks for a module of the driver's name, and else has modprobe load
		 * it, which it cannot here. */
		if (strcmp(d->name, d->module))
			module_build(v, module, d->name, NULL, 0);
		if (dir && link)
			view_link_path(v, view_dir(v, dir, "drivers"), link, from, to);
	}
}
