/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * uplink=pcap:FILE: the frames of a capture come in, once, as far apart as they were taken, from
 * the moment on that somebody receives. Nobody is there to take what goes out.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "device/net/priv.h"

#define WAIT_NS 50000000ull
#define GAP_MAX_NS 1000000000ull /* longer ones, and steps back in time, are not waited for */

struct replay {
	struct netup *up;
	FILE *file;
	char *path;
	struct loop_source *timer;
	struct netcapture capture;
	uint64_t due, last; /* of the next frame, by our clock; of the one before, by the file's */
};

static void step(void *data, uint32_t events);

static void arm(struct replay *r, uint64_t ns)
{
	loop_source_free(r->timer);
	r->timer = NULL;
	if (loop_timer_add(r->up->loop, ns, 0, step, r, &r->timer))
		log_error("uplink=pcap:%s: no timer is to be had, it ends here", r->path);
}

/* Reads the next frame and works out when it is due. False: there is none. */
static bool next(struct replay *r)
{
	int ret = netcapture_next(&r->capture);
	uint64_t gap = r->capture.time_ns - r->last;

	if (ret == -EPROTO)
		log_warn("uplink=pcap:%s: the file is broken, it ends here", r->path);
	if (!ret) {
		if (r->capture.time_ns > r->last)
			r->due += MIN(gap, GAP_MAX_NS);
		r->last = r->capture.time_ns;
		return true;
	}
	log_info("uplink=pcap:%s: the end; %llu records were no whole frame, or too long", r->path,
		 (unsigned long long)r->capture.skipped);
	atomic_fetch_add(&r->up->received_dropped, r->capture.skipped);
	loop_source_free(r->timer);
	r->timer = NULL;
	return false;
}

static void step(void *data, uint32_t events)
{
	struct replay *r = data;
	uint64_t now = time_mono_ns();

	for (unsigned i = 0; i < NETUP_BATCH && r->due <= now; i++) {
		struct netup_frame f = { r->capture.data, r->capture.len };

		netup_deliver(r->up, &f, 1);
		if (!next(r))
			return;
	}
	arm(r, r->due > now ? r->due - now : 0);
}

static void wait_listener(void *data, uint32_t events)
{
	struct replay *r = data;

	netup_set_link(r->up, true);
	if (!atomic_load_explicit(&r->up->listening, memory_order_relaxed))
		return;
	r->last = UINT64_MAX;
	r->due = time_mono_ns() + WAIT_NS;
	if (next(r))
		arm(r, WAIT_NS);
}

static int explain(const char *path, int ret, struct pcif_reply_error *err)
{
	const char *why = strerror(-ret);

	if (ret == -EPROTO)
		why = "this is not a capture in pcap's format";
	else if (ret == -EOPNOTSUPP)
		why = "this is pcapng; make it pcap: editcap -F pcap IN OUT";
	else if (ret == -ENOTTY)
		why = "this is not a capture of Ethernet without FCS";
	else if (ret == -EISDIR)
		why = "this is not a regular file";
	return pcif_error(err, ret == -ENOTTY || ret == -EPROTO ? -EINVAL : ret,
			  "uplink=pcap:%s: %s", path, why);
}

static int replay_open(struct netup *up, const char *arg, struct pcif_reply_error *err)
{
	struct replay *r = up->state = calloc(1, sizeof(*r));
	AUTO_CLOSE int fd = -1;
	struct stat st;
	int ret;

	if (!r || !(r->path = strdup(arg)))
		return pcif_error(err, -ENOMEM, "out of memory");
	r->up = up;
	fd = open(arg, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st))
		return explain(arg, -errno, err);
	if (!S_ISREG(st.st_mode))
		return explain(arg, -EISDIR, err);
	r->file = fdopen(fd, "r");
	if (!r->file)
		return explain(arg, -errno, err);
	fd_steal(&fd);
	ret = netcapture_open(&r->capture, r->file);
	return ret ? explain(arg, ret, err) : 0;
}

static int replay_start(struct netup *up)
{
	struct replay *r = up->state;

	return loop_timer_add(up->loop, 0, WAIT_NS, wait_listener, r, &r->timer);
}

static bool replay_send(struct netup *up, const uint8_t *data, uint32_t len)
{
	return false;
}

static void replay_close(struct netup *up)
{
	struct replay *r = up->state;

	if (!r)
		return;
	base_cleanup_file(&r->file);
	free(r->path);
	free(r);
}

const struct netup_ops netup_pcap = {
	.name = "pcap",
	.wants_arg = true,
	.open = replay_open,
	.start = replay_start,
	.send = replay_send,
	.close = replay_close,
};
