/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The table from IOVA to mapping: a radix tree of 64-way nodes that is read without a lock.
 *
 * A node of level L covers 2^(18+6L) bytes, each of its slots 2^(12+6L). A slot, like the root,
 * holds an *entry*: nothing, a mapping, or a node. A mapping stands in every slot that it touches,
 * as high up as it is alone in it; the reader therefore checks its bounds. Only where two mappings
 * meet does the tree go down to the level that tells them apart, and levels that would have one
 * child only are skipped: a few large mappings are found in one or two steps, a million pieces of
 * 4 KiB side by side in four.
 *
 * An entry is a pointer with the kind in its low bits (nodes and mappings are 64-byte aligned):
 * bit 0 set for a mapping; else bits 1-3 are the node's level, so that a reader knows the slot's
 * place before it has loaded anything of the node.
 *
 * Writers hold the space's lock. Every entry is published by one release store, after what it leads
 * to is complete; replacing a mapping by a node that holds this mapping changes nothing for
 * readers. What is unlinked is freed by the caller after a grace period (access.c).
 */
#include <errno.h>

#include "iommu/priv.h"

#define SLOT_BITS 6
#define SLOTS 64u
#define LEVELS 9 /* 12 + 6 * 9 >= 64 */

struct tree_node {
	uint64_t prefix;	/* IOVA above the node's own bits; never changes */
	uint64_t used;		/* a bit a slot: for writers only */
	struct tree_node *next; /* retired */
	uint64_t unused[5];
	_Atomic uintptr_t slot[SLOTS];
} __attribute__((aligned(64)));

static struct slab node_slab = SLAB_INIT(sizeof(struct tree_node));

#define ENTRY_MAPPING 1ul
#define ENTRY_TAGS 63ul

static inline unsigned level_shift(unsigned level)
{
	return 12 + SLOT_BITS * level;
}

static inline bool entry_is_mapping(uintptr_t e)
{
	return e & ENTRY_MAPPING;
}

static inline struct mapping *entry_mapping(uintptr_t e)
{
	return (struct mapping *)(e & ~ENTRY_TAGS);
}

static inline struct tree_node *entry_node(uintptr_t e)
{
	return (struct tree_node *)(e & ~ENTRY_TAGS);
}

static inline unsigned entry_level(uintptr_t e)
{
	return (unsigned)(e >> 1) & 15;
}

static inline uintptr_t entry_of_mapping(const struct mapping *m)
{
	return (uintptr_t)m | ENTRY_MAPPING;
}

static inline uintptr_t entry_of_node(const struct tree_node *n, unsigned level)
{
	return (uintptr_t)n | level << 1;
}

/* @addr without the bits that a node of @level decides. Level 8 covers everything. */
static inline uint64_t level_prefix(uint64_t addr, unsigned level)
{
	unsigned bits = level_shift(level) + SLOT_BITS;

	return bits >= 64 ? 0 : addr >> bits;
}

struct mapping *tree_find(const struct tree *t, uint64_t iova)
{
	uintptr_t e = atomic_load_explicit(&t->root, memory_order_acquire);

	while (e && !entry_is_mapping(e)) {
		const struct tree_node *n = entry_node(e);
		unsigned level = entry_level(e);

		if (level_prefix(iova, level) != n->prefix)
			return NULL;
		e = atomic_load_explicit(&n->slot[(iova >> level_shift(level)) & (SLOTS - 1)],
					 memory_order_acquire);
	}
	if (e) {
		struct mapping *m = entry_mapping(e);

		if (iova >= m->first && iova <= m->last)
			return m;
	}
	return NULL;
}

static uintptr_t entry_peek(const _Atomic uintptr_t *slot)
{
	return atomic_load_explicit((_Atomic uintptr_t *)slot, memory_order_relaxed);
}

/* First and last address of the slot @i. */
static uint64_t slot_first(const struct tree_node *n, unsigned level, unsigned i)
{
	unsigned bits = level_shift(level) + SLOT_BITS;
	uint64_t base = bits >= 64 ? 0 : n->prefix << bits;

	return base + ((uint64_t)i << level_shift(level));
}

static uint64_t slot_last(const struct tree_node *n, unsigned level, unsigned i)
{
	return slot_first(n, level, i) + (BIT64(level_shift(level)) - 1);
}

static struct mapping *entry_next(uintptr_t e, uint64_t iova)
{
	struct tree_node *n;
	unsigned level, i = 0;
	uint64_t left;

	if (!e)
		return NULL;
	if (entry_is_mapping(e))
		return entry_mapping(e)->last >= iova ? entry_mapping(e) : NULL;
	n = entry_node(e);
	level = entry_level(e);
	if (level_prefix(iova, level) > n->prefix)
		return NULL;
	if (level_prefix(iova, level) == n->prefix)
		i = (iova >> level_shift(level)) & (SLOTS - 1);
	/* At most one slot fails: the one that @iova lies in. */
	for (left = n->used & (~0ull << i); left; left &= left - 1) {
		struct mapping *m = entry_next(entry_peek(&n->slot[__builtin_ctzll(left)]), iova);

		if (m)
			return m;
	}
	return NULL;
}

struct mapping *tree_next(const struct tree *t, uint64_t iova)
{
	return entry_next(entry_peek(&t->root), iova);
}

/* The lowest level of which one node covers both addresses. */
static unsigned common_level(uint64_t a, uint64_t b)
{
	unsigned level = 0;

	while (level < LEVELS - 1 && level_prefix(a, level) != level_prefix(b, level))
		level++;
	return level;
}

static struct tree_node *node_new(uint64_t addr, unsigned level)
{
	struct tree_node *n = slab_alloc(&node_slab);

	if (n)
		n->prefix = level_prefix(addr, level);
	return n;
}

static unsigned slot_of(uint64_t addr, unsigned level)
{
	return (addr >> level_shift(level)) & (SLOTS - 1);
}

/*
 * Puts a node between @slot and the entry @e in it, so that there is room beside @e for something
 * that reaches from @first to @last. @low, @high: what @e covers, as far as it lies in @slot.
 */
static int slot_split(_Atomic uintptr_t *slot, uintptr_t e, uint64_t low, uint64_t high,
		      uint64_t first, uint64_t last)
{
	unsigned level = common_level(MIN(low, first), MAX(high, last));
	struct tree_node *n = node_new(first, level);

	if (!n)
		return -ENOMEM;
	for (unsigned i = slot_of(low, level); i <= slot_of(high, level); i++) {
		atomic_store_explicit(&n->slot[i], e, memory_order_relaxed);
		n->used |= BIT64(i);
	}
	atomic_store_explicit(slot, entry_of_node(n, level), memory_order_release);
	return 0;
}

/* Puts the part of @m that lies in [@low,@high], which are the bounds of @slot, into it. */
static int slot_insert(_Atomic uintptr_t *slot, uint64_t low, uint64_t high, struct mapping *m)
{
	uint64_t first = MAX(m->first, low), last = MIN(m->last, high);
	uintptr_t e = entry_peek(slot);
	struct tree_node *n;
	unsigned level;
	int err = 0;

	if (!e) {
		atomic_store_explicit(slot, entry_of_mapping(m), memory_order_release);
		return 0;
	}
	if (entry_is_mapping(e)) {
		const struct mapping *other = entry_mapping(e);

		err = slot_split(slot, e, MAX(other->first, low), MIN(other->last, high), first,
				 last);
	} else {
		n = entry_node(e);
		level = entry_level(e);
		if (level_prefix(first, level) != n->prefix ||
		    level_prefix(last, level) != n->prefix)
			err = slot_split(slot, e, slot_first(n, level, 0),
					 slot_last(n, level, SLOTS - 1), first, last);
	}
	if (err)
		return err;
	e = entry_peek(slot);
	n = entry_node(e);
	level = entry_level(e);
	for (unsigned i = slot_of(first, level); !err && i <= slot_of(last, level); i++) {
		err = slot_insert(&n->slot[i], slot_first(n, level, i), slot_last(n, level, i), m);
		if (entry_peek(&n->slot[i]))
			n->used |= BIT64(i);
	}
	return err;
}

/* Takes @m out of what @slot, with these bounds, leads to; out of a part of it after a failure. */
static void slot_remove(_Atomic uintptr_t *slot, uint64_t low, uint64_t high, struct mapping *m,
			struct tree_node **retired)
{
	uint64_t first = MAX(m->first, low), last = MIN(m->last, high);
	uintptr_t e = entry_peek(slot);
	struct tree_node *n;
	unsigned level;

	if (!e)
		return;
	if (entry_is_mapping(e)) {
		if (entry_mapping(e) == m)
			atomic_store_explicit(slot, 0, memory_order_release);
		return;
	}
	n = entry_node(e);
	level = entry_level(e);
	first = MAX(first, slot_first(n, level, 0));
	last = MIN(last, slot_last(n, level, SLOTS - 1));
	if (first > last)
		return;
	for (unsigned i = slot_of(first, level); i <= slot_of(last, level); i++) {
		slot_remove(&n->slot[i], slot_first(n, level, i), slot_last(n, level, i), m,
			    retired);
		if (!entry_peek(&n->slot[i]))
			n->used &= ~BIT64(i);
	}
	if (!n->used) {
		atomic_store_explicit(slot, 0, memory_order_release);
		n->next = *retired;
		*retired = n;
	}
}

void tree_remove(struct tree *t, struct mapping *m, struct tree_node **retired)
{
	slot_remove(&t->root, 0, UINT64_MAX, m, retired);
}

int tree_insert(struct tree *t, struct mapping *m, struct tree_node **retired)
{
	int err = slot_insert(&t->root, 0, UINT64_MAX, m);

	if (err)
		tree_remove(t, m, retired);
	return err;
}

void tree_free_retired(struct tree_node *retired)
{
	while (retired) {
		struct tree_node *n = retired;

		retired = n->next;
		slab_free(&node_slab, n);
	}
}
