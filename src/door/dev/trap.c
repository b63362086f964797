/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a client does with a device file that is a memfd (memdev.c), as the command's filter tells
 * of it (filter.c): requests, reads and writes of regions, seeks, mmap.
 *
 * The filter knows numbers, not files. The file is found by the inode behind the caller's
 * descriptor; if it is none of ours, the system call goes on as if nothing had been, and likewise
 * where nothing is to be said about it (an mmap of pages that may be mapped). A client that puts
 * another file at the number meanwhile fools itself only: what we act upon is the device that we
 * found.
 *
 * Source: Linux drivers/vfio/vfio_main.c vfio_device_fops, fs/read_write.c do_loop_readv_writev().
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/vfio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "door/dev/priv.h"

#define MAX_IOV 1024u		/* UIO_MAXIOV */
#define MAX_COUNT 0x7ffff000ull /* MAX_RW_COUNT: a call moves no more */

enum trap_kind { TRAP_NONE, TRAP_IOCTL, TRAP_RW, TRAP_RWV, TRAP_SEEK, TRAP_MMAP };

struct trap {
	struct notify_worker *w;
	const struct seccomp_notif *n;
	struct memdev *m;
	enum trap_kind kind;
	bool write, compat;
	int fd;
	uint64_t addr, count; /* buffer or vector; bytes or segments */
	uint64_t offset;      /* in the file */
	uint64_t flags;
	struct notify_answer *a;
};

/* ------------------------------------------------------------------ the system call */

struct trap_call {
	int nr;
	enum trap_kind kind;
	bool write, flags;
	unsigned args;
};

static const struct trap_call calls[] = {
	{ SYS_ioctl, TRAP_IOCTL, false, false, 3 }, { SYS_pread64, TRAP_RW, false, false, 4 },
	{ SYS_pwrite64, TRAP_RW, true, false, 4 },  { SYS_preadv, TRAP_RWV, false, false, 5 },
	{ SYS_pwritev, TRAP_RWV, true, false, 5 },  { SYS_preadv2, TRAP_RWV, false, true, 6 },
	{ SYS_pwritev2, TRAP_RWV, true, true, 6 },  { SYS_lseek, TRAP_SEEK, false, false, 3 },
	{ SYS_mmap, TRAP_MMAP, false, false, 6 },
};

#ifdef __x86_64__
#define NATIVE_ARCH AUDIT_ARCH_X86_64
/* <asm/unistd_32.h>, whose names are the same. */
static const struct trap_call calls_32[] = {
	{ 54, TRAP_IOCTL, false, false, 3 }, /* ioctl */
	{ 180, TRAP_RW, false, false, 5 },   /* pread64 */
	{ 181, TRAP_RW, true, false, 5 },    /* pwrite64 */
	{ 333, TRAP_RWV, false, false, 5 },  /* preadv */
	{ 334, TRAP_RWV, true, false, 5 },   /* pwritev */
	{ 378, TRAP_RWV, false, true, 6 },   /* preadv2 */
	{ 379, TRAP_RWV, true, true, 6 },    /* pwritev2 */
	{ 140, TRAP_SEEK, false, false, 5 }, /* _llseek */
	{ 192, TRAP_MMAP, false, false, 6 }, /* mmap2 */
};
#endif

static const struct trap_call *find_call(const struct seccomp_data *s, bool *compat)
{
	const struct trap_call *table = calls;
	size_t i, n = ARRAY_SIZE(calls);

	*compat = false;
#ifdef NATIVE_ARCH
	if (s->arch != NATIVE_ARCH) {
		table = calls_32;
		n = ARRAY_SIZE(calls_32);
		*compat = true;
	}
#endif
	for (i = 0; i < n; i++)
		if (table[i].nr == s->nr)
			return &table[i];
	return NULL;
}

bool trap_is_ioctl(const struct seccomp_data *s)
{
	bool compat;
	const struct trap_call *c = find_call(s, &compat);

	return c && c->kind == TRAP_IOCTL;
}

/* How many arguments the call has; in the registers of others may be anything. */
unsigned trap_args(const struct seccomp_data *s)
{
	bool compat;
	const struct trap_call *c = find_call(s, &compat);

	return c ? c->args : 0;
}

/* Fills in what the call says; false for one that we do not know. */
static bool decode(struct trap *t)
{
	const struct seccomp_data *s = &t->n->data;
	const struct trap_call *c = find_call(s, &t->compat);
	const __u64 *a = s->args;

	if (!c)
		return false;
	t->kind = c->kind;
	t->write = c->write;
	t->fd = (int)a[0];
	t->addr = a[1];
	t->count = a[2];
	t->offset = t->compat ? (uint32_t)a[3] | a[4] << 32 : a[3];
	t->flags = c->flags ? a[5] : 0;
	if (t->kind == TRAP_MMAP) {
		t->fd = (int)a[4];
		t->count = a[1];
		t->flags = a[3];
		t->offset = t->compat ? a[5] * UVF_PAGE_SIZE : a[5];
	}
	return true;
}

/* ------------------------------------------------------------------ the file */

void trap_forget(struct notify_worker *w)
{
	unsigned i;

	for (i = 0; i < NOTIFY_PEEKS; i++)
		if (w->peeks[i].tid)
			close(w->peeks[i].dir);
	memset(w->peeks, 0, sizeof(w->peeks));
}

static void drop_peek(struct peek *p)
{
	close(p->dir);
	p->tid = 0;
}

/*
 * The directory of a thread's descriptors, opened once: it stays the thread's own, whoever has its
 * number later. -EACCES, -EPERM, -ENOENT. *@known: it was there already.
 */
static int peek_of(struct trap *t, struct peek **out, bool *known)
{
	struct notify_worker *w = t->w;
	pid_t tid = (pid_t)t->n->pid;
	struct peek *p;
	char path[40];
	int dir;
	unsigned i;

	for (i = 0; i < NOTIFY_PEEKS; i++) {
		if (w->peeks[i].tid != tid)
			continue;
		*out = &w->peeks[i];
		*known = true;
		return 0;
	}
	snprintf(path, sizeof(path), "/proc/%d/fd", (int)tid);
	dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return -errno;
	p = &w->peeks[w->next_peek++ % NOTIFY_PEEKS];
	if (p->tid)
		drop_peek(p);
	p->tid = tid;
	p->dir = dir;
	*out = p;
	*known = false;
	/* Only now is it sure that the number was not somebody else's meanwhile. */
	return notify_alive(w->door, t->n->id) ? 0 : -ENOENT;
}

/* The file behind the caller's descriptor. Nothing is asked of the file system that it is on. */
static int stat_file(struct trap *t, struct statx *st)
{
	struct peek *p = NULL;
	char name[16];
	bool known;
	int r;

	snprintf(name, sizeof(name), "%d", t->fd);
	do {
		r = peek_of(t, &p, &known);
		if (r)
			return r;
		if (!statx(p->dir, name, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, STATX_BASIC_STATS,
			   st))
			return 0;
		r = -errno;
		/* What was known may be of a thread that is gone. */
		if (known)
			drop_peek(p);
	} while (known);
	return r;
}

/* The file behind a descriptor of the caller, for others. */
int trap_look(struct notify_worker *w, const struct seccomp_notif *n, int fd, struct statx *st)
{
	struct trap t = { .w = w, .n = n, .fd = fd };

	return stat_file(&t, st);
}

/* -ENOENT: not ours; the system call may go on. */
static int find_device(struct trap *t)
{
	struct door_dev *d = t->w->door;
	struct statx st;
	int r;

	if (!memdevs_any() || t->fd < 0)
		return -ENOENT;
	r = stat_file(t, &st);
	/* It may well be one of ours, and the kernel's answer would be nonsense. */
	if (r == -EACCES || r == -EPERM)
		return -EPERM;
	if (r)
		return -ENOENT;
	t->m = memdev_find(d, st.stx_dev_major, st.stx_dev_minor, st.stx_ino);
	return t->m ? 0 : -ENOENT;
}

/* ------------------------------------------------------------------ reads and writes */

/* Where VFIO knows it: index << 40. */
static uint64_t plain_offset(uint64_t offset)
{
	return offset >> VFIO_REGION_SHIFT == MEMDEV_REGION0 >> VFIO_REGION_SHIFT
		       ? offset - MEMDEV_REGION0
		       : offset;
}

static int64_t write_piece(struct trap *t, uint64_t addr, uint64_t size, uint64_t offset)
{
	int r = client_read((pid_t)t->n->pid, addr, t->w->buffer, size);

	return r ? r : vfio_device_write(t->m->obj, t->w->buffer, size, offset);
}

/*
 * Who was interrupted may have other things in its buffer by now. What it is to find there when it
 * asks again is kept with the answer, or read anew.
 */
static int64_t keep_piece(struct trap *t, uint64_t addr, size_t size)
{
	t->a->again = t->kind != TRAP_RW || size > sizeof(t->a->data) || size < t->count;
	if (!t->a->again) {
		t->a->addr = addr;
		t->a->size = (uint32_t)size;
		memcpy(t->a->data, t->w->buffer, size);
	}
	return (int64_t)size;
}

static int64_t read_piece(struct trap *t, uint64_t addr, uint64_t size, uint64_t offset)
{
	ssize_t n = vfio_device_read(t->m->obj, t->w->buffer, size, offset);
	int r;

	if (n <= 0)
		return n;
	if (t->w->door->restarts)
		keep_piece(t, addr, (size_t)n);
	if (!notify_alive(t->w->door, t->n->id))
		return n;
	r = client_write((pid_t)t->n->pid, addr, t->w->buffer, (size_t)n);
	return r ? r : n;
}

/* One buffer of the client's. Bytes moved, or -errno. */
static int64_t move(struct trap *t, uint64_t addr, uint64_t size, uint64_t offset)
{
	uint64_t at = plain_offset(offset), done = 0;

	if ((int64_t)size < 0)
		return -EINVAL;
	size = MIN(size, MAX_COUNT);
	while (done < size) {
		uint64_t chunk = MIN(size - done, NOTIFY_BUFFER);
		int64_t n = t->write ? write_piece(t, addr + done, chunk, at + done)
				     : read_piece(t, addr + done, chunk, at + done);

		if (n < 0)
			return done && n != -EFAULT ? (int64_t)done : n;
		done += (uint64_t)n;
		if ((uint64_t)n < chunk)
			break;
	}
	return (int64_t)done;
}

/* Segment @i of the client's vector. */
static int read_segment(struct trap *t, uint64_t i, uint64_t *addr, uint64_t *size)
{
	struct {
		uint32_t base, len;
	} iov32;
	struct iovec iov;
	int r;

	if (t->compat) {
		r = client_read((pid_t)t->n->pid, t->addr + i * sizeof(iov32), &iov32,
				sizeof(iov32));
		*addr = r ? 0 : iov32.base;
		*size = r ? 0 : iov32.len;
		return r;
	}
	r = client_read((pid_t)t->n->pid, t->addr + i * sizeof(iov), &iov, sizeof(iov));
	*addr = r ? 0 : (uintptr_t)iov.iov_base;
	*size = r ? 0 : iov.iov_len;
	return r;
}

static int64_t move_vector(struct trap *t)
{
	uint64_t i, done = 0, addr, size;

	if (t->flags & ~(uint64_t)RWF_HIPRI)
		return -EOPNOTSUPP;
	if (t->count > MAX_IOV)
		return -EINVAL;
	for (i = 0; i < t->count; i++) {
		int64_t n = read_segment(t, i, &addr, &size);

		if (!n)
			n = move(t, addr, size, t->offset + done);
		if (n < 0)
			return done ? (int64_t)done : n;
		done += (uint64_t)n;
		if ((uint64_t)n < size)
			break;
	}
	return (int64_t)done;
}

/* ------------------------------------------------------------------ requests */

static int64_t request(struct trap *t)
{
	struct door_call c = {
		.door = t->w->door,
		.obj = t->m->obj,
		.tid = (pid_t)t->n->pid,
		.request = (uint32_t)t->addr,
		.arg = t->count,
		.buffer = t->w->buffer,
		.buffer_size = NOTIFY_BUFFER,
		.region0 = MEMDEV_REGION0,
		.notif = &t->n->id,
		.waits = notify_step_aside,
	};

	return call_run(&c);
}

/* ------------------------------------------------------------------ mmap */

/* Whether [@pos, @last] of a BAR has a page that may be mapped. */
static bool any_page(struct pcif *f, uint64_t index, uint64_t pos, uint64_t last)
{
	const struct pcif_bar *b;
	unsigned i;

	if (index >= PCIF_NUM_BARS)
		return false;
	b = &pcif_desc(f)->bars[index];
	for (i = 0; i < b->n_areas; i++) {
		const struct pcif_bar_area *a = &b->areas[i];
		uint64_t at = MAX(a->offset, pos & ~(uint64_t)(UVF_PAGE_SIZE - 1)), offset;
		int memfd;

		if (a->size && ranges_overlap(a->offset, a->offset + a->size - 1, pos, last) &&
		    !vfio_function_page(f, index << VFIO_REGION_SHIFT | at, &memfd, &offset))
			return true;
	}
	return false;
}

/*
 * Source: vfio_pci_core_mmap(). A mapping in which no page may be mapped is refused as there; in
 * others such pages are plain memory, which nobody else looks at.
 */
static bool may_map(struct trap *t)
{
	uint64_t pos = plain_offset(t->offset), index = pos >> VFIO_REGION_SHIFT, last;
	unsigned type = t->flags & MAP_TYPE;

	if (type != MAP_SHARED && type != MAP_SHARED_VALIDATE)
		return false;
	if (range_last(pos, t->count, &last) || last >> VFIO_REGION_SHIFT != index)
		return false;
	return any_page(t->m->func->f, index, pos - (index << VFIO_REGION_SHIFT),
			last - (index << VFIO_REGION_SHIFT));
}

/* ------------------------------------------------------------------ all of them */

static void serve_device(struct trap *t)
{
	struct notify_answer *a = t->a;

	switch (t->kind) {
	case TRAP_IOCTL:
		a->result = request(t);
		a->again = a->result == -ESRCH; /* its block could not be written any more */
		break;
	case TRAP_RW:
		a->result = move(t, t->addr, t->count, t->offset);
		break;
	case TRAP_RWV:
		a->result = move_vector(t);
		break;
	case TRAP_SEEK:
		a->result = -ESPIPE;
		break;
	default:
		a->result = -EINVAL;
		a->go_on = !t->count || may_map(t);
		break;
	}
}

/**
 * trap_serve() - on the thread that was told of the system call.
 * @a: zeroed; what the client is to get
 */
void trap_serve(struct notify_worker *w, const struct seccomp_notif *n, struct notify_answer *a)
{
	struct trap t = { .w = w, .n = n, .a = a };
	int r = decode(&t) ? find_device(&t) : -ENOENT;

	if (!r) {
		serve_device(&t);
		memdev_put(t.m);
	} else if (r == -EPERM) {
		a->result = r;
	} else {
		a->go_on = true;
	}
}
