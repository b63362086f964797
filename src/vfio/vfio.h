/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vfio: what the VFIO user ABI means, free of any transport.
 *
 * A door makes objects as clients open files, gives every request to vfio_call() with the argument
 * block already copied, and frees the objects as clients close. The rules (argsz, flags, capability
 * chains, errno) are here once. Linux 7.3's behaviour is the specification; docs/abi-coverage.md
 * has a row per request.
 *
 * Objects are reference counted inside: a device keeps its group open, a group with a container
 * keeps the container. Doors own one reference for each open file and drop it with vfio_obj_put().
 *
 * vfio-pci is a driver of the bus: the functions that are bound to it are VFIO's devices, and come
 * and go as they are bound and unbound.
 *
 * Locking: one lock for the machine's containers and groups, one for each device; vfio_call() takes
 * them where it needs to. A device's is held while its model resets, the machine's never. BAR
 * access and interrupts take neither. Nothing here waits for a client.
 */
#ifndef UVFIO_VFIO_H
#define UVFIO_VFIO_H

#include "base/base.h"
#include "bus/bus.h"
#include "pci/pci.h"

struct vfio;	 /* VFIO of one machine */
struct vfio_obj; /* an open file */

enum vfio_kind { VFIO_KIND_CONTAINER, VFIO_KIND_GROUP, VFIO_KIND_DEVICE, VFIO_KIND_IOMMUFD };

enum vfio_event_type { VFIO_EVENT_ATTACH, VFIO_EVENT_DETACH, VFIO_EVENT_OPEN, VFIO_EVENT_CLOSE };
/*
 * @f: function (OPEN, CLOSE), or NULL; @group: number; @client: see vfio_group_set_client(). Called
 * with a lock of VFIO held (the machine's for ATTACH and DETACH, the device's for OPEN and CLOSE)
 * on any thread: must be quick, and must not call back into VFIO.
 */
typedef void (*vfio_event_cb)(void *data, enum vfio_event_type type, unsigned group,
			      unsigned client, struct pcif *f);

#define VFIO_PCI_DRIVER "vfio-pci"

/**
 * vfio_new() - VFIO over a machine: adds the driver vfio-pci to @bus, before bus_start().
 * @bus: borrowed. Free it before VFIO, since it unbinds what is bound.
 * Returns 0 or -ENOMEM.
 */
int vfio_new(struct bus *bus, struct vfio **v);
/* For bus_start(): every endpoint is VFIO's from the start. @data is not looked at. */
const char *vfio_pick_endpoints(void *data, struct pcif *f);
/* Every object is gone already, and so are all devices. NULL is fine. */
void vfio_free(struct vfio *v);
struct bus *vfio_bus(const struct vfio *v);
/* The parameter enable_sriov of the module: may PFs that are bound to vfio-pci have VFs? At first
 * they may. */
void vfio_set_sriov(struct vfio *v, bool on);
bool vfio_sriov(const struct vfio *v);
/* Once, before the first object. */
void vfio_set_event_cb(struct vfio *v, vfio_event_cb cb, void *data);

/* Groups that have a function bound to vfio-pci, hence a /dev/vfio/N. Any thread. */
bool vfio_group_present(struct vfio *v, unsigned group);
/* The lowest of them that is at least @from; false: there is none. */
bool vfio_group_next(struct vfio *v, unsigned from, unsigned *group);

/*
 * Devices have files of their own, /dev/vfio/devices/vfioX: X is the lowest number that is free
 * when the function is bound. No two devices ever have the same id. Any thread.
 */
struct vfio_cdev {
	unsigned index;
	uint64_t id;
};
/* The lowest that is at least @from; false: there is none. */
bool vfio_cdev_next(struct vfio *v, unsigned from, struct vfio_cdev *cdev);
bool vfio_cdev_of(struct vfio *v, struct pcif *f, struct vfio_cdev *cdev); /* false: not VFIO's */
bool vfio_cdev_present(struct vfio *v, uint64_t id);

/* ------------------------------------------------------------------ opening and closing */

/*
 * Any thread. The caller owns the new object.
 * -ENOMEM; of a group also -EBUSY: open already, or a device of it is; -ENODEV: no such group.
 * Source: vfio_fops_open(), vfio_group_fops_open(), iommufd_fops_open().
 */
int vfio_open_container(struct vfio *v, struct vfio_obj **obj);
int vfio_open_group(struct vfio *v, unsigned group, struct vfio_obj **obj);
int vfio_open_iommufd(struct vfio *v, struct vfio_obj **obj);
/*
 * A device by itself, any number of times: only VFIO_DEVICE_BIND_IOMMUFD is of use on it until
 * that has succeeded. @client: as vfio_group_set_client(). -ENOMEM; -ENODEV: it has left.
 * Source: vfio_device_fops_cdev_open().
 */
int vfio_open_cdev(struct vfio *v, uint64_t id, unsigned client, struct vfio_obj **obj);
/* Of a device: whether it can be used, as those of groups always can. */
bool vfio_device_bound(const struct vfio_obj *obj);
/*
 * The file's last reference is gone; no request on it is running. NULL is fine. Devices, groups and
 * containers may be put in any order. A device's last put resets it, hence may wait for its I/O.
 * Devices are opened by VFIO_GROUP_GET_DEVICE_FD: the reply carries the new object.
 */
void vfio_obj_put(struct vfio_obj *obj);
enum vfio_kind vfio_obj_kind(const struct vfio_obj *obj);
/*
 * Who opened a group, by a number that means something to the caller (0: not told). It goes with
 * the group and its devices into events, and to pcif_client() while a device is open. To be said
 * before the group's first request.
 */
void vfio_group_set_client(struct vfio_obj *group, unsigned client);
struct pcif *vfio_device_function(const struct vfio_obj *obj); /* VFIO_KIND_DEVICE only */

/* ------------------------------------------------------------------ requests */

/*
 * How a request's argument looks, so that a door can copy it before it asks what it means.
 * NONE and VALUE: nothing to copy (VALUE: the argument is a number).
 * ARGSZ: a block whose first u32 is its size: copy [@min, @max] bytes as it says (a block that says
 *   less than @min is copied as @min bytes; vfio_call() judges argsz itself). IN and OUT.
 *   @known not 0: a client of a later kernel may say more than that, if it is zeroes.
 * STRING: NUL-terminated, at most @max bytes with the NUL.
 * INT: one int, a descriptor of the client.
 */
enum vfio_arg { VFIO_ARG_NONE, VFIO_ARG_VALUE, VFIO_ARG_ARGSZ, VFIO_ARG_STRING, VFIO_ARG_INT };

struct vfio_shape {
	const char *name; /* "VFIO_DEVICE_GET_INFO" */
	enum vfio_arg arg;
	uint32_t min, max; /* bytes */
	uint32_t known;
};
/* NULL: no such request on this kind of object (-ENOTTY). */
const struct vfio_shape *vfio_shape(enum vfio_kind kind, uint32_t request);

/* A descriptor that came with a request. */
struct vfio_fd {
	int fd;		      /* ours, borrowed for the call; -1: the client said "none" */
	int error;	      /* 0, or why the client's number could not be resolved (-EBADF) */
	struct vfio_obj *obj; /* if it is one of our own files; borrowed */
};

/*
 * Which ints of the block are descriptors: they lie at data + *offset, *n of them. 0 if none.
 * To be called after the block was copied (@size bytes).
 */
unsigned vfio_call_fds(enum vfio_kind kind, uint32_t request, const void *data, size_t size,
		       size_t *offset);
/*
 * How much of an ARGSZ block the request takes in, by the first shape->min bytes (at @head): what
 * lies behind is room for the answer and need not be readable. From shape->min to shape->max; more
 * than argsz where Linux does not ask argsz.
 */
size_t vfio_call_takes(enum vfio_kind kind, uint32_t request, const void *head);

/* Whether the request maps the client's memory, or points to more of it than the block. */
bool vfio_call_memory(enum vfio_kind kind, uint32_t request);

/* The client's memory, for the requests that need it. */
struct vfio_client {
	struct iommu_mem *mem; /* NULL: not reachable; MAP_DMA then fails with -EFAULT */
};

struct vfio_call {
	uint32_t request;  /* VFIO_DEVICE_GET_INFO and so on, as in linux/vfio.h */
	uint64_t value;	   /* VFIO_ARG_VALUE */
	void *data;	   /* the copied block, the reply is written over it; NULL: not readable */
	size_t size;	   /* bytes of @data; fewer than vfio_call_takes(): the rest not readable */
	size_t reply_size; /* out: bytes of @data to copy back (never more than @size) */
	const struct vfio_fd *fds;
	unsigned n_fds;
	const struct vfio_client *client;
	struct vfio_obj
		*new_obj; /* out: GET_DEVICE_FD's device; the door makes a descriptor of it */
};

/**
 * vfio_call() - carry out one request.
 * Returns 0 or a positive result, or -errno exactly as Linux would; what the block says back is
 * valid where reply_size is not 0, on some errors too (ENOSPC with the needed size).
 */
int vfio_call(struct vfio_obj *obj, struct vfio_call *call);

/* ------------------------------------------------------------------ regions */

#define VFIO_REGION_SHIFT 40

/*
 * pread and pwrite of a device: bytes moved (fewer than @size where a BAR ends) or -errno; see
 * docs/vfio-device.md. BARs: without a lock of VFIO; configuration space: under the device's.
 * -EINVAL: no such region, or @offset past its end; -EFAULT: past the end of configuration space;
 * -EIO: the function does not decode the BAR now. Source: vfio_pci_rw().
 */
ssize_t vfio_device_read(struct vfio_obj *obj, void *buf, size_t size, uint64_t offset);
ssize_t vfio_device_write(struct vfio_obj *obj, const void *buf, size_t size, uint64_t offset);
/*
 * A page of a client's mmap at file @offset (a multiple of the page size) lives at *@memfd_offset
 * of *@memfd. -EFAULT: not a page that may be mapped. Lock-free, touches no BAR image.
 */
int vfio_function_page(struct pcif *f, uint64_t offset, int *memfd, uint64_t *memfd_offset);

/* Asks the user of the device to give it back (REQ eventfd, if set). Any thread. */
void vfio_device_request(struct vfio *v, struct pcif *f);

/* For watching: the address space that @f's group is attached to, or NULL. New reference. */
struct iommu_space *vfio_function_space(struct vfio *v, struct pcif *f);
bool vfio_function_open(struct vfio *v, struct pcif *f);

#endif
