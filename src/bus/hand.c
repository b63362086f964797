/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Whole isolation groups change hands: from the host's drivers to one that gives them to a client,
 * and back. All functions of the group or none: what was done is undone where one of them refuses,
 * and the text says which one and why.
 *
 * VFs can be in the group of their PF. They may end when the driver of that PF leaves, and then
 * there is nothing left to give; what is undone makes as many again.
 *
 * Ports and what needs no driver stay as they are: they do not keep a group from being claimed.
 */
#include "bus/priv.h"

/* One function on its way, and what it was before. */
struct hand {
	struct bus_dev *dev;
	const struct bus_driver *before; /* NULL: none */
	char *override;			 /* NULL: none */
	unsigned vfs;			 /* that were enabled */
	bool touched;
};

struct hands {
	struct hand *list;
	unsigned n;
	unsigned group;
};

static void hands_fini(struct bus *b, struct hands *h)
{
	for (unsigned i = 0; i < h->n; i++) {
		free(h->list[i].override);
		dev_put(b, h->list[i].dev);
	}
	free(h->list);
	*h = (struct hands){ 0 };
}

/* The functions of @one's group that can be given away. What was found is to be freed in any case.
 */
static int hands_init(struct bus *b, struct bus_dev *one, struct hands *h,
		      struct pcif_reply_error *err)
{
	struct bus_dev **all = NULL;
	int rc = -ENOMEM;
	unsigned n = 0;

	h->group = pcif_group(one->f);
	if (pcif_is_bridge(one->f))
		return pcif_error(err, -EINVAL, "%s is a bridge: name a device below it",
				  pcif_name(one->f));
	if (devs_list(b, &all))
		goto out;
	while (all[n])
		n++;
	h->list = calloc(n + 1, sizeof(*h->list));
	if (!h->list)
		goto out;
	rc = 0;
	for (unsigned i = 0; i < n && !rc; i++) {
		struct hand *hand = &h->list[h->n];

		if (pcif_group(all[i]->f) != h->group || pcif_is_bridge(all[i]->f))
			continue;
		rc = bus_override_get(b, all[i]->f, &hand->override);
		if (rc == -ENODEV) { /* it has just left */
			rc = 0;
			continue;
		}
		if (rc)
			break;
		hand->before = bus_driver_of(b, all[i]->f);
		hand->vfs = pcif_num_vfs(all[i]->f);
		hand->dev = all[i];
		all[i] = NULL;
		h->n++;
	}
out:
	if (all) {
		for (unsigned i = 0; i < n; i++)
			dev_put(b, all[i]);
		free(all);
	}
	if (rc == -ENOMEM)
		pcif_error(err, rc, "out of memory");
	return rc;
}

/* It left the host; a new function at its address is none of ours. */
static bool hand_gone(struct bus *b, const struct hand *hand)
{
	bool gone;

	pthread_mutex_lock(&b->lock);
	gone = hand->dev->gone;
	pthread_mutex_unlock(&b->lock);
	return gone;
}

/* As it was before; what cannot be had back is said in the log. */
static void hand_undo(struct bus *b, struct hand *hand)
{
	static const atomic_bool at_once = true;
	const struct bus_driver *now = bus_driver_of(b, hand->dev->f);
	struct pci_bdf bdf = pcif_bdf(hand->dev->f);
	int rc = 0;

	if (now && now != hand->before)
		rc = bus_unbind(b, NULL, bdf, &at_once);
	if (!rc)
		rc = bus_override_set(b, hand->dev->f, hand->override);
	if (!rc && hand->before && now != hand->before)
		rc = bus_bind(b, hand->before->name, bdf, &at_once);
	if (!rc && pcif_num_vfs(hand->dev->f) != hand->vfs)
		rc = bus_sriov_set(b, hand->dev->f, hand->vfs, &at_once);
	if (rc)
		log_warn("%s: not back with %s: %s", pcif_name(hand->dev->f),
			 hand->before ? hand->before->name : "no driver", strerror(-rc));
}

static void hands_undo(struct bus *b, struct hands *h)
{
	for (unsigned i = h->n; i-- > 0;)
		if (h->list[i].touched && !hand_gone(b, &h->list[i]))
			hand_undo(b, &h->list[i]);
}

/* @rc of binding to @driver, or, NULL, to whatever the host has for it. */
static int hand_refused(struct bus *b, const struct hand *hand, const char *driver, int rc,
			struct pcif_reply_error *err)
{
	const char *name = pcif_name(hand->dev->f), *who = driver ? driver : "its host driver";
	const struct bus_drv *drv = driver ? drv_find(b, driver) : NULL;

	if (rc == -EINTR)
		return pcif_error(err, rc, "%s: given up while somebody else changes it", name);
	if (rc == -EBUSY && !(drv && drv->d->managed_dma))
		return pcif_error(err, rc,
				  "%s: %s cannot take it while a client has the group; end the "
				  "client first",
				  name, who);
	return pcif_error(err, rc, "%s: %s refuses it: %s", name, who,
			  drv_refusal(drv, hand->dev->f, rc));
}

static int hand_over(struct bus *b, struct hand *hand, const char *driver,
		     const atomic_bool *cancel, struct pcif_reply_error *err)
{
	struct pci_bdf bdf = pcif_bdf(hand->dev->f);
	const char *name = pcif_name(hand->dev->f);
	int rc;

	if (hand->before && driver && !strcmp(hand->before->name, driver))
		return 0;
	hand->touched = true;
	rc = hand->before ? bus_unbind(b, hand->before->name, bdf, cancel) : 0;
	/* Who gave up in the very moment in which it was given back has given up. */
	if (!rc && cancel && atomic_load(cancel))
		rc = -EINTR;
	if (rc == -EINTR)
		return pcif_error(err, rc, "%s: its user has not given it back", name);
	if (rc == -ENODEV && hand_gone(b, hand))
		return 0;
	if (rc)
		return pcif_error(err, rc, "%s: cannot be unbound from %s: %s", name,
				  hand->before->name, strerror(-rc));
	rc = bus_override_set(b, hand->dev->f, driver);
	if (!rc)
		rc = driver ? bus_bind(b, driver, bdf, cancel) : bus_probe(b, bdf, cancel);
	if (!rc || (rc == -ENODEV && hand_gone(b, hand)))
		return 0;
	return hand_refused(b, hand, driver, rc, err);
}

static int change_hands(struct bus *b, struct pci_bdf bdf, const char *driver,
			const atomic_bool *cancel, struct pcif_reply_error *err)
{
	struct bus_dev *one = dev_find(b, bdf);
	char name[PCI_BDF_STRLEN];
	struct hands h = { 0 };
	unsigned group;
	int rc;

	if (!one)
		return pcif_error(err, -ENODEV, "%s: no such device in this machine",
				  pcif_bdf_format(bdf, name));
	group = pcif_group(one->f);
	if (!group_change_begin(b, group, cancel)) {
		dev_put(b, one);
		return pcif_error(err, -EINTR, "another change of its group is under way");
	}
	rc = hands_init(b, one, &h, err);
	for (unsigned i = 0; i < h.n && !rc; i++)
		rc = hand_over(b, &h.list[i], driver, cancel, err);
	if (rc)
		hands_undo(b, &h);
	hands_fini(b, &h);
	group_change_end(b, group);
	dev_put(b, one);
	return rc;
}

int bus_group_bind(struct bus *b, struct pci_bdf bdf, const char *driver, const atomic_bool *cancel,
		   struct pcif_reply_error *err)
{
	char names[160] = "";

	if (drv_find(b, driver))
		return change_hands(b, bdf, driver, cancel, err);
	for (unsigned i = 0; i < b->n_drivers; i++) {
		size_t n = strlen(names);

		snprintf(names + n, sizeof(names) - n, "%s%s", n ? ", " : "",
			 b->drivers[i].d->name);
	}
	return pcif_error(err, -ENOENT, "no driver of that name; there are %s", names);
}

int bus_group_return(struct bus *b, struct pci_bdf bdf, const atomic_bool *cancel,
		     struct pcif_reply_error *err)
{
	return change_hands(b, bdf, NULL, cancel, err);
}
