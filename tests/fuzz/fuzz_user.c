/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A vfio-user client that sends anything: bytes become pieces of a stream, cut anywhere, with
 * descriptors of any kind, and messages that mean something in between. All of it is sent, then the
 * session runs to its end, on this thread: so an input does the same each time.
 *
 * Held: what comes back are whole messages of lengths that the protocol has, errors are bare
 * headers, and afterwards the machine is as it was.
 */
#include "user_session.h"

#define STREAM_MAX KIB(64)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A write tells the function what to do. */
static void act(void *state, unsigned bar, uint64_t offset, unsigned size, uint64_t value)
{
	struct model *m = state;
	uint8_t buf[256] = { 0 };

	switch (offset & 0x1c) {
	case 0:
		m->iova = value;
		break;
	case 4:
		m->iova |= value << 32;
		break;
	case 8:
		(void)pcif_dma_write(m->f, m->iova, buf, value & 0xff);
		break;
	case 12:
		(void)pcif_dma_read(m->f, m->iova, buf, value & 0xff);
		break;
	case 16:
		pcif_irq_raise(m->f, value & 31);
		break;
	case 20:
		pcif_intx_set(m->f, value & 1);
		break;
	}
}

static const struct pcif_model fuzz_model = {
	.name = "fuzz",
	.summary = "does what it is told",
	.create = full_create,
	.destroy = model_destroy,
	.bar_read = model_read,
	.bar_write = act,
	.reset = model_reset,
};

/* ------------------------------------------------------------------ the stream */

struct stream {
	struct talk *t;
	int kinds[4];
	size_t sent;
};

static void put_piece(struct stream *st, const void *data, size_t size, unsigned n_fds,
		      uint8_t kinds)
{
	int fds[USER_FDS_MAX];

	st->sent += size + 64;
	if (st->sent > STREAM_MAX || !size)
		return;
	for (unsigned i = 0; i < n_fds; i++)
		fds[i] = st->kinds[(kinds >> (i % 4 * 2)) & 3];
	need(send_raw(st->t->c.fd, data, size, fds, n_fds));
}

static void put_raw(struct stream *st, struct input *in)
{
	uint8_t data[256];
	size_t size = take(in, 1);
	unsigned n = take(in, 1) & 7;
	uint8_t kinds = take(in, 1);

	for (size_t i = 0; i < size; i++)
		data[i] = take(in, 1);
	put_piece(st, data, size, n, kinds);
}

/* A whole message, with the payload of the input, in one piece or two. */
static void put_message(struct stream *st, struct input *in)
{
	uint8_t data[sizeof(struct user_header) + 255];
	uint16_t command = take(in, 1) % 20;
	uint8_t flags = take(in, 1), many = take(in, 1), kinds = take(in, 1);
	size_t size = take(in, 1), cut;
	unsigned n = many == 255 ? USER_FDS_MAX : many & 7;
	struct user_header h = { (uint16_t)st->sent, command, (uint32_t)(sizeof(h) + size), 0, 0 };

	h.flags = flags & 0x11;
	memcpy(data, &h, sizeof(h));
	for (size_t i = 0; i < size; i++)
		data[sizeof(h) + i] = take(in, 1);
	cut = flags & 0x80 ? (flags & 0x7f) % h.size : 0;
	put_piece(st, data, cut, 0, 0);
	put_piece(st, data + cut, h.size - cut, n, kinds);
}

static void put_version(struct stream *st, const char *json)
{
	uint8_t data[512];
	struct user_version v = { 0, 1 };
	struct user_header h = { 0, USER_VERSION, 0, 0, 0 };
	size_t size = strlen(json) + 1;

	h.size = (uint32_t)(sizeof(h) + sizeof(v) + size);
	memcpy(data, &h, sizeof(h));
	memcpy(data + sizeof(h), &v, sizeof(v));
	memcpy(data + sizeof(h) + sizeof(v), json, size);
	put_piece(st, data, h.size, 0, 0);
}

static void put_enable(struct stream *st)
{
	struct {
		struct user_header h;
		struct user_region_io io;
		uint16_t command;
	} __attribute__((packed)) e = {
		{ 1, USER_REGION_WRITE, sizeof(e), 0, 0 },
		{ PCI_COMMAND, VFIO_PCI_CONFIG_REGION_INDEX, 2 },
		PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER,
	};

	put_piece(st, &e, sizeof(e), 0, 0);
}

/* ------------------------------------------------------------------ what comes back */

static void check_replies(struct talk *t)
{
	static struct got m;

	shutdown(t->c.fd, SHUT_RD);
	while (receive_message(t->c.fd, &m)) {
		bool reply = (m.h.flags & USER_TYPE) == USER_TYPE_REPLY;

		need(reply || m.h.command == USER_DMA_READ || m.h.command == USER_DMA_WRITE);
		need(!(m.h.flags & USER_ERROR) || (!m.size && !m.n_fds && m.h.error));
		need(m.n_fds <= 1);
		got_close(&m);
	}
	/* Of a message that was cut off. */
	got_close(&m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct talk t;
	struct input in = { data, size };
	struct stream st = { .t = &t };
	uint8_t start;

	log_set_level(LOG_ERROR);
	talk_open(&t, &fuzz_model, 20);
	st.kinds[0] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	st.kinds[1] = memfd_create("fuzz", MFD_CLOEXEC);
	st.kinds[2] = open("/dev/null", O_RDWR | O_CLOEXEC);
	st.kinds[3] = dup(st.kinds[1]);
	need(st.kinds[3] >= 0 && !ftruncate(st.kinds[1], KIB(64)));
	start = take(&in, 1);
	if (start & 1)
		put_version(&st, start & 4 ? TWIN_CAPS : ALL_CAPS);
	if (start & 2)
		put_enable(&st);
	for (unsigned i = 0; i < 200 && in.left && st.sent < STREAM_MAX; i++) {
		if (take(&in, 1) & 3)
			put_message(&st, &in);
		else
			put_raw(&st, &in);
	}
	shutdown(t.c.fd, SHUT_WR);
	session_serve(&t.s);
	check_replies(&t);
	for (unsigned i = 0; i < 4; i++)
		close(st.kinds[i]);
	talk_close(&t);
	return 0;
}
