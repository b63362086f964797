/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the files of the sysfs view share: the nodes' allocation, the objects behind nodes, and
 * small readers and writers.
 */
#ifndef UVFIO_DOOR_DEV_VIEW_PRIV_H
#define UVFIO_DOOR_DEV_VIEW_PRIV_H

#include <pthread.h>

#include "door/dev/view.h"

/* One write(2) to a sysfs file is at most a page, and so is what a text file says. */
#define VIEW_TEXT_MAX 4096u
#define VIEW_BUS_DRIVERS 2

struct view_fn;

/* Identifiers that a client added to a driver by new_id. */
struct view_id {
	uint32_t vendor, device, subvendor, subdevice, class_code, class_mask;
};

struct view_driver {
	struct view *view;
	const char *name;
	bool ports; /* the driver of bridges; else that of endpoints */
	struct view_id ids[64];
	unsigned n_ids;
};

/* A function's directory. */
struct view_fn {
	struct view *view;
	struct pcif *f;
	struct view_node *dir;
	char *path; /* from /sys on: "devices/pci0000:64/0000:64:00.0" */
	char name[PCI_BDF_STRLEN];
	struct view_driver *driver;
	char *driver_override;	/* NULL: none */
	unsigned reset_methods; /* enabled, bits as in view_pci.c */
	bool broken_parity, d3cold_allowed;
};

struct view {
	struct pcim *pci;
	struct vfio *vfio;

	struct view_node **nodes; /* by inode number - 1 */
	uint64_t n_nodes, max_nodes;
	struct view_node *class_bus; /* class/pci_bus */
	bool failed;		     /* an allocation failed while the tree was built */

	struct view_fn *fns;
	unsigned n_fns;
	struct view_driver drivers[VIEW_BUS_DRIVERS];
	char *cpu_list, *cpu_mask; /* of the host, as local_cpulist and local_cpus say it */

	/*
	 * Guards what clients can change: driver_override, reset_methods, broken_parity,
	 * d3cold_allowed, ids and n_ids, autoprobe. Leaf lock.
	 */
	pthread_mutex_t lock;
	bool autoprobe;
};

/* ------------------------------------------------------------------ nodes (view.c) */

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
};
void view_attrs(struct view *v, struct view_node *parent, const struct view_attr *attrs, size_t n,
		void *data);
/* A file that always says the same; @text is not copied. */
void view_text(struct view *v, struct view_node *parent, const char *name, unsigned mode,
	       const char *text);

/* Link from a directory at @from (a path below /sys) to @to (another). */
void view_link_path(struct view *v, struct view_node *parent, const char *name, const char *from,
		    const char *to);
char *view_printf(struct view *v, const char *fmt, ...) PRINTF_LIKE(2, 3); /* NULL: failed */

/* A directory power/ as an unmanaged device has it. */
void view_power(struct view *v, struct view_node *parent);
/* pci_bus/DDDD:BB below the device at @path that leads to the bus; and its link in class. */
void view_pci_bus(struct view *v, struct view_node *parent, const char *path, uint32_t domain,
		  unsigned bus);

/* ------------------------------------------------------------------ readers and writers */

int view_say(char **buf, size_t *size, const char *fmt, ...) PRINTF_LIKE(3, 4);
/*
 * What was written as a string: up to the first newline or NUL, at most a page. -EINVAL if longer.
 */
int view_word(const char *buf, size_t size, char **word); /* malloc'ed */
/* Linux kstrtoul(): decimal, 0x or 0; one newline may follow. -EINVAL. */
int view_number(const char *buf, size_t size, unsigned long *value);
int view_write_uevent(struct view_node *node, const char *buf, size_t size);
int view_write_rescan(struct view_node *node, const char *buf, size_t size);

/* ------------------------------------------------------------------ parts of the tree */

/* view_pci.c: the files of a function. */
void view_fn_init(struct view_fn *fn);
void view_fn_files(struct view_fn *fn);
/* view_bus.c: bus-pci, module. */
void view_bus_build(struct view *v, struct view_node *bus);
void view_modules_build(struct view *v, struct view_node *module);

#endif
