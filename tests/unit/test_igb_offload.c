/* SPDX-License-Identifier: BSD-3-Clause */
/* The network card: what it does to frames on their way, and the shapes of descriptors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "fds.h"
#include "igb_client.h"

static struct card *c;
static struct nic *a, *b, *pf;

static int setup(void **state)
{
	c = card_new("vfs=2,mac=52:54:00:12:34:50", 2);
	a = &c->vfs[0];
	b = &c->vfs[1];
	pf = &c->pf;
	nic_start(a);
	nic_start(b);
	nic_start(pf);
	return 0;
}

static int teardown(void **state)
{
	card_free(c);
	return 0;
}

static void put16(uint8_t *p, unsigned v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static unsigned get16(const uint8_t *p)
{
	return p[0] << 8 | p[1];
}

/* The sum as RFC 1071 writes it, for the tests' own use. */
static uint16_t plain_sum(const uint8_t *p, unsigned n, uint32_t sum)
{
	for (unsigned i = 0; i < n; i++)
		sum += i % 2 ? p[i] : (uint32_t)p[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

/* Of a whole layer 4 with its pseudo header: 0xffff where it is right. */
static uint16_t l4_sum(const uint8_t *ip, bool ip6, unsigned protocol, const uint8_t *l4,
		       unsigned len)
{
	uint32_t sum = plain_sum(ip + (ip6 ? 8 : 12), ip6 ? 32 : 8, protocol + len);

	return plain_sum(l4, len, sum);
}

/* Ethernet, IP, TCP or UDP with @payload bytes; checksums as a driver leaves them for the card. */
static unsigned make_packet(uint8_t *p, const uint8_t *to, const uint8_t *from, bool ip6, bool tcp,
			    unsigned payload, bool large)
{
	unsigned ip_len = ip6 ? 40 : 20, l4_len = tcp ? 20 : 8, l4 = 14 + ip_len;
	unsigned size = l4_len + payload;
	uint8_t *ip = p + 14;

	frame_make(p, l4 + size, to, from, ip6 ? 0x86dd : 0x0800);
	memset(ip, 0, ip_len + l4_len);
	if (ip6) {
		ip[0] = 0x60;
		put16(ip + 4, large ? 0 : size);
		ip[6] = tcp ? 6 : 17;
		ip[7] = 64;
		ip[8] = ip[24] = 0xfd;
		ip[23] = 1;
		ip[39] = 2;
	} else {
		ip[0] = 0x45;
		put16(ip + 2, large ? 0 : ip_len + size);
		put16(ip + 4, 0xfffe); /* the identification wraps */
		ip[8] = 64;
		ip[9] = tcp ? 6 : 17;
		memcpy(ip + 12, (uint8_t[]){ 10, 0, 0, 1, 10, 0, 0, 2 }, 8);
	}
	put16(p + l4, 1000);
	put16(p + l4 + 2, 2000);
	if (tcp) {
		memcpy(p + l4 + 4, (uint8_t[]){ 0xff, 0xff, 0xff, 0x00 }, 4);
		p[l4 + 12] = 5 << 4;
		p[l4 + 13] = 0x80 | 0x10 | 0x08 | 0x01; /* CWR, ACK, PSH, FIN */
	} else {
		put16(p + l4 + 4, large ? 0 : size);
	}
	put16(p + l4 + (tcp ? 16 : 6),
	      plain_sum(ip + (ip6 ? 8 : 12), ip6 ? 32 : 8, (tcp ? 6 : 17) + (large ? 0 : size)));
	return l4 + size;
}

static void context_for(struct nic *n, bool ip6, bool tcp, unsigned mss, unsigned vlan)
{
	tx_context(n, (uint32_t)(ip6 ? 40 : 20) | 14 << 9 | vlan << 16,
		   (ip6 ? 0 : IGB_CTXT_IP4) | (tcp ? IGB_L4T_TCP : IGB_L4T_UDP) << 11,
		   (tcp ? 20u : 8u) << 8 | mss << 16);
}

static void checksums(void **state)
{
	uint8_t out[2048], in[IGB_FRAME_MAX];
	uint32_t status = 0;

	for (unsigned kind = 0; kind < 4; kind++)
		for (unsigned payload = 0; payload < 70; payload += 23) {
			bool ip6 = kind & 1, tcp = kind & 2;
			unsigned len = make_packet(out, b->mac, a->mac, ip6, tcp, payload, false);
			unsigned l4 = ip6 ? 54 : 34;

			context_for(a, ip6, tcp, 0, 0);
			tx_desc(a, tx_buf(a, out, len), TX_DATA | IGB_TXD_EOP | len,
				len << 14 | IGB_TXD_TXSM | (ip6 ? 0 : IGB_TXD_IXSM));
			tx_ring_bell(a);
			card_pump(c);
			assert_int_equal(nic_receive(b, in, &status), MAX(len, 60u));
			if (!ip6)
				assert_int_equal(plain_sum(in + 14, 20, 0), 0xffff);
			assert_int_equal(l4_sum(in + 14, ip6, tcp ? 6 : 17, in + l4, len - l4),
					 0xffff);
			assert_true(status & IGB_RXD_L4CS);
			assert_int_equal(!!(status & IGB_RXD_IPCS), !ip6);
			assert_false(status & (IGB_RXD_L4E | IGB_RXD_IPE));
		}
	/* Without the offload the sums are wrong, and the receiver says so. */
	nic_send(c, a, out, make_packet(out, b->mac, a->mac, false, true, 10, false));
	assert_true(nic_receive(b, in, &status));
	assert_true(status & IGB_RXD_L4E);
	assert_true(status & IGB_RXD_IPE);
}

/* What arrives of a large send, put together again, is what was sent. */
static void check_segments(bool ip6, bool tcp, const uint8_t *out, unsigned payload, unsigned mss)
{
	unsigned l4 = ip6 ? 54 : 34, header = l4 + (tcp ? 20 : 8), got = 0, n = 0;
	uint8_t in[IGB_FRAME_MAX];
	uint32_t status = 0;

	while (got < payload) {
		unsigned size = MIN(mss, payload - got), len = nic_receive(b, in, &status);
		bool last = got + size == payload;

		assert_int_equal(len, MAX(header + size, 60u));
		assert_false(status & (IGB_RXD_L4E | IGB_RXD_IPE));
		assert_memory_equal(in + header, out + header + got, size);
		assert_int_equal(l4_sum(in + 14, ip6, tcp ? 6 : 17, in + l4, header - l4 + size),
				 0xffff);
		if (!ip6) {
			assert_int_equal(get16(in + 16), header - 14 + size);
			assert_int_equal(get16(in + 18), (0xfffe + n) & 0xffff);
			assert_int_equal(plain_sum(in + 14, 20, 0), 0xffff);
		} else {
			assert_int_equal(get16(in + 18), header - l4 + size);
		}
		if (tcp) {
			uint32_t seq = get16(in + l4 + 4) << 16 | get16(in + l4 + 6);

			assert_int_equal(seq, 0xffffff00u + got);
			assert_int_equal(in[l4 + 13], 0x10 | (n ? 0 : 0x80) | (last ? 0x09 : 0));
		} else {
			assert_int_equal(get16(in + l4 + 4), 8 + size);
		}
		got += size;
		n++;
	}
	assert_int_equal(nic_receive(b, in, NULL), 0);
}

/* In pieces of one and of several descriptors. */
static void segmentation(void **state)
{
	static uint8_t out[IGB_PACKET_MAX];

	for (unsigned kind = 0; kind < 4; kind++)
		for (unsigned payload = 1; payload < 20000; payload = payload * 3 + 500) {
			bool ip6 = kind & 1, tcp = kind & 2;
			unsigned len = make_packet(out, b->mac, a->mac, ip6, tcp, payload, true);
			unsigned header = len - payload, at = 0;

			memcpy(a->ram + TX_BUFS, out, len);
			context_for(a, ip6, tcp, 1400, 0);
			while (at < len) {
				unsigned size = MIN(at ? 4096u : header, len - at);

				tx_desc(a, NIC_IOVA + TX_BUFS + at,
					TX_DATA | IGB_TXD_TSE | size |
						(at + size == len ? IGB_TXD_EOP : 0),
					payload << 14 | IGB_TXD_TXSM | IGB_TXD_IXSM);
				at += size;
			}
			tx_ring_bell(a);
			card_pump(c);
			check_segments(ip6, tcp, out, payload, 1400);
		}
}

/* More segments than a batch holds, in a ring that takes them: none is lost. */
static void segmentation_in_several_batches(void **state)
{
	static uint8_t out[IGB_PACKET_MAX];
	unsigned payload = 60 * 1000;

	make_packet(out, b->mac, a->mac, false, true, payload, true);
	memcpy(a->ram + TX_BUFS, out, 54 + payload);
	context_for(a, false, true, 1000, 0);
	tx_desc(a, NIC_IOVA + TX_BUFS, TX_DATA | IGB_TXD_TSE | (54 + 1000),
		payload << 14 | IGB_TXD_TXSM);
	tx_desc(a, NIC_IOVA + TX_BUFS + 1054, TX_DATA | IGB_TXD_TSE | IGB_TXD_EOP | 59000, 0);
	tx_ring_bell(a);
	card_pump(c);
	check_segments(false, true, out, payload, 1000);
	/* Contexts that make no sense. */
	for (unsigned i = 0; i < 4; i++) {
		static const uint32_t lens[] = { 20 | 14 << 9, 19 | 14 << 9, 20 | 13 << 9, 511 };
		static const uint32_t mss[] = { 20 << 8, 20 << 8 | 100 << 16, 20 << 8 | 100 << 16,
						20 << 8 | 100 << 16 };

		tx_context(a, lens[i], IGB_CTXT_IP4 | IGB_L4T_TCP << 11, mss[i]);
		tx_desc(a, NIC_IOVA + TX_BUFS, TX_DATA | IGB_TXD_TSE | IGB_TXD_EOP | 1000,
			900 << 14 | IGB_TXD_TXSM | IGB_TXD_IXSM);
	}
	tx_ring_bell(a);
	card_pump(c);
	assert_int_equal(nic_receive(b, out, NULL), 0);
	assert_int_equal(reg_read(a, a->tx_base + 0x10), a->tx_tail);
	assert_int_equal(reg_read(pf, 0x40fc), 4);
}

static void join_vlan(struct nic *n, uint32_t vlan)
{
	reg_write(n, 0x800, IGB_MSG_SET_VLAN | 1 << 16);
	reg_write(n, 0x804, vlan);
	reg_write(n, 0xc40, IGB_V2P_REQ);
	assert_int_equal(reg_read(n, 0x800),
			 IGB_MSG_SET_VLAN | 1 << 16 | IGB_MSG_CTS | IGB_MSG_ACK);
}

static void vlans(void **state)
{
	uint8_t out[200], in[IGB_FRAME_MAX];
	uint32_t status = 0;

	join_vlan(a, 5);
	join_vlan(a, 7);
	frame_make(out, 100, pf->mac, a->mac, 0x88b5);
	context_for(a, false, false, 0, 0x6005);
	tx_desc(a, tx_buf(a, out, 100), TX_DATA | IGB_TXD_EOP | IGB_TXD_VLE | 100, 100 << 14);
	tx_ring_bell(a);
	card_pump(c);
	/* The PF neither filters nor strips. */
	assert_int_equal(nic_receive(pf, in, &status), 104);
	assert_int_equal(get16(in + 12), 0x8100);
	assert_int_equal(get16(in + 14), 0x6005);
	assert_memory_equal(in + 16, out + 12, 88);
	/* With a filter it is deaf to the VLAN, until that is in the table. */
	reg_write(pf, 0x100, reg_read(pf, 0x100) | IGB_RCTL_VFE);
	nic_send(c, a, in, 104);
	assert_int_equal(nic_receive(pf, in, &status), 0);
	reg_write(pf, 0x5600, BIT(5));
	reg_write(pf, 0, reg_read(pf, 0) | IGB_CTRL_VME);
	memcpy(in, out, 12);
	put16(in + 12, 0x8100);
	put16(in + 14, 0x6005);
	memcpy(in + 16, out + 12, 88);
	nic_send(c, a, in, 104);
	assert_int_equal(get16((uint8_t *)&rx_ring(pf)[pf->rx_next].hi + 6), 0x0560);
	assert_int_equal(nic_receive(pf, in, &status), 100);
	assert_true(status & IGB_RXD_VP);
	assert_memory_equal(in, out, 100);
	/* A VF hears the VLANs that it asked for. */
	frame_make(out, 100, b->mac, a->mac, 0x88b5);
	memcpy(in, out, 12);
	put16(in + 12, 0x8100);
	put16(in + 14, 0x0007);
	memcpy(in + 16, out + 12, 88);
	nic_send(c, a, in, 104);
	assert_int_equal(nic_receive(b, in + 200, &status), 0);
	join_vlan(b, 7);
	nic_send(c, a, in, 104);
	assert_int_equal(nic_receive(b, in, &status), 100);
	assert_true(status & IGB_RXD_VP);
}

/* All VFs on one VLAN: the tag is put on and taken off without their knowledge. */
static void port_vlan(void **state)
{
	struct card *v = card_new("vfs=2,vf_vlan=9", 2);
	uint8_t out[100], in[IGB_FRAME_MAX];
	uint32_t status = 0;

	nic_start(&v->vfs[0]);
	nic_start(&v->vfs[1]);
	nic_start(&v->pf);
	frame_make(out, 100, v->vfs[1].mac, v->vfs[0].mac, 0x88b5);
	nic_send(v, &v->vfs[0], out, 100);
	assert_int_equal(nic_receive(&v->vfs[1], in, &status), 100);
	assert_false(status & IGB_RXD_VP);
	assert_memory_equal(in, out, 100);
	frame_make(out, 100, v->pf.mac, v->vfs[0].mac, 0x88b5);
	nic_send(v, &v->vfs[0], out, 100);
	assert_int_equal(nic_receive(&v->pf, in, &status), 104);
	assert_int_equal(get16(in + 14), 9);
	/* Untagged is not on the VLAN. */
	frame_make(out, 100, v->vfs[1].mac, v->pf.mac, 0x88b5);
	nic_send(v, &v->pf, out, 100);
	assert_int_equal(nic_receive(&v->vfs[1], in, &status), 0);
	card_free(v);
}

static void legacy_descriptors(void **state)
{
	uint8_t out[600], in[IGB_FRAME_MAX];
	uint64_t hi;

	/* Sent with a checksum and a tag from the descriptor, received in buffers of 256 bytes. */
	reg_write(pf, pf->rx_base + 0x28, 0);
	reg_write(pf, 0x100, IGB_RCTL_EN | IGB_RCTL_BAM | IGB_RCTL_SECRC | 3 << 16);
	rx_start(pf, 0);
	frame_make(out, 600, pf->mac, a->mac, 0x88b5);
	tx_desc(a, tx_buf(a, out, 300), 300 | IGB_TXD_IC | 100 << 16, 20 << 8);
	tx_desc(a, tx_buf(a, out + 300, 300), 300 | IGB_TXD_EOP | IGB_TXD_RS, 0);
	tx_ring_bell(a);
	card_pump(c);
	for (unsigned i = 0; i < 3; i++) {
		hi = le64_get(rx_ring(pf)[i].hi);
		assert_int_equal(hi & 0xffff, i < 2 ? 256 : 88);
		assert_int_equal(hi >> 32 & 3, i < 2 ? IGB_RXD_DD : IGB_RXD_DD | IGB_RXD_EOP);
		memcpy(in + i * 256, pf->ram + RX_BUFS + i * BUF, 256);
	}
	assert_memory_equal(in, out, 100);
	assert_memory_equal(in + 102, out + 102, 498);
	/* The field was no part of what it sums only if it was zero: here it is. */
	assert_int_equal(get16(in + 100), (uint16_t)~plain_sum(out + 20, 580, 0));
	assert_true(le32_get(tx_ring(a)[1].olinfo) & IGB_TXD_DD);
	assert_false(le32_get(tx_ring(a)[0].olinfo) & IGB_TXD_DD);
}

static void split_headers(void **state)
{
	uint8_t out[600];
	unsigned len = make_packet(out, b->mac, a->mac, false, true, 500, false);
	uint64_t lo, hi;

	reg_write(b, b->rx_base + 0x28, 0);
	rx_start(b, 2u | 4u << 8 | IGB_DESC_SPLIT << 25);
	for (unsigned i = 0; i < RING; i++)
		rx_ring(b)[i].hi = le64_make(NIC_IOVA + RX_BUFS + RING * BUF + i * 256ull);
	nic_send(c, a, out, len);
	lo = le64_get(rx_ring(b)[0].lo);
	hi = le64_get(rx_ring(b)[0].hi);
	assert_int_equal(lo >> 31 & 1, 1);
	assert_int_equal(lo >> 21 & 0x3ff, 54);
	assert_int_equal(hi >> 32 & 0xffff, 500);
	assert_memory_equal(b->ram + RX_BUFS + RING * BUF, out, 54);
	assert_memory_equal(b->ram + RX_BUFS, out + 54, 500);
	/* What has no header that is known is not split. */
	frame_make(out, 100, b->mac, a->mac, 0x88b5);
	nic_send(c, a, out, 100);
	assert_int_equal(le64_get(rx_ring(b)[1].lo) >> 31 & 1, 0);
	assert_memory_equal(b->ram + RX_BUFS + BUF, out, 100);
}

/* The verification suite that Microsoft published with the hash: addresses, ports, both hashes. */
static void receive_side_scaling(void **state)
{
	static const uint8_t key[40] = {
		0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3,
		0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3,
		0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa
	};
	uint8_t out[100];
	uint64_t lo;

	for (unsigned i = 0; i < 10; i++)
		reg_write(pf, 0x5c80 + 4 * i,
			  (uint32_t)key[4 * i] | key[4 * i + 1] << 8 | key[4 * i + 2] << 16 |
				  (uint32_t)key[4 * i + 3] << 24);
	make_packet(out, pf->mac, a->mac, false, true, 20, false);
	/* 66.9.149.187:2794 to 161.142.100.80:1766 */
	memcpy(out + 26, (uint8_t[]){ 66, 9, 149, 187, 161, 142, 100, 80 }, 8);
	put16(out + 34, 2794);
	put16(out + 36, 1766);
	reg_write(pf, 0x5818, IGB_MRQC_RSS | BIT(IGB_RSS_IP4) | BIT(IGB_RSS_TCP4));
	nic_send(c, a, out, 74);
	lo = le64_get(rx_ring(pf)[0].lo);
	assert_int_equal(lo & 15, 1);
	assert_int_equal(lo >> 32, 0x51ccc178);
	reg_write(pf, 0x5818, IGB_MRQC_RSS | BIT(IGB_RSS_IP4));
	nic_send(c, a, out, 74);
	lo = le64_get(rx_ring(pf)[1].lo);
	assert_int_equal(lo & 15, 2);
	assert_int_equal(lo >> 32, 0x323e8fc2);
	/* To queue 5, by its place in the table. */
	reg_write(pf, 0x5c00 + (0x323e8fc2 & 0x7f) / 4 * 4, 5u << 8 * (0x323e8fc2 & 3));
	reg_write(pf, 0xc000 + 5 * 0x40, (uint32_t)NIC_IOVA + RX_RING + RING * 16);
	reg_write(pf, 0xc008 + 5 * 0x40, 8 * 16);
	reg_write(pf, 0xc00c + 5 * 0x40, ONE_BUFFER);
	reg_write(pf, 0xc028 + 5 * 0x40, IGB_QUEUE_ENABLE);
	rx_ring(pf)[RING].lo = le64_make(NIC_IOVA + RX_BUFS + RING * BUF);
	reg_write(pf, 0xc018 + 5 * 0x40, 7);
	nic_send(c, a, out, 74);
	assert_int_equal(reg_read(pf, 0xc010 + 5 * 0x40), 1);
	assert_true(le64_get(rx_ring(pf)[RING].hi) & IGB_RXD_DD);
}

/* Frames of 9.5 KiB, over several buffers. */
static void jumbo(void **state)
{
	static uint8_t out[IGB_FRAME_MAX];
	uint8_t in[IGB_FRAME_MAX];

	frame_make(out, 9000, pf->mac, a->mac, 0x88b5);
	memcpy(a->ram + TX_BUFS, out, 9000);
	for (unsigned round = 0; round < 2; round++) {
		a->tx_tail = 0;
		reg_write(a, a->tx_base + 0x28, 0);
		reg_write(a, a->tx_base + 0x28, IGB_QUEUE_ENABLE);
		tx_desc(a, NIC_IOVA + TX_BUFS, TX_DATA | IGB_TXD_EOP | 9000, 9000 << 14);
		tx_ring_bell(a);
		card_pump(c);
		assert_int_equal(nic_receive(pf, in, NULL), round ? 9000 : 0);
		reg_write(pf, 0x100, reg_read(pf, 0x100) | IGB_RCTL_LPE);
	}
	assert_memory_equal(in, out, 9000);
	assert_int_equal(reg_read(pf, 0x40ac), 1);
}

/* Registers of queue 0 at their second place, head write-back, counters. */
static void second_places(void **state)
{
	uint8_t out[100], in[IGB_FRAME_MAX];

	pf->tx_base = 0x3800;
	tx_start(pf);
	reg_write(pf, 0x383c, 0);
	reg_write(pf, 0x3838, (uint32_t)NIC_IOVA + TX_BUFS - 64 + IGB_TDWBA_EN);
	assert_int_equal(reg_read(pf, 0xe038), (uint32_t)NIC_IOVA + TX_BUFS - 64 + 1);
	frame_make(out, 100, a->mac, pf->mac, 0x88b5);
	(void)reg_read(pf, 0x4080);
	nic_send(c, pf, out, 100);
	assert_int_equal(nic_receive(a, in, NULL), 100);
	assert_int_equal(*(uint32_t *)(pf->ram + TX_BUFS - 64), 1);
	assert_false(le32_get(tx_ring(pf)[0].olinfo) & IGB_TXD_DD);
	assert_int_equal(reg_read(pf, 0x3810), 1);
	assert_int_equal(reg_read(pf, 0xe010), 1);
	assert_int_equal(reg_read(pf, 0x4080), 1);
	assert_int_equal(reg_read(pf, 0x4080), 0);
	assert_int_equal(reg_read(pf, 0x4090), 104);
	assert_int_equal(reg_read(pf, 0x4094), 0);
	assert_int_equal(reg_read(pf, 0x4090), 0);
	assert_int_equal(reg_read(a, 0xf10), 1);
	assert_int_equal(reg_read(a, 0xf18), 104);
}

/* A VF's counters go on when its driver resets it, and begin again when its function is reset. */
static void counters_of_a_vf(void **state)
{
	uint8_t out[100], in[IGB_FRAME_MAX];

	frame_make(out, 100, a->mac, pf->mac, 0x88b5);
	nic_send(c, pf, out, 100);
	assert_int_equal(nic_receive(a, in, NULL), 100);
	assert_int_equal(reg_read(a, 0xf10), 1);
	reg_write(a, 0, IGB_CTRL_RST);
	assert_int_equal(reg_read(a, 0xf10), 1);
	assert_int_equal(reg_read(a, 0xf18), 104);
	pcif_reset(a->f);
	assert_int_equal(igb_read_vf_stats(a->fn, 0), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(checksums),
		TEST(segmentation),
		TEST(segmentation_in_several_batches),
		TEST(vlans),
		TEST(port_vlan),
		TEST(legacy_descriptors),
		TEST(split_headers),
		TEST(receive_side_scaling),
		TEST(jumbo),
		TEST(second_places),
		TEST(counters_of_a_vf),
	};

	return cmocka_run_group_tests_name("igb_offload", tests, NULL, NULL);
}
