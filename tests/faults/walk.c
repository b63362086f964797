// SPDX-License-Identifier: BSD-3-Clause
/*
 * Every allocation, or every system call, of a machine's life fails in its turn.
 *
 * One life: a machine of two devices, a client that opens, maps, sets interrupts, does DMA, drives
 * the NVMe controller, resets and closes; then all is freed. Life n runs in a process of its own in
 * which call n fails (inject.h). A step that says an error is done once more, and must succeed
 * then: a failure leaves nothing half done. In the end no descriptor is left, and (under the
 * address sanitizer) no memory. A process that hangs is killed by its alarm.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "../unit/nvme_client.h"
#include "../unit/vfio_client.h"
#include "inject.h"
#include "machine/machine.h"
#include "vfio/compat.h"

#define PATIENCE_S 20
#define MAX_CALLS 20000ul
#define QUIET_LIVES 8 /* threads make the number of calls differ from life to life */
#define NVME_BDF "0000:65:00.0"
#define TEST_BDF "0000:67:00.0"
#define ANON_IOVA 0x80000000ull
#define ANON_SIZE 0x4000ull
#define N_EVENTS 4

struct life {
	struct machine *machine;
	struct vfio_obj *container, *groups[2], *nvme, *test;
	struct vfio_client client;
	struct client driver; /* of the NVMe controller; and memory */
	uint8_t *anon;
	char spec[128];
	int events[N_EVENTS];
	int file; /* to be mapped as such */
};

/* What a life tells, in memory that survives it. */
static struct verdict {
	char step[64], fault[32];
	int error;
	bool fired, retried;
	int fds;
} * verdict;

static _Noreturn void wrong(const char *what, long value)
{
	inject_fired(NULL);
	fprintf(stderr, "# %s: %ld (%s)\n", what, value, value < 0 ? strerror((int)-value) : "");
	_exit(1);
}

static bool noted(const char *name, int error)
{
	const char *fault;

	if (!inject_fired(&fault) || verdict->retried)
		return false;
	verdict->retried = true;
	verdict->error = error;
	snprintf(verdict->step, sizeof(verdict->step), "%s", name);
	snprintf(verdict->fault, sizeof(verdict->fault), "%s", fault);
	return true;
}

/* An error is allowed where the fault came to pass, and only once. */
#define STEP(expression)                                                                           \
	do {                                                                                       \
		int step_r = (expression);                                                         \
                                                                                                   \
		if (step_r < 0 && noted(#expression, step_r))                                      \
			step_r = (expression);                                                     \
		if (step_r < 0)                                                                    \
			wrong(#expression, step_r);                                                \
	} while (0)

/* ------------------------------------------------------------------ requests */

static int call(struct life *l, struct vfio_obj *obj, uint32_t request, void *data, size_t size,
		const struct vfio_fd *fds, unsigned n_fds)
{
	return request_block(&l->client, obj, request, data, size, fds, n_fds, NULL, NULL);
}

static int map_dma(struct life *l, void *at, uint64_t iova, uint64_t size)
{
	struct vfio_iommu_type1_dma_map map = {
		.argsz = sizeof(map),
		.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.vaddr = (uintptr_t)at,
		.iova = iova,
		.size = size,
	};

	return call(l, l->container, VFIO_IOMMU_MAP_DMA, &map, sizeof(map), NULL, 0);
}

static int unmap_dma(struct life *l, uint64_t iova, uint64_t size)
{
	struct vfio_iommu_type1_dma_unmap unmap = {
		.argsz = sizeof(unmap),
		.iova = iova,
		.size = size,
	};
	int r = call(l, l->container, VFIO_IOMMU_UNMAP_DMA, &unmap, sizeof(unmap), NULL, 0);

	return r < 0 || unmap.size == size ? r : -EBADMSG;
}

static int iommu_info(struct life *l)
{
	union {
		struct vfio_iommu_type1_info info;
		uint8_t room[512];
	} u = { .info.argsz = sizeof(u) };

	return call(l, l->container, VFIO_IOMMU_GET_INFO, &u, sizeof(u), NULL, 0);
}

static int dirty(struct life *l, uint32_t flag)
{
	struct vfio_iommu_type1_dirty_bitmap log = { .argsz = sizeof(log), .flags = flag };

	return call(l, l->container, VFIO_IOMMU_DIRTY_PAGES, &log, sizeof(log), NULL, 0);
}

static int dirty_fetch(struct life *l)
{
	struct {
		struct vfio_iommu_type1_dirty_bitmap log;
		struct vfio_iommu_type1_dirty_bitmap_get get;
	} u = {
		.log = { .argsz = sizeof(u), .flags = VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP },
		.get = { .iova = ANON_IOVA,
			 .size = ANON_SIZE,
			 .bitmap = { 4096, 8, (__u64 *)(void *)(l->anon + 2 * 4096) } },
	};

	return call(l, l->container, VFIO_IOMMU_DIRTY_PAGES, &u, sizeof(u), NULL, 0);
}

static int device_infos(struct life *l, struct vfio_obj *device)
{
	union {
		struct vfio_device_info device;
		struct vfio_region_info region;
		struct vfio_irq_info irq;
		uint8_t room[512];
	} u;
	int r = 0;

	u.device = (struct vfio_device_info){ .argsz = sizeof(u) };
	r = call(l, device, VFIO_DEVICE_GET_INFO, &u, sizeof(u), NULL, 0);
	for (unsigned i = 0; i < VFIO_PCI_ROM_REGION_INDEX && r >= 0; i++) {
		u.region = (struct vfio_region_info){ .argsz = sizeof(u), .index = i };
		r = call(l, device, VFIO_DEVICE_GET_REGION_INFO, &u, sizeof(u), NULL, 0);
	}
	for (unsigned i = 0; i < VFIO_PCI_NUM_IRQS && r >= 0; i++) {
		u.irq = (struct vfio_irq_info){ .argsz = sizeof(u.irq), .index = i };
		r = call(l, device, VFIO_DEVICE_GET_IRQ_INFO, &u, sizeof(u), NULL, 0);
	}
	return r;
}

static int hot_reset_info(struct life *l)
{
	union {
		struct vfio_pci_hot_reset_info info;
		uint8_t room[512];
	} u = { .info.argsz = sizeof(u) };

	return call(l, l->test, VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, &u, sizeof(u), NULL, 0);
}

/* @n 0: turns the index off. */
static int set_irqs(struct life *l, struct vfio_obj *device, uint32_t index, uint32_t action,
		    uint32_t start, uint32_t n)
{
	struct {
		struct vfio_irq_set set;
		int32_t fds[N_EVENTS];
	} u = { .set = { .argsz = sizeof(u),
			 .flags = action | (n ? VFIO_IRQ_SET_DATA_EVENTFD : VFIO_IRQ_SET_DATA_NONE),
			 .index = index,
			 .start = start,
			 .count = n } };
	struct vfio_fd fds[N_EVENTS];

	for (uint32_t i = 0; i < n; i++) {
		/* An interrupt that unmasks itself would never rest. */
		int fd = l->events[action & VFIO_IRQ_SET_ACTION_UNMASK ? N_EVENTS - 1 : i];

		u.fds[i] = fd;
		fds[i] = (struct vfio_fd){ .fd = fd };
	}
	return call(l, device, VFIO_DEVICE_SET_IRQS, &u, sizeof(u), fds, n);
}

static int ioeventfd(struct life *l, int fd)
{
	struct vfio_device_ioeventfd set = {
		.argsz = sizeof(set),
		.flags = VFIO_DEVICE_IOEVENTFD_32,
		.offset = 8,
		.data = 7,
		.fd = fd,
	};
	struct vfio_fd fds = { .fd = fd };

	return call(l, l->test, VFIO_DEVICE_IOEVENTFD, &set, sizeof(set), &fds, 1);
}

static int put32(struct vfio_obj *device, unsigned region, uint64_t at, uint32_t value)
{
	ssize_t n =
		vfio_device_write(device, &value, 4, (uint64_t)region << VFIO_REGION_SHIFT | at);

	return n == 4 ? 0 : n < 0 ? (int)n : -EBADMSG;
}

static int get32(struct vfio_obj *device, uint64_t at, uint32_t *value)
{
	ssize_t n = vfio_device_read(device, value, 4, at);

	return n == 4 ? 0 : n < 0 ? (int)n : -EBADMSG;
}

/* testdev fills memory, and says so. */
static int test_dma(struct life *l, uint64_t iova, uint32_t want)
{
	uint32_t status = 0;
	int r = put32(l->test, 0, 0x20, (uint32_t)iova);

	r = r ?: put32(l->test, 0, 0x24, (uint32_t)(iova >> 32));
	r = r ?: put32(l->test, 0, 0x28, 5000);
	r = r ?: put32(l->test, 0, 0x2c, 1 | 1u << 8);
	r = r ?: get32(l->test, 0x30, &status);
	return r ?: status == want ? 0 : -EFAULT;
}

/* ------------------------------------------------------------------ a life */

/* A machine that could not be made, or started, is of no use any more. */
static int born(struct life *l)
{
	static const char file[] =
		"{\"devices\":[{\"model\":\"testdev\",\"bdf\":\"" TEST_BDF "\"}]}";
	struct machine_error err = { "" };
	int r = guard_init();

	r = r ?: machine_new(&l->machine);
	if (r)
		return r;
	r = machine_add_spec(l->machine, l->spec, &err);
	r = r ?: machine_add_json(l->machine, "file", file, sizeof(file) - 1, &err);
	r = r ?: machine_start(l->machine, &err);
	if (!r)
		return 0;
	if (!err.text[0] || strchr(err.text, '\n'))
		wrong("an error that is not one line", r);
	machine_free(l->machine);
	return r;
}

static struct pcif *function(struct life *l, const char *text)
{
	struct pci_bdf bdf;

	if (pcif_bdf_parse(text, &bdf))
		wrong(text, 0);
	return pcim_find(machine_pci(l->machine), bdf);
}

static void opened(struct life *l)
{
	struct vfio *v = machine_vfio(l->machine);

	l->driver.f = function(l, NVME_BDF);
	STEP(iommu_mem_process((pid_t)syscall(SYS_gettid), &l->client.mem));
	STEP(vfio_open_container(v, &l->container));
	STEP(vfio_open_group(v, pcif_group(l->driver.f), &l->groups[0]));
	STEP(vfio_open_group(v, pcif_group(function(l, TEST_BDF)), &l->groups[1]));
	STEP(request_container(&l->client, l->groups[0], l->container));
	STEP(request_value(&l->client, l->container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU));
	STEP(request_container(&l->client, l->groups[1], l->container));
	STEP(iommu_info(l));
	STEP(request_device(&l->client, l->groups[0], NVME_BDF, &l->nvme));
	STEP(request_device(&l->client, l->groups[1], TEST_BDF, &l->test));
	STEP(device_infos(l, l->nvme));
	STEP(device_infos(l, l->test));
	STEP(hot_reset_info(l));
	STEP(map_dma(l, l->driver.ram, RAM_IOVA, RAM_SIZE));
	STEP(map_dma(l, l->anon, ANON_IOVA, ANON_SIZE));
	STEP(put32(l->nvme, VFIO_PCI_CONFIG_REGION_INDEX, 4, 6));
	STEP(put32(l->test, VFIO_PCI_CONFIG_REGION_INDEX, 4, 6));
}

static void tested(struct life *l)
{
	const uint32_t trigger = VFIO_IRQ_SET_ACTION_TRIGGER;
	uint64_t offset;
	int fd;

	STEP(set_irqs(l, l->test, VFIO_PCI_INTX_IRQ_INDEX, trigger, 0, 1));
	STEP(set_irqs(l, l->test, VFIO_PCI_INTX_IRQ_INDEX, VFIO_IRQ_SET_ACTION_UNMASK, 0, 1));
	STEP(put32(l->test, 0, 0x44, 1));
	STEP(put32(l->test, 0, 0x44, 0));
	STEP(set_irqs(l, l->test, VFIO_PCI_INTX_IRQ_INDEX, trigger, 0, 0));
	STEP(set_irqs(l, l->test, VFIO_PCI_MSI_IRQ_INDEX, trigger, 0, 4));
	STEP(put32(l->test, 0, 0x40, 1));
	STEP(set_irqs(l, l->test, VFIO_PCI_MSI_IRQ_INDEX, trigger, 0, 0));
	STEP(set_irqs(l, l->test, VFIO_PCI_MSIX_IRQ_INDEX, trigger, 0, 2));
	STEP(set_irqs(l, l->test, VFIO_PCI_MSIX_IRQ_INDEX, trigger, 4, 2));
	STEP(set_irqs(l, l->test, VFIO_PCI_REQ_IRQ_INDEX, trigger, 0, 1));
	STEP(set_irqs(l, l->test, VFIO_PCI_ERR_IRQ_INDEX, trigger, 0, 1));
	STEP(ioeventfd(l, l->events[0]));
	STEP(put32(l->test, 0, 8, 7));
	STEP(vfio_function_page(function(l, TEST_BDF), 2ull << VFIO_REGION_SHIFT, &fd, &offset));
	STEP(dirty(l, VFIO_IOMMU_DIRTY_PAGES_FLAG_START));
	STEP(test_dma(l, ANON_IOVA + 100, 1));
	STEP(test_dma(l, RAM_IOVA + 100, 1));
	STEP(test_dma(l, 0x1000, 2));
	STEP(dirty_fetch(l));
	STEP(dirty(l, VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP));
	vfio_device_request(machine_vfio(l->machine), function(l, TEST_BDF));
	pcif_set_shared(function(l, TEST_BDF), true);
	STEP(request_value(&l->client, l->test, VFIO_DEVICE_RESET, 0));
	pcif_set_shared(function(l, TEST_BDF), false);
}

/* One command there and back; -EIO also where the controller gives up. */
static int command(struct client *d, unsigned queue, struct nvmed_sqe cmd)
{
	struct nvmed_cqe cqe;

	client_queue_cmd(d, queue, cmd);
	client_ring(d, queue);
	while (!client_poll(d, queue, &cqe)) {
		if (client_read32(d, NVMED_REG_CSTS) & NVMED_CSTS_CFS)
			return -EIO;
		sched_yield();
	}
	client_ack(d, queue);
	return le16_get(cqe.status) >> 1 ? -EIO : 0;
}

static int create_queue(struct client *d)
{
	struct nvmed_sqe cmd = { .opcode = NVMED_ADMIN_CREATE_CQ };
	int r;

	client_queue_init(d, 1, 8);
	cmd.prp1 = le64_make(d->q[1].cq);
	cmd.cdw10 = le32_make(1 | 7 << 16);
	cmd.cdw11 = le32_make(1 << 16 | 3);
	r = command(d, 0, cmd);
	cmd.opcode = NVMED_ADMIN_CREATE_SQ;
	cmd.prp1 = le64_make(d->q[1].sq);
	cmd.cdw11 = le32_make(1 << 16 | 1);
	return r ?: command(d, 0, cmd);
}

/* The controller is enabled, does input and output in a queue of its own, and is disabled. */
static int drive(struct life *l)
{
	struct client *d = &l->driver;
	uint64_t data = RAM_IOVA + QUEUE_AREA, *list = client_ptr(d, data + 4096);
	struct nvmed_sqe identify = { .opcode = NVMED_ADMIN_IDENTIFY,
				      .prp1 = le64_make(data),
				      .cdw10 = le32_make(1) };
	struct nvmed_sqe io = { .nsid = le32_make(1),
				.prp1 = le64_make(data),
				.cdw12 = le32_make(7) };
	int r;

	r = client_enable(d, 8) ? 0 : -EIO;
	r = r ?: command(d, 0, identify);
	r = r ?: create_queue(d);
	for (unsigned i = 0; i < 8; i++)
		list[i] = data + (i + 2) * 4096;
	/* Flush, write, read; and again, with a list of pages. */
	for (unsigned op = 0; op < 6 && !r; op++) {
		io.opcode = op % 3;
		if (op > 2) {
			io.prp2 = le64_make(data + 4096);
			io.cdw12 = le32_make(8 * 5 - 1);
		}
		r = command(d, 1, io);
	}
	return client_disable(d) ? r : -EIO;
}

static void driven(struct life *l)
{
	STEP(set_irqs(l, l->nvme, VFIO_PCI_MSIX_IRQ_INDEX, VFIO_IRQ_SET_ACTION_TRIGGER, 0, 2));
	STEP(drive(l));
	pcif_set_shared(l->driver.f, true);
	STEP(drive(l));
	pcif_set_shared(l->driver.f, false);
	STEP(request_value(&l->client, l->nvme, VFIO_DEVICE_RESET, 0));
}

/* ------------------------------------------------------------------ by itself */

static int own_open(struct life *l, struct vfio_obj **dev)
{
	struct vfio *v = machine_vfio(l->machine);
	struct vfio_cdev cdev;

	if (!vfio_cdev_of(v, function(l, TEST_BDF), &cdev))
		return -ENODEV;
	return vfio_open_cdev(v, cdev.id, 1, dev);
}

static int own_bind(struct life *l, struct vfio_obj *dev, struct vfio_obj *iommufd, uint32_t *devid)
{
	struct abi_bind_iommufd b = { .argsz = sizeof(b), .iommufd = 5 };
	struct vfio_fd fd = { .fd = -1, .obj = iommufd };
	int r = call(l, dev, VFIO_DEVICE_BIND_IOMMUFD, &b, sizeof(b), &fd, 1);

	*devid = b.out_devid;
	return r;
}

static int own_ioas(struct life *l, struct vfio_obj *iommufd, uint32_t *id)
{
	struct abi_ioas_alloc a = { .size = sizeof(a) };
	int r = call(l, iommufd, IOMMU_IOAS_ALLOC, &a, sizeof(a), NULL, 0);

	*id = a.out_ioas_id;
	return r;
}

static int own_map(struct life *l, struct vfio_obj *iommufd, uint32_t id, int file, uint64_t *iova)
{
	struct abi_ioas_map m = { sizeof(m), 6, id, 0, (uintptr_t)l->anon, ANON_SIZE, 0 };
	struct vfio_fd fd = { .fd = file };
	int r;

	if (file >= 0)
		m.from = 0;
	r = call(l, iommufd, file >= 0 ? IOMMU_IOAS_MAP_FILE : IOMMU_IOAS_MAP, &m, sizeof(m), &fd,
		 file >= 0);
	*iova = m.iova;
	return r;
}

static int own_copy(struct life *l, struct vfio_obj *iommufd, uint32_t from, uint32_t to,
		    uint64_t iova)
{
	struct abi_ioas_copy c = { sizeof(c), 6, to, from, ANON_SIZE / 2, 0, iova + 4096 };

	return call(l, iommufd, IOMMU_IOAS_COPY, &c, sizeof(c), NULL, 0);
}

static int own_allow(struct life *l, struct vfio_obj *iommufd, uint32_t id)
{
	struct abi_iova_range *r = (void *)l->anon;
	struct abi_iova_ranges a = {
		.size = 24, .ioas_id = id, .num_iovas = 2, .allowed_iovas = (uintptr_t)r
	};

	r[0] = (struct abi_iova_range){ 0, MIB(64) };
	r[1] = (struct abi_iova_range){ MIB(128), MIB(256) };
	return call(l, iommufd, IOMMU_IOAS_ALLOW_IOVAS, &a, 24, NULL, 0);
}

static int own_hwpt(struct life *l, struct vfio_obj *iommufd, uint32_t devid, uint32_t id,
		    uint32_t *hwpt)
{
	struct abi_hwpt_alloc h = {
		.size = sizeof(h), .flags = HWPT_ALLOC_DIRTY_TRACKING, .dev_id = devid, .pt_id = id
	};
	int r = call(l, iommufd, IOMMU_HWPT_ALLOC, &h, sizeof(h), NULL, 0);

	*hwpt = h.out_hwpt_id;
	return r;
}

static int own_attach(struct life *l, struct vfio_obj *dev, uint32_t pt)
{
	struct abi_attach_iommufd_pt a = { .argsz = 12, .pt_id = pt };

	return call(l, dev, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &a, 12, NULL, 0);
}

static int own_dirty(struct life *l, struct vfio_obj *iommufd, uint32_t hwpt, uint64_t iova)
{
	struct abi_dirty_tracking t = { sizeof(t), 1, hwpt, 0 };
	struct abi_dirty_bitmap b = { sizeof(b), hwpt,	    0,	  0,
				      iova,	 ANON_SIZE, 4096, (uintptr_t)l->anon };
	int r = call(l, iommufd, IOMMU_HWPT_SET_DIRTY_TRACKING, &t, sizeof(t), NULL, 0);

	return r ?: call(l, iommufd, IOMMU_HWPT_GET_DIRTY_BITMAP, &b, sizeof(b), NULL, 0);
}

static int own_unmap(struct life *l, struct vfio_obj *iommufd, uint32_t id)
{
	struct abi_ioas_unmap u = { sizeof(u), id, 0, UINT64_MAX };

	return call(l, iommufd, IOMMU_IOAS_UNMAP, &u, sizeof(u), NULL, 0);
}

/* The same device by its own file. */
static void by_itself(struct life *l)
{
	struct vfio_obj *iommufd, *dev;
	uint32_t devid, one, two, hwpt;
	uint64_t iova, more;

	STEP(vfio_open_iommufd(machine_vfio(l->machine), &iommufd));
	STEP(own_open(l, &dev));
	STEP(own_bind(l, dev, iommufd, &devid));
	STEP(own_ioas(l, iommufd, &one));
	STEP(own_ioas(l, iommufd, &two));
	STEP(own_allow(l, iommufd, one));
	STEP(own_map(l, iommufd, one, -1, &iova));
	STEP(own_map(l, iommufd, one, l->file, &more));
	STEP(own_copy(l, iommufd, one, two, iova));
	STEP(own_hwpt(l, iommufd, devid, one, &hwpt));
	STEP(own_attach(l, dev, hwpt));
	STEP(put32(dev, VFIO_PCI_CONFIG_REGION_INDEX, 4, 6));
	STEP(own_dirty(l, iommufd, hwpt, iova));
	STEP(own_attach(l, dev, two));
	STEP(own_unmap(l, iommufd, one));
	vfio_obj_put(iommufd);
	vfio_obj_put(dev);
}

static void died(struct life *l)
{
	static struct machine_event events[64];

	if (!machine_events(l->machine, 0, events, ARRAY_SIZE(events)))
		wrong("events", 0);
	STEP(unmap_dma(l, ANON_IOVA, ANON_SIZE));
	vfio_obj_put(l->container);
	vfio_obj_put(l->groups[0]);
	vfio_obj_put(l->nvme);
	vfio_obj_put(l->test);
	vfio_obj_put(l->groups[1]);
	by_itself(l);
	iommu_mem_put(l->client.mem);
	iommu_mem_cache_drop();
	machine_free(l->machine);
}

static void live(struct life *l, enum inject_kind kind, unsigned long n)
{
	int fds = open_fds();

	alarm(PATIENCE_S);
	inject_arm(kind, n);
	STEP(born(l));
	opened(l);
	tested(l);
	driven(l);
	died(l);
	inject_disarm();
	verdict->fired = inject_fired(NULL);
	verdict->fds = open_fds() - fds;
}

/* ------------------------------------------------------------------ all lives */

/* Memory that is shared and a disk in memory, or memory that is not and a disk in a file. */
static void prepare(struct life *l, bool file)
{
	int disk = memfd_create("disk", 0);

	if (disk < 0 || ftruncate(disk, MIB(1)))
		wrong("memfd", -errno);
	if (file)
		snprintf(l->spec, sizeof(l->spec), "nvme,disk=/proc/self/fd/%d,queues=2,bdf=%s",
			 disk, NVME_BDF);
	else
		strcpy(l->spec, "nvme,mem=1M,queues=2,bdf=" NVME_BDF);
	client_anonymous = file;
	client_ram(&l->driver);
	iommu_mem_put(l->driver.mem);
	iommu_mem_cache_drop();
	l->anon = mmap(NULL, ANON_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (unsigned i = 0; i < N_EVENTS; i++)
		l->events[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	verdict = mmap(NULL, sizeof(*verdict), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		       -1, 0);
	l->file = memfd_create("walk", 0);
	if (l->file < 0 || ftruncate(l->file, ANON_SIZE))
		wrong("memfd", -errno);
	if (l->anon == MAP_FAILED || (void *)verdict == MAP_FAILED)
		wrong("mmap", -errno);
}

static bool one(struct life *l, unsigned long n, unsigned *quiet)
{
	int status;
	pid_t pid;

	*verdict = (struct verdict){ .fired = false };
	fflush(stdout);
	pid = fork();
	if (pid < 0)
		wrong("fork", -errno);
	if (!pid) {
		live(l, WALK_KIND, n);
		exit(0); /* the sanitizer looks for leaks */
	}
	if (waitpid(pid, &status, 0) != pid)
		wrong("waitpid", -errno);
	*quiet = verdict->fired ? 0 : *quiet + 1;
	if (!status && !verdict->fds)
		return true;
	*quiet = 0;
	printf("# call %lu (%s; %s said %d): %s %d, %d descriptors left\n", n, verdict->fault,
	       verdict->step, verdict->error, WIFSIGNALED(status) ? "signal" : "status",
	       WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status), verdict->fds);
	return false;
}

/* walk mem|disk [N]: all lives, or one. */
int main(int argc, char **argv)
{
	static struct life life;
	unsigned long n, bad = 0, said = 0;
	unsigned quiet = 0;

	if (argc < 2)
		return 2;
	log_set_level(argc > 2 ? LOG_DEBUG : LOG_ERROR);
	prepare(&life, !strcmp(argv[1], "disk"));
	if (argc > 2)
		return !one(&life, strtoul(argv[2], NULL, 0), &quiet);
	for (n = 1; quiet < QUIET_LIVES && n < MAX_CALLS && bad < 20; n++) {
		bad += !one(&life, n, &quiet);
		said += verdict->retried;
	}
	printf("# %lu calls, %lu failures told\n", n - 1 - quiet, said);
	printf("%s 1 - no call's failure crashes, hangs, leaks or sticks\n1..1\n",
	       bad || !said ? "not ok" : "ok");
	return bad || !said;
}
