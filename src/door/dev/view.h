/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * view: what the machine looks like under /sys, as a tree of nodes that the FUSE server shows.
 *
 * The tree's shape and its inode numbers do not change while a view exists; what its files say is
 * computed at each read. The root's children are
 *   bus-pci       what /sys/bus/pci is (nothing of the host's is shown there)
 *   devices       holds the pciDDDD:BB directories that go into /sys/devices
 *   iommu_groups  what /sys/kernel/iommu_groups is
 *   module        directories that go into /sys/module
 *   class         directories that go into /sys/class
 */
#ifndef UVFIO_DOOR_DEV_VIEW_H
#define UVFIO_DOOR_DEV_VIEW_H

#include "base/base.h"
#include "pci/pci.h"
#include "vfio/vfio.h"

struct view;

enum view_type { VIEW_DIR, VIEW_FILE, VIEW_LINK };

/*
 * Callbacks run on any thread, several at once; return a negative errno on failure. A file has
 * either @read (whole content) or @pread (binary, by offset); where both @read and @pread are NULL
 * the file cannot be read, where both @write and @pwrite are NULL it cannot be written.
 */
struct view_node {
	const char *name; /* "" for the root */
	enum view_type type;
	unsigned mode;				 /* permission bits, 0444 */
	const char *target;			 /* VIEW_LINK: relative, as sysfs has it */
	struct view_node *parent, *child, *next; /* first child; next of the same parent */
	uint64_t ino;  /* 1 for the root; unique, small, dense: below view_count() + 1 */
	uint64_t size; /* what stat says of a file: 4096, or a binary file's size */
	int (*read)(struct view_node *node, char **buf, size_t *size); /* *@buf malloc'ed */
	ssize_t (*pread)(struct view_node *node, void *buf, size_t size, uint64_t offset);
	ssize_t (*pwrite)(struct view_node *node, const void *buf, size_t size, uint64_t offset);
	int (*write)(struct view_node *node, const char *buf, size_t size); /* one write(2) */
	void *data;
};

/* Both must outlive the view. 0, -ENOMEM. */
int view_new(struct pcim *pci, struct vfio *vfio, struct view **view);
void view_free(struct view *view); /* NULL is fine */
struct view_node *view_root(struct view *view);
uint64_t view_count(const struct view *view);			/* nodes, root included */
struct view_node *view_by_ino(struct view *view, uint64_t ino); /* NULL: no such node */

#endif
