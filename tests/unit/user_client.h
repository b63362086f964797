/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What tests of the user door share: a machine that it serves in a folder of its own, and a small
 * client of the protocol that sends whatever it is told. What each reply must hold is checked here.
 */
#ifndef UVFIO_TESTS_USER_CLIENT_H
#define UVFIO_TESTS_USER_CLIENT_H

#include <fcntl.h>
#include <linux/pci_regs.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "device/device.h"
#include "door/user/priv.h"
#include "vfio_client.h"

#define TESTDEV "0000:67:00.0"
#define USER_PATIENCE_MS 20000 /* of the test */

/* Registers of testdev's blocks, see docs/testdev.md. */
enum {
	TD_SCRATCH = 0x08,
	TD_ADDR_LO = 0x20,
	TD_ADDR_HI = 0x24,
	TD_LEN = 0x28,
	TD_CMD = 0x2c,
	TD_STATUS = 0x30,
	TD_SUM = 0x38,
	TD_SEED = 0x3c,
	TD_IRQ_RAISE = 0x40,
	TD_IRQ_LEVEL = 0x44,
	TD_FILL = 1,
	TD_LOAD = 2,
	TD_OK = 1,
	TD_FAULT = 2,
};

/* ------------------------------------------------------------------ a machine that is served */

struct world {
	struct fixture x;
	char dir[64];
	struct door_user *door;
	_Atomic unsigned joined, left;
	_Atomic int refuse; /* what join answers */
};

static inline int world_join(void *data, pid_t pid, struct pcif *f, unsigned *client)
{
	struct world *w = data;

	must_hold(pid == getpid(), "the pid of another process");
	if (w->refuse)
		return w->refuse;
	*client = ++w->joined;
	return 0;
}

static inline void world_leave(void *data, unsigned client)
{
	struct world *w = data;

	must_hold(client && client <= w->joined, "a client that never came has gone");
	w->left++;
}

static const struct door_user_ops world_ops = { world_join, world_leave };

static inline int world_serve(struct world *w)
{
	struct door_error err;
	int ret = door_user_new(w->x.v, w->dir, &world_ops, w, &w->door, &err);

	if (ret)
		fprintf(stderr, "# %s\n", err.text);
	else
		w->door->limits.gone_ns = USER_PATIENCE_MS * 2000000ull;
	return ret;
}

static inline void world_open(struct world *w)
{
	static const struct place list[] = { { FULL, &full_model },
					     { PLAIN, &plain_model },
					     { PLAIN2, &plain_model },
					     { TESTDEV, &device_testdev } };

	memset(w, 0, sizeof(*w));
	log_set_level(LOG_ERROR);
	must_hold(!guard_init(), "guard");
	must_hold(!fixture_open(&w->x, list, ARRAY_SIZE(list), MIB(1)), "a machine");
	w->x.full = find(&w->x, FULL);
	strcpy(w->dir, "/tmp/uvfio-user-XXXXXX");
	must_hold(mkdtemp(w->dir) != NULL, "a folder");
	must_hold(!world_serve(w), "a door");
}

/* Until all that came have gone, with what they had. */
static inline void world_await_left(struct world *w)
{
	uint64_t until = time_mono_ns() + USER_PATIENCE_MS * 1000000ull;

	while (w->left != w->joined) {
		must_hold(time_mono_ns() < until, "a client does not go");
		usleep(1000);
	}
}

/* Nothing is left: of descriptors, clients, sockets, address spaces. */
static inline void world_close(struct world *w)
{
	door_user_free(w->door);
	must_hold(w->joined == w->left, "a client that has not gone");
	must_hold(!rmdir(w->dir), "something is left in the folder");
	for (unsigned i = 0; i < pcim_count(w->x.pci); i++) {
		struct pcif *f = pcim_function(w->x.pci, i);

		must_hold(!vfio_function_space(w->x.v, f), "an address space is left");
		must_hold(!vfio_function_open(w->x.v, f), "a function is open");
	}
	must_hold(fixture_close(&w->x), "descriptors are left");
}

/* ------------------------------------------------------------------ messages */

struct client {
	int fd, twin;
	uint16_t id; /* of the last command */
};

/* One that was received. */
struct got {
	struct user_header h;
	size_t size; /* of @data */
	int fds[USER_FDS_MAX];
	unsigned n_fds;
	uint8_t data[USER_MESSAGE_MAX];
};

static inline void path_of(const struct world *w, const char *bdf, struct sockaddr_un *addr)
{
	addr->sun_family = AF_UNIX;
	snprintf(addr->sun_path, sizeof(addr->sun_path), "%s/%s.sock", w->dir, bdf);
}

static inline int client_try(struct client *c, const struct world *w, const char *bdf)
{
	struct sockaddr_un addr;
	int ret;

	path_of(w, bdf, &addr);
	*c = (struct client){ .fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), .twin = -1 };
	must_hold(c->fd >= 0, "a socket");
	if (!connect(c->fd, (struct sockaddr *)&addr, sizeof(addr)))
		return 0;
	ret = -errno;
	close(c->fd);
	c->fd = -1;
	return ret;
}

static inline void client_connect(struct client *c, const struct world *w, const char *bdf)
{
	must_hold(!client_try(c, w, bdf), "connect");
}

static inline void client_close(struct client *c)
{
	base_cleanup_close(&c->fd);
	base_cleanup_close(&c->twin);
}

/* One sendmsg(). False: the server has closed the connection. */
static inline bool send_raw(int fd, const void *data, size_t size, const int *fds, unsigned n)
{
	uint8_t control[CMSG_SPACE(USER_FDS_MAX * sizeof(int))] __attribute__((aligned(8)));
	struct iovec iov = { (void *)(uintptr_t)data, size };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *h;

	if (n) {
		memset(control, 0, sizeof(control));
		msg.msg_control = control;
		msg.msg_controllen = CMSG_SPACE(n * sizeof(int));
		h = CMSG_FIRSTHDR(&msg);
		h->cmsg_level = SOL_SOCKET;
		h->cmsg_type = SCM_RIGHTS;
		h->cmsg_len = CMSG_LEN(n * sizeof(int));
		memcpy(CMSG_DATA(h), fds, n * sizeof(int));
	}
	while (iov.iov_len) {
		ssize_t sent = sendmsg(fd, &msg, MSG_NOSIGNAL);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0)
			return false;
		iov.iov_base = (uint8_t *)iov.iov_base + sent;
		iov.iov_len -= (size_t)sent;
		msg.msg_control = NULL;
		msg.msg_controllen = 0;
	}
	return true;
}

static inline bool send_message(int fd, uint16_t id, uint16_t command, uint32_t flags,
				const void *data, size_t size, const int *fds, unsigned n)
{
	struct user_header h = { id, command, (uint32_t)(sizeof(h) + size), flags, 0 };
	uint8_t *whole = malloc(sizeof(h) + size);
	bool sent;

	must_hold(whole != NULL, "memory");
	memcpy(whole, &h, sizeof(h));
	if (size)
		memcpy(whole + sizeof(h), data, size);
	sent = send_raw(fd, whole, sizeof(h) + size, fds, n);
	free(whole);
	return sent;
}

static inline bool client_send(struct client *c, uint16_t command, const void *data, size_t size,
			       const int *fds, unsigned n)
{
	return send_message(c->fd, ++c->id, command, 0, data, size, fds, n);
}

/* Until something can be read. The fuzzer's alarm interrupts. */
static inline bool can_read(struct pollfd *p, unsigned n)
{
	int ret;

	do
		ret = poll(p, n, USER_PATIENCE_MS);
	while (ret < 0 && errno == EINTR);
	return ret > 0;
}

/* Exactly @size bytes; false: the connection ended before. */
static inline bool receive_bytes(int fd, uint8_t *to, size_t size, struct got *m)
{
	uint8_t control[CMSG_SPACE(USER_FDS_MAX * sizeof(int))] __attribute__((aligned(8)));

	while (size) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		struct iovec iov = { to, size };
		struct msghdr msg = { .msg_iov = &iov,
				      .msg_iovlen = 1,
				      .msg_control = control,
				      .msg_controllen = sizeof(control) };
		ssize_t n;

		must_hold(can_read(&p, 1), "nothing came");
		n = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		for (struct cmsghdr *h = CMSG_FIRSTHDR(&msg); h; h = CMSG_NXTHDR(&msg, h)) {
			unsigned count = (unsigned)((h->cmsg_len - CMSG_LEN(0)) / sizeof(int));

			memcpy(m->fds + m->n_fds, CMSG_DATA(h), count * sizeof(int));
			m->n_fds += count;
		}
		to += n;
		size -= (size_t)n;
	}
	return true;
}

/* The next message; false: the connection has ended. */
static inline bool receive_message(int fd, struct got *m)
{
	m->n_fds = 0;
	if (!receive_bytes(fd, (uint8_t *)&m->h, sizeof(m->h), m))
		return false;
	must_hold(m->h.size >= sizeof(m->h) && m->h.size <= USER_MESSAGE_MAX, "a wrong size");
	m->size = m->h.size - sizeof(m->h);
	return receive_bytes(fd, m->data, m->size, m);
}

static inline void got_close(struct got *m)
{
	for (unsigned i = 0; i < m->n_fds; i++)
		close(m->fds[i]);
	m->n_fds = 0;
}

/* The reply to what was sent last: its error; -ECONNRESET: the connection has ended. */
static inline int client_reply(struct client *c, uint16_t command, struct got *m)
{
	if (!receive_message(c->fd, m))
		return -ECONNRESET;
	must_hold(m->h.id == c->id && m->h.command == command, "a reply to something else");
	must_hold((m->h.flags & USER_TYPE) == USER_TYPE_REPLY, "no reply");
	if (!(m->h.flags & USER_ERROR))
		return 0;
	must_hold(!m->size && !m->n_fds, "an error with data");
	must_hold(m->h.error && m->h.error < 4096, "an error without a number");
	return -(int)m->h.error;
}

static inline int client_call_fds(struct client *c, uint16_t command, const void *data, size_t size,
				  const int *fds, unsigned n, struct got *m)
{
	if (!client_send(c, command, data, size, fds, n))
		return -ECONNRESET;
	return client_reply(c, command, m);
}

static inline int client_call(struct client *c, uint16_t command, const void *data, size_t size,
			      struct got *m)
{
	return client_call_fds(c, command, data, size, NULL, 0, m);
}

/* ------------------------------------------------------------------ requests */

#define ALL_CAPS                                                                                   \
	"{\"capabilities\":{\"max_msg_fds\":16,\"max_data_xfer_size\":1048576,"                    \
	"\"max_dma_maps\":100,\"pgsizes\":4096,\"write_multiple\":true}}"
#define TWIN_CAPS "{\"capabilities\":{\"max_msg_fds\":8,\"twin_socket\":{\"supported\":true}}}"

/* @size: of @json as it is sent. */
static inline int version_call(struct client *c, uint16_t major, uint16_t minor, const char *json,
			       size_t size, struct got *m)
{
	uint8_t data[KIB(64)];
	struct user_version v = { major, minor };

	memcpy(data, &v, sizeof(v));
	if (size)
		memcpy(data + sizeof(v), json, size);
	return client_call(c, USER_VERSION, data, sizeof(v) + size, m);
}

static inline int client_open(struct client *c, const struct world *w, const char *bdf,
			      const char *json, struct got *m)
{
	int ret;

	client_connect(c, w, bdf);
	ret = version_call(c, 0, 1, json, strlen(json) + 1, m);
	if (!ret && m->n_fds) {
		c->twin = m->fds[0];
		m->n_fds--;
	}
	return ret;
}

static inline int region_io(struct client *c, uint16_t command, unsigned region, uint64_t offset,
			    uint32_t count, const void *data, struct got *m)
{
	uint8_t buf[sizeof(struct user_region_io) + 64];
	struct user_region_io io = { offset, region, count };
	size_t more = command == USER_REGION_WRITE ? count : 0;

	must_hold(more <= 64, "too much for this");
	memcpy(buf, &io, sizeof(io));
	if (more)
		memcpy(buf + sizeof(io), data, more);
	return client_call(c, command, buf, sizeof(io) + more, m);
}

static inline int put32(struct client *c, unsigned region, uint64_t offset, uint32_t value,
			struct got *m)
{
	return region_io(c, USER_REGION_WRITE, region, offset, 4, &value, m);
}

/* Does not wait for the reply. */
static inline void put32_send(struct client *c, unsigned region, uint64_t offset, uint32_t value)
{
	struct {
		struct user_region_io io;
		uint32_t value;
	} __attribute__((packed)) w = { { offset, region, 4 }, value };

	must_hold(client_send(c, USER_REGION_WRITE, &w, sizeof(w), NULL, 0), "send");
}

static inline uint32_t get32(struct client *c, unsigned region, uint64_t offset, struct got *m)
{
	uint32_t value;

	must_hold(!region_io(c, USER_REGION_READ, region, offset, 4, NULL, m), "a read");
	must_hold(m->size == sizeof(struct user_region_io) + 4, "as much as was asked for");
	memcpy(&value, m->data + sizeof(struct user_region_io), 4);
	return value;
}

/* Memory and bus master are on. */
static inline void enable(struct client *c, struct got *m)
{
	uint16_t command = PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;

	must_hold(!region_io(c, USER_REGION_WRITE, VFIO_PCI_CONFIG_REGION_INDEX, PCI_COMMAND, 2,
			     &command, m),
		  "configuration space");
}

static inline int map_call(struct client *c, uint64_t address, uint64_t size, uint64_t offset,
			   int fd, struct got *m)
{
	struct user_dma_map map = { sizeof(map), 3, offset, address, size };

	return client_call_fds(c, USER_DMA_MAP, &map, sizeof(map), &fd, fd >= 0, m);
}

static inline int unmap_call(struct client *c, uint32_t flags, uint64_t address, uint64_t size,
			     struct got *m)
{
	struct user_dma_unmap unmap = { sizeof(unmap), flags, address, size };

	return client_call(c, USER_DMA_UNMAP, &unmap, sizeof(unmap), m);
}

static inline int irqs_call(struct client *c, uint32_t flags, unsigned index, unsigned start,
			    unsigned count, const int *fds, unsigned n, struct got *m)
{
	struct vfio_irq_set set = {
		.argsz = sizeof(set), .flags = flags, .index = index, .start = start, .count = count
	};

	return client_call_fds(c, USER_SET_IRQS, &set, sizeof(set), fds, n, m);
}

#endif
