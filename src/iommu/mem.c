/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memories: what all kinds have in common, and the two simple ones: a buffer of our own, and one
 * that somebody else looks after.
 */
#include <errno.h>

#include "iommu/priv.h"

struct iommu_mem *iommu_mem_get(struct iommu_mem *mem)
{
	atomic_fetch_add_explicit(&mem->refs, 1, memory_order_relaxed);
	return mem;
}

void iommu_mem_put(struct iommu_mem *mem)
{
	if (mem && atomic_fetch_sub_explicit(&mem->refs, 1, memory_order_acq_rel) == 1)
		mem->ops->free(mem);
}

int iommu_mem_read(struct iommu_mem *mem, uint64_t vaddr, void *buf, size_t size)
{
	return size ? mem->ops->read(mem, vaddr, buf, size) : 0;
}

int iommu_mem_write(struct iommu_mem *mem, uint64_t vaddr, const void *buf, size_t size)
{
	return size ? mem->ops->write(mem, vaddr, buf, size) : 0;
}

/* ------------------------------------------------------------------ a buffer of our own */

struct buffer_mem {
	struct iommu_mem mem;
	uint8_t *base;
	uint64_t size;
};

/* @vaddr is an address in the buffer, or an offset into it. NULL: not in it over its whole size. */
static uint8_t *buffer_at(struct iommu_mem *mem, uint64_t vaddr, uint64_t size)
{
	struct buffer_mem *b = container_of(mem, struct buffer_mem, mem);
	uint64_t at = vaddr < b->size ? vaddr : vaddr - (uintptr_t)b->base;

	if (at >= b->size || size > b->size - at)
		return NULL;
	return b->base + at;
}

static int buffer_read(struct iommu_mem *mem, uint64_t vaddr, void *buf, size_t size)
{
	const uint8_t *p = buffer_at(mem, vaddr, size);

	if (!p)
		return -EFAULT;
	memcpy(buf, p, size);
	return 0;
}

static int buffer_write(struct iommu_mem *mem, uint64_t vaddr, const void *buf, size_t size)
{
	uint8_t *p = buffer_at(mem, vaddr, size);

	if (!p)
		return -EFAULT;
	memcpy(p, buf, size);
	return 0;
}

static int buffer_locate(struct iommu_mem *mem, uint64_t vaddr, uint64_t size, unsigned perm,
			 struct iommu_place *place)
{
	uint8_t *p = buffer_at(mem, vaddr, size);

	if (!p)
		return -EFAULT;
	*place = (struct iommu_place){ .host = p };
	return 0;
}

static void buffer_free(struct iommu_mem *mem)
{
	free(container_of(mem, struct buffer_mem, mem));
}

static const struct iommu_mem_ops buffer_ops = {
	.read = buffer_read,
	.write = buffer_write,
	.locate = buffer_locate,
	.free = buffer_free,
};

int iommu_mem_buffer(void *base, size_t size, struct iommu_mem **mem)
{
	struct buffer_mem *b;

	if (!base || !size)
		return -EINVAL;
	b = calloc(1, sizeof(*b));
	if (!b)
		return -ENOMEM;
	b->mem.ops = &buffer_ops;
	atomic_init(&b->mem.refs, 1);
	b->base = base;
	b->size = size;
	*mem = &b->mem;
	return 0;
}

/* ------------------------------------------------------------------ by calls */

struct remote_mem {
	struct iommu_mem mem;
	const struct iommu_remote *remote;
	void *data;
};

static struct remote_mem *remote_of(struct iommu_mem *mem)
{
	return container_of(mem, struct remote_mem, mem);
}

static int remote_read(struct iommu_mem *mem, uint64_t vaddr, void *buf, size_t size)
{
	return remote_of(mem)->remote->read(remote_of(mem)->data, vaddr, buf, size);
}

static int remote_write(struct iommu_mem *mem, uint64_t vaddr, const void *buf, size_t size)
{
	return remote_of(mem)->remote->write(remote_of(mem)->data, vaddr, buf, size);
}

/* What is there only its owner knows. */
static int remote_locate(struct iommu_mem *mem, uint64_t vaddr, uint64_t size, unsigned perm,
			 struct iommu_place *place)
{
	*place = (struct iommu_place){ .host = NULL };
	return 0;
}

static void remote_free(struct iommu_mem *mem)
{
	remote_of(mem)->remote->free(remote_of(mem)->data);
	free(remote_of(mem));
}

static const struct iommu_mem_ops remote_ops = {
	.unwaited = true,
	.read = remote_read,
	.write = remote_write,
	.locate = remote_locate,
	.free = remote_free,
};

int iommu_mem_remote(const struct iommu_remote *remote, void *data, struct iommu_mem **mem)
{
	struct remote_mem *r = calloc(1, sizeof(*r));

	if (!r)
		return -ENOMEM;
	r->mem.ops = &remote_ops;
	atomic_init(&r->mem.refs, 1);
	r->remote = remote;
	r->data = data;
	*mem = &r->mem;
	return 0;
}
