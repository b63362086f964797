/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * net: where the frames of a network card go that are for nobody on it, and where others come from.
 *
 * Theory of operation. An *uplink* is one peer: a socket, passt, a tap interface, a capture. It has
 * a thread of its own (an event loop) that reads, and gives frames to its owner in batches. Sending
 * is done by the owner's threads: netup_send() puts a frame aside or hands it to the kernel, and
 * never waits; netup_flush(), after a batch, has the kernel take what was put aside. What does not
 * fit is dropped and counted.
 *
 * A peer is as hostile as a guest: nothing it sends makes us wait, grow or stop; one that does not
 * keep to the framing is hung up on.
 */
#ifndef UVFIO_DEVICE_NET_H
#define UVFIO_DEVICE_NET_H

#include "pci/pci.h"

#define NETUP_FRAME_MAX 9728u /* without FCS, as of the hardware that we are */
#define NETUP_FRAME_MIN 14u   /* an Ethernet header; shorter ones are dropped */
#define NETUP_PADDED 60u      /* what a frame has at least when it arrives */
#define NETUP_BATCH 64	      /* frames given to an owner at once */
#define NETUP_READ_MAX                                                                             \
	KIB(128) /* bytes, with 4 more for each frame, between two looks at ready() */

struct netup;

struct netup_frame {
	const uint8_t *data;
	uint32_t len;
};

/* Called by the uplink's thread, without a lock, between netup_start() and netup_stop(). */
struct netup_owner {
	void *data;
	void (*receive)(void *data, const struct netup_frame *frames, unsigned n);
	void (*link)(void *data, bool up); /* it changed */
	/* Whether there is room for NETUP_READ_MAX bytes of frames; for uplinks that keep what
	 * there is (user). NULL: always. */
	bool (*ready)(void *data);
};

struct netup_counts {
	uint64_t sent, sent_dropped;
	uint64_t received, received_dropped;
};

/**
 * netup_new() - makes an uplink; nothing moves before netup_start().
 * @how: "none", "socket:PATH", "user", "tap:NAME", "pcap:FILE"
 *
 * -EINVAL: @how is none of these; or the errno of what could not be had, with cause and remedy in
 * @err. For "none" *@up is NULL, which all the calls below take.
 */
int netup_new(const char *how, const struct netup_owner *owner, struct netup **up,
	      struct pcif_reply_error *err);
int netup_start(struct netup *up);
void netup_stop(struct netup *up); /* when it returns the owner is called no more */
void netup_free(struct netup *up);

bool netup_link(struct netup *up);   /* a peer is there; true for none */
void netup_listen(struct netup *up); /* somebody takes frames: a capture begins */
/* Any thread; frames of one thread stay in order. @len at most NETUP_FRAME_MAX. */
void netup_send(struct netup *up, const uint8_t *data, uint32_t len);
void netup_flush(struct netup *up);
void netup_counts(struct netup *up, struct netup_counts *counts);

/*
 * netpcap: records frames in a file, in pcap's format with nanoseconds. netpcap_record() never
 * waits for the disk: a thread writes, and what it has no room for is dropped and counted.
 */
struct netpcap;

int netpcap_new(const char *path, struct netpcap **out, struct pcif_reply_error *err);
int netpcap_start(struct netpcap *p);
void netpcap_record(struct netpcap *p, const uint8_t *data, uint32_t len); /* any thread */
uint64_t netpcap_dropped(struct netpcap *p);
void netpcap_free(struct netpcap *p); /* after the rest is written */

#endif
