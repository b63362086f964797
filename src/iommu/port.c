/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Ports: the way of a device's data through the IOMMU.
 *
 * An access enters a section (access.c), translates and checks its whole length, and only then
 * moves data, piece by piece where it crosses mappings. Faults are reported after the section, with
 * no lock held. A pin outlives its section: it is counted on each mapping that it touches, which an
 * unmap waits for, and on the port's attachment, which a detach waits for.
 *
 * Pins are counted without a lock. A remover sets PINS_DYING in the count and sleeps; whoever then
 * takes the last pin away wakes all sleepers, under one lock for all of them that is never freed,
 * since what carried the count may be gone by then.
 */
#include <errno.h>

#include "iommu/priv.h"

#define MAX_PIECES 64

static pthread_mutex_t pins_lock = PTHREAD_MUTEX_INITIALIZER; /* guards nothing but the sleeping */
static pthread_cond_t pins_cond = PTHREAD_COND_INITIALIZER;

const char *iommu_reason_name(enum iommu_reason reason)
{
	static const char *const names[] = {
		[IOMMU_FAULT_NOT_MAPPED] = "not-mapped",
		[IOMMU_FAULT_PERMISSION] = "permission",
		[IOMMU_FAULT_BLOCKED] = "blocked",
		[IOMMU_FAULT_BUS_MASTER] = "bus-master",
		[IOMMU_FAULT_CLIENT_MEMORY] = "client-memory",
		[IOMMU_FAULT_OVERFLOW] = "overflow",
	};

	return (unsigned)reason < ARRAY_SIZE(names) ? names[reason] : "unknown";
}

/* ------------------------------------------------------------------ making, attaching */

static _Atomic uint64_t serials;

int iommu_port_new(const char *name, iommu_fault_cb cb, void *data, struct iommu_port **port)
{
	struct iommu_port *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	p->name = strdup(name);
	if (!p->name) {
		free(p);
		return -ENOMEM;
	}
	p->cb = cb;
	p->cb_data = data;
	p->serial = atomic_fetch_add(&serials, 1) + 1;
	p->places[0].port = p;
	p->places[1].port = p;
	pthread_mutex_init(&p->attach_lock, NULL);
	*port = p;
	return 0;
}

void iommu_port_free(struct iommu_port *port)
{
	if (!port)
		return;
	iommu_port_attach(port, NULL);
	access_wait_port(port); /* also where it was attached to nothing */
	pthread_mutex_destroy(&port->attach_lock);
	free(port->name);
	free(port);
}

void iommu_port_attach(struct iommu_port *port, struct iommu_space *space)
{
	struct port_place *old, *new;

	pthread_mutex_lock(&port->attach_lock);
	old = atomic_load(&port->place);
	/* The other place is free: whoever left it waited for all that used it. */
	new = old == &port->places[0] ? &port->places[1] : &port->places[0];
	if (space ? old && old->space == space : !old) {
		pthread_mutex_unlock(&port->attach_lock);
		return;
	}
	if (space) {
		new->space = iommu_space_get(space);
		atomic_store(&new->pins, 0);
		space_place_add(space, new);
	}
	atomic_store(&port->place, space ? new : NULL);
	access_wait_port(port);
	if (old) {
		pins_wait(&old->pins);
		space_place_remove(old->space, old);
		iommu_space_put(old->space);
	}
	pthread_mutex_unlock(&port->attach_lock);
}

struct iommu_space *iommu_port_space(struct iommu_port *port)
{
	struct access_slot *slot = access_enter(port);
	struct port_place *place = atomic_load(&port->place);
	struct iommu_space *space = place ? iommu_space_get(place->space) : NULL;

	access_leave(slot);
	return space;
}

void iommu_port_set_enabled(struct iommu_port *port, bool enabled)
{
	struct port_place *place;

	pthread_mutex_lock(&port->attach_lock);
	if (atomic_exchange(&port->enabled, enabled) && !enabled) {
		access_wait_port(port);
		place = atomic_load(&port->place);
		if (place)
			pins_wait(&place->pins);
	}
	pthread_mutex_unlock(&port->attach_lock);
}

void iommu_port_get_stats(const struct iommu_port *port, struct iommu_port_stats *stats)
{
	struct iommu_port *p = (struct iommu_port *)port;

	stats->read_bytes = atomic_load_explicit(&p->read_bytes, memory_order_relaxed);
	stats->write_bytes = atomic_load_explicit(&p->write_bytes, memory_order_relaxed);
	stats->faults = atomic_load_explicit(&p->faults, memory_order_relaxed);
}

/* ------------------------------------------------------------------ translation of an access */

#define NO_FAULT (-1)

struct access {
	uint64_t iova, last;
	unsigned dir; /* IOMMU_READ or IOMMU_WRITE */
	struct access_slot *slot;
	struct port_place *place;
	unsigned n; /* mappings that it crosses, of which the first MAX_PIECES are in @piece */
	struct mapping *piece[MAX_PIECES];
};

/* Fills in what there is from access_begin() on. NO_FAULT, or an enum iommu_reason. */
static int access_check(struct iommu_port *port, struct access *a, size_t size)
{
	uint64_t at = a->iova;

	if (!atomic_load(&port->enabled))
		return IOMMU_FAULT_BUS_MASTER;
	a->place = atomic_load(&port->place);
	if (!a->place)
		return IOMMU_FAULT_BLOCKED;
	if (range_last(a->iova, size, &a->last))
		return IOMMU_FAULT_OVERFLOW;
	for (a->n = 0;; a->n++) {
		struct mapping *m = access_find(a->slot, a->place->space, at);

		if (!m)
			return IOMMU_FAULT_NOT_MAPPED;
		if (!(m->perm & a->dir))
			return IOMMU_FAULT_PERMISSION;
		if (a->n < MAX_PIECES)
			a->piece[a->n] = m;
		if (m->last >= a->last) {
			a->n++;
			return NO_FAULT;
		}
		at = m->last + 1;
	}
}

static void access_report(struct iommu_port *port, const struct access *a, size_t size, int reason)
{
	struct iommu_fault fault = {
		.port = port->name,
		.iova = a->iova,
		.size = size,
		.access = a->dir,
		.reason = (enum iommu_reason)reason,
	};

	atomic_fetch_add_explicit(&port->faults, 1, memory_order_relaxed);
	if (port->cb)
		port->cb(port->cb_data, &fault);
}

/* ------------------------------------------------------------------ copying */

static int piece_copy(struct mapping *m, unsigned dir, uint64_t iova, uint8_t *buf, size_t size)
{
	uint64_t offset = iova - m->first;

	if (!m->direct)
		return dir == IOMMU_READ
			       ? m->mem->ops->read(m->mem, m->base.vaddr + offset, buf, size)
			       : m->mem->ops->write(m->mem, m->base.vaddr + offset, buf, size);
	if (m->window)
		return dir == IOMMU_READ ? guard_copy(buf, m->base.host + offset, size)
					 : guard_copy(m->base.host + offset, buf, size);
	/* A buffer of our own cannot go away. */
	if (dir == IOMMU_READ)
		memcpy(buf, m->base.host + offset, size);
	else
		memcpy(m->base.host + offset, buf, size);
	return 0;
}

static int access_copy(struct access *a, uint8_t *buf)
{
	struct iommu_space *space = a->place->space;
	uint64_t at = a->iova;

	for (unsigned i = 0; i < a->n; i++) {
		struct mapping *m = a->piece[i];
		uint64_t end = MIN(m->last, a->last);
		int err;

		err = piece_copy(m, a->dir, at, buf, end - at + 1);
		/* Even a part of the data makes the pages dirty. */
		if (a->dir == IOMMU_WRITE)
			space_dirty_mark(space, m, at, end);
		if (err)
			return IOMMU_FAULT_CLIENT_MEMORY;
		buf += end - at + 1;
		if (end == a->last)
			break;
		at = end + 1;
	}
	return NO_FAULT;
}

/* Whether it goes piece by piece: more than were remembered, or some that others move, for which
 * there is no section. */
static bool access_in_pieces(const struct access *a)
{
	for (unsigned i = 0; i < MIN(a->n, MAX_PIECES); i++)
		if (!a->piece[i]->direct && a->piece[i]->mem->ops->unwaited)
			return true;
	return a->n > MAX_PIECES;
}

/* The mapping at @at of where the port is attached by now, or NULL. Inside a section. */
static struct mapping *access_again(struct iommu_port *port, struct access *a, uint64_t at)
{
	struct mapping *m;

	a->place = atomic_load(&port->place);
	m = a->place && atomic_load(&port->enabled) ? access_find(a->slot, a->place->space, at)
						    : NULL;
	return m && (m->perm & a->dir) ? m : NULL;
}

static int remote_copy(struct iommu_mem *mem, unsigned dir, uint64_t vaddr, uint8_t *buf,
		       size_t size)
{
	int err = dir == IOMMU_READ ? mem->ops->read(mem, vaddr, buf, size)
				    : mem->ops->write(mem, vaddr, buf, size);

	iommu_mem_put(mem);
	return err;
}

/* One piece, from @at up to *@end at most. */
static int piece_alone_copy(struct iommu_port *port, struct access *a, uint64_t at, uint8_t *buf,
			    uint64_t *end)
{
	struct iommu_mem *mem = NULL;
	struct mapping *m;
	uint64_t vaddr = 0;
	int err = 0;

	a->slot = access_enter(port);
	m = access_again(port, a, at);
	if (!m) {
		access_leave(a->slot);
		return IOMMU_FAULT_NOT_MAPPED;
	}
	*end = MIN(m->last, a->last);
	if (!m->direct && m->mem->ops->unwaited) {
		mem = iommu_mem_get(m->mem);
		vaddr = m->base.vaddr + (at - m->first);
		access_leave(a->slot);
		err = remote_copy(mem, a->dir, vaddr, buf, *end - at + 1);
		a->slot = access_enter(port);
		m = access_again(port, a, at);
	} else {
		err = piece_copy(m, a->dir, at, buf, *end - at + 1);
	}
	/* Of what was unmapped meanwhile there is no log any more. */
	if (m && a->dir == IOMMU_WRITE)
		space_dirty_mark(a->place->space, m, at, MIN(m->last, *end));
	access_leave(a->slot);
	return err ? IOMMU_FAULT_CLIENT_MEMORY : NO_FAULT;
}

/* Each piece in a section of its own. What was checked as a whole can be unmapped meanwhile. */
static int access_pieces_copy(struct iommu_port *port, struct access *a, uint8_t *buf)
{
	uint64_t at = a->iova, end = 0;

	for (;;) {
		int reason = piece_alone_copy(port, a, at, buf, &end);

		if (reason != NO_FAULT || end == a->last)
			return reason;
		buf += end - at + 1;
		at = end + 1;
	}
}

static int access_move(struct iommu_port *port, uint64_t iova, void *buf, size_t size, unsigned dir)
{
	struct access a;
	bool pieces;
	int reason;

	if (!size)
		return 0;
	a.iova = iova;
	a.dir = dir;
	a.slot = access_enter(port);
	reason = access_check(port, &a, size);
	pieces = reason == NO_FAULT && access_in_pieces(&a);
	if (reason == NO_FAULT && !pieces)
		reason = access_copy(&a, buf);
	access_leave(a.slot);
	if (pieces)
		reason = access_pieces_copy(port, &a, buf);
	if (reason != NO_FAULT) {
		access_report(port, &a, size, reason);
		return -EFAULT;
	}
	return 0;
}

int iommu_read(struct iommu_port *port, uint64_t iova, void *buf, size_t size)
{
	int err = access_move(port, iova, buf, size, IOMMU_READ);

	if (!err)
		atomic_fetch_add_explicit(&port->read_bytes, size, memory_order_relaxed);
	return err;
}

int iommu_write(struct iommu_port *port, uint64_t iova, const void *buf, size_t size)
{
	int err = access_move(port, iova, (void *)buf, size, IOMMU_WRITE);

	if (!err)
		atomic_fetch_add_explicit(&port->write_bytes, size, memory_order_relaxed);
	return err;
}

/* ------------------------------------------------------------------ pins */

static void pin_take(_Atomic uint32_t *pins)
{
	/* Inside a section: the remover's wait for sections orders this before its look at @pins.
	 */
	atomic_fetch_add_explicit(pins, 1, memory_order_relaxed);
}

static void pin_drop(_Atomic uint32_t *pins)
{
	/* After this @pins may be gone. */
	if (atomic_fetch_sub_explicit(pins, 1, memory_order_acq_rel) != (PINS_DYING | 1))
		return;
	pthread_mutex_lock(&pins_lock);
	pthread_cond_broadcast(&pins_cond);
	pthread_mutex_unlock(&pins_lock);
}

void pins_wait(_Atomic uint32_t *pins)
{
	if (!atomic_load_explicit(pins, memory_order_acquire))
		return;
	pthread_mutex_lock(&pins_lock);
	atomic_fetch_or(pins, PINS_DYING);
	while (atomic_load(pins) != PINS_DYING)
		pthread_cond_wait(&pins_cond, &pins_lock);
	pthread_mutex_unlock(&pins_lock);
	atomic_fetch_and(pins, ~PINS_DYING);
}

/* Whether all pieces are direct and few enough. Fills in @pin but for the counting. */
static bool pin_fill(const struct access *a, struct iommu_pin *pin)
{
	uint64_t at = a->iova;

	if (a->n > ARRAY_SIZE(pin->held))
		return false;
	pin->n_iov = 0;
	for (pin->n_held = 0; pin->n_held < a->n; pin->n_held++) {
		struct mapping *m = a->piece[pin->n_held];
		uint64_t end = MIN(m->last, a->last);
		uint8_t *host = m->base.host + (at - m->first);
		struct iovec *before = pin->n_iov ? &pin->iov[pin->n_iov - 1] : NULL;

		if (!m->direct)
			return false;
		pin->held[pin->n_held] = m;
		if (before && (uint8_t *)before->iov_base + before->iov_len == host)
			before->iov_len += end - at + 1;
		else
			pin->iov[pin->n_iov++] = (struct iovec){ host, end - at + 1 };
		at = end + 1;
	}
	return true;
}

int iommu_pin(struct iommu_port *port, uint64_t iova, size_t size, unsigned access,
	      struct iommu_pin *pin)
{
	struct access a;
	bool ok = false;
	int reason;

	if (!size) {
		pin->n_iov = 0;
		pin->n_held = 0;
		pin->place = NULL;
		return 0;
	}
	a.iova = iova;
	a.dir = access;
	a.slot = access_enter(port);
	reason = access_check(port, &a, size);
	if (reason == NO_FAULT && pin_fill(&a, pin)) {
		ok = true;
		pin->iova = iova;
		pin->size = size;
		pin->access = access;
		pin->port = port;
		pin->place = a.place;
		pin_take(&a.place->pins);
		for (unsigned i = 0; i < pin->n_held; i++)
			pin_take(&((struct mapping *)pin->held[i])->pins);
	}
	access_leave(a.slot);
	if (reason != NO_FAULT) {
		access_report(port, &a, size, reason);
		return -EFAULT;
	}
	if (!ok)
		return -EOPNOTSUPP;
	atomic_fetch_add_explicit(access & IOMMU_WRITE ? &port->write_bytes : &port->read_bytes,
				  size, memory_order_relaxed);
	return 0;
}

void iommu_unpin(struct iommu_pin *pin)
{
	struct port_place *place = pin->place;
	uint64_t at = pin->iova, last = pin->iova + (pin->size - 1);

	if (!place)
		return;
	pin->place = NULL;
	for (unsigned i = 0; i < pin->n_held; i++) {
		struct mapping *m = pin->held[i];
		uint64_t next = m->last + 1;

		/* The data is there by now, so mark now; the pin keeps mapping and bitmap. */
		if (pin->access & IOMMU_WRITE)
			space_dirty_mark(place->space, m, at, MIN(m->last, last));
		at = next;
		pin_drop(&m->pins);
	}
	/* Last: the port, and with it @place, may be gone after this. */
	pin_drop(&place->pins);
}

/* ------------------------------------------------------------------ spans */

int iommu_span_get(struct iommu_port *port, uint64_t iova, size_t size, unsigned access,
		   struct iommu_span *span)
{
	struct access a = { .iova = iova, .dir = access };
	struct mapping *m = NULL;
	int reason;

	a.slot = access_enter(port);
	reason = access_check(port, &a, size);
	if (reason == NO_FAULT && a.n == 1 && a.piece[0]->direct) {
		m = a.piece[0];
		*span = (struct iommu_span){ .first = m->first,
					     .last = m->last,
					     .host = m->base.host,
					     .perm = m->perm,
					     .port = port,
					     .place = a.place,
					     .held = m };
		pin_take(&a.place->pins);
		pin_take(&m->pins);
	}
	access_leave(a.slot);
	if (reason != NO_FAULT) {
		access_report(port, &a, size, reason);
		return -EFAULT;
	}
	return m ? 0 : -EOPNOTSUPP;
}

void iommu_span_wrote(struct iommu_span *span, uint64_t iova, size_t size)
{
	span->n_written += size;
	iommu_span_mark(span, iova, size);
}

bool iommu_span_logged(const struct iommu_span *span)
{
	const struct port_place *place = span->place;

	return atomic_load_explicit(&place->space->dirty, memory_order_acquire);
}

void iommu_span_mark(struct iommu_span *span, uint64_t iova, size_t size)
{
	struct port_place *place = span->place;

	space_dirty_mark(place->space, span->held, iova, iova + (size - 1));
}

void iommu_span_put(struct iommu_span *span)
{
	struct port_place *place = span->place;
	struct iommu_port *port = span->port;
	struct mapping *m = span->held;

	if (span->n_read)
		atomic_fetch_add_explicit(&port->read_bytes, span->n_read, memory_order_relaxed);
	if (span->n_written)
		atomic_fetch_add_explicit(&port->write_bytes, span->n_written,
					  memory_order_relaxed);
	pin_drop(&m->pins);
	/* Last: the port, and with it @place, may be gone after this. */
	pin_drop(&place->pins);
	span->place = NULL;
}
