/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reception: a frame goes into the buffers of a queue's descriptors.
 *
 * A frame is taken whole or not at all: where there are too few descriptors it is dropped and
 * counted, or waits if it came by the uplink. One whose buffers cannot be written is dropped too,
 * and its descriptors are given back with an error, so that the queue goes on.
 *
 * Source: 82576 datasheet, 7.1.
 */
#include <errno.h>

#include "device/igb/dma.h"

#define STAT_RNBC 0x40a0
#define RXE BIT(31)
#define ETH_VLAN 0x8100
#define LEGACY_RXE BIT(7)

#define MAX_PARTS 48 /* buffers of the longest frame, of the smallest size */

struct part {
	struct igb_rx_desc desc;
	uint32_t size;
};

struct rx {
	struct igb_fn *fn;
	struct igb_rxq *q;
	struct igb_frame *frame;
	unsigned queue, source;
	const uint8_t *data; /* as it is written: without its tag if that is stripped */
	uint32_t len;
	uint8_t copy[IGB_FRAME_MAX + 8];
	struct igb_headers h;
	uint32_t status, hash;
	uint32_t header; /* bytes of it that go into a header buffer */
	uint16_t vlan;
	unsigned rss_type;
};

/* ------------------------------------------------------------------ which queue, what status */

static unsigned choose_queue(struct rx *r)
{
	struct igb_fn *fn = r->fn;
	uint32_t mrqc = fn->vf ? 0 : igb_get(fn, IGB_R_MRQC, 0);

	if (fn->vf)
		return 0;
	switch (IGB_MRQC_MODE(mrqc)) {
	case IGB_MRQC_RSS:
		r->hash = igb_rss_hash(fn, r->data, r->len, &r->h, &r->rss_type);
		if (!r->rss_type)
			return 0;
		return igb_get(fn, IGB_R_RETA, (r->hash & 0x7f) / 4) >> 8 * (r->hash & 3) & 15;
	case IGB_MRQC_VMDQ:
	case IGB_MRQC_VMDQ_RSS:
		return IGB_VT_CTL_DEFAULT_POOL(igb_get(fn, IGB_R_VT_CTL, 0));
	default:
		return IGB_MRQC_DEFAULT_QUEUE(mrqc);
	}
}

static uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

/* Length of layer 4 by the IP header, if the frame has that much; else 0. */
static uint32_t l4_length(const struct rx *r)
{
	const uint8_t *ip = r->data + r->h.l3;
	uint32_t total = r->h.type & IGB_RXD_TYPE_IP6 ? 40u + get16(ip + 4) : get16(ip + 2);
	uint32_t end = r->h.l3 + total;

	return end <= r->len && end > r->h.l4 ? end - r->h.l4 : 0;
}

static void check_l4(struct rx *r, uint32_t *errors)
{
	uint32_t size = l4_length(r);
	const uint8_t *l4 = r->data + r->h.l4;

	if (!r->h.l4 || !size || !(r->h.type & (IGB_RXD_TYPE_TCP | IGB_RXD_TYPE_UDP)))
		return;
	if (r->h.type & IGB_RXD_TYPE_UDP && (size < 8 || !get16(l4 + 6)))
		return; /* there is none */
	igb_frame_whole(r->frame);
	r->status |= IGB_RXD_L4CS;
	if (r->h.type & IGB_RXD_TYPE_UDP)
		r->status |= IGB_RXD_UDPCS;
	if (igb_sum_fold(igb_sum(l4, size, igb_pseudo_sum(r->data, &r->h, size))) != 0xffff)
		*errors |= IGB_RXD_L4E;
}

static void check_sums(struct rx *r)
{
	uint32_t rxcsum =
		r->fn->vf ? IGB_RXCSUM_IPOFL | IGB_RXCSUM_TUOFL : igb_get(r->fn, IGB_R_RXCSUM, 0);
	uint32_t errors = 0;

	if (rxcsum & IGB_RXCSUM_IPOFL && r->h.type & IGB_RXD_TYPE_IP4) {
		r->status |= IGB_RXD_IPCS;
		if (igb_sum_fold(igb_sum(r->data + r->h.l3, (r->data[r->h.l3] & 15) * 4u, 0)) !=
		    0xffff)
			errors |= IGB_RXD_IPE;
	}
	if (rxcsum & IGB_RXCSUM_TUOFL)
		check_l4(r, &errors);
	r->status |= errors;
}

/* The frame as it goes to memory: the tag taken off, the FCS put on, where that is wanted. */
static void shape(struct rx *r, struct igb_frame *frame)
{
	struct igb_fn *fn = r->fn;
	bool tagged = frame->len >= 18 && get16(frame->data + 12) == ETH_VLAN;
	bool strip = fn->vf || igb_get(fn, IGB_R_CTRL, 0) & IGB_CTRL_VME;
	bool fcs = !fn->vf && !(igb_get(fn, IGB_R_RCTL, 0) & IGB_RCTL_SECRC);
	uint32_t crc;

	r->frame = frame;
	if ((tagged && strip) || fcs)
		igb_frame_whole(frame);
	r->data = frame->data;
	r->len = frame->len;
	if (tagged && strip) {
		memcpy(r->copy, frame->data, 12);
		memcpy(r->copy + 12, frame->data + 16, frame->len - 16);
		r->data = r->copy;
		r->len -= 4;
		if (!fn->vf || !fn->policy.vlan) {
			r->vlan = get16(frame->data + 14);
			r->status |= IGB_RXD_VP;
		}
	}
	if (fcs) {
		crc = htole32(igb_crc32(frame->data, frame->len));
		if (r->data != r->copy)
			memcpy(r->copy, r->data, r->len);
		memcpy(r->copy + r->len, &crc, 4);
		r->data = r->copy;
		r->len += 4;
	}
}

/* ------------------------------------------------------------------ descriptors */

/* What the registers of the queue say, so that not each frame has to ask them. */
void igb_rx_changed(struct igb_fn *fn, unsigned queue)
{
	static const uint16_t legacy[] = { 2048, 1024, 512, 256 };
	struct igb_rxq *q = &fn->rx[queue];
	uint32_t srrctl = igb_get(fn, IGB_R_SRRCTL, queue);

	q->ring = igb_ring(fn, IGB_R_RDBAL, queue, &q->entries);
	q->tail = igb_get(fn, IGB_R_RDT, queue);
	q->desctype = IGB_SRRCTL_DESCTYPE(srrctl);
	q->buffer = IGB_SRRCTL_BSIZEPACKET(srrctl);
	q->header = IGB_SRRCTL_BSIZEHEADER(srrctl);
	if (!q->buffer)
		q->buffer = fn->vf ? 2048 : legacy[IGB_RCTL_BSIZE(igb_get(fn, IGB_R_RCTL, 0))];
}

/* Of what a split descriptor puts into its header buffer. */
static uint32_t header_size(const struct rx *r)
{
	uint32_t size = 0;

	if (r->q->desctype != IGB_DESC_SPLIT && r->q->desctype != IGB_DESC_SPLIT_ALWAYS)
		return 0;
	if (r->h.l4 && r->h.type & IGB_RXD_TYPE_UDP && r->h.l4 + 8u <= r->len)
		size = r->h.l4 + 8u;
	else if (r->h.l4 && r->h.type & IGB_RXD_TYPE_TCP && r->h.l4 + 20u <= r->len)
		size = r->h.l4 + (r->data[r->h.l4 + 12] >> 4) * 4u;
	if (size > r->q->header || size > r->len)
		size = 0;
	if (!size && r->q->desctype == IGB_DESC_SPLIT_ALWAYS)
		size = MIN(r->q->header, r->len);
	return size;
}

static uint32_t available(const struct igb_rxq *q)
{
	return q->tail >= q->head ? q->tail - q->head : q->entries - q->head + q->tail;
}

static uint32_t next(const struct igb_rxq *q, uint32_t at)
{
	return at + 1 < q->entries ? at + 1 : 0;
}

/* The next ones, which their driver has stored long ago, and the buffers of those. */
static int refill(struct igb_fn *fn, struct igb_rxq *q, uint32_t at)
{
	uint32_t n = (q->tail > at ? q->tail : q->entries) - at;
	int ret;

	n = MIN(n, ARRAY_SIZE(q->cache));
	ret = igb_dma_read(fn, q->ring + 16ull * at, q->cache, n * sizeof(q->cache[0]));
	if (ret)
		return ret;
	q->first = 0;
	q->n = n;
	for (uint32_t i = 0; i < n; i++)
		igb_dma_prefetch(fn, le64_get(q->cache[i].lo), true);
	return 0;
}

/* What the next batch will want, while there is something else to do. */
static void look_ahead(struct igb_fn *fn, struct igb_rxq *q)
{
	uint32_t at = q->head;

	if (q->n || fn->may_wait || !available(q) || refill(fn, q, q->head))
		return;
	at = q->head + q->n;
	for (uint32_t i = 0; i < ARRAY_SIZE(q->cache) && at + i < q->entries; i += 4)
		igb_dma_prefetch(fn, q->ring + 16ull * (at + i), true);
}

static int fetch(struct rx *r, uint32_t at, struct igb_rx_desc *d)
{
	struct igb_rxq *q = r->q;
	int ret = q->n ? 0 : refill(r->fn, q, at);

	if (ret)
		return ret;
	*d = q->cache[q->first++];
	q->n--;
	return 0;
}

/* What is written back to descriptor @at. */
static struct igb_desc result(const struct rx *r, uint32_t at, uint32_t len, uint32_t header,
			      uint32_t status)
{
	struct igb_desc d = { .iova = r->q->ring + 16ull * at };
	uint32_t errors;

	if (r->q->desctype == IGB_DESC_LEGACY) {
		errors = (status & IGB_RXD_L4E ? IGB_RXD_LEGACY_L4E : 0) |
			 (status & IGB_RXD_IPE ? IGB_RXD_LEGACY_IPE : 0) |
			 (status & RXE ? LEGACY_RXE : 0);
		d.hi = len | (uint64_t)(status & 0xff) << 32 | (uint64_t)errors << 40 |
		       (uint64_t)r->vlan << 48;
		return d;
	}
	d.low = true;
	d.lo = r->rss_type | r->h.type | (uint64_t)header << 16 << 5 | (uint64_t)r->hash << 32;
	if (header)
		d.lo |= (uint64_t)IGB_RXD_SPH << 16;
	d.hi = status | (uint64_t)len << 32 | (uint64_t)r->vlan << 48;
	return d;
}

static void write_back(struct rx *r, uint32_t at, uint32_t len, uint32_t header, uint32_t status)
{
	struct igb_desc d = result(r, at, len, header, status);

	(void)igb_dma_store(r->fn, &d);
}

/* A frame of the batch stays; a copy of ours does not. */
static int put(struct rx *r, uint64_t iova, const uint8_t *data, uint32_t size)
{
	return r->data == r->copy ? igb_dma_write(r->fn, iova, data, size)
				  : igb_dma_write_later(r->fn, iova, data, size);
}

/* The part of the frame from @at on into one descriptor's buffers; *@taken of it. */
static int fill(struct rx *r, const struct igb_rx_desc *d, uint32_t at, uint32_t header,
		uint32_t *taken)
{
	uint32_t size = MIN(r->len - at - header, r->q->buffer);
	uint64_t lo = le64_get(d->lo), hi = le64_get(d->hi);
	int ret = 0;

	if (header)
		ret = put(r, hi & ~1ull, r->data + at, header);
	if (!ret && size)
		ret = put(r, lo, r->data + at + header, size);
	*taken = header + size;
	return ret;
}

/* Puts the frame into buffers; *@n descriptors were used. -EAGAIN: nothing has happened yet. */
static int fill_all(struct rx *r, struct part *parts, unsigned *n, uint32_t header)
{
	uint32_t at = 0, head = r->q->head;
	int bad = 0;

	for (*n = 0; at < r->len && *n < MAX_PARTS; head = next(r->q, head)) {
		struct part *p = &parts[(*n)++];
		int ret = fetch(r, head, &p->desc);

		if (!ret)
			ret = fill(r, &p->desc, at, at ? 0 : header, &p->size);
		if (ret == -EAGAIN)
			return ret;
		if (ret) {
			bad = ret;
			break;
		}
		at += p->size;
	}
	return bad;
}

/* A frame that one buffer holds, as nearly all are. */
static int store_one(struct rx *r)
{
	uint32_t at = r->q->head, done = IGB_RXD_DD | IGB_RXD_EOP;
	struct igb_rx_desc d;
	struct igb_desc back;
	int ret = fetch(r, at, &d);

	if (!ret) {
		back = result(r, at, r->len, 0, done | r->status);
		ret = r->data == r->copy ? -EOPNOTSUPP
					 : igb_dma_frame(r->fn, le64_get(d.lo), r->frame, &back);
	}
	if (ret == -EOPNOTSUPP) {
		igb_frame_whole(r->frame);
		ret = put(r, le64_get(d.lo), r->data, r->len);
		if (!ret)
			(void)igb_dma_store(r->fn, &back);
	}
	if (ret == -EAGAIN) {
		r->q->n = 0;
		return ret;
	}
	if (ret)
		write_back(r, at, 0, 0, done | RXE);
	r->q->head = next(r->q, at);
	return ret;
}

/* Writes the frame; the last descriptor's status goes out with what was found of the frame. */
static int store(struct rx *r)
{
	struct part parts[MAX_PARTS];
	uint32_t status, first;
	unsigned n;
	int ret;

	igb_frame_whole(r->frame);
	ret = fill_all(r, parts, &n, r->header);
	if (ret == -EAGAIN) {
		r->q->n = 0;
		return ret;
	}
	for (unsigned i = 0; i < n; i++) {
		first = i ? 0 : r->header;
		status = IGB_RXD_DD;
		if (i == n - 1)
			status |= IGB_RXD_EOP | (ret ? RXE : r->status);
		if (ret)
			write_back(r, r->q->head, 0, 0, status);
		else
			write_back(r, r->q->head, parts[i].size - first, first, status);
		r->q->head = next(r->q, r->q->head);
	}
	return ret;
}

static void no_room(struct rx *r)
{
	igb_count_missed(r->fn);
	if (r->fn->vf)
		return;
	igb_irq_cause(r->fn, IGB_ICR_RXMISS);
	igb_count(r->fn->card, STAT_RNBC, 1);
	igb_set_queue_reg(r->fn, IGB_R_RQDPC, r->queue,
			  (igb_get(r->fn, IGB_R_RQDPC, r->queue) + 1) & 0xfff);
}

/* 0; -ENOBUFS: not yet; -EINVAL: the ring makes no sense, or never has room for that much. */
static int ring_ready(struct rx *r)
{
	struct igb_rxq *q = r->q;
	uint32_t rest = r->len - r->header, needed = 1;

	if (q->head >= q->entries || q->tail >= q->entries)
		return -EINVAL;
	if (rest > q->buffer)
		needed = (rest + q->buffer - 1) / q->buffer;
	if (available(q) >= needed)
		return 0;
	/* By mmap the driver may have given more; the hook takes it in. */
	if (r->fn->shared) {
		pcif_regs_scan_array(r->fn->regs, IGB_R_RDT, 0, r->fn->n_queues);
		if (!r->fn->vf)
			pcif_regs_scan_array(r->fn->regs, IGB_R_ALIAS + IGB_R_RDT - IGB_R_RDBAL, 0,
					     4);
	}
	if (q->tail >= q->entries || needed >= q->entries)
		return -EINVAL;
	return available(q) >= needed ? 0 : -ENOBUFS;
}

/* Headers that go on in the tail are rare: those of IPv6. */
static void parse(struct rx *r)
{
	igb_parse(r->data, r->frame->tail ? IGB_HEAD : r->len, &r->h);
	if (!r->frame->tail || !(r->h.type & IGB_RXD_TYPE_IP6E))
		return;
	igb_frame_whole(r->frame);
	igb_parse(r->data, r->len, &r->h);
}

/* ------------------------------------------------------------------ the short way */

/* IP header without options, and what else the frame is; false: look closer. */
static bool plain_status(const uint8_t *data, uint32_t len, struct igb_headers *h, uint32_t *status)
{
	uint32_t words[5];
	uint64_t sum = 0;

	igb_parse(data, MIN(len, IGB_HEAD), h);
	if (!(h->type & IGB_RXD_TYPE_IP4))
		return !h->type;
	if (data[h->l3] != 0x45 || h->type & IGB_RXD_TYPE_TCP)
		return false;
	/* A checksum would have to be looked at. */
	if (h->type & IGB_RXD_TYPE_UDP && (h->l4 + 8u > len || get16(data + h->l4 + 6)))
		return false;
	/* The order of bytes makes no difference to what is all ones. */
	memcpy(words, data + h->l3, sizeof(words));
	for (unsigned i = 0; i < ARRAY_SIZE(words); i++)
		sum += words[i];
	sum = (sum >> 32) + (uint32_t)sum;
	sum = (sum >> 16) + (sum & 0xffff);
	sum = (sum >> 16) + (sum & 0xffff);
	sum = (sum >> 16) + (sum & 0xffff);
	if (sum != 0xffff)
		return false;
	*status |= IGB_RXD_IPCS;
	return true;
}

/* A frame for a VF that goes into one buffer as it is, with nothing to be said of it but what it
 * is. False: nothing has happened, it goes the long way. */
static bool rx_plain(struct igb_fn *fn, struct igb_frame *f, unsigned source)
{
	struct igb_rxq *q = &fn->rx[0];
	struct igb_headers h;
	uint32_t status = IGB_RXD_DD | IGB_RXD_EOP | (source == IGB_UPLINK ? 0 : IGB_RXD_LB);
	struct igb_desc back;
	int ret;

	if (!fn->vf || !fn->rx_on[0] || q->desctype != IGB_DESC_ONE_BUFFER || fn->may_wait)
		return false;
	if (f->len > q->buffer || get16(f->data + 12) == ETH_VLAN || q->head >= q->entries ||
	    q->tail >= q->entries || !available(q))
		return false;
	if (!plain_status(f->data, f->len, &h, &status))
		return false;
	ret = q->n ? 0 : refill(fn, q, q->head);
	if (ret == -EAGAIN)
		return false;
	back.iova = q->ring + 16ull * q->head;
	back.lo = h.type;
	back.hi = status | (uint64_t)f->len << 32;
	back.low = true;
	if (!ret)
		ret = igb_dma_frame(fn, le64_get(q->cache[q->first].lo), f, &back);
	if (ret == -EOPNOTSUPP)
		return false;
	if (ret) {
		back.hi = IGB_RXD_DD | IGB_RXD_EOP | RXE;
		(void)igb_dma_store(fn, &back);
	} else {
		igb_count_rx(fn, &fn->received, f->data, f->len, source != IGB_UPLINK);
	}
	if (q->n) {
		q->first++;
		q->n--;
	}
	q->head = next(q, q->head);
	q->used = true;
	return true;
}

int igb_rx(struct igb_fn *fn, struct igb_frame *frame, unsigned source)
{
	struct rx r;
	int ret;

	if (rx_plain(fn, frame, source))
		return 0;
	r.fn = fn;
	r.source = source;
	r.status = source == IGB_UPLINK ? 0 : IGB_RXD_LB;
	r.hash = 0;
	r.vlan = 0;
	r.rss_type = 0;
	shape(&r, frame);
	parse(&r);
	r.queue = choose_queue(&r);
	r.q = &fn->rx[r.queue];
	if (!fn->rx_on[r.queue] || (!fn->vf && !(igb_get(fn, IGB_R_RCTL, 0) & IGB_RCTL_EN))) {
		if (fn->vf)
			igb_count_missed(fn);
		return 0;
	}
	check_sums(&r);
	r.header = header_size(&r);
	ret = ring_ready(&r);
	if (ret == -ENOBUFS && source == IGB_UPLINK)
		return ret;
	if (ret) {
		no_room(&r);
		return 0;
	}
	ret = r.header || r.len > r.q->buffer ? store(&r) : store_one(&r);
	if (ret == -EAGAIN)
		return ret;
	r.q->used = true;
	if (!ret)
		igb_count_rx(fn, &fn->received, frame->data, frame->len, source != IGB_UPLINK);
	return 0;
}

void igb_rx_done(struct igb_fn *fn)
{
	igb_tally_rx(fn, &fn->received);
	for (unsigned i = 0; i < fn->n_queues; i++) {
		struct igb_rxq *q = &fn->rx[i];

		if (!q->used)
			continue;
		q->used = false;
		igb_set_head(fn, IGB_R_RDH, i, q->head);
		look_ahead(fn, q);
		igb_irq_rx(fn, i);
	}
}
