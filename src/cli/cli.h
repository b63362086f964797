/* SPDX-License-Identifier: BSD-3-Clause */
/* cli: the `uvfio` command, for who has a main(). */
#ifndef UVFIO_CLI_H
#define UVFIO_CLI_H

/* All of it; returns the exit status. */
int cli_main(int argc, char **argv);

#endif
