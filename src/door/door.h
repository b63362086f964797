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

#endif
