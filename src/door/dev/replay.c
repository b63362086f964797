/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Answers that nobody took.
 *
 * Before Linux 5.19 (SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV) a signal ends a client's wait for our
 * answer: its system call starts again after the handler, or fails with EINTR and the client tries
 * again. What we did by then is done, and a register must not be read or written twice. So the
 * answer is kept for a while, for the same thread with the same system call at the same place.
 */
#include <time.h>

#include "door/dev/priv.h"

#define KEEP_NS 1000000000ull

void replay_keep(struct door_dev *d, const struct seccomp_notif *n, int64_t result)
{
	struct replay *r;
	unsigned i;

	pthread_mutex_lock(&d->replay_lock);
	r = &d->replays[d->next_replay++ % REPLAYS];
	for (i = 0; i < REPLAYS; i++)
		if (d->replays[i].tid == n->pid)
			r = &d->replays[i];
	r->tid = n->pid;
	r->call = n->data;
	r->result = result;
	r->until_ns = time_mono_ns() + KEEP_NS;
	pthread_mutex_unlock(&d->replay_lock);
}

/* The answer that @n was given already; it is taken. */
bool replay_find(struct door_dev *d, const struct seccomp_notif *n, int64_t *result)
{
	bool found = false;
	unsigned i;

	pthread_mutex_lock(&d->replay_lock);
	for (i = 0; i < REPLAYS; i++) {
		struct replay *r = &d->replays[i];

		if (!r->tid || r->tid != n->pid)
			continue;
		found = r->until_ns > time_mono_ns() &&
			!memcmp(&r->call, &n->data, sizeof(r->call));
		if (found)
			*result = r->result;
		r->tid = 0;
	}
	pthread_mutex_unlock(&d->replay_lock);
	return found;
}
