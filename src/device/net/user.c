/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * uplink=user: passt, which carries what a guest sends by sockets of an ordinary user.
 *
 * passt is our child and has one end of a socket pair: it ends when the other end is closed, so it
 * never outlives us, however we end. If it ends by itself the link goes down, and another is
 * started.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "device/net/priv.h"

#define TICK_NS 250000000ull
#define RETRY_MAX_NS 30000000000ull
#define END_MS 2000 /* that long it may take to end */
#define PASST_FD 3  /* its end, in it */

struct user {
	struct netup *up;
	struct netconn conn;
	char *program;
	pid_t pid;  /* 0: there is none */
	int err_fd; /* what it complains of */
	char line[256];
	uint64_t started, next_try, delay;
};

/* ------------------------------------------------------------------ the program */

static char *find_program(const char *name)
{
	const char *path = getenv("PATH");
	AUTO_FREE char *copy = strdup(path && *path ? path : "/usr/bin:/bin");
	char *save = NULL;

	for (char *p = copy ? strtok_r(copy, ":", &save) : NULL; p;
	     p = strtok_r(NULL, ":", &save)) {
		char *full;

		if (asprintf(&full, "%s/%s", p, name) < 0)
			return NULL;
		if (!access(full, X_OK))
			return full;
		free(full);
	}
	return NULL;
}

static int spawn(struct user *u, int sock, int err_fd)
{
	/* Addresses that are the same on every machine; nothing comes in by itself. */
	const char *argv[] = { u->program, "-f",	"-q", "--stderr", "-F", "3",
			       "-a",	   "10.0.2.15", "-n", "24",	  "-g", "10.0.2.2",
			       "-t",	   "none",	"-u", "none",	  NULL };
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	sigset_t none, all;
	int ret;

	sigemptyset(&none);
	sigfillset(&all);
	posix_spawn_file_actions_init(&files);
	posix_spawnattr_init(&attr);
	ret = posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDWR, 0);
	ret = ret ? ret : posix_spawn_file_actions_addopen(&files, 1, "/dev/null", O_RDWR, 0);
	ret = ret ? ret : posix_spawn_file_actions_adddup2(&files, err_fd, 2);
	ret = ret ? ret : posix_spawn_file_actions_adddup2(&files, sock, PASST_FD);
	ret = ret ? ret : posix_spawn_file_actions_addclosefrom_np(&files, PASST_FD + 1);
	ret = ret ? ret : posix_spawnattr_setsigmask(&attr, &none);
	ret = ret ? ret : posix_spawnattr_setsigdefault(&attr, &all);
	ret = ret ? ret
		  : posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	if (!ret)
		ret = posix_spawn(&u->pid, u->program, &files, &attr, (char **)argv, environ);
	if (ret)
		u->pid = 0;
	posix_spawn_file_actions_destroy(&files);
	posix_spawnattr_destroy(&attr);
	return -ret;
}

/* Clear of the numbers that the child's descriptors get. */
static int move_up(int *fd)
{
	int higher = fcntl(*fd, F_DUPFD_CLOEXEC, PASST_FD + 1);

	if (higher < 0)
		return -errno;
	close(*fd);
	*fd = higher;
	return 0;
}

/* Room for what it sends until our thread has its turn: as much as the system gives. */
static void widen(int sock)
{
	int size = MIB(4);

	if (setsockopt(sock, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)))
		(void)setsockopt(sock, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
}

static int launch(struct user *u)
{
	int pair[2], pipe_fds[2], ret;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		return -errno;
	if (pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK)) {
		ret = -errno;
		close(pair[0]);
		close(pair[1]);
		return ret;
	}
	widen(pair[1]);
	ret = move_up(&pair[1]);
	ret = ret ? ret : move_up(&pipe_fds[1]);
	ret = ret ? ret : spawn(u, pair[1], pipe_fds[1]);
	close(pair[1]);
	close(pipe_fds[1]);
	if (ret) {
		close(pair[0]);
		close(pipe_fds[0]);
		return ret;
	}
	u->err_fd = pipe_fds[0];
	u->line[0] = 0;
	u->started = time_mono_ns();
	return netconn_open(&u->conn, pair[0]);
}

/* ------------------------------------------------------------------ its end */

/* Keeps the last line that means something. */
static void read_complaints(struct user *u)
{
	char text[4096], *save = NULL;
	ssize_t n;

	while (u->err_fd >= 0 && (n = read(u->err_fd, text, sizeof(text) - 1)) > 0) {
		text[n] = 0;
		for (char *p = strtok_r(text, "\n", &save); p; p = strtok_r(NULL, "\n", &save))
			if (!strstr(p, "to syslog"))
				snprintf(u->line, sizeof(u->line), "%s", p);
	}
	for (char *p = u->line; *p; p++)
		if (*p < ' ' || *p > '~')
			*p = ' ';
}

/* Until it has ended, by force if it takes its time. Its end of the pair is closed already. */
static int reap(struct user *u)
{
	int status = 0;
	pid_t pid;

	for (unsigned ms = 0; (pid = waitpid(u->pid, &status, WNOHANG)) == 0; ms += 5) {
		if (ms >= END_MS)
			kill(u->pid, SIGKILL);
		usleep(5000);
	}
	u->pid = 0;
	return pid < 0 ? 0 : status;
}

static void lost(void *data)
{
	struct user *u = data;
	uint64_t now;
	int status = reap(u);

	read_complaints(u);
	base_cleanup_close(&u->err_fd);
	u->err_fd = -1;
	now = time_mono_ns();
	if (now - u->started > RETRY_MAX_NS)
		u->delay = 0;
	u->delay = MIN(MAX(2 * u->delay, 1000000000ull), RETRY_MAX_NS);
	u->next_try = now + u->delay;
	log_warn("uplink=user: passt ended (%s %d%s%s); there is no network until it is started "
		 "again in %u s",
		 WIFSIGNALED(status) ? "signal" : "status",
		 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status),
		 *u->line ? ", it said: " : "", u->line, (unsigned)(u->delay / 1000000000ull));
}

static void tick(void *data, uint32_t events)
{
	struct user *u = data;
	int ret;

	read_complaints(u);
	if (u->conn.fd >= 0 || time_mono_ns() < u->next_try)
		return;
	ret = launch(u);
	if (!ret)
		return;
	if (u->pid)
		reap(u);
	base_cleanup_close(&u->err_fd);
	u->err_fd = -1;
	u->next_try = time_mono_ns() + RETRY_MAX_NS;
	log_warn("uplink=user: %s cannot be started: %s", u->program, strerror(-ret));
}

/* ------------------------------------------------------------------ ops */

static int user_open(struct netup *up, const char *arg, struct pcif_reply_error *err)
{
	struct user *u = up->state = calloc(1, sizeof(*u));

	if (!u)
		return pcif_error(err, -ENOMEM, "out of memory");
	u->up = up;
	u->err_fd = -1;
	/* It sends all that its guest's window takes, drops what its socket does not, and has no
	 * congestion control: one lost frame makes it send all that is under way again. */
	if (netconn_init(&u->conn, up, true, lost, u))
		return pcif_error(err, -ENOMEM, "out of memory");
	u->program = find_program("passt");
	if (!u->program)
		return pcif_error(err, -ENOENT,
				  "uplink=user: there is no passt on the PATH; install the package "
				  "passt (apt-get install passt)");
	return 0;
}

static int user_start(struct netup *up)
{
	return loop_timer_add(up->loop, 0, TICK_NS, tick, up->state, NULL);
}

/*
 * The frame without what fills it up to Ethernet's least length: passt of Debian 12 drops IPv4
 * packets that are shorter than their frame. A header that makes no sense is left to it.
 */
static uint32_t without_padding(const uint8_t *data, uint32_t len)
{
	uint32_t total;

	if (len > NETUP_PADDED || len < 14 + 20 || data[12] != 0x08 || data[13])
		return len;
	total = 14u + ((uint32_t)data[16] << 8 | data[17]);
	return total < 14 + 20 ? len : MIN(len, total);
}

static bool user_send(struct netup *up, const uint8_t *data, uint32_t len)
{
	return netconn_send(&((struct user *)up->state)->conn, data, without_padding(data, len));
}

static void user_flush(struct netup *up)
{
	netconn_flush(&((struct user *)up->state)->conn);
}

static void user_close(struct netup *up)
{
	struct user *u = up->state;

	if (!u)
		return;
	netconn_fini(&u->conn);
	if (u->pid)
		reap(u);
	base_cleanup_close(&u->err_fd);
	free(u->program);
	free(u);
}

const struct netup_ops netup_user = {
	.name = "user",
	.open = user_open,
	.start = user_start,
	.send = user_send,
	.flush = user_flush,
	.close = user_close,
};
