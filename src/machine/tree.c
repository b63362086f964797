/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The trees of a machine file: addresses for those who give none, bus numbers, and the functions.
 *
 * A bus is taken as a whole: first everybody's address on it, then its functions are made in order
 * of address, then the buses below its bridges, in the same order. So bus numbers go depth first
 * whatever the order in the file, as firmware gives them and pci wants them.
 */
#include <errno.h>

#include "machine/priv.h"

struct tree {
	struct machine *m;
	struct machine_file *file;
};

/* One bus. */
struct tree_bus {
	uint32_t domain;
	unsigned bus;
	struct file_device **list; /* in order of address */
	unsigned n;
};

static unsigned devfn_of(const struct file_device *d)
{
	return (unsigned)d->dev.bdf.dev << 3 | d->dev.bdf.fn;
}

/* ------------------------------------------------------------------ addresses */

static int set_address(struct machine_file *file, const struct tree_bus *b, struct file_device *d)
{
	struct machine_device *dev = &d->dev;
	struct machine_error text;
	char at[PCI_BDF_STRLEN];

	if (dev->has_bdf && dev->devfn >= 0)
		return file_fail(file, &d->place, "addr", EINVAL,
				 "both \"bdf\" and \"addr\" are given; keep one");
	if (dev->has_bdf && (dev->bdf.domain != b->domain || dev->bdf.bus != b->bus)) {
		machine_fail(&text, EINVAL,
			     "%s: bdf=%s, but it sits on bus %04x:%02x; give \"addr\" instead, or "
			     "the bus its number",
			     dev->model->name, pcif_bdf_format(dev->bdf, at), b->domain, b->bus);
		return file_fail(file, &d->place, "bdf", EINVAL, text.text);
	}
	if (dev->devfn >= 0)
		dev->bdf = (struct pci_bdf){ b->domain, (uint8_t)b->bus, (uint8_t)(dev->devfn >> 3),
					     dev->devfn & 7 };
	return 0;
}

/* Who gave no address gets the first device number that nobody else has. */
static int choose_addresses(struct machine_file *file, const struct tree_bus *b)
{
	bool used[32] = { false };
	unsigned next = 0;

	for (unsigned i = 0; i < b->n; i++)
		if (b->list[i]->dev.has_bdf || b->list[i]->dev.devfn >= 0)
			used[b->list[i]->dev.bdf.dev] = true;
	for (unsigned i = 0; i < b->n; i++) {
		struct machine_device *dev = &b->list[i]->dev;

		if (dev->has_bdf || dev->devfn >= 0)
			continue;
		while (next < 32 && used[next])
			next++;
		if (next == 32)
			return file_fail(file, &b->list[i]->place, NULL, ENOSPC,
					 "no device number is free on this bus, which has 32; give "
					 "\"addr\" with a function, or use another bus");
		dev->bdf = (struct pci_bdf){ b->domain, (uint8_t)b->bus, (uint8_t)next++, 0 };
	}
	return 0;
}

static int device_compare(const void *a, const void *b)
{
	const struct file_device *x = *(struct file_device *const *)a;
	const struct file_device *y = *(struct file_device *const *)b;

	if (devfn_of(x) != devfn_of(y))
		return devfn_of(x) < devfn_of(y) ? -1 : 1;
	return x < y ? -1 : x > y; /* as in the file */
}

/* A scan of the bus looks at function 0 first, and at no other where that is missing. */
static int check_functions(struct machine_file *file, const struct tree_bus *b)
{
	for (unsigned i = 0; i < b->n; i++) {
		const struct file_device *d = b->list[i], *before = i ? b->list[i - 1] : NULL;
		char at[PCI_BDF_STRLEN], want[PCI_BDF_STRLEN];
		struct pci_bdf zero = d->dev.bdf;
		struct machine_error text;

		if (!d->dev.bdf.fn || (before && before->dev.bdf.dev == d->dev.bdf.dev))
			continue;
		zero.fn = 0;
		machine_fail(&text, EINVAL,
			     "%s at %s: there is no function 0 beside it; add a "
			     "device at %s",
			     d->dev.model->name, pcif_bdf_format(d->dev.bdf, at),
			     pcif_bdf_format(zero, want));
		return file_fail(file, &d->place, d->dev.has_bdf ? "bdf" : "addr", EINVAL,
				 text.text);
	}
	return 0;
}

static int find_addresses(struct machine_file *file, struct tree_bus *b)
{
	int r = 0;

	for (unsigned i = 0; i < b->n && !r; i++)
		r = set_address(file, b, b->list[i]);
	if (!r)
		r = choose_addresses(file, b);
	if (r)
		return r;
	qsort(b->list, b->n, sizeof(struct file_device *), device_compare);
	return check_functions(file, b);
}

/* ------------------------------------------------------------------ making */

static int make_bus(const struct tree *t, uint32_t domain, unsigned bus, struct file_device *list,
		    unsigned n);

/* The number for the bus below: the bridge's key, or what a device below says in its bdf. 0: none.
 */
static unsigned wanted_bus(const struct file_device *bridge, const struct file_place **at,
			   const char **key)
{
	*at = &bridge->place;
	*key = "bus";
	if (bridge->dev.bus >= 0)
		return (unsigned)bridge->dev.bus;
	for (unsigned i = 0; i < bridge->n_below; i++) {
		const struct file_device *d = &bridge->below[i];

		if (!d->dev.has_bdf || d->dev.bdf.domain != bridge->dev.bdf.domain)
			continue;
		*at = &d->place;
		*key = "bdf";
		return d->dev.bdf.bus;
	}
	return 0;
}

static int make_below(const struct tree *t, struct file_device *bridge, struct pcif *f)
{
	const struct file_place *at;
	const char *key;
	unsigned bus = wanted_bus(bridge, &at, &key);
	struct pcif_reply_error why = { "" };
	uint8_t number;
	int r = pcim_open_bus(f, bus, &why, &number);

	if (r)
		return file_fail(t->file, at, key, -r, why.text);
	return make_bus(t, bridge->dev.bdf.domain, number, bridge->below, bridge->n_below);
}

static int make_functions(const struct tree *t, const struct tree_bus *b)
{
	struct pcif **made = calloc(b->n + 1, sizeof(*made));
	struct machine_error text;
	int r = made ? 0 : -ENOMEM;

	for (unsigned i = 0; i < b->n && !r; i++) {
		struct file_device *d = b->list[i];

		r = machine_device_make_on_bus(t->m, &d->dev, &made[i], &text);
		if (r)
			file_fail(t->file, &d->place, text.key, -r, text.text);
	}
	for (unsigned i = 0; i < b->n && !r; i++)
		if (machine_is_bridge(b->list[i]->dev.model))
			r = make_below(t, b->list[i], made[i]);
	free(made);
	return r;
}

static int make_bus(const struct tree *t, uint32_t domain, unsigned bus, struct file_device *list,
		    unsigned n)
{
	struct tree_bus b = { domain, bus, calloc(n + 1, sizeof(struct file_device *)), n };
	int r = b.list ? 0 : -ENOMEM;

	for (unsigned i = 0; i < n && !r; i++)
		b.list[i] = &list[i];
	if (!r)
		r = find_addresses(t->file, &b);
	if (!r)
		r = make_functions(t, &b);
	free(b.list);
	return r;
}

static int root_compare(const void *a, const void *b)
{
	const struct file_root *x = *(struct file_root *const *)a;
	const struct file_root *y = *(struct file_root *const *)b;

	if (x->domain != y->domain)
		return x->domain < y->domain ? -1 : 1;
	if (x->bus != y->bus)
		return x->bus < y->bus ? -1 : 1;
	return x < y ? -1 : x > y;
}

int tree_make(struct machine *m, struct machine_file *file, struct file_root *roots, unsigned n)
{
	struct file_root **list = calloc(n + 1, sizeof(*list));
	struct tree t = { m, file };
	int r = list ? 0 : -ENOMEM;

	for (unsigned i = 0; i < n && !r; i++)
		list[i] = &roots[i];
	/* Those with low numbers first, so that each may grow up to the next. */
	if (!r)
		qsort(list, n, sizeof(*list), root_compare);
	for (unsigned i = 0; i < n && !r; i++) {
		struct pcif_reply_error why = { "" };
		struct file_root *root = list[i];

		r = pcim_add_root_bus(m->pci, root->domain, root->bus, root->numa_node, &why);
		if (r)
			file_fail(file, &root->place, "bus", -r, why.text);
		else
			r = make_bus(&t, root->domain, root->bus, root->below, root->n_below);
	}
	free(list);
	return r;
}
