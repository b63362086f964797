/* SPDX-License-Identifier: BSD-3-Clause */
/* Configuration space as a client sees it. */
#include "vfio_fixture.h"

static unsigned cap(struct fixture *x, uint8_t id)
{
	unsigned at = config_get(x, PCI_CAPABILITY_LIST, 1), guard = 48;

	while (at && guard--) {
		if (config_get(x, at, 1) == id)
			return at;
		at = config_get(x, at + 1, 1);
	}
	return 0;
}

static unsigned ext_cap(struct fixture *x, uint16_t id)
{
	unsigned at = 0x100, guard = 480;

	while (at && guard--) {
		uint32_t head = config_get(x, at, 4);

		if ((head & 0xffff) == id)
			return at;
		at = head >> 20;
	}
	return 0;
}

/* Every register of the header: what a write of all ones or zeros leaves to be read. */
static void header(void **state)
{
	struct fixture *x = *state;
	static const struct {
		unsigned at, n;
		uint32_t write, read;
	} rows[] = {
		{ PCI_VENDOR_ID, 2, 0, 0x1234 },
		{ PCI_DEVICE_ID, 2, 0, 0x5678 },
		{ PCI_REVISION_ID, 1, 0xff, 2 },
		{ PCI_CLASS_DEVICE, 2, 0xffff, 0x0108 },
		{ PCI_CACHE_LINE_SIZE, 1, 0x10, 0x10 },
		{ PCI_HEADER_TYPE, 1, 0xff, 0 },
		{ PCI_SUBSYSTEM_VENDOR_ID, 2, 0xffff, 0x1af4 },
		{ PCI_SUBSYSTEM_ID, 2, 0xffff, 0x1100 },
		{ PCI_INTERRUPT_LINE, 1, 0x5a, 0x5a },
		{ PCI_INTERRUPT_PIN, 1, 4, 1 },
		{ PCI_BASE_ADDRESS_0, 4, 0xffffffff, 0xffffc000 },
		{ PCI_BASE_ADDRESS_1, 4, 0xffffffff, 0xffffffe1 },
		{ PCI_BASE_ADDRESS_2, 4, 0xffffffff, 0xffff000c },
		{ PCI_BASE_ADDRESS_3, 4, 0xffffffff, 0xffffffff },
		{ PCI_BASE_ADDRESS_4, 4, 0xffffffff, 0xfffff000 },
		{ PCI_BASE_ADDRESS_5, 4, 0xffffffff, 0 },
		{ PCI_BASE_ADDRESS_0, 4, 0x12345678, 0x12344000 },
		{ PCI_BASE_ADDRESS_0 + 2, 2, 0xabcd, 0xabcd },
		{ PCI_BASE_ADDRESS_0 + 1, 1, 0xff, 0xc0 },
		{ PCI_BASE_ADDRESS_0, 4, 0, 0 },
		{ PCI_ROM_ADDRESS, 4, 0xffffffff, 0 },
		{ PCI_COMMAND, 2, 0x07ff, 0x0547 },
		{ PCI_COMMAND, 2, 0, 0 },
	};
	uint32_t bar0, command;

	open_device(x, FULL);
	command = config_get(x, PCI_COMMAND, 2);
	assert_int_equal(command & 0x7, PCI_COMMAND_IO | PCI_COMMAND_MEMORY);
	assert_int_equal(command & PCI_COMMAND_INTX_DISABLE, 0);
	assert_int_equal(config_get(x, PCI_STATUS, 2) & PCI_STATUS_CAP_LIST, PCI_STATUS_CAP_LIST);
	bar0 = pcif_config_read(x->full, PCI_BASE_ADDRESS_0, 4);
	assert_int_equal(config_get(x, PCI_BASE_ADDRESS_0, 4), bar0);
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		config_put(x, rows[i].at, rows[i].n, rows[i].write);
		if (rows[i].at == PCI_COMMAND) {
			/* Bit 10 is ours, the others are what hardware makes of them. */
			uint32_t hw = pcif_config_read(x->full, PCI_COMMAND, 2);

			assert_int_equal(hw & PCI_COMMAND_INTX_DISABLE, 0);
			assert_int_equal(config_get(x, PCI_COMMAND, 2),
					 hw | (rows[i].write & PCI_COMMAND_INTX_DISABLE));
			assert_int_equal(hw & 7, rows[i].write & 7);
			continue;
		}
		assert_int_equal(config_get(x, rows[i].at, rows[i].n), rows[i].read);
	}
	assert_int_equal(pcif_config_read(x->full, PCI_BASE_ADDRESS_0, 4), bar0);
	/* Any alignment and length. */
	uint8_t all[64];

	assert_int_equal(vfio_device_read(x->dev, all, 61, region(7, 3)), 61);
	assert_int_equal(all[0], 0x56);
	assert_int_equal(all[PCI_SUBSYSTEM_VENDOR_ID - 3], 0xf4);
}

static void chain(void **state)
{
	struct fixture *x = *state;
	static const uint8_t ids[] = { PCI_CAP_ID_PM, PCI_CAP_ID_MSI, PCI_CAP_ID_MSIX,
				       PCI_CAP_ID_EXP };

	open_device(x, FULL);
	for (unsigned i = 0; i < ARRAY_SIZE(ids); i++) {
		unsigned at = cap(x, ids[i]), next = config_get(x, at + 1, 1);

		assert_int_equal(at, pcif_find_cap(x->full, ids[i]));
		config_put(x, at, 2, 0xffff);
		assert_int_equal(config_get(x, at, 1), ids[i]);
		assert_int_equal(config_get(x, at + 1, 1), next);
	}
	assert_int_equal(ext_cap(x, PCI_EXT_CAP_ID_ERR),
			 pcif_find_ext_cap(x->full, PCI_EXT_CAP_ID_ERR));
	assert_int_equal(ext_cap(x, PCI_EXT_CAP_ID_DSN),
			 pcif_find_ext_cap(x->full, PCI_EXT_CAP_ID_DSN));
	unsigned dsn = ext_cap(x, PCI_EXT_CAP_ID_DSN);

	config_put(x, dsn + 4, 4, 0);
	assert_int_equal(config_get(x, dsn + 4, 4), 0x55667788);
	config_put(x, 0x100, 4, 0);
	assert_int_not_equal(config_get(x, 0x100, 4), 0);
}

static void aer(void **state)
{
	struct fixture *x = *state;
	unsigned at;

	open_device(x, FULL);
	at = ext_cap(x, PCI_EXT_CAP_ID_ERR);
	config_put(x, at + PCI_ERR_UNCOR_MASK, 4, 0xffffffff);
	assert_int_equal(config_get(x, at + PCI_ERR_UNCOR_MASK, 4),
			 pcif_config_read(x->full, at + PCI_ERR_UNCOR_MASK, 4));
	assert_int_not_equal(config_get(x, at + PCI_ERR_UNCOR_MASK, 4), 0);
	/* Kept over a reset. */
	assert_int_equal(call_value(x, x->dev, VFIO_DEVICE_RESET, 0), 0);
	assert_int_not_equal(config_get(x, at + PCI_ERR_UNCOR_MASK, 4), 0);
	config_put(x, at + PCI_ERR_HEADER_LOG, 4, 0xffffffff);
	assert_int_equal(config_get(x, at + PCI_ERR_HEADER_LOG, 4), 0);
}

static void power(void **state)
{
	struct fixture *x = *state;
	unsigned pm;
	uint32_t v, bar;

	open_device(x, FULL);
	pm = cap(x, PCI_CAP_ID_PM);
	bar = pcif_config_read(x->full, PCI_BASE_ADDRESS_0, 4);
	assert_int_equal(config_get(x, pm + PCI_PM_PMC, 2) & PCI_PM_CAP_PME_MASK, 0);
	config_put(x, pm + PCI_PM_CTRL, 2, PCI_PM_CTRL_PME_ENABLE | PCI_PM_CTRL_PME_STATUS);
	assert_int_equal(config_get(x, pm + PCI_PM_CTRL, 2) &
				 (PCI_PM_CTRL_PME_ENABLE | PCI_PM_CTRL_PME_STATUS),
			 0);
	config_put(x, PCI_COMMAND, 2, 6);
	assert_int_equal(vfio_device_read(x->dev, &v, 4, region(0, 0)), 4);
	/* D1 and D2 there are none of. */
	config_put(x, pm + PCI_PM_CTRL, 2, 1);
	assert_int_equal(config_get(x, pm + PCI_PM_CTRL, 2) & 3, 0);
	config_put(x, pm + PCI_PM_CTRL, 2, 3);
	assert_int_equal(config_get(x, pm + PCI_PM_CTRL, 2) & 3, 3);
	assert_int_equal(vfio_device_read(x->dev, &v, 4, region(0, 0)), -EIO);
	config_put(x, pm + PCI_PM_CTRL, 1, 0);
	assert_int_equal(config_get(x, pm + PCI_PM_CTRL, 2) & 3, 0);
	assert_int_equal(config_get(x, PCI_COMMAND, 2), 6);
	assert_int_equal(pcif_config_read(x->full, PCI_BASE_ADDRESS_0, 4), bar);
	assert_int_equal(vfio_device_read(x->dev, &v, 4, region(0, 0)), 4);
	/* A device that is left asleep is found awake. */
	config_put(x, pm + PCI_PM_CTRL, 1, 3);
	vfio_obj_put(x->dev);
	x->dev = NULL;
	assert_int_equal(get_device(x, FULL, &x->dev), 0);
	assert_int_equal(config_get(x, pm + PCI_PM_CTRL, 2) & 3, 0);
	assert_int_equal(vfio_device_read(x->dev, &v, 4, region(0, 0)), 4);
}

static int msg_enable(struct fixture *x, uint32_t index, uint32_t count, int efd)
{
	struct {
		struct vfio_irq_set set;
		int32_t fds[16];
	} r = { { sizeof(r.set) + 4 * count,
		  VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER, index, 0, count } };

	for (unsigned i = 0; i < count; i++)
		r.fds[i] = efd;
	return call(x, x->dev, VFIO_DEVICE_SET_IRQS, &r, r.set.argsz);
}

static void msi(void **state)
{
	struct fixture *x = *state;
	int efd = new_eventfd();
	unsigned at, flags;

	open_device(x, FULL);
	config_put(x, PCI_COMMAND, 2, 6);
	at = cap(x, PCI_CAP_ID_MSI);
	flags = at + PCI_MSI_FLAGS;
	assert_int_equal(config_get(x, flags, 1) & 0x7f, 0);
	config_put(x, flags, 2, 0xffff);
	assert_int_equal(config_get(x, flags, 1) & 0x7f, 0);
	config_put(x, at + PCI_MSI_ADDRESS_LO, 4, 0xfee01237);
	config_put(x, at + PCI_MSI_ADDRESS_HI, 4, 0x5);
	config_put(x, at + PCI_MSI_DATA_64, 2, 0x4321);
	assert_int_equal(config_get(x, at + PCI_MSI_ADDRESS_LO, 4), 0xfee01234);
	assert_int_equal(config_get(x, at + PCI_MSI_ADDRESS_HI, 4), 5);
	assert_int_equal(config_get(x, at + PCI_MSI_DATA_64, 2), 0x4321);
	assert_int_not_equal(pcif_config_read(x->full, at + PCI_MSI_ADDRESS_LO, 4), 0xfee01234);
	assert_int_equal(msg_enable(x, VFIO_PCI_MSI_IRQ_INDEX, 3, efd), 0);
	/* Enabled, and the client has yet to say so; log2 of three vectors, rounded up. */
	assert_int_equal(config_get(x, flags, 1) & 0x7f, 2 << 1);
	config_put(x, flags, 2, PCI_MSI_FLAGS_ENABLE | 5 << 4);
	assert_int_equal(config_get(x, flags, 1) & 0x7f, 2 << 4 | 2 << 1 | 1);
	assert_int_equal(pcif_config_read(x->full, flags, 1) & 0x71, 2 << 4 | 1);
	/* Masks are the hardware's. */
	config_put(x, at + PCI_MSI_MASK_64, 4, 1);
	pcif_irq_raise(x->full, 0);
	assert_int_equal(counter(efd), 0);
	config_put(x, at + PCI_MSI_MASK_64, 4, 0);
	assert_int_equal(counter(efd), 1);
	/* Off by the client: nothing comes. */
	config_put(x, flags, 1, 0);
	pcif_irq_raise(x->full, 0);
	assert_int_equal(counter(efd), 0);
	close(efd);
}

static void msix(void **state)
{
	struct fixture *x = *state;
	int efd = new_eventfd();
	unsigned at;

	open_device(x, FULL);
	at = cap(x, PCI_CAP_ID_MSIX);
	assert_int_equal(config_get(x, at + PCI_MSIX_FLAGS, 2), FULL_MSIX - 1);
	config_put(x, at + PCI_MSIX_FLAGS, 2, 0xffff);
	assert_int_equal(config_get(x, at + PCI_MSIX_FLAGS, 2), FULL_MSIX - 1);
	assert_int_equal(msg_enable(x, VFIO_PCI_MSIX_IRQ_INDEX, 4, efd), 0);
	assert_int_equal(config_get(x, at + PCI_MSIX_FLAGS, 2), 0x8000 | (FULL_MSIX - 1));
	config_put(x, at + PCI_MSIX_FLAGS, 2, 0x4000);
	assert_int_equal(config_get(x, at + PCI_MSIX_FLAGS, 2), 0x8000 | (FULL_MSIX - 1));
	assert_int_equal(call_value(x, x->dev, VFIO_DEVICE_RESET, 0), 0);
	assert_int_equal(config_get(x, at + PCI_MSIX_FLAGS, 2), 0x8000 | (FULL_MSIX - 1));
	close(efd);
}

static void express(void **state)
{
	struct fixture *x = *state;
	unsigned at, ctl;
	uint64_t before;
	uint16_t hw;

	open_device(x, FULL);
	at = cap(x, PCI_CAP_ID_EXP);
	ctl = at + PCI_EXP_DEVCTL;
	config_put(x, PCI_COMMAND, 2, 6);
	/* Payload size has no effect, request size has a floor. */
	hw = pcif_config_read(x->full, ctl, 2);
	config_put(x, ctl, 2, 5 << 5 | 5 << 12);
	assert_int_equal(config_get(x, ctl, 2) & PCI_EXP_DEVCTL_PAYLOAD, 5 << 5);
	assert_int_equal(config_get(x, ctl, 2) & PCI_EXP_DEVCTL_READRQ, 5 << 12);
	assert_int_equal(pcif_config_read(x->full, ctl, 2) & PCI_EXP_DEVCTL_PAYLOAD,
			 hw & PCI_EXP_DEVCTL_PAYLOAD);
	assert_int_equal(pcif_config_read(x->full, ctl, 2) & PCI_EXP_DEVCTL_READRQ, 5 << 12);
	config_put(x, ctl, 2, 0);
	assert_int_equal((pcif_config_read(x->full, ctl, 2) & PCI_EXP_DEVCTL_READRQ) >> 12,
			 (hw & PCI_EXP_DEVCTL_PAYLOAD) >> 5);
	/* Read only. */
	config_put(x, at + PCI_EXP_DEVCAP, 4, 0);
	assert_int_not_equal(config_get(x, at + PCI_EXP_DEVCAP, 4), 0);
	/* Function-level reset. */
	before = pcif_reset_count(x->full);
	config_put(x, ctl, 2, PCI_EXP_DEVCTL_BCR_FLR);
	assert_int_equal(pcif_reset_count(x->full), before + 1);
	assert_int_equal(config_get(x, ctl, 2) & PCI_EXP_DEVCTL_BCR_FLR, 0);
	assert_int_equal(config_get(x, PCI_COMMAND, 2), 6);
	config_put(x, ctl + 1, 1, PCI_EXP_DEVCTL_BCR_FLR >> 8);
	assert_int_equal(pcif_reset_count(x->full), before + 2);
}

/* Random writes everywhere: the space never crashes, and ids and pointers never change. */
static void scribble(void **state)
{
	struct fixture *x = *state;
	uint32_t seed = 12345;
	uint8_t before[4096], after[4096], buf[8];

	open_device(x, FULL);
	assert_int_equal(vfio_device_read(x->dev, before, 4096, region(7, 0)), 4096);
	for (unsigned i = 0; i < 5000; i++) {
		seed = seed * 1664525 + 1013904223;
		unsigned at = (seed >> 8) % 4096, n = 1 + (seed >> 28) % 8;

		memset(buf, seed >> 16, sizeof(buf));
		(void)vfio_device_write(x->dev, buf, n, region(7, at));
	}
	assert_int_equal(vfio_device_read(x->dev, after, 4096, region(7, 0)), 4096);
	assert_memory_equal(before, after, 4);
	assert_int_equal(before[PCI_CAPABILITY_LIST], after[PCI_CAPABILITY_LIST]);
	for (unsigned at = before[PCI_CAPABILITY_LIST]; at; at = before[at + 1])
		assert_memory_equal(before + at, after + at, 2);
	assert_memory_equal(before + 0x100, after + 0x100, 4);
}

static void conventional(void **state)
{
	struct fixture *x = *state;
	uint32_t v;

	open_device(x, PLAIN);
	assert_int_equal(vfio_device_read(x->dev, &v, 4, region(7, 256)), -EFAULT);
	assert_int_equal(vfio_device_read(x->dev, &v, 4, region(7, 252)), 4);
	assert_int_equal(config_get(x, PCI_CAPABILITY_LIST, 1), 0);
	assert_int_equal(config_get(x, PCI_STATUS, 2) & PCI_STATUS_CAP_LIST, 0);
	assert_int_equal(config_get(x, PCI_COMMAND, 2) & 7, PCI_COMMAND_MEMORY);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(header), T(chain),   T(aer),	    T(power),	     T(msi),
		T(msix),   T(express), T(scribble), T(conventional),
	};

	return cmocka_run_group_tests_name("vfio_config", tests, NULL, NULL);
}
