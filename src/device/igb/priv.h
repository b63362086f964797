/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The 82576 model's own declarations.
 *
 * Theory of operation. A *card* is a PF and its VFs with a switch between them and an uplink. Each
 * function has its registers and queues under pci's register lock of that function (pcif_lock());
 * hooks run under it anyway. A worker thread of the card goes over its functions, takes in what
 * drivers stored, turns transmit descriptors into frames, and hands frames in batches to the
 * switch, which puts them into the receive queues of other functions: the sender's lock is given
 * back before the receivers' are taken, so no two are ever held.
 *
 * Memory of clients. The worker touches memory only that is mapped into our process (a pin). A
 * function whose driver uses other memory, where an access may take as long as its client pleases,
 * is *slow*: it gets a thread of its own and a bounded queue of frames, so it holds up nobody else.
 *
 * Lock order: pcif_lock() of one function, then the card's switch lock or port lock, then a
 * backlog's or a worker's lock. Nothing is waited for but memory of a slow function, under its own
 * register lock, by its own thread.
 */
#ifndef UVFIO_DEVICE_IGB_PRIV_H
#define UVFIO_DEVICE_IGB_PRIV_H

#include <pthread.h>

#include "device/device.h"
#include "device/igb/igb.h"
#include "device/igb/regs.h"
#include "device/net/net.h"

#define IGB_QUEUES 16
#define IGB_VF_QUEUES 2
#define IGB_VFS 7
#define IGB_PF_PORT 7
#define IGB_PORTS 8
#define IGB_UPLINK 8   /* as the source of a frame */
#define IGB_VECTORS 10 /* of the PF */
#define IGB_VF_VECTORS 3
#define IGB_FRAME_MAX 9728u   /* what the hardware takes: 9.5 KiB */
#define IGB_PACKET_MAX 65800u /* 64 KiB and headers: a packet before segmentation */
#define IGB_BATCH 128	      /* frames */
#define IGB_DESCS 64	      /* descriptors read at once */
#define IGB_RATED_BATCH 8     /* of a VF that has a rate, which is kept the better */
#define IGB_ARENA KIB(256)    /* bytes of the frames of a batch */
#define IGB_SPANS 4
#define IGB_DONES 8
#define IGB_HEAD                                                                                   \
	128u /* bytes of a frame that are always ours: all headers but odd ones of IPv6            \
	      */
#define IGB_TAIL_MIN 512u /* frames below are copied whole */
#define IGB_JOBS 192
#define IGB_STATS 88	/* registers from 0x4000 on */
#define IGB_VF_STATS 17 /* of a VF, from 0xf10 on */

enum igb_mmio { IGB_MMIO_TRAP, IGB_MMIO_QUEUES, IGB_MMIO_SHARED };

struct igb_card;
struct igb_fn;

/* ------------------------------------------------------------------ frames */

struct igb_frame {
	const uint8_t *data;
	const uint8_t *tail; /* NULL; or, behind the first IGB_HEAD bytes, in the sender's memory */
	uint32_t len;	     /* without FCS */
	uint16_t ports;	     /* where it goes, a bit each */
	bool to_uplink;
	bool own; /* loopback: back to the sender, nowhere else */
};

/* Frames of a batch that are yet to be counted. */
struct igb_tally {
	uint32_t n, multicast, bytes; /* with FCS */
	uint32_t local, local_bytes;  /* of them, those that are of a function of the card */
};

/* Descriptors of one queue that were worked on, and are given back when their frames are where
 * they go. */
struct igb_done {
	unsigned queue, reset; /* of which it was that many resets ago, then */
	uint32_t first, n;
	uint64_t report; /* a bit each: the driver wants to be told */
};

/* What a thread that moves frames has. Big: never on a stack. */
struct igb_batch {
	struct iommu_span spans[IGB_SPANS]; /* of tails */
	unsigned n_spans, n_tails;
	struct igb_done done[IGB_DONES];
	unsigned n_done;
	struct igb_frame frames[IGB_BATCH];
	unsigned n, limit;
	uint32_t used; /* of the arena */
	uint8_t arena[IGB_ARENA];
	uint8_t packet[IGB_PACKET_MAX]; /* of a large send */
};

/* ------------------------------------------------------------------ queues */

struct igb_txq {
	struct igb_tx_context context[2];
	uint8_t *packet; /* one that has more than one descriptor, so far; NULL: none was needed */
	uint32_t len;	 /* of it */
	uint32_t cmd, olinfo;	 /* of its first descriptor */
	uint32_t sent, segments; /* of a large send: bytes of its payload, and frames */
	bool begun, bad;	 /* inside a packet; one that is dropped */
	bool complete;		 /* read in full: waits for room in a batch */
	unsigned reset;		 /* counts them */
};

struct igb_rxq {
	struct igb_rx_desc cache[IGB_DESCS]; /* fetched, [first, first + n) of them are left */
	unsigned first, n;
	/* of its registers, as they were when one of them was written last */
	uint64_t ring;
	uint32_t entries, tail, buffer, header; /* sizes of buffers */
	uint8_t desctype;
	uint32_t head; /* RDH, which shows it after a batch */
	bool used;     /* by this batch */
};

/* What a port of the switch lets in. Under igb_card.sw. */
#define IGB_UNICAST_MAX 32
struct igb_filter {
	bool on;
	bool promisc, all_multicast, broadcast, untagged, vlan_any;
	uint8_t mta_shift;
	uint16_t max_len; /* without FCS; a VLAN tag does not count */
	uint8_t n_unicast;
	uint8_t unicast[IGB_UNICAST_MAX][6];
	uint32_t mta[128];
	uint32_t vlans[128];
};

/* What the PF's own driver lets a VF do, and what the VF asked for. Under the VF's register lock,
 * but for what the options said. */
struct igb_policy {
	uint8_t mac[6];
	uint16_t vlan; /* of the port; 0: none */
	bool set_mac;  /* the machine's owner gave the address: the VF cannot change it */
	bool spoof_check, trust;
	uint64_t rate; /* bytes a second that it may send; 0: as many as it likes */
	/* asked for by mailbox, gone with a reset */
	bool clear_to_send, all_multicast, vlan_seen;
	uint8_t current[6];
	uint8_t n_extra;
	uint8_t extra[IGB_UNICAST_MAX - 1][6];
	uint16_t max_len;
	uint32_t mta[128];
	uint32_t vlans[128];
};

struct igb_backlog {
	pthread_mutex_t lock;
	uint8_t *ring; /* of length-prefixed frames; NULL until there is one */
	uint32_t head;
	_Atomic uint32_t used;
	uint64_t crowded_since; /* ns; 0: it is not */
};

struct igb_worker {
	struct igb_card *card;
	struct igb_fn *fn; /* the only one it serves; NULL: all that are not slow */
	pthread_t thread;
	bool started;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool kicked, quit;
	bool quiet; /* nothing for long: registers are looked at seldom */
	struct igb_batch *batch;
};

/* Something to be moved once there is a batch of them: memory, then a descriptor that tells of it.
 */
struct igb_job {
	void *to;
	const void *from;
	const uint8_t *tail; /* what follows, in memory of another driver */
	uint32_t size, tail_size;
	uint8_t kind;
	bool low;		 /* @lo is stored, too */
	uint8_t span, desc_span; /* of @to, of @desc */
	uint64_t *desc;		 /* in a ring; NULL: there is none */
	uint64_t lo, hi;	 /* its halves, the second last and in one piece */
};
enum {
	IGB_JOB_READ,  /* from the driver's memory */
	IGB_JOB_WRITE, /* to it; also a descriptor only */
	IGB_JOB_DONE,  /* @hi to each descriptor from @desc on that has a bit in @lo */
};

struct igb_fn {
	struct igb_card *card;
	struct pcif *f;
	struct pcif_regs *regs;
	unsigned port; /* number of the VF, or IGB_PF_PORT */
	bool vf, plugged;
	unsigned n_queues, n_vectors, refs; /* refs: under igb_card.ports_lock */
	_Atomic bool shared;		    /* clients can store by mmap */
	_Atomic bool slow;
	struct iommu_span spans[IGB_SPANS]; /* memory that this batch has touched */
	unsigned n_spans, n_jobs;
	struct igb_tally received;
	struct igb_job jobs[IGB_JOBS];
	bool in_worker; /* hooks need wake nobody */
	bool may_wait;	/* the thread that has the lock may wait for memory */
	bool tails;	/* the spans there are have to stay */
	bool tx_on[IGB_QUEUES], rx_on[IGB_QUEUES];
	unsigned tx_turn;
	uint32_t tx_pending; /* queues that have something to do, a bit each */
	struct igb_txq tx[IGB_QUEUES];
	struct igb_rxq rx[IGB_QUEUES];
	struct igb_worker worker; /* of a slow one */
	struct igb_backlog backlog;
	/* interrupts */
	uint32_t icr, ims, iam, eicr, eims;
	uint32_t icr_new, eicr_new; /* what no message has told of */
	uint64_t next_irq[25];	    /* EITR: not before, ns */
	uint64_t irq_at;	    /* one waits until then; 0: none */
	bool pin;		    /* is up */
	uint32_t io_addr;
	/* a VF's */
	uint64_t next_send; /* when the next frame would be due at its rate, ns */
	struct igb_policy policy;
	uint32_t v2p;
	_Atomic uint32_t vf_stats[IGB_VF_STATS];
	_Atomic uint64_t spoofed, muted; /* frames that it was not allowed to send */
	_Atomic uint64_t missed;	 /* frames for it that found no receive buffer */
	_Atomic uint64_t discarded;	 /* packets that no frame could be made of */
};

struct igb_card {
	struct igb_fn *pf;
	unsigned n_vfs;
	enum igb_mmio mmio;
	bool manual; /* no threads: tests and fuzzing */
	uint8_t mac[6];
	struct igb_policy vf_policies[IGB_VFS]; /* as the options say */
	uint16_t nvm[IGB_NVM_WORDS];
	uint16_t phy[32];
	uint16_t phy_page;
	bool link;
	uint64_t clock_base, clock_since; /* SYSTIM, as it was at that time */
	uint32_t clock_inca;
	/* Frames for the world outside; NULL: there is none. Set before the card is used. */
	void (*uplink_send)(void *arg, const uint8_t *data, uint32_t len);
	void *uplink_arg;
	pthread_mutex_t ports_lock;
	pthread_cond_t ports_cond;
	struct igb_fn *ports[IGB_PORTS];
	pthread_rwlock_t sw;
	struct igb_filter filters[IGB_PORTS];
	_Atomic uint32_t stats[IGB_STATS];
	_Atomic uint64_t octets[IGB_STATS]; /* those of 64 bits, by the place of the low half */
	_Atomic uint64_t spoofed, muted;    /* the same of all VFs, those that are gone too */
	_Atomic uint64_t missed, discarded;
	struct igb_worker worker;
	struct netup *uplink; /* NULL: none */
	struct netpcap *pcap; /* records what the switch carries; NULL: nothing does */
};

static inline uint32_t igb_get(struct igb_fn *fn, unsigned reg, unsigned index)
{
	return pcif_regs_get(fn->regs, reg, index);
}
static inline void igb_set(struct igb_fn *fn, unsigned reg, unsigned index, uint32_t value)
{
	pcif_regs_set(fn->regs, reg, index, value);
}

struct igb_desc;

static inline bool igb_same_mac(const uint8_t *a, const uint8_t *b)
{
	uint32_t a4, b4;
	uint16_t a2, b2;

	memcpy(&a4, a, 4);
	memcpy(&b4, b, 4);
	memcpy(&a2, a + 4, 2);
	memcpy(&b2, b + 4, 2);
	return a4 == b4 && a2 == b2;
}

/* ------------------------------------------------------------------ igb.c */

int igb_create(struct pcif *f, const struct pcif_params *params, struct pcif_desc *desc,
	       bool manual, struct igb_card **card, struct pcif_reply_error *err);
/* Ends what a driver set up, under the lock; @soft: CTRL.RST of the PF, which the PHY outlives. */
void igb_fn_reset(struct igb_fn *fn, bool soft);
struct igb_fn *igb_port_get(struct igb_card *card, unsigned port); /* NULL: nobody is there */
void igb_port_put(struct igb_fn *fn);
/* The same of all; places where nobody is are NULL. */
void igb_ports_get(struct igb_card *card, struct igb_fn *fns[IGB_PORTS]);
void igb_ports_put(struct igb_card *card, struct igb_fn *fns[IGB_PORTS]);

/* ------------------------------------------------------------------ options.c */

extern const struct pcif_option igb_options[];
int igb_options_parse(struct igb_card *card, struct pcif *f, const struct pcif_params *params,
		      struct pcif_reply_error *err);

/* ------------------------------------------------------------------ phy.c */

void igb_nvm_init(struct igb_card *card);
void igb_phy_reset(struct igb_card *card);
bool igb_phy_loopback(const struct igb_card *card);
void igb_link_update(struct igb_fn *pf); /* under its lock */
/* Hooks. */
void igb_write_eecd(void *state, unsigned index, uint32_t value);
void igb_write_eerd(void *state, unsigned index, uint32_t value);
void igb_write_mdic(void *state, unsigned index, uint32_t value);

/* ------------------------------------------------------------------ clock.c */

void igb_clock_reset(struct igb_card *card);
uint32_t igb_read_systiml(void *state, unsigned index);
void igb_write_systim(void *state, unsigned index, uint32_t value);
void igb_write_timinca(void *state, unsigned index, uint32_t value);

/* ------------------------------------------------------------------ irq.c; under the lock */

void igb_irq_reset(struct igb_fn *fn);
void igb_irq_rx(struct igb_fn *fn, unsigned queue);
void igb_irq_tx(struct igb_fn *fn, unsigned queue);
void igb_irq_cause(struct igb_fn *fn, uint32_t icr); /* PF: a bit of ICR; VF: the mailbox */
void igb_irq_update(struct igb_fn *fn);		     /* after causes: sends what is due */
void igb_write_eics(void *state, unsigned index, uint32_t value);
void igb_write_eims(void *state, unsigned index, uint32_t value);
void igb_write_eimc(void *state, unsigned index, uint32_t value);
void igb_write_eicr(void *state, unsigned index, uint32_t value);
void igb_write_icr(void *state, unsigned index, uint32_t value);
void igb_write_ics(void *state, unsigned index, uint32_t value);
void igb_write_ims(void *state, unsigned index, uint32_t value);
void igb_write_imc(void *state, unsigned index, uint32_t value);
void igb_write_iam(void *state, unsigned index, uint32_t value);
uint32_t igb_read_eicr(void *state, unsigned index);
uint32_t igb_read_eims(void *state, unsigned index);
uint32_t igb_read_icr(void *state, unsigned index);
uint32_t igb_read_ims(void *state, unsigned index);
uint32_t igb_read_iam(void *state, unsigned index);

/* ------------------------------------------------------------------ queue.c, tx.c, rx.c; under
 * the lock */

/* 0; -EFAULT; -EAGAIN: the memory may make us wait, and @fn is slow from now on. */
int igb_dma_read(struct igb_fn *fn, uint64_t iova, void *buf, size_t size);
int igb_dma_write(struct igb_fn *fn, uint64_t iova, const void *buf, size_t size);
/* dma.h has the same at the latest in igb_dma_done(), before which buffers have to stay as they
 * are. Where that is not possible: at once. What cannot be read then is zeros. */
void igb_dma_flush(struct igb_fn *fn); /* jobs.c */
/* The halves of a descriptor, after what was written before; the one that the driver looks at last
 * and in one piece. */
int igb_dma_store_now(struct igb_fn *fn, const struct igb_desc *d);
void igb_dma_done(struct igb_fn *fn); /* before the lock is given back */
void igb_queue_reset(struct igb_fn *fn, unsigned queue);
uint64_t igb_ring(struct igb_fn *fn, unsigned low, unsigned queue, uint32_t *entries);
void igb_set_queue_reg(struct igb_fn *fn, unsigned reg, unsigned queue, uint32_t value);
void igb_set_head(struct igb_fn *fn, unsigned reg, unsigned queue, uint32_t value);
bool igb_scan_tails(struct igb_fn *fn);
/* Frames of @fn's transmit queues into @b, until there are no more or it is full (true). */
bool igb_tx(struct igb_fn *fn, struct igb_batch *b);
/* Gives back the descriptors of the batch. */
void igb_tx_done(struct igb_fn *fn, struct igb_batch *b);
/* One frame into a receive queue. 0: taken, or dropped and counted; -EAGAIN: as above; -ENOBUFS:
 * one of the uplink, which can wait until there are buffers. */
int igb_rx(struct igb_fn *fn, struct igb_frame *frame, unsigned source);
void igb_rx_done(struct igb_fn *fn);			/* after a batch: shows heads */
void igb_rx_changed(struct igb_fn *fn, unsigned queue); /* registers of the queue */

/* ------------------------------------------------------------------ offload.c */

struct igb_headers {	 /* where the layers of a frame are */
	uint16_t l3, l4; /* 0: there is none */
	uint16_t type;	 /* IGB_RXD_TYPE_ */
	uint8_t protocol;
	bool fragment;
};
void igb_parse(const uint8_t *data, uint32_t len, struct igb_headers *h);
uint32_t igb_sum(const uint8_t *data, uint32_t len, uint32_t sum); /* ones' complement, 32 bits */
uint16_t igb_sum_fold(uint32_t sum);
uint32_t igb_pseudo_sum(const uint8_t *data, const struct igb_headers *h, uint32_t l4_len);
uint32_t igb_rss_hash(struct igb_fn *fn, const uint8_t *data, uint32_t len,
		      const struct igb_headers *h, unsigned *type);
/* Of the Ethernet FCS, and of SCTP. */
uint32_t igb_crc32(const uint8_t *data, uint32_t len);
uint32_t igb_crc32c(const uint8_t *data, uint32_t len);

/* ------------------------------------------------------------------ switch.c */

void igb_filter_update(struct igb_fn *fn); /* under its lock: from its registers or policy */
void igb_switch(struct igb_card *card, unsigned source, struct igb_frame *frames, unsigned n,
		struct igb_fn *self);
/* A frame from the uplink. Any thread. */
void igb_uplink_receive(struct igb_card *card, const uint8_t *data, uint32_t len);

/* ------------------------------------------------------------------ backlog.c */

void igb_backlog_put(struct igb_fn *fn, struct igb_frame *frame, unsigned source);
bool igb_backlog_run(struct igb_fn *fn);
void igb_backlog_clear(struct igb_fn *fn);
bool igb_backlogs_ready(struct igb_card *card);
/* Copies the tail, so that all of @frame is in one piece and stays as it is. */
void igb_frame_whole(struct igb_frame *frame);

/* ------------------------------------------------------------------ uplink.c */

int igb_uplink_new(struct igb_card *card, const struct pcif_params *params,
		   struct pcif_reply_error *err);
void igb_uplink_start(struct igb_card *card); /* once the PF has its registers */
void igb_uplink_stop(struct igb_card *card);  /* nothing comes in any more */
void igb_uplink_free(struct igb_card *card);
/* What the switch has worked out: records frames, and sends those that are for the uplink. */
void igb_uplink_send(struct igb_card *card, struct igb_frame *frames, unsigned n);

/* ------------------------------------------------------------------ mailbox.c; under the lock */

void igb_policy_reset(struct igb_fn *vf);
void igb_policy_filter(struct igb_fn *vf, struct igb_filter *filter);
/* @tag: what is put in; -1: nothing is. */
bool igb_policy_allows(struct igb_fn *vf, const uint8_t *data, uint32_t len, int tag);
/* When the VF may send on; 0: now. What it sent is paid for. */
uint64_t igb_policy_wait(const struct igb_fn *vf, uint64_t now);
void igb_policy_pay(struct igb_fn *vf, uint64_t now, const struct igb_batch *b);
void igb_write_v2p(void *state, unsigned index, uint32_t value);
uint32_t igb_read_v2p(void *state, unsigned index);

/* ------------------------------------------------------------------ stats.c */

void igb_count(struct igb_card *card, unsigned offset, uint32_t n); /* the register at @offset */
void igb_count_missed(struct igb_fn *fn); /* a frame that @fn had no buffers for */
void igb_count_rx(struct igb_fn *fn, struct igb_tally *t, const uint8_t *data, uint32_t len,
		  bool local);
void igb_count_tx(struct igb_fn *fn, struct igb_tally *t, const uint8_t *data, uint32_t len,
		  bool local);
/* A VF's frames are gathered first: these are what a batch received, or sent. */
void igb_tally_rx(struct igb_fn *fn, struct igb_tally *t);
void igb_tally_tx(struct igb_fn *fn, struct igb_tally *t);
void igb_stats_reset(struct igb_fn *fn);
void igb_stats_publish(struct igb_fn *fn);
uint32_t igb_read_stats(void *state, unsigned index);
uint32_t igb_read_vf_stats(void *state, unsigned index);

/* ------------------------------------------------------------------ hooks of queue.c, switch.c */

void igb_write_queue(void *state, unsigned index, uint32_t value);
void igb_write_alias(void *state, unsigned index, uint32_t value);
void igb_write_filter(void *state, unsigned index, uint32_t value);

/* ------------------------------------------------------------------ worker.c */

int igb_worker_init(struct igb_worker *w, struct igb_card *card, struct igb_fn *fn);
int igb_worker_start(struct igb_worker *w);
void igb_worker_stop(struct igb_worker *w);
void igb_worker_fini(struct igb_worker *w);
void igb_kick(struct igb_fn *fn); /* whoever serves it */
bool igb_step(struct igb_worker *w, bool scan, uint64_t *resume_ns);
void igb_make_slow(struct igb_fn *fn);

#endif
