// SPDX-License-Identifier: BSD-3-Clause
/*
 * One client of one function: a thread that takes its messages one after another, from the first,
 * which has to be VERSION, to the end of the connection.
 */
#include <errno.h>
#include <sys/socket.h>

#include "door/user/priv.h"

const char *session_name(const struct user_session *s)
{
	return pcif_name(s->socket->f);
}

/* An error is a header and nothing else. */
int session_reply(struct user_session *s, const struct message *m, int error,
		  const struct iovec *data, unsigned n_data, const int *fds, unsigned n_fds)
{
	struct user_header h = {
		.id = m->h.id,
		.command = m->h.command,
		.size = sizeof(h),
		.flags = USER_TYPE_REPLY,
	};

	if (m->h.flags & USER_NO_REPLY)
		return 0;
	if (error) {
		h.flags |= USER_ERROR;
		h.error = (uint32_t)-error;
		return channel_send(&s->main, &h, NULL, 0, NULL, 0);
	}
	for (unsigned i = 0; i < n_data; i++)
		h.size += (uint32_t)data[i].iov_len;
	return channel_send(&s->main, &h, data, n_data, fds, n_fds);
}

/* ------------------------------------------------------------------ the first message */

static const char *why(int error)
{
	switch (error) {
	case -EBUSY:
		return "it, or another function of its isolation group, is in use";
	case -EPERM:
		return "a function of its isolation group belongs to a driver of the host";
	case -ENODEV:
		return "it is not bound to vfio-pci any more";
	case -EACCES:
		return "its physical function is in use through vfio-pci, which wants a token";
	case -EOPNOTSUPP:
		return "the client speaks another version of the protocol (this is 0.x)";
	case -EINVAL:
		return "the client's version message makes no sense";
	default:
		return strerror(-error);
	}
}

static int open_twin(struct user_session *s, int *theirs)
{
	int pair[2];

	if (!s->wish.twin || !s->max_fds)
		return 0;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		return -errno;
	s->twin.replies_only = true;
	s->twin.message_max = USER_MESSAGE_MAX;
	channel_open(&s->twin, pair[0]);
	s->has_twin = true;
	*theirs = pair[1];
	return 0;
}

static int begin(struct user_session *s, const struct message *m)
{
	AUTO_CLOSE int twin = -1;
	int ret = -EPROTO;

	if (m->h.command != USER_VERSION || m->h.flags & USER_NO_REPLY)
		return ret;
	ret = version_negotiate(s, m);
	s->main.message_max = USER_MESSAGE_MAX;
	if (!ret)
		ret = open_twin(s, &twin);
	if (!ret) {
		door_user_await_gone(s);
		ret = session_open(s);
	}
	if (!ret)
		return version_reply(s, m, twin);
	if (log_limit_ok(&s->limit))
		log_warn("%s: a vfio-user client is refused: %s", session_name(s), why(ret));
	(void)session_reply(s, m, ret, NULL, 0, NULL, 0);
	return ret;
}

/* ------------------------------------------------------------------ all of it */

static pid_t peer_pid(int fd)
{
	struct ucred peer = { .pid = 0 };
	socklen_t size = sizeof(peer);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) ? 0 : peer.pid;
}

/* Nobody can be asked about the client's memory any more: DMA that is waiting for it ends now. */
void session_hang_up(struct user_session *s)
{
	channel_kill(&s->main);
	channel_kill(&s->twin);
}

void session_serve(struct user_session *s)
{
	const struct door_user_ops *ops = s->door->ops;
	struct message m;
	int ret;

	ret = ops->join(s->door->data, peer_pid(s->main.fd), s->socket->f, &s->client);
	s->joined = !ret;
	if (!ret)
		ret = channel_take(&s->main, &m);
	if (!ret) {
		ret = begin(s, &m);
		message_fini(&m);
	}
	while (!ret && !channel_take(&s->main, &m)) {
		atomic_store(&s->busy_since, time_mono_ns());
		ret = session_command(s, &m);
		atomic_store(&s->busy_since, 0);
		message_fini(&m);
	}
	if (ret)
		session_note(s, "%s: the connection of client %u ends: %s", session_name(s),
			     s->client, strerror(-ret));
	session_hang_up(s);
	session_close(s);
	if (s->joined)
		ops->leave(s->door->data, s->client);
}
