/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * memhold: a page of the guest's memory that nobody else may touch.
 *
 * A static helper of the guest tests and of the shows. It takes locked memory until it has a page
 * whose guest physical address is at least MIN, fills that page, says where it is, and looks at
 * it again when a line comes on standard input.
 *
 *   memhold MIN     "@@canary ADDRESS", later "@@canary-kept ok" or FAIL
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096u
#define CHUNK (4u << 20)
#define CHUNKS_MAX 64

static uint64_t physical(int pagemap, const void *p)
{
	uint64_t entry = 0;

	if (pread(pagemap, &entry, 8, (off_t)((uintptr_t)p / PAGE * 8)) != 8)
		return 0;
	return (entry & ((1ull << 55) - 1)) * PAGE;
}

static uint8_t byte_at(unsigned i)
{
	return (uint8_t)(i * 13 + (i >> 8) + 0x5a);
}

/* The first page at or above @min; what was taken on the way stays taken. */
static uint8_t *find_page(uint64_t min, uint64_t *where)
{
	int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	for (unsigned n = 0; n < CHUNKS_MAX && pagemap >= 0; n++) {
		uint8_t *chunk = mmap(NULL, CHUNK, PROT_READ | PROT_WRITE,
				      MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, -1, 0);

		if (chunk == MAP_FAILED)
			break;
		memset(chunk, 0, CHUNK);
		for (size_t at = 0; at < CHUNK; at += PAGE) {
			*where = physical(pagemap, chunk + at);
			if (*where >= min)
				return chunk + at;
		}
	}
	return NULL;
}

int main(int argc, char **argv)
{
	uint64_t min = argc == 2 ? strtoull(argv[1], NULL, 0) : 0, where = 0;
	uint8_t *page = find_page(min, &where);
	bool kept = true;
	char line[16];

	if (!page) {
		printf("@@canary FAIL no page at or above 0x%" PRIx64 "\n", min);
		return 1;
	}
	for (unsigned i = 0; i < PAGE; i++)
		page[i] = byte_at(i);
	printf("@@canary 0x%" PRIx64 "\n", where);
	fflush(stdout);
	(void)!fgets(line, sizeof(line), stdin);
	for (unsigned i = 0; i < PAGE; i++)
		kept &= page[i] == byte_at(i);
	printf("@@canary-kept %s\n", kept ? "ok" : "FAIL");
	return !kept;
}
