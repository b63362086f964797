/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A client that does anything: bytes become a sequence of files opened and closed, requests with
 * any argument, region accesses, page faults, and DMA and interrupts of the device in between.
 *
 * Held: no reply is longer than its block, a new file comes only from a success, and when the last
 * file is closed the machine is as it was: no address space attached, no interrupt connected, bus
 * master off, no descriptor left.
 *
 * Blocks are allocated at their exact size, for the address sanitizer to see what is read past
 * them.
 */
#include <linux/pci_regs.h>
#include <sys/eventfd.h>

#include "../unit/vfio_client.h"

#define OBJECTS 8
#define MEMORY KIB(256)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
	const uint8_t *p;
	size_t left;
};

static uint64_t take(struct input *in, unsigned n)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < n && in->left; i++, in->p++, in->left--)
		v |= (uint64_t)*in->p << (8 * i);
	return v;
}

/* ------------------------------------------------------------------ the device */

/* The function that has everything; a write tells it what to do. */
static void act(void *state, unsigned bar, uint64_t offset, unsigned size, uint64_t value)
{
	struct model *m = state;
	uint8_t buf[256] = { 0 };

	switch (offset & 0x1c) {
	case 0:
		m->iova = value;
		break;
	case 4:
		m->iova |= value << 32;
		break;
	case 8:
		(void)pcif_dma_write(m->f, m->iova, buf, value & 0xff);
		break;
	case 12:
		(void)pcif_dma_read(m->f, m->iova, buf, value & 0xff);
		break;
	case 16:
		pcif_irq_raise(m->f, value & 31);
		break;
	case 20:
		pcif_intx_set(m->f, value & 1);
		break;
	}
}

static const struct pcif_model fuzz_model = {
	.name = "fuzz",
	.summary = "does what it is told",
	.create = full_create,
	.destroy = model_destroy,
	.bar_read = model_read,
	.bar_write = act,
	.reset = model_reset,
};

/* ------------------------------------------------------------------ the machine */

struct world {
	struct fixture x;
	int efd[2], file;
	struct vfio_obj *obj[OBJECTS];
};

static void need(bool ok)
{
	must_hold(ok, "see the stack");
}

static void world_init(struct world *w)
{
	static const struct place list[] = { { FULL, &fuzz_model },
					     { PLAIN, &fuzz_model },
					     { PLAIN2, &fuzz_model } };

	memset(w, 0, sizeof(*w));
	need(!fixture_open(&w->x, list, ARRAY_SIZE(list), MEMORY));
	for (unsigned i = 0; i < 2; i++)
		w->efd[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	w->file = memfd_create("fuzz", MFD_CLOEXEC);
	need(w->efd[0] >= 0 && w->efd[1] >= 0 && w->file >= 0);
}

static void world_fini(struct world *w)
{
	for (unsigned i = 0; i < OBJECTS; i++)
		vfio_obj_put(w->obj[i]);
	for (unsigned i = 0; i < pcim_count(w->x.pci); i++) {
		struct pcif *f = pcim_function(w->x.pci, i);

		need(!vfio_function_space(w->x.v, f));
		need(!vfio_function_open(w->x.v, f));
		if (pcif_is_bridge(f))
			continue;
		need(pcif_irq_mode(f) == PCIF_IRQ_NONE);
		need(!(pcif_config_read(f, PCI_COMMAND, 2) & PCI_COMMAND_MASTER));
	}
	close(w->efd[0]);
	close(w->efd[1]);
	close(w->file);
	need(fixture_close(&w->x));
}

/* ------------------------------------------------------------------ what the client does */

static struct vfio_obj *pick(struct world *w, uint8_t n)
{
	return w->obj[n % OBJECTS];
}

static struct vfio_fd resolve(struct world *w, int32_t number)
{
	if (number < 0)
		return (struct vfio_fd){ .fd = -1 };
	switch (number % 12) {
	case 0:
	case 1:
		return (struct vfio_fd){ .fd = w->efd[number % 12] };
	case 2:
		return (struct vfio_fd){ .fd = w->file };
	case 3:
		return (struct vfio_fd){ .fd = -1, .error = -EBADF };
	default:
		return (struct vfio_fd){ .fd = -1, .obj = pick(w, number % 12 - 4) };
	}
}

static void keep(struct world *w, uint8_t n, struct vfio_obj *obj)
{
	vfio_obj_put(pick(w, n));
	w->obj[n % OBJECTS] = obj;
}

static void request(struct world *w, struct input *in)
{
	struct vfio_obj *obj = pick(w, take(in, 1));
	uint32_t number = 0x3b64 + take(in, 1) % 64;
	size_t size = take(in, 1), offset = 0;
	uint8_t slot = take(in, 1);
	struct vfio_fd fds[128];
	struct vfio_obj *new_obj = NULL;
	const struct vfio_shape *shape;
	uint64_t value = 0;
	uint8_t *block;
	unsigned n_fds;

	if (!obj)
		return;
	shape = vfio_shape(vfio_obj_kind(obj), number);
	if (shape && shape->arg == VFIO_ARG_VALUE)
		value = take(in, 8);
	block = calloc(1, size ? size : 1);
	need(block);
	for (size_t i = 0; i < size && in->left; i++)
		block[i] = take(in, 1);
	n_fds = vfio_call_fds(vfio_obj_kind(obj), number, block, size, &offset);
	need(n_fds <= ARRAY_SIZE(fds) && (!n_fds || offset + 4 * n_fds <= size));
	for (unsigned i = 0; i < n_fds; i++) {
		int32_t fd;

		memcpy(&fd, block + offset + 4 * i, 4);
		fds[i] = resolve(w, fd);
	}
	if (shape && shape->arg == VFIO_ARG_VALUE)
		(void)request_value(&w->x.client, obj, number, value);
	else
		(void)request_block(&w->x.client, obj, number, size ? block : NULL, size, fds,
				    n_fds, NULL, &new_obj);
	if (new_obj)
		keep(w, slot, new_obj);
	free(block);
}

static void access_region(struct world *w, struct input *in, bool store)
{
	struct vfio_obj *obj = pick(w, take(in, 1));
	uint64_t index = take(in, 1) % 10, at = take(in, 2);
	size_t size = take(in, 1);
	uint8_t *buf = calloc(1, size ? size : 1);

	need(buf);
	if (store)
		for (size_t i = 0; i < size && i < 16; i++)
			buf[i] = take(in, 1);
	if (obj && vfio_obj_kind(obj) == VFIO_KIND_DEVICE) {
		uint64_t offset = index << VFIO_REGION_SHIFT | at;
		ssize_t n = store ? vfio_device_write(obj, buf, size, offset)
				  : vfio_device_read(obj, buf, size, offset);

		need(n <= (ssize_t)size);
	}
	free(buf);
}

static void device_acts(struct world *w, struct input *in)
{
	struct pcif *f = pcim_function(w->x.pci, take(in, 1) % pcim_count(w->x.pci));
	uint8_t what = take(in, 1);
	uint64_t iova = take(in, 4), at;
	uint8_t buf[64] = { 0 };
	int fd;

	if (pcif_is_bridge(f))
		return;
	switch (what % 6) {
	case 0:
		(void)pcif_dma_write(f, iova, buf, what % 64);
		break;
	case 1:
		(void)pcif_dma_read(f, iova, buf, what % 64);
		break;
	case 2:
		pcif_irq_raise(f, iova % 64);
		break;
	case 3:
		pcif_intx_set(f, iova & 1);
		break;
	case 4:
		vfio_device_request(w->x.v, f);
		break;
	case 5:
		(void)vfio_function_page(f, (iova >> 24) << VFIO_REGION_SHIFT | (iova & 0xffff),
					 &fd, &at);
		break;
	}
}

static void step(struct world *w, struct input *in)
{
	const uint64_t one = 1;
	struct vfio_cdev cdev;
	struct vfio_obj *obj;
	uint8_t slot;

	switch (take(in, 1) % 10) {
	case 0:
		slot = take(in, 1);
		if (!vfio_open_container(w->x.v, &obj))
			keep(w, slot, obj);
		break;
	case 1:
		slot = take(in, 1);
		if (!vfio_open_group(w->x.v, take(in, 1) % 8, &obj))
			keep(w, slot, obj);
		break;
	case 2:
		keep(w, take(in, 1), NULL);
		break;
	case 3:
		request(w, in);
		break;
	case 4:
		access_region(w, in, false);
		break;
	case 5:
		access_region(w, in, true);
		break;
	case 6:
		device_acts(w, in);
		break;
	case 7:
		if (write(w->efd[take(in, 1) & 1], &one, sizeof(one)) < 0)
			return;
		break;
	case 8:
		slot = take(in, 1);
		if (!vfio_open_iommufd(w->x.v, &obj))
			keep(w, slot, obj);
		break;
	case 9:
		slot = take(in, 1);
		if (vfio_cdev_next(w->x.v, take(in, 1) % 4, &cdev) &&
		    !vfio_open_cdev(w->x.v, cdev.id, 0, &obj))
			keep(w, slot, obj);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	struct world w;

	need(!guard_init());
	world_init(&w);
	for (unsigned i = 0; i < 300 && in.left; i++)
		step(&w, &in);
	world_fini(&w);
	return 0;
}
