/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The PCI part of /sys as a tree of nodes: this file makes nodes, directories of functions, buses
 * and isolation groups; view_pci.c says what the files of a function are, view_bus.c what those of
 * the bus, its drivers and their modules are.
 *
 * The tree is built once from the machine's, which does not change either. Nodes are found by inode
 * number in an array, so a FUSE server needs no table of its own. Texts are made at each read from
 * the functions' configuration space. Names, modes, texts and errors are those of Linux (drivers/
 * pci/pci-sysfs.c, drivers/base/bus.c, drivers/iommu/iommu.c); where a file can not do yet what it
 * does there, the write says EOPNOTSUPP.
 *
 * The host's own PCI devices are nowhere in it.
 */
#include <errno.h>
#include <stdarg.h>

#include "door/dev/view_priv.h"

/* ------------------------------------------------------------------ nodes */

static struct view_node *node_add(struct view *v, struct view_node *parent, const char *name,
				  enum view_type type, unsigned mode)
{
	struct view_node *n, **last;

	if (v->failed || (!parent && v->n_nodes))
		return NULL;
	if (v->n_nodes == v->max_nodes) {
		uint64_t max = v->max_nodes ? 2 * v->max_nodes : 256;
		struct view_node **bigger = realloc(v->nodes, max * sizeof(*bigger));

		if (!bigger)
			goto err_failed;
		v->nodes = bigger;
		v->max_nodes = max;
	}
	n = calloc(1, sizeof(*n));
	if (!n)
		goto err_failed;
	n->name = strdup(name);
	if (!n->name) {
		free(n);
		goto err_failed;
	}
	n->type = type;
	n->mode = mode;
	n->parent = parent;
	v->nodes[v->n_nodes++] = n;
	n->ino = v->n_nodes;
	if (parent) {
		for (last = &parent->child; *last; last = &(*last)->next)
			;
		*last = n;
	}
	return n;

err_failed:
	v->failed = true;
	return NULL;
}

struct view_node *view_dir(struct view *v, struct view_node *parent, const char *name)
{
	return node_add(v, parent, name, VIEW_DIR, 0755);
}

struct view_node *view_link(struct view *v, struct view_node *parent, const char *name,
			    const char *target)
{
	struct view_node *n = node_add(v, parent, name, VIEW_LINK, 0777);

	if (!n)
		return NULL;
	n->target = strdup(target);
	if (!n->target)
		v->failed = true;
	return n;
}

struct view_node *view_file(struct view *v, struct view_node *parent, const char *name,
			    unsigned mode, void *data)
{
	struct view_node *n = node_add(v, parent, name, VIEW_FILE, mode);

	if (!n)
		return NULL;
	n->size = VIEW_TEXT_MAX;
	n->data = data;
	return n;
}

void view_attrs(struct view *v, struct view_node *parent, const struct view_attr *attrs, size_t n,
		void *data)
{
	for (size_t i = 0; i < n; i++) {
		struct view_node *file = view_file(v, parent, attrs[i].name, attrs[i].mode, data);

		if (!file)
			return;
		file->read = attrs[i].read;
		file->write = attrs[i].write;
	}
}

static int read_text(struct view_node *node, char **buf, size_t *size)
{
	return view_say(buf, size, "%s", (const char *)node->data);
}

void view_text(struct view *v, struct view_node *parent, const char *name, unsigned mode,
	       const char *text)
{
	struct view_node *file = view_file(v, parent, name, mode, (void *)(uintptr_t)text);

	if (file)
		file->read = read_text;
}

char *view_printf(struct view *v, const char *fmt, ...)
{
	va_list ap;
	char *s;

	va_start(ap, fmt);
	if (vasprintf(&s, fmt, ap) < 0) {
		v->failed = true;
		s = NULL;
	}
	va_end(ap);
	return s;
}

void view_link_path(struct view *v, struct view_node *parent, const char *name, const char *from,
		    const char *to)
{
	char target[512] = "";
	size_t n = 0;

	if (!from || !to)
		return;
	/* One "../" for each directory on the way up to /sys. */
	for (const char *p = from; p && n + 4 < sizeof(target); p = strchr(p, '/')) {
		n += (size_t)snprintf(target + n, sizeof(target) - n, "../");
		p += *p == '/';
	}
	snprintf(target + n, sizeof(target) - n, "%s", to);
	view_link(v, parent, name, target);
}

/* ------------------------------------------------------------------ readers and writers */

int view_say(char **buf, size_t *size, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(buf, fmt, ap);
	va_end(ap);
	if (n < 0)
		return -ENOMEM;
	*size = (size_t)n;
	return 0;
}

int view_word(const char *buf, size_t size, char **word)
{
	size_t n = 0;

	if (size >= VIEW_TEXT_MAX)
		return -EINVAL;
	while (n < size && buf[n] && buf[n] != '\n')
		n++;
	*word = strndup(buf, n);
	return *word ? 0 : -ENOMEM;
}

int view_number(const char *buf, size_t size, unsigned long *value)
{
	AUTO_FREE char *word = NULL;
	unsigned long v;
	char *end;
	int r = view_word(buf, size, &word);

	if (r)
		return r;
	if (word[0] < '0' || word[0] > '9')
		return -EINVAL;
	errno = 0;
	v = strtoul(word, &end, 0);
	if (errno || *end)
		return -EINVAL;
	*value = v;
	return 0;
}

/*
 * A client asks for an event (`udevadm trigger`). There is nobody to send one to: netlink events
 * come from the kernel only. The word is checked as kobject_synth_uevent() does.
 */
int view_write_uevent(struct view_node *node, const char *buf, size_t size)
{
	static const char *const actions[] = { "add",	 "remove",  "change", "move",
					       "online", "offline", "bind",   "unbind" };
	AUTO_FREE char *word = NULL;
	int r = view_word(buf, size, &word);

	if (r)
		return r;
	word[strcspn(word, " ")] = 0;
	for (size_t i = 0; i < ARRAY_SIZE(actions); i++)
		if (!strcmp(actions[i], word))
			return 0;
	return -EINVAL;
}

/* Every function is there already, so that a scan finds nothing new. */
int view_write_rescan(struct view_node *node, const char *buf, size_t size)
{
	unsigned long value;

	return view_number(buf, size, &value);
}

static int read_empty(struct view_node *node, char **buf, size_t *size)
{
	return view_say(buf, size, "%s", "");
}

/* ------------------------------------------------------------------ parts that repeat */

static const struct view_attr empty_uevent[] = {
	{ "uevent", 0644, read_empty, view_write_uevent },
};

/* What was written is remembered, in the node itself; nothing here ever sleeps. */
static const char power_on[] = "on\n", power_auto[] = "auto\n";

static int read_control(struct view_node *node, char **buf, size_t *size)
{
	return view_say(buf, size, "%s",
			(const char *)__atomic_load_n(&node->data, __ATOMIC_RELAXED));
}

static int write_control(struct view_node *node, const char *buf, size_t size)
{
	AUTO_FREE char *word = NULL;
	const char *text = power_on;
	int r = view_word(buf, size, &word);

	if (r)
		return r;
	if (!strcmp(word, "auto"))
		text = power_auto;
	else if (strcmp(word, "on"))
		return -EINVAL;
	__atomic_store_n(&node->data, (void *)(uintptr_t)text, __ATOMIC_RELAXED);
	return 0;
}

static const struct view_attr power_attrs[] = {
	{ "control", 0644, read_control, write_control },
};

void view_power(struct view *v, struct view_node *parent)
{
	struct view_node *dir = view_dir(v, parent, "power");

	view_attrs(v, dir, power_attrs, ARRAY_SIZE(power_attrs), (void *)(uintptr_t)power_on);
	view_text(v, dir, "runtime_status", 0444, "active\n");
	view_text(v, dir, "runtime_active_time", 0444, "0\n");
	view_text(v, dir, "runtime_suspended_time", 0444, "0\n");
}

void view_pci_bus(struct view *v, struct view_node *parent, const char *path, uint32_t domain,
		  unsigned bus)
{
	static const struct view_attr rescan[] = {
		{ "rescan", 0200, NULL, view_write_rescan },
	};
	struct view_node *dir;
	AUTO_FREE char *at = NULL, *target = NULL;
	char name[16];

	snprintf(name, sizeof(name), "%04x:%02x", domain, bus);
	at = view_printf(v, "%s/pci_bus/%s", path, name);
	target = view_printf(v, "../../%s/pci_bus/%s", path, name);
	if (!at || !target)
		return;
	dir = view_dir(v, view_dir(v, parent, "pci_bus"), name);
	view_text(v, dir, "cpuaffinity", 0444, v->cpu_mask);
	view_text(v, dir, "cpulistaffinity", 0444, v->cpu_list);
	view_attrs(v, dir, rescan, ARRAY_SIZE(rescan), NULL);
	view_attrs(v, dir, empty_uevent, ARRAY_SIZE(empty_uevent), NULL);
	view_power(v, dir);
	view_link_path(v, dir, "device", at, path);
	view_link_path(v, dir, "subsystem", at, "class/pci_bus");

	view_link(v, v->class_bus, name, target);
}

/* ------------------------------------------------------------------ functions */

static struct view_fn *fn_find(struct view *v, const struct pcif *f)
{
	for (unsigned i = 0; i < v->n_fns; i++)
		if (v->fns[i].f == f)
			return &v->fns[i];
	return NULL;
}

/* The directory of a host bridge, pciDDDD:BB, made when the first of its functions needs it. */
static struct view_node *host_dir(struct view *v, struct view_node *devices, const struct pcif *f)
{
	uint32_t domain = pcif_bdf(f).domain;
	AUTO_FREE char *path = NULL;
	struct view_node *dir;
	char name[24];

	snprintf(name, sizeof(name), "pci%04x:%02x", domain, pcif_root_bus(f));
	for (dir = devices->child; dir; dir = dir->next)
		if (!strcmp(dir->name, name))
			return dir;
	path = view_printf(v, "devices/%s", name);
	dir = view_dir(v, devices, name);
	if (!dir || !path)
		return NULL;
	view_attrs(v, dir, empty_uevent, ARRAY_SIZE(empty_uevent), NULL);
	view_power(v, dir);
	view_pci_bus(v, dir, path, domain, pcif_root_bus(f));
	return dir;
}

/* Makes the directory of @fn and those above it. */
static void fn_build(struct view_fn *fn, struct view_node *devices)
{
	struct pcif *above = pcif_parent(fn->f);
	struct view *v = fn->view;
	struct view_fn *up = above ? fn_find(v, above) : NULL;
	struct view_node *parent;

	if (fn->dir || v->failed)
		return;
	if (up) {
		fn_build(up, devices);
		parent = up->dir;
		fn->path = view_printf(v, "%s/%s", up->path, fn->name);
	} else {
		parent = host_dir(v, devices, fn->f);
		fn->path = parent ? view_printf(v, "devices/%s/%s", parent->name, fn->name) : NULL;
	}
	fn->dir = view_dir(v, parent, fn->name);
	if (fn->dir && fn->path)
		view_fn_files(fn);
}

static int fns_build(struct view *v, struct view_node *devices)
{
	v->n_fns = pcim_count(v->pci);
	v->fns = calloc(v->n_fns + 1, sizeof(*v->fns));
	if (!v->fns)
		return -ENOMEM;
	for (unsigned i = 0; i < v->n_fns; i++) {
		struct view_fn *fn = &v->fns[i];

		fn->view = v;
		fn->f = pcim_function(v->pci, i);
		fn->driver = &v->drivers[pcif_is_bridge(fn->f)];
		pcif_bdf_format(pcif_bdf(fn->f), fn->name);
		view_fn_init(fn);
	}
	for (unsigned i = 0; i < v->n_fns; i++)
		fn_build(&v->fns[i], devices);
	return 0;
}

/* ------------------------------------------------------------------ isolation groups */

/*
 * The type is that of the group's default domain, which VFIO's ownership does not change; it can
 * not be changed while drivers are bound.
 */
static int write_group_type(struct view_node *node, const char *buf, size_t size)
{
	AUTO_FREE char *word = NULL;
	int r = view_word(buf, size, &word);

	if (r)
		return r;
	if (!strcmp(word, "DMA-FQ"))
		return 0;
	return !strcmp(word, "identity") || !strcmp(word, "DMA") || !strcmp(word, "auto") ? -EBUSY
											  : -EINVAL;
}

static int read_group_type(struct view_node *node, char **buf, size_t *size)
{
	return view_say(buf, size, "DMA-FQ\n");
}

static int read_reserved_regions(struct view_node *node, char **buf, size_t *size)
{
	return view_say(buf, size, "0x%016llx 0x%016llx msi\n", IOMMU_MSI_FIRST, IOMMU_MSI_LAST);
}

static void groups_build(struct view *v, struct view_node *groups)
{
	static const struct view_attr attrs[] = {
		{ "reserved_regions", 0444, read_reserved_regions, NULL },
		{ "type", 0644, read_group_type, write_group_type },
	};

	for (unsigned g = 0; g < pcim_group_count(v->pci); g++) {
		struct view_node *dir, *devices;
		char name[16], from[64];

		snprintf(name, sizeof(name), "%u", g);
		snprintf(from, sizeof(from), "kernel/iommu_groups/%u/devices", g);
		dir = view_dir(v, groups, name);
		devices = view_dir(v, dir, "devices");
		view_attrs(v, dir, attrs, ARRAY_SIZE(attrs), NULL);
		for (unsigned i = 0; i < v->n_fns; i++)
			if (pcif_group(v->fns[i].f) == g)
				view_link_path(v, devices, v->fns[i].name, from, v->fns[i].path);
	}
}

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

/* ------------------------------------------------------------------ the view */

static int view_build(struct view *v)
{
	struct view_node *root, *bus, *devices, *groups, *module;
	int r;

	root = node_add(v, NULL, "", VIEW_DIR, 0755);
	bus = view_dir(v, root, "bus-pci");
	devices = view_dir(v, root, "devices");
	groups = view_dir(v, root, "iommu_groups");
	module = view_dir(v, root, "module");
	v->class_bus = view_dir(v, view_dir(v, root, "class"), "pci_bus");
	if (v->failed)
		return -ENOMEM;
	r = cpus_read(v);
	if (!r)
		r = fns_build(v, devices);
	if (r)
		return r;
	groups_build(v, groups);
	view_bus_build(v, bus);
	view_modules_build(v, module);
	return v->failed ? -ENOMEM : 0;
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
	v->autoprobe = true;
	v->drivers[false] = (struct view_driver){ .view = v, .name = "vfio-pci" };
	v->drivers[true] = (struct view_driver){ .view = v, .name = "pcieport", .ports = true };
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
	for (uint64_t i = 0; i < view->n_nodes; i++) {
		free((char *)(uintptr_t)view->nodes[i]->name);
		free((char *)(uintptr_t)view->nodes[i]->target);
		free(view->nodes[i]);
	}
	free(view->nodes);
	for (unsigned i = 0; view->fns && i < view->n_fns; i++) {
		free(view->fns[i].path);
		free(view->fns[i].driver_override);
	}
	free(view->fns);
	free(view->cpu_list);
	free(view->cpu_mask);
	pthread_mutex_destroy(&view->lock);
	free(view);
}

struct view_node *view_root(struct view *view)
{
	return view->nodes[0];
}

uint64_t view_count(const struct view *view)
{
	return view->n_nodes;
}

struct view_node *view_by_ino(struct view *view, uint64_t ino)
{
	return ino && ino <= view->n_nodes ? view->nodes[ino - 1] : NULL;
}
