/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Isolation groups: which functions an IOMMU cannot keep apart, hence go to one user together.
 *
 * Rules A1 to A7 of docs/pci.md, on a plain form of the tree (struct group_node), so that every
 * shape can be given as data. Functions are taken in order, parents before children; each gets
 * the group of something it cannot be told from, or the next number.
 *
 * Source: Linux pci_device_group() and pci_acs_path_enabled(), behaviour only.
 */
#include <errno.h>

#include "priv.h"

struct group_walk {
	struct group_node *nodes;
	unsigned n;
};

/* A number that is somebody else's, and why. */
struct group_found {
	int group; /* GROUP_NONE: there is none */
	enum pcif_group_why why;
	int other;
};

static bool multifunction(const struct group_node *d)
{
	return !d->vf && (d->bdf.fn || d->multifunction);
}

/* Does @d keep its peers from reaching each other without passing the IOMMU? */
static bool acs_ok(const struct group_node *d)
{
	switch (d->kind) {
	case GROUP_CONVENTIONAL:
	case GROUP_CONVENTIONAL_BRIDGE:
	case GROUP_PCIE_TO_PCI:
	case GROUP_PCI_TO_PCIE:
	case GROUP_RC_EVENT_COLLECTOR:
		return false;
	case GROUP_ROOT_PORT:
	case GROUP_DOWNSTREAM:
		return d->acs;
	case GROUP_ENDPOINT:
	case GROUP_UPSTREAM:
	case GROUP_RC_ENDPOINT:
		return !multifunction(d) || d->acs;
	}
	return false;
}

/* The first on the way up from @from that is not: GROUP_NONE if the path is clean. */
static int acs_path_flaw(const struct group_walk *w, int from)
{
	int i = from;

	while (i != GROUP_NONE && acs_ok(&w->nodes[i]))
		i = w->nodes[i].above;
	return i;
}

static bool same_bus(const struct group_node *a, const struct group_node *b)
{
	return a->bdf.domain == b->bdf.domain && a->bdf.bus == b->bdf.bus;
}

static unsigned devfn(const struct group_node *d)
{
	return (unsigned)d->bdf.dev << 3 | d->bdf.fn;
}

/* One of them uses the other's id. Two that use an id which nobody has are not seen as such. */
static bool aliases(const struct group_node *a, const struct group_node *b)
{
	return a != b && same_bus(a, b) &&
	       (a->alias_devfn == (int)devfn(b) || b->alias_devfn == (int)devfn(a));
}

/* A group among @d and what shares a requester id with it, transitively. */
static int alias_group(const struct group_walk *w, unsigned d, uint8_t seen[])
{
	if (seen[d])
		return GROUP_NONE;
	seen[d] = 1;
	if (w->nodes[d].group != GROUP_NONE)
		return w->nodes[d].group;
	for (unsigned i = 0; i < w->n; i++) {
		int group =
			aliases(&w->nodes[d], &w->nodes[i]) ? alias_group(w, i, seen) : GROUP_NONE;

		if (group != GROUP_NONE)
			return group;
	}
	return GROUP_NONE;
}

/* Functions of one slot that may talk to each other inside the device. */
static struct group_found slot_group(const struct group_walk *w, unsigned p, uint8_t seen[])
{
	const struct group_node *d = &w->nodes[p];

	if (!multifunction(d) || acs_ok(d))
		return (struct group_found){ GROUP_NONE, PCIF_GROUP_OWN, GROUP_NONE };
	for (unsigned i = 0; i < w->n; i++) {
		const struct group_node *o = &w->nodes[i];
		int group;

		if (i == p || !same_bus(d, o) || d->bdf.dev != o->bdf.dev || acs_ok(o))
			continue;
		group = alias_group(w, i, seen);
		if (group != GROUP_NONE)
			return (struct group_found){ group, PCIF_GROUP_SLOT, (int)i };
	}
	return (struct group_found){ GROUP_NONE, PCIF_GROUP_OWN, GROUP_NONE };
}

static bool bridge_takes_over(enum group_kind kind)
{
	return kind == GROUP_PCIE_TO_PCI || kind == GROUP_PCI_TO_PCIE ||
	       kind == GROUP_CONVENTIONAL_BRIDGE;
}

/* Somebody of the same bus that shares @p's id. */
static int alias_of(const struct group_walk *w, unsigned p)
{
	for (unsigned i = 0; i < w->n; i++)
		if (aliases(&w->nodes[p], &w->nodes[i]))
			return (int)i;
	return (int)p;
}

static struct group_found find_group(const struct group_walk *w, unsigned d, uint8_t seen[])
{
	unsigned p = d;
	int group, flaw;

	/* 1. Bridges that put their own id on what passes are what the IOMMU sees. */
	for (int b = w->nodes[d].above; b != GROUP_NONE; b = w->nodes[b].above) {
		if (!bridge_takes_over(w->nodes[b].kind))
			continue;
		p = (unsigned)b;
		if (w->nodes[b].group != GROUP_NONE)
			return (struct group_found){ w->nodes[b].group, PCIF_GROUP_BRIDGE, b };
	}
	/* 2. Up to where the path to the root is clean. */
	for (int b = w->nodes[p].above; b != GROUP_NONE; b = w->nodes[b].above) {
		flaw = acs_path_flaw(w, b);
		if (flaw == GROUP_NONE)
			break;
		p = (unsigned)b;
		if (w->nodes[b].group != GROUP_NONE)
			return (struct group_found){ w->nodes[b].group, PCIF_GROUP_PATH, flaw };
	}
	/* 3. and 4. Neighbours. */
	group = alias_group(w, p, seen);
	if (group != GROUP_NONE)
		return (struct group_found){ group, PCIF_GROUP_ALIAS, alias_of(w, p) };
	return slot_group(w, p, seen);
}

/**
 * group_assign() - fill in .group of those of @n nodes that have none, bridges before what is below
 * them. A new group gets the lowest number that is free, as from ida_alloc().
 */
int group_assign(struct group_node *nodes, unsigned n)
{
	struct group_walk w = { nodes, n };
	struct group_found found;
	uint8_t *seen = calloc(n ? n : 1, 1);
	uint8_t *taken = calloc(n ? n : 1, 1); /* n nodes have at most n numbers, but old ones may
						* be higher */
	unsigned next = 0;

	if (!seen || !taken) {
		free(seen);
		free(taken);
		return -ENOMEM;
	}
	for (unsigned i = 0; i < n; i++)
		if (nodes[i].group != GROUP_NONE && (unsigned)nodes[i].group < n)
			taken[nodes[i].group] = 1;
	for (unsigned i = 0; i < n; i++) {
		if (nodes[i].group != GROUP_NONE)
			continue;
		memset(seen, 0, n);
		found = find_group(&w, i, seen);
		nodes[i].group = found.group;
		nodes[i].why = found.why;
		nodes[i].other = found.other;
		if (found.group != GROUP_NONE)
			continue;
		while (taken[next])
			next++;
		taken[next] = 1;
		nodes[i].group = (int)next;
	}
	free(seen);
	free(taken);
	return 0;
}
