/* SPDX-License-Identifier: BSD-3-Clause */
/* Interrupts: what is delivered, held back, dropped; and all of it from many threads at once. */
#include "pci_test.h"

#define BM PCI_COMMAND_MASTER

struct sink_log {
	_Atomic unsigned n, intx;
	_Atomic unsigned per_vector[PCIF_MAX_VECTORS];
};

static void on_message(void *data, unsigned vector)
{
	struct sink_log *log = data;

	log->n++;
	log->per_vector[vector]++;
}

static void on_intx(void *data)
{
	struct sink_log *log = data;

	log->intx++;
}

static struct sink_log the_log;

static struct pcif_irq_sink sink(void)
{
	memset(&the_log, 0, sizeof(the_log));
	return (struct pcif_irq_sink){ on_message, on_intx, &the_log };
}

static void not_connected(void **state)
{
	struct pcim *m;
	struct pcif *f = tm_machine(&m);

	assert_int_equal(pcif_irq_mode(f), PCIF_IRQ_NONE);
	pcif_irq_raise(f, 0);
	pcif_irq_raise(f, 69);
	pcif_irq_raise(f, 70);
	pcif_irq_raise(f, UINT32_MAX);
	pcif_intx_set(f, true);
	assert_true(pcif_intx_level(f));
	assert_int_equal(pcif_config_read(f, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT,
			 PCI_STATUS_INTERRUPT);
	pcif_intx_set(f, false);
	assert_int_equal(pcif_config_read(f, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT, 0);
	assert_int_equal(pcif_irq_count(f), 0);
	pcim_free(m);
}

static void msi(void **state)
{
	struct pcif_irq_sink s = sink();
	struct pcim *m;
	struct pcif *f = tm_machine(&m);
	unsigned cap = pcif_find_cap(f, PCI_CAP_ID_MSI);

	pcif_config_write(f, PCI_COMMAND, 2, BM);
	pcif_irq_connect(f, PCIF_IRQ_MSI, 4, &s);
	assert_int_equal(pcif_irq_mode(f), PCIF_IRQ_MSI);
	assert_int_equal(pcif_config_read(f, cap + 2, 1), 0x80 | 2 << 4 | 3 << 1 | 1);
	pcif_irq_raise(f, 3);
	pcif_irq_raise(f, 4);
	assert_int_equal(the_log.n, 1);
	assert_int_equal(the_log.per_vector[3], 1);
	/* Masked: pending, once, and sent when unmasked. */
	pcif_config_write(f, cap + PCI_MSI_MASK_64, 4, UINT32_MAX);
	assert_int_equal(pcif_config_read(f, cap + PCI_MSI_MASK_64, 4), 0xff);
	pcif_irq_raise(f, 2);
	pcif_irq_raise(f, 2);
	assert_int_equal(pcif_config_read(f, cap + PCI_MSI_PENDING_64, 4), 4);
	assert_int_equal(the_log.n, 1);
	pcif_config_write(f, cap + PCI_MSI_MASK_64, 1, 0xfb);
	assert_int_equal(the_log.per_vector[2], 1);
	assert_int_equal(pcif_config_read(f, cap + PCI_MSI_PENDING_64, 4), 0);
	pcif_config_write(f, cap + PCI_MSI_MASK_64, 4, 0);
	assert_int_equal(the_log.n, 2);
	/* Enable bit off by configuration: dropped. */
	pcif_config_write(f, cap + 2, 2, 0);
	pcif_irq_raise(f, 0);
	pcif_config_write(f, cap + 2, 2, 1);
	assert_int_equal(the_log.n, 2);
	pcif_irq_connect(f, PCIF_IRQ_NONE, 0, NULL);
	assert_int_equal(pcif_config_read(f, cap + 2, 1), 0x80 | 3 << 1);
	pcif_irq_raise(f, 0);
	assert_int_equal(the_log.n, 2);
	assert_int_equal(pcif_irq_count(f), 2);
	pcim_free(m);
}

static void bus_master_holds_back(void **state)
{
	struct pcif_irq_sink s = sink();
	struct pcim *m;
	struct pcif *f = tm_machine(&m);

	pcif_irq_connect(f, PCIF_IRQ_MSIX, 70, &s);
	pcif_irq_raise(f, 65);
	assert_int_equal(the_log.n, 0);
	pcif_config_write(f, PCI_COMMAND, 2, BM);
	assert_int_equal(the_log.per_vector[65], 1);
	assert_int_equal(the_log.n, 1);
	pcim_free(m);
}

static void msix(void **state)
{
	struct pcif_irq_sink s = sink();
	uint32_t v;
	struct pcim *m;
	struct pcif *f = tm_machine(&m);
	unsigned cap = pcif_find_cap(f, PCI_CAP_ID_MSIX);

	pcif_config_write(f, PCI_COMMAND, 2, BM | PCI_COMMAND_MEMORY);
	pcif_irq_raise(f, 1); /* remembered */
	assert_int_equal(pcif_bar_read(f, 2, 0x2000, &v, 4, false), 0);
	assert_int_equal(v, 2);
	pcif_irq_connect(f, PCIF_IRQ_MSIX, 4, &s);
	assert_int_equal(the_log.per_vector[1], 1);
	assert_int_equal(pcif_config_read(f, cap + 2, 2), 0x8000 | 69);
	/* Beyond what is wired: pending until it is. */
	pcif_irq_raise(f, 68);
	assert_int_equal(the_log.n, 1);
	assert_int_equal(pcif_bar_read(f, 2, 0x2008, &v, 4, false), 0);
	assert_int_equal(v, 1 << 4);
	pcif_irq_connect(f, PCIF_IRQ_MSIX, 70, &s);
	assert_int_equal(the_log.per_vector[68], 1);
	/* Function mask, and one entry's. */
	pcif_config_write(f, cap + 2, 2, 0xc000);
	pcif_irq_raise(f, 0);
	assert_int_equal(the_log.per_vector[0], 0);
	pcif_config_write(f, cap + 2, 2, 0x8000);
	assert_int_equal(the_log.per_vector[0], 1);
	v = 1;
	assert_int_equal(pcif_bar_write(f, 2, 0x100c + 16 * 69, &v, 4, false), 0);
	pcif_irq_raise(f, 69);
	assert_int_equal(the_log.per_vector[69], 0);
	v = 0;
	assert_int_equal(pcif_bar_write(f, 2, 0x100c + 16 * 69, &v, 4, false), 0);
	assert_int_equal(the_log.per_vector[69], 1);
	/* The PBA cannot be written, bytes and pairs of words are cut. */
	uint64_t w = UINT64_MAX;

	assert_int_equal(pcif_bar_write(f, 2, 0x2000, &w, 8, false), 0);
	assert_int_equal(pcif_bar_read(f, 2, 0x2000, &w, 8, false), 0);
	assert_int_equal(w, 0);
	w = 0x1122334455667788;
	assert_int_equal(pcif_bar_write(f, 2, 0x1000, &w, 8, false), 0);
	assert_int_equal(pcif_bar_read(f, 2, 0x1005, &v, 1, false), 0);
	assert_int_equal(v & 0xff, 0x33);
	assert_int_equal(pcif_bar_write(f, 2, 0x1005, "\xaa", 1, false), 0);
	assert_int_equal(pcif_bar_read(f, 2, 0x1004, &v, 4, false), 0);
	assert_int_equal(v, 0x1122aa44);
	pcim_free(m);
}

static void intx(void **state)
{
	struct pcif_irq_sink s = sink();
	struct pcim *m;
	struct pcif *f = tm_machine(&m);

	pcif_intx_set(f, true);
	pcif_irq_connect(f, PCIF_IRQ_INTX, 1, &s);
	assert_int_equal(the_log.intx, 1); /* was high already */
	pcif_intx_set(f, true);
	assert_int_equal(the_log.intx, 1);
	pcif_intx_set(f, false);
	pcif_intx_set(f, true);
	assert_int_equal(the_log.intx, 2);
	pcif_intx_set(f, false);
	pcif_config_write(f, PCI_COMMAND, 2, PCI_COMMAND_INTX_DISABLE);
	pcif_intx_set(f, true);
	assert_int_equal(the_log.intx, 2);
	pcif_config_write(f, PCI_COMMAND, 2, 0);
	assert_int_equal(the_log.intx, 3);
	/* Only that transition counts. */
	pcif_config_write(f, PCI_COMMAND, 2, BM);
	assert_int_equal(the_log.intx, 3);
	/* No message goes out while the pin is in use. */
	pcif_irq_raise(f, 0);
	assert_int_equal(the_log.n, 0);
	pcif_reset(f);
	assert_false(pcif_intx_level(f));
	pcif_intx_set(f, true);
	assert_int_equal(the_log.intx, 4);
	pcim_free(m);
}

static void lacking(void **state)
{
	struct pcif_irq_sink s = sink();
	struct pcim *m;
	struct pcif *f;

	tm_desc.intx_pin = 0;
	tm_desc.msi_vectors = tm_desc.msix_vectors = 0;
	f = tm_machine(&m);
	pcif_irq_connect(f, PCIF_IRQ_INTX, 1, &s);
	assert_int_equal(pcif_irq_mode(f), PCIF_IRQ_NONE);
	pcif_irq_connect(f, PCIF_IRQ_MSI, 1, &s);
	assert_int_equal(pcif_irq_mode(f), PCIF_IRQ_NONE);
	pcif_irq_connect(f, PCIF_IRQ_MSIX, 1, &s);
	assert_int_equal(pcif_irq_mode(f), PCIF_IRQ_NONE);
	pcif_intx_set(f, true);
	assert_false(pcif_intx_level(f));
	pcif_irq_raise(f, 0);
	assert_int_equal(the_log.n, 0);
	pcim_free(m);
}

static void survives_reset(void **state)
{
	struct pcif_irq_sink s = sink();
	uint32_t v;
	struct pcim *m;
	struct pcif *f = tm_machine(&m);
	unsigned cap = pcif_find_cap(f, PCI_CAP_ID_MSIX);

	pcif_irq_connect(f, PCIF_IRQ_MSIX, 3, &s);
	pcif_irq_raise(f, 1); /* no bus master: pending, and gone with the reset */
	pcif_reset(f);
	assert_int_equal(pcif_irq_mode(f), PCIF_IRQ_MSIX);
	assert_int_equal(pcif_config_read(f, cap + 2, 2), 0x8000 | 69);
	pcif_config_write(f, PCI_COMMAND, 2, BM | PCI_COMMAND_MEMORY);
	assert_int_equal(the_log.n, 0);
	pcif_irq_raise(f, 2);
	assert_int_equal(the_log.n, 1);
	assert_int_equal(pcif_bar_read(f, 2, 0x102c, &v, 4, false), 0);
	assert_int_equal(v, 0);
	assert_int_equal(pcif_bar_read(f, 2, 0x103c, &v, 4, false), 0);
	assert_int_equal(v, 1);

	pcif_irq_connect(f, PCIF_IRQ_MSI, 8, &s);
	assert_int_equal(pcif_config_read(f, cap + 2, 2), 69);
	pcif_reset(f);
	assert_int_equal(pcif_config_read(f, pcif_find_cap(f, PCI_CAP_ID_MSI) + 2, 1),
			 0x80 | 3 << 4 | 3 << 1 | 1);
	pcim_free(m);
}

/* ------------------------------------------------------------------ many threads */

#define ROUNDS 300

struct crowd {
	struct pcif *f;
	_Atomic bool stop;
	_Atomic bool connected; /* false: a sink call is a fault */
	_Atomic unsigned late;
};

static void crowd_message(void *data, unsigned vector)
{
	struct crowd *c = data;

	if (!c->connected)
		c->late++;
}

static void crowd_intx(void *data)
{
	crowd_message(data, 0);
}

static void *crowd_raise(void *data)
{
	struct crowd *c = data;
	unsigned i = 0;

	while (!c->stop) {
		pcif_irq_raise(c->f, i++ % 70);
		pcif_intx_set(c->f, i & 1);
		(void)pcif_irq_mode(c->f);
	}
	return NULL;
}

static void *crowd_access(void *data)
{
	struct crowd *c = data;
	uint32_t v;

	while (!c->stop) {
		(void)pcif_bar_write(c->f, 0, 0x10, &(uint32_t){ 1 }, 4, true);
		(void)pcif_bar_read(c->f, 0, 0x2000, &v, 4, true);
		(void)pcif_bar_write(c->f, 0, 0x2000, &v, 4, true);
		(void)pcif_config_read(c->f, PCI_STATUS, 2);
		pcif_config_write(c->f, PCI_COMMAND, 2, BM | PCI_COMMAND_MEMORY);
		(void)pcif_dma_write(c->f, 0x1000, &v, 4);
	}
	return NULL;
}

/* Raises from inside a hook, with the register lock held, as models do. */
static void raising_write(struct tm_state *s, unsigned bar, uint64_t offset, unsigned size,
			  uint64_t value)
{
	pcif_irq_raise(s->f, 5);
	pcif_intx_set(s->f, true);
}

static void locking_reset(struct tm_state *s)
{
	pcif_lock(s->f);
	pcif_intx_set(s->f, false);
	pcif_unlock(s->f);
}

static void everything_at_once(void **state)
{
	static const enum pcif_irq_mode modes[] = { PCIF_IRQ_MSIX, PCIF_IRQ_MSI, PCIF_IRQ_INTX };
	pthread_t raiser, accesser;
	struct pcim *m;
	struct crowd c = { .f = tm_machine(&m) };
	struct pcif_irq_sink s = { crowd_message, crowd_intx, &c };
	unsigned pm = pcif_find_cap(c.f, PCI_CAP_ID_PM) + PCI_PM_CTRL;

	tm_last->on_write = raising_write;
	tm_last->on_reset = locking_reset;
	assert_int_equal(pthread_create(&raiser, NULL, crowd_raise, &c), 0);
	assert_int_equal(pthread_create(&accesser, NULL, crowd_access, &c), 0);
	for (unsigned i = 0; i < ROUNDS; i++) {
		c.connected = true;
		pcif_irq_connect(c.f, modes[i % 3], 8, &s);
		if (i % 4 == 0)
			pcif_reset(c.f);
		if (i % 8 == 1) {
			pcif_config_write(c.f, pm, 2, 3);
			pcif_config_write(c.f, pm, 2, 0);
		}
		pcif_set_shared(c.f, i & 1);
		pcif_irq_connect(c.f, PCIF_IRQ_NONE, 0, NULL);
		c.connected = false;
	}
	c.stop = true;
	pthread_join(raiser, NULL);
	pthread_join(accesser, NULL);
	assert_int_equal(c.late, 0);
	pcim_free(m);
}

/* A raise that races with masking is neither lost nor sent twice. */
static void *mask_toggle(void *data)
{
	struct crowd *c = data;
	unsigned cap = pcif_find_cap(c->f, PCI_CAP_ID_MSI) + PCI_MSI_MASK_64;

	while (!c->stop) {
		pcif_config_write(c->f, cap, 4, 1);
		pcif_config_write(c->f, cap, 4, 0);
	}
	pcif_config_write(c->f, cap, 4, 0);
	return NULL;
}

static void nothing_lost(void **state)
{
	struct pcif_irq_sink s = sink();
	pthread_t toggler;
	struct pcim *m;
	struct crowd c = { .f = tm_machine(&m) };
	unsigned before;

	pcif_config_write(c.f, PCI_COMMAND, 2, BM);
	pcif_irq_connect(c.f, PCIF_IRQ_MSI, 1, &s);
	assert_int_equal(pthread_create(&toggler, NULL, mask_toggle, &c), 0);
	for (unsigned i = 0; i < 5000; i++) {
		before = the_log.n;
		pcif_irq_raise(c.f, 0);
		while (the_log.n == before)
			sched_yield();
		assert_int_equal(the_log.n, before + 1);
	}
	c.stop = true;
	pthread_join(toggler, NULL);
	assert_int_equal(the_log.n, 5000);
	pcim_free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		tm_test(not_connected),
		tm_test(msi),
		tm_test(bus_master_holds_back),
		tm_test(msix),
		tm_test(intx),
		tm_test(lacking),
		tm_test(survives_reset),
		tm_test(everything_at_once),
		tm_test(nothing_lost),
	};

	return cmocka_run_group_tests_name("pci_irq", tests, NULL, NULL);
}
