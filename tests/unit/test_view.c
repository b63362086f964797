/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The PCI part of /sys: shape, links, texts, modes, and what writes answer. How it changes is
 * test_view_live.c's.
 */
#include "view_fixture.h"

/* ------------------------------------------------------------------ tests */

static void check_shape(struct view *v, struct view_node *n, const char *path)
{
	struct view_stat st, again;

	assert_int_equal(view_stat(v, n->ino, &st), 0);
	assert_int_equal(view_lookup(v, n->parent->ino, n->name, &again), 0);
	assert_int_equal(again.ino, n->ino);
	assert_int_equal(st.type, n->type);
	if (n->type != VIEW_DIR) {
		assert_null(n->child);
		assert_int_equal(view_lookup(v, n->ino, "x", &st), -ENOENT);
	}
	if (n->type == VIEW_LINK)
		assert_int_equal(st.size, strlen(n->target));
	if (n->type != VIEW_FILE)
		return;
	assert_int_equal(!!(n->mode & 0444), n->read || n->pread);
	assert_int_equal(!!(n->mode & 0222), n->write || n->act || n->pwrite);
}

static void shape(void **state)
{
	struct view *v = ((struct fixture *)*state)->view;
	struct view_stat st;
	struct view_node *n;
	char *target;

	assert_int_equal(view_root_ino(v), 1);
	assert_true(visit_all(v, check_shape) > 200);
	assert_int_equal(view_stat(v, 0, &st), -ENOENT);
	assert_int_equal(view_stat(v, 1u << 20, &st), -ENOENT);
	assert_int_equal(view_open(v, UINT64_MAX, &n), -ENOENT);
	assert_int_equal(view_lookup(v, UINT64_MAX, "x", &st), -ENOENT);
	assert_int_equal(view_readlink(v, 1, &target), -EINVAL);
	assert_int_equal(view_readlink(v, UINT64_MAX, &target), -ENOENT);
}

static unsigned n_links;

static void check_link(struct view *v, struct view_node *n, const char *path)
{
	char target[512];

	if (n->type != VIEW_LINK)
		return;
	n_links++;
	follow(v, path, target);
	/* What classes there are is not all shown by us. */
	if (!exists(v, target) && strcmp(target, "class/pci_bus"))
		fail_msg("%s -> %s leads nowhere", path, target);
}

static void links(void **state)
{
	struct view *v = ((struct fixture *)*state)->view;
	char *target;

	n_links = 0;
	visit_all(v, check_link);
	assert_true(n_links > 20);
	assert_int_equal(view_readlink(v, ino_of(v, "bus/pci/devices/" BDF), &target), 0);
	assert_string_equal(target, "../../../" DEV);
	free(target);
	assert_link(v, DEV "/driver", "bus/pci/drivers/vfio-pci");
	assert_link(v, DEV "/subsystem", "bus/pci");
	assert_link(v, PORT "/driver", "bus/pci/drivers/pcieport");
	assert_link(v, "bus/pci/drivers/vfio-pci/" BDF, DEV);
	assert_link(v, "bus/pci/drivers/vfio-pci/module", "module/vfio_pci");
	assert_link(v, "bus/pci/drivers/nvme/module", "module/nvme");
	assert_link(v, "module/nvme/drivers/pci:nvme", "bus/pci/drivers/nvme");
	assert_false(exists(v, "bus/pci/drivers/pcieport/module"));
	assert_link(v, "class/pci_bus/0000:65", PORT "/pci_bus/0000:65");
	assert_link(v, "class/pci_bus/0000:64", "devices/pci0000:64/pci_bus/0000:64");
	assert_link(v, PORT "/pci_bus/0000:65/device", PORT);
}

static void groups(void **state)
{
	struct fixture *x = *state;
	struct view *v = x->view;
	char path[128], device[512], group[512], want[64], back[512];

	for (unsigned i = 0; i < pcim_count(x->pci); i++) {
		struct pcif *f = pcim_function(x->pci, i);
		uint64_t id;
		unsigned number;

		snprintf(path, sizeof(path), "bus/pci/devices/%s", pcif_name(f));
		follow(v, path, device);
		strcat(device, "/iommu_group");
		follow(v, device, group);
		*strrchr(device, '/') = 0;
		snprintf(want, sizeof(want), "kernel/iommu_groups/%u", pcif_group(f));
		assert_string_equal(group, want);
		snprintf(path, sizeof(path), "%s/devices/%s", want, pcif_name(f));
		follow(v, path, back);
		assert_string_equal(back, device);
		assert_true(view_group_id(v, pcif_group(f), &id));
		assert_true(view_group_number(v, id, &number));
		assert_int_equal(number, pcif_group(f));
	}
	assert_text(v, "kernel/iommu_groups/0", "type", "DMA-FQ\n");
	assert_text(v, "kernel/iommu_groups/0", "reserved_regions",
		    "0x00000000fee00000 0x00000000feefffff msi\n");
	assert_int_equal(write_to(v, "kernel/iommu_groups/0", "type", "DMA-FQ\n"), 0);
	assert_int_equal(write_to(v, "kernel/iommu_groups/0", "type", "identity"), -EBUSY);
	assert_int_equal(write_to(v, "kernel/iommu_groups/0", "type", "x"), -EINVAL);
}

static void check_read(struct view *v, struct view_node *n, const char *path)
{
	uint8_t byte;
	size_t size;
	char *buf;

	if (n->type != VIEW_FILE)
		return;
	if (n->read) {
		assert_int_equal(n->read(n, &buf, &size), 0);
		assert_true(size < 4096);
		assert_int_equal(strlen(buf), size);
		assert_true(!size || buf[size - 1] == '\n');
		free(buf);
	} else if (n->pread) {
		/* VFIO's functions do not decode until they are opened. */
		assert_int_equal(n->pread(n, &byte, 1, 0), strcmp(n->name, "config") ? -EIO : 1);
	}
}

static void every_file_reads(void **state)
{
	visit_all(((struct fixture *)*state)->view, check_read);
}

static void check_write(struct view *v, struct view_node *n, const char *path)
{
	static const char *const inputs[] = { "",	  "\n",	  "0",	       "2",	      "-1",
					      "\xff\xff", "%s%n", "8086 10ca", "9999:65:00.0" };
	char big[4096];

	memset(big, '1', sizeof(big));
	if (!n->write && !n->act)
		return;
	for (size_t i = 0; i < ARRAY_SIZE(inputs); i++)
		assert_true(node_write(n, inputs[i], strlen(inputs[i]), NULL) <= 0);
	assert_true(node_write(n, big, sizeof(big), NULL) <= 0);
	assert_true(node_write(n,
			       "\0"
			       "1",
			       2, NULL) <= 0);
}

static void every_file_writes(void **state)
{
	visit_all(((struct fixture *)*state)->view, check_write);
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
	assert_int_equal(stat_at(v, DEV "/resource0").size, KIB(16));
	assert_int_equal(stat_at(v, DEV "/resource2").size, KIB(4));
	assert_int_equal(stat_at(v, DEV "/resource3").size, 32);
	assert_int_equal(stat_at(v, DEV "/config").size, 4096);
	assert_int_equal(stat_at(v, DEV "/config").mode, 0644);
	assert_int_equal(stat_at(v, DEV "/reset").mode, 0200);
	assert_int_equal(stat_at(v, DEV "/remove").mode, 0220);
	assert_false(exists(v, DEV "/resource1"));
	assert_false(exists(v, PORT "/reset"));
	assert_false(exists(v, DEV "/msi_irqs"));
	/* What the name of a thing that stays says may be kept, nothing else. */
	assert_true(stat_at(v, "bus/pci/drivers/nvme/bind").fixed);
	assert_true(stat_at(v, "devices/pci0000:64/pci_bus/0000:64").fixed);
	assert_false(stat_at(v, DEV).fixed);
	assert_false(stat_at(v, DEV "/driver").fixed);
	assert_false(stat_at(v, "bus/pci/drivers/vfio-pci/" BDF).fixed);
	assert_false(stat_at(v, "kernel/iommu_groups/0").fixed);
	assert_false(stat_at(v, "class/pci_bus/0000:65").fixed);
}

static void resources(void **state)
{
	struct fixture *x = *state;
	struct view_node *n = node_at(x->view, DEV, "resource");
	struct pcif *f = function(x, BDF);
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
		else if (lines == 3)
			assert_int_equal(flags, 0x40101);
		else
			assert_int_equal(first | last | flags, 0);
		if (flags)
			assert_int_equal(first, pcif_bar_address(f, lines));
	}
	assert_int_equal(lines, 13);
	view_put(n);

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
	view_put(n);
}

static void config_space(void **state)
{
	struct fixture *x = *state;
	struct view_node *n = node_at(x->view, DEV, "config");
	struct pcif *f = function(x, BDF);
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
	view_put(n);
}

/* Source: pci_resource_io(). */
static void bars(void **state)
{
	struct fixture *x = *state;
	struct view_node *memory = node_at(x->view, DEV, "resource0");
	struct view_node *io = node_at(x->view, DEV, "resource3");
	struct pcif *f = function(x, BDF);
	uint8_t buf[8];

	assert_int_equal(memory->pread(memory, buf, 4, 0), -EIO);
	assert_int_equal(memory->pwrite(memory, buf, 4, 0), -EIO);
	assert_int_equal(io->pread(io, buf, 1, 0), -EIO); /* does not decode */
	pcif_config_write(f, 4, 2, 1);
	assert_int_equal(io->pread(io, buf, 1, 5), 1);
	assert_int_equal(buf[0], 0x45);
	assert_int_equal(io->pwrite(io, buf, 4, 28), 4);
	assert_int_equal(io->pread(io, buf, 3, 0), -EINVAL);
	assert_int_equal(io->pread(io, buf, 8, 0), -EINVAL);
	assert_int_equal(io->pread(io, buf, 2, 31), -EINVAL);
	assert_int_equal(io->pread(io, buf, 2, 32), 0);
	view_put(memory);
	view_put(io);
}

/* C1. */
static void overriding(void **state)
{
	struct view *v = ((struct fixture *)*state)->view;
	struct view_node *n = node_at(v, DEV, "driver_override");
	char big[4096];

	assert_int_equal(write_to(v, DEV, "driver_override", "nvme\n"), 0);
	assert_text(v, DEV, "driver_override", "nvme\n");
	assert_int_equal(write_to(v, DEV, "driver_override", "\n"), 0);
	assert_text(v, DEV, "driver_override", "(null)\n");
	assert_int_equal(write_to(v, DEV, "driver_override", "one\ntwo"), 0);
	assert_text(v, DEV, "driver_override", "one\n");
	assert_int_equal(write_to(v, DEV, "driver_override", ""), 0);
	assert_text(v, DEV, "driver_override", "(null)\n");
	memset(big, 'a', sizeof(big));
	assert_int_equal(n->write(n, big, 4096), -EINVAL);
	assert_int_equal(n->write(n, big, 4095), -EINVAL);
	assert_text(v, DEV, "driver_override", "(null)\n");
	assert_int_equal(n->write(n, big, 4094), 0);
	/* It takes effect at the next match only. */
	assert_link(v, DEV "/driver", "bus/pci/drivers/vfio-pci");
	view_put(n);
}

/* C2: what bind, unbind, drivers_probe, new_id and remove_id answer. */
static void binding(void **state)
{
	struct view *v = ((struct fixture *)*state)->view;
	const char *d = "bus/pci/drivers/vfio-pci", *nvme = "bus/pci/drivers/nvme";

	assert_int_equal(write_to(v, d, "bind", BDF "\n"), -EBUSY);
	assert_int_equal(write_to(v, d, "bind", PORT_BDF), -ENODEV);
	assert_int_equal(write_to(v, d, "bind", "0000:99:00.0"), -ENODEV);
	assert_int_equal(write_to(v, d, "bind", "65:00.0"), -ENODEV);
	assert_int_equal(write_to(v, d, "bind", BDF " "), -ENODEV);
	assert_int_equal(write_to(v, d, "bind", BDF "\n\n"), -ENODEV);
	assert_int_equal(write_to(v, d, "bind", ""), -ENODEV);
	assert_int_equal(write_to(v, nvme, "bind", BDF), -ENODEV);
	assert_int_equal(write_to(v, nvme, "unbind", BDF), -ENODEV);
	assert_int_equal(write_to(v, d, "unbind", PORT_BDF), -ENODEV);
	assert_int_equal(write_to(v, "bus/pci/drivers/pcieport", "bind", PORT_BDF), -EBUSY);
	assert_int_equal(write_to(v, "bus/pci", "drivers_probe", BDF "\n"), 0);
	assert_int_equal(write_to(v, "bus/pci", "drivers_probe", "0000:99:00.0\n"), -ENODEV);

	assert_int_equal(write_to(v, d, "unbind", BDF "\n"), 0);
	assert_int_equal(write_to(v, d, "unbind", BDF), -ENODEV);
	assert_int_equal(write_to(v, nvme, "bind", BDF), -ENODEV); /* the override is vfio-pci */
	assert_int_equal(write_to(v, DEV, "driver_override", ""), 0);
	assert_int_equal(write_to(v, d, "bind", BDF), -ENODEV);
	assert_int_equal(write_to(v, nvme, "bind", BDF "\n"), 0);
	assert_link(v, DEV "/driver", nvme);
	assert_int_equal(write_to(v, nvme, "bind", BDF), -EBUSY);

	/* Bridges are not for vfio-pci (C3). */
	assert_int_equal(write_to(v, "bus/pci/drivers/pcieport", "unbind", PORT_BDF), 0);
	assert_int_equal(write_to(v, PORT, "driver_override", "vfio-pci"), 0);
	assert_int_equal(write_to(v, d, "bind", PORT_BDF), -EINVAL);
	assert_int_equal(write_to(v, "bus/pci", "drivers_probe", PORT_BDF), -EINVAL);
}

static void identifiers(void **state)
{
	struct view *v = ((struct fixture *)*state)->view;
	const char *d = "bus/pci/drivers/vfio-pci", *stub = "bus/pci/drivers/pci-stub";

	assert_int_equal(write_to(v, d, "new_id", "8086"), -EINVAL);
	assert_int_equal(write_to(v, d, "new_id", "x y"), -EINVAL);
	assert_int_equal(write_to(v, d, "new_id", "\n"), -EINVAL);
	assert_int_equal(write_to(v, d, "new_id", "-1 -1"), -EINVAL);
	assert_int_equal(write_to(v, d, "new_id", "8086 +1"), -EINVAL);
	assert_int_equal(write_to(v, d, "new_id", "1b36, 0010"), -EINVAL);
	assert_int_equal(write_to(v, d, "new_id", " 0x1b36\t0X9999 and more"), 0);
	assert_int_equal(write_to(v, d, "remove_id", "1b36 9999"), 0);
	assert_int_equal(write_to(v, d, "new_id", "1b36 0010"), 0);
	assert_int_equal(write_to(v, d, "new_id", "1b36 0010\n"), -EEXIST);
	assert_int_equal(write_to(v, d, "new_id", "1 2 3 4 0 0 5"), -EINVAL);
	assert_int_equal(write_to(v, stub, "new_id", "1 2 3 4 0 0 5"), 0);
	assert_int_equal(write_to(v, "bus/pci/drivers/nvme", "new_id", "1 2 3 4 10802"), -EEXIST);
	assert_int_equal(write_to(v, "bus/pci/drivers/nvme", "new_id", "1 2 3 4 10802 0 0"), 0);

	/* It binds by id where no override says otherwise. */
	assert_int_equal(write_to(v, DEV, "driver_override", ""), 0);
	assert_int_equal(write_to(v, d, "unbind", BDF), 0);
	assert_int_equal(write_to(v, d, "bind", BDF), 0);
	/* Without subsystem: whichever it is. */
	assert_int_equal(write_to(v, d, "remove_id", "8086"), -EINVAL);
	assert_int_equal(write_to(v, d, "remove_id", "1b36 0011"), -ENODEV);
	assert_int_equal(write_to(v, d, "remove_id", "1b36 0010"), 0);
	assert_int_equal(write_to(v, d, "remove_id", "1b36 0010"), -ENODEV);
	assert_int_equal(write_to(v, d, "new_id", "1 2 3 4"), 0);
	assert_int_equal(write_to(v, d, "remove_id", "1 2 5"), -ENODEV);
	assert_int_equal(write_to(v, d, "remove_id", "1 2"), 0);
	assert_link(v, DEV "/driver", d); /* what is bound stays bound */
	for (unsigned i = 0; i < 64; i++) {
		char id[32];

		snprintf(id, sizeof(id), "8086 %x", i);
		assert_int_equal(write_to(v, d, "new_id", id), 0);
	}
	assert_int_equal(write_to(v, d, "new_id", "8086 1000"), -ENOMEM);
	/* And what is unbound is probed at once. */
	assert_int_equal(write_to(v, d, "unbind", BDF), 0);
	assert_int_equal(write_to(v, stub, "new_id", "1b36 0010"), 0);
	assert_link(v, DEV "/driver", stub);
}

static void removing(void **state)
{
	struct view *v = ((struct fixture *)*state)->view;

	assert_int_equal(write_to(v, DEV, "remove", "x"), -EINVAL);
	assert_int_equal(write_to(v, DEV, "remove", "0"), 0);
	assert_true(exists(v, DEV));
	assert_int_equal(write_to(v, DEV, "remove", "1\n"), 0);
	assert_false(exists(v, DEV));
	assert_int_equal(write_to(v, "bus/pci", "rescan", "x"), -EINVAL);
	assert_int_equal(write_to(v, "bus/pci", "rescan", "0"), 0);
	assert_false(exists(v, DEV));
	assert_int_equal(write_to(v, PORT, "rescan", "1\n"), 0);
	assert_true(exists(v, DEV));
	assert_int_equal(write_to(v, "devices/pci0000:64/pci_bus/0000:64", "rescan", "1"), 0);
}

static void resetting(void **state)
{
	struct fixture *x = *state;
	struct view *v = x->view;
	struct pcif *f = function(x, BDF);
	uint64_t before = pcif_reset_count(f);
	uint32_t bar;

	pcif_config_write(f, 0x10, 4, 0xe0004000);
	bar = pcif_config_read(f, 0x10, 4);
	pcif_config_write(f, 0x3c, 1, 11);
	pcif_config_write(f, 4, 2, 6);
	assert_int_equal(write_to(v, DEV, "reset", "1\n"), 0);
	assert_int_equal(pcif_reset_count(f), before + 1);
	assert_int_equal(write_to(v, DEV, "reset", "x"), -EINVAL);
	assert_int_equal(pcif_config_read(f, 0x10, 4), bar);
	assert_int_equal(pcif_config_read(f, 4, 2), 6);
	assert_text(v, DEV, "irq", "11\n");

	assert_int_equal(write_to(v, DEV, "reset", "0"), -EINVAL);
	assert_int_equal(write_to(v, DEV, "reset", "2"), -EINVAL);
	assert_int_equal(write_to(v, DEV, "reset_method", "bus acpi"), -EINVAL);
	assert_int_equal(write_to(v, DEV, "reset_method", "flr\nbus"), -EINVAL);
	assert_int_equal(write_to(v, DEV, "reset_method", "default flr"), -EINVAL);
	assert_int_equal(write_to(v, DEV, "reset_method", "FLR"), -EINVAL);
	assert_text(v, DEV, "reset_method", "flr pm bus\n");
	assert_int_equal(write_to(v, DEV, "reset_method", " \tpm  flr\t\n"), 0);
	assert_text(v, DEV, "reset_method", "pm flr\n");
	assert_int_equal(write_to(v, DEV, "reset_method", "bus\n"), 0);
	assert_text(v, DEV, "reset_method", "bus\n");
	assert_int_equal(write_to(v, DEV, "reset_method", "bus  flr\n"), 0);
	assert_text(v, DEV, "reset_method", "bus flr\n");
	assert_int_equal(write_to(v, DEV, "reset_method", "flr flr flr flr flr flr flr flr"),
			 -EINVAL);
	assert_int_equal(write_to(v, DEV, "reset_method", ""), 0);
	assert_text(v, DEV, "reset_method", "");
	assert_int_equal(write_to(v, DEV, "reset", "1"), -ENOTTY);
	assert_int_equal(write_to(v, DEV, "reset_method", "default"), 0);
	assert_text(v, DEV, "reset_method", "flr pm bus\n");
	assert_int_equal(pcif_reset_count(f), before + 1);
}

/* Source: enable_store(), enable_show(). */
static void enabling(void **state)
{
	struct fixture *x = *state;
	struct view *v = x->view;
	struct pcif *f = function(x, BDF);

	assert_text(v, DEV, "enable", "0\n");
	assert_text(v, PORT, "enable", "1\n");
	assert_int_equal(write_to(v, DEV, "enable", "1"), -EBUSY);
	assert_int_equal(write_to(v, DEV, "enable", "x"), -EINVAL);
	assert_int_equal(write_to(v, "bus/pci/drivers/vfio-pci", "unbind", BDF), 0);
	assert_int_equal(write_to(v, DEV, "enable", "0"), -EIO);
	assert_int_equal(write_to(v, DEV, "enable", "1"), 0);
	assert_int_equal(write_to(v, DEV, "enable", "1"), 0);
	assert_text(v, DEV, "enable", "2\n");
	assert_int_equal(pcif_config_read(f, 4, 2) & 3, 3);
	assert_int_equal(write_to(v, DEV, "enable", "0"), 0);
	assert_int_equal(write_to(v, DEV, "driver_override", "nvme"), 0);
	assert_int_equal(write_to(v, "bus/pci", "drivers_probe", BDF), 0);
	assert_text(v, DEV, "enable", "2\n");
	assert_text(v, DEV, "dma_mask_bits", "64\n");
	assert_int_equal(write_to(v, DEV, "enable", "0"), -EBUSY);
}

static void small_state(void **state)
{
	struct view *v = ((struct fixture *)*state)->view;

	assert_text(v, DEV "/power", "control", "on\n");
	assert_int_equal(write_to(v, DEV "/power", "control", "auto\n"), 0);
	assert_text(v, DEV "/power", "control", "auto\n");
	assert_text(v, PORT "/power", "control", "on\n");
	assert_int_equal(write_to(v, DEV "/power", "control", "off"), -EINVAL);
	assert_int_equal(write_to(v, "devices/pci0000:64/power", "control", "auto"), 0);
	assert_text(v, "devices/pci0000:64/power", "control", "auto\n");
	assert_int_equal(write_to(v, PORT "/pci_bus/0000:65/power", "control", "auto"), 0);
	assert_text(v, PORT "/pci_bus/0000:65/power", "control", "auto\n");
	assert_text(v, PORT "/power", "control", "on\n");
	assert_text(v, DEV, "d3cold_allowed", "1\n");
	assert_int_equal(write_to(v, DEV, "d3cold_allowed", "0\n"), 0);
	assert_text(v, DEV, "d3cold_allowed", "0\n");
	assert_int_equal(write_to(v, DEV, "d3cold_allowed", "no"), -EINVAL);
	assert_int_equal(write_to(v, DEV, "broken_parity_status", "0x10"), 0);
	assert_text(v, DEV, "broken_parity_status", "1\n");
	assert_int_equal(write_to(v, DEV, "msi_bus", "0"), -EOPNOTSUPP);
	assert_int_equal(write_to(v, DEV, "numa_node", "-1"), 0);
	assert_int_equal(write_to(v, DEV, "numa_node", "0"), -EINVAL);
	assert_int_equal(write_to(v, "bus/pci", "drivers_autoprobe", "0"), 0);
	assert_text(v, "bus/pci", "drivers_autoprobe", "0\n");
	assert_int_equal(write_to(v, "bus/pci", "resource_alignment", "20@00:00.0"), -EOPNOTSUPP);
	assert_int_equal(write_to(v, DEV, "uevent", "change"), 0);
	assert_int_equal(write_to(v, DEV, "uevent", "changed"), -EINVAL);
}

static void empty_machine(void **state)
{
	struct pcim *pci;
	struct bus *bus;
	struct vfio *vfio;
	struct view *v;
	uint64_t id;

	assert_int_equal(pcim_new(&pci), 0);
	assert_int_equal(pcim_enumerate(pci), 0);
	assert_int_equal(bus_new(pci, &bus), 0);
	assert_int_equal(vfio_new(bus, &vfio), 0);
	assert_int_equal(bus_start(bus, NULL, NULL), 0);
	assert_int_equal(view_new(pci, vfio, &v), 0);
	assert_true(exists(v, "devices"));
	assert_true(exists(v, "bus/pci/devices"));
	assert_true(exists(v, "bus/pci/slots"));
	assert_false(view_group_id(v, 0, &id));
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
		TEST(bars),
		TEST(overriding),
		TEST(binding),
		TEST(identifiers),
		TEST(removing),
		TEST(resetting),
		TEST(enabling),
		TEST(small_state),
		TEST(empty_machine),
	};

	return cmocka_run_group_tests_name("view", tests, NULL, NULL);
}
