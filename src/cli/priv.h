/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * cli: the `uvfio` command. main.c finds the command in a table and makes the help texts from it;
 * one file a command. What a process does that has a machine: build.c makes it, control.c and
 * query.c answer watchers, attend.c attends to a client, and sockets.c to those that speak
 * vfio-user. command.c is about the command of `uvfio run`; client.c is the watchers' side of the
 * control socket.
 */
#ifndef UVFIO_CLI_PRIV_H
#define UVFIO_CLI_PRIV_H

#include <jansson.h>

#include "base/base.h"
#include "door/door.h"
#include "machine/machine.h"

/* ------------------------------------------------------------------ commands */

/* Exit statuses. Those of `run` leave the low numbers to the command, as env and docker do. */
#define CLI_OK 0
#define CLI_FAILED 1
#define CLI_USAGE 2
#define CLI_DOWN_IN_USE 3
#define CLI_RUN_FAILED 125
#define CLI_RUN_CANNOT_EXEC 126
#define CLI_RUN_NOT_FOUND 127

/* What cli_parse() returns when the command is to go on: not an exit status. */
#define CLI_GO_ON (-1)

struct cli_option {
	const char *name; /* "device" */
	char letter;	  /* 0: long only */
	const char *arg;  /* "SPEC"; NULL: takes no value */
	const char *help;
};

struct cli_command {
	const char *name;
	const char *summary;		  /* one line */
	const char *operands;		  /* behind the options in the usage line; "" if none */
	bool wraps;			  /* what follows the first operand is not ours to parse */
	int usage_status;		  /* CLI_USAGE or CLI_RUN_FAILED */
	const struct cli_option *options; /* ends with name NULL; --help is added to each */
	const char *const *paragraphs;	  /* of --help, ends with NULL; or NULL */
	void (*more_help)(FILE *out);	  /* or NULL */
	int (*run)(const struct cli_command *self, int argc, char **argv);
};

extern const struct cli_command cli_check, cli_up, cli_serve, cli_down, cli_run, cli_list, cli_bind,
	cli_unbind, cli_sriov, cli_iommu, cli_events, cli_models, cli_help;
extern const struct cli_command *const cli_commands[]; /* ends with NULL */

/* What a command ends with where it is not the command line that is wrong. */
static inline int cli_failed_status(const struct cli_command *cmd)
{
	return cmd->usage_status == CLI_RUN_FAILED ? CLI_RUN_FAILED : CLI_FAILED;
}

/* Prints "uvfio NAME: text" (@cmd may be NULL) to standard error and returns @status. */
int cli_fail(const struct cli_command *cmd, int status, const char *fmt, ...) PRINTF_LIKE(3, 4);

/**
 * cli_parse() - go through a command's options by its table.
 * @got: called for each option; 0, or an exit status after it has said what is wrong
 * @first: index of the first operand in @argv
 *
 * Returns CLI_GO_ON, or the exit status to end with (--help was asked for, or a usage error).
 */
int cli_parse(const struct cli_command *cmd, int argc, char **argv,
	      int (*got)(void *data, const struct cli_option *o, const char *value), void *data,
	      int *first);
/* Usage error if there are more than @max operands or fewer than @min. */
int cli_operands(const struct cli_command *cmd, int argc, char **argv, int first, int min, int max);

void cli_print_models(FILE *out);
/* The address of a device, from an operand; CLI_GO_ON or an exit status. */
int cli_bdf(const struct cli_command *cmd, const char *text, struct pci_bdf *bdf);

/* Options that all watchers have. */
struct watch_options {
	bool json, all, clients, tree, follow;
	const char *socket, *name;
};
#define WATCH_OPTIONS                                                                              \
	{ "json", 'j', NULL, "print JSON" },                                                       \
		{ "name", 'n', "NAME", "the machine that `uvfio up` gave this name" },             \
	{                                                                                          \
		"socket", 's', "PATH",                                                             \
			"control socket of the machine (default: the one that runs)"               \
	}
int watch_option(void *data, const struct cli_option *o, const char *value);

/* ------------------------------------------------------------------ making a machine */

struct build_spec {
	const char *text;
	bool file;
};

struct build {
	struct build_spec specs[256];
	unsigned n;
	int verbose;
	bool quiet;
	bool host_drivers; /* devices start with those, not with vfio-pci */
};

int build_option(const struct cli_command *cmd, struct build *b, const char *text, bool file);
void build_set_log(const struct build *b);
int build_machine(const struct cli_command *cmd, const struct build *b, struct machine **m);

/* ------------------------------------------------------------------ a client of a machine */

struct attend {
	struct machine *machine;
	struct door_dev *door;
	unsigned client; /* its number, 0: none (any more) */
};

int attend_begin(struct attend *a, struct machine *m, const struct door_peer *peer,
		 const char *command, struct door_error *err);
void attend_end(struct attend *a);
const char *attend_command_name(const char *argv0);

struct sockets;
int sockets_new(struct machine *m, const char *dir, bool stays, struct sockets **sockets,
		struct door_error *err);
void sockets_free(struct sockets *s); /* NULL is fine */
/* Those there are: "BDF PATH" in lines, [{"bdf":..., "path":...}]. */
void sockets_print(const struct sockets *s);
json_t *sockets_json(const struct sockets *s);

/* ------------------------------------------------------------------ the command of run */

struct command {
	char **argv;
	struct loop *loop;
	pid_t pid; /* 0: it does not run (any more) */
	int pidfd;
	uint64_t first_term_ns; /* 0: none yet */
	bool char_devices;	/* see door_launch() */
};

int command_init(struct command *c, char **argv);
int explain_run(bool json); /* `uvfio run --explain`: an exit status */
int command_launch(struct command *c, pid_t server, struct door_launch *launch);
int command_started(struct command *c, pid_t pid);
int command_not_started(struct command *c, int err, const char *text);
int command_wait(struct command *c);
void command_signal(struct command *c, int sig);
void command_kill(struct command *c);
void command_fini(struct command *c); /* a zeroed one with pidfd -1 is fine */

/* ------------------------------------------------------------------ where control sockets are */

#define PLACE_DIRS 3
#define PLACE_NAME_MAX 63

/*
 * Directories in which control sockets may be, best first, as paths; the number of them.
 * place_dir_open() gives a descriptor if the directory is there and ours alone: -ENOENT, -EPERM.
 */
unsigned place_dirs(char dirs[PLACE_DIRS][256]);
int place_dir_open(const char *path, bool create, int *fd);
/* Which of them are there and do not count, and why, each with "; passed over: " in front. */
void place_passed_over(char *text, size_t size);
/* Connects to @name in the directory @dir_fd (AT_FDCWD: a path). 0, -ECONNREFUSED, ... */
int place_connect(int dir_fd, const char *name, int *fd);
pid_t place_peer(int fd); /* the process that listens; 0: not one that we can see */
/* Removes a socket that refused a connection, if it still does. */
void place_remove_stale(int dir_fd, const char *name);
/* Letters, digits, dots, dashes and underscores, a letter among them, neither . nor - in front. */
bool place_name_ok(const char *name);

struct place { /* of a control socket */
	int dir_fd, listen_fd;
	char name[PLACE_NAME_MAX + 8];
	char path[336];
};
/*
 * A socket that listens, for a machine of this name (NULL: without one). -EEXIST: there is such a
 * machine; or another -errno. @why then says what went wrong, and nothing is left behind.
 */
int place_listen(struct place *p, const char *name, char *why, size_t why_size);
void place_leave(struct place *p); /* removes the file */

/* A run with the devices of another process's machine (join.c); the exit status. */
int join_run(const char *name, bool char_devices, char **argv);

/* ------------------------------------------------------------------ control socket, server */

struct loop;
struct control;

/**
 * control_start() - make the control socket and serve it on @loop's thread.
 * Returns 0, or -errno with nothing left behind; @why then says what went wrong.
 */
int control_start(struct loop *loop, struct machine *m, struct control **out, char *why,
		  size_t why_size);
const char *control_path(const struct control *c);
/*
 * Requests that take a connection over, called on the loop's thread. @request: borrowed; NULL if it
 * was no JSON. @fd: the connection, not blocking, borrowed: the callee duplicates it. True: @fds
 * belong to the callee from now on, and the connection goes on without the control socket.
 */
#define CONTROL_FDS 2
typedef bool (*control_take)(void *data, const json_t *request, int fd, const int *fds,
			     unsigned n_fds);
void control_set_take(struct control *c, control_take take, void *data);
/* Removes the socket file. After the loop has ended; NULL is fine. */
void control_free(struct control *c);

#define CONTROL_REQUEST_MAX 4096
#define CONTROL_CLIENTS_MAX 64

/* ------------------------------------------------------------------ clients that join */

struct host;

/* The machine and the loop outlive it; its end stops the loop, with 0. 0 or -errno. */
int host_new(struct loop *loop, struct machine *m, struct host **h);
bool host_take(void *host, const json_t *request, int fd, const int *fds, unsigned n_fds);
/* Asks clients to go; again: makes them go. On the loop's thread. */
void host_end(struct host *h);
void host_free(struct host *h); /* NULL is fine */

/* A word to the service manager, see sd_notify(3). */
void sdnotify(const char *fmt, ...) PRINTF_LIKE(1, 2);

/* ------------------------------------------------------------------ requests */

/* What a client asked to be told from now on. */
struct query_follow {
	bool on;
	uint64_t after; /* number of the last event it has */
};
/* Answers one request; always gives a reply (new reference), or NULL when memory is out. */
json_t *query_answer(struct machine *m, const char *line, size_t size, struct query_follow *follow);
/* The machine's clients, an array; new reference. */
json_t *query_clients(struct machine *m);
json_t *query_functions(struct machine *m);
/* An event as JSON, new reference; NULL when memory is out. */
json_t *query_event(const struct machine_event *e);

/* ------------------------------------------------------------------ requests that may wait */

struct job;
/*
 * The job that the request in @line asks for; @tell is called, on any thread, when it has something
 * to say. -ENOENT: the request is none of this kind; -EINVAL: no address in it; -ENOMEM, -EAGAIN.
 */
int job_start(struct machine *m, const char *line, size_t size, void (*tell)(void *data),
	      void *data, struct job **job);
/* What it has said since (an array, new reference, or NULL), the reply last: then *@done. */
json_t *job_take(struct job *job, bool *done);
void job_cancel(struct job *job);
void job_free(struct job *job); /* cancels, and waits for its thread; NULL is fine */

/* ------------------------------------------------------------------ topology */

/* {"root_buses": [...], "warnings": [...]} of what query_functions() gives; a new reference. */
json_t *tree_json(const json_t *devices);
void tree_print(const json_t *tree);

/* ------------------------------------------------------------------ control socket, clients */

struct client {
	int fd;
	char path[512];
	char name[64]; /* of the machine; "" if it has none */
	char *buf;     /* what came behind the last line */
	size_t used, room;
};

/* Machines that run and are ours, or the one that was asked for. */
struct client_list {
	struct client *clients;
	size_t n;
};
int client_find(const struct cli_command *cmd, const struct watch_options *w,
		struct client_list *list);
/* Says that there is none, and @status. */
int client_none(const struct cli_command *cmd, int status);
/* The only one; else says why not and returns an exit status. */
int client_find_one(const struct cli_command *cmd, const struct watch_options *w,
		    struct client_list *list);
/* The one of this name (NULL: the only one that has a name), or an exit status likewise. */
int client_find_named(const struct cli_command *cmd, const char *name, struct client_list *list);
void client_list_free(struct client_list *list);

/**
 * client_ask() - send @request (reference consumed), get the reply.
 * Returns CLI_GO_ON, or the exit status after it has said what is wrong.
 */
int client_ask(const struct cli_command *cmd, struct client *c, json_t *request, json_t **reply);
/* The same with descriptors, and without words: 0 and any reply, or -errno for client_failed(). */
int client_exchange(struct client *c, json_t *request, const int *fds, unsigned n_fds,
		    json_t **reply);
int client_failed(const struct cli_command *cmd, const struct client *c, int err);
/* The same as client_ask() for a request that may have to wait, which it says on standard error. */
int client_ask_long(const struct cli_command *cmd, struct client *c, json_t *request,
		    json_t **reply);
/* Only the sending of it. 0 or -errno. */
int client_send(struct client *c, json_t *request, const int *fds, unsigned n_fds);
/* From now on lines may take any time to come. */
void client_wait(struct client *c);
/* The next line, as JSON. 0; -EPIPE at the end; another -errno. */
int client_next(struct client *c, json_t **line);

/* A string that may hold anything, as JSON: what is not printable ASCII becomes '?'. */
json_t *reply_text(const char *text);
/* Members of replies, with a harmless value where one is missing or of another type. */
const char *reply_string(const json_t *object, const char *key);
uint64_t reply_number(const json_t *object, const char *key);
bool reply_bool(const json_t *object, const char *key);
/* Prints JSON and a newline. */
void reply_print(const json_t *value, bool compact);

#endif
