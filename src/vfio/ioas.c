/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * I/O address spaces of an iommufd. Source: drivers/iommu/iommufd/io_pagetable.c.
 *
 * An IOAS keeps an *area* for whatever is mapped, and beside it a space of src/iommu, where devices
 * find it. As long as no page table hangs on an IOAS, anything at all may be mapped: at addresses
 * that are no multiple of a page, or that no IOMMU has. Such an area is *bare*: it is there, is in
 * the way of others and can be copied, but no device could reach it, and none can be attached as
 * long as it is there. What a page table takes is in the space from the beginning.
 *
 * Looking at a client's memory and waiting for DMA take their time, and are done without the lock:
 * an area that comes or goes is in its place meanwhile, as *busy*.
 */
#include "vfio/priv.h"

#define PAGE_MASK ((uint64_t)UVF_PAGE_SIZE - 1)
/* An IOAS chooses addresses that are good for large pages, as far as this. */
#define ALIGN_MAX MIB(2)
#define AREAS_MAX (1u << 24)

enum area_state { AREA_BUSY, AREA_LIVE, AREA_BARE };

struct area {
	struct range_node node;
	struct ioas_source from;
	struct area *next; /* in a list that somebody works on */
	uint8_t perm;
	bool bare;
	enum area_state state;
};

static struct area *area_of(struct range_node *node)
{
	return node ? container_of(node, struct area, node) : NULL;
}

static struct area *area_at(struct ioas *s, uint64_t at)
{
	return area_of(range_map_lower(&s->areas, at));
}

static uint64_t aperture_last(const struct ioas *s)
{
	uint64_t first[2], last[2];

	(void)iommu_space_ranges(s->space, first, last, 2);
	return last[1];
}

int ioas_new(struct ioas **ioas)
{
	struct ioas *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	if (iommu_space_new(&s->space)) {
		free(s);
		return -ENOMEM;
	}
	iommu_space_set_limit(s->space, AREAS_MAX);
	s->obj.type = IOFD_IOAS;
	atomic_init(&s->refs, 1);
	s->dense = UVF_PAGE_SIZE;
	pthread_mutex_init(&s->lock, NULL);
	*ioas = s;
	return 0;
}

static void area_free(struct area *a)
{
	iommu_mem_put(a->from.mem);
	free(a);
}

static void allowed_free(struct range_map *map)
{
	struct range_node *n;

	while ((n = range_map_first(map))) {
		range_map_remove(map, n);
		free(n);
	}
}

void ioas_put(struct ioas *s)
{
	struct range_node *n;

	if (!s || atomic_fetch_sub(&s->refs, 1) != 1)
		return;
	while ((n = range_map_first(&s->areas))) {
		range_map_remove(&s->areas, n);
		area_free(area_of(n));
	}
	allowed_free(&s->allowed);
	iommu_space_put(s->space);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

/* ------------------------------------------------------------------ what may be mapped */

/* With the lock. */
static uint64_t alignment(const struct ioas *s)
{
	return s->hwpts || s->small_pages ? UVF_PAGE_SIZE : 1;
}

static bool is_reserved(const struct ioas *s, uint64_t first, uint64_t last)
{
	return (s->hwpts && last > aperture_last(s)) ||
	       (s->devices && ranges_overlap(first, last, IOMMU_MSI_FIRST, IOMMU_MSI_LAST));
}

static bool any_in(const struct range_map *map, uint64_t first, uint64_t last)
{
	struct range_node *n = range_map_lower(map, first);

	return n && n->first <= last;
}

unsigned ioas_ranges(struct ioas *s, struct abi_iova_range ranges[3], uint64_t *align)
{
	unsigned n = 0;

	pthread_mutex_lock(&s->lock);
	*align = alignment(s);
	ranges[0].start = 0;
	if (s->devices) {
		ranges[n++].last = IOMMU_MSI_FIRST - 1;
		ranges[n].start = IOMMU_MSI_LAST + 1;
	}
	ranges[n++].last = s->hwpts ? aperture_last(s) : IOVA_WHOLE_LAST;
	pthread_mutex_unlock(&s->lock);
	return n;
}

/* Source: iopt_table_add_domain(). */
int ioas_enter_hwpt(struct ioas *s)
{
	uint64_t beyond = aperture_last(s) + 1;
	int ret = 0;

	pthread_mutex_lock(&s->lock);
	if (s->unfit || any_in(&s->allowed, beyond, IOVA_WHOLE_LAST))
		ret = -EADDRINUSE;
	else
		s->hwpts++;
	pthread_mutex_unlock(&s->lock);
	return ret;
}

void ioas_leave_hwpt(struct ioas *s)
{
	pthread_mutex_lock(&s->lock);
	s->hwpts--;
	pthread_mutex_unlock(&s->lock);
}

/* Source: iopt_table_enforce_dev_resv_regions(). */
int ioas_enter_device(struct ioas *s)
{
	int ret = 0;

	pthread_mutex_lock(&s->lock);
	if (any_in(&s->areas, IOMMU_MSI_FIRST, IOMMU_MSI_LAST) ||
	    any_in(&s->allowed, IOMMU_MSI_FIRST, IOMMU_MSI_LAST))
		ret = -EADDRINUSE;
	else
		s->devices++;
	pthread_mutex_unlock(&s->lock);
	return ret;
}

void ioas_leave_device(struct ioas *s)
{
	pthread_mutex_lock(&s->lock);
	s->devices--;
	pthread_mutex_unlock(&s->lock);
}

static bool is_misaligned(const struct area *a)
{
	return ((a->node.first | a->from.length | a->from.vaddr) & PAGE_MASK) != 0;
}

/* Source: iopt_disable_large_pages(). */
int ioas_small_pages(struct ioas *s, bool on)
{
	struct area *a;
	int ret = 0;

	pthread_mutex_lock(&s->lock);
	if (on && !s->small_pages) {
		if (s->hwpts && s->areas.count)
			ret = -EINVAL;
		for (a = area_at(s, 0); a && !ret; a = area_of(range_map_next(&a->node)))
			if (is_misaligned(a))
				ret = -EADDRINUSE;
	}
	if (!ret)
		s->small_pages = on;
	pthread_mutex_unlock(&s->lock);
	return ret;
}

bool ioas_has_pages(struct ioas *s, bool *small)
{
	bool any;

	pthread_mutex_lock(&s->lock);
	any = s->areas.count != 0;
	if (small)
		*small = s->small_pages;
	pthread_mutex_unlock(&s->lock);
	return any;
}

/* Source: iommufd_ioas_load_iovas(), iopt_set_allow_iova(). */
int ioas_allow(struct ioas *s, const struct abi_iova_range *allowed, uint32_t n)
{
	struct range_map map = { 0 }, old;
	int ret = 0;

	for (uint32_t i = 0; i < n && !ret; i++) {
		struct range_node *node = calloc(1, sizeof(*node));

		if (!node) {
			ret = -ENOMEM;
			break;
		}
		node->first = allowed[i].start;
		node->last = allowed[i].last;
		if (allowed[i].start >= allowed[i].last || range_map_insert(&map, node)) {
			free(node);
			ret = -EINVAL;
		}
	}
	pthread_mutex_lock(&s->lock);
	for (struct range_node *node = range_map_first(&map); node && !ret;
	     node = range_map_next(node))
		if (is_reserved(s, node->first, node->last))
			ret = -EADDRINUSE;
	old = map;
	if (!ret) {
		old = s->allowed;
		s->allowed = map;
	}
	pthread_mutex_unlock(&s->lock);
	allowed_free(&old);
	return ret;
}

/* ------------------------------------------------------------------ choosing an address */

/* The lowest place for @length bytes in [@lo, @hi]. With the lock. */
static bool find_hole(struct ioas *s, uint64_t lo, uint64_t hi, uint64_t length, uint64_t align,
		      uint64_t page_offset, uint64_t *iova)
{
	uint64_t at = lo >= UVF_PAGE_SIZE ? MAX(lo, s->dense) : lo, last;

	for (;;) {
		uint64_t up = ALIGN_UP(at, align) | page_offset;
		struct area *a;

		if (up < at || range_last(up, length, &last) || last > hi)
			return false;
		a = area_at(s, at);
		/* What lies before it is of no use for others either. */
		if (a && a->node.first <= at && at == s->dense && a->node.last < IOVA_WHOLE_LAST)
			s->dense = a->node.last + 1;
		if (a && a->node.last < up && a->node.last >= at) {
			at = a->node.last + 1;
			continue;
		}
		if (a && a->node.first <= last) {
			if (a->node.last == IOVA_WHOLE_LAST)
				return false;
			at = a->node.last + 1;
		} else if (s->hwpts && last > aperture_last(s)) {
			return false;
		} else if (is_reserved(s, up, last)) {
			at = IOMMU_MSI_LAST + 1;
		} else {
			*iova = up;
			return true;
		}
	}
}

static uint64_t power_of_two_from(uint64_t v)
{
	return v <= 1 ? 1 : BIT64(64 - __builtin_clzll(v - 1));
}

/* Source: iopt_alloc_iova(). With the lock. */
static int choose_iova(struct ioas *s, uint64_t vaddr, uint64_t length, uint64_t *iova)
{
	const uint64_t lowest = UVF_PAGE_SIZE, highest = IOVA_WHOLE_LAST - UVF_PAGE_SIZE;
	uint64_t align;

	if (!length || length >= IOVA_WHOLE_LAST / 2)
		return -EOVERFLOW;
	align = power_of_two_from(length);
	if (vaddr)
		align = MIN(align, BIT64(__builtin_ctzll(vaddr)));
	align = MIN(align, ALIGN_MAX);
	if (align < alignment(s))
		return -EINVAL;
	if (!s->allowed.count)
		return find_hole(s, lowest, highest, length, align, vaddr & PAGE_MASK, iova)
			       ? 0
			       : -ENOSPC;
	for (struct range_node *n = range_map_first(&s->allowed); n; n = range_map_next(n))
		if (find_hole(s, MAX(n->first, lowest), MIN(n->last, highest), length, align,
			      vaddr & PAGE_MASK, iova))
			return 0;
	return -ENOSPC;
}

/* Source: iopt_check_iova(). With the lock. */
static int check_iova(struct ioas *s, uint64_t iova, uint64_t length)
{
	uint64_t last;

	if (iova & (alignment(s) - 1))
		return -EINVAL;
	if (range_last(iova, length, &last))
		return -EOVERFLOW;
	if (is_reserved(s, iova, last))
		return -EINVAL;
	return any_in(&s->areas, iova, last) ? -EEXIST : 0;
}

/* ------------------------------------------------------------------ map */

/* With the lock. */
static void area_insert(struct ioas *s, struct area *a)
{
	a->bare = is_misaligned(a) || a->node.last > aperture_last(s);
	s->unfit += a->bare;
	a->bare |= ranges_overlap(a->node.first, a->node.last, IOMMU_MSI_FIRST, IOMMU_MSI_LAST);
	a->state = AREA_BUSY;
	(void)range_map_insert(&s->areas, &a->node); /* there is room, as was looked at */
}

static void area_remove(struct ioas *s, struct area *a)
{
	s->unfit -= is_misaligned(a) || a->node.last > aperture_last(s);
	s->dense = MIN(s->dense, MAX(a->node.first, UVF_PAGE_SIZE));
	range_map_remove(&s->areas, &a->node);
}

static void list_free(struct area *list)
{
	while (list) {
		struct area *a = list;

		list = a->next;
		area_free(a);
	}
}

static struct area *list_new(const struct ioas_source *from, unsigned n, unsigned perm,
			     uint64_t *length)
{
	struct area *list = NULL, **end = &list;

	*length = 0;
	for (unsigned i = 0; i < n; i++) {
		struct area *a = calloc(1, sizeof(*a));

		if (!a) {
			list_free(list);
			return NULL;
		}
		a->from = from[i];
		iommu_mem_get(a->from.mem);
		a->perm = (uint8_t)perm;
		*length += a->from.length;
		*end = a;
		end = &a->next;
	}
	return list;
}

/* Finds and takes the place. Source: iopt_alloc_area_pages(), iopt_insert_area(). */
static int list_place(struct ioas *s, struct area *list, uint64_t length, bool fixed,
		      uint64_t *iova)
{
	uint64_t at;
	int ret = 0;

	pthread_mutex_lock(&s->lock);
	if (!length || length & (alignment(s) - 1))
		ret = -EINVAL;
	else if (s->areas.count >= AREAS_MAX)
		ret = -ENOMEM;
	else
		ret = fixed ? check_iova(s, *iova, length)
			    : choose_iova(s, list->from.vaddr, length, iova);
	for (struct area *a = list; a && !ret; a = a->next) {
		if (a->perm & IOMMU_WRITE && !a->from.writable)
			ret = -EPERM;
		else if (a->from.vaddr & PAGE_MASK & (alignment(s) - 1))
			ret = -EINVAL;
	}
	at = *iova;
	for (struct area *a = list; a && !ret; a = a->next) {
		a->node.first = at;
		a->node.last = at + (a->from.length - 1);
		at += a->from.length;
		area_insert(s, a);
	}
	pthread_mutex_unlock(&s->lock);
	return ret;
}

/* Into the space, one after the other; on failure none is. */
static int list_fill(struct ioas *s, struct area *list)
{
	struct area *a;
	uint64_t removed;
	int ret = 0;

	for (a = list; a; a = a->next) {
		if (a->bare)
			continue;
		ret = iommu_space_map(s->space, a->node.first, a->from.length, a->perm, a->from.mem,
				      a->from.vaddr);
		if (ret)
			break;
	}
	for (struct area *b = list; ret && b != a; b = b->next)
		if (!b->bare)
			(void)iommu_space_unmap(s->space, IOMMU_UNMAP_EXACT, b->node.first,
						b->from.length, &removed);
	pthread_mutex_lock(&s->lock);
	for (a = list; a; a = a->next) {
		if (ret)
			area_remove(s, a);
		else
			a->state = a->bare ? AREA_BARE : AREA_LIVE;
	}
	pthread_mutex_unlock(&s->lock);
	return ret;
}

int ioas_map(struct ioas *s, const struct ioas_source *from, unsigned n, unsigned perm, bool fixed,
	     uint64_t *iova)
{
	uint64_t length, at = *iova;
	struct area *list = list_new(from, n, perm, &length);
	int ret;

	if (!list)
		return -ENOMEM;
	ret = list_place(s, list, length, fixed, &at);
	if (!ret)
		ret = list_fill(s, list);
	if (ret)
		list_free(list);
	else
		*iova = at;
	return ret;
}

/* ------------------------------------------------------------------ unmap */

/* Takes what is wholly in the range, up to what is not. With the lock. */
static struct area *list_take(struct ioas *s, uint64_t first, uint64_t last, int *error)
{
	struct area *list = NULL, **end = &list, *a = area_at(s, first);

	*error = 0;
	for (; a && a->node.first <= last; a = area_of(range_map_next(&a->node))) {
		if (a->state == AREA_BUSY)
			*error = -EBUSY;
		else if (a->node.first < first || a->node.last > last)
			*error = -ENOENT;
		if (*error)
			break;
		a->state = AREA_BUSY;
		a->next = NULL;
		*end = a;
		end = &a->next;
	}
	return list;
}

/* Out of the space, in one go: there is nothing else between them. */
static void list_drain(struct ioas *s, struct area *list)
{
	uint64_t first = 1, last = 0, removed;

	for (struct area *a = list; a; a = a->next) {
		if (a->bare)
			continue;
		if (first > last)
			first = a->node.first;
		last = a->node.last;
	}
	if (first < last)
		(void)iommu_space_unmap(s->space, IOMMU_UNMAP_EXACT, first, last - first + 1,
					&removed);
}

/* Source: iopt_unmap_iova_range(). */
int ioas_unmap(struct ioas *s, uint64_t first, uint64_t last, uint64_t *removed)
{
	struct area *list;
	int ret;

	*removed = 0;
	pthread_mutex_lock(&s->lock);
	list = list_take(s, first, last, &ret);
	pthread_mutex_unlock(&s->lock);
	list_drain(s, list);
	pthread_mutex_lock(&s->lock);
	for (struct area *a = list; a; a = a->next) {
		*removed += a->from.length;
		area_remove(s, a);
	}
	pthread_mutex_unlock(&s->lock);
	list_free(list);
	return ret;
}

/*
 * Source: iopt_cut_iova(), iopt_area_split(). The space has one mapping for an area, so this takes
 * it away for a moment.
 */
int ioas_cut(struct ioas *s, uint64_t at)
{
	struct area *a, *b = calloc(1, sizeof(*b));
	int ret = 0;

	if (!b)
		return -ENOMEM;
	pthread_mutex_lock(&s->lock);
	a = area_at(s, at);
	if (!a || a->node.first >= at)
		a = NULL;
	else if (a->state == AREA_BUSY)
		ret = -EBUSY;
	else if (at & (alignment(s) - 1) || is_misaligned(a))
		ret = -EINVAL;
	if (!a || ret) {
		pthread_mutex_unlock(&s->lock);
		free(b);
		return ret;
	}
	a->state = AREA_BUSY;
	pthread_mutex_unlock(&s->lock);
	a->next = NULL;
	list_drain(s, a);
	pthread_mutex_lock(&s->lock);
	area_remove(s, a);
	b->from = a->from;
	iommu_mem_get(b->from.mem);
	b->perm = a->perm;
	a->from.length = at - a->node.first;
	b->from.vaddr += a->from.length;
	b->from.length -= a->from.length;
	b->node.first = at;
	b->node.last = a->node.last;
	a->node.last = at - 1;
	a->next = b;
	area_insert(s, a);
	area_insert(s, b);
	pthread_mutex_unlock(&s->lock);
	ret = list_fill(s, a);
	if (ret)
		list_free(a);
	return ret;
}

/* ------------------------------------------------------------------ copying */

/* Source: iopt_get_pages(). */
int ioas_look(struct ioas *s, uint64_t first, uint64_t last, struct ioas_source **out, unsigned *n)
{
	struct ioas_source *from = NULL;
	unsigned count = 0, room = 0;
	uint64_t at = first;
	int ret = 0;

	pthread_mutex_lock(&s->lock);
	for (;;) {
		struct area *a = area_at(s, at);
		uint64_t end;

		if (!a || a->node.first > at || a->state == AREA_BUSY) {
			ret = -ENOENT;
			break;
		}
		if (count == room) {
			void *more = realloc(from, (room += 16) * sizeof(*from));

			if (!more) {
				ret = -ENOMEM;
				break;
			}
			from = more;
		}
		end = MIN(a->node.last, last);
		from[count] = a->from;
		from[count].vaddr += at - a->node.first;
		from[count].length = end - at + 1;
		iommu_mem_get(from[count++].mem);
		if (end == last)
			break;
		at = end + 1;
	}
	pthread_mutex_unlock(&s->lock);
	if (!ret) {
		*out = from;
		*n = count;
		return 0;
	}
	while (count)
		iommu_mem_put(from[--count].mem);
	free(from);
	return ret;
}
