/* SPDX-License-Identifier: BSD-3-Clause */
/* Interrupts of a device: what SET_IRQS takes and refuses, and where signals go. */
#include <pthread.h>
#include <sys/select.h>
#include <sys/uio.h>

#include "vfio_fixture.h"

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

	struct vfio_irq_set set = { ~0u, EVENTFD | TRIGGER, 1, 0, 4 };

	open_device(x, FULL);
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
		assert_int_equal(set_irqs(x, rows[i].index, rows[i].flags, rows[i].start,
					  rows[i].count, bytes, rows[i].data),
				 rows[i].ret);
	/* The client's memory ends with the head: only what is right so far comes that far. */
	assert_int_equal(vfio_call_takes(VFIO_KIND_DEVICE, VFIO_DEVICE_SET_IRQS, &set), 36);
	assert_int_equal(call(x, x->dev, VFIO_DEVICE_SET_IRQS, &set, sizeof(set)), -EFAULT);
	set.index = 5;
	assert_int_equal(call(x, x->dev, VFIO_DEVICE_SET_IRQS, &set, sizeof(set)), -EINVAL);
	set.flags = BOOL | TRIGGER;
	assert_int_equal(vfio_call_takes(VFIO_KIND_DEVICE, VFIO_DEVICE_SET_IRQS, &set), 24);
	set.count = ~0u;
	set.argsz = 22;
	assert_int_equal(vfio_call_takes(VFIO_KIND_DEVICE, VFIO_DEVICE_SET_IRQS, &set), 22);
}

static void irqs_of_a_function_without(void **state)
{
	struct fixture *x = *state;

	static const uint32_t flags[] = { 7, 9, 9 };

	open_device(x, PLAIN);
	for (uint32_t index = 0; index < 3; index++) {
		struct vfio_irq_info info = { .argsz = 16, .index = index };

		assert_int_equal(call(x, x->dev, VFIO_DEVICE_GET_IRQ_INFO, &info, 16), 0);
		assert_int_equal(info.count, 0);
		/* There is no MSI-X to add vectors to. */
		assert_int_equal(info.flags, flags[index]);
		assert_int_equal(set_none(x, index, TRIGGER, 0, 0), -EINVAL);
	}
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
	assert_int_equal(pthread_create(&filler, NULL, hostile_fill, &h), 0);
	assert_int_equal(pthread_create(&raiser, NULL, hostile_raise, &h), 0);
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(call_value(x, x->dev, VFIO_DEVICE_RESET, 0), 0);
	vfio_obj_put(x->dev);
	x->dev = NULL;
	pthread_join(raiser, NULL);
	h.stop = true;
	while (pthread_tryjoin_np(filler, NULL)) {
		hostile_drain(h.fd);
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
int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
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
	};

	return cmocka_run_group_tests_name("vfio_irq", tests, NULL, NULL);
}
