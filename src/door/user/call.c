// SPDX-License-Identifier: BSD-3-Clause
/*
 * Commands: each becomes one request of vfio_call(), or an access to a region, and its answer a
 * reply. What the numbers mean is vfio's to say; here is only how they lie in a message.
 *
 * A reply has at most what the client said that it takes: its argsz, or what it asked to be read.
 */
#include <errno.h>
#include <linux/vfio.h>

#include "door/user/priv.h"

/* The most that a block of vfio's has, or that a client has room for. */
#define BLOCK_MAX KIB(4)
/* Vectors of one SET_IRQS. Source: struct pcif_desc, 2048 of MSI-X. */
#define IRQS_MAX 2048u

/* ------------------------------------------------------------------ blocks with argsz */

/*
 * A block as linux/vfio.h has it, with room for the answer as its argsz says. *@size: of the reply.
 * @fixed: what a request has at least.
 */
static int block_call(struct user_session *s, const struct message *m, uint32_t request,
		      size_t fixed, uint8_t *block, size_t *size)
{
	struct vfio_call call = { .request = request, .data = block };
	uint32_t argsz, needed;
	int ret;

	if (m->size < fixed || m->size > BLOCK_MAX)
		return -EINVAL;
	memset(block, 0, BLOCK_MAX);
	memcpy(block, m->data, m->size);
	memcpy(&argsz, block, sizeof(argsz));
	argsz = MIN(argsz, (uint32_t)BLOCK_MAX);
	memcpy(block, &argsz, sizeof(argsz));
	call.size = MAX((size_t)argsz, m->size);
	ret = vfio_call(s->device, &call);
	if (ret < 0)
		return ret;
	*size = MIN(call.reply_size, (size_t)argsz);
	/* What the whole answer takes, where there was more room than that. */
	memcpy(&needed, block, sizeof(needed));
	if (*size >= sizeof(needed) && needed > *size && needed <= argsz) {
		needed = (uint32_t)*size;
		memcpy(block, &needed, sizeof(needed));
	}
	return 0;
}

static int reply_block(struct user_session *s, const struct message *m, int ret,
		       const uint8_t *block, size_t size, int fd)
{
	struct iovec data = { (void *)(uintptr_t)block, size };

	return session_reply(s, m, ret, &data, 1, &fd, fd >= 0);
}

static int get_info(struct user_session *s, struct message *m)
{
	uint8_t block[BLOCK_MAX];
	size_t size;
	int ret = block_call(s, m, VFIO_DEVICE_GET_INFO,
			     offsetof(struct vfio_device_info, num_irqs) + 4, block, &size);

	return reply_block(s, m, ret, block, size, -1);
}

/* The offset is one in the file that comes along. */
static int get_region_info(struct user_session *s, struct message *m)
{
	struct vfio_region_info info;
	uint8_t block[BLOCK_MAX];
	size_t size;
	int fd = -1;
	int ret = block_call(s, m, VFIO_DEVICE_GET_REGION_INFO, sizeof(info), block, &size);

	if (!ret) {
		memcpy(&info, block, sizeof(info));
		info.offset = 0;
		if (info.flags & VFIO_REGION_INFO_FLAG_MMAP && info.index < PCIF_NUM_BARS) {
			info.offset = s->pages.base[info.index];
			fd = s->max_fds ? s->pages.fd : -1;
		}
		if (fd < 0)
			info.flags &= ~(uint32_t)VFIO_REGION_INFO_FLAG_MMAP;
		memcpy(block, &info, sizeof(info));
	}
	return reply_block(s, m, ret, block, size, fd);
}

static int get_irq_info(struct user_session *s, struct message *m)
{
	uint8_t block[BLOCK_MAX];
	size_t size;
	int ret = block_call(s, m, VFIO_DEVICE_GET_IRQ_INFO, sizeof(struct vfio_irq_info), block,
			     &size);

	return reply_block(s, m, ret, block, size, -1);
}

static int feature(struct user_session *s, struct message *m)
{
	uint8_t block[BLOCK_MAX];
	size_t size;
	int ret = block_call(s, m, VFIO_DEVICE_FEATURE, sizeof(struct vfio_device_feature), block,
			     &size);

	/* Who sets or probes gets back what he sent, as far as he has room. */
	if (!ret && !size) {
		uint32_t argsz;

		memcpy(&argsz, block, sizeof(argsz));
		size = MIN(m->size, (size_t)argsz);
	}
	return reply_block(s, m, ret, block, size, -1);
}

/* ------------------------------------------------------------------ interrupts */

/* The descriptors that came along stand for numbers in the block; none: what there was is taken
 * away. */
static int irq_fds(struct message *m, struct vfio_irq_set *set, struct vfio_fd *fds)
{
	int *numbers = (int *)(void *)set->data;

	if (m->n_fds && m->n_fds != set->count)
		return -EINVAL;
	for (unsigned i = 0; i < set->count; i++) {
		fds[i] = (struct vfio_fd){ .fd = m->n_fds ? m->fds[i] : -1 };
		numbers[i] = fds[i].fd;
	}
	return 0;
}

static int set_irqs(struct user_session *s, struct message *m)
{
	AUTO_FREE struct vfio_irq_set *set = NULL;
	AUTO_FREE struct vfio_fd *fds = NULL;
	struct vfio_call call = { .request = VFIO_DEVICE_SET_IRQS };
	struct vfio_irq_set head;
	size_t data;
	int ret = -EINVAL;

	if (m->size < sizeof(head))
		goto out;
	memcpy(&head, m->data, sizeof(head));
	if (head.argsz < sizeof(head) || head.count > IRQS_MAX)
		goto out;
	data = head.flags & VFIO_IRQ_SET_DATA_EVENTFD ? head.count * sizeof(int)
						      : m->size - sizeof(head);
	ret = -ENOMEM;
	set = calloc(1, sizeof(head) + data);
	fds = calloc(head.count + 1, sizeof(*fds));
	if (!set || !fds)
		goto out;
	memcpy(set, m->data, MIN(m->size, sizeof(head) + data));
	set->argsz = (uint32_t)(sizeof(head) + data);
	ret = 0;
	if (head.flags & VFIO_IRQ_SET_DATA_EVENTFD) {
		ret = irq_fds(m, set, fds);
		call.fds = fds;
		call.n_fds = head.count;
	}
	call.data = set;
	call.size = set->argsz;
	if (!ret)
		ret = vfio_call(s->device, &call);
out:
	return session_reply(s, m, MIN(ret, 0), NULL, 0, NULL, 0);
}

/* ------------------------------------------------------------------ regions */

static int region_offset(const struct user_region_io *io, uint64_t *offset)
{
	if (io->region >= 64 || io->offset >= BIT64(VFIO_REGION_SHIFT) || io->count > USER_DATA_MAX)
		return -EINVAL;
	*offset = (uint64_t)io->region << VFIO_REGION_SHIFT | io->offset;
	return 0;
}

static int region_read(struct user_session *s, struct message *m)
{
	AUTO_FREE uint8_t *large = NULL;
	struct user_region_io io;
	uint8_t small[256], *buf = small;
	struct iovec data[2] = { { &io, sizeof(io) } };
	uint64_t offset;
	ssize_t n;
	int ret = -EINVAL;

	if (m->size < sizeof(io))
		goto out;
	memcpy(&io, m->data, sizeof(io));
	/* Nor more than the client has said that it takes. */
	ret = io.count > s->max_data ? -EINVAL : region_offset(&io, &offset);
	if (!ret && io.count > sizeof(small)) {
		buf = large = malloc(io.count);
		ret = buf ? 0 : -ENOMEM;
	}
	if (ret)
		goto out;
	n = vfio_device_read(s->device, buf, io.count, offset);
	if (n < 0)
		ret = (int)n;
	else
		io.count = (uint32_t)n;
	data[1] = (struct iovec){ buf, io.count };
out:
	return session_reply(s, m, ret, data, 2, NULL, 0);
}

static int region_write(struct user_session *s, struct message *m)
{
	struct user_region_io io;
	struct iovec data = { &io, sizeof(io) };
	uint64_t offset;
	ssize_t n;
	int ret = -EINVAL;

	if (m->size < sizeof(io))
		goto out;
	memcpy(&io, m->data, sizeof(io));
	ret = m->size - sizeof(io) < io.count ? -EINVAL : region_offset(&io, &offset);
	if (ret)
		goto out;
	n = vfio_device_write(s->device, m->data + sizeof(io), io.count, offset);
	if (n < 0)
		ret = (int)n;
	else
		io.count = (uint32_t)n;
out:
	if (ret && m->h.flags & USER_NO_REPLY)
		session_note(s, "%s: a posted write failed: %s", session_name(s), strerror(-ret));
	return session_reply(s, m, ret, &data, 1, NULL, 0);
}

/* Goes on until one fails; the reply says how many were done. */
static int write_multi(struct user_session *s, struct message *m)
{
	struct user_single_write w;
	struct user_region_io io;
	uint64_t count, done = 0, offset;
	struct iovec data = { &done, sizeof(done) };
	ssize_t n = 0;
	int ret = -EINVAL;

	if (m->size < sizeof(count))
		goto out;
	memcpy(&count, m->data, sizeof(count));
	if (count > (m->size - sizeof(count)) / sizeof(w))
		goto out;
	for (ret = 0; done < count; done++) {
		memcpy(&w, m->data + sizeof(count) + done * sizeof(w), sizeof(w));
		io = (struct user_region_io){ w.offset, w.region, w.count };
		ret = w.count > sizeof(w.data) ? -EINVAL : region_offset(&io, &offset);
		n = ret ? ret : vfio_device_write(s->device, w.data, w.count, offset);
		if (n < 0 || n < (ssize_t)w.count)
			break;
	}
	ret = done || !count ? 0 : n < 0 ? (int)n : -EINVAL;
out:
	return session_reply(s, m, ret, &data, 1, NULL, 0);
}

/* No sub-region has a descriptor of its own: what is fast can be mapped. */
static int region_io_fds(struct user_session *s, struct message *m)
{
	struct user_region_io_fds io;
	struct iovec data = { &io, sizeof(io) };
	int ret = -EINVAL;

	if (m->size >= sizeof(io)) {
		memcpy(&io, m->data, sizeof(io));
		if (io.argsz >= sizeof(io) && !io.flags && io.index < VFIO_PCI_NUM_REGIONS)
			ret = 0;
		io.argsz = sizeof(io);
		io.count = 0;
	}
	return session_reply(s, m, ret, &data, 1, NULL, 0);
}

/* ------------------------------------------------------------------ the rest */

static int dma_map(struct user_session *s, struct message *m)
{
	return session_reply(s, m, session_map(s, m), NULL, 0, NULL, 0);
}

static int dma_unmap(struct user_session *s, struct message *m)
{
	struct user_dma_unmap reply;
	struct iovec data = { &reply, sizeof(reply) };

	return session_reply(s, m, session_unmap(s, m, &reply), &data, 1, NULL, 0);
}

static int reset(struct user_session *s, struct message *m)
{
	struct vfio_call call = { .request = VFIO_DEVICE_RESET };

	return session_reply(s, m, MIN(vfio_call(s->device, &call), 0), NULL, 0, NULL, 0);
}

int session_command(struct user_session *s, struct message *m)
{
	static int (*const commands[USER_COMMANDS])(struct user_session * s, struct message * m) = {
		[USER_DMA_MAP] = dma_map,
		[USER_DMA_UNMAP] = dma_unmap,
		[USER_GET_INFO] = get_info,
		[USER_GET_REGION_INFO] = get_region_info,
		[USER_GET_REGION_IO_FDS] = region_io_fds,
		[USER_GET_IRQ_INFO] = get_irq_info,
		[USER_SET_IRQS] = set_irqs,
		[USER_REGION_READ] = region_read,
		[USER_REGION_WRITE] = region_write,
		[USER_RESET] = reset,
		[USER_REGION_WRITE_MULTI] = write_multi,
		[USER_FEATURE] = feature,
	};

	if (m->h.command < USER_COMMANDS && commands[m->h.command])
		return commands[m->h.command](s, m);
	return session_reply(s, m, -EOPNOTSUPP, NULL, 0, NULL, 0);
}
