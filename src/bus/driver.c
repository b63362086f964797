/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Drivers and what they are bound to: matching, probing, unbinding, and the words that clients
 * write to driver_override, new_id, bind, unbind and drivers_probe.
 *
 * Source: drivers/pci/pci-driver.c (pci_match_device(), new_id_store(), remove_id_store()),
 * drivers/base/bus.c (bind_store(), unbind_store(), drivers_probe_store()), drivers/base/dd.c.
 */
#include "bus/priv.h"

int bus_driver_add(struct bus *b, const struct bus_driver *driver, void *data)
{
	struct bus_drv *bigger;

	if (drv_find(b, driver->name))
		return -EEXIST;
	if (b->started)
		return -EINVAL;
	bigger = realloc(b->drivers, (b->n_drivers + 1) * sizeof(*bigger));
	if (!bigger)
		return -ENOMEM;
	b->drivers = bigger;
	b->drivers[b->n_drivers++] = (struct bus_drv){ .d = driver, .data = data };
	return 0;
}

struct bus_drv *drv_find(struct bus *b, const char *name)
{
	for (unsigned i = 0; i < b->n_drivers; i++)
		if (!strcmp(b->drivers[i].d->name, name))
			return &b->drivers[i];
	return NULL;
}

unsigned bus_driver_count(const struct bus *b)
{
	return b->n_drivers;
}

const struct bus_driver *bus_driver_at(const struct bus *b, unsigned i)
{
	return i < b->n_drivers ? b->drivers[i].d : NULL;
}

const struct bus_driver *bus_driver_of(struct bus *b, const struct pcif *f)
{
	struct bus_dev *dev = dev_get(b, f);
	const struct bus_driver *d = NULL;

	if (!dev)
		return NULL;
	pthread_mutex_lock(&b->lock);
	if (dev->drv)
		d = dev->drv->d;
	pthread_mutex_unlock(&b->lock);
	dev_put(b, dev);
	return d;
}

/* ------------------------------------------------------------------ matching */

static bool part_matches(uint32_t want, uint32_t have)
{
	return want == BUS_ANY || want == have;
}

/* Source: pci_match_one_device(). */
static bool id_covers(const struct bus_id *rule, const struct bus_id *id)
{
	return part_matches(rule->vendor, id->vendor) && part_matches(rule->device, id->device) &&
	       part_matches(rule->subvendor, id->subvendor) &&
	       part_matches(rule->subdevice, id->subdevice) &&
	       !((rule->class_code ^ id->class_code) & rule->class_mask);
}

/* By what clients added, and by the driver's own table. With bus.lock. */
static bool ids_match(const struct bus_drv *drv, const struct bus_id *id)
{
	const struct bus_id *own = drv->d->ids;

	for (unsigned i = 0; i < drv->n_ids; i++)
		if (id_covers(&drv->ids[i], id))
			return true;
	for (; own && (own->vendor || own->class_mask); own++)
		if (id_covers(own, id))
			return true;
	return false;
}

/* Source: pci_match_device(). With bus.lock. */
static bool drv_matches(const struct bus_drv *drv, const struct bus_dev *dev)
{
	const struct pcif_desc *d = pcif_desc(dev->f);
	struct bus_id id = { d->vendor,		  d->device,	 d->subsystem_vendor,
			     d->subsystem_device, d->class_code, 0 };

	/* Only the driver that is named there, whatever its table says. */
	if (dev->override)
		return !strcmp(dev->override, drv->d->name);
	return ids_match(drv, &id);
}

/* ------------------------------------------------------------------ binding */

static struct bus_drv *bound_to(struct bus *b, struct bus_dev *dev)
{
	struct bus_drv *drv;

	pthread_mutex_lock(&b->lock);
	drv = dev->drv;
	pthread_mutex_unlock(&b->lock);
	return drv;
}

static void set_bound(struct bus *b, struct bus_dev *dev, struct bus_drv *drv)
{
	pthread_mutex_lock(&b->lock);
	dev->drv = drv;
	pthread_mutex_unlock(&b->lock);
	bus_changed(b);
}

/* Source: really_probe(), pci_dma_configure(). */
int dev_bind(struct bus *b, struct bus_dev *dev, struct bus_drv *drv)
{
	int rc = 0;

	if (bound_to(b, dev))
		return -EBUSY;
	if (!vf_can_probe(b, dev))
		return -ENODEV;
	if (!drv->d->managed_dma)
		rc = member_use(b, dev);
	if (rc)
		return rc;
	if (drv->d->probe)
		rc = drv->d->probe(drv->data, dev->f);
	if (rc) {
		member_unuse(b, dev);
		return rc;
	}
	set_bound(b, dev, drv);
	return 0;
}

/* Source: device_release_driver(), pci_device_remove(). */
int dev_unbind(struct bus *b, struct bus_dev *dev, const atomic_bool *cancel)
{
	struct bus_drv *drv = bound_to(b, dev);
	int rc = 0;

	if (!drv)
		return -ENODEV;
	if (drv->d->remove)
		rc = drv->d->remove(drv->data, dev->f, cancel);
	if (rc)
		return rc;
	member_unuse(b, dev);
	set_bound(b, dev, NULL);
	if (!b->ending && pcif_num_vfs(dev->f))
		log_warn("%s: %s left its VFs enabled", pcif_name(dev->f), drv->d->name);
	return 0;
}

/* Source: device_attach(), __device_attach_driver(): who says ENODEV or ENXIO leaves it to others.
 */
int dev_probe(struct bus *b, struct bus_dev *dev)
{
	if (bound_to(b, dev))
		return 0;
	for (unsigned i = 0; i < b->n_drivers; i++) {
		struct bus_drv *drv = &b->drivers[i];
		bool match;
		int rc;

		pthread_mutex_lock(&b->lock);
		match = !dev->gone && drv_matches(drv, dev);
		pthread_mutex_unlock(&b->lock);
		if (!match)
			continue;
		rc = dev_bind(b, dev, drv);
		if (!rc)
			return 1;
		if (rc != -ENODEV && rc != -ENXIO)
			return rc;
	}
	return 0;
}

const char *drv_refusal(const struct bus_drv *drv, const struct pcif *f, int rc)
{
	const char *why = drv && drv->d->refusal ? drv->d->refusal(f) : NULL;

	return why ? why : strerror(-rc);
}

/* Source: bind_store(). */
int bus_bind(struct bus *b, const char *driver, struct pci_bdf bdf, const atomic_bool *cancel)
{
	struct bus_drv *drv = drv_find(b, driver);
	struct bus_dev *dev = drv ? dev_find(b, bdf) : NULL;
	bool match;
	int rc;

	if (!dev)
		return -ENODEV;
	rc = dev_lock(dev, cancel);
	if (!rc) {
		pthread_mutex_lock(&b->lock);
		match = !dev->gone && drv_matches(drv, dev);
		pthread_mutex_unlock(&b->lock);
		rc = match ? dev_bind(b, dev, drv) : -ENODEV;
		dev_unlock(dev);
	}
	dev_put(b, dev);
	return rc;
}

/* Source: unbind_store(). */
int bus_unbind(struct bus *b, const char *driver, struct pci_bdf bdf, const atomic_bool *cancel)
{
	struct bus_dev *dev = dev_find(b, bdf);
	struct bus_drv *drv;
	int rc;

	if (!dev)
		return -ENODEV;
	rc = dev_lock(dev, cancel);
	if (!rc) {
		drv = bound_to(b, dev);
		rc = drv && (!driver || !strcmp(driver, drv->d->name)) ? dev_unbind(b, dev, cancel)
								       : -ENODEV;
		dev_unlock(dev);
	}
	dev_put(b, dev);
	return rc;
}

/* Source: drivers_probe_store(), bus_rescan_devices_helper(). */
int bus_probe(struct bus *b, struct pci_bdf bdf, const atomic_bool *cancel)
{
	struct bus_dev *dev = dev_find(b, bdf);
	int rc;

	if (!dev)
		return -ENODEV;
	rc = dev_lock(dev, cancel);
	if (!rc) {
		rc = dev_probe(b, dev) < 0 ? -EINVAL : 0;
		dev_unlock(dev);
	}
	dev_put(b, dev);
	return rc;
}

/* ------------------------------------------------------------------ driver_override */

/* Source: driver_override_store(), driver_set_override(). */
int bus_override_set(struct bus *b, struct pcif *f, const char *name)
{
	struct bus_dev *dev = dev_get(b, f);
	char *text = NULL, *old;

	if (!dev)
		return -ENODEV;
	if (name && *name) {
		text = strdup(name);
		if (!text) {
			dev_put(b, dev);
			return -ENOMEM;
		}
	}
	pthread_mutex_lock(&b->lock);
	old = dev->override;
	dev->override = text;
	pthread_mutex_unlock(&b->lock);
	free(old);
	bus_changed(b);
	dev_put(b, dev);
	return 0;
}

int bus_override_get(struct bus *b, struct pcif *f, char **name)
{
	struct bus_dev *dev = dev_get(b, f);
	int rc = 0;

	if (!dev)
		return -ENODEV;
	*name = NULL;
	pthread_mutex_lock(&b->lock);
	if (dev->override) {
		*name = strdup(dev->override);
		rc = *name ? 0 : -ENOMEM;
	}
	pthread_mutex_unlock(&b->lock);
	dev_put(b, dev);
	return rc;
}

/* ------------------------------------------------------------------ identifiers */

/*
 * @drv matches more than before: it takes whatever is unbound, as driver_attach() does. No other
 * driver is asked.
 */
static int attach_all(struct bus *b, struct bus_drv *drv, const atomic_bool *cancel)
{
	struct bus_dev **list;
	int rc = devs_list(b, &list);

	if (rc)
		return rc;
	for (unsigned i = 0; list[i] && !rc; i++) {
		bool match;

		rc = dev_lock(list[i], cancel);
		if (rc)
			break;
		pthread_mutex_lock(&b->lock);
		match = !list[i]->gone && drv_matches(drv, list[i]);
		pthread_mutex_unlock(&b->lock);
		if (match)
			(void)dev_bind(b, list[i], drv);
		dev_unlock(list[i]);
	}
	devs_list_free(b, list);
	return rc;
}

/* Source: new_id_store(), pci_add_dynid(). */
int bus_new_id(struct bus *b, const char *driver, const struct bus_id *id, bool force,
	       const atomic_bool *cancel)
{
	struct bus_drv *drv = drv_find(b, driver);
	int rc = 0;

	if (!drv)
		return -ENODEV;
	pthread_mutex_lock(&b->lock);
	if (!force && ids_match(drv, id))
		rc = -EEXIST;
	if (!rc && drv->n_ids == BUS_IDS_MAX)
		rc = -ENOMEM;
	if (!rc)
		drv->ids[drv->n_ids++] = *id;
	pthread_mutex_unlock(&b->lock);
	return rc ? rc : attach_all(b, drv, cancel);
}

/* What is asked for without a subsystem or class is any of these. */
static bool id_is_meant(const struct bus_id *id, const struct bus_id *asked)
{
	return id->vendor == asked->vendor && id->device == asked->device &&
	       part_matches(asked->subvendor, id->subvendor) &&
	       part_matches(asked->subdevice, id->subdevice) &&
	       !((id->class_code ^ asked->class_code) & asked->class_mask);
}

/* Source: remove_id_store(). */
int bus_remove_id(struct bus *b, const char *driver, const struct bus_id *id)
{
	struct bus_drv *drv = drv_find(b, driver);
	int rc = -ENODEV;

	if (!drv)
		return -ENODEV;
	pthread_mutex_lock(&b->lock);
	for (unsigned i = 0; i < drv->n_ids; i++) {
		if (!id_is_meant(&drv->ids[i], id))
			continue;
		drv->n_ids--;
		memmove(&drv->ids[i], &drv->ids[i + 1], (drv->n_ids - i) * sizeof(*id));
		rc = 0;
		break;
	}
	pthread_mutex_unlock(&b->lock);
	return rc;
}

bool bus_autoprobe(struct bus *b)
{
	bool on;

	pthread_mutex_lock(&b->lock);
	on = b->autoprobe;
	pthread_mutex_unlock(&b->lock);
	return on;
}

void bus_set_autoprobe(struct bus *b, bool on)
{
	pthread_mutex_lock(&b->lock);
	b->autoprobe = on;
	pthread_mutex_unlock(&b->lock);
}
