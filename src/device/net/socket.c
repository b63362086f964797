/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * uplink=socket:PATH: a UNIX stream between two cards, or a card and QEMU's `-netdev stream`.
 *
 * Who comes first listens, the other connects: connect(2) is always tried first. Who is refused, or
 * finds nothing, takes the lock PATH.lock, and only who has that lock removes a socket file that
 * nobody listens on any more, and makes its own. A listener that has its peer stops listening, so
 * that a third one waits for its turn. If the peer goes, both begin anew.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "device/net/priv.h"

#define TRY_NS 250000000ull

struct sock {
	struct netup *up;
	struct netconn conn;
	struct sockaddr_un addr;
	char *lock_path;
	int lock_fd, listen_fd;
	struct loop_source *listen_source;
	dev_t dev; /* of the file that we listen on */
	ino_t ino;
	int said; /* what was logged last, so that it is said once */
};

static void complain(struct sock *s, int ret, const char *what)
{
	if (s->said == ret)
		return;
	s->said = ret;
	if (ret)
		log_warn("uplink=socket:%s: %s: %s", s->addr.sun_path, what, strerror(-ret));
}

/* ------------------------------------------------------------------ the lock */

static bool is_file_at(int fd, const char *path)
{
	struct stat a, b;

	return !fstat(fd, &a) && !lstat(path, &b) && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/* -EWOULDBLOCK: somebody else has it. */
static int lock(struct sock *s)
{
	AUTO_CLOSE int fd = -1;

	if (s->lock_fd >= 0)
		return 0;
	fd = open(s->lock_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
	if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB))
		return -errno;
	/* The file that was locked may have been removed by who had it before. */
	if (!is_file_at(fd, s->lock_path))
		return -EWOULDBLOCK;
	s->lock_fd = fd_steal(&fd);
	return 0;
}

static void unlock(struct sock *s)
{
	if (s->lock_fd < 0)
		return;
	if (is_file_at(s->lock_fd, s->lock_path))
		unlink(s->lock_path);
	base_cleanup_close(&s->lock_fd);
	s->lock_fd = -1;
}

/* ------------------------------------------------------------------ listening */

static bool path_is_ours(const struct sock *s)
{
	struct stat st;

	return !lstat(s->addr.sun_path, &st) && st.st_dev == s->dev && st.st_ino == s->ino;
}

static void stop_listening(struct sock *s)
{
	if (s->listen_fd < 0)
		return;
	loop_source_free(s->listen_source);
	s->listen_source = NULL;
	if (path_is_ours(s))
		unlink(s->addr.sun_path);
	close(s->listen_fd);
	s->listen_fd = -1;
}

static void on_peer(void *data, uint32_t events)
{
	struct sock *s = data;
	int fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return;
	stop_listening(s);
	if (!netconn_open(&s->conn, fd))
		log_info("uplink=socket:%s: the peer has come", s->addr.sun_path);
}

/* With the lock. What nobody listens on is removed, if it is a socket. */
static int remove_stale(struct sock *s)
{
	struct stat st;

	/* One may wait to be accepted, and is the peer then; the next tries again. */
	if (lstat(s->addr.sun_path, &st))
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;
	return unlink(s->addr.sun_path) && errno != ENOENT ? -errno : 0;
}

static int start_listening(struct sock *s)
{
	AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct stat st;
	int ret;

	if (fd < 0)
		return -errno;
	ret = remove_stale(s);
	if (ret)
		return ret;
	/* The file gets the mode that the socket has, so it is nobody else's from the start. */
	if (fchmod(fd, 0600) || bind(fd, (struct sockaddr *)&s->addr, sizeof(s->addr)))
		return -errno;
	/* One may wait to be accepted, and is the peer then; the next tries again. */
	if (lstat(s->addr.sun_path, &st) || listen(fd, 0)) {
		ret = -errno;
		unlink(s->addr.sun_path);
		return ret;
	}
	s->dev = st.st_dev;
	s->ino = st.st_ino;
	ret = loop_fd_add(s->up->loop, fd, EPOLLIN, on_peer, s, &s->listen_source);
	if (ret) {
		unlink(s->addr.sun_path);
		return ret;
	}
	s->listen_fd = fd_steal(&fd);
	return 0;
}

/* ------------------------------------------------------------------ one try */

static void attempt(struct sock *s)
{
	AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int ret;

	if (fd < 0) {
		complain(s, -errno, "cannot make a socket");
		return;
	}
	if (!connect(fd, (struct sockaddr *)&s->addr, sizeof(s->addr))) {
		unlock(s);
		s->said = 0;
		if (!netconn_open(&s->conn, fd_steal(&fd)))
			log_info("uplink=socket:%s: connected", s->addr.sun_path);
		return;
	}
	if (errno == EAGAIN)
		return;
	if (errno != ENOENT && errno != ECONNREFUSED) {
		complain(s, -errno, "cannot connect");
		return;
	}
	ret = lock(s);
	if (ret == -EWOULDBLOCK)
		return;
	if (!ret)
		ret = start_listening(s);
	complain(s, ret, "cannot listen");
}

static void tick(void *data, uint32_t events)
{
	struct sock *s = data;

	if (s->conn.fd >= 0)
		return;
	/* Somebody may have removed or replaced the file: nobody would find us. */
	if (s->listen_fd >= 0 && !path_is_ours(s))
		stop_listening(s);
	if (s->listen_fd < 0)
		attempt(s);
}

static void lost(void *data)
{
	struct sock *s = data;

	log_info("uplink=socket:%s: the peer is gone", s->addr.sun_path);
	/* The next tick goes on: the peer, if it lives, is to find us or we it. */
}

/* ------------------------------------------------------------------ ops */

static int check_path(const char *path, struct pcif_reply_error *err)
{
	const char *slash = strrchr(path, '/');
	AUTO_FREE char *folder = slash ? strndup(path, (size_t)MAX(slash - path, 1)) : strdup(".");
	struct stat st;

	if (strlen(path) >= sizeof(((struct sockaddr_un *)0)->sun_path))
		return pcif_error(err, -ENAMETOOLONG,
				  "uplink=socket:%s: a socket's path has at most 107 bytes", path);
	if (!folder)
		return pcif_error(err, -ENOMEM, "out of memory");
	if (!lstat(path, &st) && !S_ISSOCK(st.st_mode))
		return pcif_error(err, -EEXIST,
				  "uplink=socket:%s: there is a file that is not a socket; give "
				  "another path",
				  path);
	if (access(folder, W_OK | X_OK)) {
		int ret = -errno;

		return pcif_error(err, ret,
				  "uplink=socket:%s: folder %s: %s; give one where this user can "
				  "make files",
				  path, folder, strerror(-ret));
	}
	return 0;
}

static int sock_open(struct netup *up, const char *arg, struct pcif_reply_error *err)
{
	struct sock *s;
	int ret = check_path(arg, err);

	if (ret)
		return ret;
	s = up->state = calloc(1, sizeof(*s));
	if (!s)
		return pcif_error(err, -ENOMEM, "out of memory");
	s->up = up;
	s->lock_fd = s->listen_fd = -1;
	s->addr.sun_family = AF_UNIX;
	strcpy(s->addr.sun_path, arg);
	if (netconn_init(&s->conn, up, false, lost, s) ||
	    asprintf(&s->lock_path, "%s.lock", arg) < 0)
		return pcif_error(err, -ENOMEM, "out of memory");
	return 0;
}

static int sock_start(struct netup *up)
{
	return loop_timer_add(up->loop, 0, TRY_NS, tick, up->state, NULL);
}

static bool sock_send(struct netup *up, const uint8_t *data, uint32_t len)
{
	return netconn_send(&((struct sock *)up->state)->conn, data, len);
}

static void sock_flush(struct netup *up)
{
	netconn_flush(&((struct sock *)up->state)->conn);
}

static void sock_close(struct netup *up)
{
	struct sock *s = up->state;

	if (!s)
		return;
	s->listen_source = NULL; /* gone with the loop */
	stop_listening(s);
	unlock(s);
	netconn_fini(&s->conn);
	free(s->lock_path);
	free(s);
}

const struct netup_ops netup_socket = {
	.name = "socket",
	.wants_arg = true,
	.open = sock_open,
	.start = sock_start,
	.send = sock_send,
	.flush = sock_flush,
	.close = sock_close,
};
