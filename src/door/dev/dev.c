/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The dev door: starts a command that sees the machine's /dev/vfio and the PCI part of /sys, and
 * serves them. This file is the parent's side of the launch, and the end; docs/door-dev.md tells
 * the whole.
 */
#include <errno.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "door/dev/priv.h"

/* ------------------------------------------------------------------ parts */

static int init_owners(struct door_dev *d)
{
	unsigned i;

	d->n_owners = pcim_group_count(d->pci) + 1;
	d->owners = calloc(d->n_owners, sizeof(*d->owners));
	if (!d->owners)
		return -ENOMEM;
	for (i = 0; i < d->n_owners; i++) {
		atomic_init(&d->owners[i].uid, d->uid);
		atomic_init(&d->owners[i].gid, d->gid);
		atomic_init(&d->owners[i].mode, i ? 0600 : 0666);
	}
	return 0;
}

static int init_funcs(struct door_dev *d)
{
	unsigned i, n = pcim_count(d->pci);

	d->funcs = calloc(n ? n : 1, sizeof(*d->funcs));
	if (!d->funcs)
		return -ENOMEM;
	d->n_funcs = n;
	for (i = 0; i < d->n_funcs; i++) {
		d->funcs[i].f = pcim_function(d->pci, i);
		d->funcs[i].door = d;
		pthread_mutex_init(&d->funcs[i].lock, NULL);
	}
	return 0;
}

static int door_new(struct pcim *pci, struct vfio *vfio, struct door_dev **door)
{
	struct door_dev *d = calloc(1, sizeof(*d));
	pthread_condattr_t mono;
	unsigned i;
	int r;

	if (!d)
		return -ENOMEM;
	d->pci = pci;
	d->vfio = vfio;
	d->uid = geteuid();
	d->gid = getegid();
	d->fuse_fd = d->root_fd = d->listener = d->notify_event = -1;
	d->guard.event = d->spawner.event = d->sharer.event = -1;
	d->lifeline_stop = -1;
	for (i = 0; i < LIFELINES; i++)
		d->lifeline_fds[i] = -1;
	pthread_mutex_init(&d->lock, NULL);
	pthread_condattr_init(&mono);
	pthread_condattr_setclock(&mono, CLOCK_MONOTONIC);
	pthread_cond_init(&d->released_cond, &mono);
	pthread_cond_init(&d->calls_cond, &mono);
	pthread_condattr_destroy(&mono);
	r = view_new(pci, vfio, &d->view);
	if (!r)
		r = init_owners(d);
	if (!r)
		r = init_funcs(d);
	if (!r)
		r = fuse_pool_init(d);
	*door = d;
	return r;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(fd_steal(fd));
}

void door_dev_free(struct door_dev *d)
{
	unsigned i;

	if (!d)
		return;
	/* While threads still serve pages, everything that holds some is closed. */
	atomic_store(&d->closing, true);
	notify_stop(d);
	handles_close_all(d);
	lifelines_stop(d); /* the watcher ends the connection, where one was started */
	fuse_pool_stop(d);
	close_fd(&d->fuse_fd);
	anchor_stop(d);
	handles_free(d);
	close_fd(&d->listener);
	close_fd(&d->root_fd);
	fuse_pool_fini(d);
	close_fd(&d->notify_event);
	for (i = 0; i < d->n_funcs; i++)
		pthread_mutex_destroy(&d->funcs[i].lock);
	free(d->funcs);
	free(d->owners);
	view_free(d->view);
	pthread_cond_destroy(&d->released_cond);
	pthread_cond_destroy(&d->calls_cond);
	pthread_mutex_destroy(&d->lock);
	free(d);
}

pid_t door_dev_pid(const struct door_dev *d)
{
	return d->child;
}

/* ------------------------------------------------------------------ the launch, parent's side */

/* A message of kind @want with @n descriptors; what else comes is the child's failure. */
static int expect(int sock, int32_t want, int *fds, unsigned n, struct launch_msg *out,
		  struct door_error *err)
{
	struct launch_msg msg = { 0 };
	unsigned got_fds = n;
	size_t got;
	int r;

	r = fdpass_recv(sock, fds, &got_fds, &msg, sizeof(msg), &got);
	if (r)
		return explain_text(err, r, "cannot talk to the starting command: %s",
				    strerror(-r));
	if (got == sizeof(msg) && msg.kind == want && got_fds == n) {
		*out = msg;
		return 0;
	}
	while (got_fds)
		close(fds[--got_fds]);
	if (got == sizeof(msg) && msg.kind == LAUNCH_ERROR && msg.errnum < 0) {
		memcpy(err->text, msg.text, sizeof(err->text));
		err->text[sizeof(err->text) - 1] = 0;
		return msg.errnum;
	}
	return explain_text(err, -ECHILD, "the command ended before it was started");
}

/* After the go-ahead the socket closes with exec, or brings the reason why there was none. */
static int expect_exec(int sock, struct door_error *err)
{
	struct launch_msg msg = { 0 };
	unsigned n = 0;
	size_t got;
	int r;

	r = fdpass_recv(sock, NULL, &n, &msg, sizeof(msg), &got);
	if (r || !got)
		return r;
	memcpy(err->text, msg.text, sizeof(err->text));
	err->text[sizeof(err->text) - 1] = 0;
	return msg.errnum < 0 ? msg.errnum : -EPROTO;
}

/*
 * Later, a refusal could only be told to the client, as an errno that says something else. The
 * child is what a client will be: its descriptor @number is open, and its memory is a copy of ours.
 */
static int check_reach(const struct door_dev *d, int number, struct door_error *err)
{
	AUTO_CLOSE int pidfd = client_pidfd(d->child);
	AUTO_CLOSE int fd = -1;
	pid_t child;
	int r;

	if (pidfd < 0)
		return explain_reach(err, pidfd, "pidfd_open");
	fd = client_getfd(pidfd, number);
	if (fd < 0)
		return explain_reach(err, fd, "pidfd_getfd");
	r = client_read(d->child, (uint64_t)(uintptr_t)&d->child, &child, sizeof(child));
	if (r)
		return explain_reach(err, r, "process_vm_readv");
	r = client_write(d->child, (uint64_t)(uintptr_t)&d->child, &child, sizeof(child));
	return r ? explain_reach(err, r, "process_vm_writev") : 0;
}

/* @number: the child's end of @sock. */
static int adopt(struct door_dev *d, int sock, int number, struct door_error *err)
{
	struct launch_msg msg;
	struct statx st;
	int fds[2];
	int r;

	r = expect(sock, LAUNCH_FUSE, &d->fuse_fd, 1, &msg, err);
	if (!r)
		r = fuse_handshake(d, err);
	if (!r)
		r = fuse_pool_start(d);
	if (!r)
		r = expect(sock, LAUNCH_WATCHER, NULL, 0, &msg, err);
	if (r)
		return r;
	d->watcher = msg.pid;
	r = expect(sock, LAUNCH_READY, fds, 2, &msg, err);
	if (r)
		return r;
	d->root_fd = fds[0];
	d->listener = fds[1];
	r = check_reach(d, number, err);
	if (r)
		return r;
	if (statx(d->root_fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, 0, &st))
		return -errno;
	d->dev_major = st.stx_dev_major;
	d->dev_minor = st.stx_dev_minor;
	r = anchor_start(d);
	if (!r)
		r = notify_start(d);
	if (!r)
		r = fdpass_send(sock, NULL, 0, "", 1);
	return r ? r : expect_exec(sock, err);
}

static int launch(struct door_dev *d, char *const argv[], struct door_error *err)
{
	struct launch l = {
		.sys = view_root(d->view),
		.argv = argv,
		.uid = d->uid,
		.gid = d->gid,
		.parent = getpid(),
		.lifelines = d->lifeline_fds,
	};
	AUTO_FREE void *bpf = NULL;
	int sock[2];
	int r;

	r = launch_filter(&bpf, &l.bpf_size, err);
	if (r)
		return r;
	l.bpf = bpf;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sock))
		return -errno;
	fflush(NULL);
	d->child = fork();
	if (!d->child) {
		l.sock = sock[1];
		launch_child(&l);
	}
	r = d->child < 0 ? -errno : 0;
	close(sock[1]);
	lifelines_close_fds(d);
	if (!r) {
		fd_limit_raise();
		r = adopt(d, sock[0], sock[1], err);
	}
	close(sock[0]);
	if (r && d->child > 0) {
		int status = 0;

		kill(d->child, SIGKILL);
		while (waitpid(d->child, &status, 0) < 0 && errno == EINTR)
			;
		/* The terminal's, which had it first. */
		if (WIFSIGNALED(status) && WTERMSIG(status) != SIGKILL)
			r = explain_text(err, -EINTR, "ended by signal %d while it was started",
					 WTERMSIG(status));
	}
	return r;
}

int door_dev_start(struct pcim *pci, struct vfio *vfio, char *const argv[], struct door_dev **door,
		   struct door_error *err)
{
	struct door_dev *d = NULL;
	int r;

	err->text[0] = 0;
	if (door_is_nested())
		return explain_nested(err);
	r = guard_init();
	if (!r)
		r = door_new(pci, vfio, &d);
	if (!r)
		r = lifelines_start(d);
	if (r == -EPERM) /* they unshare too; who may not do that makes no namespaces either */
		explain_userns(err, r);
	if (!r)
		r = launch(d, argv, err);
	if (r) {
		door_dev_free(d);
		if (!err->text[0])
			explain_text(err, r, "cannot open the door: %s", strerror(-r));
		return r;
	}
	*door = d;
	return 0;
}
