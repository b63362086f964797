/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The PCI part of /sys: shape, links, texts, modes, and what writes answer.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "door/dev/view.h"
#include "fds.h"

/* ------------------------------------------------------------------ a machine of two devices */

static int blank_create(struct pcif *f, const struct pcif_params *params, struct pcif_desc *desc,
			void **state, struct pcif_reply_error *err)
{
	desc->vendor = 0x1b36;
	desc->device = 0x0010;
	desc->subsystem_vendor = 0x1af4;
	desc->subsystem_device = 0x1100;
	desc->class_code = 0x010802;
	desc->revision = 2;
	desc->bars[0] = (struct pcif_bar){ .type = PCIF_BAR_MEM64, .size = KIB(16) };
	desc->bars[2] = (struct pcif_bar){ .type = PCIF_BAR_MEM32, .size = KIB(4) };
	desc->intx_pin = 1;
	desc->msix_vectors = 4;
	desc->msix_bar = 0;
	desc->msix_table_offset = 0x2000;
	desc->msix_pba_offset = 0x3000;
	desc->pcie = desc->pm = desc->aer = true;
	*state = f;
	return 0;
}

static void blank_destroy(void *state) {}

static uint64_t blank_read(void *state, unsigned bar, uint64_t offset, unsigned size)
{
	return 0;
}

static void blank_write(void *state, unsigned bar, uint64_t offset, unsigned size, uint64_t value)
{
}

static void blank_reset(void *state) {}

static const struct pcif_model blank = {
	.name = "blank",
	.summary = "a function without behaviour",
	.create = blank_create,
	.destroy = blank_destroy,
	.bar_read = blank_read,
	.bar_write = blank_write,
	.reset = blank_reset,
};

struct fixture {
	unsigned fds;
	struct pcim *pci;
	struct bus *bus;
	struct vfio *vfio;
	struct view *view;
};

static void add(struct pcim *pci, const char *at)
{
	struct pcif_reply_error err;
	struct pcif_params *params;
	struct pci_bdf bdf;

	assert_int_equal(pcif_bdf_parse(at, &bdf), 0);
	assert_int_equal(pcim_params_new(&params), 0);
	assert_int_equal(pcim_add(pci, bdf, &blank, params, &err), 0);
	pcim_params_free(params);
}

static int setup(void **state)
{
	static struct fixture x;

	x.fds = open_fds();
	assert_int_equal(pcim_new(&x.pci), 0);
	add(x.pci, "0000:65:00.0");
	add(x.pci, "0001:67:00.0");
	assert_int_equal(pcim_enumerate(x.pci), 0);
	assert_int_equal(bus_new(x.pci, &x.bus), 0);
	assert_int_equal(vfio_new(x.bus, &x.vfio), 0);
	assert_int_equal(bus_start(x.bus, vfio_pick_endpoints, NULL), 0);
	assert_int_equal(view_new(x.pci, x.vfio, &x.view), 0);
	*state = &x;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *x = *state;

	view_free(x->view);
	bus_free(x->bus);
	vfio_free(x->vfio);
	pcim_free(x->pci);
	return x->fds != open_fds();
}

/* ------------------------------------------------------------------ paths as in /sys */

/* Where the root's children go. */
static const struct place {
	const char *name, *path;
} places[] = {
	{ "bus-pci", "bus/pci" },
	{ "devices", "devices" },
	{ "iommu_groups", "kernel/iommu_groups" },
	{ "module", "module" },
	{ "class", "class" },
};

static struct view_node *child(struct view_node *dir, const char *name, size_t len)
{
	for (struct view_node *n = dir->child; n; n = n->next)
		if (strlen(n->name) == len && !memcmp(n->name, name, len))
			return n;
	return NULL;
}

/* The node at a path below /sys, without links. */
static struct view_node *lookup(struct view *v, const char *path)
{
	struct view_node *n = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		size_t len = strlen(places[i].path);

		if (!strncmp(path, places[i].path, len) && (!path[len] || path[len] == '/')) {
			n = child(view_root(v), places[i].name, strlen(places[i].name));
			path += len;
			break;
		}
	}
	while (n && *path == '/') {
		size_t len = strcspn(++path, "/");

		n = child(n, path, len);
		path += len;
	}
	return n;
}

static void path_of(struct view *v, struct view_node *n, char out[512])
{
	char tail[512];

	if (n->parent == view_root(v)) {
		for (size_t i = 0; i < ARRAY_SIZE(places); i++)
			if (!strcmp(places[i].name, n->name))
				strcpy(out, places[i].path);
		return;
	}
	path_of(v, n->parent, out);
	snprintf(tail, sizeof(tail), "/%s", n->name);
	assert_true(strlen(out) + strlen(tail) < 512);
	strcat(out, tail);
}

/* Where a link leads: its directory's path, shortened by each "../". */
static struct view_node *follow(struct view *v, struct view_node *link)
{
	const char *target = link->target;
	char path[512];

	path_of(v, link->parent, path);
	while (!strncmp(target, "../", 3)) {
		char *slash = strrchr(path, '/');

		assert_true(path[0]); /* above /sys */
		*(slash ? slash : path) = 0;
		target += 3;
	}
	if (path[0])
		strcat(path, "/");
	strcat(path, target);
	return lookup(v, path);
}

#define DEV "devices/pci0000:64/0000:64:00.0/0000:65:00.0"
#define PORT "devices/pci0000:64/0000:64:00.0"

static struct view_node *node_at(struct view *v, const char *dir, const char *name)
{
	char path[512];
	struct view_node *n;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	n = lookup(v, path);
	if (!n)
		fail_msg("no %s", path);
	return n;
}

static void assert_text(struct view *v, const char *dir, const char *name, const char *text)
{
	struct view_node *n = node_at(v, dir, name);
	char *buf;
	size_t size;

	assert_non_null(n->read);
	assert_int_equal(n->read(n, &buf, &size), 0);
	assert_int_equal(strlen(buf), size);
	assert_string_equal(buf, text);
	free(buf);
}

static int write_to(struct view *v, const char *dir, const char *name, const char *text)
{
	struct view_node *n = node_at(v, dir, name);

	assert_non_null(n->write);
	return n->write(n, text, strlen(text));
}

/* ------------------------------------------------------------------ tests */

static void shape(void **state)
{
	struct view *v = ((struct fixture *)*state)->view;
	uint64_t count = view_count(v);

	assert_string_equal(view_root(v)->name, "");
	assert_int_equal(view_root(v)->ino, 1);
	assert_null(view_by_ino(v, 0));
	assert_null(view_by_ino(v, count + 1));
	for (uint64_t ino = 1; ino <= count; ino++) {
		struct view_node *n = view_by_ino(v, ino);

		assert_int_equal(n->ino, ino);
		assert_true(n->parent || n == view_root(v));
		if (n->parent)
			assert_ptr_equal(child(n->parent, n->name, strlen(n->name)), n);
		if (n->type != VIEW_DIR)
			assert_null(n->child);
		if (n->type == VIEW_LINK)
			assert_non_null(n->target);
		if (n->type != VIEW_FILE)
			continue;
		assert_int_equal(!!(n->mode & 0444), n->read || n->pread);
		assert_int_equal(!!(n->mode & 0222), n->write || n->pwrite);
	}
}

static void links(void **state)
{
	struct view *v = ((struct fixture *)*state)->view;
	unsigned n_links = 0;

	for (uint64_t ino = 1; ino <= view_count(v); ino++) {
		struct view_node *n = view_by_ino(v, ino);

		if (n->type != VIEW_LINK)
			continue;
		n_links++;
		if (!follow(v, n))
			fail_msg("%s -> %s leads nowhere", n->name, n->target);
	}
	assert_true(n_links > 20);
	assert_string_equal(node_at(v, "bus/pci/devices", "0000:65:00.0")->target, "../../../" DEV);
	assert_string_equal(node_at(v, DEV, "driver")->target,
			    "../../../../bus/pci/drivers/vfio-pci");
	assert_string_equal(node_at(v, DEV, "subsystem")->target, "../../../../bus/pci");
	assert_string_equal(node_at(v, PORT, "driver")->target,
			    "../../../bus/pci/drivers/pcieport");
	assert_string_equal(node_at(v, "bus/pci/drivers/vfio-pci", "0000:65:00.0")->target,
			    "../../../../" DEV);
	assert_string_equal(node_at(v, "bus/pci/drivers/vfio-pci", "module")->target,
			    "../../../../module/vfio_pci");
	assert_string_equal(node_at(v, "class/pci_bus", "0000:65")->target,
			    "../../" PORT "/pci_bus/0000:65");
}

static void groups(void **state)
{
	struct fixture *x = *state;
	struct view_node *link, *group, *back;
	char dir[64], number[16];

	for (unsigned i = 0; i < pcim_count(x->pci); i++) {
		struct pcif *f = pcim_function(x->pci, i);
		struct view_node *device =
			follow(x->view, node_at(x->view, "bus/pci/devices", pcif_name(f)));

		link = child(device, "iommu_group", 11);
		group = follow(x->view, link);
		snprintf(number, sizeof(number), "%u", pcif_group(f));
		assert_string_equal(group->name, number);
		snprintf(dir, sizeof(dir), "kernel/iommu_groups/%s/devices", number);
		back = node_at(x->view, dir, pcif_name(f));
		assert_ptr_equal(follow(x->view, back), device);
	}
	assert_text(x->view, "kernel/iommu_groups/0", "type", "DMA-FQ\n");
	assert_text(x->view, "kernel/iommu_groups/0", "reserved_regions",
		    "0x00000000fee00000 0x00000000feefffff msi\n");
	assert_int_equal(write_to(x->view, "kernel/iommu_groups/0", "type", "DMA-FQ\n"), 0);
	assert_int_equal(write_to(x->view, "kernel/iommu_groups/0", "type", "identity"), -EBUSY);
	assert_int_equal(write_to(x->view, "kernel/iommu_groups/0", "type", "x"), -EINVAL);
}

static void every_file_reads(void **state)
{
	struct view *v = ((struct fixture *)*state)->view;

	for (uint64_t ino = 1; ino <= view_count(v); ino++) {
		struct view_node *n = view_by_ino(v, ino);
		char *buf;
		size_t size;

		if (n->type != VIEW_FILE)
			continue;
		if (n->read) {
			assert_int_equal(n->read(n, &buf, &size), 0);
			assert_true(size < 4096);
			assert_int_equal(strlen(buf), size);
			assert_true(!size || buf[size - 1] == '\n');
			free(buf);
		} else if (n->pread) {
			uint8_t byte;
			ssize_t r = n->pread(n, &byte, 1, 0);

			assert_int_equal(r, strcmp(n->name, "config") ? -EIO : 1);
		}
	}
}

static void every_file_writes(void **state)
{
	static const char *const inputs[] = {
		"", "\n", "0", "1\n", "2", "-1", "\xff\xff", "%s%n", "8086 10ca", "0000:65:00.0"
	};
	struct view *v = ((struct fixture *)*state)->view;
	char *big = malloc(8192);

	memset(big, '1', 8192);
	for (uint64_t ino = 1; ino <= view_count(v); ino++) {
		struct view_node *n = view_by_ino(v, ino);

		if (!n->write)
			continue;
		for (size_t i = 0; i < ARRAY_SIZE(inputs); i++)
			assert_true(n->write(n, inputs[i], strlen(inputs[i])) <= 0);
		assert_true(n->write(n, big, 8192) <= 0);
		assert_true(n->write(n,
				     "\0"
				     "1",
				     2) <= 0);
	}
	free(big);
}

static void identity_texts(void **state)
{
	struct view *v = ((struct fixture *)*state)->view;

	assert_text(v, DEV, "vendor", "0x1b36\n");
	assert_text(v, DEV, "device", "0x0010\n");
	assert_text(v, DEV, "subsystem_vendor", "0x1af4\n");
	assert_text(v, DEV, "subsystem_device", "0x1100\n");
	assert_text(v, DEV, "class", "0x010802\n");
	assert_text(v, DEV, "revision", "0x02\n");
	assert_text(v, DEV, "numa_node", "-1\n");
	assert_text(v, DEV, "modalias", "pci:v00001B36d00000010sv00001AF4sd00001100bc01sc08i02\n");
	assert_text(v, DEV, "uevent",
		    "DRIVER=vfio-pci\nPCI_CLASS=10802\nPCI_ID=1B36:0010\n"
		    "PCI_SUBSYS_ID=1AF4:1100\nPCI_SLOT_NAME=0000:65:00.0\n"
		    "MODALIAS=pci:v00001B36d00000010sv00001AF4sd00001100bc01sc08i02\n");
	assert_text(v, DEV, "enable", "0\n");
	assert_text(v, DEV, "power_state", "D0\n");
	assert_text(v, DEV, "reset_method", "flr pm bus\n");
	assert_text(v, DEV, "driver_override", "vfio-pci\n");
	assert_text(v, PORT, "driver_override", "(null)\n");
	assert_text(v, PORT, "class", "0x060400\n");
	assert_text(v, PORT, "secondary_bus_number", "101\n");
	assert_text(v, "module/vfio_iommu_type1/parameters", "dma_entry_limit", "65535\n");
	assert_int_equal(node_at(v, DEV, "resource0")->size, KIB(16));
	assert_int_equal(node_at(v, DEV, "resource2")->size, KIB(4));
	assert_int_equal(node_at(v, DEV, "config")->size, 4096);
	assert_int_equal(node_at(v, DEV, "config")->mode, 0644);
	assert_int_equal(node_at(v, DEV, "reset")->mode, 0200);
	assert_null(child(node_at(v, PORT, "0000:65:00.0"), "resource1", 9));
	assert_null(child(node_at(v, "devices/pci0000:64", "0000:64:00.0"), "reset", 5));
}

static void resources(void **state)
{
	struct fixture *x = *state;
	struct view_node *n = node_at(x->view, DEV, "resource");
	struct pci_bdf bdf = { .bus = 0x65 };
	struct pcif *f = pcim_find(x->pci, bdf);
	unsigned long long first, last, flags, port_first, port_last;
	unsigned lines = 0, port_lines = 0;
	bool inside = false;
	char *buf, *port, *p;
	size_t size;

	assert_int_equal(n->read(n, &buf, &size), 0);
	for (p = buf; sscanf(p, "%llx %llx %llx", &first, &last, &flags) == 3; p += 57, lines++) {
		if (lines == 0)
			assert_int_equal(flags, 0x140204);
		else if (lines == 2)
			assert_int_equal(flags, 0x40200);
		else
			assert_int_equal(first | last | flags, 0);
		if (flags)
			assert_int_equal(first, pcif_bar_address(f, lines));
	}
	assert_int_equal(lines, 13);

	/* The port's windows hold the BARs below it. */
	sscanf(buf, "%llx %llx", &first, &last);
	n = node_at(x->view, PORT, "resource");
	assert_int_equal(n->read(n, &port, &size), 0);
	for (p = port; sscanf(p, "%llx %llx %llx", &port_first, &port_last, &flags) == 3; p += 57) {
		inside |= port_first <= first && last <= port_last;
		port_lines++;
	}
	assert_int_equal(port_lines, 17);
	assert_true(inside);
	free(port);
	free(buf);
}

static void config_space(void **state)
{
	struct fixture *x = *state;
	struct view_node *n = node_at(x->view, DEV, "config");
	struct pci_bdf bdf = { .bus = 0x65 };
	struct pcif *f = pcim_find(x->pci, bdf);
	uint8_t all[4096 + 16];
	uint16_t half;

	memset(all, 0xee, sizeof(all));
	assert_int_equal(n->pread(n, all, sizeof(all), 0), 4096);
	assert_int_equal(all[4096], 0xee);
	for (unsigned i = 0; i < 4096; i++)
		assert_int_equal(all[i], pcif_config_read(f, i, 1));
	assert_int_equal(n->pread(n, all, 5, 4093), 3);
	assert_int_equal(n->pread(n, all, 5, 4096), 0);
	assert_int_equal(n->pread(n, all, 5, UINT64_MAX), 0);
	assert_int_equal(n->pread(n, &half, 2, 1), 2);
	assert_int_equal(half, 0x101b);

	half = 0x0006;
	assert_int_equal(n->pwrite(n, &half, 2, 4), 2);
	assert_int_equal(pcif_config_read(f, 4, 2), 6);
	half = 0x5a5a;
	assert_int_equal(n->pwrite(n, &half, 2, 4095), 1);
	assert_int_equal(n->pwrite(n, &half, 2, 5000), 0);
}

static void overriding(void **state)
{
	struct view *v = ((struct fixture *)*state)->view;
	char *big = malloc(4097);

	assert_int_equal(write_to(v, DEV, "driver_override", "nvme\n"), 0);
	assert_text(v, DEV, "driver_override", "nvme\n");
	assert_int_equal(write_to(v, "bus/pci/drivers/vfio-pci", "bind", "0000:65:00.0"), -ENODEV);
	assert_int_equal(write_to(v, DEV, "driver_override", "\n"), 0);
	assert_text(v, DEV, "driver_override", "(null)\n");
	assert_int_equal(write_to(v, "bus/pci/drivers/vfio-pci", "bind", "0000:65:00.0"), -ENODEV);
	assert_int_equal(write_to(v, DEV, "driver_override", "vfio-pci"), 0);
	assert_int_equal(write_to(v, "bus/pci/drivers/vfio-pci", "bind", "0000:65:00.0\n"), -EBUSY);
	memset(big, 'a', 4097);
	big[4096] = 0;
	assert_int_equal(write_to(v, DEV, "driver_override", big), -EINVAL);
	assert_text(v, DEV, "driver_override", "vfio-pci\n");
	free(big);
}

static void binding(void **state)
{
	struct view *v = ((struct fixture *)*state)->view;
	const char *d = "bus/pci/drivers/vfio-pci";

	assert_int_equal(write_to(v, d, "bind", "0000:64:00.0"), -ENODEV);
	assert_int_equal(write_to(v, d, "bind", "0000:99:00.0"), -ENODEV);
	assert_int_equal(write_to(v, d, "bind", "65:00.0"), -ENODEV);
	assert_int_equal(write_to(v, d, "unbind", "0000:64:00.0"), -ENODEV);
	assert_int_equal(write_to(v, d, "unbind", "0000:65:00.0\n"), -EOPNOTSUPP);
	assert_int_equal(write_to(v, "bus/pci/drivers/pcieport", "bind", "0000:64:00.0"), -EBUSY);
	assert_int_equal(write_to(v, "bus/pci", "drivers_probe", "0000:65:00.0\n"), 0);
	assert_int_equal(write_to(v, "bus/pci", "drivers_probe", "0000:99:00.0\n"), -ENODEV);

	assert_int_equal(write_to(v, d, "new_id", "8086"), -EINVAL);
	assert_int_equal(write_to(v, d, "new_id", "1b36 0010"), 0);
	assert_int_equal(write_to(v, d, "new_id", "1b36 0010\n"), -EEXIST);
	assert_int_equal(write_to(v, DEV, "driver_override", ""), 0);
	assert_int_equal(write_to(v, d, "bind", "0000:65:00.0"), -EBUSY);
	assert_int_equal(write_to(v, d, "remove_id", "1b36 0010"), 0);
	assert_int_equal(write_to(v, d, "remove_id", "1b36 0010"), -ENODEV);
	assert_int_equal(write_to(v, d, "bind", "0000:65:00.0"), -ENODEV);
	for (unsigned i = 0; i < 64; i++) {
		char id[32];

		snprintf(id, sizeof(id), "8086 %x", i);
		assert_int_equal(write_to(v, d, "new_id", id), 0);
	}
	assert_int_equal(write_to(v, d, "new_id", "8086 1000"), -ENOMEM);

	assert_int_equal(write_to(v, DEV, "remove", "1"), -EOPNOTSUPP);
	assert_int_equal(write_to(v, DEV, "remove", "x"), -EINVAL);
	assert_int_equal(write_to(v, "bus/pci", "rescan", "1\n"), 0);
	assert_int_equal(write_to(v, DEV, "enable", "1"), -EBUSY);
	assert_int_equal(write_to(v, DEV, "uevent", "change"), 0);
	assert_int_equal(write_to(v, DEV, "uevent", "changed"), -EINVAL);
}

static void resetting(void **state)
{
	struct fixture *x = *state;
	struct view *v = x->view;
	struct pci_bdf bdf = { .bus = 0x65 };
	struct pcif *f = pcim_find(x->pci, bdf);
	uint64_t before = pcif_reset_count(f);
	uint32_t bar;

	pcif_config_write(f, 0x10, 4, 0xe0004000);
	bar = pcif_config_read(f, 0x10, 4);
	pcif_config_write(f, 0x3c, 1, 11);
	pcif_config_write(f, 4, 2, 6);
	assert_int_equal(write_to(v, DEV, "reset", "1\n"), 0);
	assert_int_equal(pcif_reset_count(f), before + 1);
	assert_int_equal(pcif_config_read(f, 0x10, 4), bar);
	assert_int_equal(pcif_config_read(f, 4, 2), 6);
	assert_text(v, DEV, "irq", "11\n");

	assert_int_equal(write_to(v, DEV, "reset", "0"), -EINVAL);
	assert_int_equal(write_to(v, DEV, "reset", "2"), -EINVAL);
	assert_int_equal(write_to(v, DEV, "reset_method", "bus acpi"), -EINVAL);
	assert_int_equal(write_to(v, DEV, "reset_method", "bus\n"), 0);
	assert_text(v, DEV, "reset_method", "bus\n");
	assert_int_equal(write_to(v, DEV, "reset_method", ""), 0);
	assert_text(v, DEV, "reset_method", "");
	assert_int_equal(write_to(v, DEV, "reset", "1"), -ENOTTY);
	assert_int_equal(write_to(v, DEV, "reset_method", "default"), 0);
	assert_text(v, DEV, "reset_method", "flr pm bus\n");
	assert_int_equal(pcif_reset_count(f), before + 1);
}

static void small_state(void **state)
{
	struct view *v = ((struct fixture *)*state)->view;

	assert_text(v, DEV "/power", "control", "on\n");
	assert_int_equal(write_to(v, DEV "/power", "control", "auto\n"), 0);
	assert_text(v, DEV "/power", "control", "auto\n");
	assert_text(v, PORT "/power", "control", "on\n");
	assert_int_equal(write_to(v, DEV "/power", "control", "off"), -EINVAL);
	assert_int_equal(write_to(v, DEV, "d3cold_allowed", "0\n"), 0);
	assert_text(v, DEV, "d3cold_allowed", "0\n");
	assert_int_equal(write_to(v, DEV, "d3cold_allowed", "no"), -EINVAL);
	assert_int_equal(write_to(v, DEV, "broken_parity_status", "1"), 0);
	assert_text(v, DEV, "broken_parity_status", "1\n");
	assert_int_equal(write_to(v, DEV, "msi_bus", "0"), -EOPNOTSUPP);
	assert_int_equal(write_to(v, DEV, "numa_node", "-1"), 0);
	assert_int_equal(write_to(v, DEV, "numa_node", "0"), -EINVAL);
	assert_int_equal(write_to(v, "bus/pci", "drivers_autoprobe", "0"), 0);
	assert_text(v, "bus/pci", "drivers_autoprobe", "0\n");
}

static void empty_machine(void **state)
{
	struct pcim *pci;
	struct bus *bus;
	struct vfio *vfio;
	struct view *v;

	assert_int_equal(pcim_new(&pci), 0);
	assert_int_equal(pcim_enumerate(pci), 0);
	assert_int_equal(bus_new(pci, &bus), 0);
	assert_int_equal(vfio_new(bus, &vfio), 0);
	assert_int_equal(bus_start(bus, NULL, NULL), 0);
	assert_int_equal(view_new(pci, vfio, &v), 0);
	assert_null(lookup(v, "devices")->child);
	assert_null(lookup(v, "bus/pci/devices")->child);
	assert_non_null(lookup(v, "bus/pci/slots"));
	view_free(v);
	view_free(NULL);
	bus_free(bus);
	vfio_free(vfio);
	pcim_free(pci);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(shape),
		TEST(links),
		TEST(groups),
		TEST(every_file_reads),
		TEST(every_file_writes),
		TEST(identity_texts),
		TEST(resources),
		TEST(config_space),
		TEST(overriding),
		TEST(binding),
		TEST(resetting),
		TEST(small_state),
		TEST(empty_machine),
	};

	return cmocka_run_group_tests_name("view", tests, NULL, NULL);
}
