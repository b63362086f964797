/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The files by which a physical function has virtual ones, and those of virtual functions.
 *
 * Source: drivers/pci/iov.c (sriov_numvfs_store() and its neighbours).
 */
#include <errno.h>
#include <linux/pci_regs.h>

#include "door/dev/view_priv.h"

static struct pcif *pcif_of(struct view_node *node)
{
	return view_fn_of(node)->f;
}

static int read_total(struct view_node *node, char **buf, size_t *size)
{
	return view_say(buf, size, "%u\n", pcif_desc(pcif_of(node))->sriov.total_vfs);
}

static int read_num(struct view_node *node, char **buf, size_t *size)
{
	return view_say(buf, size, "%u\n", pcif_num_vfs(pcif_of(node)));
}

static int act_num(struct view_node *node, const char *buf, size_t size, const atomic_bool *cancel)
{
	unsigned long n;

	if (view_number(buf, size, &n) || n > UINT16_MAX)
		return -EINVAL;
	return bus_sriov_set(node->view->bus, pcif_of(node), (unsigned)n, cancel);
}

static uint32_t capability(struct view_node *node, unsigned offset)
{
	unsigned cap = pcif_find_ext_cap(pcif_of(node), PCI_EXT_CAP_ID_SRIOV);

	return cap ? pcif_config_read(pcif_of(node), cap + offset, 2) : 0;
}

static int read_offset(struct view_node *node, char **buf, size_t *size)
{
	return view_say(buf, size, "%u\n", capability(node, PCI_SRIOV_VF_OFFSET));
}

static int read_stride(struct view_node *node, char **buf, size_t *size)
{
	return view_say(buf, size, "%u\n", capability(node, PCI_SRIOV_VF_STRIDE));
}

static int read_vf_device(struct view_node *node, char **buf, size_t *size)
{
	return view_say(buf, size, "%x\n", capability(node, PCI_SRIOV_VF_DID));
}

static int read_autoprobe(struct view_node *node, char **buf, size_t *size)
{
	return view_say(buf, size, "%u\n", bus_sriov_autoprobe(node->view->bus, pcif_of(node)));
}

static int write_autoprobe(struct view_node *node, const char *buf, size_t size)
{
	bool on;
	int r = view_bool(buf, size, &on);

	return r ? r : bus_sriov_set_autoprobe(node->view->bus, pcif_of(node), on);
}

/* No driver gives its VFs vectors out of a pool. */
static int read_msix(struct view_node *node, char **buf, size_t *size)
{
	return view_say(buf, size, "0\n");
}

static int write_msix_count(struct view_node *node, const char *buf, size_t size)
{
	unsigned long n;
	int r = view_number(buf, size, &n);

	return r ? r : -EOPNOTSUPP;
}

static const struct view_attr pf_attrs[] = {
	{ "sriov_drivers_autoprobe", 0644, read_autoprobe, write_autoprobe },
	{ "sriov_numvfs", 0644, read_num, NULL, act_num },
	{ "sriov_offset", 0444, read_offset, NULL },
	{ "sriov_stride", 0444, read_stride, NULL },
	{ "sriov_totalvfs", 0444, read_total, NULL },
	{ "sriov_vf_device", 0444, read_vf_device, NULL },
	{ "sriov_vf_total_msix", 0444, read_msix, NULL },
};

static const struct view_attr vf_attrs[] = {
	{ "sriov_vf_msix_count", 0200, NULL, write_msix_count },
};

void view_sriov_files(struct view_fn *fn)
{
	struct view *v = fn->view;
	AUTO_FREE char *name = NULL, *to = NULL, *back = NULL;

	if (pcif_desc(fn->f)->sriov.total_vfs)
		view_attrs(v, fn->dir, pf_attrs, ARRAY_SIZE(pf_attrs), NULL);
	if (!fn->pf)
		return;
	view_attrs(v, fn->dir, vf_attrs, ARRAY_SIZE(vf_attrs), NULL);
	name = view_printf(v, "virtfn%u", pcif_vf_index(fn->f));
	to = view_printf(v, "../%s", fn->name);
	back = view_printf(v, "../%s", fn->pf->name);
	if (!name || !to || !back)
		return;
	fn->of_pf = view_link(v, fn->pf->dir, name, to);
	view_link(v, fn->dir, "physfn", back);
}
