/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * iommu: rules of map and unmap, translation against a naive model, faults, pins, dirty log,
 * accesses during unmaps. What needs another process is in test_iommu_client.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>

#include "iommu/priv.h"
#include "fds.h"

#define PAGE ((uint64_t)UVF_PAGE_SIZE)
#define RW (IOMMU_READ | IOMMU_WRITE)
#define BUF_PAGES 256

struct fixture {
	uint8_t *buf;
	struct iommu_mem *mem;
	struct iommu_space *space;
	struct iommu_port *port;
	struct iommu_fault fault; /* the last */
	unsigned faults, fds;
};

static void on_fault(void *data, const struct iommu_fault *fault)
{
	struct fixture *f = data;

	f->fault = *fault;
	f->faults++;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->fds = open_fds();
	f->buf = aligned_alloc(PAGE, BUF_PAGES * PAGE);
	for (size_t i = 0; i < BUF_PAGES * PAGE; i++)
		f->buf[i] = (uint8_t)(i * 7 + i / PAGE);
	assert_int_equal(iommu_mem_buffer(f->buf, BUF_PAGES * PAGE, &f->mem), 0);
	assert_int_equal(iommu_space_new(&f->space), 0);
	assert_int_equal(iommu_port_new("0000:65:00.0", on_fault, f, &f->port), 0);
	iommu_port_set_enabled(f->port, true);
	iommu_port_attach(f->port, f->space);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	iommu_port_free(f->port);
	iommu_space_put(f->space);
	iommu_mem_put(f->mem);
	assert_int_equal(open_fds(), f->fds);
	free(f->buf);
	free(f);
	return 0;
}

static int map(struct fixture *f, uint64_t iova, uint64_t pages, unsigned perm, uint64_t page)
{
	return iommu_space_map(f->space, iova, pages * PAGE, perm, f->mem, page * PAGE);
}

static uint64_t unmap(struct fixture *f, enum iommu_unmap_rule rule, uint64_t iova, uint64_t pages)
{
	uint64_t removed = 0;

	assert_int_equal(iommu_space_unmap(f->space, rule, iova, pages * PAGE, &removed), 0);
	return removed / PAGE;
}

/* ------------------------------------------------------------------ map */

static void map_checks(void **state)
{
	struct fixture *f = *state;
	uint64_t first[2], last[2];

	assert_int_equal(iommu_space_map(f->space, PAGE, 0, RW, f->mem, 0), -EINVAL);
	assert_int_equal(iommu_space_map(f->space, -PAGE, 2 * PAGE, RW, f->mem, 0), -EOVERFLOW);
	assert_int_equal(iommu_space_map(f->space, 0, 2 * PAGE, RW, f->mem, -PAGE), -EOVERFLOW);
	assert_int_equal(iommu_space_map(f->space, PAGE, PAGE, 0, f->mem, 0), -EINVAL);
	assert_int_equal(iommu_space_map(f->space, PAGE, PAGE, 4, f->mem, 0), -EINVAL);
	assert_int_equal(iommu_space_map(f->space, 1, PAGE, RW, f->mem, 0), -EINVAL);
	assert_int_equal(iommu_space_map(f->space, PAGE, 1, RW, f->mem, 0), -EINVAL);
	assert_int_equal(iommu_space_map(f->space, PAGE, PAGE, RW, f->mem, 1), -EINVAL);
	assert_int_equal(map(f, 4 * PAGE, 2, RW, 0), 0);
	assert_int_equal(map(f, 5 * PAGE, 1, RW, 0), -EEXIST);
	assert_int_equal(map(f, 3 * PAGE, 2, RW, 0), -EEXIST);
	assert_int_equal(map(f, 0, 16, RW, 0), -EEXIST);
	assert_int_equal(map(f, IOMMU_MSI_FIRST, 1, RW, 0), -EINVAL);
	assert_int_equal(map(f, IOMMU_MSI_LAST + 1 - PAGE, 2, RW, 0), -EINVAL);
	assert_int_equal(map(f, IOMMU_MSI_FIRST - PAGE, 2, RW, 0), -EINVAL);
	assert_int_equal(map(f, 1ull << 48, 1, RW, 0), -EINVAL);
	assert_int_equal(map(f, -PAGE, 1, RW, 0), -EINVAL);
	assert_int_equal(map(f, (1ull << 48) - PAGE, 1, RW, 0), 0);
	assert_int_equal(map(f, 64 * PAGE, 1, RW, BUF_PAGES), -EFAULT);
	assert_int_equal(map(f, 64 * PAGE, 2, RW, BUF_PAGES - 1), -EFAULT);
	assert_int_equal(iommu_space_count(f->space), 2);
	iommu_space_set_limit(f->space, 2);
	assert_int_equal(map(f, 64 * PAGE, 1, RW, 0), -ENOSPC);
	assert_int_equal(map(f, 4 * PAGE, 1, RW, 0), -EEXIST);
	assert_int_equal(iommu_space_ranges(f->space, first, last, 2), 2);
	assert_true(first[0] == 0 && last[0] == 0xfedfffff);
	assert_true(first[1] == 0xfef00000 && last[1] == 0xffffffffffff);
	assert_int_equal(iommu_space_ranges(f->space, NULL, NULL, 0), 2);
}

struct listing {
	unsigned n;
	struct iommu_mapping m[8];
};

static void list_one(void *data, const struct iommu_mapping *m)
{
	struct listing *l = data;

	l->m[l->n++] = *m;
}

static void listing_in_order(void **state)
{
	struct fixture *f = *state;
	struct listing l = { 0 };

	assert_int_equal(map(f, 1ull << 40, 2, IOMMU_READ, 5), 0);
	assert_int_equal(map(f, 0, 1, RW, 1), 0);
	assert_int_equal(map(f, PAGE, 3, IOMMU_WRITE, 2), 0);
	iommu_space_for_each(f->space, list_one, &l);
	assert_int_equal(l.n, 3);
	assert_true(l.m[0].first == 0 && l.m[0].last == PAGE - 1 && l.m[0].vaddr == PAGE);
	assert_true(l.m[1].first == PAGE && l.m[1].last == 4 * PAGE - 1);
	assert_int_equal(l.m[1].perm, IOMMU_WRITE);
	assert_true(l.m[2].first == 1ull << 40 && l.m[2].vaddr == 5 * PAGE && l.m[2].direct);
}

/* ------------------------------------------------------------------ unmap */

static void unmap_checks(void **state)
{
	struct fixture *f = *state;
	uint64_t removed = 77;

	for (int rule = IOMMU_UNMAP_EXACT; rule <= IOMMU_UNMAP_LEGACY; rule++) {
		assert_int_equal(iommu_space_unmap(f->space, rule, 1, PAGE, &removed), -EINVAL);
		assert_int_equal(iommu_space_unmap(f->space, rule, PAGE, 1, &removed), -EINVAL);
		assert_int_equal(iommu_space_unmap(f->space, rule, PAGE, 0, &removed), -EINVAL);
		assert_int_equal(iommu_space_unmap(f->space, rule, -PAGE, 2 * PAGE, &removed),
				 -EOVERFLOW);
	}
	assert_int_equal(removed, 77);
	assert_int_equal(unmap(f, IOMMU_UNMAP_EXACT, 0, 1000), 0);
	assert_int_equal(unmap(f, IOMMU_UNMAP_ALL, 0, 0), 0);
}

static void unmap_exact(void **state)
{
	struct fixture *f = *state;
	uint64_t removed = 77;

	assert_int_equal(map(f, 4 * PAGE, 4, RW, 0), 0);
	assert_int_equal(map(f, 8 * PAGE, 4, RW, 8), 0);
	/* Middle, head, tail; an end that cuts although the start does not. */
	assert_int_equal(iommu_space_unmap(f->space, 0, 5 * PAGE, PAGE, &removed), -EINVAL);
	assert_int_equal(iommu_space_unmap(f->space, 0, 4 * PAGE, PAGE, &removed), -EINVAL);
	assert_int_equal(iommu_space_unmap(f->space, 0, 7 * PAGE, PAGE, &removed), -EINVAL);
	assert_int_equal(iommu_space_unmap(f->space, 0, 4 * PAGE, 5 * PAGE, &removed), -EINVAL);
	assert_int_equal(iommu_space_unmap(f->space, 0, 0, 10 * PAGE, &removed), -EINVAL);
	assert_int_equal(removed, 77);
	assert_int_equal(iommu_space_count(f->space), 2);
	assert_int_equal(unmap(f, IOMMU_UNMAP_EXACT, 0, 100), 8);
	assert_int_equal(iommu_space_count(f->space), 0);
	assert_int_equal(map(f, 4 * PAGE, 4, RW, 0), 0);
	assert_int_equal(unmap(f, IOMMU_UNMAP_EXACT, 4 * PAGE, 4), 4);
}

static void unmap_legacy(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(map(f, 4 * PAGE, 4, RW, 0), 0);
	assert_int_equal(map(f, 8 * PAGE, 4, RW, 8), 0);
	assert_int_equal(unmap(f, IOMMU_UNMAP_LEGACY, 5 * PAGE, 1), 0);
	/* Starts inside the first one: not even the second goes. */
	assert_int_equal(unmap(f, IOMMU_UNMAP_LEGACY, 5 * PAGE, 20), 0);
	assert_int_equal(unmap(f, IOMMU_UNMAP_LEGACY, 4 * PAGE, 1), 4);
	assert_int_equal(unmap(f, IOMMU_UNMAP_LEGACY, 0, 9), 4);
	assert_int_equal(iommu_space_count(f->space), 0);
}

static void unmap_all(void **state)
{
	struct fixture *f = *state;

	for (uint64_t i = 0; i < 100; i++)
		assert_int_equal(map(f, i << 30, 1, RW, i), 0);
	assert_int_equal(unmap(f, IOMMU_UNMAP_ALL, 0x123, 0), 100);
	assert_int_equal(iommu_space_count(f->space), 0);
	assert_int_equal(map(f, 0, 1, RW, 0), 0);
}

/* ------------------------------------------------------------------ access and faults */

static void check_fault(struct fixture *f, unsigned n, enum iommu_reason reason, uint64_t iova,
			uint64_t size, unsigned access)
{
	assert_int_equal(f->faults, n);
	assert_int_equal(f->fault.reason, reason);
	assert_true(f->fault.iova == iova && f->fault.size == size);
	assert_int_equal(f->fault.access, access);
	assert_string_equal(f->fault.port, "0000:65:00.0");
}

static void access_across_mappings(void **state)
{
	struct fixture *f = *state;
	uint8_t data[3 * UVF_PAGE_SIZE], zero[sizeof(data)] = { 0 };

	/* Side by side for the device, apart and backwards in memory. */
	for (uint64_t i = 0; i < 4; i++)
		assert_int_equal(map(f, (16 + i) * PAGE, 1, RW, 40 - 2 * i), 0);
	assert_int_equal(iommu_read(f->port, 16 * PAGE + 100, data, sizeof(data)), 0);
	assert_memory_equal(data, f->buf + 40 * PAGE + 100, PAGE - 100);
	assert_memory_equal(data + PAGE - 100, f->buf + 38 * PAGE, PAGE);
	assert_memory_equal(data + 3 * PAGE - 100, f->buf + 34 * PAGE, 100);
	assert_int_equal(iommu_write(f->port, 17 * PAGE - 2, "abcd", 4), 0);
	assert_memory_equal(f->buf + 41 * PAGE - 2, "ab", 2);
	assert_memory_equal(f->buf + 38 * PAGE, "cd", 2);
	assert_int_equal(f->faults, 0);

	/* The last byte is missing: nothing moves. */
	memset(f->buf + 34 * PAGE, 0xee, PAGE);
	assert_int_equal(iommu_write(f->port, 19 * PAGE, zero, PAGE + 1), -EFAULT);
	check_fault(f, 1, IOMMU_FAULT_NOT_MAPPED, 19 * PAGE, PAGE + 1, IOMMU_WRITE);
	assert_int_equal(f->buf[34 * PAGE], 0xee);
	memset(data, 0x55, sizeof(data));
	assert_int_equal(iommu_read(f->port, 20 * PAGE - 1, data, 2), -EFAULT);
	check_fault(f, 2, IOMMU_FAULT_NOT_MAPPED, 20 * PAGE - 1, 2, IOMMU_READ);
	assert_int_equal(data[0], 0x55);
}

static void access_many_pieces(void **state)
{
	struct fixture *f = *state;
	uint8_t *data = malloc(BUF_PAGES * PAGE);

	for (uint64_t i = 0; i < 200; i++)
		assert_int_equal(map(f, i * PAGE, 1, RW, i), 0);
	assert_int_equal(iommu_read(f->port, 1, data, 200 * PAGE - 1), 0);
	assert_memory_equal(data, f->buf + 1, 200 * PAGE - 1);
	assert_int_equal(iommu_read(f->port, 1, data, 200 * PAGE), -EFAULT);
	free(data);
}

static void fault_reasons(void **state)
{
	struct fixture *f = *state;
	struct iommu_port_stats stats;
	uint8_t b[64] = { 0 };

	assert_int_equal(map(f, 0, 1, IOMMU_READ, 0), 0);
	assert_int_equal(map(f, PAGE, 1, IOMMU_WRITE, 1), 0);
	assert_int_equal(iommu_write(f->port, 8, b, 64), -EFAULT);
	check_fault(f, 1, IOMMU_FAULT_PERMISSION, 8, 64, IOMMU_WRITE);
	assert_int_equal(iommu_read(f->port, PAGE, b, 64), -EFAULT);
	check_fault(f, 2, IOMMU_FAULT_PERMISSION, PAGE, 64, IOMMU_READ);
	/* Crosses from what it may into what it may not. */
	assert_int_equal(iommu_read(f->port, PAGE - 8, b, 16), -EFAULT);
	check_fault(f, 3, IOMMU_FAULT_PERMISSION, PAGE - 8, 16, IOMMU_READ);
	assert_int_equal(iommu_read(f->port, UINT64_MAX, b, 2), -EFAULT);
	check_fault(f, 4, IOMMU_FAULT_OVERFLOW, UINT64_MAX, 2, IOMMU_READ);
	assert_int_equal(iommu_read(f->port, UINT64_MAX, b, 1), -EFAULT);
	check_fault(f, 5, IOMMU_FAULT_NOT_MAPPED, UINT64_MAX, 1, IOMMU_READ);
	iommu_port_set_enabled(f->port, false);
	assert_int_equal(iommu_read(f->port, 0, b, 4), -EFAULT);
	check_fault(f, 6, IOMMU_FAULT_BUS_MASTER, 0, 4, IOMMU_READ);
	assert_int_equal(iommu_read(f->port, 0, b, 0), 0);
	iommu_port_set_enabled(f->port, true);
	iommu_port_attach(f->port, NULL);
	assert_int_equal(iommu_write(f->port, 0, b, 4), -EFAULT);
	check_fault(f, 7, IOMMU_FAULT_BLOCKED, 0, 4, IOMMU_WRITE);
	iommu_port_attach(f->port, f->space);
	assert_int_equal(iommu_read(f->port, 0, b, 4), 0);
	assert_int_equal(iommu_write(f->port, PAGE, b, 5), 0);
	iommu_port_get_stats(f->port, &stats);
	assert_int_equal(stats.faults, 7);
	assert_int_equal(stats.read_bytes, 4);
	assert_int_equal(stats.write_bytes, 5);
	for (int r = IOMMU_FAULT_NOT_MAPPED; r <= IOMMU_FAULT_OVERFLOW; r++)
		assert_string_not_equal(iommu_reason_name(r), "unknown");
	assert_string_equal(iommu_reason_name(IOMMU_FAULT_NOT_MAPPED), "not-mapped");
	assert_string_equal(iommu_reason_name(IOMMU_FAULT_CLIENT_MEMORY), "client-memory");
	assert_string_equal(iommu_reason_name(99), "unknown");
}

static void attach_and_reuse(void **state)
{
	struct fixture *f = *state;
	struct iommu_space *other, *got;
	uint8_t b;

	assert_int_equal(iommu_space_new(&other), 0);
	assert_int_equal(map(f, 0, 1, RW, 3), 0);
	assert_int_equal(iommu_space_map(other, 0, PAGE, RW, f->mem, 9 * PAGE), 0);
	f->buf[3 * PAGE] = 3;
	f->buf[9 * PAGE] = 9;
	for (int i = 0; i < 5; i++) {
		assert_int_equal(iommu_read(f->port, 0, &b, 1), 0);
		assert_int_equal(b, 3);
		iommu_port_attach(f->port, other);
		got = iommu_port_space(f->port);
		assert_ptr_equal(got, other);
		iommu_space_put(got);
		assert_int_equal(iommu_read(f->port, 0, &b, 1), 0);
		assert_int_equal(b, 9);
		iommu_port_attach(f->port, f->space);
	}
	/* The remembered translation must not survive its mapping. */
	assert_int_equal(unmap(f, IOMMU_UNMAP_EXACT, 0, 1), 1);
	assert_int_equal(iommu_read(f->port, 0, &b, 1), -EFAULT);
	assert_int_equal(map(f, 0, 1, RW, 9), 0);
	assert_int_equal(iommu_read(f->port, 0, &b, 1), 0);
	assert_int_equal(b, 9);
	iommu_port_attach(f->port, NULL);
	assert_null(iommu_port_space(f->port));
	iommu_space_put(other);
}

/* ------------------------------------------------------------------ against a naive model */

#define MODEL_PAGES 4096
#define CHUNKS 7

static uint32_t seed = 12345;

static uint32_t rnd(uint32_t n)
{
	seed = seed * 1664525u + 1013904223u;
	return (seed >> 8) % n;
}

/* Chunks of IOVA far from each other, so that every level of the tree is met. */
static uint64_t model_iova(unsigned page)
{
	static const uint64_t base[CHUNKS] = {
		0,
		0x3f000000,
		0xfef00000,
		0x100000000,
		0x7ffff0000000,
		0x8000000000,
		0xffffff000000,
	};
	unsigned per = MODEL_PAGES / CHUNKS;

	return base[page / per % CHUNKS] + page % per * PAGE;
}

static void random_model(void **state)
{
	struct fixture *f = *state;
	static uint16_t start[MODEL_PAGES], len[MODEL_PAGES]; /* page -> its mapping; len 0: none */
	static uint8_t to[MODEL_PAGES];
	unsigned per = MODEL_PAGES / CHUNKS, pages = per * CHUNKS;

	memset(len, 0, sizeof(len));
	for (unsigned step = 0; step < 30000; step++) {
		unsigned p = rnd(pages), n = 1 + rnd(rnd(8) ? 4 : 300), i;
		bool busy = false;

		n = MIN(n, per - p % per);
		n = MIN(n, BUF_PAGES);
		for (i = p; i < p + n; i++)
			busy |= len[i] != 0;
		if (rnd(3)) {
			unsigned at = rnd(BUF_PAGES - n + 1);

			assert_int_equal(map(f, model_iova(p), n, RW, at), busy ? -EEXIST : 0);
			for (i = p; !busy && i < p + n; i++) {
				start[i] = (uint16_t)p;
				len[i] = (uint16_t)n;
				to[i] = (uint8_t)(at + i - p);
			}
		} else if (len[p]) {
			unsigned s = start[p], l = len[p];

			assert_int_equal(unmap(f, IOMMU_UNMAP_EXACT, model_iova(s), l), l);
			for (i = s; i < s + l; i++)
				len[i] = 0;
		}
		for (i = 0; i < 4; i++) {
			unsigned q = i < 2 ? rnd(pages) : (p + rnd(n)) % pages;
			uint64_t iova = model_iova(q) + rnd(PAGE);
			struct mapping *m = tree_find(&f->space->tree, iova);

			assert_int_equal(m != NULL, len[q] != 0);
			if (m)
				assert_ptr_equal(m->base.host + (iova - m->first) / PAGE * PAGE,
						 f->buf + to[q] * PAGE);
		}
	}
	assert_int_equal(iommu_space_unmap(f->space, IOMMU_UNMAP_ALL, 0, 0, &(uint64_t){ 0 }), 0);
	assert_int_equal(f->space->tree.root, 0);
}

/* ------------------------------------------------------------------ dirty log */

static void dirty_log(void **state)
{
	struct fixture *f = *state;
	uint64_t bits[4] = { 0 };
	uint8_t b[UVF_PAGE_SIZE + 2] = { 0 };

	assert_int_equal(map(f, 10 * PAGE, 70, RW, 0), 0);
	assert_int_equal(map(f, 90 * PAGE, 5, RW, 80), 0);
	assert_false(iommu_space_dirty_started(f->space));
	assert_int_equal(iommu_space_dirty_fetch(f->space, 0, 128 * PAGE, bits), -EINVAL);
	assert_int_equal(iommu_write(f->port, 10 * PAGE, b, 1), 0); /* not logged */
	assert_int_equal(iommu_space_dirty_start(f->space), 0);
	assert_int_equal(iommu_space_dirty_start(f->space), 0);
	assert_true(iommu_space_dirty_started(f->space));
	assert_int_equal(map(f, 100 * PAGE, 1, RW, 100), 0);
	assert_int_equal(iommu_write(f->port, 12 * PAGE - 1, b, PAGE + 2), 0); /* 11..13 */
	assert_int_equal(iommu_write(f->port, 79 * PAGE, b, 1), 0);
	assert_int_equal(iommu_write(f->port, 94 * PAGE, b, 1), 0);
	assert_int_equal(iommu_write(f->port, 100 * PAGE, b, 1), 0);
	assert_int_equal(iommu_read(f->port, 20 * PAGE, b, 1), 0); /* reads do not count */
	assert_int_equal(iommu_write(f->port, 101 * PAGE, b, 1), -EFAULT);
	/* Starting again must not lose what is there. */
	assert_int_equal(iommu_space_dirty_start(f->space), 0);

	assert_int_equal(iommu_space_dirty_fetch(f->space, 12 * PAGE, 128 * PAGE, bits), -EINVAL);
	assert_int_equal(iommu_space_dirty_fetch(f->space, 0, 93 * PAGE, bits), -EINVAL);
	assert_int_equal(iommu_space_dirty_fetch(f->space, 1, PAGE, bits), -EINVAL);
	assert_int_equal(iommu_space_dirty_fetch(f->space, 0, 0, bits), -EINVAL);
	assert_int_equal(iommu_space_dirty_fetch(f->space, 5 * PAGE, 100 * PAGE, bits), 0);
	assert_true(bits[0] == (7ull << 6));
	assert_true(bits[1] == (1ull << (74 - 64) | 1ull << (89 - 64) | 1ull << (95 - 64)));
	assert_true(!bits[2] && !bits[3]);
	memset(bits, 0, sizeof(bits));
	assert_int_equal(iommu_space_dirty_fetch(f->space, 0, 128 * PAGE, bits), 0);
	assert_true(!bits[0] && !bits[1]);
	assert_int_equal(iommu_write(f->port, 10 * PAGE, b, 1), 0);
	assert_int_equal(iommu_space_dirty_stop(f->space), 0);
	assert_int_equal(iommu_space_dirty_stop(f->space), 0);
	assert_int_equal(iommu_write(f->port, 11 * PAGE, b, 1), 0);
	assert_int_equal(iommu_space_dirty_start(f->space), 0);
	assert_int_equal(iommu_space_dirty_fetch(f->space, 0, 128 * PAGE, bits), 0);
	assert_true(!bits[0]); /* a new log starts empty */
}

/* ------------------------------------------------------------------ pins */

static void pins(void **state)
{
	struct fixture *f = *state;
	struct iommu_pin pin = { 0 };
	uint64_t bits = 0;

	assert_int_equal(map(f, 0, 2, RW, 4), 0);
	assert_int_equal(map(f, 2 * PAGE, 2, RW, 6), 0);   /* goes on in memory */
	assert_int_equal(map(f, 4 * PAGE, 2, RW, 100), 0); /* does not */
	for (uint64_t i = 6; i < 20; i++)
		assert_int_equal(map(f, i * PAGE, 1, RW, 50 - i), 0);
	assert_int_equal(iommu_space_dirty_start(f->space), 0);
	assert_int_equal(iommu_pin(f->port, 0, 0, IOMMU_READ, &pin), 0);
	assert_int_equal(pin.n_iov, 0);
	iommu_unpin(&pin);
	assert_int_equal(iommu_pin(f->port, PAGE, 4 * PAGE, IOMMU_WRITE, &pin), 0);
	assert_int_equal(pin.n_iov, 2);
	assert_ptr_equal(pin.iov[0].iov_base, f->buf + 5 * PAGE);
	assert_int_equal(pin.iov[0].iov_len, 3 * PAGE);
	assert_ptr_equal(pin.iov[1].iov_base, f->buf + 100 * PAGE);
	assert_int_equal(pin.iov[1].iov_len, PAGE);
	/* Marked when it is over, not before. */
	assert_int_equal(iommu_space_dirty_fetch(f->space, 0, 20 * PAGE, &bits), 0);
	assert_int_equal(bits, 0);
	iommu_unpin(&pin);
	iommu_unpin(&pin);
	assert_int_equal(iommu_space_dirty_fetch(f->space, 0, 20 * PAGE, &bits), 0);
	assert_int_equal(bits, 0x1e);
	assert_int_equal(iommu_pin(f->port, 6 * PAGE, 9 * PAGE, IOMMU_READ, &pin), -EOPNOTSUPP);
	assert_int_equal(iommu_pin(f->port, 6 * PAGE, 8 * PAGE, IOMMU_READ, &pin), 0);
	assert_int_equal(pin.n_iov, 8);
	iommu_unpin(&pin);
	assert_int_equal(f->faults, 0);
	assert_int_equal(iommu_pin(f->port, 19 * PAGE, 2 * PAGE, IOMMU_READ, &pin), -EFAULT);
	check_fault(f, 1, IOMMU_FAULT_NOT_MAPPED, 19 * PAGE, 2 * PAGE, IOMMU_READ);
	assert_int_equal(unmap(f, IOMMU_UNMAP_ALL, 0, 0), 20);
}

/* A span is the whole mapping, and holds up what a pin would. */
static void spans(void **state)
{
	struct fixture *f = *state;
	struct iommu_span span;
	struct iommu_port_stats before, after;
	uint64_t word = 0;

	assert_int_equal(map(f, 2 * PAGE, 4, RW, 10), 0);
	assert_int_equal(map(f, 6 * PAGE, 1, IOMMU_READ, 20), 0);
	iommu_port_get_stats(f->port, &before);
	assert_int_equal(iommu_span_get(f->port, 3 * PAGE, 100, IOMMU_WRITE, &span), 0);
	assert_int_equal(span.first, 2 * PAGE);
	assert_int_equal(span.last, 6 * PAGE - 1);
	assert_ptr_equal(span.host, f->buf + 10 * PAGE);
	assert_int_equal(span.perm, IOMMU_READ | IOMMU_WRITE);
	assert_int_equal(iommu_space_dirty_start(f->space), 0);
	iommu_span_wrote(&span, 4 * PAGE + 10, 20);
	span.n_read += 7;
	iommu_span_put(&span);
	assert_int_equal(iommu_space_dirty_fetch(f->space, 2 * PAGE, 4 * PAGE, &word), 0);
	assert_int_equal(word, 4);
	iommu_port_get_stats(f->port, &after);
	assert_int_equal(after.write_bytes - before.write_bytes, 20);
	assert_int_equal(after.read_bytes - before.read_bytes, 7);
	/* Over two mappings, for what is not allowed, where there is nothing. */
	assert_int_equal(iommu_span_get(f->port, 6 * PAGE - 8, 16, IOMMU_READ, &span), -EOPNOTSUPP);
	assert_int_equal(iommu_span_get(f->port, 6 * PAGE, 8, IOMMU_WRITE, &span), -EFAULT);
	assert_int_equal(iommu_span_get(f->port, 7 * PAGE, 8, IOMMU_READ, &span), -EFAULT);
}

struct waiter {
	struct fixture *f;
	_Atomic int step;
	int what;
};

static void *wait_for_pin(void *data)
{
	struct waiter *w = data;
	uint64_t removed;

	atomic_store(&w->step, 1);
	if (w->what == 0)
		iommu_space_unmap(w->f->space, IOMMU_UNMAP_EXACT, 0, PAGE, &removed);
	else if (w->what == 1)
		iommu_port_attach(w->f->port, NULL);
	else
		iommu_port_set_enabled(w->f->port, false);
	atomic_store(&w->step, 2);
	return NULL;
}

static void pins_hold_up(void **state)
{
	struct fixture *f = *state;

	for (int what = 0; what < 3; what++) {
		struct waiter w = { .f = f, .what = what };
		struct iommu_pin pin;
		uint64_t removed;
		pthread_t t;

		iommu_port_set_enabled(f->port, true);
		iommu_port_attach(f->port, f->space);
		iommu_space_unmap(f->space, IOMMU_UNMAP_ALL, 0, 0, &removed);
		assert_int_equal(map(f, 0, 1, RW, 1), 0);
		assert_int_equal(map(f, PAGE, 1, RW, 2), 0);
		assert_int_equal(iommu_pin(f->port, 0, PAGE, IOMMU_WRITE, &pin), 0);
		pthread_create(&t, NULL, wait_for_pin, &w);
		while (!atomic_load(&w.step))
			usleep(100);
		/* Whatever is not pinned may go on, and the pin is still good. */
		if (what == 0)
			assert_int_equal(unmap(f, IOMMU_UNMAP_EXACT, PAGE, 1), 1);
		usleep(2000);
		assert_int_equal(atomic_load(&w.step), 1);
		memset(pin.iov[0].iov_base, 0x5a, PAGE);
		iommu_unpin(&pin);
		pthread_join(t, NULL);
		assert_int_equal(atomic_load(&w.step), 2);
	}
}

/* ------------------------------------------------------------------ accesses during unmaps */

struct hammer {
	struct fixture *f;
	_Atomic bool stop;
	_Atomic uint64_t good, bad;
};

static void *hammer_dma(void *data)
{
	struct hammer *h = data;
	uint32_t r = 1;

	while (!atomic_load(&h->stop)) {
		uint64_t page, v = 0;
		struct iommu_pin pin;

		r = r * 1664525u + 1013904223u;
		page = (r >> 8) % 64;
		if ((r >> 20) % 8 == 0) {
			if (!iommu_pin(h->f->port, page * PAGE, 2 * PAGE, IOMMU_WRITE, &pin))
				iommu_unpin(&pin);
			continue;
		}
		if (iommu_read(h->f->port, page * PAGE, &v, 8)) {
			atomic_fetch_add(&h->bad, 1);
			continue;
		}
		atomic_fetch_add(&h->good, 1);
	}
	return NULL;
}

static void count_only(void *data, const struct iommu_fault *fault) {}

static void concurrent(void **state)
{
	struct fixture *f = *state;
	struct hammer h = { .f = f };
	struct iommu_port *quiet;
	pthread_t t[3];

	assert_int_equal(iommu_port_new("q", count_only, NULL, &quiet), 0);
	iommu_port_set_enabled(quiet, true);
	iommu_port_attach(quiet, f->space);
	iommu_port_free(f->port);
	f->port = quiet;
	for (int i = 0; i < 3; i++)
		pthread_create(&t[i], NULL, hammer_dma, &h);
	for (unsigned round = 0; round < 100; round++) {
		for (uint64_t p = 0; p < 64; p += 2) {
			/* Memory of its own for each mapping: given back the moment unmap returns.
			 */
			uint8_t *own = aligned_alloc(PAGE, 2 * PAGE);
			struct iommu_mem *mem;

			memset(own, 1, 2 * PAGE);
			assert_int_equal(iommu_mem_buffer(own, 2 * PAGE, &mem), 0);
			unmap(f, IOMMU_UNMAP_EXACT, p * PAGE, 2);
			assert_int_equal(iommu_space_map(f->space, p * PAGE, 2 * PAGE, RW, mem, 0),
					 0);
			if (round % 3 == 0) {
				assert_int_equal(unmap(f, IOMMU_UNMAP_LEGACY, p * PAGE, 1), 2);
				memset(own, 2, 2 * PAGE);
				free(own);
			} else {
				assert_int_equal(unmap(f, IOMMU_UNMAP_EXACT, p * PAGE, 2), 2);
				free(own);
				map(f, p * PAGE, 2, RW, p);
			}
			iommu_mem_put(mem);
		}
		if (round % 8 == 0)
			iommu_space_dirty_start(f->space);
		if (round % 8 == 4)
			iommu_space_dirty_stop(f->space);
		if (round % 16 == 0) {
			iommu_port_attach(f->port, NULL);
			iommu_port_set_enabled(f->port, false);
			iommu_port_set_enabled(f->port, true);
			iommu_port_attach(f->port, f->space);
		}
		if (round % 32 == 0)
			unmap(f, IOMMU_UNMAP_ALL, 0, 0);
	}
	atomic_store(&h.stop, true);
	for (int i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(map_checks, setup, teardown),
		cmocka_unit_test_setup_teardown(listing_in_order, setup, teardown),
		cmocka_unit_test_setup_teardown(unmap_checks, setup, teardown),
		cmocka_unit_test_setup_teardown(unmap_exact, setup, teardown),
		cmocka_unit_test_setup_teardown(unmap_legacy, setup, teardown),
		cmocka_unit_test_setup_teardown(unmap_all, setup, teardown),
		cmocka_unit_test_setup_teardown(access_across_mappings, setup, teardown),
		cmocka_unit_test_setup_teardown(access_many_pieces, setup, teardown),
		cmocka_unit_test_setup_teardown(fault_reasons, setup, teardown),
		cmocka_unit_test_setup_teardown(attach_and_reuse, setup, teardown),
		cmocka_unit_test_setup_teardown(random_model, setup, teardown),
		cmocka_unit_test_setup_teardown(dirty_log, setup, teardown),
		cmocka_unit_test_setup_teardown(pins, setup, teardown),
		cmocka_unit_test_setup_teardown(spans, setup, teardown),
		cmocka_unit_test_setup_teardown(pins_hold_up, setup, teardown),
		cmocka_unit_test_setup_teardown(concurrent, setup, teardown),
	};

	return cmocka_run_group_tests_name("iommu", tests, NULL, NULL);
}
