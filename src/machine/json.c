/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The machine file: JSON (RFC 8259), parsed by jansson, read here by tables.
 *
 * Tables name the keys that the top level and a root bus may have, and who reads each. All is
 * collected first and made last: trees (tree.c), then devices with an address, then those without
 * one, so that a device that says where it wants to be is never in conflict with one that does not
 * care.
 *
 * Errors read "FILE:LINE: ..."; nothing in a file can do more than end in one.
 */
#include <errno.h>
#include <jansson.h>

#include "machine/priv.h"

#define MAX_FILE MIB(1)
/* Top level, root bus, and for each level of bridges the key and the place in the array. */
#define MAX_NESTING (2 * FILE_MAX_LEVELS + 8)

struct machine_file {
	const char *name, *text;
	size_t size;
	struct machine_error *err;
	unsigned path[MAX_NESTING]; /* where we are; see where_line() */
	unsigned depth;

	struct file_device *devices;
	unsigned n_devices;
	struct file_root *roots;
	unsigned n_roots;
	unsigned total;	     /* devices, wherever */
	const char *sockets; /* or NULL */
};

static void push(struct machine_file *l, size_t n)
{
	l->path[l->depth++] = (unsigned)n;
}

static void pop(struct machine_file *l)
{
	l->depth--;
}

static int fail_line(struct machine_file *l, unsigned line, int errnum, const char *text)
{
	return machine_fail(l->err, errnum, "%.128s:%u: %s", l->name, line, text);
}

/* An error at the place where the loader is now. */
static int fail_here(struct machine_file *l, int errnum, const char *text)
{
	return fail_line(l, where_line(l->text, l->size, l->path, l->depth), errnum, text);
}

/* The line of @key, or of the object if that has no such key. */
static unsigned line_of(const struct machine_file *l, const struct file_place *at, const char *key)
{
	/* jansson's functions take no const. */
	json_t *object = (json_t *)(uintptr_t)at->object, *value;
	unsigned path[MAX_NESTING], depth = at->depth, i = 0;
	const char *name;

	memcpy(path, at->path, depth * sizeof(*path));
	json_object_foreach(object, name, value)
	{
		if (key && !strcmp(name, key))
			path[depth++] = i;
		i++;
	}
	return where_line(l->text, l->size, path, depth);
}

int file_fail(struct machine_file *l, const struct file_place *at, const char *key, int errnum,
	      const char *text)
{
	return fail_line(l, line_of(l, at, key), errnum, text);
}

/* The newest place was made for @d; what is wrong with it may be seen only when all are there. */
static int remember_line(struct machine *m, struct machine_file *l, const struct file_device *d)
{
	struct machine_place *place = &m->places[m->n_places - 1];

	if (asprintf(&place->where, "%.128s:%u: ", l->name, line_of(l, &d->place, "bdf")) >= 0)
		return 0;
	place->where = NULL;
	return file_fail(l, &d->place, NULL, ENOMEM, "out of memory");
}

static int remember_place(struct machine_file *l, struct file_place *at, const json_t *object)
{
	at->object = object;
	at->depth = l->depth;
	at->path = malloc(l->depth * sizeof(*at->path));
	if (!at->path)
		return fail_here(l, ENOMEM, "out of memory");
	memcpy(at->path, l->path, l->depth * sizeof(*at->path));
	return 0;
}

static int fail_key(struct machine_file *l, const char *what, const char *key, const char *keys)
{
	char text[256];

	snprintf(text, sizeof(text), "no key \"%.64s\" %s; keys: %s", key, what, keys);
	return fail_here(l, EINVAL, text);
}

/* ------------------------------------------------------------------ "version" */

static int load_version(struct machine_file *l, json_t *value)
{
	if (!json_is_integer(value) || json_integer_value(value) != 1)
		return fail_here(l, EINVAL,
				 "\"version\" is not 1, the only format that this uvfio reads");
	return 0;
}

static int load_description(struct machine_file *l, json_t *value)
{
	return json_is_string(value) ? 0 : fail_here(l, EINVAL, "\"description\" is not a string");
}

/* ------------------------------------------------------------------ "devices" */

/* Text of a string, integer or boolean, as the same key in a SPEC would have. NULL: neither. */
static const char *value_text(const json_t *value, char buf[32])
{
	if (json_is_string(value))
		return json_string_value(value);
	if (json_is_boolean(value))
		return json_is_true(value) ? "on" : "off";
	if (!json_is_integer(value))
		return NULL;
	snprintf(buf, 32, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
	return buf;
}

static int load_devices(struct machine_file *l, json_t *value, bool in_tree,
			struct file_device **list, unsigned *n);

static int load_device_key(struct machine_file *l, struct file_device *d, const char *key,
			   json_t *value)
{
	struct machine_error why;
	const char *text;
	char buf[32];
	int r;

	if (!strcmp(key, "model"))
		return 0;
	if (!strcmp(key, "devices") && machine_is_bridge(d->dev.model))
		return load_devices(l, value, true, &d->below, &d->n_below);
	if (!strcmp(key, "devices")) {
		snprintf(why.text, sizeof(why.text),
			 "%s: no key \"devices\": nothing can be below it, it is no bridge",
			 d->dev.model->name);
		return fail_here(l, EINVAL, why.text);
	}
	text = value_text(value, buf);
	if (!text) {
		snprintf(why.text, sizeof(why.text),
			 "the value of \"%.64s\" is not a string, a whole number, true or false",
			 key);
		return fail_here(l, EINVAL, why.text);
	}
	/* 10 and "10" would not be the same. */
	if (d->dev.in_tree && !json_is_string(value) &&
	    (!strcmp(key, "addr") || !strcmp(key, "bus"))) {
		snprintf(why.text, sizeof(why.text),
			 "\"%s\" is hexadecimal, so write it as a string: \"%.16s\"", key, text);
		return fail_here(l, EINVAL, why.text);
	}
	r = machine_device_set(&d->dev, key, text, &why);
	return r ? fail_here(l, -r, why.text) : 0;
}

static int load_device(struct machine_file *l, struct file_device *d, json_t *object, bool in_tree)
{
	const char *model = json_string_value(json_object_get(object, "model"));
	struct machine_error why;
	const char *key;
	json_t *value;
	size_t i = 0;
	int r;

	if (!json_is_object(object))
		return fail_here(l, EINVAL, "a device is an object, {\"model\": \"...\", ...}");
	if (!model)
		return fail_here(l, EINVAL,
				 "a device needs the key \"model\" with a name, a string");
	r = remember_place(l, &d->place, object);
	if (r)
		return r;
	r = machine_device_init(&d->dev, model, in_tree, &why);
	if (r)
		return fail_here(l, -r, why.text);
	/* jansson keeps members in the order of the text, duplicates were refused. */
	json_object_foreach(object, key, value)
	{
		push(l, i++);
		r = load_device_key(l, d, key, value);
		pop(l);
		if (r)
			return r;
	}
	return 0;
}

static int load_devices(struct machine_file *l, json_t *value, bool in_tree,
			struct file_device **list, unsigned *n)
{
	json_t *object;
	size_t i;
	int r;

	if (!json_is_array(value))
		return fail_here(l, EINVAL, "\"devices\" is not an array, [ {...}, ... ]");
	if (l->depth + 3 >= MAX_NESTING)
		return fail_here(
			l, E2BIG,
			"bridges are more than 32 levels deep; put some beside each other");
	if (json_array_size(value) > MACHINE_MAX_DEVICES - l->total)
		return fail_here(l, E2BIG, "more devices than a machine can have (1024)");
	l->total += (unsigned)json_array_size(value);
	*list = calloc(json_array_size(value) + 1, sizeof(**list));
	if (!*list)
		return fail_here(l, ENOMEM, "out of memory");
	json_array_foreach(value, i, object)
	{
		push(l, i);
		r = load_device(l, &(*list)[(*n)++], object, in_tree);
		pop(l);
		if (r)
			return r;
	}
	return 0;
}

static int load_top_devices(struct machine_file *l, json_t *value)
{
	return load_devices(l, value, false, &l->devices, &l->n_devices);
}

static void free_devices(struct file_device *list, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		free_devices(list[i].below, list[i].n_below);
		machine_device_fini(&list[i].dev);
		free(list[i].place.path);
	}
	free(list);
}

/* ------------------------------------------------------------------ "root_buses" */

static int load_root_bus(struct machine_file *l, struct file_root *root, json_t *value)
{
	const char *text = json_string_value(value);
	size_t size = text ? strlen(text) : 0;
	char full[PCI_BDF_STRLEN] = "";
	struct pci_bdf bdf;

	if (size == 2 || size == 7)
		snprintf(full, sizeof(full), "%.7s:00.0", text);
	if (pcif_bdf_parse(full, &bdf))
		return fail_here(l, EINVAL,
				 "the \"bus\" of a root bus is a string, domain and bus in "
				 "hexadecimal, for example \"0000:40\"");
	root->domain = bdf.domain;
	root->bus = bdf.bus;
	return 0;
}

static int load_root_numa(struct machine_file *l, struct file_root *root, json_t *value)
{
	json_int_t n = json_integer_value(value);

	if (!json_is_integer(value) || n < 0 || n > 1023)
		return fail_here(l, EINVAL, "\"numa_node\" is not a number from 0 to 1023");
	root->numa_node = (int)n;
	return 0;
}

static int load_root_devices(struct machine_file *l, struct file_root *root, json_t *value)
{
	return load_devices(l, value, true, &root->below, &root->n_below);
}

static const struct root_key {
	const char *key;
	int (*load)(struct machine_file *l, struct file_root *root, json_t *value);
} root_keys[] = {
	{ "bus", load_root_bus },
	{ "numa_node", load_root_numa },
	{ "devices", load_root_devices },
};

static int load_root_key(struct machine_file *l, struct file_root *root, const char *key,
			 json_t *value)
{
	for (size_t i = 0; i < ARRAY_SIZE(root_keys); i++)
		if (!strcmp(root_keys[i].key, key))
			return root_keys[i].load(l, root, value);
	return fail_key(l, "in a root bus", key, "bus, numa_node, devices");
}

static int load_root(struct machine_file *l, struct file_root *root, json_t *object)
{
	const char *key;
	json_t *value;
	size_t i = 0;
	int r;

	root->numa_node = -1;
	if (!json_is_object(object))
		return fail_here(l, EINVAL,
				 "a root bus is an object, {\"bus\": \"0000:00\", \"devices\": "
				 "[...]}");
	r = remember_place(l, &root->place, object);
	if (r)
		return r;
	json_object_foreach(object, key, value)
	{
		push(l, i++);
		r = load_root_key(l, root, key, value);
		pop(l);
		if (r)
			return r;
	}
	return 0;
}

static int load_roots(struct machine_file *l, json_t *value)
{
	json_t *object;
	size_t i;
	int r;

	if (!json_is_array(value))
		return fail_here(l, EINVAL, "\"root_buses\" is not an array, [ {...}, ... ]");
	if (json_array_size(value) > MACHINE_MAX_DEVICES)
		return fail_here(l, E2BIG, "more root buses than a machine can have (1024)");
	l->roots = calloc(json_array_size(value) + 1, sizeof(*l->roots));
	if (!l->roots)
		return fail_here(l, ENOMEM, "out of memory");
	json_array_foreach(value, i, object)
	{
		push(l, i);
		r = load_root(l, &l->roots[l->n_roots++], object);
		pop(l);
		if (r)
			return r;
	}
	return 0;
}

/* ------------------------------------------------------------------ making */

static int make_devices(struct machine *m, struct machine_file *l)
{
	struct machine_error why;
	int r = tree_make(m, l, l->roots, l->n_roots);

	if (r == -ENOMEM && !l->err->text[0])
		return machine_fail(l->err, ENOMEM, "%.128s: out of memory", l->name);
	if (r)
		return r;
	for (int with_bdf = 1; with_bdf >= 0; with_bdf--) {
		for (unsigned i = 0; i < l->n_devices; i++) {
			struct file_device *d = &l->devices[i];

			if (d->dev.has_bdf != (bool)with_bdf)
				continue;
			r = machine_device_make(m, &d->dev, &why);
			if (r)
				return file_fail(l, &d->place, why.key, -r, why.text);
			r = remember_line(m, l, d);
			if (r)
				return r;
		}
	}
	return 0;
}

/* ------------------------------------------------------------------ top level */

/* Kept until all else is right; load() gives it to the machine. */
static int load_sockets(struct machine_file *l, json_t *value)
{
	if (!json_is_string(value) || !json_string_length(value))
		return fail_here(l, EINVAL,
				 "\"sockets\" is not a string with the name of a folder");
	l->sockets = json_string_value(value);
	return 0;
}

static const struct section {
	const char *key;
	int (*load)(struct machine_file *l, json_t *value);
} sections[] = {
	{ "version", load_version },	 { "description", load_description },
	{ "sockets", load_sockets },	 { "root_buses", load_roots },
	{ "devices", load_top_devices },
};

static int load_section(struct machine_file *l, const char *key, json_t *value)
{
	char keys[128] = "";

	for (size_t i = 0; i < ARRAY_SIZE(sections); i++) {
		size_t n = strlen(keys);

		if (!strcmp(sections[i].key, key))
			return sections[i].load(l, value);
		snprintf(keys + n, sizeof(keys) - n, "%s%s", n ? ", " : "", sections[i].key);
	}
	return fail_key(l, "in a machine file", key, keys);
}

static int load(struct machine *m, struct machine_file *l, json_t *root)
{
	const char *key;
	json_t *value;
	size_t i = 0;
	int r;

	if (!json_is_object(root))
		return fail_here(l, EINVAL, "a machine file is an object, {\"devices\": [...]}");
	json_object_foreach(root, key, value)
	{
		push(l, i++);
		r = load_section(l, key, value);
		pop(l);
		if (r)
			return r;
	}
	if (l->sockets && machine_set_sockets(m, l->sockets))
		return fail_here(l, ENOMEM, "out of memory");
	return make_devices(m, l);
}

/**
 * machine_add_json() - add the devices of a machine file's text.
 * @name: file's name for errors
 * Returns 0; -EINVAL: not JSON, unknown key, wrong value; -EFBIG: over 1 MiB; otherwise as
 * machine_add_spec(). After a failure some devices may have been added: free the machine.
 */
int machine_add_json(struct machine *m, const char *name, const char *text, size_t size,
		     struct machine_error *err)
{
	struct machine_file l = { .name = name, .text = text, .size = size, .err = err };
	json_error_t syntax;
	json_t *root;
	int r;

	err->text[0] = 0;
	if (size > MAX_FILE)
		return machine_fail(err, EFBIG, "%.128s: larger than 1 MiB, no machine file", name);
	root = json_loadb(text, size, JSON_REJECT_DUPLICATES, &syntax);
	if (!root)
		return fail_line(&l, syntax.line > 0 ? (unsigned)syntax.line : 1, EINVAL,
				 syntax.text);
	r = load(m, &l, root);
	for (unsigned i = 0; i < l.n_roots; i++) {
		free_devices(l.roots[i].below, l.roots[i].n_below);
		free(l.roots[i].place.path);
	}
	free(l.roots);
	free_devices(l.devices, l.n_devices);
	json_decref(root);
	return r;
}

/**
 * machine_add_file() - add the devices of a machine file.
 * Returns what opening and reading the file gave, or as machine_add_json().
 */
int machine_add_file(struct machine *m, const char *path, struct machine_error *err)
{
	AUTO_FREE char *text = NULL;
	size_t size;
	int r = file_read_all(path, MAX_FILE, &text, &size);

	if (r == -EFBIG)
		return machine_fail(err, EFBIG, "%.128s: larger than 1 MiB, no machine file", path);
	if (r)
		return machine_fail(err, -r, "machine file %.128s: %s", path, strerror(-r));
	return machine_add_json(m, path, text, size, err);
}
