/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A machine and one client of it, from when it is launched until it has gone: the same for the only
 * command of `uvfio run` and for one of many that join a machine.
 */
#include <errno.h>

#include "cli/priv.h"

/**
 * serve_begin() - adopt a launched command.
 * @command: its name, for those who watch
 * Returns 0, or a negative errno with the cause in @err. Any thread; may wait for the other side.
 */
int serve_begin(struct serve *s, struct machine *m, const struct door_peer *peer,
		const char *command, struct door_error *err)
{
	int ret;

	*s = (struct serve){ .machine = m };
	err->text[0] = 0;
	ret = machine_client_add(m, peer->pid, command, &s->client);
	if (!ret)
		ret = door_dev_new(machine_pci(m), machine_vfio(m), s->client, &s->door, err);
	if (!ret)
		ret = door_dev_adopt(s->door, peer, err);
	if (ret)
		serve_end(s);
	return ret;
}

/* Everything that the client had open is closed when this returns. Twice is fine. */
void serve_end(struct serve *s)
{
	door_dev_free(s->door);
	s->door = NULL;
	if (s->client)
		machine_client_remove(s->machine, s->client);
	s->client = 0;
}

/* What a command line's program is called. */
const char *serve_command_name(const char *argv0)
{
	const char *slash = strrchr(argv0, '/');

	return slash && slash[1] ? slash + 1 : argv0;
}
