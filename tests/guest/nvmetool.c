/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * nvmetool: drives an NVMe controller by hand from inside the guest, past every driver.
 *
 * A static helper of the guest tests and of the shows. The controller's driver must be unbound. It
 * brings the controller up with queues in memory of its own, and reads and writes one block with
 * PRP entries of the caller's choice.
 *
 *   nvmetool BDF own               a block written and read back through memory of this program
 *   nvmetool BDF rogue ADDRESS     a write from, and a read to, any bus address: tells the statuses
 *
 * Each line begins with @@: own, rogue-write (the controller reads memory), rogue-read (it writes
 * memory). Follows NVM Express 1.4, sections 3.1, 4.2, 5.3 to 5.5 and 6.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096u
#define BAR_SIZE 8192u
#define REG_CC 0x14
#define REG_CSTS 0x1c
#define REG_AQA 0x24
#define REG_ASQ 0x28
#define REG_ACQ 0x30
#define DOORBELLS 0x1000
#define CC_ENABLED 0x00460001u /* 64-byte and 16-byte entries, NVM commands, 4 KiB pages */
#define ENTRIES 16u
#define PCI_COMMAND 4
#define COMMAND_ENABLE 0x6 /* memory and bus master */
#define OP_CREATE_SQ 0x01
#define OP_CREATE_CQ 0x05
#define OP_WRITE 0x01
#define OP_READ 0x02
#define BLOCK 100 /* far from anything that begins a disk */

struct command {
	uint8_t opcode, flags;
	uint16_t cid;
	uint32_t nsid;
	uint64_t reserved, metadata, prp1, prp2;
	uint32_t dw10, dw11, dw12, dw13, dw14, dw15;
};

struct completion {
	uint32_t dw0, reserved;
	uint16_t sq_head, sq_id, cid, status;
};

struct page {
	void *p;
	uint64_t bus;
};

struct queue {
	unsigned id, tail, head, phase;
	struct page sq, cq;
};

static volatile uint8_t *regs;
static struct queue queues[2];

static uint32_t reg_read(unsigned offset)
{
	return *(volatile uint32_t *)(regs + offset);
}

static void reg_write(unsigned offset, uint32_t value)
{
	*(volatile uint32_t *)(regs + offset) = value;
}

static int map_device(const char *bdf)
{
	char path[128];
	uint16_t command;
	void *map;
	int fd;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/config", bdf);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0 || pread(fd, &command, 2, PCI_COMMAND) != 2)
		return -errno;
	command |= COMMAND_ENABLE;
	if (pwrite(fd, &command, 2, PCI_COMMAND) != 2)
		return -errno;
	close(fd);
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/resource0", bdf);
	fd = open(path, O_RDWR | O_SYNC | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	map = mmap(NULL, BAR_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (map == MAP_FAILED)
		return -errno;
	regs = map;
	return 0;
}

/* A page of this process that stays where it is, with its guest physical address. */
static int page_new(struct page *page)
{
	uint64_t entry = 0;
	int fd;

	page->p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED,
		       -1, 0);
	if (page->p == MAP_FAILED)
		return -errno;
	memset(page->p, 0, PAGE);
	fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	if (fd < 0 || pread(fd, &entry, 8, (off_t)((uintptr_t)page->p / PAGE * 8)) != 8)
		entry = 0;
	if (fd >= 0)
		close(fd);
	page->bus = (entry & ((1ull << 55) - 1)) * PAGE;
	return page->bus ? 0 : -EPERM;
}

static void nap(void)
{
	struct timespec ts = { .tv_nsec = 200000 };

	nanosleep(&ts, NULL);
}

static int wait_ready(unsigned ready)
{
	for (unsigned i = 0; i < 25000; i++) {
		uint32_t csts = reg_read(REG_CSTS);

		if ((csts & 1) == ready)
			return 0;
		if (csts & 2)
			return -EIO;
		nap();
	}
	return -ETIMEDOUT;
}

/* Sends @cmd and waits for its completion: the status code and type, or a negative errno. */
static int submit(struct queue *q, struct command *cmd)
{
	volatile struct completion *done = (struct completion *)q->cq.p + q->head;

	cmd->cid = (uint16_t)q->tail;
	memcpy((struct command *)q->sq.p + q->tail, cmd, sizeof(*cmd));
	q->tail = (q->tail + 1) % ENTRIES;
	__sync_synchronize();
	reg_write(DOORBELLS + 8 * q->id, q->tail);
	for (unsigned i = 0; i < 25000; i++) {
		uint16_t status = done->status;

		if ((status & 1) == q->phase) {
			q->head = (q->head + 1) % ENTRIES;
			if (!q->head)
				q->phase ^= 1;
			reg_write(DOORBELLS + 8 * q->id + 4, q->head);
			return status >> 1 & 0x7ff;
		}
		nap();
	}
	return -ETIMEDOUT;
}

static int queue_new(struct queue *q, unsigned id)
{
	int r = page_new(&q->sq);

	q->id = id;
	q->phase = 1;
	return r ? r : page_new(&q->cq);
}

static int create_io_queue(void)
{
	struct queue *q = &queues[1];
	struct command cq = { .opcode = OP_CREATE_CQ,
			      .prp1 = q->cq.bus,
			      .dw10 = (ENTRIES - 1) << 16 | 1,
			      .dw11 = 1 };
	struct command sq = { .opcode = OP_CREATE_SQ,
			      .prp1 = q->sq.bus,
			      .dw10 = (ENTRIES - 1) << 16 | 1,
			      .dw11 = 1 << 16 | 1 };
	int r = submit(&queues[0], &cq);

	return r ? r : submit(&queues[0], &sq);
}

static int start(void)
{
	int r;

	reg_write(REG_CC, 0);
	r = wait_ready(0);
	for (unsigned i = 0; i < 2 && !r; i++)
		r = queue_new(&queues[i], i);
	if (r)
		return r;
	reg_write(REG_AQA, (ENTRIES - 1) << 16 | (ENTRIES - 1));
	reg_write(REG_ASQ, (uint32_t)queues[0].sq.bus);
	reg_write(REG_ASQ + 4, (uint32_t)(queues[0].sq.bus >> 32));
	reg_write(REG_ACQ, (uint32_t)queues[0].cq.bus);
	reg_write(REG_ACQ + 4, (uint32_t)(queues[0].cq.bus >> 32));
	reg_write(REG_CC, CC_ENABLED);
	r = wait_ready(1);
	return r ? r : create_io_queue();
}

static int block_io(uint8_t opcode, uint64_t address)
{
	struct command cmd = { .opcode = opcode, .nsid = 1, .prp1 = address, .dw10 = BLOCK };

	return submit(&queues[1], &cmd);
}

static int cmd_own(void)
{
	struct page page;
	uint8_t *p;
	int w, r;

	if (page_new(&page)) {
		printf("@@own FAIL no physical address\n");
		return 1;
	}
	p = page.p;
	for (unsigned i = 0; i < 512; i++)
		p[i] = (uint8_t)(i * 7 + 1);
	w = block_io(OP_WRITE, page.bus);
	memset(p, 0, 512);
	r = block_io(OP_READ, page.bus);
	for (unsigned i = 0; i < 512; i++)
		if (p[i] != (uint8_t)(i * 7 + 1))
			r = r ? r : -EILSEQ;
	printf("@@own %s write 0x%x read 0x%x\n", w || r ? "FAIL" : "ok", w, r);
	return w || r;
}

static int cmd_rogue(uint64_t address)
{
	printf("@@rogue-write status 0x%x at 0x%" PRIx64 "\n", block_io(OP_WRITE, address),
	       address);
	printf("@@rogue-read status 0x%x at 0x%" PRIx64 "\n", block_io(OP_READ, address), address);
	return 0;
}

int main(int argc, char **argv)
{
	int r;

	if (argc < 3 || (strcmp(argv[2], "own") && (strcmp(argv[2], "rogue") || argc != 4))) {
		fprintf(stderr, "usage: nvmetool BDF own | rogue ADDRESS\n");
		return 2;
	}
	r = map_device(argv[1]);
	if (!r)
		r = start();
	if (r) {
		printf("@@nvmetool FAIL %s\n", r < 0 ? strerror(-r) : "a queue was refused");
		return 1;
	}
	r = strcmp(argv[2], "own") ? cmd_rogue(strtoull(argv[3], NULL, 0)) : cmd_own();
	reg_write(REG_CC, 0);
	(void)wait_ready(0);
	return r;
}
