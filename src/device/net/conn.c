/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A connection that carries frames (stream.c), of the uplinks socket and user.
 *
 * What is sent collects in a buffer, which is given to the kernel after each batch. If the peer
 * does not read, the loop waits until it does, and when the buffer is full frames are dropped:
 * whole ones, so the framing stays right.
 */
#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "device/net/priv.h"

int netconn_init(struct netconn *c, struct netup *up, bool keeps, void (*lost)(void *data),
		 void *data)
{
	*c = (struct netconn){ .up = up, .fd = -1, .keeps = keeps, .lost = lost, .data = data };
	/* Twice the window: what is left of it is moved to the front not too often. */
	c->in.size = keeps ? 2 * NETCONN_WINDOW : NETSTREAM_BUF;
	c->in.buf = malloc(c->in.size);
	c->out_size = keeps ? NETCONN_WINDOW : NETCONN_OUT;
	c->out = malloc(c->out_size);
	return c->in.buf && c->out ? 0 : -ENOMEM;
}

void netconn_fini(struct netconn *c)
{
	/* The source went with the loop, or goes with it. */
	base_cleanup_close(&c->fd);
	free(c->in.buf);
	free(c->out);
}

/* Under the lock. */
static void write_out(struct netconn *c)
{
	while (c->out_len) {
		ssize_t n =
			send(c->fd, c->out + c->out_first, c->out_len, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return;
		c->out_first += (uint32_t)n;
		c->out_len -= (uint32_t)n;
	}
	c->out_first = 0;
}

/* On the loop's thread. */
static void watch(struct netconn *c)
{
	bool full = c->keeps && c->in.have >= NETCONN_WINDOW;

	if (c->source)
		loop_fd_modify(c->source, (full ? 0 : EPOLLIN) | (c->out_watched ? EPOLLOUT : 0));
}

static void watch_output(void *data)
{
	struct netconn *c = data;

	c->out_watched = true;
	watch(c);
}

void netconn_flush(struct netconn *c)
{
	if (c->fd < 0 || c->out_waits)
		return;
	write_out(c);
	if (c->out_len && !loop_post(c->up->loop, watch_output, c))
		c->out_waits = true;
}

bool netconn_send(struct netconn *c, const uint8_t *data, uint32_t len)
{
	uint32_t wire = htobe32(len);

	if (c->fd < 0)
		return false;
	if (c->out_len + 4 + len > c->out_size)
		netconn_flush(c);
	if (c->out_len + 4 + len > c->out_size)
		return false;
	if (c->out_first + c->out_len + 4 + len > c->out_size) {
		memmove(c->out, c->out + c->out_first, c->out_len);
		c->out_first = 0;
	}
	memcpy(c->out + c->out_first + c->out_len, &wire, 4);
	memcpy(c->out + c->out_first + c->out_len + 4, data, len);
	c->out_len += 4 + len;
	return true;
}

static void can_write(struct netconn *c)
{
	pthread_mutex_lock(&c->up->lock);
	write_out(c);
	if (!c->out_len) {
		c->out_waits = false;
		c->out_watched = false;
		watch(c);
	}
	pthread_mutex_unlock(&c->up->lock);
}

static void take(void *data, const struct netup_frame *frames, unsigned n)
{
	netup_deliver(((struct netconn *)data)->up, frames, n);
}

static bool has_room(struct netconn *c)
{
	const struct netup_owner *o = &c->up->owner;

	return !c->keeps || !o->ready || o->ready(o->data);
}

static void go_on(void *data, uint32_t events);

/* Gives the owner what it has room for, or all that there is. -EPROTO: hang up. */
static int hand_on(struct netconn *c, bool all)
{
	uint64_t wrong = c->in.wrong;
	uint32_t before;
	bool room;
	int ret;

	do {
		before = c->in.have;
		room = all || has_room(c);
		ret = room ? netstream_take(&c->in, 0, take, c) : 0;
	} while (!ret && c->in.have != before);
	atomic_fetch_add(&c->up->received_dropped, c->in.wrong - wrong);
	if (ret)
		log_warn("uplink=%s: the peer sent a length that no frame has: hung up",
			 c->up->ops->name);
	if (room) {
		loop_source_free(c->pause);
		c->pause = NULL;
	} else if (!c->pause && loop_timer_add(c->up->loop, NETCONN_PAUSE_NS, NETCONN_PAUSE_NS,
					       go_on, c, &c->pause)) {
		return hand_on(c, true); /* there is nothing to wake us */
	}
	return ret;
}

/* One read a turn, so that nobody else on the loop is kept waiting. False: there is no more. */
static bool can_read(struct netconn *c)
{
	uint32_t size;
	uint8_t *room = netstream_room(&c->in, &size);
	ssize_t n = recv(c->fd, room, size, MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return true;
	if (n > 0)
		c->in.have += (uint32_t)n;
	return !hand_on(c, n <= 0) && n > 0;
}

static void hang_up(struct netconn *c)
{
	netconn_close(c);
	c->lost(c->data);
}

static void go_on(void *data, uint32_t events)
{
	struct netconn *c = data;

	if (hand_on(c, false))
		hang_up(c);
	else
		watch(c);
}

static void on_event(void *data, uint32_t events)
{
	struct netconn *c = data;

	if (events & EPOLLOUT)
		can_write(c);
	if (!(events & ~(uint32_t)EPOLLOUT))
		return;
	if (!can_read(c))
		hang_up(c);
	else if (c->keeps)
		watch(c);
}

int netconn_open(struct netconn *c, int fd)
{
	int ret = loop_fd_add(c->up->loop, fd, EPOLLIN, on_event, c, &c->source);

	if (ret) {
		close(fd);
		return ret;
	}
	c->in.first = c->in.have = c->in.skip = 0;
	pthread_mutex_lock(&c->up->lock);
	c->out_first = c->out_len = 0;
	c->out_waits = c->out_watched = false;
	c->fd = fd;
	pthread_mutex_unlock(&c->up->lock);
	netup_set_link(c->up, true);
	return 0;
}

void netconn_close(struct netconn *c)
{
	int fd;

	loop_source_free(c->source);
	loop_source_free(c->pause);
	c->source = c->pause = NULL;
	pthread_mutex_lock(&c->up->lock);
	fd = fd_steal(&c->fd);
	pthread_mutex_unlock(&c->up->lock);
	if (fd >= 0)
		close(fd);
	netup_set_link(c->up, false);
}
