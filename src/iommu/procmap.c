/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Finding the VMAs of a client process.
 *
 * A descriptor of /proc/TID/maps stays bound to the mm that the thread had at open. Since
 * Linux 6.11 it answers PROCMAP_QUERY, one binary question in about 350 ns however many VMAs there
 * are. Older kernels only give the text, which is read from its start for each question: right, but
 * slow for a process with thousands of VMAs.
 *
 * Source: proc(5); fs/proc/task_mmu.c do_procmap_query(), show_map_vma().
 */
#include <errno.h>
#include <inttypes.h>

#include "iommu/compat.h"
#include "iommu/priv.h"

/* Whether the kernel answers the binary question. */
bool iommu_has_procmap_query(void)
{
	AUTO_CLOSE int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	struct compat_procmap_query q = {
		.size = sizeof(q),
		.query_flags = COMPAT_PROCMAP_COVERING_OR_NEXT,
	};

	return fd >= 0 && !ioctl(fd, COMPAT_PROCMAP_QUERY, &q);
}

int procmap_init(struct procmap *pm, int fd)
{
	pm->fd = fd;
	atomic_init(&pm->text, false);
	pthread_mutex_init(&pm->lock, NULL);
	return 0;
}

void procmap_fini(struct procmap *pm)
{
	close(pm->fd);
	pthread_mutex_destroy(&pm->lock);
}

static int next_by_query(struct procmap *pm, uint64_t addr, struct procmap_vma *vma)
{
	struct compat_procmap_query q = {
		.size = sizeof(q),
		.query_flags = COMPAT_PROCMAP_COVERING_OR_NEXT,
		.query_addr = addr,
	};

	if (ioctl(pm->fd, COMPAT_PROCMAP_QUERY, &q))
		return -errno;
	vma->first = q.vma_start;
	vma->last = q.vma_end - 1;
	vma->offset = q.vma_offset;
	vma->inode = q.inode;
	vma->major = q.dev_major;
	vma->minor = q.dev_minor;
	vma->readable = q.vma_flags & COMPAT_PROCMAP_READABLE;
	vma->writable = q.vma_flags & COMPAT_PROCMAP_WRITABLE;
	vma->shared = q.vma_flags & COMPAT_PROCMAP_SHARED;
	return 0;
}

/* One line, "first-end rwxs offset major:minor inode path". False if it is not one. */
static bool parse_line(const char *line, struct procmap_vma *vma)
{
	uint64_t end;
	char perm[5];

	if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %" SCNx64 " %" SCNx32 ":%" SCNx32 " %" SCNu64,
		   &vma->first, &end, perm, &vma->offset, &vma->major, &vma->minor,
		   &vma->inode) != 7 ||
	    end <= vma->first)
		return false;
	vma->last = end - 1;
	vma->readable = perm[0] == 'r';
	vma->writable = perm[1] == 'w';
	vma->shared = perm[3] == 's';
	return true;
}

static int next_by_text(struct procmap *pm, uint64_t addr, struct procmap_vma *vma)
{
	struct procmap_vma v;
	int err = -ESRCH; /* the file of an mm that is gone is empty */
	char buf[8192];
	size_t have = 0;
	off_t at = 0;

	for (;;) {
		ssize_t n = pread(pm->fd, buf + have, sizeof(buf) - 1 - have, at);
		char *line = buf, *nl;

		if (n < 0)
			return errno == EINTR ? -EIO : -errno;
		if (!n)
			return err;
		at += n;
		have += (size_t)n;
		buf[have] = 0;
		while ((nl = strchr(line, '\n'))) {
			*nl = 0;
			if (parse_line(line, &v)) {
				err = -ENOENT;
				if (v.last >= addr) {
					*vma = v;
					return 0;
				}
			}
			line = nl + 1;
		}
		/* A line is at most a path and a hundred bytes; one that is longer is cut. */
		have -= (size_t)(line - buf);
		memmove(buf, line, have);
		if (have == sizeof(buf) - 1)
			return -EIO;
	}
}

int procmap_next(struct procmap *pm, uint64_t addr, struct procmap_vma *vma)
{
	int err;

	if (!atomic_load_explicit(&pm->text, memory_order_relaxed)) {
		err = next_by_query(pm, addr, vma);
		if (err != -ENOTTY && err != -EINVAL)
			return err;
		atomic_store_explicit(&pm->text, true, memory_order_relaxed);
	}
	/* The kernel keeps the position of the text in the open file. */
	pthread_mutex_lock(&pm->lock);
	err = next_by_text(pm, addr, vma);
	pthread_mutex_unlock(&pm->lock);
	return err;
}
