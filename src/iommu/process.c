/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The memory of a client process.
 *
 * /proc/TID/mem, opened once, stays bound to the mm that the thread had then: after exec or exit a
 * read returns 0 bytes, whatever has the pid by now. That, and not speed, is why it is used rather
 * than process_vm_readv(), which looks the pid up anew each time; it is the faster one all the same
 * (measured on a 2-core VM, ns: 16 B 860 against 1240, 64 B 850 against 1250, 4 KiB 950 against
 * 1320). Unlike copy_to_user() it also writes to private mappings that are read-only.
 *
 * Opening costs several microseconds, so the last few threads are cached. A cached entry is right
 * if (a) the thread is still the same: a watcher thread of ours is told by its pidfd when it exits,
 * and drops the entry (microseconds later; the number comes back only after all others were given
 * out, which takes a second at the very least); and (b) its mm is: a
 * thread changes its mm by exec only, and the old mm then dies, unless another process shares it. A
 * process that shares its parent's mm (vfork before exec) is therefore never cached.
 *
 * Source: proc(5), fs/proc/base.c mem_rw(); pidfd_open(2); kcmp(2).
 */
#include <errno.h>
#include <linux/kcmp.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>

#include "iommu/compat.h"
#include "iommu/priv.h"

struct process_mem {
	struct iommu_mem mem;
	int mem_fd;
	int proc_fd;	   /* directory /proc/TID of the thread that came first */
	_Atomic pid_t tid; /* of the mm, the last that called */
	struct procmap maps;
	struct window_set windows;
};

static struct process_mem *process_of(struct iommu_mem *mem)
{
	return container_of(mem, struct process_mem, mem);
}

/* ------------------------------------------------------------------ access */

static int process_read(struct iommu_mem *mem, uint64_t vaddr, void *buf, size_t size)
{
	return fd_pread_all(process_of(mem)->mem_fd, buf, size, vaddr) ? -EFAULT : 0;
}

/* A write to an mm that is gone returns 0 bytes, and so does one of 0 bytes only. */
static int process_write(struct iommu_mem *mem, uint64_t vaddr, const void *buf, size_t size)
{
	const uint8_t *p = buf;

	while (size) {
		ssize_t n = pwrite(process_of(mem)->mem_fd, p, size, (off_t)vaddr);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -EFAULT;
		p += n;
		vaddr += (uint64_t)n;
		size -= (size_t)n;
	}
	return 0;
}

static bool process_alive(struct process_mem *p)
{
	struct procmap_vma vma;

	return procmap_next(&p->maps, 0, &vma) == 0;
}

/* ------------------------------------------------------------------ where a mapping lies */

/* The same file, and the offset goes on where @a ends. */
static bool vma_continues(const struct procmap_vma *a, const struct procmap_vma *b)
{
	return b->shared && b->inode == a->inode && b->major == a->major && b->minor == a->minor &&
	       b->offset == a->offset + (b->first - a->first);
}

static int process_locate(struct iommu_mem *mem, uint64_t vaddr, uint64_t size, unsigned perm,
			  struct iommu_place *place)
{
	struct process_mem *p = process_of(mem);
	struct procmap_vma start = { 0 }, vma;
	bool direct = true;
	uint64_t last, at;

	if (range_last(vaddr, size, &last))
		return -EFAULT;
	for (at = vaddr;; at = vma.last + 1) {
		if (procmap_next(&p->maps, at, &vma) || vma.first > at)
			return -EFAULT;
		if (((perm & IOMMU_READ) && !vma.readable) ||
		    ((perm & IOMMU_WRITE) && !vma.writable))
			return -EFAULT;
		if (at == vaddr)
			start = vma;
		if (!vma.shared || !vma.inode || !vma_continues(&start, &vma))
			direct = false;
		if (vma.last >= last)
			break;
	}
	*place = (struct iommu_place){ 0 };
	if (direct)
		window_get(&p->windows, p->proc_fd, atomic_load(&p->tid), &start,
			   start.offset + (vaddr - start.first), size, perm & IOMMU_WRITE, place);
	return 0;
}

/* ------------------------------------------------------------------ making and freeing */

static void process_free(struct iommu_mem *mem)
{
	struct process_mem *p = process_of(mem);

	window_set_fini(&p->windows);
	procmap_fini(&p->maps);
	close(p->proc_fd);
	close(p->mem_fd);
	free(p);
}

static const struct iommu_mem_ops process_ops = {
	.read = process_read,
	.write = process_write,
	.locate = process_locate,
	.free = process_free,
};

/* What the caller of iommu_mem_process() is told of a failed open below /proc. */
static int open_error(void)
{
	switch (errno) {
	case EACCES:
	case EPERM:
		return -EPERM;
	case EMFILE:
	case ENFILE:
		return -EMFILE;
	case ENOMEM:
		return -ENOMEM;
	default:
		return -ESRCH;
	}
}

static int process_new(pid_t tid, struct process_mem **process)
{
	AUTO_CLOSE int proc_fd = -1, mem_fd = -1, maps_fd = -1;
	struct process_mem *p;
	char path[32];

	snprintf(path, sizeof(path), "/proc/%d", (int)tid);
	proc_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (proc_fd < 0)
		return open_error();
	mem_fd = openat(proc_fd, "mem", O_RDWR | O_CLOEXEC);
	if (mem_fd < 0)
		return open_error();
	maps_fd = openat(proc_fd, "maps", O_RDONLY | O_CLOEXEC);
	if (maps_fd < 0)
		return open_error();
	p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	p->mem.ops = &process_ops;
	atomic_init(&p->mem.refs, 1);
	atomic_init(&p->tid, tid);
	p->proc_fd = fd_steal(&proc_fd);
	p->mem_fd = fd_steal(&mem_fd);
	procmap_init(&p->maps, fd_steal(&maps_fd));
	window_set_init(&p->windows);
	*process = p;
	return 0;
}

void process_mem_use_text(struct iommu_mem *mem)
{
	atomic_store(&process_of(mem)->maps.text, true);
}

/* ------------------------------------------------------------------ the cache */

#define CACHE_SIZE 16

static struct cache_entry {
	pid_t tid; /* 0: free */
	int fd;	   /* pidfd of the thread, or (older kernels) directory /proc/TID */
	bool is_pidfd;
	uint64_t used;
	uint64_t serial;	     /* of the entry, for the watcher */
	struct process_mem *process; /* owns a reference */
} cache[CACHE_SIZE];
static uint64_t cache_clock, cache_serial;
static struct watcher {
	pthread_t thread;
	int epoll_fd, stop_fd;
} * watcher;
static pthread_mutex_t cache_lock = PTHREAD_MUTEX_INITIALIZER; /* guards the above */

static void entry_drop(struct cache_entry *c)
{
	close(c->fd);
	iommu_mem_put(&c->process->mem);
	*c = (struct cache_entry){ 0 };
}

/* ------------------------------------------------------------------ the watcher */

static void watcher_drop(uint64_t serial)
{
	pthread_mutex_lock(&cache_lock);
	for (size_t i = 0; i < CACHE_SIZE; i++) {
		if (cache[i].tid && cache[i].serial == serial)
			entry_drop(&cache[i]);
	}
	pthread_mutex_unlock(&cache_lock);
}

/* Serial 0 is the word to stop. */
static void *watcher_main(void *data)
{
	struct watcher *w = data;
	struct epoll_event ev;

	pthread_setname_np(pthread_self(), "uvfio-clients");
	for (;;) {
		int n = epoll_wait(w->epoll_fd, &ev, 1, -1);

		if (n < 0 && errno != EINTR)
			return NULL;
		if (n == 1 && !ev.data.u64)
			return NULL;
		if (n == 1)
			watcher_drop(ev.data.u64);
	}
}

static void watcher_free(struct watcher *w)
{
	base_cleanup_close(&w->epoll_fd);
	base_cleanup_close(&w->stop_fd);
	free(w);
}

/* With cache_lock. NULL if there can be none. */
static struct watcher *watcher_get(void)
{
	struct epoll_event ev = { .events = EPOLLIN };
	struct watcher *w;

	if (watcher)
		return watcher;
	w = calloc(1, sizeof(*w));
	if (!w)
		return NULL;
	w->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	w->stop_fd = eventfd(0, EFD_CLOEXEC);
	if (w->epoll_fd >= 0 && w->stop_fd >= 0 &&
	    !epoll_ctl(w->epoll_fd, EPOLL_CTL_ADD, w->stop_fd, &ev) &&
	    !thread_start(&w->thread, 0, watcher_main, w))
		watcher = w;
	else
		watcher_free(w);
	return watcher;
}

static bool watcher_add(const struct cache_entry *c)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.u64 = c->serial };
	struct watcher *w = watcher_get();

	return w && !epoll_ctl(w->epoll_fd, EPOLL_CTL_ADD, c->fd, &ev);
}

static void watcher_stop(struct watcher *w)
{
	uint64_t one = 1;

	if (!w)
		return;
	if (write(w->stop_fd, &one, sizeof(one)) == sizeof(one))
		pthread_join(w->thread, NULL);
	watcher_free(w);
}

/* ------------------------------------------------------------------ looking up */

/* Whether the thread that was cached still is. */
static bool entry_thread_alive(const struct cache_entry *c)
{
	return c->is_pidfd || !faccessat(c->fd, "stat", F_OK, 0);
}

static struct cache_entry *cache_find(pid_t tid)
{
	for (size_t i = 0; i < CACHE_SIZE; i++) {
		struct cache_entry *c = &cache[i];

		if (c->tid != tid)
			continue;
		if (entry_thread_alive(c)) {
			c->used = ++cache_clock;
			return c;
		}
		entry_drop(c);
	}
	return NULL;
}

static bool same_mm(pid_t a, pid_t b)
{
	return !syscall(SYS_kcmp, a, b, KCMP_VM, 0, 0);
}

/* Whether @p shares its mm with the parent process: it may leave it while the mm lives on. */
static bool shares_with_parent(const struct process_mem *p, pid_t tid)
{
	AUTO_CLOSE int fd = openat(p->proc_fd, "stat", O_RDONLY | O_CLOEXEC);
	char buf[512], *s;
	ssize_t n = fd < 0 ? -1 : read(fd, buf, sizeof(buf) - 1);
	int parent;

	if (n <= 0)
		return true; /* not known: do not cache */
	buf[n] = 0;
	s = strrchr(buf, ')'); /* the name may hold anything */
	if (!s || sscanf(s + 1, " %*c %d", &parent) != 1)
		return true;
	return parent > 0 && same_mm(tid, parent);
}

static void cache_add(pid_t tid, struct process_mem *p)
{
	struct cache_entry *c = &cache[0];
	bool is_pidfd = true;
	int fd;

	if (shares_with_parent(p, tid))
		return;
	fd = (int)syscall(SYS_pidfd_open, tid, COMPAT_PIDFD_THREAD);
	if (fd < 0) {
		is_pidfd = false;
		fd = fcntl(p->proc_fd, F_DUPFD_CLOEXEC, 0);
		/* Only good as a check of this thread if it was opened for it. */
		if (fd < 0 || atomic_load(&p->tid) != tid) {
			if (fd >= 0)
				close(fd);
			return;
		}
	}
	for (size_t i = 0; i < CACHE_SIZE && c->tid; i++) {
		if (!cache[i].tid || cache[i].used < c->used)
			c = &cache[i];
	}
	if (c->tid)
		entry_drop(c);
	*c = (struct cache_entry){ tid, fd, is_pidfd, ++cache_clock, ++cache_serial, p };
	iommu_mem_get(&p->mem);
	if (is_pidfd && !watcher_add(c))
		entry_drop(c);
}

/* Another thread of the same mm may be cached: then its memory is this one's as well. */
static struct process_mem *cache_find_mm(pid_t tid)
{
	for (size_t i = 0; i < CACHE_SIZE; i++) {
		struct cache_entry *c = &cache[i];

		if (c->tid && c->tid != tid && same_mm(tid, c->tid) && entry_thread_alive(c) &&
		    process_alive(c->process))
			return c->process;
	}
	return NULL;
}

/* With cache_lock. Gives a new reference. @check: make sure that the mm is alive. */
static int lookup(pid_t tid, bool check, struct process_mem **process)
{
	struct cache_entry *c = cache_find(tid);
	struct process_mem *p;
	int err;

	if (c && (!check || process_alive(c->process))) {
		atomic_store_explicit(&c->process->tid, tid, memory_order_relaxed);
		iommu_mem_get(&c->process->mem);
		*process = c->process;
		return 0;
	}
	if (c)
		entry_drop(c);
	p = cache_find_mm(tid);
	if (p) {
		iommu_mem_get(&p->mem);
	} else {
		err = process_new(tid, &p);
		if (err)
			return err;
	}
	cache_add(tid, p);
	*process = p;
	return 0;
}

int iommu_mem_process(pid_t tid, struct iommu_mem **mem)
{
	struct process_mem *p;
	int err;

	if (tid <= 0)
		return -ESRCH;
	pthread_mutex_lock(&cache_lock);
	err = lookup(tid, true, &p);
	pthread_mutex_unlock(&cache_lock);
	if (err)
		return err;
	*mem = &p->mem;
	return 0;
}

int iommu_mem_process_read(pid_t tid, uint64_t vaddr, void *buf, size_t size,
			   struct iommu_mem **mem)
{
	struct iommu_mem *found;
	struct process_mem *p;
	int err;

	if (tid <= 0)
		return -ESRCH;
	pthread_mutex_lock(&cache_lock);
	err = lookup(tid, false, &p);
	pthread_mutex_unlock(&cache_lock);
	if (err)
		return err;
	if (size && !process_read(&p->mem, vaddr, buf, size)) {
		*mem = &p->mem;
		return 0;
	}
	/* Nothing to read, a bad address, or an mm that is gone: find out which. */
	iommu_mem_put(&p->mem);
	err = iommu_mem_process(tid, &found);
	if (err)
		return err;
	if (size && process_read(found, vaddr, buf, size)) {
		iommu_mem_put(found);
		return -EFAULT;
	}
	*mem = found;
	return 0;
}

void iommu_mem_cache_drop(void)
{
	struct watcher *w;

	pthread_mutex_lock(&cache_lock);
	w = watcher;
	watcher = NULL;
	for (size_t i = 0; i < CACHE_SIZE; i++) {
		if (cache[i].tid)
			entry_drop(&cache[i]);
	}
	pthread_mutex_unlock(&cache_lock);
	watcher_stop(w);
}
