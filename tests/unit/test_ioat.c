/* SPDX-License-Identifier: BSD-3-Clause */
/* ioat: chains, errors, commands, interrupts and resets, as a driver meets them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>

#include "device/device.h"
#include "device/ioat/ioat.h"
#include "fds.h"

#define GENERAL 0x00
#define ATTNSTATUS 0x04
#define CHANCTRL 0x80
#define CHANCMD 0x84
#define DMACOUNT 0x86
#define CHANSTS 0x88
#define CHAINADDR 0x90
#define CHANCMP 0x98
#define CHANERR 0xa8

#define IOVA 0x180000000ull
#define MEMORY_SIZE MIB(4)
#define STATUS_AT 0x800 /* where completions are written */
#define RING_AT 0x1000
#define DATA_AT 0x10000
#define PATIENCE_NS (20ull * 1000000000ull)

struct rig {
	struct pcim *m;
	struct pcif *f;
	struct iommu_space *space;
	struct iommu_mem *mem;
	uint8_t *memory;
	_Atomic unsigned messages, edges, faults;
	uint16_t count;
	unsigned fds;
};

#define eventually(condition)                                                                      \
	do {                                                                                       \
		uint64_t end_ = time_mono_ns() + PATIENCE_NS;                                      \
                                                                                                   \
		while (!(condition)) {                                                             \
			assert_true(time_mono_ns() < end_);                                        \
			sched_yield();                                                             \
		}                                                                                  \
	} while (0)

static void on_fault(void *data, const struct iommu_fault *fault)
{
	((struct rig *)data)->faults++;
}

static void on_message(void *data, unsigned vector)
{
	((struct rig *)data)->messages++;
}

static void on_intx(void *data)
{
	((struct rig *)data)->edges++;
}

static void rig_make(struct rig *r, const char *mmio)
{
	struct pci_bdf bdf = { 0, 0x65, 0, 0 };
	struct pcif_reply_error err;
	struct pcif_params *params;
	int memfd;

	memset(r, 0, sizeof(*r));
	r->fds = open_fds();
	assert_int_equal(pcim_new(&r->m), 0);
	pcim_set_fault_cb(r->m, on_fault, r);
	assert_int_equal(pcim_params_new(&params), 0);
	if (mmio)
		assert_int_equal(pcim_params_set(params, "mmio", mmio), 0);
	assert_int_equal(pcim_add(r->m, bdf, &device_ioat, params, &err), 0);
	pcim_params_free(params);
	assert_int_equal(pcim_enumerate(r->m), 0);
	r->f = pcim_find(r->m, bdf);
	assert_non_null(r->f);
	pcif_config_write(r->f, 4, 2, 6);
	/* A mapping of the device's and one of ours, as with a client that shares its memory. */
	memfd = memfd_create("memory", MFD_CLOEXEC);
	assert_int_equal(ftruncate(memfd, MEMORY_SIZE), 0);
	r->memory = mmap(NULL, MEMORY_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
	assert_true(r->memory != MAP_FAILED);
	assert_int_equal(iommu_mem_file(memfd, &r->mem), 0);
	close(memfd);
	assert_int_equal(iommu_space_new(&r->space), 0);
	assert_int_equal(
		iommu_space_map(r->space, IOVA, MEMORY_SIZE, IOMMU_READ | IOMMU_WRITE, r->mem, 0),
		0);
	iommu_port_attach(pcif_iommu_port(r->f), r->space);
}

static void rig_end(struct rig *r)
{
	iommu_port_attach(pcif_iommu_port(r->f), NULL);
	iommu_space_put(r->space);
	iommu_mem_put(r->mem);
	pcim_free(r->m);
	munmap(r->memory, MEMORY_SIZE);
	assert_int_equal(open_fds(), r->fds);
}

static uint64_t rd(struct rig *r, uint64_t offset, unsigned size)
{
	uint64_t value = 0;

	assert_int_equal(pcif_bar_read(r->f, 0, offset, &value, size, false), 0);
	return value;
}

static void wr(struct rig *r, uint64_t offset, unsigned size, uint64_t value)
{
	assert_int_equal(pcif_bar_write(r->f, 0, offset, &value, size, false), 0);
}

static unsigned state_of(struct rig *r)
{
	return rd(r, CHANSTS, 8) & 7;
}

static uint64_t status_written(struct rig *r)
{
	return __atomic_load_n((uint64_t *)(void *)(r->memory + STATUS_AT), __ATOMIC_ACQUIRE);
}

/* Descriptor @i of a ring of 16. */
static struct ioat_desc *desc(struct rig *r, unsigned i)
{
	return (struct ioat_desc *)(void *)(r->memory + RING_AT) + i % 16;
}

static void put(struct rig *r, unsigned i, uint32_t control, uint64_t source, uint64_t destination,
		uint32_t size)
{
	*desc(r, i) = (struct ioat_desc){
		.size = le32_make(size),
		.control = le32_make(control),
		.source = le64_make(source),
		.destination = le64_make(destination),
		.next = le64_make(IOVA + RING_AT + (i + 1) % 16 * sizeof(struct ioat_desc)),
	};
}

static uint64_t desc_iova(unsigned i)
{
	return IOVA + RING_AT + i % 16 * sizeof(struct ioat_desc);
}

static void start(struct rig *r)
{
	memset(r->memory + STATUS_AT, 0, sizeof(uint64_t));
	wr(r, CHANCTRL, 2, IOAT_CTRL_INT_REARM | IOAT_CTRL_ERR_COMPLETION | IOAT_CTRL_ERR_INT);
	wr(r, CHANCMP, 8, IOVA + STATUS_AT);
	wr(r, CHAINADDR, 8, IOVA + RING_AT);
	r->count = 0;
}

static void submit(struct rig *r, unsigned n)
{
	r->count += n;
	wr(r, DMACOUNT, 2, r->count);
}

#define OP(op) ((uint32_t)(op) << IOAT_DESC_OP_SHIFT)
#define TELL IOAT_DESC_COMPLETION

/* ------------------------------------------------------------------ tests */

static void copies(void **state)
{
	struct rig r;

	rig_make(&r, *state);
	assert_int_equal(rd(&r, 0, 1), 1);
	assert_int_equal(rd(&r, 8, 1), 0x33);
	for (unsigned i = 0; i < MIB(1); i++)
		r.memory[DATA_AT + i] = (uint8_t)(i * 7 + i / 256);
	start(&r);
	/* Within a piece, over many, and a megabyte: the most. Three times round the ring. */
	for (unsigned i = 0; i < 48; i++) {
		static const uint32_t sizes[] = { 1, 63, 4096, 65536, 65537, 300001, MIB(1) };
		uint32_t size = sizes[i % ARRAY_SIZE(sizes)];

		memset(r.memory + MIB(2), 0, MIB(1) + 8);
		put(&r, i, TELL, IOVA + DATA_AT, IOVA + MIB(2), size);
		submit(&r, 1);
		eventually(status_written(&r) == (desc_iova(i) | IOAT_IDLE));
		assert_memory_equal(r.memory + MIB(2), r.memory + DATA_AT, size);
		assert_int_equal(r.memory[MIB(2) + size], 0);
	}
	assert_int_equal(state_of(&r), IOAT_IDLE);
	assert_int_equal(rd(&r, CHANERR, 4), 0);
	rig_end(&r);
}

static void chains(void **state)
{
	struct rig r;
	uint8_t want[100];

	rig_make(&r, *state);
	start(&r);
	put(&r, 0, OP(IOAT_OP_FILL), 0x8877665544332211ull, IOVA + DATA_AT, 100);
	put(&r, 1, 0, IOVA + DATA_AT, IOVA + DATA_AT + 200, 100);
	put(&r, 2, IOAT_DESC_NULL, 0, 0, 8);
	put(&r, 3, TELL, IOVA + DATA_AT + 200, IOVA + DATA_AT + 400, 100);
	submit(&r, 4);
	eventually(status_written(&r) == (desc_iova(3) | IOAT_IDLE));
	for (unsigned i = 0; i < sizeof(want); i++)
		want[i] = (uint8_t)(0x11 * (i % 8 + 1));
	assert_memory_equal(r.memory + DATA_AT + 400, want, sizeof(want));
	/* A longer fill goes on with its pattern where a piece ends. */
	put(&r, 4, TELL | OP(IOAT_OP_FILL), 0x0102030405060708ull, IOVA + MIB(1), 200003);
	submit(&r, 1);
	eventually(status_written(&r) == (desc_iova(4) | IOAT_IDLE));
	for (unsigned i = 0; i < 200003; i++)
		assert_int_equal(r.memory[MIB(1) + i], 8 - i % 8);
	rig_end(&r);
}

static void errors(void **state)
{
	static const struct {
		uint32_t control;
		uint64_t source, destination;
		uint32_t size, error;
		unsigned faults;
	} cases[] = {
		{ 0, 0x1000, IOVA + DATA_AT, 64, IOAT_ERR_READ_DATA, 1 },
		{ 0, IOVA + DATA_AT, 0x1000, 64, IOAT_ERR_WRITE_DATA, 1 },
		{ 0, IOVA + MEMORY_SIZE - 64, IOVA + DATA_AT, 65, IOAT_ERR_READ_DATA, 1 },
		{ OP(IOAT_OP_FILL), 1, ~0ull - 7, 64, IOAT_ERR_WRITE_DATA, 1 },
		{ 0, IOVA, IOVA + DATA_AT, 0, IOAT_ERR_LENGTH, 0 },
		{ 0, IOVA, IOVA + DATA_AT, MIB(1) + 1, IOAT_ERR_LENGTH, 0 },
		{ OP(0x87), IOVA, IOVA + DATA_AT, 64, IOAT_ERR_CONTROL, 0 },
	};
	struct rig r;

	rig_make(&r, *state);
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		start(&r);
		r.faults = 0;
		put(&r, 0, TELL, IOVA + DATA_AT, IOVA + DATA_AT + 64, 64);
		put(&r, 1, cases[i].control, cases[i].source, cases[i].destination, cases[i].size);
		put(&r, 2, TELL, IOVA + DATA_AT, IOVA + DATA_AT + 64, 64);
		submit(&r, 3);
		eventually(status_written(&r) == (desc_iova(0) | IOAT_HALTED));
		assert_int_equal(state_of(&r), IOAT_HALTED);
		assert_int_equal(rd(&r, CHANERR, 4), cases[i].error);
		assert_int_equal(r.faults, cases[i].faults);
		/* Nothing goes on; errors are cleared by writing them; a reset brings it back. */
		submit(&r, 1);
		wr(&r, CHANERR, 4, rd(&r, CHANERR, 4));
		assert_int_equal(rd(&r, CHANERR, 4), 0);
		assert_int_equal(state_of(&r), IOAT_HALTED);
		wr(&r, CHANCMD, 1, IOAT_CMD_RESET);
		eventually(!(rd(&r, CHANCMD, 1) & IOAT_CMD_RESET));
		assert_int_equal(rd(&r, CHANSTS, 8), IOAT_ARMED);
	}
	/* A chain that is not there, one askew, and a link askew. */
	start(&r);
	wr(&r, CHAINADDR, 8, 0x1000);
	submit(&r, 1);
	eventually(rd(&r, CHANERR, 4) == IOAT_ERR_NEXT_ADDR);
	wr(&r, CHANCMD, 1, IOAT_CMD_RESET);
	eventually(state_of(&r) == IOAT_ARMED);
	start(&r);
	wr(&r, CHAINADDR, 8, IOVA + RING_AT + 8);
	submit(&r, 1);
	eventually(rd(&r, CHANERR, 4) == IOAT_ERR_CHAIN_ADDR);
	wr(&r, CHANCMD, 1, IOAT_CMD_RESET);
	eventually(state_of(&r) == IOAT_ARMED);
	start(&r);
	put(&r, 0, TELL, IOVA + DATA_AT, IOVA + DATA_AT + 64, 64);
	desc(&r, 0)->next = le64_make(IOVA + RING_AT + 1);
	submit(&r, 1);
	eventually(rd(&r, CHANERR, 4) == IOAT_ERR_NEXT_ALIGN);
	/* Completions that go nowhere. */
	wr(&r, CHANCMD, 1, IOAT_CMD_RESET);
	eventually(state_of(&r) == IOAT_ARMED);
	start(&r);
	wr(&r, CHANCMP, 8, 0x2000);
	put(&r, 0, TELL, IOVA + DATA_AT, IOVA + DATA_AT + 64, 64);
	submit(&r, 1);
	eventually(rd(&r, CHANERR, 4) == IOAT_ERR_COMPLETION_ADDR);
	assert_int_equal(state_of(&r), IOAT_HALTED);
	rig_end(&r);
}

static void commands(void **state)
{
	struct rig r;

	rig_make(&r, *state);
	start(&r);
	put(&r, 0, TELL, IOVA + DATA_AT, IOVA + DATA_AT + 64, 64);
	submit(&r, 1);
	eventually(status_written(&r) == (desc_iova(0) | IOAT_IDLE));
	/* Suspended: a chain that is begun anew starts, with the same address and count too. */
	wr(&r, CHANCMD, 1, IOAT_CMD_SUSPEND);
	eventually(state_of(&r) == IOAT_SUSPENDED);
	r.memory[DATA_AT] = 77;
	start(&r);
	submit(&r, 1);
	eventually(r.memory[DATA_AT + 64] == 77);
	eventually(state_of(&r) == IOAT_IDLE);
	/* Resumed: it goes on where it was. */
	wr(&r, CHANCMD, 1, IOAT_CMD_SUSPEND);
	eventually(state_of(&r) == IOAT_SUSPENDED);
	wr(&r, CHANCMD, 1, IOAT_CMD_RESUME);
	eventually(state_of(&r) == IOAT_IDLE);
	put(&r, 1, TELL, IOVA + DATA_AT, IOVA + DATA_AT + 128, 64);
	submit(&r, 1);
	eventually(status_written(&r) == (desc_iova(1) | IOAT_IDLE));
	assert_int_equal(r.memory[DATA_AT + 128], 77);
	wr(&r, CHANCMD, 1, IOAT_CMD_ABORT);
	eventually(state_of(&r) == IOAT_HALTED);
	rig_end(&r);
}

static void interrupts(void **state)
{
	struct rig r;
	struct pcif_irq_sink sink = { on_message, on_intx, &r };

	rig_make(&r, NULL);
	pcif_irq_connect(r.f, PCIF_IRQ_MSIX, 1, &sink);
	wr(&r, 3, 1, (IOAT_INTR_MASTER | IOAT_INTR_MSIX) >> 24);
	start(&r);
	for (unsigned i = 0; i < 3; i++)
		put(&r, i, IOAT_DESC_INT | TELL, IOVA + DATA_AT, IOVA + DATA_AT + 64, 64);
	submit(&r, 2);
	eventually(status_written(&r) == (desc_iova(1) | IOAT_IDLE));
	/* One, until it is armed again: then the one that was kept. */
	eventually(r.messages == 1);
	assert_int_equal(rd(&r, CHANCTRL, 2) & 1, 0);
	wr(&r, CHANCTRL, 2, IOAT_CTRL_INT_REARM);
	eventually(r.messages == 2);
	pcif_irq_connect(r.f, PCIF_IRQ_NONE, 0, NULL);

	/* The pin: up until INTRCTRL is read, which says so. */
	pcif_irq_connect(r.f, PCIF_IRQ_INTX, 1, &sink);
	(void)rd(&r, ATTNSTATUS, 4);
	wr(&r, 3, 1, IOAT_INTR_MASTER >> 24);
	wr(&r, CHANCTRL, 2, 0);
	wr(&r, CHANCTRL, 2, IOAT_CTRL_INT_REARM);
	submit(&r, 1);
	eventually(r.edges == 1);
	assert_true(pcif_intx_level(r.f));
	assert_int_equal(rd(&r, GENERAL, 4) >> 24, 7);
	assert_false(pcif_intx_level(r.f));
	assert_int_equal(rd(&r, ATTNSTATUS, 4), 1);
	assert_int_equal(rd(&r, ATTNSTATUS, 4), 0);
	pcif_irq_connect(r.f, PCIF_IRQ_NONE, 0, NULL);
	rig_end(&r);
}

/* Resets while it copies: it comes back as new, and nothing moves any more. */
static void resets(void **state)
{
	struct rig r;

	rig_make(&r, NULL);
	for (unsigned n = 0; n < 50; n++) {
		start(&r);
		for (unsigned i = 0; i < 16; i++)
			put(&r, i, 0, IOVA + MIB(1), IOVA + MIB(2), MIB(1));
		submit(&r, 1000);
		if (n % 2)
			sched_yield();
		pcif_reset(r.f);
		pcif_config_write(r.f, 4, 2, 6);
		assert_int_equal(rd(&r, CHANSTS, 8), IOAT_IDLE);
		assert_int_equal(rd(&r, DMACOUNT, 2), 0);
		assert_int_equal(rd(&r, CHAINADDR, 8), 0);
		r.memory[MIB(1)] = (uint8_t)(n + 1);
		r.memory[MIB(2)] = 0xaa;
	}
	assert_int_equal(r.memory[MIB(2)], 0xaa);
	rig_end(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(copies),   cmocka_unit_test(chains),	  cmocka_unit_test(errors),
		cmocka_unit_test(commands), cmocka_unit_test(interrupts), cmocka_unit_test(resets),
	};

	return guard_init() ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
