/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `uvfio list`: the devices of all machines of this user that run, or their clients.
 */
#include <inttypes.h>
#include <time.h>

#include "cli/priv.h"

/* A column of a table: what to show of a row. */
struct column {
	const char *title, *key;
	enum { COL_TEXT, COL_NUMBER, COL_YES, COL_BYTES, COL_CLIENT, COL_TIME, COL_NAME } kind;
};

static const struct column device_columns[] = {
	{ "BDF", "bdf", COL_TEXT },
	{ "MODEL", "model", COL_TEXT },
	{ "ID", "id", COL_TEXT },
	{ "GROUP", "group", COL_NUMBER },
	{ "DRIVER", "driver", COL_TEXT },
	{ "OPEN", "open", COL_YES },
	{ "MAPPINGS", "mappings", COL_NUMBER },
	{ "IRQS", "interrupts", COL_NUMBER },
	{ "RESETS", "resets", COL_NUMBER },
	{ "DMA-READ", "dma_read", COL_BYTES },
	{ "DMA-WRITE", "dma_write", COL_BYTES },
	{ "FAULTS", "faults", COL_NUMBER },
	{ "CLIENT", "client", COL_CLIENT },
	{ "MACHINE", "name", COL_NAME },
	{ NULL },
};

static const struct column client_columns[] = {
	{ "CLIENT", "client", COL_NUMBER },
	{ "COMMAND", "command", COL_TEXT },
	{ "PID", "pid", COL_NUMBER },
	{ "SINCE", "since_ns", COL_TIME },
	{ "DEVICES", "devices", COL_NUMBER },
	{ "MACHINE", "name", COL_NAME },
	{ NULL },
};

#define COLUMNS_MAX 16

#define CELL 32

static void format_bytes(char *cell, uint64_t bytes)
{
	static const char *const units[] = { "", " KiB", " MiB", " GiB", " TiB", " PiB" };
	unsigned u = 0;
	double v = (double)bytes;

	while (v >= 1024 && u + 1 < ARRAY_SIZE(units)) {
		v /= 1024;
		u++;
	}
	snprintf(cell, CELL, "%.*f%s", u && v < 100 ? 1 : 0, v, units[u]);
}

static void format_time(char *cell, uint64_t ns)
{
	time_t seconds = (time_t)(ns / 1000000000u);
	struct tm tm;

	if (!localtime_r(&seconds, &tm) || !strftime(cell, CELL, "%Y-%m-%d %H:%M:%S", &tm))
		snprintf(cell, CELL, "-");
}

static void format_cell(char *cell, const struct column *col, const json_t *row)
{
	const json_t *value = json_object_get(row, col->key);

	switch (col->kind) {
	case COL_TEXT:
		snprintf(cell, CELL, "%s", reply_string(row, col->key));
		break;
	case COL_NUMBER:
		snprintf(cell, CELL, "%" PRIu64, reply_number(row, col->key));
		break;
	case COL_YES:
		snprintf(cell, CELL, "%s", reply_bool(row, col->key) ? "yes" : "no");
		break;
	case COL_BYTES:
		format_bytes(cell, reply_number(row, col->key));
		break;
	case COL_TIME:
		format_time(cell, reply_number(row, col->key));
		break;
	case COL_CLIENT:
		if (json_is_integer(value))
			snprintf(cell, CELL, "%" PRIu64, reply_number(row, col->key));
		else
			snprintf(cell, CELL, "-");
		break;
	case COL_NAME: /* a machine without a name is known by its process */
		if (json_is_string(value))
			snprintf(cell, CELL, "%s", json_string_value(value));
		else
			snprintf(cell, CELL, "%" PRIu64, reply_number(row, "machine"));
		break;
	}
}

static bool to_the_left(const struct column *col)
{
	return col->kind == COL_TEXT || col->kind == COL_YES || col->kind == COL_NAME;
}

static void print_table(const struct column *columns, const json_t *rows)
{
	int width[COLUMNS_MAX];
	char cell[CELL];
	json_t *row;
	size_t i;

	for (unsigned c = 0; columns[c].title; c++) {
		width[c] = (int)strlen(columns[c].title);
		json_array_foreach(rows, i, row)
		{
			format_cell(cell, &columns[c], row);
			width[c] = MAX(width[c], (int)strlen(cell));
		}
		/* Nothing is behind the last one. */
		if (to_the_left(&columns[c]))
			width[c] = columns[c + 1].title ? -width[c] : 0;
	}
	for (unsigned c = 0; columns[c].title; c++)
		printf("%s%*s", c ? "  " : "", width[c], columns[c].title);
	putchar('\n');
	json_array_foreach(rows, i, row)
	{
		for (unsigned c = 0; columns[c].title; c++) {
			format_cell(cell, &columns[c], row);
			printf("%s%*s", c ? "  " : "", width[c], cell);
		}
		putchar('\n');
	}
}

/* How many functions a client has open. */
static json_int_t devices_of(const json_t *reply, uint64_t client)
{
	json_int_t n = 0;
	json_t *device;
	size_t i;

	json_array_foreach(json_object_get(reply, "devices"), i, device) n +=
		reply_number(device, "client") == client;
	return n;
}

/* Rows of one machine go to the end of @all, with the machine in each. */
static int list_machine(const struct cli_command *self, struct client *c,
			const struct watch_options *w, json_t *all)
{
	json_t *reply, *row;
	size_t i;
	int status;

	status = client_ask(self, c, json_pack("{s:s}", "op", "list"), &reply);
	if (status != CLI_GO_ON)
		return status;
	json_array_foreach(json_object_get(reply, w->clients ? "clients" : "devices"), i, row)
	{
		if (!w->clients && !w->all && reply_bool(row, "bridge"))
			continue;
		if (w->clients)
			json_object_set_new(
				row, "devices",
				json_integer(devices_of(reply, reply_number(row, "client"))));
		json_object_set(row, "name", json_object_get(reply, "name"));
		json_object_set_new(row, "machine",
				    json_integer((json_int_t)reply_number(reply, "pid")));
		json_object_set_new(row, "socket", json_string(c->path));
		json_array_append(all, row);
	}
	json_decref(reply);
	return CLI_GO_ON;
}

/* The tree of one machine to the end of @all. */
static int list_tree(const struct cli_command *self, struct client *c, json_t *all)
{
	json_t *reply, *tree;
	int status = client_ask(self, c, json_pack("{s:s}", "op", "list"), &reply);

	if (status != CLI_GO_ON)
		return status;
	tree = tree_json(json_object_get(reply, "devices"));
	json_object_set(tree, "name", json_object_get(reply, "name"));
	json_object_set_new(tree, "machine", json_integer((json_int_t)reply_number(reply, "pid")));
	json_object_set_new(tree, "socket", json_string(c->path));
	json_array_append_new(all, tree);
	json_decref(reply);
	return CLI_GO_ON;
}

static void print_trees(const json_t *trees)
{
	json_t *tree;
	size_t i;

	json_array_foreach(trees, i, tree)
	{
		const json_t *name = json_object_get(tree, "name");

		if (json_array_size(trees) > 1)
			printf("%smachine %s%s%" PRIu64 "%s\n", i ? "\n" : "",
			       json_is_string(name) ? json_string_value(name) : "",
			       json_is_string(name) ? " (process " : "in process ",
			       reply_number(tree, "machine"), json_is_string(name) ? ")" : "");
		tree_print(tree);
	}
}

static int list_run(const struct cli_command *self, int argc, char **argv)
{
	struct client_list list = { 0 };
	struct watch_options w = { 0 };
	json_t *all = json_array();
	int first, status;

	status = cli_parse(self, argc, argv, watch_option, &w, &first);
	if (status == CLI_GO_ON)
		status = cli_operands(self, argc, argv, first, 0, 0);
	if (status == CLI_GO_ON && w.tree && w.clients)
		status = cli_fail(self, CLI_USAGE, "--tree and --clients are two things: give one");
	if (status == CLI_GO_ON)
		status = client_find(self, &w, &list);
	if (status == CLI_GO_ON) {
		/* A machine that fails to answer has said so; the others are shown. */
		status = CLI_OK;
		for (size_t i = 0; i < list.n; i++)
			if ((w.tree ? list_tree(self, &list.clients[i], all)
				    : list_machine(self, &list.clients[i], &w, all)) != CLI_GO_ON)
				status = CLI_FAILED;
		if (w.json)
			reply_print(all, false);
		else if (list.n && w.tree)
			print_trees(all);
		else if (list.n)
			print_table(w.clients ? client_columns : device_columns, all);
		else
			client_none(self, CLI_OK);
	}
	client_list_free(&list);
	json_decref(all);
	return status;
}

static const struct cli_option list_options[] = {
	{ "all", 'a', NULL, "show ports and other bridges as well" },
	{ "tree", 't', NULL, "show what is behind what, and the isolation groups" },
	{ "clients", 'c', NULL, "show who uses the machines instead of the devices" },
	WATCH_OPTIONS,
	{ NULL },
};

const struct cli_command cli_list = {
	.name = "list",
	.summary = "List the devices of the machines that run, or their clients.",
	.operands = "",
	.usage_status = CLI_USAGE,
	.options = list_options,
	.run = list_run,
};
