/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The PCI part of /sys as a tree of nodes. This file makes and ends a view, and answers what the
 * FUSE server asks of names and numbers. view_node.c has the nodes, view_follow.c keeps the tree as
 * the bus is, view_pci.c and view_state.c say what the files of a function are, view_bus.c what
 * those of the bus, its drivers and their modules are.
 *
 * Texts are made at each read from the functions' configuration space and from the bus. Names,
 * modes, texts and errors are those of Linux (drivers/pci/pci-sysfs.c, drivers/base/bus.c,
 * drivers/iommu/iommu.c); docs/sysfs.md names what differs.
 *
 * The host's own PCI devices are nowhere in it.
 */
#include <errno.h>

#include "door/dev/view_priv.h"

/* ------------------------------------------------------------------ host processors */

/*
 * Devices are near every processor of the host. The list is the kernel's own text; the mask has 32
 * bits a group, the highest first, commas between.
 */
static int cpus_read(struct view *v)
{
	long n = sysconf(_SC_NPROCESSORS_CONF);
	unsigned cpus = n > 0 && n < 8192 ? (unsigned)n : 1;
	unsigned groups = (cpus + 31) / 32, bits = cpus % 32 ? cpus % 32 : 32;
	char *p;

	v->cpus = cpus;
	p = v->cpu_mask = malloc(9 * (size_t)groups + 2);
	if (!p || asprintf(&v->cpu_list, cpus > 1 ? "0-%u\n" : "%u\n", cpus - 1) < 0) {
		v->cpu_list = NULL;
		return -ENOMEM;
	}
	p += sprintf(p, "%0*x", (int)((bits + 3) / 4), (unsigned)(BIT64(bits) - 1));
	while (--groups)
		p += sprintf(p, ",ffffffff");
	strcpy(p, "\n");
	return 0;
}

/* ------------------------------------------------------------------ life */

/* What stays, and the functions that are there now. */
static int view_build(struct view *v)
{
	struct view_node *bus, *module, *class;
	int r = cpus_read(v);

	if (r)
		return r;
	v->fixed = true;
	v->root = view_dir(v, NULL, "");
	if (!v->root)
		return -ENOMEM;
	bus = view_dir(v, v->root, "bus-pci");
	v->devices = view_dir(v, v->root, "devices");
	v->groups_dir = view_dir(v, v->root, "iommu_groups");
	module = view_dir(v, v->root, "module");
	class = view_dir(v, v->root, "class");
	v->class_bus = view_dir(v, class, "pci_bus");
	v->class_cdev = view_dir(v, class, "vfio-dev");
	if (v->class_cdev)
		v->class_cdev->cdev = true;
	if (!v->failed)
		r = view_bus_build(v, bus);
	if (!r)
		view_modules_build(v, module);
	if (!r)
		r = view_hosts_build(v);
	v->fixed = false;
	if (r || v->failed)
		return -ENOMEM;
	return view_follow(v);
}

/**
 * view_new() - build the view of a machine that was started.
 * @pci, @vfio: borrowed, must outlive the view
 * Returns 0 or -ENOMEM.
 */
int view_new(struct pcim *pci, struct vfio *vfio, struct view **view)
{
	struct view *v = calloc(1, sizeof(*v));
	int r;

	if (!v)
		return -ENOMEM;
	v->pci = pci;
	v->vfio = vfio;
	v->bus = vfio_bus(vfio);
	pthread_mutex_init(&v->lock, NULL);
	r = view_build(v);
	if (r) {
		view_free(v);
		return r;
	}
	*view = v;
	return 0;
}

void view_free(struct view *view)
{
	if (!view)
		return;
	view_leave_all(view);
	view_remove(view, &view->root);
	free(view->hash);
	free(view->drivers);
	free(view->cpu_list);
	free(view->cpu_mask);
	pthread_mutex_destroy(&view->lock);
	free(view);
}

/* ------------------------------------------------------------------ questions */

/* Up to date and locked, until view_unlock(); or a negative errno and not locked. */
static int look(struct view *v)
{
	int r;

	pthread_mutex_lock(&v->lock);
	r = view_follow(v);
	if (r)
		view_unlock(v);
	return r;
}

static void node_stat(const struct view_node *n, struct view_stat *st)
{
	*st = (struct view_stat){
		.ino = n->ino,
		.size = n->type == VIEW_FILE   ? n->size
			: n->type == VIEW_LINK ? strlen(n->target)
					       : 0,
		.type = n->type,
		.mode = n->mode,
		.fixed = n->fixed,
	};
}

void view_hide_cdevs(struct view *v)
{
	atomic_store(&v->no_cdevs, true);
}

static bool is_hidden(struct view *v, const struct view_node *n)
{
	return n->cdev && atomic_load(&v->no_cdevs);
}

uint64_t view_root_ino(struct view *view)
{
	return view->root->ino;
}

int view_lookup(struct view *v, uint64_t dir, const char *name, struct view_stat *st)
{
	struct view_node *n;
	int r = look(v);

	if (r)
		return r;
	n = view_find(v, dir);
	for (n = n ? n->child : NULL; n && strcmp(n->name, name); n = n->next)
		;
	if (n && is_hidden(v, n))
		n = NULL;
	if (n)
		node_stat(n, st);
	view_unlock(v);
	return n ? 0 : -ENOENT;
}

int view_stat(struct view *v, uint64_t ino, struct view_stat *st)
{
	struct view_node *n;
	int r = look(v);

	if (r)
		return r;
	n = view_find(v, ino);
	if (n)
		node_stat(n, st);
	view_unlock(v);
	return n ? 0 : -ENOENT;
}

int view_readlink(struct view *v, uint64_t ino, char **target)
{
	struct view_node *n;
	int r = look(v);

	if (r)
		return r;
	n = view_find(v, ino);
	if (!n) {
		r = -ENOENT;
	} else if (n->type != VIEW_LINK) {
		r = -EINVAL;
	} else {
		*target = strdup(n->target);
		r = *target ? 0 : -ENOMEM;
	}
	view_unlock(v);
	return r;
}

int view_list(struct view *v, uint64_t dir, uint64_t after,
	      bool (*cb)(void *data, const char *name, uint64_t ino, enum view_type type),
	      void *data)
{
	struct view_node *n;
	int r = look(v);

	if (r)
		return r;
	n = view_find(v, dir);
	if (!n)
		r = -ENOENT;
	for (n = n ? n->child : NULL; n; n = n->next)
		if (n->ino > after && !is_hidden(v, n) && !cb(data, n->name, n->ino, n->type))
			break;
	view_unlock(v);
	return r;
}

int view_open(struct view *v, uint64_t ino, struct view_node **node)
{
	struct view_node *n;
	int r = look(v);

	if (r)
		return r;
	n = view_find(v, ino);
	if (!n) {
		r = -ENOENT;
	} else if (atomic_load(&n->gone)) {
		r = -ENODEV; /* somebody else has it open */
	} else {
		atomic_fetch_add(&n->refs, 1);
		*node = n;
	}
	view_unlock(v);
	return r;
}

bool view_gone(struct view_node *n)
{
	struct view *v = n->view;

	if (!n->fixed && bus_generation(v->bus) != atomic_load(&v->seen) && !look(v))
		view_unlock(v);
	return atomic_load(&n->gone);
}

bool view_group_id(struct view *v, unsigned number, uint64_t *id)
{
	struct view_group *g;

	if (look(v))
		return false;
	for (g = v->groups; g && g->number != number; g = g->next)
		;
	if (g)
		*id = g->id;
	view_unlock(v);
	return g;
}

bool view_group_number(struct view *v, uint64_t id, unsigned *number)
{
	struct view_group *g;

	if (look(v))
		return false;
	for (g = v->groups; g && g->id != id; g = g->next)
		;
	if (g)
		*number = g->number;
	view_unlock(v);
	return g;
}
