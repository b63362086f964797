/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Trees that are built by hand: each kind of bridge, where it may sit, bus numbers, windows of
 * windows, resets of everything below, and why functions share a group.
 */
#include "pci/priv.h"
#include "pci_test.h"

/* "key=value key=value" as parameters. */
static struct pcif_params *params_of(const char *keys)
{
	char copy[128], *rest = copy, *word;
	struct pcif_params *params;

	snprintf(copy, sizeof(copy), "%s", keys ? keys : "");
	assert_int_equal(pcim_params_new(&params), 0);
	while ((word = strsep(&rest, " "))) {
		char *value = strchr(word, '=');

		if (!value)
			continue;
		*value++ = 0;
		assert_int_equal(pcim_params_set(params, word, value), 0);
	}
	return params;
}

static const struct pcif_model *model_of(const char *name)
{
	for (unsigned i = 0; pcim_bridge_models[i]; i++)
		if (!strcmp(pcim_bridge_models[i]->name, name))
			return pcim_bridge_models[i];
	assert_string_equal(name, "tm");
	return &tm_model;
}

static int try_add(struct pcim *m, const char *at, const char *model, const char *keys,
		   struct pcif_reply_error *err, struct pcif **f)
{
	struct pcif_params *params = params_of(keys);
	struct pci_bdf bdf;
	int rc;

	err->text[0] = 0;
	assert_int_equal(pcif_bdf_parse(at, &bdf), 0);
	rc = pcim_add_on_bus(m, bdf, model_of(model), params, err, f);
	pcim_params_free(params);
	return rc;
}

static struct pcif *add(struct pcim *m, const char *at, const char *model, const char *keys)
{
	struct pcif_reply_error err;
	struct pcif *f = NULL;

	if (try_add(m, at, model, keys, &err, &f))
		fail_msg("%s: %s", at, err.text);
	return f;
}

/* The same for a bridge, whose bus gets the next number. */
static struct pcif *add_bridge(struct pcim *m, const char *at, const char *model, const char *keys)
{
	struct pcif *f = add(m, at, model, keys);
	struct pcif_reply_error err;
	uint8_t bus;

	assert_int_equal(pcim_open_bus(f, 0, &err, &bus), 0);
	return f;
}

static struct pcim *machine(void)
{
	struct pcim *m;

	assert_int_equal(pcim_new(&m), 0);
	assert_int_equal(pcim_add_root_bus(m, 0, 0, -1, NULL), 0);
	return m;
}

static struct pcif *find(struct pcim *m, const char *text)
{
	struct pci_bdf bdf;

	assert_int_equal(pcif_bdf_parse(text, &bdf), 0);
	return pcim_find(m, bdf);
}

static unsigned express(struct pcif *f, unsigned offset, unsigned size)
{
	return pcif_config_read(f, pcif_find_cap(f, PCI_CAP_ID_EXP) + offset, size);
}

/* What each kind of function has in its configuration space. */
static void kinds(void **state)
{
	struct pcim *m = machine();
	struct pcif *port, *up, *down, *slot, *p2p, *pci, *rc, *old, *end;
	unsigned acs;

	port = add_bridge(m, "00:01.0", "root-port", "acs=off");
	pci = add(m, "00:1e.0", "pci-bridge", NULL);
	rc = add(m, "00:02.0", "tm", NULL);
	old = add(m, "00:03.0", "tm", "conventional=on");
	up = add_bridge(m, "01:00.0", "upstream-port", NULL);
	down = add(m, "02:00.0", "downstream-port", NULL);
	slot = add(m, "02:01.0", "downstream-port", "slot=7");
	assert_int_equal(pcim_open_bus(down, 0, NULL, &(uint8_t){ 0 }), 0);
	end = add(m, "03:00.0", "tm", "acs=on");
	assert_int_equal(pcim_open_bus(slot, 0, NULL, &(uint8_t){ 0 }), 0);
	p2p = add_bridge(m, "04:00.0", "pcie-to-pci-bridge", NULL);
	assert_int_equal(pcim_open_bus(pci, 0, NULL, &(uint8_t){ 0 }), 0);
	assert_int_equal(pcim_enumerate(m), 0);

	assert_string_equal(pcif_type_name(port), "root port");
	assert_string_equal(pcif_type_name(pci), "PCI bridge");
	assert_string_equal(pcif_type_name(rc), "integrated endpoint");
	assert_string_equal(pcif_type_name(old), "conventional function");
	assert_string_equal(pcif_type_name(end), "endpoint");
	assert_int_equal(express(port, PCI_EXP_FLAGS, 2), 0x42);
	assert_int_equal(express(up, PCI_EXP_FLAGS, 2), 0x52);
	assert_int_equal(express(down, PCI_EXP_FLAGS, 2), 0x62);
	assert_int_equal(express(slot, PCI_EXP_FLAGS, 2), 0x162);
	assert_int_equal(express(p2p, PCI_EXP_FLAGS, 2), 0x72);
	assert_int_equal(express(rc, PCI_EXP_FLAGS, 2), 0x92);
	assert_int_equal(express(end, PCI_EXP_FLAGS, 2), 0x02);
	assert_int_equal(pcif_find_cap(pci, PCI_CAP_ID_EXP), 0);
	assert_int_equal(pcif_find_cap(old, PCI_CAP_ID_EXP), 0);
	assert_int_equal(pcif_config_size(pci), 256);
	assert_int_equal(pcif_config_size(old), 256);
	assert_int_equal(pcif_config_size(p2p), 4096);

	/* FLR is for endpoints; where its bit would be a bridge has another, which resets nothing.
	 */
	assert_int_equal(express(end, PCI_EXP_DEVCAP, 4) & PCI_EXP_DEVCAP_FLR, PCI_EXP_DEVCAP_FLR);
	assert_int_equal(express(p2p, PCI_EXP_DEVCAP, 4) & PCI_EXP_DEVCAP_FLR, 0);
	pcif_config_write(p2p, pcif_find_cap(p2p, PCI_CAP_ID_EXP) + PCI_EXP_DEVCTL, 2, 0x8000);
	assert_int_equal(express(p2p, PCI_EXP_DEVCTL, 2), 0x8000);
	assert_int_equal(pcif_reset_count(p2p), 0);

	/* A slot has a number and a device in it; a link that leads nowhere is down. */
	assert_int_equal(express(slot, PCI_EXP_SLTCAP, 4) >> 19, 7);
	assert_int_equal(express(slot, PCI_EXP_SLTSTA, 2), PCI_EXP_SLTSTA_PDS);
	assert_int_equal(express(slot, PCI_EXP_LNKSTA, 2) & PCI_EXP_LNKSTA_DLLLA,
			 PCI_EXP_LNKSTA_DLLLA);
	assert_int_equal(express(rc, PCI_EXP_LNKCAP, 4), 0);
	assert_int_equal(express(down, PCI_EXP_LNKCAP, 4) >> 24, 3);

	/* ACS: off here, on by default there, fewer bits in a device. */
	assert_int_equal(pcif_find_ext_cap(port, PCI_EXT_CAP_ID_ACS), 0);
	assert_false(pcif_has_acs(port));
	acs = pcif_find_ext_cap(down, PCI_EXT_CAP_ID_ACS);
	assert_int_equal(pcif_config_read(down, acs + 4, 4), 0x001d001d);
	acs = pcif_find_ext_cap(end, PCI_EXT_CAP_ID_ACS);
	assert_int_equal(pcif_config_read(end, acs + 4, 4), 0x000c000c);
	assert_int_equal(pcif_find_ext_cap(up, PCI_EXT_CAP_ID_ACS), 0);

	/* Header: conventional functions have a latency timer, on either side. */
	pcif_config_write(pci, PCI_LATENCY_TIMER, 1, 0xff);
	pcif_config_write(pci, PCI_SEC_LATENCY_TIMER, 1, 0xff);
	pcif_config_write(p2p, PCI_LATENCY_TIMER, 1, 0xff);
	pcif_config_write(p2p, PCI_SEC_LATENCY_TIMER, 1, 0xff);
	pcif_config_write(port, PCI_SEC_LATENCY_TIMER, 1, 0xff);
	assert_int_equal(pcif_config_read(pci, PCI_LATENCY_TIMER, 1), 0xf8);
	assert_int_equal(pcif_config_read(pci, PCI_SEC_LATENCY_TIMER, 1), 0xf8);
	assert_int_equal(pcif_config_read(p2p, PCI_LATENCY_TIMER, 1), 0);
	assert_int_equal(pcif_config_read(p2p, PCI_SEC_LATENCY_TIMER, 1), 0xf8);
	assert_int_equal(pcif_config_read(port, PCI_SEC_LATENCY_TIMER, 1), 0);
	pcim_free(m);
}

/* An empty port: its link is down, and stays so through a reset. */
static void empty_port(void **state)
{
	struct pcim *m = machine();
	struct pcif *port = add_bridge(m, "00:01.0", "root-port", "slot=1");

	assert_int_equal(pcim_enumerate(m), 0);
	pcif_reset(port);
	assert_int_equal(express(port, PCI_EXP_LNKSTA, 2), 0x1001);
	assert_int_equal(express(port, PCI_EXP_SLTSTA, 2), 0);
	/* Its windows are closed. */
	assert_true(pcif_config_read(port, PCI_MEMORY_BASE, 2) >
		    pcif_config_read(port, PCI_MEMORY_LIMIT, 2));
	pcim_free(m);
}

/* ------------------------------------------------------------------ places and numbers */

static void misplaced(void **state)
{
	static const struct {
		const char *at, *model, *keys, *text;
	} bad[] = {
		{ "00:05.0", "upstream-port", NULL, "an upstream port cannot be on a root bus" },
		{ "00:05.0", "downstream-port", NULL, "put it below an upstream port" },
		{ "00:05.0", "pcie-to-pci-bridge", NULL, "put a root port between" },
		{ "01:00.0", "root-port", NULL, "put it on a root bus" },
		{ "01:01.0", "tm", NULL, "leads to device 00 only" },
		{ "01:00.0", "tm", "conventional=on", "put a PCIe-to-PCI bridge between" },
		{ "01:00.0", "pci-bridge", NULL, "cannot be below a root port" },
		{ "02:00.0", "tm", NULL, "put a downstream port between" },
		{ "02:00.0", "upstream-port", NULL, "put a downstream port between" },
		{ "03:01.0", "tm", NULL, "leads to device 00 only" },
		{ "04:00.0", "tm", NULL, "say conventional=on" },
		{ "04:00.0", "root-port", NULL, "put it nearer to the root" },
		{ "07:00.0", "tm", NULL, "there is no bus 0000:07" },
		{ "0001:00:00.0", "tm", NULL, "there is no bus 0001:00" },
		{ "00:01.0", "tm", NULL, "address is taken" },
		{ "00:05.0", "root-port", "conventional=on", "use the model pci-bridge" },
		{ "00:05.0", "pci-bridge", "acs=on", "no access control services" },
		{ "00:05.0", "tm", "conventional=on acs=on", "no access control services" },
		{ "00:05.0", "tm", "acs=maybe", "acs=off or acs=on" },
		{ "00:05.0", "tm", "numa_node=-1", "a number from 0 to 1023" },
		{ "00:05.0", "tm", "dma_alias=1.0", "for example 00.1" },
		{ "00:05.0", "tm", "dma_alias=00.8", "for example 00.1" },
		{ "00:05.0", "root-port", "slot=8192", "1 to 8191" },
	};
	struct pcim *m = machine();
	struct pcif_reply_error err;

	add_bridge(m, "00:01.0", "root-port", NULL);
	add_bridge(m, "01:00.1", "upstream-port", NULL);
	add_bridge(m, "02:01.0", "downstream-port", NULL);
	add(m, "03:00.1", "pcie-to-pci-bridge", NULL);
	assert_int_equal(pcim_open_bus(find(m, "03:00.1"), 4, &err, &(uint8_t){ 0 }), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_not_equal(try_add(m, bad[i].at, bad[i].model, bad[i].keys, &err, NULL),
				     0);
		if (!strstr(err.text, bad[i].text))
			fail_msg("\"%s\" does not say \"%s\"", err.text, bad[i].text);
	}
	/* All are function 1, so nothing is found. */
	assert_int_equal(pcim_enumerate(m), -EINVAL);
	pcim_free(m);
}

static int open_bus(struct pcif *f, unsigned bus, const char *text)
{
	struct pcif_reply_error err = { "" };
	uint8_t number = 0xee;
	int rc = pcim_open_bus(f, bus, &err, &number);

	if (rc && !strstr(err.text, text))
		fail_msg("\"%s\" does not say \"%s\"", err.text, text);
	return rc ? rc : number;
}

static int root_bus(struct pcim *m, uint32_t domain, unsigned bus, const char *text)
{
	struct pcif_reply_error err = { "" };
	int rc = pcim_add_root_bus(m, domain, bus, -1, &err);

	if (rc && !strstr(err.text, text))
		fail_msg("\"%s\" does not say \"%s\"", err.text, text);
	return rc;
}

static void bus_numbers(void **state)
{
	struct pcim *m = machine();
	struct pcif *a, *b, *c, *d;
	uint8_t secondary, subordinate;

	a = add(m, "00:01.0", "root-port", NULL);
	b = add(m, "00:02.0", "root-port", NULL);
	c = add(m, "00:03.0", "root-port", NULL);
	d = add(m, "00:04.0", "tm", NULL);
	assert_int_equal(open_bus(d, 0, "no bus can be below"), -EINVAL);
	assert_int_equal(open_bus(a, 0, ""), 1);
	assert_int_equal(open_bus(a, 0, "has the number 01"), -EBUSY);
	assert_int_equal(open_bus(b, 1, "take one from 02 on"), -EINVAL);
	assert_int_equal(open_bus(b, 0x40, ""), 0x40);
	/* 01 and 40 belong to root bus 00, and what is between does too. */
	assert_int_equal(root_bus(m, 0, 0, "is there already"), -EEXIST);
	assert_int_equal(root_bus(m, 0, 0x20, "from 41 on"), -EEXIST);
	assert_int_equal(root_bus(m, 0, 0x100, "00 to ff"), -EINVAL);
	assert_int_equal(root_bus(m, 0x10000, 0, "0000 to ffff"), -EINVAL);
	assert_int_equal(root_bus(m, 1, 0x20, ""), 0);
	assert_int_equal(root_bus(m, 0, 0x42, ""), 0);
	assert_false(pcim_bus_free(m, 0, 0x20));
	assert_true(pcim_bus_free(m, 0, 0x41));
	assert_int_equal(open_bus(c, 0x43, "is another's"), -EEXIST);
	assert_int_equal(open_bus(c, 0, ""), 0x41);
	assert_int_equal(pcim_enumerate(m), 0);
	pcif_bridge_buses(b, &secondary, &subordinate);
	assert_int_equal(secondary, 0x40);
	assert_int_equal(subordinate, 0x40);
	pcim_free(m);

	/* All numbers there are; and a bridge that got none. */
	m = machine();
	a = add(m, "00:01.0", "root-port", NULL);
	b = add(m, "00:02.0", "root-port", NULL);
	assert_int_equal(open_bus(a, 0xff, ""), 0xff);
	assert_int_equal(open_bus(b, 0, "no bus number is left"), -ENOSPC);
	assert_int_equal(pcim_enumerate(m), -EINVAL);
	pcim_free(m);
}

/* Functions with a port of their own beside trees. */
static void both_ways(void **state)
{
	struct pcif_reply_error err;
	struct pcim *m = machine();
	struct pcif *a, *b;

	a = add(m, "00:00.0", "root-port", NULL);
	b = add(m, "00:02.0", "root-port", NULL);
	assert_int_equal(pcim_add(m, (struct pci_bdf){ 0, 4, 0, 0 }, &tm_model, NULL, &err), 0);
	assert_int_equal(root_bus(m, 0, 4, "below a root port already"), -EEXIST);
	assert_int_equal(open_bus(a, 0, ""), 1);
	assert_int_equal(pcim_add(m, (struct pci_bdf){ 0, 1, 0, 0 }, &tm_model, NULL, &err),
			 -EEXIST);
	assert_non_null(strstr(err.text, "is one of root bus 0000:00"));
	assert_int_equal(pcim_add(m, (struct pci_bdf){ 0, 8, 0, 0 }, &bridge_root_port, NULL, &err),
			 -EINVAL);
	assert_non_null(strstr(err.text, "root_buses"));
	assert_int_equal(open_bus(b, 5, "is another's"), -EEXIST);
	assert_int_equal(open_bus(b, 3, ""), 3);
	assert_int_equal(pcim_add(m, (struct pci_bdf){ 0, 0x65, 0, 0 }, &tm_model, NULL, &err), 0);
	assert_int_equal(pcim_enumerate(m), 0);
	/* 3 is the last below root bus 0, so the port of 4 goes there; that of 65 to its own. */
	assert_ptr_equal(pcif_parent(find(m, "04:00.0")), find(m, "00:01.0"));
	assert_ptr_equal(pcif_parent(find(m, "65:00.0")), find(m, "64:00.0"));
	pcim_free(m);

	/* Root buses right before and behind. */
	m = machine();
	a = add(m, "00:00.0", "root-port", NULL);
	assert_int_equal(open_bus(a, 5, ""), 5);
	assert_int_equal(pcim_add(m, (struct pci_bdf){ 0, 7, 0, 0 }, &tm_model, NULL, &err), 0);
	assert_int_equal(root_bus(m, 0, 8, ""), 0);
	assert_int_equal(pcim_add(m, (struct pci_bdf){ 0, 9, 0, 0 }, &tm_model, NULL, &err), 0);
	assert_int_equal(pcim_enumerate(m), 0);
	assert_ptr_equal(pcif_parent(find(m, "07:00.0")), find(m, "06:00.0"));
	assert_ptr_equal(pcif_parent(find(m, "09:00.0")), find(m, "08:00.0"));
	pcim_free(m);

	m = machine();
	assert_int_equal(pcim_add(m, (struct pci_bdf){ 0, 1, 0, 0 }, &tm_model, NULL, &err), 0);
	assert_int_equal(root_bus(m, 0, 2, ""), 0);
	add(m, "02:00.0", "root-port", NULL);
	assert_int_equal(open_bus(find(m, "02:00.0"), 8, ""), 8);
	assert_int_equal(pcim_add(m, (struct pci_bdf){ 0, 9, 0, 0 }, &tm_model, NULL, &err), 0);
	assert_int_equal(pcim_enumerate(m), 0);
	assert_ptr_equal(pcif_parent(find(m, "01:00.0")), find(m, "00:00.0"));
	assert_ptr_equal(pcif_parent(find(m, "09:00.0")), find(m, "02:01.0"));
	pcim_free(m);
}

/* Virtual functions want numbers behind the bus of their physical one; who has them, has them. */
static void vf_buses(void **state)
{
	struct pcif_reply_error err;
	struct pcim *m = machine();
	uint8_t secondary, subordinate;
	struct pcif *a, *b;

	tm_desc = tm_pf_desc(256);
	tm_desc.sriov.first_offset = 0x100;
	a = add(m, "00:01.0", "root-port", NULL);
	b = add(m, "00:02.0", "root-port", NULL);
	assert_int_equal(open_bus(a, 0, ""), 1);
	add(m, "01:00.0", "tm", NULL);
	add(m, "01:00.1", "upstream-port", NULL);
	assert_int_equal(open_bus(find(m, "01:00.1"), 0, ""), 3);
	assert_int_equal(open_bus(b, 0, ""), 4);
	/* The last bus of all. */
	add(m, "04:00.0", "tm", NULL);
	assert_int_equal(pcim_enumerate(m), 0);
	pcif_bridge_buses(a, &secondary, &subordinate);
	assert_int_equal(secondary, 1);
	assert_int_equal(subordinate, 3);
	assert_int_equal(pcif_config_read(a, PCI_PRIMARY_BUS, 4), 0x00030100);
	assert_int_equal(pcif_config_read(b, PCI_PRIMARY_BUS, 4), 0x00050400);
	assert_int_equal(pcim_sriov_enable(find(m, "01:00.0"), 256), 0);
	assert_ptr_equal(pcif_parent(find(m, "02:1f.7")), a);
	assert_int_equal(pcim_sriov_enable(find(m, "04:00.0"), 1), 0);
	assert_int_equal(pcif_group(find(m, "05:00.0")), pcim_group_count(m) - 1);
	pcim_sriov_disable(find(m, "01:00.0"));
	pcim_sriov_disable(find(m, "04:00.0"));
	pcim_free(m);

	/* The user took the number for something else: it works without VFs. */
	m = machine();
	a = add(m, "00:01.0", "root-port", NULL);
	b = add(m, "00:02.0", "root-port", NULL);
	assert_int_equal(open_bus(a, 0, ""), 1);
	add(m, "01:00.0", "tm", NULL);
	assert_int_equal(open_bus(b, 2, ""), 2);
	assert_int_equal(pcim_enumerate(m), 0);
	assert_int_equal(pcim_sriov_enable(find(m, "01:00.0"), 1), -ENOMEM);
	pcim_free(m);

	/* On a root bus there are none behind it. */
	m = machine();
	add(m, "00:01.0", "tm", NULL);
	assert_int_not_equal(try_add(m, "00:02.0", "tm", "conventional=on", &err, NULL), 0);
	assert_non_null(strstr(err.text, "virtual functions need PCI Express"));
	assert_int_equal(pcim_enumerate(m), 0);
	assert_int_equal(pcim_sriov_enable(find(m, "00:01.0"), 1), -ENOMEM);
	pcim_free(m);

	/* The same without a tree. */
	assert_int_equal(pcim_new(&m), 0);
	assert_int_equal(pcim_add(m, (struct pci_bdf){ 0, 0x65, 0, 0 }, &tm_model, NULL, &err), 0);
	assert_false(pcim_bus_free(m, 0, 0x66));
	assert_true(pcim_bus_free(m, 0, 0x67));
	assert_int_equal(pcim_add(m, (struct pci_bdf){ 0, 0x67, 0, 0 }, &tm_model, NULL, &err), 0);
	assert_int_equal(pcim_add(m, (struct pci_bdf){ 0, 0x68, 0, 0 }, &tm_model, NULL, &err), 0);
	assert_int_equal(pcim_enumerate(m), 0);
	assert_int_equal(pcif_config_read(find(m, "64:00.0"), PCI_PRIMARY_BUS, 4), 0x00666564);
	assert_int_equal(pcif_config_read(find(m, "64:01.0"), PCI_PRIMARY_BUS, 4), 0x00676764);
	assert_int_equal(pcif_config_read(find(m, "64:02.0"), PCI_PRIMARY_BUS, 4), 0x00696864);
	assert_int_equal(pcim_sriov_enable(find(m, "67:00.0"), 1), -ENOMEM);
	pcim_free(m);
}

/* ------------------------------------------------------------------ windows */

struct window {
	uint64_t first, last;
};

static struct window io_window(struct pcif *f)
{
	struct window w;

	w.first = (pcif_config_read(f, PCI_IO_BASE, 1) & 0xf0) << 8 |
		  pcif_config_read(f, PCI_IO_BASE_UPPER16, 2) << 16;
	w.last = (pcif_config_read(f, PCI_IO_LIMIT, 1) & 0xf0) << 8 | 0xfff |
		 pcif_config_read(f, PCI_IO_LIMIT_UPPER16, 2) << 16;
	return w;
}

static struct window mem_window(struct pcif *f)
{
	return (struct window){ pcif_config_read(f, PCI_MEMORY_BASE, 2) << 16,
				pcif_config_read(f, PCI_MEMORY_LIMIT, 2) << 16 | 0xfffff };
}

static struct window pref_window(struct pcif *f)
{
	struct window w;

	w.first = (uint64_t)pcif_config_read(f, PCI_PREF_BASE_UPPER32, 4) << 32 |
		  (pcif_config_read(f, PCI_PREF_MEMORY_BASE, 2) & 0xfff0) << 16;
	w.last = (uint64_t)pcif_config_read(f, PCI_PREF_LIMIT_UPPER32, 4) << 32 |
		 (pcif_config_read(f, PCI_PREF_MEMORY_LIMIT, 2) & 0xfff0) << 16 | 0xfffff;
	return w;
}

static bool holds(struct window outer, struct window inner)
{
	return inner.first > inner.last || (outer.first <= inner.first && inner.last <= outer.last);
}

static bool apart(struct window a, struct window b)
{
	return a.first > a.last || b.first > b.last || a.last < b.first || b.last < a.first;
}

static struct window (*const window_of[])(struct pcif *f) = { io_window, mem_window, pref_window };

/* The window in which a BAR of tm_full_desc() lies: 0 memory, 2 prefetchable, 4 I/O. */
static unsigned kind_of_bar(unsigned bar)
{
	return bar == 4 ? 0 : bar == 2 ? 2 : 1;
}

static struct window bar_range(struct pcif *f, unsigned bar)
{
	uint64_t at = pcif_bar_address(f, bar);

	return (struct window){ at, at + pcif_desc(f)->bars[bar].size - 1 };
}

/* Every window and BAR lies in the window above and apart from its neighbours. */
static void check_windows(struct pcim *m)
{
	for (unsigned i = 0; i < pcim_count(m); i++) {
		struct pcif *f = pcim_function(m, i), *up = pcif_parent(f);

		for (unsigned k = 0; up && pcif_is_bridge(f) && k < 3; k++)
			assert_true(holds(window_of[k](up), window_of[k](f)));
		for (unsigned bar = 0; up && !pcif_is_bridge(f) && bar < 5; bar += 2) {
			assert_true(pcif_bar_address(f, bar) != 0);
			assert_true(!(pcif_bar_address(f, bar) % pcif_desc(f)->bars[bar].size));
			assert_true(holds(window_of[kind_of_bar(bar)](up), bar_range(f, bar)));
		}
		for (unsigned j = 0; j < i; j++) {
			struct pcif *o = pcim_function(m, j);
			bool both = pcif_is_bridge(f) && pcif_is_bridge(o);
			bool none = !pcif_is_bridge(f) && !pcif_is_bridge(o);

			if (pcif_parent(o) != up)
				continue;
			for (unsigned k = 0; both && k < 3; k++)
				assert_true(apart(window_of[k](f), window_of[k](o)));
			for (unsigned bar = 0; none && bar < 5; bar += 2)
				assert_true(apart(bar_range(f, bar), bar_range(o, bar)));
		}
	}
}

/* A tree of every kind, with BARs of different sizes at every depth. */
static struct pcim *big_tree(void)
{
	struct pcim *m = machine();

	add(m, "00:00.0", "tm", "conventional=on");
	add_bridge(m, "00:01.0", "root-port", NULL);
	add(m, "00:02.0", "root-port", NULL);
	add(m, "00:1e.0", "pci-bridge", NULL);
	add_bridge(m, "01:00.0", "upstream-port", NULL);
	add(m, "02:00.0", "downstream-port", NULL);
	add(m, "02:01.0", "downstream-port", NULL);
	add(m, "02:02.0", "downstream-port", NULL);
	assert_int_equal(open_bus(find(m, "02:00.0"), 0, ""), 3);
	tm_desc.bars[2].size = MIB(64);
	add(m, "03:00.0", "tm", NULL);
	add(m, "03:00.1", "tm", NULL);
	assert_int_equal(open_bus(find(m, "02:01.0"), 0, ""), 4);
	tm_desc.bars[2].size = MIB(2);
	tm_desc.bars[0].size = MIB(16);
	add(m, "04:00.0", "tm", NULL);
	assert_int_equal(open_bus(find(m, "02:02.0"), 0, ""), 5);
	add_bridge(m, "05:00.0", "pcie-to-pci-bridge", NULL);
	tm_desc.bars[0].size = KIB(16);
	add(m, "06:01.0", "tm", "conventional=on");
	add(m, "06:02.0", "tm", "conventional=on");
	assert_int_equal(open_bus(find(m, "00:02.0"), 0, ""), 7);
	add(m, "07:00.0", "tm", NULL);
	assert_int_equal(open_bus(find(m, "00:1e.0"), 0, ""), 8);
	add(m, "08:0a.0", "tm", "conventional=on");
	add_bridge(m, "08:0b.0", "pci-bridge", NULL);
	add(m, "09:00.0", "tm", "conventional=on");
	assert_int_equal(pcim_enumerate(m), 0);
	return m;
}

static void windows(void **state)
{
	struct pcim *m = big_tree();
	struct pcif *empty;

	check_windows(m);
	pcim_free(m);

	/* A bridge with nothing below closes its windows and takes no room. */
	tm_desc = tm_full_desc();
	m = machine();
	empty = add(m, "00:01.0", "root-port", NULL);
	add(m, "00:02.0", "root-port", NULL);
	assert_int_equal(open_bus(empty, 0, ""), 1);
	assert_int_equal(open_bus(find(m, "00:02.0"), 0, ""), 2);
	tm_desc.bars[4].type = PCIF_BAR_NONE;
	add(m, "02:00.0", "tm", NULL);
	assert_int_equal(pcim_enumerate(m), 0);
	for (unsigned k = 0; k < 3; k++)
		assert_true(window_of[k](empty).first > window_of[k](empty).last);
	assert_true(io_window(find(m, "00:02.0")).first > io_window(find(m, "00:02.0")).last);
	assert_int_equal(mem_window(find(m, "00:02.0")).first, 0x80000000);
	pcim_free(m);

	/* What does not fit below 4 GiB, far from the root. */
	tm_desc.bars[0].size = tm_desc.bars[1].size = GIB(1);
	tm_desc.bars[1].type = PCIF_BAR_MEM32;
	m = machine();
	add_bridge(m, "00:01.0", "root-port", NULL);
	add_bridge(m, "01:00.0", "upstream-port", NULL);
	add_bridge(m, "02:00.0", "downstream-port", NULL);
	add(m, "03:00.0", "tm", NULL);
	assert_int_equal(pcim_enumerate(m), -ENOSPC);
	pcim_free(m);
}

/* ------------------------------------------------------------------ resets */

static void reset_below(void **state)
{
	struct pcim *m = big_tree();
	struct pcif *port = find(m, "00:01.0"), *down = find(m, "02:02.0");

	pcif_config_write(port, PCI_BRIDGE_CONTROL, 2, PCI_BRIDGE_CTL_BUS_RESET);
	pcif_config_write(port, PCI_BRIDGE_CONTROL, 2, 0);
	for (unsigned i = 0; i < pcim_count(m); i++) {
		struct pcif *f = pcim_function(m, i);
		bool below = pcif_bdf(f).bus >= 1 && pcif_bdf(f).bus <= 6;

		assert_int_equal(pcif_reset_count(f), below);
	}
	/* The numbers and windows that the platform set are there as before. */
	assert_int_equal(pcif_config_read(down, PCI_PRIMARY_BUS, 4), 0x00060502);
	check_windows(m);
	/* One step further down only what is there. */
	pcif_config_write(down, PCI_BRIDGE_CONTROL, 2, PCI_BRIDGE_CTL_BUS_RESET);
	assert_int_equal(pcif_reset_count(find(m, "06:02.0")), 2);
	assert_int_equal(pcif_reset_count(find(m, "05:00.0")), 2);
	assert_int_equal(pcif_reset_count(down), 1);
	assert_int_equal(pcif_reset_count(find(m, "03:00.0")), 1);
	pcim_free(m);
}

/* ------------------------------------------------------------------ what passes */

static uint32_t bar_word(struct pcif *f, unsigned bar)
{
	uint32_t v = 0;

	assert_int_equal(pcif_bar_read(f, bar, 0, &v, sizeof(v), false), 0);
	return v;
}

static bool dma_passes(struct pcif *f)
{
	uint32_t v = 0;

	return !pcif_dma_write(f, 0x1000, &v, sizeof(v));
}

static void write_command(struct pcif *f, uint32_t command)
{
	pcif_config_write(f, PCI_COMMAND, 2, command);
}

/* What bridges do not forward is not there for who is below, however far. */
static void forwarding(void **state)
{
	const uint32_t on = PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
	static _Alignas(4096) uint8_t memory[4096];
	struct pcim *m = big_tree();
	struct pcif *port = find(m, "00:01.0"), *down = find(m, "02:00.0");
	struct pcif *f = find(m, "03:00.0"), *other = find(m, "04:00.0");
	struct pcif *beside = find(m, "07:00.0");
	struct iommu_space *space;
	struct iommu_mem *mem;
	unsigned pm;

	assert_int_equal(iommu_space_new(&space), 0);
	assert_int_equal(iommu_mem_buffer(memory, sizeof(memory), &mem), 0);
	assert_int_equal(
		iommu_space_map(space, 0x1000, 0x1000, IOMMU_WRITE, mem, (uintptr_t)memory), 0);
	for (unsigned i = 0; i < pcim_count(m); i++)
		if (!pcif_is_bridge(pcim_function(m, i))) {
			write_command(pcim_function(m, i), on);
			iommu_port_attach(pcif_iommu_port(pcim_function(m, i)), space);
		}
	assert_true(dma_passes(f) && dma_passes(other) && dma_passes(beside));
	assert_int_equal(bar_word(f, 0), 0x03020100);

	/* Bus master: towards the root; memory and I/O: away from it. */
	write_command(down, on & ~PCI_COMMAND_MASTER);
	assert_true(!dma_passes(f) && dma_passes(other) && dma_passes(beside));
	assert_int_equal(bar_word(f, 0), 0x03020100);
	write_command(down, on);
	write_command(port, PCI_COMMAND_MASTER | PCI_COMMAND_IO);
	assert_true(dma_passes(f) && dma_passes(other));
	assert_int_equal(bar_word(f, 0), UINT32_MAX);
	assert_int_equal(bar_word(f, 4), 0x03020100);
	assert_int_equal(bar_word(beside, 0), 0x03020100);
	write_command(port, PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY);
	assert_int_equal(bar_word(f, 0), 0x03020100);
	assert_int_equal(bar_word(f, 4), UINT32_MAX);
	write_command(port, on);

	/* Not in D0: nothing, not even configuration requests; nothing is forgotten. */
	pm = pcif_find_cap(port, PCI_CAP_ID_PM) + PCI_PM_CTRL;
	pcif_config_write(port, pm, 2, 3);
	assert_false(dma_passes(f) || dma_passes(other));
	assert_int_equal(bar_word(f, 0), UINT32_MAX);
	assert_int_equal(pcif_config_read(f, PCI_VENDOR_ID, 4), UINT32_MAX);
	assert_int_equal(pcif_config_read(down, PCI_VENDOR_ID, 2), 0xffff);
	write_command(f, 0);
	assert_true(dma_passes(beside));
	pcif_config_write(port, pm, 2, 0);
	assert_int_equal(pcif_config_read(f, PCI_COMMAND, 2), on);
	assert_true(dma_passes(f) && dma_passes(other));
	assert_int_equal(pcif_reset_count(f), 0);

	/* A bridge that is reset is as the platform set it up. */
	write_command(down, 0);
	assert_false(dma_passes(f));
	pcif_config_write(port, PCI_BRIDGE_CONTROL, 2, PCI_BRIDGE_CTL_BUS_RESET);
	write_command(f, on);
	assert_true(dma_passes(f));

	/* What comes back finds the bridge as it is by then. */
	assert_int_equal(pcim_unplug(f), 0);
	write_command(port, on & ~PCI_COMMAND_MASTER);
	assert_int_equal(pcim_plug(m, NULL), 1);
	assert_false(dma_passes(f));

	iommu_mem_put(mem);
	for (unsigned i = 0; i < pcim_count(m); i++)
		iommu_port_attach(pcif_iommu_port(pcim_function(m, i)), NULL);
	iommu_space_put(space);
	pcim_free(m);
}

/* ------------------------------------------------------------------ groups */

static void assert_why(struct pcim *m, const char *at, enum pcif_group_why why, const char *other)
{
	char text[PCI_BDF_STRLEN];
	struct pci_bdf bdf;

	if (pcif_group_why(find(m, at), &bdf) != why)
		fail_msg("%s: not for reason %d", at, why);
	if (other)
		assert_string_equal(pcif_bdf_format(bdf, text), other);
}

static void reasons(void **state)
{
	struct pcim *m = big_tree();

	assert_why(m, "00:01.0", PCIF_GROUP_OWN, NULL);
	assert_why(m, "03:00.0", PCIF_GROUP_OWN, NULL);
	assert_why(m, "03:00.1", PCIF_GROUP_SLOT, "0000:03:00.0");
	assert_why(m, "06:02.0", PCIF_GROUP_BRIDGE, "0000:05:00.0");
	assert_why(m, "09:00.0", PCIF_GROUP_BRIDGE, "0000:08:0b.0");
	pcim_free(m);

	tm_desc = tm_full_desc();
	m = machine();
	add_bridge(m, "00:01.0", "root-port", "acs=off");
	add_bridge(m, "01:00.0", "upstream-port", NULL);
	add_bridge(m, "02:00.0", "downstream-port", NULL);
	add(m, "03:00.0", "tm", NULL);
	add(m, "00:02.0", "tm", "conventional=on");
	add(m, "00:03.0", "tm", "conventional=on dma_alias=02.0");
	assert_int_equal(pcim_enumerate(m), 0);
	assert_why(m, "03:00.0", PCIF_GROUP_PATH, "0000:00:01.0");
	assert_why(m, "02:00.0", PCIF_GROUP_PATH, "0000:00:01.0");
	assert_int_equal(pcif_group(find(m, "03:00.0")), pcif_group(find(m, "00:01.0")));
	assert_why(m, "00:03.0", PCIF_GROUP_ALIAS, "0000:00:02.0");
	pcim_free(m);
}

/* A subtree leaves and comes back; its groups are worked out again, lowest free numbers first. */
static void back_again(void **state)
{
	struct pcim *m = big_tree();
	unsigned before = pcim_group_count(m);
	struct pcif *bridge = pcif_get(find(m, "05:00.0"));
	struct pcif *a = pcif_get(find(m, "06:01.0")), *b = pcif_get(find(m, "06:02.0"));
	unsigned group = pcif_group(bridge);

	assert_int_equal(pcif_group(a), group);
	assert_int_equal(pcim_unplug(a), 0);
	assert_int_equal(pcim_unplug(b), 0);
	assert_int_equal(pcim_unplug(bridge), 0);
	assert_int_equal(pcim_group_count(m), before - 1);
	assert_int_equal(pcim_plug(m, NULL), 3);
	assert_int_equal(pcim_group_count(m), before);
	assert_int_equal(pcif_group(bridge), group);
	assert_int_equal(pcif_group(a), group);
	assert_int_equal(pcif_group(b), group);
	assert_why(m, "06:01.0", PCIF_GROUP_BRIDGE, "0000:05:00.0");
	pcif_put(b);
	pcif_put(a);
	pcif_put(bridge);
	pcim_free(m);
}

static void numa(void **state)
{
	struct pcim *m;

	assert_int_equal(pcim_new(&m), 0);
	assert_int_equal(pcim_add_root_bus(m, 0, 0, 1, NULL), 0);
	add_bridge(m, "00:01.0", "root-port", NULL);
	add_bridge(m, "00:02.0", "root-port", "numa_node=3");
	add(m, "02:00.0", "tm", NULL);
	add(m, "02:00.1", "tm", "numa_node=0");
	add(m, "01:00.0", "tm", NULL);
	assert_int_equal(pcim_add(m, tm_bdf, &tm_model, NULL, NULL), 0);
	assert_int_equal(pcim_enumerate(m), 0);
	assert_int_equal(pcif_numa_node(find(m, "01:00.0")), 1);
	assert_int_equal(pcif_numa_node(find(m, "02:00.0")), 3);
	assert_int_equal(pcif_numa_node(find(m, "02:00.1")), 0);
	assert_int_equal(pcif_numa_node(find(m, "65:00.0")), -1);
	pcim_free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		tm_test(kinds),	     tm_test(empty_port), tm_test(misplaced),  tm_test(bus_numbers),
		tm_test(both_ways),  tm_test(vf_buses),	  tm_test(windows),    tm_test(reset_below),
		tm_test(forwarding), tm_test(reasons),	  tm_test(back_again), tm_test(numa),
	};

	return cmocka_run_group_tests_name("pci_bridges", tests, NULL, NULL);
}
