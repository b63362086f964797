// SPDX-License-Identifier: BSD-3-Clause
/* vfio-user: memory with and without descriptors, and clients that answer for it badly. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "user_client.h"

#define IOVA 0x100000ull
#define MEM KIB(64)

static struct got m;
static struct client c;
/* cmocka puts its own handler of SIGBUS around each test. */
static struct sigaction guard_action;
static uint8_t memory[MEM]; /* at IOVA, of those tests that answer for it */

static int open_with(void **state, const char *caps)
{
	static struct world w;

	world_open(&w);
	*state = &w;
	must_hold(!client_open(&c, &w, TESTDEV, caps, &m), "open");
	enable(&c, &m);
	memset(memory, 0, sizeof(memory));
	return 0;
}

static int setup(void **state)
{
	return open_with(state, ALL_CAPS);
}

static int setup_twin(void **state)
{
	return open_with(state, TWIN_CAPS);
}

static int setup_small(void **state)
{
	return open_with(state, "{\"capabilities\":{\"max_data_xfer_size\":100}}");
}

/* Nobody waits for seconds in a test. */
static void impatient(struct world *w, unsigned patience_ms, unsigned stuck_ms)
{
	w->door->limits.patience_ns = patience_ms * 1000000ull;
	w->door->limits.stuck_ns = stuck_ms * 1000000ull;
}

static int teardown(void **state)
{
	client_close(&c);
	world_close(*state);
	return 0;
}

/* ------------------------------------------------------------------ mapping */

static int new_file(size_t size)
{
	int fd = memfd_create("client", MFD_CLOEXEC);

	must_hold(fd >= 0 && !ftruncate(fd, (off_t)size), "a memfd");
	return fd;
}

static void test_map(void **state)
{
	int file = new_file(MEM), fds[2] = { file, file };
	struct user_dma_map map = { sizeof(map), 3, 0, IOVA, MEM };

	for (size_t size = 0; size < sizeof(map); size++)
		assert_int_equal(client_call(&c, USER_DMA_MAP, &map, size, &m), -EINVAL);
	assert_int_equal(client_call_fds(&c, USER_DMA_MAP, &map, sizeof(map), fds, 2, &m), -EINVAL);
	map.argsz--;
	assert_int_equal(client_call(&c, USER_DMA_MAP, &map, sizeof(map), &m), -EINVAL);
	map.argsz = sizeof(map);
	for (unsigned bit = 2; bit < 32; bit++) {
		map.flags = 3 | BIT(bit);
		assert_int_equal(client_call(&c, USER_DMA_MAP, &map, sizeof(map), &m), -EINVAL);
	}
	map.flags = 0;
	assert_int_equal(client_call(&c, USER_DMA_MAP, &map, sizeof(map), &m), -EINVAL);
	assert_int_equal(map_call(&c, IOVA, 0, 0, file, &m), -EINVAL);
	assert_int_equal(map_call(&c, IOVA + 1, MEM, 0, file, &m), -EINVAL);
	assert_int_equal(map_call(&c, IOVA, MEM - 1, 0, file, &m), -EINVAL);
	assert_int_equal(map_call(&c, ~0ull - 4095, KIB(8), 0, -1, &m), -EOVERFLOW);
	assert_int_equal(map_call(&c, BIT64(60), KIB(4), 0, -1, &m), -EINVAL);
	assert_int_equal(map_call(&c, IOVA, MEM, KIB(4), file, &m), -EINVAL); /* past its end */
	assert_int_equal(map_call(&c, IOVA, MEM, ~0ull - 4095, file, &m), -EOVERFLOW);
	assert_int_equal(map_call(&c, IOVA, MEM, 0, file, &m), 0);
	assert_int_equal(m.size, 0);
	assert_int_equal(map_call(&c, IOVA, MEM, 0, file, &m), -EEXIST);
	assert_int_equal(map_call(&c, IOVA + MEM - KIB(4), MEM, 0, -1, &m), -EEXIST);
	close(file);
}

static void test_unmap(void **state)
{
	struct user_dma_unmap unmap = { sizeof(unmap), 0, IOVA, KIB(8) };

	for (size_t size = 0; size < sizeof(unmap); size++)
		assert_int_equal(client_call(&c, USER_DMA_UNMAP, &unmap, size, &m), -EINVAL);
	assert_int_equal(unmap_call(&c, 0, IOVA, KIB(8), &m), -ENOENT);
	assert_int_equal(map_call(&c, IOVA, KIB(8), 0, -1, &m), 0);
	assert_int_equal(map_call(&c, IOVA + KIB(8), KIB(8), 0, -1, &m), 0);
	unmap.argsz--;
	assert_int_equal(client_call(&c, USER_DMA_UNMAP, &unmap, sizeof(unmap), &m), -EINVAL);
	for (unsigned bit = 0; bit < 32; bit++)
		if (BIT(bit) != VFIO_DMA_UNMAP_FLAG_ALL)
			assert_int_equal(unmap_call(&c, BIT(bit), IOVA, KIB(8), &m), -EINVAL);
	assert_int_equal(unmap_call(&c, 0, IOVA, 0, &m), -EINVAL);
	assert_int_equal(unmap_call(&c, 0, IOVA + 1, KIB(8), &m), -EINVAL);
	assert_int_equal(unmap_call(&c, 0, ~0ull - 4095, KIB(8), &m), -EINVAL);
	/* What is not what was mapped takes nothing away. */
	assert_int_equal(unmap_call(&c, 0, IOVA, KIB(4), &m), -ENOENT);
	assert_int_equal(unmap_call(&c, 0, IOVA + KIB(4), KIB(4), &m), -ENOENT);
	assert_int_equal(unmap_call(&c, 0, IOVA - KIB(4), KIB(12), &m), -ENOENT);
	assert_int_equal(unmap_call(&c, 0, IOVA, KIB(20), &m), -ENOENT);
	assert_int_equal(unmap_call(&c, 0, IOVA, BIT64(47), &m), -ENOENT);
	assert_int_equal(unmap_call(&c, 0, IOVA, KIB(8), &m), 0);
	assert_int_equal(m.size, sizeof(unmap));
	memcpy(&unmap, m.data, sizeof(unmap));
	assert_int_equal(unmap.address, IOVA);
	assert_int_equal(unmap.size, KIB(8));
	assert_int_equal(unmap_call(&c, 0, IOVA, KIB(8), &m), -ENOENT);
	/* Several at once, whole. */
	assert_int_equal(map_call(&c, IOVA, KIB(8), 0, -1, &m), 0);
	assert_int_equal(unmap_call(&c, 0, IOVA, KIB(16), &m), 0);
	assert_int_equal(map_call(&c, IOVA, KIB(16), 0, -1, &m), 0);
	assert_int_equal(map_call(&c, BIT64(40), KIB(4), 0, -1, &m), 0);
	assert_int_equal(unmap_call(&c, VFIO_DMA_UNMAP_FLAG_ALL, IOVA, 0, &m), -EINVAL);
	assert_int_equal(unmap_call(&c, VFIO_DMA_UNMAP_FLAG_ALL, 0, KIB(4), &m), -EINVAL);
	assert_int_equal(unmap_call(&c, VFIO_DMA_UNMAP_FLAG_ALL, 0, 0, &m), 0);
	memcpy(&unmap, m.data, sizeof(unmap));
	assert_int_equal(unmap.size, KIB(20));
	assert_int_equal(unmap_call(&c, 0, IOVA, KIB(16), &m), -ENOENT);
}

/* Starts a DMA by block 0, which is done when the write is answered. */
static void start(unsigned command, uint64_t iova, unsigned size)
{
	assert_int_equal(put32(&c, 0, TD_ADDR_LO, (uint32_t)iova, &m), 0);
	assert_int_equal(put32(&c, 0, TD_ADDR_HI, (uint32_t)(iova >> 32), &m), 0);
	assert_int_equal(put32(&c, 0, TD_LEN, size, &m), 0);
	put32_send(&c, 0, TD_CMD, command);
}

static unsigned end(void)
{
	assert_int_equal(client_reply(&c, USER_REGION_WRITE, &m), 0);
	return get32(&c, 0, TD_STATUS, &m);
}

static void test_file(void **state)
{
	int file = new_file(MEM), rdonly;
	char path[64];
	uint8_t *p = mmap(NULL, MEM, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);

	assert_int_equal(map_call(&c, IOVA, KIB(32), KIB(32), file, &m), 0);
	assert_int_equal(put32(&c, 0, TD_SEED, 7, &m), 0);
	start(TD_FILL, IOVA + 5, 100);
	assert_int_equal(end(), TD_OK);
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(p[KIB(32) + 5 + i], 7 + i);
	start(TD_FILL, IOVA + KIB(32) - 50, 100);
	assert_int_equal(end(), TD_FAULT);
	assert_int_equal(p[MEM - 1], 0);
	/* The same file by a descriptor that cannot write is not written by the other one. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	rdonly = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(rdonly >= 0);
	assert_int_equal(map_call(&c, 2 * IOVA, KIB(4), 0, rdonly, &m), -EFAULT);
	assert_int_equal(map_call(&c, 2 * IOVA, KIB(4), 0, file, &m), 0);
	/* It is gone in the middle. */
	sigaction(SIGBUS, &guard_action, NULL);
	assert_int_equal(ftruncate(file, 0), 0);
	start(TD_FILL, IOVA, 100);
	assert_int_equal(end(), TD_FAULT);
	munmap(p, MEM);
	close(rdonly);
	close(file);
}

/* Descriptors that nobody asked for are closed, whatever the answer is. */
static void test_stray_fds(void **state)
{
	int none = open("/dev/null", O_RDWR | O_CLOEXEC), many[USER_FDS_MAX];
	struct user_region_io io = { 0, VFIO_PCI_CONFIG_REGION_INDEX, 4 };
	unsigned before;

	for (unsigned i = 0; i < USER_FDS_MAX; i++)
		many[i] = none;
	before = open_fds();
	for (unsigned command = 0; command < 22; command++) {
		(void)client_call_fds(&c, command, NULL, 0, many, USER_FDS_MAX, &m);
		(void)client_call_fds(&c, command, &io, sizeof(io), many, 1, &m);
	}
	/* A descriptor of what is no memory: the client is asked for what is in it. */
	assert_int_equal(map_call(&c, IOVA, MEM, 0, none, &m), 0);
	assert_int_equal(get32(&c, VFIO_PCI_CONFIG_REGION_INDEX, 0, &m), 0x50001234);
	assert_int_equal(open_fds(), before);
	close(none);
}

/* ------------------------------------------------------------------ by messages */

/* The next of the server's commands. */
static const struct user_dma *asked(int fd, uint16_t command)
{
	must_hold(receive_message(fd, &m), "the server's command");
	must_hold(m.h.command == command && !(m.h.flags & USER_TYPE), "another command");
	return (const struct user_dma *)(void *)m.data;
}

static void answer(int fd, uint16_t id, uint16_t command, uint32_t flags, const void *data,
		   size_t size)
{
	send_message(fd, id, command, USER_TYPE_REPLY | flags, data, size, NULL, 0);
}

/* As the protocol wants it. */
static void serve_one(int fd, uint16_t command)
{
	struct user_dma dma = *asked(fd, command);
	uint8_t reply[sizeof(dma) + MEM];

	must_hold(dma.address >= IOVA && dma.count <= MEM - (dma.address - IOVA), "elsewhere");
	memcpy(reply, &dma, sizeof(dma));
	if (command == USER_DMA_WRITE)
		memcpy(memory + (dma.address - IOVA), m.data + sizeof(dma), dma.count);
	else
		memcpy(reply + sizeof(dma), memory + (dma.address - IOVA), dma.count);
	answer(fd, m.h.id, command, 0, reply,
	       sizeof(dma) + (command == USER_DMA_READ ? dma.count : 0));
}

static int channel(void)
{
	return c.twin < 0 ? c.fd : c.twin;
}

static void test_messages(void **state)
{
	assert_int_equal(map_call(&c, IOVA, MEM, 0, -1, &m), 0);
	assert_int_equal(put32(&c, 0, TD_SEED, 3, &m), 0);
	start(TD_FILL, IOVA + 10, 1000);
	serve_one(channel(), USER_DMA_WRITE);
	assert_int_equal(end(), TD_OK);
	for (unsigned i = 0; i < 1000; i++)
		assert_int_equal(memory[10 + i], (uint8_t)(3 + i + i / 256));
	start(TD_LOAD, IOVA, MEM);
	serve_one(channel(), USER_DMA_READ);
	assert_int_equal(end(), TD_OK);
	/* What is not mapped is not asked for. */
	start(TD_LOAD, IOVA + 1, MEM);
	assert_int_equal(end(), TD_FAULT);
	assert_int_equal(unmap_call(&c, 0, IOVA, MEM, &m), 0);
	start(TD_LOAD, IOVA, MEM);
	assert_int_equal(end(), TD_FAULT);
}

/* Never more at a time than the client takes. */
static void test_pieces(void **state)
{
	assert_int_equal(map_call(&c, IOVA, MEM, 0, -1, &m), 0);
	start(TD_FILL, IOVA, 250);
	for (unsigned i = 0; i < 3; i++) {
		serve_one(channel(), USER_DMA_WRITE);
		assert_int_equal(((struct user_dma *)(void *)m.data)->count, i < 2 ? 100 : 50);
	}
	assert_int_equal(end(), TD_OK);
	start(TD_LOAD, IOVA, 101);
	serve_one(channel(), USER_DMA_READ);
	serve_one(channel(), USER_DMA_READ);
	assert_int_equal(end(), TD_OK);
}

/* What is no answer is a fault, at once; and everything goes on. */
static void test_bad_answers(void **state)
{
	struct {
		struct user_dma dma;
		uint8_t data[101];
	} r;
	struct world *w = *state;

	impatient(w, 10000, 150);
	assert_int_equal(map_call(&c, IOVA, MEM, 0, -1, &m), 0);
	for (unsigned way = 0; way < 9; way++) {
		uint64_t before = time_mono_ns();
		bool never = way >= 7;

		start(TD_LOAD, IOVA, 100);
		memset(&r, 0, sizeof(r));
		r.dma = *asked(channel(), USER_DMA_READ);
		r.dma.address += way == 1;
		r.dma.count -= way == 2;
		r.dma.count |= way == 3 ? BIT64(32) : 0;
		answer(channel(), m.h.id + (way == 7), USER_DMA_READ + (way == 8),
		       way == 0 ? USER_ERROR : 0, &r,
		       way == 4	  ? sizeof(r)
		       : way == 5 ? sizeof(r.dma)
		       : way == 6 ? 0
				  : sizeof(r) - 1);
		assert_int_equal(end(), TD_FAULT);
		assert_true(time_mono_ns() - before < 10000000000ull);
		assert_true(!never || time_mono_ns() - before >= 100000000ull);
	}
	start(TD_LOAD, IOVA, 100);
	serve_one(channel(), USER_DMA_READ);
	assert_int_equal(end(), TD_OK);
}

/* An answer that comes too late, or twice, is nobody's. */
static void test_late(void **state)
{
	struct world *w = *state;
	uint8_t reply[116] = { 0 };
	uint16_t id;

	impatient(w, 10000, 50);
	assert_int_equal(map_call(&c, IOVA, MEM, 0, -1, &m), 0);
	start(TD_LOAD, IOVA, 100);
	memcpy(reply, asked(channel(), USER_DMA_READ), 16);
	id = m.h.id;
	assert_int_equal(end(), TD_FAULT);
	for (unsigned i = 0; i < 3; i++)
		answer(channel(), id, USER_DMA_READ, 0, reply, sizeof(reply));
	assert_int_equal(get32(&c, VFIO_PCI_CONFIG_REGION_INDEX, 0, &m), 0x50001234);
	impatient(w, 10000, 5000);
	start(TD_LOAD, IOVA, 100);
	serve_one(channel(), USER_DMA_READ);
	assert_int_equal(end(), TD_OK);
}

/* A store to a mapped page: a thread of the device asks, between commands and during others. */
static void test_other_thread(void **state)
{
	struct vfio_region_info info = { .argsz = sizeof(info), .index = 1 };
	volatile uint32_t *page;
	uint16_t id;

	assert_int_equal(map_call(&c, IOVA, MEM, 0, -1, &m), 0);
	assert_int_equal(client_call(&c, USER_GET_REGION_INFO, &info, sizeof(info), &m), 0);
	assert_int_equal(m.n_fds, 1);
	memcpy(&info, m.data, sizeof(info));
	page = mmap(NULL, KIB(4), PROT_READ | PROT_WRITE, MAP_SHARED, m.fds[0], (off_t)info.offset);
	assert_true(page != MAP_FAILED);
	got_close(&m);
	page[TD_ADDR_LO / 4] = IOVA;
	page[TD_LEN / 4] = 100;
	for (unsigned i = 0; i < 20; i++) {
		page[TD_STATUS / 4] = 0;
		page[TD_CMD / 4] = i & 1 ? TD_FILL : TD_LOAD;
		serve_one(channel(), i & 1 ? USER_DMA_WRITE : USER_DMA_READ);
		id = c.id;
		for (unsigned j = 0; j < 10; j++)
			assert_true(client_send(&c, USER_GET_INFO, &info, sizeof(info), NULL, 0));
		for (unsigned j = 0; j < 10; j++) {
			assert_true(receive_message(c.fd, &m));
			assert_int_equal(m.h.id, (uint16_t)(++id));
		}
		while (page[TD_CMD / 4])
			usleep(100);
	}
	munmap((void *)(uintptr_t)page, KIB(4));
}

/* Who never answers loses the connection, both of them; what he had is over. */
static void test_never(void **state)
{
	struct world *w = *state;
	uint64_t before;

	impatient(w, 200, 100000);
	assert_int_equal(map_call(&c, IOVA, MEM, 0, -1, &m), 0);
	start(TD_LOAD, IOVA, 100);
	before = time_mono_ns();
	while (receive_message(c.fd, &m))
		continue;
	assert_true(time_mono_ns() - before < 5000000000ull);
	client_close(&c);
	assert_int_equal(client_open(&c, w, TESTDEV, ALL_CAPS, &m), 0);
}

/* The end of the connection ends what waits for it; what was half sent too. */
static void test_hang_up(void **state)
{
	struct world *w = *state;
	struct user_header half = { 0, USER_DMA_READ, 116, USER_TYPE_REPLY, 0 };
	uint64_t before = time_mono_ns();

	for (unsigned way = 0; way < 4; way++) {
		assert_int_equal(map_call(&c, IOVA, MEM, 0, -1, &m), 0);
		start(TD_LOAD, IOVA, 100);
		(void)asked(channel(), USER_DMA_READ);
		half.id = m.h.id;
		if (way & 1)
			send_raw(channel(), &half, sizeof(half), NULL, 0);
		if (way & 2)
			shutdown(channel(), SHUT_RDWR);
		if (way == 2 && c.twin >= 0)
			assert_false(receive_message(c.fd, &m)); /* the other one ends too */
		client_close(&c);
		assert_int_equal(client_open(&c, w, TESTDEV, TWIN_CAPS, &m), 0);
		enable(&c, &m);
	}
	assert_true(time_mono_ns() - before < 5000000000ull);
}

/* The door goes while a device waits for a client. */
static void test_door_goes(void **state)
{
	struct world *w = *state;
	uint64_t before = time_mono_ns();

	assert_int_equal(map_call(&c, IOVA, MEM, 0, -1, &m), 0);
	start(TD_LOAD, IOVA, 100);
	(void)asked(channel(), USER_DMA_READ);
	door_user_free(w->door);
	w->door = NULL;
	assert_true(time_mono_ns() - before < 5000000000ull);
	assert_false(receive_message(channel(), &m));
}

/* Commands that come while a reply is awaited are carried out afterwards, in order. */
static void test_commands_meanwhile(void **state)
{
	struct user_region_io io = { 0, VFIO_PCI_CONFIG_REGION_INDEX, 4 };
	uint16_t id, ask;
	uint8_t reply[116] = { 0 };

	assert_int_equal(map_call(&c, IOVA, MEM, 0, -1, &m), 0);
	start(TD_LOAD, IOVA, 100);
	memcpy(reply, asked(c.fd, USER_DMA_READ), 16);
	ask = m.h.id;
	id = c.id;
	for (unsigned i = 1; i <= 300; i++)
		assert_true(client_send(&c, USER_REGION_READ, &io, sizeof(io), NULL, 0));
	answer(c.fd, ask, USER_DMA_READ, 0, reply, sizeof(reply));
	for (unsigned i = 0; i <= 300; i++) {
		assert_true(receive_message(c.fd, &m));
		assert_int_equal(m.h.id, (uint16_t)(id + i));
		assert_int_equal(m.h.command, i ? USER_REGION_READ : USER_REGION_WRITE);
		assert_int_equal(m.h.flags, USER_TYPE_REPLY);
	}
	assert_int_equal(get32(&c, 0, TD_STATUS, &m), TD_OK);
}

/* There is an end to what is put aside, of bytes and of descriptors. */
static void test_flood(void **state)
{
	struct world *w = *state;
	int none = open("/dev/null", O_RDWR | O_CLOEXEC), many[200];
	static uint8_t data[KIB(512)];
	bool alive = true;
	unsigned n;

	for (unsigned i = 0; i < ARRAY_SIZE(many); i++)
		many[i] = none;
	for (unsigned with_fds = 0; with_fds < 2; with_fds++) {
		assert_int_equal(map_call(&c, IOVA, MEM, 0, -1, &m), 0);
		start(TD_LOAD, IOVA, 100);
		(void)asked(channel(), USER_DMA_READ);
		for (n = 0, alive = true; alive && n < 100000; n++)
			alive = client_send(&c, USER_RESET, data, with_fds ? 0 : sizeof(data), many,
					    with_fds ? ARRAY_SIZE(many) : 0);
		assert_false(alive);
		client_close(&c);
		world_await_left(w);
		for (unsigned i = 0; w->door->limits.queued; i++) {
			assert_true(i < 10000);
			usleep(1000);
		}
		assert_int_equal(client_open(&c, w, TESTDEV, ALL_CAPS, &m), 0);
		enable(&c, &m);
	}
	close(none);
}

/* Nothing but replies comes on the twin. */
static void test_twin_command(void **state)
{
	assert_int_equal(map_call(&c, IOVA, MEM, 0, -1, &m), 0);
	start(TD_LOAD, IOVA, 100);
	(void)asked(c.twin, USER_DMA_READ);
	send_message(c.twin, 1, USER_RESET, 0, NULL, 0, NULL, 0);
	while (receive_message(c.fd, &m))
		continue;
	client_close(&c);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define TWIN(name)                                                                                 \
	{                                                                                          \
#name " (twin)", name, setup_twin, teardown, NULL                                  \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_map),
		TEST(test_unmap),
		TEST(test_file),
		TEST(test_stray_fds),
		TEST(test_messages),
		TWIN(test_messages),
		cmocka_unit_test_setup_teardown(test_pieces, setup_small, teardown),
		TEST(test_bad_answers),
		TWIN(test_bad_answers),
		TEST(test_late),
		TWIN(test_late),
		TEST(test_other_thread),
		TWIN(test_other_thread),
		TEST(test_never),
		TWIN(test_never),
		TEST(test_hang_up),
		TWIN(test_hang_up),
		TEST(test_door_goes),
		TWIN(test_door_goes),
		TEST(test_commands_meanwhile),
		TEST(test_flood),
		TWIN(test_twin_command),
	};

	guard_init();
	sigaction(SIGBUS, NULL, &guard_action);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
