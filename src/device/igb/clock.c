/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * SYSTIM, the clock of IEEE 1588: it counts on by TIMINCA's increment in each period of that many
 * times 16 ns, and stands still while TIMINCA is 0. Under the PF's lock.
 */
#include "device/igb/priv.h"

#define INCREMENT(v) ((v)&0xffffff)
#define PERIOD_NS(v) (((v) >> 24) * 16u)

static uint64_t now(const struct igb_card *card)
{
	uint64_t elapsed = time_mono_ns() - card->clock_since;
	uint32_t inca = card->clock_inca, period = PERIOD_NS(inca);

	if (!period)
		return card->clock_base;
	return card->clock_base + (uint64_t)((__uint128_t)elapsed * INCREMENT(inca) / period);
}

static void set(struct igb_card *card, uint64_t value)
{
	card->clock_base = value;
	card->clock_since = time_mono_ns();
}

void igb_clock_reset(struct igb_card *card)
{
	card->clock_inca = 0;
	set(card, 0);
}

/* The low half is read first; the high one is of the same moment. */
uint32_t igb_read_systiml(void *state, unsigned index)
{
	struct igb_fn *fn = state;
	uint64_t value = now(fn->card);

	igb_set(fn, IGB_R_SYSTIMH, 0, (uint32_t)(value >> 32));
	return (uint32_t)value;
}

void igb_write_systim(void *state, unsigned index, uint32_t value)
{
	struct igb_fn *fn = state;

	set(fn->card,
	    (uint64_t)igb_get(fn, IGB_R_SYSTIMH, 0) << 32 | igb_get(fn, IGB_R_SYSTIML, 0));
}

void igb_write_timinca(void *state, unsigned index, uint32_t value)
{
	struct igb_card *card = ((struct igb_fn *)state)->card;

	set(card, now(card));
	card->clock_inca = value;
}
