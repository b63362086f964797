/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The `uvfio` command: a table of commands, from which usage, help and option parsing are made, so
 * that they cannot disagree. Man pages and completions are compared with it by a test.
 *
 * Whatever is wrong with what the user typed is said in one line: what, and what to do.
 */
#include <assert.h>
#include <getopt.h>
#include <stdarg.h>

#include "cli/cli.h"
#include "cli/priv.h"

const struct cli_command *const cli_commands[] = {
	&cli_run,   &cli_up,	&cli_serve,  &cli_down,	  &cli_list,  &cli_bind, &cli_unbind,
	&cli_sriov, &cli_iommu, &cli_events, &cli_models, &cli_check, &cli_help, NULL,
};

int cli_fail(const struct cli_command *cmd, int status, const char *fmt, ...)
{
	char text[1024];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	fprintf(stderr, "uvfio%s%s: %s\n", cmd ? " " : "", cmd ? cmd->name : "", text);
	return status;
}

/* ------------------------------------------------------------------ help */

/* @text in lines of at most 80 columns, the first behind @column, the rest indented by @indent. */
static void print_wrapped(FILE *out, const char *text, int column, int indent)
{
	while (*text) {
		int len = (int)strcspn(text, " ");

		if (column > indent && column + 1 + len > 80) {
			fprintf(out, "\n%*s", indent, "");
			column = indent;
		} else if (column > indent) {
			fputc(' ', out);
			column++;
		}
		fprintf(out, "%.*s", len, text);
		column += len;
		text += len;
		text += strspn(text, " ");
	}
	fputc('\n', out);
}

static void print_option(FILE *out, const struct cli_option *o)
{
	char left[64];

	snprintf(left, sizeof(left), "  %c%c%c --%s%s%s", o->letter ? '-' : ' ',
		 o->letter ? o->letter : ' ', o->letter ? ',' : ' ', o->name, o->arg ? " " : "",
		 o->arg ? o->arg : "");
	fprintf(out, "%-24s", left);
	if (strlen(left) >= 24)
		fprintf(out, "\n%24s", "");
	print_wrapped(out, o->help, 24, 24);
}

static const struct cli_option help_option = { "help", 'h', NULL, "show this help" };

static void print_command_help(FILE *out, const struct cli_command *cmd)
{
	fprintf(out, "Usage: uvfio %s [OPTION]...%s%s\n", cmd->name, *cmd->operands ? " " : "",
		cmd->operands);
	print_wrapped(out, cmd->summary, 0, 0);
	fprintf(out, "\nOptions:\n");
	for (const struct cli_option *o = cmd->options; o->name; o++)
		print_option(out, o);
	print_option(out, &help_option);
	for (const char *const *p = cmd->paragraphs; p && *p; p++) {
		fputc('\n', out);
		print_wrapped(out, *p, 0, 0);
	}
	if (cmd->more_help) {
		fputc('\n', out);
		cmd->more_help(out);
	}
}

static void print_help(FILE *out)
{
	fprintf(out, "Usage: uvfio COMMAND [OPTION]...\n"
		     "VFIO in user space: devices behind an IOMMU for programs that speak VFIO.\n"
		     "\nCommands:\n");
	for (unsigned i = 0; cli_commands[i]; i++) {
		fprintf(out, "  %-10s", cli_commands[i]->name);
		print_wrapped(out, cli_commands[i]->summary, 12, 12);
	}
	fprintf(out, "\nOptions:\n"
		     "  -h, --help            show this help\n"
		     "  -V, --version         show the version\n"
		     "\n`uvfio COMMAND --help` says more about each.\n");
}

/* ------------------------------------------------------------------ options */

/* getopt_long's form of a table; values are index + 256, so that no letter is in the way. */
struct getopt_tables {
	struct option longs[16];
	char shorts[40];
	unsigned n;
};

static void fill_tables(const struct cli_command *cmd, struct getopt_tables *t)
{
	char *s = t->shorts;
	unsigned n = 0;

	memset(t, 0, sizeof(*t));
	if (cmd->wraps)
		*s++ = '+';
	*s++ = ':';
	*s++ = 'h';
	for (const struct cli_option *o = cmd->options; o->name; o++, n++) {
		assert(n + 2 < ARRAY_SIZE(t->longs));
		t->longs[n] = (struct option){ o->name, o->arg ? required_argument : no_argument,
					       NULL, (int)(256 + n) };
		if (o->letter)
			*s++ = o->letter;
		if (o->letter && o->arg)
			*s++ = ':';
	}
	t->longs[n] = (struct option){ "help", no_argument, NULL, 'h' };
	t->n = n;
}

static const struct cli_option *find_option(const struct cli_command *cmd, int value)
{
	if (value >= 256)
		return &cmd->options[value - 256];
	for (const struct cli_option *o = cmd->options; o->name; o++)
		if (o->letter == value)
			return o;
	return NULL;
}

/* getopt_long gave '?' or ':': says what the user did wrong. */
static int bad_option(const struct cli_command *cmd, int c, char **argv)
{
	const struct cli_option *o = optopt ? find_option(cmd, optopt) : NULL;

	if (c == ':' && o)
		return cli_fail(cmd, cmd->usage_status, "--%s needs a value: --%s %s", o->name,
				o->name, o->arg);
	if (o || optopt == 'h')
		return cli_fail(cmd, cmd->usage_status, "--%s takes no value",
				o ? o->name : "help");
	if (optopt)
		return cli_fail(cmd, cmd->usage_status,
				"unknown option '-%c' (see `uvfio %s --help`)", optopt, cmd->name);
	return cli_fail(cmd, cmd->usage_status, "unknown option '%s' (see `uvfio %s --help`)",
			argv[optind - 1], cmd->name);
}

int cli_parse(const struct cli_command *cmd, int argc, char **argv,
	      int (*got)(void *data, const struct cli_option *o, const char *value), void *data,
	      int *first)
{
	struct getopt_tables t;
	int c, status;

	fill_tables(cmd, &t);
	optind = 0; /* a fresh start, GNU's way */
	opterr = 0;
	while ((c = getopt_long(argc, argv, t.shorts, t.longs, NULL)) != -1) {
		const struct cli_option *o;

		if (c == 'h') {
			print_command_help(stdout, cmd);
			return CLI_OK;
		}
		if (c == '?' || c == ':')
			return bad_option(cmd, c, argv);
		o = find_option(cmd, c);
		status = got(data, o, optarg);
		if (status)
			return status;
	}
	*first = optind;
	return CLI_GO_ON;
}

int cli_operands(const struct cli_command *cmd, int argc, char **argv, int first, int min, int max)
{
	if (argc - first < min)
		return cli_fail(cmd, cmd->usage_status, "%s is missing: uvfio %s %s", cmd->operands,
				cmd->name, cmd->operands);
	if (argc - first > max)
		return cli_fail(cmd, cmd->usage_status,
				"too many arguments, from '%s' on (see `uvfio %s --help`)",
				argv[first + max], cmd->name);
	return CLI_GO_ON;
}

int cli_bdf(const struct cli_command *cmd, const char *text, struct pci_bdf *bdf)
{
	if (!pcif_bdf_parse(text, bdf))
		return CLI_GO_ON;
	return cli_fail(cmd, CLI_USAGE,
			"'%s' is not a device address: say DDDD:BB:DD.F, as `uvfio list` shows "
			"them",
			text);
}

/* ------------------------------------------------------------------ help as a command */

static const struct cli_command *find_command(const char *name)
{
	for (unsigned i = 0; cli_commands[i]; i++)
		if (!strcmp(cli_commands[i]->name, name))
			return cli_commands[i];
	return NULL;
}

static int no_command(const char *name)
{
	return cli_fail(NULL, CLI_USAGE, "unknown command '%s' (see `uvfio help`)", name);
}

static int no_option(void *data, const struct cli_option *o, const char *value)
{
	return 0;
}

static int help_run(const struct cli_command *self, int argc, char **argv)
{
	const struct cli_command *cmd;
	int first, status;

	status = cli_parse(self, argc, argv, no_option, NULL, &first);
	if (status == CLI_GO_ON)
		status = cli_operands(self, argc, argv, first, 0, 1);
	if (status != CLI_GO_ON)
		return status;
	if (first == argc) {
		print_help(stdout);
		return CLI_OK;
	}
	cmd = find_command(argv[first]);
	if (!cmd)
		return no_command(argv[first]);
	print_command_help(stdout, cmd);
	return CLI_OK;
}

static const struct cli_option help_options[] = { { NULL } };

const struct cli_command cli_help = {
	.name = "help",
	.summary = "Show help about a command.",
	.operands = "[COMMAND]",
	.usage_status = CLI_USAGE,
	.options = help_options,
	.run = help_run,
};

/* ------------------------------------------------------------------ main */

/* The help or the list that was asked for has not arrived if its last byte cannot be written. */
static int flush_output(int status)
{
	if (fflush(stdout) || ferror(stdout))
		return cli_fail(NULL, status ? status : CLI_FAILED, "cannot write output");
	return status;
}

int cli_main(int argc, char **argv)
{
	const struct cli_command *cmd;

	if (argc < 2) {
		print_help(stderr);
		return CLI_USAGE;
	}
	if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V")) {
		printf("uvfio %s\n", UVFIO_VERSION);
		return flush_output(CLI_OK);
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")) {
		print_help(stdout);
		return flush_output(CLI_OK);
	}
	if (argv[1][0] == '-')
		return cli_fail(NULL, CLI_USAGE, "unknown option '%s' (see `uvfio help`)", argv[1]);
	cmd = find_command(argv[1]);
	if (!cmd)
		return no_command(argv[1]);
	return flush_output(cmd->run(cmd, argc - 1, argv + 1));
}
