/* SPDX-License-Identifier: BSD-3-Clause */
/* Lives: descriptors that are shared, inherited, passed and closed in any order, threads, deaths.
 */
#include "client.h"

enum { N_PASSED = 3 };

void cmd_busy(char **argv)
{
	struct client c = attach();

	FAILS(open_group(), EBUSY);
	FAILS(ioctl(c.group, VFIO_GROUP_UNSET_CONTAINER), EBUSY);
	detach(&c);
}

/* Everything in every order of closing; the group can be opened again at once each time. */
void cmd_order(char **argv)
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
void cmd_fork(char **argv)
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

void cmd_exec(char **argv)
{
	struct client c = attach();
	char number[16];

	snprintf(number, sizeof(number), "%d", c.device);
	CHECK(!fcntl(c.device, F_SETFD, 0));
	execl("/proc/self/exe", "client", "use", bdf, strrchr(group_path, '/') + 1, number, NULL);
	CHECK(0);
}

/* After exec: one descriptor is left, everything else went with it. */
void cmd_use(char **argv)
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
	unsigned number, rounds;
};

static void *work_main(void *data)
{
	struct work *w = data;
	unsigned bar_ram = w->number * 4096, i;
	volatile uint32_t *ram = map(w->c.device, 2, RAM_SIZE);

	CHECK(ram != MAP_FAILED);
	for (i = 0; i < w->rounds; i++) {
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

/*
 * argv[0]: rounds. Each takes the thread's page from everybody who has it mapped, with an interrupt
 * for every other processor; emulated ones on a busy machine wait long for each other.
 */
void cmd_threads(char **argv)
{
	struct client c = attach();
	struct work w[12];
	pthread_t t[12];
	unsigned i;

	enable(c.device, 7);
	for (i = 0; i < 12; i++) {
		w[i].c = c;
		w[i].number = i;
		w[i].rounds = argv[0] ? (unsigned)atoi(argv[0]) : 400;
		CHECK(!pthread_create(&t[i], NULL, work_main, &w[i]));
	}
	for (i = 0; i < 12; i++)
		pthread_join(t[i], NULL);
	detach(&c);
}

/* Holds everything, with pages dirty and registers mapped, until killed; or just ends. */
void cmd_hold(char **argv)
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

void cmd_storm(char **argv)
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

/*
 * Opens the device, makes pages dirty and closes it, over and over, until killed: the device's
 * session begins and ends all the time.
 */
void cmd_reopen(char **argv)
{
	struct client c = attach();
	volatile uint32_t *ram, *regs;
	unsigned i;

	puts("ready");
	fflush(stdout);
	for (i = 0;; i++) {
		close(c.device);
		c.device = ioctl(c.group, VFIO_GROUP_GET_DEVICE_FD, bdf);
		CHECK(c.device >= 0);
		if (i % 2)
			continue;
		ram = map(c.device, 2, RAM_SIZE);
		regs = map(c.device, 1, 4096);
		CHECK(ram != MAP_FAILED && regs != MAP_FAILED);
		ram[i % (RAM_SIZE / 4)] = i;
		regs[REG_SCRATCH / 4] = i;
		wr(c.device, 2, 0, i);
		munmap((void *)ram, RAM_SIZE);
		munmap((void *)regs, 4096);
	}
}

/* What else our parent has started leads a session: who kills a process group does not mean it. */
void cmd_siblings(char **argv)
{
	char path[64];
	FILE *f;
	int pid;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", getppid(), getppid());
	f = fopen(path, "r");
	CHECK(f);
	while (fscanf(f, "%d", &pid) == 1)
		CHECK(pid == getpid() || getsid(pid) == pid, "process %d", pid);
	fclose(f);
}

/* What a daemon would do: the command ends, a child stays, with the device. */
void cmd_orphan(char **argv)
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

static volatile sig_atomic_t ticks;
static void on_tick(int sig)
{
	ticks++;
}

/* A letter, until it is taken: what was interrupted is tried again. */
static void send_letter(int device, uint32_t letter)
{
	off_t at = (off_t)(region_offset(device, 1) + REG_MAILBOX);
	ssize_t n;

	do
		n = pwrite(device, &letter, sizeof(letter), at);
	while (n < 0 && errno == EINTR);
	CHECK(n == sizeof(letter));
}

/* Signals fall into accesses all the time, and each access takes place once. */
void cmd_signals(char **argv)
{
	static const int flags[] = { 0, SA_RESTART };
	struct itimerval every = { { 0, 1000 }, { 0, 1000 } }, never = { { 0, 0 }, { 0, 0 } };
	struct sigaction sa = { .sa_handler = on_tick };
	struct client c = attach();
	uint32_t letters = 0, before;
	unsigned i;

	enable(c.device, 7);
	before = rd(c.device, 1, REG_MAIL_COUNT);
	for (i = 0; i < 2; i++) {
		sa.sa_flags = flags[i];
		sigaction(SIGALRM, &sa, NULL);
		ticks = 0;
		setitimer(ITIMER_REAL, &every, NULL);
		while (ticks < 200)
			send_letter(c.device, ++letters);
		setitimer(ITIMER_REAL, &never, NULL);
	}
	before = rd(c.device, 1, REG_MAIL_COUNT) - before;
	CHECK(before == letters, "%u letters, %u arrived", letters, before);
	CHECK(rd(c.device, 1, REG_MAIL_LAST) == letters);
	detach(&c);
}

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
void cmd_pass(char **argv)
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
