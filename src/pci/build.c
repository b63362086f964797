/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Building the tree of a machine: root buses, functions on them, buses below those that are
 * bridges; or functions alone, whose root ports are made when the tree is enumerated.
 *
 * Bus numbers are given as firmware does, depth first: those below a root bus only ever grow, so
 * that each bridge's range, from its secondary to its subordinate bus, holds what is below it and
 * nothing else. A root bus owns the numbers from its own to the last one below it.
 *
 * Where the ports of functions alone go: bus B hangs below a port on bus B-1, which then is a root
 * bus. If B-1 is the last number of a root bus already, because there is a bus below a port of it,
 * the port goes there too: buses in a row share the root bus before the first.
 */
#include <errno.h>

#include "priv.h"

static bool same_bus(const struct pcif *a, const struct pcif *b)
{
	return a->bdf.domain == b->bdf.domain && a->bdf.bus == b->bdf.bus;
}

static bool same_slot(const struct pcif *a, const struct pcif *b)
{
	return same_bus(a, b) && a->bdf.dev == b->bdf.dev;
}

/* ------------------------------------------------------------------ bus numbers */

/* The root bus that owns the number, or NULL. */
static struct root_bus *root_of(const struct pcim *m, uint32_t domain, unsigned bus)
{
	for (unsigned i = 0; i < m->n_roots; i++) {
		struct root_bus *r = &m->roots[i];

		if (r->domain == domain && r->first <= bus && bus <= r->last)
			return r;
	}
	return NULL;
}

bool pcim_root_bus(const struct pcim *m, unsigned i, uint32_t *domain, uint8_t *bus)
{
	if (i >= m->n_roots)
		return false;
	*domain = m->roots[i].domain;
	*bus = m->roots[i].first;
	return true;
}

/* Functions that wait for their root port. */
static bool is_loose(const struct pcif *f)
{
	return !f->on_root_bus && !f->parent;
}

/* The functions in the tree's list from @i on that share a bus: how many. */
static unsigned bus_run(const struct pcim *m, unsigned i)
{
	unsigned end = i + 1;

	while (end < m->n_functions && same_bus(m->functions[end], m->functions[i]))
		end++;
	return end - i;
}

/* Does a function alone have the bus, or (@vfs) do the VFs of one want it? */
static bool loose_bus(const struct pcim *m, uint32_t domain, unsigned bus, bool vfs)
{
	for (unsigned i = 0, run; i < m->n_functions; i += run) {
		const struct pcif *f = m->functions[i];
		unsigned last = f->bdf.bus;

		run = bus_run(m, i);
		if (!is_loose(f) || f->bdf.domain != domain)
			continue;
		if (vfs)
			last = sriov_last_bus(m->functions + i, run);
		if (f->bdf.bus <= bus && bus <= last)
			return true;
	}
	return false;
}

static bool bus_taken(const struct pcim *m, uint32_t domain, unsigned bus)
{
	return root_of(m, domain, bus) || loose_bus(m, domain, bus, false);
}

bool pcim_bus_free(const struct pcim *m, uint32_t domain, unsigned bus)
{
	return bus <= 0xff && !root_of(m, domain, bus) && !loose_bus(m, domain, bus, true);
}

static int root_new(struct pcim *m, uint32_t domain, unsigned bus, int numa_node)
{
	struct root_bus *bigger = realloc(m->roots, (m->n_roots + 1) * sizeof(*bigger));

	if (!bigger)
		return -ENOMEM;
	m->roots = bigger;
	m->roots[m->n_roots++] = (struct root_bus){ domain, (uint8_t)bus, (uint8_t)bus, numa_node };
	return 0;
}

int pcim_add_root_bus(struct pcim *m, uint32_t domain, unsigned bus, int numa_node,
		      struct pcif_reply_error *err)
{
	const struct root_bus *r = root_of(m, domain, bus);

	if (m->enumerated)
		return pcif_error(err, -EINVAL, "the machine has started");
	if (domain > 0xffff || bus > 0xff)
		return pcif_error(err, -EINVAL,
				  "no such bus: domains are 0000 to ffff, buses 00 "
				  "to ff");
	if (r && r->first == bus)
		return pcif_error(err, -EEXIST, "root bus %04x:%02x is there already", domain, bus);
	if (r)
		return pcif_error(err, -EEXIST,
				  "bus %04x:%02x is one of root bus %04x:%02x, whose last is %02x; "
				  "take a number from %02x on",
				  domain, bus, domain, r->first, r->last, r->last + 1);
	if (bus_taken(m, domain, bus))
		return pcif_error(err, -EEXIST, "bus %04x:%02x is below a root port already",
				  domain, bus);
	return root_new(m, domain, bus, numa_node) ? pcif_error(err, -ENOMEM, "out of memory") : 0;
}

/* Lets @r own what follows its last number, up to @last. */
static int root_grow(struct pcim *m, struct root_bus *r, unsigned last,
		     struct pcif_reply_error *err)
{
	if (last > 0xff)
		return pcif_error(err, -ENOSPC, "no bus number is left below root bus %04x:%02x",
				  r->domain, r->first);
	for (unsigned bus = r->last + 1u; bus <= last; bus++)
		if (bus_taken(m, r->domain, bus))
			return pcif_error(err, -EEXIST,
					  "bus %04x:%02x, up to which root bus %04x:%02x would "
					  "reach, is another's",
					  r->domain, bus, r->domain, r->first);
	if (last > r->last)
		r->last = (uint8_t)last;
	return 0;
}

/*
 * Lets @r own the numbers that the VFs of its last bus want, whose functions are all there, as far
 * as nobody else has them: who gets fewer can enable fewer VFs.
 */
static void reserve_for_vfs(struct pcim *m, struct root_bus *r)
{
	unsigned i = 0, last;

	while (i < m->n_functions &&
	       (m->functions[i]->bdf.domain != r->domain || m->functions[i]->bdf.bus != r->last))
		i++;
	if (i == m->n_functions || m->functions[i]->on_root_bus)
		return;
	last = sriov_last_bus(m->functions + i, bus_run(m, i));
	while (r->last < last && !bus_taken(m, r->domain, r->last + 1u))
		r->last++;
}

int pcim_open_bus(struct pcif *bridge, unsigned bus, struct pcif_reply_error *err, uint8_t *number)
{
	struct pcim *m = bridge->m;
	struct root_bus *r = root_of(m, bridge->bdf.domain, bridge->root_bus);
	int rc;

	if (!bridge->bridge || !r)
		return pcif_error(err, -EINVAL, "%s: no bus can be below it", bridge->name);
	if (bridge->secondary)
		return pcif_error(err, -EBUSY, "%s: its bus has the number %02x already",
				  bridge->name, bridge->secondary);
	if (bus && bus <= r->last)
		return pcif_error(err, -EINVAL,
				  "%s: bus %02x: numbers up to %02x are in use by what comes "
				  "before; take one from %02x on",
				  bridge->name, bus, r->last, r->last + 1);
	if (!bus) {
		reserve_for_vfs(m, r);
		bus = r->last + 1u;
	}
	rc = root_grow(m, r, bus, err);
	if (rc)
		return rc;
	bridge->secondary = (uint8_t)bus;
	*number = (uint8_t)bus;
	return 0;
}

/* ------------------------------------------------------------------ adding */

static int check_address(struct pcim *m, struct pci_bdf bdf, struct pcif_reply_error *err)
{
	char name[PCI_BDF_STRLEN];

	pcif_bdf_format(bdf, name);
	if (m->enumerated)
		return pcif_error(err, -EINVAL, "%s: the machine has started", name);
	if (bdf.domain > 0xffff || bdf.dev > 0x1f || bdf.fn > 7)
		return pcif_error(err, -EINVAL, "%s: no such address", name);
	if (pcim_find(m, bdf))
		return pcif_error(err, -EEXIST, "%s: address is taken", name);
	return 0;
}

static int insert(struct pcim *m, struct pcif *f, struct pcif_reply_error *err)
{
	int rc;

	pthread_rwlock_wrlock(&m->lock);
	rc = pcim_insert(m, f);
	pthread_rwlock_unlock(&m->lock);
	return rc ? pcif_error(err, rc, "out of memory") : 0;
}

static int check_loose(const struct pcif *f, struct pcif_reply_error *err)
{
	if (f->bridge)
		return pcif_error(err, -EINVAL,
				  "%s: a %s needs a place in a tree, below \"root_buses\" of a "
				  "machine file",
				  f->name, pcif_type_name(f));
	return 0;
}

int pcim_add(struct pcim *m, struct pci_bdf bdf, const struct pcif_model *model,
	     const struct pcif_params *params, struct pcif_reply_error *err)
{
	struct function_place at = { .bdf = bdf };
	const struct root_bus *r = root_of(m, bdf.domain, bdf.bus);
	char name[PCI_BDF_STRLEN];
	struct pcif *f;
	int rc = check_address(m, bdf, err);

	if (rc)
		return rc;
	pcif_bdf_format(bdf, name);
	if (r)
		return pcif_error(err, -EEXIST,
				  "%s: bus %02x is one of root bus %04x:%02x, whose last is %02x; "
				  "use another",
				  name, bdf.bus, r->domain, r->first, r->last);
	if (bdf.bus == 0)
		return pcif_error(
			err, -EINVAL,
			"%s: bus 00 leaves no bus for the root port above it; use 01 to ff", name);
	if (bdf.dev)
		return pcif_error(err, -EINVAL,
				  "%s: a root port leads to device 00 only; use another bus or "
				  "function",
				  name);
	rc = function_new(m, &at, model, params, err, &f);
	if (rc)
		return rc;
	rc = check_loose(f, err);
	if (!rc)
		rc = insert(m, f, err);
	if (rc)
		pcif_put(f);
	return rc;
}

/* The bridge that leads to the bus, or NULL. */
static struct pcif *bridge_to(const struct pcim *m, struct pci_bdf bdf)
{
	for (unsigned i = 0; bdf.bus && i < m->n_functions; i++) {
		struct pcif *f = m->functions[i];

		if (f->bridge && f->bdf.domain == bdf.domain && f->secondary == bdf.bus)
			return f;
	}
	return NULL;
}

static bool is_conventional_bus(const struct pcif *above)
{
	return above &&
	       (above->desc.kind == PCIF_PCIE_TO_PCI_BRIDGE || above->desc.kind == PCIF_PCI_BRIDGE);
}

/* What to do if @f is not in its place below its parent, or on a root bus; NULL if it is. */
static const char *better_place(const struct pcif *f)
{
	const struct pcif *above = f->parent;
	enum pcif_kind kind = f->desc.kind;

	if (is_conventional_bus(above)) {
		if (!f->desc.pcie)
			return NULL;
		return f->bridge ? "put it nearer to the root" : "say conventional=on";
	}
	if (kind == PCIF_ROOT_PORT)
		return above ? "put it on a root bus" : NULL;
	if (kind == PCIF_DOWNSTREAM_PORT)
		return above && above->desc.kind == PCIF_UPSTREAM_PORT
			       ? NULL
			       : "put it below an upstream port";
	if (above && above->desc.kind == PCIF_UPSTREAM_PORT)
		return "put a downstream port between";
	if (above && !f->desc.pcie)
		return "put a PCIe-to-PCI bridge between, or put it on a root bus";
	if (!above && (kind == PCIF_UPSTREAM_PORT || kind == PCIF_PCIE_TO_PCI_BRIDGE))
		return "put a root port between";
	return NULL;
}

static const char *article(const char *noun)
{
	return strchr("aeiou", noun[0]) ? "an" : "a";
}

static int misplaced(const struct pcif *f, const char *remedy, struct pcif_reply_error *err)
{
	const char *what = pcif_type_name(f), *above = f->parent ? pcif_type_name(f->parent) : NULL;

	if (!above)
		return pcif_error(err, -EINVAL, "%s: %s %s cannot be on a root bus; %s", f->name,
				  article(what), what, remedy);
	return pcif_error(err, -EINVAL, "%s: %s %s cannot be below %s %s; %s", f->name,
			  article(what), what, article(above), above, remedy);
}

static int check_place(const struct pcif *f, struct pcif_reply_error *err)
{
	const struct pcif *above = f->parent;
	const char *remedy = better_place(f);

	if (remedy)
		return misplaced(f, remedy, err);
	if (above && f->bdf.dev &&
	    (above->desc.kind == PCIF_ROOT_PORT || above->desc.kind == PCIF_DOWNSTREAM_PORT))
		return pcif_error(err, -EINVAL,
				  "%s: the link below a %s leads to device 00 only; use another "
				  "function, or a switch",
				  f->name, pcif_type_name(above));
	return 0;
}

int pcim_add_on_bus(struct pcim *m, struct pci_bdf bdf, const struct pcif_model *model,
		    const struct pcif_params *params, struct pcif_reply_error *err,
		    struct pcif **out)
{
	struct root_bus *r = root_of(m, bdf.domain, bdf.bus);
	struct function_place at = { .bdf = bdf, .parent = bridge_to(m, bdf) };
	struct pcif *f;
	int rc = check_address(m, bdf, err);

	if (rc)
		return rc;
	at.on_root_bus = r && r->first == bdf.bus;
	if (!r || (!at.parent && !at.on_root_bus))
		return pcif_error(err, -EINVAL, "there is no bus %04x:%02x", bdf.domain, bdf.bus);
	rc = function_new(m, &at, model, params, err, &f);
	if (rc)
		return rc;
	f->root_bus = r->first;
	if (f->numa_node < 0)
		f->numa_node = at.parent ? at.parent->numa_node : r->numa_node;
	rc = check_place(f, err);
	if (!rc)
		rc = insert(m, f, err);
	if (rc) {
		pcif_put(f);
		return rc;
	}
	if (out)
		*out = f;
	return 0;
}

/* ------------------------------------------------------------------ ports of functions alone */

/* The next place on root bus @r: slots first, then functions of those whose function 0 is a port.
 */
static int free_place(const struct pcim *m, const struct root_bus *r, struct pci_bdf *bdf)
{
	bool slot[32] = { false }, used[8][32] = { { false } }, port[32] = { false };

	for (unsigned i = 0; i < m->n_functions; i++) {
		const struct pcif *f = m->functions[i];

		if (f->bdf.domain != r->domain || f->bdf.bus != r->first)
			continue;
		slot[f->bdf.dev] = used[f->bdf.fn][f->bdf.dev] = true;
		if (!f->bdf.fn)
			port[f->bdf.dev] = f->desc.kind == PCIF_ROOT_PORT;
	}
	for (unsigned fn = 0; fn < 8; fn++) {
		for (unsigned dev = 0; dev < 32; dev++) {
			if (fn ? used[fn][dev] || !port[dev] : slot[dev])
				continue;
			*bdf = (struct pci_bdf){ r->domain, r->first, (uint8_t)dev, (uint8_t)fn };
			return 0;
		}
	}
	return -ENOSPC;
}

/* The root bus on which the port of bus @f->bdf.bus goes, made if there is none. One that owns the
 * number before has it as its last, for this bus is not one of those below it. */
static int port_root(struct pcim *m, const struct pcif *f, struct root_bus **out)
{
	unsigned before = f->bdf.bus - 1u;
	struct root_bus *r = root_of(m, f->bdf.domain, before);
	int rc;

	if (!r) {
		rc = root_new(m, f->bdf.domain, before, -1);
		if (rc)
			return rc;
		r = &m->roots[m->n_roots - 1];
	}
	*out = r;
	return 0;
}

/* Makes the port for the bus of @f. */
static int add_port(struct pcim *m, const struct pcif *f, struct pcif **port)
{
	struct function_place at = { .on_root_bus = true };
	struct pcif_reply_error err = { "" };
	struct root_bus *r;
	struct pcif *p;
	int rc = port_root(m, f, &r);

	if (rc)
		return rc;
	rc = free_place(m, r, &at.bdf);
	if (rc)
		pcif_error(&err, rc, "%s: no place for its root port on bus %04x:%02x", f->name,
			   r->domain, r->first);
	if (!rc)
		rc = function_new(m, &at, &bridge_root_port, NULL, &err, &p);
	if (rc) {
		log_error("%s", err.text);
		return rc;
	}
	rc = insert(m, p, &err);
	if (rc) {
		pcif_put(p);
		return rc;
	}
	p->root_bus = r->first;
	p->numa_node = r->numa_node;
	p->secondary = f->bdf.bus;
	r->last = f->bdf.bus;
	reserve_for_vfs(m, r);
	*port = p;
	return 0;
}

static int add_ports(struct pcim *m)
{
	struct pcif **list = calloc(m->n_functions + 1, sizeof(*list)), *port = NULL;
	unsigned n = 0;
	int rc = 0;

	if (!list)
		return -ENOMEM;
	/* Ports are added to the tree's own list on the way. */
	for (unsigned i = 0; i < m->n_functions; i++)
		if (is_loose(m->functions[i]))
			list[n++] = m->functions[i];
	for (unsigned i = 0; i < n && !rc; i++) {
		if (!i || !same_bus(list[i - 1], list[i]))
			rc = add_port(m, list[i], &port);
		if (rc)
			break;
		list[i]->parent = pcif_get(port);
		list[i]->root_bus = port->root_bus;
		if (list[i]->numa_node < 0)
			list[i]->numa_node = port->numa_node;
	}
	free(list);
	return rc;
}

/* ------------------------------------------------------------------ enumeration */

/* A scan looks at function 0 first, and at no other where that is missing. */
static int mark_multifunction(struct pcim *m)
{
	for (unsigned i = 0; i < m->n_functions; i++) {
		struct pcif *f = m->functions[i];

		if (f->bdf.fn) {
			if (i && same_slot(m->functions[i - 1], f))
				continue;
			log_error("%s: a device must have a function 0", f->name);
			return -EINVAL;
		}
		if (i + 1 < m->n_functions && same_slot(f, m->functions[i + 1]))
			caps_set_multifunction(f);
	}
	return 0;
}

/* The last number that the VFs of @n functions of a bus get: up to where others begin. */
static unsigned last_vf_bus(const struct pcim *m, struct pcif *const *list, unsigned n)
{
	const struct root_bus *r = root_of(m, list[0]->bdf.domain, list[0]->bdf.bus);
	unsigned last = MIN(sriov_last_bus(list, n), r->last);

	for (unsigned i = 0; i < m->n_functions; i++) {
		const struct pcif *b = m->functions[i];

		if (b->bridge && b->bdf.domain == r->domain && b->secondary > list[0]->bdf.bus)
			last = MIN(last, b->secondary - 1u);
	}
	return last;
}

static void reach(struct pcif *bridge, unsigned last)
{
	for (struct pcif *p = bridge; p; p = p->parent)
		p->subordinate = (uint8_t)MAX(p->subordinate, last);
}

/* Every bridge reaches as far as what is below it; VFs as far as there is something else. */
static int find_subordinates(struct pcim *m)
{
	for (unsigned i = 0, run; i < m->n_functions; i += run) {
		struct pcif **f = m->functions + i;

		run = bus_run(m, i);
		sriov_place(f, run);
		for (unsigned k = 0; k < run; k++) {
			if (f[k]->bridge && !f[k]->secondary) {
				log_error("%s: the bus below it has no number", f[k]->name);
				return -EINVAL;
			}
			if (f[k]->bridge)
				reach(f[k], f[k]->secondary);
		}
		if (f[0]->parent)
			reach(f[0]->parent, last_vf_bus(m, f, run));
	}
	return 0;
}

/* Is something right below @bridge, and does it have VFs? */
static bool is_occupied(const struct pcim *m, const struct pcif *bridge, bool *vfs)
{
	bool occupied = false;

	*vfs = false;
	for (unsigned i = 0; i < m->n_functions; i++) {
		if (m->functions[i]->parent != bridge)
			continue;
		occupied = true;
		*vfs = *vfs || m->functions[i]->sriov;
	}
	return occupied;
}

/* What firmware and the host's port driver would have set and switched on. */
static void set_up_bridge(struct pcim *m, struct pcif *f)
{
	bool vfs;

	config_preset(&f->config, PCI_PRIMARY_BUS, 1, f->bdf.bus);
	config_preset(&f->config, PCI_SECONDARY_BUS, 1, f->secondary);
	config_preset(&f->config, PCI_SUBORDINATE_BUS, 1, f->subordinate);
	config_preset(&f->config, PCI_COMMAND, 2,
		      PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_SERR);
	caps_set_link(f, f->secondary, is_occupied(m, f, &vfs));
	if (vfs)
		caps_set_ari_forwarding(f);
	config_update_gate(f);
	reset_apply_gate(f);
}

/**
 * pcim_enumerate() - once. -EINVAL: done before, a function 0 is missing, a bridge has no bus, or a
 * bus number is in the way; -ENOSPC: BARs do not fit the address space; -ENOMEM. The cause is
 * logged.
 */
int pcim_enumerate(struct pcim *m)
{
	int rc;

	if (m->enumerated)
		return -EINVAL;
	m->enumerated = true;
	for (unsigned i = 0; i < m->n_roots; i++)
		reserve_for_vfs(m, &m->roots[i]);
	rc = add_ports(m);
	if (!rc)
		rc = mark_multifunction(m);
	if (!rc)
		rc = find_subordinates(m);
	for (unsigned i = 0; i < m->n_functions && !rc; i++)
		if (m->functions[i]->bridge)
			set_up_bridge(m, m->functions[i]);
	if (!rc)
		rc = windows_assign(m);
	return rc ? rc : pcim_assign_groups(m);
}
