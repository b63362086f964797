/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The watchers' side of the control socket: where the sockets are, and asking them.
 *
 * Sockets lie in DIR/PID.sock, where DIR is $XDG_RUNTIME_DIR/uvfio, /run/user/UID/uvfio or
 * /tmp/uvfio-UID. A directory counts only if it is ours, a real directory, and closed to everybody
 * else: names in /tmp could be anybody's. Those that refuse connections have lost their process
 * and are removed on the way.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "cli/priv.h"

/* A machine that was stopped, with Ctrl-Z for example, must not stop its watchers. */
#define PATIENCE_S 5
/* A reply holds at most a page of mappings, far below this. */
#define REPLY_MAX MIB(16)

/* ------------------------------------------------------------------ directories */

static bool dir_is_ours(const struct stat *st)
{
	return S_ISDIR(st->st_mode) && st->st_uid == geteuid();
}

unsigned client_dirs(char dirs[CLIENT_DIRS][256])
{
	const char *xdg = getenv("XDG_RUNTIME_DIR");
	struct stat st;
	unsigned n = 0;
	char run[64];

	if (xdg && *xdg == '/' && strlen(xdg) < 240)
		snprintf(dirs[n++], 256, "%s/uvfio", xdg);
	snprintf(run, sizeof(run), "/run/user/%u", (unsigned)geteuid());
	if (!stat(run, &st) && dir_is_ours(&st)) {
		snprintf(dirs[n], 256, "%s/uvfio", run);
		if (!n || strcmp(dirs[0], dirs[n]))
			n++;
	}
	snprintf(dirs[n++], 256, "/tmp/uvfio-%u", (unsigned)geteuid());
	return n;
}

int client_dir_open(const char *path, bool create, int *out)
{
	AUTO_CLOSE int fd = -1;
	struct stat st;

	if (create && mkdir(path, 0700) && errno != EEXIST)
		return -errno;
	/* What was checked is what is used from here on: by descriptor. */
	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return errno == ELOOP || errno == ENOTDIR || errno == EACCES ? -EPERM : -errno;
	if (fstat(fd, &st))
		return -errno;
	if (!dir_is_ours(&st) || st.st_mode & 077)
		return -EPERM;
	*out = fd_steal(&fd);
	return 0;
}

int client_connect(int dir_fd, const char *name, int *out)
{
	struct timeval patience = { .tv_sec = PATIENCE_S };
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	AUTO_CLOSE int fd = -1;
	AUTO_CLOSE int file = -1;

	/* An O_PATH descriptor makes a path of any length fit into an address. */
	file = openat(dir_fd, name, O_PATH | O_CLOEXEC);
	if (file < 0)
		return -errno;
	snprintf(addr.sun_path, sizeof(addr.sun_path), "/proc/self/fd/%d", file);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) ||
	    connect(fd, (struct sockaddr *)&addr, sizeof(addr)))
		return -errno;
	*out = fd_steal(&fd);
	return 0;
}

/* ------------------------------------------------------------------ finding machines */

static int list_add(struct client_list *list, int fd, const char *dir, const char *name)
{
	struct client *grown = realloc(list->clients, (list->n + 1) * sizeof(*grown));
	struct client *c;

	if (!grown) {
		close(fd);
		return -ENOMEM;
	}
	list->clients = grown;
	c = &grown[list->n++];
	memset(c, 0, sizeof(*c));
	c->fd = fd;
	snprintf(c->path, sizeof(c->path), "%s%s%s", dir, *dir ? "/" : "", name);
	return 0;
}

/* *@used: the directory is one where machines of ours put their sockets. */
static int find_in(const char *path, struct client_list *list, bool *used)
{
	struct dirent *e;
	int fd, ret;
	DIR *dir;

	ret = client_dir_open(path, false, &fd);
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
		err = client_connect(fd, e->d_name, &sock);
		if (err == -ECONNREFUSED)
			unlinkat(fd, e->d_name, 0);
		if (!err)
			ret = list_add(list, sock, path, e->d_name);
	}
	closedir(dir);
	return ret;
}

int client_find(const struct cli_command *cmd, const char *socket, struct client_list *list)
{
	char dirs[CLIENT_DIRS][256];
	bool used = false;
	unsigned n;
	int ret = 0;

	memset(list, 0, sizeof(*list));
	if (socket) {
		int fd;

		ret = client_connect(AT_FDCWD, socket, &fd);
		if (ret)
			return cli_fail(cmd, CLI_FAILED, "%s: %s%s", socket, strerror(-ret),
					ret == -ECONNREFUSED ? " (its machine has ended)" : "");
		ret = list_add(list, fd, "", socket);
	} else {
		n = client_dirs(dirs);
		/* The first that can be used, as machines do. */
		for (unsigned i = 0; i < n && !ret && !used; i++)
			ret = find_in(dirs[i], list, &used);
	}
	if (ret)
		return cli_fail(cmd, CLI_FAILED, "%s", strerror(-ret));
	return CLI_GO_ON;
}

int client_find_one(const struct cli_command *cmd, const char *socket, struct client_list *list)
{
	char choices[700] = "";
	size_t used = 0;
	int status;

	status = client_find(cmd, socket, list);
	if (status != CLI_GO_ON || list->n == 1)
		return status;
	if (!list->n)
		return cli_fail(cmd, CLI_FAILED,
				"no machine of yours is running (start one with `uvfio run`)");
	for (size_t i = 0; i < list->n && used < sizeof(choices); i++)
		used += (size_t)snprintf(choices + used, sizeof(choices) - used, " %s",
					 list->clients[i].path);
	return cli_fail(cmd, CLI_FAILED, "%zu machines are running: choose one with --socket:%s",
			list->n, choices);
}

void client_list_free(struct client_list *list)
{
	for (size_t i = 0; i < list->n; i++) {
		close(list->clients[i].fd);
		free(list->clients[i].buf);
	}
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

static int client_send(struct client *c, json_t *request)
{
	char *text = request ? json_dumps(request, JSON_COMPACT) : NULL;
	size_t size = text ? strlen(text) : 0, sent = 0;
	int ret = text ? 0 : -ENOMEM;

	json_decref(request);
	if (text)
		text[size++] = '\n'; /* in the NUL's place */
	while (!ret && sent < size) {
		ssize_t n = send(c->fd, text + sent, size - sent, MSG_NOSIGNAL);

		if (n >= 0)
			sent += (size_t)n;
		else if (errno != EINTR)
			ret = -errno;
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

int client_ask(const struct cli_command *cmd, struct client *c, json_t *request, json_t **reply)
{
	json_t *line;
	int ret;

	ret = client_send(c, request);
	if (!ret)
		ret = client_reply(c, &line);
	if (ret == -EPIPE || ret == -ECONNRESET)
		return cli_fail(cmd, CLI_FAILED, "%s: the machine has ended, or is another user's",
				c->path);
	if (ret == -EAGAIN)
		return cli_fail(cmd, CLI_FAILED, "%s: the machine does not answer (is it stopped?)",
				c->path);
	if (ret == -EPROTO)
		return cli_fail(cmd, CLI_FAILED, "%s: that is not a machine of uvfio", c->path);
	if (ret)
		return cli_fail(cmd, CLI_FAILED, "%s: %s", c->path, strerror(-ret));
	if (!reply_bool(line, "ok")) {
		ret = cli_fail(cmd, CLI_FAILED, "%s", reply_string(line, "error"));
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
	case 'a':
		w->all = true;
		break;
	case 'f':
		w->follow = true;
		break;
	}
	return 0;
}
