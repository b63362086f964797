/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * dmatool: drives the DMA engine of testdev (docs/testdev.md) from inside the guest.
 *
 * A static helper of the guest tests and of make run. It reaches block 0 through the resource0 file
 * of the function in /sys and turns bus mastering on through its config file.
 *
 *   dmatool BDF own BYTES          a DMA to and from memory of this program: must move every byte
 *   dmatool BDF rogue ADDRESS BYTES   the same at any bus address: tells what the device says of it
 *   dmatool BDF read OFFSET | write OFFSET VALUE   one register
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define REG_ID 0x00
#define REG_ADDR_LO 0x20
#define REG_ADDR_HI 0x24
#define REG_LEN 0x28
#define REG_CMD 0x2c
#define REG_STATUS 0x30
#define REG_COUNT 0x34
#define REG_SUM 0x38
#define REG_SEED 0x3c
#define CMD_FILL 0x01
#define CMD_LOAD 0x02
#define STATUS_OK 1
#define PCI_COMMAND 4
#define COMMAND_ENABLE 0x6 /* memory and bus master */
#define PAGE 4096u

static volatile uint32_t *regs;

static uint32_t reg_read(unsigned offset)
{
	return regs[offset / 4];
}

static void reg_write(unsigned offset, uint32_t value)
{
	regs[offset / 4] = value;
}

static int map_device(const char *bdf)
{
	char path[128];
	uint16_t command;
	void *map;
	int fd;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/config", bdf);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0 || pread(fd, &command, 2, PCI_COMMAND) != 2)
		return -errno;
	command |= COMMAND_ENABLE;
	if (pwrite(fd, &command, 2, PCI_COMMAND) != 2)
		return -errno;
	close(fd);
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/resource0", bdf);
	fd = open(path, O_RDWR | O_SYNC | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	map = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (map == MAP_FAILED)
		return -errno;
	regs = map;
	return 0;
}

static void command(uint64_t address, uint32_t bytes, uint32_t cmd)
{
	reg_write(REG_ADDR_LO, (uint32_t)address);
	reg_write(REG_ADDR_HI, (uint32_t)(address >> 32));
	reg_write(REG_LEN, bytes);
	reg_write(REG_CMD, cmd);
}

/* Guest physical address of a page of this process that stays where it is. */
static uint64_t physical(const void *p)
{
	uint64_t entry = 0;
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	if (fd < 0 || pread(fd, &entry, 8, (off_t)((uintptr_t)p / PAGE * 8)) != 8)
		entry = 0;
	if (fd >= 0)
		close(fd);
	return (entry & ((1ull << 55) - 1)) * PAGE;
}

static uint32_t fnv1a(const uint8_t *p, size_t n)
{
	uint32_t h = 2166136261u;

	while (n--)
		h = (h ^ *p++) * 16777619u;
	return h;
}

static int cmd_own(uint32_t bytes)
{
	uint8_t *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, -1, 0);
	uint32_t seed = 0x31, wrong = 0, sum;
	uint64_t at;

	if (p == MAP_FAILED || !bytes || bytes > PAGE)
		return 1;
	memset(p, 0, PAGE);
	at = physical(p);
	if (!at) {
		printf("@@own FAIL no physical address\n");
		return 1;
	}
	reg_write(REG_SEED, seed);
	command(at, bytes, CMD_FILL);
	for (uint32_t i = 0; i < bytes; i++)
		wrong += p[i] != (uint8_t)(seed + i + i / 256);
	if (reg_read(REG_STATUS) != STATUS_OK || wrong) {
		printf("@@own FAIL fill status %u, %u bytes wrong\n", reg_read(REG_STATUS), wrong);
		return 1;
	}
	for (uint32_t i = 0; i < bytes; i++)
		p[i] = (uint8_t)(i * 7 + 3);
	command(at, bytes, CMD_LOAD);
	sum = reg_read(REG_SUM);
	if (reg_read(REG_STATUS) != STATUS_OK || sum != fnv1a(p, bytes)) {
		printf("@@own FAIL load status %u sum %08x, not %08x\n", reg_read(REG_STATUS), sum,
		       fnv1a(p, bytes));
		return 1;
	}
	printf("@@own ok %u bytes each way\n", bytes);
	return 0;
}

static void cmd_rogue(uint64_t address, uint32_t bytes)
{
	uint32_t status, count;

	command(address, bytes, CMD_FILL);
	status = reg_read(REG_STATUS);
	count = reg_read(REG_COUNT);
	printf("@@rogue-write status %u count %u\n", status, count);
	command(address, bytes, CMD_LOAD);
	status = reg_read(REG_STATUS);
	count = reg_read(REG_COUNT);
	printf("@@rogue-read status %u count %u sum %08x\n", status, count, reg_read(REG_SUM));
}

static uint64_t number(const char *text)
{
	return strtoull(text, NULL, 0);
}

int main(int argc, char **argv)
{
	int rc;

	if (argc < 4)
		goto usage;
	rc = map_device(argv[1]);
	if (rc) {
		printf("@@dmatool FAIL %s: %s\n", argv[1], strerror(-rc));
		return 1;
	}
	if (reg_read(REG_ID) >> 8 != 0x757666) {
		printf("@@dmatool FAIL id %08x\n", reg_read(REG_ID));
		return 1;
	}
	if (argc == 4 && !strcmp(argv[2], "own"))
		return cmd_own((uint32_t)number(argv[3]));
	if (argc == 5 && !strcmp(argv[2], "rogue")) {
		cmd_rogue(number(argv[3]), (uint32_t)number(argv[4]));
		return 0;
	}
	if (argc == 4 && !strcmp(argv[2], "read")) {
		printf("@@register 0x%08x\n", reg_read((unsigned)number(argv[3]) & 0xffc));
		return 0;
	}
	if (argc == 5 && !strcmp(argv[2], "write")) {
		reg_write((unsigned)number(argv[3]) & 0xffc, (uint32_t)number(argv[4]));
		return 0;
	}
usage:
	fprintf(stderr, "usage: dmatool BDF own BYTES | rogue ADDRESS BYTES | read OFFSET | "
			"write OFFSET VALUE\n");
	return 2;
}
