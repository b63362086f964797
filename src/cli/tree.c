/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The topology of a machine, made of the list of its functions that query.c gives: as nested JSON
 * and as text; and which devices cannot be told apart, with the reason.
 */
#include <inttypes.h>
#include <langinfo.h>
#include <locale.h>

#include "cli/priv.h"

/* ------------------------------------------------------------------ as JSON */

/* The root bus of @device in @roots, made when the first of its functions needs it; its devices. */
static json_t *root_devices(json_t *roots, const json_t *device)
{
	const char *bus = reply_string(device, "root_bus");
	json_t *root;
	size_t i;

	json_array_foreach(roots, i, root)
	{
		if (!strcmp(reply_string(root, "bus"), bus))
			return json_object_get(root, "devices");
	}
	root = json_pack("{s:s,s:[]}", "bus", bus, "devices");
	json_array_append_new(roots, root);
	return json_object_get(root, "devices");
}

/* Each device in the array of what is above it; they come in order of address, bridges first. */
static json_t *nest(const json_t *devices, json_t *by_bdf)
{
	json_t *roots = json_array(), *device, *copy, *above;
	size_t i;

	json_array_foreach(devices, i, device)
	{
		copy = json_copy(device);
		if (reply_bool(copy, "bridge"))
			json_object_set_new(copy, "devices", json_array());
		json_object_set(by_bdf, reply_string(copy, "bdf"), copy);
		above = json_object_get(by_bdf, reply_string(copy, "parent"));
		above = above ? json_object_get(above, "devices") : root_devices(roots, copy);
		json_array_append_new(above, copy);
	}
	return roots;
}

/* ------------------------------------------------------------------ groups with several devices */

static json_t *reason_text(const json_t *device, const json_t *why, const json_t *by_bdf)
{
	const char *reason = reply_string(why, "reason"), *other = reply_string(why, "function");
	const char *bdf = reply_string(device, "bdf");
	const char *type = reply_string(json_object_get(by_bdf, other), "type");

	if (!strcmp(reason, "bridge"))
		return json_sprintf("%s %s puts its own id on what the functions below it ask for",
				    type, other);
	if (!strcmp(reason, "path"))
		return json_sprintf("%s %s has no access control services (acs)", type, other);
	if (!strcmp(reason, "slot"))
		return json_sprintf("functions of device %.10s have no access control services "
				    "(acs)",
				    bdf);
	return json_sprintf("%s and %s use the same id", bdf, other);
}

static void add_reason(json_t *reasons, json_t *text)
{
	json_t *old;
	size_t i;

	json_array_foreach(reasons, i, old)
	{
		if (!strcmp(json_string_value(old), json_string_value(text))) {
			json_decref(text);
			return;
		}
	}
	json_array_append_new(reasons, text);
}

/* The group of @device in @groups, made when it is not there. */
static json_t *group_of(json_t *groups, const json_t *device)
{
	char key[24];
	json_t *group;

	snprintf(key, sizeof(key), "%" PRIu64, reply_number(device, "group"));
	group = json_object_get(groups, key);
	if (group)
		return group;
	group = json_pack("{s:I,s:[],s:[]}", "group", (json_int_t)reply_number(device, "group"),
			  "devices", "reasons");
	json_object_set_new(groups, key, group);
	return group;
}

/* Bridges are no devices to give away, but their reasons count. */
static json_t *find_warnings(const json_t *devices, const json_t *by_bdf)
{
	json_t *groups = json_object(), *warnings = json_array(), *device, *group;
	const char *key;
	size_t i;

	json_array_foreach(devices, i, device)
	{
		json_t *why = json_object_get(device, "why");

		group = group_of(groups, device);
		if (!reply_bool(device, "bridge"))
			json_array_append(json_object_get(group, "devices"),
					  json_object_get(device, "bdf"));
		if (json_is_object(why))
			add_reason(json_object_get(group, "reasons"),
				   reason_text(device, why, by_bdf));
	}
	json_object_foreach(groups, key, group)
	{
		if (json_array_size(json_object_get(group, "devices")) > 1)
			json_array_append(warnings, group);
	}
	json_decref(groups);
	return warnings;
}

json_t *tree_json(const json_t *devices)
{
	json_t *by_bdf = json_object(), *roots = nest(devices, by_bdf);
	json_t *tree = json_pack("{s:o,s:o}", "root_buses", roots, "warnings",
				 find_warnings(devices, by_bdf));

	json_decref(by_bdf);
	return tree;
}

/* ------------------------------------------------------------------ as text */

/* What a branch is drawn with: two columns each. */
struct pen {
	const char *tee, *end, *line;
};

static const struct pen *pick_pen(void)
{
	static const struct pen ascii = { "|-", "`-", "| " };
	static const struct pen utf8 = { "\342\224\234\342\224\200", "\342\224\224\342\224\200",
					 "\342\224\202 " };

	setlocale(LC_CTYPE, "");
	return strcmp(nl_langinfo(CODESET), "UTF-8") ? &ascii : &utf8;
}

#define FIELDS 7
static const struct {
	const char *title;
	bool right;
} fields[FIELDS] = {
	{ "DEVICE", false }, { "TYPE", false }, { "ACS", false },    { "CLASS", false },
	{ "ID", false },     { "GROUP", true }, { "DRIVER", false },
};

struct printer {
	const struct pen *pen;
	unsigned width[FIELDS]; /* in columns */
	bool print;		/* else only measure */
};

/* Bytes that begin a character; every one that we draw with is one column wide. */
static unsigned columns_of(const char *text)
{
	unsigned n = 0;

	for (; *text; text++)
		n += ((unsigned char)*text & 0xc0) != 0x80;
	return n;
}

static void put_line(struct printer *p, const char *const cells[FIELDS])
{
	unsigned pending = 0;

	for (unsigned i = 0; i < FIELDS; i++) {
		unsigned n = columns_of(cells[i]), fill;

		if (!p->print) {
			p->width[i] = MAX(p->width[i], n);
			continue;
		}
		fill = p->width[i] - n;
		pending += i ? 2 : 0;
		if (n)
			printf("%*s%s", (int)(pending + (fields[i].right ? fill : 0)), "",
			       cells[i]);
		pending = (n ? 0 : pending + (fields[i].right ? fill : 0)) +
			  (fields[i].right ? 0 : fill);
	}
	if (p->print)
		putchar('\n');
}

/* "no" only where it makes a difference: at ports. */
static const char *acs_word(const json_t *device)
{
	const char *type = reply_string(device, "type");

	if (reply_bool(device, "acs"))
		return "yes";
	return !strcmp(type, "root port") || !strcmp(type, "downstream port") ? "no" : "-";
}

static void put_devices(struct printer *p, const json_t *devices, const char *prefix)
{
	json_t *device;
	size_t i;

	json_array_foreach(devices, i, device)
	{
		bool last = i + 1 == json_array_size(devices);
		const char *model = reply_string(device, "model");
		char name[256], below[256], what[128], class[8], group[24];

		snprintf(name, sizeof(name), "%s%s%s", prefix, last ? p->pen->end : p->pen->tee,
			 reply_string(device, "bdf"));
		snprintf(below, sizeof(below), "%s%s", prefix, last ? "  " : p->pen->line);
		snprintf(what, sizeof(what), "%s%s%s", reply_bool(device, "bridge") ? "" : model,
			 reply_bool(device, "bridge") ? "" : ", ", reply_string(device, "type"));
		snprintf(group, sizeof(group), "%" PRIu64, reply_number(device, "group"));
		/* Base and sub class, as lspci -n has them. */
		snprintf(class, sizeof(class), "%.4s", reply_string(device, "class"));
		put_line(p,
			 (const char *[FIELDS]){ name, what, acs_word(device), class,
						 reply_string(device, "id"), group,
						 json_is_string(json_object_get(device, "driver"))
							 ? reply_string(device, "driver")
							 : "-" });
		put_devices(p, json_object_get(device, "devices"), below);
	}
}

static void put_tree(struct printer *p, const json_t *roots)
{
	const char *cells[FIELDS] = { "", "root bus", "", "", "", "", "" }, *titles[FIELDS];
	json_t *root;
	size_t i;

	for (unsigned f = 0; f < FIELDS; f++)
		titles[f] = fields[f].title;
	put_line(p, titles);
	json_array_foreach(roots, i, root)
	{
		cells[0] = reply_string(root, "bus");
		put_line(p, cells);
		put_devices(p, json_object_get(root, "devices"), "");
	}
}

static void print_warning(const json_t *warning)
{
	json_t *text;
	size_t i;

	printf("\nwarning: the devices of group %" PRIu64 " go to one user together:",
	       reply_number(warning, "group"));
	json_array_foreach(json_object_get(warning, "devices"), i, text)
		printf(" %s", json_string_value(text));
	json_array_foreach(json_object_get(warning, "reasons"), i, text)
		printf("\n  %s", json_string_value(text));
	putchar('\n');
}

void tree_print(const json_t *tree)
{
	struct printer p = { .pen = pick_pen() };
	json_t *warning;
	size_t i;

	put_tree(&p, json_object_get(tree, "root_buses"));
	p.print = true;
	put_tree(&p, json_object_get(tree, "root_buses"));
	json_array_foreach(json_object_get(tree, "warnings"), i, warning) print_warning(warning);
}
