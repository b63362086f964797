/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The PCI part of /sys while the machine changes: what comes and goes with functions and their
 * drivers, what an open file of something that has left says, several views of one machine.
 */
#include <malloc.h>

#include "view_fixture.h"

#define VFIO_PCI "bus/pci/drivers/vfio-pci"
#define NVME "bus/pci/drivers/nvme"

static void to_host(struct view *v)
{
	assert_int_equal(write_to(v, DEV, "driver_override", ""), 0);
	assert_int_equal(write_to(v, VFIO_PCI, "unbind", BDF), 0);
	assert_int_equal(write_to(v, "bus/pci", "drivers_probe", BDF), 0);
}

static void to_vfio(struct view *v)
{
	assert_int_equal(write_to(v, DEV, "driver_override", "vfio-pci"), 0);
	assert_int_equal(write_to(v, NVME, "unbind", BDF), 0);
	assert_int_equal(write_to(v, "bus/pci", "drivers_probe", BDF), 0);
}

/* A binding is links in three places, a line of uevent, and interrupts. */
static void bindings(void **state)
{
	struct view *v = ((struct fixture *)*state)->view;
	uint64_t dir = ino_of(v, DEV), link = ino_of(v, DEV "/driver");
	struct view_stat st;

	assert_int_equal(write_to(v, VFIO_PCI, "unbind", BDF), 0);
	assert_false(exists(v, DEV "/driver"));
	assert_false(exists(v, VFIO_PCI "/" BDF));
	assert_int_equal(view_stat(v, link, &st), -ENOENT);
	assert_text(v, DEV, "uevent",
		    "PCI_CLASS=10802\nPCI_ID=1B36:0010\nPCI_SUBSYS_ID=1AF4:1100\n"
		    "PCI_SLOT_NAME=0000:65:00.0\n"
		    "MODALIAS=pci:v00001B36d00000010sv00001AF4sd00001100bc01sc08i02\n");
	assert_int_equal(write_to(v, DEV, "driver_override", ""), 0);
	assert_int_equal(write_to(v, NVME, "bind", BDF), 0);
	assert_link(v, DEV "/driver", NVME);
	assert_link(v, NVME "/" BDF, DEV);
	assert_true(exists(v, DEV "/msi_irqs"));
	assert_text(v, DEV, "irq", "0\n"); /* MSI-X: the pin's line */
	assert_true(ino_of(v, DEV "/driver") > link);
	assert_int_equal(write_to(v, NVME, "unbind", BDF), 0);
	assert_false(exists(v, DEV "/msi_irqs"));
	assert_int_equal(ino_of(v, DEV), dir);
}

#define CDEV DEV "/vfio-dev/vfio0"

/* The files of a device of its own come and go with vfio-pci. */
static void own_files(void **state)
{
	struct fixture *x = *state;
	struct view *v = x->view;
	struct pci_bdf one = pcif_bdf(function(x, BDF)), two = pcif_bdf(function(x, PF_BDF));
	uint64_t ino = ino_of(v, CDEV);

	assert_text(v, CDEV, "dev", "511:0\n");
	assert_text(v, CDEV, "uevent", "MAJOR=511\nMINOR=0\nDEVNAME=vfio/devices/vfio0\n");
	assert_link(v, CDEV "/device", DEV);
	assert_link(v, CDEV "/subsystem", "class/vfio-dev");
	assert_link(v, "class/vfio-dev/vfio0", CDEV);
	assert_true(exists(v, "class/vfio-dev/vfio3"));
	assert_false(exists(v, PORT "/vfio-dev"));
	to_host(v);
	assert_false(exists(v, DEV "/vfio-dev"));
	assert_false(exists(v, "class/vfio-dev/vfio0"));
	to_vfio(v);
	assert_true(ino_of(v, CDEV) > ino);
	/* Two that change places between two looks. */
	assert_int_equal(bus_unbind(x->bus, NULL, one, NULL), 0);
	assert_int_equal(bus_unbind(x->bus, NULL, two, NULL), 0);
	assert_int_equal(bus_bind(x->bus, VFIO_PCI_DRIVER, two, NULL), 0);
	assert_int_equal(bus_bind(x->bus, VFIO_PCI_DRIVER, one, NULL), 0);
	assert_false(exists(v, CDEV));
	assert_link(v, "class/vfio-dev/vfio0", PF "/vfio-dev/vfio0");
	assert_link(v, "class/vfio-dev/vfio1", DEV "/vfio-dev/vfio1");
	view_hide_cdevs(v);
	assert_false(exists(v, "class/vfio-dev"));
	assert_false(exists(v, DEV "/vfio-dev"));
}

struct irqs {
	unsigned n;
	char name[256];
};

static bool count_irq(void *data, const char *name, uint64_t ino, enum view_type type)
{
	struct irqs *irqs = data;

	irqs->n++;
	snprintf(irqs->name, sizeof(irqs->name), "%s", name);
	return true;
}

static void interrupts(void **state)
{
	struct view *v = ((struct fixture *)*state)->view;
	struct irqs irqs = { 0 };

	to_host(v);
	assert_int_equal(view_list(v, ino_of(v, DEV "/msi_irqs"), 0, count_irq, &irqs), 0);
	assert_true(irqs.n >= 2 && irqs.n <= 4);
	assert_text(v, DEV "/msi_irqs", irqs.name, "msix\n");
}

/* What has left is gone with all that named it; its open files say so. */
static void removal(void **state)
{
	struct fixture *x = *state;
	struct view *v = x->view;
	struct view_node *vendor = node_at(v, DEV, "vendor"), *dir = node_at(v, PORT, BDF);
	struct view_node *remove = node_at(v, PORT, "remove"), *stays = node_at(v, NVME, "bind");
	uint64_t old = ino_of(v, DEV), port = ino_of(v, PORT), group, other, id;
	unsigned number = pcif_group(function(x, BDF)), all = visit_all(v, NULL), found;
	uint64_t config = ino_of(v, DEV "/config");
	struct view_node *again;
	struct view_stat st;
	char path[64];

	snprintf(path, sizeof(path), "kernel/iommu_groups/%u", number);
	assert_true(exists(v, path));
	assert_true(view_group_id(v, number, &group));
	assert_false(view_gone(vendor));
	/* The port takes along what is below. */
	assert_int_equal(node_write(remove, "1", 1, NULL), 0);
	assert_true(view_gone(vendor) && view_gone(dir) && view_gone(remove));
	assert_false(view_gone(stays));
	assert_int_equal(node_write(remove, "1", 1, NULL), -ENODEV);
	assert_false(exists(v, PORT));
	assert_false(exists(v, path));
	assert_false(exists(v, "bus/pci/devices/" BDF));
	assert_false(exists(v, "bus/pci/devices/" PORT_BDF));
	assert_false(exists(v, VFIO_PCI "/" BDF));
	assert_false(exists(v, "bus/pci/drivers/pcieport/" PORT_BDF));
	assert_false(exists(v, "class/pci_bus/0000:65"));
	assert_true(exists(v, "class/pci_bus/0000:64"));
	assert_true(exists(v, "devices/pci0000:64/pci_bus/0000:64"));
	assert_false(view_group_id(v, number, &other));
	assert_false(view_group_number(v, group, &found));
	/* What is open has attributes still, and cannot be opened again. */
	assert_int_equal(view_stat(v, vendor->ino, &st), 0);
	assert_int_equal(st.mode, 0444);
	assert_int_equal(view_open(v, vendor->ino, &again), -ENODEV);
	assert_int_equal(view_lookup(v, old, "vendor", &st), -ENOENT);
	assert_int_equal(view_stat(v, config, &st), -ENOENT);

	assert_int_equal(write_to(v, "devices/pci0000:64/pci_bus/0000:64", "rescan", "1"), 0);
	/* msi_irqs of nvme: a directory and its files; no vfio-dev with all in it and its link. */
	assert_int_equal(visit_all(v, NULL), all + 4 - 12);
	assert_true(ino_of(v, PORT) > port && ino_of(v, DEV) > old);
	assert_true(view_group_id(v, number, &other));
	assert_int_not_equal(other, group);
	assert_true(view_gone(vendor));
	id = vendor->ino;
	view_put(vendor);
	assert_int_equal(view_stat(v, id, &st), -ENOENT);
	/* What had been written to the old one is not the new one's. */
	assert_text(v, DEV, "driver_override", "(null)\n");
	assert_link(v, DEV "/driver", NVME);
	view_put(dir);
	view_put(remove);
	view_put(stays);
}

/* Removed and found again between two looks: it is another one. */
static void unseen_removal(void **state)
{
	struct fixture *x = *state;
	struct view_node *vendor = node_at(x->view, DEV, "vendor");
	uint64_t old = ino_of(x->view, DEV);

	assert_int_equal(bus_remove(x->bus, function(x, BDF), NULL), 0);
	assert_int_equal(bus_rescan(x->bus, NULL, NULL), 1);
	assert_true(ino_of(x->view, DEV) > old);
	assert_true(view_gone(vendor));
	view_put(vendor);
}

/* One function of several: the other ones and the bus are not touched. */
static void one_of_two(void **state)
{
	struct view *v = ((struct fixture *)*state)->view;
	const char *slot = "devices/pci0001:66/0001:66:00.0";
	uint64_t other = ino_of(v, "devices/pci0001:66/0001:66:00.0/0001:67:00.0");
	char group[512], path[600];

	follow(v, "devices/pci0001:66/0001:66:00.0/0001:67:00.1/iommu_group", group);
	assert_int_equal(write_to(v, "devices/pci0001:66/0001:66:00.0/0001:67:00.1", "remove", "1"),
			 0);
	assert_true(exists(v, slot));
	assert_int_equal(ino_of(v, "devices/pci0001:66/0001:66:00.0/0001:67:00.0"), other);
	assert_true(exists(v, "class/pci_bus/0001:67"));
	/* They shared a group, which is still the other's. */
	snprintf(path, sizeof(path), "%s/devices/0001:67:00.0", group);
	assert_true(exists(v, path));
	snprintf(path, sizeof(path), "%s/devices/0001:67:00.1", group);
	assert_false(exists(v, path));
}

static bool take_two(void *data, const char *name, uint64_t ino, enum view_type type)
{
	uint64_t *last = data;

	last[1] = ino;
	return ++last[0] < 2;
}

/* Who reads a directory in pieces sees the rest of it, whatever left meanwhile. */
static void listing_goes_on(void **state)
{
	struct view *v = ((struct fixture *)*state)->view;
	uint64_t dir = ino_of(v, "bus/pci/devices"), place[2] = { 0 };
	struct irqs rest = { 0 };

	/* 0000:64:00.0, 0000:65:00.0 */
	assert_int_equal(view_list(v, dir, 0, take_two, place), 0);
	assert_int_equal(write_to(v, PORT, "remove", "1"), 0);
	assert_int_equal(view_list(v, dir, place[1], count_irq, &rest), 0);
	assert_int_equal(rest.n, 5);
	/* And what is new stands at the end. */
	assert_int_equal(write_to(v, "bus/pci", "rescan", "1"), 0);
	rest.n = 0;
	assert_int_equal(view_list(v, dir, place[1], count_irq, &rest), 0);
	assert_int_equal(rest.n, 7);
}

/* Each door has a view; what is written in one is the machine's. */
static void several_views(void **state)
{
	struct fixture *x = *state;
	struct view *other;

	assert_int_equal(view_new(x->pci, x->vfio, &other), 0);
	assert_int_equal(write_to(x->view, DEV, "driver_override", "pci-stub"), 0);
	assert_int_equal(write_to(x->view, DEV, "d3cold_allowed", "0"), 0);
	assert_int_equal(write_to(x->view, DEV, "reset_method", "bus"), 0);
	assert_int_equal(write_to(x->view, DEV "/power", "control", "auto"), 0);
	assert_int_equal(write_to(x->view, VFIO_PCI, "unbind", BDF), 0);
	assert_text(other, DEV, "driver_override", "pci-stub\n");
	assert_text(other, DEV, "d3cold_allowed", "0\n");
	assert_text(other, DEV, "reset_method", "bus\n");
	assert_text(other, DEV "/power", "control", "auto\n");
	assert_false(exists(other, DEV "/driver"));
	assert_int_equal(write_to(other, "bus/pci", "drivers_probe", BDF), 0);
	assert_link(x->view, DEV "/driver", "bus/pci/drivers/pci-stub");
	assert_int_equal(write_to(other, PORT, "remove", "1"), 0);
	assert_false(exists(x->view, PORT));
	view_free(other);
	/* Made while something is missing. */
	assert_int_equal(view_new(x->pci, x->vfio, &other), 0);
	assert_false(exists(other, PORT));
	assert_int_equal(write_to(x->view, "bus/pci", "rescan", "1"), 0);
	assert_true(exists(other, DEV));
	view_free(other);
}

/* The same again and again costs nothing, for nobody. */
static void a_thousand_cycles(void **state)
{
	struct view *v = ((struct fixture *)*state)->view;
	unsigned nodes = 0;
	size_t bytes = 0;

	for (unsigned i = 0; i < 1000; i++) {
		to_host(v);
		to_vfio(v);
		assert_int_equal(write_to(v, PORT, "remove", "1"), 0);
		assert_false(exists(v, DEV));
		assert_int_equal(write_to(v, "bus/pci", "rescan", "1"), 0);
		to_vfio(v);
		if (i == 500) { /* caches of the allocator are full */
			nodes = visit_all(v, NULL);
			bytes = mallinfo2().uordblks;
		}
	}
	assert_int_equal(visit_all(v, NULL), nodes);
	assert_true(mallinfo2().uordblks < bytes + 8192);
}

/* ------------------------------------------------------------------ waiting for a client */

static struct vfio_obj *open_by_vfio(struct fixture *x, struct vfio_obj **group,
				     struct vfio_obj **container)
{
	struct vfio_fd fd = { .fd = -1 };
	struct vfio_call call = { .request = VFIO_GROUP_SET_CONTAINER, .fds = &fd, .n_fds = 1 };
	int number = 3;
	char name[] = BDF;

	assert_int_equal(vfio_open_group(x->vfio, pcif_group(function(x, BDF)), group), 0);
	assert_int_equal(vfio_open_container(x->vfio, container), 0);
	fd.obj = *container;
	call.data = &number;
	call.size = sizeof(number);
	assert_int_equal(vfio_call(*group, &call), 0);
	call = (struct vfio_call){ .request = VFIO_SET_IOMMU, .value = VFIO_TYPE1v2_IOMMU };
	assert_int_equal(vfio_call(*container, &call), 0);
	call = (struct vfio_call){ .request = VFIO_GROUP_GET_DEVICE_FD,
				   .data = name,
				   .size = sizeof(name) };
	assert_int_equal(vfio_call(*group, &call), 0);
	return call.new_obj;
}

struct writer {
	struct view *v;
	const char *dir, *file, *text;
	atomic_bool cancel, done;
	int result;
};

static void *writer_main(void *data)
{
	struct writer *w = data;
	struct view_node *n = node_at(w->v, w->dir, w->file);

	w->result = node_write(n, w->text, strlen(w->text), &w->cancel);
	view_put(n);
	atomic_store(&w->done, true);
	return NULL;
}

/* C5: unbinding what is in use waits, and meanwhile the view answers others. */
static void in_use(void **state)
{
	struct fixture *x = *state;
	struct writer unbind = { .v = x->view, .dir = VFIO_PCI, .file = "unbind", .text = BDF };
	struct writer remove = { .v = x->view, .dir = PORT, .file = "remove", .text = "1" };
	struct vfio_obj *group, *container, *device = open_by_vfio(x, &group, &container);
	pthread_t a, b;

	assert_text(x->view, DEV, "enable", "1\n");
	assert_int_equal(pthread_create(&a, NULL, writer_main, &unbind), 0);
	assert_int_equal(pthread_create(&b, NULL, writer_main, &remove), 0);
	usleep(20000);
	assert_false(atomic_load(&unbind.done) || atomic_load(&remove.done));
	assert_text(x->view, DEV, "vendor", "0x1b36\n");
	assert_link(x->view, DEV "/driver", VFIO_PCI);
	/* Both are given up: nothing has changed. */
	atomic_store(&unbind.cancel, true);
	atomic_store(&remove.cancel, true);
	pthread_join(a, NULL);
	pthread_join(b, NULL);
	assert_int_equal(unbind.result, -EINTR);
	assert_int_equal(remove.result, -EINTR);
	assert_link(x->view, DEV "/driver", VFIO_PCI);

	unbind.cancel = false;
	unbind.done = false;
	assert_int_equal(pthread_create(&a, NULL, writer_main, &unbind), 0);
	usleep(20000);
	assert_false(atomic_load(&unbind.done));
	vfio_obj_put(device);
	pthread_join(a, NULL);
	assert_int_equal(unbind.result, 0);
	assert_false(exists(x->view, DEV "/driver"));
	vfio_obj_put(group);
	vfio_obj_put(container);
}

/* ------------------------------------------------------------------ many threads */

#define LOOKERS 3

struct looker {
	struct view *v;
	atomic_bool *stop;
};

static void look_at(struct view *v, struct view_node *n, const char *path)
{
	size_t size;
	char *buf;

	if (n->type == VIEW_FILE && n->read && !view_gone(n) && !n->read(n, &buf, &size))
		free(buf);
}

static void *looker_main(void *data)
{
	struct looker *l = data;
	struct view_stat st;

	/* Not visit_all(): what it has seen may be gone when it comes to it. */
	while (!atomic_load(l->stop)) {
		for (uint64_t ino = 1; ino < 4000; ino++) {
			struct view_node *n;

			if (view_stat(l->v, ino, &st) || view_open(l->v, ino, &n))
				continue;
			look_at(l->v, n, NULL);
			view_put(n);
		}
	}
	return NULL;
}

static void changing_while_others_look(void **state)
{
	struct view *v = ((struct fixture *)*state)->view;
	atomic_bool stop = false;
	struct looker l = { v, &stop };
	pthread_t threads[LOOKERS];

	for (unsigned i = 0; i < LOOKERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, looker_main, &l), 0);
	to_host(v);
	for (unsigned i = 0; i < 50; i++) {
		to_vfio(v);
		to_host(v);
		assert_int_equal(write_to(v, PORT, "remove", "1"), 0);
		assert_int_equal(write_to(v, "bus/pci", "rescan", "1"), 0);
	}
	atomic_store(&stop, true);
	for (unsigned i = 0; i < LOOKERS; i++)
		pthread_join(threads[i], NULL);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(bindings),
		TEST(own_files),
		TEST(interrupts),
		TEST(removal),
		TEST(unseen_removal),
		TEST(one_of_two),
		TEST(listing_goes_on),
		TEST(several_views),
		TEST(a_thousand_cycles),
		TEST(in_use),
		TEST(changing_while_others_look),
	};

	return cmocka_run_group_tests_name("view_live", tests, NULL, NULL);
}
