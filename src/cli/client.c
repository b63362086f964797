/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The watchers' side of the control socket: finding machines, and asking them.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>

#include "cli/priv.h"

/* A reply holds at most a page of mappings, far below this. */
#define REPLY_MAX MIB(16)

/* ------------------------------------------------------------------ finding machines */

static void client_close(struct client *c)
{
	close(c->fd);
	free(c->buf);
}

static int list_add(struct client_list *list, int fd, const char *dir, const char *file)
{
	struct client *grown = realloc(list->clients, (list->n + 1) * sizeof(*grown));
	const char *slash = strrchr(file, '/');
	struct client *c;

	if (!grown) {
		close(fd);
		return -ENOMEM;
	}
	list->clients = grown;
	c = &grown[list->n++];
	memset(c, 0, sizeof(*c));
	c->fd = fd;
	snprintf(c->path, sizeof(c->path), "%s%s%s", dir, *dir ? "/" : "", file);
	/* NAME.sock: a machine without a name has a number there. */
	snprintf(c->name, sizeof(c->name), "%s", slash ? slash + 1 : file);
	if (strlen(c->name) > 5 && !strcmp(c->name + strlen(c->name) - 5, ".sock"))
		c->name[strlen(c->name) - 5] = 0;
	if (!place_name_ok(c->name))
		*c->name = 0;
	return 0;
}

/* *@used: the directory is one where machines of ours put their sockets. */
static int find_in(const char *path, struct client_list *list, bool *used)
{
	struct dirent *e;
	int fd, ret;
	DIR *dir;

	ret = place_dir_open(path, false, &fd);
	if (ret)
		return 0; /* not there, or not ours: no machine of ours in it */
	*used = true;
	dir = fdopendir(fd);
	if (!dir) {
		close(fd);
		return -ENOMEM;
	}
	while (!ret && (e = readdir(dir))) {
		size_t len = strlen(e->d_name);
		int sock, err;

		if (*e->d_name == '.' || len < 6 || strcmp(e->d_name + len - 5, ".sock"))
			continue;
		err = place_connect(fd, e->d_name, &sock);
		if (err == -ECONNREFUSED)
			place_remove_stale(fd, e->d_name);
		if (!err)
			ret = list_add(list, sock, path, e->d_name);
	}
	closedir(dir);
	return ret;
}

static int find_socket(const struct cli_command *cmd, const char *socket, struct client_list *list)
{
	int fd, ret = place_connect(AT_FDCWD, socket, &fd);

	if (!ret)
		ret = list_add(list, fd, "", socket);
	if (ret)
		return cli_fail(cmd, cli_failed_status(cmd), "%s: %s%s", socket, strerror(-ret),
				ret == -ECONNREFUSED ? " (its machine has ended)" : "");
	return CLI_GO_ON;
}

static int find_all(const struct cli_command *cmd, struct client_list *list)
{
	char dirs[PLACE_DIRS][256];
	unsigned n = place_dirs(dirs);
	bool used = false;
	int ret = 0;

	/* The first that can be used, as machines do. */
	for (unsigned i = 0; i < n && !ret && !used; i++)
		ret = find_in(dirs[i], list, &used);
	if (ret)
		return cli_fail(cmd, cli_failed_status(cmd), "%s", strerror(-ret));
	return CLI_GO_ON;
}

static void list_swap(struct client_list *list, size_t i, size_t k)
{
	struct client c = list->clients[i];

	list->clients[i] = list->clients[k];
	list->clients[k] = c;
}

/* Closes all but the first. */
static void list_cut(struct client_list *list)
{
	while (list->n > 1)
		client_close(&list->clients[--list->n]);
}

/* " a, b": those that have names. */
static void names_of(const struct client_list *list, char *text, size_t size)
{
	size_t used = 0;

	*text = 0;
	for (size_t i = 0; i < list->n && used < size; i++)
		if (*list->clients[i].name)
			used += (size_t)snprintf(text + used, size - used, "%s%s",
						 used ? ", " : " ", list->clients[i].name);
}

int client_find_named(const struct cli_command *cmd, const char *name, struct client_list *list)
{
	char names[700], passed[1024];
	size_t n = 0;
	int status;

	memset(list, 0, sizeof(*list));
	status = find_all(cmd, list);
	if (status != CLI_GO_ON)
		return status;
	names_of(list, names, sizeof(names));
	for (size_t i = 0; i < list->n; i++)
		if (name ? !strcmp(list->clients[i].name, name) : *list->clients[i].name != 0)
			list_swap(list, i, n++);
	if (n == 1) {
		list_cut(list);
		return CLI_GO_ON;
	}
	if (n)
		return cli_fail(cmd, cli_failed_status(cmd),
				"%zu machines are running: say which:%s", n, names);
	place_passed_over(passed, sizeof(passed));
	if (!name)
		return cli_fail(cmd, cli_failed_status(cmd),
				"no machine of `uvfio up` is running%s", passed);
	return cli_fail(cmd, cli_failed_status(cmd),
			"no machine '%s' is running (start it with `uvfio up`)%s%s%s", name,
			*names ? "; there is:" : "", names, passed);
}

int client_find(const struct cli_command *cmd, const struct watch_options *w,
		struct client_list *list)
{
	memset(list, 0, sizeof(*list));
	if (w->socket)
		return find_socket(cmd, w->socket, list);
	return w->name ? client_find_named(cmd, w->name, list) : find_all(cmd, list);
}

int client_none(const struct cli_command *cmd, int status)
{
	char passed[1024];

	place_passed_over(passed, sizeof(passed));
	return cli_fail(cmd, status,
			"no machine of yours is running (start one with `uvfio run` or `uvfio "
			"up`)%s",
			passed);
}

int client_find_one(const struct cli_command *cmd, const struct watch_options *w,
		    struct client_list *list)
{
	char choices[700] = "";
	size_t used = 0;
	int status;

	status = client_find(cmd, w, list);
	if (status != CLI_GO_ON || list->n == 1)
		return status;
	if (!list->n)
		return client_none(cmd, CLI_FAILED);
	for (size_t i = 0; i < list->n && used < sizeof(choices); i++)
		used += (size_t)snprintf(choices + used, sizeof(choices) - used, " %s",
					 list->clients[i].path);
	return cli_fail(cmd, CLI_FAILED,
			"%zu machines are running: choose one with --name or --socket:%s", list->n,
			choices);
}

void client_list_free(struct client_list *list)
{
	for (size_t i = 0; i < list->n; i++)
		client_close(&list->clients[i]);
	free(list->clients);
	memset(list, 0, sizeof(*list));
}

/* ------------------------------------------------------------------ asking */

int client_next(struct client *c, json_t **out)
{
	for (;;) {
		char *end = c->used ? memchr(c->buf, '\n', c->used) : NULL;
		ssize_t n;

		if (end) {
			size_t len = (size_t)(end - c->buf);
			json_t *line = json_loadb(c->buf, len, 0, NULL);

			c->used -= len + 1;
			memmove(c->buf, end + 1, c->used);
			if (!json_is_object(line)) {
				json_decref(line);
				return -EPROTO;
			}
			*out = line;
			return 0;
		}
		if (c->used == c->room) {
			size_t room = c->room ? 2 * c->room : 16384;
			char *buf = room <= REPLY_MAX ? realloc(c->buf, room) : NULL;

			if (!buf)
				return room <= REPLY_MAX ? -ENOMEM : -EPROTO;
			c->buf = buf;
			c->room = room;
		}
		n = read(c->fd, c->buf + c->used, c->room - c->used);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != ECONNRESET)
			return -errno;
		if (n <= 0)
			return -EPIPE;
		c->used += (size_t)n;
	}
}

int client_send(struct client *c, json_t *request, const int *fds, unsigned n_fds)
{
	char *text = request ? json_dumps(request, JSON_COMPACT) : NULL;
	size_t size = text ? strlen(text) : 0;
	int ret = -ENOMEM;

	json_decref(request);
	if (text) {
		text[size++] = '\n'; /* in the NUL's place */
		/* Far smaller than what a socket takes at once. */
		ret = fdpass_send(c->fd, fds, n_fds, text, size);
	}
	free(text);
	return ret;
}

/* The reply, past what the machine says that it waits for. */
static int client_reply(struct client *c, json_t **line)
{
	int ret;

	while (!(ret = client_next(c, line))) {
		const char *waiting = json_string_value(json_object_get(*line, "waiting"));

		if (!waiting)
			return 0;
		fprintf(stderr,
			"uvfio: waiting for the user of %s to give it back (Ctrl-C gives up)\n",
			waiting);
		json_decref(*line);
	}
	return ret;
}

int client_ask_long(const struct cli_command *cmd, struct client *c, json_t *request,
		    json_t **reply)
{
	client_wait(c);
	return client_ask(cmd, c, request, reply);
}

int client_exchange(struct client *c, json_t *request, const int *fds, unsigned n_fds,
		    json_t **reply)
{
	int ret = client_send(c, request, fds, n_fds);

	return ret ? ret : client_reply(c, reply);
}

int client_failed(const struct cli_command *cmd, const struct client *c, int err)
{
	const char *what = *c->name ? c->name : c->path;

	if (err == -EPIPE || err == -ECONNRESET)
		return cli_fail(cmd, cli_failed_status(cmd),
				"%s: the machine has ended, or is another user's", what);
	if (err == -EAGAIN)
		return cli_fail(cmd, cli_failed_status(cmd),
				"%s: the machine does not answer (is it stopped?)", what);
	if (err == -EPROTO)
		return cli_fail(cmd, cli_failed_status(cmd), "%s: that is not a machine of uvfio",
				what);
	return cli_fail(cmd, cli_failed_status(cmd), "%s: %s", what, strerror(-err));
}

int client_ask(const struct cli_command *cmd, struct client *c, json_t *request, json_t **reply)
{
	json_t *line;
	int ret = client_exchange(c, request, NULL, 0, &line);

	if (ret)
		return client_failed(cmd, c, ret);
	if (!reply_bool(line, "ok")) {
		ret = cli_fail(cmd, cli_failed_status(cmd), "%s", reply_string(line, "error"));
		json_decref(line);
		return ret;
	}
	*reply = line;
	return CLI_GO_ON;
}

void client_wait(struct client *c)
{
	struct timeval forever = { 0 };

	setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &forever, sizeof(forever));
}

/* ------------------------------------------------------------------ replies */

json_t *reply_text(const char *text)
{
	char clean[1024];

	snprintf(clean, sizeof(clean), "%s", text);
	for (char *p = clean; *p; p++)
		if (*p < ' ' || *p > '~')
			*p = '?';
	return json_string(clean);
}

const char *reply_string(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "-";
}

uint64_t reply_number(const json_t *object, const char *key)
{
	return (uint64_t)json_integer_value(json_object_get(object, key));
}

bool reply_bool(const json_t *object, const char *key)
{
	return json_is_true(json_object_get(object, key));
}

void reply_print(const json_t *value, bool compact)
{
	json_dumpf(value, stdout, compact ? JSON_COMPACT : JSON_INDENT(2));
	fputc('\n', stdout);
}

int watch_option(void *data, const struct cli_option *o, const char *value)
{
	struct watch_options *w = data;

	switch (o->letter) {
	case 'j':
		w->json = true;
		break;
	case 's':
		w->socket = value;
		break;
	case 'n':
		w->name = value;
		break;
	case 'a':
		w->all = true;
		break;
	case 'c':
		w->clients = true;
		break;
	case 't':
		w->tree = true;
		break;
	case 'f':
		w->follow = true;
		break;
	}
	return 0;
}
