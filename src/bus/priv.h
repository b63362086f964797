/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the files of bus share.
 *
 * Locks, outermost first:
 *   bus_dev.lock  one function: its driver's probe and remove run under it, so it may be held while
 *                 a client is waited for. Of two functions, the one that is nearer to the root
 *                 first, and a PF before its VFs.
 *   bus.attach    who is in a group and where the group's functions are attached; waits for DMA
 *   bus.lock      everything else that is named below; short, only the tree's lock is taken under
 *                 it
 */
#ifndef UVFIO_BUS_PRIV_H
#define UVFIO_BUS_PRIV_H

#include <errno.h>
#include <pthread.h>

#include "bus/bus.h"

#define BUS_IDS_MAX 64u

/* A driver, with what clients added to its table. */
struct bus_drv {
	const struct bus_driver *d;
	void *data;
	/* Under bus.lock. */
	struct bus_id ids[BUS_IDS_MAX];
	unsigned n_ids;
};

struct bus_group {
	struct bus_group *next;
	unsigned number;
	uint64_t id;		   /* no other group of this bus ever had it */
	struct bus_dev *members;   /* under bus.attach */
	unsigned users;		   /* functions whose host driver does DMA */
	void *owner;		   /* who claimed it, or NULL */
	bool changing;		   /* is being given to other drivers, see hand.c */
	struct iommu_space *space; /* under bus.attach */
};

/* A function that the host knows. */
struct bus_dev {
	struct bus_dev *next;
	struct pcif *f;		    /* a reference */
	struct bus_group *group;    /* changes under bus.attach and bus.lock */
	struct bus_dev *group_next; /* under bus.attach */
	uint64_t id;		    /* no other function of this bus ever had it */
	pthread_mutex_t lock;
	/* Under bus.lock. */
	unsigned refs;
	bool gone;
	bool resets_chosen;
	struct bus_resets resets;
	uint32_t notes[BUS_NOTES];
	bool vf_no_probe; /* of a PF: sriov_drivers_autoprobe is off */
	bool uses_group;  /* counted in group->users */
	struct bus_drv *drv;
	char *override;
};

struct bus {
	struct pcim *pci;
	pthread_mutex_t attach, lock;
	_Atomic uint64_t generation;
	struct bus_drv *drivers; /* constant after bus_start() */
	unsigned n_drivers;
	bool started, ending;
	/* Under @lock. */
	struct bus_dev *devs; /* in order of address */
	struct bus_group *groups;
	uint64_t last_id;
	bool autoprobe;
};

static inline void bus_changed(struct bus *b)
{
	atomic_fetch_add(&b->generation, 1);
}

/* bus.c */
struct bus_dev *dev_get(struct bus *b, const struct pcif *f); /* a reference, or NULL */
struct bus_dev *dev_find(struct bus *b, struct pci_bdf bdf);  /* the same */
void dev_put(struct bus *b, struct bus_dev *dev);
/* Every function that is there, with references; ends with NULL. */
int devs_list(struct bus *b, struct bus_dev ***list);
void devs_list_free(struct bus *b, struct bus_dev **list);
/* -EINTR: *@cancel became true first. NULL: waits as long as it takes. */
int dev_lock(struct bus_dev *dev, const atomic_bool *cancel);
void dev_unlock(struct bus_dev *dev);
/* The host learns of @f, whose driver_override is @override from the start (NULL: none). 0,
 * -EEXIST, -ENODEV: it is not in the tree any more, -ENOMEM. */
int dev_add(struct bus *b, struct pcif *f, const char *override, struct bus_dev **dev);
/* Unbinds it and forgets it; @unplug: takes it out of the tree in the same moment. With dev->lock.
 */
int dev_remove(struct bus *b, struct bus_dev *dev, bool unplug, const atomic_bool *cancel);

/* driver.c; all with dev->lock */
/* The driver for @dev binds, if there is one: 1; 0 there is none, or @dev has one; probe's errno.
 */
int dev_probe(struct bus *b, struct bus_dev *dev);
int dev_bind(struct bus *b, struct bus_dev *dev, struct bus_drv *drv);
int dev_unbind(struct bus *b, struct bus_dev *dev, const atomic_bool *cancel);
struct bus_drv *drv_find(struct bus *b, const char *name);
/* In words, what @rc of binding @f to @drv means; @drv NULL: a driver by its own table. */
const char *drv_refusal(const struct bus_drv *drv, const struct pcif *f, int rc);

/* sriov.c */
bool vf_can_probe(struct bus *b, struct bus_dev *dev);

/* group.c */
int member_join(struct bus *b, struct bus_dev *dev); /* -ENOMEM */
void member_leave(struct bus *b, struct bus_dev *dev);
/* One change of a whole group at a time: false if *@cancel became true before it was our turn. */
bool group_change_begin(struct bus *b, unsigned number, const atomic_bool *cancel);
void group_change_end(struct bus *b, unsigned number);
/* A host driver wants the group's DMA for @dev: -EBUSY if somebody claimed it. */
int member_use(struct bus *b, struct bus_dev *dev);
void member_unuse(struct bus *b, struct bus_dev *dev);

#endif
