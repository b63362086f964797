/* SPDX-License-Identifier: BSD-3-Clause */
/* The network card: what a driver asks before it sends, and frames between functions. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "fds.h"
#include "igb_client.h"

/* cmocka puts its own handler of SIGBUS around each test. */
static struct sigaction guard_action;

static const uint8_t broadcast[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
static const uint8_t stranger[6] = { 0x52, 0x54, 0, 9, 9, 9 };

static uint16_t nvm(struct nic *n, unsigned word)
{
	uint32_t v;

	reg_write(n, 0x14, word << 2 | IGB_EERD_START);
	v = reg_read(n, 0x14);
	assert_true(v & IGB_EERD_DONE);
	return (uint16_t)(v >> 16);
}

static void nvm_has_the_address(void **state)
{
	struct card *c = card_new("mac=52:54:00:12:34:56", 0);
	uint16_t sum = 0;

	assert_int_equal(nvm(&c->pf, 0), 0x5452);
	assert_int_equal(nvm(&c->pf, 1), 0x1200);
	assert_int_equal(nvm(&c->pf, 2), 0x5634);
	for (unsigned i = 0; i <= 0x3f; i++)
		sum = (uint16_t)(sum + nvm(&c->pf, i));
	assert_int_equal(sum, 0xbaba);
	/* The first receive address has it from the start. */
	assert_int_equal(reg_read(&c->pf, 0x5400), 0x12005452);
	assert_int_equal(reg_read(&c->pf, 0x5404), IGB_RAH_AV | 0x5634);
	card_free(c);
}

static uint32_t mdic(struct nic *n, uint32_t op, unsigned phy, unsigned reg, uint16_t value)
{
	reg_write(n, 0x20, op | phy << 21 | reg << 16 | value);
	return reg_read(n, 0x20);
}

static void phy_and_link(void **state)
{
	struct card *c = card_new("vfs=0", 0);
	struct nic *n = &c->pf;
	uint32_t v = mdic(n, IGB_MDIC_READ, 1, 2, 0);

	assert_true(v & IGB_MDIC_READY);
	assert_int_equal(v & 0xffff, 0x02a8);
	assert_true(mdic(n, IGB_MDIC_READ, 3, 2, 0) & IGB_MDIC_ERROR);
	assert_true(mdic(n, IGB_MDIC_READ, 1, 1, 0) & 0x4);
	assert_true(reg_read(n, 0x8) & IGB_STATUS_LU);
	/* Power down takes the link away, and tells. */
	reg_write(n, 0xd0, IGB_ICR_LSC);
	(void)reg_read(n, 0xc0);
	mdic(n, IGB_MDIC_WRITE, 1, 0, 0x1940);
	assert_false(reg_read(n, 0x8) & IGB_STATUS_LU);
	assert_int_equal(reg_read(n, 0xc0) & ~IGB_ICR_INTA, IGB_ICR_LSC);
	mdic(n, IGB_MDIC_WRITE, 1, 0, 0x1140);
	assert_true(reg_read(n, 0x8) & IGB_STATUS_LU);
	card_free(c);
}

static void options(void **state)
{
	static const struct {
		const char *key, *value, *word;
	} bad[] = {
		{ "mac", "52:54:00:12:34", "six bytes" },
		{ "mac", "01:00:5e:00:00:01", "group" },
		{ "mac", "00:00:00:00:00:00", "zero" },
		{ "vfs", "8", "vfs" },
		{ "mmio", "some", "mmio" },
		{ "mac", "52:54:00:12:34:5g", "six bytes" },
	};
	struct pci_bdf bdf = { 0, 0x65, 0, 0 };

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		struct pcif_reply_error err = { "" };
		struct pcif_params *params;
		struct pcim *m;

		pcim_params_new(&params);
		pcim_params_set(params, bad[i].key, bad[i].value);
		pcim_new(&m);
		assert_int_equal(pcim_add(m, bdf, &device_igb, params, &err), -EINVAL);
		if (!strstr(err.text, bad[i].word))
			fail_msg("%s=%s: %s", bad[i].key, bad[i].value, err.text);
		pcim_free(m);
		pcim_params_free(params);
	}
}

/* Sends to where @to says and finds it at @n, or not. */
static void expect(struct card *c, struct nic *from, struct nic *n, const uint8_t *to, uint32_t len,
		   bool arrives)
{
	uint8_t out[IGB_FRAME_MAX], in[IGB_FRAME_MAX];
	uint32_t status = 0;

	frame_make(out, len, to, from->mac, 0x88b5);
	nic_send(c, from, out, len);
	assert_int_equal(nic_receive(n, in, &status), arrives ? MAX(len, 60u) : 0);
	if (arrives) {
		assert_memory_equal(in, out, len);
		assert_true(status & IGB_RXD_LB);
	}
}

static void frames_between_functions(void **state)
{
	struct card *c = card_new("vfs=3,mac=52:54:00:12:34:50", 3);
	struct nic *a = &c->vfs[0], *b = &c->vfs[1], *pf = &c->pf;

	nic_start(a);
	nic_start(b);
	nic_start(pf);
	assert_int_equal(a->mac[5], 0x51);
	assert_int_equal(b->mac[5], 0x52);
	for (unsigned i = 0; i < 3 * RING; i++)
		expect(c, a, b, b->mac, 60 + i * 7, true);
	expect(c, a, b, b->mac, 20, true); /* padded */
	expect(c, b, pf, pf->mac, 1000, true);
	expect(c, pf, a, a->mac, 1514, true);
	expect(c, a, pf, b->mac, 100, false);
	assert_int_equal(nic_receive(b, (uint8_t[IGB_FRAME_MAX]){ 0 }, NULL), 100);
	expect(c, a, b, stranger, 100, false);
	/* Broadcast: everybody but the sender; VF 2 has no driver. */
	expect(c, a, b, broadcast, 64, true);
	assert_int_equal(nic_receive(pf, (uint8_t[IGB_FRAME_MAX]){ 0 }, NULL), 64);
	assert_int_equal(nic_receive(a, (uint8_t[IGB_FRAME_MAX]){ 0 }, NULL), 0);
	/* What was sent is reported. */
	assert_true(le32_get(tx_ring(a)[0].olinfo) & IGB_TXD_DD);
	assert_int_equal(reg_read(a, a->tx_base + 0x10), a->tx_tail);
	card_free(c);
}

static void expect_counters(struct nic *n, uint64_t spoofed, uint64_t muted)
{
	struct pcif_counter out[PCIF_COUNTERS_MAX];

	assert_int_equal(pcif_counters(n->f, out), 4);
	assert_string_equal(out[0].name, "spoofed");
	assert_int_equal(out[0].value, spoofed);
	assert_string_equal(out[1].name, "muted");
	assert_int_equal(out[1].value, muted);
}

static void spoofed_frames_are_stopped(void **state)
{
	struct card *c = card_new("vfs=2", 2);
	struct nic *a = &c->vfs[0], *b = &c->vfs[1];
	uint8_t frame[100], in[IGB_FRAME_MAX];

	nic_start(b);
	frame_make(frame, sizeof(frame), b->mac, a->fn->policy.mac, 0x88b5);
	tx_start(a);
	nic_send(c, a, frame, sizeof(frame));
	assert_int_equal(nic_receive(b, in, NULL), 0);
	expect_counters(a, 0, 1);
	reg_write(a, a->tx_base + 0x28, 0);
	reg_write(a, a->tx_base + 0x10, 0);
	nic_start(a);
	frame_make(frame, sizeof(frame), b->mac, stranger, 0x88b5);
	nic_send(c, a, frame, sizeof(frame));
	assert_int_equal(nic_receive(b, in, NULL), 0);
	expect_counters(a, 1, 1);
	expect_counters(b, 0, 0);
	expect_counters(&c->pf, 1, 1);
	expect(c, a, b, b->mac, 100, true);
	card_free(c);
}

/* Descriptors that lead nowhere, tails outside of the ring: dropped, and the queue goes on. */
static void nonsense(void **state)
{
	struct card *c = card_new("vfs=2", 2);
	struct nic *a = &c->vfs[0], *b = &c->vfs[1];
	struct pcif_counter counters[PCIF_COUNTERS_MAX];
	uint8_t frame[100], in[IGB_FRAME_MAX];

	nic_start(a);
	nic_start(b);
	frame_make(frame, sizeof(frame), b->mac, a->mac, 0x88b5);
	tx_desc(a, 0x7000000000ull, TX_DATA | IGB_TXD_EOP | 100, 100 << 14);
	tx_desc(a, NIC_IOVA + TX_BUFS, TX_DATA | IGB_TXD_EOP | 0, 0);
	tx_desc(a, NIC_IOVA + TX_BUFS, TX_DATA | IGB_TXD_EOP | 0xffff, 0);
	tx_desc(a, 0x7000000000ull, TX_DATA | 100, 200 << 14);
	tx_desc(a, NIC_IOVA + TX_BUFS, TX_DATA | IGB_TXD_EOP | 100, 0);
	nic_send(c, a, frame, sizeof(frame));
	assert_int_equal(nic_receive(b, in, NULL), 100);
	assert_int_equal(nic_receive(b, in, NULL), 0);
	assert_int_equal(reg_read(a, a->tx_base + 0x10), a->tx_tail);
	assert_int_equal(pcif_counters(a->f, counters), 4);
	assert_string_equal(counters[3].name, "discarded");
	assert_int_equal(counters[3].value, 4);
	assert_int_equal(c->card->discarded, 4);
	reg_write(a, a->tx_base + 0x18, RING + 5);
	card_pump(c);
	expect(c, a, b, b->mac, 100, true);
	/* A receive buffer that is not there: the descriptor comes back with an error. */
	rx_ring(b)[b->rx_next].lo = le64_make(0x7000000000ull);
	reg_write(b, b->rx_base + 0x28, 0);
	reg_write(b, b->rx_base + 0x28, IGB_QUEUE_ENABLE);
	b->rx_next = 0;
	rx_ring(b)[0].lo = le64_make(0x7000000000ull);
	nic_send(c, a, frame, sizeof(frame));
	assert_int_equal(nic_receive(b, in, NULL), 0);
	assert_true((uint32_t)le64_get(rx_ring(b)[0].hi) == 0);
	expect(c, a, b, b->mac, 100, true);
	card_free(c);
}

/* A VF that has said hello and receives nothing yet: what is for it is lost, and counted. */
static void queue_of_a_vf_off(void **state)
{
	struct card *c = card_new("vfs=2", 2);
	struct nic *a = &c->vfs[0], *b = &c->vfs[1];

	nic_start(a);
	nic_start(b);
	reg_write(b, b->rx_base + 0x28, 0);
	expect(c, a, b, b->mac, 100, false);
	expect(c, a, b, broadcast, 100, false);
	assert_int_equal(b->fn->missed, 2);
	assert_int_equal(c->card->missed, 2);
	card_free(c);
}

/* A queue without buffers drops, and goes on when it has some. */
static void no_buffers(void **state)
{
	struct card *c = card_new("vfs=1", 1);
	struct nic *a = &c->vfs[0], *pf = &c->pf;
	uint8_t in[IGB_FRAME_MAX];

	nic_start(a);
	nic_start(pf);
	reg_write(pf, pf->rx_base + 0x18, 2);
	(void)reg_read(pf, 0x4010);
	for (unsigned i = 0; i < 5; i++) {
		uint8_t frame[64];

		frame_make(frame, 64, pf->mac, a->mac, 0x88b5);
		nic_send(c, a, frame, 64);
	}
	assert_int_equal(reg_read(pf, 0x4010), 3);
	assert_int_equal(reg_read(pf, 0x4010), 0);
	pf->rx_tail = 2;
	assert_int_equal(nic_receive(pf, in, NULL), 64);
	assert_int_equal(nic_receive(pf, in, NULL), 64);
	assert_int_equal(nic_receive(pf, in, NULL), 0);
	expect(c, a, pf, pf->mac, 64, true);
	card_free(c);
}

/* ------------------------------------------------------------------ long frames */

/* Behind their head these go straight from the sender's memory to the receiver's. */
static void queue_long(struct nic *from, struct nic *to, unsigned i, uint32_t len)
{
	uint8_t frame[BUF];

	frame_make(frame, len, to->mac, from->mac, 0x88b5);
	memset(frame + 14, (int)i + 1, len - 14);
	tx_desc(from, tx_buf(from, frame, len), TX_DATA | IGB_TXD_EOP | len, len << 14);
}

static void expect_long(struct nic *n, unsigned i, uint32_t len)
{
	uint8_t got[BUF], want[BUF];

	assert_int_equal(nic_receive(n, got, NULL), len);
	memset(want, (int)i + 1, len);
	assert_memory_equal(got + 14, want + 14, len - 14);
}

static uint32_t length(unsigned i)
{
	return i % 3 ? 1514 - i : 500 + i;
}

static void batch_of_long_frames(struct card *c)
{
	struct nic *from = &c->vfs[0], *to = &c->vfs[1];
	unsigned first = from->tx_tail;

	for (unsigned i = 0; i < 40; i++)
		queue_long(from, to, i, length(i));
	tx_ring_bell(from);
	card_pump(c);
	for (unsigned i = 0; i < 40; i++) {
		expect_long(to, i, length(i));
		assert_true(le32_get(tx_ring(from)[(first + i) % RING].olinfo) & IGB_TXD_DD);
	}
	assert_int_equal(nic_receive(to, (uint8_t[BUF]){ 0 }, NULL), 0);
}

/* In one mapping, and in more of them than are held at a time. */
static void long_frames(void **state)
{
	struct card *c = card_new("vfs=2", 2);
	struct nic *n = &c->vfs[0];
	uint64_t removed;

	for (unsigned i = 0; i < 2; i++)
		nic_start(&c->vfs[i]);
	batch_of_long_frames(c);
	assert_int_equal(iommu_space_unmap(n->space, IOMMU_UNMAP_ALL, 0, 0, &removed), 0);
	for (uint64_t at = 0; at < NIC_RAM; at += 0x4000)
		assert_int_equal(iommu_space_map(n->space, NIC_IOVA + at, 0x4000,
						 IOMMU_READ | IOMMU_WRITE, n->mem,
						 (uintptr_t)n->device + at),
				 0);
	for (unsigned i = 0; i < 3; i++)
		batch_of_long_frames(c);
	card_free(c);
}

/* Memory that the sender takes away, or never had: nothing of anybody else's comes out of it. */
static void long_frames_without_memory(void **state)
{
	struct card *c = card_new("vfs=2", 2);
	struct nic *from = &c->vfs[0], *to = &c->vfs[1];
	uint8_t got[BUF], zero[BUF] = { 0 };
	int empty = memfd_create("empty", MFD_CLOEXEC);
	uint64_t at = TX_BUFS + 8 * BUF - 256;

	sigaction(SIGBUS, &guard_action, NULL);
	for (unsigned i = 0; i < 2; i++)
		nic_start(&c->vfs[i]);
	frame_make(from->ram + at, 256, to->mac, from->mac, 0x88b5);
	assert_ptr_not_equal(mmap(from->device + at + 256, 4096, PROT_READ | PROT_WRITE,
				  MAP_SHARED | MAP_FIXED, empty, 0),
			     MAP_FAILED);
	close(empty);
	tx_desc(from, NIC_IOVA + at, TX_DATA | IGB_TXD_EOP | 1514, 1514 << 14);
	tx_desc(from, NIC_IOVA + NIC_RAM - 200, TX_DATA | IGB_TXD_EOP | 1514, 1514 << 14);
	queue_long(from, to, 2, 900);
	tx_ring_bell(from);
	card_pump(c);
	assert_int_equal(nic_receive(to, got, NULL), 1514);
	assert_memory_equal(got, from->ram + at, IGB_HEAD);
	assert_memory_equal(got + IGB_HEAD, zero, 1514 - IGB_HEAD);
	expect_long(to, 2, 900);
	for (unsigned i = 0; i < 3; i++)
		assert_true(le32_get(tx_ring(from)[i].olinfo) & IGB_TXD_DD);
	card_free(c);
}

/* What was under way when its queue was reset is not told to the driver that begins anew. */
static void long_frames_and_reset(void **state)
{
	struct card *c = card_new("vfs=2", 2);
	struct nic *n = &c->vfs[0];
	struct igb_batch *b = c->card->worker.batch;

	for (unsigned i = 0; i < 2; i++)
		nic_start(&c->vfs[i]);
	queue_long(n, &c->vfs[1], 0, 1514);
	tx_ring_bell(n);
	b->limit = IGB_BATCH;
	pcif_lock(n->f);
	(void)igb_tx(n->fn, b);
	pcif_unlock(n->f);
	assert_int_equal(b->n_done, 1);
	reg_write(n, n->tx_base + 0x28, 0);
	reg_write(n, n->tx_base + 0x28, IGB_QUEUE_ENABLE);
	pcif_lock(n->f);
	igb_tx_done(n->fn, b);
	igb_dma_done(n->fn);
	pcif_unlock(n->f);
	assert_false(le32_get(tx_ring(n)[0].olinfo) & IGB_TXD_DD);
	card_free(c);
}

/* Vectors by IVAR, one interrupt for a batch, automatic clear and mask. */
static void interrupts_of_a_vf(void **state)
{
	struct card *c = card_new("vfs=2", 2);
	struct nic *a = &c->vfs[0], *b = &c->vfs[1];
	uint8_t frame[64];

	nic_start(a);
	nic_start(b);
	reg_write(b, 0x1700, 0x80 | 0x81 << 8); /* receive: vector 0, transmit: 1 */
	reg_write(b, 0x1740, 0x82);
	reg_write(b, 0x152c, 7);
	reg_write(b, 0x1530, 7);
	reg_write(b, 0x1524, 7);
	frame_make(frame, 64, b->mac, a->mac, 0x88b5);
	for (unsigned i = 0; i < 10; i++)
		tx_desc(a, tx_buf(a, frame, 64), TX_DATA | IGB_TXD_EOP | 64, 64 << 14);
	tx_ring_bell(a);
	card_pump(c);
	assert_int_equal(b->irqs[0], 1);
	assert_int_equal(reg_read(b, 0x1524), 6); /* masked itself */
	nic_send(c, a, frame, 64);
	assert_int_equal(b->irqs[0], 1);
	reg_write(b, 0x1524, 1);
	assert_int_equal(b->irqs[0], 2);
	frame_make(frame, 64, a->mac, b->mac, 0x88b5);
	nic_send(c, b, frame, 64);
	assert_int_equal(b->irqs[1], 1);
	assert_int_equal(b->irqs[2], 0);
	reg_write(b, 0x800, IGB_MSG_SET_LPE);
	reg_write(b, 0x804, 1518);
	reg_write(b, 0xc40, IGB_V2P_REQ);
	assert_int_equal(b->irqs[2], 1);
	assert_int_equal(reg_read(b, 0x800), IGB_MSG_SET_LPE | IGB_MSG_CTS | IGB_MSG_ACK);
	assert_int_equal(reg_read(b, 0xc40), IGB_V2P_PFSTS | IGB_V2P_PFACK);
	assert_int_equal(reg_read(b, 0xc40), 0);
	card_free(c);
}

static unsigned uplink_n;
static uint8_t uplink_frame[IGB_FRAME_MAX];

static void to_uplink(void *arg, const uint8_t *data, uint32_t len)
{
	uplink_n++;
	memcpy(uplink_frame, data, len);
}

/* What nobody here is known by goes out; what comes in goes to whom it is for. */
static void uplink(void **state)
{
	struct card *c = card_new("vfs=2", 2);
	struct nic *a = &c->vfs[0], *b = &c->vfs[1];
	uint8_t out[100], in[IGB_FRAME_MAX];
	uint32_t status = 0;

	c->card->uplink_send = to_uplink;
	nic_start(a);
	nic_start(b);
	nic_start(&c->pf);
	uplink_n = 0;
	expect(c, a, b, b->mac, 100, true);
	assert_int_equal(uplink_n, 0);
	expect(c, a, b, stranger, 100, false);
	assert_int_equal(uplink_n, 1);
	assert_memory_equal(uplink_frame, stranger, 6);
	expect(c, a, b, broadcast, 100, true);
	assert_int_equal(uplink_n, 2);
	(void)nic_receive(&c->pf, in, NULL);
	frame_make(out, 100, b->mac, stranger, 0x88b5);
	igb_uplink_receive(c->card, out, 100);
	assert_int_equal(nic_receive(b, in, &status), 100);
	assert_false(status & IGB_RXD_LB);
	assert_int_equal(nic_receive(a, in, NULL), 0);
	memcpy(out, broadcast, 6);
	igb_uplink_receive(c->card, out, 100);
	assert_int_equal(nic_receive(a, in, NULL), 100);
	assert_int_equal(nic_receive(b, in, NULL), 100);
	assert_int_equal(nic_receive(&c->pf, in, NULL), 100);
	assert_int_equal(uplink_n, 2);
	(void)reg_read(&c->pf, 0x40a4);
	igb_uplink_receive(c->card, out, 13);
	assert_int_equal(reg_read(&c->pf, 0x40a4), 1);
	card_free(c);
}

static void from_uplink(struct card *c, struct nic *to, unsigned seed)
{
	uint8_t frame[1500];

	frame_make(frame, sizeof(frame), to->mac, stranger, 0x88b5);
	frame[20] = (uint8_t)seed;
	frame[21] = (uint8_t)(seed >> 8);
	igb_uplink_receive(c->card, frame, sizeof(frame));
}

/* As drivers do: all the buffers that are full, then the tail. */
static unsigned take_all(struct card *c, struct nic *n, unsigned expected)
{
	uint8_t in[IGB_FRAME_MAX];
	unsigned taken = 0;

	for (;;) {
		card_pump(c);
		if (!nic_receive(n, in, NULL))
			return taken;
		assert_int_equal(in[20] | in[21] << 8, expected + taken);
		taken++;
	}
}

/* What comes in by the uplink waits for receive buffers, in order, and for no more than it has to;
 * what another function sends does not. */
static void waits_for_buffers(bool slow)
{
	struct card *c = card_new("vfs=2", 2);
	struct nic *a = &c->vfs[0], *b = &c->vfs[1];
	struct pcif_counter counters[PCIF_COUNTERS_MAX];
	unsigned n = 2 * RING, lost = slow ? 9 : 10;
	uint8_t out[64];

	if (slow)
		nic_memory_of_process(b);
	nic_start(a);
	nic_start(b);
	for (unsigned i = 0; i < n; i++)
		from_uplink(c, b, i);
	assert_true(igb_backlogs_ready(c->card));
	assert_int_equal(b->fn->missed, 0);
	assert_int_equal(b->fn->slow, slow);
	frame_make(out, sizeof(out), b->mac, a->mac, 0x88b5);
	if (!slow)
		nic_send(c, a, out, sizeof(out));
	assert_int_equal(b->fn->missed, !slow);
	assert_int_equal(take_all(c, b, 0), n);
	from_uplink(c, b, n);
	assert_int_equal(take_all(c, b, n), 1);
	/* Too many: the uplink is asked to wait, what comes all the same is lost and counted. */
	for (n = 0; igb_backlogs_ready(c->card); n++)
		from_uplink(c, b, n);
	assert_true(n > RING && n < 1000);
	for (; b->fn->missed < lost; n++)
		from_uplink(c, b, n);
	assert_int_equal(pcif_counters(b->f, counters), 4);
	assert_string_equal(counters[2].name, "missed");
	assert_int_equal(counters[2].value, lost);
	assert_false(igb_backlogs_ready(c->card));
	assert_int_equal(take_all(c, b, 0), n - 9);
	assert_true(igb_backlogs_ready(c->card));
	/* A driver that takes nothing keeps nobody waiting for long; nor does a reset. */
	while (igb_backlogs_ready(c->card))
		from_uplink(c, b, 0);
	b->fn->backlog.crowded_since -= 2000000000u;
	assert_true(igb_backlogs_ready(c->card));
	reg_write(b, 0, IGB_CTRL_RST);
	nic_start(b);
	assert_int_equal(take_all(c, b, 0), 0);
	card_free(c);
}

static void uplink_waits_for_buffers(void **state)
{
	waits_for_buffers(false);
}

static void uplink_waits_for_a_slow_one(void **state)
{
	waits_for_buffers(true);
}

/* The PF counts what waited and what was lost; a ring that never has room makes nothing wait. */
static void uplink_waits_for_the_pf(void **state)
{
	struct card *c = card_new("vfs=0", 0);
	struct nic *pf = &c->pf;
	unsigned n, lost;

	nic_start(pf);
	for (n = 0; n < RING + 9; n++)
		from_uplink(c, pf, n);
	assert_int_equal(reg_read(pf, 0x40a0), 10);
	assert_int_equal(reg_read(pf, 0x4010), 0);
	assert_int_equal(take_all(c, pf, 0), n);
	for (n = 0; n < 1000; n++)
		from_uplink(c, pf, n);
	lost = reg_read(pf, 0x4010);
	assert_true(lost > 0 && lost < 1000);
	assert_int_equal(take_all(c, pf, 0), n - lost);
	reg_write(pf, pf->rx_base + 0x18, RING + 7);
	from_uplink(c, pf, 0);
	assert_int_equal(reg_read(pf, 0x4010), 1);
	assert_int_equal(pf->fn->backlog.used, 0);
	card_free(c);
}

/* 10 ms of the rate may go at once; then it waits, and says until when. */
static void rate_of_a_vf(void **state)
{
	struct card *c = card_new("vfs=2,vf_rate=8", 2); /* a megabyte a second */
	struct nic *a = &c->vfs[0], *b = &c->vfs[1];
	uint8_t frame[1000], in[IGB_FRAME_MAX];
	uint64_t resume = 0, before, end;
	unsigned n = 0;

	nic_start(a);
	nic_start(b);
	frame_make(frame, sizeof(frame), b->mac, a->mac, 0x88b5);
	before = time_mono_ns();
	for (unsigned i = 0; i < 40; i++) {
		tx_desc(a, tx_buf(a, frame, 1000), TX_DATA | IGB_TXD_EOP | 1000, 1000 << 14);
		tx_ring_bell(a);
		igb_step(&c->card->worker, true, &resume);
		n += nic_receive(b, in, NULL) > 0;
	}
	assert_true(n >= 10 && n < 40);
	assert_true(resume > before);
	end = time_mono_ns() + 5000000000ull;
	while (n < 40 && time_mono_ns() < end) {
		igb_step(&c->card->worker, true, &resume);
		n += nic_receive(b, in, NULL) > 0;
	}
	assert_int_equal(n, 40);
	assert_true(time_mono_ns() - before >= 20000000u);
	card_free(c);
}

static uint64_t clock_read(struct nic *n)
{
	uint64_t low = reg_read(n, 0xb600);

	return low | (uint64_t)reg_read(n, 0xb604) << 32;
}

static void clock_counts(void **state)
{
	struct card *c = card_new("vfs=0", 0);
	uint64_t before, after, start;

	assert_int_equal(clock_read(&c->pf), 0);
	reg_write(&c->pf, 0xb604, 5);
	reg_write(&c->pf, 0xb600, 7);
	assert_int_equal(clock_read(&c->pf), 5ull << 32 | 7);
	start = time_mono_ns();
	reg_write(&c->pf, 0xb608, 1u << 24 | 16u << 19); /* nanoseconds, shifted by 19 */
	before = clock_read(&c->pf);
	while (time_mono_ns() - start < 2000000)
		;
	after = clock_read(&c->pf);
	assert_true((after - before) >> 19 >= 1000000);
	assert_true((after - before) >> 19 <= time_mono_ns() - start);
	card_free(c);
}

/* A reset of the VF, or of the PF, ends all that was set up. */
static void resets(void **state)
{
	struct card *c = card_new("vfs=2", 2);
	struct nic *a = &c->vfs[0], *b = &c->vfs[1];
	uint8_t frame[64], in[IGB_FRAME_MAX];

	nic_start(a);
	nic_start(b);
	reg_write(b, 0, IGB_CTRL_RST);
	frame_make(frame, 64, b->mac, a->mac, 0x88b5);
	nic_send(c, a, frame, 64);
	assert_int_equal(nic_receive(b, in, NULL), 0);
	nic_start(b);
	expect(c, a, b, b->mac, 64, true);
	pcif_reset(a->f);
	pcif_config_write(a->f, 4, 2, 6);
	assert_int_equal(reg_read(a, a->tx_base + 0x28), 0);
	tx_ring_bell(a);
	card_pump(c);
	assert_int_equal(nic_receive(b, in, NULL), 0);
	nic_start(a);
	expect(c, a, b, b->mac, 64, true);
	card_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nvm_has_the_address),
		cmocka_unit_test(phy_and_link),
		cmocka_unit_test(options),
		cmocka_unit_test(frames_between_functions),
		cmocka_unit_test(spoofed_frames_are_stopped),
		cmocka_unit_test(nonsense),
		cmocka_unit_test(no_buffers),
		cmocka_unit_test(queue_of_a_vf_off),
		cmocka_unit_test(long_frames),
		cmocka_unit_test(long_frames_without_memory),
		cmocka_unit_test(long_frames_and_reset),
		cmocka_unit_test(interrupts_of_a_vf),
		cmocka_unit_test(uplink),
		cmocka_unit_test(uplink_waits_for_buffers),
		cmocka_unit_test(uplink_waits_for_a_slow_one),
		cmocka_unit_test(uplink_waits_for_the_pf),
		cmocka_unit_test(rate_of_a_vf),
		cmocka_unit_test(clock_counts),
		cmocka_unit_test(resets),
	};

	guard_init();
	sigaction(SIGBUS, NULL, &guard_action);
	return cmocka_run_group_tests_name("igb", tests, NULL, NULL);
}
