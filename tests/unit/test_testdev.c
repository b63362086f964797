/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * testdev against docs/testdev.md: what the page says about each register is what a bus sees.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <time.h>

#include "device/device.h"
#include "fds.h"

#define ID 0x00
#define SCRATCH 0x08
#define STATUS 0x0c
#define ACCESSES 0x10
#define RESETS 0x14
#define MASKED 0x1c
#define DMA_ADDR_LO 0x20
#define DMA_ADDR_HI 0x24
#define DMA_LEN 0x28
#define DMA_CMD 0x2c
#define DMA_STATUS 0x30
#define DMA_COUNT 0x34
#define DMA_SUM 0x38
#define DMA_SEED 0x3c
#define IRQ_RAISE 0x40
#define IRQ_LEVEL 0x44
#define MAILBOX 0x48
#define MAIL_LAST 0x4c
#define MAIL_COUNT 0x50
#define ARRAY 0x80

#define IOVA 0x180000000ull
#define MEMORY_SIZE KIB(128)
#define PATIENCE_NS (20ull * 1000000000ull)

struct rig {
	struct pcim *m;
	struct pcif *f;
	struct iommu_space *space;
	struct iommu_mem *mem;
	uint8_t *memory;
	_Atomic unsigned messages[64];
	_Atomic unsigned edges, faults;
	unsigned fds;
};

static void on_fault(void *data, const struct iommu_fault *fault)
{
	struct rig *r = data;

	r->faults++;
}

static void on_message(void *data, unsigned vector)
{
	struct rig *r = data;

	r->messages[vector]++;
}

static void on_intx(void *data)
{
	struct rig *r = data;

	r->edges++;
}

static int add(struct pcim *m, const char *key, const char *value, struct pcif_reply_error *err)
{
	struct pci_bdf bdf = { 0, 0x65, 0, 0 };
	struct pcif_params *params;
	int ret;

	assert_int_equal(pcim_params_new(&params), 0);
	if (key)
		assert_int_equal(pcim_params_set(params, key, value), 0);
	ret = pcim_add(m, bdf, device_find("testdev"), params, err);
	pcim_params_free(params);
	return ret;
}

static void rig_make(struct rig *r, const char *key, const char *value)
{
	struct pci_bdf bdf = { 0, 0x65, 0, 0 };
	struct pcif_reply_error err;

	memset(r, 0, sizeof(*r));
	r->fds = open_fds();
	assert_int_equal(pcim_new(&r->m), 0);
	pcim_set_fault_cb(r->m, on_fault, r);
	assert_int_equal(add(r->m, key, value, &err), 0);
	assert_int_equal(pcim_enumerate(r->m), 0);
	r->f = pcim_find(r->m, bdf);
	assert_non_null(r->f);
	/* Memory and I/O decode, bus master. */
	pcif_config_write(r->f, 4, 2, 7);

	assert_int_equal(posix_memalign((void **)&r->memory, UVF_PAGE_SIZE, MEMORY_SIZE), 0);
	memset(r->memory, 0xee, MEMORY_SIZE);
	assert_int_equal(iommu_mem_buffer(r->memory, MEMORY_SIZE, &r->mem), 0);
	assert_int_equal(iommu_space_new(&r->space), 0);
	assert_int_equal(iommu_space_map(r->space, IOVA, MEMORY_SIZE, IOMMU_READ | IOMMU_WRITE,
					 r->mem, (uintptr_t)r->memory),
			 0);
	iommu_port_attach(pcif_iommu_port(r->f), r->space);
}

static void rig_end(struct rig *r)
{
	iommu_port_attach(pcif_iommu_port(r->f), NULL);
	iommu_space_put(r->space);
	iommu_mem_put(r->mem);
	pcim_free(r->m);
	free(r->memory);
	assert_int_equal(open_fds(), r->fds);
}

static uint32_t rd(struct rig *r, unsigned bar, uint64_t offset)
{
	uint32_t value;

	assert_int_equal(pcif_bar_read(r->f, bar, offset, &value, 4, false), 0);
	return value;
}

static void wr(struct rig *r, unsigned bar, uint64_t offset, uint32_t value)
{
	assert_int_equal(pcif_bar_write(r->f, bar, offset, &value, 4, false), 0);
}

static void dma_setup(struct rig *r, unsigned bar, uint64_t iova, uint32_t len)
{
	wr(r, bar, DMA_ADDR_LO, (uint32_t)iova);
	wr(r, bar, DMA_ADDR_HI, (uint32_t)(iova >> 32));
	wr(r, bar, DMA_LEN, len);
}

static uint32_t fnv(const uint8_t *data, size_t size)
{
	uint32_t sum = 0x811c9dc5u;

	for (size_t i = 0; i < size; i++)
		sum = (sum ^ data[i]) * 0x01000193u;
	return sum;
}

/* What a thread of the device will do some time; fails after a time that only a hang takes. */
#define eventually(condition)                                                                      \
	do {                                                                                       \
		uint64_t end_ = time_mono_ns() + PATIENCE_NS;                                      \
                                                                                                   \
		while (!(condition)) {                                                             \
			assert_true(time_mono_ns() < end_);                                        \
			sched_yield();                                                             \
		}                                                                                  \
	} while (0)

/* ------------------------------------------------------------------ tests */

static void test_registers(void **state)
{
	struct rig r;

	rig_make(&r, NULL, NULL);
	for (unsigned bar = 0; bar < 2; bar++) {
		assert_int_equal(rd(&r, bar, ID), 0x75766601);
		wr(&r, bar, ID, 5);
		assert_int_equal(rd(&r, bar, ID), 0x75766601);
		wr(&r, bar, SCRATCH, 0xcafe0000 + bar);
		assert_int_equal(rd(&r, bar, MASKED), 0x12345678);
		wr(&r, bar, MASKED, 0xffffffff);
		assert_int_equal(rd(&r, bar, MASKED), 0x12ff56ff);
		/* An invalid command, one that works, one that faults; a command reads 0. */
		wr(&r, bar, DMA_CMD, 1);
		assert_int_equal(rd(&r, bar, STATUS), 4);
		dma_setup(&r, bar, IOVA, 16);
		wr(&r, bar, DMA_CMD, 1);
		dma_setup(&r, bar, 0, 16);
		wr(&r, bar, DMA_CMD, 1);
		assert_int_equal(rd(&r, bar, DMA_CMD), 0);
		assert_int_equal(rd(&r, bar, STATUS), 7);
		wr(&r, bar, STATUS, 5);
		assert_int_equal(rd(&r, bar, STATUS), 2);
		/* The same letter twice is two letters. */
		wr(&r, bar, MAILBOX, 9);
		wr(&r, bar, MAILBOX, 9);
		assert_int_equal(rd(&r, bar, MAIL_LAST), 9);
		assert_int_equal(rd(&r, bar, MAIL_COUNT), 2);
		for (unsigned i = 0; i < 8; i++)
			wr(&r, bar, ARRAY + 8 * i, i + 1);
		for (unsigned i = 0; i < 8; i++) {
			assert_int_equal(rd(&r, bar, ARRAY + 8 * i), i + 1);
			assert_int_equal(rd(&r, bar, ARRAY + 8 * i + 4), 0);
		}
		assert_int_equal(rd(&r, bar, 0xffc), 0);
	}
	assert_int_equal(rd(&r, 0, SCRATCH), 0xcafe0000);
	assert_int_equal(rd(&r, 1, SCRATCH), 0xcafe0001);
	rig_end(&r);
}

static void test_accesses(void **state)
{
	uint32_t before;
	struct rig r;

	rig_make(&r, NULL, NULL);
	before = rd(&r, 0, ACCESSES);
	wr(&r, 0, SCRATCH, 1);
	assert_int_equal(rd(&r, 0, ACCESSES), before + 2);
	/* The other block's do not count. */
	wr(&r, 1, SCRATCH, 1);
	assert_int_equal(rd(&r, 0, ACCESSES), before + 3);
	rig_end(&r);
}

static void test_bars(void **state)
{
	uint8_t bytes[16], io[32];
	uint64_t value = 0x1122334455667788ull, back;
	struct rig r;

	rig_make(&r, NULL, NULL);
	/* BAR 4, page 0 shows how an access is cut: 1 + 2 + 4 + 8 + 1. */
	assert_int_equal(pcif_bar_read(r.f, 4, 1, bytes, 16, false), 0);
	assert_memory_equal(bytes, "\1\2\2\4\4\4\4\10\10\10\10\10\10\10\10\1", 16);
	/* Memory: BAR 2, and pages 1 and 3 of BAR 4. */
	assert_int_equal(pcif_bar_write(r.f, 2, KIB(64) - 8, &value, 8, false), 0);
	assert_int_equal(pcif_bar_read(r.f, 2, KIB(64) - 8, &back, 8, false), 0);
	assert_int_equal(back, value);
	assert_int_equal(pcif_bar_write(r.f, 4, 0x3ff8, &value, 8, false), 0);
	assert_int_equal(pcif_bar_policy(r.f, 4, 0x3000), PCIF_PAGE_RAM);
	assert_int_equal(pcif_bar_policy(r.f, 4, 0x2000), PCIF_PAGE_TRAP);
	assert_int_equal(pcif_bar_policy(r.f, 1, 0), PCIF_PAGE_SHARED);
	for (unsigned i = 0; i < sizeof(io); i++)
		assert_int_equal(pcif_bar_write(r.f, 5, i, &i, 1, false), 0);
	assert_int_equal(pcif_bar_read(r.f, 5, 0, io, sizeof(io), false), 0);
	for (unsigned i = 0; i < sizeof(io); i++)
		assert_int_equal(io[i], i);

	pcif_reset(r.f);
	pcif_config_write(r.f, 4, 2, 7);
	assert_int_equal(pcif_bar_read(r.f, 2, KIB(64) - 8, &back, 8, false), 0);
	assert_int_equal(back, 0);
	assert_int_equal(pcif_bar_read(r.f, 4, 0x3ff8, &back, 8, false), 0);
	assert_int_equal(back, 0);
	assert_int_equal(rd(&r, 5, 4), 0);
	rig_end(&r);
}

static void test_dma(void **state)
{
	struct rig r;

	rig_make(&r, NULL, NULL);
	/* Odd address and length. */
	dma_setup(&r, 0, IOVA + 0x1003, 0x1234);
	wr(&r, 0, DMA_SEED, 7);
	wr(&r, 0, DMA_CMD, 1);
	assert_int_equal(rd(&r, 0, DMA_STATUS), 1);
	assert_int_equal(rd(&r, 0, DMA_COUNT), 0x1234);
	assert_int_equal(rd(&r, 0, STATUS), 1);
	assert_int_equal(r.memory[0x1002], 0xee);
	assert_int_equal(r.memory[0x1003 + 0x1234], 0xee);
	for (unsigned i = 0; i < 0x1234; i++)
		assert_int_equal(r.memory[0x1003 + i], (uint8_t)(7 + i + i / 256));
	wr(&r, 0, DMA_CMD, 2);
	assert_int_equal(rd(&r, 0, DMA_STATUS), 1);
	assert_int_equal(rd(&r, 0, DMA_SUM), fnv(r.memory + 0x1003, 0x1234));
	/* The buffer goes somewhere else. */
	dma_setup(&r, 0, IOVA + 0x8000, 0x1234);
	wr(&r, 0, DMA_CMD, 4);
	assert_memory_equal(r.memory + 0x8000, r.memory + 0x1003, 0x1234);
	assert_int_equal(r.faults, 0);
	rig_end(&r);
}

static void test_dma_bad(void **state)
{
	static const uint32_t ops[] = { 1, 2, 4 };
	struct rig r;

	rig_make(&r, NULL, NULL);
	for (unsigned i = 0; i < ARRAY_SIZE(ops); i++) {
		/* The last byte is not mapped: none moves. */
		dma_setup(&r, 0, IOVA + MEMORY_SIZE - 15, 16);
		wr(&r, 0, STATUS, 0xffffffff);
		wr(&r, 0, DMA_CMD, ops[i]);
		assert_int_equal(rd(&r, 0, DMA_STATUS), 2);
		assert_int_equal(rd(&r, 0, DMA_COUNT), 0);
		assert_int_equal(rd(&r, 0, STATUS), 2);
		assert_int_equal(r.faults, i + 1);
	}
	assert_int_equal(r.memory[MEMORY_SIZE - 1], 0xee);
	dma_setup(&r, 0, IOVA, 0);
	wr(&r, 0, DMA_CMD, 1);
	assert_int_equal(rd(&r, 0, DMA_STATUS), 4);
	dma_setup(&r, 0, IOVA, 65537);
	wr(&r, 0, DMA_CMD, 1);
	assert_int_equal(rd(&r, 0, DMA_STATUS), 4);
	dma_setup(&r, 0, IOVA, 65536);
	wr(&r, 0, DMA_CMD, 3);
	assert_int_equal(rd(&r, 0, DMA_STATUS), 4);
	wr(&r, 0, DMA_CMD, 1);
	assert_int_equal(rd(&r, 0, DMA_STATUS), 1);
	/* Without bus mastering nothing moves. */
	pcif_config_write(r.f, 4, 2, 3);
	wr(&r, 0, DMA_CMD, 2);
	assert_int_equal(rd(&r, 0, DMA_STATUS), 2);
	rig_end(&r);
}

static void test_messages(void **state)
{
	struct pcif_irq_sink sink = { .message = on_message, .intx = on_intx };
	struct rig r;

	rig_make(&r, NULL, NULL);
	sink.data = &r;
	pcif_irq_connect(r.f, PCIF_IRQ_MSIX, 8, &sink);
	wr(&r, 0, IRQ_RAISE, 0);
	wr(&r, 0, IRQ_RAISE, 0x80000007);
	wr(&r, 0, IRQ_RAISE, 8); /* there is no such vector */
	wr(&r, 0, IRQ_RAISE, 0xffff);
	assert_int_equal(r.messages[0], 1);
	assert_int_equal(r.messages[7], 1);
	dma_setup(&r, 0, IOVA, 64);
	wr(&r, 0, DMA_CMD, 0x30101);
	assert_int_equal(r.messages[3], 1);
	/* A failure interrupts too. */
	dma_setup(&r, 0, 0, 64);
	wr(&r, 0, DMA_CMD, 0x40102);
	assert_int_equal(r.messages[4], 1);
	assert_int_equal(pcif_irq_count(r.f), 4);
	pcif_irq_connect(r.f, PCIF_IRQ_NONE, 0, NULL);
	rig_end(&r);
}

static void test_intx(void **state)
{
	struct pcif_irq_sink sink = { .message = on_message, .intx = on_intx };
	struct rig r;

	rig_make(&r, NULL, NULL);
	sink.data = &r;
	pcif_irq_connect(r.f, PCIF_IRQ_INTX, 1, &sink);
	wr(&r, 0, IRQ_LEVEL, 1);
	assert_int_equal(r.edges, 1);
	assert_true(pcif_intx_level(r.f));
	wr(&r, 0, IRQ_LEVEL, 0);
	assert_false(pcif_intx_level(r.f));
	dma_setup(&r, 0, IOVA, 64);
	wr(&r, 0, DMA_CMD, 0x101);
	assert_int_equal(r.edges, 2);
	assert_int_equal(rd(&r, 0, IRQ_LEVEL), 1);
	pcif_reset(r.f);
	assert_false(pcif_intx_level(r.f));
	pcif_irq_connect(r.f, PCIF_IRQ_NONE, 0, NULL);
	rig_end(&r);
}

/* A client's mapping of BAR 1. */
static void test_mapped(void **state)
{
	struct pcif_irq_sink sink = { .message = on_message, .intx = on_intx };
	uint8_t *image;
	uint32_t value;
	struct rig r;

	rig_make(&r, NULL, NULL);
	sink.data = &r;
	pcif_irq_connect(r.f, PCIF_IRQ_MSIX, 8, &sink);
	pcif_set_shared(r.f, true);
	image = pcif_bar_image(r.f, 1);
	assert_int_equal(pcif_image_load32(image + ID, &value), 0);
	assert_int_equal(value, 0x75766601);
	/* A read-only register is put right. */
	pcif_image_store32(image + ID, 1);
	eventually(!pcif_image_load32(image + ID, &value) && value == 0x75766601);
	/* A whole command, without waiting in between. */
	pcif_image_store32(image + DMA_ADDR_LO, (uint32_t)IOVA);
	pcif_image_store32(image + DMA_ADDR_HI, (uint32_t)(IOVA >> 32));
	pcif_image_store32(image + DMA_LEN, 512);
	pcif_image_store32(image + DMA_SEED, 3);
	pcif_image_store32(image + DMA_CMD, 0x20101);
	eventually(r.messages[2] == 1);
	eventually(!pcif_image_load32(image + DMA_STATUS, &value) && value == 1);
	assert_int_equal(r.memory[0], 3);
	assert_int_equal(r.memory[511], (uint8_t)(3 + 511 + 1));
	assert_int_equal(r.memory[512], 0xee);
	for (unsigned i = 1; i <= 100; i++) {
		pcif_image_store32(image + MAILBOX, i);
		eventually(!pcif_image_load32(image + MAIL_COUNT, &value) && value == i);
	}
	pcif_image_store32(image + IRQ_RAISE, 0x80000000);
	eventually(r.messages[0] == 1);
	pcif_set_shared(r.f, false);
	pcif_irq_connect(r.f, PCIF_IRQ_NONE, 0, NULL);
	rig_end(&r);
}

struct busy {
	struct rig *r;
	_Atomic bool stop;
};

/* A client that wants the same DMA again and again, whatever comes of it. */
static void *busy_client(void *data)
{
	struct busy *b = data;
	const uint32_t fill = 1;

	while (!b->stop) {
		(void)pcif_bar_write(b->r->f, 0, DMA_CMD, &fill, 4, false);
		sched_yield();
	}
	return NULL;
}

/* Once a reset or an unmap has returned, no DMA that was under way moves anything. */
static void test_dma_ends(void **state)
{
	struct rig r;
	struct busy busy = { .r = &r };
	uint64_t removed;
	pthread_t client;

	rig_make(&r, NULL, NULL);
	dma_setup(&r, 0, IOVA, 65536);
	assert_int_equal(pthread_create(&client, NULL, busy_client, &busy), 0);
	eventually(rd(&r, 0, DMA_COUNT) == 65536);
	pcif_reset(r.f);
	memset(r.memory, 0xee, MEMORY_SIZE);
	pcif_config_write(r.f, 4, 2, 7);
	eventually(rd(&r, 0, DMA_STATUS) == 4); /* the length is 0 again */
	assert_int_equal(r.memory[5], 0xee);

	dma_setup(&r, 0, IOVA, 65536);
	eventually(rd(&r, 0, DMA_STATUS) == 1);
	assert_int_equal(iommu_space_unmap(r.space, IOMMU_UNMAP_EXACT, IOVA, MEMORY_SIZE, &removed),
			 0);
	memset(r.memory, 0xee, MEMORY_SIZE);
	eventually(rd(&r, 0, DMA_STATUS) == 2);
	assert_int_equal(r.memory[5], 0xee);
	busy.stop = true;
	pthread_join(client, NULL);
	rig_end(&r);
}

static void test_reset(void **state)
{
	struct rig r;

	rig_make(&r, NULL, NULL);
	assert_int_equal(rd(&r, 0, RESETS), 0);
	for (unsigned i = 1; i < 4; i++) {
		wr(&r, 0, SCRATCH, 1);
		wr(&r, 1, DMA_CMD, 0x80000000);
		dma_setup(&r, 0, IOVA, 64);
		wr(&r, 0, DMA_CMD, 2);
		pcif_reset(r.f);
		pcif_config_write(r.f, 4, 2, 7);
		assert_int_equal(rd(&r, 0, RESETS), i);
		assert_int_equal(rd(&r, 1, RESETS), i);
		assert_int_equal(rd(&r, 0, SCRATCH), 0);
		assert_int_equal(rd(&r, 1, STATUS), 0);
		assert_int_equal(rd(&r, 0, DMA_LEN), 0);
		assert_int_equal(rd(&r, 0, DMA_STATUS), 0);
	}
	/* The buffer was cleared too. */
	dma_setup(&r, 0, IOVA, 64);
	wr(&r, 0, DMA_CMD, 4);
	for (unsigned i = 0; i < 64; i++)
		assert_int_equal(r.memory[i], 0);
	rig_end(&r);
}

static void test_options(void **state)
{
	static const struct {
		const char *key, *value, *text;
	} bad[] = {
		{ "mmio", "fast", "mmio=fast" },
		{ "mmio", "", "mmio=trap or mmio=shared" },
		{ "vectors", "65", "0 to 64" },
		{ "vectors", "-1", "0 to 64" },
		{ "vectors", "8x", "vectors=8x" },
		{ "vectors", "", "0 to 64" },
		{ "vectors", " 8", "0 to 64" },
		{ "id", "8086:10c9", "id=8086:10c9" },
		{ "id", "8086:10c9:02000x", "in hexadecimal" },
		{ "id", "808:610c9:020000", "in hexadecimal" },
		{ "id", "0x86:10c9:020000", "in hexadecimal" },
	};
	struct rig r;

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		struct pcif_reply_error err = { "" };
		struct pcim *m;

		assert_int_equal(pcim_new(&m), 0);
		assert_int_equal(add(m, bad[i].key, bad[i].value, &err), -EINVAL);
		assert_non_null(strstr(err.text, bad[i].text));
		pcim_free(m);
	}
	rig_make(&r, "mmio", "trap");
	assert_int_equal(pcif_bar_policy(r.f, 1, 0), PCIF_PAGE_TRAP);
	wr(&r, 1, SCRATCH, 4);
	assert_int_equal(rd(&r, 1, SCRATCH), 4);
	rig_end(&r);
	rig_make(&r, "vectors", "64");
	assert_int_equal(pcif_desc(r.f)->msix_vectors, 64);
	rig_end(&r);
	rig_make(&r, "id", "8086:10C9:020000");
	assert_int_equal(pcif_config_read(r.f, 0, 4), 0x10c98086);
	assert_int_equal(pcif_config_read(r.f, 8, 4) >> 8, 0x020000);
	rig_end(&r);
	rig_make(&r, "vectors", "0");
	assert_int_equal(pcif_find_cap(r.f, 0x11), 0);
	rig_end(&r);
}

/* A VF is a whole device of its own: blocks, memory, DMA, messages. */
static void test_vfs(void **state)
{
	struct pcif *pf, *vf, *other;
	struct rig r;

	rig_make(&r, "vfs", "256");
	assert_int_not_equal(pcif_find_ext_cap(r.f, 0x0010), 0);
	assert_int_equal(pcim_sriov_enable(r.f, 256), 0);
	vf = pcim_vf(r.f, 3);
	other = pcim_vf(r.f, 255);
	assert_int_equal(pcif_desc(vf)->device, 0x5007);
	assert_int_equal(pcif_config_size(vf), 4096);
	pf = r.f;
	iommu_port_attach(pcif_iommu_port(vf), r.space);
	pcif_config_write(vf, 4, 2, 4);
	r.f = vf;
	assert_int_equal(rd(&r, 0, 0), 0x75766601);
	wr(&r, 0, 0x08, 77);
	wr(&r, 2, 0x100, 88);
	wr(&r, 0, 0x20, (uint32_t)IOVA);
	wr(&r, 0, 0x24, (uint32_t)(IOVA >> 32));
	wr(&r, 0, 0x28, 4096);
	wr(&r, 0, 0x3c, 5);
	wr(&r, 0, 0x2c, 1); /* fill */
	assert_int_equal(rd(&r, 0, 0x30), 1);
	assert_int_equal(r.memory[0], 5);
	assert_int_equal(r.memory[1], 6);
	r.f = other;
	assert_int_equal(rd(&r, 0, 0x08), 0);
	assert_int_equal(rd(&r, 2, 0x100), 0);
	/* Attached to nothing. */
	pcif_config_write(other, 4, 2, 4);
	wr(&r, 0, 0x20, (uint32_t)IOVA);
	wr(&r, 0, 0x24, (uint32_t)(IOVA >> 32));
	wr(&r, 0, 0x28, 4096);
	wr(&r, 0, 0x2c, 1);
	assert_int_equal(rd(&r, 0, 0x30), 2);
	r.f = vf;
	pcif_reset(vf);
	assert_int_equal(rd(&r, 0, 0x08), 0);
	assert_int_equal(rd(&r, 2, 0x100), 0);
	assert_int_equal(rd(&r, 0, 0x14), 1);
	r.f = pf;
	pcif_put(vf);
	pcif_put(other);
	rig_end(&r);
	rig_make(&r, "vfs", "0");
	assert_int_equal(pcif_find_ext_cap(r.f, 0x0010), 0);
	rig_end(&r);
}

static void test_config(void **state)
{
	struct rig r;

	rig_make(&r, NULL, NULL);
	assert_int_equal(pcif_config_read(r.f, 0, 4), 0x50001234);
	assert_int_equal(pcif_config_read(r.f, 8, 4), 0xff000001);
	assert_int_equal(pcif_config_read(r.f, 0x3d, 1), 1);
	assert_int_not_equal(pcif_find_cap(r.f, 0x01), 0);
	assert_int_not_equal(pcif_find_cap(r.f, 0x05), 0);
	assert_int_not_equal(pcif_find_cap(r.f, 0x10), 0);
	assert_int_not_equal(pcif_find_cap(r.f, 0x11), 0);
	assert_int_not_equal(pcif_find_ext_cap(r.f, 0x0001), 0);
	assert_int_not_equal(pcif_find_ext_cap(r.f, 0x0003), 0);
	rig_end(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_config),	 cmocka_unit_test(test_registers),
		cmocka_unit_test(test_accesses), cmocka_unit_test(test_bars),
		cmocka_unit_test(test_dma),	 cmocka_unit_test(test_dma_bad),
		cmocka_unit_test(test_messages), cmocka_unit_test(test_intx),
		cmocka_unit_test(test_mapped),	 cmocka_unit_test(test_dma_ends),
		cmocka_unit_test(test_reset),	 cmocka_unit_test(test_options),
		cmocka_unit_test(test_vfs),
	};

	assert_int_equal(guard_init(), 0);
	return cmocka_run_group_tests_name("testdev", tests, NULL, NULL);
}
