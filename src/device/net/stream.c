/* SPDX-License-Identifier: BSD-3-Clause */
/* Frames out of a stream of bytes. Knows of no descriptor: what was read is given to it. */
#include <errno.h>

#include "device/net/priv.h"

struct found {
	struct netup_frame frames[NETUP_BATCH];
	unsigned n;
	void (*cb)(void *data, const struct netup_frame *frames, unsigned n);
	void *data;
};

static void hand_over(struct found *f)
{
	if (f->n)
		f->cb(f->data, f->frames, f->n);
	f->n = 0;
}

/* At @p are @have bytes. Those of the first frame and its length, or 0: not all of it is here. */
static int take_one(struct netstream *s, const uint8_t *p, uint32_t have, uint32_t *taken,
		    struct found *f)
{
	uint32_t len;

	*taken = 0;
	if (have < 4)
		return 0;
	memcpy(&len, p, 4);
	len = be32toh(len);
	if (len > NETSTREAM_LENGTH_MAX)
		return -EPROTO;
	if (len < NETUP_FRAME_MIN || len > NETUP_FRAME_MAX) {
		s->wrong++;
		*taken = MIN(have, 4 + len);
		s->skip = 4 + len - *taken;
		return 0;
	}
	if (have < 4 + len)
		return 0;
	f->frames[f->n++] = (struct netup_frame){ p + 4, len };
	if (f->n == NETUP_BATCH)
		hand_over(f);
	*taken = 4 + len;
	return 0;
}

uint8_t *netstream_room(struct netstream *s, uint32_t *size)
{
	if (s->first && s->size - s->first - s->have < NETSTREAM_BUF) {
		memmove(s->buf, s->buf + s->first, s->have);
		s->first = 0;
	}
	*size = s->size - s->first - s->have;
	return s->buf + s->first + s->have;
}

int netstream_take(struct netstream *s, uint32_t n,
		   void (*cb)(void *data, const struct netup_frame *frames, unsigned n), void *data)
{
	struct found f = { .n = 0, .cb = cb, .data = data };
	uint32_t at = 0, taken, end;
	int ret = 0;

	s->have += n;
	end = MIN(s->have, NETUP_READ_MAX);
	do {
		taken = MIN(s->skip, s->have - at);
		s->skip -= taken;
		if (!taken)
			ret = take_one(s, s->buf + s->first + at, end - at, &taken, &f);
		at += taken;
	} while (taken && at < end);
	hand_over(&f);
	s->have -= at;
	s->first = s->have ? s->first + at : 0;
	return ret;
}
