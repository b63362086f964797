/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the tests of the view share: a machine of a few functions, and ways to look at its /sys by
 * path, as a FUSE server would.
 */
#ifndef UVFIO_TEST_VIEW_FIXTURE_H
#define UVFIO_TEST_VIEW_FIXTURE_H

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <linux/vfio.h>

#include "door/dev/view.h"
#include "fds.h"

/* ------------------------------------------------------------------ a machine */

static int blank_create(struct pcif *f, const struct pcif_params *params, struct pcif_desc *desc,
			void **state, struct pcif_reply_error *err)
{
	desc->vendor = 0x1b36;
	desc->device = 0x0010;
	desc->subsystem_vendor = 0x1af4;
	desc->subsystem_device = 0x1100;
	desc->class_code = 0x010802;
	desc->revision = 2;
	desc->bars[0] = (struct pcif_bar){ .type = PCIF_BAR_MEM64, .size = KIB(16) };
	desc->bars[2] = (struct pcif_bar){ .type = PCIF_BAR_MEM32, .size = KIB(4) };
	desc->bars[3] = (struct pcif_bar){ .type = PCIF_BAR_IO, .size = 32 };
	desc->intx_pin = 1;
	desc->msix_vectors = 4;
	desc->msix_bar = 0;
	desc->msix_table_offset = 0x2000;
	desc->msix_pba_offset = 0x3000;
	desc->pcie = desc->pm = desc->aer = true;
	*state = f;
	return 0;
}

static void blank_destroy(void *state) {}

static uint64_t blank_read(void *state, unsigned bar, uint64_t offset, unsigned size)
{
	return 0x40 + offset;
}

static void blank_write(void *state, unsigned bar, uint64_t offset, unsigned size, uint64_t value)
{
}

static void blank_reset(void *state) {}

static const struct pcif_model blank = {
	.name = "blank",
	.summary = "a function without behaviour",
	.create = blank_create,
	.destroy = blank_destroy,
	.bar_read = blank_read,
	.bar_write = blank_write,
	.reset = blank_reset,
};

/* The same with VFs. */
static int pf_create(struct pcif *f, const struct pcif_params *params, struct pcif_desc *desc,
		     void **state, struct pcif_reply_error *err)
{
	int r = blank_create(f, params, desc, state, err);

	desc->sriov = (struct pcif_sriov){
		.total_vfs = 256,
		.vf_device = 0x0011,
		.first_offset = 1,
		.stride = 1,
		.bars = { [0] = { .type = PCIF_BAR_MEM64, .size = KIB(16) } },
	};
	return r;
}

static int pf_create_vf(struct pcif *f, void *pf_state, unsigned index, struct pcif_desc *desc,
			void **state, struct pcif_reply_error *err)
{
	desc->msix_vectors = 2;
	desc->msix_table_offset = 0x2000;
	desc->msix_pba_offset = 0x3000;
	*state = f;
	return 0;
}

static const struct pcif_model physical = {
	.name = "physical",
	.summary = "a function with others",
	.create = pf_create,
	.create_vf = pf_create_vf,
	.destroy = blank_destroy,
	.bar_read = blank_read,
	.bar_write = blank_write,
	.reset = blank_reset,
};

struct fixture {
	unsigned fds;
	struct pcim *pci;
	struct bus *bus;
	struct vfio *vfio;
	struct view *view;
};

static inline void add(struct pcim *pci, const char *at, const struct pcif_model *model)
{
	struct pcif_reply_error err;
	struct pcif_params *params;
	struct pci_bdf bdf;

	assert_int_equal(pcif_bdf_parse(at, &bdf), 0);
	assert_int_equal(pcim_params_new(&params), 0);
	assert_int_equal(pcim_add(pci, bdf, model, params, &err), 0);
	pcim_params_free(params);
}

#define DEV "devices/pci0000:64/0000:64:00.0/0000:65:00.0"
#define PORT "devices/pci0000:64/0000:64:00.0"
#define BDF "0000:65:00.0"
#define PORT_BDF "0000:64:00.0"
#define PF_PORT "devices/pci0000:6f/0000:6f:00.0"
#define PF_BDF "0000:70:00.0"
#define PF PF_PORT "/" PF_BDF

static inline int setup(void **state)
{
	static struct fixture x;

	x.fds = open_fds();
	assert_int_equal(pcim_new(&x.pci), 0);
	add(x.pci, BDF, &blank);
	add(x.pci, PF_BDF, &physical);
	add(x.pci, "0001:67:00.0", &blank);
	add(x.pci, "0001:67:00.1", &blank);
	assert_int_equal(pcim_enumerate(x.pci), 0);
	assert_int_equal(bus_new(x.pci, &x.bus), 0);
	assert_int_equal(vfio_new(x.bus, &x.vfio), 0);
	assert_int_equal(bus_start(x.bus, vfio_pick_endpoints, NULL), 0);
	assert_int_equal(view_new(x.pci, x.vfio, &x.view), 0);
	*state = &x;
	return 0;
}

static inline int teardown(void **state)
{
	struct fixture *x = *state;

	view_free(x->view);
	bus_free(x->bus);
	vfio_free(x->vfio);
	pcim_free(x->pci);
	return x->fds != open_fds();
}

static inline struct pcif *function(struct fixture *x, const char *at)
{
	struct pci_bdf bdf;

	assert_int_equal(pcif_bdf_parse(at, &bdf), 0);
	return pcim_find(x->pci, bdf);
}

/* ------------------------------------------------------------------ paths as in /sys */

/* Where the root's children go. */
static const struct place {
	const char *name, *path;
} places[] = {
	{ "bus-pci", "bus/pci" },
	{ "devices", "devices" },
	{ "iommu_groups", "kernel/iommu_groups" },
	{ "module", "module" },
	{ "class", "class" },
};

/* The number of what is at a path below /sys, without following links; 0: nothing. */
static inline uint64_t ino_of(struct view *v, const char *path)
{
	struct view_stat st = { .ino = view_root_ino(v) };
	char name[256];

	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		size_t len = strlen(places[i].path);

		if (strncmp(path, places[i].path, len) || (path[len] && path[len] != '/'))
			continue;
		if (view_lookup(v, st.ino, places[i].name, &st))
			return 0;
		path += len;
		while (*path == '/') {
			size_t n = strcspn(++path, "/");

			snprintf(name, sizeof(name), "%.*s", (int)n, path);
			if (view_lookup(v, st.ino, name, &st))
				return 0;
			path += n;
		}
		return st.ino;
	}
	return 0;
}

static inline bool exists(struct view *v, const char *path)
{
	return ino_of(v, path);
}

static inline struct view_stat stat_at(struct view *v, const char *path)
{
	struct view_stat st;
	uint64_t ino = ino_of(v, path);

	if (!ino)
		fail_msg("no %s", path);
	assert_int_equal(view_stat(v, ino, &st), 0);
	return st;
}

/* To be put. */
static inline struct view_node *node_at(struct view *v, const char *dir, const char *name)
{
	struct view_node *n;
	char path[512];
	uint64_t ino;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	ino = ino_of(v, path);
	if (!ino)
		fail_msg("no %s", path);
	assert_int_equal(view_open(v, ino, &n), 0);
	return n;
}

/* Where the link at @path leads: its directory's path, shortened by each "../". */
static inline void follow(struct view *v, const char *path, char out[512])
{
	char *target, *rest;
	uint64_t ino = ino_of(v, path);

	if (!ino)
		fail_msg("no %s", path);
	assert_int_equal(view_readlink(v, ino, &target), 0);
	snprintf(out, 512, "%s", path);
	*strrchr(out, '/') = 0;
	for (rest = target; !strncmp(rest, "../", 3); rest += 3) {
		char *slash = strrchr(out, '/');

		assert_true(out[0]); /* above /sys */
		*(slash ? slash : out) = 0;
	}
	if (out[0])
		strcat(out, "/");
	assert_true(strlen(out) + strlen(rest) < 512);
	strcat(out, rest);
	free(target);
}

static inline void assert_link(struct view *v, const char *path, const char *want)
{
	char target[512];

	follow(v, path, target);
	assert_string_equal(target, want);
}

static inline void assert_text(struct view *v, const char *dir, const char *name, const char *text)
{
	struct view_node *n = node_at(v, dir, name);
	size_t size;
	char *buf;

	assert_non_null(n->read);
	assert_int_equal(n->read(n, &buf, &size), 0);
	assert_int_equal(strlen(buf), size);
	assert_string_equal(buf, text);
	free(buf);
	view_put(n);
}

/* As a door does it. */
static inline int node_write(struct view_node *n, const char *text, size_t size,
			     const atomic_bool *cancel)
{
	if (view_gone(n))
		return -ENODEV;
	return n->act ? n->act(n, text, size, cancel) : n->write(n, text, size);
}

static inline int write_to(struct view *v, const char *dir, const char *name, const char *text)
{
	struct view_node *n = node_at(v, dir, name);
	int r;

	assert_true(n->write || n->act);
	r = node_write(n, text, strlen(text), NULL);
	view_put(n);
	return r;
}

/* ------------------------------------------------------------------ all of it */

struct walk {
	struct view *v;
	uint64_t dir, last;
	const char *path;
	unsigned count;
	void (*visit)(struct view *v, struct view_node *n, const char *path);
};

static void walk_tree(struct walk *w);

struct walk_entry {
	uint64_t ino;
	char name[256];
	enum view_type type;
};

static bool walk_one(void *data, const char *name, uint64_t ino, enum view_type type)
{
	struct walk_entry *e = data;

	*e = (struct walk_entry){ .ino = ino, .type = type };
	snprintf(e->name, sizeof(e->name), "%s", name);
	return false;
}

/* Calls w->visit, if there is one, for each node below w->dir, and counts them. */
static void walk_tree(struct walk *w)
{
	struct walk_entry e = { 0 };

	while (!view_list(w->v, w->dir, w->last, walk_one, &e) && e.ino > w->last) {
		struct walk sub = { w->v, e.ino, 0, NULL, 0, w->visit };
		const char *place = e.name;
		struct view_node *n;
		char path[512];

		w->last = e.ino;
		for (size_t i = 0; !w->path && i < ARRAY_SIZE(places); i++)
			if (!strcmp(places[i].name, e.name))
				place = places[i].path;
		snprintf(path, sizeof(path), "%s%s%s", w->path ? w->path : "", w->path ? "/" : "",
			 place);
		sub.path = path;
		assert_int_equal(view_open(w->v, e.ino, &n), 0);
		if (w->visit)
			w->visit(w->v, n, path);
		view_put(n);
		if (e.type == VIEW_DIR)
			walk_tree(&sub);
		w->count += 1 + sub.count;
	}
}

static inline unsigned visit_all(struct view *v, void (*visit)(struct view *v, struct view_node *n,
							       const char *path))
{
	struct walk w = { v, view_root_ino(v), 0, NULL, 0, visit };

	walk_tree(&w);
	return w.count;
}

#endif
