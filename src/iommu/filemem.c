/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The memory that is a file: a memfd that a client gives by its descriptor. It is always reached by
 * a window (window.c); its addresses are offsets in the file.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "iommu/priv.h"

struct file_mem {
	struct iommu_mem mem;
	int fd;
	struct procmap_vma name;
	struct window_set windows;
};

static struct file_mem *file_of(struct iommu_mem *mem)
{
	return container_of(mem, struct file_mem, mem);
}

static int file_read(struct iommu_mem *mem, uint64_t vaddr, void *buf, size_t size)
{
	return fd_pread_all(file_of(mem)->fd, buf, size, vaddr) ? -EFAULT : 0;
}

static int file_write(struct iommu_mem *mem, uint64_t vaddr, const void *buf, size_t size)
{
	return fd_pwrite_all(file_of(mem)->fd, buf, size, vaddr) ? -EFAULT : 0;
}

/* Source: memfd_pin_folios(): the file does not grow by being mapped. */
static int file_locate(struct iommu_mem *mem, uint64_t vaddr, uint64_t size, unsigned perm,
		       struct iommu_place *place)
{
	struct file_mem *f = file_of(mem);
	struct stat st;
	uint64_t last;

	if (fstat(f->fd, &st) || range_last(vaddr, size, &last) || last >= (uint64_t)st.st_size)
		return -EINVAL;
	return window_get_file(&f->windows, f->fd, &f->name, vaddr, size, perm & IOMMU_WRITE, place)
		       ? -EFAULT
		       : 0;
}

static void file_free(struct iommu_mem *mem)
{
	struct file_mem *f = file_of(mem);

	window_set_fini(&f->windows);
	close(f->fd);
	free(f);
}

static const struct iommu_mem_ops file_ops = {
	.read = file_read,
	.write = file_write,
	.locate = file_locate,
	.free = file_free,
};

int iommu_mem_file(int fd, struct iommu_mem **mem)
{
	struct file_mem *f = calloc(1, sizeof(*f));
	int err;

	if (!f)
		return -ENOMEM;
	err = window_file_check(fd, &f->name);
	if (!err) {
		f->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
		if (f->fd < 0)
			err = -EMFILE;
	}
	if (err) {
		free(f);
		return err;
	}
	f->mem.ops = &file_ops;
	atomic_init(&f->mem.refs, 1);
	window_set_init(&f->windows);
	*mem = &f->mem;
	return 0;
}
