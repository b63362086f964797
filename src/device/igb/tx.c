/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Transmission: descriptors become frames.
 *
 * A packet of one descriptor is read straight into the batch. One of several is put together in a
 * buffer of the queue, and so may wait half way for the driver's next tail. What cannot be sent
 * (memory that is not there, too long, a context that makes no sense) is dropped at its end of
 * packet and counted; its descriptors are given back as those of any other, so the queue goes on.
 *
 * What a packet asks for (checksums, tag, segmentation) is said by its first descriptor.
 *
 * Source: 82576 datasheet, 7.2.
 */
#include <errno.h>

#include "device/igb/dma.h"

#define MIN_FRAME 60u /* without FCS; shorter ones are padded */
#define HEADER_MIN 14u
#define STAT_TSCTC 0x40f8
#define STAT_TSCTFC 0x40fc
#define STAT_DROPPED 0x403c /* HTDPMC */

struct tx {
	struct igb_fn *fn;
	struct igb_batch *b;
	struct igb_txq *q;
	unsigned queue;
	bool own;	    /* loopback */
	bool tags;	    /* are inserted where a descriptor asks for it */
	bool shows_head;    /* in memory, in place of descriptors that are done */
	uint64_t head_iova; /* there */
};

struct ahead {	       /* a buffer that was read before its descriptor's turn */
	uint8_t *data; /* NULL: it was not */
	uint8_t *tail; /* what is behind the head, left in its place; NULL: nothing is */
	int ret;
};

static inline bool room(const struct igb_batch *b, uint32_t len)
{
	return b->n < b->limit && b->used + len <= IGB_ARENA;
}

/* A place for a frame, with room for a tag and for padding. */
static inline uint8_t *new_frame(struct igb_batch *b, uint32_t len)
{
	uint8_t *data = b->arena + b->used;

	b->used += (uint32_t)ALIGN_UP(len + 4, 64);
	return data;
}

static void dropped(struct tx *t)
{
	if (t->fn->vf) {
		atomic_fetch_add(&t->fn->discarded, 1);
		atomic_fetch_add(&t->fn->card->discarded, 1);
	} else {
		igb_count(t->fn->card, STAT_DROPPED, 1);
	}
}

static const struct igb_tx_context *context(const struct tx *t)
{
	return &t->q->context[IGB_TXD_IDX(t->q->olinfo) & 1];
}

/* ------------------------------------------------------------------ frames */

static void insert_tag(uint8_t *data, uint32_t *len, uint16_t tag)
{
	memmove(data + 16, data + 12, *len - 12);
	data[12] = 0x81;
	data[13] = 0x00;
	data[14] = (uint8_t)(tag >> 8);
	data[15] = (uint8_t)tag;
	*len += 4;
}

/* What the driver wants put in; -1: nothing. */
static int tag_of(const struct tx *t)
{
	uint32_t cmd = t->q->cmd;

	if (!(cmd & IGB_TXD_VLE) || !t->tags)
		return -1;
	return (int)(cmd & IGB_TXD_DEXT ? IGB_CTXT_VLAN(le32_get(context(t)->lens))
					: IGB_TXD_LEGACY_VLAN(t->q->olinfo));
}

/* The frame is complete. */
static void emit(struct tx *t, uint8_t *data, uint8_t *tail, uint32_t len)
{
	struct igb_fn *fn = t->fn;
	struct igb_batch *b = t->b;
	int tag = tag_of(t);

	if (fn->vf && !igb_policy_allows(fn, data, len, tag))
		return;
	if (fn->vf && fn->policy.vlan)
		tag = fn->policy.vlan;
	if (tag >= 0)
		insert_tag(data, &len, (uint16_t)tag);
	if (len < MIN_FRAME) {
		memset(data + len, 0, MIN_FRAME - len);
		len = MIN_FRAME;
	}
	b->frames[b->n++] = (struct igb_frame){
		.data = data,
		.tail = tail,
		.len = len,
		.own = t->own,
	};
}

static void put16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static void ip_checksum(uint8_t *ip, uint32_t ip_len)
{
	put16(ip + 10, 0);
	put16(ip + 10, (uint16_t)~igb_sum_fold(igb_sum(ip, ip_len, 0)));
}

/* Where the checksum of a layer 4 header is; 0: it has none that we write. */
static unsigned l4_checksum_at(unsigned l4t)
{
	return l4t == IGB_L4T_TCP ? 16 : l4t == IGB_L4T_UDP ? 6 : 0;
}

/* The field holds the sum of the pseudo header: the driver's. */
static void l4_checksum(uint8_t *l4, uint32_t len, unsigned l4t)
{
	unsigned at = l4_checksum_at(l4t);
	uint16_t sum;

	if (!at || len < at + 2)
		return;
	sum = (uint16_t)~igb_sum_fold(igb_sum(l4, len, 0));
	/* Zero would mean "none" in UDP. */
	put16(l4 + at, l4t == IGB_L4T_UDP && !sum ? 0xffff : sum);
}

/* CRC32c of an SCTP packet, whose field counts as zero. */
static void sctp_checksum(uint8_t *l4, uint32_t len)
{
	uint32_t crc;

	if (len < 12)
		return;
	memset(l4 + 8, 0, 4);
	crc = htole32(igb_crc32c(l4, len));
	memcpy(l4 + 8, &crc, 4);
}

static void offload(const struct tx *t, uint8_t *data, uint32_t len)
{
	const struct igb_tx_context *c = context(t);
	uint32_t maclen = IGB_CTXT_MACLEN(le32_get(c->lens));
	uint32_t iplen = IGB_CTXT_IPLEN(le32_get(c->lens));
	uint32_t type = le32_get(c->type), olinfo = t->q->olinfo;

	if (maclen < HEADER_MIN || maclen + iplen > len)
		return;
	if (olinfo & IGB_TXD_IXSM && type & IGB_CTXT_IP4 && iplen >= 20)
		ip_checksum(data + maclen, iplen);
	if (!(olinfo & IGB_TXD_TXSM))
		return;
	if (IGB_CTXT_L4T(type) == IGB_L4T_SCTP)
		sctp_checksum(data + maclen + iplen, len - maclen - iplen);
	else
		l4_checksum(data + maclen + iplen, len - maclen - iplen, IGB_CTXT_L4T(type));
}

/* Legacy: a sum from CSS on, put at CSO. */
static void legacy_checksum(const struct tx *t, uint8_t *data, uint32_t len)
{
	uint32_t start = IGB_TXD_LEGACY_CSS(t->q->olinfo), at = IGB_TXD_LEGACY_CSO(t->q->cmd);

	if (start < len && at + 2 <= len)
		put16(data + at, (uint16_t)~igb_sum_fold(igb_sum(data + start, len - start, 0)));
}

/* ------------------------------------------------------------------ segmentation */

struct tso {
	const uint8_t *packet;
	uint32_t len, header, maclen, iplen, mss;
	bool ip4, tcp;
};

static bool tso_shape(const struct tx *t, const uint8_t *packet, uint32_t len, struct tso *s)
{
	const struct igb_tx_context *c = context(t);
	uint32_t type = le32_get(c->type), l4len = IGB_CTXT_L4LEN(le32_get(c->mss));

	*s = (struct tso){
		.packet = packet,
		.len = len,
		.maclen = IGB_CTXT_MACLEN(le32_get(c->lens)),
		.iplen = IGB_CTXT_IPLEN(le32_get(c->lens)),
		.mss = IGB_CTXT_MSS(le32_get(c->mss)),
		.ip4 = type & IGB_CTXT_IP4,
		.tcp = IGB_CTXT_L4T(type) == IGB_L4T_TCP,
	};
	s->header = s->maclen + s->iplen + l4len;
	return s->mss && s->maclen >= HEADER_MIN && s->iplen >= (s->ip4 ? 20u : 40u) &&
	       l4len >= (s->tcp ? 20u : 8u) && IGB_CTXT_L4T(type) <= IGB_L4T_TCP &&
	       s->header + s->mss <= IGB_FRAME_MAX && s->header < len;
}

/* Header of segment @n, which carries @size bytes from @at of the payload. */
static void tso_header(const struct tso *s, uint8_t *data, unsigned n, uint32_t at, uint32_t size,
		       bool last)
{
	uint8_t *ip = data + s->maclen, *l4 = ip + s->iplen;
	uint32_t l4_size = s->header - s->maclen - s->iplen + size, seq, sum;

	if (s->ip4) {
		put16(ip + 2, (uint16_t)(s->iplen + l4_size));
		put16(ip + 4, (uint16_t)(get16(ip + 4) + n));
		ip_checksum(ip, s->iplen);
	} else {
		put16(ip + 4, (uint16_t)(s->iplen - 40 + l4_size));
	}
	if (s->tcp) {
		seq = ((uint32_t)get16(l4 + 4) << 16 | get16(l4 + 6)) + at;
		put16(l4 + 4, (uint16_t)(seq >> 16));
		put16(l4 + 6, (uint16_t)seq);
		/* FIN and PSH belong to the last, CWR to the first. */
		l4[13] &= (uint8_t) ~((last ? 0 : 0x09) | (n ? 0x80 : 0));
	} else {
		put16(l4 + 4, (uint16_t)l4_size);
	}
	/* The driver's sum of the pseudo header is without the length. */
	sum = (uint32_t)get16(l4 + (s->tcp ? 16 : 6)) + l4_size;
	put16(l4 + (s->tcp ? 16 : 6), igb_sum_fold(sum));
	l4_checksum(l4, l4_size, s->tcp ? IGB_L4T_TCP : IGB_L4T_UDP);
}

/* How many segments go, from the one after the last that went. */
static bool segment(struct tx *t, const struct tso *s)
{
	struct igb_txq *q = t->q;
	uint32_t payload = s->len - s->header;

	while (q->sent < payload) {
		uint32_t size = MIN(s->mss, payload - q->sent);
		uint8_t *data;

		if (!room(t->b, s->header + size + 64))
			return false;
		data = new_frame(t->b, s->header + size);
		memcpy(data, s->packet, s->header);
		memcpy(data + s->header, s->packet + s->header + q->sent, size);
		tso_header(s, data, q->segments++, q->sent, size, q->sent + size == payload);
		q->sent += size;
		emit(t, data, NULL, s->header + size);
	}
	return true;
}

/* ------------------------------------------------------------------ packets */

static void packet_done(struct igb_txq *q)
{
	q->begun = q->bad = false;
	q->len = 0;
	q->sent = 0;
	q->segments = 0;
}

/* The packet is complete, in @data, which is a place of the batch already where @placed. False: the
 * batch is full, call again. */
static bool finish(struct tx *t, uint8_t *data, uint32_t len, bool placed)
{
	struct igb_txq *q = t->q;
	bool advanced = q->cmd & IGB_TXD_DEXT;
	struct tso s;

	if (advanced && q->cmd & IGB_TXD_TSE) {
		if (!tso_shape(t, data, len, &s)) {
			igb_count(t->fn->card, STAT_TSCTFC, 1);
			dropped(t);
			return true;
		}
		if (!segment(t, &s))
			return false;
		igb_count(t->fn->card, STAT_TSCTC, 1);
		return true;
	}
	if (len < HEADER_MIN || len > IGB_FRAME_MAX) {
		dropped(t);
		return true;
	}
	if (!placed) {
		if (!room(t->b, len + 64))
			return false;
		data = memcpy(new_frame(t->b, len), data, len);
	}
	if (advanced && q->olinfo & (IGB_TXD_IXSM | IGB_TXD_TXSM))
		offload(t, data, len);
	else if (!advanced && q->cmd & IGB_TXD_IC)
		legacy_checksum(t, data, len);
	emit(t, data, NULL, len);
	return true;
}

/* Reads a descriptor's buffer behind what the packet has so far. -EAGAIN; else 0. */
static int collect(struct tx *t, uint64_t addr, uint32_t len)
{
	struct igb_txq *q = t->q;
	int ret;

	if (q->bad || !len)
		return 0;
	if (!q->packet)
		q->packet = malloc(IGB_PACKET_MAX);
	if (!q->packet || q->len + len > IGB_PACKET_MAX) {
		q->bad = true;
		return 0;
	}
	ret = igb_dma_read(t->fn, addr, q->packet + q->len, len);
	if (ret == -EAGAIN)
		return ret;
	q->bad = ret;
	q->len += len;
	return 0;
}

/* A packet of one descriptor that is sent as it is. */
static bool is_simple(uint32_t cmd)
{
	return cmd & IGB_TXD_EOP && !(cmd & IGB_TXD_DEXT && cmd & IGB_TXD_TSE);
}

/* It was read ahead of its turn, or is read now. */
static int simple_packet(struct tx *t, const struct igb_tx_desc *d, const struct ahead *a)
{
	uint32_t len = IGB_TXD_LEN(le32_get(d->cmd));
	uint8_t *data = a->data;
	int ret = a->ret;

	if (len > IGB_FRAME_MAX || !len) {
		dropped(t);
		return 0;
	}
	if (t->b->n >= t->b->limit || (!data && !ret && !room(t->b, len + 64)))
		return -ENOSPC;
	if (!data && !ret) {
		data = new_frame(t->b, len);
		ret = igb_dma_read(t->fn, le64_get(d->addr), data, len);
	}
	if (ret == -EAGAIN)
		return ret;
	if (ret)
		dropped(t);
	else if (a->tail)
		emit(t, data, a->tail, len);
	else
		(void)finish(t, data, len, true);
	return 0;
}

/* One data descriptor. 0; -EAGAIN memory may wait, -ENOSPC the batch is full: again later. */
static int data_descriptor(struct tx *t, const struct igb_tx_desc *d, const struct ahead *a)
{
	struct igb_txq *q = t->q;
	uint32_t cmd = le32_get(d->cmd);
	int ret;

	if (!q->begun) {
		q->cmd = cmd;
		q->olinfo = le32_get(d->olinfo);
		if (is_simple(cmd))
			return simple_packet(t, d, a);
		q->begun = true;
	}
	if (!q->complete) {
		ret = collect(t, le64_get(d->addr), IGB_TXD_LEN(cmd));
		if (ret)
			return ret;
		if (!(cmd & IGB_TXD_EOP))
			return 0;
	}
	q->complete = true;
	if (q->bad)
		dropped(t);
	else if (!finish(t, q->packet, q->len, false))
		return -ENOSPC;
	q->complete = false;
	packet_done(q);
	return 0;
}

static void take_context(struct igb_txq *q, const struct igb_tx_desc *d)
{
	struct igb_tx_context c;

	memcpy(&c, d, sizeof(c));
	q->context[IGB_CTXT_IDX(le32_get(c.mss)) & 1] = c;
}

/* ------------------------------------------------------------------ the ring */

/* Tells the driver that descriptors from @at on are done, in the way that it asked for. */
static bool report(const struct tx *t, uint64_t ring, uint32_t at, uint64_t bits, uint32_t entries)
{
	struct igb_fn *fn = t->fn;
	uint64_t done = (uint64_t)IGB_TXD_DD << 32;
	uint32_t last = at + 63 - (uint32_t)__builtin_clzll(bits);
	bool reported = false;
	le32 wire;

	if (t->shows_head) {
		wire = le32_make((last + 1) % entries);
		return !igb_dma_write(fn, t->head_iova, &wire, sizeof(wire));
	}
	if (!igb_dma_report(fn, ring + 16ull * at, bits, done))
		return true;
	for (; bits; bits &= bits - 1) {
		struct igb_desc d = {
			.iova = ring + 16ull * (at + (uint32_t)__builtin_ctzll(bits)),
			.hi = done,
		};

		reported |= !igb_dma_store(fn, &d);
	}
	return reported;
}

struct ring {
	uint64_t base;
	uint32_t entries, head, tail;
};

static bool is_context(uint32_t cmd)
{
	return cmd & IGB_TXD_DEXT && IGB_TXD_DTYP(cmd) == IGB_TXD_CONTEXT;
}

/* Goes out as it is. */
static bool is_plain(const struct tx *t, const struct igb_tx_desc *d)
{
	uint32_t cmd = le32_get(d->cmd);

	if (t->fn->vf && t->fn->policy.vlan)
		return false;
	if (cmd & IGB_TXD_VLE && t->tags)
		return false;
	return cmd & IGB_TXD_DEXT ? !(le32_get(d->olinfo) & (IGB_TXD_IXSM | IGB_TXD_TXSM))
				  : !(cmd & IGB_TXD_IC);
}

/* Of a long frame only the head is copied, if its memory can be held until the frame is where it
 * goes. */
static void leave_tail(struct tx *t, uint64_t addr, uint32_t len, struct ahead *a)
{
	struct iommu_span *s;

	a->ret = igb_dma_span(t->fn, addr, len, IOMMU_READ, &s);
	if (a->ret) {
		if (a->ret == -EOPNOTSUPP)
			a->ret = 0; /* it is read in another way */
		return;
	}
	s->n_read += len - IGB_HEAD;
	a->tail = igb_dma_at(s, addr) + IGB_HEAD;
	t->fn->tails = true;
	t->b->n_tails++;
}

/* Reads the buffers of packets of one descriptor, all in one go. */
static void read_ahead(struct tx *t, const struct igb_tx_desc *descs, uint32_t n, struct ahead *a,
		       int failed)
{
	bool inside = t->q->begun;

	memset(a, 0, n * sizeof(*a));
	if (t->fn->may_wait)
		return;
	for (uint32_t i = 0; i < n; i++)
		igb_dma_prefetch(t->fn, le64_get(descs[i].addr), false);
	for (uint32_t i = 0; i < n; i++) {
		uint32_t cmd = le32_get(descs[i].cmd), len = IGB_TXD_LEN(cmd);

		if (is_context(cmd))
			continue;
		if (inside || !is_simple(cmd) || !len || len > IGB_FRAME_MAX) {
			inside = !(cmd & IGB_TXD_EOP);
			continue;
		}
		if (t->b->n + i >= t->b->limit || !room(t->b, len + 64))
			break;
		a[i].data = new_frame(t->b, len);
		/* What was asked already is not asked again. */
		if (!i && failed && failed != -EOPNOTSUPP) {
			a[i].ret = failed;
			continue;
		}
		if (len >= IGB_TAIL_MIN && is_plain(t, &descs[i]))
			leave_tail(t, le64_get(descs[i].addr), len, &a[i]);
		if (!a[i].ret)
			a[i].ret = igb_dma_read_later(t->fn, le64_get(descs[i].addr), a[i].data,
						      a[i].tail ? IGB_HEAD : len);
		if (a[i].ret == -EAGAIN)
			break;
	}
	igb_dma_flush(t->fn);
}

/* ------------------------------------------------------------------ plain packets */

/* Packets of one advanced descriptor that go out as they are are nearly all that there are of some
 * drivers. They are taken together, step by step, so that the processor waits for the lines of many
 * at once. */
struct plain {
	struct igb_frame *frames;
	unsigned n;
	const uint8_t *from[IGB_DESCS];
};

#define PLAIN_MASK (IGB_TXD_DEXT | IGB_TXD_DTYP_MASK | IGB_TXD_EOP | IGB_TXD_TSE)
#define PLAIN_CMD (IGB_TXD_DEXT | IGB_TXD_DTYP_DATA | IGB_TXD_EOP)

static bool is_plain_packet(const struct tx *t, const struct igb_tx_desc *d)
{
	uint32_t cmd = le32_get(d->cmd);

	return (cmd & PLAIN_MASK) == PLAIN_CMD && !(cmd & IGB_TXD_VLE && t->tags) &&
	       !(le32_get(d->olinfo) & (IGB_TXD_IXSM | IGB_TXD_TXSM)) &&
	       IGB_TXD_LEN(cmd) - HEADER_MIN <= IGB_FRAME_MAX - HEADER_MIN;
}

/* Where they are. The spans of all have to stay until they are copied. *@failed: what was said of
 * the memory of the first one that is left. */
static void plain_find(struct tx *t, const struct igb_tx_desc *descs, uint32_t n, struct plain *p,
		       int *failed)
{
	struct igb_batch *b = t->b;
	struct iommu_span *s = NULL;
	bool tails = t->fn->tails;

	t->fn->tails = true;
	n = MIN(n, b->limit - b->n);
	while (p->n < n && is_plain_packet(t, &descs[p->n])) {
		struct igb_frame *f = &p->frames[p->n];
		uint32_t len = IGB_TXD_LEN(le32_get(descs[p->n].cmd));
		uint64_t addr = le64_get(descs[p->n].addr);

		if (!room(b, len + 64))
			break;
		if (!s || addr < s->first || addr > s->last || s->last - addr < len - 1) {
			*failed = igb_dma_span(t->fn, addr, len, IOMMU_READ, &s);
			if (*failed)
				break;
		}
		p->from[p->n] = igb_dma_at(s, addr);
		__builtin_prefetch(p->from[p->n]);
		f->data = new_frame(b, len);
		f->len = len;
		f->tail = len < IGB_TAIL_MIN ? NULL : p->from[p->n] + IGB_HEAD;
		f->own = t->own;
		s->n_read += len;
		p->n++;
	}
	t->fn->tails = tails;
}

static void plain_copy(void *data)
{
	struct plain *p = data;

	for (unsigned i = 0; i < p->n; i++) {
		struct igb_frame *f = &p->frames[i];

		igb_copy((uint8_t *)f->data, p->from[i], f->tail ? IGB_HEAD : f->len);
	}
}

/* Frames that the sender may not send are left out. */
static void plain_emit(struct tx *t, const struct plain *p)
{
	struct igb_batch *b = t->b;

	for (unsigned i = 0; i < p->n; i++) {
		struct igb_frame *f = &p->frames[i];
		uint8_t *data = (uint8_t *)f->data;

		if (t->fn->vf && !igb_policy_allows(t->fn, data, f->len, -1))
			continue;
		if (f->len < MIN_FRAME) {
			memset(data + f->len, 0, MIN_FRAME - f->len);
			f->len = MIN_FRAME;
		}
		b->n_tails += f->tail != NULL;
		t->fn->tails |= f->tail != NULL;
		b->frames[b->n++] = *f;
	}
}

/* Takes as many as there are from the first descriptor on; returns their number. */
static uint32_t plain_packets(struct tx *t, const struct igb_tx_desc *descs, uint32_t n,
			      int *failed)
{
	struct plain p = { .frames = &t->b->frames[t->b->n] };
	uint32_t used = t->b->used;

	if (t->q->begun || t->fn->may_wait || (t->fn->vf && t->fn->policy.vlan))
		return 0;
	plain_find(t, descs, n, &p, failed);
	if (guard_call(plain_copy, &p)) {
		/* One of them is not there any more: each by itself. */
		t->b->used = used;
		*failed = 0;
		return 0;
	}
	plain_emit(t, &p);
	return p.n;
}

/* ------------------------------------------------------------------ the queue */

/* Up to a batch of descriptors. 0: go on; -EAGAIN, -ENOSPC, -ENOENT: nothing more now. */
static int run_some(struct tx *t, struct ring *r)
{
	struct igb_tx_desc descs[IGB_DESCS];
	struct ahead ahead[IGB_DESCS];
	struct igb_done *done = &t->b->done[t->b->n_done];
	uint32_t n = (r->tail >= r->head ? r->tail : r->entries) - r->head, plain;
	int ret = 0, failed = 0;

	if (!n)
		return -ENOENT;
	if (t->b->n_done == IGB_DONES || t->b->n == t->b->limit)
		return -ENOSPC;
	n = MIN(n, IGB_DESCS);
	ret = igb_dma_read(t->fn, r->base + 16ull * r->head, descs, n * sizeof(descs[0]));
	if (ret == -EAGAIN)
		return ret;
	if (ret) {
		/* A ring that is not there: what it would have said is lost. */
		r->head = r->tail;
		dropped(t);
		return -ENOENT;
	}
	*done = (struct igb_done){ .queue = t->queue, .reset = t->q->reset, .first = r->head };
	plain = plain_packets(t, descs, n, &failed);
	if (plain < n)
		read_ahead(t, descs + plain, n - plain, ahead + plain, failed);
	for (uint32_t i = 0; i < n; i++) {
		uint32_t cmd = le32_get(descs[i].cmd);

		if (i >= plain && is_context(cmd))
			take_context(t->q, &descs[i]);
		else if (i >= plain)
			ret = data_descriptor(t, &descs[i], &ahead[i]);
		if (ret)
			break;
		if (cmd & IGB_TXD_RS)
			done->report |= BIT64(done->n);
		done->n++;
		r->head = r->head + 1 < r->entries ? r->head + 1 : 0;
	}
	t->b->n_done += done->n > 0;
	return ret;
}

/* What the registers say, so that not each packet has to ask them. */
static void setup(struct tx *t)
{
	struct igb_fn *fn = t->fn;
	uint32_t low = igb_get(fn, IGB_R_TDWBAL, t->queue);
	unsigned loopback = fn->vf ? 0 : IGB_RCTL_LBM(igb_get(fn, IGB_R_RCTL, 0));

	t->shows_head = low & IGB_TDWBA_EN;
	t->head_iova = (uint64_t)igb_get(fn, IGB_R_TDWBAH, t->queue) << 32 | (low & ~3u);
	t->own = !fn->vf && (igb_phy_loopback(fn->card) || loopback == 1 || loopback == 3);
	t->tags = fn->vf || igb_get(fn, IGB_R_CTRL, 0) & IGB_CTRL_VME;
}

/* True: it has more, and the batch is full. */
static bool run_queue(struct igb_fn *fn, struct igb_batch *b, unsigned queue)
{
	struct tx t = { .fn = fn, .b = b, .q = &fn->tx[queue], .queue = queue };
	struct ring r;
	int ret = 0;

	r.base = igb_ring(fn, IGB_R_TDBAL, queue, &r.entries);
	r.head = igb_get(fn, IGB_R_TDH, queue);
	r.tail = igb_get(fn, IGB_R_TDT, queue);
	/* A tail outside of the ring: there is nothing to send until it is inside. */
	if (!fn->tx_on[queue] || r.head >= r.entries || r.tail >= r.entries)
		return false;
	setup(&t);
	while (!ret)
		ret = run_some(&t, &r);
	igb_set_head(fn, IGB_R_TDH, queue, r.head);
	return ret == -ENOSPC;
}

bool igb_tx(struct igb_fn *fn, struct igb_batch *b)
{
	uint32_t pending = fn->tx_pending;

	if (!fn->vf && !(igb_get(fn, IGB_R_TCTL, 0) & IGB_TCTL_EN))
		return false;
	/* Each queue in its turn: a batch begins behind the one that filled the last. */
	for (unsigned i = 0; i < fn->n_queues && pending; i++) {
		unsigned queue = (fn->tx_turn + i) % fn->n_queues;

		if (!(pending & BIT(queue)))
			continue;
		if (run_queue(fn, b, queue)) {
			fn->tx_turn = (queue + 1) % fn->n_queues;
			return true;
		}
		if (fn->slow && !fn->may_wait)
			return false; /* its own thread does it */
		fn->tx_pending &= ~BIT(queue);
	}
	return false;
}

static bool give_back(struct igb_fn *fn, const struct igb_done *d)
{
	struct tx t = { .fn = fn, .q = &fn->tx[d->queue], .queue = d->queue };
	uint32_t entries;
	uint64_t base;

	/* The driver has begun anew since, or has a ring of another size. */
	base = igb_ring(fn, IGB_R_TDBAL, d->queue, &entries);
	if (t.q->reset != d->reset || d->first + d->n > entries || !d->report)
		return false;
	setup(&t);
	return report(&t, base, d->first, d->report, entries);
}

void igb_tx_done(struct igb_fn *fn, struct igb_batch *b)
{
	for (unsigned i = 0; i < b->n_done; i++)
		if (give_back(fn, &b->done[i]))
			igb_irq_tx(fn, b->done[i].queue);
	b->n_done = 0;
}
