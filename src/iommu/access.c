/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Accesses in flight: how unmap and detach know that nobody is inside.
 *
 * Every thread that moves data has a slot. On entry it writes the port into its slot, on exit it
 * clears it; both touch a cache line of its own. Whoever has taken something away (a mapping, a
 * port's space) then looks at all slots, and waits for those that were inside at that moment.
 *
 * The order that makes it right: the reader writes its slot, then reads the space's generation,
 * then the tree; the remover changes the tree, then writes a new generation, then reads the slots.
 * The accesses to slots and generation are sequentially consistent (the reader's write is an
 * exchange, the one locked instruction of an access). If the remover does not see the reader
 * inside, then in that total order the new generation comes before the reader's look at it; this
 * look acquires what the generation releases, so the reader finds the tree without what was
 * removed. Otherwise the remover waits. The same holds for a port's place and its enabled flag,
 * which stand where the generation does. The exit is a release store, which the remover's load
 * acquires: all that the access did comes before the removed thing is freed.
 *
 * A port remembers the slots that were ever used with it, a few of them, so that a remover looks at
 * those and not at every thread of the process: hundreds of functions have hundreds of threads. A
 * slot is entered there before it is written, so a remover that does not find it has stored its
 * generation before that, and the argument above goes on as if it had seen an empty slot. Where
 * more slots came than there is room for, all are looked at.
 *
 * No locks are held by an access, and a space's remover waits only for the ports of this space: a
 * client whose memory blocks (userfaultfd) holds up its own unmaps, nobody else's.
 */
#include <sched.h>
#include <time.h>

#include "iommu/priv.h"

static _Atomic(struct access_slot *) slots; /* of all threads there were; reused, never freed */
static _Thread_local struct access_slot *own_slot;
static pthread_key_t exit_key;
static pthread_once_t exit_once = PTHREAD_ONCE_INIT;
static bool exit_key_ok;

/* For threads that could not get a slot, one at a time. */
static struct access_slot spare_slot;
static pthread_mutex_t spare_lock = PTHREAD_MUTEX_INITIALIZER;

static void slot_give_back(void *slot)
{
	own_slot = NULL;
	atomic_store_explicit(&((struct access_slot *)slot)->taken, false, memory_order_release);
}

static void exit_key_make(void)
{
	exit_key_ok = !pthread_key_create(&exit_key, slot_give_back);
}

static struct access_slot *slot_new(void)
{
	struct access_slot *s = aligned_alloc(64, sizeof(*s)), *head;

	if (!s)
		return NULL;
	memset(s, 0, sizeof(*s));
	atomic_init(&s->taken, true);
	head = atomic_load(&slots);
	do {
		s->next = head;
	} while (!atomic_compare_exchange_weak(&slots, &head, s));
	return s;
}

/* A slot for this thread, or the spare one with its lock held. */
static struct access_slot *slot_get(void)
{
	struct access_slot *s;

	pthread_once(&exit_once, exit_key_make);
	for (s = exit_key_ok ? atomic_load(&slots) : NULL; s; s = s->next) {
		bool no = false;

		if (atomic_compare_exchange_strong(&s->taken, &no, true))
			break;
	}
	if (!s && exit_key_ok)
		s = slot_new();
	if (s && !pthread_setspecific(exit_key, s)) {
		own_slot = s;
		return s;
	}
	if (s)
		atomic_store_explicit(&s->taken, false, memory_order_release);
	pthread_mutex_lock(&spare_lock);
	return &spare_slot;
}

/* Enters @s among the users of @port, for those who wait for it. */
static void slot_register(struct access_slot *s, struct iommu_port *port)
{
	for (unsigned i = 0; i < ARRAY_SIZE(port->users); i++) {
		struct access_slot *there = NULL;

		if (atomic_compare_exchange_strong(&port->users[i], &there, s) || there == s) {
			s->registered = port->serial;
			return;
		}
	}
	atomic_store(&port->crowded, true);
	s->registered = port->serial;
}

struct access_slot *access_enter(struct iommu_port *port)
{
	struct access_slot *s = own_slot;

	if (!s)
		s = slot_get();
	if (s->registered != port->serial)
		slot_register(s, port);
	atomic_store_explicit(&s->section,
			      atomic_load_explicit(&s->section, memory_order_relaxed) + 1,
			      memory_order_relaxed);
	atomic_exchange(&s->port, port);
	return s;
}

void access_leave(struct access_slot *s)
{
	atomic_store_explicit(&s->port, NULL, memory_order_release);
	if (s == &spare_slot)
		pthread_mutex_unlock(&spare_lock);
}

/*
 * The space's generation tells whether the mapping that was found last is still one of this space:
 * it changes with each removal and no two spaces share one. A remover stores the new generation
 * before it looks at the slots, so that a reader that still sees the old one is waited for.
 */
struct mapping *access_find(struct access_slot *s, struct iommu_space *space, uint64_t iova)
{
	uint64_t generation = atomic_load(&space->generation);
	struct mapping *m;

	if (s->generation == generation && iova >= s->last->first && iova <= s->last->last)
		return s->last;
	m = tree_find(&space->tree, iova);
	if (m) {
		s->last = m;
		s->generation = generation;
	}
	return m;
}

/* ------------------------------------------------------------------ waiting */

/* Waits until the access in @s that is through @port, if any, has ended. */
static void slot_wait(struct access_slot *s, const struct iommu_port *port)
{
	uint64_t section = atomic_load(&s->section);
	struct timespec pause = { .tv_nsec = 1000 };

	/* An access is short unless the client's memory blocks: yield at first, then sleep. */
	for (unsigned i = 0; atomic_load(&s->port) == port && atomic_load(&s->section) == section;
	     i++) {
		if (i < 32) {
			sched_yield();
			continue;
		}
		nanosleep(&pause, NULL);
		if (pause.tv_nsec < 500000)
			pause.tv_nsec *= 2;
	}
}

static struct access_slot *slot_first(void)
{
	return atomic_load(&slots);
}

/* Threads that started after the caller's removal are at the head of the list, and not in it for
 * us. */
void access_wait_port(struct iommu_port *port)
{
	if (atomic_load(&port->crowded)) {
		for (struct access_slot *s = slot_first(); s; s = s->next)
			slot_wait(s, port);
		slot_wait(&spare_slot, port);
		return;
	}
	for (unsigned i = 0; i < ARRAY_SIZE(port->users); i++) {
		struct access_slot *s = atomic_load(&port->users[i]);

		if (s)
			slot_wait(s, port);
	}
}

static bool is_attached(const struct iommu_space *space, const struct iommu_port *port)
{
	for (const struct port_place *p = space->places; p; p = p->next) {
		if (p->port == port)
			return true;
	}
	return false;
}

static void slot_wait_space(struct access_slot *s, struct iommu_space *space)
{
	struct iommu_port *port = atomic_load(&s->port);
	bool ours;

	if (!port)
		return;
	/* @port may be freed by now: it is compared, not looked into. A port leaves the list only
	 * when nobody is inside the space through it. */
	pthread_mutex_lock(&space->lock);
	ours = is_attached(space, port);
	pthread_mutex_unlock(&space->lock);
	if (ours)
		slot_wait(s, port);
}

/* A slot that was inside, and through which port. */
struct inside {
	struct access_slot *s;
	const struct iommu_port *port;
};
#define INSIDE_MAX 32

/* Who is inside @space now. With its lock. False: more than fit, or not known: look at all. */
static bool space_inside(const struct iommu_space *space, struct inside inside[INSIDE_MAX],
			 unsigned *n)
{
	*n = 0;
	for (const struct port_place *p = space->places; p; p = p->next) {
		struct iommu_port *port = p->port;

		if (atomic_load(&port->crowded))
			return false;
		for (unsigned i = 0; i < ARRAY_SIZE(port->users); i++) {
			struct access_slot *s = atomic_load(&port->users[i]);

			if (!s || atomic_load(&s->port) != port)
				continue;
			if (*n == INSIDE_MAX)
				return false;
			inside[(*n)++] = (struct inside){ s, port };
		}
	}
	return true;
}

void access_wait_space(struct iommu_space *space)
{
	struct inside inside[INSIDE_MAX];
	unsigned n;
	bool known;

	pthread_mutex_lock(&space->lock);
	known = space_inside(space, inside, &n);
	pthread_mutex_unlock(&space->lock);
	if (known) {
		for (unsigned i = 0; i < n; i++)
			slot_wait(inside[i].s, inside[i].port);
		return;
	}
	for (struct access_slot *s = slot_first(); s; s = s->next)
		slot_wait_space(s, space);
	slot_wait_space(&spare_slot, space);
}
