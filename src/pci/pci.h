/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pci: functions, their configuration space, BARs, interrupts, reset, and the tree they sit in.
 *
 * Two faces in one header. *Device models* (src/device) describe a function with tables and get
 * register accesses, resets and DMA. *The VFIO layer* (src/vfio) and the views (src/door) see
 * functions as a bus would. Neither sees the other.
 *
 * Follows the PCI Local Bus Specification 3.0, the PCI Express Base Specification 4.0 and the PCI
 * Power Management Interface Specification 1.2 where a register's meaning is concerned.
 *
 * Locking: each function has one register lock. pci calls a model's bar_read and bar_write hooks
 * under it, one at a time, and reset and shared without it; a model's own threads take it with
 * pcif_lock(). Hooks of register tables run under it as well. Interrupt and DMA calls may be made
 * from any thread, with or without it. Never wait for a client under it. Where BAR pages are shared
 * with clients, touching one may wait for a thread that serves page faults: that thread must never
 * wait for a register lock.
 *
 * A model never calls pcif_config_write(), pcif_reset() or pcif_irq_connect(): these wait for
 * hooks, DMA or sinks that may be its own.
 */
#ifndef UVFIO_PCI_H
#define UVFIO_PCI_H

#include "base/base.h"
#include "iommu/iommu.h"

struct pcif; /* a function */
struct pcim; /* the tree of one machine: domains, buses, ports, functions, isolation groups */

/* ------------------------------------------------------------------ addresses */

struct pci_bdf {
	uint32_t domain;
	uint8_t bus, dev, fn;
};
#define PCI_BDF_STRLEN 20
/* "DDDD:BB:DD.F" or "BB:DD.F". -EINVAL on anything else, trailing text included. */
int pcif_bdf_parse(const char *text, struct pci_bdf *bdf);
const char *pcif_bdf_format(struct pci_bdf bdf, char out[PCI_BDF_STRLEN]);
static inline bool pcif_bdf_equal(struct pci_bdf a, struct pci_bdf b)
{
	return a.domain == b.domain && a.bus == b.bus && a.dev == b.dev && a.fn == b.fn;
}

/* ------------------------------------------------------------------ describing a function */

#define PCIF_NUM_BARS 6
#define PCIF_CONFIG_SIZE 4096
#define PCIF_MAX_VECTORS 2048

enum pcif_bar_type { PCIF_BAR_NONE, PCIF_BAR_IO, PCIF_BAR_MEM32, PCIF_BAR_MEM64 };

/*
 * How a client may reach a page of a memory BAR.
 * TRAP: by region read and write only; the model's hooks run for each access.
 * SHARED: by mmap as well. Values that clients see by mmap are those in the BAR's image
 * (pcif_bar_image()), which the model keeps up to date and scans for what clients stored.
 * RAM: plain memory; trapped accesses go straight to the image, no hook runs.
 */
enum pcif_page { PCIF_PAGE_TRAP, PCIF_PAGE_SHARED, PCIF_PAGE_RAM };

struct pcif_reg;

struct pcif_bar_area {	       /* pages not named are TRAP */
	uint64_t offset, size; /* multiples of UVF_PAGE_SIZE */
	enum pcif_page policy;
};

struct pcif_bar {
	enum pcif_bar_type type;
	bool prefetchable;
	uint64_t size; /* power of two; memory at least 4096 */
	struct pcif_bar_area areas[4];
	unsigned n_areas;
	/*
	 * Registers of this BAR (see "register tables" below), borrowed; NULL: bar_read and
	 * bar_write are called. With a table pci does what there is to do: answers trapped
	 * accesses, resets it before reset() is called, and scans what lies on SHARED pages.
	 */
	const struct pcif_reg *regs;
	unsigned n_regs;
	void *regs_state; /* what the hooks of @regs get; NULL: the model's state */
};

/*
 * What a physical function (PF) has for its virtual functions (VFs): SR-IOV. Each VF is a function
 * of its own, made by the model's create_vf() when the host wants it.
 */
struct pcif_sriov {
	uint16_t total_vfs; /* 0: none; up to 256 */
	uint16_t vf_device; /* device id; vendor, class and subsystem are the PF's */
	/*
	 * VF k has requester id PF + first_offset + k * stride. 0: they follow the last function of
	 * the PF's bus, one after the other; what does not fit on this bus lies on the next ones.
	 */
	uint16_t first_offset, stride;
	struct pcif_bar bars[PCIF_NUM_BARS]; /* of each VF; memory */
};

/*
 * What a function is in the tree. A model of a device need not say: it describes an endpoint, which
 * is a conventional function without @pcie, and integrated into the root complex on a root bus.
 */
enum pcif_kind {
	PCIF_ENDPOINT,
	PCIF_ROOT_PORT,
	PCIF_UPSTREAM_PORT,   /* of a switch, towards the root */
	PCIF_DOWNSTREAM_PORT, /* of a switch */
	PCIF_PCIE_TO_PCI_BRIDGE,
	PCIF_PCI_BRIDGE, /* conventional on both sides */
};

struct pcif_desc {
	enum pcif_kind kind;
	uint16_t vendor, device, subsystem_vendor, subsystem_device;
	uint32_t class_code; /* 24 bits: base, sub, programming interface */
	uint8_t revision;
	struct pcif_bar bars[PCIF_NUM_BARS];
	uint8_t intx_pin;      /* 0 none, 1 to 4: INTA to INTD */
	unsigned msi_vectors;  /* 0 none; power of two up to 32; 64-bit, per-vector masking */
	unsigned msix_vectors; /* 0 none; up to 2048 */
	uint8_t msix_bar;      /* BAR of table and PBA */
	uint32_t msix_table_offset, msix_pba_offset;
	bool pcie;    /* PCI Express capability v2; endpoints have FLR */
	bool pm;      /* power management capability, NoSoftReset = 0 */
	bool aer;     /* advanced error reporting */
	bool acs;     /* access control services: the IOMMU sees what its peers say to each other */
	uint64_t dsn; /* device serial number capability if not 0 */
	uint16_t slot; /* root and downstream ports: number of the slot they lead to; 0 none */
	struct pcif_sriov sriov; /* needs pcie */
};

/* ------------------------------------------------------------------ device models */

struct pcif_option { /* a key that a --device SPEC may give */
	const char *key;
	const char *help; /* "FILE  image that holds the data (raw)" */
};
/* Keys that pci itself reads, for functions of any model; ends with key NULL. */
extern const struct pcif_option pcif_keys[];

/* Values given for one device. */
struct pcif_params;
const char *pcif_param(const struct pcif_params *params, const char *key); /* NULL: not given */
struct pcif_reply_error;
/* A number from @min to @max; one of @choices (ends with NULL), by its place. @value is left alone
 * where the key is not given. 0, or -EINVAL with @err saying what may be given. */
int pcif_param_number(const struct pcif_params *params, const char *key, unsigned min, unsigned max,
		      unsigned *value, struct pcif_reply_error *err);
int pcif_param_choice(const struct pcif_params *params, const char *key, const char *const *choices,
		      unsigned *value, struct pcif_reply_error *err);

struct pcif_reply_error { /* a text for the person who wrote the SPEC */
	char text[256];
};
int pcif_error(struct pcif_reply_error *err, int errnum, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Something that a model counts beside what pci counts itself; for `uvfio list --json`. */
struct pcif_counter {
	const char *name; /* static */
	uint64_t value;
};
#define PCIF_COUNTERS_MAX 16

struct pcif_model {
	const char *name;		   /* "nvme" */
	const char *summary;		   /* one line for --help */
	const struct pcif_option *options; /* ends with key NULL */

	/*
	 * Read @params, fill @desc (zeroed before) and make the state. On failure say why with
	 * pcif_error(). pci then builds the function and calls reset() once before any access.
	 */
	int (*create)(struct pcif *f, const struct pcif_params *params, struct pcif_desc *desc,
		      void **state, struct pcif_reply_error *err);
	/*
	 * Makes VF @index of the PF whose state is @pf_state; that outlives the VF's. @desc comes
	 * filled in as the PF's description says; the model adds regs_state, MSI, MSI-X, pm, aer,
	 * dsn. The other hooks then get *@state for this VF. One call at a time for a PF. The VF
	 * that had this @index before may not be destroyed yet: it has been reset, and nobody
	 * reaches it any more. May be NULL.
	 */
	int (*create_vf)(struct pcif *f, void *pf_state, unsigned index, struct pcif_desc *desc,
			 void **state, struct pcif_reply_error *err);
	/* Ends threads; NULL-safe members; no client is attached any more. */
	void (*destroy)(void *state);

	/*
	 * Trapped accesses of BARs without a register table; may be NULL. Naturally aligned, @size
	 * 1, 2, 4 or 8, inside the BAR. An offset that holds nothing reads 0 and drops writes.
	 */
	uint64_t (*bar_read)(void *state, unsigned bar, uint64_t offset, unsigned size);
	void (*bar_write)(void *state, unsigned bar, uint64_t offset, unsigned size,
			  uint64_t value);

	/*
	 * Conventional or function-level reset, bus master already off: every register to its reset
	 * value, BAR image included, no DMA in flight when it returns. May be called at any moment.
	 * Called without the register lock. Tables that the BARs name are at their reset values
	 * already, and no hook of them runs meanwhile. May be NULL.
	 */
	void (*reset)(void *state);

	/*
	 * A client can now reach SHARED pages by mmap (or no longer can): scan the image, or stop.
	 * For models that scan themselves; may be NULL. Called without the register lock.
	 */
	void (*shared)(void *state, bool on);

	/*
	 * Fills @out, which has room for PCIF_COUNTERS_MAX; returns how many. They only grow: no
	 * reset clears them. Any thread, without a lock. May be NULL.
	 */
	unsigned (*counters)(void *state, struct pcif_counter *out);
};

/* What a model may call. */
void pcif_lock(struct pcif *f);
void pcif_unlock(struct pcif *f);
const char *pcif_name(const struct pcif *f); /* "0000:65:00.0" */

/* DMA: 0, or -EFAULT with nothing moved and the fault recorded (see iommu_read()). */
int pcif_dma_read(struct pcif *f, uint64_t iova, void *buf, size_t size);
int pcif_dma_write(struct pcif *f, uint64_t iova, const void *buf, size_t size);
int pcif_dma_pin(struct pcif *f, uint64_t iova, size_t size, unsigned access,
		 struct iommu_pin *pin);
void pcif_dma_unpin(struct iommu_pin *pin);
int pcif_dma_span(struct pcif *f, uint64_t iova, size_t size, unsigned access,
		  struct iommu_span *span); /* released by iommu_span_put() */

/*
 * Interrupts. A model raises message @vector; where only INTx is in use it also drives the pin's
 * level. Each call may be made at any time and is dropped, or remembered as pending, as the
 * hardware would. pcif_irq_mode() tells what is in use now.
 */
enum pcif_irq_mode { PCIF_IRQ_NONE, PCIF_IRQ_INTX, PCIF_IRQ_MSI, PCIF_IRQ_MSIX };
void pcif_irq_raise(struct pcif *f, unsigned vector); /* MSI or MSI-X message */
void pcif_intx_set(struct pcif *f, bool level);
enum pcif_irq_mode pcif_irq_mode(const struct pcif *f);
unsigned pcif_irq_vectors(struct pcif *f); /* messages in use now, from 0; INTx counts as one */

/*
 * The BAR's image: memory of the BAR's size in which SHARED and RAM pages live. May change while
 * no client is attached, so fetch it in reset() and in shared(); access it with the helpers (a
 * client that aborts its connection makes a plain load raise SIGBUS). NULL if no page of the BAR is
 * SHARED or RAM. A helper costs some 5 ns more than the plain access; a loop over many words is
 * better written as one function run by guard_call().
 */
void *pcif_bar_image(struct pcif *f, unsigned bar);
int pcif_image_load32(const void *p, uint32_t *value);	       /* 0 or -EFAULT; atomic acquire */
int pcif_image_store32(void *p, uint32_t value);	       /* atomic release */
int pcif_image_xchg32(void *p, uint32_t value, uint32_t *old); /* atomic */
int pcif_image_cas32(void *p, uint32_t expected, uint32_t value, bool *done);
void pcif_bar_clear(struct pcif *f, unsigned bar); /* zeros in all RAM pages */

/* ------------------------------------------------------------------ register tables */

/*
 * Registers as data: a static table, which a BAR names in the description, and nothing else is to
 * be done (pcif_bar_regs() gives what get and set want). A model that wants to scan in a thread of
 * its own makes a struct pcif_regs itself. Trapped accesses and the scan of a shared page run the
 * same hooks, under the register lock.
 *
 * PLAIN: client writes change the writable bits, and the hook is told. By mmap: the scan sees a
 *   value other than the last one known and runs the hook.
 * MAILBOX: a write is a command, even of the value that was written before; reads give @read
 *   value (0 unless published). By mmap: the scan takes non-zero values out with an exchange.
 * STATUS: read-only; the model publishes. What a client stores by mmap is put right by the scan.
 * All are 32 bits wide; a 64-bit register is two of them (hook runs for each half). Accesses of 1,
 * 2 and 8 bytes are put together or cut.
 *
 * A PLAIN write that changes nothing runs no hook. By mmap only a different value can be seen, so
 * registers whose meaning is in the act of writing (w1c, "write the same again") belong on TRAP
 * pages or are mailboxes.
 *
 * Order: when a hook runs, each register has what the client stored before the store that the hook
 * is for, or something newer; and a trapped access comes after every store before it. So a command
 * finds its arguments in place. Commands of several mailboxes run in order of the table.
 *
 * Locking: all of these are called with the register lock held, save new and free: bar_read and
 * bar_write are; reset() and the model's own threads (which scan) take pcif_lock() first. Hooks run
 * under it. pcif_regs_reset() must have run once before anything else.
 */
enum pcif_reg_kind { PCIF_REG_PLAIN, PCIF_REG_MAILBOX, PCIF_REG_STATUS };

struct pcif_reg {
	const char *name;
	uint32_t offset;
	enum pcif_reg_kind kind;
	uint32_t reset; /* value after reset */
	uint32_t wmask; /* bits that a write changes */
	uint32_t w1c;	/* bits that writing 1 clears */
	uint32_t count; /* 0 or 1: one register; n: an array of n, @stride bytes apart */
	uint32_t stride;
	/* After the value changed (PLAIN: the new one) or with what was written (MAILBOX). May be
	 * NULL. It may set other registers, reset them all, raise interrupts, do DMA. */
	void (*write)(void *state, unsigned index, uint32_t value);
	/* Before a trapped read, for registers that are computed. May be NULL. */
	uint32_t (*read)(void *state, unsigned index);
};

struct pcif_regs;
struct pcif_regs *pcif_bar_regs(struct pcif *f, unsigned bar); /* NULL: no table; not in create() */
int pcif_regs_new(struct pcif *f, unsigned bar, const struct pcif_reg *table, unsigned n,
		  void *state, struct pcif_regs **regs);
void pcif_regs_free(struct pcif_regs *regs);
void pcif_regs_reset(struct pcif_regs *regs); /* all to reset values, published to the image */
uint32_t pcif_regs_accesses(const struct pcif_regs *regs);
uint64_t pcif_regs_read(struct pcif_regs *regs, uint64_t offset, unsigned size);
void pcif_regs_write(struct pcif_regs *regs, uint64_t offset, unsigned size, uint64_t value);
uint32_t pcif_regs_get(struct pcif_regs *regs, unsigned reg, unsigned index);
/* Model's own change of a value; published to the image. No hook runs. */
void pcif_regs_set(struct pcif_regs *regs, unsigned reg, unsigned index, uint32_t value);
/* The same, published by the next scan: the image's cache line stays where it is until then. */
void pcif_regs_set_later(struct pcif_regs *regs, unsigned reg, unsigned index, uint32_t value);
/* Scans the shared image; runs hooks for what clients stored. Returns the number of changes. */
unsigned pcif_regs_scan(struct pcif_regs *regs);
/* The same for one array register, elements [first, first+n-1]: for rings of doorbells. Fast, and
 * without the order: other registers may be older than what the client stored before. */
unsigned pcif_regs_scan_array(struct pcif_regs *regs, unsigned reg, unsigned first, unsigned n);

/* ------------------------------------------------------------------ the function as a bus sees it
 */

const struct pcif_desc *pcif_desc(const struct pcif *f);
void *pcif_state(const struct pcif *f); /* the model's; for models that look at another function */
struct pci_bdf pcif_bdf(const struct pcif *f);
const char *pcif_model_name(const struct pcif *f);
unsigned pcif_counters(const struct pcif *f, struct pcif_counter out[PCIF_COUNTERS_MAX]);
const char *pcif_type_name(const struct pcif *f); /* what it is in the tree: "root port" */
bool pcif_is_bridge(const struct pcif *f);	  /* header type 1 */
bool pcif_has_acs(const struct pcif *f);
int pcif_numa_node(const struct pcif *f); /* -1: none */
struct iommu_port *pcif_iommu_port(struct pcif *f);

/*
 * Configuration space as the hardware has it. @size 1, 2 or 4, naturally aligned; reads past the
 * end (256 where not PCI Express) give all ones, writes there are dropped.
 */
unsigned pcif_config_size(const struct pcif *f); /* 256 or 4096 */
uint32_t pcif_config_read(struct pcif *f, unsigned offset, unsigned size);
void pcif_config_write(struct pcif *f, unsigned offset, unsigned size, uint32_t value);
/* Offset of a capability, 0 if absent. */
unsigned pcif_find_cap(struct pcif *f, uint8_t id);
unsigned pcif_find_ext_cap(struct pcif *f, uint16_t id);

/* Address that the platform's enumeration gave to the BAR (what /sys shows). */
uint64_t pcif_bar_address(const struct pcif *f, unsigned bar);

/*
 * Trapped BAR access, any alignment and length inside the BAR: cut into aligned pieces. 0, -EINVAL
 * outside, -EIO while memory decode (I/O decode for an I/O BAR) is off or the function is not in
 * D0. When @hide_msix the MSI-X table reads ones and drops writes, whether it is decoded or not.
 */
int pcif_bar_read(struct pcif *f, unsigned bar, uint64_t offset, void *buf, size_t size,
		  bool hide_msix);
int pcif_bar_write(struct pcif *f, unsigned bar, uint64_t offset, const void *buf, size_t size,
		   bool hide_msix);
enum pcif_page pcif_bar_policy(const struct pcif *f, unsigned bar, uint64_t offset);

/*
 * The memory behind the BAR images: one memfd a function; BAR @bar begins at @offset of it. The
 * door serves page faults of clients from it; lock-free.
 */
int pcif_bar_memfd(const struct pcif *f, unsigned bar, uint64_t *offset);
/*
 * Lets the image of @bar be @image (a mapping of the same bytes that clients share) or, with NULL,
 * our own mapping of the memfd again. Only while the function is quiet (before or after clients).
 */
void pcif_bar_set_image(struct pcif *f, unsigned bar, void *image);
/*
 * For an @image whose SHARED and RAM pages are others than the memfd's, namely those of @fd (a
 * memfd too) at @offset + their place in the BAR: the contents move along, first there and, with
 * NULL, back. 0; or what the copying gave: nothing moved then, but for a move back, which is done
 * with what could be copied. @fd is borrowed until then.
 */
int pcif_bar_move_image(struct pcif *f, unsigned bar, void *image, int fd, uint64_t offset);
/* Clients can from now on map SHARED pages / the last client is gone, and each BAR has its own
 * image again when this returns. Any thread. */
void pcif_set_shared(struct pcif *f, bool on);

/* Function-level reset (also what D3hot to D0 does): config and model to power-on state, BARs and
 * command register 0. To keep more, save config before and write it after, command last. */
void pcif_reset(struct pcif *f);
uint64_t pcif_reset_count(const struct pcif *f);
/* Who uses the function, for those who watch: a number of the upper layers, 0: nobody. Any thread.
 */
void pcif_set_client(struct pcif *f, unsigned client);
unsigned pcif_client(const struct pcif *f);

/*
 * Where interrupts go. pci calls the sink from the raising thread without a lock of its own that
 * the sink's caller could hold; the sink must not block.
 */
struct pcif_irq_sink {
	void (*message)(void *data, unsigned vector);
	/* The pin is asserted and nothing masks it in pci. Called on the rising edge. */
	void (*intx)(void *data);
	void *data;
};
/* Also sets the enable bit of the capability and, for MSI-X, unmasks; both again after each reset,
 * which the connection outlives. NONE disconnects and waits until no call of the old sink is
 * running: hold no lock that a sink takes. */
void pcif_irq_connect(struct pcif *f, enum pcif_irq_mode mode, unsigned vectors,
		      const struct pcif_irq_sink *sink);
/*
 * A reset waits for the model's threads, and these may be in a sink that waits for a client. @cb is
 * told before and after any reset of @f, also one that comes with its PF's: while @hold the sink
 * must not wait, and what is in it must get out. It is called from any thread, holding locks of
 * pci; and at once if a reset is running. NULL: nobody is told any more, nor is being told when
 * this returns.
 */
void pcif_set_hold_cb(struct pcif *f, void (*cb)(void *data, bool hold), void *data);
bool pcif_intx_level(const struct pcif *f);
uint64_t pcif_irq_count(const struct pcif *f); /* messages and edges delivered */

/* ------------------------------------------------------------------ the machine's tree */

typedef void (*pcim_reset_cb)(void *data, struct pcif *f);

int pcim_new(struct pcim **m);
void pcim_free(struct pcim *m);
/* Before functions are added. Both may be called from any thread later. */
void pcim_set_fault_cb(struct pcim *m, iommu_fault_cb cb, void *data);
void pcim_set_reset_cb(struct pcim *m, pcim_reset_cb cb, void *data);
/* Models of bridges; ends with NULL. Those of devices are not pci's to know. */
extern const struct pcif_model *const pcim_bridge_models[];

/**
 * pcim_add() - makes a function of @model at @bdf, below a PCI Express root port of its own.
 * The port is made by pcim_enumerate(), on root bus (bdf.bus - 1) at 00.0, and has ACS; of buses in
 * a row (65, 66, ...) all ports sit on the root bus before the first, one slot each. A second
 * function on a bus that exists joins it. -EEXIST address or bus taken; -EINVAL bus 0, device not
 * 0, description impossible; -ENOMEM; or what create() gave.
 */
int pcim_add(struct pcim *m, struct pci_bdf bdf, const struct pcif_model *model,
	     const struct pcif_params *params, struct pcif_reply_error *err);
/*
 * The other way, by hand: root buses, functions on them, buses below those that are bridges, and so
 * on. The numbers below a root bus only ever grow: give a bridge its bus after all that is on the
 * bridge's own bus was added, and in order of address, as firmware does.
 */
/**
 * pcim_add_root_bus() - @numa_node: of all that is below; -1: none.
 * -EINVAL no such number; -EEXIST the number is taken; -ENOMEM.
 */
int pcim_add_root_bus(struct pcim *m, uint32_t domain, unsigned bus, int numa_node,
		      struct pcif_reply_error *err);
/**
 * pcim_add_on_bus() - makes a function on a bus that is there; @f (may be NULL) is borrowed.
 * -EEXIST address taken; -EINVAL no such bus, or not a place for what it is; else as pcim_add().
 */
int pcim_add_on_bus(struct pcim *m, struct pci_bdf bdf, const struct pcif_model *model,
		    const struct pcif_params *params, struct pcif_reply_error *err,
		    struct pcif **f);
/**
 * pcim_open_bus() - gives the bus below @bridge its number, @bus or (0) the next one.
 * -EINVAL too low a number; -EEXIST taken; -ENOSPC there is none left; -EBUSY it has one.
 */
int pcim_open_bus(struct pcif *bridge, unsigned bus, struct pcif_reply_error *err, uint8_t *number);
/* The root buses, once enumerated: false where there are no more than @i. They are there for good.
 */
bool pcim_root_bus(const struct pcim *m, unsigned i, uint32_t *domain, uint8_t *bus);
/* Nobody has the number, nor is it between a root bus and the last bus below that. */
bool pcim_bus_free(const struct pcim *m, uint32_t domain, unsigned bus);

int pcim_params_new(struct pcif_params **params);
void pcim_params_free(struct pcif_params *params);
int pcim_params_set(struct pcif_params *params, const char *key, const char *value); /* -EEXIST */
/* After the last function: ports of those that pcim_add() made, BAR addresses, windows, groups.
 * -EINVAL a function 0 or a bus below a bridge is missing, a bus number in the way, or done before;
 * -ENOSPC BARs do not fit; -ENOMEM. */
int pcim_enumerate(struct pcim *m);

/*
 * Functions are reference counted, because they can leave the tree while somebody still has them:
 * they are not found any more then, and their model lives until the last reference is gone. The
 * tree has a lock of its own, innermost but for nothing that waits.
 */
struct pcif *pcif_get(struct pcif *f);
void pcif_put(struct pcif *f);		 /* NULL is fine; not with a lock of @f held */
bool pcif_present(const struct pcif *f); /* is in the tree now; any thread */

/* The functions that are there at this moment, in order of address, ports included; with a
 * reference on each. Any thread. 0 or -ENOMEM. */
struct pcim_list {
	struct pcif **f;
	unsigned n;
};
int pcim_list(struct pcim *m, struct pcim_list *list);
void pcim_list_free(struct pcim_list *list); /* zeroed is fine; zeroes it */
/* Calls @cb for each, under the tree's lock: it must not wait, nor change the tree. */
void pcim_for_each(struct pcim *m, void (*cb)(void *data, struct pcif *f), void *data);
struct pcif *pcim_get(struct pcim *m, struct pci_bdf bdf); /* a new reference, or NULL */

/* Borrowed: for who builds the tree, or knows that nobody changes it meanwhile. */
unsigned pcim_count(const struct pcim *m);
struct pcif *pcim_function(const struct pcim *m, unsigned i);
struct pcif *pcim_find(const struct pcim *m, struct pci_bdf bdf);

/**
 * pcim_unplug() - take @f out of the tree; its hardware stays in its slot.
 * The caller has seen to it that nothing is below it and nobody drives it. What has references goes
 * on to work. Returns 0; -ENODEV: it is not in the tree; -EBUSY: a PF with VFs; -ENOMEM.
 */
int pcim_unplug(struct pcif *f);
/**
 * pcim_plug() - find again what was unplugged and whose bridge is there: a scan of the buses, or of
 * the bus that @on tells (its domain and bus) and of those below it. It finds no VFs.
 * Groups are worked out anew for what is found. Returns how many, or -ENOMEM.
 */
int pcim_plug(struct pcim *m, const struct pci_bdf *on);

/* ------------------------------------------------------------------ SR-IOV */

/*
 * A PF is a function with desc.sriov.total_vfs. Its VFs are in the tree from pcim_sriov_enable() to
 * pcim_sriov_disable(), with the same bridge above as the PF, and each has a reference on it.
 */
bool pcif_is_vf(const struct pcif *f);
struct pcif *pcif_pf(const struct pcif *f);	       /* of a VF, borrowed; NULL: it is none */
unsigned pcif_vf_index(const struct pcif *f);	       /* of a VF */
unsigned pcif_num_vfs(const struct pcif *pf);	       /* how many are enabled; any thread */
struct pcif *pcim_vf(struct pcif *pf, unsigned index); /* a new reference; NULL: not there */
struct pci_bdf pcif_vf_bdf(const struct pcif *pf, unsigned index); /* there or not */
/* Where BAR @bar of VF 0 begins, those of the others follow; 0: it has none, or no room. */
uint64_t pcif_vf_bar_address(const struct pcif *pf, unsigned bar);
/**
 * pcim_sriov_enable() - make VFs 0 to @n - 1 and switch them on.
 * Returns 0; -EINVAL: no PF, or @n not from 1 to total_vfs; -EBUSY: VFs are enabled; -ENODEV: the
 * PF is not in the tree; -ENOMEM: also too few bus numbers below the bridge above, or no addresses
 * for VF BARs; -EEXIST: one of their addresses is taken; -EMFILE; what create_vf() gave.
 */
int pcim_sriov_enable(struct pcif *pf, unsigned n);
/* Takes the VFs out of the tree and switches them off; each is reset. Nobody drives them. */
void pcim_sriov_disable(struct pcif *pf);
/* After a reset of @pf, which clears the capability: puts it as pcim_sriov_enable() left it. Its
 * VFs are there again, and as after a reset. Nothing happens where @pf is no PF. */
void pcif_sriov_restore(struct pcif *pf);

struct pcif *pcif_parent(const struct pcif *f); /* bridge above, NULL on a root bus */
uint8_t pcif_root_bus(const struct pcif *f);
void pcif_bridge_buses(const struct pcif *f, uint8_t *secondary, uint8_t *subordinate);

/* Isolation groups (rules A1 to A7 of docs/pci.md), numbers from 0. A function has its number for
 * as long as it is in the tree; one that nobody has any more is given out again. */
unsigned pcim_group_count(const struct pcim *m); /* how many there are */
unsigned pcif_group(const struct pcif *f);
/* Why a function got the number that another one had. */
enum pcif_group_why {
	PCIF_GROUP_OWN,	   /* it did not */
	PCIF_GROUP_BRIDGE, /* the bridge @other puts its own id on what passes */
	PCIF_GROUP_PATH,   /* @other, on the way to the root, has no ACS */
	PCIF_GROUP_SLOT,   /* @other is of the same device, and neither has ACS */
	PCIF_GROUP_ALIAS,  /* @other uses the same id */
};
enum pcif_group_why pcif_group_why(struct pcif *f, struct pci_bdf *other);

#endif
