/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `uvfio sriov BDF [N]`: how many virtual functions a device has; makes N of them, or ends them.
 */
#include "cli/priv.h"

static void print_state(const json_t *reply, bool json)
{
	json_t *vf, *copy;
	size_t i;

	if (json) {
		copy = json_copy((json_t *)(uintptr_t)reply);
		json_object_del(copy, "ok");
		reply_print(copy, false);
		json_decref(copy);
		return;
	}
	printf("%s: %u of %u virtual functions\n", reply_string(reply, "bdf"),
	       (unsigned)reply_number(reply, "num_vfs"),
	       (unsigned)reply_number(reply, "total_vfs"));
	json_array_foreach(json_object_get(reply, "vfs"), i, vf)
		printf("%s: group %u, driver %s\n", reply_string(vf, "bdf"),
		       (unsigned)reply_number(vf, "group"),
		       json_is_string(json_object_get(vf, "driver")) ? reply_string(vf, "driver")
								     : "none");
}

/* -1: not a number that can be meant. */
static int count_of(const char *text)
{
	unsigned long n;
	char *end;

	if (*text < '0' || *text > '9')
		return -1;
	n = strtoul(text, &end, 10);
	return *end || n > 65535 ? -1 : (int)n;
}

static int sriov_run(const struct cli_command *self, int argc, char **argv)
{
	struct client_list list = { 0 };
	struct watch_options w = { 0 };
	json_t *request, *reply;
	int first, status, count = -1;
	struct pci_bdf bdf;

	status = cli_parse(self, argc, argv, watch_option, &w, &first);
	if (status == CLI_GO_ON)
		status = cli_operands(self, argc, argv, first, 1, 2);
	if (status == CLI_GO_ON)
		status = cli_bdf(self, argv[first], &bdf);
	if (status == CLI_GO_ON && first + 1 < argc) {
		count = count_of(argv[first + 1]);
		if (count < 0)
			status = cli_fail(self, CLI_USAGE,
					  "'%s' is not a number of virtual functions: say 0 to end "
					  "them all",
					  argv[first + 1]);
	}
	if (status == CLI_GO_ON)
		status = client_find_one(self, &w, &list);
	if (status == CLI_GO_ON) {
		request = json_pack("{s:s,s:s}", "op", self->name, "bdf", argv[first]);
		if (count >= 0)
			json_object_set_new(request, "count", json_integer(count));
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

static const struct cli_option sriov_options[] = {
	WATCH_OPTIONS,
	{ NULL },
};

static const char *const sriov_paragraphs[] = {
	"BDF is a device that can have virtual functions (SR-IOV), a PF. Without N they are shown. "
	"A "
	"PF that has some has to give them up, N = 0, before it gets another number.",
	"Each VF is a device of its own in an isolation group of its own where the ports above the "
	"PF "
	"isolate. It starts with the host's driver for it, or with vfio-pci where the PF has that.",
	"A VF that a client has open is asked back, and waited for; Ctrl-C gives up.",
	NULL,
};

const struct cli_command cli_sriov = {
	.name = "sriov",
	.summary = "Show the virtual functions of a device, make or end them.",
	.operands = "BDF [N]",
	.usage_status = CLI_USAGE,
	.options = sriov_options,
	.paragraphs = sriov_paragraphs,
	.run = sriov_run,
};
