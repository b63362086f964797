/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What clients of src/vfio share, be they tests, fuzzed or made to fail: functions that do little,
 * a machine of them, and requests as a door makes them. What each request must hold is checked
 * here: a reply fits its block, a new object comes only from a success.
 */
#ifndef UVFIO_TESTS_VFIO_CLIENT_H
#define UVFIO_TESTS_VFIO_CLIENT_H

#include <errno.h>
#include <linux/vfio.h>
#include <sys/mman.h>

#include "base/base.h"
#include "fds.h"
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
	uint64_t iova; /* for those that do DMA */
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
	m->iova = 0;
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

/* ------------------------------------------------------------------ a machine of them */

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

static inline struct pcif *find(struct fixture *x, const char *bdf)
{
	struct pci_bdf b;

	return pcif_bdf_parse(bdf, &b) ? NULL : pcim_find(x->pci, b);
}

static inline void on_event(void *data, enum vfio_event_type type, unsigned group, unsigned client,
			    struct pcif *f)
{
	struct fixture *x = data;

	__atomic_add_fetch(&x->events[type], 1, __ATOMIC_RELAXED);
}

struct place {
	const char *at;
	const struct pcif_model *model;
};

/* Fills @x, zeroed before; the client's memory begins at VADDR 0. 0 or a negative errno. */
static inline int fixture_open(struct fixture *x, const struct place *list, unsigned n,
			       size_t ram_size)
{
	int ret;

	x->fds_before = open_fds();
	x->ram_size = ram_size;
	x->ram = mmap(NULL, ram_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (x->ram == MAP_FAILED)
		return -errno;
	ret = pcim_new(&x->pci);
	for (unsigned i = 0; i < n && !ret; i++) {
		struct pcif_reply_error err;
		struct pci_bdf b;

		ret = pcif_bdf_parse(list[i].at, &b);
		ret = ret ?: pcim_add(x->pci, b, list[i].model, NULL, &err);
	}
	ret = ret ?: pcim_enumerate(x->pci);
	ret = ret ?: bus_new(x->pci, &x->bus);
	ret = ret ?: vfio_new(x->bus, &x->v);
	if (ret)
		return ret;
	vfio_set_event_cb(x->v, on_event, x);
	ret = bus_start(x->bus, vfio_pick_endpoints, NULL);
	ret = ret ?: iommu_mem_buffer(x->ram, ram_size, &x->mem);
	x->client.mem = x->mem;
	return ret;
}

/* False: descriptors are left. */
static inline bool fixture_close(struct fixture *x)
{
	vfio_obj_put(x->dev);
	vfio_obj_put(x->group);
	vfio_obj_put(x->container);
	bus_free(x->bus);
	vfio_free(x->v);
	iommu_mem_put(x->mem);
	pcim_free(x->pci);
	munmap(x->ram, x->ram_size);
	return open_fds() == (unsigned)x->fds_before;
}

/* ------------------------------------------------------------------ requests */

static inline void must_hold(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "# %s\n", what);
	abort();
}

/* @reply, @new_obj: may be NULL, the latter where there can be no object. */
static inline int request_block(const struct vfio_client *client, struct vfio_obj *obj,
				uint32_t request, void *data, size_t size,
				const struct vfio_fd *fds, unsigned n_fds, size_t *reply,
				struct vfio_obj **new_obj)
{
	struct vfio_call c = {
		.request = request,
		.data = data,
		.size = size,
		.fds = fds,
		.n_fds = n_fds,
		.client = client,
	};
	int ret = vfio_call(obj, &c);

	must_hold(c.reply_size <= size, "a reply longer than its block");
	must_hold(!c.new_obj || (ret >= 0 && new_obj), "an object that nobody asked for");
	if (reply)
		*reply = c.reply_size;
	if (new_obj)
		*new_obj = c.new_obj;
	return ret;
}

static inline int request_value(const struct vfio_client *client, struct vfio_obj *obj,
				uint32_t request, uint64_t value)
{
	struct vfio_call c = { .request = request, .value = value, .client = client };

	return vfio_call(obj, &c);
}

static inline int request_container(const struct vfio_client *client, struct vfio_obj *group,
				    struct vfio_obj *container)
{
	struct vfio_fd fd = { .fd = -1, .obj = container };
	int32_t number = 5;

	return request_block(client, group, VFIO_GROUP_SET_CONTAINER, &number, sizeof(number), &fd,
			     1, NULL, NULL);
}

static inline int request_device(const struct vfio_client *client, struct vfio_obj *group,
				 const char *name, struct vfio_obj **device)
{
	char text[128] = "";

	snprintf(text, sizeof(text), "%s", name);
	return request_block(client, group, VFIO_GROUP_GET_DEVICE_FD, text, sizeof(text), NULL, 0,
			     NULL, device);
}

#endif
