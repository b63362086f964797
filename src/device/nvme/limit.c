/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Limits of a controller: commands and bytes per second, so that one virtual function cannot take
 * the whole device.
 *
 * Each is the time at which the next command would be due if commands came evenly (the generic
 * cell rate algorithm of ITU-T I.371): a command may come early by a burst's length, and moves that
 * time on by what it costs. Bytes are known only after a command was fetched, so a large one is
 * let through and paid for by those behind it. Over time the rate is kept exactly.
 *
 * Under nvmed_ctrl.lock.
 */
#include "device/nvme/priv.h"

#define BURST_NS 10000000u
#define SECOND_NS 1000000000u

/* When the next command is due at the earliest; 0: now. */
static uint64_t due(uint64_t next, uint64_t now)
{
	return next > now + BURST_NS ? next - BURST_NS : 0;
}

static uint64_t spend(uint64_t next, uint64_t now, uint64_t units, uint64_t per_second)
{
	/* 128 bits: a second's worth of nanoseconds times bytes. */
	return MAX(next, now) + (uint64_t)((__uint128_t)units * SECOND_NS / per_second);
}

/**
 * nvmed_limit_allows() - how many of @n I/O commands may be fetched now.
 * Where none may, c->limit.resume_ns says when that changes.
 */
unsigned nvmed_limit_allows(struct nvmed_ctrl *c, unsigned n)
{
	struct nvmed_limit *l = &c->limit;
	uint64_t now, at, cost, room;

	if (!l->iops && !l->bandwidth)
		return n;
	now = time_mono_ns();
	at = l->bandwidth ? due(l->next_byte, now) : 0;
	if (l->iops)
		at = MAX(at, due(l->next_command, now));
	if (at) {
		l->resume_ns = l->resume_ns ? MIN(l->resume_ns, at) : at;
		return 0;
	}
	if (!l->iops)
		return n;
	cost = MAX(SECOND_NS / l->iops, 1u);
	room = (now + BURST_NS - MAX(l->next_command, now)) / cost + 1;
	return (unsigned)MIN(n, room);
}

/* A command of @bytes of data was fetched. */
void nvmed_limit_spend(struct nvmed_ctrl *c, uint64_t bytes)
{
	struct nvmed_limit *l = &c->limit;
	uint64_t now;

	if (!l->iops && !l->bandwidth)
		return;
	now = time_mono_ns();
	if (l->iops)
		l->next_command = spend(l->next_command, now, 1, l->iops);
	if (l->bandwidth)
		l->next_byte = spend(l->next_byte, now, bytes, l->bandwidth);
}
