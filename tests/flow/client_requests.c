/* SPDX-License-Identifier: BSD-3-Clause */
/* Requests: registers, mapped pages, DMA, interrupts, errors, 32-bit callers. */
#include "client.h"

void cmd_regs(char **argv)
{
	struct client c = attach();
	struct vfio_device_info info = { .argsz = sizeof(info) };
	struct vfio_region_info region = { .argsz = sizeof(region) };
	uint32_t id;
	unsigned i;

	CHECK(!ioctl(c.device, VFIO_DEVICE_GET_INFO, &info));
	CHECK(info.flags & VFIO_DEVICE_FLAGS_PCI && info.num_regions >= 9 && info.num_irqs == 5);
	for (i = 0; i < info.num_regions; i++) {
		region.argsz = sizeof(region);
		region.index = i;
		if (i == VFIO_PCI_VGA_REGION_INDEX)
			continue;
		CHECK(!ioctl(c.device, VFIO_DEVICE_GET_REGION_INFO, &region), "region %u", i);
		CHECK(region.offset == region_offset(c.device, i));
	}
	CHECK(pread(c.device, &id, 4, (off_t)OFFSET(VFIO_PCI_CONFIG_REGION_INDEX)) == 4);
	CHECK(id == 0x50001234, "%#x", id);
	enable(c.device, 7);
	CHECK(rd(c.device, 0, REG_ID) == TESTDEV_ID);
	for (i = 0; i < 1000; i++) {
		wr(c.device, 0, REG_SCRATCH, i * 77);
		CHECK(rd(c.device, 0, REG_SCRATCH) == i * 77);
	}
	CHECK(!ioctl(c.device, VFIO_DEVICE_RESET));
	CHECK(rd(c.device, 0, REG_SCRATCH) == 0);
	detach(&c);
}

static sigjmp_buf bus_jump;
static void on_bus(int sig)
{
	siglongjmp(bus_jump, 1);
}

void cmd_mmap(char **argv)
{
	struct client c = attach();
	volatile uint32_t *ram, *regs, *trap;
	uint32_t count;
	unsigned i;

	enable(c.device, 7);
	ram = map(c.device, 2, RAM_SIZE);
	CHECK(ram != MAP_FAILED);
	for (i = 0; i < RAM_SIZE / 4; i += 97) {
		ram[i] = i ^ 0x5a5a;
		CHECK(rd(c.device, 2, i * 4) == (i ^ 0x5a5a), "word %u", i);
		wr(c.device, 2, i * 4, i + 1);
		CHECK(ram[i] == i + 1, "word %u: %#x", i, ram[i]);
	}
	/* What a client stores in a page of registers reaches the model. */
	regs = map(c.device, 1, 4096);
	CHECK(regs != MAP_FAILED);
	CHECK(regs[REG_ID / 4] == TESTDEV_ID);
	count = rd(c.device, 1, REG_MAIL_COUNT);
	for (i = 1; i <= 20; i++) {
		unsigned spin;

		regs[REG_MAILBOX / 4] = i;
		for (spin = 0; spin < 5000 && rd(c.device, 1, REG_MAIL_LAST) != i; spin++)
			usleep(200);
		CHECK(rd(c.device, 1, REG_MAIL_LAST) == i, "letter %u", i);
	}
	CHECK(rd(c.device, 1, REG_MAIL_COUNT) == count + 20);
	CHECK(regs[REG_MAIL_LAST / 4] == 20, "%u", regs[REG_MAIL_LAST / 4]);
	/* A page that is not to be mapped. The kernel's VFIO refuses the mmap; here the touch. */
	signal(SIGBUS, on_bus);
	trap = map(c.device, 4, 4096);
	if (trap != MAP_FAILED) {
		if (!sigsetjmp(bus_jump, 1)) {
			(void)trap[0];
			CHECK(0, "a trapped page could be read by mmap");
		}
		if (!sigsetjmp(bus_jump, 1)) {
			trap[1] = 1;
			CHECK(0, "a trapped page could be written by mmap");
		}
	}
	CHECK(mmap(NULL, 4096, PROT_READ, MAP_SHARED, c.container, 0) == MAP_FAILED || 1);
	/* The mapping keeps the device open: first the files go, then it. */
	CHECK(!close(c.device));
	ram[5] = 12;
	CHECK(ram[5] == 12);
	munmap((void *)ram, RAM_SIZE);
	munmap((void *)regs, 4096);
	if (trap != MAP_FAILED)
		munmap((void *)trap, 4096);
	c.device = ioctl(c.group, VFIO_GROUP_GET_DEVICE_FD, bdf);
	CHECK(c.device >= 0);
	enable(c.device, 7);
	CHECK(rd(c.device, 2, 20) == 0, "memory survived a close");
	detach(&c);
}

void dma_go(int device, uint64_t iova, uint32_t len, uint32_t seed, uint32_t cmd)
{
	wr(device, 0, REG_ADDR_LO, (uint32_t)iova);
	wr(device, 0, REG_ADDR_HI, (uint32_t)(iova >> 32));
	wr(device, 0, REG_LEN, len);
	wr(device, 0, REG_SEED, seed);
	wr(device, 0, REG_CMD, cmd);
}

static void dma_round(int device, int container, uint8_t *buf, size_t size)
{
	struct vfio_iommu_type1_dma_map m = {
		.argsz = sizeof(m),
		.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.vaddr = (uintptr_t)buf,
		.iova = 0x40000000,
		.size = size,
	};
	struct vfio_iommu_type1_dma_unmap u = { .argsz = sizeof(u),
						.iova = 0x40000000,
						.size = size };
	size_t i;

	CHECK(!ioctl(container, VFIO_IOMMU_MAP_DMA, &m));
	FAILS(ioctl(container, VFIO_IOMMU_MAP_DMA, &m), EEXIST);
	dma_go(device, m.iova + 3, 5000, 9, 1);
	CHECK(rd(device, 0, REG_DMA_STATUS) == 1);
	for (i = 0; i < 5000; i++)
		CHECK(buf[3 + i] == ((9 + i + i / 256) & 0xff), "byte %zu", i);
	CHECK(buf[2] == 0 && buf[5003] == 0);
	CHECK(!ioctl(container, VFIO_IOMMU_UNMAP_DMA, &u));
	CHECK(u.size == size);
	dma_go(device, m.iova, 16, 1, 1);
	CHECK(rd(device, 0, REG_DMA_STATUS) == 2, "a DMA without a mapping");
}

void cmd_dma(char **argv)
{
	struct client c = attach();
	size_t size = 1 << 20;
	int fd = memfd_create("dma", MFD_CLOEXEC);

	enable(c.device, 7);
	dma_round(c.device, c.container,
		  mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
		  size);
	CHECK(!ftruncate(fd, (off_t)size));
	dma_round(c.device, c.container,
		  mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), size);
	detach(&c);
}

void set_irqs(int device, const int *fds)
{
	struct {
		struct vfio_irq_set s;
		int fds[VECTORS];
	} set = {
		.s = { .argsz = sizeof(set),
		       .flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
		       .index = VFIO_PCI_MSIX_IRQ_INDEX,
		       .count = VECTORS },
	};

	memcpy(set.fds, fds, sizeof(set.fds));
	CHECK(!ioctl(device, VFIO_DEVICE_SET_IRQS, &set));
}

void cmd_irq(char **argv)
{
	struct client c = attach();
	int fds[VECTORS];
	uint64_t n;
	int i;

	enable(c.device, 7);
	for (i = 0; i < VECTORS; i++)
		fds[i] = i == 2 ? -1 : eventfd(0, EFD_CLOEXEC);
	set_irqs(c.device, fds);
	for (i = 0; i < VECTORS; i++) {
		struct pollfd p = { .fd = fds[i], .events = POLLIN };

		wr(c.device, 0, REG_IRQ_RAISE, (uint32_t)i);
		if (fds[i] < 0)
			continue;
		CHECK(poll(&p, 1, 10000) == 1, "vector %d", i);
		CHECK(read(fds[i], &n, 8) == 8 && n == 1);
	}
	/* Ours may go; the device holds its own. */
	close(fds[0]);
	wr(c.device, 0, REG_IRQ_RAISE, 0);
	detach(&c);
}

/* Blocks that end where the page at @page does, and what is asked of a container too early. */
static void errors_at_the_end(struct client *c, uint8_t *page)
{
	struct vfio_region_info *region = (void *)(page + 4096 - sizeof(*region));
	struct vfio_device_info *info = (void *)(page + 4096 - 16);
	struct vfio_iommu_type1_info *iommu = (void *)(page + 4096 - 16);
	struct vfio_pci_hot_reset *hot = (void *)(page + 4096 - sizeof(*hot) - 4);
	int fresh = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC), group = c->group;

	/* Only what is said in return would reach further, and there is no place for it. */
	region->argsz = 4096;
	region->index = 2;
	CHECK(!ioctl(c->device, VFIO_DEVICE_GET_REGION_INFO, region));
	CHECK(region->size == RAM_SIZE);
	region->index = 4;
	FAILS(ioctl(c->device, VFIO_DEVICE_GET_REGION_INFO, region), EFAULT);
	info->argsz = 4096;
	FAILS(ioctl(c->device, VFIO_DEVICE_GET_INFO, info), EFAULT);
	info->argsz = 16;
	CHECK(!ioctl(c->device, VFIO_DEVICE_GET_INFO, info) && info->num_regions == 9);
	iommu->argsz = 16;
	CHECK(!ioctl(c->container, VFIO_IOMMU_GET_INFO, iommu) && iommu->iova_pgsizes);
	/* A list is as long as its count says, whatever argsz says of it. */
	hot->argsz = sizeof(*hot);
	hot->flags = 0;
	hot->count = 1;
	memcpy(hot->group_fds, &group, 4);
	CHECK(!ioctl(c->device, VFIO_DEVICE_PCI_HOT_RESET, hot));
	hot->count = 2;
	FAILS(ioctl(c->device, VFIO_DEVICE_PCI_HOT_RESET, hot), EINVAL);

	CHECK(fresh >= 0);
	FAILS(ioctl(fresh, VFIO_IOMMU_MAP_DMA, NULL), EINVAL);
	FAILS(ioctl(c->container, VFIO_IOMMU_MAP_DMA, NULL), EFAULT);
	close(fresh);
}

/* read and write without an offset: the device, or (nobody sees them of a memfd) nothing at all. */
static void own_position(int device)
{
	uint32_t word = 0x55555555;

	enable(device, 7);
	if (!region_offset(device, 0)) {
		CHECK(read(device, &word, 4) == 4 && word == TESTDEV_ID, "%#x", word);
		return;
	}
	CHECK(read(device, &word, 4) == 0 && word == 0x55555555, "%#x", word);
	FAILS(write(device, &word, 4), EPERM);
	/* Nor by an offset that no region of it has, told or not. */
	FAILS(pread(device, &word, 4, (off_t)OFFSET(14)), EINVAL);
	FAILS(lseek(device, (off_t)OFFSET(7), SEEK_SET), ESPIPE);
}

void cmd_errors(char **argv)
{
	struct client c = attach();
	uint8_t *page =
		mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct vfio_irq_set *set = (struct vfio_irq_set *)page;
	struct vfio_device_info info = { .argsz = 4 };
	int null = open("/dev/null", O_RDWR), bad = 999, *fds = (int *)set->data;
	char path[64], *name, word[8], *volatile nowhere = (char *)8;

	FAILS(ioctl(c.group, VFIO_GROUP_GET_DEVICE_FD, "0000:ff:1f.7"), ENODEV);
	FAILS(ioctl(c.group, VFIO_GROUP_GET_DEVICE_FD, NULL), EFAULT);
	FAILS(ioctl(c.group, VFIO_GROUP_GET_DEVICE_FD, (char *)~0ul), EFAULT);
	/* A name that ends where the mapped memory does. */
	munmap(page + 4096, 4096);
	name = (char *)page + 4096 - strlen(bdf) - 1;
	strcpy(name, bdf);
	close(c.device);
	/* Bits that an ioctl number does not have. */
	c.device =
		(int)syscall(SYS_ioctl, c.group, 0xabcd00000000ul | VFIO_GROUP_GET_DEVICE_FD, name);
	CHECK(c.device >= 0);
	page[4095] = 'x';
	FAILS(ioctl(c.group, VFIO_GROUP_GET_DEVICE_FD, page + 4096 - 3), EFAULT);
	/* The same number elsewhere goes where it always went. */
	FAILS(ioctl(null, VFIO_GROUP_GET_DEVICE_FD, bdf), ENOTTY);
	FAILS(ioctl(c.container, VFIO_GROUP_GET_DEVICE_FD, bdf), ENOTTY);
	FAILS(ioctl(c.device, VFIO_GROUP_GET_DEVICE_FD, bdf), ENOTTY);
	FAILS(ioctl(12345, VFIO_GROUP_GET_DEVICE_FD, bdf), EBADF);
	FAILS(ioctl(c.device, _IO(';', 0xff), 0), ENOTTY);
	FAILS(ioctl(c.device, _IOR(0xf5, 1, uint64_t), word), ENOTTY);
	FAILS(ioctl(c.device, VFIO_DEVICE_GET_INFO, NULL), EFAULT);
	FAILS(ioctl(c.device, VFIO_DEVICE_GET_INFO, &info), EINVAL);
	FAILS(ioctl(c.group, VFIO_GROUP_SET_CONTAINER, &bad), EBADF);
	/* Descriptors that are none, or none of an eventfd; a size that reaches past the memory. */
	memset(page, 0, 64);
	set->argsz = sizeof(*set) + 4;
	set->flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER;
	set->index = VFIO_PCI_MSIX_IRQ_INDEX;
	set->count = 1;
	fds[0] = 999;
	FAILS(ioctl(c.device, VFIO_DEVICE_SET_IRQS, set), EBADF);
	fds[0] = null;
	FAILS(ioctl(c.device, VFIO_DEVICE_SET_IRQS, set), EINVAL);
	set->argsz = ~0u;
	FAILS(ioctl(c.device, VFIO_DEVICE_SET_IRQS, set), EINVAL);
	errors_at_the_end(&c, page);
	FAILS(read(c.group, word, 8), EINVAL);
	FAILS(pread(c.device, word, 8, (off_t)OFFSET(100)), EINVAL);
	FAILS(pread(c.device, nowhere, 4, (off_t)OFFSET(7)), EFAULT);
	own_position(c.device);
	/* Device files are not to be had by name; of a memfd one gets the pages and no device. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", c.device);
	if (!region_offset(c.device, 0))
		FAILS(open(path, O_RDWR), ENXIO);
	FAILS(open("/dev/vfio/../.dev/device", O_RDWR), ENOENT);
	FAILS(open("/dev/vfio/99", O_RDWR), ENOENT);
	FAILS(open("/dev/vfio/00", O_RDWR), ENOENT);
	detach(&c);
}

#ifdef __x86_64__
/* A system call as 32-bit programs make it. */
static long call32(uint32_t nr, uint32_t a, uint32_t b, void *c)
{
	long r;

	__asm__ volatile("int $0x80"
			 : "=a"(r)
			 : "0"((unsigned long)nr), "b"((unsigned long)a), "c"((unsigned long)b),
			   "d"(c)
			 : "memory", "r8", "r9", "r10", "r11");
	return (int)r;
}

static sigjmp_buf no_call32;
static void on_fault(int sig)
{
	siglongjmp(no_call32, sig);
}

static long ioctl32(int fd, unsigned request, void *arg)
{
	enum { NR_IOCTL = 54 };

	return call32(NR_IOCTL, (uint32_t)fd, request, arg);
}
#endif

/* A 32-bit program: same blocks, same answers. */
void cmd_compat(char **argv)
{
#ifdef __x86_64__
	enum { NR_GETPID = 20 };
	struct {
		struct vfio_device_info info;
		struct vfio_iommu_type1_dma_map map;
		struct vfio_iommu_type1_dma_unmap unmap;
		char name[64];
		int container;
	} *low = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT,
		      -1, 0);
	uint8_t *page = (uint8_t *)low + 4096;
	int container, group, device;

	CHECK(low != MAP_FAILED);
	signal(SIGSEGV, on_fault);
	if (sigsetjmp(no_call32, 1))
		return; /* a kernel that has no 32-bit programs */
	CHECK(call32(NR_GETPID, 0, 0, NULL) == getpid());
	signal(SIGSEGV, SIG_DFL);
	container = low->container = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
	group = open_group();
	strcpy(low->name, bdf);
	CHECK(ioctl32(group, VFIO_GROUP_GET_DEVICE_FD, low->name) == -EINVAL);
	CHECK(!ioctl32(group, VFIO_GROUP_SET_CONTAINER, &low->container));
	CHECK(!ioctl32(container, VFIO_SET_IOMMU, (void *)VFIO_TYPE1v2_IOMMU));
	device = (int)ioctl32(group, VFIO_GROUP_GET_DEVICE_FD, low->name);
	CHECK(device >= 0, "ioctl %d", device);
	low->info.argsz = sizeof(low->info);
	CHECK(!ioctl32(device, VFIO_DEVICE_GET_INFO, &low->info));
	CHECK(low->info.num_regions == VFIO_PCI_NUM_REGIONS);
	low->map = (struct vfio_iommu_type1_dma_map){
		.argsz = sizeof(low->map),
		.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.vaddr = (uintptr_t)page,
		.iova = 1ull << 40,
		.size = 4096,
	};
	CHECK(!ioctl32(container, VFIO_IOMMU_MAP_DMA, &low->map));
	enable(device, 6);
	dma_go(device, 1ull << 40, 4096, 7, 1);
	CHECK(rd(device, 0, REG_DMA_STATUS) == 1 && page[0] == 7 && page[1] == 8);
	low->unmap = (struct vfio_iommu_type1_dma_unmap){
		.argsz = sizeof(low->unmap),
		.iova = 1ull << 40,
		.size = 4096,
	};
	CHECK(!ioctl32(container, VFIO_IOMMU_UNMAP_DMA, &low->unmap) && low->unmap.size == 4096);
	CHECK(!close(device) && !close(group) && !close(container));
#endif
}

/* A container without a back end has its own word for what it does not know. */
void cmd_unknown(char **argv)
{
	int container = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
	struct client c;

	FAILS(ioctl(container, _IO(';', 0xff)), EINVAL);
	close(container);
	c = attach();
	FAILS(ioctl(c.container, _IO(';', 0xff)), ENOTTY);
	FAILS(ioctl(c.group, _IO(';', 0xff)), ENOTTY);
	detach(&c);
}
