/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The vfio-user sockets of a machine: each connection is a client of it, as a command that joined
 * is, by the name of the program that connected.
 */
#include <errno.h>
#include <limits.h>

#include "cli/priv.h"

struct sockets {
	struct machine *machine;
	struct door_user *door;
	char *dir;
};

static int sockets_join(void *data, pid_t pid, struct pcif *f, unsigned *client)
{
	struct sockets *s = data;
	char path[64], *name = NULL;
	size_t size = 0;
	int ret;

	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	if (pid && !file_read_all(path, 64, &name, &size) && size)
		name[size - 1] = 0;
	/* A process calls itself what it likes. */
	for (char *c = name; c && *c; c++)
		if (*c < ' ' || *c > '~')
			*c = '?';
	ret = machine_client_add(s->machine, pid, name ? name : "?", client);
	if (!ret)
		log_info("client %u: %s (pid %d) has connected to %s", *client, name ? name : "?",
			 (int)pid, pcif_name(f));
	free(name);
	return ret;
}

static void sockets_leave(void *data, unsigned client)
{
	struct sockets *s = data;

	log_info("client %u has gone", client);
	machine_client_remove(s->machine, client);
}

static const struct door_user_ops sockets_ops = { sockets_join, sockets_leave };

/* The folder's name where the process may go elsewhere. A short one is left as it is otherwise,
 * since the path of a socket has little room. */
static char *name_of(const char *dir, bool stays)
{
	char here[PATH_MAX], *name;

	if (stays || *dir == '/')
		return strdup(dir);
	if (!getcwd(here, sizeof(here)))
		return NULL;
	return asprintf(&name, "%s/%s", here, dir) < 0 ? NULL : name;
}

/**
 * sockets_new() - serves the functions of @m, which outlives that, by vfio-user.
 * @stays: the process keeps its working directory
 * Returns 0, or a negative errno with the cause in @err.
 */
int sockets_new(struct machine *m, const char *dir, bool stays, struct sockets **sockets,
		struct door_error *err)
{
	struct sockets *s = calloc(1, sizeof(*s));
	int ret;

	snprintf(err->text, sizeof(err->text), "out of memory");
	if (!s)
		return -ENOMEM;
	s->machine = m;
	s->dir = name_of(dir, stays);
	ret = s->dir ? door_user_new(machine_vfio(m), s->dir, &sockets_ops, s, &s->door, err)
		     : -ENOMEM;
	if (ret)
		sockets_free(s);
	else
		*sockets = s;
	return ret;
}

void sockets_free(struct sockets *s)
{
	if (!s)
		return;
	door_user_free(s->door);
	free(s->dir);
	free(s);
}

json_t *sockets_json(const struct sockets *s)
{
	struct bus_list list = { .n = 0 };
	json_t *array = json_array();
	struct vfio_cdev cdev;

	if (bus_list(machine_bus(s->machine), &list))
		return array;
	for (unsigned i = 0; i < list.n; i++) {
		const char *name = pcif_name(list.entry[i].f);

		if (vfio_cdev_of(machine_vfio(s->machine), list.entry[i].f, &cdev))
			json_array_append_new(array,
					      json_pack("{s:s,s:o}", "bdf", name, "path",
							json_sprintf("%s/%s.sock", s->dir, name)));
	}
	bus_list_free(&list);
	return array;
}

void sockets_print(const struct sockets *s)
{
	json_t *array = sockets_json(s), *one;
	size_t i;

	json_array_foreach(array, i, one)
		printf("%s %s\n", json_string_value(json_object_get(one, "bdf")),
		       json_string_value(json_object_get(one, "path")));
	json_decref(array);
}
