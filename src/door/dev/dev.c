/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The dev door: a command that sees the machine's /dev/vfio and the PCI part of /sys is served by
 * it. This file makes and ends a door; docs/door-dev.md tells the whole.
 */
#include <errno.h>

#include "door/dev/priv.h"

int door_dev_new(struct pcim *pci, struct vfio *vfio, unsigned client, struct door_dev **door,
		 struct door_error *err)
{
	struct door_dev *d = calloc(1, sizeof(*d));
	unsigned i;
	int r;

	err->text[0] = 0;
	if (!d)
		return -ENOMEM;
	d->pci = pci;
	d->vfio = vfio;
	d->client = client;
	d->uid = geteuid();
	d->gid = getegid();
	d->fuse_fd = d->root_fd = d->listener = -1;
	d->guard.event = d->spawner.event = -1;
	d->lifeline_stop = d->watcher = -1;
	for (i = 0; i < LIFELINES; i++)
		d->lifeline_fds[i] = -1;
	pthread_mutex_init(&d->lock, NULL);
	pthread_mutex_init(&d->opening_lock, NULL);
	pthread_mutex_init(&d->replay_lock, NULL);
	pthread_cond_init(&d->replay_cond, NULL);
	fs_init(d);
	acts_init(&d->acts);
	notify_init(d);
	own_init(d);
	r = view_new(pci, vfio, &d->view);
	if (!r)
		r = fuse_pool_init(d);
	if (!r)
		r = lifelines_start(d);
	if (r == -EPERM) /* they unshare too; who may not do that makes no namespaces either */
		explain_userns(err, r);
	if (r)
		door_dev_free(d);
	else
		*door = d;
	if (r && !err->text[0])
		explain_text(err, r, "cannot open the door: %s", strerror(-r));
	return r;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(fd_steal(fd));
}

void door_dev_free(struct door_dev *d)
{
	if (!d)
		return;
	/* While threads still serve pages, everything that holds some is closed. */
	atomic_store(&d->closing, true);
	acts_close(&d->acts);
	notify_stop(d);
	handles_close_all(d);
	memdevs_stop(d);
	lifelines_stop(d); /* the watcher ends the connection, where one was started */
	fuse_pool_stop(d);
	close_fd(&d->fuse_fd);
	anchor_stop(d);
	own_stop(d);
	handles_free(d);
	close_fd(&d->listener);
	close_fd(&d->root_fd);
	fuse_pool_fini(d);
	notify_fini(d);
	pthread_cond_destroy(&d->replay_cond);
	pthread_mutex_destroy(&d->replay_lock);
	pthread_mutex_destroy(&d->opening_lock);
	fs_fini(d);
	acts_fini(&d->acts);
	view_free(d->view);
	own_fini(d);
	pthread_mutex_destroy(&d->lock);
	free(d);
}

void door_dev_report(const struct door_dev *d, struct door_report *report)
{
	*report = (struct door_report){
		.memfd = d->devices == DEVICES_MEMFD,
		.forced = d->forced,
		.restarts = d->restarts,
		.looking = d->devices == DEVICES_MEMFD && reaper_looks(),
		.userns = d->userns,
	};
}
