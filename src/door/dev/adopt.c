/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The machine's side of a launch: takes over what the process that becomes a command has made
 * (launch.c), from the FUSE descriptor to the filter's listener, and says when it may go on.
 *
 * That process belongs to somebody else, who can end or stop it at any moment. So nothing is waited
 * for without an eye on the descriptors that tell to give up.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>

#include "door/dev/priv.h"

struct adoption {
	struct door_dev *d;
	const struct door_peer *peer;
	struct door_error *err;
};

/* 0: @fd can be read. -ECANCELED: there is a reason to give up. */
static int wait_readable(struct adoption *a, int fd)
{
	struct pollfd p[DOOR_GIVE_UP_MAX + 1];
	unsigned i;

	for (i = 0; i < DOOR_GIVE_UP_MAX; i++)
		p[i] = (struct pollfd){ .fd = a->peer->give_up[i], .events = POLLIN };
	p[i] = (struct pollfd){ .fd = fd, .events = POLLIN };
	while (poll(p, ARRAY_SIZE(p), -1) < 0)
		if (errno != EINTR)
			return -errno;
	for (i = 0; i < DOOR_GIVE_UP_MAX; i++)
		if (p[i].revents)
			return explain_text(a->err, -ECANCELED,
					    "given up while the command was started");
	return 0;
}

/* A message of kind @want with @n descriptors; what else comes is the child's failure. */
static int expect(struct adoption *a, int32_t want, int *fds, unsigned n, struct launch_msg *out)
{
	struct launch_msg msg = { 0 };
	unsigned got_fds = n;
	size_t got;
	int r;

	r = wait_readable(a, a->peer->sock);
	if (r)
		return r;
	r = fdpass_recv(a->peer->sock, fds, &got_fds, &msg, sizeof(msg), &got);
	if (r)
		return explain_text(a->err, r, "cannot talk to the starting command: %s",
				    strerror(-r));
	if (got == sizeof(msg) && msg.kind == want && got_fds == n) {
		*out = msg;
		return 0;
	}
	while (got_fds)
		close(fds[--got_fds]);
	if (got == sizeof(msg) && msg.kind == LAUNCH_ERROR && msg.errnum < 0) {
		memcpy(a->err->text, msg.text, sizeof(a->err->text));
		a->err->text[sizeof(a->err->text) - 1] = 0;
		return msg.errnum;
	}
	return explain_text(a->err, -ECHILD, "the command ended before it was started");
}

/* After the go-ahead the socket closes with exec, or brings the reason why there was none. */
static int expect_exec(struct adoption *a)
{
	struct launch_msg msg = { 0 };
	unsigned n = 0;
	size_t got;
	int r;

	r = wait_readable(a, a->peer->sock);
	if (r)
		return r;
	r = fdpass_recv(a->peer->sock, NULL, &n, &msg, sizeof(msg), &got);
	if (r || !got)
		return r;
	memcpy(a->err->text, msg.text, sizeof(a->err->text));
	a->err->text[sizeof(a->err->text) - 1] = 0;
	return msg.errnum < 0 ? msg.errnum : -EPROTO;
}

/*
 * Later, a refusal could only be told to the client, as an errno that says something else. The
 * child is what a client will be: it says which descriptor is open in it, and where it has a word.
 */
static int check_reach(const struct door_dev *d, const struct launch_msg *ready,
		       struct door_error *err)
{
	AUTO_CLOSE int pidfd = client_pidfd(d->child);
	AUTO_CLOSE int fd = -1;
	pid_t word;
	int r;

	if (pidfd < 0)
		return explain_reach(err, pidfd, "pidfd_open", d->child_ours);
	fd = client_getfd(pidfd, ready->number);
	if (fd < 0)
		return explain_reach(err, fd, "pidfd_getfd", d->child_ours);
	r = client_read(d->child, ready->address, &word, sizeof(word));
	if (r)
		return explain_reach(err, r, "process_vm_readv", d->child_ours);
	r = client_write(d->child, ready->address, &word, sizeof(word));
	return r ? explain_reach(err, r, "process_vm_writev", d->child_ours) : 0;
}

/* Device files are opened by this process too; the kernel lets it if it is of the mount's user. */
static int start_own(struct door_dev *d, struct door_error *err)
{
	int r = own_start(d);

	if (r)
		return r;
	r = own_try(d);
	return r ? explain_own_use(err, r) : 0;
}

static int send_start(struct adoption *a)
{
	struct launch_msg msg = { .kind = LAUNCH_START };
	int r = fdpass_send(a->peer->sock, a->d->lifeline_fds, LIFELINES, &msg, sizeof(msg));

	lifelines_close_fds(a->d);
	if (r == -EPIPE || r == -ECONNRESET)
		return explain_text(a->err, -ECHILD, "the command ended before it was started");
	return r;
}

/* What the handshake said that the kernel can, to who has to install the filter. Not before it
 * asks: words that it left unread would take its own last word with them. */
static int send_filter(struct adoption *a)
{
	struct launch_msg msg = { .kind = LAUNCH_FILTER, .devices = a->d->devices };

	return fdpass_send(a->peer->sock, NULL, 0, &msg, sizeof(msg));
}

/* Its file system, served from here on; the watcher; the rest, when all is in its place. */
static int take_over(struct adoption *a)
{
	struct door_dev *d = a->d;
	struct launch_msg msg;
	struct statx st;
	int fds[2];
	int r;

	r = expect(a, LAUNCH_FUSE, &d->fuse_fd, 1, &msg);
	if (!r && (msg.devices == DEVICES_FUSE || msg.devices == DEVICES_MEMFD)) {
		d->devices = msg.devices;
		d->forced = true;
	}
	if (!r)
		r = wait_readable(a, d->fuse_fd);
	if (!r)
		r = fuse_handshake(d, a->err);
	if (!r && d->devices == DEVICES_MEMFD)
		view_hide_cdevs(d->view);
	if (!r)
		r = fuse_pool_start(d);
	if (!r)
		r = expect(a, LAUNCH_WATCHER, &d->watcher, 1, &msg);
	if (!r)
		r = send_filter(a);
	if (!r)
		r = expect(a, LAUNCH_READY, fds, 2, &msg);
	if (r)
		return r;
	d->root_fd = fds[0];
	d->listener = fds[1];
	d->restarts = msg.restarts;
	d->userns = msg.userns;
	r = check_reach(d, &msg, a->err);
	if (r)
		return r;
	if (statx(d->root_fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, 0, &st))
		return -errno;
	d->dev_major = st.stx_dev_major;
	d->dev_minor = st.stx_dev_minor;
	return 0;
}

int door_dev_adopt(struct door_dev *d, const struct door_peer *peer, struct door_error *err)
{
	struct adoption a = { .d = d, .peer = peer, .err = err };
	int r;

	err->text[0] = 0;
	d->child = peer->pid;
	d->child_ours = peer->child;
	r = send_start(&a);
	if (!r)
		r = take_over(&a);
	if (!r)
		r = anchor_start(d);
	if (!r && d->devices == DEVICES_MEMFD)
		r = memdevs_start(d, err);
	if (!r)
		r = start_own(d, err);
	if (!r)
		r = notify_start(d);
	if (!r)
		r = fdpass_send(peer->sock, NULL, 0, "", 1);
	if (!r)
		r = expect_exec(&a);
	if (r && !err->text[0])
		explain_text(err, r, "cannot open the door: %s", strerror(-r));
	return r;
}
