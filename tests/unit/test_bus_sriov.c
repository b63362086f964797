/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * VFs on the host's side: how a PF's driver makes them, who binds to them, how they end; and what
 * VFIO says of both. Rules A6, C3, C5, D1 to D7 of docs/rules.md.
 */
#include <pthread.h>

#include "vfio_fixture.h"

static struct pci_bdf bdf_of(const char *text)
{
	struct pci_bdf bdf;

	assert_int_equal(pcif_bdf_parse(text, &bdf), 0);
	return bdf;
}

static const char *driver_name(struct fixture *x, const char *bdf)
{
	struct pcif *f = pcim_get(x->pci, bdf_of(bdf));
	const struct bus_driver *d = f ? bus_driver_of(x->bus, f) : NULL;

	pcif_put(f);
	return !f ? "gone" : d ? d->name : "";
}

/* The PF leaves vfio-pci, as it was bound at the start, for @driver. */
static void give_to(struct fixture *x, const char *driver)
{
	assert_int_equal(bus_unbind(x->bus, NULL, bdf_of(PF), NULL), 0);
	assert_int_equal(bus_override_set(x->bus, x->pf, driver), 0);
	assert_int_equal(bus_bind(x->bus, driver, bdf_of(PF), NULL), 0);
}

/* D2, in order. */
static void set_errors(void **state)
{
	struct fixture *x = *state;

	assert_int_equal(bus_sriov_set(x->bus, x->pf, 9, NULL), -ERANGE);
	assert_int_equal(bus_sriov_set(x->bus, x->full, 1, NULL), -ERANGE);
	assert_int_equal(bus_sriov_set(x->bus, x->full, 0, NULL), 0);
	give_to(x, "pci-stub");
	assert_int_equal(bus_sriov_set(x->bus, x->pf, 9, NULL), -ERANGE);
	assert_int_equal(bus_sriov_set(x->bus, x->pf, 0, NULL), 0);
	assert_int_equal(bus_sriov_set(x->bus, x->pf, 1, NULL), -ENOENT);
	assert_int_equal(bus_unbind(x->bus, NULL, bdf_of(PF), NULL), 0);
	assert_int_equal(bus_sriov_set(x->bus, x->pf, 1, NULL), -ENOENT);
	assert_int_equal(bus_override_set(x->bus, x->pf, "vfio-pci"), 0);
	assert_int_equal(bus_probe(x->bus, bdf_of(PF), NULL), 0);
	vfio_set_sriov(x->v, false);
	assert_int_equal(bus_sriov_set(x->bus, x->pf, 1, NULL), -ENOENT);
	vfio_set_sriov(x->v, true);
	assert_int_equal(bus_sriov_set(x->bus, x->pf, 2, NULL), 0);
	assert_int_equal(bus_sriov_set(x->bus, x->pf, 2, NULL), 0);
	assert_int_equal(bus_sriov_set(x->bus, x->pf, 3, NULL), -EBUSY);
	assert_int_equal(pcif_num_vfs(x->pf), 2);
	assert_int_equal(bus_sriov_set(x->bus, x->pf, 0, NULL), 0);
	assert_int_equal(pcif_num_vfs(x->pf), 0);
	assert_int_equal(bus_remove(x->bus, x->pf, NULL), 0);
	x->pf = NULL;
}

/* D3, D4, A6: as on the reference machine's igb. */
static void identity(void **state)
{
	struct fixture *x = *state;
	unsigned groups = pcim_group_count(x->pci);
	uint64_t seen = bus_generation(x->bus);
	struct pcif *vf;

	assert_int_equal(bus_sriov_set(x->bus, x->pf, 2, NULL), 0);
	assert_int_not_equal(bus_generation(x->bus), seen);
	vf = find(x, VF0);
	assert_int_equal(pcif_group(vf), groups);
	assert_int_equal(pcif_group(find(x, VF1)), groups + 1);
	assert_true(vfio_group_present(x->v, groups + 1));
	seen = bus_generation(x->bus);
	assert_int_equal(bus_sriov_set(x->bus, x->pf, 0, NULL), 0);
	assert_int_not_equal(bus_generation(x->bus), seen);
	assert_int_equal(pcim_group_count(x->pci), groups);
	assert_false(vfio_group_present(x->v, groups));
}

/* D5. */
static void who_binds(void **state)
{
	struct fixture *x = *state;
	char *override;

	/* Those of vfio-pci are its own, by override, probed whatever autoprobe says. */
	assert_true(bus_sriov_autoprobe(x->bus, x->pf));
	assert_int_equal(bus_sriov_set_autoprobe(x->bus, x->pf, false), 0);
	assert_int_equal(bus_sriov_set(x->bus, x->pf, 1, NULL), 0);
	assert_string_equal(driver_name(x, VF0), "vfio-pci");
	assert_int_equal(bus_override_get(x->bus, find(x, VF0), &override), 0);
	assert_string_equal(override, "vfio-pci");
	free(override);
	assert_int_equal(bus_sriov_set(x->bus, x->pf, 0, NULL), 0);

	give_to(x, "igb");
	assert_int_equal(bus_sriov_set(x->bus, x->pf, 2, NULL), 0);
	assert_string_equal(driver_name(x, VF0), "");
	assert_int_equal(bus_bind(x->bus, "igbvf", bdf_of(VF0), NULL), -ENODEV);
	assert_int_equal(bus_probe(x->bus, bdf_of(VF0), NULL), 0);
	assert_string_equal(driver_name(x, VF0), "");
	assert_int_equal(bus_override_set(x->bus, find(x, VF0), "vfio-pci"), 0);
	assert_int_equal(bus_probe(x->bus, bdf_of(VF0), NULL), 0);
	assert_string_equal(driver_name(x, VF0), "vfio-pci");
	assert_int_equal(bus_sriov_set_autoprobe(x->bus, x->pf, true), 0);
	assert_int_equal(bus_bind(x->bus, "igbvf", bdf_of(VF1), NULL), 0);
	assert_int_equal(bus_sriov_set(x->bus, x->pf, 0, NULL), 0);
	/* Found with the driver that matches, if the bus probes at all. */
	assert_int_equal(bus_sriov_set(x->bus, x->pf, 1, NULL), 0);
	assert_string_equal(driver_name(x, VF0), "igbvf");
	assert_int_equal(bus_sriov_set(x->bus, x->pf, 0, NULL), 0);
	bus_set_autoprobe(x->bus, false);
	assert_int_equal(bus_sriov_set(x->bus, x->pf, 1, NULL), 0);
	assert_string_equal(driver_name(x, VF0), "");
}

/* C3, C5: what becomes of VFs when their PF changes hands. */
static void pf_leaves(void **state)
{
	struct fixture *x = *state;
	struct bus_id id = { 0x8086, 0x10c9, BUS_ANY, BUS_ANY, 0, 0 };
	struct pcif *pf = pcif_get(x->pf);

	assert_int_equal(bus_sriov_set(x->bus, x->pf, 2, NULL), 0);
	assert_int_equal(bus_unbind(x->bus, "vfio-pci", bdf_of(PF), NULL), 0);
	assert_int_equal(pcif_num_vfs(x->pf), 0);
	assert_string_equal(driver_name(x, VF0), "gone");
	assert_int_equal(bus_override_set(x->bus, x->pf, "igb"), 0);
	assert_int_equal(bus_probe(x->bus, bdf_of(PF), NULL), 0);
	assert_int_equal(bus_sriov_set(x->bus, x->pf, 2, NULL), 0);
	assert_int_equal(bus_unbind(x->bus, "igb", bdf_of(PF), NULL), 0);
	assert_int_equal(pcif_num_vfs(x->pf), 0);

	/* The driver nvme leaves them, and vfio-pci does not take such a PF. */
	assert_int_equal(bus_new_id(x->bus, "nvme", &id, false, NULL), 0);
	assert_string_equal(driver_name(x, PF), ""); /* igb's, by override */
	assert_int_equal(bus_override_set(x->bus, x->pf, "nvme"), 0);
	assert_int_equal(bus_probe(x->bus, bdf_of(PF), NULL), 0);
	assert_int_equal(bus_sriov_set(x->bus, x->pf, 2, NULL), 0);
	assert_int_equal(bus_unbind(x->bus, "nvme", bdf_of(PF), NULL), 0);
	assert_int_equal(pcif_num_vfs(x->pf), 2);
	assert_int_equal(bus_sriov_set(x->bus, x->pf, 0, NULL), -ENOENT);
	assert_int_equal(bus_override_set(x->bus, x->pf, "vfio-pci"), 0);
	assert_int_equal(bus_bind(x->bus, "vfio-pci", bdf_of(PF), NULL), -EBUSY);
	assert_int_equal(bus_remove_id(x->bus, "nvme", &id), 0);
	/* The end of the PF is theirs in any case. */
	assert_int_equal(bus_remove(x->bus, x->pf, NULL), 0);
	assert_string_equal(driver_name(x, VF0), "gone");
	assert_int_equal(pcif_num_vfs(pf), 0);
	assert_int_equal(bus_rescan(x->bus, NULL, NULL), 1);
	assert_string_equal(driver_name(x, PF), "igb");
	assert_int_equal(bus_sriov_set(x->bus, pf, 8, NULL), 0);
	/* One VF less; it comes back with all of them only. */
	assert_int_equal(bus_remove(x->bus, find(x, VF1), NULL), 0);
	assert_int_equal(bus_rescan(x->bus, NULL, NULL), 0);
	assert_int_equal(pcif_num_vfs(pf), 8);
	assert_string_equal(driver_name(x, VF1), "gone");
	assert_int_equal(bus_sriov_set(x->bus, pf, 0, NULL), 0);
	assert_int_equal(bus_sriov_set(x->bus, pf, 2, NULL), 0);
	assert_string_equal(driver_name(x, VF1), "igbvf");
	/* The bridge, and all below. */
	assert_int_equal(bus_remove(x->bus, pcif_parent(pf), NULL), 0);
	assert_string_equal(driver_name(x, VF1), "gone");
	assert_int_equal(bus_rescan(x->bus, NULL, NULL), 2);
	pcif_put(pf);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(set_errors),
		TEST(identity),
		TEST(who_binds),
		TEST(pf_leaves),
	};

	return cmocka_run_group_tests_name("bus_sriov", tests, NULL, NULL);
}
