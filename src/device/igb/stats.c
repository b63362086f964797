/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Statistics. Those of the PF are cleared by reading; octets have 64 bits, of which the low half is
 * read first. Those of a VF count on until the function is reset: its driver's reset leaves them.
 *
 * Source: 82576 datasheet, 8.18.
 */
#include "device/igb/priv.h"

#define FCS 4u
#define BASE 0x4000u
#define MPC 0x4010
#define PRC64 0x405c
#define GPRC 0x4074
#define BPRC 0x4078
#define MPRC 0x407c
#define GPTC 0x4080
#define GORC 0x4088
#define GOTC 0x4090
#define TOR 0x40c0
#define TOT 0x40c8
#define TPR 0x40d0
#define TPT 0x40d4
#define PTC64 0x40d8
#define MPTC 0x40f0
#define BPTC 0x40f4
#define RPTHC 0x4104
#define HGPTC 0x4118
#define HGORC 0x4128
#define HGOTC 0x4130
/* Of a VF, from 0xf10 on. */
enum { VFGPRC = 0, VFGPTC = 1, VFGORC = 2, VFGOTC = 9, VFMPRC = 11 };
enum { VFGPRLBC = 12, VFGPTLBC = 13, VFGORLBC = 14, VFGOTLBC = 16 };

static unsigned place(unsigned offset)
{
	return (offset - BASE) / 4;
}

static bool is_wide(unsigned offset)
{
	return offset == GORC || offset == GOTC || offset == TOR || offset == TOT ||
	       offset == HGORC || offset == HGOTC;
}

void igb_count(struct igb_card *card, unsigned offset, uint32_t n)
{
	atomic_fetch_add_explicit(&card->stats[place(offset)], n, memory_order_relaxed);
}

static void count_octets(struct igb_card *card, unsigned offset, uint32_t n)
{
	atomic_fetch_add_explicit(&card->octets[place(offset)], n, memory_order_relaxed);
}

/* Each has one writer: who receives has the lock, and who sends is the thread that serves @fn. */
static void count_vf(struct igb_fn *fn, unsigned which, uint32_t n)
{
	_Atomic uint32_t *p = &fn->vf_stats[which];

	atomic_store_explicit(p, atomic_load_explicit(p, memory_order_relaxed) + n,
			      memory_order_relaxed);
}

static bool is_broadcast(const uint8_t *mac)
{
	return !memcmp(mac, "\xff\xff\xff\xff\xff\xff", 6);
}

/* The six counters by size, of which the first is at @offset. */
static void count_size(struct igb_card *card, unsigned offset, uint32_t size)
{
	unsigned bin = size <= 64     ? 0
		       : size <= 127  ? 1
		       : size <= 255  ? 2
		       : size <= 511  ? 3
		       : size <= 1023 ? 4
				      : 5;

	igb_count(card, offset + 4 * bin, 1);
}

void igb_count_missed(struct igb_fn *fn)
{
	if (!fn->vf) {
		igb_count(fn->card, MPC, 1);
		return;
	}
	atomic_fetch_add(&fn->missed, 1);
	atomic_fetch_add(&fn->card->missed, 1);
}

static void tally(struct igb_tally *t, uint32_t size, bool local)
{
	t->n++;
	t->bytes += size;
	if (local) {
		t->local++;
		t->local_bytes += size;
	}
}

void igb_tally_rx(struct igb_fn *fn, struct igb_tally *t)
{
	if (t->n) {
		count_vf(fn, VFGPRC, t->n);
		count_vf(fn, VFGORC, t->bytes);
		count_vf(fn, VFMPRC, t->multicast);
		count_vf(fn, VFGPRLBC, t->local);
		count_vf(fn, VFGORLBC, t->local_bytes);
	}
	*t = (struct igb_tally){ 0 };
}

void igb_tally_tx(struct igb_fn *fn, struct igb_tally *t)
{
	if (t->n) {
		count_vf(fn, VFGPTC, t->n);
		count_vf(fn, VFGOTC, t->bytes);
		count_vf(fn, VFGPTLBC, t->local);
		count_vf(fn, VFGOTLBC, t->local_bytes);
	}
	*t = (struct igb_tally){ 0 };
}

/* A frame that @fn received; @local: from another function of the card. */
void igb_count_rx(struct igb_fn *fn, struct igb_tally *t, const uint8_t *data, uint32_t len,
		  bool local)
{
	struct igb_card *card = fn->card;
	uint32_t size = len + FCS;

	if (fn->vf) {
		tally(t, size, local);
		t->multicast += data[0] & 1 && !is_broadcast(data);
		return;
	}
	igb_count(card, GPRC, 1);
	igb_count(card, TPR, 1);
	igb_count(card, RPTHC, 1);
	if (is_broadcast(data))
		igb_count(card, BPRC, 1);
	else if (data[0] & 1)
		igb_count(card, MPRC, 1);
	count_octets(card, GORC, size);
	count_octets(card, TOR, size);
	count_octets(card, HGORC, size);
	count_size(card, PRC64, size);
}

/* A frame that @fn sent. */
void igb_count_tx(struct igb_fn *fn, struct igb_tally *t, const uint8_t *data, uint32_t len,
		  bool local)
{
	struct igb_card *card = fn->card;
	uint32_t size = len + FCS;

	if (fn->vf) {
		tally(t, size, local);
		return;
	}
	igb_count(card, GPTC, 1);
	igb_count(card, TPT, 1);
	igb_count(card, HGPTC, 1);
	if (is_broadcast(data))
		igb_count(card, BPTC, 1);
	else if (data[0] & 1)
		igb_count(card, MPTC, 1);
	count_octets(card, GOTC, size);
	count_octets(card, TOT, size);
	count_octets(card, HGOTC, size);
	count_size(card, PTC64, size);
}

void igb_stats_reset(struct igb_fn *fn)
{
	for (unsigned i = 0; fn->vf && i < IGB_VF_STATS; i++)
		atomic_store(&fn->vf_stats[i], 0);
	for (unsigned i = 0; !fn->vf && i < IGB_STATS; i++) {
		atomic_store(&fn->card->stats[i], 0);
		atomic_store(&fn->card->octets[i], 0);
	}
}

uint32_t igb_read_stats(void *state, unsigned index)
{
	struct igb_card *card = ((struct igb_fn *)state)->card;
	unsigned offset = BASE + 4 * index;

	if (is_wide(offset))
		return (uint32_t)atomic_load(&card->octets[index]);
	if (index && is_wide(offset - 4))
		return (uint32_t)(atomic_exchange(&card->octets[index - 1], 0) >> 32);
	return atomic_exchange(&card->stats[index], 0);
}

uint32_t igb_read_vf_stats(void *state, unsigned index)
{
	return atomic_load(&((struct igb_fn *)state)->vf_stats[index]);
}

/* A VF's counters where it can see them by mmap. Under the lock. */
void igb_stats_publish(struct igb_fn *fn)
{
	for (unsigned i = 0; fn->vf && i < IGB_VF_STATS; i++) {
		uint32_t value = atomic_load_explicit(&fn->vf_stats[i], memory_order_relaxed);

		if (value != igb_get(fn, IGB_R_VFSTATS, i))
			igb_set(fn, IGB_R_VFSTATS, i, value);
	}
}
