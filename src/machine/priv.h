/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Declarations that only the files of src/machine share.
 */
#ifndef UVFIO_MACHINE_PRIV_H
#define UVFIO_MACHINE_PRIV_H

#include <pthread.h>

#include "machine/machine.h"

/* Devices of one machine; a limit so that a wrong file ends in an error, not in an empty memory. */
#define MACHINE_MAX_DEVICES 1024

/* ------------------------------------------------------------------ journal (journal.c) */

struct journal;

int journal_new(struct journal **j);
void journal_free(struct journal *j); /* NULL is fine */
/*
 * Adds a copy of @e with the next sequence number and the time of now. A fault that is like one of
 * the newest, at most a second old, is counted there instead. Any thread; short critical section.
 */
void journal_add(struct journal *j, const struct machine_event *e);
unsigned journal_read(struct journal *j, uint64_t after, struct machine_event *out, unsigned max);
void journal_set_cb(struct journal *j, void (*cb)(void *data), void *data);

/* ------------------------------------------------------------------ devices (spec.c) */

/* A device that was described and is not made yet. */
struct machine_device {
	const struct pcif_model *model;
	struct pcif_params *params;
	struct pci_bdf bdf;
	bool has_bdf;
	char *driver; /* key "driver", or NULL */
	/* Only in the tree of a machine file. */
	bool in_tree;
	int devfn; /* key "addr", or -1 */
	int bus;   /* key "bus" of a bridge: the number below it; or -1 */
};

/* -ENOENT: no such model, or, not @in_tree, one of a bridge. */
int machine_device_init(struct machine_device *d, const char *model, bool in_tree,
			struct machine_error *err);
void machine_device_fini(struct machine_device *d); /* allowed after a failed init */
/* -EINVAL: unknown key or bad address; -EEXIST: key given twice; -ENOMEM. */
int machine_device_set(struct machine_device *d, const char *key, const char *value,
		       struct machine_error *err);
/* Makes the function below a port of its own; chooses an address if none was given. */
int machine_device_make(struct machine *m, struct machine_device *d, struct machine_error *err);
/* Makes it at d->bdf, on a bus that is there; @f is borrowed. */
int machine_device_make_on_bus(struct machine *m, struct machine_device *d, struct pcif **f,
			       struct machine_error *err);
bool machine_is_bridge(const struct pcif_model *model);

/* ------------------------------------------------------------------ machine files (json.c) */

/* Levels of bridges below each other. */
#define FILE_MAX_LEVELS 32

/* Where an object stands in the text of a machine file. */
struct file_place {
	const void *object; /* json_t, for the places of its keys */
	unsigned *path;	    /* see where_line() */
	unsigned depth;
};

struct file_device {
	struct file_place place;
	struct machine_device dev;
	struct file_device *below;
	unsigned n_below;
};

struct file_root {
	struct file_place place;
	uint32_t domain;
	uint8_t bus;
	int numa_node;
	struct file_device *below;
	unsigned n_below;
};

struct machine_file;

/* "FILE:LINE: @text", with the line of @key, or of the object if that has no such key. */
int file_fail(struct machine_file *file, const struct file_place *at, const char *key, int errnum,
	      const char *text);
/* tree.c: makes the functions of the @n trees, as the file says. */
int tree_make(struct machine *m, struct machine_file *file, struct file_root *roots, unsigned n);

/* ------------------------------------------------------------------ places in a text (where.c) */

/**
 * where_line() - line, from 1, of a value's beginning in a JSON text.
 * @path: for each level the number, from 0, of the member of an object (its key's line) or of the
 *	element of an array
 * The text must have been accepted by a JSON parser; on any other the answer is some line of it.
 */
unsigned where_line(const char *text, size_t size, const unsigned *path, unsigned depth);

/* ------------------------------------------------------------------ machine.c */

struct machine {
	struct pcim *pci;
	struct bus *bus; /* NULL until started, as is what follows */
	struct vfio *vfio;
	struct journal *journal;
	char *name;    /* or NULL */
	char *sockets; /* the same */
	_Atomic bool started;

	/* The devices that were added. Only the thread that builds the machine. */
	struct machine_place {
		struct pci_bdf bdf;
		char *driver; /* NULL: as the machine has it */
		char *where;  /* "FILE:LINE: ", or NULL */
	} * places;
	unsigned n_places, max_places;
	struct pci_bdf next; /* no place before it is free for a device that gives none */
	bool host_drivers;

	pthread_mutex_t clients_lock; /* guards what follows */
	struct client *clients;	      /* oldest first */
	unsigned last_client;
};

void clients_fini(struct machine *m);	      /* clients.c */
void place_fini(struct machine_place *place); /* spec.c */

/* Writes the text and returns -@errnum. */
int machine_fail(struct machine_error *err, int errnum, const char *fmt, ...) PRINTF_LIKE(3, 4);

#endif
