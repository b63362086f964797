/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * VFIO on PFs and VFs: tokens, what a VF's owner sees, resets and power of a PF with VFs, and the
 * end of VFs that are in use. Rules C5, D6, D7 of docs/rules.md.
 */
#include <linux/pci_regs.h>
#include <pthread.h>

#include "vfio_fixture.h"

#define UUID1 "01234567-89ab-cdef-0123-456789ABCDEF"
#define UUID2 "01234567-89ab-cdef-0123-456789abcdee"

static struct pci_bdf bdf_of(const char *text)
{
	struct pci_bdf bdf;

	assert_int_equal(pcif_bdf_parse(text, &bdf), 0);
	return bdf;
}

/* One owner of one function. */
struct owner {
	struct vfio_obj *container, *group, *dev;
};

static void owner_init(struct fixture *x, struct owner *o, const char *bdf, bool ready)
{
	assert_int_equal(vfio_open_container(x->v, &o->container), 0);
	assert_int_equal(vfio_open_group(x->v, pcif_group(find(x, bdf)), &o->group), 0);
	o->dev = NULL;
	if (!ready)
		return;
	assert_int_equal(set_container(x, o->group, o->container), 0);
	assert_int_equal(call_value(x, o->container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU), 0);
}

static int owner_open(struct fixture *x, struct owner *o, const char *name)
{
	char text[160];
	int ret;

	snprintf(text, sizeof(text), "%s", name);
	ret = call_fds(x, o->group, VFIO_GROUP_GET_DEVICE_FD, text, sizeof(text), NULL, 0);
	if (!ret)
		o->dev = x->new_obj;
	return ret;
}

static void owner_close(struct owner *o)
{
	vfio_obj_put(o->dev);
	o->dev = NULL;
}

static void owner_fini(struct owner *o)
{
	owner_close(o);
	vfio_obj_put(o->group);
	vfio_obj_put(o->container);
}

static uint32_t cfg_get(struct owner *o, unsigned at, unsigned n)
{
	uint32_t v = 0;

	assert_int_equal(vfio_device_read(o->dev, &v, n, region(VFIO_PCI_CONFIG_REGION_INDEX, at)),
			 n);
	return v;
}

static void cfg_put(struct owner *o, unsigned at, unsigned n, uint32_t v)
{
	assert_int_equal(vfio_device_write(o->dev, &v, n, region(VFIO_PCI_CONFIG_REGION_INDEX, at)),
			 n);
}

static int set_token(struct fixture *x, struct owner *o, uint32_t flags, uint32_t argsz,
		     const uint8_t uuid[16])
{
	struct {
		struct vfio_device_feature h;
		uint8_t uuid[16];
	} r = { .h = { .argsz = argsz, .flags = flags | VFIO_DEVICE_FEATURE_PCI_VF_TOKEN } };

	if (uuid)
		memcpy(r.uuid, uuid, 16);
	return call_fds(x, o->dev, VFIO_DEVICE_FEATURE, &r, MIN(argsz, sizeof(r)), NULL, 0);
}

/* D6: the text. */
static void token_text(void **state)
{
	static const char *const bad[] = {
		PF " vf_token=" UUID1 "x",
		PF " vf_token=" UUID1 " vf_token=" UUID1,
		PF " vf_token=01234567-89ab-cdef-0123-456789abcde",
		PF " vf_token=0123456789ab-cdef-0123-456789abcdefabcd",
		PF " vf_token=g1234567-89ab-cdef-0123-456789abcdef",
		PF " vf_token=",
		PF " vf_token= " UUID1,
		PF " " UUID1,
		PF " token=" UUID1,
	};
	struct fixture *x = *state;
	struct owner pf, full;

	owner_init(x, &pf, PF, true);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(owner_open(x, &pf, bad[i]), -EINVAL);
	assert_int_equal(owner_open(x, &pf, PF "x"), -ENODEV);
	assert_int_equal(owner_open(x, &pf, PF "   vf_token=" UUID1 "  "), 0);
	owner_close(&pf);
	assert_int_equal(owner_open(x, &pf, PF "  "), 0);
	owner_fini(&pf);
	/* Not a PF. */
	owner_init(x, &full, FULL, true);
	assert_int_equal(owner_open(x, &full, FULL " vf_token=" UUID1), -EINVAL);
	owner_fini(&full);
}

/* D6: who has to say what. */
static void tokens(void **state)
{
	const uint8_t uuid2[16] = { 0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef,
				    0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xee };
	struct fixture *x = *state;
	struct owner pf, vf, vf1;

	assert_int_equal(bus_sriov_set(x->bus, x->pf, 2, NULL), 0);
	/* The token of a PF that nobody has set is nobody's. That comes before the container. */
	owner_init(x, &vf, VF0, false);
	assert_int_equal(owner_open(x, &vf, VF0), -EACCES);
	assert_int_equal(owner_open(x, &vf, VF0 " vf_token=" UUID1), -EACCES);
	owner_init(x, &pf, PF, true);
	assert_int_equal(owner_open(x, &pf, PF " vf_token=" UUID1), 0);
	assert_int_equal(owner_open(x, &vf, VF0 " vf_token=" UUID1), -EINVAL);
	assert_int_equal(set_container(x, vf.group, vf.container), 0);
	assert_int_equal(call_value(x, vf.container, VFIO_SET_IOMMU, VFIO_TYPE1_IOMMU), 0);
	assert_int_equal(owner_open(x, &vf, VF0 " vf_token=" UUID2), -EACCES);
	assert_int_equal(owner_open(x, &vf, VF0 " vf_token=01234567-89AB-cdef-0123-456789abcdef"),
			 0);
	/* VFs are in use: whoever opens the PF has to be of the same mind. */
	owner_close(&pf);
	assert_int_equal(owner_open(x, &pf, PF), -EACCES);
	assert_int_equal(owner_open(x, &pf, PF " vf_token=" UUID2), -EACCES);
	assert_int_equal(owner_open(x, &pf, PF " vf_token=" UUID1), 0);
	/* Who has it open may still set another. */
	assert_int_equal(set_token(x, &pf, VFIO_DEVICE_FEATURE_SET, 8 + 16, uuid2), 0);
	owner_init(x, &vf1, VF1, true);
	assert_int_equal(owner_open(x, &vf1, VF1 " vf_token=" UUID1), -EACCES);
	assert_int_equal(owner_open(x, &vf1, VF1 " vf_token=" UUID2), 0);
	owner_close(&pf);
	/* The last VF in use counts, and a token outlives all files. */
	owner_close(&vf1);
	assert_int_equal(owner_open(x, &pf, PF), -EACCES);
	owner_close(&vf);
	assert_int_equal(owner_open(x, &pf, PF), 0);
	owner_close(&pf);
	assert_int_equal(owner_open(x, &vf, VF0 " vf_token=" UUID2), 0);
	owner_fini(&vf1);
	owner_fini(&vf);
	owner_fini(&pf);

	/* A new one with each binding. */
	assert_int_equal(bus_unbind(x->bus, NULL, bdf_of(PF), NULL), 0);
	assert_int_equal(bus_probe(x->bus, bdf_of(PF), NULL), 0);
	assert_int_equal(bus_sriov_set(x->bus, x->pf, 1, NULL), 0);
	owner_init(x, &vf, VF0, true);
	assert_int_equal(owner_open(x, &vf, VF0 " vf_token=" UUID2), -EACCES);
	owner_fini(&vf);
	/* VFs of a host driver have none. */
	assert_int_equal(bus_unbind(x->bus, NULL, bdf_of(PF), NULL), 0);
	assert_int_equal(bus_override_set(x->bus, x->pf, "igb"), 0);
	assert_int_equal(bus_probe(x->bus, bdf_of(PF), NULL), 0);
	assert_int_equal(bus_sriov_set_autoprobe(x->bus, x->pf, false), 0);
	assert_int_equal(bus_sriov_set(x->bus, x->pf, 1, NULL), 0);
	assert_int_equal(bus_override_set(x->bus, find(x, VF0), "vfio-pci"), 0);
	assert_int_equal(bus_probe(x->bus, bdf_of(VF0), NULL), 0);
	owner_init(x, &vf, VF0, true);
	assert_int_equal(owner_open(x, &vf, VF0 " vf_token=" UUID2), -EINVAL);
	assert_int_equal(owner_open(x, &vf, VF0), 0);
	owner_fini(&vf);
}

/* D6: FEATURE 0. */
static void token_feature(void **state)
{
	const uint32_t get = VFIO_DEVICE_FEATURE_GET, set = VFIO_DEVICE_FEATURE_SET;
	const uint32_t probe = VFIO_DEVICE_FEATURE_PROBE;
	struct fixture *x = *state;
	struct owner pf, vf, full;

	assert_int_equal(bus_sriov_set(x->bus, x->pf, 1, NULL), 0);
	owner_init(x, &pf, PF, true);
	assert_int_equal(owner_open(x, &pf, PF " vf_token=" UUID1), 0);
	assert_int_equal(set_token(x, &pf, probe | set, 8, NULL), 0);
	assert_int_equal(set_token(x, &pf, probe | get, 8, NULL), -EINVAL);
	assert_int_equal(set_token(x, &pf, get, 24, NULL), -EINVAL);
	assert_int_equal(set_token(x, &pf, set, 23, NULL), -EINVAL);
	owner_init(x, &vf, VF0, true);
	assert_int_equal(owner_open(x, &vf, VF0 " vf_token=" UUID1), 0);
	assert_int_equal(set_token(x, &vf, probe | set, 8, NULL), -ENOTTY);
	owner_init(x, &full, FULL, true);
	assert_int_equal(owner_open(x, &full, FULL), 0);
	assert_int_equal(set_token(x, &full, probe | set, 8, NULL), -ENOTTY);
	owner_fini(&full);
	owner_fini(&vf);
	owner_fini(&pf);
}

/* G, J: as measured with igb's VF. */
static void vf_view(void **state)
{
	static const unsigned counts[] = { 0, 0, 3, 1, 1 }, flags[] = { 7, 9, 1, 9, 9 };
	struct fixture *x = *state;
	struct vfio_device_info info = { .argsz = sizeof(info) };
	struct vfio_region_info r = { .argsz = sizeof(r), .index = 3 };
	uint64_t v = 0;
	struct owner vf, pf;
	unsigned exp;

	assert_int_equal(bus_sriov_set(x->bus, x->pf, 2, NULL), 0);
	owner_init(x, &pf, PF, true);
	assert_int_equal(owner_open(x, &pf, PF " vf_token=" UUID1), 0);
	owner_init(x, &vf, VF1, true);
	assert_int_equal(owner_open(x, &vf, VF1 " vf_token=" UUID1), 0);
	assert_int_equal(call(x, vf.dev, VFIO_DEVICE_GET_INFO, &info, sizeof(info)), 0);
	assert_int_equal(info.flags, VFIO_DEVICE_FLAGS_PCI | VFIO_DEVICE_FLAGS_RESET);
	for (unsigned i = 0; i < 5; i++) {
		struct vfio_irq_info irq = { .argsz = sizeof(irq), .index = i };

		assert_int_equal(call(x, vf.dev, VFIO_DEVICE_GET_IRQ_INFO, &irq, sizeof(irq)), 0);
		assert_int_equal(irq.count, counts[i]);
		assert_int_equal(irq.flags, flags[i]);
	}
	assert_int_equal(call(x, vf.dev, VFIO_DEVICE_GET_REGION_INFO, &r, sizeof(r)), 0);
	assert_int_equal(r.size, KIB(16));
	assert_int_equal(cfg_get(&vf, PCI_VENDOR_ID, 4), 0x10ca8086);
	assert_int_equal(pcif_config_read(find(x, VF1), PCI_VENDOR_ID, 4), UINT32_MAX);
	cfg_put(&vf, PCI_VENDOR_ID, 4, 0);
	assert_int_equal(cfg_get(&vf, PCI_VENDOR_ID, 4), 0x10ca8086);
	assert_int_equal(cfg_get(&vf, PCI_INTERRUPT_PIN, 1), 0);
	/* BARs: types shown, size found out the usual way, nothing of it in hardware. */
	assert_int_equal(cfg_get(&vf, PCI_BASE_ADDRESS_0, 4), 0xc);
	assert_int_equal(cfg_get(&vf, PCI_BASE_ADDRESS_3, 4), 0xc);
	assert_int_equal(cfg_get(&vf, PCI_BASE_ADDRESS_2, 4), 0);
	cfg_put(&vf, PCI_BASE_ADDRESS_0, 4, UINT32_MAX);
	cfg_put(&vf, PCI_BASE_ADDRESS_1, 4, UINT32_MAX);
	assert_int_equal(cfg_get(&vf, PCI_BASE_ADDRESS_0, 4), 0xffffc00c);
	assert_int_equal(cfg_get(&vf, PCI_BASE_ADDRESS_1, 4), UINT32_MAX);
	assert_int_equal(pcif_config_read(find(x, VF1), PCI_BASE_ADDRESS_0, 4), 0);
	/* The memory bit is there and means nothing. */
	assert_int_equal(cfg_get(&vf, PCI_COMMAND, 2), 0x0002);
	cfg_put(&vf, PCI_COMMAND, 2, 0x07ff);
	assert_int_equal(cfg_get(&vf, PCI_COMMAND, 2), 0x0406);
	assert_int_equal(pcif_config_read(find(x, VF1), PCI_COMMAND, 2), 0x0004);
	cfg_put(&vf, PCI_COMMAND, 2, 0);
	assert_int_equal(cfg_get(&vf, PCI_COMMAND, 2), 0);
	assert_int_equal(vfio_device_read(vf.dev, &v, 8, region(0, 0x10)), 8);
	assert_true(v == 0x0807060504030211ull);
	assert_int_equal(vfio_device_read(vf.dev, &v, 8, region(0, KIB(8))), 8);
	assert_true(v == 0);
	/* Its FLR is its own; E4: there is no other way. */
	exp = pcif_find_cap(find(x, VF1), PCI_CAP_ID_EXP);
	assert_int_equal(bus_resets_supported(x->bus, find(x, VF1)), BIT(BUS_RESET_FLR));
	cfg_put(&vf, PCI_COMMAND, 2, 6);
	v = pcif_reset_count(find(x, VF1));
	cfg_put(&vf, exp + PCI_EXP_DEVCTL, 2, PCI_EXP_DEVCTL_BCR_FLR);
	assert_int_equal(call(x, vf.dev, VFIO_DEVICE_RESET, NULL, 0), 0);
	assert_int_equal(pcif_reset_count(find(x, VF1)), v + 2);
	assert_int_equal(cfg_get(&vf, PCI_COMMAND, 2), 6);
	owner_fini(&vf);
	owner_fini(&pf);
}

/* D7, and what a reset of the PF means for the VFs. */
static void pf_power_and_reset(void **state)
{
	struct fixture *x = *state;
	unsigned pm = pcif_find_cap(x->pf, PCI_CAP_ID_PM), sriov;
	struct owner pf, vf;
	uint64_t v = 0;

	sriov = pcif_find_ext_cap(x->pf, PCI_EXT_CAP_ID_SRIOV);
	owner_init(x, &pf, PF, true);
	assert_int_equal(owner_open(x, &pf, PF " vf_token=" UUID1), 0);
	cfg_put(&pf, pm + PCI_PM_CTRL, 2, 3);
	assert_int_equal(cfg_get(&pf, pm + PCI_PM_CTRL, 2) & 3, 3);
	/* Enabling wakes it, and keeps it awake. */
	assert_int_equal(bus_sriov_set(x->bus, x->pf, 1, NULL), 0);
	assert_int_equal(cfg_get(&pf, pm + PCI_PM_CTRL, 2) & 3, 0);
	cfg_put(&pf, pm + PCI_PM_CTRL, 2, 3);
	assert_int_equal(cfg_get(&pf, pm + PCI_PM_CTRL, 2) & 3, 0);
	/* The owner of the PF reads the capability and does not write it. */
	assert_int_equal(cfg_get(&pf, sriov + PCI_SRIOV_CTRL, 2), 0x19);
	assert_int_equal(cfg_get(&pf, sriov + PCI_SRIOV_NUM_VF, 2), 1);
	cfg_put(&pf, sriov + PCI_SRIOV_CTRL, 2, 0);
	assert_int_equal(cfg_get(&pf, sriov + PCI_SRIOV_CTRL, 2), 0x19);

	owner_init(x, &vf, VF0, true);
	assert_int_equal(owner_open(x, &vf, VF0 " vf_token=" UUID1), 0);
	cfg_put(&vf, PCI_COMMAND, 2, 6);
	assert_int_equal(call(x, pf.dev, VFIO_DEVICE_RESET, NULL, 0), 0);
	/* There again, and as after a reset. */
	assert_int_equal(cfg_get(&pf, sriov + PCI_SRIOV_CTRL, 2), 0x19);
	assert_int_equal(cfg_get(&vf, PCI_COMMAND, 2), 2);
	assert_int_equal(vfio_device_read(vf.dev, &v, 4, region(0, 0)), 4);
	assert_int_equal(v, 0x04030201);
	/* The PF's close is one as well, and forgets no VFs that came since it was opened. */
	owner_close(&pf);
	assert_int_equal(vfio_device_read(vf.dev, &v, 4, region(0, 0)), 4);
	assert_int_equal(v, 0x04030201);
	/* A reset by the host. */
	assert_int_equal(bus_reset(x->bus, x->pf, NULL), 0);
	assert_int_equal(vfio_device_read(vf.dev, &v, 4, region(0, 0)), 4);
	assert_int_equal(v, 0x04030201);
	/* Written by hand: ones, no error. */
	pcif_config_write(x->pf, sriov + PCI_SRIOV_CTRL, 2, 0);
	assert_int_equal(vfio_device_read(vf.dev, &v, 4, region(0, 0)), 4);
	assert_int_equal(v, UINT32_MAX);
	owner_fini(&vf);
	/* What was restored was ones; nothing of it did harm. */
	owner_init(x, &vf, VF0, true);
	assert_int_equal(owner_open(x, &vf, VF0 " vf_token=" UUID1), 0);
	owner_fini(&vf);
	owner_fini(&pf);
	assert_int_equal(bus_sriov_set(x->bus, x->pf, 0, NULL), 0);
	assert_int_equal(bus_sriov_set(x->bus, x->pf, 1, NULL), 0);
}

/* Whatever the owner of a VF does to its eventfd: the PF is reset when its owner wants it. */
static void hostile_vf(void **state)
{
	struct fixture *x = *state;
	struct hostile h = { .fd = eventfd(0, EFD_CLOEXEC) };
	struct {
		struct vfio_irq_set s;
		int32_t fd;
	} set = { .s = { .argsz = sizeof(set),
			 .flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
			 .index = VFIO_PCI_MSIX_IRQ_INDEX,
			 .count = 1 },
		  .fd = h.fd };
	pthread_t filler, raiser;
	struct owner pf, vf;

	assert_int_equal(bus_sriov_set(x->bus, x->pf, 1, NULL), 0);
	owner_init(x, &pf, PF, true);
	assert_int_equal(owner_open(x, &pf, PF " vf_token=" UUID1), 0);
	owner_init(x, &vf, VF0, true);
	assert_int_equal(owner_open(x, &vf, VF0 " vf_token=" UUID1), 0);
	h.f = find(x, VF0);
	assert_int_equal(call(x, vf.dev, VFIO_DEVICE_SET_IRQS, &set, sizeof(set)), 0);
	assert_int_equal(pthread_create(&filler, NULL, hostile_fill, &h), 0);
	assert_int_equal(pthread_create(&raiser, NULL, hostile_raise, &h), 0);
	for (unsigned i = 0; i < 50; i++) {
		cfg_put(&vf, PCI_COMMAND, 2, 6);
		assert_int_equal(call_value(x, pf.dev, VFIO_DEVICE_RESET, 0), 0);
	}
	owner_fini(&vf);
	h.stop = true;
	pthread_join(raiser, NULL);
	while (pthread_tryjoin_np(filler, NULL)) {
		hostile_drain(h.fd);
		usleep(100);
	}
	close(h.fd);
	owner_fini(&pf);
}

/* E5, J: a hot reset lists the VFs that lie on the PF's bus. */
static void hot_reset(void **state)
{
	struct {
		struct vfio_pci_hot_reset_info h;
		struct vfio_pci_dependent_device devs[4];
	} info = { .h = { .argsz = sizeof(info) } };
	struct {
		struct vfio_pci_hot_reset h;
		int32_t fds[3];
	} r = { .h = { .argsz = sizeof(r), .count = 3 } };
	struct fixture *x = *state;
	struct vfio_fd fds[3];
	struct owner pf, vf;
	struct vfio_obj *other;

	assert_int_equal(bus_sriov_set(x->bus, x->pf, 2, NULL), 0);
	owner_init(x, &pf, PF, true);
	assert_int_equal(owner_open(x, &pf, PF " vf_token=" UUID1), 0);
	owner_init(x, &vf, VF0, true);
	assert_int_equal(owner_open(x, &vf, VF0 " vf_token=" UUID1), 0);
	assert_int_equal(vfio_open_group(x->v, pcif_group(find(x, VF1)), &other), 0);
	assert_int_equal(call(x, vf.dev, VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, &info, sizeof(info)),
			 0);
	assert_int_equal(info.h.count, 3);
	assert_int_equal(info.devs[0].devfn, 0);
	assert_int_equal(info.devs[1].devfn, 0x80);
	assert_int_equal(info.devs[2].devfn, 0x82);
	assert_int_equal(info.devs[2].group_id, pcif_group(find(x, VF1)));
	cfg_put(&vf, PCI_COMMAND, 2, 6);
	fds[0] = (struct vfio_fd){ .fd = -1, .obj = pf.group };
	fds[1] = (struct vfio_fd){ .fd = -1, .obj = vf.group };
	fds[2] = (struct vfio_fd){ .fd = -1, .obj = other };
	r.h.count = 2;
	assert_int_equal(call_fds(x, pf.dev, VFIO_DEVICE_PCI_HOT_RESET, &r, sizeof(r) - 4, fds, 2),
			 -EINVAL);
	r.h.count = 3;
	assert_int_equal(call_fds(x, pf.dev, VFIO_DEVICE_PCI_HOT_RESET, &r, sizeof(r), fds, 3), 0);
	/* Everything is put back, unlike after a reset of the PF alone. */
	assert_int_equal(cfg_get(&vf, PCI_COMMAND, 2), 6);
	vfio_obj_put(other);
	owner_fini(&vf);
	owner_fini(&pf);
}

/* The VFs start on the next bus. */
static int far_create(struct pcif *f, const struct pcif_params *params, struct pcif_desc *desc,
		      void **state, struct pcif_reply_error *err)
{
	int ret = pf_create(f, params, desc, state, err);

	desc->sriov.first_offset = 256;
	return ret;
}

static const struct pcif_model far_pf_model = {
	.name = "far",
	.create = far_create,
	.create_vf = pf_create_vf,
	.destroy = model_destroy,
	.bar_read = model_read,
	.bar_write = model_write,
	.reset = model_reset,
};

/* E5: a bus that only VFs have cannot be reset. */
static void virtual_bus(void **state)
{
	struct vfio_pci_hot_reset h = { .argsz = sizeof(h) + 4, .count = 1 };
	struct vfio_pci_hot_reset_info info = { .argsz = sizeof(info) };
	struct fixture *x = calloc(1, sizeof(*x));
	struct pcif_reply_error err;
	struct owner pf, vf;
	char name[80];

	(void)state;
	assert_int_equal(pcim_new(&x->pci), 0);
	assert_int_equal(pcim_add(x->pci, bdf_of("65:00.0"), &far_pf_model, NULL, &err), 0);
	assert_int_equal(pcim_enumerate(x->pci), 0);
	assert_int_equal(bus_new(x->pci, &x->bus), 0);
	assert_int_equal(vfio_new(x->bus, &x->v), 0);
	assert_int_equal(bus_start(x->bus, vfio_pick_endpoints, NULL), 0);
	x->pf = find(x, "65:00.0");
	assert_int_equal(bus_sriov_set(x->bus, x->pf, 1, NULL), 0);
	owner_init(x, &pf, "65:00.0", true);
	assert_int_equal(owner_open(x, &pf, "0000:65:00.0 vf_token=" UUID1), 0);
	assert_int_equal(call(x, pf.dev, VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, &info, sizeof(info)),
			 -ENOSPC);
	assert_int_equal(info.count, 1);
	owner_init(x, &vf, "66:00.0", true);
	snprintf(name, sizeof(name), "0000:66:00.0 vf_token=%s", UUID1);
	assert_int_equal(owner_open(x, &vf, name), 0);
	assert_int_equal(call(x, vf.dev, VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, &info, sizeof(info)),
			 -ENODEV);
	assert_int_equal(call_fds(x, vf.dev, VFIO_DEVICE_PCI_HOT_RESET, &h, sizeof(h), NULL, 0),
			 -ENODEV);
	owner_fini(&vf);
	owner_fini(&pf);
	bus_free(x->bus);
	vfio_free(x->v);
	pcim_free(x->pci);
	free(x);
}

/* ------------------------------------------------------------------ VFs in use end */

struct ender {
	struct fixture *x;
	int (*end)(struct fixture *x, const atomic_bool *cancel);
	atomic_bool cancel, done;
	int result;
	pthread_t thread;
};

static void *ender_main(void *data)
{
	struct ender *e = data;

	e->result = e->end(e->x, &e->cancel);
	atomic_store(&e->done, true);
	return NULL;
}

static int end_by_number(struct fixture *x, const atomic_bool *cancel)
{
	return bus_sriov_set(x->bus, x->pf, 0, cancel);
}

static int end_by_unbind(struct fixture *x, const atomic_bool *cancel)
{
	return bus_unbind(x->bus, "vfio-pci", bdf_of(PF), cancel);
}

static int end_by_remove(struct fixture *x, const atomic_bool *cancel)
{
	return bus_remove(x->bus, x->pf, cancel);
}

static void request_eventfd(struct fixture *x, struct owner *o, int efd)
{
	struct {
		struct vfio_irq_set s;
		int32_t fd;
	} set = { .s = { .argsz = sizeof(set),
			 .flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
			 .index = VFIO_PCI_REQ_IRQ_INDEX,
			 .count = 1 },
		  .fd = efd };

	assert_int_equal(call(x, o->dev, VFIO_DEVICE_SET_IRQS, &set, sizeof(set)), 0);
}

static void end_in_use(struct fixture *x, int (*end)(struct fixture *x, const atomic_bool *cancel))
{
	struct pcif *pf = pcif_get(x->pf);
	struct ender e = { .x = x, .end = end }, other = { .x = x, .end = end };
	int efd = new_eventfd();
	struct owner vf;
	char *name;

	assert_int_equal(bus_sriov_set(x->bus, pf, 2, NULL), 0);
	/* The PF is free: its owner has gone, the token stays. */
	owner_init(x, &vf, PF, true);
	assert_int_equal(owner_open(x, &vf, PF " vf_token=" UUID1), 0);
	owner_fini(&vf);
	owner_init(x, &vf, VF1, true);
	assert_int_equal(owner_open(x, &vf, VF1 " vf_token=" UUID1), 0);
	request_eventfd(x, &vf, efd);
	assert_int_equal(pthread_create(&e.thread, NULL, ender_main, &e), 0);
	while (!counter(efd))
		usleep(1000);
	/* A second one waits for the lock of the PF, and can be called off. */
	assert_int_equal(pthread_create(&other.thread, NULL, ender_main, &other), 0);
	usleep(20000);
	assert_false(atomic_load(&e.done) || atomic_load(&other.done));
	atomic_store(&other.cancel, true);
	pthread_join(other.thread, NULL);
	assert_int_equal(other.result, -EINTR);
	/* Given up: all VFs are there, the one in use still bound. */
	atomic_store(&e.cancel, true);
	pthread_join(e.thread, NULL);
	assert_int_equal(e.result, -EINTR);
	assert_int_equal(pcif_num_vfs(pf), 2);
	assert_non_null(find(x, VF0));
	assert_int_equal(bus_override_get(x->bus, find(x, VF1), &name), 0);
	assert_string_equal(name, "vfio-pci");
	free(name);
	assert_int_equal(cfg_get(&vf, PCI_COMMAND, 2), 2);
	/* Waited for. */
	atomic_store(&e.cancel, false);
	atomic_store(&e.done, false);
	assert_int_equal(pthread_create(&e.thread, NULL, ender_main, &e), 0);
	while (!counter(efd))
		usleep(1000);
	owner_fini(&vf);
	pthread_join(e.thread, NULL);
	assert_int_equal(e.result, 0);
	assert_int_equal(pcif_num_vfs(pf), 0);
	assert_null(find(x, VF1));
	close(efd);
	pcif_put(pf);
}

/* C5. */
static void number_in_use(void **state)
{
	end_in_use(*state, end_by_number);
}

static void unbind_in_use(void **state)
{
	end_in_use(*state, end_by_unbind);
}

static void remove_in_use(void **state)
{
	end_in_use(*state, end_by_remove);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(token_text),
		TEST(tokens),
		TEST(token_feature),
		TEST(vf_view),
		TEST(pf_power_and_reset),
		TEST(hot_reset),
		TEST(hostile_vf),
		TEST(number_in_use),
		TEST(unbind_in_use),
		TEST(remove_in_use),
		cmocka_unit_test(virtual_bus),
	};

	return cmocka_run_group_tests_name("vfio_sriov", tests, NULL, NULL);
}
