// SPDX-License-Identifier: BSD-3-Clause
/*
 * The client's memory: files that it gave, which are mapped once for all of their pieces, and
 * memory without a file, of which it is asked by messages.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <sys/stat.h>

#include "door/user/priv.h"

/* ------------------------------------------------------------------ by messages */

static void link_put(void *data)
{
	struct user_link *l = data;

	if (atomic_fetch_sub(&l->refs, 1) != 1)
		return;
	pthread_cond_destroy(&l->cond);
	pthread_mutex_destroy(&l->lock);
	free(l);
}

int user_link_new(struct channel *c, struct channel *main, uint32_t max_data,
		  struct user_link **link)
{
	struct user_link *l = calloc(1, sizeof(*l));

	if (!l)
		return -ENOMEM;
	atomic_init(&l->refs, 1);
	pthread_mutex_init(&l->lock, NULL);
	pthread_cond_init(&l->cond, NULL);
	l->channel = c;
	l->main = main;
	l->max_data = max_data;
	*link = l;
	return 0;
}

void user_link_cut(struct user_link *l)
{
	pthread_mutex_lock(&l->lock);
	l->channel = NULL;
	while (l->busy)
		pthread_cond_wait(&l->cond, &l->lock);
	pthread_mutex_unlock(&l->lock);
	link_put(l);
}

static struct channel *link_enter(struct user_link *l)
{
	struct channel *c;

	pthread_mutex_lock(&l->lock);
	c = l->channel;
	l->busy += c != NULL;
	pthread_mutex_unlock(&l->lock);
	return c;
}

/* Where he cannot be asked any more the session is over. */
static void link_leave(struct user_link *l, int ret)
{
	if (ret == -EPIPE || ret == -ETIMEDOUT)
		channel_kill(l->main);
	pthread_mutex_lock(&l->lock);
	if (!--l->busy)
		pthread_cond_broadcast(&l->cond);
	pthread_mutex_unlock(&l->lock);
}

static int read_piece(struct channel *c, uint64_t address, uint8_t *buf, uint64_t size)
{
	struct user_dma ask = { address, size };
	struct iovec data = { &ask, sizeof(ask) };
	AUTO_FREE uint8_t *reply = malloc(sizeof(ask) + size);
	struct user_dma answer;
	int ret;

	if (!reply)
		return -ENOMEM;
	ret = channel_call(c, USER_DMA_READ, &data, 1, reply, sizeof(ask) + size);
	if (ret)
		return ret;
	memcpy(&answer, reply, sizeof(answer));
	if (answer.address != address || answer.count != size)
		return -EREMOTEIO;
	memcpy(buf, reply + sizeof(ask), size);
	return 0;
}

static int write_piece(struct channel *c, uint64_t address, const uint8_t *buf, uint64_t size)
{
	struct user_dma ask = { address, size }, answer;
	struct iovec data[] = { { &ask, sizeof(ask) }, { (void *)(uintptr_t)buf, size } };
	int ret = channel_call(c, USER_DMA_WRITE, data, 2, &answer, sizeof(answer));

	if (ret)
		return ret;
	/* The upper half of the count is not in every version of the protocol. */
	return answer.address == address && (uint32_t)answer.count == size ? 0 : -EREMOTEIO;
}

static int link_read(void *data, uint64_t address, void *buf, size_t size)
{
	struct user_link *l = data;
	struct channel *c = link_enter(l);
	int ret = c ? 0 : -EPIPE;

	for (size_t at = 0; !ret && at < size; at += l->max_data)
		ret = read_piece(c, address + at, (uint8_t *)buf + at, MIN(size - at, l->max_data));
	if (c)
		link_leave(l, ret);
	return ret ? -EFAULT : 0;
}

static int link_write(void *data, uint64_t address, const void *buf, size_t size)
{
	struct user_link *l = data;
	struct channel *c = link_enter(l);
	int ret = c ? 0 : -EPIPE;

	for (size_t at = 0; !ret && at < size; at += l->max_data)
		ret = write_piece(c, address + at, (const uint8_t *)buf + at,
				  MIN(size - at, l->max_data));
	if (c)
		link_leave(l, ret);
	return ret ? -EFAULT : 0;
}

static const struct iommu_remote link_remote = {
	.read = link_read,
	.write = link_write,
	.free = link_put,
};

int user_link_memory(struct user_link *l, struct iommu_mem **mem)
{
	int ret;

	atomic_fetch_add(&l->refs, 1);
	ret = iommu_mem_remote(&link_remote, l, mem);
	if (ret)
		link_put(l);
	return ret;
}

/* ------------------------------------------------------------------ files */

/* The memory that @fd is; a client gives the same file with each piece of it. *@mem is borrowed. */
static int file_memory(struct user_session *s, int fd, struct iommu_mem **mem)
{
	struct user_file *f;
	struct stat st;
	int ret, mode = fcntl(fd, F_GETFL);

	if (mode < 0 || fstat(fd, &st))
		return -errno;
	mode &= O_ACCMODE;
	for (f = s->files; f < s->files + USER_FILES; f++) {
		if (f->mem && f->dev == st.st_dev && f->ino == st.st_ino && f->mode == mode) {
			*mem = f->mem;
			return 0;
		}
	}
	ret = iommu_mem_file(fd, mem);
	if (ret)
		return ret;
	f = &s->files[s->next_file++ % USER_FILES];
	iommu_mem_put(f->mem);
	*f = (struct user_file){ *mem, st.st_dev, st.st_ino, mode };
	return 0;
}

/* ------------------------------------------------------------------ mapping */

/* What the client has mapped, as it did: it unmaps nothing else. */
struct user_map {
	struct range_node node;
};

static void forget_maps(struct user_session *s)
{
	struct range_node *node;

	while ((node = range_map_first(&s->maps))) {
		range_map_remove(&s->maps, node);
		free(container_of(node, struct user_map, node));
	}
}

void session_forget(struct user_session *s)
{
	forget_maps(s);
	for (unsigned i = 0; i < USER_FILES; i++) {
		iommu_mem_put(s->files[i].mem);
		s->files[i].mem = NULL;
	}
}

static int map_call(struct user_session *s, const struct user_dma_map *map, struct iommu_mem *mem)
{
	struct vfio_iommu_type1_dma_map arg = {
		.argsz = sizeof(arg),
		.flags = map->flags,
		.iova = map->address,
		.size = map->size,
		.vaddr = mem == s->remote ? map->address : map->offset,
	};
	struct vfio_client client = { .mem = mem };
	struct vfio_call call = {
		.request = VFIO_IOMMU_MAP_DMA,
		.data = &arg,
		.size = sizeof(arg),
		.client = &client,
	};

	return vfio_call(s->container, &call);
}

int session_map(struct user_session *s, const struct message *m)
{
	struct iommu_mem *mem = s->remote;
	struct user_dma_map map;
	struct user_map *node;
	int ret = 0;

	if (m->size < sizeof(map) || m->n_fds > 1)
		return -EINVAL;
	memcpy(&map, m->data, sizeof(map));
	if (map.argsz < sizeof(map) ||
	    map.flags & ~(uint32_t)(VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE))
		return -EINVAL;
	if (m->n_fds)
		ret = file_memory(s, m->fds[0], &mem);
	/* -EINVAL: no file of memory; whose it is can say what is in it. */
	if (ret && ret != -EINVAL)
		return ret;
	node = calloc(1, sizeof(*node));
	if (!node)
		return -ENOMEM;
	ret = map_call(s, &map, mem);
	if (ret) {
		free(node);
		return ret;
	}
	node->node.first = map.address;
	node->node.last = map.address + (map.size - 1);
	(void)range_map_insert(&s->maps, &node->node); /* vfio has seen that it is free */
	return 0;
}

/* Whether whole mappings, one or several without a hole, are what is to go. */
static bool is_mapped(const struct user_session *s, uint64_t first, uint64_t last)
{
	for (uint64_t at = first;;) {
		const struct range_node *node = range_map_find(&s->maps, at);

		if (!node || node->first != at || node->last > last)
			return false;
		if (node->last == last)
			return true;
		at = node->last + 1;
	}
}

/* -ENOENT, and all stays as it is: what is to go is not what was mapped. */
static int unmap_range(struct user_session *s, struct vfio_call *call,
		       const struct user_dma_unmap *u)
{
	struct range_node *node;
	uint64_t last;
	int ret = range_last(u->address, u->size, &last);

	if (ret || (u->address | u->size) & (UVF_PAGE_SIZE - 1))
		return -EINVAL;
	if (!is_mapped(s, u->address, last))
		return -ENOENT;
	ret = vfio_call(s->container, call);
	while (!ret && (node = range_map_lower(&s->maps, u->address)) && node->first <= last) {
		range_map_remove(&s->maps, node);
		free(container_of(node, struct user_map, node));
	}
	return ret;
}

/* What was mapped, or with the flag everything. */
int session_unmap(struct user_session *s, const struct message *m, struct user_dma_unmap *reply)
{
	struct vfio_iommu_type1_dma_unmap arg = { .argsz = sizeof(arg) };
	struct vfio_call call = {
		.request = VFIO_IOMMU_UNMAP_DMA,
		.data = &arg,
		.size = sizeof(arg),
	};
	int ret;

	if (m->size < sizeof(*reply))
		return -EINVAL;
	memcpy(reply, m->data, sizeof(*reply));
	if (reply->argsz < sizeof(*reply) || reply->flags & ~(uint32_t)VFIO_DMA_UNMAP_FLAG_ALL)
		return -EINVAL;
	arg.flags = reply->flags;
	arg.iova = reply->address;
	arg.size = reply->size;
	if (!reply->flags) {
		ret = unmap_range(s, &call, reply);
	} else {
		ret = vfio_call(s->container, &call);
		if (!ret)
			forget_maps(s);
	}
	reply->argsz = sizeof(*reply);
	if (!ret)
		reply->size = arg.size;
	return ret;
}
