/* SPDX-License-Identifier: BSD-3-Clause */
/* Clients of one machine at the same time: one that verifies all it does, one that is to be killed.
 */
#include "client.h"

#define IOVA 0x40000000ull
#define DMA_SIZE (64u << 10)

enum { REG_DMA_SUM = 0x38 };

static uint32_t fnv(const uint8_t *p, size_t size)
{
	uint32_t sum = 0x811c9dc5;

	while (size--)
		sum = (sum ^ *p++) * 0x01000193;
	return sum;
}

static uint8_t *map_dma(int container, uint64_t iova, int flags, int fd)
{
	uint8_t *buf = mmap(NULL, DMA_SIZE, PROT_READ | PROT_WRITE, flags, fd, 0);
	struct vfio_iommu_type1_dma_map m = {
		.argsz = sizeof(m),
		.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.vaddr = (uintptr_t)buf,
		.iova = iova,
		.size = DMA_SIZE,
	};

	CHECK(buf != MAP_FAILED);
	CHECK(!ioctl(container, VFIO_IOMMU_MAP_DMA, &m));
	return buf;
}

static void unmap_dma(int container, uint64_t iova, uint8_t *buf)
{
	struct vfio_iommu_type1_dma_unmap u = {
		.argsz = sizeof(u),
		.iova = iova,
		.size = DMA_SIZE,
	};

	CHECK(!ioctl(container, VFIO_IOMMU_UNMAP_DMA, &u) && u.size == DMA_SIZE);
	CHECK(!munmap(buf, DMA_SIZE));
}

/* The device writes a pattern, then reads it back and sums it up. */
static void dma_checked(int device, uint64_t iova, uint8_t *buf, uint32_t seed)
{
	size_t i, at = seed % 4096, size = DMA_SIZE - 4096;

	dma_go(device, iova + at, (uint32_t)size, seed, 1);
	CHECK(rd(device, 0, REG_DMA_STATUS) == 1, "status %u", rd(device, 0, REG_DMA_STATUS));
	for (i = 0; i < size; i++)
		CHECK(buf[at + i] == ((seed + i + i / 256) & 0xff), "byte %zu", i);
	dma_go(device, iova + at, (uint32_t)size, seed, 2);
	CHECK(rd(device, 0, REG_DMA_STATUS) == 1);
	CHECK(rd(device, 0, REG_DMA_SUM) == fnv(buf + at, size));
}

static void irqs_checked(int device, const int *fds)
{
	uint64_t n;
	int i;

	for (i = 0; i < VECTORS; i++) {
		struct pollfd p = { .fd = fds[i], .events = POLLIN };

		wr(device, 0, REG_IRQ_RAISE, (uint32_t)i);
		CHECK(poll(&p, 1, 20000) == 1, "vector %d", i);
		CHECK(read(fds[i], &n, 8) == 8 && n == 1, "vector %d: %lu", i, (unsigned long)n);
	}
}

/*
 * Works and verifies until standard input ends; says "ready" when the first round is over, and
 * after each further one a line if asked to by one.
 */
void cmd_steady(char **argv)
{
	struct client c = attach();
	volatile uint32_t *ram = map(c.device, 2, RAM_SIZE);
	int memfd = memfd_create("steady", MFD_CLOEXEC), fds[VECTORS], i;
	struct pollfd in = { .fd = 0, .events = POLLIN };
	uint32_t round;
	uint8_t *shared;
	char line[64];

	enable(c.device, 7);
	CHECK(ram != MAP_FAILED && !ftruncate(memfd, DMA_SIZE));
	shared = map_dma(c.container, IOVA, MAP_SHARED, memfd);
	for (i = 0; i < VECTORS; i++)
		fds[i] = eventfd(0, EFD_CLOEXEC);
	set_irqs(c.device, fds);
	for (round = 1;; round++) {
		uint8_t *private = map_dma(c.container, 2 * IOVA, MAP_PRIVATE | MAP_ANONYMOUS, -1);

		dma_checked(c.device, 2 * IOVA, private, round * 7);
		dma_checked(c.device, IOVA, shared, round);
		unmap_dma(c.container, 2 * IOVA, private);
		irqs_checked(c.device, fds);
		wr(c.device, 0, REG_SCRATCH, round);
		ram[round % (RAM_SIZE / 4)] = round;
		CHECK(rd(c.device, 2, round % (RAM_SIZE / 4) * 4) == round);
		CHECK(rd(c.device, 0, REG_SCRATCH) == round);
		if (round == 1) {
			puts("ready");
			fflush(stdout);
		}
		/* The others shall have processor time too. */
		if (poll(&in, 1, 2) < 1)
			continue;
		if (!fgets(line, sizeof(line), stdin))
			break;
		printf("%u\n", round);
		fflush(stdout);
	}
	munmap((void *)ram, RAM_SIZE);
	unmap_dma(c.container, IOVA, shared);
	detach(&c);
}

/* Everything a client does, from the first open to the last close, over and over until killed. */
void cmd_churn(char **argv)
{
	int fds[VECTORS], i;
	uint32_t round;

	for (i = 0; i < VECTORS; i++)
		fds[i] = eventfd(0, EFD_CLOEXEC);
	for (round = 1;; round++) {
		int memfd = memfd_create("churn", MFD_CLOEXEC);
		struct client c = attach();
		volatile uint32_t *ram = map(c.device, 2, RAM_SIZE), *regs = map(c.device, 1, 4096);
		uint8_t *private, *shared;

		enable(c.device, 7);
		CHECK(ram != MAP_FAILED && regs != MAP_FAILED && !ftruncate(memfd, DMA_SIZE));
		private = map_dma(c.container, 2 * IOVA, MAP_PRIVATE | MAP_ANONYMOUS, -1);
		shared = map_dma(c.container, IOVA, MAP_SHARED, memfd);
		set_irqs(c.device, fds);
		for (i = 0; i < 1024; i++)
			ram[i] = round;
		regs[REG_SCRATCH / 4] = round;
		dma_checked(c.device, 2 * IOVA, private, round);
		dma_checked(c.device, IOVA, shared, round);
		irqs_checked(c.device, fds);
		if (round == 1) {
			puts("ready");
			fflush(stdout);
		}
		CHECK(!ioctl(c.device, VFIO_DEVICE_RESET));
		unmap_dma(c.container, IOVA, shared);
		munmap((void *)ram, RAM_SIZE);
		munmap((void *)regs, 4096);
		detach(&c);
		munmap(private, DMA_SIZE);
		close(memfd);
	}
}
