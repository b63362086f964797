/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The PCI bus, its drivers and their modules, as /sys shows them.
 *
 * Every function of a machine has its driver from the start: ports pcieport, endpoints vfio-pci.
 * What asks for that state gets Linux's answer (bind of what is bound: EBUSY; of what does not
 * match: ENODEV; drivers_probe: success); what would end it, unbind and remove, gets EOPNOTSUPP.
 *
 * Source: drivers/base/bus.c (bind_store, unbind_store, drivers_probe_store), drivers/pci/
 * pci-driver.c (new_id_store, remove_id_store, pci_match_device), drivers/vfio/.
 */
#include <errno.h>

#include "door/dev/view_priv.h"

static struct view_driver *driver_of(struct view_node *node)
{
	return node->data;
}

/* The function whose address a client wrote; names are compared whole, as Linux does. */
static struct view_fn *written_fn(struct view *v, const char *buf, size_t size)
{
	AUTO_FREE char *word = NULL;

	if (view_word(buf, size, &word))
		return NULL;
	for (unsigned i = 0; i < v->n_fns; i++)
		if (!strcmp(v->fns[i].name, word))
			return &v->fns[i];
	return NULL;
}

/* ------------------------------------------------------------------ identifiers */

#define ANY_ID 0xffffffffu

static struct view_id id_of(struct view_fn *fn)
{
	uint32_t ids = pcif_config_read(fn->f, 0, 4), sub = 0;

	if (!pcif_is_bridge(fn->f))
		sub = pcif_config_read(fn->f, 0x2c, 4);
	return (struct view_id){
		.vendor = ids & 0xffff,
		.device = ids >> 16,
		.subvendor = sub & 0xffff,
		.subdevice = sub >> 16,
		.class_code = pcif_config_read(fn->f, 8, 4) >> 8,
	};
}

static bool id_covers(const struct view_id *rule, const struct view_id *id)
{
	return (rule->vendor == ANY_ID || rule->vendor == id->vendor) &&
	       (rule->device == ANY_ID || rule->device == id->device) &&
	       (rule->subvendor == ANY_ID || rule->subvendor == id->subvendor) &&
	       (rule->subdevice == ANY_ID || rule->subdevice == id->subdevice) &&
	       !((rule->class_code ^ id->class_code) & rule->class_mask);
}

/* An override decides alone; else the driver's own table, or what new_id added to it. */
static bool driver_matches(struct view_driver *d, struct view_fn *fn)
{
	struct view_id id = id_of(fn);
	bool match = false;

	pthread_mutex_lock(&d->view->lock);
	if (fn->driver_override) {
		match = !strcmp(fn->driver_override, d->name);
	} else {
		match = d->ports && pcif_is_bridge(fn->f);
		for (unsigned i = 0; i < d->n_ids && !match; i++)
			match = id_covers(&d->ids[i], &id);
	}
	pthread_mutex_unlock(&d->view->lock);
	return match;
}

/* "vendor device [subvendor [subdevice [class [mask [data]]]]]", hexadecimal: number of fields. */
static int parse_id(const char *buf, size_t size, struct view_id *id, unsigned *data)
{
	AUTO_FREE char *word = NULL;
	int r = view_word(buf, size, &word);

	if (r)
		return r;
	*id = (struct view_id){ .subvendor = ANY_ID, .subdevice = ANY_ID };
	*data = 0;
	r = sscanf(word, "%x %x %x %x %x %x %x", &id->vendor, &id->device, &id->subvendor,
		   &id->subdevice, &id->class_code, &id->class_mask, data);
	return r < 2 ? -EINVAL : r;
}

static int write_new_id(struct view_node *node, const char *buf, size_t size)
{
	struct view_driver *d = driver_of(node);
	struct view_id id;
	unsigned data;
	int fields = parse_id(buf, size, &id, &data), r = 0;

	if (fields < 0)
		return fields;
	if (data)
		return -EINVAL; /* no entry of the drivers' own tables has other data */
	pthread_mutex_lock(&d->view->lock);
	for (unsigned i = 0; i < d->n_ids && fields != 7; i++)
		if (id_covers(&d->ids[i], &id))
			r = -EEXIST;
	if (!r && d->n_ids == ARRAY_SIZE(d->ids))
		r = -ENOMEM;
	if (!r)
		d->ids[d->n_ids++] = id;
	pthread_mutex_unlock(&d->view->lock);
	return r;
}

static int write_remove_id(struct view_node *node, const char *buf, size_t size)
{
	struct view_driver *d = driver_of(node);
	struct view_id id;
	unsigned data, i = 0;
	int r = parse_id(buf, size, &id, &data);

	if (r < 0)
		return r;
	pthread_mutex_lock(&d->view->lock);
	while (i < d->n_ids && memcmp(&d->ids[i], &id, sizeof(id)))
		i++;
	if (i == d->n_ids) {
		r = -ENODEV;
	} else {
		r = 0;
		d->n_ids--;
		memmove(&d->ids[i], &d->ids[i + 1], (d->n_ids - i) * sizeof(id));
	}
	pthread_mutex_unlock(&d->view->lock);
	return r;
}

/* ------------------------------------------------------------------ drivers */

static int write_bind(struct view_node *node, const char *buf, size_t size)
{
	struct view_driver *d = driver_of(node);
	struct view_fn *fn = written_fn(d->view, buf, size);

	if (!fn || !driver_matches(d, fn))
		return -ENODEV;
	return -EBUSY;
}

static int write_unbind(struct view_node *node, const char *buf, size_t size)
{
	struct view_driver *d = driver_of(node);
	struct view_fn *fn = written_fn(d->view, buf, size);

	if (!fn || fn->driver != d)
		return -ENODEV;
	return -EOPNOTSUPP;
}

static const struct view_attr driver_attrs[] = {
	{ "bind", 0200, NULL, write_bind },	      { "new_id", 0200, NULL, write_new_id },
	{ "remove_id", 0200, NULL, write_remove_id }, { "uevent", 0200, NULL, view_write_uevent },
	{ "unbind", 0200, NULL, write_unbind },
};

static void driver_build(struct view *v, struct view_node *drivers, struct view_driver *d)
{
	AUTO_FREE char *path = view_printf(v, "bus/pci/drivers/%s", d->name);
	struct view_node *dir = view_dir(v, drivers, d->name);

	for (unsigned i = 0; i < v->n_fns; i++)
		if (v->fns[i].driver == d)
			view_link_path(v, dir, v->fns[i].name, path, v->fns[i].path);
	view_attrs(v, dir, driver_attrs, ARRAY_SIZE(driver_attrs), d);
	if (!d->ports)
		view_link_path(v, dir, "module", path, "module/vfio_pci");
}

/* ------------------------------------------------------------------ the bus */

static int write_drivers_probe(struct view_node *node, const char *buf, size_t size)
{
	return written_fn(node->data, buf, size) ? 0 : -ENODEV;
}

static int read_autoprobe(struct view_node *node, char **buf, size_t *size)
{
	struct view *v = node->data;
	bool on;

	pthread_mutex_lock(&v->lock);
	on = v->autoprobe;
	pthread_mutex_unlock(&v->lock);
	return view_say(buf, size, "%u\n", on);
}

/* Everything but a leading 0 is yes. */
static int write_autoprobe(struct view_node *node, const char *buf, size_t size)
{
	struct view *v = node->data;

	pthread_mutex_lock(&v->lock);
	v->autoprobe = !(size && buf[0] == '0');
	pthread_mutex_unlock(&v->lock);
	return 0;
}

/* Boot-time placement of BARs: kept empty. */
static int read_alignment(struct view_node *node, char **buf, size_t *size)
{
	return view_say(buf, size, "%s", "");
}

static int write_alignment(struct view_node *node, const char *buf, size_t size)
{
	AUTO_FREE char *word = NULL;
	int r = view_word(buf, size, &word);

	if (r)
		return r;
	return word[0] ? -EOPNOTSUPP : 0;
}

static const struct view_attr bus_attrs[] = {
	{ "drivers_autoprobe", 0644, read_autoprobe, write_autoprobe },
	{ "drivers_probe", 0200, NULL, write_drivers_probe },
	{ "rescan", 0200, NULL, view_write_rescan },
	{ "resource_alignment", 0644, read_alignment, write_alignment },
	{ "uevent", 0200, NULL, view_write_uevent },
};

void view_bus_build(struct view *v, struct view_node *bus)
{
	struct view_node *devices = view_dir(v, bus, "devices");
	struct view_node *drivers = view_dir(v, bus, "drivers");

	for (unsigned i = 0; i < v->n_fns; i++)
		view_link_path(v, devices, v->fns[i].name, "bus/pci/devices", v->fns[i].path);
	for (unsigned i = 0; i < VIEW_BUS_DRIVERS; i++)
		driver_build(v, drivers, &v->drivers[i]);
	view_dir(v, bus, "slots");
	view_attrs(v, bus, bus_attrs, ARRAY_SIZE(bus_attrs), v);
}

/* ------------------------------------------------------------------ modules */

/*
 * Values that describe how this VFIO behaves: idle functions stay in D0, no SR-IOV through
 * vfio-pci, interrupts count as isolated without a waiver.
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
	{ "vfio_pci", "enable_sriov", "N\n" },
	{ "vfio_pci", "nointxmask", "N\n" },
};

void view_modules_build(struct view *v, struct view_node *module)
{
	static const char *const names[] = { "vfio", "vfio_iommu_type1", "vfio_pci",
					     "vfio_pci_core" };

	for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
		struct view_node *dir = view_dir(v, module, names[i]), *sub = NULL;

		view_dir(v, dir, "holders");
		view_text(v, dir, "initstate", 0444, "live\n");
		view_text(v, dir, "refcnt", 0444, "0\n");
		view_text(v, dir, "taint", 0444, "\n");
		for (unsigned p = 0; p < ARRAY_SIZE(params); p++) {
			if (strcmp(params[p].module, names[i]))
				continue;
			if (!sub)
				sub = view_dir(v, dir, "parameters");
			view_text(v, sub, params[p].name, 0444, params[p].text);
		}
		if (!strcmp(names[i], "vfio_pci")) {
			sub = view_dir(v, dir, "drivers");
			view_link_path(v, sub, "pci:vfio-pci", "module/vfio_pci/drivers",
				       "bus/pci/drivers/vfio-pci");
		}
	}
}
