/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The tree of one machine. Functions are added at the addresses that they shall have; enumeration
 * then puts a root port above each of their buses, gives addresses to BARs and windows to ports,
 * and forms isolation groups. After that functions can be unplugged and found again; everybody who
 * looks while that may happen takes a list with references.
 *
 * Where ports go: bus B hangs below a port on root bus B-1. Buses that follow each other (B, B+1,
 * ...) share the root bus before the first, one slot each, because a bus below a port cannot be a
 * root bus at the same time.
 */
#include <errno.h>

#include "priv.h"

int pcim_new(struct pcim **m)
{
	struct pcim *n = calloc(1, sizeof(*n));
	int rc;

	if (!n)
		return -ENOMEM;
	/* BAR images may be taken away by an aborted connection. */
	rc = guard_init();
	if (rc) {
		free(n);
		return rc;
	}
	pthread_rwlock_init(&n->lock, NULL);
	*m = n;
	return 0;
}

/* NULL is fine. No client is attached any more, and nobody has references. */
void pcim_free(struct pcim *m)
{
	if (!m)
		return;
	for (unsigned i = m->n_functions; i-- > 0;)
		pcif_put(m->functions[i]);
	for (unsigned i = m->n_unplugged; i-- > 0;)
		pcif_put(m->unplugged[i]);
	free(m->functions);
	free(m->unplugged);
	pthread_rwlock_destroy(&m->lock);
	free(m);
}

void pcim_set_fault_cb(struct pcim *m, iommu_fault_cb cb, void *data)
{
	m->fault_cb = cb;
	m->fault_data = data;
}

void pcim_set_reset_cb(struct pcim *m, pcim_reset_cb cb, void *data)
{
	m->reset_cb = cb;
	m->reset_data = data;
}

static int bdf_compare(struct pci_bdf a, struct pci_bdf b)
{
	uint64_t ka = (uint64_t)a.domain << 16 | (uint64_t)a.bus << 8 | a.dev << 3 | a.fn;
	uint64_t kb = (uint64_t)b.domain << 16 | (uint64_t)b.bus << 8 | b.dev << 3 | b.fn;

	return ka < kb ? -1 : ka > kb;
}

/* Room for one more in a list. */
static int make_room(struct pcif ***list, unsigned n, unsigned *room)
{
	unsigned more = *room ? 2 * *room : 16;
	struct pcif **bigger;

	if (n < *room)
		return 0;
	bigger = realloc(*list, more * sizeof(*bigger));
	if (!bigger)
		return -ENOMEM;
	*list = bigger;
	*room = more;
	return 0;
}

/*
 * Adds @f, whose reference the tree then owns, in order of address. With the lock. -ENOMEM: @f
 * stays the caller's.
 */
static int insert(struct pcim *m, struct pcif *f)
{
	int rc = make_room(&m->functions, m->n_functions, &m->room);
	struct pcif **list = m->functions;
	unsigned at = m->n_functions;

	if (rc)
		return rc;
	while (at && bdf_compare(list[at - 1]->bdf, f->bdf) > 0) {
		list[at] = list[at - 1];
		at--;
	}
	list[at] = f;
	m->n_functions++;
	atomic_store(&f->present, true);
	return 0;
}

/* Takes the entry @at out of the list; its reference is the caller's. With the lock. */
static struct pcif *take_out(struct pcif **list, unsigned *n, unsigned at)
{
	struct pcif *f = list[at];

	memmove(list + at, list + at + 1, (*n - at - 1) * sizeof(*list));
	--*n;
	return f;
}

static int add(struct pcim *m, struct pci_bdf bdf, const struct pcif_model *model,
	       const struct pcif_params *params, bool bridge, struct pcif_reply_error *err,
	       struct pcif **out)
{
	struct pcif *f;
	int rc = function_new(m, bdf, model, params, bridge, err, &f);

	if (rc)
		return rc;
	pthread_rwlock_wrlock(&m->lock);
	rc = insert(m, f);
	pthread_rwlock_unlock(&m->lock);
	if (rc) {
		pcif_put(f);
		return pcif_error(err, rc, "out of memory");
	}
	*out = f;
	return 0;
}

int pcim_add(struct pcim *m, struct pci_bdf bdf, const struct pcif_model *model,
	     const struct pcif_params *params, struct pcif_reply_error *err)
{
	char name[PCI_BDF_STRLEN];
	struct pcif *f;

	pcif_bdf_format(bdf, name);
	if (m->enumerated)
		return pcif_error(err, -EINVAL, "%s: the machine has started", name);
	if (bdf.domain > 0xffff || bdf.dev > 0x1f || bdf.fn > 7)
		return pcif_error(err, -EINVAL, "%s: no such address", name);
	if (bdf.bus == 0)
		return pcif_error(
			err, -EINVAL,
			"%s: bus 00 leaves no bus for the root port above it; use 01 to ff", name);
	if (bdf.dev)
		return pcif_error(err, -EINVAL,
				  "%s: a root port leads to device 00 only; use another bus or "
				  "function",
				  name);
	if (pcim_find(m, bdf))
		return pcif_error(err, -EEXIST, "%s: address is taken", name);
	return add(m, bdf, model, params, false, err, &f);
}

unsigned pcim_count(const struct pcim *m)
{
	return m->n_functions;
}

struct pcif *pcim_function(const struct pcim *m, unsigned i)
{
	return i < m->n_functions ? m->functions[i] : NULL;
}

struct pcif *pcim_find(const struct pcim *m, struct pci_bdf bdf)
{
	for (unsigned i = 0; i < m->n_functions; i++)
		if (pcif_bdf_equal(m->functions[i]->bdf, bdf))
			return m->functions[i];
	return NULL;
}

static int compare_numbers(const void *a, const void *b)
{
	unsigned x = *(const unsigned *)a, y = *(const unsigned *)b;

	return x < y ? -1 : x > y;
}

unsigned pcim_group_count(const struct pcim *m)
{
	struct pcim *tree = (struct pcim *)m;
	unsigned *numbers, n = 0, count = 0;

	pthread_rwlock_rdlock(&tree->lock);
	numbers = calloc(tree->n_functions + 1, sizeof(*numbers));
	for (; numbers && n < tree->n_functions; n++)
		numbers[n] = atomic_load(&tree->functions[n]->group);
	pthread_rwlock_unlock(&tree->lock);
	if (n)
		qsort(numbers, n, sizeof(*numbers), compare_numbers);
	for (unsigned i = 0; i < n; i++)
		count += !i || numbers[i] != numbers[i - 1];
	free(numbers);
	return count;
}

/* ------------------------------------------------------------------ looking while it changes */

int pcim_list(struct pcim *m, struct pcim_list *list)
{
	int rc = 0;

	*list = (struct pcim_list){ 0 };
	pthread_rwlock_rdlock(&m->lock);
	list->f = calloc(m->n_functions + 1, sizeof(*list->f));
	if (list->f)
		for (; list->n < m->n_functions; list->n++)
			list->f[list->n] = pcif_get(m->functions[list->n]);
	else
		rc = -ENOMEM;
	pthread_rwlock_unlock(&m->lock);
	return rc;
}

void pcim_list_free(struct pcim_list *list)
{
	for (unsigned i = 0; i < list->n; i++)
		pcif_put(list->f[i]);
	free(list->f);
	*list = (struct pcim_list){ 0 };
}

void pcim_for_each(struct pcim *m, void (*cb)(void *data, struct pcif *f), void *data)
{
	pthread_rwlock_rdlock(&m->lock);
	for (unsigned i = 0; i < m->n_functions; i++)
		cb(data, m->functions[i]);
	pthread_rwlock_unlock(&m->lock);
}

struct pcif *pcim_get(struct pcim *m, struct pci_bdf bdf)
{
	struct pcif *f;

	pthread_rwlock_rdlock(&m->lock);
	f = pcim_find(m, bdf);
	if (f)
		pcif_get(f);
	pthread_rwlock_unlock(&m->lock);
	return f;
}

/* ------------------------------------------------------------------ enumeration */

static bool same_bus(const struct pcif *a, const struct pcif *b)
{
	return a->bdf.domain == b->bdf.domain && a->bdf.bus == b->bdf.bus;
}

/*
 * Makes the port for the bus of @f, and for those up to @last, which its VFs need; @prev is that of
 * the bus before in order, or NULL.
 */
static int add_port(struct pcim *m, const struct pcif *f, const struct pcif *prev, uint8_t last,
		    struct pcif **port)
{
	struct pci_bdf bdf = { f->bdf.domain, (uint8_t)(f->bdf.bus - 1), 0, 0 };
	struct pcif_reply_error err = { "" };
	struct pcif *p;
	int rc;

	if (prev && prev->bdf.domain == bdf.domain && prev->subordinate >= bdf.bus) {
		/* Slots first, then functions: function 0 of a slot is there before the others. */
		unsigned next = (prev->bdf.fn * 32u) + prev->bdf.dev + 1;

		bdf.bus = prev->bdf.bus;
		bdf.dev = next % 32;
		bdf.fn = (uint8_t)(next / 32);
	}
	rc = add(m, bdf, &port_model, NULL, true, &err, &p);
	if (rc) {
		log_error("%s", err.text);
		return rc;
	}
	p->root_bus = p->bdf.bus;
	p->secondary = f->bdf.bus;
	p->subordinate = last;
	config_preset(&p->config, PCI_PRIMARY_BUS, 1, p->bdf.bus);
	config_preset(&p->config, PCI_SECONDARY_BUS, 1, p->secondary);
	config_preset(&p->config, PCI_SUBORDINATE_BUS, 1, p->subordinate);
	/* What firmware and the host's port driver would have switched on. */
	config_preset(&p->config, PCI_COMMAND, 2,
		      PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_SERR);
	caps_set_port_number(p, (uint8_t)(p->secondary));
	if (f->sriov)
		caps_set_ari_forwarding(p);
	config_update_gate(p);
	reset_apply_gate(p);
	*port = p;
	return 0;
}

/* How many functions of the @n in @list, in order of address, share the first one's bus. */
static unsigned on_one_bus(struct pcif *const *list, unsigned n)
{
	unsigned same = 1;

	while (same < n && same_bus(list[0], list[same]))
		same++;
	return same;
}

/* The last bus that the functions at the start of @list get: VFs do not get those of others. */
static uint8_t last_bus(struct pcif *const *list, unsigned n)
{
	unsigned same = on_one_bus(list, n), last = sriov_place(list, same);

	if (same < n && list[same]->bdf.domain == list[0]->bdf.domain)
		last = MIN(last, list[same]->bdf.bus - 1u);
	return (uint8_t)last;
}

static int add_ports(struct pcim *m)
{
	unsigned n = m->n_functions;
	struct pcif **list = calloc(n ? n : 1, sizeof(*list));
	struct pcif *port = NULL;
	int rc = 0;

	if (!list)
		return -ENOMEM;
	/* Ports are added to the tree's own list on the way. */
	if (n)
		memcpy(list, m->functions, n * sizeof(*list));
	for (unsigned i = 0; i < n && !rc; i++) {
		if (!i || !same_bus(list[i - 1], list[i])) {
			if (list[i]->bdf.fn) {
				log_error("%s: a device must have a function 0", list[i]->name);
				rc = -EINVAL;
				break;
			}
			rc = add_port(m, list[i], port, last_bus(list + i, n - i), &port);
			if (rc)
				break;
		}
		list[i]->parent = pcif_get(port);
		list[i]->root_bus = port->root_bus;
	}
	free(list);
	return rc;
}

static void mark_multifunction(struct pcim *m)
{
	for (unsigned i = 0; i + 1 < m->n_functions; i++) {
		struct pcif *f = m->functions[i], *next = m->functions[i + 1];

		if (!f->bdf.fn && same_bus(f, next) && next->bdf.dev == f->bdf.dev)
			caps_set_multifunction(f);
	}
}

static int index_of(const struct pcim *m, const struct pcif *f)
{
	for (unsigned i = 0; f && i < m->n_functions; i++)
		if (m->functions[i] == f)
			return (int)i;
	return GROUP_NONE;
}

/* Who has a number keeps it. With the lock, or by who builds the tree. */
static int assign_groups(struct pcim *m)
{
	struct group_node *nodes = calloc(m->n_functions + 1, sizeof(*nodes));
	int rc;

	if (!nodes)
		return -ENOMEM;
	for (unsigned i = 0; i < m->n_functions; i++) {
		struct pcif *f = m->functions[i];

		nodes[i] = (struct group_node){
			.vf = f->pf,
			.kind = f->bridge      ? GROUP_ROOT_PORT
				: f->desc.pcie ? GROUP_ENDPOINT
					       : GROUP_CONVENTIONAL,
			.above = index_of(m, f->parent),
			.bdf = f->bdf,
			.secondary = f->secondary,
			.acs = !f->pf && pcif_find_ext_cap(f, PCI_EXT_CAP_ID_ACS) != 0,
			.multifunction =
				f->config.value[PCI_HEADER_TYPE] & PCI_HEADER_TYPE_MULTI_FUNC,
			.alias_devfn = -1,
			.group = (int)atomic_load(&f->group),
		};
	}
	rc = group_assign(nodes, m->n_functions);
	for (unsigned i = 0; i < m->n_functions && !rc; i++)
		atomic_store(&m->functions[i]->group, (unsigned)nodes[i].group);
	free(nodes);
	return rc;
}

/**
 * pcim_enumerate() - once. -EINVAL: done before, or a function 0 is missing; -ENOSPC: BARs do not
 * fit the address space; -ENOMEM. The cause is logged.
 */
int pcim_enumerate(struct pcim *m)
{
	int rc;

	if (m->enumerated)
		return -EINVAL;
	m->enumerated = true;
	rc = add_ports(m);
	if (rc)
		return rc;
	mark_multifunction(m);
	rc = windows_assign(m);
	if (rc)
		return rc;
	return assign_groups(m);
}

/* ------------------------------------------------------------------ hot plug */

/* Its reference is the caller's then. With the lock. */
static void leave(struct pcif *f)
{
	struct pcim *m = f->m;

	(void)take_out(m->functions, &m->n_functions, (unsigned)index_of(m, f));
	atomic_store(&f->present, false);
}

int tree_add_vfs(struct pcim *m, struct pcif *const *list, unsigned n)
{
	unsigned done = 0;
	int rc = 0;

	pthread_rwlock_wrlock(&m->lock);
	while (done < n && !rc) {
		rc = pcim_find(m, list[done]->bdf) ? -EEXIST : insert(m, list[done]);
		if (rc == -EEXIST)
			log_error("%s: address is taken", list[done]->name);
		if (!rc)
			(void)pcif_get(list[done++]);
	}
	if (!rc)
		rc = assign_groups(m);
	for (unsigned i = 0; i < n && !rc; i++)
		list[i]->pf->sriov->vfs[i] = list[i];
	while (rc && done) {
		leave(list[--done]);
		pcif_put(list[done]); /* not the last one */
	}
	pthread_rwlock_unlock(&m->lock);
	return rc;
}

struct pcif *tree_drop_vf(struct pcif *pf, unsigned index)
{
	struct pcim *m = pf->m;
	struct pcif *vf;

	pthread_rwlock_wrlock(&m->lock);
	vf = pf->sriov->vfs[index];
	pf->sriov->vfs[index] = NULL;
	if (vf && atomic_load(&vf->present)) {
		leave(vf);
	} else if (vf) {
		unsigned at = 0;

		while (m->unplugged[at] != vf)
			at++;
		(void)take_out(m->unplugged, &m->n_unplugged, at);
	}
	pthread_rwlock_unlock(&m->lock);
	return vf;
}

int pcim_unplug(struct pcif *f)
{
	struct pcim *m = f->m;
	int rc;

	if (pcif_num_vfs(f))
		return -EBUSY;
	pthread_rwlock_wrlock(&m->lock);
	rc = make_room(&m->unplugged, m->n_unplugged, &m->unplugged_room);
	if (!rc && !atomic_load(&f->present))
		rc = -ENODEV;
	if (!rc) {
		leave(f);
		m->unplugged[m->n_unplugged++] = f;
	}
	pthread_rwlock_unlock(&m->lock);
	return rc;
}

int pcim_plug(struct pcim *m)
{
	unsigned found = 0;
	bool again = true;
	int rc = 0;

	pthread_rwlock_wrlock(&m->lock);
	while (again && !rc) {
		again = false;
		for (unsigned i = 0; i < m->n_unplugged && !rc; i++) {
			struct pcif *f = m->unplugged[i];

			/* No scan finds a VF. */
			if (f->pf || (f->parent && !atomic_load(&f->parent->present)))
				continue;
			/* Before it can be seen: a number of its own, until it gets one. */
			atomic_store(&f->group, (unsigned)GROUP_NONE);
			rc = insert(m, f);
			if (rc)
				break;
			(void)take_out(m->unplugged, &m->n_unplugged, i--);
			found++;
			again = true;
		}
	}
	if (!rc && found)
		rc = assign_groups(m);
	/* What got no number was not found; there is room for it where it came from. */
	for (unsigned i = 0; rc && i < m->n_functions; i++) {
		struct pcif *f = m->functions[i];

		if (atomic_load(&f->group) != (unsigned)GROUP_NONE)
			continue;
		atomic_store(&f->present, false);
		m->unplugged[m->n_unplugged++] = take_out(m->functions, &m->n_functions, i--);
	}
	pthread_rwlock_unlock(&m->lock);
	return rc ? rc : (int)found;
}
