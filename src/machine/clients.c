/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The clients of a machine: numbers by which its journal and its watchers tell them apart. Whoever
 * serves a client says when it comes and when it has gone.
 */
#include <errno.h>

#include "machine/priv.h"

struct client {
	struct client *next;
	struct machine_client c;
};

void clients_fini(struct machine *m)
{
	while (m->clients) {
		struct client *client = m->clients;

		m->clients = client->next;
		free(client);
	}
	pthread_mutex_destroy(&m->clients_lock);
}

static void clients_tell(struct machine *m, enum machine_event_type type,
			 const struct machine_client *c)
{
	struct machine_event e = { .type = type, .client = c->number, .pid = c->pid };

	memcpy(e.command, c->command, sizeof(e.command));
	journal_add(m->journal, &e);
}

int machine_client_add(struct machine *m, pid_t pid, const char *command, unsigned *number)
{
	struct client *client = calloc(1, sizeof(*client)), **last;
	struct machine_client c = { .pid = pid, .since_ns = time_real_ns() };

	if (!client)
		return -ENOMEM;
	snprintf(c.command, sizeof(c.command), "%s", command);
	for (char *p = c.command; *p; p++)
		if (*p < ' ' || *p > '~')
			*p = '?';
	pthread_mutex_lock(&m->clients_lock);
	c.number = ++m->last_client;
	client->c = c;
	for (last = &m->clients; *last; last = &(*last)->next)
		;
	*last = client;
	pthread_mutex_unlock(&m->clients_lock);
	clients_tell(m, MACHINE_EVENT_JOIN, &c);
	*number = c.number;
	return 0;
}

void machine_client_remove(struct machine *m, unsigned number)
{
	struct client *client, **link;

	pthread_mutex_lock(&m->clients_lock);
	for (link = &m->clients; *link && (*link)->c.number != number; link = &(*link)->next)
		;
	client = *link;
	if (client)
		*link = client->next;
	pthread_mutex_unlock(&m->clients_lock);
	if (client)
		clients_tell(m, MACHINE_EVENT_LEAVE, &client->c);
	free(client);
}

unsigned machine_clients(struct machine *m, struct machine_client *out, unsigned max)
{
	const struct client *client;
	unsigned n = 0;

	pthread_mutex_lock(&m->clients_lock);
	for (client = m->clients; client; client = client->next, n++)
		if (n < max)
			out[n] = client->c;
	pthread_mutex_unlock(&m->clients_lock);
	return n;
}
