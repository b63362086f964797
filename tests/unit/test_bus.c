/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The host's side of functions: drivers, binding, removal and rescan, ownership of groups; and what
 * of it VFIO's users see. Rules B1, B2, B4, B5 and C1, C2, C3, C5 of docs/rules.md.
 */
#include <pthread.h>

#include "vfio_fixture.h"

/* FULL is alone in its group, PLAIN and PLAIN2 share one. */

static struct pci_bdf bdf_of(const char *text)
{
	struct pci_bdf bdf;

	assert_int_equal(pcif_bdf_parse(text, &bdf), 0);
	return bdf;
}

static const char *driver_name(struct fixture *x, struct pcif *f)
{
	const struct bus_driver *d = bus_driver_of(x->bus, f);

	return d ? d->name : "";
}

/* C2, C1. */
static void binding(void **state)
{
	struct fixture *x = *state;
	uint64_t seen = bus_generation(x->bus);

	assert_string_equal(driver_name(x, x->full), "vfio-pci");
	assert_int_equal(bus_bind(x->bus, "vfio-pci", bdf_of(FULL), NULL), -EBUSY);
	assert_int_equal(bus_bind(x->bus, "no-such", bdf_of(FULL), NULL), -ENODEV);
	assert_int_equal(bus_bind(x->bus, "vfio-pci", bdf_of("0000:01:00.0"), NULL), -ENODEV);
	assert_int_equal(bus_unbind(x->bus, "pci-stub", bdf_of(FULL), NULL), -ENODEV);
	assert_int_equal(bus_generation(x->bus), seen);
	assert_int_equal(bus_unbind(x->bus, "vfio-pci", bdf_of(FULL), NULL), 0);
	assert_int_not_equal(bus_generation(x->bus), seen);
	assert_string_equal(driver_name(x, x->full), "");
	assert_int_equal(bus_unbind(x->bus, NULL, bdf_of(FULL), NULL), -ENODEV);
	/* The override names vfio-pci: nobody else matches. */
	assert_int_equal(bus_bind(x->bus, "pci-stub", bdf_of(FULL), NULL), -ENODEV);
	assert_int_equal(bus_override_set(x->bus, x->full, "pci-stub"), 0);
	assert_int_equal(bus_bind(x->bus, "vfio-pci", bdf_of(FULL), NULL), -ENODEV);
	assert_int_equal(bus_probe(x->bus, bdf_of(FULL), NULL), 0);
	assert_string_equal(driver_name(x, x->full), "pci-stub");
	assert_int_equal(bus_probe(x->bus, bdf_of("0000:01:00.0"), NULL), -ENODEV);
	/* Bridges are not for vfio-pci (C3). */
	assert_int_equal(bus_unbind(x->bus, "pcieport", pcif_bdf(pcif_parent(x->full)), NULL), 0);
	assert_int_equal(bus_override_set(x->bus, pcif_parent(x->full), "vfio-pci"), 0);
	assert_int_equal(bus_bind(x->bus, "vfio-pci", pcif_bdf(pcif_parent(x->full)), NULL),
			 -EINVAL);
	assert_int_equal(bus_probe(x->bus, pcif_bdf(pcif_parent(x->full)), NULL), -EINVAL);
}

static void identifiers(void **state)
{
	struct fixture *x = *state;
	const struct pcif_desc *d = pcif_desc(x->plain);
	struct bus_id id = { d->vendor, d->device, BUS_ANY, BUS_ANY, 0, 0 };
	struct bus_id nvme = { 0x1111, 0x2222, BUS_ANY, BUS_ANY, 0x010802, 0 };

	assert_int_equal(bus_new_id(x->bus, "no-such", &id, false, NULL), -ENODEV);
	assert_int_equal(bus_new_id(x->bus, "nvme", &nvme, false, NULL), -EEXIST);
	assert_int_equal(bus_new_id(x->bus, "nvme", &nvme, true, NULL), 0);
	assert_int_equal(bus_override_set(x->bus, x->plain, ""), 0);
	assert_int_equal(bus_unbind(x->bus, NULL, bdf_of(PLAIN), NULL), 0);
	assert_int_equal(bus_probe(x->bus, bdf_of(PLAIN), NULL), 0);
	assert_string_equal(driver_name(x, x->plain), "");
	/* Binds what is unbound and matches now. */
	assert_int_equal(bus_new_id(x->bus, "vfio-pci", &id, false, NULL), 0);
	assert_string_equal(driver_name(x, x->plain), "vfio-pci");
	assert_int_equal(bus_new_id(x->bus, "vfio-pci", &id, false, NULL), -EEXIST);
	assert_int_equal(bus_remove_id(x->bus, "vfio-pci", &id), 0);
	assert_int_equal(bus_remove_id(x->bus, "vfio-pci", &id), -ENODEV);
	assert_string_equal(driver_name(x, x->plain), "vfio-pci");
}

static unsigned group_status(struct vfio_obj *group)
{
	struct vfio_group_status st = { .argsz = sizeof(st) };
	struct vfio_call call = { .request = VFIO_GROUP_GET_STATUS,
				  .data = &st,
				  .size = sizeof(st) };
	int ret = vfio_call(group, &call);

	return ret ? (unsigned)ret : st.flags;
}

/* B1, B2, B4: a group with a function that the host uses. */
static void viability(void **state)
{
	struct fixture *x = *state;
	const struct bus_driver *spoiler = NULL;
	unsigned number = pcif_group(x->plain);
	struct vfio_obj *group, *container;
	struct pcif *f;

	assert_int_equal(vfio_open_group(x->v, number, &group), 0);
	assert_int_equal(vfio_open_container(x->v, &container), 0);
	assert_int_equal(group_status(group), VFIO_GROUP_FLAGS_VIABLE);
	assert_int_equal(bus_unbind(x->bus, NULL, bdf_of(PLAIN2), NULL), 0);
	assert_int_equal(group_status(group), VFIO_GROUP_FLAGS_VIABLE);
	assert_int_equal(
		bus_override_set(x->bus, pcim_find(x->pci, bdf_of(PLAIN2)), "uio_pci_generic"), 0);
	assert_int_equal(bus_probe(x->bus, bdf_of(PLAIN2), NULL), 0);
	assert_int_equal(group_status(group), 0);
	assert_int_equal(set_container(x, group, container), -EPERM);
	f = bus_group_spoiler(x->bus, number, &spoiler);
	assert_string_equal(pcif_name(f), PLAIN2);
	assert_string_equal(spoiler->name, "uio_pci_generic");
	pcif_put(f);

	assert_int_equal(bus_unbind(x->bus, NULL, bdf_of(PLAIN2), NULL), 0);
	assert_int_equal(set_container(x, group, container), 0);
	assert_int_equal(group_status(group), 3);
	/* Now it is the client's: a driver of the host's is refused, one that does no DMA is not.
	 */
	assert_int_equal(bus_bind(x->bus, "uio_pci_generic", bdf_of(PLAIN2), NULL), -EBUSY);
	assert_int_equal(bus_override_set(x->bus, pcim_find(x->pci, bdf_of(PLAIN2)), "pci-stub"),
			 0);
	assert_int_equal(bus_bind(x->bus, "pci-stub", bdf_of(PLAIN2), NULL), 0);
	vfio_obj_put(group);
	vfio_obj_put(container);
	assert_true(bus_group_viable(x->bus, number));
}

/* B5: the group that lost its last function. */
static void group_without_functions(void **state)
{
	struct fixture *x = *state;
	unsigned number = pcif_group(x->full);
	struct vfio_obj *group, *again, *container;

	assert_int_equal(vfio_open_group(x->v, number, &group), 0);
	assert_int_equal(vfio_open_container(x->v, &container), 0);
	assert_int_equal(set_container(x, group, container), 0);
	assert_int_equal(bus_unbind(x->bus, NULL, bdf_of(FULL), NULL), 0);
	assert_false(vfio_group_present(x->v, number));
	assert_int_equal((int)group_status(group), -ENODEV);
	assert_int_equal(set_container(x, group, container), -ENODEV);
	assert_int_equal(vfio_open_group(x->v, number, &again), -ENODEV);
	assert_int_equal(bus_probe(x->bus, bdf_of(FULL), NULL), 0);
	assert_int_equal(vfio_open_group(x->v, number, &again), 0);
	assert_int_equal(set_container(x, again, container), 0);
	assert_int_equal((int)group_status(group), -ENODEV);
	vfio_obj_put(group);
	vfio_obj_put(again);
	vfio_obj_put(container);
}

struct unbinder {
	struct fixture *x;
	atomic_bool cancel, done;
	int result;
};

static void *unbind_main(void *data)
{
	struct unbinder *u = data;

	u->result = bus_unbind(u->x->bus, "vfio-pci", bdf_of(FULL), &u->cancel);
	atomic_store(&u->done, true);
	return NULL;
}

/* C5: who has the device open is asked, and waited for. */
static void unbind_in_use(void **state)
{
	struct fixture *x = *state;
	struct vfio_irq_set *set = calloc(1, sizeof(*set) + sizeof(int));
	int efd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct vfio_fd fd = { .fd = efd };
	struct vfio_call call = { .request = VFIO_DEVICE_SET_IRQS,
				  .data = set,
				  .size = sizeof(*set) + sizeof(int),
				  .fds = &fd,
				  .n_fds = 1 };
	struct unbinder u = { .x = x };
	struct vfio_obj *again;
	struct vfio_cdev cdev;
	pthread_t thread;
	uint64_t n = 0;

	open_device(x, FULL);
	*set = (struct vfio_irq_set){ .argsz = sizeof(*set) + sizeof(int),
				      .flags = VFIO_IRQ_SET_DATA_EVENTFD |
					       VFIO_IRQ_SET_ACTION_TRIGGER,
				      .index = VFIO_PCI_REQ_IRQ_INDEX,
				      .count = 1 };
	memcpy(set->data, &efd, sizeof(efd));
	assert_int_equal(vfio_call(x->dev, &call), 0);
	/* Given up: everything is as before. */
	assert_int_equal(pthread_create(&thread, NULL, unbind_main, &u), 0);
	while (read(efd, &n, sizeof(n)) < 0)
		usleep(1000);
	assert_int_equal(n, 1);
	assert_false(atomic_load(&u.done));
	/* Meanwhile there are no new users. */
	assert_true(vfio_cdev_of(x->v, x->full, &cdev));
	assert_int_equal(get_device(x, FULL, &again), -ENODEV);
	assert_int_equal(vfio_open_cdev(x->v, cdev.id, 0, &again), -ENODEV);
	atomic_store(&u.cancel, true);
	pthread_join(thread, NULL);
	assert_int_equal(u.result, -EINTR);
	assert_string_equal(driver_name(x, x->full), "vfio-pci");
	assert_int_equal(get_device(x, FULL, &again), 0);
	vfio_obj_put(again);
	/* Waited for. */
	u = (struct unbinder){ .x = x };
	assert_int_equal(pthread_create(&thread, NULL, unbind_main, &u), 0);
	while (read(efd, &n, sizeof(n)) < 0)
		usleep(1000);
	vfio_obj_put(x->dev);
	x->dev = NULL;
	pthread_join(thread, NULL);
	assert_int_equal(u.result, 0);
	assert_string_equal(driver_name(x, x->full), "");
	close(efd);
	free(set);
}

/* All functions of a group or none. */
static void whole_groups(void **state)
{
	struct fixture *x = *state;
	struct pcif *plain2 = pcim_find(x->pci, bdf_of(PLAIN2));
	struct pcif_reply_error err = { "" };
	struct vfio_obj *group, *container;
	atomic_bool cancel = true;
	char *override;

	assert_int_equal(bus_group_bind(x->bus, bdf_of(PLAIN), "no-such", NULL, &err), -ENOENT);
	assert_non_null(strstr(err.text, "vfio-pci"));
	assert_int_equal(bus_group_bind(x->bus, bdf_of("0000:01:00.0"), "pci-stub", NULL, &err),
			 -ENODEV);
	assert_int_equal(
		bus_group_bind(x->bus, pcif_bdf(pcif_parent(x->full)), "pci-stub", NULL, &err),
		-EINVAL);
	assert_int_equal(bus_group_return(x->bus, bdf_of(PLAIN), NULL, &err), 0);
	assert_string_equal(driver_name(x, x->plain), "");
	assert_string_equal(driver_name(x, plain2), "");
	assert_int_equal(bus_group_bind(x->bus, bdf_of(PLAIN2), "uio_pci_generic", NULL, &err), 0);
	assert_string_equal(driver_name(x, x->plain), "uio_pci_generic");
	assert_string_equal(driver_name(x, plain2), "uio_pci_generic");
	assert_int_equal(bus_group_bind(x->bus, bdf_of(PLAIN), "vfio-pci", NULL, &err), 0);
	/* The second function is in use, and nobody gives it back: the first returns as well. */
	assert_int_equal(vfio_open_group(x->v, pcif_group(x->plain), &group), 0);
	assert_int_equal(vfio_open_container(x->v, &container), 0);
	assert_int_equal(set_container(x, group, container), 0);
	assert_int_equal(call_value(x, container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU), 0);
	x->group = group;
	assert_int_equal(get_device(x, PLAIN2, &x->dev), 0);
	assert_int_equal(bus_group_bind(x->bus, bdf_of(PLAIN), "pci-stub", &cancel, &err), -EINTR);
	assert_non_null(strstr(err.text, "given it back"));
	assert_string_equal(driver_name(x, x->plain), "vfio-pci");
	assert_string_equal(driver_name(x, plain2), "vfio-pci");
	assert_int_equal(bus_override_get(x->bus, x->plain, &override), 0);
	assert_string_equal(override, "vfio-pci");
	free(override);
	vfio_obj_put(container);
}

static void removal(void **state)
{
	struct fixture *x = *state;
	struct pcif *port = pcif_get(pcif_parent(x->full)), *full = pcif_get(x->full);

	assert_int_equal(bus_remove(x->bus, port, NULL), 0);
	assert_false(pcif_present(port) || pcif_present(full));
	assert_int_equal(bus_remove(x->bus, full, NULL), -ENODEV);
	assert_int_equal(bus_override_set(x->bus, full, "x"), -ENODEV);
	assert_false(vfio_group_present(x->v, 0) && vfio_group_present(x->v, 1));
	assert_int_equal(bus_rescan(x->bus, NULL, NULL), 2);
	assert_int_equal(bus_rescan(x->bus, NULL, NULL), 0);
	assert_true(pcif_present(full));
	/* What had been written to the old one is gone with it: its host driver takes it. */
	assert_string_equal(driver_name(x, full), "nvme");
	assert_string_equal(driver_name(x, port), "pcieport");
	pcif_put(port);
	pcif_put(full);
}

/* A picture of all; who comes again has another id. */
static void listing(void **state)
{
	struct fixture *x = *state;
	struct bus_list list, later;
	uint64_t id = 0, group_id = 0;

	assert_int_equal(bus_list(x->bus, &list), 0);
	assert_int_equal(list.generation, bus_generation(x->bus));
	assert_int_equal(list.n, pcim_count(x->pci));
	for (unsigned i = 0; i < list.n; i++) {
		assert_ptr_equal(list.entry[i].f, pcim_function(x->pci, i));
		assert_ptr_equal(list.entry[i].driver, bus_driver_of(x->bus, list.entry[i].f));
		assert_int_equal(list.entry[i].group, pcif_group(list.entry[i].f));
		if (list.entry[i].f == x->full) {
			id = list.entry[i].id;
			group_id = list.entry[i].group_id;
		}
	}
	assert_int_equal(bus_remove(x->bus, x->full, NULL), 0);
	assert_int_equal(bus_list(x->bus, &later), 0);
	assert_int_equal(later.n, list.n - 1);
	bus_list_free(&later);
	assert_int_equal(bus_rescan(x->bus, NULL, NULL), 1);
	assert_int_equal(bus_list(x->bus, &later), 0);
	assert_int_equal(later.n, list.n);
	for (unsigned i = 0; i < later.n; i++) {
		if (later.entry[i].f != x->full)
			continue;
		assert_int_not_equal(later.entry[i].id, id);
		assert_int_not_equal(later.entry[i].group_id, group_id);
		assert_int_equal(later.entry[i].group, list.entry[i].group);
	}
	bus_list_free(&later);
	bus_list_free(&list);
	bus_list_free(&list);
}

/* What waits for an unbind that waits for a client can be given up. */
static void waiting_for_others(void **state)
{
	struct fixture *x = *state;
	struct bus_id id = { 0x8086, 0xffff, BUS_ANY, BUS_ANY, 0, 0 };
	struct unbinder u = { .x = x };
	atomic_bool now = true;
	pthread_t thread;

	open_device(x, FULL);
	assert_int_equal(pthread_create(&thread, NULL, unbind_main, &u), 0);
	while (bus_bind(x->bus, "vfio-pci", bdf_of(FULL), &now) == -EBUSY)
		usleep(1000);
	assert_int_equal(bus_bind(x->bus, "vfio-pci", bdf_of(FULL), &now), -EINTR);
	assert_int_equal(bus_unbind(x->bus, NULL, bdf_of(FULL), &now), -EINTR);
	assert_int_equal(bus_probe(x->bus, bdf_of(FULL), &now), -EINTR);
	assert_int_equal(bus_reset(x->bus, x->full, &now), -EINTR);
	assert_int_equal(bus_remove(x->bus, x->full, &now), -EINTR);
	assert_int_equal(bus_new_id(x->bus, "vfio-pci", &id, false, &now), -EINTR);
	assert_int_equal(bus_rescan(x->bus, NULL, &now), 0);
	atomic_store(&u.cancel, true);
	pthread_join(thread, NULL);
	assert_int_equal(u.result, -EINTR);
	assert_string_equal(driver_name(x, x->full), "vfio-pci");
}

/* Which there are, in which order they are tried, and what is put back. */
static void resets(void **state)
{
	struct fixture *x = *state;
	unsigned all = BIT(BUS_RESET_FLR) | BIT(BUS_RESET_PM) | BIT(BUS_RESET_BUS);
	uint64_t before = pcif_reset_count(x->full);
	struct pcif *port = pcif_parent(x->full);
	unsigned pm = pcif_find_cap(x->full, PCI_CAP_ID_PM);
	struct bus_resets list;
	uint32_t bar;

	assert_int_equal(bus_resets_supported(x->bus, x->full), all);
	assert_true(bus_can_reset(x->bus, x->full));
	bus_resets(x->bus, x->full, &list);
	assert_int_equal(list.n, 3);
	/* Two on a bus: neither of them has a reset of its own. */
	assert_int_equal(bus_resets_supported(x->bus, x->plain), 0);
	assert_int_equal(bus_reset(x->bus, x->plain, NULL), -ENOTTY);
	assert_int_equal(bus_resets_supported(x->bus, port), 0);

	pcif_config_write(x->full, PCI_BASE_ADDRESS_0, 4, 0xe0004000);
	bar = pcif_config_read(x->full, PCI_BASE_ADDRESS_0, 4);
	pcif_config_write(x->full, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	pcif_config_write(x->full, pm + PCI_PM_CTRL, 2, 3);
	assert_int_equal(bus_reset(x->bus, x->full, NULL), 0);
	assert_true(pcif_reset_count(x->full) > before);
	assert_int_equal(pcif_config_read(x->full, PCI_BASE_ADDRESS_0, 4), bar);
	assert_int_equal(pcif_config_read(x->full, PCI_COMMAND, 2), PCI_COMMAND_MEMORY);
	assert_int_equal(pcif_config_read(x->full, pm + PCI_PM_CTRL, 2) & 3, 0);

	list = (struct bus_resets){ 2, { BUS_RESET_BUS, BUS_RESET_FLR } };
	assert_int_equal(bus_resets_choose(x->bus, x->full, &list), 0);
	bus_resets(x->bus, x->full, &list);
	assert_int_equal(list.n, 2);
	assert_int_equal(list.method[0], BUS_RESET_BUS);
	list = (struct bus_resets){ 0 };
	assert_int_equal(bus_resets_choose(x->bus, x->full, &list), 0);
	assert_false(bus_can_reset(x->bus, x->full));
	assert_int_equal(bus_reset(x->bus, x->full, NULL), -ENOTTY);
	/* Whoever finds it again finds it as new. */
	assert_int_equal(bus_remove(x->bus, x->full, NULL), 0);
	assert_int_equal(bus_resets_choose(x->bus, x->full, NULL), -ENODEV);
	assert_int_equal(bus_rescan(x->bus, NULL, NULL), 1);
	bus_resets(x->bus, x->full, &list);
	assert_int_equal(list.n, 3);
}

/* VFIO offers no reset where the host has none to try. */
static void no_reset_for_clients(void **state)
{
	struct bus_resets none = { 0 };
	struct fixture *x = *state;

	assert_int_equal(bus_resets_choose(x->bus, x->full, &none), 0);
	open_device(x, FULL);
	assert_int_equal(call_value(x, x->dev, VFIO_DEVICE_RESET, 0), -EINVAL);
}

static void notes(void **state)
{
	struct fixture *x = *state;
	uint32_t value = 7;

	assert_int_equal(bus_note_get(x->bus, x->full, BUS_NOTE_NO_D3COLD, &value), 0);
	assert_int_equal(value, 0);
	assert_int_equal(bus_note_set(x->bus, x->full, BUS_NOTE_NO_D3COLD, 1), 0);
	assert_int_equal(bus_note_get(x->bus, x->full, BUS_NOTE_NO_D3COLD, &value), 0);
	assert_int_equal(value, 1);
	assert_int_equal(bus_note_get(x->bus, x->full, BUS_NOTE_BROKEN_PARITY, &value), 0);
	assert_int_equal(value, 0);
	assert_int_equal(bus_remove(x->bus, x->full, NULL), 0);
	assert_int_equal(bus_note_get(x->bus, x->full, BUS_NOTE_NO_D3COLD, &value), -ENODEV);
	assert_int_equal(bus_note_set(x->bus, x->full, BUS_NOTE_NO_D3COLD, 1), -ENODEV);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(binding),
		TEST(identifiers),
		TEST(viability),
		TEST(group_without_functions),
		TEST(unbind_in_use),
		TEST(whole_groups),
		TEST(removal),
		TEST(listing),
		TEST(waiting_for_others),
		TEST(resets),
		TEST(no_reset_for_clients),
		TEST(notes),
	};

	return cmocka_run_group_tests_name("bus", tests, NULL, NULL);
}
