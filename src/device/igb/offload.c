/* SPDX-License-Identifier: BSD-3-Clause */
/* What the card computes of a frame: layers, checksums, the receive-side scaling hash, FCS. */
#include "device/igb/priv.h"

#define ETH_VLAN 0x8100
#define ETH_IP4 0x0800
#define ETH_IP6 0x86dd
#define IP_TCP 6
#define IP_UDP 17
#define IP_SCTP 132

static uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static uint16_t l4_type(uint8_t protocol)
{
	return protocol == IP_TCP    ? IGB_RXD_TYPE_TCP
	       : protocol == IP_UDP  ? IGB_RXD_TYPE_UDP
	       : protocol == IP_SCTP ? IGB_RXD_TYPE_SCTP
				     : 0;
}

static void parse_ip4(const uint8_t *data, uint32_t len, uint32_t at, struct igb_headers *h)
{
	uint32_t size;

	if (at + 20 > len || data[at] >> 4 != 4)
		return;
	size = (data[at] & 15) * 4u;
	if (size < 20 || at + size > len)
		return;
	h->l3 = (uint16_t)at;
	h->type = size > 20 ? IGB_RXD_TYPE_IP4 | IGB_RXD_TYPE_IP4E : IGB_RXD_TYPE_IP4;
	h->protocol = data[at + 9];
	h->fragment = get16(data + at + 6) & 0x3fff;
	if (h->fragment)
		return;
	h->l4 = (uint16_t)(at + size);
	h->type |= l4_type(h->protocol);
}

static void parse_ip6(const uint8_t *data, uint32_t len, uint32_t at, struct igb_headers *h)
{
	uint32_t next = at + 40;
	uint8_t protocol;

	if (next > len || data[at] >> 4 != 6)
		return;
	h->l3 = (uint16_t)at;
	h->type = IGB_RXD_TYPE_IP6;
	protocol = data[at + 6];
	/* Hop by hop, routing, destination options; a fragment ends it. */
	for (unsigned i = 0; i < 8 && (protocol == 0 || protocol == 43 || protocol == 60); i++) {
		if (next + 8 > len)
			return;
		h->type |= IGB_RXD_TYPE_IP6E;
		protocol = data[next];
		next += 8u + data[next + 1] * 8u;
	}
	h->protocol = protocol;
	h->fragment = protocol == 44;
	if (h->fragment || next > len)
		return;
	h->l4 = (uint16_t)next;
	h->type |= l4_type(protocol);
}

/* Never looks past @len. */
void igb_parse(const uint8_t *data, uint32_t len, struct igb_headers *h)
{
	uint32_t at = 14;
	uint16_t type;

	*h = (struct igb_headers){ 0 };
	if (len < 14)
		return;
	type = get16(data + 12);
	for (unsigned i = 0; i < 2 && type == ETH_VLAN && at + 4 <= len; i++) {
		type = get16(data + at + 2);
		at += 4;
	}
	if (type == ETH_IP4)
		parse_ip4(data, len, at, h);
	else if (type == ETH_IP6)
		parse_ip6(data, len, at, h);
}

/* ------------------------------------------------------------------ checksums */

uint32_t igb_sum(const uint8_t *data, uint32_t len, uint32_t sum)
{
	uint64_t wide = 0;

	/* Sums of 32 bits give the same; the order of bytes is put right at the end. */
	for (; len >= 4; data += 4, len -= 4) {
		uint32_t v;

		memcpy(&v, data, 4);
		wide += be32toh(v);
	}
	if (len >= 2) {
		wide += get16(data);
		data += 2;
		len -= 2;
	}
	if (len)
		wide += (uint32_t)data[0] << 8;
	wide = (wide >> 32) + (uint32_t)wide;
	wide = (wide >> 16) + (wide & 0xffff);
	wide = (wide >> 16) + (wide & 0xffff);
	return sum + (uint32_t)((wide >> 16) + (wide & 0xffff));
}

uint16_t igb_sum_fold(uint32_t sum)
{
	sum = (sum >> 16) + (sum & 0xffff);
	return (uint16_t)((sum >> 16) + sum);
}

uint32_t igb_pseudo_sum(const uint8_t *data, const struct igb_headers *h, uint32_t l4_len)
{
	bool ip6 = h->type & IGB_RXD_TYPE_IP6;
	uint32_t sum = igb_sum(data + h->l3 + (ip6 ? 8 : 12), ip6 ? 32 : 8, 0);

	return sum + h->protocol + (l4_len >> 16) + (l4_len & 0xffff);
}

static uint32_t crc_table[2][256];
static pthread_once_t crc_once = PTHREAD_ONCE_INIT;

static void crc_init(void)
{
	static const uint32_t polynomials[2] = { 0xedb88320u, 0x82f63b78u };

	for (unsigned t = 0; t < 2; t++)
		for (uint32_t i = 0; i < 256; i++) {
			uint32_t crc = i;

			for (unsigned k = 0; k < 8; k++)
				crc = crc >> 1 ^ (crc & 1 ? polynomials[t] : 0);
			crc_table[t][i] = crc;
		}
}

static uint32_t crc_of(unsigned t, const uint8_t *data, uint32_t len)
{
	uint32_t crc = 0xffffffffu;

	pthread_once(&crc_once, crc_init);
	while (len--)
		crc = crc >> 8 ^ crc_table[t][(crc ^ *data++) & 0xff];
	return ~crc;
}

uint32_t igb_crc32(const uint8_t *data, uint32_t len)
{
	return crc_of(0, data, len);
}

uint32_t igb_crc32c(const uint8_t *data, uint32_t len)
{
	return crc_of(1, data, len);
}

/* ------------------------------------------------------------------ receive-side scaling */

/* Which hash MRQC asks for: its bit, and how much of the addresses and ports it covers. */
static unsigned rss_kind(uint32_t mrqc, const struct igb_headers *h, bool *ports)
{
	static const struct {
		uint16_t l3, l4;
		uint8_t field, field_ex, type;
	} kinds[] = {
		{ IGB_RXD_TYPE_IP4, IGB_RXD_TYPE_TCP, IGB_RSS_TCP4, 0, 1 },
		{ IGB_RXD_TYPE_IP4, IGB_RXD_TYPE_UDP, IGB_RSS_UDP4, 0, 7 },
		{ IGB_RXD_TYPE_IP4, 0, IGB_RSS_IP4, 0, 2 },
		{ IGB_RXD_TYPE_IP6, IGB_RXD_TYPE_TCP, IGB_RSS_TCP6, IGB_RSS_TCP6_EX, 3 },
		{ IGB_RXD_TYPE_IP6, IGB_RXD_TYPE_UDP, IGB_RSS_UDP6, IGB_RSS_UDP6_EX, 8 },
		{ IGB_RXD_TYPE_IP6, 0, IGB_RSS_IP6, IGB_RSS_IP6_EX, 5 },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
		uint32_t bits = BIT(kinds[i].field);

		if (kinds[i].field_ex)
			bits |= BIT(kinds[i].field_ex);
		if (!(h->type & kinds[i].l3) || !(mrqc & bits) ||
		    (kinds[i].l4 && !(h->l4 && h->type & kinds[i].l4)))
			continue;
		*ports = kinds[i].l4;
		return kinds[i].type;
	}
	return 0;
}

/* Toeplitz, with RSSRK as the key. *@type 0: no hash. */
uint32_t igb_rss_hash(struct igb_fn *fn, const uint8_t *data, uint32_t len,
		      const struct igb_headers *h, unsigned *type)
{
	uint8_t input[36], key[40];
	unsigned n = h->type & IGB_RXD_TYPE_IP6 ? 32 : 8;
	uint32_t hash = 0, window;
	bool ports = false;

	*type = h->l3 ? rss_kind(igb_get(fn, IGB_R_MRQC, 0), h, &ports) : 0;
	if (!*type)
		return 0;
	memcpy(input, data + h->l3 + (n == 32 ? 8 : 12), n);
	if (ports && h->l4 + 4u > len)
		return *type = 0;
	if (ports)
		memcpy(input + n, data + h->l4, 4);
	n += ports ? 4 : 0;
	for (unsigned i = 0; i < 10; i++) {
		uint32_t word = htole32(igb_get(fn, IGB_R_RSSRK, i));

		memcpy(key + 4 * i, &word, 4);
	}
	window = (uint32_t)key[0] << 24 | key[1] << 16 | key[2] << 8 | key[3];
	for (unsigned i = 0; i < n; i++)
		for (unsigned bit = 0; bit < 8; bit++) {
			if (input[i] & 0x80 >> bit)
				hash ^= window;
			window = window << 1 | (key[i + 4] >> (7 - bit) & 1);
		}
	return hash;
}
