/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Interrupts of a function: from the model's raise to the sink that the VFIO layer connected.
 *
 * A message goes to the sink, unless something holds it back: its mask bit, the function mask, or
 * the bus master bit (a message is a memory write). Then its pending bit is set, and it goes out
 * when the last obstacle is gone. Both sides use sequentially consistent atomics in opposite order
 * (raise: set pending, look at the masks again; unmask: clear the mask, look at pending), and the
 * one whose exchange takes the pending bit delivers: a message is neither lost nor sent twice.
 *
 * Raising takes only the read side of "conn", so any number of threads raise at once; connecting
 * takes the write side and thereby waits until no call of the old sink is running.
 *
 * PCI Local Bus 3.0 sections 2.2.6 (INTx) and 6.8 (MSI, MSI-X).
 */
#include <errno.h>

#include "priv.h"

#define MSIX_ENTRY_WORDS 4u
#define MSIX_CTRL_WORD 3u

int irq_init(struct pcif *f)
{
	pthread_rwlockattr_t attr;
	int rc;

	/* Else a stream of interrupts could keep a disconnect waiting for ever. */
	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	rc = pthread_rwlock_init(&f->irq.conn, &attr);
	pthread_rwlockattr_destroy(&attr);
	if (rc)
		return -rc;
	pthread_mutex_init(&f->irq.hold_lock, NULL);
	if (f->desc.msix_vectors) {
		f->msix_table =
			calloc((size_t)f->desc.msix_vectors * MSIX_ENTRY_WORDS, sizeof(uint32_t));
		if (!f->msix_table) {
			irq_fini(f);
			return -ENOMEM;
		}
	}
	return 0;
}

void irq_fini(struct pcif *f)
{
	pthread_mutex_destroy(&f->irq.hold_lock);
	pthread_rwlock_destroy(&f->irq.conn);
	free(f->msix_table);
	f->msix_table = NULL;
}

/* ------------------------------------------------------------------ holding the sink */

void pcif_set_hold_cb(struct pcif *f, void (*cb)(void *data, bool hold), void *data)
{
	pthread_mutex_lock(&f->irq.hold_lock);
	f->irq.hold_cb = cb;
	f->irq.hold_data = data;
	if (cb && f->irq.holds)
		cb(data, true);
	pthread_mutex_unlock(&f->irq.hold_lock);
}

void irq_hold(struct pcif *f, bool hold)
{
	struct irq_state *q = &f->irq;

	pthread_mutex_lock(&q->hold_lock);
	q->holds += hold ? 1 : -1;
	if (q->hold_cb && q->holds == (hold ? 1 : 0))
		q->hold_cb(q->hold_data, hold);
	pthread_mutex_unlock(&q->hold_lock);
}

/* ------------------------------------------------------------------ delivery */

static void deliver(struct pcif *f, unsigned vector)
{
	atomic_fetch_add_explicit(&f->irq.count, 1, memory_order_relaxed);
	f->irq.sink.message(f->irq.sink.data, vector);
}

static bool msi_blocked(struct pcif *f, unsigned vector)
{
	return !(atomic_load(&f->gate) & GATE_BM) || (atomic_load(&f->irq.msi_mask) & BIT(vector));
}

static void raise_msi(struct pcif *f, unsigned vector)
{
	uint32_t bit;

	if (vector >= f->irq.vectors || !(atomic_load(&f->gate) & GATE_MSI))
		return;
	bit = BIT(vector);
	if (msi_blocked(f, vector)) {
		atomic_fetch_or(&f->irq.msi_pending, bit);
		if (msi_blocked(f, vector) || !(atomic_fetch_and(&f->irq.msi_pending, ~bit) & bit))
			return;
	}
	deliver(f, vector);
}

static bool msix_blocked(struct pcif *f, unsigned vector)
{
	uint32_t gate = atomic_load(&f->gate);

	return vector >= f->irq.vectors || !(gate & GATE_BM) || !(gate & GATE_MSIX) ||
	       (gate & GATE_MSIX_MASKED) ||
	       (atomic_load(&f->irq.msix_mask[vector / 64]) & BIT64(vector % 64));
}

static void raise_msix(struct pcif *f, unsigned vector)
{
	_Atomic uint64_t *pending;
	uint64_t bit = BIT64(vector % 64);

	if (vector >= f->desc.msix_vectors)
		return;
	pending = &f->irq.msix_pending[vector / 64];
	if (f->irq.mode != PCIF_IRQ_MSIX) {
		atomic_fetch_or(pending, bit);
		return;
	}
	if (msix_blocked(f, vector)) {
		atomic_fetch_or(pending, bit);
		if (msix_blocked(f, vector) || !(atomic_fetch_and(pending, ~bit) & bit))
			return;
	}
	deliver(f, vector);
}

/**
 * pcif_irq_raise() - send message @vector (from 0), as MSI or MSI-X, whichever is connected.
 * Held back (pending) while masked or while the bus master bit is clear. Dropped when neither is
 * connected, save that a function with MSI-X remembers it in the pending bit. Any thread, with or
 * without the register lock; calls the sink on this thread.
 */
void pcif_irq_raise(struct pcif *f, unsigned vector)
{
	pthread_rwlock_rdlock(&f->irq.conn);
	switch (f->irq.mode) {
	case PCIF_IRQ_MSI:
		raise_msi(f, vector);
		break;
	case PCIF_IRQ_MSIX:
	case PCIF_IRQ_NONE:
		raise_msix(f, vector);
		break;
	case PCIF_IRQ_INTX:
		break;
	}
	pthread_rwlock_unlock(&f->irq.conn);
}

/* conn held. */
static void intx_edge(struct pcif *f)
{
	if (f->irq.mode != PCIF_IRQ_INTX || (atomic_load(&f->gate) & GATE_INTX_OFF))
		return;
	atomic_fetch_add_explicit(&f->irq.count, 1, memory_order_relaxed);
	f->irq.sink.intx(f->irq.sink.data);
}

/**
 * pcif_intx_set() - drive the pin: @level true asserts it.
 * The level stays until changed, or until a reset; the sink is told of each rising edge that the
 * command register does not disable. Any thread.
 */
void pcif_intx_set(struct pcif *f, bool level)
{
	if (!f->desc.intx_pin || atomic_load(&f->irq.level) == level)
		return;
	pthread_rwlock_rdlock(&f->irq.conn);
	if (atomic_exchange(&f->irq.level, level) != level && level)
		intx_edge(f);
	pthread_rwlock_unlock(&f->irq.conn);
}

enum pcif_irq_mode pcif_irq_mode(const struct pcif *f)
{
	return (enum pcif_irq_mode)atomic_load(&f->irq.mode_now);
}

unsigned pcif_irq_vectors(struct pcif *f)
{
	unsigned n;

	pthread_rwlock_rdlock(&f->irq.conn);
	n = f->irq.mode == PCIF_IRQ_NONE ? 0 : f->irq.vectors;
	pthread_rwlock_unlock(&f->irq.conn);
	return n;
}

bool pcif_intx_level(const struct pcif *f)
{
	return atomic_load(&f->irq.level);
}

uint64_t pcif_irq_count(const struct pcif *f)
{
	return atomic_load_explicit(&f->irq.count, memory_order_relaxed);
}

void irq_replay(struct pcif *f, bool intx)
{
	struct irq_state *q = &f->irq;

	pthread_rwlock_rdlock(&q->conn);
	if (q->mode == PCIF_IRQ_INTX && intx && atomic_load(&q->level))
		intx_edge(f);
	if (q->mode == PCIF_IRQ_MSI && (atomic_load(&f->gate) & GATE_MSI)) {
		uint32_t left = atomic_load(&q->msi_pending);

		for (; left; left &= left - 1) {
			unsigned v = (unsigned)__builtin_ctz(left);

			if (!msi_blocked(f, v) &&
			    (atomic_fetch_and(&q->msi_pending, ~BIT(v)) & BIT(v)))
				deliver(f, v);
		}
	}
	for (unsigned w = 0; q->mode == PCIF_IRQ_MSIX && w < VECTOR_WORDS; w++) {
		uint64_t left = atomic_load(&q->msix_pending[w]);

		for (; left; left &= left - 1) {
			unsigned b = (unsigned)__builtin_ctzll(left);

			if (!msix_blocked(f, 64 * w + b) &&
			    (atomic_fetch_and(&q->msix_pending[w], ~BIT64(b)) & BIT64(b)))
				deliver(f, 64 * w + b);
		}
	}
	pthread_rwlock_unlock(&q->conn);
}

/* ------------------------------------------------------------------ connection */

static void msix_mask_set(struct pcif *f, unsigned vector, bool masked)
{
	uint32_t *ctrl = &f->msix_table[vector * MSIX_ENTRY_WORDS + MSIX_CTRL_WORD];
	uint64_t bit = BIT64(vector % 64);

	if (masked) {
		*ctrl |= PCI_MSIX_ENTRY_CTRL_MASKBIT;
		atomic_fetch_or(&f->irq.msix_mask[vector / 64], bit);
	} else {
		*ctrl &= ~PCI_MSIX_ENTRY_CTRL_MASKBIT;
		atomic_fetch_and(&f->irq.msix_mask[vector / 64], ~bit);
	}
}

/*
 * Puts the enable bits where the connection wants them: after connecting, and again after a reset,
 * which clears the capabilities but not the wiring. conn held for writing, cfg held.
 */
static void enable_bits(struct pcif *f)
{
	struct config_space *c = &f->config;
	bool msi = f->irq.mode == PCIF_IRQ_MSI, msix = f->irq.mode == PCIF_IRQ_MSIX;

	if (f->cap_msi) {
		uint8_t *flags = &c->value[f->cap_msi + PCI_MSI_FLAGS];
		unsigned log2 = 0;

		*flags &= (uint8_t) ~(PCI_MSI_FLAGS_ENABLE | PCI_MSI_FLAGS_QSIZE);
		while (msi && BIT(log2) < f->irq.vectors)
			log2++;
		if (msi)
			*flags |= (uint8_t)(PCI_MSI_FLAGS_ENABLE | log2 << 4);
	}
	if (f->cap_msix) {
		uint8_t *flags = &c->value[f->cap_msix + PCI_MSIX_FLAGS + 1];

		*flags &= (uint8_t) ~((PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL) >> 8);
		if (msix)
			*flags |= PCI_MSIX_FLAGS_ENABLE >> 8;
		for (unsigned v = 0; msix && v < f->irq.vectors; v++)
			msix_mask_set(f, v, false);
	}
	config_update_gate(f);
}

static void pending_clear(struct pcif *f)
{
	atomic_store(&f->irq.msi_pending, 0);
	for (unsigned w = 0; w < VECTOR_WORDS; w++)
		atomic_store(&f->irq.msix_pending[w], 0);
}

void irq_reset(struct pcif *f)
{
	atomic_store(&f->irq.level, false);
	pending_clear(f);
	for (unsigned v = 0; v < f->desc.msix_vectors; v++) {
		memset(&f->msix_table[v * MSIX_ENTRY_WORDS], 0, 3 * sizeof(uint32_t));
		msix_mask_set(f, v, true);
	}
	enable_bits(f);
}

/**
 * pcif_irq_connect() - from now on interrupts of @mode go to @sink (copied; its data borrowed).
 * @vectors: messages wired, from 0; more than the capability has are cut. A @mode that the function
 * lacks connects nothing (NONE).
 *
 * Sets the capability's enable bit, and unmasks the vectors in the MSI-X table; the connection
 * outlives resets, after which both are done again. Messages that were pending go out before this
 * returns, and an INTx level that is high counts as an edge. With NONE, or when replacing, it
 * returns when no call of the old sink is running: never call it from a sink, or holding a lock
 * that a sink takes.
 */
void pcif_irq_connect(struct pcif *f, enum pcif_irq_mode mode, unsigned vectors,
		      const struct pcif_irq_sink *sink)
{
	struct irq_state *q = &f->irq;
	unsigned max = mode == PCIF_IRQ_MSI    ? f->desc.msi_vectors
		       : mode == PCIF_IRQ_MSIX ? f->desc.msix_vectors
		       : mode == PCIF_IRQ_INTX ? f->desc.intx_pin != 0
					       : 0;

	pthread_rwlock_wrlock(&q->conn);
	pthread_mutex_lock(&f->cfg);
	if (!max || !sink)
		mode = PCIF_IRQ_NONE;
	/* What was pending for messages of one kind means nothing to another. */
	if (mode != q->mode && !(q->mode == PCIF_IRQ_NONE && mode == PCIF_IRQ_MSIX))
		pending_clear(f);
	q->mode = mode;
	q->vectors = MIN(vectors, max);
	q->sink = mode == PCIF_IRQ_NONE ? (struct pcif_irq_sink){ 0 } : *sink;
	atomic_store(&q->mode_now, (int)mode);
	enable_bits(f);
	pthread_mutex_unlock(&f->cfg);
	pthread_rwlock_unlock(&q->conn);
	irq_replay(f, true);
}

/* ------------------------------------------------------------------ MSI-X table and PBA */

static uint64_t pba_size(const struct pcif *f)
{
	return ALIGN_UP(f->desc.msix_vectors, 64) / 8;
}

bool irq_in_msix_table(const struct pcif *f, unsigned bar, uint64_t offset)
{
	const struct pcif_desc *d = &f->desc;

	return d->msix_vectors && bar == d->msix_bar &&
	       offset - d->msix_table_offset < 16ull * d->msix_vectors;
}

bool irq_in_msix(const struct pcif *f, unsigned bar, uint64_t offset)
{
	const struct pcif_desc *d = &f->desc;

	return irq_in_msix_table(f, bar, offset) ||
	       (d->msix_vectors && bar == d->msix_bar && offset - d->msix_pba_offset < pba_size(f));
}

/* The word at @offset (a multiple of 4 for which irq_in_msix() holds). */
uint32_t irq_msix_read(struct pcif *f, uint64_t offset)
{
	uint64_t at = offset - f->desc.msix_table_offset;
	uint32_t value;

	if (at >= 16ull * f->desc.msix_vectors) {
		at = offset - f->desc.msix_pba_offset;
		return (uint32_t)(atomic_load(&f->irq.msix_pending[at / 8]) >> (at % 8 * 8));
	}
	pthread_mutex_lock(&f->cfg);
	value = f->msix_table[at / 4];
	pthread_mutex_unlock(&f->cfg);
	return value;
}

/* Changes the bits of @mask. The PBA is read-only. */
void irq_msix_write(struct pcif *f, uint64_t offset, uint32_t value, uint32_t mask)
{
	uint64_t at = offset - f->desc.msix_table_offset;
	unsigned vector = (unsigned)(at / 16), word = (unsigned)(at % 16 / 4);
	uint32_t *slot;

	if (at >= 16ull * f->desc.msix_vectors)
		return;
	pthread_mutex_lock(&f->cfg);
	slot = &f->msix_table[at / 4];
	*slot = (*slot & ~mask) | (value & mask);
	if (word == 0)
		*slot &= ~3u;
	if (word == MSIX_CTRL_WORD) {
		*slot &= PCI_MSIX_ENTRY_CTRL_MASKBIT;
		msix_mask_set(f, vector, *slot);
	}
	pthread_mutex_unlock(&f->cfg);
	if (word == MSIX_CTRL_WORD)
		irq_replay(f, false);
}
