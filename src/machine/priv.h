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
};

/* -ENOENT: no such model. */
int machine_device_init(struct machine_device *d, const char *model, struct machine_error *err);
void machine_device_fini(struct machine_device *d); /* allowed after a failed init */
/* -EINVAL: unknown key or bad address; -EEXIST: key given twice; -ENOMEM. */
int machine_device_set(struct machine_device *d, const char *key, const char *value,
		       struct machine_error *err);
/* Chooses an address if none was given, and makes the function. */
int machine_device_make(struct machine *m, struct machine_device *d, struct machine_error *err);

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
	char *name; /* or NULL */
	_Atomic bool started;

	/* The devices that were added. Only the thread that builds the machine. */
	struct machine_place {
		struct pci_bdf bdf;
		char *driver; /* NULL: as the machine has it */
	} * places;
	unsigned n_places, max_places;
	bool host_drivers;

	pthread_mutex_t clients_lock; /* guards what follows */
	struct client *clients;	      /* oldest first */
	unsigned last_client;
};

void clients_fini(struct machine *m); /* clients.c */

/* Writes the text and returns -@errnum. */
int machine_fail(struct machine_error *err, int errnum, const char *fmt, ...) PRINTF_LIKE(3, 4);

#endif
