/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Register tables: one description, reached by trapped accesses and by clients' stores to a shared
 * page (see the header). Every call runs with the register lock held by the caller, save new and
 * free; hooks run under it.
 *
 * A register on a SHARED page has three values. "value" is the register. "known" is what the image
 * was last seen to hold, or was given by us. The image is what clients load and store. As long as
 * image and known agree nobody stored; the register's value is then brought in with a
 * compare-and-swap, so that a store that comes in between stays, and the next scan finds it.
 *
 * The image may raise SIGBUS at any moment. A scan looks at many registers inside one guarded call
 * (its cost is that of saving a few CPU registers), collects what it found, and leaves the guarded
 * call before any hook runs.
 */
#include <errno.h>

#include "priv.h"

/* Largest offset that a table may describe: the index is a plain array of words. */
#define REGS_MAX_OFFSET (16u << 20)
#define SCAN_BATCH 32

struct element {
	uint32_t offset;
	uint32_t value;
	uint32_t known;
	uint32_t index;
	uint16_t reg;
	bool shared;
};

struct pcif_regs {
	struct pcif *f;
	unsigned bar;
	const struct pcif_reg *table;
	unsigned n;
	void *state;
	struct element *elements; /* in order of table, then of index */
	unsigned n_elements;
	unsigned *first;    /* element of index 0 of each register */
	uint32_t *map;	    /* by offset / 4: 1 + element, or 0 */
	uint32_t map_words; /* entries of map */
	bool any_shared;
	unsigned resets; /* a scan stops using what it found before a reset */
};

static unsigned reg_count(const struct pcif_reg *r)
{
	return r->count ? r->count : 1;
}

static int check_table(const struct pcif_reg *table, unsigned n, unsigned *n_elements,
		       uint32_t *words)
{
	uint64_t total = 0, end = 0;

	if (n > UINT16_MAX)
		return -EINVAL;
	for (unsigned i = 0; i < n; i++) {
		const struct pcif_reg *r = &table[i];
		uint64_t last = r->offset + (uint64_t)r->stride * (reg_count(r) - 1);

		if (r->offset % 4 || r->stride % 4 || (r->count > 1 && !r->stride) ||
		    last >= REGS_MAX_OFFSET)
			return -EINVAL;
		total += reg_count(r);
		end = MAX(end, last + 4);
	}
	*n_elements = (unsigned)total;
	*words = (uint32_t)(end / 4);
	return 0;
}

static int build_index(struct pcif_regs *regs)
{
	unsigned at = 0;

	for (unsigned i = 0; i < regs->n; i++) {
		const struct pcif_reg *r = &regs->table[i];

		regs->first[i] = at;
		for (unsigned k = 0; k < reg_count(r); k++, at++) {
			uint32_t offset = r->offset + k * r->stride;

			if (regs->map[offset / 4])
				return -EINVAL;
			regs->map[offset / 4] = at + 1;
			regs->elements[at] = (struct element){
				.offset = offset,
				.index = k,
				.reg = (uint16_t)i,
				.value = r->reset,
			};
		}
	}
	return 0;
}

/**
 * pcif_regs_new() - registers of BAR @bar as @table (borrowed, @n entries) says.
 * Values are the reset values; nothing is published before pcif_regs_reset(). May be called in
 * create(). -EINVAL: misaligned or overlapping registers, or past 16 MiB; -ENOMEM.
 */
int pcif_regs_new(struct pcif *f, unsigned bar, const struct pcif_reg *table, unsigned n,
		  void *state, struct pcif_regs **out)
{
	struct pcif_regs *regs;
	unsigned n_elements;
	uint32_t words;
	int rc = check_table(table, n, &n_elements, &words);

	if (rc)
		return rc;
	regs = calloc(1, sizeof(*regs));
	if (!regs)
		return -ENOMEM;
	*regs = (struct pcif_regs){ .f = f,
				    .bar = bar,
				    .table = table,
				    .n = n,
				    .state = state,
				    .n_elements = n_elements,
				    .map_words = words };
	regs->elements = calloc(n_elements + 1, sizeof(*regs->elements));
	regs->first = calloc(n + 1, sizeof(*regs->first));
	regs->map = calloc(words + 1, sizeof(*regs->map));
	rc = regs->elements && regs->first && regs->map ? build_index(regs) : -ENOMEM;
	if (rc) {
		pcif_regs_free(regs);
		return rc;
	}
	*out = regs;
	return 0;
}

void pcif_regs_free(struct pcif_regs *regs)
{
	if (!regs)
		return;
	free(regs->elements);
	free(regs->first);
	free(regs->map);
	free(regs);
}

/* ------------------------------------------------------------------ the image */

static uint32_t *image_word(struct pcif_regs *regs, const struct element *e)
{
	uint8_t *image = pcif_bar_image(regs->f, regs->bar);

	return (uint32_t *)(image + e->offset);
}

static bool is_mailbox(const struct pcif_regs *regs, const struct element *e)
{
	return regs->table[e->reg].kind == PCIF_REG_MAILBOX;
}

static void publish(struct pcif_regs *regs, struct element *e)
{
	bool done;

	if (!e->shared || is_mailbox(regs, e))
		return;
	if (regs->table[e->reg].kind == PCIF_REG_STATUS) {
		pcif_image_store32(image_word(regs, e), e->value);
		return;
	}
	if (e->value != e->known &&
	    !pcif_image_cas32(image_word(regs, e), e->known, e->value, &done) && done)
		e->known = e->value;
}

/**
 * pcif_regs_reset() - as after power on; forgets what clients stored and nobody has seen. No hook
 * runs. Also finds out which registers lie on SHARED pages, so it must run once before the first
 * access: a model's reset() is the place.
 */
void pcif_regs_reset(struct pcif_regs *regs)
{
	bool image = pcif_bar_image(regs->f, regs->bar) != NULL;

	regs->any_shared = false;
	regs->resets++;
	for (unsigned i = 0; i < regs->n_elements; i++) {
		struct element *e = &regs->elements[i];
		const struct pcif_reg *r = &regs->table[e->reg];

		e->value = e->known = r->reset;
		e->shared = image && e->offset < regs->f->desc.bars[regs->bar].size &&
			    pcif_bar_policy(regs->f, regs->bar, e->offset) == PCIF_PAGE_SHARED;
		if (!e->shared)
			continue;
		regs->any_shared = true;
		pcif_image_store32(image_word(regs, e), r->kind == PCIF_REG_MAILBOX ? 0 : r->reset);
	}
}

/* ------------------------------------------------------------------ writes */

/* @mask: the bits that the client's access covered. */
static void write_element(struct pcif_regs *regs, struct element *e, uint32_t value, uint32_t mask)
{
	const struct pcif_reg *r = &regs->table[e->reg];
	uint32_t old = e->value;

	switch (r->kind) {
	case PCIF_REG_STATUS:
		return;
	case PCIF_REG_MAILBOX:
		if (r->write)
			r->write(regs->state, e->index, value & mask);
		return;
	case PCIF_REG_PLAIN:
		e->value = (old & ~(r->wmask & mask)) | (value & r->wmask & mask);
		e->value &= ~(value & mask & r->w1c);
		publish(regs, e);
		if (e->value != old && r->write)
			r->write(regs->state, e->index, e->value);
		return;
	}
}

/* ------------------------------------------------------------------ scanning */

struct found {
	struct element *e;
	uint32_t value;
};

struct scan {
	struct pcif_regs *regs;
	uint8_t *image;
	unsigned next, end; /* elements still to look at */
	struct found found[SCAN_BATCH];
	unsigned n;
};

static void scan_one(struct scan *s, struct element *e)
{
	uint32_t *p = (uint32_t *)(s->image + e->offset);
	uint32_t seen = __atomic_load_n(p, __ATOMIC_ACQUIRE);

	switch (s->regs->table[e->reg].kind) {
	case PCIF_REG_STATUS:
		if (seen != e->value)
			__atomic_store_n(p, e->value, __ATOMIC_RELEASE);
		return;
	case PCIF_REG_MAILBOX:
		if (seen)
			seen = __atomic_exchange_n(p, 0, __ATOMIC_ACQ_REL);
		if (seen)
			s->found[s->n++] = (struct found){ e, seen };
		return;
	case PCIF_REG_PLAIN:
		if (seen != e->known) {
			s->found[s->n++] = (struct found){ e, seen };
		} else if (e->value != e->known &&
			   __atomic_compare_exchange_n(p, &seen, e->value, false, __ATOMIC_ACQ_REL,
						       __ATOMIC_ACQUIRE)) {
			e->known = e->value;
		}
		return;
	}
}

/* Runs guarded: touches the image, runs no hook. */
static void scan_batch(void *data)
{
	struct scan *s = data;

	while (s->next < s->end && s->n < SCAN_BATCH) {
		struct element *e = &s->regs->elements[s->next++];

		if (e->shared)
			scan_one(s, e);
	}
}

static unsigned scan_range(struct pcif_regs *regs, unsigned first, unsigned n)
{
	struct scan s = { .regs = regs, .next = first, .end = first + n };
	unsigned changes = 0, resets = regs->resets;

	if (!regs->any_shared)
		return 0;
	while (s.next < s.end) {
		s.n = 0;
		/* A hook may have led to another image. */
		s.image = pcif_bar_image(regs->f, regs->bar);
		if (guard_call(scan_batch, &s))
			return changes;
		for (unsigned i = 0; i < s.n; i++) {
			struct element *e = s.found[i].e;

			/* A hook reset the registers: what was stored before is void. */
			if (regs->resets != resets)
				return changes + i;
			if (!is_mailbox(regs, e))
				e->known = s.found[i].value;
			write_element(regs, e, s.found[i].value, UINT32_MAX);
		}
		changes += s.n;
	}
	return changes;
}

unsigned pcif_regs_scan(struct pcif_regs *regs)
{
	return scan_range(regs, 0, regs->n_elements);
}

unsigned pcif_regs_scan_array(struct pcif_regs *regs, unsigned reg, unsigned first, unsigned n)
{
	unsigned count;

	if (reg >= regs->n)
		return 0;
	count = reg_count(&regs->table[reg]);
	if (first >= count)
		return 0;
	return scan_range(regs, regs->first[reg] + first, MIN(n, count - first));
}

/* ------------------------------------------------------------------ trapped access */

/* The register at @offset, after what clients stored to it before has been taken in; or NULL. */
static struct element *element_at(struct pcif_regs *regs, uint64_t offset)
{
	struct element *e;

	if (offset / 4 >= regs->map_words || !regs->map[offset / 4])
		return NULL;
	e = &regs->elements[regs->map[offset / 4] - 1];
	if (e->shared && atomic_load_explicit(&regs->f->shared_on, memory_order_relaxed))
		scan_range(regs, (unsigned)(e - regs->elements), 1);
	return e;
}

static uint32_t read_word(struct pcif_regs *regs, uint64_t offset)
{
	struct element *e = element_at(regs, offset);

	if (!e)
		return 0;
	if (regs->table[e->reg].read)
		return regs->table[e->reg].read(regs->state, e->index);
	return e->value;
}

/**
 * pcif_regs_read() - for a model's bar_read(). Offsets without a register read 0.
 */
uint64_t pcif_regs_read(struct pcif_regs *regs, uint64_t offset, unsigned size)
{
	uint64_t value;

	if (size == 8) {
		value = read_word(regs, offset);
		return value | (uint64_t)read_word(regs, offset + 4) << 32;
	}
	value = read_word(regs, offset & ~3ull) >> (offset % 4 * 8);
	return size >= 4 ? value : value & (BIT(8 * size) - 1);
}

/**
 * pcif_regs_write() - for a model's bar_write(). Offsets without a register drop it.
 */
void pcif_regs_write(struct pcif_regs *regs, uint64_t offset, unsigned size, uint64_t value)
{
	unsigned shift = (unsigned)(offset % 4 * 8);
	struct element *e;

	if (size == 8) {
		pcif_regs_write(regs, offset, 4, value & UINT32_MAX);
		pcif_regs_write(regs, offset + 4, 4, value >> 32);
		return;
	}
	e = element_at(regs, offset & ~3ull);
	if (e)
		write_element(regs, e, (uint32_t)value << shift,
			      size >= 4 ? UINT32_MAX : (BIT(8 * size) - 1) << shift);
}

/* ------------------------------------------------------------------ the model's own view */

static struct element *element_of(struct pcif_regs *regs, unsigned reg, unsigned index)
{
	if (reg >= regs->n || index >= reg_count(&regs->table[reg]))
		return NULL;
	return &regs->elements[regs->first[reg] + index];
}

/* The value as last taken in; 0 for a register or index that does not exist. */
uint32_t pcif_regs_get(struct pcif_regs *regs, unsigned reg, unsigned index)
{
	struct element *e = element_of(regs, reg, index);

	return e ? e->value : 0;
}

void pcif_regs_set(struct pcif_regs *regs, unsigned reg, unsigned index, uint32_t value)
{
	struct element *e = element_of(regs, reg, index);

	if (!e)
		return;
	e->value = value;
	publish(regs, e);
}
