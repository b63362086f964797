/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The launcher's side: what happens between fork and exec. The other end of the socket is in the
 * machine's process (adopt.c), which may be the launcher itself or a daemon.
 *
 *  1. the machine says that it is there, and sends the reading ends of its lifelines;
 *  2. namespaces: mounts alone where we may (root), else a user namespace with them, in which the
 *     caller's user and group are themselves and nobody else exists;
 *  3. /dev/fuse is opened in there (the kernel wants the file and the mount to be of one user
 *     namespace) and mounted; the machine gets the descriptor and serves it from now on;
 *  4. parts of that file system are put where they belong, see graft.c;
 *  5. the filter (filter.c), for what the machine made of the kernel that it found: a listener is
 *     told of VFIO_GROUP_GET_DEVICE_FD, and on older kernels of all that is done with devices;
 *  6. exec. The socket closes by that, which is how the machine knows.
 *
 * The process is a copy of a process with threads, so it stays away from what they may have locked;
 * glibc's allocator and stdio are made safe by fork itself. It keeps no copy of the machine's end
 * of the socket: where the machine or the launcher is killed, whatever it asks or waits for fails.
 *
 * If this process's parent dies, the devices are gone for good; a command without them is asked to
 * end (PR_SET_PDEATHSIG SIGTERM) and may do so in its own way. It is not made our child's reaper:
 * a command's orphans are not ours to collect, and go to init as they would without us.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "door/dev/priv.h"

/* Of the process that becomes a command. */
struct launch {
	char *const *argv;
	int sock;
	uid_t uid;
	gid_t gid;
	pid_t parent, server;
	bool userns, char_devices;
	int lifelines[LIFELINES];
	enum device_files devices;		  /* what they are to be, later what they are */
	struct filter filters[DEVICES_MEMFD + 1]; /* one for each */
};

/* ------------------------------------------------------------------ words to the machine */

static __attribute__((noreturn)) void fail(struct launch *l, int errnum,
					   const struct door_error *err)
{
	struct launch_msg msg = { .kind = LAUNCH_ERROR, .errnum = errnum };

	memcpy(msg.text, err->text, sizeof(msg.text));
	fdpass_send(l->sock, NULL, 0, &msg, sizeof(msg));
	_exit(127);
}

/* ------------------------------------------------------------------ namespaces */

static int write_file(const char *path, const char *text)
{
	AUTO_CLOSE int fd = open(path, O_WRONLY | O_CLOEXEC);

	return fd < 0 ? -errno : fd_write_all(fd, text, strlen(text));
}

static int map_ids(struct launch *l)
{
	char line[64];
	int r;

	/* A kernel without the file needs no such promise. */
	r = write_file("/proc/self/setgroups", "deny");
	if (r && r != -ENOENT)
		return r;
	snprintf(line, sizeof(line), "%u %u 1", l->uid, l->uid);
	r = write_file("/proc/self/uid_map", line);
	if (r)
		return r;
	snprintf(line, sizeof(line), "%u %u 1", l->gid, l->gid);
	return write_file("/proc/self/gid_map", line);
}

static void make_namespaces(struct launch *l)
{
	struct door_error err;
	int r;

	if (unshare(CLONE_NEWNS)) {
		l->userns = true;
		r = unshare(CLONE_NEWUSER | CLONE_NEWNS) ? -errno : map_ids(l);
		if (r)
			fail(l, explain_userns(&err, r), &err);
	}
	/* Mounts of the host still arrive; none of ours leaves. */
	if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL))
		fail(l, explain_mount(&err, -errno, "file systems", l->userns), &err);
}

/* ------------------------------------------------------------------ the file system */

static void mount_fuse(struct launch *l)
{
	AUTO_CLOSE int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	struct launch_msg msg = { .kind = LAUNCH_FUSE, .devices = l->devices };
	struct door_error err;
	char options[128];
	int r;

	if (fd < 0)
		fail(l, explain_fuse_open(&err, -errno), &err);
	r = graft_ensure_dir("/dev/vfio");
	if (r)
		fail(l, explain_mount(&err, r, "over /dev", l->userns), &err);
	/*
	 * As root the command may change to other users, who shall reach the files too. In a user
	 * namespace there is one user, and allow_other would shut out the server itself, which is
	 * outside.
	 */
	snprintf(options, sizeof(options),
		 "fd=%d,rootmode=40000,user_id=%u,group_id=%u,default_permissions%s", fd, l->uid,
		 l->gid, l->userns ? "" : ",allow_other");
	if (mount("uvfio", "/dev/vfio", "fuse.uvfio", MS_NOSUID | MS_NODEV | MS_NOEXEC, options))
		fail(l, explain_fuse_mount(&err, -errno, l->userns), &err);
	if (fdpass_send(l->sock, &fd, 1, &msg, sizeof(msg)))
		_exit(127);
}

/* A part of our file system, out of its mount. */
static int take_part(struct launch *l, int root, const char *path)
{
	struct door_error err;
	int tree = graft_clone(root, path);

	if (tree < 0)
		fail(l, explain_mount(&err, tree, path, l->userns), &err);
	return tree;
}

/* Consumes @tree. */
static void put_part(struct launch *l, int tree, const char *path)
{
	struct door_error err;
	int r = graft_ensure_dir(path);

	if (!r)
		r = graft_attach(tree, path);
	if (r)
		fail(l, explain_mount(&err, r, path, l->userns), &err);
	close(tree);
}

static void place(struct launch *l, int root, const char *from, const char *to, const char *name)
{
	char source[512], target[512];

	snprintf(source, sizeof(source), "%s%s", from, name);
	snprintf(target, sizeof(target), "%s%s", to, name);
	put_part(l, take_part(l, root, source), target);
}

/* A file; there is none where device files are memfds. */
static void place_iommu(struct launch *l, int root)
{
	struct door_error err;
	int tree = graft_clone(root, "iommu");
	int r = tree < 0 ? tree : graft_ensure_file("/dev/iommu");

	if (tree == -ENOENT)
		return;
	if (!r)
		r = graft_attach(tree, "/dev/iommu");
	if (r)
		fail(l, explain_mount(&err, r, "/dev/iommu", l->userns), &err);
	close(tree);
}

/* Each directory in @from, a directory of the view. */
static void place_children(struct launch *l, int root, const char *from, const char *to)
{
	int fd = openat(root, from, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct door_error err;
	struct dirent *e;

	if (!dir)
		fail(l, explain_mount(&err, -errno, from, l->userns), &err);
	while ((e = readdir(dir)))
		if (e->d_type == DT_DIR && *e->d_name != '.')
			place(l, root, from, to, e->d_name);
	closedir(dir);
}

/* Where the view's directories go: themselves, or each of their own children. */
static const struct {
	const char *from, *to;
	bool children;
} view_places[] = {
	{ "sys/bus-pci", "/sys/bus/pci", false },
	{ "sys/iommu_groups", "/sys/kernel/iommu_groups", false },
	{ "sys/devices/", "/sys/devices/", true },
	{ "sys/module/", "/sys/module/", true },
	{ "sys/class/", "/sys/class/", true },
};

/*
 * Cuts our file system to pieces and puts each where it belongs, one after the other: there is one
 * for each root bus, more than we may have descriptors. Returns its whole root.
 */
static int place_views(struct launch *l)
{
	struct door_error err;
	int root = open("/dev/vfio", O_PATH | O_DIRECTORY | O_CLOEXEC);
	unsigned i;
	int vfio;

	if (root < 0)
		fail(l, explain_fuse_mount(&err, -errno, l->userns), &err);
	for (i = 0; i < ARRAY_SIZE(view_places); i++) {
		if (view_places[i].children)
			place_children(l, root, view_places[i].from, view_places[i].to);
		else
			place(l, root, view_places[i].from, view_places[i].to, "");
	}
	place_iommu(l, root);
	vfio = take_part(l, root, "vfio");
	/* The whole goes out of sight; @root keeps it for the machine. */
	if (umount2("/dev/vfio", MNT_DETACH))
		fail(l, explain_mount(&err, -errno, "/dev/vfio", l->userns), &err);
	put_part(l, vfio, "/dev/vfio");
	return root;
}

/* ------------------------------------------------------------------ the last steps */

static void start_watcher(struct launch *l)
{
	AUTO_CLOSE int dir = open("/dev/vfio", O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct launch_msg msg = { .kind = LAUNCH_WATCHER };
	AUTO_CLOSE int pidfd = -1;
	struct door_error err;
	int r = dir < 0 ? -errno : watcher_start(l->lifelines, dir, &pidfd);

	if (r)
		fail(l, explain_process(&err, r), &err);
	if (fdpass_send(l->sock, &pidfd, 1, &msg, sizeof(msg)))
		_exit(127);
}

static void reset_signals(void)
{
	sigset_t none;

	/* Handlers go with exec. What the caller ignores stays ignored (nohup), but for SIGPIPE,
	 * which we may have taken for ourselves. */
	signal(SIGPIPE, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static const int terminal_signals[] = { SIGINT, SIGQUIT };

static void block_terminal_signals(sigset_t *old)
{
	sigset_t set;
	unsigned i;

	sigemptyset(&set);
	for (i = 0; i < ARRAY_SIZE(terminal_signals); i++)
		sigaddset(&set, terminal_signals[i]);
	pthread_sigmask(SIG_BLOCK, &set, old);
}

/* Our handlers would swallow what the terminal sends to the group before there is a command. They
 * are blocked since before the fork, so none is lost. */
static void take_terminal_signals(const sigset_t *mask)
{
	struct sigaction old;
	unsigned i;

	for (i = 0; i < ARRAY_SIZE(terminal_signals); i++)
		if (!sigaction(terminal_signals[i], NULL, &old) && old.sa_handler != SIG_IGN)
			signal(terminal_signals[i], SIG_DFL);
	sigprocmask(SIG_SETMASK, mask, NULL);
}

/* The machine's first word. Without it there is nothing to be launched for. */
static void wait_for_machine(struct launch *l)
{
	struct launch_msg msg = { 0 };
	unsigned n = LIFELINES;
	size_t got;

	if (fdpass_recv(l->sock, l->lifelines, &n, &msg, sizeof(msg), &got) || got != sizeof(msg) ||
	    msg.kind != LAUNCH_START || n != LIFELINES)
		_exit(127);
}

/* What the machine found out about the kernel when it was asked for the first time. */
static int install_filter(struct launch *l, bool *restarts)
{
	struct launch_msg msg = { 0 };
	struct door_error err;
	unsigned n = 0;
	size_t got;
	int listener;

	if (fdpass_recv(l->sock, NULL, &n, &msg, sizeof(msg), &got) || got != sizeof(msg) ||
	    msg.kind != LAUNCH_FILTER ||
	    (msg.devices != DEVICES_FUSE && msg.devices != DEVICES_MEMFD))
		_exit(127);
	l->devices = msg.devices;
	listener = filter_install(&l->filters[l->devices], restarts);
	if (listener < 0)
		fail(l, explain_seccomp(&err, listener), &err);
	return listener;
}

static void say_ready(struct launch *l, int root, int listener, bool restarts)
{
	/* What the machine tries whether it may look into us with: this, and our end of the socket.
	 */
	static pid_t word;
	struct launch_msg msg = {
		.kind = LAUNCH_READY,
		.number = l->sock,
		.restarts = restarts,
		.userns = l->userns,
		.address = (uintptr_t)&word,
	};
	int fds[] = { root, listener };
	unsigned n = 0;
	size_t got;
	char go;

	if (fdpass_send(l->sock, fds, 2, &msg, sizeof(msg)))
		_exit(127);
	close(root);
	close(listener);
	if (fdpass_recv(l->sock, NULL, &n, &go, 1, &got) || got != 1)
		_exit(127);
}

static __attribute__((noreturn)) void launch_child(struct launch *l)
{
	struct door_error err;
	int root, listener;
	bool restarts;

	wait_for_machine(l);
	make_namespaces(l);
	mount_fuse(l);
	root = place_views(l);
	start_watcher(l);
	listener = install_filter(l, &restarts);
	say_ready(l, root, listener, restarts);

	/* With Yama a process may look into its descendants' memory only, and the command's
	 * children stop being ours when the command ends before them. Naming the process lets it
	 * look into this one whatever becomes of the relation. Kernels without Yama do not know it.
	 */
	prctl(PR_SET_PTRACER, l->server, 0, 0, 0);
	/* A handler of ours would swallow it until the exec. */
	if (signal(SIGTERM, SIG_DFL) == SIG_IGN)
		signal(SIGTERM, SIG_IGN);
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != l->parent)
		_exit(127);
	if (!l->argv)
		_exit(0);
	reset_signals();
	fd_limit_restore();
	/* libudev takes no other /sys than the kernel's file system, if not told so. */
	setenv("SYSTEMD_DEVICE_VERIFY_SYSFS", "0", 0);
	execvp(l->argv[0], l->argv);
	fail(l, explain_text(&err, -errno, "cannot run '%s': %s", l->argv[0], strerror(errno)),
	     &err);
}

/* ------------------------------------------------------------------ the launcher */

/* UVFIO_DOOR, for tests and comparisons: what device files are to be. */
static int wanted_devices(enum device_files *devices, struct door_error *err)
{
	const char *word = getenv("UVFIO_DOOR");

	if (!word || !*word)
		*devices = DEVICES_AUTO;
	else if (!strcmp(word, "fuse"))
		*devices = DEVICES_FUSE;
	else if (!strcmp(word, "memfd"))
		*devices = DEVICES_MEMFD;
	else
		return explain_text(err, -EINVAL,
				    "the environment's UVFIO_DOOR is '%s': 'fuse', 'memfd', or "
				    "not set (what this kernel can do best)",
				    word);
	return 0;
}

/* Either may be needed; the process that knows which one is no place to make it. */
static int make_filters(struct launch *l, struct door_error *err)
{
	int r = filter_make(DEVICES_FUSE, l->char_devices, &l->filters[DEVICES_FUSE], err);

	return r ? r : filter_make(DEVICES_MEMFD, false, &l->filters[DEVICES_MEMFD], err);
}

static void free_filters(struct launch *l)
{
	unsigned i;

	for (i = 0; i < ARRAY_SIZE(l->filters); i++)
		free(l->filters[i].bpf);
}

static int start_child(struct launch *l, struct door_launch *out)
{
	sigset_t mask;
	int sock[2];
	pid_t pid;
	int r;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sock))
		return -errno;
	fflush(NULL);
	block_terminal_signals(&mask);
	pid = fork();
	if (!pid) {
		take_terminal_signals(&mask);
		close(sock[0]);
		l->sock = sock[1];
		launch_child(l);
	}
	r = pid < 0 ? -errno : 0;
	pthread_sigmask(SIG_SETMASK, &mask, NULL);
	close(sock[1]);
	if (r)
		close(sock[0]);
	else
		*out = (struct door_launch){ .pid = pid, .sock = sock[0] };
	return r;
}

int door_launch(char *const argv[], pid_t server, bool char_devices, struct door_launch *out,
		struct door_error *err)
{
	struct launch l = {
		.argv = argv,
		.uid = geteuid(),
		.gid = getegid(),
		.parent = getpid(),
		.server = server,
		.char_devices = char_devices,
	};
	int r;

	err->text[0] = 0;
	if (door_is_nested())
		return explain_nested(err);
	r = wanted_devices(&l.devices, err);
	if (!r)
		r = make_filters(&l, err);
	if (!r) {
		r = start_child(&l, out);
		if (r)
			explain_process(err, r);
	}
	free_filters(&l);
	return r;
}

int door_launch_undo(struct door_launch *l, int errnum, struct door_error *err)
{
	int status = 0;

	if (l->sock >= 0)
		close(fd_steal(&l->sock));
	kill(l->pid, SIGKILL);
	while (waitpid(l->pid, &status, 0) < 0 && errno == EINTR)
		;
	l->pid = 0;
	if (!WIFSIGNALED(status) || WTERMSIG(status) == SIGKILL)
		return errnum;
	return explain_text(err, -EINTR, "ended by signal %d while it was started",
			    WTERMSIG(status));
}
