/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What comes to an uplink from outside. The first byte chooses: a stream of length-prefixed frames,
 * in pieces of sizes that the input gives; or a capture in pcap's format.
 *
 * The stream is held against its rules, as told here once more in another way: over the whole input
 * instead of over pieces.
 */
#include <errno.h>

#include "device/net/priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
	if (!ok)
		abort();
}

struct sum {
	uint64_t frames, bytes, hash;
};

static void add(struct sum *s, const uint8_t *data, uint32_t len)
{
	must(len >= NETUP_FRAME_MIN && len <= NETUP_FRAME_MAX);
	s->frames++;
	s->bytes += len;
	for (uint32_t i = 0; i < len; i++)
		s->hash = s->hash * 31 + data[i];
}

static void see(void *data, const struct netup_frame *frames, unsigned n)
{
	must(n > 0 && n <= NETUP_BATCH);
	for (unsigned i = 0; i < n; i++)
		add(data, frames[i].data, frames[i].len);
}

/* The frames of a whole stream. Returns what taking it in pieces has to end with. */
static int whole(const uint8_t *p, size_t left, struct sum *s)
{
	while (left >= 4) {
		uint32_t len = (uint32_t)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3];

		if (len > NETSTREAM_LENGTH_MAX)
			return -EPROTO;
		if (len > left - 4)
			return 0;
		if (len >= NETUP_FRAME_MIN && len <= NETUP_FRAME_MAX)
			add(s, p + 4, len);
		p += 4 + len;
		left -= 4 + len;
	}
	return 0;
}

static void stream(const uint8_t *data, size_t size)
{
	struct netstream s = { .buf = malloc(NETSTREAM_BUF), .size = NETSTREAM_BUF };
	size_t n_pieces = size ? MIN(data[0] & 15u, size - 1) : 0;
	const uint8_t *pieces = data + 1;
	struct sum got = { 0 }, want = { 0 };
	size_t at = 0;
	int ret = 0;

	must(s.buf);
	if (size) {
		data += 1 + n_pieces;
		size -= 1 + n_pieces;
	}
	for (size_t i = 0; at < size && !ret; i++) {
		uint32_t room, n = n_pieces ? pieces[i % n_pieces] * 5u + 1u : UINT32_MAX;
		uint8_t *to = netstream_room(&s, &room);

		must(room > 0);
		n = (uint32_t)MIN(MIN(n, room), size - at);
		memcpy(to, data + at, n);
		at += n;
		ret = netstream_take(&s, n, see, &got);
	}
	must(ret == whole(data, size, &want));
	must(!memcmp(&got, &want, sizeof(got)));
	free(s.buf);
}

static void capture(const uint8_t *data, size_t size)
{
	FILE *f = size ? fmemopen((void *)data, size, "r") : NULL;
	struct netcapture *c = malloc(sizeof(*c));
	size_t n = 0;

	must(c);
	if (f && !netcapture_open(c, f)) {
		struct sum sum = { 0 };

		while (!netcapture_next(c)) {
			add(&sum, c->data, c->len);
			n++;
		}
		must(24 + 16 * n + sum.bytes <= size);
	}
	if (f)
		fclose(f);
	free(c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!size)
		return 0;
	if (data[0] & 1)
		capture(data + 1, size - 1);
	else
		stream(data + 1, size - 1);
	return 0;
}
