/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `uvfio events`: the journal of a machine: DMA faults, resets, attach and detach, open and close.
 */
#include <errno.h>
#include <inttypes.h>
#include <time.h>

#include "cli/priv.h"

/* "not-mapped" reads better as "not mapped". */
static void words(char *out, size_t size, const char *name)
{
	snprintf(out, size, "%s", name);
	for (char *p = out; *p; p++)
		if (*p == '-')
			*p = ' ';
}

static void print_text(const json_t *e)
{
	uint64_t ns = reply_number(e, "time_ns"), repeat = reply_number(e, "repeat");
	const char *bdf = json_string_value(json_object_get(e, "bdf"));
	time_t seconds = (time_t)(ns / 1000000000);
	char when[32] = "", reason[64];
	struct tm tm;

	if (localtime_r(&seconds, &tm))
		strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", &tm);
	printf("%s.%03u ", when, (unsigned)(ns / 1000000 % 1000));
	if (json_object_get(e, "command")) {
		printf("client %" PRIu64 " %s: %s (pid %" PRIu64 ")\n", reply_number(e, "client"),
		       reply_string(e, "type"), reply_string(e, "command"), reply_number(e, "pid"));
		return;
	}
	if (bdf)
		printf("%s %s", bdf, reply_string(e, "type"));
	else
		printf("group %" PRIu64 " %s", reply_number(e, "group"), reply_string(e, "type"));
	if (json_object_get(e, "iova")) {
		words(reason, sizeof(reason), reply_string(e, "reason"));
		printf(" %s iova %s size %" PRIu64 ": %s", reply_string(e, "access"),
		       reply_string(e, "iova"), reply_number(e, "size"), reason);
		if (repeat)
			printf(" (and %" PRIu64 " more like it)", repeat);
	}
	if (reply_number(e, "client"))
		printf(" (client %" PRIu64 ")", reply_number(e, "client"));
	putchar('\n');
}

static void print_event(const json_t *e, bool json)
{
	if (json)
		reply_print(e, true);
	else if (json_object_get(e, "lost"))
		printf("(%" PRIu64 " earlier events are lost: the newest 4096 are kept)\n",
		       reply_number(e, "lost"));
	else
		print_text(e);
}

/* What is in the journal now. */
static int show(const struct cli_command *self, struct client *c, bool json)
{
	uint64_t after = 0, last;

	do {
		json_t *reply, *e;
		size_t i;
		int status;

		status = client_ask(
			self, c, json_pack("{s:s,s:I}", "op", "events", "after", (json_int_t)after),
			&reply);
		if (status != CLI_GO_ON)
			return status;
		json_array_foreach(json_object_get(reply, "events"), i, e) print_event(e, json);
		last = after;
		after = reply_number(reply, "last");
		json_decref(reply);
	} while (after > last && !ferror(stdout));
	return CLI_OK;
}

/* Until the machine ends (or we are interrupted, which needs no code). */
static int follow(const struct cli_command *self, struct client *c, bool json)
{
	json_t *line;
	int status, ret;

	status = client_ask(self, c, json_pack("{s:s,s:b}", "op", "events", "follow", 1), &line);
	if (status != CLI_GO_ON)
		return status;
	json_decref(line);
	client_wait(c);
	while (!(ret = client_next(c, &line))) {
		print_event(line, json);
		json_decref(line);
		if (fflush(stdout))
			return CLI_FAILED;
	}
	if (ret == -EPIPE)
		return CLI_OK;
	return cli_fail(self, CLI_FAILED, "%s: %s", c->path, strerror(-ret));
}

static int events_run(const struct cli_command *self, int argc, char **argv)
{
	struct client_list list = { 0 };
	struct watch_options w = { 0 };
	int first, status;

	status = cli_parse(self, argc, argv, watch_option, &w, &first);
	if (status == CLI_GO_ON)
		status = cli_operands(self, argc, argv, first, 0, 0);
	if (status == CLI_GO_ON)
		status = client_find_one(self, &w, &list);
	if (status == CLI_GO_ON)
		status = w.follow ? follow(self, &list.clients[0], w.json)
				  : show(self, &list.clients[0], w.json);
	client_list_free(&list);
	return status;
}

static const struct cli_option events_options[] = {
	{ "follow", 'f', NULL, "go on with new events until the machine ends" },
	WATCH_OPTIONS,
	{ NULL },
};

static const char *const events_paragraphs[] = {
	"Events are DMA faults, resets, attach and detach of address spaces, open and close of "
	"devices. The newest 4096 are kept.",
	NULL,
};

const struct cli_command cli_events = {
	.name = "events",
	.summary = "Show DMA faults, resets and other events of a machine.",
	.operands = "",
	.usage_status = CLI_USAGE,
	.options = events_options,
	.paragraphs = events_paragraphs,
	.run = events_run,
};
