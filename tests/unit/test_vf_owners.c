/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * 64 VFs, each opened, mapped, used and closed by a thread of its own, over and over; in every
 * fourth round the host takes them all away while they are in use. Afterwards there is as much as
 * before: descriptors, threads' worth of nothing, mappings, groups, and, where the allocator can
 * tell (under the sanitizers), bytes. UVFIO_VF_ROUNDS says how many rounds; `make soak` does 1,000.
 */
#include <linux/pci_regs.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>
#include <sys/eventfd.h>

#include "device/device.h"
#include "vfio_client.h"

#define OWNERS 64u
#define TOKEN "vf_token=00112233-4455-6677-8899-aabbccddeeff"
#define IOVA 0x100000ull
#define SIZE KIB(16)
#define PATIENCE_MS 60000
/* The C library keeps a little for as many threads as there ever were at once. */
#define SLACK KIB(16)

/* Registers of testdev's blocks, see docs/testdev.md. */
enum { ADDR_LO = 0x20, LEN = 0x28, CMD = 0x2c, STATUS = 0x30, SEED = 0x3c };
enum { FILL = 1, STORE = 4, IRQ = 0x100 };

size_t __sanitizer_get_current_allocated_bytes(void) __attribute__((weak));

struct machine {
	struct pcim *pci;
	struct bus *bus;
	struct vfio *v;
	struct pcif *pf;
	pthread_barrier_t start, inside, end;
	unsigned round;
	bool taken_away, quit;
};

struct owner {
	struct machine *m;
	unsigned index;
	pthread_t thread;
	/* Of one round. */
	struct pcif *f;
	struct vfio_obj *container, *group, *dev;
	struct vfio_client client;
	uint8_t *memory;
	uint32_t *page; /* BAR 1 */
	int irq, request;
};

static int must(int ret, const char *what)
{
	if (ret < 0) {
		fprintf(stderr, "# %s: %s\n", what, strerror(-ret));
		abort();
	}
	return ret;
}

static void wait_for(int efd)
{
	struct pollfd p = { .fd = efd, .events = POLLIN };
	uint64_t n;

	must_hold(poll(&p, 1, PATIENCE_MS) == 1, "an eventfd that nobody signalled");
	must_hold(read(efd, &n, sizeof(n)) == sizeof(n), "an eventfd that cannot be read");
}

static int block(struct owner *o, struct vfio_obj *obj, uint32_t request, void *data, size_t size)
{
	return request_block(&o->client, obj, request, data, size, NULL, 0, NULL, NULL);
}

static void set_eventfd(struct owner *o, unsigned index, int efd)
{
	struct {
		struct vfio_irq_set s;
		int32_t fd;
	} set = { .s = { .argsz = sizeof(set),
			 .flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
			 .index = index,
			 .count = 1 },
		  .fd = efd };
	struct vfio_fd fd = { .fd = efd };

	must(request_block(&o->client, o->dev, VFIO_DEVICE_SET_IRQS, &set, sizeof(set), &fd, 1,
			   NULL, NULL),
	     "SET_IRQS");
}

static void config_put(struct owner *o, unsigned at, uint16_t value)
{
	uint64_t offset = (uint64_t)VFIO_PCI_CONFIG_REGION_INDEX << VFIO_REGION_SHIFT | at;

	must_hold(vfio_device_write(o->dev, &value, 2, offset) == 2, "configuration space");
}

/* ------------------------------------------------------------------ one round of an owner */

static void open_all(struct owner *o)
{
	struct vfio_iommu_type1_dma_map map = { .argsz = sizeof(map),
						.flags = VFIO_DMA_MAP_FLAG_READ |
							 VFIO_DMA_MAP_FLAG_WRITE,
						.iova = IOVA,
						.size = SIZE };
	struct vfio *v = o->m->v;
	char name[128];

	o->f = pcim_vf(o->m->pf, o->index);
	must_hold(o->f, "a VF is missing");
	o->memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(iommu_mem_buffer(o->memory, SIZE, &o->client.mem), "memory");
	must(vfio_open_container(v, &o->container), "container");
	must(vfio_open_group(v, pcif_group(o->f), &o->group), "group");
	must(request_container(&o->client, o->group, o->container), "SET_CONTAINER");
	must(request_value(&o->client, o->container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU),
	     "SET_IOMMU");
	map.vaddr = (uintptr_t)o->memory;
	must(block(o, o->container, VFIO_IOMMU_MAP_DMA, &map, sizeof(map)), "MAP_DMA");
	snprintf(name, sizeof(name), "%s vf_token=%s", pcif_name(o->f),
		 "00112233-4455-6677-8899-aabbccddeef0");
	must_hold(request_device(&o->client, o->group, name, &o->dev) == -EACCES,
		  "a wrong token is good for something");
	snprintf(name, sizeof(name), "%s " TOKEN, pcif_name(o->f));
	must(request_device(&o->client, o->group, name, &o->dev), "GET_DEVICE_FD");
	o->irq = eventfd(0, EFD_CLOEXEC);
	o->request = eventfd(0, EFD_CLOEXEC);
	set_eventfd(o, VFIO_PCI_MSIX_IRQ_INDEX, o->irq);
	set_eventfd(o, VFIO_PCI_REQ_IRQ_INDEX, o->request);
	config_put(o, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
}

/* As a door maps pages for its client. */
static void map_page(struct owner *o)
{
	uint64_t offset;
	int fd;

	must(vfio_function_page(o->f, 1ull << VFIO_REGION_SHIFT, &fd, &offset), "page of BAR 1");
	o->page = mmap(NULL, UVF_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)offset);
	must_hold(o->page != MAP_FAILED, "page of BAR 1");
	pcif_set_shared(o->f, true);
}

static void reg_put(struct owner *o, unsigned reg, uint32_t value)
{
	__atomic_store_n(&o->page[reg / 4], value, __ATOMIC_RELEASE);
}

static void dma(struct owner *o, uint64_t iova, uint32_t command, uint32_t status)
{
	reg_put(o, ADDR_LO, (uint32_t)iova);
	reg_put(o, LEN, 4096);
	reg_put(o, SEED, o->index + o->m->round);
	reg_put(o, CMD, command);
	wait_for(o->irq);
	/* The hook's: what it did is ours to look at. Clients need not know. */
	pcif_lock(o->f);
	pcif_unlock(o->f);
	must_hold(__atomic_load_n(&o->page[STATUS / 4], __ATOMIC_ACQUIRE) == status,
		  "another result of a DMA");
}

static void use(struct owner *o)
{
	uint32_t id = 0;

	must_hold(vfio_device_read(o->dev, &id, 4, 0) == 4 && id == 0x75766601, "testdev's ID");
	dma(o, IOVA + 4096, FILL | IRQ, 1);
	must_hold(o->memory[4096] == (uint8_t)(o->index + o->m->round) && !o->memory[0],
		  "somebody else's data");
	/* Outside of what is mapped here, inside of what others have nothing of either. */
	dma(o, IOVA + SIZE, STORE | IRQ, 2);
	if ((o->index + o->m->round) % 3)
		return;
	must(request_value(&o->client, o->dev, VFIO_DEVICE_RESET, 0), "RESET");
	dma(o, IOVA, FILL | IRQ, 1);
}

static void close_all(struct owner *o)
{
	struct vfio_iommu_type1_dma_unmap unmap = { .argsz = sizeof(unmap),
						    .iova = IOVA,
						    .size = SIZE };
	unsigned order = (o->index + o->m->round) % 3;

	pcif_set_shared(o->f, false);
	munmap(o->page, UVF_PAGE_SIZE);
	if (order)
		must(block(o, o->container, VFIO_IOMMU_UNMAP_DMA, &unmap, sizeof(unmap)),
		     "UNMAP_DMA");
	if (order == 2)
		vfio_obj_put(o->dev);
	vfio_obj_put(o->container);
	vfio_obj_put(o->group);
	if (order != 2)
		vfio_obj_put(o->dev);
	iommu_mem_put(o->client.mem);
	munmap(o->memory, SIZE);
	close(o->irq);
	close(o->request);
	pcif_put(o->f);
}

static void *owner_main(void *data)
{
	struct owner *o = data;
	struct machine *m = o->m;

	for (;;) {
		pthread_barrier_wait(&m->start);
		if (m->quit)
			return NULL;
		open_all(o);
		map_page(o);
		use(o);
		if (m->taken_away) {
			pthread_barrier_wait(&m->inside);
			wait_for(o->request);
		}
		close_all(o);
		pthread_barrier_wait(&m->end);
	}
}

/* ------------------------------------------------------------------ the machine */

/* Whoever has the PF says what the token is, and goes. */
static void tell_token(struct machine *m)
{
	struct vfio_obj *container, *group, *dev;
	const struct vfio_client client = { 0 };

	must(vfio_open_container(m->v, &container), "container");
	must(vfio_open_group(m->v, pcif_group(m->pf), &group), "group");
	must(request_container(&client, group, container), "SET_CONTAINER");
	must(request_value(&client, container, VFIO_SET_IOMMU, VFIO_TYPE1_IOMMU), "SET_IOMMU");
	must(request_device(&client, group, "0000:65:00.0 " TOKEN, &dev), "PF");
	vfio_obj_put(dev);
	vfio_obj_put(group);
	vfio_obj_put(container);
}

static void machine_init(struct machine *m)
{
	const struct pci_bdf bdf = { 0, 0x65, 0, 0 };
	struct pcif_reply_error err = { "" };
	struct pcif_params *params;

	*m = (struct machine){ 0 };
	must(pcim_new(&m->pci), "tree");
	must(pcim_params_new(&params), "parameters");
	must(pcim_params_set(params, "vfs", "64"), "parameters");
	must(pcim_add(m->pci, bdf, &device_testdev, params, &err), err.text);
	pcim_params_free(params);
	must(pcim_enumerate(m->pci), "enumeration");
	must(bus_new(m->pci, &m->bus), "bus");
	must(vfio_new(m->bus, &m->v), "vfio");
	must(bus_start(m->bus, vfio_pick_endpoints, NULL), "start");
	m->pf = pcim_find(m->pci, bdf);
	pthread_barrier_init(&m->start, NULL, OWNERS + 1);
	pthread_barrier_init(&m->inside, NULL, OWNERS + 1);
	pthread_barrier_init(&m->end, NULL, OWNERS + 1);
	tell_token(m);
}

static void machine_fini(struct machine *m)
{
	bus_free(m->bus);
	vfio_free(m->v);
	pcim_free(m->pci);
	pthread_barrier_destroy(&m->start);
	pthread_barrier_destroy(&m->inside);
	pthread_barrier_destroy(&m->end);
}

static size_t bytes(void)
{
	return __sanitizer_get_current_allocated_bytes ? __sanitizer_get_current_allocated_bytes()
						       : 0;
}

/* Threads that looked at pages of VFs may still be on their way out. */
static size_t bytes_at_most(size_t limit)
{
	uint64_t end = time_mono_ns() + 20000000000ull;
	size_t now;

	while ((now = bytes()) > limit && time_mono_ns() < end)
		usleep(1000);
	return now;
}

static void one_round(struct machine *m)
{
	unsigned groups = pcim_group_count(m->pci);

	m->taken_away = m->round % 4 == 3;
	must(bus_sriov_set(m->bus, m->pf, OWNERS, NULL), "sriov_numvfs");
	must_hold(pcim_group_count(m->pci) == (m->round % 4 ? groups : groups + OWNERS),
		  "groups are left");
	pthread_barrier_wait(&m->start);
	if (m->taken_away) {
		pthread_barrier_wait(&m->inside);
		must(bus_sriov_set(m->bus, m->pf, 0, NULL), "sriov_numvfs");
	}
	pthread_barrier_wait(&m->end);
}

static void owners(void **state)
{
	const char *text = getenv("UVFIO_VF_ROUNDS");
	unsigned rounds = text ? (unsigned)atoi(text) : 8, fds = 0;
	static struct owner o[OWNERS];
	size_t before = 0;
	struct machine m;

	fd_limit_raise();
	machine_init(&m);
	for (unsigned i = 0; i < OWNERS; i++) {
		o[i] = (struct owner){ .m = &m, .index = i };
		assert_int_equal(pthread_create(&o[i].thread, NULL, owner_main, &o[i]), 0);
	}
	for (m.round = 0; m.round < rounds; m.round++) {
		one_round(&m);
		/* What is made once and kept is there after the first turns. */
		if (!m.taken_away)
			continue;
		if (m.round == 3) {
			fds = open_fds();
			usleep(200000);
			before = bytes();
		}
		assert_int_equal(open_fds(), fds);
		assert_int_equal(pcif_num_vfs(m.pf), 0);
		assert_true(bytes_at_most(before + SLACK) <= before + SLACK);
	}
	m.quit = true;
	pthread_barrier_wait(&m.start);
	for (unsigned i = 0; i < OWNERS; i++)
		pthread_join(o[i].thread, NULL);
	machine_fini(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(owners) };

	return cmocka_run_group_tests_name("vf_owners", tests, NULL, NULL);
}
