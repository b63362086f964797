/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the IOMMU costs: translation alone, whole accesses, mapping and unmapping, and the ways to a
 * process's memory. One JSON object a line: {"row": ..., "value": ..., "unit": ...}. The best of
 * several rounds, since the machine may be busy.
 */
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "iommu/priv.h"

#define PAGE ((uint64_t)UVF_PAGE_SIZE)
#define RW (IOMMU_READ | IOMMU_WRITE)
#define ROUNDS 5

static void must(int err)
{
	if (err) {
		fprintf(stderr, "bench_iommu: %s\n", strerror(-err));
		exit(1);
	}
}

static void row(const char *name, double value, const char *unit)
{
	printf("{\"row\": \"%s\", \"value\": %.1f, \"unit\": \"%s\"}\n", name, value, unit);
	fflush(stdout);
}

/* Best time of ROUNDS for one of @n calls of @fn, in ns. */
static double best(void (*fn)(void *data, uint64_t n), void *data, uint64_t n)
{
	double low = 0;

	for (int i = 0; i < ROUNDS; i++) {
		uint64_t t = time_mono_ns();
		double each;

		fn(data, n);
		each = (double)(time_mono_ns() - t) / (double)n;
		if (!i || each < low)
			low = each;
	}
	return low;
}

/* ------------------------------------------------------------------ translation */

struct translate {
	struct iommu_space *space;
	struct iommu_port *port;
	struct iommu_mem *mem;
	uint64_t *iova; /* 2^k addresses to look up */
	uint64_t mask, sum;
	uint64_t pages; /* of one mapping */
	uint8_t *base;
};

/* As an access translates; the next address depends on the result, so that the time of one whole
 * translation is seen and not that of several at once. */
static void do_translate(void *data, uint64_t n)
{
	struct translate *t = data;
	struct access_slot *slot = access_enter(t->port);
	uint64_t carry = 0;

	for (uint64_t i = 0; i < n; i++) {
		struct mapping *m = access_find(slot, t->space, t->iova[(i + carry) & t->mask]);

		carry = m->perm & 4; /* never set */
	}
	t->sum += carry;
	access_leave(slot);
}

static void do_repeat(void *data, uint64_t n)
{
	struct translate *t = data;
	struct access_slot *slot = access_enter(t->port);
	uint64_t carry = 0;

	for (uint64_t i = 0; i < n; i++)
		carry = access_find(slot, t->space, t->iova[0] + carry)->perm & 4;
	t->sum += carry;
	access_leave(slot);
}

static void do_section(void *data, uint64_t n)
{
	struct translate *t = data;

	for (uint64_t i = 0; i < n; i++)
		access_leave(access_enter(t->port));
}

static void do_read(void *data, uint64_t n)
{
	struct translate *t = data;
	uint8_t b[64];

	for (uint64_t i = 0; i < n; i++)
		iommu_read(t->port, t->iova[i & t->mask], b, sizeof(b));
}

static void do_map_unmap(void *data, uint64_t n)
{
	struct translate *t = data;
	uint64_t removed;

	for (uint64_t i = 0; i < n; i++) {
		uint64_t iova = (1ull << 46) + (i & 1023) * 2 * PAGE;

		must(iommu_space_map(t->space, iova, PAGE, RW, t->mem, (uintptr_t)t->base));
		must(iommu_space_unmap(t->space, IOMMU_UNMAP_EXACT, iova, PAGE, &removed));
	}
}

static uint64_t next_random(uint64_t *r)
{
	*r = *r * 6364136223846793005ull + 1442695040888963407ull;
	return *r >> 33;
}

/* Dependent loads at random from @size bytes: what this machine's memory allows at best. */
static void bench_floor(size_t size)
{
	size_t n = size / 64, steps = 1000000;
	uint64_t r = 7, low = UINT64_MAX;
	uint8_t *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint32_t *at = (uint32_t *)p;

	madvise(p, size, MADV_HUGEPAGE);
	/* Sattolo's shuffle: one cycle through all lines; the first word of each names the next. */
	for (size_t i = 0; i < n; i++)
		at[i * 16] = (uint32_t)i;
	for (size_t i = n - 1; i; i--) {
		size_t j = next_random(&r) % i;
		uint32_t t = at[i * 16];

		at[i * 16] = at[j * 16];
		at[j * 16] = t;
	}
	for (int round = 0; round < ROUNDS; round++) {
		uint64_t t = time_mono_ns();
		volatile uint32_t x = 0;

		for (size_t i = 0; i < steps; i++)
			x = at[(size_t)x * 16];
		low = MIN(low, time_mono_ns() - t);
	}
	row("floor_random_load_64MiB", (double)low / (double)steps, "ns");
	munmap(p, size);
}

static void bench_mappings(unsigned count)
{
	struct translate t = { .pages = 1 };
	size_t size = 64 * PAGE;
	uint64_t r = 1, n = 2000000;
	uint64_t t0;
	char name[64];

	t.base = aligned_alloc(PAGE, size);
	memset(t.base, 1, size);
	must(iommu_mem_buffer(t.base, size, &t.mem));
	must(iommu_space_new(&t.space));
	iommu_space_set_limit(t.space, SIZE_MAX);
	must(iommu_port_new("bench", NULL, NULL, &t.port));
	iommu_port_set_enabled(t.port, true);
	iommu_port_attach(t.port, t.space);
	t0 = time_mono_ns();
	for (uint64_t i = 0; i < count; i++)
		must(iommu_space_map(t.space, (1ull << 32) + i * PAGE, PAGE, RW, t.mem,
				     (uintptr_t)t.base + i % 64 * PAGE));
	snprintf(name, sizeof(name), "map_each_of_%u", count);
	row(name, (double)(time_mono_ns() - t0) / count, "ns");
	t.mask = (1u << 16) - 1;
	t.iova = malloc((t.mask + 1) * sizeof(*t.iova));
	for (uint64_t i = 0; i <= t.mask; i++)
		t.iova[i] = (1ull << 32) + next_random(&r) % count * PAGE +
			    next_random(&r) % (PAGE - 64);
	snprintf(name, sizeof(name), "translate_random_%u", count);
	row(name, best(do_translate, &t, n), "ns");
	snprintf(name, sizeof(name), "translate_repeated_%u", count);
	row(name, best(do_repeat, &t, n), "ns");
	for (uint64_t i = 0; i <= t.mask; i++)
		t.iova[i] = (1ull << 32) + i % count * PAGE;
	snprintf(name, sizeof(name), "translate_in_order_%u", count);
	row(name, best(do_translate, &t, n), "ns");
	for (uint64_t i = 0; i <= t.mask; i++)
		t.iova[i] = (1ull << 32) + next_random(&r) % count * PAGE;
	snprintf(name, sizeof(name), "read_64B_random_%u", count);
	row(name, best(do_read, &t, n), "ns");
	snprintf(name, sizeof(name), "map_unmap_beside_%u", count);
	row(name, best(do_map_unmap, &t, 100000), "ns");
	if (count == 1)
		row("access_enter_leave", best(do_section, &t, n), "ns");
	iommu_port_free(t.port);
	iommu_space_put(t.space);
	iommu_mem_put(t.mem);
	free(t.iova);
	free(t.base);
}

/* ------------------------------------------------------------------ a process's memory */

struct process {
	pid_t pid;
	uint8_t *anon, *shared; /* addresses in the client, and in us: it is a fork */
	size_t size;
	struct iommu_mem *mem;
	struct iommu_space *space;
	struct iommu_port *port;
};

static void do_arguments(void *data, uint64_t n)
{
	struct process *p = data;
	struct iommu_mem *mem;
	uint8_t b[64];

	for (uint64_t i = 0; i < n; i++) {
		must(iommu_mem_process_read(p->pid, (uintptr_t)p->anon, b, 32, &mem));
		iommu_mem_put(mem);
	}
}

static void do_lookup(void *data, uint64_t n)
{
	struct process *p = data;
	struct iommu_mem *mem;

	for (uint64_t i = 0; i < n; i++) {
		must(iommu_mem_process(p->pid, &mem));
		iommu_mem_put(mem);
	}
}

static void do_vm_readv(void *data, uint64_t n)
{
	struct process *p = data;
	uint8_t b[64];

	for (uint64_t i = 0; i < n; i++) {
		struct iovec local = { b, 32 }, remote = { p->anon, 32 };

		process_vm_readv(p->pid, &local, 1, &remote, 1, 0);
	}
}

/* All that a MAP_DMA costs beyond carrying the request: argument block, checks, mapping. */
static void do_map_client(struct process *p, uint8_t *at, bool unmap, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		struct iommu_mem *mem;
		uint64_t removed;
		uint8_t b[32];

		must(iommu_mem_process_read(p->pid, (uintptr_t)p->anon, b, 32, &mem));
		if (unmap)
			must(iommu_space_unmap(p->space, IOMMU_UNMAP_EXACT, i * PAGE, PAGE,
					       &removed));
		else
			must(iommu_space_map(p->space, i * PAGE, PAGE, RW, mem,
					     (uintptr_t)at + i % 16 * PAGE));
		if (unmap)
			must(iommu_mem_write(mem, (uintptr_t)p->anon, b, 32));
		iommu_mem_put(mem);
	}
}

static void bench_map_client(struct process *p, uint8_t *at, const char *kind)
{
	uint64_t n = 20000, t;
	double map = 0, unmap = 0;
	char name[64];

	for (int i = 0; i < ROUNDS; i++) {
		t = time_mono_ns();
		do_map_client(p, at, false, n);
		t = time_mono_ns() - t;
		map = !i || t < map ? (double)t : map;
		t = time_mono_ns();
		do_map_client(p, at, true, n);
		t = time_mono_ns() - t;
		unmap = !i || t < unmap ? (double)t : unmap;
	}
	snprintf(name, sizeof(name), "map_dma_%s", kind);
	row(name, map / (double)n, "ns");
	snprintf(name, sizeof(name), "unmap_dma_%s", kind);
	row(name, unmap / (double)n, "ns");
}

struct copy {
	struct process *p;
	uint64_t iova;
	size_t size;
};

static void do_copy(void *data, uint64_t n)
{
	struct copy *c = data;
	static uint8_t b[65536];

	for (uint64_t i = 0; i < n; i++)
		must(iommu_read(c->p->port, c->iova, b, c->size));
}

static void bench_copies(struct process *p)
{
	static const size_t sizes[] = { 16, 64, 4096, 65536 };
	uint64_t removed;
	char name[64];

	must(iommu_space_map(p->space, 0, p->size, RW, p->mem, (uintptr_t)p->anon));
	must(iommu_space_map(p->space, p->size, p->size, RW, p->mem, (uintptr_t)p->shared));
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct copy c = { p, 0, sizes[i] };

		snprintf(name, sizeof(name), "read_process_%zu", sizes[i]);
		row(name, best(do_copy, &c, 20000), "ns");
		c.iova = p->size;
		snprintf(name, sizeof(name), "read_window_%zu", sizes[i]);
		row(name, best(do_copy, &c, 20000), "ns");
	}
	must(iommu_space_unmap(p->space, IOMMU_UNMAP_ALL, 0, 0, &removed));
}

static void bench_process(void)
{
	struct process p = { .size = MIB(1) };
	int fd = memfd_create("bench", MFD_CLOEXEC);

	if (fd < 0 || ftruncate(fd, (off_t)p.size))
		must(-1);
	p.anon = mmap(NULL, p.size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	p.shared = mmap(NULL, p.size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	memset(p.anon, 1, p.size);
	memset(p.shared, 1, p.size);
	p.pid = fork();
	if (!p.pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	must(iommu_mem_process(p.pid, &p.mem));
	must(iommu_space_new(&p.space));
	must(iommu_port_new("bench", NULL, NULL, &p.port));
	iommu_port_set_enabled(p.port, true);
	iommu_port_attach(p.port, p.space);
	row("process_vm_readv_32", best(do_vm_readv, &p, 100000), "ns");
	row("argument_block_32", best(do_arguments, &p, 100000), "ns");
	row("mem_process_cached", best(do_lookup, &p, 100000), "ns");
	bench_map_client(&p, p.anon, "anonymous");
	bench_map_client(&p, p.shared, "shared");
	bench_copies(&p);
	iommu_port_free(p.port);
	iommu_space_put(p.space);
	iommu_mem_put(p.mem);
	iommu_mem_cache_drop();
	kill(p.pid, SIGKILL);
	waitpid(p.pid, NULL, 0);
	close(fd);
}

int main(void)
{
	static const unsigned counts[] = { 1, 16, 1000, 10000, 1000000 };

	must(guard_init());
	bench_floor(MIB(64));
	for (size_t i = 0; i < ARRAY_SIZE(counts); i++)
		bench_mappings(counts[i]);
	bench_process();
	return 0;
}
