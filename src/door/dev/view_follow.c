/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How the view follows the bus: what has come and gone since it looked last, function by function,
 * and what hangs on that: links, buses, isolation groups.
 *
 * Each step is whole or not at all. Where memory is missing the view stays behind, what was asked
 * of it says ENOMEM, and the next question tries again.
 */
#include <errno.h>

#include "door/dev/view_priv.h"

static struct view_node *child_of(struct view_node *dir, const char *name)
{
	struct view_node *n;

	for (n = dir->child; n && strcmp(n->name, name); n = n->next)
		;
	return n;
}

static int read_empty(struct view_node *node, char **buf, size_t *size)
{
	return view_say(buf, size, "%s", "");
}

static const struct view_attr empty_uevent[] = {
	{ "uevent", 0644, read_empty, view_write_uevent },
};

/* ------------------------------------------------------------------ directories of buses */

static void pci_bus_files(struct view_pci_bus *b, struct view *v, struct view_node *parent,
			  const char *path)
{
	static const struct view_attr rescan[] = {
		{ "rescan", 0200, NULL, NULL, view_act_rescan_bus },
	};
	struct view_node *dir = child_of(parent, "pci_bus");
	AUTO_FREE char *at = NULL, *target = NULL;
	char name[16];

	snprintf(name, sizeof(name), "%04x:%02x", b->domain, b->bus);
	at = view_printf(v, "%s/pci_bus/%s", path, name);
	target = view_printf(v, "../../%s/pci_bus/%s", path, name);
	if (!at || !target)
		return;
	if (!dir)
		dir = view_dir(v, parent, "pci_bus");
	if (dir)
		dir = view_dir(v, dir, name);
	if (!dir)
		return;
	b->dir = dir;
	view_text(v, dir, "cpuaffinity", 0444, v->cpu_mask);
	view_text(v, dir, "cpulistaffinity", 0444, v->cpu_list);
	view_attrs(v, dir, rescan, ARRAY_SIZE(rescan), view_bus_number(b->domain, b->bus));
	view_attrs(v, dir, empty_uevent, ARRAY_SIZE(empty_uevent), NULL);
	view_power(v, dir);
	view_link_path(v, dir, "device", at, path);
	view_link_path(v, dir, "subsystem", at, "class/pci_bus");
	b->of_class = view_link(v, v->class_bus, name, target);
}

static void pci_bus_leave(struct view *v, struct view_pci_bus **at)
{
	struct view_pci_bus *b = *at;

	*at = b->next;
	view_remove(v, &b->dir);
	view_remove(v, &b->of_class);
	view_fn_put(b->bridge);
	free(b);
}

/* The bus @bus is there, below @bridge or, where that is NULL, below the directory @parent. */
static int pci_bus_want(struct view *v, struct view_fn *bridge, struct view_node *parent,
			const char *path, uint32_t domain, uint8_t bus)
{
	struct view_pci_bus *b;

	for (b = v->buses; b; b = b->next) {
		if (b->domain != domain || b->bus != bus || b->bridge != bridge)
			continue;
		b->wanted = true;
		return 0;
	}
	b = calloc(1, sizeof(*b));
	if (!b)
		return -ENOMEM;
	b->domain = domain;
	b->bus = bus;
	b->bridge = bridge ? view_fn_get(bridge) : NULL;
	b->wanted = true;
	b->next = v->buses;
	v->buses = b;
	pci_bus_files(b, v, parent, path);
	if (!v->failed)
		return 0;
	pci_bus_leave(v, &v->buses);
	return -ENOMEM;
}

/* ------------------------------------------------------------------ host bridges */

static char *host_name(uint32_t domain, uint8_t bus, char out[24])
{
	snprintf(out, 24, "pci%04x:%02x", domain, bus);
	return out;
}

/* The directories of host bridges, pciDDDD:BB. They stay, whatever becomes of what is below. */
int view_hosts_build(struct view *v)
{
	uint32_t domain;
	uint8_t bus;

	for (unsigned i = 0; pcim_root_bus(v->pci, i, &domain, &bus); i++) {
		char name[24];
		struct view_node *dir = view_dir(v, v->devices, host_name(domain, bus, name));
		AUTO_FREE char *path = view_printf(v, "devices/%s", name);

		if (!dir || !path)
			return -ENOMEM;
		view_attrs(v, dir, empty_uevent, ARRAY_SIZE(empty_uevent), NULL);
		view_power(v, dir);
		if (v->failed || pci_bus_want(v, NULL, dir, path, domain, bus))
			return -ENOMEM;
	}
	return 0;
}

/* ------------------------------------------------------------------ isolation groups */

/*
 * The type is that of the group's default domain, which VFIO's ownership does not change; it can
 * not be changed while drivers are bound.
 */
static int write_group_type(struct view_node *node, const char *buf, size_t size)
{
	static const char *const others[] = { "identity", "DMA", "auto" };

	if (view_same(buf, size, "DMA-FQ"))
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(others); i++)
		if (view_same(buf, size, others[i]))
			return -EBUSY;
	return -EINVAL;
}

static int read_group_type(struct view_node *node, char **buf, size_t *size)
{
	return view_say(buf, size, "DMA-FQ\n");
}

#define PCI_CLASS_BRIDGE_ISA 0x0601

struct group_look {
	unsigned number;
	bool isa;
};

static void look_for_isa(void *data, struct pcif *f)
{
	struct group_look *look = data;

	if (pcif_group(f) == look->number && pcif_desc(f)->class_code >> 8 == PCI_CLASS_BRIDGE_ISA)
		look->isa = true;
}

/* An ISA bridge keeps the low 16 MiB for devices behind it. Source: intel_iommu_get_resv_regions().
 */
static int read_reserved_regions(struct view_node *node, char **buf, size_t *size)
{
	struct group_look look = { (unsigned)(uintptr_t)node->data, false };

	pcim_for_each(node->view->pci, look_for_isa, &look);
	return view_say(buf, size, "%s0x%016llx 0x%016llx msi\n",
			look.isa ? "0x0000000000000000 0x0000000000ffffff direct-relaxable\n" : "",
			IOMMU_MSI_FIRST, IOMMU_MSI_LAST);
}

static struct view_group *group_enter(struct view *v, uint64_t id, unsigned number)
{
	static const struct view_attr attrs[] = {
		{ "reserved_regions", 0444, read_reserved_regions, NULL },
		{ "type", 0644, read_group_type, write_group_type },
	};
	struct view_group *g;
	char name[16];

	for (g = v->groups; g; g = g->next) {
		if (g->id != id)
			continue;
		g->members++;
		return g;
	}
	g = calloc(1, sizeof(*g));
	if (!g) {
		v->failed = true;
		return NULL;
	}
	snprintf(name, sizeof(name), "%u", number);
	g->id = id;
	g->number = number;
	g->members = 1;
	g->dir = view_dir(v, v->groups_dir, name);
	if (g->dir) {
		g->devices = view_dir(v, g->dir, "devices");
		view_attrs(v, g->dir, attrs, ARRAY_SIZE(attrs), (void *)(uintptr_t)number);
	}
	g->next = v->groups;
	v->groups = g;
	return g;
}

static void group_leave(struct view *v, struct view_group *g)
{
	struct view_group **at;

	if (!g || --g->members)
		return;
	for (at = &v->groups; *at != g; at = &(*at)->next)
		;
	*at = g->next;
	view_remove(v, &g->dir);
	free(g);
}

/* ------------------------------------------------------------------ functions */

struct view_fn *view_fn_get(struct view_fn *fn)
{
	atomic_fetch_add(&fn->refs, 1);
	return fn;
}

void view_fn_put(struct view_fn *fn)
{
	if (!fn || atomic_fetch_sub(&fn->refs, 1) != 1)
		return;
	view_fn_put(fn->up);
	view_fn_put(fn->pf);
	pcif_put(fn->f);
	free(fn->path);
	free(fn);
}

/* Whatever is below it has left. */
static void fn_leave(struct view_fn *fn)
{
	struct view *v = fn->view;
	struct view_pci_bus **at = &v->buses;

	while (*at) {
		if ((*at)->bridge == fn)
			pci_bus_leave(v, at);
		else
			at = &(*at)->next;
	}
	view_remove(v, &fn->of_bus);
	view_remove(v, &fn->of_group);
	view_remove(v, &fn->of_pf);
	view_remove(v, &fn->of_driver);
	view_remove(v, &fn->of_cdev);
	fn->driver_link = fn->msi_irqs = fn->cdev = NULL;
	view_remove(v, &fn->dir);
	group_leave(v, fn->group);
	fn->group = NULL;
	/* The last reference may end a model, which waits for its threads. */
	fn->next_left = v->left;
	v->left = fn;
}

void view_unlock(struct view *v)
{
	struct view_fn *fn = v->left;

	v->left = NULL;
	pthread_mutex_unlock(&v->lock);
	while (fn) {
		struct view_fn *next = fn->next_left;

		view_fn_put(fn);
		fn = next;
	}
}

static struct view_fn *fn_new(struct view *v, const struct bus_entry *e, struct view_fn *up,
			      struct view_fn *pf)
{
	struct view_fn *fn = calloc(1, sizeof(*fn));

	if (!fn) {
		v->failed = true;
		return NULL;
	}
	atomic_init(&fn->refs, 1);
	fn->view = v;
	fn->f = pcif_get(e->f);
	fn->id = e->id;
	fn->up = up ? view_fn_get(up) : NULL;
	fn->pf = pf ? view_fn_get(pf) : NULL;
	pcif_bdf_format(pcif_bdf(e->f), fn->name);
	return fn;
}

/* Its directory, with all but what depends on its driver. */
static int fn_enter(struct view *v, const struct bus_entry *e, struct view_fn *up,
		    struct view_fn *pf, struct view_fn **out)
{
	AUTO_FREE char *from = NULL, *group = NULL;
	struct view_node *parent;
	struct view_fn *fn;
	char host[24];

	host_name(pcif_bdf(e->f).domain, pcif_root_bus(e->f), host);
	parent = up ? up->dir : child_of(v->devices, host);
	if (!parent)
		return 0; /* not below a root bus of this machine */
	fn = fn_new(v, e, up, pf);
	if (!fn)
		return -ENOMEM;
	fn->path = up ? view_printf(v, "%s/%s", up->path, fn->name)
		      : view_printf(v, "devices/%s/%s", host, fn->name);
	fn->dir = view_dir(v, parent, fn->name);
	if (fn->dir) {
		view_fn_put(fn->dir->fn);
		fn->dir->fn = view_fn_get(fn);
		view_fn_files(fn);
		view_state_files(fn);
		view_sriov_files(fn);
	}
	fn->group = group_enter(v, e->group_id, e->group);
	from = view_printf(v, "kernel/iommu_groups/%u/devices", e->group);
	group = view_printf(v, "kernel/iommu_groups/%u", e->group);
	if (!v->failed) {
		view_link_path(v, fn->dir, "iommu_group", fn->path, group);
		fn->of_group = view_link_path(v, fn->group->devices, fn->name, from, fn->path);
		fn->of_bus =
			view_link_path(v, v->bus_devices, fn->name, "bus/pci/devices", fn->path);
	}
	if (v->failed) {
		fn_leave(fn);
		return -ENOMEM;
	}
	*out = fn;
	return 0;
}

static struct view_driver *driver_find(struct view *v, const struct bus_driver *d)
{
	for (unsigned i = 0; d && i < v->n_drivers; i++)
		if (v->drivers[i].d == d)
			return &v->drivers[i];
	return NULL;
}

static void fn_unbound(struct view_fn *fn)
{
	view_remove(fn->view, &fn->of_driver);
	view_remove(fn->view, &fn->driver_link);
	view_remove(fn->view, &fn->msi_irqs);
	view_cdev_leave(fn);
	fn->driver = NULL;
}

static int fn_bound(struct view_fn *fn, const struct bus_driver *d)
{
	struct view *v = fn->view;
	struct view_driver *driver = driver_find(v, d);
	AUTO_FREE char *path = NULL;

	if (fn->driver == driver) {
		view_cdev_follow(fn);
		return v->failed ? -ENOMEM : 0;
	}
	fn_unbound(fn);
	if (!driver)
		return 0;
	path = view_printf(v, "bus/pci/drivers/%s", d->name);
	fn->driver = driver;
	fn->of_driver = view_link_path(v, driver->dir, fn->name, path, fn->path);
	fn->driver_link = view_link_path(v, fn->dir, "driver", fn->path, path);
	view_driver_files(fn);
	view_cdev_follow(fn);
	if (!v->failed)
		return 0;
	fn_unbound(fn);
	return -ENOMEM;
}

/* ------------------------------------------------------------------ following */

static bool bdf_before(struct pci_bdf a, struct pci_bdf b)
{
	if (a.domain != b.domain)
		return a.domain < b.domain;
	return (a.bus << 8 | a.dev << 3 | a.fn) < (b.bus << 8 | b.dev << 3 | b.fn);
}

static struct view_fn *fn_of(struct view_fn **fns, unsigned n, const struct pcif *f)
{
	struct pci_bdf bdf = pcif_bdf(f);
	unsigned first = 0;

	while (n) {
		unsigned half = n / 2;

		if (fns[first + half]->f == f)
			return fns[first + half];
		if (bdf_before(pcif_bdf(fns[first + half]->f), bdf)) {
			first += half + 1;
			n -= half + 1;
		} else {
			n = half;
		}
	}
	return NULL;
}

/*
 * Those of the view that are still there, into the places of their entries in @kept; the others
 * leave. Both lists are in order of address.
 */
static void drop_left(struct view *v, const struct bus_list *list, struct view_fn **kept)
{
	unsigned at = 0;

	for (unsigned i = 0; i < v->n_fns; i++) {
		struct view_fn *fn = v->fns[i];

		while (at < list->n && bdf_before(pcif_bdf(list->entry[at].f), pcif_bdf(fn->f)))
			at++;
		fn->left = at == list->n || list->entry[at].id != fn->id ||
			   (fn->up && fn->up->left) || (fn->pf && fn->pf->left);
		if (!fn->left)
			kept[at] = fn;
	}
	/* What is below a bridge comes behind it, and VFs behind their PF. */
	for (unsigned i = v->n_fns; i-- > 0;)
		if (v->fns[i]->left)
			fn_leave(v->fns[i]);
	v->n_fns = 0;
}

/* @fns has a place for each entry; afterwards it has those that there are, in order. */
static int add_new(struct view *v, const struct bus_list *list, struct view_fn **fns, unsigned *n)
{
	unsigned count = 0;
	int r = 0;

	for (unsigned i = 0; i < list->n; i++) {
		struct pcif *above = pcif_parent(list->entry[i].f);
		struct pcif *physical = pcif_pf(list->entry[i].f);
		struct view_fn *fn = fns[i], *up = NULL, *pf = NULL;

		if (!fn && !r) {
			up = above ? fn_of(fns, count, above) : NULL;
			pf = physical ? fn_of(fns, count, physical) : NULL;
			/* A bridge or PF that has left meanwhile takes this one along. */
			if ((!above || up) && (!physical || pf))
				r = fn_enter(v, &list->entry[i], up, pf, &fn);
		}
		if (fn) {
			fns[count++] = fn;
			if (!r)
				r = fn_bound(fn, list->entry[i].driver);
		}
	}
	*n = count;
	return r;
}

/* Each bus that a bridge leads to, and those that virtual functions are on. */
static int follow_buses(struct view *v)
{
	struct view_pci_bus **at = &v->buses;
	int r = 0;

	for (struct view_pci_bus *b = v->buses; b; b = b->next)
		b->wanted = !b->bridge;
	for (unsigned i = 0; i < v->n_fns && !r; i++) {
		struct view_fn *fn = v->fns[i];
		struct pci_bdf bdf = pcif_bdf(fn->f);
		uint8_t secondary, subordinate;

		pcif_bridge_buses(fn->f, &secondary, &subordinate);
		if (pcif_is_bridge(fn->f) && secondary) {
			r = pci_bus_want(v, fn, fn->dir, fn->path, bdf.domain, secondary);
		}
		if (r || !fn->up)
			continue;
		pcif_bridge_buses(fn->up->f, &secondary, &subordinate);
		if (bdf.bus != secondary)
			r = pci_bus_want(v, fn->up, fn->up->dir, fn->up->path, bdf.domain, bdf.bus);
	}
	while (*at && !r) {
		if ((*at)->wanted)
			at = &(*at)->next;
		else
			pci_bus_leave(v, at);
	}
	return r;
}

int view_follow(struct view *v)
{
	struct bus_list list;
	struct view_fn **fns;
	int r;

	if (bus_generation(v->bus) == atomic_load(&v->seen))
		return 0;
	r = bus_list(v->bus, &list);
	if (r)
		return r;
	fns = calloc(list.n + 1, sizeof(struct view_fn *));
	if (!fns) {
		bus_list_free(&list);
		return -ENOMEM;
	}
	v->failed = false;
	drop_left(v, &list, fns);
	r = add_new(v, &list, fns, &v->n_fns);
	free(v->fns);
	v->fns = fns;
	if (!r)
		r = follow_buses(v);
	if (!r)
		atomic_store(&v->seen, list.generation);
	bus_list_free(&list);
	v->failed = false;
	return r;
}

void view_leave_all(struct view *v)
{
	for (unsigned i = v->n_fns; i-- > 0;)
		fn_leave(v->fns[i]);
	v->n_fns = 0;
	free(v->fns);
	v->fns = NULL;
	while (v->buses)
		pci_bus_leave(v, &v->buses);
	pthread_mutex_lock(&v->lock);
	view_unlock(v);
}
