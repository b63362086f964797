/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Isolation groups as the host sees them: who is in one, who owns it, where its functions' DMA
 * goes.
 *
 * Source: drivers/iommu/iommu.c, iommu_device_use_default_domain(), iommu_group_claim_dma_owner().
 */
#include "bus/priv.h"

static struct bus_group *find(struct bus *b, unsigned number)
{
	struct bus_group *g;

	for (g = b->groups; g && g->number != number; g = g->next)
		;
	return g;
}

/* Frees @g if nobody is in it; who claimed it keeps it. With both locks. */
static void group_forget(struct bus *b, struct bus_group *g)
{
	struct bus_group **at;

	if (g->members || g->owner || g->changing)
		return;
	for (at = &b->groups; *at != g; at = &(*at)->next)
		;
	*at = g->next;
	iommu_space_put(g->space);
	free(g);
}

int member_join(struct bus *b, struct bus_dev *dev)
{
	unsigned number = pcif_group(dev->f);
	struct bus_group *g, *fresh = calloc(1, sizeof(*fresh));
	struct iommu_space *space;

	if (!fresh)
		return -ENOMEM;
	pthread_mutex_lock(&b->attach);
	pthread_mutex_lock(&b->lock);
	g = find(b, number);
	if (!g) {
		g = fresh;
		fresh = NULL;
		g->number = number;
		g->id = ++b->last_id;
		g->next = b->groups;
		b->groups = g;
	}
	dev->group_next = g->members;
	g->members = dev;
	dev->group = g;
	space = g->space;
	pthread_mutex_unlock(&b->lock);
	if (space)
		iommu_port_attach(pcif_iommu_port(dev->f), space);
	pthread_mutex_unlock(&b->attach);
	free(fresh);
	return 0;
}

void member_leave(struct bus *b, struct bus_dev *dev)
{
	struct bus_group *g = dev->group;
	struct bus_dev **member;

	pthread_mutex_lock(&b->attach);
	iommu_port_attach(pcif_iommu_port(dev->f), NULL);
	for (member = &g->members; *member != dev; member = &(*member)->group_next)
		;
	pthread_mutex_lock(&b->lock);
	*member = dev->group_next;
	dev->group = NULL;
	group_forget(b, g);
	pthread_mutex_unlock(&b->lock);
	pthread_mutex_unlock(&b->attach);
}

int member_use(struct bus *b, struct bus_dev *dev)
{
	int rc = 0;

	pthread_mutex_lock(&b->lock);
	if (dev->group->owner) {
		rc = -EBUSY;
	} else {
		dev->group->users++;
		dev->uses_group = true;
	}
	pthread_mutex_unlock(&b->lock);
	return rc;
}

void member_unuse(struct bus *b, struct bus_dev *dev)
{
	pthread_mutex_lock(&b->lock);
	if (dev->uses_group)
		dev->group->users--;
	dev->uses_group = false;
	pthread_mutex_unlock(&b->lock);
}

bool group_change_begin(struct bus *b, unsigned number, const atomic_bool *cancel)
{
	for (;;) {
		struct bus_group *g;
		bool mine = false;

		pthread_mutex_lock(&b->lock);
		g = find(b, number);
		if (g && !g->changing)
			mine = g->changing = true;
		pthread_mutex_unlock(&b->lock);
		if (mine)
			return true;
		if (!g || (cancel && atomic_load(cancel)))
			return false;
		usleep(5000);
	}
}

void group_change_end(struct bus *b, unsigned number)
{
	struct bus_group *g;

	pthread_mutex_lock(&b->attach);
	pthread_mutex_lock(&b->lock);
	g = find(b, number);
	g->changing = false;
	group_forget(b, g);
	pthread_mutex_unlock(&b->lock);
	pthread_mutex_unlock(&b->attach);
}

/* ------------------------------------------------------------------ claims */

int bus_group_claim(struct bus *b, unsigned group, void *owner)
{
	struct bus_group *g;
	int rc = 0;

	pthread_mutex_lock(&b->lock);
	g = find(b, group);
	if (!g)
		rc = -ENODEV;
	else if (g->users || g->owner)
		rc = -EPERM;
	else
		g->owner = owner;
	pthread_mutex_unlock(&b->lock);
	return rc;
}

void bus_group_release(struct bus *b, unsigned group, void *owner)
{
	struct bus_group *g;

	pthread_mutex_lock(&b->attach);
	pthread_mutex_lock(&b->lock);
	g = find(b, group);
	if (g && g->owner == owner) {
		g->owner = NULL;
		group_forget(b, g);
	}
	pthread_mutex_unlock(&b->lock);
	pthread_mutex_unlock(&b->attach);
}

bool bus_group_viable(struct bus *b, unsigned group)
{
	struct bus_group *g;
	bool viable;

	pthread_mutex_lock(&b->lock);
	g = find(b, group);
	viable = g && !g->users && !g->owner;
	pthread_mutex_unlock(&b->lock);
	return viable;
}

struct pcif *bus_group_spoiler(struct bus *b, unsigned group, const struct bus_driver **driver)
{
	struct pcif *f = NULL;

	pthread_mutex_lock(&b->lock);
	for (struct bus_dev *dev = b->devs; dev && !f; dev = dev->next) {
		if (!dev->group || dev->group->number != group || !dev->uses_group || !dev->drv)
			continue;
		f = pcif_get(dev->f);
		*driver = dev->drv->d;
	}
	pthread_mutex_unlock(&b->lock);
	return f;
}

void bus_group_attach(struct bus *b, unsigned group, struct iommu_space *space)
{
	struct iommu_space *old = NULL;
	struct bus_group *g;

	pthread_mutex_lock(&b->attach);
	pthread_mutex_lock(&b->lock);
	g = find(b, group);
	if (g) {
		old = g->space;
		g->space = space ? iommu_space_get(space) : NULL;
	}
	pthread_mutex_unlock(&b->lock);
	for (struct bus_dev *dev = g ? g->members : NULL; dev; dev = dev->group_next)
		iommu_port_attach(pcif_iommu_port(dev->f), space);
	pthread_mutex_unlock(&b->attach);
	iommu_space_put(old);
}
