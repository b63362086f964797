/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * /sys of trees that are deeper than a port and a device: paths, buses, groups; and what a bridge
 * in the middle takes along when it goes.
 */
#include "view_fixture.h"

static const struct pcif_model *bridge(const char *name)
{
	for (unsigned i = 0; pcim_bridge_models[i]; i++)
		if (!strcmp(pcim_bridge_models[i]->name, name))
			return pcim_bridge_models[i];
	fail_msg("no %s", name);
	return NULL;
}

static struct pcif *place(struct pcim *pci, const char *at, const struct pcif_model *model,
			  const char *key)
{
	struct pcif_reply_error err;
	struct pcif_params *params;
	struct pci_bdf bdf;
	struct pcif *f;

	assert_int_equal(pcif_bdf_parse(at, &bdf), 0);
	assert_int_equal(pcim_params_new(&params), 0);
	if (key)
		assert_int_equal(pcim_params_set(params, key, "on"), 0);
	if (pcim_add_on_bus(pci, bdf, model, params, &err, &f))
		fail_msg("%s: %s", at, err.text);
	pcim_params_free(params);
	return f;
}

static void open_bus(struct pcif *f, unsigned bus)
{
	struct pcif_reply_error err;
	uint8_t number;

	if (pcim_open_bus(f, bus, &err, &number))
		fail_msg("%s", err.text);
}

/*
 * Root bus 00: an integrated endpoint, a root port with a switch of two devices, and one with a
 * bridge to conventional devices. Root bus 80: nothing.
 */
static void tree_build(struct pcim *pci)
{
	struct pcif_reply_error err;
	struct pcif *port, *up, *down[2], *to_pci;

	assert_int_equal(pcim_add_root_bus(pci, 0, 0, 1, &err), 0);
	assert_int_equal(pcim_add_root_bus(pci, 0, 0x80, -1, &err), 0);
	place(pci, "0000:00:01.0", &blank, NULL);
	port = place(pci, "0000:00:02.0", bridge("root-port"), NULL);
	to_pci = place(pci, "0000:00:03.0", bridge("root-port"), NULL);
	open_bus(port, 1);
	up = place(pci, "0000:01:00.0", bridge("upstream-port"), NULL);
	open_bus(up, 2);
	down[0] = place(pci, "0000:02:00.0", bridge("downstream-port"), NULL);
	down[1] = place(pci, "0000:02:01.0", bridge("downstream-port"), NULL);
	open_bus(down[0], 3);
	place(pci, "0000:03:00.0", &blank, NULL);
	open_bus(down[1], 4);
	place(pci, "0000:04:00.0", &blank, NULL);
	open_bus(to_pci, 5);
	to_pci = place(pci, "0000:05:00.0", bridge("pcie-to-pci-bridge"), NULL);
	open_bus(to_pci, 6);
	place(pci, "0000:06:00.0", &blank, "conventional");
	place(pci, "0000:06:01.0", &blank, "conventional");
}

static int tree_setup(void **state)
{
	static struct fixture x;

	x.fds = open_fds();
	assert_int_equal(pcim_new(&x.pci), 0);
	tree_build(x.pci);
	assert_int_equal(pcim_enumerate(x.pci), 0);
	assert_int_equal(bus_new(x.pci, &x.bus), 0);
	assert_int_equal(vfio_new(x.bus, &x.vfio), 0);
	assert_int_equal(bus_start(x.bus, vfio_pick_endpoints, NULL), 0);
	assert_int_equal(view_new(x.pci, x.vfio, &x.view), 0);
	*state = &x;
	return 0;
}

#define HOST "devices/pci0000:00"
#define SWITCH HOST "/0000:00:02.0/0000:01:00.0"
#define DISK3 SWITCH "/0000:02:00.0/0000:03:00.0"
#define DISK4 SWITCH "/0000:02:01.0/0000:04:00.0"
#define OLD6 HOST "/0000:00:03.0/0000:05:00.0/0000:06:00.0"

static void paths(void **state)
{
	struct view *v = ((struct fixture *)*state)->view;

	assert_link(v, "bus/pci/devices/0000:00:01.0", HOST "/0000:00:01.0");
	assert_link(v, "bus/pci/devices/0000:03:00.0", DISK3);
	assert_link(v, "bus/pci/devices/0000:04:00.0", DISK4);
	assert_link(v, "bus/pci/devices/0000:06:00.0", OLD6);
	assert_link(v, "class/pci_bus/0000:00", HOST "/pci_bus/0000:00");
	assert_link(v, "class/pci_bus/0000:02", SWITCH "/pci_bus/0000:02");
	assert_link(v, "class/pci_bus/0000:06", HOST "/0000:00:03.0/0000:05:00.0/pci_bus/0000:06");
	/* A host bridge without anything is there. */
	assert_true(exists(v, "devices/pci0000:80/pci_bus/0000:80"));
	assert_link(v, SWITCH "/driver", "bus/pci/drivers/pcieport");
	/* No port: it has no services, hence no driver. */
	assert_false(exists(v, HOST "/0000:00:03.0/0000:05:00.0/driver"));
	assert_text(v, DISK3, "numa_node", "1\n");
	assert_int_equal(write_to(v, DISK3, "numa_node", "1"), 0);
	assert_int_equal(write_to(v, DISK3, "numa_node", "-1"), -EINVAL);
	assert_true(exists(v, DISK3 "/current_link_speed"));
	assert_false(exists(v, OLD6 "/current_link_speed"));
	assert_int_equal(stat_at(v, OLD6 "/config").size, 256);
	assert_text(v, SWITCH, "secondary_bus_number", "2\n");
	assert_text(v, SWITCH, "subordinate_bus_number", "4\n");
}

/* A5: behind a bridge to conventional PCI all are one group, with the bridge. */
static void groups(void **state)
{
	struct view *v = ((struct fixture *)*state)->view;
	char one[512], two[512], of_bridge[512], other[512];

	follow(v, OLD6 "/iommu_group", one);
	follow(v, HOST "/0000:00:03.0/0000:05:00.0/0000:06:01.0/iommu_group", two);
	follow(v, HOST "/0000:00:03.0/0000:05:00.0/iommu_group", of_bridge);
	follow(v, DISK3 "/iommu_group", other);
	assert_string_equal(one, two);
	assert_string_equal(one, of_bridge);
	assert_string_not_equal(one, other);
}

static void removal(void **state)
{
	struct view *v = ((struct fixture *)*state)->view;
	struct view_node *vendor = node_at(v, DISK3, "vendor");
	uint64_t disk4 = ino_of(v, DISK4);

	/* One port of the switch, then all of it. */
	assert_int_equal(write_to(v, SWITCH "/0000:02:00.0", "remove", "1"), 0);
	assert_true(view_gone(vendor));
	assert_false(exists(v, "class/pci_bus/0000:03"));
	assert_int_equal(ino_of(v, DISK4), disk4);
	assert_int_equal(write_to(v, SWITCH, "remove", "1"), 0);
	assert_false(exists(v, SWITCH));
	assert_false(exists(v, "bus/pci/devices/0000:04:00.0"));
	assert_false(exists(v, "class/pci_bus/0000:04"));
	assert_true(exists(v, "class/pci_bus/0000:01"));
	assert_int_equal(write_to(v, HOST "/0000:00:02.0", "rescan", "1"), 0);
	assert_link(v, "bus/pci/devices/0000:03:00.0", DISK3);
	assert_link(v, "bus/pci/devices/0000:04:00.0", DISK4);
	assert_true(ino_of(v, DISK4) > disk4);
	view_put(vendor);
}

/* A scan of one bus finds what is on it and below, and nothing else. */
static void rescans(void **state)
{
	struct view *v = ((struct fixture *)*state)->view;

	assert_int_equal(write_to(v, DISK3, "remove", "1"), 0);
	assert_int_equal(write_to(v, SWITCH "/0000:02:01.0", "remove", "1"), 0);
	assert_int_equal(write_to(v, OLD6, "remove", "1"), 0);
	assert_false(exists(v, DISK3) || exists(v, DISK4) || exists(v, OLD6));
	/* Of the function next to it: the same bus. That bus, which is empty. */
	assert_int_equal(write_to(v, HOST "/0000:00:03.0/0000:05:00.0/0000:06:01.0", "rescan", "1"),
			 0);
	assert_true(exists(v, OLD6) && !exists(v, DISK3) && !exists(v, DISK4));
	assert_int_equal(write_to(v, "devices/pci0000:80/pci_bus/0000:80", "rescan", "1"), 0);
	assert_false(exists(v, DISK3) || exists(v, DISK4));
	assert_int_equal(write_to(v, SWITCH "/0000:02:00.0/pci_bus/0000:03", "rescan", "1"), 0);
	assert_true(exists(v, DISK3) && !exists(v, DISK4));
	/* A port's own file is about the bus that the port is on. */
	assert_int_equal(write_to(v, SWITCH "/0000:02:00.0", "rescan", "1"), 0);
	assert_true(exists(v, DISK4));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, tree_setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(paths),
		TEST(groups),
		TEST(removal),
		TEST(rescans),
	};

	return cmocka_run_group_tests_name("view_tree", tests, NULL, NULL);
}
