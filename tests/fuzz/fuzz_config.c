/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Raw configuration space and BARs of a function that has every capability, and of its VFs, which
 * come and go: any reads, writes, resets and interrupts in any order. Input: records of 8 bytes
 * {operation, offset (12 bits), which function and size, value}.
 */
#include <errno.h>
#include <linux/pci_regs.h>

#include "pci/pci.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define VFS 6u

static struct pcif_regs *regs;

static const struct pcif_reg table[] = {
	{ "plain", 0x00, PCIF_REG_PLAIN, 1, 0xffffff },
	{ "w1c", 0x04, PCIF_REG_PLAIN, 0xff, 0, 0xff },
	{ "array", 0x1000, PCIF_REG_PLAIN, 0, UINT32_MAX, 0, 16, 4 },
	{ "mailbox", 0x1100, PCIF_REG_MAILBOX },
	{ "status", 0x1104, PCIF_REG_STATUS, 7 },
};

static int fz_create(struct pcif *f, const struct pcif_params *params, struct pcif_desc *desc,
		     void **state, struct pcif_reply_error *err)
{
	*desc = (struct pcif_desc){
		.vendor = 0x1234,
		.device = 0x5003,
		.class_code = 0xff0000,
		.bars = { { .type = PCIF_BAR_MEM64,
			    .size = 0x8000,
			    .areas = { { 0x1000, 0x1000, PCIF_PAGE_SHARED },
				       { 0x2000, 0x1000, PCIF_PAGE_RAM } },
			    .n_areas = 2 },
			  { PCIF_BAR_NONE },
			  { .type = PCIF_BAR_IO, .size = 16 } },
		.intx_pin = 1,
		.msi_vectors = 32,
		.msix_vectors = 33,
		.msix_table_offset = 0x4000,
		.msix_pba_offset = 0x5000,
		.pcie = true,
		.pm = true,
		.aer = true,
		.dsn = 1,
		.sriov = { .total_vfs = VFS,
			   .vf_device = 0x5004,
			   .bars = { { .type = PCIF_BAR_MEM64,
				       .size = 0x2000,
				       .areas = { { 0x1000, 0x1000, PCIF_PAGE_RAM } },
				       .n_areas = 1 } } },
	};
	*state = f;
	return pcif_regs_new(f, 0, table, ARRAY_SIZE(table), NULL, &regs);
}

static int fz_create_vf(struct pcif *f, void *pf_state, unsigned index, struct pcif_desc *desc,
			void **state, struct pcif_reply_error *err)
{
	desc->msi_vectors = 4;
	desc->msix_vectors = 3;
	desc->msix_pba_offset = 0x800;
	desc->pm = desc->aer = true;
	*state = f;
	return 0;
}

static uint64_t fz_read(void *state, unsigned bar, uint64_t offset, unsigned size)
{
	return bar || pcif_is_vf(state) ? 0 : pcif_regs_read(regs, offset, size);
}

static void fz_write(void *state, unsigned bar, uint64_t offset, unsigned size, uint64_t value)
{
	if (!bar && !pcif_is_vf(state))
		pcif_regs_write(regs, offset, size, value);
	if (value & 1)
		pcif_irq_raise(state, (unsigned)(value >> 1));
}

static void fz_reset(void *state)
{
	if (pcif_is_vf(state))
		return;
	pcif_lock(state);
	pcif_regs_reset(regs);
	pcif_unlock(state);
}

static const struct pcif_model fz_model = {
	.name = "fuzz",
	.create = fz_create,
	.create_vf = fz_create_vf,
	.bar_read = fz_read,
	.bar_write = fz_write,
	.reset = fz_reset,
};

static void on_message(void *data, unsigned vector)
{
	if (vector >= 33)
		abort();
}

static void on_intx(void *data) {}

/* What is below a port that sleeps, nobody hears. */
static bool port_sleeps(struct pcif *f)
{
	struct pcif *port = pcif_parent(f);

	return pcif_config_read(port, pcif_find_cap(port, 0x01) + PCI_PM_CTRL, 2) &
	       PCI_PM_CTRL_STATE_MASK;
}

static void check(struct pcif *f)
{
	if (port_sleeps(f)) {
		if (pcif_config_read(f, 0, 4) != UINT32_MAX)
			abort();
		return;
	}
	/* Nothing that is written may change who the function is or break its lists. */
	if (pcif_config_read(f, 0, 4) != 0x50031234 || !pcif_find_cap(f, 0x01) ||
	    !pcif_find_cap(f, 0x05) || !pcif_find_cap(f, 0x10) || !pcif_find_cap(f, 0x11) ||
	    !pcif_find_ext_cap(f, 1) || !pcif_find_ext_cap(f, 3) || !pcif_find_ext_cap(f, 0xe))
		abort();
	if (pcif_config_read(f, pcif_find_ext_cap(f, 0x10) + PCI_SRIOV_TOTAL_VF, 2) != VFS ||
	    pcif_config_read(f, pcif_find_ext_cap(f, 0x10) + PCI_SRIOV_NUM_VF, 2) > VFS)
		abort();
	/* VFs are there or not as the host says, whatever the registers are. */
	for (unsigned i = 0; i < VFS; i++) {
		struct pcif *vf = pcim_vf(f, i);

		if (!vf != (i >= pcif_num_vfs(f)))
			abort();
		if (vf && pcif_config_read(vf, 0, 4) != UINT32_MAX)
			abort();
		pcif_put(vf);
	}
}

static void host(struct pcif *pf, unsigned op, unsigned n)
{
	int ret;

	switch (op % 3) {
	case 0:
		ret = pcim_sriov_enable(pf, n);
		if (ret && ret != -EINVAL && ret != -EBUSY)
			abort();
		break;
	case 1:
		pcim_sriov_disable(pf);
		break;
	case 2:
		pcif_sriov_restore(pf);
		break;
	}
}

static void step(struct pcif *f, unsigned op, unsigned at, unsigned size, uint32_t value)
{
	static const struct pcif_irq_sink sink = { on_message, on_intx, NULL };
	bool has_table = !pcif_is_bridge(f) && !pcif_is_vf(f);
	uint8_t buf[64] = { 0 };

	memcpy(buf, &value, sizeof(value));
	switch (op % 10) {
	case 0:
	case 1:
		pcif_config_write(f, at, size, value);
		break;
	case 2:
		(void)pcif_config_read(f, at, size);
		break;
	case 3:
		(void)pcif_bar_write(f, value >> 30, at * 8, buf, value % 64, value & 64);
		break;
	case 4:
		(void)pcif_bar_read(f, value >> 30, at * 8, buf, value % 64, value & 64);
		break;
	case 5:
		pcif_irq_connect(f, (enum pcif_irq_mode)(value % 4), at, &sink);
		break;
	case 6:
		pcif_irq_raise(f, value);
		break;
	case 7:
		pcif_intx_set(f, value & 1);
		break;
	case 8:
		if (!has_table)
			break;
		(void)pcif_image_store32((uint8_t *)pcif_bar_image(f, 0) + (at & 0x1fc) + 0x1000,
					 value);
		pcif_lock(f);
		(void)pcif_regs_scan(regs);
		pcif_unlock(f);
		break;
	case 9:
		pcif_reset(f);
		break;
	}
}

/* Some of it to the port: its reset of the bus, its windows; and to a VF. */
static void one(struct pcif *f, const uint8_t *data, unsigned at, uint32_t value)
{
	unsigned index = data[3] >> 2 & 7;
	struct pcif *vf = index ? pcim_vf(f, index - 1) : NULL;

	if (data[3] & 0x80)
		step(pcif_parent(f), data[0] % 3, at, 1u << (data[3] & 3), value);
	else
		step(vf ? vf : f, data[0], at, 1u << (data[3] & 3), value);
	pcif_put(vf);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct pci_bdf bdf = { 0, 0x65, 0, 0 };
	struct pcif *f;
	struct pcim *m;

	regs = NULL;
	if (pcim_new(&m))
		return 0;
	if (pcim_add(m, bdf, &fz_model, NULL, NULL) || pcim_enumerate(m))
		abort();
	f = pcim_find(m, bdf);
	pcif_config_write(f, 4, 2, 7);
	for (; size >= 8; data += 8, size -= 8) {
		unsigned at = data[1] | (unsigned)(data[2] & 0x1f) << 8;
		uint32_t value;

		memcpy(&value, data + 4, sizeof(value));
		if (data[0] >= 250)
			host(f, data[0], value % (VFS + 2));
		else
			one(f, data, at, value);
		check(f);
	}
	pcim_free(m);
	pcif_regs_free(regs);
	return 0;
}
