/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the tests of src/vfio share: a machine of small test functions, and short ways to make
 * requests as a door does (shape first, then descriptors, then the call).
 */
#ifndef UVFIO_TEST_VFIO_FIXTURE_H
#define UVFIO_TEST_VFIO_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include "base/base.h"
#include "vfio/vfio.h"

#define FULL "0000:65:00.0"
#define PLAIN "0000:66:00.0"
#define PLAIN2 "0000:66:00.1"
#define PF "0000:68:00.0"
#define VF0 "0000:68:10.0"
#define VF1 "0000:68:10.2"

/* Where the test function keeps things: BAR0 is trap, shared, RAM, MSI-X. */
#define FULL_MSIX 10
#define FULL_MSI 8

struct model {
	struct pcif *f;
	unsigned resets;
	uint64_t last_write, last_offset;
	unsigned writes, last_size;
};

static int full_create(struct pcif *f, const struct pcif_params *params, struct pcif_desc *desc,
		       void **state, struct pcif_reply_error *err)
{
	struct model *m = calloc(1, sizeof(*m));

	if (!m)
		return -ENOMEM;
	m->f = f;
	*state = m;
	*desc = (struct pcif_desc){
		.vendor = 0x1234,
		.device = 0x5678,
		.subsystem_vendor = 0x1af4,
		.subsystem_device = 0x1100,
		.class_code = 0x010802,
		.revision = 2,
		.bars = {
			[0] = { PCIF_BAR_MEM32, false, KIB(16),
				{ { 0x1000, 0x1000, PCIF_PAGE_SHARED },
				  { 0x2000, 0x1000, PCIF_PAGE_RAM } }, 2 },
			[1] = { PCIF_BAR_IO, false, 32 },
			[2] = { PCIF_BAR_MEM64, true, KIB(64),
				{ { 0, KIB(64), PCIF_PAGE_RAM } }, 1 },
			[4] = { PCIF_BAR_MEM32, false, KIB(4) },
		},
		.intx_pin = 1,
		.msi_vectors = FULL_MSI,
		.msix_vectors = FULL_MSIX,
		.msix_bar = 0,
		.msix_table_offset = 0x3000,
		.msix_pba_offset = 0x3800,
		.pcie = true,
		.pm = true,
		.aer = true,
		.dsn = 0x1122334455667788,
	};
	return 0;
}

static int plain_create(struct pcif *f, const struct pcif_params *params, struct pcif_desc *desc,
			void **state, struct pcif_reply_error *err)
{
	struct model *m = calloc(1, sizeof(*m));

	if (!m)
		return -ENOMEM;
	m->f = f;
	*state = m;
	*desc = (struct pcif_desc){
		.vendor = 0x1234,
		.device = 0x0001,
		.class_code = 0xff0000,
		.bars = { [0] = { PCIF_BAR_MEM32, false, KIB(4) } },
	};
	return 0;
}

/* As igb has them: 16 KiB BARs 0 and 3, three vectors; VFs from 10.0, every second one. */
static int pf_create(struct pcif *f, const struct pcif_params *params, struct pcif_desc *desc,
		     void **state, struct pcif_reply_error *err)
{
	const struct pcif_bar bar = {
		PCIF_BAR_MEM64, true, KIB(16), { { KIB(8), KIB(8), PCIF_PAGE_RAM } }, 1
	};
	int ret = plain_create(f, params, desc, state, err);

	if (ret)
		return ret;
	desc->vendor = 0x8086;
	desc->device = 0x10c9;
	desc->class_code = 0x020000;
	desc->pcie = desc->pm = true;
	desc->sriov = (struct pcif_sriov){
		.total_vfs = 8,
		.vf_device = 0x10ca,
		.first_offset = 128,
		.stride = 2,
		.bars = { [0] = bar, [3] = bar },
	};
	desc->sriov.bars[3].n_areas = 0;
	return 0;
}

static int pf_create_vf(struct pcif *f, void *pf_state, unsigned index, struct pcif_desc *desc,
			void **state, struct pcif_reply_error *err)
{
	struct model *m = calloc(1, sizeof(*m));

	if (!m)
		return -ENOMEM;
	m->f = f;
	*state = m;
	desc->msix_vectors = 3;
	desc->msix_bar = 3;
	desc->msix_pba_offset = 0x2000;
	return 0;
}

static void model_destroy(void *state)
{
	free(state);
}

static uint64_t model_read(void *state, unsigned bar, uint64_t offset, unsigned size)
{
	return 0x0807060504030201ull + offset;
}

static void model_write(void *state, unsigned bar, uint64_t offset, unsigned size, uint64_t value)
{
	struct model *m = state;

	m->last_write = value;
	m->last_offset = offset;
	m->last_size = size;
	__atomic_add_fetch(&m->writes, 1, __ATOMIC_RELEASE);
}

static void model_reset(void *state)
{
	struct model *m = state;

	m->resets++;
}

static const struct pcif_model full_model = {
	.name = "full",
	.summary = "everything",
	.create = full_create,
	.destroy = model_destroy,
	.bar_read = model_read,
	.bar_write = model_write,
	.reset = model_reset,
};
static const struct pcif_model plain_model = {
	.name = "plain",
	.summary = "nothing",
	.create = plain_create,
	.destroy = model_destroy,
	.bar_read = model_read,
	.bar_write = model_write,
	.reset = model_reset,
};

static const struct pcif_model pf_model = {
	.name = "pf",
	.summary = "VFs",
	.create = pf_create,
	.create_vf = pf_create_vf,
	.destroy = model_destroy,
	.bar_read = model_read,
	.bar_write = model_write,
	.reset = model_reset,
};

struct fixture {
	struct pcim *pci;
	struct bus *bus;
	struct vfio *v;
	struct iommu_mem *mem;
	struct vfio_client client;
	uint8_t *ram;
	size_t ram_size;
	int fds_before;
	struct pcif *full, *plain, *pf;
	struct vfio_obj *container, *group, *dev;
	size_t reply;		  /* reply_size of the last call */
	struct vfio_obj *new_obj; /* of the last call */
	unsigned events[4];
};

static int count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	while (d && readdir(d))
		n++;
	if (d)
		closedir(d);
	return n;
}

static inline struct pcif *find(struct fixture *x, const char *bdf)
{
	struct pci_bdf b;

	assert_int_equal(pcif_bdf_parse(bdf, &b), 0);
	return pcim_find(x->pci, b);
}

static void on_event(void *data, enum vfio_event_type type, unsigned group, unsigned client,
		     struct pcif *f)
{
	struct fixture *x = data;

	x->events[type]++;
}

static int setup(void **state)
{
	struct fixture *x = calloc(1, sizeof(*x));
	static const struct {
		const char *at;
		const struct pcif_model *model;
	} list[] = { { FULL, &full_model },
		     { PLAIN, &plain_model },
		     { PLAIN2, &plain_model },
		     { PF, &pf_model } };
	struct pci_bdf b;

	x->fds_before = count_fds();
	x->ram_size = MIB(1);
	x->ram =
		mmap(NULL, x->ram_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_int_equal(pcim_new(&x->pci), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(list); i++) {
		struct pcif_reply_error err;

		assert_int_equal(pcif_bdf_parse(list[i].at, &b), 0);
		assert_int_equal(pcim_add(x->pci, b, list[i].model, NULL, &err), 0);
	}
	assert_int_equal(pcim_enumerate(x->pci), 0);
	assert_int_equal(bus_new(x->pci, &x->bus), 0);
	assert_int_equal(vfio_new(x->bus, &x->v), 0);
	vfio_set_event_cb(x->v, on_event, x);
	assert_int_equal(bus_start(x->bus, vfio_pick_endpoints, NULL), 0);
	assert_int_equal(iommu_mem_buffer(x->ram, x->ram_size, &x->mem), 0);
	x->client.mem = x->mem;
	x->full = find(x, FULL);
	x->plain = find(x, PLAIN);
	x->pf = find(x, PF);
	*state = x;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *x = *state;

	vfio_obj_put(x->dev);
	vfio_obj_put(x->group);
	vfio_obj_put(x->container);
	bus_free(x->bus);
	vfio_free(x->v);
	iommu_mem_put(x->mem);
	pcim_free(x->pci);
	munmap(x->ram, x->ram_size);
	assert_int_equal(count_fds(), x->fds_before);
	free(x);
	return 0;
}

/* ------------------------------------------------------------------ requests */

static inline int call_fds(struct fixture *x, struct vfio_obj *obj, uint32_t request, void *data,
			   size_t size, const struct vfio_fd *fds, unsigned n)
{
	struct vfio_call c = {
		.request = request,
		.data = data,
		.size = size,
		.fds = fds,
		.n_fds = n,
		.client = &x->client,
	};
	int ret = vfio_call(obj, &c);

	assert_true(c.reply_size <= size);
	x->reply = c.reply_size;
	x->new_obj = c.new_obj;
	return ret;
}

/* With the ints of the block as our own eventfds. */
static inline int call(struct fixture *x, struct vfio_obj *obj, uint32_t request, void *data,
		       size_t size)
{
	struct vfio_fd fds[64];
	size_t offset;
	unsigned n = vfio_call_fds(vfio_obj_kind(obj), request, data, size, &offset);

	assert_true(n <= 64);
	for (unsigned i = 0; i < n; i++) {
		int32_t fd;

		memcpy(&fd, (uint8_t *)data + offset + 4 * i, 4);
		fds[i] = (struct vfio_fd){ .fd = fd < 0 ? -1 : fd };
		if (fd >= 0 && fcntl(fd, F_GETFD) < 0)
			fds[i] = (struct vfio_fd){ .fd = -1, .error = -EBADF };
	}
	return call_fds(x, obj, request, data, size, fds, n);
}

static inline int call_value(struct fixture *x, struct vfio_obj *obj, uint32_t request,
			     uint64_t value)
{
	struct vfio_call c = { .request = request, .value = value, .client = &x->client };

	return vfio_call(obj, &c);
}

static inline int set_container(struct fixture *x, struct vfio_obj *group,
				struct vfio_obj *container)
{
	int32_t number = 5;
	struct vfio_fd fd = { .fd = -1, .obj = container };

	return call_fds(x, group, VFIO_GROUP_SET_CONTAINER, &number, 4, &fd, 1);
}

static inline int get_device(struct fixture *x, const char *name, struct vfio_obj **dev)
{
	char text[128];
	int ret;

	snprintf(text, sizeof(text), "%s", name);
	ret = call_fds(x, x->group, VFIO_GROUP_GET_DEVICE_FD, text, sizeof(text), NULL, 0);
	if (!ret)
		*dev = x->new_obj;
	return ret;
}

static inline void open_container(struct fixture *x, const char *bdf, uint32_t type)
{
	assert_int_equal(vfio_open_container(x->v, &x->container), 0);
	assert_int_equal(vfio_open_group(x->v, pcif_group(find(x, bdf)), &x->group), 0);
	assert_int_equal(set_container(x, x->group, x->container), 0);
	assert_int_equal(call_value(x, x->container, VFIO_SET_IOMMU, type), 0);
}

static inline void open_device(struct fixture *x, const char *bdf)
{
	open_container(x, bdf, VFIO_TYPE1v2_IOMMU);
	assert_int_equal(get_device(x, bdf, &x->dev), 0);
}

static inline uint64_t region(unsigned index, uint64_t offset)
{
	return (uint64_t)index << VFIO_REGION_SHIFT | offset;
}

static inline uint32_t config_get(struct fixture *x, unsigned at, unsigned n)
{
	uint32_t v = 0;

	assert_int_equal(vfio_device_read(x->dev, &v, n, region(VFIO_PCI_CONFIG_REGION_INDEX, at)),
			 n);
	return v;
}

static inline void config_put(struct fixture *x, unsigned at, unsigned n, uint32_t v)
{
	assert_int_equal(vfio_device_write(x->dev, &v, n, region(VFIO_PCI_CONFIG_REGION_INDEX, at)),
			 n);
}

static inline uint64_t counter(int efd)
{
	uint64_t v = 0;

	return read(efd, &v, sizeof(v)) == sizeof(v) ? v : 0;
}

static inline int new_eventfd(void)
{
	int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

#endif
