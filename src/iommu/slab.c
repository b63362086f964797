/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory for mappings and tree nodes: objects of one size, aligned to cache lines, close together.
 *
 * A million mappings make a table of some 75 MB that devices look things up in at random. What
 * costs then is not so much the walk as the misses of the processor's address translation; so the
 * objects come from 2 MiB chunks that ask for huge pages. The first chunk does not: a small table
 * must not take 2 MiB. A chunk is found from its objects' addresses, and unmapped when all are
 * free.
 */
#include <sys/mman.h>

#include "iommu/priv.h"

#define CHUNK_SIZE MIB(2)
#define CHUNK_HEAD 64

struct slab_chunk {
	struct slab_chunk *prev, *next; /* in slab->partial, while not full */
	void *free;			/* objects given back, linked by their first word */
	size_t used, fresh;		/* objects in use; objects that were ever given out */
};
static_assert(sizeof(struct slab_chunk) <= CHUNK_HEAD, "objects start on a cache line");

#ifdef __SANITIZE_ADDRESS__
/* So that a use after free is seen. */
void *slab_alloc(struct slab *s)
{
	void *object = aligned_alloc(64, s->object_size);

	return object ? memset(object, 0, s->object_size) : NULL;
}

void slab_free(struct slab *s, void *object)
{
	free(object);
}
#else
static size_t chunk_capacity(const struct slab *s)
{
	return (CHUNK_SIZE - CHUNK_HEAD) / s->object_size;
}

static void partial_add(struct slab *s, struct slab_chunk *c)
{
	c->prev = NULL;
	c->next = s->partial;
	if (c->next)
		c->next->prev = c;
	s->partial = c;
}

static void partial_remove(struct slab *s, struct slab_chunk *c)
{
	if (c->prev)
		c->prev->next = c->next;
	else
		s->partial = c->next;
	if (c->next)
		c->next->prev = c->prev;
}

static struct slab_chunk *chunk_new(struct slab *s)
{
	uint8_t *p = mmap(NULL, 2 * CHUNK_SIZE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	size_t before;

	if (p == MAP_FAILED)
		return NULL;
	before = (size_t)(ALIGN_UP((uintptr_t)p, CHUNK_SIZE) - (uintptr_t)p);
	if (before)
		munmap(p, before);
	munmap(p + before + CHUNK_SIZE, CHUNK_SIZE - before);
	p += before;
	madvise(p, CHUNK_SIZE, s->chunks ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	s->chunks++;
	partial_add(s, (struct slab_chunk *)p);
	return (struct slab_chunk *)p;
}

void *slab_alloc(struct slab *s)
{
	struct slab_chunk *c;
	void *object = NULL;

	pthread_mutex_lock(&s->lock);
	c = s->partial ? s->partial : chunk_new(s);
	if (c) {
		object = c->free;
		if (object)
			memcpy(&c->free, object, sizeof(c->free));
		else
			object = (uint8_t *)c + CHUNK_HEAD + c->fresh++ * s->object_size;
		if (++c->used == chunk_capacity(s))
			partial_remove(s, c);
	}
	pthread_mutex_unlock(&s->lock);
	if (object)
		memset(object, 0, s->object_size);
	return object;
}

void slab_free(struct slab *s, void *object)
{
	struct slab_chunk *c =
		(struct slab_chunk *)((uintptr_t)object & ~((uintptr_t)CHUNK_SIZE - 1));

	pthread_mutex_lock(&s->lock);
	memcpy(object, &c->free, sizeof(c->free));
	c->free = object;
	if (c->used-- == chunk_capacity(s))
		partial_add(s, c);
	/* One chunk stays, or mapping and unmapping a page would make and drop it each time. */
	if (!c->used && s->chunks > 1) {
		partial_remove(s, c);
		s->chunks--;
		munmap(c, CHUNK_SIZE);
	}
	pthread_mutex_unlock(&s->lock);
}
#endif
