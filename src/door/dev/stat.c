/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Character devices, for those who look: our files are regular ones, but what a command asks of an
 * open /dev/vfio/devices/vfioX by fstat can be answered as the kernel's VFIO would have it be. QEMU
 * asks, to see that what it opened is what /sys named.
 *
 * The filter knows calls, not files, so that each fstat of the command comes here, and goes on if
 * it is about something else: hence this is there only for commands that were started so. The file
 * is looked at through the caller's descriptors, of which nothing is asked but what the kernel
 * knows by itself.
 *
 * Source: Linux fs/stat.c vfs_statx(), cp_new_stat(), cp_statx().
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#include "door/dev/priv.h"

#if defined(__x86_64__) && defined(SYS_newfstatat)

struct question {
	int fd;
	uint64_t path; /* 0: none */
	uint64_t answer;
	bool extended;
};

static bool decode(const struct seccomp_data *s, struct question *q)
{
	if (s->arch != AUDIT_ARCH_X86_64)
		return false;
	*q = (struct question){ .fd = (int)s->args[0] };
	switch (s->nr) {
	case SYS_fstat:
		q->answer = s->args[1];
		return true;
	case SYS_newfstatat:
		q->path = s->args[1];
		q->answer = s->args[2];
		return true;
	case SYS_statx:
		q->path = s->args[1];
		q->answer = s->args[4];
		q->extended = true;
		return true;
	default:
		return false;
	}
}

/* The X of the device whose own file that is. */
static bool find_index(struct door_dev *d, const struct statx *st, unsigned *index)
{
	struct vfio_cdev cdev;

	if (st->stx_dev_major != d->dev_major || st->stx_dev_minor != d->dev_minor ||
	    NODE_CLASS(st->stx_ino) != NODE_CDEV)
		return false;
	for (unsigned from = 0; vfio_cdev_next(d->vfio, from, &cdev); from = cdev.index + 1) {
		if (cdev.id != CDEV_OF_NODE(st->stx_ino))
			continue;
		*index = cdev.index;
		return true;
	}
	return false;
}

static struct timespec time_of(const struct statx_timestamp *t)
{
	return (struct timespec){ .tv_sec = t->tv_sec, .tv_nsec = t->tv_nsec };
}

static struct stat plain(const struct statx *st)
{
	return (struct stat){
		.st_dev = makedev(st->stx_dev_major, st->stx_dev_minor),
		.st_ino = st->stx_ino,
		.st_nlink = st->stx_nlink,
		.st_mode = st->stx_mode,
		.st_uid = st->stx_uid,
		.st_gid = st->stx_gid,
		.st_rdev = makedev(st->stx_rdev_major, st->stx_rdev_minor),
		.st_blksize = st->stx_blksize,
		.st_atim = time_of(&st->stx_atime),
		.st_mtim = time_of(&st->stx_mtime),
		.st_ctim = time_of(&st->stx_ctime),
	};
}

bool stat_is(const struct seccomp_data *s)
{
	struct question q;

	return decode(s, &q);
}

/* As trap_serve(). */
int64_t stat_serve(struct notify_worker *w, const struct seccomp_notif *n, bool *go_on)
{
	struct question q;
	struct statx st;
	struct stat old;
	unsigned index;
	char first = 0;

	*go_on = true;
	if (!decode(&n->data, &q) || q.fd < 0 || trap_look(w, n, q.fd, &st) ||
	    !find_index(w->door, &st, &index))
		return 0;
	if (q.path && client_read((pid_t)n->pid, q.path, &first, 1))
		return 0;
	/* A name behind what is no directory: the kernel knows what to say. */
	if (first)
		return 0;
	st.stx_mode = S_IFCHR | (st.stx_mode & 07777);
	st.stx_rdev_major = VIEW_CDEV_MAJOR;
	st.stx_rdev_minor = index;
	st.stx_size = st.stx_blocks = 0;
	old = plain(&st);
	*go_on = false;
	if (!notify_alive(w->door, n->id))
		return -ESRCH;
	return q.extended ? client_write((pid_t)n->pid, q.answer, &st, sizeof(st))
			  : client_write((pid_t)n->pid, q.answer, &old, sizeof(old));
}

#else

bool stat_is(const struct seccomp_data *s)
{
	return false;
}

int64_t stat_serve(struct notify_worker *w, const struct seccomp_notif *n, bool *go_on)
{
	*go_on = true;
	return 0;
}

#endif
