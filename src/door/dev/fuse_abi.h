/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the FUSE, seccomp and pidfd user ABIs of Linux 6.6 and later have and the headers of Debian
 * 12 (Linux 6.1) lack.
 */
#ifndef UVFIO_DOOR_DEV_FUSE_ABI_H
#define UVFIO_DOOR_DEV_FUSE_ABI_H

#include <fcntl.h>
#include <linux/fuse.h>
#include <linux/seccomp.h>
#include <sys/ioctl.h>

/* Linux 6.6: MAP_SHARED on files opened with FOPEN_DIRECT_IO. Bits 32 to 63 travel in flags2. */
#ifndef FUSE_DIRECT_IO_ALLOW_MMAP
#define FUSE_DIRECT_IO_ALLOW_MMAP (1ull << 36)
#endif

/* Linux 6.6: the listener and the caller take turns on one core. */
#ifndef SECCOMP_IOCTL_NOTIF_SET_FLAGS
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS SECCOMP_IOW(4, __u64)
#endif
#ifndef SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP
#define SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP (1ull << 0)
#endif

/* Linux 6.9: a pidfd of a thread, with that thread's own table of descriptors. */
#ifndef PIDFD_THREAD
#define PIDFD_THREAD O_EXCL
#endif

#endif
