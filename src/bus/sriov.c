/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * VFs as the host has them: how many a PF's driver made, who is bound to them, and their end.
 *
 * A driver that can do it is asked by sriov_numvfs, and calls back to enable and to disable. The
 * PF's lock is held throughout, that of a VF inside of it. Source: drivers/pci/iov.c,
 * sriov_numvfs_store(), sriov_add_vfs(), sriov_del_vfs().
 */
#include "bus/priv.h"

/* All but the driver's part; with the PF's lock. 1: ask the driver. */
static int set_check(struct bus *b, struct bus_dev *dev, unsigned n, struct bus_drv **drv)
{
	unsigned now = pcif_num_vfs(dev->f);

	pthread_mutex_lock(&b->lock);
	*drv = dev->gone ? NULL : dev->drv;
	pthread_mutex_unlock(&b->lock);
	if (n == now)
		return 0;
	if (!*drv) {
		log_debug("%s: no driver to configure SR-IOV", pcif_name(dev->f));
		return -ENOENT;
	}
	if (!(*drv)->d->sriov_configure) {
		log_debug("%s: %s does not configure SR-IOV", pcif_name(dev->f), (*drv)->d->name);
		return -ENOENT;
	}
	if (n && now) {
		log_debug("%s: %u VFs are enabled; disable them first", pcif_name(dev->f), now);
		return -EBUSY;
	}
	return 1;
}

int bus_sriov_set(struct bus *b, struct pcif *pf, unsigned n, const atomic_bool *cancel)
{
	struct bus_dev *dev;
	struct bus_drv *drv;
	int rc;

	if (n > pcif_desc(pf)->sriov.total_vfs)
		return -ERANGE;
	dev = dev_get(b, pf);
	if (!dev)
		return -ENODEV;
	rc = dev_lock(dev, cancel);
	if (!rc) {
		rc = set_check(b, dev, n, &drv);
		if (rc == 1)
			rc = drv->d->sriov_configure(drv->data, pf, n, cancel);
		dev_unlock(dev);
	}
	dev_put(b, dev);
	return rc;
}

bool bus_sriov_autoprobe(struct bus *b, const struct pcif *pf)
{
	struct bus_dev *dev = dev_get(b, pf);
	bool on;

	if (!dev)
		return false;
	pthread_mutex_lock(&b->lock);
	on = !dev->vf_no_probe;
	pthread_mutex_unlock(&b->lock);
	dev_put(b, dev);
	return on;
}

int bus_sriov_set_autoprobe(struct bus *b, const struct pcif *pf, bool on)
{
	struct bus_dev *dev = dev_get(b, pf);

	if (!dev)
		return -ENODEV;
	pthread_mutex_lock(&b->lock);
	dev->vf_no_probe = !on;
	pthread_mutex_unlock(&b->lock);
	dev_put(b, dev);
	return 0;
}

/* D5. Source: pci_device_can_probe(). */
bool vf_can_probe(struct bus *b, struct bus_dev *dev)
{
	struct pcif *pf = pcif_pf(dev->f);
	bool overridden;

	if (!pf)
		return true;
	pthread_mutex_lock(&b->lock);
	overridden = dev->override;
	pthread_mutex_unlock(&b->lock);
	return overridden || bus_sriov_autoprobe(b, pf);
}

/* The host finds VF @index, and binds it as it may. */
static int vf_add(struct bus *b, struct pcif *pf, unsigned index, const char *override)
{
	struct pcif *vf = pcim_vf(pf, index);
	int rc = vf ? 0 : -ENODEV, probed = 0;
	struct bus_dev *dev;

	if (!rc)
		rc = dev_add(b, vf, override, &dev);
	pcif_put(vf);
	if (rc)
		return rc;
	(void)dev_lock(dev, NULL);
	if (bus_autoprobe(b))
		probed = dev_probe(b, dev);
	dev_unlock(dev);
	if (probed < 0)
		log_info("%s: its driver does not take it: %s", pcif_name(dev->f),
			 strerror(-probed));
	dev_put(b, dev);
	return 0;
}

int bus_sriov_enable(struct bus *b, struct pcif *pf, unsigned n, const char *override)
{
	int rc = pcim_sriov_enable(pf, n);

	if (rc)
		return rc;
	for (unsigned i = 0; i < n && !rc; i++)
		rc = vf_add(b, pf, i, override);
	/* Those that are there have no user yet who would have to be waited for in vain. */
	if (rc)
		(void)bus_sriov_disable(b, pf, NULL);
	bus_changed(b);
	return rc;
}

/* What is done to VF @index, if the host knows it. */
static int with_vf(struct bus *b, struct pcif *pf, unsigned index, const atomic_bool *cancel,
		   int (*fn)(struct bus *b, struct bus_dev *dev, const atomic_bool *cancel))
{
	struct pcif *vf = pcim_vf(pf, index);
	struct bus_dev *dev = vf ? dev_get(b, vf) : NULL;
	int rc = 0;

	pcif_put(vf);
	if (!dev)
		return 0;
	rc = dev_lock(dev, cancel);
	if (!rc) {
		rc = fn(b, dev, cancel);
		dev_unlock(dev);
	}
	dev_put(b, dev);
	return rc == -ENODEV ? 0 : rc; /* somebody else was faster */
}

static int vf_remove(struct bus *b, struct bus_dev *dev, const atomic_bool *cancel)
{
	return dev_remove(b, dev, true, cancel);
}

int bus_sriov_disable(struct bus *b, struct pcif *pf, const atomic_bool *cancel)
{
	unsigned n = pcif_num_vfs(pf);
	int rc = 0;

	if (!n)
		return 0;
	/* First the waiting: as long as that can be given up no VF is missing. */
	for (unsigned i = 0; i < n && !rc; i++)
		rc = with_vf(b, pf, i, cancel, dev_unbind);
	for (unsigned i = 0; i < n && !rc; i++)
		rc = with_vf(b, pf, i, cancel, vf_remove);
	if (rc)
		return rc;
	pcim_sriov_disable(pf);
	bus_changed(b);
	return 0;
}
