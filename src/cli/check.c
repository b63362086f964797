/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `uvfio check FILE`: makes the machine of a file as `uvfio run` would, shows what it is, and ends
 * it.
 */
#include "cli/priv.h"

static int check_option(void *data, const struct cli_option *o, const char *value)
{
	*(bool *)data = true; /* --json, the only one */
	return 0;
}

static int check_run(const struct cli_command *self, int argc, char **argv)
{
	struct machine *m = NULL;
	struct build b = { 0 };
	bool json = false;
	int first, status;
	json_t *devices, *tree;

	status = cli_parse(self, argc, argv, check_option, &json, &first);
	if (status == CLI_GO_ON)
		status = cli_operands(self, argc, argv, first, 1, 1);
	if (status != CLI_GO_ON)
		return status;
	(void)build_option(self, &b, argv[first], true); /* there is room for one */
	status = build_machine(self, &b, &m);
	if (status == CLI_GO_ON) {
		devices = query_functions(m);
		tree = tree_json(devices);
		json_object_set_new(tree, "file", json_string(argv[first]));
		if (json)
			reply_print(tree, false);
		else
			tree_print(tree);
		json_decref(tree);
		json_decref(devices);
		status = CLI_OK;
	}
	machine_free(m);
	return status;
}

static const struct cli_option check_options[] = {
	{ "json", 'j', NULL, "print JSON" },
	{ NULL },
};

static const char *const check_paragraphs[] = {
	"The devices are made as `uvfio run` would make them, so disks that the file names must be "
	"there and in nobody's use. Nothing is run.",
	NULL,
};

const struct cli_command cli_check = {
	.name = "check",
	.summary = "Check a machine file, and show its tree and isolation groups.",
	.operands = "FILE",
	.usage_status = CLI_USAGE,
	.options = check_options,
	.paragraphs = check_paragraphs,
	.run = check_run,
};
