/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `uvfio run`: a command that owns devices, of a machine of its own for the time that it runs, or
 * (--join) of one that is there already (join.c).
 *
 * Order, with a machine of its own: the machine is made and started; the command is launched and
 * adopted by the dev door; then this process serves the control socket on its event loop until the
 * command ends. The end goes the other way round, whatever happened. While the machine is made
 * there is no command, and nothing that has to be undone: until then signals do what they do to any
 * program.
 */
#include <errno.h>

#include "cli/priv.h"

struct run {
	struct machine *machine;
	struct attend attend;
	struct command command;
	struct control *control;
	struct sockets *sockets;
};

/* ------------------------------------------------------------------ options */

struct run_options {
	struct build build;
	const char *join;
	bool char_devices;
	bool explain, json;
};

static int run_option(void *data, const struct cli_option *o, const char *value)
{
	struct run_options *opt = data;

	switch (o->letter) {
	case 'm':
	case 'd':
		return build_option(&cli_run, &opt->build, value, o->letter == 'm');
	case 'j':
		opt->join = value;
		break;
	case 'c':
		opt->char_devices = true;
		break;
	case 'e':
		opt->explain = true;
		break;
	case 0:
		opt->json = true;
		break;
	case 'v':
		opt->build.verbose++;
		break;
	case 'q':
		opt->build.quiet = true;
		break;
	}
	return 0;
}

/* ------------------------------------------------------------------ a machine of its own */

static int run_start(struct run *r)
{
	struct door_error err = { "" };
	struct door_peer peer = { .child = true, .give_up = { -1, -1 } };
	struct door_launch launch;
	char **argv = r->command.argv;
	int ret;

	ret = command_launch(&r->command, getpid(), &launch);
	if (ret != CLI_GO_ON)
		return ret;
	peer.sock = launch.sock;
	peer.pid = launch.pid;
	ret = attend_begin(&r->attend, r->machine, &peer, attend_command_name(argv[0]), &err);
	if (ret) {
		ret = door_launch_undo(&launch, ret, &err);
		return command_not_started(&r->command, ret, err.text);
	}
	close(launch.sock);
	return command_started(&r->command, launch.pid);
}

/* A machine file can want the functions served by vfio-user as well. */
static int run_sockets(struct run *r)
{
	const char *dir = machine_sockets(r->machine);
	struct door_error err;

	if (!dir || !sockets_new(r->machine, dir, true, &r->sockets, &err))
		return CLI_GO_ON;
	return cli_fail(&cli_run, CLI_RUN_FAILED, "%s", err.text);
}

static int run_serve(struct run *r)
{
	char why[512];

	/* Nobody can watch without it, but the command can work. */
	if (control_start(r->command.loop, r->machine, &r->control, why, sizeof(why)))
		log_warn("no control socket, so `uvfio list` will not see this machine: %s", why);
	else
		log_info("control socket %s", control_path(r->control));
	return command_wait(&r->command);
}

static int run_own(const struct run_options *opt, char **argv)
{
	struct run r = { .command = { .pidfd = -1 } };
	int status;

	status = build_machine(&cli_run, &opt->build, &r.machine);
	if (status == CLI_GO_ON)
		status = command_init(&r.command, argv);
	r.command.char_devices = opt->char_devices;
	if (status == CLI_GO_ON)
		status = run_sockets(&r);
	if (status == CLI_GO_ON)
		status = run_start(&r);
	if (status == CLI_GO_ON)
		status = run_serve(&r);
	command_kill(&r.command);
	/* Before the control socket, so that those who follow events see the last ones too. */
	attend_end(&r.attend);
	sockets_free(r.sockets);
	control_free(r.control);
	machine_free(r.machine);
	command_fini(&r.command);
	return status;
}

static int run_run(const struct cli_command *self, int argc, char **argv)
{
	struct run_options opt = { 0 };
	int first, status;

	status = cli_parse(self, argc, argv, run_option, &opt, &first);
	if (status != CLI_GO_ON)
		return status;
	if (opt.explain && (first < argc || opt.join || opt.build.n))
		return cli_fail(self, CLI_RUN_FAILED,
				"--explain goes without a command and without devices");
	if (opt.explain)
		return explain_run(opt.json);
	if (opt.json)
		return cli_fail(self, CLI_RUN_FAILED, "--json goes with --explain");
	if (first == argc)
		return cli_fail(self, CLI_RUN_FAILED,
				"no command given: uvfio run [OPTION]... -- CMD [ARG]...");
	if (opt.join && opt.build.n)
		return cli_fail(self, CLI_RUN_FAILED,
				"a machine that is joined has its devices: --join goes without "
				"--device and --machine");
	if (!opt.join && !opt.build.n)
		return cli_fail(self, CLI_RUN_FAILED,
				"no device given: add --device SPEC, --machine FILE or --join NAME "
				"(`uvfio models` lists the models)");
	build_set_log(&opt.build);
	return opt.join ? join_run(opt.join, opt.char_devices, argv + first)
			: run_own(&opt, argv + first);
}

static const struct cli_option run_options[] = {
	{ "device", 'd', "SPEC", "add a device: MODEL[,KEY=VALUE]..." },
	{ "machine", 'm', "FILE", "add the devices of a machine file (JSON)" },
	{ "join", 'j', "NAME", "use the devices of a machine of `uvfio up`" },
	{ "char-devices", 'c', NULL,
	  "files of devices are character devices to CMD, for QEMU with iommufd" },
	{ "explain", 'e', NULL, "say what this kernel gives and what it costs, and run nothing" },
	{ "json", 0, NULL, "print JSON (with --explain)" },
	{ "verbose", 'v', NULL, "say more, such as the path of the control socket; twice: debug" },
	{ "quiet", 'q', NULL, "say errors only" },
	{ NULL },
};

static const char *const run_paragraphs[] = {
	"CMD sees the devices through /dev/vfio and /sys as if a kernel with an IOMMU had them. "
	"They are there until CMD ends.",
	"With --join they are those of a machine that is there already, and that other commands "
	"may "
	"use at the same time; each isolation group has one user at a time.",
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
