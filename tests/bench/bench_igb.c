/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the card itself needs for a frame from one virtual function to another, without a driver
 * beside it: batches are put into a ring and the worker's step is timed. One JSON object a line.
 */
#include "../unit/igb_client.h"

#define BURST 48u
#define ROUNDS 4000u

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void receive(struct nic *n)
{
	for (unsigned i = 0; i < BURST; i++) {
		must(le64_get(rx_ring(n)[n->rx_next].hi) & IGB_RXD_DD);
		rx_fill(n, n->rx_next);
		n->rx_next = (n->rx_next + 1) % RING;
		n->rx_tail = (n->rx_tail + 1) % RING;
	}
	reg_write(n, n->rx_base + 0x18, n->rx_tail);
}

static void bench(struct card *c, uint32_t len, const char *name)
{
	static uint64_t took[ROUNDS];
	struct nic *from = &c->vfs[0], *to = &c->vfs[1];
	uint8_t frame[2048];
	uint64_t resume;

	frame_make(frame, len, to->mac, from->mac, 0x88b5);
	for (unsigned round = 0; round < ROUNDS; round++) {
		for (unsigned i = 0; i < BURST; i++)
			tx_desc(from, tx_buf(from, frame, len), TX_DATA | IGB_TXD_EOP | len,
				len << 14);
		tx_ring_bell(from);
		took[round] = time_mono_ns();
		while (igb_step(&c->card->worker, false, &resume))
			;
		took[round] = time_mono_ns() - took[round];
		receive(to);
	}
	qsort(took, ROUNDS, sizeof(took[0]), compare);
	printf("{\"row\": \"%s\", \"value\": %.1f, \"unit\": \"ns\"}\n", name,
	       (double)took[ROUNDS / 2] / BURST);
}

int main(void)
{
	struct card *c = card_new("mac=52:54:00:12:34:50,vfs=2", 2);

	for (unsigned i = 0; i < 2; i++)
		nic_start(&c->vfs[i]);
	bench(c, 60, "frame_64");
	bench(c, 1514, "frame_1518");
	card_free(c);
	return 0;
}
