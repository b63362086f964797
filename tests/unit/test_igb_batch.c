/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Packets that are taken together, and what lies between them: each has the fate that it would have
 * by itself, and their order stays.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "igb_client.h"

static struct sigaction guard_action;

static uint64_t faults(struct nic *n)
{
	struct iommu_port_stats s;

	iommu_port_get_stats(pcif_iommu_port(n->f), &s);
	return s.faults;
}

static void queue_frame(struct nic *from, const uint8_t *to, const uint8_t *mac, uint32_t len,
			uint32_t cmd)
{
	uint8_t frame[BUF];

	frame_make(frame, len, to, mac, (uint16_t)(0x9000 + len));
	tx_desc(from, tx_buf(from, frame, len), cmd | IGB_TXD_EOP | len, len << 14);
}

static void expect_frame(struct nic *to, uint32_t len)
{
	uint8_t got[IGB_FRAME_MAX];

	assert_int_equal(nic_receive(to, got, NULL), MAX(len, 60u));
	assert_int_equal(got[12] << 8 | got[13], 0x9000 + len);
}

static void all_given_back(struct nic *n)
{
	for (unsigned i = 0; i < n->tx_tail; i++)
		assert_true(le32_get(tx_ring(n)[i].olinfo) & IGB_TXD_DD);
}

static void pair_new(struct card **c, struct nic **from, struct nic **to)
{
	*c = card_new("vfs=2", 2);
	*from = &(*c)->vfs[0];
	*to = &(*c)->vfs[1];
	nic_start(*from);
	nic_start(*to);
}

static void others_between(void **state)
{
	static const uint8_t stranger[6] = { 2, 9, 9, 9, 9, 9 };
	struct card *c;
	struct nic *from, *to;

	pair_new(&c, &from, &to);
	queue_frame(from, to->mac, from->mac, 64, TX_DATA);
	queue_frame(from, to->mac, from->mac, 20, TX_DATA);		      /* is padded */
	queue_frame(from, to->mac, stranger, 65, TX_DATA);		      /* is not allowed */
	queue_frame(from, to->mac, from->mac, 1400, TX_DATA);		      /* has a tail */
	queue_frame(from, to->mac, from->mac, 66, IGB_TXD_IFCS | IGB_TXD_RS); /* legacy */
	queue_frame(from, to->mac, from->mac, 67, TX_DATA);
	tx_context(from, 14 << 9 | 20, 0, 0);
	queue_frame(from, to->mac, from->mac, 13, TX_DATA);	   /* too short */
	tx_desc(from, 0x10, TX_DATA | IGB_TXD_EOP | 60, 60 << 14); /* nowhere */
	queue_frame(from, to->mac, from->mac, 68, TX_DATA);
	tx_ring_bell(from);
	card_pump(c);
	expect_frame(to, 64);
	expect_frame(to, 20);
	expect_frame(to, 1400);
	expect_frame(to, 66);
	expect_frame(to, 67);
	expect_frame(to, 68);
	assert_int_equal(nic_receive(to, (uint8_t[BUF]){ 0 }, NULL), 0);
	assert_int_equal(faults(from), 1);
	assert_int_equal(from->fn->spoofed, 1);
	assert_int_equal(from->fn->discarded, 2);
	assert_true(le32_get(tx_ring(from)[9].olinfo) & IGB_TXD_DD);
	card_free(c);
}

/* One access that is refused is one fault, whichever way the packet goes. */
static void nowhere_first(void **state)
{
	struct card *c;
	struct nic *from, *to;

	pair_new(&c, &from, &to);
	tx_desc(from, 0x10, TX_DATA | IGB_TXD_EOP | 60, 60 << 14);
	queue_frame(from, to->mac, from->mac, 64, TX_DATA);
	tx_ring_bell(from);
	card_pump(c);
	expect_frame(to, 64);
	assert_int_equal(faults(from), 1);
	all_given_back(from);
	card_free(c);
}

/* Nor is a receive buffer that is nowhere: it comes back with an error, the next is used. */
static void no_such_buffer(void **state)
{
	struct card *c;
	struct nic *from, *to;

	pair_new(&c, &from, &to);
	rx_ring(to)[1].lo = le64_make(0x10);
	for (unsigned i = 0; i < 3; i++)
		queue_frame(from, to->mac, from->mac, 64 + i, TX_DATA);
	tx_ring_bell(from);
	card_pump(c);
	expect_frame(to, 64);
	assert_int_equal(le64_get(rx_ring(to)[1].hi), IGB_RXD_DD | IGB_RXD_EOP | BIT(31));
	rx_fill(to, to->rx_next++);
	expect_frame(to, 66);
	assert_int_equal(faults(to), 1);
	all_given_back(from);
	card_free(c);
}

/* Memory that is gone when the packets are copied: zeros, and the others are as they were. */
static void gone_in_the_middle(void **state)
{
	int empty = memfd_create("empty", MFD_CLOEXEC);
	uint64_t at = TX_BUFS + 40 * BUF;
	struct card *c;
	struct nic *from, *to;

	sigaction(SIGBUS, &guard_action, NULL);
	pair_new(&c, &from, &to);
	assert_ptr_not_equal(mmap(from->device + at, 4096, PROT_READ | PROT_WRITE,
				  MAP_SHARED | MAP_FIXED, empty, 0),
			     MAP_FAILED);
	close(empty);
	queue_frame(from, to->mac, from->mac, 64, TX_DATA);
	tx_desc(from, NIC_IOVA + at, TX_DATA | IGB_TXD_EOP | 64, 64 << 14);
	queue_frame(from, to->mac, from->mac, 65, TX_DATA);
	tx_ring_bell(from);
	card_pump(c);
	expect_frame(to, 64);
	expect_frame(to, 65);
	assert_int_equal(from->fn->spoofed, 1); /* from no address at all */
	all_given_back(from);
	card_free(c);
}

/* More than a batch, and more than the ring of the receiver has buffers for. */
static void more_than_fit(void **state)
{
	struct card *c;
	struct nic *from, *to;

	pair_new(&c, &from, &to);
	for (unsigned round = 0; round < 9; round++) {
		for (unsigned i = 0; i < RING - 1; i++)
			queue_frame(from, to->mac, from->mac, 64 + i, TX_DATA);
		tx_ring_bell(from);
		card_pump(c);
		for (unsigned i = 0; i < RING - 1; i++)
			expect_frame(to, 64 + i);
	}
	assert_int_equal(to->fn->missed, 0);
	queue_frame(from, to->mac, from->mac, 64, TX_DATA);
	for (unsigned round = 0; round < 2; round++) {
		for (unsigned i = 0; i < RING - 2; i++)
			queue_frame(from, to->mac, from->mac, 64 + i, TX_DATA);
		tx_ring_bell(from);
		card_pump(c);
	}
	assert_int_equal(to->fn->missed, 2 * (RING - 2) + 1 - (RING - 1));
	card_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(others_between), cmocka_unit_test(nowhere_first),
		cmocka_unit_test(no_such_buffer), cmocka_unit_test(gone_in_the_middle),
		cmocka_unit_test(more_than_fit),
	};

	guard_init();
	sigaction(SIGBUS, NULL, &guard_action);
	return cmocka_run_group_tests_name("igb batch", tests, NULL, NULL);
}
