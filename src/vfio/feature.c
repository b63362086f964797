/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * VFIO_DEVICE_FEATURE: one request, many features. Those that our devices do not have answer as a
 * kernel does that has no driver for them. Source: vfio_ioctl_device_feature(),
 * vfio_check_feature(), vfio_pci_core_ioctl_feature().
 *
 * The low power calls only keep account: a software device uses no power. Between entry and exit
 * every access works; a client that asked for it is told of the first one.
 */
#include "vfio/priv.h"

struct feature_request {
	struct vdev *d;
	const uint8_t *data;
	size_t size; /* bytes of @data */
	const struct vfio_call *call;
};

/* With d->lock. */
static int low_power_enter(struct vdev *d, int wake_fd)
{
	if (d->low_power) {
		if (wake_fd >= 0)
			close(wake_fd);
		return -EINVAL;
	}
	wire_set(&d->wake, wake_fd);
	d->low_power_wake = wake_fd >= 0;
	d->low_power = true;
	return 0;
}

/* Source: vfio_pci_core_pm_entry(). */
static int low_power_entry(struct feature_request *r)
{
	return low_power_enter(r->d, -1);
}

/* Source: vfio_pci_core_pm_entry_with_wakeup(). */
static int low_power_entry_with_wakeup(struct feature_request *r)
{
	int32_t number;
	int fd, ret;

	memcpy(&number, r->data, sizeof(number));
	if (number < 0)
		return -EINVAL;
	ret = eventfd_take(r->call->n_fds ? &r->call->fds[0] : NULL, &fd);
	return ret ? ret : low_power_enter(r->d, fd);
}

/* Source: vfio_pci_core_pm_exit(). */
static int low_power_exit(struct feature_request *r)
{
	r->d->low_power = false;
	wire_set(&r->d->wake, -1);
	return 0;
}

/* Accepted by the kernel's core for drivers with PRE_COPY; refused for all others like this. */
static int refuse(struct feature_request *r)
{
	return -EINVAL;
}

/* Whoever has the PF may set it, open VFs or not. Source: vfio_pci_core_feature_token(). */
static int set_token(struct feature_request *r)
{
	memcpy(r->d->token, r->data, TOKEN_SIZE);
	return 0;
}

static const struct feature {
	uint32_t index, directions;
	uint32_t size; /* bytes of data at least */
	int (*run)(struct feature_request *r);
	bool machine; /* under vfio.lock, not the device's */
} features[] = {
	{ VFIO_DEVICE_FEATURE_PCI_VF_TOKEN, VFIO_DEVICE_FEATURE_SET, TOKEN_SIZE, set_token, true },
	{ VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY, VFIO_DEVICE_FEATURE_SET, 0, low_power_entry },
	{ VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP, VFIO_DEVICE_FEATURE_SET, 8,
	  low_power_entry_with_wakeup },
	{ VFIO_DEVICE_FEATURE_LOW_POWER_EXIT, VFIO_DEVICE_FEATURE_SET, 0, low_power_exit },
	{ FEATURE_MIG_PRECOPY_INFO_V2, 0, 0, refuse },
};

static int feature_run(const struct feature *f, struct vdev *d, struct vfio_call *call,
		       const struct vfio_device_feature *head)
{
	const uint32_t both = VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_SET;
	struct feature_request r = {
		.d = d,
		.data = (const uint8_t *)call->data + sizeof(*head),
		.size = call->size - sizeof(*head),
		.call = call,
	};
	pthread_mutex_t *lock = f->machine ? &d->v->lock : &d->lock;
	int ret;

	if (head->flags & both & ~f->directions || !f->directions)
		return -EINVAL;
	if (head->flags & VFIO_DEVICE_FEATURE_PROBE)
		return 0;
	if (!(head->flags & both) || head->argsz - sizeof(*head) < f->size)
		return -EINVAL;
	if (r.size < f->size)
		return -EFAULT;
	pthread_mutex_lock(lock);
	ret = f->run(&r);
	pthread_mutex_unlock(lock);
	return ret;
}

int device_feature(struct vfio_obj *obj, struct vfio_call *call)
{
	const uint32_t both = VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_SET;
	struct vfio_device_feature head;

	memcpy(&head, call->data, sizeof(head));
	if (head.flags & ~(VFIO_DEVICE_FEATURE_MASK | both | VFIO_DEVICE_FEATURE_PROBE))
		return -EINVAL;
	if (!(head.flags & VFIO_DEVICE_FEATURE_PROBE) && (head.flags & both) == both)
		return -EINVAL;
	if ((head.flags & VFIO_DEVICE_FEATURE_MASK) == VFIO_DEVICE_FEATURE_PCI_VF_TOKEN &&
	    !obj_device(obj)->has_token)
		return -ENOTTY;
	for (size_t i = 0; i < ARRAY_SIZE(features); i++)
		if (features[i].index == (head.flags & VFIO_DEVICE_FEATURE_MASK))
			return feature_run(&features[i], obj_device(obj), call, &head);
	return -ENOTTY;
}
