// SPDX-License-Identifier: BSD-3-Clause
/*
 * testdev: a device that does nothing useful and everything that a test wants: registers of every
 * kind, a DMA engine that can be told any address, all kinds of interrupts, and BARs of every sort.
 * docs/testdev.md has the register map, which is stable.
 *
 * It is also the example of a model (vf.c adds what only one with virtual functions needs), so read
 * it as one, from the end: device_testdev is what
 * others see. create() gives a description (testdev_desc), which is data, and the state. A BAR
 * names its registers as a table (testdev_regs); pci answers accesses from it, resets it, scans it
 * where clients can map it, and calls the functions of the table when a client has written a
 * register. They run one at a time, under the register lock of the function, and may do DMA and
 * raise interrupts. So this file has no thread, no lock, and no code that finds out what an address
 * means.
 *
 * Two blocks of the same registers stand side by side, each with a DMA engine of its own: block 0
 * (BAR 0) traps every access, block 1 (BAR 1) lies in a page that clients may map.
 *
 * Vendor 1234 is assigned to nobody and used by virtual hardware by old habit; 5000 and class ff
 * ("fits no class") keep drivers from binding to it by themselves.
 */
#include <errno.h>

#include "device/testdev/testdev.h"

#define DMA_MAX KIB(64)

/* The registers, by their place in testdev_regs. */
enum { ID, SCRATCH, STATUS, ACCESSES, RESETS, MASKED, MAILBOX, MAIL_LAST, MAIL_COUNT, ARRAY, DMA };
enum { ADDR_LO = DMA, ADDR_HI, LEN, CMD, DMA_STATUS, COUNT, SUM, SEED, IRQ_RAISE, IRQ_LEVEL };
/* Values of CMD; of DMA_STATUS, which STATUS collects. */
enum { CMD_FILL = 1, CMD_LOAD = 2, CMD_STORE = 4, CMD_OP = 0xff, CMD_IRQ = 0x100 };
enum { DMA_IDLE, DMA_OK, DMA_FAULT, DMA_INVALID = 4 };

struct block {
	struct pcif *f;
	unsigned bar;
	uint32_t resets;
	uint8_t *buffer; /* NULL until a DMA needs it */
};

static uint32_t get(struct block *b, unsigned reg)
{
	return pcif_regs_get(pcif_bar_regs(b->f, b->bar), reg, 0);
}

static void set(struct block *b, unsigned reg, uint32_t value)
{
	pcif_regs_set(pcif_bar_regs(b->f, b->bar), reg, 0, value);
}

/* Carries out one command; returns what DMA_STATUS says then. */
static uint32_t dma(struct block *b, unsigned op, uint64_t iova, uint32_t len)
{
	uint32_t seed = get(b, SEED), sum = 0x811c9dc5u;
	int ret;

	if (!len || len > DMA_MAX || (op != CMD_FILL && op != CMD_LOAD && op != CMD_STORE))
		return DMA_INVALID;
	if (!b->buffer)
		b->buffer = calloc(1, DMA_MAX);
	if (!b->buffer)
		return DMA_FAULT;
	if (op == CMD_LOAD) {
		ret = pcif_dma_read(b->f, iova, b->buffer, len);
		/* FNV-1a: sees the order of the bytes, and is soon written again in a test. */
		for (uint32_t i = 0; i < len; i++)
			sum = (sum ^ b->buffer[i]) * 0x01000193u;
		if (!ret)
			set(b, SUM, sum);
	} else {
		for (uint32_t i = 0; op == CMD_FILL && i < len; i++)
			b->buffer[i] = (uint8_t)(seed + i + i / 256);
		ret = pcif_dma_write(b->f, iova, b->buffer, len);
	}
	return ret ? DMA_FAULT : DMA_OK;
}

static void write_cmd(void *state, unsigned index, uint32_t value)
{
	struct block *b = state;
	uint64_t iova = (uint64_t)get(b, ADDR_HI) << 32 | get(b, ADDR_LO);
	uint32_t result = dma(b, value & CMD_OP, iova, get(b, LEN));

	set(b, COUNT, result == DMA_OK ? get(b, LEN) : 0);
	set(b, STATUS, get(b, STATUS) | result);
	/* Last: a client that polls DMA_STATUS finds everything else in place. */
	set(b, DMA_STATUS, result);
	if (result == DMA_INVALID || !(value & CMD_IRQ))
		return;
	/* A message where these are in use, else the pin; IRQ_LEVEL takes that down. */
	pcif_irq_raise(b->f, value >> 16);
	if (pcif_irq_mode(b->f) == PCIF_IRQ_INTX) {
		set(b, IRQ_LEVEL, 1);
		pcif_intx_set(b->f, true);
	}
}

static void write_irq_raise(void *state, unsigned index, uint32_t value)
{
	pcif_irq_raise(((struct block *)state)->f, value & 0xffff);
}

static void write_irq_level(void *state, unsigned index, uint32_t value)
{
	pcif_intx_set(((struct block *)state)->f, value);
}

static void write_mailbox(void *state, unsigned index, uint32_t value)
{
	set(state, MAIL_LAST, value);
	set(state, MAIL_COUNT, get(state, MAIL_COUNT) + 1);
}

static uint32_t read_accesses(void *state, unsigned index)
{
	return pcif_regs_accesses(pcif_bar_regs(((struct block *)state)->f, BAR_REGS));
}

#define RW .kind = PCIF_REG_PLAIN, .wmask = 0xffffffffu
#define RO .kind = PCIF_REG_STATUS
#define COMMAND .kind = PCIF_REG_MAILBOX

static const struct pcif_reg testdev_regs[] = {
	[ID] = { "ID", 0x00, RO, .reset = 0x75766601 }, /* "uvf", register map version 1 */
	[SCRATCH] = { "SCRATCH", 0x08, RW },
	[STATUS] = { "STATUS", 0x0c, PCIF_REG_PLAIN, .w1c = 0xffffffffu },
	[ACCESSES] = { "ACCESSES", 0x10, RO, .read = read_accesses },
	[RESETS] = { "RESETS", 0x14, RO },
	[MASKED] = { "MASKED", 0x1c, PCIF_REG_PLAIN, .reset = 0x12345678, .wmask = 0xff00ff },
	[ADDR_LO] = { "DMA_ADDR_LO", 0x20, RW },
	[ADDR_HI] = { "DMA_ADDR_HI", 0x24, RW },
	[LEN] = { "DMA_LEN", 0x28, RW },
	[CMD] = { "DMA_CMD", 0x2c, COMMAND, .write = write_cmd },
	[DMA_STATUS] = { "DMA_STATUS", 0x30, RO },
	[COUNT] = { "DMA_COUNT", 0x34, RO },
	[SUM] = { "DMA_SUM", 0x38, RO },
	[SEED] = { "DMA_SEED", 0x3c, RW },
	[IRQ_RAISE] = { "IRQ_RAISE", 0x40, COMMAND, .write = write_irq_raise },
	[IRQ_LEVEL] = { "IRQ_LEVEL", 0x44, PCIF_REG_PLAIN, .wmask = 1, .write = write_irq_level },
	[MAILBOX] = { "MAILBOX", 0x48, COMMAND, .write = write_mailbox },
	[MAIL_LAST] = { "MAIL_LAST", 0x4c, RO },
	[MAIL_COUNT] = { "MAIL_COUNT", 0x50, RO },
	[ARRAY] = { "ARRAY", 0x80, RW, .count = 8, .stride = 8 },
};

/* The I/O BAR keeps what is written to it. */
static const struct pcif_reg testdev_io_regs[] = { { "IO", 0, RW, .count = 8, .stride = 4 } };

/* Page 0 of BAR 4 tells how it was reached: each byte holds the width of the access. */
static uint64_t testdev_bar_read(void *state, unsigned bar, uint64_t offset, unsigned size)
{
	return 0x0101010101010101ull * size;
}

#define TABLE(t) .regs = t, .n_regs = ARRAY_SIZE(t)

const struct pcif_desc testdev_desc = {
	.vendor = 0x1234, .device = 0x5000, .subsystem_vendor = 0x1234, .subsystem_device = 0x5000,
	.class_code = 0xff0000, .revision = 1,
	.bars = {
		[BAR_REGS] = { PCIF_BAR_MEM32, .size = KIB(4), TABLE(testdev_regs) },
		[BAR_MAPPED] = { PCIF_BAR_MEM32, .size = KIB(4), TABLE(testdev_regs),
				 .areas = { { 0, KIB(4), PCIF_PAGE_SHARED } }, .n_areas = 1 },
		/* 64 bits: takes the place of BAR 3 too. */
		[BAR_RAM] = { PCIF_BAR_MEM64, .prefetchable = true, .size = KIB(64),
			      .areas = { { 0, KIB(64), PCIF_PAGE_RAM } }, .n_areas = 1 },
		/* Page 0 is trapped, 1 and 3 are memory, 2 is MSI-X's. */
		[BAR_MIXED] = { PCIF_BAR_MEM32, .size = KIB(16), .n_areas = 2,
				.areas = { { KIB(4), KIB(4), PCIF_PAGE_RAM },
					   { KIB(12), KIB(4), PCIF_PAGE_RAM } } },
		[BAR_IO] = { PCIF_BAR_IO, .size = 32, TABLE(testdev_io_regs) },
	},
	.intx_pin = 1, .msi_vectors = 4, .msix_vectors = 8, .msix_bar = BAR_MIXED,
	.msix_table_offset = 0x2000, .msix_pba_offset = 0x2800,
	.pcie = true, .pm = true, .aer = true, .dsn = 0x7576660000005000ull,
};

/* The tables have their reset values already, and pci takes the pin down. */
static void testdev_reset(void *state)
{
	struct block *blocks = state;

	pcif_lock(blocks->f);
	for (struct block *b = blocks; b < blocks + 2; b++) {
		free(b->buffer);
		b->buffer = NULL;
		set(b, RESETS, b->resets++);
	}
	pcif_bar_clear(blocks->f, BAR_RAM);
	pcif_bar_clear(blocks->f, BAR_MIXED);
	pcif_unlock(blocks->f);
}

static void testdev_destroy(void *state)
{
	struct block *blocks = state;

	free(blocks[0].buffer);
	free(blocks[1].buffer);
	free(blocks);
}

int testdev_make_blocks(struct pcif *f, struct pcif_desc *desc, void **state,
			struct pcif_reply_error *err)
{
	struct block *b = calloc(2, sizeof(*b));

	if (!b)
		return pcif_error(err, -ENOMEM, "out of memory");
	for (unsigned bar = BAR_REGS; bar <= BAR_MAPPED; bar++) {
		b[bar].f = f;
		b[bar].bar = bar;
		desc->bars[bar].regs_state = &b[bar];
	}
	*state = b;
	return 0;
}

static int testdev_create(struct pcif *f, const struct pcif_params *params, struct pcif_desc *desc,
			  void **state, struct pcif_reply_error *err)
{
	static const char *const ways[] = { "trap", "shared", NULL };
	unsigned shared = true, vfs = 0;

	*desc = testdev_desc;
	if (pcif_param_choice(params, "mmio", ways, &shared, err) ||
	    pcif_param_number(params, "vectors", 0, 64, &desc->msix_vectors, err) ||
	    pcif_param_number(params, "vfs", 0, 256, &vfs, err) ||
	    testdev_identity(pcif_param(params, "id"), desc, err))
		return -EINVAL;
	desc->bars[BAR_MAPPED].n_areas = shared;
	if (vfs)
		testdev_describe_vfs(desc, vfs, pcif_param(params, "id"));
	return testdev_make_blocks(f, desc, state, err);
}

static const struct pcif_option testdev_options[] = {
	{ "mmio", "trap|shared  whether BAR 1 can be mapped: shared (default), yes" },
	{ "vectors", "N  MSI-X vectors, 0 to 64 (default 8)" },
	{ "vfs", "N  virtual functions that it can have, 0 to 256 (default 0)" },
	{ "id", "VVVV:DDDD:CCCCCC  vendor, device and class (default 1234:5000:ff0000)" },
	{ NULL, NULL },
};

const struct pcif_model device_testdev = {
	.name = "testdev",
	.summary = "registers, DMA and interrupts of every kind, for tests (see docs/testdev.md)",
	.options = testdev_options,
	.create = testdev_create,
	.create_vf = testdev_create_vf,
	.destroy = testdev_destroy,
	.bar_read = testdev_bar_read,
	.reset = testdev_reset,
};
