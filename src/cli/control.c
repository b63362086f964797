/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The control socket: watchers of a machine connect, send requests (query.c), one JSON object a
 * line, and get one line each, or a stream of lines for events that they follow.
 *
 * Everything runs on the loop's thread, save for control_on_event(), which only posts. What a
 * watcher can make us keep is bounded: a request is at most 4 KiB, a new one is read only when the
 * last reply has gone, and followed events are taken from the journal as the socket takes them. A
 * reader that is slower than the journal is told how many events it missed.
 */
#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "cli/priv.h"

#define FOLLOW_BATCH 64u
#define ACCEPT_RETRY_NS 200000000ull

struct control_client {
	struct control *control;
	struct control_client *next, **link;
	struct loop_source *source;
	int fd;
	bool ended;   /* sends no more requests */
	bool closing; /* goes when its last reply has gone */
	char in[CONTROL_REQUEST_MAX];
	size_t in_len;
	char *out;
	size_t out_len, out_sent;
	struct query_follow follow;
	int fds[CONTROL_FDS]; /* came with what was read last */
	unsigned n_fds;
	struct job *job; /* is at work for this client, which sends nothing meanwhile */
};

#define ORPHANS_MAX CONTROL_CLIENTS_MAX

struct control {
	struct loop *loop;
	struct machine *machine;
	control_take take; /* or NULL */
	void *take_data;
	struct place place;
	struct loop_source *source, *retry;
	struct control_client *clients;
	unsigned n_clients;
	struct job *orphans[ORPHANS_MAX]; /* cancelled, their clients are gone */
	unsigned n_orphans;
	_Atomic bool posted;
};

static void control_on_event(void *data);

/* ------------------------------------------------------------------ one client */

static void client_drop_fds(struct control_client *c)
{
	while (c->n_fds)
		close(c->fds[--c->n_fds]);
}

static void client_free(struct control_client *c)
{
	struct control *control = c->control;

	client_drop_fds(c);
	*c->link = c->next;
	if (c->next)
		c->next->link = c->link;
	loop_source_free(c->source);
	close(c->fd);
	free(c->out);
	if (c->job) {
		job_cancel(c->job);
		/* It may take a moment, which is not the loop's. There are never more than clients.
		 */
		control->orphans[control->n_orphans++] = c->job;
		control_on_event(control);
	}
	free(c);
	/* Somebody may wait in the backlog. */
	if (control->n_clients-- == CONTROL_CLIENTS_MAX && control->source)
		loop_fd_modify(control->source, EPOLLIN);
}

/* Appends a line; takes the reference. */
static int client_say(struct control_client *c, json_t *value)
{
	char *text = value ? json_dumps(value, JSON_COMPACT) : NULL;
	size_t len = text ? strlen(text) : 0;
	char *out;

	json_decref(value);
	if (!text)
		return -ENOMEM;
	out = realloc(c->out, c->out_len + len + 1);
	if (out) {
		memcpy(out + c->out_len, text, len);
		out[c->out_len + len] = '\n';
		c->out = out;
		c->out_len += len + 1;
	}
	free(text);
	return out ? 0 : -ENOMEM;
}

/* 0: all gone; -EAGAIN: the socket is full; else the client is lost. */
static int client_flush(struct control_client *c)
{
	while (c->out_sent < c->out_len) {
		ssize_t n = send(c->fd, c->out + c->out_sent, c->out_len - c->out_sent,
				 MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		c->out_sent += (size_t)n;
	}
	free(c->out);
	c->out = NULL;
	c->out_len = c->out_sent = 0;
	return 0;
}

/* Events that came since; 1 if there were any, 0, -ENOMEM. */
static int client_follow(struct control_client *c)
{
	struct machine_event events[FOLLOW_BATCH];
	unsigned n;

	if (!c->follow.on)
		return 0;
	n = machine_events(c->control->machine, c->follow.after, events, FOLLOW_BATCH);
	if (!n)
		return 0;
	/* The journal keeps the newest only; the gap says what has gone out of it. */
	if (events[0].seq > c->follow.after + 1) {
		uint64_t lost = events[0].seq - c->follow.after - 1;

		if (client_say(c, json_pack("{s:I}", "lost", (json_int_t)lost)))
			return -ENOMEM;
	}
	for (unsigned i = 0; i < n; i++)
		if (client_say(c, query_event(&events[i])))
			return -ENOMEM;
	c->follow.after = events[n - 1].seq;
	return 1;
}

/* Whether the request, and with it the connection, is somebody else's now. */
static bool client_taken(struct control_client *c, size_t size)
{
	struct control *control = c->control;
	json_t *request;
	bool taken;

	if (!control->take)
		return false;
	request = json_loadb(c->in, size, JSON_REJECT_DUPLICATES, NULL);
	taken = control->take(control->take_data, request, c->fd, c->fds, c->n_fds);
	json_decref(request);
	if (taken)
		c->n_fds = 0;
	return taken;
}

/* Answers the first request in the buffer: 1, 0 if there is none, -ENOMEM, -EPIPE. */
static int client_request(struct control_client *c)
{
	char *end = memchr(c->in, '\n', c->in_len);
	size_t used;
	json_t *reply;
	int ret;

	if (!end && c->in_len == sizeof(c->in)) {
		c->closing = true;
		c->in_len = 0;
		return client_say(c, json_pack("{s:b,s:s}", "ok", 0, "error",
					       "the request is longer than 4096 bytes"))
			       ? -ENOMEM
			       : 1;
	}
	if (!end)
		return 0;
	used = (size_t)(end - c->in) + 1;
	if (client_taken(c, used - 1))
		return -EPIPE;
	client_drop_fds(c);
	/* Who left jobs behind waits for them to end. */
	reply = NULL;
	ret = -ENOENT;
	if (c->control->n_orphans + c->control->n_clients <= ORPHANS_MAX)
		ret = job_start(c->control->machine, c->in, used - 1, control_on_event, c->control,
				&c->job);
	if (ret)
		reply = query_answer(c->control->machine, c->in, used - 1, &c->follow);
	memmove(c->in, c->in + used, c->in_len - used);
	c->in_len -= used;
	if (!ret)
		return 0;
	return client_say(c, reply) ? -ENOMEM : 1;
}

/* What its job has said since: 1 if it is done, 0, -ENOMEM. */
static int client_job(struct control_client *c)
{
	json_t *lines, *line;
	bool done;
	size_t i;
	int ret = 0;

	lines = job_take(c->job, &done);
	json_array_foreach(lines, i, line) if (client_say(c, json_incref(line))) ret = -ENOMEM;
	json_decref(lines);
	if (ret || !done)
		return ret;
	job_free(c->job);
	c->job = NULL;
	return 1;
}

/* As much as can be done without waiting. False: the client is gone. */
static bool client_work(struct control_client *c)
{
	uint32_t events;
	int ret;

	for (;;) {
		ret = client_flush(c);
		if (ret)
			break;
		ret = 0;
		if (c->job)
			ret = client_job(c);
		if (!c->job && !ret && !c->closing)
			ret = client_request(c);
		if (!ret && !c->closing && !c->job)
			ret = client_follow(c);
		if (ret <= 0 && !c->out_len)
			break;
		if (ret < 0)
			break;
	}
	if ((ret && ret != -EAGAIN) ||
	    (!ret && !c->job && (c->closing || (c->ended && !c->follow.on)))) {
		client_free(c);
		return false;
	}
	/* While a reply waits no request is read, so that replies cannot pile up. */
	events = ret == -EAGAIN ? EPOLLOUT : 0;
	if (!ret && !c->ended && !c->job)
		events = EPOLLIN;
	loop_fd_modify(c->source, events);
	return true;
}

static void client_on_event(void *data, uint32_t events)
{
	struct control_client *c = data;

	if (events & (EPOLLHUP | EPOLLERR) && !(events & EPOLLIN)) {
		client_free(c);
		return;
	}
	if (events & EPOLLIN && c->in_len < sizeof(c->in)) {
		unsigned n_fds = CONTROL_FDS;
		int fds[CONTROL_FDS];
		size_t n;
		int ret;

		ret = fdpass_recv(c->fd, fds, &n_fds, c->in + c->in_len, sizeof(c->in) - c->in_len,
				  &n);
		if (ret && ret != -EAGAIN) {
			client_free(c);
			return;
		}
		if (!ret) {
			c->ended |= !n;
			c->in_len += n;
		}
		if (!ret && n_fds) {
			client_drop_fds(c);
			memcpy(c->fds, fds, n_fds * sizeof(fds[0]));
			c->n_fds = n_fds;
		}
	}
	client_work(c);
}

/* ------------------------------------------------------------------ all clients */

static void control_reap(struct control *control)
{
	for (unsigned i = 0; i < control->n_orphans; i++) {
		struct job *job = control->orphans[i];
		bool done;

		json_decref(job_take(job, &done));
		if (!done)
			continue;
		job_free(job);
		control->orphans[i--] = control->orphans[--control->n_orphans];
	}
}

static void control_push(void *data)
{
	struct control *control = data;
	struct control_client *next;

	atomic_store(&control->posted, false);
	for (struct control_client *c = control->clients; c; c = next) {
		next = c->next;
		if (c->follow.on || c->job)
			client_work(c);
	}
	control_reap(control);
}

/* Any thread. One post stands for all events until it runs. */
static void control_on_event(void *data)
{
	struct control *control = data;

	if (!atomic_exchange(&control->posted, true) &&
	    loop_post(control->loop, control_push, control))
		atomic_store(&control->posted, false);
}

static void control_on_retry(void *data, uint32_t events)
{
	struct control *control = data;

	loop_source_free(control->retry);
	control->retry = NULL;
	if (control->n_clients < CONTROL_CLIENTS_MAX)
		loop_fd_modify(control->source, EPOLLIN);
}

/* Only this user and root may look. */
static bool peer_allowed(int fd)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	return !getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) &&
	       (cred.uid == geteuid() || cred.uid == 0);
}

static void control_on_connect(void *data, uint32_t events)
{
	struct control *control = data;
	struct control_client *c;
	int fd = accept4(control->place.listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0) {
		if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
			/* It stays readable: without a pause this would spin. */
			loop_fd_modify(control->source, 0);
			if (!control->retry &&
			    loop_timer_add(control->loop, ACCEPT_RETRY_NS, 0, control_on_retry,
					   control, &control->retry))
				loop_fd_modify(control->source, EPOLLIN);
		}
		return;
	}
	c = peer_allowed(fd) ? calloc(1, sizeof(*c)) : NULL;
	if (!c) {
		close(fd);
		return;
	}
	c->control = control;
	c->fd = fd;
	if (loop_fd_add(control->loop, fd, EPOLLIN, client_on_event, c, &c->source)) {
		close(fd);
		free(c);
		return;
	}
	c->next = control->clients;
	c->link = &control->clients;
	if (c->next)
		c->next->link = &c->next;
	control->clients = c;
	if (++control->n_clients == CONTROL_CLIENTS_MAX)
		loop_fd_modify(control->source, 0);
}

/* ------------------------------------------------------------------ life */

int control_start(struct loop *loop, struct machine *m, struct control **out, char *why,
		  size_t why_size)
{
	struct control *c = calloc(1, sizeof(*c));
	int ret;

	if (!c) {
		snprintf(why, why_size, "out of memory");
		return -ENOMEM;
	}
	c->loop = loop;
	c->machine = m;
	ret = place_listen(&c->place, machine_name(m), why, why_size);
	if (!ret) {
		ret = loop_fd_add(loop, c->place.listen_fd, EPOLLIN, control_on_connect, c,
				  &c->source);
		if (ret)
			snprintf(why, why_size, "event loop: %s", strerror(-ret));
	}
	if (ret) {
		control_free(c);
		return ret;
	}
	machine_set_event_cb(m, control_on_event, c);
	*out = c;
	return 0;
}

void control_set_take(struct control *c, control_take take, void *data)
{
	c->take = take;
	c->take_data = data;
}

const char *control_path(const struct control *c)
{
	return c->place.path;
}

void control_free(struct control *c)
{
	if (!c)
		return;
	machine_set_event_cb(c->machine, NULL, NULL);
	loop_source_free(c->source);
	loop_source_free(c->retry);
	place_leave(&c->place);
	c->source = c->retry = NULL;
	/* Watchers get what there is to get; those who follow see the end. */
	while (c->clients) {
		if (c->clients->follow.on && client_work(c->clients) == false)
			continue;
		client_free(c->clients);
	}
	while (c->n_orphans)
		job_free(c->orphans[--c->n_orphans]);
	free(c);
}
