/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reset of a function and of a whole bus, and power states. Configuration space is saved before and
 * put back after, interrupts stay wired (pci keeps the connection), mappings stay. Source:
 * drivers/vfio/pci/vfio_pci_core.c, pci_try_reset_function(), pci_restore_state().
 */
#include <linux/pci_regs.h>

#include "vfio/priv.h"

/* ------------------------------------------------------------------ function reset */

/* Is there a method that would work? Source: pci_try_reset_function(). */
bool vdev_can_reset(const struct vdev *d)
{
	return bus_can_reset(d->v->bus, d->f);
}

void vdev_reset(struct vdev *d)
{
	uint8_t saved[PCIF_CONFIG_SIZE];

	vdev_set_power(d, 0);
	bus_config_save(d->f, saved);
	/* What the device raises from here on it keeps pending until bus mastering is back on. */
	pcif_reset(d->f);
	bus_config_restore(d->f, saved);
}

/* Source: vfio_pci_ioctl_reset(). */
int device_reset(struct vfio_obj *obj, struct vfio_call *call)
{
	struct vdev *d = obj_device(obj);
	int ret = -EINVAL;

	pthread_mutex_lock(&d->lock);
	if (d->reset_works) {
		vdev_reset(d);
		ret = 0;
	}
	pthread_mutex_unlock(&d->lock);
	return ret;
}

/* ------------------------------------------------------------------ power */

/* Source: vfio_pci_set_power_state(), pci_set_power_state(). */
void vdev_set_power(struct vdev *d, unsigned state)
{
	unsigned pm = pcif_find_cap(d->f, PCI_CAP_ID_PM), now;
	uint8_t saved[PCIF_CONFIG_SIZE];
	uint16_t ctrl, pmc;
	bool lost;

	if (!pm)
		return;
	pmc = pcif_config_read(d->f, pm + PCI_PM_PMC, 2);
	ctrl = pcif_config_read(d->f, pm + PCI_PM_CTRL, 2);
	now = ctrl & PCI_PM_CTRL_STATE_MASK;
	if (state == now)
		return;
	/* VFs do not go on without their PF. */
	if (state && (d->sriov || pcif_num_vfs(d->f)))
		return;
	if ((state == 1 && !(pmc & PCI_PM_CAP_D1)) || (state == 2 && !(pmc & PCI_PM_CAP_D2)))
		return;
	/* A sleeping function wakes to D0 only. */
	if (now == 3 && state)
		return;
	lost = now == 3 && !(ctrl & PCI_PM_CTRL_NO_SOFT_RESET);
	if (lost)
		bus_config_save(d->f, saved);
	irq_hold_wires(d, true);
	pcif_config_write(d->f, pm + PCI_PM_CTRL, 2, (ctrl & ~PCI_PM_CTRL_STATE_MASK) | state);
	irq_hold_wires(d, false);
	if (lost)
		bus_config_restore(d->f, saved);
}

/* ------------------------------------------------------------------ hot reset */

/*
 * VFs that found no place on the bus of their PF have one for which there is no bridge of its own:
 * it cannot be reset, nor is it found by going down from a bridge. Source: virtfn_add_bus().
 */
static bool on_virtual_bus(const struct pcif *f)
{
	return pcif_is_vf(f) && pcif_bdf(f).bus != pcif_bdf(pcif_pf(f)).bus;
}

/* A device on a root bus has neither a slot nor a bridge above it to reset. Source:
 * pci_probe_reset_bus(). */
static bool has_bus_to_reset(const struct vdev *d)
{
	return pcif_parent(d->f) && !on_virtual_bus(d->f);
}

/* Is @f hit when the bus of @d is reset? The bus itself and all below. */
static bool bus_reset_hits(const struct vdev *d, const struct pcif *f)
{
	struct pci_bdf b = pcif_bdf(f);
	uint8_t secondary, subordinate;

	pcif_bridge_buses(pcif_parent(d->f), &secondary, &subordinate);
	return !on_virtual_bus(f) && b.domain == pcif_bdf(d->f).domain && b.bus >= secondary &&
	       b.bus <= subordinate;
}

/* Who is hit when the bus of @d is reset; to be freed with pcim_list_free(). */
static int bus_reset_list(const struct vdev *d, struct pcim_list *hit)
{
	int ret = pcim_list(bus_pci(d->v->bus), hit);
	unsigned n = 0;

	if (ret)
		return ret;
	for (unsigned i = 0; i < hit->n; i++) {
		if (bus_reset_hits(d, hit->f[i]))
			hit->f[n++] = hit->f[i];
		else
			pcif_put(hit->f[i]);
	}
	hit->n = n;
	return 0;
}

/* What @f is to the iommufd that @d is bound to. Source: vfio_pci_fill_devs(). */
static uint32_t number_of(const struct vdev *d, struct pcif *f)
{
	struct vdev *other = vfio_find_device(d->v, f);
	uint32_t number = HOT_RESET_DEVID_NOT_OWNED;

	if (!other)
		return number;
	pthread_mutex_lock(&d->v->lock);
	/* Of one that is just leaving the group is gone. */
	if (d->iommufd && other->group)
		number = device_number(d->iommufd, other);
	pthread_mutex_unlock(&d->v->lock);
	vdev_put(other);
	return number;
}

static uint32_t number_flags(const struct vdev *d, const struct pcim_list *hit)
{
	for (unsigned i = 0; i < hit->n; i++)
		if (number_of(d, hit->f[i]) == HOT_RESET_DEVID_NOT_OWNED)
			return HOT_RESET_FLAG_DEV_ID;
	return HOT_RESET_FLAG_DEV_ID | HOT_RESET_FLAG_DEV_ID_OWNED;
}

/* Source: vfio_pci_ioctl_get_pci_hot_reset_info(). */
int device_get_hot_reset_info(struct vfio_obj *obj, struct vfio_call *call)
{
	struct vdev *d = obj_device(obj);
	struct vfio_pci_hot_reset_info info;
	uint8_t *out = (uint8_t *)call->data + sizeof(info);
	bool by_number = container_of(obj, struct device_file, obj)->cdev;
	struct pcim_list hit;
	size_t room;
	int ret;

	if (!has_bus_to_reset(d))
		return -ENODEV;
	memcpy(&info, call->data, sizeof(info));
	room = (MIN((size_t)info.argsz, call->size) - sizeof(info)) /
	       sizeof(struct vfio_pci_dependent_device);
	ret = bus_reset_list(d, &hit);
	if (ret)
		return ret;
	info.flags = 0;
	info.count = hit.n;
	if (by_number)
		info.flags = number_flags(d, &hit);
	memcpy(call->data, &info, sizeof(info));
	call->reply_size = sizeof(info);
	if (room < info.count)
		ret = -ENOSPC;
	for (unsigned i = 0; i < hit.n && !ret; i++) {
		struct pci_bdf b = pcif_bdf(hit.f[i]);
		struct vfio_pci_dependent_device dep = {
			.group_id = by_number ? number_of(d, hit.f[i]) : pcif_group(hit.f[i]),
			.segment = b.domain,
			.bus = b.bus,
			.devfn = b.dev << 3 | b.fn,
		};

		memcpy(out, &dep, sizeof(dep));
		out += sizeof(dep);
		call->reply_size += sizeof(dep);
	}
	pcim_list_free(&hit);
	return ret;
}

static bool call_has_group(const struct vfio_call *call, unsigned n, unsigned group)
{
	for (unsigned i = 0; i < n; i++)
		if (container_of(call->fds[i].obj, struct group_file, obj)->group->number == group)
			return true;
	return false;
}

/* What a client gave as its groups, one after the other. */
static int check_reset_groups(struct vfio *v, const struct vfio_call *call, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		const struct vfio_fd *fd = &call->fds[i];

		if (fd->error)
			return fd->error;
		if (fd->fd < 0 && !fd->obj)
			return -EBADF;
		if (!fd->obj || fd->obj->kind != VFIO_KIND_GROUP || fd->obj->v != v)
			return -EINVAL;
	}
	return 0;
}

/* All that a reset of the bus hits, with references. */
struct reset_set {
	struct pcim_list hit;
	struct vdev **devices; /* as many; NULL: a function that is not VFIO's */
};

static void reset_set_fini(struct reset_set *s)
{
	for (unsigned i = 0; s->devices && i < s->hit.n; i++)
		vdev_put(s->devices[i]);
	free(s->devices);
	pcim_list_free(&s->hit);
}

static int reset_set_init(struct reset_set *s, const struct vdev *d)
{
	int ret = bus_reset_list(d, &s->hit);

	if (ret)
		return ret;
	s->devices = calloc(MAX(s->hit.n, 1u), sizeof(struct vdev *));
	if (!s->devices) {
		pcim_list_free(&s->hit);
		return -ENOMEM;
	}
	for (unsigned i = 0; i < s->hit.n; i++)
		s->devices[i] = vfio_find_device(d->v, s->hit.f[i]);
	return 0;
}

/* -EINVAL if one is not VFIO's or not the caller's. Source: vfio_dev_in_groups(). */
static int check_reset_set(const struct reset_set *s, const struct vfio_call *call, unsigned n)
{
	for (unsigned i = 0; i < s->hit.n; i++)
		if (!s->devices[i] || !call_has_group(call, n, pcif_group(s->hit.f[i])))
			return -EINVAL;
	return 0;
}

/*
 * Everything is saved first and put back last, VFs after their PFs: a reset of these is one of
 * theirs. Locks are taken in order of address, and by nobody else more than one. Source:
 * pci_bus_save_and_disable_locked(), pci_bus_restore_locked().
 */
static int reset_all(const struct reset_set *s, bool only_closed)
{
	uint8_t *saved = malloc(MAX(s->hit.n, 1u) * (size_t)PCIF_CONFIG_SIZE);
	bool can = true;

	if (!saved)
		return -ENOMEM;
	for (unsigned i = 0; i < s->hit.n; i++) {
		pthread_mutex_lock(&s->devices[i]->lock);
		can &= !only_closed || !s->devices[i]->opens;
	}
	for (unsigned i = 0; i < s->hit.n && can; i++) {
		vdev_set_power(s->devices[i], 0);
		bus_config_save(s->hit.f[i], saved + i * (size_t)PCIF_CONFIG_SIZE);
	}
	for (unsigned i = 0; i < s->hit.n && can; i++)
		if (!pcif_is_vf(s->hit.f[i]))
			pcif_reset(s->hit.f[i]);
	for (unsigned i = 0; i < s->hit.n && can; i++) {
		bus_config_restore(s->hit.f[i], saved + i * (size_t)PCIF_CONFIG_SIZE);
		s->devices[i]->needs_reset = false;
	}
	for (unsigned i = 0; i < s->hit.n; i++)
		pthread_mutex_unlock(&s->devices[i]->lock);
	free(saved);
	return 0;
}

/* Source: vfio_pci_dev_set_try_reset(). That it can not be done is nobody's error. */
void vdev_reset_set(struct vdev *d)
{
	struct reset_set s = { 0 };
	bool needed = false, can = true;

	if (!has_bus_to_reset(d) || reset_set_init(&s, d))
		return;
	for (unsigned i = 0; i < s.hit.n; i++) {
		can &= s.devices[i] && !s.devices[i]->open;
		needed |= s.devices[i] && s.devices[i]->needs_reset;
	}
	if (needed && can)
		(void)reset_all(&s, true);
	reset_set_fini(&s);
}

/* -EINVAL if one is not VFIO's or not of the same iommufd. */
static int check_reset_numbers(const struct reset_set *s, const struct vdev *d)
{
	for (unsigned i = 0; i < s->hit.n; i++)
		if (!s->devices[i] || number_of(d, s->hit.f[i]) == HOT_RESET_DEVID_NOT_OWNED)
			return -EINVAL;
	return 0;
}

/* Source: vfio_pci_ioctl_pci_hot_reset_groups(), vfio_pci_dev_set_hot_reset(). */
int device_hot_reset(struct vfio_obj *obj, struct vfio_call *call)
{
	struct vdev *d = obj_device(obj);
	bool by_number = container_of(obj, struct device_file, obj)->cdev;
	struct reset_set s = { 0 };
	struct vfio_pci_hot_reset h;
	int ret;

	memcpy(&h, call->data, sizeof(h));
	/* Devices that were opened by themselves need no list, others do. */
	if (h.flags || !h.count != by_number)
		return -EINVAL;
	if (!has_bus_to_reset(d))
		return -ENODEV;
	ret = reset_set_init(&s, d);
	if (ret)
		return ret;
	if (h.count > s.hit.n)
		ret = -EINVAL;
	else if (h.count > call->n_fds)
		ret = -EFAULT;
	if (!ret && by_number)
		ret = check_reset_numbers(&s, d);
	if (!ret && !by_number)
		ret = check_reset_groups(obj->v, call, h.count);
	if (!ret && !by_number)
		ret = check_reset_set(&s, call, h.count);
	for (unsigned i = 0; i < s.hit.n && !ret; i++)
		vdev_awake(s.devices[i]);
	if (!ret)
		ret = reset_all(&s, false);
	reset_set_fini(&s);
	return ret;
}
