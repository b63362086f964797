/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The seccomp filter of the command: which of its system calls we are told of.
 *
 * VFIO_GROUP_GET_DEVICE_FD always; fstat and its like where the command is to see character
 * devices. Where device files are memfds (memdev.c) also what a client does with those, told from
 * everything else as far as a filter can, by numbers alone:
 *  - requests that VFIO devices have; some containers have as well, under another name;
 *  - reads, writes, seeks and mmap at file offsets of 1 TiB and more, where no region but a
 *    device's lies and few files reach.
 * The rest of the decision is made where the file is known (trap.c). A system call that no rule
 * names costs next to nothing: since Linux 5.11 the kernel remembers that without running the
 * program.
 *
 * libseccomp writes the program; it is installed by hand, because the library of Debian 12 cannot
 * ask for SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/vfio.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "door/dev/priv.h"

/* ------------------------------------------------------------------ the program */

static const uint32_t device_requests[] = {
	VFIO_DEVICE_GET_INFO,
	VFIO_DEVICE_GET_REGION_INFO,
	VFIO_DEVICE_GET_IRQ_INFO,
	VFIO_DEVICE_SET_IRQS,
	VFIO_DEVICE_RESET,
	VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, /* VFIO_IOMMU_GET_INFO */
	VFIO_DEVICE_PCI_HOT_RESET,	    /* VFIO_IOMMU_MAP_DMA */
	VFIO_DEVICE_IOEVENTFD,		    /* VFIO_IOMMU_DISABLE */
	VFIO_DEVICE_FEATURE,		    /* VFIO_IOMMU_DIRTY_PAGES */
	_IO(VFIO_TYPE, VFIO_BASE + 18),	    /* VFIO_DEVICE_BIND_IOMMUFD */
};

/* The request is an unsigned int to the kernel: the register's upper half means nothing. */
static int add_request(scmp_filter_ctx ctx, uint32_t request)
{
	return seccomp_rule_add(ctx, SCMP_ACT_NOTIFY, SCMP_SYS(ioctl), 1,
				SCMP_A1(SCMP_CMP_MASKED_EQ, 0xffffffffu, request));
}

static int add_requests(scmp_filter_ctx ctx, enum device_files kind)
{
	int r = add_request(ctx, VFIO_GROUP_GET_DEVICE_FD);
	unsigned i;

	if (kind == DEVICES_MEMFD)
		for (i = 0; i < ARRAY_SIZE(device_requests) && !r; i++)
			r = add_request(ctx, device_requests[i]);
	return r;
}

/* A call whose argument @arg is at least @min; negative offsets are, too, and are let go on. */
static int add_offset(scmp_filter_ctx ctx, int call, unsigned arg, uint64_t min)
{
	return seccomp_rule_add(ctx, SCMP_ACT_NOTIFY, call, 1,
				SCMP_CMP64(arg, SCMP_CMP_GE, min, 0));
}

/* Seeking from the start; the other ways begin where such a seek went. */
static int add_seek(scmp_filter_ctx ctx, int call, unsigned arg, uint64_t min, unsigned whence)
{
	return seccomp_rule_add(ctx, SCMP_ACT_NOTIFY, call, 2, SCMP_CMP64(arg, SCMP_CMP_GE, min, 0),
				SCMP_CMP64(whence, SCMP_CMP_MASKED_EQ, 0xffffffffu, SEEK_SET));
}

static int add_offsets(scmp_filter_ctx ctx)
{
	static const int calls[] = { SCMP_SYS(pread64), SCMP_SYS(pwrite64), SCMP_SYS(preadv),
				     SCMP_SYS(pwritev), SCMP_SYS(preadv2),  SCMP_SYS(pwritev2) };
	uint64_t min = (uint64_t)1 << VFIO_REGION_SHIFT;
	unsigned i;
	int r = 0;

	for (i = 0; i < ARRAY_SIZE(calls) && !r; i++)
		r = add_offset(ctx, calls[i], 3, min);
	if (!r)
		r = add_seek(ctx, SCMP_SYS(lseek), 1, min, 2);
	if (!r)
		r = add_offset(ctx, SCMP_SYS(mmap), 5, min);
	return r;
}

/* Questions about an open file, by whatever call; see stat.c. */
static int add_stats(scmp_filter_ctx ctx)
{
	int r = seccomp_rule_add(ctx, SCMP_ACT_NOTIFY, SCMP_SYS(fstat), 0);

	if (!r)
		r = seccomp_rule_add(
			ctx, SCMP_ACT_NOTIFY, SCMP_SYS(newfstatat), 1,
			SCMP_CMP64(3, SCMP_CMP_MASKED_EQ, AT_EMPTY_PATH, AT_EMPTY_PATH));
	if (!r)
		r = seccomp_rule_add(
			ctx, SCMP_ACT_NOTIFY, SCMP_SYS(statx), 1,
			SCMP_CMP64(2, SCMP_CMP_MASKED_EQ, AT_EMPTY_PATH, AT_EMPTY_PATH));
	return r;
}

#ifdef __x86_64__
/* The same of 32-bit programs: offsets come in two halves, of mmap in pages. */
static int add_offsets_32(scmp_filter_ctx ctx)
{
	static const int calls[] = { SCMP_SYS(pread64), SCMP_SYS(pwrite64), SCMP_SYS(preadv),
				     SCMP_SYS(pwritev), SCMP_SYS(preadv2),  SCMP_SYS(pwritev2) };
	uint64_t min_high = (uint64_t)1 << (VFIO_REGION_SHIFT - 32);
	unsigned i;
	int r = 0;

	for (i = 0; i < ARRAY_SIZE(calls) && !r; i++)
		r = add_offset(ctx, calls[i], 4, min_high);
	if (!r)
		r = add_seek(ctx, SCMP_SYS(_llseek), 1, min_high, 4);
	if (!r)
		r = add_offset(ctx, SCMP_SYS(mmap2), 5,
			       ((uint64_t)1 << VFIO_REGION_SHIFT) / UVF_PAGE_SIZE);
	return r;
}

static int add_32bit(scmp_filter_ctx ctx, enum device_files kind)
{
	scmp_filter_ctx other = seccomp_init(SCMP_ACT_ALLOW);
	int r = other ? 0 : -ENOMEM;

	if (!r)
		r = seccomp_attr_set(other, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ALLOW);
	if (!r)
		r = seccomp_arch_remove(other, SCMP_ARCH_NATIVE);
	if (!r)
		r = seccomp_arch_add(other, SCMP_ARCH_X86);
	if (!r)
		r = add_requests(other, kind);
	if (!r && kind == DEVICES_MEMFD)
		r = add_offsets_32(other);
	if (!r)
		r = seccomp_merge(ctx, other); /* and frees it */
	if (r && other)
		seccomp_release(other);
	return r;
}
#else
static int add_32bit(scmp_filter_ctx ctx, enum device_files kind)
{
	return 0;
}
#endif

static int add_rules(scmp_filter_ctx ctx, enum device_files kind, bool char_devices)
{
	/* Programs of other architectures are let alone, not killed; 32-bit ones are served. */
	int r = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ALLOW);

	if (!r)
		r = add_requests(ctx, kind);
	if (!r && kind == DEVICES_MEMFD)
		r = add_offsets(ctx);
	if (!r && char_devices)
		r = add_stats(ctx);
	return r ? r : add_32bit(ctx, kind);
}

/**
 * filter_make() - the filter's program, for seccomp(2).
 * @char_devices: with what stat.c needs
 * @f: its program is malloc'ed. Returns 0, or -errno with @err.
 */
int filter_make(enum device_files kind, bool char_devices, struct filter *f, struct door_error *err)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
	AUTO_CLOSE int fd = memfd_create("uvfio-filter", MFD_CLOEXEC);
	struct stat st;
	void *p = NULL;
	int r;

	if (!ctx || fd < 0) {
		r = ctx ? -errno : -ENOMEM;
		goto out;
	}
	r = add_rules(ctx, kind, char_devices);
	if (!r)
		r = seccomp_export_bpf(ctx, fd);
	if (!r && fstat(fd, &st))
		r = -errno;
	if (!r) {
		p = malloc((size_t)st.st_size);
		r = p ? fd_pread_all(fd, p, (size_t)st.st_size, 0) : -ENOMEM;
	}
out:
	if (ctx)
		seccomp_release(ctx);
	if (r) {
		free(p);
		return explain_seccomp(err, r);
	}
	f->bpf = p;
	f->size = (size_t)st.st_size;
	return 0;
}

/* ------------------------------------------------------------------ installing it */

static long install(struct sock_fprog *prog, bool *restarts)
{
	unsigned long flags = SECCOMP_FILTER_FLAG_NEW_LISTENER;
	long fd;

	fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
		     flags | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, prog);
	*restarts = fd < 0 && errno == EINVAL; /* before Linux 5.19 */
	if (*restarts)
		fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, prog);
	return fd;
}

/**
 * filter_install() - for the calling thread and all that it will start.
 * @restarts: a signal may take a system call back that we have begun to answer
 * Returns the listener, or -errno.
 */
int filter_install(const struct filter *f, bool *restarts)
{
	struct sock_fprog prog = {
		.len = (unsigned short)(f->size / sizeof(struct sock_filter)),
		.filter = f->bpf,
	};
	long fd = install(&prog, restarts);

	/* Who may mount may filter without giving up setuid programs; if not so, do give them up.
	 */
	if (fd < 0 && errno == EACCES && !prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		fd = install(&prog, restarts);
	return fd < 0 ? -errno : (int)fd;
}
