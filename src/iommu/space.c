/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Address spaces: mapping, unmapping, dirty log.
 *
 * A removal goes in three steps. Under the lock the mappings leave the tree and the space gets a
 * new generation, which makes every thread's remembered translation worthless. Then, without the
 * lock, we wait until the accesses have ended that may have found them (access.c), and for the
 * pins. Only then are mappings and tree nodes freed. A map needs no waiting: it only adds.
 *
 * The dirty log is a bitmap for each mapping, made at start, so that its size follows what is
 * mapped and not what could be. It stays with its mapping.
 *
 * Source: Linux drivers/vfio/vfio_iommu_type1.c, vfio_dma_do_map(), vfio_dma_do_unmap(),
 * vfio_iova_dirty_bitmap().
 */
#include <errno.h>

#include "iommu/priv.h"

#define DEFAULT_LIMIT 65535u
#define IOVA_LAST ((1ull << 48) - 1)
#define PAGE_MASK ((uint64_t)UVF_PAGE_SIZE - 1)
#define PAGE_SHIFT 12

static_assert(UVF_PAGE_SIZE == 1u << PAGE_SHIFT, "shift of the page size");

static struct slab mapping_slab = SLAB_INIT(sizeof(struct mapping));

uint64_t space_generation_next(void)
{
	static _Atomic uint64_t generation = 1;

	return atomic_fetch_add_explicit(&generation, 1, memory_order_relaxed);
}

int iommu_space_new(struct iommu_space **space)
{
	struct iommu_space *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	atomic_init(&s->refs, 1);
	atomic_init(&s->generation, space_generation_next());
	pthread_mutex_init(&s->lock, NULL);
	s->limit = DEFAULT_LIMIT;
	*space = s;
	return 0;
}

struct iommu_space *iommu_space_get(struct iommu_space *space)
{
	atomic_fetch_add_explicit(&space->refs, 1, memory_order_relaxed);
	return space;
}

static uint64_t mapping_pages(const struct mapping *m)
{
	return (m->last - m->first + 1) >> PAGE_SHIFT;
}

static void mapping_free(struct mapping *m)
{
	window_put(m->window);
	iommu_mem_put(m->mem);
	free((void *)atomic_load_explicit(&m->dirty, memory_order_relaxed));
	slab_free(&mapping_slab, m);
}

void iommu_space_put(struct iommu_space *space)
{
	struct tree_node *retired = NULL;
	struct mapping *m;

	if (!space || atomic_fetch_sub_explicit(&space->refs, 1, memory_order_acq_rel) != 1)
		return;
	/* A port that is attached holds a reference: nobody can be inside. */
	while ((m = tree_next(&space->tree, 0))) {
		tree_remove(&space->tree, m, &retired);
		mapping_free(m);
	}
	tree_free_retired(retired);
	pthread_mutex_destroy(&space->lock);
	free(space);
}

/* ------------------------------------------------------------------ map */

unsigned iommu_space_ranges(const struct iommu_space *space, uint64_t first[], uint64_t last[],
			    unsigned max)
{
	static const uint64_t firsts[] = { 0, IOMMU_MSI_LAST + 1 };
	static const uint64_t lasts[] = { IOMMU_MSI_FIRST - 1, IOVA_LAST };

	for (unsigned i = 0; i < MIN(max, 2u); i++) {
		first[i] = firsts[i];
		last[i] = lasts[i];
	}
	return 2;
}

/* With the space's lock: what can be said without looking at the memory. */
static int check_room(struct iommu_space *space, uint64_t iova, uint64_t last)
{
	const struct mapping *next = tree_next(&space->tree, iova);

	if (next && next->first <= last)
		return -EEXIST;
	if (space->count >= space->limit)
		return -ENOSPC;
	if (last > IOVA_LAST || ranges_overlap(iova, last, IOMMU_MSI_FIRST, IOMMU_MSI_LAST))
		return -EINVAL;
	return 0;
}

static int dirty_alloc(struct mapping *m)
{
	_Atomic uint64_t *bits = calloc((mapping_pages(m) + 63) / 64, sizeof(*bits));

	if (!bits)
		return -ENOMEM;
	atomic_store_explicit(&m->dirty, bits, memory_order_release);
	return 0;
}

/* For a new log: an empty bitmap. */
static int dirty_reset(struct mapping *m)
{
	_Atomic uint64_t *bits = atomic_load_explicit(&m->dirty, memory_order_relaxed);

	if (!bits)
		return dirty_alloc(m);
	for (uint64_t i = 0; i < (mapping_pages(m) + 63) / 64; i++)
		atomic_store_explicit(&bits[i], 0, memory_order_relaxed);
	return 0;
}

static int mapping_new(uint64_t iova, uint64_t last, unsigned perm, struct iommu_mem *mem,
		       uint64_t vaddr, struct mapping **mapping)
{
	struct mapping *m = slab_alloc(&mapping_slab);
	struct iommu_place place;
	int err;

	if (!m)
		return -ENOMEM;
	err = mem->ops->locate(mem, vaddr, last - iova + 1, perm, &place);
	if (err) {
		slab_free(&mapping_slab, m);
		return err;
	}
	m->first = iova;
	m->last = last;
	m->perm = (uint8_t)perm;
	m->mem = iommu_mem_get(mem);
	m->window = place.window;
	m->direct = place.host != NULL;
	if (m->direct)
		m->base.host = place.host;
	else
		m->base.vaddr = vaddr;
	m->cold.vaddr = vaddr;
	*mapping = m;
	return 0;
}

int iommu_space_map(struct iommu_space *space, uint64_t iova, uint64_t size, unsigned perm,
		    struct iommu_mem *mem, uint64_t vaddr)
{
	struct tree_node *retired = NULL;
	struct mapping *m = NULL;
	uint64_t last, vlast;
	int err;

	if (!size)
		return -EINVAL;
	if (range_last(iova, size, &last) || range_last(vaddr, size, &vlast))
		return -EOVERFLOW;
	if (!perm || (perm & ~(IOMMU_READ | IOMMU_WRITE)) || ((iova | vaddr | size) & PAGE_MASK))
		return -EINVAL;
	pthread_mutex_lock(&space->lock);
	err = check_room(space, iova, last);
	pthread_mutex_unlock(&space->lock);
	if (err)
		return err;
	/* Looking at the client's memory may take its time: not under the lock. */
	err = mapping_new(iova, last, perm, mem, vaddr, &m);
	if (err)
		return err;
	pthread_mutex_lock(&space->lock);
	err = check_room(space, iova, last);
	if (!err && atomic_load_explicit(&space->dirty, memory_order_relaxed))
		err = dirty_alloc(m);
	if (!err) {
		err = tree_insert(&space->tree, m, &retired);
		if (!err)
			space->count++;
		else
			atomic_store(&space->generation, space_generation_next());
	}
	pthread_mutex_unlock(&space->lock);
	if (err) {
		/* A part may have been visible for a moment. */
		access_wait_space(space);
		tree_free_retired(retired);
		mapping_free(m);
	}
	return err;
}

/* ------------------------------------------------------------------ unmap */

/* Whether an end of [@first,@last] lies inside a mapping, so that a part of it would be left. */
static bool cuts(struct iommu_space *space, uint64_t first, uint64_t last)
{
	const struct mapping *m = tree_next(&space->tree, first);

	if (m && m->first < first)
		return true;
	m = tree_next(&space->tree, last);
	return m && m->first <= last && m->last > last;
}

/* Takes each mapping that starts in [@first,@last] out of the tree. */
static struct mapping *take_out(struct iommu_space *space, uint64_t first, uint64_t last,
				struct tree_node **retired, uint64_t *removed)
{
	struct mapping *m, *list = NULL;

	*removed = 0;
	while ((m = tree_next(&space->tree, first)) && m->first <= last) {
		tree_remove(&space->tree, m, retired);
		space->count--;
		*removed += m->last - m->first + 1;
		m->cold.next = list;
		list = m;
	}
	/* Before the wait looks at the sections; see access_find(). */
	if (list)
		atomic_store(&space->generation, space_generation_next());
	return list;
}

int iommu_space_unmap(struct iommu_space *space, enum iommu_unmap_rule rule, uint64_t iova,
		      uint64_t size, uint64_t *removed)
{
	struct tree_node *retired = NULL;
	struct mapping *list = NULL;
	const struct mapping *m;
	uint64_t last = UINT64_MAX;
	int err = 0;

	if (rule == IOMMU_UNMAP_ALL) {
		iova = 0;
	} else {
		if ((iova & PAGE_MASK) || !size || (size & PAGE_MASK))
			return -EINVAL;
		if (range_last(iova, size, &last))
			return -EOVERFLOW;
	}
	pthread_mutex_lock(&space->lock);
	m = tree_next(&space->tree, iova);
	if (rule == IOMMU_UNMAP_EXACT && cuts(space, iova, last))
		err = -EINVAL;
	else if (rule == IOMMU_UNMAP_LEGACY && m && m->first < iova)
		*removed = 0; /* as type1 does: nothing, not even what starts further on */
	else
		list = take_out(space, iova, last, &retired, removed);
	pthread_mutex_unlock(&space->lock);
	if (!list)
		return err;
	access_wait_space(space);
	while (list) {
		struct mapping *gone = list;

		list = gone->cold.next;
		pins_wait(&gone->pins);
		mapping_free(gone);
	}
	tree_free_retired(retired);
	return 0;
}

/* ------------------------------------------------------------------ watching */

size_t iommu_space_count(struct iommu_space *space)
{
	size_t n;

	pthread_mutex_lock(&space->lock);
	n = space->count;
	pthread_mutex_unlock(&space->lock);
	return n;
}

void iommu_space_set_limit(struct iommu_space *space, size_t limit)
{
	pthread_mutex_lock(&space->lock);
	space->limit = limit;
	pthread_mutex_unlock(&space->lock);
}

/* The mapping that follows @m, or the first one for NULL. */
static struct mapping *space_next(struct iommu_space *space, const struct mapping *m)
{
	/* No mapping ends at 2^64-1: see IOVA_LAST. */
	return tree_next(&space->tree, m ? m->last + 1 : 0);
}

void iommu_space_for_each(struct iommu_space *space,
			  void (*cb)(void *data, const struct iommu_mapping *m), void *data)
{
	pthread_mutex_lock(&space->lock);
	for (struct mapping *m = NULL; (m = space_next(space, m));) {
		struct iommu_mapping out = { m->first, m->last, m->cold.vaddr, m->perm, m->direct };

		cb(data, &out);
	}
	pthread_mutex_unlock(&space->lock);
}

/* ------------------------------------------------------------------ dirty log */

int iommu_space_dirty_start(struct iommu_space *space)
{
	struct mapping *m = NULL;
	int err = 0;

	pthread_mutex_lock(&space->lock);
	if (!atomic_load_explicit(&space->dirty, memory_order_relaxed)) {
		while (!err && (m = space_next(space, m)))
			err = dirty_reset(m);
		if (!err)
			atomic_store(&space->dirty, true);
	}
	pthread_mutex_unlock(&space->lock);
	return err;
}

/* The bitmaps stay until unmap: a device may be setting a bit just now. */
int iommu_space_dirty_stop(struct iommu_space *space)
{
	pthread_mutex_lock(&space->lock);
	atomic_store(&space->dirty, false);
	pthread_mutex_unlock(&space->lock);
	return 0;
}

bool iommu_space_dirty_started(const struct iommu_space *space)
{
	return atomic_load(&((struct iommu_space *)space)->dirty);
}

void space_dirty_mark(struct iommu_space *space, struct mapping *m, uint64_t first, uint64_t last)
{
	_Atomic uint64_t *bits;
	uint64_t page = (first - m->first) >> PAGE_SHIFT;
	uint64_t end = (last - m->first) >> PAGE_SHIFT;

	if (!atomic_load_explicit(&space->dirty, memory_order_acquire))
		return;
	bits = atomic_load_explicit(&m->dirty, memory_order_acquire);
	if (!bits)
		return;
	while (page <= end) {
		uint64_t in_word = page & 63, n = MIN(64 - in_word, end - page + 1);
		uint64_t mask = (n == 64 ? UINT64_MAX : BIT64(n) - 1) << in_word;

		/*
		 * Always a read-modify-write, even where the bits are set already: whoever clears
		 * the word after this one must also see the data that was written before it. A
		 * plain look at the word could overtake that data.
		 */
		atomic_fetch_or_explicit(&bits[page / 64], mask, memory_order_acq_rel);
		page += n;
	}
}

/* Moves the bits of @m into @bitmap, of which bit 0 is the page at @iova <= m->first. */
static void fetch_mapping(struct mapping *m, uint64_t iova, uint64_t *bitmap)
{
	_Atomic uint64_t *bits = atomic_load_explicit(&m->dirty, memory_order_relaxed);
	uint64_t at = (m->first - iova) >> PAGE_SHIFT, pages = mapping_pages(m);

	for (uint64_t page = 0; bits && page < pages; page += 64, at += 64) {
		uint64_t word;

		if (!atomic_load_explicit(&bits[page / 64], memory_order_relaxed))
			continue;
		word = atomic_exchange_explicit(&bits[page / 64], 0, memory_order_acq_rel);
		bitmap[at / 64] |= word << (at & 63);
		/* The last word of @bitmap ends with the request: look before reaching past it. */
		if ((at & 63) && word >> (64 - (at & 63)))
			bitmap[at / 64 + 1] |= word >> (64 - (at & 63));
	}
}

int iommu_space_dirty_fetch(struct iommu_space *space, uint64_t iova, uint64_t size,
			    uint64_t *bitmap)
{
	struct mapping *m;
	uint64_t last;
	int err = 0;

	if (((iova | size) & PAGE_MASK) || range_last(iova, size, &last))
		return -EINVAL;
	pthread_mutex_lock(&space->lock);
	if (!atomic_load_explicit(&space->dirty, memory_order_relaxed) || cuts(space, iova, last)) {
		err = -EINVAL;
	} else if (bitmap) {
		for (m = tree_next(&space->tree, iova); m && m->first <= last;
		     m = space_next(space, m))
			fetch_mapping(m, iova, bitmap);
	}
	pthread_mutex_unlock(&space->lock);
	return err;
}

/* Bits of the pages [@first, @last] (IOVA) of @m, into @bitmap, of which bit 0 is page @iova. */
static void take_pages(struct mapping *m, uint64_t first, uint64_t last, bool clear, uint64_t iova,
		       uint64_t *bitmap)
{
	_Atomic uint64_t *bits = atomic_load_explicit(&m->dirty, memory_order_relaxed);
	uint64_t page = (first - m->first) >> PAGE_SHIFT, end = (last - m->first) >> PAGE_SHIFT;
	uint64_t at = (first - iova) >> PAGE_SHIFT;

	while (bits && page <= end) {
		uint64_t n = MIN(64 - (page & 63), end - page + 1);
		uint64_t mask = (n == 64 ? UINT64_MAX : BIT64(n) - 1) << (page & 63);
		uint64_t word = atomic_load_explicit(&bits[page / 64], memory_order_acquire) & mask;

		if (word && clear)
			word = atomic_fetch_and_explicit(&bits[page / 64], ~mask,
							 memory_order_acq_rel) &
			       mask;
		word >>= page & 63;
		if (word) {
			bitmap[at / 64] |= word << (at & 63);
			if ((at & 63) && word >> (64 - (at & 63)))
				bitmap[at / 64 + 1] |= word >> (64 - (at & 63));
		}
		page += n;
		at += n;
	}
}

int iommu_space_dirty_take(struct iommu_space *space, uint64_t iova, uint64_t size, bool clear,
			   uint64_t *bitmap)
{
	uint64_t last, at = iova;
	int err = 0;

	if (((iova | size) & PAGE_MASK) || range_last(iova, size, &last))
		return -EINVAL;
	pthread_mutex_lock(&space->lock);
	if (!atomic_load_explicit(&space->dirty, memory_order_relaxed))
		err = -EINVAL;
	while (!err) {
		struct mapping *m = tree_next(&space->tree, at);

		if (!m || m->first > at) {
			err = -ENOENT;
			break;
		}
		take_pages(m, at, MIN(m->last, last), clear, iova, bitmap);
		if (m->last >= last)
			break;
		at = m->last + 1;
	}
	pthread_mutex_unlock(&space->lock);
	return err;
}

/* ------------------------------------------------------------------ ports of a space */

void space_place_add(struct iommu_space *space, struct port_place *place)
{
	pthread_mutex_lock(&space->lock);
	place->next = space->places;
	space->places = place;
	pthread_mutex_unlock(&space->lock);
}

void space_place_remove(struct iommu_space *space, struct port_place *place)
{
	struct port_place **link;

	pthread_mutex_lock(&space->lock);
	for (link = &space->places; *link != place; link = &(*link)->next)
		;
	*link = place->next;
	pthread_mutex_unlock(&space->lock);
}
