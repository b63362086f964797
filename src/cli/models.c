/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `uvfio models`: the devices that --device can name, with their keys, from the models' own tables.
 */
#include "cli/priv.h"

static void print_keys(FILE *out, const struct pcif_option *o)
{
	for (; o && o->key; o++)
		fprintf(out, "      %s=%s\n", o->key, o->help);
}

void cli_print_models(FILE *out)
{
	fprintf(out, "Models for --device MODEL[,KEY=VALUE]...:\n");
	for (unsigned i = 0; device_models[i]; i++) {
		const struct pcif_model *m = device_models[i];

		fprintf(out, "  %s: %s\n", m->name, m->summary);
		print_keys(out, m->options);
	}
	fprintf(out, "  every model:\n");
	print_keys(out, machine_keys);
	print_keys(out, pcif_keys);
	fprintf(out, "Bridges, only in the trees of a machine file (see man uvfio-machine):\n");
	for (unsigned i = 0; pcim_bridge_models[i]; i++) {
		fprintf(out, "  %s: %s\n", pcim_bridge_models[i]->name,
			pcim_bridge_models[i]->summary);
		print_keys(out, pcim_bridge_models[i]->options);
	}
}

static json_t *model_json(const struct pcif_model *m, bool bridge)
{
	json_t *keys = json_array();

	for (const struct pcif_option *o = m->options; o && o->key; o++)
		json_array_append_new(keys, json_pack("{s:s,s:s}", "key", o->key, "help", o->help));
	return json_pack("{s:s,s:s,s:b,s:o}", "model", m->name, "summary", m->summary, "bridge",
			 bridge, "keys", keys);
}

static json_t *models_json(void)
{
	json_t *list = json_array();

	for (unsigned i = 0; device_models[i]; i++)
		json_array_append_new(list, model_json(device_models[i], false));
	for (unsigned i = 0; pcim_bridge_models[i]; i++)
		json_array_append_new(list, model_json(pcim_bridge_models[i], true));
	return list;
}

static int models_run(const struct cli_command *self, int argc, char **argv)
{
	struct watch_options w = { 0 };
	int first, status;
	json_t *list;

	status = cli_parse(self, argc, argv, watch_option, &w, &first);
	if (status == CLI_GO_ON)
		status = cli_operands(self, argc, argv, first, 0, 0);
	if (status != CLI_GO_ON)
		return status;
	if (!w.json) {
		cli_print_models(stdout);
		return CLI_OK;
	}
	list = models_json();
	reply_print(list, false);
	json_decref(list);
	return CLI_OK;
}

static const struct cli_option models_options[] = {
	{ "json", 'j', NULL, "print JSON" },
	{ NULL },
};

const struct cli_command cli_models = {
	.name = "models",
	.summary = "List the device models and their keys.",
	.operands = "",
	.usage_status = CLI_USAGE,
	.options = models_options,
	.run = models_run,
};
