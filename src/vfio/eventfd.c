/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Eventfds of clients: those we signal (struct wire) and those we wait for (struct watch).
 *
 * A client shares each eventfd's counter with us and may do with it what it likes. Two things would
 * make a plain write() or read() wait for that client: a counter that stands at its maximum, and a
 * counter that the client emptied after we saw it filled. The kernel's own eventfd_signal() can not
 * wait; from user space there is no such call (RWF_NOWAIT is refused for writes to an eventfd,
 * measured on Linux 6.18, and O_NONBLOCK would change the file that the client shares with us).
 * Hence: look with poll() first and drop the signal if the counter is full, as the kernel does. A
 * client that fills the counter in the moment between the two can still make one write wait;
 * whoever takes the wire away (wire_set()) then empties the counter, so that nothing of ours
 * depends on the client. Reads use preadv2() with RWF_NOWAIT, which eventfds do have.
 *
 * Follows fs/eventfd.c and virt/lib of Linux (vfio_virqfd_enable()).
 */
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/uio.h>

#include "vfio/priv.h"

int eventfd_take(const struct vfio_fd *vfd, int *fd)
{
	static const char want[] = "anon_inode:[eventfd]";
	char path[48], target[sizeof(want) + 8];
	ssize_t n;
	int dup;

	if (!vfd || vfd->error)
		return vfd && vfd->error ? vfd->error : -EBADF;
	if (vfd->fd < 0)
		return vfd->obj ? -EINVAL : -EBADF;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", vfd->fd);
	n = readlink(path, target, sizeof(target));
	if (n < 0)
		return errno == ENOENT ? -EBADF : -errno;
	if (n != (ssize_t)sizeof(want) - 1 || memcmp(target, want, sizeof(want) - 1))
		return -EINVAL;
	dup = fcntl(vfd->fd, F_DUPFD_CLOEXEC, 0);
	if (dup < 0)
		return -errno;
	*fd = dup;
	return 0;
}

/* ------------------------------------------------------------------ wires */

void wire_init(struct wire *w)
{
	pthread_mutex_init(&w->lock, NULL);
	pthread_mutex_init(&w->fd_lock, NULL);
	w->fd = -1;
	w->held = 0;
}

void wire_fini(struct wire *w)
{
	wire_set(w, -1);
	pthread_mutex_destroy(&w->lock);
	pthread_mutex_destroy(&w->fd_lock);
}

static bool fd_ready(int fd, short events)
{
	struct pollfd p = { .fd = fd, .events = events };

	return poll(&p, 1, 0) == 1 && (p.revents & events);
}

/* Empties the counter without ever waiting. */
static void eventfd_drain(int fd)
{
	uint64_t value;
	struct iovec iov = { &value, sizeof(value) };

	if (preadv2(fd, &iov, 1, -1, RWF_NOWAIT) < 0)
		return;
}

void wire_rescue(struct wire *w)
{
	pthread_mutex_lock(&w->fd_lock);
	if (w->fd >= 0 && !fd_ready(w->fd, POLLOUT))
		eventfd_drain(w->fd);
	pthread_mutex_unlock(&w->fd_lock);
}

/*
 * Both locks. A raising thread is at work, for about a microsecond, unless the client made its
 * write wait: then there is no room in the counter.
 */
static void wire_lock(struct wire *w)
{
	while (pthread_mutex_trylock(&w->lock)) {
		wire_rescue(w);
		sched_yield();
	}
	pthread_mutex_lock(&w->fd_lock);
}

static void wire_unlock(struct wire *w)
{
	pthread_mutex_unlock(&w->fd_lock);
	pthread_mutex_unlock(&w->lock);
}

void wire_set(struct wire *w, int fd)
{
	int old;

	wire_lock(w);
	old = w->fd;
	w->fd = fd;
	wire_unlock(w);
	if (old >= 0)
		close(old);
}

void wire_hold(struct wire *w, bool hold)
{
	wire_lock(w);
	w->held += hold ? 1 : -1;
	wire_unlock(w);
}

void wire_signal(struct wire *w)
{
	const uint64_t one = 1;

	pthread_mutex_lock(&w->lock);
	if (w->fd >= 0 && !w->held && fd_ready(w->fd, POLLOUT)) {
		/* EINTR is the only failure left: the counter has not changed, and waits for the
		 * client no longer than this once. */
		while (write(w->fd, &one, sizeof(one)) < 0 && errno == EINTR)
			if (!fd_ready(w->fd, POLLOUT))
				break;
	}
	pthread_mutex_unlock(&w->lock);
}

bool wire_is_set(struct wire *w)
{
	bool set;

	pthread_mutex_lock(&w->fd_lock);
	set = w->fd >= 0;
	pthread_mutex_unlock(&w->fd_lock);
	return set;
}

/* ------------------------------------------------------------------ watches */

struct watch {
	struct watch *next;
	uint64_t id;
	int fd;
	void (*cb)(void *data);
	void *data;
};

struct watcher {
	pthread_mutex_t lock; /* guards all below; held while a callback runs */
	struct watch *list;
	uint64_t next_id;
	bool started;
	pthread_t thread;
	int epoll, stop;
};

int watcher_new(struct watcher **out)
{
	struct watcher *w = calloc(1, sizeof(*w));

	if (!w)
		return -ENOMEM;
	pthread_mutex_init(&w->lock, NULL);
	w->next_id = 1;
	w->epoll = w->stop = -1;
	*out = w;
	return 0;
}

static void watch_run(struct watcher *w, uint64_t id)
{
	pthread_mutex_lock(&w->lock);
	for (struct watch *e = w->list; e; e = e->next) {
		uint64_t value;
		struct iovec iov = { &value, sizeof(value) };

		if (e->id != id)
			continue;
		/* The client may have emptied it: then nothing happened. */
		if (preadv2(e->fd, &iov, 1, -1, RWF_NOWAIT) == sizeof(value))
			e->cb(e->data);
		break;
	}
	pthread_mutex_unlock(&w->lock);
}

static void *watcher_main(void *data)
{
	struct watcher *w = data;

	for (;;) {
		struct epoll_event ev[16];
		int n = epoll_wait(w->epoll, ev, ARRAY_SIZE(ev), -1);

		if (n < 0 && errno != EINTR)
			return NULL;
		for (int i = 0; i < n; i++) {
			if (!ev[i].data.u64)
				return NULL;
			watch_run(w, ev[i].data.u64);
		}
	}
}

/* With the lock. */
static int watcher_start(struct watcher *w)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.u64 = 0 };
	int ret;

	if (w->started)
		return 0;
	if (w->epoll < 0)
		w->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (w->epoll < 0)
		return -errno;
	if (w->stop < 0) {
		w->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (w->stop < 0)
			return -errno;
		if (epoll_ctl(w->epoll, EPOLL_CTL_ADD, w->stop, &ev)) {
			ret = -errno;
			close(w->stop);
			w->stop = -1;
			return ret;
		}
	}
	ret = thread_start(&w->thread, 0, watcher_main, w);
	w->started = !ret;
	return ret;
}

int watch_add(struct watcher *w, int fd, void (*cb)(void *data), void *data, struct watch **out)
{
	struct watch *e = calloc(1, sizeof(*e));
	struct epoll_event ev = { .events = EPOLLIN };
	int ret;

	if (!e) {
		close(fd);
		return -ENOMEM;
	}
	pthread_mutex_lock(&w->lock);
	ret = watcher_start(w);
	if (ret)
		goto err;
	e->id = w->next_id++;
	e->fd = fd;
	e->cb = cb;
	e->data = data;
	e->next = w->list;
	w->list = e;
	ev.data.u64 = e->id;
	if (epoll_ctl(w->epoll, EPOLL_CTL_ADD, fd, &ev)) {
		ret = -errno;
		w->list = e->next;
		goto err;
	}
	*out = e;
	pthread_mutex_unlock(&w->lock);
	return 0;
err:
	pthread_mutex_unlock(&w->lock);
	free(e);
	close(fd);
	return ret;
}

void watch_remove(struct watcher *w, struct watch *watch)
{
	if (!watch)
		return;
	pthread_mutex_lock(&w->lock);
	for (struct watch **e = &w->list; *e; e = &(*e)->next) {
		if (*e != watch)
			continue;
		*e = watch->next;
		break;
	}
	/* Explicitly: the file lives on in the client, and with it its place in the epoll set. */
	epoll_ctl(w->epoll, EPOLL_CTL_DEL, watch->fd, NULL);
	pthread_mutex_unlock(&w->lock);
	close(watch->fd);
	free(watch);
}

void watcher_free(struct watcher *w)
{
	const uint64_t one = 1;

	if (!w)
		return;
	if (w->started) {
		/* Our own descriptor: nobody else can fill it. */
		while (write(w->stop, &one, sizeof(one)) < 0 && errno == EINTR)
			;
		pthread_join(w->thread, NULL);
	}
	while (w->list)
		watch_remove(w, w->list);
	if (w->stop >= 0)
		close(w->stop);
	if (w->epoll >= 0)
		close(w->epoll);
	pthread_mutex_destroy(&w->lock);
	free(w);
}
