/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The network card against hostile drivers: a PF and two VFs. The input is a list of steps:
 * registers in any order, descriptors that are nearly right, mailbox messages, memory, frames from
 * the wire, resets. The card is manual, so a run is the same each time.
 *
 * After each look of the worker the rings are held against their rules, as told here once more: a
 * transmit queue that is on, whose head and tail are inside, has sent everything; and no byte of
 * memory outside of what was mapped is ever touched (the sanitizer sees to that). Whatever
 * happened, after a reset frames go from one VF to the other.
 */
#include "../unit/igb_client.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
	const uint8_t *at;
	size_t left;
};

static uint32_t take(struct input *in, unsigned bytes)
{
	uint32_t v = 0;
	size_t n = MIN(bytes, in->left);

	memcpy(&v, in->at, n);
	in->at += n;
	in->left -= n;
	return le32toh(v);
}

/* Registers that do something, and any other now and then. */
static uint32_t take_register(struct input *in, const struct nic *n)
{
	static const uint16_t pf[] = { 0x0,    0x14,   0x18,   0x20,   0xc0,   0xc8,   0xd0,
				       0xd8,   0x100,  0x400,  0x1514, 0x1520, 0x1524, 0x1580,
				       0x1680, 0x1700, 0x1740, 0x2800, 0x2808, 0x280c, 0x2818,
				       0x2828, 0x3800, 0x3808, 0x3818, 0x3828, 0x3838, 0x5000,
				       0x5004, 0x5200, 0x5400, 0x5404, 0x5600, 0x5818, 0x5c00,
				       0x5c80, 0xc000, 0xc008, 0xc00c, 0xc018, 0xc028, 0xe000,
				       0xe008, 0xe018, 0xe028, 0xe038, 0x152c, 0x1530 };
	static const uint16_t vf[] = { 0x0,    0x800,  0x804,  0x808,  0xc40,  0x1520,
				       0x1524, 0x1528, 0x1580, 0x1680, 0x1700, 0x1740,
				       0x2800, 0x2808, 0x280c, 0x2818, 0x2828, 0x3800,
				       0x3808, 0x3818, 0x3828, 0x3838, 0x152c, 0x1530 };
	uint32_t which = take(in, 1);

	if (which >= 0xf0)
		return take(in, 4) % (n->vf ? KIB(16) : KIB(128)) & ~3u;
	return n->vf ? vf[which % ARRAY_SIZE(vf)] : pf[which % ARRAY_SIZE(pf)];
}

/* Values that tend to mean something. */
static uint32_t take_value(struct input *in)
{
	static const uint32_t values[] = { 0,
					   1,
					   RING - 1,
					   RING,
					   RING * 16,
					   IGB_QUEUE_ENABLE,
					   ONE_BUFFER,
					   0x80,
					   0x8180,
					   (uint32_t)NIC_IOVA,
					   (uint32_t)NIC_IOVA + RX_RING,
					   IGB_RCTL_EN | IGB_RCTL_UPE | IGB_RCTL_LPE,
					   UINT32_MAX,
					   IGB_CTRL_RST,
					   IGB_MSG_SET_VLAN | 1 << 16,
					   2u | 4u << 8 | IGB_DESC_SPLIT << 25 };
	uint32_t which = take(in, 1);

	return which < 0x80 ? values[which % ARRAY_SIZE(values)] : take(in, which & 1 ? 4 : 2);
}

static uint64_t take_address(struct input *in)
{
	uint32_t kind = take(in, 1), offset = take(in, 2);

	switch (kind & 7) {
	case 0:
		return NIC_IOVA + NIC_RAM - 2048 + offset % 4096;
	case 1:
		return 0ull - offset;
	case 2:
		return NIC_IOVA + offset % 0x20000; /* the rings themselves */
	default:
		return NIC_IOVA + TX_BUFS + offset;
	}
}

static void step_transmit(struct nic *n, struct input *in)
{
	uint32_t kind = take(in, 1), len = take(in, 2), cmd;

	if ((kind & 7) == 7) {
		tx_context(n, take(in, 4), take(in, 2) << 9 & 0x1e00, take(in, 4));
		return;
	}
	cmd = kind & 8 ? len : TX_DATA | len;
	cmd |= (kind & 16 ? IGB_TXD_EOP : 0) | (kind & 32 ? IGB_TXD_TSE : 0) |
	       (kind & 64 ? IGB_TXD_VLE : 0) | (kind & 128 ? IGB_TXD_IC : 0);
	tx_desc(n, take_address(in), cmd, take(in, 4));
}

/* A frame that a VF would send, where descriptors point to. */
static void step_frame(struct card *c, struct nic *n, struct input *in)
{
	uint32_t at = TX_BUFS + take(in, 2), len = take(in, 1);
	const struct nic *to = &c->vfs[take(in, 1) & 1];

	memcpy(n->ram + at, to->mac, 6);
	memcpy(n->ram + at + 6, n->mac, 6);
	for (uint32_t i = 12; i < len; i++)
		n->ram[at + i] = (uint8_t)take(in, 1);
}

static void step_receive(struct nic *n, struct input *in)
{
	uint32_t at = take(in, 1) % RING;

	rx_ring(n)[at].lo = le64_make(take_address(in));
	rx_ring(n)[at].hi = le64_make(take_address(in));
}

static void look(struct card *c, struct nic *n)
{
	uint32_t entries, head, tail;

	card_pump(c);
	for (unsigned q = 0; q < n->fn->n_queues; q++) {
		(void)igb_ring(n->fn, IGB_R_TDBAL, q, &entries);
		head = igb_get(n->fn, IGB_R_TDH, q);
		tail = igb_get(n->fn, IGB_R_TDT, q);
		if (n->fn->tx_on[q] && head < entries && tail < entries &&
		    (n->vf || igb_get(n->fn, IGB_R_TCTL, 0) & IGB_TCTL_EN))
			must(head == tail);
		(void)igb_ring(n->fn, IGB_R_RDBAL, q, &entries);
		if (n->fn->rx_on[q] && entries && igb_get(n->fn, IGB_R_RDT, q) < entries)
			must(igb_get(n->fn, IGB_R_RDH, q) < MAX(entries, RING));
	}
}

static void step(struct card *c, struct nic *n, struct input *in)
{
	uint32_t offset;

	switch (take(in, 1) % 12) {
	case 0:
	case 1:
		offset = take_register(in, n);
		reg_write(n, offset, take_value(in));
		break;
	case 2:
		(void)reg_read(n, take_register(in, n));
		break;
	case 3:
	case 4:
	case 5:
		step_transmit(n, in);
		break;
	case 6:
		step_frame(c, n, in);
		break;
	case 7:
		step_receive(n, in);
		break;
	case 8:
	case 9:
		tx_ring_bell(n);
		look(c, n);
		break;
	case 10:
		if (n->vf) {
			reg_write(n, 0x800, take(in, 1) % 8 | take(in, 1) << 16);
			reg_write(n, 0xc40, IGB_V2P_REQ);
		} else {
			nic_irq(n, take(in, 1) & 3);
		}
		break;
	case 11:
		if (take(in, 1) & 1) {
			pcif_config_write(n->f, 4, 2, 2);
			card_pump(c);
			pcif_config_write(n->f, 4, 2, 6);
		} else {
			rx_start(n, take_value(in));
			tx_start(n);
		}
		break;
	}
}

static void begin(struct card *c, struct nic *n)
{
	pcif_reset(n->f);
	pcif_config_write(n->f, 4, 2, 6);
	memset(n->ram, 0, NIC_RAM);
	nic_start(n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct card *c;
	struct input in = { data, size };
	uint8_t frame[100], got[IGB_FRAME_MAX];
	struct nic *nics[3];

	if (!c)
		c = card_new("vfs=2,mac=52:54:00:12:34:50", 2);
	nics[0] = &c->pf;
	nics[1] = &c->vfs[0];
	nics[2] = &c->vfs[1];
	/* A reset of the PF takes its VFs away: only they are reset by PCI means. */
	pcif_lock(c->pf.f);
	igb_fn_reset(c->pf.fn, false);
	pcif_unlock(c->pf.f);
	memset(c->pf.ram, 0, NIC_RAM);
	nic_start(&c->pf);
	begin(c, &c->vfs[0]);
	begin(c, &c->vfs[1]);
	while (in.left)
		step(c, nics[take(&in, 1) % 3], &in);
	look(c, nics[0]);
	begin(c, &c->vfs[0]);
	begin(c, &c->vfs[1]);
	frame_make(frame, sizeof(frame), c->vfs[1].mac, c->vfs[0].mac, 0x88b5);
	nic_send(c, &c->vfs[0], frame, sizeof(frame));
	must(nic_receive(&c->vfs[1], got, NULL) == sizeof(frame));
	must(!memcmp(got, frame, sizeof(frame)));
	return 0;
}
