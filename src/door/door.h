/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * door: ways in for clients. `dev` serves /dev/vfio and the PCI part of /sys over FUSE to a command
 * that it starts in a namespace of its own.
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

/* ------------------------------------------------------------------ both sides in one process */

/**
 * door_dev_start() - make the namespaces and views and start a command in them.
 * @pci, @vfio: the machine, started; must outlive the door
 * @argv: command and arguments, ends with NULL
 *
 * Call it before the process has threads of its own besides those of the device models. The command
 * runs with the caller's user and group, standard files, directory and environment.
 * Returns 0, or a negative errno with the cause in @err: no /dev/fuse, no user namespaces, no
 * seccomp, kernel too old for FUSE_DIRECT_IO_ALLOW_MMAP, inside another uvfio run, ... A command
 * that cannot be executed: -ENOENT, -EACCES or what execve gave. -EINTR: a signal (the terminal's)
 * ended the child before it was the command.
 */
int door_dev_start(struct pcim *pci, struct vfio *vfio, char *const argv[], struct door_dev **door,
		   struct door_error *err);
pid_t door_dev_pid(const struct door_dev *door); /* of the command; the caller waits for it */
/* After the command has ended: ends the threads, closes every object still open, once. */
void door_dev_free(struct door_dev *door);

/* ------------------------------------------------------------------ the launcher's side */

/* A process that becomes the command, and the socket that its machine is to adopt it by. */
struct door_launch {
	pid_t pid; /* a child; waited for by the caller once it is the command */
	int sock;
};

/*
 * door_launch() is door_dev_start() up to where a machine is needed: another process, @server, gets
 * the socket and calls door_dev_adopt(). The caller closes its own copy. door_launch_undo() ends
 * what was not adopted; it takes the machine's errno and returns -EINTR instead if a signal had
 * ended the child before.
 */
int door_launch(char *const argv[], pid_t server, struct door_launch *launch,
		struct door_error *err);
int door_launch_undo(struct door_launch *launch, int errnum, struct door_error *err);

/* ------------------------------------------------------------------ the machine's side */

#define DOOR_GIVE_UP_MAX 2

/* A door that serves nobody yet. 0, -ENOMEM, -EMFILE, -EPERM (with @err), ... Any thread. */
int door_dev_new(struct pcim *pci, struct vfio *vfio, struct door_dev **door,
		 struct door_error *err);
/**
 * door_dev_adopt() - serve a process that door_launch() made, until it is the command.
 * @sock: borrowed
 * @pid: of that process, as seen from here
 * @give_up: up to DOOR_GIVE_UP_MAX descriptors; as soon as one can be read, -ECANCELED
 *
 * Returns what door_dev_start() does; the door is to be freed then. Any thread.
 */
int door_dev_adopt(struct door_dev *door, int sock, pid_t pid, const int *give_up,
		   unsigned n_give_up, struct door_error *err);

#endif
