/* SPDX-License-Identifier: BSD-3-Clause */
/* An owner of uplinks for tests: keeps what it is given. Things happen on another thread, so tests
 * wait for them: EVENTUALLY() gives up after some seconds. */
#ifndef UVFIO_TESTS_NET_TEST_H
#define UVFIO_TESTS_NET_TEST_H

#include <errno.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "device/net/priv.h"

#define EVENTUALLY(condition)                                                                      \
	do {                                                                                       \
		unsigned ms_;                                                                      \
		for (ms_ = 0; !(condition) && ms_ < 10000; ms_ += 2)                               \
			usleep(2000);                                                              \
		if (ms_ >= 10000)                                                                  \
			fail_msg("not in 10 s: %s", #condition);                                   \
	} while (0)

#define KEPT 64

struct owner {
	struct netup *up;
	pthread_mutex_t lock;
	unsigned n, links;
	uint32_t len[KEPT];
	uint8_t data[KEPT][NETUP_FRAME_MAX];
	_Atomic bool full; /* it has no room */
};

static inline void owner_receive(void *data, const struct netup_frame *frames, unsigned n)
{
	struct owner *o = data;

	pthread_mutex_lock(&o->lock);
	for (unsigned i = 0; i < n; i++, o->n++) {
		o->len[o->n % KEPT] = frames[i].len;
		memcpy(o->data[o->n % KEPT], frames[i].data, frames[i].len);
	}
	pthread_mutex_unlock(&o->lock);
}

static inline void owner_link(void *data, bool up)
{
	struct owner *o = data;

	pthread_mutex_lock(&o->lock);
	o->links++;
	pthread_mutex_unlock(&o->lock);
}

static inline unsigned owner_count(struct owner *o)
{
	unsigned n;

	pthread_mutex_lock(&o->lock);
	n = o->n;
	pthread_mutex_unlock(&o->lock);
	return n;
}

static inline bool owner_ready(void *data)
{
	return !((struct owner *)data)->full;
}

/* How often the link has changed. */
static inline unsigned owner_links(struct owner *o)
{
	unsigned n;

	pthread_mutex_lock(&o->lock);
	n = (unsigned)o->links;
	pthread_mutex_unlock(&o->lock);
	return n;
}

static inline int owner_try(struct owner **out, const char *how, struct pcif_reply_error *err)
{
	struct owner *o = calloc(1, sizeof(*o));
	struct netup_owner face = { o, owner_receive, owner_link, owner_ready };
	int ret;

	pthread_mutex_init(&o->lock, NULL);
	ret = netup_new(how, &face, &o->up, err);
	if (ret)
		free(o);
	else
		*out = o;
	return ret;
}

static inline struct owner *owner_new(const char *how)
{
	struct pcif_reply_error err = { "" };
	struct owner *o;

	if (owner_try(&o, how, &err) || netup_start(o->up))
		fprintf(stderr, "%s: %s\n", how, err.text), abort();
	return o;
}

static inline struct owner *owner_new_full(const char *how)
{
	struct pcif_reply_error err = { "" };
	struct owner *o;

	if (owner_try(&o, how, &err))
		fprintf(stderr, "%s: %s\n", how, err.text), abort();
	o->full = true;
	if (netup_start(o->up))
		abort();
	return o;
}

static inline void owner_free(struct owner *o)
{
	netup_free(o->up);
	free(o);
}

static inline void frame_fill(uint8_t *data, uint32_t len, unsigned seed)
{
	for (uint32_t i = 0; i < len; i++)
		data[i] = (uint8_t)(i * 7 + seed);
}

static inline void owner_send(struct owner *o, uint32_t len, unsigned seed)
{
	uint8_t data[NETUP_FRAME_MAX];

	frame_fill(data, len, seed);
	netup_send(o->up, data, len);
	netup_flush(o->up);
}

/* A folder of the test's own, and a path in it. */
static char net_folder[64];

static inline int net_folder_make(void **state)
{
	strcpy(net_folder, "/tmp/uvfio-net-XXXXXX");
	return mkdtemp(net_folder) ? 0 : -1;
}

static inline int net_folder_remove(void **state)
{
	return rmdir(net_folder); /* nothing may be left in it */
}

static inline const char *net_path(const char *how, const char *name)
{
	static char paths[4][128];
	static unsigned turn;
	char *p = paths[turn++ % 4];

	snprintf(p, sizeof(paths[0]), "%s%s/%s", how, net_folder, name);
	return p;
}

/* A peer by hand. -1: nobody listens. */
static inline int peer_connect(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(addr.sun_path, path);
	if (!connect(fd, (struct sockaddr *)&addr, sizeof(addr)))
		return fd;
	close(fd);
	return -1;
}

static inline int peer_listen(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(addr.sun_path, path);
	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) || listen(fd, 4))
		abort();
	return fd;
}

static inline void peer_send(int fd, uint32_t length, const void *data, size_t size)
{
	uint32_t wire = htobe32(length);

	if (send(fd, &wire, 4, MSG_NOSIGNAL) != 4 ||
	    (size && send(fd, data, size, MSG_NOSIGNAL) != (ssize_t)size))
		abort();
}

#endif
