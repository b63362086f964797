// SPDX-License-Identifier: BSD-3-Clause
/*
 * testdev: a device that does nothing useful and everything that a test wants: registers of every
 * kind, a DMA engine that can be told any address, all kinds of interrupts, and BARs of every sort.
 *
 * It is also the example of a model, so read it as one. A model is a struct pcif_model: create()
 * describes the function as data, bar_read() and bar_write() get trapped accesses, reset() brings
 * everything back to power-on, shared() says that a client can store into mapped pages behind our
 * back. Registers are a table; pci runs it. docs/testdev.md has the register map, which is stable.
 *
 * Two blocks of the same registers stand side by side, each with a DMA engine of its own: block 0
 * (BAR 0) traps every access, block 1 (BAR 1) lies in a page that clients may map. A mapped store
 * cannot be trapped, so a worker thread scans block 1 while clients can reach it. The same thread
 * runs DMA streams. Any other DMA runs on the thread of the client that asked for it.
 *
 * Locks: the register lock of the function (pcif_lock) guards everything in struct testdev. A
 * stream moves its bytes without it, under @moving, so that reset() can wait for the move in
 * flight; @moving is taken before the register lock, never after.
 *
 * Vendor 1234 is assigned to nobody and used by virtual hardware by old habit; 5000 and class ff
 * ("fits no class") keep drivers from binding to it by themselves.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <time.h>

#include "device/device.h"

#define TESTDEV_ID 0x75766601u /* "uvf", register map version 1 */

enum { BAR_REGS = 0, BAR_MAPPED = 1, BAR_RAM = 2, BAR_MIXED = 4, BAR_IO = 5 };
#define RAM_SIZE KIB(64)
#define MIXED_SIZE KIB(16)
#define MIXED_RAM0 0x1000 /* page 0 of BAR 4 is trapped, 1 and 3 are memory, 2 is MSI-X's */
#define MIXED_MSIX 0x2000
#define MIXED_PBA 0x2800
#define MIXED_RAM1 0x3000
#define IO_SIZE 32
#define DMA_MAX 65536u
#define VECTORS_MAX 64u

/* STATUS */
#define STATUS_DMA_DONE BIT(0)
#define STATUS_DMA_FAULT BIT(1)
/* DMA_CMD */
#define CMD_OP 0xffu
#define CMD_FILL 0x01u
#define CMD_LOAD 0x02u
#define CMD_STORE 0x04u
#define CMD_STREAM 0x08u
#define CMD_STOP 0x10u
#define CMD_IRQ 0x100u
/* DMA_STATUS */
enum { DMA_IDLE, DMA_OK, DMA_FAULT, DMA_BUSY, DMA_INVALID };

struct testdev;
struct block {
	struct testdev *dev;
	struct pcif_regs *regs;
	uint32_t vector;	/* of the stream's interrupts; CMD_IRQ if it wants any */
	uint32_t last, letters; /* MAILBOX: what came last, and how many */
	uint8_t buffer[DMA_MAX];
};

struct testdev {
	struct pcif *f;
	struct block block[2];
	uint32_t accesses; /* trapped, block 0 */
	uint32_t resets;
	uint8_t io[IO_SIZE];

	struct block *stream; /* whose stream runs, or NULL */
	bool shared, quit;
	pthread_mutex_t moving;		/* a step of the stream is on its way */
	uint8_t stream_buffer[DMA_MAX]; /* under @moving */
	sem_t wake;
	pthread_t worker;
	bool has_worker;
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
	NUM_REGS,
};
static const struct pcif_reg testdev_table[NUM_REGS];

/* ------------------------------------------------------------------ interrupts */

/* Messages where they are in use, else the pin; the client takes that down by IRQ_LEVEL. */
static void testdev_interrupt(struct block *b, unsigned vector)
{
	struct pcif *f = b->dev->f;

	pcif_irq_raise(f, vector);
	if (pcif_irq_mode(f) == PCIF_IRQ_INTX) {
		pcif_regs_set(b->regs, REG_IRQ_LEVEL, 0, 1);
		pcif_intx_set(f, true);
	}
}

static void testdev_irq_raise(void *state, unsigned index, uint32_t value)
{
	struct block *b = state;

	pcif_irq_raise(b->dev->f, value & 0xffff);
}

static void testdev_irq_level(void *state, unsigned index, uint32_t value)
{
	struct block *b = state;

	pcif_intx_set(b->dev->f, value & 1);
}

/* ------------------------------------------------------------------ DMA */

/*
 * What the client last wrote. A mapped store that came after the scan had passed its register is
 * in the image but not in the table yet, and a command that follows it may be seen by the same
 * scan: so where a command takes its arguments, it takes them from the image.
 */
static uint32_t testdev_argument(struct block *b, enum reg reg)
{
	struct testdev *d = b->dev;
	uint32_t value;

	if (d->shared && b == &d->block[1]) {
		const uint8_t *image = pcif_bar_image(d->f, BAR_MAPPED);

		if (image && !pcif_image_load32(image + testdev_table[reg].offset, &value))
			return value;
	}
	return pcif_regs_get(b->regs, reg, 0);
}

static uint64_t testdev_dma_address(struct block *b)
{
	return (uint64_t)testdev_argument(b, REG_DMA_ADDR_HI) << 32 |
	       testdev_argument(b, REG_DMA_ADDR_LO);
}

static void testdev_pattern(uint8_t *buffer, uint32_t size, uint32_t seed)
{
	for (uint32_t i = 0; i < size; i++)
		buffer[i] = (uint8_t)(seed + i + (i >> 8));
}

/* FNV-1a, 32 bits: short enough to be written again in any test, and it sees the order of bytes. */
static uint32_t testdev_sum(const uint8_t *data, uint32_t size)
{
	uint32_t sum = 0x811c9dc5u;

	for (uint32_t i = 0; i < size; i++)
		sum = (sum ^ data[i]) * 0x01000193u;
	return sum;
}

/* The result as a client sees it. @moved: bytes; @done: not a step of a stream. */
static void testdev_dma_result(struct block *b, int ret, uint32_t moved, bool done)
{
	uint32_t status = pcif_regs_get(b->regs, REG_STATUS, 0);

	if (!ret)
		pcif_regs_set(b->regs, REG_DMA_COUNT, 0,
			      pcif_regs_get(b->regs, REG_DMA_COUNT, 0) + moved);
	if (!ret && !done)
		return;
	pcif_regs_set(b->regs, REG_STATUS, 0, status | (ret ? STATUS_DMA_FAULT : STATUS_DMA_DONE));
	/* Last: a client that polls DMA_STATUS finds everything else in place. */
	pcif_regs_set(b->regs, REG_DMA_STATUS, 0, ret ? DMA_FAULT : DMA_OK);
}

static void testdev_dma_command(void *state, unsigned index, uint32_t value)
{
	struct block *b = state;
	struct testdev *d = b->dev;
	uint64_t iova = testdev_dma_address(b);
	uint32_t len = testdev_argument(b, REG_DMA_LEN), op = value & CMD_OP;
	int ret;

	if (d->stream == b) {
		if (op == CMD_STOP) {
			d->stream = NULL;
			testdev_dma_result(b, 0, 0, true);
		}
		return;
	}
	pcif_regs_set(b->regs, REG_DMA_COUNT, 0, 0);
	if (!len || len > DMA_MAX || (op == CMD_STREAM && d->stream)) {
		pcif_regs_set(b->regs, REG_DMA_STATUS, 0, DMA_INVALID);
		return;
	}
	switch (op) {
	case CMD_FILL:
		testdev_pattern(b->buffer, len, testdev_argument(b, REG_DMA_SEED));
		ret = pcif_dma_write(d->f, iova, b->buffer, len);
		break;
	case CMD_LOAD:
		ret = pcif_dma_read(d->f, iova, b->buffer, len);
		if (!ret)
			pcif_regs_set(b->regs, REG_DMA_SUM, 0, testdev_sum(b->buffer, len));
		break;
	case CMD_STORE:
		ret = pcif_dma_write(d->f, iova, b->buffer, len);
		break;
	case CMD_STREAM:
		pcif_regs_set(b->regs, REG_DMA_STATUS, 0, DMA_BUSY);
		b->vector = value & (CMD_IRQ | 0xffff0000u);
		d->stream = b;
		sem_post(&d->wake);
		return;
	default:
		pcif_regs_set(b->regs, REG_DMA_STATUS, 0, DMA_INVALID);
		return;
	}
	testdev_dma_result(b, ret, len, true);
	if (value & CMD_IRQ)
		testdev_interrupt(b, value >> 16);
}

/* One step of a stream. What the client changed meanwhile (address, length) counts at once. */
static void testdev_stream_step(struct testdev *d)
{
	struct block *b;
	uint64_t iova;
	uint32_t len;
	int ret;

	pthread_mutex_lock(&d->moving);
	pcif_lock(d->f);
	b = d->stream;
	if (!b) {
		pcif_unlock(d->f);
		pthread_mutex_unlock(&d->moving);
		return;
	}
	iova = testdev_dma_address(b);
	len = MIN(testdev_argument(b, REG_DMA_LEN), DMA_MAX);
	testdev_pattern(d->stream_buffer, len, testdev_argument(b, REG_DMA_SEED));
	pcif_unlock(d->f);

	ret = len ? pcif_dma_write(d->f, iova, d->stream_buffer, len) : -EINVAL;

	pcif_lock(d->f);
	/* Stopped or reset while we moved: that has published its own result. */
	if (d->stream == b) {
		testdev_dma_result(b, ret, len, false);
		if (ret)
			d->stream = NULL;
		if (b->vector & CMD_IRQ)
			testdev_interrupt(b, b->vector >> 16);
	}
	pcif_unlock(d->f);
	pthread_mutex_unlock(&d->moving);
}

/* ------------------------------------------------------------------ registers */

static void testdev_mailbox(void *state, unsigned index, uint32_t value)
{
	struct block *b = state;

	pcif_regs_set(b->regs, REG_MAIL_LAST, 0, value);
	pcif_regs_set(b->regs, REG_MAIL_COUNT, 0, ++b->letters);
}

static void testdev_status_set(void *state, unsigned index, uint32_t value)
{
	struct block *b = state;

	pcif_regs_set(b->regs, REG_STATUS, 0, pcif_regs_get(b->regs, REG_STATUS, 0) | value);
}

static uint32_t testdev_liveness(void *state, unsigned index)
{
	struct block *b = state;

	return ~pcif_regs_get(b->regs, REG_LIVENESS, 0);
}

static uint32_t testdev_accesses(void *state, unsigned index)
{
	struct block *b = state;

	return b->dev->accesses;
}

#define RW .kind = PCIF_REG_PLAIN, .wmask = 0xffffffffu
#define RO .kind = PCIF_REG_STATUS
#define CMD .kind = PCIF_REG_MAILBOX

/* In the order of enum reg. */
static const struct pcif_reg testdev_table[NUM_REGS] = {
	{ "ID", 0x00, RO, .reset = TESTDEV_ID },
	{ "LIVENESS", 0x04, RW, .read = testdev_liveness },
	{ "SCRATCH", 0x08, RW },
	{ "STATUS", 0x0c, PCIF_REG_PLAIN, .w1c = 0xffffffffu },
	{ "ACCESSES", 0x10, RO, .read = testdev_accesses },
	{ "RESETS", 0x14, RO },
	{ "STATUS_SET", 0x18, CMD, .write = testdev_status_set },
	{ "MASKED", 0x1c, PCIF_REG_PLAIN, .reset = 0x12345678, .wmask = 0x00ff00ff },
	{ "DMA_ADDR_LO", 0x20, RW },
	{ "DMA_ADDR_HI", 0x24, RW },
	{ "DMA_LEN", 0x28, RW },
	{ "DMA_CMD", 0x2c, CMD, .write = testdev_dma_command },
	{ "DMA_STATUS", 0x30, RO },
	{ "DMA_COUNT", 0x34, RO },
	{ "DMA_SUM", 0x38, RO },
	{ "DMA_SEED", 0x3c, RW },
	{ "IRQ_RAISE", 0x40, CMD, .write = testdev_irq_raise },
	{ "IRQ_LEVEL", 0x44, PCIF_REG_PLAIN, .wmask = 1, .write = testdev_irq_level },
	{ "MAILBOX", 0x48, CMD, .write = testdev_mailbox },
	{ "MAIL_LAST", 0x4c, RO },
	{ "MAIL_COUNT", 0x50, RO },
	{ "ARRAY", 0x80, RW, .count = 8, .stride = 8 },
};

static uint64_t testdev_bar_read(void *state, unsigned bar, uint64_t offset, unsigned size)
{
	struct testdev *d = state;
	uint64_t value = 0;

	switch (bar) {
	case BAR_REGS:
		d->accesses++;
		return pcif_regs_read(d->block[0].regs, offset, size);
	case BAR_MAPPED:
		return pcif_regs_read(d->block[1].regs, offset, size);
	case BAR_MIXED:
		/* Tells how it was reached: each byte holds the width of the access. */
		return 0x0101010101010101ull * size;
	case BAR_IO:
		for (unsigned i = 0; i < size; i++)
			value |= (uint64_t)d->io[(offset + i) % IO_SIZE] << (8 * i);
		return value;
	default:
		return 0;
	}
}

static void testdev_bar_write(void *state, unsigned bar, uint64_t offset, unsigned size,
			      uint64_t value)
{
	struct testdev *d = state;

	switch (bar) {
	case BAR_REGS:
		d->accesses++;
		pcif_regs_write(d->block[0].regs, offset, size, value);
		break;
	case BAR_MAPPED:
		pcif_regs_write(d->block[1].regs, offset, size, value);
		break;
	case BAR_IO:
		for (unsigned i = 0; i < size; i++)
			d->io[(offset + i) % IO_SIZE] = (uint8_t)(value >> (8 * i));
		break;
	default:
		break;
	}
}

/* ------------------------------------------------------------------ the worker */

/*
 * Scans hard while stores come in, then rests longer and longer, up to a millisecond: an idle
 * device costs well under one percent of a core. Sleeps for good while nobody can store anything.
 */
static void *testdev_worker(void *arg)
{
	struct testdev *d = arg;
	uint64_t rest_ns = 0;

	/* The function is not ready while create() runs: first work comes with the first post. */
	sem_wait(&d->wake);
	for (;;) {
		unsigned changes = 0;
		bool shared, stream, quit;

		pcif_lock(d->f);
		/* Under the lock: once shared(false) has returned, nothing touches the image. */
		if (d->shared)
			changes = pcif_regs_scan(d->block[1].regs);
		shared = d->shared;
		stream = d->stream != NULL;
		quit = d->quit;
		pcif_unlock(d->f);

		if (quit)
			return NULL;
		if (stream)
			testdev_stream_step(d);
		if (changes || stream) {
			rest_ns = 0;
			sched_yield();
		} else if (shared) {
			rest_ns = MIN(rest_ns + rest_ns / 4 + 1000, 1000000);
			nanosleep(&(struct timespec){ .tv_nsec = (long)rest_ns }, NULL);
		} else {
			rest_ns = 0;
			sem_wait(&d->wake);
		}
	}
}

static void testdev_shared(void *state, bool on)
{
	struct testdev *d = state;

	pcif_lock(d->f);
	d->shared = on;
	pcif_unlock(d->f);
	sem_post(&d->wake);
}

/* ------------------------------------------------------------------ life */

static void testdev_clear_image(struct testdev *d, unsigned bar, uint64_t offset, size_t size)
{
	static const uint8_t zeros[RAM_SIZE];
	uint8_t *image = pcif_bar_image(d->f, bar);

	/* Guarded: the image may be a client's mapping, which goes when its connection does. */
	if (image)
		(void)guard_copy(image + offset, zeros, size);
}

static void testdev_reset(void *state)
{
	struct testdev *d = state;

	pcif_lock(d->f);
	d->stream = NULL;
	pcif_unlock(d->f);
	/* Waits for the step of the stream that had begun by then. */
	pthread_mutex_lock(&d->moving);
	pcif_lock(d->f);
	for (unsigned i = 0; i < ARRAY_SIZE(d->block); i++) {
		struct block *b = &d->block[i];

		d->stream = NULL;
		b->letters = 0;
		memset(b->buffer, 0, sizeof(b->buffer));
		pcif_regs_reset(b->regs);
		pcif_regs_set(b->regs, REG_RESETS, 0, d->resets);
	}
	d->resets++;
	d->accesses = 0;
	memset(d->io, 0, sizeof(d->io));
	pcif_intx_set(d->f, false);
	testdev_clear_image(d, BAR_RAM, 0, RAM_SIZE);
	testdev_clear_image(d, BAR_MIXED, MIXED_RAM0, UVF_PAGE_SIZE);
	testdev_clear_image(d, BAR_MIXED, MIXED_RAM1, UVF_PAGE_SIZE);
	pcif_unlock(d->f);
	pthread_mutex_unlock(&d->moving);
}

static void testdev_destroy(void *state)
{
	struct testdev *d = state;

	if (!d)
		return;
	if (d->has_worker) {
		pcif_lock(d->f);
		d->quit = true;
		d->stream = NULL;
		pcif_unlock(d->f);
		sem_post(&d->wake);
		pthread_join(d->worker, NULL);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(d->block); i++)
		pcif_regs_free(d->block[i].regs);
	sem_destroy(&d->wake);
	pthread_mutex_destroy(&d->moving);
	free(d);
}

static int testdev_params(const struct pcif_params *params, struct pcif_desc *desc,
			  struct pcif_reply_error *err)
{
	const char *mmio = pcif_param(params, "mmio"), *vectors = pcif_param(params, "vectors");

	if (mmio && !strcmp(mmio, "trap"))
		desc->bars[BAR_MAPPED].n_areas = 0;
	else if (mmio && strcmp(mmio, "shared"))
		return pcif_error(err, -EINVAL, "mmio=%s: say mmio=trap or mmio=shared", mmio);
	if (vectors) {
		char *end;
		unsigned long n;

		errno = 0;
		n = strtoul(vectors, &end, 10);
		if (errno || *end || *vectors < '0' || *vectors > '9' || n > VECTORS_MAX)
			return pcif_error(err, -EINVAL,
					  "vectors=%s: say a number of MSI-X vectors from 0 to %u",
					  vectors, VECTORS_MAX);
		desc->msix_vectors = (unsigned)n;
	}
	return 0;
}

static const struct pcif_desc testdev_desc = {
	.vendor = 0x1234,
	.device = 0x5000,
	.subsystem_vendor = 0x1234,
	.subsystem_device = 0x5000,
	.class_code = 0xff0000,
	.revision = 1,
	.bars = {
		[BAR_REGS] = { .type = PCIF_BAR_MEM32, .size = UVF_PAGE_SIZE },
		[BAR_MAPPED] = { .type = PCIF_BAR_MEM32,
				 .size = UVF_PAGE_SIZE,
				 .areas = { { 0, UVF_PAGE_SIZE, PCIF_PAGE_SHARED } },
				 .n_areas = 1 },
		/* 64 bits: takes the place of BAR 3 too. */
		[BAR_RAM] = { .type = PCIF_BAR_MEM64,
			      .prefetchable = true,
			      .size = RAM_SIZE,
			      .areas = { { 0, RAM_SIZE, PCIF_PAGE_RAM } },
			      .n_areas = 1 },
		[BAR_MIXED] = { .type = PCIF_BAR_MEM32,
				.size = MIXED_SIZE,
				.areas = { { MIXED_RAM0, UVF_PAGE_SIZE, PCIF_PAGE_RAM },
					   { MIXED_RAM1, UVF_PAGE_SIZE, PCIF_PAGE_RAM } },
				.n_areas = 2 },
		[BAR_IO] = { .type = PCIF_BAR_IO, .size = IO_SIZE },
	},
	.intx_pin = 1,
	.msi_vectors = 4,
	.msix_vectors = 8,
	.msix_bar = BAR_MIXED,
	.msix_table_offset = MIXED_MSIX,
	.msix_pba_offset = MIXED_PBA,
	.pcie = true,
	.pm = true,
	.aer = true,
	.dsn = 0x7576660000005000ull,
};

static int testdev_create(struct pcif *f, const struct pcif_params *params, struct pcif_desc *desc,
			  void **state, struct pcif_reply_error *err)
{
	static const unsigned bars[2] = { BAR_REGS, BAR_MAPPED };
	struct testdev *d;
	int ret;

	*desc = testdev_desc;
	ret = testdev_params(params, desc, err);
	if (ret)
		return ret;
	d = calloc(1, sizeof(*d));
	if (!d)
		return pcif_error(err, -ENOMEM, "out of memory");
	d->f = f;
	pthread_mutex_init(&d->moving, NULL);
	sem_init(&d->wake, 0, 0);
	for (unsigned i = 0; i < ARRAY_SIZE(d->block); i++) {
		d->block[i].dev = d;
		ret = pcif_regs_new(f, bars[i], testdev_table, ARRAY_SIZE(testdev_table),
				    &d->block[i], &d->block[i].regs);
		if (ret) {
			pcif_error(err, ret, "register table: %s", strerror(-ret));
			goto err_destroy;
		}
	}
	ret = -pthread_create(&d->worker, NULL, testdev_worker, d);
	if (ret) {
		pcif_error(err, ret, "cannot start a thread: %s", strerror(-ret));
		goto err_destroy;
	}
	d->has_worker = true;
	*state = d;
	return 0;

err_destroy:
	testdev_destroy(d);
	return ret;
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
	.destroy = testdev_destroy,
	.bar_read = testdev_bar_read,
	.bar_write = testdev_bar_write,
	.reset = testdev_reset,
	.shared = testdev_shared,
};
