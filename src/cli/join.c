/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `uvfio run --join NAME`: a command whose devices are those of a machine of `uvfio up`.
 *
 * This process forks what becomes the command and gives the machine the socket by which it is
 * adopted (host.c has the other side). Then it waits, for the command's end and for what the
 * machine says. The connection to it lives as long as this process: where that is killed, the
 * machine ends this client; where the machine ends, the command is asked to end too.
 */
#include <errno.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "cli/priv.h"

/* Nothing is said about a machine that takes less than this. */
#define SILENCE_NS 5000000000ull
#define ANSWER_NS 1000000000ull
/* A machine that does not close what the command had open in this time goes on alone. */
#define CLOSE_PATIENCE_MS 10000

struct join {
	struct command command;
	struct client_list list;
	struct client *machine;
	struct door_launch launch;
	struct loop_source *machine_source, *launch_source, *timer;
	int launch_pidfd;
	bool started;
};

/* ------------------------------------------------------------------ before the command runs */

static void join_on_silence(void *data, uint32_t events)
{
	struct join *j = data;

	log_warn("machine '%s' does not answer yet (is it stopped?)", j->machine->name);
}

static void join_stop_launching(struct join *j)
{
	loop_source_free(j->timer);
	loop_source_free(j->launch_source);
	j->timer = j->launch_source = NULL;
	if (j->launch_pidfd >= 0)
		close(fd_steal(&j->launch_pidfd));
}

/* The launched process has not become a command, and @why; returns the exit status. */
static int join_failed(struct join *j, int ret, const char *why)
{
	struct door_error err;

	join_stop_launching(j);
	snprintf(err.text, sizeof(err.text), "machine '%s': %s", j->machine->name, why);
	ret = door_launch_undo(&j->launch, ret, &err);
	return command_not_started(&j->command, ret, err.text);
}

static void join_on_no_answer(void *data, uint32_t events)
{
	struct join *j = data;

	loop_stop(j->command.loop,
		  join_failed(j, -ECHILD, "the command ended before it was started"));
}

/*
 * It ended before it was the command: a signal of the terminal's, for example. The machine knows
 * more, and says so unless it is stopped.
 */
static void join_on_launch_end(void *data, uint32_t events)
{
	struct join *j = data;

	loop_source_free(j->launch_source);
	loop_source_free(j->timer);
	j->launch_source = j->timer = NULL;
	if (loop_timer_add(j->command.loop, ANSWER_NS, 0, join_on_no_answer, j, &j->timer))
		join_on_no_answer(j, 0);
}

/* ------------------------------------------------------------------ what the machine says */

/* Its answer to the request, which is its first line. */
static void join_on_answer(struct join *j, const json_t *line)
{
	pid_t pid = j->launch.pid;

	if (!reply_bool(line, "ok")) {
		int ret = -(int)reply_number(line, "errno");

		ret = join_failed(j, ret < 0 ? ret : -EPROTO, reply_string(line, "error"));
		loop_stop(j->command.loop, ret);
		return;
	}
	join_stop_launching(j);
	j->started = true;
	log_info("client %u of machine '%s'", (unsigned)reply_number(line, "client"),
		 j->machine->name);
	if (command_started(&j->command, pid) != CLI_GO_ON)
		loop_stop(j->command.loop, CLI_RUN_FAILED);
}

static void join_on_line(struct join *j, const json_t *line)
{
	const char *end = json_string_value(json_object_get(line, "end"));

	if (!j->started) {
		join_on_answer(j, line);
	} else if (end && !strcmp(end, "kill")) {
		command_signal(&j->command, SIGKILL);
	} else if (end) {
		log_warn("machine '%s' is about to end: the command gets SIGTERM",
			 j->machine->name);
		command_signal(&j->command, SIGTERM);
	}
}

static void join_on_machine(void *data, uint32_t events)
{
	struct join *j = data;
	json_t *line;

	do {
		int ret = client_next(j->machine, &line);

		if (!ret) {
			join_on_line(j, line);
			json_decref(line);
			continue;
		}
		loop_source_free(j->machine_source);
		j->machine_source = NULL;
		if (!j->started) {
			loop_stop(j->command.loop,
				  join_failed(j, -ECONNRESET, "the machine has ended"));
			return;
		}
		log_warn(
			"machine '%s' has ended: the command has lost its devices and gets SIGTERM",
			j->machine->name);
		command_signal(&j->command, SIGTERM);
		return;
	} while (j->machine->used);
}

/* ------------------------------------------------------------------ joining */

static int join_launch(struct join *j)
{
	struct loop *loop = j->command.loop;
	int ret;

	ret = command_launch(&j->command, place_peer(j->machine->fd), &j->launch);
	if (ret != CLI_GO_ON)
		return ret;
	j->launch_pidfd = (int)syscall(SYS_pidfd_open, j->launch.pid, 0);
	ret = j->launch_pidfd < 0 ? -errno : 0;
	if (!ret)
		ret = loop_fd_add(loop, j->launch_pidfd, EPOLLIN, join_on_launch_end, j,
				  &j->launch_source);
	if (!ret)
		ret = loop_fd_add(loop, j->machine->fd, EPOLLIN, join_on_machine, j,
				  &j->machine_source);
	if (!ret)
		ret = loop_timer_add(loop, SILENCE_NS, 0, join_on_silence, j, &j->timer);
	return ret ? join_failed(j, ret, strerror(-ret)) : CLI_GO_ON;
}

static int join_ask(struct join *j)
{
	int fds[CONTROL_FDS] = { j->launch.sock, j->launch_pidfd };
	int ret;

	client_wait(j->machine);
	ret = client_send(j->machine,
			  json_pack("{s:s,s:s,s:o}", "op", "join", "version", UVFIO_VERSION,
				    "command", reply_text(attend_command_name(j->command.argv[0]))),
			  fds, ARRAY_SIZE(fds));
	/* Whoever reads the message has the socket; nobody else may keep it open. */
	close(fd_steal(&j->launch.sock));
	return ret ? join_failed(j, ret, strerror(-ret)) : CLI_GO_ON;
}

/* The machine closes what the command had open, then the connection. */
static void join_leave(struct join *j)
{
	struct timeval patience = { .tv_sec = CLOSE_PATIENCE_MS / 1000 };
	json_t *line;
	int ret;

	if (!j->machine_source)
		return;
	shutdown(j->machine->fd, SHUT_WR);
	setsockopt(j->machine->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	while (!(ret = client_next(j->machine, &line)))
		json_decref(line);
	if (ret == -EAGAIN)
		log_warn("machine '%s' does not close what the command had open (is it stopped?)",
			 j->machine->name);
	/* The watcher's end, which sends no signal; unlike children that the caller may have had.
	 */
	while (waitpid(-1, NULL, __WCLONE | WNOHANG) > 0)
		;
}

int join_run(const char *name, bool char_devices, char **argv)
{
	struct join j = { .command = { .pidfd = -1 }, .launch_pidfd = -1 };
	int status;

	status = command_init(&j.command, argv);
	j.command.char_devices = char_devices;
	if (status == CLI_GO_ON)
		status = client_find_named(&cli_run, name, &j.list);
	if (status == CLI_GO_ON) {
		j.machine = &j.list.clients[0];
		status = join_launch(&j);
	}
	if (status == CLI_GO_ON)
		status = join_ask(&j);
	if (status == CLI_GO_ON)
		status = command_wait(&j.command);
	join_stop_launching(&j);
	command_kill(&j.command);
	if (j.machine)
		join_leave(&j);
	client_list_free(&j.list);
	command_fini(&j.command);
	return status;
}
