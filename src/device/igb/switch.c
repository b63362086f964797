/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The switch between the functions of a card and its uplink: which ports a frame goes to, and the
 * way there.
 *
 * Where a frame goes is worked out for a whole batch from the filters of the ports, under the
 * switch lock and without touching memory of anybody. Then each receiver is served in its turn, or
 * what it cannot have at once goes into its backlog.
 */
#include <errno.h>

#include "device/igb/priv.h"

#define STAT_OVERSIZE 0x40ac  /* ROC */
#define STAT_UNDERSIZE 0x40a4 /* RUC */
#define STAT_RNBC 0x40a0

/* ------------------------------------------------------------------ filters */

void igb_write_filter(void *state, unsigned index, uint32_t value)
{
	igb_filter_update(state);
}

static void add_unicast(struct igb_filter *f, uint32_t low, uint32_t high)
{
	uint8_t *mac = f->unicast[f->n_unicast];

	if (!(high & IGB_RAH_AV) || f->n_unicast == IGB_UNICAST_MAX)
		return;
	low = htole32(low);
	memcpy(mac, &low, 4);
	mac[4] = (uint8_t)high;
	mac[5] = (uint8_t)(high >> 8);
	f->n_unicast++;
}

/* What the PF's registers say, as of a card without virtualisation. */
static void pf_filter(struct igb_fn *pf, struct igb_filter *f)
{
	uint32_t rctl = igb_get(pf, IGB_R_RCTL, 0);

	f->on = rctl & IGB_RCTL_EN && pf->card->link;
	f->promisc = rctl & IGB_RCTL_UPE;
	f->all_multicast = rctl & IGB_RCTL_MPE;
	f->broadcast = rctl & IGB_RCTL_BAM;
	f->untagged = true;
	f->vlan_any = !(rctl & IGB_RCTL_VFE);
	f->mta_shift = (uint8_t[]){ 4, 3, 2, 0 }[IGB_RCTL_MO(rctl)];
	f->max_len =
		rctl & IGB_RCTL_LPE ? (uint16_t)MAX(igb_get(pf, IGB_R_RLPML, 0), 64u) - 4 : 1514;
	for (unsigned i = 0; i < 16; i++)
		add_unicast(f, igb_get(pf, IGB_R_RAL, i), igb_get(pf, IGB_R_RAH, i));
	for (unsigned i = 0; i < 8; i++)
		add_unicast(f, igb_get(pf, IGB_R_RAL2, i), igb_get(pf, IGB_R_RAH2, i));
	for (unsigned i = 0; i < 128; i++) {
		f->mta[i] = igb_get(pf, IGB_R_MTA, i);
		f->vlans[i] = igb_get(pf, IGB_R_VFTA, i);
	}
}

void igb_filter_update(struct igb_fn *fn)
{
	struct igb_filter f = { 0 };

	if (fn->vf)
		igb_policy_filter(fn, &f);
	else
		pf_filter(fn, &f);
	pthread_rwlock_wrlock(&fn->card->sw);
	fn->card->filters[fn->port] = f;
	pthread_rwlock_unlock(&fn->card->sw);
}

static bool bit_of(const uint32_t *table, unsigned bit)
{
	return table[bit / 32 % 128] >> bit % 32 & 1;
}

static bool has_unicast(const struct igb_filter *f, const uint8_t *mac)
{
	for (unsigned i = 0; i < f->n_unicast; i++)
		if (igb_same_mac(f->unicast[i], mac))
			return true;
	return false;
}

/* 12 bits of the last two bytes of the address. */
static bool has_multicast(const struct igb_filter *f, const uint8_t *mac)
{
	unsigned hash = (unsigned)(mac[4] | mac[5] << 8) >> f->mta_shift & 0xfff;

	return f->all_multicast || bit_of(f->mta, hash);
}

enum match { MATCH_NO, MATCH_LISTENS, MATCH_EXACT };

static enum match filter_match(struct igb_card *card, const struct igb_filter *f,
			       const uint8_t *data, uint32_t len, bool *fits)
{
	bool tagged = len >= 18 && data[12] == 0x81 && !data[13];
	enum match m = MATCH_NO;

	if (!f->on)
		return MATCH_NO;
	if (!memcmp(data, "\xff\xff\xff\xff\xff\xff", 6))
		m = f->broadcast || f->promisc ? MATCH_LISTENS : MATCH_NO;
	else if (data[0] & 1)
		m = has_multicast(f, data) ? MATCH_LISTENS : MATCH_NO;
	else if (has_unicast(f, data))
		m = MATCH_EXACT;
	else if (f->promisc)
		m = MATCH_LISTENS;
	if (m == MATCH_NO)
		return m;
	if (tagged ? !f->vlan_any && !bit_of(f->vlans, (data[14] & 15u) << 8 | data[15])
		   : !f->untagged)
		return MATCH_NO;
	if (len > f->max_len + (tagged ? 4u : 0)) {
		igb_count(card, STAT_OVERSIZE, 1);
		*fits = false;
		return MATCH_NO;
	}
	return m;
}

/* Whether what is right for @b is so for @f: filters look at nothing else of frames without a tag.
 */
static bool same_way(const struct igb_frame *f, const struct igb_frame *b)
{
	return f->len == b->len && f->own == b->own && igb_same_mac(f->data, b->data) &&
	       !memcmp(f->data + 12, b->data + 12, 2) && f->data[12] != 0x81;
}

/* False: it was too long for somebody, who counts that. */
static bool route(struct igb_card *card, unsigned source, struct igb_frame *frame)
{
	bool exact = false, fits = true;

	frame->ports = 0;
	if (frame->own) {
		frame->ports = (uint16_t)BIT(source);
		return true;
	}
	for (unsigned port = 0; port < IGB_PORTS; port++) {
		enum match m;

		if (port == source)
			continue;
		m = filter_match(card, &card->filters[port], frame->data, frame->len, &fits);
		exact |= m == MATCH_EXACT;
		if (m != MATCH_NO)
			frame->ports |= (uint16_t)BIT(port);
	}
	frame->to_uplink = source != IGB_UPLINK && !exact;
	return fits;
}

/* Frames to the same place often follow each other. */
static uint32_t route_all(struct igb_card *card, unsigned source, struct igb_frame *frames,
			  unsigned n)
{
	const struct igb_frame *last = NULL;
	uint32_t ports = 0;

	pthread_rwlock_rdlock(&card->sw);
	for (unsigned i = 0; i < n; i++) {
		if (last && same_way(&frames[i], last)) {
			frames[i].ports = last->ports;
			frames[i].to_uplink = last->to_uplink;
			continue;
		}
		last = route(card, source, &frames[i]) ? &frames[i] : NULL;
		ports |= frames[i].ports;
	}
	pthread_rwlock_unlock(&card->sw);
	return ports;
}

void igb_frame_whole(struct igb_frame *frame)
{
	/* Frames with a tail are in an arena, where there is room for all. */
	uint8_t *rest = (uint8_t *)frame->data + IGB_HEAD;

	if (!frame->tail)
		return;
	if (guard_copy(rest, frame->tail, frame->len - IGB_HEAD))
		memset(rest, 0, frame->len - IGB_HEAD);
	frame->tail = NULL;
}

/* ------------------------------------------------------------------ delivery */

static void deliver(struct igb_fn *fn, unsigned source, struct igb_frame *frames, unsigned n)
{
	bool slow = fn->slow;
	int ret = 0;

	if (!slow)
		pcif_lock(fn->f);
	/* Behind those that wait. */
	if (!slow && source == IGB_UPLINK && fn->backlog.used)
		ret = -ENOBUFS;
	for (unsigned i = 0; i < n; i++) {
		if (!(frames[i].ports & BIT(fn->port)))
			continue;
		if (!slow && !ret)
			ret = igb_rx(fn, &frames[i], source);
		if (slow || ret)
			igb_backlog_put(fn, &frames[i], source);
		if (ret == -ENOBUFS && !fn->vf)
			igb_count(fn->card, STAT_RNBC, 1);
	}
	if (!slow) {
		igb_rx_done(fn);
		igb_dma_done(fn);
		igb_irq_update(fn);
		pcif_unlock(fn->f);
	}
	if (slow || ret)
		igb_kick(fn);
}

/**
 * igb_switch() - hands on frames.
 * @source: a port, or IGB_UPLINK
 * @self: of that port; its statistics count what it sent. NULL: the uplink
 */
void igb_switch(struct igb_card *card, unsigned source, struct igb_frame *frames, unsigned n,
		struct igb_fn *self)
{
	uint32_t ports = route_all(card, source, frames, n);
	struct igb_tally sent = { 0 };

	for (unsigned i = 0; i < n; i++) {
		if (self)
			igb_count_tx(self, &sent, frames[i].data, frames[i].len,
				     !frames[i].to_uplink);
		if (!frames[i].to_uplink || !card->uplink_send)
			continue;
		igb_frame_whole(&frames[i]);
		card->uplink_send(card->uplink_arg, frames[i].data, frames[i].len);
	}
	if (self)
		igb_tally_tx(self, &sent);
	igb_uplink_send(card, frames, n);
	for (unsigned port = 0; port < IGB_PORTS; port++) {
		struct igb_fn *fn = ports & BIT(port) ? igb_port_get(card, port) : NULL;

		if (!fn)
			continue;
		deliver(fn, source, frames, n);
		igb_port_put(fn);
	}
}

void igb_uplink_receive(struct igb_card *card, const uint8_t *data, uint32_t len)
{
	struct igb_frame frame = { .data = data, .len = len };

	if (len < 14 || len > IGB_FRAME_MAX)
		igb_count(card, len < 14 ? STAT_UNDERSIZE : STAT_OVERSIZE, 1);
	else
		igb_switch(card, IGB_UPLINK, &frame, 1, NULL);
}
