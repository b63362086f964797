/* SPDX-License-Identifier: BSD-3-Clause */
/* Register tables: trapped accesses, and what clients store to a shared page. */
#include <sys/mman.h>

#include "pci_test.h"

/* Registers of BAR 0: page 0 is TRAP, page 1 SHARED. */
enum {
	R_CTRL,
	R_EVENTS,
	R_CMD,
	R_COUNT,
	R_SH_PLAIN,
	R_SH_MAIL,
	R_SH_STATUS,
	R_SH_BELL,
	R_SH_RESET
};
#define BELLS 40

static struct {
	unsigned reg, index;
	uint32_t value;
} hooks[256];
static unsigned n_hooks;
static struct pcif_regs *regs;

static void note(unsigned reg, unsigned index, uint32_t value)
{
	if (n_hooks < ARRAY_SIZE(hooks)) {
		hooks[n_hooks].reg = reg;
		hooks[n_hooks].index = index;
		hooks[n_hooks].value = value;
	}
	n_hooks++;
}

static void w_ctrl(void *state, unsigned index, uint32_t value)
{
	note(R_CTRL, index, value);
}
static void w_events(void *state, unsigned index, uint32_t value)
{
	note(R_EVENTS, index, value);
}
static void w_cmd(void *state, unsigned index, uint32_t value)
{
	note(R_CMD, index, value);
}
static void w_plain(void *state, unsigned index, uint32_t value)
{
	note(R_SH_PLAIN, index, value);
}
static void w_mail(void *state, unsigned index, uint32_t value)
{
	note(R_SH_MAIL, index, value);
}
static void w_bell(void *state, unsigned index, uint32_t value)
{
	note(R_SH_BELL, index, value);
}
static void w_reset(void *state, unsigned index, uint32_t value)
{
	note(R_SH_RESET, index, value);
	pcif_regs_reset(regs);
}
static uint32_t r_count(void *state, unsigned index)
{
	return 0x1000 + n_hooks;
}

static const struct pcif_reg table[] = {
	[R_CTRL] = { "CTRL", 0x00, PCIF_REG_PLAIN, 0x10, 0x0000ffff, 0, 0, 0, w_ctrl },
	[R_EVENTS] = { "EVENTS", 0x04, PCIF_REG_PLAIN, 0xf0, 0, 0xff, 0, 0, w_events },
	[R_CMD] = { "CMD", 0x08, PCIF_REG_MAILBOX, 0, 0, 0, 0, 0, w_cmd },
	[R_COUNT] = { "COUNT", 0x0c, PCIF_REG_STATUS, 0, 0, 0, 0, 0, NULL, r_count },
	[R_SH_PLAIN] = { "PLAIN", 0x1000, PCIF_REG_PLAIN, 3, 0x00ffffff, 0, 0, 0, w_plain },
	[R_SH_MAIL] = { "MAIL", 0x1004, PCIF_REG_MAILBOX, 0, 0, 0, 0, 0, w_mail },
	[R_SH_STATUS] = { "STATUS", 0x1008, PCIF_REG_STATUS, 0x77 },
	[R_SH_BELL] = { "BELL", 0x1100, PCIF_REG_PLAIN, 0, UINT32_MAX, 0, BELLS, 8, w_bell },
	[R_SH_RESET] = { "RESET", 0x1010, PCIF_REG_MAILBOX, 0, 0, 0, 0, 0, w_reset },
};

static void regs_on_create(struct tm_state *s)
{
	assert_int_equal(pcif_regs_new(s->f, 0, table, ARRAY_SIZE(table), s, &regs), 0);
}

static struct pcif *regs_machine(struct pcim **m)
{
	struct pcif *f;

	tm_on_create = regs_on_create;
	f = tm_machine(m);
	pcif_lock(f);
	pcif_regs_reset(regs);
	pcif_unlock(f);
	n_hooks = 0;
	return f;
}

static void regs_done(struct pcim *m)
{
	pcif_regs_free(regs);
	pcim_free(m);
}

static uint32_t *word(struct pcif *f, unsigned offset)
{
	return (uint32_t *)((uint8_t *)pcif_bar_image(f, 0) + offset);
}

static void client_store(struct pcif *f, unsigned offset, uint32_t value)
{
	__atomic_store_n(word(f, offset), value, __ATOMIC_RELEASE);
}

static uint32_t client_load(struct pcif *f, unsigned offset)
{
	return __atomic_load_n(word(f, offset), __ATOMIC_ACQUIRE);
}

#define HOOK(i, r, x, v)                                                                           \
	do {                                                                                       \
		assert_int_equal(hooks[i].reg, r);                                                 \
		assert_int_equal(hooks[i].index, x);                                               \
		assert_int_equal(hooks[i].value, v);                                               \
	} while (0)

static void trapped(void **state)
{
	struct pcim *m;
	struct pcif *f = regs_machine(&m);

	pcif_lock(f);
	assert_int_equal(pcif_regs_read(regs, 0, 4), 0x10);
	pcif_regs_write(regs, 0, 4, 0xabcd1234);
	HOOK(0, R_CTRL, 0, 0x1234);
	pcif_regs_write(regs, 0, 4, 0x1234); /* the same: no hook */
	assert_int_equal(n_hooks, 1);
	/* One and two bytes. */
	pcif_regs_write(regs, 1, 1, 0x56);
	HOOK(1, R_CTRL, 0, 0x5634);
	assert_int_equal(pcif_regs_read(regs, 1, 1), 0x56);
	assert_int_equal(pcif_regs_read(regs, 0, 2), 0x5634);
	assert_int_equal(pcif_regs_read(regs, 2, 2), 0);
	/* Write 1 to clear, only in the bytes that were written. */
	pcif_regs_write(regs, 4, 1, 0x30);
	HOOK(2, R_EVENTS, 0, 0xc0);
	pcif_regs_write(regs, 5, 1, 0xff);
	assert_int_equal(pcif_regs_read(regs, 4, 4), 0xc0);
	/* A mailbox is told of everything, reads 0. */
	pcif_regs_write(regs, 8, 4, 7);
	pcif_regs_write(regs, 8, 4, 7);
	pcif_regs_write(regs, 10, 2, 0xbeef);
	assert_int_equal(n_hooks, 6);
	HOOK(4, R_CMD, 0, 7);
	HOOK(5, R_CMD, 0, 0xbeef0000);
	assert_int_equal(pcif_regs_read(regs, 8, 4), 0);
	/* Computed, read-only. */
	pcif_regs_write(regs, 12, 4, 1);
	assert_int_equal(pcif_regs_read(regs, 12, 4), 0x1006);
	/* Eight bytes are two registers. */
	assert_int_equal(pcif_regs_read(regs, 0, 8), 0xc000005634);
	pcif_regs_write(regs, 0, 8, 0x8000000001);
	assert_int_equal(pcif_regs_read(regs, 0, 8), 0x4000000001);
	assert_int_equal(n_hooks, 8);
	/* Nothing there. */
	assert_int_equal(pcif_regs_read(regs, 0x20, 4), 0);
	assert_int_equal(pcif_regs_read(regs, 0x3ff8, 8), 0);
	assert_int_equal(pcif_regs_read(regs, UINT64_MAX - 3, 4), 0);
	pcif_regs_write(regs, 0x3ff8, 8, UINT64_MAX);
	/* Arrays. */
	pcif_regs_write(regs, 0x1100 + 8 * 39, 4, 5);
	HOOK(8, R_SH_BELL, 39, 5);
	pcif_regs_write(regs, 0x1104, 4, 5);
	pcif_regs_write(regs, 0x1100 + 8 * 40, 4, 5);
	assert_int_equal(n_hooks, 9);
	assert_int_equal(pcif_regs_get(regs, R_SH_BELL, 39), 5);
	assert_int_equal(pcif_regs_get(regs, R_SH_BELL, 40), 0);
	assert_int_equal(pcif_regs_get(regs, 99, 0), 0);
	pcif_regs_set(regs, 99, 0, 1);
	pcif_unlock(f);
	regs_done(m);
}

static void shared_page(void **state)
{
	struct pcim *m;
	struct pcif *f = regs_machine(&m);

	pcif_lock(f);
	assert_int_equal(client_load(f, 0x1000), 3);
	assert_int_equal(client_load(f, 0x1008), 0x77);
	assert_int_equal(pcif_regs_scan(regs), 0);
	/* Trapped writes and the model's own show in the image. */
	pcif_regs_write(regs, 0x1000, 4, 0xff000004);
	assert_int_equal(client_load(f, 0x1000), 4);
	pcif_regs_set(regs, R_SH_PLAIN, 0, 5);
	assert_int_equal(client_load(f, 0x1000), 5);
	pcif_regs_set(regs, R_SH_STATUS, 0, 0x78);
	assert_int_equal(client_load(f, 0x1008), 0x78);
	n_hooks = 0;
	/* Plain: masked, the image put right. */
	client_store(f, 0x1000, 0xaa000009);
	assert_int_equal(pcif_regs_scan(regs), 1);
	HOOK(0, R_SH_PLAIN, 0, 9);
	assert_int_equal(client_load(f, 0x1000), 9);
	/* Mailbox: taken out. */
	client_store(f, 0x1004, 0x55);
	assert_int_equal(pcif_regs_scan(regs), 1);
	HOOK(1, R_SH_MAIL, 0, 0x55);
	assert_int_equal(client_load(f, 0x1004), 0);
	client_store(f, 0x1004, 0x55);
	assert_int_equal(pcif_regs_scan(regs), 1);
	/* Status: put right, no hook. */
	client_store(f, 0x1008, 1);
	assert_int_equal(pcif_regs_scan(regs), 0);
	assert_int_equal(client_load(f, 0x1008), 0x78);
	assert_int_equal(n_hooks, 3);
	pcif_unlock(f);
	regs_done(m);
}

/* A client's store that lies between our look and our own change is not lost. */
static void store_meets_set(void **state)
{
	struct pcim *m;
	struct pcif *f = regs_machine(&m);

	pcif_lock(f);
	client_store(f, 0x1000, 0x20);
	pcif_regs_set(regs, R_SH_PLAIN, 0, 0x30);
	assert_int_equal(client_load(f, 0x1000), 0x20);
	assert_int_equal(pcif_regs_scan(regs), 1);
	HOOK(0, R_SH_PLAIN, 0, 0x20);
	assert_int_equal(pcif_regs_get(regs, R_SH_PLAIN, 0), 0x20);
	/* There and back again: our change comes through after all. */
	client_store(f, 0x1000, 0x21);
	pcif_regs_set(regs, R_SH_PLAIN, 0, 0x31);
	client_store(f, 0x1000, 0x20);
	assert_int_equal(pcif_regs_scan(regs), 0);
	assert_int_equal(client_load(f, 0x1000), 0x31);
	pcif_unlock(f);
	/* A trapped access comes after what the client stored before it. */
	pcif_set_shared(f, true);
	pcif_lock(f);
	n_hooks = 0;
	client_store(f, 0x1000, 0x44);
	assert_int_equal(pcif_regs_read(regs, 0x1000, 4), 0x44);
	HOOK(0, R_SH_PLAIN, 0, 0x44);
	pcif_unlock(f);
	regs_done(m);
}

static void scan_arrays(void **state)
{
	struct pcim *m;
	struct pcif *f = regs_machine(&m);

	pcif_lock(f);
	for (unsigned i = 0; i < BELLS; i++)
		client_store(f, 0x1100 + 8 * i, 100 + i);
	client_store(f, 0x1000, 8);
	assert_int_equal(pcif_regs_scan_array(regs, R_SH_BELL, 2, 3), 3);
	HOOK(0, R_SH_BELL, 2, 102);
	HOOK(2, R_SH_BELL, 4, 104);
	assert_int_equal(pcif_regs_scan_array(regs, R_SH_BELL, 38, UINT32_MAX), 2);
	assert_int_equal(pcif_regs_scan_array(regs, R_SH_BELL, 40, 1), 0);
	assert_int_equal(pcif_regs_scan_array(regs, 77, 0, 1), 0);
	/* More than fit one batch. */
	assert_int_equal(pcif_regs_scan(regs), BELLS - 5 + 1);
	assert_int_equal(pcif_regs_scan(regs), 0);
	/* A hook that resets everything makes the rest void. */
	client_store(f, 0x1010, 1);
	client_store(f, 0x1000, 9);
	n_hooks = 0;
	(void)pcif_regs_scan(regs);
	assert_int_equal(pcif_regs_get(regs, R_SH_PLAIN, 0), 3);
	assert_int_equal(client_load(f, 0x1000), 3);
	assert_int_equal(pcif_regs_get(regs, R_SH_BELL, 7), 0);
	assert_int_equal(client_load(f, 0x1100 + 56), 0);
	assert_int_equal(pcif_regs_scan(regs), 0);
	pcif_unlock(f);
	regs_done(m);
}

static void image_vanishes_body(void)
{
	struct pcim *m;
	struct pcif *f = regs_machine(&m);
	int fd = memfd_create("gone", MFD_CLOEXEC);
	void *p = mmap(NULL, 0x4000, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	assert_ptr_not_equal(p, MAP_FAILED);
	pcif_bar_set_image(f, 0, p);
	pcif_lock(f);
	assert_int_equal(pcif_regs_scan(regs), 0);
	pcif_regs_write(regs, 0x1000, 4, 77);
	assert_int_equal(pcif_regs_read(regs, 0x1000, 4), 77);
	pcif_regs_reset(regs);
	assert_int_equal(pcif_regs_read(regs, 0x1000, 4), 3);
	pcif_unlock(f);
	pcif_bar_set_image(f, 0, NULL);
	munmap(p, 0x4000);
	close(fd);
	regs_done(m);
}

static void image_vanishes(void **state)
{
	if (guard_restore())
		image_vanishes_body();
}

static void bad_tables(void **state)
{
	static const struct pcif_reg cases[][2] = {
		{ { "a", 2 }, { "b", 8 } },
		{ { "a", 4 }, { "b", 4 } },
		{ { "a", 0, .count = 3, .stride = 4 }, { "b", 8 } },
		{ { "a", 0, .count = 3, .stride = 0 }, { "b", 8 } },
		{ { "a", 0, .count = 3, .stride = 6 }, { "b", 0x100 } },
		{ { "a", 16u << 20 }, { "b", 0 } },
		{ { "a", 0, .count = UINT32_MAX, .stride = 4 }, { "b", 4 } },
	};
	struct pcif_regs *r;
	struct pcim *m;
	struct pcif *f = tm_machine(&m);

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(pcif_regs_new(f, 0, cases[i], 2, NULL, &r), -EINVAL);
	/* An empty table is one, and registers past the BAR's end are not shared. */
	assert_int_equal(pcif_regs_new(f, 0, NULL, 0, NULL, &r), 0);
	assert_int_equal(pcif_regs_read(r, 0, 8), 0);
	assert_int_equal(pcif_regs_scan(r), 0);
	pcif_regs_free(r);
	static const struct pcif_reg far = { "far", 0x8000, PCIF_REG_PLAIN, 1, 1 };

	assert_int_equal(pcif_regs_new(f, 0, &far, 1, NULL, &r), 0);
	pcif_regs_reset(r);
	assert_int_equal(pcif_regs_read(r, 0x8000, 4), 1);
	pcif_regs_free(r);
	pcif_regs_free(NULL);
	pcim_free(m);
}

/* ------------------------------------------------------------------ a client that stores all the
 * time */

#define STORES 20000u

static void *storing_client(void *data)
{
	struct pcif *f = data;

	for (uint32_t i = 1; i <= STORES; i++) {
		client_store(f, 0x1100, i);
		if (i % 64 == 0)
			client_store(f, 0x1004, i);
		if (i % 16 == 0)
			(void)pcif_bar_write(f, 0, 0x1108, &i, 4, true);
	}
	return NULL;
}

static uint64_t regs_bar_read(struct tm_state *s, unsigned bar, uint64_t offset, unsigned size)
{
	return pcif_regs_read(regs, offset, size);
}

static void regs_bar_write(struct tm_state *s, unsigned bar, uint64_t offset, unsigned size,
			   uint64_t value)
{
	pcif_regs_write(regs, offset, size, value);
}

static void concurrent_stores(void **state)
{
	pthread_t client;
	struct pcim *m;
	struct pcif *f = regs_machine(&m);
	uint32_t last = 0, now;

	tm_last->on_read = regs_bar_read;
	tm_last->on_write = regs_bar_write;
	pcif_config_write(f, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	pcif_set_shared(f, true);
	assert_int_equal(pthread_create(&client, NULL, storing_client, f), 0);
	do {
		pcif_lock(f);
		(void)pcif_regs_scan(regs);
		now = pcif_regs_get(regs, R_SH_BELL, 0);
		pcif_regs_set(regs, R_SH_STATUS, 0, now);
		pcif_unlock(f);
		/* Values never go back: no older one is written over a newer. */
		assert_true(now >= last);
		last = now;
	} while (now != STORES);
	pthread_join(client, NULL);
	pcif_lock(f);
	(void)pcif_regs_scan(regs);
	assert_int_equal(pcif_regs_get(regs, R_SH_BELL, 1), STORES);
	pcif_unlock(f);
	assert_int_equal(client_load(f, 0x1008), STORES);
	assert_int_equal(client_load(f, 0x1108), STORES);
	regs_done(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		tm_test(trapped),	    tm_test(shared_page),    tm_test(store_meets_set),
		tm_test(scan_arrays),	    tm_test(image_vanishes), tm_test(bad_tables),
		tm_test(concurrent_stores),
	};

	guard_remember();
	return cmocka_run_group_tests_name("pci_regs", tests, NULL, NULL);
}
