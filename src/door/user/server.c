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
#define SOCKET_SESSIONS_MAX 32u /* one has the function, others may be on their way in or out */
#define BACKLOG 16
#define GONE_PATIENCE_NS 5000000000ull
#define PATIENCE_NS 10000000000ull
#define STUCK_NS 2000000000ull
#define LOCK_TRIES 50
#define LOCK_PAUSE_US 100000

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

	for (s = d->sessions; all && s; s = s->next)
		session_hang_up(s);
	while ((s = *link)) {
		bool done;

		pthread_mutex_lock(&d->lock);
		done = s->done;
		pthread_mutex_unlock(&d->lock);
		if (!done && !all) {
			link = &s->next;
			continue;
		}
		pthread_join(s->thread, NULL);
		pthread_mutex_lock(&d->lock);
		*link = s->next;
		pthread_mutex_unlock(&d->lock);
		session_free(s);
	}
}

static struct user_session *session_new(struct door_user *d, struct user_socket *socket, int fd)
{
	struct user_session *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	channel_init(&s->main, &d->limits, &s->busy_since);
	channel_init(&s->twin, &d->limits, &s->busy_since);
	channel_open(&s->main, fd);
	s->door = d;
	s->socket = socket;
	return s;
}

/* Of the door's thread, the only one that changes what is looked at. */
static bool is_full(const struct door_user *d, const struct user_socket *socket)
{
	unsigned n = 0, of_socket = 0;

	for (const struct user_session *s = d->sessions; s; s = s->next) {
		n++;
		of_socket += s->socket == socket;
	}
	return n >= SESSIONS_MAX || of_socket >= SOCKET_SESSIONS_MAX;
}

/* False: it is not our turn, there is a lack of something. */
static bool take_client(struct door_user *d, struct user_socket *socket)
{
	struct user_session *s;
	int fd = accept4(socket->fd, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		return errno == EAGAIN || errno == ECONNABORTED || errno == EINTR;
	s = is_full(d, socket) ? NULL : session_new(d, socket, fd);
	if (!s) {
		if (log_limit_ok(&d->limit))
			log_warn("%s: too many clients; one is sent away", socket->path);
		close(fd);
		return true;
	}
	pthread_mutex_lock(&d->lock);
	socket->sessions++;
	s->next = d->sessions;
	d->sessions = s;
	pthread_mutex_unlock(&d->lock);
	if (!thread_start(&s->thread, 0, session_main, s))
		return true;
	pthread_mutex_lock(&d->lock);
	socket->sessions--;
	d->sessions = s->next;
	pthread_mutex_unlock(&d->lock);
	session_free(s);
	return false;
}

static bool has_gone(const struct user_session *s)
{
	struct pollfd p = { .fd = s->main.fd, .events = POLLRDHUP };

	return poll(&p, 1, 0) == 1;
}

/* With the lock: an earlier client of the same group whose end of the connection is closed. Later
 * ones wait for this one. */
static bool gone_before(const struct user_session *s)
{
	unsigned group = pcif_group(s->socket->f);

	for (const struct user_session *o = s->next; o; o = o->next)
		if (!o->done && pcif_group(o->socket->f) == group && has_gone(o))
			return true;
	return false;
}

void door_user_await_gone(struct user_session *s)
{
	uint64_t until = time_mono_ns() + s->door->limits.gone_ns;
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

/* Whether somebody listens at a socket that is there. Where he is too busy to answer he does. */
static int probe(const struct sockaddr_un *addr)
{
	AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -errno;
	if (!connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) || errno == EAGAIN)
		return -EADDRINUSE;
	return errno == ECONNREFUSED || errno == ENOENT ? 0 : -errno;
}

/* The socket of a server that was killed is in the way; that of a living one is not touched, nor
 * anything that is no socket. */
static int bind_path(const struct door_user *d, int fd, const struct user_socket *s)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	struct stat st;
	int ret;

	strcpy(addr.sun_path, s->path);
	if (!bind(fd, (struct sockaddr *)&addr, sizeof(addr)))
		return 0;
	if (errno != EADDRINUSE)
		return -errno;
	if (fstatat(d->dir_fd, s->name, &st, AT_SYMLINK_NOFOLLOW))
		return -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;
	ret = probe(&addr);
	if (!ret && unlinkat(d->dir_fd, s->name, 0))
		ret = -errno;
	if (!ret && bind(fd, (struct sockaddr *)&addr, sizeof(addr)))
		ret = -errno;
	return ret;
}

static bool is_stopping(struct door_user *d)
{
	bool stopping;

	pthread_mutex_lock(&d->lock);
	stopping = d->stopping;
	pthread_mutex_unlock(&d->lock);
	return stopping;
}

/* Only one of several servers at a time looks whether a socket is a living one's. */
static int lock_dir(struct door_user *d)
{
	for (unsigned i = 0; i < LOCK_TRIES && !is_stopping(d); i++) {
		if (!flock(d->dir_fd, LOCK_EX | LOCK_NB))
			return 0;
		if (errno != EWOULDBLOCK && errno != EINTR)
			return -errno;
		usleep(LOCK_PAUSE_US);
	}
	return -EBUSY;
}

/* Nobody else gets at it, as it is the owner's from its beginning. */
static int listen_locked(struct door_user *d, struct user_socket *s)
{
	AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct stat st;
	int ret;

	if (fd < 0 || fchmod(fd, 0600))
		return -errno;
	ret = bind_path(d, fd, s);
	if (ret)
		return ret;
	if (fstatat(d->dir_fd, s->name, &st, AT_SYMLINK_NOFOLLOW) || !S_ISSOCK(st.st_mode))
		return -ESTALE;
	s->dev = st.st_dev;
	s->ino = st.st_ino;
	if (listen(fd, BACKLOG)) {
		ret = -errno;
		unlinkat(d->dir_fd, s->name, 0);
		return ret;
	}
	s->fd = fd_steal(&fd);
	return 0;
}

static int listen_at(struct door_user *d, struct user_socket *s)
{
	int ret = lock_dir(d);

	if (ret)
		return ret;
	ret = listen_locked(d, s);
	(void)flock(d->dir_fd, LOCK_UN);
	return ret;
}

/* Its file goes too, unless it is another's by now. */
static void socket_close(struct door_user *d, struct user_socket *s)
{
	struct stat st;

	if (s->fd < 0)
		return;
	if (!fstatat(d->dir_fd, s->name, &st, AT_SYMLINK_NOFOLLOW) && st.st_dev == s->dev &&
	    st.st_ino == s->ino)
		unlinkat(d->dir_fd, s->name, 0);
	/* A child of ours that is about to execute something may have it too. */
	(void)epoll_ctl(d->epoll, EPOLL_CTL_DEL, s->fd, NULL);
	close(fd_steal(&s->fd));
}

static void socket_free(struct door_user *d, struct user_socket *s)
{
	socket_close(d, s);
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
	case -EBUSY:
		return "another process has locked the folder (flock) for seconds; end that one";
	case -ESTALE:
		return "the folder was replaced by another one while it was in use";
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
	if (!ret) {
		s->name = strrchr(s->path, '/') + 1;
		ret = listen_at(d, s);
	}
	if (!ret && epoll_ctl(d->epoll, EPOLL_CTL_ADD, s->fd, &e))
		ret = -errno;
	if (ret) {
		snprintf(err->text, sizeof(err->text), "%.300s: %s", s->path ? s->path : d->dir,
			 listen_why(ret));
		socket_free(d, s);
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

/* Functions that are VFIO's by now. @log: those that cannot be served are told of, and left out;
 * otherwise the first of them is the error. */
static int add_new(struct door_user *d, bool log, struct door_error *err)
{
	struct bus_list list = { .n = 0 };
	int ret = bus_list(vfio_bus(d->vfio), &list), one;

	for (unsigned i = 0; i < list.n && (log || !ret); i++) {
		struct vfio_cdev cdev;
		struct pcif *f = list.entry[i].f;

		if (!vfio_cdev_of(d->vfio, f, &cdev) || served(d, cdev.id))
			continue;
		list.entry[i].f = pcif_get(f);
		one = socket_add(d, f, cdev.id, err);
		if (one && log)
			log_warn("%s", err->text);
		ret = ret ? ret : one;
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
			socket_close(d, s);
		}
		pthread_mutex_lock(&d->lock);
		sessions = s->sessions;
		pthread_mutex_unlock(&d->lock);
		if (!s->closed || sessions) {
			link = &s->next;
			continue;
		}
		*link = s->next;
		socket_free(d, s);
	}
}

/* Who cannot be taken for want of descriptors or threads waits; that may take its time. */
static void pause_taking(struct door_user *d)
{
	struct pollfd p = { .fd = d->wake, .events = POLLIN };

	if (log_limit_ok(&d->limit))
		log_warn("%s: no descriptor or thread for another client", d->dir);
	(void)poll(&p, 1, LOOK_MS);
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

		if (is_stopping(d))
			return NULL;
		for (int i = 0; i < n; i++) {
			if (!e[i].data.ptr)
				(void)!read(d->wake, &count, sizeof(count));
			else if (!take_client(d, e[i].data.ptr))
				pause_taking(d);
		}
		collect(d, false);
		now = bus_generation(vfio_bus(d->vfio));
		/* First, as the new one of a function has the path of its old one. */
		remove_old(d);
		if (now != seen) {
			seen = now;
			(void)add_new(d, true, &err);
		}
	}
}

/* ------------------------------------------------------------------ life */

/*
 * A folder in which somebody else may put things in the place of ours is none for sockets: clients
 * would give their memory to him. Those of a folder that is sticky, or shared with a group, are at
 * least their owner's.
 */
static int check_dir(const char *dir, int fd, struct door_error *err)
{
	struct stat st;

	if (fstat(fd, &st))
		return -errno;
	if (st.st_uid != geteuid() && st.st_uid) {
		snprintf(err->text, sizeof(err->text),
			 "the folder %.300s belongs to user %u, who could put his own sockets in "
			 "the "
			 "place of ours; choose a folder of your own",
			 dir, st.st_uid);
		return -EPERM;
	}
	if (st.st_mode & S_IWOTH && !(st.st_mode & S_ISVTX)) {
		snprintf(err->text, sizeof(err->text),
			 "everybody may write to the folder %.300s, and put his own sockets in the "
			 "place of ours; chmod o-w it, or choose another",
			 dir);
		return -EPERM;
	}
	if (st.st_mode & (S_IWGRP | S_IWOTH))
		log_warn("%s: others may write to the folder of the sockets; better is one that is "
			 "yours alone (mode 0700)",
			 dir);
	return 0;
}

static int open_dir(struct door_user *d, struct door_error *err)
{
	const char *what = "make";
	int ret = 0;

	if (mkdir(d->dir, 0700) && errno != EEXIST) {
		ret = -errno;
	} else {
		what = "open";
		d->dir_fd = open(d->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		ret = d->dir_fd < 0 ? -errno : 0;
	}
	if (!ret)
		return check_dir(d->dir, d->dir_fd, err);
	snprintf(err->text, sizeof(err->text), "cannot %s the folder %.300s: %s", what, d->dir,
		 strerror(-ret));
	return ret;
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
	ret = open_dir(d, err);
	if (!ret)
		ret = add_new(d, false, err);
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
	d->epoll = d->wake = d->dir_fd = -1;
	d->limits.patience_ns = PATIENCE_NS;
	d->limits.stuck_ns = STUCK_NS;
	d->limits.gone_ns = GONE_PATIENCE_NS;
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
		socket_free(d, s);
	}
	base_cleanup_close(&d->dir_fd);
	base_cleanup_close(&d->epoll);
	base_cleanup_close(&d->wake);
	pthread_cond_destroy(&d->cond);
	pthread_mutex_destroy(&d->lock);
	free(d->dir);
	free(d);
}
