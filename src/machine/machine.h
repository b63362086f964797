/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * machine: a virtual PCI host made of device SPECs or of a machine file, its VFIO, and its journal
 * of events.
 */
#ifndef UVFIO_MACHINE_H
#define UVFIO_MACHINE_H

#include "base/base.h"
#include "bus/bus.h"
#include "device/device.h"
#include "pci/pci.h"
#include "vfio/vfio.h"

struct machine;

/* A text that names the cause and the remedy, for the person at the terminal. */
struct machine_error {
	char text[512]; /* one line; what a terminal could take for a command is '?' in it */
	char key[24];	/* of the device, that is to blame; empty: none, or not known */
};

/* Keys that a device of any model may have; ends with key NULL. */
extern const struct pcif_option machine_keys[];

int machine_new(struct machine **m);
void machine_free(struct machine *m);
/*
 * "MODEL[,key=value]...": keys are those of every model (machine_keys) and those of the model.
 * ",," in a value is a comma.
 */
int machine_add_spec(struct machine *m, const char *spec, struct machine_error *err);
/* JSON, see man uvfio-machine(5). Errors name file, line and key. */
int machine_add_file(struct machine *m, const char *path, struct machine_error *err);
int machine_add_json(struct machine *m, const char *name, const char *text, size_t size,
		     struct machine_error *err);
/*
 * What becomes of devices that have no key driver=: bound to vfio-pci, which is the default, or to
 * their host driver. Before machine_start().
 */
void machine_use_host_drivers(struct machine *m, bool on);
/* Enumerates the tree and starts VFIO. Nothing can be added later. */
int machine_start(struct machine *m, struct machine_error *err);

/* What watchers and clients call it; NULL: it has no name. Before anybody asks. -ENOMEM. */
int machine_set_name(struct machine *m, const char *name);
const char *machine_name(const struct machine *m);

/* The folder of vfio-user sockets, which a machine file names; NULL: none. -ENOMEM. */
int machine_set_sockets(struct machine *m, const char *dir);
const char *machine_sockets(const struct machine *m);

struct pcim *machine_pci(struct machine *m);
struct bus *machine_bus(struct machine *m);
struct vfio *machine_vfio(struct machine *m);

/* ------------------------------------------------------------------ clients */

#define MACHINE_COMMAND_LEN 16

/* Who uses the machine: a command that a door serves. */
struct machine_client {
	unsigned number; /* from 1, never given twice */
	pid_t pid;
	char command[MACHINE_COMMAND_LEN]; /* name of the program */
	uint64_t since_ns;		   /* CLOCK_REALTIME */
};

/* Both are events. What is not printable in @command becomes '?'. Any thread. -ENOMEM. */
int machine_client_add(struct machine *m, pid_t pid, const char *command, unsigned *number);
void machine_client_remove(struct machine *m, unsigned number);
/* Copies those there are, in order of their numbers, at most @max; returns how many there are. */
unsigned machine_clients(struct machine *m, struct machine_client *out, unsigned max);

/* ------------------------------------------------------------------ journal */

enum machine_event_type {
	MACHINE_EVENT_FAULT,  /* a DMA that moved nothing */
	MACHINE_EVENT_RESET,  /* a function was reset */
	MACHINE_EVENT_ATTACH, /* a group got an address space */
	MACHINE_EVENT_DETACH,
	MACHINE_EVENT_OPEN, /* a client opened a device */
	MACHINE_EVENT_CLOSE,
	MACHINE_EVENT_JOIN, /* a client came */
	MACHINE_EVENT_LEAVE,
};
const char *machine_event_name(enum machine_event_type type); /* "dma-fault", "reset", ... */

struct machine_event {
	uint64_t seq;	  /* from 1, without gaps */
	uint64_t time_ns; /* CLOCK_REALTIME */
	enum machine_event_type type;
	char bdf[PCI_BDF_STRLEN]; /* empty where the event is a group's */
	unsigned group;
	unsigned client; /* who had the function or group, or came or went; 0: nobody */
	/* MACHINE_EVENT_JOIN and LEAVE */
	pid_t pid;
	char command[MACHINE_COMMAND_LEN];
	/* MACHINE_EVENT_FAULT; @repeat: how many like it (function, page, access and reason) were
	 * folded into this one */
	uint64_t iova, size, repeat;
	unsigned access;
	enum iommu_reason reason;
};

/* Copies events after @after, oldest first; the journal keeps the newest 4096. Any thread. */
unsigned machine_events(struct machine *m, uint64_t after, struct machine_event *out, unsigned max);
/* Called (any thread, must be quick) whenever something was added. */
void machine_set_event_cb(struct machine *m, void (*cb)(void *data), void *data);

#endif
