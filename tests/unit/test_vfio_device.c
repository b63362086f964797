/* SPDX-License-Identifier: BSD-3-Clause */
/* Devices: information, regions, interrupts, resets, ioeventfds, features. */
#include <pthread.h>
#include <sys/select.h>
#include <sys/uio.h>

#include "vfio_fixture.h"

/* ------------------------------------------------------------------ information */

static void device_info(void **state)
{
	struct fixture *x = *state;
	uint32_t info[6] = { 15 };

	open_device(x, FULL);
	assert_int_equal(call(x, x->dev, VFIO_DEVICE_GET_INFO, info, 16), -EINVAL);
	for (uint32_t size = 16; size <= 32; size += 4) {
		memset(info, 0xff, sizeof(info));
		info[0] = size;
		assert_int_equal(call(x, x->dev, VFIO_DEVICE_GET_INFO, info, MIN(size, 24u)), 0);
		assert_int_equal(x->reply, MIN(size, 24u));
		assert_int_equal(info[0], size);
		assert_int_equal(info[1], VFIO_DEVICE_FLAGS_PCI | VFIO_DEVICE_FLAGS_RESET);
		assert_int_equal(info[2], 9);
		assert_int_equal(info[3], 5);
		if (size >= 20)
			assert_int_equal(info[4], 0);
	}
	assert_int_equal(call(x, x->dev, 0x3b76, info, 24), -EINVAL);
	assert_int_equal(call_value(x, x->dev, 0x3b77, 0), -ENOTTY);
	assert_int_equal(call_value(x, x->dev, VFIO_DEVICE_QUERY_GFX_PLANE, 0), -ENOTTY);
}

static void device_without_reset(void **state)
{
	struct fixture *x = *state;
	uint32_t info[4] = { 16 };

	open_device(x, PLAIN);
	assert_int_equal(call(x, x->dev, VFIO_DEVICE_GET_INFO, info, 16), 0);
	assert_int_equal(info[1], VFIO_DEVICE_FLAGS_PCI);
	assert_int_equal(call_value(x, x->dev, VFIO_DEVICE_RESET, 0), -EINVAL);
}

struct region_reply {
	struct vfio_region_info info;
	uint8_t caps[128];
};

static void region_info(void **state)
{
	struct fixture *x = *state;
	static const struct {
		uint32_t index;
		uint64_t size;
		uint32_t flags, argsz;
	} rows[] = {
		{ 0, KIB(16), 0xf, 32 + 32 + 8 },
		{ 1, 32, 3, 32 },
		{ 2, KIB(64), 7, 32 },
		{ 3, 0, 0, 32 },
		{ 4, 4096, 3, 32 },
		{ 5, 0, 0, 32 },
		{ 6, 0, 0, 32 },
		{ 7, 4096, 3, 32 },
	};
	struct region_reply r;
	const struct vfio_region_info_cap_sparse_mmap *sparse;
	const struct vfio_info_cap_header *h;

	open_device(x, FULL);
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		memset(&r, 0, sizeof(r));
		r.info.argsz = 32;
		r.info.index = rows[i].index;
		assert_int_equal(call(x, x->dev, VFIO_DEVICE_GET_REGION_INFO, &r, 32), 0);
		assert_int_equal(x->reply, 32);
		assert_int_equal(r.info.size, rows[i].size);
		assert_int_equal(r.info.flags, rows[i].flags);
		assert_int_equal(r.info.argsz, rows[i].argsz);
		assert_int_equal(r.info.offset, region(rows[i].index, 0));
		assert_int_equal(r.info.cap_offset, 0);
	}
	for (uint32_t index = 8; index < 12; index++) {
		r.info = (struct vfio_region_info){ .argsz = 32, .index = index };
		assert_int_equal(call(x, x->dev, VFIO_DEVICE_GET_REGION_INFO, &r, 32), -EINVAL);
	}
	r.info = (struct vfio_region_info){ .argsz = 31 };
	assert_int_equal(call(x, x->dev, VFIO_DEVICE_GET_REGION_INFO, &r, 32), -EINVAL);

	r.info = (struct vfio_region_info){ .argsz = sizeof(r) };
	assert_int_equal(call(x, x->dev, VFIO_DEVICE_GET_REGION_INFO, &r, sizeof(r)), 0);
	assert_int_equal(r.info.cap_offset, 32);
	assert_int_equal(r.info.argsz, sizeof(r));
	sparse = (void *)((uint8_t *)&r + 32);
	assert_int_equal(sparse->header.id, VFIO_REGION_INFO_CAP_SPARSE_MMAP);
	assert_int_equal(sparse->header.version, 1);
	assert_int_equal(sparse->nr_areas, 1);
	assert_int_equal(sparse->areas[0].offset, 0x1000);
	assert_int_equal(sparse->areas[0].size, 0x2000);
	h = (void *)((uint8_t *)&r + sparse->header.next);
	assert_int_equal(h->id, VFIO_REGION_INFO_CAP_MSIX_MAPPABLE);
	assert_int_equal(h->next, 0);
}

/* ------------------------------------------------------------------ access */

static ssize_t rd(struct fixture *x, unsigned index, uint64_t at, void *buf, size_t n)
{
	return vfio_device_read(x->dev, buf, n, region(index, at));
}

static void region_access(void **state)
{
	struct fixture *x = *state;
	uint64_t v = 0;

	open_device(x, FULL);
	assert_int_equal(rd(x, 0, 0x10, &v, 4), 4);
	assert_int_equal(v, 0x04030211);
	assert_int_equal(rd(x, 0, 0x10, &v, 0), 0);
	assert_int_equal(rd(x, 0, KIB(16) - 4, &v, 8), 4);
	assert_int_equal(rd(x, 0, KIB(16), &v, 8), -EINVAL);
	assert_int_equal(rd(x, 1, 0, &v, 4), 4);
	assert_int_equal(rd(x, 1, 32, &v, 4), -EINVAL);
	assert_int_equal(rd(x, 3, 0, &v, 4), -EINVAL);
	assert_int_equal(rd(x, 5, 0, &v, 4), -EINVAL);
	assert_int_equal(rd(x, 6, 0, &v, 4), -EINVAL);
	assert_int_equal(rd(x, 8, 0, &v, 4), -EINVAL);
	assert_int_equal(rd(x, 9, 0, &v, 4), -EINVAL);
	assert_int_equal(vfio_device_read(x->dev, &v, 4, ~0ull), -EINVAL);
	assert_int_equal(vfio_device_write(x->dev, &v, 4, region(6, 0)), -EINVAL);
	assert_int_equal(vfio_device_write(x->dev, &v, 4, region(8, 0)), -EINVAL);
	assert_int_equal(vfio_device_write(x->dev, &v, 4, region(0, KIB(16))), -EINVAL);
	v = 0x11223344;
	assert_int_equal(vfio_device_write(x->dev, &v, 4, region(2, 0x100)), 4);
	v = 0;
	assert_int_equal(rd(x, 2, 0x100, &v, 4), 4);
	assert_int_equal(v, 0x11223344);
	/* The MSI-X table reads ones and drops writes. */
	v = 0;
	assert_int_equal(vfio_device_write(x->dev, &v, 8, region(0, 0x3000)), 8);
	assert_int_equal(rd(x, 0, 0x3000, &v, 8), 8);
	assert_true(v == ~0ull);
	/* Configuration space is taken whole or not at all. */
	assert_int_equal(rd(x, 7, 4096, &v, 1), -EFAULT);
	assert_int_equal(rd(x, 7, 4094, &v, 4), -EFAULT);
	assert_int_equal(rd(x, 7, 4092, &v, 4), 4);
	assert_int_equal(vfio_device_write(x->dev, &v, 4, region(7, 4094)), -EFAULT);
	/* Memory and I/O decoding off. */
	config_put(x, PCI_COMMAND, 2, PCI_COMMAND_IO);
	assert_int_equal(rd(x, 0, 0, &v, 4), -EIO);
	assert_int_equal(vfio_device_write(x->dev, &v, 4, region(0, 0)), -EIO);
	assert_int_equal(rd(x, 1, 0, &v, 4), 4);
	config_put(x, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	assert_int_equal(rd(x, 0, 0, &v, 4), 4);
	assert_int_equal(rd(x, 1, 0, &v, 4), -EIO);
}

static void pages(void **state)
{
	struct fixture *x = *state;
	int fd;
	uint64_t at, base;

	assert_int_equal(vfio_function_page(x->full, region(0, 0), &fd, &at), -EFAULT);
	assert_int_equal(vfio_function_page(x->full, region(0, 0x3000), &fd, &at), -EFAULT);
	assert_int_equal(vfio_function_page(x->full, region(0, 0x1004), &fd, &at), -EFAULT);
	assert_int_equal(vfio_function_page(x->full, region(0, 0x4000), &fd, &at), -EFAULT);
	assert_int_equal(vfio_function_page(x->full, region(1, 0), &fd, &at), -EFAULT);
	assert_int_equal(vfio_function_page(x->full, region(3, 0), &fd, &at), -EFAULT);
	assert_int_equal(vfio_function_page(x->full, region(7, 0), &fd, &at), -EFAULT);
	assert_int_equal(vfio_function_page(x->full, ~0ull << 12, &fd, &at), -EFAULT);
	assert_int_equal(vfio_function_page(x->full, region(0, 0x1000), &fd, &at), 0);
	assert_int_equal(fd, pcif_bar_memfd(x->full, 0, &base));
	assert_int_equal(at, base + 0x1000);
	assert_int_equal(vfio_function_page(x->full, region(2, 0xf000), &fd, &at), 0);
	assert_int_equal(fd, pcif_bar_memfd(x->full, 2, &base));
	assert_int_equal(at, base + 0xf000);
}

/* ------------------------------------------------------------------ interrupts */

#define NONE VFIO_IRQ_SET_DATA_NONE
#define BOOL VFIO_IRQ_SET_DATA_BOOL
#define EVENTFD VFIO_IRQ_SET_DATA_EVENTFD
#define MASK VFIO_IRQ_SET_ACTION_MASK
#define UNMASK VFIO_IRQ_SET_ACTION_UNMASK
#define TRIGGER VFIO_IRQ_SET_ACTION_TRIGGER

static int set_irqs(struct fixture *x, uint32_t index, uint32_t flags, uint32_t start,
		    uint32_t count, const void *data, size_t bytes)
{
	uint8_t block[256];
	struct vfio_irq_set set = { sizeof(set) + bytes, flags, index, start, count };

	memcpy(block, &set, sizeof(set));
	if (bytes)
		memcpy(block + sizeof(set), data, bytes);
	return call(x, x->dev, VFIO_DEVICE_SET_IRQS, block, sizeof(set) + bytes);
}

static int set_fds(struct fixture *x, uint32_t index, uint32_t action, uint32_t start,
		   uint32_t count, const int32_t *fds)
{
	return set_irqs(x, index, EVENTFD | action, start, count, fds, 4 * count);
}

static int set_none(struct fixture *x, uint32_t index, uint32_t action, uint32_t start,
		    uint32_t count)
{
	return set_irqs(x, index, NONE | action, start, count, NULL, 0);
}

static void irq_info(void **state)
{
	struct fixture *x = *state;
	static const struct {
		uint32_t count, flags;
	} rows[] = { { 1, 7 }, { FULL_MSI, 9 }, { FULL_MSIX, 1 }, { 1, 9 }, { 1, 9 } };
	struct vfio_irq_info info = { .argsz = 15 };

	open_device(x, FULL);
	assert_int_equal(call(x, x->dev, VFIO_DEVICE_GET_IRQ_INFO, &info, 16), -EINVAL);
	for (uint32_t i = 0; i < 5; i++) {
		info = (struct vfio_irq_info){ .argsz = 16, .index = i };
		assert_int_equal(call(x, x->dev, VFIO_DEVICE_GET_IRQ_INFO, &info, 16), 0);
		assert_int_equal(info.count, rows[i].count);
		assert_int_equal(info.flags, rows[i].flags);
	}
	info.index = 5;
	assert_int_equal(call(x, x->dev, VFIO_DEVICE_GET_IRQ_INFO, &info, 16), -EINVAL);
}

static void set_irqs_checks(void **state)
{
	struct fixture *x = *state;
	static const uint8_t bytes[64] = { 0 };
	static const struct {
		uint32_t index, flags, start, count;
		size_t data;
		int ret;
	} rows[] = {
		{ 5, NONE | TRIGGER, 0, 0, 0, -EINVAL },
		{ 0, 0x40 | NONE | TRIGGER, 0, 0, 0, -EINVAL },
		{ 1, NONE | TRIGGER, 2, 0xfffffffe, 0, -EINVAL },
		{ 1, NONE | TRIGGER, 8, 0, 0, -EINVAL },
		{ 1, NONE | TRIGGER, 7, 2, 0, -EINVAL },
		{ 2, NONE | TRIGGER, 0, 11, 0, -EINVAL },
		{ 1, TRIGGER, 0, 1, 8, -EINVAL },
		{ 1, NONE | BOOL | TRIGGER, 0, 1, 8, -EINVAL },
		{ 1, EVENTFD | TRIGGER, 0, 4, 15, -EINVAL },
		{ 1, BOOL | TRIGGER, 0, 4, 3, -EINVAL },
		{ 1, NONE | MASK, 0, 1, 0, -ENOTTY },
		{ 1, NONE | UNMASK, 0, 1, 0, -ENOTTY },
		{ 2, NONE | MASK, 0, 1, 0, -ENOTTY },
		{ 3, NONE | MASK, 0, 1, 0, -ENOTTY },
		{ 4, NONE | UNMASK, 0, 1, 0, -ENOTTY },
		{ 0, NONE, 0, 1, 0, -ENOTTY },
		{ 0, NONE | MASK | TRIGGER, 0, 1, 0, -ENOTTY },
		/* Not enabled. */
		{ 0, NONE | TRIGGER, 0, 0, 0, -EINVAL },
		{ 1, NONE | TRIGGER, 0, 0, 0, -EINVAL },
		{ 2, NONE | TRIGGER, 0, 0, 0, -EINVAL },
		{ 3, NONE | TRIGGER, 0, 0, 0, -EINVAL },
		{ 4, NONE | TRIGGER, 0, 1, 0, -EINVAL },
		{ 0, NONE | MASK, 0, 1, 0, -EINVAL },
		{ 0, NONE | UNMASK, 0, 1, 0, -EINVAL },
		{ 1, NONE | TRIGGER, 0, 1, 0, -EINVAL },
		{ 2, BOOL | TRIGGER, 0, 1, 1, -EINVAL },
		{ 1, EVENTFD | TRIGGER, 0, 0, 0, -ERANGE },
	};

	open_device(x, FULL);
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
		assert_int_equal(set_irqs(x, rows[i].index, rows[i].flags, rows[i].start,
					  rows[i].count, bytes, rows[i].data),
				 rows[i].ret);
}

static void irqs_of_a_function_without(void **state)
{
	struct fixture *x = *state;

	open_device(x, PLAIN);
	for (uint32_t index = 0; index < 3; index++)
		assert_int_equal(set_none(x, index, TRIGGER, 0, 0), -EINVAL);
	assert_int_equal(config_get(x, PCI_INTERRUPT_PIN, 1), 0);
}

static void message_irqs(void **state, uint32_t index)
{
	struct fixture *x = *state;
	int32_t fds[4], minus = -1, bad[2];
	uint8_t bools[4] = { 1, 0, 1, 0 };
	uint32_t other = index == 1 ? 2 : 1;

	open_device(x, FULL);
	config_put(x, PCI_COMMAND, 2, 0x7);
	for (unsigned i = 0; i < 4; i++)
		fds[i] = new_eventfd();
	/* A bad descriptor undoes the enabling. */
	bad[0] = fds[0];
	bad[1] = 9999;
	assert_int_equal(set_fds(x, index, TRIGGER, 0, 2, bad), -EBADF);
	assert_int_equal(set_none(x, index, TRIGGER, 0, 0), -EINVAL);
	bad[1] = pcif_bar_memfd(x->full, 0, &(uint64_t){ 0 });
	assert_int_equal(set_fds(x, index, TRIGGER, 0, 2, bad), -EINVAL);
	assert_int_equal(set_none(x, index, TRIGGER, 0, 0), -EINVAL);

	assert_int_equal(set_fds(x, index, TRIGGER, 0, 4, fds), 0);
	assert_int_equal(pcif_irq_mode(x->full), index == 1 ? PCIF_IRQ_MSI : PCIF_IRQ_MSIX);
	assert_int_equal(config_get(x, PCI_COMMAND, 2), 0x7);
	assert_int_equal(set_fds(x, other, TRIGGER, 0, 1, fds), -EINVAL);
	assert_int_equal(set_fds(x, 0, TRIGGER, 0, 1, fds), -EINVAL);
	for (unsigned i = 0; i < 4; i++)
		pcif_irq_raise(x->full, i);
	pcif_irq_raise(x->full, 7);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(counter(fds[i]), 1);
	assert_int_equal(set_none(x, index, TRIGGER, 1, 2), 0);
	assert_int_equal(set_irqs(x, index, BOOL | TRIGGER, 0, 4, bools, 4), 0);
	assert_int_equal(counter(fds[0]), 1);
	assert_int_equal(counter(fds[1]), 1);
	assert_int_equal(counter(fds[2]), 2);
	assert_int_equal(counter(fds[3]), 0);
	/* One unwired, one moved. */
	assert_int_equal(set_fds(x, index, TRIGGER, 1, 1, &minus), 0);
	assert_int_equal(set_fds(x, index, TRIGGER, 0, 1, &fds[3]), 0);
	pcif_irq_raise(x->full, 0);
	pcif_irq_raise(x->full, 1);
	assert_int_equal(counter(fds[0]), 0);
	assert_int_equal(counter(fds[1]), 0);
	assert_int_equal(counter(fds[3]), 1);
	/* Past what was asked for first. */
	assert_int_equal(set_fds(x, index, TRIGGER, 6, 1, &fds[1]), index == 1 ? -EINVAL : 0);
	pcif_irq_raise(x->full, 6);
	assert_int_equal(counter(fds[1]), index == 1 ? 0 : 1);
	/* Wiring survives a reset, and a closed descriptor of the client. */
	assert_int_equal(call_value(x, x->dev, VFIO_DEVICE_RESET, 0), 0);
	int dup2nd = dup(fds[2]);

	close(fds[2]);
	pcif_irq_raise(x->full, 2);
	assert_int_equal(counter(dup2nd), 1);
	close(dup2nd);
	assert_int_equal(set_none(x, index, TRIGGER, 0, 0), 0);
	assert_int_equal(pcif_irq_mode(x->full), PCIF_IRQ_NONE);
	pcif_irq_raise(x->full, 0);
	assert_int_equal(counter(fds[3]), 0);
	assert_int_equal(set_none(x, index, TRIGGER, 0, 0), -EINVAL);
	close(fds[0]);
	close(fds[1]);
	close(fds[3]);
}

static void msi(void **state)
{
	message_irqs(state, VFIO_PCI_MSI_IRQ_INDEX);
}

static void msix(void **state)
{
	message_irqs(state, VFIO_PCI_MSIX_IRQ_INDEX);
}

/* A counter that is full takes nothing more, and nobody waits for it. */
static void full_counter(void **state)
{
	struct fixture *x = *state;
	uint64_t max = ~0ull - 1;
	int32_t fd = eventfd(0, EFD_CLOEXEC);

	open_device(x, FULL);
	config_put(x, PCI_COMMAND, 2, 0x7);
	assert_int_equal(set_fds(x, VFIO_PCI_MSIX_IRQ_INDEX, TRIGGER, 0, 1, &fd), 0);
	assert_int_equal(write(fd, &max, 8), 8);
	pcif_irq_raise(x->full, 0);
	assert_int_equal(set_none(x, VFIO_PCI_MSIX_IRQ_INDEX, TRIGGER, 0, 1), 0);
	assert_true(counter(fd) == max);
	close(fd);
}

struct hostile {
	struct pcif *f;
	int fd;
	_Atomic bool stop;
};

static void drain(int fd)
{
	uint64_t v;
	struct iovec iov = { &v, sizeof(v) };

	if (preadv2(fd, &iov, 1, -1, RWF_NOWAIT) < 0)
		return;
}

static void *fill(void *data)
{
	struct hostile *h = data;
	uint64_t max = ~0ull - 1;

	while (!h->stop) {
		drain(h->fd);
		if (write(h->fd, &max, sizeof(max)) < 0)
			break;
	}
	return NULL;
}

static void *raise_on(void *data)
{
	struct hostile *h = data;

	for (unsigned i = 0; i < 20000; i++)
		pcif_irq_raise(h->f, 0);
	return NULL;
}

/*
 * A client that fills the counter between our look and our write: whatever the device waits for
 * then, resets and the closing of the file end.
 */
static void hostile_counter(void **state)
{
	struct fixture *x = *state;
	struct hostile h = { .f = x->full, .fd = eventfd(0, EFD_CLOEXEC) };
	pthread_t filler, raiser;

	open_device(x, FULL);
	config_put(x, PCI_COMMAND, 2, 0x7);
	assert_int_equal(set_fds(x, VFIO_PCI_MSIX_IRQ_INDEX, TRIGGER, 0, 1, &h.fd), 0);
	assert_int_equal(pthread_create(&filler, NULL, fill, &h), 0);
	assert_int_equal(pthread_create(&raiser, NULL, raise_on, &h), 0);
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(call_value(x, x->dev, VFIO_DEVICE_RESET, 0), 0);
	vfio_obj_put(x->dev);
	x->dev = NULL;
	pthread_join(raiser, NULL);
	h.stop = true;
	while (pthread_tryjoin_np(filler, NULL)) {
		drain(h.fd);
		usleep(100);
	}
	close(h.fd);
}

static void intx(void **state)
{
	struct fixture *x = *state;
	int32_t fd = new_eventfd(), fd2 = new_eventfd(), minus = -1;
	uint8_t yes = 1, no = 0;

	open_device(x, FULL);
	assert_int_equal(set_fds(x, 0, TRIGGER, 0, 1, &fd), 0);
	pcif_intx_set(x->full, true);
	assert_int_equal(counter(fd), 1);
	/* Masked by having fired. */
	pcif_intx_set(x->full, false);
	pcif_intx_set(x->full, true);
	assert_int_equal(counter(fd), 0);
	/* Still up: again, and still masked. */
	assert_int_equal(set_none(x, 0, UNMASK, 0, 1), 0);
	assert_int_equal(counter(fd), 1);
	pcif_intx_set(x->full, false);
	assert_int_equal(set_irqs(x, 0, BOOL | UNMASK, 0, 1, &no, 1), 0);
	pcif_intx_set(x->full, true);
	assert_int_equal(counter(fd), 0);
	pcif_intx_set(x->full, false);
	assert_int_equal(set_irqs(x, 0, BOOL | UNMASK, 0, 1, &yes, 1), 0);
	/* Masked by the client. */
	assert_int_equal(set_irqs(x, 0, EVENTFD | MASK, 0, 1, &fd, 4), -ENOTTY);
	assert_int_equal(set_none(x, 0, MASK, 0, 1), 0);
	pcif_intx_set(x->full, true);
	assert_int_equal(counter(fd), 0);
	assert_int_equal(set_none(x, 0, UNMASK, 0, 1), 0);
	assert_int_equal(counter(fd), 1);
	pcif_intx_set(x->full, false);
	assert_int_equal(set_none(x, 0, UNMASK, 0, 1), 0);
	/* Masked by the command register as the client sees it. */
	config_put(x, PCI_COMMAND, 2, PCI_COMMAND_INTX_DISABLE);
	pcif_intx_set(x->full, true);
	assert_int_equal(set_none(x, 0, UNMASK, 0, 1), 0);
	assert_int_equal(set_none(x, 0, TRIGGER, 0, 1), 0);
	assert_int_equal(counter(fd), 0);
	config_put(x, PCI_COMMAND, 2, 0);
	assert_int_equal(counter(fd), 1);
	/* Replace, silence, loop back, turn off. */
	assert_int_equal(set_fds(x, 0, TRIGGER, 0, 1, &fd2), 0);
	assert_int_equal(set_none(x, 0, TRIGGER, 0, 1), 0);
	assert_int_equal(counter(fd), 0);
	assert_int_equal(counter(fd2), 1);
	assert_int_equal(set_fds(x, 0, TRIGGER, 0, 1, &minus), 0);
	assert_int_equal(set_none(x, 0, TRIGGER, 0, 1), 0);
	assert_int_equal(counter(fd2), 0);
	assert_int_equal(set_fds(x, VFIO_PCI_MSI_IRQ_INDEX, TRIGGER, 0, 1, &fd), -EINVAL);
	assert_int_equal(set_none(x, 0, TRIGGER, 0, 0), 0);
	/* A level that is up when the client connects counts. */
	assert_int_equal(set_fds(x, 0, TRIGGER, 0, 1, &fd), 0);
	assert_int_equal(counter(fd), 1);
	close(fd);
	close(fd2);
}

static void wait_readable(int fd)
{
	struct timeval tv = { .tv_sec = 20 };
	fd_set set;

	FD_ZERO(&set);
	FD_SET(fd, &set);
	assert_int_equal(select(fd + 1, &set, NULL, NULL, &tv), 1);
}

static void intx_resample(void **state)
{
	struct fixture *x = *state;
	int32_t fd = new_eventfd(), done = new_eventfd(), minus = -1, file = 0;
	uint64_t one = 1;

	file = pcif_bar_memfd(x->full, 0, &one);
	one = 1;
	open_device(x, FULL);
	assert_int_equal(set_fds(x, 0, UNMASK, 0, 1, &done), -EINVAL);
	assert_int_equal(set_fds(x, 0, TRIGGER, 0, 1, &fd), 0);
	assert_int_equal(set_fds(x, 0, UNMASK, 0, 1, &file), -EINVAL);
	assert_int_equal(set_fds(x, 0, UNMASK, 0, 1, &done), 0);
	assert_int_equal(set_fds(x, 0, UNMASK, 0, 1, &done), -EBUSY);
	pcif_intx_set(x->full, true);
	assert_int_equal(counter(fd), 1);
	/* Still up: comes again. */
	assert_int_equal(write(done, &one, 8), 8);
	wait_readable(fd);
	assert_int_equal(counter(fd), 1);
	assert_int_equal(set_fds(x, 0, UNMASK, 0, 1, &minus), 0);
	assert_int_equal(set_fds(x, 0, UNMASK, 0, 1, &done), 0);
	/* Left for close to take away. */
	close(fd);
	close(done);
}

static void single_irqs(void **state)
{
	struct fixture *x = *state;
	uint8_t yes = 1;

	open_device(x, FULL);
	for (uint32_t index = VFIO_PCI_ERR_IRQ_INDEX; index <= VFIO_PCI_REQ_IRQ_INDEX; index++) {
		int32_t fd = new_eventfd(), minus = -1, odd = -2;

		assert_int_equal(set_irqs(x, index, BOOL | TRIGGER, 0, 1, &yes, 1), 0);
		assert_int_equal(set_irqs(x, index, BOOL | TRIGGER, 0, 0, NULL, 0), -EINVAL);
		assert_int_equal(set_irqs(x, index, EVENTFD | TRIGGER, 0, 0, NULL, 0), -EINVAL);
		assert_int_equal(set_fds(x, index, TRIGGER, 0, 1, &fd), 0);
		assert_int_equal(set_fds(x, index, TRIGGER, 0, 1, &odd), 0);
		assert_int_equal(set_none(x, index, TRIGGER, 0, 1), 0);
		assert_int_equal(set_irqs(x, index, BOOL | TRIGGER, 0, 1, &yes, 1), 0);
		assert_int_equal(counter(fd), 2);
		assert_int_equal(call_value(x, x->dev, VFIO_DEVICE_RESET, 0), 0);
		if (index == VFIO_PCI_REQ_IRQ_INDEX) {
			vfio_device_request(x->v, x->full);
			assert_int_equal(counter(fd), 1);
		}
		assert_int_equal(set_fds(x, index, TRIGGER, 0, 1, &minus), 0);
		assert_int_equal(set_none(x, index, TRIGGER, 0, 1), -EINVAL);
		assert_int_equal(set_fds(x, index, TRIGGER, 0, 1, &fd), 0);
		assert_int_equal(set_none(x, index, TRIGGER, 0, 0), 0);
		assert_int_equal(set_none(x, index, TRIGGER, 0, 0), -EINVAL);
		close(fd);
	}
	vfio_device_request(x->v, x->full);
	vfio_device_request(x->v, pcif_parent(x->full));
}

/* ------------------------------------------------------------------ reset */

static void reset(void **state)
{
	struct fixture *x = *state;
	uint64_t before;
	uint32_t bar;

	before = pcif_reset_count(x->full);
	open_device(x, FULL);
	assert_int_equal(pcif_reset_count(x->full), before + 1);
	bar = pcif_config_read(x->full, PCI_BASE_ADDRESS_0, 4);
	assert_int_not_equal(bar, 0);
	config_put(x, PCI_COMMAND, 2, 6);
	assert_int_equal(call_value(x, x->dev, VFIO_DEVICE_RESET, 0), 0);
	assert_int_equal(pcif_reset_count(x->full), before + 2);
	assert_int_equal(config_get(x, PCI_COMMAND, 2), 6);
	assert_int_equal(pcif_config_read(x->full, PCI_BASE_ADDRESS_0, 4), bar);
	/* Closing: bus master off, one reset more, the addresses as they were. */
	vfio_obj_put(x->dev);
	x->dev = NULL;
	assert_int_equal(pcif_reset_count(x->full), before + 3);
	assert_int_equal(pcif_config_read(x->full, PCI_COMMAND, 2) & PCI_COMMAND_MASTER, 0);
	assert_int_equal(pcif_config_read(x->full, PCI_BASE_ADDRESS_0, 4), bar);
}

struct hot_info {
	struct vfio_pci_hot_reset_info h;
	struct vfio_pci_dependent_device devs[4];
};

static void hot_reset_info(void **state)
{
	struct fixture *x = *state;
	struct hot_info r = { .h = { .argsz = 11 } };

	open_device(x, FULL);
	assert_int_equal(call(x, x->dev, VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, &r, 12), -EINVAL);
	r.h.argsz = 12;
	assert_int_equal(call(x, x->dev, VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, &r, 12), -ENOSPC);
	assert_int_equal(r.h.count, 1);
	assert_int_equal(x->reply, 12);
	r.h.argsz = sizeof(r);
	assert_int_equal(call(x, x->dev, VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, &r, sizeof(r)), 0);
	assert_int_equal(x->reply, 20);
	assert_int_equal(r.h.count, 1);
	assert_int_equal(r.devs[0].group_id, pcif_group(x->full));
	assert_int_equal(r.devs[0].bus, 0x65);
	assert_int_equal(r.devs[0].devfn, 0);
}

static int hot_reset(struct fixture *x, uint32_t flags, uint32_t count, struct vfio_obj **objs,
		     unsigned n)
{
	struct {
		struct vfio_pci_hot_reset h;
		int32_t fds[4];
	} r = { { 12 + 4 * n, flags, count } };
	struct vfio_fd fds[4];

	for (unsigned i = 0; i < n; i++)
		fds[i] = (struct vfio_fd){ .fd = -1, .obj = objs[i] };
	return call_fds(x, x->dev, VFIO_DEVICE_PCI_HOT_RESET, &r, 12 + 4 * n, fds, n);
}

static void hot_reset_rules(void **state)
{
	struct fixture *x = *state;
	uint64_t before;
	struct vfio_obj *wrong, *none = NULL, *many[2];

	open_device(x, FULL);
	before = pcif_reset_count(x->full);
	assert_int_equal(vfio_open_group(x->v, pcif_group(x->plain), &wrong), 0);
	many[0] = many[1] = x->group;
	assert_int_equal(hot_reset(x, 0, 0, NULL, 0), -EINVAL);
	assert_int_equal(hot_reset(x, 1, 1, &x->group, 1), -EINVAL);
	assert_int_equal(hot_reset(x, 0, 2, many, 2), -EINVAL);
	assert_int_equal(hot_reset(x, 0, 1, NULL, 0), -EINVAL);
	assert_int_equal(hot_reset(x, 0, 1, &x->container, 1), -EINVAL);
	assert_int_equal(hot_reset(x, 0, 1, &wrong, 1), -EINVAL);
	assert_int_equal(hot_reset(x, 0, 1, &none, 1), -EBADF);
	assert_int_equal(pcif_reset_count(x->full), before);
	config_put(x, PCI_COMMAND, 2, 6);
	assert_int_equal(hot_reset(x, 0, 1, &x->group, 1), 0);
	assert_int_equal(pcif_reset_count(x->full), before + 1);
	assert_int_equal(config_get(x, PCI_COMMAND, 2), 6);
	vfio_obj_put(wrong);
}

/* ------------------------------------------------------------------ ioeventfd */

static int ioeventfd(struct fixture *x, uint32_t flags, uint64_t offset, uint64_t data, int32_t fd)
{
	struct vfio_device_ioeventfd io = { sizeof(io), flags, offset, data, fd };

	return call(x, x->dev, VFIO_DEVICE_IOEVENTFD, &io, sizeof(io));
}

static void ioeventfds(void **state)
{
	struct fixture *x = *state;
	int32_t fd = new_eventfd();
	uint64_t one = 1;
	uint32_t v = 0;

	open_device(x, FULL);
	assert_int_equal(ioeventfd(x, 0, region(2, 0), 1, fd), -EINVAL);
	assert_int_equal(ioeventfd(x, 3, region(2, 0), 1, fd), -EINVAL);
	assert_int_equal(ioeventfd(x, 0x10, region(2, 0), 1, fd), -EINVAL);
	assert_int_equal(ioeventfd(x, 4, region(2, 0), 1, -2), -EINVAL);
	assert_int_equal(ioeventfd(x, 4, region(6, 0), 1, fd), -EINVAL);
	assert_int_equal(ioeventfd(x, 4, region(5, 0), 1, fd), -EINVAL);
	assert_int_equal(ioeventfd(x, 4, ~0ull, 1, fd), -EINVAL);
	assert_int_equal(ioeventfd(x, 4, region(2, KIB(64) - 2), 1, fd), -EINVAL);
	assert_int_equal(ioeventfd(x, 8, region(0, 0x2ffc), 1, fd), -EINVAL);
	assert_int_equal(ioeventfd(x, 4, region(0, 0x309c), 1, fd), -EINVAL);
	assert_int_equal(ioeventfd(x, 4, region(2, 0), 1, -1), -ENODEV);
	assert_int_equal(ioeventfd(x, 4, region(2, 0), 1, 9999), -EBADF);
	assert_int_equal(ioeventfd(x, 4, region(2, 0x40), 0xabcd1234, fd), 0);
	assert_int_equal(ioeventfd(x, 4, region(2, 0x40), 0xabcd1234, fd), -EEXIST);
	assert_int_equal(write(fd, &one, 8), 8);
	for (unsigned i = 0; i < 20000 && v != 0xabcd1234; i++) {
		assert_int_equal(rd(x, 2, 0x40, &v, 4), 4);
		usleep(1000);
	}
	assert_int_equal(v, 0xabcd1234);
	assert_int_equal(ioeventfd(x, 4, region(2, 0x40), 0xabcd1234, -1), 0);
	assert_int_equal(ioeventfd(x, 4, region(2, 0x40), 0xabcd1234, -1), -ENODEV);
	assert_int_equal(ioeventfd(x, 8, region(0, 0), 7, fd), 0); /* for close */
	close(fd);
}

/* ------------------------------------------------------------------ features */

static int feature(struct fixture *x, uint32_t flags, uint32_t argsz, int32_t fd)
{
	struct {
		struct vfio_device_feature h;
		int32_t fd;
		uint32_t reserved;
	} r = { { argsz, flags }, fd, 0 };

	return call(x, x->dev, VFIO_DEVICE_FEATURE, &r, MIN(MAX(argsz, 8u), 16u));
}

#define GET VFIO_DEVICE_FEATURE_GET
#define SET VFIO_DEVICE_FEATURE_SET
#define PROBE VFIO_DEVICE_FEATURE_PROBE

static void features(void **state)
{
	struct fixture *x = *state;
	static const uint32_t absent[] = { 0, 1, 2, 6, 7, 8, 9, 10, 11, 13, 14, 0xffff };
	int32_t fd = new_eventfd();
	uint32_t v;

	open_device(x, FULL);
	for (unsigned i = 0; i < ARRAY_SIZE(absent); i++) {
		assert_int_equal(feature(x, absent[i] | GET, 8, -1), -ENOTTY);
		assert_int_equal(feature(x, absent[i] | SET, 8, -1), -ENOTTY);
		assert_int_equal(feature(x, absent[i] | PROBE | SET, 8, -1), -ENOTTY);
	}
	assert_int_equal(feature(x, 12 | SET, 8, -1), -EINVAL);
	assert_int_equal(feature(x, 12 | PROBE | GET, 8, -1), -EINVAL);
	assert_int_equal(feature(x, 3 | SET, 7, -1), -EINVAL);
	assert_int_equal(feature(x, 3 | SET | 0x80000, 8, -1), -EINVAL);
	assert_int_equal(feature(x, 3 | GET | SET, 8, -1), -EINVAL);
	assert_int_equal(feature(x, 3 | PROBE | GET | SET, 8, -1), -EINVAL);
	assert_int_equal(feature(x, 3, 8, -1), -EINVAL);
	assert_int_equal(feature(x, 3 | GET, 8, -1), -EINVAL);
	for (uint32_t i = 3; i <= 5; i++) {
		assert_int_equal(feature(x, i | PROBE, 8, -1), 0);
		assert_int_equal(feature(x, i | PROBE | SET, 8, -1), 0);
		assert_int_equal(feature(x, i | PROBE | GET, 8, -1), -EINVAL);
	}
	assert_int_equal(feature(x, 3 | SET, 8, -1), 0);
	assert_int_equal(feature(x, 3 | SET, 8, -1), -EINVAL);
	assert_int_equal(rd(x, 0, 0, &v, 4), 4);
	assert_int_equal(feature(x, 3 | SET, 8, -1), -EINVAL);
	assert_int_equal(feature(x, 5 | SET, 8, -1), 0);
	assert_int_equal(feature(x, 5 | SET, 8, -1), 0);
	/* With wakeup: the first access says so and ends it. */
	assert_int_equal(feature(x, 4 | SET, 12, fd), -EINVAL);
	assert_int_equal(feature(x, 4 | SET, 16, -1), -EBADF);
	assert_int_equal(feature(x, 4 | SET, 16, 9999), -EBADF);
	assert_int_equal(feature(x, 4 | SET, 16, fd), 0);
	assert_int_equal(feature(x, 4 | SET, 16, fd), -EINVAL);
	assert_int_equal(counter(fd), 0);
	assert_int_equal(rd(x, 0, 0, &v, 4), 4);
	assert_int_equal(rd(x, 0, 0, &v, 4), 4);
	assert_int_equal(counter(fd), 1);
	assert_int_equal(feature(x, 4 | SET, 16, fd), 0);
	close(fd);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(device_info),
		T(device_without_reset),
		T(region_info),
		T(region_access),
		T(pages),
		T(irq_info),
		T(set_irqs_checks),
		T(irqs_of_a_function_without),
		T(msi),
		T(msix),
		T(full_counter),
		T(hostile_counter),
		T(intx),
		T(intx_resample),
		T(single_irqs),
		T(reset),
		T(hot_reset_info),
		T(hot_reset_rules),
		T(ioeventfds),
		T(features),
	};

	return cmocka_run_group_tests_name("vfio_device", tests, NULL, NULL);
}
