/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * iommu: I/O address spaces between devices and client memory.
 *
 * Three objects. A *memory* is a way to reach a client's memory (a process's address space). A
 * *space* maps I/O virtual addresses (IOVA) onto pieces of memories. A *port* is a function's place
 * at the IOMMU: it is attached to at most one space, and every byte that the function's model moves
 * goes through it. An access that is not mapped, or not permitted, over its whole length moves no
 * byte, returns -EFAULT and is reported as a fault.
 *
 * Locking: any call may come from any thread. Translation takes no lock. Unmap, detach and free
 * return only when no access through what they removed is in flight any more.
 */
#ifndef UVFIO_IOMMU_H
#define UVFIO_IOMMU_H

#include <sys/uio.h>

#include "base/base.h"

/* What the device may do. */
#define IOMMU_READ 1u  /* device reads memory (DMA from memory) */
#define IOMMU_WRITE 2u /* device writes memory (DMA to memory) */

/* The window that x86 keeps for message signalled interrupts; never mappable. */
#define IOMMU_MSI_FIRST 0xfee00000ull
#define IOMMU_MSI_LAST 0xfeefffffull

/* ------------------------------------------------------------------ faults */

enum iommu_reason {
	IOMMU_FAULT_NOT_MAPPED,	   /* some byte of the access has no mapping */
	IOMMU_FAULT_PERMISSION,	   /* mapped, but not for this direction */
	IOMMU_FAULT_BLOCKED,	   /* the function's group is attached to no space */
	IOMMU_FAULT_BUS_MASTER,	   /* the function's bus master bit is clear */
	IOMMU_FAULT_CLIENT_MEMORY, /* mapped, but the client's memory behind it is gone */
	IOMMU_FAULT_OVERFLOW,	   /* the access would pass the end of the address space */
};
const char *iommu_reason_name(enum iommu_reason reason); /* "not-mapped", "permission", ... */

struct iommu_fault {
	const char *port; /* name of the function, "0000:65:00.0"; borrowed for the call */
	uint64_t iova;	  /* where the access began */
	uint64_t size;	  /* bytes */
	unsigned access;  /* IOMMU_READ or IOMMU_WRITE */
	enum iommu_reason reason;
};

/* Called on the faulting thread, with no lock held. Must be quick and thread-safe. */
typedef void (*iommu_fault_cb)(void *data, const struct iommu_fault *fault);

/* ------------------------------------------------------------------ memory of clients */

struct iommu_mem; /* reference counted */

/**
 * iommu_mem_process() - the address space of a client process, as it is now.
 * @tid: a thread of it (as FUSE names it), alive and blocked in a call to us
 *
 * Bound to the mm: if the process execs or dies, accesses fail (IOMMU_FAULT_CLIENT_MEMORY); another
 * process that gets the same pid is never touched. Two calls for threads of one mm may return the
 * same object (-> one window per shared memory object, not one per mapping). The last few are
 * cached, with a check that the thread and its mm are still the ones that were cached.
 * Returns 0, -ESRCH, -EPERM (not allowed to trace it), -ENOMEM, -EMFILE.
 */
int iommu_mem_process(pid_t tid, struct iommu_mem **mem);
/**
 * iommu_mem_process_read() - iommu_mem_process() and iommu_mem_read() in one, for argument blocks.
 * Cheaper than the two: the read itself proves that the cached mm is alive.
 * Returns 0, -EFAULT (then no memory is returned), or what iommu_mem_process() returns.
 */
int iommu_mem_process_read(pid_t tid, uint64_t vaddr, void *buf, size_t size,
			   struct iommu_mem **mem);
/* Whether this kernel tells cheaply where memory of a process lies (PROCMAP_QUERY, Linux 6.11). */
bool iommu_has_procmap_query(void);
/* Forgets the cached processes and closes their descriptors, but for those that mappings use. */
void iommu_mem_cache_drop(void);
/**
 * iommu_mem_buffer() - a buffer of our own, for tests, fuzzing and benchmarks.
 * Its addresses are @base's own; 0..@size-1 name the same bytes, for inputs that must not change
 * from run to run. @base stays the caller's. Returns 0, -EINVAL, -ENOMEM.
 */
int iommu_mem_buffer(void *base, size_t size, struct iommu_mem **mem);
/**
 * iommu_mem_file() - a memfd, or another file in memory (tmpfs, hugetlbfs); addresses are offsets.
 * @fd: borrowed. Returns 0, -EINVAL (another kind of file), -ENOMEM, -EMFILE.
 */
int iommu_mem_file(int fd, struct iommu_mem **mem);
/**
 * iommu_mem_remote() - memory that only its owner can reach, who is asked by messages say.
 * @remote, @data: borrowed until @free, which is called once nothing uses the memory
 *
 * read and write move all @size bytes or return -EFAULT. They come from any thread, several at a
 * time, and may take their time, but have to end whatever the owner does. Unlike with memory that
 * we reach ourselves, unmap does not wait for them: the owner knows what he has unmapped, and he
 * may be waiting for the unmap before he answers. Returns 0, -ENOMEM.
 */
struct iommu_remote {
	int (*read)(void *data, uint64_t address, void *buf, size_t size);
	int (*write)(void *data, uint64_t address, const void *buf, size_t size);
	void (*free)(void *data);
};
int iommu_mem_remote(const struct iommu_remote *remote, void *data, struct iommu_mem **mem);
struct iommu_mem *iommu_mem_get(struct iommu_mem *mem);
void iommu_mem_put(struct iommu_mem *mem); /* NULL is fine */
/* Plain access at the client's own virtual addresses: 0 or -EFAULT. For argument blocks. */
int iommu_mem_read(struct iommu_mem *mem, uint64_t vaddr, void *buf, size_t size);
int iommu_mem_write(struct iommu_mem *mem, uint64_t vaddr, const void *buf, size_t size);

/* ------------------------------------------------------------------ address spaces */

struct iommu_space; /* reference counted */

struct iommu_mapping {
	uint64_t first, last; /* IOVA */
	uint64_t vaddr;	      /* client address of @first */
	unsigned perm;	      /* IOMMU_READ | IOMMU_WRITE */
	bool direct;	      /* reached by our own mapping of shared memory (else by the kernel) */
};

int iommu_space_new(struct iommu_space **space);
struct iommu_space *iommu_space_get(struct iommu_space *space);
void iommu_space_put(struct iommu_space *space);

/**
 * iommu_space_map() - map [@iova, @iova+@size-1] to @vaddr of @mem.
 * Checks what Linux's vfio_dma_do_map() checks of ranges: size 0 -EINVAL; wrap -EOVERFLOW; not page
 * aligned -EINVAL; overlap -EEXIST; outside iommu_space_ranges() -EINVAL; client memory not there
 * or not permitted (a WRITE mapping of read-only memory) -EFAULT; table full -ENOSPC; -ENOMEM.
 */
int iommu_space_map(struct iommu_space *space, uint64_t iova, uint64_t size, unsigned perm,
		    struct iommu_mem *mem, uint64_t vaddr);

/* How a request may meet the mappings (see docs and Linux vfio_dma_do_unmap()). */
enum iommu_unmap_rule {
	IOMMU_UNMAP_EXACT,  /* type1 v2: a mapping cut by either end: -EINVAL, nothing removed */
	IOMMU_UNMAP_LEGACY, /* type1 v1: each mapping that starts inside goes, whole */
	IOMMU_UNMAP_ALL,    /* everything; @iova and @size are not looked at */
};
/* *@removed: bytes. Returns when no access through the removed mappings is in flight. */
int iommu_space_unmap(struct iommu_space *space, enum iommu_unmap_rule rule, uint64_t iova,
		      uint64_t size, uint64_t *removed);

size_t iommu_space_count(struct iommu_space *space);
/* Limit on the number of mappings (65535 as type1's dma_entry_limit, until set otherwise). */
void iommu_space_set_limit(struct iommu_space *space, size_t limit);
/* Calls @cb in order of IOVA, under the space's lock: it must not call back into the space. */
void iommu_space_for_each(struct iommu_space *space,
			  void (*cb)(void *data, const struct iommu_mapping *m), void *data);
/* Usable IOVA ranges: [0, MSI_FIRST-1], [MSI_LAST+1, 2^48-1]. Returns their number (2). */
unsigned iommu_space_ranges(const struct iommu_space *space, uint64_t first[], uint64_t last[],
			    unsigned max);

/* Dirty log: pages written by devices, 4 KiB granularity. start and stop are idempotent. */
int iommu_space_dirty_start(struct iommu_space *space);
int iommu_space_dirty_stop(struct iommu_space *space);
bool iommu_space_dirty_started(const struct iommu_space *space);
/**
 * iommu_space_dirty_fetch() - copy and clear the bits of [@iova, @iova+@size-1] into @bitmap
 * (little-endian u64 words, bit 0 of word 0 is the page at @iova; caller zeroed it). NULL: only say
 * whether it could be done.
 * -EINVAL if not started, or if the range cuts a mapping.
 */
int iommu_space_dirty_fetch(struct iommu_space *space, uint64_t iova, uint64_t size,
			    uint64_t *bitmap);
/**
 * iommu_space_dirty_take() - the same of a range that may cut mappings, as iommufd asks for it.
 * @clear: take the bits out of the log
 * Goes on until a page is not mapped. Returns 0; -ENOENT: it came to such a page; -EINVAL: not
 * started.
 */
int iommu_space_dirty_take(struct iommu_space *space, uint64_t iova, uint64_t size, bool clear,
			   uint64_t *bitmap);

/* ------------------------------------------------------------------ ports */

struct iommu_port;

/* @name is copied. @cb (may be NULL) is told of every fault. Starts attached to nothing and not
 * enabled, as a function comes out of reset. Returns 0 or -ENOMEM. */
int iommu_port_new(const char *name, iommu_fault_cb cb, void *data, struct iommu_port **port);
void iommu_port_free(struct iommu_port *port);
/* Takes its own reference; NULL detaches. Waits for accesses in flight through the old space. */
void iommu_port_attach(struct iommu_port *port, struct iommu_space *space);
struct iommu_space *iommu_port_space(struct iommu_port *port); /* new reference, or NULL */
/* Bus master bit: while false every access faults (IOMMU_FAULT_BUS_MASTER). Waits as attach does.
 */
void iommu_port_set_enabled(struct iommu_port *port, bool enabled);

/* 0, or -EFAULT: a fault was reported and no byte was moved (save when client memory vanished
 * while it was being copied). */
int iommu_read(struct iommu_port *port, uint64_t iova, void *buf, size_t size);
int iommu_write(struct iommu_port *port, uint64_t iova, const void *buf, size_t size);

/**
 * struct iommu_pin - client memory held for zero-copy input and output.
 * While held, unmap of these addresses and detach of the port wait: release soon. Only direct
 * memory (shared mappings) can be pinned.
 */
struct iommu_pin {
	struct iovec iov[8];
	unsigned n_iov;
	/* The rest belongs to the iommu. */
	unsigned access, n_held;
	uint64_t iova, size;
	void *port, *place;
	void *held[8];
};
/* 0; -EFAULT (fault reported); -EOPNOTSUPP: not direct, or more than 8 pieces: copy instead. The
 * memory may raise SIGBUS when touched (file truncated): pass it to the kernel, or guard_copy. */
int iommu_pin(struct iommu_port *port, uint64_t iova, size_t size, unsigned access,
	      struct iommu_pin *pin);
void iommu_unpin(struct iommu_pin *pin);

/**
 * struct iommu_span - a mapping held whole, for a model that moves many small things.
 * As a pin, it makes unmap of that mapping and detach of the port wait: release after a batch. What
 * was written has to be said, for the dirty log.
 */
struct iommu_span {
	uint64_t first, last; /* IOVA */
	uint8_t *host;	      /* of @first; may raise SIGBUS when touched: guard_copy, guard_call */
	unsigned perm;
	uint64_t n_read, n_written; /* bytes, for the port's statistics; the caller counts reads */
	/* The rest belongs to the iommu. */
	void *port, *place, *held;
};
/* The mapping in which [@iova, @iova+@size-1] lies. 0; -EFAULT (fault reported); -EOPNOTSUPP: it is
 * not direct, or the bytes lie in more than one: pin or copy instead. */
int iommu_span_get(struct iommu_port *port, uint64_t iova, size_t size, unsigned access,
		   struct iommu_span *span);
void iommu_span_wrote(struct iommu_span *span, uint64_t iova, size_t size); /* after the data */
/* The same in two steps, for who writes a lot: the caller counts n_written; what was written is
 * marked if, after the data, there is somebody who wants to know. */
bool iommu_span_logged(const struct iommu_span *span);
void iommu_span_mark(struct iommu_span *span, uint64_t iova, size_t size);
void iommu_span_put(struct iommu_span *span);

struct iommu_port_stats {
	uint64_t read_bytes, write_bytes, faults;
};
void iommu_port_get_stats(const struct iommu_port *port, struct iommu_port_stats *stats);

#endif
