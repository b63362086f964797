/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `uvfio run`: a machine for the time that a command runs.
 *
 * Order: the machine is made and started; the dev door makes the namespaces and starts the command;
 * then this process serves the control socket on its event loop until the command ends. The end
 * goes the other way round, whatever happened.
 *
 * Signals have handlers rather than a blocked mask and a signalfd: execve() puts handled signals
 * back to their default, while the command would inherit a mask. The terminal sends its signals to
 * the command as well (same process group), so here they are only survived; what somebody sends to
 * this process alone is passed on. What was ignored when we started stays so, for the command too
 * (nohup). While the machine is made there is no command, and nothing that has to be undone: until
 * then signals do what they do to any program. Between that and the command's exec the terminal's
 * signals end the child that is being prepared, and so the run; one that came too early for the
 * child reaches the command.
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
#include "door/door.h"

/* A second SIGTERM this long after the first means it. */
#define TERM_PATIENCE_NS 5000000000ull

struct run {
	struct machine *machine;
	struct door_dev *door;
	struct loop *loop;
	struct control *control;
	int pidfd;
	pid_t pid;
	uint64_t first_term_ns; /* 0: none yet */
	enum log_level level;
	unsigned n_devices;
};

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

static int run_signals(void)
{
	int ret = guard_init();

	if (!ret)
		ret = signals_init();
	return ret ? cli_fail(&cli_run, CLI_RUN_FAILED, "signals: %s", strerror(-ret)) : CLI_GO_ON;
}

static void run_forward(struct run *r, int sig)
{
	if (syscall(SYS_pidfd_send_signal, r->pidfd, sig, NULL, 0))
		log_debug("signal %d to the command: %s", sig, strerror(errno));
}

static void run_on_signal(void *data, uint32_t events)
{
	struct run *r = data;
	uint64_t count, now = time_mono_ns();

	if (read(signal_fd, &count, sizeof(count)) < 0)
		return;
	if (atomic_exchange(&got_hup, false))
		run_forward(r, SIGHUP);
	if (!atomic_exchange(&got_term, false))
		return;
	if (!r->first_term_ns)
		r->first_term_ns = now;
	if (now - r->first_term_ns >= TERM_PATIENCE_NS)
		run_forward(r, SIGKILL);
	else
		run_forward(r, SIGTERM);
}

/* ------------------------------------------------------------------ the command */

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

static void run_on_exit(void *data, uint32_t events)
{
	struct run *r = data;
	int status;
	pid_t pid = waitpid(r->pid, &status, WNOHANG);

	if (!pid || (pid < 0 && errno == EINTR))
		return;
	if (pid < 0)
		loop_stop(r->loop, CLI_RUN_FAILED);
	else if (WIFSIGNALED(status))
		loop_stop(r->loop, 128 + WTERMSIG(status));
	else
		loop_stop(r->loop, WEXITSTATUS(status));
	r->pid = 0;
}

/* Something of ours failed while the command runs: it has lost its devices, so it must end. */
static void run_kill(struct run *r)
{
	if (r->pid <= 0)
		return;
	kill(r->pid, SIGKILL);
	while (waitpid(r->pid, NULL, 0) < 0 && errno == EINTR)
		;
	r->pid = 0;
}

/* ------------------------------------------------------------------ options */

struct run_spec {
	const char *text;
	bool file;
};

struct run_options {
	struct run_spec specs[256];
	unsigned n;
	int verbose;
	bool quiet;
};

static int run_option(void *data, const struct cli_option *o, const char *value)
{
	struct run_options *opt = data;

	switch (o->letter) {
	case 'm':
	case 'd':
		if (opt->n == ARRAY_SIZE(opt->specs))
			return cli_fail(&cli_run, CLI_RUN_FAILED,
					"more than %zu devices: put them into a machine file",
					ARRAY_SIZE(opt->specs));
		opt->specs[opt->n++] = (struct run_spec){ value, o->letter == 'm' };
		break;
	case 'v':
		opt->verbose++;
		break;
	case 'q':
		opt->quiet = true;
		break;
	}
	return 0;
}

static void run_set_log(const struct run_options *opt)
{
	if (opt->quiet)
		log_set_level(LOG_ERROR);
	else if (opt->verbose)
		log_set_level(opt->verbose > 1 ? LOG_DEBUG : LOG_INFO);
}

/* ------------------------------------------------------------------ life */

static int run_build(struct run *r, const struct run_options *opt)
{
	struct machine_error err = { "" };
	int ret;

	fd_limit_raise();
	ret = machine_new(&r->machine);
	if (ret)
		return cli_fail(&cli_run, CLI_RUN_FAILED, "cannot make a machine: %s",
				strerror(-ret));
	for (unsigned i = 0; i < opt->n && !ret; i++)
		ret = opt->specs[i].file ? machine_add_file(r->machine, opt->specs[i].text, &err)
					 : machine_add_spec(r->machine, opt->specs[i].text, &err);
	if (!ret)
		ret = machine_start(r->machine, &err);
	if (ret)
		return cli_fail(&cli_run, CLI_RUN_FAILED, "%s",
				*err.text ? err.text : strerror(-ret));
	return CLI_GO_ON;
}

static int run_start(struct run *r, char **argv)
{
	struct door_error err = { "" };
	int ret;

	ret = find_program(argv[0]);
	if (ret)
		return program_status(argv[0], ret);
	ret = loop_new(&r->loop);
	if (!ret) {
		struct loop_source *source;

		ret = loop_fd_add(r->loop, signal_fd, EPOLLIN, run_on_signal, r, &source);
	}
	if (ret)
		return cli_fail(&cli_run, CLI_RUN_FAILED, "event loop: %s", strerror(-ret));
	ret = door_dev_start(machine_pci(r->machine), machine_vfio(r->machine), argv, &r->door,
			     &err);
	if (ret == -EINTR && atomic_load(&got_terminal))
		return 128 + atomic_load(&got_terminal);
	/* It was found above, so this says what is inside of it, or what it is. */
	if (ret == -ENOEXEC || ret == -E2BIG || ret == -ETXTBSY)
		return program_status(argv[0], ret);
	if (ret)
		return cli_fail(&cli_run, CLI_RUN_FAILED, "%s",
				*err.text ? err.text : strerror(-ret));
	r->pid = door_dev_pid(r->door);
	return CLI_GO_ON;
}

static int run_serve(struct run *r)
{
	struct loop_source *source;
	char why[512];
	int ret;

	r->pidfd = (int)syscall(SYS_pidfd_open, r->pid, 0);
	if (r->pidfd < 0)
		return cli_fail(&cli_run, CLI_RUN_FAILED, "pidfd_open: %s", strerror(errno));
	/* What came while the command was not there yet may have reached nobody. */
	if (atomic_load(&got_terminal))
		run_forward(r, atomic_load(&got_terminal));
	ret = loop_fd_add(r->loop, r->pidfd, EPOLLIN, run_on_exit, r, &source);
	if (ret)
		return cli_fail(&cli_run, CLI_RUN_FAILED, "event loop: %s", strerror(-ret));
	/* Nobody can watch without it, but the command can work. */
	if (control_start(r->loop, r->machine, &r->control, why, sizeof(why)))
		log_warn("no control socket, so `uvfio list` will not see this machine: %s", why);
	else
		log_info("control socket %s", control_path(r->control));
	ret = loop_run(r->loop);
	if (ret < 0)
		return cli_fail(&cli_run, CLI_RUN_FAILED, "event loop: %s", strerror(-ret));
	return ret;
}

static int run_run(const struct cli_command *self, int argc, char **argv)
{
	struct run r = { .pidfd = -1 };
	struct run_options opt = { 0 };
	int first, status;

	status = cli_parse(self, argc, argv, run_option, &opt, &first);
	if (status != CLI_GO_ON)
		return status;
	if (first == argc)
		return cli_fail(self, CLI_RUN_FAILED,
				"no command given: uvfio run [OPTION]... -- CMD [ARG]...");
	if (!opt.n)
		return cli_fail(self, CLI_RUN_FAILED,
				"no device given: add --device SPEC or --machine FILE "
				"(`uvfio models` lists the models)");
	run_set_log(&opt);
	status = run_build(&r, &opt);
	if (status == CLI_GO_ON)
		status = run_signals();
	if (status == CLI_GO_ON)
		status = run_start(&r, argv + first);
	if (status == CLI_GO_ON)
		status = run_serve(&r);
	run_kill(&r);
	/* Before the control socket, so that those who follow events see the last ones too. */
	if (r.door)
		door_dev_free(r.door);
	control_free(r.control);
	machine_free(r.machine);
	loop_free(r.loop);
	base_cleanup_close(&r.pidfd);
	return status;
}

static const struct cli_option run_options[] = {
	{ "device", 'd', "SPEC", "add a device: MODEL[,KEY=VALUE]..." },
	{ "machine", 'm', "FILE", "add the devices of a machine file (JSON)" },
	{ "verbose", 'v', NULL, "say more, such as the path of the control socket; twice: debug" },
	{ "quiet", 'q', NULL, "say errors only" },
	{ NULL },
};

static const char *const run_paragraphs[] = {
	"CMD sees the devices through /dev/vfio and /sys as if a kernel with an IOMMU had them. "
	"They are there until CMD ends.",
	"The exit status is that of CMD, or 128 + N if signal N killed it; 125 if uvfio itself "
	"failed, 126 if CMD cannot be executed, 127 if it was not found.",
	NULL,
};

const struct cli_command cli_run = {
	.name = "run",
	.summary = "Run a command that owns devices through VFIO.",
	.operands = "-- CMD [ARG]...",
	.wraps = true,
	.usage_status = CLI_RUN_FAILED,
	.options = run_options,
	.paragraphs = run_paragraphs,
	.more_help = cli_print_models,
	.run = run_run,
};
