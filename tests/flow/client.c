/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A VFIO client of our own for the flow tests: static, multi-threaded, knows nothing of uvfio. It
 * talks to a testdev (docs/testdev.md) through /dev/vfio as any client would.
 *
 *   client COMMAND BDF GROUP [ARG]...
 *
 * Exit status 0: as expected; else a line on standard error says what was not.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void __attribute__((format(printf, 1, 2))) say(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

#define CHECK(cond, ...)                                                                           \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			fprintf(stderr, "%s:%d: %s: errno %d (%s) ", __FILE__, __LINE__, #cond,    \
				errno, strerror(errno));                                           \
			say(" " __VA_ARGS__);                                                      \
			exit(1);                                                                   \
		}                                                                                  \
	} while (0)
#define FAILS(call, err)                                                                           \
	do {                                                                                       \
		errno = 0;                                                                         \
		CHECK((call) == -1 && errno == (err), "wanted errno %d", (err));                   \
	} while (0)

enum {
	REG_ID = 0,
	REG_SCRATCH = 8,
	REG_MAILBOX = 0x48,
	REG_MAIL_LAST = 0x4c,
	REG_MAIL_COUNT = 0x50
};
enum {
	REG_ADDR_LO = 0x20,
	REG_ADDR_HI = 0x24,
	REG_LEN = 0x28,
	REG_CMD = 0x2c,
	REG_DMA_STATUS = 0x30
};
enum { REG_SEED = 0x3c, REG_IRQ_RAISE = 0x40 };
#define TESTDEV_ID 0x75766601u
#define RAM_SIZE 0x10000u
#define OFFSET(region) ((uint64_t)(region) << 40)

static const char *bdf;
static char group_path[64];

struct client {
	int container, group, device;
};

static int open_group(void)
{
	return open(group_path, O_RDWR | O_CLOEXEC);
}

static struct client attach(void)
{
	struct vfio_group_status st = { .argsz = sizeof(st) };
	struct client c;

	c.container = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
	CHECK(c.container >= 0);
	CHECK(ioctl(c.container, VFIO_GET_API_VERSION) == VFIO_API_VERSION);
	c.group = open_group();
	CHECK(c.group >= 0);
	CHECK(!ioctl(c.group, VFIO_GROUP_GET_STATUS, &st));
	CHECK(st.flags & VFIO_GROUP_FLAGS_VIABLE);
	CHECK(!ioctl(c.group, VFIO_GROUP_SET_CONTAINER, &c.container));
	CHECK(!ioctl(c.container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU));
	c.device = ioctl(c.group, VFIO_GROUP_GET_DEVICE_FD, bdf);
	CHECK(c.device >= 0);
	CHECK(fcntl(c.device, F_GETFD) & FD_CLOEXEC);
	return c;
}

static void detach(struct client *c)
{
	CHECK(!close(c->device));
	CHECK(!ioctl(c->group, VFIO_GROUP_UNSET_CONTAINER));
	CHECK(!close(c->group));
	CHECK(!close(c->container));
}

static uint32_t rd(int device, unsigned bar, uint64_t offset)
{
	uint32_t v;

	CHECK(pread(device, &v, sizeof(v), (off_t)(OFFSET(bar) + offset)) == sizeof(v));
	return v;
}

static void wr(int device, unsigned bar, uint64_t offset, uint32_t v)
{
	CHECK(pwrite(device, &v, sizeof(v), (off_t)(OFFSET(bar) + offset)) == sizeof(v));
}

static void enable(int device, uint16_t bits)
{
	uint16_t cmd;
	off_t at = (off_t)OFFSET(VFIO_PCI_CONFIG_REGION_INDEX) + 4;

	CHECK(pread(device, &cmd, 2, at) == 2);
	cmd |= bits;
	CHECK(pwrite(device, &cmd, 2, at) == 2);
}

static void *map(int device, unsigned bar, size_t size)
{
	return mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, device, (off_t)OFFSET(bar));
}

/* ------------------------------------------------------------------ commands */

static void cmd_regs(char **argv)
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
		CHECK(region.offset == OFFSET(i));
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

static void cmd_mmap(char **argv)
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

static void dma_go(int device, uint64_t iova, uint32_t len, uint32_t seed, uint32_t cmd)
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

static void cmd_dma(char **argv)
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

#define VECTORS 4
static void set_irqs(int device, const int *fds)
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

static void cmd_irq(char **argv)
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

static void cmd_errors(char **argv)
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
	CHECK(ioctl(c.device, VFIO_DEVICE_SET_IRQS, set) == -1);
	FAILS(read(c.group, word, 8), EINVAL);
	FAILS(pread(c.device, word, 8, (off_t)OFFSET(100)), EINVAL);
	FAILS(pread(c.device, nowhere, 4, (off_t)OFFSET(7)), EFAULT);
	/* Device files are not to be had by name. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", c.device);
	FAILS(open(path, O_RDWR), ENXIO);
	FAILS(open("/dev/vfio/../.dev/device", O_RDWR), ENOENT);
	FAILS(open("/dev/vfio/99", O_RDWR), ENOENT);
	FAILS(open("/dev/vfio/00", O_RDWR), ENOENT);
	detach(&c);
}

static void cmd_busy(char **argv)
{
	struct client c = attach();

	FAILS(open_group(), EBUSY);
	FAILS(ioctl(c.group, VFIO_GROUP_UNSET_CONTAINER), EBUSY);
	detach(&c);
}

/* Everything in every order of closing; the group can be opened again at once each time. */
static void cmd_order(char **argv)
{
	unsigned perm, i, k, rounds = argv[0] ? (unsigned)atoi(argv[0]) : 1;

	for (perm = 0; perm < 24 * rounds; perm++) {
		struct client c = attach();
		void *ram = map(c.device, 2, 4096);
		int order[4] = { 0, 1, 2, 3 };
		unsigned code = perm % 24;

		CHECK(ram != MAP_FAILED);
		*(volatile uint32_t *)ram = perm;
		for (i = 4; i > 1; code /= i, i--) {
			int t = order[i - 1];

			k = code % i;
			order[i - 1] = order[k];
			order[k] = t;
		}
		for (i = 0; i < 4; i++) {
			switch (order[i]) {
			case 0:
				close(c.container);
				break;
			case 1:
				close(c.group);
				break;
			case 2:
				close(c.device);
				break;
			default:
				munmap(ram, 4096);
			}
		}
	}
}

/* The last copy counts, whoever has it. */
static void cmd_fork(char **argv)
{
	struct client c = attach();
	int go[2], copy, status;
	char byte;
	pid_t pid;

	enable(c.device, 7);
	copy = dup(c.device);
	CHECK(copy >= 0 && !pipe(go));
	pid = fork();
	if (!pid) {
		close(go[1]);
		CHECK(read(go[0], &byte, 1) == 0); /* the parent has closed everything */
		wr(copy, 0, REG_SCRATCH, 0x1234);
		CHECK(rd(c.device, 0, REG_SCRATCH) == 0x1234);
		FAILS(open_group(), EBUSY);
		_exit(0);
	}
	close(copy);
	close(c.device);
	close(c.group);
	close(c.container);
	close(go[1]);
	CHECK(waitpid(pid, &status, 0) == pid && !status, "%#x", status);
	c = attach();
	detach(&c);
}

static void cmd_exec(char **argv)
{
	struct client c = attach();
	char number[16];

	snprintf(number, sizeof(number), "%d", c.device);
	CHECK(!fcntl(c.device, F_SETFD, 0));
	execl("/proc/self/exe", "client", "use", bdf, strrchr(group_path, '/') + 1, number, NULL);
	CHECK(0);
}

/* After exec: one descriptor is left, everything else went with it. */
static void cmd_use(char **argv)
{
	int device = atoi(argv[0]);
	struct client c;

	enable(device, 7);
	CHECK(rd(device, 0, REG_ID) == TESTDEV_ID);
	FAILS(open_group(), EBUSY);
	close(device);
	c = attach();
	detach(&c);
}

struct work {
	struct client c;
	unsigned number;
};

static void *work_main(void *data)
{
	struct work *w = data;
	unsigned bar_ram = w->number * 4096, i;
	volatile uint32_t *ram = map(w->c.device, 2, RAM_SIZE);

	CHECK(ram != MAP_FAILED);
	for (i = 0; i < 400; i++) {
		unsigned at = bar_ram + i % 1000 * 4;
		int d;

		wr(w->c.device, 2, at, i);
		CHECK(ram[at / 4] == i, "thread %u round %u: %#x", w->number, i, ram[at / 4]);
		ram[at / 4] = i + 1;
		CHECK(rd(w->c.device, 2, at) == i + 1);
		CHECK(rd(w->c.device, 0, REG_ID) == TESTDEV_ID);
		if (i % 20)
			continue;
		d = ioctl(w->c.group, VFIO_GROUP_GET_DEVICE_FD, bdf);
		CHECK(d >= 0);
		CHECK(rd(d, 0, REG_ID) == TESTDEV_ID);
		close(d);
	}
	munmap((void *)ram, RAM_SIZE);
	return NULL;
}

static void cmd_threads(char **argv)
{
	struct client c = attach();
	struct work w[12];
	pthread_t t[12];
	unsigned i;

	enable(c.device, 7);
	for (i = 0; i < 12; i++) {
		w[i].c = c;
		w[i].number = i;
		CHECK(!pthread_create(&t[i], NULL, work_main, &w[i]));
	}
	for (i = 0; i < 12; i++)
		pthread_join(t[i], NULL);
	detach(&c);
}

/* Holds everything, with pages dirty and registers mapped, until killed; or just ends. */
static void cmd_hold(char **argv)
{
	struct client c = attach();
	volatile uint32_t *ram = map(c.device, 2, RAM_SIZE), *regs = map(c.device, 1, 4096);
	int fds[VECTORS], i;

	CHECK(ram != MAP_FAILED && regs != MAP_FAILED);
	for (i = 0; i < VECTORS; i++)
		fds[i] = eventfd(0, EFD_CLOEXEC);
	set_irqs(c.device, fds);
	for (i = 0; i < (int)RAM_SIZE / 4; i++)
		ram[i] = (uint32_t)i;
	regs[REG_SCRATCH / 4] = 1;
	puts("ready");
	fflush(stdout);
	if (argv[0] && !strcmp(argv[0], "exit"))
		_exit(0);
	for (;;) {
		ram[i++ % (RAM_SIZE / 4)]++;
		if (!(i % 4096))
			usleep(1000);
	}
}

/* Threads that are in a request of each kind all the time, until killed. */
static void *busy_main(void *data)
{
	struct client *c = data;
	struct vfio_device_info info;
	int d;

	for (;;) {
		info.argsz = sizeof(info);
		ioctl(c->device, VFIO_DEVICE_GET_INFO, &info);
		ioctl(c->device, VFIO_DEVICE_RESET);
		d = ioctl(c->group, VFIO_GROUP_GET_DEVICE_FD, bdf);
		if (d >= 0)
			close(d);
	}
	return NULL;
}

static void cmd_storm(char **argv)
{
	struct client c = attach();
	pthread_t t;
	int i;

	for (i = 0; i < 6; i++)
		CHECK(!pthread_create(&t, NULL, busy_main, &c));
	puts("ready");
	fflush(stdout);
	pause();
}

/* What a daemon would do: the command ends, a child stays, with the device. */
static void cmd_orphan(char **argv)
{
	struct client c = attach();
	volatile uint32_t *ram = map(c.device, 2, RAM_SIZE);
	unsigned i;

	if (fork())
		_exit(0);
	setsid();
	for (i = 0;; i++) {
		ram[i % 1000]++;
		if (rd(c.device, 0, REG_ID) != TESTDEV_ID)
			_exit(0);
	}
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
static void cmd_compat(char **argv)
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

enum { N_PASSED = 3 };

static void pass_fds(int sock, int *fds, ssize_t (*go)(int, struct msghdr *))
{
	char byte = 0, space[CMSG_SPACE(sizeof(int[N_PASSED]))] = { 0 };
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = { NULL, 0, &iov, 1, space, sizeof(space), 0 };
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int[N_PASSED]));
	memcpy(CMSG_DATA(c), fds, sizeof(int[N_PASSED]));
	CHECK(go(sock, &msg) == 1);
	memcpy(fds, CMSG_DATA(c), sizeof(int[N_PASSED]));
}

static ssize_t out(int sock, struct msghdr *msg)
{
	return sendmsg(sock, msg, 0);
}

static ssize_t in(int sock, struct msghdr *msg)
{
	return recvmsg(sock, msg, 0);
}

/* One process opens and maps, is gone, and another goes on: a request's memory is the caller's. */
static void cmd_pass(char **argv)
{
	struct vfio_iommu_type1_dma_map map = {
		.argsz = sizeof(map),
		.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.size = 4096,
	};
	uint8_t *page;
	int pair[2], status;
	struct client c;
	pid_t pid;

	CHECK(!socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair));
	pid = fork();
	if (!pid) {
		c = attach();
		page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		map.vaddr = (uintptr_t)page;
		CHECK(!ioctl(c.container, VFIO_IOMMU_MAP_DMA, &map));
		pass_fds(pair[0], (int *)&c, out);
		_exit(0);
	}
	CHECK(waitpid(pid, &status, 0) == pid && !status, "%#x", status);
	c.container = c.group = c.device = -1;
	pass_fds(pair[1], (int *)&c, in);
	enable(c.device, 6);
	/* Private memory went with its process. */
	dma_go(c.device, 0, 64, 7, 1);
	CHECK(rd(c.device, 0, REG_DMA_STATUS) == 2);
	page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	map.vaddr = (uintptr_t)page;
	map.iova = 4096;
	CHECK(!ioctl(c.container, VFIO_IOMMU_MAP_DMA, &map));
	dma_go(c.device, 4096, 64, 7, 1);
	CHECK(rd(c.device, 0, REG_DMA_STATUS) == 1 && page[0] == 7);
	close(c.device);
	c.device = ioctl(c.group, VFIO_GROUP_GET_DEVICE_FD, bdf);
	CHECK(c.device >= 0);
	detach(&c);
	close(pair[0]);
	close(pair[1]);
}

/* A container without a back end has its own word for what it does not know. */
static void cmd_unknown(char **argv)
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

static const struct {
	const char *name;
	void (*run)(char **argv);
} commands[] = {
	{ "regs", cmd_regs },	    { "mmap", cmd_mmap },	{ "dma", cmd_dma },
	{ "irq", cmd_irq },	    { "errors", cmd_errors },	{ "busy", cmd_busy },
	{ "order", cmd_order },	    { "fork", cmd_fork },	{ "exec", cmd_exec },
	{ "use", cmd_use },	    { "threads", cmd_threads }, { "hold", cmd_hold },
	{ "storm", cmd_storm },	    { "orphan", cmd_orphan },	{ "compat", cmd_compat },
	{ "unknown", cmd_unknown }, { "pass", cmd_pass },
};

int main(int argc, char **argv)
{
	unsigned i;

	CHECK(argc >= 4, "usage: client COMMAND BDF GROUP [ARG]...");
	bdf = argv[2];
	snprintf(group_path, sizeof(group_path), "/dev/vfio/%s", argv[3]);
	for (i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (strcmp(argv[1], commands[i].name))
			continue;
		commands[i].run(argv + 4);
		return 0;
	}
	CHECK(0, "no such command");
}
