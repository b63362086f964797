/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Frames that wait for a function, in a buffer of limited size: all of them where it is slow, for
 * its own thread; those of the uplink while there are no receive buffers, as in the packet buffer
 * of the hardware.
 *
 * The second kind is for peers that send a whole window at once, as passt does, which sends all of
 * it again if one frame is lost. Such an uplink is not read while a backlog is crowded; but only
 * for so long, for the function may never make room again, and others use the uplink too.
 */
#include <errno.h>

#include "device/igb/priv.h"

#define SIZE KIB(512)
#define CROWDED (SIZE / 2)	/* what is left has room for all that an uplink reads at once */
#define PATIENCE_NS 1000000000u /* an uplink waits that long for a crowded one */

struct note { /* before each frame */
	uint32_t len, source;
};

static void ring_copy(struct igb_backlog *l, uint32_t at, void *buf, uint32_t size, bool in)
{
	uint32_t first = MIN(size, SIZE - at);

	if (in) {
		memcpy(l->ring + at, buf, first);
		memcpy(l->ring, (uint8_t *)buf + first, size - first);
	} else {
		memcpy(buf, l->ring + at, first);
		memcpy((uint8_t *)buf + first, l->ring, size - first);
	}
}

static void append(struct igb_backlog *l, const struct note *note, const uint8_t *data)
{
	uint32_t at = (l->head + l->used) % SIZE;

	ring_copy(l, at, (void *)note, sizeof(*note), true);
	at = (uint32_t)((at + sizeof(*note)) % SIZE);
	ring_copy(l, at, (void *)data, note->len, true);
	l->used += (uint32_t)sizeof(*note) + note->len;
	if (l->used > CROWDED && !l->crowded_since)
		l->crowded_since = time_mono_ns();
}

void igb_backlog_put(struct igb_fn *fn, struct igb_frame *frame, unsigned source)
{
	struct igb_backlog *l = &fn->backlog;
	struct note note = { frame->len, source };
	bool room;

	igb_frame_whole(frame);
	pthread_mutex_lock(&l->lock);
	if (!l->ring)
		l->ring = malloc(SIZE);
	room = l->ring && l->used + sizeof(note) + frame->len <= SIZE;
	if (room)
		append(l, &note, frame->data);
	pthread_mutex_unlock(&l->lock);
	if (!room)
		igb_count_missed(fn);
}

/* The first frame, which stays. False: there is none. */
static bool peek(struct igb_backlog *l, uint8_t *buf, struct note *note)
{
	bool any;

	pthread_mutex_lock(&l->lock);
	any = l->used;
	if (any) {
		ring_copy(l, l->head, note, sizeof(*note), false);
		ring_copy(l, (uint32_t)((l->head + sizeof(*note)) % SIZE), buf, note->len, false);
	}
	pthread_mutex_unlock(&l->lock);
	return any;
}

static void drop_first(struct igb_backlog *l, const struct note *note)
{
	uint32_t size = (uint32_t)sizeof(*note) + note->len;

	pthread_mutex_lock(&l->lock);
	l->head = (l->head + size) % SIZE;
	l->used -= size;
	if (l->used <= CROWDED)
		l->crowded_since = 0;
	pthread_mutex_unlock(&l->lock);
}

void igb_backlog_clear(struct igb_fn *fn)
{
	pthread_mutex_lock(&fn->backlog.lock);
	fn->backlog.head = 0;
	fn->backlog.used = 0;
	fn->backlog.crowded_since = 0;
	pthread_mutex_unlock(&fn->backlog.lock);
}

/* Under the lock of the function, which alone takes frames out. True: some had room. */
bool igb_backlog_run(struct igb_fn *fn)
{
	uint8_t buf[IGB_FRAME_MAX + 8];
	struct note note;
	unsigned n = 0;

	while (n < IGB_BATCH && peek(&fn->backlog, buf, &note)) {
		struct igb_frame frame = { .data = buf, .len = note.len };
		int ret = igb_rx(fn, &frame, note.source);

		igb_dma_flush(fn); /* the next one is put where this one is */
		if (ret)
			break;
		drop_first(&fn->backlog, &note);
		n++;
	}
	igb_rx_done(fn);
	return n;
}

static bool crowded(struct igb_fn *fn)
{
	uint64_t since;

	pthread_mutex_lock(&fn->backlog.lock);
	since = fn->backlog.crowded_since;
	pthread_mutex_unlock(&fn->backlog.lock);
	return since && time_mono_ns() - since < PATIENCE_NS;
}

/* Whether an uplink that can wait should go on. */
bool igb_backlogs_ready(struct igb_card *card)
{
	bool ready = true;

	for (unsigned port = 0; ready && port < IGB_PORTS; port++) {
		struct igb_fn *fn = igb_port_get(card, port);

		if (!fn)
			continue;
		ready = !crowded(fn);
		igb_port_put(fn);
	}
	return ready;
}
