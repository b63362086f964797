/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The cost of the door beside the least that FUSE can cost.
 *
 *   bench_door floor           a FUSE file that answers at once, by the raw protocol, in a user and
 *                              mount namespace of its own, with one thread: two that read in turns
 *                              would make it slower by more than a microsecond
 *   bench_door floor-asks      the same, with what any server of these requests has to ask the
 *                              kernel for besides: their numbers (_IO) say nothing of an
 *                              argument, so FUSE brings none
 *   uvfio run ... -- bench_door client BDF   the same calls through uvfio, on a testdev
 *
 * One JSON object a line. Each figure is the median of several rounds, because the machine may be
 * busy; placement on the cores (taskset) is the caller's, and the same for both.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <linux/vfio.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ROUNDS 9
#define CALLS 4000
#define REQUEST (1u << 17)
#define SCRATCH 0x08 /* a plain register of testdev */
#define PAGE 4096u

static void fail(const char *what)
{
	fprintf(stderr, "bench_door: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Median over ROUNDS of the time of one of CALLS calls. */
static void measure(const char *row, void (*call)(void *data, unsigned n), void *data)
{
	double each[ROUNDS];

	call(data, CALLS / 4);
	for (unsigned i = 0; i < ROUNDS; i++) {
		uint64_t before = now_ns();

		call(data, CALLS);
		each[i] = (double)(now_ns() - before) / CALLS;
	}
	qsort(each, ROUNDS, sizeof(each[0]), compare);
	printf("{\"row\": \"%s\", \"value\": %.0f, \"unit\": \"ns\"}\n", row, each[ROUNDS / 2]);
	fflush(stdout);
}

struct target {
	int fd; /* of the file that is read */
	off_t offset;
	int container; /* of the file that takes the requests */
	uint64_t vaddr;
};

static void call_read(void *data, unsigned n)
{
	struct target *t = data;
	uint32_t value;

	while (n--)
		if (pread(t->fd, &value, sizeof(value), t->offset) != sizeof(value))
			fail("pread");
}

static void call_map_unmap(void *data, unsigned n)
{
	struct target *t = data;

	while (n--) {
		struct vfio_iommu_type1_dma_map map = {
			.argsz = sizeof(map),
			.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
			.vaddr = t->vaddr,
			.iova = 0x100000,
			.size = PAGE,
		};
		struct vfio_iommu_type1_dma_unmap unmap = {
			.argsz = sizeof(unmap),
			.iova = 0x100000,
			.size = PAGE,
		};

		if (ioctl(t->container, VFIO_IOMMU_MAP_DMA, &map) ||
		    ioctl(t->container, VFIO_IOMMU_UNMAP_DMA, &unmap))
			fail("ioctl");
	}
}

static void run(struct target *t, bool again)
{
	int memfd = memfd_create("bench", MFD_CLOEXEC);
	void *p;

	if (memfd < 0 || ftruncate(memfd, PAGE))
		fail("memfd");
	p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, memfd, 0);
	if (p == MAP_FAILED)
		fail("mmap");
	t->vaddr = (uintptr_t)p;
	if (!again)
		measure("read4", call_read, t);
	measure(again ? "map+unmap-asked" : "map+unmap", call_map_unmap, t);
}

/* ------------------------------------------------------------------ floor */

static void reply(int fd, uint64_t unique, int error, const void *data, size_t size)
{
	struct fuse_out_header out = { .len = (uint32_t)(sizeof(out) + size),
				       .error = error,
				       .unique = unique };
	uint8_t buf[sizeof(out) + 256];

	memcpy(buf, &out, sizeof(out));
	if (size)
		memcpy(buf + sizeof(out), data, size);
	(void)!write(fd, buf, sizeof(out) + size);
}

struct server {
	int fuse;
	bool asks;
	int mem, maps; /* of the client */
};

/* PROCMAP_QUERY of Linux 6.11, which headers of Debian 12 do not have. */
struct procmap {
	uint64_t size, flags, addr;
	uint64_t rest[10];
};
#define PROCMAP_QUERY _IOWR('f', 17, struct procmap)

static int client_file(uint32_t pid, const char *name)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%u/%s", pid, name);
	return open(path, O_RDONLY | O_CLOEXEC);
}

/*
 * What the kernel has to be asked besides, whoever serves: the argument block, and for a map
 * whether the client has that memory.
 */
static void ask(struct server *s, const struct fuse_in_header *in, const struct fuse_ioctl_in *arg)
{
	struct vfio_iommu_type1_dma_map map = { 0 };
	bool maps = arg->cmd == VFIO_IOMMU_MAP_DMA;
	size_t size = maps ? sizeof(map) : sizeof(struct vfio_iommu_type1_dma_unmap);

	if (s->mem < 0) {
		s->mem = client_file(in->pid, "mem");
		s->maps = client_file(in->pid, "maps");
	}
	if (pread(s->mem, &map, size, (off_t)arg->arg) != (ssize_t)size)
		fail("/proc/PID/mem");
	if (maps) {
		struct procmap q = { .size = sizeof(q), .addr = map.vaddr };

		/* Before 6.11 there is only text to read, which costs more: the floor is lower. */
		if (ioctl(s->maps, PROCMAP_QUERY, &q) && errno != ENOTTY)
			fail("PROCMAP_QUERY");
	}
}

static void answer(struct server *s, const struct fuse_in_header *in, const void *arg)
{
	static const uint32_t value = 1;
	int fd = s->fuse;

	switch (in->opcode) {
	case FUSE_INIT: {
		struct fuse_init_out out = { .major = FUSE_KERNEL_VERSION,
					     .minor = FUSE_KERNEL_MINOR_VERSION,
					     .max_write = REQUEST / 2 };

		reply(fd, in->unique, 0, &out, sizeof(out));
		return;
	}
	case FUSE_GETATTR: {
		struct fuse_attr_out out = { .attr_valid = 3600 };

		out.attr.ino = 1;
		out.attr.mode = S_IFREG | 0666;
		out.attr.nlink = 1;
		out.attr.size = PAGE;
		reply(fd, in->unique, 0, &out, sizeof(out));
		return;
	}
	case FUSE_OPEN: {
		struct fuse_open_out out = { .open_flags = FOPEN_DIRECT_IO };

		reply(fd, in->unique, 0, &out, sizeof(out));
		return;
	}
	case FUSE_READ:
		reply(fd, in->unique, 0, &value,
		      ((const struct fuse_read_in *)arg)->size < sizeof(value) ? 0 : sizeof(value));
		return;
	case FUSE_IOCTL: {
		struct fuse_ioctl_out out = { .result = 0 };

		if (s->asks)
			ask(s, in, arg);
		reply(fd, in->unique, 0, &out, sizeof(out));
		return;
	}
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
	case FUSE_INTERRUPT:
		return;
	case FUSE_FLUSH:
	case FUSE_RELEASE:
		reply(fd, in->unique, 0, NULL, 0);
		return;
	default:
		reply(fd, in->unique, -ENOSYS, NULL, 0);
	}
}

static void *serve(void *data)
{
	struct server *s = data;
	uint8_t *buf = malloc(REQUEST);

	while (buf) {
		ssize_t n = read(s->fuse, buf, REQUEST);

		if (n < 0 && (errno == EINTR || errno == ENOENT || errno == EAGAIN))
			continue;
		if (n < (ssize_t)sizeof(struct fuse_in_header))
			break;
		answer(s, (struct fuse_in_header *)buf, buf + sizeof(struct fuse_in_header));
	}
	free(buf);
	return NULL;
}

static void write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		fail(path);
	close(fd);
}

/* Namespaces of our own and a mount in them: the fd is to be opened inside. Returns that fd. */
static int mount_bare(char *path)
{
	unsigned uid = geteuid(), gid = getegid();
	char text[128];
	int fuse, mark;

	if (unshare(uid ? CLONE_NEWUSER | CLONE_NEWNS : CLONE_NEWNS))
		fail("unshare");
	if (uid) {
		/* Root inside: the file's owner 0 has to be somebody there. */
		write_text("/proc/self/setgroups", "deny");
		snprintf(text, sizeof(text), "0 %u 1", uid);
		write_text("/proc/self/uid_map", text);
		snprintf(text, sizeof(text), "0 %u 1", gid);
		write_text("/proc/self/gid_map", text);
	}
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		fail("mount /");
	fuse = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	mark = mkstemp(path);
	if (fuse < 0)
		fail("/dev/fuse");
	if (mark < 0)
		fail(path);
	close(mark);
	/* The root of this file system is the file itself: no lookup on the way. */
	snprintf(text, sizeof(text), "fd=%d,rootmode=100000,user_id=0,group_id=0", fuse);
	if (mount("bench", path, "fuse", 0, text))
		fail("mount fuse");
	return fuse;
}

static int cmd_floor(bool asks)
{
	char path[] = "/tmp/bench-door-XXXXXX";
	pthread_t thread;
	struct server s = { .fuse = mount_bare(path), .asks = asks, .mem = -1, .maps = -1 };
	int status;
	pid_t pid = fork();

	if (pid < 0)
		fail("fork");
	if (!pid) {
		struct target t = { .fd = open(path, O_RDWR | O_CLOEXEC) };

		if (t.fd < 0)
			fail("open");
		t.container = t.fd;
		run(&t, asks);
		_exit(0);
	}
	if (pthread_create(&thread, NULL, serve, &s))
		fail("thread");
	if (waitpid(pid, &status, 0) != pid)
		fail("wait");
	umount2(path, MNT_DETACH);
	unlink(path);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

/* ------------------------------------------------------------------ client of uvfio */

static int group_of(const char *bdf)
{
	char path[128], to[256];
	ssize_t n;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/iommu_group", bdf);
	n = readlink(path, to, sizeof(to) - 1);
	if (n <= 0)
		fail(path);
	to[n] = '\0';
	return atoi(strrchr(to, '/') + 1);
}

static int cmd_client(const char *bdf)
{
	struct vfio_region_info region = { .argsz = sizeof(region), .index = 0 };
	struct target t;
	char path[64];
	int group;

	snprintf(path, sizeof(path), "/dev/vfio/%d", group_of(bdf));
	group = open(path, O_RDWR | O_CLOEXEC);
	t.container = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
	if (group < 0 || t.container < 0)
		fail(path);
	if (ioctl(group, VFIO_GROUP_SET_CONTAINER, &t.container) ||
	    ioctl(t.container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU))
		fail("container");
	t.fd = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, bdf);
	if (t.fd < 0 || ioctl(t.fd, VFIO_DEVICE_GET_REGION_INFO, &region))
		fail("device");
	t.offset = (off_t)region.offset + SCRATCH;
	/* Memory decode on, as a driver would. */
	region.index = VFIO_PCI_CONFIG_REGION_INDEX;
	if (ioctl(t.fd, VFIO_DEVICE_GET_REGION_INFO, &region) ||
	    pwrite(t.fd, "\x06", 1, (off_t)region.offset + 4) != 1)
		fail("configuration");
	run(&t, false);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "floor"))
		return cmd_floor(false);
	if (argc == 2 && !strcmp(argv[1], "floor-asks"))
		return cmd_floor(true);
	if (argc == 3 && !strcmp(argv[1], "client"))
		return cmd_client(argv[2]);
	fprintf(stderr, "usage: bench_door floor | floor-asks | client BDF\n");
	return 2;
}
