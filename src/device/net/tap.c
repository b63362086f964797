/* SPDX-License-Identifier: BSD-3-Clause */
/* uplink=tap:NAME: a tap interface of the host, made if it is not there and we may. */
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "device/net/priv.h"

#define FRAMES 16 /* read in one turn */

struct tap {
	int fd;
	struct loop_source *source;
	struct loop_source *pause;    /* until the owner is asked again; NULL: it has room */
	uint8_t buf[FRAMES][KIB(64)]; /* whatever the interface's MTU is */
};

static int check_name(const char *name, struct pcif_reply_error *err)
{
	size_t len = strlen(name);

	/* The kernel would make a number of %d. */
	if (len < IFNAMSIZ && !strpbrk(name, "/%: \t\n") && strcmp(name, ".") && strcmp(name, ".."))
		return 0;
	return pcif_error(err, -EINVAL,
			  "uplink=tap:%s: an interface's name has at most 15 characters, none of "
			  "them a blank, '/', ':' or '%%'",
			  name);
}

static int attach(int fd, const char *name, struct pcif_reply_error *err)
{
	struct ifreq ifr = { .ifr_flags = IFF_TAP | IFF_NO_PI };
	int ret;

	strcpy(ifr.ifr_name, name);
	if (!ioctl(fd, TUNSETIFF, &ifr))
		return 0;
	ret = -errno;
	switch (ret) {
	case -EPERM:
		return pcif_error(
			err, ret,
			"uplink=tap:%s: making or using it needs CAP_NET_ADMIN; have root "
			"make it for this user: ip tuntap add dev %s mode tap user %u, ip "
			"link set %s up; or take uplink=user",
			name, name, (unsigned)geteuid(), name);
	case -EBUSY:
		return pcif_error(err, ret, "uplink=tap:%s: another program uses it; give another",
				  name);
	case -EINVAL:
		return pcif_error(err, ret,
				  "uplink=tap:%s: there is an interface of that name that is not a "
				  "tap of one queue; give another name",
				  name);
	default:
		return pcif_error(err, ret, "uplink=tap:%s: %s", name, strerror(-ret));
	}
}

/* Whose interface it is may have brought it up, or not want it up: no failure. */
static void bring_up(const char *name)
{
	AUTO_CLOSE int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq ifr = { 0 };

	strcpy(ifr.ifr_name, name);
	if (fd < 0 || ioctl(fd, SIOCGIFFLAGS, &ifr) || ifr.ifr_flags & IFF_UP)
		return;
	ifr.ifr_flags |= IFF_UP;
	if (ioctl(fd, SIOCSIFFLAGS, &ifr))
		log_info("uplink=tap:%s is down, and this user cannot bring it up: ip link set %s "
			 "up",
			 name, name);
}

static int tap_open(struct netup *up, const char *arg, struct pcif_reply_error *err)
{
	struct tap *t;
	int ret = check_name(arg, err);

	if (ret)
		return ret;
	t = up->state = calloc(1, sizeof(*t));
	if (!t)
		return pcif_error(err, -ENOMEM, "out of memory");
	t->fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (t->fd < 0) {
		ret = -errno;
		return pcif_error(err, ret,
				  "uplink=tap:%s: /dev/net/tun: %s; load the module tun, or take "
				  "uplink=user",
				  arg, strerror(-ret));
	}
	ret = attach(t->fd, arg, err);
	if (!ret)
		bring_up(arg);
	return ret;
}

static void go_on(void *data, uint32_t events);

/* What the owner has no room for stays in the interface's queue. */
static bool must_wait(struct netup *up)
{
	struct tap *t = up->state;

	if (!up->owner.ready || up->owner.ready(up->owner.data)) {
		loop_source_free(t->pause);
		t->pause = NULL;
		return false;
	}
	return t->pause ||
	       !loop_timer_add(up->loop, NETCONN_PAUSE_NS, NETCONN_PAUSE_NS, go_on, up, &t->pause);
}

static void go_on(void *data, uint32_t events)
{
	struct netup *up = data;
	struct tap *t = up->state;

	if (!must_wait(up) && t->source)
		loop_fd_modify(t->source, EPOLLIN);
}

static void on_event(void *data, uint32_t events)
{
	struct netup *up = data;
	struct tap *t = up->state;
	struct netup_frame frames[FRAMES];
	ssize_t n = 0;
	bool gone;
	unsigned i;

	for (i = 0; i < FRAMES; i++) {
		n = read(t->fd, t->buf[i], sizeof(t->buf[i]));
		if (n <= 0)
			break;
		frames[i] = (struct netup_frame){ t->buf[i], (uint32_t)n };
	}
	gone = n < 0 && errno == EBADFD;
	netup_deliver(up, frames, i);
	if (!gone) {
		if (must_wait(up))
			loop_fd_modify(t->source, 0);
		return;
	}
	log_warn("uplink=tap: the interface was removed");
	loop_source_free(t->source);
	loop_source_free(t->pause);
	t->source = t->pause = NULL;
	netup_set_link(up, false);
}

static void begin(void *data)
{
	netup_set_link(data, true);
}

static int tap_start(struct netup *up)
{
	struct tap *t = up->state;
	int ret = loop_fd_add(up->loop, t->fd, EPOLLIN, on_event, up, &t->source);

	return ret ? ret : loop_post(up->loop, begin, up);
}

static bool tap_send(struct netup *up, const uint8_t *data, uint32_t len)
{
	return write(((struct tap *)up->state)->fd, data, len) == (ssize_t)len;
}

static void tap_close(struct netup *up)
{
	struct tap *t = up->state;

	if (t)
		base_cleanup_close(&t->fd);
	free(t);
}

const struct netup_ops netup_tap = {
	.name = "tap",
	.wants_arg = true,
	.open = tap_open,
	.start = tap_start,
	.send = tap_send,
	.close = tap_close,
};
