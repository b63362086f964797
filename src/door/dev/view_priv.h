/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the files of the view share: the objects behind nodes, making nodes, and small readers and
 * writers.
 */
#ifndef UVFIO_DOOR_DEV_VIEW_PRIV_H
#define UVFIO_DOOR_DEV_VIEW_PRIV_H

#include <pthread.h>

#include "door/dev/view.h"

/* One write(2) to a text file of sysfs is at most a page, and so is what one says. */
#define VIEW_TEXT_MAX 4096u

/* A driver's directory; its nodes have it as their data. */
struct view_driver {
	struct view *view;
	const struct bus_driver *d;
	struct view_node *dir;
};

/* A function's directory. What does not change is set before others see it. */
struct view_fn {
	struct view *view;
	_Atomic unsigned refs; /* the view's, and one of each node */
	struct pcif *f;	       /* a reference */
	uint64_t id;	       /* the bus's */
	char name[PCI_BDF_STRLEN];
	char *path;	    /* from /sys on: "devices/pci0000:64/0000:64:00.0" */
	struct view_fn *up; /* the bridge above, a reference, or NULL */
	struct view_fn *pf; /* of a VF, a reference, or NULL */
	/* Under the view's lock. */
	bool left;
	struct view_fn *next_left;
	struct view_group *group;
	struct view_node *dir;
	struct view_node *of_bus, *of_group, *of_pf; /* links to it elsewhere */
	struct view_driver *driver;		     /* as shown: with these three */
	struct view_node *of_driver, *driver_link, *msi_irqs;
	struct view_node *cdev, *of_cdev; /* vfio-dev, and its link in the class */
	uint64_t cdev_id;
};

struct view_group {
	struct view_group *next;
	unsigned number, members;
	uint64_t id;
	struct view_node *dir, *devices;
};

/* A directory pci_bus/DDDD:BB and its link in the class; below a bridge, or a host bridge. */
struct view_pci_bus {
	struct view_pci_bus *next;
	uint32_t domain;
	uint8_t bus;
	struct view_fn *bridge; /* a reference, or NULL */
	bool wanted;
	struct view_node *dir, *of_class;
};

struct view {
	struct pcim *pci;
	struct vfio *vfio;
	struct bus *bus;
	char *cpu_list, *cpu_mask; /* of the host, as local_cpulist and local_cpus say it */
	unsigned cpus;
	struct view_driver *drivers; /* those of the bus */
	unsigned n_drivers;

	pthread_mutex_t lock; /* guards what follows; bus.lock is taken under it */
	atomic_bool no_cdevs;
	_Atomic uint64_t seen; /* the bus's generation that the tree shows */
	bool failed;	       /* an allocation failed; cleared by who undoes what was made */
	bool fixed;	       /* nodes that are made now stay */
	struct view_node *root, *devices, *groups_dir, *class_bus, *class_cdev, *bus_devices;
	struct view_node **hash; /* by number; a power of two */
	size_t hash_size, n_nodes;
	uint64_t last_ino;
	struct view_fn **fns; /* by address */
	unsigned n_fns;
	struct view_fn *left; /* their last references are put without the lock */
	struct view_group *groups;
	struct view_pci_bus *buses;
};

/* ------------------------------------------------------------------ nodes (view_node.c) */

/* All with the view's lock, or while nobody else has the view. */
struct view_node *view_find(struct view *v, uint64_t ino); /* maybe gone; NULL: no such node */
/* Takes *@node, which may be NULL, out of the tree with all below it; *@node is NULL then. */
void view_remove(struct view *v, struct view_node **node);
/*
 * Each adds a child to @parent and returns it, or NULL after an allocation failed; they take NULL
 * as @parent, so that a tree is built without a check at each step (view->failed tells).
 */
struct view_node *view_dir(struct view *v, struct view_node *parent, const char *name);
struct view_node *view_link(struct view *v, struct view_node *parent, const char *name,
			    const char *target);
struct view_node *view_file(struct view *v, struct view_node *parent, const char *name,
			    unsigned mode, void *data);

/* A file of a directory whose nodes all have the same @data. */
struct view_attr {
	const char *name;
	unsigned mode;
	int (*read)(struct view_node *node, char **buf, size_t *size);
	int (*write)(struct view_node *node, const char *buf, size_t size);
	int (*act)(struct view_node *node, const char *buf, size_t size, const atomic_bool *cancel);
};
void view_attrs(struct view *v, struct view_node *parent, const struct view_attr *attrs, size_t n,
		void *data);
/* A file that always says the same; @text is not copied. */
void view_text(struct view *v, struct view_node *parent, const char *name, unsigned mode,
	       const char *text);

/* Link from a directory at @from (a path below /sys) to @to (another). */
struct view_node *view_link_path(struct view *v, struct view_node *parent, const char *name,
				 const char *from, const char *to);
char *view_printf(struct view *v, const char *fmt, ...) PRINTF_LIKE(2, 3); /* NULL: failed */

/* ------------------------------------------------------------------ readers and writers */

int view_say(char **buf, size_t *size, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* What was written as a string: up to the first newline or NUL. */
int view_word(const char *buf, size_t size, char **word); /* malloc'ed */
/* Linux sysfs_streq(): that text, one newline may follow. */
bool view_same(const char *buf, size_t size, const char *text);
/* Linux kstrtoul(): decimal, 0x or 0; one newline may follow. -EINVAL. */
int view_number(const char *buf, size_t size, unsigned long *value);
/* Linux kstrtobool(). -EINVAL. */
int view_bool(const char *buf, size_t size, bool *value);
int view_write_uevent(struct view_node *node, const char *buf, size_t size);

/* ------------------------------------------------------------------ following (view_follow.c) */

int view_hosts_build(struct view *v); /* 0 or -ENOMEM */
int view_follow(struct view *v);      /* with the view's lock; 0 or -ENOMEM */
void view_unlock(struct view *v);     /* and puts what has left */
void view_leave_all(struct view *v);  /* the end */

/* ------------------------------------------------------------------ functions */

struct view_fn *view_fn_get(struct view_fn *fn);
void view_fn_put(struct view_fn *fn); /* NULL is fine */
static inline struct view_fn *view_fn_of(struct view_node *node)
{
	return node->fn;
}

/* view_pci.c: what a function is. view_state.c: what it does, and can be told. view_sriov.c: its
 * VFs, and what it is one of. */
void view_fn_files(struct view_fn *fn);
void view_state_files(struct view_fn *fn);
void view_sriov_files(struct view_fn *fn);
/* The files that follow from the driver it is bound to now. */
void view_driver_files(struct view_fn *fn);
/* A directory power/ of what is no function. */
void view_power(struct view *v, struct view_node *parent);

/* ------------------------------------------------------------------ parts of the tree */

/* view_vfio.c: vfio-dev and its class. */
void view_cdev_follow(struct view_fn *fn);
void view_cdev_leave(struct view_fn *fn);

/* view_bus.c: bus-pci, module. */
int view_bus_build(struct view *v, struct view_node *bus);
void view_modules_build(struct view *v, struct view_node *module);
int view_act_rescan_fn(struct view_node *node, const char *buf, size_t size,
		       const atomic_bool *cancel);
int view_act_rescan_bus(struct view_node *node, const char *buf, size_t size,
			const atomic_bool *cancel); /* of whose data is view_bus_number() */
void *view_bus_number(unsigned domain, unsigned bus);

#endif
