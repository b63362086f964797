/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Machines: SPECs and machine files, good and bad; where devices go; the journal.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <linux/vfio.h>

#include "machine/priv.h"
#include "fds.h"

static int setup(void **state)
{
	static unsigned fds;

	fds = open_fds();
	*state = &fds;
	return 0;
}

static int teardown(void **state)
{
	unsigned before = *(unsigned *)*state, after = open_fds();

	if (before != after)
		print_error("%u descriptors before, %u after\n", before, after);
	return before != after;
}

static struct machine *machine_make(void)
{
	struct machine *m = NULL;

	assert_int_equal(machine_new(&m), 0);
	return m;
}

static void assert_has(const char *text, const char *needle)
{
	if (!strstr(text, needle))
		fail_msg("\"%s\" does not contain \"%s\"", text, needle);
}

static struct pcif *find(struct machine *m, const char *at)
{
	struct pci_bdf bdf;

	assert_int_equal(pcif_bdf_parse(at, &bdf), 0);
	return pcim_find(machine_pci(m), bdf);
}

/* ------------------------------------------------------------------ SPEC */

static void spec_errors(void **state)
{
	static const struct {
		const char *spec;
		int error;
		const char *text;
	} bad[] = {
		{ "", -EINVAL, "models:" },
		{ ",bdf=0000:65:00.0", -EINVAL, "models:" },
		{ "bdf=0000:65:00.0", -EINVAL, "MODEL[,key=value]" },
		{ "tsetdev", -ENOENT, "testdev" },
		{ "testdev,colour=red", -EINVAL, "keys: bdf" },
		{ "testdev,bdf=65:00.8", -EINVAL, "0000:65:00.0" },
		{ "testdev,bdf=", -EINVAL, "0000:65:00.0" },
		{ "testdev,bdf=0000:65:00.0 ", -EINVAL, "0000:65:00.0" },
		{ "testdev,bdf=0000:65:00.0,bdf=0000:67:00.0", -EEXIST, "twice" },
		{ "testdev,fast", -EINVAL, "key=value" },
		{ "testdev,=fast", -EINVAL, "key=value" },
		{ "testdev,", -EINVAL, "key=value" },
		{ "testdev,vectors=4,vectors=4", -EEXIST, "\"vectors\" is given twice" },
		{ "testdev,vectors=4,mmio", -EINVAL, "key=value" },
		{ "testdev,driver=nvem", -EINVAL, "say one of: host, none, vfio-pci, pcieport" },
		{ "testdev,driver=", -EINVAL, "no such driver" },
		{ "testdev,driver=none,driver=none", -EEXIST, "\"driver\" is given twice" },
	};
	struct machine *m = machine_make();
	struct machine_error err;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		err.text[0] = 0;
		assert_int_equal(machine_add_spec(m, bad[i].spec, &err), bad[i].error);
		assert_has(err.text, bad[i].text);
		assert_null(strchr(err.text, '\n'));
	}
	assert_int_equal(machine_start(m, &err), 0);
	assert_int_equal(pcim_count(machine_pci(m)), 0);
	assert_int_equal(machine_add_spec(m, "testdev", &err), -EBUSY);
	assert_int_equal(machine_start(m, &err), -EBUSY);
	machine_free(m);
}

static void spec_places(void **state)
{
	struct machine *m = machine_make();
	struct machine_error err;

	assert_int_equal(machine_add_spec(m, "testdev", &err), 0);
	assert_int_equal(machine_add_spec(m, "testdev,bdf=0000:68:00.0", &err), 0);
	assert_int_equal(machine_add_spec(m, "testdev", &err), 0);
	assert_int_equal(machine_add_spec(m, "testdev,bdf=65:00.0", &err), -EEXIST);
	assert_has(err.text, "0000:65:00.0");
	assert_int_equal(machine_add_spec(m, "testdev,bdf=0001:65:00.0", &err), 0);
	assert_int_equal(machine_start(m, &err), 0);
	assert_non_null(find(m, "0000:65:00.0"));
	assert_non_null(find(m, "0000:68:00.0"));
	/* Bus 67 is the root bus of what is on 68, and 69 needs 68 as its own. */
	assert_null(find(m, "0000:69:00.0"));
	assert_non_null(find(m, "0000:6b:00.0"));
	assert_non_null(find(m, "0001:65:00.0"));
	machine_free(m);
}

static int add_json(struct machine *m, const char *text, struct machine_error *err)
{
	err->text[0] = 0;
	return machine_add_json(m, "m.json", text, strlen(text), err);
}

static void functions(void **state)
{
	struct machine *m = machine_make();
	struct machine_error err;

	assert_int_equal(machine_add_spec(m, "testdev,bdf=65:00.1", &err), 0);
	assert_int_equal(machine_start(m, &err), -EINVAL);
	assert_string_equal(err.text, "testdev at 0000:65:00.1: there is no function 0 beside it; "
				      "add a device at 0000:65:00.0");
	assert_int_equal(add_json(m,
				  "{\"devices\": [{\"model\": \"testdev\",\n"
				  "\"bdf\": \"67:00.1\"}]}",
				  &err),
			 0);
	assert_int_equal(machine_add_spec(m, "testdev,bdf=65:00.0", &err), 0);
	assert_int_equal(machine_start(m, &err), -EINVAL);
	assert_string_equal(err.text, "m.json:2: testdev at 0000:67:00.1: there is no function 0 "
				      "beside it; add a device at 0000:67:00.0");
	assert_int_equal(machine_add_spec(m, "testdev,bdf=67:00.0", &err), 0);
	assert_int_equal(machine_start(m, &err), 0);
	assert_int_equal(pcim_count(machine_pci(m)), 6);
	machine_free(m);
}

static const char *driver_of(struct machine *m, const char *at)
{
	const struct bus_driver *d = bus_driver_of(machine_bus(m), find(m, at));

	return d ? d->name : "none";
}

/* What functions are bound to at the start: as the key says, else as the machine does. */
static void drivers(void **state)
{
	static const char *const specs[] = {
		"nvme,mem=1M,bdf=65:00.0",
		"nvme,mem=1M,bdf=67:00.0,driver=host",
		"nvme,mem=1M,bdf=69:00.0,driver=none",
		"nvme,mem=1M,bdf=6b:00.0,driver=vfio-pci",
		"nvme,mem=1M,bdf=6d:00.0,driver=pci-stub",
		"testdev,bdf=6f:00.0,driver=host",
	};
	static const char *const want[] = { NULL, "nvme", "none", "vfio-pci", "pci-stub", "none" };

	for (unsigned host = 0; host < 2; host++) {
		struct machine *m = machine_make();
		struct machine_error err;

		machine_use_host_drivers(m, host);
		for (unsigned i = 0; i < ARRAY_SIZE(specs); i++)
			assert_int_equal(machine_add_spec(m, specs[i], &err), 0);
		assert_int_equal(machine_start(m, &err), 0);
		for (unsigned i = 0; i < ARRAY_SIZE(specs); i++) {
			char at[8];

			snprintf(at, sizeof(at), "%02x:00.0", 0x65 + 2 * i);
			assert_string_equal(driver_of(m, at), want[i] ? want[i]
							      : host  ? "nvme"
								      : "vfio-pci");
			snprintf(at, sizeof(at), "%02x:00.0", 0x64 + 2 * i);
			assert_string_equal(driver_of(m, at), "pcieport");
		}
		machine_free(m);
	}
}

static void spec_comma(void **state)
{
	struct machine *m = machine_make();
	struct machine_error err;

	/* ",," stands for one comma, "," ends the value. */
	assert_int_equal(machine_add_spec(m, "testdev,mmio=a,,b,,,bdf=0000:65:00.0", &err),
			 -EINVAL);
	assert_has(err.text, "testdev at 0000:65:00.0: mmio=a,b,: say");
	machine_free(m);
}

/* ------------------------------------------------------------------ machine file */

static void json_errors(void **state)
{
	static const struct {
		const char *json, *text;
	} bad[] = {
		{ "", "m.json:1: " },
		{ "{\n\n \"devices\": [ }", "m.json:3: " },
		{ "[]", "m.json:1: a machine file is an object" },
		{ "{\"devices\": []}\n{}", "m.json:2: " },
		{ "{\n\"devices\": [],\n\"colour\": {\"a\": [1]}\n}",
		  "m.json:3: no key \"colour\"" },
		{ "{\"a\\\"}\": 1}", "keys: version, description, sockets, root_buses, devices" },
		{ "{\"version\": 2}", "m.json:1: \"version\"" },
		{ "{\"version\": \"1\"}", "m.json:1: \"version\"" },
		{ "{\n\"description\": 1}", "m.json:2: \"description\" is not a string" },
		{ "{\"version\":1,\n\"version\":1}", "m.json:2: " },
		{ "{\n\"devices\": {}}", "m.json:2: \"devices\"" },
		{ "{\"devices\": [\n 3 ]}", "m.json:2: a device is an object" },
		{ "{\"devices\": [\n {\"model\": \"testdev\"},\n {} ]}",
		  "m.json:3: a device needs" },
		{ "{\"devices\": [\n {\"model\": 3} ]}", "m.json:2: a device needs" },
		{ "{\"devices\": [\n {\"model\": \"nvem\"} ]}", "m.json:2: no device model" },
		{ "{\"devices\": [\n {\"model\": \"testdev\",\n\t\"colour\": 3} ]}",
		  "m.json:3: testdev: no key \"colour\"" },
		{ "{\"devices\": [\n {\"model\": \"testdev\",\n\"vectors\": [\"}\", {}]} ]}",
		  "m.json:3: the value of \"vectors\"" },
		{ "{\"devices\": [\n {\"model\": \"testdev\",\n\"vectors\": null} ]}",
		  "m.json:3: " },
		{ "{\"devices\": [\n {\"model\": \"testdev\",\n\"vectors\": 1.5} ]}",
		  "m.json:3: " },
		{ "{\"devices\": [\n {\"model\": \"testdev\",\n\n\"bdf\": \"x\"} ]}",
		  "m.json:4: testdev: bdf=x" },
		{ "{\"devices\": [\n {\"model\": \"testdev\",\n\n\"bdf\": 3} ]}", "m.json:4: " },
		{ "{\n\"sockets\": 3}", "m.json:2: \"sockets\" is not a string" },
		{ "{\"sockets\": \"\"}", "m.json:1: \"sockets\" is not a string" },
		/* What only the model can judge: the line of its key all the same. */
		{ "{\"devices\": [\n {\"model\": \"testdev\",\n\"vectors\": 65} ]}",
		  "m.json:3: testdev at 0000:65:00.0: vectors=65" },
		{ "{\"devices\": [\n {\"model\": \"testdev\",\n\"id\": \"x\"} ]}",
		  "m.json:3: testdev at 0000:65:00.0: id=x" },
		{ "{\"devices\": [\n {\"model\": \"testdev\",\n\"numa_node\": 1024} ]}",
		  "m.json:3: testdev at 0000:65:00.0: numa_node=1024" },
		{ "{\"devices\": [\n {\"model\": \"testdev\",\n\"conventional\": true} ]}",
		  "m.json:3: testdev: conventional=on" },
		{ "{\"devices\": [\n {\"model\": \"nvme\",\n\"disk\": \"/nonexistent/a\"} ]}",
		  "m.json:3: nvme at 0000:65:00.0: disk \"/nonexistent/a\" cannot be opened" },
		{ "{\"devices\": [\n {\"model\": \"nvme\", \"mem\": \"1M\", \"vfs\": 2,\n"
		  "\"vf_disk\": \"/nonexistent/%d\"} ]}",
		  "m.json:3: nvme at 0000:65:00.0: vf_disk=/nonexistent/%d: disk "
		  "\"/nonexistent/0\"" },
		{ "{\"devices\": [\n {\"model\": \"nvme\", \"mem\": \"1M\",\n\"vf_mem\": 3} ]}",
		  "m.json:3: nvme at 0000:65:00.0: vf_mem is about virtual functions" },
		{ "{\"devices\": [\n {\"model\": \"igb\", \"vfs\": 2,\n"
		  "\"vf_mac\": \"52:54:00:00:00:01\"} ]}",
		  "m.json:3: igb at 0000:65:00.0: vf_mac=52:54:00:00:00:01: give one for each" },
		{ "{\"devices\": [\n {\"model\": \"testdev\",\n\"bdf\": \"65:01.0\"} ]}",
		  "m.json:3: testdev at 0000:65:01.0: a root port leads to device 00 only" },
		{ "{\"devices\": [\n"
		  "{\"model\": \"testdev\", \"bdf\": \"0000:65:00.0\"},\n"
		  "{\"model\": \"testdev\",\n\"bdf\": \"0000:65:00.0\"}]}",
		  "m.json:4: testdev at 0000:65:00.0: address is taken" },
		/* A file does not talk to the terminal. */
		{ "{\"devices\": [\n {\"model\": \"testdev\",\n"
		  "\"a\\n\\u001b[2J\\u009b\\u00e9\": 1} ]}",
		  "m.json:3: testdev: no key \"a??[2J??\u00e9\"" },
		{ "{\"devices\": [\n"
		  "{\"model\": \"testdev\", \"bdf\": \"0000:65:00.0\"},\n"
		  "{\"model\": \"testdev\", \"bdf\": \"0000:65:00.0\"}]}",
		  "m.json:3: " },
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct machine *m = machine_make();
		struct machine_error err;
		int r = add_json(m, bad[i].json, &err);

		if (r >= 0)
			fail_msg("accepted: %s", bad[i].json);
		assert_has(err.text, bad[i].text);
		machine_free(m);
	}
}

static void json_devices(void **state)
{
	struct machine *m = machine_make();
	struct machine_error err;

	assert_int_equal(add_json(m,
				  "{\"version\": 1, \"devices\": [\n"
				  "  {\"model\": \"testdev\"},\n"
				  "  {\"bdf\": \"0000:65:00.0\", \"model\": \"testdev\"},\n"
				  "  {\"model\": \"testdev\", \"vectors\": 2}\n]}",
				  &err),
			 0);
	assert_int_equal(machine_start(m, &err), 0);
	/* The second asked for 65, so the first, which did not care, goes to the next place. */
	assert_string_equal(pcif_model_name(find(m, "0000:65:00.0")), "testdev");
	assert_string_equal(pcif_model_name(find(m, "0000:67:00.0")), "testdev");
	assert_string_equal(pcif_model_name(find(m, "0000:69:00.0")), "testdev");
	machine_free(m);
}

static void json_hostile(void **state)
{
	struct machine *m = machine_make();
	struct machine_error err;
	size_t size = (size_t)MIB(1) + 1;
	char *deep = malloc(size);

	memset(deep, '[', size);
	assert_int_equal(machine_add_json(m, "deep", deep, 100000, &err), -EINVAL);
	assert_int_equal(machine_add_json(m, "big", deep, size, &err), -EFBIG);
	assert_has(err.text, "1 MiB");
	free(deep);
	assert_int_equal(machine_add_json(m, "zero", "{\0}", 3, &err), -EINVAL);
	assert_int_equal(machine_add_file(m, "/nonexistent/m.json", &err), -ENOENT);
	assert_has(err.text, "/nonexistent/m.json");
	assert_int_equal(machine_add_file(m, "/", &err), -EISDIR);
	machine_free(m);
}

static void json_file(void **state)
{
	static const char text[] = "{\"devices\": [{\"model\": \"testdev\"}]}\n";
	char path[] = "/tmp/uvfio-test-XXXXXX";
	int fd = mkstemp(path);
	struct machine *m = machine_make();
	struct machine_error err;

	assert_true(fd >= 0);
	assert_int_equal(fd_write_all(fd, text, strlen(text)), 0);
	close(fd);
	assert_int_equal(machine_add_file(m, path, &err), 0);
	unlink(path);
	machine_free(m);
}

static void lines_of_values(void **state)
{
	static const char text[] =
		"{\n\"a\": [1,\n2, {\"x\\\"]\": \"}\",\n\"y\": 3}],\n\"b\"\n: 4}";

	assert_int_equal(where_line(text, strlen(text), (unsigned[]){ 0 }, 1), 2);
	assert_int_equal(where_line(text, strlen(text), (unsigned[]){ 0, 1 }, 2), 3);
	assert_int_equal(where_line(text, strlen(text), (unsigned[]){ 0, 2, 0 }, 3), 3);
	assert_int_equal(where_line(text, strlen(text), (unsigned[]){ 0, 2, 1 }, 3), 4);
	assert_int_equal(where_line(text, strlen(text), (unsigned[]){ 1 }, 1), 5);
	/* Paths that are not there, and texts that are not JSON, end somewhere inside. */
	for (size_t n = 0; n <= strlen(text); n++) {
		char *cut = malloc(n + 1);

		memcpy(cut, text, n);
		assert_in_range(where_line(cut, n, (unsigned[]){ 0, 2, 7 }, 3), 1, 6);
		assert_in_range(where_line(cut, n, (unsigned[]){ 9 }, 1), 1, 6);
		free(cut);
	}
}

/* ------------------------------------------------------------------ journal */

static void count_calls(void *data)
{
	++*(unsigned *)data;
}

static struct machine_event fault_at(uint64_t iova)
{
	struct machine_event e = {
		.type = MACHINE_EVENT_FAULT,
		.bdf = "0000:65:00.0",
		.iova = iova,
		.size = 4,
		.access = IOMMU_WRITE,
		.reason = IOMMU_FAULT_NOT_MAPPED,
	};

	return e;
}

static void journal_ring(void **state)
{
	static struct machine_event out[5000];
	struct machine_event e = { .type = MACHINE_EVENT_ATTACH };
	struct journal *j;
	unsigned calls = 0;

	assert_int_equal(journal_new(&j), 0);
	assert_int_equal(journal_read(j, 0, out, 8), 0);
	journal_set_cb(j, count_calls, &calls);
	for (unsigned i = 0; i < 5000; i++) {
		e.group = i;
		journal_add(j, &e);
	}
	assert_int_equal(calls, 5000);
	journal_set_cb(j, NULL, NULL);
	journal_add(j, &e);
	assert_int_equal(calls, 5000);

	assert_int_equal(journal_read(j, 0, out, 5000), 4096);
	for (unsigned i = 0; i < 4096; i++)
		assert_int_equal(out[i].seq, 5001 - 4095 + i);
	assert_int_equal(out[0].group, out[0].seq - 1);
	assert_int_equal(journal_read(j, 4999, out, 1), 1);
	assert_int_equal(out[0].seq, 5000);
	assert_int_equal(journal_read(j, 5001, out, 1), 0);
	assert_int_equal(journal_read(j, UINT64_MAX, out, 1), 0);
	journal_free(j);
}

static void journal_folds(void **state)
{
	struct machine_event e, out[8];
	struct journal *j;
	unsigned calls = 0;
	uint64_t repeats = 0;
	unsigned n;

	assert_int_equal(journal_new(&j), 0);
	journal_set_cb(j, count_calls, &calls);
	e = fault_at(0x1000);
	journal_add(j, &e);
	/* Others, which do not fold with it: page, access, reason, function, kind. */
	e = fault_at(0x2000);
	journal_add(j, &e);
	e = fault_at(0x1000);
	e.client = 2;
	journal_add(j, &e);
	e = fault_at(0x1000);
	e.access = IOMMU_READ;
	journal_add(j, &e);
	e = fault_at(0x1000);
	e.reason = IOMMU_FAULT_PERMISSION;
	journal_add(j, &e);
	e = fault_at(0x1000);
	strcpy(e.bdf, "0000:67:00.0");
	journal_add(j, &e);
	e = (struct machine_event){ .type = MACHINE_EVENT_RESET, .bdf = "0000:65:00.0" };
	journal_add(j, &e);
	n = journal_read(j, 0, out, 8);
	assert_int_equal(n, 7);
	assert_int_equal(calls, 7);

	/* The same page again: counted in the first, save when a second has gone by meanwhile. */
	for (unsigned i = 0; i < 100; i++) {
		e = fault_at(0x1000 + i);
		journal_add(j, &e);
	}
	n = journal_read(j, 0, out, 8);
	for (unsigned i = 0; i < n; i++)
		repeats += out[i].repeat + (i >= 7);
	assert_int_equal(repeats, 100);
	journal_free(j);
}

static void machine_journal(void **state)
{
	struct machine *m = machine_make();
	struct machine_error err;
	struct machine_event out[4];
	uint32_t word = 0;
	struct pcif *f;

	assert_int_equal(machine_add_spec(m, "testdev", &err), 0);
	assert_int_equal(machine_start(m, &err), 0);
	assert_int_equal(machine_events(m, 0, out, 4), 0);
	f = find(m, "0000:65:00.0");

	pcif_reset(f);
	assert_int_equal(pcif_dma_write(f, 0x1234, &word, sizeof(word)), -EFAULT);
	assert_int_equal(machine_events(m, 0, out, 4), 2);
	assert_int_equal(out[0].type, MACHINE_EVENT_RESET);
	assert_int_equal(out[0].group, pcif_group(f));
	assert_string_equal(out[0].bdf, "0000:65:00.0");
	assert_int_equal(out[1].type, MACHINE_EVENT_FAULT);
	assert_string_equal(out[1].bdf, "0000:65:00.0");
	assert_int_equal(out[1].group, pcif_group(f));
	assert_int_equal(out[1].iova, 0x1234);
	assert_int_equal(out[1].size, sizeof(word));
	assert_int_equal(out[1].access, IOMMU_WRITE);
	assert_int_equal(out[1].reason, IOMMU_FAULT_BUS_MASTER);

	machine_free(m);
}

/* The whole way of a client: group into a container, an address space, a device, and out again. */
static void vfio_journal(void **state)
{
	static const enum machine_event_type expected[] = {
		MACHINE_EVENT_ATTACH,
		MACHINE_EVENT_OPEN,
		MACHINE_EVENT_CLOSE,
		MACHINE_EVENT_DETACH,
	};
	struct machine *m = machine_make();
	char name[] = "0000:65:00.0";
	struct vfio_obj *container, *group;
	struct machine_event out[16];
	struct machine_error err;
	struct vfio_fd fd = { 0 };
	struct vfio_call call;
	unsigned n, seen = 0;
	struct pcif *f;
	int number = 0;

	assert_int_equal(machine_add_spec(m, "testdev", &err), 0);
	assert_int_equal(machine_start(m, &err), 0);
	f = find(m, name);
	assert_int_equal(vfio_open_container(machine_vfio(m), &container), 0);
	assert_int_equal(vfio_open_group(machine_vfio(m), pcif_group(f), &group), 0);
	vfio_group_set_client(group, 7);
	fd.obj = container;
	call = (struct vfio_call){ .request = VFIO_GROUP_SET_CONTAINER,
				   .data = &number,
				   .size = sizeof(number),
				   .fds = &fd,
				   .n_fds = 1 };
	assert_int_equal(vfio_call(group, &call), 0);
	call = (struct vfio_call){ .request = VFIO_SET_IOMMU, .value = VFIO_TYPE1v2_IOMMU };
	assert_int_equal(vfio_call(container, &call), 0);
	call = (struct vfio_call){ .request = VFIO_GROUP_GET_DEVICE_FD,
				   .data = name,
				   .size = sizeof(name) };
	assert_int_equal(pcif_client(f), 0);
	assert_int_equal(vfio_call(group, &call), 0);
	assert_int_equal(pcif_client(f), 7);
	/* A device outlives its group's file, and is still that client's. */
	vfio_obj_put(group);
	vfio_obj_put(call.new_obj);
	assert_int_equal(pcif_client(f), 0);
	vfio_obj_put(container);
	assert_int_equal(vfio_open_group(machine_vfio(m), pcif_group(f), &group), 0);
	vfio_obj_put(group);

	/* Resets come between. */
	n = machine_events(m, 0, out, 16);
	for (unsigned i = 0; i < n; i++) {
		assert_int_equal(out[i].seq, i + 1);
		assert_int_equal(out[i].group, pcif_group(f));
		assert_int_equal(out[i].client, 7);
		if (out[i].type != MACHINE_EVENT_RESET)
			assert_int_equal(out[i].type, expected[seen++]);
		if (out[i].type == MACHINE_EVENT_OPEN || out[i].type == MACHINE_EVENT_CLOSE)
			assert_string_equal(out[i].bdf, name);
	}
	assert_int_equal(seen, ARRAY_SIZE(expected));
	machine_free(m);
}

static void clients(void **state)
{
	struct machine *m = machine_make();
	struct machine_client c[3];
	struct machine_event e[8];
	unsigned a, b, d;

	assert_int_equal(machine_clients(m, c, 3), 0);
	assert_int_equal(machine_client_add(m, 100, "qemu-system-x86_64", &a), 0);
	assert_int_equal(machine_client_add(m, 101, "b", &b), 0);
	assert_int_equal(machine_client_add(m, 102, "", &d), 0);
	machine_client_remove(m, b);
	machine_client_remove(m, b);
	assert_int_equal(machine_client_add(m, 103, "e\n\xff", &b), 0);
	assert_true(a == 1 && d == 3 && b == 4);
	assert_int_equal(machine_clients(m, NULL, 0), 3);
	assert_int_equal(machine_clients(m, c, 3), 3);
	assert_true(c[0].number == 1 && c[0].pid == 100 && c[0].since_ns);
	assert_string_equal(c[0].command, "qemu-system-x86");
	assert_true(c[1].number == 3 && c[2].number == 4);
	assert_string_equal(c[2].command, "e??");
	assert_int_equal(machine_events(m, 0, e, 8), 5);
	assert_int_equal(e[0].type, MACHINE_EVENT_JOIN);
	assert_int_equal(e[3].type, MACHINE_EVENT_LEAVE);
	assert_true(e[3].client == 2 && e[3].pid == 101);
	assert_string_equal(e[3].command, "b");
	machine_free(m);
}

static void event_names(void **state)
{
	assert_string_equal(machine_event_name(MACHINE_EVENT_FAULT), "dma-fault");
	assert_string_equal(machine_event_name(MACHINE_EVENT_CLOSE), "close");
	assert_string_equal(machine_event_name((enum machine_event_type)99), "unknown");
}

static void free_of_nothing(void **state)
{
	machine_free(NULL);
	journal_free(NULL);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(spec_errors),     TEST(spec_places),     TEST(functions),
		TEST(drivers),	       TEST(spec_comma),      TEST(json_errors),
		TEST(json_devices),    TEST(json_hostile),    TEST(json_file),
		TEST(lines_of_values), TEST(journal_ring),    TEST(journal_folds),
		TEST(machine_journal), TEST(vfio_journal),    TEST(clients),
		TEST(event_names),     TEST(free_of_nothing),
	};

	return cmocka_run_group_tests_name("machine", tests, NULL, NULL);
}
