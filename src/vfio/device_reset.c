/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reset of a function and of a whole bus, and power states. Configuration space is saved before and
 * put back after, interrupts stay wired (pci keeps the connection), mappings stay. Source:
 * drivers/vfio/pci/vfio_pci_core.c, pci_try_reset_function(), pci_restore_state().
 */
#include <linux/pci_regs.h>

#include "vfio/priv.h"

/* ------------------------------------------------------------------ saved state */

void vdev_save_config(struct vdev *d, uint8_t *out)
{
	unsigned size = pcif_config_size(d->f);

	for (unsigned at = 0; at < size; at += 4) {
		uint32_t v = htole32(pcif_config_read(d->f, at, 4));

		memcpy(out + at, &v, 4);
	}
}

static void put_back(struct vdev *d, const uint8_t *saved, unsigned at, unsigned n)
{
	uint32_t v = 0;

	for (unsigned i = 0; i < n; i++)
		v |= (uint32_t)saved[at + i] << (8 * i);
	pcif_config_write(d->f, at, n, v);
}

static void restore_cap(struct vdev *d, const uint8_t *saved, unsigned cap,
			const struct config_field *f, unsigned n)
{
	for (unsigned i = 0; cap && i < n; i++)
		put_back(d, saved, cap + f[i].offset, f[i].size);
}

void vdev_restore_config(struct vdev *d, const uint8_t *saved)
{
	static const struct config_field header[] = {
		{ PCI_CACHE_LINE_SIZE, 1 }, { PCI_LATENCY_TIMER, 1 },  { PCI_BASE_ADDRESS_0, 4 },
		{ PCI_BASE_ADDRESS_1, 4 },  { PCI_BASE_ADDRESS_2, 4 }, { PCI_BASE_ADDRESS_3, 4 },
		{ PCI_BASE_ADDRESS_4, 4 },  { PCI_BASE_ADDRESS_5, 4 }, { PCI_ROM_ADDRESS, 4 },
		{ PCI_INTERRUPT_LINE, 1 },
	};
	static const struct config_field exp[] = {
		{ PCI_EXP_DEVCTL, 2 },
		{ PCI_EXP_LNKCTL, 2 },
		{ PCI_EXP_DEVCTL2, 2 },
		{ PCI_EXP_LNKCTL2, 2 },
	};
	static const struct config_field aer[] = {
		{ PCI_ERR_UNCOR_MASK, 4 },
		{ PCI_ERR_UNCOR_SEVER, 4 },
		{ PCI_ERR_COR_MASK, 4 },
		{ PCI_ERR_CAP, 4 },
	};
	static const struct config_field acs[] = { { PCI_ACS_CTRL, 2 } };
	unsigned msi = pcif_find_cap(d->f, PCI_CAP_ID_MSI);

	for (size_t i = 0; i < ARRAY_SIZE(header); i++)
		put_back(d, saved, header[i].offset, header[i].size);
	restore_cap(d, saved, pcif_find_cap(d->f, PCI_CAP_ID_EXP), exp, ARRAY_SIZE(exp));
	if (pcif_config_size(d->f) > PCI_CFG_SPACE_SIZE) {
		restore_cap(d, saved, pcif_find_ext_cap(d->f, PCI_EXT_CAP_ID_ERR), aer,
			    ARRAY_SIZE(aer));
		restore_cap(d, saved, pcif_find_ext_cap(d->f, PCI_EXT_CAP_ID_ACS), acs,
			    ARRAY_SIZE(acs));
	}
	if (msi) {
		bool wide = saved[msi + PCI_MSI_FLAGS] & PCI_MSI_FLAGS_64BIT;

		put_back(d, saved, msi + PCI_MSI_FLAGS, 2);
		if (saved[msi + PCI_MSI_FLAGS + 1] & PCI_MSI_FLAGS_MASKBIT >> 8)
			put_back(d, saved, msi + (wide ? PCI_MSI_MASK_64 : PCI_MSI_MASK_32), 4);
	}
	/* Last: with the bus master bit the device may start to work. */
	put_back(d, saved, PCI_COMMAND, 2);
}

/* ------------------------------------------------------------------ function reset */

struct alone {
	const struct pcif *f;
	bool alone;
};

static void look_at_neighbour(void *data, struct pcif *f)
{
	struct alone *a = data;
	struct pci_bdf me = pcif_bdf(a->f), b = pcif_bdf(f);

	if (f != a->f && b.domain == me.domain && b.bus == me.bus)
		a->alone = false;
}

static bool alone_on_bus(const struct vdev *d)
{
	struct alone a = { .f = d->f, .alone = true };

	if (!pcif_parent(d->f))
		return false;
	pcim_for_each(bus_pci(d->v->bus), look_at_neighbour, &a);
	return a.alone;
}

/* Is there a method that would work? Source: pci_init_reset_methods() and the methods. */
bool vdev_can_reset(const struct vdev *d)
{
	unsigned exp = pcif_find_cap(d->f, PCI_CAP_ID_EXP);
	unsigned af = pcif_find_cap(d->f, PCI_CAP_ID_AF);
	unsigned pm = pcif_find_cap(d->f, PCI_CAP_ID_PM);
	const uint8_t need = PCI_AF_CAP_FLR | PCI_AF_CAP_TP;

	if (exp && pcif_config_read(d->f, exp + PCI_EXP_DEVCAP, 4) & PCI_EXP_DEVCAP_FLR)
		return true;
	if (af && (pcif_config_read(d->f, af + PCI_AF_CAP, 1) & need) == need)
		return true;
	if (pm && !(pcif_config_read(d->f, pm + PCI_PM_CTRL, 2) & PCI_PM_CTRL_NO_SOFT_RESET))
		return true;
	return alone_on_bus(d);
}

void vdev_reset(struct vdev *d)
{
	uint8_t saved[PCIF_CONFIG_SIZE];

	vdev_set_power(d, 0);
	vdev_save_config(d, saved);
	/* What the device raises from here on it keeps pending until bus mastering is back on. */
	irq_park(d);
	pcif_reset(d->f);
	irq_unpark(d);
	vdev_restore_config(d, saved);
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
	if ((state == 1 && !(pmc & PCI_PM_CAP_D1)) || (state == 2 && !(pmc & PCI_PM_CAP_D2)))
		return;
	/* A sleeping function wakes to D0 only. */
	if (now == 3 && state)
		return;
	lost = now == 3 && !(ctrl & PCI_PM_CTRL_NO_SOFT_RESET);
	if (lost)
		vdev_save_config(d, saved);
	irq_park(d);
	pcif_config_write(d->f, pm + PCI_PM_CTRL, 2, (ctrl & ~PCI_PM_CTRL_STATE_MASK) | state);
	irq_unpark(d);
	if (lost)
		vdev_restore_config(d, saved);
}

/* ------------------------------------------------------------------ hot reset */

/* Is @f hit when the bus of @d is reset? The bus itself and all below. */
static bool bus_reset_hits(const struct vdev *d, const struct pcif *f)
{
	struct pci_bdf b = pcif_bdf(f);
	uint8_t secondary, subordinate;

	pcif_bridge_buses(pcif_parent(d->f), &secondary, &subordinate);
	return b.domain == pcif_bdf(d->f).domain && b.bus >= secondary && b.bus <= subordinate;
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

/* Source: vfio_pci_ioctl_get_pci_hot_reset_info(). */
int device_get_hot_reset_info(struct vfio_obj *obj, struct vfio_call *call)
{
	struct vdev *d = obj_device(obj);
	struct vfio_pci_hot_reset_info info;
	uint8_t *out = (uint8_t *)call->data + sizeof(info);
	struct pcim_list hit;
	size_t room;
	int ret;

	/* A device on a root bus has neither a slot nor a bridge above it to reset. */
	if (!pcif_parent(d->f))
		return -ENODEV;
	memcpy(&info, call->data, sizeof(info));
	room = (MIN((size_t)info.argsz, call->size) - sizeof(info)) /
	       sizeof(struct vfio_pci_dependent_device);
	ret = bus_reset_list(d, &hit);
	if (ret)
		return ret;
	info.flags = 0;
	info.count = hit.n;
	memcpy(call->data, &info, sizeof(info));
	call->reply_size = sizeof(info);
	if (room < info.count)
		ret = -ENOSPC;
	for (unsigned i = 0; i < hit.n && !ret; i++) {
		struct pci_bdf b = pcif_bdf(hit.f[i]);
		struct vfio_pci_dependent_device dep = {
			.group_id = pcif_group(hit.f[i]),
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

static void reset_one(struct vdev *d, bool only_closed)
{
	pthread_mutex_lock(&d->lock);
	if (!only_closed || !d->opens) {
		vdev_reset(d);
		d->needs_reset = false;
	}
	pthread_mutex_unlock(&d->lock);
}

/* Source: vfio_pci_dev_set_try_reset(). That it can not be done is nobody's error. */
void vdev_reset_set(struct vdev *d)
{
	struct reset_set s = { 0 };
	bool needed = false, can = true;

	if (!pcif_parent(d->f) || reset_set_init(&s, d))
		return;
	for (unsigned i = 0; i < s.hit.n; i++) {
		can &= s.devices[i] && !s.devices[i]->open;
		needed |= s.devices[i] && s.devices[i]->needs_reset;
	}
	for (unsigned i = 0; i < s.hit.n && needed && can; i++)
		reset_one(s.devices[i], true);
	reset_set_fini(&s);
}

/* Source: vfio_pci_ioctl_pci_hot_reset_groups(), vfio_pci_dev_set_hot_reset(). */
int device_hot_reset(struct vfio_obj *obj, struct vfio_call *call)
{
	struct vdev *d = obj_device(obj);
	struct reset_set s = { 0 };
	struct vfio_pci_hot_reset h;
	int ret;

	memcpy(&h, call->data, sizeof(h));
	/* None at all is the way of devices that were opened by themselves. */
	if (h.flags || !h.count)
		return -EINVAL;
	if (!pcif_parent(d->f))
		return -ENODEV;
	ret = reset_set_init(&s, d);
	if (ret)
		return ret;
	if (h.count > s.hit.n)
		ret = -EINVAL;
	else if (h.count > call->n_fds)
		ret = -EFAULT;
	if (!ret)
		ret = check_reset_groups(obj->v, call, h.count);
	if (!ret)
		ret = check_reset_set(&s, call, h.count);
	for (unsigned i = 0; i < s.hit.n && !ret; i++) {
		vdev_awake(s.devices[i]);
		reset_one(s.devices[i], false);
	}
	reset_set_fini(&s);
	return ret;
}
