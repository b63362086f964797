/* SPDX-License-Identifier: BSD-3-Clause */
/* What all uplinks share: their names, their thread, what is counted. */
#include <errno.h>

#include "device/net/priv.h"

static const struct netup_ops *const kinds[] = { &netup_socket, &netup_user, &netup_tap,
						 &netup_pcap };

static const struct netup_ops *find_kind(const char *how, const char **arg)
{
	size_t len = strcspn(how, ":");

	*arg = how[len] ? how + len + 1 : NULL;
	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++)
		if (strlen(kinds[i]->name) == len && !strncmp(kinds[i]->name, how, len))
			return kinds[i];
	return NULL;
}

static int check(const char *how, const struct netup_ops *ops, const char *arg,
		 struct pcif_reply_error *err)
{
	if (!ops)
		return pcif_error(err, -EINVAL,
				  "uplink=%s: give none, user, socket:PATH, tap:NAME or pcap:FILE",
				  how);
	if (ops->wants_arg && (!arg || !*arg))
		return pcif_error(err, -EINVAL, "uplink=%s: something is missing, give %s:%s", how,
				  ops->name, ops == &netup_tap ? "NAME" : "PATH");
	if (!ops->wants_arg && arg)
		return pcif_error(err, -EINVAL, "uplink=%s: %s has nothing behind it", how,
				  ops->name);
	return 0;
}

int netup_new(const char *how, const struct netup_owner *owner, struct netup **out,
	      struct pcif_reply_error *err)
{
	const char *arg;
	const struct netup_ops *ops = find_kind(how, &arg);
	struct netup *up;
	int ret;

	if (!strcmp(how, "none")) {
		*out = NULL;
		return 0;
	}
	ret = check(how, ops, arg, err);
	if (ret)
		return ret;
	up = calloc(1, sizeof(*up));
	if (!up)
		return pcif_error(err, -ENOMEM, "out of memory");
	up->ops = ops;
	up->owner = *owner;
	pthread_mutex_init(&up->lock, NULL);
	ret = loop_new(&up->loop);
	if (ret)
		pcif_error(err, ret, "uplink=%s: %s", how, strerror(-ret));
	else
		ret = ops->open(up, arg, err);
	if (ret) {
		netup_free(up);
		return ret;
	}
	*out = up;
	return 0;
}

static void *thread_main(void *data)
{
	struct netup *up = data;

	loop_run(up->loop);
	return NULL;
}

int netup_start(struct netup *up)
{
	int ret;

	if (!up || up->started)
		return 0;
	ret = up->ops->start(up);
	if (!ret)
		ret = thread_start(&up->thread, KIB(256), thread_main, up);
	up->started = !ret;
	return ret;
}

void netup_stop(struct netup *up)
{
	if (!up || !up->started)
		return;
	loop_stop(up->loop, 0);
	pthread_join(up->thread, NULL);
	up->started = false;
}

void netup_free(struct netup *up)
{
	if (!up)
		return;
	netup_stop(up);
	/* Before the descriptors that its sources watch. */
	loop_free(up->loop);
	up->ops->close(up);
	pthread_mutex_destroy(&up->lock);
	free(up);
}

bool netup_link(struct netup *up)
{
	return !up || atomic_load(&up->link);
}

void netup_listen(struct netup *up)
{
	if (up)
		atomic_store_explicit(&up->listening, true, memory_order_relaxed);
}

void netup_set_link(struct netup *up, bool link)
{
	if (atomic_exchange(&up->link, link) != link)
		up->owner.link(up->owner.data, link);
}

void netup_deliver(struct netup *up, const struct netup_frame *frames, unsigned n)
{
	uint8_t padded[NETUP_BATCH][NETUP_PADDED];
	struct netup_frame good[NETUP_BATCH];
	unsigned m = 0;

	for (unsigned i = 0; i < n; i++) {
		const struct netup_frame *f = &frames[i];

		if (f->len < NETUP_FRAME_MIN || f->len > NETUP_FRAME_MAX) {
			atomic_fetch_add(&up->received_dropped, 1);
			continue;
		}
		good[m] = *f;
		if (f->len < NETUP_PADDED) {
			memcpy(padded[m], f->data, f->len);
			memset(padded[m] + f->len, 0, NETUP_PADDED - f->len);
			good[m] = (struct netup_frame){ padded[m], NETUP_PADDED };
		}
		m++;
	}
	atomic_fetch_add(&up->received, m);
	if (m)
		up->owner.receive(up->owner.data, good, m);
}

void netup_send(struct netup *up, const uint8_t *data, uint32_t len)
{
	bool taken;

	if (!up)
		return;
	pthread_mutex_lock(&up->lock);
	taken = len <= NETUP_FRAME_MAX && up->ops->send(up, data, len);
	pthread_mutex_unlock(&up->lock);
	atomic_fetch_add_explicit(taken ? &up->sent : &up->sent_dropped, 1, memory_order_relaxed);
}

void netup_flush(struct netup *up)
{
	if (!up || !up->ops->flush)
		return;
	pthread_mutex_lock(&up->lock);
	up->ops->flush(up);
	pthread_mutex_unlock(&up->lock);
}

void netup_counts(struct netup *up, struct netup_counts *counts)
{
	*counts = (struct netup_counts){ 0 };
	if (!up)
		return;
	counts->sent = atomic_load(&up->sent);
	counts->sent_dropped = atomic_load(&up->sent_dropped);
	counts->received = atomic_load(&up->received);
	counts->received_dropped = atomic_load(&up->received_dropped);
}
