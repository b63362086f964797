/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `uvfio bind BDF [DRIVER]` and `uvfio unbind BDF`: give a device, with its whole isolation group,
 * to vfio-pci or another driver; give it back to the host.
 */
#include "cli/priv.h"

static void print_state(const json_t *reply, bool json)
{
	json_t *device, *copy;
	size_t i;

	if (json) {
		copy = json_copy((json_t *)(uintptr_t)reply);
		json_object_del(copy, "ok");
		reply_print(copy, false);
		json_decref(copy);
		return;
	}
	json_array_foreach(json_object_get(reply, "devices"), i, device) printf(
		"%s: group %u, driver %s\n", reply_string(device, "bdf"),
		(unsigned)reply_number(reply, "group"),
		json_is_string(json_object_get(device, "driver")) ? reply_string(device, "driver")
								  : "none");
}

static int change(const struct cli_command *self, int argc, char **argv, bool bind)
{
	struct client_list list = { 0 };
	struct watch_options w = { 0 };
	json_t *request, *reply;
	struct pci_bdf bdf;
	int first, status;

	status = cli_parse(self, argc, argv, watch_option, &w, &first);
	if (status == CLI_GO_ON)
		status = cli_operands(self, argc, argv, first, 1, bind ? 2 : 1);
	if (status == CLI_GO_ON)
		status = cli_bdf(self, argv[first], &bdf);
	if (status == CLI_GO_ON)
		status = client_find_one(self, &w, &list);
	if (status == CLI_GO_ON) {
		request = json_pack("{s:s,s:s}", "op", self->name, "bdf", argv[first]);
		if (first + 1 < argc)
			json_object_set_new(request, "driver", json_string(argv[first + 1]));
		status = client_ask_long(self, &list.clients[0], request, &reply);
	}
	if (status == CLI_GO_ON) {
		print_state(reply, w.json);
		json_decref(reply);
		status = CLI_OK;
	}
	client_list_free(&list);
	return status;
}

static int bind_run(const struct cli_command *self, int argc, char **argv)
{
	return change(self, argc, argv, true);
}

static int unbind_run(const struct cli_command *self, int argc, char **argv)
{
	return change(self, argc, argv, false);
}

static const struct cli_option bind_options[] = {
	WATCH_OPTIONS,
	{ NULL },
};

static const char *const bind_paragraphs[] = {
	"DRIVER is vfio-pci unless given. All functions of the isolation group go with BDF, "
	"bridges "
	"apart, or none: where one refuses, the others return to the driver they had.",
	"A device that a client has open is asked back, and waited for; Ctrl-C gives up, and "
	"nothing "
	"has changed.",
	NULL,
};

static const char *const unbind_paragraphs[] = {
	"The devices of BDF's isolation group return to their host drivers: what bind wrote to "
	"driver_override is cleared.",
	"A device that a client has open is asked back, and waited for; Ctrl-C gives up, and "
	"nothing "
	"has changed.",
	NULL,
};

const struct cli_command cli_bind = {
	.name = "bind",
	.summary = "Give a device and its isolation group to vfio-pci.",
	.operands = "BDF [DRIVER]",
	.usage_status = CLI_USAGE,
	.options = bind_options,
	.paragraphs = bind_paragraphs,
	.run = bind_run,
};

const struct cli_command cli_unbind = {
	.name = "unbind",
	.summary = "Give a device and its isolation group back to the host.",
	.operands = "BDF",
	.usage_status = CLI_USAGE,
	.options = bind_options,
	.paragraphs = unbind_paragraphs,
	.run = unbind_run,
};
