// SPDX-License-Identifier: BSD-3-Clause
/* The program `uvfio`. */
#include "cli/cli.h"

int main(int argc, char **argv)
{
	return cli_main(argc, argv);
}
