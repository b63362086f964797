/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The client of the flow tests by way of the device's own file and an iommufd. Where there are none
 * (device files are memfds) it sees to it that nothing speaks of them.
 */
#include <dirent.h>
#include <sys/stat.h>

#include "client.h"

/* As Linux has them; Debian 12's headers do not. */
#define REQUEST(n) _IO(';', n)
struct bind {
	uint32_t argsz, flags;
	int32_t iommufd;
	uint32_t devid;
	uint64_t token;
};
struct pt {
	uint32_t argsz, flags, id;
};
struct ioas {
	uint32_t size, flags, id;
};
struct ioas_map {
	uint32_t size, flags, ioas, fd;
	uint64_t from, length, iova;
};
struct ioas_unmap {
	uint32_t size, ioas;
	uint64_t iova, length;
};
struct ioas_ranges {
	uint32_t size, ioas, n, reserved;
	uint64_t ranges, alignment;
};
struct hwpt {
	uint32_t size, flags, dev, pt, id, rest[7];
};
struct tracking {
	uint32_t size, flags, hwpt, reserved;
};
struct bitmap {
	uint32_t size, hwpt, flags, reserved;
	uint64_t iova, length, page, data;
};

static sigjmp_buf jump;

static void on_bus(int sig)
{
	siglongjmp(jump, 1);
}

static bool can_touch(volatile uint32_t *p)
{
	signal(SIGBUS, on_bus);
	if (sigsetjmp(jump, 1))
		return false;
	(void)*p;
	return true;
}

/* "/dev/vfio/devices/vfioX", by what /sys says. False: there is no such thing. */
static bool find_cdev(char path[64])
{
	char dir[128], text[64] = "", want[64], link[512];
	struct dirent *e;
	unsigned n = 0;
	DIR *d;
	int fd;

	snprintf(dir, sizeof(dir), "/sys/bus/pci/devices/%s/vfio-dev", bdf);
	d = opendir(dir);
	if (!d) {
		CHECK(errno == ENOENT);
		return false;
	}
	while ((e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		n++;
		snprintf(path, 64, "/dev/vfio/devices/%.20s", e->d_name);
	}
	closedir(d);
	CHECK(n == 1, "%u devices", n);
	snprintf(link, sizeof(link), "%s/%s/dev", dir, path + 18);
	fd = open(link, O_RDONLY);
	CHECK(fd >= 0 && read(fd, text, sizeof(text)) > 0);
	close(fd);
	snprintf(want, sizeof(want), "511:%s\n", path + 22);
	CHECK(!strcmp(text, want), "'%s'", text);
	snprintf(link, sizeof(link), "/sys/class/vfio-dev/%s/device/vendor", path + 18);
	CHECK(!access(link, R_OK), "%s", link);
	return true;
}

static int bind_device(int device, int iommufd, uint32_t *devid)
{
	struct bind b = { sizeof(b), 0, iommufd, 0, 0 };
	int ret = ioctl(device, REQUEST(0x76), &b);

	*devid = b.devid;
	return ret;
}

static uint32_t new_ioas(int iommufd)
{
	struct ioas a = { .size = sizeof(a) };

	CHECK(!ioctl(iommufd, REQUEST(0x81), &a));
	return a.id;
}

/* Useless before it is bound, and for those who have not bound it. */
static void unbound(const char *path, int iommufd)
{
	uint8_t info[24] = { sizeof(info) };
	int device = open(path, O_RDWR | O_CLOEXEC), other = open(path, O_RDWR | O_CLOEXEC);
	volatile uint32_t *p, *q;
	uint32_t devid, v;
	char again[64];

	CHECK(device >= 0 && other >= 0);
	FAILS(ioctl(device, VFIO_DEVICE_GET_INFO, info), EINVAL);
	FAILS(pread(device, &v, 4, (off_t)OFFSET(7)), EINVAL);
	p = map(other, 2, 4096);
	CHECK(p == MAP_FAILED || !can_touch(p));
	CHECK(!bind_device(device, iommufd, &devid));
	CHECK(devid == 1, "%u", devid);
	FAILS(bind_device(device, iommufd, &devid), EINVAL);
	FAILS(bind_device(other, iommufd, &devid), EINVAL);
	FAILS(open_group(), EBUSY);
	enable(device, 7);
	q = map(device, 2, 4096);
	CHECK(q != MAP_FAILED);
	q[5] = 0x1234;
	/* Nor does it see what is mapped now. */
	CHECK(p == MAP_FAILED || !can_touch(p + 5));
	FAILS(pread(other, &v, 4, (off_t)OFFSET(7)), EINVAL);
	snprintf(again, sizeof(again), "/proc/self/fd/%d", device);
	FAILS(open(again, O_RDWR), ESTALE);
	CHECK(q[5] == 0x1234);
	munmap((void *)q, 4096);
	if (p != MAP_FAILED)
		munmap((void *)p, 4096);
	close(device);
	/* Free again at once. */
	CHECK(!bind_device(other, iommufd, &devid));
	close(other);
	device = open_group();
	CHECK(device >= 0);
	other = open(path, O_RDWR | O_CLOEXEC);
	FAILS(bind_device(other, iommufd, &devid), EBUSY);
	close(device);
	CHECK(!bind_device(other, iommufd, &devid));
	close(other);
}

/* A pattern of the device in memory of ours that is mapped where the kernel likes. */
static void dma_round(int device, int iommufd, uint32_t ioas, uint8_t *buf, size_t size)
{
	struct ioas_map m = { sizeof(m), 6, ioas, 0, (uintptr_t)buf, size, 0 };
	struct ioas_unmap u = { sizeof(u), ioas, 0, size };
	unsigned i;

	CHECK(buf != MAP_FAILED);
	CHECK(!ioctl(iommufd, REQUEST(0x85), &m));
	CHECK(m.iova >= 4096);
	dma_go(device, m.iova + 100, 5000, 7, 1);
	CHECK(rd(device, 0, REG_DMA_STATUS) == 1);
	for (i = 0; i < 5000; i++)
		CHECK(buf[100 + i] == (uint8_t)(7 + i + i / 256), "byte %u", i);
	u.iova = m.iova;
	CHECK(!ioctl(iommufd, REQUEST(0x86), &u));
	CHECK(u.length == size);
	FAILS(ioctl(iommufd, REQUEST(0x86), &u), ENOENT);
	dma_go(device, m.iova, 8, 7, 1);
	CHECK(rd(device, 0, REG_DMA_STATUS) == 2);
}

static void address_space(int device, int iommufd, uint32_t devid)
{
	uint32_t id = new_ioas(iommufd);
	uint64_t ranges[8], bits = 0, size = 1 << 16;
	struct ioas_ranges r = { sizeof(r), id, 4, 0, (uintptr_t)ranges, 0 };
	struct hwpt h = { .size = 48, .flags = 2, .dev = devid, .pt = id };
	struct pt p = { sizeof(p), 0, 0 };
	struct ioas_map f = { sizeof(f), 6, id, 0, 4096, 4096, 0 };
	int fd = memfd_create("cdev", MFD_CLOEXEC);
	uint8_t byte = 0;

	CHECK(!ioctl(iommufd, REQUEST(0x89), &h));
	p.id = h.id;
	CHECK(!ioctl(device, REQUEST(0x77), &p));
	CHECK(!ioctl(iommufd, REQUEST(0x84), &r));
	CHECK(r.n == 2 && ranges[1] == 0xfedfffff);
	dma_round(device, iommufd, id,
		  mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
		  size);
	CHECK(!ftruncate(fd, (off_t)size));
	dma_round(device, iommufd, id, mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0),
		  size);
	/* A file, and what the device has written in it. */
	struct tracking t = { sizeof(t), 1, h.id, 0 };

	f.fd = (uint32_t)fd;
	CHECK(!ioctl(iommufd, REQUEST(0x8f), &f));
	struct bitmap b = { sizeof(b), h.id, 0, 0, f.iova, 4096, 4096, (uintptr_t)&bits };

	CHECK(!ioctl(iommufd, REQUEST(0x8b), &t));
	CHECK(!ioctl(iommufd, REQUEST(0x8c), &b));
	CHECK(!bits);
	dma_go(device, f.iova + 9, 1, 0x41, 1);
	CHECK(pread(fd, &byte, 1, 4096 + 9) == 1 && byte == 0x41);
	CHECK(!ioctl(iommufd, REQUEST(0x8c), &b));
	CHECK(bits == 1);
	f.fd = (uint32_t)iommufd;
	FAILS(ioctl(iommufd, REQUEST(0x8f), &f), EINVAL);
	close(fd);
}

/* As a group's container, by VFIO's own requests. */
static void container(void)
{
	struct vfio_iommu_type1_dma_map m = { .argsz = sizeof(m), .flags = 3, .size = 4096 };
	int iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC), group = open_group(), device;
	uint8_t *page =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(iommufd >= 0 && group >= 0 && page != MAP_FAILED);
	FAILS(ioctl(iommufd, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU), ENODEV);
	CHECK(!ioctl(group, VFIO_GROUP_SET_CONTAINER, &iommufd));
	CHECK(!ioctl(iommufd, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU));
	device = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, bdf);
	CHECK(device >= 0);
	m.vaddr = (uintptr_t)page;
	m.iova = 1 << 20;
	CHECK(!ioctl(iommufd, VFIO_IOMMU_MAP_DMA, &m));
	enable(device, 7);
	dma_go(device, m.iova, 4, 0x30, 1);
	CHECK(page[3] == 0x33);
	CHECK(!ioctl(group, VFIO_GROUP_UNSET_CONTAINER));
	dma_go(device, m.iova, 4, 0x40, 1);
	CHECK(page[3] == 0x43);
	close(group);
	close(iommufd);
	dma_go(device, m.iova, 4, 0x50, 1);
	CHECK(page[3] == 0x53);
	close(device);
}

/* The pages of the device are the model's, session by session. */
static void sessions(const char *path, int iommufd)
{
	volatile uint32_t *ram, *regs;
	unsigned i, spin;
	uint32_t devid;

	for (i = 0; i < 20; i++) {
		int device = open(path, O_RDWR | O_CLOEXEC);

		CHECK(device >= 0);
		CHECK(!bind_device(device, iommufd, &devid));
		enable(device, 7);
		ram = map(device, 2, RAM_SIZE);
		regs = map(device, 1, 4096);
		CHECK(ram != MAP_FAILED && regs != MAP_FAILED);
		CHECK(regs[REG_ID / 4] == TESTDEV_ID);
		CHECK(regs[REG_SCRATCH / 4] == 0, "round %u: not reset", i);
		regs[REG_SCRATCH / 4] = 77;
		ram[1000] = i;
		CHECK(rd(device, 2, 4000) == i);
		wr(device, 2, 4000, i + 7);
		CHECK(ram[1000] == i + 7);
		regs[REG_MAILBOX / 4] = i + 1;
		for (spin = 0; spin < 5000 && rd(device, 1, REG_MAIL_LAST) != i + 1; spin++)
			usleep(200);
		CHECK(rd(device, 1, REG_MAIL_LAST) == i + 1);
		/* The mapping keeps the device open. */
		close(device);
		ram[7] = 1;
		munmap((void *)regs, 4096);
		munmap((void *)ram, RAM_SIZE);
	}
}

void cmd_cdev(char **argv)
{
	char path[64];
	struct stat st;
	uint32_t devid;
	int iommufd, device;

	if (!find_cdev(path)) {
		FAILS(stat("/dev/vfio/devices", &st), ENOENT);
		FAILS(stat("/sys/class/vfio-dev", &st), ENOENT);
		return;
	}
	CHECK(!stat(path, &st) && (st.st_mode & 0777) == 0600);
	CHECK(!stat("/dev/iommu", &st) && (st.st_mode & 0777) == 0660);
	CHECK(!chmod(path, 0640) && !stat(path, &st) && (st.st_mode & 0777) == 0640);
	CHECK(!chmod(path, 0600));
	FAILS(open("/dev/vfio/devices/vfio999", O_RDWR), ENOENT);
	iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	CHECK(iommufd >= 0);
	unbound(path, iommufd);
	device = open(path, O_RDWR | O_CLOEXEC);
	CHECK(device >= 0);
	FAILS(bind_device(device, device, &devid), EBADFD);
	FAILS(bind_device(device, 999, &devid), EBADF);
	CHECK(!bind_device(device, iommufd, &devid));
	enable(device, 7);
	address_space(device, iommufd, devid);
	close(device);
	sessions(path, iommufd);
	close(iommufd);
	container();
}

static void *remap(void *data)
{
	int iommufd = *(int *)data;
	static uint8_t page[4096] __attribute__((aligned(4096)));
	struct ioas_map m = { sizeof(m), 6, new_ioas(iommufd), 0, (uintptr_t)page, 4096, 0 };

	for (;;) {
		struct ioas_unmap u = { sizeof(u), m.ioas, 0, 4096 };

		CHECK(!ioctl(iommufd, REQUEST(0x85), &m));
		u.iova = m.iova;
		CHECK(!ioctl(iommufd, REQUEST(0x86), &u));
	}
}

/* Everything in use, until killed. */
void cmd_cdev_hold(char **argv)
{
	struct pt p = { sizeof(p), 0, 0 };
	int iommufd, device;
	volatile uint32_t *ram;
	uint32_t devid, i = 0;
	pthread_t thread;
	char path[64];

	if (!find_cdev(path)) {
		cmd_hold(argv);
		return;
	}
	iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	device = open(path, O_RDWR | O_CLOEXEC);
	CHECK(iommufd >= 0 && device >= 0);
	CHECK(!bind_device(device, iommufd, &devid));
	p.id = new_ioas(iommufd);
	CHECK(!ioctl(device, REQUEST(0x77), &p));
	enable(device, 7);
	ram = map(device, 2, RAM_SIZE);
	CHECK(ram != MAP_FAILED);
	CHECK(!pthread_create(&thread, NULL, remap, &iommufd));
	puts("ready");
	fflush(stdout);
	for (;;) {
		ram[i++ % (RAM_SIZE / 4)]++;
		if (!(i % 4096))
			usleep(1000);
	}
}
