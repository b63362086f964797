/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `uvfio list`: the devices of all machines of this user that run.
 */
#include <inttypes.h>

#include "cli/priv.h"

/* A column of the table: what to show of a device. */
struct column {
	const char *title, *key;
	enum { COL_TEXT, COL_NUMBER, COL_YES, COL_BYTES } kind;
};

static const struct column columns[] = {
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
	{ "MACHINE", "machine", COL_NUMBER },
};

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

static void format_cell(char *cell, const struct column *col, const json_t *device)
{
	switch (col->kind) {
	case COL_TEXT:
		snprintf(cell, CELL, "%s", reply_string(device, col->key));
		break;
	case COL_NUMBER:
		snprintf(cell, CELL, "%" PRIu64, reply_number(device, col->key));
		break;
	case COL_YES:
		snprintf(cell, CELL, "%s", reply_bool(device, col->key) ? "yes" : "no");
		break;
	case COL_BYTES:
		format_bytes(cell, reply_number(device, col->key));
		break;
	}
}

static void print_table(const json_t *devices)
{
	size_t width[ARRAY_SIZE(columns)], i;
	char cell[CELL];
	json_t *device;

	for (unsigned c = 0; c < ARRAY_SIZE(columns); c++) {
		width[c] = strlen(columns[c].title);
		json_array_foreach(devices, i, device)
		{
			format_cell(cell, &columns[c], device);
			width[c] = MAX(width[c], strlen(cell));
		}
	}
	for (unsigned c = 0; c < ARRAY_SIZE(columns); c++) {
		bool left = columns[c].kind == COL_TEXT || columns[c].kind == COL_YES;

		printf("%s%*s", c ? "  " : "", left ? -(int)width[c] : (int)width[c],
		       columns[c].title);
	}
	putchar('\n');
	json_array_foreach(devices, i, device)
	{
		for (unsigned c = 0; c < ARRAY_SIZE(columns); c++) {
			bool left = columns[c].kind == COL_TEXT || columns[c].kind == COL_YES;

			format_cell(cell, &columns[c], device);
			printf("%s%*s", c ? "  " : "", left ? -(int)width[c] : (int)width[c], cell);
		}
		putchar('\n');
	}
}

/* The devices of one machine go to the end of @all, with the machine's name in each. */
static int list_machine(const struct cli_command *self, struct client *c, bool ports, json_t *all)
{
	json_t *reply, *device;
	size_t i;
	int status;

	status = client_ask(self, c, json_pack("{s:s}", "op", "list"), &reply);
	if (status != CLI_GO_ON)
		return status;
	json_array_foreach(json_object_get(reply, "devices"), i, device)
	{
		if (!ports && !strcmp(reply_string(device, "model"), "root-port"))
			continue;
		json_object_set_new(device, "machine",
				    json_integer((json_int_t)reply_number(reply, "pid")));
		json_object_set_new(device, "socket", json_string(c->path));
		json_array_append(all, device);
	}
	json_decref(reply);
	return CLI_GO_ON;
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
	if (status == CLI_GO_ON)
		status = client_find(self, w.socket, &list);
	if (status == CLI_GO_ON) {
		/* A machine that fails to answer has said so; the others are shown. */
		status = CLI_OK;
		for (size_t i = 0; i < list.n; i++)
			if (list_machine(self, &list.clients[i], w.all, all) != CLI_GO_ON)
				status = CLI_FAILED;
		if (w.json)
			reply_print(all, false);
		else if (list.n)
			print_table(all);
		else
			cli_fail(self, CLI_OK,
				 "no machine of yours is running (start one with `uvfio run`)");
	}
	client_list_free(&list);
	json_decref(all);
	return status;
}

static const struct cli_option list_options[] = {
	{ "all", 'a', NULL, "show root ports as well" },
	WATCH_OPTIONS,
	{ NULL },
};

const struct cli_command cli_list = {
	.name = "list",
	.summary = "List the devices of the machines that run, with their counters.",
	.operands = "",
	.usage_status = CLI_USAGE,
	.options = list_options,
	.run = list_run,
};
