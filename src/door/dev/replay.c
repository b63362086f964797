/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Answers that nobody took.
 *
 * Before Linux 5.19 (SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV) a signal ends a client's wait for our
 * answer: its system call starts again after the handler, or fails with EINTR and the client tries
 * again. What we did by then is done, and a register must not be read or written twice. So an
 * answer that could not be given is kept for a while, for the same thread with the same system call
 * at the same place, and who asks again while the first one is still at work waits for it.
 *
 * One case is left: the kernel can take our answer and then not give it, where the signal comes in
 * that very moment (seccomp_do_user_notification() looks at its own wait first). Then the access is
 * done twice.
 *
 * What a read got is kept with it where it is no more than a register or two: as long as the client
 * is elsewhere, its buffer may be anything. Longer reads, and requests whose block could not be
 * written, are done anew.
 */
#include <time.h>

#include "door/dev/priv.h"

#define KEEP_NS 1000000000ull

/* The same call at the same place. */
static bool same(const struct replay *r, const struct seccomp_notif *n)
{
	const struct seccomp_data *a = &r->call, *b = &n->data;

	return r->state != REPLAY_FREE && r->tid == n->pid && a->nr == b->nr &&
	       a->arch == b->arch && a->instruction_pointer == b->instruction_pointer &&
	       !memcmp(a->args, b->args, trap_args(b) * sizeof(a->args[0]));
}

static struct replay *find(struct door_dev *d, const struct seccomp_notif *n)
{
	unsigned i;

	for (i = 0; i < REPLAYS; i++)
		if (same(&d->replays[i], n))
			return &d->replays[i];
	return NULL;
}

/* A place for a call, or NULL: then it goes without. */
static struct replay *place(struct door_dev *d)
{
	struct replay *oldest = NULL;
	unsigned i;

	for (i = 0; i < REPLAYS; i++) {
		struct replay *r = &d->replays[i];

		if (r->state == REPLAY_FREE)
			return r;
		if (r->state == REPLAY_KEPT && (!oldest || r->until_ns < oldest->until_ns))
			oldest = r;
	}
	return oldest;
}

/**
 * replay_begin() - @n is about to be served; or (true) was before, with this answer.
 */
bool replay_begin(struct door_dev *d, const struct seccomp_notif *n, struct notify_answer *a)
{
	struct replay *r;
	bool done = false;

	pthread_mutex_lock(&d->replay_lock);
	while ((r = find(d, n)) && r->state == REPLAY_RUNNING)
		pthread_cond_wait(&d->replay_cond, &d->replay_lock);
	if (r && r->until_ns > time_mono_ns()) {
		*a = r->answer;
		done = true;
	}
	if (!r)
		r = place(d);
	if (r) {
		r->state = REPLAY_RUNNING;
		r->tid = n->pid;
		r->call = n->data;
	}
	pthread_mutex_unlock(&d->replay_lock);
	return done;
}

/* @n was answered; @a: or could not be. */
void replay_end(struct door_dev *d, const struct seccomp_notif *n, const struct notify_answer *a)
{
	struct replay *r;

	pthread_mutex_lock(&d->replay_lock);
	r = find(d, n);
	if (r && a && !a->again) {
		r->state = REPLAY_KEPT;
		r->answer = *a;
		r->until_ns = time_mono_ns() + KEEP_NS;
	} else if (r) {
		r->state = REPLAY_FREE;
	}
	pthread_cond_broadcast(&d->replay_cond);
	pthread_mutex_unlock(&d->replay_lock);
}
