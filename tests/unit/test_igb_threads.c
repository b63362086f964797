/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The network card with its threads: two drivers send to each other, by trapped registers and by
 * mmap, from memory that is mapped and from memory that may make the card wait, while a third
 * function is reset again and again. Frames arrive in order and whole, or not at all; who waits
 * for each frame before the next loses none.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <sched.h>

#include "fds.h"
#include "igb_client.h"

#define FRAMES 1500u
#define WINDOW 8u
#define PATIENCE_NS 30000000000ull

struct side {
	struct nic *n;
	const struct nic *peer;
	uint32_t *bar; /* mapped, or NULL */
	_Atomic unsigned received;
	const _Atomic unsigned *peer_received;
	bool ok;
};

static void side_write(struct side *s, uint32_t offset, uint32_t v)
{
	if (s->bar)
		__atomic_store_n(&s->bar[offset / 4], v, __ATOMIC_RELEASE);
	else
		reg_write(s->n, offset, v);
}

static void send_one(struct side *s, unsigned number)
{
	struct nic *n = s->n;
	uint32_t len = 64 + number % 1000;
	uint8_t frame[1100];

	frame_make(frame, len, s->peer->mac, n->mac, 0x88b5);
	memcpy(frame + 14, &number, sizeof(number));
	tx_desc(n, tx_buf(n, frame, len), TX_DATA | IGB_TXD_EOP | len, len << 14);
	__atomic_thread_fence(__ATOMIC_RELEASE);
	side_write(s, n->tx_base + 0x18, n->tx_tail);
}

/* 0 if there is none; else whether it is the one that is due. */
static int receive_one(struct side *s, unsigned number)
{
	struct nic *n = s->n;
	struct igb_rx_desc *d = &rx_ring(n)[n->rx_next];
	uint64_t hi = le64toh(__atomic_load_n(&d->hi.raw, __ATOMIC_ACQUIRE));
	uint32_t len = 64 + number % 1000;
	uint8_t frame[1100];
	int good;

	if (!(hi & IGB_RXD_DD))
		return 0;
	frame_make(frame, len, n->mac, s->peer->mac, 0x88b5);
	memcpy(frame + 14, &number, sizeof(number));
	good = (hi >> 32 & 0xffff) == len &&
	       !memcmp(n->ram + RX_BUFS + n->rx_next * BUF, frame, len);
	rx_fill(n, n->rx_next);
	n->rx_next = (n->rx_next + 1) % RING;
	n->rx_tail = (n->rx_tail + 1) % RING;
	side_write(s, n->rx_base + 0x18, n->rx_tail);
	return good ? 1 : -1;
}

static void *driver(void *data)
{
	struct side *s = data;
	uint64_t end = time_mono_ns() + PATIENCE_NS;
	unsigned sent = 0;

	while ((s->received < FRAMES || sent < FRAMES) && time_mono_ns() < end) {
		int got = receive_one(s, s->received);

		if (got < 0)
			return NULL;
		s->received += (unsigned)got;
		if (sent < FRAMES && sent - *s->peer_received < WINDOW)
			send_one(s, sent++);
		else if (!got)
			sched_yield();
	}
	s->ok = s->received == FRAMES;
	return NULL;
}

struct disturber {
	struct card *c;
	_Atomic bool stop;
};

static void *disturb(void *data)
{
	struct disturber *d = data;
	struct nic *third = &d->c->vfs[2];

	while (!d->stop) {
		pcif_reset(third->f);
		pcif_config_write(third->f, 4, 2, 6);
		memset(third->ram, 0, NIC_RAM);
		nic_start(third);
		(void)reg_read(&d->c->pf, 0x4074);
		sched_yield();
	}
	return NULL;
}

static void map_bar(struct side *s)
{
	uint64_t offset;
	int fd = pcif_bar_memfd(s->n->f, 0, &offset);

	s->bar = mmap(NULL, KIB(16), PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)offset);
	assert_ptr_not_equal(s->bar, MAP_FAILED);
	pcif_set_shared(s->n->f, true);
}

static void run(const char *options, bool mapped, bool slow)
{
	struct card *c;
	struct side a, b;
	struct disturber d = { 0 };
	pthread_t threads[3];

	card_threads = true;
	c = card_new(options, 3);
	card_threads = false;
	d.c = c;
	if (slow)
		nic_memory_of_process(&c->vfs[1]);
	a = (struct side){ .n = &c->vfs[0], .peer = &c->vfs[1] };
	b = (struct side){ .n = &c->vfs[1], .peer = &c->vfs[0] };
	a.peer_received = &b.received;
	b.peer_received = &a.received;
	nic_start(a.n);
	nic_start(b.n);
	if (mapped) {
		map_bar(&a);
		map_bar(&b);
	}
	pthread_create(&threads[0], NULL, driver, &a);
	pthread_create(&threads[1], NULL, driver, &b);
	pthread_create(&threads[2], NULL, disturb, &d);
	pthread_join(threads[0], NULL);
	pthread_join(threads[1], NULL);
	d.stop = true;
	pthread_join(threads[2], NULL);
	if (mapped) {
		pcif_set_shared(a.n->f, false);
		pcif_set_shared(b.n->f, false);
		munmap(a.bar, KIB(16));
		munmap(b.bar, KIB(16));
	}
	assert_int_equal(c->vfs[0].fn->slow, false);
	assert_int_equal(c->vfs[1].fn->slow, slow);
	card_free(c);
	if (!a.ok || !b.ok)
		fail_msg("%u and %u of %u frames", a.received, b.received, FRAMES);
}

static void trapped(void **state)
{
	run("vfs=3,mmio=trap", false, false);
}

static void by_mmap(void **state)
{
	run("vfs=3", true, false);
}

static void all_by_mmap(void **state)
{
	run("vfs=3,mmio=shared", true, false);
}

static void slow_memory(void **state)
{
	run("vfs=3,mmio=trap", false, true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(trapped),
		cmocka_unit_test(by_mmap),
		cmocka_unit_test(all_by_mmap),
		cmocka_unit_test(slow_memory),
	};

	return cmocka_run_group_tests_name("igb_threads", tests, NULL, NULL);
}
