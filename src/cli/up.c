/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `uvfio up`: a machine in the background, which clients join (host.c) until `uvfio down`; and
 * `uvfio serve`: one in the foreground whose functions are served by vfio-user (sockets.c).
 *
 * The process that the user started forks at once and waits. Its child makes the machine, with the
 * terminal still there to be complained to; once the control socket listens it detaches itself and
 * says so, and the first process ends with success. Where the child ends instead, its exit status
 * is passed on. Threads exist only in the child, and nothing in it forks.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "cli/priv.h"

struct up {
	const struct cli_command *self;
	struct build build;
	const char *name; /* NULL: none */
	const char *socket_dir;
	char stem[PLACE_NAME_MAX + 1];
	bool foreground, json;

	struct machine *machine;
	struct loop *loop;
	struct control *control;
	struct host *host;
	struct sockets *sockets;
	int ready; /* the first process waits for a byte from here; -1: none does */
	int signals;
	char log[400]; /* path, "" in the foreground */
};

/* ------------------------------------------------------------------ options */

static int up_option(void *data, const struct cli_option *o, const char *value)
{
	struct up *u = data;

	switch (o->letter) {
	case 'd':
		return build_option(u->self, &u->build, value, false);
	case 'n':
		u->name = value;
		break;
	case 'f':
		u->foreground = true;
		break;
	case 's':
		u->socket_dir = value;
		break;
	case 'j':
		u->json = true;
		break;
	case 'v':
		u->build.verbose = 1;
		break;
	case 'q':
		u->build.quiet = true;
		break;
	}
	return 0;
}

/* "vms" of "dir/vms.json". */
static void stem_of(const char *path, char *stem, size_t size)
{
	const char *slash = strrchr(path, '/');
	const char *base = slash ? slash + 1 : path;
	const char *dot = strrchr(base, '.');
	size_t len = dot && dot != base ? (size_t)(dot - base) : strlen(base);

	snprintf(stem, size, "%.*s", (int)MIN(len, size - 1), base);
}

static int up_name(struct up *u, const char *file)
{
	bool given = u->name != NULL;

	if (!given && u->self == &cli_serve)
		return CLI_GO_ON; /* nobody has to find it to use it */
	if (!given && file) {
		stem_of(file, u->stem, sizeof(u->stem));
		u->name = u->stem;
	} else if (!given) {
		u->name = "default";
	}
	if (place_name_ok(u->name))
		return CLI_GO_ON;
	return cli_fail(u->self, CLI_USAGE,
			"'%s' cannot be the name of a machine%s: at most %u letters, digits, '.', "
			"'-' and '_', with a letter, and neither '.' nor '-' first",
			u->name, given ? "" : " (give one with --name)", PLACE_NAME_MAX);
}

/* ------------------------------------------------------------------ into the background */

static void print_machine(const struct up *u)
{
	json_t *object;

	if (!u->json && u->self == &cli_serve) {
		sockets_print(u->sockets);
	} else if (!u->json) {
		printf("%s\n", u->name);
	} else {
		object = json_pack("{s:s?,s:i,s:s,s:s?}", "name", u->name, "pid", (int)getpid(),
				   "socket", control_path(u->control), "log",
				   *u->log ? u->log : NULL);
		if (u->sockets)
			json_object_set_new(object, "sockets", sockets_json(u->sockets));
		reply_print(object, false);
		json_decref(object);
	}
	fflush(stdout);
}

/* In the first process: the exit status. */
static int await_child(const struct up *u, pid_t pid, int ready)
{
	ssize_t n;
	char byte;
	int status;

	do
		n = read(ready, &byte, 1);
	while (n < 0 && errno == EINTR);
	close(ready);
	if (n == 1)
		return CLI_OK;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return cli_fail(u->self, CLI_FAILED, "waitpid: %s", strerror(errno));
	if (WIFSIGNALED(status))
		return cli_fail(u->self, CLI_FAILED, "ended by signal %d while it was started",
				WTERMSIG(status));
	return WEXITSTATUS(status);
}

/* Goes on in a child, CLI_GO_ON; in the caller's process returns its exit status. */
static int up_fork(struct up *u)
{
	int ready[2], fd;
	pid_t pid;

	/* Whatever is opened from here on is none of the standard files. */
	do
		fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	while (fd >= 0 && fd <= STDERR_FILENO);
	base_cleanup_close(&fd);
	if (pipe2(ready, O_CLOEXEC))
		return cli_fail(u->self, CLI_FAILED, "pipe: %s", strerror(errno));
	fflush(NULL);
	pid = fork();
	if (pid < 0)
		return cli_fail(u->self, CLI_FAILED, "cannot start a process: %s", strerror(errno));
	if (pid) {
		close(ready[1]);
		return await_child(u, pid, ready[0]);
	}
	/* Nobody shall wait for the end of a file that only this process still has open. */
	u->ready = STDERR_FILENO + 1;
	if (ready[1] != u->ready && dup3(ready[1], u->ready, O_CLOEXEC) < 0)
		return cli_fail(u->self, CLI_FAILED, "dup: %s", strerror(errno));
	syscall(SYS_close_range, (unsigned)u->ready + 1, ~0u, 0u);
	return CLI_GO_ON;
}

/* The log lies beside the socket, and is begun anew each time. */
static int open_log(struct up *u)
{
	int fd;

	snprintf(u->log, sizeof(u->log), "%s", control_path(u->control));
	strcpy(u->log + strlen(u->log) - strlen("sock"), "log");
	fd = open(u->log, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
	return fd < 0 ? -errno : fd;
}

/* Lets go of the terminal, and of the caller, who is told that all is well. */
static int up_detach(struct up *u)
{
	AUTO_CLOSE int log = -1, null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (u->ready < 0)
		return CLI_GO_ON;
	log = open_log(u);
	if (log < 0 || null < 0)
		return cli_fail(u->self, CLI_FAILED, "%s: %s", log < 0 ? u->log : "/dev/null",
				strerror(log < 0 ? -log : errno));
	print_machine(u);
	setsid();
	dup2(null, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	dup2(log, STDERR_FILENO);
	if (chdir("/")) {
		/* Then the directory of the start stays in use. */
	}
	if (write(u->ready, "", 1) != 1)
		return CLI_FAILED; /* it was killed: there is nobody to have a machine for */
	close(fd_steal(&u->ready));
	return CLI_GO_ON;
}

/* ------------------------------------------------------------------ signals */

static void up_on_signal(void *data, uint32_t events)
{
	struct up *u = data;
	struct signalfd_siginfo info;

	if (read(u->signals, &info, sizeof(info)) != sizeof(info))
		return;
	/* The terminal of who started it is nothing to a process that has none. */
	if (info.ssi_signo == SIGHUP && !u->foreground)
		return;
	log_info("signal %u from pid %u", info.ssi_signo, info.ssi_pid);
	host_end(u->host);
}

/* nohup(1), or a shell without job control that starts us in its background. */
static bool is_ignored(int sig)
{
	struct sigaction now;

	return !sigaction(sig, NULL, &now) && now.sa_handler == SIG_IGN;
}

/* Threads have all signals blocked, so that this one gets them. */
static int up_signals(struct up *u)
{
	struct loop_source *source;
	sigset_t set;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	if (!u->foreground || !is_ignored(SIGINT))
		sigaddset(&set, SIGINT);
	if (!u->foreground || !is_ignored(SIGHUP))
		sigaddset(&set, SIGHUP);
	if (sigprocmask(SIG_BLOCK, &set, NULL))
		return -errno;
	u->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (u->signals < 0)
		return -errno;
	return loop_fd_add(u->loop, u->signals, EPOLLIN, up_on_signal, u, &source);
}

/* ------------------------------------------------------------------ life */

static int up_start(struct up *u)
{
	struct door_error err;
	char why[512];
	int ret;

	ret = u->name ? machine_set_name(u->machine, u->name) : 0;
	if (!ret)
		ret = guard_init();
	if (!ret)
		ret = loop_new(&u->loop);
	if (!ret)
		ret = host_new(u->loop, u->machine, &u->host);
	if (!ret)
		ret = up_signals(u);
	if (ret)
		return cli_fail(u->self, CLI_FAILED, "cannot start: %s", strerror(-ret));
	if (control_start(u->loop, u->machine, &u->control, why, sizeof(why)))
		return cli_fail(u->self, CLI_FAILED, "%s", why);
	control_set_take(u->control, host_take, u->host);
	if (!u->socket_dir)
		u->socket_dir = machine_sockets(u->machine);
	if (!u->socket_dir)
		return u->self == &cli_up ? CLI_GO_ON
					  : cli_fail(u->self, CLI_USAGE,
						     "no folder for the sockets given: add "
						     "--socket-dir DIR");
	if (sockets_new(u->machine, u->socket_dir, u->foreground, &u->sockets, &err))
		return cli_fail(u->self, CLI_FAILED, "%s", err.text);
	return CLI_GO_ON;
}

static int up_serve(struct up *u)
{
	int ret;

	if (u->foreground)
		print_machine(u);
	log_info("machine %s: control socket %s", u->name ? u->name : "without a name",
		 control_path(u->control));
	sdnotify("READY=1\nMAINPID=%d\nSTATUS=0 clients", (int)getpid());
	ret = loop_run(u->loop);
	if (ret < 0)
		return cli_fail(u->self, CLI_FAILED, "event loop: %s", strerror(-ret));
	return CLI_OK;
}

/* The machine's process, from its making to its end. */
static int up_live(struct up *u)
{
	int status = build_machine(u->self, &u->build, &u->machine);

	if (status == CLI_GO_ON)
		status = up_start(u);
	if (status == CLI_GO_ON)
		status = up_detach(u);
	if (status == CLI_GO_ON)
		status = up_serve(u);
	sockets_free(u->sockets);
	host_free(u->host);
	control_free(u->control);
	machine_free(u->machine);
	loop_free(u->loop);
	base_cleanup_close(&u->signals);
	return status;
}

static int up_run(const struct cli_command *self, int argc, char **argv)
{
	struct up u = { .self = self, .ready = -1, .signals = -1 };
	int first, status;

	u.foreground = self == &cli_serve;
	u.build.host_drivers = self == &cli_up;

	status = cli_parse(self, argc, argv, up_option, &u, &first);
	if (status != CLI_GO_ON)
		return status;
	for (int i = first; i < argc && status == CLI_GO_ON; i++)
		if (build_option(self, &u.build, argv[i], true))
			status = CLI_FAILED;
	if (status == CLI_GO_ON && !u.build.n)
		status = cli_fail(self, CLI_USAGE,
				  "no device given: name a machine file, or add --device SPEC "
				  "(`uvfio models` lists the models)");
	if (status == CLI_GO_ON)
		status = up_name(&u, first < argc ? argv[first] : NULL);
	if (status != CLI_GO_ON)
		return status;
	log_set_level(u.build.quiet ? LOG_ERROR : u.build.verbose ? LOG_DEBUG : LOG_INFO);
	status = u.foreground ? CLI_GO_ON : up_fork(&u);
	return status == CLI_GO_ON ? up_live(&u) : status;
}

static const struct cli_option up_options[] = {
	{ "name", 'n', "NAME", "name of the machine (default: the file's, without .json)" },
	{ "device", 'd', "SPEC", "add a device: MODEL[,KEY=VALUE]..." },
	{ "socket-dir", 's', "DIR", "serve vfio-user at DIR/BDF.sock too, for each function" },
	{ "foreground", 'f', NULL, "stay, and log to standard error" },
	{ "json", 'j', NULL, "print JSON" },
	{ "verbose", 'v', NULL, "log more, such as what clients do wrong" },
	{ "quiet", 'q', NULL, "log errors only" },
	{ NULL },
};

static const char *const up_paragraphs[] = {
	"Makes the machine that FILE describes, puts it into the background and prints its name, "
	"by "
	"which `uvfio run --join NAME` gives a command its devices, as many commands at a time as "
	"like. `uvfio down NAME` ends it.",
	"When it returns the machine can be joined. What it has to say later goes to a file "
	"NAME.log "
	"beside its control socket.",
	NULL,
};

const struct cli_command cli_up = {
	.name = "up",
	.summary = "Start a machine that many commands can join.",
	.operands = "[FILE]...",
	.usage_status = CLI_USAGE,
	.options = up_options,
	.paragraphs = up_paragraphs,
	.more_help = cli_print_models,
	.run = up_run,
};

static const struct cli_option serve_options[] = {
	{ "device", 'd', "SPEC", "add a device: MODEL[,KEY=VALUE]..." },
	{ "socket-dir", 's', "DIR",
	  "where the sockets are, if no FILE says; made if it is not there" },
	{ "name", 'n', "NAME", "name of the machine, for `uvfio run --join` (default: none)" },
	{ "json", 'j', NULL, "print JSON" },
	{ "verbose", 'v', NULL, "log more, such as what clients do wrong" },
	{ "quiet", 'q', NULL, "log errors only" },
	{ NULL },
};

static const char *const serve_paragraphs[] = {
	"Makes a machine and serves each of its functions by the vfio-user protocol, on a socket "
	"of its own: DIR/BDF.sock. QEMU 10.1 and later reach it with -device "
	"'{\"driver\":\"vfio-user-pci\",\"socket\":{\"type\":\"unix\",\"path\":\"...\"}}'.",
	"It prints a line for each socket as soon as clients can connect, and serves them until it "
	"gets SIGINT or SIGTERM. Clients come and go; a function that one leaves is reset.",
	NULL,
};

const struct cli_command cli_serve = {
	.name = "serve",
	.summary = "Serve devices by vfio-user, on sockets.",
	.operands = "[FILE]...",
	.usage_status = CLI_USAGE,
	.options = serve_options,
	.paragraphs = serve_paragraphs,
	.more_help = cli_print_models,
	.run = up_run,
};
