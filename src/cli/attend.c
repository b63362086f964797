/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A machine and one client of it, from when it is launched until it has gone: the same for the only
 * command of `uvfio run` and for one of many that join a machine.
 */
#include <errno.h>

#include "cli/priv.h"

/**
 * attend_begin() - adopt a launched command.
 * @command: its name, for those who watch
 * Returns 0, or a negative errno with the cause in @err. Any thread; may wait for the other side.
 */
int attend_begin(struct attend *a, struct machine *m, const struct door_peer *peer,
		 const char *command, struct door_error *err)
{
	int ret;

	*a = (struct attend){ .machine = m };
	err->text[0] = 0;
	ret = machine_client_add(m, peer->pid, command, &a->client);
	if (!ret)
		ret = door_dev_new(machine_pci(m), machine_vfio(m), a->client, &a->door, err);
	if (!ret)
		ret = door_dev_adopt(a->door, peer, err);
	if (ret)
		attend_end(a);
	return ret;
}

/* Everything that the client had open is closed when this returns. Twice is fine. */
void attend_end(struct attend *a)
{
	door_dev_free(a->door);
	a->door = NULL;
	if (a->client)
		machine_client_remove(a->machine, a->client);
	a->client = 0;
}

/* What a command line's program is called. */
const char *attend_command_name(const char *argv0)
{
	const char *slash = strrchr(argv0, '/');

	return slash && slash[1] ? slash + 1 : argv0;
}
