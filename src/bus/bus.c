/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The functions that the host knows: they are found, bound, removed and found again.
 *
 * A function of the tree has a bus_dev while the host knows it. Removing one takes it out of the
 * tree as well (pcim_unplug()), so that nobody finds it; its hardware is still there, and a rescan
 * makes a new bus_dev of it, without what was written to the old one. Source: drivers/pci/remove.c,
 * drivers/pci/probe.c.
 */
#include <time.h>

#include "bus/priv.h"

#define LOCK_NAP_MAX_NS 20000000l

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
		int rc = bus_driver_add(b, bus_host_drivers[i], b);

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
	b->ending = true;
	while (b->devs) {
		struct bus_dev *dev = b->devs;

		/* From the end: what is below a bridge before it, VFs before their PF. */
		while (dev->next)
			dev = dev->next;
		dev->refs++;
		(void)dev_remove(b, dev, false, &now);
		if (!dev->gone) { /* somebody still has it: its driver is beyond help */
			log_error("%s: still in use at the end of the machine", pcif_name(dev->f));
			dev->drv = NULL;
			(void)dev_remove(b, dev, false, NULL);
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

int dev_lock(struct bus_dev *dev, const atomic_bool *cancel)
{
	struct timespec nap = { .tv_nsec = 500000 };

	if (!cancel) {
		pthread_mutex_lock(&dev->lock);
		return 0;
	}
	while (pthread_mutex_trylock(&dev->lock)) {
		if (atomic_load(cancel))
			return -EINTR;
		nanosleep(&nap, NULL);
		nap.tv_nsec = MIN(2 * nap.tv_nsec, LOCK_NAP_MAX_NS);
	}
	return 0;
}

void dev_unlock(struct bus_dev *dev)
{
	pthread_mutex_unlock(&dev->lock);
}

/* ------------------------------------------------------------------ a picture of it all */

int bus_list(struct bus *b, struct bus_list *list)
{
	unsigned n = 0;

	*list = (struct bus_list){ .generation = bus_generation(b) };
	pthread_mutex_lock(&b->lock);
	for (struct bus_dev *dev = b->devs; dev; dev = dev->next)
		n++;
	list->entry = calloc(n + 1, sizeof(*list->entry));
	for (struct bus_dev *dev = b->devs; list->entry && dev; dev = dev->next) {
		if (dev->gone || !dev->group)
			continue;
		list->entry[list->n++] = (struct bus_entry){
			.f = pcif_get(dev->f),
			.id = dev->id,
			.driver = dev->drv ? dev->drv->d : NULL,
			.group = dev->group->number,
			.group_id = dev->group->id,
		};
	}
	pthread_mutex_unlock(&b->lock);
	return list->entry ? 0 : -ENOMEM;
}

void bus_list_free(struct bus_list *list)
{
	for (unsigned i = 0; i < list->n; i++)
		pcif_put(list->entry[i].f);
	free(list->entry);
	*list = (struct bus_list){ 0 };
}

static uint32_t *note_of(struct bus_dev *dev, enum bus_note note)
{
	return (unsigned)note < BUS_NOTES ? &dev->notes[note] : NULL;
}

int bus_note_get(struct bus *b, const struct pcif *f, enum bus_note note, uint32_t *value)
{
	struct bus_dev *dev = dev_get(b, f);
	int rc = dev && note_of(dev, note) ? 0 : -ENODEV;

	if (!rc) {
		pthread_mutex_lock(&b->lock);
		*value = *note_of(dev, note);
		pthread_mutex_unlock(&b->lock);
	}
	dev_put(b, dev);
	return rc;
}

int bus_note_set(struct bus *b, const struct pcif *f, enum bus_note note, uint32_t value)
{
	struct bus_dev *dev = dev_get(b, f);
	int rc = dev && note_of(dev, note) ? 0 : -ENODEV;

	if (!rc) {
		pthread_mutex_lock(&b->lock);
		*note_of(dev, note) = value;
		pthread_mutex_unlock(&b->lock);
	}
	dev_put(b, dev);
	return rc;
}

/* ------------------------------------------------------------------ coming and going */

static uint64_t dev_order(const struct pcif *f)
{
	struct pci_bdf a = pcif_bdf(f);

	return (uint64_t)a.domain << 16 | (uint64_t)a.bus << 8 | a.dev << 3 | a.fn;
}

int dev_add(struct bus *b, struct pcif *f, const char *override, struct bus_dev **out)
{
	struct bus_dev *dev = calloc(1, sizeof(*dev)), **at;
	int rc;

	if (!dev)
		return -ENOMEM;
	dev->f = pcif_get(f);
	dev->refs = 1;
	pthread_mutex_init(&dev->lock, NULL);
	if (override) {
		dev->override = strdup(override);
		if (!dev->override) {
			dev_put(b, dev);
			return -ENOMEM;
		}
	}
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
	} else if (!pcif_present(f)) {
		rc = -ENODEV; /* removed since it was found */
	} else {
		dev->id = ++b->last_id;
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

int dev_remove(struct bus *b, struct bus_dev *dev, bool unplug, const atomic_bool *cancel)
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
	pthread_mutex_unlock(&b->lock);
	member_leave(b, dev);
	/* In one moment: who finds the function again, in the tree, does not meet this one. */
	pthread_mutex_lock(&b->lock);
	for (at = &b->devs; *at != dev; at = &(*at)->next)
		;
	*at = dev->next;
	rc = unplug ? pcim_unplug(dev->f) : 0;
	pthread_mutex_unlock(&b->lock);
	bus_changed(b);
	dev_put(b, dev); /* the list's */
	return rc;
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

		rc = dev_add(b, list.f[i], NULL, &dev);
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
		if (probed == -ENOMEM)
			rc = probed;
		else if (probed < 0)
			log_warn("%s: %s does not take it: %s", pcif_name(list.f[i]),
				 override ? override : "its driver",
				 drv_refusal(override ? drv_find(b, override) : NULL, list.f[i],
					     probed));
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
	int rc = dev_lock(dev, cancel);

	if (rc)
		return rc;
	/* Also where the driver would leave them behind. */
	rc = bus_sriov_disable(b, dev->f, cancel);
	if (!rc)
		rc = dev_remove(b, dev, true, cancel);
	dev_unlock(dev);
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

/* What a scan has found and the host does not know yet. */
static int add_found(struct bus *b, struct bus_dev ***found, unsigned *n_found)
{
	struct pcim_list list;
	int rc = pcim_list(b->pci, &list);

	if (rc)
		return rc;
	*n_found = 0;
	*found = calloc(list.n + 1, sizeof(struct bus_dev *));
	if (!*found)
		rc = -ENOMEM;
	for (unsigned i = 0; i < list.n && !rc; i++) {
		/* A scan does not find VFs: bus_sriov_enable() adds them. */
		if (pcif_is_vf(list.f[i]))
			continue;
		rc = dev_add(b, list.f[i], NULL, &(*found)[*n_found]);
		if (!rc)
			++*n_found;
		else if (rc == -EEXIST || rc == -ENODEV)
			rc = 0;
	}
	pcim_list_free(&list);
	return rc;
}

/*
 * Source: rescan_store(), pci_rescan_bus(). First all of them, so that what found no memory or time
 * for a driver is there all the same.
 */
int bus_rescan(struct bus *b, const struct pci_bdf *on, const atomic_bool *cancel)
{
	int rc = pcim_plug(b->pci, on);
	struct bus_dev **found = NULL;
	unsigned n = 0;

	if (rc < 0)
		return rc;
	rc = add_found(b, &found, &n);
	for (unsigned i = 0; i < n; i++) {
		int locked = rc ? rc : dev_lock(found[i], cancel);

		if (!locked) {
			if (bus_autoprobe(b))
				(void)dev_probe(b, found[i]);
			dev_unlock(found[i]);
		} else if (!rc) {
			rc = locked;
		}
		dev_put(b, found[i]);
	}
	free(found);
	return rc ? rc : (int)n;
}
