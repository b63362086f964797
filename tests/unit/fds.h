/* SPDX-License-Identifier: BSD-3-Clause */
/* The number of descriptors that this process has open: the same before and after a test. */
#ifndef UVFIO_TESTS_FDS_H
#define UVFIO_TESTS_FDS_H

#include <dirent.h>

static inline unsigned open_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	while (dir && readdir(dir))
		n++;
	if (dir)
		closedir(dir);
	return n;
}

#endif
