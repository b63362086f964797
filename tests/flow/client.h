/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of the flow tests' client share; client.c says what it is. */
#ifndef CLIENT_H
#define CLIENT_H

#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK(cond, ...)                                                                           \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			fprintf(stderr, "%s:%d: %s: errno %d (%s) ", __FILE__, __LINE__, #cond,    \
				errno, strerror(errno));                                           \
			say(" " __VA_ARGS__);                                                      \
			exit(1);                                                                   \
		}                                                                                  \
	} while (0)
#define FAILS(call, err)                                                                           \
	do {                                                                                       \
		errno = 0;                                                                         \
		CHECK((call) == -1 && errno == (err), "wanted errno %d", (err));                   \
	} while (0)

enum {
	REG_ID = 0,
	REG_SCRATCH = 8,
	REG_MAILBOX = 0x48,
	REG_MAIL_LAST = 0x4c,
	REG_MAIL_COUNT = 0x50
};
enum {
	REG_ADDR_LO = 0x20,
	REG_ADDR_HI = 0x24,
	REG_LEN = 0x28,
	REG_CMD = 0x2c,
	REG_DMA_STATUS = 0x30
};
enum { REG_SEED = 0x3c, REG_IRQ_RAISE = 0x40 };
#define TESTDEV_ID 0x75766601u
#define RAM_SIZE 0x10000u
#define OFFSET(region) ((uint64_t)(region) << 40)

extern const char *bdf;
extern char group_path[64];

#define VECTORS 4

struct client {
	int container, group, device;
};

void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
int open_group(void);
struct client attach(void);
void detach(struct client *c);
uint64_t region_offset(int device, unsigned region);
uint32_t rd(int device, unsigned bar, uint64_t offset);
void wr(int device, unsigned bar, uint64_t offset, uint32_t v);
void enable(int device, uint16_t bits);
void *map(int device, unsigned bar, size_t size);

void set_irqs(int device, const int *fds);
void dma_go(int device, uint64_t iova, uint32_t len, uint32_t seed, uint32_t cmd);

void cmd_regs(char **argv);
void cmd_mmap(char **argv);
void cmd_dma(char **argv);
void cmd_irq(char **argv);
void cmd_errors(char **argv);
void cmd_busy(char **argv);
void cmd_order(char **argv);
void cmd_fork(char **argv);
void cmd_exec(char **argv);
void cmd_use(char **argv);
void cmd_threads(char **argv);
void cmd_hold(char **argv);
void cmd_storm(char **argv);
void cmd_reopen(char **argv);
void cmd_orphan(char **argv);
void cmd_compat(char **argv);
void cmd_pass(char **argv);
void cmd_signals(char **argv);
void cmd_siblings(char **argv);
void cmd_unknown(char **argv);
void cmd_steady(char **argv);
void cmd_churn(char **argv);
void cmd_cdev(char **argv);
void cmd_cdev_hold(char **argv);

#endif
