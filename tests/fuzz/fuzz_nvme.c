/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The NVMe controller against a hostile host. The input is a list of steps: registers, doorbells
 * (trapped and by mmap), memory, commands that are nearly right, resets. The controller is manual,
 * so a run is the same each time. Whatever happened, a reset must bring back a controller that
 * answers.
 */
#include <fcntl.h>
#include <linux/falloc.h>

#include "../unit/nvme_client.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define DATA_AREA (RAM_IOVA + QUEUE_AREA)

struct input {
	const uint8_t *at;
	size_t left;
};

static void take(struct input *in, void *out, size_t size)
{
	size_t n = MIN(size, in->left);

	memset(out, 0, size);
	memcpy(out, in->at, n);
	in->at += n;
	in->left -= n;
}

static uint32_t take32(struct input *in, unsigned bytes)
{
	uint32_t v = 0;

	take(in, &v, bytes);
	return le32toh(v);
}

/* Mostly addresses that exist, near the ends of pages and of memory. */
static uint64_t take_address(struct input *in)
{
	uint8_t kind = take32(in, 1);
	uint64_t page = take32(in, 1) * 4096ull;
	static const uint16_t offsets[] = { 0, 4, 8, 512, 2048, 4080, 4088, 4092 };

	page += offsets[kind >> 4 & 7];
	switch (kind & 7) {
	case 0:
		return RAM_IOVA + RAM_SIZE - 8192 + page % 16384;
	case 1:
		return 0 - page;
	case 2:
		return page;
	case 3:
		return RAM_IOVA + page; /* the queues themselves */
	default:
		return DATA_AREA + page;
	}
}

static struct nvmed_sqe take_command(struct input *in)
{
	struct nvmed_sqe cmd = { .nsid = le32_make(1) };
	uint8_t shape = take32(in, 1);

	if (shape == 0xff) {
		take(in, &cmd, sizeof(cmd));
		return cmd;
	}
	cmd.opcode = take32(in, 1) & 0x0f;
	cmd.prp1 = le64_make(take_address(in));
	cmd.prp2 = le64_make(take_address(in));
	cmd.cdw10 = le32_make(take32(in, shape & 4 ? 4 : 2));
	if (shape & 1)
		cmd.cdw11 = le32_make(take32(in, 4));
	if (shape & 2)
		cmd.cdw12 = le32_make(take32(in, shape & 8 ? 4 : 2));
	if (shape & 16)
		cmd.nsid = le32_make(take32(in, 1) - 1);
	return cmd;
}

static void step_memory(struct client *cl, struct input *in)
{
	uint64_t at = take_address(in);
	uint64_t words[16];
	unsigned n = take32(in, 1) & 15;

	if (at < RAM_IOVA || at > RAM_IOVA + RAM_SIZE - sizeof(words))
		return;
	/* As a list of pages, or as bytes. */
	if (n & 1) {
		for (unsigned i = 0; i < n; i++)
			words[i] = htole64(take_address(in));
		memcpy(client_ptr(cl, at), words, n * 8);
	} else {
		take(in, client_ptr(cl, at), n * 8);
	}
}

static void step_bar(struct client *cl, struct input *in)
{
	unsigned offset = take32(in, 2) & 0x3fff, size = (take32(in, 1) & 15) + 1;
	uint8_t buf[16];

	if (offset + size > KIB(16))
		return;
	if (take32(in, 1) & 1) {
		pcif_bar_read(cl->f, 0, offset, buf, size, true);
	} else {
		take(in, buf, size);
		pcif_bar_write(cl->f, 0, offset, buf, size, true);
	}
}

/* Pages of 4 KiB, or (to where the queues are aligned just so) of 8 KiB. */
static void step_enable(struct client *cl, struct input *in)
{
	unsigned how = take32(in, 1);

	client_enable(cl, 2 + (how & 63));
	if (!(how & 64))
		return;
	client_disable(cl);
	client_write32(cl, NVMED_REG_CC, 6 << 16 | 4 << 20 | 1 << 7 | NVMED_CC_EN);
	client_pump(cl);
}

static void step(struct client *cl, struct input *in, uint32_t *image)
{
	unsigned id;

	switch (take32(in, 1) & 15) {
	case 0: /* a register, trapped */
		client_write32(cl, (take32(in, 1) & 15) * 4, take32(in, 4));
		break;
	case 1: /* a word of the shared page */
		image[take32(in, 2) & 0xfff] = take32(in, 4);
		break;
	case 2:
		step_enable(cl, in);
		break;
	case 3:
	case 4:
	case 5: /* a command, on the queue that was set up */
		id = take32(in, 1) & 3;
		if (cl->q[id].size)
			client_queue_cmd(cl, id, take_command(in));
		break;
	case 6:
	case 7:
	case 13:
		id = take32(in, 1) & 3;
		client_ring(cl, id);
		client_pump(cl);
		break;
	case 8: /* any doorbell, any value near the possible ones */
		client_write32(cl, NVMED_DOORBELLS + (take32(in, 1) & 15) * 4, take32(in, 2));
		break;
	case 9:
		step_memory(cl, in);
		break;
	case 10:
		id = take32(in, 1) & 3;
		cl->q[id].head = take32(in, 1);
		client_ack(cl, id);
		break;
	case 11:
		id = 1 + (take32(in, 1) & 1);
		if (cl->q[0].size)
			client_create_queue(cl, id, 2 + (take32(in, 1) & 63));
		break;
	case 12:
		step_bar(cl, in);
		break;
	case 14: /* bus master off and on, or a reset */
		if (take32(in, 1) & 1)
			pcif_reset(cl->f);
		else
			pcif_config_write(cl->f, 4, 2, 2);
		client_pump(cl);
		pcif_config_write(cl->f, 4, 2, 6);
		break;
	case 15:
		client_irq(cl, take32(in, 1) & 3);
		break;
	}
}

static void must(bool ok)
{
	if (!ok)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct client *cl;
	static uint32_t *image;
	struct input in = { data, size };
	struct nvmed_sqe cmd = { .opcode = NVMED_ADMIN_IDENTIFY,
				 .prp1 = le64_make(DATA_AREA),
				 .cdw10 = le32_make(1) };

	if (!cl) {
		struct pcif_reply_error err;

		cl = client_new("mem=1M,queues=4", true, &err);
		must(cl);
		client_map_bar(cl);
		image = cl->bar;
		cl->bar = NULL; /* trapped, save where a step says otherwise */
	}
	pcif_reset(cl->f);
	pcif_config_write(cl->f, 4, 2, 6);
	client_irq(cl, PCIF_IRQ_MSIX);
	cl->c->disk->ops->zero(cl->c->disk, 0, cl->c->disk->size, NVMED_ZERO);
	must(!fallocate(cl->ram_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, RAM_SIZE));
	memset(cl->q, 0, sizeof(cl->q));
	cl->q[0].sq = cl->q[0].cq = RAM_IOVA;
	for (unsigned i = 0; i < 200 && in.left; i++)
		step(cl, &in, image);

	client_pump(cl);
	must(client_disable(cl));
	must(client_enable(cl, 16));
	must(client_do(cl, 0, cmd, NULL) == NVMED_OK);
	must(client_disable(cl));
	must(cl->c->n_free == NVMED_REQUESTS && !cl->c->slow_inflight);
	return 0;
}
