/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The machine file: JSON (RFC 8259), parsed by jansson, read here by tables.
 *
 * A table names the keys that the top level may have and who reads each. Devices are collected
 * first and made last: those with an address before those without one, so that a device that says
 * where it wants to be is never in conflict with one that does not care.
 *
 * Errors read "FILE:LINE: ..."; nothing in a file can do more than end in one.
 */
#include <errno.h>
#include <jansson.h>

#include "machine/priv.h"

#define MAX_FILE MIB(1)
#define MAX_NESTING 3

struct loader {
	const char *name, *text;
	size_t size;
	struct machine_error *err;
	unsigned path[MAX_NESTING]; /* where we are; see where_line() */
	unsigned depth;

	struct loaded {
		struct machine_device dev;
		unsigned line;
	} * devices;
	size_t n_devices;
};

static void push(struct loader *l, size_t n)
{
	l->path[l->depth++] = (unsigned)n;
}

static void pop(struct loader *l)
{
	l->depth--;
}

static int fail_line(struct loader *l, unsigned line, int errnum, const char *text)
{
	return machine_fail(l->err, errnum, "%.128s:%u: %s", l->name, line, text);
}

/* An error at the place where the loader is now. */
static int fail_here(struct loader *l, int errnum, const char *text)
{
	return fail_line(l, where_line(l->text, l->size, l->path, l->depth), errnum, text);
}

static int fail_key(struct loader *l, const char *what, const char *key, const char *keys)
{
	char text[256];

	snprintf(text, sizeof(text), "no key \"%.64s\" %s; keys: %s", key, what, keys);
	return fail_here(l, EINVAL, text);
}

/* ------------------------------------------------------------------ "version" */

static int load_version(struct loader *l, json_t *value)
{
	if (!json_is_integer(value) || json_integer_value(value) != 1)
		return fail_here(l, EINVAL,
				 "\"version\" is not 1, the only format that this uvfio reads");
	return 0;
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

static int load_device_key(struct loader *l, struct machine_device *d, const char *key,
			   const json_t *value)
{
	struct machine_error why;
	const char *text;
	char buf[32];
	int r;

	if (!strcmp(key, "model"))
		return 0;
	text = value_text(value, buf);
	if (!text) {
		snprintf(why.text, sizeof(why.text),
			 "the value of \"%.64s\" is not a string, a whole number, true or false",
			 key);
		return fail_here(l, EINVAL, why.text);
	}
	r = machine_device_set(d, key, text, &why);
	return r ? fail_here(l, -r, why.text) : 0;
}

static int load_device(struct loader *l, struct loaded *dev, json_t *object)
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
	dev->line = where_line(l->text, l->size, l->path, l->depth);
	r = machine_device_init(&dev->dev, model, &why);
	if (r)
		return fail_here(l, -r, why.text);
	/* jansson keeps members in the order of the text, duplicates were refused. */
	json_object_foreach(object, key, value)
	{
		push(l, i++);
		r = load_device_key(l, &dev->dev, key, value);
		pop(l);
		if (r)
			return r;
	}
	return 0;
}

static int load_devices(struct loader *l, json_t *value)
{
	json_t *object;
	size_t i;
	int r;

	if (!json_is_array(value))
		return fail_here(l, EINVAL, "\"devices\" is not an array, [ {...}, ... ]");
	if (json_array_size(value) > MACHINE_MAX_DEVICES)
		return fail_here(l, E2BIG, "more devices than a machine can have (1024)");
	l->devices = calloc(json_array_size(value) + 1, sizeof(*l->devices));
	if (!l->devices)
		return fail_here(l, ENOMEM, "out of memory");
	json_array_foreach(value, i, object)
	{
		push(l, i);
		r = load_device(l, &l->devices[l->n_devices++], object);
		pop(l);
		if (r)
			return r;
	}
	return 0;
}

static int make_devices(struct machine *m, struct loader *l)
{
	struct machine_error why;

	for (int with_bdf = 1; with_bdf >= 0; with_bdf--) {
		for (size_t i = 0; i < l->n_devices; i++) {
			struct loaded *dev = &l->devices[i];
			int r;

			if (dev->dev.has_bdf != (bool)with_bdf)
				continue;
			r = machine_device_make(m, &dev->dev, &why);
			if (r)
				return fail_line(l, dev->line, -r, why.text);
		}
	}
	return 0;
}

/* ------------------------------------------------------------------ top level */

static const struct section {
	const char *key;
	int (*load)(struct loader *l, json_t *value);
} sections[] = {
	{ "version", load_version },
	{ "devices", load_devices },
};

static int load_section(struct loader *l, const char *key, json_t *value)
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

static int load(struct machine *m, struct loader *l, json_t *root)
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
	struct loader l = { .name = name, .text = text, .size = size, .err = err };
	json_error_t syntax;
	json_t *root;
	int r;

	if (size > MAX_FILE)
		return machine_fail(err, EFBIG, "%.128s: larger than 1 MiB, no machine file", name);
	root = json_loadb(text, size, JSON_REJECT_DUPLICATES, &syntax);
	if (!root)
		return fail_line(&l, syntax.line > 0 ? (unsigned)syntax.line : 1, EINVAL,
				 syntax.text);
	r = load(m, &l, root);
	for (size_t i = 0; i < l.n_devices; i++)
		machine_device_fini(&l.devices[i].dev);
	free(l.devices);
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
