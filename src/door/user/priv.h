/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of the user door share. */
#ifndef UVFIO_DOOR_USER_PRIV_H
#define UVFIO_DOOR_USER_PRIV_H

#include <pthread.h>
#include <sys/uio.h>

#include "door/door.h"
#include "door/pages.h"
#include "door/user/wire.h"

/* Descriptors in one message: as many as the kernel passes at a time (SCM_MAX_FD). */
#define USER_FDS_MAX 253u
/* Bytes of data in one message, either way, and of a message with what is around them. */
#define USER_DATA_MAX ((uint32_t)MIB(1))
#define USER_MESSAGE_MAX (USER_DATA_MAX + (uint32_t)KIB(64))
/* Of the first, from somebody who has nothing yet. */
#define USER_FIRST_MAX ((uint32_t)KIB(16))

/* ------------------------------------------------------------------ messages (channel.c) */

struct message {
	struct user_header h;
	uint8_t *data; /* what follows the header */
	size_t size;   /* bytes of it */
	int fds[USER_FDS_MAX];
	unsigned n_fds;
	uint8_t small[512]; /* where @data is, unless it is more */
	struct message *next;
};
/* Frees what the message holds, not itself. Descriptors that were taken out are -1. */
void message_fini(struct message *m);

/*
 * A connection. Any thread may send, and call: send a command and wait for its reply. There is one
 * thread that takes the client's commands. Whoever waits for something reads if nobody else does,
 * and hands on what is not his: so a reply arrives while the thread that takes commands is busy
 * with one, also if that one waits for who waits for the reply.
 */
struct waiter;

/* What the connections of a door have in common. */
struct user_limits {
	uint64_t patience_ns;  /* a client takes a reply, or gives one, within that time */
	uint64_t stuck_ns;     /* see channel_call() */
	uint64_t gone_ns;      /* one that has gone is awaited for that long */
	_Atomic size_t queued; /* bytes of commands that were put aside, of all connections */
};

struct channel {
	struct user_limits *limits;
	int fd;
	bool replies_only;		    /* no commands come on it */
	const _Atomic uint64_t *busy_since; /* when the command began that is carried out, or 0 */
	pthread_mutex_t send_lock;	    /* a message goes out in one piece */

	pthread_mutex_t lock; /* guards what follows, but for what the reader has */
	pthread_cond_t cond;  /* there is no reader; something was handed on */
	bool reading, dead;
	struct message *commands, **last_command; /* read by who waited for a reply */
	size_t commands_size, commands_fds;
	struct waiter *waiters;
	uint16_t next_id;

	/* The reader's: what has come and is no whole message yet. */
	uint8_t *buf;
	size_t start, have, room; /* @have bytes, from @start of @room */
	uint32_t message_max;
	int fds[USER_FDS_MAX];
	unsigned n_fds;
};
void channel_init(struct channel *c, struct user_limits *limits,
		  const _Atomic uint64_t *busy_since);
void channel_open(struct channel *c, int fd); /* consumes @fd; once, before it is used */
void channel_fini(struct channel *c);
/* Nothing comes or goes any more; everybody who waits returns. Any thread. */
void channel_kill(struct channel *c);
/* The next command. -ECONNRESET, -EPROTO, -ENOMEM: the connection is dead. */
int channel_take(struct channel *c, struct message *m);
/* Borrows everything. -EPIPE: the connection is dead. */
int channel_send(struct channel *c, const struct user_header *h, const struct iovec *data,
		 unsigned n_data, const int *fds, unsigned n_fds);
/**
 * channel_call() - send a command, wait for the reply.
 * @reply: where what follows its header is put, exactly @reply_size bytes
 * Returns 0; -EREMOTEIO: the reply is an error, or another size; -EPIPE; -ETIMEDOUT: there was none
 * in ten seconds (patience_ns), and the connection is dead; -ECANCELED: none in two (stuck_ns),
 * while a command of the client was waiting for us.
 */
int channel_call(struct channel *c, uint16_t command, const struct iovec *data, unsigned n_data,
		 void *reply, size_t reply_size);

/* ------------------------------------------------------------------ sessions (session.c) */

#define USER_FILES 8

/* A client's DMA by messages (memory.c). Lives as long as somebody has the memory. */
struct user_link {
	_Atomic uint32_t refs;
	pthread_mutex_t lock; /* short */
	pthread_cond_t cond;
	struct channel *channel; /* NULL: the session is over */
	struct channel *main;	 /* the same one, or that of the commands */
	unsigned busy;		 /* calls that are using it */
	uint32_t max_data;
};

/* What a client has named of the capabilities, which is what it gets an answer to. */
struct user_wish {
	uint16_t minor;
	bool data, fds, maps, pages, multi, twin;
};

struct user_session {
	struct door_user *door;
	struct user_socket *socket;
	struct user_session *next; /* of the door */
	pthread_t thread;
	bool done; /* under door.lock: the thread has nothing left to do */

	bool joined;
	_Atomic uint64_t busy_since; /* CLOCK_MONOTONIC, of the command that is carried out; or 0 */
	struct channel main;
	struct channel twin; /* for our commands, while @has_twin */
	bool has_twin;
	unsigned client;
	struct user_wish wish;
	uint32_t max_data, max_fds; /* what the client takes */
	struct log_limit limit;

	struct vfio_obj *container, *group, *device;
	struct door_pages pages;
	bool has_pages;
	struct user_link *link;
	struct iommu_mem *remote;
	struct user_file {
		struct iommu_mem *mem;
		uint64_t dev, ino;
		int mode; /* O_ACCMODE */
	} files[USER_FILES];
	unsigned next_file;
	struct range_map maps; /* of struct user_map */
};

/* For the log of the machine's owner; a client can cause them. */
#define session_note(s, ...)                                                                       \
	do {                                                                                       \
		if (log_limit_ok(&(s)->limit))                                                     \
			log_debug(__VA_ARGS__);                                                    \
	} while (0)

/* Of the door's thread for this client: all of its life. */
void session_serve(struct user_session *s);
void session_hang_up(struct user_session *s);		/* any thread */
const char *session_name(const struct user_session *s); /* of the function */

/* version.c: what the client proposes (fills in wish, max_data, max_fds), what we answer. */
int version_negotiate(struct user_session *s, const struct message *m);
int version_reply(struct user_session *s, const struct message *m, int twin_fd);

/* device.c: opens and closes the function for the session. */
int session_open(struct user_session *s);
void session_close(struct user_session *s);

/* memory.c */
/* @c: where the client is asked; @main: what ends with it. */
int user_link_new(struct channel *c, struct channel *main, uint32_t max_data,
		  struct user_link **link);
void user_link_cut(struct user_link *link); /* waits for calls that are under way */
int user_link_memory(struct user_link *link,
		     struct iommu_mem **mem); /* takes the link's reference */
int session_map(struct user_session *s, const struct message *m);
int session_unmap(struct user_session *s, const struct message *m, struct user_dma_unmap *reply);
void session_forget(struct user_session *s); /* what it has mapped; files */

/* call.c: carries out one command; the reply is sent from here. An error: the connection ends. */
int session_command(struct user_session *s, struct message *m);
int session_reply(struct user_session *s, const struct message *m, int error,
		  const struct iovec *data, unsigned n_data, const int *fds, unsigned n_fds);

/* ------------------------------------------------------------------ sockets (server.c) */

struct user_socket {
	struct user_socket *next;
	struct pcif *f; /* a reference */
	uint64_t id;	/* of the device, see struct vfio_cdev */
	char *path;
	const char *name; /* the last part of it */
	uint64_t dev, ino;
	int fd;
	unsigned sessions; /* under door.lock */
	bool closed;	   /* the same: listens no more */
};

struct door_user {
	struct vfio *vfio;
	const struct door_user_ops *ops;
	void *data;
	char *dir;
	int dir_fd;
	struct user_limits limits;
	struct log_limit limit;
	pthread_t thread;
	bool runs;
	int epoll, wake;
	bool stopping; /* under @lock */

	pthread_mutex_t lock;
	pthread_cond_t cond; /* a session is done */
	struct user_socket *sockets;
	struct user_session *sessions;
};
/* Waits until nobody before @s whose client has gone is in its way. */
void door_user_await_gone(struct user_session *s);

#endif
