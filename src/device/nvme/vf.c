/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Virtual functions of an NVMe controller. Each is a controller of its own, with its own queues,
 * worker, namespace and limits, in an NVM subsystem of its own: what two owners have share nothing
 * that either could see or change.
 *
 * The data of the VFs belongs to the PF and outlives them: a VF that is enabled again, after its
 * owner crashed or the host changed their number, finds its namespace as it was.
 *
 * Follows NVM Express 1.4, section 8.5, but for the commands of Virtualization Management:
 * resources are assigned by the machine's owner, not by the PF's driver, and never change.
 */
#include <errno.h>

#include "device/nvme/priv.h"

#define VFS_MAX 256u
#define VF_QUEUES 4u

struct nvmed_vfs {
	unsigned n, n_queues;
	uint64_t iops, bandwidth;
	struct nvmed_disk *disks[]; /* n */
};

void nvmed_vfs_free(struct nvmed_vfs *v)
{
	for (unsigned i = 0; v && i < v->n; i++)
		nvmed_disk_free(v->disks[i]);
	free(v);
}

unsigned nvmed_vfs_total(const struct nvmed_ctrl *c)
{
	return c->vfs ? c->vfs->n : 0;
}

/* "vf_disk=images/vf-%d.img": the number of the VF in the place of "%d". */
static int open_file(struct nvmed_ctrl *c, const char *pattern, unsigned index, bool readonly,
		     struct nvmed_disk **disk, struct pcif_reply_error *err)
{
	const char *mark = strstr(pattern, "%d");
	struct pcif_reply_error why = { "" };
	AUTO_FREE char *path = NULL;
	int ret;

	if (!mark || strstr(mark + 2, "%d"))
		return pcif_error(
			err, -EINVAL,
			"vf_disk=%s: write %%d once, where the number of the VF goes, for "
			"example vf_disk=vf-%%d.img",
			pattern);
	if (asprintf(&path, "%.*s%u%s", (int)(mark - pattern), pattern, index, mark + 2) < 0)
		return pcif_error(err, -ENOMEM, "out of memory");
	ret = nvmed_disk_open_file(path, BIT(c->block_shift), readonly, disk, &why);
	return ret ? pcif_error(err, ret, "vf_disk=%s: %s", pattern, why.text) : 0;
}

static int open_disks(struct nvmed_ctrl *c, const struct pcif_params *params, struct nvmed_vfs *v,
		      unsigned n, struct pcif_reply_error *err)
{
	const char *file = pcif_param(params, "vf_disk"), *mem = pcif_param(params, "vf_mem");
	int ret = 0;

	if (!file == !mem)
		return pcif_error(
			err, -EINVAL,
			"vfs=%u: give vf_mem=SIZE, or vf_disk=FILE with %%d in its name%s", n,
			file ? ", not both" : "");
	for (unsigned i = 0; i < n && !ret; i++) {
		struct nvmed_disk **disk = &v->disks[i];

		if (file)
			ret = open_file(c, file, i, c->disk->readonly, disk, err);
		else
			ret = nvmed_disk_open_memory("vf_mem", mem, BIT(c->block_shift), disk, err);
		v->n += !ret;
	}
	return ret;
}

static int parse_limits(const struct pcif_params *params, struct nvmed_vfs *v,
			struct pcif_reply_error *err)
{
	const char *bandwidth = pcif_param(params, "vf_bandwidth");
	unsigned iops = 0;
	int ret = pcif_param_number(params, "vf_iops", 1, 100000000, &iops, err);

	v->iops = iops;
	if (!ret && bandwidth && (nvmed_size_parse(bandwidth, &v->bandwidth) || !v->bandwidth))
		return pcif_error(
			err, -EINVAL,
			"vf_bandwidth=%s: give bytes a second, or a number with K, M, G or "
			"T, for example vf_bandwidth=100M",
			bandwidth);
	return ret;
}

/**
 * nvmed_vfs_parse() - the keys that begin with "vf"; c->vfs is made where there are to be any.
 * After the controller's own options.
 */
int nvmed_vfs_parse(struct nvmed_ctrl *c, const struct pcif_params *params,
		    struct pcif_reply_error *err)
{
	static const char *const keys[] = { "vf_mem", "vf_disk", "vf_queues", "vf_iops",
					    "vf_bandwidth" };
	unsigned n = 0;
	int ret = pcif_param_number(params, "vfs", 0, VFS_MAX, &n, err);

	for (unsigned i = 0; i < ARRAY_SIZE(keys) && !ret && !n; i++)
		if (pcif_param(params, keys[i]))
			ret = pcif_error(err, -EINVAL,
					 "%s is about virtual functions: give vfs=N "
					 "too, 1 to %u",
					 keys[i], VFS_MAX);
	if (ret || !n)
		return ret;
	c->vfs = calloc(1, sizeof(*c->vfs) + n * sizeof(c->vfs->disks[0]));
	if (!c->vfs)
		return pcif_error(err, -ENOMEM, "out of memory");
	c->vfs->n_queues = VF_QUEUES;
	ret = pcif_param_number(params, "vf_queues", 1, NVMED_MAX_QUEUES - 1, &c->vfs->n_queues,
				err);
	if (!ret)
		ret = parse_limits(params, c->vfs, err);
	return ret ? ret : open_disks(c, params, c->vfs, n, err);
}

/* What a VF takes over from its PF. */
void nvmed_vf_inherit(struct nvmed_ctrl *c, struct nvmed_ctrl *pf, unsigned index)
{
	char serial[sizeof(c->serial)];
	char place[sizeof(pf->serial) + 16];

	c->pf = pf;
	c->block_shift = pf->block_shift;
	c->mmio = pf->mmio;
	c->n_queues = pf->vfs->n_queues;
	c->n_vectors = c->n_queues + 1;
	c->limit.iops = pf->vfs->iops;
	c->limit.bandwidth = pf->vfs->bandwidth;
	c->disk = pf->vfs->disks[index];
	snprintf(place, sizeof(place), "%s/%u", pf->serial, index);
	snprintf(serial, sizeof(serial), "UVF%016llX",
		 (unsigned long long)nvmed_identify_hash(place));
	nvmed_identify_init(c, serial);
}

void nvmed_vfs_describe(const struct nvmed_ctrl *c, struct pcif_desc *desc)
{
	if (!c->vfs)
		return;
	desc->sriov.total_vfs = (uint16_t)c->vfs->n;
	desc->sriov.vf_device = NVMED_VF_DEVICE;
	memcpy(desc->sriov.bars, desc->bars, sizeof(desc->sriov.bars));
}
