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
 *  5. the filter with its one rule: a listener is told of VFIO_GROUP_GET_DEVICE_FD;
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
#include <linux/vfio.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <linux/filter.h>

#include "door/dev/priv.h"

/* Of the process that becomes a command. */
struct launch {
	char *const *argv;
	int sock;
	uid_t uid;
	gid_t gid;
	pid_t parent, server;
	bool userns;
	int lifelines[LIFELINES];
	void *bpf;
	size_t bpf_size;
};

/* ------------------------------------------------------------------ the filter */

/*
 * The filter's program, for seccomp(2). libseccomp writes it; it is installed by hand, because the
 * library of Debian 12 cannot ask for SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV. @bpf is malloc'ed.
 */
static int launch_filter(void **bpf, size_t *size, struct door_error *err)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
	AUTO_CLOSE int fd = memfd_create("uvfio-filter", MFD_CLOEXEC);
	struct stat st;
	void *p = NULL;
	int r;

	if (!ctx || fd < 0) {
		r = ctx ? -errno : -ENOMEM;
		goto out;
	}
	/* Programs of other architectures are let alone, not killed; 32-bit ones are served. */
	r = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ALLOW);
#ifdef __x86_64__
	if (!r)
		r = seccomp_arch_add(ctx, SCMP_ARCH_X86);
#endif
	/* The request is an unsigned int to the kernel: the register's upper half means nothing. */
	if (!r)
		r = seccomp_rule_add(
			ctx, SCMP_ACT_NOTIFY, SCMP_SYS(ioctl), 1,
			SCMP_A1(SCMP_CMP_MASKED_EQ, 0xffffffffu, VFIO_GROUP_GET_DEVICE_FD));
	if (!r)
		r = seccomp_export_bpf(ctx, fd);
	if (!r && fstat(fd, &st))
		r = -errno;
	if (!r) {
		p = malloc((size_t)st.st_size);
		r = p ? fd_pread_all(fd, p, (size_t)st.st_size, 0) : -ENOMEM;
	}
out:
	if (ctx)
		seccomp_release(ctx);
	if (r) {
		free(p);
		return explain_seccomp(err, r);
	}
	*bpf = p;
	*size = (size_t)st.st_size;
	return 0;
}

/* Returns the listener, or -errno. */
static int install_filter(const struct launch *l)
{
	struct sock_fprog prog = {
		.len = (unsigned short)(l->bpf_size / sizeof(struct sock_filter)),
		.filter = l->bpf,
	};
	unsigned long flags = SECCOMP_FILTER_FLAG_NEW_LISTENER;
	long fd;

	fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
		     flags | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, &prog);
	if (fd < 0 && errno == EINVAL)
		fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &prog);
	/* Who may mount may filter without giving up setuid programs; if not so, do give them up.
	 */
	if (fd < 0 && errno == EACCES && !prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &prog);
	return fd < 0 ? -errno : (int)fd;
}

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
	struct launch_msg msg = { .kind = LAUNCH_FUSE };
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

/* Our handlers would swallow what the terminal sends to the group before there is a command. */
static void take_terminal_signals(void)
{
	static const int signals[] = { SIGINT, SIGQUIT };
	struct sigaction old;
	unsigned i;

	for (i = 0; i < ARRAY_SIZE(signals); i++)
		if (!sigaction(signals[i], NULL, &old) && old.sa_handler != SIG_IGN)
			signal(signals[i], SIG_DFL);
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

static void say_ready(struct launch *l, int root, int listener)
{
	/* What the machine tries whether it may look into us with: this, and our end of the socket.
	 */
	static pid_t word;
	struct launch_msg msg = {
		.kind = LAUNCH_READY,
		.number = l->sock,
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

	take_terminal_signals();
	wait_for_machine(l);
	make_namespaces(l);
	mount_fuse(l);
	root = place_views(l);
	start_watcher(l);
	listener = install_filter(l);
	if (listener < 0)
		fail(l, explain_seccomp(&err, listener), &err);
	say_ready(l, root, listener);

	/* With Yama a process may look into its descendants' memory only, and the command's
	 * children stop being ours when the command ends before them. Naming the process lets it
	 * look into this one whatever becomes of the relation. Kernels without Yama do not know it.
	 */
	prctl(PR_SET_PTRACER, l->server, 0, 0, 0);
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != l->parent)
		_exit(127);
	reset_signals();
	fd_limit_restore();
	execvp(l->argv[0], l->argv);
	fail(l, explain_text(&err, -errno, "cannot run '%s': %s", l->argv[0], strerror(errno)),
	     &err);
}

/* ------------------------------------------------------------------ the launcher */

int door_launch(char *const argv[], pid_t server, struct door_launch *out, struct door_error *err)
{
	struct launch l = {
		.argv = argv,
		.uid = geteuid(),
		.gid = getegid(),
		.parent = getpid(),
		.server = server,
	};
	AUTO_FREE void *bpf = NULL;
	int sock[2];
	pid_t pid;
	int r;

	err->text[0] = 0;
	if (door_is_nested())
		return explain_nested(err);
	r = launch_filter(&bpf, &l.bpf_size, err);
	if (r)
		return r;
	l.bpf = bpf;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sock))
		return explain_process(err, -errno);
	fflush(NULL);
	pid = fork();
	if (!pid) {
		close(sock[0]);
		l.sock = sock[1];
		launch_child(&l);
	}
	r = pid < 0 ? -errno : 0;
	close(sock[1]);
	if (r) {
		close(sock[0]);
		return explain_process(err, r);
	}
	*out = (struct door_launch){ .pid = pid, .sock = sock[0] };
	return 0;
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
