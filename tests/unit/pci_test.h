/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the unit tests of pci share: a model whose description the test gives and which counts what
 * is done to it, and a machine that holds it at 0000:65:00.0.
 */
#ifndef UVFIO_PCI_TEST_H
#define UVFIO_PCI_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <linux/pci_regs.h>
#include <pthread.h>
#include <signal.h>

#include "pci/pci.h"
#include "fds.h"

struct access {
	bool write;
	unsigned bar, size;
	uint64_t offset, value;
};

struct tm_state {
	struct pcif *f;
	struct tm_state *pf; /* of a VF */
	unsigned index;	     /* of a VF */
	_Atomic unsigned resets, shared_on, shared_off;
	void *image_off; /* of BAR 0, when it was told that it is shared no more */
	struct access log[64];
	unsigned n_log;
	void (*on_reset)(struct tm_state *s);
	uint64_t (*on_read)(struct tm_state *s, unsigned bar, uint64_t offset, unsigned size);
	void (*on_write)(struct tm_state *s, unsigned bar, uint64_t offset, unsigned size,
			 uint64_t value);
	void *user;
};

static struct pcif_desc tm_desc;
static struct tm_state *tm_last; /* of the function made last */
static unsigned tm_alive;
static void (*tm_on_create)(struct tm_state *s);

static int tm_create(struct pcif *f, const struct pcif_params *params, struct pcif_desc *desc,
		     void **state, struct pcif_reply_error *err)
{
	struct tm_state *s = calloc(1, sizeof(*s));

	assert_non_null(s);
	if (pcif_param(params, "fail")) {
		free(s);
		return pcif_error(err, -ENOSPC, "told to fail with %s", pcif_param(params, "fail"));
	}
	s->f = f;
	*desc = tm_desc;
	*state = s;
	tm_last = s;
	tm_alive++;
	if (tm_on_create)
		tm_on_create(s);
	return 0;
}

static int tm_vf_error; /* what making VF 2 gives */

static int tm_create_vf(struct pcif *f, void *pf_state, unsigned index, struct pcif_desc *desc,
			void **state, struct pcif_reply_error *err)
{
	struct tm_state *s = calloc(1, sizeof(*s));

	assert_non_null(s);
	if (tm_vf_error && index == 2) {
		free(s);
		return pcif_error(err, tm_vf_error, "told to fail");
	}
	s->f = f;
	s->pf = pf_state;
	s->index = index;
	desc->msix_vectors = 3;
	desc->msix_bar = 2;
	desc->msix_pba_offset = 0x800;
	*state = s;
	tm_alive++;
	return 0;
}

static void tm_destroy(void *state)
{
	struct tm_state *s = state;

	free(s);
	tm_alive--;
}

static uint64_t tm_bar_read(void *state, unsigned bar, uint64_t offset, unsigned size)
{
	struct tm_state *s = state;

	if (s->on_read)
		return s->on_read(s, bar, offset, size);
	if (s->n_log < ARRAY_SIZE(s->log))
		s->log[s->n_log++] = (struct access){ false, bar, size, offset, 0 };
	/* Each byte reads as the low byte of its offset. */
	uint64_t v = 0;

	for (unsigned i = 0; i < size; i++)
		v |= (uint64_t)((offset + i) & 0xff) << (8 * i);
	return v;
}

static void tm_bar_write(void *state, unsigned bar, uint64_t offset, unsigned size, uint64_t value)
{
	struct tm_state *s = state;

	if (s->on_write) {
		s->on_write(s, bar, offset, size, value);
		return;
	}
	if (s->n_log < ARRAY_SIZE(s->log))
		s->log[s->n_log++] = (struct access){ true, bar, size, offset, value };
}

static void tm_reset(void *state)
{
	struct tm_state *s = state;

	s->resets++;
	if (s->on_reset)
		s->on_reset(s);
}

static void tm_shared(void *state, bool on)
{
	struct tm_state *s = state;

	if (on)
		s->shared_on++;
	else
		s->shared_off++;
	if (!on)
		s->image_off = pcif_bar_image(s->f, 0);
}

static const struct pcif_model tm_model = {
	.name = "tm",
	.create = tm_create,
	.create_vf = tm_create_vf,
	.destroy = tm_destroy,
	.bar_read = tm_bar_read,
	.bar_write = tm_bar_write,
	.reset = tm_reset,
	.shared = tm_shared,
};

/* Everything that pci offers: 32-bit BAR with all policies, 64-bit BAR with MSI-X, I/O BAR. */
static inline struct pcif_desc tm_full_desc(void)
{
	return (struct pcif_desc){
		.vendor = 0x1234,
		.device = 0x5002,
		.subsystem_vendor = 0x1234,
		.subsystem_device = 0x0001,
		.class_code = 0xff0000,
		.revision = 2,
		.bars = {
			[0] = {
				.type = PCIF_BAR_MEM32,
				.size = 0x4000,
				.areas = {
					{ 0x1000, 0x1000, PCIF_PAGE_SHARED },
					{ 0x2000, 0x1000, PCIF_PAGE_RAM },
				},
				.n_areas = 2,
			},
			[2] = {
				.type = PCIF_BAR_MEM64,
				.prefetchable = true,
				.size = 0x8000,
				.areas = { { 0x4000, 0x4000, PCIF_PAGE_RAM } },
				.n_areas = 1,
			},
			[4] = { .type = PCIF_BAR_IO, .size = 32 },
		},
		.intx_pin = 1,
		.msi_vectors = 8,
		.msix_vectors = 70,
		.msix_bar = 2,
		.msix_table_offset = 0x1000,
		.msix_pba_offset = 0x2000,
		.pcie = true,
		.pm = true,
		.aer = true,
		.dsn = 0x0123456789abcdefull,
	};
}

/* The same with up to @n VFs: BAR 0 partly mappable, BAR 2 64 bits wide and with MSI-X. */
static inline struct pcif_desc tm_pf_desc(uint16_t n)
{
	struct pcif_desc desc = tm_full_desc();

	desc.sriov = (struct pcif_sriov){
		.total_vfs = n,
		.vf_device = 0x5003,
		.bars = {
			[0] = {
				.type = PCIF_BAR_MEM32,
				.size = 0x2000,
				.areas = { { 0x1000, 0x1000, PCIF_PAGE_RAM } },
				.n_areas = 1,
			},
			[2] = { .type = PCIF_BAR_MEM64, .prefetchable = true, .size = 0x1000 },
		},
	};
	return desc;
}

static const struct pci_bdf tm_bdf = { 0, 0x65, 0, 0 };

/* A machine with one function of @tm_desc, enumerated. */
static inline struct pcif *tm_machine(struct pcim **m)
{
	struct pcif_reply_error err = { "" };

	assert_int_equal(pcim_new(m), 0);
	assert_int_equal(pcim_add(*m, tm_bdf, &tm_model, NULL, &err), 0);
	assert_int_equal(pcim_enumerate(*m), 0);
	return pcim_find(*m, tm_bdf);
}

/* cmocka puts a SIGBUS handler of its own around each test; this puts the guard's back. */
static struct sigaction tm_guard_action;

static inline void guard_remember(void)
{
	assert_int_equal(guard_init(), 0);
	assert_int_equal(sigaction(SIGBUS, NULL, &tm_guard_action), 0);
}

/* False where the test has to end: cmocka's own skip() is a failure to those who read its TAP. */
static inline bool guard_restore(void)
{
#ifdef __SANITIZE_THREAD__
	return false; /* its runtime cannot be left by a jump out of a signal handler */
#endif
	assert_int_equal(sigaction(SIGBUS, &tm_guard_action, NULL), 0);
	return true;
}

/* Group fixtures: nothing is left behind. */
static unsigned tm_fds_before;

static int tm_setup(void **state)
{
	tm_desc = tm_full_desc();
	tm_on_create = NULL;
	tm_vf_error = 0;
	tm_fds_before = open_fds();
	return 0;
}

static int tm_teardown(void **state)
{
	assert_int_equal(tm_alive, 0);
	assert_int_equal(open_fds(), tm_fds_before);
	return 0;
}

#define tm_test(f) cmocka_unit_test_setup_teardown(f, tm_setup, tm_teardown)

#endif
