/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who answers what the command's filter tells of (filter.c; Linux kernel/seccomp.c).
 *
 * VFIO_GROUP_GET_DEVICE_FD is the one request whose answer is a new descriptor in the client, which
 * FUSE cannot make. We open a device file and put it into the client with the answer, in one step
 * (SECCOMP_ADDFD_FLAG_SEND), so that no descriptor is lost if the client dies. What the filter saw
 * may be anybody's ioctl of the same number: the file decides. It is taken out of the client
 * (pidfd_getfd) and, if it is not one of our groups, the system call goes on as if nothing had
 * been. A client cannot swap the file behind our back to any use: what we act upon is the file that
 * we took. Everything else that the filter tells of is trap.c's.
 *
 * One thread, the leader, receives and answers: two that received in turn would make each request
 * slower. Others are parked. A request that takes its time hands the lead to one of them first
 * (notify_step_aside()); one that does so unexpectedly is seen by the guard, which looks every
 * millisecond while there are requests. So nobody waits for somebody else's reset.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <poll.h>
#include <sys/eventfd.h>

#include "door/dev/priv.h"

#define NOTIFY_KEEP 2  /* parked threads that stay */
#define NOTIFY_MAX 256 /* threads in all */
#define NOTIF_SIZE 512 /* of struct seccomp_notif in kernels to come */

/* Whether somebody still waits for the answer. */
bool notify_alive(struct door_dev *d, uint64_t id)
{
	return !ioctl(d->listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &id);
}

/* False: nobody takes it. */
static bool answer(struct door_dev *d, const struct seccomp_notif *n, int64_t result,
		   uint32_t flags)
{
	struct seccomp_notif_resp resp = { .id = n->id, .flags = flags };

	if (result < 0)
		resp.error = (int)result;
	else
		resp.val = result;
	if (!ioctl(d->listener, SECCOMP_IOCTL_NOTIF_SEND, &resp))
		return true;
	/* -ENOENT: the client is gone, which is its right; or it was interrupted, and asks again.
	 */
	if (errno != ENOENT)
		log_debug("door: answer to thread %u: %s", n->pid, strerror(errno));
	return false;
}

static bool is_get_device(const struct seccomp_notif *n)
{
	return trap_is_ioctl(&n->data) && (uint32_t)n->data.args[1] == VFIO_GROUP_GET_DEVICE_FD;
}

/* The group file that the call is about: a handle, NULL (none of ours), or *@error. */
static struct handle *find_group(struct door_dev *d, const struct seccomp_notif *n, int *error)
{
	const int number = (int)n->data.args[0];
	const uint64_t id = n->id;
	struct vfio_fd fd = { .fd = -1 };
	struct handle *h = NULL;
	int r = client_look(d, (pid_t)n->pid, &id, &number, 1, &fd, &h);

	if (fd.fd >= 0)
		close(fd.fd);
	/* A file that is not open, or not ours to see: the kernel or FUSE will say so. */
	*error = r == -ESRCH ? r : 0;
	if (h && (h->kind != HANDLE_VFIO || vfio_obj_kind(h->obj) != VFIO_KIND_GROUP)) {
		handle_put(d, h);
		h = NULL;
	}
	return h;
}

/* The request itself. 0 with *@device, the caller's, or -errno. */
static int get_device(struct door_dev *d, struct handle *group, const struct seccomp_notif *n,
		      struct vfio_obj **device)
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
	/* A device that was closed before is another one when it is opened again. */
	if (d->devices == DEVICES_MEMFD)
		memdevs_settle();
	else
		handles_settle(d, group->group);
	r = vfio_call(group->obj, &call);
	if (r < 0)
		return r;
	if (!call.new_obj)
		return -ENODEV;
	*device = call.new_obj;
	return 0;
}

/* The number, or -errno: -EMFILE is the client's own; -ENOENT: it is gone. */
static int add_fd(struct door_dev *d, const struct seccomp_notif *n, int fd, uint32_t flags)
{
	struct seccomp_notif_addfd add = {
		.id = n->id,
		.flags = flags,
		.newfd_flags = O_CLOEXEC,
		.srcfd = (uint32_t)fd,
	};
	int r = ioctl(d->listener, SECCOMP_IOCTL_NOTIF_ADDFD, &add);

	return r < 0 ? -errno : r;
}

/*
 * Puts @fd, a memfd, into the client; consumes it. A client that nothing but its death interrupts
 * is given it first and the answer then: ours is closed by that time, and as long as one is open
 * somewhere the device is. Others get it in one step with the answer, so that it is not lost; true:
 * that was done.
 */
static bool give(struct door_dev *d, const struct seccomp_notif *n, int fd, struct notify_answer *a)
{
	int r = -EINVAL; /* before Linux 5.14: in two steps */
	bool done;

	memdevs_closing(false);
	if (d->restarts)
		r = add_fd(d, n, fd, SECCOMP_ADDFD_FLAG_SEND);
	done = r >= 0;
	if (r == -EINVAL)
		r = add_fd(d, n, fd, 0);
	close(fd);
	memdevs_closing(true);
	a->result = r;
	a->again = r < 0;
	return done;
}

/* True: it is answered. */
static bool give_device(struct door_dev *d, const struct seccomp_notif *n, struct notify_answer *a)
{
	struct vfio_obj *device;
	struct handle *h;
	int r, fd;

	h = find_group(d, n, &r);
	if (!h) {
		/* Also where the request should be gone: an answer to nobody does no harm. */
		a->result = r;
		a->go_on = !r;
		return false;
	}
	r = get_device(d, h, n, &device);
	handle_put(d, h);
	if (!r && d->devices == DEVICES_MEMFD) {
		r = memdev_open(d, device, &fd);
		if (!r)
			return give(d, n, fd, a);
	} else if (!r) {
		r = session_give(d, device, n->id);
		if (!r)
			return true;
		a->again = true;
	}
	a->result = r;
	return false;
}

static bool serve_get_device(struct door_dev *d, const struct seccomp_notif *n,
			     struct notify_answer *a)
{
	/* The client may be killed meanwhile. Who opens the group next is not to meet a device that
	 * nobody will have. */
	struct leaving l = { .group = -1 };
	bool done;

	notify_step_aside(d); /* a reset, and a request to ourselves to recognise the file */
	leaving_begin(&l);
	done = give_device(d, n, a);
	leaving_end(&l);
	return done;
}

/* An answer that was there already, with what it has to say. */
static void deliver(struct door_dev *d, const struct seccomp_notif *n, struct notify_answer *a)
{
	int r = 0;

	if (a->size && notify_alive(d, n->id))
		r = client_write((pid_t)n->pid, a->addr, a->data, a->size);
	if (r)
		a->result = r;
}

static void serve(struct notify_worker *w, const struct seccomp_notif *n)
{
	struct door_dev *d = w->door;
	struct notify_answer a = { 0 };
	bool done = false;

	if (stat_is(&n->data)) { /* may be done twice */
		a.result = stat_serve(w, n, &a.go_on);
		answer(d, n, a.go_on ? 0 : a.result,
		       a.go_on ? SECCOMP_USER_NOTIF_FLAG_CONTINUE : 0);
		return;
	}
	if (d->restarts && replay_begin(d, n, &a))
		deliver(d, n, &a);
	else if (is_get_device(n))
		done = serve_get_device(d, n, &a);
	else
		trap_serve(w, n, &a);
	if (!done)
		done = answer(d, n, a.go_on ? 0 : a.result,
			      a.go_on ? SECCOMP_USER_NOTIF_FLAG_CONTINUE : 0);
	if (d->restarts)
		replay_end(d, n, done ? NULL : &a);
}

/* ------------------------------------------------------------------ threads */

static bool leads(const struct notify *n)
{
	return n->has_leader && pthread_equal(n->leader, pthread_self());
}

static void lead(struct notify *n)
{
	n->has_leader = true;
	n->leader = pthread_self();
	n->serving = false;
}

static void *notify_main(void *data);

/* Called with notify.lock held. */
static bool add_worker(struct door_dev *d)
{
	struct notify *n = &d->notify;
	struct notify_worker *w;

	if (n->threads >= NOTIFY_MAX)
		return false;
	w = calloc(1, sizeof(*w));
	if (!w)
		return false;
	w->door = d;
	n->threads++;
	if (!door_thread(notify_main, w, NULL))
		return true;
	n->threads--;
	free(w);
	return false;
}

/* Called with notify.lock held: somebody else receives from now on, if there is anybody. */
static void hand_over(struct door_dev *d)
{
	struct notify *n = &d->notify;

	if (!n->parked && !add_worker(d))
		return;
	n->has_leader = n->serving = false;
	pthread_cond_signal(&n->turn);
}

/* The calling thread's request may take its time. Means nothing on other threads. */
void notify_step_aside(struct door_dev *d)
{
	struct notify *n = &d->notify;

	pthread_mutex_lock(&n->lock);
	if (leads(n))
		hand_over(d);
	pthread_mutex_unlock(&n->lock);
}

/* Waits until nobody else receives. False: the thread is not needed any more. */
static bool take_turn(struct notify *n)
{
	bool mine;

	pthread_mutex_lock(&n->lock);
	if (n->has_leader && n->parked >= NOTIFY_KEEP) {
		mine = false;
	} else {
		n->parked++;
		while (n->has_leader && !n->stop)
			pthread_cond_wait(&n->turn, &n->lock);
		n->parked--;
		mine = !n->stop;
		if (mine)
			lead(n);
	}
	pthread_mutex_unlock(&n->lock);
	return mine;
}

static void begin(struct notify *n)
{
	pthread_mutex_lock(&n->lock);
	n->serving = true;
	n->moves++;
	if (!n->watching) {
		n->watching = true;
		pthread_cond_signal(&n->tick);
	}
	pthread_mutex_unlock(&n->lock);
}

/* True if this thread goes on receiving. */
static bool end(struct notify *n)
{
	bool mine;

	pthread_mutex_lock(&n->lock);
	mine = leads(n) || !n->has_leader;
	if (mine)
		lead(n);
	mine &= !n->stop;
	pthread_mutex_unlock(&n->lock);
	return mine;
}

/* False: nobody is left who could call, or the door closes. */
static bool receive(struct notify_worker *w)
{
	struct door_dev *d = w->door;
	struct pollfd fds[2] = {
		{ .fd = d->listener, .events = POLLIN },
		{ .fd = d->notify.event, .events = POLLIN },
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
			return false;
		if (!(fds[0].revents & POLLIN))
			continue;
		memset(&u, 0, sizeof(u)); /* the kernel insists */
		/* -ENOENT: the client is gone again. This thread alone receives, so it does not
		 * block. */
		if (ioctl(d->listener, SECCOMP_IOCTL_NOTIF_RECV, &u.n))
			continue;
		begin(&d->notify);
		serve(w, &u.n);
		if (!end(&d->notify))
			return true;
	}
}

static void notify_over(struct notify *n)
{
	pthread_mutex_lock(&n->lock);
	n->stop = true;
	pthread_cond_broadcast(&n->turn);
	pthread_cond_broadcast(&n->tick);
	pthread_mutex_unlock(&n->lock);
}

static void *notify_main(void *data)
{
	struct notify_worker *w = data;
	struct notify *n = &w->door->notify;

	while (take_turn(n)) {
		if (!receive(w))
			notify_over(n);
		trap_forget(w);
	}
	free(w);
	pthread_mutex_lock(&n->lock);
	n->threads--;
	pthread_cond_broadcast(&n->gone);
	pthread_mutex_unlock(&n->lock);
	return NULL;
}

/* Called with notify.lock held. True if it was woken before. */
static bool guard_sleep(struct notify *n)
{
	uint64_t at = time_mono_ns() + 1000000;
	struct timespec ts = { (time_t)(at / 1000000000u), (long)(at % 1000000000u) };

	return !pthread_cond_timedwait(&n->tick, &n->lock, &ts);
}

/* Looks, while there are requests, whether one takes so long that somebody else is to receive. */
static void *guard_main(void *data)
{
	struct door_dev *d = data;
	struct notify *n = &d->notify;
	unsigned still = 0;
	uint32_t seen;

	pthread_mutex_lock(&n->lock);
	while (!n->stop) {
		if (still >= GUARD_STILL_MAX) {
			n->watching = false;
			while (!n->watching && !n->stop)
				pthread_cond_wait(&n->tick, &n->lock);
			still = 0;
		}
		seen = n->moves;
		guard_sleep(n);
		still = n->moves == seen ? still + 1 : 0;
		if (still && n->serving)
			hand_over(d);
	}
	pthread_mutex_unlock(&n->lock);
	return NULL;
}

/* ------------------------------------------------------------------ start and end */

void notify_init(struct door_dev *d)
{
	struct notify *n = &d->notify;
	pthread_condattr_t mono;

	pthread_mutex_init(&n->lock, NULL);
	pthread_condattr_init(&mono);
	pthread_condattr_setclock(&mono, CLOCK_MONOTONIC);
	pthread_cond_init(&n->turn, &mono);
	pthread_cond_init(&n->tick, &mono);
	pthread_cond_init(&n->gone, &mono);
	pthread_condattr_destroy(&mono);
	n->event = -1;
}

void notify_fini(struct door_dev *d)
{
	struct notify *n = &d->notify;

	if (n->event >= 0)
		close(fd_steal(&n->event));
	pthread_cond_destroy(&n->turn);
	pthread_cond_destroy(&n->tick);
	pthread_cond_destroy(&n->gone);
	pthread_mutex_destroy(&n->lock);
}

/* d->listener is set. */
int notify_start(struct door_dev *d)
{
	struct notify *n = &d->notify;
	int r;

	/* Faster where the kernel has it; means nothing otherwise. */
	(void)ioctl(d->listener, SECCOMP_IOCTL_NOTIF_SET_FLAGS, SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP);
	n->event = eventfd(0, EFD_CLOEXEC);
	if (n->event < 0)
		return -errno;
	r = door_thread(guard_main, d, &n->guard);
	if (r)
		return r;
	n->guard_started = true;
	pthread_mutex_lock(&n->lock);
	r = add_worker(d) ? 0 : -EAGAIN;
	pthread_mutex_unlock(&n->lock);
	return r;
}

/* Returns when no request is being answered any more. */
void notify_stop(struct door_dev *d)
{
	struct notify *n = &d->notify;
	uint64_t one = 1;

	if (!n->guard_started)
		return;
	(void)!write(n->event, &one, sizeof(one));
	notify_over(n);
	pthread_join(n->guard, NULL);
	n->guard_started = false;
	pthread_mutex_lock(&n->lock);
	while (n->threads)
		pthread_cond_wait(&n->gone, &n->lock);
	pthread_mutex_unlock(&n->lock);
}
