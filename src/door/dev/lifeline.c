/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What happens if this process is killed while it waits for itself.
 *
 * Threads here wait for answers to requests of our own, and the kernel lets nobody out of most such
 * waits before the answer or the end of the connection, not even by SIGKILL. If the process is
 * killed, the threads that would answer are gone: a process that never ends, and clients that hang
 * with it. The same happens when the kernel takes our mappings away and wants dirty pages written
 * back.
 *
 * So somebody else ends the connection: the watcher, a process in the command's mount namespace
 * with the right to unmount by force. It learns of our death from pipes whose writing ends are held
 * by threads of ours that never touch a page, each in a table of descriptors of its own. There are
 * two, because the last thread to leave is the one that takes the mappings away, and it may be one
 * of them.
 *
 * Where the watcher is killed in the same moment (a control group or a pid namespace that is torn
 * down), the anchor helps: one more thread with a table of its own. It makes a request of our own
 * file system that is read and never answered, so not even SIGKILL gets it out before the
 * connection ends. All others leave before it, the table with the FUSE descriptor goes with the
 * last of them, that ends the connection, and the anchor, which is then the last, takes the
 * mappings away with nobody to wait for. (Until it is killed it sleeps as an ordinary thread does.)
 *
 * All others can leave because none of them waits for us: what waits is done by threads that do not
 * hold the FUSE descriptor (own.c), and a page fault whose page is read ahead can be killed
 * (fuse_handshake()). One wait is left that can not: a store to a mapped page, in the moment in
 * which that page is being written back.
 */
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "door/dev/priv.h"

#define WATCHER_PATIENCE_MS 5000

/* ------------------------------------------------------------------ our side */

static void *lifeline_main(void *data)
{
	struct lifeline *l = data;
	struct pollfd stop = { .fd = l->stop, .events = POLLIN };
	const int keep[] = { l->line, l->stop };

	l->error = table_own(keep, ARRAY_SIZE(keep));
	sem_post(&l->ready);
	if (l->error)
		return NULL;
	while (poll(&stop, 1, -1) < 0)
		;
	return NULL;
}

/* d->lifeline_fds are the reading ends, for the watcher. */
int lifelines_start(struct door_dev *d)
{
	unsigned i;
	int r;

	d->lifeline_stop = eventfd(0, EFD_CLOEXEC);
	if (d->lifeline_stop < 0)
		return -errno;
	for (i = 0; i < LIFELINES; i++) {
		struct lifeline *l = &d->lifelines[i];
		int fds[2];

		if (pipe2(fds, O_CLOEXEC))
			return -errno;
		d->lifeline_fds[i] = fds[0];
		l->line = fds[1];
		l->stop = d->lifeline_stop;
		sem_init(&l->ready, 0, 0);
		r = door_thread(lifeline_main, l, &l->thread);
		if (!r) {
			l->started = true;
			while (sem_wait(&l->ready))
				;
			r = l->error;
		}
		sem_destroy(&l->ready);
		close(fds[1]);
		if (r)
			return r;
	}
	return 0;
}

/* The watcher, or who is to start it, has them. */
void lifelines_close_fds(struct door_dev *d)
{
	unsigned i;

	for (i = 0; i < LIFELINES; i++)
		if (d->lifeline_fds[i] >= 0)
			close(fd_steal(&d->lifeline_fds[i]));
}

/*
 * It ends the connection and itself. A child of another process that somebody has stopped is not
 * waited for: the connection ends without it, if not as soon.
 */
static void watcher_wait(struct door_dev *d)
{
	struct pollfd p = { .fd = d->watcher, .events = POLLIN };

	if (d->watcher >= 0) {
		while (poll(&p, 1, d->child_ours ? -1 : WATCHER_PATIENCE_MS) < 0 && errno == EINTR)
			;
		close(fd_steal(&d->watcher));
	}
	if (d->child_ours) /* it sends no signal when it ends, unlike what the caller may have
			      forked */
		while (waitpid(-1, NULL, __WCLONE) > 0 || errno == EINTR)
			;
}

void lifelines_stop(struct door_dev *d)
{
	uint64_t one = 1;
	unsigned i;

	if (d->lifeline_stop >= 0)
		(void)!write(d->lifeline_stop, &one, sizeof(one));
	for (i = 0; i < LIFELINES; i++)
		if (d->lifelines[i].started)
			pthread_join(d->lifelines[i].thread, NULL);
	lifelines_close_fds(d);
	if (d->lifeline_stop >= 0)
		close(fd_steal(&d->lifeline_stop));
	watcher_wait(d);
}

/* ------------------------------------------------------------------ the anchor */

static void *anchor_main(void *data)
{
	struct door_dev *d = data;
	int root = d->root_fd;
	struct statfs st;

	d->anchor_error = table_own(&root, 1);
	atomic_store(&d->anchor_tid, (uint32_t)gettid());
	sem_post(&d->anchor_ready);
	if (!d->anchor_error)
		(void)fstatfs(root, &st); /* until the connection ends */
	return NULL;
}

/* Whether @r is the anchor's request, which must not be answered. */
bool anchor_is(const struct fuse_req *r)
{
	return r->h->pid == atomic_load(&r->door->anchor_tid);
}

/* When requests are served and d->root_fd is there. */
int anchor_start(struct door_dev *d)
{
	int r;

	sem_init(&d->anchor_ready, 0, 0);
	r = door_thread(anchor_main, d, &d->anchor);
	if (!r) {
		d->anchor_started = true;
		while (sem_wait(&d->anchor_ready))
			;
		r = d->anchor_error;
	}
	sem_destroy(&d->anchor_ready);
	return r;
}

/* After the end of the connection. */
void anchor_stop(struct door_dev *d)
{
	if (d->anchor_started)
		pthread_join(d->anchor, NULL);
	d->anchor_started = false;
}

/* ------------------------------------------------------------------ the watcher */

static __attribute__((noreturn)) void watch(const int *lines, int dir)
{
	struct pollfd p[LIFELINES];
	int fds[LIFELINES + 1];
	sigset_t all;
	int i;

	prctl(PR_SET_NAME, "uvfio-watch");
	/* Who kills the whole group must not take with us the one that cleans up behind us. */
	setsid();
	/* This process ends when ours does, and not before. */
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	for (i = 0; i < LIFELINES; i++)
		fds[i] = fcntl(lines[i], F_DUPFD, 16);
	fds[LIFELINES] = fcntl(dir, F_DUPFD, 16);
	for (i = 0; i <= LIFELINES; i++)
		dup2(fds[i], i);
	syscall(SYS_close_range, (unsigned)LIFELINES + 1, ~0u, 0u);
	for (i = 0; i < LIFELINES; i++)
		p[i] = (struct pollfd){ .fd = i, .events = POLLIN };
	while (poll(p, LIFELINES, -1) < 0 && errno == EINTR)
		;
	/* It stays mounted if it is in use, but its connection is over. */
	if (!fchdir(LIFELINES))
		umount2(".", MNT_FORCE);
	_exit(0);
}

/**
 * watcher_start() - in the child: starts the watcher as a child of our parent, so that the command
 * finds no children that it did not make. It watches when this returns.
 * @dir: the root of a mount of our file system. @pidfd: of the watcher. Returns 0 or -errno.
 */
int watcher_start(const int *lines, int dir, int *pidfd)
{
	unsigned long flags = CLONE_PARENT | CLONE_PIDFD;
	AUTO_CLOSE int ready = -1;
	int fds[2];
	pid_t pid;
	char byte;
	int r;

	if (pipe2(fds, O_CLOEXEC))
		return -errno;
	ready = fds[0];
	pid = (pid_t)syscall(SYS_clone, flags, NULL, pidfd, NULL, 0ul);
	if (!pid)
		watch(lines, dir);
	r = pid < 0 ? -errno : 0;
	close(fds[1]);
	/* It closes its end with everything else that it does not need. */
	while (!r && read(ready, &byte, 1) < 0 && errno == EINTR)
		;
	return r;
}
