/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The command of `uvfio run` as its launcher sees it: found before anything is set up, launched,
 * watched, sent signals, waited for. Where its devices are is nothing to this file.
 *
 * Signals have handlers rather than a blocked mask and a signalfd: execve() puts handled signals
 * back to their default, while the command would inherit a mask. The terminal sends its signals to
 * the command as well (same process group), so here they are only survived; what somebody sends to
 * this process alone is passed on. What was ignored when we started stays so, for the command too
 * (nohup). Between the launch and the command's exec the terminal's signals end the child that is
 * being prepared, and so the run; one that came too early for the child ends it too.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "cli/priv.h"

/* A second SIGTERM this long after the first means it. */
#define TERM_PATIENCE_NS 5000000000ull

/* ------------------------------------------------------------------ signals */

static int signal_fd = -1; /* eventfd that wakes the loop */
static _Atomic bool got_term, got_hup;
static _Atomic int got_terminal; /* the terminal's last signal, 0: none */

static void on_signal(int sig)
{
	int saved = errno;
	uint64_t one = 1;

	if (sig == SIGTERM)
		atomic_store(&got_term, true);
	else if (sig == SIGHUP)
		atomic_store(&got_hup, true);
	else if (sig != SIGPIPE)
		atomic_store(&got_terminal, sig);
	if (write(signal_fd, &one, sizeof(one)) < 0) {
		/* Full: the loop wakes anyway. */
	}
	errno = saved;
}

static int signals_init(void)
{
	static const int signals[] = { SIGTERM, SIGHUP, SIGINT, SIGQUIT, SIGPIPE };
	struct sigaction sa = { .sa_handler = on_signal, .sa_flags = SA_RESTART };

	signal_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (signal_fd < 0)
		return -errno;
	sigemptyset(&sa.sa_mask);
	for (unsigned i = 0; i < ARRAY_SIZE(signals); i++) {
		struct sigaction old;

		if (sigaction(signals[i], NULL, &old))
			return -errno;
		if (old.sa_handler != SIG_IGN && sigaction(signals[i], &sa, NULL))
			return -errno;
	}
	return 0;
}

void command_signal(struct command *c, int sig)
{
	if (c->pidfd >= 0 && syscall(SYS_pidfd_send_signal, c->pidfd, sig, NULL, 0))
		log_debug("signal %d to the command: %s", sig, strerror(errno));
}

static void command_on_signal(void *data, uint32_t events)
{
	struct command *c = data;
	uint64_t count, now = time_mono_ns();

	if (read(signal_fd, &count, sizeof(count)) < 0)
		return;
	if (atomic_exchange(&got_hup, false))
		command_signal(c, SIGHUP);
	if (!atomic_exchange(&got_term, false))
		return;
	if (!c->first_term_ns)
		c->first_term_ns = now;
	command_signal(c, now - c->first_term_ns >= TERM_PATIENCE_NS ? SIGKILL : SIGTERM);
}

/* ------------------------------------------------------------------ the program */

static int check_program(const char *path)
{
	struct stat st;

	if (stat(path, &st))
		return -errno;
	return S_ISREG(st.st_mode) && !access(path, X_OK) ? 0 : -EACCES;
}

/* As execvp() would look it up, so that the answer is ours before anything is set up. */
static int find_program(const char *name)
{
	const char *path = getenv("PATH");
	int ret = -ENOENT;

	if (!*name)
		return -ENOENT;
	if (strchr(name, '/'))
		return check_program(name);
	if (!path)
		path = "/usr/local/bin:/bin:/usr/bin";
	for (;;) {
		int len = (int)strcspn(path, ":");
		char full[4096];
		struct stat st;

		snprintf(full, sizeof(full), "%.*s%s%s", len, path, len ? "/" : "", name);
		if (!check_program(full))
			return 0;
		/* A folder that we may not enter is none that holds it. */
		if (!stat(full, &st))
			ret = -EACCES;
		if (!path[len])
			return ret;
		path += len + 1;
	}
}

static int program_status(const char *name, int err)
{
	bool missing = err == -ENOENT || err == -ENOTDIR;

	return cli_fail(&cli_run, missing ? CLI_RUN_NOT_FOUND : CLI_RUN_CANNOT_EXEC, "%s: %s", name,
			missing ? "command not found" : strerror(-err));
}

/* ------------------------------------------------------------------ life */

/**
 * command_init() - everything that can be done before there is a machine to serve the command.
 * Returns CLI_GO_ON, or an exit status after it has said what is wrong.
 */
int command_init(struct command *c, char **argv)
{
	struct loop_source *source;
	int ret;

	*c = (struct command){ .argv = argv, .pidfd = -1 };
	ret = find_program(argv[0]);
	if (ret)
		return program_status(argv[0], ret);
	ret = guard_init();
	if (!ret)
		ret = signals_init();
	if (!ret)
		ret = loop_new(&c->loop);
	if (!ret)
		ret = loop_fd_add(c->loop, signal_fd, EPOLLIN, command_on_signal, c, &source);
	if (ret)
		return cli_fail(&cli_run, CLI_RUN_FAILED, "cannot start: %s", strerror(-ret));
	return CLI_GO_ON;
}

static void command_on_exit(void *data, uint32_t events)
{
	struct command *c = data;
	int status;
	pid_t pid = waitpid(c->pid, &status, WNOHANG);

	if (!pid || (pid < 0 && errno == EINTR))
		return;
	if (pid < 0)
		loop_stop(c->loop, CLI_RUN_FAILED);
	else if (WIFSIGNALED(status))
		loop_stop(c->loop, 128 + WTERMSIG(status));
	else
		loop_stop(c->loop, WEXITSTATUS(status));
	c->pid = 0;
}

/**
 * command_launch() - fork what becomes the command.
 * @server: the machine's process
 * Returns CLI_GO_ON, or an exit status with nothing left behind.
 */
int command_launch(struct command *c, pid_t server, struct door_launch *launch)
{
	struct door_error err;
	int ret = door_launch(c->argv, server, c->char_devices, launch, &err);

	if (ret)
		return command_not_started(c, ret, err.text);
	if (!atomic_load(&got_terminal))
		return CLI_GO_ON;
	/* Before the fork, it may be, where the child has not seen it. */
	door_launch_undo(launch, -EINTR, &err);
	return command_not_started(c, -EINTR, err.text);
}

/* It runs: from now on its end stops the loop, with its exit status. */
int command_started(struct command *c, pid_t pid)
{
	struct loop_source *source;
	int ret;

	c->pid = pid;
	c->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (c->pidfd < 0)
		return cli_fail(&cli_run, CLI_RUN_FAILED, "pidfd_open: %s", strerror(errno));
	ret = loop_fd_add(c->loop, c->pidfd, EPOLLIN, command_on_exit, c, &source);
	if (ret)
		return cli_fail(&cli_run, CLI_RUN_FAILED, "event loop: %s", strerror(-ret));
	return CLI_GO_ON;
}

/* Says why there is no command; returns the exit status. @text: "" if there is none. */
int command_not_started(struct command *c, int err, const char *text)
{
	if (err == -EINTR && atomic_load(&got_terminal))
		return 128 + atomic_load(&got_terminal);
	/* It was found before, so this says what is inside of it, or what it is. */
	if (err == -ENOEXEC || err == -E2BIG || err == -ETXTBSY)
		return program_status(c->argv[0], err);
	return cli_fail(&cli_run, CLI_RUN_FAILED, "%s", *text ? text : strerror(-err));
}

/* Until it has ended; returns the exit status of the run. */
int command_wait(struct command *c)
{
	int ret = loop_run(c->loop);

	if (ret < 0)
		return cli_fail(&cli_run, CLI_RUN_FAILED, "event loop: %s", strerror(-ret));
	return ret;
}

/* Something of ours failed while the command runs: it has lost its devices, so it must end. */
void command_kill(struct command *c)
{
	if (c->pid <= 0)
		return;
	kill(c->pid, SIGKILL);
	while (waitpid(c->pid, NULL, 0) < 0 && errno == EINTR)
		;
	c->pid = 0;
}

void command_fini(struct command *c)
{
	loop_free(c->loop);
	base_cleanup_close(&c->pidfd);
	*c = (struct command){ .pidfd = -1 };
}
