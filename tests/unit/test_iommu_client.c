/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * iommu: memory of real client processes. Each test forks a client that lays out its memory, names
 * addresses over a pipe and then does what it is told: exec, die, truncate, unmap.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "iommu/priv.h"

#define PAGE ((uint64_t)UVF_PAGE_SIZE)
#define RW (IOMMU_READ | IOMMU_WRITE)
#define BIG_PAGES 100000u

/* What the client tells: addresses of its memory. */
struct layout {
	uint64_t anon;	      /* 4 pages of anonymous memory, page i filled with 'a'+i */
	uint64_t shared;      /* memfd of 8 pages, mapped whole, filled with 'A'+i */
	uint64_t rdonly;      /* 1 page, readable only */
	uint64_t none;	      /* 1 page, no access */
	uint64_t hole;	      /* page that is not there, after anon's 4 */
	uint64_t anon_shared; /* MAP_SHARED without a file; 1 page 's' */
	uint64_t closed;      /* memfd whose descriptor is closed; 1 page 'c' */
	uint64_t split;	      /* memfd's pages 0 and 1 as two VMAs, then page 5: 3 pages */
	uint64_t sealed;      /* memfd that may not be written any more, 1 page 'w', readable */
	uint64_t grow;	      /* memfd of 1 page that grows on 'g', with 64 pages of mapping */
	uint64_t big;	      /* memfd of BIG_PAGES pages */
	uint64_t shm;	      /* file in /dev/shm, unlinked; 1 page of m; 0: there is none */
	int32_t tid;	      /* a second thread */
};

struct client {
	pid_t pid;
	int cmd, reply;
	struct layout l;
	struct iommu_mem *mem;
	struct iommu_space *space;
	struct iommu_port *port;
	struct iommu_fault fault;
	unsigned faults, fds;
};

static unsigned count_entries(const char *path)
{
	unsigned n = 0;
	char buf[512];
	FILE *f;
	DIR *d = opendir(path);

	if (d) {
		while (readdir(d))
			n++;
		closedir(d);
		return n;
	}
	f = fopen(path, "r");
	while (fgets(buf, sizeof(buf), f))
		n++;
	fclose(f);
	return n;
}

/* ------------------------------------------------------------------ the client's side */

static void *idle_thread(void *data)
{
	*(_Atomic int32_t *)data = (int32_t)syscall(SYS_gettid);
	for (;;)
		pause();
	return NULL;
}

static void *fill(void *p, int first, unsigned pages)
{
	for (unsigned i = 0; i < pages; i++)
		memset((uint8_t *)p + i * PAGE, first + (int)i, PAGE);
	return p;
}

static void *map_file(const char *name, uint64_t pages, unsigned flags, int *fd)
{
	*fd = memfd_create(name, MFD_CLOEXEC | flags);
	if (ftruncate(*fd, (off_t)(pages * PAGE)))
		_exit(9);
	return mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
}

static void *map_anon(uint64_t pages, int prot, int flags)
{
	return mmap(NULL, pages * PAGE, prot, flags | MAP_ANONYMOUS, -1, 0);
}

static void client_layout(struct layout *l, int *shared_fd, int *grow_fd)
{
	uint8_t *p = map_anon(5, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	int fd;

	l->anon = (uintptr_t)fill(p, 'a', 4);
	l->hole = l->anon + 4 * PAGE;
	l->shared = (uintptr_t)fill(map_file("guest ram", 8, 0, shared_fd), 'A', 8);
	l->rdonly = (uintptr_t)map_anon(1, PROT_READ, MAP_PRIVATE);
	l->none = (uintptr_t)map_anon(1, PROT_NONE, MAP_PRIVATE);
	l->anon_shared = (uintptr_t)fill(map_anon(1, PROT_READ | PROT_WRITE, MAP_SHARED), 's', 1);
	l->closed = (uintptr_t)fill(map_file("closed", 1, 0, &fd), 'c', 1);
	close(fd);
	p = map_anon(3, PROT_NONE, MAP_PRIVATE);
	l->split = (uintptr_t)p;
	mmap(p, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, *shared_fd, 0);
	mprotect(p, PAGE, PROT_READ);
	mmap(p + 2 * PAGE, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, *shared_fd,
	     (off_t)(5 * PAGE));
	munmap(fill(map_file("sealed", 1, MFD_ALLOW_SEALING, &fd), 'w', 1), PAGE);
	fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE);
	l->sealed = (uintptr_t)mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
	fill(map_file("grow", 1, 0, grow_fd), 'g', 1);
	l->grow = (uintptr_t)mmap(NULL, 64 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, *grow_fd, 0);
	l->big = (uintptr_t)map_file("big", BIG_PAGES, 0, &fd);
	l->shm = 0;
	fd = open("/dev/shm", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd >= 0 && !ftruncate(fd, PAGE))
		l->shm = (uintptr_t)fill(
			mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), 'm', 1);
	munmap((void *)l->hole, PAGE); /* last, or something else would fill it */
}

static void client_main(int cmd, int reply)
{
	static _Atomic int32_t tid;
	int shared_fd, grow_fd;
	struct layout l;
	pthread_t t;
	char c;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	client_layout(&l, &shared_fd, &grow_fd);
	pthread_create(&t, NULL, idle_thread, &tid);
	while (!atomic_load(&tid))
		usleep(100);
	l.tid = atomic_load(&tid);
	if (fd_write_all(reply, &l, sizeof(l)))
		_exit(9);
	while (read(cmd, &c, 1) == 1) {
		char *const args[] = { (char *)"sleep", (char *)"1000", NULL };

		if (c == 'x')
			execv("/bin/sleep", args);
		else if (c == 't' && ftruncate(shared_fd, 0))
			_exit(9);
		else if (c == 'u')
			munmap((void *)l.anon, 4 * PAGE);
		else if (c == 'U')
			munmap((void *)l.shared, 8 * PAGE);
		else if (c == 'g') {
			if (ftruncate(grow_fd, (off_t)(64 * PAGE)))
				_exit(9);
			memset((void *)(l.grow + 63 * PAGE), 'z', PAGE);
		} else if (c == 'r')
			c = *(volatile char *)(l.shared + 3 * PAGE);
		else if (c == 'R')
			c = *(volatile char *)(l.anon + 3 * PAGE);
		if (write(reply, &c, 1) != 1)
			_exit(9);
	}
	_exit(0);
}

/* ------------------------------------------------------------------ our side */

/* cmocka puts its own handler of SIGBUS around each test. */
static struct sigaction guard_action;

static void use_guard(void)
{
	sigaction(SIGBUS, &guard_action, NULL);
}

static void on_fault(void *data, const struct iommu_fault *fault)
{
	struct client *c = data;

	c->fault = *fault;
	c->faults++;
}

static int setup(void **state)
{
	struct client *c = calloc(1, sizeof(*c));
	int to[2], from[2];

	c->fds = count_entries("/proc/self/fd");
	assert_int_equal(pipe2(to, O_CLOEXEC) | pipe2(from, O_CLOEXEC), 0);
	c->pid = fork();
	if (!c->pid)
		client_main(to[0], from[1]);
	close(to[0]);
	close(from[1]);
	c->cmd = to[1];
	c->reply = from[0];
	assert_int_equal(read(c->reply, &c->l, sizeof(c->l)), sizeof(c->l));
	assert_int_equal(iommu_mem_process(c->pid, &c->mem), 0);
	assert_int_equal(iommu_space_new(&c->space), 0);
	iommu_space_set_limit(c->space, 1u << 20);
	assert_int_equal(iommu_port_new("dev", on_fault, c, &c->port), 0);
	iommu_port_set_enabled(c->port, true);
	iommu_port_attach(c->port, c->space);
	*state = c;
	return 0;
}

static void client_kill(struct client *c)
{
	if (c->pid <= 0)
		return;
	kill(c->pid, SIGKILL);
	waitpid(c->pid, NULL, 0);
	c->pid = 0;
}

static int teardown(void **state)
{
	struct client *c = *state;

	client_kill(c);
	close(c->cmd);
	close(c->reply);
	iommu_port_free(c->port);
	iommu_space_put(c->space);
	iommu_mem_put(c->mem);
	iommu_mem_cache_drop();
	assert_int_equal(count_entries("/proc/self/fd"), c->fds);
	free(c);
	return 0;
}

static char tell(struct client *c, char what)
{
	char answer = 0;

	assert_int_equal(write(c->cmd, &what, 1), 1);
	assert_int_equal(read(c->reply, &answer, 1), 1);
	return answer;
}

static int map(struct client *c, uint64_t iova, uint64_t pages, unsigned perm, uint64_t vaddr)
{
	return iommu_space_map(c->space, iova, pages * PAGE, perm, c->mem, vaddr);
}

static void first_direct(void *data, const struct iommu_mapping *m)
{
	int *direct = data;

	if (*direct < 0)
		*direct = m->direct;
}

/* Maps one page at @vaddr, and tells whether directly; -1 if that failed. */
static int direct(struct client *c, uint64_t pages, unsigned perm, uint64_t vaddr)
{
	uint64_t removed;
	int d = -1;

	if (map(c, 0, pages, perm, vaddr))
		return -1;
	iommu_space_for_each(c->space, first_direct, &d);
	iommu_space_unmap(c->space, IOMMU_UNMAP_ALL, 0, 0, &removed);
	return d;
}

static void check_gone(struct client *c, uint64_t iova)
{
	unsigned before = c->faults;
	uint8_t b[4] = { 0 };

	assert_int_equal(iommu_read(c->port, iova, b, 4), -EFAULT);
	assert_int_equal(c->fault.reason, IOMMU_FAULT_CLIENT_MEMORY);
	assert_int_equal(iommu_write(c->port, iova, b, 4), -EFAULT);
	assert_int_equal(c->fault.reason, IOMMU_FAULT_CLIENT_MEMORY);
	assert_int_equal(c->faults, before + 2);
}

static void anonymous(void **state)
{
	struct client *c = *state;
	uint8_t b[2 * UVF_PAGE_SIZE];
	struct iommu_pin pin;

	assert_int_equal(map(c, 0x10000, 4, RW, c->l.anon), 0);
	assert_int_equal(iommu_read(c->port, 0x10000 + PAGE - 1, b, PAGE + 2), 0);
	assert_true(b[0] == 'a' && b[1] == 'b' && b[PAGE] == 'b' && b[PAGE + 1] == 'c');
	memset(b, '!', sizeof(b));
	assert_int_equal(iommu_write(c->port, 0x10000 + 3 * PAGE, b, PAGE), 0);
	assert_int_equal(tell(c, 'R'), '!');
	assert_int_equal(iommu_pin(c->port, 0x10000, PAGE, IOMMU_READ, &pin), -EOPNOTSUPP);
	tell(c, 'u');
	check_gone(c, 0x10000);
}

static void shared(void **state)
{
	struct client *c = *state;
	uint8_t b[PAGE + 2];
	struct iommu_pin pin;

	use_guard();
	assert_int_equal(map(c, 0, 6, RW, c->l.shared + PAGE), 0);
	assert_int_equal(iommu_read(c->port, PAGE - 1, b, PAGE + 2), 0);
	assert_true(b[0] == 'B' && b[1] == 'C' && b[PAGE] == 'C' && b[PAGE + 1] == 'D');
	assert_int_equal(iommu_write(c->port, 2 * PAGE, "?", 1), 0);
	assert_int_equal(tell(c, 'r'), '?');
	assert_int_equal(iommu_pin(c->port, PAGE, 2 * PAGE, IOMMU_READ, &pin), 0);
	assert_int_equal(pin.n_iov, 1);
	assert_int_equal(*(char *)pin.iov[0].iov_base, 'C');
	iommu_unpin(&pin);
	/* As with pinned pages, the client's munmap changes nothing; truncating does. */
	tell(c, 'U');
	assert_int_equal(iommu_read(c->port, 0, b, 1), 0);
	tell(c, 't');
	check_gone(c, 0);
	assert_int_equal(c->fault.iova, 0);
}

static void ways(void **state)
{
	struct client *c = *state;
	char b[3] = { 0 };

	assert_int_equal(direct(c, 4, RW, c->l.anon), 0);
	assert_int_equal(direct(c, 8, RW, c->l.shared), 1);
	assert_int_equal(direct(c, 1, RW, c->l.anon_shared), 0);
	assert_int_equal(direct(c, 1, RW, c->l.closed), 0);
	assert_int_equal(direct(c, 2, IOMMU_READ, c->l.split), 1);
	assert_int_equal(direct(c, 3, IOMMU_READ, c->l.split), 0);
	assert_int_equal(direct(c, 2, RW, c->l.split), -1);
	assert_int_equal(direct(c, 1, RW, c->l.split + PAGE), 1);
	assert_int_equal(direct(c, 1, IOMMU_READ, c->l.sealed), 1);
	assert_int_equal(map(c, 0, 1, RW, c->l.anon_shared), 0);
	assert_int_equal(map(c, PAGE, 1, RW, c->l.closed), 0);
	assert_int_equal(map(c, 2 * PAGE, 1, IOMMU_READ, c->l.sealed), 0);
	for (uint64_t i = 0; i < 3; i++)
		assert_int_equal(iommu_read(c->port, i * PAGE, &b[i], 1), 0);
	assert_memory_equal(b, "scw", 3);
}

/* Another tmpfs than the one of memfds: found in the client's table of mounts. */
static void shm_file(void **state)
{
	struct client *c = *state;
	struct stat shm, memfd;
	int fd = memfd_create("x", MFD_CLOEXEC);
	struct statfs fs;
	char b = 0;

	fstat(fd, &memfd);
	close(fd);
	if (!c->l.shm || stat("/dev/shm", &shm) || statfs("/dev/shm", &fs) ||
	    fs.f_type != 0x01021994)
		skip();
	assert_true(shm.st_dev != memfd.st_dev);
	assert_int_equal(direct(c, 1, RW, c->l.shm), 1);
	assert_int_equal(map(c, 0, 1, RW, c->l.shm), 0);
	assert_int_equal(iommu_read(c->port, 0, &b, 1), 0);
	assert_int_equal(b, 'm');
}

static void refused(void **state)
{
	struct client *c = *state;

	assert_int_equal(map(c, 0, 1, RW, c->l.rdonly), -EFAULT);
	assert_int_equal(map(c, 0, 1, IOMMU_WRITE, c->l.rdonly), -EFAULT);
	assert_int_equal(map(c, 0, 1, IOMMU_READ, c->l.none), -EFAULT);
	assert_int_equal(map(c, 0, 1, RW, c->l.hole), -EFAULT);
	assert_int_equal(map(c, 0, 5, RW, c->l.anon), -EFAULT);
	assert_int_equal(map(c, 0, 1, RW, 0), -EFAULT);
	assert_int_equal(map(c, 0, 1, RW, 1ull << 47), -EFAULT);
	assert_int_equal(map(c, 0, 1, RW, -2 * PAGE), -EFAULT);
	assert_int_equal(map(c, 0, 1, RW, c->l.sealed), -EFAULT);
	assert_int_equal(iommu_space_count(c->space), 0);
	assert_int_equal(map(c, 0, 1, IOMMU_READ, c->l.rdonly), 0);
}

static void old_kernel(void **state)
{
	struct client *c = *state;

	/* The same answers without PROCMAP_QUERY. */
	process_mem_use_text(c->mem);
	ways(state);
	assert_int_equal(iommu_space_unmap(c->space, IOMMU_UNMAP_ALL, 0, 0, &(uint64_t){ 0 }), 0);
	refused(state);
}

static void arguments(void **state)
{
	struct client *c = *state;
	struct iommu_mem *mem = NULL;
	uint8_t b[16];

	assert_int_equal(iommu_mem_read(c->mem, c->l.anon + PAGE - 8, b, 16), 0);
	assert_true(b[7] == 'a' && b[8] == 'b');
	assert_int_equal(iommu_mem_write(c->mem, c->l.anon, "xy", 2), 0);
	assert_int_equal(iommu_mem_process_read(c->pid, c->l.anon, b, 3, &mem), 0);
	assert_memory_equal(b, "xya", 3);
	assert_ptr_equal(mem, c->mem);
	iommu_mem_put(mem);
	assert_int_equal(iommu_mem_process_read(c->l.tid, c->l.anon, b, 0, &mem), 0);
	assert_ptr_equal(mem, c->mem); /* another thread, the same mm */
	iommu_mem_put(mem);
	mem = NULL;
	assert_int_equal(iommu_mem_process_read(c->pid, c->l.hole - 1, b, 2, &mem), -EFAULT);
	assert_int_equal(iommu_mem_process_read(c->pid, 0, b, 2, &mem), -EFAULT);
	assert_null(mem);
	assert_int_equal(iommu_mem_read(c->mem, c->l.hole, b, 1), -EFAULT);
	assert_int_equal(iommu_mem_read(c->mem, UINT64_MAX - 3, b, 8), -EFAULT);
	assert_int_equal(iommu_mem_write(c->mem, c->l.hole, b, 1), -EFAULT);
	assert_int_equal(iommu_mem_read(c->mem, 0, b, 0), 0);
	assert_int_equal(iommu_mem_process(0, &mem), -ESRCH);
	assert_int_equal(iommu_mem_process(-1, &mem), -ESRCH);
	assert_int_equal(iommu_mem_process(0x7fffffff, &mem), -ESRCH);
	assert_int_equal(iommu_mem_process_read(0x7fffffff, 0, b, 1, &mem), -ESRCH);
}

/* Waits until the client is another program, as its command line tells. */
static void wait_exec(struct client *c)
{
	char path[64], buf[16] = { 0 };

	assert_int_equal(write(c->cmd, "x", 1), 1);
	snprintf(path, sizeof(path), "/proc/%d/cmdline", c->pid);
	while (strcmp(buf, "sleep")) {
		int fd = open(path, O_RDONLY);

		if (read(fd, buf, sizeof(buf) - 1) < 0)
			buf[0] = 0;
		close(fd);
		usleep(500);
	}
}

static void after_exec(void **state)
{
	struct client *c = *state;
	struct iommu_mem *mem;
	uint8_t b;

	assert_int_equal(map(c, 0, 1, RW, c->l.anon), 0);
	assert_int_equal(map(c, PAGE, 1, RW, c->l.shared), 0);
	assert_int_equal(iommu_read(c->port, 0, &b, 1), 0);
	wait_exec(c);
	check_gone(c, 0);
	assert_int_equal(map(c, 2 * PAGE, 1, RW, c->l.anon), -EFAULT);
	/* The pid is the same, the memory is not (the new program may have something else there).
	 */
	assert_int_equal(iommu_mem_process(c->pid, &mem), 0);
	assert_ptr_not_equal(mem, c->mem);
	assert_true(iommu_mem_read(mem, c->l.anon, &b, 1) == -EFAULT || b != 'a');
	iommu_mem_put(mem);
	if (!iommu_mem_process_read(c->pid, c->l.anon, &b, 1, &mem)) {
		assert_int_not_equal(b, 'a');
		iommu_mem_put(mem);
	}
	/* What was shared is still held, as pinned pages would be. */
	assert_int_equal(iommu_read(c->port, PAGE, &b, 1), 0);
	assert_int_equal(b, 'A');
}

static void after_exec_by_read(void **state)
{
	struct client *c = *state;
	struct iommu_mem *mem;
	uint64_t end[16] = { 0 };
	struct procmap pm;
	struct procmap_vma vma;
	char path[64];

	wait_exec(c);
	/* Some readable address of the new program. */
	snprintf(path, sizeof(path), "/proc/%d/maps", c->pid);
	procmap_init(&pm, open(path, O_RDONLY | O_CLOEXEC));
	assert_int_equal(procmap_next(&pm, 0, &vma), 0);
	procmap_fini(&pm);
	assert_int_equal(iommu_mem_process_read(c->pid, vma.first, end, sizeof(end), &mem), 0);
	assert_ptr_not_equal(mem, c->mem);
	assert_true(end[0] != 0);
	iommu_mem_put(mem);
}

static void dead(void **state)
{
	struct client *c = *state;
	struct iommu_mem *mem;
	pid_t pid = c->pid;
	uint8_t b;

	assert_int_equal(map(c, 0, 1, RW, c->l.anon), 0);
	assert_int_equal(map(c, PAGE, 1, RW, c->l.shared), 0);
	assert_int_equal(iommu_read(c->port, 0, &b, 1), 0);
	client_kill(c);
	check_gone(c, 0);
	assert_int_equal(iommu_mem_read(c->mem, c->l.anon, &b, 1), -EFAULT);
	assert_int_equal(iommu_mem_write(c->mem, c->l.anon, &b, 1), -EFAULT);
	assert_int_equal(map(c, 4 * PAGE, 1, RW, c->l.anon), -EFAULT);
	assert_int_equal(iommu_mem_process(pid, &mem), -ESRCH);
	assert_int_equal(iommu_mem_process_read(pid, c->l.anon, &b, 1, &mem), -ESRCH);
	assert_int_equal(iommu_space_unmap(c->space, IOMMU_UNMAP_EXACT, 0, PAGE, &(uint64_t){ 0 }),
			 0);
}

static void growing_file(void **state)
{
	struct client *c = *state;
	uint8_t b = 0;

	use_guard();
	assert_int_equal(map(c, 0, 1, RW, c->l.grow), 0);
	/* Mapped by the client, beyond the end of its file. */
	assert_int_equal(map(c, 63 * PAGE, 1, RW, c->l.grow + 63 * PAGE), 0);
	check_gone(c, 63 * PAGE);
	tell(c, 'g');
	assert_int_equal(iommu_read(c->port, 63 * PAGE, &b, 1), 0);
	assert_int_equal(b, 'z');
	assert_int_equal(iommu_read(c->port, 0, &b, 1), 0);
	assert_int_equal(b, 'g');
}

static void many_pieces(void **state)
{
	struct client *c = *state;
	unsigned before = count_entries("/proc/self/maps");
	unsigned fds = count_entries("/proc/self/fd");
	uint64_t removed;

	/* Backwards in memory, so that nothing could be merged. */
	for (uint64_t i = 0; i < BIG_PAGES; i++)
		assert_int_equal(map(c, i * PAGE, 1, RW, c->l.big + (BIG_PAGES - 1 - i) * PAGE), 0);
	assert_int_equal(iommu_space_count(c->space), BIG_PAGES);
	assert_true(count_entries("/proc/self/maps") < before + 200);
	assert_int_equal(count_entries("/proc/self/fd"), fds);
	assert_int_equal(iommu_write(c->port, 0, "0", 1), 0);
	assert_int_equal(iommu_space_unmap(c->space, IOMMU_UNMAP_ALL, 0, 0, &removed), 0);
	assert_true(removed == BIG_PAGES * PAGE);
}

/* The forked clients have threads of their own, and by then so has this process. */
__attribute__((visibility("default"))) const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
	return "die_after_fork=0";
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(anonymous, setup, teardown),
		cmocka_unit_test_setup_teardown(shared, setup, teardown),
		cmocka_unit_test_setup_teardown(ways, setup, teardown),
		cmocka_unit_test_setup_teardown(shm_file, setup, teardown),
		cmocka_unit_test_setup_teardown(refused, setup, teardown),
		cmocka_unit_test_setup_teardown(old_kernel, setup, teardown),
		cmocka_unit_test_setup_teardown(arguments, setup, teardown),
		cmocka_unit_test_setup_teardown(after_exec, setup, teardown),
		cmocka_unit_test_setup_teardown(after_exec_by_read, setup, teardown),
		cmocka_unit_test_setup_teardown(dead, setup, teardown),
		cmocka_unit_test_setup_teardown(growing_file, setup, teardown),
		cmocka_unit_test_setup_teardown(many_pieces, setup, teardown),
	};

	guard_init();
	sigaction(SIGBUS, NULL, &guard_action);
	return cmocka_run_group_tests_name("iommu_client", tests, NULL, NULL);
}
