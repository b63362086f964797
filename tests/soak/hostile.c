/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hostile: a VFIO client that does anything at all, in an order that a seed decides: files of all
 * kinds opened, mixed up and closed under one another's feet, requests that are nearly right and
 * requests that are noise, regions read, written and mapped, memory mapped for DMA and taken away,
 * eventfds filled and forgotten, children that inherit it all. Two threads share the descriptors.
 *
 *   hostile SEED OPERATIONS BDF...
 *
 * Nothing that comes back is looked at: what must hold is that the machine lives, that this program
 * can always be killed, and that nothing of it stays behind. Ends with status 0 after its number of
 * operations (0: never).
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define SLOTS 8u
#define PAGE 4096u
#define ARENA (64u * PAGE)
#define MAX_DEVICES 8u

enum { CONTAINER, GROUP, DEVICE, EVENT, OTHER, KINDS };

static int fds[KINDS][SLOTS]; /* both threads change them as they like */
static void *maps[SLOTS];
static uint8_t *arena[2]; /* private memory, and a memfd's */
static char **bdfs;
static unsigned n_bdfs;
static char groups[MAX_DEVICES][64];
static unsigned long operations;

static _Thread_local uint64_t state;
static _Thread_local sigjmp_buf jump;
static _Thread_local volatile bool jumpable;

static uint64_t any(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static unsigned below(unsigned n)
{
	return (unsigned)(any() >> 20) % n;
}

/* A size or an offset: mostly small, mostly near something. */
static uint64_t some(uint64_t top)
{
	switch (below(8)) {
	case 0:
		return any();
	case 1:
		return top - below(16);
	case 2:
		return top + below(16);
	case 3:
		return below(PAGE);
	default:
		return (any() % (top ? top : 1)) & ~(uint64_t)(below(2) ? 0 : 3);
	}
}

/* Mostly of the kind that is wanted, and mostly open. */
static int pick(unsigned kind)
{
	const int *of = fds[below(32) ? kind : below(KINDS)];
	unsigned i = below(SLOTS);

	for (unsigned n = 1; n < SLOTS && of[i] < 0; n++)
		i = (i + 1) % SLOTS;
	return of[i];
}

static void put(unsigned kind, unsigned i, int fd)
{
	int old = __atomic_exchange_n(&fds[kind][i], fd, __ATOMIC_RELAXED);

	if (old >= 0)
		close(old);
}

/* In any place of its kind. */
static void keep(unsigned kind, int fd)
{
	put(kind, below(SLOTS), fd);
}

static void *place(void)
{
	return arena[below(2)] + (below(4) ? below(ARENA / PAGE) * PAGE : below(ARENA));
}

static void ignore(long result) {}

/* ------------------------------------------------------------------ files */

static void op_open(void)
{
	unsigned i = below(n_bdfs);
	char name[128];

	/* A group that is open already takes its time to say so, and would take all of ours. */
	switch (below(64) ? 1 + below(3) : 0) {
	case 0:
		keep(GROUP, open(groups[i], O_RDWR | (below(2) ? O_CLOEXEC : 0)));
		break;
	case 1:
		keep(CONTAINER, open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC));
		break;
	case 2:
		keep(EVENT, eventfd(0, below(2) ? EFD_NONBLOCK : 0));
		break;
	default:
		snprintf(name, sizeof(name), "%s%s", bdfs[i], below(16) ? "" : " vf_token=1");
		keep(DEVICE, ioctl(pick(GROUP), VFIO_GROUP_GET_DEVICE_FD, name));
	}
}

static void op_close(void)
{
	if (below(4))
		keep(below(KINDS), -1);
	else
		keep(below(KINDS), dup(pick(below(KINDS))));
}

static void unmap(unsigned i)
{
	void *old = __atomic_exchange_n(&maps[i], NULL, __ATOMIC_RELAXED);

	if (old)
		munmap(old, 2 * PAGE);
}

/* From the beginning, in order, so that the rest has something to work on. */
static void op_attach(void)
{
	unsigned i = below(n_bdfs);
	int container, group;

	if (pick(DEVICE) >= 0 && below(64))
		return;
	for (unsigned k = 0; k < SLOTS; k++) {
		unmap(k);
		for (unsigned kind = CONTAINER; kind <= DEVICE; kind++)
			put(kind, k, -1);
	}
	container = open("/dev/vfio/vfio", O_RDWR);
	group = open(groups[i], O_RDWR);
	if (group >= 0 && !ioctl(group, VFIO_GROUP_SET_CONTAINER, &container) &&
	    !ioctl(container, VFIO_SET_IOMMU, below(2) ? VFIO_TYPE1_IOMMU : VFIO_TYPE1v2_IOMMU))
		keep(DEVICE, ioctl(group, VFIO_GROUP_GET_DEVICE_FD, bdfs[i]));
	keep(CONTAINER, container);
	keep(GROUP, group);
}

static void op_container(void)
{
	static const unsigned long types[] = { 1, 3, 3, 3, 9, 0 };
	int fd = pick(CONTAINER);

	switch (below(4)) {
	case 0:
		ioctl(pick(GROUP), VFIO_GROUP_SET_CONTAINER, &fd);
		break;
	case 1:
		ioctl(pick(GROUP), VFIO_GROUP_UNSET_CONTAINER);
		break;
	default:
		ioctl(fd, VFIO_SET_IOMMU, types[below(6)]);
	}
}

/* ------------------------------------------------------------------ requests */

/* Any request with any block: a plausible argsz, small numbers, descriptors among them. */
static void op_noise(void)
{
	uint32_t block[64];
	unsigned n = below(64) + 1;

	for (unsigned i = 0; i < 64; i++)
		block[i] = below(4) ? below(8) : below(2) ? (uint32_t)pick(EVENT) : (uint32_t)any();
	block[0] = below(8) ? 4 * n : (uint32_t)any();
	if (below(2))
		block[1] = 1u << below(20);
	ioctl(pick(below(3)), VFIO_GET_API_VERSION + below(32),
	      below(16) ? (void *)block : (void *)any());
}

static void op_irqs(void)
{
	struct {
		struct vfio_irq_set set;
		int32_t fds[SLOTS];
	} r = { { sizeof(r), 0, below(5), below(4) ? 0 : below(8), below(SLOTS + 1) }, { 0 } };

	r.set.flags = 1u << below(3) | 8u << (below(4) ? 2 : below(3));
	for (unsigned i = 0; i < SLOTS; i++)
		r.fds[i] = below(8) ? pick(EVENT) : -1;
	if (!below(4)) {
		r.set.flags = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER;
		r.set.count = 0;
	}
	ioctl(pick(DEVICE), VFIO_DEVICE_SET_IRQS, &r);
}

static void op_reset(void)
{
	struct {
		struct vfio_pci_hot_reset h;
		int32_t fds[2];
	} r = { { sizeof(r), 0, 1 }, { pick(GROUP), pick(GROUP) } };
	struct vfio_device_ioeventfd io = { sizeof(io), 1u << below(4),
					    (uint64_t)below(8) << 40 | some(PAGE), below(2),
					    pick(EVENT) };

	switch (below(4)) {
	case 0:
		ioctl(pick(DEVICE), VFIO_DEVICE_PCI_HOT_RESET, &r);
		break;
	case 1:
		ioctl(pick(DEVICE), VFIO_DEVICE_IOEVENTFD, &io);
		break;
	default:
		ioctl(pick(DEVICE), VFIO_DEVICE_RESET);
	}
}

/* ------------------------------------------------------------------ memory */

static void op_dma_map(void)
{
	struct vfio_iommu_type1_dma_map m = { sizeof(m), 1 + below(3), (uintptr_t)place(),
					      (uint64_t)below(64) * PAGE, PAGE << below(5) };
	struct vfio_iommu_type1_dma_unmap u = { sizeof(u), below(8) ? 0 : 1u << below(3),
						(uint64_t)below(64) * PAGE, PAGE << below(7) };

	if (!below(16))
		m.vaddr = (uintptr_t)maps[below(SLOTS)];
	if (below(3))
		ioctl(pick(CONTAINER), VFIO_IOMMU_MAP_DMA, &m);
	else
		ioctl(pick(CONTAINER), VFIO_IOMMU_UNMAP_DMA, &u);
}

/* Takes memory away that a device may be using, and puts other memory there. */
static void op_memory(void)
{
	uint8_t *at = arena[0] + below(ARENA / PAGE) * PAGE;

	if (below(2))
		madvise(at, PAGE, MADV_DONTNEED);
	else if (!below(4))
		mmap(at, PAGE, below(2) ? PROT_READ : PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
}

static void op_bar_map(void)
{
	unsigned i = below(SLOTS);
	void *map = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, pick(DEVICE),
			 (off_t)((uint64_t)below(8) << 40 | (uint64_t)below(4) * PAGE));

	unmap(i);
	if (map != MAP_FAILED)
		maps[i] = map;
}

static void op_touch(void)
{
	volatile uint32_t *map = maps[below(SLOTS)];
	unsigned i = below(8) ? below(32) : below(PAGE / 4);

	if (!map || sigsetjmp(jump, 1))
		return;
	jumpable = true;
	if (below(2))
		map[i] = (uint32_t)any();
	else
		(void)map[i];
	jumpable = false;
}

/* ------------------------------------------------------------------ the device */

static void op_region(void)
{
	static uint8_t buf[4 * PAGE];
	unsigned index = below(8) ? below(8) : below(12);
	uint64_t at = (uint64_t)index << 40 | (some(PAGE) & 0xffffffffffull);
	size_t n = below(4) ? 1u << below(4) : below(sizeof(buf));

	if (below(2))
		ignore(pread(pick(DEVICE), buf, n, (off_t)at));
	else
		ignore(pwrite(pick(DEVICE), buf, n, (off_t)at));
}

static void store(int fd, unsigned offset, uint32_t value)
{
	ignore(pwrite(fd, &value, sizeof(value), offset));
}

/* testdev's DMA engine, docs/testdev.md; on another model these are writes like any. */
static void op_dma(void)
{
	int fd = pick(DEVICE);
	uint16_t command = below(8) ? 7 : below(8);

	ignore(pwrite(fd, &command, 2, (off_t)(7ull << 40 | 4)));
	store(fd, 0x20, below(64) * PAGE + below(16));
	store(fd, 0x24, below(16) ? 0 : (uint32_t)any());
	store(fd, 0x28, (uint32_t)some(2 * PAGE));
	store(fd, 0x2c, 1u << below(3) | below(2) << 8 | below(8) << 16);
	if (!below(4))
		store(fd, 0x40 + 4 * below(2), below(8));
}

/* Never waits itself: a counter is filled only where there is room, and emptied as it is. */
static void op_event(void)
{
	uint64_t value = below(4) ? 1 : UINT64_MAX - 1;
	struct iovec iov = { &value, sizeof(value) };
	struct pollfd p = { .fd = pick(EVENT), .events = POLLOUT };

	if (below(2))
		ignore(preadv2(p.fd, &iov, 1, -1, RWF_NOWAIT));
	else if (poll(&p, 1, 0) == 1 && p.revents == POLLOUT &&
		 (value == 1 || fcntl(p.fd, F_GETFL) & O_NONBLOCK))
		ignore(write(p.fd, &value, sizeof(value)));
}

/* ------------------------------------------------------------------ lives */

static void (*const ops[])(void) = {
	op_open,  op_open,  op_close,  op_attach,  op_container, op_noise,  op_noise,
	op_irqs,  op_irqs,  op_reset,  op_dma_map, op_dma_map,	 op_memory, op_bar_map,
	op_touch, op_touch, op_region, op_region,  op_dma,	 op_dma,    op_event,
};

static void run(unsigned long n)
{
	for (unsigned long i = 0; !n || i < n; i++)
		ops[below(sizeof(ops) / sizeof(ops[0]))]();
}

/* A child has every descriptor and goes on for a while, or not at all. */
static void op_fork(void)
{
	pid_t pid = fork();

	if (!pid) {
		run(below(2) ? 0 : 20 + below(200));
		_exit(0);
	}
	if (pid > 0 && below(4))
		usleep(below(20000));
	if (pid > 0) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
}

static void on_fault(int sig)
{
	if (!jumpable)
		_exit(128 + sig);
	jumpable = false;
	siglongjmp(jump, 1);
}

static void *thread(void *data)
{
	state = *(uint64_t *)data ^ 0x9e3779b97f4a7c15ull;
	run(operations);
	return NULL;
}

static void prepare(void)
{
	int memfd = memfd_create("arena", MFD_CLOEXEC);

	if (memfd < 0 || ftruncate(memfd, ARENA))
		exit(2);
	arena[0] = mmap(NULL, ARENA, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	arena[1] = mmap(NULL, ARENA, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
	if (arena[0] == MAP_FAILED || arena[1] == MAP_FAILED)
		exit(2);
	memset(fds, 0xff, sizeof(fds));
	fds[OTHER][0] = memfd;
	fds[OTHER][1] = open("/dev/null", O_RDWR);
	for (unsigned i = 0; i < n_bdfs; i++) {
		char path[128], link[128];
		ssize_t n;

		snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/iommu_group", bdfs[i]);
		n = readlink(path, link, sizeof(link) - 1);
		if (n <= 0)
			exit(2);
		link[n] = 0;
		snprintf(groups[i], sizeof(groups[i]), "/dev/vfio%s", strrchr(link, '/'));
	}
}

int main(int argc, char **argv)
{
	struct sigaction sa = { .sa_handler = on_fault };
	pthread_t second;
	uint64_t seed;

	if (argc < 4 || argc > 3 + (int)MAX_DEVICES) {
		fprintf(stderr, "usage: hostile SEED OPERATIONS BDF...\n");
		return 2;
	}
	seed = strtoull(argv[1], NULL, 0) * 2 + 1;
	operations = strtoul(argv[2], NULL, 0);
	bdfs = argv + 3;
	n_bdfs = (unsigned)argc - 3;
	state = seed;
	prepare();
	sigaction(SIGBUS, &sa, NULL);
	sigaction(SIGSEGV, &sa, NULL);
	if (pthread_create(&second, NULL, thread, &seed))
		return 2;
	for (unsigned long i = 0; !operations || i < operations; i += 256) {
		run(256);
		if (!below(4))
			op_fork();
	}
	pthread_join(second, NULL);
	return 0;
}
