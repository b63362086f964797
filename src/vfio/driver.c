/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The driver vfio-pci: functions that the bus binds to it become VFIO devices, and leave again.
 *
 * Source: drivers/vfio/pci/vfio_pci.c, vfio_pci_core_register_device(); drivers/vfio/vfio_main.c,
 * vfio_register_group_dev() and vfio_unregister_group_dev(); drivers/vfio/group.c,
 * vfio_device_set_group() and vfio_device_remove_group().
 */
#include <time.h>

#include "vfio/priv.h"

#define REQUEST_INTERVAL_NS 10000000000ull /* between two signals of REQ */
#define CANCEL_LOOK_NS 50000000ull

/* Devices with known flaws that a user must not get. Source: vfio_pci_dev_in_denylist(). */
static bool in_denylist(const struct pcif *f)
{
	static const uint16_t devices[] = { 0x19e2, 0x19e3, 0x37c8, 0x37c9,
					    0x0435, 0x0443, 0x0b25, 0x0cfe };

	if (pcif_desc(f)->vendor != 0x8086)
		return false;
	for (unsigned i = 0; i < ARRAY_SIZE(devices); i++)
		if (pcif_desc(f)->device == devices[i])
			return true;
	return false;
}

const char *vfio_pick_endpoints(void *data, struct pcif *f)
{
	return pcif_is_bridge(f) ? NULL : VFIO_PCI_DRIVER;
}

/* The group of that number, new if there is none. With vfio.lock. */
static struct group *group_enter(struct vfio *v, unsigned number)
{
	struct group *g = vfio_find_group(v, number);

	if (!g) {
		g = calloc(1, sizeof(*g));
		if (!g)
			return NULL;
		g->number = number;
		g->next = v->groups;
		v->groups = g;
	}
	g->bound++;
	return g;
}

/* One function less; the last one takes the group from who has it open. With vfio.lock. */
static void group_exit(struct vfio *v, struct group *g)
{
	struct group **at;

	if (--g->bound)
		return;
	for (at = &v->groups; *at != g; at = &(*at)->next)
		;
	*at = g->next;
	group_leave(v, g);
	if (!g->refs)
		free(g);
}

/* Who made the VF, if it was VFIO. Source: vfio_pci_vf_init(). */
static void find_pf(struct vdev *d)
{
	struct vdev *pf = vfio_find_device(d->v, pcif_pf(d->f));

	if (pf && pf->sriov)
		d->pf = pf;
	else
		vdev_put(pf);
}

/* The lowest number that no device has. Where they came in order it is found at once. With
 * vfio.lock. */
static unsigned free_index(const struct vfio *v)
{
	unsigned index = 0, before;

	do {
		before = index;
		for (struct vdev *d = v->devices; d; d = d->next)
			index += d->index == index;
	} while (index != before);
	return index;
}

static const char *vfio_pci_refusal(const struct pcif *f)
{
	if (pcif_is_bridge(f))
		return "bridges cannot be given away";
	if (in_denylist(f))
		return "devices with its id have known flaws, vfio-pci keeps them from users "
		       "(denylist)";
	if (pcif_num_vfs(f))
		return "its virtual functions are enabled; set their number to 0 first";
	return NULL;
}

static int vfio_pci_probe(void *data, struct pcif *f)
{
	struct vfio *v = data;
	struct vdev *d;
	int ret;

	if (pcif_is_bridge(f) || in_denylist(f))
		return -EINVAL;
	/* They may be in use, and could not be taken away without waiting. */
	if (pcif_num_vfs(f)) {
		log_debug("%s: cannot be bound to vfio-pci while its VFs are enabled",
			  pcif_name(f));
		return -EBUSY;
	}
	d = calloc(1, sizeof(*d));
	if (!d)
		return -ENOMEM;
	ret = vdev_init(d, v, f);
	if (ret) {
		free(d);
		return ret;
	}
	if (pcif_is_vf(f))
		find_pf(d);
	pthread_mutex_lock(&v->lock);
	d->group = group_enter(v, pcif_group(f));
	if (d->group) {
		struct vdev **at;

		d->id = ++v->last_id;
		d->index = free_index(v);
		/* In order of address, so that names are looked up as they are listed. */
		for (at = &v->devices; *at && strcmp(pcif_name((*at)->f), pcif_name(f)) < 0;
		     at = &(*at)->next)
			;
		d->next = *at;
		*at = d;
	}
	pthread_mutex_unlock(&v->lock);
	if (!d->group) {
		vdev_put(d);
		return -ENOMEM;
	}
	pcif_set_hold_cb(f, irq_hold_wires, d);
	return 0;
}

static void deadline_in(struct timespec *at, uint64_t ns)
{
	uint64_t t = time_mono_ns() + ns;

	at->tv_sec = (time_t)(t / 1000000000u);
	at->tv_nsec = (long)(t % 1000000000u);
}

/*
 * Asks the user to give the device back, at once and every ten seconds, and waits until that is
 * done. With vfio.lock, which is let go of meanwhile. False: cancelled.
 */
static bool wait_for_users(struct vfio *v, struct vdev *d, const atomic_bool *cancel)
{
	uint64_t asked = 0;

	while (d->files) {
		uint64_t now = time_mono_ns();
		struct timespec look;

		if (cancel && atomic_load(cancel))
			return false;
		if (!asked || now - asked >= REQUEST_INTERVAL_NS) {
			asked = now;
			wire_signal(&d->req);
			log_info("%s: waiting for its user, to unbind it", pcif_name(d->f));
		}
		deadline_in(&look, CANCEL_LOOK_NS);
		pthread_cond_timedwait(&v->closed, &v->lock, &look);
	}
	return true;
}

/* From here on the PF stays in D0, awake. With the lock of its bus. */
static int sriov_enable(struct vdev *d, unsigned n)
{
	int ret;

	pthread_mutex_lock(&d->lock);
	vdev_set_power(d, 0);
	d->sriov = true;
	pthread_mutex_unlock(&d->lock);
	ret = bus_sriov_enable(d->v->bus, d->f, n, VFIO_PCI_DRIVER);
	if (ret)
		d->sriov = false;
	return ret;
}

static int sriov_disable(struct vdev *d, const atomic_bool *cancel)
{
	int ret = bus_sriov_disable(d->v->bus, d->f, cancel);

	if (!ret)
		d->sriov = false;
	return ret;
}

static int vfio_pci_remove(void *data, struct pcif *f, const atomic_bool *cancel)
{
	struct vfio *v = data;
	struct vdev *d = vfio_find_device(v, f), **at;
	int ret = 0;

	if (!d)
		return 0;
	ret = sriov_disable(d, cancel);
	if (ret) {
		vdev_put(d);
		return ret;
	}
	pthread_mutex_lock(&v->lock);
	d->leaving = true;
	if (wait_for_users(v, d, cancel)) {
		for (at = &v->devices; *at != d; at = &(*at)->next)
			;
		*at = d->next;
		group_exit(v, d->group);
		d->group = NULL;
		pcif_set_hold_cb(f, NULL, NULL);
	} else {
		d->leaving = false;
		ret = -EINTR;
	}
	pthread_mutex_unlock(&v->lock);
	if (!ret)
		vdev_put(d); /* the list's */
	vdev_put(d);
	return ret;
}

/* Source: vfio_pci_sriov_configure(), vfio_pci_core_sriov_configure(). */
static int vfio_pci_sriov_configure(void *data, struct pcif *pf, unsigned n,
				    const atomic_bool *cancel)
{
	struct vfio *v = data;
	struct vdev *d = vfio_find_device(v, pf);
	int ret = -ENOENT;

	if (!d)
		return -ENOENT;
	if (atomic_load(&v->sriov))
		ret = n ? sriov_enable(d, n) : sriov_disable(d, cancel);
	vdev_put(d);
	return ret;
}

const struct bus_driver vfio_pci_driver = {
	.name = VFIO_PCI_DRIVER,
	.module = "vfio_pci",
	.managed_dma = true,
	.probe = vfio_pci_probe,
	.refusal = vfio_pci_refusal,
	.remove = vfio_pci_remove,
	.sriov_configure = vfio_pci_sriov_configure,
};
