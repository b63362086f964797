/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A machine's life: made empty, filled with devices (spec.c, json.c), started, watched (journal.c).
 *
 * It is built by one thread. Callbacks that come before machine_start() is done (the reset that pci
 * does when it builds a function) are not news and are left out.
 */
#include <errno.h>
#include <stdarg.h>

#include "machine/priv.h"

/* Names and values come from files of whoever: they are shown, and cannot do anything. */
static void make_printable(char *text)
{
	for (unsigned char *p = (unsigned char *)text; *p; p++) {
		if (*p < ' ' || *p == 0x7f)
			*p = '?';
		else if (*p == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0) /* U+0080 to U+009F */
			p[0] = p[1] = '?';
	}
}

int machine_fail(struct machine_error *err, int errnum, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(err->text, sizeof(err->text), fmt, ap);
	va_end(ap);
	make_printable(err->text);
	err->key[0] = 0;
	return -errnum;
}

/* ------------------------------------------------------------------ sources of events */

static void on_fault(void *data, const struct iommu_fault *fault)
{
	struct machine *m = data;
	struct machine_event e = {
		.type = MACHINE_EVENT_FAULT,
		.iova = fault->iova,
		.size = fault->size,
		.access = fault->access,
		.reason = fault->reason,
	};
	struct pci_bdf bdf;

	if (!atomic_load_explicit(&m->started, memory_order_acquire))
		return;
	snprintf(e.bdf, sizeof(e.bdf), "%s", fault->port);
	if (!pcif_bdf_parse(fault->port, &bdf)) {
		struct pcif *f = pcim_get(m->pci, bdf);

		if (f) {
			e.group = pcif_group(f);
			e.client = pcif_client(f);
		}
		pcif_put(f);
	}
	journal_add(m->journal, &e);
}

static void on_reset(void *data, struct pcif *f)
{
	struct machine *m = data;
	struct machine_event e = { .type = MACHINE_EVENT_RESET };

	if (!atomic_load_explicit(&m->started, memory_order_acquire))
		return;
	pcif_bdf_format(pcif_bdf(f), e.bdf);
	e.group = pcif_group(f);
	e.client = pcif_client(f);
	journal_add(m->journal, &e);
}

static void on_vfio(void *data, enum vfio_event_type type, unsigned group, unsigned client,
		    struct pcif *f)
{
	static const enum machine_event_type types[] = {
		[VFIO_EVENT_ATTACH] = MACHINE_EVENT_ATTACH,
		[VFIO_EVENT_DETACH] = MACHINE_EVENT_DETACH,
		[VFIO_EVENT_OPEN] = MACHINE_EVENT_OPEN,
		[VFIO_EVENT_CLOSE] = MACHINE_EVENT_CLOSE,
	};
	struct machine *m = data;
	struct machine_event e = { .type = types[type], .group = group, .client = client };

	if (f)
		pcif_bdf_format(pcif_bdf(f), e.bdf);
	journal_add(m->journal, &e);
}

const char *machine_event_name(enum machine_event_type type)
{
	static const char *const names[] = {
		[MACHINE_EVENT_FAULT] = "dma-fault", [MACHINE_EVENT_RESET] = "reset",
		[MACHINE_EVENT_ATTACH] = "attach",   [MACHINE_EVENT_DETACH] = "detach",
		[MACHINE_EVENT_OPEN] = "open",	     [MACHINE_EVENT_CLOSE] = "close",
		[MACHINE_EVENT_JOIN] = "join",	     [MACHINE_EVENT_LEAVE] = "leave",
	};

	return (unsigned)type < ARRAY_SIZE(names) ? names[type] : "unknown";
}

/* ------------------------------------------------------------------ life */

/**
 * machine_new() - make a machine with no device.
 * Returns 0, -ENOMEM or what the tree of functions needs and did not get.
 */
int machine_new(struct machine **out)
{
	struct machine *m = calloc(1, sizeof(*m));
	int r;

	if (!m)
		return -ENOMEM;
	pthread_mutex_init(&m->clients_lock, NULL);
	r = journal_new(&m->journal);
	if (r)
		goto err_free;
	r = pcim_new(&m->pci);
	if (r)
		goto err_free;
	pcim_set_fault_cb(m->pci, on_fault, m);
	pcim_set_reset_cb(m->pci, on_reset, m);
	*out = m;
	return 0;

err_free:
	journal_free(m->journal);
	clients_fini(m);
	free(m);
	return r;
}

/**
 * machine_free() - end the machine; every door and every client is gone already.
 * @m: NULL is fine
 */
void machine_free(struct machine *m)
{
	if (!m)
		return;
	bus_free(m->bus);
	vfio_free(m->vfio);
	pcim_free(m->pci);
	journal_free(m->journal);
	for (unsigned i = 0; i < m->n_places; i++)
		place_fini(&m->places[i]);
	free(m->places);
	clients_fini(m);
	free(m->name);
	free(m->sockets);
	free(m);
}

int machine_set_name(struct machine *m, const char *name)
{
	free(m->name);
	m->name = strdup(name);
	return m->name ? 0 : -ENOMEM;
}

const char *machine_name(const struct machine *m)
{
	return m->name;
}

int machine_set_sockets(struct machine *m, const char *dir)
{
	free(m->sockets);
	m->sockets = strdup(dir);
	return m->sockets ? 0 : -ENOMEM;
}

const char *machine_sockets(const struct machine *m)
{
	return m->sockets;
}

/* A scan of the bus looks at function 0 first, and at no other where that is missing. */
static int check_functions(const struct machine *m, struct machine_error *err)
{
	for (unsigned i = 0; i < m->n_places; i++) {
		const struct machine_place *place = &m->places[i];
		char at[PCI_BDF_STRLEN], want[PCI_BDF_STRLEN];
		struct pci_bdf zero = place->bdf;

		zero.fn = 0;
		if (pcim_find(m->pci, zero))
			continue;
		return machine_fail(
			err, EINVAL,
			"%.256s%s at %s: there is no function 0 beside it; add a device at %s",
			place->where ? place->where : "",
			pcif_model_name(pcim_find(m->pci, place->bdf)),
			pcif_bdf_format(place->bdf, at), pcif_bdf_format(zero, want));
	}
	return 0;
}

void machine_use_host_drivers(struct machine *m, bool on)
{
	m->host_drivers = on;
}

/* The driver_override that @f starts with; see bus_start(). */
static const char *pick_driver(void *data, struct pcif *f)
{
	const struct machine *m = data;
	const char *driver = NULL;

	for (unsigned i = 0; i < m->n_places && !driver; i++)
		if (pcif_bdf_equal(m->places[i].bdf, pcif_bdf(f)))
			driver = m->places[i].driver;
	if (!driver)
		return m->host_drivers ? NULL : vfio_pick_endpoints(NULL, f);
	if (!strcmp(driver, "host"))
		return NULL;
	return strcmp(driver, "none") ? driver : "";
}

/**
 * machine_start() - enumerate the tree and start VFIO over it.
 * Returns 0; -EBUSY: started already; -EINVAL: a device without a function 0; -ENOMEM, -ENOSPC: the
 * tree found no room (@err says).
 */
int machine_start(struct machine *m, struct machine_error *err)
{
	int r;

	if (m->bus)
		return machine_fail(err, EBUSY, "the machine is started already");
	r = check_functions(m, err);
	if (r)
		return r;
	r = pcim_enumerate(m->pci);
	if (r)
		return machine_fail(err, -r,
				    "cannot enumerate the machine's %u devices: %s; use fewer "
				    "devices or smaller ones",
				    m->n_places, strerror(-r));
	r = bus_new(m->pci, &m->bus);
	if (!r)
		r = vfio_new(m->bus, &m->vfio);
	if (!r) {
		vfio_set_event_cb(m->vfio, on_vfio, m);
		r = bus_start(m->bus, pick_driver, m);
	}
	if (r)
		return machine_fail(err, -r, "cannot start VFIO: %s", strerror(-r));
	atomic_store_explicit(&m->started, true, memory_order_release);
	return 0;
}

/* NULL until machine_start(). */
struct bus *machine_bus(struct machine *m)
{
	return m->bus;
}

struct pcim *machine_pci(struct machine *m)
{
	return m->pci;
}

/* NULL until machine_start(). */
struct vfio *machine_vfio(struct machine *m)
{
	return m->vfio;
}

unsigned machine_events(struct machine *m, uint64_t after, struct machine_event *out, unsigned max)
{
	return journal_read(m->journal, after, out, max);
}

void machine_set_event_cb(struct machine *m, void (*cb)(void *data), void *data)
{
	journal_set_cb(m->journal, cb, data);
}
