/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Captures: reading them (uplink=pcap:FILE), and writing what a switch carries (pcap=FILE).
 *
 * Source: the file format of libpcap, draft-ietf-opsawg-pcap.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "device/net/priv.h"

#define MAGIC_US 0xa1b2c3d4u
#define MAGIC_NS 0xa1b23c4du
#define MAGIC_NG 0x0a0d0d0au /* pcapng; the same in both orders */
#define ETHERNET 1u
#define LINKTYPE(v) ((v)&0xffff) /* what is above says whether there is an FCS */
#define FCS_THERE BIT(26)
#define RECORD_MAX KIB(256) /* what libpcap takes; a longer one is no record */

struct file_header {
	uint32_t magic;
	uint16_t major, minor;
	uint32_t zone, accuracy, snap_len, link;
};
_Static_assert(sizeof(struct file_header) == 24, "file header");

struct record_header {
	uint32_t seconds, fraction, have, len;
};
_Static_assert(sizeof(struct record_header) == 16, "record header");

/* ------------------------------------------------------------------ reading */

static uint32_t order(const struct netcapture *c, uint32_t v)
{
	return c->swapped ? __builtin_bswap32(v) : v;
}

int netcapture_open(struct netcapture *c, FILE *file)
{
	struct file_header h;
	uint32_t magic;

	*c = (struct netcapture){ .file = file };
	if (fread(&h, sizeof(h), 1, file) != 1)
		return -EPROTO;
	if (h.magic == MAGIC_NG)
		return -EOPNOTSUPP;
	magic = h.magic;
	c->swapped = magic != MAGIC_US && magic != MAGIC_NS;
	magic = order(c, magic);
	if (magic != MAGIC_US && magic != MAGIC_NS)
		return -EPROTO;
	c->nanoseconds = magic == MAGIC_NS;
	if (LINKTYPE(order(c, h.link)) != ETHERNET || order(c, h.link) & FCS_THERE)
		return -ENOTTY;
	return 0;
}

static int skip(struct netcapture *c, uint32_t size)
{
	while (size) {
		uint32_t n = MIN(size, (uint32_t)sizeof(c->data));

		if (fread(c->data, n, 1, c->file) != 1)
			return -EPROTO;
		size -= n;
	}
	return 0;
}

int netcapture_next(struct netcapture *c)
{
	struct record_header h;
	uint32_t have;
	size_t n;

	for (;;) {
		n = fread(&h, 1, sizeof(h), c->file);
		if (!n)
			return -ENODATA;
		have = order(c, h.have);
		if (n < sizeof(h) || have > RECORD_MAX)
			return -EPROTO;
		if (have >= NETUP_FRAME_MIN && have <= NETUP_FRAME_MAX && have == order(c, h.len))
			break;
		c->skipped++;
		if (skip(c, have))
			return -EPROTO;
	}
	if (fread(c->data, have, 1, c->file) != 1)
		return -EPROTO;
	c->len = have;
	c->time_ns = order(c, h.seconds) * 1000000000ull +
		     order(c, h.fraction) * (c->nanoseconds ? 1ull : 1000ull);
	return 0;
}

/* ------------------------------------------------------------------ recording */

#define BUFFER MIB(4)

struct netpcap {
	char *path;
	int fd;
	pthread_t thread;
	bool started;
	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t wake;
	uint8_t *fill, *spare; /* one is filled while the other is written */
	size_t used;
	bool quit, failed;
	uint64_t dropped;
};

static int open_file(const char *path, int *out, struct pcif_reply_error *err)
{
	AUTO_CLOSE int fd =
		open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW, 0600);
	struct stat st;
	int ret = fd < 0 ? -errno : 0;

	if (ret)
		return pcif_error(err, ret, "pcap=%s: %s; give a file that this user can write",
				  path, strerror(-ret));
	if (fstat(fd, &st) || !S_ISREG(st.st_mode))
		return pcif_error(err, -EINVAL, "pcap=%s: this is not a regular file", path);
	if (ftruncate(fd, 0)) {
		ret = -errno;
		return pcif_error(err, ret, "pcap=%s: %s", path, strerror(-ret));
	}
	*out = fd_steal(&fd);
	return 0;
}

int netpcap_new(const char *path, struct netpcap **out, struct pcif_reply_error *err)
{
	const struct file_header h = { MAGIC_NS, 2, 4, 0, 0, 65535, ETHERNET };
	struct netpcap *p = calloc(1, sizeof(*p));
	int ret;

	if (!p)
		return pcif_error(err, -ENOMEM, "out of memory");
	p->fd = -1;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->wake, NULL);
	p->path = strdup(path);
	p->fill = malloc(BUFFER);
	p->spare = malloc(BUFFER);
	if (!p->path || !p->fill || !p->spare)
		ret = pcif_error(err, -ENOMEM, "out of memory");
	else
		ret = open_file(path, &p->fd, err);
	if (!ret) {
		ret = fd_write_all(p->fd, &h, sizeof(h));
		if (ret)
			pcif_error(err, ret, "pcap=%s: %s", path, strerror(-ret));
	}
	if (ret) {
		netpcap_free(p);
		return ret;
	}
	*out = p;
	return 0;
}

static void write_buffer(struct netpcap *p, const uint8_t *data, size_t size)
{
	int ret = fd_write_all(p->fd, data, size);

	if (!ret)
		return;
	log_error("pcap=%s: %s; nothing more is recorded", p->path, strerror(-ret));
	pthread_mutex_lock(&p->lock);
	p->failed = true;
	pthread_mutex_unlock(&p->lock);
}

static void *thread_main(void *data)
{
	struct netpcap *p = data;
	uint8_t *full;
	size_t size;
	bool quit;

	do {
		pthread_mutex_lock(&p->lock);
		while (!p->used && !p->quit)
			pthread_cond_wait(&p->wake, &p->lock);
		full = p->fill;
		p->fill = p->spare;
		p->spare = full;
		size = p->used;
		p->used = 0;
		quit = p->quit;
		pthread_mutex_unlock(&p->lock);
		write_buffer(p, full, size);
	} while (!quit);
	return NULL;
}

int netpcap_start(struct netpcap *p)
{
	int ret = !p || p->started ? 0 : thread_start(&p->thread, KIB(128), thread_main, p);

	if (p && !ret)
		p->started = true;
	return ret;
}

void netpcap_record(struct netpcap *p, const uint8_t *data, uint32_t len)
{
	uint64_t now = time_real_ns();
	const struct record_header h = { (uint32_t)(now / 1000000000u),
					 (uint32_t)(now % 1000000000u), len, len };

	pthread_mutex_lock(&p->lock);
	if (p->failed || p->used + sizeof(h) + len > BUFFER) {
		p->dropped++;
	} else {
		memcpy(p->fill + p->used, &h, sizeof(h));
		memcpy(p->fill + p->used + sizeof(h), data, len);
		if (!p->used)
			pthread_cond_signal(&p->wake);
		p->used += sizeof(h) + len;
	}
	pthread_mutex_unlock(&p->lock);
}

uint64_t netpcap_dropped(struct netpcap *p)
{
	uint64_t n;

	if (!p)
		return 0;
	pthread_mutex_lock(&p->lock);
	n = p->dropped;
	pthread_mutex_unlock(&p->lock);
	return n;
}

void netpcap_free(struct netpcap *p)
{
	if (!p)
		return;
	if (p->started) {
		pthread_mutex_lock(&p->lock);
		p->quit = true;
		pthread_cond_signal(&p->wake);
		pthread_mutex_unlock(&p->lock);
		pthread_join(p->thread, NULL);
	}
	if (p->dropped)
		log_warn("pcap=%s: %llu frames were not recorded", p->path,
			 (unsigned long long)p->dropped);
	base_cleanup_close(&p->fd);
	pthread_cond_destroy(&p->wake);
	pthread_mutex_destroy(&p->lock);
	free(p->path);
	free(p->fill);
	free(p->spare);
	free(p);
}
