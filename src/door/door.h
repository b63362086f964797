/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * door: ways in for clients. `dev` serves /dev/vfio and the PCI part of /sys over FUSE to a command
 * that it starts in a namespace of its own; `user` serves the vfio-user protocol on UNIX sockets to
 * whoever may connect to them.
 */
#ifndef UVFIO_DOOR_H
#define UVFIO_DOOR_H

#include "base/base.h"
#include "pci/pci.h"
#include "vfio/vfio.h"

struct door_dev;

struct door_error { /* names what is missing and the remedy */
	char text[768];
};

/*
 * A command is started by its launcher and served by a machine, two processes or one:
 *   launcher: door_launch() forks what becomes the command; the machine gets the socket
 *   machine: door_dev_new(), door_dev_adopt(); the command runs
 *   launcher: waits for the command, or undoes the launch where it was not adopted
 *   machine: door_dev_free()
 */

/* ------------------------------------------------------------------ the launcher's side */

struct door_launch {
	pid_t pid; /* a child of the caller, which waits for it once it is the command */
	int sock;  /* the machine adopts the child by this */
};

/**
 * door_launch() - fork a process that becomes a command as soon as a machine has adopted it.
 * @argv: command and arguments, ends with NULL; or NULL: the child ends well where it would have
 *   become the command
 * @server: the machine's process
 * @char_devices: the command's fstat() takes /dev/vfio/devices/vfioX for character devices, which
 *	makes every fstat() of it dearer
 *
 * The command runs with the caller's user and group, standard files, directory and environment.
 * What the terminal sends (SIGINT, SIGQUIT) ends the child from the beginning; what came before
 * that, the caller has seen when this returns. Returns 0, or a negative errno with the cause in
 * @err and nothing left behind.
 */
int door_launch(char *const argv[], pid_t server, bool char_devices, struct door_launch *launch,
		struct door_error *err);
/*
 * Ends a child that was not adopted, with what door_dev_adopt() returned. Returns that, or -EINTR
 * with the words in @err if a signal (the terminal's) had ended the child before.
 */
int door_launch_undo(struct door_launch *launch, int errnum, struct door_error *err);

/* ------------------------------------------------------------------ the machine's side */

/**
 * door_dev_new() - a door that serves nobody yet.
 * @pci, @vfio: the machine, started; must outlive the door
 * @client: number of the client in events, see vfio_group_set_client()
 * Returns 0, or a negative errno with the cause in @err. Any thread.
 */
int door_dev_new(struct pcim *pci, struct vfio *vfio, unsigned client, struct door_dev **door,
		 struct door_error *err);

#define DOOR_GIVE_UP_MAX 2

struct door_peer {
	int sock;   /* of door_launch(); borrowed */
	pid_t pid;  /* of its child, as this process sees it */
	bool child; /* this process's own */
	/* As soon as one of these can be read nobody waits for the command any more; -1: none. */
	int give_up[DOOR_GIVE_UP_MAX];
};

/**
 * door_dev_adopt() - make the namespaces and views of a launched process, until it is the command.
 *
 * Returns 0, or a negative errno with the cause in @err: no /dev/fuse, no user namespaces, no
 * seccomp, kernel too old for FUSE_DIRECT_IO_ALLOW_MMAP, ... A command that cannot be executed:
 * -ENOENT, -EACCES or what execve gave. -ECANCELED: given up. The door is to be freed then. Any
 * thread, but one at a time.
 */
int door_dev_adopt(struct door_dev *door, const struct door_peer *peer, struct door_error *err);
/* What a door that was adopted is made of here, for the person at the terminal. */
struct door_report {
	bool memfd;    /* device files are memfds, not FUSE files */
	bool forced;   /* because of UVFIO_DOOR in the launcher's environment */
	bool restarts; /* a signal can take back a client's call that is being answered */
	bool looking;  /* closes of device files are found by looking (no inotify) */
	bool userns;   /* the command is in a user namespace */
};
void door_dev_report(const struct door_dev *door, struct door_report *report);
/*
 * After the command has ended, or while it runs: ends the threads, closes every object still open,
 * once. NULL is fine.
 */
void door_dev_free(struct door_dev *door);

/* ------------------------------------------------------------------ vfio-user */

struct door_user;

/* What the door tells of its clients; on a thread of each client. */
struct door_user_ops {
	/* A process has connected to the socket of @f. *@client: its number in events. 0; any
	 * errno: it is sent away. */
	int (*join)(void *data, pid_t pid, struct pcif *f, unsigned *client);
	void (*leave)(void *data, unsigned client);
};

/**
 * door_user_new() - listens at @dir/BDF.sock for each function that is bound to vfio-pci, and for
 * those that will be as soon as they are.
 * @dir: made, with mode 0700, if it is not there; the sockets have mode 0600
 * @vfio: the machine's, started; must outlive the door
 * @ops, @data: borrowed until the door is freed
 *
 * A client owns a function as one of /dev/vfio does: alone, with an address space of its own, and
 * what it leaves behind is reset. Returns 0, or a negative errno with the cause in @err:
 * -EADDRINUSE (another server's), -EEXIST (a file that is none of ours), -ENAMETOOLONG, -EPERM
 * (others may put sockets there), -EACCES, -ENOMEM, ...
 */
int door_user_new(struct vfio *vfio, const char *dir, const struct door_user_ops *ops, void *data,
		  struct door_user **door, struct door_error *err);
/* Ends all connections, closes what they had open, and removes the sockets. NULL is fine. */
void door_user_free(struct door_user *door);

#endif
