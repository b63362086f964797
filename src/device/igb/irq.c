/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Interrupts. Causes of queues go by IVAR to a bit of EICR, which is a vector where GPIE asks for
 * several; others are bits of ICR, which IVAR_MISC sends to one vector. With one message, or the
 * pin, everything that ICR or EICR lets through raises that.
 *
 * EITR holds the messages of a vector apart: what comes too early stays in EICR until the worker's
 * next look after that time. So a batch of descriptors has one interrupt.
 */
#include "device/igb/priv.h"

#define STAT_IAC 0x4100

void igb_irq_reset(struct igb_fn *fn)
{
	fn->icr = fn->icr_new = fn->ims = fn->iam = 0;
	fn->eicr = fn->eicr_new = fn->eims = 0;
	memset(fn->next_irq, 0, sizeof(fn->next_irq));
	fn->irq_at = 0;
	if (fn->pin)
		pcif_intx_set(fn->f, false);
	fn->pin = false;
}

static bool many_vectors(struct igb_fn *fn)
{
	return fn->vf || (igb_get(fn, IGB_R_GPIE, 0) & IGB_GPIE_MULTIPLE_MSIX &&
			  pcif_irq_mode(fn->f) == PCIF_IRQ_MSIX);
}

/* One byte of an IVAR register: the bit of EICR that it names. */
static uint32_t ivar_bit(uint32_t ivar, unsigned byte)
{
	unsigned entry = ivar >> 8 * byte & 0xff;

	return entry & IGB_IVAR_VALID ? BIT(entry & 0x1f) & IGB_EICR_MASK : 0;
}

/* The PF has one register for queues n and n + 8, a VF one for both of its queues. */
static uint32_t queue_bit(struct igb_fn *fn, unsigned queue, unsigned tx)
{
	unsigned half = fn->vf ? queue : queue / 8;

	return ivar_bit(igb_get(fn, IGB_R_IVAR, fn->vf ? 0 : queue % 8), 2 * half + tx);
}

/* What happens, happens anew: bits that were there and told of already are told of again. */
static void event(struct igb_fn *fn, uint32_t icr, uint32_t eicr)
{
	fn->icr |= icr;
	fn->icr_new |= icr;
	fn->eicr |= eicr;
	fn->eicr_new |= eicr;
}

void igb_irq_rx(struct igb_fn *fn, unsigned queue)
{
	event(fn, fn->vf ? 0 : IGB_ICR_RXDW, queue_bit(fn, queue, 0));
}

void igb_irq_tx(struct igb_fn *fn, unsigned queue)
{
	event(fn, fn->vf ? 0 : IGB_ICR_TXDW, queue_bit(fn, queue, 1));
}

void igb_irq_cause(struct igb_fn *fn, uint32_t icr)
{
	uint32_t misc = igb_get(fn, IGB_R_IVAR_MISC, 0);

	if (fn->vf)
		event(fn, 0, ivar_bit(misc, 0));
	else
		event(fn, icr, icr & fn->ims ? ivar_bit(misc, 1) : 0);
}

static bool too_early(struct igb_fn *fn, unsigned vector, uint64_t now)
{
	uint64_t next = fn->next_irq[vector];

	if (now >= next)
		return false;
	if (!fn->irq_at || next < fn->irq_at)
		fn->irq_at = next;
	return true;
}

static void sent(struct igb_fn *fn, unsigned vector, uint64_t now)
{
	uint32_t us = vector < (fn->vf ? IGB_VF_VECTORS : 25u)
			      ? IGB_EITR_INTERVAL(igb_get(fn, IGB_R_EITR, vector))
			      : 0;

	fn->next_irq[vector] = now + us * 1000u;
	if (!fn->vf)
		igb_count(fn->card, STAT_IAC, 1);
}

static void send_vectors(struct igb_fn *fn, uint64_t now)
{
	uint32_t due = fn->eicr & fn->eicr_new & fn->eims & IGB_EICR_MASK, bits = 0;
	bool auto_mask = fn->vf || igb_get(fn, IGB_R_GPIE, 0) & IGB_GPIE_EIAME;

	for (; due; due &= due - 1) {
		unsigned vector = (unsigned)__builtin_ctz(due);

		if (too_early(fn, vector, now))
			continue;
		bits |= BIT(vector);
		sent(fn, vector, now);
		pcif_irq_raise(fn->f, vector);
	}
	fn->eicr_new &= ~bits;
	fn->eicr &= ~(bits & igb_get(fn, IGB_R_EIAC, 0));
	if (auto_mask)
		fn->eims &= ~(bits & igb_get(fn, IGB_R_EIAM, 0));
}

/* The pin is up as long as there is a cause. */
static void drive_pin(struct igb_fn *fn)
{
	bool on = fn->icr & fn->ims || fn->eicr & fn->eims;

	if (on != fn->pin)
		pcif_intx_set(fn->f, on);
	if (on && !fn->pin)
		igb_count(fn->card, STAT_IAC, 1);
	fn->pin = on;
}

/* One message for all that is new. */
static void send_one(struct igb_fn *fn, uint64_t now)
{
	uint32_t icr = fn->icr & fn->icr_new & fn->ims, eicr = fn->eicr & fn->eicr_new & fn->eims;

	if (!(icr | eicr) || too_early(fn, 0, now))
		return;
	fn->icr_new &= ~icr;
	fn->eicr_new &= ~eicr;
	sent(fn, 0, now);
	pcif_irq_raise(fn->f, 0);
}

void igb_irq_update(struct igb_fn *fn)
{
	enum pcif_irq_mode mode = pcif_irq_mode(fn->f);

	fn->irq_at = 0;
	if (!fn->vf && (mode == PCIF_IRQ_INTX || mode == PCIF_IRQ_NONE || fn->pin))
		drive_pin(fn);
	if (mode == PCIF_IRQ_INTX || mode == PCIF_IRQ_NONE)
		return;
	if (!(fn->eicr & fn->eicr_new & fn->eims) && !(fn->icr & fn->icr_new & fn->ims))
		return;
	if (many_vectors(fn))
		send_vectors(fn, time_mono_ns());
	else
		send_one(fn, time_mono_ns());
	if (fn->irq_at && !fn->in_worker)
		igb_kick(fn);
}

/* ------------------------------------------------------------------ hooks */

void igb_write_eics(void *state, unsigned index, uint32_t value)
{
	struct igb_fn *fn = state;

	event(fn, 0, value & IGB_EICR_MASK);
	igb_irq_update(fn);
}

void igb_write_eims(void *state, unsigned index, uint32_t value)
{
	struct igb_fn *fn = state;

	fn->eims |= value;
	fn->eicr_new |= value & fn->eicr;
	igb_irq_update(fn);
}

void igb_write_eimc(void *state, unsigned index, uint32_t value)
{
	struct igb_fn *fn = state;

	fn->eims &= ~value;
	igb_irq_update(fn);
}

void igb_write_eicr(void *state, unsigned index, uint32_t value)
{
	struct igb_fn *fn = state;

	fn->eicr &= ~value;
	igb_irq_update(fn);
}

uint32_t igb_read_eicr(void *state, unsigned index)
{
	struct igb_fn *fn = state;
	uint32_t value = fn->eicr;

	fn->eicr = 0;
	igb_irq_update(fn);
	return value;
}

uint32_t igb_read_eims(void *state, unsigned index)
{
	return ((struct igb_fn *)state)->eims;
}

static void clear_icr(struct igb_fn *fn, uint32_t bits)
{
	fn->icr &= ~bits;
	if (igb_get(fn, IGB_R_CTRL_EXT, 0) & IGB_CTRL_EXT_IAME)
		fn->ims &= ~fn->iam;
	igb_irq_update(fn);
}

/* All that is pending; it is gone then if it made an interrupt, or could make none. */
uint32_t igb_read_icr(void *state, unsigned index)
{
	struct igb_fn *fn = state;
	uint32_t value = fn->icr;

	if (value & fn->ims)
		value |= IGB_ICR_INTA;
	if (value & IGB_ICR_INTA || !fn->ims || igb_get(fn, IGB_R_GPIE, 0) & IGB_GPIE_NSICR)
		clear_icr(fn, UINT32_MAX);
	return value;
}

void igb_write_icr(void *state, unsigned index, uint32_t value)
{
	clear_icr(state, value);
}

void igb_write_ics(void *state, unsigned index, uint32_t value)
{
	igb_irq_cause(state, value & ~IGB_ICR_INTA);
	igb_irq_update(state);
}

void igb_write_ims(void *state, unsigned index, uint32_t value)
{
	struct igb_fn *fn = state;

	fn->ims |= value;
	/* What waited behind the mask. */
	igb_irq_cause(fn, fn->icr & value);
	igb_irq_update(fn);
}

void igb_write_imc(void *state, unsigned index, uint32_t value)
{
	struct igb_fn *fn = state;

	fn->ims &= ~value;
	igb_irq_update(fn);
}

uint32_t igb_read_ims(void *state, unsigned index)
{
	return ((struct igb_fn *)state)->ims;
}

void igb_write_iam(void *state, unsigned index, uint32_t value)
{
	((struct igb_fn *)state)->iam = value;
}

uint32_t igb_read_iam(void *state, unsigned index)
{
	return ((struct igb_fn *)state)->iam;
}
