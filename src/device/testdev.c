// SPDX-License-Identifier: BSD-3-Clause
/*
 * testdev: a device that does nothing useful and everything that a test wants: registers of every
 * kind, a DMA engine that can be told any address, all kinds of interrupts, and BARs of every sort.
 * docs/testdev.md has the register map, which is stable.
 *
 * It is also the example of a model, so read it as one, from the end: device_testdev is what
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

#include "device/device.h"

#define TESTDEV_ID 0x75766601u /* "uvf", register map version 1 */

enum { BAR_REGS, BAR_MAPPED, BAR_RAM, BAR_MIXED = 4, BAR_IO };
#define DMA_MAX 65536u
#define STATUS_DMA_DONE BIT(0)
#define STATUS_DMA_FAULT BIT(1)
enum { CMD_FILL = 1, CMD_LOAD = 2, CMD_STORE = 4, CMD_OP = 0xff, CMD_IRQ = 0x100 };
enum { DMA_IDLE, DMA_OK, DMA_FAULT, DMA_INVALID = 4 };

/* ------------------------------------------------------------------ state */

struct block {
	struct pcif *f;
	unsigned bar;
	uint8_t buffer[DMA_MAX];
};

struct testdev {
	struct block block[2];
	uint32_t resets;
};

enum reg {
	REG_ID,
	REG_LIVENESS,
	REG_SCRATCH,
	REG_STATUS,
	REG_ACCESSES,
	REG_RESETS,
	REG_STATUS_SET,
	REG_MASKED,
	REG_DMA_ADDR_LO,
	REG_DMA_ADDR_HI,
	REG_DMA_LEN,
	REG_DMA_CMD,
	REG_DMA_STATUS,
	REG_DMA_COUNT,
	REG_DMA_SUM,
	REG_DMA_SEED,
	REG_IRQ_RAISE,
	REG_IRQ_LEVEL,
	REG_MAILBOX,
	REG_MAIL_LAST,
	REG_MAIL_COUNT,
	REG_ARRAY,
};

static uint32_t get(struct block *b, enum reg reg)
{
	return pcif_regs_get(pcif_bar_regs(b->f, b->bar), reg, 0);
}

static void set(struct block *b, enum reg reg, uint32_t value)
{
	pcif_regs_set(pcif_bar_regs(b->f, b->bar), reg, 0, value);
}

/* ------------------------------------------------------------------ DMA and interrupts */

static void fill(struct block *b, uint32_t len, uint32_t seed)
{
	for (uint32_t i = 0; i < len; i++)
		b->buffer[i] = (uint8_t)(seed + i + (i >> 8));
}

/* FNV-1a, 32 bits: short enough to be written again in any test, and it sees the order of bytes. */
static uint32_t sum(const struct block *b, uint32_t len)
{
	uint32_t hash = 0x811c9dc5u;

	for (uint32_t i = 0; i < len; i++)
		hash = (hash ^ b->buffer[i]) * 0x01000193u;
	return hash;
}

static int dma(struct block *b, uint32_t op, uint64_t iova, uint32_t len)
{
	int ret;

	switch (op) {
	case CMD_FILL:
		fill(b, len, get(b, REG_DMA_SEED));
		return pcif_dma_write(b->f, iova, b->buffer, len);
	case CMD_STORE:
		return pcif_dma_write(b->f, iova, b->buffer, len);
	case CMD_LOAD:
		ret = pcif_dma_read(b->f, iova, b->buffer, len);
		if (!ret)
			set(b, REG_DMA_SUM, sum(b, len));
		return ret;
	default:
		return -EINVAL;
	}
}

static void write_dma_cmd(void *state, unsigned index, uint32_t value)
{
	struct block *b = state;
	uint64_t iova = (uint64_t)get(b, REG_DMA_ADDR_HI) << 32 | get(b, REG_DMA_ADDR_LO);
	uint32_t len = get(b, REG_DMA_LEN);
	int ret = len && len <= DMA_MAX ? dma(b, value & CMD_OP, iova, len) : -EINVAL;

	set(b, REG_DMA_COUNT, ret ? 0 : len);
	if (ret != -EINVAL)
		set(b, REG_STATUS, get(b, REG_STATUS) | (ret ? STATUS_DMA_FAULT : STATUS_DMA_DONE));
	/* Last: a client that polls DMA_STATUS finds everything else in place. */
	set(b, REG_DMA_STATUS, ret == -EINVAL ? DMA_INVALID : ret ? DMA_FAULT : DMA_OK);
	if (ret == -EINVAL || !(value & CMD_IRQ))
		return;
	/* A message where these are in use, else the pin; IRQ_LEVEL takes that down. */
	pcif_irq_raise(b->f, value >> 16);
	if (pcif_irq_mode(b->f) == PCIF_IRQ_INTX) {
		set(b, REG_IRQ_LEVEL, 1);
		pcif_intx_set(b->f, true);
	}
}

static void write_irq_raise(void *state, unsigned index, uint32_t value)
{
	struct block *b = state;

	pcif_irq_raise(b->f, value & 0xffff);
}

static void write_irq_level(void *state, unsigned index, uint32_t value)
{
	struct block *b = state;

	pcif_intx_set(b->f, value);
}

/* ------------------------------------------------------------------ other registers */

static void write_status_set(void *state, unsigned index, uint32_t value)
{
	struct block *b = state;

	set(b, REG_STATUS, get(b, REG_STATUS) | value);
}

static void write_mailbox(void *state, unsigned index, uint32_t value)
{
	struct block *b = state;

	set(b, REG_MAIL_LAST, value);
	set(b, REG_MAIL_COUNT, get(b, REG_MAIL_COUNT) + 1);
}

static uint32_t read_liveness(void *state, unsigned index)
{
	return ~get(state, REG_LIVENESS);
}

static uint32_t read_accesses(void *state, unsigned index)
{
	struct block *b = state;

	return pcif_regs_accesses(pcif_bar_regs(b->f, BAR_REGS));
}

#define RW .kind = PCIF_REG_PLAIN, .wmask = 0xffffffffu
#define RO .kind = PCIF_REG_STATUS
#define CMD .kind = PCIF_REG_MAILBOX

static const struct pcif_reg testdev_regs[] = {
	[REG_ID] = { "ID", 0x00, RO, .reset = TESTDEV_ID },
	[REG_LIVENESS] = { "LIVENESS", 0x04, RW, .read = read_liveness },
	[REG_SCRATCH] = { "SCRATCH", 0x08, RW },
	[REG_STATUS] = { "STATUS", 0x0c, PCIF_REG_PLAIN, .w1c = 0xffffffffu },
	[REG_ACCESSES] = { "ACCESSES", 0x10, RO, .read = read_accesses },
	[REG_RESETS] = { "RESETS", 0x14, RO },
	[REG_STATUS_SET] = { "STATUS_SET", 0x18, CMD, .write = write_status_set },
	[REG_MASKED] = { "MASKED", 0x1c, PCIF_REG_PLAIN, .reset = 0x12345678, .wmask = 0xff00ff },
	[REG_DMA_ADDR_LO] = { "DMA_ADDR_LO", 0x20, RW },
	[REG_DMA_ADDR_HI] = { "DMA_ADDR_HI", 0x24, RW },
	[REG_DMA_LEN] = { "DMA_LEN", 0x28, RW },
	[REG_DMA_CMD] = { "DMA_CMD", 0x2c, CMD, .write = write_dma_cmd },
	[REG_DMA_STATUS] = { "DMA_STATUS", 0x30, RO },
	[REG_DMA_COUNT] = { "DMA_COUNT", 0x34, RO },
	[REG_DMA_SUM] = { "DMA_SUM", 0x38, RO },
	[REG_DMA_SEED] = { "DMA_SEED", 0x3c, RW },
	[REG_IRQ_RAISE] = { "IRQ_RAISE", 0x40, CMD, .write = write_irq_raise },
	[REG_IRQ_LEVEL] = { "IRQ_LEVEL", 0x44, PCIF_REG_PLAIN, .wmask = 1,
			    .write = write_irq_level },
	[REG_MAILBOX] = { "MAILBOX", 0x48, CMD, .write = write_mailbox },
	[REG_MAIL_LAST] = { "MAIL_LAST", 0x4c, RO },
	[REG_MAIL_COUNT] = { "MAIL_COUNT", 0x50, RO },
	[REG_ARRAY] = { "ARRAY", 0x80, RW, .count = 8, .stride = 8 },
};

/* The I/O BAR keeps what is written to it. */
static const struct pcif_reg testdev_io_regs[] = { { "IO", 0, RW, .count = 8, .stride = 4 } };

/* Page 0 of BAR 4 tells how it was reached: each byte holds the width of the access. */
static uint64_t testdev_bar_read(void *state, unsigned bar, uint64_t offset, unsigned size)
{
	return 0x0101010101010101ull * size;
}

/* ------------------------------------------------------------------ the function */

static const struct pcif_desc testdev_desc = {
	.vendor = 0x1234,
	.device = 0x5000,
	.subsystem_vendor = 0x1234,
	.subsystem_device = 0x5000,
	.class_code = 0xff0000,
	.revision = 1,
	.bars = {
		[BAR_REGS] = { PCIF_BAR_MEM32, .size = KIB(4),
			       .regs = testdev_regs, .n_regs = ARRAY_SIZE(testdev_regs) },
		[BAR_MAPPED] = { PCIF_BAR_MEM32, .size = KIB(4),
				 .areas = { { 0, KIB(4), PCIF_PAGE_SHARED } }, .n_areas = 1,
				 .regs = testdev_regs, .n_regs = ARRAY_SIZE(testdev_regs) },
		/* 64 bits: takes the place of BAR 3 too. */
		[BAR_RAM] = { PCIF_BAR_MEM64, .prefetchable = true, .size = KIB(64),
			      .areas = { { 0, KIB(64), PCIF_PAGE_RAM } }, .n_areas = 1 },
		/* Page 0 is trapped, 1 and 3 are memory, 2 is MSI-X's. */
		[BAR_MIXED] = { PCIF_BAR_MEM32, .size = KIB(16),
				.areas = { { KIB(4), KIB(4), PCIF_PAGE_RAM },
					   { KIB(12), KIB(4), PCIF_PAGE_RAM } }, .n_areas = 2 },
		[BAR_IO] = { PCIF_BAR_IO, .size = 32,
			     .regs = testdev_io_regs, .n_regs = ARRAY_SIZE(testdev_io_regs) },
	},
	.intx_pin = 1,
	.msi_vectors = 4,
	.msix_vectors = 8,
	.msix_bar = BAR_MIXED,
	.msix_table_offset = 0x2000,
	.msix_pba_offset = 0x2800,
	.pcie = true,
	.pm = true,
	.aer = true,
	.dsn = 0x7576660000005000ull,
};

/* The tables have their reset values already, and pci takes the pin down. */
static void testdev_reset(void *state)
{
	struct testdev *d = state;
	struct pcif *f = d->block[0].f;

	pcif_lock(f);
	for (unsigned i = 0; i < ARRAY_SIZE(d->block); i++) {
		memset(d->block[i].buffer, 0, DMA_MAX);
		set(&d->block[i], REG_RESETS, d->resets);
	}
	d->resets++;
	pcif_bar_clear(f, BAR_RAM);
	pcif_bar_clear(f, BAR_MIXED);
	pcif_unlock(f);
}

static int testdev_create(struct pcif *f, const struct pcif_params *params, struct pcif_desc *desc,
			  void **state, struct pcif_reply_error *err)
{
	static const char *const ways[] = { "trap", "shared", NULL };
	unsigned shared = true;
	struct testdev *d;
	int ret;

	*desc = testdev_desc;
	ret = pcif_param_choice(params, "mmio", ways, &shared, err);
	if (!ret)
		ret = pcif_param_number(params, "vectors", 0, 64, &desc->msix_vectors, err);
	if (ret)
		return ret;
	if (!shared)
		desc->bars[BAR_MAPPED].n_areas = 0;
	d = calloc(1, sizeof(*d));
	if (!d)
		return pcif_error(err, -ENOMEM, "out of memory");
	for (unsigned i = 0; i < ARRAY_SIZE(d->block); i++) {
		d->block[i].f = f;
		d->block[i].bar = i;
		desc->bars[i].regs_state = &d->block[i];
	}
	*state = d;
	return 0;
}

static const struct pcif_option testdev_options[] = {
	{ "mmio",
	  "trap|shared  how BAR 1 is reached: every access trapped, or mappable (default)" },
	{ "vectors", "N  MSI-X vectors, 0 to 64 (default 8)" },
	{ NULL, NULL },
};

const struct pcif_model device_testdev = {
	.name = "testdev",
	.summary = "registers, DMA and interrupts of every kind, for tests (see docs/testdev.md)",
	.options = testdev_options,
	.create = testdev_create,
	.destroy = free,
	.bar_read = testdev_bar_read,
	.reset = testdev_reset,
};
