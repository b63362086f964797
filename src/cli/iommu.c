/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `uvfio iommu BDF`: what a device may reach: the mappings of the address space that its group is
 * attached to. The answer comes in pages, each right in itself; while a client maps and unmaps,
 * the whole is no snapshot.
 */
#include <inttypes.h>

#include "cli/priv.h"

static int ask_page(const struct cli_command *self, struct client *c, const char *bdf,
		    const char *from, json_t **reply)
{
	return client_ask(self, c,
			  json_pack("{s:s,s:s,s:s}", "op", "iommu", "bdf", bdf, "from", from),
			  reply);
}

static void print_mappings(const json_t *mappings)
{
	json_t *m;
	size_t i;

	json_array_foreach(mappings, i, m)
		printf("%18s  %18s  %18s  %-6s  %s\n", reply_string(m, "first"),
		       reply_string(m, "last"), reply_string(m, "vaddr"), reply_string(m, "access"),
		       reply_bool(m, "direct") ? "direct" : "copied");
}

static void print_head(const json_t *reply)
{
	printf("%s: group %" PRIu64 ", ", reply_string(reply, "bdf"), reply_number(reply, "group"));
	if (!reply_bool(reply, "attached")) {
		printf("not attached to an address space: every DMA faults\n");
		return;
	}
	printf("%" PRIu64 " mappings, %" PRIu64 " bytes, %" PRIu64 " of them direct\n",
	       reply_number(reply, "count"), reply_number(reply, "bytes"),
	       reply_number(reply, "direct_bytes"));
	if (reply_number(reply, "count"))
		printf("%18s  %18s  %18s  %-6s  %s\n", "FIRST", "LAST", "CLIENT-ADDRESS", "ACCESS",
		       "WAY");
}

static int show(const struct cli_command *self, struct client *c, const char *bdf, bool json)
{
	json_t *reply, *page, *next;
	int status;

	status = ask_page(self, c, bdf, "0", &reply);
	if (status != CLI_GO_ON)
		return status;
	if (!json) {
		print_head(reply);
		print_mappings(json_object_get(reply, "mappings"));
	}
	next = json_incref(json_object_get(reply, "next"));
	while (next) {
		char from[24];

		snprintf(from, sizeof(from), "%s", json_string_value(next));
		json_decref(next);
		status = ask_page(self, c, bdf, from, &page);
		if (status != CLI_GO_ON) {
			json_decref(reply);
			return status;
		}
		if (json)
			json_array_extend(json_object_get(reply, "mappings"),
					  json_object_get(page, "mappings"));
		else
			print_mappings(json_object_get(page, "mappings"));
		next = json_incref(json_object_get(page, "next"));
		json_decref(page);
	}
	if (json) {
		json_object_del(reply, "ok");
		json_object_del(reply, "next");
		reply_print(reply, false);
	}
	json_decref(reply);
	return CLI_OK;
}

static int iommu_run(const struct cli_command *self, int argc, char **argv)
{
	struct client_list list = { 0 };
	struct watch_options w = { 0 };
	struct pci_bdf bdf;
	int first, status;

	status = cli_parse(self, argc, argv, watch_option, &w, &first);
	if (status == CLI_GO_ON)
		status = cli_operands(self, argc, argv, first, 1, 1);
	if (status == CLI_GO_ON)
		status = cli_bdf(self, argv[first], &bdf);
	if (status == CLI_GO_ON)
		status = client_find_one(self, &w, &list);
	if (status == CLI_GO_ON)
		status = show(self, &list.clients[0], argv[first], w.json);
	client_list_free(&list);
	return status;
}

static const struct cli_option iommu_options[] = {
	WATCH_OPTIONS,
	{ NULL },
};

const struct cli_command cli_iommu = {
	.name = "iommu",
	.summary = "Show what a device can reach: the mappings of its address space.",
	.operands = "BDF",
	.usage_status = CLI_USAGE,
	.options = iommu_options,
	.run = iommu_run,
};
