/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Somebody who writes anything into any file of /sys, in any order, with files of it and of VFIO
 * open and closed in between. Bytes become such a sequence; a part of them chooses among words that
 * mean something, so that the machine does change.
 *
 * Held, at the end and whenever the input asks: every link leads somewhere, every function that the
 * bus knows is shown once, with its driver; nothing is left of what has gone. Nobody waits here:
 * what would is given up at once.
 */
#include "../unit/vfio_client.h"
#include "door/dev/view.h"

#define SLOTS 8
#define OBJECTS 6
#define CHECKS 6 /* they take most of the time */
#define PATH_LENGTH 512

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
	const uint8_t *p;
	size_t left;
};

struct world {
	struct fixture x;
	struct view *view, *other;
	struct view_node *open[SLOTS];
	struct vfio_obj *obj[OBJECTS];
	unsigned checks;
};

static const atomic_bool at_once = true;

static uint64_t take(struct input *in, unsigned n)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < n && in->left; i++, in->p++, in->left--)
		v |= (uint64_t)*in->p << (8 * i);
	return v;
}

static void need(bool ok)
{
	must_hold(ok, "see the stack");
}

/* ------------------------------------------------------------------ paths */

static const struct {
	const char *name, *path;
} places[] = {
	{ "bus-pci", "bus/pci" }, { "devices", "devices" },
	{ "module", "module" },	  { "iommu_groups", "kernel/iommu_groups" },
	{ "class", "class" },
};

/* 0: nothing there. */
static uint64_t ino_of(struct view *v, const char *path)
{
	struct view_stat st = { .ino = view_root_ino(v) };
	char name[256];

	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		size_t len = strlen(places[i].path);

		if (strncmp(path, places[i].path, len) || (path[len] && path[len] != '/'))
			continue;
		if (view_lookup(v, st.ino, places[i].name, &st))
			return 0;
		for (path += len; *path == '/'; path += strcspn(path, "/")) {
			snprintf(name, sizeof(name), "%.*s", (int)strcspn(path + 1, "/"), path + 1);
			path++;
			if (view_lookup(v, st.ino, name, &st))
				return 0;
		}
		return st.ino;
	}
	return 0;
}

/* The path that the link at @path leads to; false: there is no link. */
static bool follow(struct view *v, const char *path, char out[PATH_LENGTH])
{
	uint64_t ino = ino_of(v, path);
	const char *rest;
	char *target;

	if (!ino || view_readlink(v, ino, &target))
		return false;
	snprintf(out, PATH_LENGTH, "%s", path);
	*strrchr(out, '/') = 0;
	for (rest = target; !strncmp(rest, "../", 3); rest += 3) {
		char *slash = strrchr(out, '/');

		need(out[0]);
		*(slash ? slash : out) = 0;
	}
	snprintf(out + strlen(out), PATH_LENGTH - strlen(out), "%s%s", out[0] ? "/" : "", rest);
	free(target);
	return true;
}

/* ------------------------------------------------------------------ words */

#define FULL_PORT "0000:64:00.0"
#define PF_PORT "0000:67:00.0"
static const char *const functions[] = { FULL, PLAIN, PLAIN2, PF, VF0, VF1, FULL_PORT, PF_PORT };
static const char *const drivers[] = { "vfio-pci", "nvme",	     "igb", "igbvf", "pcieport",
				       "pci-stub", "uio_pci_generic" };
static const char *const function_files[] = {
	"driver_override", "remove",	     "reset",
	"reset_method",	   "enable",	     "sriov_numvfs",
	"rescan",	   "uevent",	     "sriov_drivers_autoprobe",
	"msi_bus",	   "numa_node",	     "power/control",
	"config",	   "d3cold_allowed", "resource1",
};
static const char *const driver_files[] = { "bind", "unbind", "new_id", "remove_id", "uevent" };
static const char *const bus_files[] = { "drivers_probe", "rescan", "drivers_autoprobe",
					 "resource_alignment" };
static const char *const words[] = {
	"",	     "\n",	    "0",
	"1",	     "2\n",	    "8",
	"9",	     "65536",	    "-1",
	"default",   "flr",	    "bus flr\n",
	"pm",	     "on",	    "auto",
	"off",	     "Y",	    "N",
	"add",	     "1234 5678",   "1234 0001",
	"8086 10c9", "8086 10ca\n", "1 2 3 4 5",
	"8086 10",   "x",	    "1 2 3 4 5 6 7",
};

#define PICK(list, in) (list)[take(in, 1) % ARRAY_SIZE(list)]

/* A file that means something. */
static void pick_path(struct world *w, struct input *in, char out[PATH_LENGTH])
{
	char link[128];

	switch (take(in, 1) % 4) {
	case 0:
		snprintf(out, PATH_LENGTH, "bus/pci/%s", PICK(bus_files, in));
		return;
	case 1:
		snprintf(link, sizeof(link), "bus/pci/drivers/%s", PICK(drivers, in));
		snprintf(out, PATH_LENGTH, "%s/%s", link, PICK(driver_files, in));
		return;
	case 2:
		snprintf(out, PATH_LENGTH, "module/vfio_pci/parameters/enable_sriov");
		return;
	default:
		snprintf(link, sizeof(link), "bus/pci/devices/%s", PICK(functions, in));
		if (!follow(w->view, link, out))
			out[0] = 0;
		snprintf(out + strlen(out), PATH_LENGTH - strlen(out), "/%s",
			 PICK(function_files, in));
	}
}

/* Words that mean something, or any bytes. */
static size_t pick_text(struct input *in, char out[4096])
{
	size_t n = 0;

	switch (take(in, 1) % 5) {
	case 0:
		return (size_t)snprintf(out, 4096, "%s", PICK(functions, in));
	case 1:
		return (size_t)snprintf(out, 4096, "%s", PICK(drivers, in));
	case 2:
		n = 1 + take(in, 1) % 40;
		for (size_t i = 0; i < n; i++)
			out[i] = (char)take(in, 1);
		return n;
	case 3:
		n = 4096 - take(in, 1) % 4;
		memset(out, 'a' + (int)(take(in, 1) % 26), n);
		return n;
	default:
		return (size_t)snprintf(out, 4096, "%s", PICK(words, in));
	}
}

/* ------------------------------------------------------------------ files of /sys */

static void write_node(struct view_node *n, struct input *in)
{
	char *text = malloc(4096);
	size_t size = text ? pick_text(in, text) : 0;
	uint64_t offset = take(in, 2);
	char *exact = malloc(size ? size : 1); /* so that what is read past it is seen */
	ssize_t r = 0;

	need(text && exact);
	memcpy(exact, text, size);
	if (view_gone(n))
		r = -ENODEV;
	else if (n->pwrite)
		r = n->pwrite(n, exact, size, offset);
	else if (n->act)
		r = n->act(n, exact, size, &at_once);
	else if (n->write)
		r = n->write(n, exact, size);
	need(r <= (ssize_t)size);
	free(exact);
	free(text);
}

static void read_node(struct view_node *n, struct input *in)
{
	uint64_t offset = take(in, 2);
	size_t size = take(in, 1);
	char *buf = NULL;

	if (view_gone(n)) {
		return;
	} else if (n->pread) {
		buf = malloc(size ? size : 1);
		need(buf && n->pread(n, buf, size, offset) <= (ssize_t)size);
	} else if (n->read && !n->read(n, &buf, &size)) {
		need(size < 4096 && strlen(buf) == size);
	}
	free(buf);
}

static void write_somewhere(struct world *w, struct input *in)
{
	struct view_node *n;
	char path[PATH_LENGTH];
	uint64_t ino;

	if (take(in, 1) % 8) {
		pick_path(w, in, path);
		ino = ino_of(w->view, path);
	} else {
		ino = take(in, 2);
	}
	if (!ino || view_open(w->view, ino, &n))
		return;
	write_node(n, in);
	view_put(n);
}

static void open_node(struct world *w, struct input *in)
{
	struct view_node **slot = &w->open[take(in, 1) % SLOTS];
	char path[PATH_LENGTH];
	uint64_t ino = take(in, 2);

	if (ino & 1) {
		pick_path(w, in, path);
		ino = ino_of(w->view, path);
	}
	view_put(*slot);
	if (view_open(w->view, ino, slot))
		*slot = NULL;
}

/* ------------------------------------------------------------------ files of VFIO */

static void keep(struct world *w, uint64_t n, struct vfio_obj *obj)
{
	vfio_obj_put(w->obj[n % OBJECTS]);
	w->obj[n % OBJECTS] = obj;
}

/* The whole way to a device of @name, as far as it goes. */
static void open_device(struct world *w, struct input *in)
{
	const char *name = PICK(functions, in);
	struct pcif *f = find(&w->x, name);
	struct vfio_obj *group, *container, *device = NULL;
	uint64_t at = take(in, 1);

	if (!f || vfio_open_group(w->x.v, pcif_group(f), &group))
		return;
	need(!vfio_open_container(w->x.v, &container));
	if (!request_container(&w->x.client, group, container) &&
	    !request_value(&w->x.client, container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU))
		(void)request_device(&w->x.client, group, name, &device);
	keep(w, at, device);
	keep(w, at + 1, group);
	keep(w, at + 2, container);
}

/* ------------------------------------------------------------------ what must hold */

struct look {
	struct world *w;
	struct view *v;
	uint64_t dir;
	const char *path;
	unsigned functions; /* directories of them */
};

static bool look_at(void *data, const char *name, uint64_t ino, enum view_type type);

/* Nothing changes meanwhile, so that the lock of the view is not missed. */
static void look_into(struct look *l)
{
	uint64_t entries[1024];
	uint64_t list[2] = { (uintptr_t)entries, 0 };

	need(!view_list(l->v, l->dir, 0, look_at, list));
	for (uint64_t i = 0; i < list[1]; i++) {
		struct look sub = { l->w, l->v, entries[i], NULL, 0 };
		char path[PATH_LENGTH], target[PATH_LENGTH];
		struct view_node *n;
		const char *name;
		struct pci_bdf bdf;

		need(!view_open(l->v, entries[i], &n));
		name = n->name;
		for (size_t p = 0; !l->path && p < ARRAY_SIZE(places); p++)
			if (!strcmp(places[p].name, n->name))
				name = places[p].path;
		snprintf(path, sizeof(path), "%s%s%s", l->path ? l->path : "", l->path ? "/" : "",
			 name);
		sub.path = path;
		if (n->type == VIEW_DIR) {
			l->functions +=
				!strncmp(path, "devices/", 8) && !pcif_bdf_parse(n->name, &bdf);
			look_into(&sub);
		} else if (n->type == VIEW_LINK) {
			need(follow(l->v, path, target));
			need(ino_of(l->v, target));
		}
		l->functions += sub.functions;
		view_put(n);
	}
}

static bool look_at(void *data, const char *name, uint64_t ino, enum view_type type)
{
	uint64_t *list = data;

	need(list[1] < 1024);
	((uint64_t *)(uintptr_t)list[0])[list[1]++] = ino;
	return true;
}

static void check(struct world *w, struct view *v)
{
	struct look l = { w, v, view_root_ino(v), NULL, 0 };
	struct bus_list list;

	look_into(&l);
	need(!bus_list(w->x.bus, &list));
	need(l.functions == list.n);
	for (unsigned i = 0; i < list.n; i++) {
		const struct bus_driver *d = list.entry[i].driver;
		char path[PATH_LENGTH], target[PATH_LENGTH];

		snprintf(path, sizeof(path), "bus/pci/devices/%s", pcif_name(list.entry[i].f));
		need(follow(v, path, target));
		strcat(target, "/driver");
		need(follow(v, target, path) == !!d);
		need(!d || !strcmp(strrchr(path, '/') + 1, d->name));
	}
	bus_list_free(&list);
}

/* ------------------------------------------------------------------ a run */

static void step(struct world *w, struct input *in)
{
	struct view_node *n;

	switch (take(in, 1) % 12) {
	default:
		write_somewhere(w, in);
		break;
	case 5:
		open_node(w, in);
		break;
	case 6:
	case 7:
		n = w->open[take(in, 1) % SLOTS];
		if (n && take(in, 1) % 2)
			write_node(n, in);
		else if (n)
			read_node(n, in);
		break;
	case 8:
		open_device(w, in);
		break;
	case 9:
		keep(w, take(in, 1), NULL);
		break;
	case 10:
		if (w->checks++ < CHECKS)
			check(w, w->view);
		break;
	case 11:
		if (w->checks++ >= CHECKS)
			break;
		if (w->other)
			check(w, w->other);
		view_free(w->other);
		w->other = NULL;
		need(view_new(w->x.pci, w->x.v, &w->other) == 0);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct place list[] = {
		{ FULL, &full_model },
		{ PLAIN, &plain_model },
		{ PLAIN2, &plain_model },
		{ PF, &pf_model },
	};
	struct input in = { data, size };
	struct world w = { 0 };

	log_set_level(LOG_ERROR);
	need(!fixture_open(&w.x, list, ARRAY_SIZE(list), UVF_PAGE_SIZE));
	need(!view_new(w.x.pci, w.x.v, &w.view));
	while (in.left)
		step(&w, &in);
	check(&w, w.view);
	for (unsigned i = 0; i < OBJECTS; i++)
		vfio_obj_put(w.obj[i]);
	for (unsigned i = 0; i < SLOTS; i++)
		view_put(w.open[i]);
	view_free(w.other);
	view_free(w.view);
	need(fixture_close(&w.x));
	return 0;
}
