// SPDX-License-Identifier: BSD-3-Clause
/* vfio-user: each command with every error that it has, and how messages are cut and put together.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "user_client.h"

static struct got m;
static struct client c;

static int open_at(void **state, const char *bdf)
{
	static struct world w;

	world_open(&w);
	*state = &w;
	must_hold(!client_open(&c, &w, bdf, ALL_CAPS, &m), "open");
	enable(&c, &m);
	return 0;
}

static int setup(void **state)
{
	return open_at(state, FULL);
}

static int setup_testdev(void **state)
{
	return open_at(state, TESTDEV);
}

static int teardown(void **state)
{
	client_close(&c);
	world_close(*state);
	return 0;
}

/* Each length of @block that is too short is refused, and the connection lives. */
static void too_short(uint16_t command, const void *block, size_t needed)
{
	for (size_t size = 0; size < needed; size++)
		assert_int_equal(client_call(&c, command, block, size, &m), -EINVAL);
}

/* ------------------------------------------------------------------ what there is */

static void test_device_info(void **state)
{
	struct vfio_device_info info = { .argsz = 16 };
	uint8_t large[KIB(8)] = { 0 };

	too_short(USER_GET_INFO, &info, 16);
	for (info.argsz = 0; info.argsz < 16; info.argsz++)
		assert_int_equal(client_call(&c, USER_GET_INFO, &info, 16, &m), -EINVAL);
	for (unsigned argsz = 16; argsz < 5000; argsz += 61) {
		info.argsz = argsz;
		assert_int_equal(client_call(&c, USER_GET_INFO, &info, 16, &m), 0);
		assert_true(m.size >= 16 && m.size <= argsz);
		memcpy(&info, m.data, 16);
		assert_int_equal(info.flags & 3, VFIO_DEVICE_FLAGS_RESET | VFIO_DEVICE_FLAGS_PCI);
		assert_int_equal(info.num_regions, VFIO_PCI_NUM_REGIONS);
		assert_int_equal(info.num_irqs, VFIO_PCI_NUM_IRQS);
		assert_true(info.argsz <= argsz);
	}
	info.argsz = ~0u;
	assert_int_equal(client_call(&c, USER_GET_INFO, &info, 16, &m), 0);
	assert_int_equal(client_call(&c, USER_GET_INFO, large, sizeof(large), &m), -EINVAL);
}

static const struct vfio_region_info *region_info(unsigned index, unsigned argsz, int *ret)
{
	struct vfio_region_info info = { .argsz = argsz, .index = index };

	got_close(&m);
	*ret = client_call(&c, USER_GET_REGION_INFO, &info, sizeof(info), &m);
	if (!*ret)
		must_hold(m.size >= sizeof(info) && m.size <= argsz, "more than there is room for");
	return (const struct vfio_region_info *)(void *)m.data;
}

static void test_region_info(void **state)
{
	static const uint64_t sizes[] = { KIB(16), 32, KIB(64), 0, KIB(4), 0, 0, KIB(4), 0 };
	struct vfio_region_info info = { .argsz = sizeof(info) };
	const struct vfio_region_info *got;
	int ret;

	too_short(USER_GET_REGION_INFO, &info, sizeof(info));
	for (unsigned argsz = 0; argsz < sizeof(info); argsz++) {
		(void)region_info(0, argsz, &ret);
		assert_int_equal(ret, -EINVAL);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		got = region_info(i, 4096, &ret);
		if (i == VFIO_PCI_VGA_REGION_INDEX) {
			assert_int_equal(ret, -EINVAL);
			continue;
		}
		assert_int_equal(ret, 0);
		assert_int_equal(got->index, i);
		assert_int_equal(got->size, sizes[i]);
		assert_int_equal(!!(got->flags & VFIO_REGION_INFO_FLAG_MMAP), i == 0 || i == 2);
		assert_int_equal(m.n_fds, i == 0 || i == 2);
		assert_int_equal(got->argsz, m.size);
	}
	for (unsigned i = VFIO_PCI_NUM_REGIONS; i < 70; i++)
		assert_int_equal((region_info(i, 4096, &ret), ret), -EINVAL);
	assert_int_equal((region_info(~0u, 4096, &ret), ret), -EINVAL);
	got_close(&m);
}

/* With too little room it says how much there has to be, and not a byte more. */
static void test_region_room(void **state)
{
	const struct vfio_region_info *got;
	unsigned needed;
	int ret;

	got = region_info(0, sizeof(*got), &ret);
	assert_int_equal(ret, 0);
	assert_int_equal(m.size, sizeof(*got));
	assert_int_equal(got->cap_offset, 0);
	needed = got->argsz;
	assert_true(needed > sizeof(*got));
	for (unsigned argsz = sizeof(*got); argsz < needed + 40; argsz++) {
		got = region_info(0, argsz, &ret);
		assert_int_equal(ret, 0);
		assert_int_equal(got->argsz, needed);
		assert_int_equal(got->cap_offset != 0, argsz >= needed);
	}
	got_close(&m);
}

static void test_irq_info(void **state)
{
	static const unsigned counts[] = { 1, FULL_MSI, FULL_MSIX, 1, 1 };
	struct vfio_irq_info info = { .argsz = sizeof(info) };

	too_short(USER_GET_IRQ_INFO, &info, sizeof(info));
	for (unsigned i = 0; i < 10; i++) {
		info.index = i;
		if (i >= ARRAY_SIZE(counts)) {
			assert_int_equal(client_call(&c, USER_GET_IRQ_INFO, &info, 16, &m),
					 -EINVAL);
			continue;
		}
		assert_int_equal(client_call(&c, USER_GET_IRQ_INFO, &info, sizeof(info), &m), 0);
		assert_int_equal(m.size, sizeof(info));
		assert_int_equal(((struct vfio_irq_info *)(void *)m.data)->count, counts[i]);
	}
	info = (struct vfio_irq_info){ .argsz = sizeof(info) - 1 };
	assert_int_equal(client_call(&c, USER_GET_IRQ_INFO, &info, sizeof(info), &m), -EINVAL);
}

static void test_region_fds(void **state)
{
	struct user_region_io_fds io = { sizeof(io), 0, 0, 0 };

	too_short(USER_GET_REGION_IO_FDS, &io, sizeof(io));
	assert_int_equal(client_call(&c, USER_GET_REGION_IO_FDS, &io, sizeof(io), &m), 0);
	assert_int_equal(m.size, sizeof(io));
	assert_int_equal(((struct user_region_io_fds *)(void *)m.data)->count, 0);
	io.argsz--;
	assert_int_equal(client_call(&c, USER_GET_REGION_IO_FDS, &io, sizeof(io), &m), -EINVAL);
	io = (struct user_region_io_fds){ sizeof(io), 1, 0, 0 };
	assert_int_equal(client_call(&c, USER_GET_REGION_IO_FDS, &io, sizeof(io), &m), -EINVAL);
	io = (struct user_region_io_fds){ sizeof(io), 0, 9, 0 };
	assert_int_equal(client_call(&c, USER_GET_REGION_IO_FDS, &io, sizeof(io), &m), -EINVAL);
}

static void test_features(void **state)
{
	struct {
		struct vfio_device_feature head;
		uint8_t data[56];
	} f = { .head.argsz = sizeof(f) };
	const uint32_t entry = VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY;

	too_short(USER_FEATURE, &f, 8);
	f.head.flags = VFIO_DEVICE_FEATURE_PROBE | VFIO_DEVICE_FEATURE_SET | entry;
	for (f.head.argsz = 0; f.head.argsz < 100; f.head.argsz++) {
		int ret = client_call(&c, USER_FEATURE, &f, sizeof(f), &m);

		assert_int_equal(ret, f.head.argsz < 8 ? -EINVAL : 0);
		assert_true(ret || (m.size <= f.head.argsz && m.size <= sizeof(f)));
	}
	/* A descriptor by its number in the client means nothing here. */
	f.head.argsz = sizeof(f);
	f.head.flags = VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP;
	assert_int_equal(client_call(&c, USER_FEATURE, &f, sizeof(f), &m), -EBADF);
	f.head.flags = VFIO_DEVICE_FEATURE_GET | entry;
	assert_int_equal(client_call(&c, USER_FEATURE, &f, sizeof(f), &m), -EINVAL);
	for (unsigned i = 0; i < 40; i++) {
		f.head.flags = VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_PROBE | i;
		assert_true(client_call(&c, USER_FEATURE, &f, sizeof(f), &m) < 0);
	}
}

static void test_no_such_command(void **state)
{
	static const uint16_t none[] = {
		0,  USER_VERSION, USER_DMA_READ, USER_DMA_WRITE, 14, 17, USER_MIG_DATA_WRITE,
		19, 20,		  0x7fff,	 0xffff
	};
	uint8_t data[64] = { 0 };

	for (unsigned i = 0; i < ARRAY_SIZE(none); i++) {
		assert_int_equal(client_call(&c, none[i], NULL, 0, &m), -EOPNOTSUPP);
		assert_int_equal(client_call(&c, none[i], data, sizeof(data), &m), -EOPNOTSUPP);
	}
}

static void test_reset(void **state)
{
	struct world *w = *state;
	unsigned before = ((struct model *)pcif_state(w->x.full))->resets;

	assert_int_equal(client_call(&c, USER_RESET, NULL, 0, &m), 0);
	assert_int_equal(m.size, 0);
	assert_int_equal(((struct model *)pcif_state(w->x.full))->resets, before + 1);
	assert_int_equal(client_call(&c, USER_RESET, "more", 4, &m), 0);
}

/* ------------------------------------------------------------------ regions */

static void test_read(void **state)
{
	struct user_region_io io = { 0, VFIO_PCI_CONFIG_REGION_INDEX, 4 };

	too_short(USER_REGION_READ, &io, sizeof(io));
	assert_int_equal(get32(&c, VFIO_PCI_CONFIG_REGION_INDEX, 0, &m), 0x56781234);
	assert_int_equal(get32(&c, 0, 0x10, &m), 0x04030211);
	assert_int_equal(region_io(&c, USER_REGION_READ, 0, 0, 0, NULL, &m), 0);
	assert_int_equal(m.size, sizeof(io));
	/* What is behind the end is not there. */
	assert_int_equal(region_io(&c, USER_REGION_READ, 0, KIB(16) - 4, 8, NULL, &m), 0);
	assert_int_equal(((struct user_region_io *)(void *)m.data)->count, 4);
	assert_int_equal(m.size, sizeof(io) + 4);
	assert_int_equal(region_io(&c, USER_REGION_READ, 0, KIB(16) + 1, 4, NULL, &m), -EINVAL);
	assert_int_equal(region_io(&c, USER_REGION_READ, 3, 0, 4, NULL, &m), -EINVAL);
	for (unsigned i = 9; i < 80; i++)
		assert_int_equal(region_io(&c, USER_REGION_READ, i, 0, 4, NULL, &m), -EINVAL);
	assert_int_equal(region_io(&c, USER_REGION_READ, ~0u, 0, 4, NULL, &m), -EINVAL);
	assert_int_equal(region_io(&c, USER_REGION_READ, 0, BIT64(40), 4, NULL, &m), -EINVAL);
	assert_int_equal(region_io(&c, USER_REGION_READ, 0, ~0ull, 4, NULL, &m), -EINVAL);
	assert_int_equal(region_io(&c, USER_REGION_READ, 7, 4090, 64, NULL, &m), -EFAULT);
	assert_int_equal(region_io(&c, USER_REGION_READ, 2, 0, ~0u, NULL, &m), -EINVAL);
	assert_int_equal(region_io(&c, USER_REGION_READ, 2, 0, MIB(1) + 1, NULL, &m), -EINVAL);
	assert_int_equal(region_io(&c, USER_REGION_READ, 2, 0, MIB(1), NULL, &m), 0);
	assert_int_equal(m.size, sizeof(io) + KIB(64));
}

/* Never more than the client takes. */
static void test_read_limit(void **state)
{
	struct world *w = *state;

	client_close(&c);
	assert_int_equal(
		client_open(&c, w, FULL, "{\"capabilities\":{\"max_data_xfer_size\":8}}", &m), 0);
	enable(&c, &m);
	assert_int_equal(region_io(&c, USER_REGION_READ, 2, 0, 8, NULL, &m), 0);
	assert_int_equal(region_io(&c, USER_REGION_READ, 2, 0, 9, NULL, &m), -EINVAL);
}

static void test_write(void **state)
{
	struct world *w = *state;
	struct model *model = pcif_state(w->x.full);
	struct {
		struct user_region_io io;
		uint8_t data[16];
	} wr = { { 0x20, 0, 4 }, { 1, 2, 3, 4 } };
	static uint8_t large[sizeof(struct user_region_io) + MIB(1) + 1];

	too_short(USER_REGION_WRITE, &wr, sizeof(wr.io) + 4);
	assert_int_equal(model->writes, 0);
	assert_int_equal(client_call(&c, USER_REGION_WRITE, &wr, sizeof(wr.io) + 4, &m), 0);
	assert_int_equal(m.size, sizeof(wr.io));
	assert_int_equal(model->last_write, 0x04030201);
	assert_int_equal(model->last_offset, 0x20);
	/* More than it says it is. */
	assert_int_equal(client_call(&c, USER_REGION_WRITE, &wr, sizeof(wr), &m), 0);
	assert_int_equal(model->writes, 2);
	wr.io.count = 17;
	assert_int_equal(client_call(&c, USER_REGION_WRITE, &wr, sizeof(wr), &m), -EINVAL);
	wr.io.count = ~0u;
	assert_int_equal(client_call(&c, USER_REGION_WRITE, &wr, sizeof(wr), &m), -EINVAL);
	wr.io = (struct user_region_io){ BIT64(40), 0, 4 };
	assert_int_equal(client_call(&c, USER_REGION_WRITE, &wr, sizeof(wr), &m), -EINVAL);
	wr.io = (struct user_region_io){ 0, 64, 4 };
	assert_int_equal(client_call(&c, USER_REGION_WRITE, &wr, sizeof(wr), &m), -EINVAL);
	wr.io = (struct user_region_io){ KIB(16) - 2, 0, 4 };
	assert_int_equal(client_call(&c, USER_REGION_WRITE, &wr, sizeof(wr), &m), 0);
	assert_int_equal(((struct user_region_io *)(void *)m.data)->count, 2);
	wr.io = (struct user_region_io){ 0, 2, MIB(1) + 1 };
	memcpy(large, &wr.io, sizeof(wr.io));
	assert_int_equal(client_call(&c, USER_REGION_WRITE, large, sizeof(large), &m), -EINVAL);
	wr.io.count--;
	memcpy(large, &wr.io, sizeof(wr.io));
	assert_int_equal(client_call(&c, USER_REGION_WRITE, large, sizeof(large), &m), 0);
	assert_int_equal(((struct user_region_io *)(void *)m.data)->count, KIB(64));
	assert_int_equal(model->writes, 3);
}

static void test_write_multi(void **state)
{
	struct world *w = *state;
	struct model *model = pcif_state(w->x.full);
	struct {
		uint64_t count;
		struct user_single_write writes[3];
	} multi = { 3, { { 0, 0, 4, "abc" }, { 8, 0, 8, "abcdefg" }, { 16, 0, 1, "x" } } };
	uint64_t done;

	too_short(USER_REGION_WRITE_MULTI, &multi, sizeof(multi));
	assert_int_equal(model->writes, 0);
	assert_int_equal(client_call(&c, USER_REGION_WRITE_MULTI, &multi, sizeof(multi), &m), 0);
	assert_int_equal(m.size, sizeof(done));
	memcpy(&done, m.data, sizeof(done));
	assert_int_equal(done, 3);
	assert_int_equal(model->last_size, 1);
	/* The first that fails is the last. */
	multi.writes[1].count = 9;
	assert_int_equal(client_call(&c, USER_REGION_WRITE_MULTI, &multi, sizeof(multi), &m), 0);
	memcpy(&done, m.data, sizeof(done));
	assert_int_equal(done, 1);
	multi.writes[0].region = 70;
	assert_int_equal(client_call(&c, USER_REGION_WRITE_MULTI, &multi, sizeof(multi), &m),
			 -EINVAL);
	multi.writes[0] = (struct user_single_write){ KIB(16) - 2, 0, 4, "abc" };
	assert_int_equal(client_call(&c, USER_REGION_WRITE_MULTI, &multi, sizeof(multi), &m),
			 -EINVAL);
	multi.count = 0;
	assert_int_equal(client_call(&c, USER_REGION_WRITE_MULTI, &multi, 8, &m), 0);
	for (unsigned bit = 2; bit < 64; bit++) {
		multi.count = BIT64(bit);
		assert_int_equal(
			client_call(&c, USER_REGION_WRITE_MULTI, &multi, sizeof(multi), &m),
			-EINVAL);
	}
}

/* ------------------------------------------------------------------ mapped pages */

static void test_mapping(void **state)
{
	uint32_t value = 0x5a5a1234, *page;
	const struct vfio_region_info *got;
	uint64_t offset;
	int ret, fd;

	got = region_info(2, 4096, &ret); /* BAR 2 of testdev is memory */
	assert_int_equal(ret, 0);
	assert_int_equal(m.n_fds, 1);
	fd = m.fds[0];
	offset = got->offset;
	page = mmap(NULL, KIB(64), PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)offset);
	assert_true(page != MAP_FAILED);
	assert_int_equal(put32(&c, 2, 0x100, value, &m), 0);
	assert_int_equal(page[0x40], value);
	page[0x41] = 77;
	assert_int_equal(get32(&c, 2, 0x104, &m), 77);
	/* The file keeps its size, whoever has it. */
	assert_int_equal(ftruncate(fd, 4096), -1);
	assert_int_equal(ftruncate(fd, (off_t)BIT64(62)), -1);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
	assert_int_equal(fcntl(fd, F_GET_SEALS) & (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL),
			 F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
	/* What was the client's is nobody's any more. */
	client_close(&c);
	world_await_left(*state);
	page[0x42] = 88;
	assert_int_equal(client_open(&c, *state, TESTDEV, ALL_CAPS, &m), 0);
	enable(&c, &m);
	assert_int_equal(get32(&c, 2, 0x108, &m), 0);
	assert_int_equal(put32(&c, 2, 0x10c, value, &m), 0);
	assert_int_equal(page[0x43], 0);
	munmap(page, KIB(64));
	close(fd);
}

/* Trapped pages are not in the file: what is written there the device does not see. */
static void test_sparse(void **state)
{
	struct vfio_region_info_cap_sparse_mmap *cap;
	uint32_t config = 0x5a5a5a5a, out;
	const struct vfio_region_info *got;
	uint64_t offset;
	int ret, fd;

	got = region_info(4, 4096, &ret); /* pages 1 and 3 */
	assert_int_equal(ret, 0);
	cap = (struct vfio_region_info_cap_sparse_mmap *)(void *)(m.data + got->cap_offset);
	assert_int_equal(cap->header.id, VFIO_REGION_INFO_CAP_SPARSE_MMAP);
	assert_int_equal(cap->nr_areas, 2);
	assert_int_equal(cap->areas[0].offset, KIB(4));
	assert_int_equal(cap->areas[1].offset, KIB(12));
	offset = got->offset;
	fd = m.fds[0];
	m.n_fds = 0;
	for (unsigned page = 0; page < 4; page++) {
		off_t at = (off_t)(offset + KIB(4) * page);

		assert_int_equal(pwrite(fd, &config, 4, at), 4);
		out = get32(&c, 4, KIB(4) * page, &m);
		assert_int_equal(out == config, page & 1);
		assert_int_equal(put32(&c, 4, KIB(4) * page, 0x11, &m), 0);
		assert_int_equal(pread(fd, &out, 4, at), 4);
		assert_int_equal(out == 0x11, page & 1);
	}
	close(fd);
}

/* Who takes no descriptors maps nothing. */
static void test_no_fds(void **state)
{
	struct world *w = *state;
	const struct vfio_region_info *got;
	int ret;

	client_close(&c);
	assert_int_equal(client_open(&c, w, TESTDEV, "{\"capabilities\":{\"max_msg_fds\":0}}", &m),
			 0);
	got = region_info(2, 4096, &ret);
	assert_int_equal(ret, 0);
	assert_int_equal(m.n_fds, 0);
	assert_int_equal(got->flags & VFIO_REGION_INFO_FLAG_MMAP, 0);
}

/* ------------------------------------------------------------------ interrupts */

#define TRIGGER (VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER)

static uint64_t signals(int efd)
{
	struct pollfd p = { .fd = efd, .events = POLLIN };
	uint64_t n = 0;

	if (poll(&p, 1, 0) == 1)
		assert_int_equal(read(efd, &n, sizeof(n)), sizeof(n));
	return n;
}

static void test_irqs(void **state)
{
	int efd[4];

	for (unsigned i = 0; i < 4; i++)
		efd[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	assert_int_equal(irqs_call(&c, TRIGGER, VFIO_PCI_MSIX_IRQ_INDEX, 0, 4, efd, 4, &m), 0);
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(put32(&c, 0, TD_IRQ_RAISE, i, &m), 0);
		for (unsigned j = 0; j < 4; j++)
			assert_int_equal(signals(efd[j]), i == j);
	}
	/* Vectors 2 and 3 go, the others stay. */
	assert_int_equal(irqs_call(&c, TRIGGER, VFIO_PCI_MSIX_IRQ_INDEX, 2, 2, NULL, 0, &m), 0);
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(put32(&c, 0, TD_IRQ_RAISE, i, &m), 0);
		assert_int_equal(signals(efd[i]), i < 2);
	}
	/* Not as many as it says. */
	assert_int_equal(irqs_call(&c, TRIGGER, VFIO_PCI_MSIX_IRQ_INDEX, 0, 4, efd, 3, &m),
			 -EINVAL);
	assert_int_equal(irqs_call(&c, TRIGGER, VFIO_PCI_MSIX_IRQ_INDEX, 0, 3, efd, 4, &m),
			 -EINVAL);
	assert_int_equal(irqs_call(&c, VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER,
				   VFIO_PCI_MSIX_IRQ_INDEX, 0, 1, NULL, 0, &m),
			 0);
	assert_int_equal(signals(efd[0]), 1);
	assert_int_equal(irqs_call(&c, VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER,
				   VFIO_PCI_MSIX_IRQ_INDEX, 0, 0, NULL, 0, &m),
			 0);
	assert_int_equal(put32(&c, 0, TD_IRQ_RAISE, 0, &m), 0);
	assert_int_equal(signals(efd[0]), 0);
	for (unsigned i = 0; i < 4; i++)
		close(efd[i]);
}

static void test_intx(void **state)
{
	int efd[2] = { eventfd(0, EFD_NONBLOCK), eventfd(0, EFD_NONBLOCK) };
	const uint32_t unmask = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_UNMASK;

	assert_int_equal(irqs_call(&c, TRIGGER, VFIO_PCI_INTX_IRQ_INDEX, 0, 1, efd, 1, &m), 0);
	assert_int_equal(put32(&c, 0, TD_IRQ_LEVEL, 1, &m), 0);
	assert_int_equal(signals(efd[0]), 1);
	assert_int_equal(irqs_call(&c, unmask, VFIO_PCI_INTX_IRQ_INDEX, 0, 1, NULL, 0, &m), 0);
	assert_int_equal(signals(efd[0]), 1);
	assert_int_equal(put32(&c, 0, TD_IRQ_LEVEL, 0, &m), 0);
	assert_int_equal(irqs_call(&c, unmask, VFIO_PCI_INTX_IRQ_INDEX, 0, 1, NULL, 0, &m), 0);
	assert_int_equal(signals(efd[0]), 0);
	assert_int_equal(irqs_call(&c, TRIGGER, VFIO_PCI_INTX_IRQ_INDEX, 0, 2, efd, 2, &m),
			 -EINVAL);
	/* Taken away. */
	assert_int_equal(irqs_call(&c, TRIGGER, VFIO_PCI_INTX_IRQ_INDEX, 0, 1, NULL, 0, &m), 0);
	assert_int_equal(put32(&c, 0, TD_IRQ_LEVEL, 1, &m), 0);
	assert_int_equal(signals(efd[0]), 0);
	close(efd[0]);
	close(efd[1]);
}

static void test_bad_irqs(void **state)
{
	struct vfio_irq_set set = { .argsz = sizeof(set), .flags = TRIGGER, .index = 2 };
	int none = open("/dev/null", O_RDWR | O_CLOEXEC), many[USER_FDS_MAX];

	too_short(USER_SET_IRQS, &set, sizeof(set));
	set.argsz--;
	assert_int_equal(client_call(&c, USER_SET_IRQS, &set, sizeof(set), &m), -EINVAL);
	for (unsigned i = 0; i < USER_FDS_MAX; i++)
		many[i] = none;
	/* Of the wrong kind; too many; of nothing; everything at once. */
	assert_int_equal(irqs_call(&c, TRIGGER, 2, 0, 1, &none, 1, &m), -EINVAL);
	assert_int_equal(irqs_call(&c, TRIGGER, 2, 0, USER_FDS_MAX, many, USER_FDS_MAX, &m),
			 -EINVAL);
	assert_int_equal(irqs_call(&c, TRIGGER, 2, 7, 2, many, 2, &m), -EINVAL);
	assert_int_equal(irqs_call(&c, TRIGGER, 5, 0, 1, many, 1, &m), -EINVAL);
	assert_int_equal(irqs_call(&c, TRIGGER, ~0u, 0, 1, many, 1, &m), -EINVAL);
	assert_int_equal(irqs_call(&c, TRIGGER, 2, ~0u, 2, many, 2, &m), -EINVAL);
	assert_int_equal(irqs_call(&c, TRIGGER, 2, 0, ~0u, NULL, 0, &m), -EINVAL);
	assert_int_equal(irqs_call(&c, TRIGGER, 2, 0, 2049, NULL, 0, &m), -EINVAL);
	assert_int_equal(irqs_call(&c, TRIGGER, 2, 0, 0, NULL, 0, &m), -ERANGE);
	for (unsigned bits = 0; bits < 256; bits++)
		if (__builtin_popcount(bits & 7) != 1 || __builtin_popcount(bits & 0x38) != 1)
			assert_true(irqs_call(&c, bits, 2, 0, 1, NULL, 0, &m) < 0);
	/* The booleans that it says are not all there. */
	set = (struct vfio_irq_set){ sizeof(set), VFIO_IRQ_SET_DATA_BOOL | 32, 2, 0, 8 };
	assert_int_equal(client_call(&c, USER_SET_IRQS, &set, sizeof(set), &m), -EINVAL);
	close(none);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define TESTDEV_TEST(name) cmocka_unit_test_setup_teardown(name, setup_testdev, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_device_info),	    TEST(test_region_info),    TEST(test_region_room),
		TEST(test_irq_info),	    TEST(test_region_fds),     TEST(test_features),
		TEST(test_no_such_command), TEST(test_reset),	       TEST(test_read),
		TEST(test_read_limit),	    TEST(test_write),	       TEST(test_write_multi),
		TESTDEV_TEST(test_mapping), TESTDEV_TEST(test_sparse), TESTDEV_TEST(test_no_fds),
		TESTDEV_TEST(test_irqs),    TESTDEV_TEST(test_intx),   TESTDEV_TEST(test_bad_irqs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
