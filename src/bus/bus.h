/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bus: the host side of the machine's functions, as Linux's driver core has it: which driver each
 * is bound to, how that changes, who owns an isolation group, what is removed and found again.
 *
 * A driver is a name with rules. Those of hosts (nvme, igb, pcieport) have no code: a function that
 * is bound to one is in use by the host, that is all. src/vfio adds vfio-pci, which does have some.
 *
 * What can be asked by name comes as a client wrote it; errors are those of Linux's files in /sys.
 * Source: drivers/base/{bus,dd}.c, drivers/pci/{pci-driver,pci-sysfs}.c, drivers/iommu/iommu.c
 * (iommu_device_use_default_domain() and iommu_group_claim_dma_owner()).
 *
 * Locking: any thread. One lock for lists and groups, short; one for each function, held while its
 * driver's probe or remove runs, which may wait for a client as Linux's does: @cancel ends that,
 * and the wait of others for that lock.
 */
#ifndef UVFIO_BUS_H
#define UVFIO_BUS_H

#include "base/base.h"
#include "iommu/iommu.h"
#include "pci/pci.h"

struct bus;

/**
 * bus_new() - the host side of a machine; no function is known before bus_start().
 * @pci: borrowed; must outlive the bus. Returns 0 or -ENOMEM.
 */
int bus_new(struct pcim *pci, struct bus **bus);
/* No driver works on a function any more: unbinds all, without waiting for anybody. NULL is fine.
 */
void bus_free(struct bus *bus);
struct pcim *bus_pci(const struct bus *bus);

/*
 * Moves with every change that can be seen: functions, bindings, overrides.
 * Whoever keeps a picture compares.
 */
uint64_t bus_generation(const struct bus *bus);

/*
 * What the host knows at one moment, in order of address (parents before what is below them). Ids
 * tell functions and groups from others that came later to the same address or number.
 */
struct bus_entry {
	struct pcif *f; /* a reference */
	uint64_t id;
	const struct bus_driver *driver; /* or NULL */
	unsigned group;
	uint64_t group_id;
};
struct bus_list {
	struct bus_entry *entry;
	unsigned n;
	uint64_t generation; /* all that came before it is in the list */
};
int bus_list(struct bus *bus, struct bus_list *list); /* any thread; 0 or -ENOMEM */
void bus_list_free(struct bus_list *list);	      /* zeroed is fine; zeroes it */

/* ------------------------------------------------------------------ drivers */

struct bus_id {
	uint32_t vendor, device, subvendor, subdevice; /* BUS_ANY: whatever */
	uint32_t class_code, class_mask;
};
#define BUS_ANY UINT32_MAX

struct bus_driver {
	const char *name;   /* "vfio-pci" */
	const char *module; /* "vfio_pci", NULL: built in */
	/*
	 * Leaves the ownership of DMA to others (vfio-pci, pci-stub, pcieport): being bound to it
	 * does not keep a group from being claimed, and is possible while one is.
	 */
	bool managed_dma;
	/* The driver's own table, ends with class_mask and vendor 0; NULL: by driver_override and
	 * new_id alone. */
	const struct bus_id *ids;
	/* Under the function's lock. NULL: nothing to do. */
	int (*probe)(void *data, struct pcif *f);
	/* Why probe() refuses @f, for a person; NULL: the errno says all. May be NULL itself. */
	const char *(*refusal)(const struct pcif *f);
	/*
	 * May wait for who uses the function. -EINTR if *@cancel became true first; then the
	 * function stays bound. @cancel may be NULL.
	 */
	int (*remove)(void *data, struct pcif *f, const atomic_bool *cancel);
	/*
	 * Makes @n VFs of @pf with bus_sriov_enable(), or with 0 ends them with
	 * bus_sriov_disable(). Under the function's lock. NULL: not this driver.
	 */
	int (*sriov_configure)(void *data, struct pcif *pf, unsigned n, const atomic_bool *cancel);
};

/* Those that bus itself knows; ends with NULL. */
extern const struct bus_driver *const bus_host_drivers[];

/**
 * bus_driver_add() - before bus_start(). @driver and @data are borrowed.
 * -EEXIST: a driver of this name is there already; -ENOMEM.
 */
int bus_driver_add(struct bus *bus, const struct bus_driver *driver, void *data);

/**
 * bus_start() - knows the functions of the tree from now on and binds them, in order of address.
 * @pick: the driver_override that @f starts with, or NULL: none, its host driver takes it; "": it
 *	stays without a driver. May be NULL.
 * Functions whose driver refuses stay unbound, with a line in the log. Returns 0 or -ENOMEM.
 */
int bus_start(struct bus *bus, const char *(*pick)(void *data, struct pcif *f), void *data);

/* ------------------------------------------------------------------ what /sys/bus/pci offers */

/* Names of all drivers, for who shows them. Constant after bus_start(). */
unsigned bus_driver_count(const struct bus *bus);
const struct bus_driver *bus_driver_at(const struct bus *bus, unsigned i);

/* The driver that @f is bound to, or NULL. */
const struct bus_driver *bus_driver_of(struct bus *bus, const struct pcif *f);

/*
 * Whatever changes a function waits for others that do: -EINTR where *@cancel became true first.
 * @cancel may be NULL.
 */
/* C2: -ENODEV: no such driver or function, or they do not match; -EBUSY: bound already, or the
 * group is a client's; what probe gave. */
int bus_bind(struct bus *bus, const char *driver, struct pci_bdf bdf, const atomic_bool *cancel);
/* -ENODEV: not bound to @driver (NULL: to any); -EINTR: cancelled. The VFs of a PF end first, where
 * its driver made them and takes them along. */
int bus_unbind(struct bus *bus, const char *driver, struct pci_bdf bdf, const atomic_bool *cancel);
/* drivers_probe: -ENODEV no such function; -EINVAL its driver's probe failed; else 0, also if there
 * was nothing to do. */
int bus_probe(struct bus *bus, struct pci_bdf bdf, const atomic_bool *cancel);

/* C1. @name NULL or "": none. -ENODEV: @f has left; -ENOMEM. The copy is the caller's; NULL: none.
 */
int bus_override_set(struct bus *bus, struct pcif *f, const char *name);
int bus_override_get(struct bus *bus, struct pcif *f, char **name);

/* -EEXIST: the driver matches such functions already (not looked at if @force); -ENOMEM: 64 is the
 * most; -ENODEV: no such driver. Then probes all that match and are unbound. */
int bus_new_id(struct bus *bus, const char *driver, const struct bus_id *id, bool force,
	       const atomic_bool *cancel);
int bus_remove_id(struct bus *bus, const char *driver, const struct bus_id *id); /* -ENODEV */

bool bus_autoprobe(struct bus *bus);
void bus_set_autoprobe(struct bus *bus, bool on);

/*
 * Takes @f, its VFs and all below it out of the machine, after unbinding them. -ENODEV: it has
 * left; -EINTR: cancelled, some may have gone.
 */
int bus_remove(struct bus *bus, struct pcif *f, const atomic_bool *cancel);
/* Finds what was removed, on all buses or on that of @on and below, and probes it. Returns how
 * many, or -ENOMEM. */
int bus_rescan(struct bus *bus, const struct pci_bdf *on, const atomic_bool *cancel);

/* ------------------------------------------------------------------ what a function remembers */

/*
 * What was written to files of a function and is to be read there again, by whomever; nothing else
 * looks at it. 0 until written, and gone with the function. -ENODEV: @f has left.
 */
enum bus_note {
	BUS_NOTE_ENABLED, /* how often a function without a driver was enabled */
	BUS_NOTE_BROKEN_PARITY,
	BUS_NOTE_NO_D3COLD,
	BUS_NOTE_POWER_AUTO,
	BUS_NOTES
};
int bus_note_get(struct bus *bus, const struct pcif *f, enum bus_note note, uint32_t *value);
int bus_note_set(struct bus *bus, const struct pcif *f, enum bus_note note, uint32_t value);

/* ------------------------------------------------------------------ resets */

/* E4: methods, in the order in which they are tried. */
enum { BUS_RESET_FLR, BUS_RESET_AF_FLR, BUS_RESET_PM, BUS_RESET_BUS, BUS_RESETS };
extern const char *const bus_reset_names[BUS_RESETS];
unsigned bus_resets_supported(struct bus *bus, struct pcif *f); /* a bit for each */
/* Those that are to be tried: all that are supported, or what somebody chose, in that order. */
#define BUS_RESETS_MAX 7
struct bus_resets {
	unsigned n;
	uint8_t method[BUS_RESETS_MAX];
};
void bus_resets(struct bus *bus, struct pcif *f, struct bus_resets *resets);
bool bus_can_reset(struct bus *bus, struct pcif *f); /* one of them would work */
/* NULL: no choice. -ENODEV. */
int bus_resets_choose(struct bus *bus, struct pcif *f, const struct bus_resets *resets);
/* Its configuration is put back, message interrupts stay wired. -ENOTTY: no method; -ENODEV. */
int bus_reset(struct bus *bus, struct pcif *f, const atomic_bool *cancel);
/*
 * What a reset loses and the host restores: header, PCI Express, AER, ACS and MSI control; COMMAND
 * last. @saved has all of the space.
 */
void bus_config_save(struct pcif *f, uint8_t saved[PCIF_CONFIG_SIZE]);
void bus_config_restore(struct pcif *f, const uint8_t saved[PCIF_CONFIG_SIZE]);

/* ------------------------------------------------------------------ SR-IOV */

/**
 * bus_sriov_set() - the file sriov_numvfs: @pf shall have @n VFs (rules D1 to D5).
 * Returns 0, also if it has so many; -ERANGE: more than it can have; -ENODEV: it has left; -ENOENT:
 * no driver, or one that does not do it; -EBUSY: it has others, which have to end first; -ENOMEM
 * and others as pcim_sriov_enable(); -EINTR: cancelled, while it waited for who uses a VF, or for
 * the function's lock.
 */
int bus_sriov_set(struct bus *bus, struct pcif *pf, unsigned n, const atomic_bool *cancel);
/* sriov_drivers_autoprobe: VFs without an override get a driver. Set: -ENODEV it has left. */
bool bus_sriov_autoprobe(struct bus *bus, const struct pcif *pf);
int bus_sriov_set_autoprobe(struct bus *bus, const struct pcif *pf, bool on);

/*
 * For drivers, with the PF's lock (in sriov_configure or remove). Each VF starts with @override,
 * may be NULL. Disabling waits for who uses a VF: -EINTR if *@cancel became true first; then the
 * VFs are still there, some without a driver.
 */
int bus_sriov_enable(struct bus *bus, struct pcif *pf, unsigned n, const char *override);
int bus_sriov_disable(struct bus *bus, struct pcif *pf, const atomic_bool *cancel);

/* ------------------------------------------------------------------ whole groups */

/*
 * Every function of the group of @bdf, bridges apart, goes to @driver, by driver_override; or back
 * to the host, where its own driver takes it. All or nothing: -ENOENT no such driver; -ENODEV no
 * such function; -EINVAL a bridge, or the driver refuses; -EBUSY a client has the group; -EINTR
 * cancelled while waiting for one. Then all is as before, and @err says which function spoiled it
 * and why.
 */
int bus_group_bind(struct bus *bus, struct pci_bdf bdf, const char *driver,
		   const atomic_bool *cancel, struct pcif_reply_error *err);
int bus_group_return(struct bus *bus, struct pci_bdf bdf, const atomic_bool *cancel,
		     struct pcif_reply_error *err);

/* ------------------------------------------------------------------ ownership of groups */

/*
 * B1 to B4. A group has one owner at a time: the host, counted by functions whose drivers do DMA
 * for it, or somebody who claimed it.
 */
/* -EPERM: a host driver or another owner has it; -ENODEV: no such group. */
int bus_group_claim(struct bus *bus, unsigned group, void *owner);
void bus_group_release(struct bus *bus, unsigned group, void *owner);
/* Nobody has it. */
bool bus_group_viable(struct bus *bus, unsigned group);
/* A function that keeps the group from being claimed, and its driver: for messages. A reference, or
 * NULL. */
struct pcif *bus_group_spoiler(struct bus *bus, unsigned group, const struct bus_driver **driver);
/*
 * Every function of the group goes to @space (NULL: to none), and those that join it later. Waits
 * for DMA in flight through what was before. Only by the owner.
 */
void bus_group_attach(struct bus *bus, unsigned group, struct iommu_space *space);

#endif
