/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Trees of machine files: addresses, bus numbers, errors, and the groups of shapes that were
 * measured on a real kernel.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "machine/priv.h"

static int try_json(const char *text, struct machine **m, struct machine_error *err)
{
	int r;

	err->text[0] = 0;
	assert_int_equal(machine_new(m), 0);
	r = machine_add_json(*m, "m.json", text, strlen(text), err);
	return r ? r : machine_start(*m, err);
}

/* JSON with ' for ". */
static char *quoted(const char *text)
{
	char *copy = strdup(text);

	assert_non_null(copy);
	for (char *p = copy; *p; p++)
		if (*p == '\'')
			*p = '"';
	return copy;
}

/* A machine of one root bus 0000:00 with these devices. */
static struct machine *tree(const char *devices)
{
	struct machine_error err;
	struct machine *m;
	char *json, *all;

	assert_true(asprintf(&all, "{'root_buses': [{'devices': [%s]}]}", devices) > 0);
	json = quoted(all);
	if (try_json(json, &m, &err))
		fail_msg("%s: %s", json, err.text);
	free(json);
	free(all);
	return m;
}

/* ------------------------------------------------------------------ groups */

#define EP "{'model': 'testdev'}"
#define PCI(at) "{'model': 'testdev', 'conventional': true, 'addr': '" at "'}"
#define PCI_0 PCI("0")
#define PCI_1 PCI("1")
#define PCI_2 PCI("2")
#define PCI_3 PCI("3")
#define PCI_4 PCI("4")
#define PCI_7 PCI("7")
#define PCI_4_0 PCI("4.0")
#define PCI_4_1 PCI("4.1")
#define PCI_8_0 PCI("8.0")
#define PCI_8_1 PCI("8.1")

/*
 * A column for each function in order of address, which is that of a scan: its address without the
 * domain, its group.
 */
static const struct shape {
	const char *name, *devices, *want;
} shapes[] = {
	/* The table that was measured on a real kernel. */
	{ "host bridge", "{'model': 'dummy', 'class': 'host-bridge', 'conventional': true}",
	  "00:00.0=0" },
	{ "RP with ACS, endpoint", "{'model': 'root-port', 'addr': '1', 'devices': [" EP "]}",
	  "00:01.0=0 01:00.0=1" },
	{ "RP without ACS, endpoint",
	  "{'model': 'root-port', 'addr': '1', 'acs': false, 'devices': [" EP "]}",
	  "00:01.0=0 01:00.0=0" },
	{ "RP with ACS, switch without",
	  "{'model': 'root-port', 'addr': '1', 'devices': [{'model': 'upstream-port', 'devices': ["
	  "{'model': 'downstream-port', 'acs': false, 'devices': [" EP "]},"
	  "{'model': 'downstream-port', 'acs': false, 'devices': [" EP "]}]}]}",
	  "00:01.0=0 01:00.0=1 02:00.0=2 02:01.0=3 03:00.0=2 04:00.0=3" },
	{ "RP with ACS, two functions without",
	  "{'model': 'root-port', 'addr': '1', 'devices': [{'model': 'testdev', 'addr': '0.0'},"
	  "{'model': 'testdev', 'addr': '0.1'}]}",
	  "00:01.0=0 01:00.0=1 01:00.1=1" },
	{ "RP with ACS, PCIe-to-PCI bridge, two conventional",
	  "{'model': 'root-port', 'addr': '1', 'devices': [{'model': 'pcie-to-pci-bridge', "
	  "'devices': [" PCI_1 "," PCI_2 "]}]}",
	  "00:01.0=0 01:00.0=1 02:01.0=1 02:02.0=1" },
	{ "two RPs of one slot with ACS",
	  "{'model': 'root-port', 'addr': '1.0', 'devices': [" EP "]},"
	  "{'model': 'root-port', 'addr': '1.1', 'devices': [" EP "]}",
	  "00:01.0=0 00:01.1=1 01:00.0=2 02:00.0=3" },
	{ "conventional, root bus", PCI_4, "00:04.0=0" },
	{ "conventional, two functions, root bus", PCI_4_0 "," PCI_4_1, "00:04.0=0 00:04.1=0" },
	{ "chipset",
	  "{'model': 'dummy', 'class': 'isa-bridge', 'conventional': true, 'addr': '1f.0'},"
	  "{'model': 'dummy', 'class': 'sata', 'conventional': true, 'addr': '1f.2'},"
	  "{'model': 'dummy', 'class': 'smbus', 'conventional': true, 'addr': '1f.3'}",
	  "00:1f.0=0 00:1f.2=0 00:1f.3=0" },
	/* The same machine all at once: bus 0 first, then bus by bus. */
	{ "all of it",
	  "{'model': 'dummy', 'class': 'host-bridge', 'conventional': true},"
	  "{'model': 'root-port', 'addr': '1', 'devices': [" EP "]},"
	  "{'model': 'root-port', 'addr': '2', 'acs': false, 'devices': [" EP "]},"
	  "{'model': 'root-port', 'addr': '3', 'devices': [{'model': 'upstream-port', 'devices': ["
	  "{'model': 'downstream-port', 'acs': false, 'devices': [" EP "]},"
	  "{'model': 'downstream-port', 'acs': false, 'devices': [" EP "]}]}]},"
	  "{'model': 'root-port', 'addr': '4', 'devices': [{'model': 'testdev', 'addr': '0.0'},"
	  "{'model': 'testdev', 'addr': '0.1'}]},"
	  "{'model': 'root-port', 'addr': '5', 'devices': [{'model': 'pcie-to-pci-bridge', "
	  "'devices': [" PCI_1 "," PCI_2 "]}]},"
	  "{'model': 'root-port', 'addr': '6.0', 'devices': [" EP "]},"
	  "{'model': 'root-port', 'addr': '6.1', 'devices': [" EP "]}," PCI_7 "," PCI_8_0
	  "," PCI_8_1 ","
	  "{'model': 'dummy', 'class': 'isa-bridge', 'conventional': true, 'addr': '1f.0'},"
	  "{'model': 'dummy', 'class': 'sata', 'conventional': true, 'addr': '1f.2'}",
	  "00:00.0=0 00:01.0=1 00:02.0=2 00:03.0=3 00:04.0=4 00:05.0=5 00:06.0=6 00:06.1=7 "
	  "00:07.0=8 00:08.0=9 00:08.1=9 00:1f.0=10 00:1f.2=10 01:00.0=11 02:00.0=2 03:00.0=12 "
	  "04:00.0=13 04:01.0=14 05:00.0=13 06:00.0=14 07:00.0=15 07:00.1=15 08:00.0=16 09:01.0=16 "
	  "09:02.0=16 0a:00.0=17 0b:00.0=18" },
	/* By the rules. */
	{ "functions with ACS, mixed",
	  "{'model': 'root-port', 'devices': [{'model': 'testdev', 'addr': '0.0'},"
	  "{'model': 'testdev', 'addr': '0.1', 'acs': true}, {'model': 'testdev', 'addr': '0.2'}]}",
	  "00:00.0=0 01:00.0=1 01:00.1=2 01:00.2=1" },
	{ "RP without ACS, switch with",
	  "{'model': 'root-port', 'acs': 'off', 'devices': [{'model': 'upstream-port', 'devices': ["
	  "{'model': 'downstream-port', 'devices': [" EP "]}]}]}",
	  "00:00.0=0 01:00.0=0 02:00.0=0 03:00.0=0" },
	{ "conventional bridge",
	  "{'model': 'pci-bridge', 'addr': '1e', 'devices': [" PCI_0 ", {'model': 'pci-bridge', "
	  "'devices': [" PCI_3 "]}]}",
	  "00:1e.0=0 01:00.0=0 01:01.0=0 02:03.0=0" },
	{ "integrated endpoints, single",
	  "{'model': 'testdev', 'addr': '2'}, {'model': 'testdev', 'addr': '3'}",
	  "00:02.0=0 00:03.0=1" },
	{ "integrated endpoints, functions",
	  "{'model': 'testdev', 'addr': '2.0'}, {'model': 'testdev', 'addr': '2.1'}",
	  "00:02.0=0 00:02.1=0" },
	{ "an id for two",
	  "{'model': 'root-port', 'addr': '1', 'devices': [{'model': 'testdev', 'addr': '0.0', "
	  "'acs': true, 'dma_alias': '00.1'}, {'model': 'testdev', 'addr': '0.1', 'acs': true}]}",
	  "00:01.0=0 01:00.0=1 01:00.1=1" },
	{ "switch below switch",
	  "{'model': 'root-port', 'devices': [{'model': 'upstream-port', 'devices': ["
	  "{'model': 'downstream-port', 'devices': [{'model': 'upstream-port', 'devices': ["
	  "{'model': 'downstream-port', 'acs': false, 'devices': [" EP "]},"
	  "{'model': 'downstream-port', 'devices': [" EP "]}]}]}]}]}",
	  "00:00.0=0 01:00.0=1 02:00.0=2 03:00.0=3 04:00.0=4 04:01.0=5 05:00.0=4 06:00.0=6" },
};

static void assert_tree(struct machine *m, const char *name, const char *want)
{
	char got[1024] = "";
	size_t n = 0;

	for (unsigned i = 0; i < pcim_count(machine_pci(m)); i++) {
		struct pcif *f = pcim_function(machine_pci(m), i);

		n += (size_t)snprintf(got + n, sizeof(got) - n, "%s%s=%u", i ? " " : "",
				      pcif_name(f) + 5, pcif_group(f));
	}
	if (strcmp(got, want))
		fail_msg("%s:\n%s, not\n%s", name, got, want);
}

static void groups(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(shapes); i++) {
		struct machine *m = tree(shapes[i].devices);

		assert_tree(m, shapes[i].name, shapes[i].want);
		machine_free(m);
	}
}

/* Out and in again by the host: groups are found again, the lowest numbers first. */
static void remove_and_rescan(void **state)
{
	struct machine *m = tree(
		"{'model': 'root-port', 'addr': '1', 'devices': [{'model': 'pcie-to-pci-bridge', "
		"'devices': [" PCI_1 "," PCI_2 "]}]},"
		"{'model': 'root-port', 'addr': '2', 'devices': [" EP "]}");
	struct pcif *port;

	assert_tree(m, "before", "00:01.0=0 00:02.0=1 01:00.0=2 02:01.0=2 02:02.0=2 03:00.0=3");
	port = pcim_get(machine_pci(m), (struct pci_bdf){ 0, 0, 1, 0 });
	assert_int_equal(bus_remove(machine_bus(m), port, NULL), 0);
	pcif_put(port);
	assert_tree(m, "without", "00:02.0=1 03:00.0=3");
	assert_int_equal(bus_rescan(machine_bus(m), NULL, NULL), 4);
	assert_tree(m, "again", "00:01.0=0 00:02.0=1 01:00.0=2 02:01.0=2 02:02.0=2 03:00.0=3");
	machine_free(m);
}

/* ------------------------------------------------------------------ addresses and numbers */

static void numbers(void **state)
{
	static const struct {
		const char *json, *want;
	} files[] = {
		/* In order of address, whatever that of the file. */
		{ "{'root_buses': [{'devices': [{'model': 'root-port', 'addr': '5', 'devices': [" EP
		  "]}, {'model': 'root-port', 'addr': '02', 'devices': [" EP "]}]}]}",
		  "00:02.0=0 00:05.0=1 01:00.0=2 02:00.0=3" },
		/* The first number that is free. */
		{ "{'root_buses': [{'devices': [" EP ", {'model': 'testdev', 'addr': '0'}, " EP
		  ", {'model': 'testdev', 'addr': '1.0'}]}]}",
		  "00:00.0=0 00:01.0=1 00:02.0=2 00:03.0=3" },
		/* A number for a bus, by its key and by the address of what is on it. */
		{ "{'root_buses': [{'devices': [{'model': 'root-port', 'bus': '20', 'devices': [" EP
		  "]}, {'model': 'root-port', 'devices': [{'model': 'testdev', 'bdf': "
		  "'0000:65:00.0'}]}, {'model': 'root-port', 'devices': [" EP "]}]}]}",
		  "00:00.0=0 00:01.0=1 00:02.0=2 20:00.0=3 65:00.0=4 66:00.0=5" },
		/* Root buses in order of number; devices alone beside them. */
		{ "{'devices': [{'model': 'testdev', 'bdf': '0000:65:00.0'}, {'model': 'testdev'}],"
		  "'root_buses': [{'bus': '40', 'devices': [{'model': 'root-port', 'devices': [" EP
		  "]}]}, {'bus': '0000:10', 'devices': [{'model': 'root-port', 'devices': [" EP
		  "]}]}, {'bus': '0000:60', 'devices': []}]}",
		  "10:00.0=0 11:00.0=1 40:00.0=2 41:00.0=3 64:00.0=4 65:00.0=5 66:00.0=6 "
		  "67:00.0=7" },
		/* One that has no address stays off the numbers of a tree. */
		{ "{'devices': [{'model': 'testdev'}], 'root_buses': [{'bus': '64', 'devices': "
		  "[{'model': 'root-port', 'devices': [" EP "]}]}]}",
		  "64:00.0=0 65:00.0=1 66:00.0=2 67:00.0=3" },
		{ "{}", "" },
		{ "{'root_buses': []}", "" },
		{ "{'root_buses': [{}]}", "" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		char *json = quoted(files[i].json);
		struct machine_error err;
		struct machine *m;

		if (try_json(json, &m, &err))
			fail_msg("%s: %s", json, err.text);
		assert_tree(m, json, files[i].want);
		machine_free(m);
		free(json);
	}
}

static void domains(void **state)
{
	char *json = quoted("{'root_buses': [{'bus': '0001:00', 'numa_node': 1, 'devices': ["
			    "{'model': 'root-port', 'devices': [" EP "]}]},"
			    "{'bus': '0000:00', 'devices': [{'model': 'root-port', 'numa_node': 2, "
			    "'devices': [" EP "]}]}]}");
	struct machine_error err;
	struct machine *m;
	struct pcif *f;

	assert_int_equal(try_json(json, &m, &err), 0);
	f = pcim_find(machine_pci(m), (struct pci_bdf){ 1, 1, 0, 0 });
	assert_int_equal(pcif_numa_node(f), 1);
	assert_int_equal(pcif_group(f), 3);
	f = pcim_find(machine_pci(m), (struct pci_bdf){ 0, 1, 0, 0 });
	assert_int_equal(pcif_numa_node(f), 2);
	machine_free(m);
	free(json);
}

/* What functions of a tree are bound to. */
static void drivers(void **state)
{
	struct machine *m = tree("{'model': 'root-port', 'driver': 'none', 'devices': ["
				 "{'model': 'nvme', 'mem': '1M', 'driver': 'host'}]},"
				 "{'model': 'root-port', 'devices': [" EP "]}");
	const char *const want[] = { "none", "pcieport", "nvme", "vfio-pci" };

	for (unsigned i = 0; i < ARRAY_SIZE(want); i++) {
		const struct bus_driver *d =
			bus_driver_of(machine_bus(m), pcim_function(machine_pci(m), i));

		assert_string_equal(d ? d->name : "none", want[i]);
	}
	machine_free(m);
}

/* ------------------------------------------------------------------ whole groups */

static const char *driver_at(struct machine *m, const char *at)
{
	const struct bus_driver *d;
	struct pci_bdf bdf;
	struct pcif *f;

	assert_int_equal(pcif_bdf_parse(at, &bdf), 0);
	f = pcim_find(machine_pci(m), bdf);
	d = f ? bus_driver_of(machine_bus(m), f) : NULL;
	return !f ? "gone" : d ? d->name : "none";
}

static int give(struct machine *m, const char *at, const char *driver, struct pcif_reply_error *err)
{
	struct pci_bdf bdf;

	err->text[0] = 0;
	assert_int_equal(pcif_bdf_parse(at, &bdf), 0);
	return driver ? bus_group_bind(machine_bus(m), bdf, driver, NULL, err)
		      : bus_group_return(machine_bus(m), bdf, NULL, err);
}

#define PF_2_VFS "{'model': 'testdev', 'addr': '0.0', 'vfs': 2}"

/* VFs that share their PF's group end when its driver goes: that keeps nobody from the group. */
static void vfs_of_the_group(void **state)
{
	struct machine *m = tree("{'model': 'root-port', 'acs': false, 'devices': [" PF_2_VFS "]}");
	struct pcif *pf = pcim_find(machine_pci(m), (struct pci_bdf){ .bus = 1 });
	struct pcif_reply_error err;

	assert_int_equal(bus_sriov_set(machine_bus(m), pf, 2, NULL), 0);
	assert_tree(m, "VFs", "00:00.0=0 01:00.0=0 01:00.1=0 01:00.2=0");
	assert_int_equal(give(m, "01:00.0", "pci-stub", &err), 0);
	assert_string_equal(driver_at(m, "01:00.0"), "pci-stub");
	assert_string_equal(driver_at(m, "01:00.1"), "gone");
	assert_int_equal(give(m, "01:00.0", "vfio-pci", &err), 0);
	assert_int_equal(bus_sriov_set(machine_bus(m), pf, 2, NULL), 0);
	assert_string_equal(driver_at(m, "01:00.2"), "vfio-pci");
	assert_int_equal(give(m, "01:00.2", NULL, &err), 0);
	assert_string_equal(driver_at(m, "01:00.0"), "none");
	assert_string_equal(driver_at(m, "01:00.2"), "gone");
	machine_free(m);
}

/* Who spoils a group is named, and why; all is as it was, VFs included. */
static void spoilers(void **state)
{
	struct machine *m =
		tree("{'model': 'root-port', 'acs': false, 'devices': [" PF_2_VFS ","
		     "{'model': 'dummy', 'addr': '0.3', 'id': '8086:19e2', 'driver': 'none'}]},"
		     "{'model': 'root-port', 'devices': [{'model': 'nvme', 'mem': '1M', 'vfs': 2, "
		     "'vf_mem': '1M', 'driver': 'nvme'}]}");
	struct pcif *pf = pcim_find(machine_pci(m), (struct pci_bdf){ .bus = 1 });
	struct pcif *nvme = pcim_find(machine_pci(m), (struct pci_bdf){ .bus = 2 });
	struct pcif_reply_error err;

	assert_int_equal(bus_sriov_set(machine_bus(m), pf, 2, NULL), 0);
	assert_string_equal(driver_at(m, "01:00.4"), "vfio-pci");
	assert_int_equal(give(m, "01:00.0", "vfio-pci", &err), -EINVAL);
	assert_string_equal(err.text, "0000:01:00.3: vfio-pci refuses it: devices with its id have "
				      "known flaws, vfio-pci keeps them from users (denylist)");
	assert_int_equal(give(m, "01:00.0", "pcieport", &err), -ENODEV);
	assert_non_null(strstr(err.text, "0000:01:00.0: pcieport refuses it: "));
	assert_string_equal(driver_at(m, "01:00.0"), "vfio-pci");
	assert_string_equal(driver_at(m, "01:00.4"), "vfio-pci");
	assert_string_equal(driver_at(m, "01:00.5"), "vfio-pci");
	assert_string_equal(driver_at(m, "01:00.3"), "none");

	assert_int_equal(bus_sriov_set(machine_bus(m), nvme, 2, NULL), 0);
	assert_int_equal(give(m, "02:00.0", "vfio-pci", &err), -EBUSY);
	assert_string_equal(err.text,
			    "0000:02:00.0: vfio-pci refuses it: its virtual functions are "
			    "enabled; set their number to 0 first");
	assert_string_equal(driver_at(m, "02:00.0"), "nvme");
	assert_int_equal(pcif_num_vfs(nvme), 2);
	machine_free(m);
}

/* C3: by vendor and device; what others call so is nobody's business. */
static void denylist(void **state)
{
	static const char *const ids[] = { "0435", "0443", "0b25", "0cfe",
					   "19e2", "19e3", "37c8", "37c9" };
	struct pcif_reply_error err;

	for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
		struct machine *m;
		char *text;

		assert_true(asprintf(&text,
				     "{'model': 'dummy', 'addr': '1', 'id': '8086:%s', "
				     "'driver': 'none'}, {'model': 'dummy', 'addr': '2', "
				     "'id': '1234:%s', 'driver': 'none'}",
				     ids[i], ids[i]) > 0);
		m = tree(text);
		free(text);
		assert_int_equal(give(m, "00:01.0", "vfio-pci", &err), -EINVAL);
		assert_non_null(strstr(err.text, "denylist"));
		assert_string_equal(driver_at(m, "00:01.0"), "none");
		assert_int_equal(give(m, "00:01.0", "pci-stub", &err), 0);
		assert_int_equal(give(m, "00:02.0", "vfio-pci", &err), 0);
		machine_free(m);
	}
}

/* ------------------------------------------------------------------ errors */

static void errors(void **state)
{
	static const struct {
		const char *json, *text;
	} bad[] = {
		{ "{\n'root_buses': {}}", "m.json:2: \"root_buses\" is not an array" },
		{ "{'root_buses': [\n3]}", "m.json:2: a root bus is an object" },
		{ "{'root_buses': [{\n'colour': 1}]}",
		  "m.json:2: no key \"colour\" in a root bus; keys: bus, numa_node, devices" },
		{ "{'root_buses': [{\n'bus': 1}]}", "m.json:2: the \"bus\" of a root bus" },
		{ "{'root_buses': [{\n'bus': '0000:1'}]}", "m.json:2: the \"bus\" of a root bus" },
		{ "{'root_buses': [{\n'bus': '0000:0g'}]}", "m.json:2: the \"bus\"" },
		{ "{'root_buses': [{\n'numa_node': -1}]}", "m.json:2: \"numa_node\" is not" },
		{ "{'root_buses': [{},\n{}]}", "m.json:2: root bus 0000:00 is there already" },
		{ "{'root_buses': [{'devices': [{'model': 'root-port', 'bus': '05'}]},\n"
		  "{'devices': [],\n'bus': '02'}]}",
		  "m.json:3: bus 0000:02 is one of root bus 0000:00, whose last is 05; take a "
		  "number from 06 on" },
		{ "{'root_buses': [{\n'devices': 1}]}", "m.json:2: \"devices\" is not an array" },
		{ "{'root_buses': [{'devices': [{'model': 'root-port',\n'devices': {}}]}]}",
		  "m.json:2: \"devices\" is not an array" },
		{ "{'root_buses': [{'devices': [{'model': 'testdev',\n'devices': []}]}]}",
		  "m.json:2: testdev: no key \"devices\"" },
		{ "{'devices': [{'model': 'testdev',\n'devices': []}]}",
		  "m.json:2: testdev: no key \"devices\"" },
		{ "{'devices': [{'model': 'testdev'},\n{'model': 'root-port'}]}",
		  "m.json:2: a root-port needs a place in a tree" },
		{ "{'root_buses': [{'devices': [\n{'model': 'rootport'}]}]}",
		  "m.json:2: no device model \"rootport\"" },
		{ "{'root_buses': [{'devices': [\n{'model': 'rootport'}]}]}", "downstream-port" },
		{ "{'root_buses': [{'devices': [{'model': 'root-port',\n'colour': 'red'}]}]}",
		  "m.json:2: root-port: no key \"colour\"; keys: addr, bus, devices, bdf, driver, "
		  "acs, conventional, numa_node, dma_alias, slot" },
		{ "{'root_buses': [{'devices': [{'model': 'testdev',\n'bus': '01'}]}]}",
		  "m.json:2: testdev: no key \"bus\"; keys: addr, bdf" },
		{ "{'devices': [{'model': 'testdev',\n'addr': '01'}]}",
		  "m.json:2: testdev: no key \"addr\"; keys: bdf" },
		{ "{'root_buses': [{'devices': [{'model': 'testdev',\n'addr': 10}]}]}",
		  "m.json:2: \"addr\" is hexadecimal, so write it as a string: \"10\"" },
		{ "{'root_buses': [{'devices': [{'model': 'root-port',\n'bus': 10}]}]}",
		  "m.json:2: \"bus\" is hexadecimal" },
		{ "{'root_buses': [{'devices': [{'model': 'testdev',\n'addr': '20'}]}]}",
		  "m.json:2: testdev: addr=20 is no address on a bus" },
		{ "{'root_buses': [{'devices': [{'model': 'testdev',\n'addr': '1.8'}]}]}",
		  "m.json:2: testdev: addr=1.8" },
		{ "{'root_buses': [{'devices': [{'model': 'testdev',\n'addr': '001'}]}]}",
		  "m.json:2: testdev: addr=001" },
		{ "{'root_buses': [{'devices': [{'model': 'testdev',\n'addr': '1.'}]}]}",
		  "m.json:2: testdev: addr=1." },
		{ "{'root_buses': [{'devices': [{'model': 'root-port',\n'bus': '00'}]}]}",
		  "m.json:2: root-port: bus=00" },
		{ "{'root_buses': [{'devices': [{'model': 'testdev', 'bdf': '0000:00:01.0',\n"
		  "'addr': '1'}]}]}",
		  "m.json:2: both \"bdf\" and \"addr\"" },
		{ "{'root_buses': [{'devices': [{'model': 'testdev',\n'bdf': '0000:01:00.0'}]}]}",
		  "m.json:2: testdev: bdf=0000:01:00.0, but it sits on bus 0000:00" },
		{ "{'root_buses': [{'devices': [{'model': 'root-port', 'bus': '07', 'devices': [\n"
		  "{'model': 'testdev',\n'bdf': '0000:08:00.0'}]}]}]}",
		  "m.json:3: testdev: bdf=0000:08:00.0, but it sits on bus 0000:07" },
		{ "{'root_buses': [{'devices': [{'model': 'root-port', 'devices': ["
		  "{'model': 'testdev',\n'bdf': '0001:08:00.0'}]}]}]}",
		  "m.json:2: testdev: bdf=0001:08:00.0, but it sits on bus 0000:01" },
		{ "{'root_buses': [{'devices': [{'model': 'root-port', 'bus': '07'},\n"
		  "{'model': 'root-port',\n'bus': '03'}]}]}",
		  "m.json:3: 0000:00:01.0: bus 03: numbers up to 07 are in use by what comes "
		  "before; take one from 08 on" },
		{ "{'root_buses': [{'devices': [{'model': 'root-port', 'bus': 'ff'},\n"
		  "{'model': 'root-port'}]}]}",
		  "m.json:2: no bus number is left below root bus 0000:00" },
		{ "{'root_buses': [{'devices': [{'model': 'testdev', 'addr': '1'},\n"
		  "{'model': 'testdev', 'addr': '1.0'}]}]}",
		  "m.json:2: testdev at 0000:00:01.0: address is taken" },
		{ "{'root_buses': [{'devices': [{'model': 'testdev',\n'addr': '1.1'}]}]}",
		  "m.json:2: testdev at 0000:00:01.1: there is no function 0 beside it; add a "
		  "device at 0000:00:01.0" },
		{ "{'root_buses': [{'devices': [{'model': 'root-port', 'devices': [\n"
		  "{'model': 'testdev'},\n{'model': 'testdev'}]}]}]}",
		  "m.json:3: testdev at 0000:01:01.0: the link below a root port leads to device "
		  "00 only" },
		{ "{'root_buses': [{'devices': [{'model': 'root-port', 'devices': [\n"
		  "{'model': 'testdev', 'conventional': true}]}]}]}",
		  "m.json:2: testdev at 0000:01:00.0: a conventional function cannot be below a "
		  "root port; put a PCIe-to-PCI bridge between" },
		{ "{'root_buses': [{'devices': [{'model': 'pci-bridge', 'devices': [\n"
		  "{'model': 'testdev'}]}]}]}",
		  "m.json:2: testdev at 0000:01:00.0: an endpoint cannot be below a PCI bridge; "
		  "say conventional=on" },
		{ "{'root_buses': [{'devices': [\n{'model': 'upstream-port'}]}]}",
		  "m.json:2: upstream-port at 0000:00:00.0: an upstream port cannot be on a root "
		  "bus; put a root port between" },
		{ "{'devices': [\n{'model': 'testdev', 'conventional': true}]}",
		  "m.json:2: testdev: conventional=on: what is not PCI Express cannot be below a "
		  "root port" },
		{ "{'root_buses': [{'devices': [{'model': 'testdev',\n'acs': 3}]}]}",
		  "m.json:2: testdev at 0000:00:00.0: acs=3: say acs=off or acs=on" },
		{ "{'root_buses': [{'devices': [{'model': 'testdev', 'conventional': true,\n"
		  "'acs': true}]}]}",
		  "m.json:2: testdev at 0000:00:00.0: acs=on: a conventional function" },
		{ "{'root_buses': [{'devices': [{'model': 'root-port',\n'slot': 0}]}]}",
		  "m.json:2: root-port at 0000:00:00.0: slot=0: give a number" },
		{ "{'root_buses': [{'devices': [{'model': 'testdev'},\n{'model': 'testdev',\n"
		  "'addr': '1'}, {'model': 'testdev',\n'addr': '01.0'}]}]}",
		  "m.json:4: testdev at 0000:00:01.0: address is taken" },
		{ "{'devices': [\n{'model': 'testdev', 'bdf': '0000:02:00.0'}], 'root_buses': "
		  "[{'devices': [{'model': 'root-port', 'bus': '02'}]}]}",
		  "m.json:2: testdev at 0000:02:00.0: bus 02 is one of root bus 0000:00" },
		{ "{'root_buses': [{'devices': [\n{'model': 'dummy', 'class': 'sofa'}]}]}",
		  "class=sofa: give six hexadecimal digits, or one of host-bridge" },
		{ "{'root_buses': [{'devices': [\n{'model': 'dummy', 'id': '8086:10'}]}]}",
		  "m.json:2: dummy at 0000:00:00.0: id=8086:10: give vendor and device" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		char *json = quoted(bad[i].json);
		struct machine_error err;
		struct machine *m;

		if (!try_json(json, &m, &err))
			fail_msg("accepted: %s", json);
		if (!strstr(err.text, bad[i].text))
			fail_msg("%s\n\"%s\" does not say \"%s\"", json, err.text, bad[i].text);
		assert_null(strchr(err.text, '\n'));
		machine_free(m);
		free(json);
	}
}

/* @n times "text", and what is between. */
static char *repeat(const char *begin, const char *text, unsigned n, const char *end)
{
	size_t size = strlen(begin) + n * strlen(text) + strlen(end) + 1;
	char *all = malloc(size), *p;

	assert_non_null(all);
	p = stpcpy(all, begin);
	for (unsigned i = 0; i < n; i++)
		p = stpcpy(p, text);
	strcpy(p, end);
	return all;
}

static void limits(void **state)
{
	const char *open = "{'model': 'pci-bridge', 'devices': [";
	struct machine_error err;
	struct machine *m;

	for (unsigned deep = 32; deep <= 33; deep++) {
		char *begin = repeat("{'root_buses': [{'devices': [\n", open, deep, "");
		char *all = repeat(begin, "]}", deep, "]}]}");
		char *json = quoted(all);

		assert_int_equal(try_json(json, &m, &err), deep > 32 ? -E2BIG : 0);
		if (deep > 32)
			assert_non_null(strstr(err.text, "m.json:2: bridges are more than 32"));
		machine_free(m);
		free(json);
		free(all);
		free(begin);
	}
	/* As many devices as there can be, in places that there are not. */
	for (unsigned n = 1024; n <= 1025; n++) {
		char *all = repeat("{'root_buses': [{'devices': [\n", "{'model': 'testdev'},",
				   n - 1, "{'model': 'testdev'}]}]}");
		char *json = quoted(all);
		int r = try_json(json, &m, &err);

		assert_int_equal(r, n > 1024 ? -E2BIG : -ENOSPC);
		assert_non_null(strstr(err.text, n > 1024 ? "more devices than a machine"
							  : "no device number is free"));
		machine_free(m);
		free(json);
		free(all);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(groups),   cmocka_unit_test(remove_and_rescan),
		cmocka_unit_test(numbers),  cmocka_unit_test(domains),
		cmocka_unit_test(drivers),  cmocka_unit_test(vfs_of_the_group),
		cmocka_unit_test(spoilers), cmocka_unit_test(denylist),
		cmocka_unit_test(errors),   cmocka_unit_test(limits),
	};

	return cmocka_run_group_tests_name("machine_tree", tests, NULL, NULL);
}
