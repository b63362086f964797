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
 * Order. A client stores arguments, then a command, and the scan may have passed an argument's
 * place before that was stored and still meet the command. So a scan looks twice before it runs any
 * hook:
 *   1. over everything: takes in values, takes commands out, and marks whose hook is due;
 *   2. over PLAIN registers again: takes in values; what it finds new is due in the next scan only.
 * Then come the hooks that 1 marked, PLAIN before MAILBOX. Whatever a client stored before a store
 * that 1 saw is visible to 2 (the client's order, and 1's acquiring loads and exchanges), so it is
 * in the table when the hook runs. What 2 itself sees first may have arguments that 2 has passed;
 * hence its hook waits for another turn. What a client stores after a command, without waiting
 * until that is done, may count for the command or not: a page of memory does not keep the order.
 *
 * The image may raise SIGBUS at any moment. Each look is one guarded call (its cost is that of
 * saving a few CPU registers), and is over before any hook runs.
 */
#include <errno.h>

#include "priv.h"

/* Largest offset that a table may describe: the index is a plain array of words. */
#define REGS_MAX_OFFSET (16u << 20)

/* A hook that a scan owes. */
enum due { DUE_NOT, DUE_NOW, DUE_NEXT };

struct element {
	uint32_t offset;
	uint32_t value;
	uint32_t known; /* MAILBOX: the command taken out, while due */
	uint32_t index;
	uint16_t reg;
	uint8_t due;
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
	uint32_t accesses; /* trapped, since the last reset */
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
	regs->accesses = 0;
	for (unsigned i = 0; i < regs->n_elements; i++) {
		struct element *e = &regs->elements[i];
		const struct pcif_reg *r = &regs->table[e->reg];

		e->value = e->known = r->reset;
		/* Also ends a scan of which this is a hook: nothing is due any more. */
		e->due = DUE_NOT;
		e->shared = image && e->offset < regs->f->desc.bars[regs->bar].size &&
			    pcif_bar_policy(regs->f, regs->bar, e->offset) == PCIF_PAGE_SHARED;
		if (!e->shared)
			continue;
		regs->any_shared = true;
		pcif_image_store32(image_word(regs, e), r->kind == PCIF_REG_MAILBOX ? 0 : r->reset);
	}
}

/* ------------------------------------------------------------------ writes */

static uint32_t plain_value(const struct pcif_reg *r, uint32_t old, uint32_t value, uint32_t mask)
{
	old = (old & ~(r->wmask & mask)) | (value & r->wmask & mask);
	return old & ~(value & mask & r->w1c);
}

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
		e->value = plain_value(r, old, value, mask);
		publish(regs, e);
		if ((e->value != old || e->due) && r->write) {
			e->due = DUE_NOT;
			r->write(regs->state, e->index, e->value);
		}
		return;
	}
}

/* ------------------------------------------------------------------ scanning */

struct look {
	struct pcif_regs *regs;
	uint8_t *image;
	unsigned next, end; /* elements still to look at */
	bool second;	    /* see the head of the file */
	unsigned changes;
};

static void look_mailbox(struct look *l, struct element *e, uint32_t *p)
{
	/* One that is due and not run: this is a scan inside a hook. The next stays where it is. */
	if (l->second || e->due || !__atomic_load_n(p, __ATOMIC_RELAXED))
		return;
	e->known = __atomic_exchange_n(p, 0, __ATOMIC_ACQ_REL);
	if (!e->known)
		return;
	e->due = DUE_NOW;
	l->changes++;
}

static void look_plain(struct look *l, struct element *e, uint32_t *p)
{
	uint32_t seen = __atomic_load_n(p, __ATOMIC_ACQUIRE);

	if (e->due == DUE_NEXT && !l->second) {
		e->due = DUE_NOW;
		l->changes++;
	}
	if (seen != e->known) {
		uint32_t value = plain_value(&l->regs->table[e->reg], e->value, seen, UINT32_MAX);

		e->known = seen;
		if (value != e->value && !e->due)
			e->due = l->second ? DUE_NEXT : DUE_NOW;
		e->value = value;
		l->changes += !l->second;
	}
	if (e->value != e->known && __atomic_compare_exchange_n(p, &seen, e->value, false,
								__ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
		e->known = e->value;
}

/* Runs guarded: touches the image, runs no hook. */
static void look(void *data)
{
	struct look *l = data;

	while (l->next < l->end) {
		struct element *e = &l->regs->elements[l->next++];
		uint32_t *p = (uint32_t *)(l->image + e->offset);

		if (!e->shared)
			continue;
		switch (l->regs->table[e->reg].kind) {
		case PCIF_REG_STATUS:
			if (__atomic_load_n(p, __ATOMIC_RELAXED) != e->value)
				__atomic_store_n(p, e->value, __ATOMIC_RELEASE);
			break;
		case PCIF_REG_MAILBOX:
			look_mailbox(l, e, p);
			break;
		case PCIF_REG_PLAIN:
			look_plain(l, e, p);
			break;
		}
	}
}

static unsigned look_range(struct pcif_regs *regs, unsigned first, unsigned n, bool second)
{
	struct look l = { .regs = regs, .next = first, .end = first + n, .second = second };

	l.image = pcif_bar_image(regs->f, regs->bar);
	/* Should the image go meanwhile: what was seen before counts. */
	(void)guard_call(look, &l);
	return l.changes;
}

struct peek {
	const struct pcif_regs *regs;
	const uint8_t *image;
	bool seen;
};

static void peek(void *data)
{
	struct peek *l = data;

	for (unsigned i = 0; i < l->regs->n_elements && !l->seen; i++) {
		const struct element *e = &l->regs->elements[i];
		uint32_t expected = e->value;

		if (!e->shared)
			continue;
		if (is_mailbox(l->regs, e))
			expected = 0;
		l->seen = __atomic_load_n((const uint32_t *)(l->image + e->offset),
					  __ATOMIC_RELAXED) != expected;
	}
}

bool regs_peek(struct pcif_regs *regs)
{
	struct peek l = { .regs = regs };

	if (!regs->any_shared)
		return false;
	l.image = pcif_bar_image(regs->f, regs->bar);
	(void)guard_call(peek, &l);
	return l.seen;
}

/* Runs the hooks of one kind that are due. */
static void run_due(struct pcif_regs *regs, unsigned first, unsigned n, bool mailboxes)
{
	for (unsigned i = first; i < first + n; i++) {
		struct element *e = &regs->elements[i];
		const struct pcif_reg *r = &regs->table[e->reg];

		if (e->due != DUE_NOW || is_mailbox(regs, e) != mailboxes)
			continue;
		e->due = DUE_NOT;
		if (r->write)
			r->write(regs->state, e->index, mailboxes ? e->known : e->value);
	}
}

unsigned pcif_regs_scan(struct pcif_regs *regs)
{
	unsigned changes;

	if (!regs->any_shared)
		return 0;
	changes = look_range(regs, 0, regs->n_elements, false);
	if (!changes)
		return 0;
	(void)look_range(regs, 0, regs->n_elements, true);
	run_due(regs, 0, regs->n_elements, false);
	run_due(regs, 0, regs->n_elements, true);
	return changes;
}

/**
 * pcif_regs_scan_array() - looks at these elements and no others, once: their hooks may find that
 * other registers are older than what the client stored.
 */
unsigned pcif_regs_scan_array(struct pcif_regs *regs, unsigned reg, unsigned first, unsigned n)
{
	unsigned changes, count;

	if (reg >= regs->n || !regs->any_shared)
		return 0;
	count = reg_count(&regs->table[reg]);
	if (first >= count)
		return 0;
	n = MIN(n, count - first);
	first += regs->first[reg];
	changes = look_range(regs, first, n, false);
	if (changes)
		run_due(regs, first, n, regs->table[reg].kind == PCIF_REG_MAILBOX);
	return changes;
}

/* ------------------------------------------------------------------ trapped access */

/* A trapped access comes after all that the client stored by mmap before it. */
static void access_begins(struct pcif_regs *regs)
{
	regs->accesses++;
	if (regs->any_shared && atomic_load_explicit(&regs->f->shared_on, memory_order_relaxed))
		(void)pcif_regs_scan(regs);
}

static struct element *element_at(struct pcif_regs *regs, uint64_t offset)
{
	if (offset / 4 >= regs->map_words || !regs->map[offset / 4])
		return NULL;
	return &regs->elements[regs->map[offset / 4] - 1];
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

static void write_word(struct pcif_regs *regs, uint64_t offset, uint32_t value, uint32_t mask)
{
	struct element *e = element_at(regs, offset);

	if (e)
		write_element(regs, e, value, mask);
}

/**
 * pcif_regs_read() - for a model's bar_read(). Offsets without a register read 0.
 */
uint64_t pcif_regs_read(struct pcif_regs *regs, uint64_t offset, unsigned size)
{
	uint64_t value;

	access_begins(regs);
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

	access_begins(regs);
	if (size == 8) {
		write_word(regs, offset, (uint32_t)value, UINT32_MAX);
		write_word(regs, offset + 4, (uint32_t)(value >> 32), UINT32_MAX);
		return;
	}
	write_word(regs, offset & ~3ull, (uint32_t)value << shift,
		   size >= 4 ? UINT32_MAX : (BIT(8 * size) - 1) << shift);
}

/* Trapped reads and writes since the last reset, one that is running included. */
uint32_t pcif_regs_accesses(const struct pcif_regs *regs)
{
	return regs->accesses;
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

/* What clients see by mmap follows with the next scan: for a register that is set often, on a line
 * that they store to. */
void pcif_regs_set_later(struct pcif_regs *regs, unsigned reg, unsigned index, uint32_t value)
{
	struct element *e = element_of(regs, reg, index);

	if (e)
		e->value = value;
}
