/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The clients that join a machine of `uvfio up`, and its end.
 *
 * A launcher (join.c) asks by the control socket, with the socket by which its child is adopted and
 * a pidfd of that child. From then on the connection is what ties the two processes together: its
 * end says that the launcher is gone, or that the machine is. Each client has a thread that adopts
 * it, waits for that end and closes what it had, so that none waits for another; the loop's thread
 * only starts and collects them.
 *
 * Lines to a launcher: {"ok":true,"client":N}, or {"ok":false,"error":TEXT,"errno":N} and the end;
 * later {"end":"ask"} and {"end":"kill"}, upon which it sends its command a signal.
 *
 * The machine ends at once if it has no clients; else they are asked to go, made to go after a
 * while, and then left without their devices. Who asked for the end has a connection that closes
 * when this process is done.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "cli/priv.h"

#define HOST_CLIENTS_MAX 512u
#define HOST_ENDERS_MAX 16u
#define ASK_PATIENCE_NS 10000000000ull
#define KILL_PATIENCE_NS 3000000000ull
/* What launchers that are gone have left behind is waited for by who comes next. */
#define GONE_PATIENCE_NS 5000000000ull

struct member {
	struct host *host;
	struct member *next, **link;
	pthread_t thread;
	int conn, sock;
	int stop; /* eventfd: readable when it must end, whatever its launcher does */
	pid_t pid;
	char command[MACHINE_COMMAND_LEN];
	/* Under host.lock. */
	bool serving; /* its launcher was told so */
	bool leaving; /* the launcher is gone */
	bool gone;    /* nothing is left of it but its thread's end */
};

/* Who asked for the machine's end. */
struct ender {
	struct host *host;
	int fd;
	bool waits; /* until nobody is left; NULL source: no more */
	struct loop_source *source;
};

struct host {
	struct loop *loop;
	struct machine *machine;
	int wake; /* eventfd: a member is gone */
	struct loop_source *source, *timer;
	struct member *members;
	unsigned n_members;
	struct ender enders[HOST_ENDERS_MAX];
	unsigned n_enders, n_waiting;
	enum { STAYS, ASKED, KILLED, STOPPED } end; /* written by the loop, under lock */

	pthread_mutex_t lock;
	pthread_cond_t gone_cond;
};

/* ------------------------------------------------------------------ lines */

/* Small lines, of which few are under way: they fit, or the other side has stopped reading. */
static int say(int fd, json_t *line)
{
	char *text = line ? json_dumps(line, JSON_COMPACT) : NULL;
	size_t size = text ? strlen(text) : 0;
	ssize_t n = -1;

	json_decref(line);
	if (text) {
		text[size++] = '\n'; /* in the NUL's place */
		n = send(fd, text, size, MSG_NOSIGNAL | MSG_DONTWAIT);
	}
	free(text);
	return n == (ssize_t)size ? 0 : -EPIPE;
}

static void refuse(int fd, int err, const char *text)
{
	say(fd, json_pack("{s:b,s:o,s:i}", "ok", 0, "error", reply_text(text), "errno", -err));
}

/* Whether the other side has closed its end; reads what nobody asked for. */
static bool hung_up(int fd)
{
	char junk[256];
	ssize_t n = recv(fd, junk, sizeof(junk), MSG_DONTWAIT);

	return !n || (n < 0 && errno != EAGAIN && errno != EINTR);
}

/* ------------------------------------------------------------------ one client's thread */

/* Until the launcher's end of the connection is closed, or we must end. */
static void member_wait(struct member *m)
{
	struct pollfd p[] = {
		{ .fd = m->conn, .events = POLLIN },
		{ .fd = m->stop, .events = POLLIN },
	};

	for (;;) {
		if (poll(p, ARRAY_SIZE(p), -1) < 0)
			continue;
		if (p[1].revents || (p[0].revents && hung_up(m->conn)))
			return;
	}
}

static void member_leaves(struct member *m)
{
	pthread_mutex_lock(&m->host->lock);
	m->leaving = true;
	pthread_mutex_unlock(&m->host->lock);
}

/* Until those are gone whose launchers were gone already when this one came. */
static void wait_for_the_gone(struct host *h)
{
	uint64_t until = time_mono_ns() + GONE_PATIENCE_NS;
	struct timespec ts = {
		.tv_sec = (time_t)(until / 1000000000u),
		.tv_nsec = (long)(until % 1000000000u),
	};
	int ret = 0;

	pthread_mutex_lock(&h->lock);
	while (!ret) {
		struct member *m;

		for (m = h->members; m && !(m->leaving && !m->gone); m = m->next)
			;
		if (!m)
			break;
		ret = pthread_cond_clockwait(&h->gone_cond, &h->lock, CLOCK_MONOTONIC, &ts);
	}
	pthread_mutex_unlock(&h->lock);
}

/* Says which stage the end has reached. */
static void say_end(struct member *m)
{
	static const char *const words[] = { [ASKED] = "ask", [KILLED] = "kill" };

	say(m->conn, json_pack("{s:s}", "end", words[m->host->end]));
}

/*
 * It is served from here on. Where the end has begun meanwhile it was to be given up; but its
 * command runs, so it is asked as all others were.
 */
static void member_begins(struct member *m)
{
	uint64_t count;

	pthread_mutex_lock(&m->host->lock);
	m->serving = true;
	if (m->host->end == ASKED || m->host->end == KILLED) {
		(void)!read(m->stop, &count, sizeof(count));
		say_end(m);
	}
	pthread_mutex_unlock(&m->host->lock);
}

static void member_serve(struct member *m)
{
	struct door_peer peer = {
		.sock = m->sock,
		.pid = m->pid,
		.give_up = { m->conn, m->stop },
	};
	struct door_error err;
	struct attend attend;
	int ret;

	wait_for_the_gone(m->host);
	ret = attend_begin(&attend, m->host->machine, &peer, m->command, &err);
	close(fd_steal(&m->sock));
	if (ret) {
		refuse(m->conn, ret, err.text);
		return;
	}
	log_info("client %u: %s (pid %d) has joined", attend.client, m->command, (int)m->pid);
	if (!say(m->conn, json_pack("{s:b,s:I}", "ok", 1, "client", (json_int_t)attend.client))) {
		member_begins(m);
		member_wait(m);
	}
	member_leaves(m);
	log_info("client %u: %s (pid %d) leaves", attend.client, m->command, (int)m->pid);
	attend_end(&attend);
}

static void *member_main(void *data)
{
	struct member *m = data;
	struct host *h = m->host;
	uint64_t one = 1;

	member_serve(m);
	/* For the launcher this is the end; for the loop, what follows. */
	shutdown(m->conn, SHUT_RDWR);
	pthread_mutex_lock(&h->lock);
	m->gone = true;
	pthread_cond_broadcast(&h->gone_cond);
	pthread_mutex_unlock(&h->lock);
	(void)!write(h->wake, &one, sizeof(one));
	return NULL;
}

static void member_stop(struct member *m)
{
	uint64_t one = 1;

	(void)!write(m->stop, &one, sizeof(one));
}

/* Its thread has ended or was never there. */
static void member_free(struct member *m)
{
	base_cleanup_close(&m->conn);
	base_cleanup_close(&m->sock);
	base_cleanup_close(&m->stop);
	free(m);
}

/* ------------------------------------------------------------------ joining */

/* The process behind a pidfd, as we see it; 0 if it is none, has ended or cannot be seen. */
static pid_t pidfd_pid(int pidfd)
{
	AUTO_FREE char *text = NULL;
	char path[48];
	const char *p;
	size_t size;
	long pid;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", pidfd);
	if (file_read_all(path, KIB(64), &text, &size))
		return 0;
	p = strstr(text, "\nPid:");
	pid = p ? strtol(p + 5, NULL, 10) : 0;
	return pid > 0 ? (pid_t)pid : 0;
}

static bool same_user(int conn)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	return !getsockopt(conn, SOL_SOCKET, SO_PEERCRED, &cred, &len) && cred.uid == geteuid();
}

/* 0, or -errno with the words for the launcher. */
static int check_join(struct host *h, const json_t *request, int fd, unsigned n_fds, char *why,
		      size_t size)
{
	const char *version = reply_string(request, "version");

	if (h->end != STAYS || h->n_waiting) {
		snprintf(why, size, "the machine is about to end: it takes no more clients");
		return -ESHUTDOWN;
	}
	if (!same_user(fd)) {
		snprintf(why, size,
			 "the machine belongs to uid %u: only the same user may join it, since it "
			 "looks into the memory of its clients",
			 (unsigned)geteuid());
		return -EPERM;
	}
	if (strcmp(version, UVFIO_VERSION)) {
		snprintf(why, size,
			 "the machine is of uvfio %s and this is %.32s: end it with `uvfio down` "
			 "and start it again",
			 UVFIO_VERSION, version);
		return -EPROTO;
	}
	if (n_fds != 2) {
		snprintf(why, size, "the request came without its descriptors");
		return -EBADF;
	}
	if (h->n_members >= HOST_CLIENTS_MAX) {
		snprintf(why, size, "the machine has %u clients, which is as many as it takes",
			 h->n_members);
		return -EUSERS;
	}
	return 0;
}

/* Whose launcher has ended while its thread does not know it yet. */
static void find_the_gone(struct host *h)
{
	struct member *m;
	char byte;

	for (m = h->members; m; m = m->next)
		if (!recv(m->conn, &byte, 1, MSG_PEEK | MSG_DONTWAIT))
			member_leaves(m);
}

/* Takes over @fds: the socket of the launch, and a pidfd of the launched process. */
static int member_new(struct host *h, const json_t *request, int fd, const int *fds,
		      struct member **out, char *why, size_t size)
{
	struct member *m = calloc(1, sizeof(*m));
	AUTO_CLOSE int sock = fds[0];
	AUTO_CLOSE int pidfd = fds[1];

	if (!m) {
		snprintf(why, size, "out of memory");
		return -ENOMEM;
	}
	m->host = h;
	m->sock = fd_steal(&sock);
	m->stop = eventfd(0, EFD_CLOEXEC);
	m->conn = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	m->pid = pidfd_pid(pidfd);
	snprintf(m->command, sizeof(m->command), "%s", reply_string(request, "command"));
	if (m->stop < 0 || m->conn < 0) {
		snprintf(why, size, "the machine has no descriptors left");
		member_free(m);
		return -EMFILE;
	}
	if (!m->pid) {
		snprintf(why, size,
			 "the machine cannot see the command: it runs in another container or PID "
			 "namespace, in which case it cannot be joined from here, or it has ended");
		member_free(m);
		return -ESRCH;
	}
	*out = m;
	return 0;
}

static void host_join(struct host *h, const json_t *request, int fd, const int *fds, unsigned n_fds)
{
	char why[256] = "";
	struct member *m;
	int ret = check_join(h, request, fd, n_fds, why, sizeof(why));

	if (ret) {
		while (n_fds)
			close(fds[--n_fds]);
		refuse(fd, ret, why);
		return;
	}
	find_the_gone(h);
	ret = member_new(h, request, fd, fds, &m, why, sizeof(why));
	if (ret) {
		refuse(fd, ret, why);
		return;
	}
	pthread_mutex_lock(&h->lock);
	m->next = h->members;
	m->link = &h->members;
	if (m->next)
		m->next->link = &m->next;
	h->members = m;
	h->n_members++;
	pthread_mutex_unlock(&h->lock);
	ret = thread_start(&m->thread, KIB(256), member_main, m);
	if (!ret) {
		sdnotify("STATUS=%u clients", h->n_members);
		return;
	}
	refuse(fd, ret, "the machine cannot start a thread");
	pthread_mutex_lock(&h->lock);
	*m->link = m->next;
	if (m->next)
		m->next->link = m->link;
	h->n_members--;
	pthread_mutex_unlock(&h->lock);
	member_free(m);
}

/* ------------------------------------------------------------------ the end */

static void host_on_timer(void *data, uint32_t events);

/* The next stage of the end, as far as there is still somebody to wait for. */
static void host_end_stage(struct host *h)
{
	struct member *m;

	loop_source_free(h->timer);
	h->timer = NULL;
	if (!h->n_members) {
		loop_stop(h->loop, 0);
		return;
	}
	pthread_mutex_lock(&h->lock);
	if (h->end < STOPPED)
		h->end++;
	for (m = h->members; m; m = m->next) {
		/* One that is still being started is given up. */
		if (h->end == STOPPED || !m->serving)
			member_stop(m);
		else
			say_end(m);
	}
	pthread_mutex_unlock(&h->lock);
	if (h->end < STOPPED &&
	    loop_timer_add(h->loop, h->end == ASKED ? ASK_PATIENCE_NS : KILL_PATIENCE_NS, 0,
			   host_on_timer, h, &h->timer))
		log_warn("no timer: clients that stay keep the machine until it is told again");
}

static void host_on_timer(void *data, uint32_t events)
{
	host_end_stage(data);
}

void host_end(struct host *h)
{
	if (h->end == STAYS) {
		log_info("the machine ends, with %u clients", h->n_members);
		sdnotify("STOPPING=1");
	}
	if (h->end <= ASKED)
		host_end_stage(h);
}

static void ender_free(struct ender *e)
{
	if (e->waits)
		e->host->n_waiting--;
	loop_source_free(e->source);
	close(e->fd);
	*e = (struct ender){ .host = e->host, .fd = -1 };
	e->host->n_enders--;
}

/* Who hangs up no longer waits, and the machine goes on. */
static void ender_on_event(void *data, uint32_t events)
{
	struct ender *e = data;

	if (hung_up(e->fd))
		ender_free(e);
}

/* Those who wait for the last client are told who is left. */
static void tell_enders(struct host *h)
{
	sdnotify("STATUS=%u clients", h->n_members);
	for (unsigned i = 0; i < HOST_ENDERS_MAX; i++)
		if (h->enders[i].waits)
			say(h->enders[i].fd,
			    json_pack("{s:o}", "clients", query_clients(h->machine)));
}

static struct ender *ender_new(struct host *h, int fd)
{
	struct ender *e = h->enders;

	while (e < h->enders + HOST_ENDERS_MAX && e->fd >= 0)
		e++;
	if (e == h->enders + HOST_ENDERS_MAX)
		return NULL;
	e->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (e->fd >= 0 && loop_fd_add(h->loop, e->fd, EPOLLIN, ender_on_event, e, &e->source))
		close(fd_steal(&e->fd));
	if (e->fd < 0)
		return NULL;
	h->n_enders++;
	return e;
}

static void host_down(struct host *h, const json_t *request, int fd)
{
	bool force = reply_bool(request, "force"), wait = reply_bool(request, "wait");
	struct ender *e;

	if (h->n_members && !force && !wait && h->end == STAYS) {
		say(fd, json_pack("{s:b,s:s,s:o}", "ok", 0, "error", "in use", "clients",
				  query_clients(h->machine)));
		return;
	}
	e = ender_new(h, fd);
	if (!e) {
		refuse(fd, -EBUSY, "too many wait for the machine's end, or no descriptors left");
		return;
	}
	say(e->fd, json_pack("{s:b,s:o}", "ok", 1, "clients", query_clients(h->machine)));
	if (h->n_members && !force && h->end == STAYS) {
		e->waits = true;
		h->n_waiting++;
		return;
	}
	if (h->end == STAYS)
		host_end(h);
}

/* ------------------------------------------------------------------ the loop's side */

static void host_on_wake(void *data, uint32_t events)
{
	struct host *h = data;
	struct member *m, *next;
	uint64_t count;
	bool any = false;

	if (read(h->wake, &count, sizeof(count)) < 0)
		return;
	for (m = h->members; m; m = next) {
		bool gone;

		pthread_mutex_lock(&h->lock);
		next = m->next;
		gone = m->gone;
		if (gone) {
			*m->link = m->next;
			if (m->next)
				m->next->link = m->link;
			h->n_members--;
		}
		pthread_mutex_unlock(&h->lock);
		if (!gone)
			continue;
		pthread_join(m->thread, NULL);
		member_free(m);
		any = true;
	}
	if (any)
		tell_enders(h);
	if (!h->n_members && (h->end != STAYS || h->n_waiting)) {
		if (h->end == STAYS)
			log_info("the last client has left, and the machine ends");
		loop_stop(h->loop, 0);
	}
}

bool host_take(void *data, const json_t *request, int fd, const int *fds, unsigned n_fds)
{
	struct host *h = data;
	const char *op = reply_string(request, "op");

	if (!strcmp(op, "join")) {
		host_join(h, request, fd, fds, n_fds);
		return true;
	}
	if (!strcmp(op, "down")) {
		while (n_fds)
			close(fds[--n_fds]);
		host_down(h, request, fd);
		return true;
	}
	return false;
}

int host_new(struct loop *loop, struct machine *m, struct host **out)
{
	struct host *h = calloc(1, sizeof(*h));
	int ret = 0;

	if (!h)
		return -ENOMEM;
	h->loop = loop;
	h->machine = m;
	pthread_mutex_init(&h->lock, NULL);
	pthread_cond_init(&h->gone_cond, NULL);
	for (unsigned i = 0; i < HOST_ENDERS_MAX; i++)
		h->enders[i] = (struct ender){ .host = h, .fd = -1 };
	h->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (h->wake < 0)
		ret = -errno;
	else
		ret = loop_fd_add(loop, h->wake, EPOLLIN, host_on_wake, h, &h->source);
	if (ret) {
		host_free(h);
		return ret;
	}
	*out = h;
	return 0;
}

void host_free(struct host *h)
{
	if (!h)
		return;
	/* After a failure of the loop only: it waits for the last one itself. */
	for (struct member *m = h->members; m; m = m->next)
		member_stop(m);
	while (h->members) {
		struct member *m = h->members;

		pthread_join(m->thread, NULL);
		pthread_mutex_lock(&h->lock);
		h->members = m->next;
		pthread_mutex_unlock(&h->lock);
		member_free(m);
	}
	/* Their descriptors stay open: they close when this process has ended. */
	for (unsigned i = 0; i < HOST_ENDERS_MAX; i++)
		loop_source_free(h->enders[i].source);
	loop_source_free(h->source);
	loop_source_free(h->timer);
	base_cleanup_close(&h->wake);
	pthread_cond_destroy(&h->gone_cond);
	pthread_mutex_destroy(&h->lock);
	free(h);
}
