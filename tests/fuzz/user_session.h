/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the fuzz targets of the user door share: one session over a socketpair, without a door
 * around it, on a machine of one function.
 */
#ifndef UVFIO_FUZZ_USER_SESSION_H
#define UVFIO_FUZZ_USER_SESSION_H

#include "../unit/user_client.h"

struct input {
	const uint8_t *p;
	size_t left;
};

static inline uint64_t take(struct input *in, unsigned n)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < n && in->left; i++, in->p++, in->left--)
		v |= (uint64_t)*in->p << (8 * i);
	return v;
}

static inline void need(bool ok)
{
	must_hold(ok, "see the stack");
}

struct talk {
	struct world w;
	struct door_user door;
	struct user_socket socket;
	struct user_session s;
	struct client c;
};

static inline int talk_join(void *data, pid_t pid, struct pcif *f, unsigned *client)
{
	*client = 1;
	return 0;
}

static inline void talk_leave(void *data, unsigned client)
{
	need(client == 1);
}

static const struct door_user_ops talk_ops = { talk_join, talk_leave };

static inline void talk_open(struct talk *t, const struct pcif_model *model, unsigned patience_ms)
{
	const struct place list[] = { { TESTDEV, model } };
	int pair[2];

	memset(t, 0, sizeof(*t));
	need(!guard_init());
	need(!fixture_open(&t->w.x, list, 1, KIB(64)));
	need(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
	t->c = (struct client){ .fd = pair[0], .twin = -1 };
	t->door.vfio = t->w.x.v;
	t->door.ops = &talk_ops;
	t->door.data = t;
	t->door.limits.patience_ns = patience_ms * 1000000ull;
	t->door.limits.stuck_ns = patience_ms * 1000000ull;
	pthread_mutex_init(&t->door.lock, NULL);
	pthread_cond_init(&t->door.cond, NULL);
	t->socket.f = find(&t->w.x, TESTDEV);
	t->s.door = &t->door;
	t->s.socket = &t->socket;
	channel_init(&t->s.main, &t->door.limits, &t->s.busy_since);
	channel_init(&t->s.twin, &t->door.limits, &t->s.busy_since);
	channel_open(&t->s.main, pair[1]);
}

/* After the session: the function is as it was, and nothing is left. */
static inline void talk_close(struct talk *t)
{
	struct pcif *f = t->socket.f;

	client_close(&t->c);
	channel_fini(&t->s.main);
	channel_fini(&t->s.twin);
	need(!t->door.limits.queued);
	pthread_cond_destroy(&t->door.cond);
	pthread_mutex_destroy(&t->door.lock);
	need(!vfio_function_space(t->w.x.v, f));
	need(!vfio_function_open(t->w.x.v, f));
	need(pcif_irq_mode(f) == PCIF_IRQ_NONE);
	need(!(pcif_config_read(f, PCI_COMMAND, 2) & PCI_COMMAND_MASTER));
	need(fixture_close(&t->w.x));
}

#endif
