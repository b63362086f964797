/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Devices: what they are, their regions, opening and closing. Source: drivers/vfio/pci/
 * vfio_pci_core.c and vfio_pci_rdwr.c.
 *
 * BAR accesses take no lock of this folder; pci cuts them into aligned pieces and refuses them
 * while the function does not decode them.
 */
#include <linux/pci_regs.h>

#include "vfio/priv.h"

#define REGIONS VFIO_PCI_NUM_REGIONS
#define REGION_MASK (BIT64(VFIO_REGION_SHIFT) - 1)

/* ------------------------------------------------------------------ life */

static unsigned vdev_vectors(const struct pcif_desc *desc)
{
	return MAX(MAX(desc->msi_vectors, desc->msix_vectors), 1u);
}

int vdev_init(struct vdev *d, struct vfio *v, struct pcif *f)
{
	int ret;

	d->v = v;
	d->f = f;
	d->refs = 1;
	d->irq_type = -1;
	d->msg_sink = (struct pcif_irq_sink){ .message = irq_message, .data = d };
	d->intx_sink = (struct pcif_irq_sink){ .intx = irq_intx, .data = d };
	d->n_vectors = vdev_vectors(pcif_desc(f));
	d->vectors = calloc(d->n_vectors, sizeof(*d->vectors));
	if (!d->vectors)
		return -ENOMEM;
	ret = token_init(d);
	if (ret) {
		free(d->vectors);
		return ret;
	}
	pcif_get(f);
	for (unsigned i = 0; i < d->n_vectors; i++)
		wire_init(&d->vectors[i]);
	wire_init(&d->err);
	wire_init(&d->req);
	wire_init(&d->wake);
	wire_init(&d->intx);
	pthread_mutex_init(&d->lock, NULL);
	pthread_mutex_init(&d->intx_lock, NULL);
	return 0;
}

void vdev_fini(struct vdev *d)
{
	for (unsigned i = 0; i < d->n_vectors; i++)
		wire_fini(&d->vectors[i]);
	wire_fini(&d->err);
	wire_fini(&d->req);
	wire_fini(&d->wake);
	wire_fini(&d->intx);
	pthread_mutex_destroy(&d->lock);
	pthread_mutex_destroy(&d->intx_lock);
	free(d->vectors);
	vconfig_fini(&d->cfg);
	free(d->open_state);
	vdev_put(d->pf);
	pcif_put(d->f);
}

static uint16_t vdev_decode_bits(const struct vdev *d)
{
	const struct pcif_desc *desc = pcif_desc(d->f);
	uint16_t bits = 0;

	for (unsigned i = 0; i < PCIF_NUM_BARS; i++) {
		if (desc->bars[i].type == PCIF_BAR_IO)
			bits |= PCI_COMMAND_IO;
		else if (desc->bars[i].type != PCIF_BAR_NONE)
			bits |= PCI_COMMAND_MEMORY;
	}
	return bits;
}

/* Source: vfio_pci_core_enable(). With d->lock. */
static int vdev_enable(struct vdev *d)
{
	uint16_t cmd = pcif_config_read(d->f, PCI_COMMAND, 2);
	int ret;

	/* No DMA until the client asks for it, decoding as it needs. */
	cmd &= ~(PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE);
	cmd |= vdev_decode_bits(d);
	vdev_set_power(d, 0);
	pcif_config_write(d->f, PCI_COMMAND, 2, cmd);
	d->reset_works = vdev_can_reset(d);
	if (d->reset_works)
		vdev_reset(d);
	d->open_state = malloc(PCIF_CONFIG_SIZE);
	if (!d->open_state)
		return -ENOMEM;
	bus_config_save(d->f, d->open_state);
	d->intx_virtual_off = false;
	ret = vconfig_init(d);
	if (ret) {
		free(d->open_state);
		d->open_state = NULL;
	}
	return ret;
}

/* Source: vfio_pci_core_disable(). With d->lock. */
static void vdev_disable(struct vdev *d)
{
	uint16_t cmd;

	/* First what depends on the client's eventfds: the rest waits for the model's threads. */
	irq_teardown(d);
	ioeventfd_teardown(d);
	vdev_set_power(d, 0);
	cmd = pcif_config_read(d->f, PCI_COMMAND, 2);
	pcif_config_write(d->f, PCI_COMMAND, 2, cmd & ~PCI_COMMAND_MASTER);
	wire_set(&d->err, -1);
	wire_set(&d->req, -1);
	wire_set(&d->wake, -1);
	d->low_power = false;
	if (d->reset_works)
		vdev_reset(d);
	else
		d->needs_reset = true;
	bus_config_restore(d->f, d->open_state);
	free(d->open_state);
	d->open_state = NULL;
	vconfig_fini(&d->cfg);
}

int vdev_open(struct vdev *d, unsigned client)
{
	int ret = 0;

	pthread_mutex_lock(&d->lock);
	if (!d->opens) {
		pcif_set_client(d->f, client);
		ret = vdev_enable(d);
		if (ret)
			pcif_set_client(d->f, 0);
	}
	if (!ret && !d->opens++) {
		d->open = true;
		vfio_tell(d->v, VFIO_EVENT_OPEN, d->group->number, client, d->f);
	}
	pthread_mutex_unlock(&d->lock);
	return ret;
}

/*
 * Takes d->lock from whoever has it: it may be waiting for a thread of the model that signals an
 * eventfd which the client filled, and that client may be gone.
 */
static void vdev_lock_for_close(struct vdev *d)
{
	while (pthread_mutex_trylock(&d->lock)) {
		for (unsigned i = 0; i < d->n_vectors; i++)
			wire_rescue(&d->vectors[i]);
		wire_rescue(&d->intx);
		usleep(100);
	}
}

void vdev_close(struct vdev *d)
{
	bool last;

	vdev_lock_for_close(d);
	last = !--d->opens;
	if (last) {
		vdev_disable(d);
		d->open = false;
		vfio_tell(d->v, VFIO_EVENT_CLOSE, d->group->number, pcif_client(d->f), d->f);
		pcif_set_client(d->f, 0);
	}
	pthread_mutex_unlock(&d->lock);
	if (last)
		vdev_reset_set(d);
}

/* Source: vfio_pci_core_runtime_resume(). */
void vdev_awake(struct vdev *d)
{
	bool asleep = true;

	/* Without wakeup the client says itself when it is done; our device never really sleeps. */
	if (!d->low_power || !d->low_power_wake)
		return;
	if (!atomic_compare_exchange_strong(&d->low_power, &asleep, false))
		return;
	wire_signal(&d->wake);
}

/* ------------------------------------------------------------------ information */

/* Source: vfio_pci_ioctl_get_info(). */
int device_get_info(struct vfio_obj *obj, struct vfio_call *call)
{
	struct vdev *d = obj_device(obj);
	struct vfio_device_info info = { 0 };
	uint8_t all[DEVICE_INFO_SIZE] = { 0 };

	memcpy(&info.argsz, call->data, sizeof(info.argsz));
	info.flags = VFIO_DEVICE_FLAGS_PCI;
	if (d->reset_works)
		info.flags |= VFIO_DEVICE_FLAGS_RESET;
	info.num_regions = REGIONS;
	info.num_irqs = VFIO_PCI_NUM_IRQS;
	memcpy(all, &info, MIN(sizeof(info), sizeof(all)));
	call->reply_size = MIN(MIN((size_t)info.argsz, call->size), sizeof(all));
	memcpy(call->data, all, call->reply_size);
	return 0;
}

static bool bar_is_memory(const struct pcif_bar *b)
{
	return b->type == PCIF_BAR_MEM32 || b->type == PCIF_BAR_MEM64;
}

/*
 * Finds the next run of pages that may be mapped, from @at on. Steps over the areas that the model
 * declared, not over pages: a BAR can be large.
 */
static bool bar_next_mappable(struct pcif *f, unsigned bar, uint64_t at, uint64_t *start,
			      uint64_t *size)
{
	const struct pcif_bar *b = &pcif_desc(f)->bars[bar];
	uint64_t run = 0;

	while (at < b->size) {
		bool map = pcif_bar_policy(f, bar, at) != PCIF_PAGE_TRAP;
		uint64_t next = b->size;

		for (unsigned i = 0; i < b->n_areas; i++) {
			const struct pcif_bar_area *a = &b->areas[i];

			if (a->offset > at)
				next = MIN(next, a->offset);
			if (a->offset + a->size > at)
				next = MIN(next, a->offset + a->size);
		}
		if (map) {
			if (!run)
				*start = at;
			run += next - at;
		} else if (run) {
			break;
		}
		at = next;
	}
	*size = run;
	return run != 0;
}

/* Source: vfio_pci_ioctl_get_region_info(), msix_mmappable_cap(). */
static int bar_region(struct pcif *f, unsigned bar, struct vfio_region_info *info,
		      struct chain *chain)
{
	const struct pcif_desc *desc = pcif_desc(f);
	const struct pcif_bar *b = &desc->bars[bar];
	struct vfio_region_sparse_mmap_area areas[8] = { 0 };
	struct vfio_region_info_cap_sparse_mmap *sparse;
	uint64_t start, size, at = 0;
	unsigned n = 0;

	if (b->type == PCIF_BAR_NONE || !b->size)
		return 0;
	info->size = b->size;
	info->flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
	if (!bar_is_memory(b))
		return 0;
	while (n < ARRAY_SIZE(areas) && bar_next_mappable(f, bar, at, &start, &size)) {
		areas[n].offset = start;
		areas[n++].size = size;
		at = start + size;
	}
	if (!n)
		return 0;
	info->flags |= VFIO_REGION_INFO_FLAG_MMAP;
	if (areas[0].size != b->size) {
		sparse = chain_add(chain, VFIO_REGION_INFO_CAP_SPARSE_MMAP, 1,
				   sizeof(*sparse) + n * sizeof(areas[0]));
		if (!sparse)
			return -ENOMEM;
		sparse->nr_areas = n;
		memcpy(sparse->areas, areas, n * sizeof(areas[0]));
	}
	if (desc->msix_vectors && desc->msix_bar == bar &&
	    !chain_add(chain, VFIO_REGION_INFO_CAP_MSIX_MAPPABLE, 1,
		       sizeof(struct vfio_info_cap_header)))
		return -ENOMEM;
	return 0;
}

int device_get_region_info(struct vfio_obj *obj, struct vfio_call *call)
{
	struct vdev *d = obj_device(obj);
	struct vfio_region_info info;
	struct chain chain = { .size = 0 };
	size_t more;
	int ret = 0;

	memcpy(&info, call->data, sizeof(info));
	if (info.index >= REGIONS || info.index == VFIO_PCI_VGA_REGION_INDEX)
		return -EINVAL;
	info.offset = (uint64_t)info.index << VFIO_REGION_SHIFT;
	info.size = 0;
	info.flags = 0;
	if (info.index == VFIO_PCI_CONFIG_REGION_INDEX) {
		info.size = pcif_config_size(d->f);
		info.flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
	} else if (info.index <= VFIO_PCI_BAR5_REGION_INDEX) {
		ret = bar_region(d->f, info.index, &info, &chain);
	}
	if (ret)
		return ret;
	if (chain.size)
		info.flags |= VFIO_REGION_INFO_FLAG_CAPS;
	more = chain_reply(&chain, call->data, call->size, sizeof(info), &info.argsz,
			   &info.cap_offset);
	memcpy(call->data, &info, sizeof(info));
	call->reply_size = sizeof(info) + more;
	return 0;
}

/* ------------------------------------------------------------------ access */

/* How much of [@pos, @pos + @size) lies inside the BAR: bytes, or -EINVAL. */
static ssize_t bar_clip(const struct vdev *d, unsigned bar, uint64_t pos, size_t size)
{
	const struct pcif_bar *b = &pcif_desc(d->f)->bars[bar];

	if (b->type == PCIF_BAR_NONE || pos >= b->size)
		return -EINVAL;
	return MIN(size, b->size - pos);
}

/* Source: vfio_pci_rw(), vfio_pci_bar_rw(), vfio_pci_config_rw(). @buf is only read if @write. */
static ssize_t device_rw(struct vfio_obj *obj, void *buf, size_t size, uint64_t offset, bool write)
{
	struct vdev *d = obj_device(obj);
	uint64_t index = offset >> VFIO_REGION_SHIFT, pos = offset & REGION_MASK;
	ssize_t n;
	int ret;

	if (!vfio_device_bound(obj))
		return -EINVAL;
	if (!size)
		return 0;
	if (index >= REGIONS)
		return -EINVAL;
	size = MIN(size, (size_t)INT32_MAX);
	vdev_awake(d);
	if (index <= VFIO_PCI_BAR5_REGION_INDEX) {
		n = bar_clip(d, index, pos, size);
		if (n < 0)
			return n;
		ret = write ? pcif_bar_write(d->f, index, pos, buf, n, true)
			    : pcif_bar_read(d->f, index, pos, buf, n, true);
		/* The kernel asks only for memory whether it is on. A port that is off floats. */
		if (ret == -EIO && pcif_desc(d->f)->bars[index].type == PCIF_BAR_IO) {
			if (!write)
				memset(buf, 0xff, n);
			ret = 0;
		}
		return ret ? ret : n;
	}
	/* ROM and VGA: there is none, and a ROM is not written anyway. */
	if (index != VFIO_PCI_CONFIG_REGION_INDEX)
		return -EINVAL;
	pthread_mutex_lock(&d->lock);
	ret = write ? vconfig_write(d, buf, size, pos) : vconfig_read(d, buf, size, pos);
	pthread_mutex_unlock(&d->lock);
	return ret ? ret : (ssize_t)size;
}

ssize_t vfio_device_read(struct vfio_obj *obj, void *buf, size_t size, uint64_t offset)
{
	return device_rw(obj, buf, size, offset, false);
}

ssize_t vfio_device_write(struct vfio_obj *obj, const void *buf, size_t size, uint64_t offset)
{
	return device_rw(obj, (void *)buf, size, offset, true);
}

/* Source: vfio_pci_core_mmap(), vfio_pci_mmap_page_fault(). */
int vfio_function_page(struct pcif *f, uint64_t offset, int *memfd, uint64_t *memfd_offset)
{
	uint64_t index = offset >> VFIO_REGION_SHIFT, pos = offset & REGION_MASK, base;
	const struct pcif_bar *b;
	int fd;

	if (index > VFIO_PCI_BAR5_REGION_INDEX || pos % UVF_PAGE_SIZE)
		return -EFAULT;
	b = &pcif_desc(f)->bars[index];
	if (!bar_is_memory(b) || pos >= b->size)
		return -EFAULT;
	if (pcif_bar_policy(f, index, pos) == PCIF_PAGE_TRAP)
		return -EFAULT;
	fd = pcif_bar_memfd(f, index, &base);
	if (fd < 0)
		return -EFAULT;
	*memfd = fd;
	*memfd_offset = base + pos;
	return 0;
}
