/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The reaper: a thread that learns of files that clients close, where device files are memfds
 * (memdev.c).
 *
 * inotify tells that an open file of a memfd has lost its last reference, but tells of two in a row
 * as of one, and not which; so the session is marked, and its files are looked at. The kernel tells
 * of the close just before it takes the file's lock away, by which it is known, and a second one
 * may hide behind the first: a marked session is looked at again for a while, ever more rarely.
 *
 * A user may have no inotify instance or watch left. Then all sessions are looked at, all the time.
 *
 * There is one for the process. Source: inotify(7), Linux fs/file_table.c __fput().
 */
#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>

#include "door/dev/priv.h"

#define LOOK_FIRST_MS 1
#define LOOK_LAST_MS 64
#define LOOK_AGAIN_NS 2000000000ull
#define POLL_MS 20 /* where inotify is not to be had */

static struct {
	pthread_mutex_t lock;	   /* start and end */
	unsigned users;		   /* under @lock */
	atomic_bool polling, stop; /* there are closes that inotify does not tell of; the end */
	int inotify, event;
	pthread_t thread;
} reaper = { .lock = PTHREAD_MUTEX_INITIALIZER, .inotify = -1, .event = -1 };

static void wake(void)
{
	uint64_t one = 1;

	(void)!write(reaper.event, &one, sizeof(one));
}

/* errno is inotify's. */
static void poll_instead(void)
{
	if (!atomic_exchange(&reaper.polling, true))
		log_info("inotify: %s; closed devices are noticed by looking at them",
			 strerror(errno));
}

/* Tells of closes of the memfd @fd from now on; the number to unwatch it by. */
int reaper_watch(int fd)
{
	char path[40];
	int wd;

	if (reaper.inotify < 0)
		return -1;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	wd = inotify_add_watch(reaper.inotify, path, IN_CLOSE);
	if (wd < 0)
		poll_instead();
	return wd;
}

void reaper_unwatch(int wd)
{
	if (wd >= 0)
		inotify_rm_watch(reaper.inotify, wd);
}

/* Whether closes are found by looking. */
bool reaper_looks(void)
{
	return atomic_load(&reaper.polling);
}

/* There is a file that may be closed. */
void reaper_hint(void)
{
	if (atomic_load(&reaper.polling))
		wake();
}

/* ------------------------------------------------------------------ the thread */

/* Marks what inotify tells of; true if there was something. */
static bool read_events(void)
{
	union {
		struct inotify_event align;
		char bytes[4096];
	} u;
	bool any = false;
	ssize_t n, at;

	while ((n = read(reaper.inotify, &u, sizeof(u))) > 0) {
		for (at = 0; at < n;) {
			const struct inotify_event *e = (const void *)(u.bytes + at);

			if (e->mask & IN_Q_OVERFLOW)
				any |= memdevs_mark(-1);
			else if (e->mask & IN_CLOSE)
				any |= memdevs_mark(e->wd);
			at += (ssize_t)(sizeof(*e) + e->len);
		}
	}
	return any;
}

/*
 * Looks; @wait_ms: the time since the last look, @until_ns: how long it goes on. Returns how long
 * until the next look; -1: as long as it takes until there is news.
 */
static int look(int wait_ms, bool news, uint64_t *until_ns)
{
	uint64_t now = time_mono_ns();

	if (atomic_load(&reaper.polling)) {
		memdevs_mark(-1);
		memdevs_reap_marked(false);
		return memdevs_any() ? POLL_MS : -1;
	}
	if (news)
		*until_ns = now + LOOK_AGAIN_NS;
	else if (wait_ms < 0)
		return -1;
	memdevs_reap_marked(now >= *until_ns);
	if (now >= *until_ns)
		return -1;
	return news ? LOOK_FIRST_MS : MIN(2 * wait_ms, LOOK_LAST_MS);
}

static void *reaper_main(void *data)
{
	struct pollfd fds[2] = {
		{ .fd = reaper.event, .events = POLLIN },
		{ .fd = reaper.inotify, .events = POLLIN },
	};
	uint64_t until_ns = 0, n;
	int wait_ms = -1;

	while (!atomic_load(&reaper.stop)) {
		bool news = false;

		if (poll(fds, 2, wait_ms) > 0) {
			if (fds[0].revents & POLLIN)
				(void)!read(reaper.event, &n, sizeof(n));
			if (fds[1].revents & POLLIN)
				news = read_events();
		}
		wait_ms = look(wait_ms, news, &until_ns);
	}
	return NULL;
}

/* ------------------------------------------------------------------ start and end */

static void close_fds(void)
{
	if (reaper.inotify >= 0)
		close(fd_steal(&reaper.inotify));
	if (reaper.event >= 0)
		close(fd_steal(&reaper.event));
}

/* Called with reaper.lock held. */
static int start(void)
{
	int r;

	atomic_store(&reaper.polling, false);
	atomic_store(&reaper.stop, false);
	reaper.event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (reaper.event < 0)
		return -errno;
	reaper.inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (reaper.inotify < 0)
		poll_instead();
	r = door_thread(reaper_main, NULL, &reaper.thread);
	if (r)
		close_fds();
	return r;
}

/* For one more door; 0 or -errno. */
int reaper_start(void)
{
	int r = 0;

	pthread_mutex_lock(&reaper.lock);
	if (!reaper.users)
		r = start();
	if (!r)
		reaper.users++;
	pthread_mutex_unlock(&reaper.lock);
	return r;
}

void reaper_stop(void)
{
	pthread_mutex_lock(&reaper.lock);
	if (!--reaper.users) {
		atomic_store(&reaper.stop, true);
		wake();
		pthread_join(reaper.thread, NULL);
		close_fds();
	}
	pthread_mutex_unlock(&reaper.lock);
}
