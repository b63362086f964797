/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A VFIO client of our own for the flow tests: static, multi-threaded, knows nothing of uvfio. It
 * talks to a testdev (docs/testdev.md) through /dev/vfio as any client would.
 *
 *   client COMMAND BDF GROUP [ARG]...
 *
 * Exit status 0: as expected; else a line on standard error says what was not.
 */
#include "client.h"

const char *bdf;
char group_path[64];

void say(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

int open_group(void)
{
	return open(group_path, O_RDWR | O_CLOEXEC);
}

struct client attach(void)
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

void detach(struct client *c)
{
	CHECK(!close(c->device));
	CHECK(!ioctl(c->group, VFIO_GROUP_UNSET_CONTAINER));
	CHECK(!close(c->group));
	CHECK(!close(c->container));
}

/* Regions lie where Linux's do, but the first one, which may be anywhere (docs/door-dev.md). */
uint64_t region_offset(int device, unsigned region)
{
	static uint64_t first = UINT64_MAX;
	struct vfio_region_info info = { .argsz = sizeof(info) };

	if (region)
		return OFFSET(region);
	if (first == UINT64_MAX) {
		CHECK(!ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &info));
		first = info.offset;
	}
	return first;
}

uint32_t rd(int device, unsigned bar, uint64_t offset)
{
	uint32_t v;

	CHECK(pread(device, &v, sizeof(v), (off_t)(region_offset(device, bar) + offset)) ==
	      sizeof(v));
	return v;
}

void wr(int device, unsigned bar, uint64_t offset, uint32_t v)
{
	CHECK(pwrite(device, &v, sizeof(v), (off_t)(region_offset(device, bar) + offset)) ==
	      sizeof(v));
}

void enable(int device, uint16_t bits)
{
	uint16_t cmd;
	off_t at = (off_t)OFFSET(VFIO_PCI_CONFIG_REGION_INDEX) + 4;

	CHECK(pread(device, &cmd, 2, at) == 2);
	cmd |= bits;
	CHECK(pwrite(device, &cmd, 2, at) == 2);
}

void *map(int device, unsigned bar, size_t size)
{
	return mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, device,
		    (off_t)region_offset(device, bar));
}

static const struct {
	const char *name;
	void (*run)(char **argv);
} commands[] = {
	{ "regs", cmd_regs },	    { "mmap", cmd_mmap },	    { "dma", cmd_dma },
	{ "irq", cmd_irq },	    { "errors", cmd_errors },	    { "busy", cmd_busy },
	{ "order", cmd_order },	    { "fork", cmd_fork },	    { "exec", cmd_exec },
	{ "use", cmd_use },	    { "threads", cmd_threads },	    { "hold", cmd_hold },
	{ "storm", cmd_storm },	    { "orphan", cmd_orphan },	    { "compat", cmd_compat },
	{ "unknown", cmd_unknown }, { "pass", cmd_pass },	    { "steady", cmd_steady },
	{ "churn", cmd_churn },	    { "siblings", cmd_siblings },   { "reopen", cmd_reopen },
	{ "cdev", cmd_cdev },	    { "cdev_hold", cmd_cdev_hold }, { "signals", cmd_signals },
};

int main(int argc, char **argv)
{
	unsigned i;

	/* Lines in one piece: others write to the same file. */
	setvbuf(stderr, NULL, _IOLBF, BUFSIZ);
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
