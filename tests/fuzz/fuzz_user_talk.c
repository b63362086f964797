/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A vfio-user client that keeps to the protocol: bytes become a conversation of valid commands, one
 * at a time or many before the first answer is read, with memory by descriptor and by messages,
 * which it answers for.
 *
 * Held: each command is answered once, in order, with its number, and as a simple picture of the
 * function says: what was written is read, what the device wrote is in the memory that was mapped,
 * what is not mapped is a fault, and mapping and unmapping fail where they have to.
 */
#include "user_session.h"

#define SLOTS 4
#define SLOT KIB(8)
#define BATCH 16

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct expected {
	uint16_t id, command;
	int error;
	bool compare;
	uint32_t value; /* of a read */
};

struct picture {
	struct talk *t;
	bool twin;
	int file;
	uint8_t *shared;
	uint8_t own[SLOTS * SLOT]; /* memory without a descriptor */
	enum { NONE, FILE_MAPPED, BY_MESSAGES } slot[SLOTS];
	uint32_t ram[16];
	struct expected wait[BATCH];
	unsigned n;
};

static void *serve(void *data)
{
	session_serve(data);
	return NULL;
}

/* ------------------------------------------------------------------ answers */

/* The server wants our memory. */
static void answer(struct picture *p, int fd, struct got *m)
{
	uint8_t reply[sizeof(struct user_dma) + SLOTS * SLOT];
	bool store = m->h.command == USER_DMA_WRITE;
	struct user_dma dma;

	need(store || m->h.command == USER_DMA_READ);
	memcpy(&dma, m->data, sizeof(dma));
	need(dma.address < SLOTS * SLOT && dma.count <= SLOTS * SLOT - dma.address);
	need(m->size == sizeof(dma) + (store ? dma.count : 0));
	for (uint64_t at = dma.address; at < dma.address + dma.count; at++)
		need(p->slot[at / SLOT] == BY_MESSAGES);
	memcpy(reply, &dma, sizeof(dma));
	if (store)
		memcpy(p->own + dma.address, m->data + sizeof(dma), dma.count);
	else
		memcpy(reply + sizeof(dma), p->own + dma.address, dma.count);
	need(send_message(fd, m->h.id, m->h.command, USER_TYPE_REPLY, reply,
			  sizeof(dma) + (store ? 0 : dma.count), NULL, 0));
}

static void receive_any(struct picture *p, struct got *m)
{
	for (;;) {
		struct pollfd fds[] = { { p->t->c.fd, POLLIN, 0 }, { p->t->c.twin, POLLIN, 0 } };
		int fd;

		need(can_read(fds, 2));
		fd = fds[0].revents ? p->t->c.fd : p->t->c.twin;
		need(receive_message(fd, m));
		if ((m->h.flags & USER_TYPE) == USER_TYPE_REPLY)
			return;
		need(fd == (p->twin ? p->t->c.twin : p->t->c.fd));
		answer(p, fd, m);
	}
}

static void settle(struct picture *p)
{
	static struct got m;
	uint32_t value;

	for (unsigned i = 0; i < p->n; i++) {
		const struct expected *e = &p->wait[i];

		receive_any(p, &m);
		need(m.h.id == e->id && m.h.command == e->command);
		need((m.h.flags & USER_ERROR ? -(int)m.h.error : 0) == e->error);
		if (e->compare) {
			memcpy(&value, m.data + sizeof(struct user_region_io), 4);
			need(value == e->value);
		}
		got_close(&m);
	}
	p->n = 0;
}

/* ------------------------------------------------------------------ commands */

static void say(struct picture *p, uint16_t command, const void *data, size_t size, int fd,
		struct expected e)
{
	if (p->n == BATCH)
		settle(p);
	need(client_send(&p->t->c, command, data, size, &fd, fd >= 0));
	e.id = p->t->c.id;
	e.command = command;
	p->wait[p->n++] = e;
}

static void say_put(struct picture *p, unsigned region, uint64_t offset, uint32_t value)
{
	struct {
		struct user_region_io io;
		uint32_t value;
	} wr = { { offset, region, 4 }, value };

	say(p, USER_REGION_WRITE, &wr, sizeof(wr.io) + 4, -1, (struct expected){ .error = 0 });
}

static void say_get(struct picture *p, unsigned region, uint64_t offset, uint32_t value)
{
	struct user_region_io io = { offset, region, 4 };

	say(p, USER_REGION_READ, &io, sizeof(io), -1,
	    (struct expected){ .compare = true, .value = value });
}

/* What is being moved is not mapped differently meanwhile: all before it is settled. */
static void map_slot(struct picture *p, unsigned slot, bool by_file)
{
	struct user_dma_map map = { sizeof(map), 3, by_file ? slot * SLOT : 0, slot * SLOT, SLOT };
	int error = p->slot[slot] ? -EEXIST : 0;

	settle(p);
	say(p, USER_DMA_MAP, &map, sizeof(map), by_file ? p->file : -1,
	    (struct expected){ .error = error });
	if (!error)
		p->slot[slot] = by_file ? FILE_MAPPED : BY_MESSAGES;
}

static void unmap_slots(struct picture *p, unsigned slot, unsigned n)
{
	struct user_dma_unmap unmap = { sizeof(unmap), 0, slot * SLOT, n * SLOT };
	int error = 0;

	settle(p);
	n = MIN(n, SLOTS - slot);
	unmap.size = n * SLOT;
	for (unsigned i = slot; i < slot + n; i++)
		if (!p->slot[i])
			error = -ENOENT;
	for (unsigned i = slot; i < slot + n && !error; i++)
		p->slot[i] = NONE;
	say(p, USER_DMA_UNMAP, &unmap, sizeof(unmap), -1, (struct expected){ .error = error });
}

/* The device writes a pattern. */
static void fill(struct picture *p, uint32_t at, uint32_t size, uint32_t seed)
{
	bool mapped = true;
	uint32_t i;

	at %= SLOTS * SLOT;
	size = MIN(size % (2 * SLOT) + 1, SLOTS * SLOT - at);
	for (i = at; i < at + size; i++)
		mapped = mapped && p->slot[i / SLOT];
	say_put(p, 0, TD_ADDR_LO, at);
	say_put(p, 0, TD_LEN, size);
	say_put(p, 0, TD_SEED, seed);
	say_put(p, 0, TD_CMD, TD_FILL);
	say_get(p, 0, TD_STATUS, mapped ? TD_OK : TD_FAULT);
	settle(p);
	for (i = 0; i < size && mapped; i++) {
		bool by_file = p->slot[(at + i) / SLOT] == FILE_MAPPED;

		need((by_file ? p->shared : p->own)[at + i] == (uint8_t)(seed + i + i / 256));
	}
}

static void enable_all(struct picture *p)
{
	struct {
		struct user_region_io io;
		uint16_t command;
	} __attribute__((packed)) wr = { { PCI_COMMAND, VFIO_PCI_CONFIG_REGION_INDEX, 2 },
					 PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER };

	say(p, USER_REGION_WRITE, &wr, sizeof(wr), -1, (struct expected){ .error = 0 });
}

static void set_irq(struct picture *p, unsigned vector)
{
	struct vfio_irq_set set = { .argsz = sizeof(set),
				    .flags =
					    VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
				    .index = VFIO_PCI_MSIX_IRQ_INDEX,
				    .start = vector,
				    .count = 1 };
	int efd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	uint64_t n;

	say(p, USER_SET_IRQS, &set, sizeof(set), efd, (struct expected){ .error = 0 });
	say_put(p, 0, TD_IRQ_RAISE, vector);
	settle(p);
	need(read(efd, &n, sizeof(n)) == sizeof(n) && n == 1);
	close(efd);
}

static void step(struct picture *p, struct input *in)
{
	unsigned what = take(in, 1), a = take(in, 1), b = take(in, 2);
	struct vfio_region_info info = { .argsz = b % 200 + sizeof(info), .index = a % 8 };

	switch (what % 10) {
	case 0:
		map_slot(p, a % SLOTS, b & 1);
		break;
	case 1:
		unmap_slots(p, a % SLOTS, b % SLOTS + 1);
		break;
	case 2:
		fill(p, a * 256u + b % 300, b, a);
		break;
	case 3:
		p->ram[a % 16] = b;
		say_put(p, 2, a % 16 * 4, b);
		break;
	case 4:
		say_get(p, 2, a % 16 * 4, p->ram[a % 16]);
		break;
	case 5:
		say_get(p, VFIO_PCI_CONFIG_REGION_INDEX, 0, 0x50001234);
		break;
	case 6:
		say(p, USER_GET_REGION_INFO, &info, sizeof(info), -1,
		    (struct expected){ .error = 0 });
		break;
	case 7:
		set_irq(p, a % 8);
		break;
	case 8:
		memset(p->ram, 0, sizeof(p->ram));
		say(p, USER_RESET, NULL, 0, -1, (struct expected){ .error = 0 });
		enable_all(p);
		break;
	case 9:
		say(p, 20 + a, &info, sizeof(info), -1, (struct expected){ .error = -EOPNOTSUPP });
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct talk t;
	static struct got m;
	static struct picture p;
	struct input in = { data, size };
	const char *caps;
	pthread_t thread;

	log_set_level(LOG_ERROR);
	talk_open(&t, &device_testdev, 10000);
	need(!thread_start(&thread, 0, serve, &t.s));
	p = (struct picture){ .t = &t, .twin = take(&in, 1) & 1 };
	p.file = memfd_create("talk", MFD_CLOEXEC);
	need(p.file >= 0 && !ftruncate(p.file, SLOTS * SLOT));
	p.shared = mmap(NULL, SLOTS * SLOT, PROT_READ | PROT_WRITE, MAP_SHARED, p.file, 0);
	need(p.shared != MAP_FAILED);
	caps = p.twin ? TWIN_CAPS : ALL_CAPS;
	need(!version_call(&t.c, 0, 1, caps, strlen(caps) + 1, &m));
	need(m.n_fds == p.twin);
	if (p.twin)
		t.c.twin = m.fds[0];
	enable_all(&p);
	for (unsigned i = 0; i < 100 && in.left; i++)
		step(&p, &in);
	settle(&p);
	shutdown(t.c.fd, SHUT_RDWR);
	pthread_join(thread, NULL);
	munmap(p.shared, SLOTS * SLOT);
	close(p.file);
	talk_close(&t);
	return 0;
}
