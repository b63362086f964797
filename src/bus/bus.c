/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The functions that the host knows: they are found, bound, removed and found again.
 *
 * A function of the tree has a bus_dev while the host knows it. Removing one takes it out of the
 * tree as well (pcim_unplug()), so that nobody finds it; its hardware is still there, and a rescan
 * makes a new bus_dev of it, without what was written to the old one. Source: drivers/pci/remove.c,
 * drivers/pci/probe.c.
 */
#include "bus/priv.h"

int bus_new(struct pcim *pci, struct bus **bus)
{
	struct bus *b = calloc(1, sizeof(*b));

	if (!b)
		return -ENOMEM;
	b->pci = pci;
	b->autoprobe = true;
	atomic_init(&b->generation, 1);
	pthread_mutex_init(&b->attach, NULL);
	pthread_mutex_init(&b->lock, NULL);
	for (unsigned i = 0; bus_host_drivers[i]; i++) {
		int rc = bus_driver_add(b, bus_host_drivers[i], NULL);

		if (rc) {
			bus_free(b);
			return rc;
		}
	}
	*bus = b;
	return 0;
}

void bus_free(struct bus *b)
{
	static const atomic_bool now = true;

	if (!b)
		return;
	while (b->devs) {
		struct bus_dev *dev = b->devs;

		dev->refs++;
		pthread_mutex_lock(&dev->lock);
		(void)dev_remove(b, dev, &now);
		pthread_mutex_unlock(&dev->lock);
		if (!dev->gone) { /* somebody still has it: its driver is beyond help */
			log_error("%s: still in use at the end of the machine", pcif_name(dev->f));
			dev->drv = NULL;
			(void)dev_remove(b, dev, NULL);
		}
		dev_put(b, dev);
	}
	pthread_mutex_destroy(&b->attach);
	pthread_mutex_destroy(&b->lock);
	free(b->drivers);
	free(b);
}

struct pcim *bus_pci(const struct bus *b)
{
	return b->pci;
}

uint64_t bus_generation(const struct bus *b)
{
	return atomic_load(&b->generation);
}

/* ------------------------------------------------------------------ finding */

static struct bus_dev *dev_ref(struct bus_dev *dev)
{
	if (dev)
		dev->refs++;
	return dev;
}

struct bus_dev *dev_get(struct bus *b, const struct pcif *f)
{
	struct bus_dev *dev;

	pthread_mutex_lock(&b->lock);
	for (dev = b->devs; dev && dev->f != f; dev = dev->next)
		;
	dev_ref(dev);
	pthread_mutex_unlock(&b->lock);
	return dev;
}

struct bus_dev *dev_find(struct bus *b, struct pci_bdf bdf)
{
	struct bus_dev *dev;

	pthread_mutex_lock(&b->lock);
	for (dev = b->devs; dev && !pcif_bdf_equal(pcif_bdf(dev->f), bdf); dev = dev->next)
		;
	dev_ref(dev);
	pthread_mutex_unlock(&b->lock);
	return dev;
}

void dev_put(struct bus *b, struct bus_dev *dev)
{
	bool last;

	if (!dev)
		return;
	pthread_mutex_lock(&b->lock);
	last = !--dev->refs;
	pthread_mutex_unlock(&b->lock);
	if (!last)
		return;
	pthread_mutex_destroy(&dev->lock);
	free(dev->override);
	pcif_put(dev->f);
	free(dev);
}

int devs_list(struct bus *b, struct bus_dev ***list)
{
	struct bus_dev **all, *dev;
	size_t n = 0;

	pthread_mutex_lock(&b->lock);
	for (dev = b->devs; dev; dev = dev->next)
		n++;
	all = calloc(n + 1, sizeof(struct bus_dev *));
	n = 0;
	for (dev = b->devs; all && dev; dev = dev->next)
		all[n++] = dev_ref(dev);
	pthread_mutex_unlock(&b->lock);
	*list = all;
	return all ? 0 : -ENOMEM;
}

void devs_list_free(struct bus *b, struct bus_dev **list)
{
	for (unsigned i = 0; list[i]; i++)
		dev_put(b, list[i]);
	free(list);
}

/* ------------------------------------------------------------------ coming and going */

static uint64_t dev_order(const struct pcif *f)
{
	struct pci_bdf a = pcif_bdf(f);

	return (uint64_t)a.domain << 16 | (uint64_t)a.bus << 8 | a.dev << 3 | a.fn;
}

int dev_add(struct bus *b, struct pcif *f, struct bus_dev **out)
{
	struct bus_dev *dev = calloc(1, sizeof(*dev)), **at;
	int rc;

	if (!dev)
		return -ENOMEM;
	dev->f = pcif_get(f);
	dev->refs = 1;
	pthread_mutex_init(&dev->lock, NULL);
	rc = member_join(b, dev);
	if (rc) {
		dev_put(b, dev);
		return rc;
	}
	pthread_mutex_lock(&b->lock);
	for (at = &b->devs; *at && dev_order((*at)->f) < dev_order(f); at = &(*at)->next)
		;
	if (*at && (*at)->f == f) {
		rc = -EEXIST;
	} else {
		dev->next = *at;
		*at = dev;
		*out = dev_ref(dev);
	}
	pthread_mutex_unlock(&b->lock);
	if (rc) {
		member_leave(b, dev);
		dev_put(b, dev);
		return rc;
	}
	bus_changed(b);
	return 0;
}

int dev_remove(struct bus *b, struct bus_dev *dev, const atomic_bool *cancel)
{
	struct bus_dev **at;
	bool gone;
	int rc;

	pthread_mutex_lock(&b->lock);
	gone = dev->gone;
	pthread_mutex_unlock(&b->lock);
	if (gone)
		return -ENODEV;
	rc = dev_unbind(b, dev, cancel);
	if (rc && rc != -ENODEV)
		return rc;
	pthread_mutex_lock(&b->lock);
	dev->gone = true;
	for (at = &b->devs; *at != dev; at = &(*at)->next)
		;
	*at = dev->next;
	pthread_mutex_unlock(&b->lock);
	member_leave(b, dev);
	bus_changed(b);
	dev_put(b, dev); /* the list's */
	return 0;
}

int bus_start(struct bus *b, const char *(*pick)(void *data, struct pcif *f), void *data)
{
	struct pcim_list list;
	int rc = pcim_list(b->pci, &list);

	if (rc)
		return rc;
	b->started = true;
	/* First all of them, so that groups are whole before somebody is bound. */
	for (unsigned i = 0; i < list.n && !rc; i++) {
		struct bus_dev *dev;

		rc = dev_add(b, list.f[i], &dev);
		if (!rc)
			dev_put(b, dev);
	}
	for (unsigned i = 0; i < list.n && !rc; i++) {
		const char *override = pick ? pick(data, list.f[i]) : NULL;
		struct bus_dev *dev = dev_get(b, list.f[i]);
		int probed = 0;

		if (override && *override)
			rc = bus_override_set(b, list.f[i], override);
		pthread_mutex_lock(&dev->lock);
		if (!rc && !(override && !*override))
			probed = dev_probe(b, dev);
		pthread_mutex_unlock(&dev->lock);
		if (probed < 0)
			log_warn("%s: its driver does not take it: %s", pcif_name(list.f[i]),
				 strerror(-probed));
		dev_put(b, dev);
	}
	pcim_list_free(&list);
	return rc;
}

static bool is_below(const struct pcif *f, const struct pcif *bridge)
{
	for (const struct pcif *p = pcif_parent(f); p; p = pcif_parent(p))
		if (p == bridge)
			return true;
	return false;
}

/* One function; what is below it has gone. */
static int remove_one(struct bus *b, struct bus_dev *dev, const atomic_bool *cancel)
{
	int rc;

	pthread_mutex_lock(&dev->lock);
	rc = dev_remove(b, dev, cancel);
	if (!rc)
		rc = pcim_unplug(dev->f);
	pthread_mutex_unlock(&dev->lock);
	return rc;
}

/* Source: remove_store(), pci_stop_and_remove_bus_device(): children first, the last first. */
int bus_remove(struct bus *b, struct pcif *f, const atomic_bool *cancel)
{
	struct bus_dev *dev = dev_get(b, f), **list = NULL;
	unsigned n = 0;
	int rc;

	if (!dev)
		return -ENODEV;
	rc = devs_list(b, &list);
	while (!rc && list[n])
		n++;
	while (!rc && n--) {
		if (!is_below(list[n]->f, f))
			continue;
		rc = remove_one(b, list[n], cancel);
		if (rc == -ENODEV) /* somebody else was faster */
			rc = 0;
	}
	if (list)
		devs_list_free(b, list);
	if (!rc)
		rc = remove_one(b, dev, cancel);
	dev_put(b, dev);
	return rc;
}

/* Source: rescan_store(), pci_rescan_bus(). */
int bus_rescan(struct bus *b)
{
	int found = pcim_plug(b->pci);
	struct pcim_list list;
	int rc;

	if (found <= 0)
		return found;
	rc = pcim_list(b->pci, &list);
	if (rc)
		return rc;
	for (unsigned i = 0; i < list.n && !rc; i++) {
		struct bus_dev *dev;

		rc = dev_add(b, list.f[i], &dev);
		if (rc == -EEXIST) {
			rc = 0;
			continue;
		}
		if (rc)
			break;
		pthread_mutex_lock(&dev->lock);
		if (bus_autoprobe(b))
			(void)dev_probe(b, dev);
		pthread_mutex_unlock(&dev->lock);
		dev_put(b, dev);
	}
	pcim_list_free(&list);
	return rc ? rc : found;
}
