/* SPDX-License-Identifier: BSD-3-Clause */
/* The tree: ports, bus numbers, addresses, and isolation groups of every shape. */
#include "pci/priv.h"
#include "pci_test.h"

static struct pcim *machine_of(const char *const list[], unsigned n)
{
	struct pcif_reply_error err = { "" };
	struct pcim *m;

	assert_int_equal(pcim_new(&m), 0);
	for (unsigned i = 0; i < n; i++) {
		struct pci_bdf bdf;

		assert_int_equal(pcif_bdf_parse(list[i], &bdf), 0);
		assert_int_equal(pcim_add(m, bdf, &tm_model, NULL, &err), 0);
	}
	return m;
}

static struct pcif *find(struct pcim *m, const char *text)
{
	struct pci_bdf bdf;

	assert_int_equal(pcif_bdf_parse(text, &bdf), 0);
	return pcim_find(m, bdf);
}

static void one_device(void **state)
{
	static const char *const list[] = { "65:00.0" };
	struct pcim *m = machine_of(list, 1);
	struct pcif *f, *port;
	uint8_t secondary, subordinate;

	assert_int_equal(pcim_enumerate(m), 0);
	assert_int_equal(pcim_enumerate(m), -EINVAL);
	assert_int_equal(pcim_count(m), 2);
	port = pcim_function(m, 0);
	f = pcim_function(m, 1);
	assert_null(pcim_function(m, 2));
	assert_string_equal(pcif_name(port), "0000:64:00.0");
	assert_string_equal(pcif_model_name(port), "root-port");
	assert_string_equal(pcif_name(f), "0000:65:00.0");
	assert_string_equal(pcif_model_name(f), "tm");
	assert_true(pcif_is_bridge(port));
	assert_false(pcif_is_bridge(f));
	assert_ptr_equal(pcif_parent(f), port);
	assert_null(pcif_parent(port));
	assert_int_equal(pcif_root_bus(f), 0x64);
	assert_int_equal(pcif_root_bus(port), 0x64);
	pcif_bridge_buses(port, &secondary, &subordinate);
	assert_int_equal(secondary, 0x65);
	assert_int_equal(subordinate, 0x65);
	assert_int_equal(pcim_group_count(m), 2);
	assert_int_equal(pcif_group(port), 0);
	assert_int_equal(pcif_group(f), 1);
	pcim_free(m);
}

/* What a bus scan reads from the port, against where the BARs below are. */
static void port_registers(void **state)
{
	static const char *const list[] = { "65:00.0" };
	struct pcim *m = machine_of(list, 1);
	struct pcif *port, *f;
	unsigned acs;
	uint64_t first, last;

	assert_int_equal(pcim_enumerate(m), 0);
	port = pcim_function(m, 0);
	f = pcim_function(m, 1);
	assert_int_equal(pcif_config_read(port, PCI_HEADER_TYPE, 1), PCI_HEADER_TYPE_BRIDGE);
	assert_int_equal(pcif_config_read(port, PCI_CLASS_REVISION, 4) >> 8, 0x060400);
	assert_int_equal(pcif_config_read(port, PCI_PRIMARY_BUS, 4), 0x00656564);
	assert_int_equal(pcif_config_read(port, pcif_find_cap(port, PCI_CAP_ID_EXP) + 2, 2), 0x42);
	acs = pcif_find_ext_cap(port, PCI_EXT_CAP_ID_ACS);
	assert_int_not_equal(acs, 0);
	assert_int_equal(pcif_config_read(port, acs + 4, 4), 0x001d001d);

	first = (uint64_t)pcif_config_read(port, PCI_MEMORY_BASE, 2) << 16;
	last = (uint64_t)pcif_config_read(port, PCI_MEMORY_LIMIT, 2) << 16 | 0xfffff;
	assert_int_equal(pcif_bar_address(f, 0), 0x80000000);
	assert_true(pcif_bar_address(f, 0) >= first && pcif_bar_address(f, 0) + 0x3fff <= last);
	first = (uint64_t)pcif_config_read(port, PCI_PREF_BASE_UPPER32, 4) << 32 |
		(pcif_config_read(port, PCI_PREF_MEMORY_BASE, 2) & 0xfff0) << 16;
	last = (uint64_t)pcif_config_read(port, PCI_PREF_LIMIT_UPPER32, 4) << 32 |
	       (pcif_config_read(port, PCI_PREF_MEMORY_LIMIT, 2) & 0xfff0) << 16 | 0xfffff;
	assert_int_equal(pcif_bar_address(f, 2), 0x380000000000);
	assert_true(pcif_bar_address(f, 2) >= first && pcif_bar_address(f, 2) + 0x7fff <= last);
	first = (pcif_config_read(port, PCI_IO_BASE, 1) & 0xf0) << 8;
	last = (pcif_config_read(port, PCI_IO_LIMIT, 1) & 0xf0) << 8 | 0xfff;
	assert_true(pcif_bar_address(f, 4) >= first && pcif_bar_address(f, 4) + 31 <= last);
	assert_int_equal(pcif_bar_address(f, 1), 0);
	assert_int_equal(pcif_bar_address(f, 9), 0);

	/* The same in the device's own registers. */
	assert_int_equal(pcif_config_read(f, PCI_BASE_ADDRESS_0, 4), 0x80000000);
	assert_int_equal(pcif_config_read(f, PCI_BASE_ADDRESS_2, 4), 0xc);
	assert_int_equal(pcif_config_read(f, PCI_BASE_ADDRESS_3, 4), 0x3800);
	assert_int_equal(pcif_config_read(f, PCI_BASE_ADDRESS_4, 4), 0x1001);

	/* A reset of the port forgets nothing of what the platform set. */
	pcif_reset(port);
	assert_int_equal(pcif_config_read(port, PCI_PRIMARY_BUS, 4), 0x00656564);
	assert_int_equal(pcif_config_read(port, PCI_COMMAND, 2), 0x0107);
	/* Resetting the bus below resets the device, once per edge. */
	pcif_config_write(port, PCI_BRIDGE_CONTROL, 2, PCI_BRIDGE_CTL_BUS_RESET);
	pcif_config_write(port, PCI_BRIDGE_CONTROL, 2, PCI_BRIDGE_CTL_BUS_RESET);
	pcif_config_write(port, PCI_BRIDGE_CONTROL, 2, 0);
	assert_int_equal(pcif_reset_count(f), 1);
	pcim_free(m);
}

static void many_buses(void **state)
{
	static const char *const list[] = { "67:00.0", "65:00.0",      "66:00.0", "70:00.0",
					    "01:00.0", "0001:65:00.0", "ff:00.0" };
	static const struct {
		const char *port;
		uint8_t bus;
	} want[] = { { "00:00.0", 0x01 }, { "64:00.0", 0x65 }, { "64:01.0", 0x66 },
		     { "64:02.0", 0x67 }, { "6f:00.0", 0x70 }, { "0001:64:00.0", 0x65 },
		     { "fe:00.0", 0xff } };
	struct pcim *m = machine_of(list, ARRAY_SIZE(list));
	uint8_t secondary, subordinate;

	assert_int_equal(pcim_enumerate(m), 0);
	assert_int_equal(pcim_count(m), 2 * ARRAY_SIZE(list));
	for (unsigned i = 0; i < ARRAY_SIZE(want); i++) {
		struct pcif *port = find(m, want[i].port);

		assert_non_null(port);
		assert_true(pcif_is_bridge(port));
		pcif_bridge_buses(port, &secondary, &subordinate);
		assert_int_equal(secondary, want[i].bus);
	}
	assert_ptr_equal(pcif_parent(find(m, "66:00.0")), find(m, "64:01.0"));
	assert_int_equal(pcif_root_bus(find(m, "67:00.0")), 0x64);
	assert_int_equal(pcim_group_count(m), 2 * ARRAY_SIZE(list));
	/* In order of address, and no address is used twice. */
	for (unsigned i = 0; i < pcim_count(m); i++) {
		struct pcif *a = pcim_function(m, i);

		assert_int_equal(pcif_group(a), i);
		for (unsigned k = 0; k < i; k++) {
			struct pcif *b = pcim_function(m, k);

			for (unsigned x = 0; x < 5 && !pcif_is_bridge(a) && !pcif_is_bridge(b); x++)
				assert_true(!pcif_bar_address(a, x) ||
					    pcif_bar_address(a, x) != pcif_bar_address(b, x));
		}
	}
	pcim_free(m);
}

/* All buses that there are: the ports fill functions once slots are out. */
static void full_domain(void **state)
{
	struct pcim *m;

	tm_desc.bars[4].type = PCIF_BAR_NONE; /* I/O space would run out */
	assert_int_equal(pcim_new(&m), 0);
	for (unsigned b = 1; b < 256; b++)
		assert_int_equal(
			pcim_add(m, (struct pci_bdf){ 0, (uint8_t)b, 0, 0 }, &tm_model, NULL, NULL),
			0);
	assert_int_equal(pcim_enumerate(m), 0);
	assert_int_equal(pcim_count(m), 510);
	assert_int_equal(pcim_group_count(m), 510);
	assert_ptr_equal(pcif_parent(find(m, "ff:00.0")), find(m, "00:1e.7"));
	assert_int_equal(pcif_config_read(find(m, "00:00.0"), PCI_HEADER_TYPE, 1), 0x81);
	assert_int_equal(pcif_config_read(find(m, "00:1e.7"), PCI_HEADER_TYPE, 1), 0x01);
	pcim_free(m);
}

static void multifunction(void **state)
{
	static const char *const list[] = { "65:00.1", "65:00.0" };
	struct pcim *m = machine_of(list, 2);

	assert_int_equal(pcim_enumerate(m), 0);
	assert_int_equal(pcim_count(m), 3);
	assert_int_equal(pcif_config_read(find(m, "65:00.0"), PCI_HEADER_TYPE, 1), 0x80);
	assert_int_equal(pcif_config_read(find(m, "65:00.1"), PCI_HEADER_TYPE, 1), 0);
	assert_int_equal(pcim_group_count(m), 2);
	assert_int_equal(pcif_group(find(m, "65:00.0")), pcif_group(find(m, "65:00.1")));
	assert_int_not_equal(pcif_bar_address(find(m, "65:00.0"), 0),
			     pcif_bar_address(find(m, "65:00.1"), 0));
	pcim_free(m);
}

static void refusals(void **state)
{
	static const struct pci_bdf bad[] = {
		{ 0, 0, 0, 0 },	      { 0, 1, 1, 0 },  { 0, 1, 0, 8 },
		{ 0x10000, 1, 0, 0 }, { 0, 1, 32, 0 },
	};
	static const char *const orphan[] = { "65:00.1" };
	struct pcif_reply_error err = { "" };
	struct pcif_params *params;
	struct pcim *m;

	assert_int_equal(pcim_new(&m), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		err.text[0] = 0;
		assert_int_equal(pcim_add(m, bad[i], &tm_model, NULL, &err), -EINVAL);
		assert_int_not_equal(err.text[0], 0);
	}
	assert_int_equal(pcim_add(m, tm_bdf, &tm_model, NULL, &err), 0);
	assert_int_equal(pcim_add(m, tm_bdf, &tm_model, NULL, &err), -EEXIST);
	assert_int_equal(pcim_params_new(&params), 0);
	assert_int_equal(pcim_params_set(params, "fail", "grace"), 0);
	assert_int_equal(pcim_params_set(params, "fail", "again"), -EEXIST);
	assert_int_equal(pcim_params_set(params, "x", "1"), 0);
	assert_string_equal(pcif_param(params, "x"), "1");
	assert_null(pcif_param(params, "y"));
	assert_int_equal(pcim_add(m, (struct pci_bdf){ 0, 1, 0, 0 }, &tm_model, params, &err),
			 -ENOSPC);
	assert_string_equal(err.text, "told to fail with grace");
	pcim_params_free(params);
	pcim_params_free(NULL);
	assert_int_equal(pcim_enumerate(m), 0);
	assert_int_equal(pcim_add(m, (struct pci_bdf){ 0, 1, 0, 0 }, &tm_model, NULL, &err),
			 -EINVAL);
	pcim_free(m);
	pcim_free(NULL);

	m = machine_of(orphan, 1);
	assert_int_equal(pcim_enumerate(m), -EINVAL);
	pcim_free(m);
	/* Does not fit below 4 GiB. */
	tm_desc.bars[0].size = GIB(1);
	tm_desc.bars[1] = tm_desc.bars[0];
	m = machine_of(orphan, 0);
	assert_int_equal(pcim_add(m, tm_bdf, &tm_model, NULL, &err), 0);
	assert_int_equal(pcim_enumerate(m), -ENOSPC);
	pcim_free(m);
	/* A large 64-bit one does, prefetchable or not. */
	tm_desc = tm_full_desc();
	tm_desc.bars[2].size = GIB(64);
	tm_desc.bars[2].prefetchable = false;
	m = machine_of(orphan, 0);
	assert_int_equal(pcim_add(m, tm_bdf, &tm_model, NULL, &err), 0);
	assert_int_equal(pcim_enumerate(m), 0);
	assert_int_equal(pcif_bar_address(pcim_find(m, tm_bdf), 2) % GIB(64), 0);
	pcim_free(m);
}

/* ------------------------------------------------------------------ groups */

#define N(k, up, b, d, f, ...)                                                                     \
	{                                                                                          \
		.kind = GROUP_##k, .above = (up), .bdf = { 0, b, d, f }, .alias_devfn = -1,        \
		__VA_ARGS__                                                                        \
	}

struct shape {
	const char *name;
	const char *want; /* a letter for each node */
	struct group_node nodes[12];
};

static const struct shape shapes[] = {
	/* The table that was measured on a real kernel. */
	{ "host bridge", "a", { N(CONVENTIONAL, -1, 0, 0, 0) } },
	{ "port with ACS, endpoint",
	  "ab",
	  { N(ROOT_PORT, -1, 0, 1, 0, .acs = true), N(ENDPOINT, 0, 1, 0, 0) } },
	{ "port without ACS, endpoint",
	  "aa",
	  { N(ROOT_PORT, -1, 0, 1, 0), N(ENDPOINT, 0, 1, 0, 0) } },
	{ "switch without ACS below port with ACS",
	  "abcdcd",
	  { N(ROOT_PORT, -1, 0, 1, 0, .acs = true), N(UPSTREAM, 0, 1, 0, 0),
	    N(DOWNSTREAM, 1, 2, 0, 0), N(DOWNSTREAM, 1, 2, 1, 0), N(ENDPOINT, 2, 3, 0, 0),
	    N(ENDPOINT, 3, 4, 0, 0) } },
	{ "two functions without ACS",
	  "abb",
	  { N(ROOT_PORT, -1, 0, 1, 0, .acs = true), N(ENDPOINT, 0, 1, 0, 0, .multifunction = true),
	    N(ENDPOINT, 0, 1, 0, 1) } },
	{ "PCIe-to-PCI bridge, two devices",
	  "abbb",
	  { N(ROOT_PORT, -1, 0, 1, 0, .acs = true), N(PCIE_TO_PCI, 0, 1, 0, 0),
	    N(CONVENTIONAL, 1, 2, 1, 0), N(CONVENTIONAL, 1, 2, 2, 0) } },
	{ "two ports of one slot with ACS",
	  "abcd",
	  { N(ROOT_PORT, -1, 0, 1, 0, .acs = true, .multifunction = true),
	    N(ROOT_PORT, -1, 0, 1, 1, .acs = true), N(ENDPOINT, 0, 1, 0, 0),
	    N(ENDPOINT, 1, 2, 0, 0) } },
	{ "conventional, two functions, root bus",
	  "aa",
	  { N(CONVENTIONAL, -1, 0, 3, 0, .multifunction = true), N(CONVENTIONAL, -1, 0, 3, 1) } },
	{ "chipset without ACS",
	  "aaa",
	  { N(CONVENTIONAL, -1, 0, 0x1f, 0, .multifunction = true), N(CONVENTIONAL, -1, 0, 0x1f, 2),
	    N(CONVENTIONAL, -1, 0, 0x1f, 3) } },
	/* By the rules. */
	{ "two functions with ACS",
	  "abc",
	  { N(ROOT_PORT, -1, 0, 1, 0, .acs = true),
	    N(ENDPOINT, 0, 1, 0, 0, .multifunction = true, .acs = true),
	    N(ENDPOINT, 0, 1, 0, 1, .acs = true) } },
	{ "mixed slot",
	  "abcbd",
	  { N(ROOT_PORT, -1, 0, 1, 0, .acs = true), N(ENDPOINT, 0, 1, 0, 0, .multifunction = true),
	    N(ENDPOINT, 0, 1, 0, 1, .acs = true), N(ENDPOINT, 0, 1, 0, 2),
	    N(ENDPOINT, 0, 1, 0, 3, .acs = true) } },
	{ "two ports of one slot without ACS",
	  "aaaa",
	  { N(ROOT_PORT, -1, 0, 1, 0, .multifunction = true), N(ROOT_PORT, -1, 0, 1, 1),
	    N(ENDPOINT, 0, 1, 0, 0), N(ENDPOINT, 1, 2, 0, 0) } },
	{ "downstream ports of one slot without ACS",
	  "abcccc",
	  { N(ROOT_PORT, -1, 0, 1, 0, .acs = true), N(UPSTREAM, 0, 1, 0, 0),
	    N(DOWNSTREAM, 1, 2, 0, 0, .multifunction = true), N(DOWNSTREAM, 1, 2, 0, 1),
	    N(ENDPOINT, 2, 3, 0, 0), N(ENDPOINT, 3, 4, 0, 0) } },
	{ "switch with ACS below port without",
	  "aaaaaa",
	  { N(ROOT_PORT, -1, 0, 1, 0), N(UPSTREAM, 0, 1, 0, 0),
	    N(DOWNSTREAM, 1, 2, 0, 0, .acs = true), N(DOWNSTREAM, 1, 2, 1, 0, .acs = true),
	    N(ENDPOINT, 2, 3, 0, 0), N(ENDPOINT, 3, 4, 0, 0) } },
	{ "conventional bridge on the root bus",
	  "aab",
	  { N(CONVENTIONAL_BRIDGE, -1, 0, 2, 0), N(CONVENTIONAL, 0, 1, 0, 0),
	    N(CONVENTIONAL, -1, 0, 3, 0) } },
	{ "event collector, RC endpoints",
	  "abcc",
	  { N(RC_EVENT_COLLECTOR, -1, 0, 4, 0), N(RC_ENDPOINT, -1, 0, 5, 0),
	    N(RC_ENDPOINT, -1, 0, 6, 0, .multifunction = true), N(RC_ENDPOINT, -1, 0, 6, 1) } },
	{ "PCI-to-PCIe bridge behind a conventional one",
	  "aaaa",
	  { N(CONVENTIONAL_BRIDGE, -1, 0, 2, 0), N(PCI_TO_PCIE, 0, 1, 0, 0),
	    N(ENDPOINT, 1, 2, 0, 0), N(CONVENTIONAL, 0, 1, 1, 0) } },
	{ "VFs below a port with ACS",
	  "abcd",
	  { N(ROOT_PORT, -1, 0, 1, 0, .acs = true), N(ENDPOINT, 0, 1, 0, 0),
	    N(ENDPOINT, 0, 1, 0x10, 0, .vf = true), N(ENDPOINT, 0, 2, 0x10, 2, .vf = true) } },
	{ "VFs below a port without ACS",
	  "aaaa",
	  { N(ROOT_PORT, -1, 0, 1, 0), N(ENDPOINT, 0, 1, 0, 0),
	    N(ENDPOINT, 0, 1, 0x10, 0, .vf = true), N(ENDPOINT, 0, 2, 0x10, 2, .vf = true) } },
	{ "a function that also uses its neighbour's id",
	  "abbc",
	  { N(ROOT_PORT, -1, 0, 1, 0, .acs = true),
	    N(ENDPOINT, 0, 1, 0, 0),
	    { .kind = GROUP_ENDPOINT, .above = 0, .bdf = { 0, 1, 1, 0 }, .alias_devfn = 0 },
	    N(ENDPOINT, 0, 1, 2, 0) } },
	{ "two that use the id of a third",
	  "abbb",
	  { N(ROOT_PORT, -1, 0, 1, 0, .acs = true),
	    { .kind = GROUP_ENDPOINT, .above = 0, .bdf = { 0, 1, 0, 0 }, .alias_devfn = 0x10 },
	    { .kind = GROUP_ENDPOINT, .above = 0, .bdf = { 0, 1, 1, 0 }, .alias_devfn = 0x10 },
	    N(ENDPOINT, 0, 1, 2, 0) } },
	{ "two that use an id that nobody has",
	  "abc",
	  { N(ROOT_PORT, -1, 0, 1, 0, .acs = true),
	    { .kind = GROUP_ENDPOINT, .above = 0, .bdf = { 0, 1, 0, 0 }, .alias_devfn = 0x10 },
	    { .kind = GROUP_ENDPOINT, .above = 0, .bdf = { 0, 1, 1, 0 }, .alias_devfn = 0x10 } } },
	/* By the neighbours of a slot that is not isolating, one of which has another's id. */
	{ "an id of a function in a slot without ACS",
	  "abbb",
	  { N(ROOT_PORT, -1, 0, 1, 0, .acs = true),
	    N(ENDPOINT, 0, 1, 0, 0, .multifunction = true),
	    { .kind = GROUP_ENDPOINT, .above = 0, .bdf = { 0, 1, 0, 1 }, .alias_devfn = 8 },
	    N(ENDPOINT, 0, 1, 1, 0) } },
};

static void group_shapes(void **state)
{
	for (unsigned s = 0; s < ARRAY_SIZE(shapes); s++) {
		struct group_node nodes[12];
		char got[13] = "";
		unsigned n = (unsigned)strlen(shapes[s].want);

		memcpy(nodes, shapes[s].nodes, sizeof(nodes));
		for (unsigned i = 0; i < n; i++)
			nodes[i].group = GROUP_NONE;
		assert_int_equal(group_assign(nodes, n), 0);
		for (unsigned i = 0; i < n; i++) {
			assert_in_range(nodes[i].group, 0, n - 1);
			got[i] = (char)('a' + nodes[i].group);
		}
		if (strcmp(got, shapes[s].want))
			fail_msg("%s: groups %s, not %s", shapes[s].name, got, shapes[s].want);
	}
	assert_int_equal(group_assign(NULL, 0), 0);
}

/* Numbers stay with who has them; a new group gets the lowest that is free. */
static void group_numbers(void **state)
{
	struct group_node nodes[] = {
		N(ROOT_PORT, GROUP_NONE, 0, 0, 0, .acs = true),
		N(ROOT_PORT, GROUP_NONE, 0, 1, 0, .acs = true),
		N(ENDPOINT, 1, 2, 0, 0),
		N(ENDPOINT, 0, 1, 0, 0),
	};
	const int before[] = { 2, 0, GROUP_NONE, GROUP_NONE };
	const int want[] = { 2, 0, 1, 3 };

	for (unsigned i = 0; i < ARRAY_SIZE(nodes); i++)
		nodes[i].group = before[i];
	assert_int_equal(group_assign(nodes, ARRAY_SIZE(nodes)), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(nodes); i++)
		assert_int_equal(nodes[i].group, want[i]);
}

/* Out of the tree and found again; who has a reference goes on. */
static void unplug(void **state)
{
	struct pcim_list list;
	struct pcif *f, *port;
	struct pcim *m;

	tm_machine(&m);
	f = pcim_get(m, tm_bdf);
	assert_non_null(f);
	port = pcif_parent(f);
	assert_true(pcif_present(f));
	assert_int_equal(pcim_unplug(f), 0);
	assert_int_equal(pcim_unplug(f), -ENODEV);
	assert_false(pcif_present(f));
	assert_null(pcim_get(m, tm_bdf));
	assert_int_equal(pcif_config_read(f, 0, 2), pcif_desc(f)->vendor);
	/* Not before its port. */
	assert_int_equal(pcim_unplug(port), 0);
	assert_int_equal(pcim_list(m, &list), 0);
	for (unsigned i = 0; i < list.n; i++)
		assert_true(list.f[i] != f && list.f[i] != port);
	pcim_list_free(&list);
	assert_int_equal(pcim_plug(m, NULL), 2);
	assert_int_equal(pcim_plug(m, NULL), 0);
	assert_true(pcif_present(f) && pcif_present(port));
	assert_ptr_equal(pcim_find(m, tm_bdf), f);
	pcif_put(f);
	pcim_free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		tm_test(one_device),   tm_test(port_registers), tm_test(many_buses),
		tm_test(full_domain),  tm_test(multifunction),	tm_test(refusals),
		tm_test(group_shapes), tm_test(group_numbers),	tm_test(unplug),
	};

	return cmocka_run_group_tests_name("pci_tree", tests, NULL, NULL);
}
