/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Writes to the view that may wait for others: unbinding a function waits for its user, and whoever
 * wants that function waits for that.
 *
 * A thread that is killed while it waits for our answer cannot go before it has it, so its wait has
 * to end. FUSE tells once that a request's thread got a signal (FUSE_INTERRUPT), whichever it was,
 * and of later ones it tells nothing; Linux's own sysfs waits on in any case. So from then on the
 * watcher looks whether the thread is to die: SIGKILL is pending, which a signal that ends the
 * process leaves in all of its threads, or such a signal itself, where the thread has another one
 * pending already (Linux kernel/signal.c, complete_signal()). One by which somebody asks it to end
 * ends the wait as well, handled or not: Ctrl-C at a shell whose own echo it is that waits. Others
 * do no harm: a shell whose child ends while it unbinds a device gets what it asked for.
 *
 * What is known of a request may arrive here before the request itself does.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>

#include "door/dev/priv.h"

#define LOOK_MS 50

/* ------------------------------------------------------------------ whose wait is to end */

#define SIGNAL(n) BIT64((n)-1)
/* What does not end a process that neither handles nor ignores it (signal(7)). */
#define HARMLESS                                                                                   \
	(SIGNAL(SIGCHLD) | SIGNAL(SIGCONT) | SIGNAL(SIGURG) | SIGNAL(SIGWINCH) | SIGNAL(SIGSTOP) | \
	 SIGNAL(SIGTSTP) | SIGNAL(SIGTTIN) | SIGNAL(SIGTTOU))
/* By these a program is asked to end. */
#define ASKS_TO_END (SIGNAL(SIGHUP) | SIGNAL(SIGINT) | SIGNAL(SIGQUIT) | SIGNAL(SIGTERM))

static uint64_t signal_set(const char *status, const char *name)
{
	const char *set = strstr(status, name);

	return set ? strtoull(set + strlen(name), NULL, 16) : 0;
}

/* Also where we cannot know it: who waits for ever is worse off than who tries again. */
static bool is_to_end(pid_t tid)
{
	char path[32], text[4096];
	uint64_t pending, handled;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/status", tid);
	fd = tid > 0 ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	if (fd < 0)
		return true;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return true;
	text[n] = 0;
	pending = signal_set(text, "\nSigPnd:") | signal_set(text, "\nShdPnd:");
	if (pending & SIGNAL(SIGKILL))
		return true;
	handled = signal_set(text, "\nSigCgt:") & ~ASKS_TO_END;
	return pending & ~(HARMLESS | handled | signal_set(text, "\nSigBlk:") |
			   signal_set(text, "\nSigIgn:"));
}

/* Those that got a signal, with acts.lock; returns how many. */
static unsigned list_signalled(struct acts *acts, pid_t tids[ACTS_MAX])
{
	unsigned n = 0;

	for (struct act *a = acts->list; a; a = a->next)
		if (a->signalled && !atomic_load(&a->cancel) && n < ACTS_MAX)
			tids[n++] = a->tid;
	return n;
}

/* A thread has one request at a time. */
static void cancel_of(struct acts *acts, pid_t tid)
{
	pthread_mutex_lock(&acts->lock);
	for (struct act *a = acts->list; a; a = a->next)
		if (a->tid == tid)
			atomic_store(&a->cancel, true);
	pthread_mutex_unlock(&acts->lock);
}

static void *watch_main(void *data)
{
	struct acts *acts = data;
	struct pollfd p = { .fd = acts->event, .events = POLLIN };
	pid_t tids[ACTS_MAX];
	unsigned n = 0;
	uint64_t woken;

	for (;;) {
		if (poll(&p, 1, n ? LOOK_MS : -1) > 0)
			(void)!read(acts->event, &woken, sizeof(woken));
		pthread_mutex_lock(&acts->lock);
		n = list_signalled(acts, tids);
		if (acts->stop) {
			pthread_mutex_unlock(&acts->lock);
			return NULL;
		}
		pthread_mutex_unlock(&acts->lock);
		for (unsigned i = 0; i < n; i++)
			if (is_to_end(tids[i]))
				cancel_of(acts, tids[i]);
	}
}

static void wake(struct acts *acts)
{
	uint64_t one = 1;

	(void)!write(acts->event, &one, sizeof(one));
}

/* With acts.lock: @a's thread got a signal. Without a watcher any of them ends the wait. */
static void signalled(struct acts *acts, struct act *a)
{
	a->signalled = true;
	if (acts->watching)
		wake(acts);
	else
		atomic_store(&a->cancel, true);
}

/* ------------------------------------------------------------------ requests */

/* The watcher is there from the first of them on. */
static void watch_start(struct acts *acts)
{
	pthread_mutex_lock(&acts->start);
	if (!acts->watching) {
		if (acts->event < 0)
			acts->event = eventfd(0, EFD_CLOEXEC);
		if (acts->event >= 0 && !door_thread(watch_main, acts, &acts->watcher)) {
			pthread_mutex_lock(&acts->lock);
			acts->watching = true;
			pthread_mutex_unlock(&acts->lock);
		}
	}
	pthread_mutex_unlock(&acts->start);
}

static int act_begin(struct acts *acts, struct act *a)
{
	int r = 0;

	pthread_mutex_lock(&acts->lock);
	atomic_init(&a->cancel, acts->closing);
	for (unsigned i = 0; i < ACTS_EARLY; i++)
		if (acts->early[i] == a->unique)
			signalled(acts, a);
	if (acts->n >= ACTS_MAX) {
		r = -EAGAIN;
	} else {
		acts->n++;
		a->next = acts->list;
		acts->list = a;
	}
	pthread_mutex_unlock(&acts->lock);
	return r;
}

static void act_end(struct acts *acts, struct act *a)
{
	struct act **at;

	pthread_mutex_lock(&acts->lock);
	for (at = &acts->list; *at != a; at = &(*at)->next)
		;
	*at = a->next;
	acts->n--;
	pthread_mutex_unlock(&acts->lock);
}

/**
 * act_run() - a write to @node for the client of @r.
 * Returns what the node says; -EAGAIN: too many are waiting; -EINTR: given up.
 */
int act_run(struct fuse_req *r, struct view_node *node, const char *text, size_t size)
{
	struct acts *acts = &r->door->acts;
	struct act a = { .unique = r->h->unique, .tid = (pid_t)r->h->pid };
	int err;

	watch_start(acts);
	err = act_begin(acts, &a);
	if (err)
		return err;
	err = node->act(node, text, size, &a.cancel);
	act_end(acts, &a);
	return err;
}

/* Has no answer of its own. Neither waits nor allocates. */
void act_interrupt(struct fuse_req *r)
{
	const struct fuse_interrupt_in *in = r->arg;
	struct acts *acts = &r->door->acts;
	struct act *a;

	pthread_mutex_lock(&acts->lock);
	for (a = acts->list; a && a->unique != in->unique; a = a->next)
		;
	if (a)
		signalled(acts, a);
	else
		acts->early[acts->next_early++ % ACTS_EARLY] = in->unique;
	pthread_mutex_unlock(&acts->lock);
}

/* ------------------------------------------------------------------ life */

void acts_init(struct acts *acts)
{
	pthread_mutex_init(&acts->lock, NULL);
	pthread_mutex_init(&acts->start, NULL);
	acts->event = -1;
}

/* The door ends: so does every wait, and those that are about to begin. */
void acts_close(struct acts *acts)
{
	pthread_mutex_lock(&acts->lock);
	acts->closing = true;
	for (struct act *a = acts->list; a; a = a->next)
		atomic_store(&a->cancel, true);
	pthread_mutex_unlock(&acts->lock);
}

/* No FUSE thread runs any more. */
void acts_fini(struct acts *acts)
{
	if (acts->watching) {
		pthread_mutex_lock(&acts->lock);
		acts->stop = true;
		pthread_mutex_unlock(&acts->lock);
		wake(acts);
		pthread_join(acts->watcher, NULL);
	}
	if (acts->event >= 0)
		close(acts->event);
	pthread_mutex_destroy(&acts->start);
	pthread_mutex_destroy(&acts->lock);
}
