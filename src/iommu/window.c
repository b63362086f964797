/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Windows: our own mappings of the memory that a client shares (memfd, /dev/shm, hugetlbfs).
 *
 * A VMA names its file by device and inode. If a descriptor in /proc/TID/fd leads to the same
 * inode, we open that and map the file from its start, as far as it reaches: one window serves all
 * mappings of pieces of this file, however many. A window never moves or shrinks, since
 * translations use its address without a lock; a file that has grown gets a second, larger window
 * for what is mapped from then on, and the old one goes with the last mapping in it. Sizes at least
 * double, so their number stays small.
 *
 * A window that no mapping uses any more stays for a second: a guest with an IOMMU of its own, or a
 * driver that maps each buffer for each transfer, would otherwise pay 40 microseconds for each.
 * Then it goes, because it keeps the file's pages, which the client may have given up. A thread
 * that lives while there is something to wait for does this.
 *
 * Opening a file of an arbitrary file system can hang for as long as its server likes (FUSE: the
 * client may be the server). So only tmpfs and hugetlbfs files are opened; until the type is known
 * a descriptor is only looked at with AT_STATX_DONT_SYNC, which asks no server.
 *
 * Touching a window beyond the end of the file raises SIGBUS: whoever does it uses guard_copy().
 * The opened file gives us the rights that our user has on it, which is the client's user.
 */
#include <dirent.h>
#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>

#include "iommu/compat.h"
#include "iommu/priv.h"

/* Address space that windows may take: a sparse file of any size costs its owner nothing. */
#define TIB(n) (GIB(n) << 10)
#define WINDOW_MAX TIB(8)
#define WINDOWS_MAX TIB(32)

struct window {
	struct window_set *set;
	struct window *next;	  /* in the bucket */
	struct window *idle_next; /* in idle_oldest, while refs is 0 */
	uint64_t idle_since_ns;
	uint64_t inode;
	uint32_t major, minor;
	bool write;
	uint32_t refs;
	uint8_t *base;
	uint64_t size;
};

#define IDLE_NS 1000000000ull

/* Guards all window sets, all windows' fields, and what follows. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t windows_total;
static struct window *idle_oldest;
static bool reaper_runs;

void window_set_init(struct window_set *set)
{
	memset(set, 0, sizeof(*set));
}

static struct window **bucket_of(struct window_set *set, uint64_t inode)
{
	return &set->bucket[inode % WINDOW_BUCKETS];
}

/* ------------------------------------------------------------------ the end of a window */

/* With the lock. */
static void window_free(struct window *w)
{
	struct window **link = bucket_of(w->set, w->inode);

	while (*link != w)
		link = &(*link)->next;
	*link = w->next;
	munmap(w->base, w->size);
	windows_total -= w->size;
	free(w);
}

/* With the lock. */
static void idle_remove(struct window *w)
{
	struct window **link = &idle_oldest;

	while (*link != w)
		link = &(*link)->idle_next;
	*link = w->idle_next;
}

/* Frees windows as their time comes; ends after a second in which none was waiting. */
static void *reaper_main(void *data)
{
	bool idle = true;

	pthread_setname_np(pthread_self(), "uvfio-windows");
	while (idle) {
		struct timespec second = { .tv_sec = 1 };
		uint64_t now;

		nanosleep(&second, NULL);
		pthread_mutex_lock(&lock);
		now = time_mono_ns();
		idle = idle_oldest;
		while (idle_oldest && now - idle_oldest->idle_since_ns >= IDLE_NS) {
			struct window *w = idle_oldest;

			idle_oldest = w->idle_next;
			window_free(w);
		}
		reaper_runs = idle;
		pthread_mutex_unlock(&lock);
	}
	return NULL;
}

/* With the lock. Whether somebody will come and free what is idle. */
static bool reaper_start(void)
{
	if (!reaper_runs)
		reaper_runs = !thread_start(NULL, 0, reaper_main, NULL);
	return reaper_runs;
}

void window_put(struct window *w)
{
	struct window **link = &idle_oldest;

	if (!w)
		return;
	pthread_mutex_lock(&lock);
	if (!--w->refs) {
		if (reaper_start()) {
			w->idle_since_ns = time_mono_ns();
			w->idle_next = NULL;
			while (*link)
				link = &(*link)->idle_next;
			*link = w;
		} else {
			window_free(w);
		}
	}
	pthread_mutex_unlock(&lock);
}

/* All mappings of the memory are gone, and so are the users of its windows. */
void window_set_fini(struct window_set *set)
{
	pthread_mutex_lock(&lock);
	for (unsigned i = 0; i < WINDOW_BUCKETS; i++) {
		while (set->bucket[i]) {
			idle_remove(set->bucket[i]);
			window_free(set->bucket[i]);
		}
	}
	pthread_mutex_unlock(&lock);
}

/* ------------------------------------------------------------------ is this file system safe? */

/* Devices of the kernel's own mounts, which memfds live on: ask a memfd of each kind. */
static bool is_memfd_device(dev_t dev)
{
	static const unsigned flags[] = { 0, MFD_HUGETLB | 21u << MFD_HUGE_SHIFT,
					  MFD_HUGETLB | 30u << MFD_HUGE_SHIFT };

	for (size_t i = 0; i < ARRAY_SIZE(flags); i++) {
		AUTO_CLOSE int fd = memfd_create("uvfio-probe", MFD_CLOEXEC | flags[i]);
		struct stat st;

		if (fd >= 0 && !fstat(fd, &st) && st.st_dev == dev)
			return true;
	}
	return false;
}

/* Whether the client's mount table calls @dev a tmpfs or hugetlbfs. */
static bool is_memory_mount(int proc_fd, dev_t dev)
{
	int fd = openat(proc_fd, "mountinfo", O_RDONLY | O_CLOEXEC);
	AUTO_FCLOSE FILE *f = fd < 0 ? NULL : fdopen(fd, "r");
	AUTO_FREE char *line = NULL;
	size_t cap = 0;

	if (!f) {
		if (fd >= 0)
			close(fd);
		return false;
	}
	while (getline(&line, &cap, f) > 0) {
		unsigned maj, min;
		const char *type;

		if (sscanf(line, "%*u %*u %u:%u", &maj, &min) != 2 || makedev(maj, min) != dev)
			continue;
		type = strstr(line, " - ");
		if (type &&
		    (!strncmp(type + 3, "tmpfs ", 6) || !strncmp(type + 3, "hugetlbfs ", 10)))
			return true;
	}
	return false;
}

/* ------------------------------------------------------------------ finding and mapping the file
 */

/* A descriptor of the file that @vma maps among those of /proc/TID, or -1. */
static int file_open_in(int proc_fd, const struct procmap_vma *vma, bool *write)
{
	dev_t dev = makedev(vma->major, vma->minor);
	int dir_fd = openat(proc_fd, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = dir_fd < 0 ? NULL : fdopendir(dir_fd);
	struct dirent *d;
	int fd = -1;

	if (!dir) {
		if (dir_fd >= 0)
			close(dir_fd);
		return -1;
	}
	while (fd < 0 && (d = readdir(dir))) {
		struct statx sx;

		if (d->d_name[0] == '.' ||
		    statx(dirfd(dir), d->d_name, AT_STATX_DONT_SYNC, STATX_INO | STATX_TYPE, &sx) ||
		    !S_ISREG(sx.stx_mode) || sx.stx_ino != vma->inode ||
		    sx.stx_dev_major != vma->major || sx.stx_dev_minor != vma->minor)
			continue;
		if (!is_memfd_device(dev) && !is_memory_mount(proc_fd, dev))
			break;
		*write = true;
		fd = openat(dirfd(dir), d->d_name, O_RDWR | O_CLOEXEC);
		if (fd < 0 && (errno == EACCES || errno == EPERM || errno == EROFS)) {
			*write = false;
			fd = openat(dirfd(dir), d->d_name, O_RDONLY | O_CLOEXEC);
		}
	}
	closedir(dir);
	return fd;
}

/* A new descriptor of the file that @vma maps, or -1. *@write: whether it may be written. */
static int file_open(int proc_fd, pid_t tid, const struct procmap_vma *vma, bool *write)
{
	int fd = file_open_in(proc_fd, vma, write);
	AUTO_CLOSE int other = -1;
	char path[32];

	if (fd >= 0)
		return fd;
	snprintf(path, sizeof(path), "/proc/%d", (int)tid);
	other = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return other < 0 ? -1 : file_open_in(other, vma, write);
}

/* The descriptor may have been exchanged between looking and opening. */
static bool file_is(int fd, const struct procmap_vma *vma, struct stat *st)
{
	return !fstat(fd, st) && S_ISREG(st->st_mode) && st->st_ino == vma->inode &&
	       st->st_dev == makedev(vma->major, vma->minor);
}

/* How much to map so that [0,@need-1] is in; 0: cannot. */
static uint64_t window_size(int fd, const struct stat *st, uint64_t need, uint64_t old)
{
	uint64_t size = (uint64_t)st->st_size;
	struct statfs fs;

	if (fstatfs(fd, &fs))
		return 0;
	if ((uint64_t)fs.f_type == 0x958458f6u) {
		/* hugetlbfs: mapping past the end would make the file longer. */
		size = ALIGN_UP(size, (uint64_t)fs.f_bsize);
		return need <= size ? size : 0;
	}
	return ALIGN_UP(MAX(MAX(size, need), old * 2), UVF_PAGE_SIZE);
}

/* Where a file is found: open already, or by who has it. */
struct finder {
	int file; /* or -1 */
	int proc_fd;
	pid_t tid;
};

static int find_file(const struct finder *from, const struct procmap_vma *vma, bool *write)
{
	if (from->file < 0)
		return file_open(from->proc_fd, from->tid, vma, write);
	*write = (fcntl(from->file, F_GETFL) & O_ACCMODE) == O_RDWR;
	return fcntl(from->file, F_DUPFD_CLOEXEC, 0);
}

/* With the lock. */
static struct window *window_new(struct window_set *set, const struct finder *from,
				 const struct procmap_vma *vma, uint64_t need, uint64_t old)
{
	bool write;
	AUTO_CLOSE int fd = find_file(from, vma, &write);
	struct window *w;
	struct stat st;
	uint64_t size;
	void *base;

	if (fd < 0 || !file_is(fd, vma, &st))
		return NULL;
	size = window_size(fd, &st, need, old);
	if (!size || size > WINDOW_MAX)
		return NULL;
	if (windows_total + size > WINDOWS_MAX)
		return NULL;
	w = calloc(1, sizeof(*w));
	if (!w)
		return NULL;
	/* NORESERVE: the pages are the client's to account for. */
	base = mmap(NULL, size, PROT_READ | (write ? PROT_WRITE : 0), MAP_SHARED | MAP_NORESERVE,
		    fd, 0);
	if (base == MAP_FAILED && write) {
		/* A sealed memfd may be mapped for reading only. */
		write = false;
		base = mmap(NULL, size, PROT_READ, MAP_SHARED | MAP_NORESERVE, fd, 0);
	}
	if (base == MAP_FAILED) {
		free(w);
		return NULL;
	}
	windows_total += size;
	/* A client's memory is neither a child's of ours nor part of our core dump. */
	madvise(base, size, MADV_DONTFORK);
	madvise(base, size, MADV_DONTDUMP);
	w->set = set;
	w->refs = 1;
	w->inode = vma->inode;
	w->major = vma->major;
	w->minor = vma->minor;
	w->write = write;
	w->base = base;
	w->size = size;
	w->next = *bucket_of(set, w->inode);
	*bucket_of(set, w->inode) = w;
	return w;
}

static bool is_absent(const struct window_set *set, const struct procmap_vma *vma)
{
	for (size_t i = 0; i < WINDOW_ABSENT; i++) {
		if (set->absent[i].inode == vma->inode && set->absent[i].major == vma->major &&
		    set->absent[i].minor == vma->minor)
			return true;
	}
	return false;
}

static void set_absent(struct window_set *set, const struct procmap_vma *vma)
{
	unsigned i = set->absent_next++ % WINDOW_ABSENT;

	set->absent[i].inode = vma->inode;
	set->absent[i].major = vma->major;
	set->absent[i].minor = vma->minor;
}

static int get(struct window_set *set, const struct finder *from, const struct procmap_vma *vma,
	       uint64_t offset, uint64_t size, bool write, struct iommu_place *place)
{
	bool known = false;
	struct window *w;
	uint64_t last, old = 0;

	if (range_last(offset, size, &last) || last >= WINDOW_MAX)
		return -ENOENT;
	pthread_mutex_lock(&lock);
	/* The newest, and so the largest, window of a file comes first. */
	for (w = *bucket_of(set, vma->inode); w; w = w->next) {
		if (w->inode != vma->inode || w->major != vma->major || w->minor != vma->minor)
			continue;
		known = true;
		old = MAX(old, w->size);
		if (last < w->size)
			break;
	}
	if (w && write && !w->write)
		w = NULL; /* another try would find the same rights */
	else if (w && !w->refs++)
		idle_remove(w);
	else if (!w && !is_absent(set, vma)) {
		w = window_new(set, from, vma, last + 1, old);
		if (!w && !known)
			set_absent(set, vma);
		if (w && write && !w->write) {
			set_absent(set, vma);
			window_free(w);
			w = NULL;
		}
	}
	if (w)
		*place = (struct iommu_place){ .host = w->base + offset, .window = w };
	pthread_mutex_unlock(&lock);
	return w ? 0 : -ENOENT;
}

int window_get(struct window_set *set, int proc_fd, pid_t tid, const struct procmap_vma *vma,
	       uint64_t offset, uint64_t size, bool write, struct iommu_place *place)
{
	const struct finder from = { .file = -1, .proc_fd = proc_fd, .tid = tid };

	return get(set, &from, vma, offset, size, write, place);
}

int window_file_check(int fd, struct procmap_vma *vma)
{
	AUTO_CLOSE int self = -1;
	struct statx sx;
	dev_t dev;

	if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_INO | STATX_TYPE, &sx) ||
	    !S_ISREG(sx.stx_mode))
		return -EINVAL;
	dev = makedev(sx.stx_dev_major, sx.stx_dev_minor);
	if (!is_memfd_device(dev)) {
		self = open("/proc/self", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (self < 0 || !is_memory_mount(self, dev))
			return -EINVAL;
	}
	*vma = (struct procmap_vma){
		.inode = sx.stx_ino,
		.major = sx.stx_dev_major,
		.minor = sx.stx_dev_minor,
	};
	return 0;
}

int window_get_file(struct window_set *set, int fd, const struct procmap_vma *vma, uint64_t offset,
		    uint64_t size, bool write, struct iommu_place *place)
{
	const struct finder from = { .file = fd, .proc_fd = -1 };

	return get(set, &from, vma, offset, size, write, place);
}
