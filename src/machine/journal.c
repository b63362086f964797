/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The journal: the newest 4096 events of a machine, in a ring.
 *
 * Writers are DMA threads, reset paths and VFIO requests; they hold the mutex for one copy and a
 * look at a few of the newest entries, never while somebody is told. A device that runs wild can
 * fault a million times a second: faults of the same function, page, access and reason fold into
 * one event a second, so that a storm neither pushes everything else out of the ring nor wakes the
 * readers a million times.
 *
 * Event number s lives in slot (s - 1) % RING, which keeps numbers and slots in step without a
 * second index.
 */
#include <errno.h>

#include "machine/priv.h"

#define RING 4096u
#define FOLD_NS 1000000000ull
/* How far back a like event is looked for; a bound on the time under the mutex. */
#define FOLD_LOOK_BACK 32u

struct journal {
	pthread_mutex_t lock; /* guards ring, mono and newest */
	uint64_t newest;      /* sequence number of the newest event, 0: none */
	struct machine_event *ring;
	uint64_t *mono; /* per slot: CLOCK_MONOTONIC, as the clock in events may be set back */

	/* Held for reading while the callback runs, so that setting another one waits for it. */
	pthread_rwlock_t cb_lock;
	void (*cb)(void *data);
	void *cb_data;
};

int journal_new(struct journal **out)
{
	struct journal *j = calloc(1, sizeof(*j));

	if (!j)
		return -ENOMEM;
	j->ring = calloc(RING, sizeof(*j->ring));
	j->mono = calloc(RING, sizeof(*j->mono));
	if (!j->ring || !j->mono) {
		free(j->ring);
		free(j->mono);
		free(j);
		return -ENOMEM;
	}
	pthread_mutex_init(&j->lock, NULL);
	pthread_rwlock_init(&j->cb_lock, NULL);
	*out = j;
	return 0;
}

void journal_free(struct journal *j)
{
	if (!j)
		return;
	pthread_rwlock_destroy(&j->cb_lock);
	pthread_mutex_destroy(&j->lock);
	free(j->ring);
	free(j->mono);
	free(j);
}

static bool alike(const struct machine_event *a, const struct machine_event *b)
{
	return a->type == b->type && a->client == b->client &&
	       a->iova / UVF_PAGE_SIZE == b->iova / UVF_PAGE_SIZE && a->access == b->access &&
	       a->reason == b->reason && !strcmp(a->bdf, b->bdf);
}

/* Counts @e in a like event that is less than a second old. Under the lock. */
static bool fold(struct journal *j, const struct machine_event *e, uint64_t now)
{
	for (unsigned back = 0; back < FOLD_LOOK_BACK && back < j->newest; back++) {
		unsigned slot = (unsigned)((j->newest - 1 - back) % RING);

		if (now - j->mono[slot] >= FOLD_NS)
			return false;
		if (alike(&j->ring[slot], e)) {
			j->ring[slot].repeat++;
			return true;
		}
	}
	return false;
}

void journal_add(struct journal *j, const struct machine_event *e)
{
	uint64_t real = time_real_ns(), now;
	unsigned slot;
	bool folded;

	pthread_mutex_lock(&j->lock);
	now = time_mono_ns(); /* under the lock, so that it grows with the sequence number */
	folded = e->type == MACHINE_EVENT_FAULT && fold(j, e, now);
	if (!folded) {
		slot = (unsigned)(j->newest++ % RING);
		j->ring[slot] = *e;
		j->ring[slot].seq = j->newest;
		j->ring[slot].time_ns = real;
		j->ring[slot].repeat = 0;
		j->mono[slot] = now;
	}
	pthread_mutex_unlock(&j->lock);
	if (folded)
		return;

	pthread_rwlock_rdlock(&j->cb_lock);
	if (j->cb)
		j->cb(j->cb_data);
	pthread_rwlock_unlock(&j->cb_lock);
}

unsigned journal_read(struct journal *j, uint64_t after, struct machine_event *out, unsigned max)
{
	unsigned n = 0;

	pthread_mutex_lock(&j->lock);
	if (j->newest > RING && after < j->newest - RING)
		after = j->newest - RING;
	while (n < max && after < j->newest) {
		out[n++] = j->ring[after % RING];
		after++;
	}
	pthread_mutex_unlock(&j->lock);
	return n;
}

/* When it returns the callback that was there is not running any more, nor will it. */
void journal_set_cb(struct journal *j, void (*cb)(void *data), void *data)
{
	pthread_rwlock_wrlock(&j->cb_lock);
	j->cb = cb;
	j->cb_data = data;
	pthread_rwlock_unlock(&j->cb_lock);
}
