/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where control sockets are: in DIR/NAME.sock for a machine that has a name, else DIR/PID.sock,
 * where DIR is $XDG_RUNTIME_DIR/uvfio, /run/user/UID/uvfio or /tmp/uvfio-UID. A directory counts
 * only if it is ours, a real directory, and closed to everybody else: names in /tmp could be
 * anybody's. One that does not count is passed over; that is said where it matters, by a machine
 * that is found elsewhere for it, and by who misses a machine. Nothing is made in another user's
 * XDG_RUNTIME_DIR (as `su` leaves it to root), where that user could not use it any more.
 *
 * A socket is bound under another name and linked to its own when it listens: one that refuses
 * connections has lost its process, and whoever finds it removes it. Between that finding and the
 * removal another machine may have taken the name, so both hold a lock on the directory.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "cli/priv.h"

/* A machine that was stopped, with Ctrl-Z for example, must not stop its watchers. */
#define PATIENCE_S 5
#define LOCK_TRIES 500
#define LOCK_PAUSE_US 10000

/* ------------------------------------------------------------------ directories */

static bool dir_is_ours(const struct stat *st)
{
	return S_ISDIR(st->st_mode) && st->st_uid == geteuid();
}

/* One of root's is a folder for all, as /tmp in a container. */
static bool xdg_is_ours(const char *xdg)
{
	struct stat st;

	return stat(xdg, &st) || st.st_uid == geteuid() || !st.st_uid;
}

unsigned place_dirs(char dirs[PLACE_DIRS][256])
{
	const char *xdg = getenv("XDG_RUNTIME_DIR");
	struct stat st;
	unsigned n = 0;
	char run[64];

	if (xdg && *xdg == '/' && strlen(xdg) < 240 && xdg_is_ours(xdg))
		snprintf(dirs[n++], 256, "%s/uvfio", xdg);
	snprintf(run, sizeof(run), "/run/user/%u", (unsigned)geteuid());
	if (!stat(run, &st) && dir_is_ours(&st)) {
		snprintf(dirs[n], 256, "%s/uvfio", run);
		if (!n || strcmp(dirs[0], dirs[n]))
			n++;
	}
	snprintf(dirs[n++], 256, "/tmp/uvfio-%u", (unsigned)geteuid());
	return n;
}

int place_dir_open(const char *path, bool create, int *out)
{
	AUTO_CLOSE int fd = -1;
	struct stat st;

	if (create && mkdir(path, 0700) && errno != EEXIST)
		return -errno;
	/* What was checked is what is used from here on: by descriptor. */
	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return errno == ELOOP || errno == ENOTDIR || errno == EACCES ? -EPERM : -errno;
	if (fstat(fd, &st))
		return -errno;
	if (!dir_is_ours(&st) || st.st_mode & 077)
		return -EPERM;
	*out = fd_steal(&fd);
	return 0;
}

/* What keeps place_dir_open() from @path, and what to do. */
static void dir_explain(const char *path, char *text, size_t size)
{
	struct stat st;

	if (lstat(path, &st))
		snprintf(text, size, "%s: %s: set XDG_RUNTIME_DIR to a directory of your own", path,
			 strerror(errno));
	else if (!S_ISDIR(st.st_mode))
		snprintf(text, size, "%s is not a directory: remove it", path);
	else if (st.st_uid != geteuid())
		snprintf(text, size,
			 "%s is another user's (uid %u): remove it, or set XDG_RUNTIME_DIR to a "
			 "directory of your own",
			 path, (unsigned)st.st_uid);
	else
		snprintf(text, size, "%s is open to others (mode %04o): 'chmod 700 %s'", path,
			 st.st_mode & 07777, path);
}

void place_passed_over(char *text, size_t size)
{
	const char *xdg = getenv("XDG_RUNTIME_DIR");
	char dirs[PLACE_DIRS][256], why[700];
	unsigned n = place_dirs(dirs);
	size_t used = 0;

	*text = 0;
	if (xdg && *xdg == '/' && !xdg_is_ours(xdg))
		used += (size_t)snprintf(text, size,
					 "; passed over: XDG_RUNTIME_DIR, %.255s, is another "
					 "user's: set it to a directory of your own",
					 xdg);
	for (unsigned i = 0; i < n && used < size; i++) {
		int fd, ret = place_dir_open(dirs[i], false, &fd);

		if (!ret) {
			close(fd);
			return;
		}
		if (ret != -EPERM)
			continue;
		dir_explain(dirs[i], why, sizeof(why));
		used += (size_t)snprintf(text + used, size - used, "; passed over: %s", why);
	}
}

/* Held for moments only, save by who is stopped meanwhile. */
static int dir_lock(int dir_fd)
{
	for (unsigned i = 0; i < LOCK_TRIES; i++) {
		if (!flock(dir_fd, LOCK_EX | LOCK_NB))
			return 0;
		if (errno != EWOULDBLOCK && errno != EINTR)
			return -errno;
		usleep(LOCK_PAUSE_US);
	}
	return -EDEADLK;
}

static void dir_unlock(int dir_fd)
{
	flock(dir_fd, LOCK_UN);
}

/* ------------------------------------------------------------------ names */

bool place_name_ok(const char *name)
{
	size_t len = strlen(name);
	bool letter = false;

	/* Names of numbers alone are those of machines that have none. */
	for (const char *p = name; *p; p++) {
		bool alpha = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z');

		if (!alpha && !(*p >= '0' && *p <= '9') && !strchr("._-", *p))
			return false;
		letter |= alpha;
	}
	return letter && len <= PLACE_NAME_MAX && *name != '.' && *name != '-';
}

/* ------------------------------------------------------------------ connecting */

int place_connect(int dir_fd, const char *name, int *out)
{
	struct timeval patience = { .tv_sec = PATIENCE_S };
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	AUTO_CLOSE int fd = -1;
	AUTO_CLOSE int file = -1;

	/* An O_PATH descriptor makes a path of any length fit into an address. */
	file = openat(dir_fd, name, O_PATH | O_CLOEXEC);
	if (file < 0)
		return -errno;
	snprintf(addr.sun_path, sizeof(addr.sun_path), "/proc/self/fd/%d", file);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) ||
	    connect(fd, (struct sockaddr *)&addr, sizeof(addr)))
		return -errno;
	*out = fd_steal(&fd);
	return 0;
}

/* With the directory's lock. Whether the name is free now; else *@pid has it (0: not known). */
static bool name_free(int dir_fd, const char *name, pid_t *pid)
{
	struct ucred cred = { 0 };
	socklen_t len = sizeof(cred);
	int fd, ret;

	ret = place_connect(dir_fd, name, &fd);
	if (ret == -ECONNREFUSED && !unlinkat(dir_fd, name, 0))
		return true;
	if (!ret) {
		if (!getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len))
			*pid = cred.pid;
		close(fd);
	}
	return ret == -ENOENT;
}

void place_remove_stale(int dir_fd, const char *name)
{
	pid_t pid;

	if (dir_lock(dir_fd))
		return;
	name_free(dir_fd, name, &pid);
	dir_unlock(dir_fd);
}

pid_t place_peer(int fd)
{
	struct ucred cred = { 0 };
	socklen_t len = sizeof(cred);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) ? 0 : cred.pid;
}

/* ------------------------------------------------------------------ listening */

/* Paths of sockets end at 107 bytes; by /proc a directory's descriptor makes any path short. */
static void socket_address(struct sockaddr_un *addr, int dir_fd, const char *name)
{
	memset(addr, 0, sizeof(*addr));
	addr->sun_family = AF_UNIX;
	snprintf(addr->sun_path, sizeof(addr->sun_path), "/proc/self/fd/%d/%s", dir_fd, name);
}

/* Gives the listening socket the name in @p. -EEXIST: a machine has it, its process is *@pid. */
static int link_name(struct place *p, const char *temporary, pid_t *pid)
{
	int ret = dir_lock(p->dir_fd);

	if (ret)
		return ret;
	ret = linkat(p->dir_fd, temporary, p->dir_fd, p->name, 0) ? -errno : 0;
	if (ret == -EEXIST && name_free(p->dir_fd, p->name, pid))
		ret = linkat(p->dir_fd, temporary, p->dir_fd, p->name, 0) ? -errno : 0;
	dir_unlock(p->dir_fd);
	return ret;
}

/* Another process of the same pid (in another PID namespace) may have the first name already. */
static int link_pid(struct place *p, const char *temporary)
{
	int ret = -EEXIST;
	pid_t pid;

	for (unsigned i = 1; i < 10 && ret == -EEXIST; i++) {
		if (i == 1)
			snprintf(p->name, sizeof(p->name), "%d.sock", (int)getpid());
		else
			snprintf(p->name, sizeof(p->name), "%d-%u.sock", (int)getpid(), i);
		ret = link_name(p, temporary, &pid);
	}
	return ret;
}

/* @name: NULL: the process id. */
static int listen_in(struct place *p, const char *name, pid_t *pid)
{
	struct sockaddr_un addr;
	char temporary[32];
	int ret;

	p->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (p->listen_fd < 0)
		return -errno;
	snprintf(temporary, sizeof(temporary), ".%d.%08x", (int)getpid(), (unsigned)time_mono_ns());
	socket_address(&addr, p->dir_fd, temporary);
	if (bind(p->listen_fd, (struct sockaddr *)&addr, sizeof(addr)))
		return -errno;
	ret = listen(p->listen_fd, 16) ? -errno : 0;
	if (!ret && name) {
		snprintf(p->name, sizeof(p->name), "%s.sock", name);
		ret = link_name(p, temporary, pid);
	} else if (!ret) {
		ret = link_pid(p, temporary);
	}
	if (ret)
		*p->name = 0;
	unlinkat(p->dir_fd, temporary, 0);
	return ret;
}

static void place_explain(char *why, size_t size, const char *dir, const char *name, int err,
			  pid_t pid)
{
	if (err == -EEXIST && name)
		snprintf(why, size,
			 "a machine '%s' runs already (pid %d): end it with `uvfio down %s`, or "
			 "choose another --name",
			 name, (int)pid, name);
	else if (err == -EPERM)
		dir_explain(dir, why, size);
	else if (err == -EDEADLK)
		snprintf(why, size, "%s: somebody who was stopped holds a lock on it", dir);
	else
		snprintf(why, size, "%s: %s", dir, strerror(-err));
}

int place_listen(struct place *p, const char *name, char *why, size_t why_size)
{
	char dirs[PLACE_DIRS][256];
	unsigned n = place_dirs(dirs);
	bool passed_over = false;
	int ret = -ENOENT;
	pid_t pid = 0;

	*p = (struct place){ .dir_fd = -1, .listen_fd = -1 };
	snprintf(why, why_size, "no directory for it: set XDG_RUNTIME_DIR");
	/* In the first directory that can be had. */
	for (unsigned i = 0; i < n; i++) {
		ret = place_dir_open(dirs[i], true, &p->dir_fd);
		if (!ret)
			ret = listen_in(p, name, &pid);
		if (!ret) {
			snprintf(p->path, sizeof(p->path), "%.255s/%s", dirs[i], p->name);
			if (passed_over)
				log_warn("the control socket is %s: %s", p->path, why);
			return 0;
		}
		passed_over = ret == -EPERM;
		place_explain(why, why_size, dirs[i], name, ret, pid);
		place_leave(p);
		if (ret == -EEXIST)
			break;
	}
	return ret;
}

void place_leave(struct place *p)
{
	if (*p->name && p->dir_fd >= 0)
		unlinkat(p->dir_fd, p->name, 0);
	base_cleanup_close(&p->listen_fd);
	base_cleanup_close(&p->dir_fd);
	*p = (struct place){ .dir_fd = -1, .listen_fd = -1 };
}
