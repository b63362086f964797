/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * SR-IOV in pci: the capability's registers, VFs that come and go, what they answer, and what
 * resets and writes by hand do to them. Rules A6, D3, D4 of docs/rules.md.
 */
#include "pci/priv.h"
#include "pci_test.h"

static unsigned sriov_cap(struct pcif *pf)
{
	unsigned at = pcif_find_ext_cap(pf, PCI_EXT_CAP_ID_SRIOV);

	assert_int_not_equal(at, 0);
	return at;
}

static uint32_t reg(struct pcif *pf, unsigned offset, unsigned size)
{
	return pcif_config_read(pf, sriov_cap(pf) + offset, size);
}

static void put_reg(struct pcif *pf, unsigned offset, unsigned size, uint32_t value)
{
	pcif_config_write(pf, sriov_cap(pf) + offset, size, value);
}

static struct pcif *pf_of(struct pcim **m, uint16_t vfs)
{
	tm_desc = tm_pf_desc(vfs);
	return tm_machine(m);
}

static struct pci_bdf bdf_of(const char *text)
{
	struct pci_bdf bdf;

	assert_int_equal(pcif_bdf_parse(text, &bdf), 0);
	return bdf;
}

/* Every register of the capability, as it comes, and which of its bits can be written. */
static void registers(void **state)
{
	static const struct {
		unsigned offset, size;
		uint32_t value, after_ones;
	} want[] = {
		{ PCI_SRIOV_CAP, 4, 0, 0 },
		{ PCI_SRIOV_STATUS, 2, 0, 0 },
		{ PCI_SRIOV_INITIAL_VF, 2, 8, 8 },
		{ PCI_SRIOV_TOTAL_VF, 2, 8, 8 },
		{ PCI_SRIOV_NUM_VF, 2, 0, 0 }, /* more than there can be */
		{ PCI_SRIOV_FUNC_LINK, 2, 0, 0 },
		{ PCI_SRIOV_VF_OFFSET, 2, 1, 1 },
		{ PCI_SRIOV_VF_STRIDE, 2, 1, 1 },
		{ PCI_SRIOV_VF_DID, 2, 0x5003, 0x5003 },
		{ PCI_SRIOV_SUP_PGSIZE, 4, 0x553, 0x553 },
		{ PCI_SRIOV_SYS_PGSIZE, 4, 1, 1 }, /* not one size */
		{ PCI_SRIOV_BAR, 4, 0x80004000, 0xffffe000 },
		{ PCI_SRIOV_BAR + 4, 4, 0, 0 },
		{ PCI_SRIOV_BAR + 8, 4, 0x0000800c, 0xfffff00c },
		{ PCI_SRIOV_BAR + 12, 4, 0x00003800, 0xffffffff },
		{ PCI_SRIOV_BAR + 16, 4, 0, 0 },
		{ PCI_SRIOV_BAR + 20, 4, 0, 0 },
		{ PCI_SRIOV_VFM, 4, 0, 0 },
		{ PCI_SRIOV_CTRL, 2, 0x10, 0x19 },
	};
	struct pcim *m;
	struct pcif *pf = pf_of(&m, 8);
	unsigned ari = pcif_find_ext_cap(pf, PCI_EXT_CAP_ID_ARI);

	for (unsigned i = 0; i < ARRAY_SIZE(want); i++)
		assert_int_equal(reg(pf, want[i].offset, want[i].size), want[i].value);
	for (unsigned i = 0; i < ARRAY_SIZE(want); i++) {
		put_reg(pf, want[i].offset, want[i].size, UINT32_MAX);
		assert_int_equal(reg(pf, want[i].offset, want[i].size), want[i].after_ones);
	}
	assert_int_equal(pcif_config_read(pf, sriov_cap(pf), 4) & 0xfffff,
			 PCI_EXT_CAP_ID_SRIOV | 1 << 16);
	assert_int_not_equal(ari, 0);
	assert_int_equal(pcif_config_read(pf, ari + 4, 4), 0);
	/* Written by hand: VFs of which nobody knows. */
	assert_int_equal(pcif_num_vfs(pf), 0);
	assert_int_equal(pcim_count(m), 2);
	pcif_reset(pf);
	assert_int_equal(reg(pf, PCI_SRIOV_CTRL, 2), 0);
	assert_int_equal(reg(pf, PCI_SRIOV_BAR, 4), 0);
	pcim_free(m);
}

/* The number and the page size are fixed while VFs are on; a larger page makes BARs coarser. */
static void guarded_registers(void **state)
{
	struct pcim *m;
	struct pcif *pf = pf_of(&m, 8);

	put_reg(pf, PCI_SRIOV_NUM_VF, 2, 5);
	put_reg(pf, PCI_SRIOV_NUM_VF, 2, 9);
	assert_int_equal(reg(pf, PCI_SRIOV_NUM_VF, 2), 5);
	put_reg(pf, PCI_SRIOV_SYS_PGSIZE, 4, 0x10);
	assert_int_equal(reg(pf, PCI_SRIOV_SYS_PGSIZE, 4), 0x10);
	put_reg(pf, PCI_SRIOV_BAR, 4, UINT32_MAX);
	assert_int_equal(reg(pf, PCI_SRIOV_BAR, 4), 0xffff0000);
	put_reg(pf, PCI_SRIOV_BAR + 8, 4, UINT32_MAX);
	assert_int_equal(reg(pf, PCI_SRIOV_BAR + 8, 4), 0xffff000c);
	put_reg(pf, PCI_SRIOV_SYS_PGSIZE, 4, 8);
	put_reg(pf, PCI_SRIOV_SYS_PGSIZE, 4, 0);
	assert_int_equal(reg(pf, PCI_SRIOV_SYS_PGSIZE, 4), 0x10);
	put_reg(pf, PCI_SRIOV_CTRL, 2, PCI_SRIOV_CTRL_VFE);
	put_reg(pf, PCI_SRIOV_NUM_VF, 2, 4);
	put_reg(pf, PCI_SRIOV_SYS_PGSIZE, 4, 1);
	assert_int_equal(reg(pf, PCI_SRIOV_NUM_VF, 2), 5);
	assert_int_equal(reg(pf, PCI_SRIOV_SYS_PGSIZE, 4), 0x10);
	/* Enabled all the same by who does it properly. */
	assert_int_equal(pcim_sriov_enable(pf, 3), 0);
	assert_int_equal(reg(pf, PCI_SRIOV_NUM_VF, 2), 3);
	assert_int_equal(reg(pf, PCI_SRIOV_CTRL, 2), 0x19);
	pcim_sriov_disable(pf);
	assert_int_equal(reg(pf, PCI_SRIOV_NUM_VF, 2), 0);
	assert_int_equal(reg(pf, PCI_SRIOV_CTRL, 2), 0x10);
	pcim_free(m);
}

/* D4. */
static void vf_config(void **state)
{
	struct pcim *m;
	struct pcif *pf = pf_of(&m, 4), *vf;
	unsigned exp, msix;

	assert_int_equal(pcim_sriov_enable(pf, 4), 0);
	vf = pcim_vf(pf, 3);
	assert_string_equal(pcif_name(vf), "0000:65:00.4");
	assert_true(pcif_is_vf(vf));
	assert_ptr_equal(pcif_pf(vf), pf);
	assert_int_equal(pcif_vf_index(vf), 3);
	assert_ptr_equal(pcif_parent(vf), pcif_parent(pf));
	assert_int_equal(pcif_desc(vf)->vendor, 0x1234);
	assert_int_equal(pcif_desc(vf)->device, 0x5003);
	assert_int_equal(pcif_config_read(vf, PCI_VENDOR_ID, 4), UINT32_MAX);
	assert_int_equal(pcif_config_read(vf, PCI_CLASS_REVISION, 4),
			 pcif_config_read(pf, PCI_CLASS_REVISION, 4));
	assert_int_equal(pcif_config_read(vf, PCI_SUBSYSTEM_VENDOR_ID, 4),
			 pcif_config_read(pf, PCI_SUBSYSTEM_VENDOR_ID, 4));
	assert_int_equal(pcif_config_read(vf, PCI_HEADER_TYPE, 1), 0);
	pcif_config_write(vf, PCI_COMMAND, 2, 0xffff);
	assert_int_equal(pcif_config_read(vf, PCI_COMMAND, 2), PCI_COMMAND_MASTER);
	for (unsigned at = PCI_BASE_ADDRESS_0; at <= PCI_BASE_ADDRESS_5; at += 4) {
		pcif_config_write(vf, at, 4, UINT32_MAX);
		assert_int_equal(pcif_config_read(vf, at, 4), 0);
	}
	pcif_config_write(vf, PCI_INTERRUPT_LINE, 2, 0xffff);
	assert_int_equal(pcif_config_read(vf, PCI_INTERRUPT_LINE, 2), 0);
	assert_int_equal(pcif_bar_address(vf, 0), pcif_vf_bar_address(pf, 0) + 3 * 0x2000);
	assert_int_equal(pcif_bar_address(vf, 2), pcif_vf_bar_address(pf, 2) + 3 * 0x1000);
	exp = pcif_find_cap(vf, PCI_CAP_ID_EXP);
	msix = pcif_find_cap(vf, PCI_CAP_ID_MSIX);
	assert_true(pcif_config_read(vf, exp + PCI_EXP_DEVCAP, 4) & PCI_EXP_DEVCAP_FLR);
	assert_int_equal(pcif_config_read(vf, msix + PCI_MSIX_FLAGS, 2), 2);
	assert_int_equal(pcif_config_read(vf, msix + PCI_MSIX_TABLE, 4), 2);
	assert_int_not_equal(pcif_find_ext_cap(vf, PCI_EXT_CAP_ID_ARI), 0);
	assert_int_equal(pcif_find_ext_cap(vf, PCI_EXT_CAP_ID_SRIOV), 0);
	assert_int_equal(pcif_find_cap(vf, PCI_CAP_ID_PM), 0);
	/* An FLR of its own leaves the others alone. */
	pcif_config_write(vf, exp + PCI_EXP_DEVCTL, 2, PCI_EXP_DEVCTL_BCR_FLR);
	assert_int_equal(pcif_reset_count(vf), 1);
	assert_int_equal(pcif_reset_count(pf), 0);
	assert_int_equal(pcif_config_read(vf, PCI_COMMAND, 2), 0);
	pcif_put(vf);
	pcim_free(m);
}

/* D3, A6: requester ids, bus numbers, groups. */
static void addresses(void **state)
{
	struct pcim *m;
	struct pcif *pf = pf_of(&m, 256), *port = pcif_parent(pf), *vf;
	uint8_t secondary, subordinate;

	pcif_bridge_buses(port, &secondary, &subordinate);
	assert_int_equal(secondary, 0x65);
	assert_int_equal(subordinate, 0x66);
	assert_int_equal(pcim_sriov_enable(pf, 0), -EINVAL);
	assert_int_equal(pcim_sriov_enable(pf, 257), -EINVAL);
	assert_int_equal(pcim_sriov_enable(port, 1), -EINVAL);
	assert_int_equal(pcim_sriov_enable(pf, 256), 0);
	assert_int_equal(pcim_sriov_enable(pf, 1), -EBUSY);
	assert_int_equal(pcif_num_vfs(pf), 256);
	assert_int_equal(pcim_count(m), 258);
	assert_int_equal(pcim_group_count(m), 258);
	vf = pcim_vf(pf, 255);
	assert_string_equal(pcif_name(vf), "0000:66:00.0");
	assert_int_equal(pcif_group(vf), 257);
	assert_ptr_equal(pcif_parent(vf), port);
	assert_ptr_equal(pcim_find(m, bdf_of("65:1f.7")), pcim_function(m, 256));
	assert_null(pcim_vf(pf, 256));
	assert_int_equal(pcim_unplug(pf), -EBUSY);
	pcim_sriov_disable(pf);
	assert_int_equal(pcif_num_vfs(pf), 0);
	assert_int_equal(pcim_count(m), 2);
	/* Who still has one has something that answers nothing. */
	assert_false(pcif_present(vf));
	assert_int_equal(pcif_config_read(vf, PCI_COMMAND, 2), 0xffff);
	assert_int_equal(pcif_find_cap(vf, PCI_CAP_ID_EXP), 0);
	assert_int_equal(tm_alive, 2);
	pcif_put(vf);
	assert_int_equal(tm_alive, 1);
	pcim_free(m);
}

static struct pcim *machine_of(const char *const list[], unsigned n)
{
	struct pcif_reply_error err = { "" };
	struct pcim *m;

	assert_int_equal(pcim_new(&m), 0);
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(pcim_add(m, bdf_of(list[i]), &tm_model, NULL, &err), 0);
	return m;
}

/* D3: bus numbers that others have are not to be had. */
static void bus_numbers(void **state)
{
	static const char *const near[] = { "65:00.0", "66:00.0" };
	static const char *const far[] = { "65:00.0", "67:00.0", "ff:00.0" };
	static const char *const slot[] = { "65:00.0", "65:00.1" };
	struct pcif *pf, *other;
	struct pcim *m;

	tm_desc = tm_pf_desc(256);
	m = machine_of(near, ARRAY_SIZE(near));
	assert_int_equal(pcim_enumerate(m), 0);
	pf = pcim_find(m, bdf_of("65:00.0"));
	assert_int_equal(pcim_sriov_enable(pf, 256), -ENOMEM);
	assert_int_equal(pcif_num_vfs(pf), 0);
	assert_int_equal(reg(pf, PCI_SRIOV_CTRL, 2), 0x10);
	assert_int_equal(pcim_sriov_enable(pf, 255), 0);
	pcim_free(m);

	/* The port of the bus after those of the VFs goes beside the first, as in a row. */
	m = machine_of(far, ARRAY_SIZE(far));
	assert_int_equal(pcim_enumerate(m), 0);
	pf = pcim_find(m, bdf_of("65:00.0"));
	assert_string_equal(pcif_name(pcif_parent(pcim_find(m, bdf_of("67:00.0")))),
			    "0000:64:01.0");
	assert_int_equal(pcim_sriov_enable(pf, 256), 0);
	assert_int_equal(pcim_sriov_enable(pcim_find(m, bdf_of("67:00.0")), 256), 0);
	/* There is no bus 100. */
	other = pcim_find(m, bdf_of("ff:00.0"));
	assert_int_equal(pcim_sriov_enable(other, 256), -ENOMEM);
	assert_int_equal(pcim_sriov_enable(other, 255), 0);
	pcim_free(m);

	/* Two PFs in a slot: their VFs lie one after the other. */
	tm_desc = tm_pf_desc(16);
	m = machine_of(slot, ARRAY_SIZE(slot));
	assert_int_equal(pcim_enumerate(m), 0);
	pf = pcim_find(m, bdf_of("65:00.0"));
	other = pcim_find(m, bdf_of("65:00.1"));
	assert_int_equal(pcim_sriov_enable(other, 16), 0);
	assert_int_equal(pcim_sriov_enable(pf, 16), 0);
	assert_int_equal(reg(pf, PCI_SRIOV_VF_OFFSET, 2), 2);
	assert_int_equal(reg(other, PCI_SRIOV_VF_OFFSET, 2), 17);
	assert_int_equal(reg(pf, PCI_SRIOV_FUNC_LINK, 1), 0);
	assert_int_equal(reg(other, PCI_SRIOV_FUNC_LINK, 1), 1);
	/* The first one has the say about ARI. */
	assert_int_equal(reg(pf, PCI_SRIOV_CTRL, 2), 0x19);
	assert_int_equal(reg(other, PCI_SRIOV_CTRL, 2), 0x09);
	assert_ptr_equal(pcif_pf(pcim_find(m, bdf_of("65:02.1"))), pf);
	assert_ptr_equal(pcif_pf(pcim_find(m, bdf_of("65:02.2"))), other);
	assert_string_equal(pcif_name(pcim_function(m, pcim_count(m) - 1)), "0000:65:04.1");
	pcim_free(m);

	/* What the model says of offset and stride, as the reference machine's igb. */
	tm_desc = tm_pf_desc(8);
	tm_desc.sriov.first_offset = 128;
	tm_desc.sriov.stride = 2;
	pf = tm_machine(&m);
	assert_int_equal(pcim_sriov_enable(pf, 2), 0);
	assert_non_null(pcim_find(m, bdf_of("65:10.0")));
	assert_non_null(pcim_find(m, bdf_of("65:10.2")));
	pcim_free(m);
	/* Not where somebody else is. */
	tm_desc.sriov.first_offset = 1;
	m = machine_of(slot, ARRAY_SIZE(slot));
	assert_int_equal(pcim_enumerate(m), 0);
	assert_int_equal(pcim_sriov_enable(pcim_find(m, bdf_of("65:00.0")), 2), -EEXIST);
	assert_int_equal(pcim_count(m), 3);
	pcim_free(m);
}

/* D3: address space. */
static void windows(void **state)
{
	struct pcif *pf, *port;
	uint64_t first, last;
	struct pcim *m;

	pf = pf_of(&m, 200);
	port = pcif_parent(pf);
	first = (uint64_t)pcif_config_read(port, PCI_MEMORY_BASE, 2) << 16;
	last = (uint64_t)pcif_config_read(port, PCI_MEMORY_LIMIT, 2) << 16 | 0xfffff;
	assert_int_equal(pcif_vf_bar_address(pf, 0), 0x80004000);
	assert_int_equal(first, 0x80000000);
	assert_true(0x80004000 + 200 * 0x2000 - 1 <= last);
	assert_int_equal(pcif_vf_bar_address(pf, 2), 0x380000008000);
	assert_int_equal(pcif_vf_bar_address(pf, 1), 0);
	assert_int_equal(pcif_vf_bar_address(pf, 9), 0);
	assert_int_equal(pcif_vf_bar_address(port, 0), 0);
	pcim_free(m);

	/* The machine starts all the same where there is no room for VFs, as on Linux. */
	tm_desc = tm_pf_desc(256);
	tm_desc.sriov.bars[0].size = MIB(32);
	pf = tm_machine(&m);
	assert_int_equal(pcif_vf_bar_address(pf, 0), 0);
	assert_int_equal(pcif_bar_address(pf, 0), 0x80000000);
	assert_int_equal(pcim_sriov_enable(pf, 1), -ENOMEM);
	pcim_free(m);
}

/* The registers decide what answers, the tree does not change. */
static void switched_by_hand(void **state)
{
	struct pcim *m;
	struct pcif *pf = pf_of(&m, 4), *vf;
	struct tm_state *s;
	uint32_t v;

	assert_int_equal(pcim_sriov_enable(pf, 2), 0);
	vf = pcim_vf(pf, 1);
	s = pcif_state(vf);
	assert_ptr_equal(s->pf, pcif_state(pf));
	assert_int_equal(s->index, 1);
	assert_int_equal(s->resets, 1);
	v = 0x12345678;
	assert_int_equal(pcif_bar_write(vf, 0, 0x1000, &v, 4, true), 0);
	v = 0;
	assert_int_equal(pcif_bar_read(vf, 0, 0x1000, &v, 4, true), 0);
	assert_int_equal(v, 0x12345678);
	pcif_config_write(vf, PCI_COMMAND, 2, PCI_COMMAND_MASTER);
	/* No memory: ones, and no error. */
	put_reg(pf, PCI_SRIOV_CTRL, 2, PCI_SRIOV_CTRL_VFE);
	assert_int_equal(pcif_bar_read(vf, 0, 0x1000, &v, 4, true), 0);
	assert_int_equal(v, UINT32_MAX);
	assert_int_equal(pcif_bar_read(vf, 0, 0, &v, 4, true), 0);
	assert_int_equal(v, UINT32_MAX);
	assert_int_equal(pcif_bar_write(vf, 0, 0, &v, 4, true), 0);
	assert_int_equal(s->n_log, 0);
	assert_int_equal(pcif_config_read(vf, PCI_COMMAND, 2), PCI_COMMAND_MASTER);
	/* No VFs at all. */
	put_reg(pf, PCI_SRIOV_CTRL, 2, PCI_SRIOV_CTRL_MSE);
	assert_int_equal(pcif_config_read(vf, PCI_COMMAND, 2), 0xffff);
	assert_int_equal(s->resets, 2);
	assert_true(pcif_present(vf));
	pcif_config_write(vf, PCI_COMMAND, 2, PCI_COMMAND_MASTER);
	/* They come back as new. */
	put_reg(pf, PCI_SRIOV_CTRL, 2, PCI_SRIOV_CTRL_VFE | PCI_SRIOV_CTRL_MSE);
	assert_int_equal(pcif_config_read(vf, PCI_COMMAND, 2), 0);
	assert_int_equal(s->resets, 2);
	assert_int_equal(pcif_bar_read(vf, 0, 0, &v, 4, true), 0);
	assert_int_equal(v, 0x03020100);
	assert_int_equal(pcif_num_vfs(pf), 2);
	pcif_put(vf);
	pcim_free(m);
}

/* A reset of the PF is one of its VFs, and the end of them until the host puts the register back.
 */
static void pf_reset(void **state)
{
	struct pcim *m;
	struct pcif *pf = pf_of(&m, 4), *vf;

	assert_int_equal(pcim_sriov_enable(pf, 3), 0);
	vf = pcim_vf(pf, 0);
	pcif_config_write(vf, PCI_COMMAND, 2, PCI_COMMAND_MASTER);
	pcif_reset(pf);
	assert_int_equal(pcif_reset_count(vf), 1);
	assert_int_equal(pcif_config_read(vf, PCI_COMMAND, 2), 0xffff);
	assert_int_equal(pcif_num_vfs(pf), 3);
	pcif_sriov_restore(pf);
	assert_int_equal(reg(pf, PCI_SRIOV_CTRL, 2), 0x19);
	assert_int_equal(reg(pf, PCI_SRIOV_NUM_VF, 2), 3);
	assert_int_equal(reg(pf, PCI_SRIOV_BAR, 4), 0x80004000);
	assert_int_equal(reg(pf, PCI_SRIOV_BAR + 12, 4), 0x3800);
	assert_int_equal(pcif_config_read(vf, PCI_COMMAND, 2), 0);
	assert_int_equal(pcif_reset_count(vf), 1);
	/* Back from D3hot is a reset too. */
	pcif_config_write(pf, CAP_PM + PCI_PM_CTRL, 2, 3);
	pcif_config_write(pf, CAP_PM + PCI_PM_CTRL, 2, 0);
	assert_int_equal(pcif_config_read(vf, PCI_COMMAND, 2), 0xffff);
	pcif_sriov_restore(pf);
	/* A reset of the bus reaches each once. */
	pcif_config_write(pcif_parent(pf), PCI_BRIDGE_CONTROL, 2, PCI_BRIDGE_CTL_BUS_RESET);
	assert_int_equal(pcif_reset_count(vf), 3);
	pcif_put(vf);
	pcim_free(m);
}

/* A sink that does not return before it is told that a reset is on. */
struct stuck {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	struct pcif *f;
	bool inside, hold;
	unsigned begun, ended;
};

static void stuck_message(void *data, unsigned vector)
{
	struct stuck *s = data;

	pthread_mutex_lock(&s->lock);
	s->inside = true;
	pthread_cond_broadcast(&s->cond);
	while (!s->hold)
		pthread_cond_wait(&s->cond, &s->lock);
	pthread_mutex_unlock(&s->lock);
}

static void stuck_hold(void *data, bool hold)
{
	struct stuck *s = data;

	pthread_mutex_lock(&s->lock);
	s->hold = hold;
	*(hold ? &s->begun : &s->ended) += 1;
	pthread_cond_broadcast(&s->cond);
	pthread_mutex_unlock(&s->lock);
}

/* Even holding the lock that serialises changes of configuration space. */
static void *unmask(void *data)
{
	struct stuck *s = data;

	pcif_config_write(s->f, PCI_COMMAND, 2, PCI_COMMAND_MASTER);
	return NULL;
}

/* Nobody's reset waits for the client of a VF. */
static void stuck_sinks(void **state)
{
	static void (*const resets[])(struct pcif * pf) = { pcif_reset, pcim_sriov_disable };
	struct pcim *m;
	struct pcif *pf = pf_of(&m, 1);

	for (unsigned i = 0; i < ARRAY_SIZE(resets); i++) {
		struct stuck s = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER };
		struct pcif_irq_sink sink = { .message = stuck_message, .data = &s };
		pthread_t thread;

		assert_int_equal(pcim_sriov_enable(pf, 1), 0);
		s.f = pcim_vf(pf, 0);
		pcif_irq_connect(s.f, PCIF_IRQ_MSIX, 3, &sink);
		pcif_set_hold_cb(s.f, stuck_hold, &s);
		pcif_irq_raise(s.f, 0); /* pending */
		assert_int_equal(pthread_create(&thread, NULL, unmask, &s), 0);
		pthread_mutex_lock(&s.lock);
		while (!s.inside)
			pthread_cond_wait(&s.cond, &s.lock);
		pthread_mutex_unlock(&s.lock);
		resets[i](pf);
		pthread_join(thread, NULL);
		assert_int_equal(s.begun, 1);
		assert_int_equal(s.ended, 1);
		pcif_set_hold_cb(s.f, NULL, NULL);
		pcif_irq_connect(s.f, PCIF_IRQ_NONE, 0, NULL);
		pcif_put(s.f);
		pcim_sriov_disable(pf);
	}
	pcim_free(m);
}

/* One VF leaves, or cannot be made; and models that describe what cannot be. */
static void failures(void **state)
{
	struct pcif_reply_error err = { "" };
	struct pcim *m;
	struct pcif *pf = pf_of(&m, 4), *vf;

	tm_vf_error = -ENOSPC;
	assert_int_equal(pcim_sriov_enable(pf, 4), -ENOSPC);
	assert_int_equal(tm_alive, 1);
	assert_int_equal(pcif_num_vfs(pf), 0);
	assert_int_equal(pcim_sriov_enable(pf, 2), 0);
	vf = pcim_vf(pf, 1);
	assert_int_equal(pcim_unplug(vf), 0);
	assert_int_equal(pcim_unplug(vf), -ENODEV);
	assert_null(pcim_vf(pf, 1));
	assert_int_equal(pcif_num_vfs(pf), 2);
	/* A scan does not find it. */
	assert_int_equal(pcim_plug(m, NULL), 0);
	pcif_put(vf);
	assert_int_equal(tm_alive, 3);
	pcim_sriov_disable(pf);
	assert_int_equal(tm_alive, 1);
	assert_int_equal(pcim_sriov_enable(pf, 2), 0);
	assert_int_equal(tm_alive, 3);
	/* A VF alone keeps its PF, and the model of that. */
	vf = pcim_vf(pf, 0);
	pcim_sriov_disable(pf);
	assert_int_equal(pcim_unplug(pf), 0);
	assert_int_equal(pcim_sriov_enable(pf, 1), -ENODEV);
	pcif_put(vf);
	pcim_free(m);

	assert_int_equal(pcim_new(&m), 0);
	tm_desc = tm_pf_desc(257);
	assert_int_equal(pcim_add(m, tm_bdf, &tm_model, NULL, &err), -EINVAL);
	tm_desc = tm_pf_desc(4);
	tm_desc.sriov.bars[4] = (struct pcif_bar){ .type = PCIF_BAR_IO, .size = 32 };
	assert_int_equal(pcim_add(m, tm_bdf, &tm_model, NULL, &err), -EINVAL);
	tm_desc = tm_pf_desc(4);
	tm_desc.sriov.bars[0].size = 0x1800;
	assert_int_equal(pcim_add(m, tm_bdf, &tm_model, NULL, &err), -EINVAL);
	pcim_free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		tm_test(registers),   tm_test(guarded_registers), tm_test(vf_config),
		tm_test(addresses),   tm_test(bus_numbers),	  tm_test(windows),
		tm_test(pf_reset),    tm_test(switched_by_hand),  tm_test(failures),
		tm_test(stuck_sinks),
	};

	return cmocka_run_group_tests_name("pci_sriov", tests, NULL, NULL);
}
