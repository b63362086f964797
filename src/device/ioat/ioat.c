// SPDX-License-Identifier: BSD-3-Clause
/*
 * ioat: a DMA engine that copies and fills memory, as Intel's CBDMA of Xeon processors does
 * (8086:2021, version 3.3, one channel). Linux's ioatdma and DPDK's ioat driver work with it.
 * docs/ioat.md has the registers.
 *
 * A client puts a chain of descriptors into memory, the address of the first into CHAINADDR and how
 * many there are in all, modulo 65536, into DMACOUNT. One thread carries them out, in order. It
 * looks for commands between two of them.
 */
#include <errno.h>
#include <pthread.h>

#include "device/device.h"
#include "device/ioat/ioat.h"

#define BAR 0
#define PIECE KIB(64)
#define REG_BYTES KIB(4)
#define MSIX_TABLE 0x2000u
#define MSIX_PENDING 0x3000u

/* The registers, by their place in ioat_regs. */
enum {
	GENERAL,
	ATTNSTATUS,
	CBVER,
	INTRDELAY,
	DMACAP,
	CHANCTRL,
	CHANCMD,
	CHANSTS_LO,
	CHANSTS_HI,
	CHAINADDR_LO,
	CHAINADDR_HI,
	CHANCMP_LO,
	CHANCMP_HI,
	CDAR_LO,
	CDAR_HI,
	CHANERR,
	CHANERRMASK,
};

static const struct pcif_reg ioat_regs[CHANERRMASK + 1];

struct ioat {
	struct pcif *f;
	pthread_t thread;

	/* All under the function's register lock. */
	unsigned state;
	uint64_t completed; /* address of the last descriptor that was carried out, 0: none */
	uint64_t next;	    /* address of the one that follows */
	uint16_t done;	    /* descriptors of this chain, as DMACOUNT counts */
	uint8_t command;    /* not carried out yet */
	bool fresh;	    /* begins at CHAINADDR */
	bool interrupt;	    /* not told, as CHANCTRL was not armed */

	pthread_mutex_t lock; /* innermost; what follows */
	pthread_cond_t cond;
	bool quit, kick, busy;
	_Atomic bool hold; /* a reset: stops, also in the middle of a copy */
	uint8_t *buffer;   /* of the thread */
};

static uint32_t get(struct ioat *e, unsigned reg)
{
	return pcif_regs_get(pcif_bar_regs(e->f, BAR), reg, 0);
}

static void set(struct ioat *e, unsigned reg, uint32_t value)
{
	pcif_regs_set(pcif_bar_regs(e->f, BAR), reg, 0, value);
}

static uint64_t get64(struct ioat *e, unsigned low)
{
	return get(e, low) | (uint64_t)get(e, low + 1) << 32;
}

static void set64(struct ioat *e, unsigned low, uint64_t value)
{
	/* Who reads both halves takes the state from the low one. */
	set(e, low + 1, (uint32_t)(value >> 32));
	set(e, low, (uint32_t)value);
}

static void kick(struct ioat *e)
{
	pthread_mutex_lock(&e->lock);
	e->kick = true;
	pthread_cond_broadcast(&e->cond);
	pthread_mutex_unlock(&e->lock);
}

/* ------------------------------------------------------------------ interrupts */

/* INTRCTRL says what the pin's level is, where that is in use. */
static void update_pin(struct ioat *e)
{
	uint32_t general = get(e, GENERAL) & ~(IOAT_INTR_STATUS | IOAT_INTR_INT);

	if (get(e, ATTNSTATUS))
		general |= IOAT_INTR_STATUS;
	if (general & IOAT_INTR_STATUS && general & IOAT_INTR_MASTER)
		general |= IOAT_INTR_INT;
	set(e, GENERAL, general);
	pcif_intx_set(e->f, general & IOAT_INTR_INT && pcif_irq_mode(e->f) == PCIF_IRQ_INTX);
}

/* One interrupt, and then none until the client has armed the channel again. */
static void interrupt(struct ioat *e)
{
	uint32_t control = get(e, CHANCTRL);

	if (!(control & IOAT_CTRL_INT_REARM)) {
		e->interrupt = true;
		return;
	}
	e->interrupt = false;
	set(e, CHANCTRL, control & ~IOAT_CTRL_INT_REARM);
	set(e, ATTNSTATUS, 1);
	update_pin(e);
	if (get(e, GENERAL) & IOAT_INTR_MASTER)
		pcif_irq_raise(e->f, 0);
}

/* ------------------------------------------------------------------ states */

static void set_state(struct ioat *e, unsigned state)
{
	e->state = state;
	set64(e, CHANSTS_LO, e->completed | state);
}

/* Has the status written where CHANCMP says. Drops the register lock meanwhile. */
static void complete(struct ioat *e)
{
	le64 status = le64_make(e->completed | e->state);
	uint64_t address = get64(e, CHANCMP_LO);

	if (!address)
		return;
	pcif_unlock(e->f);
	if (pcif_dma_write(e->f, address & ~7ull, &status, sizeof(status))) {
		pcif_lock(e->f);
		set(e, CHANERR, get(e, CHANERR) | IOAT_ERR_COMPLETION_ADDR);
		set_state(e, IOAT_HALTED);
		return;
	}
	pcif_lock(e->f);
}

static void fail(struct ioat *e, uint32_t error)
{
	set(e, CHANERR, get(e, CHANERR) | error);
	set_state(e, IOAT_HALTED);
	if (get(e, CHANCTRL) & IOAT_CTRL_ERR_COMPLETION)
		complete(e);
	if (get(e, CHANCTRL) & IOAT_CTRL_ERR_INT)
		interrupt(e);
}

/* Who has failed is armed, for those who wait to see it recover; else there is just nothing to do.
 */
static void channel_reset(struct ioat *e)
{
	bool halted = e->state == IOAT_HALTED;

	for (unsigned reg = CHANCTRL; reg <= CHANERRMASK; reg++)
		set(e, reg, reg == CHANCMD ? get(e, CHANCMD) & 0xff : ioat_regs[reg].reset);
	e->completed = e->next = 0;
	e->done = 0;
	e->fresh = true;
	e->interrupt = false;
	set_state(e, halted ? IOAT_ARMED : IOAT_IDLE);
}

/* What came by CHANCMD since the last look. CHANCMD reads 0 again when it is done. */
static void carry_out_command(struct ioat *e)
{
	uint8_t command = e->command;

	e->command = 0;
	if (!command)
		return;
	if (command & IOAT_CMD_RESET) {
		channel_reset(e);
	} else if (command & IOAT_CMD_ABORT) {
		set_state(e, IOAT_HALTED);
	} else if (command & IOAT_CMD_SUSPEND && e->state != IOAT_HALTED) {
		set_state(e, IOAT_SUSPENDED);
		/* A count that is written from here on begins a new chain, also the same one. */
		e->fresh = true;
		set(e, CHANCMD, get(e, CHANCMD) & 0xffff);
	} else if (command & IOAT_CMD_RESUME && e->state == IOAT_SUSPENDED) {
		e->fresh = false;
		set(e, CHANCMD, (get(e, CHANCMD) & 0xffff) | (uint32_t)e->done << 16);
		set_state(e, IOAT_IDLE);
	}
	set(e, CHANCMD, get(e, CHANCMD) & 0xffff0000u);
}

/* ------------------------------------------------------------------ transfers */

/* From the source straight to the destination where we have it in our memory; 0 or a CHANERR. */
static uint32_t copy_piece(struct ioat *e, uint64_t to, uint64_t from, size_t size)
{
	struct iommu_pin pin;
	int ret = pcif_dma_pin(e->f, from, size, IOMMU_READ, &pin);

	if (ret == -EOPNOTSUPP) {
		if (pcif_dma_read(e->f, from, e->buffer, size))
			return IOAT_ERR_READ_DATA;
		return pcif_dma_write(e->f, to, e->buffer, size) ? IOAT_ERR_WRITE_DATA : 0;
	}
	if (ret)
		return IOAT_ERR_READ_DATA;
	for (unsigned i = 0; !ret && i < pin.n_iov; i++) {
		ret = pcif_dma_write(e->f, to, pin.iov[i].iov_base, pin.iov[i].iov_len);
		to += pin.iov[i].iov_len;
	}
	pcif_dma_unpin(&pin);
	return ret ? IOAT_ERR_WRITE_DATA : 0;
}

static uint32_t fill_piece(struct ioat *e, uint64_t to, uint64_t pattern, size_t size)
{
	uint64_t word = htole64(pattern);

	for (size_t i = 0; i < size; i += sizeof(word))
		memcpy(e->buffer + i, &word, MIN(sizeof(word), size - i));
	return pcif_dma_write(e->f, to, e->buffer, size) ? IOAT_ERR_WRITE_DATA : 0;
}

/* In pieces of a multiple of the pattern, so that it goes on where it was. */
static uint32_t transfer(struct ioat *e, const struct ioat_desc *d, unsigned op, uint32_t size)
{
	uint64_t to = le64_get(d->destination), from = le64_get(d->source);

	for (uint32_t at = 0; at < size && !atomic_load(&e->hold); at += PIECE) {
		size_t n = MIN(size - at, (uint32_t)PIECE);
		uint32_t error = op == IOAT_OP_FILL ? fill_piece(e, to + at, from, n)
						    : copy_piece(e, to + at, from + at, n);

		if (error)
			return error;
	}
	return 0;
}

static uint32_t carry_out(struct ioat *e, const struct ioat_desc *d)
{
	uint32_t control = le32_get(d->control), size = le32_get(d->size);
	unsigned op = control >> IOAT_DESC_OP_SHIFT;

	if (le64_get(d->next) & (sizeof(*d) - 1))
		return IOAT_ERR_NEXT_ALIGN;
	if (op != IOAT_OP_COPY && op != IOAT_OP_FILL)
		return IOAT_ERR_CONTROL;
	if (!size || size > BIT(IOAT_XFERCAP))
		return IOAT_ERR_LENGTH;
	return control & IOAT_DESC_NULL ? 0 : transfer(e, d, op, size);
}

/* With the register lock, which is dropped meanwhile. */
static void next_descriptor(struct ioat *e)
{
	uint64_t at = e->fresh ? get64(e, CHAINADDR_LO) : e->next;
	struct ioat_desc d;
	uint32_t error;

	if (e->fresh)
		e->done = 0;
	set64(e, CDAR_LO, at);
	set_state(e, IOAT_ACTIVE);
	if (at & (sizeof(d) - 1)) {
		fail(e, e->fresh ? IOAT_ERR_CHAIN_ADDR : IOAT_ERR_NEXT_ALIGN);
		return;
	}
	e->fresh = false;
	pcif_unlock(e->f);
	error = pcif_dma_read(e->f, at, &d, sizeof(d)) ? IOAT_ERR_NEXT_ADDR : carry_out(e, &d);
	pcif_lock(e->f);
	if (atomic_load(&e->hold))
		return;
	if (error) {
		fail(e, error);
		return;
	}
	e->completed = at;
	e->next = le64_get(d.next);
	e->done++;
	set_state(e, e->done == get(e, CHANCMD) >> 16 ? IOAT_IDLE : IOAT_ACTIVE);
	if (le32_get(d.control) & IOAT_DESC_COMPLETION)
		complete(e);
	if (le32_get(d.control) & IOAT_DESC_INT)
		interrupt(e);
}

/* ------------------------------------------------------------------ the thread */

static bool has_work(const struct ioat *e, uint16_t count)
{
	return e->state != IOAT_HALTED && (e->fresh ? count != 0 : count != e->done) &&
	       (e->state != IOAT_SUSPENDED || e->fresh);
}

static void work(struct ioat *e)
{
	pcif_lock(e->f);
	while (!atomic_load(&e->hold)) {
		carry_out_command(e);
		if (!has_work(e, (uint16_t)(get(e, CHANCMD) >> 16)))
			break;
		next_descriptor(e);
	}
	pcif_unlock(e->f);
}

static void *ioat_main(void *data)
{
	struct ioat *e = data;

	pthread_setname_np(pthread_self(), "uvfio-ioat");
	pthread_mutex_lock(&e->lock);
	for (;;) {
		while (!e->quit && (!e->kick || atomic_load(&e->hold)))
			pthread_cond_wait(&e->cond, &e->lock);
		if (e->quit)
			break;
		e->kick = false;
		e->busy = true;
		pthread_mutex_unlock(&e->lock);
		work(e);
		pthread_mutex_lock(&e->lock);
		e->busy = false;
		pthread_cond_broadcast(&e->cond);
	}
	pthread_mutex_unlock(&e->lock);
	return NULL;
}

/* ------------------------------------------------------------------ registers */

static void write_general(void *state, unsigned index, uint32_t value)
{
	update_pin(state);
}

/* Reading tells the client of the interrupt, and takes back the right to another. */
static uint32_t read_general(void *state, unsigned index)
{
	struct ioat *e = state;
	uint32_t value = get(e, GENERAL);

	if (pcif_irq_mode(e->f) != PCIF_IRQ_MSIX) {
		set(e, GENERAL, value & ~IOAT_INTR_MASTER);
		update_pin(e);
	}
	return value;
}

static uint32_t read_attention(void *state, unsigned index)
{
	struct ioat *e = state;
	uint32_t value = get(e, ATTNSTATUS);

	set(e, ATTNSTATUS, 0);
	update_pin(e);
	return value;
}

static void write_control(void *state, unsigned index, uint32_t value)
{
	struct ioat *e = state;

	if (value & IOAT_CTRL_INT_REARM && e->interrupt)
		interrupt(e);
}

static void write_command(void *state, unsigned index, uint32_t value)
{
	struct ioat *e = state;

	e->command |= (uint8_t)value;
	kick(e);
}

static void write_chain(void *state, unsigned index, uint32_t value)
{
	((struct ioat *)state)->fresh = true;
}

#define RW .kind = PCIF_REG_PLAIN, .wmask = 0xffffffffu
#define RO .kind = PCIF_REG_STATUS

static const struct pcif_reg ioat_regs[] = {
	/* CHANCNT, XFERCAP, GENCTRL, INTRCTRL */
	[GENERAL] = { "GENERAL", 0x00, PCIF_REG_PLAIN, .reset = 1 | IOAT_XFERCAP << 8,
		      .wmask = IOAT_INTR_MASTER | IOAT_INTR_MSIX, .write = write_general,
		      .read = read_general },
	[ATTNSTATUS] = { "ATTNSTATUS", 0x04, RO, .read = read_attention },
	[CBVER] = { "CBVER", 0x08, RO, .reset = 0x33 },
	[INTRDELAY] = { "INTRDELAY", 0x0c, PCIF_REG_PLAIN, .wmask = 0x3fff },
	[DMACAP] = { "DMACAPABILITY", 0x10, RO, .reset = 0x40 }, /* fills */
	[CHANCTRL] = { "CHANCTRL", 0x80, PCIF_REG_PLAIN, .reset = 0x00020000, .wmask = 0xf33d,
		       .write = write_control },
	[CHANCMD] = { "CHANCMD", 0x84, PCIF_REG_PLAIN, .wmask = 0xffff00ffu,
		      .write = write_command },
	[CHANSTS_LO] = { "CHANSTS_LO", 0x88, RO, .reset = IOAT_IDLE },
	[CHANSTS_HI] = { "CHANSTS_HI", 0x8c, RO },
	[CHAINADDR_LO] = { "CHAINADDR_LO", 0x90, RW, .write = write_chain },
	[CHAINADDR_HI] = { "CHAINADDR_HI", 0x94, RW, .write = write_chain },
	[CHANCMP_LO] = { "CHANCMP_LO", 0x98, RW },
	[CHANCMP_HI] = { "CHANCMP_HI", 0x9c, RW },
	[CDAR_LO] = { "CDAR_LO", 0xa0, RO },
	[CDAR_HI] = { "CDAR_HI", 0xa4, RO },
	[CHANERR] = { "CHANERR", 0xa8, PCIF_REG_PLAIN, .w1c = 0xffffffffu },
	[CHANERRMASK] = { "CHANERRMASK", 0xac, RW },
};

static const struct pcif_desc ioat_desc = {
	.vendor = 0x8086, .device = 0x2021, .subsystem_vendor = 0x8086, .subsystem_device = 0x0000,
	.class_code = 0x088000, .revision = 4,
	.bars = {
		[BAR] = { PCIF_BAR_MEM64, .size = KIB(16), .regs = ioat_regs,
			  .n_regs = ARRAY_SIZE(ioat_regs),
			  .areas = { { 0, REG_BYTES, PCIF_PAGE_SHARED } }, .n_areas = 1 },
	},
	.intx_pin = 1, .msi_vectors = 1, .msix_vectors = 1, .msix_bar = BAR,
	.msix_table_offset = MSIX_TABLE, .msix_pba_offset = MSIX_PENDING,
	.pcie = true, .pm = true, .aer = true,
};

/* ------------------------------------------------------------------ life */

static void ioat_reset(void *state)
{
	struct ioat *e = state;

	pthread_mutex_lock(&e->lock);
	atomic_store(&e->hold, true);
	while (e->busy)
		pthread_cond_wait(&e->cond, &e->lock);
	e->kick = false;
	pthread_mutex_unlock(&e->lock);
	pcif_lock(e->f);
	e->command = 0;
	e->state = IOAT_IDLE; /* whatever went wrong, as when the bus master bit went */
	set(e, CHANCMD, 0);
	channel_reset(e);
	pcif_unlock(e->f);
	pthread_mutex_lock(&e->lock);
	atomic_store(&e->hold, false);
	pthread_mutex_unlock(&e->lock);
}

static void ioat_destroy(void *state)
{
	struct ioat *e = state;

	pthread_mutex_lock(&e->lock);
	e->quit = true;
	pthread_cond_broadcast(&e->cond);
	pthread_mutex_unlock(&e->lock);
	pthread_join(e->thread, NULL);
	pthread_cond_destroy(&e->cond);
	pthread_mutex_destroy(&e->lock);
	free(e->buffer);
	free(e);
}

static int ioat_create(struct pcif *f, const struct pcif_params *params, struct pcif_desc *desc,
		       void **state, struct pcif_reply_error *err)
{
	static const char *const ways[] = { "trap", "shared", NULL };
	unsigned shared = false;
	struct ioat *e;
	int ret;

	if (pcif_param_choice(params, "mmio", ways, &shared, err))
		return -EINVAL;
	e = calloc(1, sizeof(*e));
	if (e)
		e->buffer = malloc(PIECE);
	if (!e || !e->buffer) {
		free(e);
		return pcif_error(err, -ENOMEM, "out of memory");
	}
	e->f = f;
	pthread_mutex_init(&e->lock, NULL);
	pthread_cond_init(&e->cond, NULL);
	ret = thread_start(&e->thread, 0, ioat_main, e);
	if (ret) {
		free(e->buffer);
		free(e);
		return pcif_error(err, ret, "no thread: %s", strerror(-ret));
	}
	*desc = ioat_desc;
	desc->bars[BAR].n_areas = shared;
	*state = e;
	return 0;
}

static const struct pcif_option ioat_options[] = {
	{ "mmio", "trap|shared  whether its registers can be mapped: trap (default), no" },
	{ NULL, NULL },
};

const struct pcif_model device_ioat = {
	.name = "ioat",
	.summary = "DMA engine that copies and fills memory, Intel CBDMA 3.3",
	.options = ioat_options,
	.create = ioat_create,
	.destroy = ioat_destroy,
	.reset = ioat_reset,
};
