/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * view: what the machine looks like under /sys, as a tree of nodes that the FUSE server shows.
 *
 * The tree follows the bus: each call here first looks whether something has changed there, and
 * brings the tree up to date. What has left is gone with all that is below it; a file of it that is
 * still open says ENODEV. Inode numbers grow and are never used again. The root's children are
 *   bus-pci       what /sys/bus/pci is (nothing of the host's is shown there)
 *   devices       holds the pciDDDD:BB directories that go into /sys/devices
 *   iommu_groups  what /sys/kernel/iommu_groups is
 *   module        directories that go into /sys/module
 *   class         directories that go into /sys/class
 * and they, their children but for those of groups, and whatever else does not depend on functions
 * and what they are bound to, stay while the view exists.
 *
 * Locking: any thread. One lock, short; bus.lock is taken under it.
 */
#ifndef UVFIO_DOOR_DEV_VIEW_H
#define UVFIO_DOOR_DEV_VIEW_H

#include "base/base.h"
#include "pci/pci.h"
#include "vfio/vfio.h"

struct view;
struct view_fn;

enum view_type { VIEW_DIR, VIEW_FILE, VIEW_LINK };

/*
 * Callbacks run on any thread, several at once, without the view's lock; they return a negative
 * errno on failure. A file has either @read (whole content) or @pread (binary, by offset); where
 * both are NULL it cannot be read, and where @write, @act and @pwrite are NULL it cannot be
 * written.
 */
struct view_node {
	const char *name; /* "" for the root */
	enum view_type type;
	bool fixed;	    /* stays while the view exists */
	bool cdev;	    /* hidden by view_hide_cdevs() */
	unsigned mode;	    /* permission bits, 0444 */
	const char *target; /* VIEW_LINK: relative, as sysfs has it */
	uint64_t ino;	    /* 1 for the root */
	uint64_t size;	    /* what stat says of a file: 4096, or a binary file's size */
	int (*read)(struct view_node *node, char **buf, size_t *size); /* *@buf malloc'ed */
	ssize_t (*pread)(struct view_node *node, void *buf, size_t size, uint64_t offset);
	ssize_t (*pwrite)(struct view_node *node, const void *buf, size_t size, uint64_t offset);
	int (*write)(struct view_node *node, const char *buf, size_t size); /* one write(2) */
	/* The same, and may wait for clients: -EINTR once *@cancel is true. */
	int (*act)(struct view_node *node, const char *buf, size_t size, const atomic_bool *cancel);
	void *data;
	struct view *view;
	struct view_fn *fn; /* the function whose directory it is in (a reference), or NULL */

	_Atomic unsigned refs;
	atomic_bool gone;
	/* Under the view's lock. */
	struct view_node *parent, *child, *last_child, *next, *prev, *hash_next;
};

/* All must outlive the view. 0, -ENOMEM. */
int view_new(struct pcim *pci, struct vfio *vfio, struct view **view);
/* Devices have no files of their own here: before anybody looks. */
void view_hide_cdevs(struct view *view);
/* What they say of themselves: one of the numbers that Linux gives out as it goes. */
#define VIEW_CDEV_MAJOR 511u
/* NULL is fine. Nobody has a reference on a node any more. */
void view_free(struct view *view);

/*
 * What is asked of a name or an inode. -ENOENT: not there (any more); -ENOMEM. What has left has
 * attributes while it is open.
 */
struct view_stat {
	uint64_t ino, size; /* size of a link: of its target */
	enum view_type type;
	unsigned mode;
	bool fixed;
};
uint64_t view_root_ino(struct view *view);
int view_lookup(struct view *view, uint64_t dir, const char *name, struct view_stat *st);
int view_stat(struct view *view, uint64_t ino, struct view_stat *st);
/* *@target malloc'ed. -EINVAL: no link. */
int view_readlink(struct view *view, uint64_t ino, char **target);
/* Entries of @dir with a greater number than @after, in order of number, until @cb says false. */
int view_list(struct view *view, uint64_t dir, uint64_t after,
	      bool (*cb)(void *data, const char *name, uint64_t ino, enum view_type type),
	      void *data);

/* A reference, for an open file. -ENODEV: it has left, and is still open elsewhere. */
int view_open(struct view *view, uint64_t ino, struct view_node **node);
void view_put(struct view_node *node); /* NULL is fine */
/* Has it left? To be asked before each of its callbacks. */
bool view_gone(struct view_node *node);

/*
 * Isolation groups: each has an id that no other ever had, whatever its number. False: there is no
 * such group.
 */
bool view_group_id(struct view *view, unsigned number, uint64_t *id);
bool view_group_number(struct view *view, uint64_t id, unsigned *number);

#endif
