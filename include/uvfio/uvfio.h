/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libuvfio: PCI devices in software, for people who write them.
 *
 * A device is a *model*: a description (ids, BARs, register tables, capabilities), which is data,
 * and a few functions. A program that gives its models to uvfio_main() is the `uvfio` command with
 * these models beside those that uvfio brings: `run` shows the device to unmodified programs as
 * /dev/vfio, `serve` serves it by vfio-user, `up`, `list`, machine files and all the rest are
 * there. A model cannot tell how its client came. See uvfio(3) and examples/devices.
 *
 * Functions return 0 or a negative errno. Nothing here is to be called in a forked child.
 *
 * Threads: each function of a device has one *register lock*. bar_read, bar_write and the hooks of
 * register tables are called with it held, one at a time; create, destroy and reset without it. A
 * model's own threads take it with uvfio_lock(). DMA and interrupts may be called from any thread,
 * with or without it. Never wait for a client while holding it.
 */
#ifndef UVFIO_UVFIO_H
#define UVFIO_UVFIO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif

struct uvfio_function; /* a PCI function that a model made; uvfio's */
struct uvfio_params;   /* the keys that were given for a device; for the call */

/* One line for the person who wrote them; names cause and remedy. */
struct uvfio_error {
	char text[256];
};
/* Writes the text, returns @errnum (negative), for `return uvfio_error(err, -EINVAL, ...)`. */
int uvfio_error(struct uvfio_error *err, int errnum, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* ------------------------------------------------------------------ registers */

/*
 * PLAIN: what clients write changes the bits of wmask, and @write is told if something changed.
 * MAILBOX: each write is a command for @write; it reads 0. STATUS: clients read it, the model
 * writes it (uvfio_reg_set()). All have 32 bits; accesses of 1, 2 and 8 bytes are put together or
 * cut. On pages that clients can map a store is seen by a look at the page: the same hooks run, of
 * PLAIN registers for a value that is another one, of mailboxes for one that is not 0.
 */
enum uvfio_reg_kind { UVFIO_REG_PLAIN, UVFIO_REG_MAILBOX, UVFIO_REG_STATUS };

struct uvfio_reg {
	const char *name;
	uint32_t offset; /* in the BAR, a multiple of 4 */
	enum uvfio_reg_kind kind;
	uint32_t reset; /* value after a reset */
	uint32_t wmask; /* bits that a write changes */
	uint32_t w1c;	/* bits that writing 1 clears */
	uint32_t count; /* 0 and 1: one register; n: an array, @stride bytes apart */
	uint32_t stride;
	/* With the register lock. @state: regs_state of the BAR, or the model's. May be NULL. */
	void (*write)(void *state, unsigned index, uint32_t value);
	/* Before a trapped read; returns what the client gets. May be NULL. */
	uint32_t (*read)(void *state, unsigned index);
};

/* ------------------------------------------------------------------ the description */

#define UVFIO_BARS 6

enum uvfio_bar_type { UVFIO_BAR_NONE, UVFIO_BAR_IO, UVFIO_BAR_MEM32, UVFIO_BAR_MEM64 };

/*
 * How clients may reach a page of a memory BAR. TRAP: each access is told to the model. SHARED: by
 * mmap as well; registers of a table there are looked at. RAM: memory, nobody is told.
 */
enum uvfio_page { UVFIO_PAGE_TRAP, UVFIO_PAGE_SHARED, UVFIO_PAGE_RAM };

struct uvfio_bar_area {
	uint64_t offset, size; /* multiples of 4096 */
	enum uvfio_page policy;
};

struct uvfio_bar {
	enum uvfio_bar_type type; /* MEM64 takes the next BAR too */
	bool prefetchable;
	uint64_t size;			/* a power of two; memory at least 4096 */
	struct uvfio_bar_area areas[4]; /* pages that none names are TRAP */
	unsigned n_areas;
	const struct uvfio_reg *regs; /* static; NULL: bar_read and bar_write are called */
	unsigned n_regs;
	void *regs_state; /* for hooks of @regs; NULL: the model's state */
};

/* What a function has for virtual functions; each is made by create_vf. */
struct uvfio_sriov {
	uint16_t total_vfs; /* 0: none; up to 256 */
	uint16_t vf_device; /* device id of each; vendor, class and subsystem are the PF's */
	struct uvfio_bar bars[UVFIO_BARS]; /* of each VF; memory */
};

struct uvfio_description {
	uint16_t vendor, device, subsystem_vendor, subsystem_device;
	uint32_t class_code; /* 24 bits: base class, subclass, programming interface */
	uint8_t revision;
	struct uvfio_bar bars[UVFIO_BARS];
	uint8_t intx_pin;      /* 0: none; 1 to 4: INTA to INTD */
	unsigned msi_vectors;  /* 0: no MSI; a power of two up to 32 */
	unsigned msix_vectors; /* 0: no MSI-X; up to 2048 */
	uint8_t msix_bar;      /* where its table and pending bits are */
	uint32_t msix_table_offset, msix_pba_offset;
	bool pcie;		/* PCI Express, with function level reset; needed for sriov */
	bool pm;		/* power management */
	bool aer;		/* advanced error reporting */
	uint64_t serial_number; /* 0: none */
	struct uvfio_sriov sriov;
};

/* ------------------------------------------------------------------ the model */

struct uvfio_option {
	const char *key;
	const char *help; /* "SIZE  bytes of memory, with K, M or G"; for `models` and --help */
};

struct uvfio_model {
	const char *name;    /* of letters, digits and '-': what --device and machine files say */
	const char *summary; /* a few words, for --help */
	const struct uvfio_option *options; /* ends with key NULL; may be NULL */
	/*
	 * Makes a device: looks at @params, fills @description, which comes zeroed, and sets
	 * *@state. Anything but 0 is what is wrong, with the words in @err (uvfio_error()).
	 */
	int (*create)(struct uvfio_function *f, const struct uvfio_params *params,
		      struct uvfio_description *description, void **state, struct uvfio_error *err);
	/*
	 * Makes VF @index, from 0, of the PF whose state is @pf_state, which outlives it. Of
	 * @description only interrupts, pm, aer, serial_number and regs_state can be changed. NULL:
	 * no VFs.
	 */
	int (*create_vf)(struct uvfio_function *f, void *pf_state, unsigned index,
			 struct uvfio_description *description, void **state,
			 struct uvfio_error *err);
	/* Nobody uses it any more; ends the model's threads. May be NULL. */
	void (*destroy)(void *state);
	/*
	 * Back to the state that it was made in; no DMA is under way when it returns. Tables of
	 * registers have their reset values already. At any moment, on any thread. May be NULL.
	 */
	void (*reset)(void *state);
	/* Accesses to BARs that have no table; @size is 1, 2, 4 or 8, aligned. May be NULL. */
	uint64_t (*bar_read)(void *state, unsigned bar, uint64_t offset, unsigned size);
	void (*bar_write)(void *state, unsigned bar, uint64_t offset, unsigned size,
			  uint64_t value);
};

/* ------------------------------------------------------------------ keys of a device */

/* What was given for @key, or NULL; for as long as create runs. */
const char *uvfio_param(const struct uvfio_params *params, const char *key);
/* A number; *@value is left alone if none was given. 0; -EINVAL: not from @min to @max. */
int uvfio_param_number(const struct uvfio_params *params, const char *key, unsigned min,
		       unsigned max, unsigned *value, struct uvfio_error *err);
/* The same of a word: its place in @choices, which ends with NULL. */
int uvfio_param_choice(const struct uvfio_params *params, const char *key,
		       const char *const *choices, unsigned *value, struct uvfio_error *err);

/* ------------------------------------------------------------------ what a model may call */

const char *uvfio_name(const struct uvfio_function *f); /* "0000:65:00.0"; as long as @f is */
void uvfio_lock(struct uvfio_function *f);
void uvfio_unlock(struct uvfio_function *f);

/* Value of register @reg, its place in the table of @bar, and of an array element @index. With the
 * register lock. Setting runs no hook. */
uint32_t uvfio_reg_get(struct uvfio_function *f, unsigned bar, unsigned reg, unsigned index);
void uvfio_reg_set(struct uvfio_function *f, unsigned bar, unsigned reg, unsigned index,
		   uint32_t value);
/* Zeroes in all RAM pages of @bar; for reset. */
void uvfio_bar_clear(struct uvfio_function *f, unsigned bar);

/*
 * DMA, by the IOMMU. 0; -EFAULT: the client has not mapped all of it, or not for this direction, or
 * has not enabled bus mastering; nothing was moved then, and the fault is recorded.
 */
int uvfio_dma_read(struct uvfio_function *f, uint64_t iova, void *buf, size_t size);
int uvfio_dma_write(struct uvfio_function *f, uint64_t iova, const void *buf, size_t size);

/* The client's memory itself, for a short while: the client's unmap waits for it. */
#define UVFIO_DMA_READ 1u  /* the device reads it */
#define UVFIO_DMA_WRITE 2u /* the device writes it */
struct uvfio_pin {
	struct iovec iov[8];
	unsigned n_iov;
	uint64_t reserved[40];
};
/*
 * 0; -EFAULT as above; -EOPNOTSUPP: it is not memory that the client shares, or in more than 8
 * pieces: use uvfio_dma_read() or _write(). The client can take the memory away, and a touch gives
 * SIGBUS then: give @iov to the kernel (preadv() and the like), which says EFAULT.
 */
int uvfio_dma_pin(struct uvfio_function *f, uint64_t iova, size_t size, unsigned access,
		  struct uvfio_pin *pin);
void uvfio_dma_unpin(struct uvfio_pin *pin);

/* Sends message @vector of MSI or MSI-X, if the client uses these and has not masked it. */
void uvfio_irq_raise(struct uvfio_function *f, unsigned vector);
/* The level of the pin, for clients that use neither. */
void uvfio_intx_set(struct uvfio_function *f, bool level);
bool uvfio_uses_messages(const struct uvfio_function *f);

/* ------------------------------------------------------------------ the program */

/**
 * uvfio_main() - the `uvfio` command with further models.
 * @models: static, ends with NULL
 * Returns the exit status. Once, from main(), before there are threads.
 */
int uvfio_main(int argc, char **argv, const struct uvfio_model *const models[]);
const char *uvfio_version(void); /* "0.1.0" */

#ifdef __cplusplus
}
#endif

#endif
