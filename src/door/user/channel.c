// SPDX-License-Identifier: BSD-3-Clause
/*
 * Messages over a UNIX stream: framing, descriptors, and replies to what we asked.
 *
 * One recvmsg() takes in whatever is there. Descriptors ride on the first byte of what the client
 * sent them with, and the kernel ends a read behind such a piece: so those that come with a read
 * belong to the message that its last byte is a part of.
 */
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include "door/user/priv.h"

#define FIRST_ROOM KIB(16)
/* Commands that are read while a reply is awaited: bytes and descriptors of a connection, and bytes
 * of all those of a door. */
#define COMMANDS_MAX MIB(8)
#define COMMAND_FDS_MAX 512u
#define QUEUED_MAX MIB(64)

struct waiter {
	struct waiter *next;
	uint16_t id, command;
	void *reply;
	size_t size;
	bool done;
	int result;
};

static void close_all(int *fds, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		base_cleanup_close(&fds[i]);
}

void message_fini(struct message *m)
{
	close_all(m->fds, m->n_fds);
	if (m->data != m->small)
		free(m->data);
}

void channel_init(struct channel *c, struct user_limits *limits, const _Atomic uint64_t *busy_since)
{
	pthread_condattr_t attr;

	memset(c, 0, sizeof(*c));
	c->limits = limits;
	c->busy_since = busy_since;
	c->fd = -1;
	c->message_max = USER_FIRST_MAX;
	pthread_mutex_init(&c->send_lock, NULL);
	pthread_mutex_init(&c->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&c->cond, &attr);
	pthread_condattr_destroy(&attr);
	c->last_command = &c->commands;
}

/* Takes the oldest of the commands that were put aside. */
static struct message *unqueue(struct channel *c)
{
	struct message *m = c->commands;
	size_t size = m->size + sizeof(*m);

	c->commands = m->next;
	if (!c->commands)
		c->last_command = &c->commands;
	c->commands_size -= size;
	c->commands_fds -= m->n_fds;
	atomic_fetch_sub(&c->limits->queued, size);
	return m;
}

static void kill_locked(struct channel *c)
{
	c->dead = true;
	if (c->fd >= 0)
		shutdown(c->fd, SHUT_RDWR);
	pthread_cond_broadcast(&c->cond);
}

void channel_open(struct channel *c, int fd)
{
	pthread_mutex_lock(&c->lock);
	c->fd = fd;
	if (c->dead)
		kill_locked(c);
	pthread_mutex_unlock(&c->lock);
}

void channel_fini(struct channel *c)
{
	while (c->commands) {
		struct message *m = unqueue(c);

		message_fini(m);
		free(m);
	}
	close_all(c->fds, c->n_fds);
	free(c->buf);
	base_cleanup_close(&c->fd);
	pthread_cond_destroy(&c->cond);
	pthread_mutex_destroy(&c->lock);
	pthread_mutex_destroy(&c->send_lock);
}

void channel_kill(struct channel *c)
{
	pthread_mutex_lock(&c->lock);
	kill_locked(c);
	pthread_mutex_unlock(&c->lock);
}

/* ------------------------------------------------------------------ sending */

static void attach_fds(struct msghdr *msg, struct cmsghdr *head, const int *fds, unsigned n)
{
	msg->msg_control = head;
	msg->msg_controllen = CMSG_SPACE(n * sizeof(int));
	memset(head, 0, msg->msg_controllen);
	head->cmsg_level = SOL_SOCKET;
	head->cmsg_type = SCM_RIGHTS;
	head->cmsg_len = CMSG_LEN(n * sizeof(int));
	memcpy(CMSG_DATA(head), fds, n * sizeof(int));
}

/* What went out is taken out of @msg. */
static void went_out(struct msghdr *msg, size_t n)
{
	msg->msg_control = NULL; /* the descriptors are on their way */
	msg->msg_controllen = 0;
	while (msg->msg_iovlen && n >= msg->msg_iov->iov_len) {
		n -= msg->msg_iov->iov_len;
		msg->msg_iov++;
		msg->msg_iovlen--;
	}
	if (msg->msg_iovlen) {
		msg->msg_iov->iov_base = (uint8_t *)msg->msg_iov->iov_base + n;
		msg->msg_iov->iov_len -= n;
	}
}

/* Until there is room; false: not until @until. */
static bool await_room(int fd, uint64_t until)
{
	struct pollfd p = { .fd = fd, .events = POLLOUT };
	uint64_t now = time_mono_ns();

	return now < until && poll(&p, 1, (int)((until - now) / 1000000 + 1)) != 0;
}

/* The whole of it in the time that there is for it, however little of it is taken at a time: who
 * does not take replies loses his connection, instead of holding up threads. */
static int send_all(struct channel *c, struct msghdr *msg)
{
	uint64_t until = 0;

	while (msg->msg_iovlen) {
		ssize_t n = sendmsg(c->fd, msg, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n >= 0) {
			went_out(msg, (size_t)n);
			continue;
		}
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return -EPIPE;
		until = until ? until : time_mono_ns() + c->limits->patience_ns;
		if (!await_room(c->fd, until))
			return -EPIPE;
	}
	return 0;
}

int channel_send(struct channel *c, const struct user_header *h, const struct iovec *data,
		 unsigned n_data, const int *fds, unsigned n_fds)
{
	union {
		struct cmsghdr head;
		uint8_t room[CMSG_SPACE(USER_FDS_MAX * sizeof(int))];
	} control;
	struct iovec iov[8] = { { (void *)(uintptr_t)h, sizeof(*h) } };
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = n_data + 1 };
	int ret;

	if (n_data)
		memcpy(iov + 1, data, n_data * sizeof(*data));
	if (n_fds)
		attach_fds(&msg, &control.head, fds, n_fds);
	pthread_mutex_lock(&c->send_lock);
	ret = send_all(c, &msg);
	pthread_mutex_unlock(&c->send_lock);
	if (ret)
		channel_kill(c);
	return ret;
}

/* ------------------------------------------------------------------ reading, by one at a time */

/* Room for a message of @size bytes, the first in the buffer. */
static int make_room(struct channel *c, size_t size)
{
	size_t room = MAX(size, FIRST_ROOM);
	uint8_t *buf;

	if (c->start + size > c->room || !c->have) {
		if (c->have && c->start)
			memmove(c->buf, c->buf + c->start, c->have);
		c->start = 0;
	}
	if (room <= c->room)
		return 0;
	buf = realloc(c->buf, room);
	if (!buf)
		return -ENOMEM;
	c->buf = buf;
	c->room = room;
	return 0;
}

static int take_fds(struct channel *c, struct msghdr *msg)
{
	int ret = msg->msg_flags & MSG_CTRUNC ? -EPROTO : 0;

	for (struct cmsghdr *h = CMSG_FIRSTHDR(msg); h; h = CMSG_NXTHDR(msg, h)) {
		const uint8_t *data = CMSG_DATA(h);
		unsigned n = (unsigned)((h->cmsg_len - CMSG_LEN(0)) / sizeof(int));

		if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
			continue;
		for (unsigned i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, data + i * sizeof(fd), sizeof(fd));
			if (c->n_fds < USER_FDS_MAX) {
				c->fds[c->n_fds++] = fd;
				continue;
			}
			close(fd);
			ret = -EPROTO;
		}
	}
	return ret;
}

/*
 * More of the stream, for a message of @size bytes. @until: CLOCK_MONOTONIC, 0: whenever it comes.
 * -EAGAIN: not until then.
 */
static int receive(struct channel *c, size_t size, uint64_t until)
{
	union {
		struct cmsghdr head;
		uint8_t room[CMSG_SPACE(USER_FDS_MAX * sizeof(int))];
	} control;
	/* Not beyond a message that has descriptors already: the next ones are another's. */
	size_t end = c->start + c->have;
	struct iovec iov = { c->buf + end, (c->n_fds ? c->start + size : c->room) - end };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	ssize_t n;

	if (until) {
		struct pollfd p = { .fd = c->fd, .events = POLLIN };
		uint64_t now = time_mono_ns();

		if (now >= until || !poll(&p, 1, (int)((until - now) / 1000000 + 1)))
			return -EAGAIN;
	}
	do
		n = recvmsg(c->fd, &msg, MSG_CMSG_CLOEXEC | (until ? MSG_DONTWAIT : 0));
	while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN)
		return -EAGAIN;
	if (n <= 0)
		return -ECONNRESET;
	c->have += (size_t)n;
	return take_fds(c, &msg);
}

/* Takes the first message of @size bytes out of the buffer. */
static int cut(struct channel *c, size_t size, struct message *m)
{
	const uint8_t *from = c->buf + c->start;

	memcpy(&m->h, from, sizeof(m->h));
	m->size = size - sizeof(m->h);
	m->data = m->size > sizeof(m->small) ? malloc(m->size) : m->small;
	if (!m->data)
		return -ENOMEM;
	memcpy(m->data, from + sizeof(m->h), m->size);
	c->start += size;
	c->have -= size;
	m->n_fds = 0;
	if (c->have)
		return 0; /* descriptors belong to what came last */
	memcpy(m->fds, c->fds, c->n_fds * sizeof(int));
	m->n_fds = c->n_fds;
	c->n_fds = 0;
	return 0;
}

/* One whole message. -EAGAIN: not until @until, and nothing is lost. */
static int read_message(struct channel *c, uint64_t until, struct message *m)
{
	struct user_header h = { .size = sizeof(h) };
	int ret = make_room(c, sizeof(h));

	for (;;) {
		if (!ret && c->have >= sizeof(h)) {
			memcpy(&h, c->buf + c->start, sizeof(h));
			if (h.size < sizeof(h) || h.size > c->message_max ||
			    (h.flags & USER_TYPE) > USER_TYPE_REPLY)
				return -EPROTO;
			if (c->have >= h.size)
				return cut(c, h.size, m);
			ret = make_room(c, h.size);
		}
		if (!ret)
			ret = receive(c, h.size, until);
		if (ret)
			return ret;
	}
}

/* ------------------------------------------------------------------ who gets it */

/* With the lock. A reply that nobody waits for (any more) is dropped. */
static void hand_reply(struct channel *c, struct message *m)
{
	struct waiter *w = c->waiters;

	while (w && (w->done || w->id != m->h.id || w->command != m->h.command))
		w = w->next;
	if (w) {
		w->done = true;
		w->result = -EREMOTEIO;
		if (!(m->h.flags & USER_ERROR) && m->size == w->size) {
			memcpy(w->reply, m->data, m->size);
			w->result = 0;
		}
		pthread_cond_broadcast(&c->cond);
	}
	message_fini(m);
}

/* With the lock: whether there is room for @m among the commands that were put aside. */
static bool may_queue(struct channel *c, const struct message *m)
{
	size_t size = m->size + sizeof(*m);

	if (c->commands_size + size > COMMANDS_MAX || c->commands_fds + m->n_fds > COMMAND_FDS_MAX)
		return false;
	if (atomic_fetch_add(&c->limits->queued, size) + size <= QUEUED_MAX)
		return true;
	atomic_fetch_sub(&c->limits->queued, size);
	return false;
}

/* With the lock. Consumes what @m holds. */
static int hand_command(struct channel *c, struct message *m)
{
	struct message *copy = c->replies_only ? NULL : malloc(sizeof(*copy));

	if (!copy || !may_queue(c, m)) {
		free(copy);
		message_fini(m);
		return c->replies_only ? -EPROTO : -ENOMEM;
	}
	memcpy(copy, m, sizeof(*copy));
	if (m->data == m->small)
		copy->data = copy->small;
	copy->next = NULL;
	*c->last_command = copy;
	c->last_command = &copy->next;
	c->commands_size += m->size + sizeof(*m);
	c->commands_fds += m->n_fds;
	pthread_cond_broadcast(&c->cond);
	return 0;
}

/* With the lock, as long as nobody reads; drops it meanwhile. 0: @m has come. */
static int read_one(struct channel *c, uint64_t until, struct message *m)
{
	int ret;

	c->reading = true;
	pthread_mutex_unlock(&c->lock);
	ret = read_message(c, until, m);
	pthread_mutex_lock(&c->lock);
	c->reading = false;
	if (ret && ret != -EAGAIN)
		kill_locked(c);
	if (c->waiters || c->commands)
		pthread_cond_broadcast(&c->cond);
	return ret;
}

/* With the lock. Somebody read it before; the oldest comes first. */
static bool take_queued(struct channel *c, struct message *m)
{
	struct message *first;

	if (!c->commands)
		return false;
	first = unqueue(c);
	memcpy(m, first, sizeof(*m));
	if (first->data == first->small)
		m->data = m->small;
	free(first);
	return true;
}

int channel_take(struct channel *c, struct message *m)
{
	int ret = 0;

	pthread_mutex_lock(&c->lock);
	while (!ret && !take_queued(c, m)) {
		if (c->dead) {
			ret = -ECONNRESET;
		} else if (c->reading) {
			pthread_cond_wait(&c->cond, &c->lock);
		} else {
			ret = read_one(c, 0, m);
			if (!ret && (m->h.flags & USER_TYPE) == USER_TYPE_COMMAND)
				break;
			if (!ret)
				hand_reply(c, m);
		}
	}
	pthread_mutex_unlock(&c->lock);
	return ret;
}

/* ------------------------------------------------------------------ asking */

static bool id_used(const struct channel *c, uint16_t id)
{
	const struct waiter *w = c->waiters;

	while (w && w->id != id)
		w = w->next;
	return w != NULL;
}

/* There are fewer of them than ids: each is a thread. */
static void waiter_add(struct channel *c, struct waiter *w)
{
	pthread_mutex_lock(&c->lock);
	while (id_used(c, c->next_id))
		c->next_id++;
	w->id = c->next_id++;
	w->next = c->waiters;
	c->waiters = w;
	pthread_mutex_unlock(&c->lock);
}

/* With the lock. */
static void waiter_remove(struct channel *c, struct waiter *w)
{
	struct waiter **link = &c->waiters;

	while (*link != w)
		link = &(*link)->next;
	*link = w->next;
}

/*
 * When to look again. A command that has taken that long waits for us, we wait for the client, and
 * the client, as QEMU does, does nothing else until that command is answered: *@stuck then.
 */
static uint64_t look_at(struct channel *c, uint64_t until, bool *stuck)
{
	uint64_t since = atomic_load(c->busy_since), now = time_mono_ns();

	*stuck = since && now >= since + c->limits->stuck_ns;
	return MIN(until, (since ? since : now) + c->limits->stuck_ns);
}

/* With the lock: until somebody has handed something on, or @until. */
static void wait_for_reader(struct channel *c, uint64_t until)
{
	struct timespec ts = {
		.tv_sec = (time_t)(until / 1000000000u),
		.tv_nsec = (long)(until % 1000000000u),
	};

	pthread_cond_timedwait(&c->cond, &c->lock, &ts);
}

/* With the lock: until the reply is there, or @until. */
static int await(struct channel *c, struct waiter *w, struct message *m, uint64_t until)
{
	bool stuck;
	int ret = 0;

	while (!w->done && !ret) {
		uint64_t look = look_at(c, until, &stuck);

		if (c->dead) {
			ret = -EPIPE;
		} else if (stuck) {
			return -ECANCELED;
		} else if (time_mono_ns() >= until) {
			ret = -ETIMEDOUT;
		} else if (c->reading) {
			wait_for_reader(c, look);
		} else {
			ret = read_one(c, look, m);
			if (!ret && (m->h.flags & USER_TYPE) == USER_TYPE_REPLY)
				hand_reply(c, m);
			else if (!ret)
				ret = hand_command(c, m);
			else if (ret == -EAGAIN)
				ret = 0;
		}
	}
	if (w->done)
		return w->result;
	kill_locked(c);
	return ret == -ETIMEDOUT ? ret : -EPIPE;
}

int channel_call(struct channel *c, uint16_t command, const struct iovec *data, unsigned n_data,
		 void *reply, size_t reply_size)
{
	struct waiter w = { .command = command, .reply = reply, .size = reply_size };
	struct user_header h = { .command = command, .size = sizeof(h) };
	struct message *m = malloc(sizeof(*m));
	int ret;

	if (!m)
		return -ENOMEM;
	for (unsigned i = 0; i < n_data; i++)
		h.size += (uint32_t)data[i].iov_len;
	waiter_add(c, &w);
	h.id = w.id;
	ret = channel_send(c, &h, data, n_data, NULL, 0);
	pthread_mutex_lock(&c->lock);
	if (!ret)
		ret = await(c, &w, m, time_mono_ns() + c->limits->patience_ns);
	waiter_remove(c, &w);
	pthread_mutex_unlock(&c->lock);
	free(m);
	return ret;
}
