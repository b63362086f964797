/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where the blocks live: an image file (or block device), or memory of our own.
 *
 * A file is reached with preadv2/pwritev2, so that data moves between the page cache and client
 * memory in one copy, and an error of the medium is an errno, never a signal. It is locked for as
 * long as it is open (open file description lock: it goes with the descriptor), so that two
 * machines cannot write one image.
 *
 * Memory is anonymous and sparse: pages come with the first write and go with deallocation.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "device/nvme/priv.h"

/* ------------------------------------------------------------------ file */

struct disk_file {
	struct nvmed_disk disk;
	int fd;
	/* The file system does not know RWF_NOWAIT; [1] for writes, which many lack. */
	_Atomic bool no_nowait[2];
	_Atomic bool no_zero_range, no_punch;
};

static struct disk_file *to_file(struct nvmed_disk *d)
{
	return container_of(d, struct disk_file, disk);
}

static void iov_advance(struct iovec **iov, unsigned *n, size_t done)
{
	while (*n && done >= (*iov)->iov_len) {
		done -= (*iov)->iov_len;
		(*iov)++;
		(*n)--;
	}
	if (*n) {
		(*iov)->iov_base = (char *)(*iov)->iov_base + done;
		(*iov)->iov_len -= done;
	}
}

static int file_rw(struct disk_file *f, struct iovec *iov, unsigned n, uint64_t offset, bool write,
		   int flags)
{
	while (n) {
		unsigned now = MIN(n, IOV_MAX);
		ssize_t got;

		if ((flags & RWF_NOWAIT) && f->no_nowait[write])
			flags &= ~RWF_NOWAIT;
		got = write ? pwritev2(f->fd, iov, now, offset, flags)
			    : preadv2(f->fd, iov, now, offset, flags);
		if (got < 0 && errno == EOPNOTSUPP && (flags & RWF_NOWAIT)) {
			f->no_nowait[write] = true;
			continue;
		}
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		/* A short count without waiting means that the rest would have to wait. */
		if (got == 0)
			return flags & RWF_NOWAIT ? -EAGAIN : -ENODATA;
		offset += got;
		iov_advance(&iov, &n, got);
	}
	return 0;
}

static int file_readv(struct nvmed_disk *d, struct iovec *iov, unsigned n, uint64_t offset,
		      bool nowait)
{
	return file_rw(to_file(d), iov, n, offset, false, nowait ? RWF_NOWAIT : 0);
}

static int file_writev(struct nvmed_disk *d, struct iovec *iov, unsigned n, uint64_t offset,
		       bool nowait, bool durable)
{
	return file_rw(to_file(d), iov, n, offset, true,
		       (nowait ? RWF_NOWAIT : 0) | (durable ? RWF_DSYNC : 0));
}

static int file_sync(struct nvmed_disk *d)
{
	return fdatasync(to_file(d)->fd) ? -errno : 0;
}

static int file_fallocate(struct disk_file *f, int mode, uint64_t offset, uint64_t size)
{
	int ret;

	do
		ret = fallocate(f->fd, mode | FALLOC_FL_KEEP_SIZE, offset, size) ? -errno : 0;
	while (ret == -EINTR);
	return ret;
}

static int file_write_zeros(struct disk_file *f, uint64_t offset, uint64_t size)
{
	static const uint8_t zeros[65536];

	while (size) {
		size_t now = MIN(size, sizeof(zeros));
		int ret = fd_pwrite_all(f->fd, zeros, now, offset);

		if (ret)
			return ret;
		offset += now;
		size -= now;
	}
	return 0;
}

/* 0 if done or -EOPNOTSUPP; also if this range is not for it, see below. */
static int file_try(struct disk_file *f, int mode, uint64_t offset, uint64_t size,
		    _Atomic bool *never)
{
	int ret = *never ? -EOPNOTSUPP : file_fallocate(f, mode, offset, size);

	if (ret == -EOPNOTSUPP)
		*never = true;
	/* A block device takes only whole blocks of its own, which may be larger than ours. */
	return ret == -EINVAL ? -EOPNOTSUPP : ret;
}

static int file_discard(struct disk_file *f, uint64_t offset, uint64_t size)
{
	uint64_t first = ALIGN_UP(offset, UVF_PAGE_SIZE);
	uint64_t end = (offset + size) & ~(uint64_t)(UVF_PAGE_SIZE - 1);
	int ret = file_try(f, FALLOC_FL_PUNCH_HOLE, offset, size, &f->no_punch);

	if (ret == -EOPNOTSUPP && first < end)
		ret = file_try(f, FALLOC_FL_PUNCH_HOLE, first, end - first, &f->no_punch);
	return ret == -EOPNOTSUPP ? 0 : ret;
}

static int file_zero(struct nvmed_disk *d, uint64_t offset, uint64_t size, enum nvmed_zero how)
{
	struct disk_file *f = to_file(d);
	int ret = -EOPNOTSUPP;

	if (how == NVMED_DISCARD)
		return file_discard(f, offset, size);
	if (how == NVMED_ZERO)
		ret = file_try(f, FALLOC_FL_ZERO_RANGE, offset, size, &f->no_zero_range);
	if (ret == -EOPNOTSUPP)
		ret = file_try(f, FALLOC_FL_PUNCH_HOLE, offset, size, &f->no_punch);
	return ret == -EOPNOTSUPP ? file_write_zeros(f, offset, size) : ret;
}

static void file_free(struct nvmed_disk *d)
{
	struct disk_file *f = to_file(d);

	close(f->fd);
	free(f);
}

static const struct nvmed_disk_ops file_ops = {
	.readv = file_readv,
	.writev = file_writev,
	.sync = file_sync,
	.zero = file_zero,
	.free = file_free,
};

static int file_size(int fd, const char *path, uint64_t *size, struct pcif_reply_error *err)
{
	struct stat st;

	if (fstat(fd, &st))
		return pcif_error(err, -errno, "cannot stat \"%s\": %s", path, strerror(errno));
	if (S_ISREG(st.st_mode)) {
		*size = st.st_size;
		return 0;
	}
	if (S_ISBLK(st.st_mode) && !ioctl(fd, BLKGETSIZE64, size))
		return 0;
	return pcif_error(err, -EINVAL,
			  "disk \"%s\" is neither a regular file nor a block device: give a raw "
			  "image (truncate -s 1G FILE makes an empty one)",
			  path);
}

static int file_lock(int fd, const char *path, bool readonly, struct pcif_reply_error *err)
{
	struct flock lock = { .l_type = readonly ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET };

	if (!fcntl(fd, F_OFD_SETLK, &lock))
		return 0;
	if (errno == EAGAIN || errno == EACCES)
		return pcif_error(err, -EBUSY,
				  "disk \"%s\" is in use (locked by another machine or program): "
				  "stop that one, or give each its own copy",
				  path);
	/* Some network file systems have no locks: go on without. */
	log_warn("nvme: cannot lock \"%s\": %s; make sure that nobody else writes it", path,
		 strerror(errno));
	return 0;
}

int nvmed_disk_open_file(const char *path, unsigned block, bool readonly, struct nvmed_disk **disk,
			 struct pcif_reply_error *err)
{
	AUTO_CLOSE int fd = open(path, (readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK);
	struct disk_file *f;
	struct stat st;
	uint64_t size;
	int ret;

	if (fd < 0 && (errno == EACCES || errno == EROFS || errno == EPERM) && !readonly)
		return pcif_error(
			err, -errno,
			"disk \"%s\" cannot be opened for writing: %s; change its permissions "
			"or give readonly=on",
			path, strerror(errno));
	if (fd < 0)
		return pcif_error(err, -errno, "disk \"%s\" cannot be opened: %s", path,
				  strerror(errno));
	ret = file_size(fd, path, &size, err);
	if (!ret)
		ret = file_lock(fd, path, readonly, err);
	if (ret)
		return ret;
	if (size < block)
		return pcif_error(err, -EINVAL,
				  "disk \"%s\" has %llu bytes, less than one block of %u: enlarge "
				  "it (truncate -s 1G FILE)",
				  path, (unsigned long long)size, block);
	f = calloc(1, sizeof(*f));
	if (!f)
		return pcif_error(err, -ENOMEM, "out of memory");
	if (fstat(fd, &st) == 0)
		f->disk.id = (uint64_t)st.st_dev << 32 ^ st.st_ino;
	f->disk.ops = &file_ops;
	f->disk.size = size / block * block;
	f->disk.readonly = readonly;
	f->disk.slow = true;
	f->fd = fd_steal(&fd);
	*disk = &f->disk;
	return 0;
}

/* ------------------------------------------------------------------ memory */

static int memory_rw(struct nvmed_disk *d, const struct iovec *iov, unsigned n, uint64_t offset,
		     bool write)
{
	uint8_t *at = d->memory + offset;

	for (unsigned i = 0; i < n; at += iov[i++].iov_len) {
		int ret = write ? guard_copy(at, iov[i].iov_base, iov[i].iov_len)
				: guard_copy(iov[i].iov_base, at, iov[i].iov_len);
		if (ret)
			return ret;
	}
	return 0;
}

static int memory_readv(struct nvmed_disk *d, struct iovec *iov, unsigned n, uint64_t offset,
			bool nowait)
{
	return memory_rw(d, iov, n, offset, false);
}

static int memory_writev(struct nvmed_disk *d, struct iovec *iov, unsigned n, uint64_t offset,
			 bool nowait, bool durable)
{
	return memory_rw(d, iov, n, offset, true);
}

static int memory_sync(struct nvmed_disk *d)
{
	return 0;
}

static int memory_zero(struct nvmed_disk *d, uint64_t offset, uint64_t size, enum nvmed_zero how)
{
	uint64_t first = ALIGN_UP(offset, UVF_PAGE_SIZE);
	uint64_t end = (offset + size) & ~(uint64_t)(UVF_PAGE_SIZE - 1);

	/* Whole pages go back to the system, the edges are cleared. */
	if (first >= end || madvise(d->memory + first, end - first, MADV_DONTNEED)) {
		memset(d->memory + offset, 0, size);
		return 0;
	}
	memset(d->memory + offset, 0, first - offset);
	memset(d->memory + end, 0, offset + size - end);
	return 0;
}

static void memory_free(struct nvmed_disk *d)
{
	munmap(d->memory, d->size);
	free(d);
}

static const struct nvmed_disk_ops memory_ops = {
	.readv = memory_readv,
	.writev = memory_writev,
	.sync = memory_sync,
	.zero = memory_zero,
	.free = memory_free,
};

/* "512M" and the like. */
int nvmed_size_parse(const char *text, uint64_t *size)
{
	static const char suffixes[] = "KMGT";
	unsigned long long v;
	unsigned shift = 0;
	char *end;

	if (*text < '0' || *text > '9')
		return -EINVAL;
	errno = 0;
	v = strtoull(text, &end, 10);
	if (errno)
		return -EINVAL;
	if (*end) {
		const char *s = strchr(suffixes, *end & ~0x20);

		if (!s || end[1])
			return -EINVAL;
		shift = 10 * (s - suffixes + 1);
	}
	if (v > UINT64_MAX >> shift)
		return -EINVAL;
	*size = (uint64_t)v << shift;
	return 0;
}

int nvmed_disk_open_memory(const char *key, const char *text, unsigned block,
			   struct nvmed_disk **disk, struct pcif_reply_error *err)
{
	struct nvmed_disk *d;
	uint64_t size;
	void *memory;

	if (nvmed_size_parse(text, &size) || size < block || size > GIB(65536))
		return pcif_error(err, -EINVAL,
				  "%s=%s is not a size: give bytes, or a number with K, M, G or T, "
				  "for example %s=1G",
				  key, text, key);
	size = size / block * block;
	memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (memory == MAP_FAILED)
		return pcif_error(err, -ENOMEM, "cannot reserve %s of memory: %s; choose less",
				  text, strerror(errno));
	d = calloc(1, sizeof(*d));
	if (!d) {
		munmap(memory, size);
		return pcif_error(err, -ENOMEM, "out of memory");
	}
	d->ops = &memory_ops;
	d->size = size;
	d->memory = memory;
	*disk = d;
	return 0;
}

void nvmed_disk_free(struct nvmed_disk *disk)
{
	if (disk)
		disk->ops->free(disk);
}
