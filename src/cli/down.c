/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `uvfio down`: the end of a machine that `uvfio up` started.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <sys/syscall.h>

#include "cli/priv.h"

/* How long nothing is said about a machine that takes its time. */
#define SILENCE_MS 2000

static void print_clients(const char *name, const json_t *reply, const char *what)
{
	const json_t *clients = json_object_get(reply, "clients"), *c;
	size_t i;

	if (!json_array_size(clients))
		return;
	fprintf(stderr, "uvfio down: machine '%s': %s\n", name, what);
	json_array_foreach(clients, i, c) fprintf(
		stderr, "  client %" PRIu64 ": %s (pid %" PRIu64 ")\n", reply_number(c, "client"),
		reply_string(c, "command"), reply_number(c, "pid"));
}

/* Until the connection ends, or the process where we can see it; tells what it still waits for. */
static int await_end(struct client *c, const char *name, bool force)
{
	AUTO_CLOSE int pidfd = -1;
	struct pollfd p[2] = { { .fd = c->fd, .events = POLLIN }, { .fd = -1 } };
	bool said = false;
	pid_t pid = place_peer(c->fd);

	if (pid > 0)
		pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	p[1] = (struct pollfd){ .fd = pidfd, .events = POLLIN };
	client_wait(c);
	for (;;) {
		int n = poll(p, 2, said ? -1 : SILENCE_MS);
		json_t *line;

		if (!n && force)
			fprintf(stderr, "uvfio down: machine '%s': still ending\n", name);
		said |= !n;
		if (p[1].revents)
			return CLI_OK;
		if (!p[0].revents)
			continue;
		if (client_next(c, &line)) {
			if (pidfd < 0)
				return CLI_OK;
			p[0].fd = -1;
			continue;
		}
		print_clients(name, line, "still waiting for");
		json_decref(line);
	}
}

struct down_options {
	bool force, wait;
};

static int down_option(void *data, const struct cli_option *o, const char *value)
{
	struct down_options *opt = data;

	if (o->letter == 'f')
		opt->force = true;
	else if (o->letter == 'w')
		opt->wait = true;
	return 0;
}

static int down_machine(const struct cli_command *self, struct client *c,
			const struct down_options *opt)
{
	const char *name = c->name;
	json_t *reply;
	int ret;

	ret = client_exchange(
		c, json_pack("{s:s,s:b,s:b}", "op", "down", "force", opt->force, "wait", opt->wait),
		NULL, 0, &reply);
	if (ret)
		return client_failed(self, c, ret);
	if (!reply_bool(reply, "ok")) {
		if (json_object_get(reply, "clients")) {
			print_clients(name, reply,
				      "in use; --wait waits for these, --force ends them:");
			ret = CLI_DOWN_IN_USE;
		} else {
			ret = cli_fail(self, CLI_FAILED, "machine '%s': %s", name,
				       reply_string(reply, "error"));
		}
		json_decref(reply);
		return ret;
	}
	print_clients(name, reply, opt->force ? "ending" : "waiting for");
	json_decref(reply);
	return await_end(c, name, opt->force);
}

static int down_run(const struct cli_command *self, int argc, char **argv)
{
	struct down_options opt = { 0 };
	struct client_list list = { 0 };
	int first, status;

	status = cli_parse(self, argc, argv, down_option, &opt, &first);
	if (status == CLI_GO_ON)
		status = cli_operands(self, argc, argv, first, 0, 1);
	if (status == CLI_GO_ON)
		status = client_find_named(self, first < argc ? argv[first] : NULL, &list);
	if (status == CLI_GO_ON)
		status = down_machine(self, &list.clients[0], &opt);
	client_list_free(&list);
	return status;
}

static const struct cli_option down_options[] = {
	{ "force", 'f', NULL, "end the commands that use it: SIGTERM, after 10 s SIGKILL" },
	{ "wait", 'w', NULL, "take no more commands, and wait for the last one to end" },
	{ NULL },
};

static const char *const down_paragraphs[] = {
	"Ends the machine NAME, or the only one there is, and returns when its process is gone. If "
	"commands still use it they are named, and nothing happens.",
	"The exit status is 0 if the machine is gone, 3 if it is in use, 1 if something else "
	"failed, "
	"2 if the command line is wrong.",
	NULL,
};

const struct cli_command cli_down = {
	.name = "down",
	.summary = "End a machine that was started by `uvfio up`.",
	.operands = "[NAME]",
	.usage_status = CLI_USAGE,
	.options = down_options,
	.paragraphs = down_paragraphs,
	.run = down_run,
};
