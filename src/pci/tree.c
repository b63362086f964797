/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The tree of one machine: its functions in order of address, which is the order of a scan of the
 * buses, bridges before what is below them. build.c makes it. Once it is enumerated functions can
 * be unplugged and found again; everybody who looks while that may happen takes a list with
 * references.
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
	pthread_mutex_init(&n->path, NULL);
	scan_pool_init(&n->scan);
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
	scan_pool_fini(&m->scan);
	free(m->functions);
	free(m->unplugged);
	free(m->roots);
	pthread_rwlock_destroy(&m->lock);
	pthread_mutex_destroy(&m->path);
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

int pcim_insert(struct pcim *m, struct pcif *f)
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

/* ------------------------------------------------------------------ isolation groups */

static int index_of(const struct pcim *m, const struct pcif *f)
{
	for (unsigned i = 0; f && i < m->n_functions; i++)
		if (m->functions[i] == f)
			return (int)i;
	return GROUP_NONE;
}

static enum group_kind group_kind(const struct pcif *f)
{
	static const enum group_kind bridges[] = {
		[PCIF_ROOT_PORT] = GROUP_ROOT_PORT,
		[PCIF_UPSTREAM_PORT] = GROUP_UPSTREAM,
		[PCIF_DOWNSTREAM_PORT] = GROUP_DOWNSTREAM,
		[PCIF_PCIE_TO_PCI_BRIDGE] = GROUP_PCIE_TO_PCI,
		[PCIF_PCI_BRIDGE] = GROUP_CONVENTIONAL_BRIDGE,
	};

	if (f->bridge)
		return bridges[f->desc.kind];
	if (!f->desc.pcie)
		return GROUP_CONVENTIONAL;
	return f->on_root_bus ? GROUP_RC_ENDPOINT : GROUP_ENDPOINT;
}

int pcim_assign_groups(struct pcim *m)
{
	struct group_node *nodes = calloc(m->n_functions + 1, sizeof(*nodes));
	int rc;

	if (!nodes)
		return -ENOMEM;
	for (unsigned i = 0; i < m->n_functions; i++) {
		struct pcif *f = m->functions[i];

		nodes[i] = (struct group_node){
			.kind = group_kind(f),
			.above = index_of(m, f->parent),
			.bdf = f->bdf,
			.secondary = f->secondary,
			.acs = f->desc.acs,
			.vf = f->pf,
			.multifunction =
				f->config.value[PCI_HEADER_TYPE] & PCI_HEADER_TYPE_MULTI_FUNC,
			.alias_devfn = f->alias_devfn,
			.group = (int)atomic_load(&f->group),
			.other = GROUP_NONE,
		};
	}
	rc = group_assign(nodes, m->n_functions);
	for (unsigned i = 0; i < m->n_functions && !rc; i++) {
		struct pcif *f = m->functions[i];

		/* Only those that got their number just now know why. */
		if (atomic_load(&f->group) != (unsigned)GROUP_NONE)
			continue;
		atomic_store(&f->group, (unsigned)nodes[i].group);
		f->group_why = nodes[i].why;
		if (nodes[i].other != GROUP_NONE)
			f->group_other = nodes[nodes[i].other].bdf;
	}
	free(nodes);
	return rc;
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
		rc = pcim_find(m, list[done]->bdf) ? -EEXIST : pcim_insert(m, list[done]);
		if (rc == -EEXIST)
			log_error("%s: address is taken", list[done]->name);
		if (!rc)
			(void)pcif_get(list[done++]);
	}
	if (!rc)
		rc = pcim_assign_groups(m);
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

/* Is @f, or a bridge above it, on the bus of @on? */
static bool scan_reaches(const struct pcif *f, const struct pci_bdf *on)
{
	for (; on && f; f = f->parent)
		if (f->bdf.domain == on->domain && f->bdf.bus == on->bus)
			return true;
	return !on;
}

int pcim_plug(struct pcim *m, const struct pci_bdf *on)
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
			if (f->pf || (f->parent && !atomic_load(&f->parent->present)) ||
			    !scan_reaches(f, on))
				continue;
			/* Before it can be seen: a number of its own, until it gets one. */
			atomic_store(&f->group, (unsigned)GROUP_NONE);
			rc = pcim_insert(m, f);
			if (rc)
				break;
			(void)take_out(m->unplugged, &m->n_unplugged, i--);
			found++;
			again = true;
		}
	}
	if (!rc && found)
		rc = pcim_assign_groups(m);
	/* What got no number was not found; there is room for it where it came from. */
	for (unsigned i = 0; rc && i < m->n_functions; i++) {
		struct pcif *f = m->functions[i];

		if (atomic_load(&f->group) != (unsigned)GROUP_NONE)
			continue;
		atomic_store(&f->present, false);
		m->unplugged[m->n_unplugged++] = take_out(m->functions, &m->n_functions, i--);
	}
	pthread_rwlock_unlock(&m->lock);
	/* Bridges may have changed meanwhile. */
	if (found)
		path_sync(m, NULL);
	return rc ? rc : (int)found;
}
