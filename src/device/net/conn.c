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

int netconn_init(struct netconn *c, struct netup *up, void (*lost)(void *data), void *data)
{
	*c = (struct netconn){ .up = up, .fd = -1, .lost = lost, .data = data };
	c->in.buf = malloc(NETSTREAM_BUF);
	c->out = malloc(NETCONN_OUT);
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

static void watch_output(void *data)
{
	struct netconn *c = data;

	if (c->source)
		loop_fd_modify(c->source, EPOLLIN | EPOLLOUT);
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
	if (c->out_len + 4 + len > NETCONN_OUT)
		netconn_flush(c);
	if (c->out_len + 4 + len > NETCONN_OUT)
		return false;
	if (c->out_first + c->out_len + 4 + len > NETCONN_OUT) {
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
		loop_fd_modify(c->source, EPOLLIN);
	}
	pthread_mutex_unlock(&c->up->lock);
}

static void take(void *data, const struct netup_frame *frames, unsigned n)
{
	netup_deliver(((struct netconn *)data)->up, frames, n);
}

/* One read a turn, so that nobody else on the loop is kept waiting. False: there is no more. */
static bool can_read(struct netconn *c)
{
	uint32_t size;
	uint8_t *room = netstream_room(&c->in, &size);
	ssize_t n = recv(c->fd, room, size, MSG_DONTWAIT);
	uint64_t wrong = c->in.wrong;
	int ret;

	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	if (!n)
		return false;
	ret = netstream_take(&c->in, (uint32_t)n, take, c);
	atomic_fetch_add(&c->up->received_dropped, c->in.wrong - wrong);
	if (ret)
		log_warn("uplink=%s: the peer sent a length that no frame has: hung up",
			 c->up->ops->name);
	return !ret;
}

static void on_event(void *data, uint32_t events)
{
	struct netconn *c = data;

	if (events & EPOLLOUT)
		can_write(c);
	if (events & ~(uint32_t)EPOLLOUT && !can_read(c)) {
		netconn_close(c);
		c->lost(c->data);
	}
}

int netconn_open(struct netconn *c, int fd)
{
	int ret = loop_fd_add(c->up->loop, fd, EPOLLIN, on_event, c, &c->source);

	if (ret) {
		close(fd);
		return ret;
	}
	c->in.have = c->in.skip = 0;
	pthread_mutex_lock(&c->up->lock);
	c->out_first = c->out_len = 0;
	c->out_waits = false;
	c->fd = fd;
	pthread_mutex_unlock(&c->up->lock);
	netup_set_link(c->up, true);
	return 0;
}

void netconn_close(struct netconn *c)
{
	int fd;

	loop_source_free(c->source);
	c->source = NULL;
	pthread_mutex_lock(&c->up->lock);
	fd = fd_steal(&c->fd);
	pthread_mutex_unlock(&c->up->lock);
	if (fd >= 0)
		close(fd);
	netup_set_link(c->up, false);
}
