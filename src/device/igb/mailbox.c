/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The mailbox of a virtual function, and the PF's driver at its other end.
 *
 * The host driver of the PF is a name without code (src/bus/host.c), so the card itself does what
 * that driver would: it answers each request at once, by the policy that the machine's owner gave
 * for each VF (address, VLAN, spoof check, trust).
 *
 * Source: the messages that Linux's igbvf sends and what its igb answers.
 */
#include "device/igb/priv.h"

/* What is left of a VF after a reset: who it is, and nothing it asked for. */
void igb_policy_reset(struct igb_fn *vf)
{
	struct igb_policy *p = &vf->policy;

	memcpy(p->current, p->mac, 6);
	p->clear_to_send = p->all_multicast = false;
	p->n_extra = 0;
	p->max_len = 1514;
	memset(p->mta, 0, sizeof(p->mta));
	memset(p->vlans, 0, sizeof(p->vlans));
}

void igb_policy_filter(struct igb_fn *vf, struct igb_filter *f)
{
	const struct igb_policy *p = &vf->policy;

	f->on = p->clear_to_send;
	f->broadcast = true;
	f->all_multicast = p->all_multicast;
	f->promisc = p->all_multicast && p->trust;
	f->untagged = !p->vlan;
	f->mta_shift = 4;
	f->max_len = p->max_len;
	memcpy(f->unicast[0], p->current, 6);
	memcpy(f->unicast[1], p->extra, sizeof(p->extra));
	f->n_unicast = (uint8_t)(1 + p->n_extra);
	memcpy(f->mta, p->mta, sizeof(f->mta));
	if (p->vlan)
		f->vlans[p->vlan / 32] = BIT(p->vlan % 32);
	else
		memcpy(f->vlans, p->vlans, sizeof(f->vlans));
}

static bool refuse(_Atomic uint64_t *of_vf, _Atomic uint64_t *of_card)
{
	atomic_fetch_add(of_vf, 1);
	atomic_fetch_add(of_card, 1);
	return false;
}

static bool has_address(const struct igb_policy *p, const uint8_t *mac)
{
	bool own = igb_same_mac(mac, p->current);

	for (unsigned i = 0; !own && i < p->n_extra; i++)
		own = !memcmp(mac, p->extra[i], 6);
	return own;
}

/* 0 is no VLAN, only a priority. Where the port has one, tags are no matter of ours. */
static bool has_vlan(const struct igb_policy *p, const uint8_t *data, uint32_t len, int tag)
{
	unsigned vlan;

	if (tag < 0 && len >= 16 && data[12] == 0x81 && !data[13])
		tag = data[14] << 8 | data[15];
	vlan = tag < 0 ? 0 : (unsigned)tag & 0xfff;
	return !vlan || p->vlan || p->vlans[vlan / 32] >> vlan % 32 & 1;
}

/* Whether the VF may send the frame: from an address, and on a VLAN, that are its own. */
bool igb_policy_allows(struct igb_fn *vf, const uint8_t *data, uint32_t len, int tag)
{
	const struct igb_policy *p = &vf->policy;

	if (!p->clear_to_send || len < 14)
		return refuse(&vf->muted, &vf->card->muted);
	return !p->spoof_check || (has_address(p, data + 6) && has_vlan(p, data, len, tag)) ||
	       refuse(&vf->spoofed, &vf->card->spoofed);
}

#define SECOND_NS 1000000000u
#define BURST_NS 10000000u /* a VF may be that far ahead of its rate */
#define WIRE_EXTRA 24u	   /* preamble, FCS and gap of each frame */

uint64_t igb_policy_wait(const struct igb_fn *vf, uint64_t now)
{
	return vf->policy.rate && vf->next_send > now + BURST_NS ? vf->next_send - BURST_NS : 0;
}

void igb_policy_pay(struct igb_fn *vf, uint64_t now, const struct igb_batch *b)
{
	uint64_t bytes = 0;

	if (!vf->policy.rate)
		return;
	for (unsigned i = 0; i < b->n; i++)
		bytes += b->frames[i].len + WIRE_EXTRA;
	vf->next_send = MAX(vf->next_send, now) + bytes * SECOND_NS / vf->policy.rate;
}

/* ------------------------------------------------------------------ requests */

static void get_mac(struct igb_fn *vf, uint8_t mac[6])
{
	uint32_t words[2] = { htole32(igb_get(vf, IGB_R_VMBMEM, 1)),
			      htole32(igb_get(vf, IGB_R_VMBMEM, 2)) };

	memcpy(mac, words, 6);
}

static bool valid_mac(const uint8_t mac[6])
{
	return !(mac[0] & 1) && memcmp(mac, "\0\0\0\0\0\0", 6);
}

static bool set_mac(struct igb_fn *vf, unsigned info)
{
	struct igb_policy *p = &vf->policy;
	uint8_t mac[6];

	get_mac(vf, mac);
	if (info == IGB_MSG_MAC_CLEAR) {
		p->n_extra = 0;
		return true;
	}
	if (!valid_mac(mac))
		return false;
	if (info == IGB_MSG_MAC_ADD) {
		if (p->set_mac && !p->trust)
			return false;
		if (p->n_extra == IGB_UNICAST_MAX - 1)
			return false;
		memcpy(p->extra[p->n_extra++], mac, 6);
		return true;
	}
	if (info || (p->set_mac && !p->trust && memcmp(mac, p->mac, 6)))
		return false;
	memcpy(p->current, mac, 6);
	return true;
}

/* Hashes of 12 bits, two to a word; the first set replaces all. */
static bool set_multicast(struct igb_fn *vf, unsigned n)
{
	if (n > 2 * (IGB_MAIL_WORDS - 1))
		return false;
	memset(vf->policy.mta, 0, sizeof(vf->policy.mta));
	for (unsigned i = 0; i < n; i++) {
		uint32_t word = igb_get(vf, IGB_R_VMBMEM, 1 + i / 2);
		unsigned hash = word >> 16 * (i & 1) & 0xfff;

		vf->policy.mta[hash / 32] |= BIT(hash % 32);
	}
	return true;
}

static bool set_vlan(struct igb_fn *vf, bool add)
{
	unsigned vlan = igb_get(vf, IGB_R_VMBMEM, 1) & 0xfff;

	if (vf->policy.vlan)
		return false;
	if (add)
		vf->policy.vlans[vlan / 32] |= BIT(vlan % 32);
	else
		vf->policy.vlans[vlan / 32] &= ~BIT(vlan % 32);
	return true;
}

/* The length counts FCS and, here, nothing else. */
static bool set_length(struct igb_fn *vf)
{
	uint32_t size = igb_get(vf, IGB_R_VMBMEM, 1);

	if (size < 64 || size > IGB_FRAME_MAX)
		return false;
	vf->policy.max_len = (uint16_t)MAX(size - 4, 1514u);
	return true;
}

static bool set_promisc(struct igb_fn *vf, unsigned info)
{
	if (info & ~(unsigned)IGB_MSG_PROMISC_MULTICAST)
		return false;
	vf->policy.all_multicast = info;
	return true;
}

static void answer_reset(struct igb_fn *vf)
{
	uint32_t words[2] = { 0 };

	igb_policy_reset(vf);
	vf->policy.clear_to_send = true;
	memcpy(words, vf->policy.mac, 6);
	igb_set(vf, IGB_R_VMBMEM, 0, IGB_MSG_RESET | IGB_MSG_ACK);
	igb_set(vf, IGB_R_VMBMEM, 1, le32toh(words[0]));
	igb_set(vf, IGB_R_VMBMEM, 2, le32toh(words[1]));
}

static void answer(struct igb_fn *vf)
{
	uint32_t message = igb_get(vf, IGB_R_VMBMEM, 0);
	unsigned info = IGB_MSG_INFO(message);
	bool ok = false;

	if ((message & 0xffff) == IGB_MSG_RESET) {
		answer_reset(vf);
		return;
	}
	if (!vf->policy.clear_to_send) {
		igb_set(vf, IGB_R_VMBMEM, 0, message | IGB_MSG_NACK);
		return;
	}
	switch (message & 0xffff) {
	case IGB_MSG_SET_MAC:
		ok = set_mac(vf, info);
		break;
	case IGB_MSG_SET_MULTICAST:
		ok = set_multicast(vf, info);
		break;
	case IGB_MSG_SET_VLAN:
		ok = set_vlan(vf, info);
		break;
	case IGB_MSG_SET_LPE:
		ok = set_length(vf);
		break;
	case IGB_MSG_SET_PROMISC:
		ok = set_promisc(vf, info);
		break;
	}
	igb_set(vf, IGB_R_VMBMEM, 0, message | IGB_MSG_CTS | (ok ? IGB_MSG_ACK : IGB_MSG_NACK));
}

/* ------------------------------------------------------------------ the register */

static void publish(struct igb_fn *vf)
{
	igb_set(vf, IGB_R_V2PMAILBOX, 0, vf->v2p);
}

void igb_write_v2p(void *state, unsigned index, uint32_t value)
{
	struct igb_fn *vf = state;

	/* By mmap nothing tells us of a read: what the VF says next means that it has read. */
	if (vf->shared && value & (IGB_V2P_REQ | IGB_V2P_ACK))
		vf->v2p &= ~IGB_V2P_READ_CLEARS;
	vf->v2p = (vf->v2p & ~IGB_V2P_VFU) | (value & IGB_V2P_VFU);
	if (value & IGB_V2P_REQ) {
		answer(vf);
		igb_filter_update(vf);
		vf->v2p |= IGB_V2P_PFACK | IGB_V2P_PFSTS;
		igb_irq_cause(vf, IGB_ICR_VMMB);
		igb_irq_update(vf);
	}
	publish(vf);
}

uint32_t igb_read_v2p(void *state, unsigned index)
{
	struct igb_fn *vf = state;
	uint32_t value = vf->v2p;

	vf->v2p &= ~IGB_V2P_READ_CLEARS;
	publish(vf);
	return value;
}
