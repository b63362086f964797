/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * VFIO_GROUP_GET_DEVICE_FD: the one request whose answer is a new descriptor in the client, which
 * FUSE cannot make. The command runs under a filter that stops it at that request and tells us
 * (Linux kernel/seccomp.c); we open a device file and put it into the client with the answer, in
 * one step (SECCOMP_ADDFD_FLAG_SEND), so that no descriptor is lost if the client dies.
 *
 * What the filter saw may be anybody's ioctl of the same number: the file decides. It is taken out
 * of the client (pidfd_getfd) and, if it is not one of our groups, the system call goes on as if
 * nothing had been. A client cannot swap the file behind our back to any use: what we act upon is
 * the file that we took.
 *
 * One thread receives; each request has a short-lived thread of its own, so a function that takes
 * its time to reset makes nobody else wait.
 */
#include <errno.h>
#include <linux/vfio.h>
#include <poll.h>
#include <sys/eventfd.h>

#include "door/dev/priv.h"

#define MAX_CALLS 32
#define NOTIF_SIZE 512 /* of struct seccomp_notif in kernels to come */

struct notify_call {
	struct door_dev *d;
	struct seccomp_notif n;
};

static void answer(struct door_dev *d, const struct seccomp_notif *n, int error, uint32_t flags)
{
	struct seccomp_notif_resp resp = { .id = n->id, .error = error, .flags = flags };

	/* -ENOENT: the client is gone, which is its right. */
	if (ioctl(d->listener, SECCOMP_IOCTL_NOTIF_SEND, &resp) && errno != ENOENT)
		log_debug("door: answer to thread %u: %s", n->pid, strerror(errno));
}

/* The group file that the call is about: a handle, NULL (none of ours), or *@error. */
static struct handle *find_group(struct door_dev *d, const struct seccomp_notif *n, int *error)
{
	AUTO_CLOSE int pidfd = client_pidfd((pid_t)n->pid);
	AUTO_CLOSE int fd = -1;
	uint64_t id = n->id;
	struct handle *h;

	*error = 0;
	if (pidfd < 0)
		return NULL;
	/* Only now is it sure that the number was not somebody else's meanwhile. */
	if (ioctl(d->listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &id)) {
		*error = -ESRCH;
		return NULL;
	}
	fd = client_getfd(pidfd, (int)n->data.args[0]);
	if (fd < 0)
		return NULL; /* not open, or not ours to see; the kernel or FUSE will say so */
	h = client_handle(d, fd);
	if (h && (h->kind != HANDLE_VFIO || vfio_obj_kind(h->obj) != VFIO_KIND_GROUP)) {
		handle_put(d, h);
		h = NULL;
	}
	return h;
}

/* The request itself. 0 with a descriptor in *@fd, or -errno. */
static int get_device(struct door_dev *d, struct handle *group, const struct seccomp_notif *n,
		      int *fd)
{
	const struct vfio_shape *shape = vfio_shape(VFIO_KIND_GROUP, VFIO_GROUP_GET_DEVICE_FD);
	struct vfio_client client = { 0 };
	struct vfio_call call = { .request = VFIO_GROUP_GET_DEVICE_FD, .client = &client };
	AUTO_FREE char *name = NULL;
	int r;

	if (!shape || shape->arg != VFIO_ARG_STRING)
		return -ENOTTY;
	if (atomic_load(&d->closing))
		return -ENODEV;
	name = malloc(shape->max);
	if (!name)
		return -ENOMEM;
	r = client_read_string((pid_t)n->pid, n->data.args[2], name, shape->max);
	if (r)
		return r;
	call.data = name;
	call.size = strlen(name) + 1;
	r = vfio_call(group->obj, &call);
	if (r < 0)
		return r;
	if (!call.new_obj)
		return -ENODEV;
	return session_open(d, call.new_obj, fd);
}

static void serve(struct door_dev *d, const struct seccomp_notif *n)
{
	struct seccomp_notif_addfd add = {
		.id = n->id,
		.flags = SECCOMP_ADDFD_FLAG_SEND,
		.newfd_flags = O_CLOEXEC,
	};
	AUTO_CLOSE int fd = -1;
	struct handle *h;
	int r;

	h = find_group(d, n, &r);
	if (!h) {
		/* Also where the request should be gone: an answer to nobody does no harm. */
		answer(d, n, r, r ? 0 : SECCOMP_USER_NOTIF_FLAG_CONTINUE);
		return;
	}
	handle_used(h);
	r = get_device(d, h, n, &fd);
	handle_put(d, h);
	if (!r) {
		add.srcfd = (uint32_t)fd;
		if (ioctl(d->listener, SECCOMP_IOCTL_NOTIF_ADDFD, &add) >= 0)
			return;
		r = -errno; /* -EMFILE is the client's own; -ENOENT: it is gone */
	}
	answer(d, n, r, 0);
}

static void call_ended(struct door_dev *d)
{
	pthread_mutex_lock(&d->lock);
	d->n_calls--;
	pthread_cond_broadcast(&d->calls_cond);
	pthread_mutex_unlock(&d->lock);
}

static void *call_main(void *data)
{
	struct notify_call *c = data;
	struct door_dev *d = c->d;

	serve(d, &c->n);
	free(c);
	call_ended(d);
	return NULL;
}

static void dispatch(struct door_dev *d, const struct seccomp_notif *n)
{
	struct notify_call *c = malloc(sizeof(*c));
	bool full;

	pthread_mutex_lock(&d->lock);
	full = d->n_calls >= MAX_CALLS;
	if (!full)
		d->n_calls++;
	pthread_mutex_unlock(&d->lock);
	if (c && !full) {
		c->d = d;
		c->n = *n;
		if (!door_thread(call_main, c, NULL))
			return;
	}
	if (!full)
		call_ended(d);
	free(c);
	serve(d, n);
}

static void *notify_main(void *data)
{
	struct door_dev *d = data;
	struct pollfd fds[2] = {
		{ .fd = d->listener, .events = POLLIN },
		{ .fd = d->notify_event, .events = POLLIN },
	};
	union {
		struct seccomp_notif n;
		uint8_t space[NOTIF_SIZE];
	} u;

	for (;;) {
		if (poll(fds, 2, -1) < 0)
			continue;
		/* POLLHUP: no process is left that has the filter. */
		if (fds[1].revents || fds[0].revents & (POLLHUP | POLLERR | POLLNVAL))
			return NULL;
		if (!(fds[0].revents & POLLIN))
			continue;
		memset(&u, 0, sizeof(u)); /* the kernel insists */
		/* -ENOENT: the client is gone again. This thread alone receives, so it does not
		 * block. */
		if (!ioctl(d->listener, SECCOMP_IOCTL_NOTIF_RECV, &u.n))
			dispatch(d, &u.n);
	}
}

/* d->listener is set. */
int notify_start(struct door_dev *d)
{
	int r;

	/* Faster where the kernel has it; means nothing otherwise. */
	(void)ioctl(d->listener, SECCOMP_IOCTL_NOTIF_SET_FLAGS, SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP);
	d->notify_event = eventfd(0, EFD_CLOEXEC);
	if (d->notify_event < 0)
		return -errno;
	r = door_thread(notify_main, d, &d->notify);
	d->notify_started = !r;
	return r;
}

/* Returns when no request is being answered any more. */
void notify_stop(struct door_dev *d)
{
	uint64_t one = 1;

	if (d->notify_started) {
		(void)!write(d->notify_event, &one, sizeof(one));
		pthread_join(d->notify, NULL);
		d->notify_started = false;
	}
	pthread_mutex_lock(&d->lock);
	while (d->n_calls)
		pthread_cond_wait(&d->calls_cond, &d->lock);
	pthread_mutex_unlock(&d->lock);
}
