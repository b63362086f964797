/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Private to src/vfio: the objects and what its files ask of one another.
 *
 * Locks, in the order in which they may nest:
 *   vfio.lock        groups, containers, iommufds and what is in them, who is attached to what
 *   ioas.lock        what is mapped in an IOAS, and what may be
 *   vdev.lock        one function: open count, virtual configuration, interrupt set-up, reset
 *   watch.lock       the list of watched eventfds (held while a watch's callback runs)
 *   vdev.intx_lock   INTx state; held over a wire and a look at the pin's level, nothing else of
 * pci wire.lock        one eventfd, while it is signalled wire.fd_lock     the same, while its
 * descriptor is looked at or changed Interrupts take the last three only. BAR accesses take none of
 * these.
 */
#ifndef UVFIO_VFIO_PRIV_H
#define UVFIO_VFIO_PRIV_H

#include <errno.h>
#include <pthread.h>

#include "vfio/compat.h"
#include "vfio/vfio.h"

/* ------------------------------------------------------------------ eventfds (eventfd.c) */

/* A place where an interrupt goes: a client's eventfd, or nothing. */
struct wire {
	pthread_mutex_t lock;	 /* held while signalling: who holds it may write to @fd */
	pthread_mutex_t fd_lock; /* short; @fd changes only under both */
	int fd;			 /* ours; -1 none */
	unsigned held;		 /* under both: nothing is signalled while it is not 0 */
};
void wire_init(struct wire *w);
void wire_fini(struct wire *w);
void wire_set(struct wire *w, int fd); /* consumes @fd; -1 clears */
void wire_signal(struct wire *w);      /* adds 1; never blocks for good; nothing if not set */
bool wire_is_set(struct wire *w);
/*
 * One more, or one less, who wants no signal: they are lost meanwhile. Waits for a signalling
 * thread, never for the client.
 */
void wire_hold(struct wire *w, bool hold);
/* Lets a thread go on that a client's full counter stopped while it signalled. */
void wire_rescue(struct wire *w);
/* Our own duplicate of a client's eventfd: -EBADF, -EINVAL (something else), -EMFILE. */
int eventfd_take(const struct vfio_fd *vfd, int *fd);

/*
 * Watches: one thread for the whole machine, started with the first watch, waits on eventfds and
 * calls back for each time one was signalled.
 */
struct watcher;
struct watch;
int watcher_new(struct watcher **w);
void watcher_free(struct watcher *w);
/* Consumes @fd, on failure too. The callback must not add or remove watches. */
int watch_add(struct watcher *w, int fd, void (*cb)(void *data), void *data, struct watch **watch);
/* When it returns the callback is not running and never runs again. NULL is fine. */
void watch_remove(struct watcher *w, struct watch *watch);

/* ------------------------------------------------------------------ capability chains */

/* A chain under construction, for the GET_INFO requests (chain.c). */
struct chain {
	uint8_t buf[512];
	size_t size;
	size_t last; /* offset of the last header */
};
/* Appends a zeroed capability of @size bytes, header included; returns it (NULL: chain full). */
void *chain_add(struct chain *c, uint16_t id, uint16_t version, size_t size);
/*
 * Puts the chain behind a @head bytes long structure in @data of @room bytes, or says how much
 * would be needed. @argsz and @cap_offset point at the structure's fields. Returns bytes to reply.
 */
size_t chain_reply(struct chain *c, void *data, size_t room, size_t head, uint32_t *argsz,
		   uint32_t *cap_offset);

/* ------------------------------------------------------------------ objects */

struct vfio_obj {
	enum vfio_kind kind;
	struct vfio *v;
};

struct group;

struct container {
	struct vfio_obj obj;
	/* All under vfio.lock. */
	unsigned refs; /* its file, and each group that is set to it */
	uint32_t type; /* VFIO_TYPE1_IOMMU or VFIO_TYPE1v2_IOMMU; 0: SET_IOMMU not yet */
	struct iommu_space *space; /* while @type is not 0 */
	unsigned n_groups;
};

/*
 * An isolation group with a function that vfio-pci drives. When the last such function is unbound
 * the group is lost to who has it open: its number may come back, but as another group.
 */
struct group {
	unsigned number;
	/* Under vfio.lock. */
	struct group *next; /* in vfio.groups, while @bound is not 0 */
	unsigned bound;	    /* functions that vfio-pci drives */
	unsigned refs;	    /* its file and its device files; 0: not open */
	unsigned devices;   /* device files that were opened through it */
	unsigned client;    /* while @refs is not 0 */
	struct container *container;
	struct iommufd *iommufd; /* in the place of a container; a reference */
	unsigned cdevs;		 /* devices that were bound without the group */
	/* Of those bound to an iommufd, which all are to the same one. */
	struct iommufd *owner; /* while @claims is not 0 */
	unsigned claims, attached;
	struct hwpt *hwpt;    /* while @attached is not 0 */
	unsigned hwpt_client; /* who attached it */
};

struct group_file {
	struct vfio_obj obj;
	struct group *group;
};

struct device_file {
	struct vfio_obj obj;
	struct vdev *d;
	bool cdev;	 /* opened by itself; useless until it is bound */
	unsigned client; /* of a cdev */
	_Atomic bool bound;
};

#define IOEVENTFD_MAX 1000
struct ioeventfd {
	struct ioeventfd *next;
	struct vdev *d;
	struct watch *watch;
	unsigned bar, size;
	uint64_t offset, data;
};

/* How a byte of configuration space is virtualised (device_config.c). */
struct vconfig {
	uint8_t *value; /* virtual bits */
	uint8_t *virt;	/* which bits come from @value */
	uint8_t *write; /* which bits a client may change */
	uint8_t *cap;	/* what the byte belongs to: enum of device_config.c */
	unsigned size;
	/* Offsets of shown capabilities, 0: none. */
	unsigned pm, msi, msix, exp, af, vpd, aer;
};

/* A function that vfio-pci drives, from probe to remove; its device files keep it. */
#define TOKEN_SIZE 16u

struct vdev {
	struct vfio *v;
	struct pcif *f; /* a reference */
	struct group *group;
	/* Under vfio.lock. */
	struct vdev *next;
	unsigned refs; /* vfio.devices, device files, who works on it */
	unsigned files;
	unsigned users; /* files by which it is open */
	bool leaving;	/* is being unbound: no new file */
	uint64_t id;	/* no two devices ever have the same one; constant */
	unsigned index; /* X of vfioX; constant */
	/* While it is open by way of an iommufd. */
	struct iommufd *iommufd; /* a reference */
	struct iofd_obj *devid;
	struct hwpt *hwpt; /* attached to it */
	/* Of a VF: its PF, if that is VFIO's and made it; a reference, constant. */
	struct vdev *pf;
	/* Of a PF: what opens its VFs, and how many of these are open. */
	bool has_token;
	uint8_t token[TOKEN_SIZE];
	unsigned token_users;
	struct pcif_irq_sink msg_sink, intx_sink;

	pthread_mutex_t lock; /* guards what follows, up to the next comment */
	unsigned opens;
	bool reset_works;
	_Atomic bool needs_reset; /* was closed without one */
	struct vconfig cfg;
	uint8_t *open_state; /* configuration space at open, restored at close */
	int irq_type;	     /* VFIO_PCI_*_IRQ_INDEX, -1 none */
	unsigned irq_count;  /* vectors enabled */
	struct ioeventfd *ioeventfds;
	unsigned n_ioeventfds;
	struct watch *unmask_watch;

	/* Own locks. */
	struct wire *vectors; /* @n_vectors of them */
	unsigned n_vectors;
	struct wire err, req, wake;
	pthread_mutex_t intx_lock; /* guards the three below */
	bool intx_on, intx_masked, intx_virtual_off;
	struct wire intx;

	_Atomic bool sriov; /* of a PF: VFIO makes its VFs, or has */
	_Atomic bool open;
	_Atomic bool low_power; /* LOW_POWER_ENTRY is in force */
	_Atomic bool low_power_wake;
};

struct vfio {
	struct watcher *watcher;
	vfio_event_cb event;
	void *event_data;
	pthread_mutex_t lock;  /* guards the fields named above, and the lists */
	pthread_cond_t closed; /* a device file was closed */
	atomic_bool sriov;     /* see vfio_set_sriov() */
	struct bus *bus;
	struct group *groups;
	struct vdev *devices;
	uint64_t last_id; /* of a device */
};

/* The device that @f is, with a reference, or NULL. */
struct vdev *vfio_find_device(struct vfio *v, const struct pcif *f);
void vdev_put(struct vdev *d); /* without vfio.lock; NULL is fine */
void vfio_tell(struct vfio *v, enum vfio_event_type type, unsigned group, unsigned client,
	       struct pcif *f);

/* ------------------------------------------------------------------ iommufd */

/* What a client knows by a number. All fields under vfio.lock. */
enum iofd_type { IOFD_DEVICE, IOFD_IOAS, IOFD_HWPT };
struct iofd_obj {
	enum iofd_type type;
	uint32_t id;
	unsigned users; /* who keeps it from being destroyed */
};

struct iommufd {
	struct vfio_obj obj;
	/* All under vfio.lock. */
	unsigned refs;		   /* its file, groups that are set to it, devices that are bound */
	struct iofd_obj **objects; /* by number; 0 is none */
	uint32_t room, free_from;  /* no number below is free */
	struct ioas *vfio_ioas;	   /* of VFIO's own requests; not a reference */
	bool rlimit_mode;
};

/* An I/O address space: its mappings, and the rules by which they come. See ioas.c. */
struct ioas {
	struct iofd_obj obj;
	_Atomic unsigned refs;	/* the number, and requests that work on it */
	struct hwpt *auto_hwpt; /* under vfio.lock: what attaching by the IOAS's number leads to */
	struct iommu_space *space;
	pthread_mutex_t lock; /* guards what follows */
	struct range_map areas, allowed;
	uint64_t dense;		 /* from the second page up to here all is taken */
	unsigned hwpts, devices; /* which narrow what may be mapped */
	unsigned unfit;		 /* areas that no page table could take */
	unsigned dirty;		 /* hwpts that log */
	bool small_pages;
};

/* A page table. All under vfio.lock but for constants. */
struct hwpt {
	struct iofd_obj obj;
	struct ioas *ioas; /* whose user it is */
	bool automatic;	   /* goes with its last device */
	bool can_log, logs;
};

/* iommufd.c; with vfio.lock */
int iofd_add(struct iommufd *f, struct iofd_obj *o); /* gives it a number. -ENOMEM */
void iofd_remove(struct iommufd *f, struct iofd_obj *o);
struct iofd_obj *iofd_find(struct iommufd *f, uint32_t id, enum iofd_type type);
bool iofd_known(struct iommufd *f, uint32_t id);
void iommufd_put(struct iommufd *f);
int iommufd_vfio_ioas_make(struct iommufd *f); /* if there is none yet */
static inline struct iommufd *obj_iommufd(struct vfio_obj *obj)
{
	return container_of(obj, struct iommufd, obj);
}
/* Without it. A reference, or NULL: no such IOAS. */
struct ioas *ioas_get(struct iommufd *f, uint32_t id);
struct ioas *ioas_get_vfio(struct iommufd *f);

/* ioas.c; without vfio.lock where not told otherwise */
#define IOVA_WHOLE_LAST UINT64_MAX
int ioas_new(struct ioas **ioas);
void ioas_put(struct ioas *ioas);
/* A page table or a device more or less. -EADDRINUSE: something mapped or allowed is in its way. */
int ioas_enter_hwpt(struct ioas *ioas);
void ioas_leave_hwpt(struct ioas *ioas);
int ioas_enter_device(struct ioas *ioas);
void ioas_leave_device(struct ioas *ioas);
/* What may be mapped: at most three ranges; returns how many. */
unsigned ioas_ranges(struct ioas *ioas, struct abi_iova_range ranges[3], uint64_t *alignment);
int ioas_small_pages(struct ioas *ioas, bool on); /* -EINVAL, -EADDRINUSE */
bool ioas_has_pages(struct ioas *ioas, bool *small);
struct ioas_source {
	struct iommu_mem *mem;
	uint64_t vaddr, length;
	bool writable; /* as it was mapped first */
};
/* @n pieces one behind the other at *@iova, or (not @fixed) where there is room. */
int ioas_map(struct ioas *ioas, const struct ioas_source *from, unsigned n, unsigned perm,
	     bool fixed, uint64_t *iova);
/* *@removed is set on failure too. -ENOENT: one is only in part in the range. */
int ioas_unmap(struct ioas *ioas, uint64_t first, uint64_t last, uint64_t *removed);
/* Makes the mapping that goes over @at two. */
int ioas_cut(struct ioas *ioas, uint64_t at);
/* What is mapped at [@first, @last], all of it: malloc'ed, with references to memories. */
int ioas_look(struct ioas *ioas, uint64_t first, uint64_t last, struct ioas_source **from,
	      unsigned *n);
/* Consumes @allowed, an array. */
int ioas_allow(struct ioas *ioas, const struct abi_iova_range *allowed, uint32_t n);

/* hwpt.c; with vfio.lock */
int device_bind(struct vdev *d, struct iommufd *f);
void device_unbind(struct vdev *d);
int device_attach(struct vdev *d, uint32_t *pt_id, unsigned client);
void device_detach(struct vdev *d);
void hwpt_free(struct iommufd *f, struct hwpt *h); /* its number too */

/* cdev.c */
int device_bind_iommufd(struct vfio_obj *obj, struct vfio_call *call);
void cdev_close(struct device_file *file); /* without vfio.lock */
int device_attach_pt(struct vfio_obj *obj, struct vfio_call *call);
int device_detach_pt(struct vfio_obj *obj, struct vfio_call *call);
/* What @d is to who asks as @f: a number; 0: his as well; HOT_RESET_DEVID_NOT_OWNED. vfio.lock. */
uint32_t device_number(struct iommufd *f, const struct vdev *d);

/* iommufd.c, ioas_calls.c, hwpt.c, iommufd_compat.c */
int iommufd_destroy(struct vfio_obj *obj, struct vfio_call *call);
int iommufd_option(struct vfio_obj *obj, struct vfio_call *call);
int iommufd_vfio_ioas(struct vfio_obj *obj, struct vfio_call *call);
int iommufd_not_offered(struct vfio_obj *obj, struct vfio_call *call);
int ioas_alloc(struct vfio_obj *obj, struct vfio_call *call);
int ioas_allow_iovas(struct vfio_obj *obj, struct vfio_call *call);
int ioas_iova_ranges(struct vfio_obj *obj, struct vfio_call *call);
int ioas_map_memory(struct vfio_obj *obj, struct vfio_call *call);
int ioas_map_file(struct vfio_obj *obj, struct vfio_call *call);
int ioas_copy(struct vfio_obj *obj, struct vfio_call *call);
int ioas_unmap_iova(struct vfio_obj *obj, struct vfio_call *call);
int hwpt_alloc(struct vfio_obj *obj, struct vfio_call *call);
int hwpt_set_dirty_tracking(struct vfio_obj *obj, struct vfio_call *call);
int hwpt_get_dirty_bitmap(struct vfio_obj *obj, struct vfio_call *call);
int hwpt_invalidate(struct vfio_obj *obj, struct vfio_call *call);
int hwpt_hw_info(struct vfio_obj *obj, struct vfio_call *call);
int compat_check_extension(struct vfio_obj *obj, struct vfio_call *call);
int compat_set_iommu(struct vfio_obj *obj, struct vfio_call *call);
int compat_get_info(struct vfio_obj *obj, struct vfio_call *call);
int compat_map_dma(struct vfio_obj *obj, struct vfio_call *call);
int compat_unmap_dma(struct vfio_obj *obj, struct vfio_call *call);

/* ------------------------------------------------------------------ requests */

typedef int (*request_handler)(struct vfio_obj *obj, struct vfio_call *call);

/* A request of the table in shape.c. */
struct request {
	enum vfio_kind kind;
	uint32_t request;
	struct vfio_shape shape;
	request_handler handler;
};
const struct request *request_find(enum vfio_kind kind, uint32_t request);

/* container.c */
int container_get_api_version(struct vfio_obj *obj, struct vfio_call *call);
int container_check_extension(struct vfio_obj *obj, struct vfio_call *call);
int container_set_iommu(struct vfio_obj *obj, struct vfio_call *call);
int container_no_backend_request(struct vfio_obj *obj, struct vfio_call *call);
/* Whether the back end takes @request, whatever its block says: 0, -EINVAL (none), -EACCES. */
int container_admits(struct vfio_obj *obj, uint32_t request);
void container_put(struct container *c); /* with vfio.lock */
void container_attach_group(struct container *c, struct group *g);
void container_detach_group(struct container *c, struct group *g);
/* The space and type of a container with a back end; -EINVAL before SET_IOMMU. New reference. */
int container_backend(struct vfio_obj *obj, struct iommu_space **space, uint32_t *type);

/* type1.c */
int type1_get_info(struct vfio_obj *obj, struct vfio_call *call);
int type1_map_dma(struct vfio_obj *obj, struct vfio_call *call);
int type1_unmap_dma(struct vfio_obj *obj, struct vfio_call *call);
int type1_dirty_pages(struct vfio_obj *obj, struct vfio_call *call);

/* group.c */
int group_get_status(struct vfio_obj *obj, struct vfio_call *call);
int group_set_container(struct vfio_obj *obj, struct vfio_call *call);
int group_unset_container(struct vfio_obj *obj, struct vfio_call *call);
int group_get_device_fd(struct vfio_obj *obj, struct vfio_call *call);
/* With vfio.lock. */
void group_put(struct vfio *v, struct group *g);
void group_leave(struct vfio *v, struct group *g);		/* its container */
struct group *vfio_find_group(struct vfio *v, unsigned number); /* NULL: nothing is bound */

/* driver.c */
extern const struct bus_driver vfio_pci_driver;

/* token.c, with vfio.lock but for the first */
int token_init(struct vdev *d);
/* May @d be opened with token @uuid (NULL: with none)? -EACCES, -EINVAL. */
int token_check(struct vdev *d, const uint8_t *uuid);
/* 1 if @name, an address with options, means @d and may open it, 0 if it means another. */
int token_match(struct vdev *d, const char *name);
void token_use(struct vdev *d, int by); /* one VF more or less is open */

/* vfio.c, with vfio.lock: one file more or less, one by which the device is open */
void vdev_file_gone(struct vdev *d);
void vdev_user_added(struct vdev *d);
void vdev_user_gone(struct vdev *d); /* the last one leaves the iommufd */

/* device.c */
int device_get_info(struct vfio_obj *obj, struct vfio_call *call);
int device_get_region_info(struct vfio_obj *obj, struct vfio_call *call);
int vdev_init(struct vdev *d, struct vfio *v, struct pcif *f);
void vdev_fini(struct vdev *d);
int vdev_open(struct vdev *d, unsigned client); /* one more user */
void vdev_close(struct vdev *d);
void vdev_awake(struct vdev *d); /* a client touches the device */
static inline struct vdev *obj_device(struct vfio_obj *obj)
{
	return container_of(obj, struct device_file, obj)->d;
}

/* device_reset.c; requests and vdev_reset_set() without vdev.lock, all others with it */
int device_reset(struct vfio_obj *obj, struct vfio_call *call);
int device_get_hot_reset_info(struct vfio_obj *obj, struct vfio_call *call);
int device_hot_reset(struct vfio_obj *obj, struct vfio_call *call);
bool vdev_can_reset(const struct vdev *d);
void vdev_reset(struct vdev *d);
/* After a close: resets the bus if a function of it needs that and nobody has one open. */
void vdev_reset_set(struct vdev *d);
void vdev_set_power(struct vdev *d, unsigned state);

/* device_config.c, with vdev.lock */
int vconfig_init(struct vdev *d);
void vconfig_fini(struct vconfig *c);
int vconfig_read(struct vdev *d, uint8_t *buf, size_t size, uint64_t offset);
int vconfig_write(struct vdev *d, const uint8_t *buf, size_t size, uint64_t offset);
void vconfig_set_msi_capable(struct vdev *d, unsigned log2_vectors);

/* config_table.c */
struct config_field { /* bits of one register of a capability */
	uint16_t offset;
	uint8_t size; /* 1, 2 or 4 */
	uint32_t virt, write;
};
struct config_cap {
	uint16_t id;
	const char *name;
	uint16_t length;
	/* Where the length depends on the device. Bytes. */
	unsigned (*get_length)(struct pcif *f, unsigned offset);
	struct config_field fields[8]; /* ends with size 0 */
	bool raw;		       /* every byte is the hardware's, readable and writable */
};
extern const struct config_field config_header[]; /* ends with size 0 */
/* NULL: not shown to clients. */
const struct config_cap *config_find_cap(uint8_t id);
const struct config_cap *config_find_ext_cap(uint16_t id);

/* device_irq.c */
int device_get_irq_info(struct vfio_obj *obj, struct vfio_call *call);
int device_set_irqs(struct vfio_obj *obj, struct vfio_call *call);
/*
 * Around a reset, which waits for the model's threads: none of them may be held up by a client's
 * eventfd then. For pcif_set_hold_cb().
 */
void irq_hold_wires(void *data, bool hold);
void irq_teardown(struct vdev *d); /* with vdev.lock: everything off, at close */
void irq_set_virtual_intx(struct vdev *d, bool disabled); /* COMMAND bit 10 as clients see it */
void irq_message(void *data, unsigned vector);		  /* sinks of pci */
void irq_intx(void *data);

/* ioeventfd.c */
int device_ioeventfd(struct vfio_obj *obj, struct vfio_call *call);
void ioeventfd_teardown(struct vdev *d); /* with vdev.lock */

/* feature.c */
int device_feature(struct vfio_obj *obj, struct vfio_call *call);

#endif
