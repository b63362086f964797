/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Physical and virtual functions in /sys. Rules D1 to D5 of docs/rules.md.
 */
#include "view_fixture.h"

#define VFIO_PCI "bus/pci/drivers/vfio-pci"
#define NVME "bus/pci/drivers/nvme"
#define STUB "bus/pci/drivers/pci-stub"
#define VF0 PF_PORT "/0000:70:00.1"
#define VF1 PF_PORT "/0000:70:00.2"
#define VF255 PF_PORT "/0000:71:00.0"

static void pf_to_host(struct view *v)
{
	assert_int_equal(write_to(v, PF, "driver_override", ""), 0);
	assert_int_equal(write_to(v, VFIO_PCI, "unbind", PF_BDF), 0);
	assert_int_equal(write_to(v, NVME, "bind", PF_BDF), 0);
}

/* D1. */
static void files(void **state)
{
	struct view *v = ((struct fixture *)*state)->view;

	assert_false(exists(v, DEV "/sriov_numvfs"));
	assert_text(v, PF, "sriov_totalvfs", "256\n");
	assert_text(v, PF, "sriov_numvfs", "0\n");
	assert_text(v, PF, "sriov_offset", "1\n");
	assert_text(v, PF, "sriov_stride", "1\n");
	assert_text(v, PF, "sriov_vf_device", "11\n");
	assert_text(v, PF, "sriov_vf_total_msix", "0\n");
	assert_text(v, PF, "sriov_drivers_autoprobe", "1\n");
	assert_int_equal(write_to(v, PF, "sriov_drivers_autoprobe", "2"), -EINVAL);
	assert_int_equal(write_to(v, PF, "sriov_drivers_autoprobe", ""), -EINVAL);
	assert_int_equal(write_to(v, PF, "sriov_drivers_autoprobe", "off\n"), 0);
	assert_text(v, PF, "sriov_drivers_autoprobe", "0\n");
	assert_text(v, PF, "ari_enabled", "1\n");
	assert_text(v, PF_PORT, "ari_enabled", "0\n");
}

/* D2. */
static void numbers(void **state)
{
	struct view *v = ((struct fixture *)*state)->view;

	assert_int_equal(write_to(v, PF, "sriov_numvfs", "x"), -EINVAL);
	assert_int_equal(write_to(v, PF, "sriov_numvfs", "-1"), -EINVAL);
	assert_int_equal(write_to(v, PF, "sriov_numvfs", "65536"), -EINVAL);
	assert_int_equal(write_to(v, PF, "sriov_numvfs", "257"), -ERANGE);
	assert_int_equal(write_to(v, PF, "sriov_numvfs", "0"), 0);
	assert_int_equal(write_to(v, VFIO_PCI, "unbind", PF_BDF), 0);
	assert_int_equal(write_to(v, PF, "sriov_numvfs", "0"), 0);
	assert_int_equal(write_to(v, PF, "sriov_numvfs", "2"), -ENOENT);
	assert_int_equal(write_to(v, PF, "driver_override", "pci-stub"), 0);
	assert_int_equal(write_to(v, STUB, "bind", PF_BDF), 0);
	assert_int_equal(write_to(v, PF, "sriov_numvfs", "2"), -ENOENT);
	assert_int_equal(write_to(v, STUB, "unbind", PF_BDF), 0);
	assert_int_equal(write_to(v, PF, "driver_override", "nvme"), 0);
	assert_int_equal(write_to(v, NVME, "bind", PF_BDF), 0);
	assert_int_equal(write_to(v, PF, "sriov_numvfs", "2\n"), 0);
	assert_int_equal(write_to(v, PF, "sriov_numvfs", "0x2"), 0);
	assert_int_equal(write_to(v, PF, "sriov_numvfs", "3"), -EBUSY);
	assert_text(v, PF, "sriov_numvfs", "2\n");
	assert_int_equal(write_to(v, VF0, "sriov_vf_msix_count", "x"), -EINVAL);
	assert_int_equal(write_to(v, VF0, "sriov_vf_msix_count", "1"), -EOPNOTSUPP);
	assert_int_equal(write_to(v, PF, "sriov_numvfs", "0"), 0);
	assert_false(exists(v, VF0));
}

/* D3, D4: what a VF is, and where. */
static void virtual_functions(void **state)
{
	struct view *v = ((struct fixture *)*state)->view;
	char group[512];
	unsigned before;

	pf_to_host(v);
	before = visit_all(v, NULL);
	assert_int_equal(write_to(v, PF, "sriov_numvfs", "2"), 0);
	assert_link(v, PF "/virtfn0", VF0);
	assert_link(v, PF "/virtfn1", VF1);
	assert_false(exists(v, PF "/virtfn2"));
	assert_link(v, VF0 "/physfn", PF);
	assert_link(v, "bus/pci/devices/0000:70:00.1", VF0);
	follow(v, VF0 "/iommu_group", group);
	strcat(group, "/devices/0000:70:00.1");
	assert_link(v, group, VF0);
	assert_text(v, VF0, "vendor", "0x1b36\n");
	assert_text(v, VF0, "device", "0x0011\n");
	assert_text(v, VF0, "class", "0x010802\n");
	assert_text(v, VF0, "subsystem_device", "0x1100\n");
	assert_text(v, VF0, "irq", "0\n");
	assert_text(v, VF0, "reset_method", "flr\n");
	assert_text(v, VF0, "ari_enabled", "1\n");
	assert_text(v, VF0, "uevent",
		    "DRIVER=nvme\nPCI_CLASS=10802\nPCI_ID=1B36:0011\nPCI_SUBSYS_ID=1AF4:1100\n"
		    "PCI_SLOT_NAME=0000:70:00.1\n"
		    "MODALIAS=pci:v00001B36d00000011sv00001AF4sd00001100bc01sc08i02\n");
	assert_int_equal(stat_at(v, VF0 "/resource0").size, KIB(16));
	assert_int_equal(stat_at(v, VF0 "/config").size, 4096);
	assert_int_equal(write_to(v, PF, "sriov_numvfs", "0"), 0);
	assert_int_equal(visit_all(v, NULL), before);
}

static void nth_line(struct view *v, const char *dir, unsigned n, unsigned long long value[3])
{
	struct view_node *node = node_at(v, dir, "resource");
	size_t size;
	char *buf;

	assert_int_equal(node->read(node, &buf, &size), 0);
	assert_int_equal(sscanf(buf + 57 * n, "%llx %llx %llx", &value[0], &value[1], &value[2]),
			 3);
	free(buf);
	view_put(node);
}

/* Slices of what the PF has for all of them. */
static void resources(void **state)
{
	struct view *v = ((struct fixture *)*state)->view;
	unsigned long long all[3], one[3], two[3];

	assert_int_equal(write_to(v, PF, "sriov_numvfs", "2"), 0);
	nth_line(v, PF, 7, all);
	assert_int_equal(all[1] - all[0] + 1, 256 * KIB(16));
	assert_int_equal(all[2], 0x140204);
	nth_line(v, VF0, 0, one);
	nth_line(v, VF1, 0, two);
	assert_int_equal(one[0], all[0]);
	assert_int_equal(one[1] - one[0] + 1, KIB(16));
	assert_int_equal(two[0], one[1] + 1);
	assert_int_equal(two[2], all[2]);
}

/* D5. */
static void autoprobe(void **state)
{
	struct view *v = ((struct fixture *)*state)->view;

	pf_to_host(v);
	assert_int_equal(write_to(v, PF, "sriov_drivers_autoprobe", "0"), 0);
	assert_int_equal(write_to(v, PF, "sriov_numvfs", "2"), 0);
	assert_false(exists(v, VF0 "/driver"));
	/* No driver by itself; by override, yes. */
	assert_int_equal(write_to(v, NVME, "bind", "0000:70:00.1"), -ENODEV);
	assert_int_equal(write_to(v, VF0, "driver_override", "vfio-pci"), 0);
	assert_int_equal(write_to(v, "bus/pci", "drivers_probe", "0000:70:00.1"), 0);
	assert_link(v, VF0 "/driver", VFIO_PCI);
	assert_int_equal(write_to(v, PF, "sriov_numvfs", "0"), 0);
	assert_int_equal(write_to(v, PF, "sriov_drivers_autoprobe", "1"), 0);
	assert_int_equal(write_to(v, PF, "sriov_numvfs", "1"), 0);
	assert_link(v, VF0 "/driver", NVME);
}

/* With the PF its VFs go; those of VFIO's are VFIO's. */
static void pf_of_vfio(void **state)
{
	struct view *v = ((struct fixture *)*state)->view;
	const char *params = "module/vfio_pci/parameters";

	assert_text(v, params, "enable_sriov", "Y\n");
	assert_int_equal(write_to(v, params, "enable_sriov", "N"), 0);
	assert_text(v, params, "enable_sriov", "N\n");
	assert_int_equal(write_to(v, PF, "sriov_numvfs", "2"), -ENOENT);
	assert_int_equal(write_to(v, params, "enable_sriov", "maybe"), -EINVAL);
	assert_int_equal(write_to(v, params, "enable_sriov", "1\n"), 0);
	assert_int_equal(write_to(v, PF, "sriov_numvfs", "2"), 0);
	assert_link(v, VF0 "/driver", VFIO_PCI);
	assert_text(v, VF0, "driver_override", "vfio-pci\n");
	assert_int_equal(write_to(v, VFIO_PCI, "unbind", PF_BDF), 0);
	assert_false(exists(v, VF0));
	assert_text(v, PF, "sriov_numvfs", "0\n");
	assert_int_equal(write_to(v, VFIO_PCI, "bind", PF_BDF), 0);
	assert_int_equal(write_to(v, PF, "sriov_numvfs", "2"), 0);
	assert_int_equal(write_to(v, PF, "remove", "1"), 0);
	assert_false(exists(v, PF));
	assert_false(exists(v, VF0));
	assert_int_equal(write_to(v, "bus/pci", "rescan", "1"), 0);
	assert_true(exists(v, PF));
	assert_false(exists(v, VF0));
}

/* So many that they need a bus of their own, which has no bridge. */
static void many(void **state)
{
	struct view *v = ((struct fixture *)*state)->view;
	unsigned before = visit_all(v, NULL);

	assert_false(exists(v, "class/pci_bus/0000:71"));
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(write_to(v, PF, "sriov_numvfs", "256"), 0);
		assert_link(v, PF "/virtfn255", VF255);
		assert_link(v, VF255 "/physfn", PF);
		assert_link(v, VF255 "/driver", VFIO_PCI);
		assert_link(v, "class/pci_bus/0000:71", PF_PORT "/pci_bus/0000:71");
		assert_text(v, VF255, "ari_enabled", "0\n");
		assert_text(v, VF255, "reset_method", "flr\n");
		assert_int_equal(write_to(v, PF, "sriov_numvfs", "0"), 0);
		assert_int_equal(visit_all(v, NULL), before);
		assert_false(exists(v, "class/pci_bus/0000:71"));
	}
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(files),	 TEST(numbers),	  TEST(virtual_functions),
		TEST(resources), TEST(autoprobe), TEST(pf_of_vfio),
		TEST(many),
	};

	return cmocka_run_group_tests_name("view_sriov", tests, NULL, NULL);
}
