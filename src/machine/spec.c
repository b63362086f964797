/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Devices as people write them: "MODEL[,key=value]...", and what SPECs and machine files have in
 * common: which keys a model has, where a device goes, and texts that name cause and remedy.
 *
 * A device that is in no tree gets a bus of its own with a root port above it, and the port's root
 * bus is the number before (see pcim_add()): so a free place is two bus numbers that nobody uses.
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

static void list_keys(const struct machine_device *d, char *list, size_t size)
{
	const struct pcif_option *const tables[] = { machine_keys, pcif_keys, d->model->options };

	list[0] = 0;
	if (d->in_tree)
		list_add(list, size, "addr");
	if (machine_is_bridge(d->model))
		list_add(list, size, "bus, devices");
	for (size_t i = 0; i < ARRAY_SIZE(tables); i++)
		for (const struct pcif_option *o = tables[i]; o && o->key; o++)
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

static const struct pcif_model *find_bridge(const char *name)
{
	for (unsigned i = 0; pcim_bridge_models[i]; i++)
		if (!strcmp(pcim_bridge_models[i]->name, name))
			return pcim_bridge_models[i];
	return NULL;
}

bool machine_is_bridge(const struct pcif_model *model)
{
	return find_bridge(model->name);
}

static int no_model(const char *name, bool in_tree, struct machine_error *err)
{
	char models[256];

	if (find_bridge(name))
		return machine_fail(err, ENOENT,
				    "a %s needs a place in a tree: put it into \"root_buses\": "
				    "[{\"devices\": [...]}] of a machine file",
				    name);
	list_models(models, sizeof(models));
	for (unsigned i = 0; in_tree && pcim_bridge_models[i]; i++)
		list_add(models, sizeof(models), pcim_bridge_models[i]->name);
	return machine_fail(err, ENOENT, "no device model \"%.64s\"; models: %s", name, models);
}

int machine_device_init(struct machine_device *d, const char *model, bool in_tree,
			struct machine_error *err)
{
	memset(d, 0, sizeof(*d));
	d->in_tree = in_tree;
	d->devfn = d->bus = -1;
	d->model = device_find(model);
	if (!d->model && in_tree)
		d->model = find_bridge(model);
	if (!d->model)
		return no_model(model, in_tree, err);
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

static int hex_value(const char *text, unsigned max_digits)
{
	size_t n = strlen(text);

	if (!n || n > max_digits || strspn(text, "0123456789abcdefABCDEF") != n)
		return -1;
	return (int)strtoul(text, NULL, 16);
}

/* "DD" or "DD.F", one digit will do for the device. */
static int set_addr(struct machine_device *d, const char *value, struct machine_error *err)
{
	char device[8];
	size_t n = strcspn(value, ".");
	int dev, fn = 0;

	snprintf(device, sizeof(device), "%.*s", (int)MIN(n, sizeof(device) - 1), value);
	dev = hex_value(device, 2);
	if (value[n])
		fn = hex_value(value + n + 1, 1);
	if (dev < 0 || dev > 0x1f || fn < 0 || fn > 7)
		return machine_fail(err, EINVAL,
				    "%s: addr=%.16s is no address on a bus; write device and "
				    "function in hexadecimal, for example \"1f.2\", or the device "
				    "alone",
				    d->model->name, value);
	d->devfn = dev << 3 | fn;
	return 0;
}

static int set_bus(struct machine_device *d, const char *value, struct machine_error *err)
{
	d->bus = hex_value(value, 2);
	if (d->bus > 0)
		return 0;
	return machine_fail(err, EINVAL,
			    "%s: bus=%.16s is no number of a bus below a bridge; write \"01\" to "
			    "\"ff\", in hexadecimal",
			    d->model->name, value);
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

/* The keys that are not the model's to know. */
static const struct own_key {
	const char *key;
	bool in_tree, bridge;
	int (*set)(struct machine_device *d, const char *value, struct machine_error *err);
} own_keys[] = {
	{ "bdf", false, false, set_bdf },
	{ "driver", false, false, set_driver },
	{ "addr", true, false, set_addr },
	{ "bus", true, true, set_bus },
};

int machine_device_set(struct machine_device *d, const char *key, const char *value,
		       struct machine_error *err)
{
	char keys[384];
	int r;

	for (size_t i = 0; i < ARRAY_SIZE(own_keys); i++) {
		const struct own_key *k = &own_keys[i];

		if (!strcmp(k->key, key) && (d->in_tree || !k->in_tree) &&
		    (machine_is_bridge(d->model) || !k->bridge))
			return k->set(d, value, err);
	}
	if (!find_key(d->model->options, key) && !find_key(pcif_keys, key)) {
		list_keys(d, keys, sizeof(keys));
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

/* A bus, the one before it for a root port, and that is not the one before a bus in use. */
static bool place_free(const struct machine *m, uint32_t domain, unsigned bus)
{
	return pcim_bus_free(m->pci, domain, bus - 1) && pcim_bus_free(m->pci, domain, bus) &&
	       (bus == 0xff || pcim_bus_free(m->pci, domain, bus + 1));
}

static int free_place(struct machine *m, struct pci_bdf *bdf)
{
	unsigned bus = MAX(m->next.bus, FIRST_BUS);

	for (uint32_t domain = m->next.domain; domain <= LAST_DOMAIN; domain++) {
		for (; bus <= 0xff; bus += 2) {
			if (!place_free(m, domain, bus))
				continue;
			*bdf = (struct pci_bdf){ .domain = domain, .bus = (uint8_t)bus };
			m->next = *bdf;
			return 0;
		}
		bus = FIRST_BUS;
	}
	return -ENOSPC;
}

void place_fini(struct machine_place *place)
{
	free(place->driver);
	free(place->where);
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
	m->places[m->n_places++] = (struct machine_place){ d->bdf, d->driver, NULL };
	d->driver = NULL;
	return 0;
}

/* Texts about a key begin with it: "KEY=VALUE: ..."; other texts of pci are about the address. */
static void blame_key(const struct machine_device *d, const char *at, const char *text,
		      struct machine_error *err)
{
	bool of_pci = !strncmp(text, at, strlen(at));
	char word[sizeof(err->key)];

	if (of_pci)
		text += strlen(at) + strspn(text + strlen(at), ": ");
	snprintf(word, sizeof(word), "%.*s", (int)strspn(text, "abcdefghijklmnopqrstuvwxyz_"),
		 text);
	if (pcif_param(d->params, word))
		snprintf(err->key, sizeof(err->key), "%s", word);
	else if (of_pci)
		snprintf(err->key, sizeof(err->key), "%s", d->has_bdf ? "bdf" : "addr");
}

/* @why is what pci or the model said of the device at @bdf. */
static int fail_device(const struct machine_device *d, int r, const struct pcif_reply_error *why,
		       struct machine_error *err)
{
	char at[PCI_BDF_STRLEN];

	pcif_bdf_format(d->bdf, at);
	/* Texts of pci begin with the address, those of models do not. */
	if (!strncmp(why->text, at, strlen(at)))
		machine_fail(err, -r, "%s at %s", d->model->name, why->text);
	else
		machine_fail(err, -r, "%s at %s: %s", d->model->name, at,
			     why->text[0] ? why->text : strerror(-r));
	blame_key(d, at, why->text, err);
	return r;
}

static int check_make(const struct machine *m, const struct machine_device *d,
		      struct machine_error *err)
{
	if (m->bus)
		return machine_fail(err, EBUSY,
				    "%s: the machine is started, no device can be "
				    "added any more",
				    d->model->name);
	if (m->n_places >= MACHINE_MAX_DEVICES)
		return machine_fail(err, ENOSPC,
				    "%s: a machine has at most %u devices; make another machine "
				    "for the rest",
				    d->model->name, MACHINE_MAX_DEVICES);
	return 0;
}

static int fail_conventional(const struct machine_device *d, struct machine_error *err)
{
	machine_fail(err, EINVAL,
		     "%s: conventional=on: what is not PCI Express cannot be below a root port; "
		     "put it into \"root_buses\" of a machine file",
		     d->model->name);
	snprintf(err->key, sizeof(err->key), "conventional");
	return -EINVAL;
}

int machine_device_make(struct machine *m, struct machine_device *d, struct machine_error *err)
{
	const char *conventional = pcif_param(d->params, "conventional");
	struct pcif_reply_error why = { "" };
	int r = check_make(m, d, err);

	if (r)
		return r;
	if (conventional && !strcmp(conventional, "on"))
		return fail_conventional(d, err);
	if (!d->has_bdf && free_place(m, &d->bdf))
		return machine_fail(err, ENOSPC,
				    "%s: no free bus is left; give bdf=", d->model->name);
	r = remember(m, d);
	if (r)
		return machine_fail(err, -r, "out of memory");
	r = pcim_add(m->pci, d->bdf, d->model, d->params, &why);
	if (!r)
		return 0;
	place_fini(&m->places[--m->n_places]);
	return fail_device(d, r, &why, err);
}

int machine_device_make_on_bus(struct machine *m, struct machine_device *d, struct pcif **f,
			       struct machine_error *err)
{
	struct pcif_reply_error why = { "" };
	int r = check_make(m, d, err);

	if (r)
		return r;
	r = remember(m, d);
	if (r)
		return machine_fail(err, -r, "out of memory");
	r = pcim_add_on_bus(m->pci, d->bdf, d->model, d->params, &why, f);
	if (!r)
		return 0;
	place_fini(&m->places[--m->n_places]);
	return fail_device(d, r, &why, err);
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
	r = machine_device_init(d, item, false, err);
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
