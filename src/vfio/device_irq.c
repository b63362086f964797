/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Interrupts of a device: wiring them to a client's eventfds. Source: drivers/vfio/pci/
 * vfio_pci_intrs.c, vfio_set_irqs_validate_and_prepare().
 *
 * pci raises through irq_message() and irq_intx() on the thread of the device; these take only the
 * locks of single wires. Everything else here runs under the device's lock. Wires are taken away
 * before pci is told to disconnect, since that waits for raising threads.
 */
#include "vfio/priv.h"

void irq_message(void *data, unsigned vector)
{
	struct vdev *d = data;

	if (vector < d->n_vectors)
		wire_signal(&d->vectors[vector]);
}

/* The pin rose: masked by that, until the client says it has served it. */
void irq_intx(void *data)
{
	struct vdev *d = data;

	pthread_mutex_lock(&d->intx_lock);
	if (d->intx_on && !d->intx_masked) {
		d->intx_masked = true;
		wire_signal(&d->intx);
	}
	pthread_mutex_unlock(&d->intx_lock);
}

static unsigned irq_max(const struct vdev *d, uint32_t index)
{
	const struct pcif_desc *desc = pcif_desc(d->f);

	switch (index) {
	case VFIO_PCI_INTX_IRQ_INDEX:
		return desc->intx_pin != 0;
	case VFIO_PCI_MSI_IRQ_INDEX:
		return desc->msi_vectors;
	case VFIO_PCI_MSIX_IRQ_INDEX:
		return desc->msix_vectors;
	default:
		return 1;
	}
}

/* Source: vfio_pci_ioctl_get_irq_info(). */
int device_get_irq_info(struct vfio_obj *obj, struct vfio_call *call)
{
	static const uint32_t flags[VFIO_PCI_NUM_IRQS] = {
		[VFIO_PCI_INTX_IRQ_INDEX] =
			VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_MASKABLE | VFIO_IRQ_INFO_AUTOMASKED,
		[VFIO_PCI_MSI_IRQ_INDEX] = VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_NORESIZE,
		[VFIO_PCI_MSIX_IRQ_INDEX] = VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_NORESIZE,
		[VFIO_PCI_ERR_IRQ_INDEX] = VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_NORESIZE,
		[VFIO_PCI_REQ_IRQ_INDEX] = VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_NORESIZE,
	};
	struct vfio_irq_info info;

	memcpy(&info, call->data, sizeof(info));
	if (info.index >= VFIO_PCI_NUM_IRQS)
		return -EINVAL;
	info.flags = flags[info.index];
	info.count = irq_max(obj_device(obj), info.index);
	/* Where there are vectors more can be added to those in use. */
	if (info.index == VFIO_PCI_MSIX_IRQ_INDEX && info.count)
		info.flags &= ~VFIO_IRQ_INFO_NORESIZE;
	memcpy(call->data, &info, sizeof(info));
	call->reply_size = sizeof(info);
	return 0;
}

/* ------------------------------------------------------------------ a request, taken apart */

struct irq_request {
	uint32_t type, action, index, start, count;
	const uint8_t *data; /* @count bools or ints */
	const struct vfio_call *call;
};

static bool irq_bool(const struct irq_request *r, unsigned i)
{
	return r->data[i] != 0;
}

/* The client's number: negative means none. */
static int32_t irq_fd(const struct irq_request *r, unsigned i)
{
	int32_t fd;

	memcpy(&fd, r->data + i * sizeof(fd), sizeof(fd));
	return fd;
}

/* Our duplicate of the @i-th eventfd, or -1 where the client said none. */
static int irq_take(const struct irq_request *r, unsigned i, int *fd)
{
	if (irq_fd(r, i) < 0) {
		*fd = -1;
		return 0;
	}
	return eventfd_take(i < r->call->n_fds ? &r->call->fds[i] : NULL, fd);
}

static int irq_parse(struct vdev *d, struct vfio_call *call, struct irq_request *r)
{
	const uint32_t known = VFIO_IRQ_SET_DATA_TYPE_MASK | VFIO_IRQ_SET_ACTION_TYPE_MASK;
	struct vfio_irq_set set;
	uint64_t unit, max;

	memcpy(&set, call->data, sizeof(set));
	if (set.index >= VFIO_PCI_NUM_IRQS || set.flags & ~known ||
	    set.count >= UINT32_MAX - set.start)
		return -EINVAL;
	max = irq_max(d, set.index);
	if (set.start >= max || set.start + set.count > max)
		return -EINVAL;
	switch (set.flags & VFIO_IRQ_SET_DATA_TYPE_MASK) {
	case VFIO_IRQ_SET_DATA_NONE:
		unit = 0;
		break;
	case VFIO_IRQ_SET_DATA_BOOL:
		unit = 1;
		break;
	case VFIO_IRQ_SET_DATA_EVENTFD:
		unit = sizeof(int32_t);
		break;
	default:
		return -EINVAL;
	}
	if (set.argsz - sizeof(set) < set.count * unit)
		return -EINVAL;
	if (call->size - sizeof(set) < set.count * unit)
		return -EFAULT;
	*r = (struct irq_request){
		.type = set.flags & VFIO_IRQ_SET_DATA_TYPE_MASK,
		.action = set.flags & VFIO_IRQ_SET_ACTION_TYPE_MASK,
		.index = set.index,
		.start = set.start,
		.count = set.count,
		.data = (const uint8_t *)call->data + sizeof(set),
		.call = call,
	};
	return 0;
}

/* ------------------------------------------------------------------ INTx */

/* Served: if the pin is still up there is more to do. Source: vfio_pci_intx_unmask_handler(). */
static void intx_unmask(void *data)
{
	struct vdev *d = data;

	pthread_mutex_lock(&d->intx_lock);
	if (d->intx_on && d->intx_masked && !d->intx_virtual_off) {
		if (pcif_intx_level(d->f))
			wire_signal(&d->intx);
		else
			d->intx_masked = false;
	}
	pthread_mutex_unlock(&d->intx_lock);
}

static void intx_mask(struct vdev *d)
{
	pthread_mutex_lock(&d->intx_lock);
	d->intx_masked = true;
	pthread_mutex_unlock(&d->intx_lock);
}

/* Source: vfio_basic_config_write(). */
void irq_set_virtual_intx(struct vdev *d, bool disabled)
{
	bool was;

	pthread_mutex_lock(&d->intx_lock);
	was = d->intx_virtual_off;
	d->intx_virtual_off = disabled;
	if (disabled)
		d->intx_masked = true;
	pthread_mutex_unlock(&d->intx_lock);
	if (was && !disabled)
		intx_unmask(d);
}

/* Source: vfio_intx_enable(). */
static void intx_enable(struct vdev *d, int fd)
{
	wire_set(&d->intx, fd);
	pthread_mutex_lock(&d->intx_lock);
	d->intx_on = true;
	d->intx_masked = d->intx_virtual_off;
	pthread_mutex_unlock(&d->intx_lock);
	d->irq_type = VFIO_PCI_INTX_IRQ_INDEX;
	d->irq_count = 1;
	pcif_irq_connect(d->f, PCIF_IRQ_INTX, 1, &d->intx_sink);
	/* A level that was up before rises for this client now. */
	if (pcif_intx_level(d->f))
		irq_intx(d);
}

/* Source: vfio_intx_disable(). */
static void intx_disable(struct vdev *d)
{
	watch_remove(d->v->watcher, d->unmask_watch);
	d->unmask_watch = NULL;
	wire_set(&d->intx, -1);
	pthread_mutex_lock(&d->intx_lock);
	d->intx_on = false;
	pthread_mutex_unlock(&d->intx_lock);
	pcif_irq_connect(d->f, PCIF_IRQ_NONE, 0, NULL);
	d->irq_type = -1;
	d->irq_count = 0;
}

/* Source: vfio_pci_set_intx_mask(). */
static int set_intx_mask(struct vdev *d, const struct irq_request *r)
{
	if (d->irq_type != VFIO_PCI_INTX_IRQ_INDEX || r->start || r->count != 1)
		return -EINVAL;
	if (r->type == VFIO_IRQ_SET_DATA_EVENTFD)
		return -ENOTTY;
	if (r->type == VFIO_IRQ_SET_DATA_NONE || irq_bool(r, 0))
		intx_mask(d);
	return 0;
}

/* Source: vfio_pci_set_intx_unmask(), vfio_virqfd_enable(). */
static int set_intx_unmask(struct vdev *d, const struct irq_request *r)
{
	int fd, ret;

	if (d->irq_type != VFIO_PCI_INTX_IRQ_INDEX || r->start || r->count != 1)
		return -EINVAL;
	if (r->type != VFIO_IRQ_SET_DATA_EVENTFD) {
		if (r->type == VFIO_IRQ_SET_DATA_NONE || irq_bool(r, 0))
			intx_unmask(d);
		return 0;
	}
	ret = irq_take(r, 0, &fd);
	if (ret)
		return ret;
	if (fd < 0) {
		watch_remove(d->v->watcher, d->unmask_watch);
		d->unmask_watch = NULL;
		return 0;
	}
	if (d->unmask_watch) {
		close(fd);
		return -EBUSY;
	}
	return watch_add(d->v->watcher, fd, intx_unmask, d, &d->unmask_watch);
}

/* Source: vfio_pci_set_intx_trigger(). */
static int set_intx_trigger(struct vdev *d, const struct irq_request *r)
{
	bool on = d->irq_type == VFIO_PCI_INTX_IRQ_INDEX;
	int fd, ret;

	if (on && !r->count && r->type == VFIO_IRQ_SET_DATA_NONE) {
		intx_disable(d);
		return 0;
	}
	if ((!on && d->irq_type >= 0) || r->start || r->count != 1)
		return -EINVAL;
	if (r->type == VFIO_IRQ_SET_DATA_EVENTFD) {
		ret = irq_take(r, 0, &fd);
		if (ret)
			return ret;
		if (on)
			wire_set(&d->intx, fd);
		else
			intx_enable(d, fd);
		return 0;
	}
	if (!on)
		return -EINVAL;
	if (!d->intx_virtual_off && (r->type == VFIO_IRQ_SET_DATA_NONE || irq_bool(r, 0)))
		wire_signal(&d->intx);
	return 0;
}

/* ------------------------------------------------------------------ MSI and MSI-X */

static unsigned log2_up(unsigned n)
{
	unsigned log = 0;

	while (BIT(log) < n)
		log++;
	return log;
}

static void msg_connect(struct vdev *d)
{
	if (d->irq_type == VFIO_PCI_MSI_IRQ_INDEX)
		/* Hardware has them in powers of two. */
		pcif_irq_connect(d->f, PCIF_IRQ_MSI, BIT(log2_up(d->irq_count)), &d->msg_sink);
	else
		pcif_irq_connect(d->f, PCIF_IRQ_MSIX, d->irq_count, &d->msg_sink);
}

/* Source: vfio_msi_enable(). */
static int msg_enable(struct vdev *d, uint32_t index, unsigned count)
{
	if (!count)
		return -ERANGE; /* as pci_alloc_irq_vectors() says of a range of none */
	d->irq_type = index;
	d->irq_count = count;
	if (index == VFIO_PCI_MSI_IRQ_INDEX)
		vconfig_set_msi_capable(d, log2_up(count));
	msg_connect(d);
	return 0;
}

/* Source: vfio_msi_disable(). */
static void msg_disable(struct vdev *d)
{
	for (unsigned i = 0; i < d->n_vectors; i++)
		wire_set(&d->vectors[i], -1);
	pcif_irq_connect(d->f, PCIF_IRQ_NONE, 0, NULL);
	d->irq_type = -1;
	d->irq_count = 0;
}

/* Source: vfio_msi_set_vector_signal(). */
static int msg_set_one(struct vdev *d, const struct irq_request *r, unsigned i)
{
	unsigned vector = r->start + i;
	int fd, ret;

	wire_set(&d->vectors[vector], -1);
	if (irq_fd(r, i) < 0)
		return 0;
	if (vector >= d->irq_count && r->index == VFIO_PCI_MSI_IRQ_INDEX)
		return -EINVAL;
	ret = irq_take(r, i, &fd);
	if (ret)
		return ret;
	wire_set(&d->vectors[vector], fd);
	if (vector >= d->irq_count) {
		d->irq_count = vector + 1;
		msg_connect(d);
	}
	return 0;
}

/* Source: vfio_msi_set_block(). */
static int msg_set_block(struct vdev *d, const struct irq_request *r)
{
	int ret = 0;

	for (unsigned i = 0; i < r->count; i++) {
		ret = msg_set_one(d, r, i);
		if (!ret)
			continue;
		while (i--)
			wire_set(&d->vectors[r->start + i], -1);
		break;
	}
	return ret;
}

/* Source: vfio_pci_set_msi_trigger(). */
static int set_msg_trigger(struct vdev *d, const struct irq_request *r)
{
	bool on = d->irq_type == (int)r->index;
	int ret;

	if (on && !r->count && r->type == VFIO_IRQ_SET_DATA_NONE) {
		msg_disable(d);
		return 0;
	}
	if (!on && d->irq_type >= 0)
		return -EINVAL;
	if (r->type == VFIO_IRQ_SET_DATA_EVENTFD) {
		if (on)
			return msg_set_block(d, r);
		ret = msg_enable(d, r->index, r->start + r->count);
		if (ret)
			return ret;
		ret = msg_set_block(d, r);
		if (ret)
			msg_disable(d);
		return ret;
	}
	if (!on)
		return -EINVAL;
	for (unsigned i = 0; i < r->count; i++)
		if (r->type == VFIO_IRQ_SET_DATA_NONE || irq_bool(r, i))
			wire_signal(&d->vectors[r->start + i]);
	return 0;
}

/* ------------------------------------------------------------------ ERR and REQ */

/* Source: vfio_pci_set_ctx_trigger_single(). */
static int set_single_trigger(struct wire *w, const struct irq_request *r)
{
	int fd, ret;

	if (r->start || r->count > 1)
		return -EINVAL;
	if (r->type == VFIO_IRQ_SET_DATA_NONE) {
		if (!wire_is_set(w))
			return -EINVAL;
		if (r->count)
			wire_signal(w);
		else
			wire_set(w, -1);
		return 0;
	}
	if (!r->count)
		return -EINVAL;
	if (r->type == VFIO_IRQ_SET_DATA_BOOL) {
		if (irq_bool(r, 0))
			wire_signal(w);
		return 0;
	}
	/* Of the negative numbers only -1 clears; the others are accepted and mean nothing. */
	if (irq_fd(r, 0) < -1)
		return 0;
	ret = irq_take(r, 0, &fd);
	if (!ret)
		wire_set(w, fd);
	return ret;
}

static int set_err_trigger(struct vdev *d, const struct irq_request *r)
{
	return set_single_trigger(&d->err, r);
}

static int set_req_trigger(struct vdev *d, const struct irq_request *r)
{
	return set_single_trigger(&d->req, r);
}

/* ------------------------------------------------------------------ all of them */

/* Source: vfio_pci_set_irqs_ioctl(). */
int device_set_irqs(struct vfio_obj *obj, struct vfio_call *call)
{
	static const struct {
		uint32_t index, action;
		int (*set)(struct vdev *d, const struct irq_request *r);
	} setters[] = {
		{ VFIO_PCI_INTX_IRQ_INDEX, VFIO_IRQ_SET_ACTION_MASK, set_intx_mask },
		{ VFIO_PCI_INTX_IRQ_INDEX, VFIO_IRQ_SET_ACTION_UNMASK, set_intx_unmask },
		{ VFIO_PCI_INTX_IRQ_INDEX, VFIO_IRQ_SET_ACTION_TRIGGER, set_intx_trigger },
		{ VFIO_PCI_MSI_IRQ_INDEX, VFIO_IRQ_SET_ACTION_TRIGGER, set_msg_trigger },
		{ VFIO_PCI_MSIX_IRQ_INDEX, VFIO_IRQ_SET_ACTION_TRIGGER, set_msg_trigger },
		{ VFIO_PCI_ERR_IRQ_INDEX, VFIO_IRQ_SET_ACTION_TRIGGER, set_err_trigger },
		{ VFIO_PCI_REQ_IRQ_INDEX, VFIO_IRQ_SET_ACTION_TRIGGER, set_req_trigger },
	};
	struct vdev *d = obj_device(obj);
	struct irq_request r;
	int ret;

	ret = irq_parse(d, call, &r);
	if (ret)
		return ret;
	ret = -ENOTTY;
	pthread_mutex_lock(&d->lock);
	for (size_t i = 0; i < ARRAY_SIZE(setters); i++)
		if (setters[i].index == r.index && setters[i].action == r.action)
			ret = setters[i].set(d, &r);
	pthread_mutex_unlock(&d->lock);
	return ret;
}

void irq_hold_wires(void *data, bool hold)
{
	struct vdev *d = data;

	for (unsigned i = 0; i < d->n_vectors; i++)
		wire_hold(&d->vectors[i], hold);
	wire_hold(&d->intx, hold);
}

void irq_teardown(struct vdev *d)
{
	if (d->irq_type == VFIO_PCI_INTX_IRQ_INDEX)
		intx_disable(d);
	else if (d->irq_type >= 0)
		msg_disable(d);
}
