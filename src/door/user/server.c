// SPDX-License-Identifier: BSD-3-Clause
/*
 * The door for vfio-user clients: a UNIX socket for each function that is bound to vfio-pci,
 * DIR/BDF.sock. One thread waits on all of them and follows the bus, as functions come and go; each
 * client has a thread of its own, and whatever that client does is its own affair.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "door/user/priv.h"

#define LOOK_MS 250
#define SESSIONS_MAX 1024u
#define BACKLOG 16
#define GONE_PATIENCE_NS 5000000000ull

/* ------------------------------------------------------------------ sessions */

static void *session_main(void *data)
{
	struct user_session *s = data;
	struct door_user *d = s->door;

	pthread_setname_np(pthread_self(), "uvfio-user");
	session_serve(s);
	pthread_mutex_lock(&d->lock);
	s->done = true;
	s->socket->sessions--;
	pthread_cond_broadcast(&d->cond);
	pthread_mutex_unlock(&d->lock);
	(void)!write(d->wake, &(uint64_t){ 1 }, sizeof(uint64_t));
	return NULL;
}

static void session_free(struct user_session *s)
{
	channel_fini(&s->main);
	channel_fini(&s->twin);
	free(s);
}

/* Those that are done, or (@all) everyone's end. Of the door's thread. */
static void collect(struct door_user *d, bool all)
{
	struct user_session **link = &d->sessions, *s;

	while ((s = *link)) {
		bool done;

		pthread_mutex_lock(&d->lock);
		done = s->done;
		pthread_mutex_unlock(&d->lock);
		if (!done && !all) {
			link = &s->next;
			continue;
		}
		if (!done)
			session_hang_up(s);
		pthread_join(s->thread, NULL);
		pthread_mutex_lock(&d->lock);
		*link = s->next;
		pthread_mutex_unlock(&d->lock);
		session_free(s);
	}
}

static void take_client(struct door_user *d, struct user_socket *socket)
{
	struct user_session *s;
	unsigned n = 0;
	int fd = accept4(socket->fd, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		return;
	for (s = d->sessions; s; s = s->next)
		n++;
	s = n < SESSIONS_MAX ? calloc(1, sizeof(*s)) : NULL;
	if (!s) {
		close(fd);
		return;
	}
	channel_init(&s->main, &s->busy_since);
	channel_init(&s->twin, &s->busy_since);
	channel_open(&s->main, fd);
	s->door = d;
	s->socket = socket;
	pthread_mutex_lock(&d->lock);
	socket->sessions++;
	s->next = d->sessions;
	d->sessions = s;
	pthread_mutex_unlock(&d->lock);
	if (!thread_start(&s->thread, 0, session_main, s))
		return;
	pthread_mutex_lock(&d->lock);
	socket->sessions--;
	d->sessions = s->next;
	pthread_mutex_unlock(&d->lock);
	session_free(s);
}

/* With the lock: another client of the same function whose end of the connection is closed. */
static bool gone_before(const struct user_session *s)
{
	for (const struct user_session *o = s->door->sessions; o; o = o->next) {
		struct pollfd p = { .fd = o->main.fd, .events = POLLRDHUP };

		if (o != s && o->socket == s->socket && !o->done && poll(&p, 1, 0) == 1)
			return true;
	}
	return false;
}

void door_user_await_gone(struct user_session *s)
{
	uint64_t until = time_mono_ns() + GONE_PATIENCE_NS;
	struct timespec ts = {
		.tv_sec = (time_t)(until / 1000000000u),
		.tv_nsec = (long)(until % 1000000000u),
	};
	struct door_user *d = s->door;

	pthread_mutex_lock(&d->lock);
	while (!d->stopping && gone_before(s))
		if (pthread_cond_timedwait(&d->cond, &d->lock, &ts))
			break;
	pthread_mutex_unlock(&d->lock);
}

/* ------------------------------------------------------------------ sockets */

/* The file of a server that was killed is in the way; that of a living one is not touched. */
static int bind_path(int fd, const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	AUTO_CLOSE int probe = -1;

	strcpy(addr.sun_path, path);
	if (!bind(fd, (struct sockaddr *)&addr, sizeof(addr)))
		return 0;
	if (errno != EADDRINUSE)
		return -errno;
	probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (probe < 0)
		return -errno;
	if (!connect(probe, (struct sockaddr *)&addr, sizeof(addr)))
		return -EADDRINUSE;
	if (errno != ECONNREFUSED || unlink(path))
		return -EEXIST;
	return bind(fd, (struct sockaddr *)&addr, sizeof(addr)) ? -errno : 0;
}

/* Only one of several servers at a time looks whether a socket is a living one's. */
static int listen_at(const char *dir, const char *path, int *fd)
{
	AUTO_CLOSE int lock = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	AUTO_CLOSE int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int ret;

	if (lock < 0 || sock < 0 || flock(lock, LOCK_EX))
		return -errno;
	/* Nobody else gets at it between bind and chmod. */
	if (fchmod(sock, 0600))
		return -errno;
	ret = bind_path(sock, path);
	if (!ret && (chmod(path, 0600) || listen(sock, BACKLOG)))
		ret = -errno;
	if (!ret)
		*fd = fd_steal(&sock);
	return ret;
}

static void socket_free(struct user_socket *s)
{
	if (s->fd >= 0) {
		unlink(s->path);
		close(s->fd);
	}
	pcif_put(s->f);
	free(s->path);
	free(s);
}

static const char *listen_why(int error)
{
	switch (error) {
	case -EADDRINUSE:
		return "another process serves it; end that one, or choose another --socket-dir";
	case -EEXIST:
		return "there is a file that is no socket; remove it";
	case -ENAMETOOLONG:
		return "the path is longer than the 107 bytes of a socket's; choose a shorter one";
	default:
		return strerror(-error);
	}
}

/* @f: a reference, consumed. */
static int socket_add(struct door_user *d, struct pcif *f, uint64_t id, struct door_error *err)
{
	struct user_socket *s = calloc(1, sizeof(*s));
	struct epoll_event e = { .events = EPOLLIN, .data.ptr = s };
	int ret = s ? 0 : -ENOMEM;

	if (!s) {
		pcif_put(f);
		return ret;
	}
	s->f = f;
	s->id = id;
	s->fd = -1;
	if (asprintf(&s->path, "%s/%s.sock", d->dir, pcif_name(f)) < 0) {
		s->path = NULL;
		ret = -ENOMEM;
	} else if (strlen(s->path) >= sizeof(((struct sockaddr_un *)NULL)->sun_path)) {
		ret = -ENAMETOOLONG;
	}
	if (!ret)
		ret = listen_at(d->dir, s->path, &s->fd);
	if (!ret && epoll_ctl(d->epoll, EPOLL_CTL_ADD, s->fd, &e))
		ret = -errno;
	if (ret) {
		snprintf(err->text, sizeof(err->text), "%.300s: %s", s->path ? s->path : d->dir,
			 listen_why(ret));
		socket_free(s);
		return ret;
	}
	s->next = d->sockets;
	d->sockets = s;
	return 0;
}

/* ------------------------------------------------------------------ following the bus */

static bool served(const struct door_user *d, uint64_t id)
{
	for (const struct user_socket *s = d->sockets; s; s = s->next)
		if (s->id == id)
			return true;
	return false;
}

/* Functions that are VFIO's by now. An error is of the one that it happened with. */
static int add_new(struct door_user *d, struct door_error *err)
{
	struct bus_list list = { .n = 0 };
	int ret = bus_list(vfio_bus(d->vfio), &list);

	for (unsigned i = 0; i < list.n && !ret; i++) {
		struct vfio_cdev cdev;
		struct pcif *f = list.entry[i].f;

		if (!vfio_cdev_of(d->vfio, f, &cdev) || served(d, cdev.id))
			continue;
		list.entry[i].f = pcif_get(f);
		ret = socket_add(d, f, cdev.id, err);
	}
	bus_list_free(&list);
	return ret;
}

/* Functions that are VFIO's no more lose their socket, and it goes when its last client has gone.
 */
static void remove_old(struct door_user *d)
{
	struct user_socket **link = &d->sockets, *s;

	while ((s = *link)) {
		unsigned sessions;

		if (!s->closed && !vfio_cdev_present(d->vfio, s->id)) {
			s->closed = true;
			unlink(s->path);
			close(fd_steal(&s->fd));
		}
		pthread_mutex_lock(&d->lock);
		sessions = s->sessions;
		pthread_mutex_unlock(&d->lock);
		if (!s->closed || sessions) {
			link = &s->next;
			continue;
		}
		*link = s->next;
		socket_free(s);
	}
}

static void *door_main(void *data)
{
	struct door_user *d = data;
	uint64_t seen = 0, now, count;
	struct epoll_event e[16];

	pthread_setname_np(pthread_self(), "uvfio-sockets");
	for (;;) {
		int n = epoll_wait(d->epoll, e, ARRAY_SIZE(e), LOOK_MS);
		struct door_error err;
		bool stopping;

		pthread_mutex_lock(&d->lock);
		stopping = d->stopping;
		pthread_mutex_unlock(&d->lock);
		if (stopping)
			return NULL;
		for (int i = 0; i < n; i++) {
			if (e[i].data.ptr)
				take_client(d, e[i].data.ptr);
			else
				(void)!read(d->wake, &count, sizeof(count));
		}
		collect(d, false);
		now = bus_generation(vfio_bus(d->vfio));
		if (now != seen) {
			seen = now;
			if (add_new(d, &err))
				log_warn("%s", err.text);
		}
		remove_old(d);
	}
}

/* ------------------------------------------------------------------ life */

static int make_dir(const char *dir, struct door_error *err)
{
	if (!mkdir(dir, 0700) || errno == EEXIST)
		return 0;
	snprintf(err->text, sizeof(err->text), "cannot make the folder %.300s: %s", dir,
		 strerror(errno));
	return -errno;
}

static int door_start(struct door_user *d, struct door_error *err)
{
	struct epoll_event e = { .events = EPOLLIN };
	int ret;

	d->epoll = epoll_create1(EPOLL_CLOEXEC);
	d->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (d->epoll < 0 || d->wake < 0 || epoll_ctl(d->epoll, EPOLL_CTL_ADD, d->wake, &e)) {
		ret = -errno;
		snprintf(err->text, sizeof(err->text), "%s", strerror(-ret));
		return ret;
	}
	ret = make_dir(d->dir, err);
	if (!ret)
		ret = add_new(d, err);
	if (ret)
		return ret;
	ret = thread_start(&d->thread, 0, door_main, d);
	d->runs = !ret;
	if (ret)
		snprintf(err->text, sizeof(err->text), "no thread: %s", strerror(-ret));
	return ret;
}

int door_user_new(struct vfio *vfio, const char *dir, const struct door_user_ops *ops, void *data,
		  struct door_user **door, struct door_error *err)
{
	struct door_user *d = calloc(1, sizeof(*d));
	pthread_condattr_t attr;
	int ret;

	snprintf(err->text, sizeof(err->text), "out of memory");
	if (!d)
		return -ENOMEM;
	pthread_mutex_init(&d->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&d->cond, &attr);
	pthread_condattr_destroy(&attr);
	d->vfio = vfio;
	d->ops = ops;
	d->data = data;
	d->epoll = d->wake = -1;
	d->dir = strdup(dir);
	ret = d->dir ? door_start(d, err) : -ENOMEM;
	if (ret) {
		door_user_free(d);
		return ret;
	}
	*door = d;
	return 0;
}

void door_user_free(struct door_user *d)
{
	if (!d)
		return;
	pthread_mutex_lock(&d->lock);
	d->stopping = true;
	pthread_cond_broadcast(&d->cond);
	pthread_mutex_unlock(&d->lock);
	if (d->runs) {
		(void)!write(d->wake, &(uint64_t){ 1 }, sizeof(uint64_t));
		pthread_join(d->thread, NULL);
	}
	collect(d, true);
	while (d->sockets) {
		struct user_socket *s = d->sockets;

		d->sockets = s->next;
		socket_free(s);
	}
	base_cleanup_close(&d->epoll);
	base_cleanup_close(&d->wake);
	pthread_cond_destroy(&d->cond);
	pthread_mutex_destroy(&d->lock);
	free(d->dir);
	free(d);
}
