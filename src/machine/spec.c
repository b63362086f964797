/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Devices as people write them: "MODEL[,key=value]...", and what SPECs and machine files have in
 * common: which keys a model has, where a device goes, and texts that name cause and remedy.
 *
 * Every device gets a bus of its own with a root port above it, and the port's root bus is the
 * number before (see pcim_add()): so a free place is two bus numbers that nobody uses.
 */
#include <errno.h>

#include "machine/priv.h"

#define FIRST_BUS 0x65u
#define LAST_DOMAIN 0xffffu

/* Appends to a list "a, b, c" as far as there is room. */
static void list_add(char *list, size_t size, const char *item)
{
	size_t n = strlen(list);

	snprintf(list + n, size - n, "%s%s", n ? ", " : "", item);
}

static void list_models(char *list, size_t size)
{
	list[0] = 0;
	for (unsigned i = 0; device_models[i]; i++)
		list_add(list, size, device_models[i]->name);
}

const struct pcif_option machine_keys[] = {
	{ "bdf", "DDDD:BB:DD.F  address (default: the next free bus, from 0000:65:00.0)" },
	{ "driver", "DRIVER|host|none  what it is bound to at the start (default: vfio-pci)" },
	{ NULL, NULL },
};

static const struct pcif_option *find_key(const struct pcif_option *o, const char *key)
{
	while (o && o->key && strcmp(o->key, key))
		o++;
	return o && o->key ? o : NULL;
}

static void list_keys(const struct pcif_model *model, char *list, size_t size)
{
	list[0] = 0;
	for (const struct pcif_option *o = machine_keys; o->key; o++)
		list_add(list, size, o->key);
	for (const struct pcif_option *o = model->options; o && o->key; o++)
		list_add(list, size, o->key);
}

static bool driver_known(const char *name)
{
	for (unsigned i = 0; bus_host_drivers[i]; i++)
		if (!strcmp(bus_host_drivers[i]->name, name))
			return true;
	return !strcmp(name, VFIO_PCI_DRIVER) || !strcmp(name, "host") || !strcmp(name, "none");
}

static void list_drivers(char *list, size_t size)
{
	list[0] = 0;
	list_add(list, size, "host, none, " VFIO_PCI_DRIVER);
	for (unsigned i = 0; bus_host_drivers[i]; i++)
		list_add(list, size, bus_host_drivers[i]->name);
}

/* ------------------------------------------------------------------ one device */

int machine_device_init(struct machine_device *d, const char *model, struct machine_error *err)
{
	char models[256];

	memset(d, 0, sizeof(*d));
	d->model = device_find(model);
	if (!d->model) {
		list_models(models, sizeof(models));
		return machine_fail(err, ENOENT, "no device model \"%.64s\"; models: %s", model,
				    models);
	}
	if (pcim_params_new(&d->params))
		return machine_fail(err, ENOMEM, "out of memory");
	return 0;
}

void machine_device_fini(struct machine_device *d)
{
	if (d->params)
		pcim_params_free(d->params);
	free(d->driver);
	d->params = NULL;
	d->driver = NULL;
}

static int set_bdf(struct machine_device *d, const char *value, struct machine_error *err)
{
	if (d->has_bdf)
		return machine_fail(err, EEXIST, "%s: key \"bdf\" is given twice; keep one",
				    d->model->name);
	if (pcif_bdf_parse(value, &d->bdf))
		return machine_fail(err, EINVAL,
				    "%s: bdf=%.64s is no PCI address; write DDDD:BB:DD.F, for "
				    "example 0000:65:00.0",
				    d->model->name, value);
	d->has_bdf = true;
	return 0;
}

static int set_driver(struct machine_device *d, const char *value, struct machine_error *err)
{
	char drivers[256];

	if (d->driver)
		return machine_fail(err, EEXIST, "%s: key \"driver\" is given twice; keep one",
				    d->model->name);
	if (!driver_known(value)) {
		list_drivers(drivers, sizeof(drivers));
		return machine_fail(err, EINVAL, "%s: driver=%.64s: no such driver; say one of: %s",
				    d->model->name, value, drivers);
	}
	d->driver = strdup(value);
	return d->driver ? 0 : machine_fail(err, ENOMEM, "out of memory");
}

int machine_device_set(struct machine_device *d, const char *key, const char *value,
		       struct machine_error *err)
{
	char keys[256];
	int r;

	if (!strcmp(key, "bdf"))
		return set_bdf(d, value, err);
	if (!strcmp(key, "driver"))
		return set_driver(d, value, err);
	if (!find_key(d->model->options, key)) {
		list_keys(d->model, keys, sizeof(keys));
		return machine_fail(err, EINVAL, "%s: no key \"%.64s\"; keys: %s", d->model->name,
				    key, keys);
	}
	r = pcim_params_set(d->params, key, value);
	if (r == -EEXIST)
		return machine_fail(err, EEXIST, "%s: key \"%s\" is given twice; keep one",
				    d->model->name, key);
	if (r)
		return machine_fail(err, -r, "%s: %s=%.64s: %s", d->model->name, key, value,
				    strerror(-r));
	return 0;
}

/* ------------------------------------------------------------------ its place */

static bool bus_used(const struct machine *m, uint32_t domain, unsigned bus)
{
	for (unsigned i = 0; i < m->n_places; i++) {
		const struct pci_bdf *a = &m->places[i].bdf;

		if (a->domain == domain && (a->bus == bus || a->bus == bus + 1))
			return true;
	}
	return false;
}

static int free_place(const struct machine *m, struct pci_bdf *bdf)
{
	for (uint32_t domain = 0; domain <= LAST_DOMAIN; domain++) {
		for (unsigned bus = FIRST_BUS; bus <= 0xff; bus += 2) {
			if (bus_used(m, domain, bus) || bus_used(m, domain, bus - 1))
				continue;
			*bdf = (struct pci_bdf){ .domain = domain, .bus = (uint8_t)bus };
			return 0;
		}
	}
	return -ENOSPC;
}

/* Takes the driver's name from @d. */
static int remember(struct machine *m, struct machine_device *d)
{
	if (m->n_places == m->max_places) {
		unsigned max = m->max_places ? 2 * m->max_places : 8;
		struct machine_place *bigger = realloc(m->places, max * sizeof(*bigger));

		if (!bigger)
			return -ENOMEM;
		m->places = bigger;
		m->max_places = max;
	}
	m->places[m->n_places++] = (struct machine_place){ d->bdf, d->driver };
	d->driver = NULL;
	return 0;
}

int machine_device_make(struct machine *m, struct machine_device *d, struct machine_error *err)
{
	struct pcif_reply_error why = { "" };
	char at[PCI_BDF_STRLEN];
	int r;

	if (m->bus)
		return machine_fail(err, EBUSY,
				    "%s: the machine is started, no device can be "
				    "added any more",
				    d->model->name);
	if (m->n_places >= MACHINE_MAX_DEVICES)
		return machine_fail(err, ENOSPC, "%s: a machine has at most %u devices",
				    d->model->name, MACHINE_MAX_DEVICES);
	if (!d->has_bdf && free_place(m, &d->bdf))
		return machine_fail(err, ENOSPC,
				    "%s: no free bus is left; give bdf=", d->model->name);
	r = remember(m, d);
	if (r)
		return machine_fail(err, -r, "out of memory");
	r = pcim_add(m->pci, d->bdf, d->model, d->params, &why);
	if (!r)
		return 0;
	free(m->places[--m->n_places].driver);
	pcif_bdf_format(d->bdf, at);
	/* Texts of pci begin with the address, those of models do not. */
	if (!strncmp(why.text, at, strlen(at)))
		return machine_fail(err, -r, "%s at %s", d->model->name, why.text);
	if (why.text[0])
		return machine_fail(err, -r, "%s at %s: %s", d->model->name, at, why.text);
	return machine_fail(err, -r, "%s at %s: %s", d->model->name, at, strerror(-r));
}

/* ------------------------------------------------------------------ SPEC */

/*
 * Cuts the next item of @*text, which ends at a comma; two commas are one of the item's own.
 * In place; the item is NUL-terminated. NULL at the end.
 */
static char *next_item(char **text)
{
	char *item = *text, *out = item, *in = item;

	if (!item)
		return NULL;
	for (;; in++) {
		if (*in == ',' && in[1] == ',')
			in++;
		else if (*in == ',' || !*in)
			break;
		*out++ = *in;
	}
	*text = *in ? in + 1 : NULL;
	*out = 0;
	return item;
}

static int parse_spec(struct machine_device *d, char *text, struct machine_error *err)
{
	char *item = next_item(&text);
	char models[256];
	int r;

	if (!*item || strchr(item, '=')) {
		list_models(models, sizeof(models));
		return machine_fail(err, EINVAL,
				    "a device begins with its model: "
				    "MODEL[,key=value]...; models: %s",
				    models);
	}
	r = machine_device_init(d, item, err);
	while (!r && (item = next_item(&text))) {
		char *value = strchr(item, '=');

		if (!value || value == item)
			return machine_fail(err, EINVAL,
					    "%s: \"%.64s\" is not key=value; a comma "
					    "inside a value is written ,,",
					    d->model->name, item);
		*value++ = 0;
		r = machine_device_set(d, item, value, err);
	}
	return r;
}

/**
 * machine_add_spec() - add the device that @spec describes.
 * Returns 0; -ENOENT: no such model; -EINVAL: not a SPEC, unknown key, bad value; -EEXIST: key
 * given twice, address taken; -EBUSY: the machine is started; -ENOSPC, -ENOMEM, or what the model's
 * create() gave. @err names cause and remedy in one line.
 */
int machine_add_spec(struct machine *m, const char *spec, struct machine_error *err)
{
	AUTO_FREE char *text = strdup(spec);
	struct machine_device d = { 0 };
	int r;

	if (!text)
		return machine_fail(err, ENOMEM, "out of memory");
	r = parse_spec(&d, text, err);
	if (!r)
		r = machine_device_make(m, &d, err);
	machine_device_fini(&d);
	return r;
}
