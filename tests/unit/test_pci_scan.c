/* SPDX-License-Identifier: BSD-3-Clause */
/* Tables that a BAR names: served, reset and scanned by pci, in the right order. */
#include <sched.h>
#include <sys/mman.h>

#include "pci_test.h"

#define PATIENCE_NS (20ull * 1000000000ull)
#define eventually(condition)                                                                      \
	do {                                                                                       \
		uint64_t end_ = time_mono_ns() + PATIENCE_NS;                                      \
                                                                                                   \
		while (!(condition)) {                                                             \
			assert_true(time_mono_ns() < end_);                                        \
			sched_yield();                                                             \
		}                                                                                  \
	} while (0)

/* Commands before and after their argument in the table, of both kinds; an answer of each. */
enum { R_EARLY, R_GO, R_ARG, R_LATE, R_EARLY_ARG, R_GO_ARG, R_LATE_ARG, R_TRAPPED };
#define EARLY 0x1000
#define GO 0x1004
#define ARG 0x1008
#define LATE 0x100c
#define EARLY_ARG 0x1010
#define GO_ARG 0x1014
#define LATE_ARG 0x1018
#define TRAPPED 0x20

static struct pcif *function;
static void *table_state;
static _Atomic unsigned commands, go_hooks;

static void answer(unsigned reg)
{
	struct pcif_regs *regs = pcif_bar_regs(function, 0);

	pcif_regs_set(regs, reg, 0, pcif_regs_get(regs, R_ARG, 0));
}

static void w_early(void *state, unsigned index, uint32_t value)
{
	table_state = state;
	commands++;
	answer(R_EARLY_ARG);
}

static void w_go(void *state, unsigned index, uint32_t value)
{
	go_hooks++;
	answer(R_GO_ARG);
}

static void w_late(void *state, unsigned index, uint32_t value)
{
	answer(R_LATE_ARG);
}

static const struct pcif_reg table[] = {
	[R_EARLY] = { "EARLY", EARLY, PCIF_REG_MAILBOX, .write = w_early },
	[R_GO] = { "GO", GO, PCIF_REG_PLAIN, .wmask = UINT32_MAX, .write = w_go },
	[R_ARG] = { "ARG", ARG, PCIF_REG_PLAIN, .wmask = UINT32_MAX },
	[R_LATE] = { "LATE", LATE, PCIF_REG_MAILBOX, .write = w_late },
	[R_EARLY_ARG] = { "EARLY_ARG", EARLY_ARG, PCIF_REG_STATUS },
	[R_GO_ARG] = { "GO_ARG", GO_ARG, PCIF_REG_STATUS },
	[R_LATE_ARG] = { "LATE_ARG", LATE_ARG, PCIF_REG_STATUS },
	[R_TRAPPED] = { "TRAPPED", TRAPPED, PCIF_REG_PLAIN, .reset = 5, .wmask = UINT32_MAX },
};

static struct pcif *table_machine(struct pcim **m)
{
	tm_desc.bars[0].regs = table;
	tm_desc.bars[0].n_regs = ARRAY_SIZE(table);
	commands = go_hooks = 0;
	function = tm_machine(m);
	pcif_config_write(function, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_IO);
	return function;
}

static uint32_t *word(unsigned offset)
{
	return (uint32_t *)((uint8_t *)pcif_bar_image(function, 0) + offset);
}

static void store(unsigned offset, uint32_t value)
{
	__atomic_store_n(word(offset), value, __ATOMIC_RELEASE);
}

static uint32_t load(unsigned offset)
{
	return __atomic_load_n(word(offset), __ATOMIC_ACQUIRE);
}

static uint32_t rd(unsigned offset)
{
	uint32_t v;

	assert_int_equal(pcif_bar_read(function, 0, offset, &v, 4, false), 0);
	return v;
}

static void wr(unsigned offset, uint32_t v)
{
	assert_int_equal(pcif_bar_write(function, 0, offset, &v, 4, false), 0);
}

/* ------------------------------------------------------------------ tests */

static void served(void **state)
{
	struct pcim *m;
	struct pcif *f = table_machine(&m);
	uint8_t byte;

	assert_non_null(pcif_bar_regs(f, 0));
	assert_null(pcif_bar_regs(f, 2));
	assert_null(pcif_bar_regs(f, 4));
	assert_null(pcif_bar_regs(f, 6));
	assert_int_equal(rd(TRAPPED), 5);
	wr(TRAPPED, 0x01020304);
	assert_int_equal(pcif_bar_read(f, 0, TRAPPED + 3, &byte, 1, false), 0);
	assert_int_equal(byte, 1);
	assert_int_equal(rd(0x3000), 0);
	wr(ARG, 77);
	wr(EARLY, 1);
	assert_int_equal(rd(EARLY_ARG), 77);
	assert_int_equal(load(EARLY_ARG), 77);
	assert_ptr_equal(table_state, tm_last);
	/* The model's hooks serve the BARs without a table, and only those. */
	assert_int_equal(tm_last->n_log, 0);
	assert_int_equal(pcif_bar_read(f, 4, 3, &byte, 1, false), 0);
	assert_int_equal(tm_last->n_log, 1);
	pcim_free(m);
}

static void state_of_its_own(void **state)
{
	struct pcim *m;
	int mine;

	tm_desc.bars[0].regs_state = &mine;
	table_machine(&m);
	wr(EARLY, 1);
	assert_ptr_equal(table_state, &mine);
	pcim_free(m);
}

/* Each command finds the argument that was stored before it, wherever the scan was. */
static void arguments_first(void **state)
{
	struct pcim *m;
	uint32_t value = 0;

	table_machine(&m);
	pcif_set_shared(function, true);
	for (unsigned i = 0; i < 300; i++) {
		store(ARG, ++value);
		store(EARLY, 1);
		eventually(load(EARLY_ARG));
		assert_int_equal(load(EARLY_ARG), value);
		store(ARG, ++value);
		store(GO, value);
		eventually(load(GO_ARG) == value);
		store(ARG, ++value);
		store(LATE, 1);
		eventually(load(LATE_ARG) == value);
		/* Also across the ways: a trapped access comes after what was stored. */
		store(ARG, ++value);
		wr(LATE, 1);
		assert_int_equal(load(LATE_ARG), value);
		store(ARG, ++value);
		store(LATE, 1);
		assert_int_equal(rd(LATE_ARG), value);
		pcif_lock(function);
		pcif_regs_set(pcif_bar_regs(function, 0), R_EARLY_ARG, 0, 0);
		pcif_unlock(function);
	}
	assert_int_equal(go_hooks, 300);
	pcif_set_shared(function, false);
	pcim_free(m);
}

/*
 * The same where it is hard: a scan takes so long from the argument to the commands that many a
 * command comes while one is between the two.
 */
enum { W_ARG, W_FILLER, W_GO, W_CMD, W_GO_ARG, W_CMD_ARG };
#define WIDE 0x10000
#ifdef __SANITIZE_THREAD__
#define WIDE_ROUNDS 60u /* each takes long */
#else
#define WIDE_ROUNDS 600u
#endif

static void wide_answer(unsigned reg)
{
	struct pcif_regs *regs = pcif_bar_regs(function, 0);

	pcif_regs_set(regs, reg, 0, pcif_regs_get(regs, W_ARG, 0));
}

static void w_wide_go(void *state, unsigned index, uint32_t value)
{
	go_hooks++;
	wide_answer(W_GO_ARG);
}

static void w_wide_cmd(void *state, unsigned index, uint32_t value)
{
	commands++;
	wide_answer(W_CMD_ARG);
}

static const struct pcif_reg wide_table[] = {
	[W_ARG] = { "ARG", WIDE, PCIF_REG_PLAIN, .wmask = UINT32_MAX },
	[W_FILLER] = { "FILLER", WIDE + 4, PCIF_REG_PLAIN, .count = 16000, .stride = 4 },
	[W_GO] = { "GO", WIDE + 0xff00, PCIF_REG_PLAIN, .wmask = UINT32_MAX, .write = w_wide_go },
	[W_CMD] = { "CMD", WIDE + 0xff04, PCIF_REG_MAILBOX, .write = w_wide_cmd },
	[W_GO_ARG] = { "GO_ARG", WIDE + 0xff08, PCIF_REG_STATUS },
	[W_CMD_ARG] = { "CMD_ARG", WIDE + 0xff0c, PCIF_REG_STATUS },
};

/* Else each store would come at the same point of the scanner's round. */
static void dither(uint32_t i)
{
	uint64_t end = time_mono_ns() + i * 7919 % 100000;

	while (time_mono_ns() < end)
		;
}

static void arguments_behind_the_scan(void **state)
{
	struct pcim *m;

	tm_desc.bars[0] = (struct pcif_bar){
		.type = PCIF_BAR_MEM32,
		.size = 2 * WIDE,
		.areas = { { WIDE, WIDE, PCIF_PAGE_SHARED } },
		.n_areas = 1,
		.regs = wide_table,
		.n_regs = ARRAY_SIZE(wide_table),
	};
	commands = go_hooks = 0;
	function = tm_machine(&m);
	pcif_set_shared(function, true);
	for (uint32_t i = 1; i <= WIDE_ROUNDS; i++) {
		dither(2 * i);
		store(WIDE, 2 * i);
		store(WIDE + 0xff00, i);
		eventually(go_hooks == i);
		eventually(load(WIDE + 0xff08) == 2 * i);
		dither(2 * i + 1);
		store(WIDE, 2 * i + 1);
		store(WIDE + 0xff04, 1);
		eventually(commands == i);
		eventually(load(WIDE + 0xff0c) == 2 * i + 1);
	}
	pcif_set_shared(function, false);
	pcim_free(m);
}

static void on_reset(struct tm_state *s)
{
	if (!pcif_bar_regs(s->f, 0) || !function)
		return;
	/* The table was reset before. */
	pcif_lock(s->f);
	assert_int_equal(pcif_regs_get(pcif_bar_regs(s->f, 0), R_TRAPPED, 0), 5);
	pcif_unlock(s->f);
	/* What a client stores now is seen when the reset is over. */
	commands = 0;
	store(EARLY, 1);
	for (unsigned i = 0; i < 1000; i++)
		sched_yield();
	assert_int_equal(commands, 0);
}

static void parked_in_reset(void **state)
{
	struct pcim *m;

	function = NULL;
	table_machine(&m);
	tm_last->on_reset = on_reset;
	pcif_set_shared(function, true);
	for (unsigned i = 0; i < 20; i++) {
		pcif_config_write(function, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
		wr(TRAPPED, 9);
		pcif_reset(function);
		eventually(commands == 1);
	}
	pcim_free(m);
}

/* Once nothing is shared and another image is in place, the old one may be unmapped. */
static void image_changes(void **state)
{
	struct pcim *m;
	uint64_t offset;
	int fd;

	table_machine(&m);
	fd = pcif_bar_memfd(function, 0, &offset);
	for (unsigned i = 1; i <= 20; i++) {
		void *p = mmap(NULL, 0x4000, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)offset);

		assert_ptr_not_equal(p, MAP_FAILED);
		pcif_bar_set_image(function, 0, p);
		pcif_set_shared(function, true);
		store(EARLY, 1);
		eventually(commands == i);
		pcif_set_shared(function, false);
		pcif_bar_set_image(function, 0, NULL);
		munmap(p, 0x4000);
	}
	pcim_free(m);
}

/* ------------------------------------------------------------------ many at once */

/* Each VF counts its commands; command 2 waits until the test lets it go. */
#define CROWD 64u
enum { C_COMMAND, C_COUNT };
static _Atomic unsigned waiting;
static atomic_bool let_go;

static void w_crowd(void *state, unsigned index, uint32_t value)
{
	struct tm_state *s = state;
	struct pcif_regs *regs = pcif_bar_regs(s->f, 0);

	if (value == 2) {
		waiting++;
		eventually(atomic_load(&let_go));
	}
	pcif_regs_set(regs, C_COUNT, 0, pcif_regs_get(regs, C_COUNT, 0) + 1);
}

static const struct pcif_reg crowd_table[] = {
	[C_COMMAND] = { "COMMAND", 0x1000, PCIF_REG_MAILBOX, .write = w_crowd },
	[C_COUNT] = { "COUNT", 0x1004, PCIF_REG_STATUS },
};

static struct pcif *crowd[CROWD];

static void crowd_new(struct pcim **m)
{
	struct pcif *pf;

	tm_desc = tm_pf_desc(CROWD);
	tm_desc.sriov.bars[0].areas[0].policy = PCIF_PAGE_SHARED;
	tm_desc.sriov.bars[0].regs = crowd_table;
	tm_desc.sriov.bars[0].n_regs = ARRAY_SIZE(crowd_table);
	waiting = 0;
	let_go = false;
	pf = tm_machine(m);
	assert_int_equal(pcim_sriov_enable(pf, CROWD), 0);
	for (unsigned i = 0; i < CROWD; i++) {
		crowd[i] = pcim_vf(pf, i);
		pcif_set_shared(crowd[i], true);
	}
}

static void crowd_free(struct pcim *m)
{
	for (unsigned i = 0; i < CROWD; i++)
		pcif_put(crowd[i]);
	pcim_free(m);
}

static void crowd_store(unsigned i, uint32_t value)
{
	uint8_t *image = pcif_bar_image(crowd[i], 0);

	__atomic_store_n((uint32_t *)(image + 0x1000), value, __ATOMIC_RELEASE);
}

static uint32_t crowd_count(unsigned i)
{
	uint8_t *image = pcif_bar_image(crowd[i], 0);

	return __atomic_load_n((uint32_t *)(image + 0x1004), __ATOMIC_ACQUIRE);
}

/* All of them hot at once, and again, and one after the other. */
static void many_functions(void **state)
{
	struct pcim *m;

	crowd_new(&m);
	for (unsigned round = 1; round <= 10; round++) {
		for (unsigned i = 0; i < CROWD; i++)
			crowd_store(i, 1);
		for (unsigned i = 0; i < CROWD; i++)
			eventually(crowd_count(i) == round);
	}
	for (unsigned i = 0; i < CROWD; i++) {
		crowd_store(i, 1);
		eventually(crowd_count(i) == 11);
	}
	/* What has none any more is left alone, and seen when it has one again. */
	for (unsigned i = 0; i < CROWD; i++) {
		pcif_set_shared(crowd[i], false);
		crowd_store(i, 1);
	}
	usleep(20000);
	for (unsigned i = 0; i < CROWD; i++) {
		assert_int_equal(crowd_count(i), 11);
		pcif_set_shared(crowd[i], true);
	}
	for (unsigned i = 0; i < CROWD; i++)
		eventually(crowd_count(i) == 12);
	crowd_free(m);
}

/* Hooks that do not come back, with the lock of their functions: nobody else waits for them. */
static void stuck_hooks(void **state)
{
	const unsigned stuck = 8;
	struct pcim *m;

	crowd_new(&m);
	for (unsigned i = 0; i < stuck; i++)
		crowd_store(i, 2);
	eventually(waiting == stuck);
	for (unsigned round = 1; round <= 5; round++) {
		for (unsigned i = stuck; i < CROWD; i++)
			crowd_store(i, 1);
		for (unsigned i = stuck; i < CROWD; i++)
			eventually(crowd_count(i) == round);
	}
	for (unsigned i = stuck; i < CROWD; i++) {
		pcif_reset(crowd[i]);
		pcif_set_shared(crowd[i], false);
	}
	let_go = true;
	for (unsigned i = 0; i < stuck; i++)
		eventually(crowd_count(i) == 1);
	crowd_free(m);
}

/* Functions end in whatever state they are in. */
static void ends_while_hot(void **state)
{
	struct pcim *m;

	for (unsigned round = 0; round < 5; round++) {
		crowd_new(&m);
		for (unsigned i = 0; i < CROWD; i++)
			crowd_store(i, 1);
		if (round % 2)
			pcif_reset(crowd[round]);
		crowd_free(m);
	}
}

static void bad_descriptions(void **state)
{
	static const struct pcif_reg cases[] = {
		{ "misaligned", 2, PCIF_REG_PLAIN },
		{ "past the end", 0x4000, PCIF_REG_PLAIN },
		{ "array past the end", 0x3ff0, PCIF_REG_PLAIN, .count = 5, .stride = 4 },
	};
	struct pcif_reply_error err;
	struct pcim *m;

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		tm_desc.bars[0].regs = &cases[i];
		tm_desc.bars[0].n_regs = 1;
		assert_int_equal(pcim_new(&m), 0);
		assert_int_equal(pcim_add(m, tm_bdf, &tm_model, NULL, &err), -EINVAL);
		assert_non_null(strstr(err.text, "BAR 0"));
		pcim_free(m);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		tm_test(served),	   tm_test(state_of_its_own),
		tm_test(arguments_first),  tm_test(arguments_behind_the_scan),
		tm_test(parked_in_reset),  tm_test(image_changes),
		tm_test(bad_descriptions), tm_test(many_functions),
		tm_test(stuck_hooks),	   tm_test(ends_while_hot),
	};

	guard_remember();
	return cmocka_run_group_tests_name("pci_scan", tests, NULL, NULL);
}
