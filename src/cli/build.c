/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The options that describe a machine, and the machine that they make: the same for `uvfio run` and
 * `uvfio up`.
 */
#include "cli/priv.h"

int build_option(const struct cli_command *cmd, struct build *b, const char *text, bool file)
{
	if (b->n == ARRAY_SIZE(b->specs))
		return cli_fail(cmd, cli_failed_status(cmd),
				"more than %zu devices: put them into a machine file",
				ARRAY_SIZE(b->specs));
	b->specs[b->n++] = (struct build_spec){ text, file };
	return 0;
}

void build_set_log(const struct build *b)
{
	if (b->quiet)
		log_set_level(LOG_ERROR);
	else if (b->verbose)
		log_set_level(b->verbose > 1 ? LOG_DEBUG : LOG_INFO);
}

/**
 * build_machine() - make the machine and start it.
 * Returns CLI_GO_ON, or an exit status after it has said what is wrong; *@m is to be freed in both
 * cases (NULL: nothing to free).
 */
int build_machine(const struct cli_command *cmd, const struct build *b, struct machine **m)
{
	struct machine_error err = { "" };
	int ret;

	fd_limit_raise();
	ret = machine_new(m);
	if (ret)
		return cli_fail(cmd, cli_failed_status(cmd), "cannot make a machine: %s",
				strerror(-ret));
	machine_use_host_drivers(*m, b->host_drivers);
	for (unsigned i = 0; i < b->n && !ret; i++)
		ret = b->specs[i].file ? machine_add_file(*m, b->specs[i].text, &err)
				       : machine_add_spec(*m, b->specs[i].text, &err);
	if (!ret)
		ret = machine_start(*m, &err);
	if (ret)
		return cli_fail(cmd, cli_failed_status(cmd), "%s",
				*err.text ? err.text : strerror(-ret));
	return CLI_GO_ON;
}
