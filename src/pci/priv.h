/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the files of pci share with each other.
 *
 * Locks of a function, outermost first:
 *   ctl   serialises what takes long: effects of configuration writes, resets. Held while waiting
 *         for DMA in flight and for the model's reset; never taken by a model's thread.
 *   reg   the model's register lock (pcif_lock()).
 *   conn  read-write: writers change where interrupts go, readers are calls of the sink.
 *   cfg   the bytes of configuration space and the MSI-X table; short, nothing is called under it.
 * "shared" stands alone, around the model's shared() hook. The tree's "path" is outside of all of
 * them, and taken by nobody who has one of them.
 */
#ifndef UVFIO_PCI_PRIV_H
#define UVFIO_PCI_PRIV_H

#include <linux/pci_regs.h>
#include <pthread.h>

#include "pci/pci.h"

#ifndef PCI_HEADER_TYPE_MULTI_FUNC
#define PCI_HEADER_TYPE_MULTI_FUNC 0x80
#endif

/* Where the builders put the capabilities. */
#define CAP_PM 0x40
#define CAP_MSI 0x50
#define CAP_PCIE 0x70
#define CAP_MSIX 0xb0
#define CAP_AER 0x100
#define CAP_DSN 0x140
#define CAP_ACS 0x150
#define CAP_ARI 0x160
#define CAP_SRIOV 0x180

/* Our own bridges: see docs/pci.md. */
#define BRIDGE_VENDOR 0x1234
#define BRIDGE_ROOT_PORT 0x5001
#define BRIDGE_UPSTREAM_PORT 0x5002
#define BRIDGE_DOWNSTREAM_PORT 0x5003
#define BRIDGE_PCIE_TO_PCI 0x5004
#define BRIDGE_PCI 0x5005

/* What may happen to each byte of configuration space. */
struct config_rules {
	_Atomic unsigned refs;		  /* VFs that are alike share theirs */
	uint8_t wmask[PCIF_CONFIG_SIZE];  /* bits that a write changes */
	uint8_t w1c[PCIF_CONFIG_SIZE];	  /* bits that writing 1 clears */
	uint8_t reset[PCIF_CONFIG_SIZE];  /* value after reset */
	uint8_t sticky[PCIF_CONFIG_SIZE]; /* bits that a function-level reset leaves alone */
};

struct config_space {
	uint8_t value[PCIF_CONFIG_SIZE];
	struct config_rules *rules; /* changes only while the function is built and enumerated */
	unsigned size;		    /* 256 or 4096 */
};

/* A field of a capability as data: offsets are relative to the capability. */
struct config_field {
	uint16_t offset;
	uint8_t width; /* 1, 2 or 4 */
	uint32_t value, wmask, w1c, sticky;
};

/* What a write asks for beyond the bytes. */
struct config_effects {
	bool gate;	/* something that gates DMA, BARs or interrupts changed */
	bool reset;	/* function-level reset, or D3hot to D0 */
	bool bus_reset; /* bridge control asks for a reset of the secondary bus */
	bool sriov;	/* VFs may have come or gone */
};

/* What configuration space lets through now; computed after every write, read without a lock. */
#define GATE_MEM 0x01u
#define GATE_IO 0x02u
#define GATE_BM 0x04u
#define GATE_INTX_OFF 0x08u
#define GATE_MSI 0x10u
#define GATE_MSIX 0x20u
#define GATE_MSIX_MASKED 0x40u
#define GATE_SILENT                                                                                \
	0x80u /* a VF in reset, or that its PF switched off: reads ones, drops writes              \
	       */

#define GATE_SILENT_IO 0x100u /* the same for I/O BARs, as a bridge above does not forward */

/* What all bridges above let through; see path.c. */
#define PATH_MEM 0x01u
#define PATH_IO 0x02u
#define PATH_BM 0x04u
#define PATH_UP 0x08u /* they are in D0 */
#define PATH_ALL (PATH_MEM | PATH_IO | PATH_BM | PATH_UP)

#define VECTOR_WORDS (PCIF_MAX_VECTORS / 64)

struct irq_state {
	pthread_rwlock_t conn; /* mode, vectors, sink */
	enum pcif_irq_mode mode;
	unsigned vectors;
	struct pcif_irq_sink sink;
	_Atomic int mode_now; /* copy of mode for pcif_irq_mode() */
	_Atomic bool level;   /* INTx pin */
	_Atomic uint64_t count;
	_Atomic uint32_t msi_mask, msi_pending;
	_Atomic uint64_t msix_mask[VECTOR_WORDS], msix_pending[VECTOR_WORDS];
	pthread_mutex_t hold_lock; /* the three below; held over the callback */
	unsigned holds;
	void (*hold_cb)(void *data, bool hold);
	void *hold_data;
};

struct bar_image {
	void *own;	     /* our mapping of the memfd */
	_Atomic(void *) now; /* what the model uses */
	uint64_t offset;     /* in the memfd */
	/* Where the pages of @now lie, if it was moved there: see pcif_bar_move_image(). */
	int moved_fd;
	uint64_t moved_offset;
};

/* See scan.c. */
enum scan_place { SCAN_OFF, SCAN_REST, SCAN_WAITING, SCAN_HOT };

struct scan_state {
	pthread_cond_t wake; /* of a worker */
	bool parked;	     /* under the register lock */
	atomic_bool quit;
	bool joined;	       /* there is something to scan */
	enum scan_place place; /* under scan_pool.lock */
	unsigned at;	       /* its place in the list, under the same */
	unsigned missed;       /* the watcher's */
};

struct scan_list {
	struct pcif **f;
	unsigned n, room;
};

struct scan_worker;
struct scan_pool {
	pthread_mutex_t lock;	/* guards all of it */
	pthread_cond_t wake;	/* of the watcher */
	pthread_cond_t changed; /* a function's place, what is looked at, who has ended */
	struct scan_list rest, waiting;
	unsigned n_functions; /* that have joined */
	struct pcif *looking; /* what the watcher is at */
	unsigned leaving;     /* who waits for that */
	uint64_t rest_ns;
	struct scan_worker *idle, *ended;
	unsigned n_idle, n_workers;
	pthread_t watcher;
	bool started, quit;
	struct log_limit no_thread;
};

struct pcif {
	struct pcim *m;
	_Atomic unsigned refs;
	_Atomic bool present; /* in the tree; changes under the tree's lock */
	struct pcif *parent;  /* a reference */
	struct pci_bdf bdf;
	char name[PCI_BDF_STRLEN];
	const struct pcif_model *model;
	void *state;
	struct pcif_desc desc;
	bool bridge;
	bool on_root_bus;
	uint8_t root_bus, secondary, subordinate;
	int numa_node;
	int alias_devfn; /* other devfn of its bus that its DMA may carry, or -1 */
	_Atomic unsigned group;
	/* Under the tree's lock. */
	enum pcif_group_why group_why;
	struct pci_bdf group_other;
	uint64_t bar_address[PCIF_NUM_BARS];
	struct sriov *sriov; /* of a PF */
	struct pcif *pf;     /* of a VF: a reference */
	unsigned vf_index;
	bool vf_off, vf_mem_off; /* of a VF: VF Enable or VF MSE of its PF is clear; under cfg */

	pthread_mutex_t ctl, reg, cfg, shared;
	struct config_space config;
	uint32_t *msix_table; /* four words an entry; guarded by cfg */
	uint8_t cap_msi, cap_msix, cap_pcie, cap_pm;
	bool resetting; /* under cfg */
	uint8_t path;	/* likewise */
	_Atomic uint32_t gate;
	_Atomic bool shared_on;
	_Atomic uint64_t resets;
	_Atomic unsigned client;

	struct irq_state irq;
	struct bar_image image[PCIF_NUM_BARS];
	struct pcif_regs *regs[PCIF_NUM_BARS]; /* of BARs that name a table */
	struct scan_state scan;
	int memfd;
	uint64_t memfd_size;
	struct iommu_port *port;
};

/* What a PF has for its VFs. See sriov.c. */
struct sriov {
	pthread_mutex_t lock; /* one enables or disables at a time; outside of all others */
	uint16_t first_offset, stride;
	uint64_t bar_address[PCIF_NUM_BARS]; /* where those of all VFs begin; 0: no room for them */
	uint16_t control;		     /* what the platform wants in the register */
	_Atomic unsigned n_vfs;		     /* enabled by pcim_sriov_enable() */
	struct config_rules *vf_rules;	     /* under @lock */
	struct pcif **vfs; /* total_vfs of them, borrowed from the tree; under its lock */
};

/* A bus below no bridge, and the numbers up to the last of the buses below it. */
struct root_bus {
	uint32_t domain;
	uint8_t first, last;
	int numa_node;
};

struct pcim {
	struct scan_pool scan;
	/*
	 * Guards the lists below, each with a reference on its functions, and group numbers.
	 * Writers are who builds and who plugs; nothing that waits is called under it.
	 */
	pthread_rwlock_t lock;
	struct pcif **functions; /* present, by address once enumerated */
	unsigned n_functions, room;
	struct pcif **unplugged;
	unsigned n_unplugged, unplugged_room;
	pthread_mutex_t path; /* see path.c; outside of the locks of functions */
	bool enumerated;
	/* By who builds. */
	struct root_bus *roots;
	unsigned n_roots;
	iommu_fault_cb fault_cb;
	void *fault_data;
	pcim_reset_cb reset_cb;
	void *reset_data;
};

/* config.c */
int config_init(struct config_space *c);
void config_rules_put(struct config_rules *rules);
void config_share(struct config_space *c, struct config_rules **shared);
uint32_t config_peek(const struct config_space *c, unsigned offset, unsigned size);
void config_poke(struct config_space *c, unsigned offset, unsigned size, uint32_t value);
void config_preset(struct config_space *c, unsigned offset, unsigned size, uint32_t value);
void config_field_add(struct config_space *c, unsigned base, const struct config_field *field);
void config_reset_bytes(struct config_space *c);
void config_update_gate(struct pcif *f);
/* caps.c */
int caps_check(const struct pcif *f, struct pcif_reply_error *err);
void caps_build(struct pcif *f);
void caps_set_multifunction(struct pcif *f);
void caps_set_ari_forwarding(struct pcif *f);
void caps_set_link(struct pcif *f, uint8_t port_number, bool up);
/* bar.c */
int bar_check(const struct pcif_bar bars[], struct pcif_reply_error *err);
int bar_images_new(struct pcif *f);
void bar_images_free(struct pcif *f);
/* irq.c */
int irq_init(struct pcif *f);
void irq_fini(struct pcif *f);
void irq_reset(struct pcif *f);		  /* conn held for writing, cfg held */
void irq_hold(struct pcif *f, bool hold); /* see pcif_set_hold_cb(); best before ctl is taken */
/* Delivers what became deliverable, the pin's level too if @intx; no lock held but ctl. */
void irq_replay(struct pcif *f, bool intx);
uint32_t irq_msix_read(struct pcif *f, uint64_t offset);
void irq_msix_write(struct pcif *f, uint64_t offset, uint32_t value, uint32_t mask);
bool irq_in_msix_table(const struct pcif *f, unsigned bar, uint64_t offset);
bool irq_in_msix(const struct pcif *f, unsigned bar, uint64_t offset);
/* scan.c */
void scan_init(struct pcif *f);
void scan_fini(struct pcif *f);
int scan_join(struct pcif *f);
void scan_park(struct pcif *f, bool parked);
void scan_set_shared(struct pcif *f, bool on);
void scan_stop(struct pcif *f);
void scan_pool_init(struct scan_pool *p);
void scan_pool_fini(struct scan_pool *p);
/* regs.c: would a scan find something? With the register lock. */
bool regs_peek(struct pcif_regs *regs);
/* tables.c */
int tables_new(struct pcif *f, struct pcif_reply_error *err);
void tables_free(struct pcif *f);
void model_reset(struct pcif *f);
/* path.c */
/* What is below @bridge (NULL: any bridge) follows what that lets through now. No lock of a
 * function held; waits for DMA in flight. */
void path_sync(struct pcim *m, const struct pcif *bridge);
bool path_is_below(const struct pcif *f, const struct pcif *bridge);
/* options.c: the keys of pcif_keys change the description that create() gave. */
int options_apply(struct pcif *f, const struct pcif_params *params, struct pcif_reply_error *err);
/* function.c */
/* Where a function goes: @parent is the bridge above, NULL on a root bus, or not known yet. */
struct function_place {
	struct pci_bdf bdf;
	struct pcif *parent;
	bool on_root_bus;
};
int function_new(struct pcim *m, const struct function_place *at, const struct pcif_model *model,
		 const struct pcif_params *params, struct pcif_reply_error *err, struct pcif **f);
int function_new_vf(struct pcif *pf, unsigned index, struct pcif_reply_error *err, struct pcif **f);
void function_free(struct pcif *f);
/* tree.c */
/* VFs 0 to @n - 1 of one PF are in the tree then, with groups; it takes a reference on each.
 * -EEXIST an address is taken, -ENOMEM. */
int tree_add_vfs(struct pcim *m, struct pcif *const *list, unsigned n);
/* The tree forgets VF @index: the caller gets its reference. NULL: there is none. */
struct pcif *tree_drop_vf(struct pcif *pf, unsigned index);
/* sriov.c */
int sriov_new(struct pcif *f); /* -ENOMEM */
void sriov_free(struct pcif *f);
int sriov_check(const struct pcif_desc *d, struct pcif_reply_error *err);
int sriov_check_vf(const struct pcif *f, struct pcif_reply_error *err);
void sriov_describe_vf(const struct pcif *f, struct pcif_desc *desc);
/* The last bus that the VFs of the @n functions of one bus need. */
unsigned sriov_last_bus(struct pcif *const *list, unsigned n);
void sriov_place(struct pcif *const *list, unsigned n); /* gives them their requester ids */
void sriov_set_bar(struct pcif *f, unsigned bar, uint64_t address);
/* A client wrote to the capability, whose bytes were @before: puts right what may not be written.
 * Returns whether sriov_sync() has to be called. cfg held. */
bool sriov_written(struct pcif *f, const uint8_t *before);
void sriov_sync(struct pcif *f); /* VFs are as the control register says; ctl held */
void sriov_vf_set(struct pcif *vf, bool on, bool mem); /* ctl of the PF held, if at all */
/* reset.c */
void reset_locked(struct pcif *f);     /* ctl held */
void reset_notify(struct pcif *f);     /* nothing held */
void reset_apply_gate(struct pcif *f); /* ctl held: tells the IOMMU port */

/* bridge.c */
extern const struct pcif_model bridge_root_port;
/* tree.c */
/* Adds @f, whose reference the tree then owns, in order of address. -ENOMEM: it stays the caller's.
 * With the lock. */
int pcim_insert(struct pcim *m, struct pcif *f);
/* Who has a number keeps it. With the lock, or by who builds the tree. */
int pcim_assign_groups(struct pcim *m);
/* windows.c */
int windows_assign(struct pcim *m);

/* group.c: isolation groups on a plain form of the tree. */
enum group_kind {
	GROUP_CONVENTIONAL,	   /* no PCI Express capability */
	GROUP_CONVENTIONAL_BRIDGE, /* PCI to PCI bridge without one */
	GROUP_ENDPOINT,		   /* types 0 and 1 */
	GROUP_ROOT_PORT,	   /* 4 */
	GROUP_UPSTREAM,		   /* 5 */
	GROUP_DOWNSTREAM,	   /* 6 */
	GROUP_PCIE_TO_PCI,	   /* 7 */
	GROUP_PCI_TO_PCIE,	   /* 8 */
	GROUP_RC_ENDPOINT,	   /* 9 */
	GROUP_RC_EVENT_COLLECTOR,  /* 10 */
};

#define GROUP_NONE (-1)

struct group_node {
	enum group_kind kind;
	int above; /* index of the bridge above, GROUP_NONE on a root bus */
	struct pci_bdf
		bdf;	   /* a VF may lie on another bus than its PF, with the same bridge above */
	uint8_t secondary; /* bridges: the bus below */
	bool acs;	   /* has an ACS capability */
	bool multifunction; /* header type bit 7; looked at for function 0 only */
	bool vf;
	int alias_devfn; /* other devfn of its bus that it also uses as requester, or -1 */
	int group;	 /* result; a number that it has already is kept */
	/* Results for those who had none. */
	enum pcif_group_why why;
	int other; /* index */
};
/* Numbers for all nodes that have none (GROUP_NONE). 0 or -ENOMEM. */
int group_assign(struct group_node *nodes, unsigned n);

#endif
