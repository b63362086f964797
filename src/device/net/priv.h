/* SPDX-License-Identifier: BSD-3-Clause */
/* net's own declarations. Lock order: nothing is taken under netup.lock. */
#ifndef UVFIO_DEVICE_NET_PRIV_H
#define UVFIO_DEVICE_NET_PRIV_H

#include "device/net/net.h"

/* ------------------------------------------------------------------ uplinks */

struct netup_ops {
	const char *name;
	bool wants_arg;
	/* Takes what there is to have before anything runs; @arg is what is behind the colon. */
	int (*open)(struct netup *up, const char *arg, struct pcif_reply_error *err);
	int (*start)(struct netup *up); /* adds sources to the loop, which does not run yet */
	/* Under the lock. send() returns false for a frame that is dropped; flush() may be NULL. */
	bool (*send)(struct netup *up, const uint8_t *data, uint32_t len);
	void (*flush)(struct netup *up);
	void (*close)(struct netup *up); /* takes what open() left half done; the loop has ended */
};

extern const struct netup_ops netup_socket, netup_user, netup_tap, netup_pcap;

struct netup {
	const struct netup_ops *ops;
	struct netup_owner owner;
	void *state; /* of the kind */
	struct loop *loop;
	pthread_t thread;
	bool started;
	pthread_mutex_t lock; /* of what is sent: ops->send() and flush() */
	_Atomic bool link, listening;
	_Atomic uint64_t sent, sent_dropped, received, received_dropped;
};

void netup_set_link(struct netup *up, bool link); /* on the loop's thread */
/* Frames for the owner; short ones are padded, others are dropped if their length is no frame's. */
void netup_deliver(struct netup *up, const struct netup_frame *frames, unsigned n);

/* ------------------------------------------------------------------ stream.c: framing */

/*
 * A length of 32 bits, big endian, before each frame, over a stream: that of QEMU's `-netdev
 * stream` and of passt.
 */
#define NETSTREAM_BUF NETUP_READ_MAX
#define NETSTREAM_LENGTH_MAX (KIB(64) + 4096u) /* what QEMU takes; a longer one is no length */

struct netstream {
	uint8_t *buf;
	uint32_t size;	      /* of it: NETSTREAM_BUF or more */
	uint32_t first, have; /* bytes of it that are not taken yet */
	uint32_t skip;	      /* bytes to come of a frame that is too long for us */
	uint64_t wrong;	      /* frames whose length is no frame's */
};

/* A place for what comes, and how much may. */
uint8_t *netstream_room(struct netstream *s, uint32_t *size);
/**
 * netstream_take() - @n more bytes are in the buffer; gives frames that are whole to @cb, of up to
 * NETUP_READ_MAX bytes: all that there are in a buffer that has no more.
 * -EPROTO: this is no framing, and nothing after it can be understood.
 */
int netstream_take(struct netstream *s, uint32_t n,
		   void (*cb)(void *data, const struct netup_frame *frames, unsigned n),
		   void *data);

/* ------------------------------------------------------------------ conn.c: a connection */

#define NETCONN_WINDOW MIB(8)	 /* bytes kept of a peer that sends a whole window at once, */
				 /* and for it: it lets a guest do the same */
#define NETCONN_OUT MIB(1)	 /* bytes put aside for another slow peer */
#define NETCONN_PAUSE_NS 500000u /* then the owner is asked again */

struct netconn {
	struct netup *up;
	int fd; /* -1: there is none. Under netup.lock, written by the loop's thread only */
	struct loop_source *source;
	bool keeps;		   /* what the owner has no room for, up to NETCONN_WINDOW */
	struct loop_source *pause; /* until the owner is asked again; NULL: it has room */
	struct netstream in;
	uint8_t *out; /* under netup.lock, as the next four */
	uint32_t out_first, out_len, out_size;
	bool out_waits;		  /* for the peer to read */
	bool out_watched;	  /* the loop's thread: it is watched for that */
	void (*lost)(void *data); /* the peer is gone, and fd closed */
	void *data;
};

int netconn_init(struct netconn *c, struct netup *up, bool keeps, void (*lost)(void *data),
		 void *data);
int netconn_open(struct netconn *c, int fd); /* consumes @fd; the link goes up */
void netconn_close(struct netconn *c);	     /* the link goes down */
void netconn_fini(struct netconn *c);
bool netconn_send(struct netconn *c, const uint8_t *data, uint32_t len);
void netconn_flush(struct netconn *c);

/* ------------------------------------------------------------------ capture.c: reading pcap */

struct netcapture {
	FILE *file;
	bool swapped, nanoseconds;
	uint64_t skipped; /* records that are no whole frame, or too long */
	uint8_t data[NETUP_FRAME_MAX];
	uint32_t len;
	uint64_t time_ns;
};

/* Reads the header. -EPROTO: not pcap; -EOPNOTSUPP: pcapng; -ENOTTY: not of Ethernet. */
int netcapture_open(struct netcapture *c, FILE *file);
/* The next frame. -ENODATA: the end; -EPROTO: what follows is broken. */
int netcapture_next(struct netcapture *c);

#endif
