/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of the iommu folder share. */
#ifndef UVFIO_IOMMU_PRIV_H
#define UVFIO_IOMMU_PRIV_H

#include <assert.h>
#include <pthread.h>

#include "iommu/iommu.h"

/* ------------------------------------------------------------------ VMAs of a process (procmap.c)
 */

struct procmap {
	int fd;		      /* /proc/TID/maps: bound to the mm that was there at open */
	_Atomic bool text;    /* this kernel has no PROCMAP_QUERY: read the file */
	pthread_mutex_t lock; /* text mode: the position of @fd */
};

struct procmap_vma {
	uint64_t first, last;
	uint64_t offset; /* of @first in the file */
	uint64_t inode;	 /* 0: no file */
	uint32_t major, minor;
	bool readable, writable, shared;
};

/* @fd: consumed on success only. */
int procmap_init(struct procmap *pm, int fd);
void procmap_fini(struct procmap *pm);
/* The VMA that holds @addr or else the next above. -ENOENT: none; -ESRCH: the mm is gone; -EIO. */
int procmap_next(struct procmap *pm, uint64_t addr, struct procmap_vma *vma);

/* ------------------------------------------------------------------ memories (mem.c, process.c) */

struct window;

/* Where a piece of a memory is found. */
struct iommu_place {
	uint8_t *host;	       /* our own address of it, or NULL: by ops->read and ops->write */
	struct window *window; /* the reference that keeps @host, or NULL */
};

struct iommu_mem_ops {
	/* Whoever unmaps does not wait for accesses: they can depend on who is unmapping. */
	bool unwaited;
	/* 0 or -EFAULT; some bytes may have moved then. */
	int (*read)(struct iommu_mem *mem, uint64_t vaddr, void *buf, size_t size);
	int (*write)(struct iommu_mem *mem, uint64_t vaddr, const void *buf, size_t size);
	/* Checks that [@vaddr, @vaddr+@size-1] is there and permits @perm. 0, -EFAULT, -ENOMEM. */
	int (*locate)(struct iommu_mem *mem, uint64_t vaddr, uint64_t size, unsigned perm,
		      struct iommu_place *place);
	void (*free)(struct iommu_mem *mem);
};

struct iommu_mem {
	const struct iommu_mem_ops *ops;
	_Atomic uint32_t refs;
};

/* For tests: as if this kernel had no PROCMAP_QUERY. */
void process_mem_use_text(struct iommu_mem *mem);

/* ------------------------------------------------------------------ windows (window.c) */

#define WINDOW_BUCKETS 64
#define WINDOW_ABSENT 16

/* Our own mappings of the shared memory objects of one process. One lock for all sets. */
struct window_set {
	struct window *bucket[WINDOW_BUCKETS];
	struct {
		uint64_t inode;
		uint32_t major, minor;
	} absent[WINDOW_ABSENT]; /* objects that no descriptor of the client leads to */
	unsigned absent_next;
};

void window_set_init(struct window_set *set);
void window_set_fini(struct window_set *set);
/**
 * window_get() - our address of @size bytes at @offset of the client's file.
 * @proc_fd: directory /proc/TID of a thread of the client, which may have ended
 * @tid: another one, looked at as well
 * @vma: names the file
 * Returns 0, or -ENOENT where the file cannot be reached or mapped: go through the process.
 */
int window_get(struct window_set *set, int proc_fd, pid_t tid, const struct procmap_vma *vma,
	       uint64_t offset, uint64_t size, bool write, struct iommu_place *place);
void window_put(struct window *w);
/* Files that are served by no process, and their names as @vma says them. -EINVAL: not such a one.
 */
int window_file_check(int fd, struct procmap_vma *vma);
/* The same of a file that is open as @fd, which window_file_check() accepted. */
int window_get_file(struct window_set *set, int fd, const struct procmap_vma *vma, uint64_t offset,
		    uint64_t size, bool write, struct iommu_place *place);

/* ------------------------------------------------------------------ table memory (slab.c) */

struct slab_chunk;

struct slab {
	const size_t object_size; /* a multiple of 64 */
	pthread_mutex_t lock;	  /* guards the rest */
	struct slab_chunk *partial;
	size_t chunks;
};
#define SLAB_INIT(size)                                                                            \
	{                                                                                          \
		.object_size = (size), .lock = PTHREAD_MUTEX_INITIALIZER                           \
	}

void *slab_alloc(struct slab *s); /* zeroed, aligned to 64 bytes, or NULL */
void slab_free(struct slab *s, void *object);

/* ------------------------------------------------------------------ mappings (tree.c, space.c) */

/* One line of cache: all that an access looks at. */
struct mapping {
	uint64_t first, last; /* IOVA */
	union {
		uint8_t *host;
		uint64_t vaddr;
	} base;				   /* of @first; which one: @direct */
	struct iommu_mem *mem;		   /* owns a reference */
	_Atomic(_Atomic uint64_t *) dirty; /* a bit a page, or NULL */
	struct window *window;		   /* owns a reference, or NULL */
	union {
		uint64_t vaddr;	      /* while mapped: as the client gave it */
		struct mapping *next; /* once removed: what is to be freed together */
	} cold;
	_Atomic uint32_t pins; /* number of pins, and PINS_DYING */
	uint8_t perm;
	bool direct;
};
static_assert(sizeof(struct mapping) == 64, "a mapping is a cache line");

#define PINS_DYING BIT(31) /* removed; whoever takes the last pin away wakes the remover */

struct tree_node;
struct port_place;

struct tree {
	_Atomic uintptr_t root; /* an entry, see tree.c */
};

/* Translation; takes no lock. The mapping lives while the caller's access section lasts. */
struct mapping *tree_find(const struct tree *t, uint64_t iova);
/* The writers' side: under the space's lock. */
struct mapping *tree_next(const struct tree *t, uint64_t iova); /* ends at or after @iova */
int tree_insert(struct tree *t, struct mapping *m, struct tree_node **retired); /* 0 or -ENOMEM */
void tree_remove(struct tree *t, struct mapping *m, struct tree_node **retired);
/* Nodes that readers may still look at until a grace period has passed. */
void tree_free_retired(struct tree_node *retired);

struct iommu_space {
	_Atomic uint32_t refs;
	_Atomic bool dirty;
	_Atomic uint64_t generation; /* of removals; no two spaces ever have the same one */
	struct tree tree;	     /* written under @lock */
	pthread_mutex_t lock;	     /* guards what follows, and writes of @tree and of dirty */
	size_t count, limit;
	struct port_place *places; /* of the ports that are attached */
};

/* ------------------------------------------------------------------ ports (access.c, port.c) */

/* A port's attachment to one space. Two of them take turns, so that an attach can wait for the
 * pins of the old one while the new one is in use. */
struct port_place {
	struct iommu_space *space;
	_Atomic uint32_t pins;	 /* number of pins, and PINS_DYING */
	struct iommu_port *port; /* that it is a part of; never changes */
	struct port_place *next; /* of the same space, under its lock */
};

#define PORT_USERS 8

struct iommu_port {
	_Atomic(struct port_place *) place; /* NULL: attached to nothing */
	uint64_t serial;		    /* no two ports ever have the same one; not 0 */
	_Atomic bool enabled;
	_Atomic bool crowded; /* more slots than @users has room for */
	_Atomic uint64_t read_bytes, write_bytes, faults;
	iommu_fault_cb cb;
	void *cb_data;
	char *name;
	struct port_place places[2];
	pthread_mutex_t attach_lock; /* one attach at a time. Before a space's lock. */
	_Atomic(struct access_slot *) users[PORT_USERS]; /* slots that were ever used with it */
};

/* A thread's mark that it is inside an access, and what it remembers. */
struct access_slot {
	_Atomic(struct iommu_port *) port; /* NULL: outside */
	_Atomic uint64_t section;	   /* number of the access */
	uint64_t generation;		   /* the space's when @last was found */
	struct mapping *last;
	uint64_t registered;	  /* serial of the port that it was last entered at */
	struct access_slot *next; /* never changes once listed */
	_Atomic bool taken;
} __attribute__((aligned(64)));

struct access_slot *access_enter(struct iommu_port *port);
void access_leave(struct access_slot *slot);
/* The mapping at @iova, first looking at the last one that this thread found. Inside a section. */
struct mapping *access_find(struct access_slot *slot, struct iommu_space *space, uint64_t iova);
/* Returns when every access through @port that began before the call has ended. */
void access_wait_port(struct iommu_port *port);
/* The same for all ports of @space. Takes its lock. */
void access_wait_space(struct iommu_space *space);

/* A new number for iommu_space.generation. */
uint64_t space_generation_next(void);
/* Bits of the pages [first,last] (IOVA) of @m, which holds them all. In a section, after the data.
 */
void space_dirty_mark(struct iommu_space *space, struct mapping *m, uint64_t first, uint64_t last);
void space_place_add(struct iommu_space *space, struct port_place *place);
void space_place_remove(struct iommu_space *space, struct port_place *place);

/* Waits until there is no pin on something that can get no new one. Holds no other lock. */
void pins_wait(_Atomic uint32_t *pins);

#endif
